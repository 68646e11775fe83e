//! Serving replicas: one link for each, the backlog, synchronisation requests, acknowledgements.
//!
//! A replica's life, as INFO shows it:
//!
//! ```text
//!  PSYNC ──▶ can it continue? ──yes──▶ +CONTINUE ──────────────────────────────▶ online
//!                 │ no                                                              ▲
//!                 ▼         a snapshot begins: +FULLRESYNC id offset                │ its bytes are out
//!           wait_bgsave ───────────────▶ wait_bgsave ───▶ (send_bulk, from a file) ─┘
//! ```
//!
//! Each link has a position in the journal: the next byte of the stream that it is sent. It is set
//! when the link is promised a stream (the snapshot's offset, or the one it continues from), and the
//! journal is kept from there on, so a slow snapshot costs memory but loses nothing.
//!
//! The *backlog* is not a buffer but a promise: the newest `repl-backlog-size` bytes of the journal stay.

mod limits;

use super::id::ReplId;
use super::snapshot::Snapshot;
use super::{Action, CRON_US, Cx, Outbox, Settings, seconds};
use crate::journal::Journal;
use crate::{Address, ConnId, Now};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;

/// A link is given stream while less than this waits for its socket.
const WINDOW_BYTES: u64 = 1 << 20;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// A client's request to become a replica.
#[derive(Clone, Copy, Debug)]
pub struct SyncRequest<'a> {
    /// Whose.
    pub conn: ConnId,
    /// Its address.
    pub peer: &'a Address,
    /// The command: `SYNC`, or `PSYNC` id offset [`FAILOVER`]; at least one, and three for PSYNC.
    pub args: &'a [&'a [u8]],
    /// Whether replies to earlier commands still wait to be sent.
    pub output_pending: bool,
    /// The client as CLIENT LIST describes it, for the log.
    pub client_info: &'a str,
}

impl SyncRequest<'_> {
    fn is_psync(&self) -> bool {
        self.args.len() >= 3 && self.args[0].eq_ignore_ascii_case(b"psync")
    }

    pub(super) fn wants_failover(&self) -> bool {
        self.is_psync()
            && self
                .args
                .get(3)
                .is_some_and(|arg| arg.eq_ignore_ascii_case(b"failover"))
    }
}

/// What became of a [`SyncRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncReply {
    /// Reply with this error (without the leading `-` and the line end).
    Error(String),
    /// It is a replica already: no reply.
    Ignored,
    /// The connection is a replica's now: no reply, ever again.
    Taken,
}

/// Background work of the engine that keeps a snapshot for replicas from starting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    /// None.
    #[default]
    Idle,
    /// Some other than a BGSAVE: an AOF rewrite.
    Other,
    /// A BGSAVE that was not started for replicas.
    Save,
}

/// What a replica wants in its snapshot (REPLCONF rdb-filter-only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The databases.
    pub data: bool,
    /// The functions.
    pub functions: bool,
}

impl Filter {
    /// Everything.
    pub const ALL: Filter = Filter {
        data: true,
        functions: true,
    };
}

/// What a connection said of itself by REPLCONF, before or after it became a replica.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub ip: Option<String>,
    pub port: i64,
    pub eof: bool,
    pub psync2: bool,
    pub rdb_only: bool,
    pub filter: Filter,
}

