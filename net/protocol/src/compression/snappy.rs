//! Snappy as Kafka's clients write it: snappy-java's framing, or one raw block.
//!
//! ```text
//! framed: 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version i32 | compatible i32 | (length i32, block)*
//! raw:    block
//! ```

use super::{Codec, CompressionError, Output};
use crate::cursor::Cursor;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: i32 = 1;
/// The block size of snappy-java's stream, and so of Kafka's own clients.
const BLOCK_SIZE: usize = 32 << 10;
/// A copy of 64 bytes takes three bytes at least, so no block grows more than this.
const EXPANSION_MAX: usize = 22;

pub(super) fn decompress(source: &[u8], output: &mut Output<'_>) -> Result<(), CompressionError> {
    let mut cursor = Cursor::new(source);
    if cursor.take(MAGIC.len()).ok() != Some(&MAGIC) {
        return decompress_block(source, output);
    }
    let corrupt = |error| CompressionError::corrupt(Codec::Snappy, error);
    let _version = cursor.i32().map_err(corrupt)?;
    let compatible = cursor.i32().map_err(corrupt)?;
    if compatible > VERSION {
        let reason = format!("the framing's version is {compatible}, {VERSION} is known");
        return Err(CompressionError::corrupt(Codec::Snappy, reason));
    }
    while !cursor.is_empty() {
        // Streams that were joined repeat the header where a length would be.
        if cursor.rest().starts_with(&MAGIC) {
            cursor.take(MAGIC.len() + 8).map_err(corrupt)?;
            continue;
        }
        let length = cursor.u32().map_err(corrupt)? as usize;
        decompress_block(cursor.take(length).map_err(corrupt)?, output)?;
    }
    Ok(())
}

fn decompress_block(block: &[u8], output: &mut Output<'_>) -> Result<(), CompressionError> {
    let corrupt = |error| CompressionError::corrupt(Codec::Snappy, error);
    let length = snap::raw::decompress_len(block).map_err(corrupt)?;
    if length > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(CompressionError::corrupt(
            Codec::Snappy,
            "a block claims too great a length",
        ));
    }
    let space = output.space(length);
    if space.len() < length {
        return Err(output.too_large());
    }
    let written = snap::raw::Decoder::new()
        .decompress(block, space)
        .map_err(corrupt)?;
    output.filled += written;
    Ok(())
}

pub(super) fn compress(source: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut framed = Vec::with_capacity(16 + source.len() / 2);
    framed.extend_from_slice(&MAGIC);
    framed.extend_from_slice(&VERSION.to_be_bytes());
    framed.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in source.chunks(BLOCK_SIZE) {
        let block = encoder
            .compress_vec(chunk)
            .map_err(|error| CompressionError::Failed {
                codec: Codec::Snappy,
                reason: error.to_string(),
            })?;
        framed.extend_from_slice(&(block.len() as u32).to_be_bytes());
        framed.extend_from_slice(&block);
    }
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Decompressor;

    #[test]
    fn a_raw_block_is_read_as_librdkafka_writes_it() {
        let data = b"raw, without framing ".repeat(50);
        let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        let mut decompressor = Decompressor::new();
        assert_eq!(
            decompressor
                .decompress(Codec::Snappy, &raw, 1 << 20)
                .unwrap(),
            data
        );
    }

    #[test]
    fn joined_streams_are_read() {
        let mut joined = compress(b"first").unwrap();
        joined.extend(compress(b" second").unwrap());
        let mut decompressor = Decompressor::new();
        let unpacked = decompressor
            .decompress(Codec::Snappy, &joined, 100)
            .unwrap();
        assert_eq!(unpacked, b"first second");
    }

    #[test]
    fn a_claimed_length_alone_allocates_nothing() {
        // The preamble says 2^31 bytes; no data follows.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x08];
        let mut decompressor = Decompressor::new();
        let refused = decompressor.decompress(Codec::Snappy, &lie, usize::MAX);
        assert!(
            matches!(refused, Err(CompressionError::Corrupt { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn no_more_is_allocated_than_a_block_may_grow_to() {
        for size in [5_usize, 50, 500] {
            let most = EXPANSION_MAX * size;
            for (claimed, allocated) in [(most, most), (most + 1, 0)] {
                // A claim and no data that fits it.
                let mut block = Vec::new();
                crate::cursor::put_unsigned_varint(&mut block, claimed as u32);
                block.resize(size, 0);
                let mut decompressor = Decompressor::new();
                let refused = decompressor.decompress(Codec::Snappy, &block, 1 << 20);
                assert!(
                    matches!(refused, Err(CompressionError::Corrupt { .. })),
                    "{refused:?}"
                );
                assert_eq!(decompressor.buffer.len(), allocated);
            }
        }
    }

    #[test]
    fn framing_that_needs_a_later_reader_is_refused() {
        let framed = compress(b"data").unwrap();
        let mut decompressor = Decompressor::new();
        for (compatible, is_read) in [(0, true), (VERSION, true), (VERSION + 1, false)] {
            let mut other = framed.clone();
            // What wrote it may be of any version.
            other[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
            other[12..16].copy_from_slice(&compatible.to_be_bytes());
            let read = decompressor.decompress(Codec::Snappy, &other, 100);
            assert_eq!(read.is_ok(), is_read, "{compatible}: {read:?}");
        }
    }
}
