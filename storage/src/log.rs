//! One partition's log: its state, its offsets, and appending.
//!
//! Appending is synchronous: on return the batch is in the tail and in every index, and a writer
//! task takes it to the disk. What is asked of the disk lives beside this file: `writer` (the way
//! down), `reader` and `time_lookup` (the way up), `recovery`, `truncation`, `maintenance`
//! (checkpoints, rest), `retention` (the front of the log), `cleaner`
//! (compaction) and `closing`.
//!
//! Invariants: `log_start_offset ≤ flushed ≤ written ≤ log_end_offset` in offsets; the last
//! segment is the one appended to; chunks of the tail end at the end of the log.
//!
//! A transaction index will stand beside `SegmentIndex`.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::record_batch::{BatchHeader, TimestampType};
use millstream_protocol::{LeaderEpoch, Offset, ProducerId};
use millstream_reactor::{File, Notify};

use crate::config::{Durability, LogConfig};
use crate::error::{AppendError, StorageError};
use crate::leader_epoch_cache::{EpochEntry, LeaderEpochCache};
use crate::maintenance::Exclusive;
use crate::producer_snapshot;
use crate::producer_state::{ProducerStates, SequenceCheck};
use crate::reader::ReadHints;
use crate::recovery_checkpoint::{CheckpointEntry, LogName};
use crate::segment::Segment;
use crate::store::ShardStore;
use crate::stored_batch::parse_header;
use crate::tail::{Chunk, Point, SMALLEST_BUFFER_BYTES, Tail};
use crate::tail_readers::TailReaders;

/// Where a batch comes from, which decides what is checked and stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client: sequence numbers are checked, offset and epoch are stamped. Exactly one batch.
    Client,
    /// A leader: taken as it is. When memory runs out after some batches, those are appended and
    /// the answer says how far.
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
    /// The broker's timestamp, or −1 if the records keep the client's. Of a duplicate, the largest
    /// timestamp in the log's batch, whosever it is.
    pub log_append_time: i64,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// Whether the batch was in the log already: then the offsets are those of the first time.
    pub duplicate: bool,
}

/// One partition's log.
pub struct Log {
    pub(crate) store: Rc<ShardStore>,
    /// Its number in this store, for caches.
    pub(crate) id: u64,
    pub(crate) name: LogName,
    pub(crate) dir: RefCell<Arc<Path>>,
    pub(crate) state: RefCell<LogState>,
    pub(crate) progress: Notify,
    /// Held by what changes files beside the writer: checkpoint, seal, truncation, close.
    pub(crate) files: Exclusive,
    /// When it was last appended to, in the store's count.
    pub(crate) last_touch: Cell<u64>,
    /// Whether the store has it in its list of logs that may hold buffers and files.
    pub(crate) is_awake: Cell<bool>,
}

/// What changes as the log is used. Never borrowed across an `await`.
pub(crate) struct LogState {
    pub config: LogConfig,
    /// Oldest first; never empty.
    pub segments: Vec<Segment>,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub high_watermark: i64,
    pub written: Point,
    pub flushed: Point,
    pub tail: Tail,
    pub epochs: LeaderEpochCache,
    /// The epochs are not yet in their file.
    pub epochs_dirty: bool,
    pub producers: ProducerStates,
    /// The snapshot that holds the producers as they are; −1 when there are none and never were
    /// since the last; `None` when they changed.
    pub snapshot: Option<i64>,
    pub checkpoint: CheckpointEntry,
    /// No checkpoint on the disk, or on its way there, names a higher recovery point.
    pub published_recovery_point: i64,
    /// The log start offset that the checkpoint on the disk names.
    pub published_log_start: i64,
    /// Something was appended since the last checkpoint.
    pub dirty: bool,
    /// Something was appended since the log was opened.
    pub touched: bool,
    pub writer: WriterState,
    pub offline: Option<StorageError>,
    /// Why the writer cannot go on for now.
    pub full: Option<StorageError>,
    /// The first offset that was never compacted.
    pub first_dirty: Option<i64>,
    /// Compaction met what it cannot read.
    pub uncleanable: bool,
    /// Files of segments below are being replaced, or cut.
    pub swapping_below: Option<i64>,
    pub closed: bool,
    /// Raised when what readers found may no longer hold.
    pub generation: u64,
    pub hints: ReadHints,
    pub tail_readers: TailReaders,
}

