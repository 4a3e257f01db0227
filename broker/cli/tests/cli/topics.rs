//! `millstream topic`.

use crate::harness::Cluster;

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let cluster = Cluster::new();
    let tried = cluster.json("topic create orders --partitions 3 --dry-run");
    assert_eq!(tried["created"], false);
    assert_eq!(cluster.json("topic list").as_array().map(Vec::len), Some(0));

    let created = cluster.json("topic create orders -p 3 -c retention.ms=3600000");
    assert_eq!(created["partitions"], 3, "{created}");
    let listed = cluster.json("topic list");
    assert_eq!(listed[0]["topic"], "orders");
    let described = cluster.json("topic describe orders");
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(described[0]["configs"]["retention.ms"], "3600000");
    let text = cluster.text("topic describe orders");
    assert!(
        text.contains("retention.ms=3600000") && text.contains("PARTITION"),
        "{text}"
    );

    let (code, failure) = cluster.failure("topic create orders");
    assert!(
        code == 1 && failure.contains("--if-not-exists"),
        "{code} {failure}"
    );
    assert_eq!(
        cluster.json("topic create orders --if-not-exists")["created"],
        false
    );

    assert_eq!(
        cluster.text("topic delete orders"),
        "deleted topic orders\n"
    );
    assert_eq!(cluster.failure("topic delete orders").0, 3);
    assert_eq!(
        cluster.json("topic delete orders --if-exists")["deleted"],
        false
    );
    assert_eq!(cluster.failure("topic describe orders").0, 3);
}

#[test]
fn settings_of_a_topic_are_altered() {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    cluster.text("topic alter orders --set retention.ms=1000 --set max.message.bytes=2000");
    cluster.text("topic alter orders --dry-run --set retention.ms=2000");
    cluster.text("topic alter orders --unset max.message.bytes");
    let configs = cluster.json("topic describe orders")[0]["configs"].clone();
    assert_eq!(configs, serde_json::json!({"retention.ms": "1000"}));

    let (code, failure) = cluster.failure("topic alter orders --set retention.ms=soon");
    assert!(
        code == 1 && failure.contains("config explain"),
        "{code} {failure}"
    );
    assert_eq!(
        cluster.failure("topic alter other --set retention.ms=1").0,
        3
    );
    assert_eq!(cluster.failure("topic alter orders").0, 2);
}

#[test]
fn partitions_are_added_but_never_taken_away() {
    let cluster = Cluster::new();
    cluster.text("topic create orders -p 2");
    let more = cluster.json("topic add-partitions orders --add 1");
    assert_eq!(
        (&more["partitions_before"], &more["partitions"]),
        (&2.into(), &3.into())
    );
    assert_eq!(
        cluster.json("topic add-partitions orders --total 5 --dry-run")["altered"],
        false
    );
    let described = cluster.json("topic describe orders");
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        cluster.failure("topic add-partitions orders --total 3").0,
        2
    );
    let (code, failure) = cluster.failure("topic add-partitions orders --total 1");
    assert!(
        code == 1 && failure.contains("never has fewer"),
        "{code} {failure}"
    );
    assert_eq!(cluster.failure("topic add-partitions other --add 1").0, 3);
}

#[test]
fn the_oldest_records_are_deleted() {
    let cluster = Cluster::new();
    cluster.text("topic create orders");
    assert_eq!(cluster.produce("orders", &[], "a\nb\nc\nd\n").exit_code, 0);
    let tried = cluster.json("topic delete-records orders --before 3 --dry-run");
    assert_eq!(tried["partitions"][0]["start_offset"], 3);
    let deleted = cluster.json("topic delete-records orders --before 2");
    assert_eq!(
        deleted["partitions"][0]["start_offset_before"], 0,
        "{deleted}"
    );
    assert_eq!(deleted["partitions"][0]["start_offset"], 2);
    assert_eq!(cluster.text("consume -t orders -e"), "c\nd\n");
    let (code, failure) = cluster.failure("topic delete-records orders --before 9");
    assert!(
        code == 2 && failure.contains("ends at offset 4"),
        "{code} {failure}"
    );
    cluster.text("topic delete-records orders --before end");
    assert_eq!(cluster.text("consume -t orders -e"), "");
    assert_eq!(
        cluster
            .failure("topic delete-records orders -p 7 --before end")
            .0,
        3
    );
}
