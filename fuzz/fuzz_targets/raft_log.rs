//! The Raft log and its snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::raft::raft_log(data));
