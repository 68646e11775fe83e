//! Time: the queue of what happens next, and each node's own clocks.
//!
//! World time is microseconds since the start of the world. Nobody inside the world sees it: a node
//! reads a monotonic clock that drifts and a wall clock that is skewed, jumps and may stand still.

use reprise_engine::Now;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// Microseconds since the start of the world.
pub type Micros = u64;

/// One millisecond of world time.
pub const MS: Micros = 1_000;
/// One second of world time.
pub const SEC: Micros = 1_000_000;

/// The Unix time, in microseconds, at which every world begins.
pub const WORLD_EPOCH_US: u64 = 1_700_000_000_000_000;

/// Events ordered by time, and by order of scheduling where times are equal.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    next_seq: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    seq: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap yields its greatest element: the earliest must be the greatest.
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue {
            heap: BinaryHeap::new(),
            next_seq: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Schedules an event.
    pub fn push(&mut self, at: Micros, event: E) {
        self.heap.push(Entry {
            at,
            seq: self.next_seq,
            event,
        });
        self.next_seq += 1;
    }

    /// The earliest event, with its time.
    pub fn pop(&mut self) -> Option<(Micros, E)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

/// One node's clocks (CLK-1 to CLK-4). The monotonic one only drifts; the wall clock also jumps and freezes.
#[derive(Clone, Debug, Default)]
pub struct NodeClock {
    drift_ppm: i64,
    wall_offset_us: i64,
    frozen_wall_us: Option<u64>,
}

impl NodeClock {
    /// A clock that is off by `skew_us` and gains `drift_ppm` microseconds a second.
    pub fn new(skew_us: i64, drift_ppm: i64) -> NodeClock {
        NodeClock {
            drift_ppm,
            wall_offset_us: skew_us,
            frozen_wall_us: None,
        }
    }

    /// What the node reads at a moment of world time.
    pub fn now(&self, world: Micros) -> Now {
        let mono_us = self.mono(world);
        let wall = WORLD_EPOCH_US
            .wrapping_add(mono_us)
            .saturating_add_signed(self.wall_offset_us);
        Now {
            mono_us,
            unix_us: self.frozen_wall_us.unwrap_or(wall),
        }
    }

    /// The earliest world time at which the monotonic clock shows at least `mono_us`.
    pub fn world_at(&self, mono_us: u64) -> Micros {
        let rate = (1_000_000 + self.drift_ppm) as u128;
        let world = (u128::from(mono_us) * 1_000_000).div_ceil(rate);
        u64::try_from(world).unwrap_or(u64::MAX)
    }

    /// Moves the wall clock.
    pub fn jump(&mut self, by_us: i64) {
        self.wall_offset_us = self.wall_offset_us.saturating_add(by_us);
    }

    /// Stops the wall clock, or lets it run on from the right time.
    pub fn freeze(&mut self, world: Micros, frozen: bool) {
        self.frozen_wall_us = frozen.then(|| self.now(world).unix_us);
    }

    /// Ends a freeze. Skew stays: correcting it would be one more jump.
    pub fn heal(&mut self) {
        self.frozen_wall_us = None;
    }

    fn mono(&self, world: Micros) -> u64 {
        let rate = (1_000_000 + self.drift_ppm) as u128;
        (u128::from(world) * rate / 1_000_000) as u64
    }
}

/// When a process ran, and when it stood still: paused, or too slow to come round.
///
/// A promise about seconds (`appendfsync everysec`) is one about seconds in which the process could act.
#[derive(Clone, Debug, Default)]
pub struct Attendance {
    last: Micros,
    gaps: VecDeque<(Micros, Micros)>,
}

impl Attendance {
    /// An idle process keeps house ten times a second; one that does not is standing still.
    const LONGEST_STEP: Micros = 300 * MS;

    /// A process begins.
    pub fn begin(now: Micros) -> Attendance {
        Attendance {
            last: now,
            gaps: VecDeque::new(),
        }
    }

    /// It runs now.
    pub fn mark(&mut self, now: Micros) {
        if now > self.last + Self::LONGEST_STEP {
            self.gaps.push_back((self.last, now));
        }
        while self
            .gaps
            .front()
            .is_some_and(|&(_, until)| until + 60 * SEC < now)
        {
            self.gaps.pop_front();
        }
        self.last = now;
    }

    /// The moment since which, until `now`, it has run for `span`.
    pub fn ran_since(&self, now: Micros, span: Micros) -> Micros {
        let standing = (now > self.last + Self::LONGEST_STEP).then_some((self.last, now));
        let (mut at, mut left) = (now, span);
        for (from, until) in self.gaps.iter().copied().chain(standing).rev() {
            if from >= at {
                continue;
            }
            let ran = at.saturating_sub(until);
            if ran >= left {
                break;
            }
            (at, left) = (from, left - ran);
        }
        at.saturating_sub(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_times_keep_the_order_of_scheduling() {
        let mut queue = Queue::default();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b'), (9, 'e')] {
            queue.push(at, name);
        }
        let order: String = std::iter::from_fn(|| queue.pop().map(|(_, name)| name)).collect();
        assert_eq!(order, "abcde");
    }

    #[test]
    fn a_frozen_wall_stands_while_the_monotonic_clock_runs() {
        let mut clock = NodeClock::new(2_000, 0);
        clock.freeze(1_000, true);
        let (a, b) = (clock.now(1_000), clock.now(9_000));
        assert_eq!(a.unix_us, b.unix_us);
        assert_eq!(b.mono_us - a.mono_us, 8_000);
        clock.freeze(9_000, false);
        assert_eq!(clock.now(9_000).unix_us, WORLD_EPOCH_US + 9_000 + 2_000);
        clock.jump(-5_000_000);
        assert!(clock.now(9_000).unix_us < a.unix_us);
    }

    proptest! {
        #[test]
        fn a_deadline_is_reached_exactly_when_the_node_reads_it(drift in -500i64..=500, mono in 0u64..1 << 50) {
            let clock = NodeClock::new(0, drift);
            let world = clock.world_at(mono);
            prop_assert!(clock.now(world).mono_us >= mono);
            prop_assert!(world == 0 || clock.now(world - 1).mono_us < mono);
        }
    }

    #[test]
    fn time_in_which_a_process_stood_still_does_not_count() {
        let mut ran = Attendance::begin(0);
        for at in (0..=2_000).step_by(100) {
            ran.mark(at * MS);
        }
        assert_eq!(ran.ran_since(2 * SEC, SEC), SEC);
        assert_eq!(ran.ran_since(2 * SEC, 9 * SEC), 0);
        // It stands still from 2 s to 7 s, and is asked in the middle of that and after.
        assert_eq!(ran.ran_since(5 * SEC, SEC), SEC);
        ran.mark(7 * SEC);
        ran.mark(7 * SEC + 200 * MS);
        assert_eq!(ran.ran_since(7 * SEC + 200 * MS, SEC), SEC + 200 * MS);
        assert_eq!(
            ran.ran_since(7 * SEC + 200 * MS, 100 * MS),
            7 * SEC + 100 * MS
        );
        assert_eq!(ran.ran_since(SEC, 500 * MS), 500 * MS);
    }
}
