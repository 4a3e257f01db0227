//! The front of a log: raising its first offset, and removing the segments that are wholly below
//! it, too old, or too much.
//!
//! Order, so that a crash neither loses what is kept nor brings back what was deleted: the new
//! first offset and a recovery point above it are in the shard's checkpoint before a file goes,
//! and files go oldest first, each gone durably before the next. So when the checkpoint cannot be
//! written because the disk is full, the first segment that is left says as much.
//!
//! A file that goes is renamed to `<name>.deleted` first and removed after a delay; who holds it
//! open reads on. Those that a crash left are removed when the log is opened.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::Offset;
use millstream_reactor::TaskQueue;

use crate::error::{DeleteRecordsError, StorageError};
use crate::log::{Log, LogState};
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX};

/// What the name of a file ends with that is about to go.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

impl Log {
    /// Forgets the records below `offset`, which may not be above the high watermark. They are
    /// gone durably when this returns the first offset of the log; their files go later.
    pub async fn delete_records(
        self: &Rc<Self>,
        offset: Offset,
    ) -> Result<Offset, DeleteRecordsError> {
        if let Some(error) = self.unusable() {
            return Err(error.into());
        }
        let (published, log_start) = {
            let mut state = self.state.borrow_mut();
            let high_watermark = state.high_watermark.min(state.log_end_offset);
            if offset.0 > high_watermark {
                return Err(DeleteRecordsError::AboveHighWatermark {
                    offset,
                    high_watermark: Offset(high_watermark),
                });
            }
            state.raise_log_start(offset.0);
            (state.published_log_start, state.log_start_offset)
        };
        if published < log_start {
            self.store.write_checkpoint_file().await?;
            self.cut_epochs();
        }
        Ok(self.log_start_offset())
    }

    /// Removes the segments that the settings no longer keep, rolling the last one if it goes too.
    /// How many went.
    pub async fn apply_retention(self: &Rc<Self>, now_ms: i64) -> Result<usize, StorageError> {
        if self.unusable().is_some() || self.files.is_truncating() {
            return Ok(0);
        }
        let Some(kept) = self.first_kept(now_ms).await? else {
            return Ok(0);
        };
        let active = self.state.borrow().active().base_offset;
        // The last segment goes only if it could be closed.
        let kept = if self.roll_at(kept).await {
            kept
        } else {
            kept.min(active)
        };
        self.remove_segments_before(kept).await
    }

    /// The base offset of the first segment that stays; the end of the log if none does; nothing
    /// if all do.
    async fn first_kept(&self, now_ms: i64) -> Result<Option<i64>, StorageError> {
        let (mut candidates, cleanup, retention_ms, mut excess) = {
            let state = self.state.borrow();
            (
                state.candidates(),
                state.config.cleanup,
                state.config.retention_ms,
                state.excess_bytes(),
            )
        };
        let mut kept = None;
        let below_start = candidates
            .iter()
            .take_while(|candidate| candidate.below_start)
            .count();
        for candidate in candidates.drain(..below_start) {
            excess = excess.map(|excess| excess.saturating_sub(candidate.size));
            kept = Some(candidate.next);
        }
        if !cleanup.delete {
            return Ok(kept);
        }
        let mut rest = candidates.into_iter().peekable();
        while let Some(candidate) = rest.next_if(|c| excess.is_some_and(|e| e >= c.size)) {
            excess = excess.map(|excess| excess - candidate.size);
            kept = Some(candidate.next);
        }
        if retention_ms < 0 {
            return Ok(kept);
        }
        for candidate in rest {
            let largest = self.max_timestamp_of(candidate.base).await?.timestamp;
            // Records without a time count from when the segment was made or found.
            let newest = if largest >= 0 {
                largest
            } else {
                candidate.created_ms
            };
            if now_ms.saturating_sub(newest) <= retention_ms {
                break;
            }
            kept = Some(candidate.next);
        }
        Ok(kept)
    }

    /// Closes the active segment, if it holds anything and the log still ends at `end`, and waits
    /// until its files are closed too. Whether that is so.
    pub(crate) async fn roll_at(self: &Rc<Self>, end: i64) -> bool {
        {
            let mut state = self.state.borrow_mut();
            let now_ms = self.store.reactor.wall_clock_ms();
            let busy = state.full.is_some() || self.files.is_truncating();
            if busy || state.log_end_offset != end || state.active().size == 0 {
                return false;
            }
            let jitter_ms = self.store.jitter_ms(&state.config);
            state.roll(end, now_ms, jitter_ms);
        }
        self.note_change();
        loop {
            let progress = self.progress.notified();
            if self.unusable().is_some() || self.disk_full().is_some() {
                return false;
            }
            if self.state.borrow().flushed.segment >= end {
                return true;
            }
            progress.await;
        }
    }

    /// Removes the segments below the one that begins at `kept`. How many went.
    async fn remove_segments_before(self: &Rc<Self>, kept: i64) -> Result<usize, StorageError> {
        let recovers_above = {
            let mut state = self.state.borrow_mut();
            if state.segments[0].base_offset >= kept {
                return Ok(0);
            }
            state.raise_log_start(kept);
            let checkpoint = &state.checkpoint;
            checkpoint
                .place
                .map_or(checkpoint.recovery_point.0, |place| place.segment)
                >= kept
        };
        if !recovers_above {
            unless_full(self.checkpoint().await.map(|_| ()))?;
        }
        unless_full(self.store.write_checkpoint_file().await)?;

        let _files = self.files.lock().await;
        if self.unusable().is_some() {
            return Ok(0);
        }
        let removed = self.forget_front(kept);
        let result = self.retire_files(&removed).await;
        self.cut_epochs();
        if let Err(error) = &result {
            // The files are no longer what the log's state says.
            self.go_offline(error.clone());
        }
        result.map(|()| removed.len())
    }

