//! The words of a snapshot: bytes, lengths and strings, read from what has arrived.
//!
//! A read either finds all of its bytes or stops with how many it needs, and nothing is consumed: what was
//! begun is read again from its start when they are there.

use super::event::RdbErrorKind;
use super::{lzf, special};
use alloc::format;
use alloc::vec::Vec;

/// No string is longer: a length above is damage even where the file's size is unknown.
const MAX_STRING: u64 = 1 << 40;

/// Why a step did not finish: nothing is consumed then.
pub(super) enum Stop {
    /// That many bytes must be there, counted from the first one not consumed.
    More(u64),
    /// There is no use in more.
    Bad(RdbErrorKind),
}

impl Stop {
    /// The same, counted from `read` bytes further on.
    pub(super) fn after(self, read: usize) -> Stop {
        match self {
            Stop::More(bytes) => Stop::More(bytes - read as u64),
            bad => bad,
        }
    }
}

/// What was read, or why it could not be.
pub(super) type Step<T> = Result<T, Stop>;

pub(super) fn corrupt(what: &'static str) -> Stop {
    Stop::Bad(RdbErrorKind::Corrupt(what))
}

/// The head of a string.
pub(super) enum Text {
    Plain(u64),
    Int(i32),
    Lzf { packed: u64, plain: u64 },
}

/// Reads words from `bytes`, all that has arrived, at `at`.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: u64) -> Step<&'a [u8]> {
        let end = self.at as u64 + count;
        if end > self.bytes.len() as u64 {
            return Err(Stop::More(end));
        }
        let piece = &self.bytes[self.at..end as usize];
        self.at = end as usize;
        Ok(piece)
    }

    pub(super) fn byte(&mut self) -> Step<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn length(&mut self) -> Step<u64> {
        let first = self.byte()?;
        self.length_after(first)?
            .ok_or_else(|| corrupt("Invalid length"))
    }

    /// The length that opens with `first`, or nothing if it opens a special string.
    fn length_after(&mut self, first: u8) -> Step<Option<u64>> {
        Ok(Some(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3F) << 8 | u64::from(self.byte()?),
            2 => match first {
                0x80 => u64::from(u32::from_be_bytes(self.array()?)),
                0x81 => u64::from_be_bytes(self.array()?),
                _ => return Err(corrupt("Unknown length encoding")),
            },
            _ => return Ok(None),
        }))
    }

    pub(super) fn text(&mut self) -> Step<Text> {
        let first = self.byte()?;
        let text = match (self.length_after(first)?, first) {
            (Some(length), _) => Text::Plain(length),
            (None, special::INT8) => Text::Int(i32::from(self.byte()? as i8)),
            (None, special::INT16) => Text::Int(i32::from(i16::from_le_bytes(self.array()?))),
            (None, special::INT32) => Text::Int(i32::from_le_bytes(self.array()?)),
            (None, special::LZF) => Text::Lzf {
                packed: self.length()?,
                plain: self.length()?,
            },
            (None, _) => return Err(corrupt("Unknown RDB string encoding type")),
        };
        match text {
            Text::Plain(length) | Text::Lzf { packed: length, .. } if length > MAX_STRING => {
                Err(corrupt("Impossible string length"))
            }
            text => Ok(text),
        }
    }

    pub(super) fn resolve(&mut self, text: Text) -> Step<Vec<u8>> {
        match text {
            Text::Plain(length) => Ok(self.take(length)?.to_vec()),
            Text::Int(number) => Ok(format!("{number}").into_bytes()),
            Text::Lzf { packed, plain } => {
                let plain =
                    usize::try_from(plain).map_err(|_| corrupt("Invalid LZF compressed string"))?;
                lzf::decompress(self.take(packed)?, plain)
                    .ok_or_else(|| corrupt("Invalid LZF compressed string"))
            }
        }
    }

    pub(super) fn string(&mut self) -> Step<Vec<u8>> {
        let text = self.text()?;
        self.resolve(text)
    }

    /// Passes over what a module wrote: values, each after an opcode that says its form, up to opcode 0.
    pub(super) fn module_data(&mut self) -> Step<()> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => drop(self.length()?),
                3 => drop(self.take(4)?),
                4 => drop(self.take(8)?),
                5 => match self.text()? {
                    Text::Int(_) => {}
                    Text::Plain(bytes) | Text::Lzf { packed: bytes, .. } => drop(self.take(bytes)?),
                },
                _ => return Err(corrupt("Error reading module auxiliary data")),
            }
        }
    }
}
