//! The hash table of a database: extendible hashing over segments of cache-line buckets.
//!
//! ```text
//! hash:  | directory bits (depth) | tag: 16 bits | …                    | low 8: fingerprint |
//!
//! directory ──► segment: 1–64 buckets of 64 bytes, filled to about 0.85
//!               bucket:  [7 fingerprints, overflow flag][7 × (tag in the high 16 bits, entry pointer)]
//! ```
//!
//! The directory's bits select a segment; the tag selects the home bucket by range reduction
//! (`tag × buckets >> 16`), so any number of buckets will do and the order of buckets is the order of
//! hashes. An entry that finds its home full goes to one of the next buckets, and the overflow flag
//! says that a search must go on. A segment without room grows by a few buckets (tags suffice: no
//! key is touched) up to 64, then splits in two by the next hash bit. Growth is thus one bounded step
//! at a time, and segments stay nearly full whatever the number of keys.
//!
//! A directory has at most 2¹⁴ places; a segment that must split beyond that becomes a directory of
//! its own. In cluster mode the hash begins with the key's slot, so a slot's keys lie side by side,
//! and a slot with millions of keys costs no other slot anything.
//!
//! A position is a prefix of the hash, kept as the high bits of a `u64`: SCAN and the snapshot's walk
//! go through positions in rising order, statelessly, whatever grows meanwhile.
//!
//! Source: Fagin et al., *Extendible Hashing* (1979); Lu et al., *Dash* (2020).
#![allow(unsafe_code)]

use alloc::alloc::Layout;
use alloc::vec;
use alloc::vec::Vec;
use core::ptr;

use super::entry::{Entry, EntryMut, EntryRef};

/// Slots of a bucket.
const SLOTS: usize = 7;
/// Buckets of a segment before it splits.
const MAX_BUCKETS: u16 = 64;
/// Most buckets of a segment: what a split leaves on one side may need more than it had, for once.
/// With so many, an entry may be in any of them, so all that filled the smaller segment find room.
const ROOMY: usize = 96;
/// Buckets that an entry may be in, from its home on.
const PROBES: u16 = 5;
/// Most hash bits that one directory resolves.
const DIRECTORY_BITS: u32 = 14;
/// Most hash bits that directories resolve together. A slot of a cluster reaches it with seven
/// billion keys, a table without slots with more than any memory holds.
const MAX_DEPTH: u32 = 38;

/// Low bits of a position that are always zero: a depth and a tag fill what is above them.
pub const POSITION_ZEROS: u32 = 64 - MAX_DEPTH - 16;

const TAG_SHIFT: u32 = 48;
const ADDRESS: usize = (1 << TAG_SHIFT) - 1;
const BYTES: u64 = 0x0101_0101_0101_0101;

/// One cache line: fingerprints, and pointers with a tag above the address.
///
/// Invariant: a slot that is not null holds the address of an entry from [`Entry::into_raw`], owned
/// by the table, and the 16 bits above it are the entry's tag at its segment's depth.
#[repr(C, align(64))]
#[derive(Clone)]
struct Bucket {
    /// Bytes 0–6: the fingerprint of each slot; byte 7: not zero if a search must go on.
    meta: u64,
    slots: [*mut u8; SLOTS],
}

const EMPTY: Bucket = Bucket {
    meta: 0,
    slots: [ptr::null_mut(); SLOTS],
};

#[inline]
fn with_tag(entry: *mut u8, tag: u16) -> *mut u8 {
    entry.map_addr(|a| (a & ADDRESS) | (usize::from(tag) << TAG_SHIFT))
}

#[inline]
fn tag_of(slot: *mut u8) -> u16 {
    (slot.addr() >> TAG_SHIFT) as u16
}

#[inline]
fn untagged(slot: *mut u8) -> *mut u8 {
    slot.map_addr(|a| a & ADDRESS)
}

