//! A disk without room: the node starts, stops, serves reads and lets metadata change; writes are
//! refused, and go on when there is room.

use std::time::Duration;

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::{ApiKey, DeleteTopicsRequest, TopicName};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{
    Cluster, batch, call, create_topic, fetch_request, newest, produce, text, values,
};

const PARTITIONS: i32 = 4;
/// After this what is kept back for a full disk is there.
const A_WHILE: Duration = Duration::from_secs(15);

/// The records of these tests are older than what topics keep.
const FOR_EVER: &[(&str, &str)] = &[("retention.ms", "-1")];

/// Records that a partition acknowledged.
type Kept = Vec<Vec<String>>;

fn full() -> i16 {
    ErrorCode::KafkaStorageError.code()
}

/// Leaves `bytes` of room on the disk.
fn leave_room(cluster: &Cluster, bytes: u64) {
    let fs = cluster.broker.reactor().fs();
    let space = cluster
        .sim
        .block_on(async move { fs.space("/data".as_ref()).await })
        .expect("the folder is there");
    let used = space.total_bytes - space.usable_bytes;
    cluster.broker.set_disk_capacity(Some(used + bytes));
}

/// Produces to every partition until it refuses.
async fn produce_until_full(connection: &Connection, kept: &mut Kept) {
    for partition in 0..PARTITIONS {
        loop {
            let values = &mut kept[partition as usize];
            let value = format!("{} {}", values.len(), "x".repeat(3_000));
            let answer = produce(connection, "t", partition, batch(&[&value])).await;
            if answer.error_code == full() {
                break;
            }
            assert_eq!(answer.error_code, 0);
            assert_eq!(answer.base_offset, values.len() as i64);
            values.push(value);
        }
    }
}

/// Every acknowledged record is read; behind them there may be such as nobody was told of.
async fn check(connection: &Connection, kept: &Kept) {
    for (partition, wanted) in kept.iter().enumerate() {
        let mut found = Vec::new();
        loop {
            let request = fetch_request("t", partition as i32, found.len() as i64);
            let answer = call(connection, 12, &request).await;
            let part = values(&answer);
            if part.is_empty() {
                break;
            }
            for (offset, value) in part {
                assert_eq!(offset, found.len() as i64);
                found.push(value);
            }
        }
        assert!(found.len() >= wanted.len(), "partition {partition}");
        assert_eq!(found[..wanted.len()], wanted[..], "partition {partition}");
    }
}

/// Takes what was written without an answer for acknowledged: it has been read now.
async fn take_over(connection: &Connection, kept: &mut Kept) {
    for partition in 0..PARTITIONS {
        let values = &mut kept[partition as usize];
        loop {
            let request = fetch_request("t", partition, values.len() as i64);
            let answer = call(connection, 12, &request).await;
            let part = crate::harness::values(&answer);
            if part.is_empty() {
                break;
            }
            values.extend(part.into_iter().map(|(_, value)| value));
        }
    }
}

#[test]
fn a_node_starts_on_a_full_disk_serves_reads_and_goes_on_when_there_is_room() {
    for (seed, room) in [(1, 0), (2, 30_000), (3, 150_000)] {
        let mut cluster = Cluster::with_seed(seed, &[]);
        let mut kept: Kept = vec![Vec::new(); PARTITIONS as usize];
        kept = cluster.run(async move |client| {
            let connection = client.connect().await;
            create_topic(&connection, "t", PARTITIONS, FOR_EVER).await;
            for partition in 0..PARTITIONS {
                produce(&connection, "t", partition, batch(&["first"])).await;
                kept[partition as usize].push("first".to_owned());
            }
            client.reactor.sleep(A_WHILE).await;
            kept
        });
        leave_room(&cluster, room);
        kept = cluster.run(async move |client| {
            let connection = client.connect().await;
            produce_until_full(&connection, &mut kept).await;
            check(&connection, &kept).await;
            kept
        });
        for start in 0..6 {
            match start % 3 {
                0 => cluster.crash_and_restart(KeepUnsynced::None),
                1 => cluster.crash_and_restart(KeepUnsynced::Random),
                _ => cluster.restart(),
            }
            kept = cluster.run(async move |client| {
                let connection = client.connect().await;
                take_over(&connection, &mut kept).await;
                check(&connection, &kept).await;
                produce_until_full(&connection, &mut kept).await;
                check(&connection, &kept).await;
                kept
            });
        }
        cluster.broker.set_disk_capacity(None);
        kept = cluster.run(async move |client| {
            let connection = client.connect().await;
            client.reactor.sleep(A_WHILE).await;
            take_over(&connection, &mut kept).await;
            for partition in 0..PARTITIONS {
                let answer = produce(&connection, "t", partition, batch(&["last"])).await;
                assert_eq!(answer.error_code, 0, "there is room again");
                kept[partition as usize].push("last".to_owned());
            }
            check(&connection, &kept).await;
            kept
        });
        cluster.restart();
        cluster.run(async move |client| check(&client.connect().await, &kept).await);
    }
}

#[test]
fn topics_are_deleted_on_a_full_disk_which_makes_room() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", PARTITIONS, FOR_EVER).await;
        create_topic(&connection, "large", 1, FOR_EVER).await;
        let value = "x".repeat(500_000);
        produce(&connection, "large", 0, batch(&[&value])).await;
        client.reactor.sleep(A_WHILE).await;
    });
    leave_room(&cluster, 10_000);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let mut kept: Kept = vec![Vec::new(); PARTITIONS as usize];
        produce_until_full(&connection, &mut kept).await;
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text("large"))])
            .with_timeout_ms(10_000);
        let answer = call(&connection, 5, &request).await;
        assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
        assert!(newest(ApiKey::DeleteTopics) >= 5);
        client.reactor.sleep(A_WHILE).await;
        take_over(&connection, &mut kept).await;
        for partition in 0..PARTITIONS {
            let answer = produce(&connection, "t", partition, batch(&["last"])).await;
            assert_eq!(answer.error_code, 0, "the topic's room is free");
            kept[partition as usize].push("last".to_owned());
        }
        check(&connection, &kept).await;
    });
}

#[test]
fn partitions_that_found_no_room_are_opened_while_metadata_changes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| client.reactor.sleep(A_WHILE).await);
    leave_room(&cluster, 0);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "late", 1, FOR_EVER).await;
        let answer = produce(&connection, "late", 0, batch(&["first"])).await;
        assert_eq!(answer.error_code, full());
    });
    cluster.broker.set_disk_capacity(None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for number in 0..10 {
            create_topic(&connection, &format!("other-{number}"), 1, FOR_EVER).await;
            client.reactor.sleep(Duration::from_millis(300)).await;
        }
        let answer = produce(&connection, "late", 0, batch(&["first"])).await;
        assert_eq!(answer.error_code, 0, "there is room again");
    });
}
