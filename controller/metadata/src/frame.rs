//! The frame around whatever of ours lies on disk or crosses the wire.
//!
//! ```text
//! length u32 | crc u32 | kind u16 | version u16 | payload
//! ```
//!
//! Little endian. `length` counts the payload; `crc` is the CRC-32C of the *salt* (8 bytes, not
//! stored), then everything from `kind` to the end. The salt is the frame's position where frames
//! lie one after another in a file, so that neither a frame left over from elsewhere nor one nested
//! in a payload passes for a frame of the file; elsewhere it is 0.

use bytes::{BufMut, BytesMut};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 12;

/// The largest payload: more is refused on writing and on reading.
pub const MAX_PAYLOAD_LEN: usize = 256 << 20;

/// A checked frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The format of the payload.
    pub version: u16,
    /// What was framed.
    pub payload: &'a [u8],
    /// Bytes of header and payload together.
    pub len: usize,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("{available} bytes where a frame has {needed}")]
    Truncated {
        /// Bytes that are there.
        available: usize,
        /// Bytes the frame says, or at least, it has.
        needed: usize,
    },
    /// It says to be longer than any frame.
    #[error("a payload of {0} bytes is over the limit")]
    TooLong(usize),
    /// What was written is not what is read.
    #[error("checksum {actual:#010x} where the frame says {expected:#010x}")]
    Checksum {
        /// As stored.
        expected: u32,
        /// As computed.
        actual: u32,
    },
    /// A good frame of something else.
    #[error("a frame of kind {actual} where kind {expected} belongs")]
    Kind {
        /// What was looked for.
        expected: u16,
        /// What is there.
        actual: u16,
    },
}

/// Appends a frame to `out`.
///
/// # Panics
/// When the payload is over [`MAX_PAYLOAD_LEN`].
pub fn seal(kind: u16, version: u16, salt: u64, payload: &[u8], out: &mut BytesMut) {
    assert!(
        payload.len() <= MAX_PAYLOAD_LEN,
        "a payload of {} bytes",
        payload.len()
    );
    let length = u32::try_from(payload.len()).expect("the limit fits in 32 bits");
    out.reserve(HEADER_LEN + payload.len());
    let start = out.len();
    out.put_u32_le(length);
    out.put_u32_le(0);
    out.put_u16_le(kind);
    out.put_u16_le(version);
    out.put_slice(payload);
    let crc = checksum(salt, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Checks the frame at the start of `bytes`.
pub fn open(kind: u16, salt: u64, bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Err(FrameError::Truncated {
            available: bytes.len(),
            needed: HEADER_LEN,
        });
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3, k0, k1, v0, v1] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_PAYLOAD_LEN {
        return Err(FrameError::TooLong(length));
    }
    let len = HEADER_LEN + length;
    let Some(whole) = bytes.get(..len) else {
        return Err(FrameError::Truncated {
            available: bytes.len(),
            needed: len,
        });
    };
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    let actual = checksum(salt, &whole[8..]);
    if expected != actual {
        return Err(FrameError::Checksum { expected, actual });
    }
    let actual = u16::from_le_bytes([k0, k1]);
    if actual != kind {
        return Err(FrameError::Kind {
            expected: kind,
            actual,
        });
    }
    Ok(Frame {
        version: u16::from_le_bytes([v0, v1]),
        payload: &whole[HEADER_LEN..],
        len,
    })
}

fn checksum(salt: u64, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_opens_only_where_and_as_what_it_was_sealed() {
        let mut out = BytesMut::new();
        seal(1, 7, 40, b"payload", &mut out);
        let frame = open(1, 40, &out).expect("as sealed");
        assert_eq!(
            (frame.version, frame.payload, frame.len),
            (7, &b"payload"[..], out.len())
        );
        assert!(matches!(
            open(1, 41, &out),
            Err(FrameError::Checksum { .. })
        ));
        assert_eq!(
            open(2, 40, &out),
            Err(FrameError::Kind {
                expected: 2,
                actual: 1
            })
        );
        for len in 0..out.len() {
            assert!(matches!(
                open(1, 40, &out[..len]),
                Err(FrameError::Truncated { .. })
            ));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut out = BytesMut::new();
        seal(3, 1, 0, b"some payload", &mut out);
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(3, 0, &bad).is_err(), "bit {bit}");
        }
    }
}
