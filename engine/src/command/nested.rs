//! The time of commands that scripts call.
//!
//! A step of a turn has a time, and a script may call many commands in one. Now and then one of them has a step of its own
//! (see [`is_apart`]), and is timed as if it had come from a client: one of many, the first ones, and all of those that
//! take long. The others count as long as those took on average; in a step that took less they have their shares of it. So
//! the times of the parts never make more than that of the whole, and what a script does besides is nobody else's.

use smallvec::SmallVec;

use super::stats::{CommandStats, Stats};
use super::table::{Command, flag};

/// Commands that are told apart in one step; the time of others is the script's.
const MOST: usize = 32;

/// What a script takes besides the commands that it calls, in nanoseconds, at least: it is looked up, called and answered.
const SCRIPT_NS: f64 = 1000.0;

/// What a command is thought to take that was never timed, in nanoseconds.
const UNKNOWN_NS: f64 = 500.0;

/// Calls that are timed before it is believed that a command is short, if it need not be.
const KNOWN: u64 = 8;

/// From this mean on a command is worth a step, in microseconds: that costs about one.
const LONG_US: u64 = 64;

/// Of calls of commands that may take long, and of others, one in so many has a step of its own.
const ONE_IN: u64 = 64;
const FAST_ONE_IN: u64 = 1024;

/// Commands that scripts called since the time was last seen to move.
#[derive(Debug, Default)]
pub struct Nested {
    /// Their numbers, and how many calls.
    calls: SmallVec<[(u16, u32); 8]>,
    /// Scripts that began.
    scripts: u32,
    apart: bool,
}

/// Whether a command that a script calls is to have a step of its own.
#[inline]
pub fn is_apart(stats: &CommandStats, command: &Command) -> bool {
    let fast = command.flags & flag::FAST != 0;
    let (timed, micros) = timed(stats);
    micros > timed.saturating_mul(LONG_US)
        || (!fast && timed < KNOWN)
        || stats.calls % if fast { FAST_ONE_IN } else { ONE_IN } == ONE_IN - 1
}

/// Calls that were timed, and their microseconds.
#[inline]
fn timed(stats: &CommandStats) -> (u64, u64) {
    (
        stats.calls.saturating_sub(stats.guessed_calls),
        stats.micros.saturating_sub(stats.guessed_micros),
    )
}

impl Nested {
    /// A script begins.
    #[inline]
    pub fn begin(&mut self) {
        self.scripts = if self.calls.is_empty() {
            1
        } else {
            self.scripts.saturating_add(1)
        };
    }

    /// The next step is one call, and nothing else.
    pub fn set_apart(&mut self, stats: &mut Stats, tracking: bool) {
        self.share_out(stats, 0, tracking);
        self.apart = true;
    }

    /// A command was called.
    #[inline]
    pub fn note(&mut self, number: usize) {
        let number = number as u16;
        if let Some((_, calls)) = self.calls.iter_mut().find(|(n, _)| *n == number) {
            *calls += 1;
        } else if self.calls.len() < MOST {
            self.calls.push((number, 1));
        }
    }

    /// Whether the step is one call, and nothing else.
    #[inline]
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// Whether none was called.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The step is over, and took so long. (If the clock has not moved, the next step's time is this one's, too.)
    #[inline]
    pub fn settle(&mut self, stats: &mut Stats, micros: u64, tracking: bool) {
        if micros > 0 || self.apart {
            self.share_out(stats, micros, tracking);
        }
    }

    fn share_out(&mut self, stats: &mut Stats, micros: u64, tracking: bool) {
        let mut parts: SmallVec<[f64; 8]> = SmallVec::new();
        let mut sum = SCRIPT_NS * f64::from(self.scripts);
        for &(number, calls) in &self.calls {
            let part = expected_ns(&stats.commands[usize::from(number)]) * f64::from(calls);
            parts.push(part);
            sum += part;
        }
        let whole = micros as f64 * 1000.0;
        let scale = if whole < sum { whole / sum } else { 1.0 };
        for (&(number, calls), part) in self.calls.iter().zip(parts) {
            let stats = &mut stats.commands[usize::from(number)];
            let ns = match self.apart {
                true => micros * 1000,
                false => (part * scale) as u64,
            };
            let sum = ns + u64::from(stats.nanos);
            stats.micros += sum / 1000;
            stats.nanos = (sum % 1000) as u16;
            if !self.apart {
                stats.guessed_calls += u64::from(calls);
                stats.guessed_micros += sum / 1000;
            }
            if tracking {
                let each = ns / (1000 * u64::from(calls));
                stats.times.get_or_insert_default().add_many(each, calls);
            }
        }
        self.clear();
    }

    /// Forgets them.
    fn clear(&mut self) {
        self.calls.clear();
        self.scripts = 0;
        self.apart = false;
    }
}

/// What a call takes, as far as is known.
fn expected_ns(stats: &CommandStats) -> f64 {
    match timed(stats) {
        (0, _) | (_, 0) => UNKNOWN_NS,
        (calls, micros) => micros as f64 * 1000.0 / calls as f64,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn noted(numbers: &[usize]) -> Nested {
        let mut nested = Nested::default();
        nested.begin();
        numbers.iter().for_each(|number| nested.note(*number));
        nested
    }

    fn micros(stats: &Stats) -> Vec<u64> {
        stats.commands.iter().map(|s| s.micros).collect()
    }

    /// Means of 1 and 90 microseconds; the third is not known.
    fn known() -> Stats {
        let mut stats = Stats::new(3);
        (stats.commands[0].calls, stats.commands[0].micros) = (1000, 1000);
        (stats.commands[1].calls, stats.commands[1].micros) = (1000, 90_000);
        stats
    }

    #[test]
    fn commands_count_what_they_take_else_and_the_rest_is_the_scripts() {
        let mut stats = known();
        let mut nested = noted(&[0, 1, 1, 2, 2]);
        nested.settle(&mut stats, 5_000_000, true);
        assert_eq!(micros(&stats), [1001, 90_180, 1]);
        assert!(nested.is_empty());
        // What was guessed does not change what is known.
        nested = noted(&[0; 500]);
        nested.settle(&mut stats, 5_000_000, true);
        assert_eq!(stats.commands[0].micros, 1501);
    }

    #[test]
    fn in_a_short_step_they_have_their_shares() {
        let mut stats = known();
        // 1 and 180, and 1 of the script, of 91.
        noted(&[0, 1, 1]).settle(&mut stats, 91, true);
        assert_eq!(micros(&stats), [1000, 90_090, 0]);
        assert_eq!(stats.commands[0].nanos, 500);
    }

    #[test]
    fn what_is_less_than_the_clock_shows_adds_up() {
        let mut stats = Stats::new(1);
        let mut nested = Nested::default();
        for step in 1..=16 {
            nested.begin();
            nested.note(0);
            // (The clock is read in every fourth step.)
            nested.settle(&mut stats, if step % 4 == 0 { 8 } else { 0 }, true);
        }
        assert_eq!((stats.commands[0].micros, stats.commands[0].nanos), (8, 0));
    }

    #[test]
    fn a_step_apart_is_the_commands_alone() {
        let mut stats = known();
        let mut nested = noted(&[0]);
        nested.apart = true;
        nested.settle(&mut stats, 5000, true);
        assert_eq!(stats.commands[0].micros, 6000);
        assert!(!nested.apart);
    }
}
