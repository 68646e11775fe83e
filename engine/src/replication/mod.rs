//! Both sides of replication as pure state machines: [serving replicas](primary) and [following a
//! primary](replica), wire-compatible with Redis 7.0 in either role (PSYNC2).
//!
//! [`Replication`] owns what the two sides share (the [ids](id) of the history and the way out) and
//! routes each event to the side that it concerns. A server is always ready to serve replicas, also
//! while it follows a primary: then it passes on its primary's stream verbatim.
//!
//! The stream itself is the [`Journal`], which the engine owns and lends to each call. Offsets are the
//! journal's: a position between bytes, equal to Redis's `master_repl_offset`.
//!
//! # What the engine does
//!
//! - **Every event** is one call with the time in it. Afterwards it drains [`Replication::poll_action`]
//!   until that returns `None`, carrying out each action in order, then keeps the journal from
//!   [`Replication::needed_from`] on. [`Replication::tick`] is due at [`Replication::deadline`].
//! - **Serving**: a client's REPLCONF goes to [`Replication::replconf`], its SYNC or PSYNC to
//!   [`Replication::sync`]; an empty inline command from a replica to [`Replication::keepalive`]. From
//!   then on the connection is a replica's: replies must not be written to it. Output that waits for
//!   the socket is reported by [`Replication::output_pending`].
//! - **Snapshots**: [`Action::WantSnapshot`] asks for one. The engine begins its walk and calls
//!   [`Replication::snapshot_began`] at that very moment, [`Replication::snapshot_chunk`] as bytes come
//!   (for one that went to a file: [`Replication::snapshot_size`] first; without it, one that is not
//!   to be streamed is kept in memory until it is complete), then
//!   [`Replication::snapshot_ended`]. It walks on only while [`Replication::snapshot_pending`] is small.
//! - **Following**: [`Action::Connect`] opens a link, named at once by [`Replication::connecting`]; then
//!   [`Replication::connected`], all its bytes by [`Replication::receive`], its end by
//!   [`Replication::closed`]. The payload leaves as [`Action::Payload`]; the engine loads it *beside* the
//!   old data and answers [`Replication::loaded`] or [`Replication::load_failed`].
//! - The **stream** leaves as [`Action::Stream`]. The engine executes whole commands and reports each,
//!   outside MULTI, by [`Replication::applied`]: only then do the bytes enter our own journal, and only
//!   what was applied is acknowledged. What it executed it must report before the link's end; what it
//!   did not execute by then is forgotten by both and asked for again.
//! - While [`Replication::following`] is true nothing else may be appended to the journal: a replica
//!   originates nothing.

mod failover;
mod id;
mod info;
mod payload;
mod primary;
mod replconf;
mod replica;
mod snapshot;
mod wishes;

#[cfg(test)]
mod tests;

pub use failover::FailoverRequest;
pub use id::{Ids, ReplId};
pub use info::{ReplicaRole, Role};
pub use primary::{Background, Filter, SyncReply, SyncRequest};
pub use replconf::ReplconfReply;
pub use wishes::{Action, RdbInfo, Settings, Stats};

use crate::journal::Journal;
use crate::{ConnId, Now};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use primary::Serving;
use replica::Following;
use wishes::Outbox;

/// How often the routine duties run: pings, acknowledgements, timeouts, reconnection.
const CRON_US: u64 = 1_000_000;

/// Offsets from peers and files beyond this are refused: counting on from them could overflow.
const MAX_OFFSET: u64 = 1 << 62;

/// Microseconds of a number of seconds from the configuration.
fn seconds(s: u64) -> u64 {
    s.saturating_mul(1_000_000)
}

/// What every handler may touch besides its own side's state.
struct Cx<'a> {
    now: Now,
    settings: &'a Settings,
    ids: &'a mut Ids,
    journal: &'a mut Journal,
    stats: &'a mut Stats,
    out: &'a mut Outbox,
    /// Whether this server follows a primary.
    following: bool,
    /// See [`Replication::set_synced`].
    synced: Option<u64>,
}

/// Replication of one server. See the module's documentation for the order of calls.
#[derive(Debug)]
pub struct Replication {
    settings: Settings,
    ids: Ids,
    stats: Stats,
    serving: Serving,
    /// The primary that we follow, if we are a replica.
    following: Option<Following>,
    out: Outbox,
    next_cron_us: u64,
    synced: Option<u64>,
    failover: Option<failover::Failover>,
}

