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

use super::Violation;
use crate::history::{Fork, History, Op, Outcome, Shape};
use crate::model::{Keyspace, Ripeness, Value, Window, canonical, keys_of};
use crate::resp::Reply;
use crate::time::Micros;
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

/// The states to which an operation leads from `state` if it explains what the client saw.
fn outcomes(step: &Step<'_>, state: &Keyspace) -> Vec<Keyspace> {
    let mut results = Vec::new();
    let mut doubtful: Vec<&[u8]> = Vec::new();
    let mut base = state.clone();
    let watched = match &step.op.shape {
        Shape::Guarded { key, .. } => Some(key.as_slice()),
        _ => None,
    };
    for key in step
        .op
        .cmds
        .iter()
        .flat_map(|argv| keys_of(argv))
        .chain(watched)
    {
        match state.ripe(key, step.during) {
            Ripeness::Alive => {}
            Ripeness::Gone => base.expire(key),
            Ripeness::Either if !doubtful.contains(&key) => doubtful.push(key),
            Ripeness::Either => {}
        }
    }
    for choice in 0..1u32 << doubtful.len() {
        let mut next = base.clone();
        for (index, key) in doubtful.iter().enumerate() {
            if choice >> index & 1 == 1 {
                next.expire(key);
            }
        }
        if let Shape::Guarded { key, seen } = &step.op.shape {
            let now = next.execute(&[b"GET".to_vec(), key.clone()], step.during, None);
            if now != seen.clone().map_or(Reply::Nil, Reply::Bulk) {
                continue;
            }
        }
        let replies = match &step.op.outcome {
            Outcome::Done(replies) => Some(replies),
            _ => None,
        };
        if replies.is_none() && step.op.cmds[0][0] == b"SPOP" {
            // Nobody saw which member was popped: it may have been any.
            results.extend(each_pop(&step.op.cmds[0], &next, step.during));
            continue;
        }
        let fits = step.op.cmds.iter().enumerate().all(|(index, argv)| {
            let seen = replies.and_then(|replies| replies.get(index));
            let expected = next.execute(argv, step.during, seen);
            seen.is_none_or(|seen| agree(argv, &expected, seen))
        });
        if fits && !results.contains(&next) {
            results.push(next);
        }
    }
    results
}

fn each_pop(argv: &[Vec<u8>], state: &Keyspace, during: Window) -> Vec<Keyspace> {
    let Some(Value::Set(members)) = state.value(&argv[1]) else {
        return Vec::new();
    };
    let pop = |member: &Vec<u8>| {
        let mut next = state.clone();
        next.execute(argv, during, Some(&Reply::Bulk(member.clone())));
        next
    };
    members.iter().map(pop).collect()
}

/// Whether no key of the operation may have expired or not.
fn certain(step: &Step<'_>, state: &Keyspace) -> bool {
    let mut keys = step.op.cmds.iter().flat_map(|argv| keys_of(argv));
    keys.all(|key| state.ripe(key, step.during) == Ripeness::Alive)
}

fn agree(argv: &[Vec<u8>], expected: &Reply, seen: &Reply) -> bool {
    match (expected, seen) {
        (Reply::Error(_), Reply::Error(_)) => expected.error_code() == seen.error_code(),
        _ => canonical(argv, expected) == canonical(argv, seen),
    }
}

/// Whether a command changes nothing.
pub fn reads_only(argv: &[Vec<u8>]) -> bool {
    let reads: [&[u8]; 9] = [
        b"GET",
        b"GETBIT",
        b"STRLEN",
        b"EXISTS",
        b"HGETALL",
        b"LRANGE",
        b"SMEMBERS",
        b"XRANGE",
        b"ZRANGE",
    ];
    reads.iter().any(|name| argv[0].eq_ignore_ascii_case(name))
}

