//! Replays the fuzzing corpus of this crate's files.

#[path = "../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../fuzz/src/storage.rs"]
mod storage;

#[test]
fn partition_folders() {
    corpus::replay("partition_folder", |name, data| {
        let read = storage::partition_folder(data);
        assert!(
            read || !name.starts_with("whole"),
            "{name} is whole and cannot be read"
        );
    });
}
