//! CONFIG: the configuration read, changed and written back.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use super::context::{Parts, Server, Told, Wish, condition};
use super::error::CommandError;
use super::table::Outcome;
use super::{client, evict, help, permission};
use crate::client::limits::is_local;
use crate::client::{Blocked, Session, alert};
use crate::config::{Access, Config, ConfigError, Directive, ReplicaOf};
use crate::face::{ConnId, Effect, LogLevel, Refusal};

/// `CONFIG GET pattern [pattern …]`. <https://redis.io/commands/config-get/>
pub(super) fn get(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let parts = &mut *s.parts;
    // Whom we follow changes without CONFIG SET.
    let primary = parts.replication.primary();
    parts.config.replicaof = ReplicaOf(primary.map(|(host, port)| (host.into(), port)));
    let found = parts.config.get(&args[2..]);
    let out = &mut s.session.out;
    out.map(found.len());
    for (name, value) in &found {
        out.bulk(name);
        out.bulk(value);
    }
    Ok(())
}

/// `CONFIG SET name value [name value …]`: all or nothing. <https://redis.io/commands/config-set/>
pub(super) fn set(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let mut pairs = Vec::new();
    for pair in args[2..].chunks(2) {
        let &[name, value] = pair else {
            return Err(CommandError::SYNTAX);
        };
        pairs.push((name, value));
    }
    let parts = &mut *s.parts;
    let outside =
        (pairs.iter()).any(|(name, _)| Directive::find(name).is_some_and(|d| d.is_outside()));
    let before = outside.then(|| Box::new(parts.config.clone()));
    let access = Access {
        protected: parts
            .config
            .protected_configs_allowed(is_local(&s.session.peer)),
        loading: parts.is(condition::LOADING),
    };
    let changed = parts
        .config
        .set_many(&pairs, access)
        .map_err(|error| CommandError::text(error.reply()))?;
    let waits = before.is_some() && !changed.is_empty();
    take_over(parts, Some(&mut *s.session), changed, before);
    if !waits || s.session.is(alert::TRUSTED) {
        s.session.out.ok();
    } else if s.session.is(alert::MULTI) {
        // Nothing waits within a transaction: its reply does.
        let at = s.session.out.position();
        s.session.out.ok();
        if let Some(told) = parts.told.back_mut() {
            told.answered = Some(at..s.session.out.position());
        }
    } else {
        client::block(s, Blocked::ConfigSet);
    }
    Ok(())
}

/// A transaction is over: its reply waits if the runtime has yet to say whether a CONFIG SET in it can be.
pub(super) fn end_exec(parts: &mut Parts, session: &mut Session, start: u64) {
    if awaits(parts, session.conn) {
        session.out.suspend(start);
        session.blocked = Some(Box::new(Blocked::ConfigSet));
        parts.blocked.push(session.conn);
    }
}

/// Whether a transaction's reply waits for the runtime.
fn awaits(parts: &Parts, conn: ConnId) -> bool {
    let mut told = parts.told.iter();
    told.any(|told| told.conn == Some(conn) && told.answered.is_some())
}

/// The runtime has answered for a CONFIG SET of a transaction: if it was refused, the error takes the place of the
/// answer.
fn amend(parts: &mut Parts, conn: ConnId, at: Range<u64>, error: Option<&[u8]>) {
    if let Some(error) = error {
        parts.stats.error(error);
    }
    let last = !awaits(parts, conn);
    let Some(session) = parts.clients.get_mut(conn) else {
        return parts.blocked.retain(|waiting| *waiting != conn);
    };
    if let Some(error) = error {
        let rest = session.out.take_back(at.start);
        session.out.error(error);
        let len = session.out.position() - at.start;
        session
            .out
            .raw(rest.get((at.end - at.start) as usize..).unwrap_or_default());
        let later = parts.told.iter_mut().filter(|told| told.conn == Some(conn));
        for place in later.filter_map(|told| told.answered.as_mut()) {
            let start = place.start + len - (at.end - at.start);
            *place = start..start + (place.end - place.start);
        }
    }
    // (A transaction that a script interrupts is not over.)
    if last && session.blocked.as_deref() == Some(&Blocked::ConfigSet) {
        session.out.go_on();
        parts.unblock(conn);
    }
}

