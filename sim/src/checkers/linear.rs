//! D1, D2, D5, D6, R6: is there an order of the operations that explains what the clients saw?
//!
//! For each group of keys and each reign, a search in the manner of Wing & Gong with Lowe's memo looks for an order
//! that respects real time and the sequential [model](crate::model). Transactions are single operations on the
//! group (D6). Operations of unknown outcome may take effect once, late, or never. A key's deadline is a window;
//! once seen gone it stays gone (D5).
//!
//! Where a reign continues another's data, it starts from any state that the parent passed through after which
//! every operation may be missing: none under `always` (D2), those of the last moments under `everysec`, those
//! beyond the promoted replica's offset at a failover (R6).

mod effect;

pub use effect::reads_only;

use super::Violation;
use crate::history::{Fork, History, Op, Outcome, Shape};
use crate::model::{Keyspace, Window};
use crate::time::Micros;
use effect::{certain, outcomes, show};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// How the search is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Configurations to look at for one group in one reign.
    pub configurations: usize,
    /// How far the clocks that decide about expiry may be off, in microseconds.
    pub clock_slack_us: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            configurations: 30_000,
            clock_slack_us: 20_000,
        }
    }
}

/// What the search found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Groups without an explanation.
    pub violations: Vec<Violation>,
    /// Group-reigns whose search was given up: no verdict.
    pub undecided: usize,
    /// Group-reigns that were searched to the end.
    pub decided: usize,
}

/// Checks a whole history.
pub fn check(history: &History, limits: Limits) -> Verdict {
    let mut verdict = Verdict::default();
    let mut groups: BTreeMap<u16, BTreeMap<usize, Vec<&Op>>> = BTreeMap::new();
    for op in &history.ops {
        let reigns = groups.entry(op.group).or_default();
        let matters = match op.outcome {
            Outcome::Refused(_) => false,
            _ if history.answered_in(op).is_some() => true,
            _ => !op.cmds.iter().all(|argv| reads_only(argv)),
        };
        if matters {
            for reign in history.reigns_of(op) {
                reigns.entry(reign).or_default().push(op);
            }
        }
    }
    for (group, reigns) in groups {
        check_group(history, limits, group, &reigns, &mut verdict);
    }
    verdict
}

fn check_group(
    history: &History,
    limits: Limits,
    group: u16,
    reigns: &BTreeMap<usize, Vec<&Op>>,
    verdict: &mut Verdict,
) {
    // For each reign, the states it may have begun with; none if its ancestry is undecided.
    let mut starts: BTreeMap<usize, BTreeSet<Keyspace>> = BTreeMap::new();
    // All states that a reign and its ancestors passed through: where nothing is promised, a crash may go back to any,
    // for what one process found in the system's memory may be lost to the next.
    let mut passed: BTreeMap<usize, BTreeSet<Keyspace>> = BTreeMap::new();
    let anything = history
        .reigns
        .iter()
        .any(|reign| matches!(reign.parent, Some((_, Fork::Anything))));
    for (index, reign) in history.reigns.iter().enumerate() {
        let initial = match reign.parent {
            None => Some(BTreeSet::from([Keyspace::default()])),
            Some((parent, Fork::Anything)) => any_of(&passed, parent, &reign.held),
            Some(_) => starts.remove(&index),
        };
        // Too many beginnings make every ending possible, and take long to say so.
        let Some(initial) = initial.filter(|states| states.len() <= 200) else {
            continue;
        };
        let children: Vec<(usize, Fork)> = (index + 1..history.reigns.len())
            .filter_map(|child| match history.reigns[child].parent {
                Some((parent, fork)) if parent as usize == index => Some((child, fork)),
                _ => None,
            })
            .collect();
        let ops = reigns.get(&index).map_or(&[][..], Vec::as_slice);
        let mut forks: Vec<Fork> = children.iter().map(|&(_, fork)| fork).collect();
        if anything {
            forks.push(Fork::Anything);
        }
        let mut search = Search::new(history, limits, ops, &forks);
        let explained = initial
            .iter()
            .filter(|state| search.explain((*state).clone()))
            .count();
        if search.exhausted {
            verdict.undecided += 1;
            continue; // The children stay without a start: no verdict on them.
        }
        verdict.decided += 1;
        if explained == 0 {
            verdict
                .violations
                .push(search.violation(group, index, &initial));
            continue;
        }
        let mut all = history.reigns[index]
            .parent
            .and_then(|(parent, _)| passed.get(&(parent as usize)).cloned())
            .unwrap_or_else(|| BTreeSet::from([Keyspace::default()]));
        if anything && let Some(states) = search.fork_states.pop() {
            all.extend(states);
        }
        for ((child, fork), states) in children.into_iter().zip(search.fork_states) {
            let states = match fork {
                Fork::Everything => BTreeSet::from([Keyspace::default()]),
                _ => states,
            };
            starts.insert(child, states);
        }
        passed.insert(index, all);
    }
}

