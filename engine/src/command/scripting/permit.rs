//! What a script may do: whether it may run at all, and which commands it may call.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::context::{Parts, condition};
use super::super::error::CommandError;
use super::super::execute::{self, Request};
use super::super::redirect::redirect;
use super::super::table::{Command, flag};
use super::super::{describe, evict, permission};
use super::{Call, Running};
use crate::acl;
use crate::client::{Session, alert};
use crate::cluster::slot_of;
use crate::face::Now;
use crate::script::{self, Vm};

/// Whether a script may run at all; if so, whether memory is used up.
pub(super) fn refuse(
    parts: &mut Parts,
    caller: &Session,
    now: Now,
    call: &Call<'_>,
) -> Result<bool, CommandError> {
    let is = |bit: u32| call.flags & bit != 0;
    let trusted = caller.is(alert::TRUSTED);
    let stale = parts.is(condition::STALE) && !parts.config.replica_serve_stale_data;
    let fail = |text: &'static str| Err(CommandError::fixed(text));
    let oom = parts.is(condition::MAXMEMORY) && !trusted && !evict::make_room(parts, now);
    if is(script::flag::COMPATIBLE) {
        if stale {
            return fail(
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            );
        }
        return Ok(oom);
    }
    if is(script::flag::NO_CLUSTER) && parts.cluster.is_some() {
        return fail("ERR Can not run script on cluster, 'no-cluster' flag is set.");
    }
    if stale && !is(script::flag::ALLOW_STALE) {
        return fail(
            "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.",
        );
    }
    if !is(script::flag::NO_WRITES) {
        if parts.is(condition::REPLICA) && parts.config.replica_read_only && !trusted {
            return fail("READONLY Can not run script with write flag on readonly replica");
        }
        if parts.is(condition::DISK_ERROR)
            && !trusted
            && let Some(gate) = parts.persistence.write_gate()
        {
            return Err(CommandError::text(format!(
                "MISCONF {} Writable scripts are blocked. Use 'no-writes' flag for read only scripts.{}",
                "Redis is configured to persist data, but it's currently unable to persist to disk.",
                match gate {
                    crate::persistence::WriteGate::Aof(why) => format!(" AOF error: {why}"),
                    crate::persistence::WriteGate::SaveFailed => String::new(),
                }
            )));
        }
        if call.read_only {
            return fail("ERR Can not execute a script with write flag using *_ro command.");
        }
        if parts.is(condition::MIN_REPLICAS) && !parts.replication.writes_allowed(now) {
            return fail("NOREPLICAS Not enough good replicas to write.");
        }
        if oom && !is(script::flag::ALLOW_OOM) {
            return fail(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            );
        }
    }
    Ok(oom)
}

/// The command, if it is known, and the error.
pub(super) type Refusal = (Option<usize>, Vec<u8>);

