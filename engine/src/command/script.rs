//! EVAL and its relatives, and SCRIPT.

use alloc::rc::Rc;

use super::context::Server;
use super::error::CommandError;
use super::help::help as write_help;
use super::scripting::{self, Call, Script, debugging};
use super::table::Outcome;
use crate::client::alert;
use crate::script::{self, Event, Job, Kind, Sha};

const NO_SCRIPT: CommandError =
    CommandError::fixed("NOSCRIPT No matching script. Please use EVAL.");

/// `EVAL script numkeys [key …] [arg …]`. <https://redis.io/commands/eval/>
pub(super) fn eval(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    by_body(s, args, false)
}

/// `EVAL_RO script numkeys [key …] [arg …]`. <https://redis.io/commands/eval_ro/>
pub(super) fn eval_ro(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    by_body(s, args, true)
}

/// `EVALSHA sha1 numkeys [key …] [arg …]`. <https://redis.io/commands/evalsha/>
pub(super) fn evalsha(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    by_name(s, args, false)
}

/// `EVALSHA_RO sha1 numkeys [key …] [arg …]`. <https://redis.io/commands/evalsha_ro/>
pub(super) fn evalsha_ro(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    by_name(s, args, true)
}

fn by_body(s: &mut Server<'_>, args: &[&[u8]], read_only: bool) -> Outcome {
    if s.session.is(alert::DEBUGS) {
        return debugging::begin(s, args, read_only);
    }
    let keys = scripting::number_of_keys(args[2], args.len() - 3)?;
    let last = s.parts.scripts.last.as_ref();
    let (sha, script) = match last.filter(|(_, script)| *script.body == *args[1]) {
        Some((sha, script)) => (*sha, Rc::clone(script)),
        None => {
            let sha = script::sha1hex(args[1]);
            let script = match s.parts.scripts.cache.get(&sha) {
                Some(script) => Rc::clone(script),
                None => define(s, &sha, args[1])?,
            };
            s.parts.scripts.last = Some((sha, Rc::clone(&script)));
            (sha, script)
        }
    };
    run(s, args, (&sha, &script), keys, read_only)
}

fn by_name(s: &mut Server<'_>, args: &[&[u8]], read_only: bool) -> Outcome {
    let sha = script::sha_of(args[1]).ok_or(NO_SCRIPT)?;
    if s.session.is(alert::DEBUGS) {
        return Err(CommandError::fixed(
            "ERR Please use EVAL instead of EVALSHA for debugging",
        ));
    }
    let keys = scripting::number_of_keys(args[2], args.len() - 3)?;
    let script = Rc::clone(s.parts.scripts.cache.get(&sha).ok_or(NO_SCRIPT)?);
    run(s, args, (&sha, &script), keys, read_only)
}

fn run(
    s: &mut Server<'_>,
    args: &[&[u8]],
    (sha, script): (&Sha, &Script),
    keys: usize,
    read_only: bool,
) -> Outcome {
    let call = Call {
        kind: Kind::Eval,
        function: script.function,
        name: sha,
        flags: script.flags,
        read_only,
        keys,
        words: &args[3..],
        all: args,
    };
    scripting::run(s.parts, s.session, s.now, &call)
}

/// Compiles a script and keeps it.
fn define(s: &mut Server<'_>, sha: &Sha, body: &[u8]) -> Result<Rc<Script>, CommandError> {
    let error = |text: &[u8]| CommandError::text([b"ERR ", text].concat());
    let head = script::shebang(body).map_err(|why| error(&why))?;
    let scripts = &mut s.parts.scripts;
    let vm = scripts.vm(Kind::Eval)?;
    let event = vm.start(Job::Compile(body[head.code..].to_vec()));
    let Event::Outcome(script::Outcome::Compiled(compiled)) = event else {
        return Err(error(b"the interpreter is busy"));
    };
    let function = compiled
        .map_err(|why| error(&[b"Error compiling script (new function): ", &why[..]].concat()))?;
    scripts.cache_bytes += body.len() + sha.len();
    let script = Rc::new(Script {
        body: body.into(),
        flags: head.flags,
        function,
    });
    scripts.cache.insert(*sha, Rc::clone(&script));
    Ok(script)
}

/// `SCRIPT LOAD script`. <https://redis.io/commands/script-load/>
pub(super) fn load(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let sha = script::sha1hex(args[2]);
    if !s.parts.scripts.cache.contains_key(&sha) {
        define(s, &sha, args[2])?;
    }
    s.session.out.bulk(&sha);
    Ok(())
}

/// `SCRIPT EXISTS sha1 [sha1 …]`. <https://redis.io/commands/script-exists/>
pub(super) fn exists(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.out.array(args.len() - 2);
    for name in &args[2..] {
        let known =
            script::sha_of(name).is_some_and(|sha| s.parts.scripts.cache.contains_key(&sha));
        s.session.out.int(known.into());
    }
    Ok(())
}

/// `SCRIPT SHOW sha1`, as Valkey has it. <https://valkey.io/commands/script-show/>
pub(super) fn show(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let script = script::sha_of(args[2]).and_then(|sha| s.parts.scripts.cache.get(&sha));
    let script = script.ok_or(CommandError::fixed("NOSCRIPT No matching script."))?;
    s.session.out.bulk(&script.body);
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`. <https://redis.io/commands/script-flush/>
pub(super) fn flush(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    match args.get(2) {
        None => {}
        Some(how)
            if args.len() == 3
                && (how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async")) => {}
        _ => {
            return Err(CommandError::fixed(
                "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
            ));
        }
    }
    s.parts.scripts.flush();
    s.session.out.ok();
    Ok(())
}

/// `SCRIPT KILL`. <https://redis.io/commands/script-kill/>
pub(super) fn kill(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    scripting::kill(s.parts, Kind::Eval)?;
    s.session.out.ok();
    Ok(())
}

/// `SCRIPT DEBUG YES | SYNC | NO`. <https://redis.io/commands/script-debug/>
pub(super) fn debug(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if s.session.out.pending() > 0 {
        return Err(CommandError::fixed(
            "ERR SCRIPT DEBUG must be called outside a pipeline",
        ));
    }
    let is = |word: &str| args[2].eq_ignore_ascii_case(word.as_bytes());
    if !(is("yes") || is("sync") || is("no")) {
        return Err(CommandError::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO"));
    }
    s.session.set(alert::DEBUGS, !is("no"));
    // (YES after SYNC leaves it so, as in Redis.)
    let sync = is("sync") || (is("yes") && s.session.is(alert::DEBUGS_SYNC));
    s.session.set(alert::DEBUGS_SYNC, sync);
    s.session.out.ok();
    Ok(())
}

/// `SCRIPT HELP`. <https://redis.io/commands/script-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    write_help(&mut s.session.out, "SCRIPT", super::help::SCRIPT);
    Ok(())
}
