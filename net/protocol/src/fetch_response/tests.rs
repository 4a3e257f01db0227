//! Every version against the generated decoder.

use proptest::prelude::*;

use super::*;
use crate::frame::decode_response;
use crate::messages;
use crate::messages::fetch_response as generated;

fn joined(parts: Vec<Part<Bytes>>) -> Bytes {
    let mut frame = BytesMut::new();
    for part in parts {
        let size = part.size();
        let before = frame.len();
        match part {
            Part::Bytes(bytes) => frame.extend_from_slice(&bytes),
            Part::Records(records) => frame.extend_from_slice(&records.payload),
        }
        assert_eq!(frame.len() - before, size);
        assert!(size > 0, "an empty part");
    }
    let size = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(size as usize, frame.len() - SIZE_BYTES);
    frame.freeze().slice(SIZE_BYTES..)
}

/// What a reader of this version should see.
fn expected(response: &FetchResponse<Bytes>, version: i16) -> messages::FetchResponse {
    let topics = response.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| expected_partition(partition, version));
        let expected =
            generated::FetchableTopicResponse::default().with_partitions(partitions.collect());
        match version {
            13.. => expected.with_topic_id(topic.topic_id.0),
            _ => expected.with_topic(messages::TopicName(topic.name.clone())),
        }
    });
    let endpoints = response
        .node_endpoints
        .iter()
        .filter(|_| version >= 16)
        .map(|endpoint| {
            generated::NodeEndpoint::default()
                .with_node_id(messages::BrokerId(endpoint.node_id.0))
                .with_host(endpoint.host.clone())
                .with_port(endpoint.port)
                .with_rack(endpoint.rack.clone())
        });
    let decoded = messages::FetchResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect());
    match version {
        7.. => decoded
            .with_error_code(response.error_code)
            .with_session_id(response.session_id),
        _ => decoded,
    }
}

fn expected_partition(
    partition: &FetchedPartition<Bytes>,
    version: i16,
) -> generated::PartitionData {
    let aborted = partition.aborted_transactions.as_ref().map(|transactions| {
        let expected = transactions.iter().map(|transaction| {
            generated::AbortedTransaction::default()
                .with_producer_id(messages::ProducerId(transaction.producer_id.0))
                .with_first_offset(transaction.first_offset.0)
        });
        expected.collect()
    });
    let records = partition
        .records
        .as_ref()
        .map(|records| records.payload.clone());
    let mut expected = generated::PartitionData::default()
        .with_partition_index(partition.partition.0)
        .with_error_code(partition.error_code)
        .with_high_watermark(partition.high_watermark.0)
        .with_last_stable_offset(partition.last_stable_offset.0)
        .with_aborted_transactions(aborted)
        .with_records(Some(records.unwrap_or_default()));
    if version >= 5 {
        expected = expected.with_log_start_offset(partition.log_start_offset.0);
    }
    if version >= 11 {
        let replica = messages::BrokerId(partition.preferred_read_replica.0);
        expected = expected.with_preferred_read_replica(replica);
    }
    if let (12.., Some(diverging)) = (version, partition.diverging_epoch) {
        let epoch = generated::EpochEndOffset::default()
            .with_epoch(diverging.epoch.0)
            .with_end_offset(diverging.end_offset.0);
        expected = expected.with_diverging_epoch(epoch);
    }
    if let (12.., Some(leader)) = (version, partition.current_leader) {
        let leader = generated::LeaderIdAndEpoch::default()
            .with_leader_id(messages::BrokerId(leader.leader_id.0))
            .with_leader_epoch(leader.leader_epoch.0);
        expected = expected.with_current_leader(leader);
    }
    expected
}

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-z0-9._-]{0,40}".prop_map(StrBytes::from_string)
}

fn partitions() -> impl Strategy<Value = FetchedPartition<Bytes>> {
    let numbers = (any::<[i64; 3]>(), any::<[i32; 2]>(), any::<i16>());
    let epochs = proptest::option::of((any::<i32>(), any::<i64>()));
    let leader = proptest::option::of(any::<[i32; 2]>());
    let aborted = proptest::option::of(proptest::collection::vec(any::<[i64; 2]>(), 0..4));
    let records = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    (numbers, epochs, leader, aborted, records).prop_map(
        |((offsets, small, error_code), epochs, leader, aborted, records)| FetchedPartition {
            partition: PartitionIndex(small[0]),
            error_code,
            high_watermark: Offset(offsets[0]),
            last_stable_offset: Offset(offsets[1]),
            log_start_offset: Offset(offsets[2]),
            diverging_epoch: epochs.map(|(epoch, end_offset)| EpochEndOffset {
                epoch: LeaderEpoch(epoch),
                end_offset: Offset(end_offset),
            }),
            current_leader: leader.map(|[leader_id, leader_epoch]| CurrentLeader {
                leader_id: NodeId(leader_id),
                leader_epoch: LeaderEpoch(leader_epoch),
            }),
            aborted_transactions: aborted.map(|transactions| {
                let made = transactions
                    .into_iter()
                    .map(|[id, offset]| AbortedTransaction {
                        producer_id: ProducerId(id),
                        first_offset: Offset(offset),
                    });
                made.collect()
            }),
            preferred_read_replica: NodeId(small[1]),
            records: records.map(|bytes| FetchedRecords {
                size: bytes.len(),
                payload: Bytes::from(bytes),
            }),
        },
    )
}

