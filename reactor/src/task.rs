//! Tasks and the queues that share a core between them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::channel::oneshot;

/// Which share of the core a task draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskQueue {
    /// Clients' requests and the writes they wait for. Largest share.
    Requests,
    /// Followers' and leaders' replication.
    Replication,
    /// Retention, compaction, checkpoints. Smallest share.
    Background,
}

/// A spawned task. Dropping it cancels the task; [`Task::detach`] lets it run on.
///
/// Awaiting gives `None` if the task was cancelled before it finished.
#[must_use = "a dropped task is cancelled"]
pub struct Task<T> {
    result: oneshot::Receiver<T>,
    cancellation: Option<Rc<Cancellation>>,
}

/// Asks a task of the same thread to stop.
#[derive(Default)]
struct Cancellation {
    requested: Cell<bool>,
    /// Of the task.
    waker: RefCell<Option<Waker>>,
}

impl<T: 'static> Task<T> {
    /// Splits `future` into the part a backend runs and the handle the caller keeps.
    pub(crate) fn prepare(
        future: impl Future<Output = T> + 'static,
    ) -> (impl Future<Output = ()> + 'static, Task<T>) {
        let (sender, result) = oneshot::channel();
        let cancellation = Rc::new(Cancellation::default());
        let run = {
            let cancellation = cancellation.clone();
            async move {
                let mut future = pin!(future);
                let value = poll_fn(|cx| cancellation.poll(future.as_mut(), cx)).await;
                if let Some(value) = value {
                    // The caller may have detached: then nobody wants the result.
                    let _ = sender.send(value);
                }
            }
        };
        let cancellation = Some(cancellation);
        (
            run,
            Task {
                result,
                cancellation,
            },
        )
    }

    /// Lets the task run to its end with nobody waiting.
    pub fn detach(mut self) {
        self.cancellation = None;
    }

    /// Stops the task at its next suspension point.
    pub fn cancel(self) {
        drop(self);
    }
}

impl Cancellation {
    /// Polls the task's future; `None` once the task is to stop.
    fn poll<F: Future>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        if self.requested.get() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(value) = future.poll(cx) {
            return Poll::Ready(Some(value));
        }
        // The poll itself may have asked for it.
        if self.requested.get() {
            return Poll::Ready(None);
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn request(&self) {
        self.requested.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(cancellation) = self.cancellation.take() {
            cancellation.request();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.result).poll(cx).map(Result::ok)
    }
}
