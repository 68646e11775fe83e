//! One command: found, let through the gates, carried out or queued, journalled, counted.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::blocking;
use super::context::{Parts, Server, condition};
use super::error::CommandError;
use super::gates::{self, Verdict};
use super::table::{Command, Handler, flag};
use super::transaction::{self, Transaction};
use super::{monitor, own_keys, pubsub, scripting, tracking};
use crate::client::{Blocked, Multi, Queued, ReplyMode, Session, alert};
use crate::face::{LogLevel, Now};
use crate::planted::{self, Bug};
use crate::resp::{Arg, shown};

/// A request, decoded.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its words; at least one.
    pub args: &'a [&'a [u8]],
    /// It in canonical RESP, if it came so.
    pub raw: Option<&'a [u8]>,
    /// The command, if its name is known: number and row.
    pub command: Option<(usize, &'static Command)>,
    /// The hash of the first key, if it was worked out.
    pub first_hash: Option<u64>,
}

/// Finds the command, or subcommand, that the words name.
///
/// # Errors
/// There is none, or the number of words is wrong; in Redis's words.
#[inline]
pub fn resolve(
    parts: &Parts,
    args: &[&[u8]],
    found: Option<(usize, &'static Command)>,
) -> Result<(usize, &'static Command), CommandError> {
    let (mut number, mut command) = found.ok_or_else(|| gates::unknown_command(args))?;
    if !command.subcommands.is_empty() && args.len() > 1 {
        match command.subcommand(args[1]) {
            Some(sub) => {
                // Subcommands are numbered right after their container.
                number += 1 + command
                    .subcommands
                    .iter()
                    .position(|c| core::ptr::eq(c, sub))
                    .unwrap_or(0);
                command = sub;
            }
            None => {
                return Err(CommandError::showing(&[
                    b"ERR unknown subcommand '",
                    shown(args[1]),
                    b"'. Try ",
                    &command.name.to_ascii_uppercase().into_bytes(),
                    b" HELP.",
                ]));
            }
        }
    }
    let _ = parts;
    if !command.arity_ok(args.len()) && !command.has_newer_option(args) {
        return Err(wrong_arity(command));
    }
    Ok((number, command))
}

/// The reply to too few words, or too many.
pub(super) fn wrong_arity(command: &Command) -> CommandError {
    CommandError::text(format!(
        "ERR wrong number of arguments for '{}' command",
        command.name
    ))
}

/// The command that the words name, or the container itself; not a subcommand that there is none of.
pub(super) fn find(parts: &Parts, args: &[&[u8]]) -> Option<(usize, &'static Command)> {
    let (number, command) = parts.index.find(args[0])?;
    if command.subcommands.is_empty() || args.len() < 2 {
        return Some((number, command));
    }
    let sub = command.subcommand(args[1])?;
    Some((parts.index.number(sub), sub))
}

/// Carries out a client's request, or queues it, or refuses it; or, if the server is paused, blocks the
/// session ([`Blocked::Paused`]): then the request is to be kept, and brought again.
#[inline]
pub fn process(parts: &mut Parts, session: &mut Session, now: Now, request: Request<'_>) {
    if session.alerts & (alert::ASKING | alert::REPLICA | alert::DEBUGGING) != 0 {
        process_rare(parts, session, now, request);
    } else {
        process_one(parts, session, now, request);
    }
    if parts.watches.tracking.is_on() {
        tracking::end_caching(session, request.command.map(|(_, command)| command));
        if parts.watches.tracking.any_due() {
            tracking::deliver(parts, Some(session), now);
        }
    }
}

#[cold]
fn process_rare(parts: &mut Parts, session: &mut Session, now: Now, request: Request<'_>) {
    let start = session.out.position();
    if session.is(alert::DEBUGGING) {
        session.active_ms = now.mono_ms();
        scripting::debugging::command(parts, session, now, request.args);
        return follow(parts, session, now, start);
    }
    process_one(parts, session, now, request);
    if session.is(alert::REPLICA) {
        cut_talking_replica(parts, session, now, start);
    }
    // ASKING holds for one command, or for one transaction.
    let again = request.command.is_some_and(|(_, c)| c.name == "asking");
    let kept = session.blocked.as_deref() == Some(&Blocked::Paused);
    if !session.is(alert::MULTI) && !again && !kept {
        session.set(alert::ASKING, false);
    }
}

#[inline]
fn process_one(parts: &mut Parts, session: &mut Session, now: Now, request: Request<'_>) {
    session.active_ms = now.mono_ms();
    let start = session.out.position();
    let (number, command) = match resolve(parts, request.args, request.command) {
        Ok(found) => found,
        Err(error) => {
            if request.command.is_none() && super::connection::speaks_http(request.args[0]) {
                return super::connection::close_http(parts, session, now);
            }
            let named = request.command.filter(|(_, c)| c.subcommands.is_empty());
            session.last_command = named.map(|(number, _)| number as u16);
            return reject(parts, session, start, named, error);
        }
    };
    session.last_command = Some(number as u16);
    match gates::check(parts, session, now, (number, command), &request) {
        Verdict::Pass => {}
        Verdict::Later => {
            session.blocked = Some(Box::new(Blocked::Paused));
            parts.blocked.push(session.conn);
            return;
        }
        Verdict::Redirect(error) if command.name == "exec" => {
            parts.stats.commands[number].rejected += 1;
            discard(parts, session);
            return reject(parts, session, start, None, error);
        }
        Verdict::Redirect(error) | Verdict::Refuse(error) => {
            return reject(parts, session, start, Some((number, command)), error);
        }
    }
    if session.is(alert::MULTI) && !command_in_multi(command.name) {
        let flags = scripting::effective_flags(parts, command, request.args);
        queue(session, number, flags, &request);
    } else if session.is(alert::MULTI) && begins(parts, session, now, &request, start) {
        return;
    } else {
        call(parts, session, now, number, command, &request);
    }
    follow(parts, session, now, start);
}

/// What follows a command that was carried out: its reply leaves, others learn what it did.
#[inline]
fn follow(parts: &mut Parts, session: &mut Session, now: Now, start: u64) {
    finish(parts, session, start);
    if parts.watches.tracking.any_due() {
        tracking::deliver(parts, Some(session), now);
    }
    if !parts.events.is_empty() {
        pubsub::publish_events(parts, Some(session), now);
    }
    if parts.watches.waits.any_ready() {
        blocking::serve(parts, now);
    }
}

/// Whether the command is an EXEC whose transaction begins now, to be carried out in steps: see
/// [`transaction::Transaction`]. (What comes from a file or by a link nobody times.)
#[cold]
fn begins(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    request: &Request<'_>,
    start: u64,
) -> bool {
    let exec = request.command.filter(|(_, c)| c.name == "exec");
    exec.filter(|_| !session.is(alert::TRUSTED | alert::REPLICA))
        .is_some_and(|(number, _)| {
            transaction::begin(parts, session, now, (number, request.args[0]), start)
        })
}

/// The last command of a transaction was carried out: it ends, and EXEC is counted.
#[cold]
pub fn end_exec(parts: &mut Parts, session: &mut Session, now: Now, ended: Transaction) {
    let (since, number, start) = (ended.since, ended.exec, ended.start);
    if ended.interrupted {
        session.out.go_on();
        // (Else the turn knows how long it took.)
        let micros = now.mono_us.saturating_sub(since.mono_us);
        parts.stats.commands[number].micros += micros;
    }
    let command = parts.index.all()[number];
    let word = ended.end(parts, session);
    count(parts, number);
    if !parts.monitors.is_empty() {
        monitor::show(parts, session, since, command, &[&word]);
    }
    // (What waits for keys sees the time as it is now.)
    follow(parts, session, now, start);
    super::config::end_exec(parts, session, start);
    session.set(alert::ASKING, false);
    if parts.watches.tracking.is_on() {
        tracking::end_caching(session, Some(command));
    }
}

/// Commands that act at once between MULTI and EXEC.
fn command_in_multi(name: &str) -> bool {
    matches!(
        name,
        "exec" | "discard" | "multi" | "watch" | "quit" | "reset"
    )
}

fn queue(session: &mut Session, number: usize, flags: u32, request: &Request<'_>) {
    let multi = session
        .multi
        .get_or_insert_with(|| alloc::boxed::Box::new(Multi::default()));
    let (kept, args) = keep(request.args);
    multi.word_bytes += args
        .iter()
        .map(|a| (a.end - a.start) as usize)
        .sum::<usize>();
    multi.queue_bytes += kept.len() + size_of::<Queued>() + args.len() * size_of::<Arg>();
    multi.queue.push(Queued {
        number: number as u16,
        request: kept,
        args,
    });
    multi.flags |= flags;
    multi.lacking |= !flags;
    session.out.simple("QUEUED");
}

/// A request's words in RESP, and where each is in it: to be carried out later.
pub(super) fn keep(args: &[&[u8]]) -> (Box<[u8]>, Box<[Arg]>) {
    let mut bytes = Vec::new();
    super::effects::encode(&mut bytes, args);
    // The words lie at the ends of their lines, which are as long as their lengths' digits say.
    let mut at = 0;
    let words = args.iter().map(|arg| {
        let line = memchr::memchr(b'$', &bytes[at..]).unwrap_or(0) + at;
        let start = memchr::memchr(b'\n', &bytes[line..]).unwrap_or(0) + line + 1;
        at = start + arg.len();
        Arg {
            start: start as u32,
            end: at as u32,
        }
    });
    let words = words.collect();
    (bytes.into(), words)
}

/// Refuses a command: the reply is the error, and a transaction under way will not be executed.
pub fn reject(
    parts: &mut Parts,
    session: &mut Session,
    start: u64,
    command: Option<(usize, &'static Command)>,
    error: CommandError,
) {
    if let Some(multi) = &mut session.multi {
        multi.aborted = true;
    }
    if let Some((number, command)) = command {
        parts.stats.commands[number].rejected += 1;
        // EXEC that is refused ends its transaction.
        if command.name == "exec" {
            let error = CommandError::showing(&[
                b"EXECABORT Transaction discarded because of: ",
                error.0.strip_prefix(b"ERR ").unwrap_or(&error.0),
            ]);
            discard(parts, session);
            parts.stats.error(&error.0);
            session.out.error(&error.0);
            return finish(parts, session, start);
        }
    }
    parts.stats.error(&error.0);
    session.out.error(&error.0);
    finish(parts, session, start);
}

/// Forgets a transaction and what it watched.
pub fn discard(parts: &mut Parts, session: &mut Session) {
    session.multi = None;
    session.set(alert::MULTI, false);
    unwatch(parts, session);
}

/// Ceases to watch. True if nothing that was watched has changed.
pub fn unwatch(parts: &mut Parts, session: &mut Session) -> bool {
    if session.watched.is_empty() {
        return true;
    }
    let mut unchanged = true;
    for watched in session.watched.drain(..) {
        // Each must be given up, also after one that changed.
        unchanged &= parts.watches.unwatch(&watched);
    }
    session.watched_bytes = 0;
    parts.watches.count_watcher(false);
    unchanged
}

/// Carries a command out, past the gates; journals and counts it.
#[inline]
pub fn call(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    number: usize,
    command: &'static Command,
    request: &Request<'_>,
) {
    parts.current = Some((session.id, session.conn, command.name));
    carry_out(parts, session, now, number, command, request);
    count(parts, number);
    if parts.waiting.is_some() {
        blocking::begin(parts, session, number, request.args);
    }
    if !parts.monitors.is_empty() && !session.is(alert::TRUSTED) {
        monitor::show(parts, session, now, command, request.args);
    }
}

/// Counts a command that was carried out. (Afterwards: INFO does not count itself.)
#[inline]
fn count(parts: &mut Parts, number: usize) {
    parts.stats.commands[number].calls += 1;
    parts.stats.processed += 1;
}

/// As [`call`], without counting the call, and without what follows if it has to wait.
#[inline]
pub(super) fn carry_out(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    number: usize,
    command: &'static Command,
    request: &Request<'_>,
) {
    let start = session.out.position();
    parts.effects.begin();
    let db = session.db;
    // (If one in it begins to track, what it reads itself is not remembered.)
    let tracks = parts.watches.tracking.is_on();
    let before = match tracks {
        true => parts.watches.tracking.set_current(session.id),
        false => 0,
    };
    let outcome = match command.handler {
        Handler::Data(handler) => handler(
            &mut parts.data(session, now, request.first_hash),
            request.args,
        ),
        Handler::Server(handler) => handler(
            &mut Server {
                now,
                parts,
                session,
            },
            request.args,
        ),
        Handler::Container => Err(wrong_arity(command)),
    };
    if let Err(error) = outcome {
        parts.stats.commands[number].failed += 1;
        session.out.truncate(start);
        parts.stats.error(&error.0);
        session.out.error(&error.0);
    }
    if parts.effects.dirty > 0 {
        parts.changes += parts.effects.dirty;
    }
    let write = command.flags & (flag::WRITE | flag::MAY_REPLICATE) != 0;
    parts
        .effects
        .end(&mut parts.journal, db, write, request.args, request.raw);
    // (Also if it only read: who then waits for replicas, waits for what it saw.)
    session.last_offset = parts.journal.end();
    if write {
        // (Not what names keys and writes none: a script's own commands come here themselves.)
        if parts.is(condition::REPLICA)
            && command.flags & flag::WRITE != 0
            && parts.effects.dirty > 0
        {
            own_keys::note(parts, session, command, request);
        }
    }
    if tracks {
        parts.watches.tracking.set_current(before);
        tracking::remember(parts, session, command, request.args);
    }
}

/// What follows every reply: muting, and the release gate.
#[inline]
pub(super) fn finish(parts: &mut Parts, session: &mut Session, start: u64) {
    if session.is(alert::MUTED) {
        mute(session, start);
    }
    if session.is(alert::REPLICA) {
        // The stream waits for nothing.
        return;
    }
    let gated = parts.is(condition::STRICT) && !session.is(alert::TRUSTED);
    if gated && !planted::is(Bug::AcknowledgesBeforeSync) {
        let offset = parts.journal.end();
        session.out.hold(start, offset);
        parts.clients.hold(session.conn, offset);
    }
}

#[cold]
fn mute(session: &mut Session, start: u64) {
    if session.reply_mode != ReplyMode::On {
        session.out.truncate(start.max(session.muted_from));
    }
    if matches!(session.blocked.as_deref(), Some(Blocked::Keys(_))) {
        // The command is not over.
        return;
    }
    if session.reply_mode == ReplyMode::Skip {
        session.reply_mode = ReplyMode::On;
    }
    if core::mem::take(&mut session.skip_next) && session.reply_mode == ReplyMode::On {
        session.reply_mode = ReplyMode::Skip;
        session.muted_from = session.out.position();
    }
    session.set(alert::MUTED, session.reply_mode != ReplyMode::On);
}

/// A connection that follows us as a replica carries the stream, and no replies: if a command that came by it
/// made one, it is cut.
#[cold]
pub fn cut_talking_replica(parts: &mut Parts, session: &mut Session, now: Now, start: u64) {
    let waits = session.blocked.is_some();
    if session.out.position() == start && !waits {
        return;
    }
    session.out.truncate(start);
    let command = session
        .last_command
        .and_then(|number| parts.index.all().get(usize::from(number)));
    let command = command.map_or("<unknown>", |c| c.name);
    let client = super::describe(parts, session, now);
    parts.log(
        LogLevel::Warning,
        format!("Replica generated a reply to command '{command}', disconnecting it: {client}"),
    );
    session.set(alert::CLOSING, true);
    parts.clients.doom(session.conn);
}
