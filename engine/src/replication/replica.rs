//! Following a primary: connecting, the handshake, the payload, the stream, and coming back.
//!
//! ```text
//! connect ─▶ connecting ─▶ handshake ─┬─ +FULLRESYNC ─▶ transfer ─▶ loading ─▶ connected
//!    ▲                                └─ +CONTINUE ──────────────────────────▶ connected
//!    └──────────── a lost link, an error, a timeout ◀── (from every state) ───────┘
//! ```
//!
//! The handshake, ours on the left, the primary's on the right:
//!
//! ```text
//! PING                                   +PONG, or -NOAUTH…, -NOPERM…
//! AUTH [user] password  (if configured)  +OK
//! REPLCONF listening-port n              +OK (an error is survived)
//! REPLCONF ip-address a (if configured)  +OK (an error is survived)
//! REPLCONF capa eof capa psync2          +OK (an error is survived)
//! PSYNC id offset+1  or  PSYNC ? -1      +CONTINUE [id], +FULLRESYNC id offset, or an error
//! ```
//!
//! Our own history (ids, journal) is what we may continue from. It is replaced only when a payload has
//! been loaded whole, so a broken transfer costs nothing. Its end is what was *applied*: bytes received
//! but not executed are forgotten with the link and asked for again.

mod handshake;

use super::id::ReplId;
use super::payload::Payload;
use super::primary::{Serving, lag_s};
use super::{Action, CRON_US, Cx, seconds};
use crate::{ConnId, Now};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;

/// The longest line that a primary may send outside the payload and the stream.
const MAX_LINE_BYTES: usize = 1024;

/// More than this received and not applied is no stream that anybody can follow (Redis's bound for a
/// client's unprocessed input).
const MAX_UNAPPLIED_BYTES: u64 = 1 << 30;

/// A primary, as seen by its replica.
#[derive(Debug)]
pub(super) struct Following {
    host: String,
    port: u16,
    state: State,
    link: Option<ConnId>,
    /// The end of an unfinished line.
    line: Vec<u8>,
    last_io_us: u64,
    /// When the last attempt to connect began.
    attempt_us: u64,
    down_since_us: Option<u64>,
    /// The link is down, but our history is whole and in this database: it may be continued.
    resume: Option<u32>,
    /// We have been connected to this primary, so our offset is one of its history.
    synced: bool,
    /// Our primary-to-be is to take our role first, before we follow it (FAILOVER); and what it said to that.
    hands_over: bool,
    pub(super) taken_over: Option<bool>,
    /// The end of what was applied while connected. The journal must end there too.
    offset: u64,
    /// What was received and not yet applied, in order.
    unapplied: VecDeque<Bytes>,
    unapplied_bytes: u64,
}

#[derive(Debug)]
enum State {
    /// Waiting for the next attempt.
    Connect,
    Connecting,
    /// The replies that are awaited, in order.
    Handshake(VecDeque<Step>),
    /// The snapshot's head is awaited.
    AwaitPayload(Origin),
    Transfer(Origin, Payload),
    /// The engine loads the payload.
    Loading {
        origin: Origin,
        /// It was streamed: the primary waits for an acknowledgement.
        marked: bool,
        link_lost: bool,
        /// What INFO says of its size and of the bytes read.
        progress: (i64, u64),
    },
    Connected {
        db: u32,
        pre_psync: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ping,
    Auth,
    Port,
    Ip,
    Capa,
    Psync,
}

/// The history of a payload; `None` from a primary that knows no PSYNC.
type Origin = Option<(ReplId, u64)>;

/// Why a connection to the primary begins.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    AfterFailure,
    AfterLoss,
    First,
}

impl Following {
    pub fn new(now: Now, host: &str, port: u16) -> Following {
        Following {
            host: host.to_string(),
            port,
            state: State::Connect,
            link: None,
            line: Vec::new(),
            last_io_us: now.mono_us,
            attempt_us: 0,
            down_since_us: None,
            resume: None,
            synced: false,
            hands_over: false,
            taken_over: None,
            offset: 0,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
        }
    }

    // ── Queries ─────────────────────────────────────────────────────────────────────────────────

