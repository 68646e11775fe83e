//! What is known about each command, and how one is found by its name.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::context::{Data, Server};
use super::error::CommandError;
use super::rows::GROUPS;
use crate::acl::Catalogue;

/// What a command's function returns; the executor turns an error into its reply.
pub type Outcome = Result<(), CommandError>;

/// Who carries a command out.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// A command on data: it sees the store and its own reply, nothing else.
    Data(fn(&mut Data<'_>, &[&[u8]]) -> Outcome),
    /// A command on the server or on its connection.
    Server(fn(&mut Server<'_>, &[&[u8]]) -> Outcome),
    /// A name that only has subcommands.
    Container,
}

/// A row of the command table.
#[derive(Debug)]
pub struct Command {
    /// Lower-case name; a subcommand's begins with its container's and a bar (`config|get`).
    pub name: &'static str,
    /// Number of words with the name; negative: at least so many.
    pub arity: i32,
    /// See [`flag`].
    pub flags: u32,
    /// See [`category`].
    pub categories: u32,
    /// Where the keys are among the arguments.
    pub keys: &'static [KeySpec],
    /// Hints for clients and proxies, in COMMAND INFO's words.
    pub tips: &'static [&'static str],
    /// Who carries it out.
    pub handler: Handler,
    /// Its subcommands.
    pub subcommands: &'static [Command],
}

/// Where some of a command's keys are, in the terms of COMMAND INFO's key specifications.
/// <https://redis.io/docs/latest/develop/reference/key-specs/>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where to begin.
    pub begin: Begin,
    /// Which words from there are keys.
    pub find: Find,
    /// See [`key`].
    pub flags: u16,
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this word.
    Index(usize),
    /// At the word after the first that is this keyword, searched from that word on; from a negative one
    /// (counted from the end), backwards.
    Keyword(&'static str, i32),
    /// Clients are told that it is unknown. In truth, at the word after the last that is this keyword, if one
    /// is given.
    Unknown(Option<&'static str>),
}

/// Which words are keys, counted from where the search began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// From the first to `last` (negative: from the end of the command), every `step`th; of them the first
    /// `1/limit`, if that is more than 1.
    Range {
        /// The last key, relative to the first; negative: relative to the end.
        last: i32,
        /// Distance of the keys.
        step: usize,
        /// Part of the words that are keys.
        limit: usize,
    },
    /// The first word says how many keys follow it, every `step`th word one.
    Numbered {
        /// Distance of the keys.
        step: usize,
    },
}

/// A single key at a fixed place.
pub const fn at(first: usize, flags: u16) -> KeySpec {
    span(first, 0, 1, flags)
}

/// Several keys.
pub const fn span(first: usize, last: i32, step: usize, flags: u16) -> KeySpec {
    KeySpec {
        begin: Begin::Index(first),
        find: Find::Range {
            last,
            step,
            limit: 0,
        },
        flags,
    }
}

/// As many keys as the word at `count` says, right after it.
pub const fn numbered(count: usize, flags: u16) -> KeySpec {
    numbered_by(count, 1, flags)
}

/// As many keys as the word at `count` says, the first right after it, each `step` words from the last.
pub const fn numbered_by(count: usize, step: usize, flags: u16) -> KeySpec {
    KeySpec {
        begin: Begin::Index(count),
        find: Find::Numbered { step },
        flags,
    }
}

/// Keys after a keyword.
pub const fn keyword(
    word: &'static str,
    from: i32,
    last: i32,
    step: usize,
    limit: usize,
    flags: u16,
) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword(word, from),
        find: Find::Range { last, step, limit },
        flags,
    }
}

/// Keys whose names only the command's work brings up.
pub const fn unknown(flags: u16) -> KeySpec {
    KeySpec {
        begin: Begin::Unknown(None),
        find: Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        flags,
    }
}

/// A key after a keyword that may stand anywhere, which clients are not told.
pub const fn hidden(word: &'static str, flags: u16) -> KeySpec {
    KeySpec {
        begin: Begin::Unknown(Some(word)),
        find: Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        flags,
    }
}

