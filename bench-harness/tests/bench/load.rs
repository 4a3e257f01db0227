//! `millstream-bench load`: each workload, and that what it counts is what there was.

use serde_json::{Value, json};

use crate::node::Node;

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn decimal(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Checks what holds for every workload that measures for a second at a rate.
#[track_caller]
fn check_scheduled(told: &Value, records: u64) {
    assert_eq!(told["latency"], "from due", "{told}");
    assert_eq!(told["produced"]["records"], records, "{told}");
    assert_eq!(told["latency_us"]["count"], records, "{told}");
    assert_eq!(told["measured"]["seconds"], 1.0, "{told}");
    let latency = &told["latency_us"];
    let names = ["p50", "p90", "p99", "p999", "p9999", "max"];
    let values: Vec<f64> = names.iter().map(|name| decimal(&latency[name])).collect();
    assert!(values.is_sorted() && values[0] > 0.0, "{told}");
    let second = &told["series"][0];
    assert!(decimal(&second["p50_us"]) > 0.0, "{told}");
}

#[test]
fn what_was_produced_is_consumed() {
    let node = Node::start(2);
    let produced = node.load(
        "produce --topic all --partitions 3 --connections 2 --records 5001 --size 100..400 \
         --batch-bytes 4096",
    );
    assert_eq!(produced["produced"]["records"], 5001, "{produced}");
    assert_eq!(produced["latency_us"]["count"], 5001, "{produced}");
    assert_eq!(
        (&produced["latency"], &produced["consumed"]),
        (&json!("from send"), &Value::Null)
    );
    let bytes = number(&produced["produced"]["bytes"]);
    assert!((500_100..2_000_400).contains(&bytes), "{bytes}");

    let consumed = node.load("consume --topic all --verify --connections 2");
    assert_eq!(consumed["consumed"]["records"], 5001, "{consumed}");
    let close = number(&consumed["consumed"]["bytes"]) as f64 / bytes as f64;
    assert!((0.99..1.01).contains(&close), "{consumed}");
    assert_eq!(
        (&consumed["latency"], &consumed["options"]["partitions"]),
        (&Value::Null, &json!(3))
    );

    let last = node.load("consume --topic all --from -10 --again --seconds 1 --warm-up 0");
    assert!(number(&last["consumed"]["records"]) > 100, "{last}");
    let some = node.load("consume --topic all --records 100 --fetch-bytes 5000");
    assert!(
        (100..2000).contains(&number(&some["consumed"]["records"])),
        "{some}"
    );
}

#[test]
fn every_codec_and_kind_of_producer_is_taken() {
    let node = Node::start(1);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for more in [
            "",
            "--keys 10",
            "--idempotent --connections 2",
            "--acks 0",
            "--acks 1",
        ] {
            let words = format!(
                "end-to-end --topic {codec} --records 300 --rate 0 --codec {codec} \
                 --batch-records 7 --partitions 2 --verify {more}"
            );
            let told = node.load(&words);
            assert_eq!(told["produced"]["records"], 300, "{words}: {told}");
            assert_eq!(told["consumed"]["records"], 300, "{words}: {told}");
            assert_eq!(told["latency_us"]["count"], 300, "{words}: {told}");
            assert_eq!(
                told["produced"]["bytes"], told["consumed"]["bytes"],
                "{words}"
            );
            assert_eq!(told["latency"], "from send");
        }
    }
}

#[test]
fn latency_is_counted_for_each_record_on_schedule() {
    let node = Node::start(1);
    let produce = "produce --seconds 1 --warm-up 1 --rate 2000 --linger-ms 5 --connections 3";
    check_scheduled(&node.load(produce), 2000);
    let told = node.load(
        "end-to-end --topic both --seconds 1 --warm-up 1 --rate 1000 --partitions 4 \
         --connections 2 --consumers 3 --cores 0,0",
    );
    check_scheduled(&told, 1000);
    assert_eq!(told["consumed"]["records"], 1000, "{told}");
    assert_eq!(
        told["consumed"]["bytes"], told["produced"]["bytes"],
        "{told}"
    );
}

#[test]
fn a_reader_catches_up_beside_the_others() {
    let node = Node::start(2);
    node.load("produce --topic mixed --partitions 2 --records 1000 --batch-bytes 5000");
    let pid = std::process::id();
    let told = node.load(&format!(
        "mixed --topic mixed --seconds 1 --warm-up 0 --rate 1000 --broker-pid {pid}"
    ));
    check_scheduled(&told, 1000);
    assert_eq!(told["consumed"]["records"], 1000, "{told}");
    assert!(number(&told["catch_up"]["records"]) >= 1000, "{told}");
    assert!(decimal(&told["catch_up"]["seconds"]) > 0.0, "{told}");
    assert_eq!(told["broker"]["pid"], pid);
    assert!(
        number(&told["broker"]["resident_bytes"]) > 1 << 20,
        "{told}"
    );
}

#[test]
fn presets_run() {
    let node = Node::start(1);
    let many = node.load("many-partitions --topic many --partitions 50 --seconds 1 --warm-up 0");
    assert!(number(&many["produced"]["records"]) > 0, "{many}");
    assert_eq!(many["options"]["connections"], 16);
    let connections = "many-connections --connections 100 --seconds 1 --warm-up 0 --rate 500";
    check_scheduled(&node.load(connections), 500);
    let small = "small-batches --topic small --connections 8 --records 4000 --linger-ms 5";
    assert_eq!(node.load(small)["produced"]["records"], 4000);
    let told = node.load("open-close --topic small --records 40");
    assert_eq!(
        (&told["connections_opened"], &told["latency_us"]["count"]),
        (&json!(40), &json!(40))
    );
    let told = node.load("open-close --topic small --rate 50 --seconds 1 --warm-up 0");
    assert_eq!(told["connections_opened"], 50, "{told}");
    let all = node.load("consume --topic small");
    assert_eq!(all["consumed"]["records"], 4000 + 40 + 50);
}

#[test]
fn failures_are_named() {
    let node = Node::start(1);
    node.load("produce --records 10");
    for (words, cause) in [
        ("produce --partitions 2", "has 1 partitions, not 2"),
        ("consume --topic none", "does not exist"),
        (
            "produce --size 2000000 --batch-bytes 4000000",
            "MessageTooLarge",
        ),
        ("produce --topic .. --records 1", "InvalidTopic"),
        ("end-to-end --size 3", "at least 16 bytes"),
        ("produce --broker-pid 4294967295", "/proc/4294967295"),
    ] {
        let (success, printed, said) = node.bench(&format!("load {words}"));
        assert!(!success && printed.is_empty(), "{words}: {printed}");
        assert!(said.contains(cause), "{words}: {said}");
    }
}
