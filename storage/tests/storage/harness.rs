//! What the tests share: stores and logs with small limits, batches, and reading everything.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use millstream_protocol::compression::Codec;
use millstream_protocol::record_batch::{BatchBuilder, BatchHeader, BatchView};
use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{Node, Simulation};
use millstream_storage::{
    AppendOrigin, Log, LogConfig, Recovery, ShardStore, StartState, StorageError, StoreConfig,
    finish_clean_shutdown,
};

pub const ROOT: &str = "/data";
pub const TOPIC: &str = "t";
pub const DIR: &str = "/data/t-0";
/// What the disk says when it fails, and when it is full.
pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;
pub const FIRST_LOG: &str = "/data/t-0/00000000000000000000.log";

/// A file of the segment with this base offset.
pub fn segment_file(base: i64, suffix: &str) -> String {
    format!("{DIR}/{base:020}.{suffix}")
}

pub fn topic_id() -> TopicId {
    // Kafka's Uuid.ONE_UUID.
    decode_id("AAAAAAAAAAAAAAAAAAAAAQ")
}

pub fn decode_id(text: &str) -> TopicId {
    millstream_storage::decode_id(text).expect("an id")
}

pub fn simulation(seed: u64) -> (Simulation, Node) {
    let simulation = Simulation::with_seed(seed);
    let node = simulation.add_node("broker");
    node.make_dir(ROOT);
    (simulation, node)
}

/// Runs a future on the node to its end.
pub fn run<T: 'static, F: Future<Output = T> + 'static>(
    node: &Node,
    work: impl FnOnce(Reactor) -> F,
) -> T {
    let reactor = node.reactor();
    node.run(work(reactor)).expect("the node does not crash")
}

pub fn small_store() -> StoreConfig {
    StoreConfig {
        tail_memory_bytes: 128 << 10,
        tail_memory_behind_bytes: 0,
        tail_buffer_bytes: 32 << 10,
        index_memory_bytes: 4 << 10,
        open_files: 3,
        ..StoreConfig::new(ROOT, 0)
    }
}

pub struct Opened {
    pub store: Rc<ShardStore>,
    pub start: StartState,
    pub log: Rc<Log>,
    pub recovery: Recovery,
}

pub async fn open(
    reactor: &Reactor,
    store: StoreConfig,
    config: LogConfig,
) -> Result<Opened, StorageError> {
    let start = StartState::take(reactor, &store.root).await?;
    let store = ShardStore::new(reactor.clone(), store, start.clone());
    let (log, recovery) = Log::open(&store, TOPIC, PartitionIndex(0), topic_id(), config).await?;
    Ok(Opened {
        store,
        start,
        log,
        recovery,
    })
}

/// Closes the store as a broker that stops. Whether that was clean.
pub async fn stop(reactor: &Reactor, opened: &Opened) -> bool {
    let closed = opened.store.close().await;
    finish_clean_shutdown(reactor, ROOT.as_ref(), &opened.start, &[closed], 7)
        .await
        .expect("the root can be written")
}

/// A batch of `count` records of `len` bytes each, none of them zero.
pub fn batch(count: usize, len: usize, timestamp: i64) -> Bytes {
    build(count, len, timestamp, None)
}

pub fn produced(count: usize, len: usize, producer: (i64, i16, i32)) -> Bytes {
    build(count, len, 1_000, Some(producer))
}

pub fn build(count: usize, len: usize, timestamp: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(ProducerId(id), epoch, sequence);
    }
    for record in 0..count {
        let fill = (timestamp as usize + record * 7 + len) % 255 + 1;
        builder.push(
            timestamp + record as i64,
            None,
            Some(&vec![fill as u8; len]),
            &[],
        );
    }
    builder.build().expect("not compressed")
}

/// What a batch of a client's looks like in the log.
pub fn stamped(batch: &[u8], base_offset: i64, epoch: i32) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

/// A batch in the log, as the test expects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub base_offset: i64,
    pub next_offset: i64,
    pub bytes: Vec<u8>,
}

/// The batches that are in the log, by what the test did.
#[derive(Debug, Default, Clone)]
pub struct Model {
    /// The offset that the first batch got.
    pub start: i64,
    pub batches: Vec<Kept>,
}

impl Model {
    pub fn end(&self) -> i64 {
        let last = self.batches.last();
        last.map_or(self.start, |batch| batch.next_offset)
    }

    pub fn truncate(&mut self, end: i64) {
        self.batches.retain(|batch| batch.next_offset <= end);
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_from(0)
    }

    /// All bytes from the batch that holds `offset` on.
    pub fn bytes_from(&self, offset: i64) -> Vec<u8> {
        let batches = self
            .batches
            .iter()
            .filter(|batch| batch.next_offset > offset);
        batches.flat_map(|batch| batch.bytes.clone()).collect()
    }

    pub fn add(&mut self, base_offset: Offset, bytes: Vec<u8>) {
        let header = BatchHeader::parse(&bytes).expect("a batch");
        self.batches.push(Kept {
            base_offset: base_offset.0,
            next_offset: header.next_offset().0,
            bytes,
        });
    }
}

