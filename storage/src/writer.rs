//! The way down: one task for each log that has something to write, none when it has not.
//!
//! The task does one thing at a time, and looks again: what arrived meanwhile joins the next
//! write. In this order: the epochs' file, a flush that somebody waits for, the next write, the
//! closing of a segment that is full. So the epochs of what counts as flushed are on the disk, and
//! a segment is flushed, and the file of the next one is there durably, before anything of the
//! next counts as written. With `fsync`, a small write brings its flush with it, so that the disk is
//! waited for once.
//!
//! Never more than [`MAX_UNFLUSHED_BYTES`] (or one batch) are written without a flush, whatever
//! the durability: recovery tells a torn end from damage by it.
//!
//! A failed write or flush is never repeated, because nobody can know what is on the disk then:
//! the log goes offline. One failure is no more than a pause: a write for which the disk has no
//! room. The bytes are still in memory, the same ones go to the same place when it is tried again,
//! and nothing of them was flushed or acknowledged.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_reactor::{BLOCK_SIZE, BlockRange, File, OpenOptions, TaskQueue};

use crate::config::Durability;
use crate::error::StorageError;
use crate::leader_epoch_cache;
use crate::log::{Log, LogState, WriteFile};
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, path_of};
use crate::tail::{FirstBlock, Point};

/// Bytes that one write takes at most, unless a single buffer is larger.
const MAX_WRITE_BYTES: u64 = 4 << 20;
/// Bytes written that no flush has covered, at most (or one write).
pub(crate) const MAX_UNFLUSHED_BYTES: u64 = 8 << 20;

/// How long a writer that found the disk full waits before it tries again.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

const BLOCK: u64 = BLOCK_SIZE as u64;

/// Space made ahead: so many times the size of the write that needs it, within bounds, and no
/// more than the segment holds already, so that a small topic stays small.
const AHEAD_WRITES: u64 = 64;
const MIN_AHEAD_BYTES: u64 = 16 << 10;
const MAX_AHEAD_BYTES: u64 = 4 << 20;
/// A write of this size changes the file's metadata without making space first: zeroes would cost
/// more than they save.
const LARGE_WRITE_BYTES: u64 = 512 << 10;

/// What the writer does next.
enum Work {
    Flush(Point),
    Epochs(String),
    ReadPrefix {
        segment: i64,
        file_position: u64,
        len: usize,
    },
    Write {
        pieces: Vec<Piece>,
        end: Point,
    },
    Seal(i64),
}

/// Blocks that lie together in memory and in the file.
struct Piece {
    position: u64,
    blocks: BlockRange,
}

impl Log {
    /// Starts the writer if there is something to do and it does not run.
    pub(crate) fn wake_writer(self: &Rc<Self>) {
        {
            let mut state = self.state.borrow_mut();
            if state.writer.running || !state.has_work() {
                return;
            }
            state.writer.running = true;
        }
        self.store
            .reactor
            .spawn(TaskQueue::Requests, self.clone().run_writer())
            .detach();
    }

    /// Waits until all that was appended so far is flushed, whatever the durability.
    pub async fn flush(self: &Rc<Self>) -> Result<(), StorageError> {
        let target = self.state.borrow().log_end_offset;
        self.flush_to(target).await
    }

    /// Fails on a full disk after a try that began later than this.
    pub(crate) async fn flush_to(self: &Rc<Self>, target: i64) -> Result<(), StorageError> {
        let refusals = self.state.borrow().writer.refusals;
        loop {
            let progress = self.progress.notified();
            {
                let mut state = self.state.borrow_mut();
                // What is above the end was truncated meanwhile.
                let target = target.min(state.log_end_offset);
                if state.flushed.offset >= target {
                    return Ok(());
                }
                if let Some(error) = &state.offline {
                    return Err(error.clone());
                }
                if state.closed {
                    return Err(StorageError::Closed {
                        path: self.dir.borrow().to_path_buf(),
                    });
                }
                if let Some(error) = &state.full
                    && state.writer.refusals > refusals
                {
                    return Err(error.clone());
                }
                state.writer.flush_target = state.writer.flush_target.max(target);
            }
            self.wake_writer();
            progress.await;
        }
    }

