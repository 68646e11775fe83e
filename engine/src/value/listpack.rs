//! The listpack: a short list of strings and integers in one run of bytes, in Redis's own format, so
//! that a snapshot copies it as it is.
//!
//! ```text
//! listpack  total-bytes u32 | count u16 | entry … | 0xFF              little-endian throughout
//! entry     encoding and data | backlen
//!
//! 0xxxxxxx                       integer 0…127
//! 10llllll  data                 string of up to 63 bytes
//! 110xxxxx xxxxxxxx              integer of 13 bits, two's complement, high bits first
//! 1110llll llllllll  data        string of up to 4095 bytes, high bits first
//! 11110000 l4  data              string of up to 2^32-1 bytes
//! 11110001 … 11110100            integer of 16, 24, 32, 64 bits
//! ```
//!
//! `count` is 65535 when there are that many entries or more: then they must be counted. `backlen` is
//! the length of encoding and data in groups of 7 bits, most significant first, every byte but the
//! first with its high bit set; so it can be read from its end, and a list walked backwards. It has 1
//! byte up to 127, 2 below 16383, 3 below 2097151, 4 below 268435455, else 5.
//!
//! A string that is an integer's one canonical text ([`parse_i64`]) is stored as that integer.

use super::compact_bytes::CompactBytes;
use super::number::{self, ItoaBuffer, parse_i64};
use alloc::vec::Vec;
use core::ops::Deref;

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

/// One entry, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An integer, which stands for its canonical text.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
}

/// An entry's text: borrowed, or an integer written out.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// An integer's digits.
    Int(ItoaBuffer),
    /// A string.
    Str(&'a [u8]),
}

/// Bytes that are not a listpack, or not one that this structure can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed listpack")]
pub struct Malformed;

