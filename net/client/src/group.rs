//! Membership of a consumer group, by the classic protocol.
//!
//! A member joins, the coordinator names one member the leader, the leader deals out partitions
//! (here by ranges), and each learns its own by the sync. Between rebalances a task sends
//! heartbeats; what it hears is only noted, and acted on by [`GroupMembership::keep_up`], which the
//! consumer calls before it reads on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use millstream_protocol::messages::GroupId;
use millstream_protocol::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use millstream_protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use millstream_protocol::messages::heartbeat_request::HeartbeatRequest;
use millstream_protocol::messages::join_group_request::{
    JoinGroupRequest, JoinGroupRequestProtocol,
};
use millstream_protocol::messages::join_group_response::JoinGroupResponse;
use millstream_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use millstream_protocol::messages::sync_group_request::{
    SyncGroupRequest, SyncGroupRequestAssignment,
};
use millstream_protocol::{ErrorCode, StrBytes};
use millstream_reactor::{Notify, Task, TaskQueue};

use crate::client::{Client, topic_name};
use crate::error::{ClientError, Result};
use crate::groups::decode_assignment;
use crate::offsets::NamedPartition;
use crate::range_assignor::assign_ranges;

/// The version in which subscriptions and assignments are written.
const CONSUMER_PROTOCOL_VERSION: i16 = 1;
/// An answer to a join is due this long after the rebalance timeout.
const JOIN_TIMEOUT_MARGIN: Duration = Duration::from_secs(5);

/// How a member behaves.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group's id.
    pub group_id: String,
    /// A static member keeps its partitions while it restarts.
    pub group_instance_id: Option<String>,
    /// A member that is silent for so long is out.
    pub session_timeout: Duration,
    /// How often it says that it lives.
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
    /// How often positions are committed without being asked; none for never.
    pub auto_commit_interval: Option<Duration>,
}

impl GroupConfig {
    /// Kafka's defaults.
    pub fn new(group_id: impl Into<String>) -> GroupConfig {
        GroupConfig {
            group_id: group_id.into(),
            group_instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            auto_commit_interval: Some(Duration::from_secs(5)),
        }
    }
}

/// One member of a group.
pub(crate) struct GroupMembership {
    client: Client,
    config: GroupConfig,
    topics: Vec<Rc<str>>,
    member_id: String,
    generation: Option<Generation>,
    next_commit: Option<Instant>,
    committed: BTreeMap<NamedPartition, i64>,
    heard: Rc<Heard>,
}

/// A membership between two rebalances. Dropping it ends its heartbeats.
struct Generation {
    id: i32,
    _heartbeats: Task<()>,
}

/// What the heartbeats have heard.
#[derive(Default)]
struct Heard {
    news: Cell<Option<News>>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Join again, with the same member id.
    Rebalance,
    /// The coordinator does not know this member any more: join as a new one.
    Forgotten,
    /// The group has another member of the same static id, or the like: give up.
    Fatal(ErrorCode),
}

/// Partitions, and the offsets committed for them.
pub(crate) type Assigned = BTreeMap<NamedPartition, Option<i64>>;

impl GroupMembership {
    pub(crate) fn new(client: Client, config: GroupConfig, topics: Vec<Rc<str>>) -> Self {
        GroupMembership {
            client,
            config,
            topics,
            member_id: String::new(),
            generation: None,
            next_commit: None,
            committed: BTreeMap::new(),
            heard: Rc::default(),
        }
    }

    /// Completes when there is a reason to call [`GroupMembership::keep_up`].
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + use<> {
        let heard = self.heard.clone();
        let notified = heard.changed.notified();
        async move {
            if heard.news.get().is_none() {
                notified.await;
            }
        }
    }

