//! The four codecs of record batches, both ways, in memory.
//!
//! What a client sends decides neither how much is allocated nor how long decoding runs beyond
//! the limit that the caller states: output grows to the limit and no further.

mod lz4;
mod snappy;
mod xxh32;

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use thiserror::Error;

/// How a batch's records are compressed; the number is the one in the batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks, framed as snappy-java does.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    /// The codec with this number.
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    /// The number in a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name for it, as `compression.type` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = CompressionError;

    fn from_str(name: &str) -> Result<Codec, CompressionError> {
        let found = Codec::ALL.into_iter().find(|codec| codec.name() == name);
        found.ok_or_else(|| CompressionError::UnknownName(name.to_owned()))
    }
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Error)]
pub enum CompressionError {
    /// No codec has this name.
    #[error("no compression codec is called {0:?}")]
    UnknownName(String),
    /// The bytes are not what the codec writes.
    #[error("the {codec} data is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What is wrong.
        reason: String,
    },
    /// The bytes decompress to more than the caller's limit.
    #[error("the {codec} data decompresses to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The limit.
        limit: usize,
    },
    /// The codec failed to compress.
    #[error("{codec} could not compress: {reason}")]
    Failed {
        /// The codec.
        codec: Codec,
        /// What it said.
        reason: String,
    },
}

impl CompressionError {
    fn corrupt(codec: Codec, reason: impl fmt::Display) -> CompressionError {
        CompressionError::Corrupt {
            codec,
            reason: reason.to_string(),
        }
    }
}

/// Decompresses into a buffer that is used again, so that a warm shard allocates nothing.
#[derive(Debug, Default)]
pub struct Decompressor {
    buffer: Vec<u8>,
}

impl Decompressor {
    /// The buffer is given back after use when it has grown beyond this.
    const KEPT_MAX: usize = 4 << 20;

    /// A decompressor without a buffer yet.
    pub fn new() -> Decompressor {
        Decompressor::default()
    }

    /// Decompresses `source` to at most `limit` bytes. With [`Codec::None`] the answer is
    /// `source` itself.
    pub fn decompress<'a>(
        &'a mut self,
        codec: Codec,
        source: &'a [u8],
        limit: usize,
    ) -> Result<&'a [u8], CompressionError> {
        if self.buffer.len() > Decompressor::KEPT_MAX {
            self.buffer = Vec::new();
        }
        let mut output = Output {
            buffer: &mut self.buffer,
            filled: 0,
            codec,
            limit,
        };
        match codec {
            Codec::None if source.len() > limit => return Err(output.too_large()),
            Codec::None => return Ok(source),
            Codec::Gzip => decompress_gzip(source, &mut output)?,
            Codec::Snappy => snappy::decompress(source, &mut output)?,
            Codec::Lz4 => lz4::decompress(source, &mut output)?,
            Codec::Zstd => decompress_zstd(source, &mut output)?,
        }
        let filled = output.filled;
        Ok(&self.buffer[..filled])
    }
}

/// Compresses `source` at the codec's default level.
pub fn compress(codec: Codec, source: &[u8]) -> Result<Vec<u8>, CompressionError> {
    compress_at(codec, None, source)
}

/// Compresses `source` at a level of gzip (0–9) or zstd (−131072–22); the others have one level.
pub fn compress_at(
    codec: Codec,
    level: Option<i32>,
    source: &[u8],
) -> Result<Vec<u8>, CompressionError> {
    let failed = |error: io::Error| CompressionError::Failed {
        codec,
        reason: error.to_string(),
    };
    match codec {
        Codec::None => Ok(source.to_vec()),
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok());
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(source).map_err(failed)?;
            encoder.finish().map_err(failed)
        }
        Codec::Snappy => snappy::compress(source),
        Codec::Lz4 => lz4::compress(source),
        Codec::Zstd => {
            let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            zstd::bulk::compress(source, level).map_err(failed)
        }
    }
}

