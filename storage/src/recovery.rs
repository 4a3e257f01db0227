//! Opening a log: made new, taken over from a clean stop, or recovered after a crash.
//!
//! After a clean stop the files are believed; only the last few kilobytes are looked at, to learn
//! where the log ends. After a crash everything above the recovery point is read and its CRCs are
//! checked, up to the first batch that is not whole; what lies behind it is cut off, unless it
//! proves that the bad batch had been whole once: see [`crate::segment_scan`].

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use millstream_protocol::{Offset, PartitionIndex, TopicId};
use millstream_reactor::{Notify, OpenOptions};

use crate::cleaner::settle_swaps;
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::leader_epoch_cache::{self, LeaderEpochCache};
use crate::log::{Log, LogState, WriterState};
use crate::maintenance::Exclusive;
use crate::offset_index::{self, OffsetIndexView};
use crate::partition_metadata;
use crate::producer_snapshot;
use crate::producer_state::ProducerStates;
use crate::reader::{ReadHints, Walker};
use crate::recovery_checkpoint::{CheckpointEntry, CheckpointPlace};
use crate::retention::DELETED_SUFFIX;
use crate::segment::{
    INDEX_SUFFIX, LOG_SUFFIX, MaxTimestamp, SNAPSHOT_SUFFIX, Segment, TIME_INDEX_SUFFIX,
    offset_in_name,
};
use crate::segment_scan::{ScanEnd, scan_segment, starts_with_batch};
use crate::store::ShardStore;
use crate::tail::{Point, Tail};
use crate::tail_readers::TailReaders;
use crate::time_index::{self, TimeIndexView};

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The log was made new.
    pub created: bool,
    /// The high watermark of the last checkpoint, within the log's bounds.
    pub high_watermark: Offset,
    /// Bytes whose CRCs were checked.
    pub scanned_bytes: u64,
    /// Bytes cut off behind the last whole batch, zeros made ahead among them.
    pub truncated_bytes: u64,
}

/// A `.log` file found in the folder.
#[derive(Debug, Clone, Copy)]
struct FoundSegment {
    base_offset: i64,
    size: u64,
}

/// What is in the folder of a log.
#[derive(Debug, Default)]
struct FoundFiles {
    segments: Vec<FoundSegment>,
    /// The offsets of the snapshots of producers.
    snapshots: Vec<i64>,
}

impl Log {
    /// Opens a partition's log, making it if it is not there.
    pub async fn open(
        store: &Rc<ShardStore>,
        topic: &str,
        partition: PartitionIndex,
        topic_id: TopicId,
        config: LogConfig,
    ) -> Result<(Rc<Log>, Recovery), StorageError> {
        let dir = store.config.root.join(format!("{topic}-{partition}"));
        let mut entry = store.start_entry(topic, partition, topic_id);
        let made = prepare_folder(store, &dir, topic_id).await?;
        if made && entry.as_ref().is_some_and(|entry| entry.topic_id.is_none()) {
            // Kafka's files name no topic id: this may be about a deleted topic of the same name.
            entry = None;
        }
        let files = if made {
            FoundFiles::default()
        } else {
            list_files(store, &dir).await?
        };
        let found = files.segments;
        let epochs = read_epochs(store, &dir).await?;

        let start = entry.as_ref().map_or(0, |entry| entry.log_start_offset.0);
        let mut recovery = Recovery::default();
        let (name, checkpoint) = ((topic.to_owned(), partition), entry.clone());
        let log = Rc::new(Log {
            store: store.clone(),
            id: store.next_log_id(),
            name,
            dir: RefCell::new(Arc::from(dir)),
            state: RefCell::new(LogState::opening(store, config, epochs, topic_id)),
            progress: Notify::new(),
            files: Exclusive::default(),
            last_touch: Cell::new(0),
            is_awake: Cell::new(false),
        });
        if let Some(entry) = &entry {
            let mut state = log.state.borrow_mut();
            state.published_recovery_point = entry.recovery_point.0;
            state.published_log_start = entry.log_start_offset.0;
        }
        if !made {
            log.state.borrow_mut().first_dirty = store.start_first_dirty(topic, partition);
        }
        if found.is_empty() {
            recovery.created = true;
            log.create(start).await?;
        } else {
            let clean = store.start_was_clean() && log.load(&found).await?;
            if !clean {
                log.recover(&found, checkpoint.as_ref(), &mut recovery)
                    .await?;
            }
        }
        log.finish_opening(entry.as_ref(), &files.snapshots).await?;
        recovery.high_watermark = Offset(log.state.borrow().high_watermark);
        store.register(&log);
        Ok((log, recovery))
    }

