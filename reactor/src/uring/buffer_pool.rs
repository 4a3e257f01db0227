//! The pool of buffers from which the kernel picks one for each receive.
//!
//! The ring of entries is shared with the kernel:
//!
//! ```text
//! entry i: address u64 | length u32 | buffer id u16 | reserved u16 (entry 0: the tail)
//! ```
//!
//! A buffer is either the kernel's (between the kernel's head and our tail) or held by a
//! [`Chunk`]; dropping the chunk gives it back. Of a chunk that is not small the memory may leave
//! for good, as [`Bytes`], and other memory takes its place. When the last of the bytes go, on
//! whatever thread, the memory is kept there for such a replacement.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buffer::AlignedBuffer;

/// Bytes of one buffer: a request with a batch of 16 KiB, which producers make unless told
/// otherwise, lies in one.
pub(super) const CHUNK_LEN: usize = 32 * 1024;

/// Of fewer bytes a copy is made rather than keep the whole buffer for them.
const MIN_HANDED_OUT: usize = CHUNK_LEN / 4;

/// Memory that a thread keeps for other chunks, in buffers.
const MAX_SPARE: usize = 64;

/// Buffers in the pool, a power of two: up to 4 MiB for each shard.
const CHUNKS: u16 = 128;

/// The buffer group that receives name.
pub(super) const GROUP: u16 = 0;

/// The pool; shared by the ring and by the chunks that were received.
pub(super) struct BufferPool {
    entries: *mut BufRingEntry,
    tail: Cell<u16>,
    _entries: AlignedBuffer,
    /// Of each buffer; none while a chunk has it.
    memory: RefCell<Vec<Option<AlignedBuffer>>>,
}

/// Received bytes in a buffer of the pool.
pub(super) struct Chunk {
    pool: Rc<BufferPool>,
    id: u16,
    /// Until the chunk is dropped or becomes bytes.
    memory: Option<AlignedBuffer>,
    start: usize,
}

/// Memory that has left a pool.
struct HandedOut {
    /// Until it is dropped.
    memory: Option<AlignedBuffer>,
}

thread_local! {
    /// Memory of one buffer each, with nothing in it.
    static SPARE: RefCell<Vec<AlignedBuffer>> = const { RefCell::new(Vec::new()) };
}

impl BufferPool {
    /// A pool with all its buffers ready; [`Self::register`] hands them to the kernel.
    pub(super) fn new() -> Rc<BufferPool> {
        let mut entries =
            AlignedBuffer::zeroed(usize::from(CHUNKS) * std::mem::size_of::<BufRingEntry>());
        let memory = (0..CHUNKS).map(|_| Some(AlignedBuffer::unfilled(CHUNK_LEN)));
        let pool = BufferPool {
            entries: entries.as_mut_ptr().cast(),
            tail: Cell::new(0),
            _entries: entries,
            memory: RefCell::new(memory.collect()),
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
        let mut memory = self.memory.borrow_mut()[usize::from(id)]
            .take()
            .expect("the kernel fills a buffer that no chunk has");
        // SAFETY: the kernel has filled so many bytes.
        unsafe { memory.set_filled(len) };
        Chunk {
            pool: self.clone(),
            id,
            memory: Some(memory),
            start: 0,
        }
    }

    /// Makes `memory` the buffer `id`, available to the kernel.
    fn put_back(&self, id: u16, memory: AlignedBuffer) {
        self.memory.borrow_mut()[usize::from(id)] = Some(memory);
        self.give_back(id);
    }

    /// Makes the buffer `id` available to the kernel again.
    pub(super) fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (CHUNKS - 1));
        let mut memory = self.memory.borrow_mut();
        let memory = memory[usize::from(id)]
            .as_mut()
            .expect("a buffer that is given back has its memory");
        // SAFETY: the index is below the number of entries, and the kernel does not read entries
        // at or above the tail that is published below.
        unsafe {
            let entry = self.entries.add(index);
            (*entry).set_addr(memory.as_mut_ptr() as u64);
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
        assert!(len <= self.len(), "advanced past the chunk");
        self.start += len;
    }

    /// The bytes: the chunk's own memory, or a copy if they are few.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.len() < MIN_HANDED_OUT {
            return Bytes::copy_from_slice(&self);
        }
        let memory = self.memory.take();
        let other = SPARE.with_borrow_mut(Vec::pop);
        let other = other.unwrap_or_else(|| AlignedBuffer::unfilled(CHUNK_LEN));
        self.pool.put_back(self.id, other);
        Bytes::from_owner(HandedOut { memory }).slice(self.start..)
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let memory = self.memory.as_ref();
        &memory.expect("a chunk has its memory until it ends")[self.start..]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.put_back(self.id, memory);
        }
    }
}

impl AsRef<[u8]> for HandedOut {
    fn as_ref(&self) -> &[u8] {
        self.memory
            .as_deref()
            .expect("memory is there until the drop")
    }
}

impl Drop for HandedOut {
    fn drop(&mut self) {
        let Some(mut memory) = self.memory.take() else {
            return;
        };
        memory.truncate(0);
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MAX_SPARE {
                spare.push(memory);
            }
        });
    }
}
