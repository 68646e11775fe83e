//! What rules may name: commands, each with a dense number, and the categories that they are in.
//!
//! The access rules do not know the command table; they are given this extract of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Numbers of commands are below this, less one: the last bit stands for commands that are yet to come.
const CAPACITY: usize = 1024;

/// Longer words name no command.
const LONGEST: usize = 64;

/// A set of commands, by number. The last bit says that commands unknown today are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits([u64; CAPACITY / 64]);

impl Bits {
    /// No command.
    pub const NONE: Bits = Bits([0; CAPACITY / 64]);
    /// All commands, also those that are yet to come.
    pub const ALL: Bits = Bits([u64::MAX; CAPACITY / 64]);

    /// Whether a command is in it; numbers beyond the capacity never are.
    #[inline]
    pub fn has(&self, number: u16) -> bool {
        let number = usize::from(number);
        number < CAPACITY - 1 && self.0[number / 64] >> (number % 64) & 1 == 1
    }

    /// Whether commands that are unknown today are in it.
    pub fn has_future(&self) -> bool {
        self.0[CAPACITY / 64 - 1] >> 63 == 1
    }

    /// Puts a command in, or takes it out.
    pub fn put(&mut self, number: u16, on: bool) {
        let number = usize::from(number);
        if number < CAPACITY - 1 {
            let bit = 1 << (number % 64);
            let word = &mut self.0[number / 64];
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    /// Puts all of another set in, or takes them out.
    pub fn put_all(&mut self, others: &Bits, on: bool) {
        for (word, other) in self.0.iter_mut().zip(others.0) {
            *word = if on { *word | other } else { *word & !other };
        }
    }

    /// How many of `others` are in it, and how many are not.
    pub fn split(&self, others: &Bits) -> (u32, u32) {
        let pairs = || self.0.iter().zip(others.0);
        (
            pairs()
                .map(|(mine, other)| (mine & other).count_ones())
                .sum(),
            pairs()
                .map(|(mine, other)| (!mine & other).count_ones())
                .sum(),
        )
    }
}

/// A category of commands.
#[derive(Clone, Debug)]
pub struct Category {
    /// Its name, without `@`.
    pub name: &'static str,
    /// The commands and subcommands in it.
    pub members: Bits,
    /// What a rule with its name changes: the members, and the subcommands of those that have some.
    pub reach: Bits,
}

/// A command that rules may name.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in lower case; a subcommand's with its container's and a bar before it.
    pub name: &'static str,
    /// The number of the container, of a subcommand.
    pub parent: Option<u16>,
    /// How many subcommands it has; they have the numbers that follow.
    pub subcommands: u16,
}

/// All commands and categories.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    rows: Vec<Row>,
    numbers: BTreeMap<&'static str, u16>,
    categories: Vec<Category>,
}

impl Catalogue {
    /// From all commands by number, each directly followed by its subcommands: name, and categories as bits;
    /// and the categories' bits and names.
    pub fn new(
        commands: impl Iterator<Item = (&'static str, u32)>,
        categories: &[(u32, &'static str)],
    ) -> Catalogue {
        let mut all = Catalogue::default();
        let none = |&(_, name): &(u32, &'static str)| Category {
            name,
            members: Bits::NONE,
            reach: Bits::NONE,
        };
        all.categories = categories.iter().map(none).collect();
        let mut container: Option<(u16, u32)> = None;
        for (number, (name, bits)) in (0..CAPACITY as u16 - 1).zip(commands) {
            let parent = container.filter(|_| name.contains('|'));
            if let Some((parent, _)) = parent {
                all.rows[usize::from(parent)].subcommands += 1;
            } else {
                container = Some((number, bits));
            }
            let inherited = parent.map_or(0, |(_, bits)| bits);
            for (category, (bit, _)) in all.categories.iter_mut().zip(categories) {
                if bits & bit != 0 {
                    category.members.put(number, true);
                }
                if (bits | inherited) & bit != 0 {
                    category.reach.put(number, true);
                }
            }
            all.numbers.insert(name, number);
            all.rows.push(Row {
                name,
                parent: parent.map(|(number, _)| number),
                subcommands: 0,
            });
        }
        all
    }

    /// The command (or subcommand, with a bar) of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        if name.len() > LONGEST {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let name = core::str::from_utf8(&lower).ok()?;
        self.numbers.get(name).copied()
    }

    /// Whether a rule allows a command with a certain first argument (`+select|0`), not a subcommand.
    pub fn is_first_arg(&self, rule: &[u8]) -> bool {
        let bar = memchr::memrchr(b'|', rule);
        let Some((bar, [b'+', ..])) = bar.map(|bar| (bar, rule)) else {
            return false;
        };
        let container = self.find(&rule[1..bar]).and_then(|number| self.row(number));
        container.is_some_and(|row| row.subcommands == 0 && row.parent.is_none())
    }

    /// A command by its number.
    pub fn row(&self, number: u16) -> Option<&Row> {
        self.rows.get(usize::from(number))
    }

    /// All commands by number.
    pub fn rows(&self) -> impl Iterator<Item = (u16, &Row)> {
        (0..).zip(&self.rows)
    }

    /// The category of this name, in any case.
    pub fn category(&self, name: &[u8]) -> Option<&Category> {
        let mut all = self.categories.iter();
        all.find(|category| category.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// All categories in their order.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }
}
