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

#[cfg(test)]
mod tests {
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::{ControlType, control_batch};
    use millstream_protocol::{Offset, ProducerId};

    use super::*;

    /// A batch from offset 10 on.
    fn begin() -> BatchBuilder {
        BatchBuilder::new(Codec::None).base_offset(Offset(10))
    }

    fn batch(mut builder: BatchBuilder, records: &[(Option<&str>, Option<&str>)]) -> Bytes {
        for (key, value) in records {
            builder.push(100, key.map(str::as_bytes), value.map(str::as_bytes), &[]);
        }
        builder.build().expect("not compressed")
    }

    /// What stays when `k` was last written at 20, within [0, 30) of which the map knows.
    fn apply(bytes: &[u8], change: impl FnOnce(&mut BatchFilter<'_>)) -> Kept {
        let mut map = KeyMap::new(1 << 10, || 7);
        assert!(map.put(b"k", 20));
        let mut filter = BatchFilter {
            map: &map,
            map_end: 30,
            now_ms: 5_000,
            delete_retention_ms: 70,
            last_of_producers: &AHashMap::from([(5, 10), (6, 99), (-1, 10)]),
            range_end: 40,
        };
        change(&mut filter);
        let batch = BatchView::parse(bytes).expect("a batch");
        let kept = filter.apply(&batch, &mut Decompressor::new());
        kept.expect("it can be read")
    }

    /// The keys that stay, and from when on its tombstones may go.
    fn rewritten(kept: &Kept) -> (Vec<String>, Option<i64>) {
        let Kept::Rewritten(bytes) = kept else {
            panic!("{kept:?}");
        };
        let batch = BatchView::parse(bytes).expect("a batch");
        batch.check_crc().expect("its own");
        let mut decompressor = Decompressor::new();
        let records = batch.records(&mut decompressor, 1 << 10).expect("readable");
        let key = |record: Record<'_>| {
            String::from_utf8(record.key.expect("it has one").to_vec()).expect("text")
        };
        (
            records
                .map(|record| key(record.expect("readable")))
                .collect(),
            batch.header().delete_horizon_ms(),
        )
    }

    #[test]
    fn an_emptied_batch_stays_as_a_header_where_offsets_and_sequences_go_on() {
        let old = [(Some("k"), Some("v"))];
        let by = |id: i64| begin().producer(ProducerId(id), 0, 3);
        for (bytes, range_end, stays) in [
            (batch(begin(), &old), 40, false),
            (batch(begin(), &old), 11, true),
            (batch(by(5), &old), 40, true),
            (batch(by(6), &old), 40, false),
            (batch(by(6), &old), 11, true),
            (batch(by(7), &old), 40, false),
        ] {
            let emptied = apply(&bytes, |filter| filter.range_end = range_end);
            if !stays {
                assert_eq!(emptied, Kept::Nothing);
                continue;
            }
            assert_eq!(rewritten(&emptied), (vec![], None));
            let Kept::Rewritten(header) = emptied else {
                unreachable!("looked at before");
            };
            let again = |range_end| apply(&header, |filter| filter.range_end = range_end);
            assert_eq!(again(11), Kept::Whole, "once more, it is as it should be");
            let last = BatchHeader::parse(&header).expect("a header").producer_id;
            let is_needed = last == ProducerId(5);
            let expected = if is_needed {
                Kept::Whole
            } else {
                Kept::Nothing
            };
            assert_eq!(again(40), expected);
        }
    }

    #[test]
    fn a_batch_that_loses_nothing_stays_as_it_is() {
        let records = [
            (Some("k"), Some("old")),
            (None, Some("x")),
            (Some("l"), None),
        ];
        let bytes = batch(begin(), &records);
        let of_transaction = batch(
            begin().producer(ProducerId(6), 0, 0).transactional(),
            &records,
        );
        let marker = control_batch(ControlType::Commit, ProducerId(6), 0, 0, 100);
        let plain = batch(begin(), &[(Some("l"), Some("v"))]);
        for (bytes, map_end, what) in [
            (&bytes, 10, "above what the map knows"),
            (&of_transaction, 30, "it may have been aborted"),
            (&marker, 30, "a marker"),
            (&plain, 30, "the last of its key"),
        ] {
            let kept = apply(bytes, |filter| filter.map_end = map_end);
            assert_eq!(kept, Kept::Whole, "{what}");
        }
        let kept = apply(&bytes, |filter| filter.map_end = 11);
        assert_eq!(rewritten(&kept).0, ["l"]);
    }

    #[test]
    fn tombstones_stay_until_the_horizon_that_the_first_cleaning_gave_them() {
        let records = [
            (Some("k"), Some("old")),
            (Some("l"), None),
            (Some("m"), Some("v")),
            (Some("n"), None),
        ];
        let met = apply(&batch(begin(), &records), |filter| filter.now_ms = 100);
        let (keys, horizon) = rewritten(&met);
        assert_eq!(keys, ["l", "m", "n"]);
        assert_eq!(horizon, Some(170));
        let Kept::Rewritten(met) = met else {
            unreachable!("looked at before");
        };
        for now_ms in [0, 169] {
            let kept = apply(&met, |filter| filter.now_ms = now_ms);
            assert_eq!(kept, Kept::Whole, "at {now_ms}");
        }
        for now_ms in [170, 171] {
            let kept = apply(&met, |filter| filter.now_ms = now_ms);
            let (keys, horizon) = rewritten(&kept);
            assert_eq!(keys, ["m"], "at {now_ms}");
            assert_eq!(horizon, Some(170), "it is not moved");
        }
    }

    #[test]
    fn of_a_key_the_last_record_stays() {
        for (offset, stays) in [(19, false), (20, true), (21, true)] {
            let builder = BatchBuilder::new(Codec::None).base_offset(Offset(offset));
            let kept = apply(&batch(builder, &[(Some("k"), Some("v"))]), |_| ());
            let expected = if stays { Kept::Whole } else { Kept::Nothing };
            assert_eq!(kept, expected, "at {offset}");
        }
    }
}