impl KeySpec {
    /// Whether the word that says how many keys there are is none of a number's, but begins like one.
    pub fn counts_loosely<'a>(&self, words: usize, word: impl Fn(usize) -> &'a [u8]) -> bool {
        match (self.begin, self.find) {
            (Begin::Index(i), Find::Numbered { .. }) if i < words => {
                crate::value::number::parse_i64(word(i)).is_none()
            }
            _ => false,
        }
    }

    /// Calls `emit` with the index of each key among `words` words.
    ///
    /// # Errors
    /// The command's words contradict themselves: a number of keys that is none, or more than there are.
    #[inline]
    fn positions<'a>(
        &self,
        words: usize,
        word: impl Fn(usize) -> &'a [u8],
        mut emit: impl FnMut(usize),
    ) -> Result<(), InvalidKeys> {
        let is = |i: usize, name: &str| word(i).eq_ignore_ascii_case(name.as_bytes());
        let begin = match self.begin {
            Begin::Index(index) => Some(index),
            Begin::Keyword(name, from) if from >= 0 => {
                (from as usize..words).find(|&i| is(i, name)).map(|i| i + 1)
            }
            Begin::Keyword(name, from) => (1..(words as i64 + i64::from(from) + 1).max(1) as usize)
                .rev()
                .find(|&i| is(i, name))
                .map(|i| i + 1),
            Begin::Unknown(None) => None,
            Begin::Unknown(Some(name)) => (1..words).rev().find(|&i| is(i, name)).map(|i| i + 1),
        };
        let Some(first) = begin.filter(|&first| first < words) else {
            return Ok(());
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let end = if last >= 0 {
                    first + last as usize
                } else if limit > 1 {
                    first + (words - first) / limit - last.unsigned_abs() as usize
                } else {
                    words.saturating_sub(last.unsigned_abs() as usize)
                };
                (first..=end.min(words - 1)).step_by(step).for_each(emit);
            }
            Find::Numbered { step } => {
                let count = leading_number(word(first))
                    .filter(|&n| n <= (words - first - 1) / step)
                    .ok_or(InvalidKeys)?;
                (first + 1..words)
                    .step_by(step)
                    .take(count)
                    .for_each(&mut emit);
            }
        }
        Ok(())
    }
}

/// The number of keys as Redis looks for it before the command does: what follows its digits does not matter.
/// (The command refuses the word.)
fn leading_number(word: &[u8]) -> Option<usize> {
    let word = word.trim_ascii_start();
    let word = word.strip_prefix(b"+").unwrap_or(word);
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    core::str::from_utf8(&word[..digits]).ok()?.parse().ok()
}

/// A command's words do not say where its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeys;

