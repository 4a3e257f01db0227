//! LZ4 frames of independent blocks, with or without checksums.
//!
//! ```text
//! frame:  184d2204 (le) | flags u8 | block size u8 | [content size u64] | header checksum u8
//!         (length u32, block, [checksum u32])* | 0 u32 | [content checksum u32]
//! ```
//!
//! Blocks are decoded straight into the output. Java's clients read neither linked blocks nor
//! dictionaries, and Kafka refuses records that have them: neither is read or written here.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::xxh32::xxh32;
use super::{Codec, CompressionError, Output};
use crate::cursor::Cursor;

const MAGIC: u32 = 0x184d_2204;
const SKIPPABLE_MAGIC_MASK: u32 = 0xffff_fff0;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const UNCOMPRESSED: u32 = 1 << 31;
/// A byte of a match length stands for at most 255 bytes.
const EXPANSION_MAX: usize = 255;

pub(super) fn decompress(source: &[u8], output: &mut Output<'_>) -> Result<(), CompressionError> {
    let mut cursor = Cursor::new(source);
    while !cursor.is_empty() {
        let magic = read_u32(&mut cursor)?;
        if magic == MAGIC {
            decompress_frame(&mut cursor, output)?;
        } else if magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC {
            let length = read_u32(&mut cursor)? as usize;
            cursor.take(length).map_err(corrupt)?;
        } else {
            return Err(corrupt("no frame starts here"));
        }
    }
    Ok(())
}

fn decompress_frame(
    cursor: &mut Cursor<'_>,
    output: &mut Output<'_>,
) -> Result<(), CompressionError> {
    let header = FrameHeader::read(cursor)?;
    let start = output.filled;
    loop {
        let length = read_u32(cursor)?;
        if length == 0 {
            break;
        }
        let block = cursor
            .take((length & !UNCOMPRESSED) as usize)
            .map_err(corrupt)?;
        if block.len() > header.block_max {
            return Err(corrupt("a block is greater than the header allows"));
        }
        if header.block_checksums && read_u32(cursor)? != xxh32(block) {
            return Err(corrupt("a block's checksum is wrong"));
        }
        if length & UNCOMPRESSED != 0 {
            copy_block(block, output)?;
        } else {
            decompress_block(&header, block, output)?;
        }
    }
    let content = &output.buffer[start..output.filled];
    if header
        .content_size
        .is_some_and(|size| size != content.len() as u64)
    {
        return Err(corrupt("the content's size is not what the header says"));
    }
    if header.content_checksum && read_u32(cursor)? != xxh32(content) {
        return Err(corrupt("the content's checksum is wrong"));
    }
    Ok(())
}

fn copy_block(block: &[u8], output: &mut Output<'_>) -> Result<(), CompressionError> {
    let space = output.space(block.len());
    let Some(space) = space.get_mut(..block.len()) else {
        return Err(output.too_large());
    };
    space.copy_from_slice(block);
    output.filled += block.len();
    Ok(())
}

fn decompress_block(
    header: &FrameHeader,
    block: &[u8],
    output: &mut Output<'_>,
) -> Result<(), CompressionError> {
    let most = header
        .block_max
        .min(block.len().saturating_mul(EXPANSION_MAX));
    let available = output.space(most).len().min(most);
    let free = &mut output.buffer[output.filled..][..available];
    match lz4_flex::block::decompress_into(block, free) {
        Ok(written) => {
            output.filled += written;
            Ok(())
        }
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if available < most => {
            Err(output.too_large())
        }
        Err(error) => Err(corrupt(error)),
    }
}

struct FrameHeader {
    block_max: usize,
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
}

impl FrameHeader {
    fn read(cursor: &mut Cursor<'_>) -> Result<FrameHeader, CompressionError> {
        let descriptor = cursor.rest();
        let start = cursor.position();
        let flags = cursor.u8().map_err(corrupt)?;
        let sizes = cursor.u8().map_err(corrupt)?;
        if flags >> 6 != 1 {
            return Err(corrupt("the frame's version is not 1"));
        }
        if flags & 0b10 != 0 || sizes & 0b1000_1111 != 0 {
            return Err(corrupt("reserved bits are set in the frame's header"));
        }
        if flags & 0b1 != 0 {
            return Err(corrupt("the frame needs a dictionary"));
        }
        if flags & 0b10_0000 == 0 {
            return Err(corrupt("the frame's blocks depend on each other"));
        }
        let block_max = match sizes >> 4 {
            size @ 4..=7 => 1usize << (8 + 2 * size),
            _ => return Err(corrupt("the frame's block size is unknown")),
        };
        let content_size = match flags & 0b1000 {
            0 => None,
            _ => Some(u64::from_le_bytes(cursor.array().map_err(corrupt)?)),
        };
        let expected = xxh32(&descriptor[..cursor.position() - start]).to_le_bytes()[1];
        if cursor.u8().map_err(corrupt)? != expected {
            return Err(corrupt("the header's checksum is wrong"));
        }
        Ok(FrameHeader {
            block_max,
            block_checksums: flags & 0b1_0000 != 0,
            content_checksum: flags & 0b100 != 0,
            content_size,
        })
    }
}

fn read_u32(cursor: &mut Cursor<'_>) -> Result<u32, CompressionError> {
    Ok(u32::from_le_bytes(cursor.array().map_err(corrupt)?))
}

fn corrupt(reason: impl std::fmt::Display) -> CompressionError {
    CompressionError::corrupt(Codec::Lz4, reason)
}

