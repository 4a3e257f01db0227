//! Waiting for a condition within one core.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes every task that waits. Waiters re-check their condition; a notification that happens
/// between creating the [`Notify::notified`] future and awaiting it is not lost.
#[derive(Default, Clone)]
pub struct Notify {
    state: Rc<RefCell<NotifyState>>,
}

#[derive(Default)]
struct NotifyState {
    generation: u64,
    waiters: Vec<Waker>,
}

impl Notify {
    /// A notifier nobody waits on yet.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes all that wait now.
    pub fn notify_waiters(&self) {
        let waiters = {
            let mut state = self.state.borrow_mut();
            state.generation += 1;
            std::mem::take(&mut state.waiters)
        };
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// Completes at the first notification after this call.
    pub fn notified(&self) -> impl Future<Output = ()> + use<> {
        Notified {
            generation: self.state.borrow().generation,
            state: self.state.clone(),
        }
    }
}

struct Notified {
    generation: u64,
    state: Rc<RefCell<NotifyState>>,
}

impl Future for Notified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if state.generation != self.generation {
            return Poll::Ready(());
        }
        if !state
            .waiters
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            state.waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
