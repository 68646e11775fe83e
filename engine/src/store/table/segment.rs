//! A segment of the table: a run of cache-line buckets, and where an entry is among them.
//!
//! An entry's *tag* is the 16 hash bits behind those that lead to its segment. The tag selects the home
//! bucket by range reduction, so any number of buckets will do; an entry that finds its home full goes to
//! one of the next buckets, and the home's overflow flag says that a search must go on.
//!
//! An entry's *fingerprint* is eight hash bits more. Where as many bits lead to the segment as a multiple of eight
//! they are those behind the tag; from there on each split adds one bit to what leads there, and the tag's new last
//! one is one of them:
//!
//! ```text
//! depth 8    | ........ | tag, 16 bits    | print    |
//! depth 11   | ........... | tag, 16 bits    |           with the same print: its first three bits are in the tag
//! ```
//!
//! So tags and fingerprints suffice to resize a segment, to merge two, and to split one, but every eighth time: no
//! key is touched.
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

/// An entry with its tag, and its fingerprint.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub entry: *mut u8,
    pub fingerprint: u8,
}

/// Bits of a fingerprint.
const PRINT_BITS: u8 = 8;

/// The fingerprint that a hash has in a segment of this depth.
#[inline]
fn fingerprint_at(hash: u64, depth: u8) -> u8 {
    let behind_tag = 16 + (depth & !(PRINT_BITS - 1));
    (hash << behind_tag >> (64 - PRINT_BITS)) as u8
}

/// Asks the processor to bring a line near. Only a hint: any address will do.
#[inline]
pub(super) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program could notice.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
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

    pub fn iter(&self) -> impl Iterator<Item = &Bucket> + Clone {
        (0..self.len()).map(|b| self.at(b))
    }

    /// The slots in use.
    fn entries(&self) -> impl Iterator<Item = Slot> + Clone {
        self.iter().flat_map(|bucket| {
            let slots = bucket.slots.iter().enumerate();
            slots
                .filter(|(_, slot)| !slot.is_null())
                .map(|(i, &entry)| Slot {
                    entry,
                    fingerprint: bucket.fingerprint(i),
                })
        })
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

    /// A segment with these entries, in this many buckets, or more if they do not fit.
    fn of(depth: u8, prefix: u64, buckets: u16, entries: &[Slot]) -> Segment {
        let mut segment = Segment::new(depth, prefix, buckets);
        segment.fill(entries.iter().copied());
        segment
    }

    /// One segment with all entries of two that lie side by side, which must be forgotten.
    pub fn merged(low: &Segment, high: &Segment) -> Segment {
        let mut entries: Vec<Slot> = Vec::with_capacity((low.len + high.len) as usize);
        for (half, top) in [(low, 0), (high, 1 << 15)] {
            entries.extend(half.buckets.entries().map(|Slot { entry, fingerprint }| {
                let tag = tag_of(entry);
                Slot {
                    entry: with_tag(entry, top | tag >> 1),
                    // The print for a depth that much smaller is what stands at the tag's end.
                    fingerprint: match half.depth % PRINT_BITS {
                        0 => tag as u8,
                        _ => fingerprint,
                    },
                }
            }));
        }
        let buckets = fitting(entries.len() as u32);
        Segment::of(low.depth - 1, low.prefix, buckets, &entries)
    }

    /// The two segments that a segment, which must be forgotten, becomes. `hash_of` gives the hash of an entry; it is
    /// asked for if the fingerprints do not tell.
    pub fn split(&self, hash_of: impl Fn(*mut u8) -> u64) -> [Segment; 2] {
        let depth = self.depth + 1;
        let room = || Vec::with_capacity(self.len as usize);
        let mut halves: [Vec<Slot>; 2] = [room(), room()];
        let asks = depth.is_multiple_of(PRINT_BITS);
        if asks {
            self.buckets
                .entries()
                .for_each(|slot| prefetch(untagged(slot.entry)));
        }
        for Slot { entry, fingerprint } in self.buckets.entries() {
            let tag = tag_of(entry);
            let next = fingerprint << (self.depth % PRINT_BITS) >> (PRINT_BITS - 1);
            halves[usize::from(tag >> 15)].push(Slot {
                entry: with_tag(entry, tag << 1 | u16::from(next)),
                fingerprint: match asks {
                    true => fingerprint_at(hash_of(untagged(entry)), depth),
                    false => fingerprint,
                },
            });
        }
        let upper = self.prefix | 1 << (63 - self.depth);
        let [low, high] = &halves;
        [
            Segment::of(depth, self.prefix, MAX_BUCKETS / 2, low),
            Segment::of(depth, upper, MAX_BUCKETS / 2, high),
        ]
    }

    /// The first hash of the segment's other half, if it is half of one.
    pub fn sibling(&self) -> Option<u64> {
        (self.depth > 0).then(|| self.prefix ^ 1 << (64 - u32::from(self.depth)))
    }

    #[inline]
    pub fn tag(&self, hash: u64) -> u16 {
        ((hash << self.depth) >> TAG_SHIFT) as u16
    }

    #[inline]
    pub fn fingerprint(&self, hash: u64) -> u8 {
        fingerprint_at(hash, self.depth)
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
    pub fn resize(&mut self, buckets: u16) {
        let old = core::mem::replace(&mut self.buckets, Buckets::new(buckets));
        self.fill(old.entries());
    }

    /// These entries alone; the buckets, which must be empty, become more if they do not fit.
    fn fill(&mut self, entries: impl Iterator<Item = Slot> + Clone) {
        while !self.try_fill(entries.clone()) {
            self.buckets = Buckets::new(next_size(self.buckets.len() as u16));
        }
    }

    /// Puts entries into buckets that are all empty: as [`Segment::place`] would, one after the other. False if there
    /// is no room near the home of one of them.
    fn try_fill(&mut self, mut entries: impl Iterator<Item = Slot>) -> bool {
        let mut filled = [0u8; ROOMY];
        self.len = 0;
        entries.all(|slot| {
            let mut b = self.home(tag_of(slot.entry));
            let mut probes = self.probes();
            while usize::from(filled[b]) == SLOTS {
                self.buckets.at_mut(b).meta |= 1 << 56;
                b = self.after(b);
                probes -= 1;
                if probes == 0 {
                    return false;
                }
            }
            let (bucket, at) = (self.buckets.at_mut(b), usize::from(filled[b]));
            bucket.slots[at] = slot.entry;
            bucket.meta |= u64::from(slot.fingerprint) << (at * 8);
            filled[b] += 1;
            self.len += 1;
            true
        })
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
