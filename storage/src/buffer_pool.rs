//! The memory of a shard's tails: aligned buffers within one budget.
//!
//! Everything allocated counts: buffers in use, free ones, and those given back while a reader
//! still holds a slice of them.

use millstream_reactor::{BLOCK_SIZE, TailBuffer};

/// Buffers given back whose slices are still read; beyond this they are left to their readers.
const MAX_DRAINING: usize = 64;

/// Buffers for one batch that is larger than the usual largest buffer are kept up to so many times
/// that size, in steps of a part of it: producers that fill their batches ask for the same again.
const KEPT_TIMES_LARGEST: usize = 4;
const STEPS_OF_LARGEST: usize = 4;

/// The buffers of one shard.
pub(crate) struct BufferPool {
    budget: usize,
    /// The largest buffer of many batches.
    largest: usize,
    held: usize,
    free: Vec<TailBuffer>,
    draining: Vec<TailBuffer>,
}

impl BufferPool {
    pub(crate) fn new(budget: usize, largest: usize) -> BufferPool {
        BufferPool {
            budget,
            largest: largest.max(BLOCK_SIZE),
            held: 0,
            free: Vec::new(),
            draining: Vec::new(),
        }
    }

    /// Bytes of all buffers that exist.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// An empty buffer, if the budget allows it. One that is larger than the whole budget is
    /// given when no other exists.
    pub(crate) fn take(&mut self, capacity: usize) -> Option<TailBuffer> {
        let step = match capacity > self.largest {
            true => (self.largest / STEPS_OF_LARGEST).next_multiple_of(BLOCK_SIZE),
            false => BLOCK_SIZE,
        };
        let capacity = capacity.max(1).next_multiple_of(step);
        self.reclaim();
        if let Some(index) = self
            .free
            .iter()
            .position(|free| free.capacity() == capacity)
        {
            return Some(self.free.swap_remove(index));
        }
        while self.held + capacity > self.budget {
            match self.free.pop() {
                Some(buffer) => self.held -= buffer.capacity(),
                None if self.held == 0 => break,
                None => return None,
            }
        }
        self.held += capacity;
        Some(TailBuffer::with_capacity(capacity))
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, mut buffer: TailBuffer) {
        if buffer.capacity() > KEPT_TIMES_LARGEST * self.largest {
            self.held -= buffer.capacity();
        } else if buffer.try_reset() {
            self.keep(buffer);
        } else if self.draining.len() < MAX_DRAINING {
            self.draining.push(buffer);
        } else {
            self.held -= buffer.capacity();
        }
    }

    fn reclaim(&mut self) {
        let mut index = 0;
        while index < self.draining.len() {
            if self.draining[index].try_reset() {
                let buffer = self.draining.swap_remove(index);
                self.keep(buffer);
            } else {
                index += 1;
            }
        }
    }

    /// Free buffers take at most a quarter of the budget.
    fn keep(&mut self, buffer: TailBuffer) {
        let free: usize = self.free.iter().map(TailBuffer::capacity).sum();
        if free + buffer.capacity() > self.budget / 4 {
            self.held -= buffer.capacity();
        } else {
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_binds() {
        let mut pool = BufferPool::new(64 << 10, 16 << 10);
        let mut taken: Vec<TailBuffer> = (0..4)
            .map(|_| pool.take(16 << 10).expect("within the budget"))
            .collect();
        assert!(pool.take(1).is_none());
        pool.give_back(taken.pop().expect("four"));
        assert!(pool.take(16 << 10).is_some());
    }

    #[test]
    fn a_buffer_being_read_is_not_used_again() {
        let mut pool = BufferPool::new(16 << 10, 16 << 10);
        let mut buffer = pool.take(16 << 10).expect("within the budget");
        buffer.append(b"read me", |_| ());
        let slice = buffer.slice(0..7);
        pool.give_back(buffer);
        assert!(pool.take(4096).is_none());
        assert_eq!(&slice[..], b"read me");
        drop(slice);
        let buffer = pool.take(4096).expect("the reader is gone");
        assert!(buffer.is_empty());
    }

    #[test]
    fn buffers_for_large_batches_of_about_a_size_are_used_again() {
        let mut pool = BufferPool::new(1 << 20, 32 << 10);
        let buffer = pool.take(33 << 10).expect("within the budget");
        assert_eq!(buffer.capacity(), 40 << 10);
        pool.give_back(buffer);
        assert_eq!(pool.held(), 40 << 10);
        let again = pool.take(39 << 10).expect("within the budget");
        assert_eq!(again.capacity(), 40 << 10);
        assert_eq!(pool.held(), 40 << 10);
    }

    #[test]
    fn up_to_the_usual_largest_a_buffer_has_the_size_asked_for() {
        let mut pool = BufferPool::new(1 << 20, 20 << 10);
        let buffer = pool.take(20 << 10).expect("within the budget");
        assert_eq!(buffer.capacity(), 20 << 10);
    }

    #[test]
    fn buffers_of_more_than_four_times_the_usual_largest_are_not_kept() {
        for (asked, kept) in [(64 << 10, 64 << 10), (65 << 10, 0)] {
            let mut pool = BufferPool::new(1 << 20, 16 << 10);
            let buffer = pool.take(asked).expect("within the budget");
            pool.give_back(buffer);
            assert_eq!(pool.held(), kept);
        }
    }

    #[test]
    fn free_buffers_take_a_quarter_of_the_budget() {
        let mut pool = BufferPool::new(64 << 10, 16 << 10);
        let taken: Vec<TailBuffer> = (0..6)
            .map(|_| pool.take(8 << 10).expect("within the budget"))
            .collect();
        taken.into_iter().for_each(|buffer| pool.give_back(buffer));
        assert_eq!(pool.held(), 16 << 10);
    }

    #[test]
    fn buffers_beyond_a_number_are_left_to_their_readers() {
        let mut pool = BufferPool::new(1 << 20, 16 << 10);
        let read: Vec<_> = (0..=MAX_DRAINING)
            .map(|_| {
                let mut buffer = pool.take(BLOCK_SIZE).expect("within the budget");
                buffer.append(b"read me", |_| ());
                let slice = buffer.slice(0..7);
                (buffer, slice)
            })
            .collect();
        let slices: Vec<_> = read
            .into_iter()
            .map(|(buffer, slice)| {
                pool.give_back(buffer);
                slice
            })
            .collect();
        assert_eq!(pool.held(), MAX_DRAINING * BLOCK_SIZE);
        assert!(slices.iter().all(|slice| slice[..] == b"read me"[..]));
    }

    #[test]
    fn one_buffer_may_exceed_the_budget() {
        let mut pool = BufferPool::new(16 << 10, 8 << 10);
        let buffer = pool.take(1 << 20).expect("nothing else is held");
        assert!(pool.take(4096).is_none());
        pool.give_back(buffer);
        assert_eq!(pool.held(), 0);
    }
}
