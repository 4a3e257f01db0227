//! The topic that is loaded: made if it is not there, its leaders and offsets looked up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use millstream_client::{Connection, ConnectionConfig, resolve};
use millstream_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millstream_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::{
    CreateTopicsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    MetadataResponse, ProducerId, TopicName,
};
use millstream_protocol::{ErrorCode, StrBytes};
use millstream_reactor::Reactor;

use super::batch::Identity;
use super::options::Workload;
use super::plan::Plan;
use crate::failure::{Failure, accepted};

/// Versions that Kafka 2.1 and later have, and that name topics by name.
const CREATE_TOPICS_VERSION: i16 = 2;
const LIST_OFFSETS_VERSION: i16 = 2;
/// How often, and after what pauses, a new topic's leaders are looked for.
const LEADER_TRIES: u32 = 1000;
const LEADER_PAUSE: Duration = Duration::from_millis(10);
/// What ListOffsets is asked for.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// The topic, as the cores need to know it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its partitions by number.
    pub partitions: Vec<Place>,
    /// For each connection that produces, if producers are idempotent.
    pub identities: Vec<Identity>,
}

/// A partition and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its number.
    pub index: i32,
    /// Its leader's address.
    pub leader: SocketAddr,
    /// Its log's first offset.
    pub first: i64,
    /// The offset after its log's last one.
    pub end: i64,
}

/// Makes the topic if need be, and looks it up.
pub async fn prepare(
    reactor: &Reactor,
    address: SocketAddr,
    plan: &Plan,
) -> Result<Target, Failure> {
    let config = ConnectionConfig::default();
    let bootstrap = Connection::connect(reactor, address, &config).await?;
    let topic = &plan.options.topic;
    let found = metadata(&bootstrap, topic).await?;
    if code_of(&found) == ErrorCode::UnknownTopicOrPartition.code() {
        if plan.options.workload == Workload::Consume {
            return Err(Failure::Usage(format!("topic {topic:?} does not exist")));
        }
        create(&bootstrap, plan).await?;
    }
    let mut partitions = leaders(reactor, &bootstrap, topic).await?;
    let count = partitions.len();
    if plan
        .options
        .partitions
        .is_some_and(|wanted| usize::try_from(wanted) != Ok(count))
    {
        return Err(Failure::Usage(format!(
            "topic {topic:?} has {count} partitions, not {}",
            plan.partitions
        )));
    }
    let mut by_leader: BTreeMap<SocketAddr, Vec<&mut Place>> = BTreeMap::new();
    for place in &mut partitions {
        by_leader.entry(place.leader).or_default().push(place);
    }
    for (leader, mut places) in by_leader {
        let connection = Connection::connect(reactor, leader, &config).await?;
        offsets(reactor, &connection, topic, EARLIEST, &mut places).await?;
        offsets(reactor, &connection, topic, LATEST, &mut places).await?;
    }
    let mut identities = Vec::new();
    for _ in 0..if plan.options.idempotent {
        plan.producers
    } else {
        0
    } {
        identities.push(identity(reactor, &bootstrap).await?);
    }
    Ok(Target {
        partitions,
        identities,
    })
}

/// A topic's name as messages have it.
pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A request for the metadata of one topic.
pub fn metadata_request(topic: &str) -> MetadataRequest {
    let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(false)
}

async fn metadata(connection: &Connection, topic: &str) -> Result<MetadataResponse, Failure> {
    Ok(connection.call(&metadata_request(topic)).await?)
}

/// The topic's error; that of an unknown topic if the answer leaves it out.
fn code_of(answer: &MetadataResponse) -> i16 {
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    answer
        .topics
        .first()
        .map_or(unknown, |topic| topic.error_code)
}

/// Whether the same call may succeed a moment later.
fn is_retriable(code: i16) -> bool {
    ErrorCode::try_from_code(code).is_some_and(|error| error.is_retriable())
}

