//! One partition's log on disk, byte for byte in Kafka's layout.
//!
//! A [`ShardStore`] holds what the logs of one shard share: memory for tails, open files, flushes
//! and checkpoints. A [`Log`] is one partition. Both live on one thread.

mod buffer_pool;
mod checkpoint_file;
mod cleaner;
mod closing;
mod config;
mod error;
mod file_cache;
mod flush_group;
mod housekeeping;
mod index_search;
mod leader_epoch_cache;
mod log;
mod maintenance;
pub mod offset_index;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod read_plan;
mod reader;
mod recovery;
mod recovery_checkpoint;
mod retention;
mod segment;
pub mod segment_dump;
mod segment_scan;
mod start_state;
mod store;
mod stored_batch;
mod tail;
mod tail_readers;
mod time_index;
mod time_lookup;
mod truncation;
mod writer;

pub use checkpoint_file::{
    CLEANER_OFFSET_FILE, CheckpointError, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE,
    OffsetCheckpoint, RECOVERY_POINT_FILE,
};
pub use config::{CleanerConfig, CleanupPolicy, ColdRead, Durability, LogConfig, StoreConfig};
pub use error::{AppendError, DeleteRecordsError, ReadError, StorageError};
pub use leader_epoch_cache::{EpochEntry, LeaderEpochCache};
pub use log::{AppendOrigin, Appended, Log};
pub use partition_metadata::{decode_id, encode_id};
pub use producer_state::{BatchMetadata, ProducerState, ProducerStates, REMEMBERED_BATCHES};
pub use read_plan::{FileRange, ReadPart, ReadPlan};
pub use recovery::Recovery;
pub use recovery_checkpoint::{CheckpointEntry, CheckpointPlace, LogName};
pub use start_state::{ClosedShard, StartState, finish_clean_shutdown};
pub use store::ShardStore;
pub use time_lookup::TimestampOffset;