/// What the writer task knows.
#[derive(Default)]
pub(crate) struct WriterState {
    pub running: bool,
    /// How many want the writer to stand still.
    pub held: u32,
    pub file: Option<WriteFile>,
    /// All below is to be flushed, whatever the durability.
    pub flush_target: i64,
    /// How often a write found no room.
    pub refusals: u64,
    /// Fired when the writer stops.
    pub stopped: Notify,
}

/// The file that is written to.
#[derive(Clone)]
pub(crate) struct WriteFile {
    pub segment: i64,
    pub file: File,
    /// The file's size: written blocks and zeros made ahead.
    pub size: u64,
}

impl Log {
    /// The topic's name and the partition.
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// The first offset of the log.
    pub fn log_start_offset(&self) -> Offset {
        Offset(self.state.borrow().log_start_offset)
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        Offset(self.state.borrow().log_end_offset)
    }

    /// All below was handed to the device.
    pub fn written_offset(&self) -> Offset {
        Offset(self.state.borrow().written.offset)
    }

    /// All below was flushed to the device.
    pub fn flushed_offset(&self) -> Offset {
        Offset(self.state.borrow().flushed.offset)
    }

    /// All below has got as far as the log's durability asks.
    pub fn durable_offset(&self) -> Offset {
        Offset(self.state.borrow().durable_offset())
    }

    /// Fired when any of the offsets moves, or the log goes offline.
    pub fn progress(&self) -> Notify {
        self.progress.clone()
    }

    /// Why the log is offline. It takes nothing more; what is durable may still be read.
    pub fn offline(&self) -> Option<StorageError> {
        self.state.borrow().offline.clone()
    }

    /// Why the log takes no appends for now: the disk is full. It is read as ever, and goes on by
    /// itself when there is room.
    pub fn disk_full(&self) -> Option<StorageError> {
        self.state.borrow().full.clone()
    }

    /// The base offsets of the segments, oldest first.
    pub fn segment_base_offsets(&self) -> Vec<i64> {
        let state = self.state.borrow();
        let segments = state.segments.iter();
        segments.map(|segment| segment.base_offset).collect()
    }

    /// Bytes of all batches.
    pub fn size(&self) -> u64 {
        let state = self.state.borrow();
        state.segments.iter().map(|segment| segment.size).sum()
    }

    /// The settings.
    pub fn config(&self) -> LogConfig {
        self.state.borrow().config.clone()
    }

    /// Replaces the settings.
    pub fn set_config(self: &Rc<Self>, config: LogConfig) {
        self.state.borrow_mut().config = config;
        self.wake_writer();
        self.progress.notify_waiters();
    }

    /// Remembers the high watermark for checkpoints; the next open gives it back.
    pub fn set_high_watermark(&self, offset: Offset) {
        self.state.borrow_mut().high_watermark = offset.0;
    }

    /// Notes that a leader epoch begins at the end of the log.
    pub fn assign_leader_epoch(self: &Rc<Self>, epoch: LeaderEpoch) {
        {
            let mut state = self.state.borrow_mut();
            let start = Offset(state.log_end_offset);
            if !state.epochs.assign(epoch, start) {
                return;
            }
            state.epochs_dirty = true;
        }
        self.wake_writer();
    }

    /// The leader epochs that wrote to the log, oldest first.
    pub fn leader_epochs(&self) -> Vec<EpochEntry> {
        self.state.borrow().epochs.entries().to_vec()
    }