async fn create(connection: &Connection, plan: &Plan) -> Result<(), Failure> {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let configs = plan.options.topic_configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(name(&plan.options.topic))
        .with_num_partitions(plan.partitions)
        .with_replication_factor(plan.options.replication)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let timeout = connection.request_timeout();
    let answer = connection
        .call_version(&request, CREATE_TOPICS_VERSION, timeout)
        .await?;
    match answer.topics.first().map_or(0, |topic| topic.error_code) {
        // Somebody else was quicker.
        code if code == ErrorCode::TopicAlreadyExists.code() => Ok(()),
        code => accepted("creating the topic", code),
    }
}

/// The partitions with their leaders, which a new topic may take a moment to have.
async fn leaders(
    reactor: &Reactor,
    connection: &Connection,
    topic: &str,
) -> Result<Vec<Place>, Failure> {
    for _ in 0..LEADER_TRIES {
        let answer = metadata(connection, topic).await?;
        let code = code_of(&answer);
        if !is_retriable(code) {
            accepted("asking for metadata", code)?;
        }
        if code == 0
            && let Some(places) = places(&answer).await?
        {
            return Ok(places);
        }
        reactor.sleep(LEADER_PAUSE).await;
    }
    Err(Failure::Late {
        what: "a leader for each partition",
        within: LEADER_PAUSE * LEADER_TRIES,
    })
}

/// The partitions by number; none as long as one of them has no leader.
async fn places(answer: &MetadataResponse) -> Result<Option<Vec<Place>>, Failure> {
    let mut addresses = BTreeMap::new();
    for broker in &answer.brokers {
        let port = u16::try_from(broker.port).unwrap_or(0);
        let resolved = resolve(&broker.host, port).await?;
        addresses.insert(broker.node_id, resolved[0]);
    }
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let places: Option<Vec<Place>> = partitions
        .map(|partition| {
            let leader = *addresses.get(&partition.leader_id)?;
            (partition.error_code == 0).then_some(Place {
                index: partition.partition_index,
                leader,
                first: 0,
                end: 0,
            })
        })
        .collect();
    Ok(places
        .filter(|places| !places.is_empty())
        .map(|mut places| {
            places.sort_by_key(|place| place.index);
            places
        }))
}

/// Looks up the first offsets or the ends of some partitions of one leader.
async fn offsets(
    reactor: &Reactor,
    connection: &Connection,
    topic: &str,
    timestamp: i64,
    places: &mut [&mut Place],
) -> Result<(), Failure> {
    let wanted = places.iter().map(|place| {
        ListOffsetsPartition::default()
            .with_partition_index(place.index)
            .with_timestamp(timestamp)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(wanted.collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let timeout = connection.request_timeout();
    let mut code = 0;
    for _ in 0..LEADER_TRIES {
        let answer = connection
            .call_version(&request, LIST_OFFSETS_VERSION, timeout)
            .await?;
        let found: BTreeMap<i32, _> = answer
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| (partition.partition_index, partition))
            .collect();
        code = found
            .values()
            .map(|partition| partition.error_code)
            .find(|code| *code != 0)
            .unwrap_or(0);
        if code == 0 {
            for place in places.iter_mut() {
                let Some(partition) = found.get(&place.index) else {
                    let lacks = format!("it lacks partition {}", place.index);
                    return Err(Failure::malformed("the answer to ListOffsets", lacks));
                };
                match timestamp {
                    EARLIEST => place.first = partition.offset,
                    _ => place.end = partition.offset,
                }
            }
            return Ok(());
        }
        // A leader may not know yet that it is one.
        reactor.sleep(LEADER_PAUSE).await;
    }
    accepted("looking for the ends of the topic", code)
}

/// A producer's identity. A new cluster may take a moment to give any.
async fn identity(reactor: &Reactor, connection: &Connection) -> Result<Identity, Failure> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let mut answer = connection.call(&request).await?;
    for _ in 0..LEADER_TRIES {
        if !is_retriable(answer.error_code) {
            break;
        }
        reactor.sleep(LEADER_PAUSE).await;
        answer = connection.call(&request).await?;
    }
    accepted("asking for a producer id", answer.error_code)?;
    Ok(Identity {
        id: answer.producer_id.0,
        epoch: answer.producer_epoch,
    })
}
