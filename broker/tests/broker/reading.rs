//! Fetch and ListOffsets: what is given, when, and which offsets (semantics of Kafka's
//! `ReplicaManager`, `DelayedFetch`, `FetchSession` and `UnifiedLog`).

use std::time::Duration;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millstream_protocol::messages::{ApiKey, ListOffsetsRequest};

use crate::harness::{
    Cluster, NOW_MS, batch, builder, call, create_topic, fetch_request, list_offset,
    list_offset_as_of, list_offset_in, newest, produce, topic_name, values,
};

fn owned(values: &[(i64, &str)]) -> Vec<(i64, String)> {
    values
        .iter()
        .map(|(offset, value)| (*offset, (*value).to_owned()))
        .collect()
}

#[test]
fn an_offset_within_a_batch_gives_the_whole_batch() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a", "b", "c"])).await;
        let answer = call(&connection, 12, &fetch_request("t", 0, 1)).await;
        assert_eq!(values(&answer), owned(&[(0, "a"), (1, "b"), (2, "c")]));
    });
}

#[test]
fn offsets_outside_the_log_are_out_of_range_and_its_end_is_not() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a"])).await;
        for (offset, code) in [(-1, 1), (2, 1), (1, 0)] {
            let answer = call(&connection, 12, &fetch_request("t", 0, offset)).await;
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(partition.error_code, code, "at offset {offset}");
            assert!(
                partition
                    .records
                    .as_ref()
                    .is_none_or(|records| records.is_empty())
            );
        }
    });
}

#[test]
fn the_first_batch_comes_however_large_and_the_limits_hold_for_the_rest() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 3, &[]).await;
        let large = "x".repeat(5_000);
        for partition in 0..3 {
            produce(&connection, "t", partition, batch(&[&large])).await;
            produce(&connection, "t", partition, batch(&[&large])).await;
        }
        let mut request = fetch_request("t", 2, 0).with_max_bytes(100);
        for partition in [0, 1] {
            let more = fetch_request("t", partition, 0)
                .topics
                .remove(0)
                .partitions
                .remove(0);
            request.topics[0].partitions.push(more);
        }
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = 100;
        }
        let answer = call(&connection, 12, &request).await;
        let partitions = &answer.responses[0].partitions;
        let given: Vec<(i32, bool)> = partitions
            .iter()
            .map(|p| {
                (
                    p.partition_index,
                    p.records.as_ref().is_some_and(|r| !r.is_empty()),
                )
            })
            .collect();
        assert_eq!(
            given,
            [(2, true), (0, false), (1, false)],
            "in the order of the request"
        );
    });
}

#[test]
fn a_fetch_waits_for_data_and_is_woken_by_it() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        let producer = client.connect().await;
        for partition in 0..2 {
            let began = client.reactor.now();
            let request = fetch_request("t", partition, 0).with_max_wait_ms(60_000);
            let waiting = connection.call_version(&request, 12, connection.request_timeout());
            client.reactor.sleep(Duration::from_secs(3)).await;
            produce(&producer, "t", partition, batch(&["a"])).await;
            let answer = waiting.await.expect("answered");
            assert_eq!(values(&answer), owned(&[(0, "a")]));
            let waited = client.reactor.now() - began;
            assert!(waited >= Duration::from_secs(3), "{waited:?}");
            assert!(waited < Duration::from_millis(3_100), "{waited:?}");
        }
    });
}

#[test]
fn a_fetch_waits_no_longer_than_it_said_and_not_for_an_error() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let began = client.reactor.now();
        let answer = call(
            &connection,
            12,
            &fetch_request("t", 0, 0).with_max_wait_ms(2_000),
        )
        .await;
        assert_eq!(values(&answer), []);
        let waited = client.reactor.now() - began;
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2_100));

        let began = client.reactor.now();
        call(
            &connection,
            12,
            &fetch_request("t", 0, 9).with_max_wait_ms(2_000),
        )
        .await;
        assert!(client.reactor.now() - began < Duration::from_millis(100));
    });
}

#[test]
fn a_fetch_waits_until_there_is_as_much_as_it_wants() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let producer = client.connect().await;
        let request = fetch_request("t", 0, 0)
            .with_max_wait_ms(60_000)
            .with_min_bytes(150);
        let waiting = connection.call_version(&request, 12, connection.request_timeout());
        for value in ["a", "b", "c"] {
            produce(&producer, "t", 0, batch(&[value])).await;
        }
        let answer = waiting.await.expect("answered");
        assert_eq!(values(&answer), owned(&[(0, "a"), (1, "b"), (2, "c")]));
    });
}

#[test]
fn terms_of_the_leader_are_compared() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a"])).await;
        let code = async |epoch| {
            let mut request = fetch_request("t", 0, 0);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            let answer = call(&connection, 12, &request).await;
            answer.responses[0].partitions[0].error_code
        };
        assert_eq!(code(0).await, 0);
        assert_eq!(code(7).await, ErrorCode::UnknownLeaderEpoch.code());
        let found = list_offset_in(&connection, 0, -1, 7).await;
        assert_eq!(found.error_code, ErrorCode::UnknownLeaderEpoch.code());
    });
}

#[test]
fn a_client_whose_log_parts_from_ours_is_told_where() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a", "b"])).await;
        let mut request = fetch_request("t", 0, 2);
        request.topics[0].partitions[0].last_fetched_epoch = 0;
        let answer = call(&connection, 12, &request).await;
        assert_eq!(answer.responses[0].partitions[0].diverging_epoch.epoch, -1);
    });
}