impl<'a> Entry<'a> {
    /// The entry's text.
    pub fn text(self) -> Text<'a> {
        match self {
            Entry::Int(value) => Text::Int(ItoaBuffer::new(value)),
            Entry::Str(text) => Text::Str(text),
        }
    }

    /// Length of the entry's text in bytes.
    pub fn text_len(self) -> usize {
        match self {
            Entry::Int(value) => number::i64_text_len(value),
            Entry::Str(text) => text.len(),
        }
    }

    /// The integer that the entry's text is, if it is one.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Entry::Int(value) => Some(value),
            Entry::Str(text) => parse_i64(text),
        }
    }

    /// Appends the entry's text.
    pub fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Entry::Int(value) => number::write_i64(out, value),
            Entry::Str(text) => out.extend_from_slice(text),
        }
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Int(digits) => digits,
            Text::Str(text) => text,
        }
    }
}

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
        let len = bytes.len();
        if len < HEADER + 1 || bytes[len - 1] != END || read_u32(&bytes, 0) as usize != len {
            return Err(Malformed);
        }
        let (mut at, mut count) = (HEADER, 0usize);
        while at < len - 1 {
            at = check_entry(&bytes[..len - 1], at).ok_or(Malformed)?;
            count += 1;
        }
        let list = Listpack {
            bytes: bytes.into(),
        };
        match list.stored_count() {
            COUNT_UNKNOWN => Ok(list),
            stored if usize::from(stored) == count => Ok(list),
            _ => Err(Malformed),
        }
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

    /// Whether elements of `add` bytes in all may be added (see [`SAFE_BYTES`]).
    pub fn has_room(&self, add: usize) -> bool {
        self.bytes.len().saturating_add(add) <= SAFE_BYTES
    }

    /// The first entry.
    pub fn first(&self) -> Option<Pos> {
        self.at(HEADER)
    }

    /// The last entry.
    pub fn last(&self) -> Option<Pos> {
        self.before(self.bytes.len() - 1)
    }

    /// The entry after `pos`.
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.at(self.after(pos.0))
    }

    /// The entry before `pos`.
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.0)
    }

    /// The entry number `index`, counted from 0, or from the end with −1 as the last.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let count = self.stored_count();
        let from_end = if index < 0 {
            Some(index.unsigned_abs() - 1)
        } else if count != COUNT_UNKNOWN {
            let last = u64::from(count).checked_sub(1)?;
            let back = last.checked_sub(index as u64)?;
            (back < index as u64).then_some(back)
        } else {
            None
        };
        match from_end {
            Some(steps) => (0..steps).try_fold(self.last()?, |pos, _| self.prev(pos)),
            None => (0..index).try_fold(self.first()?, |pos, _| self.next(pos)),
        }
    }

    /// The entry at `pos`.
    pub fn get(&self, pos: Pos) -> Entry<'_> {
        decode(&self.bytes, pos.0).0
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            list: self,
            front: HEADER,
            back: self.bytes.len() - 1,
        }
    }

    /// The entries from `pos` on.
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter {
            list: self,
            front: pos.0,
            back: self.bytes.len() - 1,
        }
    }

    /// The first entry from `from` on whose text is `needle`, looking at one entry and then passing
    /// over `skip`: with `skip` 1, at the fields of field–value pairs.
    pub fn find(&self, from: Pos, needle: &[u8], skip: usize) -> Option<Pos> {
        let bytes = &self.bytes[..];
        let as_int = parse_i64(needle);
        let mut at = from.0;
        while bytes[at] != END {
            let (entry, size) = decode(bytes, at);
            let found = match entry {
                Entry::Str(text) => text == needle,
                Entry::Int(value) => as_int == Some(value),
            };
            if found {
                return Some(Pos(at));
            }
            at += size + backlen_size(size);
            for _ in 0..skip {
                if bytes[at] == END {
                    return None;
                }
                let size = encoded_size(bytes, at);
                at += size + backlen_size(size);
            }
        }
        None
    }

    /// Adds an entry at the end.
    pub fn append(&mut self, text: &[u8]) {
        self.splice(self.bytes.len() - 1, 0, &Element::of_text(text));
    }

    /// Adds an integer at the end.
    pub fn append_int(&mut self, value: i64) {
        self.splice(self.bytes.len() - 1, 0, &Element::of_int(value));
    }

    /// Adds several entries at the end, with one change to the header. They take about `room` bytes:
    /// no more than a hint.
    pub fn append_with(&mut self, room: usize, write: impl FnOnce(&mut Appender<'_>)) {
        let count = self.bytes.edit(|bytes| {
            bytes.reserve_exact(room);
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

    /// Adds an entry at the start.
    pub fn prepend(&mut self, text: &[u8]) {
        self.splice(HEADER, 0, &Element::of_text(text));
    }

    /// Adds an entry before the one at `pos`, which is then the place of the new one.
    pub fn insert_before(&mut self, pos: Pos, text: &[u8]) {
        self.splice(pos.0, 0, &Element::of_text(text));
    }

    /// Adds an entry after the one at `pos`; returns the place of the new one.
    pub fn insert_after(&mut self, pos: Pos, text: &[u8]) -> Pos {
        let at = self.after(pos.0);
        self.splice(at, 0, &Element::of_text(text));
        Pos(at)
    }

    /// Adds an integer after the entry at `pos`; returns the place of the new one.
    pub fn insert_int_after(&mut self, pos: Pos, value: i64) -> Pos {
        let at = self.after(pos.0);
        self.splice(at, 0, &Element::of_int(value));
        Pos(at)
    }

    /// Replaces the entry at `pos`, which stays its place.
    pub fn replace(&mut self, pos: Pos, text: &[u8]) {
        self.splice(pos.0, self.after(pos.0) - pos.0, &Element::of_text(text));
    }

    /// Replaces the entry at `pos` by an integer.
    pub fn replace_int(&mut self, pos: Pos, value: i64) {
        self.splice(pos.0, self.after(pos.0) - pos.0, &Element::of_int(value));
    }

    /// Removes the entry at `pos`; returns the place of the one that followed it.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_run(pos, 1);
        self.at(pos.0)
    }

    /// Removes up to `count` entries from the one at `pos` on; returns how many it removed.
    pub fn remove_run(&mut self, pos: Pos, count: usize) -> usize {
        let (mut end, mut removed) = (pos.0, 0);
        while removed < count && self.bytes[end] != END {
            end = self.after(end);
            removed += 1;
        }
        self.cut(pos.0, end, removed);
        removed
    }

    /// Removes up to `count` entries from number `index` on (negative: from the end, as
    /// [`seek`](Self::seek) counts); returns how many it removed.
    pub fn remove_range(&mut self, index: i64, count: usize) -> usize {
        self.seek(index)
            .map_or(0, |pos| self.remove_run(pos, count))
    }

    /// Adds all entries of `other` at the end.
    pub fn extend(&mut self, other: &Listpack) {
        let count = self.len().saturating_add(other.len());
        let at = self.bytes.len() - 1;
        self.open(at, 0, other.bytes.len() - HEADER - 1);
        self.bytes[at..].copy_from_slice(&other.bytes[HEADER..]);
        self.store_count(count);
    }

    /// Moves the entries from `pos` on into a list of their own.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        let count = self.iter_from(pos).count();
        let mut tail = Listpack {
            bytes: [&[0; HEADER], &self.bytes[pos.0..]].concat().into(),
        };
        tail.store_total();
        tail.store_count(count);
        self.cut(pos.0, self.bytes.len() - 1, count);
        tail
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        *self = Listpack::new();
    }

    fn stored_count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    fn store_count(&mut self, count: usize) {
        let count = count.min(COUNT_UNKNOWN.into()) as u16;
        self.bytes[4..HEADER].copy_from_slice(&count.to_le_bytes());
    }

    fn store_total(&mut self) {
        let total = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
    }

    fn at(&self, at: usize) -> Option<Pos> {
        (self.bytes[at] != END).then_some(Pos(at))
    }

    /// Where the entry at `at` ends.
    fn after(&self, at: usize) -> usize {
        let size = encoded_size(&self.bytes, at);
        at + size + backlen_size(size)
    }

    /// The entry that ends at `end`.
    fn before(&self, end: usize) -> Option<Pos> {
        if end == HEADER {
            return None;
        }
        let size = read_backlen(&self.bytes[HEADER..end])?;
        Some(Pos(end - size - backlen_size(size)))
    }

    /// Puts an element in the place of `old` bytes (none, or one entry's) at `at`.
    fn splice(&mut self, at: usize, old: usize, element: &Element<'_>) {
        self.open(at, old, element.len());
        element.write(&mut self.bytes[at..]);
        if old == 0 {
            let count = self.stored_count();
            self.store_count(usize::from(count) + usize::from(count != COUNT_UNKNOWN));
        }
    }

    /// Makes `old` bytes at `at` into `new` bytes, still to be written.
    fn open(&mut self, at: usize, old: usize, new: usize) {
        let len = self.bytes.len();
        let total = len - old + new;
        if total == len {
            return;
        }
        // Callers keep below SAFE_BYTES by `has_room`; the format itself ends where the bytes do.
        self.bytes.edit(|bytes| {
            if total > len {
                bytes.reserve_exact(total - len);
                bytes.resize(total, 0);
            }
            bytes.copy_within(at + old..len, at + new);
            bytes.truncate(total);
        });
        self.store_total();
    }

    /// Removes the bytes from `start` to `end`, which are `count` entries.
    fn cut(&mut self, start: usize, end: usize, count: usize) {
        self.bytes.edit(|bytes| {
            bytes.drain(start..end);
        });
        self.store_total();
        match self.stored_count() {
            COUNT_UNKNOWN => {}
            stored => self.store_count(usize::from(stored) - count),
        }
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
        self.bytes.resize(at + element.len(), 0);
        element.write(&mut self.bytes[at..]);
    }
}

/// Entries of a listpack, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    list: &'a Listpack,
    front: usize,
    back: usize,
}

