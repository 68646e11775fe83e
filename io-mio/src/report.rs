//! Figures about the process for INFO: memory, CPU time, the longest turn.

use crate::sys;
use reprise_engine::{MemoryReport, TurnReport};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// The allocator, for INFO.
const ALLOCATOR: &str = "mimalloc";

/// How often figures are gathered, at most.
pub const INTERVAL_US: u64 = 100_000;

/// Finds the longest turn in CPU time, with a system call now and then only.
///
/// A turn can set a record only if its wall time does, and wall time is known. For such a turn the CPU
/// clock is read; it says what was spent since the last reading, which is kept at most
/// [`TurnMeter::SLACK_US`] of turns behind: so much, at most, the record is too high.
pub struct TurnMeter {
    longest_us: u64,
    mark_us: u64,
    since_mark_us: u64,
    turns: TurnReport,
}

impl TurnMeter {
    const SLACK_US: u64 = 200;

    /// Starts to measure this thread.
    pub fn new() -> TurnMeter {
        TurnMeter {
            longest_us: 0,
            mark_us: sys::thread_cpu_us(),
            since_mark_us: 0,
            turns: TurnReport::default(),
        }
    }

    /// Requests were carried out for so long.
    pub fn requests(&mut self, wall_us: u64) {
        self.turns.requests_us += wall_us;
    }

    /// Work that comes with time was done for so long.
    pub fn tick(&mut self, wall_us: u64) {
        self.turns.ticks_us += wall_us;
    }

    /// A turn took so long by the monotonic clock.
    pub fn turn(&mut self, wall_us: u64) {
        self.turns.add(TurnReport {
            count: 1,
            total_us: wall_us,
            longest_us: wall_us,
            ..TurnReport::default()
        });
        self.since_mark_us += wall_us;
        if self.since_mark_us <= Self::SLACK_US && wall_us <= self.longest_us {
            return;
        }
        let cpu_us = sys::thread_cpu_us();
        if wall_us > self.longest_us {
            self.longest_us = self.longest_us.max(wall_us.min(cpu_us - self.mark_us));
        }
        (self.mark_us, self.since_mark_us) = (cpu_us, 0);
    }

    /// The longest turn since it was last asked for.
    fn take_longest(&mut self) -> u64 {
        std::mem::take(&mut self.longest_us)
    }
}

/// Reads the figures.
pub struct Reporter {
    statm: Option<File>,
    page_bytes: u64,
    system_bytes: u64,
}

impl Reporter {
    /// Opens what will be read again and again.
    pub fn new() -> Reporter {
        let system_kb = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        Reporter {
            statm: File::open("/proc/self/statm").ok(),
            page_bytes: sys::page_bytes(),
            system_bytes: system_kb.unwrap_or(0) * 1024,
        }
    }

    /// The figures now, and the longest of the turns since the last time.
    pub fn report(&self, turns: &mut TurnMeter) -> MemoryReport {
        let rss_bytes = self.rss_pages().unwrap_or(0) * self.page_bytes;
        let (cpu_user, cpu_sys) = sys::process_cpu();
        MemoryReport {
            rss_bytes,
            system_bytes: self.system_bytes,
            cpu_user,
            cpu_sys,
            process_id: std::process::id(),
            allocator: ALLOCATOR,
            longest_turn_cpu_us: turns.take_longest(),
            turns: std::mem::take(&mut turns.turns),
        }
    }

    fn rss_pages(&self) -> Option<u64> {
        let mut buffer = [0; 128];
        let n = self.statm.as_ref()?.read_at(&mut buffer, 0).ok()?;
        std::str::from_utf8(&buffer[..n])
            .ok()?
            .split(' ')
            .nth(1)?
            .parse()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_waits_is_not_a_long_one() {
        let mut meter = TurnMeter::new();
        // By the wall it took an hour; by the CPU clock, what this test takes.
        meter.turn(3_600_000_000);
        assert!(meter.longest_us < 60_000_000);
    }

    #[test]
    fn figures_are_there() {
        let report = Reporter::new().report(&mut TurnMeter::new());
        assert!(report.rss_bytes > 100_000 && report.system_bytes > report.rss_bytes);
    }
}
