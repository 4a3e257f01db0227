//! Making the shard's partitions what the metadata says: opened, led, reconfigured, deleted.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use millstream_metadata::{ConfigResource, Delta, Image, ResourceType, Topic};
use millstream_protocol::{PartitionIndex, StrBytes, TopicPartition};
use millstream_reactor::TaskQueue;
use millstream_replication::Leadership;
use millstream_storage::Log;
use tracing::{error, info, warn};

use super::Shard;
use super::partition::{Partition, Watcher};
use crate::GROUP_METADATA_TOPIC;
use crate::controller::{ImageReceiver, Publication};
use crate::coordinator::CoordinatorShell;

/// Logs opened at the same time.
const OPENING: usize = 64;
/// How long a partition that could not be opened because the disk is full waits for another try.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

impl Shard {
    /// Takes the first image: when this returns, the shard's partitions are open. Then follows the
    /// later ones for as long as the controller runs.
    pub async fn follow_images(self: &Rc<Self>, mut images: ImageReceiver) {
        let Some(first) = images.next().await else {
            return;
        };
        self.apply(first).await;
        let shard = self.clone();
        let follow = async move {
            let mut next_try = None;
            while let Some(publication) = shard.next_image(&mut images, &mut next_try).await {
                shard.apply(publication).await;
            }
        };
        let follow = self.reactor.spawn(TaskQueue::Requests, follow);
        self.tasks.borrow_mut().push(follow);
    }

    /// The next image. Meanwhile partitions are opened that found the disk full before, however
    /// soon images follow one another.
    async fn next_image(
        self: &Rc<Self>,
        images: &mut ImageReceiver,
        next_try: &mut Option<Instant>,
    ) -> Option<Publication> {
        while self.waits_for_room() {
            let now = self.reactor.now();
            let try_at = *next_try.get_or_insert(now + FULL_DISK_PAUSE);
            let left = try_at.saturating_duration_since(now);
            if !left.is_zero()
                && let Ok(next) = self.reactor.timeout(left, images.next()).await
            {
                return next;
            }
            *next_try = None;
            self.open_those_without_room().await;
        }
        images.next().await
    }

    fn waits_for_room(&self) -> bool {
        !self.without_room.borrow().is_empty()
    }

    async fn open_those_without_room(self: &Rc<Self>) {
        let waiting: Vec<_> = self.without_room.borrow_mut().drain().collect();
        let image = self.image();
        for id in waiting {
            if let Some(topic) = image.topic(id.topic_id) {
                let config = self.topic_config_in(&image, topic);
                self.open_or_update(topic, id.partition, &config).await;
            }
        }
    }

    /// Waits until `seen` holds for the shard's image.
    pub async fn wait_for_image(&self, seen: impl Fn(&Image) -> bool) {
        loop {
            let changed = self.image_changed.notified();
            if seen(&self.image.borrow()) {
                return;
            }
            changed.await;
        }
    }

    async fn apply(self: &Rc<Self>, publication: Publication) {
        let Publication { image, delta } = publication;
        self.deleted
            .borrow_mut()
            .extend(delta.topics_deleted.values().map(|topic| topic.id));
        for topic in delta.topics_deleted.values() {
            self.drop_topic(topic).await;
        }
        let node_changed = self.take_settings(&image, &delta);
        for resource in &delta.configs_changed {
            if resource.resource_type == ResourceType::Topic
                && let Some(topic) = image.topic_by_name(&resource.name)
            {
                self.topic_configs.borrow_mut().remove(&topic.id);
            }
        }
        let created = delta
            .topics_created
            .iter()
            .filter_map(|id| image.topic(*id));
        let mut wanted: Vec<(Arc<Topic>, PartitionIndex)> = created
            .flat_map(|topic| topic.iter().map(|(index, _)| (topic.clone(), index)))
            .collect();
        for (id, changed) in &delta.topics_changed {
            let topic = image.topic(*id);
            wanted.extend(
                topic
                    .iter()
                    .flat_map(|topic| changed.iter().map(|index| (Arc::clone(topic), *index))),
            );
        }
        wanted.retain(|(topic, index)| self.holds(topic, *index));
        // The settings of new topics are resolved against the new image, which nobody else sees
        // before the partitions are open.
        let configs = |topic: &Topic| self.topic_config_in(&image, topic);
        stream::iter(&wanted)
            .for_each_concurrent(OPENING, |(topic, index)| {
                let config = configs(topic);
                async move { self.open_or_update(topic, *index, &config).await }
            })
            .await;
        let reconfigured: BTreeSet<_> = delta
            .configs_changed
            .iter()
            .filter(|resource| resource.resource_type == ResourceType::Topic)
            .filter_map(|resource| image.topic_by_name(&resource.name))
            .map(|topic| topic.id)
            .collect();
        *self.image.borrow_mut() = image.clone();
        self.deleted.borrow_mut().clear();
        // Taken down with the first image that has the topic, be it asked for or not.
        let _ = self.group_partitions();
        for partition in self.partitions.borrow().values() {
            let id = partition.id();
            if (node_changed || reconfigured.contains(&id.topic_id))
                && let Some(topic) = image.topic(id.topic_id)
            {
                let config = self.topic_config_in(&image, topic);
                partition.log().set_config(config.log.clone());
                self.lead_if_leader(partition, topic, &config);
            }
        }
        self.image_changed.notify_waiters();
    }

