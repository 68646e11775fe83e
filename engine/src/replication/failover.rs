//! FAILOVER: a primary hands its role to one of its replicas, without losing a write.
//!
//! ```text
//! FAILOVER ─▶ waiting-for-sync ──── a replica has acknowledged all ──▶ failover-in-progress ─┬─ +CONTINUE ─▶ done
//!  writes are held back  │ time is up                  we follow it: PSYNC … FAILOVER has it │
//!                        └─────────▶ called off (or, with FORCE, on)   take over first       └─ refused ──▶ called off
//! ```
//!
//! Nothing is written and no ping is sent meanwhile, so that the end of the history stands still. Our own history
//! is what the replica has: we continue from it as its replica. <https://redis.io/commands/failover/>

use super::primary::{Link, LinkState};
use super::{Action, Replication};
use crate::Now;
use crate::journal::Journal;
use alloc::format;
use alloc::string::{String, ToString};

/// A failover under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failover {
    /// The replica follows no more: we follow it.
    in_progress: bool,
    target: Option<(String, u16)>,
    until_us: Option<u64>,
    force: bool,
}

/// What FAILOVER was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverRequest {
    /// The replica that is to take over; any, if `None`.
    pub target: Option<(String, u16)>,
    /// How long to wait for it, in milliseconds; for ever, if `None`.
    pub timeout_ms: Option<u64>,
    /// Go on even if it has not everything by then.
    pub force: bool,
}

impl Replication {
    fn replica(&self, host: &str, port: u16) -> Option<&Link> {
        let is = |link: &&Link| link.ip() == host && link.announced.port == i64::from(port);
        self.serving.links.iter().find(is)
    }

    /// FAILOVER. Until [`Action::FailoverOver`] writes are to be held back.
    ///
    /// # Errors
    /// Why it cannot begin, in Redis's words.
    pub fn begin_failover(
        &mut self,
        now: Now,
        request: FailoverRequest,
    ) -> Result<(), &'static str> {
        if self.failover.is_some() {
            return Err("ERR FAILOVER already in progress.");
        }
        if self.following() {
            return Err("ERR FAILOVER is not valid when server is a replica.");
        }
        if self.serving.links.is_empty() {
            return Err("ERR FAILOVER requires connected replicas.");
        }
        if request.force && (request.target.is_none() || request.timeout_ms.is_none()) {
            return Err(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            );
        }
        match &request.target {
            Some((host, port)) => {
                match self.replica(host, *port) {
                    None => return Err("ERR FAILOVER target HOST and PORT is not a replica."),
                    Some(link) if link.state != LinkState::Online => {
                        return Err("ERR FAILOVER target replica is not online.");
                    }
                    Some(_) => {}
                }
                self.out
                    .notice(format!("FAILOVER requested to {host}:{port}."));
            }
            None => self.out.notice("FAILOVER requested to any replica."),
        }
        self.serving.hold_stream(true);
        self.failover = Some(Failover {
            in_progress: false,
            target: request.target,
            until_us: (request.timeout_ms)
                .map(|ms| now.mono_us.saturating_add(ms.saturating_mul(1000))),
            force: request.force,
        });
        Ok(())
    }

    /// Whether a failover is under way.
    pub fn failing_over(&self) -> bool {
        self.failover.is_some()
    }

    /// Its state, as INFO shows it.
    pub fn failover_state(&self) -> &'static str {
        match &self.failover {
            None => "no-failover",
            Some(failover) if failover.in_progress => "failover-in-progress",
            Some(_) => "waiting-for-sync",
        }
    }

    /// Calls a failover off.
    pub fn abort_failover(&mut self, now: Now, journal: &mut Journal, reason: &str) {
        let Some(failover) = &self.failover else {
            return;
        };
        let target = match &failover.target {
            Some((host, port)) => format!("{host}:{port}"),
            None => "any replica".into(),
        };
        self.out
            .notice(format!("FAILOVER to {target} aborted: {reason}"));
        if failover.in_progress {
            self.unset_primary(now, journal);
        }
        self.end_failover();
    }

    fn end_failover(&mut self) {
        self.failover = None;
        self.serving.hold_stream(false);
        self.out.push(Action::FailoverOver);
    }

    /// What the target said to PSYNC … FAILOVER.
    pub(super) fn failover_answered(&mut self, now: Now, journal: &mut Journal, accepted: bool) {
        if accepted {
            self.end_failover();
        } else {
            self.abort_failover(now, journal, "Failover target rejected psync request");
        }
    }

    /// Goes on with a failover, if one is under way.
    pub fn advance_failover(&mut self, now: Now, journal: &mut Journal) {
        let Some(failover) = self.failover.as_mut().filter(|f| !f.in_progress) else {
            return;
        };
        if failover.until_us.is_some_and(|until| until <= now.mono_us) {
            let (true, Some((host, port))) = (failover.force, failover.target.clone()) else {
                return self.abort_failover(now, journal, "Replica never caught up before timeout");
            };
            self.out.notice(format!(
                "FAILOVER to {host}:{port} time out exceeded, failing over."
            ));
            return self.hand_over(now, journal, &host, port);
        }
        let end = journal.end();
        let (serving, target) = (&self.serving, &failover.target);
        let wanted = |link: &&Link| match target {
            Some((host, port)) => link.ip() == host && link.announced.port == i64::from(*port),
            None => true,
        };
        let synced = |link: &Link| link.state == LinkState::Online && link.ack_offset == end;
        let Some(link) = (serving.links.iter().filter(wanted)).find(|link| synced(link)) else {
            return;
        };
        let Ok(port) = u16::try_from(link.announced.port) else {
            return;
        };
        let host = link.ip().to_string();
        failover.target = Some((host.clone(), port));
        self.out.notice(format!(
            "Failover target {host}:{port} is synced, failing over."
        ));
        self.hand_over(now, journal, &host, port);
    }

    fn hand_over(&mut self, now: Now, journal: &mut Journal, host: &str, port: u16) {
        if let Some(failover) = &mut self.failover {
            failover.in_progress = true;
        }
        self.set_primary(now, journal, host, port);
        if let Some(following) = &mut self.following {
            following.ask_to_take_over();
        }
    }
}
