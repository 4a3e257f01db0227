//! One cleaning of one log: the map of its dirty part, and every segment up to there anew.
//!
//! When the map is full, the cleaning goes as far as it knows the records; the next one begins
//! there. Segments that are small after it share one file.

use std::rc::Rc;
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use millstream_protocol::compression::Decompressor;
use millstream_protocol::record_batch::{BatchHeader, BatchView};
use millstream_reactor::{File, OpenOptions, Reactor};

use super::batch_filter::{BatchFilter, Kept, MAX_DECOMPRESSED_BYTES, is_plain};
use super::dirty_range::DirtyRange;
use super::key_map::KeyMap;
use super::swap::CLEANED_SUFFIX;
use crate::config::CleanerConfig;
use crate::error::StorageError;
use crate::log::Log;
use crate::offset_index::OffsetEntry;
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, Segment, TIME_INDEX_SUFFIX};
use crate::segment_scan::Window;
use crate::time_index::TimeEntry;
use crate::writer::encode_entries;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which others get their turn.
const TURN_BYTES: u64 = 1 << 20;

/// A closed segment that is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Source {
    pub base: i64,
    pub size: u64,
    /// The base offset of the next one.
    pub next: i64,
    created_ms: i64,
}

/// Keeps a cleaning to its bandwidth, and lets others have their turn.
struct Pace {
    reactor: Reactor,
    max_bytes_per_second: Option<u64>,
    unpaid: u64,
}

impl Pace {
    async fn spend(&mut self, bytes: u64) {
        self.unpaid += bytes;
        let turn = self
            .max_bytes_per_second
            .map_or(TURN_BYTES, |rate| TURN_BYTES.min(rate / 10));
        if self.unpaid < turn {
            return;
        }
        let unpaid = std::mem::take(&mut self.unpaid);
        match self.max_bytes_per_second {
            Some(rate) => {
                let pause = Duration::from_secs_f64(unpaid as f64 / rate.max(1) as f64);
                self.reactor.sleep(pause).await;
            }
            None => self.reactor.yield_now().await,
        }
    }
}

