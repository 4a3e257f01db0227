//! Who reads a log's newest records from memory, and how far behind its end.
//!
//! Buffers that such a reader has still before it are the last to go: a consumer that fell out of
//! memory reads from the disk what is written to the disk at the same time, and falls behind
//! further.

use std::time::{Duration, Instant};

/// Readers of one log that are told apart.
const READERS: usize = 8;
/// A reader that has not come back for this long has gone.
const GONE: Duration = Duration::from_secs(1);

/// The readers of one log, each known by the offset that it goes on from.
#[derive(Debug, Default)]
pub(crate) struct TailReaders {
    readers: Vec<TailReader>,
}

#[derive(Debug)]
struct TailReader {
    next: i64,
    seen: Instant,
}

impl TailReaders {
    /// A read from `from` ended before `next`.
    pub(crate) fn note(&mut self, from: i64, next: i64, now: Instant) {
        self.readers.retain(|reader| reader.seen + GONE > now);
        let reader = TailReader { next, seen: now };
        let place = |offset| self.readers.iter().position(|known| known.next == offset);
        // Of those who go on from the same place one is enough: the first to go on takes it along,
        // the next makes another.
        match place(from).or_else(|| place(next)) {
            Some(index) => self.readers[index] = reader,
            None => self.readers.push(reader),
        }
        if self.readers.len() > READERS {
            // The one that is furthest needs the least.
            let furthest = (0..self.readers.len()).max_by_key(|&index| self.readers[index].next);
            self.readers
                .swap_remove(furthest.expect("there are readers"));
        }
    }

    /// The first offset from `first` on that a reader has still before it; readers further behind
    /// do not count.
    pub(crate) fn first_wanted(&self, first: i64, now: Instant) -> Option<i64> {
        let here = self.readers.iter();
        let here = here.filter(|reader| reader.next >= first && reader.seen + GONE > now);
        here.map(|reader| reader.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_reader_is_known_by_where_it_goes_on() {
        let start = Instant::now();
        let mut readers = TailReaders::default();
        readers.note(10, 20, start);
        readers.note(50, 60, start);
        assert_eq!(readers.first_wanted(0, start), Some(20));
        readers.note(20, 70, start);
        assert_eq!(readers.first_wanted(0, start), Some(60));
        readers.note(70, 80, start);
        readers.note(60, 90, start);
        assert_eq!(readers.first_wanted(0, start), Some(80));
    }

    #[test]
    fn readers_at_the_same_place_go_on_one_by_one() {
        let start = Instant::now();
        let mut readers = TailReaders::default();
        for _ in 0..3 {
            readers.note(10, 20, start);
        }
        assert_eq!(readers.readers.len(), 1);
        readers.note(20, 30, start);
        readers.note(20, 40, start);
        assert_eq!(readers.first_wanted(0, start), Some(30));
        assert_eq!(readers.readers.len(), 2);
    }

    #[test]
    fn readers_of_what_is_no_longer_in_memory_want_nothing() {
        let start = Instant::now();
        let mut readers = TailReaders::default();
        readers.note(10, 20, start);
        assert_eq!(readers.first_wanted(20, start), Some(20));
        assert_eq!(readers.first_wanted(21, start), None);
    }

    #[test]
    fn a_reader_that_does_not_come_back_is_forgotten() {
        let start = Instant::now();
        let mut readers = TailReaders::default();
        readers.note(10, 20, start);
        readers.note(30, 40, at(start, 500));
        assert_eq!(readers.first_wanted(0, at(start, 999)), Some(20));
        assert_eq!(readers.first_wanted(0, at(start, 1_000)), Some(40));
        assert_eq!(readers.first_wanted(0, at(start, 1_500)), None);
        for (from, ms) in [(50, 1_499), (70, 1_500)] {
            readers.note(from, from + 10, at(start, ms));
            assert_eq!(readers.readers.len(), 2, "{ms}");
        }
    }

    #[test]
    fn of_many_readers_those_behind_are_remembered() {
        let start = Instant::now();
        let mut readers = TailReaders::default();
        for reader in (100..).take(READERS + 3) {
            readers.note(0, reader, start);
        }
        readers.note(1, 50, start);
        assert_eq!(readers.readers.len(), READERS);
        assert_eq!(readers.first_wanted(0, start), Some(50));
        assert_eq!(readers.first_wanted(51, start), Some(100));
    }
}
