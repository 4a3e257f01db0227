//! What keeps a log's files in order beside the writer: checkpoints, and rest for the idle.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use millstream_protocol::Offset;
use millstream_reactor::{Notify, OpenOptions};

use crate::error::StorageError;
use crate::log::Log;
use crate::offset_index::{self, OffsetEntry};
use crate::producer_snapshot;
use crate::recovery_checkpoint::{CheckpointEntry, CheckpointPlace};
use crate::segment::{
    INDEX_SUFFIX, MaxTimestamp, SNAPSHOT_SUFFIX, SegmentIndex, TIME_INDEX_SUFFIX,
};
use crate::tail::Point;
use crate::time_index::{self, TimeEntry};
use crate::writer::encode_entries;

/// One holder at a time, across `await`s of one core.
#[derive(Default)]
pub(crate) struct Exclusive {
    held: Rc<Cell<bool>>,
    released: Notify,
    truncating: Cell<bool>,
}

/// Lets go when dropped.
pub(crate) struct ExclusiveGuard {
    held: Rc<Cell<bool>>,
    released: Notify,
}

impl Exclusive {
    pub(crate) async fn lock(&self) -> ExclusiveGuard {
        loop {
            let released = self.released.notified();
            if !self.held.replace(true) {
                return ExclusiveGuard {
                    held: self.held.clone(),
                    released: self.released.clone(),
                };
            }
            released.await;
        }
    }

    /// Whether the log is being cut, so that appends have to wait.
    pub(crate) fn is_truncating(&self) -> bool {
        self.truncating.get()
    }

    pub(crate) fn set_truncating(&self, truncating: bool) {
        self.truncating.set(truncating);
    }
}

impl Drop for ExclusiveGuard {
    fn drop(&mut self) {
        self.held.set(false);
        self.released.notify_waiters();
    }
}

/// A log as it was when its checkpoint began.
struct Captured {
    end: Point,
    max_timestamp: MaxTimestamp,
    snapshot: Snapshot,
    generation: u64,
}

enum Snapshot {
    /// The file is there, or there are no producers (−1).
    Known(i64),
    /// To be written.
    New(Bytes),
}

impl Log {
    /// Flushes what there is and notes where recovery may start. The caller writes the shard's
    /// checkpoint file and then removes the snapshots that are returned.
    pub(crate) async fn checkpoint(self: &Rc<Self>) -> Result<Option<i64>, StorageError> {
        let captured = self.capture();
        self.flush_to(captured.end.offset).await?;
        let _files = self.files.lock().await;
        // A log that is offline keeps its last one: a cut may have failed half way.
        if self.state.borrow().generation != captured.generation || self.unusable().is_some() {
            return Ok(None);
        }
        self.write_indexes(captured.end.segment, captured.end.position)
            .await?;
        let snapshot = match captured.snapshot {
            Snapshot::Known(offset) => offset,
            Snapshot::New(bytes) => {
                let offset = captured.end.offset;
                let path = self.segment_path(offset, SNAPSHOT_SUFFIX);
                self.store.write_atomic(&path, bytes).await?;
                offset
            }
        };
        let mut state = self.state.borrow_mut();
        if state.log_end_offset == captured.end.offset {
            state.dirty = false;
            state.snapshot = Some(snapshot);
        }
        let place = CheckpointPlace {
            segment: captured.end.segment,
            position: captured.end.position,
            snapshot,
            max_timestamp: captured.max_timestamp.timestamp,
            max_timestamp_offset: captured.max_timestamp.offset,
        };
        let before = state.checkpoint.place.replace(place);
        state.checkpoint.recovery_point = Offset(captured.end.offset);
        let obsolete = before
            .map(|before| before.snapshot)
            .filter(|&before| before >= 0 && before != snapshot)
            .filter(|&before| state.segment_index(before).is_none());
        Ok(obsolete)
    }

