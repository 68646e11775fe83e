//! Consumer groups: who was given which entries, and has not acknowledged them yet.

use alloc::rc::Rc;

use super::id::StreamId;
use super::tree::{Iter, Tree};

/// The name of a group or consumer. All who use it share it.
pub type Name = Rc<[u8]>;

/// The count of entries read is not known.
pub const UNKNOWN: i64 = -1;

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, in Unix milliseconds.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// The consumer that has it.
    pub owner: Name,
}

/// A consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// When it was last heard of, in Unix milliseconds.
    pub seen_ms: i64,
    /// The ids that it has; what is known of them is in the group's [`Group::pending`].
    pending: Tree<StreamId, ()>,
}

impl Consumer {
    /// The ids that it has.
    pub fn pending(&self) -> &Tree<StreamId, ()> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The last entry that was given out.
    pub last_id: StreamId,
    /// How many entries were given out, counted as if all were: see [`UNKNOWN`].
    pub entries_read: i64,
    pending: Tree<StreamId, Pending>,
    consumers: Tree<Name, Consumer>,
    /// Bytes of the consumers' names.
    name_bytes: usize,
}

impl Group {
    /// A group that has read up to an entry.
    pub fn new(last_id: StreamId, entries_read: i64) -> Group {
        Group {
            last_id,
            entries_read,
            pending: Tree::default(),
            consumers: Tree::default(),
            name_bytes: 0,
        }
    }

    /// What was delivered and not acknowledged.
    pub fn pending(&self) -> &Tree<StreamId, Pending> {
        &self.pending
    }

    /// The consumers by name.
    pub fn consumers(&self) -> &Tree<Name, Consumer> {
        &self.consumers
    }

    /// Bytes on the heap, more or less.
    pub fn memory_bytes(&self) -> usize {
        // Each pending entry stands in its consumer's tree as well.
        let ids = self.pending.len() * size_of::<StreamId>() * 5 / 4;
        self.pending.memory_bytes() + ids + self.consumers.memory_bytes() + self.name_bytes
    }

    /// The name of a consumer as the group keeps it, if there is this consumer.
    pub fn consumer_name(&self, name: &[u8]) -> Option<Name> {
        self.consumers.entry(name).map(|(name, _)| Rc::clone(name))
    }

    /// Adds a consumer; `None` if it is there already.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<Name> {
        if self.consumers.get(name).is_some() {
            return None;
        }
        let shared = Name::from(name);
        let consumer = Consumer {
            seen_ms: now_ms,
            pending: Tree::default(),
        };
        self.consumers.insert(Rc::clone(&shared), consumer);
        self.name_bytes += name.len() + 16;
        Some(shared)
    }

    /// A consumer was heard of; returns its name as the group keeps it.
    pub fn see_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<Name> {
        self.consumers.get_mut(name)?.seen_ms = now_ms;
        self.consumer_name(name)
    }

    /// Removes a consumer, with all that it has; returns how many entries that were.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        self.name_bytes -= name.len() + 16;
        Some(consumer.pending.len())
    }

    /// Gives an entry to a consumer, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let owner = Rc::clone(&pending.owner);
        let old = self.pending.insert(id, pending);
        if let Some(old) = old.filter(|old| old.owner != owner)
            && let Some(consumer) = self.consumers.get_mut(&*old.owner)
        {
            consumer.pending.remove(&id);
        }
        if let Some(consumer) = self.consumers.get_mut(&*owner) {
            consumer.pending.insert(id, ());
        }
    }

    /// Counts a delivery of an entry to the consumer that has it already.
    pub fn delivered_again(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_ms = now_ms;
            pending.deliveries = pending.deliveries.wrapping_add(1);
        }
    }

    /// Nobody has an entry any more; returns what was known of it.
    pub fn acknowledge(&mut self, id: StreamId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(consumer) = self.consumers.get_mut(&*pending.owner) {
            consumer.pending.remove(&id);
        }
        Some(pending)
    }

    /// Frees about `budget` chunks; returns whether all is freed.
    fn free_step(&mut self, budget: usize) -> bool {
        if !self.pending.free_step(budget) {
            return false;
        }
        match self.consumers.last_mut() {
            None => true,
            Some((name, consumer)) => {
                if consumer.pending.free_step(budget) {
                    let name = Rc::clone(name);
                    self.consumers.remove(&*name);
                }
                false
            }
        }
    }

    fn invariants(&self) {
        self.pending.invariants();
        self.consumers.invariants();
        let mut owned = 0;
        for (name, consumer) in self.consumers.iter() {
            consumer.pending.invariants();
            owned += consumer.pending.len();
            for (id, ()) in consumer.pending.iter() {
                assert_eq!(self.pending.get(id).map(|p| &p.owner), Some(name));
            }
        }
        assert_eq!(owned, self.pending.len());
        let names: usize = self.consumers.iter().map(|(n, _)| n.len() + 16).sum();
        assert_eq!(names, self.name_bytes);
    }
}

/// The groups of a stream, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    tree: Tree<Name, Group>,
    /// Bytes of the names and of what the groups own.
    bytes: usize,
}

