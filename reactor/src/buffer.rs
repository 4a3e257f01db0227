//! Memory aligned for O_DIRECT.
//!
//! [`AlignedBuffer`] has one owner and receives reads. [`TailBuffer`] is append-only: what was
//! appended never changes, so counted slices of it (`Bytes`) may be read on any core while its
//! owner goes on appending behind them.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;

/// Alignment of memory, position and length of O_DIRECT transfers, in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// A zeroed allocation aligned to [`BLOCK_SIZE`].
struct Allocation {
    pointer: NonNull<u8>,
    capacity: usize,
}

// SAFETY: the allocation is plain memory; who may touch which part is decided by the types below.
unsafe impl Send for Allocation {}
// SAFETY: as above; shared access is only given to parts that nobody writes any more.
unsafe impl Sync for Allocation {}

impl Allocation {
    fn new(capacity: usize) -> Allocation {
        let capacity = capacity.max(1).next_multiple_of(BLOCK_SIZE);
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a size of at least one block.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(pointer) = NonNull::new(pointer) else {
            handle_alloc_error(layout)
        };
        Allocation { pointer, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, BLOCK_SIZE).expect("a buffer is smaller than isize::MAX")
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.pointer.as_ptr(), Self::layout(self.capacity)) }
    }
}

/// An aligned buffer with one owner. Derefs to its first `len` bytes.
pub struct AlignedBuffer {
    allocation: Allocation,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeroed bytes; the capacity is rounded up to whole blocks.
    pub fn zeroed(len: usize) -> AlignedBuffer {
        AlignedBuffer {
            allocation: Allocation::new(len),
            len,
        }
    }

    /// Bytes that can be held, a multiple of [`BLOCK_SIZE`].
    pub fn capacity(&self) -> usize {
        self.allocation.capacity
    }

    /// Sets the visible length; at most the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(
            len <= self.allocation.capacity,
            "{len} > {}",
            self.allocation.capacity
        );
        self.len = len;
    }

    /// Gives the memory away as counted, immutable bytes.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` is within the allocation, which is initialised and owned by `self`.
        unsafe { std::slice::from_raw_parts(self.allocation.pointer.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.allocation.pointer.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// An append-only aligned buffer whose filled part is shared by counted slices.
///
/// Invariant: bytes below `len` are never written again while a slice exists; bytes at and above
/// `len` are seen by nobody but the owner, and by the device when a padded last block is written.
pub struct TailBuffer {
    allocation: Arc<Allocation>,
    len: usize,
}

impl TailBuffer {
    /// An empty buffer of at least `capacity` bytes, zeroed.
    pub fn with_capacity(capacity: usize) -> TailBuffer {
        TailBuffer {
            allocation: Arc::new(Allocation::new(capacity)),
            len: 0,
        }
    }

    /// Bytes filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that can be held, a multiple of [`BLOCK_SIZE`].
    pub fn capacity(&self) -> usize {
        self.allocation.capacity
    }

    /// Bytes that can still be appended.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len
    }

    /// Appends `data`, lets `finish` change the copy (to stamp offsets), then publishes it.
    ///
    /// # Panics
    /// When `data` does not fit.
    pub fn append(&mut self, data: &[u8], finish: impl FnOnce(&mut [u8])) {
        assert!(
            data.len() <= self.remaining(),
            "{} > {}",
            data.len(),
            self.remaining()
        );
        // SAFETY: the range is within the allocation, and nobody holds a reference to bytes at or
        // above `len`: slices end at `len`, block ranges are raw.
        let target = unsafe {
            std::slice::from_raw_parts_mut(
                self.allocation.pointer.as_ptr().add(self.len),
                data.len(),
            )
        };
        target.copy_from_slice(data);
        finish(target);
        self.len += data.len();
    }

    /// The filled bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: bytes below `len` are initialised and no longer written.
        unsafe { std::slice::from_raw_parts(self.allocation.pointer.as_ptr(), self.len) }
    }

    /// A counted slice of the filled part; may go to another core.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of {}",
            self.len
        );
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(TailSlice {
            allocation: self.allocation.clone(),
            range,
        })
    }

    /// The whole blocks that cover `range`, for an O_DIRECT write; what lies above `len` in the
    /// last block is zero or not yet published, and is written again later.
    pub fn blocks(&self, range: Range<usize>) -> BlockRange {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of {}",
            self.len
        );
        let start = range.start - range.start % BLOCK_SIZE;
        let end = range.end.next_multiple_of(BLOCK_SIZE);
        BlockRange {
            allocation: self.allocation.clone(),
            start,
            len: end - start,
        }
    }

    /// Empties the buffer for use again, if no slice or write of it is alive.
    pub fn try_reset(&mut self) -> bool {
        let used = self.len;
        match Arc::get_mut(&mut self.allocation) {
            Some(allocation) => {
                // SAFETY: `get_mut` proves that there is no other owner; the range is filled.
                unsafe { std::ptr::write_bytes(allocation.pointer.as_ptr(), 0, used) };
                self.len = 0;
                true
            }
            None => false,
        }
    }
}

struct TailSlice {
    allocation: Arc<Allocation>,
    range: Range<usize>,
}

impl AsRef<[u8]> for TailSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range was below `len` when the slice was made, and such bytes do not change
        // while a slice keeps the allocation shared.
        unsafe {
            std::slice::from_raw_parts(
                self.allocation.pointer.as_ptr().add(self.range.start),
                self.range.len(),
            )
        }
    }
}

/// Whole blocks of a [`TailBuffer`] on their way to the device. Raw memory: the owner may append
/// within the last block while the device reads it, which is harmless, because what it appends
/// is written again before it is acknowledged.
pub struct BlockRange {
    allocation: Arc<Allocation>,
    start: usize,
    len: usize,
}

impl BlockRange {
    /// Bytes, a multiple of [`BLOCK_SIZE`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the blocks are; valid while `self` lives.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        // SAFETY: `start` is within the allocation.
        unsafe { self.allocation.pointer.as_ptr().add(self.start) }
    }

    /// A copy of the blocks as they are now; for the simulated disk, which has one thread.
    pub(crate) fn copy(&self) -> Vec<u8> {
        // SAFETY: within the allocation and initialised; the simulation is single-threaded, so no
        // append happens during the copy.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_outlive_appends_and_block_a_reset() {
        let mut tail = TailBuffer::with_capacity(5000);
        assert_eq!(tail.capacity(), 8192);
        tail.append(b"abc", |copy| copy[0] = b'x');
        let slice = tail.slice(0..3);
        tail.append(b"def", |_| ());
        assert_eq!(&slice[..], b"xbc");
        assert_eq!(tail.as_slice(), b"xbcdef");
        assert_eq!(tail.blocks(1..4).len(), BLOCK_SIZE);
        assert!(!tail.try_reset());
        drop(slice);
        assert!(tail.try_reset());
        assert!(tail.is_empty());
        assert_eq!(&tail.blocks(0..0).copy(), b"");
    }

    #[test]
    fn buffers_are_aligned() {
        let buffer = AlignedBuffer::zeroed(10);
        assert_eq!(buffer.as_ptr() as usize % BLOCK_SIZE, 0);
        assert_eq!(buffer.len(), 10);
        assert_eq!(&buffer.into_bytes()[..], &[0; 10]);
    }
}
