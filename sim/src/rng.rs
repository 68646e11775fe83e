//! One root seed, split by concern.
//!
//! Each concern (network, disk of node 2, workload, …) draws from a stream of its own, so a draw
//! more in one leaves all others as they were: a fault can be deleted from a failing run without the
//! rest of the world changing, which is what makes shrinking work.

/// A stream of pseudo-random numbers: xoshiro256++, seeded through SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// What a stream is for. The name, not the order of creation, decides what it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Latencies, splits, resets.
    Network,
    /// One node's disk: latencies and what a crash leaves behind.
    Disk(u16),
    /// One node's engine seed.
    Engine(u16),
    /// One client's operations.
    Workload(u16),
    /// One client's behaviour at run time (which node to try next, back-off).
    Client(u16),
    /// Which faults strike and when.
    Faults,
    /// The settings of the world: sizes, policies, distributions.
    Settings,
    /// How long the nodes' processors take.
    Cpu,
    /// Who follows whom in a cluster.
    Layout,
    /// Which of a client's operations are sent as scripts, or wait for what they want.
    Manner(u16),
    /// Whether there is a visitor.
    Visits,
    /// What the visitor tries.
    Visitor,
    /// Whether somebody debugs scripts.
    Rehearsals,
    /// What the rehearser does.
    Rehearser,
}

impl Concern {
    fn label(self) -> u64 {
        let (kind, index) = match self {
            Concern::Network => (1, 0),
            Concern::Disk(n) => (2, n),
            Concern::Engine(n) => (3, n),
            Concern::Workload(n) => (4, n),
            Concern::Client(n) => (5, n),
            Concern::Faults => (6, 0),
            Concern::Settings => (7, 0),
            Concern::Cpu => (8, 0),
            Concern::Layout => (9, 0),
            Concern::Manner(n) => (10, n),
            Concern::Visits => (11, 0),
            Concern::Visitor => (12, 0),
            Concern::Rehearsals => (13, 0),
            Concern::Rehearser => (14, 0),
        };
        kind << 32 | u64::from(index)
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of one concern under a root seed.
    pub fn new(seed: u64, concern: Concern) -> Rng {
        let mut s = seed;
        let mixed = splitmix(&mut s);
        Rng::from_state(mixed ^ concern.label().wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// A stream from a bare number.
    pub fn from_state(mut seed: u64) -> Rng {
        Rng {
            state: std::array::from_fn(|_| splitmix(&mut seed)),
        }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Uniform in `low..=high`, signed.
    pub fn range_i64(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low) as u64 + 1) as i64
    }

    /// Log-uniform in `low..=high`: every order of magnitude is equally likely. `low` ≥ 1.
    pub fn log_range(&mut self, low: u64, high: u64) -> u64 {
        let (l, h) = (libm::log(low as f64), libm::log(high as f64));
        (libm::exp(l + (h - l) * self.unit()) as u64).clamp(low, high)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True in `per_mille` cases of a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Exponentially distributed with this mean, capped at thirty times it.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        if mean == 0 {
            return 0;
        }
        let draw = -libm::log(1.0 - self.unit()) * mean as f64;
        (draw as u64).min(mean.saturating_mul(30))
    }

    /// One element of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Shuffles in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// 32 bytes, as the engine's seed.
    pub fn seed32(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        for chunk in out.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_concerns_differ_and_do_not_disturb_each_other() {
        let mut network = Rng::new(7, Concern::Network);
        let mut disk = Rng::new(7, Concern::Disk(0));
        let first: Vec<u64> = (0..4).map(|_| network.next_u64()).collect();
        assert_ne!(first, (0..4).map(|_| disk.next_u64()).collect::<Vec<_>>());
        let mut again = Rng::new(7, Concern::Network);
        Rng::new(7, Concern::Disk(0)).next_u64();
        assert_eq!(first, (0..4).map(|_| again.next_u64()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::new(8, Concern::Network).next_u64());
    }

    #[test]
    fn draws_stay_in_their_bounds_and_use_them() {
        let mut rng = Rng::from_state(1);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[rng.range(2, 5) as usize] = true;
            assert!((10..=1000).contains(&rng.log_range(10, 1000)));
            assert!((-3..=3).contains(&rng.range_i64(-3, 3)));
        }
        assert_eq!(seen, [false, false, true, true, true, true]);
        let mean = (0..10_000).map(|_| rng.exponential(1000)).sum::<u64>() / 10_000;
        assert!((900..1100).contains(&mean), "{mean}");
        assert_eq!(rng.below(0), 0);
    }
}