impl Bucket {
    #[inline]
    fn overflowed(&self) -> bool {
        self.meta >> 56 != 0
    }

    #[inline]
    fn fingerprint(&self, slot: usize) -> u8 {
        (self.meta >> (slot * 8)) as u8
    }

    #[inline]
    fn put(&mut self, slot: usize, entry: *mut u8, fingerprint: u8) {
        self.slots[slot] = entry;
        self.meta = self.meta & !(0xFF << (slot * 8)) | u64::from(fingerprint) << (slot * 8);
    }

    #[inline]
    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|s| s.is_null())
    }

    /// A bit in each byte (at its top) whose fingerprint may equal `fingerprint`.
    #[inline]
    fn matches(&self, fingerprint: u8) -> u64 {
        let x = self.meta ^ (BYTES * u64::from(fingerprint));
        x.wrapping_sub(BYTES) & !x & 0x0080_8080_8080_8080
    }
}

/// Buckets that are allocated together: eight cache lines, one size class, so that what one segment
/// gives back another can take, whatever sizes segments have.
const GROUP: usize = 8;

/// The buckets of a segment: up to twelve groups of eight; fewer than eight buckets are one small group.
///
/// Invariant: the first `len.div_ceil(8)` pointers are blocks of [`Buckets::layout`], ours alone, with
/// `min(len, 8)` initialised buckets each; `len` is 1, 2, 4, or a multiple of 8.
struct Buckets {
    groups: [*mut Bucket; ROOMY / GROUP],
    len: u16,
}

impl Buckets {
    /// The block of a group in a segment of `len` buckets. Powers of two: aligned without waste.
    fn layout(len: u16) -> Layout {
        let bytes = usize::from(len).min(GROUP) * size_of::<Bucket>();
        // Invariant: 64 to 512 bytes.
        Layout::from_size_align(bytes, 64).expect("a group is small")
    }

    fn new(len: u16) -> Buckets {
        let mut buckets = Buckets {
            groups: [ptr::null_mut(); ROOMY / GROUP],
            len,
        };
        for group in 0..usize::from(len).div_ceil(GROUP) {
            buckets.add_group(group);
        }
        buckets
    }

    fn add_group(&mut self, group: usize) {
        let layout = Buckets::layout(self.len);
        // SAFETY: the layout's size is not zero.
        let block = unsafe { alloc::alloc::alloc(layout) }.cast::<Bucket>();
        if block.is_null() {
            alloc::alloc::handle_alloc_error(layout);
        }
        for i in 0..usize::from(self.len).min(GROUP) {
            // SAFETY: the block was allocated for so many buckets.
            unsafe { block.add(i).write(EMPTY) };
        }
        self.groups[group] = block;
    }

    /// Another number of buckets, all empty; what they held must be elsewhere.
    fn reset(&mut self, len: u16) {
        if usize::from(len.min(self.len)) < GROUP {
            *self = Buckets::new(len);
            return;
        }
        let (old, new) = (usize::from(self.len) / GROUP, usize::from(len) / GROUP);
        for group in new..old {
            // SAFETY: the invariant; the pointer is forgotten.
            unsafe { alloc::alloc::dealloc(self.groups[group].cast(), Buckets::layout(self.len)) };
            self.groups[group] = ptr::null_mut();
        }
        self.len = len;
        for group in old..new {
            self.add_group(group);
        }
        for b in 0..usize::from(len) {
            *self.at_mut(b) = EMPTY;
        }
    }

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    fn at(&self, b: usize) -> &Bucket {
        assert!(b < self.len());
        // SAFETY: the invariant, and the bound just checked.
        unsafe { &*self.groups[b / GROUP].add(b % GROUP) }
    }

    #[inline]
    fn at_mut(&mut self, b: usize) -> &mut Bucket {
        assert!(b < self.len());
        // SAFETY: as above, and `&mut self`.
        unsafe { &mut *self.groups[b / GROUP].add(b % GROUP) }
    }

