//! What the fuzz targets do with their input, one file for each crate whose decoders they feed.
//!
//! Each file is also compiled into a test of that crate, which replays the corpus.

pub mod broker;
/// What the broker's tests drive a node with.
#[allow(dead_code)]
#[path = "../../broker/tests/broker/harness.rs"]
mod harness;
pub mod metadata;
pub mod protocol;
pub mod raft;
pub mod storage;
