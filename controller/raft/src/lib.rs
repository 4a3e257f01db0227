//! The metadata quorum: Raft over a persisted log. Pure.
//!
//! [`Raft`] wraps the `raft` crate so that its user sees inputs and outputs only, in plain types.
//! What crosses the wire or lies on disk is written and read by codecs of our own ([`Message`],
//! [`encode_persist`], [`encode_snapshot`]): the protobuf parser that comes with the crate never
//! sees a byte from outside.

mod codec;
mod log_codec;
mod log_entry;
mod log_store;
mod message;
mod node;
mod trace_drain;

pub use codec::CodecError;
pub use log_codec::{
    LOG_FORMAT_VERSION, LogBatch, SNAPSHOT_FORMAT_VERSION, decode_persist, decode_snapshot,
    encode_persist, encode_snapshot,
};
pub use log_entry::{Entry, HardState, Persist, Recovered, Snapshot};
pub use message::Message;
pub use node::{Output, ProposalId, ProposeError, Raft, RaftConfig, RaftReplica, StartError};
