//! Keys and their hashes, by which the tables are ordered.

use crate::value::slot::slot_of;

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key's bytes.
    pub bytes: &'a [u8],
    /// [`Hasher::hash`] of them.
    pub hash: u64,
}

/// The hash of keys: SipHash-1-3, keyed against flooding. In cluster mode the slot comes first, so
/// that a slot's keys are neighbours in hash order.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    keys: (u64, u64),
    by_slot: bool,
}

impl Hasher {
    /// A hasher with its secret keys.
    pub fn new(keys: (u64, u64), by_slot: bool) -> Hasher {
        Hasher { keys, by_slot }
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let hash = siphasher::sip::SipHasher13::new_with_keys(self.keys.0, self.keys.1).hash(key);
        if self.by_slot {
            u64::from(slot_of(key)) << 50 | hash >> 14
        } else {
            hash
        }
    }

    /// Whether the keys of a slot are neighbours.
    pub fn by_slot(&self) -> bool {
        self.by_slot
    }

    /// The secret keys, for tables inside values.
    pub fn keys(&self) -> (u64, u64) {
        self.keys
    }

    /// A key with its hash.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key {
            bytes,
            hash: self.hash(bytes),
        }
    }
}
