//! The way up: finding batches by offset, and reading whole ones.
//!
//! What lies in the tail is handed out as slices of its buffers, the rest as ranges of files. A
//! place is found from the nearest known batch below it (the tail's marks, index entries in memory
//! or in the file, or where the last reader stopped), then header by header, in small reads.
//!
//! While a reader waits for the disk, the log may be truncated under it: then `generation` has
//! moved on, and the read starts again.

use bytes::Bytes;
use millstream_protocol::Offset;
use millstream_protocol::record_batch::BatchHeader;
use millstream_reactor::{File, OpenOptions, TailSlice};

use crate::config::ColdRead;
use crate::error::{ReadError, StorageError};
use crate::log::{Log, LogState};
use crate::read_plan::{FileRange, ReadPart, ReadPlan};
use crate::segment::LOG_SUFFIX;
use crate::stored_batch::parse_header;

/// Bytes that a search for batch boundaries reads at once.
const SEARCH_BYTES: u64 = 8 << 10;
/// Places where readers stopped.
const HINTS: usize = 4;
/// A read that is overtaken by truncations this often gives up.
const MAX_RESTARTS: usize = 8;

/// Where readers stopped, so that they go on without a search.
#[derive(Default)]
pub(crate) struct ReadHints {
    places: Vec<Place>,
    next: usize,
}

/// The start of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: i64,
    pub segment: i64,
    pub position: u64,
}

impl ReadHints {
    fn find(&self, offset: i64) -> Option<Place> {
        self.places
            .iter()
            .copied()
            .find(|place| place.offset == offset)
    }

    fn add(&mut self, place: Place) {
        if self.find(place.offset).is_some() {
            return;
        }
        if self.places.len() < HINTS {
            self.places.push(place);
        } else {
            self.places[self.next] = place;
            self.next = (self.next + 1) % HINTS;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = ReadHints::default();
    }
}

/// Why a pass over the log stopped early.
enum Interrupted {
    Failed(StorageError),
    /// The log changed under it.
    Overtaken,
}

impl From<StorageError> for Interrupted {
    fn from(error: StorageError) -> Interrupted {
        Interrupted::Failed(error)
    }
}

/// Reads headers of one segment, one after the other.
pub(crate) struct Walker<'a> {
    log: &'a Log,
    segment: i64,
    window_start: u64,
    window: Bytes,
    /// Where the batch seen last ends, and the offset after it.
    after: (u64, i64),
}

/// A batch found by a walker.
pub(crate) struct Found {
    pub position: u64,
    pub header: BatchHeader,
}

/// A part of one segment.
struct Span {
    from: u64,
    to: u64,
    /// The offset after it.
    next_offset: i64,
    /// Whether it reaches the segment's end.
    complete: bool,
}

