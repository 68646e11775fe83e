//! MIGRATE: keys are sent to another server, and deleted here when it has them.
//!
//! The command only checks its words; then its client waits ([`Blocked::Migrate`]) while [`transfers`] talks to
//! the target as a client would: AUTH, SELECT, and RESTORE for each key. What Redis does while it stands still, we
//! do over many turns: so writes to the keys wait ([`holds`]), and the keys are deleted, and their DEL journalled,
//! at one moment at the end.
//!
//! In a transaction or script it is carried out twice as far: first it only begins its transfer ([`begin_nested`]), and
//! the transaction or script stands still, and everybody with it. When the transfer is over, the command is carried out
//! like any other, and finds what came of it. It is refused only to who cannot be kept waiting: what comes from a file or
//! our primary. (What is rehearsed in a debugger moves nothing: see there.)

#[cfg(test)]
mod tests;
mod transfers;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::context::{Parts, Server, condition};
use super::dump;
use super::effects::encode;
use super::error::CommandError;
use super::execute::{self, Request};
use super::string::integer;
use super::table::{Command, Outcome, flag};
use crate::client::{Blocked, Session, alert};
use crate::config::NotifyEvents;
use crate::face::Now;
use crate::value::number::{ItoaBuffer, parse_i64};

use transfers::Outcome as Over;
pub use transfers::{Need, Order, Transfers};

/// What the client is told if there is no connection to the target.
const CANNOT_CONNECT: &[u8] = b"IOERR error or timeout connecting to the client";

/// How long a target may be silent, in milliseconds, if the command says 0 or less.
const DEFAULT_TIMEOUT_MS: i64 = 1000;

/// `MIGRATE host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key [key …]]`. <https://redis.io/commands/migrate/>
pub(super) fn migrate(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (mut order, keys) = parse(args)?;
    let mut data = s.parts.data(s.session, s.now, None);
    for &name in keys {
        let key = data.key(name);
        if data.look(key).is_some() {
            order.keys.push(name.to_vec());
        }
    }
    order.db = s.session.db;
    if order.keys.is_empty() {
        s.session.out.simple("NOKEY");
        return Ok(());
    }
    order.port = port(args[2]).ok_or_else(|| CommandError::text(CANNOT_CONNECT))?;
    if let Some(over) = s.parts.transfers.take_nested() {
        return end_nested(s, over);
    }
    if s.session.alerts & (alert::MULTI | alert::TRUSTED) != 0 {
        return Err(CommandError::fixed("ERR MIGRATE cannot wait here"));
    }
    s.parts.transfers.begin(s.session.conn, order);
    s.parts.set(condition::MIGRATING, true);
    s.session.blocked = Some(Box::new(Blocked::Migrate));
    s.parts.blocked.push(s.session.conn);
    Ok(())
}

/// Begins the transfer of a MIGRATE that a transaction or script has come to. If there is any, it is to be waited for:
/// true; if not, or if it is over, the command can be carried out.
#[inline]
pub(super) fn begin_nested(
    parts: &mut Parts,
    session: &Session,
    now: Now,
    command: &'static Command,
    args: &[&[u8]],
) -> bool {
    command.name == "migrate" && begin_transfer(parts, session, now, args)
}

fn begin_transfer(parts: &mut Parts, session: &Session, now: Now, args: &[&[u8]]) -> bool {
    if parts.transfers.nested_is_over() || session.is(alert::TRUSTED) {
        return false;
    }
    // (What is wrong with the words, they are told when they are carried out.)
    let Ok((mut order, keys)) = parse(args) else {
        return false;
    };
    let Some(port) = port(args[2]) else {
        return false;
    };
    let is_there = |name: &&&[u8]| {
        let place = (parts.store).find(session.db, parts.store.hasher().key(name));
        let deadline = place.map(|place| parts.store.entry(session.db, place).deadline());
        deadline.is_some_and(|at| at.is_none_or(|at| at >= now.unix_ms()))
    };
    let keys = keys.iter().filter(is_there).map(|name| name.to_vec());
    order.keys = keys.collect();
    (order.port, order.db) = (port, session.db);
    let any = !order.keys.is_empty();
    if any {
        parts.transfers.begin_nested(order);
        parts.set(condition::MIGRATING | condition::SCRIPT, true);
    }
    any
}

