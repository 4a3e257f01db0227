//! The 61 bytes before a batch's records.

use thiserror::Error;

use crate::compression::Codec;
use crate::{LeaderEpoch, Offset, ProducerId};

/// Why bytes are not a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {needed} bytes, {available} are there")]
    Incomplete {
        /// Bytes that the batch takes, as far as is known from what is there.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The length is less than a header takes.
    #[error("the batch's length {0} is less than its header takes")]
    BadLength(i32),
    /// The batch has another format version.
    #[error("the batch has magic {0}, only 2 is known")]
    BadMagic(i8),
    /// The checksum does not fit the bytes.
    #[error("the batch's CRC is {stored:#010x}, its bytes give {computed:#010x}")]
    BadCrc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The offsets are negative or not representable.
    #[error("the batch's base offset {base_offset} and last offset delta {last_offset_delta}")]
    BadOffsets {
        /// In the header.
        base_offset: i64,
        /// In the header.
        last_offset_delta: i32,
    },
}

/// Who set a batch's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, when it appended the batch.
    LogAppendTime,
}

/// The bits of a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BatchAttributes(pub i16);

impl BatchAttributes {
    const CODEC: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// The codec, or its number if it has no name.
    pub fn codec(self) -> Result<Codec, u8> {
        let id = (self.0 & BatchAttributes::CODEC) as u8;
        Codec::from_id(id).ok_or(id)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(self) -> TimestampType {
        match self.0 & BatchAttributes::LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & BatchAttributes::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a control record instead of a client's records.
    pub fn is_control(self) -> bool {
        self.0 & BatchAttributes::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop tombstones.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & BatchAttributes::DELETE_HORIZON != 0
    }

    /// These attributes with another codec.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> BatchAttributes {
        BatchAttributes((self.0 & !BatchAttributes::CODEC) | i16::from(codec.id()))
    }

    /// These attributes with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> BatchAttributes {
        let set = timestamp_type == TimestampType::LogAppendTime;
        self.with(BatchAttributes::LOG_APPEND_TIME, set)
    }

    /// These attributes, transactional or not.
    #[must_use]
    pub fn with_transactional(self, set: bool) -> BatchAttributes {
        self.with(BatchAttributes::TRANSACTIONAL, set)
    }

    /// These attributes, of a control batch or not.
    #[must_use]
    pub fn with_control(self, set: bool) -> BatchAttributes {
        self.with(BatchAttributes::CONTROL, set)
    }

    /// These attributes, with the base timestamp a delete horizon or not.
    #[must_use]
    pub fn with_delete_horizon(self, set: bool) -> BatchAttributes {
        self.with(BatchAttributes::DELETE_HORIZON, set)
    }

    fn with(self, bit: i16, set: bool) -> BatchAttributes {
        BatchAttributes(if set { self.0 | bit } else { self.0 & !bit })
    }
}

/// The fields before a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The first record's offset; a client sends 0.
    pub base_offset: Offset,
    /// Bytes after this field: 49 and the records.
    pub batch_length: i32,
    /// The term of the leader that appended the batch.
    pub partition_leader_epoch: LeaderEpoch,
    /// CRC-32C of what follows it.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: BatchAttributes,
    /// The last record's offset, less the base offset; kept when compaction drops that record.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records, or the time of the append.
    pub max_timestamp: i64,
    /// The producer, or −1.
    pub producer_id: ProducerId,
    /// The producer's epoch, or −1.
    pub producer_epoch: i16,
    /// The first record's sequence number, or −1.
    pub base_sequence: i32,
    /// How many records follow.
    pub records_count: i32,
}

impl BatchHeader {
    /// Bytes of a header.
    pub const SIZE: usize = 61;
    /// Bytes before those that `batch_length` counts.
    pub const LOG_OVERHEAD: usize = 12;
    /// The format version that this is.
    pub const MAGIC: i8 = 2;
    /// Where the bytes start that the CRC covers.
    pub const CRC_START: usize = 21;
    const MAGIC_POSITION: usize = 16;
    const CRC_POSITION: usize = 17;