impl Replication {
    /// A primary without replicas. The seed must be replication's own.
    pub fn new(settings: Settings, seed: [u8; 32], now: Now) -> Replication {
        Replication {
            settings,
            ids: Ids::new(seed),
            stats: Stats::default(),
            serving: Serving::new(now),
            following: None,
            out: Outbox::default(),
            next_cron_us: now.mono_us,
            synced: None,
            failover: None,
        }
    }

    /// Takes over changed directives.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn split<'a>(
        &'a mut self,
        now: Now,
        journal: &'a mut Journal,
    ) -> (&'a mut Serving, &'a mut Option<Following>, Cx<'a>) {
        let cx = Cx {
            now,
            settings: &self.settings,
            ids: &mut self.ids,
            journal,
            stats: &mut self.stats,
            out: &mut self.out,
            following: self.following.is_some(),
            synced: self.synced,
        };
        (&mut self.serving, &mut self.following, cx)
    }

    // ── Time and the way out ────────────────────────────────────────────────────────────────────

    /// The next thing to do. Drain it after every event; it moves the journal to the replicas, and may
    /// write to the journal itself (REPLCONF GETACK), so call it between commands only.
    #[must_use]
    pub fn poll_action(&mut self, now: Now, journal: &mut Journal) -> Option<Action> {
        if self.out.0.is_empty() {
            let (serving, _, mut cx) = self.split(now, journal);
            serving.pump(&mut cx);
        }
        self.out.0.pop_front()
    }

    /// When [`Replication::tick`] is due, in microseconds of the monotonic clock; `None` while idle.
    pub fn deadline(&self) -> Option<u64> {
        let active = self.following.is_some() || self.serving.needs_cron(&self.settings);
        let cron = active.then_some(self.next_cron_us);
        [cron, self.serving.snapshot_due(&self.settings)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed. Harmless when nothing is due.
    pub fn tick(&mut self, now: Now, journal: &mut Journal) {
        let cron = now.mono_us >= self.next_cron_us;
        if cron {
            self.next_cron_us = now.mono_us + CRON_US;
        }
        let (serving, following, mut cx) = self.split(now, journal);
        if cron {
            if let Some(following) = following {
                following.cron(&mut cx);
            }
            serving.cron(&mut cx);
        }
        serving.start_snapshot_if_due(&mut cx);
    }

    /// The oldest offset that a replica, a snapshot or the backlog needs of the journal.
    pub fn needed_from(&self, journal: &Journal) -> u64 {
        self.serving.needed_from(&self.settings, journal)
    }

    /// Whether what a primary executes must be journalled for replication's sake: there is a backlog.
    pub fn wants_journal(&self) -> bool {
        self.serving.has_backlog()
    }

    /// A connection ended: a replica's, the primary's, or any other. Report what was executed of a
    /// primary's stream first.
    pub fn closed(&mut self, now: Now, journal: &mut Journal, conn: ConnId, reason: &str) {
        let (serving, following, mut cx) = self.split(now, journal);
        match following {
            Some(following) if following.is_link(conn) => following.closed(&mut cx, reason),
            _ => serving.closed(&mut cx, conn),
        }
    }

    // ── Serving replicas ────────────────────────────────────────────────────────────────────────

    /// REPLCONF, from a client, a replica, or our primary (`args[0]` is the command's name).
    pub fn replconf(
        &mut self,
        now: Now,
        journal: &mut Journal,
        conn: ConnId,
        args: &[&[u8]],
    ) -> ReplconfReply {
        let (serving, following, mut cx) = self.split(now, journal);
        if let Some(reply) = serving.replconf(&mut cx, conn, args) {
            return reply;
        }
        if let Some(following) = following {
            following.send_ack(&mut cx);
        }
        ReplconfReply::Silent
    }

    /// SYNC or PSYNC from a client.
    pub fn sync(
        &mut self,
        now: Now,
        journal: &mut Journal,
        request: &SyncRequest<'_>,
    ) -> SyncReply {
        if self.serving.is_replica(request.conn) {
            return SyncReply::Ignored;
        }
        if request.wants_failover()
            && let Err(error) = self.promote_on_request(now, journal, request)
        {
            return SyncReply::Error(error);
        }
        if self.failing_over() {
            let error = "NOMASTERLINK Can't SYNC while failing over";
            return SyncReply::Error(error.into());
        }
        let (serving, following, mut cx) = self.split(now, journal);
        if following.as_ref().is_some_and(|f| !f.is_connected()) {
            let error = "NOMASTERLINK Can't SYNC while not connected with my master";
            return SyncReply::Error(error.into());
        }
        serving.sync(&mut cx, request)
    }

    /// An old primary hands over to us (PSYNC … FAILOVER): it has made sure that we have all its writes.
    fn promote_on_request(
        &mut self,
        now: Now,
        journal: &mut Journal,
        request: &SyncRequest<'_>,
    ) -> Result<(), String> {
        let replid = String::from_utf8_lossy(request.args[1]);
        self.out.warning(alloc::format!(
            "Failover request received for replid {replid}."
        ));
        if self.following.is_none() {
            return Err("ERR PSYNC FAILOVER can't be sent to a master.".into());
        }
        if !self.ids.current().matches(request.args[1]) {
            return Err("ERR PSYNC FAILOVER replid must match my replid.".into());
        }
        self.unset_primary(now, journal);
        self.out.notice(alloc::format!(
            "MASTER MODE enabled (failover request from '{}')",
            request.client_info
        ));
        Ok(())
    }

    /// An empty line from a replica that is busy loading: it lives.
    pub fn keepalive(&mut self, now: Now, conn: ConnId) {
        self.serving.keepalive(now, conn);
    }

    /// How much output of a replica's connection still waits for its socket. Call it whenever that
    /// shrank; the stream is fed in portions by it, and a stuck replica is told from a slow one.
    pub fn output_pending(&mut self, now: Now, conn: ConnId, bytes: u64) {
        self.serving.output_pending(now, conn, bytes, &mut self.out);
    }

    /// Whether a connection is a replica's.
    pub fn is_replica(&self, conn: ConnId) -> bool {
        self.serving.is_replica(conn)
    }

    /// Bytes of the journal up to `end` that a replica was promised and its output does not have yet.
    pub fn behind(&self, conn: ConnId, end: u64) -> u64 {
        self.serving.behind(conn, end)
    }

    /// How many replicas are attached, in any state.
    pub fn replica_count(&self) -> usize {
        self.serving.replica_count()
    }

    /// Replicas that have not acknowledged the journal up to `end`, as a server that shuts down logs them.
    pub fn lagging(&self, now: Now, end: u64) -> Vec<String> {
        self.serving.lagging(now, end)
    }

    /// Asks all replicas for an acknowledgement, once for all who ask before the next
    /// [`Replication::poll_action`].
    pub fn request_acks(&mut self) {
        self.serving.request_acks();
    }

    /// How many replicas have everything up to an offset on their disks.
    pub fn synced_replicas(&self, offset: u64) -> usize {
        self.serving.synced_replicas(offset)
    }

    /// Up to where our own disk has the journal, if it is to have it: what acknowledgements say.
    pub fn set_synced(&mut self, offset: Option<u64>) {
        self.synced = offset;
    }

    /// How many replicas have applied everything up to an offset.
    pub fn acked_replicas(&self, offset: u64) -> usize {
        self.serving.acked_replicas(offset)
    }

    /// The offset up to which at least `replicas` replicas have applied everything; 0 if there are fewer.
    pub fn acked_by(&self, replicas: usize) -> u64 {
        self.serving.acked_by(replicas)
    }

    /// How many replicas are online and acknowledged within `min-replicas-max-lag`.
    pub fn good_replicas(&self, now: Now) -> usize {
        self.serving.good_replicas(now, &self.settings)
    }

    /// Whether `min-replicas-to-write` allows a write.
    pub fn writes_allowed(&self, now: Now) -> bool {
        self.following.is_some()
            || self.settings.min_replicas_to_write == 0
            || self.settings.min_replicas_max_lag_s == 0
            || self.good_replicas(now) >= self.settings.min_replicas_to_write
    }

    /// While held, nothing of our own (PING, REPLCONF GETACK) enters the stream, so that its end stays
    /// where a manual failover found it.
    pub fn hold_stream(&mut self, hold: bool) {
        self.serving.hold_stream(hold);
    }

    // ── Snapshots for replicas ──────────────────────────────────────────────────────────────────

    /// Which background work of the engine, other than a snapshot for replicas, is under way.
    pub fn background(&mut self, now: Now, journal: &mut Journal, work: Background) {
        let (serving, _, mut cx) = self.split(now, journal);
        serving.background(&mut cx, work);
    }

    /// The snapshot that was asked for begins now: it holds the data as of the journal's end. Put
    /// [`Replication::rdb_info`] into it.
    pub fn snapshot_began(&mut self, now: Now, journal: &mut Journal) {
        let (serving, _, mut cx) = self.split(now, journal);
        serving.snapshot_began(&mut cx);
    }

    /// The snapshot went to a file, is complete, and has this length; its bytes follow.
    pub fn snapshot_size(&mut self, now: Now, journal: &mut Journal, bytes: u64) {
        let (serving, _, mut cx) = self.split(now, journal);
        serving.snapshot_size(&mut cx, bytes);
    }

    /// Bytes of the snapshot.
    pub fn snapshot_chunk(&mut self, now: Now, journal: &mut Journal, bytes: &Bytes) {
        let (serving, _, mut cx) = self.split(now, journal);
        serving.snapshot_chunk(&mut cx, bytes);
    }

    /// The snapshot is complete, or failed.
    pub fn snapshot_ended(&mut self, now: Now, journal: &mut Journal, ok: bool) {
        let (serving, _, mut cx) = self.split(now, journal);
        serving.snapshot_ended(&mut cx, ok);
    }

    /// The most bytes that wait for the socket of a replica in the snapshot: pause the walk while it is large.
    pub fn snapshot_pending(&self) -> u64 {
        self.serving.snapshot_pending()
    }

    /// The replication part of an RDB file made now; `None` if no history could go on from it.
    pub fn rdb_info(&self, journal: &Journal) -> Option<RdbInfo> {
        let stream_db = match &self.following {
            None => self
                .serving
                .has_backlog()
                .then(|| journal.db().unwrap_or(0)),
            Some(following) => following.stream_db(),
        }?;
        Some(RdbInfo {
            stream_db,
            replid: self.ids.current(),
            offset: journal.end(),
        })
    }

    // ── Following a primary ─────────────────────────────────────────────────────────────────────

    /// At start-up, before data is loaded: we are a replica by configuration.
    pub fn start_following(&mut self, now: Now, host: &str, port: u16) {
        self.following = Some(Following::new(now, host, port));
    }

    /// At start-up: the data was loaded from a file of this history. Call it before the journal gets
    /// anything (the DELs of keys that expired meanwhile).
    pub fn restored(&mut self, now: Now, journal: &mut Journal, info: RdbInfo) {
        if info.offset > MAX_OFFSET {
            return;
        }
        journal.rebase(info.offset);
        let (serving, following, cx) = self.split(now, journal);
        match following {
            Some(following) => {
                cx.ids.adopt(info.replid);
                following.restored(info.stream_db);
                cx.journal.assume_db(info.stream_db);
            }
            None => {
                cx.ids.descend_from(info.replid, info.offset);
            }
        }
        serving.restored(cx.now, info.offset);
    }

    /// REPLICAOF host port: follow this primary from now on.
    pub fn set_primary(&mut self, now: Now, journal: &mut Journal, host: &str, port: u16) {
        let (_, following, mut cx) = self.split(now, journal);
        match following {
            Some(following) => following.retarget(&mut cx, host, port),
            None => {
                cx.out.push(Action::Demoted);
                let mut new = Following::new(now, host, port);
                new.resume_own_history(&mut cx);
                *following = Some(new);
            }
        }
        let (_, following, mut cx) = self.split(now, journal);
        if let Some(following) = following {
            following.connect(&mut cx);
        }
    }

    /// REPLICAOF NO ONE: become a primary with the data that we have.
    pub fn unset_primary(&mut self, now: Now, journal: &mut Journal) {
        let Some(mut following) = self.following.take() else {
            return;
        };
        let (serving, _, mut cx) = self.split(now, journal);
        following.abandon(&mut cx);
        cx.ids.shift(cx.journal.end());
        cx.out.warning(alloc::format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            cx.ids.previous(),
            cx.ids.second_offset(),
            cx.ids.current()
        ));
        // They learn of the new id when they come back, and then continue.
        serving.disconnect_all(&mut cx);
        serving.promoted(now);
        cx.journal.forget_db();
        cx.out.push(Action::Promoted);
    }

    /// Whether this server is a replica.
    pub fn following(&self) -> bool {
        self.following.is_some()
    }

    /// The primary that we follow: host and port.
    pub fn primary(&self) -> Option<(&str, u16)> {
        self.following.as_ref().map(Following::primary)
    }

    /// Whether the stream from our primary is up (`master_link_status:up`).
    pub fn link_up(&self) -> bool {
        self.following.as_ref().is_some_and(Following::is_connected)
    }

    /// Whether a synchronisation with the primary that we follow now, full or partial, has ended well.
    pub fn has_synced(&self) -> bool {
        self.following.as_ref().is_some_and(Following::has_synced)
    }

    /// Since when the link to our primary has been down, in microseconds of the monotonic clock;
    /// `None` while it is up, and before it ever was.
    pub fn link_down_since(&self) -> Option<u64> {
        self.following.as_ref()?.down_since()
    }

    /// Whether a connection is the link to our primary.
    pub fn is_primary_link(&self, conn: ConnId) -> bool {
        self.following.as_ref().is_some_and(|f| f.is_link(conn))
    }

    /// The name of the connection that an [`Action::Connect`] opens.
    pub fn connecting(&mut self, conn: ConnId) {
        if let Some(following) = &mut self.following {
            following.connecting(conn);
        }
    }

    /// The connection to the primary is open.
    pub fn connected(&mut self, now: Now, journal: &mut Journal, conn: ConnId) {
        let (_, following, mut cx) = self.split(now, journal);
        if let Some(following) = following.as_mut().filter(|f| f.is_link(conn)) {
            following.connected(&mut cx);
        }
    }

    /// Bytes from the primary, split anywhere.
    pub fn receive(&mut self, now: Now, journal: &mut Journal, conn: ConnId, bytes: &[u8]) {
        let (serving, following, mut cx) = self.split(now, journal);
        if let Some(following) = following.as_mut().filter(|f| f.is_link(conn)) {
            following.receive(&mut cx, serving, bytes);
            if let Some(accepted) = following.taken_over.take() {
                self.failover_answered(now, journal, accepted);
            }
        }
    }

    /// The payload was checked and loaded and has replaced the old data; `stream_db` is its `repl-stream-db`.
    ///
    /// The journal starts over at the primary's offset, and our own replicas must start over too.
    pub fn loaded(&mut self, now: Now, journal: &mut Journal, stream_db: Option<u32>) {
        let (serving, following, mut cx) = self.split(now, journal);
        if let Some(following) = following {
            following.loaded(&mut cx, serving, stream_db);
        }
    }

    /// The payload could not be loaded; the old data is still there.
    pub fn load_failed(&mut self, now: Now, journal: &mut Journal, reason: &str) {
        let (_, following, mut cx) = self.split(now, journal);
        if let Some(following) = following {
            following.load_failed(&mut cx, reason);
        }
    }

    /// The old data was dropped before the new could be loaded: its history ends here, for us and for
    /// our replicas. Only for an engine that cannot hold both at once.
    pub fn data_dropped(&mut self, now: Now, journal: &mut Journal) {
        let (serving, following, mut cx) = self.split(now, journal);
        if let Some(following) = following {
            following.discard_history(&mut cx);
        }
        serving.disconnect_all(&mut cx);
        serving.drop_backlog();
        cx.ids.renew();
    }

    /// Whole commands of the stream, `bytes` long, were executed, and the link is in database `db` now.
    /// Never inside MULTI: a transaction is reported as one, with its EXEC.
    ///
    /// # Panics
    ///
    /// If more is reported than was received, the link is not up, or somebody else wrote to the
    /// journal: what we execute and what we count would part for ever.
    pub fn applied(&mut self, now: Now, journal: &mut Journal, bytes: u64, db: u32) {
        let (_, following, mut cx) = self.split(now, journal);
        if let Some(following) = following {
            following.applied(&mut cx, bytes, db);
        }
    }

    /// The primary's stream cannot be parsed: drop the link and never continue this history.
    pub fn stream_corrupt(&mut self, now: Now, journal: &mut Journal) {
        let (_, following, mut cx) = self.split(now, journal);
        if let Some(following) = following {
            following.stream_corrupt(&mut cx);
        }
    }

    /// Bytes received from the primary and not yet applied. Stop reading from it while they are many.
    pub fn unapplied_bytes(&self) -> u64 {
        self.following.as_ref().map_or(0, Following::unapplied)
    }

    /// The offset that a failover may credit us with: everything applied of the primary that we follow
    /// *now*, and 0 until we have synchronised with it once. An offset of another history must not win.
    pub fn electable_offset(&self, journal: &Journal) -> u64 {
        match &self.following {
            Some(following) if !following.has_synced() => 0,
            _ => journal.end(),
        }
    }

    /// The ids of our history.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Starts the figures over (CONFIG RESETSTAT).
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
    }

    /// Grows a new history from here on (DEBUG CHANGE-REPL-ID).
    pub fn change_id(&mut self) {
        self.ids.renew();
    }
}