impl Log {
    /// Cleans a range. Whether it got any further.
    pub(crate) async fn clean(
        self: &Rc<Self>,
        range: DirtyRange,
        config: &CleanerConfig,
    ) -> Result<bool, StorageError> {
        if !self.recovers_from(range.end).await? {
            return Ok(false);
        }
        let reactor = &self.store.reactor;
        let mut pace = Pace {
            reactor: reactor.clone(),
            max_bytes_per_second: config.max_bytes_per_second,
            unpaid: 0,
        };
        let mut map = KeyMap::new(config.dedupe_buffer_bytes, || reactor.random_u64());
        let mapping = self.map_keys(range, &mut map, &mut pace);
        let Some(map_end) = self.unless_changed(mapping).await? else {
            return Ok(false);
        };
        if map_end <= range.first {
            tracing::warn!(
                topic = self.name.0,
                partition = self.name.1.0,
                "one batch has more keys than `log.cleaner.dedupe.buffer.size` has room for"
            );
            return Ok(false);
        }
        let last_of_producers: AHashMap<i64, i64> = self.with_producer_states(|states| {
            let last = |(id, state): (i64, &crate::ProducerState)| {
                Some((id, state.batches.back()?.last_offset))
            };
            states.iter().filter_map(last).collect()
        });
        let filter = BatchFilter {
            map: &map,
            map_end,
            now_ms: reactor.wall_clock_ms(),
            delete_retention_ms: self.state.borrow().config.delete_retention_ms,
            last_of_producers: &last_of_producers,
            range_end: range.end,
        };
        for group in self.groups(map_end) {
            let cleaning = self.clean_group(&group, &filter, &mut pace);
            let went_in = match self.unless_changed(cleaning).await {
                Ok(Some(Some(segment))) => self.swap_in(&group, segment).await,
                Ok(Some(None)) => {
                    self.remove_cleaned(group[0].base).await;
                    continue;
                }
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            if !matches!(went_in, Ok(true)) {
                self.remove_cleaned(group[0].base).await;
                return went_in;
            }
        }
        self.state.borrow_mut().first_dirty = Some(map_end);
        Ok(true)
    }

    /// Makes sure that a recovery starts at or above `offset`, where it will find the positions
    /// that it knows.
    async fn recovers_from(self: &Rc<Self>, offset: i64) -> Result<bool, StorageError> {
        let recovers = |log: &Log| {
            let checkpoint = &log.state.borrow().checkpoint;
            let place = checkpoint.place.map(|place| place.segment);
            place.unwrap_or(checkpoint.recovery_point.0) >= offset
        };
        if !recovers(self) {
            self.checkpoint().await?;
        }
        self.store.write_checkpoint_file().await?;
        Ok(recovers(self))
    }

    /// Does `work` on the log's files; nothing if it fails and files went, or were cut, meanwhile.
    pub(super) async fn unless_changed<T>(
        &self,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<Option<T>, StorageError> {
        let generation = self.state.borrow().generation;
        match work.await {
            Ok(done) => Ok(Some(done)),
            Err(_) if self.state.borrow().generation != generation => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the keys of a range into the map; the offset up to which they are in it.
    async fn map_keys(
        &self,
        range: DirtyRange,
        map: &mut KeyMap,
        pace: &mut Pace,
    ) -> Result<i64, StorageError> {
        let mut decompressor = Decompressor::new();
        let mut mapped = range.first;
        let dirty = |source: &Source| source.next > range.first && source.next <= range.end;
        for source in self.sources().into_iter().filter(dirty) {
            let mut reader = SourceReader::open(self, source).await?;
            while let Some(header) = reader.next().await? {
                pace.spend(header.size_in_bytes() as u64).await;
                if header.last_offset().0 < range.first {
                    continue;
                }
                if is_plain(&header) {
                    let batch = reader.batch()?;
                    let records = batch
                        .records(&mut decompressor, MAX_DECOMPRESSED_BYTES)
                        .map_err(|_| reader.damaged("the records of a batch cannot be read"))?;
                    for record in records {
                        let record =
                            record.map_err(|_| reader.damaged("a record cannot be read"))?;
                        if let Some(key) = record.key
                            && record.offset.0 >= range.first
                            && !map.put(key, record.offset.0)
                        {
                            return Ok(mapped);
                        }
                    }
                }
                mapped = mapped.max(header.next_offset().0);
            }
            mapped = mapped.max(source.next);
        }
        Ok(mapped)
    }

    /// The closed segments, oldest first.
    pub(super) fn sources(&self) -> Vec<Source> {
        let state = self.state.borrow();
        let pairs = state.segments.windows(2);
        pairs
            .map(|pair| Source {
                base: pair[0].base_offset,
                size: pair[0].size,
                next: pair[1].base_offset,
                created_ms: pair[0].created_ms,
            })
            .collect()
    }

    /// The segments with records below `end`, put together as far as they go into one.
    fn groups(&self, end: i64) -> Vec<Vec<Source>> {
        let limit = u64::from(self.state.borrow().config.segment_bytes);
        let mut groups: Vec<Vec<Source>> = Vec::new();
        let mut size = 0;
        for source in self.sources().into_iter().filter(|s| s.base < end) {
            size += source.size;
            match groups.last_mut() {
                Some(group)
                    if size <= limit && source.next - 1 - group[0].base <= i64::from(i32::MAX) =>
                {
                    group.push(source);
                }
                _ => {
                    size = source.size;
                    groups.push(vec![source]);
                }
            }
        }
        groups
    }

    /// Writes what stays of some segments into one, durably, under a name of its own. Nothing if
    /// all of one segment stays.
    async fn clean_group(
        &self,
        group: &[Source],
        filter: &BatchFilter<'_>,
        pace: &mut Pace,
    ) -> Result<Option<Segment>, StorageError> {
        let interval = self.state.borrow().config.index_interval_bytes;
        let base = group[0].base;
        let mut out = Segment::new(base, group[0].created_ms, 0);
        let file = self.create_cleaned(base, LOG_SUFFIX).await?;
        let mut buffer = Vec::new();
        let mut changes = group.len() > 1;
        let mut decompressor = Decompressor::new();
        for &source in group {
            let mut reader = SourceReader::open(self, source).await?;
            while let Some(header) = reader.next().await? {
                let kept = {
                    let batch = reader.batch()?;
                    let kept = filter.apply(&batch, &mut decompressor);
                    kept.map_err(|reason| reader.damaged(reason))?
                };
                let bytes = match &kept {
                    Kept::Whole => reader.batch()?.bytes(),
                    Kept::Rewritten(bytes) => bytes.as_ref(),
                    Kept::Nothing => &[],
                };
                changes |= kept != Kept::Whole;
                pace.spend((header.size_in_bytes() + bytes.len()) as u64)
                    .await;
                if bytes.is_empty() {
                    continue;
                }
                let header = BatchHeader::parse(bytes).expect("made just now, or checked");
                let last = header.last_offset().0;
                out.add_batch(last, header.max_timestamp, bytes.len() as u64, interval);
                buffer.extend_from_slice(bytes);
                if buffer.len() >= WRITE_BYTES {
                    let position = out.size - buffer.len() as u64;
                    self.write_cleaned(base, LOG_SUFFIX, &file, position, &mut buffer)
                        .await?;
                }
            }
        }
        if !changes {
            return Ok(None);
        }
        let position = out.size - buffer.len() as u64;
        self.write_cleaned(base, LOG_SUFFIX, &file, position, &mut buffer)
            .await?;
        self.sync_cleaned(base, LOG_SUFFIX, &file).await?;
        out.add_time_entry();
        self.write_cleaned_indexes(&mut out).await?;
        Ok(Some(out))
    }

    async fn write_cleaned_indexes(&self, out: &mut Segment) -> Result<(), StorageError> {
        let index = &mut out.index;
        let offsets = encode_entries(&index.pending_offsets, OffsetEntry::encode);
        let times = encode_entries(&index.pending_times, TimeEntry::encode);
        index.offsets_in_file = index.pending_offsets.len() as u32;
        index.times_in_file = index.pending_times.len() as u32;
        index.pending_offsets = Vec::new();
        index.pending_times = Vec::new();
        for (suffix, entries) in [(INDEX_SUFFIX, offsets), (TIME_INDEX_SUFFIX, times)] {
            let file = self.create_cleaned(out.base_offset, suffix).await?;
            self.write_cleaned(out.base_offset, suffix, &file, 0, &mut entries.to_vec())
                .await?;
            self.sync_cleaned(out.base_offset, suffix, &file).await?;
        }
        Ok(())
    }

    async fn create_cleaned(&self, base: i64, suffix: &str) -> Result<File, StorageError> {
        let path = self.segment_path(base, &format!("{suffix}{CLEANED_SUFFIX}"));
        let options = OpenOptions {
            write: true,
            create: true,
            truncate: true,
            ..OpenOptions::default()
        };
        self.store.open_file(&path, options).await
    }

    async fn write_cleaned(
        &self,
        base: i64,
        suffix: &str,
        file: &File,
        position: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(buffer));
        file.write_at(position, bytes).await.map_err(|cause| {
            let path = self.segment_path(base, &format!("{suffix}{CLEANED_SUFFIX}"));
            StorageError::io_at("write", &path, position, cause)
        })
    }

    async fn sync_cleaned(&self, base: i64, suffix: &str, file: &File) -> Result<(), StorageError> {
        file.sync_data().await.map_err(|cause| {
            let path = self.segment_path(base, &format!("{suffix}{CLEANED_SUFFIX}"));
            StorageError::io("flush", &path, cause)
        })
    }
}

/// Reads the batches of a closed segment one after the other, and checks their CRCs.
struct SourceReader {
    file: File,
    path: std::path::PathBuf,
    size: u64,
    window: Window,
    /// Where the batch given last begins.
    position: u64,
    /// Where the next one begins.
    next: u64,
}

impl SourceReader {
    async fn open(log: &Log, source: Source) -> Result<SourceReader, StorageError> {
        let path = log.segment_path(source.base, LOG_SUFFIX);
        let file = log.store.open_file(&path, OpenOptions::default()).await?;
        Ok(SourceReader {
            file,
            path,
            size: source.size,
            window: Window::default(),
            position: 0,
            next: 0,
        })
    }

    async fn next(&mut self) -> Result<Option<BatchHeader>, StorageError> {
        self.position = self.next;
        if self.position >= self.size {
            return Ok(None);
        }
        let header = self
            .window
            .batch(&self.file, &self.path, self.position, self.size)
            .await?
            .ok_or_else(|| self.damaged("a batch is not as it was written"))?;
        self.next = self.position + header.size_in_bytes() as u64;
        Ok(Some(header))
    }

    /// The batch whose header was given last.
    fn batch(&self) -> Result<BatchView<'_>, StorageError> {
        BatchView::parse(self.window.from(self.position))
            .map_err(|_| self.damaged("a batch is cut short"))
    }

    fn damaged(&self, reason: &'static str) -> StorageError {
        StorageError::damaged(&self.path, self.position, reason)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use millstream_reactor::TaskQueue;
    use millstream_reactor::sim::Simulation;

    use super::*;

    /// Spends so many parts of so many bytes, and gives the pauses that this took.
    fn pauses(max_bytes_per_second: Option<u64>, count: usize, part: u64) -> Vec<Duration> {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("broker");
        let reactor = node.reactor();
        let spending = async move {
            let mut pace = Pace {
                reactor: reactor.clone(),
                max_bytes_per_second,
                unpaid: 0,
            };
            let mut pauses = Vec::new();
            for _ in 0..count {
                let begun = reactor.now();
                pace.spend(part).await;
                pauses.extend(Some(reactor.now() - begun).filter(|pause| !pause.is_zero()));
            }
            pauses
        };
        node.run(spending).expect("the node does not crash")
    }

    #[test]
    fn bandwidth_is_kept_by_pauses_of_a_tenth_of_a_second_at_most() {
        let ms = Duration::from_millis;
        assert_eq!(pauses(Some(1_000), 62, 25), vec![ms(100); 15]);
        assert_eq!(pauses(Some(1_000), 3, 250), vec![ms(250); 3], "large parts");
        assert_eq!(pauses(Some(5), 3, 1), vec![ms(200); 3], "hardly any");
        // Much of it is paid for in small coins, too.
        assert_eq!(pauses(Some(1 << 30), 17, 1 << 18).len(), 4);
        assert_eq!(pauses(None, 64, 1 << 20), []);
    }

    #[test]
    fn others_get_their_turn_where_nothing_limits_the_bandwidth() {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("broker");
        let reactor = node.reactor();
        let turns = Rc::new(Cell::new(0));
        let (counted, beside) = (turns.clone(), reactor.clone());
        let other = async move {
            loop {
                counted.set(counted.get() + 1);
                beside.yield_now().await;
            }
        };
        let spending = async move {
            let other = reactor.spawn(TaskQueue::Requests, other);
            let mut pace = Pace {
                reactor: reactor.clone(),
                max_bytes_per_second: None,
                unpaid: 0,
            };
            for _ in 0..1_000 {
                pace.spend(10 << 10).await;
            }
            drop(other);
        };
        node.run(spending).expect("the node does not crash");
        assert!((5..=20).contains(&turns.get()), "{} turns", turns.get());
    }
}
