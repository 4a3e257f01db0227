//! A shard: one core, the partitions it owns, and the connections it accepted.
//!
//! Shards share nothing. A partition belongs to one shard, which alone touches its log and its
//! leader's state; everybody else asks it with a message.

mod descriptions;
mod heap;
mod image_follower;
mod messages;
mod metadata_requests;
mod partition;
mod peers;
mod requests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use futures::channel::oneshot;
use millstream_metadata::{Image, Topic};
use millstream_net::{Counters, Shutdown};
use millstream_protocol::compression::Decompressor;
use millstream_protocol::{ErrorCode, NodeId, PartitionIndex, ProducerId, TopicId, TopicPartition};
use millstream_reactor::{Notify, Reactor, Task};
use millstream_storage::ShardStore;

pub use messages::{
    ActiveProducer, DeleteRecordsPart, FetchPart, FetchRead, FetchResult, FoundOffset, Isolation,
    ListOffsetsPart, LogSize, OffsetQuery, ProduceFailure, ProducePart, ProduceResult, Produced,
    ProducersResult, ShardMessage, ShardReply, ShardRequest, WatchId,
};
pub use partition::Partition;
pub use peers::{PeerEnds, Peers, ShardId, mesh};

use crate::GROUP_METADATA_TOPIC;
use crate::config::{BrokerConfig, TopicConfig};
use crate::controller::ControllerHandle;
use crate::coordinator::CoordinatorShell;
use crate::fetch::FetchSessions;
use crate::log_levels::LogLevels;

/// Longest wait for this shard to see what the controller has done.
const IMAGE_WAIT: Duration = Duration::from_secs(5);

/// What a shard is made of.
pub struct ShardParts {
    /// Its core.
    pub reactor: Reactor,
    /// Its number.
    pub id: ShardId,
    /// The node's settings.
    pub config: Arc<BrokerConfig>,
    /// The way to the controller.
    pub controller: ControllerHandle,
    /// The logs of its partitions.
    pub store: Rc<ShardStore>,
    /// The ends of its mailboxes.
    pub peers: PeerEnds,
    /// How much the process logs.
    pub log_levels: LogLevels,
}

/// One shard.
pub struct Shard {
    reactor: Reactor,
    id: ShardId,
    /// As the node was started.
    start_config: Arc<BrokerConfig>,
    /// With what was changed since.
    config: RefCell<Arc<BrokerConfig>>,
    controller: ControllerHandle,
    store: Rc<ShardStore>,
    peers: Peers,
    image: RefCell<Arc<Image>>,
    image_changed: Notify,
    topic_configs: RefCell<AHashMap<TopicId, Rc<TopicConfig>>>,
    partitions: RefCell<AHashMap<TopicPartition, Rc<Partition>>>,
    /// Partitions whose logs could not be opened.
    broken: RefCell<AHashSet<TopicPartition>>,
    /// Those of them that are to be tried again, because the disk was full.
    without_room: RefCell<AHashSet<TopicPartition>>,
    /// Topics whose partitions are gone, while the image still has them.
    deleted: RefCell<AHashSet<TopicId>>,
    coordinators: RefCell<AHashMap<PartitionIndex, Rc<CoordinatorShell>>>,
    /// The topic of the groups and the number of partitions by which groups are dealt to them.
    group_partitions: Cell<Option<(TopicId, i32)>>,
    sessions: RefCell<FetchSessions>,
    /// Connections that each of this shard's listeners may have open.
    connection_limit: Rc<Cell<usize>>,
    counters: Rc<Counters>,
    log_levels: LogLevels,
    shutdown: Shutdown,
    watches: RefCell<AHashMap<WatchId, oneshot::Sender<()>>>,
    next_watch: Cell<u64>,
    decompressor: RefCell<Decompressor>,
    producer_ids: RefCell<VecDeque<ProducerId>>,
    /// What runs as long as the shard does.
    tasks: RefCell<Vec<Task<()>>>,
}

impl Shard {
    /// Makes the shard and starts to answer the other ones.
    pub fn start(parts: ShardParts) -> Rc<Shard> {
        let (peers, receivers) = Peers::new(&parts.reactor, parts.peers);
        let connection_limit = parts.config.max_connections.div_ceil(peers.count());
        let slots = parts.config.fetch_session_slots.div_ceil(peers.count());
        let shard = Rc::new(Shard {
            reactor: parts.reactor,
            id: parts.id,
            config: RefCell::new(parts.config.clone()),
            start_config: parts.config,
            controller: parts.controller,
            store: parts.store,
            peers,
            image: RefCell::default(),
            image_changed: Notify::new(),
            topic_configs: RefCell::default(),
            partitions: RefCell::default(),
            broken: RefCell::default(),
            without_room: RefCell::default(),
            deleted: RefCell::default(),
            coordinators: RefCell::default(),
            group_partitions: Cell::new(None),
            sessions: RefCell::new(FetchSessions::new(slots)),
            connection_limit: Rc::new(Cell::new(connection_limit)),
            counters: Rc::default(),
            log_levels: parts.log_levels,
            shutdown: Shutdown::new(),
            watches: RefCell::default(),
            next_watch: Cell::new(0),
            decompressor: RefCell::default(),
            producer_ids: RefCell::default(),
            tasks: RefCell::default(),
        });
        for (from, receiver) in receivers {
            shard.serve_peer(from, receiver);
        }
        shard
    }

