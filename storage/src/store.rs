//! What the logs of one shard share: memory for tails, open files, flushes, checkpoints.
//!
//! Checkpoints are made by a task that runs while something was appended that none covers, every
//! [`StoreConfig::checkpoint_interval`], or sooner by bytes and when a segment is full. The same
//! task lets logs rest that nobody appended to for a whole interval.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use futures::future::select;
use futures::stream::StreamExt;
use millstream_protocol::{PartitionIndex, TopicId};
use millstream_reactor::{File, FileSystem, Notify, OpenOptions, Reactor, TailBuffer, TaskQueue};

use crate::buffer_pool::BufferPool;
use crate::checkpoint_file::OffsetCheckpoint;
use crate::config::{CleanerConfig, LogConfig, StoreConfig};
use crate::error::StorageError;
use crate::file_cache::{FileCache, IndexCache};
use crate::flush_group::FlushGroup;
use crate::log::Log;
use crate::maintenance::{Exclusive, Spare};
use crate::recovery_checkpoint::{self, CheckpointEntries, CheckpointEntry, LogName};
use crate::start_state::{ClosedShard, StartState};

/// Logs whose checkpoints are under way at once.
const CHECKPOINTS_AT_ONCE: usize = 16;
/// When memory is short, this part of the budget is freed at once.
const EVICTION_PART: usize = 8;

/// What the logs of one shard share.
pub struct ShardStore {
    pub(crate) reactor: Reactor,
    pub(crate) config: StoreConfig,
    pub(crate) flushes: FlushGroup,
    pub(crate) read_files: RefCell<FileCache>,
    /// The same, opened with O_DIRECT.
    pub(crate) direct_files: RefCell<FileCache>,
    pub(crate) indexes: RefCell<IndexCache>,
    pub(crate) room: Notify,
    /// How logs are compacted, which may change.
    pub(crate) cleaner: RefCell<CleanerConfig>,
    start: StartState,
    pool: RefCell<BufferPool>,
    logs: RefCell<BTreeMap<LogName, Weak<Log>>>,
    /// Logs with something that no checkpoint covers.
    dirty: RefCell<Vec<Weak<Log>>>,
    /// Logs that were appended to since they last rested.
    awake: RefCell<Vec<Weak<Log>>>,
    last_log_id: Cell<u64>,
    last_touch: Cell<u64>,
    /// Bytes appended since the last checkpoint.
    unchecked_bytes: Cell<u64>,
    checkpoint_wanted: Notify,
    checkpointer_runs: Cell<bool>,
    checkpointing: Exclusive,
    /// Held while the checkpoint file is replaced.
    file_lock: Exclusive,
    /// How often the checkpoint file was asked for, and how many of those calls it covers.
    file_wanted: Cell<u64>,
    file_covers: Cell<u64>,
    /// The touch count when idle logs were last looked for.
    last_sweep: Cell<u64>,
    closed: Cell<bool>,
    /// The tasks of `housekeeping` run.
    pub(crate) keeps_house: Cell<bool>,
}

impl ShardStore {
    /// The store of one shard.
    pub fn new(reactor: Reactor, config: StoreConfig, start: StartState) -> Rc<ShardStore> {
        Rc::new(ShardStore {
            flushes: FlushGroup::default(),
            read_files: RefCell::new(FileCache::new(config.open_files / 2)),
            direct_files: RefCell::new(FileCache::new(config.open_files / 2)),
            indexes: RefCell::new(IndexCache::new(config.index_memory_bytes)),
            room: Notify::new(),
            cleaner: RefCell::new(config.cleaner.clone()),
            start,
            pool: RefCell::new(BufferPool::new(
                config.tail_memory_bytes,
                config.tail_memory_behind_bytes,
                config.tail_buffer_bytes,
            )),
            logs: RefCell::default(),
            dirty: RefCell::default(),
            awake: RefCell::default(),
            last_log_id: Cell::new(0),
            last_touch: Cell::new(0),
            unchecked_bytes: Cell::new(0),
            checkpoint_wanted: Notify::new(),
            checkpointer_runs: Cell::new(false),
            checkpointing: Exclusive::default(),
            file_lock: Exclusive::default(),
            file_wanted: Cell::new(0),
            file_covers: Cell::new(0),
            keeps_house: Cell::new(false),
            last_sweep: Cell::new(0),
            closed: Cell::new(false),
            reactor,
            config,
        })
    }

