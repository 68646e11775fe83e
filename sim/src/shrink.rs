//! Makes a failing world small: fewer faults, fewer operations, then a test that needs no generator.
//!
//! Because every concern draws from a stream of its own, deleting a fault or an operation leaves most of the world as it
//! was. What is looked for is the same broken invariant, not the same text.

use crate::faults::Fault;
use crate::plan::Plan;
use crate::time::Micros;
use crate::workload::Planned;
use crate::world::{self, Options};
use std::fmt::Write;

/// Shrinks a plan that breaks `invariant`, with at most `budget` runs. Returns the smallest plan found.
pub fn shrink(plan: &Plan, invariant: &str, budget: usize) -> Plan {
    let mut search = Search {
        invariant,
        left: budget,
    };
    let mut best = plan.clone();
    // Nothing after the violation matters.
    if let Some(at) = search.breaks(&best) {
        let mut cut = best.clone();
        cut.faults.retain(|(time, _)| *time <= at);
        search.keep(&mut best, cut);
    }
    let faults = best.faults.clone();
    let kept = search.minimise(faults, |kept| Plan {
        faults: kept.to_vec(),
        ..best.clone()
    });
    best.faults = kept;
    for client in (0..best.clients.len()).rev() {
        let mut without = best.clone();
        without.clients[client].ops.clear();
        if !search.keep(&mut best, without) {
            let ops = timed(&best.clients[client].ops);
            let kept = search.minimise(ops, |kept| {
                let mut plan = best.clone();
                plan.clients[client].ops = untimed(kept);
                plan
            });
            best.clients[client].ops = untimed(&kept);
        }
    }
    best
}

/// Operations with the moments at which they are due: what is left after a deletion keeps its time.
fn timed(ops: &[Planned]) -> Vec<(u64, Planned)> {
    let mut at = 0;
    let mut timed = |op: &Planned| {
        at += u64::from(op.wait_us);
        (at, *op)
    };
    ops.iter().map(&mut timed).collect()
}

fn untimed(ops: &[(u64, Planned)]) -> Vec<Planned> {
    let mut last = 0;
    let mut untimed = |&(at, op): &(u64, Planned)| {
        let wait_us = u32::try_from(at - last).unwrap_or(u32::MAX);
        last = at;
        Planned { wait_us, ..op }
    };
    ops.iter().map(&mut untimed).collect()
}

struct Search<'a> {
    invariant: &'a str,
    left: usize,
}

impl Search<'_> {
    /// When the plan breaks the invariant, if it does.
    fn breaks(&mut self, plan: &Plan) -> Option<Micros> {
        self.left = self.left.checked_sub(1)?;
        let outcome = world::run(plan, Options::default());
        let found = outcome
            .violations
            .iter()
            .find(|violation| violation.invariant == self.invariant);
        found.map(|violation| violation.at)
    }

    fn keep(&mut self, best: &mut Plan, candidate: Plan) -> bool {
        let works = self.breaks(&candidate).is_some();
        if works {
            *best = candidate;
        }
        works
    }

    /// Zeller's ddmin: tries to do without ever smaller parts of a list.
    fn minimise<T: Clone>(&mut self, mut items: Vec<T>, build: impl Fn(&[T]) -> Plan) -> Vec<T> {
        let mut part = items.len().div_ceil(2);
        while part > 0 && !items.is_empty() && self.left > 0 {
            let mut start = 0;
            let mut removed = false;
            while start < items.len() {
                let end = (start + part).min(items.len());
                let rest = [&items[..start], &items[end..]].concat();
                if self.breaks(&build(&rest)).is_some() {
                    items = rest;
                    removed = true;
                } else {
                    start = end;
                }
            }
            if !removed {
                part = if part == 1 { 0 } else { part.div_ceil(2) };
            }
        }
        items
    }
}

