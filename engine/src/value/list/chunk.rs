//! A chunk: a short run of a list's elements, in the listpack's encoding, with room at either end, so
//! that pushing and popping at both ends move nothing.
//!
//! ```text
//! buffer   gap | entry … | unused capacity          entries as in `value/listpack.rs`
//! ```
//!
//! What makes a listpack of it (its head of six bytes, and the end mark) is added when it is written.

use alloc::vec::Vec;

use super::{End, Limits};
use crate::value::element::{Element, Entry, decode};
use crate::value::listpack::{
    COUNT_UNKNOWN, END, HEADER, Iter, Listpack, after, before, linked_size, write_linked,
};
use crate::value::number::parse_i64;
use crate::value::size_class::size_class;

/// Bytes that a listpack has besides its entries.
const FRAME: usize = HEADER + 1;

/// A buffer this small is never given back in part.
const SMALL_BUFFER: usize = 256;

/// Elements in order. See the module's documentation.
#[derive(Clone, Default)]
pub struct Chunk {
    buf: Vec<u8>,
    /// Where the first entry begins.
    start: u32,
    count: u32,
}

/// A text to be compared with elements: its integer is worked out once.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Elements that have this text.
    pub fn new(text: &'a [u8]) -> Needle<'a> {
        let int = parse_i64(text);
        Needle { text, int }
    }

    /// Whether an element has the text.
    #[inline]
    pub fn is(&self, entry: Entry<'_>) -> bool {
        match entry {
            Entry::Str(text) => text == self.text,
            Entry::Int(value) => self.int == Some(value),
        }
    }
}

impl core::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Chunk {
    /// The entries of a listpack.
    pub fn from_listpack(list: Listpack) -> Chunk {
        let count = list.len() as u32;
        let mut buf = list.into_bytes();
        buf.pop();
        Chunk {
            buf,
            start: HEADER as u32,
            count,
        }
    }

    /// An empty chunk with room for `bytes` bytes of entries that come at one end.
    pub(super) fn with_room(bytes: usize, end: End) -> Chunk {
        let mut buf = Vec::with_capacity(bytes);
        if end == End::Front {
            buf.resize(bytes, 0);
        }
        Chunk {
            start: buf.len() as u32,
            buf,
            count: 0,
        }
    }

    /// Appends the chunk as a listpack.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        let total = self.listpack_bytes() as u32;
        let count = self.count.min(COUNT_UNKNOWN.into()) as u16;
        out.reserve(total as usize);
        out.extend_from_slice(&total.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(self.entries());
        out.push(END);
    }

    /// Bytes that it has as a listpack.
    #[inline]
    pub fn listpack_bytes(&self) -> usize {
        self.entries().len() + FRAME
    }

    /// Whether one more element of `len` bytes may join.
    #[inline]
    pub(super) fn takes(&self, len: usize, limits: &Limits) -> bool {
        limits.allow(self.listpack_bytes(), self.len(), len)
            // What is alone may be long.
            || (self.is_empty() && len < limits.plain_at)
    }

    /// Whether an element of `len` bytes may take the place of number `index`.
    pub(super) fn takes_instead(&self, index: usize, len: usize, limits: &Limits) -> bool {
        if len >= limits.plain_at {
            return false;
        }
        let at = self.offset(index);
        let rest = self.listpack_bytes() - (self.after(at) - at);
        // The number of elements stays as it is.
        self.len() == 1 || limits.allow_bytes(rest, len)
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes on the heap.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.buf.capacity()
    }