    pub fn primary(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub fn is_link(&self, conn: ConnId) -> bool {
        self.link == Some(conn)
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    pub fn down_since(&self) -> Option<u64> {
        self.down_since_us
    }

    pub fn has_synced(&self) -> bool {
        self.synced
    }

    pub fn unapplied(&self) -> u64 {
        self.unapplied_bytes
    }

    /// The database of the stream at our offset, if our history can be continued.
    pub fn stream_db(&self) -> Option<u32> {
        match self.state {
            State::Connected { db, .. } => Some(db),
            _ => self.resume,
        }
    }

    /// The state's name in ROLE.
    pub fn role_state(&self) -> &'static str {
        match self.state {
            State::Connect => "connect",
            State::Connecting => "connecting",
            State::Handshake(_) => "handshake",
            State::AwaitPayload(_) | State::Transfer(..) | State::Loading { .. } => "sync",
            State::Connected { .. } => "connected",
        }
    }

    /// Size (0 while unknown for a streamed payload, -1 before its head) and bytes read of a payload on
    /// its way, as INFO shows them.
    pub fn transfer(&self) -> Option<(i64, u64)> {
        match &self.state {
            State::AwaitPayload(_) => Some((-1, 0)),
            State::Transfer(_, payload) => Some(progress(payload)),
            State::Loading { progress, .. } => Some(*progress),
            _ => None,
        }
    }

    /// Seconds since the primary was last heard.
    pub fn last_io_s(&self, now: Now) -> u64 {
        lag_s(now, self.last_io_us)
    }

    // ── Beginning and end ───────────────────────────────────────────────────────────────────────

    /// At start-up: the data was loaded from a file whose history may be continued.
    pub fn restored(&mut self, stream_db: u32) {
        self.resume = Some(stream_db);
    }

    /// A primary becomes a replica: if its new primary was its replica, they share their history.
    pub fn resume_own_history(&mut self, cx: &mut Cx<'_>) {
        cx.out.notice(
            "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to synchronize with the new master with just a partial transfer.",
        );
        // Any database will do: a promoted primary begins its stream with SELECT.
        let db = cx.journal.db().unwrap_or(0);
        cx.journal.assume_db(db);
        self.resume = Some(db);
    }

    /// Whoever we follow is to become a primary by our asking.
    pub fn ask_to_take_over(&mut self) {
        self.hands_over = true;
    }

    /// Follow another primary, with the history that we have.
    pub fn retarget(&mut self, cx: &mut Cx<'_>, host: &str, port: u16) {
        self.leave(cx);
        self.host = host.to_string();
        self.port = port;
        self.synced = false;
    }

    /// Follow nobody.
    pub fn abandon(&mut self, cx: &mut Cx<'_>) {
        self.leave(cx);
        self.discard_history(cx);
    }

    pub fn discard_history(&mut self, cx: &mut Cx<'_>) {
        if self.resume.take().is_some() {
            cx.out.notice("Discarding previously cached master state.");
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        if self.is_connected() {
            self.cache_primary(cx);
        }
        self.cut(cx);
    }

    /// Keeps what is needed to continue the stream later.
    fn cache_primary(&mut self, cx: &mut Cx<'_>) {
        cx.out.warning("Connection with master lost.");
        self.down_since_us = Some(cx.now.mono_us);
        if let State::Connected {
            db,
            pre_psync: false,
        } = self.state
        {
            cx.out.notice("Caching the disconnected master state.");
            self.resume = Some(db);
        }
    }

    /// Drops link and progress, whatever the state: we are to connect again.
    fn cut(&mut self, cx: &mut Cx<'_>) {
        let link = self.link.take();
        cx.out.retract(|action| match action {
            Action::Connect { .. } | Action::Stream(_) | Action::StreamBegin { .. } => true,
            Action::Payload(_) | Action::PayloadBegin { .. } | Action::PayloadEnd { .. } => true,
            Action::Send { conn, .. } => Some(*conn) == link,
            _ => false,
        });
        if matches!(self.state, State::Transfer(..) | State::Loading { .. }) {
            cx.out.push(Action::PayloadAbort);
        }
        if let Some(conn) = link {
            cx.out.push(Action::Close { conn });
        }
        self.state = State::Connect;
        self.line.clear();
        self.forget_unapplied();
    }

    fn forget_unapplied(&mut self) {
        self.unapplied.clear();
        self.unapplied_bytes = 0;
    }

    // ── The link ────────────────────────────────────────────────────────────────────────────────

    /// Begins the first attempt to connect.
    pub fn connect(&mut self, cx: &mut Cx<'_>) {
        self.attempt(cx, Attempt::First);
    }

    fn attempt(&mut self, cx: &mut Cx<'_>, attempt: Attempt) {
        // At once, but not again and again: a primary that accepts and hangs up would have us spin.
        let soon = cx.now.mono_us.saturating_sub(self.attempt_us) < CRON_US;
        if soon && !matches!(attempt, Attempt::First) {
            return;
        }
        self.attempt_us = cx.now.mono_us;
        let (host, port) = (&self.host, self.port);
        cx.out.notice(match attempt {
            Attempt::First => format!("Connecting to MASTER {host}:{port}"),
            Attempt::AfterLoss => format!("Reconnecting to MASTER {host}:{port}"),
            Attempt::AfterFailure => format!("Reconnecting to MASTER {host}:{port} after failure"),
        });
        cx.out.push(Action::Connect {
            host: host.clone(),
            port,
        });
        cx.out.notice("MASTER <-> REPLICA sync started");
        self.state = State::Connecting;
        self.last_io_us = cx.now.mono_us;
    }

    pub fn connecting(&mut self, conn: ConnId) {
        self.link = Some(conn);
    }

    pub fn connected(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Connecting) {
            return;
        }
        cx.out
            .notice("Non blocking connect for SYNC fired the event.");
        self.state = State::Handshake([Step::Ping].into());
        self.send(cx, &[b"PING"]);
    }

    /// The link is gone.
    pub fn closed(&mut self, cx: &mut Cx<'_>, reason: &str) {
        self.link = None;
        match &mut self.state {
            State::Loading { link_lost, .. } => {
                // What we have is whole: load it, then continue over a new link.
                *link_lost = true;
                self.forget_unapplied();
            }
            State::Connecting => {
                cx.out
                    .warning(format!("Error condition on socket for SYNC: {reason}"));
                self.cut(cx);
            }
            State::Handshake(_) => {
                cx.out
                    .warning(format!("Failed to read response from the server: {reason}"));
                cx.out
                    .warning("Master did not respond to command during SYNC handshake");
                self.cut(cx);
            }
            State::AwaitPayload(_) => self.fail(
                cx,
                format!("I/O error reading bulk count from MASTER: {reason}"),
            ),
            State::Transfer(..) => self.fail(
                cx,
                "I/O error trying to sync with MASTER: connection lost".into(),
            ),
            State::Connected { .. } => self.lose(cx),
            State::Connect => {}
        }
    }

    /// A connected link ended: try to continue at once, before the primary's backlog moves on.
    fn lose(&mut self, cx: &mut Cx<'_>) {
        self.cache_primary(cx);
        self.cut(cx);
        self.attempt(cx, Attempt::AfterLoss);
    }

    /// An attempt failed in a way that another may mend at once.
    fn fail(&mut self, cx: &mut Cx<'_>, line: String) {
        cx.out.warning(line);
        self.cut(cx);
        self.attempt(cx, Attempt::AfterFailure);
    }

    /// An attempt failed in a way that needs time: the next one comes with the routine.
    fn give_up(&mut self, cx: &mut Cx<'_>, line: String) {
        cx.out.warning(line);
        self.cut(cx);
    }

    fn send(&self, cx: &mut Cx<'_>, args: &[&[u8]]) {
        if let Some(conn) = self.link {
            let bytes = command(args);
            cx.out.push(Action::Send { conn, bytes });
        }
    }

    // ── Routine ─────────────────────────────────────────────────────────────────────────────────

    pub fn cron(&mut self, cx: &mut Cx<'_>) {
        let silent = cx.now.mono_us.saturating_sub(self.last_io_us);
        if silent > seconds(cx.settings.timeout_s) {
            self.time_out(cx);
        }
        match self.state {
            State::Connect => self.connect(cx),
            State::Connected {
                pre_psync: false, ..
            } => self.send_ack(cx),
            State::Loading { .. } => {
                // A single byte is sent whole or not at all, and is no command.
                if let Some(conn) = self.link {
                    let bytes = Bytes::from_static(b"\n");
                    cx.out.push(Action::Send { conn, bytes });
                }
            }
            _ => {}
        }
    }

    fn time_out(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Connecting | State::Handshake(_) => {
                self.fail(cx, "Timeout connecting to the MASTER...".into());
            }
            State::AwaitPayload(_) | State::Transfer(..) => self.fail(
                cx,
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value.".into(),
            ),
            State::Connected { .. } => {
                cx.out
                    .warning("MASTER timeout: no data nor PING received...");
                self.lose(cx);
            }
            State::Connect | State::Loading { .. } => {}
        }
    }