    /// The first segment of a log without any.
    async fn create(self: &Rc<Self>, start: i64) -> Result<(), StorageError> {
        let epochs = self.state.borrow().epochs.to_text();
        self.write_epochs(epochs).await?;
        self.create_segment_files(start).await?;
        let now_ms = self.store.reactor.wall_clock_ms();
        let mut state = self.state.borrow_mut();
        state.segments.push(Segment::new(start, now_ms, 0));
        state.log_end_offset = start;
        state.snapshot = Some(-1);
        Ok(())
    }

    /// Takes over what a clean stop left. Whether it looks like that.
    async fn load(self: &Rc<Self>, found: &[FoundSegment]) -> Result<bool, StorageError> {
        let last = found.last().expect("there is a segment");
        {
            let mut state = self.state.borrow_mut();
            let now_ms = self.store.reactor.wall_clock_ms();
            state.segments = found.iter().map(|found| found.segment(now_ms)).collect();
        }
        if last.size == 0 {
            // Its indexes are empty as well.
            let mut state = self.state.borrow_mut();
            state.log_end_offset = last.base_offset;
            let active = state.active_mut();
            active.index.trimmed = true;
            active.max_timestamp = Some(MaxTimestamp::NONE);
        } else if !self.load_last_segment(last).await? {
            return Ok(false);
        }
        self.rebuild_producers().await?;
        Ok(true)
    }

