//! What is kept of cold files: descriptors open for reading, and the entries of offset indexes.
//! Each within a bound, the least recently used goes first.

use bytes::Bytes;
use millstream_reactor::File;

/// A segment of a log: the log's number in this store and the base offset.
pub(crate) type SegmentKey = (u64, i64);

/// Values by segment, the sum of whose weights is bounded.
pub(crate) struct LruCache<T> {
    /// Oldest first. Few enough that a scan costs less than the system call it saves.
    entries: Vec<(SegmentKey, usize, T)>,
    weight: usize,
    capacity: usize,
}

/// Descriptors.
pub(crate) type FileCache = LruCache<File>;
/// Offset indexes, in the file's format, only what is valid of them.
pub(crate) type IndexCache = LruCache<Bytes>;

impl<T: Clone> LruCache<T> {
    pub(crate) fn new(capacity: usize) -> LruCache<T> {
        LruCache {
            entries: Vec::new(),
            weight: 0,
            capacity,
        }
    }

    pub(crate) fn get(&mut self, key: SegmentKey) -> Option<T> {
        let index = self.entries.iter().rposition(|entry| entry.0 == key)?;
        self.entries[index..].rotate_left(1);
        self.entries.last().map(|entry| entry.2.clone())
    }

    /// Keeps a value, unless it alone is heavier than all that may be kept.
    pub(crate) fn insert(&mut self, key: SegmentKey, weight: usize, value: T) {
        self.remove(key);
        if weight > self.capacity {
            return;
        }
        let mut excess = 0;
        while self.weight + weight > self.capacity {
            self.weight -= self.entries[excess].1;
            excess += 1;
        }
        self.entries.drain(..excess);
        self.entries.push((key, weight, value));
        self.weight += weight;
    }

    pub(crate) fn remove(&mut self, key: SegmentKey) {
        self.retain(|candidate| candidate != key);
    }

    /// Forgets all of a log.
    pub(crate) fn remove_log(&mut self, log: u64) {
        self.retain(|candidate| candidate.0 != log);
    }

    fn retain(&mut self, keep: impl Fn(SegmentKey) -> bool) {
        let weight = &mut self.weight;
        self.entries.retain(|entry| {
            let keep = keep(entry.0);
            if !keep {
                *weight -= entry.1;
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes() {
        let mut cache = LruCache::new(10);
        cache.insert((1, 0), 4, 'a');
        cache.insert((1, 5), 4, 'b');
        assert_eq!(cache.get((1, 0)), Some('a'));
        cache.insert((2, 0), 4, 'c');
        assert_eq!(cache.get((1, 5)), None);
        assert_eq!(cache.get((1, 0)), Some('a'));
        cache.insert((2, 0), 11, 'd');
        assert_eq!(cache.get((2, 0)), None);
        cache.remove_log(1);
        assert_eq!(cache.get((1, 0)), None);
        cache.insert((3, 0), 10, 'e');
        assert_eq!(cache.get((3, 0)), Some('e'));
    }
}
