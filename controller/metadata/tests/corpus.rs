//! Replays the fuzzing corpus of the decoders of this crate.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/metadata.rs"]
mod metadata;

#[test]
fn metadata_records() {
    corpus::replay("metadata_records", |_, data| {
        metadata::metadata_records(data)
    });
}
