//! Wakers that work from any thread, and the count of tasks that can run.
//!
//! glommio's own wakers count their clones in 16 bits, and one used on another thread reaches a
//! busy executor only at its next preemption. So each task is polled with a waker of ours, which
//! names the task by its key: on its own thread it wakes glommio's task directly, elsewhere it
//! puts the key in the shard's [`Inbox`], which the driver empties.
//!
//! Since every wake passes through here, `ready` is exact: when it is 0 the driver may put the
//! thread to sleep.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::{io, mem};

use futures::task::noop_waker_ref;
use nix::sys::eventfd::{EfdFlags, EventFd};
use slab::Slab;

/// Polls after which the driver gets a turn although tasks are still ready, and other task queues
/// may be chosen.
const POLLS_PER_TURN: u32 = 32;

thread_local! {
    /// The table of the shard that runs on this thread.
    static CURRENT: RefCell<Option<Rc<TaskTable>>> = const { RefCell::new(None) };
}

/// The tasks of one shard.
pub(super) struct TaskTable {
    slots: RefCell<Slab<TaskSlot>>,
    /// Tasks that were woken, or are new, and were not polled since.
    ready: Cell<usize>,
    polls: Cell<u32>,
    stopping: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    inbox: Arc<Inbox>,
}

struct TaskSlot {
    /// glommio's waker, from the first poll on.
    executor: Option<Waker>,
    queued: bool,
    /// Ours.
    waker: Arc<TaskWaker>,
}

/// Keys of tasks that other threads woke.
pub(super) struct Inbox {
    woken: Mutex<Vec<usize>>,
    filled: AtomicBool,
    asleep: AtomicBool,
    event: Arc<OwnedFd>,
}

struct TaskWaker {
    key: usize,
    inbox: Arc<Inbox>,
    /// Whether the key lies in the inbox, so that it lies there once only.
    sent: AtomicBool,
}

impl TaskTable {
    /// A table for the calling thread.
    pub(super) fn install() -> io::Result<Rc<TaskTable>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = OwnedFd::from(EventFd::from_value_and_flags(0, flags)?);
        let table = Rc::new(TaskTable {
            slots: RefCell::new(Slab::new()),
            ready: Cell::new(0),
            polls: Cell::new(0),
            stopping: Cell::new(false),
            driver: RefCell::new(None),
            inbox: Arc::new(Inbox {
                woken: Mutex::new(Vec::new()),
                filled: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
                event: Arc::new(event),
            }),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(table.clone()));
        Ok(table)
    }

    /// What another thread writes to wake this one.
    pub(super) fn wake_event(&self) -> Arc<OwnedFd> {
        self.inbox.event.clone()
    }

    /// Wraps a future so that it is woken and counted here. It is cancelled, with `None`, when the
    /// shard stops.
    pub(super) fn track<F: Future>(self: &Rc<Self>, future: F) -> Tracked<F> {
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let key = entry.key();
        let waker = Arc::new(TaskWaker {
            key,
            inbox: self.inbox.clone(),
            sent: AtomicBool::new(false),
        });
        entry.insert(TaskSlot {
            executor: None,
            queued: true,
            waker: waker.clone(),
        });
        self.ready.set(self.ready.get() + 1);
        Tracked {
            table: self.clone(),
            key,
            waker: Waker::from(waker),
            future: Some(Box::pin(future)),
        }
    }

    /// Whether a task is ready to be polled.
    pub(super) fn has_ready(&self) -> bool {
        self.ready.get() > 0
    }

    /// Whether the shard stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Keeps the waker by which the driver is given a turn.
    pub(super) fn set_driver(&self, waker: &Waker) {
        self.polls.set(0);
        let mut driver = self.driver.borrow_mut();
        match &mut *driver {
            Some(known) => known.clone_from(waker),
            None => *driver = Some(waker.clone()),
        }
    }