    /// The largest epoch up to `epoch` and where it ends; (−1, −1) when that is not known.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let state = self.state.borrow();
        state
            .epochs
            .end_offset_for(epoch, Offset(state.log_end_offset))
    }

    /// Looks at the producers that wrote to the log.
    pub fn with_producer_states<R>(&self, look: impl FnOnce(&ProducerStates) -> R) -> R {
        look(&self.state.borrow().producers)
    }

    /// Forgets producers that have been silent for longer than the settings allow.
    pub fn expire_producers(&self, now_ms: i64) {
        let mut state = self.state.borrow_mut();
        let expiration_ms = state.config.producer_id_expiration_ms;
        if state.producers.expire(now_ms, expiration_ms) {
            state.snapshot = None;
        }
    }

    /// Appends one validated batch, or several. Synchronous; nothing is appended on an error.
    pub fn append(
        self: &Rc<Self>,
        batches: &[u8],
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.refuse_if_unusable()?;
        let first = parse(batches)?;
        if let Some(duplicate) = self.check_producer(batches, &first, origin)? {
            return Ok(duplicate);
        }
        let group_bytes = match origin {
            AppendOrigin::Replication => self.store.config.tail_buffer_bytes,
            AppendOrigin::Client | AppendOrigin::Coordinator => usize::MAX,
        };
        let mut rest = batches;
        let mut appended: Option<Appended> = None;
        while !rest.is_empty() {
            let (group, behind) = rest.split_at(group_len(rest, group_bytes)?);
            match self.append_group(group, leader_epoch, origin, now_ms) {
                Ok(part) => {
                    appended = Some(Appended {
                        base_offset: appended.map_or(part.base_offset, |first| first.base_offset),
                        ..part
                    });
                }
                Err(error) if appended.is_none() => return Err(error),
                Err(_) => break,
            }
            rest = behind;
        }
        self.note_change();
        Ok(appended.expect("there is at least one batch"))
    }

    /// The first offset that was never compacted, if compaction ever got anywhere.
    pub fn first_dirty_offset(&self) -> Option<Offset> {
        self.state.borrow().first_dirty.map(Offset)
    }

    /// The reason why the log can be neither appended to nor cut.
    pub(crate) fn unusable(&self) -> Option<StorageError> {
        let state = self.state.borrow();
        match &state.offline {
            Some(error) => Some(error.clone()),
            None => state.closed.then(|| StorageError::Closed {
                path: self.dir.borrow().to_path_buf(),
            }),
        }
    }

    fn refuse_if_unusable(&self) -> Result<(), AppendError> {
        if let Some(error) = self.unusable() {
            return Err(AppendError::Offline(error));
        }
        if let Some(error) = self.disk_full() {
            return Err(AppendError::DiskFull(error));
        }
        if self.files.is_truncating() {
            return Err(AppendError::Truncating);
        }
        Ok(())
    }

    /// Judges epochs and sequence numbers; gives the answer for a batch that is there already.
    fn check_producer(
        &self,
        batches: &[u8],
        first: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Option<Appended>, AppendError> {
        let state = self.state.borrow();
        match origin {
            AppendOrigin::Replication => Ok(None),
            AppendOrigin::Client => {
                if first.size_in_bytes() != batches.len() {
                    return Err(AppendError::Malformed {
                        reason: "a client's append is exactly one batch",
                    });
                }
                if !first.has_producer_id() {
                    return Ok(None);
                }
                match state.producers.check(first) {
                    SequenceCheck::Duplicate(known) => Ok(Some(Appended {
                        base_offset: Offset(known.first_offset()),
                        last_offset: Offset(known.last_offset),
                        log_append_time: known.timestamp,
                        log_start_offset: Offset(state.log_start_offset),
                        duplicate: true,
                    })),
                    check => refuse(first, check).map(|()| None),
                }
            }
            AppendOrigin::Coordinator => {
                let mut position = 0;
                while position < batches.len() {
                    let header = parse(&batches[position..])?;
                    if header.has_producer_id() {
                        refuse(&header, state.producers.check_epoch(&header))?;
                    }
                    position += header.size_in_bytes();
                }
                Ok(None)
            }
        }
    }

    /// Appends batches that go into one buffer.
    fn append_group(
        self: &Rc<Self>,
        bytes: &[u8],
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let summary = summarize(bytes)?;
        let stamps = origin != AppendOrigin::Replication;
        let (roll, first_offset) = {
            let state = self.state.borrow();
            let segment_bytes = state.config.segment_bytes;
            if stamps && bytes.len() > segment_bytes as usize {
                let len = bytes.len();
                return Err(AppendError::LargerThanSegment { len, segment_bytes });
            }
            let end = state.log_end_offset;
            let (first, last) = if stamps {
                (end, end + summary.offset_span - 1)
            } else {
                (summary.base_offset, summary.last_offset)
            };
            if first < end {
                return Err(AppendError::OffsetMismatch {
                    base_offset: Offset(first),
                    log_end_offset: Offset(end),
                });
            }
            let roll = state.must_roll(bytes.len(), summary.max_timestamp, last, now_ms);
            (roll, first)
        };
        // The state is not borrowed while the store looks for memory, which this log may have.
        let now = self.store.reactor.now();
        let wanted = self.state.borrow().buffer_wanted(bytes.len(), roll, now);
        let buffer = match wanted {
            None => None,
            Some(capacity) => {
                let buffer = self.store.take_buffer(capacity);
                Some(buffer.ok_or(AppendError::NoRoom)?)
            }
        };
        let mut state = self.state.borrow_mut();
        if roll {
            let jitter_ms = self.store.jitter_ms(&state.config);
            state.roll(first_offset, now_ms, jitter_ms);
        }
        if let Some(buffer) = buffer {
            state.add_chunk(buffer, now);
        }
        let stamp = stamps.then_some(leader_epoch);
        let appended = state.take_in(bytes, stamp, first_offset);
        self.store.note_appended(bytes.len() as u64);
        Ok(appended)
    }

    /// There is something to write and to checkpoint, and files may be open.
    pub(crate) fn note_change(self: &Rc<Self>) {
        let newly_dirty = {
            let mut state = self.state.borrow_mut();
            state.touched = true;
            !std::mem::replace(&mut state.dirty, true)
        };
        self.last_touch.set(self.store.next_touch());
        if !self.is_awake.replace(true) {
            self.store.note_awake(self);
        }
        if newly_dirty {
            self.store.note_dirty(self);
        }
        self.wake_writer();
        self.progress.notify_waiters();
    }
}

