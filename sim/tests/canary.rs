//! The simulator's own canary: a toy server with a bug must be found out, each bug within so many seeds. Needs no engine.

use reprise_sim::fleet;
use reprise_sim::node::Program;
use reprise_sim::plan::Kind;
use reprise_sim::toy::ToyBug;

#[test]
fn every_bug_of_the_toy_is_found() {
    let table = [
        (ToyBug::AcknowledgesBeforeSync, 40, "D1/D2/R6"),
        (ToyBug::DropsAnIncrement, 20, "D1"),
        (ToyBug::ForgetsSyncDir, 40, "D1/D2/R6"),
        (ToyBug::RelativeExpiry, 120, "D1/D2/R6"),
        (ToyBug::SplitsTransactions, 400, "D1/D2/R6"),
        (ToyBug::TrustsFailedSync, 240, "D1/D2/R6"),
    ];
    for (bug, seeds, invariant) in table {
        let report = fleet::run_until(Kind::Toy, 1..1 + seeds, 1, |plan| {
            plan.programs = vec![Program::Toy(Some(bug))]
        });
        let found = report
            .failures
            .first()
            .unwrap_or_else(|| panic!("{bug:?} is not found in {seeds} seeds"));
        println!(
            "{bug:?}: found by {} after {} worlds",
            found.invariant, report.worlds
        );
        assert!(
            found.invariant.starts_with(invariant),
            "{bug:?}: found as {}\n{}",
            found.invariant,
            found.text
        );
    }
}
