//! The flushes of a shard, which go out together: what asks while a round is under way joins the
//! next one, and all of a round are in flight at once.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::stream::{FuturesUnordered, StreamExt};
use millstream_reactor::{File, Reactor, TaskQueue};

/// The flushes of one shard. Bounded by the number of logs, each of which flushes one file at a
/// time.
#[derive(Default, Clone)]
pub(crate) struct FlushGroup {
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(File, oneshot::Sender<io::Result<()>>)>,
    running: bool,
}

impl FlushGroup {
    /// Flushes what was written to `file` before the call.
    pub(crate) async fn flush(&self, reactor: &Reactor, file: File) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        let start = {
            let mut state = self.state.borrow_mut();
            state.waiting.push((file, sender));
            !std::mem::replace(&mut state.running, true)
        };
        if start {
            reactor
                .spawn(TaskQueue::Requests, self.clone().run_rounds())
                .detach();
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the shard stopped before the flush")))
    }

    async fn run_rounds(self) {
        loop {
            let round = {
                let mut state = self.state.borrow_mut();
                if state.waiting.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let mut flushes: FuturesUnordered<_> = round
                .into_iter()
                .map(|(file, sender)| async move {
                    // Whoever asked may be gone; nobody else wants to know.
                    let _ = sender.send(file.sync_data().await);
                })
                .collect();
            while flushes.next().await.is_some() {}
        }
    }
}
