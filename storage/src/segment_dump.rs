//! Looking at a `.log` file offline: each batch, where it lies, whether it is whole, its records.
//!
//! Reads plain files of the machine and needs no reactor; for tools, not for the broker.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_protocol::compression::Decompressor;
use millstream_protocol::record_batch::{BatchHeader, BatchView, Record};

use crate::error::StorageError;
use crate::stored_batch::parse_header;

/// The most that the records of a batch may take, decompressed.
const MAX_RECORDS_BYTES: usize = 1 << 30;

/// The batches of a `.log` file. Ends at the end of the file, at the zeros of space made ahead, or
/// after an error.
pub struct SegmentDump {
    file: File,
    path: PathBuf,
    size: u64,
    position: u64,
    ended: bool,
}

/// One batch of a file.
#[derive(Debug, Clone)]
pub struct DumpedBatch {
    /// Where it begins.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
    /// Whether its CRC is right.
    pub crc_ok: bool,
    bytes: Bytes,
    path: PathBuf,
}

impl SegmentDump {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<SegmentDump, StorageError> {
        let open = || -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().map_err(|cause| StorageError::io("open", path, cause))?;
        Ok(SegmentDump {
            file,
            path: path.to_owned(),
            size,
            position: 0,
            ended: false,
        })
    }

    /// How far whole batches reach, after the iteration.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The file's size.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, len: usize) -> Result<Vec<u8>, StorageError> {
        let available = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(available)];
        self.file
            .read_exact_at(&mut bytes, self.position)
            .map_err(|cause| StorageError::io_at("read", &self.path, self.position, cause))?;
        Ok(bytes)
    }

    fn next_batch(&mut self) -> Result<Option<DumpedBatch>, StorageError> {
        let head = self.read(BatchHeader::SIZE)?;
        if head.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let damaged = |reason| StorageError::damaged(&self.path, self.position, reason);
        let header = parse_header(&head).map_err(damaged)?;
        let len = header.size_in_bytes();
        if len as u64 > self.size - self.position {
            return Err(damaged("a batch is longer than the file"));
        }
        let bytes = self.read(len)?;
        let crc_ok = BatchView::parse(&bytes).is_ok_and(|batch| batch.check_crc().is_ok());
        let batch = DumpedBatch {
            position: self.position,
            header,
            crc_ok,
            bytes: bytes.into(),
            path: self.path.clone(),
        };
        self.position += len as u64;
        Ok(Some(batch))
    }
}

impl Iterator for SegmentDump {
    type Item = Result<DumpedBatch, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.position == self.size {
            return None;
        }
        let next = self.next_batch();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl DumpedBatch {
    /// The batch as it lies in the file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Shows each record to `look`, decompressed.
    pub fn for_each_record(&self, mut look: impl FnMut(&Record<'_>)) -> Result<(), StorageError> {
        let damaged = |reason| StorageError::damaged(&self.path, self.position, reason);
        let batch = BatchView::parse(&self.bytes).map_err(|_| damaged("a batch is cut short"))?;
        let mut decompressor = Decompressor::new();
        let records = batch
            .records(&mut decompressor, MAX_RECORDS_BYTES)
            .map_err(|_| damaged("the records of a batch cannot be decompressed"))?;
        for record in records {
            look(&record.map_err(|_| damaged("a record cannot be read"))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::Offset;
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;

    use super::*;

    #[test]
    fn batches_and_records_are_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("00000000000000000000.log");
        let mut content = Vec::new();
        for base in [0, 2] {
            let mut batch = BatchBuilder::new(Codec::Lz4).base_offset(Offset(base));
            batch.push(5, Some(b"k"), Some(b"one"), &[]);
            batch.push(6, None, Some(b"two"), &[("h", None)]);
            content.extend_from_slice(&batch.build().expect("small"));
        }
        let end = content.len() as u64;
        content.resize(content.len() + 5000, 0);
        std::fs::write(&path, &content).expect("written");

        let mut dump = SegmentDump::open(&path).expect("there");
        let mut values = Vec::new();
        for batch in dump.by_ref() {
            let batch = batch.expect("whole");
            assert!(batch.crc_ok);
            batch
                .for_each_record(|record| {
                    values.push((record.offset.0, record.value.map(<[u8]>::to_vec)));
                })
                .expect("readable");
        }
        assert_eq!(dump.position(), end);
        let offsets: Vec<i64> = values.iter().map(|value| value.0).collect();
        assert_eq!(offsets, [0, 1, 2, 3]);
        assert_eq!(values[3].1.as_deref(), Some(&b"two"[..]));

        content[40] ^= 1;
        content[end as usize] = 1;
        std::fs::write(&path, &content).expect("written");
        let batches: Vec<_> = SegmentDump::open(&path).expect("there").collect();
        assert!(batches[0].as_ref().is_ok_and(|batch| !batch.crc_ok));
        assert!(batches[2].is_err());
        assert_eq!(batches.len(), 3);
    }

    #[test]
    fn a_file_is_shown_as_far_as_it_has_whole_batches() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("00000000000000000000.log");
        let batches: Vec<Bytes> = [30, 700, 1]
            .into_iter()
            .enumerate()
            .map(|(base, len)| {
                let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(base as i64));
                batch.push(5, None, Some(&vec![9; len]), &[]);
                batch.build().expect("not compressed")
            })
            .collect();
        let whole = batches.concat();
        let last = batches[2].len();
        // Of the last batch: bytes that are there, and whether they are shown, or are an error.
        for (len, shown, is_error) in [
            (0, 2, false),
            // Zeros, as space made ahead is.
            (7, 2, false),
            (30, 2, true),
            (last - 1, 2, true),
            (last, 3, false),
        ] {
            let size = whole.len() - last + len;
            std::fs::write(&path, &whole[..size]).expect("written");
            let mut dump = SegmentDump::open(&path).expect("there");
            assert_eq!(dump.size(), size as u64);
            let mut end = 0;
            for batch in &batches[..shown] {
                let found = dump.next().expect("not the end").expect("whole");
                assert_eq!((found.position, found.crc_ok), (end, true));
                assert_eq!(found.bytes(), batch);
                end += batch.len() as u64;
            }
            if is_error {
                let error = dump.next().expect("not the end").expect_err("cut");
                let at = format!("position {end}");
                assert!(error.to_string().contains(&at), "{error}");
            }
            assert!(dump.next().is_none());
            assert_eq!(dump.position(), end);
        }
    }
}