    /// Replaces the settings of compaction; a cleaning under way goes on by the old ones.
    pub fn set_cleaner(&self, config: CleanerConfig) {
        *self.cleaner.borrow_mut() = config;
    }

    /// Fired when tail buffers may have become free: see [`crate::AppendError::NoRoom`].
    pub fn room(&self) -> Notify {
        self.room.clone()
    }

    /// The log of a partition, if it is open.
    pub fn log(&self, topic: &str, partition: PartitionIndex) -> Option<Rc<Log>> {
        let logs = self.logs.borrow();
        logs.get(&(topic.to_owned(), partition))?.upgrade()
    }

    /// Makes a checkpoint now. Logs that fail go offline by themselves.
    pub async fn checkpoint(self: &Rc<Self>) -> Result<(), StorageError> {
        let _one = self.checkpointing.lock().await;
        self.unchecked_bytes.set(0);
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let logs: Vec<Rc<Log>> = dirty.iter().filter_map(Weak::upgrade).collect();
        let checkpoints = logs.into_iter().map(|log| async move {
            let result = log.checkpoint().await;
            (log, result)
        });
        let done: Vec<(Rc<Log>, Result<_, StorageError>)> = futures::stream::iter(checkpoints)
            .buffer_unordered(CHECKPOINTS_AT_ONCE)
            .collect()
            .await;
        for (log, result) in &done {
            if log.state.borrow().closed {
                continue;
            }
            match result {
                // The one before still holds; the next comes when there is room.
                Err(error) if error.is_full() => (),
                Err(error) => log.go_offline(error.clone()),
                Ok(_) => (),
            }
            if log.state.borrow().dirty {
                self.dirty.borrow_mut().push(Rc::downgrade(log));
            }
        }
        self.write_checkpoint_file().await?;
        for (log, result) in done {
            if let Ok(Some(snapshot)) = result {
                log.remove_snapshot(snapshot).await;
            }
        }
        Ok(())
    }

    /// Closes all logs; what they had is for [`crate::finish_clean_shutdown`].
    pub async fn close(self: &Rc<Self>) -> ClosedShard {
        self.closed.set(true);
        self.checkpoint_wanted.notify_waiters();
        let logs = self.open_logs();
        let closings = logs.into_iter().map(|log| async move {
            let result = log.close().await;
            (log, result)
        });
        let closed: Vec<(Rc<Log>, Result<(), StorageError>)> = futures::stream::iter(closings)
            .buffer_unordered(CHECKPOINTS_AT_ONCE)
            .collect()
            .await;
        let mut shard = ClosedShard {
            logs: Vec::with_capacity(closed.len()),
            clean: true,
            first_dirty: OffsetCheckpoint::default(),
        };
        for (log, result) in closed {
            if let Err(error) = result {
                let (topic, partition) = &log.name;
                tracing::error!(
                    topic,
                    partition = partition.0,
                    "not closed cleanly: {error}"
                );
                shard.clean = false;
            }
            shard.logs.push((log.name.clone(), log.checkpoint_entry()));
            if let Some(first) = log.first_dirty_offset() {
                let offsets = &mut shard.first_dirty.offsets;
                offsets.insert(log.name.clone(), first);
            }
        }
        shard
    }

    pub(crate) fn fs(&self) -> FileSystem {
        self.reactor.fs()
    }

    pub(crate) async fn open_file(
        &self,
        path: &Path,
        options: OpenOptions,
    ) -> Result<File, StorageError> {
        self.fs()
            .open(path, options)
            .await
            .map_err(|cause| StorageError::io("open", path, cause))
    }

    pub(crate) async fn write_atomic(&self, path: &Path, data: Bytes) -> Result<(), StorageError> {
        self.fs()
            .write_atomic(path, data)
            .await
            .map_err(|cause| StorageError::io("write", path, cause))
    }