/// Where a codec writes: the first `filled` bytes of a buffer whose length only grows, so that
/// its memory is zeroed once and not for each batch.
struct Output<'a> {
    buffer: &'a mut Vec<u8>,
    filled: usize,
    codec: Codec,
    limit: usize,
}

impl Output<'_> {
    /// The free space after what is filled, at least `wanted` bytes of it unless the limit is
    /// nearer.
    fn space(&mut self, wanted: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(wanted).min(self.limit);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        let end = self.buffer.len().min(self.limit).max(self.filled);
        &mut self.buffer[self.filled..end]
    }

    fn too_large(&self) -> CompressionError {
        CompressionError::TooLarge {
            codec: self.codec,
            limit: self.limit,
        }
    }
}

const CHUNK: usize = 64 << 10;

fn decompress_gzip(source: &[u8], output: &mut Output<'_>) -> Result<(), CompressionError> {
    let corrupt = |error: io::Error| CompressionError::corrupt(Codec::Gzip, error);
    let mut decoder = flate2::bufread::MultiGzDecoder::new(source);
    loop {
        let space = output.space(CHUNK);
        if space.is_empty() {
            let mut beyond = [0];
            return match decoder.read(&mut beyond).map_err(corrupt)? {
                0 => Ok(()),
                _ => Err(output.too_large()),
            };
        }
        match decoder.read(space).map_err(corrupt)? {
            0 => return Ok(()),
            count => output.filled += count,
        }
    }
}

/// Decodes in one call into the output itself, which is then the window too: a window size that
/// the frame claims allocates nothing.
fn decompress_zstd(source: &[u8], output: &mut Output<'_>) -> Result<(), CompressionError> {
    let mut context = zstd::zstd_safe::DCtx::create();
    let mut wanted = match zstd::zstd_safe::get_frame_content_size(source) {
        Ok(Some(size)) if size > output.limit as u64 => return Err(output.too_large()),
        Ok(Some(size)) => size as usize,
        Ok(None) => source.len().saturating_mul(8).max(CHUNK),
        Err(_) => return Err(CompressionError::corrupt(Codec::Zstd, "not a zstd frame")),
    };
    loop {
        let space = output.space(wanted);
        let available = space.len();
        match context.decompress(space, source) {
            Ok(count) => {
                output.filled = count;
                return Ok(());
            }
            Err(code) if code != DESTINATION_TOO_SMALL => {
                let reason = zstd::zstd_safe::get_error_name(code);
                return Err(CompressionError::corrupt(Codec::Zstd, reason));
            }
            Err(_) if available >= output.limit => return Err(output.too_large()),
            Err(_) => wanted = available.max(CHUNK).saturating_mul(4),
        }
    }
}

