//! Replays the fuzzing corpus of this crate's files.

use std::path::Path;

#[path = "../../fuzz/src/storage.rs"]
mod storage;

#[test]
fn partition_folders() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/partition_folder");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the target has a corpus") {
        let path = entry.expect("the folder can be listed").path();
        let data = std::fs::read(&path).expect("the input can be read");
        println!("{}", path.display());
        let read = storage::partition_folder(&data);
        let whole = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("whole"));
        assert!(
            read || !whole,
            "{} is whole and cannot be read",
            path.display()
        );
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
