//! Offsets that a group has committed.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_protocol::messages::GroupId;
use millstream_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millstream_protocol::{ErrorCode, StrBytes};

use crate::client::{Client, topic_name};
use crate::error::{ClientError, Result};
use crate::offsets::NamedPartition;

/// The last version of OffsetCommit and OffsetFetch that names topics instead of giving ids.
const MAX_NAMED_VERSION: i16 = 9;

/// In whose name offsets are committed.
pub(crate) struct Committer<'a> {
    pub(crate) group_id: &'a str,
    pub(crate) generation_id: i32,
    pub(crate) member_id: &'a str,
    pub(crate) group_instance_id: Option<&'a str>,
}

impl Client {
    /// Commits offsets for a group.
    pub(crate) async fn commit_offsets(
        &self,
        committer: &Committer<'_>,
        offsets: &BTreeMap<NamedPartition, i64>,
    ) -> Result<()> {
        let mut topics: BTreeMap<&Rc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, index), offset) in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(StrBytes::new()));
            topics.entry(topic).or_default().push(partition);
        }
        let topics: Vec<_> = topics
            .into_iter()
            .map(|(topic, partitions)| {
                OffsetCommitRequestTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(partitions)
            })
            .collect();
        let group = committer.group_id;
        self.retry(async || {
            let connection = self.coordinator(group).await?;
            let version = connection
                .version::<OffsetCommitRequest>()?
                .min(MAX_NAMED_VERSION);
            let mut request = OffsetCommitRequest::default()
                .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
                .with_generation_id_or_member_epoch(committer.generation_id)
                .with_member_id(StrBytes::from_string(committer.member_id.to_owned()))
                .with_topics(topics.clone());
            if version >= 7 {
                let id = committer.group_instance_id;
                request.group_instance_id = id.map(|id| StrBytes::from_string(id.to_owned()));
            }
            let timeout = connection.request_timeout();
            let response = connection.call_version(&request, version, timeout).await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    let name = topic.name.0.as_str();
                    let what = || format!("committing {name}-{index} for group {group}");
                    ClientError::check(what, partition.error_code, None)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The offsets a group has committed for `partitions`.
    pub async fn fetch_committed_offsets(
        &self,
        group: &str,
        partitions: &[NamedPartition],
    ) -> Result<BTreeMap<NamedPartition, Option<i64>>> {
        let mut committed: BTreeMap<NamedPartition, Option<i64>> = partitions
            .iter()
            .map(|partition| (partition.clone(), None))
            .collect();
        if committed.is_empty() {
            return Ok(committed);
        }
        let found = self
            .retry(async || self.try_fetch_committed(group, Some(partitions)).await)
            .await?;
        committed.extend(found);
        Ok(committed)
    }

    /// All offsets a group has committed.
    pub async fn all_committed_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<NamedPartition, i64>> {
        let found = self
            .retry(async || self.try_fetch_committed(group, None).await)
            .await?;
        let known = found.into_iter();
        Ok(known
            .filter_map(|(partition, offset)| Some((partition, offset?)))
            .collect())
    }

    async fn try_fetch_committed(
        &self,
        group: &str,
        partitions: Option<&[NamedPartition]>,
    ) -> Result<Vec<(NamedPartition, Option<i64>)>> {
        let connection = self.coordinator(group).await?;
        let version = connection
            .version::<OffsetFetchRequest>()?
            .min(MAX_NAMED_VERSION);
        let request = offset_fetch_request(group, partitions, version);
        let timeout = connection.request_timeout();
        let response = connection.call_version(&request, version, timeout).await?;
        let what = || format!("the offsets of group {group}");
        ClientError::check(what, response.error_code, None)?;
        // From version 8 on the answer is by group, before it there is only one.
        let mut flat = Vec::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let offset = partition.committed_offset;
                flat.push((
                    topic.name.clone(),
                    partition.partition_index,
                    offset,
                    partition.error_code,
                ));
            }
        }
        for group in response.groups {
            ClientError::check(what, group.error_code, None)?;
            for topic in group.topics {
                for partition in topic.partitions {
                    let offset = partition.committed_offset;
                    flat.push((
                        topic.name.clone(),
                        partition.partition_index,
                        offset,
                        partition.error_code,
                    ));
                }
            }
        }
        let mut found = Vec::new();
        for (topic, index, offset, code) in flat {
            let topic: Rc<str> = topic.0.as_str().into();
            match ErrorCode::try_from_code(code) {
                // It may have been deleted since: there is no offset then.
                Some(ErrorCode::UnknownTopicOrPartition) => {}
                _ => ClientError::check(what, code, None)?,
            }
            found.push(((topic, index), (offset >= 0).then_some(offset)));
        }
        Ok(found)
    }
}

fn offset_fetch_request(
    group: &str,
    partitions: Option<&[NamedPartition]>,
    version: i16,
) -> OffsetFetchRequest {
    let group_id = GroupId(StrBytes::from_string(group.to_owned()));
    // No list at all asks for all that is committed.
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<&Rc<str>, Vec<i32>> = BTreeMap::new();
        for (topic, index) in partitions {
            topics.entry(topic).or_default().push(*index);
        }
        topics
    });
    if version < 8 {
        let named = |(topic, indexes): (&Rc<str>, Vec<i32>)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(indexes)
        };
        return OffsetFetchRequest::default()
            .with_group_id(group_id)
            .with_topics(topics.map(|topics| topics.into_iter().map(named).collect()));
    }
    let named = |(topic, indexes): (&Rc<str>, Vec<i32>)| {
        OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(indexes)
    };
    OffsetFetchRequest::default()
        .with_topics(Some(Vec::new()))
        .with_groups(vec![
            OffsetFetchRequestGroup::default()
                .with_group_id(group_id)
                .with_topics(topics.map(|topics| topics.into_iter().map(named).collect())),
        ])
}
