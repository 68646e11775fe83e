//! The entries of a stream: blocks in a tree, with the counters that go with them.

use crate::value::own::own;
use alloc::rc::Rc;

use super::block::{Block, Item, Items};
use super::group::{Group, UNKNOWN};
use super::id::StreamId;
use super::tree::{Iter, Tree};
use crate::value::listpack::SAFE_BYTES;

/// How large a block may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes (`stream-node-max-bytes`); 0: no limit but the format's.
    pub max_bytes: u64,
    /// Entries, deleted ones included (`stream-node-max-entries`); 0: no limit.
    pub max_entries: u64,
}

/// What trimming leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// That many entries at most.
    Newest(u64),
    /// No entry before this one.
    From(StreamId),
}

/// How trimming goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What it leaves.
    pub keep: Keep,
    /// It takes only whole blocks.
    pub approximate: bool,
    /// It takes no more entries than that; 0: as many as there are.
    pub limit: u64,
}

/// The entries of a stream.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    blocks: Tree<StreamId, Rc<Block>>,
    /// Bytes that the blocks own.
    block_bytes: usize,
    length: u64,
    /// The first entry's id; `0-0` if there is none.
    pub first_id: StreamId,
    /// The greatest id ever given out, or what XSETID says.
    pub last_id: StreamId,
    /// The greatest id that XDEL deleted.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added, or what XSETID says.
    pub entries_added: u64,
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        let counters = |e: &Entries| {
            let ids = (e.first_id, e.last_id, e.max_deleted_id);
            (e.length, e.entries_added, ids)
        };
        // How much room the blocks have does not count.
        counters(self) == counters(other) && self.blocks == other.blocks
    }
}

impl Eq for Entries {}

