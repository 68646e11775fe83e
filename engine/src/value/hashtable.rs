//! A hash table of fields and values for big hashes and sets: compact, quick where memory is slow, and
//! cheap to take a snapshot of.
//!
//! Entries lie packed in *leaves* of up to 48 (4 KiB at most), each a single allocation that holds all
//! hashes of one range; a shallow tree of *nodes* with up to 64 kids finds the leaf by the hash's leading
//! bits. A full leaf splits in two by the next bit; nothing is ever rehashed as a whole.
//!
//! All of it is reference-counted: `clone` is O(1) and gives a snapshot; whoever writes afterwards copies
//! only the leaf that changes and the nodes above it, each of bounded size.
//!
//! The order of the hashes is the order of everything: iteration goes leaf by leaf, and a scan's cursor
//! is a position in hash order. It needs no state, and an entry that stays is met whatever the table
//! does meanwhile. Hashes are keyed (SipHash-1-3) against flooding.

mod leaf;
mod node;
pub(in crate::value) mod probe;

use crate::value::own::own;
use alloc::rc::Rc;
use leaf::{Leaf, LeafIter, Place};
use node::{Kids, Node, Range};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

/// A scan's cursor counts in units of this many bits of the hash's low end, so that it stays below 2^48:
/// clients keep it in doubles and signed integers.
const CURSOR_SHIFT: u32 = 16;

/// A map from byte strings to byte strings with O(1) snapshots. See the module's description.
#[derive(Clone)]
pub struct HashTable {
    root: Option<Rc<Node>>,
    /// What [`free_step`](Self::free_step) has still to free.
    dying: Option<Rc<Node>>,
    len: usize,
    memory: usize,
    order: Order,
}

/// A lookup that is about to be made, with what it reads not yet in the cache.
#[derive(Clone, Copy)]
pub struct Ahead<'a> {
    /// The place in the node that points to the leaf; the nodes above it are few enough to be near.
    leaf: &'a Leaf,
    tag: u8,
}

/// How many lookups are fetched together: more do not find room in the processor's own queues.
pub const TOGETHER: usize = 32;

/// Has what some lookups read fetched into the cache, to be called before the first of them is made.
///
/// Each step of a lookup needs what the step before it read, so they go in step: while the first one's memory is on
/// its way, that of all the others is asked for.
pub fn fetch<'a>(lookups: impl IntoIterator<Item = Ahead<'a>>) {
    let mut lookups = lookups.into_iter();
    loop {
        let some: SmallVec<[Ahead<'a>; TOGETHER]> = lookups
            .by_ref()
            .take(TOGETHER)
            .inspect(|ahead| probe::prefetch_at(ahead.leaf))
            .collect();
        some.iter().for_each(|ahead| ahead.leaf.prefetch());
        some.iter()
            .for_each(|ahead| ahead.leaf.prefetch_entry(ahead.tag));
        if some.len() < TOGETHER {
            return;
        }
    }
}

/// What stands for the hash of a field.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The field's first eight bytes, high first.
    Given,
    /// A hash with this key.
    Hashed((u64, u64)),
}

impl Order {
    #[inline]
    fn hash(self, field: &[u8]) -> u64 {
        match self {
            Order::Hashed(key) => hash_with(key, field),
            Order::Given => field
                .first_chunk()
                .map_or(0, |first| u64::from_be_bytes(*first)),
        }
    }
}

/// A place in a table's iteration, good for that table and its clones as long as they do not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// A hash of the leaf that comes next.
    hash: u64,
    /// The entry of that leaf that comes next.
    index: usize,
    at_end: bool,
}

impl HashTable {
    /// An empty table whose hashes are keyed by `key`.
    pub fn new(key: (u64, u64)) -> HashTable {
        HashTable::of_order(Order::Hashed(key))
    }

    /// An empty table in the order of what its fields begin with: all have eight bytes or more, and few of
    /// them the same eight.
    pub fn in_order() -> HashTable {
        HashTable::of_order(Order::Given)
    }

    fn of_order(order: Order) -> HashTable {
        HashTable {
            root: None,
            dying: None,
            len: 0,
            memory: 0,
            order,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap that this table reaches. What it shares with clones counts for each.
    pub fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// The hash of a field.
    #[inline]
    pub(in crate::value) fn hash(&self, field: &[u8]) -> u64 {
        self.order.hash(field)
    }

    /// The field that is the first in the order of hashes.
    pub fn first(&self) -> Option<&[u8]> {
        let root = self.root.as_ref()?;
        let mut from = 0;
        loop {
            let found = root.locate(from);
            let fields = found.leaf.iter().map(|place| found.leaf.pair(&place).0);
            if let Some(first) = fields.min_by_key(|field| self.hash(field)) {
                return Some(first);
            }
            from = found.range.end()?;
        }
    }

    /// All entries whose hashes are below `end`, and some others: leaf by leaf in the order of hashes.
    pub fn iter_until(&self, end: u64) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = Some(0);
        core::iter::from_fn(move || {
            let found = self.root.as_ref()?.locate(from.filter(|from| *from < end)?);
            from = found.range.end();
            Some(found.leaf)
        })
        .flat_map(|leaf| leaf.iter().map(|place| leaf.pair(&place)))
    }

    /// The number of entries of each leaf.
    pub fn leaf_sizes(&self) -> impl Iterator<Item = usize> {
        let mut from = Some(0);
        core::iter::from_fn(move || {
            let found = self.root.as_ref()?.locate(from?);
            from = found.range.end();
            Some(found.leaf.count())
        })
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        let hash = self.hash(field);
        let leaf = self.root.as_ref()?.leaf(hash);
        leaf.find(hash as u8, field).map(|place| leaf.value(&place))
    }

    /// The lookup of a field that is about to be made; see [`fetch`].
    #[inline]
    pub fn ahead(&self, field: &[u8]) -> Option<Ahead<'_>> {
        let root = self.root.as_ref()?;
        let hash = self.hash(field);
        Some(Ahead {
            leaf: root.leaf(hash),
            tag: hash as u8,
        })
    }

