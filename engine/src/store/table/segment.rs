//! A segment of the table: a run of cache-line buckets, and where an entry is among them.
//!
//! An entry's *tag* is the 16 hash bits behind those that lead to its segment. The tag selects the home
//! bucket by range reduction, so any number of buckets will do; an entry that finds its home full goes to
//! one of the next buckets, and the home's overflow flag says that a search must go on. Tags suffice to
//! resize a segment and to merge two: no key is touched.
#![allow(unsafe_code)]

use alloc::alloc::Layout;
use alloc::vec::Vec;
use core::ptr;

/// Slots of a bucket.
pub(super) const SLOTS: usize = 7;
/// Buckets of a segment before it splits.
pub(super) const MAX_BUCKETS: u16 = 64;
/// Most buckets of a segment: what a split leaves on one side may need more than it had, for once.
/// With so many, an entry may be in any of them, so all that filled the smaller segment find room.
const ROOMY: usize = 96;
/// Buckets that an entry may be in, from its home on.
const PROBES: u16 = 5;
pub(super) const TAG_SHIFT: u32 = 48;
const ADDRESS: usize = (1 << TAG_SHIFT) - 1;
const BYTES: u64 = 0x0101_0101_0101_0101;

/// One cache line: fingerprints, and pointers with a tag above the address.
///
/// Invariant: a slot that is not null holds the address of an entry from [`Entry::into_raw`], owned
/// by the table, and the 16 bits above it are the entry's tag at its segment's depth.
#[repr(C, align(64))]
#[derive(Clone)]
pub(super) struct Bucket {
    /// Bytes 0–6: the fingerprint of each slot; byte 7: not zero if a search must go on.
    meta: u64,
    pub slots: [*mut u8; SLOTS],
}

const EMPTY: Bucket = Bucket {
    meta: 0,
    slots: [ptr::null_mut(); SLOTS],
};

#[inline]
pub(super) fn with_tag(entry: *mut u8, tag: u16) -> *mut u8 {
    entry.map_addr(|a| (a & ADDRESS) | (usize::from(tag) << TAG_SHIFT))
}

#[inline]
pub(super) fn tag_of(slot: *mut u8) -> u16 {
    (slot.addr() >> TAG_SHIFT) as u16
}

#[inline]
pub(super) fn untagged(slot: *mut u8) -> *mut u8 {
    slot.map_addr(|a| a & ADDRESS)
}

impl Bucket {
    #[inline]
    pub fn overflowed(&self) -> bool {
        self.meta >> 56 != 0
    }

    #[inline]
    pub fn fingerprint(&self, slot: usize) -> u8 {
        (self.meta >> (slot * 8)) as u8
    }

    #[inline]
    pub fn put(&mut self, slot: usize, entry: *mut u8, fingerprint: u8) {
        self.slots[slot] = entry;
        self.meta = self.meta & !(0xFF << (slot * 8)) | u64::from(fingerprint) << (slot * 8);
    }

    #[inline]
    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|s| s.is_null())
    }

    /// A bit in each byte (at its top) whose fingerprint may equal `fingerprint`.
    #[inline]
    pub fn matches(&self, fingerprint: u8) -> u64 {
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
#[repr(C)]
pub(super) struct Buckets {
    len: u16,
    groups: [*mut Bucket; ROOMY / GROUP],
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
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    pub fn at(&self, b: usize) -> &Bucket {
        assert!(b < self.len());
        // SAFETY: the invariant, and the bound just checked.
        unsafe { &*self.groups[b / GROUP].add(b % GROUP) }
    }

    #[inline]
    pub fn at_mut(&mut self, b: usize) -> &mut Bucket {
        assert!(b < self.len());
        // SAFETY: as above, and `&mut self`.
        unsafe { &mut *self.groups[b / GROUP].add(b % GROUP) }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Bucket> {
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

/// Two cache lines: of most that are looked for, the first tells where the bucket is.
#[repr(C, align(64))]
pub(super) struct Segment {
    /// The hash bits that led here, at the top: the first hash that leads here.
    pub prefix: u64,
    /// Entries in it.
    pub len: u32,
    /// Hash bits that led here.
    pub depth: u8,
    pub buckets: Buckets,
}

const _: () = assert!(size_of::<Segment>() == 128);

impl Segment {
    pub fn new(depth: u8, prefix: u64, buckets: u16) -> Segment {
        Segment {
            buckets: Buckets::new(buckets),
            len: 0,
            depth,
            prefix,
        }
    }

    /// One segment with all entries of two that lie side by side, which must be forgotten.
    pub fn merged(low: &Segment, high: &Segment) -> Segment {
        let buckets = fitting(low.len + high.len);
        let mut merged = Segment::new(low.depth - 1, low.prefix, buckets);
        for (half, top) in [(low, 0), (high, 1 << 15)] {
            for (slot, fingerprint) in half.entries() {
                merged.put(untagged(slot), top | tag_of(slot) >> 1, fingerprint);
            }
        }
        merged
    }

    /// The first hash of the segment's other half, if it is half of one.
    pub fn sibling(&self) -> Option<u64> {
        (self.depth > 0).then(|| self.prefix ^ 1 << (64 - u32::from(self.depth)))
    }

    /// The slots in use, with their fingerprints.
    pub fn entries(&self) -> impl Iterator<Item = (*mut u8, u8)> {
        self.buckets.iter().flat_map(|bucket| {
            let slots = bucket.slots.iter().enumerate();
            slots
                .filter(|(_, slot)| !slot.is_null())
                .map(|(i, &slot)| (slot, bucket.fingerprint(i)))
        })
    }

    /// Puts an entry (untagged) with its tag in, whatever room that takes.
    pub fn put(&mut self, entry: *mut u8, tag: u16, fingerprint: u8) {
        while self.place(entry, tag, fingerprint).is_none() {
            self.resize(next_size(self.buckets.len() as u16));
        }
    }

    #[inline]
    pub fn tag(&self, hash: u64) -> u16 {
        ((hash << self.depth) >> TAG_SHIFT) as u16
    }

    #[inline]
    pub fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.buckets.len()) >> 16
    }

    /// The first tag whose home is bucket `b`.
    pub fn first_tag(&self, b: usize) -> u32 {
        ((b << 16).div_ceil(self.buckets.len())) as u32
    }

    #[inline]
    pub fn after(&self, b: usize) -> usize {
        if b + 1 == self.buckets.len() {
            0
        } else {
            b + 1
        }
    }

    pub fn probes(&self) -> usize {
        if self.buckets.len() == ROOMY {
            return ROOMY;
        }
        usize::from(PROBES).min(self.buckets.len())
    }

    /// Puts an entry (untagged) with its tag in, and says where; `None` if there is no room near its home.
    #[inline]
    pub fn place(&mut self, entry: *mut u8, tag: u16, fingerprint: u8) -> Option<(u16, u8)> {
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
    pub fn resize(&mut self, mut buckets: u16) {
        let mut entries: Vec<(*mut u8, u8)> = Vec::with_capacity(self.len as usize);
        entries.extend(self.entries());
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

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Segment>() + self.buckets.len() * size_of::<Bucket>()
    }
}

/// How many buckets so many entries should have, when there is room to come and go.
pub(super) fn fitting(entries: u32) -> u16 {
    next_size((entries as usize * 3 / 2 / SLOTS) as u16)
}

/// The sizes that segments have: the smallest above `buckets`.
pub(super) fn next_size(buckets: u16) -> u16 {
    match buckets {
        0 => 1,
        1..8 => (buckets + 1).next_power_of_two(),
        _ => (buckets + 1).next_multiple_of(GROUP as u16),
    }
}