    /// This shard's core.
    pub fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// This shard's number.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The node's settings, as they are now.
    pub fn config(&self) -> Arc<BrokerConfig> {
        self.config.borrow().clone()
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.start_config.node_id
    }

    /// The way to the controller.
    pub fn controller(&self) -> &ControllerHandle {
        &self.controller
    }

    /// The metadata as this shard knows it.
    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    /// The signal that this shard stops.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops taking connections; what waits is answered.
    pub fn begin_shutdown(&self) {
        self.shutdown.trigger();
        for coordinator in self.coordinators.borrow().values() {
            coordinator.unload(ErrorCode::CoordinatorNotAvailable);
        }
    }

    /// Ends what the shard does by itself; its logs are closed.
    pub fn end(&self) {
        self.tasks.borrow_mut().clear();
    }

    /// Connections that each of this shard's listeners may have open.
    pub fn connection_limit(&self) -> &Rc<Cell<usize>> {
        &self.connection_limit
    }

    /// What this shard's connections have done.
    pub fn counters(&self) -> &Rc<Counters> {
        &self.counters
    }

    /// How much the process logs.
    pub fn log_levels(&self) -> &LogLevels {
        &self.log_levels
    }

    /// The partitions that are open here.
    pub fn open_partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// The topic of each partition whose log could not be opened.
    pub fn broken_topics(&self) -> Vec<Arc<str>> {
        let (image, broken) = (self.image.borrow(), self.broken.borrow());
        let topics = broken.iter().filter_map(|id| image.topic(id.topic_id));
        topics.map(|topic| topic.name.clone()).collect()
    }

    /// The fetch sessions of this shard's connections.
    pub fn sessions(&self) -> &RefCell<FetchSessions> {
        &self.sessions
    }

    /// By how many partitions of `__consumer_offsets` groups are dealt to their coordinators; none
    /// before there are any. As in Kafka, partitions that are added count when the node starts
    /// again: until then every group keeps its coordinator.
    pub fn group_partitions(&self) -> Option<i32> {
        let image = self.image.borrow();
        let topic = image.topic_by_name(GROUP_METADATA_TOPIC)?;
        if let Some((id, count)) = self.group_partitions.get()
            && id == topic.id
        {
            return Some(count);
        }
        let count = i32::try_from(topic.partitions.len()).ok()?;
        self.group_partitions.set(Some((topic.id, count)));
        Some(count)
    }

    /// The settings of a topic; resolved once for each change.
    pub fn topic_config(&self, topic: &Topic) -> Rc<TopicConfig> {
        self.topic_config_in(&self.image.borrow(), topic)
    }

    fn topic_config_in(&self, image: &Image, topic: &Topic) -> Rc<TopicConfig> {
        if let Some(config) = self.topic_configs.borrow().get(&topic.id) {
            return config.clone();
        }
        let own = image.topic_configs(&topic.name);
        let own = |name: &str| own.get(name).map(String::as_str);
        let config = Rc::new(TopicConfig::resolve(&self.config.borrow().settings, own));
        self.topic_configs
            .borrow_mut()
            .insert(topic.id, config.clone());
        config
    }

    /// Lends the shard's decompressor, which keeps its buffers.
    pub fn with_decompressor<T>(&self, work: impl FnOnce(&mut Decompressor) -> T) -> T {
        work(&mut self.decompressor.borrow_mut())
    }

    /// Which shard owns a partition: see `docs/decisions/` on why this is computed.
    pub fn owner(&self, partition: TopicPartition) -> ShardId {
        owner_of(partition, self.peers.count())
    }
}

/// The partitions of a topic are dealt round, from a start that its id decides.
pub fn owner_of(partition: TopicPartition, shards: usize) -> ShardId {
    let (high, low) = partition.topic_id.0.as_u64_pair();
    let start = (high ^ low) % shards as u64;
    let index = u64::from(partition.partition.0.unsigned_abs());
    let shard = (start + index) % shards as u64;
    ShardId(usize::try_from(shard).expect("less than the number of shards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_of_a_topic_are_dealt_round() {
        let topic_id = TopicId(uuid::Uuid::from_u128(
            0x1234_5678_9abc_def0_0fed_cba9_8765_4321,
        ));
        let owners: Vec<_> = (0..6)
            .map(|p| {
                owner_of(
                    TopicPartition {
                        topic_id,
                        partition: PartitionIndex(p),
                    },
                    3,
                )
                .0
            })
            .collect();
        assert_eq!(owners[..3], owners[3..]);
        let mut first = owners[..3].to_vec();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2]);
    }
}
