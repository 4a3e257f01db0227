//! The signal by which a shard tells its connections to finish.
//!
//! Thousands of idle connections wait for it beside their reads, so a wait that is polled again
//! costs one flag and a waker of its own, not a search among all waiters.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Told once, for ever. Clones share the signal.
#[derive(Clone, Default)]
pub struct Shutdown {
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    triggered: Cell<bool>,
    waiters: RefCell<Waiters>,
}

#[derive(Default)]
struct Waiters {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Gives the signal; all that wait are woken. Giving it again does nothing.
    pub fn trigger(&self) {
        if self.state.triggered.replace(true) {
            return;
        }
        let wakers: Vec<Waker> = {
            let mut waiters = self.state.waiters.borrow_mut();
            waiters.slots.iter_mut().filter_map(Option::take).collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// Whether the signal has been given.
    pub fn is_triggered(&self) -> bool {
        self.state.triggered.get()
    }

    /// Completes when the signal has been given.
    pub fn wait(&self) -> ShutdownWait {
        ShutdownWait {
            state: self.state.clone(),
            slot: None,
        }
    }
}

/// See [`Shutdown::wait`].
pub struct ShutdownWait {
    state: Rc<State>,
    slot: Option<usize>,
}

impl Future for ShutdownWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.triggered.get() {
            return Poll::Ready(());
        }
        let state = self.state.clone();
        let mut waiters = state.waiters.borrow_mut();
        let slot = *self.slot.get_or_insert_with(|| waiters.claim());
        match &mut waiters.slots[slot] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for ShutdownWait {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut waiters = self.state.waiters.borrow_mut();
            waiters.slots[slot] = None;
            waiters.free.push(slot);
        }
    }
}

impl Waiters {
    fn claim(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn all_that_wait_are_released_and_slots_are_used_again() {
        let shutdown = Shutdown::new();
        let mut first = shutdown.wait();
        assert_eq!((&mut first).now_or_never(), None);
        drop(first);
        let mut waits: Vec<_> = (0..3).map(|_| shutdown.wait()).collect();
        for wait in &mut waits {
            assert_eq!(wait.now_or_never(), None);
        }
        assert_eq!(shutdown.state.waiters.borrow().slots.len(), 3);
        shutdown.trigger();
        for wait in waits {
            assert_eq!(wait.now_or_never(), Some(()));
        }
        assert_eq!(shutdown.wait().now_or_never(), Some(()));
    }
}
