//! One file of the metadata log: its bytes, and what they say after a crash.
//!
//! ```text
//! header frame | batch frame | batch frame | …
//! header:  number u64 | base index u64 | base term u64 | hard state, as in a batch without entries
//! batch:   what was made durable in one step
//! ```
//!
//! Frames are those of `millstream_metadata::frame`, salted with the segment's number and the
//! frame's position. Each frame was flushed before the next was written. So a bad frame with a
//! good one after it is damage to what was durable, whereas a bad end is a write that a crash cut
//! short, and that nobody was told of.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_controller::raft::{
    CodecError, HardState, LOG_FORMAT_VERSION, LogBatch, Persist, decode_persist, encode_persist,
};
use millstream_metadata::frame::{self, FrameError};

/// The frame kind of a segment's header.
const HEADER_KIND: u16 = 2;

/// The frame kind of a batch.
const BATCH_KIND: u16 = 3;

/// The version of the header.
const HEADER_VERSION: u16 = 1;

/// The start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its place among the segments, from 1.
    pub(super) number: u64,
    /// Index and term of the entry before its first; zeros at the start of the log.
    pub(super) base: (u64, u64),
    /// As it was when the segment was begun.
    pub(super) hard_state: HardState,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentContents {
    pub(super) header: SegmentHeader,
    pub(super) batches: Vec<LogBatch>,
    /// Where the good bytes end; less than the file when a write was cut short.
    pub(super) end: u64,
}

/// Why a segment cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentDamage {
    /// What was durable is so no more.
    #[error("damaged, though good data follows at byte {follows}: {cause}")]
    BitRot {
        /// Where the next good frame is.
        follows: u64,
        /// What is wrong.
        cause: FrameError,
    },
    /// A write was cut short in a segment that is not the last.
    #[error("damaged, though later segments follow: {0}")]
    NotLast(FrameError),
    /// The frame is good, its payload is not.
    #[error("{0}")]
    Payload(CodecError),
    /// The segment says that it is another one.
    #[error("segment {found} under the name of segment {expected}")]
    Number {
        /// By its name.
        expected: u64,
        /// By its header.
        found: u64,
    },
}

impl SegmentHeader {
    /// The first frame of a segment.
    pub(super) fn encode(&self) -> Bytes {
        let mut payload = BytesMut::new();
        payload.put_u64_le(self.number);
        payload.put_u64_le(self.base.0);
        payload.put_u64_le(self.base.1);
        payload.put_slice(&encode_persist(&Persist {
            number: 0,
            snapshot: None,
            entries: Vec::new(),
            hard_state: self.hard_state,
        }));
        let mut out = BytesMut::new();
        frame::seal(
            HEADER_KIND,
            HEADER_VERSION,
            salt(self.number, 0),
            &payload,
            &mut out,
        );
        out.freeze()
    }

    fn decode(version: u16, mut payload: Bytes) -> Result<SegmentHeader, CodecError> {
        if version != HEADER_VERSION {
            return Err(CodecError::Version(version));
        }
        let mut next = || payload.try_get_u64_le().map_err(|_| CodecError::Truncated);
        let (number, base) = (next()?, (next()?, next()?));
        let hard_state = decode_persist(LOG_FORMAT_VERSION, payload)?.hard_state;
        Ok(SegmentHeader {
            number,
            base,
            hard_state,
        })
    }
}

/// The frame of a batch that is to lie at `position` of segment `number`.
pub(super) fn encode_batch(number: u64, position: u64, persist: &Persist) -> Bytes {
    let payload = encode_persist(persist);
    let mut out = BytesMut::new();
    frame::seal(
        BATCH_KIND,
        LOG_FORMAT_VERSION,
        salt(number, position),
        &payload,
        &mut out,
    );
    out.freeze()
}

/// Reads segment `number`, with the position of whatever is wrong. `None` when it was never
/// begun: a crash came before its header was durable.
pub(super) fn scan_segment(
    number: u64,
    bytes: &Bytes,
    is_last: bool,
) -> Result<Option<SegmentContents>, (u64, SegmentDamage)> {
    let header = match frame::open(HEADER_KIND, salt(number, 0), bytes) {
        Ok(frame) => frame,
        Err(cause) => {
            check_torn(number, bytes, 0, is_last, cause)?;
            return Ok(None);
        }
    };
    let mut end = header.len;
    let header = SegmentHeader::decode(header.version, bytes.slice_ref(header.payload))
        .map_err(|cause| (0, SegmentDamage::Payload(cause)))?;
    if header.number != number {
        let found = header.number;
        return Err((
            0,
            SegmentDamage::Number {
                expected: number,
                found,
            },
        ));
    }
    let mut batches = Vec::new();
    while end < bytes.len() {
        let position = end as u64;
        match frame::open(BATCH_KIND, salt(number, position), &bytes[end..]) {
            Ok(frame) => {
                let batch = decode_persist(frame.version, bytes.slice_ref(frame.payload))
                    .map_err(|cause| (position, SegmentDamage::Payload(cause)))?;
                batches.push(batch);
                end += frame.len;
            }
            Err(cause) => {
                check_torn(number, bytes, end, is_last, cause)?;
                break;
            }
        }
    }
    Ok(Some(SegmentContents {
        header,
        batches,
        end: end as u64,
    }))
}

/// Whether the bad frame at `bad` is a write that was cut short.
fn check_torn(
    number: u64,
    bytes: &Bytes,
    bad: usize,
    is_last: bool,
    cause: FrameError,
) -> Result<(), (u64, SegmentDamage)> {
    if let Some(follows) = good_batch_after(number, bytes, bad) {
        return Err((bad as u64, SegmentDamage::BitRot { follows, cause }));
    }
    if is_last {
        Ok(())
    } else {
        Err((bad as u64, SegmentDamage::NotLast(cause)))
    }
}

fn good_batch_after(number: u64, bytes: &Bytes, bad: usize) -> Option<u64> {
    let kind = BATCH_KIND.to_le_bytes();
    (bad + 1..bytes.len().saturating_sub(frame::HEADER_LEN)).find_map(|position| {
        // The kind is looked at first: a checksum at each position would take for ever.
        if bytes[position + 8..position + 10] != kind {
            return None;
        }
        let place = position as u64;
        frame::open(BATCH_KIND, salt(number, place), &bytes[position..])
            .ok()
            .map(|_| place)
    })
}

fn salt(number: u64, position: u64) -> u64 {
    number.rotate_left(40) ^ position
}
