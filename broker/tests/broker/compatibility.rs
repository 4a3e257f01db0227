//! `docs/compatibility.md` says what is served, and nothing else.

use std::fmt::Write as _;
use std::path::Path;

use millstream_broker::config::{Status, broker_keys};
use millstream_protocol::api::APIS;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    std::fs::read_to_string(path).expect("docs/compatibility.md")
}

#[test]
fn every_api_is_listed_with_its_versions() {
    let mut table = String::new();
    for api in APIS {
        let (key, name) = (api.id(), format!("{:?}", api.key));
        writeln!(
            table,
            "| {key} | {name} | {}–{} |",
            api.min_version, api.max_version
        )
        .expect("a string takes all");
    }
    assert!(
        page().contains(&table),
        "docs/compatibility.md should have this table:\n{table}"
    );
}

#[test]
fn every_refused_setting_is_listed() {
    let mut keys: Vec<_> = broker_keys()
        .filter(|key| key.status == Status::Refused)
        .collect();
    keys.sort_by_key(|key| key.name);
    let mut table = String::new();
    for key in keys {
        writeln!(table, "| `{}` | {} |", key.name, key.text).expect("a string takes all");
    }
    assert!(
        page().contains(&table),
        "docs/compatibility.md should have this table:\n{table}"
    );
}
