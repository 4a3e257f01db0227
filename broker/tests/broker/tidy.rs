//! What holds for the whole repository: who may depend on whom, how files begin and what they are
//! called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Folder, crate, and the crates of ours that it may depend on.
const DEPENDENCIES: &[(&str, &str, &[&str])] = &[
    ("reactor", "reactor", &[]),
    ("net/protocol", "protocol", &[]),
    ("net", "net", &["protocol", "reactor"]),
    ("storage", "storage", &["protocol", "reactor"]),
    ("net/client", "client", &["net", "protocol", "reactor"]),
    ("replication", "replication", &["protocol"]),
    ("controller/raft", "raft", &["protocol"]),
    ("controller/metadata", "metadata", &["protocol"]),
    (
        "controller",
        "controller",
        &["metadata", "protocol", "raft"],
    ),
    (
        "broker/coordinator",
        "coordinator",
        &["metadata", "protocol"],
    ),
    (
        "broker",
        "broker",
        &[
            "controller",
            "coordinator",
            "metadata",
            "net",
            "packaging",
            "protocol",
            "raft",
            "reactor",
            "replication",
            "storage",
        ],
    ),
    (
        "broker/cli",
        "cli",
        &[
            "client",
            "net",
            "packaging",
            "protocol",
            "reactor",
            "storage",
        ],
    ),
    (
        "bench-harness",
        "bench",
        &["client", "packaging", "protocol", "reactor"],
    ),
    ("packaging", "packaging", &[]),
];

/// Crates of others that pure crates do without, and that others than `reactor` must not name.
const IMPURE: &[&str] = &["futures", "nix", "tokio", "glommio", "io-uring", "tempfile"];
const PURE: &[&str] = &[
    "net/protocol",
    "replication",
    "controller/raft",
    "controller/metadata",
    "controller",
    "broker/coordinator",
];
const REACTOR_ONLY: &[&str] = &["glommio", "io-uring"];

/// The names in a manifest's `[dependencies]`.
fn dependencies(folder: &str) -> Vec<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside
            && let Some(name) = line.split(['.', '=', ' ']).next()
            && !name.is_empty()
            && !name.starts_with('#')
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn crates_depend_only_on_those_below_them() {
    for (folder, name, allowed) in DEPENDENCIES {
        for dependency in dependencies(folder) {
            if let Some(ours) = dependency.strip_prefix("millstream-") {
                assert!(allowed.contains(&ours), "{name} may not depend on {ours}");
            }
        }
    }
}

#[test]
fn every_crate_is_in_the_table() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let members = manifest
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    let members: Vec<&str> = members
        .expect("a list")
        .split('"')
        .skip(1)
        .step_by(2)
        .collect();
    let mut table: Vec<&str> = DEPENDENCIES.iter().map(|(folder, _, _)| *folder).collect();
    for member in members {
        let at = table.iter().position(|folder| *folder == member);
        table.remove(at.unwrap_or_else(|| panic!("{member} is not in the table")));
    }
    assert!(table.is_empty(), "{table:?} are no members");
}

#[test]
fn pure_crates_prove_it_and_only_the_reactor_names_the_kernel() {
    for (folder, name, _) in DEPENDENCIES {
        for dependency in dependencies(folder) {
            if PURE.contains(folder) {
                assert!(
                    !IMPURE.contains(&dependency.as_str()),
                    "{name} names {dependency}"
                );
            }
            if *folder != "reactor" {
                assert!(
                    !REACTOR_ONLY.contains(&dependency.as_str()),
                    "{name} names {dependency}"
                );
            }
        }
    }
}

fn sources() -> BTreeMap<PathBuf, String> {
    fn visit(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    visit(&path, found);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
                found.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in [
        "reactor",
        "net",
        "storage",
        "replication",
        "controller",
        "broker",
        "bench-harness",
        "packaging",
    ] {
        visit(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

#[test]
fn files_open_with_what_they_own_and_are_named_by_a_noun() {
    const NAMES: &[&str] = &[
        "utils", "util", "common", "helpers", "impls", "misc", "types",
    ];
    for (path, text) in sources() {
        assert!(
            text.starts_with("//!"),
            "{} does not say what it owns",
            path.display()
        );
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name");
        assert!(!NAMES.contains(&stem), "{} is not a noun", path.display());
        assert!(
            text.lines().count() <= 900,
            "{} is more than one subject",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (path, text) in sources() {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
        let unsafe_code = text.contains("unsafe {") || text.contains("unsafe impl");
        let in_reactor = path.to_string_lossy().contains("/reactor/");
        assert!(
            !unsafe_code || in_reactor,
            "unsafe code in {}",
            path.display()
        );
    }
}

/// The pages of the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    fn visit(folder: &Path, deep: bool, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && deep {
                visit(&path, deep, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).expect("a page is UTF-8");
                found.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&root(), false, &mut found);
    visit(&root().join("docs"), true, &mut found);
    for folder in ["compat", "fuzz"] {
        visit(&root().join(folder), false, &mut found);
    }
    assert!(found.len() > 10, "only {} pages were found", found.len());
    found
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    page.split("\n```")
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The names by which the headings of a page are linked to.
fn anchors(page: &str) -> Vec<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            other => other.is_alphanumeric().then_some(other),
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    for (path, text) in pages() {
        let prose = prose(&text);
        let links = prose.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http://") || link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name(file),
            };
            assert!(target.exists(), "{link} in {}", path.display());
            if !anchor.is_empty() {
                let page = std::fs::read_to_string(&target).expect("a page is UTF-8");
                assert!(
                    anchors(&page).iter().any(|known| known == anchor),
                    "{link} in {}: the page has no such heading",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_page_of_the_guide_is_in_its_index() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).expect("the index");
    for path in pages().keys() {
        let name = path.strip_prefix(root().join("docs"));
        let Some(name) = name.ok().and_then(Path::to_str) else {
            continue;
        };
        // A decision is found by its folder.
        let linked = index.contains(&format!("]({name})")) || name.starts_with("decisions/");
        assert!(
            linked || name == "README.md",
            "{name} is not in docs/README.md"
        );
    }
}