fn responses() -> impl Strategy<Value = FetchResponse<Bytes>> {
    let topic = (
        text(),
        any::<u128>(),
        proptest::collection::vec(partitions(), 0..4),
    )
        .prop_map(|(name, id, partitions)| FetchedTopic {
            name,
            topic_id: TopicId(uuid::Uuid::from_u128(id)),
            partitions,
        });
    let endpoint = (any::<[i32; 2]>(), text(), proptest::option::of(text())).prop_map(
        |([node_id, port], host, rack)| NodeEndpoint {
            node_id: NodeId(node_id),
            host,
            port,
            rack,
        },
    );
    let topics = proptest::collection::vec(topic, 0..4);
    let endpoints = proptest::collection::vec(endpoint, 0..4);
    (any::<[i32; 2]>(), any::<i16>(), topics, endpoints).prop_map(
        |([throttle_time_ms, session_id], error_code, topics, node_endpoints)| FetchResponse {
            throttle_time_ms,
            error_code,
            session_id,
            topics,
            node_endpoints,
        },
    )
}

proptest! {
    #[test]
    fn every_version_is_read_by_the_generated_decoder(response in responses()) {
        for version in 4..=18 {
            let frame = joined(response.clone().encode(77, version).unwrap());
            prop_assert_eq!(frame[..4].to_vec(), 77i32.to_be_bytes());
            let decoded = decode_response::<messages::FetchRequest>(version, frame).unwrap();
            prop_assert_eq!(decoded, expected(&response, version));
        }
    }
}

fn of_partitions<P>(partitions: Vec<FetchedPartition<P>>) -> FetchResponse<P> {
    FetchResponse {
        throttle_time_ms: 0,
        error_code: 0,
        session_id: 0,
        topics: vec![FetchedTopic {
            name: StrBytes::from_static_str("t"),
            topic_id: TopicId::default(),
            partitions,
        }],
        node_endpoints: Vec::new(),
    }
}

#[test]
fn parts_lie_around_the_records() {
    let with_records = |records: &'static [u8]| FetchedPartition {
        records: Some(FetchedRecords {
            size: records.len(),
            payload: records,
        }),
        ..FetchedPartition::error(PartitionIndex(0), 0)
    };
    let response = of_partitions(vec![
        with_records(b"one"),
        with_records(b""),
        with_records(b"three"),
    ]);
    for (version, count) in [(4, 4), (12, 5)] {
        let parts = response.clone().encode(1, version).unwrap();
        assert_eq!(parts.len(), count, "version {version}");
        assert_eq!(
            parts[1],
            Part::Records(FetchedRecords {
                size: 3,
                payload: &b"one"[..]
            })
        );
        assert_eq!(
            parts[3],
            Part::Records(FetchedRecords {
                size: 5,
                payload: &b"three"[..]
            })
        );
    }
    assert!(response.clone().encode(1, 3).is_err());
    assert!(response.encode(1, 19).is_err());
}

#[test]
fn records_beyond_two_gigabytes_are_an_error() {
    let two_gigabytes = i32::MAX as usize;
    for size in [two_gigabytes - 10, two_gigabytes, two_gigabytes + 1] {
        let partition = FetchedPartition {
            records: Some(FetchedRecords { size, payload: () }),
            ..FetchedPartition::error(PartitionIndex(0), 0)
        };
        let response = of_partitions(vec![partition]);
        for version in [11, 12] {
            assert!(response.clone().encode(1, version).is_err(), "{size} bytes");
        }
    }
}

#[test]
fn a_partition_with_an_error_tells_of_no_offset_and_no_replica() {
    let partition = FetchedPartition::<()>::error(PartitionIndex(3), 6);
    let unknown = Offset(-1);
    assert_eq!(
        (partition.partition, partition.error_code),
        (PartitionIndex(3), 6)
    );
    assert_eq!(partition.high_watermark, unknown);
    assert_eq!(partition.last_stable_offset, unknown);
    assert_eq!(partition.log_start_offset, unknown);
    assert_eq!(partition.preferred_read_replica, NodeId(-1));
}
