//! The cluster's metadata at one point of the log.
//!
//! Invariants: no two topics have names that collide; partitions of a topic have no gaps; settings
//! of a topic exist only while it does; an image made of a snapshot equals the one it was taken of.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_protocol::{NodeId, PartitionIndex, ProducerId, TopicId};

use crate::broker::BrokerRegistration;
use crate::codec::{DecodeError, decode_first, encode_records};
use crate::config_resource::{ConfigResource, ResourceType};
use crate::delta::Delta;
use crate::record::{
    BrokerChangeRecord, ClusterIdRecord, ConfigRecord, FeatureLevelRecord, PartitionChangeRecord,
    PartitionRecord, ProducerIdsRecord, Record, RegisterBrokerRecord, TopicRecord,
};
use crate::shared_map::SharedMap;
use crate::topic::{Topic, collision_key, is_reserved_topic_id};

/// Records in one frame of a snapshot.
const SNAPSHOT_BATCH: usize = 1000;

type Configs = BTreeMap<String, String>;

/// The metadata at one point of the log. Copies share what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    offset: u64,
    epoch: u64,
    cluster_id: Option<Arc<str>>,
    features: Arc<BTreeMap<String, i16>>,
    brokers: Arc<BTreeMap<NodeId, Arc<BrokerRegistration>>>,
    topics: SharedMap<TopicId, Arc<Topic>>,
    /// By [`collision_key`], so that the index itself refuses names that collide.
    topic_names: SharedMap<String, TopicId>,
    configs: SharedMap<ConfigResource, Arc<Configs>>,
    last_producer_ids: ProducerIdsRecord,
}

/// A record that does not fit the image: the log is not one that we wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The cluster has another id.
    #[error("cluster id {found} in a log of cluster {expected}")]
    ClusterId {
        /// The image's.
        expected: String,
        /// The record's.
        found: String,
    },
    /// A topic's name is taken, or collides with one that is.
    #[error("topic '{name}' collides with topic '{existing}'")]
    TopicName {
        /// The record's.
        name: String,
        /// The image's.
        existing: String,
    },
    /// A topic's id is taken or reserved.
    #[error("topic id {0} is taken or reserved")]
    TopicId(TopicId),
    /// There is no such topic.
    #[error("no topic has the id {0}")]
    UnknownTopic(TopicId),
    /// Settings of a topic that does not exist.
    #[error("settings for topic '{0}', which does not exist")]
    UnknownTopicName(String),
    /// The partition is not there, or would leave a gap.
    #[error("partition {index} of topic '{topic}', which has {partitions}")]
    Partition {
        /// The topic.
        topic: String,
        /// The record's partition.
        index: PartitionIndex,
        /// Partitions the topic has.
        partitions: usize,
    },
    /// The broker is not registered, or not in that epoch.
    #[error("broker {node_id} is not registered in epoch {epoch}")]
    UnknownBroker {
        /// The broker.
        node_id: NodeId,
        /// The registration.
        epoch: i64,
    },
    /// Producer ids were given out twice.
    #[error("next producer id {found} after {expected}")]
    ProducerIds {
        /// The image's.
        expected: ProducerId,
        /// The record's.
        found: ProducerId,
    },
}

impl Default for Image {
    fn default() -> Image {
        Image {
            offset: 0,
            epoch: 0,
            cluster_id: None,
            features: Arc::default(),
            brokers: Arc::default(),
            topics: SharedMap::default(),
            topic_names: SharedMap::default(),
            configs: SharedMap::default(),
            last_producer_ids: ProducerIdsRecord {
                node_id: NodeId(-1),
                broker_epoch: -1,
                next_producer_id: ProducerId(0),
            },
        }
    }
}

impl Image {
    /// Index of the last log entry that is part of the image; 0 before the first.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The Raft term of that entry.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The cluster's id, once it has one.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The finalised features and their levels.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The broker with that id.
    pub fn broker(&self, id: NodeId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// All brokers, fenced ones too, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values()
    }

