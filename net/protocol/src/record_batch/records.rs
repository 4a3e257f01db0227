//! The records of a batch.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! key length varint, key | value length varint, value
//! headers count varint | (key length varint, key, value length varint, value)*
//! ```
//!
//! A length of −1 stands for null; a header's key may not be null.

use thiserror::Error;

use super::header::{BatchHeader, TimestampType, increment_sequence};
use crate::Offset;
use crate::compression::CompressionError;
use crate::cursor::{Cursor, CursorError};

/// Why a batch's records could not be read.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// The attributes name a codec that there is not.
    #[error("no compression codec has the number {0}")]
    UnknownCodec(u8),
    /// The payload could not be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The header's count is negative.
    #[error("the batch's records count is {0}")]
    BadCount(i32),
    /// A record is cut short or malformed.
    #[error("record {index}: {source}")]
    Malformed {
        /// The record's number in the batch, from 0.
        index: i32,
        /// What is wrong.
        source: CursorError,
    },
    /// A record's length is not what its fields take.
    #[error("record {index}: its length is {length}, its fields take {read}")]
    BadLength {
        /// The record's number in the batch, from 0.
        index: i32,
        /// What it says.
        length: i32,
        /// What its fields take.
        read: usize,
    },
    /// A record's headers are malformed.
    #[error("record {index}: its headers count or a header's key length is {length}")]
    BadHeaders {
        /// The record's number in the batch, from 0.
        index: i32,
        /// The impossible number.
        length: i32,
    },
    /// Bytes follow the last record.
    #[error("{0} bytes follow the last record")]
    TrailingBytes(usize),
}

/// A record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// Its offset less the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds since the epoch; the batch's append time where the broker sets the time.
    pub timestamp: i64,
    /// The producer's number for it, or −1.
    pub sequence: i32,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// UTF-8 by convention, which is not checked.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: i32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As they lie in the batch, without their count.
    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let key = nullable(&mut cursor).ok()??;
            let value = nullable(&mut cursor).ok()?;
            Some(RecordHeader { key, value })
        })
    }
}

/// What validation wants to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOutline {
    /// As in [`Record`].
    pub offset_delta: i32,
    /// As in [`Record`].
    pub timestamp: i64,
    /// Whether it has a key.
    pub has_key: bool,
}

impl From<Record<'_>> for RecordOutline {
    fn from(record: Record<'_>) -> RecordOutline {
        RecordOutline {
            offset_delta: record.offset_delta,
            timestamp: record.timestamp,
            has_key: record.key.is_some(),
        }
    }
}

/// The records of an uncompressed payload. Ends after the header's count or the first error.
#[derive(Debug, Clone)]
pub struct RecordsIter<'a> {
    cursor: Cursor<'a>,
    base_offset: Offset,
    base_timestamp: i64,
    base_sequence: i32,
    log_append_time: Option<i64>,
    count: i32,
    index: i32,
}

