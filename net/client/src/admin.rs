//! Administrative calls: topics, configurations, the cluster, groups.

use std::rc::Rc;

use kafka_protocol::protocol::{Decodable, Message};
use millstream_protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use millstream_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use millstream_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use millstream_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use millstream_protocol::messages::describe_groups_response::DescribedGroupMember;
use millstream_protocol::messages::{
    DescribeClusterRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest,
};
use millstream_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use crate::client::{Client, Purpose, topic_name};
use crate::error::{ClientError, Result};
use crate::metadata::{Broker, TopicMetadata};
use crate::offsets::NamedPartition;

/// How long the broker itself may take over creating or deleting.
const ADMIN_TIMEOUT_MS: i32 = 30_000;

/// A topic to be made.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default if not given.
    pub partitions: Option<i32>,
    /// How many replicas; the broker's default if not given.
    pub replication_factor: Option<i16>,
    /// Its configuration where it differs from the broker's.
    pub configs: Vec<(String, String)>,
}

/// A topic that was made.
#[derive(Debug, Clone)]
pub struct CreatedTopic {
    /// Its id; nil from a broker that says nothing.
    pub id: Uuid,
    /// How many partitions, if the broker says so.
    pub partitions: Option<i32>,
    /// How many replicas, if the broker says so.
    pub replication_factor: Option<i16>,
}

/// What a configuration belongs to.
#[derive(Debug, Clone)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by its id.
    Broker(i32),
    /// A group, by its id.
    Group(String),
}

/// One setting.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; none if it is secret or not set.
    pub value: Option<String>,
    /// Whether it was set for this very resource.
    pub is_set_here: bool,
    /// Whether its value is kept secret.
    pub is_sensitive: bool,
}

/// The cluster and its brokers.
#[derive(Debug, Clone)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that takes administrative requests.
    pub controller_id: i32,
    /// The brokers.
    pub brokers: Vec<Broker>,
}

