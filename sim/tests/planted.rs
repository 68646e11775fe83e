//! Bugs planted in the engine, each to be found within so many worlds; and harmless changes, to raise no alarm.
//!
//! `cargo test -p reprise-sim --features planted --test planted`. The bug is one for all engines of the process, so this
//! is a single test.
#![cfg(feature = "planted")]

use reprise_engine::planted::Bug;
use reprise_sim::fleet;
use reprise_sim::plan::Kind;

#[test]
fn planted_bugs_are_found_and_harmless_changes_are_not() {
    let bugs = [
        (Bug::AcknowledgesBeforeSync, Kind::Always, 60),
        (Bug::ContinuesAnything, Kind::Replicated, 1500),
        (Bug::DeadlinesAsSpans, Kind::Always, 60),
        (Bug::ExpiresInSilence, Kind::Replicated, 60),
        (Bug::ForgetsDeletions, Kind::Always, 40),
        (Bug::ForgetsSync, Kind::Always, 40),
        (Bug::ForgetsSyncDir, Kind::Always, 60),
        (Bug::SplitsTransactions, Kind::Always, 400),
        (Bug::VotesTwice, Kind::Cluster, 800),
        (Bug::WatchesNothing, Kind::Always, 120),
    ];
    let mut missed = Vec::new();
    for (bug, kind, worlds) in bugs {
        let report = fleet::run(kind, 1..1 + worlds, |plan| plan.planted = Some(bug));
        match report.failures.first() {
            Some(found) => println!(
                "{bug:?}: found as {} after {} worlds",
                found.invariant, report.worlds
            ),
            None => missed.push((bug, kind, worlds)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
    for (change, kind) in [
        (Bug::KeepsHouseOften, Kind::Always),
        (Bug::KeepsHouseOften, Kind::Replicated),
        (Bug::LazyExpiryOnly, Kind::EverySec),
        (Bug::LazyExpiryOnly, Kind::Replicated),
    ] {
        let report = fleet::run(kind, 1..61, |plan| plan.planted = Some(change));
        assert!(
            report.failures.is_empty(),
            "{change:?} is harmless:\n{}",
            report.complain()
        );
    }
}
