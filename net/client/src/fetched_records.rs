//! From the bytes of a fetch response to records.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use millstream_protocol::compression::Decompressor;
use millstream_protocol::messages::fetch_response::AbortedTransaction;
use millstream_protocol::record_batch::{BatchView, Batches, Record};

use crate::error::{ClientError, Result};
use crate::record::ConsumerRecord;

/// The most that one batch may hold when it is decompressed.
const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

/// The records of one partition in a response.
pub(crate) struct FetchedRecords {
    /// The records from the wanted offset on.
    pub(crate) records: Vec<ConsumerRecord>,
    /// Where to fetch next.
    pub(crate) next_offset: i64,
}

/// What a partition's bytes are of, and from where on they are wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) topic: &'a Rc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Reads whole batches, leaving out what lies before the wanted offset, control records, and the
/// records of `aborted` transactions.
pub(crate) fn read_batches(
    wanted: &Wanted<'_>,
    bytes: &Bytes,
    aborted: &[AbortedTransaction],
) -> Result<FetchedRecords> {
    let mut decompressor = Decompressor::new();
    let mut aborted = Aborted::new(aborted);
    let mut fetched = FetchedRecords {
        records: Vec::new(),
        next_offset: wanted.offset,
    };
    for batch in Batches::new(bytes) {
        let batch = batch.map_err(|error| broken(wanted, fetched.next_offset, &error))?;
        let header = batch.header();
        batch
            .check_crc()
            .map_err(|error| broken(wanted, header.base_offset.0, &error))?;
        let skipped = aborted.covers(&batch) || header.attributes.is_control();
        if !skipped && header.last_offset().0 >= wanted.offset {
            read_records(
                wanted,
                bytes,
                &batch,
                &mut decompressor,
                &mut fetched.records,
            )?;
        }
        fetched.next_offset = fetched.next_offset.max(header.next_offset().0);
    }
    Ok(fetched)
}

fn read_records(
    wanted: &Wanted<'_>,
    bytes: &Bytes,
    batch: &BatchView<'_>,
    decompressor: &mut Decompressor,
    records: &mut Vec<ConsumerRecord>,
) -> Result<()> {
    let base_offset = batch.header().base_offset.0;
    let leader_epoch = batch.header().partition_leader_epoch.0;
    let iter = batch
        .records(decompressor, MAX_BATCH_BYTES)
        .map_err(|error| broken(wanted, base_offset, &error))?;
    for record in iter {
        let record = record.map_err(|error| broken(wanted, base_offset, &error))?;
        if record.offset.0 >= wanted.offset {
            records.push(owned_record(wanted, bytes, leader_epoch, &record));
        }
    }
    Ok(())
}

fn owned_record(
    wanted: &Wanted<'_>,
    bytes: &Bytes,
    leader_epoch: i32,
    record: &Record<'_>,
) -> ConsumerRecord {
    let headers = record.headers.iter().map(|header| {
        let key = String::from_utf8_lossy(header.key).into_owned();
        (key, header.value.map(|value| owned(bytes, value)))
    });
    ConsumerRecord {
        topic: wanted.topic.clone(),
        partition: wanted.partition,
        offset: record.offset.0,
        timestamp: record.timestamp,
        leader_epoch,
        key: record.key.map(|key| owned(bytes, key)),
        value: record.value.map(|value| owned(bytes, value)),
        headers: headers.collect(),
    }
}

/// A slice of the response where the records lie in it uncompressed, a copy otherwise.
fn owned(bytes: &Bytes, slice: &[u8]) -> Bytes {
    let (whole, part) = (bytes.as_ptr_range(), slice.as_ptr_range());
    if whole.start <= part.start && part.end <= whole.end {
        bytes.slice_ref(slice)
    } else {
        Bytes::copy_from_slice(slice)
    }
}

fn broken(wanted: &Wanted<'_>, offset: i64, cause: &dyn std::fmt::Display) -> ClientError {
    ClientError::Records {
        topic: wanted.topic.clone(),
        partition: wanted.partition,
        offset,
        cause: cause.to_string().into(),
    }
}

/// Follows which producers' transactions are aborted while batches go by in offset order.
struct Aborted {
    /// Producers by the offset at which their aborted transaction begins.
    upcoming: BTreeMap<i64, Vec<i64>>,
    active: BTreeSet<i64>,
}

