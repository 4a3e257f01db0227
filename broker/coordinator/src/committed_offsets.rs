//! The committed offsets of all groups: what is committed, and what is on its way.
//!
//! Readers see what is committed. Decisions (what to delete, what has expired) look at the latest
//! value, be it committed yet or not, so that two writes in flight do not contradict each other.

use std::collections::BTreeMap;

use millstream_protocol::StrBytes;
use uuid::Uuid;

use crate::input::WriteId;
use millstream_protocol::group_records::{OffsetCommitKey, OffsetCommitValue};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetAndMetadata {
    pub(crate) offset: i64,
    /// −1 when not known.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: StrBytes,
    pub(crate) commit_timestamp_ms: i64,
    /// Set by clients that named a retention time of their own.
    pub(crate) expire_timestamp_ms: Option<i64>,
    pub(crate) topic_id: Uuid,
}

impl OffsetAndMetadata {
    pub(crate) fn from_record(value: &OffsetCommitValue) -> OffsetAndMetadata {
        OffsetAndMetadata {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: Some(value.expire_timestamp).filter(|time| *time >= 0),
            topic_id: value.topic_id,
        }
    }
}

/// One partition's offset in one group.
#[derive(Debug, Default)]
struct Slot {
    committed: Option<OffsetAndMetadata>,
    /// Values of writes in flight, in their order; none deletes.
    in_flight: Vec<(WriteId, Option<OffsetAndMetadata>)>,
}

impl Slot {
    fn latest(&self) -> Option<&OffsetAndMetadata> {
        match self.in_flight.last() {
            Some((_, value)) => value.as_ref(),
            None => self.committed.as_ref(),
        }
    }

    fn is_void(&self) -> bool {
        self.committed.is_none() && self.in_flight.is_empty()
    }
}

type Partitions = BTreeMap<i32, Slot>;
type Topics = BTreeMap<StrBytes, Partitions>;

#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    groups: BTreeMap<StrBytes, Topics>,
}

impl CommittedOffsets {
    /// A value that is committed already: from the log.
    pub(crate) fn replay(&mut self, key: &OffsetCommitKey, value: Option<OffsetAndMetadata>) {
        self.change(key, |slot| slot.committed = value);
    }

    /// A value is on its way.
    pub(crate) fn begin(
        &mut self,
        key: &OffsetCommitKey,
        write: WriteId,
        value: Option<OffsetAndMetadata>,
    ) {
        self.change(key, |slot| slot.in_flight.push((write, value)));
    }

    /// The value of this write is committed.
    pub(crate) fn commit(&mut self, key: &OffsetCommitKey, write: WriteId) {
        self.change(key, |slot| {
            for (_, value) in slot.in_flight.extract_if(.., |(of, _)| *of == write) {
                slot.committed = value;
            }
        });
    }

    /// The value of this write is not to be.
    pub(crate) fn abandon(&mut self, key: &OffsetCommitKey, write: WriteId) {
        self.change(key, |slot| slot.in_flight.retain(|(of, _)| *of != write));
    }

