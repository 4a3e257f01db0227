//! A whole node: the controller and the shards, started and stopped in order.
//!
//! Start: the data folder is locked; the controller replays its log; each shard opens its
//! partitions; the broker registers; then, and only then, the shards listen. Stop: no new
//! connections, requests under way are answered, logs are closed, the clean-shutdown marker is
//! written. Everything here runs on either backend; threads are the caller's business.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{join_all, select};
use futures::{SinkExt, StreamExt};
use millstream_controller::{ApiError, ControllerSettings, InternalTopicSettings, SnapshotPolicy};
use millstream_metadata::{Endpoint, SecurityProtocol};
use millstream_net::{Acceptor, AcceptorOptions, ConnectionOptions, MemoryBudget};
use millstream_reactor::uring::terminate_signal;
use millstream_reactor::{Reactor, Task, TaskQueue};
use millstream_storage::{
    ClosedShard, ShardStore, StartState, StorageError, StoreConfig, finish_clean_shutdown,
};
use thiserror::Error;
use uuid::Uuid;

use crate::GROUP_METADATA_TOPIC;
use crate::config::{BrokerConfig, SettingRules};
use crate::controller::{
    ControllerError, ControllerHandle, ControllerInbox, ImageReceiver, PublicationSender, channels,
    run_controller,
};
use crate::data_folder::{DataFolder, DataFolderError};
use crate::disk_reserve::DiskReserve;
use crate::handlers::{Connection, ConnectionHandler, SUPPORTED_FEATURES};
use crate::log_levels::LogLevels;
use crate::metrics::{Readiness, serve_metrics};
use crate::shard::{PeerEnds, Shard, ShardId, ShardParts, mesh};
use crate::shard_memory::ShardMemory;

/// The folder of the metadata log, as in Kafka.
const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// How long requests under way may take when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a start for which the disk has no room waits before it is tried again.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);
/// Requests of one connection that may be under way.
const MAX_IN_FLIGHT: usize = 128;

