//! One segment of a log: its files' names, its bounds, and the index entries not yet in its files.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::offset_index::{self, OffsetEntry};
use crate::time_index::{self, TimeEntry};

pub(crate) const LOG_SUFFIX: &str = ".log";
pub(crate) const INDEX_SUFFIX: &str = ".index";
pub(crate) const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub(crate) const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub(crate) const SNAPSHOT_SUFFIX: &str = ".snapshot";

/// The path of a file that is named after an offset.
pub(crate) fn path_of(dir: &Path, offset: i64, suffix: &str) -> PathBuf {
    dir.join(format!("{offset:020}{suffix}"))
}

/// The offset in the name of a file with this suffix.
pub(crate) fn offset_in_name(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// The largest timestamp of a segment and the last offset of the batch that has it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxTimestamp {
    pub timestamp: i64,
    pub offset: i64,
}

impl MaxTimestamp {
    pub(crate) const NONE: MaxTimestamp = MaxTimestamp {
        timestamp: -1,
        offset: -1,
    };
}

/// A segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base_offset: i64,
    /// Bytes of batches, in the file or on their way.
    pub size: u64,
    pub created_ms: i64,
    /// The largest timestamp of the first batch, by which the segment's age is told.
    pub first_timestamp: Option<i64>,
    /// `None` until it was read from the files.
    pub max_timestamp: Option<MaxTimestamp>,
    /// Taken off `segment.ms`.
    pub jitter_ms: i64,
    pub index: SegmentIndex,
    /// The producers at its end, for the snapshot that is written when it is closed.
    pub end_snapshot: Option<Bytes>,
}

/// The index entries of a segment: so many are in the files, the others are here.
#[derive(Debug, Default)]
pub(crate) struct SegmentIndex {
    pub offsets_in_file: u32,
    pub times_in_file: u32,
    pub pending_offsets: Vec<OffsetEntry>,
    pub pending_times: Vec<TimeEntry>,
    /// The position of the last entry's batch.
    pub last_position: u64,
    pub last_time: Option<TimeEntry>,
    /// The files end with the entries counted here.
    pub trimmed: bool,
}

impl Segment {
    /// An empty segment.
    pub(crate) fn new(base_offset: i64, created_ms: i64, jitter_ms: i64) -> Segment {
        Segment {
            base_offset,
            size: 0,
            created_ms,
            first_timestamp: None,
            max_timestamp: Some(MaxTimestamp::NONE),
            jitter_ms,
            index: SegmentIndex {
                trimmed: true,
                ..SegmentIndex::default()
            },
            end_snapshot: None,
        }
    }

    /// Takes in a batch of `len` bytes that goes to the segment's end.
    pub(crate) fn add_batch(
        &mut self,
        last_offset: i64,
        max_timestamp: i64,
        len: u64,
        index_interval_bytes: u32,
    ) {
        let position = self.size;
        self.first_timestamp.get_or_insert(max_timestamp);
        let known = self.max_timestamp.unwrap_or(MaxTimestamp::NONE);
        if max_timestamp > known.timestamp {
            self.max_timestamp = Some(MaxTimestamp {
                timestamp: max_timestamp,
                offset: last_offset,
            });
        }
        if position - self.index.last_position > u64::from(index_interval_bytes) {
            self.index.pending_offsets.push(OffsetEntry {
                relative_offset: (last_offset - self.base_offset) as u32,
                position: position as u32,
            });
            self.index.last_position = position;
            self.add_time_entry();
        }
        self.size += len;
    }

    /// Adds the largest timestamp to the time index, if it is not there yet.
    pub(crate) fn add_time_entry(&mut self) {
        let Some(max) = self.max_timestamp else {
            return;
        };
        let newer = self
            .index
            .last_time
            .is_none_or(|last| max.timestamp > last.timestamp);
        if max.timestamp >= 0 && newer {
            let entry = TimeEntry {
                timestamp: max.timestamp,
                relative_offset: (max.offset - self.base_offset) as u32,
            };
            self.index.pending_times.push(entry);
            self.index.last_time = Some(entry);
        }
    }

    /// Whether a batch that ends at `last_offset` can be indexed.
    pub(crate) fn can_index(&self, last_offset: i64) -> bool {
        (0..=i64::from(i32::MAX)).contains(&(last_offset - self.base_offset))
    }
}

impl SegmentIndex {
    /// Whether an index of at most `max_bytes` has no room for another entry.
    pub(crate) fn is_full(&self, max_bytes: u32) -> bool {
        let max_bytes = max_bytes as usize;
        let offsets = self.offsets_in_file as usize + self.pending_offsets.len();
        let times = self.times_in_file as usize + self.pending_times.len();
        // The last slot of the time index is kept for the entry at the segment's end.
        offsets >= max_bytes / offset_index::ENTRY_LEN
            || times + 1 >= max_bytes / time_index::ENTRY_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let path = path_of(Path::new("/d/t-0"), 170, LOG_SUFFIX);
        assert_eq!(path, Path::new("/d/t-0/00000000000000000170.log"));
        assert_eq!(
            offset_in_name("00000000000000000170.log", LOG_SUFFIX),
            Some(170)
        );
        assert_eq!(offset_in_name("170.log", LOG_SUFFIX), None);
        assert_eq!(
            offset_in_name("00000000000000000170.index", LOG_SUFFIX),
            None
        );
    }

    #[test]
    fn entries_come_as_kafka_places_them() {
        let mut segment = Segment::new(100, 0, 0);
        for batch in 0..5i64 {
            segment.add_batch(100 + batch, 50 - batch, 60, 100);
        }
        // An entry for the first batch that begins more than 100 bytes after the last entry's.
        assert_eq!(
            segment.index.pending_offsets,
            [
                OffsetEntry {
                    relative_offset: 2,
                    position: 120
                },
                OffsetEntry {
                    relative_offset: 4,
                    position: 240
                },
            ]
        );
        let entry = TimeEntry {
            timestamp: 50,
            relative_offset: 0,
        };
        assert_eq!(segment.index.pending_times, [entry]);
        assert!(segment.can_index(100 + i64::from(i32::MAX)));
        assert!(!segment.can_index(101 + i64::from(i32::MAX)));
        assert!(segment.index.is_full(16));
        assert!(!segment.index.is_full(36));
    }

    #[test]
    fn either_index_may_be_full() {
        let full = |offsets_in_file, times_in_file| {
            let index = SegmentIndex {
                offsets_in_file,
                times_in_file,
                ..SegmentIndex::default()
            };
            index.is_full(240)
        };
        assert!(full(30, 0) && !full(29, 0));
        assert!(full(0, 19) && !full(0, 18), "a slot is kept for the end");
    }

    #[test]
    fn the_first_batch_with_the_largest_timestamp_is_remembered() {
        let mut segment = Segment::new(100, 0, 0);
        for (last_offset, timestamp) in [(100, 0), (101, 7), (102, 7), (103, 5)] {
            segment.add_batch(last_offset, timestamp, 60, 1_000);
            if last_offset == 100 {
                segment.add_time_entry();
            }
        }
        let max = MaxTimestamp {
            timestamp: 7,
            offset: 101,
        };
        assert_eq!(segment.max_timestamp, Some(max));
        assert_eq!(segment.first_timestamp, Some(0));
        segment.add_time_entry();
        let times = segment.index.pending_times.iter();
        let times: Vec<_> = times
            .map(|entry| (entry.timestamp, entry.relative_offset))
            .collect();
        assert_eq!(times, [(0, 0), (7, 1)], "the epoch's first moment is one");
    }
}
