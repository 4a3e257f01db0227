//! What of a log may be cleaned, and whether there is need.

use std::ops::Range;

use crate::error::StorageError;
use crate::log::{Log, LogState};
use crate::reader::Walker;

/// The part of a log that was not cleaned yet, may be, and is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DirtyRange {
    /// The first offset that was never cleaned.
    pub first: i64,
    /// The base offset of the first segment that may not be cleaned.
    pub end: i64,
    /// The part of the bytes below `end` that are dirty.
    pub ratio: f64,
}

impl Log {
    /// The log's dirty range; none if there is nothing to clean, or too little and no record has
    /// waited for too long.
    pub(crate) async fn dirty_range(
        &self,
        now_ms: i64,
    ) -> Result<Option<DirtyRange>, StorageError> {
        let (first, mut end, config, dirty) = {
            let state = self.state.borrow();
            if !state.config.cleanup.compact || state.uncleanable {
                return Ok(None);
            }
            let first = state.first_dirty_offset();
            // Closed, as far as that is known here.
            let pairs = state.segments.windows(2);
            let dirty = pairs.filter(|pair| pair[1].base_offset > first);
            let dirty: Vec<i64> = dirty.map(|pair| pair[0].base_offset).collect();
            let end = state.high_watermark.min(state.flushed.segment);
            (first, end, state.config.clone(), dirty)
        };
        if config.min_compaction_lag_ms > 0 {
            let youngest = now_ms.saturating_sub(config.min_compaction_lag_ms);
            for &base in &dirty {
                if self.max_timestamp_of(base).await?.timestamp > youngest {
                    end = end.min(base);
                    break;
                }
            }
        }
        let end = self.segment_of(end);
        if end <= first {
            return Ok(None);
        }
        let ratio = self.state.borrow().dirty_ratio(self.segment_of(first), end);
        let is_due = ratio > config.min_cleanable_dirty_ratio
            || self
                .has_waited(&dirty, now_ms, config.max_compaction_lag_ms)
                .await?;
        Ok(is_due.then_some(DirtyRange { first, end, ratio }))
    }

    /// Whether the first record of a segment is older than the longest lag. One without a time
    /// does not count.
    async fn has_waited(
        &self,
        segments: &[i64],
        now_ms: i64,
        max_lag_ms: i64,
    ) -> Result<bool, StorageError> {
        let too_old = 1..now_ms.saturating_sub(max_lag_ms);
        if too_old.is_empty() {
            return Ok(false);
        }
        for &base in segments {
            let first = Walker::new(self, base).at(0).await?;
            if first.is_some_and(|found| too_old.contains(&found.header.max_timestamp)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl LogState {
    /// The first offset that was never cleaned, within the log.
    fn first_dirty_offset(&self) -> i64 {
        let within = self.log_start_offset..=self.log_end_offset;
        self.first_dirty
            .filter(|first| within.contains(first))
            .unwrap_or(self.log_start_offset)
    }

    /// The part of the bytes of the segments below `end` that is in those from `dirty` on.
    fn dirty_ratio(&self, dirty: i64, end: i64) -> f64 {
        let bytes_in = |bases: Range<i64>| -> u64 {
            let segments = self.segments.iter();
            segments
                .filter(|segment| bases.contains(&segment.base_offset))
                .map(|segment| segment.size)
                .sum()
        };
        bytes_in(dirty..end) as f64 / bytes_in(i64::MIN..end) as f64
    }
}