fn show(state: &Keyspace) -> String {
    let text = state.iter().map(|(key, value, deadline)| {
        let value: String = format!("{}", ShowValue(value)).chars().take(120).collect();
        let key = String::from_utf8_lossy(key);
        deadline.map_or(format!("{key}={value}"), |at| {
            format!("{key}={value} until {}..{}", at.earliest, at.latest)
        })
    });
    text.collect::<Vec<_>>().join(", ")
}

struct ShowValue<'a>(&'a Value);

impl std::fmt::Display for ShowValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let items: Vec<String> = match self.0 {
            Value::Hash(hash) => hash
                .iter()
                .map(|(k, v)| format!("{}:{}", text(k), text(v)))
                .collect(),
            Value::List(list) => list.iter().map(text).collect(),
            Value::Set(set) => set.iter().map(text).collect(),
            Value::Stream(entries, last) => entries
                .iter()
                .map(|(id, value)| format!("{}-{}:{}", id.0, id.1, text(value)))
                .chain([format!("last {}-{}", last.0, last.1)])
                .collect(),
            Value::Str(string) => return write!(f, "{:?}", text(string)),
            Value::Zset(scores) => scores
                .iter()
                .map(|(k, v)| format!("{}:{v}", text(k)))
                .collect(),
        };
        write!(f, "[{}]", items.join(" "))
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
mod tests {
    use super::*;
    use crate::history::{Reign, Stamp};
    use crate::network::ConnRef;