    pub(crate) async fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.fs()
            .sync_dir(path)
            .await
            .map_err(|cause| StorageError::io("flush", path, cause))
    }

    pub(crate) fn start_was_clean(&self) -> bool {
        self.start.was_clean()
    }

    pub(crate) fn start_entry(
        &self,
        topic: &str,
        partition: PartitionIndex,
        topic_id: TopicId,
    ) -> Option<CheckpointEntry> {
        self.start.entry(topic, partition, topic_id)
    }

    pub(crate) fn start_first_dirty(&self, topic: &str, partition: PartitionIndex) -> Option<i64> {
        self.start.first_dirty(topic, partition)
    }

    pub(crate) fn next_log_id(&self) -> u64 {
        self.last_log_id.set(self.last_log_id.get() + 1);
        self.last_log_id.get()
    }

    pub(crate) fn next_touch(&self) -> u64 {
        self.last_touch.set(self.last_touch.get() + 1);
        self.last_touch.get()
    }

    /// Takes in a log that was opened; the next checkpoint names it.
    pub(crate) fn register(self: &Rc<Self>, log: &Rc<Log>) {
        let mut logs = self.logs.borrow_mut();
        logs.insert(log.name.clone(), Rc::downgrade(log));
        drop(logs);
        if log.state.borrow().dirty {
            self.dirty.borrow_mut().push(Rc::downgrade(log));
        }
        self.run_checkpointer();
        self.keep_house();
    }

    pub(crate) fn unregister(&self, log: &Rc<Log>) {
        self.logs.borrow_mut().remove(&log.name);
    }

    pub(crate) fn note_dirty(self: &Rc<Self>, log: &Rc<Log>) {
        self.dirty.borrow_mut().push(Rc::downgrade(log));
        self.run_checkpointer();
    }

    pub(crate) fn note_awake(&self, log: &Rc<Log>) {
        self.awake.borrow_mut().push(Rc::downgrade(log));
    }

    pub(crate) fn note_appended(&self, bytes: u64) {
        let unchecked = self.unchecked_bytes.get() + bytes;
        self.unchecked_bytes.set(unchecked);
        if unchecked >= self.config.checkpoint_bytes {
            self.checkpoint_wanted.notify_waiters();
        }
    }

    pub(crate) fn note_roll(&self) {
        self.checkpoint_wanted.notify_waiters();
    }

    pub(crate) fn jitter_ms(&self, config: &LogConfig) -> i64 {
        match config.segment_jitter_ms.min(config.segment_ms) {
            most @ 1.. => (self.reactor.random_u64() % (most as u64 + 1)) as i64,
            _ => 0,
        }
    }

    pub(crate) fn forget_index(&self, log: u64, segment: i64) {
        self.indexes.borrow_mut().remove((log, segment));
    }

    /// Forgets what is kept of the files of one segment.
    pub(crate) fn forget_segment(&self, log: u64, segment: i64) {
        self.forget_index(log, segment);
        for files in [&self.read_files, &self.direct_files] {
            files.borrow_mut().remove((log, segment));
        }
    }

    pub(crate) fn forget_log_files(&self, log: u64) {
        self.indexes.borrow_mut().remove_log(log);
        for files in [&self.read_files, &self.direct_files] {
            files.borrow_mut().remove_log(log);
        }
    }

    /// A tail buffer; takes from the logs that were appended to longest ago what is written of
    /// them, if need be, and last what readers have still before them. No log's state may be
    /// borrowed.
    pub(crate) fn take_buffer(&self, capacity: usize) -> Option<TailBuffer> {
        if let Some(buffer) = self.pool.borrow_mut().take(capacity) {
            return Some(buffer);
        }
        let step = capacity.max(self.config.tail_memory_bytes / EVICTION_PART);
        let excess = self.pool.borrow().excess();
        let spared = self.evict(step + excess, Spare::WhatReadersWant);
        self.pool.borrow_mut().allow(step, spared);
        if let Some(buffer) = self.pool.borrow_mut().take(capacity) {
            return Some(buffer);
        }
        self.evict(step, Spare::Nothing);
        self.pool.borrow_mut().take(capacity)
    }

    /// Gives back memory beyond the budget that no reader needs any more.
    fn give_back_excess(&self) {
        let excess = self.pool.borrow().excess();
        let spared = self.evict(excess, Spare::WhatReadersWant);
        self.pool.borrow_mut().allow(0, spared);
    }

    pub(crate) fn give_back(&self, buffer: TailBuffer) {
        self.pool.borrow_mut().give_back(buffer);
    }

    /// Frees so many bytes, if they can be found; the bytes that were found and spared.
    fn evict(&self, bytes: usize, spare: Spare) -> usize {
        let mut logs: Vec<Rc<Log>> = {
            let awake = self.awake.borrow();
            awake.iter().filter_map(Weak::upgrade).collect()
        };
        logs.sort_by_key(|log| log.last_touch.get());
        let (mut freed, mut spared) = (0, 0);
        for log in logs {
            let released = log.release_written_chunks(bytes - freed, spare);
            freed += released.freed;
            spared += released.spared;
            if freed >= bytes {
                break;
            }
        }
        spared
    }

    /// Replaces the shard's checkpoint file by what all open logs say. One write serves all who
    /// asked before it began.
    pub(crate) async fn write_checkpoint_file(&self) -> Result<(), StorageError> {
        let ticket = self.file_wanted.get() + 1;
        self.file_wanted.set(ticket);
        let _one = self.file_lock.lock().await;
        if self.file_covers.get() >= ticket {
            return Ok(());
        }
        let covers = self.file_wanted.get();
        let logs = self.open_logs();
        let mut entries = CheckpointEntries::new();
        for log in &logs {
            let entry = log.checkpoint_entry();
            let mut state = log.state.borrow_mut();
            let published = state.published_recovery_point;
            state.published_recovery_point = published.max(entry.recovery_point.0);
            entries.insert(log.name.clone(), entry);
        }
        let path = self
            .config
            .root
            .join(recovery_checkpoint::file_name(self.config.shard));
        let text = recovery_checkpoint::to_text(&entries);
        self.write_atomic(&path, text.into()).await?;
        for log in &logs {
            let entry = &entries[&log.name];
            let mut state = log.state.borrow_mut();
            state.published_recovery_point = entry.recovery_point.0;
            state.published_log_start = entry.log_start_offset.0;
        }
        self.file_covers.set(covers);
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(crate) fn open_logs(&self) -> Vec<Rc<Log>> {
        let logs = self.logs.borrow();
        logs.values().filter_map(Weak::upgrade).collect()
    }

    fn run_checkpointer(self: &Rc<Self>) {
        if self.checkpointer_runs.replace(true) || self.closed.get() {
            return;
        }
        let store = Rc::downgrade(self);
        let task = ShardStore::make_checkpoints(store, self.reactor.clone());
        self.reactor.spawn(TaskQueue::Background, task).detach();
    }

    async fn make_checkpoints(weak: Weak<ShardStore>, reactor: Reactor) {
        // Not put off by the checkpoints that are made sooner.
        let mut next_rest = None;
        loop {
            let (interval, wanted) = match weak.upgrade() {
                Some(store) => (
                    store.config.checkpoint_interval,
                    store.checkpoint_wanted.notified(),
                ),
                None => return,
            };
            let rest_at = *next_rest.get_or_insert_with(|| reactor.now() + interval);
            let sleep = std::pin::pin!(reactor.sleep_until(rest_at));
            let wanted = std::pin::pin!(wanted);
            select(sleep, wanted).await;
            let Some(store) = weak.upgrade().filter(|store| !store.closed.get()) else {
                return;
            };
            if let Err(error) = store.checkpoint().await {
                // The old one still holds: recovery would only take longer.
                tracing::warn!("no checkpoint: {error}");
            }
            if reactor.now() >= rest_at {
                next_rest = None;
                store.let_rest().await;
                store.give_back_excess();
            }
            let idle = store.dirty.borrow().is_empty() && store.awake.borrow().is_empty();
            if idle {
                store.checkpointer_runs.set(false);
                return;
            }
        }
    }

    /// Lets the logs rest that were not appended to since this was last called.
    async fn let_rest(self: &Rc<Self>) {
        let since = self.last_sweep.replace(self.last_touch.get());
        let awake = std::mem::take(&mut *self.awake.borrow_mut());
        for log in awake.iter().filter_map(Weak::upgrade) {
            if log.last_touch.get() > since {
                self.awake.borrow_mut().push(Rc::downgrade(&log));
                continue;
            }
            log.is_awake.set(false);
            match log.rest().await {
                // It holds its files and rests when it has been appended to again.
                Err(error) if error.is_full() => (),
                Err(error) => log.go_offline(error),
                Ok(()) => (),
            }
        }
    }
}
