//! DescribeProducers, version 0 (KIP-664): who has written to partitions with a producer id.
//!
//! Only the leader of a partition answers for it. There are no transactions yet, so no producer has
//! an open one.

use std::rc::Rc;

use millstream_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use millstream_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use millstream_protocol::topic_name::check_topic_name;
use millstream_protocol::{ErrorCode, PartitionIndex, TopicPartition};

use super::text;
use crate::shard::{ActiveProducer, Shard};

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = shard.image();
    let mut asked = Vec::new();
    let mut answers: Vec<PartitionResponse> = Vec::new();
    for topic in &request.topics {
        let found = match check_topic_name(&topic.name) {
            Err(error) => Err((ErrorCode::InvalidTopicException, error.to_string())),
            Ok(()) => image.topic_by_name(&topic.name).ok_or_else(|| {
                let message = "This server does not host this topic-partition.";
                (ErrorCode::UnknownTopicOrPartition, message.to_owned())
            }),
        };
        for index in &topic.partition_indexes {
            let answer = PartitionResponse::default().with_partition_index(*index);
            answers.push(match &found {
                Ok(topic) => {
                    let partition = TopicPartition {
                        topic_id: topic.id,
                        partition: PartitionIndex(*index),
                    };
                    asked.push((answers.len(), partition));
                    answer.with_error_code(ErrorCode::NotLeaderOrFollower.code())
                }
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(text(message))),
            });
        }
    }
    for (slot, result) in shard.producers(asked).await {
        let answer = &mut answers[slot];
        match result {
            Ok(producers) => {
                answer.error_code = 0;
                answer.active_producers = producers.iter().map(described).collect();
            }
            Err(error) => answer.error_code = error.code(),
        }
    }
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = answers.by_ref().take(topic.partition_indexes.len());
        TopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn described(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(producer.producer_id.0.into())
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.transaction_start.map_or(-1, |offset| offset.0))
}
