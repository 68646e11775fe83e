//! The listpack: a short list of strings and integers in one run of bytes, in Redis's own format, so
//! that a snapshot copies it as it is.
//!
//! ```text
//! listpack  total-bytes u32 | count u16 | entry … | 0xFF              little-endian throughout
//! entry     element | backlen                                         elements as in `value/element.rs`
//! ```
//!
//! `count` is 65535 when there are that many entries or more: then they must be counted. `backlen` is
//! the length of the element in groups of 7 bits, most significant first, every byte but the
//! first with its high bit set; so it can be read from its end, and a list walked backwards. It has 1
//! byte up to 127, 2 below 16383, 3 below 2097151, 4 below 268435455, else 5.
//!
//! Streams are made of these, and lists of their entries. Hashes, sets and sorted sets become such when they are
//! written ([`Pack::write_listpack`](super::pack::Pack::write_listpack)).

use super::compact_bytes::{CompactBytes, reserve};
use super::element::{Element, checked_size, decode, read_u32, size_at};
pub use super::element::{Entry, Text};
use alloc::vec::Vec;

pub(super) const HEADER: usize = 6;
pub(super) const END: u8 = 0xFF;
pub(super) const COUNT_UNKNOWN: u16 = u16::MAX;

/// A listpack may grow by more elements as long as it stays below this many bytes; what would be
/// larger goes into another structure.
pub const SAFE_BYTES: usize = 1 << 30;

/// A list of strings and integers in Redis's listpack format. Its bytes are always well-formed.
#[derive(Clone, PartialEq, Eq)]
pub struct Listpack {
    bytes: CompactBytes,
}

/// The place of an entry, good until the listpack changes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(usize);

/// Bytes that are not a listpack, or not one that this structure can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed listpack")]
pub struct Malformed;

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Listpack {
    /// An empty list.
    pub fn new() -> Listpack {
        let bytes = alloc::vec![HEADER as u8 + 1, 0, 0, 0, 0, 0, END];
        Listpack {
            bytes: bytes.into(),
        }
    }

    /// Takes bytes of any origin, after checking every one that matters.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Listpack, Malformed> {
        checked(&bytes)?;
        Ok(Listpack {
            bytes: bytes.into(),
        })
    }

    /// The list in Redis's format.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The list in Redis's format, by itself.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_vec()
    }

    /// Number of entries. Linear for lists of 65535 entries and more, else constant.
    pub fn len(&self) -> usize {
        match self.stored_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count.into(),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER + 1
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.memory_bytes()
    }

    /// The first entry.
    pub fn first(&self) -> Option<Pos> {
        self.at(HEADER)
    }

    /// The last entry.
    pub fn last(&self) -> Option<Pos> {
        self.prev(Pos(self.bytes.len() - 1))
    }

    /// The entry after `pos`.
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.at(after(&self.bytes, pos.0))
    }

    /// The entry before `pos`.
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        (pos.0 > HEADER).then(|| Pos(before(&self.bytes, pos.0)))
    }

    /// The entry at `pos`.
    pub fn get(&self, pos: Pos) -> Entry<'_> {
        decode(&self.bytes, pos.0).0
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(Pos(HEADER))
    }

    /// The entries from `pos` on.
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter {
            bytes: &self.bytes,
            front: pos.0,
            back: self.bytes.len() - 1,
        }
    }

    /// Adds an entry at the end.
    pub fn append(&mut self, text: &[u8]) {
        self.append_with(text.len() + 10, |w| w.text(text));
    }

    /// Adds an integer at the end.
    pub fn append_int(&mut self, value: i64) {
        self.append_with(10, |w| w.int(value));
    }

    /// Adds several entries at the end, with one change to the header. They take about `room` bytes:
    /// no more than a hint.
    pub fn append_with(&mut self, room: usize, write: impl FnOnce(&mut Appender<'_>)) {
        let count = self.bytes.edit(|bytes| {
            reserve(bytes, bytes.len() + room);
            bytes.pop();
            let mut appender = Appender { bytes, count: 0 };
            write(&mut appender);
            let count = appender.count;
            bytes.push(END);
            count
        });
        self.store_total();
        let stored = self.stored_count();
        if stored != COUNT_UNKNOWN {
            self.store_count(usize::from(stored) + count);
        }
    }

    /// Replaces the entry at `pos` by an integer; it stays its place.
    pub fn replace_int(&mut self, pos: Pos, value: i64) {
        let element = Element::of_int(value);
        let (old, new) = (after(&self.bytes, pos.0) - pos.0, linked_size(&element));
        self.bytes.open(pos.0, old, new);
        write_linked(&element, &mut self.bytes[pos.0..]);
        self.store_total();
    }

    fn stored_count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    fn store_count(&mut self, count: usize) {
        let count = count.min(COUNT_UNKNOWN.into()) as u16;
        self.bytes[4..HEADER].copy_from_slice(&count.to_le_bytes());
    }

    fn store_total(&mut self) {
        // Those who append keep below SAFE_BYTES.
        let total = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
    }

    fn at(&self, at: usize) -> Option<Pos> {
        (self.bytes[at] != END).then_some(Pos(at))
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Entry<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Takes the entries that [`Listpack::append_with`] adds.
#[derive(Debug)]
pub struct Appender<'a> {
    bytes: &'a mut Vec<u8>,
    count: usize,
}

impl Appender<'_> {
    /// Adds an entry.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        self.element(&Element::of_text(text));
    }

    /// Adds an integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        if (0..128).contains(&value) {
            self.count += 1;
            self.bytes.extend_from_slice(&[value as u8, 1]);
        } else {
            self.element(&Element::of_int(value));
        }
    }

    fn element(&mut self, element: &Element<'_>) {
        self.count += 1;
        let at = self.bytes.len();
        self.bytes.resize(at + linked_size(element), 0);
        write_linked(element, &mut self.bytes[at..]);
    }
}

