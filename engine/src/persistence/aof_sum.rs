//! Checksums inside an append-only file, as notes that other readers skip.
//!
//! ```text
//! #SUM:<bytes>:<16 hex digits>\r\n     XXH3 (64 bits) of so many bytes before the note: all since the last
//!                                      such note, or since the file began
//! #SUM:0:\r\n                          counting begins here: a file is continued whose end others may have written
//! #PREV:<number>:<bytes>\r\n           the increment of this number, after which this one was begun, has so many bytes
//! ```
//!
//! A command that rotted into another one looks like any other. With these notes it is found, and between which
//! offsets. What stands behind the last note is not covered: less than [`NOTE_BYTES`] or what came within a second
//! before a crash.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use xxhash_rust::xxh3::Xxh3;

/// A note goes behind so many bytes, with the batch that they came in.
pub(super) const NOTE_BYTES: u64 = 4096;

/// How a note about the increment before begins.
const PREVIOUS: &str = "#PREV:";

/// The bytes since the last note.
#[derive(Default)]
pub(super) struct Sum {
    hash: Box<Xxh3>,
    bytes: u64,
}

impl Clone for Sum {
    fn clone(&self) -> Sum {
        Sum {
            hash: self.hash.clone(),
            bytes: self.bytes,
        }
    }

    /// Without an allocation: it is half a kilobyte, for each write to the file.
    fn clone_from(&mut self, source: &Sum) {
        self.hash.clone_from(&source.hash);
        self.bytes = source.bytes;
    }
}

/// The note about the increment before, by its number and its bytes.
pub(super) fn previous((number, bytes): (u64, u64)) -> String {
    format!("{PREVIOUS}{number}:{bytes}\r\n")
}

/// What a note in an increment, given without its line end, says about the increment before: its number and its
/// bytes.
pub fn read_previous(note: &[u8]) -> Option<(u64, u64)> {
    let said = core::str::from_utf8(note).ok()?.strip_prefix(PREVIOUS)?;
    let (number, bytes) = said.split_once(':')?;
    Some((number.parse().ok()?, bytes.parse().ok()?))
}

/// What a note says of the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is another note.
    Other,
    /// They are what was written; counting begins anew.
    Sound,
    /// They are not.
    Rotten,
}

impl Sum {
    /// The note that has counting begin.
    pub const RESTART_TEXT: &str = "#SUM:0:\r\n";
    /// The same as bytes.
    pub const RESTART: &[u8] = Self::RESTART_TEXT.as_bytes();

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// More bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The note about the bytes so far; counting begins anew.
    pub fn note(&mut self) -> String {
        let note = format!("#SUM:{}:{:016x}\r\n", self.bytes, self.hash.digest());
        self.reset();
        note
    }

    /// Counting begins anew.
    pub fn reset(&mut self) {
        self.hash.reset();
        self.bytes = 0;
    }

    /// Holds the bytes so far against a note, given without its line end.
    pub fn check(&mut self, note: &[u8]) -> Verdict {
        let Some(said) = note.strip_prefix(b"#SUM:") else {
            return Verdict::Other;
        };
        let expected = format!("{}:{:016x}", self.bytes, self.hash.digest());
        if said != expected.as_bytes() && said != b"0:" {
            return Verdict::Rotten;
        }
        self.reset();
        Verdict::Sound
    }
}

impl core::fmt::Debug for Sum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Sum of {} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_holds_for_the_bytes_before_it_only() {
        let mut writer = Sum::default();
        writer.update(b"one ");
        writer.update(b"two");
        let note = writer.note();
        let said = note.trim_end().as_bytes();
        let check = |bytes: &[u8], note: &[u8]| {
            let mut reader = Sum::default();
            reader.update(bytes);
            (reader.check(note), reader.bytes())
        };
        assert_eq!(check(b"one two", said), (Verdict::Sound, 0));
        assert_eq!(check(b"one twO", said), (Verdict::Rotten, 7));
        assert_eq!(check(b"one", said), (Verdict::Rotten, 3));
        assert_eq!(check(b"one two", b"#TS:12"), (Verdict::Other, 7));
        assert_eq!(check(b"whatever", b"#SUM:0:"), (Verdict::Sound, 0));
        assert_eq!(check(b"one two", b"#SUM:7:"), (Verdict::Rotten, 7));
    }
}
