//! skeleton
#![allow(clippy::todo, dead_code, unused_variables, missing_docs)] // Skeleton, replaced whole by its owner.

use std::path::Path;
use std::rc::Rc;

use millstream_reactor::{Notify, Reactor};

use crate::config::StoreConfig;
use crate::error::StorageError;
use crate::recovery_checkpoint::{CheckpointEntry, LogName};

/// What the last run left at the root of the folder. Taken once per process, before any log is
/// opened, and cloned to every shard.
#[derive(Debug, Clone)]
pub struct StartState {}

impl StartState {
    /// Reads and merges the checkpoints, and takes the clean-shutdown marker away.
    pub async fn take(reactor: &Reactor, root: &Path) -> Result<StartState, StorageError> {
        todo!()
    }
    /// Whether the last run ended with a clean stop.
    pub fn was_clean(&self) -> bool {
        todo!()
    }
    /// The broker epoch in the marker of a clean stop.
    pub fn clean_broker_epoch(&self) -> Option<i64> {
        todo!()
    }
}

/// Writes Kafka's checkpoint files and the clean-shutdown marker. Called once per process, with
/// what [`ShardStore::close`] of every shard returned.
pub async fn finish_clean_shutdown(
    reactor: &Reactor,
    root: &Path,
    closed: Vec<(LogName, CheckpointEntry)>,
    broker_epoch: i64,
) -> Result<(), StorageError> {
    todo!()
}

pub struct ShardStore {}

impl ShardStore {
    pub fn new(reactor: Reactor, config: StoreConfig, start: StartState) -> Rc<ShardStore> {
        todo!()
    }
    /// Fired when tail buffers become free: see [`crate::AppendError::NoRoom`].
    pub fn room(&self) -> Notify {
        todo!()
    }
    /// Makes a checkpoint now.
    pub async fn checkpoint(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }
    /// Closes all logs cleanly; what they had is for [`finish_clean_shutdown`].
    pub async fn close(self: &Rc<Self>) -> Result<Vec<(LogName, CheckpointEntry)>, StorageError> {
        todo!()
    }
}