impl Groups {
    /// Number of groups.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// A group.
    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        self.tree.get(name)
    }

    /// All groups in the order of their names.
    pub fn iter(&self) -> Iter<'_, Name, Group> {
        self.tree.iter()
    }

    /// The groups whose names follow this one.
    pub fn iter_after(&self, name: &Name) -> Iter<'_, Name, Group> {
        self.tree.iter_after(name)
    }

    /// Adds a group; false if there is one of this name.
    pub fn add(&mut self, name: &[u8], group: Group) -> bool {
        if self.get(name).is_some() {
            return false;
        }
        self.bytes += name.len() + 16 + group.memory_bytes();
        self.tree.insert(Name::from(name), group);
        true
    }

    /// Removes a group.
    pub fn remove(&mut self, name: &[u8]) -> Option<Group> {
        let group = self.tree.remove(name)?;
        self.bytes -= name.len() + 16 + group.memory_bytes();
        Some(group)
    }

    /// Lets `change` work on a group.
    pub fn edit<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = self.tree.get_mut(name)?;
        let before = group.memory_bytes();
        let result = change(group);
        self.bytes = (self.bytes + group.memory_bytes()).saturating_sub(before);
        Some(result)
    }

    /// Bytes on the heap, more or less.
    pub fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes() + self.bytes
    }

    /// Frees about `budget` chunks; returns whether all is freed.
    pub fn free_step(&mut self, budget: usize) -> bool {
        self.bytes = 0;
        match self.tree.last_mut() {
            None => true,
            Some((name, group)) => {
                if group.free_step(budget) {
                    let name = Rc::clone(name);
                    self.tree.remove(&*name);
                }
                self.tree.is_empty()
            }
        }
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        self.tree.invariants();
        let mut bytes = 0;
        for (name, group) in self.iter() {
            group.invariants();
            bytes += name.len() + 16 + group.memory_bytes();
        }
        assert_eq!(bytes, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// An entry's owner, time and deliveries.
    type Given = (u8, i64, u64);

    #[derive(Clone, Debug)]
    enum Op {
        Add(u8),
        Delete(u8),
        Assign(u64, u8),
        Again(u64),
        Acknowledge(u64),
        Snapshot,
    }

    fn op() -> impl Strategy<Value = Op> {
        let id = || 0u64..200;
        prop_oneof![
            2 => (0u8..6).prop_map(Op::Add),
            1 => (0u8..6).prop_map(Op::Delete),
            9 => (id(), 0u8..6).prop_map(|(id, owner)| Op::Assign(id, owner)),
            2 => id().prop_map(Op::Again),
            4 => id().prop_map(Op::Acknowledge),
            1 => Just(Op::Snapshot),
        ]
    }

    fn id(n: u64) -> StreamId {
        StreamId {
            ms: n / 7,
            seq: n % 7,
        }
    }

    fn contents(group: &Group) -> BTreeMap<StreamId, Given> {
        (group.pending().iter())
            .map(|(id, p)| (*id, (p.owner[0], p.delivered_ms, p.deliveries)))
            .collect()
    }

    proptest! {
        /// Each entry has one owner, each consumer just what is its, and a copy does not change.
        #[test]
        fn like_a_map(ops in prop::collection::vec(op(), 1..300)) {
            let mut groups = Groups::default();
            prop_assert!(groups.add(b"g", Group::new(id(0), 0)) && !groups.add(b"g", Group::new(id(1), 1)));
            let (mut model, mut consumers) = (BTreeMap::<StreamId, Given>::new(), BTreeMap::<u8, i64>::new());
            let mut copy = None;
            for (now, op) in (0i64..).zip(ops) {
                groups.edit(b"g", |group| match op {
                    Op::Add(c) => {
                        let fresh = !consumers.contains_key(&c);
                        assert_eq!(group.add_consumer(&[c], now).is_some(), fresh);
                        consumers.entry(c).or_insert(now);
                    }
                    Op::Delete(c) => {
                        let had = model.values().filter(|given| given.0 == c).count();
                        let had = consumers.remove(&c).map(|_| had);
                        assert_eq!(group.delete_consumer(&[c]), had);
                        model.retain(|_, given| given.0 != c);
                    }
                    Op::Assign(n, c) => {
                        let Some(owner) = group.see_consumer(&[c], now) else {
                            assert!(!consumers.contains_key(&c));
                            return;
                        };
                        consumers.insert(c, now);
                        group.assign(id(n), Pending { delivered_ms: now, deliveries: 1, owner });
                        model.insert(id(n), (c, now, 1));
                    }
                    Op::Again(n) => {
                        group.delivered_again(id(n), now);
                        model.entry(id(n)).and_modify(|given| *given = (given.0, now, given.2 + 1));
                    }
                    Op::Acknowledge(n) => {
                        let was = group.acknowledge(id(n)).map(|p| (p.owner[0], p.delivered_ms, p.deliveries));
                        assert_eq!(was, model.remove(&id(n)));
                    }
                    Op::Snapshot => copy = Some((group.clone(), model.clone())),
                });
                groups.invariants();
            }
            let group = groups.get(b"g").unwrap();
            prop_assert_eq!(contents(group), model.clone());
            for (name, consumer) in group.consumers().iter() {
                let mine: Vec<StreamId> = consumer.pending().iter().map(|(id, ())| *id).collect();
                let his: Vec<StreamId> = (model.iter().filter(|(_, given)| given.0 == name[0])).map(|(id, _)| *id).collect();
                prop_assert_eq!(mine, his);
                prop_assert_eq!(consumers.remove(&name[0]), Some(consumer.seen_ms));
            }
            prop_assert!(consumers.is_empty());
            if let Some((copy, model)) = copy {
                prop_assert_eq!(contents(&copy), model);
            }
            while !groups.free_step(1) {}
            prop_assert!(groups.is_empty());
        }
    }
}
