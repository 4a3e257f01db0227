//! Reading partitions: chosen by the caller, or assigned by a group.
//!
//! One fetch is under way for each broker that leads one of the partitions, started as soon as the
//! last one was taken, so the next records travel while the caller works on these. What a fetch
//! brings counts only if the partition is still at the offset it asked for: a seek or a rebalance
//! in between makes it worthless, never wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::BrokerId;
use millstream_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use millstream_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use millstream_reactor::{Task, TaskQueue};

use crate::backoff::Backoff;
use crate::client::{Client, Purpose, topic_name};
use crate::error::{ClientError, Result};
use crate::fetched_records::{Wanted, read_batches};
use crate::group::{GroupConfig, GroupMembership};
use crate::offsets::{NamedPartition, OffsetSpec};
use crate::record::ConsumerRecord;

/// The last version that names topics instead of giving their ids.
const MAX_FETCH_VERSION: i16 = 12;
/// Longer than any wait on purpose, so that an answer is due by then.
const FETCH_TIMEOUT_MARGIN: Duration = Duration::from_secs(30);

/// How a consumer reads.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Where to begin when there is no offset, or it is out of range; an error if not given.
    pub offset_reset: Option<OffsetSpec>,
    /// How long a broker may wait for data.
    pub fetch_max_wait: Duration,
    /// How much data it waits for.
    pub fetch_min_bytes: i32,
    /// How much it gives at once.
    pub fetch_max_bytes: i32,
    /// How much of one partition.
    pub partition_max_bytes: i32,
    /// Whether only committed transactions are read.
    pub read_committed: bool,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            offset_reset: Some(OffsetSpec::Latest),
            fetch_max_wait: Duration::from_millis(500),
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 * 1024 * 1024,
            partition_max_bytes: 1024 * 1024,
            read_committed: true,
        }
    }
}

/// Where reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPosition {
    /// At this offset.
    Offset(i64),
    /// At a place the broker looks up.
    Spec(OffsetSpec),
}

/// Reads records. See the module's introduction.
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    positions: BTreeMap<NamedPartition, StartPosition>,
    fetches: FuturesUnordered<Task<Fetched>>,
    fetching_from: BTreeSet<i32>,
    /// Which partition comes first in the next fetch, so that none starves.
    rotation: usize,
    group: Option<GroupMembership>,
    failures: Option<Backoff>,
}

struct Fetched {
    leader: i32,
    offsets: BTreeMap<NamedPartition, i64>,
    response: Result<FetchResponse>,
}

impl Consumer {
    /// A consumer of nothing yet.
    pub fn new(client: Client, config: ConsumerConfig) -> Consumer {
        Consumer {
            client,
            config,
            positions: BTreeMap::new(),
            fetches: FuturesUnordered::new(),
            fetching_from: BTreeSet::new(),
            rotation: 0,
            group: None,
            failures: None,
        }
    }

    /// Reads these partitions from now on, and no others.
    pub fn assign(
        &mut self,
        partitions: impl IntoIterator<Item = (NamedPartition, StartPosition)>,
    ) {
        self.positions = partitions.into_iter().collect();
        self.stop_fetches();
    }

    /// Joins a group that shares the partitions of `topics` among its members. Which partitions
    /// that are, the next [`Consumer::poll`] learns.
    pub fn subscribe(&mut self, config: GroupConfig, topics: Vec<Rc<str>>) {
        self.assign([]);
        self.group = Some(GroupMembership::new(self.client.clone(), config, topics));
    }

    /// The partitions that are read.
    pub fn assignment(&self) -> impl Iterator<Item = &NamedPartition> {
        self.positions.keys()
    }

    /// The offset of the next record of a partition; none before the broker has looked it up, or
    /// if the partition is not read.
    pub fn position(&self, partition: &NamedPartition) -> Option<i64> {
        match self.positions.get(partition) {
            Some(StartPosition::Offset(offset)) => Some(*offset),
            _ => None,
        }
    }

    /// Goes on from another place.
    pub fn seek(&mut self, partition: NamedPartition, position: StartPosition) {
        if let Some(current) = self.positions.get_mut(&partition) {
            *current = position;
        }
    }