    /// Takes over the last segment as a clean stop left it. Whether it looks like that.
    async fn load_last_segment(self: &Rc<Self>, last: &FoundSegment) -> Result<bool, StorageError> {
        self.load_index(last.base_offset, last.size, i64::MAX)
            .await?;
        let end = Point {
            segment: last.base_offset,
            position: last.size,
            offset: last.base_offset,
        };
        let sound = match self.last_entries_hold(last.base_offset).await {
            Ok(true) => self.complete_segment_state(end).await,
            Ok(false) => {
                let path = self.segment_path(last.base_offset, INDEX_SUFFIX);
                Err(StorageError::damaged(
                    &path,
                    0,
                    "its last entry is not true",
                ))
            }
            Err(error) => Err(error),
        };
        match sound {
            Ok(next_offset) => self.state.borrow_mut().log_end_offset = next_offset,
            Err(error @ StorageError::Damaged { .. }) => {
                tracing::warn!("not as a clean stop leaves it, will be recovered: {error}");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Reads the entries of the last segment's indexes that are about batches below `position`
    /// and `offset`.
    async fn load_index(
        self: &Rc<Self>,
        base: i64,
        position: u64,
        offset: i64,
    ) -> Result<(), StorageError> {
        let offsets = self.read_index_file(base, INDEX_SUFFIX).await?;
        let times = self.read_index_file(base, TIME_INDEX_SUFFIX).await?;
        let view = OffsetIndexView::checked(&offsets);
        let count = view.count_where(|entry| {
            u64::from(entry.position) < position && base + i64::from(entry.relative_offset) < offset
        });
        let last = count.checked_sub(1).map(|last| view.entry(last));
        let time_view = TimeIndexView::checked(&times);
        let time_count =
            time_view.count_where(|entry| base + i64::from(entry.relative_offset) < offset);
        let last_time = time_view.first(time_count).last();

        let mut state = self.state.borrow_mut();
        let active = state.active_mut();
        assert_eq!(active.base_offset, base, "only the last segment's are kept");
        active.index.offsets_in_file = count as u32;
        active.index.times_in_file = time_count as u32;
        active.index.trimmed = offsets.len() == count * offset_index::ENTRY_LEN
            && times.len() == time_count * time_index::ENTRY_LEN;
        active.index.last_position = last.map_or(0, |entry| u64::from(entry.position));
        active.index.last_time = last_time;
        active.max_timestamp = Some(last_time.map_or(MaxTimestamp::NONE, |entry| MaxTimestamp {
            timestamp: entry.timestamp,
            offset: base + i64::from(entry.relative_offset),
        }));
        Ok(())
    }

    /// Reads what may not have been flushed when the last run ended.
    async fn recover(
        self: &Rc<Self>,
        found: &[FoundSegment],
        checkpoint: Option<&CheckpointEntry>,
        recovery: &mut Recovery,
    ) -> Result<(), StorageError> {
        let place = checkpoint.and_then(|checkpoint| checkpoint.place);
        let first = match (place, checkpoint) {
            (Some(place), _) => found
                .iter()
                .position(|found| found.base_offset == place.segment),
            (None, Some(checkpoint)) => found
                .iter()
                .rposition(|found| found.base_offset <= checkpoint.recovery_point.0),
            (None, None) => Some(0),
        };
        let first = first.unwrap_or(0);
        let start = place
            .filter(|place| found[first].base_offset == place.segment)
            .zip(checkpoint);
        match start {
            Some((place, checkpoint)) => {
                self.start_at_place(&found[..=first], place, checkpoint.recovery_point.0)
                    .await?;
            }
            None => self.start_at_segment(&found[..=first]).await?,
        }
        for index in first..found.len() {
            if index > first {
                self.begin_found_segment(found[index]).await?;
            }
            if !self.scan_found(found, index, recovery).await? {
                break;
            }
        }
        Ok(())
    }

    /// Sets the state to what a checkpoint of ours says.
    async fn start_at_place(
        self: &Rc<Self>,
        found: &[FoundSegment],
        place: CheckpointPlace,
        recovery_point: i64,
    ) -> Result<(), StorageError> {
        let now_ms = self.store.reactor.wall_clock_ms();
        let last = found.last().expect("the place is in a segment");
        if last.size < place.position {
            let path = self.segment_path(last.base_offset, LOG_SUFFIX);
            return Err(StorageError::damaged(
                &path,
                last.size,
                "the file ends before what was flushed",
            ));
        }
        {
            let mut state = self.state.borrow_mut();
            state.segments = found.iter().map(|found| found.segment(now_ms)).collect();
            state.active_mut().size = place.position;
            state.log_end_offset = recovery_point;
        }
        self.load_index(place.segment, place.position, recovery_point)
            .await?;
        let mut walker = Walker::new(self, place.segment);
        if let Some(first) = walker.at(0).await? {
            let mut state = self.state.borrow_mut();
            state.active_mut().first_timestamp = Some(first.header.max_timestamp);
        }
        {
            let mut state = self.state.borrow_mut();
            state.active_mut().max_timestamp = Some(MaxTimestamp {
                timestamp: place.max_timestamp,
                offset: place.max_timestamp_offset,
            });
            state.snapshot = Some(place.snapshot);
        }
        if place.snapshot == -1 {
            return Ok(());
        }
        match self.read_snapshot(place.snapshot).await? {
            Some(states) => {
                self.state.borrow_mut().producers = states;
                Ok(())
            }
            None => self.rebuild_producers().await,
        }
    }

    /// Sets the state to the start of the last of `found`; what comes before is believed.
    async fn start_at_segment(self: &Rc<Self>, found: &[FoundSegment]) -> Result<(), StorageError> {
        let now_ms = self.store.reactor.wall_clock_ms();
        {
            let mut state = self.state.borrow_mut();
            state.segments = found.iter().map(|found| found.segment(now_ms)).collect();
            let active = state.active_mut();
            active.size = 0;
            active.max_timestamp = Some(MaxTimestamp::NONE);
            state.log_end_offset = state.active().base_offset;
        }
        self.rebuild_producers().await
    }

    /// Completes the files of the segment scanned last, and begins the next one.
    async fn begin_found_segment(self: &Rc<Self>, found: FoundSegment) -> Result<(), StorageError> {
        let (sealed, end_offset, snapshot) = {
            let mut state = self.state.borrow_mut();
            state.active_mut().add_time_entry();
            let snapshot = producer_snapshot::encode(&state.producers);
            (
                state.active().base_offset,
                state.log_end_offset,
                bytes::Bytes::from(snapshot),
            )
        };
        if end_offset > found.base_offset {
            let path = self.segment_path(found.base_offset, LOG_SUFFIX);
            return Err(StorageError::damaged(
                &path,
                0,
                "the segment before it goes on beyond its first offset",
            ));
        }
        self.write_indexes(sealed, u64::MAX).await?;
        let path = self.segment_path(found.base_offset, SNAPSHOT_SUFFIX);
        self.store.write_atomic(&path, snapshot).await?;
        let now_ms = self.store.reactor.wall_clock_ms();
        let mut state = self.state.borrow_mut();
        let mut segment = Segment::new(found.base_offset, now_ms, 0);
        segment.index.trimmed = false;
        state.segments.push(segment);
        state.log_end_offset = found.base_offset;
        Ok(())
    }

    /// Scans the last segment of the state from its size on. Whether the next one may follow.
    async fn scan_found(
        self: &Rc<Self>,
        found: &[FoundSegment],
        index: usize,
        recovery: &mut Recovery,
    ) -> Result<bool, StorageError> {
        let FoundSegment { base_offset, size } = found[index];
        let path = self.segment_path(base_offset, LOG_SUFFIX);
        let file = self.store.open_file(&path, OpenOptions::default()).await?;
        let start = self.state.borrow().active().size;
        let end = scan_segment(self, &file, &path, size).await?;
        let valid = self.state.borrow().active().size;
        recovery.scanned_bytes += valid - start;
        let mut goes_on = true;
        if let ScanEnd::NotWhole = end {
            let rest = &found[index + 1..];
            for later in rest {
                let later_path = self.segment_path(later.base_offset, LOG_SUFFIX);
                let options = OpenOptions::default();
                let later_file = self.store.open_file(&later_path, options).await?;
                if starts_with_batch(&later_file, &later_path, later.size).await? {
                    return Err(StorageError::damaged(
                        &path,
                        valid,
                        "a batch is not whole, and later segments have whole ones",
                    ));
                }
            }
            for later in rest.iter().rev() {
                self.remove_segment_files(later.base_offset).await?;
                recovery.truncated_bytes += later.size;
            }
            if !rest.is_empty() {
                // Before the cut, which would let a segment that came back follow on.
                let dir = self.dir.borrow().clone();
                self.store.sync_dir(&dir).await?;
            }
            recovery.truncated_bytes += size - valid;
            goes_on = false;
        }
        let options = OpenOptions {
            write: true,
            ..OpenOptions::default()
        };
        let file = self.store.open_file(&path, options).await?;
        let result = async {
            if size != valid {
                file.set_len(valid).await?;
            }
            file.sync_data().await
        };
        result
            .await
            .map_err(|cause| StorageError::io_at("cut", &path, valid, cause))?;
        Ok(goes_on)
    }

    /// Settles what follows from where the log ends.
    async fn finish_opening(
        self: &Rc<Self>,
        entry: Option<&CheckpointEntry>,
        snapshots: &[i64],
    ) -> Result<(), StorageError> {
        let first_base = self.state.borrow().segments[0].base_offset;
        let log_start = entry.map_or(0, |entry| entry.log_start_offset.0);
        let end = self.state.borrow().end();
        {
            let mut state = self.state.borrow_mut();
            state.written = end;
            state.flushed = end;
        }
        if log_start > end.offset {
            return self.restart_at(log_start).await;
        }
        let mut stale = snapshots.iter().filter(|&&snapshot| snapshot > end.offset);
        for &snapshot in stale.clone() {
            self.remove_snapshot(snapshot).await;
        }
        if stale.next().is_some() {
            let dir = self.dir.borrow().clone();
            self.store.sync_dir(&dir).await?;
        }
        let indexed = self.write_indexes(end.segment, u64::MAX).await;
        later_if_full(indexed)?;
        let epochs = {
            let mut state = self.state.borrow_mut();
            state.log_start_offset = log_start.max(first_base);
            let log_start = Offset(state.log_start_offset);
            let high_watermark = entry.map_or(0, |entry| entry.high_watermark.0);
            state.high_watermark = high_watermark.clamp(log_start.0, end.offset);
            let cut = state.epochs.truncate_from_end(Offset(end.offset))
                | state.epochs.truncate_from_start(log_start);
            let changed = cut || std::mem::take(&mut state.epochs_dirty);
            changed.then(|| state.epochs.to_text())
        };
        if let Some(epochs) = epochs {
            let written = self.write_epochs(epochs).await;
            // Nothing is written before they are.
            self.state.borrow_mut().epochs_dirty = later_if_full(written)?;
        }
        let mut state = self.state.borrow_mut();
        let max = state.active().max_timestamp.unwrap_or(MaxTimestamp::NONE);
        state.checkpoint.recovery_point = Offset(end.offset);
        state.checkpoint.place = state.snapshot.map(|snapshot| CheckpointPlace {
            segment: end.segment,
            position: end.position,
            snapshot,
            max_timestamp: max.timestamp,
            max_timestamp_offset: max.offset,
        });
        if state.checkpoint.place.is_none() {
            state.dirty = true;
            // Without a place the next recovery reads the last segment, for the producers.
            state.checkpoint.recovery_point = Offset(end.segment);
        }
        Ok(())
    }

    /// What was found ends before the log's first offset: nothing of it counts.
    async fn restart_at(self: &Rc<Self>, log_start: i64) -> Result<(), StorageError> {
        tracing::warn!(
            topic = self.name.0,
            partition = self.name.1.0,
            log_start,
            "the log ends before its first offset and starts afresh"
        );
        self.truncate_fully_and_start_at(Offset(log_start)).await
    }

    /// The producers as they are at the end of the log: the newest snapshot up to there that can be
    /// read, and the batches since.
    pub(crate) async fn rebuild_producers(self: &Rc<Self>) -> Result<(), StorageError> {
        let end_offset = self.state.borrow().log_end_offset;
        let (mut states, snapshot) = self.newest_snapshot(end_offset).await?;
        let mut changed = false;
        if snapshot != Some(end_offset) {
            changed = self.take_in_producers(&mut states, snapshot).await?;
        }
        let now_ms = self.store.reactor.wall_clock_ms();
        let mut state = self.state.borrow_mut();
        states.expire(now_ms, state.config.producer_id_expiration_ms);
        state.snapshot = match (changed, states.is_empty()) {
            (_, true) => Some(-1),
            (false, false) => snapshot,
            (true, false) => None,
        };
        state.producers = states;
        Ok(())
    }

    /// Takes the batches behind a snapshot into its producers. Whether they changed.
    async fn take_in_producers(
        &self,
        states: &mut ProducerStates,
        snapshot: Option<i64>,
    ) -> Result<bool, StorageError> {
        let from = snapshot.unwrap_or(0);
        let first = self.segment_of(from);
        let segments: Vec<i64> = {
            let state = self.state.borrow();
            let bases = state.segments.iter().map(|segment| segment.base_offset);
            bases.filter(|&base| base >= first).collect()
        };
        let mut changed = false;
        for segment in segments {
            let mut position = self.checked_floor(segment, from).await?;
            let mut walker = Walker::new(self, segment);
            while let Some(found) = walker.at(position).await? {
                if found.header.last_offset().0 >= from {
                    changed |= states.update(&found.header);
                }
                position += found.header.size_in_bytes() as u64;
            }
        }
        Ok(changed)
    }

    /// The newest snapshot up to `offset` that can be read; others on the way are removed.
    async fn newest_snapshot(
        &self,
        offset: i64,
    ) -> Result<(ProducerStates, Option<i64>), StorageError> {
        if offset == 0 {
            return Ok((ProducerStates::default(), None));
        }
        let dir = self.dir.borrow().clone();
        let entries = read_dir(&self.store, &dir).await?;
        let mut snapshots: Vec<i64> = entries
            .iter()
            .filter_map(|name| offset_in_name(name, SNAPSHOT_SUFFIX))
            .filter(|&snapshot| snapshot <= offset)
            .collect();
        snapshots.sort_unstable();
        while let Some(snapshot) = snapshots.pop() {
            if let Some(states) = self.read_snapshot(snapshot).await? {
                return Ok((states, Some(snapshot)));
            }
            self.remove_snapshot(snapshot).await;
        }
        Ok((ProducerStates::default(), None))
    }

    async fn read_snapshot(&self, offset: i64) -> Result<Option<ProducerStates>, StorageError> {
        let path = self.segment_path(offset, SNAPSHOT_SUFFIX);
        let bytes = match self.store.fs().read(&path).await {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(StorageError::io("read", &path, cause)),
        };
        match producer_snapshot::decode(&bytes) {
            Ok(states) => Ok(Some(states)),
            Err(reason) => {
                tracing::warn!(path = %path.display(), "the snapshot is not used: {reason}");
                Ok(None)
            }
        }
    }
}

impl FoundSegment {
    fn segment(&self, now_ms: i64) -> Segment {
        let mut segment = Segment::new(self.base_offset, now_ms, 0);
        segment.size = self.size;
        segment.max_timestamp = None;
        segment.index.trimmed = false;
        segment
    }
}

impl LogState {
    /// The state before anything is known.
    fn opening(
        store: &ShardStore,
        config: LogConfig,
        epochs: LeaderEpochCache,
        topic_id: TopicId,
    ) -> LogState {
        let nowhere = Point {
            segment: 0,
            position: 0,
            offset: 0,
        };
        LogState {
            config,
            segments: Vec::new(),
            log_start_offset: 0,
            log_end_offset: 0,
            high_watermark: 0,
            written: nowhere,
            flushed: nowhere,
            tail: Tail::new(store.config.tail_buffer_bytes),
            epochs,
            epochs_dirty: false,
            producers: ProducerStates::default(),
            snapshot: None,
            checkpoint: CheckpointEntry {
                topic_id: Some(topic_id),
                recovery_point: Offset(0),
                place: None,
                log_start_offset: Offset(0),
                high_watermark: Offset(0),
            },
            published_recovery_point: 0,
            published_log_start: 0,
            dirty: false,
            touched: false,
            writer: WriterState::default(),
            offline: None,
            full: None,
            first_dirty: None,
            uncleanable: false,
            swapping_below: None,
            closed: false,
            generation: 0,
            hints: ReadHints::default(),
            tail_readers: TailReaders::default(),
        }
    }
}

/// Makes the folder if it is missing, and sees that it belongs to the topic. Whether it was made.
async fn prepare_folder(
    store: &ShardStore,
    dir: &Path,
    topic_id: TopicId,
) -> Result<bool, StorageError> {
    let fs = store.fs();
    let path = dir.join(partition_metadata::FILE_NAME);
    match fs.read(&path).await {
        Ok(text) => match partition_metadata::parse(&text) {
            Some(found) if found == topic_id => Ok(false),
            Some(found) => Err(StorageError::TopicIdMismatch {
                path: dir.to_owned(),
                found,
                expected: topic_id,
            }),
            None => Err(StorageError::damaged(&path, 0, "it holds no topic id")),
        },
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let exists = fs
                .exists(dir)
                .await
                .map_err(|cause| StorageError::io("look for", dir, cause))?;
            if !exists {
                fs.create_dir_all(dir)
                    .await
                    .map_err(|cause| StorageError::io("make", dir, cause))?;
                store.sync_dir(&store.config.root).await?;
            }
            let text = partition_metadata::to_text(topic_id);
            store.write_atomic(&path, text.into()).await?;
            Ok(!exists)
        }
        Err(cause) => Err(StorageError::io("read", &path, cause)),
    }
}

/// The segments and snapshots of a folder. What an interrupted deletion left is removed, an
/// interrupted compaction is finished or undone.
async fn list_files(store: &ShardStore, dir: &Path) -> Result<FoundFiles, StorageError> {
    let mut names = read_dir(store, dir).await?;
    if settle_swaps(store, dir, &names).await? {
        names = read_dir(store, dir).await?;
    }
    let mut found = FoundFiles::default();
    for name in names {
        let path = dir.join(&name);
        if [DELETED_SUFFIX, ".tmp"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
        {
            store
                .fs()
                .remove_file(&path)
                .await
                .map_err(|cause| StorageError::io("remove", &path, cause))?;
        } else if let Some(base_offset) = offset_in_name(&name, LOG_SUFFIX) {
            let file = store.open_file(&path, OpenOptions::default()).await?;
            let size = file
                .size()
                .await
                .map_err(|cause| StorageError::io("look at", &path, cause))?;
            found.segments.push(FoundSegment { base_offset, size });
        }
        found
            .snapshots
            .extend(offset_in_name(&name, SNAPSHOT_SUFFIX));
    }
    found.segments.sort_by_key(|found| found.base_offset);
    Ok(found)
}

async fn read_dir(store: &ShardStore, dir: &Path) -> Result<Vec<String>, StorageError> {
    let entries = store
        .fs()
        .read_dir(dir)
        .await
        .map_err(|cause| StorageError::io("list", dir, cause))?;
    let files = entries.into_iter().filter(|entry| !entry.is_dir);
    Ok(files.map(|entry| entry.name).collect())
}

async fn read_epochs(store: &ShardStore, dir: &Path) -> Result<LeaderEpochCache, StorageError> {
    let path = dir.join(leader_epoch_cache::FILE_NAME);
    match store.fs().read(&path).await {
        Ok(text) => LeaderEpochCache::parse(&text).map_err(|error| {
            tracing::warn!(path = %path.display(), "cannot be read: {error}");
            StorageError::damaged(&path, 0, "the list of leader epochs cannot be read")
        }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(LeaderEpochCache::default()),
        Err(cause) => Err(StorageError::io("read", &path, cause)),
    }
}

/// Whether something is to be written when there is room: a log can be read on a full disk.
fn later_if_full(written: Result<(), StorageError>) -> Result<bool, StorageError> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.is_full() => Ok(true),
        Err(error) => Err(error),
    }
}
