//! Times that the broker gives to records, and a clock that is set back.

use std::time::Duration;

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::record_batch::{BatchBuilder, Batches, TimestampType};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{
    Client, Cluster, NOW_MS, call, create_topic, fetch_request, list_offset, produce, values,
};

const STAMPED: &[(&str, &str)] = &[("message.timestamp.type", "LogAppendTime")];

/// A batch whose records claim times that are far from the broker's.
fn odd_times(codec: Codec) -> bytes::Bytes {
    let mut batch = BatchBuilder::new(codec);
    for timestamp in [1, NOW_MS * 3, -1] {
        batch.push(timestamp, None, Some(b"value"), &[]);
    }
    batch.build().expect("compressed")
}

/// Offset and time of the first record at or after `timestamp`.
async fn find(connection: &Connection, timestamp: i64) -> (i64, i64) {
    let found = list_offset(connection, timestamp).await;
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

/// Each batch has one time, given by the broker, which all its records show.
async fn check_stamps(client: &Client, stamps: &[i64]) {
    let connection = client.connect().await;
    let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
    let bytes = answer.responses[0].partitions[0].records.clone();
    let mut found = Vec::new();
    let mut decompressor = Decompressor::default();
    for batch in Batches::new(&bytes.expect("records")) {
        let batch = batch.expect("a whole batch");
        batch.check_crc().expect("the CRC goes with the new header");
        let header = batch.header();
        assert_eq!(
            header.attributes.timestamp_type(),
            TimestampType::LogAppendTime
        );
        found.push(header.max_timestamp);
        let records = batch.records(&mut decompressor, 1 << 20).expect("readable");
        for record in records {
            let record = record.expect("readable");
            assert_eq!(record.timestamp, header.max_timestamp);
        }
    }
    assert_eq!(found, stamps);
    for (index, &stamp) in stamps.iter().enumerate() {
        let first = index as i64 * 3;
        assert_eq!(find(&connection, stamp).await, (first, stamp));
        assert_eq!(find(&connection, stamp - 1).await, (first, stamp));
    }
    let last = *stamps.last().expect("there is one");
    assert_eq!(find(&connection, last + 1).await, (-1, -1));
    assert_eq!(find(&connection, -3).await.1, last);
}

#[test]
fn the_brokers_time_is_answered_kept_and_found_also_after_restarts() {
    let mut cluster = Cluster::new(&[]);
    let broker = cluster.broker.clone();
    let stamps = cluster.run(async move |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, STAMPED).await;
        let mut stamps = Vec::new();
        for codec in Codec::ALL {
            let earliest = broker.reactor().wall_clock_ms();
            let kept = produce(&connection, "t", 0, odd_times(codec)).await;
            let latest = broker.reactor().wall_clock_ms();
            assert_eq!(kept.error_code, 0);
            assert!((earliest..=latest).contains(&kept.log_append_time_ms));
            stamps.push(kept.log_append_time_ms);
            client.reactor.sleep(Duration::from_secs(3)).await;
        }
        check_stamps(&client, &stamps).await;
        stamps
    });
    let wanted = stamps.clone();
    cluster.restart();
    cluster.run(async move |client| check_stamps(&client, &wanted).await);
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async move |client| check_stamps(&client, &stamps).await);
}

#[test]
fn a_batch_sent_again_is_answered_with_the_time_of_the_first() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, STAMPED).await;
        let batch = || {
            let id = millstream_protocol::ProducerId(7);
            let mut batch = BatchBuilder::new(Codec::None).producer(id, 0, 0);
            batch.push(1, None, Some(b"value"), &[]);
            batch.build().expect("not compressed")
        };
        let first = produce(&connection, "t", 0, batch()).await;
        assert_eq!((first.error_code, first.base_offset), (0, 0));
        client.reactor.sleep(Duration::from_secs(5)).await;
        let again = produce(&connection, "t", 0, batch()).await;
        assert_eq!((again.error_code, again.base_offset), (0, 0));
        assert_eq!(again.log_append_time_ms, first.log_append_time_ms);
    });
}

#[test]
fn how_far_a_records_time_may_be_off_is_exact_and_names_the_records() {
    let cluster = Cluster::new(&[]);
    let broker = cluster.broker.clone();
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let limits = &[
            ("message.timestamp.before.max.ms", "60000"),
            ("message.timestamp.after.max.ms", "30000"),
        ];
        create_topic(&connection, "t", 1, limits).await;
        let send = async |offsets: &[i64]| {
            let now_ms = broker.reactor().wall_clock_ms();
            let mut batch = BatchBuilder::new(Codec::None);
            for offset in offsets {
                batch.push(now_ms + offset, None, Some(b"value"), &[]);
            }
            let answer = produce(&connection, "t", 0, batch.build().expect("built")).await;
            let blamed: Vec<i32> = answer
                .record_errors
                .iter()
                .map(|error| error.batch_index)
                .collect();
            (answer.error_code, blamed)
        };
        // A second for what the network takes.
        assert_eq!(send(&[-59_000, 0, 30_000]).await, (0, vec![]));
        let invalid = ErrorCode::InvalidTimestamp.code();
        assert_eq!(send(&[0, -60_001, 0]).await, (invalid, vec![1]));
        assert_eq!(send(&[31_000, 0, 31_000]).await, (invalid, vec![0, 2]));
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer).len(), 3, "nothing of what was refused");
    });
}

/// Kafka rolls by the records' own times and removes by them: a clock that is set back makes
/// nothing younger, and nothing goes before its time by the clock as it is now.
#[test]
fn a_clock_that_is_set_back_keeps_order_and_records() {
    let mut cluster = Cluster::new(&[("log.retention.check.interval.ms", "1000")]);
    let broker = cluster.broker.clone();
    let back_ms = 1_200_000;
    let configs = &[
        ("message.timestamp.type", "LogAppendTime"),
        ("segment.ms", "60000"),
        ("retention.ms", "300000"),
    ];
    let offsets = cluster.run(async move |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, configs).await;
        let mut stamps = Vec::new();
        for step in 0..6 {
            if step == 3 {
                broker.set_clock_skew(-back_ms);
            }
            let kept = produce(&connection, "t", 0, odd_times(Codec::None)).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, step * 3));
            stamps.push(kept.log_append_time_ms);
            client.reactor.sleep(Duration::from_secs(61)).await;
        }
        assert!(stamps[3] < stamps[0], "{stamps:?}");
        // The first record at or after a time, by offset: that of before the step.
        assert_eq!(find(&connection, stamps[3]).await, (0, stamps[0]));
        assert_eq!(find(&connection, stamps[2] + 1).await, (-1, -1));
        // What bears times of the future stays for as long as they are in the future.
        client.reactor.sleep(Duration::from_secs(700)).await;
        let connection = client.connect().await;
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer).len(), 18);
        // When they are past, and the time to keep too, all goes.
        client.reactor.sleep(Duration::from_secs(900)).await;
        let connection = client.connect().await;
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::OffsetOutOfRange.code());
        let kept = produce(&connection, "t", 0, odd_times(Codec::None)).await;
        (kept.base_offset, kept.log_start_offset)
    });
    assert_eq!(offsets, (18, 18));
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let answer = call(&connection, 12, &fetch_request("t", 0, 18)).await;
        assert_eq!(values(&answer).len(), 3);
    });
}
