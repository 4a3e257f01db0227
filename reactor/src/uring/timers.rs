//! Timers of one shard, fired by the driver.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What waits for a time, by deadline.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_id: Cell<u64>,
}

impl Timers {
    /// Completes once `duration` has passed.
    pub(super) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let far = Duration::from_secs(100 * 365 * 24 * 3600);
        Sleep {
            timers: self.clone(),
            key: (Instant::now() + duration.min(far), id),
            waiting: false,
        }
    }

    /// Wakes what is due.
    pub(super) fn fire(&self) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let mut waiting = self.waiting.borrow_mut();
            match waiting.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(waiting);
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    /// How long until the next timer is due.
    pub(super) fn until_next(&self) -> Option<Duration> {
        let waiting = self.waiting.borrow();
        let ((deadline, _), _) = waiting.first_key_value()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }
}

/// A wait for a time.
pub(super) struct Sleep {
    timers: Rc<Timers>,
    key: (Instant, u64),
    waiting: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.0 {
            return Poll::Ready(());
        }
        self.waiting = true;
        let mut waiting = self.timers.waiting.borrow_mut();
        waiting.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.waiting {
            self.timers.waiting.borrow_mut().remove(&self.key);
        }
    }
}
