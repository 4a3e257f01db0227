//! A shard of a node: the handle behind [`crate::Reactor`] in simulation.

use std::future::{Future, pending, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::task::{Task, TaskQueue};

use super::clock::{Event, EventKey};
use super::node::NodeState;
use super::world::World;

/// A shard of a simulated node. After the node has crashed it is dead: nothing begun through it
/// ever completes, and tasks spawned through it are dropped.
#[derive(Clone)]
pub struct Shard {
    pub(super) world: Rc<World>,
    pub(super) node: Rc<NodeState>,
    run: u64,
}

impl Shard {
    pub(super) fn new(world: Rc<World>, node: Rc<NodeState>) -> Shard {
        let run = node.run();
        Shard { world, node, run }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.run == self.node.run() && !self.node.is_stopped()
    }

    /// Never returns on a dead shard.
    pub(super) async fn check_alive(&self) {
        if !self.is_alive() {
            pending::<()>().await;
        }
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    pub(crate) fn now(&self) -> Instant {
        self.world.now()
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        let skew = self.node.clock_skew_ms();
        self.world.wall_clock_ms().saturating_add(skew)
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.world.random.borrow_mut().next_u64()
    }

    /// Queues have no shares here: a seeded choice tries every order.
    #[track_caller]
    pub(crate) fn spawn<T: 'static>(
        &self,
        _queue: TaskQueue,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let (run, task) = Task::prepare(future);
        if self.is_alive() {
            let spawned_at = Location::caller();
            let executor = &self.world.executor;
            executor.spawn(self.node.index, spawned_at, Box::pin(run));
        }
        task
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let deadline = self.world.clock.elapsed().saturating_add(duration);
        let sleep = Sleep {
            world: self.world.clone(),
            deadline,
            timer: None,
        };
        sleep.await;
        self.check_alive().await;
    }

    pub(crate) async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            let executor = &self.world.executor;
            executor.wake_yielded(|| cx.waker().wake_by_ref());
            Poll::Pending
        })
        .await;
    }
}

/// A timer; waits for at least one step of the simulation, so that a loop of empty sleeps is not
/// endless within one poll.
struct Sleep {
    world: Rc<World>,
    deadline: Duration,
    timer: Option<EventKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = &self.world.clock;
        match self.timer {
            None => {
                let event = Event::Wake(cx.waker().clone());
                self.timer = Some(clock.schedule(self.deadline, event));
                Poll::Pending
            }
            Some(timer) if clock.rearm(timer, cx.waker()) => Poll::Pending,
            Some(_) => {
                self.timer = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.world.clock.cancel(timer);
        }
    }
}