impl<'a> RecordsIter<'a> {
    /// The records of `payload`, which is what follows a header, decompressed.
    pub fn new(header: &BatchHeader, payload: &'a [u8]) -> RecordsIter<'a> {
        let append_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        RecordsIter {
            cursor: Cursor::new(payload),
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            base_sequence: header.base_sequence,
            log_append_time: append_time.then_some(header.max_timestamp),
            count: header.records_count,
            index: 0,
        }
    }

    /// The next record's outline, if the record is as most are: well-formed, below 2 MiB, within
    /// some minutes of the batch's first one, without headers. Otherwise nothing is read, and
    /// [`Iterator::next`] tells. Several times as fast as that.
    #[inline]
    pub fn next_plain(&mut self) -> Option<RecordOutline> {
        /// Bytes up to the key that such a record has at most.
        const HEAD: usize = 16;
        if self.index >= self.count {
            return None;
        }
        let bytes = self.cursor.rest();
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let (length, start) = short_varint(head, 0)?;
        let attributes_end = start + 1;
        let (timestamp_delta, at) = short_varint(head, attributes_end)?;
        let (offset_delta, at) = short_varint(head, at)?;
        let (key_length, at) = short_varint(head, at)?;
        let at = at + key_length.max(0) as usize;
        let (value_length, at) = short_varint(bytes, at)?;
        let at = at + value_length.max(0) as usize;
        // Where the next record begins is taken from the length, which is known first: the
        // processor goes on there while it checks the rest.
        let end = start + length.max(0) as usize;
        let is_last = self.index + 1 == self.count;
        let is_plain =
            bytes.get(at) == Some(&0) && at + 1 == end && (!is_last || end == bytes.len());
        if !is_plain {
            return None;
        }
        self.cursor.skip(end);
        self.index += 1;
        Some(RecordOutline {
            offset_delta,
            timestamp: self.timestamp(i64::from(timestamp_delta)),
            has_key: key_length >= 0,
        })
    }

    fn timestamp(&self, delta: i64) -> i64 {
        self.log_append_time
            .unwrap_or_else(|| self.base_timestamp.wrapping_add(delta))
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordsError> {
        let index = self.index;
        let malformed = |source| RecordsError::Malformed { index, source };
        let length = self.cursor.varint().map_err(malformed)?;
        let start = self.cursor.position();
        self.cursor.u8().map_err(malformed)?;
        let timestamp_delta = self.cursor.varlong().map_err(malformed)?;
        let offset_delta = self.cursor.varint().map_err(malformed)?;
        let key = nullable(&mut self.cursor).map_err(malformed)?;
        let value = nullable(&mut self.cursor).map_err(malformed)?;
        let headers = self.read_headers()?;
        let read = self.cursor.position() - start;
        if usize::try_from(length) != Ok(read) {
            return Err(RecordsError::BadLength {
                index,
                length,
                read,
            });
        }
        Ok(Record {
            offset: Offset(self.base_offset.0.wrapping_add(i64::from(offset_delta))),
            offset_delta,
            timestamp: self.timestamp(timestamp_delta),
            sequence: match self.base_sequence {
                base if base < 0 => -1,
                base => increment_sequence(base, offset_delta),
            },
            key,
            value,
            headers,
        })
    }

    #[inline]
    fn read_headers(&mut self) -> Result<Headers<'a>, RecordsError> {
        match self.cursor.rest() {
            [0, rest @ ..] => {
                self.cursor.take(1).expect("there is one");
                Ok(Headers {
                    count: 0,
                    bytes: &rest[..0],
                })
            }
            _ => self.read_some_headers(),
        }
    }

    fn read_some_headers(&mut self) -> Result<Headers<'a>, RecordsError> {
        let index = self.index;
        let malformed = |source| RecordsError::Malformed { index, source };
        let count = self.cursor.varint().map_err(malformed)?;
        let rest = self.cursor.rest();
        // A header takes two bytes at least, so a greater count is refused before it is walked.
        if !usize::try_from(count).is_ok_and(|count| count <= rest.len() / 2) {
            return Err(RecordsError::BadHeaders {
                index,
                length: count,
            });
        }
        let start = self.cursor.position();
        for _ in 0..count {
            let length = self.cursor.varint().map_err(malformed)?;
            if length < 0 {
                return Err(RecordsError::BadHeaders { index, length });
            }
            self.cursor.take(length as usize).map_err(malformed)?;
            nullable(&mut self.cursor).map_err(malformed)?;
        }
        Ok(Headers {
            count,
            bytes: &rest[..self.cursor.position() - start],
        })
    }
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.count < 0 {
            let count = std::mem::take(&mut self.count);
            return Some(Err(RecordsError::BadCount(count)));
        }
        if self.index >= self.count {
            return None;
        }
        let mut record = self.read();
        self.index += 1;
        if self.index == self.count && record.is_ok() && !self.cursor.is_empty() {
            record = Err(RecordsError::TrailingBytes(self.cursor.remaining()));
        }
        if record.is_err() {
            self.count = 0;
        }
        Some(record)
    }
}

