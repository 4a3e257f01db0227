//! What the controller is told when it is made.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_metadata::{ConfigResource, ResourceType};
use millstream_protocol::NodeId;
use uuid::Uuid;

use crate::api_error::ApiError;

/// Plain values from the broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerSettings {
    /// This node.
    pub node_id: NodeId,
    /// The nodes that vote, this one among them.
    pub voters: Vec<NodeId>,
    /// The cluster's id: given to a new cluster, checked against an existing one.
    pub cluster_id: String,
    /// The folder that the log is in, told to those who ask about the quorum.
    pub directory_id: Uuid,
    /// Features finalised in a new cluster.
    pub features: BTreeMap<String, i16>,
    /// `num.partitions`.
    pub default_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// Kafka's own topics, by name, and how they are made.
    pub internal_topics: BTreeMap<String, InternalTopicSettings>,
    /// When snapshots are taken.
    pub snapshots: SnapshotPolicy,
}

/// How one of Kafka's own topics is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopicSettings {
    /// Its partitions.
    pub partitions: i32,
    /// Its replicas, as far as there are live brokers.
    pub replication_factor: i16,
    /// Its settings.
    pub configs: BTreeMap<String, String>,
}

/// When a snapshot is taken: whichever comes first, if there was any record since the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub max_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`.
    pub max_interval: Duration,
}

impl Default for SnapshotPolicy {
    fn default() -> SnapshotPolicy {
        SnapshotPolicy {
            max_bytes: 20 << 20,
            max_interval: Duration::from_secs(3600),
        }
    }
}

impl InternalTopicSettings {
    /// `__consumer_offsets`, from `offsets.topic.num.partitions`,
    /// `offsets.topic.replication.factor` and `offsets.topic.segment.bytes`.
    pub fn consumer_offsets(
        partitions: i32,
        replication_factor: i16,
        segment_bytes: i32,
    ) -> InternalTopicSettings {
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", segment_bytes.to_string()),
        ];
        let configs = configs.map(|(key, value)| (key.to_owned(), value)).into();
        InternalTopicSettings {
            partitions,
            replication_factor,
            configs,
        }
    }
}

impl ControllerSettings {
    /// A cluster of one with Kafka's defaults, replication factors as far as one node goes.
    pub fn single(node_id: NodeId, cluster_id: impl Into<String>) -> ControllerSettings {
        let offsets = InternalTopicSettings::consumer_offsets(50, 3, 104_857_600);
        ControllerSettings {
            node_id,
            voters: vec![node_id],
            cluster_id: cluster_id.into(),
            directory_id: Uuid::nil(),
            features: BTreeMap::new(),
            default_partitions: 1,
            default_replication_factor: 1,
            delete_topic_enable: true,
            internal_topics: BTreeMap::from([("__consumer_offsets".to_owned(), offsets)]),
            snapshots: SnapshotPolicy::default(),
        }
    }
}

/// What the broker's table of settings knows and the controller asks.
pub trait ConfigRules {
    /// Whether a resource may have these settings, all of them together; else why not.
    fn validate(
        &self,
        resource: &ConfigResource,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ApiError>;

    /// Whether the setting is a list, so that entries can be added and taken out.
    fn is_list(&self, resource_type: ResourceType, key: &str) -> bool;

    /// What the setting is when the resource has none of its own.
    fn default_value(&self, resource_type: ResourceType, key: &str) -> Option<String>;
}
