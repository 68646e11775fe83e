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