impl Iter<'_> {
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
            self.front = self.list.after(self.front);
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.front == self.back {
            return None;
        }
        let (entry, size) = decode(&self.list.bytes, self.front);
        self.front += size + backlen_size(size);
        Some(entry)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front == self.back {
            return None;
        }
        self.back = self.list.before(self.back)?.0;
        Some(decode(&self.list.bytes, self.back).0)
    }
}

/// A new entry's bytes: encoding (and integer), string, backlen.
pub(super) struct Element<'a> {
    head: [u8; 9],
    head_len: usize,
    body: &'a [u8],
}

impl<'a> Element<'a> {
    pub(super) fn of_text(text: &'a [u8]) -> Element<'a> {
        if let Some(value) = parse_i64(text) {
            return Element::of_int(value);
        }
        let (mut head, len) = ([0; 9], text.len());
        let head_len = match len {
            0..64 => {
                head[0] = 0x80 | len as u8;
                1
            }
            64..4096 => {
                head[0] = 0xE0 | (len >> 8) as u8;
                head[1] = len as u8;
                2
            }
            _ => {
                head[0] = 0xF0;
                // A longer string is stopped by the assertion on the total.
                head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
                5
            }
        };
        Element {
            head,
            head_len,
            body: text,
        }
    }

    fn of_int(value: i64) -> Element<'a> {
        let mut head = [0; 9];
        let little = value.to_le_bytes();
        let head_len = match value {
            0..=127 => {
                head[0] = value as u8;
                1
            }
            -4096..=4095 => {
                head[0] = 0xC0 | (little[1] & 0x1F);
                head[1] = little[0];
                2
            }
            _ => {
                let (mark, width) = match value {
                    -0x8000..=0x7FFF => (0xF1, 2),
                    -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                    -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                    _ => (0xF4, 8),
                };
                head[0] = mark;
                head[1..=width].copy_from_slice(&little[..width]);
                width + 1
            }
        };
        Element {
            head,
            head_len,
            body: &[],
        }
    }

