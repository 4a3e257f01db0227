//! The bytes that all requests of a shard may hold at once.
//!
//! Permits are given in the order they were asked for, so a large request is not overtaken for ever
//! by small ones. A request larger than the whole budget is let through beside it, one at a time:
//! it neither waits for requests that themselves wait for something else, nor is it refused. So the
//! memory held is at most the budget plus one largest request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A bound on bytes, shared by its clones.
#[derive(Clone)]
pub struct MemoryBudget {
    state: Rc<RefCell<State>>,
}

struct State {
    capacity: usize,
    used: usize,
    oversized_held: bool,
    waiters: VecDeque<Rc<Waiter>>,
}

struct Waiter {
    bytes: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Bytes taken from a [`MemoryBudget`]; dropping it gives them back.
#[must_use = "a dropped permit is given back"]
pub struct MemoryPermit {
    state: Rc<RefCell<State>>,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget of `capacity` bytes.
    pub fn new(capacity: usize) -> MemoryBudget {
        MemoryBudget {
            state: Rc::new(RefCell::new(State {
                capacity,
                used: 0,
                oversized_held: false,
                waiters: VecDeque::new(),
            })),
        }
    }

    /// Takes `bytes` at once, unless they are not free or others wait for theirs.
    pub fn try_acquire(&self, bytes: usize) -> Option<MemoryPermit> {
        let mut state = self.state.borrow_mut();
        if state.waiters.is_empty() && state.grant(bytes) {
            Some(self.permit(bytes))
        } else {
            None
        }
    }

    /// Takes `bytes`, waiting until they are free.
    pub async fn acquire(&self, bytes: usize) -> MemoryPermit {
        if let Some(permit) = self.try_acquire(bytes) {
            return permit;
        }
        let waiter = Rc::new(Waiter {
            bytes,
            granted: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.state.borrow_mut().waiters.push_back(waiter.clone());
        let acquire = Acquire {
            state: self.state.clone(),
            waiter: Some(waiter),
        };
        acquire.await;
        self.permit(bytes)
    }

    /// The bytes that are taken now.
    pub fn used(&self) -> usize {
        self.state.borrow().used
    }

    fn permit(&self, bytes: usize) -> MemoryPermit {
        MemoryPermit {
            state: self.state.clone(),
            bytes,
        }
    }
}

impl MemoryPermit {
    /// The bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        release(&self.state, self.bytes);
    }
}

impl State {
    fn grant(&mut self, bytes: usize) -> bool {
        if bytes > self.capacity {
            let granted = !self.oversized_held;
            self.oversized_held = true;
            return granted;
        }
        let granted = self.used + bytes <= self.capacity;
        if granted {
            self.used += bytes;
        }
        granted
    }
}

fn release(state: &RefCell<State>, bytes: usize) {
    let mut state = state.borrow_mut();
    if bytes > state.capacity {
        assert!(state.oversized_held, "an oversized permit was given twice");
        state.oversized_held = false;
    } else {
        assert!(state.used >= bytes, "released more than was taken");
        state.used -= bytes;
    }
    grant_waiters(&mut state);
}

fn grant_waiters(state: &mut State) {
    while let Some(waiter) = state.waiters.front().cloned() {
        if !state.grant(waiter.bytes) {
            break;
        }
        state.waiters.pop_front();
        waiter.granted.set(true);
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
    }
}

struct Acquire {
    state: Rc<RefCell<State>>,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Acquire {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waiter = self.waiter.as_ref().expect("polled only until it is ready");
        if waiter.granted.get() {
            self.waiter = None;
            return Poll::Ready(());
        }
        waiter.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        if waiter.granted.get() {
            release(&self.state, waiter.bytes);
            return;
        }
        let mut state = self.state.borrow_mut();
        state.waiters.retain(|other| !Rc::ptr_eq(other, &waiter));
        // The one that went may have stood before smaller ones that fit.
        grant_waiters(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    #[test]
    fn permits_are_given_in_order() {
        let budget = MemoryBudget::new(100);
        let first = budget.try_acquire(80).expect("it is empty");
        let mut large = pin!(budget.acquire(90));
        let mut small = pin!(budget.acquire(10));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none(), "no overtaking");
        drop(first);
        let large = large.as_mut().now_or_never().expect("80 came free");
        let small = small.as_mut().now_or_never().expect("90 + 10 fit");
        assert_eq!(budget.used(), 100);
        drop((large, small));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_request_larger_than_the_budget_passes_beside_it_but_alone() {
        let budget = MemoryBudget::new(100);
        let held = budget.try_acquire(100).expect("it is empty");
        let oversized = budget.try_acquire(1_000).expect("it needs no room");
        let mut second = pin!(budget.acquire(2_000));
        assert!(second.as_mut().now_or_never().is_none());
        drop(oversized);
        let second = second.as_mut().now_or_never().expect("the first is done");
        drop((held, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_wait_given_up_leaves_no_trace() {
        let budget = MemoryBudget::new(100);
        let held = budget.try_acquire(60).expect("it is empty");
        let mut small = pin!(budget.acquire(40));
        {
            let mut large = Box::pin(budget.acquire(90));
            assert!(large.as_mut().now_or_never().is_none());
            assert!(small.as_mut().now_or_never().is_none());
        }
        let small = small.as_mut().now_or_never().expect("the large one went");
        {
            let mut granted = Box::pin(budget.acquire(50));
            assert!(granted.as_mut().now_or_never().is_none());
            drop(held);
            // Granted but never taken: dropped here.
        }
        drop(small);
        assert_eq!(budget.used(), 0);
    }
}
