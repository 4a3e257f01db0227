//! A map whose copies share what they have in common.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// Copies cost one pointer for each bucket; a change copies one bucket.
const BUCKETS: usize = 256;

/// A map of cheap copies. A change to one copies 1/256 of the map, so that one change among ten
/// thousand topics moves forty pointers.
pub struct SharedMap<K, V> {
    buckets: Arc<[Bucket<K, V>]>,
    len: usize,
}

type Bucket<K, V> = Arc<BTreeMap<K, V>>;

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> SharedMap<K, V> {
        SharedMap {
            buckets: self.buckets.clone(),
            len: self.len,
        }
    }
}

impl<K: Ord + Hash + Clone, V: Clone> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        let empty = Arc::new(BTreeMap::new());
        SharedMap {
            buckets: std::iter::repeat_n(empty, BUCKETS).collect(),
            len: 0,
        }
    }
}

impl<K: Ord + Hash + Clone, V: Clone> SharedMap<K, V> {
    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + Hash + ?Sized,
    {
        self.buckets[bucket_of(key)].get(key)
    }

    /// The value of `key`, to be changed.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Ord + Hash + ?Sized,
    {
        // Asked first, so that a miss copies nothing.
        self.get(key)?;
        self.bucket_mut(key).get_mut(key)
    }

    /// Sets the value of `key`; gives back the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let replaced = self.bucket_mut(&key).insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Takes `key` out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + Hash + ?Sized,
    {
        self.get(key)?;
        let removed = self.bucket_mut(key).remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// All entries, in an order that depends on nothing but the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// All values, in the order of [`Self::iter`].
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    fn bucket_mut<Q: Hash + ?Sized>(&mut self, key: &Q) -> &mut BTreeMap<K, V> {
        let buckets = Arc::make_mut(&mut self.buckets);
        Arc::make_mut(&mut buckets[bucket_of(key)])
    }
}

impl<K: Ord + Hash + Clone + PartialEq, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &SharedMap<K, V>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Hash + Clone + Eq, V: Clone + Eq> Eq for SharedMap<K, V> {}

impl<K: Ord + Hash + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The same in every process: the order of iteration must not differ between two replays.
fn bucket_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    let hash = ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(key);
    usize::try_from(hash % BUCKETS as u64).expect("a remainder of the number of buckets")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map_and_copies_stay_as_they_were(
            changes in prop::collection::vec((0_u32..600, prop::option::of(0_u8..9)), 0..300),
            copy_at in 0_usize..300,
        ) {
            let mut model = BTreeMap::new();
            let mut map = SharedMap::default();
            let mut copy = None;
            for (at, (key, value)) in changes.into_iter().enumerate() {
                if at == copy_at {
                    copy = Some((map.clone(), model.clone()));
                }
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
            }
            for (map, model) in copy.into_iter().chain([(map, model)]) {
                let entries: BTreeMap<u32, u8> = map.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(entries, model);
            }
        }
    }
}
