//! Blocking commands: what one does that finds nothing, and how it goes on.
//!
//! Its handler calls [`Data::block`] instead of replying. The executor keeps the request, and carries it out
//! again when one of its keys has changed, after the command, transaction or script that changed it: the same
//! handler then finds something, replies, and journals what it took. So there is one implementation of each
//! command, and nothing of the waiting in it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::{Data, Parts};
use super::error::CommandError;
use super::execute::{self, Request};
use super::redirect::redirect;
use super::table::flag;
use super::{migrate, pubsub, tracking};
use crate::client::{Blocked, Null, Session, WaitKind, Waiting, alert};
use crate::face::{ConnId, Now};
use crate::store::{Object, ValueRef};
use crate::value::longdouble::LongDouble;

/// What a command wants to wait for.
pub struct Wait<'a> {
    /// Its keys.
    pub keys: &'a [&'a [u8]],
    /// What it waits for at them.
    pub kind: WaitKind,
    /// Monotonic time in microseconds at which it gives up: see [`timeout_seconds`].
    pub until_us: Option<u64>,
    /// What the client is told then.
    pub null: Null,
    /// What is to be carried out again, if not the words of the command themselves.
    pub instead: Option<Vec<Vec<u8>>>,
}

impl Data<'_> {
    /// Has the command wait, if it may: then nothing is to be replied now. If it may not, it gives up at once.
    pub fn block(&mut self, wait: Wait<'_>) {
        if !self.may_block {
            return write_null(self.out, wait.null);
        }
        let (request, args) = wait.instead.map_or_else(Default::default, |words| {
            execute::keep(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
        });
        *self.waiting = Some(Waiting {
            db: self.db,
            keys: wait.keys.iter().map(|&key| key.into()).collect(),
            kind: wait.kind,
            until_us: wait.until_us,
            null: wait.null,
            number: 0,
            request,
            args,
        });
    }
}

fn write_null(out: &mut crate::resp::Output, null: Null) {
    match null {
        Null::Bulk => out.null(),
        Null::Array => out.null_array(),
    }
}

/// A time-out in seconds, with fractions: when it is over; never, if it is 0.
///
/// # Errors
/// It is no number, negative, or too far off.
pub fn timeout_seconds(arg: &[u8], now: Now) -> Result<Option<u64>, CommandError> {
    let seconds = crate::value::number::parse_f64(arg)
        .or_else(|| beyond_f64(arg))
        .ok_or(CommandError::fixed(
            "ERR timeout is not a float or out of range",
        ))?;
    let ms = libm::ceil(seconds * 1000.0);
    // What is beyond 64 bits becomes a negative number in Redis 7.0.
    if ms < 0.0 || ms >= i64::MAX as f64 {
        return Err(CommandError::fixed("ERR timeout is negative"));
    }
    until(ms as u64, now)
}

/// Redis reads time-outs as `long double`: what only such a one can hold is far too long, or next to nothing.
fn beyond_f64(arg: &[u8]) -> Option<f64> {
    let LongDouble::Finite {
        negative, exponent, ..
    } = LongDouble::parse(arg)?
    else {
        return None;
    };
    let size = if exponent > 0 {
        f64::INFINITY
    } else {
        f64::MIN_POSITIVE
    };
    Some(if negative { -size } else { size })
}

/// A time-out in whole milliseconds: when it is over; never, if it is 0.
///
/// # Errors
/// It is no number, negative, or too far off.
pub fn timeout_milliseconds(arg: &[u8], now: Now) -> Result<Option<u64>, CommandError> {
    until(super::timeout_ms(arg)?, now)
}

fn until(ms: u64, now: Now) -> Result<Option<u64>, CommandError> {
    if ms > i64::MAX as u64 - now.unix_ms() {
        return Err(CommandError::fixed("ERR timeout is out of range"));
    }
    Ok((ms > 0).then(|| now.mono_us.saturating_add(ms.saturating_mul(1000))))
}

/// The command that just ran has to wait.
#[cold]
pub(super) fn begin(parts: &mut Parts, session: &mut Session, number: usize, args: &[&[u8]]) {
    let Some(mut waiting) = parts.waiting.take() else {
        return;
    };
    waiting.number = number as u16;
    if waiting.args.is_empty() {
        (waiting.request, waiting.args) = execute::keep(args);
    }
    parts.watches.waits.add(session.conn, &waiting);
    session.blocked = Some(Box::new(Blocked::Keys(waiting)));
}

/// Carries out what waits for keys that have changed.
pub(crate) fn serve(parts: &mut Parts, now: Now) {
    if parts.stall_us > 0 || parts.is_midway() {
        // DEBUG SLEEP in the transaction that changed the keys: it is over when the sleep is. Or a script that goes on.
        return;
    }
    while let Some(key) = parts.watches.waits.next_ready() {
        // Who begins to wait from here on has seen the key as it is.
        let mut tickets = 0..parts.watches.waits.next_ticket();
        parts.ready = Some(key.1.as_slice().into());
        for kinds in [
            &[WaitKind::List][..],
            &[WaitKind::ZSet],
            &[WaitKind::Stream, WaitKind::Group],
        ] {
            tickets.start = 0;
            while let Some((ticket, conn)) = (kinds.iter())
                .filter(|kind| can_serve(parts, &key, **kind))
                .filter_map(|&kind| (parts.watches.waits).next_in_line(&key, kind, tickets.clone()))
                .min()
            {
                tickets.start = ticket + 1;
                try_again(parts, now, conn);
            }
        }
        parts.ready = None;
    }
}

