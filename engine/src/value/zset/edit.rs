//! Changes to a [`Tree`].

use super::leaf::order;
use super::tree::{FANOUT, Hash, Kid, NONE, Node, Place, Slot, Tree};
use crate::value::own::own;
use crate::value::zset::leaf::Leaf;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// A node with fewer kids joins a neighbour, if both together have not too many.
const SMALL_NODE: usize = FANOUT / 4;
const JOINED_NODE: usize = FANOUT * 3 / 4;

/// Places to allocate for this many kids.
fn room(kids: usize) -> usize {
    kids.next_multiple_of(4)
}

/// What a look-up and a decision came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Updated {
    /// The member is new.
    Added,
    /// It has another score.
    Changed,
    /// It had this score already.
    Same,
    /// It was decided to leave things as they are.
    Left,
}

impl Tree {
    /// Looks a member up, and has `decide` say, from the score that it has, which it shall have; `None`
    /// leaves everything as it is.
    #[inline]
    pub(super) fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Updated {
        let hash = self.hash(member);
        let Some(place) = self.find(hash, member) else {
            return match decide(None) {
                Some(score) => {
                    self.add(hash, member, score);
                    Updated::Added
                }
                None => Updated::Left,
            };
        };
        let old = self.leaf(place.leaf).score(place.at);
        match decide(Some(old)) {
            Some(score) if score != old => {
                self.rescore(place, hash, member, score);
                Updated::Changed
            }
            Some(_) => Updated::Same,
            None => Updated::Left,
        }
    }

    /// Adds a member that is not there.
    pub(super) fn add(&mut self, hash: Hash, member: &[u8], score: f64) {
        let leaf = self.put(hash, member, score);
        self.index.insert(hash.0, leaf);
    }

    /// Adds a member that is not there to a leaf, but not to the index. Returns the leaf's number.
    fn put(&mut self, hash: Hash, member: &[u8], score: f64) -> u32 {
        if self.root == NONE {
            self.root = self.new_node(Node::default());
            let root = self.root;
            let first = self.new_leaf(root);
            self.node_edit(root, |node| {
                node.kids.reserve_exact(room(1));
                node.kids.push(Kid {
                    bound: score,
                    count: 0,
                    number: first,
                });
            });
        }
        let mut number = self.leaf_for(score, member);
        let mut at = self.leaf(number).place_of(score, member);
        while !self.leaf(number).has_room(member.len()) {
            (number, at) = self.make_room(number, at, score);
        }
        self.leaf_edit(number, |leaf| leaf.insert(at, hash.tag(), score, member));
        self.count(number, 1);
        self.len += 1;
        number
    }

    /// Gives the member at a place another score.
    fn rescore(&mut self, place: Place, hash: Hash, member: &[u8], score: f64) {
        let leaf = self.leaf(place.leaf);
        let count = leaf.count();
        // Between the first and the last of its leaf it stays in the leaf.
        let inside = count > 1
            && order(leaf.pair(0), (score, member)).is_lt()
            && order((score, member), leaf.pair(count - 1)).is_lt();
        if inside {
            let to = leaf.place_of(score, member);
            let to = if to > place.at { to - 1 } else { to };
            return self.leaf_edit(place.leaf, |leaf| leaf.move_to(place.at, to, score));
        }
        // Its entry in the index waits until it is known where it goes. (Should the leaf go meanwhile, and its
        // number come back, the entry is still this member's.)
        self.cut(place, 1);
        let new = self.put(hash, member, score);
        if new != place.leaf {
            self.index.replace(hash.0, place.leaf, new);
        }
    }