    fn size(&self) -> usize {
        self.head_len + self.body.len()
    }

    pub(super) fn len(&self) -> usize {
        self.size() + backlen_size(self.size())
    }

    pub(super) fn write(&self, out: &mut [u8]) {
        let size = self.size();
        out[..self.head_len].copy_from_slice(&self.head[..self.head_len]);
        out[self.head_len..size].copy_from_slice(self.body);
        let groups = backlen_size(size);
        for (i, byte) in out[size..size + groups].iter_mut().enumerate() {
            let bits = (size >> (7 * (groups - 1 - i))) as u8 & 127;
            *byte = if i == 0 { bits } else { bits | 128 };
        }
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// How many bytes the backlen of an entry of `size` bytes has.
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
pub(super) fn read_backlen(bytes: &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().rev().take(5).enumerate() {
        value |= u64::from(byte & 127) << (7 * i);
        if byte & 128 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// Size in bytes of encoding and data of the (well-formed) entry at `at`.
#[inline]
pub(super) fn encoded_size(bytes: &[u8], at: usize) -> usize {
    let head = bytes[at];
    match head {
        0x00..=0x7F => 1,
        0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(bytes[at + 1])),
        0xF0 => 5 + read_u32(bytes, at + 1) as usize,
        0xF1..=0xF3 => usize::from(head - 0xF1) + 3,
        _ => 9,
    }
}

/// The (well-formed) entry at `at`, with its size without the backlen.
#[inline]
pub(super) fn decode(bytes: &[u8], at: usize) -> (Entry<'_>, usize) {
    let head = bytes[at];
    let size = encoded_size(bytes, at);
    let data = &bytes[at..at + size];
    let entry = match head {
        0x00..=0x7F => Entry::Int(head.into()),
        0x80..=0xBF => Entry::Str(&data[1..]),
        0xC0..=0xDF => {
            let raw = i64::from(head & 0x1F) << 8 | i64::from(data[1]);
            Entry::Int(if raw < 1 << 12 { raw } else { raw - (1 << 13) })
        }
        0xE0..=0xEF => Entry::Str(&data[2..]),
        0xF0 => Entry::Str(&data[5..]),
        _ => {
            let mut raw = [0; 8];
            raw[..size - 1].copy_from_slice(&data[1..]);
            let unused = 64 - 8 * (size as u32 - 1);
            Entry::Int(i64::from_le_bytes(raw) << unused >> unused)
        }
    };
    (entry, size)
}

/// Checks the entry at `at` in `bytes` (all up to the end mark); returns where it ends.
fn check_entry(bytes: &[u8], at: usize) -> Option<usize> {
    let head = *bytes.get(at)?;
    let needed = match head {
        0xE0..=0xEF => 2,
        0xF0 => 5,
        0xF5..=0xFF => return None,
        _ => 1,
    };
    if bytes.len() - at < needed {
        return None;
    }
    let size = encoded_size(bytes, at);
    let groups = backlen_size(size);
    let end = at.checked_add(size)?.checked_add(groups)?;
    // Redis reads the number and trusts the size's own rule for how many bytes it takes; the bytes
    // must therefore both say the number and be that many, or walking backwards would go astray.
    let backlen = bytes.get(at + size..end)?;
    (read_backlen(backlen) == Some(size)).then_some(end)
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