    fn capture(&self) -> Captured {
        let state = self.state.borrow();
        let snapshot = match state.snapshot {
            Some(offset) => Snapshot::Known(offset),
            None if state.producers.is_empty() => Snapshot::Known(-1),
            None => Snapshot::New(producer_snapshot::encode(&state.producers).into()),
        };
        Captured {
            end: state.end(),
            max_timestamp: state.active().max_timestamp.unwrap_or(MaxTimestamp::NONE),
            snapshot,
            generation: state.generation,
        }
    }

    /// What a checkpoint says of the log now.
    pub(crate) fn checkpoint_entry(&self) -> CheckpointEntry {
        let state = self.state.borrow();
        CheckpointEntry {
            log_start_offset: Offset(state.log_start_offset),
            high_watermark: Offset(state.high_watermark.min(state.log_end_offset)),
            ..state.checkpoint.clone()
        }
    }

    /// Removes a snapshot that no checkpoint needs any more.
    pub(crate) async fn remove_snapshot(&self, offset: i64) {
        let path = self.segment_path(offset, SNAPSHOT_SUFFIX);
        if let Err(cause) = self.store.fs().remove_file(&path).await
            && cause.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), "cannot remove an old snapshot: {cause}");
        }
    }

    /// Writes the pending index entries of batches below `position` to the index files, which
    /// then end with them. Needs the lock on the files.
    pub(crate) async fn write_indexes(
        &self,
        base_offset: i64,
        position: u64,
    ) -> Result<(), StorageError> {
        let Some(entries) = self.pending_entries(base_offset, position) else {
            return Ok(());
        };
        if entries.is_empty() && entries.trimmed {
            return Ok(());
        }
        let offsets = encode_entries(&entries.offsets, OffsetEntry::encode);
        let times = encode_entries(&entries.times, TimeEntry::encode);
        let at = u64::from(entries.offsets_in_file) * offset_index::ENTRY_LEN as u64;
        self.write_index_file(base_offset, INDEX_SUFFIX, at, offsets)
            .await?;
        let at = u64::from(entries.times_in_file) * time_index::ENTRY_LEN as u64;
        self.write_index_file(base_offset, TIME_INDEX_SUFFIX, at, times)
            .await?;
        self.store.forget_index(self.id, base_offset);
        let mut state = self.state.borrow_mut();
        if let Some(index) = state.segment_index(base_offset) {
            let index = &mut state.segments[index].index;
            index.pending_offsets.drain(..entries.offsets.len());
            index.pending_times.drain(..entries.times.len());
            index.offsets_in_file += entries.offsets.len() as u32;
            index.times_in_file += entries.times.len() as u32;
            index.trimmed = true;
            index.pending_offsets.shrink_to_fit();
            index.pending_times.shrink_to_fit();
        }
        Ok(())
    }

    fn pending_entries(&self, base_offset: i64, position: u64) -> Option<PendingEntries> {
        let state = self.state.borrow();
        let segment = &state.segments[state.segment_index(base_offset)?];
        Some(PendingEntries::below(&segment.index, position))
    }

    async fn write_index_file(
        &self,
        base_offset: i64,
        suffix: &str,
        position: u64,
        entries: Bytes,
    ) -> Result<(), StorageError> {
        let path = self.segment_path(base_offset, suffix);
        let options = OpenOptions {
            write: true,
            create: true,
            ..OpenOptions::default()
        };
        let file = self.store.open_file(&path, options).await?;
        let end = position + entries.len() as u64;
        let result = async {
            if !entries.is_empty() {
                file.write_at(position, entries).await?;
            }
            if file.size().await? != end {
                file.set_len(end).await?;
            }
            file.sync_data().await
        };
        result
            .await
            .map_err(|cause| StorageError::io_at("write", &path, position, cause))
    }

    /// Lets go of memory and files, if nothing is under way.
    pub(crate) async fn rest(self: &Rc<Self>) -> Result<(), StorageError> {
        self.hold_writer().await;
        let result = {
            let _files = self.files.lock().await;
            self.rest_held().await
        };
        self.release_writer();
        result
    }

    async fn rest_held(self: &Rc<Self>) -> Result<(), StorageError> {
        let end = {
            let state = self.state.borrow();
            if state.flushed != state.end() || state.offline.is_some() || state.closed {
                return Ok(());
            }
            state.end()
        };
        self.write_indexes(end.segment, u64::MAX).await?;
        let file = self.state.borrow().writer.file.clone();
        if let Some(file) = file.filter(|file| file.size != end.position) {
            let path = self.segment_path(end.segment, crate::segment::LOG_SUFFIX);
            file.file
                .set_len(end.position)
                .await
                .map_err(|cause| StorageError::io_at("cut", &path, end.position, cause))?;
        }
        self.state.borrow_mut().writer.file = None;
        self.release_written_chunks(usize::MAX, Spare::Nothing);
        Ok(())
    }

    /// Gives buffers of what is written back to the pool, the oldest first, until they come to
    /// `bytes`.
    pub(crate) fn release_written_chunks(&self, bytes: usize, spare: Spare) -> Released {
        let mut freed = 0;
        let mut state = self.state.borrow_mut();
        let written = state.written;
        let wanted = match (spare, state.tail.first_offset()) {
            (Spare::WhatReadersWant, Some(first)) => {
                let now = self.store.reactor.now();
                state.tail_readers.first_wanted(first, now)
            }
            _ => None,
        };
        while freed < bytes
            && let Some(chunk) = state.tail.pop_written(written, wanted)
        {
            freed += chunk.buffer.capacity();
            self.store.give_back(chunk.buffer);
        }
        let spared = wanted.map_or(0, |_| state.tail.written_bytes(written));
        Released { freed, spared }
    }
}

