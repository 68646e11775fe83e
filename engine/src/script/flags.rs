//! The first line of a script or library (`#!lua name=… flags=…`), and the flags in it.

use alloc::vec::Vec;

use crate::resp::split_words;

/// What a script says of itself.
#[allow(missing_docs)]
pub mod flag {
    /// It writes nothing.
    pub const NO_WRITES: u32 = 1;
    /// It may run when memory is used up.
    pub const ALLOW_OOM: u32 = 1 << 1;
    /// It may run on a replica whose data is stale.
    pub const ALLOW_STALE: u32 = 1 << 2;
    /// It must not run in a cluster.
    pub const NO_CLUSTER: u32 = 1 << 3;
    /// It may use keys of several slots.
    pub const ALLOW_CROSS_SLOT_KEYS: u32 = 1 << 4;
    /// It says nothing of itself, as all scripts did before Redis 7.
    pub const COMPATIBLE: u32 = 1 << 5;
}

const NAMES: [(&str, u32); 5] = [
    ("no-writes", flag::NO_WRITES),
    ("allow-oom", flag::ALLOW_OOM),
    ("allow-stale", flag::ALLOW_STALE),
    ("no-cluster", flag::NO_CLUSTER),
    ("allow-cross-slot-keys", flag::ALLOW_CROSS_SLOT_KEYS),
];

/// The names of the flags that are set.
pub fn flag_names(flags: u32) -> impl Iterator<Item = &'static str> {
    NAMES
        .iter()
        .filter(move |(_, bit)| flags & bit != 0)
        .map(|&(name, _)| name)
}

/// The flags with these names.
///
/// # Errors
/// The name that is none's.
pub fn parse_flags<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<u32, &'a [u8]> {
    let mut flags = 0;
    for name in names {
        let found = NAMES.iter().find(|(text, _)| text.as_bytes() == name);
        flags |= found.ok_or(name)?.1;
    }
    Ok(flags)
}

/// The first line of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// See [`flag`].
    pub flags: u32,
    /// Where the code begins: at the end of that line, so that lines keep their numbers.
    pub code: usize,
}

/// Reads the first line of a script for EVAL, if it is one.
///
/// # Errors
/// What is wrong with it, in Redis's words, without a code.
pub fn shebang(body: &[u8]) -> Result<Shebang, Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok(Shebang {
            flags: flag::COMPATIBLE,
            code: 0,
        });
    }
    let end = memchr::memchr(b'\n', body).ok_or(&b"Invalid script shebang"[..])?;
    let words = split_words(&body[..end])
        .filter(|words| !words.is_empty())
        .ok_or(&b"Invalid engine in script shebang"[..])?;
    let show = |text: &str, word: &[u8]| [text.as_bytes(), word].concat();
    if words[0] != b"#!lua" {
        return Err(show("Unexpected engine in script shebang: ", &words[0]));
    }
    let mut flags = 0;
    for word in &words[1..] {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(show("Unknown lua shebang option: ", word));
        };
        // An empty list names no flag.
        let names = names.split(|&c| c == b',').filter(|_| !names.is_empty());
        flags |=
            parse_flags(names).map_err(|name| show("Unexpected flag in script shebang: ", name))?;
    }
    Ok(Shebang { flags, code: end })
}
