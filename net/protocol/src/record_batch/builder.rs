//! Making batches: for the producer of our client, for coordinators, for tests.

use bytes::Bytes;

use super::header::{BatchAttributes, BatchHeader, TimestampType};
use super::records::Record;
use crate::compression::{Codec, CompressionError, compress};
use crate::cursor::{put_varint, put_varlong, varint_size, varlong_size};
use crate::{LeaderEpoch, Offset, ProducerId};

/// Collects records and encodes them as one batch.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Codec,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// A batch without records, offset 0 and no producer.
    pub fn new(codec: Codec) -> BatchBuilder {
        BatchBuilder {
            header: BatchHeader {
                base_offset: Offset(0),
                batch_length: 0,
                partition_leader_epoch: LeaderEpoch::NONE,
                crc: 0,
                attributes: BatchAttributes::default().with_codec(codec),
                last_offset_delta: -1,
                base_timestamp: -1,
                max_timestamp: -1,
                producer_id: ProducerId::NONE,
                producer_epoch: -1,
                base_sequence: -1,
                records_count: 0,
            },
            codec,
            records: Vec::new(),
        }
    }

    /// A batch for some records of another: offsets, sequence numbers, producer and epochs are that
    /// one's, whichever records follow.
    pub fn rewriting(original: &BatchHeader, codec: Codec) -> BatchBuilder {
        let append_time = original.attributes.timestamp_type() == TimestampType::LogAppendTime;
        let attributes = original.attributes.with_delete_horizon(false);
        BatchBuilder {
            header: BatchHeader {
                batch_length: 0,
                crc: 0,
                attributes: attributes.with_codec(codec),
                base_timestamp: -1,
                max_timestamp: if append_time {
                    original.max_timestamp
                } else {
                    -1
                },
                records_count: 0,
                ..*original
            },
            codec,
            records: Vec::new(),
        }
    }

    /// What is left of a batch without its records: a header.
    pub fn emptied(original: &BatchHeader) -> Bytes {
        let mut builder = BatchBuilder::rewriting(original, Codec::None);
        builder.header.max_timestamp = original.max_timestamp;
        builder.build().expect("nothing is compressed")
    }

    /// Sets the time from which compaction may drop the batch's tombstones. Before any record.
    #[must_use]
    pub fn delete_horizon(mut self, horizon_ms: i64) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_delete_horizon(true);
        self.header.base_timestamp = horizon_ms;
        self
    }

    /// Sets the first record's offset.
    #[must_use]
    pub fn base_offset(mut self, base_offset: Offset) -> BatchBuilder {
        self.header.base_offset = base_offset;
        self
    }

    /// Sets the term of the leader.
    #[must_use]
    pub fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> BatchBuilder {
        self.header.partition_leader_epoch = leader_epoch;
        self
    }

    /// Sets the producer, its epoch and the first record's sequence number.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    /// Marks the batch as a control batch.
    #[must_use]
    pub fn control(mut self) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    /// Marks the batch as stamped by the broker at `timestamp`.
    #[must_use]
    pub fn log_append_time(mut self, timestamp: i64) -> BatchBuilder {
        let attributes = self.header.attributes;
        self.header.attributes = attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = timestamp;
        self
    }

    /// Appends a record; its offset follows the last one's.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let header = &mut self.header;
        if header.records_count == 0 {
            header.base_timestamp = timestamp;
        }
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = header.max_timestamp.max(timestamp);
        }
        let timestamp_delta = timestamp.wrapping_sub(header.base_timestamp);
        let offset_delta = header.last_offset_delta + 1;
        let length = body_size(timestamp_delta, offset_delta, key, value, headers);

        let records = &mut self.records;
        put_varint(records, length_of(length));
        records.push(0);
        put_varlong(records, timestamp_delta);
        put_varint(records, offset_delta);
        put_nullable(records, key);
        put_nullable(records, value);
        put_varint(records, length_of(headers.len()));
        for (key, value) in headers {
            put_nullable(records, Some(key.as_bytes()));
            put_nullable(records, *value);
        }
        header.last_offset_delta = offset_delta;
        header.records_count += 1;
    }

    /// Appends a record of the batch that this one rewrites; it keeps its offset.
    pub fn push_kept(&mut self, record: &Record<'_>) {
        let header = &mut self.header;
        if header.records_count == 0 && !header.attributes.has_delete_horizon() {
            header.base_timestamp = record.timestamp;
        }
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = header.max_timestamp.max(record.timestamp);
        }
        let timestamp_delta = record.timestamp.wrapping_sub(header.base_timestamp);
        let headers_count = length_of(record.headers.len());
        let length = body_size(
            timestamp_delta,
            record.offset_delta,
            record.key,
            record.value,
            &[],
        ) - varint_size(0)
            + varint_size(headers_count)
            + record.headers.as_bytes().len();

        let records = &mut self.records;
        put_varint(records, length_of(length));
        records.push(0);
        put_varlong(records, timestamp_delta);
        put_varint(records, record.offset_delta);
        put_nullable(records, record.key);
        put_nullable(records, record.value);
        put_varint(records, headers_count);
        records.extend_from_slice(record.headers.as_bytes());
        header.records_count += 1;
    }

    /// How many records there are.
    pub fn records_count(&self) -> i32 {
        self.header.records_count
    }

    /// Bytes of the batch before compression.
    pub fn size_in_bytes(&self) -> usize {
        BatchHeader::SIZE + self.records.len()
    }

    /// The most bytes that a record adds, before compression.
    pub fn record_size_max(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> usize {
        5 + body_size(i64::MIN, i32::MAX, key, value, headers)
    }

    /// Compresses the records and fills in length and CRC.
    ///
    /// # Panics
    /// If the batch has grown beyond 2 GiB, which the caller's limit on batches excludes.
    pub fn build(self) -> Result<Bytes, CompressionError> {
        let BatchBuilder {
            mut header,
            codec,
            records,
        } = self;
        let payload = match codec {
            Codec::None => records,
            codec => compress(codec, &records)?,
        };
        header.last_offset_delta = header.last_offset_delta.max(0);
        let counted = BatchHeader::SIZE - BatchHeader::LOG_OVERHEAD + payload.len();
        header.batch_length = length_of(counted);

        let mut bytes = Vec::with_capacity(BatchHeader::SIZE + payload.len());
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(&payload);
        header.crc = crc32c::crc32c(&bytes[BatchHeader::CRC_START..]);
        bytes[..BatchHeader::SIZE].copy_from_slice(&header.to_bytes());
        Ok(bytes.into())
    }
}