    /// Commits when it is time to, and joins again when there is a rebalance; gives the new
    /// assignment then. `positions` are those of the current one.
    pub(crate) async fn keep_up(
        &mut self,
        positions: &BTreeMap<NamedPartition, i64>,
    ) -> Result<Option<Assigned>> {
        match self.heard.news.take() {
            None => {}
            Some(News::Fatal(code)) => {
                self.generation = None;
                return Err(ClientError::Broker {
                    what: self.what("membership"),
                    code,
                    message: None,
                });
            }
            Some(News::Rebalance) => {
                self.commit_automatically(positions).await;
                self.generation = None;
            }
            Some(News::Forgotten) => self.forget_membership(),
        }
        if self.generation.is_some() {
            let now = self.client.reactor().now();
            if self.next_commit.is_some_and(|due| due <= now) {
                self.commit_automatically(positions).await;
            }
            return Ok(None);
        }
        let assigned = self.join_until_assigned().await?;
        self.committed = assigned
            .iter()
            .filter_map(|(partition, offset)| Some((partition.clone(), (*offset)?)))
            .collect();
        self.plan_commit();
        Ok(Some(assigned))
    }

    /// Commits `positions`, as far as they are not yet.
    pub(crate) async fn commit(&mut self, positions: &BTreeMap<NamedPartition, i64>) -> Result<()> {
        let Some(generation) = &self.generation else {
            return Err(ClientError::Misuse(
                "the group is rebalancing: poll before committing",
            ));
        };
        let changed: BTreeMap<NamedPartition, i64> = positions
            .iter()
            .filter(|(partition, offset)| self.committed.get(*partition) != Some(*offset))
            .map(|(partition, offset)| (partition.clone(), *offset))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let committer = crate::committed_offsets::Committer {
            group_id: &self.config.group_id,
            generation_id: generation.id,
            member_id: &self.member_id,
            group_instance_id: self.config.group_instance_id.as_deref(),
        };
        self.client.commit_offsets(&committer, &changed).await?;
        self.committed.extend(changed);
        Ok(())
    }

    /// Commits, if that is automatic, and leaves, so that the others need not wait. A static
    /// member stays: it means to come back.
    pub(crate) async fn leave(mut self, positions: &BTreeMap<NamedPartition, i64>) -> Result<()> {
        if self.generation.is_none() {
            return Ok(());
        }
        let committed = match self.config.auto_commit_interval {
            Some(_) => self.commit(positions).await,
            None => Ok(()),
        };
        self.generation = None;
        if self.config.group_instance_id.is_some() {
            return committed;
        }
        let connection = self.client.coordinator(&self.config.group_id).await?;
        let version = connection.version::<LeaveGroupRequest>()?;
        let request = LeaveGroupRequest::default().with_group_id(self.group_id());
        let member_id = StrBytes::from_string(self.member_id.clone());
        let request = match version {
            0..=2 => request.with_member_id(member_id),
            _ => request.with_members(vec![MemberIdentity::default().with_member_id(member_id)]),
        };
        let timeout = connection.request_timeout();
        let response = connection.call_version(&request, version, timeout).await?;
        ClientError::check(
            || self.what("leaving").to_string(),
            response.error_code,
            None,
        )?;
        committed
    }

    /// Commits without being asked: a failure is mended by the next commit, at worst by reading
    /// some records twice.
    async fn commit_automatically(&mut self, positions: &BTreeMap<NamedPartition, i64>) {
        if self.config.auto_commit_interval.is_none() {
            return;
        }
        if let Err(error) = self.commit(positions).await {
            tracing::debug!(group = %self.config.group_id, %error, "offsets are not committed");
        }
        self.plan_commit();
    }

    fn plan_commit(&mut self) {
        let now = self.client.reactor().now();
        self.next_commit = self
            .config
            .auto_commit_interval
            .map(|interval| now + interval);
    }

    fn forget_membership(&mut self) {
        self.generation = None;
        self.member_id.clear();
    }

