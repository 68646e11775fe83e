//! `reprise-sim`: runs seeded worlds and tells their story.
//!
//! Exit codes: 0 all promises kept, 1 wrong usage, 10 an engine panicked, 11 a safety promise broken, 12 a liveness
//! promise broken, 13 a run did not repeat itself.

use clap::Parser;
use reprise_engine::planted::Bug;
use reprise_sim::checkers::Kind as Breach;
use reprise_sim::plan::Kind;
use reprise_sim::world::{self, Options, Outcome};
use reprise_sim::{fleet, panics, scenario, shrink};
use std::process::ExitCode;

/// Runs seeded worlds of Reprise servers: network, disks, clocks, crashes, clients, checkers.
#[derive(Parser)]
struct Arguments {
    /// The first seed; a commit hash is one, too.
    #[arg(long, default_value = "1")]
    seed: String,
    /// always, everysec, nosync, snapshots, replicated, cluster or toy.
    #[arg(long, default_value = "always")]
    kind: String,
    /// How many seeds, one after the other; more than one prints figures and failures only.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Print what happened: faults, operations, phases.
    #[arg(long)]
    story: bool,
    /// Print the servers' logs and the whole plan, too.
    #[arg(long)]
    verbose: bool,
    /// Cut a failing world down and print it as a test; with at most so many runs.
    #[arg(long, num_args = 0..=1, default_missing_value = "2000")]
    shrink: Option<usize>,
    /// With --runs: do not stop after a few failures.
    #[arg(long)]
    all: bool,
    /// Plant this bug in the engines (a build with the feature `planted` only).
    #[arg(long)]
    plant: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(kind) = Kind::of_name(&arguments.kind) else {
        eprintln!(
            "no such kind: {} (there are: {})",
            arguments.kind,
            Kind::ALL.map(Kind::name).join(", ")
        );
        return ExitCode::from(1);
    };
    let seed = seed_of(&arguments.seed);
    let planted = match arguments.plant.as_deref().map(bug_of_name) {
        Some(None) => {
            eprintln!("no such bug, or a build without the feature `planted`");
            return ExitCode::from(1);
        }
        planted => planted.flatten(),
    };
    if arguments.runs > 1 {
        let seeds = seed..seed.saturating_add(arguments.runs);
        let failures = if arguments.all { usize::MAX } else { 3 };
        let report = fleet::run_until(kind, seeds, failures, |plan| plan.planted = planted);
        println!("{}: {}", kind.name(), report.figures());
        println!("    {}", report.marks.describe());
        print!("{}", report.complain());
        return ExitCode::from(if report.failures.is_empty() { 0 } else { 11 });
    }
    let mut plan = scenario::plan(seed, kind);
    plan.planted = planted;
    println!(
        "{}",
        if arguments.verbose {
            plan.describe()
        } else {
            plan.summary()
        }
    );
    let options = Options {
        story: arguments.story || arguments.verbose,
        logs: arguments.verbose,
    };
    let outcome = panics::quietly(|| world::run(&plan, options));
    outcome.story.iter().for_each(|line| println!("{line}"));
    for violation in &outcome.violations {
        println!(
            "{} at {} us: {}",
            violation.invariant, violation.at, violation.text
        );
    }
    println!(
        "{:.3} s, {} events, answered {} refused {} unknown {}, {} reigns, {} faults, trace {:016x}",
        outcome.lasted as f64 / 1e6,
        outcome.events,
        outcome.fates[0],
        outcome.fates[1],
        outcome.fates[2],
        outcome.reigns,
        outcome.faults,
        outcome.trace
    );
    if let (Some(budget), Some(violation)) = (arguments.shrink, outcome.violations.first()) {
        let small = panics::quietly(|| shrink::shrink(&plan, violation.invariant, budget));
        println!("{}", small.describe());
        println!("{}", shrink::as_test(&small, violation.invariant));
    }
    let again = panics::quietly(|| world::run(&plan, Options::default()));
    if again.trace != outcome.trace {
        println!(
            "X1: two runs of one plan differ: {:016x} and {:016x}",
            outcome.trace, again.trace
        );
        return ExitCode::from(13);
    }
    ExitCode::from(code(&outcome))
}

fn bug_of_name(name: &str) -> Option<Bug> {
    let known = Bug::ALL.into_iter().filter(|_| cfg!(feature = "planted"));
    known
        .into_iter()
        .find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name))
}

fn code(outcome: &Outcome) -> u8 {
    match outcome.violations.first().map(|violation| violation.kind) {
        None => 0,
        Some(Breach::Crash) => 10,
        Some(Breach::Safety) => 11,
        Some(Breach::Liveness) => 12,
    }
}

/// A number as it is; any other word, such as a commit's hash, by its digest.
fn seed_of(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    })
}
