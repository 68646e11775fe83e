//! R1, R2, R3: one history for each replication id.
//!
//! R1: nodes that name the same id and offset hold the same data. R2: an offset names one position for all time, so it
//! never goes back under one id within a process. R3: a node changes to another id without a full copy only if its own
//! history is a prefix of that id's.

use super::Violation;
use crate::probe::{DumpedKey, Standing};
use crate::time::Micros;
use std::collections::BTreeMap;

/// Remembers what every id and offset stood for.
#[derive(Debug, Default)]
pub struct Replication {
    digests: BTreeMap<([u8; 40], u64), (u64, u16)>,
    last: BTreeMap<u16, Standing>,
    /// For each id: the id that it continues, and from which offset on it differs.
    parents: BTreeMap<[u8; 40], ([u8; 40], u64)>,
}

impl Replication {
    /// A process is gone: its successor may start from less.
    pub fn gone(&mut self, node: u16) {
        self.last.remove(&node);
    }

    /// A node shows where it stands.
    pub fn observe(&mut self, node: u16, at: Micros, standing: &Standing) -> Option<Violation> {
        if standing.loading {
            return None;
        }
        let last = self.last.insert(node, *standing)?;
        let copied = last.full_syncs != standing.full_syncs;
        if last.replid == standing.replid {
            let back = standing.offset < last.offset && !copied;
            return back.then(|| {
                let text = format!(
                    "node {node}: its offset went back from {} to {}",
                    last.offset, standing.offset
                );
                Violation::safety("R2", at, text)
            });
        }
        if copied {
            return None;
        }
        if standing.primary {
            // A promotion, or a primary that took a new id: it goes on from what it has. What it applied in the very
            // turn of its promotion was not seen before: up to where it is now, its history may be the old one.
            self.parents
                .entry(standing.replid)
                .or_insert((last.replid, standing.offset));
            return None;
        }
        let mut id = standing.replid;
        let mut bound = u64::MAX;
        for _ in 0..64 {
            if id == last.replid {
                let beyond = last.offset > bound;
                return beyond.then(|| {
                    let text = format!(
                        "node {node} at offset {} continued with a history that left its own at {bound}",
                        last.offset
                    );
                    Violation::safety("R3", at, text)
                });
            }
            let Some(&(parent, fork)) = self.parents.get(&id) else {
                break;
            };
            bound = bound.min(fork);
            id = parent;
        }
        // A node whose id was never seen ruling (a fresh replica's own) has no history to betray.
        None
    }

    /// A digest of all data of a node at this moment.
    pub fn sample(
        &mut self,
        node: u16,
        at: Micros,
        standing: &Standing,
        dump: &[DumpedKey],
    ) -> Option<Violation> {
        let settled = if standing.primary {
            standing.journalling
        } else {
            standing.link_up
        };
        if standing.loading || !settled {
            return None;
        }
        let digest = digest(dump);
        let key = (standing.replid, standing.offset);
        let &mut (known, first) = self.digests.entry(key).or_insert((digest, node));
        (known != digest).then(|| {
            let keys: Vec<_> = dump
                .iter()
                .take(40)
                .map(|key| String::from_utf8_lossy(&key.key))
                .collect();
            let text = format!(
                "nodes {first} and {node} differ at {}:{}; the second holds {} keys: {keys:?}",
                String::from_utf8_lossy(&standing.replid),
                standing.offset,
                dump.len(),
            );
            Violation::safety("R1", at, text)
        })
    }
}

/// A digest of a dump.
pub fn digest(dump: &[DumpedKey]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for key in dump {
        (key.db, &key.key, key.digest, key.expires_ms).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(primary: bool, replid: u8, offset: u64) -> Standing {
        Standing {
            loading: false,
            primary,
            replid: [replid; 40],
            offset,
            previous: None,
            link_up: true,
            journalling: true,
            full_syncs: 0,
        }
    }

    fn dump(digest: u8) -> Vec<DumpedKey> {
        vec![DumpedKey {
            db: 0,
            key: b"k".to_vec(),
            digest: [digest; 20],
            expires_ms: None,
        }]
    }

    #[test]
    fn equal_positions_with_different_data_are_found() {
        let mut checker = Replication::default();
        assert_eq!(checker.sample(0, 1, &standing(true, 1, 10), &dump(1)), None);
        assert_eq!(
            checker.sample(1, 2, &standing(false, 1, 10), &dump(1)),
            None
        );
        assert_eq!(
            checker.sample(1, 2, &standing(false, 1, 11), &dump(2)),
            None
        );
        assert!(
            checker
                .sample(2, 3, &standing(false, 1, 10), &dump(2))
                .is_some()
        );
    }

    #[test]
    fn an_offset_that_goes_back_is_found_unless_all_was_replaced() {
        let mut checker = Replication::default();
        assert_eq!(checker.observe(0, 1, &standing(false, 1, 10)), None);
        assert!(checker.observe(0, 2, &standing(false, 1, 9)).is_some());
        let copied = Standing {
            full_syncs: 1,
            ..standing(false, 1, 5)
        };
        assert_eq!(checker.observe(0, 3, &copied), None);
        checker.gone(0);
        assert_eq!(checker.observe(0, 4, &standing(false, 1, 1)), None);
    }

    #[test]
    fn continuing_a_history_that_is_not_ones_own_is_found() {
        let mut checker = Replication::default();
        // Node 1 follows id 1 up to 10 and is promoted as id 2; node 0 ruled id 1 up to `reached`, then follows.
        let mut run = |reached| {
            checker = Replication::default();
            checker.observe(0, 1, &standing(true, 1, reached));
            checker.observe(1, 1, &standing(false, 1, 10));
            checker.observe(1, 2, &standing(true, 2, 10));
            checker.observe(0, 3, &standing(false, 2, reached))
        };
        assert_eq!(run(10), None);
        assert_eq!(run(8), None);
        assert_eq!(run(11).map(|violation| violation.invariant), Some("R3"));
    }
}
