//! LATENCY: what took long and when, by kind of event; and how commands' times are distributed.
//!
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::context::Server;
use super::error::CommandError;
use super::help;
use super::stats::CommandStats;
use super::table::Outcome;
use crate::face::Now;

/// Samples of one event that are kept.
const SAMPLES: usize = 160;

/// The times of one command: counts by buckets that grow by an eighth of a power of two, from a microsecond
/// up to beyond a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(Box<[u32; Histogram::BUCKETS]>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(Box::new([0; Histogram::BUCKETS]))
    }
}

impl Histogram {
    const BUCKETS: usize = 8 * 26;

    /// Counts a time.
    #[inline]
    pub fn add(&mut self, micros: u64) {
        self.add_many(micros, 1);
    }

    /// Counts a time that so many calls took each.
    #[inline]
    pub fn add_many(&mut self, micros: u64, calls: u32) {
        let bucket = if micros < 8 {
            micros as usize
        } else {
            let power = micros.ilog2();
            ((power - 2) as usize * 8 + (micros >> (power - 3)) as usize) - 8
        };
        let count = &mut self.0[bucket.min(Histogram::BUCKETS - 1)];
        *count = count.saturating_add(calls);
    }

    /// The largest time that counts in a bucket, in microseconds.
    fn limit(bucket: usize) -> u64 {
        match bucket {
            0..8 => bucket as u64,
            _ => {
                let (power, part) = (bucket / 8 + 2, bucket % 8);
                ((9 + part as u64) << (power - 3)) - 1
            }
        }
    }

    /// The time that this part (of a hundred) of all took at most, in microseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let total: u64 = self.0.iter().map(|&n| u64::from(n)).sum();
        let rank = (libm::ceil(total as f64 * percent / 100.0) as u64).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.0.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return Histogram::limit(bucket);
            }
        }
        0
    }

    /// How many took at most so many microseconds, for each power of two at which the number grows.
    fn by_powers(&self) -> Vec<(u64, u64)> {
        let mut powers: Vec<(u64, u64)> = Vec::new();
        let mut seen = 0;
        for (bucket, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += u64::from(count);
            let power = Histogram::limit(bucket).max(1).next_power_of_two();
            match powers.last_mut() {
                Some(last) if last.0 == power => last.1 = seen,
                _ => powers.push((power, seen)),
            }
        }
        powers
    }
}

/// What is known of one kind of event.
#[derive(Clone, Debug, Default)]
struct Series {
    /// (Unix second, milliseconds), the oldest first; the worst of each second.
    samples: VecDeque<(u64, u64)>,
    /// The longest ever, in milliseconds.
    max: u64,
}

/// Everything that took longer than `latency-monitor-threshold`.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    events: BTreeMap<&'static str, Series>,
}

impl Latency {
    /// Something of this kind took so many milliseconds.
    pub fn add(&mut self, now: Now, event: &'static str, ms: u64) {
        let series = self.events.entry(event).or_default();
        series.max = series.max.max(ms);
        let second = now.unix_us / 1_000_000;
        match series.samples.back_mut() {
            Some(last) if last.0 == second => last.1 = last.1.max(ms),
            _ => {
                if series.samples.len() == SAMPLES {
                    series.samples.pop_front();
                }
                series.samples.push_back((second, ms));
            }
        }
    }
}

/// `LATENCY LATEST`. <https://redis.io/commands/latency-latest/>
pub(super) fn latest(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let out = &mut s.session.out;
    out.array(s.parts.latency.events.len());
    for (name, series) in &s.parts.latency.events {
        let (second, ms) = series.samples.back().copied().unwrap_or_default();
        out.array(4);
        out.bulk(name.as_bytes());
        out.int(second as i64);
        out.int(ms as i64);
        out.int(series.max as i64);
    }
    Ok(())
}

fn series<'a>(s: &'a Server<'_>, name: &[u8]) -> Option<&'a Series> {
    let name = core::str::from_utf8(name).ok()?;
    s.parts.latency.events.get(name)
}

/// `LATENCY HISTORY event`. <https://redis.io/commands/latency-history/>
pub(super) fn history(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let samples = series(s, args[2]).map_or(VecDeque::new(), |series| series.samples.clone());
    let out = &mut s.session.out;
    out.array(samples.len());
    for (second, ms) in samples {
        out.array(2);
        out.int(second as i64);
        out.int(ms as i64);
    }
    Ok(())
}

