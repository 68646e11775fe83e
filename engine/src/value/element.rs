//! An element as small collections store it: a string or an integer with its length in front, in the way of
//! Redis's listpack.
//!
//! ```text
//! 0xxxxxxx                       integer 0…127
//! 10llllll  data                 string of up to 63 bytes
//! 110xxxxx xxxxxxxx              integer of 13 bits, two's complement, high bits first
//! 1110llll llllllll  data        string of up to 4095 bytes, high bits first
//! 11110000 l4  data              string of up to 2^32-1 bytes           little-endian, as what follows
//! 11110001 … 11110100            integer of 16, 24, 32, 64 bits
//! ```
//!
//! A string that is an integer's one canonical text ([`parse_i64`]) is stored as that integer. [`Element`] writes
//! each text in one way only, the shortest; others may write longer ones, and those are read too.

use super::number::{self, ItoaBuffer, parse_i64};
use alloc::vec::Vec;
use core::ops::Deref;

/// An element, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An integer, which stands for its canonical text.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
}

/// An element's text: borrowed, or an integer written out.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// An integer's digits.
    Int(ItoaBuffer),
    /// A string.
    Str(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// The element's text.
    pub fn text(self) -> Text<'a> {
        match self {
            Entry::Int(value) => Text::Int(ItoaBuffer::new(value)),
            Entry::Str(text) => Text::Str(text),
        }
    }

    /// Length of the element's text in bytes.
    pub fn text_len(self) -> usize {
        match self {
            Entry::Int(value) => number::i64_text_len(value),
            Entry::Str(text) => text.len(),
        }
    }

    /// The integer that the element's text is, if it is one.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Entry::Int(value) => Some(value),
            Entry::Str(text) => parse_i64(text),
        }
    }

    /// Appends the element's text.
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

/// What a text is to be stored as: a head (which is all of an integer) and a string.
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
                // What is longer is stopped by the assertion on the length of the whole.
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

    pub(super) fn of_int(value: i64) -> Element<'a> {
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

    pub(super) fn of_entry(entry: Entry<'a>) -> Element<'a> {
        match entry {
            Entry::Int(value) => Element::of_int(value),
            Entry::Str(text) => Element::of_text(text),
        }
    }

    #[inline]
    fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// Bytes that it takes.
    #[inline]
    pub(super) fn size(&self) -> usize {
        self.head_len + self.body.len()
    }

    /// Writes it to the first [`size`](Self::size) bytes.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8]) {
        out[..self.head_len].copy_from_slice(self.head());
        out[self.head_len..self.size()].copy_from_slice(self.body);
    }

    /// Appends it.
    #[inline]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head());
        out.extend_from_slice(self.body);
    }

    /// Its first byte, which tells its kind and, of most, its length; and its last.
    #[inline]
    pub(super) fn ends(&self) -> (u8, u8) {
        let last = self.body.last().unwrap_or(&self.head[self.head_len - 1]);
        (self.head[0], *last)
    }

    /// Whether these bytes are just how it is stored.
    #[inline]
    pub(super) fn is(&self, stored: &[u8]) -> bool {
        let (head, body) = stored.split_at(self.head_len.min(stored.len()));
        head == self.head() && body == self.body
    }
}

#[inline]
pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Bytes that the (well-formed) element at `at` takes.
#[inline]
pub(super) fn size_at(bytes: &[u8], at: usize) -> usize {
    let head = bytes[at];
    match head {
        0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0x00..=0x7F => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(bytes[at + 1])),
        0xF0 => 5 + read_u32(bytes, at + 1) as usize,
        0xF1..=0xF3 => usize::from(head - 0xF1) + 3,
        _ => 9,
    }
}

/// The (well-formed) element at `at`, and the bytes that it takes.
#[inline]
pub(super) fn decode(bytes: &[u8], at: usize) -> (Entry<'_>, usize) {
    let head = bytes[at];
    let size = size_at(bytes, at);
    let data = &bytes[at..at + size];
    let entry = match head {
        0x80..=0xBF => Entry::Str(&data[1..]),
        0x00..=0x7F => Entry::Int(head.into()),
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

/// Bytes that the element at `at` takes or claims to take, in bytes of any origin: `None` if its head is none, or is
/// cut off.
pub(super) fn checked_size(bytes: &[u8], at: usize) -> Option<usize> {
    let needed = match *bytes.get(at)? {
        0xE0..=0xEF => 2,
        0xF0 => 5,
        0xF5..=0xFF => return None,
        _ => 1,
    };
    (bytes.len() - at >= needed).then(|| size_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn stored(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Element::of_text(text).append_to(&mut bytes);
        bytes
    }

    fn check(text: &[u8]) {
        let element = Element::of_text(text);
        let bytes = stored(text);
        let mut written = vec![0xAA; bytes.len() + 1];
        element.write(&mut written);
        assert_eq!((written.pop(), &written), (Some(0xAA), &bytes));
        let (entry, size) = decode(&bytes, 0);
        assert_eq!((&*entry.text(), size), (text, bytes.len()));
        assert_eq!((element.size(), size_at(&bytes, 0)), (size, size));
        assert_eq!(checked_size(&bytes, 0), Some(size));
        assert_eq!(Some(element.ends().0), bytes.first().copied());
        assert_eq!(Some(element.ends().1), bytes.last().copied());
        assert!(element.is(&bytes) && Element::of_entry(entry).is(&bytes));
    }

    #[test]
    fn strings_of_every_length_class() {
        for len in [0, 1, 63, 64, 4095, 4096, 70_000] {
            check(&vec![b'x'; len]);
        }
    }

    #[test]
    fn an_element_is_no_other() {
        let texts = ["", "0", "00", "7", "07", "a", "ab", "128", "4096", "-1"];
        for a in texts {
            for b in texts {
                let same = Element::of_text(a.as_bytes()).is(&stored(b.as_bytes()));
                assert_eq!(same, a == b, "{a} {b}");
            }
        }
    }

    #[test]
    fn heads_that_are_none_or_cut_off() {
        for bytes in [&[][..], &[0xE1], &[0xF0, 1, 2, 3], &[0xF5], &[0xFF]] {
            assert_eq!(checked_size(bytes, 0), None, "{bytes:?}");
        }
        assert_eq!(
            checked_size(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF], 0),
            Some((1 << 32) + 4)
        );
    }

    proptest! {
        #[test]
        fn integers_and_what_is_nearly_one(value: i64, shift in 0u32..64, more in 0u8..3) {
            let text = (value >> shift).to_string();
            check(text.as_bytes());
            check(format!("{}{text}{}", &"0"[..usize::from(more % 2)], &" "[..usize::from(more / 2)]).as_bytes());
        }
    }
}