pub(super) fn compress(source: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let failed = |reason: String| CompressionError::Failed {
        codec: Codec::Lz4,
        reason,
    };
    let frame = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    encoder
        .write_all(source)
        .map_err(|error| failed(error.to_string()))?;
    encoder.finish().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Decompressor;

    fn frames() -> impl Iterator<Item = FrameInfo> {
        let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB];
        sizes.into_iter().flat_map(move |size| {
            [false, true].into_iter().map(move |checked| {
                FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(size)
                    .block_checksums(checked)
                    .content_checksum(checked)
                    .content_size(checked.then_some(500_000))
            })
        })
    }

    fn encode(frame: FrameInfo, data: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_of_every_shape_are_read() {
        let data: Vec<u8> = (0..500_000u32).map(|i| (i / 300 * 7) as u8).collect();
        let mut decompressor = Decompressor::new();
        for frame in frames() {
            let packed = encode(frame.clone(), &data);
            let unpacked = decompressor
                .decompress(Codec::Lz4, &packed, 500_000)
                .unwrap();
            assert!(unpacked == data, "{frame:?}");
        }
    }

    #[test]
    fn frames_of_different_block_sizes_may_follow_each_other() {
        let mut packed = Vec::new();
        for frame in frames().filter(|frame| frame.content_size.is_none()) {
            packed.extend(encode(frame, b"part"));
        }
        let mut decompressor = Decompressor::new();
        let unpacked = decompressor.decompress(Codec::Lz4, &packed, 1000).unwrap();
        assert_eq!(unpacked, b"part".repeat(3));
    }

    #[test]
    fn blocks_that_depend_on_each_other_are_refused() {
        let frame = FrameInfo::new().block_mode(BlockMode::Linked);
        let packed = encode(frame, b"linked");
        let mut decompressor = Decompressor::new();
        let refused = decompressor.decompress(Codec::Lz4, &packed, 1000);
        let error = refused.expect_err("Kafka refuses them").to_string();
        assert!(error.contains("depend on each other"), "{error}");
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let frame = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .content_checksum(true)
            .block_checksums(true);
        let packed = encode(frame, &b"checked ".repeat(40));
        let mut decompressor = Decompressor::new();
        for at in [6, packed.len() - 1, packed.len() - 9] {
            let mut damaged = packed.clone();
            damaged[at] ^= 1;
            let refused = decompressor.decompress(Codec::Lz4, &damaged, 1000);
            assert!(refused.is_err(), "at {at}");
        }
    }

    fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let mut decompressor = Decompressor::new();
        let unpacked = decompressor.decompress(Codec::Lz4, packed, limit);
        unpacked.map(<[u8]>::to_vec)
    }

    #[test]
    fn checksums_are_those_of_other_writers_whatever_the_length() {
        for length in 0..70 {
            let data: Vec<u8> = (0..length).collect();
            let frame = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .content_checksum(true)
                .block_checksums(true);
            let packed = encode(frame, &data);
            assert_eq!(decompress(&packed, 100).unwrap(), data);
        }
    }

    #[test]
    fn skippable_frames_are_passed_over() {
        let frame = encode(FrameInfo::new().block_mode(BlockMode::Independent), b"data");
        let around = |magic: u32| {
            let other = [&magic.to_le_bytes(), &[3, 0, 0, 0][..], b"any"].concat();
            decompress(&[&other, &frame[..], &other].concat(), 100)
        };
        for magic in SKIPPABLE_MAGIC..SKIPPABLE_MAGIC + 16 {
            assert_eq!(around(magic).unwrap(), b"data", "{magic:#x}");
        }
        for magic in [0, SKIPPABLE_MAGIC - 1, SKIPPABLE_MAGIC + 16, u32::MAX] {
            assert!(around(magic).is_err(), "{magic:#x}");
        }
    }

    /// A frame of blocks of at most 64 KiB, with one block of these bytes.
    fn with_block(flags: u32, block: &[u8]) -> Vec<u8> {
        let frame = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max64KB);
        let empty = encode(frame, b"");
        let (header, end) = empty.split_at(empty.len() - 4);
        let length = block.len() as u32 | flags;
        [header, &length.to_le_bytes(), block, end].concat()
    }

    #[test]
    fn no_block_is_greater_than_the_header_says_packed_or_not() {
        const MOST: usize = 64 << 10;
        let too_much = vec![7; MOST + 1];
        for (length, fits) in [(MOST - 1, true), (MOST, true), (MOST + 1, false)] {
            let data = &too_much[..length];
            let plain = with_block(UNCOMPRESSED, data);
            let packed = with_block(0, &lz4_flex::block::compress(data));
            for frame in [plain, packed] {
                match decompress(&frame, 1 << 20) {
                    Ok(unpacked) => assert!(fits && unpacked == data, "{length}"),
                    Err(CompressionError::Corrupt { .. }) => assert!(!fits, "{length}"),
                    Err(other) => panic!("{length}: {other}"),
                }
            }
        }
    }

    #[test]
    fn no_frame_has_a_reserved_bit() {
        let packed = encode(FrameInfo::new().block_mode(BlockMode::Independent), b"data");
        for (at, bits) in [(4, [1].as_slice()), (5, &[0, 1, 2, 3, 7])] {
            for bit in bits {
                let mut reserved = packed.clone();
                reserved[at] ^= 1 << bit;
                reserved[6] = xxh32(&reserved[4..6]).to_le_bytes()[1];
                let refused = decompress(&reserved, 100).expect_err("a later format has it");
                assert!(refused.to_string().contains("reserved"), "{refused}");
            }
        }
    }
}
