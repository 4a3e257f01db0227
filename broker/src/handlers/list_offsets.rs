//! ListOffsets, versions 1–11: the first, the last, or the first record from a time on.
//!
//! Timestamps below zero ask for offsets by name: −1 the end, −2 the beginning, −3 (version 7) the
//! record with the largest timestamp, −4 (version 8) the beginning of what is local, −5 (version 9,
//! KIP-1005) the end of what is tiered, −6 (version 11, KIP-1023) the beginning of what is to be
//! tiered. Nothing is tiered yet, so the last two are answered −1, as Kafka answers for a topic
//! without remote storage.

use std::collections::BTreeSet;
use std::rc::Rc;

use millstream_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use millstream_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use millstream_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicPartition};

use super::RequestInfo;
use crate::shard::{FoundOffset, Isolation, ListOffsetsPart, OffsetQuery, Shard};

/// What a timestamp asks for, and the version from which it may.
fn query(timestamp: i64, version: i16) -> Result<OffsetQuery, ErrorCode> {
    let (query, since) = match timestamp {
        -1 => (OffsetQuery::Latest, 1),
        -2 => (OffsetQuery::Earliest, 1),
        -3 => (OffsetQuery::MaxTimestamp, 7),
        -4 => (OffsetQuery::Earliest, 8),
        -5 => (OffsetQuery::Tiered, 9),
        -6 => (OffsetQuery::Tiered, 11),
        timestamp if timestamp >= 0 => (OffsetQuery::Timestamp(timestamp), 1),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    if version >= since {
        Ok(query)
    } else {
        Err(ErrorCode::UnsupportedVersion)
    }
}

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let image = shard.image();
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.as_str().to_owned(), partition.partition_index);
            if !seen.insert(key.clone()) {
                repeated.insert(key);
            }
        }
    }
    let mut results: Vec<Result<FoundOffset, ErrorCode>> = Vec::new();
    let mut parts = Vec::new();
    for wanted in &request.topics {
        let topic = image.topic_by_name(&wanted.name);
        for partition in &wanted.partitions {
            let slot = results.len();
            let index = PartitionIndex(partition.partition_index);
            let known = topic.filter(|topic| topic.partition(index).is_some());
            let key = (wanted.name.as_str().to_owned(), partition.partition_index);
            let answer = if repeated.contains(&key) {
                Err(ErrorCode::InvalidRequest)
            } else {
                match (query(partition.timestamp, info.version), known) {
                    (Err(error), _) => Err(error),
                    (_, None) => Err(ErrorCode::UnknownTopicOrPartition),
                    (Ok(query), Some(topic)) => {
                        parts.push(ListOffsetsPart {
                            slot,
                            partition: TopicPartition {
                                topic_id: topic.id,
                                partition: index,
                            },
                            query,
                            isolation,
                            current_leader_epoch: partition.current_leader_epoch,
                        });
                        Err(ErrorCode::NotLeaderOrFollower)
                    }
                }
            };
            results.push(answer);
        }
    }
    for (slot, result) in shard.list_offsets(parts).await {
        results[slot] = result;
    }
    let mut results = results.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let (error, found) = match results.next().expect("one for each partition") {
                Ok(found) => (0, found),
                Err(error) => (error.code(), FAILED),
            };
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error)
                .with_timestamp(found.timestamp)
                .with_offset(found.offset.0);
            if info.version >= 4 {
                answer.with_leader_epoch(found.leader_epoch.0)
            } else {
                answer
            }
        });
        ListOffsetsTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

const FAILED: FoundOffset = FoundOffset {
    timestamp: -1,
    offset: Offset(-1),
    leader_epoch: LeaderEpoch::NONE,
};