    fn argv(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|arg| arg.as_bytes().to_vec()).collect()
    }

    fn reply(text: &str) -> Reply {
        match text {
            "nil" => Reply::Nil,
            "OK" => Reply::ok(),
            _ => text
                .strip_prefix(':')
                .map_or(Reply::bulk(text), |n| Reply::Int(n.parse().unwrap())),
        }
    }

    /// `invoke..end command → reply`, `?` for an unknown outcome; `;` between the commands of a transaction.
    fn op(reign: u32, line: &str) -> (u32, Op) {
        let (times, rest) = line.split_once(' ').unwrap();
        let (invoke, ended) = times.split_once("..").unwrap();
        let (cmds, seen) = rest.split_once(" → ").unwrap();
        let cmds: Vec<_> = cmds.split("; ").map(argv).collect();
        let outcome = match seen {
            "?" => Outcome::Unknown,
            _ => Outcome::Done(seen.split("; ").map(reply).collect()),
        };
        let shape = if cmds.len() > 1 {
            Shape::Transaction
        } else {
            Shape::Single
        };
        let op = Op {
            client: 0,
            group: 0,
            cmds,
            shape,
            invoke: invoke.parse().unwrap(),
            ended: ended.parse().ok(),
            outcome,
            node: 0,
            conn: None,
            stamp: 0,
        };
        (reign, op)
    }

    fn history(forks: &[Fork], lines: &[(u32, &str)]) -> History {
        let mut history = History::default();
        for reign in 0..=forks.len() {
            let parent = reign
                .checked_sub(1)
                .map(|index| (index as u32, forks[index]));
            let start = reign as u64 * 1000;
            let end = (reign < forks.len()).then_some(start + 999);
            history.reigns.push(Reign {
                node: 0,
                start,
                end,
                parent,
                held: Vec::new(),
            });
        }
        for &(reign, line) in lines {
            let (reign, mut op) = op(reign, line);
            let offset = op.ended.unwrap_or(0);
            // A connection lives as long as the process that it leads to.
            let conn = ConnRef::for_test(reign);
            op.conn = Some(conn);
            if let Some(end) = history.reigns[reign as usize].end {
                history.deaf.insert(conn, end);
            }
            op.stamp = history.stamp(Stamp {
                node: 0,
                reign,
                offset,
            });
            history.ops.push(op);
        }
        history
    }

    fn holds(forks: &[Fork], lines: &[(u32, &str)]) -> bool {
        let limits = Limits {
            clock_slack_us: 0,
            ..Limits::default()
        };
        let verdict = check(&history(forks, lines), limits);
        assert_eq!(verdict.undecided, 0);
        verdict.violations.is_empty()
    }

    #[test]
    fn a_register_read_must_see_the_last_write_or_a_concurrent_one() {
        assert!(holds(
            &[],
            &[(0, "1..2 SET a x → OK"), (0, "3..4 GET a → x")]
        ));
        assert!(!holds(
            &[],
            &[(0, "1..2 SET a x → OK"), (0, "3..4 GET a → nil")]
        ));
        assert!(holds(
            &[],
            &[(0, "1..5 SET a x → OK"), (0, "2..4 GET a → nil")]
        ));
        // Two readers must agree on the order.
        let split = [
            (0, "1..9 SET a x → OK"),
            (0, "1..9 SET a y → OK"),
            (0, "10..11 GET a → x"),
            (0, "12..13 GET a → y"),
        ];
        assert!(!holds(&[], &split));
    }

    #[test]
    fn an_unknown_write_happens_at_most_once_and_may_happen_late() {
        let lost = [(0, "1..2 INCR n → ?"), (0, "3..4 GET n → nil")];
        assert!(holds(&[], &lost));
        assert!(holds(&[], &[lost[0], lost[1], (0, "5..6 GET n → 1")]));
        assert!(!holds(&[], &[lost[0], (0, "5..6 GET n → 2")]));
        assert!(!holds(
            &[],
            &[lost[0], (0, "3..4 GET n → 1"), (0, "5..6 GET n → nil")]
        ));
    }

    #[test]
    fn a_transaction_is_one_operation() {
        let write = (0, "1..9 SET a 1; SET b 1 → OK; OK");
        assert!(holds(&[], &[write, (0, "2..3 GET a; GET b → nil; nil")]));
        assert!(holds(&[], &[write, (0, "2..3 GET a; GET b → 1; 1")]));
        assert!(!holds(&[], &[write, (0, "2..3 GET a; GET b → 1; nil")]));
    }

    #[test]
    fn a_guarded_transaction_needs_the_value_it_read() {
        let mut history = history(
            &[],
            &[
                (0, "1..2 SET a 1 → OK"),
                (0, "3..4 SET a 2 → OK"),
                (0, "5..6 SET a 3 → OK"),
            ],
        );
        let shape = |seen: &str| Shape::Guarded {
            key: b"a".to_vec(),
            seen: Some(seen.into()),
        };
        history.ops[2].shape = shape("2");
        assert!(check(&history, Limits::default()).violations.is_empty());
        history.ops[2].shape = shape("1");
        assert_eq!(check(&history, Limits::default()).violations.len(), 1);
    }

    #[test]
    fn what_expired_may_vanish_in_its_window_and_never_returns() {
        let set = (0, "1000..2000 SET a x PX 10 → OK");
        assert!(holds(&[], &[set, (0, "10000..10001 GET a → x")]));
        assert!(!holds(&[], &[set, (0, "10000..10001 GET a → nil")]));
        assert!(holds(
            &[],
            &[
                set,
                (0, "11500..11501 GET a → x"),
                (0, "11502..11503 GET a → nil")
            ]
        ));
        assert!(!holds(
            &[],
            &[
                set,
                (0, "11500..11501 GET a → nil"),
                (0, "11502..11503 GET a → x")
            ]
        ));
        assert!(!holds(&[], &[set, (0, "12500..12501 GET a → x")]));
    }

    #[test]
    fn under_always_a_crash_loses_nothing_that_was_answered() {
        let before = [
            (0, "1..2 SET a x → OK"),
            (0, "3..4 SET b y → OK"),
            (0, "5..6 SET c z → ?"),
        ];
        let fork = [Fork::Nothing];
        let after = |line| [before[0], before[1], before[2], (1, line)];
        assert!(holds(&fork, &after("1001..1002 GET a → x")));
        assert!(!holds(&fork, &after("1001..1002 GET b → nil")));
        assert!(holds(&fork, &after("1001..1002 GET c → nil")));
        assert!(holds(&fork, &after("1001..1002 GET c → z")));
        let flip = [
            before[2],
            (1, "1001..1002 GET c → nil"),
            (1, "1003..1004 GET c → z"),
        ];
        assert!(!holds(&fork, &flip));
    }

    #[test]
    fn under_everysec_a_crash_loses_a_suffix_of_the_last_moments_only() {
        let fork = [Fork::Time(5)];
        let before = [
            (0, "1..2 SET a x → OK"),
            (0, "3..7 SET b y → OK"),
            (0, "8..9 SET c z → OK"),
        ];
        let after = |a: &'static str, b: &'static str, c: &'static str| {
            holds(
                &fork,
                &[before[0], before[1], before[2], (1, a), (1, b), (1, c)],
            )
        };
        assert!(after(
            "1001..1002 GET a → x",
            "1003..1004 GET b → y",
            "1005..1006 GET c → z"
        ));
        assert!(after(
            "1001..1002 GET a → x",
            "1003..1004 GET b → y",
            "1005..1006 GET c → nil"
        ));
        assert!(after(
            "1001..1002 GET a → x",
            "1003..1004 GET b → nil",
            "1005..1006 GET c → nil"
        ));
        // Not a prefix.
        assert!(!after(
            "1001..1002 GET a → x",
            "1003..1004 GET b → nil",
            "1005..1006 GET c → z"
        ));
        // Too old to be lost.
        assert!(!after(
            "1001..1002 GET a → nil",
            "1003..1004 GET b → nil",
            "1005..1006 GET c → nil"
        ));
    }

    #[test]
    fn a_failover_loses_only_what_lies_beyond_the_promoted_offset() {
        // The stamps' offsets equal the times of return.
        let before = [(0, "1..2 SET a x → OK"), (0, "3..4 SET a y → OK")];
        let after =
            |offset, seen| holds(&[Fork::Offset(offset)], &[before[0], before[1], (1, seen)]);
        assert!(after(4, "1001..1002 GET a → y"));
        assert!(!after(4, "1001..1002 GET a → x"));
        assert!(after(3, "1001..1002 GET a → x"));
        assert!(!after(3, "1001..1002 GET a → nil"));
        assert!(holds(
            &[Fork::Anything],
            &[before[0], (1, "1001..1002 GET a → nil")]
        ));
    }

    #[test]
    fn files_may_hold_the_data_of_any_history_that_the_node_followed() {
        // Reign 2 is that of a node that followed reign 0, saved, then followed reign 1, crashed, and found its file.
        let mut history = history(
            &[Fork::Everything, Fork::Anything],
            &[
                (0, "1..2 SET a x → OK"),
                (1, "1001..1002 SET a y → OK"),
                (2, "2001..2002 GET a → x"),
            ],
        );
        history.reigns[1].parent = None;
        let holds = |history: &History| check(history, Limits::default()).violations.is_empty();
        assert!(!holds(&history));
        history.reigns[2].held = vec![0, 1];
        assert!(holds(&history));
    }

    #[test]
    fn a_chance_outcome_must_be_one_that_was_possible() {
        let add = (0, "1..2 SADD s p q → :2");
        assert!(holds(
            &[],
            &[add, (0, "3..4 SPOP s → q"), (0, "5..6 SPOP s → p")]
        ));
        assert!(!holds(
            &[],
            &[add, (0, "3..4 SPOP s → q"), (0, "5..6 SPOP s → q")]
        ));
        // Nobody saw which of the two went: either may still be there, not both gone twice.
        let unseen = (0, "3..4 SPOP s → ?");
        for member in ["p", "q"] {
            let left = format!("5..6 SPOP s → {member}");
            assert!(holds(
                &[],
                &[add, unseen, (0, &left), (0, "7..8 SPOP s → nil")]
            ));
        }
        assert!(!holds(&[], &[add, unseen, (0, "7..8 SPOP s → nil")]));
    }
}
