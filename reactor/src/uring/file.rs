//! Files: every transfer through the ring, straight from and to the caller's memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use io_uring::{opcode, squeue, types};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use super::operation::{Keep, Outcome};
use super::ring::Ring;
use crate::buffer::{AlignedBuffer, BLOCK_SIZE, BlockRange};

/// Bytes of one system call's transfer, whole blocks.
const TRANSFER_MAX: usize = 1 << 30;

/// Bytes of zeros written at once where the kernel cannot do it by itself.
const ZEROS_LEN: usize = 1024 * 1024;

/// `FALLOC_FL_WRITE_ZEROES`, Linux 6.17: zeroed extents that count as written.
const FALLOC_FL_WRITE_ZEROES: i32 = 0x80;

/// An open file.
pub struct File {
    ring: Rc<Ring>,
    descriptor: Arc<OwnedFd>,
    direct: bool,
}

/// A file on its way to another core.
#[derive(Clone)]
pub struct SharedFile {
    descriptor: Arc<OwnedFd>,
    direct: bool,
}

impl File {
    pub(super) fn new(ring: &Rc<Ring>, descriptor: OwnedFd, direct: bool) -> File {
        File {
            ring: ring.clone(),
            descriptor: Arc::new(descriptor),
            direct,
        }
    }

    pub(super) fn adopt(ring: &Rc<Ring>, file: &SharedFile) -> File {
        File {
            ring: ring.clone(),
            descriptor: file.descriptor.clone(),
            direct: file.direct,
        }
    }

    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    pub(crate) async fn read_at(&self, position: u64, len: usize) -> io::Result<AlignedBuffer> {
        self.read_into(position, AlignedBuffer::unfilled(len), len)
            .await
    }

    pub(crate) async fn read_into(
        &self,
        position: u64,
        mut buffer: AlignedBuffer,
        len: usize,
    ) -> io::Result<AlignedBuffer> {
        self.check_blocks(position, len as u64)?;
        assert!(len <= buffer.capacity(), "{len} > {}", buffer.capacity());
        let mut filled = 0;
        while filled < len {
            let part = (len - filled).min(TRANSFER_MAX);
            let target = buffer.as_mut_ptr().wrapping_add(filled);
            let read = opcode::Read::new(self.fd(), target, part as u32)
                .offset(position + filled as u64)
                .build();
            // SAFETY: the part lies in the buffer's allocation, which goes with the operation.
            let run = unsafe { self.run(read, Keep::Aligned(buffer)) };
            let (outcome, Keep::Aligned(kept)) = run.await else {
                unreachable!("a read gives its buffer back");
            };
            buffer = kept;
            let read = outcome.count()?;
            filled += read;
            // A direct read that ends within a block has met the end of the file.
            if read == 0 || (self.direct && !read.is_multiple_of(BLOCK_SIZE)) {
                break;
            }
        }
        // SAFETY: the kernel has written so many bytes.
        unsafe { buffer.set_filled(filled) };
        Ok(buffer)
    }

    pub(crate) async fn write_at(&self, position: u64, data: Bytes) -> io::Result<()> {
        let mut position = position;
        let mut rest = data;
        while !rest.is_empty() {
            let len = rest.len().min(TRANSFER_MAX);
            let write = opcode::Write::new(self.fd(), rest.as_ptr(), len as u32)
                .offset(position)
                .build();
            // SAFETY: the bytes do not move, and go with the operation.
            let run = unsafe { self.run(write, Keep::Bytes(rest)) };
            let (outcome, Keep::Bytes(kept)) = run.await else {
                unreachable!("a write gives its bytes back");
            };
            let len = written(outcome)?;
            rest = kept;
            rest.advance(len);
            position += len as u64;
        }
        Ok(())
    }

    pub(crate) async fn write_blocks(&self, position: u64, blocks: BlockRange) -> io::Result<()> {
        self.write_blocks_with(position, blocks, 0).await
    }

    pub(crate) async fn write_blocks_durably(
        &self,
        position: u64,
        blocks: BlockRange,
    ) -> io::Result<()> {
        self.write_blocks_with(position, blocks, libc::RWF_DSYNC)
            .await
    }

