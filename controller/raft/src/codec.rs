//! Little-endian fields, read with every bound checked.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_protocol::NodeId;

use crate::log_entry::{Entry, HardState, Snapshot};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("the bytes end too early")]
    Truncated,
    /// They go on after the end.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// Written by a later release.
    #[error("version {0}, which this release does not know")]
    Version(u16),
    /// A field has a value it cannot have.
    #[error("{0} cannot be {1}")]
    Value(&'static str, u64),
}

/// The fewest bytes of an entry.
const ENTRY_MIN_LEN: usize = 20;

pub(crate) fn get_u8(bytes: &mut Bytes) -> Result<u8, CodecError> {
    bytes.try_get_u8().map_err(|_| CodecError::Truncated)
}

pub(crate) fn get_u32(bytes: &mut Bytes) -> Result<u32, CodecError> {
    bytes.try_get_u32_le().map_err(|_| CodecError::Truncated)
}

pub(crate) fn get_u64(bytes: &mut Bytes) -> Result<u64, CodecError> {
    bytes.try_get_u64_le().map_err(|_| CodecError::Truncated)
}

pub(crate) fn get_bool(bytes: &mut Bytes, field: &'static str) -> Result<bool, CodecError> {
    match get_u8(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError::Value(field, u64::from(other))),
    }
}

pub(crate) fn get_data(bytes: &mut Bytes) -> Result<Bytes, CodecError> {
    let len = get_u32(bytes)? as usize;
    if len > bytes.remaining() {
        return Err(CodecError::Truncated);
    }
    Ok(bytes.split_to(len))
}

pub(crate) fn put_data(out: &mut BytesMut, data: &[u8]) {
    out.put_u32_le(u32::try_from(data.len()).expect("entries and snapshots are under 4 GiB"));
    out.put_slice(data);
}

/// Nothing may be left.
pub(crate) fn finish(bytes: &Bytes) -> Result<(), CodecError> {
    match bytes.remaining() {
        0 => Ok(()),
        trailing => Err(CodecError::Trailing(trailing)),
    }
}

pub(crate) fn put_entry(out: &mut BytesMut, entry: &Entry) {
    out.put_u64_le(entry.term);
    out.put_u64_le(entry.index);
    put_data(out, &entry.data);
}

/// Entries without gaps and with terms that do not fall.
pub(crate) fn get_entries(bytes: &mut Bytes) -> Result<Vec<Entry>, CodecError> {
    let count = get_u32(bytes)? as usize;
    if count > bytes.remaining() / ENTRY_MIN_LEN {
        return Err(CodecError::Truncated);
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let (term, index) = (get_u64(bytes)?, get_u64(bytes)?);
        if index == 0 || index == u64::MAX {
            return Err(CodecError::Value("an entry's index", index));
        }
        if let Some(previous) = entries.last() {
            if index != previous.index + 1 {
                return Err(CodecError::Value("the next entry's index", index));
            }
            if term < previous.term {
                return Err(CodecError::Value("the next entry's term", term));
            }
        }
        entries.push(Entry {
            term,
            index,
            data: get_data(bytes)?,
        });
    }
    Ok(entries)
}

pub(crate) fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    out.put_u32_le(u32::try_from(entries.len()).expect("a batch is bounded by its bytes"));
    for entry in entries {
        put_entry(out, entry);
    }
}

pub(crate) fn put_hard_state(out: &mut BytesMut, hard_state: &HardState) {
    out.put_u64_le(hard_state.term);
    out.put_i32_le(hard_state.vote.map_or(-1, |node| node.0));
    out.put_u64_le(hard_state.commit);
}

pub(crate) fn get_hard_state(bytes: &mut Bytes) -> Result<HardState, CodecError> {
    let term = get_u64(bytes)?;
    let vote = match bytes.try_get_i32_le().map_err(|_| CodecError::Truncated)? {
        -1 => None,
        id => Some(node_id(id)?),
    };
    Ok(HardState {
        term,
        vote,
        commit: get_u64(bytes)?,
    })
}

pub(crate) fn put_snapshot(out: &mut BytesMut, snapshot: &Snapshot) {
    out.put_u64_le(snapshot.index);
    out.put_u64_le(snapshot.term);
    for nodes in [&snapshot.voters, &snapshot.learners] {
        out.put_u32_le(u32::try_from(nodes.len()).expect("a cluster has few nodes"));
        for node in nodes {
            out.put_i32_le(node.0);
        }
    }
    put_data(out, &snapshot.data);
}

pub(crate) fn get_snapshot(bytes: &mut Bytes) -> Result<Snapshot, CodecError> {
    let (index, term) = (get_u64(bytes)?, get_u64(bytes)?);
    if index == 0 || index == u64::MAX {
        return Err(CodecError::Value("a snapshot's index", index));
    }
    let (voters, learners) = (get_nodes(bytes)?, get_nodes(bytes)?);
    Ok(Snapshot {
        index,
        term,
        voters,
        learners,
        data: get_data(bytes)?,
    })
}

fn get_nodes(bytes: &mut Bytes) -> Result<Vec<NodeId>, CodecError> {
    let count = get_u32(bytes)? as usize;
    if count > bytes.remaining() / 4 {
        return Err(CodecError::Truncated);
    }
    (0..count)
        .map(|_| node_id(bytes.try_get_i32_le().map_err(|_| CodecError::Truncated)?))
        .collect()
}

fn node_id(id: i32) -> Result<NodeId, CodecError> {
    match u64::try_from(id) {
        Ok(_) => Ok(NodeId(id)),
        Err(_) => Err(CodecError::Value("a node id", u64::from(id.unsigned_abs()))),
    }
}
