//! The large form of a sorted set: a B+tree of leaves in order of (score, member), which knows how many
//! members are under each of its nodes, and an index from a member's hash to its leaf.
//!
//! ```text
//! nodes    kids: (lowest score, members below, number) …      up to 64
//! leaves   see `leaf.rs`; each member stands in its leaf, and nowhere else
//! index    see `index.rs`; eight bytes a member
//! ```
//!
//! Leaves and nodes have numbers, and know their parents' numbers. So a member's rank is found upwards from
//! its leaf, without comparing anything, and what a leaf's entries in the index say stays true until the
//! member itself moves to another leaf.
//!
//! A kid's *bound* is a score not above any in it, and not below any in the kids before it. Where bounds
//! equal the score that is looked for, the first member below the kid decides.
//!
//! All of it is reference-counted: `clone` is O(1) and gives a snapshot; whoever writes afterwards copies
//! only the leaf that changes and what leads to it.

use super::chunked::Chunked;
use super::index::Index;
use super::leaf::{Leaf, order};
use alloc::rc::Rc;
use alloc::vec::Vec;
use siphasher::sip::SipHasher13;

/// Kids of a node at most.
pub(super) const FANOUT: usize = 64;
/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// See the module's description.
#[derive(Clone)]
pub struct Tree {
    pub(super) leaves: Chunked<Slot>,
    pub(super) nodes: Chunked<Rc<Node>>,
    pub(super) index: Index,
    pub(super) root: u32,
    /// The first of the leaf numbers that are not in use; each names the next in its `parent`.
    pub(super) free_leaf: u32,
    pub(super) free_node: u32,
    pub(super) len: usize,
    /// Bytes of leaves and nodes.
    pub(super) memory: usize,
    key: (u64, u64),
}

/// A leaf with the number of its parent.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) leaf: Leaf,
    pub(super) parent: u32,
    /// About where among the parent's kids it is.
    pub(super) about: u8,
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            leaf: Leaf::default(),
            parent: NONE,
            about: 0,
        }
    }
}

/// An inner node.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) parent: u32,
    /// About where among the parent's kids it is.
    pub(super) about: u8,
    /// Nodes above the leaves: 0 if the kids are leaves.
    pub(super) level: u8,
    pub(super) kids: Vec<Kid>,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            parent: NONE,
            about: 0,
            level: 0,
            kids: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Kid {
    pub(super) bound: f64,
    /// Members in it.
    pub(super) count: u64,
    pub(super) number: u32,
}

impl Node {
    /// Bytes of the allocations, with the reference counts.
    pub(super) fn memory_bytes(&self) -> usize {
        16 + size_of::<Node>() + self.kids.capacity() * size_of::<Kid>()
    }

    /// The place of a kid, which is there.
    pub(super) fn find(&self, number: u32) -> usize {
        self.find_about(number, 0)
    }

    /// The same, knowing about where it is.
    #[inline]
    pub(super) fn find_about(&self, number: u32, about: u8) -> usize {
        let about = usize::from(about);
        for away in 0..FANOUT {
            let after = about + away;
            if self.kids.get(after).is_some_and(|kid| kid.number == number) {
                return after;
            }
            let before = about.wrapping_sub(away);
            if (self.kids.get(before)).is_some_and(|kid| kid.number == number) {
                return before;
            }
        }
        unreachable!("a kid's parent has it");
    }
}

/// A member's hash: the part that the index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash(pub(super) u32);

impl Hash {
    /// The part that the leaf keeps.
    #[inline]
    pub(super) fn tag(self) -> u8 {
        self.0 as u8
    }
}

/// The hash of a member; the only place that says how.
#[inline]
pub(super) fn hash_with(key: (u64, u64), member: &[u8]) -> Hash {
    let hash = SipHasher13::new_with_keys(key.0, key.1).hash(member);
    Hash((hash >> 32) as u32)
}

/// Where a member stands, good until the tree changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) leaf: u32,
    pub(super) at: usize,
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound<'a> {
    /// All scores below this one come before it; those equal to it, too, if the flag says so.
    Score(f64, bool),
    /// All members below this one come before it; an equal one, too, if the flag says so.
    Member(&'a [u8], bool),
}

