//! Seeded worlds of every kind: more than a thousand, in all. A failure prints the command that replays it.

use reprise_sim::fleet;
use reprise_sim::plan::Kind;
use std::ops::Range;

/// Seeds begin here, so that those of the nightly runs are others.
const FIRST: u64 = 1;

fn keeps_its_promises(kind: Kind, worlds: u64) {
    let seeds: Range<u64> = FIRST..FIRST + worlds;
    let report = fleet::run(kind, seeds, |_| {});
    println!("{}: {}", kind.name(), report.figures());
    assert!(report.failures.is_empty(), "\n{}", report.complain());
    assert_eq!(report.worlds, worlds);
    // A world in which nothing is answered or nothing goes wrong proves nothing.
    assert!(report.answered as u64 > worlds * 50, "{}", report.figures());
    assert!(report.faults as u64 > worlds * 2, "{}", report.figures());
}

#[test]
fn under_always_nothing_that_was_answered_is_lost() {
    keeps_its_promises(Kind::Always, 250);
}

#[test]
fn under_everysec_two_seconds_are_lost_at_most_and_only_from_the_end() {
    keeps_its_promises(Kind::EverySec, 150);
}

#[test]
fn without_sync_what_is_left_is_something_that_was() {
    keeps_its_promises(Kind::NoSync, 100);
}

#[test]
fn with_snapshots_alone_what_is_left_is_something_that_was() {
    keeps_its_promises(Kind::Snapshots, 100);
}

#[test]
fn replicas_are_copies_and_a_failover_loses_only_what_had_not_arrived() {
    keeps_its_promises(Kind::Replicated, 250);
}

#[test]
fn a_cluster_of_six_agrees_and_recovers() {
    keeps_its_promises(Kind::Cluster, 100);
}

#[test]
fn the_honest_toy_raises_no_alarm() {
    keeps_its_promises(Kind::Toy, 150);
}
