//! Frames of requests, header and body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::protocol::request_frame(data));
