//! A message between two nodes of the quorum, and its bytes on the wire.
//!
//! ```text
//! version u8 | type u8 | to i32 | from i32 | term u64 | log term u64 | index u64 | commit u64 |
//! commit term u64 | request snapshot u64 | reject u8 | reject hint u64 |
//! context length u32 | context | entry count u32 | entries | snapshot? u8 | snapshot
//! ```
//!
//! Only what Raft says between nodes has a type here: a proposal, a read index or a local event
//! cannot come in by wire, nor can an entry that is not ordinary.

use bytes::{BufMut, Bytes, BytesMut};
use millstream_protocol::NodeId;
use raft::eraftpb::{self, EntryType, MessageType};

use crate::codec::{
    CodecError, finish, get_bool, get_data, get_entries, get_snapshot, get_u8, get_u64, put_data,
    put_entries, put_snapshot,
};
use crate::log_entry::{Entry, Snapshot};

/// The version of the bytes.
const WIRE_VERSION: u8 = 1;

/// The types and their numbers.
const TYPES: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTimeoutNow),
    (9, MessageType::MsgRequestPreVote),
    (10, MessageType::MsgRequestPreVoteResponse),
];

/// A message from one node to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    inner: eraftpb::Message,
}

impl Message {
    /// Who gets it.
    pub fn to(&self) -> NodeId {
        node_of(self.inner.to)
    }

    /// Who sent it.
    pub fn from(&self) -> NodeId {
        node_of(self.inner.from)
    }

    /// Its bytes on the wire.
    pub fn encode(&self) -> Bytes {
        let message = &self.inner;
        let (number, _) = TYPES
            .iter()
            .find(|(_, message_type)| *message_type == message.get_msg_type())
            .expect("only messages between nodes are sent");
        let mut out = BytesMut::new();
        out.put_u8(WIRE_VERSION);
        out.put_u8(*number);
        out.put_i32_le(self.to().0);
        out.put_i32_le(self.from().0);
        for field in [
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.request_snapshot,
        ] {
            out.put_u64_le(field);
        }
        out.put_u8(u8::from(message.reject));
        out.put_u64_le(message.reject_hint);
        put_data(&mut out, &message.context);
        let entries: Vec<Entry> = message.get_entries().iter().map(entry_of).collect();
        put_entries(&mut out, &entries);
        let has_snapshot = !message.get_snapshot().is_empty();
        out.put_u8(u8::from(has_snapshot));
        if has_snapshot {
            put_snapshot(&mut out, &snapshot_of(message.get_snapshot()));
        }
        out.freeze()
    }

    /// The message that `bytes` are, all of them. What it says is in order within itself; whether
    /// its sender may say so is for Raft to judge.
    pub fn decode(mut bytes: Bytes) -> Result<Message, CodecError> {
        let bytes = &mut bytes;
        let version = get_u8(bytes)?;
        if version != WIRE_VERSION {
            return Err(CodecError::Version(u16::from(version)));
        }
        let number = get_u8(bytes)?;
        let (_, message_type) = TYPES
            .iter()
            .find(|(known, _)| *known == number)
            .ok_or(CodecError::Value("a message's type", u64::from(number)))?;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(*message_type);
        message.to = get_peer(bytes)?;
        message.from = get_peer(bytes)?;
        message.term = get_u64(bytes)?;
        message.log_term = get_u64(bytes)?;
        message.index = get_u64(bytes)?;
        message.commit = get_u64(bytes)?;
        message.commit_term = get_u64(bytes)?;
        message.request_snapshot = get_u64(bytes)?;
        message.reject = get_bool(bytes, "reject")?;
        message.reject_hint = get_u64(bytes)?;
        message.context = get_data(bytes)?;
        let entries = get_entries(bytes)?;
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let follows = message.index.checked_add(1) == Some(first.index);
            if !follows || *message_type != MessageType::MsgAppend {
                return Err(CodecError::Value("the first entry's index", first.index));
            }
            if first.term < message.log_term || last.term > message.term {
                return Err(CodecError::Value("an entry's term", last.term));
            }
        }
        message.set_entries(entries.iter().map(entry_to).collect::<Vec<_>>().into());
        let has_snapshot = get_bool(bytes, "snapshot?")?;
        if has_snapshot != (*message_type == MessageType::MsgSnapshot) {
            return Err(CodecError::Value("snapshot?", u64::from(has_snapshot)));
        }
        if has_snapshot {
            message.set_snapshot(snapshot_to(&get_snapshot(bytes)?));
        }
        finish(bytes)?;
        Ok(Message { inner: message })
    }

    pub(crate) fn of(inner: eraftpb::Message) -> Message {
        Message { inner }
    }

    pub(crate) fn into_inner(self) -> eraftpb::Message {
        self.inner
    }
}

/// Raft's ids begin at 1, where Kafka's begin at 0.
pub(crate) fn raft_id(node: NodeId) -> u64 {
    u64::try_from(node.0).expect("a node id is not negative") + 1
}

pub(crate) fn node_of(raft_id: u64) -> NodeId {
    let id = raft_id.checked_sub(1).and_then(|id| i32::try_from(id).ok());
    NodeId(id.expect("Raft knows only ids made of node ids"))
}

pub(crate) fn entry_of(entry: &eraftpb::Entry) -> Entry {
    assert_eq!(
        entry.get_entry_type(),
        EntryType::EntryNormal,
        "membership is fixed"
    );
    Entry {
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
    }
}

pub(crate) fn entry_to(entry: &Entry) -> eraftpb::Entry {
    eraftpb::Entry {
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
        ..Default::default()
    }
}

pub(crate) fn snapshot_of(snapshot: &eraftpb::Snapshot) -> Snapshot {
    let metadata = snapshot.get_metadata();
    let members = metadata.get_conf_state();
    Snapshot {
        index: metadata.index,
        term: metadata.term,
        voters: members.voters.iter().copied().map(node_of).collect(),
        learners: members.learners.iter().copied().map(node_of).collect(),
        data: snapshot.data.clone(),
    }
}

pub(crate) fn snapshot_to(snapshot: &Snapshot) -> eraftpb::Snapshot {
    let mut out = eraftpb::Snapshot::default();
    let metadata = out.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term;
    let members = metadata.mut_conf_state();
    members.voters = snapshot.voters.iter().copied().map(raft_id).collect();
    members.learners = snapshot.learners.iter().copied().map(raft_id).collect();
    out.data = snapshot.data.clone();
    out
}

fn get_peer(bytes: &mut Bytes) -> Result<u64, CodecError> {
    let id = crate::codec::get_u32(bytes)?;
    match i32::try_from(id) {
        Ok(id) => Ok(raft_id(NodeId(id))),
        Err(_) => Err(CodecError::Value("a node id", u64::from(id))),
    }
}