impl Log {
    /// Whole batches from the one that holds `from` on, all of whose records are below
    /// `upper_bound`; at most `max_bytes`, except that with `min_one` the first comes however
    /// large it is. Empty at the end.
    pub async fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        min_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        for _ in 0..MAX_RESTARTS {
            self.wait_for_swap(from.0).await;
            let upper = self.check_range(from, upper_bound)?;
            if from.0 >= upper {
                return Ok(ReadPlan::default());
            }
            let generation = self.state.borrow().generation;
            match self.plan(from.0, max_bytes as u64, upper, min_one).await {
                // What was found in files that were cut meanwhile proves nothing.
                _ if self.state.borrow().generation != generation => (),
                Ok(plan) => return Ok(plan),
                Err(Interrupted::Overtaken) => (),
                Err(Interrupted::Failed(error)) => {
                    // An index that lies shows as a log that cannot be read.
                    if !self.mend_index(&error).await? {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(ReadPlan::default())
    }

    /// Waits while the files that hold `offset` are being replaced or cut.
    pub(crate) async fn wait_for_swap(&self, offset: i64) {
        loop {
            let progress = self.progress.notified();
            let swapping_below = self.state.borrow().swapping_below;
            if swapping_below.is_none_or(|below| offset >= below) {
                return;
            }
            progress.await;
        }
    }

    /// The upper bound of what may be read from `from`.
    pub(crate) fn check_range(&self, from: Offset, upper_bound: Offset) -> Result<i64, ReadError> {
        let state = self.state.borrow();
        if state.closed {
            return Err(ReadError::Storage(StorageError::Closed {
                path: self.dir.borrow().to_path_buf(),
            }));
        }
        if from.0 < state.log_start_offset || from.0 > state.log_end_offset {
            return Err(ReadError::OffsetOutOfRange {
                offset: from,
                log_start_offset: Offset(state.log_start_offset),
                log_end_offset: Offset(state.log_end_offset),
            });
        }
        let end = match state.offline {
            None => state.log_end_offset,
            Some(_) => state.durable_offset(),
        };
        Ok(upper_bound.0.min(end))
    }

    async fn plan(
        &self,
        from: i64,
        max_bytes: u64,
        upper: i64,
        min_one: bool,
    ) -> Result<ReadPlan, Interrupted> {
        let mut plan = ReadPlan::default();
        let generation = self.state.borrow().generation;
        let Some((mut segment, first)) = self.locate(from).await? else {
            return Ok(plan);
        };
        let mut position = first.position;
        let mut budget = max_bytes;
        if first.header.last_offset().0 >= upper {
            return Ok(plan);
        }
        let first_len = first.header.size_in_bytes() as u64;
        if first_len > budget {
            if !min_one {
                return Ok(plan);
            }
            budget = first_len;
        }
        plan.first_offset = Some(first.header.base_offset);
        loop {
            let span = self.span(segment, position, budget, upper).await?;
            self.add_parts(&mut plan, segment, span.from, span.to)
                .await?;
            plan.next_offset = Some(Offset(span.next_offset));
            budget = max_bytes.saturating_sub(plan.len);
            let next = self.segment_after(segment);
            match next.filter(|&next| span.complete && next < upper && budget > 0) {
                Some(next) => {
                    segment = next;
                    position = 0;
                }
                None => {
                    let place = Place {
                        offset: span.next_offset,
                        segment,
                        position: span.to,
                    };
                    let now = self.store.reactor.now();
                    let mut state = self.state.borrow_mut();
                    if !span.complete {
                        state.note_reader(place, generation);
                    }
                    if state.tail.holds(span.next_offset) {
                        state.tail_readers.note(from, span.next_offset, now);
                    }
                    return Ok(plan);
                }
            }
        }
    }

    /// The batch that holds `offset`, or the first after it, and its segment.
    async fn locate(&self, offset: i64) -> Result<Option<(i64, Found)>, Interrupted> {
        let hint = self.state.borrow().hints.find(offset);
        let mut segment = match hint {
            Some(place) => place.segment,
            None => self.segment_of(offset),
        };
        let mut position = match hint {
            Some(place) => place.position,
            None => self.floor_of_offset(segment, offset).await?,
        };
        // Behind a reader's place compaction may have left a gap.
        let mut first = hint.is_none() && position > 0;
        loop {
            let mut walker = Walker::new(self, segment);
            while let Some(found) = walker.at(position).await? {
                if std::mem::take(&mut first) && found.header.base_offset.0 > offset {
                    return Err(self.misled(segment).into());
                }
                if found.header.last_offset().0 >= offset {
                    return Ok(Some((segment, found)));
                }
                position += found.header.size_in_bytes() as u64;
            }
            // The segment ends before the offset: compaction left a gap there.
            match self.segment_after(segment) {
                Some(next) => segment = next,
                None => return Ok(None),
            }
            position = 0;
        }
    }

    /// Batches of a segment from `from` on, within `budget` bytes and below `upper`.
    async fn span(
        &self,
        segment: i64,
        from: u64,
        budget: u64,
        upper: i64,
    ) -> Result<Span, Interrupted> {
        let limit = from.saturating_add(budget);
        let (size, end_offset) = self.segment_bounds(segment)?;
        if size <= limit && end_offset <= upper {
            return Ok(Span {
                from,
                to: size,
                next_offset: end_offset,
                complete: true,
            });
        }
        let below = (limit - 1).min(size);
        let by_position = self.floor_of_position(segment, below).await?;
        let by_offset = self.floor_of_offset(segment, upper).await?;
        let mut position = by_position.min(by_offset).max(from);
        let mut walker = Walker::new(self, segment);
        // What comes after as much as fits is not looked at: it may be damaged.
        while position < limit
            && let Some(found) = walker.at(position).await?
        {
            let end = position + found.header.size_in_bytes() as u64;
            if end > limit || found.header.last_offset().0 >= upper {
                return Ok(Span {
                    from,
                    to: position,
                    next_offset: found.header.base_offset.0,
                    complete: false,
                });
            }
            position = end;
        }
        let (size, end_offset) = self.segment_bounds(segment)?;
        let complete = position == size;
        Ok(Span {
            from,
            to: position,
            next_offset: if complete { end_offset } else { walker.after.1 },
            complete,
        })
    }

    /// Adds whole batches between two positions, from memory where they are there.
    pub(crate) async fn add_parts(
        &self,
        plan: &mut ReadPlan,
        segment: i64,
        from: u64,
        to: u64,
    ) -> Result<(), StorageError> {
        let mut position = from;
        let mut file: Option<File> = None;
        while position < to {
            enum Next {
                Memory(TailSlice),
                Disk(u64),
            }
            let next = {
                let state = self.state.borrow();
                match state.tail.chunk_at(segment, position) {
                    Some(chunk) => {
                        Next::Memory(chunk.slice(position, to.min(chunk.end_position())))
                    }
                    None => Next::Disk(
                        state
                            .tail
                            .next_start(segment, position)
                            .map_or(to, |start| start.min(to)),
                    ),
                }
            };
            match next {
                Next::Memory(slice) => {
                    position += slice.len() as u64;
                    plan.push(ReadPart::Memory(slice));
                }
                Next::Disk(end) => {
                    let file = match &file {
                        Some(file) => file,
                        None => {
                            let opened = self.read_file(segment).await?;
                            file.insert(opened)
                        }
                    };
                    let range = FileRange {
                        file: file.share(),
                        position,
                        len: end - position,
                        path: self.segment_path(segment, LOG_SUFFIX).into(),
                    };
                    position = end;
                    plan.push(ReadPart::File(range));
                }
            }
        }
        Ok(())
    }

    /// Whether what is not in memory is read with O_DIRECT now.
    fn reads_direct(&self) -> bool {
        let config = &self.store.config;
        config.direct_io
            && match config.cold_read {
                ColdRead::Buffered => false,
                ColdRead::Direct => true,
                ColdRead::Auto => self.store.fs().is_writing(),
            }
    }

    /// The segment's file, open for reading: headers here and there, or ranges that leave as they
    /// are. Both go by one descriptor, so that the kernel sees one reader who goes on, and reads
    /// ahead of him.
    async fn read_file(&self, segment: i64) -> Result<File, StorageError> {
        let key = (self.id, segment);
        let direct = self.reads_direct();
        let files = match direct {
            true => &self.store.direct_files,
            false => &self.store.read_files,
        };
        if let Some(file) = files.borrow_mut().get(key) {
            return Ok(file);
        }
        let path = self.segment_path(segment, LOG_SUFFIX);
        let options = OpenOptions {
            direct,
            sequential: true,
            ..OpenOptions::default()
        };
        let generation = self.state.borrow().generation;
        let file = self.store.open_file(&path, options).await?;
        // One that was replaced while it was opened is good only for a reader that starts again.
        if self.state.borrow().generation == generation {
            files.borrow_mut().insert(key, 1, file.clone());
        }
        Ok(file)
    }

    /// The segment that `offset` belongs to.
    pub(crate) fn segment_of(&self, offset: i64) -> i64 {
        let state = self.state.borrow();
        let above = state
            .segments
            .partition_point(|segment| segment.base_offset <= offset);
        state.segments[above.saturating_sub(1)].base_offset
    }

    fn segment_after(&self, segment: i64) -> Option<i64> {
        let state = self.state.borrow();
        let above = state
            .segments
            .partition_point(|candidate| candidate.base_offset <= segment);
        state.segments.get(above).map(|next| next.base_offset)
    }

    /// Bytes of a segment, and the offset after its last.
    fn segment_bounds(&self, segment: i64) -> Result<(u64, i64), Interrupted> {
        let state = self.state.borrow();
        let index = state.segment_index(segment).ok_or(Interrupted::Overtaken)?;
        Ok((state.segments[index].size, state.segment_end_offset(index)))
    }
}

impl LogState {
    /// Remembers where a reader stopped that began in this generation: a place in files that went
    /// meanwhile would mislead the next.
    fn note_reader(&mut self, place: Place, generation: u64) {
        if self.generation == generation {
            self.hints.add(place);
        }
    }
}

impl<'a> Walker<'a> {
    pub(crate) fn new(log: &'a Log, segment: i64) -> Walker<'a> {
        Walker {
            log,
            segment,
            window_start: 0,
            window: Bytes::new(),
            after: (0, segment),
        }
    }

    /// The batch at `position`, which must be where one begins; none at the segment's end.
    pub(crate) async fn at(&mut self, position: u64) -> Result<Option<Found>, StorageError> {
        let (size, end_offset) = {
            let state = self.log.state.borrow();
            let Some(index) = state.segment_index(self.segment) else {
                return Ok(None);
            };
            let size = state.segments[index].size;
            if position >= size {
                return Ok(None);
            }
            // The end of the last segment is not known yet while a log is opened.
            let end_offset = match state.segments.get(index + 1) {
                Some(next) => next.base_offset,
                None => i64::MAX,
            };
            if let Some(chunk) = state.tail.chunk_at(self.segment, position) {
                let bytes = chunk.bytes_from(position);
                let header = self.check(position, size, end_offset, bytes)?;
                drop(state);
                return Ok(Some(self.found(position, header)));
            }
            (size, end_offset)
        };
        if !self.window_holds(position) {
            self.window = self.read_window(position, size).await?;
            self.window_start = position;
        }
        let bytes = &self.window[(position - self.window_start) as usize..];
        let header = self.check(position, size, end_offset, bytes)?;
        Ok(Some(self.found(position, header)))
    }

    fn found(&mut self, position: u64, header: BatchHeader) -> Found {
        let end = position + header.size_in_bytes() as u64;
        self.after = (end, header.next_offset().0);
        Found { position, header }
    }

    fn window_holds(&self, position: u64) -> bool {
        let end = self.window_start + self.window.len() as u64;
        self.window_start <= position && position + BatchHeader::SIZE as u64 <= end
    }

    async fn read_window(&self, position: u64, size: u64) -> Result<Bytes, StorageError> {
        use millstream_reactor::BLOCK_SIZE;

        let file = self.log.read_file(self.segment).await?;
        let block = BLOCK_SIZE as u64;
        let lead = if file.is_direct() {
            position % block
        } else {
            0
        };
        let start = position - lead;
        let len = (lead + SEARCH_BYTES).next_multiple_of(block);
        let path = self.log.segment_path(self.segment, LOG_SUFFIX);
        let mut bytes = file
            .read_at(start, len as usize)
            .await
            .map_err(|cause| StorageError::io_at("read", &path, position, cause))?
            .into_bytes();
        // What lies above the segment's end may have been read before it was written.
        bytes.truncate((size - start) as usize);
        Ok(bytes.slice((lead as usize).min(bytes.len())..))
    }

    fn check(
        &self,
        position: u64,
        size: u64,
        end_offset: i64,
        bytes: &[u8],
    ) -> Result<BatchHeader, StorageError> {
        let damaged = |reason| {
            let path = self.log.segment_path(self.segment, LOG_SUFFIX);
            StorageError::damaged(&path, position, reason)
        };
        let header = parse_header(bytes).map_err(damaged)?;
        if position + header.size_in_bytes() as u64 > size {
            return Err(damaged("a batch is longer than its segment"));
        }
        if header.base_offset.0 < self.segment {
            return Err(damaged("an offset is below its segment"));
        }
        if header.next_offset().0 > end_offset {
            return Err(damaged("an offset belongs to a later segment"));
        }
        if position == self.after.0 && header.base_offset.0 < self.after.1 {
            return Err(damaged("an offset is below that of the batch before"));
        }
        Ok(header)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::rc::Rc;

    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;
    use millstream_protocol::{LeaderEpoch, PartitionIndex, TopicId};
    use millstream_reactor::sim::{Node, Simulation};

    use super::*;
    use crate::maintenance::Spare;
    use crate::{AppendOrigin, LogConfig, ShardStore, StartState, StoreConfig};

    /// Runs `work` with an empty log in `/data/t-0`.
    pub(crate) fn with_log<F: Future<Output = ()> + 'static>(
        config: LogConfig,
        work: impl FnOnce(Node, Rc<Log>) -> F + 'static,
    ) {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("broker");
        node.make_dir("/data");
        let reactor = node.reactor();
        let disk = node.clone();
        let done = node.run(async move {
            let start = StartState::take(&reactor, "/data".as_ref()).await;
            let start = start.expect("a folder");
            let store = ShardStore::new(reactor, StoreConfig::new("/data", 0), start);
            let id = TopicId(uuid::Uuid::from_u128(1));
            let opened = Log::open(&store, "t", PartitionIndex(0), id, config).await;
            work(disk, opened.expect("opens").0).await;
        });
        done.expect("the node does not crash");
    }

    /// Appends a batch of one record, and flushes it; how long it is.
    pub(crate) async fn append(log: &Rc<Log>, timestamp: i64, len: usize) -> u64 {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(timestamp, None, Some(&vec![7; len]), &[]);
        let batch = builder.build().expect("not compressed");
        log.append(&batch, LeaderEpoch(0), AppendOrigin::Client, 1)
            .expect("there is room");
        log.flush().await.expect("flushed");
        batch.len() as u64
    }

    #[test]
    fn a_walk_goes_on_where_the_log_has_grown() {
        // Of batches that each begin in a block of their own.
        for walked_from in [0, 1] {
            with_log(LogConfig::default(), move |_, log| async move {
                let len = append(&log, 1, 5_000).await;
                append(&log, 1, 5_000).await;
                log.release_written_chunks(usize::MAX, Spare::Nothing);
                let mut walker = Walker::new(&log, 0);
                for offset in walked_from..6 {
                    let found = walker.at(offset * len).await.expect("readable");
                    let base_offset = found.map(|found| found.header.base_offset.0 as u64);
                    assert_eq!(base_offset, (offset < 2).then_some(offset));
                }
                append(&log, 1, 5_000).await;
                log.release_written_chunks(usize::MAX, Spare::Nothing);
                let third = walker.at(2 * len).await.expect("readable");
                assert_eq!(third.expect("there").header.base_offset, Offset(2));
            });
        }
    }

    fn place(offset: i64) -> Place {
        Place {
            offset,
            segment: 0,
            position: offset as u64 * 100,
        }
    }

    #[test]
    fn the_last_few_readers_are_remembered() {
        let mut hints = ReadHints::default();
        let known = |hints: &ReadHints| -> Vec<i64> {
            let found = (0..20).filter_map(|offset| hints.find(offset));
            found.map(|place| place.offset).collect()
        };
        for offset in 1..=4 {
            hints.add(place(offset));
            hints.add(place(offset));
        }
        assert_eq!(known(&hints), [1, 2, 3, 4]);
        assert_eq!(hints.find(3), Some(place(3)));
        for (offset, expected) in [
            (5, [2, 3, 4, 5]),
            (6, [3, 4, 5, 6]),
            (4, [3, 4, 5, 6]),
            (7, [4, 5, 6, 7]),
            (8, [5, 6, 7, 8]),
            (9, [6, 7, 8, 9]),
        ] {
            hints.add(place(offset));
            assert_eq!(known(&hints), expected);
        }
        hints.clear();
        assert_eq!(known(&hints), [0; 0]);
    }

    #[test]
    fn a_place_in_files_that_went_meanwhile_is_not_remembered() {
        with_log(LogConfig::default(), |_, log| async move {
            let mut state = log.state.borrow_mut();
            let generation = state.generation;
            state.note_reader(place(1), generation);
            state.generation += 1;
            state.note_reader(place(2), generation);
            assert_eq!(state.hints.find(1), Some(place(1)));
            assert_eq!(state.hints.find(2), None);
        });
    }
}