    /// Takes the settings given to brokers, if they changed; then what topics have by default may
    /// have changed as well. Whether it did.
    fn take_settings(&self, image: &Image, delta: &Delta) -> bool {
        let (cluster, node) = (
            ConfigResource::all_brokers(),
            ConfigResource::broker(self.node_id()),
        );
        if !delta.configs_changed.contains(&cluster) && !delta.configs_changed.contains(&node) {
            return false;
        }
        let given = |resource| image.configs(resource).cloned().unwrap_or_default();
        match self
            .start_config
            .with_dynamic(&given(&cluster), &given(&node))
        {
            Ok(config) => {
                let limit = config.max_connections.div_ceil(self.peers.count());
                self.connection_limit.set(limit);
                self.store.set_cleaner(config.cleaner(self.peers.count()));
                *self.config.borrow_mut() = Arc::new(config);
                self.topic_configs.borrow_mut().clear();
                true
            }
            Err(cause) => {
                error!(%cause, "the settings given to brokers do not go together: not taken");
                false
            }
        }
    }

    /// Whether this shard has a replica of the partition.
    fn holds(&self, topic: &Topic, index: PartitionIndex) -> bool {
        let id = TopicPartition {
            topic_id: topic.id,
            partition: index,
        };
        self.owner(id) == self.id
            && topic
                .partition(index)
                .is_some_and(|partition| partition.replicas.contains(&self.node_id()))
    }

    async fn open_or_update(
        self: &Rc<Self>,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        config: &crate::config::TopicConfig,
    ) {
        let id = TopicPartition {
            topic_id: topic.id,
            partition: index,
        };
        let open = self.partitions.borrow().get(&id).cloned();
        if let Some(partition) = open {
            self.lead_if_leader(&partition, topic, config);
            return;
        }
        let opened = Log::open(
            &self.store,
            &topic.name,
            index,
            topic.id,
            config.log.clone(),
        )
        .await;
        let (log, recovery) = match opened {
            Ok(opened) => opened,
            Err(cause) => {
                if self.broken.borrow_mut().insert(id) {
                    error!(topic = %topic.name, partition = %index, %cause, "the partition cannot be opened");
                }
                if cause.is_full() {
                    self.without_room.borrow_mut().insert(id);
                }
                return;
            }
        };
        if recovery.truncated_bytes > 0 {
            let (cut, scanned) = (recovery.truncated_bytes, recovery.scanned_bytes);
            warn!(topic = %topic.name, partition = %index, cut, scanned, "cut an unfinished end off");
        }
        let shard = Rc::downgrade(self);
        let wake = Rc::new(move |watcher: Watcher| {
            if let Some(shard) = shard.upgrade() {
                shard.wake(watcher);
            }
        });
        let partition = Partition::new(
            id,
            topic.name.clone(),
            self.node_id(),
            self.reactor.clone(),
            self.store.clone(),
            log,
            recovery.high_watermark,
            wake,
        );
        self.broken.borrow_mut().remove(&id);
        self.lead_if_leader(&partition, topic, config);
        self.partitions.borrow_mut().insert(id, partition.clone());
        if &*topic.name == GROUP_METADATA_TOPIC {
            let coordinator = CoordinatorShell::start(self, &partition);
            self.coordinators.borrow_mut().insert(index, coordinator);
        }
    }

    fn lead_if_leader(
        &self,
        partition: &Rc<Partition>,
        topic: &Topic,
        config: &crate::config::TopicConfig,
    ) {
        let Some(state) = topic.partition(partition.id().partition) else {
            return;
        };
        if state.leader != self.node_id() {
            partition.resign();
            return;
        }
        let minimum = usize::try_from(config.min_insync_replicas).unwrap_or(1);
        partition.lead(Leadership {
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: state.isr.clone(),
            min_insync_replicas: minimum.min(state.replicas.len()),
        });
    }

    async fn drop_topic(self: &Rc<Self>, topic: &Topic) {
        self.topic_configs.borrow_mut().remove(&topic.id);
        for coordinator in self.coordinators.borrow().values() {
            coordinator.topic_deleted(StrBytes::from_string(topic.name.to_string()));
        }
        for (index, _) in topic.iter() {
            let id = TopicPartition {
                topic_id: topic.id,
                partition: index,
            };
            self.broken.borrow_mut().remove(&id);
            if &*topic.name == GROUP_METADATA_TOPIC {
                self.coordinators.borrow_mut().remove(&index);
            }
            let Some(partition) = self.partitions.borrow_mut().remove(&id) else {
                continue;
            };
            partition.end();
            if let Err(cause) = partition.log().delete().await {
                error!(topic = %topic.name, partition = %index, %cause, "the partition's files stay");
            } else {
                info!(topic = %topic.name, partition = %index, "deleted");
            }
        }
    }
}