/// `LATENCY RESET [event …]`. <https://redis.io/commands/latency-reset/>
pub(super) fn reset(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let events = &mut s.parts.latency.events;
    let before = events.len();
    match &args[2..] {
        [] => events.clear(),
        names => events.retain(|name, _| !names.contains(&name.as_bytes())),
    }
    let gone = before - events.len();
    s.session.out.int(gone as i64);
    Ok(())
}

/// `LATENCY GRAPH event`: the samples as columns, the newest to the right, and how long ago each was.
/// <https://redis.io/commands/latency-graph/>
pub(super) fn graph(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let Some(series) = series(s, args[2]) else {
        return Err(CommandError::showing(&[
            b"ERR No samples available for event '",
            args[2],
            b"'",
        ]));
    };
    let name = String::from_utf8_lossy(args[2]);
    let text = drawn(&name, series, s.now);
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

fn drawn(name: &str, series: &Series, now: Now) -> String {
    /// Rows of the graph; each has two heights, `_` and `o`, and `#` below.
    const ROWS: u64 = 4;
    let now_s = now.unix_us / 1_000_000;
    let (min, max) = series
        .samples
        .iter()
        .fold((u64::MAX, 0), |(min, max), s| (min.min(s.1), max.max(s.1)));
    let mut text = alloc::format!(
        "{name} - high {max} ms, low {min} ms (all time high {} ms)\n",
        series.max
    );
    let _ = writeln!(text, "{}", "-".repeat(80));
    let heights: Vec<u64> = (series.samples.iter())
        .map(|s| match max - min {
            0 => 0,
            span => (s.1 - min) * (ROWS * 3 - 1) / span,
        })
        .collect();
    for row in (0..ROWS).rev() {
        for &height in &heights {
            text.push(match height.checked_sub(row * 3) {
                None => ' ',
                Some(0) => '_',
                Some(1) => 'o',
                Some(2) => '#',
                Some(_) => '|',
            });
        }
        text.push('\n');
    }
    text.push('\n');
    let labels: Vec<String> = (series.samples.iter())
        .map(|&(second, _)| ago(now_s.saturating_sub(second)))
        .collect();
    let longest = labels.iter().map(String::len).max().unwrap_or(0);
    for row in 0..longest {
        for label in &labels {
            text.push(label.chars().nth(row).unwrap_or(' '));
        }
        text.push('\n');
    }
    text
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => alloc::format!("{seconds}s"),
        60..3600 => alloc::format!("{}m", seconds / 60),
        3600..86_400 => alloc::format!("{}h", seconds / 3600),
        _ => alloc::format!("{}d", seconds / 86_400),
    }
}

