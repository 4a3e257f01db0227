//! Finding records by time: by the segments' largest timestamps, their time indexes, batch
//! headers, and at last the records of one batch.

use bytes::Bytes;
use millstream_protocol::compression::Decompressor;
use millstream_protocol::record_batch::{BatchView, Record};
use millstream_protocol::{LeaderEpoch, Offset};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::read_plan::ReadPlan;
use crate::reader::{Found, Walker};
use crate::segment::{LOG_SUFFIX, MaxTimestamp, TIME_INDEX_SUFFIX};
use crate::time_index::{TimeEntry, TimeIndexView};

/// The most that a batch may hold when its records are looked at.
const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;

/// A look-up that is overtaken by changes of the files this often gives what it has.
const MAX_RESTARTS: usize = 8;

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch that wrote it.
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// The first record whose timestamp is `timestamp` or later, of those below `upper_bound`.
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.while_files_stay(upper_bound, |upper| self.search_from(timestamp, upper))
            .await
    }

    /// The first record with the largest timestamp in the log, if it is below `upper_bound`.
    pub async fn max_timestamp_offset(
        &self,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.while_files_stay(upper_bound, |upper| self.search_largest(upper))
            .await
    }

    /// What `look_up` finds below the upper bound of what may be read.
    async fn while_files_stay<F>(
        &self,
        upper_bound: Offset,
        look_up: impl Fn(Offset) -> F,
    ) -> Result<Option<TimestampOffset>, ReadError>
    where
        F: Future<Output = Result<Option<TimestampOffset>, ReadError>>,
    {
        let mut found = Ok(None);
        for _ in 0..MAX_RESTARTS {
            self.wait_for_swap(self.log_start_offset().0).await;
            let upper = self.check_range(self.log_start_offset(), upper_bound)?;
            let generation = self.state.borrow().generation;
            found = look_up(Offset(upper)).await;
            // What was found in files that went meanwhile proves nothing.
            if self.state.borrow().generation == generation {
                break;
            }
        }
        found
    }

    async fn search_from(
        &self,
        timestamp: i64,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        for segment in self.segment_base_offsets() {
            if segment >= upper_bound.0 {
                break;
            }
            let max = self.max_timestamp_of(segment).await?;
            if max.timestamp < timestamp {
                continue;
            }
            let found = self.find_in(segment, timestamp, upper_bound).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn search_largest(
        &self,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let log_start_offset = self.log_start_offset();
        let mut largest = MaxTimestamp::NONE.timestamp;
        for segment in self.segment_base_offsets() {
            let of_segment = if segment < log_start_offset.0 {
                self.largest_from(segment, log_start_offset).await?
            } else {
                self.max_timestamp_of(segment).await?.timestamp
            };
            largest = largest.max(of_segment);
        }
        if largest < 0 {
            return Ok(None);
        }
        self.search_from(largest, upper_bound).await
    }

    /// The largest timestamp of a segment's records from `offset` on.
    async fn largest_from(&self, segment: i64, offset: Offset) -> Result<i64, ReadError> {
        let mut largest = MaxTimestamp::NONE.timestamp;
        let mut position = self.checked_floor(segment, offset.0).await?;
        let mut walker = Walker::new(self, segment);
        while let Some(found) = walker.at(position).await? {
            if found.header.base_offset >= offset {
                largest = largest.max(found.header.max_timestamp);
            } else if found.header.last_offset() >= offset {
                self.find_in_batch(segment, &found, |record| {
                    if record.offset >= offset {
                        largest = largest.max(record.timestamp);
                    }
                    false
                })
                .await?;
            }
            position += found.header.size_in_bytes() as u64;
        }
        Ok(largest)
    }

    /// The largest timestamp of a segment. The last entry of its index has it, unless that was
    /// lost; so the batches behind that one are looked at, once.
    pub(crate) async fn max_timestamp_of(
        &self,
        segment: i64,
    ) -> Result<MaxTimestamp, StorageError> {
        {
            let state = self.state.borrow();
            match state.segment_index(segment) {
                Some(index) => {
                    if let Some(max) = state.segments[index].max_timestamp {
                        return Ok(max);
                    }
                }
                None => return Ok(MaxTimestamp::NONE),
            }
        }
        let bytes = self.read_index_file(segment, TIME_INDEX_SUFFIX).await?;
        let mut max = MaxTimestamp::NONE;
        let mut position = 0;
        if let Some(entry) = TimeIndexView::checked(&bytes).last()
            && let Some(found) = self.batch_of_entry(segment, entry).await?
        {
            max = MaxTimestamp {
                timestamp: entry.timestamp,
                offset: segment + i64::from(entry.relative_offset),
            };
            position = found.position;
        }
        let mut walker = Walker::new(self, segment);
        while let Some(found) = walker.at(position).await? {
            if found.header.max_timestamp > max.timestamp {
                max = MaxTimestamp {
                    timestamp: found.header.max_timestamp,
                    offset: found.header.last_offset().0,
                };
            }
            position += found.header.size_in_bytes() as u64;
        }
        let mut state = self.state.borrow_mut();
        if let Some(index) = state.segment_index(segment) {
            state.segments[index].max_timestamp = Some(max);
        }
        Ok(max)
    }

    /// The batch that an entry of a time index is about; none if the entry is not true.
    pub(crate) async fn batch_of_entry(
        &self,
        segment: i64,
        entry: TimeEntry,
    ) -> Result<Option<Found>, StorageError> {
        let offset = segment + i64::from(entry.relative_offset);
        let mut position = self.checked_floor(segment, offset).await?;
        let mut walker = Walker::new(self, segment);
        while let Some(found) = walker.at(position).await? {
            if found.header.last_offset().0 >= offset {
                let holds = found.header.base_offset.0 <= offset
                    && found.header.max_timestamp == entry.timestamp;
                if holds {
                    return Ok(Some(found));
                }
                break;
            }
            position += found.header.size_in_bytes() as u64;
        }
        let path = self.segment_path(segment, TIME_INDEX_SUFFIX);
        tracing::warn!(path = %path.display(), "an entry is not true and not used");
        Ok(None)
    }

    async fn find_in(
        &self,
        segment: i64,
        timestamp: i64,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut position = self.time_floor(segment, timestamp).await?;
        let log_start_offset = self.log_start_offset();
        let mut walker = Walker::new(self, segment);
        while let Some(found) = walker.at(position).await? {
            let header = &found.header;
            if header.base_offset >= upper_bound {
                break;
            }
            if header.max_timestamp >= timestamp && header.last_offset() >= log_start_offset {
                let in_batch = self
                    .find_in_batch(segment, &found, |record| {
                        record.timestamp >= timestamp && record.offset >= log_start_offset
                    })
                    .await?;
                if let Some(record) = in_batch {
                    return Ok((record.offset < upper_bound).then_some(record));
                }
            }
            position += header.size_in_bytes() as u64;
        }
        Ok(None)
    }

    /// The start of a batch before which all timestamps are below `timestamp`.
    async fn time_floor(&self, segment: i64, timestamp: i64) -> Result<u64, StorageError> {
        let bytes = self.read_index_file(segment, TIME_INDEX_SUFFIX).await?;
        let entry = {
            let state = self.state.borrow();
            let Some(index) = state.segment_index(segment) else {
                return Ok(0);
            };
            let mut in_file = TimeIndexView::checked(&bytes);
            if index + 1 == state.segments.len() {
                in_file = in_file.first(state.segments[index].index.times_in_file as usize);
            }
            let count = in_file.count_where(|entry| entry.timestamp < timestamp);
            let pending = &state.segments[index].index.pending_times;
            pending
                .iter()
                .copied()
                .take_while(|entry| entry.timestamp < timestamp)
                .last()
                .or_else(|| in_file.first(count).last())
        };
        let found = match entry {
            Some(entry) => self.batch_of_entry(segment, entry).await?,
            None => None,
        };
        Ok(found.map_or(0, |found| found.position))
    }

    /// The first record of a batch that is wanted.
    async fn find_in_batch(
        &self,
        segment: i64,
        found: &Found,
        mut is_wanted: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let bytes = self.read_batch(segment, found).await?;
        let damaged = |reason| {
            let path = self.segment_path(segment, LOG_SUFFIX);
            StorageError::damaged(&path, found.position, reason)
        };
        let batch = BatchView::parse(&bytes).map_err(|_| damaged("a batch is cut short"))?;
        let leader_epoch = batch.header().partition_leader_epoch;
        let mut decompressor = Decompressor::new();
        let records = batch
            .records(&mut decompressor, MAX_DECOMPRESSED_BYTES)
            .map_err(|_| damaged("the records of a batch cannot be read"))?;
        for record in records {
            let record = record.map_err(|_| damaged("a record cannot be read"))?;
            if is_wanted(&record) {
                return Ok(Some(TimestampOffset {
                    timestamp: record.timestamp,
                    offset: record.offset,
                    leader_epoch,
                }));
            }
        }
        Ok(None)
    }

    async fn read_batch(&self, segment: i64, found: &Found) -> Result<Bytes, StorageError> {
        let mut plan = ReadPlan::default();
        let end = found.position + found.header.size_in_bytes() as u64;
        self.add_parts(&mut plan, segment, found.position, end)
            .await?;
        plan.load_contiguous(&self.store.reactor).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::LogConfig;
    use crate::reader::tests::{append, with_log};

    #[test]
    fn the_largest_timestamp_of_a_segment_is_that_of_the_batch_that_has_it_first() {
        let config = LogConfig {
            segment_bytes: 10 * 170,
            index_interval_bytes: 2 * 170,
            segment_ms: i64::MAX,
            ..LogConfig::default()
        };
        with_log(config, |node, log| async move {
            for timestamp in 0..31 {
                // 15 has the time of 19.
                let timestamp = if timestamp == 15 { 19 } else { timestamp };
                append(&log, 1_000 + timestamp, 100).await;
            }
            assert_eq!(log.segment_base_offsets(), [0, 10, 20, 30]);
            let path = "/data/t-0/00000000000000000010.timeindex";
            let index = node.read_current(path).expect("closed segments have one");
            // As it was closed, and as a crash may leave it.
            for known in [index.len(), 12, 0] {
                node.plant_file(path, &index[..known]);
                log.state.borrow_mut().segments[1].max_timestamp = None;
                let max = log.max_timestamp_of(10).await.expect("readable");
                let expected = MaxTimestamp {
                    timestamp: 1_019,
                    offset: 15,
                };
                assert_eq!(max, expected, "{known} bytes of the index");
                assert_eq!(log.state.borrow().segments[1].max_timestamp, Some(max));
            }
            let none = log.max_timestamp_of(5).await.expect("readable");
            assert_eq!(none, MaxTimestamp::NONE, "there is no such segment");
        });
    }

    #[test]
    fn a_look_up_is_done_again_only_while_files_go_meanwhile() {
        with_log(LogConfig::default(), |_, log| async move {
            for (changes, expected) in [(0, 1), (3, 4), (usize::MAX, MAX_RESTARTS)] {
                let done = Cell::new(0);
                let look_up = |_| {
                    if done.get() < changes {
                        log.state.borrow_mut().generation += 1;
                    }
                    done.set(done.get() + 1);
                    async { Ok(None) }
                };
                let found = log.while_files_stay(Offset(i64::MAX), look_up).await;
                assert_eq!(found.expect("readable"), None);
                assert_eq!(done.get(), expected);
            }
        });
    }
}
