//! Which partition a key or a group belongs to, by the hashes of Kafka's Java clients.

use crate::PartitionIndex;

/// The partition of `__consumer_offsets` that a group's coordinator keeps it in.
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_for_group(group_id: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has partitions, not {partitions}");
    let hash = match java_hash(group_id) {
        i32::MIN => 0,
        hash => hash.abs(),
    };
    PartitionIndex(hash % partitions)
}

/// The partition that a producer's default partitioner gives a record with this key.
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_for_key(key: &[u8], partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has partitions, not {partitions}");
    PartitionIndex((murmur2(key) & i32::MAX) % partitions)
}

/// Java's `String.hashCode`: over the UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The 32-bit MurmurHash2 with the seed of Kafka's clients.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;

    // The algorithm takes the length modulo 2^32.
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ word.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_the_answers_of_kafkas_own_tests() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn groups_are_hashed_as_java_strings() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("hello"), 99_162_322);
        // Outside the basic plane a character is two units, as in Java.
        assert_eq!(java_hash("😀"), 0xd83d * 31 + 0xde00);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(
            partition_for_group("polygenelubricants", 50),
            PartitionIndex(0)
        );
        assert_eq!(partition_for_group("hello", 50), PartitionIndex(22));
    }

    #[test]
    fn keys_fall_into_the_partitions() {
        for key in 0..1000u32 {
            let partition = partition_for_key(&key.to_le_bytes(), 7);
            assert!((0..7).contains(&partition.0));
        }
    }
}