/// zstd returns an error as its negated number; 70 is `ZSTD_error_dstSize_tooSmall`.
const DESTINATION_TOO_SMALL: usize = 0usize.wrapping_sub(70);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMPRESSED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn patterned(length: usize) -> Vec<u8> {
        (0..length).map(|i| ((i * i) >> 7) as u8).collect()
    }

    #[test]
    fn every_codec_round_trips_across_its_block_sizes() {
        let mut decompressor = Decompressor::new();
        for length in [0, 1, 100, 32 << 10, (64 << 10) + 1, 300_000] {
            let data = patterned(length);
            for codec in Codec::ALL {
                let packed = compress(codec, &data).unwrap();
                let unpacked = decompressor.decompress(codec, &packed, length).unwrap();
                assert!(unpacked == data, "{codec} at {length}");
            }
        }
    }

    #[test]
    fn one_byte_beyond_the_limit_is_refused() {
        let mut decompressor = Decompressor::new();
        let data = vec![7; 1_000_000];
        for codec in Codec::ALL {
            let packed = compress(codec, &data).unwrap();
            assert!(
                decompressor.decompress(codec, &packed, data.len()).is_ok(),
                "{codec}"
            );
            let refused = decompressor.decompress(codec, &packed, data.len() - 1);
            assert!(
                matches!(refused, Err(CompressionError::TooLarge { .. })),
                "{codec}: {refused:?}"
            );
            assert!(
                decompressor.buffer.len() <= data.len(),
                "{codec} outgrew the limit"
            );
        }
    }

    #[test]
    fn a_buffer_is_used_again_unless_it_has_grown_large() {
        let mut decompressor = Decompressor::new();
        let mut buffer_after = |length: usize| {
            let packed = compress(Codec::Zstd, &vec![7; length]).unwrap();
            decompressor
                .decompress(Codec::Zstd, &packed, length)
                .unwrap();
            decompressor.buffer.len()
        };
        let usual = buffer_after(1_000_000);
        assert_eq!(buffer_after(10), usual);
        assert_eq!(buffer_after(Decompressor::KEPT_MAX), Decompressor::KEPT_MAX);
        assert_eq!(buffer_after(10), Decompressor::KEPT_MAX);
        assert!(buffer_after(Decompressor::KEPT_MAX + 1) > Decompressor::KEPT_MAX);
        assert!(buffer_after(10) < usual);
    }

    #[test]
    fn a_zstd_frame_that_tells_of_too_much_allocates_nothing() {
        let packed = compress(Codec::Zstd, &vec![7; 100_001]).unwrap();
        let mut decompressor = Decompressor::new();
        let refused = decompressor.decompress(Codec::Zstd, &packed, 100_000);
        assert!(matches!(refused, Err(CompressionError::TooLarge { .. })));
        assert_eq!(decompressor.buffer.capacity(), 0);
    }

    #[test]
    fn codecs_are_called_what_kafka_calls_them() {
        for (name, codec) in [
            ("none", Codec::None),
            ("gzip", Codec::Gzip),
            ("snappy", Codec::Snappy),
            ("lz4", Codec::Lz4),
            ("zstd", Codec::Zstd),
        ] {
            assert_eq!(name.parse::<Codec>().unwrap(), codec);
            assert_eq!(codec.to_string(), name);
        }
        let unknown = "ZSTD".parse::<Codec>();
        assert!(matches!(unknown, Err(CompressionError::UnknownName(name)) if name == "ZSTD"));
    }

    #[test]
    fn a_bomb_allocates_no_more_than_the_limit() {
        let bomb = vec![0; 32 << 20];
        for codec in COMPRESSED {
            let packed = compress(codec, &bomb).unwrap();
            let mut decompressor = Decompressor::new();
            assert!(decompressor.decompress(codec, &packed, 100_000).is_err());
            assert!(decompressor.buffer.capacity() <= 200_000, "{codec}");
        }
    }

    #[test]
    fn zstd_frames_without_a_content_size_are_read() {
        let data = vec![3; 5 << 20];
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&data).unwrap();
        let packed = encoder.finish().unwrap();
        let mut decompressor = Decompressor::new();
        assert!(
            decompressor
                .decompress(Codec::Zstd, &packed, 8 << 20)
                .unwrap()
                == data
        );
        assert!(
            decompressor
                .decompress(Codec::Zstd, &packed, 1 << 20)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, codec in 0u8..5) {
            let codec = Codec::from_id(codec).unwrap();
            let mut decompressor = Decompressor::new();
            let _ = decompressor.decompress(codec, &bytes, 1 << 20);
            prop_assert!(decompressor.buffer.len() <= 1 << 20);
        }

        #[test]
        fn damaged_data_is_decoded_or_refused(
            data in proptest::collection::vec(0u8..4, 0..3000),
            at: proptest::sample::Index,
            flip: u8,
            codec in 1u8..5,
        ) {
            let codec = Codec::from_id(codec).unwrap();
            let mut packed = compress(codec, &data).unwrap();
            let at = at.index(packed.len());
            packed[at] ^= flip;
            let mut decompressor = Decompressor::new();
            let _ = decompressor.decompress(codec, &packed, 1 << 20);
            prop_assert!(decompressor.buffer.len() <= 1 << 20);
        }
    }
}
