//! A leaf: up to 64 members with their scores, in order, packed into one reference-counted run of bytes.
//!
//! ```text
//! count u16 | slots u16 | data u32         number of members, places in the arrays, bytes of all members
//! tag   u8  × slots                        low byte of each member's hash
//! score f64 × slots
//! end   u32 × slots                        where each member ends, counted from the first one's start
//! member …
//! ```
//!
//! The arrays are in the machine's own byte order, what stands before them is low byte first; slots is a multiple of four. Looking for a member compares sixteen
//! tags at once; looking for a place bisects the scores.

use crate::value::hashtable::probe;
use crate::value::own::own_slice;
use crate::value::size_class::size_class;
use alloc::rc::Rc;
use core::cmp::Ordering;

/// Members of a leaf at most.
pub(super) const MAX_ENTRIES: usize = 64;
/// Bytes of a leaf's allocation, unless a single member needs more.
pub(super) const MAX_BYTES: usize = 2048;

const HEADER: usize = 8;
/// The reference counts that stand before the bytes.
const RC_HEADER: usize = 16;
/// Bytes for each slot.
const SLOT: usize = 13;

/// See the module's description.
#[derive(Clone, Default)]
pub(super) struct Leaf(Option<Rc<[u8]>>);

/// How (score, member) pairs are ordered. Scores are never NaN, and the zeros are equal.
#[inline]
pub(super) fn order(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0)
        .unwrap_or(Ordering::Equal)
        .then_with(|| a.1.cmp(b.1))
}