    /// The element number `index`, which must be there.
    #[inline]
    pub fn get(&self, index: usize) -> Entry<'_> {
        decode(&self.buf, self.offset(index)).0
    }

    /// All elements.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The elements from number `index` on.
    #[inline]
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        Iter::between(&self.buf, self.offset(index), self.buf.len())
    }

    /// The elements before number `index`.
    #[inline]
    pub fn iter_to(&self, index: usize) -> Iter<'_> {
        Iter::between(&self.buf, self.start as usize, self.offset(index))
    }

    /// Adds an element at the start.
    pub fn push_front(&mut self, text: &[u8]) {
        let element = Element::of_text(text);
        let len = linked_size(&element);
        let at = match (self.start as usize).checked_sub(len) {
            Some(at) => {
                self.start = at as u32;
                at
            }
            None => self.open(self.start as usize, len),
        };
        write_linked(&element, &mut self.buf[at..]);
        self.count += 1;
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, text: &[u8]) {
        self.insert_at(self.buf.len(), text);
    }

    /// Adds an element before number `index`, which may be the number of elements.
    pub fn insert(&mut self, index: usize, text: &[u8]) {
        self.insert_at(self.offset(index), text);
    }

    /// Replaces the element number `index`.
    pub fn replace(&mut self, index: usize, text: &[u8]) {
        let element = Element::of_text(text);
        let at = self.offset(index);
        let end = self.after(at);
        if linked_size(&element) == end - at {
            return write_linked(&element, &mut self.buf[at..]);
        }
        self.cut(at, end, 1);
        self.insert(index, text);
    }

    /// Removes `count` elements from number `index` on, which must be there.
    pub fn remove(&mut self, index: usize, count: usize) {
        let from = self.offset(index);
        let to = self.offset(index + count);
        self.cut(from, to, count);
    }

    /// Removes the elements that have a text: of all such, passing over the first `skip`, up to `count`.
    pub fn remove_equal(&mut self, needle: &Needle<'_>, skip: usize, count: usize) {
        let (mut at, mut kept_to) = (self.start as usize, self.start as usize);
        let (mut seen, mut removed) = (0, 0);
        while at < self.buf.len() {
            let end = self.after(at);
            let hit = removed < count && needle.is(decode(&self.buf, at).0);
            seen += usize::from(hit);
            if hit && seen > skip {
                removed += 1;
            } else {
                self.buf.copy_within(at..end, kept_to);
                kept_to += end - at;
            }
            at = end;
        }
        self.buf.truncate(kept_to);
        self.count -= removed as u32;
        self.give_back();
    }

    /// Moves the elements from number `index` on into a chunk of their own.
    pub fn split_off(&mut self, index: usize) -> Chunk {
        let at = self.offset(index);
        let mut buf = Vec::with_capacity(size_class(self.buf.len() - at));
        buf.extend_from_slice(&self.buf[at..]);
        let count = self.count - index as u32;
        self.buf.truncate(at);
        self.count -= count;
        self.compact();
        Chunk {
            buf,
            start: 0,
            count,
        }
    }

    /// Adds all elements of another chunk at the end.
    pub fn append(&mut self, other: &Chunk) {
        let at = self.open(self.buf.len(), other.entries().len());
        self.buf[at..].copy_from_slice(other.entries());
        self.count += other.count;
    }

    /// Gives back what room the elements do not need.
    pub fn compact(&mut self) {
        let len = self.entries().len();
        if size_class(len) < self.buf.capacity() {
            let mut buf = Vec::with_capacity(size_class(len));
            buf.extend_from_slice(self.entries());
            self.buf = buf;
            self.start = 0;
        }
    }

    /// Panics if something is not as it should be.
    pub fn invariants(&self) {
        let mut list = Vec::new();
        self.write_listpack(&mut list);
        let list = Listpack::from_bytes(list).expect("a chunk is a listpack");
        assert_eq!(list.len(), self.len());
    }

    #[inline]
    fn entries(&self) -> &[u8] {
        &self.buf[self.start as usize..]
    }

    /// Where the entry at `at` ends.
    #[inline]
    fn after(&self, at: usize) -> usize {
        after(&self.buf, at)
    }

    /// Where the entry that ends at `end` begins.
    #[inline]
    fn before(&self, end: usize) -> usize {
        before(&self.buf, end)
    }

    /// Where the element number `index` begins, or the entries end.
    fn offset(&self, index: usize) -> usize {
        let back = self.len() - index;
        if index <= back {
            (0..index).fold(self.start as usize, |at, _| self.after(at))
        } else {
            (0..back).fold(self.buf.len(), |at, _| self.before(at))
        }
    }

    fn insert_at(&mut self, at: usize, text: &[u8]) {
        let element = Element::of_text(text);
        let at = self.open(at, linked_size(&element));
        write_linked(&element, &mut self.buf[at..]);
        self.count += 1;
    }

    /// Makes room for `n` bytes at `at`, moving the shorter side away; returns where they are.
    fn open(&mut self, at: usize, n: usize) -> usize {
        let front = at - self.start as usize;
        if front < self.buf.len() - at {
            self.room_in_front(n);
            let start = self.start as usize;
            self.buf.copy_within(start..start + front, start - n);
            self.start -= n as u32;
            return start - n + front;
        }
        self.room_behind(n);
        let (at, len) = (self.start as usize + front, self.buf.len());
        self.buf.resize(len + n, 0);
        self.buf.copy_within(at..len, at + n);
        at
    }

    /// Has a gap of at least `n` bytes in front of the first entry.
    fn room_in_front(&mut self, n: usize) {
        if self.start as usize >= n {
            return;
        }
        let len = self.entries().len();
        let from = self.start as usize;
        let cap = self.buf.capacity();
        // All the room goes to this side. It must be some, or it would soon go back and forth.
        if cap - len >= n + len / 8 {
            let end = self.buf.len();
            self.buf.resize(cap, 0);
            self.buf.copy_within(from..end, cap - len);
            self.start = (cap - len) as u32;
        } else {
            let cap = size_class(len + n);
            let mut buf = Vec::with_capacity(cap);
            buf.resize(cap - len, 0);
            buf.extend_from_slice(self.entries());
            self.start = (cap - len) as u32;
            self.buf = buf;
        }
    }

    /// Has capacity for `n` more bytes behind the last entry.
    fn room_behind(&mut self, n: usize) {
        let (len, start) = (self.buf.len(), self.start as usize);
        if self.buf.capacity() - len >= n {
            return;
        }
        if start >= n + (len - start) / 8 {
            self.buf.drain(..start);
            self.start = 0;
        } else {
            self.buf.reserve_exact(size_class(len + n) - len);
        }
    }

    /// Removes the bytes from `from` to `to`, which are `count` entries.
    fn cut(&mut self, from: usize, to: usize, count: usize) {
        let start = self.start as usize;
        if from - start < self.buf.len() - to {
            self.buf.copy_within(start..from, start + to - from);
            self.start += (to - from) as u32;
        } else {
            self.buf.drain(from..to);
        }
        self.count -= count as u32;
        self.give_back();
    }

    fn give_back(&mut self) {
        let cap = self.buf.capacity();
        if cap > SMALL_BUFFER && self.entries().len() < cap / 4 {
            self.compact();
        }
    }
}
