//! The pack: elements one behind the other, in as few bytes as can be. Small hashes, sets and sorted sets are
//! packs.
//!
//! ```text
//! pack  element …                         as in `value/element.rs`
//! ```
//!
//! A listpack has a head, an end mark, and behind each element its length, so that it can be read backwards. A pack
//! has none of these: length and number of elements stand in its handle of fourteen bytes, which leaves an enum
//! around it room for a tag; and who wants the last elements first passes over the others once. It becomes a listpack
//! when it is [written](Pack::write_listpack).
//!
//! Each text has one form here, so an element is found by comparing bytes.

use super::compact_bytes::CompactBytes;
use super::element::{Element, Entry, decode, size_at};
use super::listpack::{self, END, HEADER, MOST_LINK, Malformed, write_backlen};
use alloc::vec::Vec;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

/// So many bytes make a listpack of at most [`listpack::SAFE_BYTES`] whatever they are.
const SAFE_BYTES: usize = listpack::SAFE_BYTES / 2;

/// Stands for this many elements or more, here and in a listpack: they must be counted.
const MANY: u16 = u16::MAX;

/// Elements in order. See the module's description.
#[derive(Clone, PartialEq, Eq)]
pub struct Pack {
    bytes: CompactBytes,
    count: u16,
}

// An enum of a pack or a box has sixteen.
const _: () = assert!(size_of::<Pack>() == 14);

/// The place of an element, or the end; good until the pack changes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pos(usize);

impl Default for Pack {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Pack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Pack {
    /// Nothing.
    pub fn new() -> Pack {
        Pack {
            bytes: CompactBytes::default(),
            count: 0,
        }
    }

    /// The elements of a listpack of any origin.
    ///
    /// # Errors
    /// It is not a listpack.
    pub fn from_listpack(bytes: &[u8]) -> Result<Pack, Malformed> {
        let entries = listpack::checked(bytes)?;
        Ok(Pack::of(bytes.len(), entries.map(Element::of_entry)))
    }

    /// These elements, which take about `room` bytes.
    pub(super) fn of<'a>(room: usize, elements: impl Iterator<Item = Element<'a>>) -> Pack {
        let (mut bytes, mut count) = (Vec::with_capacity(room), 0);
        for element in elements {
            element.append_to(&mut bytes);
            count += 1;
        }
        // Copied, since an allocator may leave what shrinks where it is.
        Pack {
            bytes: CompactBytes::copy_of(&bytes),
            count: stored(count),
        }
    }

    /// Number of elements. Linear for 65535 of them and more, else constant.
    #[inline]
    pub fn len(&self) -> usize {
        match self.count {
            MANY => self.iter().count(),
            count => count.into(),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.memory_bytes()
    }

    /// Whether elements with texts of `add` bytes in all, and heads, may be added.
    pub fn has_room(&self, add: usize) -> bool {
        self.bytes.len().saturating_add(add) <= SAFE_BYTES
    }

    /// All elements in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.bytes }
    }

    /// Bytes that it has as a listpack.
    pub fn listpack_bytes(&self) -> usize {
        let links = self.sizes().map(listpack::backlen_size).sum::<usize>();
        HEADER + self.bytes.len() + links + 1
    }

