//! Replays the fuzzing corpus of the decoders of this crate.

use std::path::Path;

#[path = "../../../fuzz/src/protocol.rs"]
mod protocol;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(&folder).expect("every target has a corpus");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let data = std::fs::read(&path).expect("the input can be read");
        println!("{}", path.display());
        run(&data);
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn request_frames() {
    replay("request_frame", protocol::request_frame);
}

#[test]
fn request_bodies() {
    replay("request_body", protocol::request_body);
}

#[test]
fn responses() {
    replay("response", protocol::response);
}

#[test]
fn record_batches() {
    replay("record_batches", protocol::record_batches);
}

#[test]
fn compressed_data() {
    replay("decompress", protocol::decompress);
}

#[test]
fn group_records() {
    replay("group_record", protocol::group_record);
}
