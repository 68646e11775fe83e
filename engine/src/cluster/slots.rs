//! Sets of slots, and the table that says who owns each of the 16384.

use super::node::NodeKey;
use crate::value::slot::SLOTS;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Bytes of a bitmap of all slots.
pub const BITMAP: usize = SLOTS as usize / 8;

/// A bitmap of all slots as packets carry it: slot `n` is bit `n % 8` of byte `n / 8`.
pub type Bitmap = [u8; BITMAP];

/// Whether a bitmap has a slot.
pub fn bit(map: &Bitmap, slot: u16) -> bool {
    map.get(usize::from(slot / 8))
        .is_some_and(|byte| byte & (1 << (slot % 8)) != 0)
}

/// A set of slots that knows its size.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    bits: Box<Bitmap>,
    len: u16,
}

impl SlotSet {
    /// The empty set.
    pub fn new() -> SlotSet {
        SlotSet {
            bits: Box::new([0; BITMAP]),
            len: 0,
        }
    }

    /// The set of a bitmap.
    pub fn from_bitmap(bits: &Bitmap) -> SlotSet {
        let len = bits.iter().map(|b| b.count_ones() as u16).sum();
        SlotSet {
            bits: Box::new(*bits),
            len,
        }
    }

    /// The set as packets carry it.
    pub fn bitmap(&self) -> &Bitmap {
        &self.bits
    }

    /// How many slots it has.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it has this one.
    pub fn contains(&self, slot: u16) -> bool {
        bit(&self.bits, slot)
    }

    /// Adds a slot; false if it was there.
    pub fn insert(&mut self, slot: u16) -> bool {
        let new = slot < SLOTS && !self.contains(slot);
        if new {
            self.bits[usize::from(slot / 8)] |= 1 << (slot % 8);
            self.len += 1;
        }
        new
    }

    /// Takes a slot out; false if it was not there.
    pub fn remove(&mut self, slot: u16) -> bool {
        let there = self.contains(slot);
        if there {
            self.bits[usize::from(slot / 8)] &= !(1 << (slot % 8));
            self.len -= 1;
        }
        there
    }

    /// The slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.bits
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte != 0)
            .flat_map(|(at, byte)| {
                (0..8u16)
                    .filter(move |b| byte & (1 << b) != 0)
                    .map(move |b| at as u16 * 8 + b)
            })
    }

    /// The runs of consecutive slots: first and last of each.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    /// Appends the runs as CLUSTER NODES has them, each after a space.
    pub fn write_ranges(&self, text: &mut String) {
        for (first, last) in self.ranges() {
            let _ = if first == last {
                write!(text, " {first}")
            } else {
                write!(text, " {first}-{last}")
            };
        }
    }
}

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet::new()
    }
}

impl core::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = String::new();
        self.write_ranges(&mut text);
        write!(f, "{{{}}}", text.trim_start())
    }
}

/// Who owns each slot, and which of ours are on their way in or out.
#[derive(Clone, Debug)]
pub struct SlotTable {
    owner: Vec<Option<NodeKey>>,
    /// Slots whose owner no longer claims them. They stay bound, so that clients are redirected rather
    /// than refused, but we do not vouch for the binding: anyone may claim them (KB-13).
    pub unclaimed: SlotSet,
    /// Ours, being moved to another node.
    pub migrating: BTreeMap<u16, NodeKey>,
    /// Another node's, being moved to us.
    pub importing: BTreeMap<u16, NodeKey>,
}

impl SlotTable {
    /// No slot has an owner.
    pub fn new() -> SlotTable {
        SlotTable {
            owner: alloc::vec![None; usize::from(SLOTS)],
            unclaimed: SlotSet::new(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
        }
    }

    /// The owner of a slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<NodeKey> {
        self.owner.get(usize::from(slot)).copied().flatten()
    }

    /// Changes the table only; [`super::nodes::Nodes::assign`] keeps the nodes' sets in step.
    pub(super) fn set_owner(&mut self, slot: u16, owner: Option<NodeKey>) {
        if let Some(entry) = self.owner.get_mut(usize::from(slot)) {
            *entry = owner;
        }
    }

    /// Whether nobody claims the slot now.
    pub fn is_unclaimed(&self, slot: u16) -> bool {
        self.owner(slot).is_none() || self.unclaimed.contains(slot)
    }

    /// The runs of slots with the same owner.
    pub fn runs(&self) -> Vec<(u16, u16, NodeKey)> {
        let mut runs: Vec<(u16, u16, NodeKey)> = Vec::new();
        for slot in 0..SLOTS {
            let Some(owner) = self.owner(slot) else {
                continue;
            };
            match runs.last_mut() {
                Some((_, last, of)) if *of == owner && *last + 1 == slot => *last = slot,
                _ => runs.push((slot, slot, owner)),
            }
        }
        runs
    }
}

impl Default for SlotTable {
    fn default() -> SlotTable {
        SlotTable::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_set_is_a_set(ops in proptest::collection::vec((any::<bool>(), 0u16..SLOTS), 0..300)) {
            let mut set = SlotSet::new();
            let mut model = BTreeSet::new();
            for (insert, slot) in ops {
                if insert {
                    prop_assert_eq!(set.insert(slot), model.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), model.remove(&slot));
                }
            }
            prop_assert_eq!(usize::from(set.len()), model.len());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            let from_ranges: BTreeSet<u16> = set.ranges().into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(from_ranges, model);
            prop_assert_eq!(SlotSet::from_bitmap(set.bitmap()), set);
        }
    }

    #[test]
    fn ranges_reach_both_ends() {
        let mut set = SlotSet::new();
        for slot in [0, 1, 2, 7, 16382, 16383] {
            set.insert(slot);
        }
        assert_eq!(set.ranges(), [(0, 2), (7, 7), (16382, 16383)]);
        let mut text = String::new();
        set.write_ranges(&mut text);
        assert_eq!(text, " 0-2 7 16382-16383");
        assert!(!set.insert(SLOTS), "beyond the last slot");
    }
}
