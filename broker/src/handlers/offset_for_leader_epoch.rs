//! OffsetForLeaderEpoch, versions 2–4: where a leader's term ended.
//!
//! A consumer asks when it learns of a newer term, to find out whether what it has read is still
//! there; some do not read on before they have the answer. Since version 3 the request says who
//! asks; both consumers and followers get the end of the log for the present term.

use std::rc::Rc;

use millstream_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use millstream_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use millstream_protocol::{ErrorCode, LeaderEpoch, PartitionIndex, TopicPartition};

use super::RequestInfo;
use crate::shard::{FoundOffset, Isolation, ListOffsetsPart, OffsetQuery, Shard};

pub(super) async fn handle(
    shard: &Rc<Shard>,
    _: RequestInfo,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = shard.image();
    let mut results = Vec::new();
    let mut parts = Vec::new();
    for wanted in &request.topics {
        let topic = image.topic_by_name(&wanted.topic);
        for partition in &wanted.partitions {
            let index = PartitionIndex(partition.partition);
            let Some(topic) = topic.filter(|topic| topic.partition(index).is_some()) else {
                results.push(Err(ErrorCode::UnknownTopicOrPartition));
                continue;
            };
            parts.push(ListOffsetsPart {
                slot: results.len(),
                partition: TopicPartition {
                    topic_id: topic.id,
                    partition: index,
                },
                query: OffsetQuery::EndOfEpoch(LeaderEpoch(partition.leader_epoch)),
                isolation: Isolation::ReadUncommitted,
                current_leader_epoch: partition.current_leader_epoch,
            });
            results.push(Err(ErrorCode::NotLeaderOrFollower));
        }
    }
    for (slot, result) in shard.list_offsets(parts).await {
        results[slot] = result;
    }
    let mut results = results.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let result = results.next().expect("one for each partition");
            end_offset(partition.partition, result)
        });
        OffsetForLeaderTopicResult::default()
            .with_partitions(partitions.collect())
            .with_topic(topic.topic.clone())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn end_offset(partition: i32, result: Result<FoundOffset, ErrorCode>) -> EpochEndOffset {
    let (error, found) = match result {
        Ok(found) => (0, found),
        Err(error) => (error.code(), FoundOffset::NONE),
    };
    EpochEndOffset::default()
        .with_partition(partition)
        .with_error_code(error)
        .with_leader_epoch(found.leader_epoch.0)
        .with_end_offset(found.offset.0)
}
