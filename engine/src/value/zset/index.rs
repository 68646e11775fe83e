//! From a member's hash to the leaf that holds it.
//!
//! ```text
//! segment  count u64 | entry …           entries sorted by hash
//! entry    hash << 32 | leaf
//! ```
//!
//! An entry is eight bytes: the member itself stands in its leaf only. (Two members may have the same hash:
//! then there is an entry for each, and whoever asks looks into both leaves.)
//!
//! This is linear hashing: the table grows by one segment at a time, whenever the mean segment has become
//! full, by splitting the segment whose turn it is. Segments are numbered by the leading bits of their
//! hashes, read backwards; so a segment is one range of hashes, and hash order is an order of iteration that
//! no growth disturbs. Within a segment an entry stands near where its hash lies in the range.

use super::chunked::Chunked;
use crate::value::hashtable::probe;
use crate::value::own::own_slice;
use crate::value::size_class::size_class;
use alloc::rc::Rc;

/// Entries of the mean segment.
const TARGET: usize = 64;
/// The reference counts in front of a segment.
const RC_HEADER: usize = 16;

/// See the module's description.
#[derive(Clone, Default)]
pub(super) struct Index {
    segments: Chunked<Segment>,
    len: usize,
    memory: usize,
}

/// The entries of one range of hashes.
#[derive(Clone, Default)]
struct Segment(Option<Rc<[u64]>>);

#[inline]
fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

impl Segment {
    fn of(entries: &[u64]) -> Segment {
        if entries.is_empty() {
            return Segment(None);
        }
        let room = (size_class(RC_HEADER + 8 + entries.len() * 8) - RC_HEADER) / 8;
        let all = (0..room).map(|i| match i {
            0 => entries.len() as u64,
            _ => entries.get(i - 1).copied().unwrap_or_default(),
        });
        Segment(Some(all.collect()))
    }

    #[inline]
    fn entries(&self) -> &[u64] {
        match &self.0 {
            Some(words) => &words[1..=words[0] as usize],
            None => &[],
        }
    }

    fn memory_bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |words| RC_HEADER + words.len() * 8)
    }

    /// Where in the segment, whose hashes begin with `bits` equal bits, those from `hash` on begin.
    #[inline]
    fn place_of(&self, hash: u32, bits: u32) -> usize {
        let entries = self.entries();
        let within = hash.checked_shl(bits).unwrap_or(0);
        let mut at = ((u64::from(within) * entries.len() as u64) >> 32) as usize;
        while at > 0 && hash_of(entries[at - 1]) >= hash {
            at -= 1;
        }
        while at < entries.len() && hash_of(entries[at]) < hash {
            at += 1;
        }
        at
    }

    fn insert(&mut self, at: usize, entry: u64) {
        let count = self.entries().len();
        let full = self.0.as_ref().is_none_or(|words| words.len() == count + 1);
        if full {
            let mut entries: smallvec::SmallVec<[u64; 128]> =
                smallvec::SmallVec::from_slice(self.entries());
            entries.insert(at, entry);
            *self = Segment::of(&entries);
            return;
        }
        if let Some(words) = &mut self.0 {
            let words = own_slice(words);
            words.copy_within(1 + at..1 + count, 2 + at);
            words[1 + at] = entry;
            words[0] += 1;
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(words) = &mut self.0 else { return };
        let words = own_slice(words);
        let count = words[0] as usize;
        words.copy_within(2 + at..1 + count, 1 + at);
        words[0] -= 1;
        if size_class(RC_HEADER + 8 + count * 8) <= self.memory_bytes() / 2 {
            *self = Segment::of(self.entries());
        }
    }
}