    fn iter(&self) -> impl Iterator<Item = &Bucket> {
        (0..self.len()).map(|b| self.at(b))
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        for group in self.groups.iter().take_while(|g| !g.is_null()) {
            // SAFETY: the invariant.
            unsafe { alloc::alloc::dealloc(group.cast(), Buckets::layout(self.len)) };
        }
    }
}

struct Segment {
    buckets: Buckets,
    /// Entries in it.
    len: u32,
    /// Hash bits that led here.
    depth: u8,
}

impl Segment {
    fn new(depth: u8, buckets: u16) -> Segment {
        Segment {
            buckets: Buckets::new(buckets),
            len: 0,
            depth,
        }
    }

    #[inline]
    fn tag(&self, hash: u64) -> u16 {
        ((hash << self.depth) >> TAG_SHIFT) as u16
    }

    #[inline]
    fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.buckets.len()) >> 16
    }

    /// The first tag whose home is bucket `b`.
    fn first_tag(&self, b: usize) -> u32 {
        ((b << 16).div_ceil(self.buckets.len())) as u32
    }

    #[inline]
    fn after(&self, b: usize) -> usize {
        if b + 1 == self.buckets.len() {
            0
        } else {
            b + 1
        }
    }

    fn probes(&self) -> usize {
        if self.buckets.len() == ROOMY {
            return ROOMY;
        }
        usize::from(PROBES).min(self.buckets.len())
    }

    /// Puts an entry (untagged) with its tag in, and says where; `None` if there is no room near its home.
    #[inline]
    fn place(&mut self, entry: *mut u8, tag: u16, fingerprint: u8) -> Option<(u16, u8)> {
        let mut b = self.home(tag);
        for _ in 0..self.probes() {
            let bucket = self.buckets.at_mut(b);
            if let Some(slot) = bucket.free_slot() {
                bucket.put(slot, with_tag(entry, tag), fingerprint);
                self.len += 1;
                return Some((b as u16, slot as u8));
            }
            bucket.meta |= 1 << 56;
            b = self.after(b);
        }
        None
    }

    /// The same entries in another number of buckets, at least `buckets`.
    fn resize(&mut self, mut buckets: u16) {
        let mut entries: Vec<(*mut u8, u8)> = Vec::with_capacity(self.len as usize);
        for bucket in self.buckets.iter() {
            let filled = bucket
                .slots
                .iter()
                .enumerate()
                .filter(|(_, s)| !s.is_null());
            entries.extend(filled.map(|(i, &slot)| (slot, bucket.fingerprint(i))));
        }
        loop {
            self.buckets.reset(buckets);
            self.len = 0;
            let fits = entries.iter().all(|&(slot, fingerprint)| {
                self.place(untagged(slot), tag_of(slot), fingerprint)
                    .is_some()
            });
            if fits {
                return;
            }
            buckets = next_size(buckets);
        }
    }

    fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }
}

/// The sizes that segments have: the smallest above `buckets`.
fn next_size(buckets: u16) -> u16 {
    match buckets {
        0 => 1,
        1..8 => (buckets + 1).next_power_of_two(),
        _ => (buckets + 1).next_multiple_of(GROUP as u16),
    }
}

/// A directory's place: a segment, or a directory below.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node(u32);

impl Node {
    const BELOW: u32 = 1 << 31;

    #[inline]
    fn below(self) -> Option<usize> {
        (self.0 & Node::BELOW != 0).then_some((self.0 & !Node::BELOW) as usize)
    }
}

#[derive(Clone)]
struct Directory {
    /// Hash bits resolved above.
    base: u32,
    /// Hash bits resolved here.
    bits: u32,
    places: Vec<Node>,
}

impl Directory {
    #[inline]
    fn place(&self, hash: u64) -> usize {
        (((hash << self.base) >> 1) >> (63 - self.bits)) as usize
    }
}

