//! Commands on the connection itself: who speaks, in which protocol, to which database.

use super::context::{Parts, Server, condition};
use super::error::CommandError;
use super::execute;
use super::permission;
use super::string::integer;
use super::table::Outcome;
use crate::acl::DEFAULT;
use crate::client::{ReplyMode, Session, alert};
use crate::face::{LogLevel, Now};
use crate::value::number::parse_i64;

/// `PING [message]`. <https://redis.io/commands/ping/>
pub(super) fn ping(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let subscribed = s.session.is(alert::SUBSCRIBED);
    let out = &mut s.session.out;
    if subscribed && !out.resp3 && args.len() <= 2 {
        // Among messages, the answer looks like one.
        out.array(2);
        out.bulk(b"pong");
        out.bulk(args.get(1).copied().unwrap_or_default());
        return Ok(());
    }
    match args {
        [_] => s.session.out.raw(b"+PONG\r\n"),
        [_, message] => s.session.out.bulk(message),
        _ => {
            return Err(CommandError::fixed(
                "ERR wrong number of arguments for 'ping' command",
            ));
        }
    }
    Ok(())
}

/// `ECHO message`. <https://redis.io/commands/echo/>
pub(super) fn echo(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.out.bulk(args[1]);
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. What the options before a wrong one
/// did stays done, as in Redis. <https://redis.io/commands/hello/>
pub(super) fn hello(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let protocol = match args.get(1) {
        None => None,
        Some(version) => match parse_i64(version) {
            Some(version @ 2..=3) => Some(version),
            Some(_) => return Err(CommandError::fixed("NOPROTO unsupported protocol version")),
            None => {
                return Err(CommandError::fixed(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        },
    };
    let mut rest = args.get(2..).unwrap_or_default();
    loop {
        rest = match rest {
            [] => break,
            [word, user, password, more @ ..] if word.eq_ignore_ascii_case(b"auth") => {
                permission::authenticate(s, args[0], user, password)?;
                more
            }
            [word, name, more @ ..] if word.eq_ignore_ascii_case(b"setname") => {
                set_name(s.session, name)?;
                more
            }
            [word, ..] => {
                return Err(CommandError::showing(&[
                    b"ERR Syntax error in HELLO option '",
                    word,
                    b"'",
                ]));
            }
        }
    }
    if !s.session.authenticated {
        return Err(CommandError::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(protocol) = protocol {
        s.session.out.resp3 = protocol == 3;
    }
    let (cluster, replica) = (
        s.parts.config.cluster_enabled,
        s.parts.is(condition::REPLICA),
    );
    let id = s.session.id;
    let out = &mut s.session.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(crate::REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(if out.resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(id as i64);
    out.bulk(b"mode");
    out.bulk(if cluster { b"cluster" } else { b"standalone" });
    out.bulk(b"role");
    out.bulk(if replica { b"replica" } else { b"master" });
    out.bulk(b"modules");
    out.array(0);
    Ok(())
}

/// `AUTH [username] password`. <https://redis.io/commands/auth/>
pub(super) fn auth(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    match args {
        [_, _] if s.parts.acl.is_open() => {
            return Err(CommandError::fixed(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        [word, password] => permission::authenticate(s, word, DEFAULT, password)?,
        [word, user, password] => permission::authenticate(s, word, user, password)?,
        _ => return Err(CommandError::SYNTAX),
    }
    s.session.out.ok();
    Ok(())
}

/// `QUIT`. <https://redis.io/commands/quit/>
pub(super) fn quit(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.ok();
    s.session.set(alert::CLOSING, true);
    Ok(())
}

/// `RESET`: the connection as if it were new. <https://redis.io/commands/reset/>
pub(super) fn reset(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if s.session.alerts & (alert::REPLICA | alert::TRUSTED) != 0 {
        return Err(CommandError::fixed(
            "ERR can only reset normal client connections",
        ));
    }
    execute::discard(s.parts, s.session);
    super::pubsub::forget(s.parts, s.session);
    super::monitor::forget(s.parts, s.session);
    super::tracking::forget(s.parts, s.session);
    let session = &mut *s.session;
    session.db = 0;
    session.name = Default::default();
    session.reply_mode = ReplyMode::On;
    session.skip_next = false;
    session.no_touch = false;
    session.imports = false;
    session.no_evict = false;
    session.goes_elsewhere = false;
    session.out.resp3 = false;
    session.set(alert::ASKING | alert::READONLY | alert::MUTED, false);
    permission::begin(&s.parts.acl, session);
    session.out.simple("RESET");
    Ok(())
}

/// `SELECT index`. <https://redis.io/commands/select/>
pub(super) fn select(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let index = integer(args[1])?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    if s.parts.config.cluster_enabled && index != 0 {
        return Err(CommandError::fixed(
            "ERR SELECT is not allowed in cluster mode",
        ));
    }
    s.session.db = usize::try_from(index)
        .ok()
        .filter(|&db| db < s.parts.store.databases().len())
        .ok_or(CommandError::DB_INDEX)?;
    s.session.out.ok();
    Ok(())
}

/// Gives the session a name; an empty one takes it away.
///
/// # Errors
/// The name would break the lines of CLIENT LIST.
pub(super) fn set_name(session: &mut Session, name: &[u8]) -> Outcome {
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::fixed(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    session.name = name.into();
    Ok(())
}

/// Whether the first word of a request is one that an HTTP client sends: somebody makes a browser talk to us.
pub(super) fn speaks_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Closes the connection of an HTTP client, with a word in the log, once a minute.
#[cold]
pub(super) fn close_http(parts: &mut Parts, session: &mut Session, now: Now) {
    let now_ms = now.mono_ms();
    if parts
        .warned_of_http_ms
        .is_none_or(|then| now_ms - then > 60_000)
    {
        parts.warned_of_http_ms = Some(now_ms);
        parts.log(
            LogLevel::Warning,
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. \
             This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis \
             instance. Connection aborted.",
        );
    }
    session.set(alert::CLOSING, true);
}
