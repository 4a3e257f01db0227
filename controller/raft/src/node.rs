//! One node of the quorum.
//!
//! Inputs are method calls; outputs are drained with [`Raft::poll_output`] after each. What the
//! order of outputs promises:
//!
//! * a message leaves only when what it speaks of is durable here: whatever must wait for a
//!   [`Output::Persist`] comes out after [`Raft::persisted`] with its number. A leader's entries
//!   may leave for followers while they are written here, as they count only where they are durable;
//! * [`Output::Committed`] has only entries that are durable here and on a majority, each once, in
//!   order, beginning after the snapshot the node was opened with;
//! * proposals made between two drains are written together.

use std::collections::VecDeque;

use bytes::Bytes;
use millstream_protocol::NodeId;
use raft::eraftpb::{self, ConfState, MessageType};
use raft::{Config, RawNode, SnapshotStatus, StateRole};

use crate::log_entry::{Entry, HardState, Persist, Recovered, Snapshot};
use crate::log_store::LogStore;
use crate::message::{Message, entry_of, entry_to, node_of, raft_id, snapshot_of, snapshot_to};
use crate::trace_drain;

/// Bytes of entries that may be proposed and not yet committed.
const MAX_UNCOMMITTED_BYTES: u64 = 64 << 20;

/// Bytes of entries in one message.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;

/// Append messages on their way to one follower.
const MAX_INFLIGHT_MESSAGES: usize = 64;

/// What a node is told when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// This node.
    pub node_id: NodeId,
    /// Who votes in a new quorum; an existing one knows from its snapshot.
    pub voters: Vec<NodeId>,
    /// Who listens without a vote in a new quorum.
    pub learners: Vec<NodeId>,
    /// Ticks without a leader until an election, at least; at most twice as many.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Where the spread of election timeouts comes from.
    pub seed: u64,
}

/// Which entry a proposal became, if it is ever committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId {
    /// The entry's index.
    pub index: u64,
    /// The entry's term: another one at that index means that the proposal was lost.
    pub term: u64,
}

/// A node of the quorum, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftReplica {
    /// The node.
    pub node_id: NodeId,
    /// Whether it votes.
    pub is_voter: bool,
    /// The last entry that it is known to have.
    pub last_index: u64,
}

/// Why nothing was proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only a leader proposes.
    #[error("this node does not lead the quorum")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// Too much waits to be committed.
    #[error("too much waits to be committed")]
    Overloaded,
}

/// Why a node cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// What the log holds does not fit together.
    #[error("the log does not fit together: {0}")]
    Log(String),
    /// Raft refuses its configuration.
    #[error("the quorum cannot be configured: {0}")]
    Config(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make this durable, then call [`Raft::persisted`].
    Persist(Persist),
    /// Send this; it may get lost.
    Send(Message),
    /// Replay these.
    Committed(Vec<Entry>),
    /// Forget all state and begin again with this, which is durable.
    Restored(Snapshot),
    /// A follower is too far behind: give [`Raft::offer_snapshot`] the state as it is.
    SnapshotWanted,
}

/// A node of the quorum.
pub struct Raft {
    node: RawNode<LogStore>,
    outputs: VecDeque<Output>,
    waiting: VecDeque<Waiting>,
    random: u64,
    election_ticks: usize,
    election_timeout: usize,
    /// Term and role for which the timeout was drawn.
    timeout_for: (u64, StateRole),
}

/// What waits until a write, and those before it, are durable.
struct Waiting {
    number: u64,
    on_disk: bool,
    messages: Vec<eraftpb::Message>,
    restored: Option<Snapshot>,
}

