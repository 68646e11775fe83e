//! Checksums inside an append-only file, as notes that other readers skip.
//!
//! ```text
//! #SUM:<bytes>:<16 hex digits>\r\n     XXH3 (64 bits) of so many bytes before the note: all since the last
//!                                      such note, or since the file began
//! #SUM:0:\r\n                          counting begins here: a file is continued whose end others may have written
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

/// The bytes since the last note.
#[derive(Clone, Default)]
pub(super) struct Sum {
    hash: Box<Xxh3>,
    bytes: u64,
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
        *self = Sum::default();
        note
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
        *self = Sum::default();
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