impl Aborted {
    fn new(aborted: &[AbortedTransaction]) -> Aborted {
        let mut upcoming: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for transaction in aborted {
            let producers = upcoming.entry(transaction.first_offset).or_default();
            producers.push(transaction.producer_id.0);
        }
        Aborted {
            upcoming,
            active: BTreeSet::new(),
        }
    }

    /// Whether `batch` belongs to an aborted transaction; its marker ends it.
    fn covers(&mut self, batch: &BatchView<'_>) -> bool {
        let header = batch.header();
        let producer = header.producer_id.0;
        while let Some(next) = self.upcoming.first_entry()
            && *next.key() <= header.last_offset().0
        {
            self.active.extend(next.remove());
        }
        if header.attributes.is_control() {
            self.active.remove(&producer);
            return false;
        }
        header.attributes.is_transactional() && self.active.contains(&producer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_protocol::compression::Codec;
    use millstream_protocol::messages;
    use millstream_protocol::record_batch::{
        BatchBuilder, ControlType, control_batch, patch_base_offset,
    };
    use millstream_protocol::{LeaderEpoch, Offset, ProducerId};

    fn batch(base: i64, values: &[&str], codec: Codec, producer: i64) -> Bytes {
        let mut builder = BatchBuilder::new(codec)
            .base_offset(Offset(base))
            .leader_epoch(LeaderEpoch(3));
        if producer >= 0 {
            builder = builder.producer(ProducerId(producer), 0, 0).transactional();
        }
        for value in values {
            let headers: &[(&str, Option<&[u8]>)] = &[("h", Some(b"v")), ("null", None)];
            builder.push(1_000, Some(b"k"), Some(value.as_bytes()), headers);
        }
        builder.build().expect("the batch compresses")
    }

    fn read(offset: i64, bytes: Bytes, aborted: &[AbortedTransaction]) -> (Vec<String>, i64) {
        let topic = Rc::from("t");
        let wanted = Wanted {
            topic: &topic,
            partition: 0,
            offset,
        };
        let fetched = read_batches(&wanted, &bytes, aborted).expect("the batches are whole");
        let values = fetched.records.iter().map(|record| {
            assert_eq!(record.headers.len(), 2);
            let value = record.value.clone().expect("every record has a value");
            format!("{}={}", record.offset, String::from_utf8_lossy(&value))
        });
        (values.collect(), fetched.next_offset)
    }

    #[test]
    fn a_fetch_within_a_batch_skips_its_beginning_and_a_cut_batch_is_left() {
        for codec in Codec::ALL {
            let mut bytes = batch(10, &["a", "b", "c"], codec, -1).to_vec();
            let next = batch(13, &["d"], codec, -1);
            bytes.extend_from_slice(&next[..next.len() - 1]);
            let (values, next_offset) = read(11, bytes.into(), &[]);
            assert_eq!(values, ["11=b", "12=c"], "{codec:?}");
            assert_eq!(next_offset, 13);
        }
    }

    #[test]
    fn aborted_transactions_and_markers_are_left_out() {
        let mut bytes = Vec::new();
        bytes.extend(batch(0, &["aborted"], Codec::None, 7));
        bytes.extend(batch(1, &["kept"], Codec::None, 8));
        let mut marker = control_batch(ControlType::Abort, ProducerId(7), 0, 0, 0).to_vec();
        patch_base_offset(&mut marker, Offset(2));
        bytes.extend(marker);
        bytes.extend(batch(3, &["next"], Codec::None, 7));
        let aborted = AbortedTransaction::default()
            .with_producer_id(messages::ProducerId(7))
            .with_first_offset(0);
        let (values, next_offset) = read(0, bytes.into(), &[aborted]);
        assert_eq!(values, ["1=kept", "3=next"]);
        assert_eq!(next_offset, 4);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut bytes = batch(0, &["a"], Codec::None, -1).to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let topic = Rc::from("t");
        let wanted = Wanted {
            topic: &topic,
            partition: 0,
            offset: 0,
        };
        let error = read_batches(&wanted, &bytes.into(), &[]).err();
        assert!(
            matches!(error, Some(ClientError::Records { .. })),
            "{error:?}"
        );
    }
}
