//! CONFIG: the configuration read, changed and written back.

use alloc::format;
use alloc::vec::Vec;

use super::context::{Server, Wish, condition};
use super::error::CommandError;
use super::table::Outcome;
use super::{client, evict, help};
use crate::client::limits::is_local;
use crate::client::{Blocked, alert};
use crate::config::{Access, ReplicaOf};
use crate::face::{Effect, LogLevel};

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
    for &name in &changed {
        parts.outbox.push_back(Effect::Reconfigured { name });
    }
    apply(s, &changed);
    s.session.out.ok();
    Ok(())
}

/// Has changed directives take effect.
fn apply(s: &mut Server<'_>, changed: &[&'static str]) {
    if changed.is_empty() {
        return;
    }
    let parts = &mut *s.parts;
    // What the next commands of this turn heed; the rest follows once it is over.
    parts.set(condition::MAXMEMORY, parts.config.maxmemory > 0);
    parts.set(
        condition::MIN_REPLICAS,
        parts.config.min_replicas_to_write > 0,
    );
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
    if changed.contains(&"requirepass") && parts.config.requirepass.is_empty() {
        for conn in parts.clients.conns() {
            if let Some(session) = parts.clients.get_mut(conn) {
                session.set(alert::UNAUTHENTICATED, false);
            }
        }
    }
}

/// `CONFIG RESETSTAT`. <https://redis.io/commands/config-resetstat/>
pub(super) fn resetstat(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.parts.stats.reset();
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
