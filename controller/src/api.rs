//! What the controller is asked, and what it answers.
//!
//! Authorization, quotas and versions of the protocol are the broker's business: a request here is
//! one that its sender may make. Results are in the order of the items asked for.

use std::collections::BTreeMap;

use millstream_metadata::{ConfigResource, Endpoint};
use millstream_protocol::{NodeId, PartitionIndex, ProducerId, TopicId};
use uuid::Uuid;

use crate::api_error::ApiError;

/// A request to the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControllerRequest {
    /// Make topics, each whole or not at all.
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
        /// Check only; nothing is made.
        validate_only: bool,
    },
    /// Make topics of those names with the defaults, unless they exist. Kafka's own topics get the
    /// settings they need, and no more replicas than there are live brokers.
    EnsureTopics {
        /// The topics' names.
        names: Vec<String>,
    },
    /// Add partitions to topics, to each all that are asked for or none.
    CreatePartitions {
        /// The topics, each named once.
        topics: Vec<MorePartitions>,
        /// Check only; nothing is made.
        validate_only: bool,
    },
    /// Delete topics.
    DeleteTopics {
        /// The topics.
        topics: Vec<TopicRef>,
    },
    /// Change settings, each resource whole or not at all.
    AlterConfigs {
        /// The resources and the changes to each.
        resources: Vec<AlterConfigsResource>,
        /// Check only; nothing is changed.
        validate_only: bool,
    },
    /// Give a block of producer ids to a broker.
    AllocateProducerIds {
        /// The broker.
        node_id: NodeId,
        /// Its registration.
        broker_epoch: i64,
    },
    /// Register a broker, fenced until its first heartbeat that asks to be let in.
    RegisterBroker {
        /// The broker.
        node_id: NodeId,
        /// The cluster it believes to belong to.
        cluster_id: String,
        /// Which run of it.
        incarnation_id: Uuid,
        /// Where it listens.
        endpoints: Vec<Endpoint>,
        /// Where it stands.
        rack: Option<String>,
    },
    /// A broker is alive.
    BrokerHeartbeat {
        /// The broker.
        node_id: NodeId,
        /// Its registration.
        broker_epoch: i64,
        /// Index of the last metadata entry it has replayed.
        metadata_offset: u64,
        /// Whether it asks to be fenced, or to stay so.
        want_fence: bool,
    },
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControllerResponse {
    /// For each topic asked for.
    CreateTopics(Vec<NewTopicResult>),
    /// For each topic asked for.
    EnsureTopics(Vec<EnsuredTopic>),
    /// For each topic asked for.
    CreatePartitions(Vec<MorePartitionsResult>),
    /// For each topic asked for; one asked for twice, or by name and by id, is answered once.
    DeleteTopics(Vec<DeletedTopic>),
    /// For each resource asked for.
    AlterConfigs(Vec<AlterConfigsResult>),
    /// The block.
    AllocateProducerIds(Result<ProducerIdBlock, ApiError>),
    /// The epoch of the registration.
    RegisterBroker(Result<i64, ApiError>),
    /// How the broker stands.
    BrokerHeartbeat(Result<HeartbeatReply, ApiError>),
    /// How the quorum stands, for [`Input::DescribeQuorum`](crate::Input::DescribeQuorum).
    DescribeQuorum(QuorumStatus),
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions; −1 for the default.
    pub partitions: i32,
    /// Replicas of each; −1 for the default.
    pub replication_factor: i16,
    /// Replicas of each partition, chosen by the caller; then the two above are −1.
    pub assignments: Vec<(PartitionIndex, Vec<NodeId>)>,
    /// Its settings, in the order given.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with the defaults.
    pub fn named(name: impl Into<String>) -> NewTopic {
        NewTopic {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

/// What became of a [`NewTopic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopicResult {
    /// Its name.
    pub name: String,
    /// The topic as made, or as it would be.
    pub result: Result<CreatedTopic, ApiError>,
}

/// A topic that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its identity.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// The settings it was given; the others have their defaults.
    pub configs: BTreeMap<String, String>,
}

/// What became of a name in [`ControllerRequest::EnsureTopics`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsuredTopic {
    /// The name.
    pub name: String,
    /// The topic's id, whether it was there or was made.
    pub result: Result<TopicId, ApiError>,
}

/// A topic by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// A topic that is to have more partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub name: String,
    /// Its partitions then, those that it has among them.
    pub count: i32,
    /// The replicas of each new partition, if the caller chose them.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// What became of a [`MorePartitions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitionsResult {
    /// The topic's name.
    pub name: String,
    /// The topic's id, or why nothing was added.
    pub result: Result<TopicId, ApiError>,
}

/// What became of a [`TopicRef`] to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its id, if it was asked for by that or is deleted.
    pub id: Option<TopicId>,
    /// Its name, if it was asked for by that or is deleted.
    pub name: Option<String>,
    /// Whether it is deleted, or why not.
    pub result: Result<(), ApiError>,
}

/// Changes to the settings of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterConfigsResource {
    /// The resource.
    pub resource: ConfigResource,
    /// The changes, in the order given.
    pub alterations: Vec<(String, ConfigAlteration)>,
    /// Whether settings that are not named go back to their defaults (AlterConfigs).
    pub replaces: bool,
}

/// A change to one setting. `None` is a value the client left null, which is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigAlteration {
    /// Give it this value.
    Set(Option<String>),
    /// Take the given value away, back to the default.
    Delete,
    /// Add these entries to a list.
    Append(Option<String>),
    /// Take these entries out of a list.
    Subtract(Option<String>),
}

/// What became of an [`AlterConfigsResource`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterConfigsResult {
    /// The resource.
    pub resource: ConfigResource,
    /// Whether all changes were made, or none.
    pub result: Result<(), ApiError>,
}

/// Producer ids for a broker to hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: ProducerId,
    /// How many.
    pub len: i32,
}

/// How a broker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether it has replayed the record of its registration.
    pub is_caught_up: bool,
    /// Whether it is fenced.
    pub is_fenced: bool,
}

/// How the quorum of the metadata stands, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumStatus {
    /// Who leads.
    pub leader: NodeId,
    /// The leader's term.
    pub epoch: u64,
    /// The offset after the last entry that is committed.
    pub high_watermark: u64,
    /// Who votes, and how far each one's log goes.
    pub voters: Vec<QuorumReplica>,
    /// Who listens without a vote, and how far each one's log goes.
    pub observers: Vec<QuorumReplica>,
}

/// One node of the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub node_id: NodeId,
    /// The folder that its log is in; zeros where that is not known.
    pub directory_id: Uuid,
    /// The offset after the last entry that it has, as far as the leader knows.
    pub log_end_offset: u64,
}
