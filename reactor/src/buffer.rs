//! Memory aligned for O_DIRECT.
//!
//! [`AlignedBuffer`] has one owner and receives reads. [`TailBuffer`] is append-only: what was
//! appended never changes, so counted slices of it ([`TailSlice`]) may be read on any core while
//! its owner goes on appending behind them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use nix::unistd::{SysconfVar, sysconf};

/// Alignment of memory, position and length of O_DIRECT transfers, in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// Memory of one huge page, in bytes. The kernel takes such a page into a transfer at once, where
/// it looks up each of the small ones.
const HUGE_PAGE: usize = 2 << 20;

/// Tail buffers from this size on are mappings of their own, in bytes. Between the pieces of the
/// heap, which come and go at other times, those of different sizes leave gaps that together take
/// as much again as they do; and advice for huge pages would outlast the buffer. Other buffers are
/// of one size and soon given back, for which the heap is quicker.
const MAPPED_LEN: usize = 16 << 10;

/// The kernel's pages, in bytes.
static PAGE: LazyLock<usize> = LazyLock::new(|| {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|page| usize::try_from(page).ok())
        .expect("the system says how large its pages are")
});

/// Whether a block is made of whole pages, so that a buffer shares none with its neighbours.
fn blocks_are_pages() -> bool {
    BLOCK_SIZE.is_multiple_of(*PAGE)
}

/// An allocation aligned to [`BLOCK_SIZE`], with nothing in it yet.
struct Allocation {
    pointer: NonNull<u8>,
    capacity: usize,
    /// Whether it is a mapping of its own, and not of the heap.
    mapped: bool,
    /// A socket may refer to its pages, also when nothing else does any more.
    lent: AtomicBool,
}

// SAFETY: the allocation is plain memory; who may touch which part is decided by the types below.
unsafe impl Send for Allocation {}
// SAFETY: as above; shared access is only given to parts that nobody writes any more.
unsafe impl Sync for Allocation {}

impl Allocation {
    /// Memory that is a mapping of its own if it has at least `mapped_len` bytes.
    fn new(capacity: usize, mapped_len: usize) -> Allocation {
        let capacity = capacity.max(1).next_multiple_of(BLOCK_SIZE);
        let layout = Self::layout(capacity);
        let mapped = capacity >= mapped_len;
        let pointer = if mapped {
            map(layout)
        } else {
            // SAFETY: the layout has a size of at least one block.
            NonNull::new(unsafe { alloc(layout) })
        };
        Allocation {
            pointer: pointer.unwrap_or_else(|| handle_alloc_error(layout)),
            capacity,
            mapped,
            lent: AtomicBool::new(false),
        }
    }

    /// Gives the pages away if they are lent: what is written to this memory from now on is in
    /// new ones. Whether it may be written to.
    fn renew(&mut self) -> bool {
        if !*self.lent.get_mut() {
            return true;
        }
        // SAFETY: whole pages of this allocation alone, as a block is made of pages; nobody refers
        // to the content, which goes.
        let renewed = unsafe {
            madvise(
                self.pointer.cast(),
                self.capacity,
                MmapAdvise::MADV_DONTNEED,
            )
        };
        *self.lent.get_mut() = renewed.is_err();
        renewed.is_ok()
    }

    /// Zeroes a range of it.
    ///
    /// # Safety
    /// Nobody else reads or writes that range meanwhile.
    unsafe fn zero(&self, range: Range<usize>) {
        assert!(range.end <= self.capacity, "{range:?} of {}", self.capacity);
        // SAFETY: within the allocation, and the caller says that nobody else is at it.
        unsafe {
            self.pointer
                .as_ptr()
                .add(range.start)
                .write_bytes(0, range.len())
        }
    }

    fn layout(capacity: usize) -> Layout {
        let align = if capacity >= HUGE_PAGE {
            HUGE_PAGE
        } else {
            BLOCK_SIZE
        };
        Layout::from_size_align(capacity, align).expect("a buffer is smaller than isize::MAX")
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if !self.renew() {
            // Locked pages, perhaps. Rather lost than changed while somebody receives them.
            return;
        }
        if self.mapped {
            // SAFETY: mapped in `new` with this length, and nobody refers to it any more.
            unsafe { unmap(self.pointer, self.capacity) }
        } else {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.pointer.as_ptr(), Self::layout(self.capacity)) }
        }
    }
}