/// The runtime's answer to the oldest change that it was told of.
pub(crate) fn reconfigured(parts: &mut Parts, refused: Option<Refusal>) {
    let Some(told) = parts.told.pop_front() else {
        return;
    };
    let amended = told.conn.zip(told.answered);
    let waiting = told.conn.filter(|_| amended.is_none()).filter(|&conn| {
        let session = parts.clients.get(conn);
        session.is_some_and(|s| s.blocked.as_deref() == Some(&Blocked::ConfigSet))
    });
    let Some(Refusal { name, reason }) = refused else {
        if let Some((conn, at)) = amended {
            amend(parts, conn, at, None);
        }
        if let Some(session) = waiting.and_then(|conn| parts.clients.get_mut(conn)) {
            session.out.ok();
            let conn = session.conn;
            parts.unblock(conn);
        }
        return;
    };
    let Some(before) = told.before else {
        let text = format!("Failed applying restored failed CONFIG SET command: {reason}");
        return parts.log(LogLevel::Warning, text);
    };
    // (Redis finds out about a directory while it reads the values, before it applies any.)
    if name != "dir" {
        parts.log(
            LogLevel::Warning,
            format!(
                "Failed applying new configuration. Possibly related to new {name} setting. Restoring previous settings."
            ),
        );
    }
    // What was set again meanwhile has a word of its own to come; refused too, it goes back as far as this.
    let mut names = told.names;
    for later in parts.told.iter_mut() {
        if let Some(later) = &mut later.before {
            later.restore(&before, &names);
        }
    }
    names.retain(|name| !parts.told.iter().any(|later| later.names.contains(name)));
    parts.config.restore(&before, &names);
    take_over(parts, None, names, None);
    let error = ConfigError::Refused {
        name: name.into(),
        reason: reason.into(),
    };
    if let Some((conn, at)) = amended {
        amend(parts, conn, at, Some(error.reply().as_ref()));
    } else if let Some(conn) = waiting {
        parts.fail(conn, error.reply());
    }
}

/// Has changed directives take effect, here and in the runtime.
fn take_over(
    parts: &mut Parts,
    current: Option<&mut Session>,
    changed: Vec<&'static str>,
    before: Option<Box<Config>>,
) {
    if changed.is_empty() {
        return;
    }
    let conn = current.as_ref().map(|session| session.conn);
    let names = changed.clone();
    parts.outbox.push_back(Effect::Reconfigured { names });
    // What the next commands of this turn heed; the rest follows once it is over.
    parts.set(condition::MAXMEMORY, parts.config.maxmemory > 0);
    parts.set(
        condition::MIN_REPLICAS,
        parts.config.min_replicas_to_write > 0,
    );
    parts.set(condition::IMPORT, parts.config.import_mode);
    parts.wishes.push_back(Wish::Reconfigure);
    if changed.contains(&"maxmemory") {
        let (limit, used) = (parts.config.maxmemory, evict::used(parts));
        if limit > 0 && limit < used {
            parts.log(
                LogLevel::Warning,
                format!(
                    "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory \
                     usage ({used}). This will result in key eviction and/or the inability to accept new write \
                     commands depending on the maxmemory-policy."
                ),
            );
        }
    }
    if changed.contains(&"requirepass") {
        parts.acl.set_default_password(&parts.config.requirepass);
        permission::settle_all(parts, current);
    }
    parts.told.push_back(Told {
        conn,
        names: changed,
        before,
        answered: None,
    });
}

/// `CONFIG RESETSTAT`. <https://redis.io/commands/config-resetstat/>
pub(super) fn resetstat(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.parts.stats.reset();
    s.parts.store.reset_freed();
    s.parts.replication.reset_stats();
    s.session.out.ok();
    Ok(())
}

/// `CONFIG REWRITE`. The reply comes when the file is in place. <https://redis.io/commands/config-rewrite/>
pub(super) fn rewrite(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    begin_rewrite(s, false)
}

/// CONFIG REWRITE, or with `all` DEBUG CONFIG-REWRITE-FORCE-ALL.
pub(super) fn begin_rewrite(s: &mut Server<'_>, all: bool) -> Outcome {
    if s.parts.config.config_file.is_empty() {
        return Err(CommandError::fixed(
            "ERR The server is running without a config file",
        ));
    }
    let conn = s.session.conn;
    s.parts.wishes.push_back(Wish::RewriteConfig { conn, all });
    if s.session.is(alert::MULTI) || s.session.is(alert::TRUSTED) {
        // Nothing waits in a transaction: the log tells how it went.
        s.session.out.ok();
    } else {
        client::block(s, Blocked::ConfigRewrite);
    }
    Ok(())
}

/// `CONFIG HELP`. <https://redis.io/commands/config-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "CONFIG", help::CONFIG);
    Ok(())
}
