//! The memory of a shard's tails: aligned buffers within one budget, beyond which the pool may go
//! step by step up to a bound.
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
    /// What may be held at the moment, and at most.
    limit: usize,
    most: usize,
    /// The largest buffer of many batches.
    largest: usize,
    held: usize,
    free: Vec<TailBuffer>,
    draining: Vec<TailBuffer>,
}

impl BufferPool {
    /// A pool that usually holds `budget` bytes, and at most `most` if that is more.
    pub(crate) fn new(budget: usize, most: usize, largest: usize) -> BufferPool {
        BufferPool {
            budget,
            limit: budget,
            most: most.max(budget),
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

    /// Bytes of buffers in use beyond the budget.
    pub(crate) fn excess(&self) -> usize {
        self.in_use().saturating_sub(self.budget)
    }

    /// From now on `step` bytes more may be held than are in use, but beyond the budget no more
    /// than `spared`, and nothing beyond the bound.
    pub(crate) fn allow(&mut self, step: usize, spared: usize) {
        let limit = (self.in_use() + step).min(self.budget + spared);
        self.limit = limit.clamp(self.budget, self.most);
        self.make_room(0);
    }

    /// An empty buffer, if what may be held allows it. One that is larger than that is given when
    /// no other exists.
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
        self.make_room(capacity);
        if self.held + capacity > self.limit && self.held > 0 {
            return None;
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

    /// Lets free buffers go until as much more may be held.
    fn make_room(&mut self, capacity: usize) {
        while self.held + capacity > self.limit
            && let Some(buffer) = self.free.pop()
        {
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
        if self.free_bytes() + buffer.capacity() > self.budget / 4 {
            self.held -= buffer.capacity();
        } else {
            self.free.push(buffer);
        }
    }

    fn free_bytes(&self) -> usize {
        self.free.iter().map(TailBuffer::capacity).sum()
    }

    fn in_use(&self) -> usize {
        self.held - self.free_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_binds() {
        let mut pool = BufferPool::new(64 << 10, 0, 16 << 10);
        let mut taken: Vec<TailBuffer> = (0..4)
            .map(|_| pool.take(16 << 10).expect("within the budget"))
            .collect();
        assert!(pool.take(1).is_none());
        pool.give_back(taken.pop().expect("four"));
        assert!(pool.take(16 << 10).is_some());
    }

    #[test]
    fn a_buffer_being_read_is_not_used_again() {
        let mut pool = BufferPool::new(16 << 10, 0, 16 << 10);
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
        let mut pool = BufferPool::new(1 << 20, 0, 32 << 10);
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
        let mut pool = BufferPool::new(1 << 20, 0, 20 << 10);
        let buffer = pool.take(20 << 10).expect("within the budget");
        assert_eq!(buffer.capacity(), 20 << 10);
    }

    #[test]
    fn buffers_of_more_than_four_times_the_usual_largest_are_not_kept() {
        for (asked, kept) in [(64 << 10, 64 << 10), (65 << 10, 0)] {
            let mut pool = BufferPool::new(1 << 20, 0, 16 << 10);
            let buffer = pool.take(asked).expect("within the budget");
            pool.give_back(buffer);
            assert_eq!(pool.held(), kept);
        }
    }

    #[test]
    fn free_buffers_take_a_quarter_of_the_budget() {
        let mut pool = BufferPool::new(64 << 10, 0, 16 << 10);
        let taken: Vec<TailBuffer> = (0..6)
            .map(|_| pool.take(8 << 10).expect("within the budget"))
            .collect();
        taken.into_iter().for_each(|buffer| pool.give_back(buffer));
        assert_eq!(pool.held(), 16 << 10);
    }

    #[test]
    fn buffers_beyond_a_number_are_left_to_their_readers() {
        let mut pool = BufferPool::new(1 << 20, 0, 16 << 10);
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
        let mut pool = BufferPool::new(16 << 10, 0, 8 << 10);
        let buffer = pool.take(1 << 20).expect("nothing else is held");
        assert!(pool.take(4096).is_none());
        pool.give_back(buffer);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn more_is_held_step_by_step_up_to_the_bound() {
        let mut pool = BufferPool::new(32 << 10, 64 << 10, 8 << 10);
        let mut taken = Vec::new();
        // A step, what is spared, and the buffers that there are then.
        let cases = [
            (0, 0, 4),
            (16, 0, 4),
            (16, 32, 6),
            (100, 24, 7),
            (100, 100, 8),
            (100, 100, 8),
        ];
        for (step, spared, count) in cases {
            pool.allow(step << 10, spared << 10);
            taken.extend(std::iter::from_fn(|| pool.take(8 << 10)));
            assert_eq!(taken.len(), count, "{step} KiB, {spared} KiB");
            assert_eq!(pool.excess(), (count - 4) * (8 << 10));
        }
    }

    #[test]
    fn what_is_not_needed_any_more_is_within_the_budget_again() {
        let mut pool = BufferPool::new(32 << 10, 64 << 10, 8 << 10);
        pool.allow(64 << 10, 32 << 10);
        let mut taken: Vec<_> = std::iter::from_fn(|| pool.take(8 << 10)).collect();
        assert_eq!(pool.held(), 64 << 10);
        taken.drain(3..).for_each(|buffer| pool.give_back(buffer));
        assert_eq!(pool.held(), 32 << 10, "one of them is kept");
        assert_eq!(pool.excess(), 0);
        pool.allow(0, 0);
        assert_eq!(pool.held(), 32 << 10);
        taken.extend(std::iter::from_fn(|| pool.take(8 << 10)));
        assert_eq!(taken.len(), 4);
    }
}