#[test]
fn topic_ids_are_checked_and_versions_above_twelve_use_them() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let id = create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a"])).await;
        let version = newest(ApiKey::Fetch);
        let mut request = fetch_request("", 0, 0);
        request.topics[0].topic_id = id;
        assert_eq!(
            values(&call(&connection, version, &request).await),
            owned(&[(0, "a")])
        );
        request.topics[0].topic_id = uuid::Uuid::from_u128(9);
        let answer = call(&connection, version, &request).await;
        let code = answer.responses[0].partitions[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicId.code());
    });
}

#[test]
fn a_session_names_only_what_changes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        produce(&connection, "t", 0, batch(&["a"])).await;
        let mut full = fetch_request("t", 0, 0).with_session_epoch(0);
        let other = fetch_request("t", 1, 0)
            .topics
            .remove(0)
            .partitions
            .remove(0);
        full.topics[0].partitions.push(other);
        let answer = call(&connection, 12, &full).await;
        let id = answer.session_id;
        assert_ne!(id, 0);
        assert_eq!(answer.responses[0].partitions.len(), 2);

        // Partition 0 from offset 1; partition 1 as before: neither has anything new.
        let next = fetch_request("t", 0, 1)
            .with_session_id(id)
            .with_session_epoch(1);
        let answer = call(&connection, 12, &next).await;
        assert_eq!((answer.error_code, answer.session_id), (0, id));
        assert!(answer.responses.is_empty(), "{answer:?}");

        produce(&connection, "t", 1, batch(&["b"])).await;
        let mut nothing = next.clone().with_session_epoch(2);
        nothing.topics.clear();
        let answer = call(&connection, 12, &nothing).await;
        assert_eq!(answer.responses[0].partitions.len(), 1);
        assert_eq!(values(&answer), owned(&[(0, "b")]));

        let wrong = nothing.clone().with_session_epoch(2);
        let answer = call(&connection, 12, &wrong).await;
        assert_eq!(
            answer.error_code,
            ErrorCode::InvalidFetchSessionEpoch.code()
        );
        let absent = nothing.with_session_id(id + 1).with_session_epoch(3);
        let answer = call(&connection, 12, &absent).await;
        assert_eq!(answer.error_code, ErrorCode::FetchSessionIdNotFound.code());
    });
}

#[test]
fn a_timestamp_finds_the_first_record_not_the_first_batch() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let mut records = builder(&[]);
        for n in 0..10 {
            records.push(NOW_MS + 10 * n, None, Some(b"v"), &[]);
        }
        produce(&connection, "t", 0, records.build().expect("a batch")).await;
        let mut older = builder(&[]);
        older.push(NOW_MS + 5, None, Some(b"v"), &[]);
        produce(&connection, "t", 0, older.build().expect("a batch")).await;

        let found = list_offset(&connection, NOW_MS + 41).await;
        assert_eq!(
            (found.error_code, found.offset, found.timestamp),
            (0, 5, NOW_MS + 50)
        );
        assert_eq!(found.leader_epoch, 0);
        let found = list_offset(&connection, NOW_MS + 91).await;
        assert_eq!(
            (found.error_code, found.offset, found.timestamp),
            (0, -1, -1)
        );
        let newest = list_offset(&connection, -3).await;
        assert_eq!((newest.offset, newest.timestamp), (9, NOW_MS + 90));
        let (earliest, latest) = (
            list_offset(&connection, -2).await,
            list_offset(&connection, -1).await,
        );
        assert_eq!((earliest.offset, latest.offset), (0, 11));
        assert_eq!((earliest.timestamp, latest.timestamp), (-1, -1));
    });
}

#[test]
fn a_partition_asked_for_twice_is_an_invalid_request() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let wanted = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![wanted.clone(), wanted]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let answer = call(&connection, 7, &request).await;
        let codes: Vec<i16> = answer.topics[0]
            .partitions
            .iter()
            .map(|p| p.error_code)
            .collect();
        assert!(
            codes
                .iter()
                .all(|code| *code == ErrorCode::InvalidRequest.code()),
            "{codes:?}"
        );
    });
}

/// Nothing is tiered, so there is neither a last record that is nor a first one that is to be.
#[test]
fn offsets_of_tiered_records_are_none_in_the_versions_that_ask_for_them() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a", "b"])).await;
        let unsupported = ErrorCode::UnsupportedVersion.code();
        for (timestamp, since) in [(-5, 9), (-6, 11)] {
            for version in 7..=11 {
                let found = list_offset_as_of(&connection, version, 0, timestamp, -1).await;
                let code = if version < since { unsupported } else { 0 };
                let expected = (code, -1, -1, -1);
                let found = (
                    found.error_code,
                    found.offset,
                    found.timestamp,
                    found.leader_epoch,
                );
                assert_eq!(found, expected, "{timestamp} in version {version}");
            }
            let fenced = list_offset_as_of(&connection, 11, 0, timestamp, 99).await;
            assert_eq!(fenced.error_code, ErrorCode::UnknownLeaderEpoch.code());
        }
        let found = list_offset_as_of(&connection, 11, 0, -7, -1).await;
        assert_eq!(found.error_code, unsupported);
        let latest = list_offset_as_of(&connection, 11, 0, -1, -1).await;
        assert_eq!((latest.error_code, latest.offset), (0, 2));
    });
}
