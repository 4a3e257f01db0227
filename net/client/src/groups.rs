//! Administrative calls for groups: listed, described, deleted, their offsets changed.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_protocol::protocol::{Decodable, Message};
use millstream_protocol::StrBytes;
use millstream_protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use millstream_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use millstream_protocol::messages::describe_groups_response::DescribedGroupMember;
use millstream_protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millstream_protocol::messages::{DescribeGroupsRequest, GroupId, ListGroupsRequest};

use crate::client::{Client, Purpose, topic_name};
use crate::committed_offsets::Committer;
use crate::error::{ClientError, Result};
use crate::offsets::NamedPartition;

/// A group in a list.
#[derive(Debug, Clone)]
pub struct GroupListing {
    /// The group's id.
    pub id: String,
    /// What its members are, such as `consumer`.
    pub protocol_type: String,
    /// Its state; empty from brokers before 2.6.
    pub state: String,
    /// Which protocol its members speak, such as `classic`; empty from brokers before 3.8.
    pub group_type: String,
}

/// A group and its members.
#[derive(Debug, Clone)]
pub struct GroupDescription {
    /// The group's id.
    pub id: String,
    /// Its state.
    pub state: String,
    /// What its members are, such as `consumer`.
    pub protocol_type: String,
    /// The assignor it has chosen.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMemberDescription>,
}

/// A member of a group.
#[derive(Debug, Clone)]
pub struct GroupMemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its static id.
    pub group_instance_id: Option<String>,
    /// The name its client gives itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// What it was assigned.
    pub assignment: Vec<NamedPartition>,
}

impl Client {
    /// The groups of all brokers.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>> {
        let metadata = self
            .retry(async || self.refresh(Some(&[]), false).await)
            .await?;
        let mut groups = Vec::new();
        for id in metadata.brokers.into_keys() {
            let response = self
                .retry(async || {
                    let connection = self.broker(id, Purpose::Control).await?;
                    let response = connection.call(&ListGroupsRequest::default()).await?;
                    let what = || format!("listing the groups of broker {id}");
                    ClientError::check(what, response.error_code, None)?;
                    Ok(response)
                })
                .await?;
            groups.extend(response.groups.into_iter().map(|group| GroupListing {
                id: group.group_id.0.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                group_type: group.group_type.to_string(),
            }));
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(groups)
    }

    /// A group and its members.
    pub async fn describe_group(&self, id: &str) -> Result<GroupDescription> {
        let what = || format!("group {id}");
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(id)]);
        let group = self
            .retry(async || {
                let response = self.coordinator(id).await?.call(&request).await?;
                let group = response.groups.into_iter().next();
                let group = group.ok_or_else(|| ClientError::unanswered(&what()))?;
                ClientError::check(what, group.error_code, group.error_message.as_deref())?;
                Ok(group)
            })
            .await?;
        Ok(GroupDescription {
            id: id.to_owned(),
            state: group.group_state.to_string(),
            protocol_type: group.protocol_type.to_string(),
            protocol: group.protocol_data.to_string(),
            members: group.members.into_iter().map(member).collect(),
        })
    }

    /// Deletes a group that has no members, and all its offsets.
    pub async fn delete_group(&self, id: &str) -> Result<()> {
        let what = || format!("deleting group {id}");
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(id)]);
        self.retry(async || {
            let response = self.coordinator(id).await?.call(&request).await?;
            let result = response.results.into_iter().next();
            let result = result.ok_or_else(|| ClientError::unanswered(&what()))?;
            ClientError::check(what, result.error_code, None)
        })
        .await
    }

    /// Forgets what a group has committed for these partitions. The group may have members as
    /// long as none subscribes to the topic.
    pub async fn delete_group_offsets(
        &self,
        id: &str,
        partitions: &[NamedPartition],
    ) -> Result<()> {
        let mut topics: BTreeMap<&Rc<str>, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, index) in partitions {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(*index);
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetDeleteRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        });
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(id))
            .with_topics(topics.collect());
        self.retry(async || {
            let response = self.coordinator(id).await?.call(&request).await?;
            let what = || format!("deleting offsets of group {id}");
            ClientError::check(what, response.error_code, None)?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    let name = topic.name.0.as_str();
                    let what = || format!("deleting the offset of group {id} for {name}-{index}");
                    ClientError::check(what, partition.error_code, None)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Commits offsets in the name of a group that has no members.
    pub async fn set_group_offsets(
        &self,
        id: &str,
        offsets: &BTreeMap<NamedPartition, i64>,
    ) -> Result<()> {
        let committer = Committer {
            group_id: id,
            generation_id: -1,
            member_id: "",
            group_instance_id: None,
        };
        self.commit_offsets(&committer, offsets).await
    }
}

fn group_id(id: &str) -> GroupId {
    GroupId(StrBytes::from_string(id.to_owned()))
}

fn member(member: DescribedGroupMember) -> GroupMemberDescription {
    GroupMemberDescription {
        assignment: decode_assignment(member.member_assignment).unwrap_or_default(),
        member_id: member.member_id.to_string(),
        group_instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
    }
}

/// The partitions in an assignment of the consumer protocol; none if it is something else.
pub(crate) fn decode_assignment(mut bytes: bytes::Bytes) -> Option<Vec<NamedPartition>> {
    if bytes.len() < 2 {
        return None;
    }
    let version = bytes::Buf::get_i16(&mut bytes).min(ConsumerProtocolAssignment::VERSIONS.max);
    let assignment = ConsumerProtocolAssignment::decode(&mut bytes, version).ok()?;
    let mut partitions = Vec::new();
    for topic in assignment.assigned_partitions {
        let name: Rc<str> = topic.topic.0.as_str().into();
        partitions.extend(
            topic
                .partitions
                .into_iter()
                .map(|index| (name.clone(), index)),
        );
    }
    Some(partitions)
}
