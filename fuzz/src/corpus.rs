//! Replaying a target's corpus in the ordinary tests.

use std::path::Path;

/// Runs every input of `fuzz/corpus/<target>`, with its file's name.
pub fn replay(target: &str, run: impl Fn(&str, &[u8])) {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = crate_folder
        .ancestors()
        .map(|folder| folder.join("fuzz/corpus").join(target))
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| panic!("{target} has no corpus"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        let data = std::fs::read(&path).expect("the input can be read");
        // Shown when the test fails.
        println!("{}", path.display());
        run(
            &path.file_name().unwrap_or_default().to_string_lossy(),
            &data,
        );
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
