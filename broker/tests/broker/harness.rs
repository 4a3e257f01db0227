//! A whole node in the simulator, with the shards, the controller, the disk and the network of a
//! real one, and a client that speaks the protocol in any version.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_broker::config::{BrokerConfig, Settings};
use millstream_broker::log_levels::LogLevels;
use millstream_broker::{BoundListener, Node, Supervisor};
use millstream_client::{Connection, ConnectionConfig};
use millstream_protocol::compression::Codec;
use millstream_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millstream_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millstream_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millstream_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millstream_protocol::messages::produce_response::PartitionProduceResponse;
use millstream_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, FetchResponse, FindCoordinatorRequest,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, ProduceRequest, TopicName,
};
use millstream_protocol::next_version::Newest;
use millstream_protocol::record_batch::{BatchBuilder, Batches};
use millstream_protocol::{Request, StrBytes, api};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, KeepUnsynced, Simulation, SimulationOptions};
use millstream_reactor::{Task, TaskQueue};
use uuid::Uuid;

const PORT: u16 = 9092;
/// Where the node tells of itself.
pub const METRICS_PORT: u16 = 9404;
const SHARDS: usize = 3;

/// A simulated cluster of one broker and one client machine.
pub struct Cluster {
    pub sim: Simulation,
    pub broker: millstream_reactor::sim::Node,
    client: millstream_reactor::sim::Node,
    settings: Vec<(String, String)>,
    running: Option<Running>,
    starts: u128,
}

struct Running {
    parts: Vec<Task<()>>,
    supervisor: Supervisor,
    failure: Rc<RefCell<Option<String>>>,
}

impl Cluster {
    /// A node with these settings besides the defaults, started.
    pub fn new(settings: &[(&str, &str)]) -> Cluster {
        Cluster::with_seed(1, settings)
    }

    pub fn with_seed(seed: u64, settings: &[(&str, &str)]) -> Cluster {
        let sim = Simulation::new(SimulationOptions {
            seed,
            ..SimulationOptions::default()
        });
        let (broker, client) = (sim.add_node("broker"), sim.add_node("client"));
        let settings = settings
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        let mut cluster = Cluster {
            sim,
            broker,
            client,
            settings,
            running: None,
            starts: 0,
        };
        cluster.start();
        cluster
    }

    /// Starts the node; it listens when this returns.
    pub fn start(&mut self) {
        self.try_start().expect("the node starts");
    }

    pub fn try_start(&mut self) -> Result<(), String> {
        let mut running = self.begin()?;
        let started = self.sim.block_on(running.supervisor.start());
        self.running = Some(running);
        started.map_err(|error| error.to_string())
    }

    /// Starts the node, which is told to stop meanwhile, and sees it stop.
    pub fn stop_while_it_starts(&mut self) {
        let mut running = self.begin().expect("the settings are good");
        running.supervisor.stop();
        self.sim
            .block_on(running.supervisor.start())
            .expect("the node starts");
        self.running = Some(running);
        self.stop();
    }

    /// The parts of the node, which run, and its supervisor, which does not yet.
    fn begin(&mut self) -> Result<Running, String> {
        let mut settings = Settings::default();
        let address = self.broker.address(PORT);
        let fixed = [
            ("log.dirs", "/data".to_owned()),
            ("listeners", format!("PLAINTEXT://{address}")),
        ];
        for (name, value) in &fixed {
            settings
                .take_pair(&format!("{name}={value}"))
                .map_err(|e| e.to_string())?;
        }
        for (name, value) in &self.settings {
            settings
                .take_pair(&format!("{name}={value}"))
                .map_err(|e| e.to_string())?;
        }
        let config = Arc::new(BrokerConfig::new(settings).map_err(|e| e.to_string())?);
        let listener = BoundListener {
            name: "PLAINTEXT".into(),
            address,
            advertised_host: address.ip().to_string(),
            advertised_port: PORT,
        };
        self.starts += 1;
        let node = Node::new(
            config,
            SHARDS,
            vec![listener],
            Some(SocketAddr::new(address.ip(), METRICS_PORT)),
            Uuid::from_u128(self.starts),
            LogLevels::unconnected(),
        );
        let mut parts = Vec::new();
        let failure = Rc::new(RefCell::new(None));
        let reactor = self.broker.reactor();
        let controller = node.controller.run(reactor.clone());
        let failed = failure.clone();
        parts.push(reactor.spawn(TaskQueue::Requests, async move {
            if let Err(error) = controller.await {
                *failed.borrow_mut() = Some(error.to_string());
            }
        }));
        for shard in node.shards {
            let reactor = self.broker.reactor();
            parts.push(reactor.spawn(TaskQueue::Requests, shard.run(reactor.clone())));
        }
        Ok(Running {
            parts,
            supervisor: node.supervisor,
            failure,
        })
    }