    /// Lets the writer finish what it is at and stand still until [`Log::release_writer`].
    pub(crate) async fn hold_writer(&self) {
        self.state.borrow_mut().writer.held += 1;
        loop {
            let stopped = self.state.borrow().writer.stopped.notified();
            if !self.state.borrow().writer.running {
                return;
            }
            stopped.await;
        }
    }

    pub(crate) fn release_writer(self: &Rc<Self>) {
        self.state.borrow_mut().writer.held -= 1;
        self.wake_writer();
    }

    /// Takes the log out of use.
    pub(crate) fn go_offline(&self, error: StorageError) {
        let mut state = self.state.borrow_mut();
        if state.offline.is_none() {
            tracing::error!(
                topic = self.name.0,
                partition = self.name.1.0,
                durable = state.durable_offset(),
                end = state.log_end_offset,
                "the log goes offline: {error}"
            );
            state.offline = Some(error);
        }
        drop(state);
        self.progress.notify_waiters();
        self.store.room.notify_waiters();
    }

    async fn run_writer(self: Rc<Self>) {
        loop {
            let work = {
                let mut state = self.state.borrow_mut();
                match state.next_work() {
                    Some(work) => work,
                    None => {
                        state.writer.running = false;
                        state.writer.stopped.notify_waiters();
                        return;
                    }
                }
            };
            let caught_up = matches!(work, Work::Write { .. } | Work::Seal(_));
            match self.execute(work).await {
                Ok(()) if caught_up => self.note_room(),
                Ok(()) => (),
                Err(error) if error.is_full() => {
                    self.note_full(error);
                    self.store.reactor.sleep(FULL_DISK_PAUSE).await;
                }
                Err(error) => self.go_offline(error),
            }
        }
    }

    fn note_full(&self, error: StorageError) {
        let mut state = self.state.borrow_mut();
        state.writer.refusals += 1;
        if state.full.is_none() {
            tracing::error!(
                topic = self.name.0,
                partition = self.name.1.0,
                durable = state.durable_offset(),
                end = state.log_end_offset,
                "the log takes nothing until there is room: {error}"
            );
            state.full = Some(error);
        }
        drop(state);
        self.progress.notify_waiters();
        self.store.room.notify_waiters();
    }

    fn note_room(&self) {
        if self.state.borrow_mut().full.take().is_some() {
            let (topic, partition) = &self.name;
            tracing::info!(topic, partition = partition.0, "there is room again");
            self.progress.notify_waiters();
        }
    }

    async fn execute(self: &Rc<Self>, work: Work) -> Result<(), StorageError> {
        match work {
            Work::Flush(point) => self.flush_written(point).await,
            Work::Epochs(text) => {
                let result = self.write_epochs(text).await;
                if result.is_err() {
                    self.state.borrow_mut().epochs_dirty = true;
                }
                result
            }
            Work::ReadPrefix {
                segment,
                file_position,
                len,
            } => self.read_prefix(segment, file_position, len).await,
            Work::Write { pieces, end } => self.write(pieces, end).await,
            Work::Seal(segment) => self.seal(segment).await,
        }
    }

    async fn flush_written(self: &Rc<Self>, point: Point) -> Result<(), StorageError> {
        let file = self.write_file(point.segment).await?;
        self.store
            .flushes
            .flush(&self.store.reactor, file.file)
            .await
            .map_err(|cause| self.write_error("flush", point, cause))?;
        self.state.borrow_mut().flushed = point;
        self.progress.notify_waiters();
        Ok(())
    }

    pub(crate) async fn write_epochs(&self, text: String) -> Result<(), StorageError> {
        let path = self.dir.borrow().join(leader_epoch_cache::FILE_NAME);
        self.store.write_atomic(&path, text.into()).await
    }

