//! What of one batch stays.
//!
//! A batch keeps its offsets, its sequence numbers and its epochs whatever goes of it. Its codec
//! stays too. The first cleaning that leaves a tombstone in a batch writes the time from which it
//! may go into the batch (KIP-534): as its base timestamp, with a bit of the attributes.
//!
//! Batches of transactions and their markers stay as they are: which of them were aborted is not
//! known here.

use ahash::AHashMap;
use bytes::Bytes;
use millstream_protocol::compression::Decompressor;
use millstream_protocol::record_batch::{BatchBuilder, BatchHeader, BatchView, Record};

use super::key_map::KeyMap;

/// The most that a batch may hold when its records are looked at.
pub(crate) const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;

/// The rules of one cleaning.
pub(crate) struct BatchFilter<'a> {
    pub map: &'a KeyMap,
    /// The map knows records below.
    pub map_end: i64,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    /// The last offset of each producer that is known.
    pub last_of_producers: &'a AHashMap<i64, i64>,
    /// Where the part ends that is cleaned: the batch before stays, if only its header, so that
    /// offsets go on from there.
    pub range_end: i64,
}

/// What stays of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All, as it is.
    Whole,
    /// This instead.
    Rewritten(Bytes),
    Nothing,
}

/// Whether the records of a batch take part in compaction.
pub(crate) fn is_plain(header: &BatchHeader) -> bool {
    !header.attributes.is_control() && !header.attributes.is_transactional()
}

impl BatchFilter<'_> {
    /// Decides on a batch; an explanation if it cannot be read.
    pub(crate) fn apply(
        &self,
        batch: &BatchView<'_>,
        decompressor: &mut Decompressor,
    ) -> Result<Kept, &'static str> {
        let header = batch.header();
        if !is_plain(header) || header.base_offset.0 >= self.map_end {
            return Ok(Kept::Whole);
        }
        let last_of_producer = header.has_producer_id()
            && self.last_of_producers.get(&header.producer_id.0) == Some(&header.last_offset().0);
        let stays = last_of_producer || header.next_offset().0 == self.range_end;
        if header.records_count == 0 {
            return Ok(if stays { Kept::Whole } else { Kept::Nothing });
        }
        let records = batch
            .records(decompressor, MAX_DECOMPRESSED_BYTES)
            .map_err(|_| "the records of a batch cannot be read")?;
        let (mut kept, mut all, mut tombstones) = (Vec::new(), true, false);
        for record in records {
            let record = record.map_err(|_| "a record cannot be read")?;
            if self.keeps(header, &record) {
                tombstones |= record.value.is_none();
                kept.push(record);
            } else {
                all = false;
            }
        }
        if kept.is_empty() {
            return Ok(if stays {
                Kept::Rewritten(BatchBuilder::emptied(header))
            } else {
                Kept::Nothing
            });
        }
        let known_horizon = header.delete_horizon_ms();
        let new_horizon = (tombstones && known_horizon.is_none())
            .then(|| self.now_ms.saturating_add(self.delete_retention_ms));
        if all && new_horizon.is_none() {
            return Ok(Kept::Whole);
        }
        let codec = header.attributes.codec().map_err(|_| "no such codec")?;
        let mut builder = BatchBuilder::rewriting(header, codec);
        if let Some(horizon) = known_horizon.or(new_horizon) {
            builder = builder.delete_horizon(horizon);
        }
        for record in &kept {
            builder.push_kept(record);
        }
        let rewritten = builder
            .build()
            .map_err(|_| "what is left of a batch cannot be compressed")?;
        Ok(Kept::Rewritten(rewritten))
    }

    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        if record.offset.0 >= self.map_end {
            return true;
        }
        // A compacted topic takes no records without a key; these are older than that policy.
        let Some(key) = record.key else {
            return false;
        };
        let is_last = self.map.get(key).is_none_or(|last| record.offset.0 >= last);
        let horizon = header.delete_horizon_ms();
        let is_due = record.value.is_none() && horizon.is_some_and(|due| self.now_ms >= due);
        is_last && !is_due
    }
}