impl Entries {
    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes on the heap, more or less.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.memory_bytes() + self.block_bytes
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks with their ids.
    pub fn blocks(&self) -> Iter<'_, StreamId, Rc<Block>> {
        self.blocks.iter()
    }

    /// The blocks whose ids follow this one.
    pub fn blocks_after(&self, id: &StreamId) -> Iter<'_, StreamId, Rc<Block>> {
        self.blocks.iter_after(id)
    }

    /// The id of an entry that is added at this time: `None` when there is no greater one.
    pub fn next_id(&self, now_ms: u64) -> Option<StreamId> {
        if now_ms > self.last_id.ms {
            Some(StreamId::new(now_ms, 0))
        } else {
            self.last_id.next()
        }
    }

    /// Adds an entry of fields and values. Its id must be greater than [`Entries::last_id`].
    pub fn append(&mut self, id: StreamId, pairs: &[&[u8]], limits: &Limits) {
        let bytes: usize = pairs.iter().map(|text| text.len()).sum();
        let max_bytes = match usize::try_from(limits.max_bytes) {
            Ok(max) if (1..=SAFE_BYTES).contains(&max) => max,
            _ => SAFE_BYTES,
        };
        let mut appended = false;
        if let Some((&base, block)) = self.blocks.last_mut() {
            let before = block.memory_bytes();
            let full = block.bytes().len().saturating_add(bytes) >= max_bytes
                || (limits.max_entries > 0 && block.total() >= limits.max_entries);
            if !full {
                let block = own(block);
                block.append(base, id, pairs);
                self.block_bytes = self.block_bytes + block.memory_bytes() - before;
                appended = true;
            }
        }
        if !appended {
            let mut block = Block::new(pairs);
            block.append(id, id, pairs);
            self.block_bytes += block.memory_bytes();
            // Only a stream whose last id was set back can have a block there; its entries go.
            if let Some(old) = self.blocks.insert(id, Rc::new(block)) {
                self.block_bytes -= old.memory_bytes();
                self.length -= old.live();
            }
        }
        self.length += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
    }

    /// Takes a block of a snapshot; false if there is one with this id.
    pub fn insert_block(&mut self, id: StreamId, block: Block) -> bool {
        if self.blocks.get(&id).is_some() {
            return false;
        }
        self.length += block.live();
        self.block_bytes += block.memory_bytes();
        self.blocks.insert(id, Rc::new(block));
        true
    }

    /// The entries from `start` to `end`, both included, in order.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let first = match self.blocks.floor(&start) {
            Some((id, _)) => *id,
            None => StreamId::MIN,
        };
        Range {
            blocks: self.blocks.iter_from(&first),
            items: None,
            start,
            end,
            tombstones: false,
        }
    }

    /// The entries from `end` down to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        RangeBack {
            blocks: &self.blocks,
            next: self.blocks.floor(&end).map(|(id, block)| (*id, &**block)),
            items: None,
            start,
            end,
        }
    }

    /// All entries in order.
    pub fn iter(&self) -> Range<'_> {
        self.range(StreamId::MIN, StreamId::MAX)
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<Item<'_>> {
        self.range(id, id).next()
    }

    /// The id of the last entry that is there.
    pub fn last_valid_id(&self) -> Option<StreamId> {
        let mut all = self.range_back(StreamId::MIN, StreamId::MAX);
        all.next().map(|item| item.id)
    }

    /// The id of the first entry, be it deleted: what a trimming by id is journalled with.
    pub fn first_id_ever(&self) -> StreamId {
        let mut all = self.iter();
        all.tombstones = true;
        all.next().map_or(StreamId::MAX, |item| item.id)
    }

    fn find_first_id(&mut self) {
        self.first_id = match self.length {
            0 => StreamId::MIN,
            _ => self.iter().next().map_or(StreamId::MAX, |item| item.id),
        };
    }

    /// Deletes entries; returns how many of the ids there were.
    pub fn delete(&mut self, ids: &[StreamId]) -> u64 {
        let (mut deleted, mut first) = (0, false);
        for &id in ids {
            // What nothing is taken from is not touched, for others may share it.
            if self.get(id).is_none() || !self.delete_one(id) {
                continue;
            }
            deleted += 1;
            first |= id == self.first_id;
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        if first || (deleted > 0 && self.length == 0) {
            self.find_first_id();
        }
        deleted
    }

    fn delete_one(&mut self, id: StreamId) -> bool {
        let mut from = self.blocks.floor(&id).map(|(base, _)| *base);
        while let Some(base) = from {
            let Some(block) = self.blocks.get_mut(&base) else {
                return false;
            };
            if block.live() == 1 && block.items(base).any(|i| i.id == id && !i.is_deleted()) {
                self.length -= 1;
                self.remove_block(base);
                return true;
            }
            let before = block.memory_bytes();
            let mut found = false;
            let block = own(block);
            block.delete(base, |item| {
                let hit = item.id == id && !item.is_deleted();
                let go_on = !found;
                found |= hit;
                go_on.then_some(hit)
            });
            self.block_bytes = self.block_bytes + block.memory_bytes() - before;
            if found {
                self.length -= 1;
                return true;
            }
            // A stream whose last id was set back may have it further on.
            from = self.blocks.iter_after(&base).next().map(|(base, _)| *base);
        }
        false
    }

    fn remove_block(&mut self, id: StreamId) {
        if let Some(block) = self.blocks.remove(&id) {
            self.block_bytes -= block.memory_bytes();
        }
    }

    /// Removes the oldest entries; returns how many.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut deleted = 0u64;
        while let Some((base, block)) = self.blocks.first().map(|(id, block)| (*id, block)) {
            let live = block.live();
            let whole = match trim.keep {
                Keep::Newest(most) if self.length <= most => break,
                Keep::Newest(most) => self.length - live >= most,
                Keep::From(first) => {
                    let last = block.items(base).next_back();
                    last.is_some_and(|last| last.id < first)
                }
            };
            if trim.limit > 0 && deleted + live > trim.limit {
                break;
            }
            if whole {
                self.remove_block(base);
                self.length -= live;
                deleted += live;
                continue;
            }
            if !trim.approximate {
                deleted += self.trim_block(base, trim.keep);
            }
            break;
        }
        if deleted > 0 || self.length == 0 {
            self.find_first_id();
        }
        deleted
    }

    /// Marks the oldest entries of the first block, some of which stay.
    fn trim_block(&mut self, base: StreamId, keep: Keep) -> u64 {
        let mut excess = match keep {
            Keep::Newest(most) => self.length.saturating_sub(most),
            Keep::From(_) => 0,
        };
        let first = self.iter().next();
        let wanted = match keep {
            Keep::Newest(_) => excess > 0,
            Keep::From(id) => first.is_some_and(|first| first.id < id),
        };
        let Some(block) = self.blocks.get_mut(&base).filter(|_| wanted) else {
            return 0;
        };
        let before = block.memory_bytes();
        let block = own(block);
        let deleted = block.delete(base, |item| match keep {
            Keep::From(id) => (item.id < id).then_some(true),
            Keep::Newest(_) if excess == 0 => None,
            Keep::Newest(_) => {
                excess -= u64::from(!item.is_deleted());
                Some(true)
            }
        });
        self.block_bytes = self.block_bytes + block.memory_bytes() - before;
        self.length -= deleted;
        deleted
    }

    /// Whether an entry from `start` on was deleted by XDEL, as far as is known.
    fn has_tombstones_from(&self, start: StreamId) -> bool {
        !self.is_empty()
            && !self.max_deleted_id.is_zero()
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many entries were ever added up to this id, or [`UNKNOWN`].
    pub fn entries_up_to(&self, id: StreamId) -> i64 {
        let added = self.entries_added as i64;
        if added == 0 || id == self.last_id || (self.is_empty() && id < self.last_id) {
            return added;
        }
        let whole = self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id;
        if id > self.last_id || !whole {
            return UNKNOWN;
        }
        let before_first = added.wrapping_sub(self.length as i64);
        match id.cmp(&self.first_id) {
            core::cmp::Ordering::Less => before_first,
            core::cmp::Ordering::Equal => before_first.wrapping_add(1),
            core::cmp::Ordering::Greater => UNKNOWN,
        }
    }

    /// How many entries a group has still to be given, if that can be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added as i64;
        if added == 0 {
            return Some(0);
        }
        let known = group.entries_read != UNKNOWN && !self.has_tombstones_from(group.last_id);
        let read = if known {
            group.entries_read
        } else {
            self.entries_up_to(group.last_id)
        };
        (known || read != UNKNOWN).then(|| added.wrapping_sub(read))
    }

    /// A group is given an entry: if it is beyond the last one, the group's position moves. Returns whether
    /// it did.
    pub fn advance(&self, group: &mut Group, id: StreamId) -> bool {
        if id <= group.last_id {
            return false;
        }
        if group.entries_read != UNKNOWN && !self.has_tombstones_from(id) {
            group.entries_read = group.entries_read.wrapping_add(1);
        } else if self.entries_added > 0 {
            group.entries_read = self.entries_up_to(id);
        }
        group.last_id = id;
        true
    }

    /// The number of nodes that Redis's radix tree of these blocks would have (for XINFO): exact up to
    /// some thousands of blocks, then in proportion.
    pub fn radix_nodes(&self) -> usize {
        const MOST: usize = 2048;
        fn count(keys: &[[u8; 16]], depth: usize) -> usize {
            let [first, .., last] = keys else {
                return 1 + usize::from(depth < 16);
            };
            let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let groups = keys.chunk_by(|a, b| a[common] == b[common]);
            1 + usize::from(common > depth) + groups.map(|g| count(g, common + 1)).sum::<usize>()
        }
        let keys: alloc::vec::Vec<_> = self.blocks().take(MOST).map(|b| b.0.to_bytes()).collect();
        match self.blocks.len() {
            0 => 1,
            len if len <= MOST => count(&keys, 0),
            len => (count(&keys, 0) as u128 * len as u128 / MOST as u128) as usize,
        }
    }

    /// Frees about `budget` blocks; returns whether all is freed. There is no entry from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        (self.length, self.block_bytes) = (0, 0);
        // A leaf of the tree owns up to 32 blocks.
        self.blocks.free_step(budget / 16)
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        self.blocks.invariants();
        let (mut live, mut bytes) = (0, 0);
        for (base, block) in self.blocks() {
            assert_eq!(
                Block::from_bytes(block.bytes().to_vec()).as_ref(),
                Ok(&**block)
            );
            assert!(block.items(*base).eq_by_id(block.items(*base).rev()));
            live += block.live();
            bytes += block.memory_bytes();
        }
        assert_eq!((live, bytes), (self.length, self.block_bytes));
    }
}

