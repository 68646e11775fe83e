//! The inner nodes: which leaf holds the hashes of which range.
//!
//! A node covers the hashes that begin with some `base` bits, cut into 64 slots by the six bits that
//! follow. A kid takes a run of slots, a power of two in number and aligned to it; `starts` has a bit
//! for the first slot of each kid, and a table has the number of each slot's kid. All leaves
//! are equally deep, as in a B-tree, and the tree grows at its root: when a kid that has only one slot
//! must split, its node splits first, by its parent's next bit, and each half sees one more bit of the hash.

use super::super::interleave::{EVEN, gather, spread};
use super::leaf::Leaf;
use crate::value::own::own;
use alloc::rc::Rc;
use alloc::vec::Vec;

const RC_HEADER: usize = 16;
/// Bits of the hash that choose among the slots of a node.
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
/// Two nodes with at most this many kids together become one.
const MERGE_KIDS: usize = 16;

/// See the module's description.
#[derive(Clone)]
pub(super) struct Node {
    starts: Starts,
    /// How many leading bits of the hash all that is below has in common.
    base: u32,
    kids: Kids,
}

/// Where the kids' slots begin.
#[derive(Clone)]
struct Starts {
    /// A bit for the first slot of each kid.
    bits: u64,
    /// The number of each slot's kid: to count bits takes a lookup longer (the first x86-64 had no instruction).
    kids: [u8; SLOTS as usize],
}

impl Starts {
    fn of(bits: u64) -> Starts {
        let mut kids = [0; SLOTS as usize];
        let mut before = 0;
        for (slot, kid) in kids.iter_mut().enumerate() {
            before += (bits >> slot & 1) as u8;
            *kid = before - 1;
        }
        Starts { bits, kids }
    }
}

#[derive(Clone)]
pub(super) enum Kids {
    Leaves(Vec<Kid<Leaf>>),
    Nodes(Vec<Kid<Rc<Node>>>),
}

#[derive(Clone)]
pub(super) struct Kid<T> {
    pub(super) to: T,
    /// Entries below.
    pub(super) entries: usize,
}

/// The slots of one kid.
#[derive(Clone, Copy)]
struct Span {
    index: usize,
    start: u32,
    slots: u32,
}

/// Where a range of hashes begins, and of how many leading bits it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) bits: u32,
}

impl Range {
    pub(super) const ALL: Range = Range { first: 0, bits: 0 };

    /// The hash after the range's last, if there is one.
    pub(super) fn end(self) -> Option<u64> {
        match self.bits {
            0 => None,
            bits => self.first.checked_add(1 << (64 - bits)),
        }
    }

    pub(super) fn contains(self, hash: u64) -> bool {
        self.bits == 0 || (hash ^ self.first) >> (64 - self.bits) == 0
    }
}

/// A leaf as found from the root.
pub(super) struct Found<'a> {
    pub(super) leaf: &'a Leaf,
    pub(super) range: Range,
}

impl Node {
    /// A tree of one leaf.
    pub(super) fn of_leaf(leaf: Leaf) -> Node {
        let entries = leaf.count();
        Node {
            starts: Starts::of(1),
            base: 0,
            kids: Kids::Leaves(alloc::vec![Kid { to: leaf, entries }]),
        }
    }

    #[inline]
    fn slot(&self, hash: u64) -> u32 {
        (hash << self.base >> (64 - SLOT_BITS)) as u32
    }

    /// Number of the kid for this hash.
    #[inline]
    pub(super) fn index(&self, hash: u64) -> usize {
        self.starts.kids[self.slot(hash) as usize].into()
    }

    fn span(&self, hash: u64) -> Span {
        let slot = self.slot(hash);
        let up_to = self.starts.bits & (u64::MAX >> (SLOTS - 1 - slot));
        let start = SLOTS - 1 - up_to.leading_zeros();
        let after = self.starts.bits.checked_shr(start + 1).unwrap_or(0);
        let slots = if after == 0 {
            SLOTS - start
        } else {
            after.trailing_zeros() + 1
        };
        Span {
            index: self.index(hash),
            start,
            slots,
        }
    }

    /// How many leading bits of the hash a kid's entries have in common.
    fn bits(&self, span: Span) -> u32 {
        self.base + SLOT_BITS - span.slots.trailing_zeros()
    }

    /// The hashes of the kid for `hash`.
    fn range(&self, hash: u64) -> Range {
        let bits = self.bits(self.span(hash));
        let first = if bits == 0 {
            0
        } else {
            hash & (u64::MAX << (64 - bits))
        };
        Range { first, bits }
    }