    async fn read_prefix(
        self: &Rc<Self>,
        segment: i64,
        file_position: u64,
        len: usize,
    ) -> Result<(), StorageError> {
        let path = self.segment_path(segment, LOG_SUFFIX);
        let file = self.write_file(segment).await?.file;
        let block = file
            .read_at(file_position, BLOCK_SIZE)
            .await
            .map_err(|cause| StorageError::io_at("read", &path, file_position, cause))?
            .into_bytes();
        if block.len() < len {
            return Err(StorageError::damaged(
                &path,
                file_position + block.len() as u64,
                "the file is shorter than it was",
            ));
        }
        let first_position = file_position + len as u64;
        let mut state = self.state.borrow_mut();
        state
            .tail
            .set_prefix(segment, first_position, block.slice(..len));
        Ok(())
    }

    async fn write(self: &Rc<Self>, pieces: Vec<Piece>, end: Point) -> Result<(), StorageError> {
        let mut file = self.write_file(end.segment).await?;
        let bytes: u64 = pieces.iter().map(|piece| piece.blocks.len() as u64).sum();
        let blocks_end = end.position.next_multiple_of(BLOCK);
        if blocks_end > file.size && bytes < LARGE_WRITE_BYTES {
            self.make_space_ahead(&mut file, end, bytes).await?;
        }
        let flushes = pieces.len() == 1
            && bytes < LARGE_WRITE_BYTES
            && self.state.borrow().next_write_may_flush();
        let writes = pieces.into_iter().map(|Piece { position, blocks }| {
            let file = file.file.clone();
            async move {
                let result = match flushes {
                    true => file.write_blocks_durably(position, blocks).await,
                    false => file.write_blocks(position, blocks).await,
                };
                result.map_err(|cause| (position, cause))
            }
        });
        futures::future::try_join_all(writes)
            .await
            .map_err(|(position, cause)| {
                let action = if flushes { "write and flush" } else { "write" };
                self.write_error(action, Point { position, ..end }, cause)
            })?;
        file.size = file.size.max(blocks_end);
        {
            let mut state = self.state.borrow_mut();
            state.written = end;
            if flushes {
                state.flushed = end;
            }
            state.writer.file = Some(file);
        }
        self.progress.notify_waiters();
        self.store.room.notify_waiters();
        Ok(())
    }

    /// Makes space for the write of `bytes` that reaches `end`, and for later ones.
    async fn make_space_ahead(
        &self,
        file: &mut WriteFile,
        end: Point,
        bytes: u64,
    ) -> Result<(), StorageError> {
        let blocks_end = end.position.next_multiple_of(BLOCK);
        let ahead = (bytes * AHEAD_WRITES)
            .min(end.position)
            .clamp(MIN_AHEAD_BYTES, MAX_AHEAD_BYTES);
        let limit = u64::from(self.state.borrow().config.segment_bytes).next_multiple_of(BLOCK);
        let from = file.size.next_multiple_of(BLOCK);
        let to = (blocks_end + ahead).next_multiple_of(BLOCK).min(limit);
        if to <= blocks_end {
            return Ok(());
        }
        let failed = |cause| self.write_error("make space in", end, cause);
        match file.file.write_zeros(from, to - from).await {
            Ok(()) => file.size = to,
            // What is ahead is more than what is needed: the disk may have room for the write.
            Err(cause) if cause.kind() == std::io::ErrorKind::StorageFull => {
                file.size = file.file.size().await.map_err(failed)?;
            }
            Err(cause) => return Err(failed(cause)),
        }
        Ok(())
    }

