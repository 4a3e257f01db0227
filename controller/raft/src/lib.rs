//! The metadata quorum: Raft over a persisted log. Pure.
