//! CLIENT: what is known about connections, and what may be done to them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::blocking;
use super::connection::set_name;
use super::context::{Parts, Pause, Server};
use super::error::CommandError;
use super::string::integer;
use super::table::Outcome;
use super::{address, help, tracking};
use crate::acl::UserId;
use crate::client::tracking::Mode;
use crate::client::{Blocked, ReplyMode, Scope, Session, alert};
use crate::face::{Address, ConnId, Now};
use crate::resp::Arg;
use crate::value::number::{parse_i64, write_i64};

/// The classes of clients that LIST and KILL tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Normal,
    Primary,
    PubSub,
    Replica,
}

impl Class {
    fn parse(word: &[u8]) -> Result<Class, CommandError> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Class::Normal),
            b"slave" | b"replica" => Ok(Class::Replica),
            b"pubsub" => Ok(Class::PubSub),
            b"master" => Ok(Class::Primary),
            _ => Err(CommandError::showing(&[
                b"ERR Unknown client type '",
                word,
                b"'",
            ])),
        }
    }

    fn of(session: &Session) -> Class {
        if session.is_primary() {
            Class::Primary
        } else if session.is(alert::REPLICA) {
            Class::Replica
        } else if session.is(alert::SUBSCRIBED) {
            Class::PubSub
        } else {
            Class::Normal
        }
    }
}

/// Writes the letters of a session's `flags`.
fn write_letters(out: &mut Vec<u8>, parts: &Parts, session: &Session) {
    let dirty = session
        .watched
        .iter()
        .any(|w| parts.watches.version(w.db, &w.key) != w.version);
    let tracks = |has: fn(&Mode) -> bool| session.tracking.as_deref().is_some_and(has);
    let flags = [
        (session.is(alert::REPLICA), b'S'),
        (session.is_primary(), b'M'),
        (session.monitors, b'O'),
        (session.is(alert::SUBSCRIBED), b'P'),
        (session.is(alert::MULTI), b'x'),
        (session.blocked.is_some(), b'b'),
        (session.tracking.is_some(), b't'),
        (tracks(|mode| mode.broken), b'R'),
        (tracks(|mode| mode.broadcast), b'B'),
        (dirty, b'd'),
        (session.is(alert::CLOSING), b'c'),
        (matches!(session.peer, Address::Unix(_)), b'U'),
        (session.is(alert::READONLY), b'r'),
        (session.no_evict, b'e'),
        (session.no_touch, b'T'),
        (session.imports, b'I'),
    ];
    let none = out.len();
    out.extend(flags.iter().filter(|f| f.0).map(|f| f.1));
    if out.len() == none {
        out.push(b'N');
    }
}

/// A client as CLIENT LIST shows it, without the line's end.
pub fn describe(parts: &Parts, session: &Session, now: Now) -> String {
    let mut line = Vec::with_capacity(LINE);
    write_line(&mut line, parts, session, now);
    String::from_utf8_lossy(&line).into_owned()
}

/// A line of CLIENT LIST takes about so many bytes.
const LINE: usize = 384;