impl Default for Announced {
    fn default() -> Announced {
        Announced {
            ip: None,
            port: 0,
            eof: false,
            psync2: false,
            rdb_only: false,
            filter: Filter::ALL,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Waits for a snapshot to begin.
    WaitStart,
    /// In the snapshot that is being made.
    WaitEnd,
    /// Is sent the snapshot's file.
    SendBulk,
    /// Has its data.
    Online,
    /// Is closed as soon as its last output is out.
    Closing,
}

/// A replica.
#[derive(Debug)]
pub(super) struct Link {
    pub conn: ConnId,
    pub announced: Announced,
    pub state: LinkState,
    /// When it asked to be synchronised.
    pub since_us: u64,
    /// It came by SYNC: it knows no offsets and acknowledges nothing.
    pub pre_psync: bool,
    /// The next byte of the stream for it. Meaningless in `WaitStart`.
    pub position: u64,
    /// Whether the stream may flow: after a streamed snapshot only once the replica acknowledged it.
    pub streaming: bool,
    /// Output that waits for its socket, in bytes.
    pub pending: u64,
    /// When its socket last took something, or its output last was empty.
    pub progress_us: u64,
    pub ack_offset: u64,
    /// What of that its disk has.
    pub synced_offset: u64,
    pub ack_us: u64,
    /// Since it has its data it was once within its output limit.
    caught_up: bool,
    over_soft_since_us: Option<u64>,
    peer_ip: String,
}

impl Link {
    fn new(request: &SyncRequest<'_>, announced: Announced, now: Now) -> Link {
        Link {
            conn: request.conn,
            announced,
            state: LinkState::WaitStart,
            since_us: now.mono_us,
            pre_psync: false,
            position: 0,
            streaming: false,
            pending: 0,
            progress_us: now.mono_us,
            ack_offset: 0,
            synced_offset: 0,
            ack_us: now.mono_us,
            caught_up: false,
            over_soft_since_us: None,
            peer_ip: match request.peer {
                Address::Ip(addr) => addr.ip().to_string(),
                Address::Unix(_) => "/unixsocket".into(),
            },
        }
    }

    pub fn ip(&self) -> &str {
        self.announced.ip.as_deref().unwrap_or(&self.peer_ip)
    }

    /// The replica as log lines name it.
    pub fn name(&self) -> String {
        match (self.ip(), self.announced.port) {
            (ip, 0) => format!("{ip}:<unknown-replica-port>"),
            (ip, port) if ip.contains(':') => format!("[{ip}]:{port}"),
            (ip, port) => format!("{ip}:{port}"),
        }
    }

    /// What a server that shuts down says of it, when it has not got everything up to `end`.
    fn lag_text(&self, now: Now, end: u64) -> String {
        let online = self.state == LinkState::Online;
        let silent_s = if online { lag_s(now, self.ack_us) } else { 0 };
        format!(
            "Lagging replica {} reported offset {} behind master, lag={silent_s}, state={}.",
            self.name(),
            end.saturating_sub(self.ack_offset),
            self.state.name().unwrap_or("unknown replication state"),
        )
    }

    /// Whether it was promised the journal from its position on.
    fn holds_journal(&self) -> bool {
        use LinkState::{Online, SendBulk, WaitEnd};
        matches!(self.state, WaitEnd | SendBulk | Online) && !self.announced.rdb_only
    }

    pub fn send(&mut self, now: Now, out: &mut Outbox, bytes: Bytes) {
        if self.pending == 0 {
            self.progress_us = now.mono_us;
        }
        self.pending += bytes.len() as u64;
        out.push(Action::Send {
            conn: self.conn,
            bytes,
        });
    }

    /// Has its snapshot. A replica that wanted nothing else is let go.
    pub fn put_online(&mut self, cx: &mut Cx<'_>) {
        let name = self.name();
        if self.announced.rdb_only {
            self.state = LinkState::Closing;
            cx.out.notice(format!(
                "RDB transfer completed, rdb only replica ({name}) should be disconnected asap"
            ));
            return;
        }
        self.state = LinkState::Online;
        self.ack_us = cx.now.mono_us;
        cx.out
            .notice(format!("Synchronization with replica {name} succeeded"));
    }
}

/// The serving side.
#[derive(Debug)]
pub(super) struct Serving {
    /// What connections that are no replicas (yet) said by REPLCONF.
    pub announced: BTreeMap<ConnId, Announced>,
    /// The replicas in the order of their arrival.
    pub links: Vec<Link>,
    /// The offset before which the backlog promises nothing, if there is a backlog.
    backlog: Option<u64>,
    pub snapshot: Option<Snapshot>,
    pub background: Background,
    no_replicas_since_us: u64,
    next_ping_us: u64,
    acks_wanted: bool,
    hold_stream: bool,
    /// Replicas whose full synchronisation was cut by the output limit, and how often.
    patience: BTreeMap<String, u32>,
}

impl Serving {
    pub fn new(now: Now) -> Serving {
        Serving {
            announced: BTreeMap::new(),
            links: Vec::new(),
            backlog: None,
            snapshot: None,
            background: Background::Idle,
            no_replicas_since_us: now.mono_us,
            next_ping_us: now.mono_us,
            acks_wanted: false,
            hold_stream: false,
            patience: BTreeMap::new(),
        }
    }

    // ── Links ───────────────────────────────────────────────────────────────────────────────────

    pub fn link_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.conn == conn)
    }

