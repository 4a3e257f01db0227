//! A topic and its partitions as the cluster knows them.

use std::borrow::Cow;
use std::sync::Arc;

use millstream_protocol::{LeaderEpoch, NodeId, PartitionIndex, TopicId};
use rkyv::{Archive, Deserialize, Serialize};
use uuid::Uuid;

use crate::record::PartitionChangeRecord;

/// The leader of a partition that has none.
pub const NO_LEADER: NodeId = NodeId(-1);

/// The id that Kafka gives its metadata log; no topic has it.
pub const METADATA_TOPIC_ID: TopicId = TopicId(Uuid::from_u128(1));

/// Whether the leader took over from in-sync replicas, or has still to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum RecoveryState {
    /// The usual state.
    Recovered = 0,
    /// Elected uncleanly, and not yet recovered.
    Recovering = 1,
}

/// One partition's assignment and leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Who has a copy; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Who is in sync, in the order of the replicas at creation.
    pub isr: Vec<NodeId>,
    /// Who is out of sync and may still be elected without loss.
    pub elr: Vec<NodeId>,
    /// Who leads, or [`NO_LEADER`].
    pub leader: NodeId,
    /// Grows whenever the leader is set, be it to the same broker.
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change of the partition.
    pub partition_epoch: i32,
    /// Whether the leader has recovered.
    pub recovery_state: RecoveryState,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions, by index, without gaps.
    pub partitions: Vec<Arc<Partition>>,
}

impl Partition {
    /// The partition after a change: what the change leaves out stays.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Partition {
        let mut merged = self.clone();
        if let Some(replicas) = &change.replicas {
            merged.replicas.clone_from(replicas);
        }
        if let Some(isr) = &change.isr {
            merged.isr.clone_from(isr);
        }
        if let Some(elr) = &change.elr {
            merged.elr.clone_from(elr);
        }
        if let Some(leader) = change.leader {
            merged.leader = leader;
            merged.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        }
        if let Some(recovery_state) = change.recovery_state {
            merged.recovery_state = recovery_state;
        }
        merged.partition_epoch = self.partition_epoch.saturating_add(1);
        merged
    }

    /// Whether somebody leads it.
    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }
}

impl Topic {
    /// The partition with that index.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// The partitions with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionIndex, &Arc<Partition>)> {
        (0_i32..).map(PartitionIndex).zip(&self.partitions)
    }

    /// Whether ordinary clients may not write to it.
    pub fn is_internal(&self) -> bool {
        is_internal_topic(&self.name)
    }
}

/// Whether the name is one of Kafka's own topics, which ordinary clients may not write to.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

/// Whether no topic may have this id: zero means "none", and one is the metadata log.
pub fn is_reserved_topic_id(id: TopicId) -> bool {
    id.0.is_nil() || id == METADATA_TOPIC_ID
}

/// What two names have in common when they differ only in `.` and `_`, which metrics cannot tell
/// apart: no two topics share it.
pub fn collision_key(name: &str) -> Cow<'_, str> {
    match name.contains('.') {
        true => name.replace('.', "_").into(),
        false => name.into(),
    }
}