    /// The topics that have offsets, each once for every group.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &StrBytes> {
        self.groups.values().flat_map(|topics| topics.keys())
    }

    fn change(&mut self, key: &OffsetCommitKey, change: impl FnOnce(&mut Slot)) {
        let topics = self.groups.entry(key.group.clone()).or_default();
        let partitions = topics.entry(key.topic.clone()).or_default();
        let slot = partitions.entry(key.partition).or_default();
        change(slot);
        if !slot.is_void() {
            return;
        }
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.groups.remove(&key.group);
        }
    }

    /// What a reader sees for one partition.
    pub(crate) fn committed(
        &self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: i32,
    ) -> Option<&OffsetAndMetadata> {
        self.groups
            .get(group)?
            .get(topic)?
            .get(&partition)?
            .committed
            .as_ref()
    }

    /// What a reader sees of the whole group, topic by topic.
    pub(crate) fn committed_of_group(
        &self,
        group: &StrBytes,
    ) -> impl Iterator<Item = (&StrBytes, Vec<(i32, &OffsetAndMetadata)>)> {
        self.groups
            .get(group)
            .into_iter()
            .flatten()
            .filter_map(|(topic, partitions)| {
                let committed: Vec<_> = partitions
                    .iter()
                    .filter_map(|(index, slot)| Some((*index, slot.committed.as_ref()?)))
                    .collect();
                (!committed.is_empty()).then_some((topic, committed))
            })
    }

    pub(crate) fn latest(
        &self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: i32,
    ) -> Option<&OffsetAndMetadata> {
        self.groups
            .get(group)?
            .get(topic)?
            .get(&partition)?
            .latest()
    }

    /// The latest values of a group.
    pub(crate) fn latest_of_group(
        &self,
        group: &StrBytes,
    ) -> impl Iterator<Item = (OffsetCommitKey, &OffsetAndMetadata)> {
        self.groups
            .get_key_value(group)
            .into_iter()
            .flat_map(|(group, topics)| {
                topics
                    .iter()
                    .flat_map(move |(topic, partitions)| latest_of_topic(group, topic, partitions))
            })
    }

    /// The partitions of a topic for which any group has a latest value.
    pub(crate) fn keys_of_topic(&self, topic: &StrBytes) -> Vec<OffsetCommitKey> {
        let groups = self.groups.iter().filter_map(|(group, topics)| {
            let (topic, partitions) = topics.get_key_value(topic)?;
            Some(latest_of_topic(group, topic, partitions))
        });
        groups.flatten().map(|(key, _)| key).collect()
    }
}

fn latest_of_topic<'a>(
    group: &StrBytes,
    topic: &StrBytes,
    partitions: &'a Partitions,
) -> impl Iterator<Item = (OffsetCommitKey, &'a OffsetAndMetadata)> + use<'a> {
    let (group, topic) = (group.clone(), topic.clone());
    partitions.iter().filter_map(move |(partition, slot)| {
        let key = OffsetCommitKey {
            group: group.clone(),
            topic: topic.clone(),
            partition: *partition,
        };
        Some((key, slot.latest()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> OffsetCommitKey {
        let name = StrBytes::from_static_str("x");
        OffsetCommitKey {
            group: name.clone(),
            topic: name,
            partition: 0,
        }
    }

    fn value(offset: i64) -> Option<OffsetAndMetadata> {
        Some(OffsetAndMetadata {
            offset,
            leader_epoch: -1,
            metadata: StrBytes::new(),
            commit_timestamp_ms: 0,
            expire_timestamp_ms: None,
            topic_id: Uuid::nil(),
        })
    }

    fn seen(offsets: &CommittedOffsets) -> (Option<i64>, Option<i64>) {
        let key = key();
        let committed = offsets
            .committed(&key.group, &key.topic, 0)
            .map(|found| found.offset);
        (
            committed,
            offsets
                .latest(&key.group, &key.topic, 0)
                .map(|found| found.offset),
        )
    }

    #[test]
    fn readers_see_only_what_is_committed() {
        let mut offsets = CommittedOffsets::default();
        offsets.begin(&key(), WriteId(0), value(1));
        offsets.begin(&key(), WriteId(1), value(2));
        assert_eq!(seen(&offsets), (None, Some(2)));
        offsets.commit(&key(), WriteId(0));
        assert_eq!(seen(&offsets), (Some(1), Some(2)));
        offsets.abandon(&key(), WriteId(1));
        assert_eq!(seen(&offsets), (Some(1), Some(1)));
        offsets.begin(&key(), WriteId(2), None);
        assert_eq!(seen(&offsets), (Some(1), None));
        offsets.commit(&key(), WriteId(2));
        assert_eq!(seen(&offsets), (None, None));
        assert!(offsets.groups.is_empty(), "nothing is left of it");
    }
}
