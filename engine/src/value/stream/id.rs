//! The name of a stream's entry: `milliseconds-sequence`, both of 64 bits, in ascending order.

use core::ops::Deref;

/// An entry's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix time in milliseconds, more or less.
    pub ms: u64,
    /// What tells entries of one millisecond apart.
    pub seq: u64,
}

/// An id as an argument gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdText {
    /// `-`: the least id.
    Least,
    /// `+`: the greatest id.
    Greatest,
    /// `ms-seq`.
    Full(StreamId),
    /// `ms` alone.
    Time(u64),
    /// `ms-*`: the sequence is to be chosen.
    AnySequence(u64),
}

impl StreamId {
    /// `0-0`, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: StreamId = StreamId {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// An id of its two parts.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The next id, if this is not the greatest.
    pub fn next(self) -> Option<StreamId> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(StreamId { seq, ..self }),
            (None, Some(ms)) => Some(StreamId { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The id before, if this is not the least.
    pub fn prev(self) -> Option<StreamId> {
        match (self.seq.checked_sub(1), self.ms.checked_sub(1)) {
            (Some(seq), _) => Some(StreamId { seq, ..self }),
            (None, Some(ms)) => Some(StreamId { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// Whether this is `0-0`.
    pub fn is_zero(self) -> bool {
        self == StreamId::MIN
    }

    /// Sixteen bytes, big-endian, so that they sort as the ids do: the form in snapshots.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id in sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }

    /// The id as text.
    pub fn text(self) -> IdBuffer {
        let mut buffer = IdBuffer {
            bytes: [0; 41],
            start: 41,
        };
        buffer.digits(self.seq);
        buffer.push(b'-');
        buffer.digits(self.ms);
        buffer
    }
}

impl IdText {
    /// Reads an id, with all that Redis lets pass: the text ends at a NUL byte, and each part may be
    /// anything that the C library's `strtoull` takes (white space, a sign, zeros in front).
    pub fn parse(text: &[u8]) -> Option<IdText> {
        if text.len() > 127 {
            return None;
        }
        let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
        match text {
            b"-" => return Some(IdText::Least),
            b"+" => return Some(IdText::Greatest),
            _ => {}
        }
        let Some(dash) = memchr::memchr(b'-', text) else {
            return parse_u64(text).map(IdText::Time);
        };
        let ms = parse_u64(&text[..dash])?;
        match &text[dash + 1..] {
            b"*" => Some(IdText::AnySequence(ms)),
            seq => Some(IdText::Full(StreamId {
                ms,
                seq: parse_u64(seq)?,
            })),
        }
    }

    /// The id, with this sequence if it gives none. `ms-*` is none.
    pub fn id(self, missing_seq: u64) -> Option<StreamId> {
        match self {
            IdText::Least => Some(StreamId::MIN),
            IdText::Greatest => Some(StreamId::MAX),
            IdText::Full(id) => Some(id),
            IdText::Time(ms) => Some(StreamId {
                ms,
                seq: missing_seq,
            }),
            IdText::AnySequence(_) => None,
        }
    }

    /// As [`IdText::id`], but `-` and `+` are none either.
    pub fn strict(self, missing_seq: u64) -> Option<StreamId> {
        match self {
            IdText::Least | IdText::Greatest => None,
            other => other.id(missing_seq),
        }
    }
}

/// As `strtoull` reads it, and wholly. A canonical negative number is refused, as Redis does before it
/// asks the C library, which would take it modulo 2⁶⁴.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if crate::value::number::parse_i64(text).is_some_and(|n| n < 0) {
        return None;
    }
    let is_space = |b: &&u8| matches!(b, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(is_space).count()..];
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// An id's text, on the stack.
#[derive(Clone, Copy)]
pub struct IdBuffer {
    bytes: [u8; 41],
    start: u8,
}

impl IdBuffer {
    fn push(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[usize::from(self.start)] = byte;
    }

    fn digits(&mut self, mut value: u64) {
        loop {
            self.push(b'0' + (value % 10) as u8);
            value /= 10;
            if value == 0 {
                break;
            }
        }
    }
}

impl Deref for IdBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

impl core::fmt::Display for StreamId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let full = |ms, seq| Some(IdText::Full(StreamId { ms, seq }));
        for (text, id) in [
            ("1-2", full(1, 2)),
            ("0-0", full(0, 0)),
            (
                "18446744073709551615-18446744073709551615",
                full(u64::MAX, u64::MAX),
            ),
            ("18446744073709551616-0", None),
            ("7", Some(IdText::Time(7))),
            ("007", Some(IdText::Time(7))),
            (" +7", Some(IdText::Time(7))),
            ("7 ", None),
            ("", None),
            ("-1", None),
            ("1-", None),
            ("1--5", None),
            ("1--05", full(1, 5u64.wrapping_neg())),
            ("1- -5", full(1, 5u64.wrapping_neg())),
            ("1-*", Some(IdText::AnySequence(1))),
            ("1-**", None),
            ("*", None),
            ("-", Some(IdText::Least)),
            ("+", Some(IdText::Greatest)),
            ("1-2\x003", full(1, 2)),
            ("1-2-3", None),
        ] {
            assert_eq!(IdText::parse(text.as_bytes()), id, "{text:?}");
        }
    }

    #[test]
    fn neighbours() {
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.prev(), None);
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::new(2, 0).prev(), Some(StreamId::new(1, u64::MAX)));
    }

    proptest! {
        #[test]
        fn ids_round_trip(ms: u64, seq: u64, shift in 0u32..64) {
            let id = StreamId::new(ms >> shift, seq >> (63 - shift));
            let text = id.to_string();
            prop_assert_eq!(&id.text()[..], text.as_bytes());
            prop_assert_eq!(IdText::parse(&id.text()), Some(IdText::Full(id)));
            prop_assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        }

        #[test]
        fn any_text_is_answered(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = IdText::parse(&text);
        }
    }
}
