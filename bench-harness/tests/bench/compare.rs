//! `millstream-bench compare` and `report` on two nodes, with loads of a second.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::node::Node;

const SUITE: &str = r#"
name = "smoke"
about = "Two nodes of the same kind, for a moment."
rounds = 2
probes = { disk_mb = 2, loopback_seconds = 0.05, stall_seconds = 0.01, flush_seconds = 0.02, exchange_seconds = 0.02, message_bytes = 10000 }

[[broker]]
id = "one"
label = "The first"
kind = "running"
address = "ONE"
flush = "durability=written"
warm_up = ["produce --size 100 --records 100"]

[[broker]]
id = "other"
label = "The other"
kind = "running"
address = "OTHER"
flush = "durability=written"

[[row]]
number = 1
title = "Produce"

[[row.case]]
id = "1"
title = "2,000 records in two partitions"
brokers = ["one", "other"]
load = "produce --size 100 --partitions 2 --records 2000"

[[row.bar]]
title = "some records"
of = "one.produced_records_s@1 / one.produced_records_s@1"
at_least = 1

[[row]]
number = 2
title = "Consume what was prepared"

[[row.case]]
id = "2"
title = "all of it"
brokers = ["one", "other"]
prepare = ["produce --size 100 --records 500"]
load = "consume --records 500"

[[row]]
number = 3
title = "End to end"

[[row.case]]
id = "3"
title = "for a second"
brokers = ["other"]
load = "end-to-end --size 100 --rate {min(200, one.produced_records_s@1)} --seconds 1 --warm-up 0"

[[row.bar]]
title = "slower than light"
of = "other.p50_ms@3 / 1000000"
at_least = 1

[[row.case]]
id = "3b"
title = "of the other one only"
brokers = ["one"]
load = "produce --nonsense"
"#;

/// A tool that prints what it was called with, in the form of a load.
const WITNESS: &str = r#"
import json, sys
print(json.dumps({
    "workload": sys.argv[1],
    "options": {"arguments": sys.argv[1:]},
    "measured": {"seconds": 2.0},
    "produced": {"records": 10, "bytes": 1000000},
    "latency_us": {"count": 10, "mean": 1500.0, "p50": 1000, "p99": 2000, "p999": 0},
    "client": {"cpu_seconds": 1.0, "busy": 0.5},
}))
"#;

/// A suite for these nodes, in a folder.
fn write_suite(folder: &Path, one: &Node, other: &Node, without: &str) -> String {
    let text = SUITE
        .replace("ONE", &one.address().to_string())
        .replace("OTHER", &other.address().to_string());
    let end = text.find(without).unwrap_or(text.len());
    let path = folder.join("suite.toml");
    fs::write(&path, &text[..end]).expect("a file");
    path.display().to_string()
}

