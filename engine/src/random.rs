//! The engine's only randomness: streams of one seed, one for each concern, so that a draw more in
//! one part does not shift the chances of all others.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A stream of random words.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `seed` for the concern that `part` names.
    pub fn new(seed: [u8; 32], part: &str) -> Random {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(siphasher::sip::SipHasher13::new().hash(part.as_bytes()));
        Random(rng)
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n` (0 if `n` is 0).
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(n)) >> 64) as u64
    }

    /// A seed for a part that keeps its own stream.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }

    /// Forty hexadecimal digits: a node or replication id.
    pub fn hex40(&mut self) -> [u8; 40] {
        let mut id = [0; 40];
        for digit in &mut id {
            *digit = b"0123456789abcdef"[self.below(16) as usize];
        }
        id
    }
}
