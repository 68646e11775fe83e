//! The intset: a small set of integers, sorted, in Redis's own format, so that a snapshot copies it as it is.
//!
//! ```text
//! intset  width u32 | count u32 | integer × count      little-endian throughout
//! ```
//!
//! `width` is 2, 4 or 8: the bytes of each integer, two's complement, ascending, none twice. An integer that
//! needs more makes all of them wider; they never become narrower again.

use super::compact_bytes::CompactBytes;
use super::listpack::Malformed;
use alloc::vec::Vec;

const HEADER: usize = 8;

/// A sorted set of integers. Its bytes are always well-formed.
#[derive(Clone, PartialEq, Eq)]
pub struct IntSet {
    bytes: CompactBytes,
}

/// The bytes that an integer needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

#[inline]
fn load(bytes: &[u8], width: usize, index: usize) -> i64 {
    let at = HEADER + index * width;
    match width {
        2 => i16::from_le_bytes([bytes[at], bytes[at + 1]]).into(),
        4 => i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]).into(),
        _ => {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            i64::from_le_bytes(word)
        }
    }
}

impl Default for IntSet {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for IntSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl IntSet {
    /// An empty set.
    pub fn new() -> IntSet {
        IntSet {
            bytes: alloc::vec![2, 0, 0, 0, 0, 0, 0, 0].into(),
        }
    }

    /// Takes bytes of any origin, after checking all of them.
    ///
    /// # Errors
    /// They are not an intset, or an empty one, or its integers do not ascend.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<IntSet, Malformed> {
        if bytes.len() < HEADER || !matches!(bytes[..4], [2 | 4 | 8, 0, 0, 0]) {
            return Err(Malformed);
        }
        let set = IntSet {
            bytes: bytes.into(),
        };
        let size = set.len().checked_mul(set.width());
        if set.is_empty() || size != Some(set.bytes.len() - HEADER) {
            return Err(Malformed);
        }
        if (1..set.len()).any(|i| set.at(i - 1) >= set.at(i)) {
            return Err(Malformed);
        }
        Ok(set)
    }

    /// The set in Redis's format.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of integers.
    pub fn len(&self) -> usize {
        u32::from_le_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]]) as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.memory_bytes()
    }

    #[inline]
    fn width(&self) -> usize {
        usize::from(self.bytes[0])
    }

    #[inline]
    fn at(&self, index: usize) -> i64 {
        load(&self.bytes, self.width(), index)
    }

    /// The integer number `index` in ascending order.
    pub fn nth(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// The smallest and the greatest integer.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        Some((self.nth(0)?, self.at(self.len() - 1)))
    }

    /// All integers, ascending.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            bytes: &self.bytes,
            width: self.width(),
            index: 0,
            len: self.len(),
        }
    }

    /// Where an integer is, or would have to be.
    #[inline]
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (width, len) = (self.width(), self.len());
        // Those who add ascending numbers need no search.
        match len.checked_sub(1).map(|last| self.at(last)) {
            None => return Err(0),
            Some(greatest) if value > greatest => return Err(len),
            Some(_) => {}
        }
        let (mut from, mut to) = (0, len);
        while from < to {
            let middle = from + (to - from) / 2;
            match load(&self.bytes, width, middle).cmp(&value) {
                core::cmp::Ordering::Less => from = middle + 1,
                core::cmp::Ordering::Equal => return Ok(middle),
                core::cmp::Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    /// Whether an integer is there.
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// Adds an integer; returns whether it is new.
    pub fn insert(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            self.widen(width_of(value));
        }
        let Err(index) = self.search(value) else {
            return false;
        };
        let (width, len) = (self.width(), self.len());
        let at = HEADER + index * width;
        self.bytes.open(at, 0, width);
        self.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.store_len(len + 1);
        true
    }

    /// Removes an integer; returns whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            return false;
        }
        let Ok(index) = self.search(value) else {
            return false;
        };
        let (width, len) = (self.width(), self.len());
        let at = HEADER + index * width;
        self.bytes.open(at, width, 0);
        self.store_len(len - 1);
        true
    }

    fn store_len(&mut self, len: usize) {
        // Callers turn a set this large into another structure long before.
        assert!(len <= u32::MAX as usize, "intset too large");
        self.bytes[4..HEADER].copy_from_slice(&(len as u32).to_le_bytes());
    }

    #[cold]
    fn widen(&mut self, width: usize) {
        let mut wide = Vec::with_capacity(HEADER + self.len() * width);
        wide.extend_from_slice(&(width as u32).to_le_bytes());
        wide.extend_from_slice(&self.bytes[4..HEADER]);
        for value in self.iter() {
            wide.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.bytes = wide.into();
    }
}

/// Integers of a set, ascending.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    width: usize,
    index: usize,
    len: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let index = self.index;
        (index < self.len).then(|| {
            self.index += 1;
            load(self.bytes, self.width, index)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len - self.index, Some(self.len - self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_those_of_redis() {
        let mut set = IntSet::new();
        assert!(set.insert(5) && set.insert(-1) && !set.insert(5));
        assert_eq!(set.bytes(), b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0");
        assert!(set.insert(70_000));
        assert_eq!(
            set.bytes(),
            b"\x04\0\0\0\x03\0\0\0\xff\xff\xff\xff\x05\0\0\0\x70\x11\x01\0"
        );
        assert!(set.remove(70_000) && !set.remove(70_000) && !set.remove(i64::MAX));
        assert_eq!(set.bytes()[0], 4, "it never becomes narrower");
        assert_eq!(set.bounds(), Some((-1, 5)));
    }

    #[test]
    fn damage_is_refused() {
        let from = |bytes: &[u8]| IntSet::from_bytes(bytes.to_vec());
        assert!(from(b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0").is_ok());
        for bad in [
            &b""[..],
            b"\x02\0\0\0\0\0\0\0",
            b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0",
            b"\x02\0\0\0\x02\0\0\0\x05\0\xff\xff",
            b"\x02\0\0\0\x02\0\0\0\x05\0",
            b"\x03\0\0\0\x01\0\0\0\x05\0\0",
            b"\x02\0\x01\0\x01\0\0\0\x05\0",
            b"\x08\0\0\0\xff\xff\xff\xff\x05\0",
        ] {
            assert!(from(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn as_a_btree_set(ops in proptest::collection::vec((any::<bool>(), any::<i64>(), 0u32..60), 0..200)) {
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            for (add, value, shift) in ops {
                let value = value >> shift;
                if add {
                    prop_assert_eq!(set.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.contains(value), add);
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert_eq!(set.len(), model.len());
                if !model.is_empty() {
                    let copy = IntSet::from_bytes(set.bytes().to_vec());
                    prop_assert_eq!(copy.as_ref(), Ok(&set));
                }
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = IntSet::from_bytes(bytes);
        }
    }
}
