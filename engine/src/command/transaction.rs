//! Transactions: MULTI, EXEC, DISCARD, and the optimistic locks of WATCH.

use alloc::boxed::Box;

use super::context::{Parts, Server};
use super::error::CommandError;
use super::execute::{self, Request};
use super::migrate;
use super::permission;
use super::table::Outcome;
use crate::acl::Context;
use crate::client::{Multi, Queued, Session, Watched, alert};
use crate::face::{ConnId, Now};
use crate::planted::{self, Bug};

/// `MULTI`. <https://redis.io/commands/multi/>
pub(super) fn multi(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if s.session.is(alert::MULTI) {
        return Err(CommandError::fixed("ERR MULTI calls can not be nested"));
    }
    s.session.multi = Some(Default::default());
    s.session.set(alert::MULTI, true);
    s.session.out.ok();
    Ok(())
}

/// `DISCARD`. <https://redis.io/commands/discard/>
pub(super) fn discard(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if !s.session.is(alert::MULTI) {
        return Err(CommandError::fixed("ERR DISCARD without MULTI"));
    }
    execute::discard(s.parts, s.session);
    s.session.out.ok();
    Ok(())
}

/// A transaction under way: its commands are carried out one a step, so that each one's time is known.
#[derive(Debug)]
pub struct Transaction {
    /// Whose it is.
    pub conn: ConnId,
    /// When EXEC came; its commands see that time.
    pub since: Now,
    /// EXEC's number in the table's index.
    pub exec: usize,
    /// Position in the output at which its reply begins.
    pub start: u64,
    /// A script in it was left for a while, or it had to wait.
    pub interrupted: bool,
    /// Its session, if the connection has gone meanwhile: what was begun is ended.
    pub gone: Option<Box<Session>>,
    word: Box<[u8]>,
    multi: Box<Multi>,
    next: usize,
}

impl Transaction {
    /// The command that was carried out last.
    pub fn last(&self) -> Option<&Queued> {
        self.multi.queue.get(self.next.checked_sub(1)?)
    }

    /// Carries the next command out, unless it has to wait first (see [`migrate::begin_nested`]); false if there is none
    /// left.
    pub fn step(&mut self, parts: &mut Parts, session: &mut Session, now: Now) -> bool {
        let Some(queued) = self.multi.queue.get(self.next) else {
            return false;
        };
        parts.scripts.step_us = Some(now.mono_us);
        if carry_out(parts, session, self.since, queued) {
            self.next += 1;
        }
        parts.scripts.step_us = None;
        true
    }

    /// What follows the last command (EXEC itself is counted by [`execute::end_exec`]); EXEC as it was written, if
    /// somebody looks on (MONITOR).
    pub fn end(self, parts: &mut Parts, session: &mut Session) -> Box<[u8]> {
        commit(parts, session);
        self.word
    }
}

/// Begins to carry a transaction out in steps, if it is to be: EXEC that is refused, or answered with null, is not.
pub(super) fn begin(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    (exec, word): (usize, &[u8]),
    start: u64,
) -> bool {
    let aborted = (session.multi.as_ref()).is_none_or(|multi| multi.aborted);
    if aborted || conflicts(parts, session, now) {
        return false;
    }
    let multi = session.multi.take().unwrap_or_default();
    execute::unwatch(parts, session);
    session.out.array(multi.queue.len());
    parts.effects.open();
    parts.transaction = Some(Box::new(Transaction {
        conn: session.conn,
        since: now,
        exec,
        start,
        interrupted: false,
        gone: None,
        word: match parts.monitors.is_empty() {
            true => Box::default(),
            false => word.into(),
        },
        multi,
        next: 0,
    }));
    true
}

/// Whether what the session watches speaks against its transaction.
fn conflicts(parts: &Parts, session: &Session, now: Now) -> bool {
    watched_changed(parts, session, now) && !planted::is(Bug::WatchesNothing)
}

