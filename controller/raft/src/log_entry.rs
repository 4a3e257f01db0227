//! What the log holds, in plain types.

use bytes::Bytes;
use millstream_protocol::NodeId;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Its place, from 1.
    pub index: u64,
    /// What was proposed; empty in the entry by which a leader opens its term.
    pub data: Bytes,
}

/// What a node must not forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term it has seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Up to where it knows the log to be committed. May lag: it is written only beside the rest.
    pub commit: u64,
}

/// The state after an entry, in place of the log up to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that is part of it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who voted then.
    pub voters: Vec<NodeId>,
    /// Who listened without a vote.
    pub learners: Vec<NodeId>,
    /// The state.
    pub data: Bytes,
}

/// What is to be made durable, in this order: snapshot, entries, hard state.
///
/// An entry whose index is already in the log replaces it and all that follow it. A snapshot
/// replaces the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persist {
    /// Goes back to [`crate::Raft::persisted`] once all of it is durable.
    pub number: u64,
    /// From the leader, when this node was too far behind.
    pub snapshot: Option<Snapshot>,
    /// New entries, without gaps.
    pub entries: Vec<Entry>,
    /// As it is after those.
    pub hard_state: HardState,
}

/// What a log holds when it is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The latest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries after it, without gaps.
    pub entries: Vec<Entry>,
    /// The latest hard state.
    pub hard_state: HardState,
}
