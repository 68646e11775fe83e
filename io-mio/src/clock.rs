//! Reading the clocks, as seldom as is honest.
//!
//! The engine times commands by the difference of the times that two steps are given. In the first
//! steps of a turn each gets a fresh time: turns of unpipelined requests are short, and are timed
//! exactly. After those, one step in eight does, unless the coarse clock (which costs a quarter) has
//! moved meanwhile: so a slow command is always told from its quick neighbours.

use crate::sys;
use reprise_engine::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Steps of a turn that are timed one by one.
const EXACT_STEPS: u32 = 16;
/// Of the steps after those, one in this many is.
const STRIDE: u32 = 8;

/// The process's clocks.
pub struct Clock {
    origin: Instant,
    /// Unix time at `origin`, in microseconds, as last read.
    unix_at_origin: u64,
    last: Now,
    coarse: u64,
    steps: u32,
    /// When the turn under way began.
    turn_us: u64,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub fn new() -> Clock {
        let mut clock = Clock {
            origin: Instant::now(),
            unix_at_origin: 0,
            last: Now::default(),
            coarse: 0,
            steps: 0,
            turn_us: 0,
        };
        clock.now();
        clock
    }

    /// Reads both clocks.
    pub fn now(&mut self) -> Now {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let mono_us = self.origin.elapsed().as_micros() as u64;
        let unix_us = unix.as_micros() as u64;
        self.unix_at_origin = unix_us.saturating_sub(mono_us);
        self.last = Now { mono_us, unix_us };
        self.last
    }

    /// Reads the monotonic clock only.
    pub fn mono_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    /// The time now, Unix time as of the last [`Clock::now`]: within a turn it runs with the other clock.
    pub fn fresh(&mut self) -> Now {
        let mono_us = self.mono_us();
        self.last = Now {
            mono_us,
            unix_us: self.unix_at_origin + mono_us,
        };
        self.last
    }

    /// To be called before the first [`Clock::step`] of a turn.
    pub fn turn(&mut self) {
        self.steps = 0;
        self.coarse = sys::coarse_ns();
    }

    /// The time for one step of a turn.
    pub fn step(&mut self) -> Now {
        self.steps = self.steps.wrapping_add(1);
        let due = self.steps <= EXACT_STEPS || self.steps.is_multiple_of(STRIDE) || {
            let coarse = sys::coarse_ns();
            let moved = coarse != self.coarse;
            self.coarse = coarse;
            moved
        };
        if due {
            let mono_us = self.mono_us();
            self.last = Now {
                mono_us,
                unix_us: self.unix_at_origin + mono_us,
            };
            if self.steps == 1 {
                self.turn_us = mono_us;
            }
        }
        self.last
    }

    /// The time of the first step of the last turn, in microseconds.
    pub fn turn_us(&self) -> u64 {
        self.turn_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_within_a_turn() {
        let mut clock = Clock::new();
        let mut last = clock.now();
        clock.turn();
        for _ in 0..1000 {
            let now = clock.step();
            assert!(now >= last);
            last = now;
        }
    }
}
