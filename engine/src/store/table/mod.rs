//! The hash table of a database: extendible hashing over segments of cache-line buckets.
//!
//! ```text
//! hash:  | directory bits (depth) | tag: 16 bits | fingerprint: 8 bits | …
//!
//! directory ──► segment: 1–64 buckets of 64 bytes, filled to about 0.85
//!               bucket:  [7 fingerprints, overflow flag][7 × (tag in the high 16 bits, entry pointer)]
//! ```
//!
//! The directory's bits select a segment; the tag selects the home bucket by range reduction
//! (`tag × buckets >> 16`), so the order of buckets is the order of hashes. A segment without room grows
//! by a few buckets up to 64, then splits in two by the next hash bit; one that is emptied shrinks, and is
//! merged with its other half when both have become small. Growing and shrinking are thus one bounded
//! step at a time, and segments stay nearly full whatever the number of keys.
//!
//! A directory has at most 2¹⁴ places; a segment that must split beyond that becomes a directory of
//! its own. In cluster mode the hash begins with the key's slot, so a slot's keys lie side by side,
//! and a slot with millions of keys costs no other slot anything.
//!
//! A position is a prefix of the hash, kept as the high bits of a `u64`: SCAN and the snapshot's walk
//! go through positions in rising order, statelessly, whatever grows or shrinks meanwhile. After a merge a
//! position may lie between the hashes that one tag stands for: there the hash itself decides.
//!
//! Source: Fagin et al., *Extendible Hashing* (1979); Lu et al., *Dash* (2020).
#![allow(unsafe_code)]

mod directory;
mod segment;

use alloc::vec;
use alloc::vec::Vec;
use core::ptr;

use smallvec::SmallVec;

use super::entry::{Entry, EntryMut, EntryRef, ValueRef};
use directory::{DIRECTORY_BITS, Directories};
use segment::{
    MAX_BUCKETS, SLOTS, Segment, TAG_SHIFT, fitting, next_size, prefetch, tag_of, untagged,
    with_tag,
};

/// Most hash bits that directories resolve together. A slot of a cluster reaches it with seven
/// billion keys, a table without slots with more than any memory holds.
const MAX_DEPTH: u32 = 38;

/// Two segments with at most so many entries together become one: a third of what splits, so that nothing
/// goes back and forth.
const MERGED: u32 = 128;
/// How often a segment that becomes smaller looks at its other half: each time that its entries are a multiple.
const MERGE_EVERY: u32 = 16;

/// Low bits of a position that are always zero: a depth and a tag fill what is above them.
pub const POSITION_ZEROS: u32 = 64 - MAX_DEPTH - 16;

/// Where an entry is. Valid until the table is changed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    segment: u32,
    bucket: u16,
    slot: u8,
}

/// The table. It owns its entries. See the module's documentation.
pub struct Table {
    directories: Directories,
    segments: Vec<Segment>,
    len: usize,
    /// Bytes of the segments.
    bytes: usize,
}

/// Has what some lookups, each of a table and a hash, will read fetched into the cache: to be called before the first
/// is made, but when their segments ([`Table::prefetch_segment`]) should be near. Each step of a lookup needs what the
/// step before it read, so all take the steps together.
#[inline]
pub(super) fn fetch<'a>(lookups: impl Iterator<Item = (&'a Table, u64)> + Clone) {
    (lookups.clone()).for_each(|(table, hash)| table.prefetch_bucket(hash));
    // (What an entry's own bucket has no room for is mostly in the next.)
    let further: SmallVec<[(&Table, u64); 32]> = lookups
        .filter(|(table, hash)| table.prefetch_entry(*hash, 0))
        .collect();
    for (table, hash) in further {
        table.prefetch_entry(hash, 1);
    }
}

impl Default for Table {
    fn default() -> Table {
        let mut table = Table {
            directories: Directories::new(),
            segments: vec![Segment::new(0, 0, 1)],
            len: 0,
            bytes: 0,
        };
        table.bytes = table.segments[0].bytes();
        table
    }
}

impl Table {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that a place for one entry takes.
    pub const BYTES_PER_PLACE: usize = size_of::<segment::Bucket>() / segment::SLOTS;

