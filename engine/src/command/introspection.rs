//! COMMAND: the command table, told to clients.

use alloc::vec::Vec;

use super::context::Server;
use super::docs::{self, Argument, Doc};
use super::error::CommandError;
use super::help;
use super::permission::key_flags as key_flags_in;
use super::rows::GROUPS;
use super::table::{Begin, Command, Find, KeySpec, Outcome, category, flag, key};
use crate::resp::Output;
use crate::value::glob::glob_match;

fn top_level() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().copied().flatten()
}

/// A command or, with a bar, a subcommand, by its whole name in any case.
fn named(name: &[u8]) -> Option<&'static Command> {
    let bar = memchr::memchr(b'|', name);
    let container = &name[..bar.unwrap_or(name.len())];
    let command = top_level().find(|c| c.name.as_bytes().eq_ignore_ascii_case(container))?;
    match bar {
        Some(bar) => command.subcommand(&name[bar + 1..]),
        None => Some(command),
    }
}

/// `COMMAND`. <https://redis.io/commands/command/>
pub(super) fn all(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let out = &mut s.session.out;
    out.array(top_level().count());
    top_level().for_each(|command| describe(out, command));
    Ok(())
}

/// `COMMAND COUNT`. <https://redis.io/commands/command-count/>
pub(super) fn count(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.int(top_level().count() as i64);
    Ok(())
}

/// `COMMAND INFO [name …]`. <https://redis.io/commands/command-info/>
pub(super) fn info(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if args.len() == 2 {
        return all(s, args);
    }
    let out = &mut s.session.out;
    out.array(args.len() - 2);
    for name in &args[2..] {
        match named(name) {
            Some(command) => describe(out, command),
            None => out.null(),
        }
    }
    Ok(())
}

fn names(out: &mut Output, all: &[(u32, &str)], set: u32, prefix: &str) {
    let count = all.iter().filter(|(bit, _)| set & bit != 0).count();
    out.set(count);
    for (_, name) in all.iter().filter(|(bit, _)| set & bit != 0) {
        out.simple(&alloc::format!("{prefix}{name}"));
    }
}

/// First key, last key and step, as clients knew them before there were key specifications: one range that
/// covers what it can.
fn legacy_range(command: &Command) -> (i64, i64, i64) {
    let mut found: Option<(i64, i64, i64)> = None;
    for spec in command.keys {
        let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            continue;
        };
        let first = first as i64;
        let last = i64::from(last) + if last >= 0 { first } else { 0 };
        match &mut found {
            None => found = Some((first, last, step as i64)),
            Some((_, end, _)) if *end == first - 1 => *end = last,
            Some(_) => break,
        }
    }
    found.unwrap_or((0, 0, 0))
}

fn describe(out: &mut Output, command: &Command) {
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.int(i64::from(command.arity));
    // (Redis 7.0 keeps to itself which commands that are no writes may have effects elsewhere.)
    names(out, flag::NAMES, command.flags & !flag::MAY_REPLICATE, "");
    let (first, last, step) = legacy_range(command);
    out.int(first);
    out.int(last);
    out.int(step);
    names(out, category::NAMES, command.categories, "@");
    out.set(command.tips.len());
    command.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(command.keys.len());
    command
        .keys
        .iter()
        .for_each(|spec| describe_keys(out, command, spec));
    if command.subcommands.is_empty() {
        out.set(0);
    } else {
        out.array(command.subcommands.len());
        command
            .subcommands
            .iter()
            .for_each(|sub| describe(out, sub));
    }
}

/// What COMMAND INFO says of some commands' keys besides their specifications.
const KEY_NOTES: &[(&str, &str)] = &[
    ("set", "RW and ACCESS due to the optional `GET` argument"),
    (
        "bitfield",
        "This command allows both access and modification of the key",
    ),
    (
        "xadd",
        "UPDATE instead of INSERT because of the optional trimming feature",
    ),
    (
        "pfcount",
        "RW because it may change the internal representation of the key, and propagate to replicas",
    ),
    (
        "eval",
        "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
    ),
    (
        "eval_ro",
        "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
    ),
    (
        "fcall",
        "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
    ),
    (
        "fcall_ro",
        "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
    ),
];

fn key_notes(command: &Command, spec: &KeySpec) -> Option<&'static str> {
    match spec.begin {
        Begin::Unknown(None) => Some(
            "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
        ),
        Begin::Unknown(Some(_)) => Some(
            "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
        ),
        _ => KEY_NOTES
            .iter()
            .find(|(name, _)| *name == command.name)
            .map(|(_, notes)| *notes),
    }
}