impl Tree {
    /// An empty tree whose hashes are keyed by `key`.
    pub(super) fn new(key: (u64, u64)) -> Tree {
        Tree {
            leaves: Chunked::default(),
            nodes: Chunked::default(),
            index: Index::default(),
            root: NONE,
            free_leaf: NONE,
            free_node: NONE,
            len: 0,
            memory: 0,
            key,
        }
    }

    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap that this tree reaches. What it shares with clones counts for each.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory
            + self.leaves.memory_bytes()
            + self.nodes.memory_bytes()
            + self.index.memory_bytes()
    }

    /// The key of the hash function.
    pub(super) fn key(&self) -> (u64, u64) {
        self.key
    }

    #[inline]
    pub(super) fn hash(&self, member: &[u8]) -> Hash {
        hash_with(self.key, member)
    }

    #[inline]
    pub(super) fn leaf(&self, number: u32) -> &Leaf {
        &self.leaves.get(number as usize).leaf
    }

    #[inline]
    pub(super) fn node(&self, number: u32) -> &Node {
        self.nodes.get(number as usize)
    }

    /// Where a member stands.
    #[inline]
    pub(super) fn find(&self, hash: Hash, member: &[u8]) -> Option<Place> {
        self.index.leaves(hash.0).find_map(|leaf| {
            let at = self.leaf(leaf).find(hash.tag(), member)?;
            Some(Place { leaf, at })
        })
    }

    /// A member's score.
    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        let place = self.find(self.hash(member), member)?;
        Some(self.leaf(place.leaf).score(place.at))
    }

    /// How many members stand before the one at a place.
    pub(super) fn rank_of(&self, place: Place) -> usize {
        let mut rank = place.at as u64;
        let Slot { parent, about, .. } = self.leaves.get(place.leaf as usize);
        let (mut kid, mut parent, mut about) = (place.leaf, *parent, *about);
        while parent != NONE {
            let node = self.node(parent);
            let at = node.find_about(kid, about);
            rank += node.kids[..at].iter().map(|kid| kid.count).sum::<u64>();
            (kid, parent, about) = (parent, node.parent, node.about);
        }
        rank as usize
    }

    /// A member's rank and score.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let place = self.find(self.hash(member), member)?;
        Some((self.rank_of(place), self.leaf(place.leaf).score(place.at)))
    }

    /// The first leaf under a kid of a node of this level.
    #[inline]
    pub(super) fn leftmost(&self, level: u8, number: u32) -> u32 {
        (0..level).fold(number, |number, _| self.node(number).kids[0].number)
    }

    /// How many members come before a bound.
    pub(super) fn count_before(&self, bound: Bound<'_>) -> usize {
        let (mut number, mut before) = (self.root, 0);
        if number == NONE {
            return 0;
        }
        loop {
            let node = self.node(number);
            let later = &node.kids[1..];
            let at = match bound {
                Bound::Score(score, inclusive) => later
                    .partition_point(|kid| kid.bound < score || (inclusive && kid.bound == score)),
                Bound::Member(member, inclusive) => later.partition_point(|kid| {
                    let first = self.leaf(self.leftmost(node.level, kid.number)).member(0);
                    first < member || (inclusive && first == member)
                }),
            };
            before += node.kids[..at].iter().map(|kid| kid.count).sum::<u64>();
            number = node.kids[at].number;
            if node.level == 0 {
                break;
            }
        }
        let leaf = self.leaf(number);
        let here = match bound {
            Bound::Score(score, inclusive) => leaf.scores_below(score, inclusive),
            Bound::Member(member, inclusive) => {
                leaf.members_before(&|it| it < member || (inclusive && it == member))
            }
        };
        before as usize + here
    }

    /// The place of the member of this rank.
    pub(super) fn select(&self, rank: usize) -> Option<Place> {
        if rank >= self.len {
            return None;
        }
        let (mut number, mut left) = (self.root, rank as u64);
        loop {
            let node = self.node(number);
            let kid = node.kids.iter().find(|kid| {
                let here = left < kid.count;
                left -= if here { 0 } else { kid.count };
                here
            })?;
            number = kid.number;
            if node.level == 0 {
                return Some(Place {
                    leaf: number,
                    at: left as usize,
                });
            }
        }
    }

    /// The leaf where (score, member) belongs. There must be a leaf.
    #[inline]
    pub(super) fn leaf_for(&self, score: f64, member: &[u8]) -> u32 {
        let mut number = self.root;
        loop {
            let node = self.node(number);
            let later = &node.kids[1..];
            let mut at = later.partition_point(|kid| kid.bound < score);
            if later.get(at).is_some_and(|kid| kid.bound == score) {
                let tied = later[at..].partition_point(|kid| kid.bound == score);
                at += later[at..at + tied].partition_point(|kid| {
                    let leaf = self.leaf(self.leftmost(node.level, kid.number));
                    order(leaf.pair(0), (score, member)).is_le()
                });
            }
            number = node.kids[at].number;
            if node.level == 0 {
                return number;
            }
        }
    }

    /// The leaf after this one (or before it, if `back`).
    pub(super) fn neighbour(&self, leaf: u32, back: bool) -> Option<u32> {
        let Slot { parent, about, .. } = self.leaves.get(leaf as usize);
        let (mut kid, mut parent, mut about) = (leaf, *parent, *about);
        while parent != NONE {
            let node = self.node(parent);
            let at = node.find_about(kid, about);
            let next = if back {
                at.checked_sub(1)
            } else {
                Some(at + 1)
            };
            if let Some(next) = next.and_then(|at| node.kids.get(at)) {
                let mut number = next.number;
                for _ in 0..node.level {
                    let kids = &self.node(number).kids;
                    number = kids[if back { kids.len() - 1 } else { 0 }].number;
                }
                return Some(number);
            }
            (kid, parent, about) = (parent, node.parent, node.about);
        }
        None
    }

    /// `count` members from the one of this rank on, upwards or, if `back`, downwards.
    pub(super) fn range(&self, rank: usize, count: usize, back: bool) -> Iter<'_> {
        let available = if back {
            (rank + 1).min(self.len)
        } else {
            self.len.saturating_sub(rank)
        };
        let start = self.select(rank).filter(|_| count > 0);
        if let (Some(place), true) = (start, count > 1) {
            let next = self.neighbour(place.leaf, back);
            next.inspect(|next| self.leaf(*next).prefetch());
        }
        Iter {
            tree: self,
            leaf: start.map(|place| self.leaf(place.leaf)),
            number: start.map_or(NONE, |place| place.leaf),
            at: start.map_or(0, |place| place.at),
            left: if start.is_some() {
                count.min(available)
            } else {
                0
            },
            back,
        }
    }

    /// Calls `emit` with members from `cursor` on, in hash order, until there were `count`, and returns the
    /// cursor to go on with: 0 at the end. A member that is there from the start to the end of a scan is met
    /// at least once, whatever is added and removed meanwhile.
    pub(super) fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(&[u8], f64)) -> u64 {
        let Ok(mut from) = u32::try_from(cursor) else {
            return 0;
        };
        let (mut left, mut last) = (count.max(1), None);
        loop {
            let (entries, end) = self.index.run(from);
            let mut previous = None;
            for (hash, number) in entries {
                if left == 0 && last != Some(hash) {
                    return u64::from(hash);
                }
                if previous.replace((hash, number)) == Some((hash, number)) {
                    continue; // its members were given all at once
                }
                let leaf = self.leaf(number);
                for at in leaf.tagged(Hash(hash).tag()) {
                    let (score, member) = leaf.pair(at);
                    if self.hash(member) == Hash(hash) {
                        emit(member, score);
                        left = left.saturating_sub(1);
                    }
                }
                last = Some(hash);
            }
            match end {
                None => return 0,
                Some(end) if left == 0 => return u64::from(end),
                Some(end) => from = end,
            }
        }
    }

    /// Frees about `budget` leaves; returns whether all is freed. The tree is empty from the first call on.
    pub(super) fn free_step(&mut self, budget: usize) -> bool {
        let mut budget = budget.max(1);
        (self.len, self.memory, self.root) = (0, 0, NONE);
        (self.free_leaf, self.free_node) = (NONE, NONE);
        self.leaves.free_step(&mut budget)
            && self.nodes.free_step(&mut budget)
            && self.index.free_step(&mut budget)
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub(super) fn invariants(&self) {
        let mut memory = 0;
        let (mut leaves, mut nodes) = (0, 0);
        let mut previous: Option<(f64, Vec<u8>)> = None;
        let mut count = 0;
        let mut stack = Vec::new();
        if self.root != NONE {
            assert!(self.len > 0 && self.node(self.root).parent == NONE);
            stack.push(self.root);
        }
        assert_eq!(self.root == NONE, self.len == 0);
        // Kids are pushed in reverse, so nodes come in the order of their members.
        while let Some(number) = stack.pop() {
            let node = self.node(number);
            nodes += 1;
            memory += node.memory_bytes();
            assert!(!node.kids.is_empty() && node.kids.len() <= FANOUT);
            for (i, kid) in node.kids.iter().enumerate() {
                let first = self.leaf(self.leftmost(node.level, kid.number));
                assert!(i == 0 || kid.bound <= first.score(0));
                if node.level > 0 {
                    let below = self.node(kid.number);
                    assert_eq!((below.parent, below.level + 1), (number, node.level));
                    let sum: u64 = below.kids.iter().map(|kid| kid.count).sum();
                    assert_eq!(kid.count, sum);
                    continue;
                }
                assert_eq!(self.leaves.get(kid.number as usize).parent, number);
                let leaf = self.leaf(kid.number);
                leaves += 1;
                memory += leaf.memory_bytes();
                leaf.invariants(|member| self.hash(member).tag());
                assert!(leaf.count() > 0 && kid.count == leaf.count() as u64);
                for at in 0..leaf.count() {
                    let (score, member) = leaf.pair(at);
                    let place = Place {
                        leaf: kid.number,
                        at,
                    };
                    assert_eq!(self.find(self.hash(member), member), Some(place));
                    assert_eq!(self.rank_of(place), count);
                    if let Some((before, name)) = &previous {
                        assert!(order((*before, name), (score, member)).is_lt());
                        assert!(i == 0 || at > 0 || *before <= kid.bound);
                    }
                    previous = Some((score, member.to_vec()));
                    count += 1;
                }
            }
            if node.level > 0 {
                stack.extend(node.kids.iter().rev().map(|kid| kid.number));
            }
        }
        assert_eq!((self.len, self.index.len()), (count, count));
        assert_eq!(self.memory, memory);
        let mut free = self.free_leaf;
        while free != NONE {
            leaves += 1;
            free = self.leaves.get(free as usize).parent;
        }
        let mut free = self.free_node;
        while free != NONE {
            nodes += 1;
            free = self.node(free).parent;
        }
        assert_eq!((self.leaves.len(), self.nodes.len()), (leaves, nodes));
        self.index.invariants();
        self.leaves.invariants();
        self.nodes.invariants();
    }
}

/// Members of a tree with their scores, in order.
#[derive(Clone)]
pub struct Iter<'a> {
    tree: &'a Tree,
    leaf: Option<&'a Leaf>,
    number: u32,
    at: usize,
    left: usize,
    back: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let leaf = self.leaf?;
        let (score, member) = leaf.pair(self.at);
        let next = if self.back {
            self.at.checked_sub(1)
        } else {
            Some(self.at + 1).filter(|at| *at < leaf.count())
        };
        match next {
            Some(at) => self.at = at,
            None if self.left > 0 => self.turn_page(),
            None => {}
        }
        Some((member, score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Iter<'_> {
    /// Goes to the next leaf, and has the one after it fetched.
    #[cold]
    fn turn_page(&mut self) {
        let Some(next) = self.tree.neighbour(self.number, self.back) else {
            self.left = 0;
            return;
        };
        let leaf = self.tree.leaf(next);
        self.number = next;
        self.at = if self.back { leaf.count() - 1 } else { 0 };
        self.leaf = Some(leaf);
        if self.left > leaf.count() {
            let after = self.tree.neighbour(next, self.back);
            after.inspect(|after| self.tree.leaf(*after).prefetch());
        }
    }
}