impl LogState {
    /// The files of segments below this are about to be replaced or cut. Readers of those wait
    /// until the end.
    pub(crate) fn begin_change_below(&mut self, below: i64) {
        self.swapping_below = Some(below);
        self.generation += 1;
    }

    /// They are as they will be: who began meanwhile, without waiting, begins again.
    pub(crate) fn end_change(&mut self) {
        self.swapping_below = None;
        self.generation += 1;
    }

    pub(crate) fn durable_offset(&self) -> i64 {
        match self.config.durability {
            Durability::Fsync => self.flushed.offset,
            Durability::Written => self.written.offset,
            Durability::Memory => self.log_end_offset,
        }
    }

    pub(crate) fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment")
    }

    pub(crate) fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// The segment with this base offset.
    pub(crate) fn segment_index(&self, base_offset: i64) -> Option<usize> {
        self.segments
            .binary_search_by_key(&base_offset, |segment| segment.base_offset)
            .ok()
    }

    /// The offset after the last of a segment.
    pub(crate) fn segment_end_offset(&self, index: usize) -> i64 {
        match self.segments.get(index + 1) {
            Some(next) => next.base_offset,
            None => self.log_end_offset,
        }
    }

    /// The end of the log as a place.
    pub(crate) fn end(&self) -> Point {
        Point {
            segment: self.active().base_offset,
            position: self.active().size,
            offset: self.log_end_offset,
        }
    }

    fn must_roll(&self, len: usize, max_timestamp: i64, last_offset: i64, now_ms: i64) -> bool {
        let segment = self.active();
        let config = &self.config;
        if segment.size == 0 {
            return !segment.can_index(last_offset);
        }
        let age_ms = match segment.first_timestamp {
            Some(first) if first >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(segment.created_ms),
        };
        segment.size + len as u64 > u64::from(config.segment_bytes)
            || age_ms > config.longest_segment_ms() - segment.jitter_ms
            || segment.index.is_full(config.segment_index_bytes)
            || !segment.can_index(last_offset)
    }

    /// Closes the active segment for appends; the writer closes its files.
    pub(crate) fn roll(&mut self, base_offset: i64, now_ms: i64, jitter_ms: i64) {
        let snapshot = producer_snapshot::encode(&self.producers);
        let active = self.active_mut();
        active.add_time_entry();
        active.end_snapshot = Some(snapshot.into());
        self.segments
            .push(Segment::new(base_offset, now_ms, jitter_ms));
    }

    /// The capacity of a buffer for `len` more bytes, if the last one cannot take them.
    fn buffer_wanted(&self, len: usize, roll: bool, now: Instant) -> Option<usize> {
        let last = self.tail.chunks.back();
        if let Some(chunk) = last
            && !roll
            && chunk.segment == self.active().base_offset
            && chunk.buffer.remaining() >= len
        {
            return None;
        }
        let grown = match last {
            Some(chunk) => chunk.next_capacity(now),
            None => SMALLEST_BUFFER_BYTES,
        };
        let largest = self.largest_buffer_bytes();
        // The end of the last block goes first.
        let needed = len + millstream_reactor::BLOCK_SIZE;
        Some(needed.max(grown.min(largest)))
    }

    /// No larger than a segment, of which one buffer serves only one.
    fn largest_buffer_bytes(&self) -> usize {
        let segment_bytes = self.config.segment_bytes as usize;
        let limit = self.tail.largest_buffer_bytes;
        segment_bytes.clamp(SMALLEST_BUFFER_BYTES, limit.max(SMALLEST_BUFFER_BYTES))
    }

    fn add_chunk(&mut self, buffer: millstream_reactor::TailBuffer, now: Instant) {
        let start = self.end();
        let carried = match self.tail.chunks.back() {
            Some(chunk) if chunk.segment == start.segment => chunk.partial_block(),
            _ => None,
        };
        self.tail
            .chunks
            .push_back(Chunk::new(buffer, start, carried.as_deref(), now));
    }

    /// Copies batches into the last chunk and notes them everywhere. They fit.
    fn take_in(&mut self, bytes: &[u8], stamp: Option<LeaderEpoch>, first_offset: i64) -> Appended {
        let start = self.end();
        let chunk = self.tail.chunks.back_mut().expect("a chunk was added");
        assert_eq!(
            chunk.end_position(),
            start.position,
            "the tail ends the log"
        );
        chunk.buffer.append(bytes, |copy| {
            if let Some(leader_epoch) = stamp {
                stamp_batches(copy, first_offset, leader_epoch);
            }
        });
        let headers: Vec<BatchHeader> = {
            let mut rest = chunk.bytes_from(start.position);
            std::iter::from_fn(|| {
                if rest.is_empty() {
                    return None;
                }
                let header = BatchHeader::parse(rest).expect("summarized before");
                rest = &rest[header.size_in_bytes()..];
                Some(header)
            })
            .collect()
        };
        let mut position = start.position;
        for header in &headers {
            chunk.note_batch(position, header.base_offset.0, header.next_offset().0);
            position += header.size_in_bytes() as u64;
        }
        for header in &headers {
            self.note_batch(header);
        }
        let last = headers.last().expect("there is a batch");
        Appended {
            base_offset: Offset(first_offset),
            last_offset: last.last_offset(),
            log_append_time: append_time(last),
            log_start_offset: Offset(self.log_start_offset),
            duplicate: false,
        }
    }

    /// Takes a batch that follows the log's end into indexes, epochs and producers.
    pub(crate) fn note_batch(&mut self, header: &BatchHeader) {
        let interval = self.config.index_interval_bytes;
        self.active_mut().add_batch(
            header.last_offset().0,
            header.max_timestamp,
            header.size_in_bytes() as u64,
            interval,
        );
        let newer = self
            .epochs
            .latest()
            .is_none_or(|latest| header.partition_leader_epoch > latest.epoch);
        if newer
            && self
                .epochs
                .assign(header.partition_leader_epoch, header.base_offset)
        {
            self.epochs_dirty = true;
        }
        if self.producers.update(header) {
            self.snapshot = None;
        }
        self.log_end_offset = header.next_offset().0;
    }
}

