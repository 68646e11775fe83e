//! From the line of syntax that people read to the tree of arguments that COMMAND DOCS shows.
//!
//! ```text
//! key                    a value; its type follows from its name, or is given: key=string
//! EX                     a word to be written as it is (nothing in it is lower case)
//! ""                     an empty word
//! EX seconds             a value behind a word; several values behind one word make a block
//! [x]                    optional
//! a | b                  one of several; between < > where the choice must be made
//! x [x ...]              one or more times; x y [x y ...] repeats a block of both
//! [condition: NX | XX]   a choice or block with a name of its own; otherwise the parts' names joined
//! GET@6.2.0  x!2.8.12    the version that brought an argument; the one that deprecated it
//! ```
//!
//! Keys are numbered in the order in which they appear, as the command's key specifications are.
//! The notation is for the rows beside this file only, whose tests parse all of them: text that
//! breaks the rules yields fewer arguments, never a panic.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// One argument of a command, as COMMAND DOCS shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, lower case.
    pub name: String,
    /// What is expected.
    pub kind: ArgumentKind,
    /// The word in front of it, or that it is.
    pub token: Option<&'static str>,
    /// For keys: which of the command's key specifications describes it.
    pub key_spec_index: Option<usize>,
    /// The version that brought it, where it is younger than its command.
    pub since: Option<&'static str>,
    /// The version that deprecated it.
    pub deprecated_since: Option<&'static str>,
    /// Flag `optional`.
    pub optional: bool,
    /// Flag `multiple`: may be repeated.
    pub multiple: bool,
    /// Flag `multiple_token`: the token is repeated, too.
    pub multiple_token: bool,
    /// The parts of a block, the alternatives of a choice.
    pub arguments: Vec<Argument>,
}

/// What an argument is. Alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Several arguments that go together.
    Block,
    /// A floating-point number.
    Double,
    /// A whole number.
    Integer,
    /// The name of a key.
    Key,
    /// One of several.
    OneOf,
    /// A glob-style pattern.
    Pattern,
    /// A word to be written as it is.
    PureToken,
    /// Any bytes.
    String,
    /// A point in time.
    UnixTime,
}