/// Writes a client as CLIENT LIST shows it, without the line's end. (By hand, since there may be ten thousand.)
fn write_line(out: &mut Vec<u8>, parts: &Parts, session: &Session, now: Now) {
    let multi = session.multi.as_deref();
    let (qbuf, qbuf_free) = session.query_bytes();
    let (tail, tail_capacity) = session.out.tail();
    let subscribed = |scope| {
        let mine = session.subscriptions.as_ref();
        mine.map_or(0, |mine| mine.names(scope).len())
    };
    let command = session
        .last_command
        .and_then(|number| parts.index.all().get(usize::from(number)));
    let argv = match session.blocked.as_deref() {
        Some(Blocked::Keys(waiting)) => words_of(&waiting.args),
        _ => session.word_bytes + words_of(&session.partial_args),
    };
    // What a replica is still to get waits in the journal, for all of them.
    let behind = match session.is(alert::REPLICA) {
        true => parts.replication.behind(session.conn, parts.journal.end()) as usize,
        false => 0,
    };
    let seconds = |since_ms: u64| (now.mono_ms().saturating_sub(since_ms) / 1000) as i64;
    write_number(out, "id=", session.id as i64);
    out.extend_from_slice(b" addr=");
    write_address(out, &session.peer);
    out.extend_from_slice(b" laddr=");
    write_address(out, &session.local);
    write_number(out, " fd=", session.conn.index() as i64);
    out.extend_from_slice(b" name=");
    out.extend_from_slice(&session.name);
    write_number(out, " age=", seconds(session.since_ms));
    write_number(out, " idle=", seconds(session.active_ms));
    out.extend_from_slice(b" flags=");
    write_letters(out, parts, session);
    for (name, n) in [
        (" db=", session.db),
        (" sub=", subscribed(Scope::Channel)),
        (" psub=", subscribed(Scope::Pattern)),
        (" ssub=", subscribed(Scope::Shard)),
    ] {
        write_number(out, name, n as i64);
    }
    let queued = multi.map_or(-1, |multi| multi.queue.len() as i64);
    write_number(out, " multi=", queued);
    for (name, n) in [
        (" qbuf=", qbuf),
        (" qbuf-free=", qbuf_free),
        (" argv-mem=", argv),
        (" multi-mem=", multi.map_or(0, |multi| multi.word_bytes)),
        (" rbs=", tail_capacity),
        (" rbp=", tail_capacity),
        (" obl=", tail),
        (" oll=", session.out.chunks()),
        (" omem=", session.out.queued() + behind),
        (" tot-mem=", session.memory() + behind),
    ] {
        write_number(out, name, n as i64);
    }
    let events: &[u8] = if session.is_slow() { b"rw" } else { b"r" };
    let user = match session.is_primary() {
        true => b"(superuser)",
        false => parts.acl.name(session.user),
    };
    for (name, text) in [
        (" events=", events),
        (" cmd=", command.map_or(b"NULL", |c| c.name.as_bytes())),
        (" user=", user),
    ] {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(text);
    }
    write_number(out, " redir=", tracking::redirection(session));
    write_number(out, " resp=", if session.out.resp3 { 3 } else { 2 });
    if !session.lib_name.is_empty() || !session.lib_ver.is_empty() {
        out.extend_from_slice(b" lib-name=");
        out.extend_from_slice(&session.lib_name);
        out.extend_from_slice(b" lib-ver=");
        out.extend_from_slice(&session.lib_ver);
    }
}

fn write_number(out: &mut Vec<u8>, name: &str, n: i64) {
    out.extend_from_slice(name.as_bytes());
    write_i64(out, n);
}

fn write_address(out: &mut Vec<u8>, of: &Address) {
    let Address::Ip(SocketAddr::V4(socket)) = of else {
        return out.extend_from_slice(address(of).as_bytes());
    };
    for (i, octet) in socket.ip().octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        write_i64(out, octet.into());
    }
    out.push(b':');
    write_i64(out, socket.port().into());
}

fn words_of(args: &[Arg]) -> usize {
    args.iter().map(|arg| (arg.end - arg.start) as usize).sum()
}

/// All clients, the one that asks and the link to our primary among them, by their numbers.
fn everyone<'a>(s: &'a Server<'_>) -> Vec<&'a Session> {
    let mut all: Vec<&Session> = s.parts.clients.iter().collect();
    for session in [Some(&*s.session), s.parts.primary.as_deref()]
        .into_iter()
        .flatten()
    {
        let at = all.partition_point(|other| other.id < session.id);
        all.insert(at, session);
    }
    all
}

/// `CLIENT ID`. <https://redis.io/commands/client-id/>
pub(super) fn id(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.int(s.session.id as i64);
    Ok(())
}

