//! Commands of replication, on either side.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::context::{Server, condition};
use super::error::CommandError;
use super::string::integer;
use super::table::Outcome;
use crate::client::{Blocked, WaitWish, alert};
use crate::config::Config;
use crate::face::{Effect, LogLevel};
use crate::persistence::Persistence;
use crate::replication::{
    FailoverRequest, ReplconfReply, Replication, Role, SyncReply, SyncRequest,
};
use crate::resp::Output;
use crate::value::number::parse_i64;

/// `REPLICAOF host port | NO ONE`. <https://redis.io/commands/replicaof/>
pub(super) fn replicaof(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if s.parts.config.cluster_enabled {
        return Err(CommandError::fixed(
            "ERR REPLICAOF not allowed in cluster mode.",
        ));
    }
    if s.parts.replication.failing_over() {
        return Err(CommandError::fixed(
            "ERR REPLICAOF not allowed while failing over.",
        ));
    }
    let parts = &mut *s.parts;
    if args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one") {
        if parts.replication.following() {
            parts.replication.unset_primary(s.now, &mut parts.journal);
            // The commands behind this one in the turn are a primary's already: replicas must hear of them.
            parts.set(condition::REPLICA, false);
            parts.effects.wanted = true;
            let client = super::describe(s.parts, s.session, s.now);
            s.parts.log(
                LogLevel::Notice,
                format!("MASTER MODE enabled (user request from '{client}')"),
            );
        }
        s.session.out.ok();
        return Ok(());
    }
    if s.session.is(alert::REPLICA) {
        return Err(CommandError::fixed(
            "ERR Command is not valid when client is a replica.",
        ));
    }
    let port = integer(args[2])?;
    let port = u16::try_from(port).map_err(|_| CommandError::fixed("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(args[1]).into_owned();
    if parts
        .replication
        .primary()
        .is_some_and(|(h, p)| p == port && h.eq_ignore_ascii_case(&host))
    {
        s.session
            .out
            .simple("OK Already connected to specified master");
        return Ok(());
    }
    parts
        .replication
        .set_primary(s.now, &mut parts.journal, &host, port);
    parts.set(condition::REPLICA, true);
    parts.effects.wanted = false;
    let client = super::describe(s.parts, s.session, s.now);
    s.parts.log(
        LogLevel::Notice,
        format!("REPLICAOF {host}:{port} enabled (user request from '{client}')"),
    );
    s.session.out.ok();
    Ok(())
}

/// `SLAVEOF host port`: REPLICAOF's old name. <https://redis.io/commands/slaveof/>
pub(super) fn slaveof(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    replicaof(s, args)
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`. <https://redis.io/commands/failover/>
pub(super) fn failover(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let parts = &mut *s.parts;
    if parts.config.cluster_enabled {
        return Err(CommandError::fixed(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    if let [_, word] = args
        && word.eq_ignore_ascii_case(b"abort")
    {
        if !parts.replication.failing_over() {
            return Err(CommandError::fixed("ERR No failover in progress."));
        }
        (parts.replication).abort_failover(s.now, &mut parts.journal, "Failover manually aborted");
        s.session.out.ok();
        return Ok(());
    }
    let mut request = FailoverRequest::default();
    let mut rest = &args[1..];
    loop {
        rest = match rest {
            [] => break,
            [word, ms, more @ ..]
                if word.eq_ignore_ascii_case(b"timeout") && request.timeout_ms.is_none() =>
            {
                let ms = u64::try_from(integer(ms)?).ok().filter(|&ms| ms > 0);
                request.timeout_ms = Some(ms.ok_or(CommandError::fixed(
                    "ERR FAILOVER timeout must be greater than 0",
                ))?);
                more
            }
            [word, host, port, more @ ..]
                if word.eq_ignore_ascii_case(b"to") && request.target.is_none() =>
            {
                // (A port that is none belongs to no replica.)
                let port = u16::try_from(integer(port)?).unwrap_or(0);
                request.target = Some((String::from_utf8_lossy(host).into_owned(), port));
                more
            }
            [word, more @ ..] if word.eq_ignore_ascii_case(b"force") && !request.force => {
                request.force = true;
                more
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    (parts.replication)
        .begin_failover(s.now, request)
        .map_err(CommandError::fixed)?;
    parts.update_pause();
    s.session.out.ok();
    Ok(())
}

/// `REPLCONF option value [option value …]`, between servers. <https://redis.io/commands/replconf/>
pub(super) fn replconf(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let parts = &mut *s.parts;
    match parts
        .replication
        .replconf(s.now, &mut parts.journal, s.session.conn, args)
    {
        ReplconfReply::Ok => s.session.out.ok(),
        ReplconfReply::Silent => {}
        ReplconfReply::Error(error) => return Err(CommandError::text(error)),
    }
    Ok(())
}

/// `PSYNC replicationid offset`, between servers. <https://redis.io/commands/psync/>
pub(super) fn psync(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let client = super::describe(s.parts, s.session, s.now);
    let request = SyncRequest {
        conn: s.session.conn,
        peer: &s.session.peer,
        args,
        output_pending: s.session.out.pending() > 0,
        client_info: &client,
    };
    let parts = &mut *s.parts;
    match parts.replication.sync(s.now, &mut parts.journal, &request) {
        SyncReply::Error(error) => return Err(CommandError::text(error)),
        SyncReply::Ignored => {}
        SyncReply::Taken => {
            s.session.set(alert::REPLICA, true);
            if parts.config.repl_disable_tcp_nodelay {
                let conn = s.session.conn;
                parts.outbox.push_back(Effect::Delay { conn });
            }
        }
    }
    Ok(())
}

/// `SYNC`, between servers. <https://redis.io/commands/sync/>
pub(super) fn sync(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    psync(s, args)
}

/// `ROLE`. <https://redis.io/commands/role/>
pub(super) fn role(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let out = &mut s.session.out;
    match s.parts.replication.role(&s.parts.journal) {
        Role::Primary { offset, replicas } => {
            out.array(3);
            out.bulk(b"master");
            out.int(offset as i64);
            out.array(replicas.len());
            for replica in replicas {
                out.array(3);
                out.bulk(replica.ip.as_bytes());
                out.bulk_int(replica.port);
                out.bulk_int(replica.offset as i64);
            }
        }
        Role::Replica {
            host,
            port,
            state,
            offset,
        } => {
            out.array(5);
            out.bulk(b"slave");
            out.bulk(host.as_bytes());
            out.int(i64::from(port));
            out.bulk(state.as_bytes());
            out.int(offset);
        }
    }
    Ok(())
}

/// `WAIT numreplicas timeout`. <https://redis.io/commands/wait/>
pub(super) fn wait(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    if s.parts.replication.following() {
        return Err(CommandError::fixed(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica \
             is configured to be writable (which is not the default) writes to replicas are just local and are \
             not propagated.",
        ));
    }
    let wish = WaitWish {
        offset: s.session.last_offset,
        replicas: integer(args[1])?,
        on_disk: None,
    };
    let until_us = super::blocking::timeout_milliseconds(args[2], s.now)?;
    wait_for(s, wish, until_us);
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`. <https://redis.io/commands/waitaof/>
pub(super) fn waitaof(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let local = match integer(args[1])? {
        0 => false,
        1 => true,
        _ => {
            return Err(CommandError::fixed(
                "ERR value is out of range, value must between 0 and 1",
            ));
        }
    };
    let replicas = parse_i64(args[2]).filter(|n| *n >= 0);
    let replicas = replicas.ok_or(CommandError::fixed(
        "ERR value is out of range, must be positive",
    ))?;
    let until_us = super::blocking::timeout_milliseconds(args[3], s.now)?;
    if s.parts.replication.following() {
        return Err(CommandError::fixed(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just \
             local and are not propagated.",
        ));
    }
    let wish = WaitWish {
        offset: s.session.last_offset,
        replicas,
        on_disk: Some(local),
    };
    if let Some(error) = wish.vain(&s.parts.config) {
        return Err(CommandError::fixed(error));
    }
    wait_for(s, wish, until_us);
    Ok(())
}

fn wait_for(s: &mut Server<'_>, wish: WaitWish, until_us: Option<u64>) {
    let state = wish.state(&s.parts.replication, &s.parts.persistence);
    // Nobody else's command would come before a transaction or a script is over.
    let may_wait = s.session.alerts & (alert::MULTI | alert::TRUSTED) == 0;
    if wish.fulfilled(state) || !may_wait {
        return wish.answer(state, &mut s.session.out);
    }
    s.parts.replication.request_acks();
    s.session.blocked = Some(Box::new(Blocked::Wait { wish, until_us }));
    s.parts.blocked.push(s.session.conn);
}

impl WaitWish {
    /// How things stand: whether our disk has it, and how many replicas have it.
    pub(crate) fn state(
        &self,
        replication: &Replication,
        persistence: &Persistence,
    ) -> (bool, i64) {
        match self.on_disk {
            None => (false, replication.acked_replicas(self.offset) as i64),
            Some(_) => {
                let synced = persistence.synced_offset();
                let ours = synced.is_some_and(|synced| synced >= self.offset);
                (ours, replication.synced_replicas(self.offset) as i64)
            }
        }
    }

    /// The error, if it waits for our own disk and nothing is logged there.
    pub(crate) fn vain(&self, config: &Config) -> Option<&'static str> {
        (self.on_disk == Some(true) && !config.appendonly).then_some(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        )
    }

    /// Whether that is enough.
    pub(crate) fn fulfilled(&self, (ours, replicas): (bool, i64)) -> bool {
        replicas >= self.replicas && (ours || self.on_disk != Some(true))
    }

    /// Replies how things stand.
    pub(crate) fn answer(&self, (ours, replicas): (bool, i64), out: &mut Output) {
        if self.on_disk.is_some() {
            out.array(2);
            out.int(ours.into());
        }
        out.int(replicas);
    }
}
