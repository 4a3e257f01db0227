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

    fn has(&self, position: u64, len: u64) -> bool {
        let from = position.checked_sub(self.start);
        let held = from.and_then(|from| self.bytes.get(from as usize..));
        held.is_some_and(|held| held.len() as u64 >= len)
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
        if self.has(position, len) {
            return Ok(());
        }
        let ask = len.max(WINDOW_BYTES).min(file_size - position);
        self.bytes = read(file, path, position, ask).await?;
        self.start = position;
        if !self.has(position, len) {
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
    use millstream_reactor::OpenOptions;
    use millstream_reactor::sim::{DiskFault, DiskOperation, Simulation};

    use super::*;

    const PATH: &str = "/d/00000000000000000000.log";

    fn batch(base_offset: i64, len: usize) -> Vec<u8> {
        let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(base_offset));
        batch.push(1, None, Some(&vec![7; len]), &[]);
        batch.build().expect("not compressed").to_vec()
    }

    /// What compaction leaves of a batch to remember its offsets: a header.
    fn emptied(base_offset: i64) -> Vec<u8> {
        let header = BatchHeader::parse(&batch(base_offset, 1)).expect("a batch");
        BatchBuilder::emptied(&header).to_vec()
    }

    /// Looks at a file with this content, which may be read so many times.
    fn look<T: 'static, F: Future<Output = T> + 'static>(
        content: &[u8],
        reads: u64,
        work: impl FnOnce(File) -> F + 'static,
    ) -> T {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("broker");
        node.make_dir("/d");
        node.plant_file(PATH, content);
        node.inject(
            DiskFault::new(DiskOperation::Read, PATH, 5)
                .after(reads)
                .always(),
        );
        let reactor = node.reactor();
        let done = node.run(async move {
            let fs = reactor.fs();
            let file = fs.open(PATH.as_ref(), OpenOptions::default()).await;
            work(file.expect("it is there")).await
        });
        done.expect("the node does not crash")
    }

    #[test]
    fn batches_are_read_in_large_pieces() {
        let batches: Vec<_> = (0..300).map(|offset| batch(offset, 10_000)).collect();
        let content = batches.concat();
        let size = content.len() as u64;
        look(&content, 4, move |file| async move {
            let (mut window, mut position) = (Window::default(), 0);
            for batch in batches {
                let found = window.batch(&file, PATH.as_ref(), position, size).await;
                let header = found.expect("readable").expect("whole");
                assert_eq!(header.size_in_bytes(), batch.len());
                assert!(window.from(position).starts_with(&batch));
                position += batch.len() as u64;
            }
            assert_eq!(position, size);
        });
    }

    #[test]
    fn only_what_is_there_to_its_end_is_a_batch() {
        let content = [batch(10, 100), emptied(11), batch(12, 100)].concat();
        let (second, third) = (
            batch(10, 100).len(),
            batch(10, 100).len() + emptied(11).len(),
        );
        for (end, whole) in [
            (third, Some(11)),
            (third - 1, None),
            (second + 30, None),
            (second, None),
        ] {
            let cut = &content[..end];
            let found = look(cut, 9, move |file| async move {
                let mut window = Window::default();
                let path = PATH.as_ref();
                window.batch(&file, path, second as u64, end as u64).await
            });
            let base_offset = found.expect("readable").map(|header| header.base_offset.0);
            assert_eq!(base_offset, whole, "the file ends at {end}");
        }
        let cut = &content[..content.len() - 1];
        let size = cut.len() as u64;
        let found = look(cut, 9, move |file| async move {
            let mut window = Window::default();
            window.batch(&file, PATH.as_ref(), third as u64, size).await
        });
        assert!(found.expect("readable").is_none());
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error() {
        let content = batch(10, 100);
        let size = content.len() as u64;
        let found = look(&content[..90], 9, move |file| async move {
            starts_with_batch(&file, PATH.as_ref(), size).await
        });
        let error = found.expect_err("it is not as long as it was");
        let message = error.to_string();
        assert!(message.contains("position 90"), "{message}");
    }

    #[test]
    fn a_large_batch_that_is_damaged_is_not_taken_for_a_torn_one() {
        let mut content = batch(10, 12 << 20);
        content[16] = 9;
        let size = content.len() as u64;
        let refused = |content: &[u8]| {
            let size = content.len() as u64;
            look(content, 9, move |file| async move {
                refuse_damage(&file, PATH.as_ref(), 0, size, 10).await
            })
        };
        assert!(refused(&content).is_ok(), "nothing whole follows");
        content.extend(batch(11, 100));
        let error = refused(&content).expect_err("a whole one follows");
        let message = error.to_string();
        assert!(message.contains("whole ones follow"), "{message}");
        assert!(size > MAX_UNFLUSHED_BYTES, "no crash can have torn it");
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
    fn a_later_batch_may_be_a_header_at_the_end() {
        let mut bytes = vec![2; 100];
        bytes.extend(emptied(11));
        assert_eq!(find_batch(&bytes, 10), Some(100), "twos are no batches");
        bytes.pop();
        assert_eq!(find_batch(&bytes, 10), None);
    }

    #[test]
    fn a_later_batch_has_an_offset_that_its_segment_can_have() {
        let farthest = i64::from(i32::MAX);
        for expected in [0, 1 << 40] {
            for (base_offset, counts) in [
                (expected, true),
                (expected + farthest, true),
                (expected + farthest + 1, false),
            ] {
                let mut bytes = vec![7; 100];
                bytes.extend(batch(base_offset, 100));
                let found = find_batch(&bytes, expected);
                assert_eq!(found.is_some(), counts, "{base_offset} from {expected} on");
            }
        }
    }

    #[test]
    fn a_crash_tears_no_more_than_is_written_without_a_flush() {
        let unflushed = MAX_UNFLUSHED_BYTES as usize;
        let torn = batch(10, 2_000);
        let mut bytes = torn.clone();
        bytes.resize(2 * unflushed, 7);
        // The end of a sector, in the records.
        bytes[1023] = 0;
        // The batch alone may be larger.
        assert!(was_torn(&bytes, torn.len() + unflushed, 0));
        assert!(!was_torn(&bytes, torn.len() + unflushed + 1, 0));
        bytes[16] = 9;
        assert!(was_torn(&bytes, unflushed, 0));
        assert!(!was_torn(&bytes, unflushed + 1, 0), "its length is unknown");
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
