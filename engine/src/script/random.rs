//! The generator behind `math.random`: `lrand48` of POSIX, so that a seed gives the same numbers everywhere,
//! and the same as in Redis.

/// 48 bits of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lrand48(u64);

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

/// The largest number that comes.
pub(super) const MOST: u32 = 0x7FFF_FFFF;

impl Default for Lrand48 {
    /// The state at the start of a server; nothing resets it between scripts.
    fn default() -> Lrand48 {
        Lrand48(0x1234_ABCD_330E)
    }
}

impl Lrand48 {
    /// `srand48`.
    pub fn seed(&mut self, seed: i32) {
        self.0 = u64::from(seed as u32) << 16 | 0x330E;
    }

    /// The next number, of 31 bits.
    pub fn word(&mut self) -> u32 {
        self.0 = (self.0.wrapping_mul(MULTIPLIER).wrapping_add(0xB)) & MASK;
        (self.0 >> 17) as u32
    }
}