/// Where an entry is. Valid until the table is changed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    segment: u32,
    bucket: u16,
    slot: u8,
}

/// The table. It owns its entries. See the module's documentation.
pub struct Table {
    directories: Vec<Directory>,
    segments: Vec<Segment>,
    len: usize,
    /// Bytes of buckets and directories.
    bytes: usize,
}

impl Default for Table {
    fn default() -> Table {
        let mut table = Table {
            directories: vec![Directory {
                base: 0,
                bits: 0,
                places: vec![Node(0)],
            }],
            segments: vec![Segment::new(0, 1)],
            len: 0,
            bytes: 0,
        };
        table.bytes = size_of::<Bucket>() + size_of::<Segment>();
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

    /// Bytes of the table itself, without the entries.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    fn segment_index(&self, hash: u64) -> usize {
        let mut directory = &self.directories[0];
        loop {
            let node = directory.places[directory.place(hash)];
            match node.below() {
                None => return node.0 as usize,
                Some(below) => directory = &self.directories[below],
            }
        }
    }

    /// Asks the processor for the bucket that a hash leads to.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        let segment = &self.segments[self.segment_index(hash)];
        prefetch(ptr::from_ref(segment.buckets.at(segment.home(segment.tag(hash)))).cast());
    }

    /// Asks the processor for the entry that a hash leads to; the bucket should be near by now.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        let segment = &self.segments[self.segment_index(hash)];
        let tag = segment.tag(hash);
        let bucket = segment.buckets.at(segment.home(tag));
        let mut matches = bucket.matches(hash as u8);
        while matches != 0 {
            let slot = bucket.slots[(matches.trailing_zeros() / 8) as usize];
            if tag_of(slot) == tag {
                prefetch(untagged(slot));
                // A key and its value are often more than what is left of the first line.
                prefetch(untagged(slot).wrapping_add(63));
                return;
            }
            matches &= matches - 1;
        }
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
        let mut b = segment.home(tag);
        for _ in 0..segment.probes() {
            let bucket = segment.buckets.at(b);
            let mut matches = bucket.matches(hash as u8);
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
            segment.resize(next_size((len * 3 / 2 / SLOTS) as u16));
            self.bytes = self.bytes + segment.bytes() - before;
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
            let tag = segment.tag(hash);
            if let Some((bucket, slot)) = segment.place(raw, tag, hash as u8) {
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
        let old = core::mem::replace(&mut self.segments[index], Segment::new(0, 1));
        self.bytes -= old.bytes();
        for bucket in old.buckets.iter() {
            bucket
                .slots
                .iter()
                .filter(|s| !s.is_null())
                .for_each(|&s| prefetch(untagged(s)));
        }
        let size = MAX_BUCKETS / 2;
        let mut halves = [Segment::new(depth + 1, size), Segment::new(depth + 1, size)];
        for &slot in old
            .buckets
            .iter()
            .flat_map(|b| &b.slots)
            .filter(|s| !s.is_null())
        {
            let raw = untagged(slot);
            // SAFETY: a slot that is not null holds a live entry of ours.
            let hash = rehash(unsafe { EntryRef::from_raw(raw) }.key());
            let half = &mut halves[((hash << depth) >> 63) as usize];
            while half.place(raw, half.tag(hash), hash as u8).is_none() {
                half.resize(next_size(half.buckets.len() as u16));
            }
        }
        let [low, high] = halves;
        self.bytes += low.bytes() + high.bytes() + size_of::<Segment>();
        let above = self.segments.len() as u32;
        self.segments[index] = low;
        self.segments.push(high);
        self.link(hash, u32::from(depth), index as u32, above);
    }

    /// Lets the upper half of what leads to segment `low` (of the given depth before it was split)
    /// lead to segment `high`.
    fn link(&mut self, hash: u64, depth: u32, low: u32, high: u32) {
        let mut d = 0;
        while let Some(below) = self.directories[d].places[self.directories[d].place(hash)].below()
        {
            d = below;
        }
        let directory = &mut self.directories[d];
        if depth == directory.base + directory.bits {
            if directory.bits == DIRECTORY_BITS {
                let place = directory.place(hash);
                let below = Directory {
                    base: depth,
                    bits: 1,
                    places: vec![Node(low), Node(high)],
                };
                self.bytes += size_of::<Directory>() + 2 * size_of::<Node>();
                self.directories.push(below);
                let at = self.directories.len() as u32 - 1;
                self.directories[d].places[place] = Node(at | Node::BELOW);
                return;
            }
            self.bytes += directory.places.len() * size_of::<Node>();
            directory.places = directory.places.iter().flat_map(|&n| [n, n]).collect();
            directory.bits += 1;
        }
        // The places of the old segment: all that share its `depth - base` bits.
        let span = 1usize << (directory.bits - (depth - directory.base));
        let first = directory.place(hash) & !(span - 1);
        directory.places[first + span / 2..first + span].fill(Node(high));
    }

    /// Gives the entries of one bucket's worth of hashes from `position` on, and the position after
    /// them; `None` after the last. Positions go from 0 up; their low [`POSITION_ZEROS`] bits are zero.
    pub fn walk(&self, position: u64, mut visit: impl FnMut(Place, EntryRef<'_>)) -> Option<u64> {
        let index = self.segment_index(position);
        let segment = &self.segments[index];
        let depth = u32::from(segment.depth);
        let from = segment.tag(position);
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
                    visit(place, unsafe { EntryRef::from_raw(untagged(slot)) });
                }
            }
            if !bucket.overflowed() {
                break;
            }
            b = segment.after(b);
        }
        // In units of 2^(48 - depth): the next bucket's first tag, or the next segment's.
        let unit = TAG_SHIFT - depth;
        let prefix = if depth == 0 {
            0
        } else {
            position >> (64 - depth)
        };
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

    /// Frees up to about `budget` entries; true when none is left. For tables that nobody uses any more.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut freed = 0;
        while let Some(segment) = self.segments.last_mut() {
            for b in 0..segment.buckets.len() {
                for slot in segment
                    .buckets
                    .at_mut(b)
                    .slots
                    .iter_mut()
                    .filter(|s| !s.is_null())
                {
                    let raw = untagged(core::mem::replace(slot, ptr::null_mut()));
                    // SAFETY: the table no longer holds the entry.
                    drop(unsafe { Entry::from_raw(raw) });
                    freed += 1;
                    self.len -= 1;
                }
            }
            self.bytes = self
                .bytes
                .saturating_sub(segment.bytes() + size_of::<Segment>());
            self.segments.pop();
            if freed >= budget {
                break;
            }
        }
        self.segments.is_empty()
    }

    /// Checks the table against itself: O(n).
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn invariants(&self, hash_of: impl Fn(&[u8]) -> u64) {
        let mut count = 0;
        for (index, segment) in self.segments.iter().enumerate() {
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
                        hash as u8,
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
        while !self.free_some(usize::MAX) {}
    }
}