impl Raft {
    /// A node over what its log holds. The only voter of a quorum leads it at once.
    pub fn start(config: &RaftConfig, recovered: Recovered) -> Result<Raft, StartError> {
        let applied = recovered
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.index);
        let store = store_of(config, recovered)?;
        let mut raft_config = Config::new(raft_id(config.node_id));
        raft_config.election_tick = config.election_ticks;
        raft_config.heartbeat_tick = config.heartbeat_ticks;
        raft_config.applied = applied;
        raft_config.max_size_per_msg = MAX_MESSAGE_BYTES;
        raft_config.max_inflight_msgs = MAX_INFLIGHT_MESSAGES;
        raft_config.max_uncommitted_size = MAX_UNCOMMITTED_BYTES;
        raft_config.check_quorum = true;
        raft_config.pre_vote = true;
        let only_voter = store.members().voters == [raft_config.id];
        let mut node = RawNode::new(&raft_config, store, &trace_drain::logger())
            .map_err(|error| StartError::Config(error.to_string()))?;
        if only_voter {
            node.campaign()
                .map_err(|error| StartError::Config(error.to_string()))?;
        }
        let mut raft = Raft {
            timeout_for: (node.raft.term, node.raft.state),
            node,
            outputs: VecDeque::new(),
            waiting: VecDeque::new(),
            random: config.seed,
            election_ticks: config.election_ticks,
            election_timeout: config.election_ticks,
        };
        raft.draw_election_timeout();
        Ok(raft)
    }

    /// Time passes; it stands still while no election may begin.
    pub fn tick(&mut self) {
        if self.is_restoring() {
            return;
        }
        self.node.tick();
        self.settle_election_timeout();
    }

    /// A message came. One that makes no sense here is dropped.
    pub fn step(&mut self, message: Message) {
        if message.to() != node_of(self.node.raft.id) {
            return;
        }
        let message = message.into_inner();
        if message.get_msg_type() == MessageType::MsgTimeoutNow && self.is_restoring() {
            return;
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "a raft message was dropped");
        }
        self.settle_election_timeout();
    }

    /// Appends an entry, if this node leads.
    pub fn propose(&mut self, data: Bytes) -> Result<ProposalId, ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader {
                leader: self.leader(),
            });
        }
        // The bytes are shared, not copied, as this is their only owner.
        let data = data.into();
        self.node
            .propose(Vec::new(), data)
            .map_err(|_| ProposeError::Overloaded)?;
        Ok(ProposalId {
            index: self.last_index(),
            term: self.term(),
        })
    }

    /// All that was put out for persistence up to that number is durable.
    pub fn persisted(&mut self, number: u64) {
        if let Some(waiting) = self
            .waiting
            .iter_mut()
            .find(|waiting| waiting.number == number)
        {
            waiting.on_disk = true;
        }
        self.release();
    }

    /// A snapshot of the state after `index` is durable: the log up to there may be forgotten.
    pub fn compact(&mut self, index: u64) {
        self.node.mut_store().compact(index);
    }

    /// The state after the entry at `index`, for a follower that is too far behind.
    pub fn offer_snapshot(&mut self, index: u64, data: Bytes) {
        if let Some(snapshot) = self.snapshot(index, data) {
            self.node.mut_store().offer(snapshot_to(&snapshot));
        }
    }

    /// The snapshot that `data`, the state after the entry at `index`, makes. `None` when the log
    /// no longer knows that entry, because a later snapshot of the leader's is being written.
    pub fn snapshot(&self, index: u64, data: Bytes) -> Option<Snapshot> {
        let store = self.node.store();
        let term = store.term_of(index)?;
        let members = store.members();
        Some(Snapshot {
            index,
            term,
            voters: members.voters.iter().copied().map(node_of).collect(),
            learners: members.learners.iter().copied().map(node_of).collect(),
            data,
        })
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.collect();
        }
        self.outputs.pop_front()
    }

    /// Whether this node leads. It may not know yet that another does.
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.node.raft.leader_id)
            .filter(|id| *id != raft::INVALID_ID)
            .map(node_of)
    }

    /// The latest term this node has seen.
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The index of the last entry, committed or not.
    pub fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// The nodes of the quorum by id, if this one leads.
    pub fn replicas(&self) -> Option<Vec<RaftReplica>> {
        let progress = self.is_leader().then(|| self.node.raft.prs())?;
        let voters = progress.conf().voters();
        let mut replicas: Vec<RaftReplica> = progress
            .iter()
            .map(|(id, known)| RaftReplica {
                node_id: node_of(*id),
                is_voter: voters.contains(*id),
                last_index: known.matched,
            })
            .collect();
        replicas.sort_by_key(|replica| replica.node_id);
        Some(replicas)
    }

    /// Whether a snapshot of the leader's is being written. No election may begin meanwhile: the
    /// crate looks for changes of the members between what was applied and what is committed
    /// before it begins one, and those entries are no longer there.
    fn is_restoring(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|waiting| waiting.restored.is_some())
    }

    fn collect(&mut self) {
        while self.node.has_ready() {
            self.collect_ready();
            self.release();
        }
        if self.node.store().take_wanted() {
            self.outputs.push_back(Output::SnapshotWanted);
        }
    }

    fn collect_ready(&mut self) {
        let mut ready = self.node.ready();
        let number = ready.number();
        let mut snapshots_sent = Vec::new();
        for message in ready.take_messages() {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                snapshots_sent.push(message.to);
            }
            self.outputs.push_back(Output::Send(Message::of(message)));
        }
        let restored = Some(ready.snapshot())
            .filter(|s| !s.is_empty())
            .map(snapshot_of);
        let store = self.node.mut_store();
        if restored.is_some() {
            store.restore(ready.snapshot());
        }
        store.append(ready.entries());
        if let Some(hard_state) = ready.hs() {
            store.set_hard_state(hard_state.clone());
        }
        let must_sync = ready.must_sync();
        if must_sync {
            self.outputs.push_back(Output::Persist(Persist {
                number,
                snapshot: restored.clone(),
                entries: ready.entries().iter().map(entry_of).collect(),
                hard_state: hard_state_of(store.hard_state()),
            }));
        }
        self.waiting.push_back(Waiting {
            number,
            on_disk: !must_sync,
            messages: ready.take_persisted_messages(),
            restored,
        });
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);
        // Nobody tells whether a snapshot arrived. Taken as arrived, the next append finds out: a
        // follower that does not have it refuses, and is sent another.
        for follower in snapshots_sent {
            self.node.report_snapshot(follower, SnapshotStatus::Finish);
        }
        if let Some(last) = committed.last() {
            self.node.advance_apply_to(last.index);
            let entries = committed.iter().map(entry_of).collect();
            self.outputs.push_back(Output::Committed(entries));
        }
    }

    /// Lets go what waited for writes that are durable now, in order.
    fn release(&mut self) {
        while self.waiting.front().is_some_and(|waiting| waiting.on_disk) {
            let waiting = self.waiting.pop_front().expect("there is one");
            self.node.on_persist_ready(waiting.number);
            for message in waiting.messages {
                self.outputs.push_back(Output::Send(Message::of(message)));
            }
            if let Some(snapshot) = waiting.restored {
                self.node.advance_apply_to(snapshot.index);
                self.outputs.push_back(Output::Restored(snapshot));
            }
        }
    }

    /// The crate draws election timeouts at random; ours come from the seed, so that a run can be
    /// had again.
    fn settle_election_timeout(&mut self) {
        let now = (self.node.raft.term, self.node.raft.state);
        if now != self.timeout_for {
            self.timeout_for = now;
            self.draw_election_timeout();
        }
        self.node
            .raft
            .set_randomized_election_timeout(self.election_timeout);
    }

    fn draw_election_timeout(&mut self) {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let spread = z % self.election_ticks as u64;
        self.election_timeout =
            self.election_ticks + usize::try_from(spread).expect("less than the ticks");
        self.node
            .raft
            .set_randomized_election_timeout(self.election_timeout);
    }
}

