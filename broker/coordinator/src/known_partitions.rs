//! Offsets are committed only for partitions that exist. The coordinator does not know which do,
//! so its caller sorts a request out before and its response after.

use std::collections::BTreeMap;

use millstream_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use millstream_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use millstream_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use millstream_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

/// The partitions of an OffsetCommit that do not exist, each answered with an error of its own.
#[derive(Debug, Default)]
pub struct UnknownPartitions {
    topics: Vec<OffsetCommitResponseTopic>,
    /// Where each topic is among them, by name and id: one of the two may be missing.
    places: BTreeMap<(StrBytes, Uuid), usize>,
}

impl UnknownPartitions {
    /// Takes them out of the request. If it has no topics left then, the coordinator need not be
    /// asked: [`merge`](UnknownPartitions::merge) into an empty response.
    ///
    /// `partitions` tells how many a topic has, or what to answer if there is no such topic. Its
    /// partitions beyond that are UNKNOWN_TOPIC_OR_PARTITION.
    pub fn take_from(
        request: &mut OffsetCommitRequest,
        partitions: &dyn Fn(&OffsetCommitRequestTopic) -> Result<usize, ErrorCode>,
    ) -> UnknownPartitions {
        let mut unknown = UnknownPartitions::default();
        for topic in &mut request.topics {
            let (count, error) = match partitions(topic) {
                Ok(count) => (count, ErrorCode::UnknownTopicOrPartition),
                Err(error) => {
                    unknown.answer(&topic.name.0, topic.topic_id);
                    (0, error)
                }
            };
            let absent = topic.partitions.extract_if(.., |partition| {
                usize::try_from(partition.partition_index).map_or(true, |index| index >= count)
            });
            let refused: Vec<_> = absent
                .map(|partition| {
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(error.code())
                })
                .collect();
            if !refused.is_empty() {
                let answer = unknown.answer(&topic.name.0, topic.topic_id);
                answer.partitions.extend(refused);
            }
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        unknown
    }

    /// Puts the answers of the others among these.
    pub fn merge(mut self, response: OffsetCommitResponse) -> OffsetCommitResponse {
        if self.topics.is_empty() {
            return response;
        }
        for answered in response.topics {
            let answer = self.answer(&answered.name.0, answered.topic_id);
            answer.partitions.extend(answered.partitions);
        }
        OffsetCommitResponse::default()
            .with_throttle_time_ms(response.throttle_time_ms)
            .with_topics(self.topics)
    }

    /// The answer for a topic, which may be named more than once.
    fn answer(&mut self, name: &StrBytes, topic_id: Uuid) -> &mut OffsetCommitResponseTopic {
        let topics = &mut self.topics;
        let place = self.places.entry((name.clone(), topic_id));
        let place = *place.or_insert_with(|| {
            let answer = OffsetCommitResponseTopic::default()
                .with_name(TopicName(name.clone()))
                .with_topic_id(topic_id);
            topics.push(answer);
            topics.len() - 1
        });
        &mut topics[place]
    }
}