/// Fresh memory of a layout, in huge pages if it has as much; none if there is none.
fn map(layout: Layout) -> Option<NonNull<u8>> {
    let len = layout.size().next_multiple_of(*PAGE);
    // The kernel aligns to its pages: for more, what is before and after goes back to it.
    let spare = if layout.align() > *PAGE {
        layout.align()
    } else {
        0
    };
    let mapped = NonZeroUsize::new(len + spare)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a mapping of its own, wherever there is room.
    let start = unsafe { mmap_anonymous(None, mapped, protection, MapFlags::MAP_PRIVATE) };
    let start = start.ok()?.cast::<u8>();
    let before = start.align_offset(layout.align());
    // SAFETY: whole pages of this mapping: those before, those of the buffer and those after.
    unsafe {
        let pointer = start.add(before);
        unmap(start, before);
        unmap(pointer.add(len), spare - before);
        if len >= HUGE_PAGE {
            // Advice: without huge pages it is ordinary memory.
            let _ = madvise(pointer.cast(), len, MmapAdvise::MADV_HUGEPAGE);
        }
        Some(pointer)
    }
}

/// Gives pages back to the kernel.
///
/// # Safety
/// They are whole pages of a mapping that [`map`] made, and nobody refers to them.
unsafe fn unmap(start: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: the caller says so. It fails only where a mapping would have to be split and
        // there are too many: then the pages stay.
        let _ = unsafe { munmap(start.cast(), len) };
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
        let mut buffer = AlignedBuffer::unfilled(len);
        // SAFETY: nobody else has the allocation yet.
        unsafe { buffer.allocation.zero(0..buffer.capacity()) };
        buffer.len = len;
        buffer
    }

    /// No bytes yet, and memory for `capacity`, rounded up to whole blocks.
    pub fn unfilled(capacity: usize) -> AlignedBuffer {
        AlignedBuffer {
            allocation: Allocation::new(capacity, HUGE_PAGE),
            len: 0,
        }
    }

    /// Where the memory begins, filled or not.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.allocation.pointer.as_ptr()
    }

    /// Makes the first `len` bytes visible.
    ///
    /// # Safety
    /// They have been written, by the kernel or otherwise.
    pub(crate) unsafe fn set_filled(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} > {}", self.capacity());
        self.len = len;
    }

    /// Holds a copy of `data` in place of what it held.
    ///
    /// # Panics
    /// When that is more than the capacity.
    pub(crate) fn fill(&mut self, data: &[u8]) {
        assert!(
            data.len() <= self.capacity(),
            "{} > {}",
            data.len(),
            self.capacity()
        );
        // SAFETY: as long as checked, and `&mut self` is exclusive.
        unsafe {
            self.as_mut_ptr()
                .copy_from_nonoverlapping(data.as_ptr(), data.len())
        };
        self.len = data.len();
    }

    /// Bytes that can be held, a multiple of [`BLOCK_SIZE`].
    pub fn capacity(&self) -> usize {
        self.allocation.capacity
    }

    /// Keeps the first `len` bytes visible, if there are as many.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
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
/// Invariants: bytes below `len` are never written again while a slice exists; bytes at and above
/// `len` are seen by nobody but the owner, and by the device when a padded last block is written;
/// from `len` to the end of its block they are zero, and what follows was never written or is left
/// from an earlier use.
pub struct TailBuffer {
    allocation: Arc<Allocation>,
    len: usize,
}

impl TailBuffer {
    /// An empty buffer of at least `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> TailBuffer {
        TailBuffer {
            allocation: Arc::new(Allocation::new(capacity, MAPPED_LEN)),
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
        let clean_to = self.len.next_multiple_of(BLOCK_SIZE);
        self.len += data.len();
        if self.len > clean_to {
            let rest = self.len..self.len.next_multiple_of(BLOCK_SIZE);
            // SAFETY: no write of these blocks was started yet, as they were beyond the last one.
            unsafe { self.allocation.zero(rest) };
        }
    }

