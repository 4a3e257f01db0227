//! What shards say to each other.
//!
//! A connection stays on the shard that accepted it; what it wants of a partition goes to the
//! shard that owns the partition as a [`ShardRequest`], and comes back as a [`ShardReply`]. A
//! `slot` says which part of the client's request a part belongs to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_coordinator::{GroupRequest, GroupResponse, RequestContext};
use millstream_protocol::{
    ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicPartition,
};
use millstream_replication::Acks;
use millstream_storage::ReadPlan;

use crate::metrics::ShardMetrics;

/// Names a request between two shards, by the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);

/// Names a fetch that waits, by the shard of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatchId(pub u64);

/// What travels through the mailbox between two shards.
pub enum ShardMessage {
    /// Asks something of a shard.
    Request {
        /// Names the answer.
        id: CallId,
        /// The offset of the asker's metadata image: the shard asked answers from one that is no
        /// older, so that a partition which the asker knows is open when it is asked for.
        image_offset: u64,
        /// What is asked.
        request: ShardRequest,
    },
    /// Answers a request.
    Reply(CallId, ShardReply),
    /// A partition that a fetch watches has moved.
    Wake(WatchId),
}

/// What is asked of the owner of some partitions.
pub enum ShardRequest {
    /// Append a batch to each partition; wait so long for the acknowledgement.
    Produce(Acks, Duration, Vec<ProducePart>),
    /// Read from some partitions.
    Fetch(FetchRead),
    /// The fetch no longer waits.
    Unwatch(WatchId, Vec<TopicPartition>),
    /// Look up offsets.
    ListOffsets(Vec<ListOffsetsPart>),
    /// Forget records below an offset.
    DeleteRecords(Vec<DeleteRecordsPart>),
    /// A copy of the shard's counters.
    Metrics,
    /// Nothing; the answer says that the shard has the asker's metadata.
    CatchUp,
    /// A request for the group coordinator of a partition of `__consumer_offsets`.
    Group(PartitionIndex, Box<(RequestContext, GroupRequest)>),
    /// How large the logs of the shard are.
    LogSizes,
    /// Who has written to some partitions with a producer id.
    Producers(Vec<(usize, TopicPartition)>),
}

/// The answer to the request of the same name.
pub enum ShardReply {
    /// One result for each part, in any order.
    Produce(Vec<(usize, ProduceResult)>),
    /// One result for each part, in any order.
    Fetch(Vec<(usize, FetchResult)>),
    /// There is nothing to say.
    Done,
    /// One result for each part, in any order.
    ListOffsets(Vec<(usize, Result<FoundOffset, ErrorCode>)>),
    /// The log's first offset then, for each part, in any order.
    DeleteRecords(Vec<(usize, Result<Offset, ErrorCode>)>),
    /// The shard's counters.
    Metrics(Box<ShardMetrics>),
    /// The coordinator's answer.
    Group(Box<GroupResponse>),
    /// One for each log.
    LogSizes(Vec<LogSize>),
    /// One result for each part, in any order.
    Producers(Vec<(usize, ProducersResult)>),
}

/// How much the log of a partition takes on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSize {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// Bytes of all its batches.
    pub bytes: u64,
}

/// A producer that a partition knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of its last record; −1 when there is none.
    pub last_sequence: i32,
    /// The timestamp of its last append.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that last ended a transaction of it; −1 for none.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

/// The producers of one partition.
pub type ProducersResult = Result<Vec<ActiveProducer>, ErrorCode>;

/// A checked batch for one partition.
pub struct ProducePart {
    /// Which part of the client's request.
    pub slot: usize,
    /// Where it goes.
    pub partition: TopicPartition,
    /// The batch.
    pub batch: Bytes,
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// When the broker stamped it; −1 when the producer did.
    pub log_append_time_ms: i64,
    /// The log's first offset.
    pub log_start_offset: Offset,
}

