//! Reading a segment after a crash: batch by batch, each CRC checked, to the first that is not
//! whole. And telling a torn end from damage.
//!
//! A crash may lose any of the 512-byte sectors written since the last flush, and keep any. Where
//! a sector is lost the file has what was there before: the beginning of the sector as an earlier
//! write left it, then zeros, because space is made ahead as zeros and files are cut at every
//! recovery. So a batch that is not whole, with a whole one behind it, was torn only if
//!
//! * they are no further apart than what is ever written without a flush, and
//! * a sector between them ends with a zero.
//!
//! Otherwise the batch was on the device once and has changed since: that is damage, and nothing
//! is cut off.

use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use millstream_protocol::record_batch::{BatchHeader, BatchView};
use millstream_reactor::File;

use crate::error::StorageError;
use crate::log::Log;
use crate::stored_batch::parse_header;
use crate::writer::MAX_UNFLUSHED_BYTES;

/// Bytes read at once; a larger batch is read whole.
const WINDOW_BYTES: u64 = 1 << 20;
/// How far behind a batch that is not whole another is looked for.
const SEARCH_BYTES: u64 = 4 * MAX_UNFLUSHED_BYTES;
const SECTOR: u64 = 512;

/// How a scan ended.
pub(crate) enum ScanEnd {
    /// At the end of the file.
    EndOfFile,
    /// At a batch that is not whole, or at zeros.
    NotWhole,
}

/// Takes the batches of the log's last segment, from its size on, into the log's state.
pub(crate) async fn scan_segment(
    log: &Rc<Log>,
    file: &File,
    path: &Path,
    file_size: u64,
) -> Result<ScanEnd, StorageError> {
    let mut position = log.state.borrow().active().size;
    let mut window = Window::default();
    while position < file_size {
        let whole = window.batch(file, path, position, file_size).await?;
        let expected = log.state.borrow().log_end_offset;
        let header = whole.filter(|header| header.base_offset.0 >= expected);
        match header {
            Some(header) => {
                log.state.borrow_mut().note_batch(&header);
                position += header.size_in_bytes() as u64;
            }
            None => {
                refuse_damage(file, path, position, file_size, expected).await?;
                return Ok(ScanEnd::NotWhole);
            }
        }
    }
    Ok(ScanEnd::EndOfFile)
}

/// Whether a file begins with a whole batch.
pub(crate) async fn starts_with_batch(
    file: &File,
    path: &Path,
    file_size: u64,
) -> Result<bool, StorageError> {
    let mut window = Window::default();
    Ok(window.batch(file, path, 0, file_size).await?.is_some())
}

/// A part of a file in memory.
#[derive(Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    /// The header of the batch at `position`, if the whole batch is there and its CRC is right.
    pub(crate) async fn batch(
        &mut self,
        file: &File,
        path: &Path,
        position: u64,
        file_size: u64,
    ) -> Result<Option<BatchHeader>, StorageError> {
        let header_len = BatchHeader::SIZE as u64;
        if position + header_len > file_size {
            return Ok(None);
        }
        self.fill(file, path, position, header_len, file_size)
            .await?;
        let Ok(header) = parse_header(self.from(position)) else {
            return Ok(None);
        };
        let len = header.size_in_bytes() as u64;
        if position + len > file_size {
            return Ok(None);
        }
        self.fill(file, path, position, len, file_size).await?;
        let whole =
            BatchView::parse(self.from(position)).is_ok_and(|batch| batch.check_crc().is_ok());
        Ok(whole.then_some(header))
    }

    /// The bytes from `position` on, of a batch that was just found there.
    pub(crate) fn from(&self, position: u64) -> &[u8] {
        &self.bytes[(position - self.start) as usize..]
    }

    /// Makes `[position, position + len)` part of the window, if the file has it.
    async fn fill(
        &mut self,
        file: &File,
        path: &Path,
        position: u64,
        len: u64,
        file_size: u64,
    ) -> Result<(), StorageError> {
        let end = self.start + self.bytes.len() as u64;
        if self.start <= position && position + len <= end {
            return Ok(());
        }
        let ask = len.max(WINDOW_BYTES).min(file_size - position);
        self.bytes = read(file, path, position, ask).await?;
        self.start = position;
        if (self.bytes.len() as u64) < len {
            return Err(StorageError::damaged(
                path,
                position + self.bytes.len() as u64,
                "the file became shorter while it was read",
            ));
        }
        Ok(())
    }
}

async fn read(file: &File, path: &Path, position: u64, len: u64) -> Result<Bytes, StorageError> {
    file.read_at(position, len as usize)
        .await
        .map(millstream_reactor::AlignedBuffer::into_bytes)
        .map_err(|cause| StorageError::io_at("read", path, position, cause))
}