    async fn join_until_assigned(&mut self) -> Result<Assigned> {
        let timeout = self
            .client
            .config()
            .api_timeout
            .max(self.config.rebalance_timeout);
        let mut backoff = crate::backoff::Backoff::new(self.client.reactor(), timeout);
        loop {
            let error = match self.join().await {
                Ok(assigned) => return Ok(assigned),
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::MemberIdRequired) => continue,
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.forget_membership();
                }
                Some(ErrorCode::RebalanceInProgress) => self.generation = None,
                _ if error.is_retriable() => {}
                _ => return Err(error),
            }
            if !backoff.wait().await {
                return Err(error);
            }
        }
    }

    async fn join(&mut self) -> Result<Assigned> {
        let mut counts = BTreeMap::new();
        for topic in &self.topics {
            let known = self.client.refreshed_topic(topic, false).await?;
            counts.insert(topic.clone(), partition_count(&known));
        }
        let connection = self.client.coordinator(&self.config.group_id).await?;
        let joined = self.join_group(&connection).await?;
        let assignments = match joined.leader == joined.member_id {
            true => self.assign(&joined, counts).await?,
            false => Vec::new(),
        };
        let assigned = self.sync_group(&connection, &joined, assignments).await?;
        self.heard.news.set(None);
        let committed = self
            .client
            .fetch_committed_offsets(&self.config.group_id, &assigned)
            .await?;
        let heartbeats = heartbeats(
            self.client.clone(),
            self.config.clone(),
            self.member_id.clone(),
            joined.generation_id,
            self.heard.clone(),
        );
        let task = self.client.reactor().spawn(TaskQueue::Requests, heartbeats);
        self.generation = Some(Generation {
            id: joined.generation_id,
            _heartbeats: task,
        });
        Ok(committed)
    }

    async fn join_group(&mut self, connection: &crate::Connection) -> Result<JoinGroupResponse> {
        let version = connection.version::<JoinGroupRequest>()?;
        let subscription = ConsumerProtocolSubscription::default().with_topics(
            self.topics
                .iter()
                .map(|topic| StrBytes::from_string(topic.to_string()))
                .collect(),
        );
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(versioned(&subscription));
        let mut request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(self.config.session_timeout))
            .with_rebalance_timeout_ms(millis(self.config.rebalance_timeout))
            .with_member_id(StrBytes::from_string(self.member_id.clone()))
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        if version >= 5 {
            request.group_instance_id = self.instance_id();
        }
        let timeout = self.config.rebalance_timeout + JOIN_TIMEOUT_MARGIN;
        let response = connection.call_version(&request, version, timeout).await?;
        // With MEMBER_ID_REQUIRED comes the id to join with.
        if !response.member_id.is_empty() {
            self.member_id = response.member_id.to_string();
        }
        ClientError::check(
            || self.what("joining").to_string(),
            response.error_code,
            None,
        )?;
        Ok(response)
    }

    /// Deals out partitions, as the leader.
    async fn assign(
        &self,
        joined: &JoinGroupResponse,
        mut counts: BTreeMap<Rc<str>, i32>,
    ) -> Result<Vec<SyncGroupRequestAssignment>> {
        let mut members = BTreeMap::new();
        for member in &joined.members {
            let topics =
                subscribed_topics(member.metadata.clone()).ok_or_else(|| ClientError::Broker {
                    what: format!("the subscription of member {}", member.member_id.as_str())
                        .into(),
                    code: ErrorCode::InconsistentGroupProtocol,
                    message: None,
                })?;
            for topic in &topics {
                if !counts.contains_key(topic) {
                    // Others may subscribe to topics that this member does not, or that are gone.
                    let known = self.client.refreshed_topic(topic, false).await;
                    counts.insert(topic.clone(), known.as_ref().map_or(0, partition_count));
                }
            }
            members.insert(member.member_id.to_string(), topics);
        }
        let assignments = assign_ranges(&members, &counts);
        Ok(assignments
            .into_iter()
            .map(|(member, partitions)| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(StrBytes::from_string(member))
                    .with_assignment(versioned(&assignment(&partitions)))
            })
            .collect())
    }

    async fn sync_group(
        &self,
        connection: &crate::Connection,
        joined: &JoinGroupResponse,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<Vec<NamedPartition>> {
        let version = connection.version::<SyncGroupRequest>()?;
        let mut request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(assignments);
        if version >= 3 {
            request.group_instance_id = self.instance_id();
        }
        if version >= 5 {
            request.protocol_type = Some(StrBytes::from_static_str("consumer"));
            request.protocol_name = joined.protocol_name.clone();
        }
        let timeout = self.config.rebalance_timeout + JOIN_TIMEOUT_MARGIN;
        let response = connection.call_version(&request, version, timeout).await?;
        ClientError::check(
            || self.what("syncing").to_string(),
            response.error_code,
            None,
        )?;
        // A member that gets nothing may be given no bytes at all.
        Ok(decode_assignment(response.assignment).unwrap_or_default())
    }

    fn group_id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.config.group_id.clone()))
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.config
            .group_instance_id
            .clone()
            .map(StrBytes::from_string)
    }

    fn what(&self, doing: &str) -> Rc<str> {
        format!("{doing} in group {}", self.config.group_id).into()
    }
}