    async fn write_blocks_with(
        &self,
        position: u64,
        blocks: BlockRange,
        flags: i32,
    ) -> io::Result<()> {
        self.check_blocks(position, blocks.len() as u64)?;
        note_write();
        let len = blocks.len();
        let mut blocks = blocks;
        let mut done = 0;
        while done < len {
            let part = (len - done).min(TRANSFER_MAX);
            // SAFETY: `done` is within the range.
            let source = unsafe { blocks.as_ptr().add(done) };
            let write = opcode::Write::new(self.fd(), source, part as u32)
                .offset(position + done as u64)
                .rw_flags(flags)
                .build();
            // SAFETY: the range keeps its allocation, and goes with the operation.
            let run = unsafe { self.run(write, Keep::Blocks(blocks)) };
            let (outcome, Keep::Blocks(kept)) = run.await else {
                unreachable!("a write gives its blocks back");
            };
            blocks = kept;
            // A block that was written in part is written again whole.
            let whole = written(outcome)? / BLOCK_SIZE * BLOCK_SIZE;
            if whole == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += whole;
        }
        Ok(())
    }

    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        note_write();
        let sync = opcode::Fsync::new(self.fd())
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        // SAFETY: a flush names no memory.
        let (outcome, _) = unsafe { self.run(sync, Keep::Nothing) }.await;
        outcome.count().map(drop)
    }

    pub(crate) async fn write_zeros(&self, position: u64, len: u64) -> io::Result<()> {
        self.check_blocks(position, len)?;
        if len == 0 {
            return Ok(());
        }
        match self.allocate(position, len, FALLOC_FL_WRITE_ZEROES).await {
            Err(error) if is_unsupported(&error) => {}
            result => return result,
        }
        // One extent and one change of size, before the blocks are written.
        match self.allocate(position, len, 0).await {
            Err(error) if is_unsupported(&error) => {}
            result => result?,
        }
        let zeros = zeros();
        let mut done = 0;
        while done < len {
            let part = (len - done).min(ZEROS_LEN as u64);
            self.write_at(position + done, zeros.slice(..part as usize))
                .await?;
            done += part;
        }
        Ok(())
    }

    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        let truncate = opcode::Ftruncate::new(self.fd(), len).build();
        // SAFETY: a truncation names no memory.
        let (outcome, _) = unsafe { self.run(truncate, Keep::Nothing) }.await;
        match outcome.count() {
            // Before Linux 6.9.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let len = i64::try_from(len).map_err(io::Error::other)?;
                Ok(nix::unistd::ftruncate(self.descriptor.as_fd(), len)?)
            }
            result => result.map(drop),
        }
    }

    pub(crate) async fn size(&self) -> io::Result<u64> {
        // The inode of an open file is in memory: nothing to wait for.
        let status = nix::sys::stat::fstat(self.descriptor.as_fd())?;
        u64::try_from(status.st_size).map_err(io::Error::other)
    }

    pub(super) fn advise_sequential(&self) -> io::Result<()> {
        // Sets a bound of the open file: nothing to wait for.
        let advice = PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL;
        Ok(posix_fadvise(&self.descriptor, 0, 0, advice)?)
    }

    pub(crate) fn share(&self) -> SharedFile {
        SharedFile {
            descriptor: self.descriptor.clone(),
            direct: self.direct,
        }
    }

    pub(crate) fn lock(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open; the call touches no memory.
        let result =
            unsafe { libc::flock(self.descriptor.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        nix::errno::Errno::result(result)?;
        Ok(())
    }

    /// Flushes all, as for a folder.
    pub(super) async fn sync_all(&self) -> io::Result<()> {
        let sync = opcode::Fsync::new(self.fd()).build();
        // SAFETY: a flush names no memory.
        let (outcome, _) = unsafe { self.run(sync, Keep::Nothing) }.await;
        outcome.count().map(drop)
    }

    async fn allocate(&self, position: u64, len: u64, mode: i32) -> io::Result<()> {
        let allocate = opcode::Fallocate::new(self.fd(), len)
            .offset(position)
            .mode(mode)
            .build();
        // SAFETY: an allocation names no memory.
        let (outcome, _) = unsafe { self.run(allocate, Keep::Nothing) }.await;
        outcome.count().map(drop)
    }

    fn fd(&self) -> types::Fd {
        types::Fd(self.descriptor.as_raw_fd())
    }

    /// Refuses transfers that O_DIRECT cannot make.
    fn check_blocks(&self, position: u64, len: u64) -> io::Result<()> {
        if self.direct && !(position | len).is_multiple_of(BLOCK_SIZE as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} bytes at {position} are not whole blocks, as O_DIRECT needs"),
            ));
        }
        Ok(())
    }

    /// Runs an operation on the file, from its start by a thread of the kernel: a file system may
    /// wait for its journal, and so for the disk, before it takes a write, where it was asked not
    /// to wait (ext4 does for the time of change), and reads leave a time of access.
    ///
    /// # Safety
    /// As for [`Ring::start`].
    async unsafe fn run(&self, entry: squeue::Entry, keep: Keep) -> (Outcome, Keep) {
        let descriptor = Some(self.descriptor.clone());
        let entry = entry.flags(squeue::Flags::ASYNC);
        // SAFETY: passed on to the caller; the operation keeps the file.
        unsafe { self.ring.run(entry, descriptor, keep) }.await
    }
}

/// Microseconds after [`start`] at which this process began to write or flush last; 0 if never.
static LAST_WRITE: AtomicU64 = AtomicU64::new(0);

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// All shards write to the same disk, so that each must know of the others' writes.
fn note_write() {
    let since_start = start().elapsed().as_micros() as u64;
    LAST_WRITE.store(since_start.max(1), Ordering::Relaxed);
}

/// Whether this process has begun to write blocks, or to flush a file, within `span`.
pub(crate) fn written_within(span: Duration) -> bool {
    let last = LAST_WRITE.load(Ordering::Relaxed);
    let since_start = start().elapsed().as_micros() as u64;
    last > 0 && since_start.saturating_sub(last) < span.as_micros() as u64
}

fn written(outcome: Outcome) -> io::Result<usize> {
    match outcome.count()? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS)
    )
}

/// Zeros that all shards write from.
fn zeros() -> Bytes {
    static ZEROS: OnceLock<Bytes> = OnceLock::new();
    ZEROS
        .get_or_init(|| AlignedBuffer::zeroed(ZEROS_LEN).into_bytes())
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_noticed_for_a_while() {
        note_write();
        assert!(written_within(Duration::from_secs(3600)));
        assert!(!written_within(Duration::ZERO));
    }
}
