//! OffsetFetch, versions 1–10: what a group has committed.
//!
//! - An offset that was never committed is −1 with empty metadata and no error.
//! - Version 2: all of the group's partitions (null topics), and errors at the top.
//! - Version 5: leader epochs. Version 7: `require_stable`, which waits for the commits that are
//!   on their way. Version 8: several groups, each with its error. Version 9: member id and
//!   epoch, which classic groups have no use for.
//! - Version 10: topics are named by id (KIP-848); the caller has put the names in. An offset that
//!   was committed for another topic of that name is none.

use millstream_protocol::StrBytes;
use millstream_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millstream_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use millstream_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use uuid::Uuid;

use crate::committed_offsets::OffsetAndMetadata;
use crate::coordinator::GroupCoordinator;
use crate::in_flight::StableRead;
use crate::request::{GroupResponse, RequestContext, RequestToken};

/// What is asked of one topic, in either form of the request.
struct Wanted {
    topic: StrBytes,
    /// Nil when it is asked for by name.
    topic_id: Uuid,
    partitions: Vec<i32>,
}

/// What is answered for one topic, in either form of the response.
struct Found<'a> {
    topic: StrBytes,
    topic_id: Uuid,
    partitions: Vec<(i32, Option<&'a OffsetAndMetadata>)>,
}

impl GroupCoordinator {
    pub(crate) fn fetch_offsets(
        &mut self,
        token: RequestToken,
        context: &RequestContext,
        request: OffsetFetchRequest,
    ) {
        let api_version = context.api_version;
        match self
            .desk
            .in_flight
            .last_mut()
            .filter(|_| request.require_stable)
        {
            Some(write) => write.stable_reads.push(StableRead {
                token,
                api_version,
                request,
            }),
            None => self.answer_offset_fetch(token, api_version, &request),
        }
    }

    pub(crate) fn answer_offset_fetch(
        &mut self,
        token: RequestToken,
        api_version: i16,
        request: &OffsetFetchRequest,
    ) {
        let response = if api_version >= 8 {
            let groups = request.groups.iter().map(|group| {
                let wanted = group
                    .topics
                    .as_ref()
                    .map(|topics| topics.iter().map(Wanted::from));
                let found = self.find_offsets(&group.group_id.0, wanted);
                OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id.clone())
                    .with_topics(found.into_iter().map(Found::into_group_topic).collect())
            });
            OffsetFetchResponse::default().with_groups(groups.collect())
        } else {
            let wanted = request
                .topics
                .as_ref()
                .map(|topics| topics.iter().map(Wanted::from));
            let found = self.find_offsets(&request.group_id.0, wanted);
            OffsetFetchResponse::default()
                .with_topics(found.into_iter().map(Found::into_topic).collect())
        };
        self.desk
            .respond(token, GroupResponse::OffsetFetch(response));
    }

    fn find_offsets(
        &self,
        group: &StrBytes,
        wanted: Option<impl Iterator<Item = Wanted>>,
    ) -> Vec<Found<'_>> {
        let Some(wanted) = wanted else {
            let all = self
                .offsets
                .committed_of_group(group)
                .map(|(topic, partitions)| Found {
                    topic: topic.clone(),
                    topic_id: Uuid::nil(),
                    partitions: partitions
                        .into_iter()
                        .map(|(i, found)| (i, Some(found)))
                        .collect(),
                });
            return all.collect();
        };
        let found = wanted.map(|wanted| {
            let lookup = |index| {
                let committed = self.offsets.committed(group, &wanted.topic, index);
                (index, committed.filter(|found| wanted.may_be(found)))
            };
            Found {
                partitions: wanted.partitions.iter().copied().map(lookup).collect(),
                topic_id: wanted.topic_id,
                topic: wanted.topic,
            }
        });
        found.collect()
    }
}

impl Wanted {
    /// Whether the offset was committed for this very topic, as far as both say which.
    fn may_be(&self, found: &OffsetAndMetadata) -> bool {
        self.topic_id.is_nil() || found.topic_id.is_nil() || self.topic_id == found.topic_id
    }
}

impl From<&OffsetFetchRequestTopic> for Wanted {
    fn from(topic: &OffsetFetchRequestTopic) -> Wanted {
        Wanted {
            topic: topic.name.0.clone(),
            topic_id: Uuid::nil(),
            partitions: topic.partition_indexes.clone(),
        }
    }
}

impl From<&OffsetFetchRequestTopics> for Wanted {
    fn from(topic: &OffsetFetchRequestTopics) -> Wanted {
        Wanted {
            topic: topic.name.0.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.clone(),
        }
    }
}

impl Found<'_> {
    fn into_topic(self) -> OffsetFetchResponseTopic {
        let partitions = self.partitions.into_iter().map(|(index, found)| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(found.map_or(-1, |found| found.offset))
                .with_committed_leader_epoch(found.map_or(-1, |found| found.leader_epoch))
                .with_metadata(Some(metadata(found)))
        });
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(self.topic))
            .with_partitions(partitions.collect())
    }

    fn into_group_topic(self) -> OffsetFetchResponseTopics {
        let partitions = self.partitions.into_iter().map(|(index, found)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(found.map_or(-1, |found| found.offset))
                .with_committed_leader_epoch(found.map_or(-1, |found| found.leader_epoch))
                .with_metadata(Some(metadata(found)))
        });
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(self.topic))
            .with_topic_id(self.topic_id)
            .with_partitions(partitions.collect())
    }
}

fn metadata(found: Option<&OffsetAndMetadata>) -> StrBytes {
    found
        .map(|found| found.metadata.clone())
        .unwrap_or_default()
}
