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
            timestamp: self
                .log_append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
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
        if count < 0 || count as usize > rest.len() / 2 {
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

/// Any negative length stands for null, as it does for Kafka.
#[inline]
fn nullable<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, CursorError> {
    match cursor.varint()? {
        length if length < 0 => Ok(None),
        length => cursor.take(length as usize).map(Some),
    }
}
