//! `millstream group`.

use serde_json::Value;

use crate::harness::Cluster;

/// A node with a topic of ten old records, of which the group has read four.
fn reader() -> Cluster {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    for n in 0..10 {
        let time = format!("{}", (n + 1) * 1000);
        cluster.produce("orders", &["--timestamp", &time], &format!("r{n}"));
    }
    cluster.text("consume -t orders -g readers -n 4");
    cluster
}

fn committed(cluster: &Cluster) -> Value {
    cluster.json("group describe readers")["partitions"][0]["committed_offset"].clone()
}

#[test]
fn groups_are_listed_and_described_with_their_lag() {
    let cluster = reader();
    let listed = cluster.json("group list");
    assert_eq!(
        (&listed[0]["group"], &listed[0]["state"]),
        (&"readers".into(), &"Empty".into())
    );
    assert_eq!(
        cluster
            .json("group list --state stable")
            .as_array()
            .map(Vec::len),
        Some(0)
    );

    let described = cluster.json("group describe readers");
    let partition = &described["partitions"][0];
    assert_eq!(
        (&partition["committed_offset"], &partition["lag"]),
        (&4.into(), &6.into())
    );
    // The first record that was not read is of 1970, and the simulated clock far behind that.
    let behind = partition["lag_ms"].as_i64().expect("its age is known");
    assert!(behind > 365 * 24 * 3_600_000, "{described}");
    assert_eq!(described["lag"], 6);
    let text = cluster.text("group describe readers");
    assert!(
        text.contains("lag 6 (") && text.contains("BEHIND"),
        "{text}"
    );

    cluster.text("consume -t orders -g readers -e");
    let described = cluster.json("group describe readers");
    assert_eq!(
        (&described["lag"], &described["lag_ms"]),
        (&0.into(), &0.into())
    );
    let (code, failure) = cluster.failure("group describe nobody");
    assert!(code == 3 && failure.contains("group list"), "{failure}");
}

#[test]
fn offsets_are_reset_only_when_told_to() {
    let cluster = reader();
    let shown = cluster.json("group reset-offsets readers --topic orders --to-earliest");
    assert_eq!(shown["executed"], false);
    assert_eq!(shown["partitions"][0]["change"], -4);
    assert_eq!(committed(&cluster), 4);

    for (target, offset) in [
        ("--to-earliest", 0),
        ("--to-latest", 10),
        ("--to-offset 7", 7),
        ("--shift-by -2", 5),
        ("--shift-by 100", 10),
        ("--to-offset 99", 10),
        ("--to-time 3000", 2),
        ("--to-datetime 1970-01-01T00:00:05Z", 4),
        ("--by-duration 1h", 10),
        ("--to-current", 10),
    ] {
        let words = format!("group reset-offsets readers --all-topics --execute {target}");
        let reset = cluster.json(&words);
        assert_eq!(
            reset["partitions"][0]["new_offset"], offset,
            "{target}: {reset}"
        );
        assert_eq!(committed(&cluster), offset, "{target}");
    }
    let text = cluster.text("group reset-offsets readers --topic orders:0 --to-earliest");
    assert!(
        text.ends_with("nothing was changed: add --execute to do it\n"),
        "{text}"
    );

    let fails = |words: &str| cluster.failure(&format!("group reset-offsets {words}")).0;
    assert_eq!(fails("readers --to-earliest"), 2, "no topics");
    assert_eq!(fails("readers --all-topics"), 2, "no target");
    assert_eq!(
        fails("readers --all-topics --to-earliest --to-latest"),
        2,
        "two targets"
    );
    assert_eq!(fails("readers --topic orders:9 --to-earliest"), 3);
    assert_eq!(fails("readers --topic other --to-earliest"), 3);
    assert_eq!(fails("nobody --all-topics --to-earliest"), 3);
    assert_eq!(
        fails("nobody --topic orders --shift-by 1"),
        2,
        "nothing to shift"
    );
}

#[test]
fn a_group_that_does_not_exist_can_be_given_offsets() {
    let cluster = reader();
    cluster.text("group reset-offsets fresh --topic orders --to-offset 8 --execute");
    assert_eq!(cluster.text("consume -t orders -g fresh -e"), "r8\nr9\n");
}

#[test]
fn groups_and_offsets_are_deleted() {
    let cluster = reader();
    let words = "group delete-offsets readers --topic other";
    assert_eq!(cluster.failure(words).0, 3);
    let deleted = cluster.json("group delete-offsets readers --topic orders");
    assert_eq!(deleted["deleted"][0]["topic"], "orders");
    let left = cluster.json("group describe readers");
    assert_eq!(
        left["partitions"].as_array().map(Vec::len),
        Some(0),
        "{left}"
    );
    assert_eq!(
        cluster.text("group delete readers"),
        "deleted group readers\n"
    );
    let (code, failure) = cluster.failure("group delete readers");
    assert!(code == 3 && failure.contains("does not exist"), "{failure}");
}
