//! The pool of buffers from which the kernel picks one for each receive.
//!
//! The ring of entries is shared with the kernel:
//!
//! ```text
//! entry i: address u64 | length u32 | buffer id u16 | reserved u16 (entry 0: the tail)
//! ```
//!
//! A buffer is either the kernel's (between the kernel's head and our tail) or held by a
//! [`Chunk`]; dropping the chunk gives it back.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buffer::AlignedBuffer;

/// Bytes of one buffer.
pub(super) const CHUNK_LEN: usize = 16 * 1024;

/// Buffers in the pool, a power of two: 2 MiB for each shard.
const CHUNKS: u16 = 128;

/// The buffer group that receives name.
pub(super) const GROUP: u16 = 0;

/// The pool; shared by the ring and by the chunks that were received.
pub(super) struct BufferPool {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: Cell<u16>,
    _entries: AlignedBuffer,
    _memory: AlignedBuffer,
}

/// Received bytes in a buffer of the pool.
pub(super) struct Chunk {
    pool: Rc<BufferPool>,
    id: u16,
    start: usize,
    end: usize,
}

impl BufferPool {
    /// A pool with all its buffers ready; [`Self::register`] hands them to the kernel.
    pub(super) fn new() -> Rc<BufferPool> {
        let mut entries =
            AlignedBuffer::zeroed(usize::from(CHUNKS) * std::mem::size_of::<BufRingEntry>());
        let mut memory = AlignedBuffer::zeroed(usize::from(CHUNKS) * CHUNK_LEN);
        let pool = BufferPool {
            entries: entries.as_mut_ptr().cast(),
            memory: memory.as_mut_ptr(),
            tail: Cell::new(0),
            _entries: entries,
            _memory: memory,
        };
        for id in 0..CHUNKS {
            pool.give_back(id);
        }
        Rc::new(pool)
    }

    /// Registers the pool as [`GROUP`] of `ring`.
    ///
    /// # Safety
    /// The pool must live as long as the ring can receive into it.
    pub(super) unsafe fn register(&self, ring: &IoUring) -> io::Result<()> {
        // SAFETY: the entries are page-aligned, initialised, and outlive the ring by contract.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(self.entries as u64, CHUNKS, GROUP, 0)
        }
    }

    /// The buffer `id`, which the kernel filled with `len` bytes.
    pub(super) fn take(self: &Rc<Self>, id: u16, len: usize) -> Chunk {
        assert!(
            id < CHUNKS && len <= CHUNK_LEN,
            "the kernel returned buffer {id} with {len} bytes"
        );
        Chunk {
            pool: self.clone(),
            id,
            start: 0,
            end: len,
        }
    }

    /// Makes the buffer `id` available to the kernel again.
    pub(super) fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (CHUNKS - 1));
        // SAFETY: the index is below the number of entries, and the kernel does not read entries
        // at or above the tail that is published below.
        unsafe {
            let entry = self.entries.add(index);
            (*entry).set_addr(self.memory.add(usize::from(id) * CHUNK_LEN) as u64);
            (*entry).set_len(CHUNK_LEN as u32);
            (*entry).set_bid(id);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the tail lies in the reserved field of the first entry, is aligned for `u16`,
        // and is shared with the kernel only.
        let published =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries) as *mut u16) };
        published.store(tail, Ordering::Release);
    }
}

impl Chunk {
    /// Drops the first `len` bytes.
    pub(super) fn advance(&mut self, len: usize) {
        assert!(len <= self.end - self.start, "advanced past the chunk");
        self.start += len;
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range is within the buffer, which the kernel has filled and does not touch
        // again until it is given back by the drop of this chunk.
        unsafe {
            std::slice::from_raw_parts(
                self.pool
                    .memory
                    .add(usize::from(self.id) * CHUNK_LEN + self.start),
                self.end - self.start,
            )
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.give_back(self.id);
    }
}