/// Asks the processor to bring a line near. Only a hint: any address will do.
#[inline]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program could notice.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Value, ValueRef};
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use proptest::prelude::*;

    fn hash(key: &[u8]) -> u64 {
        siphasher::sip::SipHasher13::new_with_keys(1, 2).hash(key)
    }

    /// As in cluster mode: most hashes share their high bits.
    fn skewed(key: &[u8]) -> u64 {
        hash(key) >> 14 | 5 << 50
    }

    fn insert(t: &mut Table, key: &[u8], hash: impl Fn(&[u8]) -> u64) {
        t.insert(hash(key), Entry::new(key, Value::Int(1), None, 0), &hash);
    }

    #[test]
    fn grows_full_and_flat() {
        let mut t = Table::default();
        for n in 0..200_000u32 {
            insert(&mut t, &n.to_le_bytes(), hash);
            if n > 2000 && n % 7919 == 0 {
                let load = t.len() as f64
                    / (t.segments.iter().map(|s| s.buckets.len()).sum::<usize>() * SLOTS) as f64;
                assert!(load > 0.67, "{n} entries fill {load:.2} of the slots");
                assert!(t.bytes() < t.len() * 14, "{} bytes for {n}", t.bytes());
            }
        }
        t.invariants(hash);
        for n in 0..200_000u32 {
            assert!(t.find(hash(&n.to_le_bytes()), &n.to_le_bytes()).is_some());
        }
        for n in 1000..200_000u32 {
            let key = n.to_le_bytes();
            let place = t.find(hash(&key), &key).unwrap();
            t.remove(place);
        }
        t.invariants(hash);
        assert!(t.bytes() < 300_000, "{} bytes for 1000 entries", t.bytes());
    }

    #[test]
    fn one_slot_with_many_keys_is_no_burden() {
        let mut t = Table::default();
        for n in 0..50_000u32 {
            insert(&mut t, &n.to_le_bytes(), skewed);
        }
        t.invariants(skewed);
        assert!(
            t.directories.len() > 1 && t.bytes() < t.len() * 18,
            "{} bytes",
            t.bytes()
        );
        let mut position = 5 << 50;
        let mut seen = 0;
        while let Some(next) = t.walk(position, |_, _| seen += 1).filter(|&n| n < 6 << 50) {
            assert!(next > position);
            position = next;
        }
        assert_eq!(seen, 50_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Against a map; and a walk that goes on meanwhile sees each key that stays, and, since
        /// positions are hashes, none twice.
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((0u8..8, 0u16..1500), 1..6000), seed in any::<u64>()) {
            let hash = |key: &[u8]| siphasher::sip::SipHasher13::new_with_keys(seed, 2).hash(key);
            let mut t = Table::default();
            let mut model = BTreeMap::new();
            let (mut position, mut seen, mut stayed) = (Some(0), BTreeSet::new(), None::<BTreeSet<u16>>);
            for (i, (op, k)) in ops.into_iter().enumerate() {
                let key = k.to_le_bytes();
                let found = t.find(hash(&key), &key);
                prop_assert_eq!(found.is_some(), model.contains_key(&k));
                match (op, found) {
                    (0..5, None) => {
                        t.insert(hash(&key), Entry::new(&key, Value::Int(i as i64), None, 0), hash);
                        model.insert(k, i as i64);
                    }
                    (0..5, Some(place)) => {
                        let ValueRef::Int(n) = t.entry(place).value() else { panic!() };
                        prop_assert_eq!(Some(&n), model.get(&k));
                        t.replace(place, Entry::new(&key, Value::Int(i as i64), None, 0));
                        model.insert(k, i as i64);
                    }
                    (5..7, Some(place)) => {
                        t.remove(place);
                        model.remove(&k);
                        if let Some(s) = &mut stayed { s.remove(&k); }
                    }
                    _ => {
                        let stayed = stayed.get_or_insert_with(|| model.keys().copied().collect());
                        if let Some(at) = position {
                            let mut twice = None;
                            position = t.walk(at, |_, e| {
                                let k = u16::from_le_bytes(e.key().try_into().unwrap());
                                if !seen.insert(k) { twice = Some(k); }
                            });
                            prop_assert!(twice.is_none_or(|k| !stayed.contains(&k)));
                        }
                    }
                }
                prop_assert_eq!(t.len(), model.len());
            }
            while let Some(at) = position {
                position = t.walk(at, |_, e| { seen.insert(u16::from_le_bytes(e.key().try_into().unwrap())); });
            }
            if let Some(stayed) = stayed {
                prop_assert!(stayed.is_subset(&seen));
            }
            t.invariants(hash);
        }
    }
}