impl ArgumentKind {
    /// The word of COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            ArgumentKind::Block => "block",
            ArgumentKind::Double => "double",
            ArgumentKind::Integer => "integer",
            ArgumentKind::Key => "key",
            ArgumentKind::OneOf => "oneof",
            ArgumentKind::Pattern => "pattern",
            ArgumentKind::PureToken => "pure-token",
            ArgumentKind::String => "string",
            ArgumentKind::UnixTime => "unix-time",
        }
    }

    fn of_value(name: &str) -> ArgumentKind {
        match name {
            "key" | "source" | "destination" | "newkey" => ArgumentKind::Key,
            "pattern" => ArgumentKind::Pattern,
            "unix-time-seconds" | "unix-time-milliseconds" => ArgumentKind::UnixTime,
            "client-id" | "cluster_bus_port" | "config-epoch" | "count" | "cursor" | "db"
            | "decrement" | "destination-db" | "end" | "end-slot" | "frequency" | "increment"
            | "index" | "index1" | "index2" | "milliseconds" | "numreplicas" | "offset"
            | "port" | "protover" | "seconds" | "slot" | "start" | "start-slot" | "timeout"
            | "ttl" | "version" => ArgumentKind::Integer,
            _ => ArgumentKind::String,
        }
    }

    fn named(name: &str) -> Option<ArgumentKind> {
        use ArgumentKind::*;
        [
            Block, Double, Integer, Key, OneOf, Pattern, PureToken, String, UnixTime,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// The arguments that a line of syntax describes.
pub(super) fn arguments(syntax: &'static str) -> Vec<Argument> {
    let mut words = Words { rest: syntax };
    let sequence = words
        .alternatives(None)
        .into_iter()
        .next()
        .unwrap_or_default();
    let mut found = assemble(sequence);
    number_keys(&mut found, &mut 0);
    found
}

/// A piece of a sequence, before words are joined to the values behind them.
enum Piece {
    Value(Argument),
    Word(Argument),
    /// `[… ...]`: repeats that many of the pieces before it, from a word on or not.
    Repeat {
        pieces: usize,
        from_word: bool,
    },
    /// An optional or a required group, already one argument.
    Group(Argument),
}

/// The name and version that open a group: `[condition@2.6.12: …]`.
type Title = (&'static str, Option<&'static str>);

struct Words {
    rest: &'static str,
}

impl Words {
    /// The next bracket, bar or word.
    fn next(&mut self) -> Option<&'static str> {
        let text = self.rest.trim_start();
        let first = text.chars().next()?;
        let end = match first {
            '[' | ']' | '<' | '>' | '|' => first.len_utf8(),
            _ => text
                .find([' ', '[', ']', '<', '>', '|'])
                .unwrap_or(text.len()),
        };
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        Some(word)
    }

    /// Sequences up to the closing bracket (or the end), split at bars.
    fn alternatives(&mut self, title: Option<&mut Option<Title>>) -> Vec<Vec<Piece>> {
        let mut all = Vec::new();
        let mut sequence = Vec::new();
        let mut title = title;
        while let Some(word) = self.next() {
            match word {
                "]" | ">" => break,
                "|" => all.push(core::mem::take(&mut sequence)),
                "[" | "<" => sequence.push(self.group(word == "[")),
                "..." => {
                    // What was read in these brackets repeats as many pieces outside.
                    let from_word = matches!(sequence.first(), Some(Piece::Word(_)));
                    let pieces = sequence.len();
                    sequence = Vec::from([Piece::Repeat { pieces, from_word }]);
                }
                _ => match (word.strip_suffix(':'), title.take()) {
                    (Some(name), Some(slot)) => *slot = Some(split_versions(name)),
                    _ => sequence.push(single(word)),
                },
            }
        }
        all.push(sequence);
        all
    }

    fn group(&mut self, optional: bool) -> Piece {
        let mut title = None;
        let mut alternatives = self.alternatives(Some(&mut title));
        if let [sequence] = alternatives.as_mut_slice()
            && let [Piece::Repeat { .. }] = sequence.as_slice()
        {
            return sequence.remove(0);
        }
        let choice = alternatives.len() > 1;
        let parts = alternatives.into_iter().flat_map(|sequence| {
            let parts = assemble(sequence);
            if choice {
                Vec::from([one(parts)])
            } else {
                parts
            }
        });
        let parts: Vec<Argument> = parts.collect();
        let mut group = match choice {
            true => container(ArgumentKind::OneOf, parts),
            false => one(parts),
        };
        if let Some((name, since)) = title {
            if group.multiple && group.token.is_some() && !group.multiple_token {
                // With a title, repeated values behind a word are a block of their own.
                let (token, since) = (group.token.take(), group.since.take());
                group = Argument {
                    token,
                    since,
                    ..container(ArgumentKind::Block, Vec::from([group]))
                };
            }
            group.name = name.to_owned();
            group.since = since.or(group.since);
        }
        group.optional |= optional;
        Piece::Group(group)
    }
}

/// Takes `@version` off a name.
fn split_versions(word: &'static str) -> Title {
    match word.split_once('@') {
        Some((name, since)) => (name, Some(since)),
        None => (word, None),
    }
}

/// One word or value.
fn single(text: &'static str) -> Piece {
    let (text, since) = split_versions(text);
    let (text, deprecated_since) = match text.split_once('!') {
        Some((text, version)) => (text, Some(version)),
        None => (text, None),
    };
    let (name, given) = match text.split_once('=') {
        Some((name, kind)) if !name.is_empty() => (name, ArgumentKind::named(kind)),
        _ => (text, None),
    };
    let is_word = !name.bytes().any(|b| b.is_ascii_lowercase());
    let kind = if is_word {
        ArgumentKind::PureToken
    } else {
        given.unwrap_or(ArgumentKind::of_value(name))
    };
    let (token, name) = match name {
        r#""""# => ("", "empty_string"),
        name => (name, name),
    };
    let argument = Argument {
        token: is_word.then_some(token),
        since,
        deprecated_since,
        ..argument(name.to_ascii_lowercase(), kind)
    };
    if is_word {
        Piece::Word(argument)
    } else {
        Piece::Value(argument)
    }
}

fn argument(name: String, kind: ArgumentKind) -> Argument {
    Argument {
        name,
        kind,
        token: None,
        key_spec_index: None,
        since: None,
        deprecated_since: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        arguments: Vec::new(),
    }
}

fn container(kind: ArgumentKind, parts: Vec<Argument>) -> Argument {
    let mut name = String::new();
    for part in &parts {
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(&part.name);
    }
    Argument {
        arguments: parts,
        ..argument(name, kind)
    }
}

/// One argument for a sequence: itself if it is one, else a block.
fn one(mut parts: Vec<Argument>) -> Argument {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            container(ArgumentKind::Block, parts)
        }
        None => container(ArgumentKind::Block, parts),
    }
}

