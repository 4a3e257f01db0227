//! What other brokers that speak Kafka's protocol have got wrong, and no other test here asks.

use std::time::Duration;

use bytes::Bytes;
use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::compression::Codec;
use millstream_protocol::messages::fetch_response::PartitionData;
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::{DeleteTopicsRequest, MetadataRequest};
use millstream_protocol::record_batch::BatchBuilder;
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{
    Cluster, NOW_MS, batch, call, create_topic, fetch_request, list_offset, produce, records,
    topic_name, values,
};

/// The offset after the last record that consumers see.
async fn latest(connection: &Connection) -> i64 {
    let found = list_offset(connection, -1).await;
    assert_eq!(found.error_code, 0);
    found.offset
}

async fn fetch(connection: &Connection, offset: i64) -> PartitionData {
    let mut answer = call(connection, 12, &fetch_request("t", 0, offset)).await;
    answer.responses.remove(0).partitions.remove(0)
}

/// A consumer that saw more from an earlier leader must not be sent back (semantics 3.5).
#[test]
fn between_the_high_watermark_and_the_end_there_is_nothing_and_no_error() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        assert_eq!(
            produce(&connection, "t", 0, batch(&["a"])).await.error_code,
            0
        );
    });
    // What is appended and cannot be written is in the log and not committed.
    cluster.broker.set_disk_capacity(Some(1));
    cluster.run(async |client| {
        let connection = client.connect().await;
        let large = "x".repeat(100_000);
        let mut kept = 1;
        while produce(&connection, "t", 0, batch(&[large.as_str()]))
            .await
            .error_code
            == 0
        {
            kept += 1;
            assert!(kept < 10_000, "the disk is not full");
        }
        for (offset, code) in [(kept, 0), (kept + 1, 0), (kept + 2, 1)] {
            let found = fetch(&connection, offset).await;
            assert_eq!(found.error_code, code, "at offset {offset} after {kept}");
            assert!(found.records.is_none_or(|records| records.is_empty()));
            if code == 0 {
                assert_eq!(found.high_watermark, kept);
            }
        }
        assert_eq!(latest(&connection).await, kept);
    });
}

/// A leader that has just come up must not tell a lower end than was told before (semantics 3.7).
#[test]
fn the_end_told_to_consumers_does_not_go_back_in_a_crash() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
    });
    for round in 1..4 {
        cluster.run(async move |client| {
            let connection = client.connect().await;
            let kept = produce(&connection, "t", 0, batch(&["a", "b"])).await;
            assert_eq!(kept.error_code, 0);
            assert_eq!(latest(&connection).await, 2 * round);
        });
        cluster.crash_and_restart(KeepUnsynced::None);
        cluster.run(async move |client| {
            let connection = client.connect().await;
            assert_eq!(latest(&connection).await, 2 * round);
            let found = fetch(&connection, 2 * round).await;
            assert_eq!((found.error_code, found.high_watermark), (0, 2 * round));
        });
    }
}

fn keyed(timestamp: i64, key: &str, value: &str) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(timestamp, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    batch.build().expect("not compressed")
}

/// Offsets have gaps after compaction (semantics 3.5): one within a gap gives what follows, and
/// the log ends where it ended (3.14, redpanda#8698).
#[test]
fn a_compacted_log_has_gaps_and_ends_where_it_ended() {
    let mut cluster = Cluster::new(&[
        ("log.initial.task.delay.ms", "0"),
        ("log.cleaner.backoff.ms", "100"),
    ]);
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.0"),
    ];
    const RECORDS: i64 = 10;
    cluster.run(async move |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &configs).await;
        for n in 0..RECORDS {
            // Each is too late for the segment of the one before it.
            let record = keyed(NOW_MS + n * 10_000, "k", &n.to_string());
            let kept = produce(&connection, "t", 0, record).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, n));
        }
        for _ in 0..1_000 {
            let first = records(&fetch(&connection, 0).await.records.expect("records"));
            // The segment that is written to is not compacted.
            if first[0].0 >= RECORDS - 2 {
                return;
            }
            client.reactor.sleep(Duration::from_millis(100)).await;
        }
        panic!("it is not compacted");
    });
    for _ in 0..2 {
        cluster.run(async move |client| {
            let connection = client.connect().await;
            let from_gap = records(&fetch(&connection, 3).await.records.expect("records"));
            let last = RECORDS - 1;
            assert_eq!(from_gap.last(), Some(&(last, last.to_string())));
            assert!(from_gap[0].0 > 3, "it gives what follows: {from_gap:?}");
            assert_eq!(latest(&connection).await, RECORDS);
            let end = fetch(&connection, RECORDS).await;
            assert_eq!((end.error_code, end.high_watermark), (0, RECORDS));
        });
        cluster.crash_and_restart(KeepUnsynced::None);
    }
    cluster.run(async |client| {
        let connection = client.connect().await;
        let record = keyed(NOW_MS + RECORDS * 10_000, "k", "next");
        let kept = produce(&connection, "t", 0, record).await;
        assert_eq!((kept.error_code, kept.base_offset), (0, RECORDS));
    });
}

#[test]
fn tagged_fields_that_nobody_knows_are_skipped() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let unknown = || [(77, Bytes::from_static(b"from tomorrow"))].into();
        let topic = MetadataRequestTopic::default()
            .with_name(Some(topic_name("t")))
            .with_unknown_tagged_fields(unknown());
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_unknown_tagged_fields(unknown());
        for version in 9..=12 {
            let answer = call(&connection, version, &request).await;
            assert_eq!(answer.topics.len(), 1, "version {version}");
            assert_eq!(answer.topics[0].error_code, 0, "version {version}");
        }
    });
}

#[test]
fn no_fetch_gives_more_than_the_broker_allows() {
    let cluster = Cluster::new(&[("fetch.max.bytes", "2000")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let value = "x".repeat(700);
        for _ in 0..4 {
            produce(&connection, "t", 0, batch(&[value.as_str()])).await;
        }
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer).len(), 2, "as many as fit into 2,000 bytes");
    });
}

/// Whoever waits for a topic is told that it is gone, not that it has moved (semantics 3.6).
#[test]
fn who_waits_for_a_topic_is_told_that_it_is_gone() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let (reader, admin) = (client.connect().await, client.connect().await);
        for version in [4, 11, 12, 16] {
            let id = create_topic(&admin, "t", 3, &[]).await;
            let mut wanted = fetch_request("t", 2, 0).with_max_wait_ms(500_000);
            if version >= 13 {
                wanted.topics[0].topic = topic_name("");
                wanted.topics[0].topic_id = id;
            }
            let waiting = reader.call_version(&wanted, version, reader.request_timeout());
            // It waits by the time that the next request is answered.
            call(&admin, 12, &MetadataRequest::default()).await;
            let request = DeleteTopicsRequest::default()
                .with_topic_names(vec![topic_name("t")])
                .with_timeout_ms(10_000);
            let gone = call(&admin, 5, &request).await;
            assert_eq!(gone.responses[0].error_code, 0);
            let answer = waiting.await.expect("answered");
            let told = answer.responses[0].partitions[0].error_code;
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            assert_eq!(told, unknown, "version {version}");
        }
    });
}
