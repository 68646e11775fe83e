//! Many worlds at once: seeds are dealt to threads, each world lives in one.

use crate::marks::Marks;
use crate::plan::{Kind, Plan};
use crate::world::{self, Options, Outcome};
use crate::{panics, scenario};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A world that broke a promise, or did not repeat itself.
#[derive(Debug)]
pub struct Failure {
    /// Its plan.
    pub plan: Plan,
    /// What is wrong.
    pub text: String,
    /// The first broken invariant.
    pub invariant: &'static str,
}

/// What many worlds came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Worlds run.
    pub worlds: u64,
    /// Simulated microseconds.
    pub simulated_us: u64,
    /// Operations that were answered.
    pub answered: usize,
    /// Faults that struck.
    pub faults: usize,
    /// Searches that were given up, of those begun.
    pub undecided: [usize; 2],
    /// Times from the end of chaos until everything answered.
    pub recoveries: Vec<u64>,
    /// How long cores needed to serve everything while others were down.
    pub cores: Vec<u64>,
    /// Rare ways that were taken.
    pub marks: Marks,
    /// Worlds that failed, by seed.
    pub failures: Vec<Failure>,
}

/// Runs all seeds of a range, on all processors; each plan passes through `adjust` first. One seed in a hundred runs
/// twice (X1). Stops early after a few failures.
pub fn run(kind: Kind, seeds: Range<u64>, adjust: impl Fn(&mut Plan) + Sync) -> Report {
    run_until(kind, seeds, 3, adjust)
}

/// As [`run`], but stops after so many failures.
pub fn run_until(
    kind: Kind,
    seeds: Range<u64>,
    failures: usize,
    adjust: impl Fn(&mut Plan) + Sync,
) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                panics::quietly(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end
                            || report
                                .lock()
                                .is_ok_and(|report| report.failures.len() >= failures)
                        {
                            return;
                        }
                        let mut plan = scenario::plan(seed, kind);
                        adjust(&mut plan);
                        let outcome = world::run(&plan, Options::default());
                        let twice = seed % 100 == 7;
                        let differs =
                            twice && world::run(&plan, Options::default()).trace != outcome.trace;
                        if let Ok(mut report) = report.lock() {
                            report.add(plan, outcome, differs);
                        }
                    }
                });
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_default();
    report.failures.sort_by_key(|failure| failure.plan.seed);
    report
}

impl Report {
    fn add(&mut self, plan: Plan, outcome: Outcome, differs: bool) {
        self.worlds += 1;
        self.simulated_us += outcome.lasted;
        self.answered += outcome.fates[0];
        self.faults += outcome.faults;
        self.undecided[0] += outcome.decided[1];
        self.undecided[1] += outcome.decided[0];
        self.recoveries.extend(outcome.recovered_in);
        self.cores.extend(outcome.core_served_in);
        self.marks.add(&outcome.marks);
        let first = outcome.violations.first();
        if let Some(violation) = first {
            let text = format!(
                "{} at {} us: {}",
                violation.invariant, violation.at, violation.text
            );
            self.failures.push(Failure {
                plan,
                text,
                invariant: violation.invariant,
            });
        } else if differs {
            let text = "two runs of one plan differ".to_owned();
            self.failures.push(Failure {
                plan,
                text,
                invariant: "X1",
            });
        }
    }

    /// Says what failed and how to see it again.
    pub fn complain(&self) -> String {
        let line = |failure: &Failure| {
            let text: String = failure.text.chars().take(3000).collect();
            format!(
                "{}\n    {}\n{text}\n",
                failure.plan.summary(),
                failure.plan.replay()
            )
        };
        self.failures.iter().map(line).collect()
    }

    /// One line of figures.
    pub fn figures(&self) -> String {
        let at = |times: &[u64], per_cent: usize| {
            let mut times = times.to_vec();
            times.sort_unstable();
            let found = times.get(times.len() * per_cent / 100);
            found.map_or(0.0, |us| *us as f64 / 1e6)
        };
        format!(
            "{} worlds, {:.0} simulated s, {} answers, {} faults, {}/{} searches given up, recovered in {:.1} s (p50) {:.1} s (p99), {} cores served in {:.1} s (p50) {:.1} s (p99)",
            self.worlds,
            self.simulated_us as f64 / 1e6,
            self.answered,
            self.faults,
            self.undecided[0],
            self.undecided[0] + self.undecided[1],
            at(&self.recoveries, 50),
            at(&self.recoveries, 99),
            self.cores.len(),
            at(&self.cores, 50),
            at(&self.cores, 99),
        )
    }
}