impl Leaf {
    /// An empty leaf with room for `entries` members of `data` bytes in all, and what else its size class has.
    fn with_room(entries: usize, data: usize) -> Leaf {
        let slots = entries.max(1).next_multiple_of(4);
        let class = size_class(RC_HEADER + HEADER + SLOT * slots + data);
        let spare = class - (RC_HEADER + HEADER + SLOT * slots + data);
        let more = spare / (SLOT + data / entries.max(1)) / 4 * 4;
        let slots = slots + more.min(MAX_ENTRIES - slots.min(MAX_ENTRIES));
        let mut bytes: Rc<[u8]> = core::iter::repeat_n(0, class - RC_HEADER).collect();
        if let Some(bytes) = Rc::get_mut(&mut bytes) {
            bytes[2..4].copy_from_slice(&(slots as u16).to_le_bytes());
        }
        Leaf(Some(bytes))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[0; HEADER])
    }

    /// The leaf's own bytes, copied first if a snapshot shares them.
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        own_slice(self.0.get_or_insert_with(|| Rc::new([0; HEADER])))
    }

    /// Number of members.
    #[inline]
    pub(super) fn count(&self) -> usize {
        count_of(self.bytes())
    }

    #[inline]
    fn slots(&self) -> usize {
        slots_of(self.bytes())
    }

    /// Bytes of all members.
    #[inline]
    fn data_len(&self) -> usize {
        data_of(self.bytes())
    }

    #[inline]
    fn scores(&self) -> &[[u8; 8]] {
        let (bytes, slots) = (self.bytes(), self.slots());
        bytes[HEADER + slots..HEADER + 9 * slots].as_chunks().0
    }

    #[inline]
    fn ends(&self) -> &[[u8; 4]] {
        let (bytes, slots) = (self.bytes(), self.slots());
        bytes[HEADER + 9 * slots..HEADER + SLOT * slots]
            .as_chunks()
            .0
    }

    #[inline]
    fn end(&self, at: usize) -> usize {
        u32::from_ne_bytes(self.ends()[at]) as usize
    }

    #[inline]
    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.end(at - 1) }
    }

    /// Bytes of the allocation.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| RC_HEADER + bytes.len())
    }

    /// Bytes that the members need with all that belongs to them.
    fn needed(entries: usize, data: usize) -> usize {
        RC_HEADER + HEADER + SLOT * entries.next_multiple_of(4) + data
    }

    /// Whether another member of this length may be added without the leaf becoming larger than a leaf should.
    #[inline]
    pub(super) fn has_room(&self, member: usize) -> bool {
        let entries = self.count() + 1;
        entries == 1
            || (entries <= MAX_ENTRIES
                && Leaf::needed(entries, self.data_len().saturating_add(member)) <= MAX_BYTES)
    }

    /// The score of the member number `at`.
    #[inline]
    pub(super) fn score(&self, at: usize) -> f64 {
        f64::from_ne_bytes(self.scores()[at])
    }

    /// The member number `at`.
    #[inline]
    pub(super) fn member(&self, at: usize) -> &[u8] {
        let data = HEADER + SLOT * self.slots();
        &self.bytes()[data + self.start(at)..data + self.end(at)]
    }

    /// Score and member number `at`.
    #[inline]
    pub(super) fn pair(&self, at: usize) -> (f64, &[u8]) {
        (self.score(at), self.member(at))
    }

    /// Has the leaf fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self) {
        probe::prefetch(self.bytes(), 24);
    }

    /// The number of a member; `tag` is the low byte of its hash.
    #[inline]
    pub(super) fn find(&self, tag: u8, member: &[u8]) -> Option<usize> {
        self.tagged(tag).find(|&at| self.member(at) == member)
    }

    /// The numbers of the members with this tag.
    #[inline]
    pub(super) fn tagged(&self, tag: u8) -> impl Iterator<Item = usize> {
        let (bytes, count) = (self.bytes(), self.count());
        // The groups may reach into the scores: what is found there is cut off.
        let (groups, _) = bytes[HEADER..].as_chunks::<16>();
        (groups.iter().take(count.div_ceil(16)).enumerate()).flat_map(move |(group, tags)| {
            let mut hits = probe::matches(tags, tag);
            let left = count - group * 16;
            if left < 16 {
                hits &= (1 << left) - 1;
            }
            core::iter::from_fn(move || {
                let at = (hits != 0).then(|| group * 16 + hits.trailing_zeros() as usize);
                hits &= hits.wrapping_sub(1);
                at
            })
        })
    }

    /// How many members' scores are below `score` (or equal to it, if `inclusive`).
    #[inline]
    pub(super) fn scores_below(&self, score: f64, inclusive: bool) -> usize {
        self.scores()[..self.count()].partition_point(|bytes| {
            let it = f64::from_ne_bytes(*bytes);
            it < score || (inclusive && it == score)
        })
    }

    /// How many members stand before (score, member).
    #[inline]
    pub(super) fn place_of(&self, score: f64, member: &[u8]) -> usize {
        let mut low = self.scores_below(score, false);
        if low == self.count() || self.score(low) != score {
            return low;
        }
        let mut high = self.scores_below(score, true);
        while low < high {
            let middle = (low + high) / 2;
            if self.member(middle) < member {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many members `before` says yes to; those must come first.
    pub(super) fn members_before(&self, before: &impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            if before(self.member(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Puts a member in at number `at`.
    pub(super) fn insert(&mut self, at: usize, tag: u8, score: f64, member: &[u8]) {
        let (count, slots, data) = (self.count(), self.slots(), self.data_len());
        if count == slots || HEADER + SLOT * slots + data + member.len() > self.bytes().len() {
            let mut larger = Leaf::with_room(count + 1, data + member.len());
            larger.take(self, 0, count);
            *self = larger;
        }
        let slots = self.slots();
        let (start, base) = (self.start(at), HEADER + SLOT * slots);
        let bytes = self.bytes_mut();
        bytes.copy_within(base + start..base + data, base + start + member.len());
        bytes[base + start..base + start + member.len()].copy_from_slice(member);
        let ends = HEADER + 9 * slots;
        bytes.copy_within(ends + 4 * at..ends + 4 * count, ends + 4 * at + 4);
        bytes[ends + 4 * at..ends + 4 * at + 4].copy_from_slice(&(start as u32).to_ne_bytes());
        for end in bytes[ends + 4 * at..ends + 4 * count + 4].as_chunks_mut().0 {
            *end = (u32::from_ne_bytes(*end) + member.len() as u32).to_ne_bytes();
        }
        let scores = HEADER + slots;
        bytes.copy_within(scores + 8 * at..scores + 8 * count, scores + 8 * at + 8);
        bytes[scores + 8 * at..scores + 8 * at + 8].copy_from_slice(&score.to_ne_bytes());
        bytes.copy_within(HEADER + at..HEADER + count, HEADER + at + 1);
        bytes[HEADER + at] = tag;
        set_counts(bytes, count + 1, data + member.len());
    }

    /// Gives a member another score, with which it must stay in order.
    pub(super) fn set_score(&mut self, at: usize, score: f64) {
        let scores = HEADER + self.slots();
        self.bytes_mut()[scores + 8 * at..scores + 8 * at + 8]
            .copy_from_slice(&score.to_ne_bytes());
    }

    /// Gives a member another score and the number `to`, counted without it.
    pub(super) fn move_to(&mut self, at: usize, to: usize, score: f64) {
        if at != to {
            let slots = self.slots();
            let (start, end) = (self.start(at), self.end(at));
            let (len, base) = (end - start, HEADER + SLOT * slots);
            // Members between the two places shift by one; the bytes are a rotation of each array.
            let (first, last) = (at.min(to), at.max(to));
            let (from, upto) = (self.start(first), self.end(last));
            let bytes = self.bytes_mut();
            let rotate = |run: &mut [u8], step: usize| {
                if at < to {
                    run.rotate_left(step)
                } else {
                    run.rotate_right(step)
                }
            };
            rotate(&mut bytes[base + from..base + upto], len);
            let scores = HEADER + slots;
            rotate(&mut bytes[scores + 8 * first..scores + 8 * last + 8], 8);
            rotate(&mut bytes[HEADER + first..HEADER + last + 1], 1);
            let ends = HEADER + 9 * slots;
            let run = bytes[ends + 4 * first..ends + 4 * last + 4]
                .as_chunks_mut()
                .0;
            if at < to {
                run.rotate_left(1);
                let moved = run.len() - 1;
                for end in &mut run[..moved] {
                    *end = (u32::from_ne_bytes(*end) - len as u32).to_ne_bytes();
                }
                run[moved] = (upto as u32).to_ne_bytes();
            } else {
                run.rotate_right(1);
                for end in &mut run[1..] {
                    *end = (u32::from_ne_bytes(*end) + len as u32).to_ne_bytes();
                }
                run[0] = ((from + len) as u32).to_ne_bytes();
            }
        }
        self.set_score(to, score);
    }

    /// Removes `n` members from number `at` on.
    pub(super) fn remove(&mut self, at: usize, n: usize) {
        let (count, slots, data) = (self.count(), self.slots(), self.data_len());
        if n >= count {
            self.0 = None;
            return;
        }
        let (start, end) = (self.start(at), self.end(at + n - 1));
        let base = HEADER + SLOT * slots;
        let bytes = self.bytes_mut();
        bytes.copy_within(base + end..base + data, base + start);
        let ends = HEADER + 9 * slots;
        bytes.copy_within(ends + 4 * (at + n)..ends + 4 * count, ends + 4 * at);
        for it in bytes[ends + 4 * at..ends + 4 * (count - n)]
            .as_chunks_mut()
            .0
        {
            *it = (u32::from_ne_bytes(*it) - (end - start) as u32).to_ne_bytes();
        }
        let scores = HEADER + slots;
        bytes.copy_within(scores + 8 * (at + n)..scores + 8 * count, scores + 8 * at);
        bytes.copy_within(HEADER + at + n..HEADER + count, HEADER + at);
        set_counts(bytes, count - n, data - (end - start));
        self.shrink();
    }

    /// Moves to a smaller allocation when half of this one lies idle.
    fn shrink(&mut self) {
        let (count, data) = (self.count(), self.data_len());
        if size_class(Leaf::needed(count, data)) <= self.memory_bytes() / 2 {
            let mut smaller = Leaf::with_room(count, data);
            smaller.take(self, 0, count);
            *self = smaller;
        }
    }

    /// Adds the members `from..to` of `other` at the end; there must be room.
    fn take(&mut self, other: &Leaf, from: usize, to: usize) {
        if from == to {
            return;
        }
        let (count, slots, data) = (self.count(), self.slots(), self.data_len());
        let (more, theirs) = (to - from, other.slots());
        let (start, end) = (other.start(from), other.end(to - 1));
        let (source, base) = (other.bytes(), HEADER + SLOT * theirs);
        let bytes = self.bytes_mut();
        let at = HEADER + SLOT * slots + data;
        bytes[at..at + end - start].copy_from_slice(&source[base + start..base + end]);
        bytes[HEADER + count..HEADER + count + more]
            .copy_from_slice(&source[HEADER + from..HEADER + to]);
        let (at, base) = (HEADER + slots, HEADER + theirs);
        bytes[at + 8 * count..at + 8 * (count + more)]
            .copy_from_slice(&source[base + 8 * from..base + 8 * to]);
        let at = HEADER + 9 * slots;
        let new = bytes[at + 4 * count..at + 4 * (count + more)]
            .as_chunks_mut()
            .0;
        for (new, old) in new.iter_mut().zip(&other.ends()[from..to]) {
            let end = u32::from_ne_bytes(*old) - start as u32 + data as u32;
            *new = end.to_ne_bytes();
        }
        set_counts(bytes, count + more, data + end - start);
    }

    /// Where to cut this leaf of several members in two, by bytes.
    pub(super) fn middle(&self) -> usize {
        let count = self.count();
        let half = (SLOT * count + self.data_len()) / 2;
        let cut = (1..count).find(|&at| SLOT * at + self.start(at) >= half);
        cut.unwrap_or(count - 1)
    }

    /// Keeps the first `at` members, and gives back the others.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let (count, data) = (self.count(), self.data_len());
        let (mut left, mut right) = (
            Leaf::with_room(at, self.start(at)),
            Leaf::with_room(count - at, data - self.start(at)),
        );
        left.take(self, 0, at);
        right.take(self, at, count);
        *self = left;
        right
    }

    /// One leaf of two neighbours, if it would be small enough not to be split again soon.
    pub(super) fn joined(&self, next: &Leaf) -> Option<Leaf> {
        let entries = self.count() + next.count();
        let data = self.data_len() + next.data_len();
        if entries > MAX_ENTRIES * 3 / 4 || Leaf::needed(entries, data) > MAX_BYTES * 3 / 4 {
            return None;
        }
        let mut both = Leaf::with_room(entries, data);
        both.take(self, 0, self.count());
        both.take(next, 0, next.count());
        Some(both)
    }

    /// Whether so little is left that it is time to join a neighbour.
    pub(super) fn is_small(&self) -> bool {
        let count = self.count();
        count < MAX_ENTRIES / 4 && Leaf::needed(count, self.data_len()) < MAX_BYTES / 4
    }

    /// Panics if something is not as it should be; `tag_of` gives a member's tag.
    pub(super) fn invariants(&self, tag_of: impl Fn(&[u8]) -> u8) {
        let count = self.count();
        assert!(count <= self.slots() && self.slots().is_multiple_of(4));
        assert!(HEADER + SLOT * self.slots() + self.data_len() <= self.bytes().len());
        assert_eq!(self.start(count), self.data_len());
        for at in 0..count {
            let (score, member) = self.pair(at);
            assert!(!score.is_nan() && self.start(at) <= self.end(at));
            assert_eq!(self.bytes()[HEADER + at], tag_of(member));
            assert_eq!(self.find(tag_of(member), member), Some(at));
            if at > 0 {
                assert!(order(self.pair(at - 1), (score, member)).is_lt());
            }
        }
    }
}

/// What the leaf says of itself; an empty one says nothing.
#[inline]
fn header(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |header| u64::from_le_bytes(*header))
}

#[inline]
fn count_of(bytes: &[u8]) -> usize {
    usize::from(header(bytes) as u16)
}

#[inline]
fn slots_of(bytes: &[u8]) -> usize {
    usize::from((header(bytes) >> 16) as u16)
}

#[inline]
fn data_of(bytes: &[u8]) -> usize {
    (header(bytes) >> 32) as usize
}

#[inline]
fn set_counts(bytes: &mut [u8], count: usize, data: usize) {
    bytes[..2].copy_from_slice(&(count as u16).to_le_bytes());
    bytes[4..8].copy_from_slice(&(data as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Inserting, moving and removing as on a sorted vector.
        #[test]
        fn as_a_vector(ops in prop::collection::vec((0u8..6, 0u8..40, -3i32..4), 1..200)) {
            let (mut leaf, mut model) = (Leaf::default(), Vec::<(f64, Vec<u8>)>::new());
            let name = |n: u8| alloc::vec![n; usize::from(n % 9)];
            for (what, n, score) in ops {
                let (member, score) = ([&[n][..], &name(n)].concat(), f64::from(score));
                let found = model.iter().position(|m| m.1 == member);
                prop_assert_eq!(leaf.find(n, &member), found);
                match found {
                    Some(at) if what < 3 => {
                        model.remove(at);
                        let to = model.partition_point(|m| order((m.0, &m.1), (score, &member)).is_lt());
                        model.insert(to, (score, member));
                        leaf.move_to(at, to, score);
                    }
                    Some(at) => {
                        let n = usize::from(what - 2).min(model.len() - at);
                        model.drain(at..at + n);
                        leaf.remove(at, n);
                    }
                    None => {
                        let at = leaf.place_of(score, &member);
                        leaf.insert(at, n, score, &member);
                        model.insert(at, (score, member));
                    }
                }
                leaf.invariants(|member| member[0]);
                prop_assert!((0..leaf.count()).map(|at| leaf.pair(at)).eq(model.iter().map(|m| (m.0, &m.1[..]))));
                if model.len() > 1 {
                    let mut left = leaf.clone();
                    let right = left.split_off(leaf.middle());
                    left.invariants(|member| member[0]);
                    right.invariants(|member| member[0]);
                    if let Some(both) = left.joined(&right) {
                        both.invariants(|member| member[0]);
                        prop_assert!((0..both.count()).map(|at| both.pair(at)).eq(model.iter().map(|m| (m.0, &m.1[..]))));
                    }
                }
            }
        }
    }
}
