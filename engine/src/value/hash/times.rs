//! The times at which fields of a hash expire, by field and in order of time.
//!
//! Both are [`HashTable`]s, so that a clone costs nothing whatever their size. The one in order of time has
//! fields that begin with their place in the order, which such a table takes for their hash:
//!
//! ```text
//! field  time in Unix milliseconds (48 bits) | hash of the hash's field (16 bits) | the hash's field
//! ```
//!
//! The hash keeps many fields of one time apart.

use crate::value::hashtable::HashTable;
use alloc::vec::Vec;

/// No field expires later: about the year 10889.
pub const MAX_TIME_MS: u64 = (1 << 48) - 1;

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Times {
    by_field: HashTable,
    by_time: HashTable,
    /// The earliest.
    next: Option<u64>,
}

impl Times {
    pub(super) fn new(hash_key: (u64, u64)) -> Times {
        Times {
            by_field: HashTable::new(hash_key),
            by_time: HashTable::in_order(),
            next: None,
        }
    }

    /// Number of fields that expire.
    pub(super) fn len(&self) -> usize {
        self.by_field.len()
    }

    /// When the first of them does.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Times>() + self.by_field.memory_bytes() + self.by_time.memory_bytes()
    }

    /// When a field does.
    pub(super) fn get(&self, field: &[u8]) -> Option<u64> {
        let bytes = self.by_field.get(field)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn place(&self, field: &[u8], time: u64) -> Vec<u8> {
        let mut place = (time << 16 | self.by_field.hash(field) & 0xFFFF)
            .to_be_bytes()
            .to_vec();
        place.extend_from_slice(field);
        place
    }

    /// Gives a field another time, or none.
    pub(super) fn set(&mut self, field: &[u8], time: Option<u64>) {
        let old = self.get(field);
        let time = time.map(|time| time.min(MAX_TIME_MS));
        if old == time {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&self.place(field, old));
        }
        match time {
            Some(time) => {
                self.by_field.insert(field, &time.to_le_bytes());
                self.by_time.insert(&self.place(field, time), b"");
            }
            None => {
                self.by_field.remove(field);
            }
        }
        self.next = match (self.next, time) {
            // Whether it was the first or not, the one that is now earlier is.
            (Some(next), Some(time)) if time <= next => Some(time),
            (Some(next), _) if old != Some(next) => Some(next),
            _ => self.first(),
        };
    }

    fn first(&self) -> Option<u64> {
        self.by_time.first().map(|place| split(place).0)
    }

    /// Fields whose time is before `before`, the earliest leaves of the table first, until there are `limit`.
    pub(super) fn due(&self, before: u64, limit: usize) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        if self.next.is_none_or(|next| next >= before) {
            return due;
        }
        // The order is of leaves; within one it is any.
        let horizon = before << 16;
        for (place, _) in self.by_time.iter_until(horizon) {
            let (time, field) = split(place);
            if time < before {
                due.push(field.to_vec());
                if due.len() >= limit {
                    break;
                }
            }
        }
        due
    }

    /// How many fields have a time before `before`.
    pub(super) fn count_due(&self, before: u64) -> usize {
        if self.next.is_none_or(|next| next >= before) {
            return 0;
        }
        self.by_time
            .iter_until(before << 16)
            .filter(|(place, _)| split(place).0 < before)
            .count()
    }

    pub(super) fn free_step(&mut self, budget: usize) -> bool {
        self.next = None;
        let each = budget.div_ceil(2);
        self.by_field.free_step(each) & self.by_time.free_step(each)
    }

    /// Panics if something is not as it should be; `has` tells whether the hash has a field.
    pub(super) fn invariants(&self, has: impl Fn(&[u8]) -> bool) {
        self.by_field.invariants();
        self.by_time.invariants();
        assert_eq!(self.by_field.len(), self.by_time.len());
        for (place, _) in self.by_time.iter() {
            let (time, field) = split(place);
            assert_eq!(self.get(field), Some(time));
            assert!(has(field), "a time of a field that is not there");
        }
        let least = self.by_time.iter().map(|(place, _)| split(place).0).min();
        assert_eq!((self.next, self.first()), (least, least));
    }
}

/// The time and the field of a place in the order.
fn split(place: &[u8]) -> (u64, &[u8]) {
    match place.split_first_chunk::<8>() {
        Some((word, field)) => (u64::from_be_bytes(*word) >> 16, field),
        None => (0, place),
    }
}