/// A test that rebuilds a plan without drawing anything: seeds rot when generators change, this does not.
pub fn as_test(plan: &Plan, invariant: &str) -> String {
    let mut text = format!(
        "/// {invariant}; found as `reprise-sim --kind {} --seed {}`.\n#[test]\nfn scenario_{}_{}() {{\n    let plan = Plan {{\n",
        plan.kind.name(),
        plan.seed,
        plan.kind.name(),
        plan.seed
    );
    let mut field =
        |name: &str, value: String| writeln!(text, "        {name}: {value},").unwrap_or_default();
    field("seed", plan.seed.to_string());
    field("kind", format!("Kind::{:?}", plan.kind));
    let programs = plan.programs.iter().map(|program| match program {
        crate::node::Program::Engine(directives) => {
            let pairs: Vec<_> = directives
                .iter()
                .map(|(name, value)| format!("({name:?}, {value:?}.into())"))
                .collect();
            format!("Program::Engine(vec![{}])", pairs.join(", "))
        }
        crate::node::Program::Toy(bug) => format!(
            "Program::Toy({})",
            prefixed(&format!("{bug:?}"), "ToyBug::")
        ),
    });
    field(
        "programs",
        format!("vec![{}]", programs.collect::<Vec<_>>().join(", ")),
    );
    let files = plan.files.iter().map(|files| {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| format!("({path:?}, {text:?}.into())"))
            .collect();
        format!("vec![{}]", files.join(", "))
    });
    field(
        "files",
        format!("vec![{}]", files.collect::<Vec<_>>().join(", ")),
    );
    field("clocks", format!("vec!{:?}", plan.clocks));
    field("promise", format!("Promise::{:?}", plan.promise));
    field(
        "net",
        format!("{:?}", plan.net).replace("chop: ", "chop: Chop::"),
    );
    field("disk", format!("{:?}", plan.disk));
    let clients = plan.clients.iter().map(|client| {
        let ops = client.ops.iter().map(|op| {
            let act = format!("{:?}", op.act);
            format!(
                "Planned {{ wait_us: {}, group: {}, act: Act::{act}, value: {} }}",
                op.wait_us, op.group, op.value
            )
        });
        format!(
            "ClientPlan {{ settings: {:?}, ops: vec![{}] }}",
            client.settings,
            ops.collect::<Vec<_>>().join(", ")
        )
    });
    field(
        "clients",
        format!("vec![{}]", clients.collect::<Vec<_>>().join(", ")),
    );
    field("visited", plan.visited.to_string());
    field("rehearsed", plan.rehearsed.to_string());
    field("groups", plan.groups.to_string());
    let faults = plan
        .faults
        .iter()
        .map(|(at, fault): &(Micros, Fault)| format!("({at}, Fault::{fault:?})"));
    field(
        "faults",
        format!("vec![{}]", faults.collect::<Vec<_>>().join(", ")),
    );
    field("chaos_until", plan.chaos_until.to_string());
    field("recovery_us", plan.recovery_us.to_string());
    field("clock_slack_us", plan.clock_slack_us.to_string());
    field("planted", prefixed(&format!("{:?}", plan.planted), "Bug::"));
    text.push_str(
        "    };\n    assert_eq!(world::run(&plan, Options::default()).violations, []);\n}\n",
    );
    text
}

fn prefixed(debug: &str, prefix: &str) -> String {
    debug.replace("Some(", &format!("Some({prefix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Program;
    use crate::plan::Kind;
    use crate::scenario;
    use crate::toy::ToyBug;

    #[test]
    fn a_failure_shrinks_to_a_few_faults_and_operations_and_becomes_a_test() {
        let broken = |seed| {
            let mut plan = scenario::plan(seed, Kind::Toy);
            plan.programs = vec![Program::Toy(Some(ToyBug::AcknowledgesBeforeSync))];
            let found = world::run(&plan, Options::default()).violations;
            found.first().map(|violation| (plan, violation.invariant))
        };
        let (plan, invariant) = (0..200)
            .find_map(broken)
            .expect("the bug is found within 200 seeds");
        let small = shrink(&plan, invariant, 400);
        let ops: usize = small.clients.iter().map(|client| client.ops.len()).sum();
        assert!(
            small.faults.len() <= 3 && ops <= 20,
            "{} faults, {ops} operations",
            small.faults.len()
        );
        let again = world::run(&small, Options::default());
        assert!(
            again
                .violations
                .iter()
                .any(|violation| violation.invariant == invariant)
        );
        let test = as_test(&small, invariant);
        assert!(test.contains("ToyBug::AcknowledgesBeforeSync"), "{test}");
    }
}