macro_rules! named_bits {
    ($(#[$doc:meta])* $module:ident: $int:ty; $($name:ident = $bit:literal, $text:literal;)*) => {
        $(#[$doc])*
        #[allow(missing_docs)]
        pub mod $module {
            $(pub const $name: $int = 1 << $bit;)*
            /// Each bit with its name for COMMAND INFO and ACL.
            pub const NAMES: &[($int, &str)] = &[$(($name, $text)),*];
        }
    };
}

named_bits! {
    /// What gates and propagation must know of a command.
    flag: u32;
    WRITE = 0, "write"; READONLY = 1, "readonly"; DENYOOM = 2, "denyoom"; ADMIN = 3, "admin";
    PUBSUB = 4, "pubsub"; NOSCRIPT = 5, "noscript"; BLOCKING = 6, "blocking"; LOADING = 7, "loading";
    STALE = 8, "stale"; SKIP_MONITOR = 9, "skip_monitor"; SKIP_SLOWLOG = 10, "skip_slowlog";
    ASKING = 11, "asking"; FAST = 12, "fast"; NO_AUTH = 13, "no_auth";
    MAY_REPLICATE = 14, "may_replicate"; NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
    NO_ASYNC_LOADING = 16, "no_async_loading"; NO_MULTI = 17, "no_multi"; ALLOW_BUSY = 18, "allow_busy";
    TOUCHES_ARBITRARY_KEYS = 19, "touches_arbitrary_keys"; MOVABLE_KEYS = 20, "movablekeys";
}

named_bits! {
    /// ACL categories.
    category: u32;
    KEYSPACE = 0, "keyspace"; READ = 1, "read"; WRITE = 2, "write"; SET = 3, "set";
    SORTEDSET = 4, "sortedset"; LIST = 5, "list"; HASH = 6, "hash"; STRING = 7, "string";
    BITMAP = 8, "bitmap"; HYPERLOGLOG = 9, "hyperloglog"; GEO = 10, "geo"; STREAM = 11, "stream";
    PUBSUB = 12, "pubsub"; ADMIN = 13, "admin"; FAST = 14, "fast"; SLOW = 15, "slow";
    BLOCKING = 16, "blocking"; DANGEROUS = 17, "dangerous"; CONNECTION = 18, "connection";
    TRANSACTION = 19, "transaction"; SCRIPTING = 20, "scripting";
}

named_bits! {
    /// What a command does with its keys.
    key: u16;
    RO = 0, "RO"; RW = 1, "RW"; OW = 2, "OW"; RM = 3, "RM"; ACCESS = 4, "access";
    UPDATE = 5, "update"; INSERT = 6, "insert"; DELETE = 7, "delete"; NOT_KEY = 8, "not_key";
    INCOMPLETE = 9, "incomplete"; VARIABLE_FLAGS = 10, "variable_flags";
}

macro_rules! commands {
    ($($name:literal $arity:literal [$($flag:ident)*] [$($category:ident)*] [$($key:expr),*] [$($tip:literal),*]
       $handler:expr $(=> $subcommands:ident)?;)*) => {
        [$($crate::command::table::Command {
            name: $name,
            arity: $arity,
            flags: 0 $(| $crate::command::table::flag::$flag)*,
            categories: 0 $(| $crate::command::table::category::$category)*,
            keys: &[$($key),*],
            tips: &[$($tip),*],
            handler: $handler,
            subcommands: commands!(@subs $($subcommands)?),
        }),*]
    };
    (@subs) => { &[] };
    (@subs $subcommands:ident) => { $subcommands };
}
pub(super) use commands;

/// Commands that newer versions of Redis gave another last word, and which. (COMMAND INFO shows the arity of
/// 7.0.)
const LONGER: &[(&str, &[u8])] = &[("zrank", b"withscore"), ("zrevrank", b"withscore")];

impl Command {
    /// Whether so many words, the name included, can be right.
    #[inline]
    pub fn arity_ok(&self, words: usize) -> bool {
        if self.arity >= 0 {
            words == self.arity as usize
        } else {
            words >= self.arity.unsigned_abs() as usize
        }
    }

    /// Whether these words, which are too many for the arity, are right all the same.
    #[cold]
    pub fn has_newer_option(&self, args: &[&[u8]]) -> bool {
        let last = args.last().copied().unwrap_or_default();
        args.len() == self.arity.unsigned_abs() as usize + 1
            && (LONGER.iter())
                .any(|(name, word)| *name == self.name && last.eq_ignore_ascii_case(word))
    }

    /// Calls `emit` with the index of each key among `words` words, and its specification's flags.
    ///
    /// # Errors
    /// See [`KeySpec`]: the keys that were found until then have been emitted.
    #[inline]
    pub fn each_key<'a>(
        &self,
        words: usize,
        word: impl Fn(usize) -> &'a [u8],
        mut emit: impl FnMut(usize, u16),
    ) -> Result<(), InvalidKeys> {
        // MIGRATE has one key, or, if that is empty, those after KEYS.
        let specs = match self.keys {
            [one, _] if self.name == "migrate" && words > 3 && !word(3).is_empty() => {
                core::slice::from_ref(one)
            }
            [_, several] if self.name == "migrate" => core::slice::from_ref(several),
            all => all,
        };
        for spec in specs {
            spec.positions(words, &word, |i| emit(i, spec.flags))?;
        }
        Ok(())
    }

    /// The index of the first key, where it is the same in every call (that has keys).
    #[inline]
    pub fn first_key(&self) -> Option<usize> {
        match self.keys.first()?.begin {
            // (The word there may be empty, and the keys elsewhere.)
            Begin::Index(3) if self.name == "migrate" => None,
            Begin::Index(index) if !matches!(self.keys[0].find, Find::Numbered { .. }) => {
                Some(index)
            }
            // A script's keys follow their number: what it does begins with the first of them, mostly.
            Begin::Index(index) if matches!(self.handler, Handler::Server(_)) => Some(index + 1),
            _ => None,
        }
    }

    /// Which words name the collection and the (first) element that the command looks up, if it is one of those that
    /// look up little else.
    #[inline]
    pub fn element(&self) -> Option<(usize, usize)> {
        let of_elements = category::SET | category::HASH;
        (self.flags & flag::FAST != 0 && self.categories & of_elements != 0).then_some((1, 2))
    }

    /// The subcommand with this name, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Command> {
        let from = self.name.len() + 1;
        self.subcommands
            .iter()
            .find(|c| c.name.as_bytes()[from..].eq_ignore_ascii_case(name))
    }

    /// The name that it has in its container, or else its name.
    pub fn last_name(&self) -> &'static str {
        self.name.rsplit('|').next().unwrap_or(self.name)
    }
}

/// A name, the same in upper and lower case: its first and last eight bytes, which for up to sixteen are all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    first: u64,
    last: u64,
    len: usize,
}

