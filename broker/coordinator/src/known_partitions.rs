//! Offsets are committed only for partitions that exist. The coordinator does not know which do,
//! so its caller sorts a request out before and its response after.

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use millstream_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

/// The partitions of an OffsetCommit that do not exist, each answered with
/// UNKNOWN_TOPIC_OR_PARTITION.
#[derive(Debug)]
pub struct UnknownPartitions {
    topics: Vec<OffsetCommitResponseTopic>,
}

impl UnknownPartitions {
    /// Takes them out of the request. If it has no topics left then, the coordinator need not be
    /// asked: [`merge`](UnknownPartitions::merge) into an empty response.
    pub fn take_from(
        request: &mut OffsetCommitRequest,
        exists: &dyn Fn(&str, i32) -> bool,
    ) -> UnknownPartitions {
        let mut topics = Vec::new();
        for topic in &mut request.topics {
            let is_unknown = |index: i32| !exists(&topic.name, index);
            let unknown = topic
                .partitions
                .extract_if(.., |p| is_unknown(p.partition_index));
            let partitions: Vec<_> = unknown
                .map(|partition| {
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
                })
                .collect();
            if !partitions.is_empty() {
                let answer = OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(partitions);
                topics.push(answer);
            }
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        UnknownPartitions { topics }
    }

    /// Puts their answers among those of the others.
    pub fn merge(self, mut response: OffsetCommitResponse) -> OffsetCommitResponse {
        for unknown in self.topics {
            let mut answered = response.topics.iter_mut();
            match answered.find(|topic| topic.name == unknown.name) {
                Some(topic) => topic.partitions.extend(unknown.partitions),
                None => response.topics.push(unknown),
            }
        }
        response
    }
}
