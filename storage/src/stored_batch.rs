//! Batch headers as the log needs them: parsed, their offsets checked.

use millstream_protocol::record_batch::{BatchError, BatchHeader};

/// The header at the start of `bytes`, if it can be that of a batch in a log.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<BatchHeader, &'static str> {
    let header = BatchHeader::parse(bytes).map_err(explain)?;
    header.check_offsets().map_err(explain)?;
    Ok(header)
}

fn explain(error: BatchError) -> &'static str {
    match error {
        BatchError::Incomplete { .. } => "a batch is cut short",
        BatchError::BadLength(_) => "the length of a batch is too small",
        BatchError::BadMagic(_) => "the magic byte of a batch is not 2",
        BatchError::BadCrc { .. } => "the CRC of a batch is wrong",
        BatchError::BadOffsets { .. } => "the offsets of a batch are not possible",
    }
}