    /// Reads a header and checks its length and magic; the records need not be there.
    ///
    /// Offsets, counts and the CRC are not checked: see [`BatchHeader::check_offsets`] and
    /// [`BatchView::check_crc`](super::BatchView::check_crc).
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(bytes) = bytes.first_chunk::<{ BatchHeader::SIZE }>() else {
            return Err(BatchError::Incomplete {
                needed: BatchHeader::SIZE,
                available: bytes.len(),
            });
        };
        let magic = bytes[BatchHeader::MAGIC_POSITION].cast_signed();
        if magic != BatchHeader::MAGIC {
            return Err(BatchError::BadMagic(magic));
        }
        let header = BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            crc: u32::from_be_bytes(field(bytes, BatchHeader::CRC_POSITION)),
            attributes: BatchAttributes(i16::from_be_bytes(field(bytes, 21))),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            records_count: i32::from_be_bytes(field(bytes, 57)),
        };
        let shortest = (BatchHeader::SIZE - BatchHeader::LOG_OVERHEAD) as i32;
        if header.batch_length < shortest {
            return Err(BatchError::BadLength(header.batch_length));
        }
        Ok(header)
    }

    /// The header's bytes, with the CRC that it holds.
    pub fn to_bytes(&self) -> [u8; BatchHeader::SIZE] {
        let mut bytes = [0; BatchHeader::SIZE];
        bytes[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.0.to_be_bytes());
        bytes[16] = BatchHeader::MAGIC.cast_unsigned();
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.records_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch.
    pub fn size_in_bytes(&self) -> usize {
        BatchHeader::LOG_OVERHEAD + self.batch_length.max(0) as usize
    }

    /// The last record's offset. Meaningful after [`BatchHeader::check_offsets`]; wraps otherwise.
    pub fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .0
                .wrapping_add(i64::from(self.last_offset_delta)),
        )
    }

    /// The offset after the last record's.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// Refuses offsets that no log holds: negative ones, and ranges beyond 2⁶³.
    pub fn check_offsets(&self) -> Result<(), BatchError> {
        let last = self
            .base_offset
            .0
            .checked_add(i64::from(self.last_offset_delta));
        let next = last.and_then(|last| last.checked_add(1));
        if self.base_offset.0 < 0 || self.last_offset_delta < 0 || next.is_none() {
            return Err(BatchError::BadOffsets {
                base_offset: self.base_offset.0,
                last_offset_delta: self.last_offset_delta,
            });
        }
        Ok(())
    }

    /// Whether an idempotent or transactional producer sent the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    /// The last record's sequence number, or −1.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            -1 => -1,
            base => increment_sequence(base, self.last_offset_delta),
        }
    }

    /// The time from which compaction may drop the batch's tombstones.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes
            .has_delete_horizon()
            .then_some(self.base_timestamp)
    }
}

/// The sequence number `increment` after `sequence`; after 2147483647 comes 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    match sequence.checked_add(increment) {
        Some(next) => next,
        None => increment
            .wrapping_sub(i32::MAX.wrapping_sub(sequence))
            .wrapping_sub(1),
    }
}

fn field<const N: usize>(bytes: &[u8; BatchHeader::SIZE], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_come_back(bytes: [u8; 32], more: [u8; 29]) {
            let mut raw: Vec<u8> = bytes.into_iter().chain(more).collect();
            raw[16] = 2;
            match BatchHeader::parse(&raw) {
                Ok(header) => prop_assert_eq!(header.to_bytes().to_vec(), raw),
                Err(error) => prop_assert!(matches!(error, BatchError::BadLength(_))),
            }
        }
    }

    #[test]
    fn offsets_beyond_the_log_are_refused() {
        let mut header = BatchHeader::parse(&{
            let mut raw = [0; BatchHeader::SIZE];
            raw[16] = 2;
            raw[11] = 49;
            raw
        })
        .unwrap();
        assert_eq!(header.check_offsets(), Ok(()));
        header.base_offset = Offset(i64::MAX - 1);
        assert_eq!(header.check_offsets(), Ok(()));
        header.last_offset_delta = 1;
        assert!(header.check_offsets().is_err());
        header.base_offset = Offset(-1);
        assert!(header.check_offsets().is_err());
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(increment_sequence(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 2, 5), 2);
    }

    proptest! {
        #[test]
        fn each_attribute_is_a_bit_of_its_own(bits: i16, set: bool) {
            fn stamped(set: bool) -> TimestampType {
                match set {
                    true => TimestampType::LogAppendTime,
                    false => TimestampType::CreateTime,
                }
            }
            type Attribute = (
                u8,
                fn(BatchAttributes, bool) -> BatchAttributes,
                fn(BatchAttributes) -> bool,
            );
            let all: [Attribute; 4] = [
                (
                    3,
                    |attributes, set| attributes.with_timestamp_type(stamped(set)),
                    |attributes| attributes.timestamp_type() == TimestampType::LogAppendTime,
                ),
                (4, BatchAttributes::with_transactional, BatchAttributes::is_transactional),
                (5, BatchAttributes::with_control, BatchAttributes::is_control),
                (6, BatchAttributes::with_delete_horizon, BatchAttributes::has_delete_horizon),
            ];
            let attributes = BatchAttributes(bits);
            for (bit, with, is_set) in all {
                prop_assert_eq!(is_set(attributes), bits >> bit & 1 == 1, "bit {}", bit);
                let changed = with(attributes, set);
                prop_assert_eq!(is_set(changed), set, "bit {}", bit);
                prop_assert_eq!((changed.0 ^ bits) & !(1 << bit), 0, "bit {}", bit);
            }
            for codec in Codec::ALL {
                let changed = attributes.with_codec(codec);
                prop_assert_eq!(changed.codec(), Ok(codec));
                prop_assert_eq!((changed.0 ^ bits) & !0b111, 0);
            }
        }
    }
}
