//! Replays the fuzzing corpus of the decoders of this crate.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/protocol.rs"]
mod protocol;

#[test]
fn request_frames() {
    corpus::replay("request_frame", |_, data| protocol::request_frame(data));
}

#[test]
fn request_bodies() {
    corpus::replay("request_body", |_, data| protocol::request_body(data));
}

#[test]
fn responses() {
    corpus::replay("response", |_, data| protocol::response(data));
}

#[test]
fn record_batches() {
    corpus::replay("record_batches", |_, data| protocol::record_batches(data));
}

#[test]
fn compressed_data() {
    corpus::replay("decompress", |_, data| protocol::decompress(data));
}

#[test]
fn group_records() {
    corpus::replay("group_record", |_, data| protocol::group_record(data));
}
