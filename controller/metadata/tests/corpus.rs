//! Replays the fuzzing corpus of the decoders of this crate.

use std::path::Path;

#[path = "../../../fuzz/src/metadata.rs"]
mod metadata;

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
fn metadata_records() {
    replay("metadata_records", metadata::metadata_records);
}