    /// Cuts a full segment to its length, completes its indexes and its snapshot, and begins the
    /// next one.
    async fn seal(self: &Rc<Self>, base_offset: i64) -> Result<(), StorageError> {
        let _files = self.files.lock().await;
        let (end, next, snapshot) = {
            let state = self.state.borrow();
            let index = state
                .segment_index(base_offset)
                .expect("a segment being written is not removed");
            let next = state.segments[index + 1].base_offset;
            let end = Point {
                segment: base_offset,
                ..state.written
            };
            assert_eq!(end.position, state.segments[index].size, "all is written");
            (end, next, state.segments[index].end_snapshot.clone())
        };
        self.trim_and_flush(end).await?;
        self.write_indexes(base_offset, u64::MAX).await?;
        if let Some(snapshot) = snapshot {
            let path = self.segment_path(next, SNAPSHOT_SUFFIX);
            self.store.write_atomic(&path, snapshot).await?;
        }
        let file = self.create_segment_files(next).await?;
        {
            let mut state = self.state.borrow_mut();
            if let Some(index) = state.segment_index(base_offset) {
                state.segments[index].end_snapshot = None;
            }
            let start = Point {
                segment: next,
                position: 0,
                offset: end.offset,
            };
            state.written = start;
            state.flushed = start;
            state.writer.file = Some(WriteFile {
                segment: next,
                file,
                size: 0,
            });
        }
        self.progress.notify_waiters();
        self.store.note_roll();
        Ok(())
    }

    /// Cuts the file at the end of what was written, and flushes it.
    pub(crate) async fn trim_and_flush(self: &Rc<Self>, end: Point) -> Result<(), StorageError> {
        let mut file = self.write_file(end.segment).await?;
        if file.size != end.position {
            file.file
                .set_len(end.position)
                .await
                .map_err(|cause| self.write_error("cut", end, cause))?;
            file.size = end.position;
        }
        file.file
            .sync_data()
            .await
            .map_err(|cause| self.write_error("flush", end, cause))?;
        let mut state = self.state.borrow_mut();
        state.flushed = end;
        state.writer.file = Some(file);
        Ok(())
    }

    /// Makes the files of a segment, durably.
    pub(crate) async fn create_segment_files(
        &self,
        base_offset: i64,
    ) -> Result<File, StorageError> {
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
            let path = self.segment_path(base_offset, suffix);
            let options = OpenOptions {
                write: true,
                create: true,
                truncate: true,
                ..OpenOptions::default()
            };
            self.store.open_file(&path, options).await?;
        }
        let path = self.segment_path(base_offset, LOG_SUFFIX);
        let options = OpenOptions {
            write: true,
            create: true,
            truncate: true,
            direct: self.store.config.direct_io,
            ..OpenOptions::default()
        };
        let file = self.store.open_file(&path, options).await?;
        let dir = self.dir.borrow().clone();
        self.store.sync_dir(&dir).await?;
        Ok(file)
    }

    /// The segment's file, open for writing.
    pub(crate) async fn write_file(&self, segment: i64) -> Result<WriteFile, StorageError> {
        if let Some(file) = &self.state.borrow().writer.file
            && file.segment == segment
        {
            return Ok(file.clone());
        }
        let path = self.segment_path(segment, LOG_SUFFIX);
        let options = OpenOptions {
            write: true,
            direct: self.store.config.direct_io,
            ..OpenOptions::default()
        };
        let file = self.store.open_file(&path, options).await?;
        let size = file
            .size()
            .await
            .map_err(|cause| StorageError::io("look at", &path, cause))?;
        let file = WriteFile {
            segment,
            file,
            size,
        };
        self.state.borrow_mut().writer.file = Some(file.clone());
        Ok(file)
    }

    pub(crate) fn segment_path(&self, offset: i64, suffix: &str) -> std::path::PathBuf {
        path_of(&self.dir.borrow(), offset, suffix)
    }

    fn write_error(&self, action: &'static str, at: Point, cause: std::io::Error) -> StorageError {
        let path = self.segment_path(at.segment, LOG_SUFFIX);
        StorageError::io_at(action, &path, at.position, cause)
    }
}

impl LogState {
    fn has_work(&self) -> bool {
        let stands_still = self.writer.held > 0 || self.offline.is_some() || self.closed;
        !stands_still
            && (self.epochs_are_due() || self.written != self.end() || self.flush_is_due())
    }