    /// The filled bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: bytes below `len` are initialised and no longer written.
        unsafe { std::slice::from_raw_parts(self.allocation.pointer.as_ptr(), self.len) }
    }

    /// A counted slice of the filled part.
    pub fn slice(&self, range: Range<usize>) -> TailSlice {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of {}",
            self.len
        );
        TailSlice {
            allocation: self.allocation.clone(),
            range,
        }
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
        let reset = Arc::get_mut(&mut self.allocation).is_some_and(Allocation::renew);
        if reset {
            self.len = 0;
        }
        reset
    }
}

/// A counted slice of a [`TailBuffer`]: it does not change, and may go to another core.
#[derive(Clone)]
pub struct TailSlice {
    allocation: Arc<Allocation>,
    range: Range<usize>,
}

impl TailSlice {
    /// Bytes of the buffer that it keeps.
    pub fn buffer_capacity(&self) -> usize {
        self.allocation.capacity
    }

    /// The bytes, for a socket that refers to their pages for as long as it likes: this memory is
    /// never written again, but in new pages. None where pages are larger than blocks.
    pub(crate) fn lend(&self) -> Option<&[u8]> {
        if !blocks_are_pages() {
            return None;
        }
        // Whoever uses the memory again has first seen that this slice is gone.
        self.allocation.lent.store(true, Ordering::Relaxed);
        Some(self)
    }
}

impl From<TailSlice> for Bytes {
    fn from(slice: TailSlice) -> Bytes {
        Bytes::from_owner(slice)
    }
}

impl Deref for TailSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
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
        // SAFETY: within the allocation and written up to the end of the last block; the simulation
        // is single-threaded, so no append happens during the copy.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resident::Resident;

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
    fn a_last_block_is_padded_with_zeros_whatever_was_there() {
        let mut tail = TailBuffer::with_capacity(3 * BLOCK_SIZE);
        tail.append(&[b'x'; 3 * BLOCK_SIZE], |_| ());
        assert!(tail.try_reset());
        for len in [1, 2, BLOCK_SIZE - 3, 1, BLOCK_SIZE, 7] {
            tail.append(&vec![b'y'; len], |_| ());
            let mut expected = vec![b'y'; tail.len()];
            expected.resize(tail.len().next_multiple_of(BLOCK_SIZE), 0);
            assert!(
                tail.blocks(0..tail.len()).copy() == expected,
                "{}",
                tail.len()
            );
        }
    }

    #[test]
    fn buffers_are_aligned() {
        let buffer = AlignedBuffer::zeroed(10);
        assert_eq!(buffer.as_ptr() as usize % BLOCK_SIZE, 0);
        assert_eq!(buffer.len(), 10);
        assert_eq!(&buffer.into_bytes()[..], &[0; 10]);
        let large = TailBuffer::with_capacity(HUGE_PAGE);
        assert_eq!(large.capacity(), HUGE_PAGE);
        assert_eq!(large.as_slice().as_ptr() as usize % HUGE_PAGE, 0);
    }

    #[test]
    fn what_a_buffer_took_is_free_again_whatever_lies_around_it() {
        const COUNT: usize = 2048;
        let resident = Resident::watch();
        let filled = |number| {
            let mut buffer = TailBuffer::with_capacity(MAPPED_LEN);
            buffer.append(&[1; MAPPED_LEN], |_| ());
            (buffer, Box::new(number))
        };
        let buffers: Vec<(TailBuffer, Box<usize>)> = (0..COUNT).map(filled).collect();
        let before = resident.bytes();
        let kept: Vec<Box<usize>> = buffers.into_iter().map(|(_, small)| small).collect();
        let given_back = before.saturating_sub(resident.bytes());
        assert!(given_back > COUNT / 2 * MAPPED_LEN, "{given_back}");
        assert_eq!(kept.len(), COUNT);
    }
}
