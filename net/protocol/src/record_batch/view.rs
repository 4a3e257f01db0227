//! Batches seen in place, and the two fields that a broker writes into them.

use super::header::{BatchError, BatchHeader};
use super::records::{RecordsError, RecordsIter};
use crate::compression::Decompressor;
use crate::{LeaderEpoch, Offset};

/// A whole batch in a slice, its header parsed.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `bytes`, which may go on after it.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.size_in_bytes();
        match bytes.get(..size) {
            Some(bytes) => Ok(BatchView { header, bytes }),
            None => Err(BatchError::Incomplete {
                needed: size,
                available: bytes.len(),
            }),
        }
    }

    /// The fields before the records.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch's bytes, header and records.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records' bytes, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[BatchHeader::SIZE..]
    }

    /// The CRC-32C of the bytes that the header's covers.
    pub fn compute_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[BatchHeader::CRC_START..])
    }

    /// Compares the bytes with the header's CRC.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.header.crc, self.compute_crc());
        match stored == computed {
            true => Ok(()),
            false => Err(BatchError::BadCrc { stored, computed }),
        }
    }

    /// The records, decompressed to at most `limit` bytes.
    pub fn records<'b>(
        &'b self,
        decompressor: &'b mut Decompressor,
        limit: usize,
    ) -> Result<RecordsIter<'b>, RecordsError> {
        let codec = self
            .header
            .attributes
            .codec()
            .map_err(RecordsError::UnknownCodec)?;
        if self.header.records_count == 0 {
            return Ok(RecordsIter::new(&self.header, &[]));
        }
        let payload = decompressor.decompress(codec, self.payload(), limit)?;
        Ok(RecordsIter::new(&self.header, payload))
    }
}

/// The batches of a buffer, one after another.
///
/// A batch cut short at the end of the buffer, which fetch answers may have, ends the iteration
/// without an error; [`Batches::position`] then says how far whole batches reached. After an
/// error nothing more comes.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// The batches of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Batches<'a> {
        Batches {
            bytes,
            position: 0,
            failed: false,
        }
    }

    /// Where the next batch starts.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match BatchView::parse(&self.bytes[self.position..]) {
            Ok(batch) => {
                self.position += batch.bytes.len();
                Some(Ok(batch))
            }
            Err(BatchError::Incomplete { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// Writes the base offset into a batch; its CRC does not cover it.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn patch_base_offset(batch: &mut [u8], base_offset: Offset) {
    assert!(
        batch.len() >= BatchHeader::SIZE,
        "{} bytes are no batch",
        batch.len()
    );
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
}

/// Writes the partition leader epoch into a batch; its CRC does not cover it.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: LeaderEpoch) {
    assert!(
        batch.len() >= BatchHeader::SIZE,
        "{} bytes are no batch",
        batch.len()
    );
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Codec;
    use crate::record_batch::BatchBuilder;

    fn batch(value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(5, None, Some(value), &[]);
        builder.build().unwrap().to_vec()
    }

    #[test]
    fn patching_keeps_the_crc() {
        let mut bytes = batch(b"v");
        patch_base_offset(&mut bytes, Offset(77));
        patch_leader_epoch(&mut bytes, LeaderEpoch(9));
        let view = BatchView::parse(&bytes).unwrap();
        assert_eq!(view.check_crc(), Ok(()));
        assert_eq!(view.header().base_offset, Offset(77));
        assert_eq!(view.header().partition_leader_epoch, LeaderEpoch(9));
    }

    #[test]
    fn a_partial_batch_ends_the_iteration() {
        let mut bytes = batch(b"first");
        let first = bytes.len();
        bytes.extend(batch(b"second"));
        let whole = bytes.len();
        bytes.extend(&batch(b"third")[..64]);
        let mut batches = Batches::new(&bytes);
        assert_eq!(batches.by_ref().filter_map(Result::ok).count(), 2);
        assert_eq!(batches.position(), whole);
        let mut batches = Batches::new(&bytes[..first + 3]);
        assert_eq!(batches.by_ref().count(), 1);
        assert_eq!(batches.position(), first);
    }

    #[test]
    fn garbage_is_one_error() {
        let mut bytes = batch(b"first");
        bytes.extend([1; 100]);
        let items: Vec<_> = Batches::new(&bytes).collect();
        assert_eq!(items.len(), 2);
        assert!(matches!(items[1], Err(BatchError::BadMagic(1))));
    }
}
