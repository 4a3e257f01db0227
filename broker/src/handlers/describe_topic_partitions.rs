//! DescribeTopicPartitions, version 0 (KIP-966): topics and their partitions, in portions.
//!
//! Topics are in the order of their names. An answer has as many partitions as the request and
//! `max.request.partition.size.limit` allow, at least one; what is left begins at the cursor of the
//! answer, which the client sends with its next request. A request without topics is for all of
//! them, and passes over what is gone. Eligible leaders out of sync are listed; who was the last
//! known leader is not kept, so that list is empty.

use std::collections::BTreeSet;
use std::rc::Rc;

use millstream_metadata::{Image, Topic, is_internal_topic};
use millstream_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use millstream_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use millstream_protocol::topic_name::check_topic_name;
use millstream_protocol::{ErrorCode, NodeId};

use super::metadata::{TOPIC_OPERATIONS, live_leader, offline_replicas};
use super::{RequestInfo, text};
use crate::shard::Shard;

pub(super) fn handle(
    shard: &Rc<Shard>,
    info: &RequestInfo,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = shard.image();
    let Some(start) = start(request) else {
        return refused(request);
    };
    let all = request.topics.is_empty();
    let names: BTreeSet<&str> = if all {
        image.topics().map(|topic| &*topic.name).collect()
    } else {
        let asked = request.topics.iter();
        asked.map(|topic| topic.name.as_str()).collect()
    };
    let limit: i32 = shard
        .config()
        .settings
        .number("max.request.partition.size.limit");
    let most = limit.min(request.response_partition_limit).max(1);
    let mut left = usize::try_from(most).expect("at least one");
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names.range(start.0..) {
        if left == 0 {
            next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = image.topic_by_name(name) else {
            if !all {
                topics.push(unknown(name));
            }
            continue;
        };
        let first = if *name == start.0 { start.1 } else { 0 };
        let partitions = partitions(&image, topic, first, left, &info.connection.listener);
        let (described, next) = (partitions.len(), first.saturating_add(partitions.len()));
        topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(*name))))
                .with_topic_id(topic.id.0)
                .with_is_internal(topic.is_internal())
                .with_topic_authorized_operations(TOPIC_OPERATIONS)
                .with_partitions(partitions),
        );
        if next < topic.partitions.len() {
            next_cursor = Some(cursor(name, next));
            break;
        }
        left -= described;
    }
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics)
        .with_next_cursor(next_cursor)
}

/// The topic and partition to begin with; none if the cursor is not one that was given out.
fn start(request: &DescribeTopicPartitionsRequest) -> Option<(&str, usize)> {
    let Some(cursor) = &request.cursor else {
        return Some(("", 0));
    };
    let name = cursor.topic_name.as_str();
    let is_asked = request
        .topics
        .iter()
        .any(|topic| topic.name.as_str() == name);
    let partition = usize::try_from(cursor.partition_index).ok()?;
    (request.topics.is_empty() || is_asked).then_some((name, partition))
}

fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic.name.clone()))
            .with_error_code(ErrorCode::InvalidRequest.code())
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match check_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_error_code(error.code())
        .with_is_internal(is_internal_topic(name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn cursor(topic: &str, partition: usize) -> Cursor {
    let index = i32::try_from(partition).expect("partitions are counted in i32");
    Cursor::default()
        .with_topic_name(TopicName(text(topic)))
        .with_partition_index(index)
}

fn partitions(
    image: &Image,
    topic: &Topic,
    first: usize,
    most: usize,
    listener: &str,
) -> Vec<DescribeTopicPartitionsResponsePartition> {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.0)).collect();
    let described = topic.iter().skip(first).take(most);
    described
        .map(|(index, partition)| {
            let leader =
                live_leader(image, partition).filter(|broker| broker.endpoint(listener).is_some());
            DescribeTopicPartitionsResponsePartition::default()
                .with_partition_index(index.0)
                .with_leader_id(BrokerId(leader.map_or(-1, |broker| broker.node_id.0)))
                .with_leader_epoch(partition.leader_epoch.0)
                .with_replica_nodes(ids(&partition.replicas))
                .with_isr_nodes(ids(&partition.isr))
                .with_offline_replicas(offline_replicas(image, partition, listener))
                .with_eligible_leader_replicas(Some(ids(&partition.elr)))
                .with_last_known_elr(Some(Vec::new()))
        })
        .collect()
}
