//! What all nodes of a simulation share, and the loop that drives it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::clock::{Action, Clock, Event};
use super::executor::Executor;
use super::network::Network;
use super::node::NodeState;
use super::random::{Random, mix};
use super::simulation::SimulationOptions;

/// Where virtual time begins; the same for all simulations of a process.
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Where virtual wall clocks begin: 2026-01-01T00:00:00Z.
const BASE_WALL_CLOCK_MS: i64 = 1_767_225_600_000;

pub(super) struct World {
    pub(super) options: SimulationOptions,
    pub(super) clock: Clock,
    pub(super) executor: Executor,
    pub(super) random: RefCell<Random>,
    pub(super) network: RefCell<Network>,
    pub(super) nodes: RefCell<Vec<Rc<NodeState>>>,
    /// Nodes stopped by a fault point whose tasks are still to be dropped.
    stopped: RefCell<Vec<usize>>,
    trace: Cell<u64>,
    running: Cell<bool>,
}

/// How far time went.
enum Advance {
    Moved,
    NothingDue,
    LimitReached,
}

impl World {
    pub(super) fn new(options: SimulationOptions) -> World {
        let seed = options.seed;
        World {
            network: RefCell::new(Network::new(options.link.clone())),
            options,
            clock: Clock::default(),
            executor: Executor::default(),
            random: RefCell::new(Random::new(seed)),
            nodes: RefCell::default(),
            stopped: RefCell::default(),
            trace: Cell::new(mix(seed)),
            running: Cell::new(false),
        }
    }

    pub(super) fn now(&self) -> Instant {
        *BASE + self.clock.elapsed()
    }

