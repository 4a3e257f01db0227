//! skeleton
#![allow(clippy::todo, dead_code, unused_variables, missing_docs)] // Skeleton, replaced whole by its owner.

use std::rc::Rc;

use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use millstream_reactor::Notify;

use crate::config::LogConfig;
use crate::error::{AppendError, ReadError, StorageError};
use crate::leader_epoch_cache::EpochEntry;
use crate::read_plan::ReadPlan;
use crate::store::ShardStore;

/// Where a batch comes from, which decides what is checked and stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client: sequence numbers are checked, offset and epoch are stamped. Exactly one batch.
    Client,
    /// A leader: taken as it is.
    Replication,
    /// A coordinator on this node: producer epochs are checked, offset and epoch are stamped.
    Coordinator,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The broker's timestamp, or −1 if the records keep the client's.
    pub log_append_time: i64,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// Whether the batch was in the log already: then the offsets are those of the first time.
    pub duplicate: bool,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub created: bool,
    /// The high watermark of the last checkpoint, within the log's bounds.
    pub high_watermark: Offset,
    pub scanned_bytes: u64,
    pub truncated_bytes: u64,
}

pub struct Log {}

impl Log {
    pub async fn open(
        store: &Rc<ShardStore>,
        topic: &str,
        partition: PartitionIndex,
        topic_id: TopicId,
        config: LogConfig,
    ) -> Result<(Rc<Log>, Recovery), StorageError> {
        todo!()
    }
    /// Synchronous: on return the batch is in memory and on its way to the disk.
    pub fn append(
        self: &Rc<Self>,
        batches: &[u8],
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        todo!()
    }
    pub async fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        min_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        todo!()
    }
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        todo!()
    }
    pub async fn max_timestamp_offset(
        &self,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        todo!()
    }
    pub fn log_start_offset(&self) -> Offset {
        todo!()
    }
    pub fn log_end_offset(&self) -> Offset {
        todo!()
    }
    pub fn written_offset(&self) -> Offset {
        todo!()
    }
    pub fn flushed_offset(&self) -> Offset {
        todo!()
    }
    /// The end of what has reached the log's own durability.
    pub fn durable_offset(&self) -> Offset {
        todo!()
    }
    /// Fired when any of the offsets moves or the log goes offline.
    pub fn progress(&self) -> Notify {
        todo!()
    }
    pub fn offline(&self) -> Option<StorageError> {
        todo!()
    }
    pub fn size(&self) -> u64 {
        todo!()
    }
    pub fn config(&self) -> LogConfig {
        todo!()
    }
    pub fn set_config(&self, config: LogConfig) {
        todo!()
    }
    /// Remembered in checkpoints, and given back by the next open.
    pub fn set_high_watermark(&self, offset: Offset) {
        todo!()
    }
    /// The leader of a new epoch says so before its first append.
    pub fn assign_leader_epoch(self: &Rc<Self>, epoch: LeaderEpoch) {
        todo!()
    }
    pub fn leader_epochs(&self) -> Vec<EpochEntry> {
        todo!()
    }
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        todo!()
    }
    pub fn with_producer_states<R>(
        &self,
        look: impl FnOnce(&crate::producer_state::ProducerStates) -> R,
    ) -> R {
        todo!()
    }
    /// The log ends at the returned offset, which is below `offset` if that is within a batch.
    pub async fn truncate_to(self: &Rc<Self>, offset: Offset) -> Result<Offset, StorageError> {
        todo!()
    }
    /// Waits until all that was appended so far is flushed, whatever the durability.
    pub async fn flush(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }
    pub async fn close(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }
    pub async fn delete(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }
}
