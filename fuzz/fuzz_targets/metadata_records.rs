//! Batches of metadata records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::metadata::metadata_records(data));
