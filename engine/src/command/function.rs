//! FCALL, and FUNCTION: libraries of functions that are kept with the data.

use alloc::rc::Rc;

use super::context::Server;
use super::error::CommandError;
use super::help::help as write_help;
use super::libraries::{self, Policy};
use super::scripting::{self, Call};
use super::table::Outcome;
use crate::rdb::dump;
use crate::resp::Output;
use crate::script::{Kind, flag_names};
use crate::value::glob::glob_match;
use crate::value::number::parse_i64;

/// `FCALL function numkeys [key …] [arg …]`. <https://redis.io/commands/fcall/>
pub(super) fn fcall(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    call(s, args, false)
}

/// `FCALL_RO function numkeys [key …] [arg …]`. <https://redis.io/commands/fcall_ro/>
pub(super) fn fcall_ro(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    call(s, args, true)
}

fn call(s: &mut Server<'_>, args: &[&[u8]], read_only: bool) -> Outcome {
    let function = (s.parts.scripts.libraries.function(args[1]))
        .ok_or(CommandError::fixed("ERR Function not found"))?;
    let function = Rc::clone(function);
    if parse_i64(args[2]).is_none() {
        return Err(CommandError::fixed("ERR Bad number of keys provided"));
    }
    let keys = scripting::number_of_keys(args[2], args.len() - 3)?;
    let call = Call {
        kind: Kind::Functions,
        function: function.function,
        name: &function.name,
        flags: function.flags,
        read_only,
        keys,
        words: &args[3..],
        all: args,
    };
    scripting::run(s.parts, s.session, s.now, &call)
}

/// `FUNCTION LOAD [REPLACE] code`. <https://redis.io/commands/function-load/>
pub(super) fn load(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (code, options) = args[2..]
        .split_last()
        .ok_or(CommandError::fixed("ERR Function code is missing"))?;
    for option in options {
        if !option.eq_ignore_ascii_case(b"replace") {
            return Err(CommandError::showing(&[
                b"ERR Unknown option given: ",
                crate::resp::shown(option),
            ]));
        }
    }
    let name = libraries::load(s.parts, code, !options.is_empty())?;
    s.parts.effects.dirty += 1;
    s.session.out.bulk(&name);
    Ok(())
}

/// `FUNCTION DELETE library`. <https://redis.io/commands/function-delete/>
pub(super) fn delete(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    libraries::delete(s.parts, args[2])?;
    s.parts.effects.dirty += 1;
    s.session.out.ok();
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`. <https://redis.io/commands/function-flush/>
pub(super) fn flush(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::subcommand("FUNCTION", args[1]));
    }
    let known =
        |how: &&[u8]| how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async");
    if !args.get(2).is_none_or(known) {
        return Err(CommandError::fixed(
            "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
        ));
    }
    libraries::flush(s.parts);
    s.parts.effects.dirty += 1;
    s.session.out.ok();
    Ok(())
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`. <https://redis.io/commands/function-list/>
pub(super) fn list(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (mut with_code, mut pattern) = (false, None);
    let mut words = args[2..].iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            let given = words.next().ok_or(CommandError::fixed(
                "ERR library name argument was not given",
            ))?;
            pattern = Some(*given);
        } else {
            return Err(CommandError::showing(&[
                b"ERR Unknown argument ",
                crate::resp::shown(word),
            ]));
        }
    }
    let out = &mut s.session.out;
    let matches = |name: &[u8]| pattern.is_none_or(|pattern| glob_match(pattern, name, true));
    let all = s.parts.scripts.libraries.all();
    out.array(all.keys().filter(|name| matches(name)).count());
    for (name, library) in all.iter().filter(|(name, _)| matches(name)) {
        out.map(if with_code { 4 } else { 3 });
        out.bulk(b"library_name");
        out.bulk(name);
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(library.functions.len());
        for function in library.functions.values() {
            out.map(3);
            out.bulk(b"name");
            out.bulk(&function.name);
            out.bulk(b"description");
            match &function.description {
                Some(text) => out.bulk(text),
                None => out.null(),
            }
            out.bulk(b"flags");
            out.set(flag_names(function.flags).count());
            flag_names(function.flags).for_each(|name| out.simple(name));
        }
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&library.code);
        }
    }
    Ok(())
}

/// `FUNCTION STATS`. <https://redis.io/commands/function-stats/>
pub(super) fn stats(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let out = &mut s.session.out;
    let scripts = &s.parts.scripts;
    out.map(2);
    out.bulk(b"running_script");
    match scripts.running() {
        None => out.null(),
        Some(running) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(&running.name);
            out.bulk(b"command");
            out.array(running.words.len());
            running.words.iter().for_each(|word| out.bulk(word));
            out.bulk(b"duration_ms");
            let micros = s.now.mono_us.saturating_sub(running.start.mono_us);
            out.int((micros / 1000) as i64);
        }
    }
    engines(
        out,
        scripts.libraries.all().len(),
        scripts.libraries.functions(),
    );
    Ok(())
}

fn engines(out: &mut Output, libraries: usize, functions: usize) {
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.int(libraries as i64);
    out.bulk(b"functions_count");
    out.int(functions as i64);
}

/// `FUNCTION KILL`. <https://redis.io/commands/function-kill/>
pub(super) fn kill(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    scripting::kill(s.parts, Kind::Functions)?;
    s.session.out.ok();
    Ok(())
}

/// `FUNCTION DUMP`. <https://redis.io/commands/function-dump/>
pub(super) fn dump(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let payload = dump::dump_functions(s.parts.store.functions());
    s.session.out.bulk(&payload);
    Ok(())
}

/// `FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE]`. <https://redis.io/commands/function-restore/>
pub(super) fn restore(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if args.len() > 4 {
        return Err(CommandError::subcommand("FUNCTION", args[1]));
    }
    let policy = match args.get(3) {
        None => Policy::Append,
        Some(word) if word.eq_ignore_ascii_case(b"append") => Policy::Append,
        Some(word) if word.eq_ignore_ascii_case(b"replace") => Policy::Replace,
        Some(word) if word.eq_ignore_ascii_case(b"flush") => Policy::Flush,
        Some(_) => {
            return Err(CommandError::fixed(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let codes = dump::restore_functions(args[2]).map_err(|error| match error {
        dump::DumpError::Footer => {
            CommandError::fixed("ERR DUMP payload version or checksum are wrong")
        }
        dump::DumpError::Format => CommandError::fixed("ERR given type is not a function"),
    })?;
    libraries::restore(s.parts, &codes, policy)?;
    s.parts.effects.dirty += 1;
    s.session.out.ok();
    Ok(())
}

/// `FUNCTION HELP`. <https://redis.io/commands/function-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    write_help(&mut s.session.out, "FUNCTION", super::help::FUNCTION);
    Ok(())
}
