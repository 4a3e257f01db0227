//! Tasks and the queues that share a core between them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use futures::future::AbortHandle;

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
    abort: Option<AbortHandle>,
}

impl<T: 'static> Task<T> {
    /// Splits `future` into the part a backend runs and the handle the caller keeps.
    pub(crate) fn prepare(
        future: impl Future<Output = T> + 'static,
    ) -> (impl Future<Output = ()> + 'static, Task<T>) {
        let (sender, result) = oneshot::channel();
        let (future, abort) = futures::future::abortable(async move {
            // The caller may have detached: then nobody wants the result.
            let _ = sender.send(future.await);
        });
        let run = async move {
            let _ = future.await;
        };
        (
            run,
            Task {
                result,
                abort: Some(abort),
            },
        )
    }

    /// Lets the task run to its end with nobody waiting.
    pub fn detach(mut self) {
        self.abort = None;
    }

    /// Stops the task at its next suspension point.
    pub fn cancel(mut self) {
        if let Some(abort) = self.abort.take() {
            abort.abort();
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(abort) = self.abort.take() {
            abort.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.result).poll(cx).map(Result::ok)
    }
}
