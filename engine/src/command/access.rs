//! What each entry keeps of its use, in 24 bits: when it was used last, or, under an LFU policy, how often.
//!
//! ```text
//! LRU  seconds:24, modulo 2²⁴
//! LFU  minute of the last decay:16, logarithmic counter:8
//! ```
//!
//! The counter rises with a probability that falls as it grows (`lfu-log-factor`), and falls by one for each
//! `lfu-decay-time` minutes. Source: <https://redis.io/docs/latest/develop/reference/eviction/>

use super::context::Data;
use crate::config::{Config, MaxmemoryPolicy};
use crate::face::Now;
use crate::random::Random;
use crate::store::Place;

/// The counter of a new key: low, but not the first to go.
const NEW: u32 = 5;

/// Whether entries count their uses.
#[inline]
pub fn is_lfu(config: &Config) -> bool {
    use MaxmemoryPolicy::{AllkeysLfu, VolatileLfu};
    matches!(config.maxmemory_policy, AllkeysLfu | VolatileLfu)
}

fn minutes(now: Now) -> u32 {
    (now.mono_us / 60_000_000) as u32 & 0xFFFF
}

/// The field of an entry that has a counter, or of a new one.
pub fn counted(now: Now, counter: Option<u32>) -> u32 {
    minutes(now) << 8 | counter.unwrap_or(NEW).min(255)
}

/// The field of an entry that comes from a file, or from another server.
pub fn loaded(config: &Config, now: Now, idle_s: Option<u64>, frequency: Option<u8>) -> u32 {
    if is_lfu(config) {
        counted(now, frequency.map(u32::from))
    } else {
        now.access_clock().wrapping_sub(idle_s.unwrap_or(0) as u32) & 0xFF_FFFF
    }
}

/// The counter in a field, less what it has lost since it was written, by `lfu-decay-time`.
pub fn frequency(decay_time: u32, now: Now, access: u32) -> u32 {
    let elapsed = minutes(now).wrapping_sub(access >> 8) & 0xFFFF;
    let periods = elapsed.checked_div(decay_time).unwrap_or(0);
    (access & 0xFF).saturating_sub(periods)
}

/// Seconds since the last use.
pub fn idle_s(now: Now, access: u32) -> u32 {
    now.access_clock().wrapping_sub(access) & 0xFF_FFFF
}

/// The field after another use.
fn used_again(config: &Config, random: &mut Random, now: Now, access: u32) -> u32 {
    let counter = frequency(config.lfu_decay_time, now, access);
    let base = f64::from(counter.saturating_sub(NEW));
    let chance = 1.0 / (base * f64::from(config.lfu_log_factor) + 1.0);
    let draw = (random.word() >> 11) as f64 / (1u64 << 53) as f64;
    let rises = counter < 255 && draw < chance;
    counted(now, Some(counter + u32::from(rises)))
}

impl Data<'_> {
    /// The access field of a new entry.
    #[inline]
    pub fn access(&self) -> u32 {
        if is_lfu(self.config) {
            counted(self.now, None)
        } else {
            self.now.access_clock()
        }
    }

    /// The access field of an entry that is about to be written anew: at this place, if it is there.
    #[inline]
    pub fn access_at(&mut self, place: Option<Place>) -> u32 {
        match place {
            Some(place) if is_lfu(self.config) => {
                let access = self.store.entry(self.db, place).access();
                used_again(self.config, self.random, self.now, access)
            }
            _ => self.access(),
        }
    }

    /// Notes that an entry is used.
    #[inline]
    pub fn used(&mut self, place: Place) {
        if !self.touches {
            return;
        }
        let access = self.access_at(Some(place));
        self.store.touch(self.db, place, access);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_minute(minute: u64) -> Now {
        Now {
            mono_us: minute * 60_000_000,
            unix_us: 0,
        }
    }

    #[test]
    fn the_counter_falls_with_time_and_rises_ever_more_slowly() {
        let mut config = Config::default();
        let access = counted(at_minute(65_535), Some(20));
        assert_eq!(
            frequency(config.lfu_decay_time, at_minute(65_535), access),
            20
        );
        assert_eq!(
            frequency(config.lfu_decay_time, at_minute(65_538), access),
            17
        );
        assert_eq!(
            frequency(config.lfu_decay_time, at_minute(65_535 + 100), access),
            0
        );
        config.lfu_decay_time = 0;
        assert_eq!(
            frequency(config.lfu_decay_time, at_minute(65_600), access),
            20
        );
        config.lfu_decay_time = 1;
        let mut random = Random::new([1; 32], "test");
        let mut after = |uses| {
            let mut access = counted(at_minute(1), None);
            (0..uses).for_each(|_| {
                access = used_again(&config, &mut random, at_minute(1), access);
            });
            access & 0xFF
        };
        // The documentation of lfu-log-factor 10 has 10 after 100 hits, 18 after 1,000, 142 after 100,000.
        assert!((8..=13).contains(&after(100)));
        assert!((14..=24).contains(&after(1000)));
        assert!((120..=165).contains(&after(100_000)));
    }
}
