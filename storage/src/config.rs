//! What decides how a log is cut into segments and how far its records must get: plain structs
//! that the broker fills from its settings.

use std::path::PathBuf;
use std::time::Duration;

/// How far a record must have got before it counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// On the device, its cache flushed (`fdatasync`): survives a crash of the machine.
    #[default]
    Fsync,
    /// Handed to the device: survives a crash of the process.
    Written,
    /// In memory; written soon after.
    Memory,
}

/// What happens to old records (`cleanup.policy`); with neither they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CleanupPolicy {
    /// Segments go by age and size.
    pub delete: bool,
    /// Of each key the last record is kept.
    pub compact: bool,
}

impl CleanupPolicy {
    /// Kafka's default.
    pub const DELETE: CleanupPolicy = CleanupPolicy {
        delete: true,
        compact: false,
    };
}

/// The settings of one log; may be replaced while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// A segment is closed before it grows beyond this (`segment.bytes`).
    pub segment_bytes: u32,
    /// A segment is closed when its first record is older than this (`segment.ms`).
    pub segment_ms: i64,
    /// At most this much is taken off `segment_ms`, at random for each segment.
    pub segment_jitter_ms: i64,
    /// The largest offset index; a full one closes the segment (`segment.index.bytes`).
    pub segment_index_bytes: u32,
    /// Bytes of the log between two entries of the offset index (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// The largest batch that the broker accepts; not enforced here.
    pub max_message_bytes: u32,
    /// How far records must have got to count as kept.
    pub durability: Durability,
    /// A producer that wrote nothing for this long is forgotten.
    pub producer_id_expiration_ms: i64,
    /// What happens to old records.
    pub cleanup: CleanupPolicy,
    /// A segment goes when its newest record is older than this (`retention.ms`); negative for
    /// never.
    pub retention_ms: i64,
    /// The oldest segments go while the others hold as much as this (`retention.bytes`); negative
    /// for never.
    pub retention_bytes: i64,
    /// How long the files of a segment stay after it has gone (`file.delete.delay.ms`).
    pub file_delete_delay: Duration,
    /// Compaction is due when more than this part of the bytes is dirty
    /// (`min.cleanable.dirty.ratio`).
    pub min_cleanable_dirty_ratio: f64,
    /// Records younger than this are not compacted (`min.compaction.lag.ms`).
    pub min_compaction_lag_ms: i64,
    /// Compaction is due when a record has waited for it longer than this
    /// (`max.compaction.lag.ms`).
    pub max_compaction_lag_ms: i64,
    /// How long compaction keeps tombstones after it first met them (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

impl LogConfig {
    /// A segment is closed in time for compaction, too.
    pub(crate) fn longest_segment_ms(&self) -> i64 {
        if self.cleanup.compact {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: (1 << 20) + 12,
            durability: Durability::Fsync,
            producer_id_expiration_ms: 24 * 3600 * 1000,
            cleanup: CleanupPolicy::DELETE,
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            file_delete_delay: Duration::from_secs(60),
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 3600 * 1000,
        }
    }
}

/// How cold data leaves the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColdRead {
    /// As `Direct` while the disk is being written to, as `Buffered` otherwise.
    #[default]
    Auto,
    /// Through the page cache, so that a range can be spliced from file to socket.
    Buffered,
    /// O_DIRECT, paced so that writes do not wait for it.
    Direct,
}

/// The settings of a shard's compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanerConfig {
    /// Whether logs are compacted at all (`log.cleaner.enable`).
    pub enabled: bool,
    /// The pause when no log is due (`log.cleaner.backoff.ms`).
    pub backoff: Duration,
    /// Bytes of memory for keys (`log.cleaner.dedupe.buffer.size`).
    pub dedupe_buffer_bytes: usize,
    /// Bytes that may be read and written in a second (`log.cleaner.io.max.bytes.per.second`).
    pub max_bytes_per_second: Option<u64>,
}

impl Default for CleanerConfig {
    fn default() -> CleanerConfig {
        CleanerConfig {
            enabled: true,
            backoff: Duration::from_secs(15),
            dedupe_buffer_bytes: 128 << 20,
            max_bytes_per_second: None,
        }
    }
}

/// The settings of a shard's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder that holds the partitions' folders.
    pub root: PathBuf,
    /// The shard; names its checkpoint file.
    pub shard: u32,
    /// Bytes of tail buffers, used and free, that the shard may hold.
    pub tail_memory_bytes: usize,
    /// What they may grow to, if that is more, while readers of the newest records are behind.
    pub tail_memory_behind_bytes: usize,
    /// The largest tail buffer, by default a huge page; a larger batch gets one of its own.
    pub tail_buffer_bytes: usize,
    /// Bytes of index files kept in memory.
    pub index_memory_bytes: usize,
    /// Files open for reading.
    pub open_files: usize,
    /// A checkpoint is made after this many bytes were appended in the shard.
    pub checkpoint_bytes: u64,
    /// A checkpoint is made this long after the first append that none covers.
    pub checkpoint_interval: Duration,
    /// How long after the first log was opened segments are first looked through for those to
    /// remove (`log.initial.task.delay.ms`).
    pub initial_task_delay: Duration,
    /// How often they are looked through (`log.retention.check.interval.ms`).
    pub retention_check_interval: Duration,
    /// How often producers are looked through for those to forget
    /// (`producer.id.expiration.check.interval.ms`).
    pub producer_check_interval: Duration,
    /// How logs are compacted.
    pub cleaner: CleanerConfig,
    /// How cold data leaves the disk.
    pub cold_read: ColdRead,
    /// Write with O_DIRECT. Off only where the file system cannot, and the user said so.
    pub direct_io: bool,
}

impl StoreConfig {
    /// Defaults for a shard of the store in `root`.
    pub fn new(root: impl Into<PathBuf>, shard: u32) -> StoreConfig {
        StoreConfig {
            root: root.into(),
            shard,
            tail_memory_bytes: 64 << 20,
            tail_memory_behind_bytes: 64 << 20,
            tail_buffer_bytes: 2 << 20,
            index_memory_bytes: 8 << 20,
            open_files: 256,
            checkpoint_bytes: 128 << 20,
            checkpoint_interval: Duration::from_secs(10),
            initial_task_delay: Duration::from_secs(30),
            retention_check_interval: Duration::from_secs(300),
            producer_check_interval: Duration::from_secs(600),
            cleaner: CleanerConfig::default(),
            cold_read: ColdRead::Auto,
            direct_io: true,
        }
    }
}
