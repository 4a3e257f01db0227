//! What a shard asks of the controller on its own behalf.

use std::rc::Rc;

use millstream_controller::ApiError;
use millstream_metadata::Image;
use millstream_protocol::{ErrorCode, ProducerId, TopicId};

use super::Shard;
use crate::GROUP_METADATA_TOPIC;

impl Shard {
    /// Makes `__consumer_offsets` if it is not there; when this returns, this shard knows it.
    pub async fn ensure_group_topic(self: &Rc<Self>) -> Result<(), ErrorCode> {
        if self
            .image
            .borrow()
            .topic_by_name(GROUP_METADATA_TOPIC)
            .is_some()
        {
            return Ok(());
        }
        let unavailable = |_: ApiError| ErrorCode::CoordinatorNotAvailable;
        let names = vec![GROUP_METADATA_TOPIC.to_owned()];
        let ensured = self
            .controller
            .ensure_topics(names)
            .await
            .map_err(unavailable)?;
        for topic in ensured {
            let id = topic.result.map_err(unavailable)?;
            self.wait_for_topic(id).await;
        }
        Ok(())
    }

    /// Waits until all shards know a topic that the controller has just made; not for ever, since
    /// it may be deleted again meanwhile.
    pub async fn wait_for_topic(self: &Rc<Self>, id: TopicId) {
        let seen = async {
            self.wait_for_image(|image| image.topic(id).is_some()).await;
            self.others_catch_up().await;
        };
        // Without the topic in its image the shard answers as if it did not exist, and the client
        // asks again.
        let _ = self.reactor.timeout(super::IMAGE_WAIT, seen).await;
    }

    /// Waits until all shards know of so many partitions of a topic.
    pub async fn wait_for_partitions(self: &Rc<Self>, id: TopicId, count: usize) {
        let seen = async {
            let is_there = |image: &Image| {
                let topic = image.topic(id);
                topic.is_none_or(|topic| topic.partitions.len() >= count)
            };
            self.wait_for_image(is_there).await;
            self.others_catch_up().await;
        };
        let _ = self.reactor.timeout(super::IMAGE_WAIT, seen).await;
    }

    /// Waits until no shard knows a topic any longer that the controller has just deleted.
    pub async fn wait_for_removal(self: &Rc<Self>, id: TopicId) {
        let seen = async {
            self.wait_for_image(|image| image.topic(id).is_none()).await;
            self.others_catch_up().await;
        };
        let _ = self.reactor.timeout(super::IMAGE_WAIT, seen).await;
    }

    /// An id that no producer has.
    pub async fn next_producer_id(self: &Rc<Self>) -> Result<ProducerId, ErrorCode> {
        loop {
            if let Some(id) = self.producer_ids.borrow_mut().pop_front() {
                return Ok(id);
            }
            let node_id = self.node_id();
            let epoch = self
                .image
                .borrow()
                .broker(node_id)
                .map_or(-1, |broker| broker.epoch);
            let block = self.controller.allocate_producer_ids(node_id, epoch).await;
            let block = block.map_err(|error| match error.code {
                ErrorCode::NotController => ErrorCode::CoordinatorNotAvailable,
                other => other,
            })?;
            let ids = (0..block.len).map(|n| ProducerId(block.first.0 + i64::from(n)));
            self.producer_ids.borrow_mut().extend(ids);
        }
    }
}