/// What an append of several batches comes to.
struct Summary {
    base_offset: i64,
    last_offset: i64,
    /// Offsets that they take when they are stamped.
    offset_span: i64,
    max_timestamp: i64,
}

fn summarize(bytes: &[u8]) -> Result<Summary, AppendError> {
    let mut summary: Option<Summary> = None;
    let mut position = 0;
    while position < bytes.len() {
        let header = parse(&bytes[position..])?;
        let span = i64::from(header.last_offset_delta) + 1;
        let entry = summary.get_or_insert(Summary {
            base_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            offset_span: 0,
            max_timestamp: header.max_timestamp,
        });
        entry.last_offset = header.last_offset().0;
        entry.offset_span += span;
        entry.max_timestamp = entry.max_timestamp.max(header.max_timestamp);
        position += header.size_in_bytes();
    }
    summary.ok_or(AppendError::Malformed {
        reason: "there is no batch",
    })
}

/// The header at the start of `bytes`, which hold the whole batch.
fn parse(bytes: &[u8]) -> Result<BatchHeader, AppendError> {
    let header = parse_header(bytes).map_err(|reason| AppendError::Malformed { reason })?;
    if header.size_in_bytes() > bytes.len() {
        return Err(AppendError::Malformed {
            reason: "a batch is cut short",
        });
    }
    Ok(header)
}

