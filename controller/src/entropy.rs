//! Randomness that comes in with a request, so that the same inputs give the same decision.

use millstream_protocol::TopicId;
use uuid::Builder;

/// A stream of numbers from 128 random bits.
#[derive(Debug, Clone)]
pub(crate) struct Entropy {
    state: [u64; 2],
    turn: usize,
}

impl Entropy {
    pub(crate) fn new(seed: [u64; 2]) -> Entropy {
        Entropy {
            state: seed,
            turn: 0,
        }
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    /// An id for a topic. Its text does not begin with a dash, which a command line would take for
    /// an option.
    pub(crate) fn topic_id(&mut self) -> TopicId {
        loop {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.next().to_le_bytes());
            bytes[8..].copy_from_slice(&self.next().to_le_bytes());
            let id = Builder::from_random_bytes(bytes).into_uuid();
            // In URL-safe base 64 the first six bits make the first letter; 62 is the dash.
            if id.as_bytes()[0] >> 2 != 62 {
                return TopicId(id);
            }
        }
    }

    /// SplitMix64 over the two halves in turn, so that all 128 bits reach an id.
    fn next(&mut self) -> u64 {
        self.turn ^= 1;
        let state = &mut self.state[self.turn];
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