impl Name {
    /// Bytes of the longest name that is compared whole.
    const WHOLE: usize = 16;
    /// Places that names are spread over.
    const PLACES: usize = 1024;

    #[inline]
    fn of(name: &[u8]) -> Name {
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk(), name.last_chunk()) {
                (Some(first), Some(last)) => {
                    let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                    (u64::from(first), u64::from(last))
                }
                _ => (name.iter().fold(0, |word, &b| word << 8 | u64::from(b)), 0),
            },
        };
        Name {
            first: Name::lower(first),
            last: Name::lower(last),
            len: name.len(),
        }
    }

    /// Eight bytes with their letters in lower case.
    #[inline]
    fn lower(word: u64) -> u64 {
        const EACH: u64 = u64::from_le_bytes([1; 8]);
        let low = word & (EACH * 0x7F);
        // (The top bit of each byte: whether it is so large.)
        let from_a = low + EACH * u64::from(0x80 - b'A');
        let above_z = low + EACH * u64::from(0x7F - b'Z');
        let upper = (from_a & !above_z & !word) & (EACH * 0x80);
        word | upper >> 2
    }

    #[inline]
    fn place(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(23) ^ self.len as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize % Name::PLACES
    }
}

/// Finds commands by name, and gives each a dense number for statistics.
#[derive(Debug)]
pub struct Index {
    /// Open addressing by [`Name::place`]; number + 1, or 0.
    places: Vec<u16>,
    /// All commands, each followed by its subcommands.
    all: Vec<&'static Command>,
    /// Their names, by number.
    names: Vec<Name>,
    /// Commands that are called otherwise (`rename-command`), by their new names in lower case.
    renamed: BTreeMap<Vec<u8>, u16>,
    has_renamed: bool,
}

impl Default for Index {
    fn default() -> Index {
        let mut index = Index {
            places: vec![0; Name::PLACES],
            all: Vec::new(),
            names: Vec::new(),
            renamed: BTreeMap::new(),
            has_renamed: false,
        };
        for command in GROUPS.iter().copied().flatten() {
            let mut at = Name::of(command.name.as_bytes()).place();
            while index.places[at] != 0 {
                at = (at + 1) % index.places.len();
            }
            index.places[at] = index.all.len() as u16 + 1;
            index.all.push(command);
            index.all.extend(command.subcommands);
        }
        let names = index.all.iter().map(|c| Name::of(c.name.as_bytes()));
        index.names = names.collect();
        index
    }
}

impl Index {
    /// All commands, of which some have other names, or (if the new name is empty) none.
    pub fn renamed(names: &[(Vec<u8>, Vec<u8>)]) -> Index {
        let mut index = Index::default();
        for (old, new) in names {
            let Some((number, _)) = index.find(old) else {
                continue;
            };
            index.has_renamed = true;
            index.renamed.remove(&old.to_ascii_lowercase());
            let number = number as u16;
            // A place that was taken stays taken, by nobody: searches go on there.
            let place = index.places.iter_mut().find(|place| **place == number + 1);
            if let Some(place) = place {
                *place = Index::NOBODY;
            }
            if !new.is_empty() {
                index.renamed.insert(new.to_ascii_lowercase(), number);
            }
        }
        index
    }

    /// A place of a command that is not called so any more.
    const NOBODY: u16 = u16::MAX;

