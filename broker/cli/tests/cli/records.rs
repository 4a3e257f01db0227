//! `millstream produce`, `millstream consume`, and what they leave for `millstream log`.

use crate::harness::{Cluster, path, run_alone};

#[test]
fn keys_headers_and_nulls_go_in_and_come_out() {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    let options = ["-k", ":", "-H", "from=here", "--timestamp", "1000", "-Z"];
    assert_eq!(
        cluster
            .produce("orders", &options, "k1:one\nk2:\n")
            .exit_code,
        0
    );
    let ran = cluster.run(&[
        "consume",
        "-t",
        "orders",
        "-e",
        "--null",
        "NULL",
        "-f",
        "%t %p %o %T %k %v %S %h\\n",
    ]);
    assert_eq!(
        ran.text,
        "orders 0 0 1000 k1 one 3 from=here\norders 0 1 1000 k2 NULL -1 from=here\n"
    );
    let records = cluster.json_lines("consume -t orders -e");
    assert_eq!(records[0]["key"], "k1");
    assert_eq!(records[1]["value"], serde_json::Value::Null);
    assert_eq!(records[0]["headers"][0]["value"], "here");
}

#[test]
fn what_is_consumed_as_json_can_be_produced_again() {
    let cluster = Cluster::new();
    cluster.text("topic create orders -p 2");
    cluster.text("topic create copy -p 2");
    let options = ["-p", "1", "--key", "k", "--timestamp", "5000"];
    cluster.produce("orders", &options, "one\ntwo\n");
    let printed = cluster.text("--output json consume -t orders -e");
    let copied = cluster.produce("copy", &["--input", "json"], &printed);
    assert_eq!(copied.exit_code, 0, "{}", copied.failure);
    assert_eq!(
        printed.replace("orders", "copy"),
        cluster.text("--output json consume -t copy -e")
    );
    let wrong = cluster.produce("copy", &["--input", "json"], "{\"value\": \"v\"}\nnone\n");
    assert!(
        wrong.exit_code == 2 && wrong.failure.contains("line 2"),
        "{}",
        wrong.failure
    );
}

#[test]
fn reading_begins_and_ends_where_it_is_told() {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    for (time, value) in [("1000", "a"), ("2000", "b"), ("3000", "c"), ("4000", "d")] {
        cluster.produce("orders", &["--timestamp", time], value);
    }
    let read = |options: &str| cluster.text(&format!("consume -t orders {options}"));
    assert_eq!(read("-e -o 2"), "c\nd\n");
    assert_eq!(read("-e -o -1"), "d\n");
    assert_eq!(read("-n 2"), "a\nb\n");
    assert_eq!(read("--from 2000 --until 4000"), "b\nc\n");
    assert_eq!(read("--until 1500"), "a\n");
    assert_eq!(read("-e --from -1d"), "", "they are of 1970");
    assert_eq!(read("--from 1970-01-01T00:00:03Z -e"), "c\nd\n");
    assert_eq!(cluster.failure("consume -t orders -p 3 -e").0, 3);
    assert_eq!(cluster.failure("consume -t orders -f %q").0, 2);
    let separated = cluster.produce("orders", &["-D", ";", "--partition", "0"], "e;f\n;g");
    assert_eq!(separated.exit_code, 0, "{}", separated.failure);
    assert_eq!(read("-e -o 4 -f %v|"), "e|f\n|g|");
}

#[test]
fn a_group_goes_on_where_it_has_been() {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    cluster.produce("orders", &[], "a\nb\nc\n");
    assert_eq!(cluster.text("consume -t orders -g readers -n 2"), "a\nb\n");
    assert_eq!(cluster.text("consume -t orders -g readers -e"), "c\n");
    assert_eq!(cluster.text("consume -t orders -g readers -e"), "");
}

#[test]
fn scripts_complete_the_command_in_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = run_alone(&["completions", shell]);
        assert!(code == 0 && script.contains("reset-offsets"), "{shell}");
    }
}

#[test]
fn log_files_are_dumped_and_verified() {
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;
    let folder = tempfile::tempdir().expect("a folder");
    let mut batch = BatchBuilder::new(Codec::Zstd);
    batch.push(1000, Some(b"key"), Some(b"value"), &[]);
    let mut bytes = batch.build().expect("small").to_vec();
    let file = folder.path().join("00000000000000000000.log");
    std::fs::write(&file, &bytes).expect("written");
    let (code, text) = run_alone(&["log", "dump", "--records", path(folder.path())]);
    assert!(code == 0 && text.contains("\"key\" = \"value\""), "{text}");
    assert_eq!(run_alone(&["log", "verify", path(folder.path())]).0, 0);

    let next = folder.path().join("00000000000000000001.log");
    std::fs::write(next, b"").expect("written");
    bytes[65] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    assert_eq!(run_alone(&["log", "dump", path(&file)]).0, 5);
    let (code, text) = run_alone(&["log", "verify", path(folder.path())]);
    assert!(
        code == 5 && text.contains("00000000000000000000.log at 0"),
        "{text}"
    );
}
