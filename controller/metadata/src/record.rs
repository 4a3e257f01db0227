//! The records of the metadata log. Replaying them is the only way an image changes.
//!
//! The set of records and their fields together have one version, [`crate::FORMAT_VERSION`].

use millstream_protocol::{LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use rkyv::with::Map;
use rkyv::{Archive, Deserialize, Serialize};

use crate::archive::{
    LeaderEpochArchive, NodeIdArchive, PartitionIndexArchive, ProducerIdArchive, TopicIdArchive,
};
use crate::{BrokerRegistration, ConfigResource, Partition, RecoveryState};

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Record {
    /// The cluster has this id; the first record of a cluster.
    ClusterId(ClusterIdRecord),
    /// A feature was finalised at a level; 0 takes it back.
    FeatureLevel(FeatureLevelRecord),
    /// A broker registered.
    RegisterBroker(RegisterBrokerRecord),
    /// A broker was fenced or let in.
    BrokerChange(BrokerChangeRecord),
    /// A topic was made; its settings and partitions follow.
    Topic(TopicRecord),
    /// A partition was made, or is as follows.
    Partition(PartitionRecord),
    /// A partition changed in part.
    PartitionChange(PartitionChangeRecord),
    /// A topic is gone, with its partitions and settings.
    RemoveTopic(RemoveTopicRecord),
    /// A setting was given or taken away.
    Config(ConfigRecord),
    /// Producer ids below this one have been given out.
    ProducerIds(ProducerIdsRecord),
}

/// See [`Record::ClusterId`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ClusterIdRecord {
    /// The id, as Kafka writes it: a uuid in URL-safe base 64.
    pub cluster_id: String,
}

/// See [`Record::FeatureLevel`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct FeatureLevelRecord {
    /// The feature.
    pub name: String,
    /// The level all brokers agree on.
    pub level: i16,
}

/// See [`Record::RegisterBroker`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RegisterBrokerRecord {
    /// The registration, which replaces an older one of the same broker.
    pub registration: BrokerRegistration,
}

/// See [`Record::BrokerChange`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct BrokerChangeRecord {
    /// Which broker.
    #[rkyv(with = NodeIdArchive)]
    pub node_id: NodeId,
    /// Which registration of it; no other one is touched.
    pub epoch: i64,
    /// Whether it is fenced from now on.
    pub fenced: bool,
}

/// See [`Record::Topic`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Its identity.
    #[rkyv(with = TopicIdArchive)]
    pub topic_id: TopicId,
    /// Its name.
    pub name: String,
}

/// See [`Record::Partition`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// The topic.
    #[rkyv(with = TopicIdArchive)]
    pub topic_id: TopicId,
    /// The partition within it.
    #[rkyv(with = PartitionIndexArchive)]
    pub index: PartitionIndex,
    /// See [`Partition::replicas`].
    #[rkyv(with = Map<NodeIdArchive>)]
    pub replicas: Vec<NodeId>,
    /// See [`Partition::isr`].
    #[rkyv(with = Map<NodeIdArchive>)]
    pub isr: Vec<NodeId>,
    /// See [`Partition::elr`].
    #[rkyv(with = Map<NodeIdArchive>)]
    pub elr: Vec<NodeId>,
    /// See [`Partition::leader`].
    #[rkyv(with = NodeIdArchive)]
    pub leader: NodeId,
    /// See [`Partition::leader_epoch`].
    #[rkyv(with = LeaderEpochArchive)]
    pub leader_epoch: LeaderEpoch,
    /// See [`Partition::partition_epoch`].
    pub partition_epoch: i32,
    /// See [`Partition::recovery_state`].
    pub recovery_state: RecoveryState,
}

/// See [`Record::PartitionChange`]. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PartitionChangeRecord {
    /// The topic.
    #[rkyv(with = TopicIdArchive)]
    pub topic_id: TopicId,
    /// The partition within it.
    #[rkyv(with = PartitionIndexArchive)]
    pub index: PartitionIndex,
    /// See [`Partition::replicas`].
    #[rkyv(with = Map<Map<NodeIdArchive>>)]
    pub replicas: Option<Vec<NodeId>>,
    /// See [`Partition::isr`].
    #[rkyv(with = Map<Map<NodeIdArchive>>)]
    pub isr: Option<Vec<NodeId>>,
    /// See [`Partition::elr`].
    #[rkyv(with = Map<Map<NodeIdArchive>>)]
    pub elr: Option<Vec<NodeId>>,
    /// See [`Partition::leader`]; setting it raises the leader epoch, be it the same broker.
    #[rkyv(with = Map<NodeIdArchive>)]
    pub leader: Option<NodeId>,
    /// See [`Partition::recovery_state`].
    pub recovery_state: Option<RecoveryState>,
}

/// See [`Record::RemoveTopic`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RemoveTopicRecord {
    /// The topic.
    #[rkyv(with = TopicIdArchive)]
    pub topic_id: TopicId,
}

/// See [`Record::Config`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ConfigRecord {
    /// Whose setting.
    pub resource: ConfigResource,
    /// Which one.
    pub key: String,
    /// Its value; `None` takes it away.
    pub value: Option<String>,
}

/// See [`Record::ProducerIds`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ProducerIdsRecord {
    /// Who got the block that ends before `next_producer_id`.
    #[rkyv(with = NodeIdArchive)]
    pub node_id: NodeId,
    /// In which of its registrations.
    pub broker_epoch: i64,
    /// The first id that nobody has.
    #[rkyv(with = ProducerIdArchive)]
    pub next_producer_id: ProducerId,
}

impl PartitionChangeRecord {
    /// A change of nothing, to be filled in.
    pub fn of(topic_id: TopicId, index: PartitionIndex) -> PartitionChangeRecord {
        PartitionChangeRecord {
            topic_id,
            index,
            replicas: None,
            isr: None,
            elr: None,
            leader: None,
            recovery_state: None,
        }
    }
}

impl PartitionRecord {
    /// The record that makes this partition.
    pub fn of(topic_id: TopicId, index: PartitionIndex, partition: &Partition) -> PartitionRecord {
        PartitionRecord {
            topic_id,
            index,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            elr: partition.elr.clone(),
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            recovery_state: partition.recovery_state,
        }
    }

    /// The partition it makes.
    pub fn to_partition(&self) -> Partition {
        Partition {
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            elr: self.elr.clone(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            recovery_state: self.recovery_state,
        }
    }
}
