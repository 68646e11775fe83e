//! The gates that a command passes before it is carried out, in Redis's order, in one list.
//!
//! The common case has no condition set in session or server, and costs one test.

use alloc::vec::Vec;

use super::context::{Parts, condition};
use super::error::CommandError;
use super::evict;
use super::execute::Request;
use super::migrate;
use super::permission;
use super::redirect::redirect;
use super::scripting;
use super::table::{Command, flag};
use super::tracking;
use crate::acl::Context;
use crate::client::{Session, alert};
use crate::face::Now;
use crate::resp::shown;

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The command may pass.
    Pass,
    /// It is kept until a pause is over, or a MIGRATE of its keys.
    Later,
    /// It is for another node of the cluster, or for none; a transaction ends with it.
    Redirect(CommandError),
    /// It is refused.
    Refuse(CommandError),
}

use Verdict::{Later, Pass, Refuse};

fn refuse(text: &'static str) -> Verdict {
    Refuse(CommandError::fixed(text))
}

/// Whether the command may be carried out (or queued, in MULTI).
#[inline]
pub fn check(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    (number, command): (usize, &'static Command),
    request: &Request<'_>,
) -> Verdict {
    if session.alerts == 0 && parts.conditions == 0 {
        return Pass;
    }
    check_all(parts, session, now, (number, command), request)
}

#[cold]
fn check_all(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    (number, command): (usize, &'static Command),
    request: &Request<'_>,
) -> Verdict {
    let own = scripting::effective_flags(parts, command, request.args);
    let is = |flags: u32| own & flags != 0;
    if session.is(alert::SUBSCRIBED) && !session.out.resp3 && !in_subscribed_mode(command.name) {
        return Refuse(CommandError::showing(&[
            b"ERR Can't execute '",
            command.name.as_bytes(),
            b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        ]));
    }
    let trusted = session.is(alert::TRUSTED);
    if session.is(alert::UNAUTHENTICATED) && !is(flag::NO_AUTH) {
        return refuse("NOAUTH Authentication required.");
    }
    if session.is(alert::MULTI) && is(flag::NO_MULTI) {
        return refuse("ERR Command not allowed inside a transaction");
    }
    if session.is(alert::LIMITED) {
        let context = if session.is(alert::MULTI) {
            Context::Multi
        } else {
            Context::TopLevel
        };
        let named = (number, command);
        let verdict = permission::check(parts, session, now, named, request.args, context, None);
        if let Err(denied) = verdict {
            return Refuse(permission::refusal(denied, command));
        }
    }
    if parts.is(condition::CLUSTER)
        && !trusted
        && let Some(error) = redirect(parts, session, now, command, request)
    {
        return Verdict::Redirect(error);
    }
    if parts.is(condition::MAXMEMORY) && !trusted {
        let fits = evict::make_room(parts, now);
        if parts.watches.tracking.any_due() {
            tracking::deliver(parts, Some(session), now);
        }
        if !fits
            && (is(flag::DENYOOM)
                || (command.name == "exec" && queued(session) & flag::DENYOOM != 0))
        {
            return refuse("OOM command not allowed when used memory > 'maxmemory'.");
        }
    }
    if parts.is(condition::TRACKING_FULL) && !trusted {
        tracking::limit(parts, Some(session), now);
    }
    let exec = command.name == "exec";
    let any = |flags: u32| is(flags) || (exec && queued(session) & flags != 0);
    let lacks = |flags: u32| {
        !is(flags) || (exec && (session.multi.as_ref()).is_some_and(|m| m.lacking & flags != 0))
    };
    let writes = any(flag::WRITE);
    if !trusted {
        if parts.is(condition::DISK_ERROR)
            && (writes || command.name == "ping")
            && let Some(gate) = parts.persistence.write_gate()
        {
            return Refuse(CommandError::text(gate.message()));
        }
        if writes && parts.is(condition::MIN_REPLICAS) && !parts.replication.writes_allowed(now) {
            return refuse("NOREPLICAS Not enough good replicas to write.");
        }
        if session.goes_elsewhere
            && parts.is(condition::REPLICA)
            && !parts.is(condition::CLUSTER)
            && (writes || (any(flag::READONLY) && !session.is(alert::READONLY)))
            && let Some((host, port)) = parts.replication.primary()
        {
            return Refuse(CommandError::text(alloc::format!("REDIRECT {host}:{port}")));
        }
        if writes && parts.is(condition::REPLICA) && parts.config.replica_read_only {
            return refuse("READONLY You can't write against a read only replica.");
        }
        if parts.is(condition::STALE)
            && !parts.config.replica_serve_stale_data
            && lacks(flag::STALE)
        {
            return refuse(
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            );
        }
        if parts.is(condition::LOADING) && lacks(flag::LOADING) {
            return refuse("LOADING Redis is loading the dataset in memory");
        }
    }
    // Replicas are exempt from pauses, and must not profit from it.
    if session.is(alert::REPLICA) && any(flag::WRITE | flag::MAY_REPLICATE | flag::READONLY) {
        return refuse("ERR Replica can't interact with the keyspace");
    }
    // (What our primary sends cannot be refused.)
    if parts.is(condition::SCRIPT)
        && !trusted
        && !is(flag::ALLOW_BUSY)
        && let Some(busy) = parts.scripts.busy()
    {
        return Refuse(busy);
    }
    if parts.is(condition::PAUSED) && !trusted && !session.is(alert::REPLICA) {
        let all = parts.pause.is_some_and(|p| p.all);
        if all || any(flag::WRITE | flag::MAY_REPLICATE) {
            return Later;
        }
    }
    if parts.is(condition::MIGRATING)
        && !trusted
        && migrate::holds(parts, session, command, own, request)
    {
        return Later;
    }
    Pass
}

/// Whether a RESP2 client may send the command while it is subscribed to something.
fn in_subscribed_mode(name: &str) -> bool {
    matches!(
        name,
        "ping"
            | "quit"
            | "reset"
            | "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
    )
}

fn queued(session: &Session) -> u32 {
    session.multi.as_ref().map_or(0, |m| m.flags)
}

/// The reply to a command that is in no table.
pub fn unknown_command(args: &[&[u8]]) -> CommandError {
    const MOST: usize = 128;
    let mut rest = Vec::new();
    for arg in &args[1..] {
        let Some(room) = MOST.checked_sub(rest.len()).filter(|&room| room > 0) else {
            break;
        };
        let arg = shown(arg);
        rest.push(b'\'');
        rest.extend_from_slice(&arg[..arg.len().min(room)]);
        rest.extend_from_slice(b"' ");
    }
    CommandError::showing(&[
        b"ERR unknown command '",
        shown(args[0]),
        b"', with args beginning with: ",
        &rest,
    ])
}