/// How a transaction ended, as a control record says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlType {
    /// Aborted.
    Abort = 0,
    /// Committed.
    Commit = 1,
}

/// A transaction's end marker: a control batch of one record.
pub fn control_batch(
    control_type: ControlType,
    producer_id: ProducerId,
    producer_epoch: i16,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Bytes {
    let version = 0i16.to_be_bytes();
    let key = [version, (control_type as i16).to_be_bytes()].concat();
    let value = [version.as_slice(), &coordinator_epoch.to_be_bytes()].concat();
    let mut builder = BatchBuilder::new(Codec::None)
        .producer(producer_id, producer_epoch, -1)
        .transactional()
        .control();
    builder.push(timestamp, Some(&key), Some(&value), &[]);
    builder.build().expect("nothing is compressed")
}

fn body_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) -> usize {
    let headers_size: usize = headers
        .iter()
        .map(|(key, value)| nullable_size(Some(key.as_bytes())) + nullable_size(*value))
        .sum();
    1 + varlong_size(timestamp_delta)
        + varint_size(offset_delta)
        + nullable_size(key)
        + nullable_size(value)
        + varint_size(length_of(headers.len()))
        + headers_size
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(length_of(bytes.len())) + bytes.len())
}

fn put_nullable(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(buffer, -1),
        Some(bytes) => {
            put_varint(buffer, length_of(bytes.len()));
            buffer.extend_from_slice(bytes);
        }
    }
}

fn length_of(length: usize) -> i32 {
    i32::try_from(length).expect("a batch is bounded to 2 GiB by its maker's limit")
}

#[cfg(test)]
mod tests;
