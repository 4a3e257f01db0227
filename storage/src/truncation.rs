//! Cutting a log: a follower whose log differs from its leader's, or one that starts afresh.

use std::rc::Rc;

use millstream_protocol::Offset;
use millstream_reactor::OpenOptions;

use crate::error::StorageError;
use crate::log::Log;
use crate::offset_index::{self, OffsetIndexView};
use crate::reader::Walker;
use crate::segment::{
    INDEX_SUFFIX, LOG_SUFFIX, MaxTimestamp, SNAPSHOT_SUFFIX, Segment, SegmentIndex,
    TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, offset_in_name,
};
use crate::tail::Point;
use crate::time_index::{self, TimeIndexView};

impl Log {
    /// Removes all records from `offset` on. A batch that begins before it and ends after it goes
    /// too; the end of the log that results is returned. Appends are refused meanwhile.
    pub async fn truncate_to(self: &Rc<Self>, offset: Offset) -> Result<Offset, StorageError> {
        if offset >= self.log_end_offset() {
            return Ok(self.log_end_offset());
        }
        if offset.0 < self.state.borrow().segments[0].base_offset {
            self.truncate_fully_and_start_at(offset).await?;
            return Ok(offset);
        }
        self.change_exclusively(|log| async move {
            let end = log.place_of(offset.0).await?;
            log.lower_recovery_point(end.offset).await?;
            log.remove_segments_after(end.segment).await?;
            log.cut_segment(end).await?;
            log.forget_after(end).await?;
            Ok(Offset(end.offset))
        })
        .await
    }

    /// Removes all records; the next one gets `offset`.
    pub async fn truncate_fully_and_start_at(
        self: &Rc<Self>,
        offset: Offset,
    ) -> Result<(), StorageError> {
        self.change_exclusively(|log| async move {
            log.lower_recovery_point(offset.0.min(log.log_start_offset().0))
                .await?;
            log.remove_segments_after(-1).await?;
            log.create_segment_files(offset.0).await?;
            let now_ms = log.store.reactor.wall_clock_ms();
            {
                let mut state = log.state.borrow_mut();
                state.segments = vec![Segment::new(offset.0, now_ms, 0)];
                state.log_start_offset = offset.0;
                state.epochs.clear();
            }
            let end = Point {
                segment: offset.0,
                position: 0,
                offset: offset.0,
            };
            log.forget_after(end).await
        })
        .await
    }

