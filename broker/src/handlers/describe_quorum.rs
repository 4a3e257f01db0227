//! DescribeQuorum, versions 0–2: the quorum of the metadata log, `__cluster_metadata`-0.
//!
//! Version 1 has times of fetching (KIP-836): the leader's are now, those of others are not known.
//! Version 2 has the voters' listeners and folder ids (KIP-853); the listeners are those of the
//! broker, since there is none for controllers alone. A request for anything but that one partition
//! is UNKNOWN_TOPIC_OR_PARTITION. Offsets are one more than Raft's indexes, as ends of logs are.

use std::rc::Rc;

use millstream_controller::{QuorumReplica, QuorumStatus};
use millstream_metadata::Image;
use millstream_protocol::messages::describe_quorum_request;
use millstream_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use millstream_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
};
use millstream_protocol::{ErrorCode, NodeId, StrBytes};

use super::{RequestInfo, text};
use crate::shard::Shard;

const METADATA_TOPIC: &str = "__cluster_metadata";

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    if !asks_for_metadata(&request) {
        let message = "This server does not host this topic-partition.";
        let error = failed(ErrorCode::UnknownTopicOrPartition, message, info.version);
        return refused(&request, &error);
    }
    let partition = match shard.controller().describe_quorum().await {
        Ok(status) => {
            let now_ms = shard.reactor().wall_clock_ms();
            let response = respond(described(&status, now_ms, info.version));
            if info.version < 2 {
                return response;
            }
            return response.with_nodes(nodes(&shard.image(), &status));
        }
        Err(_) => {
            let message = "For requests intended only for the leader, this error indicates that \
                           the broker is not the current leader.";
            failed(ErrorCode::NotLeaderOrFollower, message, info.version)
        }
    };
    respond(partition)
}

fn asks_for_metadata(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else {
        return false;
    };
    let [partition] = topic.partitions.as_slice() else {
        return false;
    };
    topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0
}

fn respond(partition: PartitionData) -> DescribeQuorumResponse {
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    DescribeQuorumResponse::default().with_topics(vec![topic])
}

fn refused(request: &DescribeQuorumRequest, error: &PartitionData) -> DescribeQuorumResponse {
    let of_topic = |topic: &describe_quorum_request::TopicData| {
        let partitions = topic.partitions.iter();
        let partitions =
            partitions.map(|asked| error.clone().with_partition_index(asked.partition_index));
        TopicData::default()
            .with_topic_name(topic.topic_name.clone())
            .with_partitions(partitions.collect())
    };
    let topics = request.topics.iter().map(of_topic);
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn failed(error: ErrorCode, message: &'static str, version: i16) -> PartitionData {
    let partition = PartitionData::default().with_error_code(error.code());
    match version {
        0 | 1 => partition,
        _ => partition.with_error_message(Some(StrBytes::from_static_str(message))),
    }
}

fn described(status: &QuorumStatus, now_ms: i64, version: i16) -> PartitionData {
    let replicas = |replicas: &[QuorumReplica]| {
        let states = replicas.iter().map(|replica| {
            let is_leader = replica.node_id == status.leader;
            let seen_ms = if is_leader { now_ms } else { -1 };
            let state = ReplicaState::default()
                .with_replica_id(BrokerId(replica.node_id.0))
                .with_log_end_offset(signed(replica.log_end_offset));
            let state = match version {
                0 => return state,
                _ => state
                    .with_last_fetch_timestamp(seen_ms)
                    .with_last_caught_up_timestamp(seen_ms),
            };
            match version {
                1 => state,
                _ => state.with_replica_directory_id(replica.directory_id),
            }
        });
        states.collect()
    };
    PartitionData::default()
        .with_leader_id(BrokerId(status.leader.0))
        .with_leader_epoch(i32::try_from(status.epoch).unwrap_or(i32::MAX))
        .with_high_watermark(signed(status.high_watermark))
        .with_current_voters(replicas(&status.voters))
        .with_observers(replicas(&status.observers))
}

fn nodes(image: &Image, status: &QuorumStatus) -> Vec<Node> {
    let listeners = |node_id: NodeId| {
        let broker = image.broker(node_id);
        let endpoints = broker.iter().flat_map(|broker| &broker.endpoints);
        endpoints
            .map(|endpoint| {
                Listener::default()
                    .with_name(text(&endpoint.listener))
                    .with_host(text(&endpoint.host))
                    .with_port(endpoint.port)
            })
            .collect()
    };
    let voters = status.voters.iter();
    voters
        .map(|voter| {
            Node::default()
                .with_node_id(BrokerId(voter.node_id.0))
                .with_listeners(listeners(voter.node_id))
        })
        .collect()
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