    /// Whether the file of epochs has to be written before the log goes on. An epoch that has no
    /// record yet can wait: whoever leads next begins another one at the same offset.
    pub(crate) fn epochs_are_due(&self) -> bool {
        let end = self.log_end_offset;
        let latest = self.epochs.latest();
        self.epochs_dirty && latest.is_some_and(|latest| latest.start_offset.0 < end)
    }

    fn flush_is_due(&self) -> bool {
        if self.flushed.offset >= self.written.offset {
            return false;
        }
        let unflushed = self.written.position.saturating_sub(self.flushed.position);
        self.config.durability == Durability::Fsync
            || unflushed >= MAX_UNFLUSHED_BYTES
            || (self.writer.flush_target > self.flushed.offset
                && self.written.offset >= self.writer.flush_target)
    }

    /// Whether a flush would follow the next write, and be about nothing but that: if the disk has
    /// no room for it, it may be tried again.
    fn next_write_may_flush(&self) -> bool {
        self.config.durability == Durability::Fsync && self.flushed == self.written
    }

    fn next_work(&mut self) -> Option<Work> {
        if !self.has_work() {
            return None;
        }
        if self.epochs_are_due() {
            self.epochs_dirty = false;
            return Some(Work::Epochs(self.epochs.to_text()));
        }
        if self.flush_is_due() {
            return Some(Work::Flush(self.written));
        }
        let segment = self.written.segment;
        let index = self
            .segment_index(segment)
            .expect("a segment being written is not removed");
        if self.written.position < self.segments[index].size {
            return Some(self.next_write(segment));
        }
        // There is more, and not of this segment.
        Some(Work::Seal(segment))
    }

    /// The chunks of the segment from where it is written, as far as one write goes.
    fn next_write(&self, segment: i64) -> Work {
        let mut pieces = Vec::new();
        let mut end = self.written;
        let mut chunks = self.tail.above(segment, self.written.position).peekable();
        let mut bytes = 0;
        while let Some(chunk) = chunks.next() {
            let len = chunk.buffer.len() as u64;
            let mut from = end.position.max(chunk.file_position) - chunk.file_position;
            // The next chunk begins with the last block of this one, if that is not full; then
            // the block is written from there, and only from there.
            let is_last = bytes + (len - from) >= MAX_WRITE_BYTES;
            let to = match chunks.peek() {
                Some(next) if next.carries() && !is_last => {
                    next.file_position - chunk.file_position
                }
                _ => len,
            };
            if from < BLOCK && to > 0 {
                match chunk.first_block() {
                    FirstBlock::InBuffer => (),
                    FirstBlock::Missing(_) if !pieces.is_empty() => break,
                    FirstBlock::Missing(lead) => {
                        return Work::ReadPrefix {
                            segment,
                            file_position: chunk.file_position,
                            len: lead,
                        };
                    }
                    FirstBlock::Joined(block) => {
                        pieces.push(Piece {
                            position: chunk.file_position,
                            blocks: block.blocks(0..block.len()),
                        });
                        from = BLOCK;
                    }
                }
            }
            end = chunk.end();
            if from < to {
                let blocks = chunk.buffer.blocks(from as usize..to as usize);
                bytes += blocks.len() as u64;
                pieces.push(Piece {
                    position: chunk.file_position + from - from % BLOCK,
                    blocks,
                });
            }
            if is_last {
                break;
            }
        }
        assert!(
            end.position > self.written.position,
            "there is something to write: {:?}",
            self.written
        );
        Work::Write { pieces, end }
    }
}

/// An index's pending entries as bytes.
pub(crate) fn encode_entries<const N: usize, T: Copy>(
    entries: &[T],
    encode: impl Fn(T) -> [u8; N],
) -> Bytes {
    let mut bytes = Vec::with_capacity(entries.len() * N);
    for entry in entries {
        bytes.extend_from_slice(&encode(*entry));
    }
    bytes.into()
}
