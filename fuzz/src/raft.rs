//! Inputs for the decoders of Raft's messages and log.

use bytes::Bytes;
use millstream_raft::{
    LOG_FORMAT_VERSION, Message, SNAPSHOT_FORMAT_VERSION, decode_persist, decode_snapshot,
};

/// A message from a peer.
pub fn raft_message(data: &[u8]) {
    let _ = Message::decode(Bytes::copy_from_slice(data));
}

/// What the log and a snapshot hold.
pub fn raft_log(data: &[u8]) {
    let _ = decode_persist(LOG_FORMAT_VERSION, Bytes::copy_from_slice(data));
    let _ = decode_snapshot(SNAPSHOT_FORMAT_VERSION, Bytes::copy_from_slice(data));
}