    /// Wakes the tasks that other threads have woken.
    pub(super) fn receive_wakes(&self) {
        if !self.inbox.filled.load(Ordering::SeqCst) {
            return;
        }
        let woken = {
            let mut woken = self.inbox.lock();
            self.inbox.filled.store(false, Ordering::SeqCst);
            mem::take(&mut *woken)
        };
        for key in woken {
            let waker = self.slots.borrow().get(key).map(|slot| slot.waker.clone());
            if let Some(waker) = waker {
                waker.sent.store(false, Ordering::SeqCst);
                self.wake(key);
            }
        }
    }

    /// Runs `sleep`, unless another thread has woken a task; from now until it returns, such a
    /// thread writes the eventfd.
    pub(super) fn sleep(&self, sleep: impl FnOnce()) {
        self.inbox.asleep.store(true, Ordering::SeqCst);
        if !self.inbox.filled.load(Ordering::SeqCst) {
            sleep();
        }
        self.inbox.asleep.store(false, Ordering::SeqCst);
    }

    /// Cancels all tasks: each is polled once more and drops its future.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        let keys: Vec<usize> = self.slots.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            self.wake(key);
        }
        self.wake_driver();
    }

    /// Whether all tasks have ended.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.borrow().is_empty()
    }

    /// Takes the table off its thread when the shard has ended.
    pub(super) fn uninstall(&self) {
        let driver = self.driver.borrow_mut().take();
        drop(driver);
        let table = CURRENT.with(|current| current.borrow_mut().take());
        drop(table);
    }

    fn wake(&self, key: usize) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key) else {
            return;
        };
        if mem::replace(&mut slot.queued, true) {
            return;
        }
        self.ready.set(self.ready.get() + 1);
        slot.executor
            .as_ref()
            .expect("a task that is not queued was polled before")
            .wake_by_ref();
    }

    fn before_poll(&self, key: usize, executor: &Waker) {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key];
        if mem::take(&mut slot.queued) {
            self.ready.set(self.ready.get() - 1);
        }
        match &mut slot.executor {
            Some(known) => known.clone_from(executor),
            None => slot.executor = Some(executor.clone()),
        }
    }

    fn after_poll(&self) {
        let polls = self.polls.get() + 1;
        self.polls.set(polls);
        if polls >= POLLS_PER_TURN {
            self.polls.set(0);
            // The first poll of glommio's future marks the running queue as having yielded; the
            // task itself has nothing to wait for.
            let executor = glommio::executor();
            let yielded = pin!(executor.yield_task_queue_now());
            let _ = yielded.poll(&mut Context::from_waker(noop_waker_ref()));
            self.wake_driver();
        } else if self.ready.get() == 0 {
            self.wake_driver();
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    fn remove(&self, key: usize) {
        let slot = self.slots.borrow_mut().remove(key);
        if slot.queued {
            self.ready.set(self.ready.get() - 1);
        }
    }
}

/// A future that is woken through the table.
pub(super) struct Tracked<F: Future> {
    table: Rc<TaskTable>,
    key: usize,
    waker: Waker,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Tracked<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.table.before_poll(this.key, cx.waker());
        let future = this.future.as_mut().expect("polled after its end");
        let polled = if this.table.is_stopping() {
            Poll::Ready(None)
        } else {
            let mut context = Context::from_waker(&this.waker);
            future.as_mut().poll(&mut context).map(Some)
        };
        if polled.is_ready() {
            this.future = None;
            this.table.remove(this.key);
        }
        this.table.after_poll();
        polled
    }
}

impl<F: Future> Drop for Tracked<F> {
    fn drop(&mut self) {
        if self.future.take().is_some() {
            self.table.remove(self.key);
        }
    }
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        // The vector is whole at every step.
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, key: usize) {
        {
            let mut woken = self.lock();
            woken.push(key);
            self.filled.store(true, Ordering::SeqCst);
        }
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // The counter cannot overflow: one write for each sleep.
            let _ = nix::unistd::write(self.event.as_fd(), &1_u64.to_ne_bytes());
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken_here = CURRENT.try_with(|current| match &*current.borrow() {
            Some(table) if Arc::ptr_eq(&table.inbox, &self.inbox) => {
                table.wake(self.key);
                true
            }
            _ => false,
        });
        if !woken_here.unwrap_or(false) && !self.sent.swap(true, Ordering::SeqCst) {
            self.inbox.push(self.key);
        }
    }
}