    /// Forgets the epochs before the log's first offset, now that it is durable: one that a crash
    /// takes back needs them.
    fn cut_epochs(self: &Rc<Self>) {
        {
            let mut state = self.state.borrow_mut();
            let first = state.segments[0].base_offset;
            let start = state.published_log_start.max(first);
            let cut = state.epochs.truncate_from_start(Offset(start));
            state.epochs_dirty |= cut;
        }
        self.wake_writer();
    }

    /// Takes the segments before `kept` out of the state, as far as their files are closed.
    fn forget_front(&self, kept: i64) -> Vec<i64> {
        let removed: Vec<i64> = {
            let mut state = self.state.borrow_mut();
            let end = kept.min(state.flushed.segment);
            let count = state
                .segments
                .partition_point(|segment| segment.base_offset < end);
            let removed = state.segments.drain(..count);
            let removed: Vec<i64> = removed.map(|segment| segment.base_offset).collect();
            if removed.is_empty() {
                return removed;
            }
            state.generation += 1;
            state.hints.clear();
            while let Some(chunk) = state.tail.chunks.pop_front_if(|chunk| chunk.segment < end) {
                self.store.give_back(chunk.buffer);
            }
            removed
        };
        for &base in &removed {
            self.store.forget_segment(self.id, base);
        }
        let (topic, partition) = &self.name;
        let log_start = self.log_start_offset().0;
        tracing::info!(
            topic,
            partition = partition.0,
            log_start,
            "removed {} old segments",
            removed.len()
        );
        removed
    }

    /// Renames the files of segments that are no longer the log's; they go after the delay.
    async fn retire_files(self: &Rc<Self>, bases: &[i64]) -> Result<(), StorageError> {
        let dir = self.dir.borrow().clone();
        let mut renamed = Vec::new();
        for &base in bases {
            for suffix in [
                LOG_SUFFIX,
                INDEX_SUFFIX,
                TIME_INDEX_SUFFIX,
                TXN_INDEX_SUFFIX,
            ] {
                renamed.extend(self.retire_file(base, suffix).await?);
            }
            self.store.sync_dir(&dir).await?;
        }
        let (first, used) = {
            let state = self.state.borrow();
            let place = state.checkpoint.place;
            let used = [state.snapshot, place.map(|place| place.snapshot)];
            (state.segments[0].base_offset, used)
        };
        self.remove_snapshots(|offset| offset < first && !used.contains(&Some(offset)))
            .await?;
        self.remove_later(renamed);
        Ok(())
    }

    pub(crate) async fn retire_file(
        &self,
        base: i64,
        suffix: &str,
    ) -> Result<Option<PathBuf>, StorageError> {
        let from = self.segment_path(base, suffix);
        let mut to = from.clone().into_os_string();
        to.push(DELETED_SUFFIX);
        let to = PathBuf::from(to);
        match self.store.fs().rename(&from, &to).await {
            Ok(()) => Ok(Some(to)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(StorageError::io("rename", &from, cause)),
        }
    }

    /// Removes retired files when those who read them have had their time.
    pub(crate) fn remove_later(&self, files: Vec<PathBuf>) {
        if files.is_empty() {
            return;
        }
        let delay: Duration = self.state.borrow().config.file_delete_delay;
        let (reactor, fs) = (self.store.reactor.clone(), self.store.fs());
        let removal = async move {
            reactor.sleep(delay).await;
            for path in files {
                match fs.remove_file(&path).await {
                    Ok(()) => (),
                    // The log was deleted meanwhile.
                    Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => (),
                    Err(cause) => {
                        tracing::warn!(path = %path.display(), "cannot remove it: {cause}");
                    }
                }
            }
        };
        self.store
            .reactor
            .spawn(TaskQueue::Background, removal)
            .detach();
    }
}

/// A segment that may go.
struct Candidate {
    base: i64,
    /// The offset after it.
    next: i64,
    size: u64,
    created_ms: i64,
    below_start: bool,
}

impl LogState {
    /// Raises the first offset of the log.
    fn raise_log_start(&mut self, offset: i64) {
        self.log_start_offset = self.log_start_offset.max(offset);
    }

    /// The oldest segments whose records consumers may have seen, the last segment among them.
    fn candidates(&self) -> Vec<Candidate> {
        let last = self.segments.len() - 1;
        let all = self.segments.iter().enumerate();
        all.map(|(index, segment)| Candidate {
            base: segment.base_offset,
            next: self.segment_end_offset(index),
            size: segment.size,
            created_ms: segment.created_ms,
            below_start: index < last && self.segment_end_offset(index) <= self.log_start_offset,
        })
        .take_while(|candidate| self.high_watermark >= candidate.next)
        .collect()
    }

    /// Bytes beyond what the settings keep.
    fn excess_bytes(&self) -> Option<u64> {
        let limit = u64::try_from(self.config.retention_bytes).ok()?;
        let size: u64 = self.segments.iter().map(|segment| segment.size).sum();
        size.checked_sub(limit)
    }
}

/// A full disk is no reason to keep what should go.
fn unless_full(result: Result<(), StorageError>) -> Result<(), StorageError> {
    match result {
        Err(error) if error.is_full() => {
            tracing::warn!("segments are removed without a checkpoint: {error}");
            Ok(())
        }
        result => result,
    }
}