impl Index {
    /// Bytes on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory + self.segments.memory_bytes()
    }

    /// The segment for a hash, and how many leading bits all its hashes share.
    #[inline]
    fn locate(&self, hash: u32) -> (usize, u32) {
        let count = self.segments.len() as u64;
        let level = count.max(1).ilog2();
        let backwards = u64::from(hash.reverse_bits());
        let wide = backwards & ((2 << level) - 1);
        if wide < count {
            let split = wide & ((1 << level) - 1) < count - (1 << level);
            return (wide as usize, level + u32::from(split));
        }
        ((backwards & ((1 << level) - 1)) as usize, level)
    }

    /// The leaves that may hold a member with this hash.
    #[inline]
    pub(super) fn leaves(&self, hash: u32) -> impl Iterator<Item = u32> {
        let (mut entries, mut at): (&[u64], usize) = (&[], 0);
        if self.len > 0 {
            let (number, bits) = self.locate(hash);
            let segment = self.segments.get(number);
            (entries, at) = (segment.entries(), segment.place_of(hash, bits));
        }
        entries[at..]
            .iter()
            .take_while(move |entry| hash_of(**entry) == hash)
            .map(|entry| *entry as u32)
    }

    /// Has what a lookup of this hash reads first fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if self.len > 0 {
            let (number, bits) = self.locate(hash);
            if let Some(words) = &self.segments.get(number).0 {
                // The mean segment's place, since its own count would have to be waited for.
                let within = u64::from(hash.checked_shl(bits).unwrap_or(0));
                let at = ((within * words.len() as u64) >> 32) as usize;
                probe::prefetch_words(&words[..1], 1);
                probe::prefetch_words(&words[at.saturating_sub(4)..], 2);
            }
        }
    }

    fn segment_mut(&mut self, hash: u32) -> (&mut Segment, u32) {
        if self.segments.len() == 0 {
            self.segments.push(Segment::default());
        }
        let (number, bits) = self.locate(hash);
        (self.segments.get_mut(number), bits)
    }

    /// Notes that a member with this hash is in this leaf.
    pub(super) fn insert(&mut self, hash: u32, leaf: u32) {
        let (segment, bits) = self.segment_mut(hash);
        let before = segment.memory_bytes();
        let at = segment.place_of(hash, bits);
        segment.insert(at, u64::from(hash) << 32 | u64::from(leaf));
        let after = segment.memory_bytes();
        self.memory = self.memory - before + after;
        self.len += 1;
        if self.len > self.segments.len() * TARGET {
            self.split();
        }
    }

    /// The place of an entry, which is there.
    fn find(segment: &Segment, bits: u32, hash: u32, leaf: u32) -> usize {
        let mut at = segment.place_of(hash, bits);
        while segment.entries()[at] as u32 != leaf {
            at += 1;
        }
        at
    }

    /// A member with this hash is not in this leaf any more. It must have been.
    pub(super) fn remove(&mut self, hash: u32, leaf: u32) {
        let (segment, bits) = self.segment_mut(hash);
        let before = segment.memory_bytes();
        let at = Index::find(segment, bits, hash, leaf);
        segment.remove(at);
        let after = segment.memory_bytes();
        self.memory = self.memory - before + after;
        self.len -= 1;
        if self.segments.len() > 1 && self.len < self.segments.len() * TARGET / 3 {
            self.join();
        }
    }

    /// A member with this hash moves from one leaf to another.
    pub(super) fn replace(&mut self, hash: u32, from: u32, to: u32) {
        let (segment, bits) = self.segment_mut(hash);
        let at = Index::find(segment, bits, hash, from);
        if let Some(words) = &mut segment.0 {
            own_slice(words)[1 + at] = u64::from(hash) << 32 | u64::from(to);
        }
    }

    /// Splits the segment whose turn it is.
    #[cold]
    fn split(&mut self) {
        let count = self.segments.len();
        let level = count.ilog2();
        if level >= 31 {
            return;
        }
        let segment = self.segments.get_mut(count - (1 << level));
        let entries = segment.entries();
        let cut = entries.partition_point(|entry| hash_of(*entry) >> (31 - level) & 1 == 0);
        let (low, high) = entries.split_at(cut);
        let (low, high) = (Segment::of(low), Segment::of(high));
        self.memory -= segment.memory_bytes();
        self.memory += low.memory_bytes() + high.memory_bytes();
        *segment = low;
        self.segments.push(high);
    }

    /// Joins the last segment with the one that it was split from.
    #[cold]
    fn join(&mut self) {
        let Some(last) = self.segments.pop() else {
            return;
        };
        let count = self.segments.len();
        let segment = self.segments.get_mut(count - (1 << count.ilog2()));
        let mut entries: smallvec::SmallVec<[u64; 128]> =
            smallvec::SmallVec::from_slice(segment.entries());
        entries.extend_from_slice(last.entries());
        self.memory -= segment.memory_bytes() + last.memory_bytes();
        *segment = Segment::of(&entries);
        self.memory += segment.memory_bytes();
    }

    /// The (hash, leaf) pairs from `hash` to the end of its segment, in order of hashes, and the first hash
    /// after the segment, if that is not the last.
    pub(super) fn run(&self, hash: u32) -> (impl Iterator<Item = (u32, u32)>, Option<u32>) {
        let (mut entries, mut end): (&[u64], Option<u32>) = (&[], None);
        if self.len > 0 {
            let (number, bits) = self.locate(hash);
            let segment = self.segments.get(number);
            entries = &segment.entries()[segment.place_of(hash, bits)..];
            let last = hash | u32::MAX.checked_shr(bits).unwrap_or(0);
            end = last.checked_add(1);
        }
        let pairs = entries.iter().map(|entry| (hash_of(*entry), *entry as u32));
        (pairs, end)
    }

    /// Frees about `budget` segments; returns whether all are freed.
    pub(super) fn free_step(&mut self, budget: &mut usize) -> bool {
        (self.len, self.memory) = (0, 0);
        self.segments.free_step(budget)
    }

    /// Panics if something is not as it should be.
    pub(super) fn invariants(&self) {
        let (mut len, mut memory) = (0, 0);
        for (number, segment) in self.segments.iter().enumerate() {
            let entries = segment.entries();
            assert!(entries.is_sorted_by_key(|entry| hash_of(*entry)));
            for entry in entries {
                let (own, bits) = self.locate(hash_of(*entry));
                assert_eq!(own, number);
                assert!(hash_of(entries[0] ^ *entry).leading_zeros() >= bits);
            }
            len += entries.len();
            memory += segment.memory_bytes();
        }
        self.segments.invariants();
        assert_eq!((self.len, self.memory), (len, memory));
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_set(ops in prop::collection::vec((0u8..8, any::<u16>(), any::<u16>()), 1..60)) {
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            // A permutation of the 32-bit numbers, so that few numbers spread over all hashes.
            let spread = |n: u32| n.wrapping_mul(0x9E37_79B1) ^ n >> 7;
            for (what, from, n) in ops {
                for i in 0..u32::from(n % 500) {
                    let (hash, leaf) = (spread(u32::from(from) % 4000 + i), i % 3);
                    match what {
                        0..4 => if model.insert((hash, leaf)) { index.insert(hash, leaf) },
                        4..7 => if model.remove(&(hash, leaf)) { index.remove(hash, leaf) },
                        _ => if model.contains(&(hash, leaf)) && model.insert((hash, 7)) {
                            model.remove(&(hash, leaf));
                            index.replace(hash, leaf, 7);
                        },
                    }
                    let mut leaves: Vec<u32> = index.leaves(hash).collect();
                    leaves.sort_unstable();
                    prop_assert!(leaves.into_iter().eq(model.range((hash, 0)..=(hash, u32::MAX)).map(|e| e.1)));
                }
                index.invariants();
                let (mut all, mut next) = (Vec::new(), Some(0));
                while let Some(at) = next {
                    let (pairs, end) = index.run(at);
                    all.extend(pairs);
                    next = end;
                }
                prop_assert!(all.is_sorted_by_key(|pair| pair.0));
                all.sort_unstable();
                prop_assert!(all.iter().eq(&model));
            }
        }
    }
}