fn describe_keys(out: &mut Output, command: &Command, spec: &KeySpec) {
    let notes = key_notes(command, spec);
    out.map(3 + usize::from(notes.is_some()));
    if let Some(notes) = notes {
        out.bulk(b"notes");
        out.bulk(notes.as_bytes());
    }
    out.bulk(b"flags");
    key_flags(out, spec.flags);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => search(out, "index", &[("index", Word::Int(index as i64))]),
        Begin::Keyword(word, from) => search(
            out,
            "keyword",
            &[
                ("keyword", Word::Text(word)),
                ("startfrom", Word::Int(from.into())),
            ],
        ),
        Begin::Unknown(_) => search(out, "unknown", &[]),
    }
    out.bulk(b"find_keys");
    match (spec.begin, spec.find) {
        (Begin::Unknown(_), _) => search(out, "unknown", &[]),
        (_, Find::Range { last, step, limit }) => search(
            out,
            "range",
            &[
                ("lastkey", Word::Int(last.into())),
                ("keystep", Word::Int(step as i64)),
                ("limit", Word::Int(limit as i64)),
            ],
        ),
        (_, Find::Numbered { step }) => search(
            out,
            "keynum",
            &[
                ("keynumidx", Word::Int(0)),
                ("firstkey", Word::Int(1)),
                ("keystep", Word::Int(step as i64)),
            ],
        ),
    }
}

enum Word {
    Int(i64),
    Text(&'static str),
}

/// One half of a key specification.
fn search(out: &mut Output, kind: &str, spec: &[(&str, Word)]) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(spec.len());
    for (name, value) in spec {
        out.bulk(name.as_bytes());
        match value {
            Word::Int(n) => out.int(*n),
            Word::Text(text) => out.bulk(text.as_bytes()),
        }
    }
}

fn key_flags(out: &mut Output, flags: u16) {
    let set = || key::NAMES.iter().filter(|(bit, _)| flags & bit != 0);
    out.set(set().count());
    set().for_each(|(_, name)| out.simple(name));
}

/// `COMMAND DOCS [name …]`. <https://redis.io/commands/command-docs/>
pub(super) fn docs(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let wanted: Vec<&Command> = match &args[2..] {
        [] => top_level().collect(),
        some => some.iter().filter_map(|name| named(name)).collect(),
    };
    let out = &mut s.session.out;
    out.map(wanted.len());
    wanted.iter().for_each(|command| document(out, command));
    Ok(())
}

fn document(out: &mut Output, command: &Command) {
    out.bulk(command.name.as_bytes());
    let Some(doc) = docs::find(command.name) else {
        return out.map(0);
    };
    let arguments = doc.arguments();
    let fields = 3 + [
        !doc.complexity.is_empty(),
        doc_flags(doc).next().is_some(),
        doc.deprecated_since().is_some(),
        doc.replaced_by().is_some(),
        !arguments.is_empty(),
        !command.subcommands.is_empty(),
    ]
    .into_iter()
    .filter(|&present| present)
    .count();
    out.map(fields);
    let mut pair = |name: &str, value: &str| {
        if !value.is_empty() {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
    };
    pair("summary", doc.summary);
    pair("since", doc.since);
    pair("group", doc.group);
    pair("complexity", doc.complexity);
    if doc_flags(doc).next().is_some() {
        out.bulk(b"doc_flags");
        out.set(doc_flags(doc).count());
        doc_flags(doc).for_each(|name| out.simple(name));
    }
    let mut pair = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
    };
    pair("deprecated_since", doc.deprecated_since());
    pair("replaced_by", doc.replaced_by());
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        document_arguments(out, &arguments);
    }
    if !command.subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(command.subcommands.len());
        command
            .subcommands
            .iter()
            .for_each(|sub| document(out, sub));
    }
}

fn doc_flags(doc: &Doc) -> impl Iterator<Item = &'static str> {
    let deprecated = doc.deprecated_since().map(|_| "deprecated");
    deprecated.into_iter().chain(doc.system.then_some("syscmd"))
}

