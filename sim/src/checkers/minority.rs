//! C6: a primary that reaches no majority stops taking writes, within the node timeout and a second.
//!
//! The observer knows what no node knows: which machines run, and which links let anything through. Where it is in
//! doubt (a peer that is paused, a slow link) it takes the peer for reachable, and whatever happens to the node itself
//! (a pause, a slow processor, a death) begins the time anew: the promise is about time in which it ran.

use super::Violation;
use super::linear::reads_only;
use crate::history::{History, Outcome};
use crate::time::Micros;
use std::collections::{BTreeMap, BTreeSet};

/// What the world knows of one node at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Nodes that own slots, as this node sees it.
    pub owners: BTreeSet<u16>,
    /// Those of them (and itself) that run and can be reached both ways.
    pub reached: BTreeSet<u16>,
    /// It runs as a primary, neither paused nor slowed.
    pub sound: bool,
}

/// Follows who is cut off.
#[derive(Debug, Default)]
pub struct Minority {
    since: BTreeMap<u16, (Micros, Position)>,
    /// Node, from when it must refuse, until when it was cut off.
    windows: Vec<(u16, Micros, Micros)>,
}

impl Minority {
    /// Where a node is now. `limit`: how long it may go on taking writes.
    pub fn observe(&mut self, node: u16, now: Micros, limit: Micros, position: Position) {
        let have = position.reached.intersection(&position.owners).count();
        let cut_off = position.sound
            && position.owners.contains(&node)
            && have < position.owners.len() / 2 + 1;
        match self.since.get(&node) {
            // Somebody may have been reachable in between: only an unchanged position goes on.
            Some((_, known)) if cut_off && *known == position => return,
            Some(&(since, _)) => {
                self.windows.push((node, since + limit, now));
                self.since.remove(&node);
            }
            None => {}
        }
        if cut_off {
            self.since.insert(node, (now, position));
        }
    }

    /// How many times a primary was cut off for longer than it may go on.
    pub fn windows(&self) -> usize {
        let long = self.windows.iter().filter(|(_, from, until)| from < until);
        long.count()
    }

    /// Looks for writes that were acknowledged by one that was cut off for too long.
    pub fn judge(&self, history: &History) -> Option<Violation> {
        for op in &history.ops {
            let (Outcome::Done(_), Some(ended)) = (&op.outcome, op.ended) else {
                continue;
            };
            let node = history
                .stamps
                .get(op.stamp as usize)
                .map(|stamp| stamp.node);
            let inside = self.windows.iter().find(|&&(which, from, until)| {
                node == Some(which) && from < op.invoke && ended < until
            });
            if let Some(&(node, from, until)) = inside
                && !op.cmds.iter().all(|argv| reads_only(argv))
            {
                let text = format!(
                    "node {node} reached no majority and should have refused from {from} to {until}, but took {}",
                    op.describe()
                );
                return Some(Violation::safety("C6", ended, text));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Op, Shape, Stamp};
    use crate::resp::Reply;

    fn position(reached: &[u16]) -> Position {
        Position {
            owners: BTreeSet::from([0, 1, 2]),
            reached: reached.iter().copied().collect(),
            sound: true,
        }
    }

    fn found(positions: &[(Micros, Position)], invoke: Micros, ended: Micros) -> bool {
        let mut minority = Minority::default();
        for (at, position) in positions {
            minority.observe(0, *at, 100, position.clone());
        }
        let mut history = History::default();
        let stamp = history.stamp(Stamp::default());
        history.ops.push(Op {
            client: 0,
            group: 0,
            cmds: vec![vec!["SET".into(), "k".into(), "v".into()]],
            shape: Shape::Single,
            invoke,
            ended: Some(ended),
            outcome: Outcome::Done(vec![Reply::ok()]),
            node: 0,
            conn: None,
            stamp,
        });
        minority.judge(&history).is_some()
    }

    #[test]
    fn a_write_taken_long_after_the_majority_was_lost_is_found() {
        let cut = [(10, position(&[0])), (500, position(&[0, 1]))];
        assert!(found(&cut, 200, 210));
        assert!(!found(&cut, 100, 105));
        assert!(!found(&cut, 490, 510));
        assert!(!found(
            &[(10, position(&[0, 2])), (500, position(&[0]))],
            200,
            210
        ));
        // Another peer meanwhile: it may have reached a majority for a moment.
        let blink = [
            (10, position(&[0])),
            (150, position(&[])),
            (500, position(&[0, 1])),
        ];
        assert!(!found(&blink, 200, 210));
        assert!(found(&blink, 300, 310));
    }

    #[test]
    fn time_in_which_it_could_not_run_does_not_count() {
        let mut paused = position(&[0]);
        paused.sound = false;
        let cut = [
            (10, position(&[0])),
            (90, paused),
            (190, position(&[0])),
            (500, position(&[0, 1])),
        ];
        assert!(!found(&cut, 200, 210));
        assert!(found(&cut, 300, 310));
    }
}
