//! What of a log may be cleaned, and how much need there is.

use crate::error::StorageError;
use crate::log::{Log, LogState};
use crate::reader::Walker;

/// The part of a log that was not cleaned yet and may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DirtyRange {
    /// The first offset that was never cleaned.
    pub first: i64,
    /// The base offset of the first segment that may not be cleaned.
    pub end: i64,
    /// The part of the bytes below `end` that are dirty.
    pub ratio: f64,
    /// Whether the ratio is large enough, or a record has waited for too long.
    pub is_due: bool,
}

impl Log {
    /// The log's dirty range; none if there is nothing to clean.
    pub(crate) async fn dirty_range(
        &self,
        now_ms: i64,
    ) -> Result<Option<DirtyRange>, StorageError> {
        let (first, mut end, config, closed) = {
            let state = self.state.borrow();
            if !state.config.cleanup.compact || state.uncleanable {
                return Ok(None);
            }
            let active = state.active().base_offset;
            let closed = state.segments.iter().map(|segment| segment.base_offset);
            let closed: Vec<i64> = closed.take_while(|&base| base < active).collect();
            let end = state.high_watermark.min(active).min(state.flushed.segment);
            (
                state.first_dirty_offset(),
                end,
                state.config.clone(),
                closed,
            )
        };
        let from = closed.partition_point(|&base| base <= first).max(1) - 1;
        let dirty = closed.get(from..).unwrap_or_default();
        if config.min_compaction_lag_ms > 0 {
            for &base in dirty {
                let newest = self.max_timestamp_of(base).await?.timestamp;
                if newest > now_ms.saturating_sub(config.min_compaction_lag_ms) {
                    end = end.min(base);
                    break;
                }
            }
        }
        let mut has_waited = false;
        if config.max_compaction_lag_ms < i64::MAX {
            let limit = now_ms.saturating_sub(config.max_compaction_lag_ms);
            for &base in dirty {
                let oldest = match Walker::new(self, base).at(0).await? {
                    Some(found) => found.header.max_timestamp,
                    None => continue,
                };
                has_waited |= oldest > 0 && oldest < limit;
            }
        }
        let state = self.state.borrow();
        let end = state.base_at_or_below(end.max(first));
        let (clean_bytes, dirty_bytes) = state.bytes_around(first, end);
        if clean_bytes + dirty_bytes == 0 {
            return Ok(None);
        }
        let ratio = dirty_bytes as f64 / (clean_bytes + dirty_bytes) as f64;
        let is_due = ratio > config.min_cleanable_dirty_ratio || (has_waited && dirty_bytes > 0);
        Ok(Some(DirtyRange {
            first,
            end,
            ratio,
            is_due,
        }))
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

    fn base_at_or_below(&self, offset: i64) -> i64 {
        let above = self
            .segments
            .partition_point(|segment| segment.base_offset <= offset);
        self.segments[above.saturating_sub(1)].base_offset
    }

    /// Bytes of the segments that begin below `first`, and of those from there to `end`.
    fn bytes_around(&self, first: i64, end: i64) -> (u64, u64) {
        let dirty_from = self.base_at_or_below(first.min(end));
        let size_of = |from: i64, to: i64| -> u64 {
            let all = self.segments.iter();
            all.filter(|segment| (from..to).contains(&segment.base_offset))
                .map(|segment| segment.size)
                .sum()
        };
        (
            size_of(i64::MIN, dirty_from.min(end)),
            size_of(dirty_from, end),
        )
    }
}
