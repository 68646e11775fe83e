//! Commands of persistence, and SHUTDOWN. What they ask for is carried out by the engine, outside commands.

use alloc::boxed::Box;

use super::context::{Parts, Server, ShutdownWish, Wish, condition};
use super::error::CommandError;
use super::table::Outcome;
use crate::client::{Blocked, alert};
use crate::face::LogLevel;

const SAVING: CommandError = CommandError::fixed("ERR Background save already in progress");

/// Whether a snapshot is under way, or was asked for earlier in this turn.
fn saving(parts: &Parts) -> bool {
    parts.persistence.snapshotting()
        || (parts.wishes.iter()).any(|wish| matches!(wish, Wish::Bgsave | Wish::Save))
}

/// Whether a snapshot is being made for which everybody waits, in Redis: SAVE's, or FLUSHALL's. Then the session
/// is to bring its request again when that is over.
fn waits_for_save(s: &mut Server<'_>) -> bool {
    let persistence = &s.parts.persistence;
    let waits = persistence.saving()
        && !persistence.saving_in_background()
        && !s.session.is(alert::MULTI | alert::TRUSTED);
    if waits {
        s.session.blocked = Some(Box::new(Blocked::Paused));
        s.parts.blocked.push(s.session.conn);
    }
    waits
}

/// Whether a rewrite is under way, or was asked for earlier in this turn.
fn rewriting(parts: &Parts) -> bool {
    parts.persistence.rewriting() || parts.wishes.contains(&Wish::Rewrite)
}

/// `SAVE`. The reply comes when the file is in place; others are served meanwhile.
/// <https://redis.io/commands/save/>
pub(super) fn save(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if waits_for_save(s) {
        return Ok(());
    }
    if saving(s.parts) {
        return Err(SAVING);
    }
    s.parts.wishes.push_back(Wish::Save);
    if s.session.is(alert::MULTI) || s.session.is(alert::TRUSTED) {
        s.session.out.ok();
    } else {
        s.session.blocked = Some(Box::new(Blocked::Save));
        s.parts.blocked.push(s.session.conn);
    }
    Ok(())
}

/// `BGSAVE [SCHEDULE | CANCEL]`. <https://redis.io/commands/bgsave/>; CANCEL is Valkey's:
/// <https://valkey.io/commands/bgsave/>
pub(super) fn bgsave(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let schedule = match args {
        [_] => false,
        [_, word] if word.eq_ignore_ascii_case(b"schedule") => true,
        [_, word] if word.eq_ignore_ascii_case(b"cancel") => return cancel(s),
        _ => return Err(CommandError::SYNTAX),
    };
    if waits_for_save(s) {
        return Ok(());
    }
    let parts = &mut *s.parts;
    if saving(parts) {
        return Err(SAVING);
    }
    let in_transaction = s.session.is(alert::MULTI);
    if rewriting(parts) || in_transaction {
        if !schedule && !in_transaction {
            return Err(CommandError::fixed(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
            ));
        }
        parts.persistence.schedule_save();
        s.session.out.simple("Background saving scheduled");
        return Ok(());
    }
    parts.wishes.push_back(Wish::Bgsave);
    s.session.out.simple("Background saving started");
    Ok(())
}

/// `BGSAVE CANCEL`
fn cancel(s: &mut Server<'_>) -> Outcome {
    let parts = &mut *s.parts;
    let wished = parts.wishes.contains(&Wish::Bgsave);
    parts.wishes.retain(|wish| *wish != Wish::Bgsave);
    if wished || parts.persistence.saving_in_background() {
        parts.persistence.abort_save();
        let text = "Background saving will be aborted due to user request";
        parts.log(LogLevel::Notice, text);
        s.session.out.simple("Background saving cancelled");
    } else if parts.persistence.unschedule_save() {
        let text = "Scheduled background saving will be cancelled due to user request";
        parts.log(LogLevel::Notice, text);
        s.session
            .out
            .simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::fixed(
            "ERR Background saving is currently not in progress or scheduled",
        ));
    }
    Ok(())
}

/// `BGREWRITEAOF`. <https://redis.io/commands/bgrewriteaof/>
pub(super) fn bgrewriteaof(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if waits_for_save(s) {
        return Ok(());
    }
    let parts = &mut *s.parts;
    if rewriting(parts) {
        return Err(CommandError::fixed(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    if saving(parts) || s.session.is(alert::MULTI) {
        parts.persistence.schedule_rewrite();
        s.session
            .out
            .simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    parts.wishes.push_back(Wish::Rewrite);
    s.session
        .out
        .simple("Background append only file rewriting started");
    Ok(())
}

/// `LASTSAVE`. <https://redis.io/commands/lastsave/>
pub(super) fn lastsave(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let info = s.parts.persistence.info(s.now, s.parts.changes);
    s.session.out.int(info.rdb_last_save_time as i64);
    Ok(())
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`. <https://redis.io/commands/shutdown/>
pub(super) fn shutdown(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let mut wish = ShutdownWish::default();
    let mut abort = false;
    for word in &args[1..] {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"nosave") => wish.nosave = true,
            () if is(b"save") => wish.save = true,
            () if is(b"now") => wish.now = true,
            () if is(b"force") => wish.force = true,
            () if is(b"abort") => abort = true,
            () => return Err(CommandError::SYNTAX),
        }
    }
    if (abort && args.len() > 2) || (wish.nosave && wish.save) {
        return Err(CommandError::SYNTAX);
    }
    if abort {
        if !s.parts.shutting_down {
            return Err(CommandError::fixed("ERR No shutdown in progress."));
        }
        s.parts.wishes.push_back(Wish::AbortShutdown);
        s.session.out.ok();
        return Ok(());
    }
    if s.session.is(alert::MULTI) {
        return Err(CommandError::fixed(
            "ERR Command not allowed inside a transaction",
        ));
    }
    if !wish.nosave
        && let Some(busy) = s.parts.scripts.busy()
    {
        return Err(busy);
    }
    if s.parts.is(condition::LOADING) {
        wish.nosave = true;
    }
    s.parts.wishes.push_back(Wish::Shutdown(wish));
    s.session.blocked = Some(Box::new(Blocked::Shutdown));
    s.parts.blocked.push(s.session.conn);
    Ok(())
}
