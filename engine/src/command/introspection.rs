//! COMMAND: the command table, told to clients.

use alloc::vec::Vec;

use super::context::Server;
use super::docs::{self, Argument, Doc};
use super::error::CommandError;
use super::help;
use super::rows::GROUPS;
use super::table::{Command, KeySpec, Outcome, category, flag, key};
use crate::config::glob_match;
use crate::resp::Output;

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
    let end = |spec: &KeySpec| {
        if spec.last >= 0 {
            spec.first as i64 + i64::from(spec.last)
        } else {
            i64::from(spec.last)
        }
    };
    match command.keys {
        [] => (0, 0, 0),
        [one] => (one.first as i64, end(one), one.step as i64),
        [first, .., last] => (first.first as i64, end(last), 1),
    }
}

fn describe(out: &mut Output, command: &Command) {
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.int(i64::from(command.arity));
    names(out, flag::NAMES, command.flags, "");
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
        .for_each(|spec| describe_keys(out, spec));
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

fn describe_keys(out: &mut Output, spec: &KeySpec) {
    let variable = spec.flags & key::VARIABLE_FLAGS != 0;
    out.map(3 + usize::from(variable));
    if variable {
        // Of the commands here, only SET has such keys.
        out.bulk(b"notes");
        out.bulk(b"RW and ACCESS due to the optional `GET` argument");
    }
    out.bulk(b"flags");
    key_flags(out, spec.flags);
    out.bulk(b"begin_search");
    out.map(2);
    out.bulk(b"type");
    out.bulk(b"index");
    out.bulk(b"spec");
    out.map(1);
    out.bulk(b"index");
    out.int(spec.first as i64);
    out.bulk(b"find_keys");
    out.map(2);
    out.bulk(b"type");
    out.bulk(b"range");
    out.bulk(b"spec");
    out.map(3);
    out.bulk(b"lastkey");
    out.int(i64::from(spec.last));
    out.bulk(b"keystep");
    out.int(spec.step as i64);
    out.bulk(b"limit");
    out.int(0);
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
    if command.keys.is_empty() {
        return Err(CommandError::fixed("ERR The command has no key arguments"));
    }
    if !command.arity_ok(args.len()) {
        return Err(CommandError::fixed(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let reads = args[1..]
        .iter()
        .skip(2)
        .any(|word| word.eq_ignore_ascii_case(b"get"));
    let flags = |flags: u16| {
        let flags = flags & !key::VARIABLE_FLAGS;
        match (command.name, reads) {
            ("set", false) => key::OW | key::UPDATE,
            _ => flags,
        }
    };
    Ok(command
        .key_indexes(args.len())
        .map(|(at, f)| (args[at], flags(f)))
        .collect())
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