/// Says that the member lives, until there is news.
async fn heartbeats(
    client: Client,
    config: GroupConfig,
    member_id: String,
    generation_id: i32,
    heard: Rc<Heard>,
) {
    let reactor = client.reactor().clone();
    let mut last_answer = reactor.now();
    let news = loop {
        reactor.sleep(config.heartbeat_interval).await;
        let answer = heartbeat(&client, &config, &member_id, generation_id).await;
        let code = match answer {
            Ok(code) => ErrorCode::try_from_code(code),
            Err(_) if reactor.now() - last_answer > config.session_timeout => {
                break News::Forgotten;
            }
            Err(_) => continue,
        };
        last_answer = reactor.now();
        match code {
            None => {}
            Some(ErrorCode::RebalanceInProgress) => break News::Rebalance,
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                break News::Forgotten;
            }
            Some(code) if code.is_retriable() => {}
            Some(code) => break News::Fatal(code),
        }
    };
    heard.news.set(Some(news));
    heard.changed.notify_waiters();
}

async fn heartbeat(
    client: &Client,
    config: &GroupConfig,
    member_id: &str,
    generation_id: i32,
) -> Result<i16> {
    let connection = client.coordinator(&config.group_id).await?;
    let version = connection.version::<HeartbeatRequest>()?;
    let mut request = HeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(config.group_id.clone())))
        .with_generation_id(generation_id)
        .with_member_id(StrBytes::from_string(member_id.to_owned()));
    if version >= 3 {
        request.group_instance_id = config.group_instance_id.clone().map(StrBytes::from_string);
    }
    let timeout = connection.request_timeout();
    Ok(connection
        .call_version(&request, version, timeout)
        .await?
        .error_code)
}

/// A message of the consumer protocol: its version, then itself.
fn versioned(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(CONSUMER_PROTOCOL_VERSION);
    message
        .encode(&mut bytes, CONSUMER_PROTOCOL_VERSION)
        .expect("only fields of this version are set");
    bytes.freeze()
}

fn assignment(partitions: &[NamedPartition]) -> ConsumerProtocolAssignment {
    let mut topics: BTreeMap<&Rc<str>, Vec<i32>> = BTreeMap::new();
    for (topic, index) in partitions {
        topics.entry(topic).or_default().push(*index);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicPartition::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions)
    });
    ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect())
}

fn subscribed_topics(mut metadata: Bytes) -> Option<Vec<Rc<str>>> {
    if metadata.len() < 2 {
        return None;
    }
    let version = metadata
        .get_i16()
        .min(ConsumerProtocolSubscription::VERSIONS.max);
    let subscription = ConsumerProtocolSubscription::decode(&mut metadata, version).ok()?;
    let topics = subscription.topics.iter();
    Some(topics.map(|topic| topic.as_str().into()).collect())
}

fn partition_count(topic: &crate::metadata::TopicMetadata) -> i32 {
    i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
