//! What each command is for: the documentation half of the command table, read by COMMAND DOCS.
//!
//! A row ([`Doc`]) holds the facts and one sentence; the tree of arguments that COMMAND DOCS shows is
//! worked out from the row's `syntax` when it is asked for ([`Doc::arguments`]), so that there is one
//! place to get it right. Names are upper case, a subcommand's is its container's and its own with a
//! blank between (`CONFIG GET`). Facts follow Redis 7.0.
//!
//! Source: the pages of <https://redis.io/docs/latest/commands/command-docs/>.

mod rows;
mod syntax;

use alloc::vec::Vec;

pub use rows::DOCS;
pub use syntax::{Argument, ArgumentKind};

/// The documentation of one command or subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doc {
    /// Upper-case name; a subcommand's begins with its container's and a blank.
    pub name: &'static str,
    /// The version of Redis that brought it.
    pub since: &'static str,
    /// The group of commands it belongs to, in the words of COMMAND DOCS (`string`, `generic`, …).
    pub group: &'static str,
    /// Its cost; empty where Redis states none.
    pub complexity: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Its arguments, without the name, in the notation of `docs/syntax.rs`.
    pub syntax: &'static str,
    /// The version that deprecated it, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Whether it is for servers rather than for people (`syscmd` in `doc_flags`).
    pub system: bool,
}

impl Doc {
    /// The version that deprecated the command.
    pub fn deprecated_since(&self) -> Option<&'static str> {
        self.deprecated.map(|(since, _)| since)
    }

    /// What replaces a deprecated command.
    pub fn replaced_by(&self) -> Option<&'static str> {
        self.deprecated.map(|(_, by)| by)
    }

    /// The tree of arguments that COMMAND DOCS shows.
    pub fn arguments(&self) -> Vec<Argument> {
        syntax::arguments(self.syntax)
    }

    const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Doc {
        self.deprecated = Some((since, replaced_by));
        self
    }

    const fn system(mut self) -> Doc {
        self.system = true;
        self
    }
}

const fn doc(
    name: &'static str,
    since: &'static str,
    group: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc {
        name,
        since,
        group,
        complexity,
        summary,
        syntax,
        deprecated: None,
        system: false,
    }
}

/// The row of a command, in any case, with a blank or `|` before a subcommand's own name.
pub fn find(name: &str) -> Option<&'static Doc> {
    let folded = || {
        name.bytes().map(|b| {
            if b == b'|' {
                b' '
            } else {
                b.to_ascii_uppercase()
            }
        })
    };
    let at = DOCS
        .binary_search_by(|row| row.name.bytes().cmp(folded()))
        .ok()?;
    DOCS.get(at)
}

/// The rows of a container's subcommands, in alphabetical order.
pub fn subcommands(container: &str) -> impl Iterator<Item = &'static Doc> {
    DOCS.iter().filter(move |row| {
        row.name
            .split_once(' ')
            .is_some_and(|(first, _)| first.eq_ignore_ascii_case(container))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_so_that_each_is_found() {
        for pair in DOCS.windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
        assert_eq!(find("get").unwrap().name, "GET");
        assert_eq!(find("config|Get").unwrap().name, "CONFIG GET");
        assert_eq!(find("CONFIG GET").unwrap().group, "server");
        assert!(find("nosuch").is_none());
        assert!(find("").is_none());
    }

    #[test]
    fn every_subcommand_has_its_container() {
        for row in DOCS {
            if let Some((container, _)) = row.name.split_once(' ') {
                assert!(find(container).is_some(), "{}", row.name);
                assert!(subcommands(container).any(|sub| sub == row));
            }
        }
    }

    /// redis-cli reads all of this when it starts, and dies of a block without parts.
    #[test]
    fn blocks_and_choices_have_parts() {
        fn check(name: &str, arguments: &[Argument]) {
            for argument in arguments {
                let container = matches!(argument.kind, ArgumentKind::Block | ArgumentKind::OneOf);
                assert_eq!(container, !argument.arguments.is_empty(), "{name}");
                assert!(!argument.name.is_empty(), "{name}");
                check(name, &argument.arguments);
            }
        }
        DOCS.iter()
            .for_each(|row| check(row.name, &row.arguments()));
    }

    #[test]
    fn every_row_is_a_plain_sentence_with_a_version() {
        for row in DOCS {
            assert_eq!(
                row.since
                    .split('.')
                    .filter(|n| n.parse::<u8>().is_ok())
                    .count(),
                3,
                "{}",
                row.name
            );
            assert!(
                row.summary.ends_with('.') && row.summary.len() < 160,
                "{}",
                row.name
            );
            assert!(
                row.complexity.is_empty() || row.complexity.contains("O("),
                "{}",
                row.name
            );
        }
    }

    /// redis-cli takes it that all have a summary, and crashes on one that has none.
    #[test]
    fn every_command_has_documentation() {
        let index = crate::command::table::Index::default();
        for command in index.all() {
            assert!(find(command.name).is_some(), "{}", command.name);
        }
    }
}