    /// Tells the primary what we have applied, and what of it is on our disk.
    pub fn send_ack(&mut self, cx: &mut Cx<'_>) {
        if !self.is_connected() {
            return;
        }
        let offset = cx.journal.end().to_string();
        let ack: [&[u8]; 3] = [b"REPLCONF", b"ACK", offset.as_bytes()];
        match cx.synced.map(|synced| synced.to_string()) {
            None => self.send(cx, &ack),
            Some(synced) => {
                let [replconf, name, offset] = ack;
                self.send(cx, &[replconf, name, offset, b"FACK", synced.as_bytes()]);
            }
        }
    }

    // ── Bytes ───────────────────────────────────────────────────────────────────────────────────

    pub fn receive(&mut self, cx: &mut Cx<'_>, serving: &mut Serving, mut bytes: &[u8]) {
        cx.stats.input_bytes += bytes.len() as u64;
        self.last_io_us = cx.now.mono_us;
        while !bytes.is_empty() {
            match &mut self.state {
                State::Handshake(_) | State::AwaitPayload(_) => {
                    let Some(rest) = self.take_line(cx, bytes) else {
                        return;
                    };
                    bytes = rest;
                    let line = core::mem::take(&mut self.line);
                    self.handle_line(cx, serving, &line);
                }
                State::Transfer(_, payload) => {
                    let (content, rest) = payload.take(bytes);
                    if !content.is_empty() {
                        cx.out.push(Action::Payload(content));
                    }
                    let Some(rest) = rest else {
                        return;
                    };
                    bytes = rest;
                    self.finish_transfer(cx);
                }
                State::Loading { .. } | State::Connected { .. } => {
                    return self.take_stream(cx, bytes);
                }
                // The link was cut by what stood before these bytes.
                State::Connect | State::Connecting => return,
            }
        }
    }

