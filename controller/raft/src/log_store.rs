//! What the `raft` crate reads: the log in memory, as it is or is about to be on disk.
//!
//! Holds the entries since the last snapshot. The state of a snapshot is not kept: one that a
//! follower needs is asked of the state machine.

use std::cell::Cell;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

pub(crate) struct LogStore {
    members: ConfState,
    hard_state: HardState,
    /// Index and term of the entry before the first that is held.
    compacted: (u64, u64),
    entries: Vec<Entry>,
    /// For a follower that is too far behind.
    offered: Option<Snapshot>,
    wanted: Cell<bool>,
}

impl LogStore {
    pub(crate) fn new(
        members: ConfState,
        hard_state: HardState,
        compacted: (u64, u64),
        entries: Vec<Entry>,
    ) -> LogStore {
        let first = entries.first().map_or(compacted.0 + 1, |entry| entry.index);
        assert_eq!(first, compacted.0 + 1, "a gap after the snapshot");
        LogStore {
            members,
            hard_state,
            compacted,
            entries,
            offered: None,
            wanted: Cell::new(false),
        }
    }

    pub(crate) fn members(&self) -> &ConfState {
        &self.members
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Appends; what has the same index, and all after it, is replaced.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else {
            return;
        };
        assert!(
            first.index > self.compacted.0 && first.index <= self.end(),
            "entry {} for a log of {}..{}",
            first.index,
            self.compacted.0 + 1,
            self.end()
        );
        self.entries.truncate(self.position(first.index));
        self.entries.extend_from_slice(entries);
    }

    /// A snapshot from the leader takes the place of the whole log.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        let metadata = snapshot.get_metadata();
        self.members = metadata.get_conf_state().clone();
        self.compacted = (metadata.index, metadata.term);
        self.entries.clear();
    }

    /// Forgets the entries up to `index`.
    pub(crate) fn compact(&mut self, index: u64) {
        if index <= self.compacted.0 {
            return;
        }
        let term = self
            .term_of(index)
            .expect("only what is in the log is compacted");
        self.entries.drain(..self.position(index + 1));
        self.compacted = (index, term);
        self.offered = None;
    }

    pub(crate) fn offer(&mut self, snapshot: Snapshot) {
        self.offered = Some(snapshot);
    }

    /// Whether a snapshot was asked for since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            return Some(self.compacted.1);
        }
        (index > self.compacted.0 && index < self.end())
            .then(|| self.entries[self.position(index)].term)
    }

    /// The index after the last.
    fn end(&self) -> u64 {
        self.compacted.0 + 1 + self.entries.len() as u64
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.compacted.0 - 1).expect("the log fits in memory")
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.members.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.compacted.0 {
            return Err(StorageError::Compacted.into());
        }
        assert!(
            low <= high && high <= self.end(),
            "{low}..{high} of ..{}",
            self.end()
        );
        let mut budget = max_size.into().unwrap_or(u64::MAX);
        let mut out = Vec::new();
        for entry in &self.entries[self.position(low)..self.position(high)] {
            let len = entry.data.len() as u64;
            if len > budget && !out.is_empty() {
                break;
            }
            budget = budget.saturating_sub(len);
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_of(index) {
            Some(term) => Ok(term),
            None if index < self.compacted.0 => Err(StorageError::Compacted.into()),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.compacted.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.end() - 1)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.offered {
            Some(snapshot) if snapshot.get_metadata().index >= request_index => {
                Ok(snapshot.clone())
            }
            _ => {
                self.wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