/// A group in a list.
#[derive(Debug, Clone)]
pub struct GroupListing {
    /// The group's id.
    pub id: String,
    /// What its members are, such as `consumer`.
    pub protocol_type: String,
    /// Its state; empty from brokers before 2.6.
    pub state: String,
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
    /// Creates a topic; with `validate_only` it only checks whether it could.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic> {
        let configs = topic
            .configs
            .iter()
            .map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_string(name.clone()))
                    .with_value(Some(StrBytes::from_string(value.clone())))
            })
            .collect();
        let creatable = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions.unwrap_or(-1))
            .with_replication_factor(topic.replication_factor.unwrap_or(-1))
            .with_configs(configs);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(ADMIN_TIMEOUT_MS)
            .with_validate_only(validate_only);
        let what = || format!("creating topic {}", topic.name);
        let created = self
            .retry(async || {
                let response = self.controller().await?.call(&request).await?;
                let created = response.topics.into_iter().next();
                let created = created.ok_or_else(|| unanswered(&what()))?;
                ClientError::check(what, created.error_code, created.error_message.as_deref())?;
                Ok(created)
            })
            .await?;
        Ok(CreatedTopic {
            id: created.topic_id,
            partitions: (created.num_partitions > 0).then_some(created.num_partitions),
            replication_factor: (created.replication_factor > 0)
                .then_some(created.replication_factor),
        })
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let what = || format!("deleting topic {name}");
        self.retry(async || {
            let connection = self.controller().await?;
            let version = connection.version::<DeleteTopicsRequest>()?;
            let request = DeleteTopicsRequest::default().with_timeout_ms(ADMIN_TIMEOUT_MS);
            let request = match version {
                0..=5 => request.with_topic_names(vec![topic_name(name)]),
                _ => request.with_topics(vec![
                    DeleteTopicState::default().with_name(Some(topic_name(name))),
                ]),
            };
            let timeout = connection.request_timeout();
            let response = connection.call_version(&request, version, timeout).await?;
            let deleted = response.responses.into_iter().next();
            let deleted = deleted.ok_or_else(|| unanswered(&what()))?;
            match ErrorCode::try_from_code(deleted.error_code) {
                // Retriable by the book, but nobody deletes what is not there.
                Some(code @ ErrorCode::UnknownTopicOrPartition) => Ok(Err(ClientError::Broker {
                    what: what().into(),
                    code,
                    message: deleted.error_message.as_deref().map(Rc::from),
                })),
                _ => ClientError::check(what, deleted.error_code, deleted.error_message.as_deref())
                    .map(Ok),
            }
        })
        .await??;
        self.forget(name);
        Ok(())
    }

    /// All topics.
    pub async fn list_topics(&self) -> Result<Vec<TopicMetadata>> {
        let metadata = self.retry(async || self.refresh(None, false).await).await?;
        Ok(metadata.topics.into_values().collect())
    }

    /// The settings of a resource, all of them.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>> {
        const DYNAMIC_TOPIC: i8 = 1;
        const DYNAMIC_BROKER: i8 = 2;
        const STATIC_BROKER: i8 = 4;
        const GROUP: i8 = 8;
        let (kind, name) = match resource {
            ConfigResource::Topic(name) => (2, name.clone()),
            ConfigResource::Broker(id) => (4, id.to_string()),
            ConfigResource::Group(id) => (32, id.clone()),
        };
        let what = || format!("the configuration of {name}");
        let request = DescribeConfigsRequest::default().with_resources(vec![
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_string(name.clone()))
                .with_configuration_keys(None),
        ]);
        let result = self
            .retry(async || {
                let connection = match resource {
                    ConfigResource::Broker(id) => self.broker(*id, Purpose::Control).await?,
                    _ => self.any_broker().await?,
                };
                let response = connection.call(&request).await?;
                let result = response.results.into_iter().next();
                let result = result.ok_or_else(|| unanswered(&what()))?;
                ClientError::check(what, result.error_code, result.error_message.as_deref())?;
                Ok(result)
            })
            .await?;
        let own: &[i8] = match resource {
            ConfigResource::Topic(_) => &[DYNAMIC_TOPIC],
            ConfigResource::Broker(_) => &[DYNAMIC_BROKER, STATIC_BROKER],
            ConfigResource::Group(_) => &[GROUP],
        };
        let entry = |config: millstream_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
            ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                is_set_here: own.contains(&config.config_source),
                is_sensitive: config.is_sensitive,
            }
        };
        Ok(result.configs.into_iter().map(entry).collect())
    }

    /// The cluster and its brokers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let response = self
            .retry(async || {
                let connection = self.any_broker().await?;
                let response = connection.call(&DescribeClusterRequest::default()).await?;
                let message = response.error_message.as_deref();
                ClientError::check(
                    || "DescribeCluster".to_owned(),
                    response.error_code,
                    message,
                )?;
                Ok(response)
            })
            .await?;
        let brokers = response.brokers.into_iter().filter_map(|broker| {
            Some(Broker {
                id: broker.broker_id.0,
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).ok()?,
                rack: broker.rack.map(|rack| rack.to_string()),
            })
        });
        Ok(ClusterDescription {
            cluster_id: response.cluster_id.to_string(),
            controller_id: response.controller_id.0,
            brokers: brokers.collect(),
        })
    }

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
            }));
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(groups)
    }

    /// A group and its members.
    pub async fn describe_group(&self, id: &str) -> Result<GroupDescription> {
        let what = || format!("group {id}");
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![GroupId(StrBytes::from_string(id.to_owned()))]);
        let group = self
            .retry(async || {
                let response = self.coordinator(id).await?.call(&request).await?;
                let group = response.groups.into_iter().next();
                let group = group.ok_or_else(|| unanswered(&what()))?;
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

fn unanswered(what: &str) -> ClientError {
    ClientError::Broker {
        what: what.into(),
        code: ErrorCode::UnknownServerError,
        message: Some("the broker's answer does not mention it".into()),
    }
}
