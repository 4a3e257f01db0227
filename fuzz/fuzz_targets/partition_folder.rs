//! The files of a partition: segments, indexes, snapshots, checkpoints.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    millstream_fuzz::storage::partition_folder(data);
});
