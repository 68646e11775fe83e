//! The stream value: entries in the order of their ids, and the groups of consumers that read them.
//!
//! Entries are kept in [`block`]s of Redis's format, these in a [`tree`] by the id of their first entry.
//! Groups, consumers and what they have pending are in such trees too: all is in shared chunks, so that a
//! clone costs nothing and a writer copies only what it changes.

pub mod block;
pub mod entries;
pub mod group;
pub mod id;
pub mod tree;

#[cfg(test)]
mod tests;

pub use block::{Block, Item};
pub use entries::{Entries, Keep, Limits, Trim};
pub use group::{Consumer, Group, Groups, Name, Pending, UNKNOWN};
pub use id::{IdText, StreamId};

/// A stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// What it holds.
    pub entries: Entries,
    /// Who reads it.
    pub groups: Groups,
}

impl Stream {
    /// A stream without entries.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Never: a stream without entries is a value like any other, and its key stays.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Lets `change` work on a group, with the entries before it.
    pub fn with_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&Entries, &mut Group) -> R,
    ) -> Option<R> {
        let Stream { entries, groups } = self;
        groups.edit(name, |group| change(entries, group))
    }

    /// Bytes on the heap, more or less.
    pub fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes() + self.groups.memory_bytes()
    }

    /// Frees about `budget` chunks; returns whether all is freed. The stream is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        self.entries.free_step(budget) && self.groups.free_step(budget)
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        self.entries.invariants();
        self.groups.invariants();
    }
}
