//! A miniature: servers that are nothing but replication and a digest, wired by byte streams under a
//! virtual clock, and a ledger of every byte and state that a (replid, offset) ever named.

use crate::journal::Journal;
use crate::replication::{
    Action, Background, RdbInfo, ReplconfReply, Replication, Settings, SyncReply, SyncRequest,
};
use crate::{Address, ConnId, Now};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use bytes::Bytes;
use core::net::SocketAddr;

pub const SECOND: u64 = 1_000_000;

/// The data of a server: a hash over all effective writes, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub hash: u64,
    pub writes: u64,
}

impl Data {
    fn write(&mut self, db: u32, args: &[Vec<u8>]) {
        let mut hash = self.hash ^ u64::from(db).wrapping_add(1);
        for byte in args.iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = hash.rotate_left(7);
        self.writes += 1;
    }
}

/// Takes one command from the front of a buffer: its arguments and its length. Empty lines have no arguments.
pub fn decode(buffer: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let line = |at: usize| -> Option<(&[u8], usize)> {
        let end = at + buffer.get(at..)?.iter().position(|b| *b == b'\n')?;
        let text = &buffer[at..end];
        Some((text.strip_suffix(b"\r").unwrap_or(text), end + 1))
    };
    let number = |text: &[u8]| {
        core::str::from_utf8(&text[1..])
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let (head, mut at) = line(0)?;
    if head.first() != Some(&b'*') {
        let words = head.split(|b| *b == b' ').filter(|w| !w.is_empty());
        return Some((words.map(<[u8]>::to_vec).collect(), at));
    }
    let mut args = Vec::new();
    for _ in 0..number(head) {
        let (head, body) = line(at)?;
        let end = body + number(head);
        args.push(buffer.get(body..end)?.to_vec());
        buffer.get(..end + 2)?;
        at = end + 2;
    }
    Some((args, at))
}

/// A write in a transaction: its database and arguments.
type Queued = (u32, Vec<Vec<u8>>);

/// The engine's part for a primary's stream: executes whole commands, transactions as one.
#[derive(Default)]
struct Stream {
    buffer: Vec<u8>,
    db: u32,
    /// Commands queued since MULTI, with the bytes they took.
    multi: Option<(Vec<Queued>, u64)>,
}

/// A snapshot that is being made, in chunks.
struct Making {
    rest: Vec<u8>,
    began: bool,
    diskless: bool,
}

pub struct Node {
    pub repl: Replication,
    pub journal: Journal,
    pub data: Data,
    pub log: Vec<String>,
    pub up: bool,
    /// Loads are answered by the test itself.
    pub hold_loads: bool,
    /// Snapshots do not go on.
    pub hold_snapshots: bool,
    /// What of the stream has arrived is not executed (CLIENT PAUSE).
    pub paused: bool,
    pub payload: Vec<u8>,
    /// A load waits for its answer.
    pub loading: bool,
    pub snapshots: usize,
    pub promotions: usize,
    stream: Stream,
    sessions: BTreeMap<ConnId, Vec<u8>>,
    making: Option<Making>,
    serial: u32,
}

/// One direction of a connection.
struct Pipe {
    from: (usize, ConnId),
    to: (usize, ConnId),
    bytes: VecDeque<u8>,
    /// The receiver has heard that it is open.
    open: bool,
    /// The sender is gone: after these bytes the end.
    ended: bool,
}

#[derive(Default)]
pub struct Ledger {
    bytes: BTreeMap<(String, u64), u8>,
    states: BTreeMap<(String, u64), Data>,
}

pub struct World {
    pub nodes: Vec<Node>,
    pipes: Vec<Pipe>,
    pub now: Now,
    pub ledger: Ledger,
    checked: Vec<(String, u64)>,
    next_outgoing: u64,
    random: u64,
}

pub fn settings() -> Settings {
    Settings {
        diskless_sync_delay_s: 0,
        backlog_bytes: 16 << 10,
        ..Settings::default()
    }
}

fn new_node(n: usize, settings: Settings, now: Now) -> Node {
    let mut seed = [0; 32];
    seed[0] = n as u8;
    seed[8..16].copy_from_slice(&now.mono_us.to_le_bytes());
    Node {
        repl: Replication::new(
            Settings {
                listening_port: 7000 + n as u16,
                ..settings
            },
            seed,
            now,
        ),
        journal: Journal::new(0),
        data: Data::default(),
        log: Vec::new(),
        up: true,
        hold_loads: false,
        hold_snapshots: false,
        paused: false,
        payload: Vec::new(),
        loading: false,
        snapshots: 0,
        promotions: 0,
        stream: Stream::default(),
        sessions: BTreeMap::new(),
        making: None,
        serial: 0,
    }
}

impl World {
    pub fn new(nodes: usize, settings: Settings) -> World {
        let now = Now {
            mono_us: 1000 * SECOND,
            unix_us: 0,
        };
        World {
            nodes: (0..nodes)
                .map(|n| new_node(n, settings.clone(), now))
                .collect(),
            pipes: Vec::new(),
            now,
            ledger: Ledger::default(),
            checked: vec![(String::new(), 0); nodes],
            next_outgoing: 0,
            random: 1,
        }
    }

    pub fn seeded(nodes: usize, settings: Settings, seed: u64) -> World {
        let mut world = World::new(nodes, settings);
        world.random = seed | 1;
        world
    }

    /// A number below `n`.
    pub fn random(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % n.max(1)
    }

    // ── What operators and clients do ───────────────────────────────────────────────────────────

    pub fn follow(&mut self, n: usize, primary: usize) {
        let node = &mut self.nodes[n];
        let port = 7000 + primary as u16;
        node.repl
            .set_primary(self.now, &mut node.journal, "127.0.0.1", port);
        self.drain(n);
    }

    pub fn promote(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.repl.unset_primary(self.now, &mut node.journal);
        self.drain(n);
    }

    /// A client's write on a primary; false if this is none.
    pub fn write(&mut self, n: usize, db: u32, value: &str) -> bool {
        self.transaction(n, &[(db, value)])
    }

    /// Several writes, as a transaction if there are several.
    pub fn transaction(&mut self, n: usize, writes: &[(u32, &str)]) -> bool {
        let node = &mut self.nodes[n];
        if node.repl.following() || !node.up {
            return false;
        }
        let journal = &mut node.journal;
        let counted = node.repl.wants_journal();
        let multi = counted && writes.len() > 1;
        if multi {
            journal.append_command(&[b"MULTI"]);
        }
        for (db, value) in writes {
            let args = [b"SET".to_vec(), b"key".to_vec(), value.as_bytes().to_vec()];
            if counted {
                journal.select(*db);
                journal.append_command(&[&args[0], &args[1], &args[2]]);
            }
            node.data.write(*db, &args);
        }
        if multi {
            journal.append_command(&[b"EXEC"]);
        }
        journal.seal();
        self.drain(n);
        true
    }

    // ── Time and network ────────────────────────────────────────────────────────────────────────

    pub fn advance(&mut self, us: u64) {
        self.now.mono_us += us;
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if node.up && node.repl.deadline().is_some_and(|d| d <= self.now.mono_us) {
                node.repl.tick(self.now, &mut node.journal);
                self.drain(n);
            }
        }
    }

    /// Delivers everything, everywhere, until nothing moves; pieces of at most `piece` bytes.
    pub fn settle(&mut self, piece: usize) {
        for _ in 0..1_000_000 {
            if !self.step_all(piece) {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Settles, and lets seconds pass, several times.
    pub fn run(&mut self, seconds: u64, piece: usize) {
        for _ in 0..seconds {
            self.settle(piece);
            self.advance(SECOND);
        }
        self.settle(piece);
    }

    fn step_all(&mut self, piece: usize) -> bool {
        let mut moved = false;
        for n in 0..self.nodes.len() {
            moved |= self.make_snapshot(n);
        }
        let mut index = 0;
        while index < self.pipes.len() {
            moved |= self.deliver(index, piece);
            index += 1;
        }
        self.pipes
            .retain(|pipe| !(pipe.ended && pipe.to.0 == usize::MAX));
        moved
    }

    pub fn pipes(&self) -> usize {
        self.pipes.len()
    }

    /// Moves up to `piece` bytes, or the opening, or the end, of one direction.
    pub fn deliver(&mut self, index: usize, piece: usize) -> bool {
        let Some(pipe) = self.pipes.get_mut(index) else {
            return false;
        };
        let ((from, from_conn), (n, conn)) = (pipe.from, pipe.to);
        if n == usize::MAX {
            pipe.open = true;
            pipe.bytes.clear();
            return false;
        }
        if !pipe.open {
            pipe.open = true;
            let node = &mut self.nodes[n];
            if conn.is_outgoing() {
                node.repl.connected(self.now, &mut node.journal, conn);
                self.drain(n);
            }
            return true;
        }
        if !pipe.bytes.is_empty() {
            let len = piece.min(pipe.bytes.len());
            let bytes: Vec<u8> = pipe.bytes.drain(..len).collect();
            let (left, ended) = (pipe.bytes.len() as u64, pipe.ended);
            if !ended {
                self.nodes[from]
                    .repl
                    .output_pending(self.now, from_conn, left);
            }
            self.receive(n, conn, &bytes);
            if !ended {
                self.drain(from);
            }
            return true;
        }
        if pipe.ended && pipe.to.0 != usize::MAX {
            self.pipes[index].to.0 = usize::MAX;
            self.close_end(n, conn, "");
            return true;
        }
        false
    }

    /// One end hears that the connection is over (if it has not closed it itself).
    fn close_end(&mut self, n: usize, conn: ConnId, reason: &str) {
        // Whatever else was on its way to it stays unread; what it had sent may still arrive.
        self.cut_output(n, conn);
        self.nodes[n].sessions.remove(&conn);
        let node = &mut self.nodes[n];
        if node.repl.is_primary_link(conn) {
            node.stream = Stream::default();
        }
        node.repl.closed(self.now, &mut node.journal, conn, reason);
        self.drain(n);
    }

    /// The sender's end is gone: an arbitrary prefix of what it sent still arrives.
    fn cut_output(&mut self, n: usize, conn: ConnId) {
        let keep = self.random(u64::MAX);
        for pipe in &mut self.pipes {
            if pipe.from == (n, conn) && !pipe.ended {
                pipe.ended = true;
                let keep = keep % (pipe.bytes.len() as u64 + 1);
                pipe.bytes.truncate(keep as usize);
            }
        }
    }

    /// Breaks the link of a replica to its primary, with `keep` bytes of what is on its way still
    /// arriving at the replica.
    pub fn cut_link(&mut self, n: usize, keep: usize) -> bool {
        let repl = &self.nodes[n].repl;
        let is_link =
            |pipe: &Pipe| pipe.to.0 == n && repl.is_primary_link(pipe.to.1) && !pipe.ended;
        let Some(index) = self.pipes.iter().position(is_link) else {
            return false;
        };
        self.pipes[index].bytes.truncate(keep);
        self.pipes[index].ended = true;
        let (from, conn) = self.pipes[index].from;
        self.close_end(from, conn, "");
        true
    }

    /// Breaks whatever connection.
    pub fn cut_any(&mut self) {
        let index = self.random(self.pipes.len() as u64) as usize;
        if let Some(pipe) = self.pipes.get(index)
            && !pipe.ended
        {
            let (from, to) = (pipe.from, pipe.to);
            self.cut_output(from.0, from.1);
            if to.0 != usize::MAX {
                self.close_end(from.0, from.1, "Connection reset by peer");
            }
        }
    }

    /// The process dies, and comes back from its snapshot file (made at the end), or empty.
    pub fn restart(&mut self, n: usize, file: Option<(Data, Option<RdbInfo>)>, settings: Settings) {
        for pipe in &mut self.pipes {
            if pipe.from.0 == n {
                pipe.ended = true;
            }
            if pipe.to.0 == n {
                pipe.bytes.clear();
                pipe.ended = true;
                pipe.open = true;
                pipe.to.0 = usize::MAX;
            }
        }
        let following = self.nodes[n].repl.primary().map(|(_, port)| port);
        let serial = self.nodes[n].serial;
        self.now.mono_us += 1;
        self.nodes[n] = new_node(n, settings, self.now);
        let node = &mut self.nodes[n];
        node.serial = serial;
        if let Some(port) = following {
            node.repl.start_following(self.now, "127.0.0.1", port);
        }
        if let Some((data, info)) = file {
            node.data = data;
            if let Some(info) = info {
                node.repl.restored(self.now, &mut node.journal, info);
            }
        }
        self.checked[n] = (String::new(), self.nodes[n].journal.end());
    }

    pub fn file(&self, n: usize) -> (Data, Option<RdbInfo>) {
        let node = &self.nodes[n];
        (node.data, node.repl.rdb_info(&node.journal))
    }

    // ── The engine's part ───────────────────────────────────────────────────────────────────────

    fn receive(&mut self, n: usize, conn: ConnId, bytes: &[u8]) {
        if n == usize::MAX {
            return;
        }
        let node = &mut self.nodes[n];
        if conn.is_outgoing() {
            node.repl.receive(self.now, &mut node.journal, conn, bytes);
            return self.drain(n);
        }
        let Some(buffer) = node.sessions.get_mut(&conn) else {
            return;
        };
        buffer.extend_from_slice(bytes);
        while let Some(buffer) = self.nodes[n].sessions.get_mut(&conn)
            && let Some((args, len)) = decode(buffer)
        {
            buffer.drain(..len);
            self.command(n, conn, &args);
        }
    }

    fn command(&mut self, n: usize, conn: ConnId, args: &[Vec<u8>]) {
        let output_pending = self
            .pipes
            .iter()
            .any(|pipe| pipe.from == (n, conn) && !pipe.bytes.is_empty());
        let node = &mut self.nodes[n];
        let slices: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
        let name = args.first().map(|arg| arg.to_ascii_uppercase());
        let reply = match name.as_deref() {
            None => {
                node.repl.keepalive(self.now, conn);
                None
            }
            Some(b"PING") => Some("+PONG".to_string()),
            Some(b"REPLCONF") => {
                match node
                    .repl
                    .replconf(self.now, &mut node.journal, conn, &slices)
                {
                    ReplconfReply::Ok => Some("+OK".to_string()),
                    ReplconfReply::Error(error) => Some(format!("-{}", error.escape_ascii())),
                    ReplconfReply::Silent => None,
                }
            }
            Some(b"SYNC" | b"PSYNC") => {
                let peer = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 40000)));
                let request = SyncRequest {
                    conn,
                    peer: &peer,
                    args: &slices,
                    output_pending,
                    client_info: "id=1",
                };
                match node.repl.sync(self.now, &mut node.journal, &request) {
                    SyncReply::Error(error) => Some(format!("-{error}")),
                    SyncReply::Ignored | SyncReply::Taken => None,
                }
            }
            Some(name) => panic!("{}", String::from_utf8_lossy(name)),
        };
        if let Some(reply) = reply {
            self.push(n, conn, format!("{reply}\r\n").as_bytes());
        }
        self.drain(n);
    }

    fn push(&mut self, n: usize, conn: ConnId, bytes: &[u8]) {
        let mut pipes = self.pipes.iter_mut();
        if let Some(pipe) = pipes.find(|pipe| pipe.from == (n, conn) && !pipe.ended) {
            pipe.bytes.extend(bytes);
        }
    }

    pub fn drain(&mut self, n: usize) {
        loop {
            let node = &mut self.nodes[n];
            let Some(action) = node.repl.poll_action(self.now, &mut node.journal) else {
                break;
            };
            self.act(n, action);
        }
        let node = &mut self.nodes[n];
        node.journal
            .retain_from(node.repl.needed_from(&node.journal));
        self.check(n);
    }

    fn act(&mut self, n: usize, action: Action) {
        match action {
            Action::CancelSnapshot => self.nodes[n].making = None,
            Action::Close { conn } | Action::Overrun { conn } => {
                self.cut_output(n, conn);
                self.nodes[n].sessions.remove(&conn);
                if conn.is_outgoing() {
                    self.nodes[n].stream = Stream::default();
                }
                for pipe in &mut self.pipes {
                    if pipe.to == (n, conn) {
                        pipe.to.0 = usize::MAX;
                        pipe.bytes.clear();
                    }
                }
            }
            Action::Connect { port, .. } => self.connect(n, usize::from(port) - 7000),
            Action::FailoverOver => {}
            Action::Demoted => {}
            Action::Log { text, .. } => self.nodes[n].log.push(text),
            Action::Payload(bytes) => self.nodes[n].payload.extend_from_slice(&bytes),
            Action::PayloadAbort => {
                self.nodes[n].payload.clear();
                self.nodes[n].loading = false;
            }
            Action::PayloadBegin { .. } => self.nodes[n].payload.clear(),
            Action::PayloadEnd { .. } => {
                self.nodes[n].loading = true;
                if !self.nodes[n].hold_loads {
                    self.load(n);
                }
            }
            Action::Promoted => self.nodes[n].promotions += 1,
            Action::Send { conn, bytes } => self.push(n, conn, &bytes),
            Action::Stream(bytes) => {
                self.nodes[n].stream.buffer.extend_from_slice(&bytes);
                self.execute(n);
            }
            Action::StreamBegin { db, .. } => {
                self.nodes[n].stream = Stream {
                    db,
                    ..Stream::default()
                }
            }
            Action::WantSnapshot { diskless, .. } => {
                self.nodes[n].making = Some(Making {
                    rest: Vec::new(),
                    began: false,
                    diskless,
                });
            }
        }
    }

    fn connect(&mut self, n: usize, target: usize) {
        self.next_outgoing += 1;
        let conn = ConnId::outgoing(self.next_outgoing);
        self.nodes[n].repl.connecting(conn);
        let server = &mut self.nodes[target];
        server.serial += 1;
        let accepted = ConnId::accepted(target as u32, server.serial);
        server.sessions.insert(accepted, Vec::new());
        for (from, to) in [
            ((n, conn), (target, accepted)),
            ((target, accepted), (n, conn)),
        ] {
            self.pipes.push(Pipe {
                from,
                to,
                bytes: VecDeque::new(),
                open: false,
                ended: false,
            });
        }
    }

    /// Executes whole commands of the stream, transactions as one.
    pub fn execute(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        while !node.paused
            && let Some((args, len)) = decode(&node.stream.buffer)
        {
            node.stream.buffer.drain(..len);
            let name = args.first().cloned().unwrap_or_default();
            let stream = &mut node.stream;
            if let Some((_, bytes)) = &mut stream.multi {
                *bytes += len as u64;
            }
            match (name.as_slice(), &mut stream.multi) {
                (b"MULTI", None) => {
                    stream.multi = Some((Vec::new(), len as u64));
                    continue;
                }
                (b"SELECT", _) => {
                    stream.db = core::str::from_utf8(&args[1]).unwrap().parse().unwrap();
                }
                (b"SET", Some((queue, _))) => queue.push((stream.db, args)),
                (b"SET", None) => node.data.write(stream.db, &args),
                (b"REPLCONF", _) => {
                    let slices: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
                    let conn = ConnId::outgoing(0);
                    let reply = node.repl.replconf(now, &mut node.journal, conn, &slices);
                    assert_eq!(reply, ReplconfReply::Silent);
                }
                (b"EXEC", Some(_)) => {
                    let (queue, bytes) = stream.multi.take().unwrap();
                    for (db, args) in queue {
                        node.data.write(db, &args);
                    }
                    let db = stream.db;
                    node.repl.applied(now, &mut node.journal, bytes, db);
                    continue;
                }
                (b"PING" | b"", _) => {}
                (name, _) => panic!("in the stream: {}", String::from_utf8_lossy(name)),
            }
            if node.stream.multi.is_none() {
                let db = node.stream.db;
                node.repl.applied(now, &mut node.journal, len as u64, db);
            }
        }
    }

    /// Answers a load that waits.
    pub fn load(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !core::mem::take(&mut node.loading) {
            return;
        }
        let number = |at: usize| u64::from_le_bytes(node.payload[at..at + 8].try_into().unwrap());
        let loaded = (node.payload.len() >= 24).then(|| (number(0), number(8), number(16)));
        match loaded {
            Some((hash, writes, db)) => {
                node.data = Data { hash, writes };
                node.repl.loaded(now, &mut node.journal, Some(db as u32));
            }
            None => node.repl.load_failed(now, &mut node.journal, "Success"),
        }
        node.payload.clear();
    }

    fn make_snapshot(&mut self, n: usize) -> bool {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(making) = &mut node.making else {
            return false;
        };
        if !making.began {
            making.began = true;
            node.snapshots += 1;
            node.repl.snapshot_began(now, &mut node.journal);
            let db = node.repl.rdb_info(&node.journal).unwrap().stream_db;
            making.rest.extend_from_slice(&node.data.hash.to_le_bytes());
            making
                .rest
                .extend_from_slice(&node.data.writes.to_le_bytes());
            making.rest.extend_from_slice(&u64::from(db).to_le_bytes());
            making.rest.resize(100, b'\n');
            self.drain(n);
            return true;
        }
        if node.hold_snapshots {
            return false;
        }
        if !making.diskless && making.rest.len() == 100 {
            node.repl.snapshot_size(now, &mut node.journal, 100);
        }
        let Some(making) = &mut node.making else {
            return true;
        };
        let chunk: Vec<u8> = making.rest.drain(..making.rest.len().min(30)).collect();
        let done = making.rest.is_empty();
        node.repl
            .snapshot_chunk(now, &mut node.journal, &Bytes::from(chunk));
        if done {
            node.making = None;
            node.repl.snapshot_ended(now, &mut node.journal, true);
        }
        self.drain(n);
        true
    }

    /// The snapshot under way breaks.
    pub fn break_snapshot(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.making.take().is_some() {
            node.repl.snapshot_ended(self.now, &mut node.journal, false);
            self.drain(n);
        }
    }

    pub fn background(&mut self, n: usize, work: Background) {
        let node = &mut self.nodes[n];
        node.repl.background(self.now, &mut node.journal, work);
        self.drain(n);
    }

    // ── Checks ──────────────────────────────────────────────────────────────────────────────────

    /// R1 and R2: a (replid, offset) names one byte and one state, for all time.
    fn check(&mut self, n: usize) {
        let node = &self.nodes[n];
        if !node.repl.wants_journal() {
            return;
        }
        let id = node.repl.ids().current().to_string();
        let end = node.journal.sealed();
        let (checked_id, checked) = &self.checked[n];
        let from = if *checked_id == id { *checked } else { 0 };
        let from = from.clamp(node.journal.start(), end);
        let bytes = node.journal.read(from, u64::MAX).flatten();
        for (at, byte) in (from..).zip(bytes) {
            let known = *self.ledger.bytes.entry((id.clone(), at)).or_insert(byte);
            assert_eq!(known, byte, "two bytes at {id}:{at}, now on node {n}");
        }
        // A primary's transaction is one step here, and a replica applies it as one.
        let state = self
            .ledger
            .states
            .entry((id.clone(), end))
            .or_insert(node.data);
        assert_eq!(
            *state, node.data,
            "two states at {id}:{end}, now on node {n}"
        );
        self.checked[n] = (id, end);
        assert!(node.repl.needed_from(&node.journal) <= end);
        let _ = self.info(n);
    }

    pub fn logged(&self, n: usize, text: &str) -> usize {
        let lines = self.nodes[n].log.iter();
        lines.filter(|line| line.contains(text)).count()
    }

    pub fn assert_same(&self, nodes: &[usize]) {
        let first = &self.nodes[nodes[0]];
        for n in nodes {
            let node = &self.nodes[*n];
            let states = (
                (node.data, node.journal.end()),
                (first.data, first.journal.end()),
            );
            assert_eq!(states.0, states.1, "node {n}: {:#?}", node.log);
            let ids = (node.repl.ids().current(), first.repl.ids().current());
            assert_eq!(ids.0, ids.1, "node {n}: {:#?}", node.log);
        }
    }

    pub fn info(&self, n: usize) -> String {
        let mut out = String::new();
        let node = &self.nodes[n];
        node.repl.write_info(self.now, &node.journal, &mut out);
        out
    }
}
