//! What a client's record set for one partition must be before a leader appends it.
//!
//! The rules and error codes are those of Kafka's produce path. Where this is stricter: bytes
//! after the batch are refused, where Kafka drops a second batch that is cut short; offset deltas
//! must be consecutive, where Kafka re-encodes a compressed batch and trusts an uncompressed one;
//! and a batch that claims the broker's timestamp type is refused on every topic.

use thiserror::Error;

use crate::compression::{Codec, CompressionError, Decompressor};
use crate::record_batch::{
    BatchHeader, BatchView, RecordOutline, RecordsError, RecordsIter, TimestampType,
};
use crate::{ErrorCode, Offset};

/// The settings of a topic and of the broker that validation needs.
#[derive(Debug, Clone, Copy)]
pub struct ValidationSettings {
    /// `max.message.bytes`: the most bytes of a batch.
    pub max_message_bytes: usize,
    /// `segment.bytes`: the most bytes of a segment.
    pub segment_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` has `compact`, so that every record needs a key.
    pub compacted: bool,
    /// The most bytes that a batch may decompress to.
    pub decompressed_max_bytes: usize,
}

impl Default for ValidationSettings {
    /// Kafka's defaults, and 128 MiB for a decompressed batch.
    fn default() -> ValidationSettings {
        ValidationSettings {
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compacted: false,
            decompressed_max_bytes: 128 << 20,
        }
    }
}

/// A batch that may be appended, once its base offset and leader epoch are patched in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// The header to be stored; its base offset is 0.
    pub header: BatchHeader,
    /// Whether the header differs from the one received. Then its bytes replace the first
    /// [`BatchHeader::SIZE`] of the batch; the CRC in it is right.
    pub header_changed: bool,
    /// The codec.
    pub codec: Codec,
    /// The offset delta of the first record with the greatest timestamp.
    pub max_timestamp_offset_delta: i32,
    /// What the answer says: the time of the append, or −1 where producers set the time.
    pub log_append_time_ms: i64,
    /// Bytes of the records, decompressed.
    pub uncompressed_bytes: usize,
}

impl ValidatedBatch {
    /// Bytes of the batch.
    pub fn size_in_bytes(&self) -> usize {
        self.header.size_in_bytes()
    }

    /// The last record's offset if the first one's is `base_offset`.
    pub fn last_offset(&self, base_offset: Offset) -> Offset {
        base_offset.plus(i64::from(self.header.last_offset_delta))
    }
}

/// A record for which a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// The record's number in the batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Why a record set was refused, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code:?}: {message}")]
pub struct InvalidBatch {
    /// The partition's error code.
    pub code: ErrorCode,
    /// The partition's error message.
    pub message: String,
    /// The records at fault, where single records are: the first 1,000 of them.
    pub record_errors: Vec<RecordError>,
}

/// The most records at fault that are listed.
const RECORD_ERRORS_MAX: usize = 1000;

impl InvalidBatch {
    fn new(code: ErrorCode, message: impl Into<String>) -> InvalidBatch {
        InvalidBatch {
            code,
            message: message.into(),
            record_errors: Vec::new(),
        }
    }

    fn record(message: impl Into<String>) -> InvalidBatch {
        InvalidBatch::new(ErrorCode::InvalidRecord, message)
    }
}

/// Validates the record set that a Produce request of this version holds for one partition.
pub fn validate(
    records: &[u8],
    produce_version: i16,
    settings: &ValidationSettings,
    now_ms: i64,
    decompressor: &mut Decompressor,
) -> Result<ValidatedBatch, InvalidBatch> {
    let batch = single_batch(records, produce_version)?;
    let header = batch.header();
    if header.base_offset != Offset(0) {
        let message = format!("the base offset is {}, not 0", header.base_offset);
        return Err(InvalidBatch::record(message));
    }
    check_size(header.size_in_bytes(), settings)?;
    batch
        .check_crc()
        .map_err(|error| InvalidBatch::new(ErrorCode::CorruptMessage, error.to_string()))?;
    let codec = header.attributes.codec().map_err(|id| {
        let message = format!("no compression codec has the number {id}");
        InvalidBatch::new(ErrorCode::UnsupportedCompressionType, message)
    })?;
    check_header(header)?;

    let mut walk = RecordsWalk::new(settings, now_ms);
    let payload = decompressor
        .decompress(codec, batch.payload(), settings.decompressed_max_bytes)
        .map_err(refused_compression)?;
    let mut records = RecordsIter::new(header, payload);
    loop {
        while let Some(record) = records.next_plain() {
            walk.visit(record)?;
        }
        match records.next() {
            Some(record) => walk.visit(record.map_err(refused_records)?.into())?,
            None => break,
        }
    }
    let uncompressed_bytes = payload.len();
    walk.finish()?;

    let stored = stored_header(&batch, &walk);
    let log_append_time_ms = match settings.timestamp_type {
        TimestampType::CreateTime => -1,
        TimestampType::LogAppendTime => now_ms,
    };
    Ok(ValidatedBatch {
        header_changed: stored != *header,
        header: stored,
        codec,
        max_timestamp_offset_delta: walk.max_timestamp_offset_delta,
        log_append_time_ms,
        uncompressed_bytes,
    })
}

/// The one batch of format version 2 that a record set must be.
fn single_batch(records: &[u8], produce_version: i16) -> Result<BatchView<'_>, InvalidBatch> {
    /// Where the magic is in every format version, and the least length of the oldest one.
    const MAGIC_POSITION: usize = 16;
    const LENGTH_MIN: i32 = 14;
    let corrupt = |message: String| InvalidBatch::new(ErrorCode::CorruptMessage, message);

    let incomplete = || {
        let message = format!("{} bytes are no complete record batch", records.len());
        InvalidBatch::record(message)
    };
    let length = records.get(8..12).ok_or_else(incomplete)?;
    let length = i32::from_be_bytes(length.try_into().expect("the range has four bytes"));
    if length < LENGTH_MIN {
        return Err(corrupt(format!("the batch's length is {length}")));
    }
    let magic = records
        .get(MAGIC_POSITION)
        .ok_or_else(incomplete)?
        .cast_signed();
    if !(0..=BatchHeader::MAGIC).contains(&magic) {
        return Err(corrupt(format!("the batch's magic is {magic}")));
    }
    if magic != BatchHeader::MAGIC {
        let message = format!(
            "Produce version {produce_version} takes record batches of magic 2, not {magic}"
        );
        return Err(InvalidBatch::record(message));
    }
    if BatchHeader::LOG_OVERHEAD + length as usize > records.len() {
        return Err(incomplete());
    }
    let batch = BatchView::parse(records).map_err(|error| corrupt(error.to_string()))?;
    if produce_version < 7 && batch.header().attributes.codec() == Ok(Codec::Zstd) {
        let message = format!("Produce version {produce_version} may not use zstd");
        return Err(InvalidBatch::new(
            ErrorCode::UnsupportedCompressionType,
            message,
        ));
    }
    if records.len() > batch.bytes().len() {
        return Err(InvalidBatch::record(
            "exactly one record batch per partition is allowed",
        ));
    }
    Ok(batch)
}

/// Checks the size of a batch: as it was sent, and again if it is stored in another.
pub fn check_size(size: usize, settings: &ValidationSettings) -> Result<(), InvalidBatch> {
    let (code, limit, name) = if size > settings.max_message_bytes {
        (
            ErrorCode::MessageTooLarge,
            settings.max_message_bytes,
            "max.message.bytes",
        )
    } else if size > settings.segment_bytes {
        (
            ErrorCode::RecordListTooLarge,
            settings.segment_bytes,
            "segment.bytes",
        )
    } else {
        return Ok(());
    };
    Err(InvalidBatch::new(
        code,
        format!("the batch has {size} bytes, {name} is {limit}"),
    ))
}

fn check_header(header: &BatchHeader) -> Result<(), InvalidBatch> {
    let BatchHeader {
        last_offset_delta,
        records_count,
        base_sequence,
        producer_id,
        ..
    } = header;
    if *last_offset_delta < 0 {
        let message = format!("the last offset delta is {last_offset_delta}");
        return Err(InvalidBatch::record(message));
    }
    if *records_count <= 0 {
        return Err(InvalidBatch::record(format!(
            "the records count is {records_count}"
        )));
    }
    if last_offset_delta + 1 != *records_count {
        let message = format!(
            "the last offset delta {last_offset_delta} does not fit {records_count} records"
        );
        return Err(InvalidBatch::record(message));
    }
    if header.attributes.is_control() {
        return Err(InvalidBatch::record(
            "clients may not write control records",
        ));
    }
    if header.has_producer_id() && *base_sequence < 0 {
        let message = format!("producer {producer_id} sent the sequence number {base_sequence}");
        return Err(InvalidBatch::record(message));
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let message = "producers may not set the timestamp type LogAppendTime";
        let record_error = RecordError {
            batch_index: 0,
            message: message.to_owned(),
        };
        return Err(InvalidBatch {
            record_errors: vec![record_error],
            ..InvalidBatch::new(ErrorCode::InvalidTimestamp, message)
        });
    }
    Ok(())
}

/// What is learnt and found wrong while the records are walked.
struct RecordsWalk<'a> {
    settings: &'a ValidationSettings,
    now_ms: i64,
    next_offset_delta: i32,
    max_timestamp: i64,
    max_timestamp_offset_delta: i32,
    timestamp_is_invalid: bool,
    errors_count: usize,
    record_errors: Vec<RecordError>,
}

impl<'a> RecordsWalk<'a> {
    fn new(settings: &'a ValidationSettings, now_ms: i64) -> RecordsWalk<'a> {
        RecordsWalk {
            settings,
            now_ms,
            next_offset_delta: 0,
            max_timestamp: -1,
            max_timestamp_offset_delta: 0,
            timestamp_is_invalid: false,
            errors_count: 0,
            record_errors: Vec::new(),
        }
    }

    #[inline(always)]
    fn visit(&mut self, record: RecordOutline) -> Result<(), InvalidBatch> {
        let index = self.next_offset_delta;
        if record.offset_delta != index {
            return Err(wrong_offset_delta(index, record.offset_delta));
        }
        self.next_offset_delta += 1;
        if self.settings.compacted && !record.has_key {
            self.note_missing_key(index);
        } else if self.is_out_of_range(record.timestamp) {
            self.note_timestamp(index, record.timestamp);
        }
        if record.timestamp > self.max_timestamp {
            self.max_timestamp = record.timestamp;
            self.max_timestamp_offset_delta = index;
        }
        Ok(())
    }

    #[cold]
    fn note_missing_key(&mut self, index: i32) {
        self.add_error(index, || {
            "a compacted topic takes no record without a key".to_owned()
        });
    }

    #[cold]
    fn note_timestamp(&mut self, index: i32, timestamp: i64) {
        self.timestamp_is_invalid = true;
        let settings = self.settings;
        let earliest = self.now_ms.saturating_sub(settings.timestamp_before_max_ms);
        let latest = self.now_ms.saturating_add(settings.timestamp_after_max_ms);
        self.add_error(index, || {
            format!("the timestamp {timestamp} is not within [{earliest}, {latest}]")
        });
    }

    #[inline(always)]
    fn is_out_of_range(&self, timestamp: i64) -> bool {
        if self.settings.timestamp_type == TimestampType::LogAppendTime || timestamp == -1 {
            return false;
        }
        let age = self.now_ms.saturating_sub(timestamp);
        age > self.settings.timestamp_before_max_ms
            || age.saturating_neg() > self.settings.timestamp_after_max_ms
    }

    fn add_error(&mut self, batch_index: i32, message: impl FnOnce() -> String) {
        self.errors_count += 1;
        if self.record_errors.len() < RECORD_ERRORS_MAX {
            self.record_errors.push(RecordError {
                batch_index,
                message: message(),
            });
        }
    }

    fn finish(&mut self) -> Result<(), InvalidBatch> {
        if self.settings.timestamp_type == TimestampType::LogAppendTime {
            self.max_timestamp = self.now_ms;
            self.max_timestamp_offset_delta = 0;
        }
        if self.errors_count == 0 {
            return Ok(());
        }
        let (code, fault) = match self.timestamp_is_invalid {
            true => (ErrorCode::InvalidTimestamp, "an invalid timestamp"),
            false => (ErrorCode::InvalidRecord, "errors in single records"),
        };
        Err(InvalidBatch {
            record_errors: std::mem::take(&mut self.record_errors),
            ..InvalidBatch::new(
                code,
                format!(
                    "the batch is refused for {fault}; {} records are bad",
                    self.errors_count
                ),
            )
        })
    }
}

#[cold]
fn wrong_offset_delta(index: i32, delta: i32) -> InvalidBatch {
    InvalidBatch::record(format!("record {index} has the offset delta {delta}"))
}

/// The header with the timestamps that a broker sets, and the CRC that goes with it.
fn stored_header(batch: &BatchView<'_>, walk: &RecordsWalk<'_>) -> BatchHeader {
    let received = batch.header();
    let timestamp_type = walk.settings.timestamp_type;
    let mut stored = BatchHeader {
        attributes: received.attributes.with_timestamp_type(timestamp_type),
        max_timestamp: walk.max_timestamp,
        ..*received
    };
    if stored != *received {
        stored.crc = crc_with_header(received, &stored, batch.payload().len());
    }
    stored
}

/// The CRC after a change of the header: the records' share of the old one is kept, so they are
/// not read again.
fn crc_with_header(received: &BatchHeader, stored: &BatchHeader, payload_length: usize) -> u32 {
    let head = |header: &BatchHeader| crc32c::crc32c(&header.to_bytes()[BatchHeader::CRC_START..]);
    let payload = received.crc ^ crc32c::crc32c_combine(head(received), 0, payload_length);
    crc32c::crc32c_combine(head(stored), payload, payload_length)
}

fn refused_records(error: RecordsError) -> InvalidBatch {
    match error {
        RecordsError::Compression(error) => refused_compression(error),
        error => InvalidBatch::record(error.to_string()),
    }
}

/// The CRC was right, so the client itself made what cannot be read: sending it again is no use,
/// and the error is one that clients do not retry.
fn refused_compression(error: CompressionError) -> InvalidBatch {
    let code = match error {
        CompressionError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        _ => ErrorCode::InvalidRecord,
    };
    InvalidBatch::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