fn document_arguments(out: &mut Output, arguments: &[Argument]) {
    out.array(arguments.len());
    for argument in arguments {
        let flags = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
        let texts = [
            ("token", argument.token),
            ("since", argument.since),
            ("deprecated_since", argument.deprecated_since),
        ];
        let present = texts.iter().filter(|t| t.1.is_some()).count();
        let others = [
            argument.key_spec_index.is_some(),
            !flags.is_empty(),
            !argument.arguments.is_empty(),
        ];
        out.map(2 + present + others.iter().filter(|&&p| p).count());
        out.bulk(b"name");
        out.bulk(argument.name.as_bytes());
        out.bulk(b"type");
        out.bulk(argument.kind.name().as_bytes());
        if let Some(index) = argument.key_spec_index {
            out.bulk(b"key_spec_index");
            out.int(index as i64);
        }
        for (name, text) in texts {
            if let Some(text) = text {
                out.bulk(name.as_bytes());
                out.bulk(text.as_bytes());
            }
        }
        if !flags.is_empty() {
            out.bulk(b"flags");
            out.set(flags.len());
            flags.iter().for_each(|name| out.simple(name));
        }
        if !argument.arguments.is_empty() {
            out.bulk(b"arguments");
            document_arguments(out, &argument.arguments);
        }
    }
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`.
/// <https://redis.io/commands/command-list/>
pub(super) fn list(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let matches: &dyn Fn(&Command) -> bool = match &args[2..] {
        [] => &|_| true,
        [word, what, _] if is(word, "filterby") && is(what, "module") => &|_| false,
        [word, what, wanted] if is(word, "filterby") && is(what, "aclcat") => {
            let of_name = |c: &&(u32, &str)| wanted.eq_ignore_ascii_case(c.1.as_bytes());
            let bit = category::NAMES.iter().find(of_name).map_or(0, |c| c.0);
            &move |command| command.categories & bit != 0
        }
        [word, what, pattern] if is(word, "filterby") && is(what, "pattern") => {
            &|command| glob_match(pattern, command.name.as_bytes(), true)
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let found: Vec<&str> = (s.parts.index.all().iter())
        .filter(|command| matches(command))
        .map(|command| command.name)
        .collect();
    let out = &mut s.session.out;
    out.array(found.len());
    found.iter().for_each(|name| out.bulk(name.as_bytes()));
    Ok(())
}

/// The keys of a whole command, with what it does to them.
fn keys_of<'a>(args: &[&'a [u8]]) -> Result<Vec<(&'a [u8], u16)>, CommandError> {
    let invalid = CommandError::fixed("ERR Invalid command specified");
    let mut command = named(args[0])
        .filter(|c| !c.name.contains('|'))
        .ok_or(invalid.clone())?;
    if !command.subcommands.is_empty()
        && let Some(name) = args.get(1)
    {
        command = command.subcommand(name).ok_or(invalid)?;
    }
    // Channels of shards are found as keys are, but are none.
    if command
        .keys
        .iter()
        .all(|spec| spec.flags & key::NOT_KEY != 0)
    {
        return Err(CommandError::fixed("ERR The command has no key arguments"));
    }
    if !command.arity_ok(args.len()) {
        return Err(CommandError::fixed(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let flags = |flags: u16| key_flags_in(command, args, flags);
    let mut found = Vec::new();
    let invalid = CommandError::fixed("ERR Invalid arguments specified for command");
    let counted = command.each_key(
        args.len(),
        |i| args[i],
        |at, f| found.push((args[at], flags(f))),
    );
    if counted.is_err() {
        return match command.flags & flag::NO_MANDATORY_KEYS {
            0 => Err(invalid),
            _ => Ok(Vec::new()),
        };
    }
    // Then Redis does not know by its table where they are, and finds them in another way: without flags, and a
    // destination last.
    let loosely = |spec: &KeySpec| spec.counts_loosely(args.len(), |i| args[i]);
    if command.keys.iter().any(loosely) && !found.is_empty() {
        found.iter_mut().for_each(|(_, flags)| *flags = 0);
        found.rotate_left(command.keys.len() - 1);
    }
    // PFMERGE may be without sources; then Redis cannot say.
    let beyond = |spec: &KeySpec| matches!(spec.begin, Begin::Index(i) if i >= args.len());
    let none = found.is_empty() && command.flags & flag::NO_MANDATORY_KEYS == 0;
    if none || command.keys.iter().any(beyond) {
        return Err(invalid);
    }
    Ok(found)
}

/// `COMMAND GETKEYS command [arg …]`. <https://redis.io/commands/command-getkeys/>
pub(super) fn getkeys(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let keys = keys_of(&args[2..])?;
    let out = &mut s.session.out;
    out.array(keys.len());
    keys.iter().for_each(|(key, _)| out.bulk(key));
    Ok(())
}

/// `COMMAND GETKEYSANDFLAGS command [arg …]`. <https://redis.io/commands/command-getkeysandflags/>
pub(super) fn getkeysandflags(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let keys = keys_of(&args[2..])?;
    let out = &mut s.session.out;
    out.array(keys.len());
    for (key, flags) in keys {
        out.array(2);
        out.bulk(key);
        key_flags(out, flags);
    }
    Ok(())
}

/// `COMMAND HELP`. <https://redis.io/commands/command-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "COMMAND", help::COMMAND);
    Ok(())
}
