//! Record batches, read and validated.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::protocol::record_batches(data));
