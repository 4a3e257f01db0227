//! The fixed part of a record batch (version 2), as the log needs it to find its way.
//!
//! ```text
//! 0  base offset i64     | 8  length i32 (from 12)  | 12 leader epoch i32
//! 16 magic i8 = 2        | 17 CRC-32C u32 (from 21) | 21 attributes i16
//! 23 last offset delta i32 | 27 base timestamp i64  | 35 max timestamp i64
//! 43 producer id i64     | 51 producer epoch i16    | 53 base sequence i32
//! 57 record count i32    | 61 records
//! ```

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Bytes that the length field does not count.
const LENGTH_OVERHEAD: usize = 12;
const CRC_START: usize = 21;

const CONTROL_FLAG: i16 = 1 << 5;
const TRANSACTIONAL_FLAG: i16 = 1 << 4;
const LOG_APPEND_TIME_FLAG: i16 = 1 << 3;

/// The fields of a batch's header that the log uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// Bytes of the batch, header included.
    pub len: usize,
    /// The leader epoch that wrote it.
    pub leader_epoch: i32,
    /// CRC-32C of all after the field.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control.
    pub attributes: i16,
    /// The last offset, from the first.
    pub last_offset_delta: i32,
    /// The timestamp that the records' are relative to.
    pub base_timestamp: i64,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// The producer, or −1.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or −1.
    pub base_sequence: i32,
    /// How many records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, and checks what can be checked without the rest.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, &'static str> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err("a batch header is cut short");
        };
        let length = i32::from_be_bytes(field(bytes, 8));
        if bytes[16] != 2 {
            return Err("the magic byte of a batch is not 2");
        }
        if length < (HEADER_LEN - LENGTH_OVERHEAD) as i32 {
            return Err("the length of a batch is too small");
        }
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            len: length as usize + LENGTH_OVERHEAD,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        if header.base_offset < 0
            || header.last_offset_delta < 0
            || header
                .base_offset
                .checked_add(i64::from(header.last_offset_delta) + 1)
                .is_none()
        {
            return Err("the offsets of a batch are not possible");
        }
        Ok(header)
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// The sequence number of the last record, or −1.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        add_to_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Whether it holds a marker of a coordinator's instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_FLAG != 0
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_FLAG != 0
    }

    /// Whether its timestamps are the broker's.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_FLAG != 0
    }

    /// Whether the CRC of the whole `batch` is right.
    pub fn crc_matches(&self, batch: &[u8]) -> bool {
        batch.len() == self.len && crc32c::crc32c(&batch[CRC_START..]) == self.crc
    }
}

/// Writes what the leader decides into the head of a batch; the CRC does not cover it.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Sequence numbers go on from 2147483647 to 0.
pub fn add_to_sequence(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32
}

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk::<N>()
        .expect("fields lie within the header")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A batch of `count` records that the log takes; its payload is `payload_len` bytes.
    pub(crate) fn batch(count: i32, payload_len: usize, producer: (i64, i16, i32)) -> Vec<u8> {
        let mut batch = vec![0; HEADER_LEN + payload_len];
        let length = (batch.len() - LENGTH_OVERHEAD) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&1_000i64.to_be_bytes());
        batch[35..43].copy_from_slice(&1_000i64.to_be_bytes());
        batch[43..51].copy_from_slice(&producer.0.to_be_bytes());
        batch[51..53].copy_from_slice(&producer.1.to_be_bytes());
        batch[53..57].copy_from_slice(&producer.2.to_be_bytes());
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        for (index, byte) in batch[HEADER_LEN..].iter_mut().enumerate() {
            *byte = (index % 251) as u8 + 1;
        }
        let crc = crc32c::crc32c(&batch[CRC_START..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    #[test]
    fn stamping_leaves_the_crc_right() {
        let mut bytes = batch(3, 20, (7, 1, i32::MAX - 1));
        stamp(&mut bytes, 100, 5);
        let header = BatchHeader::parse(&bytes).expect("valid");
        assert_eq!((header.base_offset, header.leader_epoch), (100, 5));
        assert_eq!((header.last_offset(), header.next_offset()), (102, 103));
        assert_eq!(header.last_sequence(), 0);
        assert!(header.crc_matches(&bytes));
        bytes[HEADER_LEN] ^= 1;
        assert!(!header.crc_matches(&bytes));
    }

    #[test]
    fn what_cannot_be_a_batch_is_refused() {
        let good = batch(1, 0, (-1, -1, -1));
        assert!(BatchHeader::parse(&good).is_ok());
        assert!(BatchHeader::parse(&good[..60]).is_err());
        assert!(BatchHeader::parse(&[0; HEADER_LEN]).is_err());
        let mut bad = good.clone();
        bad[16] = 1;
        assert!(BatchHeader::parse(&bad).is_err());
        let mut bad = good.clone();
        bad[8..12].copy_from_slice(&48i32.to_be_bytes());
        assert!(BatchHeader::parse(&bad).is_err());
        let mut bad = good;
        bad[0..8].copy_from_slice(&i64::MAX.to_be_bytes());
        assert!(BatchHeader::parse(&bad).is_err());
    }
}