    /// Stops the node in good order.
    pub fn stop(&mut self) {
        let running = self.running.take().expect("the node runs");
        let mut supervisor = running.supervisor;
        supervisor.stop();
        self.sim
            .block_on(supervisor.finish())
            .expect("the node stops");
        for part in running.parts {
            self.sim.block_on(part);
        }
        assert_eq!(*running.failure.borrow(), None);
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Kills the node, whose disk forgets what was not flushed, and starts it again.
    pub fn crash_and_restart(&mut self, keep: KeepUnsynced) {
        self.broker.crash(CrashOptions::keep(keep));
        self.running = None;
        self.start();
    }

    /// Runs `test` on the client machine.
    pub fn run<T: 'static, F>(&self, test: impl FnOnce(Client) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        let reactor = self.client.reactor();
        let address = self.broker.address(PORT);
        let test = test(Client {
            reactor: reactor.clone(),
            address,
        });
        let task = reactor.spawn(TaskQueue::Requests, test);
        self.sim
            .block_on(task)
            .expect("the client machine does not crash")
    }
}

/// The client's side of a test.
#[derive(Clone)]
pub struct Client {
    pub reactor: Reactor,
    pub address: std::net::SocketAddr,
}

impl Client {
    pub async fn connect(&self) -> Connection {
        self.try_connect().await.expect("connected")
    }

    /// A connection, or why there is none.
    pub async fn try_connect(&self) -> millstream_client::Result<Connection> {
        let config = ConnectionConfig {
            request_timeout: Duration::from_secs(600),
            ..ConnectionConfig::default()
        };
        Connection::connect(&self.reactor, self.address, &config).await
    }
}

/// Sends `request` in `version`.
pub async fn call<R: Request>(connection: &Connection, version: i16, request: &R) -> R::Response {
    let timeout = connection.request_timeout();
    connection
        .call_version(request, version, timeout)
        .await
        .expect("answered")
}

/// The newest version of an API that the broker serves.
pub fn newest(key: ApiKey) -> i16 {
    api::find(key as i16).expect("served").max_version
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Creates a topic; its id.
pub async fn create_topic(
    connection: &Connection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Uuid {
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let answer = call(connection, newest(ApiKey::CreateTopics), &request).await;
    assert_eq!(
        answer.topics[0].error_code, 0,
        "{:?}",
        answer.topics[0].error_message
    );
    answer.topics[0].topic_id
}

/// The metadata of the topics named, or of all; versions before 4 make those that are not there.
pub async fn metadata(
    connection: &Connection,
    version: i16,
    names: Option<&[&str]>,
) -> MetadataResponse {
    let topics = names.map(|names| {
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        names.iter().map(topic).collect()
    });
    let request = MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(version < 4);
    call(connection, version, &request).await
}

/// A batch of records with these values and no keys.
pub fn batch(values: &[&str]) -> Bytes {
    builder(values).build().expect("not compressed")
}

pub fn builder(values: &[&str]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(Codec::None);
    for value in values {
        batch.push(NOW_MS, None, Some(value.as_bytes()), &[]);
    }
    batch
}

/// A time that the simulated clock is near enough to.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// A produce request for one partition, in the shape of version 3 to 12.
pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// Produces to one partition with acks=all, in version 9.
pub async fn produce(
    connection: &Connection,
    topic: &str,
    partition: i32,
    records: Bytes,
) -> PartitionProduceResponse {
    let request = produce_request(topic, partition, -1, records);
    let answer = call(connection, 9, &request).await;
    answer.responses[0].partition_responses[0].clone()
}

/// A fetch of one partition without a session, in the shape of version 4 to 12.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![wanted]);
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// What a time, or one of Kafka's negative ones, leads to in the first partition of topic `t`.
pub async fn list_offset(connection: &Connection, timestamp: i64) -> ListOffsetsPartitionResponse {
    list_offset_in(connection, 0, timestamp, -1).await
}

/// The same in another partition, for a client that knows this leader epoch.
pub async fn list_offset_in(
    connection: &Connection,
    partition: i32,
    timestamp: i64,
    leader_epoch: i32,
) -> ListOffsetsPartitionResponse {
    list_offset_as_of(connection, 7, partition, timestamp, leader_epoch).await
}

/// The same in a version of one's choice.
pub async fn list_offset_as_of(
    connection: &Connection,
    version: i16,
    partition: i32,
    timestamp: i64,
    leader_epoch: i32,
) -> ListOffsetsPartitionResponse {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(leader_epoch)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let Newest(answer) = call(connection, version, &Newest(request)).await;
    answer.topics[0].partitions[0].clone()
}

/// The values of all records in the first partition of an answer, with their offsets.
pub fn values(answer: &FetchResponse) -> Vec<(i64, String)> {
    let partition = &answer.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0, "{partition:?}");
    records(partition.records.as_ref().map_or(&[], |bytes| bytes))
}

/// The records of some batches: offsets and values.
pub fn records(bytes: &[u8]) -> Vec<(i64, String)> {
    let mut decompressor = millstream_protocol::compression::Decompressor::default();
    let mut found = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch.expect("a whole batch");
        batch.check_crc().expect("an intact batch");
        for record in batch.records(&mut decompressor, 1 << 30).expect("records") {
            let record = record.expect("a record");
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            found.push((record.offset.0, value.into_owned()));
        }
    }
    found
}

/// Asks for a group's coordinator, which makes the topic of the groups if it is not there.
pub async fn find_coordinator(connection: &Connection, group: &str) {
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    let answer = call(connection, newest(ApiKey::FindCoordinator), &request).await;
    assert_eq!(answer.coordinators[0].error_code, 0);
}