/// The transfer of a transaction's or script's MIGRATE is over: what has moved is deleted.
fn end_nested(s: &mut Server<'_>, over: Over) -> Result<(), CommandError> {
    s.parts
        .set(condition::MIGRATING, !s.parts.transfers.is_empty());
    delete(s.parts, over.db, &over.moved);
    s.parts.effects.dirty += over.moved.len() as u64;
    s.parts.effects.nothing();
    if !over.moved.is_empty() {
        s.parts.effects.also(over.db, &del(&over.moved));
    }
    match over.error {
        Some(error) => Err(CommandError::text(error)),
        None => {
            s.session.out.ok();
            Ok(())
        }
    }
}

fn port(word: &[u8]) -> Option<u16> {
    parse_i64(word).and_then(|port| u16::try_from(port).ok())
}

/// What the words say, and the keys among them.
fn parse<'k, 'a>(args: &'k [&'a [u8]]) -> Result<(Order, &'k [&'a [u8]]), CommandError> {
    let mut order = Order {
        host: String::from_utf8_lossy(args[1]).into_owned(),
        ..Order::default()
    };
    let mut keys = &args[3..4];
    let mut words = &args[6..];
    while let [word, rest @ ..] = words {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        words = rest;
        match rest {
            _ if is("copy") => order.copy = true,
            _ if is("replace") => order.replace = true,
            [password, rest @ ..] if is("auth") => {
                order.auth = [b"AUTH", *password].map(<[u8]>::to_vec).into();
                words = rest;
            }
            [user, password, rest @ ..] if is("auth2") => {
                order.auth = [b"AUTH", *user, *password].map(<[u8]>::to_vec).into();
                words = rest;
            }
            _ if is("keys") => {
                if !args[3].is_empty() {
                    return Err(CommandError::fixed(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                keys = rest;
                words = &[];
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let timeout = integer(args[5])?;
    order.target_db = integer(args[4])?;
    let timeout_ms = if timeout > 0 {
        timeout
    } else {
        DEFAULT_TIMEOUT_MS
    };
    order.timeout_us = timeout_ms.unsigned_abs().saturating_mul(1000);
    Ok((order, keys))
}

/// The commands of a transfer for its target, and of what they consist: how many come first that move no key, and
/// which keys are moved. What has expired meanwhile is left out.
pub(crate) fn compose(
    parts: &Parts,
    now: Now,
    order: &Order,
    selected: Option<i64>,
) -> (Vec<u8>, usize, Vec<usize>) {
    let (mut bytes, mut preludes, mut sent) = (Vec::new(), 0, Vec::new());
    if !order.auth.is_empty() {
        let words: Vec<&[u8]> = order.auth.iter().map(Vec::as_slice).collect();
        encode(&mut bytes, &words);
        preludes += 1;
    }
    if selected != Some(order.target_db) {
        encode(&mut bytes, &[b"SELECT", &ItoaBuffer::new(order.target_db)]);
        preludes += 1;
    }
    let verb: &[u8] = if parts.is(condition::CLUSTER) {
        b"RESTORE-ASKING"
    } else {
        b"RESTORE"
    };
    for (index, name) in order.keys.iter().enumerate() {
        let key = parts.store.hasher().key(name);
        let Some(place) = parts.store.find(order.db, key) else {
            continue;
        };
        let entry = parts.store.entry(order.db, place);
        let span = match entry.deadline().map(|at| at.checked_sub(now.unix_ms())) {
            None => 0,
            Some(None) => continue,
            Some(Some(left)) => left.max(1),
        };
        let payload = dump::payload(entry, parts.config.rdbcompression);
        let span = ItoaBuffer::new(span as i64);
        let words: [&[u8]; 5] = [verb, name, &span, &payload, b"REPLACE"];
        encode(&mut bytes, &words[..4 + usize::from(order.replace)]);
        sent.push(index);
    }
    (bytes, preludes, sent)
}

/// Carries out what came of transfers that are over: deletes what has moved, answers the clients, and lets those
/// go on who waited for the keys.
pub(crate) fn finish(parts: &mut Parts) {
    while let Some(over) = parts.transfers.next_over() {
        let Some(client) = over.client else {
            continue;
        };
        let session = parts.clients.take(client);
        let mut session = session.filter(|s| s.blocked.as_deref() == Some(&Blocked::Migrate));
        if !over.moved.is_empty() {
            delete(parts, over.db, &over.moved);
            parts.changes += over.moved.len() as u64;
            parts.effects.begin();
            parts.effects.also(over.db, &del(&over.moved));
            (parts.effects).end(&mut parts.journal, over.db, false, &[], None);
        }
        if let Some(session) = session.as_deref_mut() {
            let start = session.out.position();
            session.last_offset = parts.journal.end();
            match &over.error {
                None => session.out.ok(),
                Some(error) => {
                    parts.stats.error(error);
                    if let Some(number) = session.last_command {
                        parts.stats.commands[usize::from(number)].failed += 1;
                    }
                    session.out.error(error);
                }
            }
            execute::finish(parts, session, start);
        }
        if let Some(session) = session {
            parts.clients.put(session);
            parts.unblock(client);
        }
    }
    parts.set(condition::MIGRATING, !parts.transfers.is_empty());
    // Who has still to wait is blocked again.
    parts.unblock_all(&Blocked::Paused, |_| {});
    if parts.transfers.forget_skipped() {
        parts.watches.waits.touch_database(None);
    }
}

/// Deletes keys that the target has.
fn delete(parts: &mut Parts, db: usize, keys: &[Vec<u8>]) {
    for name in keys {
        let key = parts.store.hasher().key(name);
        if let Some(place) = parts.store.find(db, key) {
            parts.store.delete(db, key, place);
            parts.watches.touch(db, name);
            parts.notify(NotifyEvents::GENERIC, db, "del", name);
        }
    }
}

/// What is journalled for that.
fn del(keys: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut words: Vec<&[u8]> = alloc::vec![b"DEL"];
    words.extend(keys.iter().map(Vec::as_slice));
    words
}

/// Whether a command must wait, since it may write a key that is on its way to another server. `flags` are its own,
/// as its script may have declared them.
#[cold]
pub(super) fn holds(
    parts: &Parts,
    session: &Session,
    command: &'static Command,
    flags: u32,
    request: &Request<'_>,
) -> bool {
    if command.name != "exec" {
        let word = |i: usize| request.args[i];
        let queued = session.is(alert::MULTI);
        return !queued
            && touches(
                parts,
                Some(session.db),
                command,
                flags,
                request.args.len(),
                word,
            );
    }
    let Some(multi) = &session.multi else {
        return false;
    };
    multi.queue.iter().any(|queued| {
        let command = parts.index.all()[usize::from(queued.number)];
        let word = |i: usize| queued.args[i].of(&queued.request);
        // (A SELECT may come before it.)
        touches(parts, None, command, command.flags, queued.args.len(), word)
    })
}

/// Whether a command that waits for keys, and might go on now, must wait on.
pub(super) fn holds_again(
    parts: &mut Parts,
    db: usize,
    command: &'static Command,
    args: &[&[u8]],
) -> bool {
    let word = |i: usize| args[i];
    let holds = parts.is(condition::MIGRATING)
        && touches(parts, Some(db), command, command.flags, args.len(), word);
    if holds {
        parts.transfers.note_skipped();
    }
    holds
}

fn touches<'a>(
    parts: &Parts,
    db: Option<usize>,
    command: &'static Command,
    flags: u32,
    words: usize,
    word: impl Fn(usize) -> &'a [u8],
) -> bool {
    if flags & (flag::WRITE | flag::MAY_REPLICATE) == 0 {
        return false;
    }
    let db = match command.name {
        // These may touch whatever there is.
        "eval" | "evalsha" | "fcall" | "flushall" | "flushdb" | "swapdb" => return true,
        // These name keys of two databases.
        "copy" | "move" => None,
        _ => db,
    };
    let mut found = false;
    // Words that contradict themselves name no keys: the command will say so.
    let _ = command.each_key(words, &word, |i, _| {
        found |= parts.transfers.locks(db, word(i))
    });
    found
}

/// Whether what came of transfers can be carried out: not between two steps of a script, and not while writes wait.
pub(crate) fn may_finish(parts: &Parts) -> bool {
    let waits = condition::PAUSED | condition::SCRIPT | condition::LOADING;
    parts.transfers.any_over()
        && !parts.reloading
        && (parts.conditions & waits == 0 || parts.is(condition::REPLICA))
}