    /// Bytes of the table itself, without the entries.
    pub fn bytes(&self) -> usize {
        self.bytes + self.directories.bytes
    }

    #[inline]
    fn segment_index(&self, hash: u64) -> usize {
        self.directories.find(hash)
    }

    /// Asks the processor for the segment that a hash leads to. In a large table there are more of them than its nearer
    /// caches hold.
    #[inline]
    pub fn prefetch_segment(&self, hash: u64) {
        let segment = ptr::from_ref(&self.segments[self.segment_index(hash)]);
        prefetch(segment.cast());
        prefetch(segment.cast::<u8>().wrapping_add(64));
    }

    /// Asks the processor for the bucket that a hash leads to; the segment should be near by now.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        let segment = &self.segments[self.segment_index(hash)];
        prefetch(ptr::from_ref(segment.buckets.at(segment.home(segment.tag(hash)))).cast());
    }

    /// Asks the processor for the entry that a hash leads to, in bucket number `probe` (from 0) on its way, which should
    /// be near by now. True if the way goes on from there: then the bucket that comes next is asked for instead.
    #[inline]
    fn prefetch_entry(&self, hash: u64, probe: usize) -> bool {
        let segment = &self.segments[self.segment_index(hash)];
        let tag = segment.tag(hash);
        let mut b = segment.home(tag);
        for _ in 0..probe {
            b = segment.after(b);
        }
        let bucket = segment.buckets.at(b);
        let mut matches = bucket.matches(segment.fingerprint(hash));
        while matches != 0 {
            let slot = bucket.slots[(matches.trailing_zeros() / 8) as usize];
            if tag_of(slot) == tag {
                prefetch(untagged(slot));
                // A key and its value are often more than what is left of the first line.
                prefetch(untagged(slot).wrapping_add(63));
                return false;
            }
            matches &= matches - 1;
        }
        if bucket.overflowed() {
            prefetch(ptr::from_ref(segment.buckets.at(segment.after(b))).cast());
        }
        bucket.overflowed()
    }

    /// Makes an empty table as it would be with so many entries (or with all that one directory leads to), if
    /// their hashes are spread evenly: then it need not grow there.
    pub fn expect(&mut self, entries: usize) {
        // Entries of a segment that need not split, chance allowed for.
        const MOST: usize = MAX_BUCKETS as usize * SLOTS * 4 / 5;
        if self.len > 0 || self.segments.len() > 1 {
            return;
        }
        let bits = (usize::BITS - (entries / MOST).leading_zeros()).min(DIRECTORY_BITS);
        if bits == 0 {
            return;
        }
        // Filled to 0.85, but rounded down to groups: the few that get more than their share grow.
        let buckets = ((entries >> bits).min(MOST) * 20 / (17 * SLOTS)) as u16 & !7;
        self.segments = (0..1u64 << bits)
            .map(|prefix| Segment::new(bits as u8, prefix << (64 - bits), buckets.max(8)))
            .collect();
        self.directories = Directories::even(bits);
        self.bytes = self.segments.iter().map(Segment::bytes).sum();
    }

    /// Where the entry with this key is.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.find_by(hash, |entry| entry.key() == key)
    }

    /// Where the first entry is that has this hash's tag and fingerprint and satisfies `is`.
    #[inline]
    pub fn find_by(&self, hash: u64, mut is: impl FnMut(EntryRef<'_>) -> bool) -> Option<Place> {
        let index = self.segment_index(hash);
        let segment = &self.segments[index];
        let tag = segment.tag(hash);
        let (fingerprint, mut b) = (segment.fingerprint(hash), segment.home(tag));
        for _ in 0..segment.probes() {
            let bucket = segment.buckets.at(b);
            let mut matches = bucket.matches(fingerprint);
            while matches != 0 {
                let i = (matches.trailing_zeros() / 8) as usize;
                let slot = bucket.slots[i];
                if tag_of(slot) == tag && !slot.is_null() {
                    // SAFETY: the slot is not null, so it is a live entry of ours; `&self`.
                    if is(unsafe { EntryRef::from_raw(untagged(slot)) }) {
                        return Some(Place {
                            segment: index as u32,
                            bucket: b as u16,
                            slot: i as u8,
                        });
                    }
                }
                matches &= matches - 1;
            }
            if !bucket.overflowed() {
                return None;
            }
            b = segment.after(b);
        }
        None
    }

    #[inline]
    fn slot(&self, place: Place) -> *mut u8 {
        let bucket = self.segments[place.segment as usize]
            .buckets
            .at(usize::from(place.bucket));
        let slot = bucket.slots[usize::from(place.slot)];
        assert!(!slot.is_null(), "a place outlived its entry");
        slot
    }

    /// The number of entries of each bucket.
    pub fn bucket_sizes(&self) -> impl Iterator<Item = usize> {
        let filled =
            |bucket: &segment::Bucket| bucket.slots.iter().filter(|s| !s.is_null()).count();
        (self.segments.iter()).flat_map(move |segment| segment.buckets.iter().map(filled))
    }

    /// The entry at a place.
    #[inline]
    pub fn entry(&self, place: Place) -> EntryRef<'_> {
        // SAFETY: a slot that is not null holds a live entry of ours; the borrow is of `self`.
        unsafe { EntryRef::from_raw(untagged(self.slot(place))) }
    }

    /// The entry at a place, to be changed in place.
    #[inline]
    pub fn entry_mut(&mut self, place: Place) -> EntryMut<'_> {
        // SAFETY: as above, and the borrow of `self` is unique.
        unsafe { EntryMut::from_raw(untagged(self.slot(place))) }
    }

    /// Puts another entry with the same key in an entry's place; gives the old one back.
    pub fn replace(&mut self, place: Place, entry: Entry) -> Entry {
        let old = self.slot(place);
        let segment = &mut self.segments[place.segment as usize];
        segment.buckets.at_mut(usize::from(place.bucket)).slots[usize::from(place.slot)] =
            with_tag(entry.into_raw(), tag_of(old));
        // SAFETY: the table no longer holds `old`.
        unsafe { Entry::from_raw(untagged(old)) }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, place: Place) -> Entry {
        let old = self.slot(place);
        let segment = &mut self.segments[place.segment as usize];
        let bucket = segment.buckets.at_mut(usize::from(place.bucket));
        bucket.put(usize::from(place.slot), ptr::null_mut(), 0);
        segment.len -= 1;
        self.len -= 1;
        let (len, buckets) = (segment.len as usize, segment.buckets.len());
        if buckets > 2 && len * 3 < buckets * SLOTS {
            let before = segment.bytes();
            segment.resize(fitting(segment.len));
            self.bytes = self.bytes + segment.bytes() - before;
        }
        if len <= MERGED as usize && (len as u32).is_multiple_of(MERGE_EVERY) {
            self.merge(place.segment as usize);
        }
        // SAFETY: the table no longer holds `old`.
        unsafe { Entry::from_raw(untagged(old)) }
    }

    /// Puts a new entry in; its key must not be there. `rehash` gives the hash of a key, should a
    /// segment have to split.
    pub fn insert(&mut self, hash: u64, entry: Entry, rehash: impl Fn(&[u8]) -> u64) -> Place {
        let raw = entry.into_raw();
        loop {
            let index = self.segment_index(hash);
            let segment = &mut self.segments[index];
            let (tag, fingerprint) = (segment.tag(hash), segment.fingerprint(hash));
            if let Some((bucket, slot)) = segment.place(raw, tag, fingerprint) {
                self.len += 1;
                return Place {
                    segment: index as u32,
                    bucket,
                    slot,
                };
            }
            let buckets = segment.buckets.len() as u16;
            assert!(
                u32::from(segment.depth) < MAX_DEPTH,
                "a segment at the greatest depth is full"
            );
            if buckets < MAX_BUCKETS {
                let before = segment.bytes();
                segment.resize(next_size(buckets));
                self.bytes = self.bytes + segment.bytes() - before;
            } else {
                self.split(hash, index, &rehash);
            }
        }
    }

    /// Splits a full segment in two by the next hash bit.
    fn split(&mut self, hash: u64, index: usize, rehash: &impl Fn(&[u8]) -> u64) {
        let depth = self.segments[index].depth;
        let old = core::mem::replace(&mut self.segments[index], Segment::new(0, 0, 1));
        let [low, high] = old.split(|entry| {
            // SAFETY: a slot that is not null holds a live entry of ours.
            rehash(unsafe { EntryRef::from_raw(entry) }.key())
        });
        self.bytes = self.bytes - old.bytes() + low.bytes() + high.bytes();
        let above = self.segments.len();
        self.segments[index] = low;
        self.segments.push(high);
        self.directories.split(hash, u32::from(depth), index, above);
    }

    /// Merges a segment that has become small with its other half, and so on, while both have.
    fn merge(&mut self, mut index: usize) {
        loop {
            let segment = &self.segments[index];
            let Some(other) = segment.sibling().map(|at| self.segment_index(at)) else {
                return;
            };
            let sibling = &self.segments[other];
            if sibling.depth != segment.depth || segment.len + sibling.len > MERGED {
                return;
            }
            let (low, high) = if segment.prefix < sibling.prefix {
                (index, other)
            } else {
                (other, index)
            };
            let (prefix, depth) = (self.segments[low].prefix, self.segments[low].depth);
            self.bytes -= self.segments[low].bytes() + self.segments[high].bytes();
            let merged = Segment::merged(&self.segments[low], &self.segments[high]);
            self.bytes += merged.bytes();
            self.segments[low] = merged;
            self.directories.merge(prefix, u32::from(depth), low);
            self.segments.swap_remove(high);
            index = low;
            if let Some(moved) = self.segments.get(high) {
                let (prefix, depth) = (moved.prefix, u32::from(moved.depth));
                self.directories.renumber(prefix, depth, high);
                if low == self.segments.len() {
                    index = high;
                }
            }
            if self.segments.len() * 4 < self.segments.capacity() {
                self.segments.shrink_to(self.segments.len() * 2);
            }
        }
    }

    /// Gives the entries of one bucket's worth of hashes from `position` on, and the position after
    /// them; `None` after the last. Positions go from 0 up; their low [`POSITION_ZEROS`] bits are zero.
    ///
    /// If the table has become smaller since it gave a position out, some entries before it may come again.
    pub fn walk(&self, position: u64, visit: impl FnMut(Place, EntryRef<'_>)) -> Option<u64> {
        self.walk_where(position, |_| true, visit)
    }

    /// As [`Table::walk`], but nothing ever comes again. `hash_of` gives the hash of a key.
    pub fn walk_once(
        &self,
        position: u64,
        hash_of: impl Fn(&[u8]) -> u64,
        visit: impl FnMut(Place, EntryRef<'_>),
    ) -> Option<u64> {
        self.walk_where(position, |entry| hash_of(entry.key()) >= position, visit)
    }

    /// A walk that asks `is_ahead` of entries whose tag does not tell.
    fn walk_where(
        &self,
        position: u64,
        is_ahead: impl Fn(EntryRef<'_>) -> bool,
        mut visit: impl FnMut(Place, EntryRef<'_>),
    ) -> Option<u64> {
        let index = self.segment_index(position);
        let segment = &self.segments[index];
        let depth = u32::from(segment.depth);
        let from = segment.tag(position);
        let between = position << (depth + 16) != 0;
        let home = segment.home(from);
        let mut b = home;
        for _ in 0..segment.probes() {
            let bucket = segment.buckets.at(b);
            for (i, &slot) in bucket.slots.iter().enumerate() {
                let tag = tag_of(slot);
                if !slot.is_null() && segment.home(tag) == home && tag >= from {
                    let place = Place {
                        segment: index as u32,
                        bucket: b as u16,
                        slot: i as u8,
                    };
                    // SAFETY: a slot that is not null holds a live entry of ours; `&self`.
                    let entry = unsafe { EntryRef::from_raw(untagged(slot)) };
                    if tag > from || !between || is_ahead(entry) {
                        visit(place, entry);
                    }
                }
            }
            if !bucket.overflowed() {
                break;
            }
            b = segment.after(b);
        }
        // In units of 2^(48 - depth): the next bucket's first tag, or the next segment's.
        let unit = TAG_SHIFT - depth;
        let prefix = (segment.prefix >> 1) >> (63 - depth);
        let next = (u128::from(prefix) << 16) + u128::from(segment.first_tag(home + 1));
        u64::try_from(next << unit).ok()
    }

    /// An entry near a random position: `None` only if the table is empty. `random` gives words.
    pub fn sample(&self, mut random: impl FnMut() -> u64) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        let mut index = self.segment_index(random());
        while self.segments[index].len == 0 {
            index = if index + 1 == self.segments.len() {
                0
            } else {
                index + 1
            };
        }
        let segment = &self.segments[index];
        let slots = segment.buckets.len() * SLOTS;
        let mut at = (random() % slots as u64) as usize;
        loop {
            let (b, i) = (at / SLOTS, at % SLOTS);
            if !segment.buckets.at(b).slots[i].is_null() {
                return Some(Place {
                    segment: index as u32,
                    bucket: b as u16,
                    slot: i as u8,
                });
            }
            // A new draw rather than the next slot keeps the choice even; with few entries in the
            // segment, walk.
            at = if (segment.len as usize) * 4 > slots {
                (random() % slots as u64) as usize
            } else if at + 1 == slots {
                0
            } else {
                at + 1
            };
        }
    }

    /// Frees entries of a table that nobody uses any more, as long as `budget` lasts, and gives what `cost` says
    /// of each value: what it takes off the budget, or the value back, to be freed by itself. True when no entry
    /// is left.
    pub fn free_some(
        &mut self,
        budget: &mut usize,
        mut cost: impl FnMut(ValueRef<'_>) -> usize,
    ) -> bool {
        while let Some(segment) = self.segments.last_mut() {
            for b in 0..segment.buckets.len() {
                for slot in segment
                    .buckets
                    .at_mut(b)
                    .slots
                    .iter_mut()
                    .filter(|s| !s.is_null())
                {
                    if *budget == 0 {
                        return false;
                    }
                    let raw = untagged(core::mem::replace(slot, ptr::null_mut()));
                    self.len -= 1;
                    // SAFETY: the table no longer holds the entry.
                    let entry = unsafe { Entry::from_raw(raw) };
                    *budget = budget.saturating_sub(cost(entry.view().value()));
                }
            }
            self.bytes -= segment.bytes();
            self.segments.pop();
        }
        true
    }

    /// Checks the table against itself: O(n).
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn invariants(&self, hash_of: impl Fn(&[u8]) -> u64) {
        let mut count = 0;
        self.directories.invariants();
        let bytes: usize = self.segments.iter().map(Segment::bytes).sum();
        assert_eq!(self.bytes, bytes, "the table counts its bytes");
        for (index, segment) in self.segments.iter().enumerate() {
            assert_eq!(
                self.segment_index(segment.prefix),
                index,
                "a segment is found where its hashes begin"
            );
            let mut len = 0;
            for bucket in segment.buckets.iter() {
                for (i, &slot) in bucket
                    .slots
                    .iter()
                    .enumerate()
                    .filter(|(_, s)| !s.is_null())
                {
                    // SAFETY: a slot that is not null holds a live entry of ours.
                    let entry = unsafe { EntryRef::from_raw(untagged(slot)) };
                    let hash = hash_of(entry.key());
                    assert_eq!(
                        self.segment_index(hash),
                        index,
                        "an entry is in the segment of its hash"
                    );
                    assert_eq!(
                        tag_of(slot),
                        segment.tag(hash),
                        "an entry's tag is its hash's"
                    );
                    assert_eq!(
                        bucket.fingerprint(i),
                        segment.fingerprint(hash),
                        "an entry's fingerprint is its hash's"
                    );
                    assert!(
                        self.find(hash, entry.key()).is_some(),
                        "an entry is found by its key"
                    );
                    len += 1;
                }
            }
            assert_eq!(segment.len, len, "a segment counts its entries");
            count += len as usize;
        }
        assert_eq!(self.len, count, "the table counts its entries");
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.free_some(&mut { usize::MAX }, |_| 0);
    }
}

#[cfg(test)]
mod tests;
