//! What goes into replication besides events, and what comes out: directives, actions, counters.

use super::{Filter, ReplId};
use crate::{ConnId, LogLevel};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// The directives that replication reads; the engine renews them after CONFIG SET.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `replica-announce-ip`, if not empty.
    pub announce_ip: Option<String>,
    /// `repl-backlog-size` in bytes.
    pub backlog_bytes: u64,
    /// `repl-backlog-ttl` in seconds; 0 keeps the backlog for ever.
    pub backlog_ttl_s: u64,
    /// `repl-diskless-load` lets the payload go straight to the parser. Only the log says so.
    pub diskless_load: bool,
    /// `repl-diskless-sync`.
    pub diskless_sync: bool,
    /// `repl-diskless-sync-delay` in seconds.
    pub diskless_sync_delay_s: u64,
    /// `repl-diskless-sync-max-replicas`; 0 is no limit.
    pub diskless_sync_max_replicas: usize,
    /// `client-output-buffer-limit replica`: hard limit in bytes, 0 for none.
    pub output_hard_bytes: u64,
    /// The same: soft limit in bytes, 0 for none.
    pub output_soft_bytes: u64,
    /// The same: for how many seconds the soft limit may be passed.
    pub output_soft_s: u64,
    /// The port that a primary is told: `replica-announce-port`, or the one that we listen on.
    pub listening_port: u16,
    /// `min-replicas-max-lag` in seconds.
    pub min_replicas_max_lag_s: u64,
    /// `min-replicas-to-write`.
    pub min_replicas_to_write: usize,
    /// `repl-ping-replica-period` in seconds.
    pub ping_period_s: u64,
    /// `masterauth`, if set.
    pub primary_auth: Option<Vec<u8>>,
    /// `masteruser`, if set.
    pub primary_user: Option<Vec<u8>>,
    /// `replica-announced`. Only INFO shows it.
    pub replica_announced: bool,
    /// `replica-priority`. Only INFO shows it.
    pub replica_priority: i64,
    /// `replica-read-only`. Only INFO shows it.
    pub replica_read_only: bool,
    /// `repl-timeout` in seconds.
    pub timeout_s: u64,
}

impl Default for Settings {
    /// Redis 7.0's defaults.
    fn default() -> Settings {
        Settings {
            announce_ip: None,
            backlog_bytes: 1 << 20,
            backlog_ttl_s: 3600,
            diskless_load: false,
            diskless_sync: true,
            diskless_sync_delay_s: 5,
            diskless_sync_max_replicas: 0,
            output_hard_bytes: 256 << 20,
            output_soft_bytes: 64 << 20,
            output_soft_s: 60,
            listening_port: 6379,
            min_replicas_max_lag_s: 10,
            min_replicas_to_write: 0,
            ping_period_s: 10,
            primary_auth: None,
            primary_user: None,
            replica_announced: true,
            replica_priority: 100,
            replica_read_only: true,
            timeout_s: 60,
        }
    }
}

/// What replication wants done. Actions must be carried out in the order in which they leave.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Action {
    /// The snapshot under way (or wanted) serves no replica any more. Nothing about it need be reported.
    CancelSnapshot,
    /// Close a connection and forget its session; no [`Replication::closed`] is due.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Open a connection to the primary; answer with [`Replication::connecting`] at once.
    Connect {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// We became a replica: unblock clients whose commands may write, stop expiring and evicting.
    Demoted,
    /// A failover ended, well or not: writes need not be held back for it any more.
    FailoverOver,
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// A replica did not keep up with `client-output-buffer-limit`: log it with the client's
    /// description ("Client … scheduled to be closed ASAP for overcoming of output buffer limits."),
    /// close the connection and forget its session; no [`Replication::closed`] is due.
    Overrun {
        /// Which.
        conn: ConnId,
    },
    /// Bytes of the primary's snapshot, in order.
    Payload(Bytes),
    /// The payload so far is worthless: drop it and what was loaded from it. The old data stays.
    PayloadAbort,
    /// A snapshot of the primary begins.
    PayloadBegin {
        /// Its length in bytes, if the primary said.
        size: Option<u64>,
    },
    /// The snapshot is complete. Check and load it, then answer [`Replication::loaded`] or
    /// [`Replication::load_failed`].
    PayloadEnd {
        /// The history that it belongs to.
        replid: ReplId,
        /// The offset as of which it was taken.
        offset: u64,
    },
    /// We became a primary: start expiring and evicting; AOF may start again.
    Promoted,
    /// Send bytes, after what waits for the connection already.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: Bytes,
    },
    /// Bytes of the primary's stream, split anywhere.
    Stream(Bytes),
    /// A stream of commands from the primary starts (or starts again): begin with an empty decoder.
    StreamBegin {
        /// The link.
        conn: ConnId,
        /// The database that it is in.
        db: u32,
    },
    /// Begin a snapshot for replicas; answer with [`Replication::snapshot_began`], or with
    /// [`Replication::snapshot_ended`]`(false)` if that is impossible.
    WantSnapshot {
        /// Stream it as it is produced; otherwise to a file first, whose length is then told.
        diskless: bool,
        /// What goes into it.
        filter: Filter,
        /// For whom. Others may still join.
        replicas: Vec<ConnId>,
    },
}

/// Counters that INFO stats shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// `sync_full`: full synchronisations served.
    pub sync_full: u64,
    /// `sync_partial_ok`: partial ones served.
    pub sync_partial_ok: u64,
    /// `sync_partial_err`: partial ones refused.
    pub sync_partial_err: u64,
    /// `total_net_repl_input_bytes`: from our primary.
    pub input_bytes: u64,
    /// `total_net_repl_output_bytes`: to our replicas.
    pub output_bytes: u64,
}

/// The replication information that belongs into an RDB file, so that history can go on after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdbInfo {
    /// `repl-stream-db`: the database that the stream is in.
    pub stream_db: u32,
    /// `repl-id`.
    pub replid: ReplId,
    /// `repl-offset`.
    pub offset: u64,
}

/// What leaves replication, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox(pub(super) VecDeque<Action>);

impl Outbox {
    pub(super) fn push(&mut self, action: Action) {
        self.0.push_back(action);
    }

    pub(super) fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        let text = text.into();
        self.push(Action::Log { level, text });
    }

    pub(super) fn notice(&mut self, text: impl Into<String>) {
        self.log(LogLevel::Notice, text);
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.log(LogLevel::Warning, text);
    }

    /// Drops what was not carried out yet and has lost its sense.
    pub(super) fn retract(&mut self, senseless: impl Fn(&Action) -> bool) {
        self.0.retain(|action| !senseless(action));
    }
}