/// Appends as a client and notes it in the model.
pub fn append(log: &Rc<Log>, model: &mut Model, epoch: i32, batch: &[u8]) {
    let appended = log
        .append(batch, LeaderEpoch(epoch), AppendOrigin::Client, 1_000)
        .expect("it can be appended");
    assert!(!appended.duplicate);
    assert_eq!(appended.base_offset.0, model.end());
    model.add(
        appended.base_offset,
        stamped(batch, appended.base_offset.0, epoch),
    );
    assert_eq!(appended.last_offset.0 + 1, model.end());
}

/// Everything from `from` to the end, read as a consumer that follows the answers does. The
/// answers hold whole batches.
pub async fn follow(reactor: &Reactor, log: &Log, from: i64, max_bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut offset = Offset(from);
    let upper = Offset(i64::MAX);
    loop {
        let plan = log
            .read(offset, max_bytes, upper, true)
            .await
            .expect("readable");
        if plan.is_empty() {
            assert_eq!(offset, log.log_end_offset(), "empty only at the end");
            return all;
        }
        let (first, next) = (plan.first_offset, plan.next_offset);
        let len = plan.len;
        let bytes = plan.load_contiguous(reactor).await.expect("readable");
        assert_eq!(bytes.len() as u64, len);
        let (count, last) = check_batches(&bytes);
        assert!(len <= max_bytes as u64 || count == 1, "{len} > {max_bytes}");
        assert_eq!(
            first,
            BatchHeader::parse(&bytes)
                .ok()
                .map(|header| header.base_offset)
        );
        assert!(first.expect("not empty") <= offset);
        assert_eq!(next, Some(last));
        assert!(last > offset, "the answer goes on");
        offset = last;
        all.extend_from_slice(&bytes);
    }
}

/// How many whole batches `bytes` are, and the offset after the last.
fn check_batches(bytes: &[u8]) -> (usize, Offset) {
    let (mut position, mut count, mut next) = (0, 0, Offset(0));
    while position < bytes.len() {
        let batch = BatchView::parse(&bytes[position..]).expect("a whole batch");
        batch.check_crc().expect("as it was written");
        position += batch.bytes().len();
        next = batch.header().next_offset();
        count += 1;
    }
    (count, next)
}

/// The index files of a segment that holds these batches, as Kafka makes them: an entry for each
/// batch that begins more than the interval behind the one before, with the largest timestamp so
/// far if that is news. A full segment ends with its largest timestamp.
fn indexes(base: i64, batches: &[&Kept], interval: u32, full: bool) -> (Vec<u8>, Vec<u8>) {
    let (mut offsets, mut times) = (Vec::new(), Vec::new());
    let (mut position, mut indexed) = (0u32, 0u32);
    let (mut largest, mut of_largest, mut told) = (-1, base, -1);
    for (index, batch) in batches.iter().enumerate() {
        let header = BatchHeader::parse(&batch.bytes).expect("a batch");
        let last = header.last_offset().0;
        if header.max_timestamp > largest {
            (largest, of_largest) = (header.max_timestamp, last);
        }
        let due = position - indexed > interval;
        if due {
            offsets.extend(((last - base) as u32).to_be_bytes());
            offsets.extend(position.to_be_bytes());
            indexed = position;
        }
        let ends = full && index + 1 == batches.len();
        if (due || ends) && largest > told {
            times.extend(largest.to_be_bytes());
            times.extend(((of_largest - base) as u32).to_be_bytes());
            told = largest;
        }
        position += batch.bytes.len() as u32;
    }
    (offsets, times)
}

/// The base offset of each segment in the folder, oldest first.
pub async fn bases_in_folder(reactor: &Reactor) -> Vec<i64> {
    let entries = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
    let base = |name: &str| name.strip_suffix(".log")?.parse().ok();
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let mut bases: Vec<i64> = files.filter_map(|file| base(&file.name)).collect();
    bases.sort_unstable();
    bases
}

/// The segments on the device hold these batches and nothing else, and their indexes are those
/// that the batches got when they were appended one after the other.
pub async fn check_segments(reactor: &Reactor, node: &Node, log: &Log, model: &Model) {
    let bases = log.segment_base_offsets();
    assert_eq!(bases_in_folder(reactor).await, bases);
    let interval = log.config().index_interval_bytes;
    for (index, &base) in bases.iter().enumerate() {
        let next = bases.get(index + 1).copied();
        let batches = model.batches.iter().filter(|batch| {
            batch.base_offset >= base && next.is_none_or(|next| batch.next_offset <= next)
        });
        let batches: Vec<&Kept> = batches.collect();
        let bytes: Vec<u8> = batches.iter().flat_map(|b| b.bytes.clone()).collect();
        let (offsets, times) = indexes(base, &batches, interval, next.is_some());
        for (suffix, expected) in [("log", bytes), ("index", offsets), ("timeindex", times)] {
            let path = format!("{DIR}/{base:020}.{suffix}");
            assert_eq!(node.read_durable(&path), Some(expected), "{path}");
        }
    }
}

/// The offsets of the snapshots of producers in the folder, in order.
pub async fn snapshots(reactor: &Reactor) -> Vec<i64> {
    let entries = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
    let offset = |name: &str| name.strip_suffix(".snapshot")?.parse().ok();
    let mut offsets: Vec<i64> = entries.iter().filter_map(|e| offset(&e.name)).collect();
    offsets.sort_unstable();
    offsets
}

/// A small generator, so that a case is its seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