    /// Whether a field is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets a field's value; returns whether the field is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.put(field, value, true)
    }

    /// Adds a field that is not there yet; returns `false`, and changes nothing, if it is there.
    pub fn insert_new(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.put(field, value, false)
    }

    #[inline]
    fn put(&mut self, field: &[u8], value: &[u8], replace: bool) -> bool {
        let hash = self.hash(field);
        loop {
            let root = self.root.get_or_insert_with(|| {
                let node = Node::of_leaf(Leaf::empty());
                self.memory = node.memory_bytes() + Leaf::empty().memory_bytes();
                Rc::new(node)
            });
            let leaf = root.leaf(hash);
            let place = leaf.find(hash as u8, field);
            if place.is_some() && !replace {
                return false;
            }
            let full = !leaf.has_room(field.len(), value.len(), place.as_ref());
            if full && self.split(hash) {
                continue;
            }
            let Some(root) = &mut self.root else {
                return false;
            };
            let root = own(root);
            let leaf = root.leaf_mut(hash, usize::from(place.is_none()));
            let before = leaf.memory_bytes();
            match &place {
                Some(place) => leaf.replace(place, value),
                None => leaf.insert(hash, field, value),
            }
            self.memory = self.memory - before + leaf.memory_bytes();
            self.len += usize::from(place.is_none());
            return place.is_none();
        }
    }

    /// Splits the leaf for this hash; returns `false` if it cannot be: all its hashes are equal.
    #[cold]
    fn split(&mut self, hash: u64) -> bool {
        let (order, memory) = (self.order, &mut self.memory);
        let Some(root) = self.root.as_mut() else {
            return false;
        };
        if root.locate(hash).range.bits == 64 {
            return false;
        }
        let node = own(root);
        if let Some(second) = node.split_leaf(hash, &|field| order.hash(field), memory) {
            let first = core::mem::replace(node, Node::of_leaf(Leaf::empty()));
            *node = Node::of_halves(first, second);
            *memory += node.memory_bytes();
        }
        true
    }

    /// Removes a field; returns whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let hash = self.hash(field);
        let Some(root) = self.root.as_mut() else {
            return false;
        };
        // Looked up first: what is not there must not cost a copy of what a snapshot shares.
        if root.leaf(hash).find(hash as u8, field).is_none() {
            return false;
        }
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
            self.memory = 0;
            return true;
        }
        own(root).remove(hash, hash as u8, field, &mut self.memory);
        while let Some(only) = root.only_node() {
            self.memory -= root.memory_bytes();
            let only = only.clone();
            *root = only;
        }
        true
    }

    /// The entry number `n` in the order of iteration: uniform `n` give uniform entries.
    pub fn nth(&self, n: usize) -> Option<(&[u8], &[u8])> {
        let (leaf, index) = self.root.as_ref()?.nth(n)?;
        Some(leaf.pair(&leaf.place(index)))
    }

    /// All entries, by ranges of hashes.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(Position::default())
    }

    /// The entries from a position on, as [`Iter::position`] gave it. The default position is the start.
    pub fn iter_from(&self, position: Position) -> Iter<'_> {
        let mut iter = Iter {
            path: SmallVec::new(),
            leaf: None,
            at: position,
        };
        if let (Some(root), false) = (&self.root, position.at_end) {
            iter.descend(root, position.hash);
        }
        iter
    }

    /// Calls `emit` with entries from `cursor` on, in hash order, until there were `count` (and as many
    /// more as share the last one's place in the order), and returns the cursor to go on with: 0 at the
    /// end. Start with 0. An entry that is there from the start to the end of a scan is met at least
    /// once, whatever is added and removed meanwhile.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(&[u8], &[u8])) -> u64 {
        let Some(root) = &self.root else { return 0 };
        let (mut from, mut left) = (cursor << CURSOR_SHIFT, count.max(1));
        let mut last = None; // the cursor position of the last entry given out, when `left` is 0
        loop {
            let found = root.locate(from);
            let leaf = found.leaf;
            if from == found.range.first && leaf.count() <= left && last.is_none() {
                for place in leaf.iter() {
                    let (field, value) = leaf.pair(&place);
                    emit(field, value);
                }
                left -= leaf.count();
                if left == 0 {
                    // The leaf's last position may go on in the next leaf.
                    last = found.range.end().map(|end| (end - 1) >> CURSOR_SHIFT);
                }
            } else {
                let mut entries: SmallVec<[(u64, Place); leaf::MAX_ENTRIES]> = leaf
                    .iter()
                    .map(|place| (self.hash(leaf.pair(&place).0), place))
                    .filter(|(hash, _)| *hash >= from)
                    .collect();
                entries.sort_unstable_by_key(|(hash, _)| *hash);
                for (hash, place) in entries {
                    let position = hash >> CURSOR_SHIFT;
                    if last.is_some_and(|last| last != position) {
                        return position;
                    }
                    let (field, value) = leaf.pair(&place);
                    emit(field, value);
                    left = left.saturating_sub(1);
                    if left == 0 {
                        last = Some(position);
                    }
                }
            }
            match found.range.end() {
                None => return 0,
                Some(end) if last.is_some_and(|last| end >> CURSOR_SHIFT != last) => {
                    return end >> CURSOR_SHIFT;
                }
                Some(end) => from = end,
            }
        }
    }

    /// Frees up to about `budget` leaves (of up to 48 entries); returns whether all is freed. The table is
    /// empty from the first call on. Leaves that a clone shares are only let go of.
    pub fn free_step(&mut self, budget: usize) -> bool {
        if let Some(root) = self.root.take() {
            (self.len, self.memory) = (0, 0);
            self.dying = Some(root);
        }
        let mut budget = budget;
        if self
            .dying
            .as_mut()
            .is_none_or(|node| Node::free_step(node, &mut budget))
        {
            self.dying = None;
        }
        self.dying.is_none()
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        let (entries, memory, _) = self.root.as_ref().map_or((0, 0, 0), |root| {
            root.invariants(Range::ALL, &|field| self.hash(field))
        });
        assert_eq!((self.len, self.memory), (entries, memory));
        assert!(self.len > 0 || self.root.is_none());
    }
}