    pub fn behind(&self, conn: ConnId, end: u64) -> u64 {
        let link = self.links.iter().find(|link| link.conn == conn);
        let link = link.filter(|link| link.holds_journal());
        link.map_or(0, |link| end.saturating_sub(link.position))
    }

    pub fn is_replica(&self, conn: ConnId) -> bool {
        self.links.iter().any(|link| link.conn == conn)
    }

    pub fn replica_count(&self) -> usize {
        self.links.len()
    }

    pub fn lagging(&self, now: Now, end: u64) -> Vec<String> {
        let behind = self.links.iter().filter(|link| link.ack_offset < end);
        behind.map(|link| link.lag_text(now, end)).collect()
    }

    pub fn closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.announced.remove(&conn);
        if self.forget(cx, conn) {
            self.check_snapshot_audience(cx);
        }
    }

    /// Closes a replica's connection ourselves.
    pub fn disconnect(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.forget(cx, conn) {
            cx.out.push(Action::Close { conn });
        }
    }

    pub fn disconnect_all(&mut self, cx: &mut Cx<'_>) {
        while let Some(link) = self.links.first() {
            self.disconnect(cx, link.conn);
        }
        self.check_snapshot_audience(cx);
    }

    fn forget(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> bool {
        let Some(index) = self.links.iter().position(|link| link.conn == conn) else {
            return false;
        };
        let link = self.links.remove(index);
        cx.out
            .retract(|action| matches!(action, Action::Send { conn: to, .. } if *to == conn));
        cx.out
            .warning(format!("Connection with replica {} lost.", link.name()));
        if self.links.is_empty() {
            self.no_replicas_since_us = cx.now.mono_us;
        }
        true
    }

    pub fn keepalive(&mut self, now: Now, conn: ConnId) {
        if let Some(link) = self.link_mut(conn) {
            link.ack_us = now.mono_us;
        }
    }

    pub fn output_pending(&mut self, now: Now, conn: ConnId, bytes: u64, out: &mut Outbox) {
        let Some(link) = self.link_mut(conn) else {
            return;
        };
        if bytes < link.pending || bytes == 0 {
            link.progress_us = now.mono_us;
        }
        link.pending = bytes;
        let closing = bytes == 0 && link.state == LinkState::Closing;
        let queued =
            |action: &Action| matches!(action, Action::Send { conn: to, .. } if *to == conn);
        if closing && !out.0.iter().any(queued) {
            self.links.retain(|link| link.conn != conn);
            if self.links.is_empty() {
                self.no_replicas_since_us = now.mono_us;
            }
            out.push(Action::Close { conn });
        }
    }

    // ── The backlog ─────────────────────────────────────────────────────────────────────────────

    pub fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Promises the journal from its end on, unless a backlog exists.
    pub fn create_backlog(&mut self, at: u64) {
        self.backlog.get_or_insert(at);
    }

    pub fn drop_backlog(&mut self) {
        self.backlog = None;
    }

    /// The offset of the oldest byte that a returning replica can be given; `None` without a backlog.
    /// Bytes that attached replicas still need are kept anyway, so they count.
    pub fn backlog_start(&self, settings: &Settings, journal: &Journal) -> Option<u64> {
        let newest = journal.end().saturating_sub(settings.backlog_bytes);
        let links = self.links.iter().filter(|link| link.holds_journal());
        let oldest = links.map(|link| link.position).fold(newest, u64::min);
        Some(oldest.max(self.backlog?).max(journal.start()))
    }

    pub fn needed_from(&self, settings: &Settings, journal: &Journal) -> u64 {
        let links = self.links.iter().filter(|link| link.holds_journal());
        let backlog = self.backlog_start(settings, journal);
        links
            .map(|link| link.position)
            .chain(backlog)
            .fold(journal.end(), u64::min)
    }

    /// After a start from a file whose history may go on.
    pub fn restored(&mut self, now: Now, offset: u64) {
        self.create_backlog(offset);
        self.no_replicas_since_us = now.mono_us;
    }

    /// We are a primary now: the time without replicas counts from here, or a replica promoted after a
    /// long life would drop its backlog before its siblings arrive.
    pub fn promoted(&mut self, now: Now) {
        self.no_replicas_since_us = now.mono_us;
    }

    // ── SYNC and PSYNC ──────────────────────────────────────────────────────────────────────────

    pub fn sync(&mut self, cx: &mut Cx<'_>, request: &SyncRequest<'_>) -> SyncReply {
        if request.output_pending {
            return SyncReply::Error("ERR SYNC and PSYNC are invalid with pending output".into());
        }
        let announced = self.announced.get(&request.conn).cloned();
        let mut link = Link::new(request, announced.unwrap_or_default(), cx.now);
        if link.announced.filter != Filter::ALL && !link.announced.eof {
            return SyncReply::Error("ERR Filtered replica requires EOF capability".into());
        }
        let name = link.name();
        cx.out
            .notice(format!("Replica {name} asks for synchronization"));
        if request.is_psync() {
            let (replid, offset) = (request.args[1], request.args[2]);
            let Some(offset) = parse_i64(offset) else {
                cx.out.warning(format!(
                    "Replica {name} asks for synchronization but with a wrong offset"
                ));
                return SyncReply::Error("ERR value is not an integer or out of range".into());
            };
            if let Some(position) = self.continuation(cx, &name, replid, offset) {
                cx.stats.sync_partial_ok += 1;
                self.continue_from(cx, link, position);
                return SyncReply::Taken;
            }
            if replid.first() != Some(&b'?') {
                cx.stats.sync_partial_err += 1;
            }
        } else {
            link.pre_psync = true;
        }
        cx.stats.sync_full += 1;
        self.announced.remove(&link.conn);
        self.links.push(link);
        self.begin_history(cx);
        self.queue_for_snapshot(cx);
        SyncReply::Taken
    }

    /// The position from which a replica that has history `replid` and wants byte `offset` (counted
    /// from one) can go on with ours, or `None`, with the reason logged.
    fn continuation(&self, cx: &mut Cx<'_>, name: &str, replid: &[u8], offset: i64) -> Option<u64> {
        let position = offset.checked_sub(1).and_then(|p| u64::try_from(p).ok());
        let shared = match position {
            Some(position) => cx.ids.shares(replid, position),
            None => cx.ids.current().matches(replid) || cx.ids.previous().matches(replid),
        };
        if !shared {
            cx.out.notice(self.mismatch(cx.ids, name, replid, offset));
            return None;
        }
        let start = self.backlog_start(cx.settings, cx.journal);
        let there = |p: &u64| start.is_some_and(|start| (start..=cx.journal.end()).contains(p));
        if let Some(position) = position.filter(there) {
            return Some(position);
        }
        cx.out.notice(format!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."
        ));
        if position.is_some_and(|position| position >= cx.journal.end()) {
            cx.out.warning(format!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."
            ));
        }
        None
    }

    fn mismatch(&self, ids: &super::Ids, name: &str, replid: &[u8], offset: i64) -> String {
        if replid.first() == Some(&b'?') {
            format!("Full resync requested by replica {name}")
        } else if ids.previous().matches(replid) {
            format!(
                "Partial resynchronization not accepted: Requested offset for second ID was {offset}, but I can reply up to {}",
                ids.second_offset()
            )
        } else {
            format!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my replication IDs are '{}' and '{}')",
                String::from_utf8_lossy(replid),
                ids.current(),
                ids.previous()
            )
        }
    }

    fn continue_from(&mut self, cx: &mut Cx<'_>, mut link: Link, position: u64) {
        link.state = LinkState::Online;
        link.position = position;
        // It asks for what follows everything that it has applied.
        link.ack_offset = position;
        link.streaming = !link.announced.rdb_only;
        let answer = if link.announced.psync2 {
            format!("+CONTINUE {}\r\n", cx.ids.current())
        } else {
            "+CONTINUE\r\n".into()
        };
        link.send(cx.now, cx.out, Bytes::from(answer));
        cx.out.notice(format!(
            "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from offset {}.",
            link.name(),
            cx.journal.end() - position,
            position + 1
        ));
        self.announced.remove(&link.conn);
        self.links.push(link);
    }

    /// The first replica: from here on a history is kept. Writes before were not counted by any id that
    /// somebody else may know, so the id is new.
    fn begin_history(&mut self, cx: &mut Cx<'_>) {
        if self.backlog.is_none() {
            cx.ids.renew();
            self.create_backlog(cx.journal.end());
            cx.out.notice(format!(
                "Replication backlog created, my new replication IDs are '{}' and '{}'",
                cx.ids.current(),
                ReplId::NONE
            ));
        }
    }

    // ── Acknowledgements ────────────────────────────────────────────────────────────────────────

    /// A replica has applied everything up to an offset, and its disk has everything up to `synced`.
    pub fn ack(&mut self, cx: &mut Cx<'_>, conn: ConnId, offset: u64, synced: Option<u64>) {
        let end = cx.journal.end();
        let Some(link) = self.links.iter_mut().find(|link| link.conn == conn) else {
            return;
        };
        link.ack_us = cx.now.mono_us;
        // Nobody can have applied what was not written: such a replica must not satisfy a WAIT.
        if offset <= end {
            link.ack_offset = link.ack_offset.max(offset);
            // (Less than before, if its append-only file is off or begun anew.)
            link.synced_offset = synced.unwrap_or(0).min(offset);
        }
        if link.state == LinkState::Online && !link.streaming && !link.announced.rdb_only {
            self.start_stream(conn);
        }
    }

    /// The stream may flow to a replica that has its data now.
    pub fn start_stream(&mut self, conn: ConnId) {
        if let Some(link) = self.links.iter_mut().find(|link| link.conn == conn) {
            link.streaming = true;
        }
    }

    pub fn request_acks(&mut self) {
        self.acks_wanted = true;
    }

    pub fn hold_stream(&mut self, hold: bool) {
        self.hold_stream = hold;
    }

    fn online(&self) -> impl Iterator<Item = &Link> {
        self.links
            .iter()
            .filter(|link| link.state == LinkState::Online)
    }

    pub fn acked_replicas(&self, offset: u64) -> usize {
        self.online()
            .filter(|link| link.ack_offset >= offset)
            .count()
    }

    pub fn synced_replicas(&self, offset: u64) -> usize {
        self.online()
            .filter(|link| link.synced_offset >= offset)
            .count()
    }

    pub fn acked_by(&self, replicas: usize) -> u64 {
        let mut acks: Vec<u64> = self.online().map(|link| link.ack_offset).collect();
        acks.sort_unstable_by(|a, b| b.cmp(a));
        match replicas {
            0 => u64::MAX,
            n => acks.get(n - 1).copied().unwrap_or(0),
        }
    }

    pub fn good_replicas(&self, now: Now, settings: &Settings) -> usize {
        self.online()
            .filter(|link| lag_s(now, link.ack_us) <= settings.min_replicas_max_lag_s)
            .count()
    }

    // ── Routine ─────────────────────────────────────────────────────────────────────────────────

    pub fn needs_cron(&self, settings: &Settings) -> bool {
        !self.links.is_empty() || (self.backlog.is_some() && settings.backlog_ttl_s > 0)
    }

    pub fn cron(&mut self, cx: &mut Cx<'_>) {
        self.ping(cx);
        self.keep_waiters_alive(cx);
        self.disconnect_timed_out(cx);
        self.check_soft_limits(cx);
        self.expire_backlog(cx);
    }

    /// A primary writes PING into its stream, so that replicas can tell a quiet primary from a lost one.
    fn ping(&mut self, cx: &mut Cx<'_>) {
        if cx.now.mono_us < self.next_ping_us {
            return;
        }
        let period = seconds(cx.settings.ping_period_s).max(CRON_US);
        self.next_ping_us = cx.now.mono_us.saturating_add(period);
        if !cx.following && !self.links.is_empty() && !self.hold_stream {
            cx.journal.append_raw(PING);
        }
    }

    /// Newlines to replicas that wait for a snapshot. They belong to no stream and count nowhere.
    fn keep_waiters_alive(&mut self, cx: &mut Cx<'_>) {
        let streamed = self.snapshot.as_ref().is_some_and(Snapshot::is_streamed);
        for link in &mut self.links {
            let waits = match link.state {
                LinkState::WaitStart => true,
                LinkState::WaitEnd => !streamed,
                _ => false,
            };
            if waits {
                link.send(cx.now, cx.out, Bytes::from_static(b"\n"));
            }
        }
    }

    fn disconnect_timed_out(&mut self, cx: &mut Cx<'_>) {
        let timeout = seconds(cx.settings.timeout_s);
        let late = |since: u64| cx.now.mono_us.saturating_sub(since) > timeout;
        let timed_out = |link: &Link| match link.state {
            LinkState::Online if !link.pre_psync && late(link.ack_us) => Some("streaming sync"),
            LinkState::WaitEnd | LinkState::SendBulk
                if link.pending > 0 && late(link.progress_us) =>
            {
                Some("full sync")
            }
            LinkState::Closing if late(link.progress_us) => Some("full sync"),
            _ => None,
        };
        let late: Vec<(ConnId, String)> = self
            .links
            .iter()
            .filter_map(|link| Some((link, timed_out(link)?)))
            .map(|(link, stage)| {
                let name = link.name();
                (
                    link.conn,
                    format!("Disconnecting timedout replica ({stage}): {name}"),
                )
            })
            .collect();
        for (conn, line) in late {
            cx.out.warning(line);
            self.disconnect(cx, conn);
        }
        self.check_snapshot_audience(cx);
    }

    /// A primary without replicas stops counting after a while. What it writes from then on has no
    /// offset, so the id must not name it.
    fn expire_backlog(&mut self, cx: &mut Cx<'_>) {
        let ttl = cx.settings.backlog_ttl_s;
        let idle = cx.now.mono_us.saturating_sub(self.no_replicas_since_us);
        let due = self.links.is_empty() && ttl > 0 && idle > seconds(ttl);
        if due && !cx.following && self.backlog.is_some() {
            cx.ids.renew();
            self.drop_backlog();
            cx.out.notice(format!(
                "Replication backlog freed after {ttl} seconds without connected replicas."
            ));
        }
    }

    // ── The stream ──────────────────────────────────────────────────────────────────────────────

    /// Feeds each link from the journal, as far as its window allows.
    pub fn pump(&mut self, cx: &mut Cx<'_>) {
        if core::mem::take(&mut self.acks_wanted)
            && !cx.following
            && !self.links.is_empty()
            && !self.hold_stream
        {
            cx.journal.append_raw(GETACK);
        }
        cx.journal.seal();
        if self.links.is_empty() {
            return;
        }
        self.check_hard_limits(cx);
        for link in &mut self.links {
            let room = WINDOW_BYTES.saturating_sub(link.pending);
            if !link.streaming || room == 0 || link.position >= cx.journal.sealed() {
                continue;
            }
            for bytes in cx.journal.read(link.position, room) {
                link.position += bytes.len() as u64;
                cx.stats.output_bytes += bytes.len() as u64;
                link.send(cx.now, cx.out, bytes);
            }
        }
    }
}

/// Whole seconds since.
pub(super) fn lag_s(now: Now, since_us: u64) -> u64 {
    now.mono_us.saturating_sub(since_us) / 1_000_000
}

/// A decimal integer as Redis reads one in an argument: no spaces, no plus sign, no leading zeros.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let text = core::str::from_utf8(text).ok()?;
    canonical.then(|| text.parse().ok())?
}
