//! What administrators ask of the logs of a node, beside their records.

use std::rc::Rc;

use futures::future::join_all;
use millstream_protocol::{Offset, ProducerId, TopicPartition};

use super::messages::{ActiveProducer, LogSize, ProducersResult, ShardReply, ShardRequest};
use super::{Shard, ShardId};

impl Shard {
    /// How large the logs of all shards are.
    pub async fn log_sizes(self: &Rc<Self>) -> Vec<LogSize> {
        let shards = (0..self.peers.count()).map(ShardId);
        let asked = shards.map(|shard| self.ask(shard, ShardRequest::LogSizes));
        let mut sizes = Vec::new();
        for reply in join_all(asked).await {
            if let Some(ShardReply::LogSizes(some)) = reply {
                sizes.extend(some);
            }
        }
        sizes
    }

    /// Who has written to the partitions, as their owners know; each part has its slot.
    pub async fn producers(
        self: &Rc<Self>,
        parts: Vec<(usize, TopicPartition)>,
    ) -> Vec<(usize, ProducersResult)> {
        let asked: Vec<_> = self
            .by_owner(parts, |(_, partition)| *partition)
            .into_iter()
            .map(|(owner, parts)| self.ask(owner, ShardRequest::Producers(parts)))
            .collect();
        let mut results = Vec::new();
        for reply in join_all(asked).await {
            if let Some(ShardReply::Producers(some)) = reply {
                results.extend(some);
            }
        }
        results
    }

    pub(super) fn own_log_sizes(&self) -> Vec<LogSize> {
        let partitions = self.partitions.borrow();
        let sizes = partitions.values().map(|partition| LogSize {
            topic: partition.topic().clone(),
            partition: partition.id().partition,
            bytes: partition.log().size(),
        });
        sizes.collect()
    }

    pub(super) fn own_producers(
        &self,
        parts: Vec<(usize, TopicPartition)>,
    ) -> Vec<(usize, ProducersResult)> {
        let producers = |id| {
            let partition = self.partition(id)?;
            let mut producers: Vec<ActiveProducer> = partition.log().with_producer_states(|all| {
                all.iter()
                    .map(|(id, state)| ActiveProducer {
                        producer_id: ProducerId(id),
                        epoch: state.epoch,
                        last_sequence: state.last_sequence(),
                        last_timestamp: state.last_timestamp,
                        coordinator_epoch: state.coordinator_epoch,
                        transaction_start: state.current_txn_first_offset.map(Offset),
                    })
                    .collect()
            });
            producers.sort_by_key(|producer| producer.producer_id);
            Ok(producers)
        };
        let parts = parts.into_iter();
        parts.map(|(slot, id)| (slot, producers(id))).collect()
    }
}
