//! The time of commands that scripts call.
//!
//! A step of a turn has a time, and a script may call many commands in one. That time is shared out among them, in
//! proportion to what is known of each by its other calls; a part is the script's own. So the times of the parts never
//! make more than that of the whole. What would spoil the shares of others, because it takes long or is not known yet,
//! is carried out in a step of its own, and timed as if it had come from a client: see [`is_apart`].

use smallvec::SmallVec;

use super::stats::{CommandStats, Stats};
use super::table::{Command, flag};

/// Commands that are told apart in one step; the time of others is the script's.
const MOST: usize = 32;

/// What a script takes besides the commands that it calls, in nanoseconds: it is looked up, called and answered.
const SCRIPT_NS: f64 = 1000.0;

/// What a command is thought to take that was called too seldom to say, and the least that any is, in nanoseconds.
const UNKNOWN_NS: f64 = 500.0;
const LEAST_NS: f64 = 100.0;

/// Calls after which a command is known.
const KNOWN: u64 = 8;

/// From this mean on a command is worth a step, in microseconds: that costs about one.
const LONG_US: u64 = 64;

/// Commands that a script called in the step under way.
#[derive(Debug, Default)]
pub struct Nested {
    /// Their numbers, and how many calls.
    calls: SmallVec<[(u16, u32); 8]>,
    /// The step is one call, and nothing else.
    pub apart: bool,
}

/// Whether a command that a script calls is to have a step of its own.
#[inline]
pub fn is_apart(stats: &CommandStats, command: &Command) -> bool {
    command.flags & flag::FAST == 0
        && (stats.calls < KNOWN || stats.micros > stats.calls.saturating_mul(LONG_US))
}

impl Nested {
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

    /// Whether none was called.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The step is over, and took so long.
    pub fn settle(&mut self, stats: &mut Stats, micros: u64, tracking: bool) {
        let mut parts: SmallVec<[f64; 8]> = SmallVec::new();
        let mut whole = if self.apart { 0.0 } else { SCRIPT_NS };
        if micros > 0 {
            for &(number, calls) in &self.calls {
                let part = expected_ns(&stats.commands[usize::from(number)]) * f64::from(calls);
                parts.push(part);
                whole += part;
            }
        }
        let scale = micros as f64 * 1000.0 / whole;
        for (i, &(number, calls)) in self.calls.iter().enumerate() {
            let stats = &mut stats.commands[usize::from(number)];
            let ns = parts.get(i).map_or(0, |part| (part * scale) as u64);
            let sum = ns + u64::from(stats.nanos);
            stats.micros += sum / 1000;
            stats.nanos = (sum % 1000) as u16;
            if tracking {
                let each = ns / (1000 * u64::from(calls));
                stats.times.get_or_insert_default().add_many(each, calls);
            }
        }
        self.clear();
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.apart = false;
    }
}

/// What a call takes, as far as is known.
fn expected_ns(stats: &CommandStats) -> f64 {
    if stats.calls < KNOWN {
        return UNKNOWN_NS;
    }
    (stats.micros as f64 * 1000.0 / stats.calls as f64).max(LEAST_NS)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn the_parts_make_no_more_than_the_whole_and_go_by_what_is_known() {
        let mut stats = Stats::new(3);
        // Means of 1 and 9 microseconds; the third is not known.
        (stats.commands[0].calls, stats.commands[0].micros) = (1000, 1000);
        (stats.commands[1].calls, stats.commands[1].micros) = (1000, 9000);
        let mut nested = Nested::default();
        for number in [0, 1, 1, 2] {
            nested.note(number);
        }
        nested.settle(&mut stats, 2050, true);
        let micros: Vec<u64> = stats.commands.iter().map(|s| s.micros).collect();
        // 1 and 2 × 9 and 0.5 of 20.5, with the script's 1.
        assert_eq!(micros, [1000 + 100, 9000 + 1800, 50]);
        assert!(nested.is_empty());
    }

    #[test]
    fn what_is_less_than_a_microsecond_adds_up() {
        let mut stats = Stats::new(1);
        let mut nested = Nested::default();
        for _ in 0..7 {
            nested.note(0);
            nested.settle(&mut stats, 1, true);
        }
        // A third of each.
        assert_eq!(
            (stats.commands[0].micros, stats.commands[0].nanos),
            (2, 331)
        );
    }

    #[test]
    fn a_step_apart_is_the_commands_alone() {
        let mut stats = Stats::new(1);
        let mut nested = Nested {
            apart: true,
            ..Nested::default()
        };
        nested.note(0);
        nested.settle(&mut stats, 5000, true);
        assert_eq!(stats.commands[0].micros, 5000);
        assert!(!nested.apart);
    }
}