/// Whether somebody who waits for this at a key may get something.
fn can_serve(parts: &Parts, (db, key): &(usize, Vec<u8>), kind: WaitKind) -> bool {
    let place = parts.store.find(*db, parts.store.hasher().key(key));
    let value = place.map(|place| parts.store.entry(*db, place).value());
    match (kind, value) {
        // That the stream went is an answer too.
        (WaitKind::Group, _) => true,
        (_, Some(ValueRef::Object(object))) => waited_for(object) == Some(kind),
        _ => false,
    }
}

/// What waits for a value of this type.
fn waited_for(object: &Object) -> Option<WaitKind> {
    match object {
        Object::ZSet(_) => Some(WaitKind::ZSet),
        Object::Str(_) | Object::Hash(_) | Object::Set(_) => None,
        Object::Stream(_) => Some(WaitKind::Stream),
        Object::List(_) => Some(WaitKind::List),
    }
}

/// Carries a command that waits out again.
fn try_again(parts: &mut Parts, now: Now, conn: ConnId) {
    let Some(mut session) = parts.clients.take(conn) else {
        return;
    };
    // Who is about to be closed would take what it is given along.
    if session.is(alert::CLOSING) {
        return parts.clients.put(session);
    }
    let Some(Blocked::Keys(waiting)) = session.blocked.as_deref().cloned() else {
        return parts.clients.put(session);
    };
    let args: smallvec::SmallVec<[&[u8]; 8]> =
        (waiting.args.iter().map(|a| a.of(&waiting.request))).collect();
    let number = usize::from(waiting.number);
    let command = parts.index.all()[number];
    if migrate::holds_again(parts, waiting.db, command, &args) {
        return parts.clients.put(session);
    }
    let request = Request {
        args: &args,
        raw: Some(&waiting.request),
        command: Some((number, command)),
        first_hash: None,
    };
    let start = session.out.position();
    execute::carry_out(parts, &mut session, now, number, command, &request);
    let waits_on = parts.waiting.take().is_some();
    if !waits_on {
        execute::finish(parts, &mut session, start);
        // (Its waiting does not count as its time, of which nothing is known but that it was short.)
        if parts.config.slowlog_log_slower_than == 0 && command.flags & flag::SKIP_SLOWLOG == 0 {
            let most = usize::try_from(parts.config.slowlog_max_len).unwrap_or(usize::MAX);
            let (words, peer) = (
                super::redacted(command, &args),
                super::address(&session.peer),
            );
            (parts.slow_log).add(now, 0, &words, &peer, &session.name, most);
        }
    }
    if parts.watches.tracking.any_due() {
        tracking::deliver(parts, Some(&mut session), now);
    }
    parts.clients.put(session);
    if !waits_on {
        parts.unblock(conn);
    }
    pubsub::publish_events(parts, None, now);
}

/// Ends a session's waiting with an answer.
fn answer(parts: &mut Parts, conn: ConnId, write: impl FnOnce(&mut Session, &Waiting)) {
    let Some(mut session) = parts.clients.take(conn) else {
        return;
    };
    if let Some(Blocked::Keys(waiting)) = session.blocked.as_deref().cloned() {
        let start = session.out.position();
        write(&mut session, &waiting);
        execute::finish(parts, &mut session, start);
        parts.clients.put(session);
        parts.unblock(conn);
    } else {
        parts.clients.put(session);
    }
}

/// Ends a session's waiting as if its time were up.
pub(super) fn give_up(parts: &mut Parts, conn: ConnId) {
    answer(parts, conn, |session, waiting| {
        write_null(&mut session.out, waiting.null);
    });
}

/// Ends a session's waiting with an error.
pub(super) fn refuse(parts: &mut Parts, conn: ConnId, error: impl AsRef<[u8]>) {
    let error = error.as_ref();
    parts.stats.error(error);
    let session = parts.clients.get(conn);
    if let Some(Blocked::Keys(waiting)) = session.and_then(|session| session.blocked.as_deref()) {
        parts.stats.commands[usize::from(waiting.number)].failed += 1;
    }
    answer(parts, conn, |session, _| session.out.error(error));
}

/// Ends the waiting of all whose time is up.
pub(crate) fn give_up_overdue(parts: &mut Parts, now: Now) {
    while let Some(conn) = parts.watches.waits.overdue(now.mono_us) {
        give_up(parts, conn);
    }
}

/// Ends everybody's waiting: this server is a replica now, and what they wait for is its primary's affair.
pub(crate) fn refuse_all(parts: &mut Parts) {
    for conn in parts.watches.waits.conns() {
        refuse(
            parts,
            conn,
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        );
        if let Some(session) = parts.clients.get_mut(conn) {
            session.set(alert::CLOSING, true);
        }
    }
}

/// Sends those away whose keys have gone to another node of the cluster.
pub(crate) fn redirect_moved(parts: &mut Parts, now: Now) {
    if parts.cluster.is_none() {
        return;
    }
    for conn in parts.watches.waits.conns() {
        let Some(session) = parts.clients.take(conn) else {
            continue;
        };
        let error = match session.blocked.as_deref() {
            Some(Blocked::Keys(waiting)) => {
                let args: Vec<&[u8]> = (waiting.args.iter())
                    .map(|a| a.of(&waiting.request))
                    .collect();
                let number = usize::from(waiting.number);
                let command = parts.index.all()[number];
                let request = Request {
                    args: &args,
                    raw: None,
                    command: Some((number, command)),
                    first_hash: None,
                };
                redirect(parts, &session, now, command, &request)
            }
            _ => None,
        };
        parts.clients.put(session);
        if let Some(error) = error {
            refuse(parts, conn, &error.0);
        }
    }
}

/// A session that waits is gone.
pub(crate) fn forget(parts: &mut Parts, session: &mut Session) {
    if let Some(Blocked::Keys(waiting)) = session.blocked.take().as_deref() {
        parts.watches.waits.remove(session.conn, waiting);
    }
}
