//! `maxmemory-clients`: when clients hold more memory than that, those who hold most are closed.
//! Source: <https://redis.io/docs/latest/develop/reference/clients/#client-eviction>

use super::context::Parts;
use crate::client::{Session, alert};
use crate::config::Config;
use crate::face::{LogLevel, Now};

/// The limit is never lower than this.
const LEAST: u64 = 128 * 1024;

/// How many bytes all clients may hold; `None`: any number.
fn limit(config: &Config) -> Option<u64> {
    let bytes = match config.maxmemory_clients {
        0 => return None,
        bytes if bytes > 0 => bytes as u64,
        _ if config.maxmemory == 0 => return None,
        percents => {
            (u128::from(config.maxmemory) * u128::from(percents.unsigned_abs()) / 100) as u64
        }
    };
    Some(bytes.max(LEAST))
}

/// Closes clients until the others fit into `maxmemory-clients`. `current` is the session whose command is about to
/// begin, and which is not among the clients meanwhile.
#[inline]
pub(crate) fn enforce(parts: &mut Parts, current: Option<&mut Session>, now: Now) {
    if (parts.config.maxmemory_clients != 0)
        | (parts.config.maxmemory != 0)
        | parts.clients.weighs()
    {
        enforce_limit(parts, current, now);
    }
}

#[cold]
fn enforce_limit(parts: &mut Parts, mut current: Option<&mut Session>, now: Now) {
    let limit = limit(&parts.config);
    // (Clients' memory counts against `maxmemory` too.)
    let counts = parts.config.maxmemory != 0;
    parts.clients.set_weighing(limit.is_some() || counts);
    let Some(limit) = limit else {
        return;
    };
    if let Some(session) = current.as_deref_mut() {
        parts.clients.weigh_session(session);
    }
    while parts.clients.weight() > limit {
        let Some(id) = parts.clients.heaviest() else {
            return;
        };
        let own = current.as_deref_mut().filter(|session| session.id == id);
        let client = match (&own, parts.clients.by_id(id)) {
            (Some(session), _) => super::describe(parts, session, now),
            (None, Some(conn)) => match parts.clients.get(conn) {
                Some(session) => super::describe(parts, session, now),
                None => return,
            },
            (None, None) => return,
        };
        parts.log(
            LogLevel::Notice,
            alloc::format!("Evicting client: {client}"),
        );
        parts.stats.evicted_clients += 1;
        match own {
            Some(session) => {
                parts.clients.unweigh(session);
                session.set(alert::CLOSING, true);
                parts.clients.doom(session.conn);
            }
            None => {
                if let Some(conn) = parts.clients.by_id(id) {
                    parts.clients.unweigh_at(conn);
                    parts.clients.doom(conn);
                }
            }
        }
    }
}