/// The states that these reigns passed through; nothing if one of them was not decided.
fn any_of(
    passed: &BTreeMap<usize, BTreeSet<Keyspace>>,
    parent: u32,
    held: &[u32],
) -> Option<BTreeSet<Keyspace>> {
    let mut all = passed.get(&(parent as usize))?.clone();
    for reign in held {
        all.extend(passed.get(&(*reign as usize))?.iter().cloned());
    }
    Some(all)
}

type Bits = [u64; 8];
const MAX_OPS: usize = 512;

struct Step<'a> {
    op: &'a Op,
    during: Window,
    /// The latest moment by which it must have been executed.
    due: Micros,
    /// Answered: it must be explained.
    must: bool,
    reads: bool,
    /// By fork, whether the child may lack it.
    losable: Vec<bool>,
}

struct Search<'a> {
    steps: Vec<Step<'a>>,
    forks: usize,
    memo: HashMap<(Bits, u64), bool, BuildHasherDefault<DefaultHasher>>,
    budget: usize,
    exhausted: bool,
    fork_states: Vec<BTreeSet<Keyspace>>,
    /// The most answered operations that any order explained, and those it could not go on with.
    best: (usize, Vec<usize>),
}

impl<'a> Search<'a> {
    fn new(history: &History, limits: Limits, ops: &[&'a Op], forks: &[Fork]) -> Search<'a> {
        let mut steps: Vec<Step<'a>> = ops
            .iter()
            .map(|op| {
                let must = history.answered_in(op).is_some();
                let due = history.due(op);
                let stamp = history
                    .stamps
                    .get(op.stamp as usize)
                    .copied()
                    .unwrap_or_default();
                let during = Window {
                    earliest: op.invoke,
                    latest: due,
                }
                .widened(limits.clock_slack_us);
                let losable = forks
                    .iter()
                    .map(|fork| !must || fork.may_lose(op.ended.unwrap_or(due), stamp))
                    .collect();
                let reads = op.cmds.iter().all(|argv| reads_only(argv));
                Step {
                    op,
                    during,
                    due,
                    must,
                    reads,
                    losable,
                }
            })
            .collect();
        steps.sort_by_key(|step| step.op.invoke);
        let exhausted = steps.len() > MAX_OPS;
        Search {
            steps,
            forks: forks.len(),
            memo: HashMap::default(),
            budget: limits.configurations,
            exhausted,
            fork_states: vec![BTreeSet::new(); forks.len()],
            best: (0, Vec::new()),
        }
    }

    fn explain(&mut self, state: Keyspace) -> bool {
        !self.exhausted && self.search([0; 8], state)
    }

    /// Whether the rest can be explained from here. Where forks are wanted, looks at every way.
    fn search(&mut self, mut done: Bits, mut state: Keyspace) -> bool {
        self.take_reads(&mut done, &mut state);
        let key = (done, fingerprint(&state));
        if let Some(&known) = self.memo.get(&key) {
            return known;
        }
        if self.budget == 0 {
            self.exhausted = true;
            return false;
        }
        self.budget -= 1;
        let horizon = self.horizon(&done);
        let floor = self.floor(&done);
        let mut explained = self.finished(&done);
        for answered_first in [true, false] {
            for index in 0..self.steps.len() {
                if explained && self.forks == 0 {
                    break;
                }
                let step = &self.steps[index];
                if step.op.invoke > horizon {
                    break;
                }
                // What could not be executed any more when another was called cannot follow it.
                if has(&done, index) || step.must != answered_first || step.due < floor {
                    continue;
                }
                let mut with = done;
                set(&mut with, index);
                let must = step.must;
                for next in outcomes(step, &state) {
                    // An operation of unknown fate that would change nothing need not be placed.
                    if must || next != state {
                        explained |= self.search(with, next);
                    }
                    if self.exhausted {
                        return false;
                    }
                }
            }
        }
        if explained {
            for fork in 0..self.forks {
                let open =
                    |(index, step): (usize, &Step<'_>)| !has(&done, index) && !step.losable[fork];
                if !self.steps.iter().enumerate().any(open) {
                    self.fork_states[fork].insert(state.clone());
                }
            }
        } else {
            self.note_progress(&done, horizon);
        }
        self.memo.insert(key, explained);
        explained
    }

    /// Places every read that the state answers rightly: placing it now never hinders another order.
    fn take_reads(&self, done: &mut Bits, state: &mut Keyspace) {
        loop {
            let horizon = self.horizon(done);
            let fits = self.steps.iter().enumerate().position(|(index, step)| {
                step.must
                    && step.reads
                    && step.op.invoke <= horizon
                    && !has(done, index)
                    && certain(step, state)
                    && outcomes(step, state).iter().any(|next| next == state)
            });
            match fits {
                Some(index) => set(done, index),
                None => return,
            }
        }
    }

    /// The earliest return of an answered operation not yet placed: what was invoked later must come later.
    fn horizon(&self, done: &Bits) -> Micros {
        let open = self
            .steps
            .iter()
            .enumerate()
            .filter(|&(index, step)| step.must && !has(done, index));
        open.map(|(_, step)| step.due).min().unwrap_or(Micros::MAX)
    }

    /// The latest call of an answered write already placed. (Reads are placed ahead of their turn.)
    fn floor(&self, done: &Bits) -> Micros {
        let placed = self
            .steps
            .iter()
            .enumerate()
            .rev()
            .find(|&(index, step)| step.must && !step.reads && has(done, index));
        placed.map_or(0, |(_, step)| step.op.invoke)
    }

    fn finished(&self, done: &Bits) -> bool {
        self.steps
            .iter()
            .enumerate()
            .all(|(index, step)| !step.must || has(done, index))
    }

    fn note_progress(&mut self, done: &Bits, horizon: Micros) {
        let placed =
            (0..self.steps.len()).filter(|&index| self.steps[index].must && has(done, index));
        let placed = placed.count();
        if placed >= self.best.0 {
            let stuck = self.steps.iter().enumerate();
            let stuck = stuck.filter(|&(index, step)| {
                step.must && !has(done, index) && step.op.invoke <= horizon
            });
            self.best = (placed, stuck.map(|(index, _)| index).collect());
        }
    }

    fn violation(&self, group: u16, reign: usize, initial: &BTreeSet<Keyspace>) -> Violation {
        let first = self.best.1.first().map_or(0, |&index| index);
        let at = self
            .best
            .1
            .iter()
            .filter_map(|&index| self.steps[index].op.ended)
            .min()
            .unwrap_or(0);
        let mut text = format!(
            "group {group}, reign {reign}: no order explains the replies; {} of {} answered operations fit. \
             It began in {} possible state(s).\n",
            self.best.0,
            self.steps.iter().filter(|step| step.must).count(),
            initial.len(),
        );
        for state in initial.iter().take(3) {
            text.push_str(&format!("  a beginning: {}\n", show(state)));
        }
        let from = first.saturating_sub(30);
        for (index, step) in self.steps.iter().enumerate().skip(from).take(60) {
            let mark = if self.best.1.contains(&index) {
                "✗"
            } else {
                " "
            };
            text.push_str(&format!("  {mark} {}\n", step.op.describe()));
        }
        let invariant = match initial.len() {
            _ if self.steps.iter().any(|step| step.op.shape != Shape::Single) => "D1/D6",
            _ => "D1",
        };
        let invariant = if reign == 0 { invariant } else { "D1/D2/R6" };
        Violation::safety(invariant, at, text)
    }
}

fn fingerprint(state: &Keyspace) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn has(bits: &Bits, index: usize) -> bool {
    bits[index / 64] >> (index % 64) & 1 == 1
}

fn set(bits: &mut Bits, index: usize) {
    bits[index / 64] |= 1 << (index % 64);
}

#[cfg(test)]
mod tests;
