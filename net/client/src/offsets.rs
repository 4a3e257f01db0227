//! Where logs begin and end, and where a time lies in them.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_protocol::messages::BrokerId;
use millstream_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use crate::client::{Client, Purpose, topic_name};
use crate::error::{ClientError, Result};

/// A place in a log that the broker looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record that is kept.
    Earliest,
    /// After the last record that may be read.
    Latest,
    /// The first record of this time or later, in milliseconds since the epoch.
    Timestamp(i64),
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Earliest => -2,
            OffsetSpec::Latest => -1,
            OffsetSpec::Timestamp(timestamp) => timestamp.max(0),
        }
    }
}

/// A partition of a topic by name.
pub type NamedPartition = (Rc<str>, i32);

impl Client {
    /// The offset of the same place in each of `partitions`; without those where no record is that
    /// young.
    pub async fn offsets_at(
        &self,
        partitions: &[NamedPartition],
        spec: OffsetSpec,
        read_committed: bool,
    ) -> Result<BTreeMap<NamedPartition, i64>> {
        let specs: Vec<_> = partitions
            .iter()
            .map(|partition| (partition.clone(), spec))
            .collect();
        let offsets = self.list_offsets(&specs, read_committed).await?;
        Ok(offsets
            .into_iter()
            .filter_map(|(partition, offset)| Some((partition, offset?)))
            .collect())
    }

    /// The offsets of `specs`, in any order of partitions. `None` where no record is that young.
    pub async fn list_offsets(
        &self,
        specs: &[(NamedPartition, OffsetSpec)],
        read_committed: bool,
    ) -> Result<BTreeMap<NamedPartition, Option<i64>>> {
        self.retry(async || {
            let answer = self.try_list_offsets(specs, read_committed).await;
            if answer.as_ref().is_err_and(ClientError::is_retriable) {
                for ((topic, _), _) in specs {
                    self.forget(topic);
                }
            }
            answer
        })
        .await
    }

    async fn try_list_offsets(
        &self,
        specs: &[(NamedPartition, OffsetSpec)],
        read_committed: bool,
    ) -> Result<BTreeMap<NamedPartition, Option<i64>>> {
        let mut by_leader: BTreeMap<i32, BTreeMap<&Rc<str>, Vec<ListOffsetsPartition>>> =
            BTreeMap::new();
        for ((topic, partition), spec) in specs {
            let leader = self.leader(topic, *partition).await?;
            let asked = ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(spec.timestamp());
            let topics = by_leader.entry(leader).or_default();
            topics.entry(topic).or_default().push(asked);
        }
        let mut offsets = BTreeMap::new();
        for (leader, topics) in by_leader {
            let connection = self.broker(leader, Purpose::Control).await?;
            let version = connection.version::<ListOffsetsRequest>()?;
            let topics = topics
                .into_iter()
                .map(|(name, partitions)| {
                    ListOffsetsTopic::default()
                        .with_name(topic_name(name))
                        .with_partitions(partitions)
                })
                .collect();
            let mut request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(topics);
            if version >= 2 {
                request.isolation_level = i8::from(read_committed);
            }
            let timeout = connection.request_timeout();
            let response = connection.call_version(&request, version, timeout).await?;
            for topic in response.topics {
                let name: Rc<str> = topic.name.0.as_str().into();
                for partition in topic.partitions {
                    let index = partition.partition_index;
                    let what = || format!("ListOffsets of {name}-{index}");
                    ClientError::check(what, partition.error_code, None)?;
                    let offset = (partition.offset >= 0).then_some(partition.offset);
                    offsets.insert((name.clone(), index), offset);
                }
            }
        }
        Ok(offsets)
    }
}