    /// The command with this name, in any case, and its number.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<(usize, &'static Command)> {
        let wanted = Name::of(name);
        let mut at = wanted.place();
        loop {
            let Some(number) = usize::from(self.places[at]).checked_sub(1) else {
                return self.find_renamed(name);
            };
            if self.names.get(number) == Some(&wanted) {
                let command = self.all[number];
                if name.len() <= Name::WHOLE || command.name.as_bytes().eq_ignore_ascii_case(name) {
                    return Some((number, command));
                }
            }
            at = (at + 1) % Name::PLACES;
        }
    }

    /// What rules of access may name.
    pub fn catalogue(&self) -> Catalogue {
        let commands = self.all.iter().map(|c| (c.name, c.categories));
        Catalogue::new(commands, category::NAMES)
    }

    /// The command with this name as it is without `rename-command`: for files, and for our primary's stream.
    pub fn find_original(&self, name: &[u8]) -> Option<(usize, &'static Command)> {
        if !self.has_renamed {
            return self.find(name);
        }
        let is = |c: &&'static Command| c.name.as_bytes().eq_ignore_ascii_case(name);
        let number = self.all.iter().position(is)?;
        Some((number, self.all[number]))
    }

    #[cold]
    fn find_renamed(&self, name: &[u8]) -> Option<(usize, &'static Command)> {
        if !self.has_renamed {
            return None;
        }
        let number = usize::from(*self.renamed.get(&name.to_ascii_lowercase())?);
        Some((number, self.all[number]))
    }

    /// All commands and subcommands, by number.
    pub fn all(&self) -> &[&'static Command] {
        &self.all
    }

    /// The number of a command or subcommand of the table.
    pub fn number(&self, command: &'static Command) -> usize {
        self.all
            .iter()
            .position(|c| core::ptr::eq(*c, command))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        let index = Index::default();
        for (number, command) in index
            .all()
            .iter()
            .enumerate()
            .filter(|(_, c)| !c.name.contains('|'))
        {
            let (found, _) = index.find(command.name.to_uppercase().as_bytes()).unwrap();
            assert_eq!(found, number, "{}", command.name);
        }
        assert!(index.find(b"nosuch").is_none() && index.find(b"").is_none());
    }

    #[test]
    fn only_the_name_itself_is_found() {
        let index = Index::default();
        for command in GROUPS.iter().copied().flatten() {
            for at in 0..command.name.len() {
                for byte in 0..=255 {
                    let mut name = command.name.as_bytes().to_vec();
                    name[at] = byte;
                    let found = index.find(&name).map(|(_, c)| c.name.as_bytes());
                    let expected = GROUPS.iter().copied().flatten();
                    let expected = expected
                        .map(|c| c.name.as_bytes())
                        .find(|n| n.eq_ignore_ascii_case(&name));
                    assert_eq!(found, expected, "{}", name.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn commands_have_the_names_that_they_are_given() {
        let names = [("FLUSHALL", "badger"), ("get", ""), ("set", "get")];
        let names = names.map(|(old, new)| (old.into(), new.into()));
        let index = Index::renamed(&names);
        let found = |name: &str| index.find(name.as_bytes()).map(|(_, command)| command.name);
        assert_eq!(found("flushall"), None);
        assert_eq!(found("BADGER"), Some("flushall"));
        assert_eq!((found("get"), found("set")), (Some("set"), None));
        let original = index
            .find_original(b"FlushAll")
            .map(|(_, command)| command.name);
        assert_eq!(original, Some("flushall"));
        assert_eq!(found("mget"), Some("mget"));
    }

    #[test]
    fn keys_are_where_the_specification_says() {
        let index = Index::default();
        let keys = |line: &str| -> Vec<usize> {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut found = Vec::new();
            let (_, command) = index.find(words[0]).unwrap();
            command
                .each_key(words.len(), |i| words[i], |i, _| found.push(i))
                .unwrap();
            found
        };
        assert_eq!(keys("get a"), [1]);
        assert_eq!(keys("mset a 1 b 2"), [1, 3]);
        assert_eq!(keys("mget a b c"), [1, 2, 3]);
        assert_eq!(keys("role"), [0; 0]);
    }

    #[test]
    fn keys_by_number_and_by_keyword() {
        let find = |spec: KeySpec, line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut found = Vec::new();
            spec.positions(words.len(), |i| words[i], |i| found.push(i))
                .map(|()| found)
        };
        assert_eq!(find(numbered(1, 0), "lmpop 2 a b left"), Ok(vec![2, 3]));
        assert_eq!(find(numbered(1, 0), "lmpop 1e3 a"), Ok(vec![2]));
        assert_eq!(find(numbered(1, 0), "lmpop 0 a"), Ok(vec![]));
        assert_eq!(find(numbered(1, 0), "lmpop 3 a b"), Err(InvalidKeys));
        assert_eq!(find(numbered(1, 0), "lmpop x a b"), Err(InvalidKeys));
        assert_eq!(find(numbered(1, 0), "lmpop -1 a b"), Err(InvalidKeys));
        let streams = keyword("STREAMS", 1, -1, 1, 2, 0);
        assert_eq!(
            find(streams, "xread block 0 streams a b 0 0"),
            Ok(vec![4, 5])
        );
        assert_eq!(find(streams, "xread block 0"), Ok(vec![]));
        assert_eq!(find(streams, "xread streams"), Ok(vec![]));
        let store = hidden("STORE", 0);
        assert_eq!(find(store, "sort a store b store c"), Ok(vec![5]));
        assert_eq!(find(store, "sort a store"), Ok(vec![]));
        let migrated = keyword("KEYS", -2, -1, 1, 0, 0);
        assert_eq!(find(migrated, "migrate h 1 k 0 9 keys a b"), Ok(vec![7, 8]));
    }
}
