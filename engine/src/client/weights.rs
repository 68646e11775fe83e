//! What all clients weigh together, and who weighs most: for `maxmemory-clients`, and as a part of `maxmemory`.
//!
//! Only kept while there is such a limit. A session is weighed again whenever its output, its unfinished request or
//! what it holds otherwise has changed; [`super::Session::memory`] takes no time to speak of.

use alloc::collections::BTreeSet;

/// The sum of all weights, and the order of those who may be evicted.
#[derive(Debug, Default)]
pub(super) struct Weights {
    pub on: bool,
    total: u64,
    /// Weight in bytes and the client's number.
    order: BTreeSet<(usize, u64)>,
}

/// What a session was last weighed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    bytes: usize,
    /// It stands in the order.
    ordered: bool,
}

impl Weights {
    /// Forgets a weight.
    pub fn remove(&mut self, id: u64, weight: &mut Weight) {
        self.total -= weight.bytes as u64;
        if weight.ordered {
            self.order.remove(&(weight.bytes, id));
        }
        *weight = Weight::default();
    }

    /// Notes a weight in place of the old one.
    pub fn set(&mut self, id: u64, weight: &mut Weight, bytes: usize, evictable: bool) {
        let new = Weight {
            bytes,
            ordered: evictable,
        };
        if *weight == new {
            return;
        }
        self.remove(id, weight);
        self.total += bytes as u64;
        if evictable {
            self.order.insert((bytes, id));
        }
        *weight = new;
    }

    /// All bytes together.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Who weighs most of those who may be evicted.
    pub fn heaviest(&self) -> Option<u64> {
        self.order.last().map(|&(_, id)| id)
    }
}
