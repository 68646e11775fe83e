//! Seeded worlds of every kind: more than a thousand, in all. A failure prints the command that replays it.

use reprise_sim::fleet;
use reprise_sim::plan::Kind;
use std::ops::Range;

/// Seeds begin here, so that those of the nightly runs are others.
const FIRST: u64 = 1;

fn keeps_its_promises(kind: Kind, worlds: u64, marks: &[&str]) {
    let seeds: Range<u64> = FIRST..FIRST + worlds;
    let report = fleet::run(kind, seeds, |_| {});
    println!("{}: {}", kind.name(), report.figures());
    assert!(report.failures.is_empty(), "\n{}", report.complain());
    assert_eq!(report.worlds, worlds);
    // A world in which nothing is answered or nothing goes wrong proves nothing.
    assert!(report.answered as u64 > worlds * 50, "{}", report.figures());
    assert!(report.faults as u64 > worlds * 2, "{}", report.figures());
    for mark in marks {
        let hits = report.marks.describe();
        assert!(
            report.marks.of(mark) > 0,
            "{mark} was not reached, of: {hits}"
        );
    }
}

#[test]
fn under_always_nothing_that_was_answered_is_lost() {
    let marks = [
        "aof.refused-write",
        "aof.sync-failed",
        "aof.torn-tail",
        "disk.error",
        "disk.read-failed",
        "disk.rot-found",
        "rehearsal.begun",
        "rehearsal.ended",
    ];
    keeps_its_promises(Kind::Always, 250, &marks);
}

#[test]
fn under_everysec_two_seconds_are_lost_at_most_and_only_from_the_end() {
    let marks = [
        "aof.refused-write",
        "aof.sync-failed",
        "aof.torn-tail",
        "disk.error",
        "disk.read-failed",
        "disk.rot-found",
    ];
    keeps_its_promises(Kind::EverySec, 150, &marks);
}

#[test]
fn without_sync_what_is_left_is_something_that_was() {
    keeps_its_promises(Kind::NoSync, 100, &["aof.torn-tail"]);
}

#[test]
fn with_snapshots_alone_what_is_left_is_something_that_was() {
    keeps_its_promises(Kind::Snapshots, 100, &["rehearsal.ended"]);
}

#[test]
fn replicas_are_copies_and_a_failover_loses_only_what_had_not_arrived() {
    let marks = [
        "acl.expelled",
        "acl.refused",
        "acl.refused-in-exec",
        "core.served",
        "disk.wiped",
        "link.cached-primary",
        "psync.accepted",
        "psync.no-backlog",
        "psync.other-history",
        "psync.too-far",
        "pubsub.heard",
        "stream.compared",
    ];
    keeps_its_promises(Kind::Replicated, 250, &marks);
}

#[test]
fn a_cluster_of_six_agrees_and_recovers() {
    let marks = [
        "cluster.cut-off",
        "cluster.minority",
        "cluster.replica-migrates",
        "cluster.taken-over",
        "cluster.won",
        "core.served",
        "disk.wiped",
        "psync.accepted",
        "psync.too-far",
        "stream.compared",
        "vote.denied.epoch",
        "vote.denied.recent",
        "vote.denied.up",
        "vote.denied.voted",
        "vote.granted",
    ];
    keeps_its_promises(Kind::Cluster, 100, &marks);
}

#[test]
fn the_honest_toy_raises_no_alarm() {
    keeps_its_promises(Kind::Toy, 150, &[]);
}