    /// Runs `change` while nothing else writes, flushes or appends; takes the log offline if it
    /// fails, because then the files and what is known of them may differ.
    async fn change_exclusively<T, F>(
        self: &Rc<Self>,
        change: impl FnOnce(Rc<Log>) -> F,
    ) -> Result<T, StorageError>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        self.files.set_truncating(true);
        let flushed = self.flush().await;
        if let Err(error) = &flushed
            && error.is_full()
        {
            // Nothing has changed: it may be tried again.
            self.files.set_truncating(false);
            return Err(error.clone());
        }
        self.hold_writer().await;
        let result = match flushed {
            Err(error) => Err(error),
            Ok(()) => {
                let _files = self.files.lock().await;
                self.state.borrow_mut().begin_change_below(i64::MAX);
                let result = change(self.clone()).await;
                self.state.borrow_mut().end_change();
                result
            }
        };
        self.files.set_truncating(false);
        if let Err(error) = &result {
            self.go_offline(error.clone());
        }
        self.release_writer();
        self.progress.notify_waiters();
        result
    }

    /// The start of the batch that holds `offset`.
    async fn place_of(&self, offset: i64) -> Result<Point, StorageError> {
        let segment = self.segment_of(offset);
        let mut position = self.checked_floor(segment, offset).await?;
        let mut walker = Walker::new(self, segment);
        while let Some(found) = walker.at(position).await? {
            if found.header.last_offset().0 >= offset {
                return Ok(Point {
                    segment,
                    position,
                    offset: found.header.base_offset.0.min(offset),
                });
            }
            position += found.header.size_in_bytes() as u64;
        }
        Ok(Point {
            segment,
            position,
            offset,
        })
    }

    /// Makes sure that a crash from now on does not trust what is about to change.
    async fn lower_recovery_point(self: &Rc<Self>, end_offset: i64) -> Result<(), StorageError> {
        {
            let mut state = self.state.borrow_mut();
            if state.checkpoint.recovery_point.0 > end_offset {
                state.checkpoint.recovery_point = Offset(end_offset);
                state.checkpoint.place = None;
            }
            // What is on the disk may be older than what is known here, and higher: after an open
            // without a place, for one.
            if state.published_recovery_point <= end_offset {
                return Ok(());
            }
        }
        self.store.write_checkpoint_file().await
    }

    /// Removes the files of all segments above `segment`, the newest first.
    async fn remove_segments_after(self: &Rc<Self>, segment: i64) -> Result<(), StorageError> {
        let removed: Vec<i64> = {
            let state = self.state.borrow();
            let bases = state.segments.iter().map(|segment| segment.base_offset);
            bases.filter(|&base| base > segment).rev().collect()
        };
        let dir = self.dir.borrow().clone();
        for &base in &removed {
            self.remove_segment_files(base).await?;
            // One by one: a crash must not bring back a segment without those before it.
            self.store.sync_dir(&dir).await?;
        }
        if removed.is_empty() {
            return Ok(());
        }
        let mut state = self.state.borrow_mut();
        state.segments.retain(|kept| kept.base_offset <= segment);
        drop(state);
        self.store.forget_log_files(self.id);
        Ok(())
    }

    pub(crate) async fn remove_segment_files(&self, base: i64) -> Result<(), StorageError> {
        for suffix in [
            LOG_SUFFIX,
            INDEX_SUFFIX,
            TIME_INDEX_SUFFIX,
            TXN_INDEX_SUFFIX,
        ] {
            let path = self.segment_path(base, suffix);
            match self.store.fs().remove_file(&path).await {
                Ok(()) => (),
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => (),
                Err(cause) => return Err(StorageError::io("remove", &path, cause)),
            }
        }
        Ok(())
    }

    /// Cuts the last segment's files at `end`.
    async fn cut_segment(self: &Rc<Self>, end: Point) -> Result<(), StorageError> {
        self.state.borrow_mut().writer.file = None;
        self.trim_and_flush(end).await?;
        let relative = (end.offset - end.segment) as u64;
        let offsets_in_file = {
            let bytes = self.read_index_file(end.segment, INDEX_SUFFIX).await?;
            let view = OffsetIndexView::checked(&bytes);
            view.count_where(|entry| {
                u64::from(entry.relative_offset) < relative
                    && u64::from(entry.position) < end.position
            })
        };
        let (times_in_file, last_time) = {
            let bytes = self.read_index_file(end.segment, TIME_INDEX_SUFFIX).await?;
            let view = TimeIndexView::checked(&bytes);
            let count = view.count_where(|entry| u64::from(entry.relative_offset) < relative);
            (count, view.first(count).last())
        };
        self.set_file_len(
            end.segment,
            INDEX_SUFFIX,
            offsets_in_file * offset_index::ENTRY_LEN,
        )
        .await?;
        self.set_file_len(
            end.segment,
            TIME_INDEX_SUFFIX,
            times_in_file * time_index::ENTRY_LEN,
        )
        .await?;
        self.store.forget_log_files(self.id);
        {
            let mut state = self.state.borrow_mut();
            let now_ms = self.store.reactor.wall_clock_ms();
            let active = state.active_mut();
            let mut pending_offsets = std::mem::take(&mut active.index.pending_offsets);
            pending_offsets.retain(|entry| u64::from(entry.relative_offset) < relative);
            let mut pending_times = std::mem::take(&mut active.index.pending_times);
            pending_times.retain(|entry| u64::from(entry.relative_offset) < relative);
            active.size = end.position;
            active.end_snapshot = None;
            if end.position == 0 {
                active.first_timestamp = None;
                active.created_ms = now_ms;
            }
            let last_time = pending_times.last().copied().or(last_time);
            active.index = SegmentIndex {
                offsets_in_file: offsets_in_file as u32,
                times_in_file: times_in_file as u32,
                pending_offsets,
                pending_times,
                last_position: 0,
                last_time,
                trimmed: true,
            };
            active.max_timestamp =
                Some(last_time.map_or(MaxTimestamp::NONE, |entry| MaxTimestamp {
                    timestamp: entry.timestamp,
                    offset: end.segment + i64::from(entry.relative_offset),
                }));
            while let Some(chunk) = state.tail.chunks.pop_back() {
                self.store.give_back(chunk.buffer);
            }
        }
        let sound = match self.last_entries_hold(end.segment).await {
            Ok(true) => self.complete_segment_state(end).await.map(|_| true),
            other => other,
        };
        match sound {
            Ok(true) => Ok(()),
            Ok(false) | Err(StorageError::Damaged { .. }) => self.rebuild_last_segment(end).await,
            Err(error) => Err(error),
        }
    }

    /// Whether the last entries of the last segment's index files lead to their batches.
    pub(crate) async fn last_entries_hold(&self, segment: i64) -> Result<bool, StorageError> {
        let (offsets_in_file, last_time) = {
            let state = self.state.borrow();
            let index = &state.active().index;
            (index.offsets_in_file as usize, index.last_time)
        };
        if let Some(last) = offsets_in_file.checked_sub(1) {
            let bytes = self.read_index_file(segment, INDEX_SUFFIX).await?;
            let entry = OffsetIndexView::trusted(&bytes).entry(last);
            let mut walker = Walker::new(self, segment);
            let found = walker.at(u64::from(entry.position)).await?;
            let offset = segment + i64::from(entry.relative_offset);
            if found.is_none_or(|found| found.header.last_offset().0 > offset) {
                return Ok(false);
            }
        }
        match last_time {
            Some(entry) => Ok(self.batch_of_entry(segment, entry).await?.is_some()),
            None => Ok(true),
        }
    }

    /// Makes everything that is known of the last segment anew from its batches.
    async fn rebuild_last_segment(&self, end: Point) -> Result<(), StorageError> {
        let path = self.segment_path(end.segment, INDEX_SUFFIX);
        tracing::warn!(path = %path.display(), "the indexes of the segment are made anew");
        let (interval, mut rebuilt) = {
            let mut state = self.state.borrow_mut();
            let interval = state.config.index_interval_bytes;
            let active = state.active_mut();
            active.index = SegmentIndex::default();
            let segment = Segment::new(end.segment, active.created_ms, active.jitter_ms);
            (interval, segment)
        };
        self.store.forget_log_files(self.id);
        let mut walker = Walker::new(self, end.segment);
        while let Some(found) = walker.at(rebuilt.size).await? {
            let header = found.header;
            let len = header.size_in_bytes() as u64;
            rebuilt.add_batch(header.last_offset().0, header.max_timestamp, len, interval);
        }
        // The files are written from their start on, and cut.
        rebuilt.index.trimmed = false;
        *self.state.borrow_mut().active_mut() = rebuilt;
        Ok(())
    }

    /// Reads what the indexes do not say of the last segment: where the last entry's batch is,
    /// the largest timestamp since, and the offset after the last batch, which is returned.
    pub(crate) async fn complete_segment_state(
        self: &Rc<Self>,
        end: Point,
    ) -> Result<i64, StorageError> {
        let mut next_offset = end.segment;
        let mut position = {
            let bytes = self.read_index_file(end.segment, INDEX_SUFFIX).await?;
            let state = self.state.borrow();
            let index = &state.active().index;
            let in_file = OffsetIndexView::checked(&bytes).first(index.offsets_in_file as usize);
            let last = in_file.len().checked_sub(1).map(|last| in_file.entry(last));
            index
                .pending_offsets
                .last()
                .copied()
                .or(last)
                .map_or(0, |entry| u64::from(entry.position))
        };
        self.state.borrow_mut().active_mut().index.last_position = position;
        let mut walker = Walker::new(self, end.segment);
        if let Some(first) = walker.at(0).await? {
            let mut state = self.state.borrow_mut();
            state.active_mut().first_timestamp = Some(first.header.max_timestamp);
        }
        while let Some(found) = walker.at(position).await? {
            let mut state = self.state.borrow_mut();
            let active = state.active_mut();
            let known = active.max_timestamp.unwrap_or(MaxTimestamp::NONE);
            if found.header.max_timestamp > known.timestamp {
                active.max_timestamp = Some(MaxTimestamp {
                    timestamp: found.header.max_timestamp,
                    offset: found.header.last_offset().0,
                });
            }
            position += found.header.size_in_bytes() as u64;
            next_offset = found.header.next_offset().0;
        }
        Ok(next_offset)
    }

    /// Takes producers, epochs and snapshots back to `end`.
    async fn forget_after(self: &Rc<Self>, end: Point) -> Result<(), StorageError> {
        {
            let mut state = self.state.borrow_mut();
            state.log_end_offset = end.offset;
            state.log_start_offset = state.log_start_offset.min(end.offset);
            state.first_dirty = state.first_dirty.map(|first| first.min(end.offset));
            state.high_watermark = state.high_watermark.min(end.offset);
            state.written = end;
            state.flushed = end;
            state.writer.flush_target = end.offset;
            state.writer.file = None;
            state.hints.clear();
            state.epochs.truncate_from_end(Offset(end.offset));
            state.epochs_dirty = false;
            state.touched = true;
            while let Some(chunk) = state.tail.chunks.pop_back() {
                self.store.give_back(chunk.buffer);
            }
        }
        self.store.forget_log_files(self.id);
        let epochs = self.state.borrow().epochs.to_text();
        self.write_epochs(epochs).await?;
        self.remove_snapshots(|offset| offset > end.offset).await?;
        // None may come back after a crash, not even one that a checkpoint removed: the offsets
        // will be given to other records.
        let dir = self.dir.borrow().clone();
        self.store.sync_dir(&dir).await?;
        self.rebuild_producers().await?;
        let newly_dirty = !std::mem::replace(&mut self.state.borrow_mut().dirty, true);
        if newly_dirty {
            self.store.note_dirty(self);
        }
        Ok(())
    }

    /// Removes the snapshots whose offset `unwanted` holds for. Whether there were any.
    pub(crate) async fn remove_snapshots(
        &self,
        unwanted: impl Fn(i64) -> bool,
    ) -> Result<bool, StorageError> {
        let dir = self.dir.borrow().clone();
        let entries = self
            .store
            .fs()
            .read_dir(&dir)
            .await
            .map_err(|cause| StorageError::io("list", &dir, cause))?;
        let mut any = false;
        for entry in entries {
            if let Some(offset) = offset_in_name(&entry.name, SNAPSHOT_SUFFIX)
                && unwanted(offset)
            {
                self.remove_snapshot(offset).await;
                any = true;
            }
        }
        Ok(any)
    }

    /// An index file's bytes; none if it is missing.
    pub(crate) async fn read_index_file(
        &self,
        base: i64,
        suffix: &str,
    ) -> Result<bytes::Bytes, StorageError> {
        let path = self.segment_path(base, suffix);
        match self.store.fs().read(&path).await {
            Ok(bytes) => Ok(bytes),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(bytes::Bytes::new()),
            Err(cause) => Err(StorageError::io("read", &path, cause)),
        }
    }

    pub(crate) async fn set_file_len(
        &self,
        base: i64,
        suffix: &str,
        len: usize,
    ) -> Result<(), StorageError> {
        let path = self.segment_path(base, suffix);
        let options = OpenOptions {
            write: true,
            create: true,
            ..OpenOptions::default()
        };
        let file = self.store.open_file(&path, options).await?;
        let result = async {
            file.set_len(len as u64).await?;
            file.sync_data().await
        };
        result
            .await
            .map_err(|cause| StorageError::io_at("cut", &path, len as u64, cause))
    }
}