impl<'a> Items<'a> {
    /// Whether the other gives the same entries in the opposite order.
    fn eq_by_id(self, back: impl Iterator<Item = Item<'a>>) -> bool {
        let mut back: alloc::vec::Vec<_> = back.map(|item| item.id).collect();
        back.reverse();
        self.map(|item| item.id).eq(back)
    }
}

/// Entries of a range, in order.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    blocks: Iter<'a, StreamId, Rc<Block>>,
    items: Option<Items<'a>>,
    start: StreamId,
    end: StreamId,
    tombstones: bool,
}

impl<'a> Iterator for Range<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(items) = &mut self.items {
                let wanted = |item: &Item<'_>| {
                    item.id >= self.start && (self.tombstones || !item.is_deleted())
                };
                if let Some(item) = items.find(wanted) {
                    return (item.id <= self.end).then_some(item);
                }
            }
            let (base, block) = self.blocks.next()?;
            self.items = Some(block.items(*base));
        }
    }
}

/// Entries of a range, from the end.
#[derive(Clone, Debug)]
pub struct RangeBack<'a> {
    blocks: &'a Tree<StreamId, Rc<Block>>,
    next: Option<(StreamId, &'a Block)>,
    items: Option<Items<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(items) = &mut self.items {
                let wanted = |item: &Item<'_>| item.id <= self.end && !item.is_deleted();
                if let Some(item) = items.rfind(wanted) {
                    return (item.id >= self.start).then_some(item);
                }
            }
            let (base, block) = self.next?;
            self.items = Some(block.items(base));
            self.next = self.blocks.below(&base).map(|(id, block)| (*id, &**block));
        }
    }
}