impl core::fmt::Debug for HashTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The hash of a field, bent so that its density falls from 4/3 to 2/3 over its range.
///
/// With an even density all leaves would be equally full: all would move to the next size of allocation
/// at the same time (leaving pages full of holes behind), and all split at the same time. So the leaves
/// at one end of the order are twice as full as those at the other, every size is in use at any time,
/// and the memory for an entry is the same at any size of the table. This is spiral storage (Martin
/// 1979), with x + x(1 − x)/3 for its logarithm.
#[inline]
fn hash_with(key: (u64, u64), field: &[u8]) -> u64 {
    let even = SipHasher13::new_with_keys(key.0, key.1).hash(field);
    let bend = (u128::from(even) * u128::from(!even)) >> 64;
    even + bend as u64 / 3
}

/// Entries of a table.
#[derive(Clone)]
pub struct Iter<'a> {
    /// The nodes down to the leaf, each with the number of the kid that comes next.
    path: SmallVec<[(&'a Node, usize); 8]>,
    leaf: Option<LeafIter<'a>>,
    at: Position,
}

impl<'a> Iter<'a> {
    /// Goes down to the leaf for `hash`, and there to the entry that the position says.
    fn descend(&mut self, root: &'a Node, hash: u64) {
        let mut node = root;
        loop {
            let index = node.index(hash);
            self.path.push((node, index + 1));
            match node.kids() {
                Kids::Leaves(kids) => {
                    return self.leaf = Some(kids[index].to.iter_from(self.at.index));
                }
                Kids::Nodes(kids) => node = &kids[index].to,
            }
        }
    }

    /// Goes to the next leaf.
    fn advance(&mut self) -> Option<()> {
        while let Some((node, next)) = self.path.last_mut() {
            let index = *next;
            *next += 1;
            match node.kids() {
                Kids::Leaves(kids) if index < kids.len() => {
                    self.leaf = Some(kids[index].to.iter());
                    return Some(());
                }
                Kids::Nodes(kids) if index < kids.len() => {
                    let kid = &*kids[index].to;
                    self.path.push((kid, 0));
                }
                _ => {
                    self.path.pop();
                }
            }
        }
        self.leaf = None;
        None
    }

    /// Where the iteration stands: [`HashTable::iter_from`] goes on from there.
    pub fn position(&self) -> Position {
        match &self.leaf {
            Some(leaf) => Position {
                hash: self.path_hash(),
                index: leaf.index(),
                at_end: false,
            },
            None => Position {
                at_end: true,
                ..Position::default()
            },
        }
    }

    /// The first hash of the leaf that the path leads to.
    fn path_hash(&self) -> u64 {
        self.path
            .iter()
            .fold(0, |hash, (node, next)| hash | node.first_hash(next - 1))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let leaf = self.leaf.as_mut()?;
            if let Some(place) = leaf.next() {
                return Some(leaf.leaf().pair(&place));
            }
            self.advance()?;
        }
    }
}

#[cfg(test)]
#[path = "hashtable_tests.rs"]
mod tests;
