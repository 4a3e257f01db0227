//! Requests to a whole node.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::broker::handlers(data));
