//! What is known about each command, and how one is found by its name.

use alloc::vec;
use alloc::vec::Vec;

use super::context::{Data, Server};
use super::error::CommandError;
use super::rows::GROUPS;

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

/// Where a command's keys are: from word `first` to word `last` (counted from the first key; negative
/// from the end of the command), every `step`th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Index of the first key.
    pub first: usize,
    /// The last key, relative to the first; negative: relative to the end.
    pub last: i32,
    /// Distance of the keys.
    pub step: usize,
    /// See [`key`].
    pub flags: u16,
}

/// A single key at a fixed place.
pub const fn at(first: usize, flags: u16) -> KeySpec {
    KeySpec {
        first,
        last: 0,
        step: 1,
        flags,
    }
}

/// Several keys.
pub const fn span(first: usize, last: i32, step: usize, flags: u16) -> KeySpec {
    KeySpec {
        first,
        last,
        step,
        flags,
    }
}

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

    /// The indexes of the keys among `words` words, each with its specification's flags.
    pub fn key_indexes(&self, words: usize) -> impl Iterator<Item = (usize, u16)> {
        self.keys.iter().flat_map(move |spec| {
            let last = if spec.last >= 0 {
                spec.first as i64 + i64::from(spec.last)
            } else {
                words as i64 + i64::from(spec.last)
            };
            (spec.first as i64..=last.min(words as i64 - 1))
                .step_by(spec.step)
                .map(|i| (i as usize, spec.flags))
        })
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

/// Finds commands by name, and gives each a dense number for statistics.
#[derive(Debug)]
pub struct Index {
    /// Open addressing by [`Index::place`]; number + 1, or 0.
    places: Vec<u16>,
    /// All commands, each followed by its subcommands.
    all: Vec<&'static Command>,
}

impl Default for Index {
    fn default() -> Index {
        let mut index = Index {
            places: vec![0; 1024],
            all: Vec::new(),
        };
        for command in GROUPS.iter().copied().flatten() {
            let mut at = Index::place(command.name.as_bytes());
            while index.places[at] != 0 {
                at = (at + 1) % index.places.len();
            }
            index.places[at] = index.all.len() as u16 + 1;
            index.all.push(command);
            index.all.extend(command.subcommands);
        }
        index
    }
}

impl Index {
    /// A place from the length and a few letters, the same in upper and lower case.
    #[inline]
    fn place(name: &[u8]) -> usize {
        let letter = |i: usize| usize::from(name.get(i).copied().unwrap_or(0) & 0x1F);
        let n = name.len();
        (letter(0)
            ^ letter(1) << 3
            ^ letter(n / 2) << 2
            ^ letter(n.wrapping_sub(1)) << 5
            ^ letter(n.wrapping_sub(2)) << 1
            ^ n << 6)
            & 1023
    }

    /// The command with this name, in any case, and its number.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<(usize, &'static Command)> {
        let mut at = Index::place(name);
        loop {
            let number = usize::from(self.places[at]).checked_sub(1)?;
            let command = self.all[number];
            if command.name.len() == name.len()
                && command.name.as_bytes().eq_ignore_ascii_case(name)
            {
                return Some((number, command));
            }
            at = (at + 1) & 1023;
        }
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
    fn keys_are_where_the_specification_says() {
        let index = Index::default();
        let keys = |name: &str, words| -> Vec<usize> {
            index
                .find(name.as_bytes())
                .unwrap()
                .1
                .key_indexes(words)
                .map(|k| k.0)
                .collect()
        };
        assert_eq!(keys("get", 2), [1]);
        assert_eq!(keys("mset", 5), [1, 3]);
        assert_eq!(keys("mget", 4), [1, 2, 3]);
        assert_eq!(keys("role", 1), [0; 0]);
    }
}
