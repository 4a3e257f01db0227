//! Records of `__consumer_offsets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::protocol::group_record(data));