fn store_of(config: &RaftConfig, recovered: Recovered) -> Result<LogStore, StartError> {
    let (compacted, voters, learners) = match &recovered.snapshot {
        Some(snapshot) => (
            (snapshot.index, snapshot.term),
            &snapshot.voters,
            &snapshot.learners,
        ),
        None => ((0, 0), &config.voters, &config.learners),
    };
    let hard_state = recovered.hard_state;
    let first = recovered
        .entries
        .first()
        .map_or(compacted.0 + 1, |entry| entry.index);
    if first != compacted.0 + 1 {
        let after = compacted.0;
        return Err(StartError::Log(format!(
            "entry {first} where {after} + 1 belongs"
        )));
    }
    let last = recovered
        .entries
        .last()
        .map_or(compacted.0, |entry| entry.index);
    if hard_state.commit > last {
        let commit = hard_state.commit;
        return Err(StartError::Log(format!(
            "committed up to {commit}, but ends at {last}"
        )));
    }
    let members = ConfState {
        voters: voters.iter().copied().map(raft_id).collect(),
        learners: learners.iter().copied().map(raft_id).collect(),
        ..Default::default()
    };
    let stored = eraftpb::HardState {
        term: hard_state.term,
        vote: hard_state.vote.map_or(raft::INVALID_ID, raft_id),
        commit: hard_state.commit.max(compacted.0),
        ..Default::default()
    };
    let entries = recovered.entries.iter().map(entry_to).collect();
    Ok(LogStore::new(members, stored, compacted, entries))
}

fn hard_state_of(hard_state: &eraftpb::HardState) -> HardState {
    HardState {
        term: hard_state.term,
        vote: Some(hard_state.vote)
            .filter(|id| *id != raft::INVALID_ID)
            .map(node_of),
        commit: hard_state.commit,
    }
}
