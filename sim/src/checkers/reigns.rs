//! Who ruled when, with whose data: turns what nodes say of themselves into the tree of reigns.

use crate::history::{Fork, History, Reign};
use crate::probe::Standing;
use crate::time::Micros;
use std::collections::{BTreeMap, BTreeSet};

/// The stamp's reign of a node that is no primary now.
pub const NO_REIGN: u32 = u32::MAX;

/// Follows all nodes.
#[derive(Debug)]
pub struct Reigns {
    nodes: Vec<NodeState>,
    /// The newest reign under each replication id.
    by_replid: BTreeMap<[u8; 40], u32>,
}

#[derive(Clone, Debug, Default)]
struct NodeState {
    /// Its reign, while it is a primary.
    reign: Option<u32>,
    /// Whose data it holds, and how much of it.
    data: Option<(u32, Fork)>,
    /// All reigns whose data it ever held: its files may be of any of them.
    held: BTreeSet<u32>,
}

impl Reigns {
    /// For so many nodes, none running.
    pub fn new(nodes: usize) -> Reigns {
        Reigns {
            nodes: vec![NodeState::default(); nodes],
            by_replid: BTreeMap::new(),
        }
    }

    /// A node shows where it stands. Returns its reign, or [`NO_REIGN`].
    pub fn observe(
        &mut self,
        history: &mut History,
        node: u16,
        now: Micros,
        standing: &Standing,
    ) -> u32 {
        let state = &mut self.nodes[usize::from(node)];
        if standing.loading {
            return state.reign.unwrap_or(NO_REIGN);
        }
        if !standing.primary {
            if let Some(reign) = state.reign.take() {
                history.reigns[reign as usize].end = Some(now);
            }
            if let Some(&reign) = self.by_replid.get(&standing.replid) {
                state.data = Some((reign, Fork::Offset(standing.offset)));
                state.held.insert(reign);
            }
            return NO_REIGN;
        }
        let reign = match state.reign {
            Some(reign) => reign,
            None => {
                let reign = history.reigns.len() as u32;
                // What it followed last may have passed within one turn: the id that it had before tells.
                let followed = standing
                    .previous
                    .and_then(|(id, until)| Some((*self.by_replid.get(&id)?, Fork::Offset(until))));
                state.held.extend(followed.map(|(reign, _)| reign));
                history.reigns.push(Reign {
                    node,
                    start: now,
                    end: None,
                    parent: followed.or(state.data),
                    held: state.held.iter().copied().collect(),
                });
                state.held.insert(reign);
                state.reign = Some(reign);
                state.data = Some((reign, Fork::Nothing));
                reign
            }
        };
        self.by_replid.insert(standing.replid, reign);
        reign
    }

    /// A node's process is gone. What it finds at its return may lack what `fork` says.
    pub fn gone(&mut self, history: &mut History, node: u16, now: Micros, fork: Fork) {
        let state = &mut self.nodes[usize::from(node)];
        let ruled = state.reign.take();
        if let Some(reign) = ruled {
            history.reigns[reign as usize].end = Some(now);
        }
        if let Some((_, had)) = &mut state.data {
            *had = match *had {
                _ if ruled.is_some() || matches!(fork, Fork::Anything | Fork::Everything) => fork,
                // A replica's own files promise nothing beyond what it had; how much of that they keep is not followed.
                Fork::Offset(_) => Fork::Anything,
                // It died before it had served: what its predecessor made durable is so still.
                before => before,
            };
        }
    }

    /// The node that ruled last under a replication id.
    pub fn ruler(&self, replid: &[u8; 40], history: &History) -> Option<u16> {
        let reign = *self.by_replid.get(replid)?;
        Some(history.reigns[reign as usize].node)
    }

    /// The reign of a node, if it is a primary.
    pub fn of(&self, node: u16) -> Option<u32> {
        self.nodes[usize::from(node)].reign
    }
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
            ..Standing::default()
        }
    }

    #[test]
    fn a_promotion_forks_from_the_reign_it_followed_at_the_applied_offset() {
        let (mut reigns, mut history) = (Reigns::new(2), History::default());
        assert_eq!(
            reigns.observe(&mut history, 0, 1, &standing(true, b'a', 10)),
            0
        );
        assert_eq!(
            reigns.observe(&mut history, 1, 2, &standing(false, b'a', 7)),
            NO_REIGN
        );
        assert_eq!(
            reigns.observe(&mut history, 1, 3, &standing(true, b'b', 7)),
            1
        );
        assert_eq!(history.reigns[1].parent, Some((0, Fork::Offset(7))));
        assert_eq!(history.reigns[0].end, None);
        assert_eq!(
            reigns.observe(&mut history, 0, 4, &standing(false, b'b', 7)),
            NO_REIGN
        );
        assert_eq!(history.reigns[0].end, Some(4));
    }

    #[test]
    fn a_restart_begins_a_reign_that_continues_the_old_one() {
        let (mut reigns, mut history) = (Reigns::new(1), History::default());
        reigns.observe(&mut history, 0, 1, &standing(true, b'a', 0));
        reigns.gone(&mut history, 0, 5, Fork::Time(3));
        assert_eq!(reigns.of(0), None);
        let mut loading = standing(true, b'a', 0);
        loading.loading = true;
        assert_eq!(reigns.observe(&mut history, 0, 6, &loading), NO_REIGN);
        assert_eq!(
            reigns.observe(&mut history, 0, 7, &standing(true, b'a', 0)),
            1
        );
        assert_eq!(history.reigns[1].parent, Some((0, Fork::Time(3))));
    }

    #[test]
    fn a_copy_and_a_promotion_in_one_turn_are_told_by_the_id_before() {
        let (mut reigns, mut history) = (Reigns::new(2), History::default());
        reigns.observe(&mut history, 0, 1, &standing(true, b'a', 10));
        let promoted = Standing {
            previous: Some(([b'a'; 40], 8)),
            ..standing(true, b'b', 8)
        };
        reigns.observe(&mut history, 1, 2, &promoted);
        assert_eq!(history.reigns[1].parent, Some((0, Fork::Offset(8))));
    }

    #[test]
    fn what_a_node_followed_once_its_files_may_still_hold() {
        let (mut reigns, mut history) = (Reigns::new(3), History::default());
        reigns.observe(&mut history, 0, 1, &standing(true, b'a', 10));
        reigns.observe(&mut history, 1, 1, &standing(true, b'b', 10));
        reigns.observe(&mut history, 2, 2, &standing(false, b'a', 7));
        reigns.observe(&mut history, 2, 3, &standing(false, b'b', 7));
        reigns.gone(&mut history, 2, 4, Fork::Nothing);
        reigns.observe(&mut history, 2, 5, &standing(true, b'c', 0));
        assert_eq!(history.reigns[2].parent, Some((1, Fork::Anything)));
        assert_eq!(history.reigns[2].held, [0, 1]);
    }

    #[test]
    fn a_process_that_dies_before_it_served_takes_nothing() {
        let (mut reigns, mut history) = (Reigns::new(1), History::default());
        reigns.observe(&mut history, 0, 1, &standing(true, b'a', 0));
        reigns.gone(&mut history, 0, 5, Fork::Time(3));
        reigns.gone(&mut history, 0, 9, Fork::Time(8));
        reigns.observe(&mut history, 0, 10, &standing(true, b'a', 0));
        assert_eq!(history.reigns[1].parent, Some((0, Fork::Time(3))));
    }
}
