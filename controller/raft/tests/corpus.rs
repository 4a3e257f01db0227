//! Replays the fuzzing corpus of the decoders of this crate.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/raft.rs"]
mod raft;

#[test]
fn raft_messages() {
    corpus::replay("raft_message", |_, data| raft::raft_message(data));
}

#[test]
fn raft_logs() {
    corpus::replay("raft_log", |_, data| raft::raft_log(data));
}
