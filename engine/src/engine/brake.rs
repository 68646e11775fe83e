//! Brakes for tests: `rdb-key-save-delay` and `key-load-delay` make saving and loading slow enough to be met in the
//! middle of it.

use crate::face::Now;

/// A delay for each key. Others are served meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    /// When the next key may go, in nanoseconds of the monotonic clock.
    until_ns: u64,
}

impl Brake {
    /// Whether the next key has to wait. `delay` is the directive's value: microseconds a key, or if it is negative, so
    /// many keys a microsecond. Zero lets go at once.
    pub fn holds(&self, now: Now, delay: i32) -> bool {
        delay != 0 && now.mono_us < self.until_us()
    }

    /// So many keys went.
    pub fn pull(&mut self, now: Now, delay: i32, keys: u64) {
        let amount = u64::from(delay.unsigned_abs());
        let delay_ns = match delay {
            0 => 0,
            1.. => keys.saturating_mul(amount * 1000),
            _ => keys.saturating_mul(1000) / amount,
        };
        // What is less than a microsecond adds up.
        self.until_ns = self
            .until_ns
            .max(now.mono_us.saturating_mul(1000))
            .saturating_add(delay_ns);
    }

    /// When the next key may go, in monotonic microseconds.
    pub fn until_us(&self) -> u64 {
        self.until_ns / 1000
    }
}
