//! Responses of every advertised API.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::protocol::response(data));