/// Bytes of as many whole batches as go into `limit`, at least of one.
fn group_len(bytes: &[u8], limit: usize) -> Result<usize, AppendError> {
    let mut len = 0;
    let mut next_offset = None;
    while len < bytes.len() {
        let header = parse(&bytes[len..])?;
        // Offsets within an append rise; a batch that falls back starts a group that is refused.
        let falls_back = next_offset.is_some_and(|next| header.base_offset < next);
        if len > 0 && (len + header.size_in_bytes() > limit || (limit < usize::MAX && falls_back)) {
            break;
        }
        next_offset = Some(header.next_offset());
        len += header.size_in_bytes();
    }
    Ok(len)
}

fn stamp_batches(bytes: &mut [u8], first_offset: i64, leader_epoch: LeaderEpoch) {
    use millstream_protocol::record_batch::{patch_base_offset, patch_leader_epoch};

    let mut at = 0;
    let mut offset = first_offset;
    while at < bytes.len() {
        let header = BatchHeader::parse(&bytes[at..]).expect("summarized before");
        patch_base_offset(&mut bytes[at..], Offset(offset));
        patch_leader_epoch(&mut bytes[at..], leader_epoch);
        offset += i64::from(header.last_offset_delta) + 1;
        at += header.size_in_bytes();
    }
}

fn append_time(header: &BatchHeader) -> i64 {
    match header.attributes.timestamp_type() {
        TimestampType::CreateTime => -1,
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

fn refuse(header: &BatchHeader, check: SequenceCheck) -> Result<(), AppendError> {
    let producer_id: ProducerId = header.producer_id;
    match check {
        SequenceCheck::Append | SequenceCheck::Duplicate(_) => Ok(()),
        SequenceCheck::OutOfOrder { last_sequence } => Err(AppendError::OutOfOrderSequence {
            producer_id,
            sequence: header.base_sequence,
            last_sequence,
        }),
        SequenceCheck::StaleEpoch { last_epoch } => Err(AppendError::InvalidProducerEpoch {
            producer_id,
            epoch: header.producer_epoch,
            last_epoch,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;

    fn batches(base_offsets: &[i64]) -> Vec<u8> {
        let batch = |base_offset: &i64| {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(1, None, Some(&[7; 20]), &[]);
            let mut bytes = builder.build().expect("not compressed").to_vec();
            bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
            bytes
        };
        base_offsets.iter().flat_map(batch).collect()
    }

    #[test]
    fn a_group_is_as_many_batches_as_fit_and_rise() {
        let one = batches(&[0]).len();
        let group = |offsets: &[i64], limit| group_len(&batches(offsets), limit).expect("whole");
        assert_eq!(group(&[5, 6, 7], 3 * one), 3 * one);
        assert_eq!(group(&[5, 6, 7], 3 * one - 1), 2 * one);
        assert_eq!(group(&[5, 6, 5], 3 * one), 2 * one);
        assert_eq!(group(&[5, 6, 5], usize::MAX), 3 * one);
        assert_eq!(group(&[5], 1), one);
    }
}
