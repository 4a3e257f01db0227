//! What values hold: bytes that a codec makes smaller by about a given ratio.

/// The piece of a value that begins with noise and ends with one byte repeated.
const PIECE: usize = 128;

/// A stream of numbers that is the same in each run (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is one in 2⁶⁴ / bound.
        self.next() % bound
    }
}

/// Fills a value: of each piece, one part in `ratio` is noise.
pub fn fill(value: &mut [u8], ratio: f64, random: &mut Random) {
    for piece in value.chunks_mut(PIECE) {
        let noise = (piece.len() as f64 / ratio.max(1.0)).ceil() as usize;
        let (noise, rest) = piece.split_at_mut(noise.min(piece.len()));
        for bytes in noise.chunks_mut(8) {
            let number = random.next().to_le_bytes();
            bytes.copy_from_slice(&number[..bytes.len()]);
        }
        rest.fill(b'x');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_protocol::compression::{Codec, compress};

    #[test]
    fn values_shrink_by_about_the_ratio() {
        for ratio in [1.0, 2.0, 4.0] {
            let mut value = vec![0; 1 << 18];
            fill(&mut value, ratio, &mut Random::new(3));
            let shrunk = compress(Codec::Zstd, &value).unwrap().len();
            let found = value.len() as f64 / shrunk as f64;
            assert!(
                (ratio * 0.8..ratio * 1.2).contains(&found),
                "{found} for {ratio}"
            );
        }
    }
}