/// `LATENCY DOCTOR`. <https://redis.io/commands/latency-doctor/>
pub(super) fn doctor(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let events = &s.parts.latency.events;
    let threshold = s.parts.config.latency_monitor_threshold;
    let text = if threshold == 0 && events.is_empty() {
        String::from(
            "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \
             \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it. If we weren't in a deep \
             space mission I'd suggest to take a look at https://redis.io/topics/latency-monitor.\n",
        )
    } else if events.is_empty() {
        String::from(
            "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest \
             bit. I honestly think you ought to sit down calmly, take a stress pill, and think things over.\n",
        )
    } else {
        report(events)
    };
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

/// What may help, by the events that it is for.
const ADVICE: [(&[&str], &str); 4] = [
    (
        &["command"],
        "- Check your Slow Log to understand what are the commands you are running which are too slow to execute. \
         Please check https://redis.io/commands/slowlog for more information.\n",
    ),
    (
        &["fast-command", "expire-cycle", "eviction-cycle"],
        "- What is quick by itself, or is done in small steps, took long: the process probably had to wait for the \
         CPU, or for memory that was swapped out. Lower the load of this machine, or look for who else uses it; \
         'redis-cli --intrinsic-latency 100' tells how long it makes a process wait.\n",
    ),
    (
        &["aof-write", "aof-rename", "rdb-unlink-temp-file"],
        "- The disk was slow to take what was written. Local disks, and SSDs, are quicker than remote ones; others \
         that write much to the same disk are in the way. Commands go on meanwhile, but what waits for the disk grows.\n",
    ),
    (
        &["aof-fsync-always"],
        "- With 'appendfsync always' each reply to a write waits for the disk. With 'everysec' none does, and a crash \
         of the machine may cost the writes of about a second.\n",
    ),
];

fn report(events: &BTreeMap<&'static str, Series>) -> String {
    let mut text = String::from(
        "Dave, I have observed latency spikes in this Redis instance. You don't mind talking about it, do you Dave?\n\n",
    );
    for (n, (name, series)) in events.iter().enumerate() {
        let count = series.samples.len() as u64;
        let sum: u64 = series.samples.iter().map(|s| s.1).sum();
        let mean = sum.checked_div(count).unwrap_or(0);
        let deviation: u64 = series.samples.iter().map(|s| s.1.abs_diff(mean)).sum();
        let span = match (series.samples.front(), series.samples.back()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0,
        };
        let _ = writeln!(
            text,
            "{}. {name}: {count} latency spikes (average {mean}ms, mean deviation {}ms, period {:.2} sec). Worst all \
             time event {}ms.",
            n + 1,
            deviation.checked_div(count).unwrap_or(0),
            span as f64 / count.max(1) as f64,
            series.max
        );
    }
    text.push_str("\nI have a few advices for you:\n\n");
    for (about, advice) in ADVICE {
        if about.iter().any(|event| events.contains_key(event)) {
            text.push_str(advice);
        }
    }
    text
}

/// `LATENCY HISTOGRAM [command …]`. <https://redis.io/commands/latency-histogram/>
pub(super) fn histogram(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let all = s.parts.index.all();
    let chosen: Vec<(&str, &CommandStats)> = all
        .iter()
        .zip(&s.parts.stats.commands)
        .filter(|(command, stats)| {
            let container = command.name.split('|').next().unwrap_or(command.name);
            stats.times.is_some()
                && (args.len() == 2
                    || args[2..].iter().any(|name| {
                        name.eq_ignore_ascii_case(command.name.as_bytes())
                            || name.eq_ignore_ascii_case(container.as_bytes())
                    }))
        })
        .map(|(command, stats)| (command.name, stats))
        .collect();
    let out = &mut s.session.out;
    out.map(chosen.len());
    for (name, stats) in chosen {
        out.bulk(name.as_bytes());
        let powers = stats
            .times
            .as_ref()
            .map_or(Vec::new(), Histogram::by_powers);
        out.map(2);
        out.bulk(b"calls");
        out.int(powers.last().map_or(0, |last| last.1) as i64);
        out.bulk(b"histogram_usec");
        out.map(powers.len());
        for (micros, count) in powers {
            out.int(micros as i64);
            out.int(count as i64);
        }
    }
    Ok(())
}

/// `LATENCY HELP`. <https://redis.io/commands/latency-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "LATENCY", help::LATENCY);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_to_an_eighth() {
        for micros in [
            0,
            1,
            7,
            8,
            9,
            15,
            16,
            17,
            100,
            1000,
            65_535,
            65_536,
            1 << 25,
        ] {
            let mut histogram = Histogram::default();
            histogram.add(micros);
            let at = histogram.percentile(50.0);
            assert!(at >= micros && at <= micros + micros / 8, "{micros}: {at}");
        }
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|n| histogram.add(n));
        histogram.add(u64::MAX);
        assert!((500..=511).contains(&histogram.percentile(50.0)));
        assert_eq!(histogram.by_powers()[..4], [(1, 1), (2, 2), (4, 4), (8, 8)]);
    }

    #[test]
    fn a_second_keeps_its_worst_and_a_series_its_latest() {
        let mut latency = Latency::default();
        let at = |s: u64| Now {
            mono_us: 0,
            unix_us: s * 1_000_000,
        };
        latency.add(at(1), "command", 5);
        latency.add(at(1), "command", 9);
        latency.add(at(1), "command", 7);
        (2..=SAMPLES as u64 + 1).for_each(|s| latency.add(at(s), "command", 1));
        let series = &latency.events["command"];
        assert_eq!((series.max, series.samples.len()), (9, SAMPLES));
        assert_eq!(series.samples.front(), Some(&(2, 1)));
    }
}
