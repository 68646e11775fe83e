//! A leaf: some dozens of entries packed into one reference-counted run of bytes.
//!
//! ```text
//! used u64 | count u16 | slots u16 | depth u32     header, in the machine's own byte order
//! tag × slots                                      low byte of each entry's hash
//! size × slots                                     size of each entry in bytes; 255: see the entry
//! turns × slots                                    the eight bits of each entry's hash from bit `depth` on
//! entry …                                          in the order of the tags, up to `used`
//!
//! entry   [size u64, if its byte is 255] field length (7 bits a byte, low first) | field | value
//! ```
//!
//! A lookup compares sixteen tags at once, adds the sizes before the one that matches, and so finds
//! the entry: the header's cache lines and the entry's, no others. There is no array of offsets to keep
//! and no pointer.
//!
//! A leaf splits by the next bit of its entries' hashes. The turns say what that is, so that nothing is hashed again
//! but where their eight bits are used up: every eighth time. (Bits are counted from the top; from bit 64 on all
//! are zero.)

use super::probe;
use crate::value::own::own_slice;
use crate::value::size_class::size_class;
use alloc::rc::Rc;
use core::ops::Range;
use smallvec::SmallVec;

/// Entries of a leaf, unless all their hashes are equal: so many that what a lookup reads before the entry, which is
/// up to the sizes' end, is two cache lines.
pub(super) const MAX_ENTRIES: usize = 48;
const _: () = assert!(RC_HEADER + HEADER + 2 * MAX_ENTRIES == 2 * LINE);
/// Bytes of a leaf's allocation, unless a single entry needs more.
pub(super) const MAX_BYTES: usize = 4096;

/// Bytes of a cache line; what is larger than some of them begins with one.
const LINE: usize = 64;
const HEADER: usize = 16;
/// Bytes of the arrays for each slot.
const ARRAYS: usize = 3;
/// The depth of a leaf whose turns say nothing.
const NO_TURNS: u32 = 64;
/// The reference counts that stand before the bytes.
const RC_HEADER: usize = 16;
/// In the array of sizes: the size stands in the entry.
const LONG: u8 = 255;

/// See the module's description.
#[derive(Clone)]
pub(super) struct Leaf(Rc<[u8]>);

/// Where an entry lies in its leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    index: usize,
    start: usize,
    field: Range<usize>,
    value: Range<usize>,
}

impl Place {
    fn size(&self) -> usize {
        self.value.end - self.start
    }
}

/// Bytes that an entry takes, without its tag and size.
fn entry_size(field: usize, value: usize) -> usize {
    let size = varint_len(field) + field + value;
    if size < LONG.into() { size } else { size + 8 }
}

fn varint_len(value: usize) -> usize {
    (value.checked_ilog2().unwrap_or(0) / 7 + 1) as usize
}