/// Why a node could not start, or stopped.
#[derive(Debug, Error)]
pub enum NodeError {
    /// Its data folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// Its controller failed.
    #[error("the controller failed: {0}")]
    Controller(#[from] ControllerError),
    /// The controller refused the broker.
    #[error("the broker could not register: {0}")]
    Registration(#[from] ApiError),
    /// Its storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It cannot listen.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// A part of the node ended before it should.
    #[error("a part of the node has stopped; the log says why")]
    PartStopped,
}

/// A listener with the address it is bound to.
#[derive(Debug, Clone)]
pub struct BoundListener {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What clients are told.
    pub advertised_host: String,
    /// What clients are told.
    pub advertised_port: u16,
}

/// What the controller's reactor runs.
pub struct ControllerStart {
    config: Arc<BrokerConfig>,
    inbox: ControllerInbox,
    publications: Vec<PublicationSender>,
    ready: oneshot::Sender<Result<Ready, NodeError>>,
    closed: oneshot::Receiver<Closed>,
}

/// What the shards leave when their logs are closed.
struct Closed {
    shards: Vec<ClosedShard>,
    broker_epoch: i64,
}

/// What the shards need to know of the data folder.
struct Ready {
    cluster_id: String,
    start: StartState,
}

/// What a shard's reactor runs.
pub struct ShardStart {
    config: Arc<BrokerConfig>,
    id: ShardId,
    listeners: Vec<BoundListener>,
    /// Where the first shard serves metrics.
    metrics: Option<SocketAddr>,
    controller: ControllerHandle,
    log_levels: LogLevels,
    images: ImageReceiver,
    peers: PeerEnds,
    start: oneshot::Receiver<StartState>,
    steps: mpsc::Sender<Step>,
    listen: oneshot::Receiver<()>,
    stop: oneshot::Receiver<()>,
    close: oneshot::Receiver<()>,
}

/// How far a shard has come.
enum Step {
    Opened,
    Listening,
    Stopping,
    Drained,
    Closed(ClosedShard),
    Failed(NodeError),
}

/// How many shards have come how far. They do not wait for one another: when told to stop, one
/// may be drained before another one listens.
#[derive(Default)]
struct Reached {
    opened: usize,
    listening: usize,
    stopping: usize,
    drained: usize,
    closed: Vec<ClosedShard>,
}

/// The parts of a node before they run, one for the controller's reactor, one for each shard's,
/// and the supervisor that brings them up and down.
pub struct Node {
    /// For the controller's reactor.
    pub controller: ControllerStart,
    /// For each shard's reactor.
    pub shards: Vec<ShardStart>,
    /// For the thread that waits for the node.
    pub supervisor: Supervisor,
}

/// Brings the parts of a node up and down in order.
pub struct Supervisor {
    config: Arc<BrokerConfig>,
    listeners: Vec<BoundListener>,
    incarnation_id: Uuid,
    controller: Option<ControllerHandle>,
    ready: oneshot::Receiver<Result<Ready, NodeError>>,
    starts: Vec<oneshot::Sender<StartState>>,
    listens: Vec<oneshot::Sender<()>>,
    stops: Vec<oneshot::Sender<()>>,
    closes: Vec<oneshot::Sender<()>>,
    steps: mpsc::Receiver<Step>,
    reached: Reached,
    closed: oneshot::Sender<Closed>,
    broker_epoch: i64,
}

impl Node {
    /// The parts of a node of so many shards, which tells of itself at `metrics`.
    /// `incarnation_id` is random; `log_levels` are those of the process.
    pub fn new(
        config: Arc<BrokerConfig>,
        shards: usize,
        listeners: Vec<BoundListener>,
        metrics: Option<SocketAddr>,
        incarnation_id: Uuid,
        log_levels: LogLevels,
    ) -> Node {
        let (handle, inbox, publications, images) = channels(shards);
        let (ready_sender, ready) = oneshot::channel();
        let (closed_sender, closed) = oneshot::channel();
        let (step_sender, steps) = mpsc::channel(shards * 4);
        let mut supervisor = Supervisor {
            config: config.clone(),
            listeners: listeners.clone(),
            incarnation_id,
            controller: Some(handle.clone()),
            ready,
            starts: Vec::new(),
            listens: Vec::new(),
            stops: Vec::new(),
            closes: Vec::new(),
            steps,
            reached: Reached::default(),
            closed: closed_sender,
            broker_epoch: -1,
        };
        let mut parts = Vec::with_capacity(shards);
        for (id, (peers, images)) in mesh(shards).into_iter().zip(images).enumerate() {
            let (start_sender, start) = oneshot::channel();
            let (listen_sender, listen) = oneshot::channel();
            let (stop_sender, stop) = oneshot::channel();
            let (close_sender, close) = oneshot::channel();
            supervisor.starts.push(start_sender);
            supervisor.listens.push(listen_sender);
            supervisor.stops.push(stop_sender);
            supervisor.closes.push(close_sender);
            parts.push(ShardStart {
                config: config.clone(),
                id: ShardId(id),
                metrics: metrics.filter(|_| id == 0),
                listeners: listeners.clone(),
                controller: handle.clone(),
                log_levels: log_levels.clone(),
                images,
                peers,
                start,
                steps: step_sender.clone(),
                listen,
                stop,
                close,
            });
        }
        let controller = ControllerStart {
            config,
            inbox,
            publications,
            ready: ready_sender,
            closed,
        };
        Node {
            controller,
            shards: parts,
            supervisor,
        }
    }
}

impl Supervisor {
    /// Brings the node up; when this returns, it listens.
    pub async fn start(&mut self) -> Result<(), NodeError> {
        let ready = (&mut self.ready)
            .await
            .map_err(|_| NodeError::PartStopped)??;
        for start in self.starts.drain(..) {
            let _ = start.send(ready.start.clone());
        }
        let shards = self.stops.len();
        self.until(|reached| reached.opened == shards).await?;
        let controller = self.controller.as_ref().ok_or(NodeError::PartStopped)?;
        let endpoints = self.listeners.iter().map(|listener| Endpoint {
            listener: listener.name.clone(),
            host: listener.advertised_host.clone(),
            port: listener.advertised_port,
            security_protocol: SecurityProtocol::Plaintext,
        });
        let node_id = self.config.node_id;
        let epoch = controller
            .register_broker(
                node_id,
                ready.cluster_id,
                self.incarnation_id,
                endpoints.collect(),
                self.config.rack.clone(),
            )
            .await?;
        // The epoch is the place of the registration in the metadata log; the image that the
        // shards have reached is at least that far when they listen.
        let caught_up = u64::try_from(epoch).unwrap_or(0);
        controller
            .heartbeat(node_id, epoch, caught_up, false)
            .await?;
        self.broker_epoch = epoch;
        for listen in self.listens.drain(..) {
            let _ = listen.send(());
        }
        self.until(|reached| reached.listening == shards).await
    }

    /// Waits until a shard begins to stop, which [`Supervisor::stop`] or a signal makes it do.
    pub async fn stopping(&mut self) -> Result<(), NodeError> {
        self.until(|reached| reached.stopping > 0).await
    }

    /// Waits until every shard has stopped listening, which [`Supervisor::stop`] or a signal makes
    /// them do; then the logs are closed, and the controller last.
    pub async fn finish(mut self) -> Result<(), NodeError> {
        let shards = self.stops.len();
        self.until(|reached| reached.drained == shards).await?;
        for close in self.closes.drain(..) {
            let _ = close.send(());
        }
        self.until(|reached| reached.closed.len() == shards).await?;
        let closed = Closed {
            shards: self.reached.closed,
            broker_epoch: self.broker_epoch,
        };
        self.closed.send(closed).map_err(|_| NodeError::PartStopped)
    }

    /// Asks the shards to stop.
    pub fn stop(&mut self) {
        for stop in &mut self.stops {
            let (unused, _) = oneshot::channel();
            let _ = std::mem::replace(stop, unused).send(());
        }
    }

    /// Waits until the shards have come so far.
    async fn until(&mut self, far_enough: impl Fn(&Reached) -> bool) -> Result<(), NodeError> {
        while !far_enough(&self.reached) {
            let reached = &mut self.reached;
            match self.steps.next().await {
                Some(Step::Opened) => reached.opened += 1,
                Some(Step::Listening) => reached.listening += 1,
                Some(Step::Stopping) => reached.stopping += 1,
                Some(Step::Drained) => reached.drained += 1,
                Some(Step::Closed(closed)) => reached.closed.push(closed),
                Some(Step::Failed(error)) => return Err(error),
                None => return Err(NodeError::PartStopped),
            }
        }
        Ok(())
    }
}

impl ControllerStart {
    /// Runs the controller until the node stops. The data folder is locked meanwhile.
    pub async fn run(self, reactor: Reactor) -> Result<(), NodeError> {
        let config = self.config;
        let prepared = prepare(&reactor, &config).await;
        let (folder, start) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // The supervisor is told, and tells the user.
                let _ = self.ready.send(Err(error));
                return Ok(());
            }
        };
        let settings = controller_settings(&config, &folder);
        let rules = Box::new(SettingRules {
            config: config.clone(),
        });
        let cluster_id = folder.cluster_id.clone();
        let found = start.clone();
        let _ = self.ready.send(Ok(Ready { cluster_id, start }));
        let metadata = config.log_dir.join(METADATA_FOLDER);
        run_controller(
            reactor.clone(),
            &metadata,
            settings,
            rules,
            self.inbox,
            self.publications,
        )
        .await?;
        if let Ok(Closed {
            shards,
            broker_epoch,
        }) = self.closed.await
        {
            let root = &config.log_dir;
            let mut reserve = DiskReserve::open(&reactor.fs(), root).await;
            while let Err(error) =
                finish_clean_shutdown(&reactor, root, &found, &shards, broker_epoch).await
            {
                if !error.is_full() || !reserve.give().await {
                    return Err(error.into());
                }
            }
        }
        drop(folder.lock);
        Ok(())
    }
}

