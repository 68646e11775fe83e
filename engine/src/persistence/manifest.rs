//! The manifest of an append-only file: which files hold the data, in which order.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b      the base: at most one
//! file appendonly.aof.1.incr.aof seq 1 type h      history: not needed any more, to be deleted
//! file appendonly.aof.2.incr.aof seq 2 type i      increments, in the order in which they apply
//! #SUM:<16 hex digits>                             XXH3 (64 bits) of all bytes before; no line end follows
//! ```
//!
//! A line of a base that consists of commands also has `bytes` and its length: a snapshot says itself where it ends,
//! and of an increment the next one tells.
//!
//! A line is pairs of a key and a value; keys that are not known are skipped, lines that start with `#`
//! too. A name with blanks or unprintable bytes stands in double quotes with C escapes. Names are
//! `<appendfilename>.<seq>.base.rdb` and `<appendfilename>.<seq>.incr.aof`; sequence numbers only rise.
//!
//! The checksum is ours. It is a comment to Redis, and no line to those who read lines: it has no end. One that
//! does not fit is refused, and so is anything behind it; whoever changes a manifest by hand removes it. A
//! manifest without one (by Redis, or by hand) is taken as it is.
//!
//! The file is replaced as a whole (written beside, synced, renamed, directory synced), so it is always
//! either the old or the new one. Format: Redis 7.0.

use crate::resp::{quote, split_words};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use xxhash_rust::xxh3::xxh3_64;

/// The file set of one append-only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The data as of some moment.
    pub base: Option<Entry>,
    /// Files that the present base replaced.
    pub history: Vec<Entry>,
    /// What happened since, oldest first.
    pub increments: Vec<Entry>,
    /// The highest sequence number given to a base.
    pub base_seq: u64,
    /// The highest sequence number given to an increment.
    pub increment_seq: u64,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory of the manifest.
    pub name: String,
    /// Its sequence number.
    pub seq: u64,
    /// How long it is, if that is fixed and does not show in it.
    pub bytes: Option<u64>,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, counted from 1, and its text; none if no single line is to blame.
    pub line: Option<(usize, String)>,
    /// The reason, in Redis's words.
    pub reason: &'static str,
}

/// Longer lines are refused.
const MAX_LINE: usize = 1024;

/// How the line of the checksum begins.
const SUM: &str = "#SUM:";

const INVALID: &str = "Invalid AOF manifest file format";

