//! Batches of records as bytes: a [`frame`] around an rkyv archive, checked before it is touched.

use bytes::{Bytes, BytesMut};
use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::frame::{self, FrameError};
use crate::record::Record;

/// The version that [`encode_records`] writes: any change of a record's fields, or of the set of
/// records, raises it, and what older versions wrote stays readable.
pub const FORMAT_VERSION: u16 = 1;

/// The frame kind of a batch of records.
const RECORDS_KIND: u16 = 1;

/// Why bytes are not a batch of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is bad.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Written by a later release.
    #[error("metadata records of version {0}; this release reads up to {FORMAT_VERSION}")]
    Version(u16),
    /// The frame is good, the archive in it is not.
    #[error("not an archive of metadata records: {0}")]
    Archive(String),
    /// Bytes follow the frame.
    #[error("{0} bytes after the records")]
    Trailing(usize),
}

/// A batch that is replayed whole or not at all.
pub fn encode_records(records: &[Record]) -> Bytes {
    let mut out = BytesMut::new();
    let records = records.to_vec();
    let archive = rkyv::to_bytes::<rancor::Error>(&records)
        .expect("writing plain values into memory cannot fail");
    frame::seal(RECORDS_KIND, FORMAT_VERSION, 0, &archive, &mut out);
    out.freeze()
}

/// The batch that `bytes` are, all of them.
pub fn decode_records(bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let (records, len) = decode_first(bytes)?;
    match bytes.len() - len {
        0 => Ok(records),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

/// The batch at the start of `bytes`, and its length.
pub(crate) fn decode_first(bytes: &[u8]) -> Result<(Vec<Record>, usize), DecodeError> {
    let frame = frame::open(RECORDS_KIND, 0, bytes)?;
    if frame.version != FORMAT_VERSION {
        return Err(DecodeError::Version(frame.version));
    }
    // An archive is read in place, so it must lie as aligned as it was written.
    let mut aligned = AlignedVec::<16>::with_capacity(frame.payload.len());
    aligned.extend_from_slice(frame.payload);
    let records = rkyv::from_bytes::<Vec<Record>, rancor::Error>(&aligned)
        .map_err(|error| DecodeError::Archive(error.to_string()))?;
    Ok((records, frame.len))
}