/// Joins words to the values behind them, and applies repetitions.
fn assemble(pieces: Vec<Piece>) -> Vec<Argument> {
    let mut done: Vec<Argument> = Vec::new();
    // The word whose values are being collected, and where in `done` they begin.
    let mut word: Option<(Argument, usize)> = None;
    for piece in pieces {
        match piece {
            Piece::Value(value) | Piece::Group(value) => done.push(value),
            Piece::Word(next) => {
                close_word(&mut done, word.take());
                word = Some((next, done.len()));
            }
            Piece::Repeat {
                from_word: true, ..
            } => {
                close_word(&mut done, word.take());
                if let Some(last) = done.last_mut() {
                    last.multiple = true;
                    last.multiple_token = true;
                }
            }
            Piece::Repeat {
                pieces,
                from_word: false,
            } => {
                let repeated = done.split_off(done.len().saturating_sub(pieces));
                done.push(Argument {
                    multiple: true,
                    ..one(repeated)
                });
            }
        }
    }
    close_word(&mut done, word);
    done
}

/// Puts a word in front of the values collected since it was met.
fn close_word(done: &mut Vec<Argument>, word: Option<(Argument, usize)>) {
    let Some((word, start)) = word else { return };
    let values = done.split_off(start.min(done.len()));
    if values.is_empty() {
        done.push(word);
        return;
    }
    let plain = values.len() == 1 && values.iter().all(|v| v.token.is_none() && !v.optional);
    let mut argument = if plain {
        one(values)
    } else {
        container(ArgumentKind::Block, values)
    };
    argument.token = word.token;
    argument.since = word.since.or(argument.since);
    done.push(argument);
}

