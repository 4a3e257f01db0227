//! Batches rewritten with another codec, as a topic's `compression.type` asks.

use bytes::{BufMut, Bytes, BytesMut};

use crate::compression::{Codec, CompressionError, Decompressor, compress_at};
use crate::record_batch::{BatchHeader, BatchView};

/// How a topic's batches are compressed, whatever the producer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recompression {
    /// The codec.
    pub codec: Codec,
    /// Its level; the codec's default if not given.
    pub level: Option<i32>,
}

impl Recompression {
    /// The batch of `records` with this codec and otherwise with `header`; its records decompress
    /// to at most `limit` bytes. What is compressed with this codec already is not touched.
    pub fn apply(
        self,
        records: &[u8],
        header: &BatchHeader,
        limit: usize,
        decompressor: &mut Decompressor,
    ) -> Result<Bytes, CompressionError> {
        let from = header.attributes.codec().map_err(|id| {
            let reason = format!("no codec has the number {id}");
            CompressionError::Corrupt {
                codec: Codec::None,
                reason,
            }
        })?;
        let payload = decompressor.decompress(from, &records[BatchHeader::SIZE..], limit)?;
        let payload = compress_at(self.codec, self.level, payload)?;
        let size = BatchHeader::SIZE + payload.len();
        let mut header = BatchHeader {
            attributes: header.attributes.with_codec(self.codec),
            batch_length: i32::try_from(size - BatchHeader::LOG_OVERHEAD).map_err(|_| {
                CompressionError::TooLarge {
                    codec: self.codec,
                    limit,
                }
            })?,
            ..*header
        };
        let mut batch = BytesMut::with_capacity(size);
        batch.put_slice(&header.to_bytes());
        batch.put_slice(&payload);
        header.crc = BatchView::parse(&batch)
            .expect("a header that was parsed, with the length of what follows")
            .compute_crc();
        batch[..BatchHeader::SIZE].copy_from_slice(&header.to_bytes());
        Ok(batch.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProducerId;
    use crate::record_batch::BatchBuilder;

    fn batch(codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(7), 1, 20);
        for value in 0..200 {
            let value = format!("value {}", value % 7);
            builder.push(1_000, Some(b"key"), Some(value.as_bytes()), &[]);
        }
        builder.build().expect("compresses")
    }

    #[test]
    fn every_codec_becomes_every_other_and_the_records_stay() {
        let mut decompressor = Decompressor::new();
        let plain = batch(Codec::None);
        let records = &plain[BatchHeader::SIZE..];
        for from in Codec::ALL {
            let original = batch(from);
            let header = BatchHeader::parse(&original).expect("a batch");
            for codec in Codec::ALL {
                let to = Recompression { codec, level: None };
                let rewritten = to
                    .apply(&original, &header, 1 << 20, &mut decompressor)
                    .expect("rewritten");
                let view = BatchView::parse(&rewritten).expect("a batch");
                view.check_crc().expect("its CRC is right");
                assert_eq!(view.header().attributes.codec(), Ok(codec));
                assert_eq!(
                    (view.header().producer_id, view.header().base_sequence),
                    (ProducerId(7), 20)
                );
                let unpacked = decompressor.decompress(codec, view.payload(), 1 << 20);
                assert!(unpacked.expect("unpacks") == records, "{from} to {codec}");
            }
        }
    }

    #[test]
    fn levels_are_heeded() {
        let original = batch(Codec::None);
        let header = BatchHeader::parse(&original).expect("a batch");
        let mut decompressor = Decompressor::new();
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut len = |level| {
                let to = Recompression {
                    codec,
                    level: Some(level),
                };
                let rewritten = to.apply(&original, &header, 1 << 20, &mut decompressor);
                rewritten.expect("rewritten").len()
            };
            assert!(len(9) < len(1), "{codec}");
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let original = batch(Codec::Zstd);
        let header = BatchHeader::parse(&original).expect("a batch");
        let to = Recompression {
            codec: Codec::Lz4,
            level: None,
        };
        let refused = to.apply(&original, &header, 100, &mut Decompressor::new());
        assert!(matches!(refused, Err(CompressionError::TooLarge { .. })));
    }
}