    /// Moves bytes to the line up to its end, which is left out; returns what follows a whole line.
    fn take_line<'a>(&mut self, cx: &mut Cx<'_>, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + part.len() > MAX_LINE_BYTES {
            let line = "Failed to read response from the server: line too long";
            self.give_up(cx, line.into());
            return None;
        }
        self.line.extend_from_slice(part);
        let rest = &bytes[end? + 1..];
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Some(rest)
    }

    fn handle_line(&mut self, cx: &mut Cx<'_>, serving: &mut Serving, line: &[u8]) {
        match &mut self.state {
            State::Handshake(steps) => match steps.front().copied() {
                // Keepalives of a primary that has not made up its mind yet.
                Some(Step::Psync) if line.is_empty() => {}
                Some(Step::Psync) => self.handle_psync_reply(cx, serving, line),
                Some(step) => {
                    steps.pop_front();
                    self.handle_reply(cx, step, line);
                }
                None => {}
            },
            State::AwaitPayload(_) if line.is_empty() => {}
            State::AwaitPayload(origin) => {
                let origin = *origin;
                self.begin_transfer(cx, origin, line);
            }
            _ => {}
        }
    }

    // ── The payload ─────────────────────────────────────────────────────────────────────────────

    fn begin_transfer(&mut self, cx: &mut Cx<'_>, origin: Origin, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if let Some(error) = text.strip_prefix('-') {
            let line = format!("MASTER aborted replication with an error: {error}");
            return self.fail(cx, line);
        }
        let Some(payload) = Payload::parse(line) else {
            let line = format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{text}'), are you sure the host and port are right?"
            );
            return self.fail(cx, line);
        };
        let target = match cx.settings.diskless_load {
            true => "to parser",
            false => "to disk",
        };
        let size = payload.size();
        cx.out.notice(match size {
            Some(size) => {
                format!("MASTER <-> REPLICA sync: receiving {size} bytes from master {target}")
            }
            None => format!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {target}"
            ),
        });
        cx.out.push(Action::PayloadBegin { size });
        self.state = State::Transfer(origin, payload);
        if size == Some(0) {
            self.finish_transfer(cx);
        }
    }

    fn finish_transfer(&mut self, cx: &mut Cx<'_>) {
        let State::Transfer(origin, payload) = &self.state else {
            return;
        };
        let (origin, marked) = (*origin, payload.is_marked());
        let progress = progress(payload);
        cx.out
            .notice("MASTER <-> REPLICA sync: Loading DB in memory");
        let (replid, offset) = origin.unwrap_or((ReplId::NONE, 0));
        cx.out.push(Action::PayloadEnd { replid, offset });
        self.state = State::Loading {
            origin,
            marked,
            link_lost: false,
            progress,
        };
    }

    pub fn loaded(&mut self, cx: &mut Cx<'_>, serving: &mut Serving, stream_db: Option<u32>) {
        let State::Loading {
            origin,
            marked,
            link_lost,
            ..
        } = self.state
        else {
            return;
        };
        self.discard_history(cx);
        // Another history from here on: nobody can continue the old one with us.
        serving.disconnect_all(cx);
        serving.drop_backlog();
        match origin {
            Some((replid, _)) => cx.ids.adopt(replid),
            None => cx.ids.renew(),
        }
        self.offset = origin.map_or(0, |(_, offset)| offset);
        cx.journal.rebase(self.offset);
        serving.create_backlog(self.offset);
        cx.out
            .notice("MASTER <-> REPLICA sync: Finished with success");
        let (db, pre_psync) = (stream_db.unwrap_or(0), origin.is_none());
        cx.journal.assume_db(db);
        match self.link {
            Some(conn) if !link_lost => {
                self.go_online(cx, conn, db, pre_psync);
                if marked && !pre_psync {
                    self.send_ack(cx);
                }
            }
            _ => {
                self.synced = true;
                self.state = State::Connected { db, pre_psync };
                self.lose(cx);
            }
        }
    }

    pub fn load_failed(&mut self, cx: &mut Cx<'_>, reason: &str) {
        if !matches!(self.state, State::Transfer(..) | State::Loading { .. }) {
            return;
        }
        let source = match cx.settings.diskless_load {
            true => "from socket",
            false => "from disk",
        };
        let line =
            format!("Failed trying to load the MASTER synchronization DB {source}: {reason}");
        self.fail(cx, line);
    }

    // ── The stream ──────────────────────────────────────────────────────────────────────────────

    fn take_stream(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.unapplied_bytes += bytes.len() as u64;
        self.unapplied.push_back(bytes.clone());
        if self.is_connected() {
            cx.out.push(Action::Stream(bytes));
        }
        if self.unapplied_bytes > MAX_UNAPPLIED_BYTES {
            cx.out
                .warning("Too much of the master's stream waits to be applied. Closing the link.");
            match self.state {
                State::Connected { .. } => self.lose(cx),
                _ => {
                    let conn = self.link.take();
                    cx.out.0.extend(conn.map(|conn| Action::Close { conn }));
                    self.closed(cx, "");
                }
            }
        }
    }

    pub fn applied(&mut self, cx: &mut Cx<'_>, bytes: u64, db: u32) {
        let State::Connected { db: current, .. } = &mut self.state else {
            panic!("stream applied without a link");
        };
        *current = db;
        assert!(
            bytes <= self.unapplied_bytes,
            "applied more of the stream than was received"
        );
        assert_eq!(
            cx.journal.end(),
            self.offset,
            "a replica's journal was written by another hand than its primary's"
        );
        // Who begins to read here is told (an increment of the append-only file).
        cx.journal.assume_db(db);
        self.offset += bytes;
        self.unapplied_bytes -= bytes;
        let mut left = bytes;
        while left > 0 {
            // The assertion above says that there is enough.
            let Some(front) = self.unapplied.front_mut() else {
                return;
            };
            let n = front.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            cx.journal.append_raw(&front.split_to(n));
            left -= n as u64;
            if front.is_empty() {
                self.unapplied.pop_front();
            }
        }
    }

    pub fn stream_corrupt(&mut self, cx: &mut Cx<'_>) {
        if !self.is_connected() {
            return;
        }
        cx.out.warning("WARNING: Receiving inline protocol from master, master stream corruption? Closing the master connection and discarding the cached master.");
        cx.out.warning("Connection with master lost.");
        self.down_since_us = Some(cx.now.mono_us);
        self.cut(cx);
        self.attempt(cx, Attempt::AfterLoss);
    }
}

/// Size and bytes read as INFO shows them; the size of a streamed payload is 0.
fn progress(payload: &Payload) -> (i64, u64) {
    let size = payload.size().unwrap_or(0);
    (i64::try_from(size).unwrap_or(i64::MAX), payload.read())
}

fn command(args: &[&[u8]]) -> Bytes {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    Bytes::from(out)
}