/// The gates that a script's command passes.
pub(super) fn permitted(
    parts: &mut Parts,
    running: &mut Running,
    args: &[&[u8]],
) -> Result<(usize, &'static Command), Refusal> {
    let Some((number, command)) = execute::find(parts, args) else {
        return Err((
            None,
            b"ERR Unknown Redis command called from script".to_vec(),
        ));
    };
    let fail = |text: &str| Err((Some(number), text.as_bytes().to_vec()));
    let is = |flags: u32| command.flags & flags != 0;
    if !command.arity_ok(args.len()) {
        return fail("ERR Wrong number of args calling Redis command from script");
    }
    if is(flag::NOSCRIPT) && !parts.scripts.unrestricted {
        return fail("ERR This Redis command is not allowed from script");
    }
    if parts.conditions != 0
        && parts.is(condition::STALE)
        && !parts.config.replica_serve_stale_data
        && !is(flag::STALE)
    {
        return fail("ERR Can not execute the command on a stale replica");
    }
    if running.session.is(alert::LIMITED) {
        let caller = parts.clients.get(running.caller);
        let client = caller.map(|caller| describe(parts, caller, running.start));
        let client = client.unwrap_or_else(|| running.client.clone());
        let (session, start) = (&running.session, running.start);
        let (named, lua) = ((number, command), acl::Context::Lua);
        let verdict = permission::check(parts, session, start, named, args, lua, Some(client));
        if let Err(denied) = verdict {
            return fail(permission::script_refusal(denied));
        }
    }
    if running.read_only && (is(flag::WRITE | flag::MAY_REPLICATE) || may_replicate(command.name)) {
        return fail("ERR Write commands are not allowed from read-only scripts.");
    }
    let trusted = running.session.is(alert::TRUSTED);
    if is(flag::WRITE) && !running.wrote && parts.conditions != 0 {
        if parts.is(condition::REPLICA) && parts.config.replica_read_only && !trusted {
            return fail("READONLY You can't write against a read only replica.");
        }
        if parts.is(condition::DISK_ERROR)
            && let Some(gate) = parts.persistence.write_gate()
        {
            return fail(&gate.message());
        }
        if parts.is(condition::MIN_REPLICAS) && !parts.replication.writes_allowed(running.start) {
            return fail("NOREPLICAS Not enough good replicas to write.");
        }
    }
    if running.oom && is(flag::DENYOOM) && !running.allow_oom && !running.wrote && !trusted {
        return fail("OOM command not allowed when used memory > 'maxmemory'.");
    }
    if is(flag::WRITE) {
        running.wrote = true;
    }
    if parts.cluster.is_some() && !trusted {
        let request = Request {
            args,
            raw: None,
            command: Some((number, command)),
            first_hash: None,
        };
        let session = &running.session;
        if let Some(error) = redirect(parts, session, running.start, command, &request) {
            return fail(match &error.0[..] {
                b"CLUSTERDOWN The cluster is down and only accepts read commands" => {
                    "ERR Script attempted to execute a write command while the cluster is down and readonly"
                }
                b"CLUSTERDOWN The cluster is down" => {
                    "ERR Script attempted to execute a command while the cluster is down"
                }
                _ => "ERR Script attempted to access a non local key in a cluster node",
            });
        }
        if !running.cross_slot {
            let mut slot = None;
            let word = |i: usize| args[i];
            let _ = command.each_key(args.len(), word, |i, _| slot = Some(slot_of(args[i])));
            if slot.is_some() && running.slot.is_some() && slot != running.slot {
                return fail(
                    "ERR Script attempted to access keys that do not hash to the same slot",
                );
            }
            running.slot = running.slot.or(slot);
        }
    }
    Ok((number, command))
}

/// Commands that may have effects elsewhere though they are no writes (COMMAND INFO does not tell).
fn may_replicate(name: &str) -> bool {
    matches!(name, "publish" | "spublish" | "pfcount")
}

/// `redis.acl_check_cmd`: whether the script's user may carry a command out.
pub(super) fn may_run(parts: &Parts, running: &Running, vm: &Vm) {
    let words = vm.io.words.borrow();
    let args: Vec<&[u8]> = words.iter().collect();
    let mut reply = vm.io.reply.borrow_mut();
    reply.clear();
    let limited = running.session.is(alert::LIMITED);
    reply.extend_from_slice(match execute::find(parts, &args) {
        Some((number, command)) if limited => {
            let user = running.session.user;
            match permission::verdict(&parts.acl, user, number, command, &args) {
                Ok(()) => b":1\r\n",
                Err(_) => b":0\r\n",
            }
        }
        Some(_) => b":1\r\n",
        None => b"-ERR Invalid command passed to redis.acl_check_cmd()\r\n",
    });
}

/// What gates must know of a command: its flags, or those that its script declares.
pub fn effective_flags(parts: &Parts, command: &'static Command, args: &[&[u8]]) -> u32 {
    let declared = match (command.name, args.get(1)) {
        ("eval" | "eval_ro", Some(body)) => script::shebang(body).ok().map(|s| s.flags),
        ("evalsha" | "evalsha_ro", Some(sha)) => script::sha_of(sha)
            .and_then(|sha| parts.scripts.cache.get(&sha))
            .map(|script| script.flags),
        ("fcall" | "fcall_ro", Some(name)) => parts
            .scripts
            .libraries
            .function(name)
            .map(|function| function.flags),
        _ => None,
    };
    match declared {
        Some(flags) if flags & script::flag::COMPATIBLE == 0 => {
            let is = |bit: u32| flags & bit != 0;
            let mut own =
                command.flags & !(flag::STALE | flag::DENYOOM | flag::WRITE | flag::MAY_REPLICATE);
            if !is(script::flag::ALLOW_OOM | script::flag::NO_WRITES) {
                own |= flag::DENYOOM;
            }
            if !is(script::flag::NO_WRITES) {
                own |= flag::WRITE;
            }
            if is(script::flag::ALLOW_STALE) {
                own |= flag::STALE;
            }
            own
        }
        // These may leave something for replicas, though they are no writes. (COMMAND INFO does not show that.)
        _ if matches!(
            command.name,
            "eval" | "evalsha" | "fcall" | "pfcount" | "publish" | "spublish"
        ) =>
        {
            command.flags | flag::MAY_REPLICATE
        }
        _ => command.flags,
    }
}