fn number_keys(arguments: &mut [Argument], next: &mut usize) {
    for argument in arguments {
        if argument.kind == ArgumentKind::Key {
            // The second of LCS's two keys belongs to the specification of the first.
            let shared = usize::from(argument.name == "key2");
            argument.key_spec_index = Some(next.saturating_sub(shared));
            *next += 1 - shared;
        }
        number_keys(&mut argument.arguments, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    /// A compact picture of a tree: `name:type=TOKEN#key@since{flags}(parts)`.
    fn picture(arguments: &[Argument]) -> String {
        let each = arguments.iter().map(|a| {
            let mut text = format!("{}:{}", a.name, a.kind.name());
            if let Some(token) = a.token {
                text += &format!("={token}");
            }
            if let Some(index) = a.key_spec_index {
                text += &format!("#{index}");
            }
            if let Some(since) = a.since {
                text += &format!("@{since}");
            }
            if let Some(version) = a.deprecated_since {
                text += &format!("!{version}");
            }
            let flags = [
                (a.optional, "optional"),
                (a.multiple, "multiple"),
                (a.multiple_token, "multiple_token"),
            ];
            let flags: Vec<&str> = flags
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, name)| *name)
                .collect();
            if !flags.is_empty() {
                text += &format!("{{{}}}", flags.join(","));
            }
            if !a.arguments.is_empty() {
                text += &format!("({})", picture(&a.arguments));
            }
            text
        });
        each.collect::<Vec<String>>().join(" ")
    }

    fn of(command: &str) -> String {
        picture(&super::super::find(command).unwrap().arguments())
    }

    // The expected trees are what Redis 7.0.15 answers to COMMAND DOCS, in this picture.

    #[test]
    fn plain_values_repetitions_and_pairs() {
        assert_eq!(of("GET"), "key:key#0");
        assert_eq!(of("RENAME"), "key:key#0 newkey:key#1");
        assert_eq!(of("DEL"), "key:key#0{multiple}");
        assert_eq!(
            of("MSET"),
            "key_value:block{multiple}(key:key#0 value:string)"
        );
        assert_eq!(
            of("HSET"),
            "key:key#0 field_value:block{multiple}(field:string value:string)"
        );
        assert_eq!(
            of("HINCRBYFLOAT"),
            "key:key#0 field:string increment:double"
        );
        assert_eq!(of("INFO"), "section:string{optional,multiple}");
        assert_eq!(of("CLUSTER KEYSLOT"), "key:string");
    }

    #[test]
    fn choices_with_their_words() {
        assert_eq!(
            of("SET"),
            "key:key#0 value:string \
             condition:oneof@2.6.12{optional}(nx:pure-token=NX xx:pure-token=XX) \
             get:pure-token=GET@6.2.0{optional} \
             expiration:oneof{optional}(seconds:integer=EX@2.6.12 milliseconds:integer=PX@2.6.12 \
             unix-time-seconds:unix-time=EXAT@6.2.0 unix-time-milliseconds:unix-time=PXAT@6.2.0 \
             keepttl:pure-token=KEEPTTL@6.0.0)"
        );
        assert_eq!(
            of("CLUSTER SETSLOT"),
            "slot:integer subcommand:oneof(node-id:string=IMPORTING node-id:string=MIGRATING \
             node-id:string=NODE stable:pure-token=STABLE)"
        );
        assert_eq!(
            of("COMMAND LIST"),
            "filterby:oneof=FILTERBY{optional}(module-name:string=MODULE category:string=ACLCAT \
             pattern:pattern=PATTERN)"
        );
    }

    #[test]
    fn blocks_behind_words_and_in_choices() {
        assert_eq!(
            of("HELLO"),
            "arguments:block{optional}(protover:integer username_password:block=AUTH{optional}\
             (username:string password:string) clientname:string=SETNAME{optional})"
        );
        assert_eq!(
            of("REPLICAOF"),
            "args:oneof(host-port:block(host:string port:integer) no-one:block(no:pure-token=NO one:pure-token=ONE))"
        );
        assert_eq!(
            of("MIGRATE"),
            "host:string port:integer key_or_empty_string:oneof(key:key#0 empty_string:pure-token=) \
             destination-db:integer timeout:integer copy:pure-token=COPY@3.0.0{optional} \
             replace:pure-token=REPLACE@3.0.0{optional} authentication:oneof{optional}(\
             password:string=AUTH@4.0.7{optional} username_password:block=AUTH2@6.0.0{optional}\
             (username:string password:string)) key:key=KEYS#1@3.0.6{optional,multiple}"
        );
        assert_eq!(
            of("FAILOVER"),
            "target:block=TO{optional}(host:string port:integer force:pure-token=FORCE{optional}) \
             abort:pure-token=ABORT{optional} milliseconds:integer=TIMEOUT{optional}"
        );
        assert_eq!(
            of("CLIENT TRACKING"),
            "status:oneof(on:pure-token=ON off:pure-token=OFF) client-id:integer=REDIRECT{optional} \
             prefix:string=PREFIX{optional,multiple,multiple_token} bcast:pure-token=BCAST{optional} \
             optin:pure-token=OPTIN{optional} optout:pure-token=OPTOUT{optional} noloop:pure-token=NOLOOP{optional}"
        );
    }

    #[test]
    fn all_rows_have_arguments_exactly_when_they_have_a_syntax() {
        for row in super::super::DOCS {
            assert_eq!(
                row.arguments().is_empty(),
                row.syntax.is_empty(),
                "{}",
                row.name
            );
            let open = row.syntax.matches(['[', '<']).count();
            assert_eq!(
                open,
                row.syntax.matches([']', '>']).count(),
                "brackets of {}",
                row.name
            );
        }
    }

    #[test]
    fn broken_syntax_does_not_panic() {
        for text in [
            "[",
            "]",
            "<",
            "...",
            "[...]",
            "| |",
            "A [A ...",
            "x [x y z ...]",
            ":",
            "@",
            "=",
            "!",
            "[: @:]",
        ] {
            let _ = picture(&arguments(text)).to_string();
        }
    }
}
