//! DeleteRecords, versions 0–2: forgets the records of partitions below an offset.
//!
//! An offset of −1 is the high watermark. The low watermark of an answer is the first offset that
//! the partition has then; with one replica there is nobody whose answer the request's timeout would
//! bound. The topics of the node's own are INVALID_TOPIC_EXCEPTION: their coordinators rest on what
//! is in them.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_metadata::is_internal_topic;
use millstream_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use millstream_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use millstream_protocol::{ErrorCode, Offset, PartitionIndex, TopicPartition};

use crate::shard::{DeleteRecordsPart, Shard};

/// What became of one partition.
type Outcome = Result<Offset, ErrorCode>;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = shard.image();
    // A partition that is named twice counts with its last offset, as in Kafka.
    let mut asked: BTreeMap<(&TopicName, i32), i64> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            asked.insert((&topic.name, partition.partition_index), partition.offset);
        }
    }
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(asked.len());
    let mut parts = Vec::new();
    for ((name, index), offset) in &asked {
        let index = PartitionIndex(*index);
        let found = image
            .topic_by_name(name)
            .filter(|topic| topic.partition(index).is_some());
        outcomes.push(match found {
            None => Err(ErrorCode::UnknownTopicOrPartition),
            Some(_) if is_internal_topic(name) => Err(ErrorCode::InvalidTopicException),
            Some(topic) => {
                let partition = TopicPartition {
                    topic_id: topic.id,
                    partition: index,
                };
                parts.push(DeleteRecordsPart {
                    slot: outcomes.len(),
                    partition,
                    before: Offset(*offset),
                });
                // Unless its owner says otherwise.
                Err(ErrorCode::NotLeaderOrFollower)
            }
        });
    }
    for (slot, outcome) in shard.delete_records(parts).await {
        outcomes[slot] = outcome;
    }
    let mut topics: BTreeMap<&TopicName, Vec<DeleteRecordsPartitionResult>> = BTreeMap::new();
    for ((name, index), outcome) in asked.into_keys().zip(outcomes) {
        let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
        let result = match outcome {
            Ok(low_watermark) => result.with_low_watermark(low_watermark.0),
            Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
        };
        topics.entry(name).or_default().push(result);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DeleteRecordsTopicResult::default()
            .with_name(name.clone())
            .with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}