/// `CLIENT INFO`. <https://redis.io/commands/client-info/>
pub(super) fn info(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.word_bytes = args.iter().map(|word| word.len()).sum();
    let mut line = Vec::with_capacity(LINE);
    write_line(&mut line, s.parts, s.session, s.now);
    line.push(b'\n');
    s.session.word_bytes = 0;
    s.session.out.verbatim(&line);
    Ok(())
}

/// `CLIENT LIST [TYPE type] [ID id …]`. <https://redis.io/commands/client-list/>
pub(super) fn list(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.word_bytes = args.iter().map(|word| word.len()).sum();
    let listed = lines(s, args);
    s.session.word_bytes = 0;
    s.session.out.verbatim(&listed?);
    Ok(())
}

fn lines(s: &Server<'_>, args: &[&[u8]]) -> Result<Vec<u8>, CommandError> {
    let all = everyone(s);
    let chosen: Vec<&Session> = match args {
        [_, _] => all,
        [_, _, word, class] if word.eq_ignore_ascii_case(b"type") => {
            let class = Class::parse(class)?;
            all.into_iter().filter(|c| Class::of(c) == class).collect()
        }
        [_, _, word, ids @ ..] if word.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let mut chosen = Vec::new();
            for id in ids {
                let id = parse_i64(id).ok_or(CommandError::fixed("ERR Invalid client ID"))?;
                chosen.extend(all.iter().filter(|c| c.id as i64 == id));
            }
            chosen
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let mut text = Vec::with_capacity(chosen.len() * LINE);
    for client in chosen {
        write_line(&mut text, s.parts, client, s.now);
        text.push(b'\n');
    }
    Ok(text)
}

/// `CLIENT SETNAME name`. <https://redis.io/commands/client-setname/>
pub(super) fn setname(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    set_name(s.session, args[2])?;
    s.session.out.ok();
    Ok(())
}

/// `CLIENT GETNAME`. <https://redis.io/commands/client-getname/>
pub(super) fn getname(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if s.session.name.is_empty() {
        s.session.out.null();
    } else {
        s.session.out.bulk(&s.session.name);
    }
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME name | LIB-VER version`, of Redis 7.2.
/// <https://redis.io/commands/client-setinfo/>
pub(super) fn setinfo(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let option = args[2].to_ascii_lowercase();
    let field = match option.as_slice() {
        b"lib-name" => &mut s.session.lib_name,
        b"lib-ver" => &mut s.session.lib_ver,
        _ => {
            return Err(CommandError::showing(&[
                b"ERR Unrecognized option '",
                args[2],
                b"'",
            ]));
        }
    };
    if !args[3].iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::showing(&[
            b"ERR ",
            &option,
            b" cannot contain spaces, newlines or special characters.",
        ]));
    }
    *field = args[3].into();
    s.session.out.ok();
    Ok(())
}

/// Which clients CLIENT KILL means.
#[derive(Default)]
struct Filter<'a> {
    addr: Option<&'a [u8]>,
    class: Option<Class>,
    id: Option<i64>,
    laddr: Option<&'a [u8]>,
    user: Option<UserId>,
    /// Seconds.
    max_age: Option<i64>,
    spare_self: bool,
}

impl<'a> Filter<'a> {
    fn parse(parts: &Parts, args: &[&'a [u8]]) -> Result<Filter<'a>, CommandError> {
        let mut filter = Filter {
            spare_self: true,
            ..Filter::default()
        };
        for pair in args.chunks(2) {
            let &[option, value] = pair else {
                return Err(CommandError::SYNTAX);
            };
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_i64(value).filter(|&id| id > 0);
                    filter.id = Some(id.ok_or(CommandError::fixed(
                        "ERR client-id should be greater than 0",
                    ))?);
                }
                b"maxage" => {
                    let age = parse_i64(value).ok_or(CommandError::fixed(
                        "ERR maxage is not an integer or out of range",
                    ))?;
                    if age <= 0 {
                        return Err(CommandError::fixed("ERR maxage should be greater than 0"));
                    }
                    filter.max_age = Some(age);
                }
                b"type" => filter.class = Some(Class::parse(value)?),
                b"addr" => filter.addr = Some(value),
                b"laddr" => filter.laddr = Some(value),
                b"user" => {
                    filter.user = Some(parts.acl.find(value).ok_or_else(|| {
                        CommandError::showing(&[b"ERR No such user '", value, b"'"])
                    })?);
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.spare_self = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.spare_self = false,
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(filter)
    }

    fn matches(&self, client: &Session, now: Now) -> bool {
        let is = |wanted: Option<&[u8]>, of: &Address| {
            wanted.is_none_or(|wanted| wanted == address(of).as_bytes())
        };
        let age_s = (now.mono_ms().saturating_sub(client.since_ms) / 1000) as i64;
        is(self.addr, &client.peer)
            && is(self.laddr, &client.local)
            && self.class.is_none_or(|class| class == Class::of(client))
            && self.id.is_none_or(|id| id == client.id as i64)
            && (self.user).is_none_or(|user| user == client.user && !client.is_primary())
            && self.max_age.is_none_or(|age| age_s >= age)
    }
}

/// `CLIENT KILL addr`, or `CLIENT KILL filter value [filter value …]`.
/// <https://redis.io/commands/client-kill/>
pub(super) fn kill(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let old_form = args.len() == 3;
    let filter = if old_form {
        Filter {
            addr: Some(args[2]),
            ..Filter::default()
        }
    } else {
        Filter::parse(s.parts, &args[2..])?
    };
    let own = s.session.id;
    let condemned: Vec<(u64, ConnId)> = everyone(s)
        .into_iter()
        .filter(|c| filter.matches(c, s.now) && !(filter.spare_self && c.id == own))
        .map(|c| (c.id, c.conn))
        .collect();
    let count = condemned.len() as i64;
    for (id, conn) in condemned {
        if id == own {
            s.session.set(alert::CLOSING, true);
        } else {
            s.parts.clients.doom(conn);
        }
    }
    match (old_form, count) {
        (true, 0) => return Err(CommandError::fixed("ERR No such client")),
        (true, _) => s.session.out.ok(),
        (false, _) => s.session.out.int(count),
    }
    Ok(())
}

/// `CLIENT REPLY ON | OFF | SKIP`. <https://redis.io/commands/client-reply/>
pub(super) fn reply(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let session = &mut *s.session;
    // In a transaction it holds from here on: what is in the output already stays, or goes.
    let here = session.out.position();
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            if session.reply_mode != ReplyMode::On && !session.is(alert::REPLICA) {
                session.out.truncate(session.muted_from);
            }
            session.reply_mode = ReplyMode::On;
            session.out.ok();
        }
        b"off" => {
            if session.reply_mode == ReplyMode::On {
                session.muted_from = here;
            }
            session.reply_mode = ReplyMode::Off;
        }
        b"skip" => session.skip_next |= session.reply_mode != ReplyMode::Off,
        _ => return Err(CommandError::SYNTAX),
    }
    session.set(alert::MUTED, true);
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`. <https://redis.io/commands/client-no-evict/>
pub(super) fn no_evict(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.no_evict = match args[2].to_ascii_lowercase().as_slice() {
        b"on" => true,
        b"off" => false,
        _ => return Err(CommandError::SYNTAX),
    };
    s.session.out.ok();
    Ok(())
}

/// `CLIENT NO-TOUCH ON | OFF`, of Redis 7.2. <https://redis.io/commands/client-no-touch/>
pub(super) fn no_touch(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.no_touch = match args[2].to_ascii_lowercase().as_slice() {
        b"on" => true,
        b"off" => false,
        _ => return Err(CommandError::SYNTAX),
    };
    s.session.out.ok();
    Ok(())
}

/// `CLIENT IMPORT-SOURCE ON | OFF`, of Valkey 8.1. <https://valkey.io/commands/client-import-source/>
pub(super) fn import_source(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.imports = match args[2].to_ascii_lowercase().as_slice() {
        b"on" if !s.parts.config.import_mode => {
            return Err(CommandError::fixed("ERR Server is not in import mode"));
        }
        b"on" => true,
        b"off" => false,
        _ => return Err(CommandError::SYNTAX),
    };
    s.session.out.ok();
    Ok(())
}

/// `CLIENT CAPA capability [capability …]`, of Valkey 8.0. Capabilities that are not known are none.
/// <https://valkey.io/commands/client-capa/>
pub(super) fn capa(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    s.session.goes_elsewhere |= args[2..]
        .iter()
        .any(|c| c.eq_ignore_ascii_case(b"redirect"));
    s.session.out.ok();
    Ok(())
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`. <https://redis.io/commands/client-unblock/>
pub(super) fn unblock(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let with_error = match args {
        [_, _, _] => false,
        [_, _, _, how] if how.eq_ignore_ascii_case(b"timeout") => false,
        [_, _, _, how] if how.eq_ignore_ascii_case(b"error") => true,
        [_, _, _, _] => {
            return Err(CommandError::fixed(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => {
            return Err(CommandError::subcommand("CLIENT", args[1]));
        }
    };
    let id = integer(args[2])?;
    let parts = &mut *s.parts;
    let conn = u64::try_from(id)
        .ok()
        .and_then(|id| parts.clients.by_id(id));
    let mut done = false;
    if let Some(conn) = conn
        && let Some(session) = parts.clients.get_mut(conn)
        && matches!(session.blocked.as_deref(), Some(Blocked::Keys(_)))
    {
        if with_error {
            let error = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
            blocking::refuse(parts, conn, error);
        } else {
            blocking::give_up(parts, conn);
        }
        done = true;
    } else if let Some(conn) = conn
        && let Some(session) = parts.clients.get_mut(conn)
        && let Some(Blocked::Wait { wish, .. }) = session.blocked.as_deref()
    {
        if with_error {
            parts.fail(conn, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
        } else {
            let state = wish.state(&parts.replication, &parts.persistence);
            wish.answer(state, &mut session.out);
            parts.unblock(conn);
        }
        done = true;
    }
    s.session.out.int(i64::from(done));
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`. <https://redis.io/commands/client-pause/>
pub(super) fn pause(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let all = match args {
        [_, _, _] => true,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"all") => true,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"write") => false,
        [_, _, _, _] => {
            return Err(CommandError::fixed(
                "ERR CLIENT PAUSE mode must be WRITE or ALL",
            ));
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let timeout = super::timeout_ms(args[2])?;
    let now_ms = s.now.mono_ms();
    // One that is under way is not shortened, and goes on to hold what it held.
    let before = s.parts.pause.filter(|before| before.until_ms > now_ms);
    let (least_ms, held_all) = before.map_or((0, false), |before| (before.until_ms, before.all));
    s.parts.pause = Some(Pause {
        until_ms: now_ms.saturating_add(timeout).max(least_ms),
        all: all || held_all,
    });
    s.parts.update_pause();
    s.session.out.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`. <https://redis.io/commands/client-unpause/>
pub(super) fn unpause(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.parts.pause = None;
    s.parts.update_pause();
    s.session.out.ok();
    Ok(())
}

/// `CLIENT HELP`. <https://redis.io/commands/client-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "CLIENT", help::CLIENT);
    Ok(())
}

/// Blocks the session that runs the command.
pub(super) fn block(s: &mut Server<'_>, what: Blocked) {
    s.session.blocked = Some(Box::new(what));
    s.parts.blocked.push(s.session.conn);
}