/// A zigzag integer of at most three bytes at `at`, and where it ends.
#[inline(always)]
fn short_varint(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let byte = |index: usize| bytes.get(at + index).map(|&byte| u32::from(byte));
    let first = byte(0)?;
    let (value, length) = if first < 0x80 {
        (first, 1)
    } else {
        let second = byte(1)?;
        let low = first & 0x7f | (second & 0x7f) << 7;
        if second < 0x80 {
            (low, 2)
        } else {
            let third = byte(2).filter(|&third| third < 0x80)?;
            (low | third << 14, 3)
        }
    };
    let value = (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
    Some((value, at + length))
}

/// Any negative length stands for null, as it does for Kafka.
#[inline]
fn nullable<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, CursorError> {
    match cursor.varint()? {
        length if length < 0 => Ok(None),
        length => cursor.take(length as usize).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compression::Codec;
    use crate::record_batch::{BatchBuilder, BatchView};

    /// All records, by the quick way as far as it goes.
    fn outlines(mut records: RecordsIter<'_>) -> Result<Vec<RecordOutline>, String> {
        let mut found = Vec::new();
        loop {
            while let Some(outline) = records.next_plain() {
                found.push(outline);
            }
            match records.next() {
                None => return Ok(found),
                Some(record) => found.push(record.map_err(|error| error.to_string())?.into()),
            }
        }
    }

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        let length = prop_oneof![4 => 0..100_usize, 1 => 8_000..9_000_usize];
        prop::option::of(length.prop_map(|length| vec![7; length]))
    }

    proptest! {
        #[test]
        fn the_quick_way_finds_what_the_long_one_does(
            shapes in prop::collection::vec(
                (
                    prop_oneof![
                        4 => -50..5_000_i64,
                        1 => -1_000_000..1_000_000_i64,
                        1 => any::<i32>().prop_map(i64::from),
                    ],
                    bytes(),
                    bytes(),
                    prop::option::weighted(0.2, bytes()),
                ),
                1..150,
            ),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
            count in -1..151_i32,
            keep_count in prop::bool::weighted(0.8),
        ) {
            let mut builder = BatchBuilder::new(Codec::None);
            for (age, key, value, header) in &shapes {
                let header = header.as_ref().map(|value| ("name", value.as_deref()));
                builder.push(1_000_000 + age, key.as_deref(), value.as_deref(), header.as_slice());
            }
            let batch = builder.build().unwrap();
            let view = BatchView::parse(&batch).unwrap();
            let mut header = *view.header();
            if !keep_count {
                header.records_count = count;
            }
            let mut payload = view.payload().to_vec();
            for (at, byte) in damage {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            if let Some(cut) = cut {
                payload.truncate(cut.index(payload.len()));
            }
            let slow: Result<Vec<RecordOutline>, String> = RecordsIter::new(&header, &payload)
                .map(|record| record.map(Into::into).map_err(|error| error.to_string()))
                .collect();
            prop_assert_eq!(outlines(RecordsIter::new(&header, &payload)), slow);
        }
    }

    #[test]
    fn usual_records_take_the_quick_way() {
        let mut builder = BatchBuilder::new(Codec::None);
        for number in 0..10_000 {
            builder.push(1_000_000 + number, None, Some(&[1; 100]), &[]);
            builder.push(1_000_000 + number, Some(b"key"), None, &[]);
        }
        let batch = builder.build().unwrap();
        let view = BatchView::parse(&batch).unwrap();
        let mut records = RecordsIter::new(view.header(), view.payload());
        let mut count = 0;
        while records.next_plain().is_some() {
            count += 1;
        }
        // The last one may be shorter than what is looked at together.
        assert!((19_999..=20_000).contains(&count), "{count}");
    }

    /// The one record with these bytes from its headers' count on, before it neither key nor value.
    fn with_headers(headers: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        crate::cursor::put_varint(&mut payload, 5 + headers.len() as i32);
        payload.extend([0, 0, 0, 1, 1]);
        payload.extend(headers);
        payload
    }

    fn one_record() -> BatchHeader {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(0, None, None, &[]);
        *BatchView::parse(&builder.build().unwrap())
            .unwrap()
            .header()
    }

    #[test]
    fn headers_without_key_and_value_take_two_bytes_each() {
        for count in 1..60_u8 {
            let mut headers = vec![2 * count];
            headers.extend([0, 1].repeat(usize::from(count)));
            let payload = with_headers(&headers);
            let record = RecordsIter::new(&one_record(), &payload).next().unwrap();
            let found = record.unwrap().headers;
            assert_eq!(found.len(), usize::from(count));
            assert!(found.iter().all(|header| header.key.is_empty()));
            assert!(found.iter().all(|header| header.value.is_none()));
        }
    }

    #[test]
    fn headers_that_cannot_be_are_refused_before_they_are_walked() {
        // Their count or a key's length, negative or beyond the bytes.
        for (headers, bad) in [
            (vec![1], -1),
            (vec![2 * 3, 0, 1, 0, 1], 3),
            (vec![2 * 4, 0, 1, 0, 1, 0], 4),
            (vec![2, 1, 1], -1),
            (vec![2 * 2, 0, 1, 3, 1], -2),
        ] {
            let payload = with_headers(&headers);
            let record = RecordsIter::new(&one_record(), &payload).next().unwrap();
            match record.expect_err("no header is so short") {
                RecordsError::BadHeaders { index, length } => {
                    assert_eq!((index, length), (0, bad));
                }
                other => panic!("{headers:?}: {other}"),
            }
        }
    }

    #[test]
    fn a_short_integer_is_one_that_ends_within_three_bytes() {
        for first in [0, 1, 0x7f, 0x80, 0xff] {
            for (second, third) in (0..=255).flat_map(|second| (0..=255).map(move |t| (second, t)))
            {
                let bytes = [first, second, third, 0];
                let mut cursor = Cursor::new(&bytes);
                let value = cursor.varint().expect("its last byte ends it");
                let end = bytes.len() - cursor.remaining();
                let expected = (end <= 3).then_some((value, end));
                assert_eq!(short_varint(&bytes, 0), expected, "{bytes:x?}");
            }
        }
    }
}