/// Writes an entry at the start of `out`; returns its byte in the array of sizes.
fn write_entry(out: &mut [u8], field: &[u8], value: &[u8]) -> u8 {
    let size = entry_size(field.len(), value.len());
    let (short, mut at) = match u8::try_from(size) {
        Ok(short) if short != LONG => (short, 0),
        _ => {
            out[..8].copy_from_slice(&(size as u64).to_ne_bytes());
            (LONG, 8)
        }
    };
    let mut rest = field.len();
    while rest >= 128 {
        out[at] = rest as u8 | 128;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at += 1;
    out[at..at + field.len()].copy_from_slice(field);
    at += field.len();
    out[at..at + value.len()].copy_from_slice(value);
    short
}

impl Leaf {
    /// A leaf without entries.
    pub(super) fn empty() -> Leaf {
        Leaf::with_room(0, 0, 0)
    }

    /// An empty leaf of a depth with room for `entries` entries of `data` bytes in all.
    fn with_room(depth: u32, entries: usize, data: usize) -> Leaf {
        let slots = entries.next_multiple_of(16);
        let bytes = size_class(needed(entries, data)) - RC_HEADER;
        let mut leaf = Leaf(core::iter::repeat_n(0, bytes).collect());
        let bytes = leaf.bytes_mut();
        set_used(bytes, HEADER + ARRAYS * slots);
        bytes[10..12].copy_from_slice(&(slots as u16).to_ne_bytes());
        bytes[12..HEADER].copy_from_slice(&depth.to_ne_bytes());
        leaf
    }

    /// Number of entries.
    #[inline]
    pub(super) fn count(&self) -> usize {
        usize::from(u16::from_ne_bytes([self.0[8], self.0[9]]))
    }

    /// Entries that there is room for in the arrays: a multiple of 16.
    #[inline]
    fn slots(&self) -> usize {
        usize::from(u16::from_ne_bytes([self.0[10], self.0[11]]))
    }

    #[inline]
    fn used(&self) -> usize {
        let mut used = [0; 8];
        used.copy_from_slice(&self.0[..8]);
        u64::from_ne_bytes(used) as usize
    }

    /// The bit of the hashes that the turns begin with.
    #[inline]
    fn depth(&self) -> u32 {
        let mut depth = [0; 4];
        depth.copy_from_slice(&self.0[12..HEADER]);
        u32::from_ne_bytes(depth)
    }

    /// Where the entries begin.
    #[inline]
    fn data(&self) -> usize {
        HEADER + ARRAYS * self.slots()
    }

    fn data_len(&self) -> usize {
        self.used() - self.data()
    }

    #[inline]
    fn sizes(&self) -> &[u8] {
        let slots = self.slots();
        &self.0[HEADER + slots..HEADER + 2 * slots]
    }

    fn turns(&self) -> &[u8] {
        &self.0[HEADER + 2 * self.slots()..self.data()]
    }

    fn tag(&self, index: usize) -> u8 {
        self.0[HEADER + index]
    }

    /// The leaf's own bytes, copied first if a snapshot shares them.
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        own_slice(&mut self.0)
    }

    /// Bytes of the allocation.
    pub(super) fn memory_bytes(&self) -> usize {
        RC_HEADER + self.0.len()
    }

    /// Whether an entry of these lengths may be added (or put in the place of `old`) without the leaf
    /// becoming larger than a leaf should.
    pub(super) fn has_room(&self, field: usize, value: usize, old: Option<&Place>) -> bool {
        let (entries, freed) = match old {
            Some(place) => (self.count(), place.size()),
            None => (self.count() + 1, 0),
        };
        let data = (self.data_len() - freed).saturating_add(entry_size(field, value));
        entries <= 1 || (entries <= MAX_ENTRIES && needed(entries, data) <= MAX_BYTES)
    }

    /// Has the header and the arrays of tags and sizes fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self) {
        // The reference counts stand in the first line, too; the slice itself begins 16 bytes further on.
        probe::prefetch(&self.0, (RC_HEADER + HEADER + 2 * MAX_ENTRIES) / LINE);
    }

    /// Has the entry fetched into the cache that a lookup by this tag looks at first, if there is one, or else the
    /// place where one would be added.
    #[inline]
    pub(super) fn prefetch_entry(&self, tag: u8) {
        let (count, slots) = (self.count(), self.slots());
        let (tags, _) = self.0[HEADER..HEADER + slots].as_chunks::<16>();
        let (sizes, _) = self.sizes().as_chunks::<16>();
        let mut start = self.data();
        for (group, (tags, sizes)) in tags.iter().zip(sizes).enumerate() {
            let hits = probe::matches(tags, tag);
            let first = hits.trailing_zeros() as usize;
            let Some(before) = probe::sum_first(sizes, first.min(16)) else {
                return;
            };
            start += before;
            if hits != 0 {
                if group * 16 + first < count && start < self.0.len() {
                    probe::prefetch(&self.0[start..], 1);
                    probe::prefetch(
                        &self.0[(start + sizes[first] as usize).min(self.0.len() - 1)..],
                        1,
                    );
                }
                return;
            }
        }
        let used = self.used();
        if used < self.0.len() {
            probe::prefetch(&self.0[used..], 1);
        }
    }

    /// Looks up a field; `tag` is the low byte of its hash.
    #[inline]
    pub(super) fn find(&self, tag: u8, field: &[u8]) -> Option<Place> {
        let (count, slots) = (self.count(), self.slots());
        let (tags, _) = self.0[HEADER..HEADER + slots].as_chunks::<16>();
        for (group, tags) in tags.iter().enumerate() {
            let before = group * 16;
            if before >= count {
                break;
            }
            let mut hits = probe::matches(tags, tag);
            if count - before < 16 {
                hits &= (1 << (count - before)) - 1;
            }
            while hits != 0 {
                let place = self.place(before + hits.trailing_zeros() as usize);
                if self.0[place.field.clone()] == *field {
                    return Some(place);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// Where the entry number `index` lies.
    #[inline]
    pub(super) fn place(&self, index: usize) -> Place {
        let (groups, _) = self.sizes().as_chunks::<16>();
        let mut start = self.data();
        for (group, sizes) in groups.iter().take(index / 16 + 1).enumerate() {
            match probe::sum_first(sizes, (index - group * 16).min(16)) {
                Some(sum) => start += sum,
                None => return self.place_by_walking(index),
            }
        }
        self.place_at(index, start)
    }

    #[cold]
    fn place_by_walking(&self, index: usize) -> Place {
        let mut place = self.place_at(0, self.data());
        for i in 1..=index {
            place = self.place_at(i, place.value.end);
        }
        place
    }

    /// Bytes of the entry number `index`, which lies at `start`.
    #[inline]
    fn size_at(&self, index: usize, start: usize) -> usize {
        match self.sizes()[index] {
            LONG => {
                let mut size = [0; 8];
                size.copy_from_slice(&self.0[start..start + 8]);
                u64::from_ne_bytes(size) as usize
            }
            short => short.into(),
        }
    }

    #[inline]
    fn place_at(&self, index: usize, start: usize) -> Place {
        let size = self.size_at(index, start);
        let mut at = match self.sizes()[index] {
            LONG => start + 8,
            _ => start,
        };
        let mut byte = self.0[at];
        let mut field = usize::from(byte & 127);
        let mut shift = 7;
        while byte & 128 != 0 {
            at += 1;
            byte = self.0[at];
            field |= usize::from(byte & 127) << shift;
            shift += 7;
        }
        let value = at + 1 + field;
        Place {
            index,
            start,
            field: at + 1..value,
            value: value..start + size,
        }
    }

    /// The value of the entry at `place`.
    #[inline]
    pub(super) fn value(&self, place: &Place) -> &[u8] {
        &self.0[place.value.clone()]
    }

    /// The field and value of the entry at `place`.
    pub(super) fn pair(&self, place: &Place) -> (&[u8], &[u8]) {
        (&self.0[place.field.clone()], self.value(place))
    }

    /// All entries from number `index` on.
    pub(super) fn iter_from(&self, index: usize) -> LeafIter<'_> {
        let start = if index == 0 {
            self.data()
        } else {
            self.start_of(index)
        };
        LeafIter {
            leaf: self,
            index,
            start,
        }
    }

    fn start_of(&self, index: usize) -> usize {
        if index >= self.count() {
            self.used()
        } else {
            self.place(index).start
        }
    }

    /// All entries.
    pub(super) fn iter(&self) -> LeafIter<'_> {
        self.iter_from(0)
    }

    /// Adds an entry whose field, with this hash, is not here yet.
    pub(super) fn insert(&mut self, hash: u64, field: &[u8], value: &[u8]) {
        let (count, slots, used) = (self.count(), self.slots(), self.used());
        let size = entry_size(field.len(), value.len());
        if count == slots || used + size > self.0.len() {
            *self = self.copied(self.count() + 1, self.data_len() + size);
        }
        let (slots, used, depth) = (self.slots(), self.used(), self.depth());
        let bytes = self.bytes_mut();
        bytes[HEADER + count] = hash as u8;
        bytes[HEADER + slots + count] = write_entry(&mut bytes[used..], field, value);
        bytes[HEADER + 2 * slots + count] = turns(hash, depth);
        set_used(bytes, used + size);
        set_count(bytes, count + 1);
    }

    /// Gives an entry another value.
    pub(super) fn replace(&mut self, place: &Place, value: &[u8]) {
        if place.value.len() == value.len() {
            return self.bytes_mut()[place.value.clone()].copy_from_slice(value);
        }
        let field: SmallVec<[u8; 64]> = SmallVec::from_slice(&self.0[place.field.clone()]);
        let (old, new) = (place.size(), entry_size(field.len(), value.len()));
        let used = self.used() - old + new;
        if used > self.0.len() {
            // The arrays may get other places: what counts from here on is the index.
            *self = self.copied(self.count(), self.data_len() - old + new);
        }
        let (start, slots, end) = (self.place(place.index).start, self.slots(), self.used());
        let bytes = self.bytes_mut();
        bytes.copy_within(start + old..end, start + new);
        bytes[HEADER + slots + place.index] = write_entry(&mut bytes[start..], &field, value);
        set_used(bytes, end - old + new);
        self.shrink();
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, place: &Place) {
        let (count, slots, used, data) = (self.count(), self.slots(), self.used(), self.data());
        let bytes = self.bytes_mut();
        for array in 0..ARRAYS {
            let start = HEADER + array * slots;
            bytes.copy_within(start + place.index + 1..start + count, start + place.index);
        }
        debug_assert!(place.start >= data);
        bytes.copy_within(place.value.end..used, place.start);
        set_used(bytes, used - place.size());
        set_count(bytes, count - 1);
        self.shrink();
    }

    /// Moves to a smaller allocation when half of this one lies idle.
    fn shrink(&mut self) {
        if size_class(needed(self.count(), self.data_len())) <= self.memory_bytes() / 2 {
            *self = self.copied(self.count(), self.data_len());
        }
    }

    /// A copy with room for `entries` entries of `data` bytes in all (at least those that it has).
    fn copied(&self, entries: usize, data: usize) -> Leaf {
        self.copied_to(self.depth(), entries, data)
    }

    fn copied_to(&self, depth: u32, entries: usize, data: usize) -> Leaf {
        let mut copy = Leaf::with_room(depth, entries, data);
        copy.take(self);
        copy
    }

    /// Adds all entries of `other`, with its turns as they are; there must be room.
    fn take(&mut self, other: &Leaf) {
        let (count, slots, used) = (self.count(), self.slots(), self.used());
        let (more, data) = (other.count(), &other.0[other.data()..other.used()]);
        let bytes = self.bytes_mut();
        for (array, entries) in [&other.0[HEADER..], other.sizes(), other.turns()]
            .into_iter()
            .enumerate()
        {
            let start = HEADER + array * slots + count;
            bytes[start..start + more].copy_from_slice(&entries[..more]);
        }
        bytes[used..used + data.len()].copy_from_slice(data);
        set_used(bytes, used + data.len());
        set_count(bytes, count + more);
    }

    /// Two leaves: the entries whose hashes have this bit clear, and those that have it set.
    pub(super) fn split(&self, bit: u32, hash_of: impl Fn(&[u8]) -> u64) -> (Leaf, Leaf) {
        let knows = (self.depth()..self.depth() + u8::BITS).contains(&bit);
        let depth = if knows { self.depth() } else { bit };
        // What is to be done with each: its turns, and its bytes.
        let mut entries: SmallVec<[(u8, Range<usize>); MAX_ENTRIES]> = SmallVec::new();
        let mut start = self.data();
        for index in 0..self.count() {
            let end = start + self.size_at(index, start);
            let turns = match knows {
                true => self.turns()[index],
                false => turns(hash_of(self.pair(&self.place_at(index, start)).0), depth),
            };
            entries.push((turns, start..end));
            start = end;
        }
        let goes_right = |turns: u8| usize::from(turns << (bit - depth) >> 7);
        let (mut counts, mut sizes) = ([0; 2], [0; 2]);
        for (turns, entry) in &entries {
            counts[goes_right(*turns)] += 1;
            sizes[goes_right(*turns)] += entry.len();
        }
        let mut halves = [
            Leaf::with_room(depth, counts[0], sizes[0]),
            Leaf::with_room(depth, counts[1], sizes[1]),
        ];
        let slots = [halves[0].slots(), halves[1].slots()];
        let (mut count, mut used) = ([0; 2], [halves[0].used(), halves[1].used()]);
        let mut bytes = halves.each_mut().map(Leaf::bytes_mut);
        for (index, (turns, entry)) in entries.into_iter().enumerate() {
            let half = goes_right(turns);
            let (bytes, slots, at) = (&mut bytes[half], slots[half], HEADER + count[half]);
            bytes[at] = self.tag(index);
            bytes[at + slots] = self.sizes()[index];
            bytes[at + 2 * slots] = turns;
            copy_entry(&self.0, entry.clone(), bytes, used[half]);
            used[half] += entry.len();
            count[half] += 1;
        }
        for (half, bytes) in bytes.iter_mut().enumerate() {
            set_used(bytes, used[half]);
            set_count(bytes, count[half]);
        }
        halves.into()
    }

    /// One leaf of two, if it would be small enough not to be split again soon.
    pub(super) fn merged(&self, other: &Leaf) -> Option<Leaf> {
        let (entries, data) = (
            self.count() + other.count(),
            self.data_len() + other.data_len(),
        );
        if entries > 1 && (entries > MAX_ENTRIES * 3 / 8 || data > MAX_BYTES * 3 / 8) {
            return None;
        }
        let depth = match self.depth() == other.depth() {
            true => self.depth(),
            false => NO_TURNS,
        };
        let mut both = self.copied_to(depth, entries, data);
        both.take(other);
        Some(both)
    }

    /// Panics if something is not as it should be; `hash_of` gives a field's hash.
    pub(super) fn invariants(&self, hash_of: impl Fn(&[u8]) -> u64) {
        let mut end = self.data();
        assert!(self.count() <= self.slots() && self.slots().is_multiple_of(16));
        for index in 0..self.count() {
            let place = self.place(index);
            assert_eq!(place, self.place_by_walking(index));
            assert_eq!(place.start, end);
            let (field, value) = self.pair(&place);
            assert_eq!(place.size(), entry_size(field.len(), value.len()));
            assert_eq!(self.tag(index), hash_of(field) as u8);
            let known = self.depth() < NO_TURNS;
            assert!(!known || self.turns()[index] == turns(hash_of(field), self.depth()));
            end = place.value.end;
        }
        assert_eq!(end, self.used());
        assert!(self.used() <= self.0.len());
    }
}

/// Bytes of an allocation for so many entries of `data` bytes in all.
#[inline]
fn needed(entries: usize, data: usize) -> usize {
    RC_HEADER + HEADER + ARRAYS * entries.next_multiple_of(16) + data
}

/// The eight bits of a hash from bit `depth` on.
#[inline]
fn turns(hash: u64, depth: u32) -> u8 {
    (hash.checked_shl(depth).unwrap_or(0) >> (u64::BITS - u8::BITS)) as u8
}

/// Copies an entry of one leaf to another's place `at`.
#[inline]
fn copy_entry(from: &[u8], entry: Range<usize>, to: &mut [u8], at: usize) {
    /// A copy of a fixed length is quicker: what is too much is written over by the next.
    const CHUNK: usize = 32;
    match (
        from[entry.start..].first_chunk::<CHUNK>(),
        to[at..].first_chunk_mut(),
    ) {
        (Some(from), Some(to)) if entry.len() <= CHUNK => *to = *from,
        _ => to[at..at + entry.len()].copy_from_slice(&from[entry]),
    }
}

fn set_used(bytes: &mut [u8], used: usize) {
    bytes[..8].copy_from_slice(&(used as u64).to_ne_bytes());
}

fn set_count(bytes: &mut [u8], count: usize) {
    // At most 64, or as many as have one and the same 64-bit hash.
    bytes[8..10].copy_from_slice(&(count as u16).to_ne_bytes());
}

/// Entries of a leaf, in its own order.
#[derive(Clone)]
pub(super) struct LeafIter<'a> {
    leaf: &'a Leaf,
    index: usize,
    start: usize,
}

impl<'a> LeafIter<'a> {
    /// Number of the entry that comes next.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The leaf that is walked.
    pub(super) fn leaf(&self) -> &'a Leaf {
        self.leaf
    }
}

impl Iterator for LeafIter<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        if self.index >= self.leaf.count() {
            return None;
        }
        let place = self.leaf.place_at(self.index, self.start);
        self.index += 1;
        self.start = place.value.end;
        Some(place)
    }
}
