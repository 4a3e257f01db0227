//! One partition's log on disk, byte for byte in Kafka's layout.
//!
//! A [`ShardStore`] holds what the logs of one shard share: memory for tails, open files, flushes
//! and checkpoints. A [`Log`] is one partition. Both live on one thread.

mod checkpoint_file;
mod config;
mod error;
mod leader_epoch_cache;
mod log;
mod offset_index;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod read_plan;
mod recovery_checkpoint;
mod store;
mod stored_batch;
mod time_index;

pub use checkpoint_file::{
    CheckpointError, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE, OffsetCheckpoint,
    RECOVERY_POINT_FILE,
};
pub use config::{ColdRead, Durability, LogConfig, StoreConfig};
pub use error::{AppendError, ReadError, StorageError};
pub use leader_epoch_cache::{EpochEntry, LeaderEpochCache};
pub use log::{AppendOrigin, Appended, Log, Recovery, TimestampOffset};
pub use partition_metadata::{decode_id, encode_id};
pub use producer_state::{BatchMetadata, ProducerState, ProducerStates};
pub use read_plan::{FileRange, ReadPart, ReadPlan};
pub use recovery_checkpoint::{CheckpointEntry, CheckpointPlace, LogName};
pub use store::{ShardStore, StartState, finish_clean_shutdown};
