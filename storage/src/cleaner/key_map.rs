//! The offset of the last record of each key, for as many keys as the memory takes.
//!
//! Keys are told apart by two 64-bit hashes whose seeds are drawn for each cleaning, so that nobody
//! can make two keys that collide.

use ahash::{AHashMap, RandomState};

/// Bytes of an entry: 16 of the hash, 8 of the offset, and what the table needs.
const ENTRY_LEN: usize = 25;

/// Keys and offsets, bounded.
pub(crate) struct KeyMap {
    offsets: AHashMap<[u64; 2], i64>,
    limit: usize,
    hashers: [RandomState; 2],
}

impl KeyMap {
    /// A map that takes at most `max_bytes`; at least one key.
    pub(crate) fn new(max_bytes: usize, random: impl Fn() -> u64) -> KeyMap {
        // The table has a power of two of places, of which seven eighths are used.
        let places = match max_bytes / ENTRY_LEN {
            0 => 1,
            places => 1 << places.ilog2(),
        };
        let seeded = || RandomState::with_seeds(random(), random(), random(), random());
        KeyMap {
            offsets: AHashMap::new(),
            limit: (places / 8 * 7).max(1),
            hashers: [seeded(), seeded()],
        }
    }

    /// Notes a later record of a key. Whether there was room.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        if let Some(known) = self.offsets.get_mut(&hash) {
            *known = offset;
            return true;
        }
        if self.offsets.len() == self.limit {
            return false;
        }
        self.offsets.insert(hash, offset);
        true
    }

    /// The offset of the last record of a key, if the key is known.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        self.offsets.get(&self.hash(key)).copied()
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_full_map_takes_only_what_it_knows() {
        let seed = Cell::new(0);
        let mut map = KeyMap::new(16 * ENTRY_LEN, || {
            seed.set(seed.get() + 1);
            seed.get()
        });
        for key in 0..14u8 {
            assert!(map.put(&[key], i64::from(key)));
        }
        assert!(!map.put(&[14], 14));
        assert!(map.put(&[3], 99));
        assert_eq!((map.get(&[3]), map.get(&[4])), (Some(99), Some(4)));
        assert_eq!(map.get(&[14]), None);
    }
}