    /// Removes a member; returns the score that it had.
    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = self.hash(member);
        let place = self.find(hash, member)?;
        let score = self.leaf(place.leaf).score(place.at);
        self.remove_at(place, hash);
        Some(score)
    }

    fn remove_at(&mut self, place: Place, hash: Hash) {
        self.index.remove(hash.0, place.leaf);
        self.cut(place, 1);
    }

    /// Removes the `count` members from the one of this rank on.
    pub(super) fn remove_range(&mut self, rank: usize, count: usize) {
        let mut left = count.min(self.len.saturating_sub(rank));
        if left == self.len {
            // All: the parts are let go of as a whole by whoever drops the empty set.
            *self = Tree::new(self.key());
            return;
        }
        while left > 0 {
            let Some(place) = self.select(rank) else {
                return;
            };
            let leaf = self.leaf(place.leaf);
            let n = left.min(leaf.count() - place.at);
            let hashes: smallvec::SmallVec<[u32; 64]> = (place.at..place.at + n)
                .map(|at| self.hash(leaf.member(at)).0)
                .collect();
            hashes.iter().for_each(|hash| self.index.prefetch(*hash));
            for hash in hashes {
                self.index.remove(hash, place.leaf);
            }
            self.cut(place, n);
            left -= n;
        }
    }

    /// Takes `n` members out of a leaf, which the index has forgotten, and tidies up.
    fn cut(&mut self, place: Place, n: usize) {
        self.leaf_edit(place.leaf, |leaf| leaf.remove(place.at, n));
        self.count(place.leaf, -(n as i64));
        self.len -= n;
        if self.leaf(place.leaf).count() == 0 {
            self.drop_leaf(place.leaf);
        } else if self.leaf(place.leaf).is_small() {
            self.join_leaf(place.leaf);
        }
    }

    /// Changes a leaf, and accounts its memory.
    #[inline]
    fn leaf_edit(&mut self, number: u32, edit: impl FnOnce(&mut Leaf)) {
        let leaf = &mut self.leaves.get_mut(number as usize).leaf;
        let before = leaf.memory_bytes();
        edit(leaf);
        self.memory = self.memory - before + leaf.memory_bytes();
    }

    /// Changes a node, and accounts its memory.
    #[inline]
    fn node_edit<R>(&mut self, number: u32, edit: impl FnOnce(&mut Node) -> R) -> R {
        let node = self.nodes.get_mut(number as usize);
        let before = node.memory_bytes();
        // A node that is copied has no more places than kids.
        let node = own(node);
        let result = edit(node);
        self.memory = self.memory - before + node.memory_bytes();
        result
    }

    /// A leaf got or lost members: notes it upwards.
    #[inline]
    fn count(&mut self, leaf: u32, change: i64) {
        let Slot { parent, about, .. } = self.leaves.get(leaf as usize);
        let (mut kid, mut parent, mut about) = (leaf, *parent, *about);
        let mut kid_is_node = false;
        while parent != NONE {
            let node = self.nodes.get_mut(parent as usize);
            let before = node.memory_bytes();
            let node = own(node);
            let at = node.find_about(kid, about);
            node.kids[at].count = node.kids[at].count.wrapping_add_signed(change);
            self.memory = self.memory - before + node.memory_bytes();
            let next = (parent, node.parent, node.about);
            if at != usize::from(about) {
                if kid_is_node {
                    own(self.nodes.get_mut(kid as usize)).about = at as u8;
                } else {
                    self.leaves.get_mut(kid as usize).about = at as u8;
                }
            }
            kid_is_node = true;
            (kid, parent, about) = next;
        }
    }

    fn new_leaf(&mut self, parent: u32) -> u32 {
        let number = self.free_leaf;
        if number == NONE {
            return self.leaves.push(Slot {
                parent,
                ..Slot::default()
            }) as u32;
        }
        let slot = self.leaves.get_mut(number as usize);
        self.free_leaf = core::mem::replace(&mut slot.parent, parent);
        number
    }

    fn new_node(&mut self, node: Node) -> u32 {
        self.memory += node.memory_bytes();
        let number = self.free_node;
        if number == NONE {
            return self.nodes.push(Rc::new(node)) as u32;
        }
        let slot = self.nodes.get_mut(number as usize);
        self.free_node = slot.parent;
        *slot = Rc::new(node);
        number
    }

    /// Gives a node's number back.
    fn free_node(&mut self, number: u32) {
        self.memory -= self.node(number).memory_bytes();
        let next = core::mem::replace(&mut self.free_node, number);
        *self.nodes.get_mut(number as usize) = Rc::new(Node {
            parent: next,
            ..Node::default()
        });
    }

    /// Gives an empty leaf's number back.
    fn free_leaf(&mut self, number: u32) {
        let next = core::mem::replace(&mut self.free_leaf, number);
        self.leaves.get_mut(number as usize).parent = next;
    }

    /// Makes room for a member of this score at a place in a leaf that is full. Returns the leaf and place
    /// where it goes, for which the question of room is to be asked again.
    fn make_room(&mut self, number: u32, at: usize, score: f64) -> (u32, usize) {
        let leaf = self.leaf(number);
        let count = leaf.count();
        let one = count == 1;
        if at == count && (one || self.neighbour(number, false).is_none()) {
            // What comes in ascending order leaves full leaves behind it.
            let kid = Kid {
                bound: score,
                count: 0,
                number: NONE,
            };
            return (self.insert_leaf(number, kid, Leaf::default()), 0);
        }
        if at == 0 && (one || self.neighbour(number, true).is_none()) {
            // A new leaf takes this one's number's place in the order: all but the first few move nowhere.
            return (self.insert_leaf_before(number, score), 0);
        }
        let cut = leaf.middle();
        let bound = leaf.score(cut);
        let hashes: smallvec::SmallVec<[u32; 64]> = (cut..count)
            .map(|at| self.hash(leaf.member(at)).0)
            .collect();
        hashes.iter().for_each(|hash| self.index.prefetch(*hash));
        let mut right = Leaf::default();
        self.leaf_edit(number, |leaf| right = leaf.split_off(cut));
        let kid = Kid {
            bound,
            count: right.count() as u64,
            number: NONE,
        };
        let new = self.insert_leaf(number, kid, right);
        for hash in hashes {
            self.index.replace(hash, number, new);
        }
        if at <= cut {
            (number, at)
        } else {
            (new, at - cut)
        }
    }

    /// Puts a new leaf behind another, whose members it may have got. Returns its number.
    fn insert_leaf(&mut self, after: u32, kid: Kid, leaf: Leaf) -> u32 {
        let parent = self.leaves.get(after as usize).parent;
        let number = self.new_leaf(parent);
        self.memory += leaf.memory_bytes();
        self.leaves.get_mut(number as usize).leaf = leaf;
        let moved = kid.count;
        self.node_edit(parent, |node| {
            let at = node.find(after);
            node.kids[at].count -= moved;
        });
        self.insert_kid(parent, after, Kid { number, ..kid });
        number
    }

    /// Puts an empty leaf in front of another. Returns its number.
    fn insert_leaf_before(&mut self, before: u32, score: f64) -> u32 {
        let parent = self.leaves.get(before as usize).parent;
        let number = self.new_leaf(parent);
        let first = self.leaf(before).score(0);
        // The new leaf stands where the old one stood, and the old one is put behind it.
        let old = self.node_edit(parent, |node| {
            let at = node.find(before);
            let old = node.kids[at];
            node.kids[at] = Kid {
                bound: old.bound.min(score),
                count: 0,
                number,
            };
            old
        });
        self.insert_kid(
            parent,
            number,
            Kid {
                bound: first,
                ..old
            },
        );
        number
    }

    /// Puts a kid behind another; the members in it are counted already in the nodes above this one.
    fn insert_kid(&mut self, node: u32, after: u32, kid: Kid) {
        let full = self.node(node).kids.len() == FANOUT;
        let at = self.node(node).find(after);
        let at = at + 1;
        if !full {
            return self.node_edit(node, |node| {
                if node.kids.len() == node.kids.capacity() {
                    let more = room(node.kids.len() + 1) - node.kids.len();
                    node.kids.reserve_exact(more);
                }
                node.kids.insert(at, kid);
            });
        }
        // As with leaves: at the right edge of the tree, the full node stays full.
        let cut = if at == FANOUT && self.is_last(node) {
            FANOUT
        } else {
            FANOUT / 2
        };
        let (level, parent) = (self.node(node).level, self.node(node).parent);
        let mut right = self.node_edit(node, |node| {
            let right = node.kids.split_off(cut);
            node.kids.shrink_to(room(cut));
            right
        });
        let left_side = at <= cut && cut < FANOUT;
        if left_side {
            self.node_edit(node, |node| {
                node.kids.reserve_exact(1);
                node.kids.insert(at, kid);
            });
        } else {
            right.reserve_exact(1);
            right.insert(at - cut, kid);
        }
        let count = right.iter().map(|kid| kid.count).sum();
        let bound = right[0].bound;
        let numbers: smallvec::SmallVec<[u32; FANOUT]> =
            right.iter().map(|kid| kid.number).collect();
        let new = self.new_node(Node {
            parent,
            level,
            kids: right,
            ..Node::default()
        });
        for number in numbers {
            self.set_parent(level, number, new);
        }
        let kid = Kid {
            bound,
            count,
            number: new,
        };
        if parent == NONE {
            return self.grow(node, kid);
        }
        self.node_edit(parent, |parent| {
            let at = parent.find(node);
            parent.kids[at].count -= count;
        });
        self.insert_kid(parent, node, kid);
    }

    /// A new root over the old one and its new neighbour.
    fn grow(&mut self, old: u32, right: Kid) {
        let kids = &self.node(old).kids;
        let left = Kid {
            bound: kids[0].bound,
            count: kids.iter().map(|kid| kid.count).sum(),
            number: old,
        };
        let level = self.node(old).level + 1;
        let mut kids = Vec::with_capacity(room(2));
        kids.extend([left, right]);
        self.root = self.new_node(Node {
            level,
            kids,
            ..Node::default()
        });
        let root = self.root;
        self.set_parent(level, old, root);
        self.set_parent(level, right.number, root);
    }

    fn set_parent(&mut self, level: u8, kid: u32, parent: u32) {
        if level == 0 {
            self.leaves.get_mut(kid as usize).parent = parent;
        } else {
            self.node_edit(kid, |node| node.parent = parent);
        }
    }

    /// Whether a node is the last of its level.
    fn is_last(&self, node: u32) -> bool {
        let (mut kid, mut parent) = (node, self.node(node).parent);
        while parent != NONE {
            let above = self.node(parent);
            if above.kids.last().is_none_or(|last| last.number != kid) {
                return false;
            }
            (kid, parent) = (parent, above.parent);
        }
        true
    }

    fn drop_leaf(&mut self, number: u32) {
        let parent = self.leaves.get(number as usize).parent;
        self.free_leaf(number);
        self.remove_kid(parent, number);
    }

    /// Takes a kid, whose members are counted no more, out of a node, and tidies up.
    fn remove_kid(&mut self, node: u32, kid: u32) {
        let left = self.node_edit(node, |node| {
            let at = node.find(kid);
            node.kids.remove(at);
            node.kids.shrink_to(room(node.kids.len()));
            node.kids.len()
        });
        let parent = self.node(node).parent;
        if parent == NONE {
            return self.lower_root();
        }
        if left == 0 {
            self.free_node(node);
            self.remove_kid(parent, node);
        } else if left < SMALL_NODE {
            self.join_node(node);
        }
    }

    /// A root with one kid gives way to it; one without goes.
    fn lower_root(&mut self) {
        while self.root != NONE {
            let root = self.root;
            let node = self.node(root);
            match node.kids[..] {
                [] => self.root = NONE,
                [only] if node.level > 0 => {
                    self.root = only.number;
                    self.node_edit(only.number, |node| node.parent = NONE);
                }
                _ => return,
            }
            self.free_node(root);
        }
    }

    /// The neighbours of a kid in its own parent: pairs (left, right) that might be joined.
    fn pairs(&self, parent: u32, kid: u32) -> [Option<(Kid, Kid)>; 2] {
        let kids = &self.node(parent).kids;
        let at = self.node(parent).find(kid);
        let next = kids.get(at + 1).map(|next| (kids[at], *next));
        let previous = at.checked_sub(1).map(|before| (kids[before], kids[at]));
        [next, previous]
    }

    /// Joins a small leaf with a neighbour, if there is one that is not too large.
    fn join_leaf(&mut self, number: u32) {
        let parent = self.leaves.get(number as usize).parent;
        for (left, right) in self.pairs(parent, number).into_iter().flatten() {
            let (first, second) = (self.leaf(left.number), self.leaf(right.number));
            let Some(both) = first.joined(second) else {
                continue;
            };
            // The smaller one's members get new entries in the index.
            let (keep, lose) = if first.count() >= second.count() {
                (left.number, right.number)
            } else {
                (right.number, left.number)
            };
            let moved = self.leaf(lose);
            let hashes: smallvec::SmallVec<[u32; 64]> = (0..moved.count())
                .map(|at| self.hash(moved.member(at)).0)
                .collect();
            for hash in hashes {
                self.index.replace(hash, lose, keep);
            }
            self.leaf_edit(keep, |leaf| *leaf = both);
            self.leaf_edit(lose, |leaf| *leaf = Leaf::default());
            self.node_edit(parent, |node| {
                let at = node.find(left.number);
                node.kids[at].number = keep;
                node.kids[at].count += right.count;
                node.kids[at + 1].number = lose;
            });
            self.drop_leaf(lose);
            return;
        }
    }

    /// Joins a small node with a neighbour, if there is one that is not too large.
    fn join_node(&mut self, number: u32) {
        let parent = self.node(number).parent;
        for (left, right) in self.pairs(parent, number).into_iter().flatten() {
            let (first, second) = (self.node(left.number), self.node(right.number));
            if first.kids.len() + second.kids.len() > JOINED_NODE {
                continue;
            }
            let level = first.level;
            let mut kids = second.kids.clone();
            // From now on it is not the first of its node any more, so its bound counts.
            kids[0].bound = right.bound;
            for kid in &kids {
                self.set_parent(level, kid.number, left.number);
            }
            self.node_edit(left.number, |node| {
                let more = room(node.kids.len() + kids.len()) - node.kids.len();
                node.kids.reserve_exact(more);
                node.kids.append(&mut kids);
            });
            self.node_edit(parent, |node| {
                let at = node.find(left.number);
                node.kids[at].count += right.count;
            });
            self.free_node(right.number);
            self.remove_kid(parent, right.number);
            return;
        }
    }
}
