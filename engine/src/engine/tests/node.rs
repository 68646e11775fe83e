//! A server on a disk in memory: commands and replies as text, time that passes when it is told to, restarts and
//! crashes.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::Engine;
use crate::command::effects::encode;
use crate::command::testing::{NOW, shown};
use crate::config::Config;
use crate::config::file::Loader;
use crate::face::{Address, ConnId, DiskRequest, Effect, Input, Listener, Now, OpId};
use crate::persistence::tests::disk::{Disk, Loss};
use crate::resp;

/// More rounds than this, and something goes round in circles.
const ROUNDS: usize = 100_000;

pub struct Node {
    pub engine: Engine,
    pub disk: Disk,
    pub now: Now,
    pub log: Vec<String>,
    /// The code that it ended with.
    pub exited: Option<i32>,
    /// Connections that it opened.
    pub connects: usize,
    /// Connections that it asked for and that are neither there nor failed.
    pub asked_for: VecDeque<ConnId>,
    /// Connections that it closed.
    pub closed: Vec<ConnId>,
    /// Answers of the disk are held back.
    pub hold: bool,
    /// A client that reads nothing.
    pub deaf: Option<ConnId>,
    config: Config,
    held: VecDeque<(OpId, DiskRequest)>,
    replies: BTreeMap<ConnId, Vec<u8>>,
}

/// A configuration of these lines, without save points unless they name some.
pub fn config(lines: &str) -> Config {
    let mut loader = Loader::new(Config::default());
    for (number, line) in ["save \"\"", "enable-debug-command yes"]
        .into_iter()
        .chain(lines.lines())
        .enumerate()
    {
        assert!(loader.line(number, line.as_bytes()).is_ok(), "{line}");
    }
    loader.finish().unwrap()
}

/// The `n`th client.
pub fn client(n: u32) -> ConnId {
    ConnId::accepted(n, 0)
}

impl Node {
    pub fn start(config: Config, disk: Disk) -> Node {
        Node::start_at(config, disk, NOW)
    }

    pub fn start_at(config: Config, disk: Disk, now: Now) -> Node {
        let mut node = Node::cold(config, disk, now);
        node.settle();
        node
    }

    /// Before anything of the disk is answered.
    pub fn cold(config: Config, disk: Disk, now: Now) -> Node {
        let mut node = Node {
            engine: Engine::new(config.clone(), [7; 32], now),
            disk,
            now,
            log: Vec::new(),
            exited: None,
            connects: 0,
            asked_for: VecDeque::new(),
            closed: Vec::new(),
            hold: false,
            deaf: None,
            config,
            held: VecDeque::new(),
            replies: BTreeMap::new(),
        };
        node.join(0);
        node
    }

    /// The same disk in a new process, so many milliseconds later.
    pub fn restart(self, loss: Loss, after_ms: u64) -> Node {
        let config = self.config.clone();
        self.restart_as(config, loss, after_ms)
    }

    /// The same with another configuration.
    pub fn restart_as(mut self, config: Config, loss: Loss, after_ms: u64) -> Node {
        self.disk.crash(loss);
        self.disk.faults.clear();
        let now = later(self.now, after_ms);
        Node::start_at(config, self.disk, now)
    }

    pub fn join(&mut self, n: u32) {
        let ip = |port| Address::Ip(([127, 0, 0, 1], port).into());
        let accepted = Input::Accepted {
            conn: client(n),
            listener: Listener::Tcp,
            peer: ip(50_000 + n as u16),
            local: ip(6379),
        };
        self.engine.handle(self.now, accepted);
    }

    /// The reply to a command of the first client.
    pub fn run(&mut self, line: &str) -> String {
        self.send(0, line)
    }

    /// What the `n`th client has been sent, once it has sent a command.
    pub fn send(&mut self, n: u32, line: &str) -> String {
        self.send_slowly(n, line, 0)
    }

    /// The same if each step takes so many milliseconds.
    pub fn send_slowly(&mut self, n: u32, line: &str, ms: u64) -> String {
        let words = resp::split_words(line.as_bytes()).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut request = Vec::new();
        encode(&mut request, &words);
        self.feed(n, &request, ms);
        self.settle();
        self.heard(n)
    }

    /// Bytes from a client.
    pub fn feed(&mut self, n: u32, bytes: &[u8], ms: u64) {
        self.feed_slowly(client(n), bytes, ms);
    }