/// Why a batch was not taken, or not kept as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceFailure {
    /// Kafka's code.
    pub error: ErrorCode,
    /// For people.
    pub message: Option<String>,
    /// Records that are to blame, by their index in the batch, with what is wrong with each.
    pub records: Vec<(i32, String)>,
}

/// What became of one batch.
pub type ProduceResult = Result<Produced, ProduceFailure>;

impl From<ErrorCode> for ProduceFailure {
    fn from(error: ErrorCode) -> ProduceFailure {
        ProduceFailure {
            error,
            message: None,
            records: Vec::new(),
        }
    }
}

/// Up to where a reader sees a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// A read of some partitions of one shard.
#[derive(Clone)]
pub struct FetchRead {
    /// Up to where the reader sees.
    pub isolation: Isolation,
    /// If together they give fewer than `min_bytes`, and none an error, the fetch is woken when one
    /// of the partitions moves.
    pub watch: Option<(WatchId, u64)>,
    /// What to read.
    pub parts: Vec<FetchPart>,
}

/// A read of one partition.
#[derive(Debug, Clone, Copy)]
pub struct FetchPart {
    /// Which part of the client's request.
    pub slot: usize,
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset wanted.
    pub fetch_offset: Offset,
    /// Most bytes.
    pub max_bytes: u64,
    /// Give one whole batch even if it is larger than that.
    pub at_least_one: bool,
    /// The leader's term as the client knows it; −1 for not checked.
    pub current_leader_epoch: i32,
    /// The term of the last record that the client has; −1 for not checked.
    pub last_fetched_epoch: i32,
}

/// What a read of one partition gave.
#[derive(Clone)]
pub struct FetchResult {
    /// Why it gave nothing.
    pub error: Option<ErrorCode>,
    /// The high watermark; −1 with an error.
    pub high_watermark: Offset,
    /// The last stable offset; −1 with an error.
    pub last_stable_offset: Offset,
    /// The log's first offset; −1 with an error.
    pub log_start_offset: Offset,
    /// The records.
    pub records: ReadPlan,
    /// Where the client's log and this one part: the epoch and its end here.
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

impl FetchResult {
    /// The result of a read that failed.
    pub fn failed(error: ErrorCode) -> FetchResult {
        FetchResult {
            error: Some(error),
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            records: ReadPlan::default(),
            diverging: None,
        }
    }
}

/// What offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The end of what the reader sees.
    Latest,
    /// The log's first offset.
    Earliest,
    /// The first record with the largest timestamp.
    MaxTimestamp,
    /// The first record with at least this timestamp.
    Timestamp(i64),
    /// The largest term up to this one, and where it ended.
    EndOfEpoch(LeaderEpoch),
    /// Where the records that are elsewhere end, or those begin that are to go there. None are.
    Tiered,
}

/// A look-up in one partition.
#[derive(Debug, Clone, Copy)]
pub struct ListOffsetsPart {
    /// Which part of the client's request.
    pub slot: usize,
    /// Which partition.
    pub partition: TopicPartition,
    /// What is asked.
    pub query: OffsetQuery,
    /// Up to where the reader sees.
    pub isolation: Isolation,
    /// The leader's term as the client knows it; −1 for not checked.
    pub current_leader_epoch: i32,
}

/// Records of one partition that are to be forgotten.
#[derive(Debug, Clone, Copy)]
pub struct DeleteRecordsPart {
    /// Which part of the client's request.
    pub slot: usize,
    /// Which partition.
    pub partition: TopicPartition,
    /// Those below this offset; −1 for all that consumers see.
    pub before: Offset,
}

/// An offset, and the timestamp and term of its record; −1 for what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The record's timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: Offset,
    /// The term in which it was written.
    pub leader_epoch: LeaderEpoch,
}

impl FoundOffset {
    /// There is no such record.
    pub const NONE: FoundOffset = FoundOffset {
        timestamp: -1,
        offset: Offset(-1),
        leader_epoch: LeaderEpoch::NONE,
    };
}