impl Manifest {
    /// Reads a manifest's text.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err(ManifestError {
                line: None,
                reason: "Found an empty AOF manifest",
            });
        }
        check_sum(text)?;
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if line[0] == b'#' {
                continue;
            }
            if line.len() > MAX_LINE || line.last() != Some(&b'\n') {
                let reason = "The AOF manifest file contains too long line";
                return Err(ManifestError { line: None, reason });
            }
            let line = line.trim_ascii();
            manifest.add_line(line).map_err(|reason| ManifestError {
                line: Some((index + 1, String::from_utf8_lossy(line).into_owned())),
                reason,
            })?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = split_words(line).ok_or(INVALID)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(INVALID);
        }
        let (mut name, mut seq, mut kind, mut bytes) = (None, 0, None, None);
        for pair in words.chunks_exact(2) {
            let value = &pair[1];
            if pair[0].eq_ignore_ascii_case(b"file") {
                if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(String::from_utf8(value.clone()).map_err(|_| INVALID)?);
            } else if pair[0].eq_ignore_ascii_case(b"seq") {
                seq = core::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or(INVALID)?;
            } else if pair[0].eq_ignore_ascii_case(b"bytes") {
                bytes = core::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
            } else if pair[0].eq_ignore_ascii_case(b"type") {
                kind = value.first().copied();
            }
        }
        let (Some(name), Some(kind)) = (name.filter(|name| !name.is_empty()), kind) else {
            return Err(INVALID);
        };
        if seq == 0 {
            return Err(INVALID);
        }
        let entry = Entry { name, seq, bytes };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = seq;
                self.base = Some(entry);
            }
            b'h' => self.history.push(entry),
            b'i' if seq <= self.increment_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => {
                self.increment_seq = seq;
                self.increments.push(entry);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest's text.
    pub fn format(&self) -> String {
        let mut text = String::new();
        let base = self.base.iter().map(|entry| (entry, 'b'));
        let history = self.history.iter().map(|entry| (entry, 'h'));
        let increments = self.increments.iter().map(|entry| (entry, 'i'));
        for (entry, kind) in base.chain(history).chain(increments) {
            text.push_str(&format!(
                "file {} seq {} type {kind}",
                quoted(&entry.name),
                entry.seq
            ));
            if let Some(bytes) = entry.bytes {
                text.push_str(&format!(" bytes {bytes}"));
            }
            text.push('\n');
        }
        let sum = xxh3_64(text.as_bytes());
        text.push_str(&format!("{SUM}{sum:016x}"));
        text
    }

    /// Whether no file holds data.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// The files that hold the data, in the order in which they are loaded.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.increments)
    }

    /// Adds the next base, `suffix` being its format (`rdb` or `aof`); the present one becomes history.
    pub fn add_base(&mut self, append_filename: &str, suffix: &str, bytes: Option<u64>) -> &Entry {
        self.history.splice(..0, self.base.take());
        self.base_seq += 1;
        let seq = self.base_seq;
        self.base.insert(Entry {
            name: format!("{append_filename}.{seq}.base.{suffix}"),
            seq,
            bytes,
        })
    }

    /// Adds the next increment.
    pub fn add_increment(&mut self, append_filename: &str) -> &Entry {
        self.increment_seq += 1;
        let seq = self.increment_seq;
        self.increments.push(Entry {
            name: format!("{append_filename}.{seq}.incr.aof"),
            seq,
            bytes: None,
        });
        &self.increments[self.increments.len() - 1]
    }

    /// Makes history of all increments but the last `keep`: the base has their data.
    pub fn retire_increments(&mut self, keep: usize) {
        let retired = self.increments.len().saturating_sub(keep);
        let retired: Vec<Entry> = self.increments.drain(..retired).rev().collect();
        self.history.splice(..0, retired);
    }
}

/// Holds the text against the checksum that stands in it, if one does.
fn check_sum(text: &[u8]) -> Result<(), ManifestError> {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let mut at = 0;
    let Some(line) = lines.find(|line| {
        let found = line.starts_with(SUM.as_bytes());
        at += if found { 0 } else { line.len() };
        found
    }) else {
        return Ok(());
    };
    let expected = format!("{SUM}{:016x}", xxh3_64(&text[..at]));
    if text[at..].trim_ascii_end() == expected.as_bytes() {
        return Ok(());
    }
    Err(ManifestError {
        line: Some((
            text[..at].iter().filter(|&&byte| byte == b'\n').count() + 1,
            String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
        )),
        reason: "The AOF manifest file is not as it was written, by its checksum. If it was changed on purpose, remove \
                 this line",
    })
}