/// Entries of a listpack, or of a part of one, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iter<'a> {
    /// The (well-formed) entries that begin at `front` and end at `back`.
    #[inline]
    pub(super) fn between(bytes: &'a [u8], front: usize, back: usize) -> Iter<'a> {
        Iter { bytes, front, back }
    }

    /// The place of the entry that comes next.
    pub fn pos(&self) -> Option<Pos> {
        (self.front < self.back).then_some(Pos(self.front))
    }

    /// Passes over up to `count` entries without reading them.
    pub fn pass(&mut self, count: usize) {
        for _ in 0..count {
            if self.front == self.back {
                return;
            }
            self.front = after(self.bytes, self.front);
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.front == self.back {
            return None;
        }
        let (entry, size) = decode(self.bytes, self.front);
        self.front += size + backlen_size(size);
        Some(entry)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front == self.back {
            return None;
        }
        self.back = before(self.bytes, self.back);
        Some(decode(self.bytes, self.back).0)
    }
}

/// The entries of bytes of any origin, all of which are checked first.
pub(super) fn checked(bytes: &[u8]) -> Result<Iter<'_>, Malformed> {
    let len = bytes.len();
    if len < HEADER + 1 || bytes[len - 1] != END || read_u32(bytes, 0) as usize != len {
        return Err(Malformed);
    }
    let (mut at, mut count) = (HEADER, 0usize);
    while at < len - 1 {
        at = check_entry(&bytes[..len - 1], at).ok_or(Malformed)?;
        count += 1;
    }
    match u16::from_le_bytes([bytes[4], bytes[5]]) {
        COUNT_UNKNOWN => {}
        stored if usize::from(stored) == count => {}
        _ => return Err(Malformed),
    }
    Ok(Iter::between(bytes, HEADER, len - 1))
}

/// Checks the entry at `at` in `bytes` (all up to the end mark); returns where it ends.
fn check_entry(bytes: &[u8], at: usize) -> Option<usize> {
    let size = checked_size(bytes, at)?;
    let end = at.checked_add(size)?.checked_add(backlen_size(size))?;
    // Redis reads the number and trusts the size's own rule for how many bytes it takes; the bytes
    // must therefore both say the number and be that many, or walking backwards would go astray.
    let backlen = bytes.get(at + size..end)?;
    (read_backlen(backlen) == Some(size)).then_some(end)
}

/// Bytes of an element with its backlen.
#[inline]
pub(super) fn linked_size(element: &Element<'_>) -> usize {
    let size = element.size();
    size + backlen_size(size)
}

/// Writes an element and its backlen.
#[inline]
pub(super) fn write_linked(element: &Element<'_>, out: &mut [u8]) {
    element.write(out);
    write_backlen(element.size(), &mut out[element.size()..]);
}

/// The longest backlen has as many bytes.
pub(super) const MOST_LINK: usize = 5;

/// Writes the backlen of an element of `size` bytes; returns how many bytes it has.
#[inline]
pub(super) fn write_backlen(size: usize, out: &mut [u8]) -> usize {
    if size < 128 {
        out[0] = size as u8;
        return 1;
    }
    let groups = backlen_size(size);
    for (i, byte) in out[..groups].iter_mut().enumerate() {
        let bits = (size >> (7 * (groups - 1 - i))) as u8 & 127;
        *byte = if i == 0 { bits } else { bits | 128 };
    }
    groups
}

/// How many bytes the backlen of an element of `size` bytes has.
#[inline]
pub(super) fn backlen_size(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..16383 => 2,
        16383..2097151 => 3,
        2097151..268435455 => 4,
        _ => 5,
    }
}

/// The number in a backlen that ends where `bytes` end; `None` if it has no beginning.
fn read_backlen(bytes: &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().rev().take(5).enumerate() {
        value |= u64::from(byte & 127) << (7 * i);
        if byte & 128 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// Where the (well-formed) entry at `at` ends.
#[inline]
pub(super) fn after(bytes: &[u8], at: usize) -> usize {
    let size = size_at(bytes, at);
    at + size + backlen_size(size)
}

/// Where the (well-formed) entry that ends at `end` begins.
#[inline]
pub(super) fn before(bytes: &[u8], end: usize) -> usize {
    // Entries are well-formed, so a backlen stands before each end.
    let size = read_backlen(&bytes[..end]).unwrap_or(0);
    end - size - backlen_size(size)
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
