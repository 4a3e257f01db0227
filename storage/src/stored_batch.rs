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

#[cfg(test)]
mod tests {
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_header_is_said() {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1, None, Some(b"one"), &[]);
        let batch = builder.build().expect("not compressed");
        let header = parse_header(&batch).expect("as it was built");
        assert_eq!(header.size_in_bytes(), batch.len());
        let changed = |at: usize, byte: u8| {
            let mut bytes = batch.to_vec();
            bytes[at] = byte;
            parse_header(&bytes).err()
        };
        assert_eq!(
            parse_header(&batch[..BatchHeader::SIZE - 1]).err(),
            Some("a batch is cut short")
        );
        assert_eq!(
            changed(11, 48),
            Some("the length of a batch is too small"),
            "it is the last byte of the length"
        );
        assert_eq!(
            changed(16, 1),
            Some("the magic byte of a batch is not 2"),
            "an old format"
        );
        assert_eq!(
            changed(0, 0x80),
            Some("the offsets of a batch are not possible"),
            "a negative one"
        );
    }
}
