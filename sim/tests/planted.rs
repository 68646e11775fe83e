//! Bugs planted in the engine, each to be found within so many worlds; and harmless changes, to raise no alarm.
//!
//! `cargo test -p reprise-sim --features planted --test planted`. The bug is one for all engines of the process, so this
//! is a single test. The numbers of worlds are at least three times what is needed as this is written (see the output),
//! since what a seed does changes with the engine; `reprise-sim --plant BUG --runs N --all` says how many worlds find one.
#![cfg(feature = "planted")]

use reprise_engine::planted::Bug;
use reprise_sim::faults::Fault;
use reprise_sim::fleet;
use reprise_sim::node::Program;
use reprise_sim::plan::{Kind, Plan};
use reprise_sim::time::MS;
use reprise_sim::workload::Act;

/// A process is killed while its log is being written; its successor reads the log, serves it to those who ask,
/// and then power fails. Syncs are slow and only one client writes: what a write syncs, it syncs for all before it.
fn killed_then_without_power(plan: &mut Plan) {
    plan.disk.sync_us = 100 * MS;
    let readers = plan.clients.len() - 1;
    for client in &mut plan.clients[..readers] {
        client.ops.iter_mut().for_each(|op| op.act = Act::Audit);
    }
    let rounds = (1100..plan.chaos_until / MS).step_by(400);
    let pair = |at: u64| {
        let (node, after) = (0, (at % 7) as u32);
        let crash = |power, for_us| Fault::Crash {
            node,
            power,
            after,
            for_us,
        };
        [
            (at * MS, crash(false, 10 * MS)),
            ((at + 90 + at % 120) * MS, crash(true, 10 * MS)),
        ]
    };
    plan.faults = rounds.flat_map(pair).collect();
}

fn as_drawn(_: &mut Plan) {}

/// Somebody debugs scripts, and snapshots are made all the time, slowly.
fn rehearsed(plan: &mut Plan) {
    plan.rehearsed = true;
    for program in &mut plan.programs {
        if let Program::Engine(directives) = program {
            directives.push(("rdb-key-save-delay", "5000".into()));
        }
    }
    let rounds = (1000..plan.chaos_until / MS).step_by(400);
    let line = "BGREWRITEAOF";
    plan.faults = rounds
        .map(|at| (at * MS, Fault::Command { node: 0, line }))
        .collect();
}

type Case = (Bug, Kind, u64, fn(&mut Plan));

#[test]
fn planted_bugs_are_found_and_harmless_changes_are_not() {
    let bugs: [Case; 16] = [
        (Bug::AcknowledgesBeforeSync, Kind::Always, 60, as_drawn),
        (Bug::ChecksQueuedOnly, Kind::Always, 20, as_drawn),
        (Bug::ContinuesAnything, Kind::Replicated, 200, as_drawn),
        (Bug::DeadlinesAsSpans, Kind::Always, 150, as_drawn),
        (Bug::ExpiresInSilence, Kind::Replicated, 100, as_drawn),
        (Bug::ForgetsClusterSync, Kind::Cluster, 200, as_drawn),
        (Bug::ForgetsDeletions, Kind::Always, 40, as_drawn),
        (Bug::ForgetsSync, Kind::Always, 60, as_drawn),
        (Bug::ForgetsSyncDir, Kind::Always, 100, as_drawn),
        (Bug::KeepsListeners, Kind::Always, 20, as_drawn),
        (Bug::KeepsRehearsals, Kind::Always, 30, rehearsed),
        (Bug::ScriptsInSilence, Kind::Cluster, 60, as_drawn),
        (Bug::SplitsTransactions, Kind::Always, 400, as_drawn),
        (
            Bug::TrustsLoadedTail,
            Kind::Always,
            400,
            killed_then_without_power,
        ),
        (Bug::VotesTwice, Kind::Cluster, 200, as_drawn),
        (Bug::WatchesNothing, Kind::Always, 120, as_drawn),
    ];
    // The stories of those with a story of their own are no trouble without the bug.
    for tell in [killed_then_without_power, rehearsed] {
        let report = fleet::run(Kind::Always, 1..31, tell);
        assert!(report.failures.is_empty(), "\n{}", report.complain());
    }
    let mut missed = Vec::new();
    for (bug, kind, worlds, tell) in bugs {
        let report = fleet::run_until(kind, 1..1 + worlds, 1, |plan| {
            tell(plan);
            plan.planted = Some(bug);
        });
        match report.failures.first() {
            Some(found) => println!(
                "{bug:?}: found as {} after {} of {worlds} worlds",
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
