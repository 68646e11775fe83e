//! Transactions: MULTI, EXEC, DISCARD, and the optimistic locks of WATCH.

use super::context::{Parts, Server};
use super::error::CommandError;
use super::execute::{self, Request};
use super::permission;
use super::table::Outcome;
use crate::acl::Context;
use crate::client::{Session, Watched, alert};
use crate::face::Now;
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

/// `EXEC`. <https://redis.io/commands/exec/>
pub(super) fn exec(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if !s.session.is(alert::MULTI) {
        return Err(CommandError::fixed("ERR EXEC without MULTI"));
    }
    let multi = s.session.multi.take().unwrap_or_default();
    let changed = watched_changed(s.parts, s.session, s.now) && !planted::is(Bug::WatchesNothing);
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
    // The session counts as being in MULTI while the queue runs: so nothing in it blocks.
    for queued in &multi.queue {
        let args: smallvec::SmallVec<[&[u8]; 8]> =
            queued.args.iter().map(|a| a.of(&queued.request)).collect();
        let number = usize::from(queued.number);
        let command = s.parts.index.all()[number];
        let request = Request {
            args: &args,
            raw: Some(&queued.request),
            command: Some((number, command)),
            first_hash: None,
        };
        if s.session.is(alert::LIMITED) {
            let (named, multi) = ((number, command), Context::Multi);
            let verdict = permission::check(s.parts, s.session, s.now, named, &args, multi, None);
            if let Err(denied) = verdict {
                let error = permission::late_refusal(denied);
                s.parts.stats.error(&error.0);
                s.session.out.error(&error.0);
                continue;
            }
        }
        execute::call(s.parts, s.session, s.now, number, command, &request);
    }
    let before = s.parts.journal.end();
    s.parts.effects.close(&mut s.parts.journal);
    if s.parts.journal.end() > before {
        s.session.write_offset = s.parts.journal.end();
    }
    // EXEC itself has changed nothing.
    s.parts.effects.begin();
    execute::discard(s.parts, s.session);
    Ok(())
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