    /// Appends it as a listpack.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        /// Copies of this length cost no more than shorter ones: what is too much is written over.
        const CHUNK: usize = 16;
        let (start, bytes) = (out.len(), &self.bytes[..]);
        let most = match self.count {
            MANY => self.listpack_bytes(),
            count => HEADER + bytes.len() + usize::from(count) * MOST_LINK + 1,
        };
        out.resize(start + most, 0);
        let list = &mut out[start..];
        let (mut from, mut to) = (0, HEADER);
        while from < bytes.len() {
            let size = size_at(bytes, from);
            if size <= CHUNK && from + CHUNK <= bytes.len() && to + CHUNK <= list.len() {
                list[to..to + CHUNK].copy_from_slice(&bytes[from..from + CHUNK]);
            } else {
                list[to..to + size].copy_from_slice(&bytes[from..from + size]);
            }
            to += size;
            to += write_backlen(size, &mut list[to..]);
            from += size;
        }
        list[to] = END;
        let total = to + 1;
        list[..4].copy_from_slice(&(total as u32).to_le_bytes());
        list[4..HEADER].copy_from_slice(&stored(self.len()).to_le_bytes());
        out.truncate(start + total);
    }

    /// Whether the first of each `each` elements differ from each other.
    pub fn all_differ(&self, each: usize) -> bool {
        /// So many are compared one with all.
        const FEW: usize = 16;
        let names: SmallVec<[&[u8]; FEW]> = self.slices().step_by(each).collect();
        if names.len() <= FEW {
            let differs = |(n, name)| !names[..n].contains(name);
            return names.iter().enumerate().all(differs);
        }
        // Sorted by a hash: there may be very many. The hash needs no secret, since equal ones are compared in full.
        let mut names: Vec<(u64, &[u8])> = names
            .into_iter()
            .map(|element| (SipHasher13::new().hash(element), element))
            .collect();
        names.sort_unstable_by_key(|(hash, _)| *hash);
        let differ =
            |run: &[(u64, &[u8])]| run.len() == 1 || (run.len() == 2 && run[0].1 != run[1].1);
        names.chunk_by(|a, b| a.0 == b.0).all(differ)
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        let again = Pack::of(0, self.iter().map(Element::of_entry));
        assert!(again.bytes == self.bytes, "not the shortest form of these");
        assert!(self.count == again.count || self.count == MANY);
        let mut listpack = Vec::new();
        self.write_listpack(&mut listpack);
        assert_eq!(listpack.len(), self.listpack_bytes());
        assert!(Pack::from_listpack(&listpack).is_ok_and(|back| back.bytes == self.bytes));
    }

    /// The place of the first element, or the end.
    #[inline]
    pub(super) fn first(&self) -> Pos {
        Pos(0)
    }

    /// The place after the last element.
    #[inline]
    pub(super) fn end(&self) -> Pos {
        Pos(self.bytes.len())
    }

    /// What is after the element at `pos`.
    #[inline]
    pub(super) fn next(&self, pos: Pos) -> Pos {
        Pos(pos.0 + size_at(&self.bytes, pos.0))
    }

    /// The place of the element number `n`; `None` if there are not so many.
    pub(super) fn nth(&self, n: usize) -> Option<Pos> {
        let mut at = 0;
        for _ in 0..n {
            if at == self.bytes.len() {
                return None;
            }
            at += size_at(&self.bytes, at);
        }
        (at < self.bytes.len()).then_some(Pos(at))
    }

    /// The element at `pos`, which must be one's place.
    #[inline]
    pub(super) fn get(&self, pos: Pos) -> Entry<'_> {
        decode(&self.bytes, pos.0).0
    }

    /// The elements from `pos` on.
    #[inline]
    pub(super) fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter {
            rest: &self.bytes[pos.0..],
        }
    }

    /// The place of an element, and how many groups of `each` stand before it, looking at the first of each.
    #[inline]
    pub(super) fn find(&self, element: &Element<'_>, each: usize) -> Option<(usize, Pos)> {
        let bytes = &self.bytes[..];
        let (first, last) = element.ends();
        let (mut at, mut number) = (0, 0);
        while at < bytes.len() {
            let end = at + size_at(bytes, at);
            // Names often differ at their ends only.
            if bytes[at] == first && bytes[end - 1] == last && element.is(&bytes[at..end]) {
                return Some((number, Pos(at)));
            }
            at = end;
            for _ in 1..each {
                at += size_at(bytes, at);
            }
            number += 1;
        }
        None
    }

    /// Puts elements in front of what is at `pos`.
    pub(super) fn insert(&mut self, pos: Pos, elements: &[Element<'_>]) {
        let size = elements.iter().map(Element::size).sum();
        self.bytes.open(pos.0, 0, size);
        let mut at = pos.0;
        for element in elements {
            element.write(&mut self.bytes[at..]);
            at += element.size();
        }
        self.count = match self.count {
            MANY => MANY,
            count => stored(usize::from(count) + elements.len()),
        };
    }

    /// Adds elements at the end.
    pub(super) fn append(&mut self, elements: &[Element<'_>]) {
        self.insert(self.end(), elements);
    }

    /// Replaces the element at `pos`.
    pub(super) fn replace(&mut self, pos: Pos, element: &Element<'_>) {
        let old = size_at(&self.bytes, pos.0);
        self.bytes.open(pos.0, old, element.size());
        element.write(&mut self.bytes[pos.0..]);
    }

    /// Removes up to `count` elements from the one at `pos` on.
    pub(super) fn remove(&mut self, pos: Pos, count: usize) {
        let (mut end, mut removed) = (pos.0, 0);
        while removed < count && end < self.bytes.len() {
            end += size_at(&self.bytes, end);
            removed += 1;
        }
        self.bytes.open(pos.0, end - pos.0, 0);
        if self.count != MANY {
            self.count -= removed as u16;
        }
    }

    /// The elements as they are stored.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let element;
            (element, rest) = rest.split_at(size_at(rest, 0));
            Some(element)
        })
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.slices().map(<[u8]>::len)
    }
}

/// What to note for so many elements.
fn stored(count: usize) -> u16 {
    count.min(MANY.into()) as u16
}

impl<'a> IntoIterator for &'a Pack {
    type Item = Entry<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Elements of a pack.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (entry, size) = decode(self.rest, 0);
        self.rest = &self.rest[size..];
        Some(entry)
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