    /// The leaf for this hash.
    #[inline]
    pub(super) fn leaf(&self, hash: u64) -> &Leaf {
        let mut node = self;
        loop {
            let index = node.index(hash);
            match &node.kids {
                Kids::Leaves(kids) => return &kids[index].to,
                Kids::Nodes(kids) => node = &kids[index].to,
            }
        }
    }

    /// The leaf for this hash, and which hashes are its.
    pub(super) fn locate(&self, hash: u64) -> Found<'_> {
        let mut node = self;
        loop {
            let index = node.index(hash);
            match &node.kids {
                Kids::Leaves(kids) => {
                    return Found {
                        leaf: &kids[index].to,
                        range: node.range(hash),
                    };
                }
                Kids::Nodes(kids) => node = &kids[index].to,
            }
        }
    }

    /// The leaf for this hash, to be changed, and to get so many entries more, which are counted on the way.
    /// Copies what a snapshot shares on the way.
    #[inline]
    pub(super) fn leaf_mut(&mut self, hash: u64, more: usize) -> &mut Leaf {
        let mut node = self;
        loop {
            let index = node.index(hash);
            match &mut node.kids {
                Kids::Leaves(kids) => {
                    let kid = &mut kids[index];
                    kid.entries += more;
                    return &mut kid.to;
                }
                Kids::Nodes(kids) => {
                    let kid = &mut kids[index];
                    kid.entries += more;
                    node = own(&mut kid.to);
                }
            }
        }
    }

    /// The leaf with the entry number `n` in the tree's order, and the entry's number in the leaf.
    pub(super) fn nth(&self, mut n: usize) -> Option<(&Leaf, usize)> {
        fn pick<T>(kids: &[Kid<T>], n: &mut usize) -> Option<usize> {
            for (i, kid) in kids.iter().enumerate() {
                match n.checked_sub(kid.entries) {
                    Some(rest) => *n = rest,
                    None => return Some(i),
                }
            }
            None
        }
        let mut node = self;
        loop {
            match &node.kids {
                Kids::Leaves(kids) => return pick(kids, &mut n).map(|i| (&kids[i].to, n)),
                Kids::Nodes(kids) => node = &kids[pick(kids, &mut n)?].to,
            }
        }
    }

    /// The bits that the hashes of kid number `index` have, below this node's own.
    pub(super) fn first_hash(&self, index: usize) -> u64 {
        let mut starts = self.starts.bits;
        for _ in 0..index {
            starts &= starts - 1;
        }
        u64::from(starts.trailing_zeros()) << (64 - SLOT_BITS) >> self.base
    }

    pub(super) fn kids(&self) -> &Kids {
        &self.kids
    }

    /// Bytes of this node's allocations, without what is below.
    pub(super) fn memory_bytes(&self) -> usize {
        let (kid, count) = match &self.kids {
            Kids::Leaves(kids) => (size_of::<Kid<Leaf>>(), kids.len()),
            Kids::Nodes(kids) => (size_of::<Kid<Rc<Node>>>(), kids.len()),
        };
        // A function of the number of kids alone, so that copying a node changes no sum.
        RC_HEADER + size_of::<Node>() + room(count) * kid
    }

    /// Splits the leaf for `hash` in two, and on the way up whatever must split for that. `bit` gives a
    /// field's hash its bit number (from the top) that the leaf's range does not have in common.
    ///
    /// Returns this node's second half, for the parent to take in (this one is the first), if it split.
    /// `memory` is kept up to date, but for a new root.
    pub(super) fn split_leaf(
        &mut self,
        hash: u64,
        hash_of: &impl Fn(&[u8]) -> u64,
        memory: &mut usize,
    ) -> Option<Node> {
        let mut span = self.span(hash);
        let below = match &mut self.kids {
            Kids::Leaves(_) => None,
            Kids::Nodes(kids) => {
                let half = own(&mut kids[span.index].to).split_leaf(hash, hash_of, memory)?;
                kids[span.index].entries -= half.entries();
                Some(half)
            }
        };
        let before = self.memory_bytes();
        let mut second = None;
        if span.slots == 1 {
            second = Some(self.halve());
        }
        let node = match &mut second {
            Some(second) if !self.range_contains_in_first_half(hash) => second,
            _ => &mut *self,
        };
        span = node.span(hash);
        match (&mut node.kids, below) {
            (Kids::Nodes(kids), Some(half)) => {
                let kid = Kid {
                    entries: half.entries(),
                    to: Rc::new(half),
                };
                insert_kid(kids, span.index + 1, kid);
            }
            (Kids::Leaves(kids), _) => {
                let kid = &mut kids[span.index];
                let depth = node.base + SLOT_BITS - span.slots.trailing_zeros();
                let (left, right) = kid.to.split(depth, hash_of);
                *memory =
                    *memory - kid.to.memory_bytes() + left.memory_bytes() + right.memory_bytes();
                *kid = Kid {
                    entries: left.count(),
                    to: left,
                };
                let kid = Kid {
                    entries: right.count(),
                    to: right,
                };
                insert_kid(kids, span.index + 1, kid);
            }
            (Kids::Nodes(_), None) => unreachable!("a node of nodes splits for a node"),
        }
        node.starts = Starts::of(node.starts.bits | 1 << (span.start + span.slots / 2));
        *memory =
            *memory - before + self.memory_bytes() + second.as_ref().map_or(0, Node::memory_bytes);
        second
    }

    /// After [`halve`](Self::halve): whether `hash`, which was this node's, still is.
    fn range_contains_in_first_half(&self, hash: u64) -> bool {
        // The bit that became common to all in each half.
        hash >> (64 - self.base) & 1 == 0
    }

    /// Cuts this node in two by the first bit of its slots; returns the second half.
    fn halve(&mut self) -> Node {
        let (low, high) = (self.starts.bits as u32, (self.starts.bits >> 32) as u32);
        let kids = match &mut self.kids {
            Kids::Leaves(kids) => Kids::Leaves(kids.split_off(low.count_ones() as usize)),
            Kids::Nodes(kids) => Kids::Nodes(kids.split_off(low.count_ones() as usize)),
        };
        match &mut self.kids {
            Kids::Leaves(kids) => kids.shrink_to(room(kids.len())),
            Kids::Nodes(kids) => kids.shrink_to(room(kids.len())),
        }
        self.base += 1;
        self.starts = Starts::of(spread(low));
        Node {
            starts: Starts::of(spread(high)),
            base: self.base,
            kids,
        }
    }

    fn entries(&self) -> usize {
        match &self.kids {
            Kids::Leaves(kids) => kids.iter().map(|kid| kid.entries).sum(),
            Kids::Nodes(kids) => kids.iter().map(|kid| kid.entries).sum(),
        }
    }

    /// The root of two halves that a root became.
    pub(super) fn of_halves(first: Node, second: Node) -> Node {
        let kid = |node: Node| Kid {
            entries: node.entries(),
            to: Rc::new(node),
        };
        Node {
            starts: Starts::of(1 | 1 << (SLOTS / 2)),
            base: 0,
            kids: Kids::Nodes(alloc::vec![kid(first), kid(second)]),
        }
    }

    /// Removes the entry of this field, which is there, and joins what has become small.
    pub(super) fn remove(&mut self, hash: u64, tag: u8, field: &[u8], memory: &mut usize) {
        let index = self.index(hash);
        match &mut self.kids {
            Kids::Leaves(kids) => {
                let kid = &mut kids[index];
                if let Some(place) = kid.to.find(tag, field) {
                    *memory -= kid.to.memory_bytes();
                    kid.to.remove(&place);
                    *memory += kid.to.memory_bytes();
                    kid.entries -= 1;
                }
            }
            Kids::Nodes(kids) => {
                kids[index].entries -= 1;
                own(&mut kids[index].to).remove(hash, tag, field, memory);
            }
        }
        while self.merge_kid(hash, memory) {}
    }

    /// Joins the kid for `hash` with its other half, if both are small.
    fn merge_kid(&mut self, hash: u64, memory: &mut usize) -> bool {
        let span = self.span(hash);
        let buddy_start = span.start ^ span.slots;
        if span.slots == SLOTS || self.starts.bits >> buddy_start & 1 == 0 {
            return false;
        }
        let buddy_hash = hash ^ (1 << (64 - self.bits(span)));
        if self.span(buddy_hash).slots != span.slots {
            return false;
        }
        let before = self.memory_bytes();
        let (first, second) = if span.start < buddy_start {
            (span.index, span.index + 1)
        } else {
            (span.index - 1, span.index)
        };
        match &mut self.kids {
            Kids::Leaves(kids) => {
                let Some(both) = kids[first].to.merged(&kids[second].to) else {
                    return false;
                };
                *memory += both.memory_bytes();
                *memory -= kids[first].to.memory_bytes() + kids[second].to.memory_bytes();
                kids[first] = Kid {
                    entries: both.count(),
                    to: both,
                };
                kids.remove(second);
                kids.shrink_to(room(kids.len()));
            }
            Kids::Nodes(kids) => {
                let Some(both) = kids[first].to.merged(&kids[second].to) else {
                    return false;
                };
                *memory += both.memory_bytes();
                *memory -= kids[first].to.memory_bytes() + kids[second].to.memory_bytes();
                kids[first] = Kid {
                    entries: kids[first].entries + kids[second].entries,
                    to: Rc::new(both),
                };
                kids.remove(second);
                kids.shrink_to(room(kids.len()));
            }
        }
        self.starts = Starts::of(self.starts.bits & !(1 << span.start.max(buddy_start)));
        *memory = *memory - before + self.memory_bytes();
        true
    }

    /// One node of two halves (the reverse of [`halve`](Self::halve)), if both are small and no kid
    /// needs the bit of the hash that the one node sees less.
    fn merged(&self, other: &Node) -> Option<Node> {
        if (self.starts.bits | other.starts.bits) & !EVEN != 0 {
            return None;
        }
        fn joined<T: Clone>(a: &[Kid<T>], b: &[Kid<T>]) -> Option<Vec<Kid<T>>> {
            (a.len() + b.len() <= MERGE_KIDS).then(|| {
                let mut kids = Vec::with_capacity(room(a.len() + b.len()));
                kids.extend(a.iter().chain(b).cloned());
                kids
            })
        }
        let kids = match (&self.kids, &other.kids) {
            (Kids::Leaves(a), Kids::Leaves(b)) => Kids::Leaves(joined(a, b)?),
            (Kids::Nodes(a), Kids::Nodes(b)) => Kids::Nodes(joined(a, b)?),
            _ => return None,
        };
        let (first, second) = (gather(self.starts.bits), gather(other.starts.bits));
        Some(Node {
            starts: Starts::of(u64::from(first) | u64::from(second) << 32),
            base: self.base - 1,
            kids,
        })
    }

    /// The only kid of a node of nodes, which can stand in the node's place.
    pub(super) fn only_node(&self) -> Option<&Rc<Node>> {
        match &self.kids {
            Kids::Nodes(kids) if kids.len() == 1 => Some(&kids[0].to),
            _ => None,
        }
    }

    /// Frees up to `budget` leaves from the end; the tree is no map any more. Returns whether nothing is
    /// left of this node (what others share is left to them).
    pub(super) fn free_step(node: &mut Rc<Node>, budget: &mut usize) -> bool {
        let Some(node) = Rc::get_mut(node) else {
            return true;
        };
        match &mut node.kids {
            Kids::Leaves(kids) => {
                let keep = kids.len().saturating_sub(*budget);
                *budget -= kids.len() - keep;
                kids.truncate(keep);
                keep == 0
            }
            Kids::Nodes(kids) => {
                while let Some(kid) = kids.last_mut() {
                    if *budget == 0 || !Node::free_step(&mut kid.to, budget) {
                        return false;
                    }
                    kids.pop();
                }
                true
            }
        }
    }

    /// Panics if something is not as it should be; returns (entries, bytes of memory, height).
    pub(super) fn invariants(
        &self,
        range: Range,
        hash_of: &impl Fn(&[u8]) -> u64,
    ) -> (usize, usize, usize) {
        assert_eq!(self.base, range.bits);
        assert_eq!(self.starts.bits & 1, 1);
        let count = match &self.kids {
            Kids::Leaves(kids) => kids.len(),
            Kids::Nodes(kids) => kids.len(),
        };
        assert_eq!(self.starts.bits.count_ones() as usize, count);
        let (mut entries, mut memory, mut height) = (0, self.memory_bytes(), 0);
        let mut slot = 0;
        for index in 0..count {
            let first = range.first | (u64::from(slot) << (64 - SLOT_BITS) >> self.base);
            let span = self.span(first);
            assert_eq!((span.index, span.start), (index, slot));
            assert!(span.slots.is_power_of_two() && slot.is_multiple_of(span.slots));
            slot += span.slots;
            let kid_range = self.range(first);
            assert_eq!(kid_range.first, first);
            match &self.kids {
                Kids::Leaves(kids) => {
                    let leaf = &kids[index].to;
                    assert_eq!(leaf.count(), kids[index].entries);
                    leaf.invariants(hash_of);
                    for place in leaf.iter() {
                        assert!(kid_range.contains(hash_of(leaf.pair(&place).0)));
                    }
                    entries += leaf.count();
                    memory += leaf.memory_bytes();
                }
                Kids::Nodes(kids) => {
                    let below = kids[index].to.invariants(kid_range, hash_of);
                    assert_eq!(kids[index].entries, below.0);
                    assert!(index == 0 || height == below.2 + 1);
                    entries += below.0;
                    memory += below.1;
                    height = below.2 + 1;
                }
            }
        }
        assert_eq!(slot, SLOTS);
        (entries, memory, height)
    }
}

/// Places to allocate for this many kids.
fn room(kids: usize) -> usize {
    kids.next_multiple_of(4)
}

fn insert_kid<T>(kids: &mut Vec<Kid<T>>, at: usize, kid: Kid<T>) {
    if kids.len() == kids.capacity() {
        kids.reserve_exact(room(kids.len() + 1) - kids.len());
    }
    kids.insert(at, kid);
}
