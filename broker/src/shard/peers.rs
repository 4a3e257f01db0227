//! The mailboxes to the other shards, and the requests under way through them.
//!
//! A message never waits in the caller: when a mailbox is full, messages queue here and one task
//! feeds them in. What can queue is bounded by the requests in flight, which each hold a share of
//! their shard's memory budget.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use ahash::AHashMap;
use futures::channel::oneshot;
use millstream_reactor::{Reactor, Receiver, Sender, TaskQueue, mailbox};

use super::messages::{CallId, ShardMessage, ShardReply, ShardRequest};

/// Messages that a mailbox between two shards holds.
const MAILBOX_CAPACITY: usize = 1024;

/// The number of a shard, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub usize);

/// One shard's ends of the mailboxes; made together by [`mesh`], moved to their cores.
pub struct PeerEnds {
    senders: Vec<Option<Sender<ShardMessage>>>,
    receivers: Vec<(ShardId, Receiver<ShardMessage>)>,
}

impl PeerEnds {
    /// How many shards there are, this one among them.
    pub fn shard_count(&self) -> usize {
        self.senders.len()
    }
}

/// Makes the mailboxes between `count` shards: one for each ordered pair.
pub fn mesh(count: usize) -> Vec<PeerEnds> {
    let mut ends: Vec<PeerEnds> = (0..count)
        .map(|_| PeerEnds {
            senders: Vec::new(),
            receivers: Vec::new(),
        })
        .collect();
    for from in 0..count {
        for to in 0..count {
            if from == to {
                ends[from].senders.push(None);
            } else {
                let (sender, receiver) = mailbox(MAILBOX_CAPACITY);
                ends[from].senders.push(Some(sender));
                ends[to].receivers.push((ShardId(from), receiver));
            }
        }
    }
    ends
}

struct Outbox {
    sender: Option<Sender<ShardMessage>>,
    waiting: VecDeque<ShardMessage>,
}

/// The other shards.
pub struct Peers {
    reactor: Reactor,
    outboxes: Vec<Rc<RefCell<Outbox>>>,
    calls: RefCell<AHashMap<CallId, oneshot::Sender<ShardReply>>>,
    next_call: Cell<u64>,
}

impl Peers {
    /// Takes the sending ends; gives the receiving ones back.
    pub fn new(
        reactor: &Reactor,
        ends: PeerEnds,
    ) -> (Peers, Vec<(ShardId, Receiver<ShardMessage>)>) {
        let outboxes = ends
            .senders
            .into_iter()
            .map(|sender| {
                Rc::new(RefCell::new(Outbox {
                    sender,
                    waiting: VecDeque::new(),
                }))
            })
            .collect();
        let peers = Peers {
            reactor: reactor.clone(),
            outboxes,
            calls: RefCell::default(),
            next_call: Cell::new(0),
        };
        (peers, ends.receivers)
    }

    /// How many shards there are, this one among them.
    pub fn count(&self) -> usize {
        self.outboxes.len()
    }

    /// Asks another shard; the answer arrives in the receiver, which is cancelled if the other
    /// shard has stopped. Requests to one shard arrive in the order of these calls.
    /// `image_offset` is that of the caller's metadata.
    pub fn call(
        &self,
        to: ShardId,
        image_offset: u64,
        request: ShardRequest,
    ) -> oneshot::Receiver<ShardReply> {
        let id = CallId(self.next_call.get());
        self.next_call.set(id.0 + 1);
        let (sender, receiver) = oneshot::channel();
        self.calls.borrow_mut().insert(id, sender);
        self.send(
            to,
            ShardMessage::Request {
                id,
                image_offset,
                request,
            },
        );
        receiver
    }

    /// Hands an answer to the task that asked.
    pub fn answered(&self, id: CallId, reply: ShardReply) {
        if let Some(sender) = self.calls.borrow_mut().remove(&id) {
            // Whoever asked may have given up.
            let _ = sender.send(reply);
        }
    }

    /// Sends a message; messages to one shard arrive in order.
    pub fn send(&self, to: ShardId, message: ShardMessage) {
        let outbox = &self.outboxes[to.0];
        let mut state = outbox.borrow_mut();
        if !state.waiting.is_empty() || state.sender.is_none() {
            // Either the feeding task holds the sender, or the message waits its turn.
            state.waiting.push_back(message);
            return;
        }
        let sender = state.sender.as_mut().expect("checked above");
        let Err(message) = sender.try_send(message) else {
            return;
        };
        state.waiting.push_back(message);
        let sender = state.sender.take().expect("checked above");
        let feed = feed(outbox.clone(), sender);
        self.reactor.spawn(TaskQueue::Requests, feed).detach();
    }
}

/// Moves what waits into the mailbox, then gives the sender back. When the other shard is gone the
/// messages are dropped, and with them the requests' answers.
async fn feed(outbox: Rc<RefCell<Outbox>>, mut sender: Sender<ShardMessage>) {
    loop {
        let Some(message) = outbox.borrow_mut().waiting.pop_front() else {
            outbox.borrow_mut().sender = Some(sender);
            return;
        };
        if sender.send(message).await.is_err() {
            let mut state = outbox.borrow_mut();
            state.waiting.clear();
            state.sender = Some(sender);
            return;
        }
    }
}