    pub(super) fn wall_clock_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.clock.elapsed().as_millis()).unwrap_or(i64::MAX);
        BASE_WALL_CLOCK_MS.saturating_add(elapsed)
    }

    /// Does `action` after a while; with a node, only if that node still runs then.
    pub(super) fn after(&self, delay: Duration, node: Option<usize>, action: Action) {
        let at = self.clock.elapsed().saturating_add(delay);
        self.clock.schedule(at, Event::Run { node, action });
    }

    /// Folds a number into the trace.
    pub(super) fn trace(&self, what: u64) {
        self.trace
            .set(mix(self.trace.get() ^ what).wrapping_add(what));
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.get()
    }

    /// Stops a node at once: nothing it began completes, its tasks are dropped as soon as the one
    /// that runs now returns.
    pub(super) fn stop(&self, node: &NodeState) {
        node.mark_stopped();
        self.clock.forget_node(node.index);
        self.disconnect(node.index, true);
        self.stopped.borrow_mut().push(node.index);
        tracing::debug!(
            node = node.name,
            elapsed = ?self.clock.elapsed(),
            "the node stops at a fault point"
        );
    }

    /// Runs everything until `future` is ready.
    pub(super) fn block_on<F: Future>(self: &Rc<Self>, future: F) -> F::Output {
        let _running = Running::enter(self);
        let mut future = pin!(future);
        let wake = self.executor.task_wake();
        let waker = Waker::from(wake.clone());
        Arc::clone(&wake).wake();
        let limit = self.limit(self.options.max_virtual_time);
        for _ in 0..self.options.max_steps {
            match self.pick() {
                Some(task) if task == wake.task() => {
                    wake.taken();
                    let mut cx = Context::from_waker(&waker);
                    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
                    self.drop_stopped();
                    match polled {
                        Ok(Poll::Ready(value)) => return value,
                        Ok(Poll::Pending) => {}
                        Err(panic) => self.fail(&format!("panicked: {}", text(&*panic))),
                    }
                }
                Some(task) => self.poll_task(task),
                None => match self.advance(limit) {
                    Advance::Moved => {}
                    Advance::NothingDue => self.fail("deadlock: nothing can make progress"),
                    Advance::LimitReached => self.fail(&format!(
                        "not finished within {:?} of virtual time",
                        self.options.max_virtual_time
                    )),
                },
            }
        }
        self.fail(&format!(
            "not finished within {} steps",
            self.options.max_steps
        ))
    }

    /// Runs everything for a span of virtual time.
    pub(super) fn run_for(self: &Rc<Self>, duration: Duration) {
        let _running = Running::enter(self);
        let limit = self.limit(duration);
        for _ in 0..self.options.max_steps {
            if let Some(task) = self.pick() {
                self.poll_task(task);
                continue;
            }
            match self.advance(limit) {
                Advance::Moved => {}
                Advance::NothingDue | Advance::LimitReached => {
                    self.clock.set_elapsed(limit);
                    return;
                }
            }
        }
        self.fail(&format!(
            "{duration:?} not passed within {} steps",
            self.options.max_steps
        ))
    }

    /// Drops all that tasks and events own, which is what ties the world into cycles.
    pub(super) fn dismantle(&self) {
        for node in self.nodes.borrow().iter() {
            node.mark_stopped();
        }
        // Destructors may schedule events, so it is asked until nothing is left.
        while self.executor.drop_tasks(None) | self.clock.clear() {}
    }

    fn limit(&self, duration: Duration) -> Duration {
        self.clock.elapsed().saturating_add(duration)
    }

    fn pick(&self) -> Option<u64> {
        let task = self.executor.pick(&mut self.random.borrow_mut());
        if let Some(task) = task {
            self.trace(task);
        }
        task
    }

    fn poll_task(self: &Rc<Self>, task: u64) {
        let Some(mut taken) = self.executor.take(task) else {
            return;
        };
        let mut cx = Context::from_waker(&taken.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| taken.future.as_mut().poll(&mut cx)));
        match polled {
            Ok(Poll::Pending) => self.executor.put_back(task, taken.future),
            Ok(Poll::Ready(())) => self.executor.remove(task),
            Err(panic) => {
                self.executor.remove(task);
                let name = self.nodes.borrow()[taken.node].name.clone();
                self.fail(&format!(
                    "a task of node {name}, spawned at {}, panicked: {}",
                    taken.spawned_at,
                    text(&*panic)
                ));
            }
        }
        self.drop_stopped();
    }

    fn advance(self: &Rc<Self>, limit: Duration) -> Advance {
        let Some(at) = self.clock.next_due() else {
            return Advance::NothingDue;
        };
        if at > limit {
            return Advance::LimitReached;
        }
        self.clock.set_elapsed(at);
        while let Some(((at, number), event)) = self.clock.take_due() {
            self.trace(mix(at.as_nanos() as u64) ^ number);
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Run { action, .. } => action(self),
            }
        }
        Advance::Moved
    }

    fn drop_stopped(&self) {
        let stopped = std::mem::take(&mut *self.stopped.borrow_mut());
        for node in stopped {
            while self.executor.drop_tasks(Some(node)) {}
        }
    }

    fn fail(&self, what: &str) -> ! {
        let mut message = format!(
            "simulation with seed {}, {:?} after its start: {what}",
            self.options.seed,
            self.clock.elapsed()
        );
        for node in self.nodes.borrow().iter() {
            let stopped = if node.is_stopped() {
                " (stopped by a fault point)"
            } else {
                ""
            };
            let _ = write!(message, "\n  node {}{stopped}, tasks:", node.name);
            for (place, count) in self.executor.census(node.index) {
                let _ = write!(message, " {count} × {place}");
            }
        }
        panic!("{message}");
    }
}

/// Keeps a running simulation from being run again from within.
struct Running<'a> {
    world: &'a World,
}

impl<'a> Running<'a> {
    fn enter(world: &'a World) -> Running<'a> {
        assert!(
            !world.running.replace(true),
            "a simulation is not run from within one of its own tasks"
        );
        Running { world }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.world.running.set(false);
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(a panic without text)")
}