/// `EXEC`, of those whose commands need not be timed. <https://redis.io/commands/exec/>
pub(super) fn exec(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if !s.session.is(alert::MULTI) {
        return Err(CommandError::fixed("ERR EXEC without MULTI"));
    }
    let multi = s.session.multi.take().unwrap_or_default();
    let changed = conflicts(s.parts, s.session, s.now);
    // Watching ends here: what the transaction itself changes is nobody's concern.
    execute::unwatch(s.parts, s.session);
    if multi.aborted || changed {
        execute::discard(s.parts, s.session);
        if multi.aborted {
            return Err(CommandError::fixed(
                "EXECABORT Transaction discarded because of previous errors.",
            ));
        }
        s.session.out.null_array();
        return Ok(());
    }
    s.session.out.array(multi.queue.len());
    s.parts.effects.open();
    for queued in &multi.queue {
        carry_out(s.parts, s.session, s.now, queued);
    }
    commit(s.parts, s.session);
    Ok(())
}

/// Carries a queued command out. The session counts as being in MULTI meanwhile: so nothing in it blocks. False if it has
/// to wait first, which it may in a transaction that is carried out in steps.
fn carry_out(parts: &mut Parts, session: &mut Session, now: Now, queued: &Queued) -> bool {
    let args: smallvec::SmallVec<[&[u8]; 8]> =
        queued.args.iter().map(|a| a.of(&queued.request)).collect();
    let number = usize::from(queued.number);
    let command = parts.index.all()[number];
    let request = Request {
        args: &args,
        raw: Some(&queued.request),
        command: Some((number, command)),
        first_hash: None,
    };
    if session.is(alert::LIMITED) && !planted::is(Bug::ChecksQueuedOnly) {
        let (named, multi) = ((number, command), Context::Multi);
        let verdict = permission::check(parts, session, now, named, &args, multi, None);
        if let Err(denied) = verdict {
            let error = permission::late_refusal(denied);
            parts.stats.error(&error.0);
            session.out.error(&error.0);
            return true;
        }
    }
    let in_steps = parts.scripts.step_us.is_some();
    if in_steps && migrate::begin_nested(parts, session, now, command, &args) {
        return false;
    }
    execute::call(parts, session, now, number, command, &request);
    true
}

/// Journals what a transaction did, and ends it.
fn commit(parts: &mut Parts, session: &mut Session) {
    parts.effects.close(&mut parts.journal);
    session.last_offset = parts.journal.end();
    // EXEC itself has changed nothing.
    parts.effects.begin();
    execute::discard(parts, session);
}

/// `WATCH key [key …]`. <https://redis.io/commands/watch/>
pub(super) fn watch(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if s.session.is(alert::MULTI) {
        return Err(CommandError::fixed("ERR WATCH inside MULTI is not allowed"));
    }
    let db = s.session.db;
    for &key in &args[1..] {
        if (s.session.watched.iter()).any(|w| w.db == db && w.key == key) {
            continue;
        }
        if s.session.watched.is_empty() {
            s.parts.watches.count_watcher(true);
        }
        let found = look(s.parts, db, key, s.now);
        s.session.watched_bytes += key.len() + size_of::<Watched>();
        s.session.watched.push(Watched {
            db,
            key: key.to_vec(),
            version: s.parts.watches.watch(db, key),
            was_expired: found == Found::Overdue,
            was_absent: found == Found::Absent,
        });
    }
    s.session.out.ok();
    Ok(())
}

/// `UNWATCH`. <https://redis.io/commands/unwatch/>
pub(super) fn unwatch(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    execute::unwatch(s.parts, s.session);
    s.session.out.ok();
    Ok(())
}

/// Whether a key that the session watches has changed, or is due by now.
fn watched_changed(parts: &Parts, session: &Session, now: Now) -> bool {
    session.watched.iter().any(|watched| {
        let version = parts.watches.version(watched.db, &watched.key);
        let changes = version.saturating_sub(watched.version);
        let found = look(parts, watched.db, &watched.key, now);
        if watched.was_expired {
            // That it was removed, being due already, is no change.
            changes > 1 || (changes == 1 && found != Found::Absent)
        } else {
            // (What came, overdue, in the place of nothing, by SWAPDB, is no change.)
            changes > 0 || (found == Found::Overdue && !watched.was_absent)
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Absent,
    Overdue,
    Present,
}

/// A key as it is, without expiring it.
fn look(parts: &Parts, db: usize, key: &[u8], now: Now) -> Found {
    match parts.store.find(db, parts.store.hasher().key(key)) {
        None => Found::Absent,
        Some(place) => match parts.store.entry(db, place).deadline() {
            Some(deadline) if deadline < now.unix_ms() => Found::Overdue,
            _ => Found::Present,
        },
    }
}
