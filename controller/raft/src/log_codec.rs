//! The payloads of the log's files; their frames, checksums and places are the shell's.
//!
//! ```text
//! batch:     hard state | entry count u32 | entries
//! snapshot:  index u64 | term u64 | voter count u32 | voters i32 | learner count u32 |
//!            learners i32 | length u32 | data
//! entry:     term u64 | index u64 | length u32 | data
//! hard state: term u64 | vote i32, −1 for none | commit u64
//! ```

use bytes::{Bytes, BytesMut};

use crate::codec::{
    CodecError, finish, get_entries, get_hard_state, get_snapshot, put_entries, put_hard_state,
    put_snapshot,
};
use crate::log_entry::{Entry, HardState, Persist, Snapshot};

/// The version of [`encode_persist`].
pub const LOG_FORMAT_VERSION: u16 = 1;

/// The version of [`encode_snapshot`].
pub const SNAPSHOT_FORMAT_VERSION: u16 = 1;

/// What was made durable in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// As it was after the entries.
    pub hard_state: HardState,
    /// The entries, without gaps.
    pub entries: Vec<Entry>,
}

/// Entries and hard state of `persist`, to be written in one frame. Its snapshot has a file of its
/// own.
pub fn encode_persist(persist: &Persist) -> Bytes {
    let data: usize = persist
        .entries
        .iter()
        .map(|entry| 20 + entry.data.len())
        .sum();
    let mut out = BytesMut::with_capacity(24 + data);
    put_hard_state(&mut out, &persist.hard_state);
    put_entries(&mut out, &persist.entries);
    out.freeze()
}

/// What [`encode_persist`] wrote in `version`.
pub fn decode_persist(version: u16, mut bytes: Bytes) -> Result<LogBatch, CodecError> {
    if version != LOG_FORMAT_VERSION {
        return Err(CodecError::Version(version));
    }
    let hard_state = get_hard_state(&mut bytes)?;
    let entries = get_entries(&mut bytes)?;
    finish(&bytes)?;
    Ok(LogBatch {
        hard_state,
        entries,
    })
}

/// A snapshot, to be written in one frame.
pub fn encode_snapshot(snapshot: &Snapshot) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + snapshot.data.len());
    put_snapshot(&mut out, snapshot);
    out.freeze()
}

/// What [`encode_snapshot`] wrote in `version`.
pub fn decode_snapshot(version: u16, mut bytes: Bytes) -> Result<Snapshot, CodecError> {
    if version != SNAPSHOT_FORMAT_VERSION {
        return Err(CodecError::Version(version));
    }
    let snapshot = get_snapshot(&mut bytes)?;
    finish(&bytes)?;
    Ok(snapshot)
}