async fn prepare(
    reactor: &Reactor,
    config: &BrokerConfig,
) -> Result<(DataFolder, StartState), NodeError> {
    let folder = DataFolder::open(reactor, &config.log_dir, config.node_id).await?;
    let mut reserve = DiskReserve::open(&reactor.fs(), &config.log_dir).await;
    let mut told = false;
    loop {
        match StartState::take(reactor, &config.log_dir).await {
            Ok(start) => return Ok((folder, start)),
            Err(error) if error.is_full() => {
                if reserve.give().await {
                    continue;
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::error!("the start waits until there is room: {error}");
                }
                reactor.sleep(FULL_DISK_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn controller_settings(config: &BrokerConfig, folder: &DataFolder) -> ControllerSettings {
    let offsets = InternalTopicSettings::consumer_offsets(
        config.offsets_topic_partitions,
        config.offsets_topic_replication_factor,
        config.settings.number("offsets.topic.segment.bytes"),
    );
    let features = SUPPORTED_FEATURES
        .iter()
        .map(|(name, _, max)| ((*name).to_owned(), *max));
    ControllerSettings {
        node_id: config.node_id,
        voters: vec![config.node_id],
        cluster_id: folder.cluster_id.clone(),
        directory_id: folder.directory_id,
        features: features.collect(),
        default_partitions: config.num_partitions,
        default_replication_factor: config.default_replication_factor,
        delete_topic_enable: config.delete_topic_enable,
        internal_topics: BTreeMap::from([(GROUP_METADATA_TOPIC.to_owned(), offsets)]),
        snapshots: SnapshotPolicy::default(),
    }
}

impl ShardStart {
    /// Runs the shard until the node stops.
    pub async fn run(self, reactor: Reactor) {
        let mut steps = self.steps.clone();
        if let Err(error) = self.run_or_fail(reactor).await {
            // Without a supervisor there is nobody to tell.
            let _ = steps.send(Step::Failed(error)).await;
        }
    }

    async fn run_or_fail(mut self, reactor: Reactor) -> Result<(), NodeError> {
        let cleaner = self.config.cleaner(self.peers.shard_count());
        let start = self.start.await.map_err(|_| NodeError::PartStopped)?;
        let memory = ShardMemory::new(&self.config, self.peers.shard_count());
        let number = u32::try_from(self.id.0).expect("shards are counted in cores");
        let settings = &self.config.settings;
        let millis = |name: &str| Duration::from_millis(settings.number(name));
        let store_config = StoreConfig {
            tail_memory_bytes: memory.tails,
            tail_memory_behind_bytes: memory.tails_behind,
            direct_io: self.config.direct_io,
            initial_task_delay: millis("log.initial.task.delay.ms"),
            retention_check_interval: millis("log.retention.check.interval.ms"),
            producer_check_interval: millis("producer.id.expiration.check.interval.ms"),
            cleaner,
            ..StoreConfig::new(self.config.log_dir.clone(), number)
        };
        let store = ShardStore::new(reactor.clone(), store_config, start);
        let shard = Shard::start(ShardParts {
            reactor: reactor.clone(),
            id: self.id,
            config: self.config.clone(),
            controller: self.controller,
            store: store.clone(),
            peers: self.peers,
            log_levels: self.log_levels,
        });
        let readiness = Readiness::default();
        let _metrics = match self.metrics {
            Some(address) => Some(start_metrics(&shard, address, &readiness).await?),
            None => None,
        };
        shard.follow_images(self.images).await;
        shard.watch_heap();
        let _ = self.steps.send(Step::Opened).await;
        self.listen.await.map_err(|_| NodeError::PartStopped)?;
        let node_id = self.config.node_id;
        let let_in = |image: &millstream_metadata::Image| {
            image.broker(node_id).is_some_and(|broker| !broker.fenced)
        };
        shard.wait_for_image(let_in).await;

        let shutdown = shard.shutdown().clone();
        let budget = MemoryBudget::new(memory.requests);
        let mut accepting = Vec::new();
        for listener in &self.listeners {
            let address = listener.address;
            let socket = reactor
                .listen(address)
                .await
                .map_err(|cause| NodeError::Listen { address, cause })?;
            let options = acceptor_options(&self.config, shard.connection_limit(), memory.requests);
            let acceptor = Acceptor::new(
                reactor.clone(),
                options,
                budget.clone(),
                shard.counters().clone(),
                shutdown.clone(),
            );
            let name: Rc<str> = listener.name.as_str().into();
            let shard = shard.clone();
            accepting.push(reactor.spawn(TaskQueue::Requests, async move {
                let handler = |peer, _| {
                    let connection = Connection {
                        listener: name.clone(),
                        peer,
                    };
                    ConnectionHandler::new(shard.clone(), connection)
                };
                acceptor.run(socket, handler).await;
            }));
        }
        readiness.set(true);
        let _ = self.steps.send(Step::Listening).await;
        let signal = Box::pin(terminate_signal(&reactor));
        select(signal, self.stop).await;
        readiness.set(false);
        let _ = self.steps.send(Step::Stopping).await;
        shard.begin_shutdown();
        join_all(accepting).await;
        let _ = self.steps.send(Step::Drained).await;
        let _ = self.close.await;
        let closed = store.close().await;
        shard.end();
        let _ = self.steps.send(Step::Closed(closed)).await;
        Ok(())
    }
}

async fn start_metrics(
    shard: &Rc<Shard>,
    address: SocketAddr,
    readiness: &Readiness,
) -> Result<Task<()>, NodeError> {
    let reactor = shard.reactor();
    let listener = reactor
        .listen(address)
        .await
        .map_err(|cause| NodeError::Listen { address, cause })?;
    let serve = serve_metrics(shard.clone(), listener, readiness.clone());
    Ok(reactor.spawn(TaskQueue::Requests, serve))
}

fn acceptor_options(
    config: &BrokerConfig,
    connection_limit: &Rc<Cell<usize>>,
    memory: usize,
) -> AcceptorOptions {
    AcceptorOptions {
        max_connections: connection_limit.clone(),
        connection: ConnectionOptions {
            max_frame_bytes: config.socket_request_max_bytes,
            max_in_flight: MAX_IN_FLIGHT,
            max_in_flight_bytes: memory / 4,
            max_idle: config.connections_max_idle.unwrap_or(Duration::MAX),
            drain_timeout: DRAIN_TIMEOUT,
            slow_request: config.slow_request.unwrap_or(Duration::MAX),
        },
    }
}
