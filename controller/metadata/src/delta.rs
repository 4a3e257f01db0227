//! What changed between two images.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_protocol::{NodeId, PartitionIndex, TopicId};

use crate::config_resource::ConfigResource;
use crate::image::Image;
use crate::topic::Topic;

/// What changed from one image to a later one. Values are in the later image, except for topics
/// that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Topics that were not there before.
    pub topics_created: BTreeSet<TopicId>,
    /// Topics that were there before, and the partitions of theirs that changed or were added.
    pub topics_changed: BTreeMap<TopicId, BTreeSet<PartitionIndex>>,
    /// Topics that are gone, as they were last.
    pub topics_deleted: BTreeMap<TopicId, Arc<Topic>>,
    /// Resources whose settings changed; those of a deleted topic are not named.
    pub configs_changed: BTreeSet<ConfigResource>,
    /// Brokers that registered, changed, were fenced or let in.
    pub brokers_changed: BTreeSet<NodeId>,
    /// Whether a feature was finalised.
    pub features_changed: bool,
}

impl Delta {
    /// Whether nothing changed that a subscriber could act on.
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }

    /// What changed from `old` to `new`, found by comparing them; for an image that came as a
    /// snapshot.
    pub fn between(old: &Image, new: &Image) -> Delta {
        let mut delta = Delta {
            features_changed: old.features() != new.features(),
            ..Delta::default()
        };
        for topic in old.topics() {
            if new.topic(topic.id).is_none() {
                delta.topics_deleted.insert(topic.id, topic.clone());
            }
        }
        for topic in new.topics() {
            match old.topic(topic.id) {
                None => {
                    delta.topics_created.insert(topic.id);
                }
                Some(before) if !Arc::ptr_eq(before, topic) => {
                    let changed: BTreeSet<_> = topic
                        .iter()
                        .filter(|(index, partition)| before.partition(*index) != Some(partition))
                        .map(|(index, _)| index)
                        .collect();
                    if !changed.is_empty() {
                        delta.topics_changed.insert(topic.id, changed);
                    }
                }
                Some(_) => {}
            }
        }
        for resource in old.config_resources().chain(new.config_resources()) {
            let id = |image: &Image| image.topic_by_name(&resource.name).map(|topic| topic.id);
            let is_topic = resource.resource_type == crate::ResourceType::Topic;
            // The settings of a topic go with it, also when another one has its name since.
            let before = match is_topic && id(old) != id(new) {
                true => None,
                false => old.configs(resource),
            };
            if before != new.configs(resource) {
                delta.configs_changed.insert(resource.clone());
            }
        }
        for broker in old.brokers().chain(new.brokers()) {
            if old.broker(broker.node_id) != new.broker(broker.node_id) {
                delta.brokers_changed.insert(broker.node_id);
            }
        }
        delta
    }

    /// Adds what changed after this delta, for a subscriber that missed the image in between.
    pub fn merge(&mut self, later: &Delta) {
        for (id, topic) in &later.topics_deleted {
            self.topics_changed.remove(id);
            self.configs_changed
                .remove(&ConfigResource::topic(&*topic.name));
            if !self.topics_created.remove(id) {
                self.topics_deleted.insert(*id, topic.clone());
            }
        }
        self.topics_created.extend(&later.topics_created);
        for (id, partitions) in &later.topics_changed {
            if !self.topics_created.contains(id) {
                self.topics_changed
                    .entry(*id)
                    .or_default()
                    .extend(partitions);
            }
        }
        self.configs_changed
            .extend(later.configs_changed.iter().cloned());
        self.brokers_changed.extend(&later.brokers_changed);
        self.features_changed |= later.features_changed;
    }

    pub(crate) fn topic_created(&mut self, id: TopicId) {
        self.topics_created.insert(id);
    }

    pub(crate) fn partition_changed(&mut self, id: TopicId, index: PartitionIndex) {
        if !self.topics_created.contains(&id) {
            self.topics_changed.entry(id).or_default().insert(index);
        }
    }

    pub(crate) fn topic_deleted(&mut self, topic: Arc<Topic>) {
        self.topics_changed.remove(&topic.id);
        self.configs_changed
            .remove(&ConfigResource::topic(&*topic.name));
        if !self.topics_created.remove(&topic.id) {
            self.topics_deleted.insert(topic.id, topic);
        }
    }
}
