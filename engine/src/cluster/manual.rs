//! CLUSTER FAILOVER: a planned change of roles that loses no write.
//!
//! The replica asks its primary to pause (MFSTART); the primary holds back writes and says at which offset
//! it stands still, in a packet flagged PAUSED; once the replica has applied that much it stands for
//! election, and the others vote although the primary works. FORCE leaves the primary out, TAKEOVER the
//! others as well. All is over after five seconds.

use super::bus::{Body, Kind};
use super::node::NodeKey;
use super::{Cluster, Decision};
use crate::{LogLevel, Now};
use alloc::format;

/// Milliseconds that a manual failover may take.
const LIMIT_MS: u64 = 5000;

/// A manual failover, on either side. Times are monotonic milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Manual {
    end: Option<u64>,
    /// On the primary: who asked.
    pub(super) replica: Option<NodeKey>,
    /// On the replica: where the primary stands still.
    pub(super) offset: Option<u64>,
    can_start: bool,
    /// Whether the election for it was begun.
    pub(super) scheduled: bool,
}

impl Manual {
    /// Whether there is one.
    pub(super) fn in_progress(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the replica may stand now.
    pub(super) fn may_start(&self) -> bool {
        self.end.is_some() && self.can_start
    }
}

impl Cluster {
    /// A replica begins. `forced`: without the primary.
    pub(super) fn begin_manual(&mut self, now: Now, forced: bool) {
        self.reset_manual();
        self.election.reset();
        self.manual.end = Some(now.mono_ms() + LIMIT_MS);
        if forced {
            self.log(
                LogLevel::Warning,
                "Forced failover user request accepted.".into(),
            );
            self.manual.can_start = true;
            self.todo.failover = true;
            return;
        }
        self.log(
            LogLevel::Warning,
            "Manual failover user request accepted.".into(),
        );
        let conn = self
            .nodes
            .me()
            .primary
            .and_then(|key| self.nodes.get(key))
            .and_then(|node| node.link);
        if let (Some(conn), Some(packet)) = (conn, self.durable_packet(Body::MfStart)) {
            self.send(conn, Kind::MfStart, packet);
        }
    }

    /// A replica of ours asks us to pause.
    pub(super) fn hear_mfstart(&mut self, now: Now, replica: NodeKey) {
        let me = self.nodes.my_key();
        if self
            .nodes
            .get(replica)
            .is_none_or(|node| node.primary != Some(me))
        {
            return;
        }
        self.reset_manual();
        let at = now.mono_ms();
        self.manual.end = Some(at + LIMIT_MS);
        self.manual.replica = Some(replica);
        self.decide(Decision::PauseWrites {
            until_ms: at + 2 * LIMIT_MS,
        });
        let id = self.nodes.node(replica).id;
        self.log(
            LogLevel::Warning,
            format!("Manual failover requested by replica {id}."),
        );
    }

    /// Our writes stand still: the replica must know at which offset. Said only now, since a write that
    /// slipped in after the offset was told would be lost.
    pub(super) fn announce_pause(&mut self, now: Now) {
        let conn = self
            .manual
            .replica
            .and_then(|key| self.nodes.get(key))
            .and_then(|node| node.link);
        if let Some(conn) = conn {
            self.ping(now, conn, Kind::Ping);
        }
    }

    /// Our primary told its offset in a packet flagged PAUSED.
    pub(super) fn hear_paused(&mut self, primary: NodeKey, offset: u64) {
        let awaited =
            self.manual.in_progress() && self.is_replica() && self.manual.offset.is_none();
        if !awaited || self.nodes.me().primary != Some(primary) {
            return;
        }
        self.manual.offset = Some(offset);
        self.todo.manual = true;
        self.log(
            LogLevel::Warning,
            format!("Received replication offset for paused master manual failover: {offset}"),
        );
    }

    /// Starts the election once we have all that the primary had. More than that will do: what we applied
    /// beyond it came from the primary too (KB-26).
    pub(super) fn advance_manual(&mut self) {
        let Some(offset) = self
            .manual
            .offset
            .filter(|_| self.is_replica() && self.manual.in_progress())
        else {
            return;
        };
        if !self.manual.can_start && self.view.offset >= offset {
            self.manual.can_start = true;
            self.log(
                LogLevel::Warning,
                "All master replication stream processed, manual failover can start.".into(),
            );
            self.todo.failover = true;
        }
    }

    /// Gives up a manual failover that took too long.
    pub(super) fn expire_manual(&mut self, now: Now) {
        if self.manual.end.is_some_and(|end| end < now.mono_ms()) {
            self.log(LogLevel::Warning, "Manual failover timed out.".into());
            self.reset_manual();
        }
    }

    /// Ends a manual failover, or the thought of one.
    pub(super) fn reset_manual(&mut self) {
        if self.manual.replica.is_some() {
            self.decide(Decision::Unpause);
        }
        if self.manual.scheduled {
            // Votes asked for by force are not for an election of another kind.
            self.election.reset();
        }
        self.manual = Manual::default();
    }
}