    /// Bytes of a connection.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.feed_slowly(conn, bytes, 0);
        self.settle();
    }

    fn feed_slowly(&mut self, conn: ConnId, bytes: &[u8], ms: u64) {
        let reads = [(conn, bytes)];
        let mut turn = self.engine.receive(&reads);
        while turn.step(self.now) {
            self.now = later(self.now, ms);
        }
    }

    /// What the `n`th client has been sent since it was asked last.
    pub fn heard(&mut self, n: u32) -> String {
        shown(&self.sent(client(n)))
    }

    /// What went out by a connection since it was asked last.
    pub fn sent(&mut self, conn: ConnId) -> Vec<u8> {
        self.replies.remove(&conn).unwrap_or_default()
    }

    /// At most so many bytes of what waits for a deaf client.
    pub fn take(&mut self, conn: ConnId, most: usize) -> Vec<u8> {
        let bytes = self.engine.output(conn).flatten().copied();
        let bytes: Vec<u8> = bytes.take(most).collect();
        self.engine.sent(conn, bytes.len());
        self.settle();
        bytes
    }

    /// The connection that it asks for next, within two seconds, is there.
    pub fn connected(&mut self) -> ConnId {
        for _ in 0..20 {
            if let Some(conn) = self.asked_for.pop_front() {
                self.open(conn);
                return conn;
            }
            self.advance(100);
        }
        panic!("it asks for no connection: {:?}", self.log);
    }

    /// A connection that it asked for is there.
    pub fn open(&mut self, conn: ConnId) {
        let ip = |port| Address::Ip(([127, 0, 0, 1], port).into());
        let (local, peer) = (ip(40_000), ip(7000));
        self.engine
            .handle(self.now, Input::Connected { conn, local, peer });
        self.settle();
    }

    /// A connection ends.
    pub fn lose(&mut self, conn: ConnId) {
        let reason = String::new();
        self.engine.handle(self.now, Input::Closed { conn, reason });
        self.settle();
    }

    /// Time passes, and whatever is due happens when it is.
    pub fn advance(&mut self, ms: u64) {
        let end = later(self.now, ms);
        while self.now < end {
            let due = self.engine.deadline().unwrap_or(u64::MAX);
            let step_us = due.saturating_sub(self.now.mono_us).max(1);
            let left_us = end.mono_us - self.now.mono_us;
            self.now.mono_us += step_us.min(left_us);
            self.now.unix_us += step_us.min(left_us);
            self.settle();
        }
    }

    /// Carries out what is wanted and due, until all is quiet.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS {
            let mut idle = true;
            while let Some(effect) = self.engine.poll_effect() {
                idle = false;
                self.carry_out(effect);
            }
            while let Some(conn) = self.engine.poll_output() {
                if self.deaf == Some(conn) {
                    continue;
                }
                let bytes: Vec<u8> = self.engine.output(conn).flatten().copied().collect();
                self.engine.sent(conn, bytes.len());
                self.replies.entry(conn).or_default().extend(bytes);
                idle = false;
            }
            if !self.hold && self.answer_one() {
                idle = false;
            }
            if self.exited.is_some() {
                return;
            }
            let due = self.engine.deadline();
            if due.is_some_and(|due| due <= self.now.mono_us) && !self.hold {
                self.turn();
                idle = false;
            }
            if idle {
                return;
            }
        }
        panic!("never quiet: {:?}", self.log);
    }

    /// What is due happens, and what goes on in every turn.
    pub fn turn(&mut self) {
        self.engine.handle(self.now, Input::Tick);
        let mut turn = self.engine.receive(&[]);
        while turn.step(self.now) {}
    }

    /// Answers the oldest request that was held back; false if there is none.
    pub fn answer_one(&mut self) -> bool {
        let Some((op, request)) = self.held.pop_front() else {
            return false;
        };
        let result = self.disk.perform(&request);
        self.engine.handle(self.now, Input::Disk { op, result });
        true
    }

    /// How many lines of the log have this in them.
    pub fn logged(&self, part: &str) -> usize {
        self.log.iter().filter(|line| line.contains(part)).count()
    }

    /// A field of INFO.
    pub fn info(&mut self, name: &str) -> String {
        let text = self.run("INFO everything");
        let from = text.find(&alloc::format!(" {name}:"));
        let value = from.map_or("", |from| &text[from + name.len() + 2..]);
        value.split(' ').next().unwrap_or_default().into()
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Disk { op, request } => self.held.push_back((op, request)),
            Effect::Log { text, .. } => self.log.push(text),
            Effect::Exit { code } => self.exited = Some(code),
            Effect::Connect { conn, .. } => {
                self.connects += 1;
                self.asked_for.push_back(conn);
            }
            Effect::Close { conn } => self.closed.push(conn),
            Effect::Reconfigured { .. } => {
                let done = Input::Reconfigured { refused: None };
                self.engine.handle(self.now, done);
            }
            _ => {}
        }
    }
}

pub fn later(now: Now, ms: u64) -> Now {
    Now {
        mono_us: now.mono_us + ms * 1000,
        unix_us: now.unix_us + ms * 1000,
    }
}