    /// The brokers that may lead, by id.
    pub fn unfenced_brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers().filter(|broker| !broker.fenced)
    }

    /// The topic with that id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The topic with that name.
    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.colliding_topic(name)
            .filter(|topic| &*topic.name == name)
    }

    /// The topic whose name is that one, or differs from it only in `.` and `_`.
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics
            .get(self.topic_names.get(&*collision_key(name))?)
    }

    /// All topics, in no useful order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The settings given to a resource; `None` when it has none.
    pub fn configs(&self, resource: &ConfigResource) -> Option<&BTreeMap<String, String>> {
        self.configs.get(resource).map(|configs| &**configs)
    }

    /// The settings given to a topic; empty when it has none.
    pub fn topic_configs(&self, name: &str) -> BTreeMap<String, String> {
        self.configs(&ConfigResource::topic(name))
            .cloned()
            .unwrap_or_default()
    }

    /// All resources that have settings.
    pub fn config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.iter().map(|(resource, _)| resource)
    }

    /// The first producer id that nobody has.
    pub fn next_producer_id(&self) -> ProducerId {
        self.last_producer_ids.next_producer_id
    }

    /// Says that the image is the one after the entry at `offset`, written in `epoch`.
    pub fn set_position(&mut self, offset: u64, epoch: u64) {
        assert!(
            offset >= self.offset,
            "from {} back to {offset}",
            self.offset
        );
        self.offset = offset;
        self.epoch = epoch;
    }

    /// Replays one record, and notes in `delta` what it changed. After an error the image is as
    /// before.
    pub fn apply(&mut self, record: &Record, delta: &mut Delta) -> Result<(), ApplyError> {
        match record {
            Record::ClusterId(record) => self.apply_cluster_id(record),
            Record::FeatureLevel(record) => {
                self.apply_feature_level(record, delta);
                Ok(())
            }
            Record::RegisterBroker(record) => {
                let registration = &record.registration;
                delta.brokers_changed.insert(registration.node_id);
                Arc::make_mut(&mut self.brokers)
                    .insert(registration.node_id, Arc::new(registration.clone()));
                Ok(())
            }
            Record::BrokerChange(record) => self.apply_broker_change(record, delta),
            Record::Topic(record) => self.apply_topic(record, delta),
            Record::Partition(record) => self.apply_partition(record, delta),
            Record::PartitionChange(record) => self.apply_partition_change(record, delta),
            Record::RemoveTopic(record) => self.apply_remove_topic(record.topic_id, delta),
            Record::Config(record) => self.apply_config(record, delta),
            Record::ProducerIds(record) => self.apply_producer_ids(record),
        }
    }

    /// The records that make this image out of an empty one.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(cluster_id) = &self.cluster_id {
            let cluster_id = cluster_id.to_string();
            records.push(Record::ClusterId(ClusterIdRecord { cluster_id }));
        }
        for (name, level) in &*self.features {
            let name = name.clone();
            records.push(Record::FeatureLevel(FeatureLevelRecord {
                name,
                level: *level,
            }));
        }
        for broker in self.brokers.values() {
            let registration = BrokerRegistration::clone(broker);
            records.push(Record::RegisterBroker(RegisterBrokerRecord {
                registration,
            }));
        }
        for topic in self.topics.values() {
            let name = topic.name.to_string();
            records.push(Record::Topic(TopicRecord {
                topic_id: topic.id,
                name,
            }));
            for (index, partition) in topic.iter() {
                records.push(Record::Partition(PartitionRecord::of(
                    topic.id, index, partition,
                )));
            }
        }
        for (resource, configs) in self.configs.iter() {
            for (key, value) in &**configs {
                records.push(Record::Config(ConfigRecord {
                    resource: resource.clone(),
                    key: key.clone(),
                    value: Some(value.clone()),
                }));
            }
        }
        if self.last_producer_ids != Image::default().last_producer_ids {
            records.push(Record::ProducerIds(self.last_producer_ids.clone()));
        }
        records
    }

    /// The snapshot of this image: its records, in batches one after another.
    pub fn to_snapshot(&self) -> Vec<u8> {
        self.to_records()
            .chunks(SNAPSHOT_BATCH)
            .flat_map(encode_records)
            .collect()
    }

    /// The image of which `bytes` are the snapshot, taken at `offset` and `epoch`.
    pub fn from_snapshot(offset: u64, epoch: u64, bytes: &[u8]) -> Result<Image, SnapshotError> {
        let mut image = Image::default();
        let mut delta = Delta::default();
        let mut position = 0;
        while position < bytes.len() {
            let (records, len) = decode_first(&bytes[position..])
                .map_err(|error| SnapshotError::Decode { position, error })?;
            for record in &records {
                image
                    .apply(record, &mut delta)
                    .map_err(|error| SnapshotError::Apply { position, error })?;
            }
            position += len;
        }
        image.set_position(offset, epoch);
        Ok(image)
    }

    fn apply_cluster_id(&mut self, record: &ClusterIdRecord) -> Result<(), ApplyError> {
        match &self.cluster_id {
            Some(expected) if **expected != *record.cluster_id => Err(ApplyError::ClusterId {
                expected: expected.to_string(),
                found: record.cluster_id.clone(),
            }),
            _ => {
                self.cluster_id = Some(record.cluster_id.as_str().into());
                Ok(())
            }
        }
    }

    fn apply_feature_level(&mut self, record: &FeatureLevelRecord, delta: &mut Delta) {
        delta.features_changed = true;
        let features = Arc::make_mut(&mut self.features);
        if record.level == 0 {
            features.remove(&record.name);
        } else {
            features.insert(record.name.clone(), record.level);
        }
    }

    fn apply_broker_change(
        &mut self,
        record: &BrokerChangeRecord,
        delta: &mut Delta,
    ) -> Result<(), ApplyError> {
        let known = self
            .brokers
            .get(&record.node_id)
            .is_some_and(|b| b.epoch == record.epoch);
        if !known {
            let (node_id, epoch) = (record.node_id, record.epoch);
            return Err(ApplyError::UnknownBroker { node_id, epoch });
        }
        if let Some(broker) = Arc::make_mut(&mut self.brokers).get_mut(&record.node_id) {
            Arc::make_mut(broker).fenced = record.fenced;
            delta.brokers_changed.insert(record.node_id);
        }
        Ok(())
    }

    fn apply_topic(&mut self, record: &TopicRecord, delta: &mut Delta) -> Result<(), ApplyError> {
        if let Some(existing) = self.colliding_topic(&record.name) {
            let existing = existing.name.to_string();
            return Err(ApplyError::TopicName {
                name: record.name.clone(),
                existing,
            });
        }
        if is_reserved_topic_id(record.topic_id) || self.topic(record.topic_id).is_some() {
            return Err(ApplyError::TopicId(record.topic_id));
        }
        let topic = Topic {
            id: record.topic_id,
            name: record.name.as_str().into(),
            partitions: Vec::new(),
        };
        self.topic_names
            .insert(collision_key(&record.name).into_owned(), topic.id);
        self.topics.insert(topic.id, Arc::new(topic));
        delta.topic_created(record.topic_id);
        Ok(())
    }

    fn apply_partition(
        &mut self,
        record: &PartitionRecord,
        delta: &mut Delta,
    ) -> Result<(), ApplyError> {
        let topic = self.topic_for(record.topic_id, record.index, 1)?;
        let partition = Arc::new(record.to_partition());
        let position = usize::try_from(record.index.0).expect("checked against the partitions");
        match topic.partitions.get_mut(position) {
            Some(existing) => *existing = partition,
            None => topic.partitions.push(partition),
        }
        delta.partition_changed(record.topic_id, record.index);
        Ok(())
    }

    fn apply_partition_change(
        &mut self,
        record: &PartitionChangeRecord,
        delta: &mut Delta,
    ) -> Result<(), ApplyError> {
        let topic = self.topic_for(record.topic_id, record.index, 0)?;
        let position = usize::try_from(record.index.0).expect("checked against the partitions");
        let partition = &mut topic.partitions[position];
        *partition = Arc::new(partition.merge(record));
        delta.partition_changed(record.topic_id, record.index);
        Ok(())
    }

    /// The topic, to be changed, if it has that partition or would with `added` more.
    fn topic_for(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        added: usize,
    ) -> Result<&mut Topic, ApplyError> {
        let topic = self.topic(id).ok_or(ApplyError::UnknownTopic(id))?;
        let partitions = topic.partitions.len();
        if usize::try_from(index.0).is_ok_and(|position| position < partitions + added) {
            let topic = self.topics.get_mut(&id).expect("found above");
            Ok(Arc::make_mut(topic))
        } else {
            Err(ApplyError::Partition {
                topic: topic.name.to_string(),
                index,
                partitions,
            })
        }
    }

    fn apply_remove_topic(&mut self, id: TopicId, delta: &mut Delta) -> Result<(), ApplyError> {
        let topic = self
            .topics
            .remove(&id)
            .ok_or(ApplyError::UnknownTopic(id))?;
        self.topic_names.remove(&*collision_key(&topic.name));
        self.configs.remove(&ConfigResource::topic(&*topic.name));
        delta.topic_deleted(topic);
        Ok(())
    }

    fn apply_config(&mut self, record: &ConfigRecord, delta: &mut Delta) -> Result<(), ApplyError> {
        let resource = &record.resource;
        if resource.resource_type == ResourceType::Topic
            && self.topic_by_name(&resource.name).is_none()
        {
            return Err(ApplyError::UnknownTopicName(resource.name.clone()));
        }
        delta.configs_changed.insert(resource.clone());
        let mut configs = self.configs.get(resource).cloned().unwrap_or_default();
        match &record.value {
            Some(value) => {
                Arc::make_mut(&mut configs).insert(record.key.clone(), value.clone());
            }
            None => {
                Arc::make_mut(&mut configs).remove(&record.key);
            }
        }
        if configs.is_empty() {
            self.configs.remove(resource);
        } else {
            self.configs.insert(resource.clone(), configs);
        }
        Ok(())
    }

    fn apply_producer_ids(&mut self, record: &ProducerIdsRecord) -> Result<(), ApplyError> {
        let (expected, found) = (self.next_producer_id(), record.next_producer_id);
        if found <= expected {
            return Err(ApplyError::ProducerIds { expected, found });
        }
        self.last_producer_ids = record.clone();
        Ok(())
    }
}

/// Why bytes are not the snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A batch cannot be read.
    #[error("at byte {position}: {error}")]
    Decode {
        /// Where the batch begins.
        position: usize,
        /// Why.
        error: DecodeError,
    },
    /// A record does not fit those before it.
    #[error("in the batch at byte {position}: {error}")]
    Apply {
        /// Where its batch begins.
        position: usize,
        /// Why.
        error: ApplyError,
    },
}