#[test]
fn two_nodes_are_compared_and_reported() {
    let (one, other) = (Node::start(1), Node::start(1));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let suite = write_suite(folder.path(), &one, &other, "[[row.case]]\nid = \"3b\"");
    let (output, dir) = (folder.path().join("out"), folder.path().display());
    let words = format!(
        "compare --suite {suite} --dir {dir} --output-dir {}",
        output.display()
    );
    let (success, printed, said) = one.bench(&words);
    assert!(success, "{said}\n{printed}");
    for words in [
        "met",
        "missed",
        "The first",
        "The other",
        "durability=written",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert!(
        said.contains("round 2/2") && said.contains("left"),
        "{said}"
    );

    let path = output.join("results.json");
    let text = fs::read_to_string(&path).expect("the results");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    let runs = results["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 10, "five in each of two rounds");
    let of_case = |case: &'static str| runs.iter().filter(move |run| run["case"] == case);
    for run in of_case("1") {
        assert_eq!(run["load"]["produced"]["records"], 2000.0, "{run}");
    }
    for run in of_case("2") {
        assert_eq!(run["load"]["consumed"]["records"], 500.0, "{run}");
    }
    assert_eq!(of_case("3").count(), 2);
    assert_eq!(results["probes"].as_array().map(Vec::len), Some(2));
    assert_eq!(results["bars"][0]["outcome"], "met");
    let median = &results["summary"]["2"]["one"]["figures"]["consumed_mb_s"]["median"];
    assert!(median.as_f64() > Some(0.0), "{median}");

    let html = output.join("report.html");
    let page = fs::read_to_string(&html).expect("the page");
    assert!(page.contains("2,000 records in two partitions"));
    fs::remove_file(&html).expect("it is there");
    let path = path.display();
    let (success, _, said) = one.bench(&format!("report {path} --baseline {path}"));
    assert!(success, "{said}");
    let again = fs::read_to_string(&html).expect("the page");
    assert!(again.contains("Beside an earlier comparison"));
    let (success, printed, said) = one.bench(&format!("report {path} --markdown"));
    assert!(
        success && printed.contains("| 1 | some records |"),
        "{said}{printed}"
    );
}

#[test]
fn a_load_that_fails_is_told_and_the_others_go_on() {
    let (one, other) = (Node::start(1), Node::start(1));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let suite = write_suite(folder.path(), &one, &other, "never");
    let (output, dir) = (folder.path().join("out"), folder.path().display());
    let words = format!(
        "compare --suite {suite} --only 1,3b --rounds 1 --dir {dir} --output-dir {}",
        output.display()
    );
    let (success, printed, said) = one.bench(&words);
    assert!(!success, "{printed}");
    assert!(said.contains("1 of the measurements failed"), "{said}");
    assert!(printed.contains("nonsense"), "{printed}");
    let text = fs::read_to_string(output.join("results.json")).expect("the results");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(results["runs"].as_array().map(Vec::len), Some(3));

    let (success, _, said) = one.bench(&format!("compare --suite {suite} --only 9"));
    assert!(!success && said.contains("no row or case 9"), "{said}");
    let (success, _, said) = one.bench(&format!("compare --suite {suite} --broker kafka"));
    assert!(!success && said.contains("no row of the suite"), "{said}");
}

#[test]
fn a_witness_is_told_of_the_broker_and_told_of() {
    let (one, other) = (Node::start(1), Node::start(1));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let suite = write_suite(folder.path(), &one, &other, "[[row]]\nnumber = 2");
    let text = fs::read_to_string(&suite).expect("the suite");
    let text = text.replace("load = \"produce", "witness = \"some-tool");
    fs::write(&suite, text).expect("a file");
    let (output, witness) = (folder.path().join("out"), folder.path().join("witness"));
    fs::create_dir(&witness).expect("a folder");
    fs::write(witness.join("__main__.py"), WITNESS).expect("a file");
    let (dir, witness) = (folder.path().display(), witness.display());
    let words = format!(
        "compare --suite {suite} --rounds 1 --witness {witness} --dir {dir} --output-dir {}",
        output.display()
    );
    let (success, printed, said) = one.bench(&words);
    assert!(success, "{said}\n{printed}");
    assert!(said.contains("Not for publication") || printed.contains("Not for publication"));

    let path = output.join("results.json");
    let text = fs::read_to_string(&path).expect("the results");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    let load = &results["runs"][0]["load"];
    let arguments = load["options"]["arguments"].as_array().expect("words");
    let words: Vec<_> = arguments.iter().filter_map(Value::as_str).collect();
    let address = one.address().to_string();
    let begin = ["some-tool", "--size", "100", "--partitions", "2"];
    assert_eq!(words[..5], begin, "{words:?}");
    for pair in [["--bootstrap-server", &address], ["--topic", "case-1"]] {
        assert!(words.windows(2).any(|two| two == pair), "{words:?}");
    }
    let figures = &results["summary"]["1"]["one"]["figures"];
    assert_eq!(figures["produced_mb_s"]["median"], 0.5);
    assert_eq!(figures["mean_ms"]["median"], 1.5);
    assert_eq!(figures.get("p90_ms"), None, "nobody has told");
    let (success, printed, said) = one.bench(&format!("report {} --markdown", path.display()));
    assert!(success, "{said}");
    let command = "- 1: `python3 bench-harness/witness some-tool --size 100 ";
    assert!(printed.contains(command), "{printed}");
}