    /// The next records, of one or more partitions; empty when none came within `timeout`.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>> {
        let reactor = self.client.reactor().clone();
        let deadline = reactor.now() + timeout;
        loop {
            self.follow_group().await?;
            self.look_up_positions().await?;
            self.start_fetches().await?;
            let changed = self.group.as_ref().map(GroupMembership::changed);
            let changed = async move {
                match changed {
                    Some(changed) => changed.await,
                    None => std::future::pending().await,
                }
            };
            let fetched = async {
                match self.fetches.next().await {
                    Some(fetched) => fetched,
                    None => std::future::pending().await,
                }
            };
            let left = deadline.saturating_duration_since(reactor.now());
            let event = async {
                match select(pin!(fetched), pin!(changed)).await {
                    Either::Left((fetched, _)) => fetched,
                    Either::Right(_) => None,
                }
            };
            let Ok(fetched) = reactor.timeout(left, event).await else {
                return Ok(Vec::new());
            };
            // Without one the group has news, or a seek has cancelled the fetch.
            let Some(fetched) = fetched else { continue };
            self.fetching_from.remove(&fetched.leader);
            let records = self.take(fetched).await?;
            if !records.is_empty() {
                // The next fetch travels while the caller works.
                self.start_fetches().await?;
                return Ok(records);
            }
            if reactor.now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Commits the positions of all partitions for the group.
    pub async fn commit(&mut self) -> Result<()> {
        let positions = self.known_positions();
        match &mut self.group {
            Some(group) => group.commit(&positions).await,
            None => Err(ClientError::Misuse(
                "only a member of a group commits offsets",
            )),
        }
    }

    /// Commits, if the group's configuration says so, and leaves the group.
    pub async fn close(mut self) -> Result<()> {
        let positions = self.known_positions();
        match self.group.take() {
            Some(group) => group.leave(&positions).await,
            None => Ok(()),
        }
    }

    fn known_positions(&self) -> BTreeMap<NamedPartition, i64> {
        let known = self
            .positions
            .iter()
            .filter_map(|(partition, position)| match position {
                StartPosition::Offset(offset) => Some((partition.clone(), *offset)),
                StartPosition::Spec(_) => None,
            });
        known.collect()
    }

    /// Joins the group again where needed, and takes over what it assigns.
    async fn follow_group(&mut self) -> Result<()> {
        let positions = self.known_positions();
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        let Some(assigned) = group.keep_up(&positions).await? else {
            return Ok(());
        };
        let reset = self.config.offset_reset;
        let mut positions = BTreeMap::new();
        for (partition, committed) in assigned {
            let position = match (committed, reset) {
                (Some(offset), _) => StartPosition::Offset(offset),
                (None, Some(spec)) => StartPosition::Spec(spec),
                (None, None) => return Err(no_offset(&partition)),
            };
            positions.insert(partition, position);
        }
        self.positions = positions;
        self.stop_fetches();
        Ok(())
    }

    fn stop_fetches(&mut self) {
        self.fetches.clear();
        self.fetching_from.clear();
    }

    async fn look_up_positions(&mut self) -> Result<()> {
        let unknown: Vec<(NamedPartition, OffsetSpec)> = self
            .positions
            .iter()
            .filter_map(|(partition, position)| match position {
                StartPosition::Spec(spec) => Some((partition.clone(), *spec)),
                StartPosition::Offset(_) => None,
            })
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let committed = self.config.read_committed;
        let found = self.client.list_offsets(&unknown, committed).await?;
        let mut beyond = Vec::new();
        for (partition, _) in unknown {
            match found.get(&partition).copied().flatten() {
                Some(offset) => self.seek(partition, StartPosition::Offset(offset)),
                // No record is that young: those to come are.
                None => beyond.push((partition, OffsetSpec::Latest)),
            }
        }
        if !beyond.is_empty() {
            let found = self.client.list_offsets(&beyond, committed).await?;
            for (partition, offset) in found {
                let offset = offset.unwrap_or(0);
                self.seek(partition, StartPosition::Offset(offset));
            }
        }
        Ok(())
    }

    /// Starts a fetch from each leader that has none under way.
    async fn start_fetches(&mut self) -> Result<()> {
        let mut by_leader: BTreeMap<i32, Vec<(NamedPartition, i64)>> = BTreeMap::new();
        for (partition, offset) in self.known_positions() {
            let leader = self.client.leader(&partition.0, partition.1).await?;
            if !self.fetching_from.contains(&leader) {
                by_leader
                    .entry(leader)
                    .or_default()
                    .push((partition, offset));
            }
        }
        for (leader, mut partitions) in by_leader {
            self.rotation = self.rotation.wrapping_add(1);
            let first = self.rotation % partitions.len();
            partitions.rotate_left(first);
            self.fetching_from.insert(leader);
            let fetch = fetch(self.client.clone(), self.config.clone(), leader, partitions);
            let task = self.client.reactor().spawn(TaskQueue::Requests, fetch);
            self.fetches.push(task);
        }
        Ok(())
    }

    async fn take(&mut self, fetched: Fetched) -> Result<Vec<ConsumerRecord>> {
        let response = fetched.response.and_then(|response| {
            ClientError::check(|| "Fetch".to_owned(), response.error_code, None)?;
            Ok(response)
        });
        let response = match response {
            Ok(response) => response,
            Err(error) if error.is_retriable() => {
                for (topic, _) in fetched.offsets.keys() {
                    self.client.forget(topic);
                }
                self.wait_after(error).await?;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        let mut failed = None;
        for topic in response.responses {
            let name: Rc<str> = topic.topic.0.as_str().into();
            for data in topic.partitions {
                let partition = (name.clone(), data.partition_index);
                let asked = fetched.offsets.get(&partition).copied();
                if asked.is_none() || self.position(&partition) != asked {
                    continue;
                }
                let taken = self.take_partition(partition, data, &mut records);
                if let Err(error) = taken {
                    failed = Some(error);
                }
            }
        }
        match failed {
            None => self.failures = None,
            Some(error) if error.is_retriable() => self.wait_after(error).await?,
            Some(error) if records.is_empty() => return Err(error),
            // The records come first; the partition fails again at the next fetch.
            Some(_) => {}
        }
        Ok(records)
    }

    fn take_partition(
        &mut self,
        partition: NamedPartition,
        data: PartitionData,
        records: &mut Vec<ConsumerRecord>,
    ) -> Result<()> {
        let (topic, index) = &partition;
        let offset = self
            .position(&partition)
            .expect("only known positions are fetched");
        let what = || format!("fetching {topic}-{index} at offset {offset}");
        match ErrorCode::try_from_code(data.error_code) {
            None => {}
            Some(ErrorCode::OffsetOutOfRange) => {
                let Some(spec) = self.config.offset_reset else {
                    return ClientError::check(what, data.error_code, None);
                };
                self.seek(partition, StartPosition::Spec(spec));
                return Ok(());
            }
            Some(code) => {
                if code.is_retriable() {
                    self.client.forget(topic);
                }
                return ClientError::check(what, data.error_code, None);
            }
        }
        let wanted = Wanted {
            topic,
            partition: *index,
            offset,
        };
        let bytes = data.records.unwrap_or_default();
        let aborted = data.aborted_transactions.unwrap_or_default();
        let fetched = read_batches(&wanted, &bytes, &aborted)?;
        records.extend(fetched.records);
        self.seek(partition, StartPosition::Offset(fetched.next_offset));
        Ok(())
    }

    /// Waits before the next attempt; gives the error back when there have been enough.
    async fn wait_after(&mut self, error: ClientError) -> Result<()> {
        let timeout = self.client.config().api_timeout;
        let backoff = self
            .failures
            .get_or_insert_with(|| Backoff::new(self.client.reactor(), timeout));
        if backoff.wait().await {
            return Ok(());
        }
        self.failures = None;
        Err(error)
    }
}

async fn fetch(
    client: Client,
    config: ConsumerConfig,
    leader: i32,
    partitions: Vec<(NamedPartition, i64)>,
) -> Fetched {
    let response = try_fetch(&client, &config, leader, &partitions).await;
    Fetched {
        leader,
        offsets: partitions.into_iter().collect(),
        response,
    }
}

async fn try_fetch(
    client: &Client,
    config: &ConsumerConfig,
    leader: i32,
    partitions: &[(NamedPartition, i64)],
) -> Result<FetchResponse> {
    let connection = client.broker(leader, Purpose::Fetch).await?;
    let version = connection.version::<FetchRequest>()?.min(MAX_FETCH_VERSION);
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((topic, index), offset) in partitions {
        let partition = FetchPartition::default()
            .with_partition(*index)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(*offset)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(config.partition_max_bytes);
        match topics.last_mut() {
            Some(last) if last.topic.0.as_str() == &**topic => last.partitions.push(partition),
            _ => topics.push(
                FetchTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    // Without a session: session id 0, epoch −1.
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(i32::try_from(config.fetch_max_wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(config.fetch_min_bytes)
        .with_max_bytes(config.fetch_max_bytes)
        .with_isolation_level(i8::from(config.read_committed))
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics);
    let timeout = config.fetch_max_wait + FETCH_TIMEOUT_MARGIN;
    connection.call_version(&request, version, timeout).await
}

fn no_offset((topic, partition): &NamedPartition) -> ClientError {
    ClientError::Broker {
        what: format!(
            "no offset is committed for {topic}-{partition}, and none to begin with is set"
        )
        .into(),
        code: ErrorCode::OffsetNotAvailable,
        message: None,
    }
}