/// What stays in memory when buffers are wanted for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spare {
    /// What those who read from memory have still before them.
    WhatReadersWant,
    Nothing,
}

/// Bytes of buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Released {
    /// Given back.
    pub freed: usize,
    /// Of what is written, and might have been given back as well.
    pub spared: usize,
}

struct PendingEntries {
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    offsets_in_file: u32,
    times_in_file: u32,
    trimmed: bool,
}

impl PendingEntries {
    /// The entries about batches below `position`.
    fn below(index: &SegmentIndex, position: u64) -> PendingEntries {
        let count = index
            .pending_offsets
            .partition_point(|entry| u64::from(entry.position) < position);
        let offsets = index.pending_offsets[..count].to_vec();
        // A time entry comes with an offset entry and is about batches up to that one; the last
        // of a segment comes alone, when all is written.
        let times = match offsets.last() {
            _ if position == u64::MAX => index.pending_times.clone(),
            None => Vec::new(),
            Some(last) => index
                .pending_times
                .iter()
                .take_while(|entry| entry.relative_offset <= last.relative_offset)
                .copied()
                .collect(),
        };
        PendingEntries {
            offsets,
            times,
            offsets_in_file: index.offsets_in_file,
            times_in_file: index.times_in_file,
            trimmed: index.trimmed,
        }
    }

    fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.times.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Segment;

    #[test]
    fn entries_are_written_as_far_as_their_batches() {
        let mut segment = Segment::new(100, 0, 0);
        for batch in 0..6i64 {
            segment.add_batch(100 + batch, 10 + batch, 60, 100);
        }
        segment.add_time_entry();
        // Batches 2 and 4, at 120 and 240, are in the indexes; 5 has the largest time.
        let below = |position| {
            let entries = PendingEntries::below(&segment.index, position);
            let offsets = entries.offsets.iter().map(|entry| entry.relative_offset);
            let times = entries.times.iter().map(|entry| entry.relative_offset);
            (offsets.collect::<Vec<_>>(), times.collect::<Vec<_>>())
        };
        assert_eq!(below(120), (vec![], vec![]));
        assert_eq!(below(121), (vec![2], vec![2]));
        assert_eq!(below(240), (vec![2], vec![2]));
        assert_eq!(below(360), (vec![2, 4], vec![2, 4]));
        assert_eq!(below(u64::MAX), (vec![2, 4], vec![2, 4, 5]));
    }
}
