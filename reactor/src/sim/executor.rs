//! Tasks of all nodes, and the choice of who runs next: any ready task, at random.
//!
//! Wakers are ordinary ones, `Send` and `Sync`; they put a task's number into the ready queue.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use super::random::Random;

pub(super) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
pub(super) struct Executor {
    tasks: RefCell<BTreeMap<u64, TaskState>>,
    next_task: Cell<u64>,
    ready: ReadyQueue,
}

struct TaskState {
    node: usize,
    spawned_at: &'static Location<'static>,
    /// Absent while the task is polled.
    future: Option<TaskFuture>,
    wake: Arc<TaskWake>,
}

/// A task about to be polled.
pub(super) struct Taken {
    pub(super) node: usize,
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) future: TaskFuture,
    pub(super) waker: Waker,
}

/// Puts one task into the ready queue, once until it is taken from there.
pub(super) struct TaskWake {
    task: u64,
    queued: AtomicBool,
    ready: ReadyQueue,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.task);
        }
    }
}

impl TaskWake {
    /// Said before a poll: from now on a wake counts again.
    pub(super) fn taken(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

#[derive(Clone, Default)]
struct ReadyQueue {
    state: Arc<Mutex<ReadyState>>,
}

#[derive(Default)]
struct ReadyState {
    entries: Vec<ReadyEntry>,
    next_ticket: u64,
    yielding: bool,
}

struct ReadyEntry {
    task: u64,
    ticket: u64,
    /// Goes after all that were ready before it.
    yielded: bool,
}

impl ReadyQueue {
    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: u64) {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let yielded = state.yielding;
        state.entries.push(ReadyEntry {
            task,
            ticket,
            yielded,
        });
    }

    fn pick(&self, random: &mut Random) -> Option<u64> {
        let mut state = self.lock();
        if state.entries.is_empty() {
            return None;
        }
        let mut index = random.index(state.entries.len());
        if state.entries[index].yielded {
            let oldest = state.entries.iter().enumerate();
            index = oldest
                .min_by_key(|(_, entry)| entry.ticket)
                .map_or(index, |(index, _)| index);
        }
        Some(state.entries.swap_remove(index).task)
    }
}

impl Executor {
    /// A waker for a new task number.
    pub(super) fn task_wake(&self) -> Arc<TaskWake> {
        let task = self.next_task.get();
        self.next_task.set(task + 1);
        Arc::new(TaskWake {
            task,
            queued: AtomicBool::new(false),
            ready: self.ready.clone(),
        })
    }

    pub(super) fn spawn(
        &self,
        node: usize,
        spawned_at: &'static Location<'static>,
        future: TaskFuture,
    ) {
        let wake = self.task_wake();
        let state = TaskState {
            node,
            spawned_at,
            future: Some(future),
            wake: wake.clone(),
        };
        self.tasks.borrow_mut().insert(wake.task, state);
        wake.wake_by_ref();
    }

    /// The task to run next.
    pub(super) fn pick(&self, random: &mut Random) -> Option<u64> {
        self.ready.pick(random)
    }

    /// Takes the task out for a poll; `None` if it is gone.
    pub(super) fn take(&self, task: u64) -> Option<Taken> {
        let mut tasks = self.tasks.borrow_mut();
        let state = tasks.get_mut(&task)?;
        state.wake.taken();
        Some(Taken {
            node: state.node,
            spawned_at: state.spawned_at,
            future: state.future.take()?,
            waker: Waker::from(state.wake.clone()),
        })
    }

    /// Puts a polled task back. A task whose node was stopped meanwhile is dropped.
    pub(super) fn put_back(&self, task: u64, future: TaskFuture) {
        let mut tasks = self.tasks.borrow_mut();
        if let Some(state) = tasks.get_mut(&task) {
            state.future = Some(future);
            return;
        }
        drop(tasks);
        drop(future);
    }

    /// Forgets a task that ended.
    pub(super) fn remove(&self, task: u64) {
        let state = self.tasks.borrow_mut().remove(&task);
        drop(state);
    }

    /// Drops all tasks of a node, or of all nodes. Whether there were any.
    pub(super) fn drop_tasks(&self, node: Option<usize>) -> bool {
        let dropped: Vec<(u64, TaskState)> = self
            .tasks
            .borrow_mut()
            .extract_if(.., |_, state| node.is_none_or(|node| node == state.node))
            .collect();
        // The borrow has ended: what the tasks own may reach the simulation while it is dropped.
        !dropped.is_empty()
    }

    /// Runs `wake` so that the task it wakes goes after all that are ready now.
    pub(super) fn wake_yielded(&self, wake: impl FnOnce()) {
        self.ready.lock().yielding = true;
        wake();
        self.ready.lock().yielding = false;
    }

    /// Where the tasks of a node were spawned, and how many at each place.
    pub(super) fn census(&self, node: usize) -> BTreeMap<String, usize> {
        let mut census = BTreeMap::new();
        for state in self.tasks.borrow().values() {
            if state.node == node {
                *census.entry(state.spawned_at.to_string()).or_insert(0) += 1;
            }
        }
        census
    }
}

impl TaskWake {
    pub(super) fn task(&self) -> u64 {
        self.task
    }
}