/// An error if the batch at `position` had been whole once.
async fn refuse_damage(
    file: &File,
    path: &Path,
    position: u64,
    file_size: u64,
    expected_offset: i64,
) -> Result<(), StorageError> {
    let len = (file_size - position).min(SEARCH_BYTES);
    let bytes = read(file, path, position, len).await?;
    let Some(later) = find_batch(&bytes, expected_offset) else {
        return Ok(());
    };
    if was_torn(&bytes, later, position) {
        return Ok(());
    }
    Err(StorageError::damaged(
        path,
        position,
        "a batch is not whole, and whole ones follow",
    ))
}

/// Whether a crash may have left `bytes`, which start at `position` with a batch that is not whole,
/// with a whole one at `later`.
fn was_torn(bytes: &[u8], later: usize, position: u64) -> bool {
    // A lost sector may end within the zeros that the later batch begins with.
    let zeros = bytes[later..].iter().take_while(|&&byte| byte == 0).count();
    later as u64 <= MAX_UNFLUSHED_BYTES + batch_len(bytes)
        && has_lost_sector(&bytes[..later + zeros], position)
}

/// What the header at the start says of the batch's length; none if there is no header.
fn batch_len(bytes: &[u8]) -> u64 {
    parse_header(bytes).map_or(0, |header| {
        let len = header.size_in_bytes();
        if len <= bytes.len() { len as u64 } else { 0 }
    })
}

/// Where in `bytes`, which start with a batch that is not whole, a whole one begins.
fn find_batch(bytes: &[u8], expected_offset: i64) -> Option<usize> {
    // A header that can be read says where its batch ends; what is within is its own business.
    let first = (batch_len(bytes) as usize).max(1);
    let magic = 16;
    (first..bytes.len().saturating_sub(BatchHeader::SIZE - 1)).find(|&at| {
        bytes[at + magic] == 2
            && parse_header(&bytes[at..]).is_ok_and(|header| {
                header.base_offset.0 >= expected_offset
                    && header.base_offset.0 - expected_offset <= i64::from(i32::MAX)
                    && header.size_in_bytes() <= bytes.len() - at
            })
            && BatchView::parse(&bytes[at..]).is_ok_and(|batch| batch.check_crc().is_ok())
    })
}

/// Whether a sector that ends within `bytes` ends with a zero.
fn has_lost_sector(bytes: &[u8], position: u64) -> bool {
    let first_end = (SECTOR - 1 - position % SECTOR) as usize;
    bytes
        .iter()
        .skip(first_end)
        .step_by(SECTOR as usize)
        .any(|&last| last == 0)
}

#[cfg(test)]
mod tests {
    use millstream_protocol::Offset;
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;

    use super::*;

    fn batch(base_offset: i64, len: usize) -> Vec<u8> {
        let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(base_offset));
        batch.push(1, None, Some(&vec![7; len]), &[]);
        batch.build().expect("not compressed").to_vec()
    }

    #[test]
    fn a_later_batch_is_found() {
        let mut bytes = batch(10, 100);
        let first = bytes.len();
        bytes.extend(batch(11, 100));
        bytes[80] ^= 1;
        assert_eq!(find_batch(&bytes, 10), Some(first));
        assert_eq!(find_batch(&bytes, 12), None, "an old batch proves nothing");
        bytes[..61].fill(0);
        assert_eq!(
            find_batch(&bytes, 10),
            Some(first),
            "without a header to go by"
        );
        bytes[first + 80] ^= 1;
        assert_eq!(find_batch(&bytes, 10), None);
    }

    #[test]
    fn a_batch_within_a_batch_is_not_a_later_one() {
        let inner = batch(50, 100);
        let mut outer = BatchBuilder::new(Codec::None).base_offset(Offset(10));
        outer.push(1, None, Some(&inner), &[]);
        let mut bytes = outer.build().expect("not compressed").to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(find_batch(&bytes, 10), None);
    }

    #[test]
    fn a_lost_sector_may_end_in_the_zeros_of_an_offset() {
        let mut bytes = batch(10, 100);
        let later = bytes.len();
        bytes.extend(batch(11, 600));
        let position = 2 * SECTOR - later as u64 - 5;
        assert!(!was_torn(&bytes, later, SECTOR - later as u64 + 100));
        bytes[..later].fill(0);
        assert!(was_torn(&bytes, later, position));
        assert!(!has_lost_sector(&bytes[..later], position));
    }

    #[test]
    fn lost_sectors_end_with_zeros() {
        let mut bytes = vec![7; 2000];
        assert!(!has_lost_sector(&bytes, 100));
        bytes[411] = 0;
        assert!(has_lost_sector(&bytes, 100));
        assert!(!has_lost_sector(&bytes, 101));
        assert!(!has_lost_sector(&[0; 10], 100), "too short to tell");
    }
}