fn quoted(name: &str) -> String {
    if name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\''))
    {
        return name.into();
    }
    let mut text = Vec::new();
    quote(&mut text, name.as_bytes());
    // (It is ASCII.)
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text.as_bytes())
    }

    /// The text without its checksum.
    fn lines(manifest: &Manifest) -> String {
        let text = manifest.format();
        text[..text.rfind(SUM).unwrap()].into()
    }

    fn reason(text: &str) -> &'static str {
        parse(text).unwrap_err().reason
    }

    #[test]
    fn a_manifest_by_redis_is_read_and_written_the_same() {
        let text = "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.1.base.rdb seq 1 type h\n\
                    file a.aof.3.incr.aof seq 3 type i\nfile a.aof.7.incr.aof seq 7 type i\n";
        let manifest = parse(text).unwrap();
        assert_eq!(lines(&manifest), text);
        assert_eq!((manifest.base_seq, manifest.increment_seq), (2, 7));
        let names: Vec<_> = manifest.files().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            ["a.aof.2.base.rdb", "a.aof.3.incr.aof", "a.aof.7.incr.aof"]
        );
        let spaced = "file \" file seq \\n\\n.aof.1.base.rdb\" seq 1 type b\n";
        assert_eq!(
            parse(spaced).unwrap().base.unwrap().name,
            " file seq \n\n.aof.1.base.rdb"
        );
        assert_eq!(lines(&parse(spaced).unwrap()), spaced);
        let odd = "# a comment\nSEQ 1 newkey newvalue TYPE i FILE x\r\n";
        assert_eq!(parse(odd).unwrap().increments[0].name, "x");
    }

    #[test]
    fn a_wrong_manifest_is_refused_in_the_words_of_redis() {
        assert_eq!(reason(""), "Found an empty AOF manifest");
        assert_eq!(
            reason("file a seq 1 type i"),
            "The AOF manifest file contains too long line"
        );
        let long = format!("file {} seq 1 type i\n", "a".repeat(1024));
        assert_eq!(
            reason(&long),
            "The AOF manifest file contains too long line"
        );
        for text in [
            "\n",
            "file a seq 1 type\n",
            "file a type i\n",
            "file a seq 0 type i\n",
            "file \"a seq 1 type i\n",
        ] {
            assert_eq!(reason(text), INVALID, "{text:?}");
        }
        assert_eq!(
            reason("file ../a seq 1 type i\n"),
            "File can't be a path, just a filename"
        );
        assert_eq!(reason("file a seq 1 type x\n"), "Unknown AOF file type");
        assert_eq!(
            reason("file a seq 1 type b\nfile b seq 2 type b\n"),
            "Found duplicate base file information"
        );
        let error = parse("file a seq 2 type i\nfile b seq 2 type i\n").unwrap_err();
        assert_eq!(error.reason, "Found a non-monotonic sequence number");
        assert_eq!(error.line, Some((2, "file b seq 2 type i".into())));
    }

    #[test]
    fn a_rewrite_retires_what_the_base_replaces() {
        let mut manifest = Manifest::default();
        manifest.add_base("a", "rdb", None);
        manifest.add_increment("a");
        manifest.add_increment("a");
        manifest.add_base("a", "rdb", None);
        manifest.retire_increments(1);
        let text = "file a.2.base.rdb seq 2 type b\nfile a.1.incr.aof seq 1 type h\n\
                    file a.1.base.rdb seq 1 type h\nfile a.2.incr.aof seq 2 type i\n";
        assert_eq!(lines(&manifest), text);
    }

    #[test]
    fn a_change_of_any_bit_or_a_cut_is_refused_or_harmless() {
        let mut manifest = Manifest::default();
        manifest.add_base("a", "rdb", None);
        manifest.add_increment("a");
        manifest.add_base("a", "rdb", None);
        manifest.retire_increments(0);
        manifest.add_increment("a");
        manifest.add_increment("a");
        let text = manifest.format();
        assert_eq!(parse(&text), Ok(manifest.clone()));
        let mut harmless = 0;
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = Manifest::parse(&flipped) {
                assert_eq!(found, manifest, "{flipped:?}");
                harmless += 1;
            }
        }
        // In the word that says that there is a checksum.
        assert!(harmless <= 4 * 8, "{harmless}");
        for cut in 0..text.len() {
            let Ok(found) = Manifest::parse(&text.as_bytes()[..cut]) else {
                continue;
            };
            // Whole lines, without the checksum: whoever loads sees that a file is left over.
            let lines = found.files().count() + found.history.len();
            assert!(found == manifest || text.as_bytes()[cut - 1] == b'\n' && lines < 6);
        }
        let appended = text + "\nfile a.9.incr.aof seq 9 type i\n";
        assert!(reason(&appended).contains("checksum"));
    }

    proptest! {
        #[test]
        fn any_name_survives(name in "[^/\\\\]{1,30}", seq in 1u64..) {
            let manifest = Manifest { increments: [Entry { name, seq, bytes: None }].into(), increment_seq: seq, ..Manifest::default() };
            prop_assert_eq!(parse(&manifest.format()), Ok(manifest));
        }

        #[test]
        fn any_text_is_answered(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&text);
        }
    }
}
