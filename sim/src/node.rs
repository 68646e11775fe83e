//! One server of the world: an engine with a clock, a disk, a processor and sockets around it, run as `io-mio` runs it.
//!
//! This is the only file that knows the engine's face. A wake-up hands in what has happened, lets the engine work
//! through what was read, carries out its effects in order, then sends its output: as much as the window takes.

use crate::disk::Disk;
use crate::network::{EndRef, Host, Network, Notice};
use crate::probe::{ClusterProbe, DumpedKey, Standing};
use crate::rng::Rng;
use crate::time::{Attendance, Micros, NodeClock};
use crate::toy::{Toy, ToyBug};
use reprise_engine::command::table::Index;
use reprise_engine::config::Config;
use reprise_engine::config::file::Loader;
use reprise_engine::{Address, ConnId, Effect, Engine, Input, Listener, LogLevel, Now};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

/// The port on which nodes serve clients.
pub const PORT: u16 = crate::client::CLIENT_PORT;
/// The port of the cluster bus.
pub const BUS_PORT: u16 = PORT + 10_000;

/// At most so many bytes of one connection in one turn.
const READ_CHUNK: usize = 16 * 1024;

/// What runs on a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// Reprise, with these directives.
    Engine(Vec<(&'static str, String)>),
    /// The toy, perhaps with a bug.
    Toy(Option<ToyBug>),
}

#[expect(clippy::large_enum_variant, reason = "a handful a world")]
enum Brain {
    Engine(Engine),
    Toy(Toy),
}

/// One node.
pub struct Node {
    /// Its number and its machine.
    pub id: u16,
    /// Its clocks.
    pub clock: NodeClock,
    /// Its disk, which outlives its processes.
    pub disk: Disk,
    /// What it runs.
    pub program: Program,
    /// How many processes it has had.
    pub boots: u32,
    /// How much slower than normal its processor is.
    pub slowness: u32,
    /// Nothing runs before this moment.
    pub paused_until: Micros,
    /// When its process ran.
    pub ran: Attendance,
    /// When the next wake-up is scheduled.
    pub wake_at: Option<Micros>,
    /// Dies after so many effects and outputs of the next turns; with its machine if the flag is set.
    pub dies_after: Option<(u32, bool)>,
    /// Its process was asked to end.
    pub asked: bool,
    /// The last lines of its log.
    pub log: VecDeque<String>,
    brain: Option<Brain>,
    seeds: Rng,
    inbox: Vec<Input>,
    readable: BTreeSet<EndRef>,
    closed: Vec<(EndRef, &'static str)>,
    conns: BTreeMap<EndRef, ConnId>,
    ends: BTreeMap<ConnId, EndRef>,
    writers: BTreeSet<ConnId>,
    free_slots: Vec<u32>,
    slots: u32,
    serial: u32,
    busy_until: Micros,
}

/// What came of a wake-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Turned {
    /// It goes on.
    Alive,
    /// It reached the moment of its planned death.
    Died,
    /// The engine asked to end the process.
    Exited(i32),
}

/// What a node acts on.
pub struct Machine<'a> {
    /// World time.
    pub now: Micros,
    /// The network.
    pub net: &'a mut Network,
    /// How long commands take.
    pub cpu: &'a mut Rng,
    /// The stamp for what it sends.
    pub stamp: &'a mut dyn FnMut(Standing) -> u32,
    /// When its disk will have an answer.
    pub disk_due: &'a mut Vec<Micros>,
    /// Sees every byte that it sends, on which connection and to whom.
    pub sniff: &'a mut dyn FnMut(EndRef, Host, &[u8]),
    /// Sees its log lines.
    pub story: &'a mut dyn FnMut(LogLevel, &str),
}

impl Node {
    /// A node that is not running.
    pub fn new(id: u16, clock: NodeClock, disk: Disk, program: Program, seeds: Rng) -> Node {
        Node {
            id,
            clock,
            disk,
            program,
            boots: 0,
            slowness: 1,
            paused_until: 0,
            ran: Attendance::default(),
            wake_at: None,
            dies_after: None,
            asked: false,
            log: VecDeque::new(),
            brain: None,
            seeds,
            inbox: Vec::new(),
            readable: BTreeSet::new(),
            closed: Vec::new(),
            conns: BTreeMap::new(),
            ends: BTreeMap::new(),
            writers: BTreeSet::new(),
            free_slots: Vec::new(),
            slots: 0,
            serial: 0,
            busy_until: 0,
        }
    }

    /// Whether it keeps its data in files.
    pub fn persists(&self) -> bool {
        match &self.program {
            Program::Engine(directives) => {
                let mut saves = false;
                for (name, value) in directives {
                    match (*name, value.as_str()) {
                        ("appendonly", "yes") => return true,
                        ("save", points) => saves = points != "\"\"",
                        _ => {}
                    }
                }
                saves
            }
            Program::Toy(_) => true,
        }
    }

    /// Whether a process runs.
    pub fn running(&self) -> bool {
        self.brain.is_some()
    }

    /// Starts a process.
    pub fn boot(&mut self, now: Micros, net: &mut Network) {
        let local = self.clock.now(now);
        let seed = self.seeds.seed32();
        self.boots += 1;
        self.brain = Some(match &self.program {
            Program::Engine(directives) => {
                Brain::Engine(Engine::new(config(directives), seed, local))
            }
            Program::Toy(bug) => Brain::Toy(Toy::new(*bug)),
        });
        self.busy_until = now;
        self.ran = Attendance::begin(now);
        self.asked = false;
        net.listen(self.id, &[PORT, BUS_PORT]);
    }

    /// The process is gone, with all that it had in memory. The caller tells disk and network.
    pub fn stop(&mut self) {
        self.brain = None;
        self.inbox.clear();
        self.readable.clear();
        self.closed.clear();
        self.conns.clear();
        self.ends.clear();
        self.writers.clear();
        self.free_slots.clear();
        self.slots = 0;
        self.wake_at = None;
        self.dies_after = None;
    }

    /// When it should run, now that something is there for it.
    pub fn ready_at(&self, now: Micros) -> Micros {
        now.max(self.busy_until).max(self.paused_until)
    }

    /// Its disk answered. Returns when the next answer is due.
    pub fn on_disk(&mut self, now: Micros) -> Option<Micros> {
        let (op, result, next) = self.disk.complete(now)?;
        self.inbox.push(Input::Disk { op, result });
        next
    }

    /// The operator's SIGTERM.
    pub fn shutdown(&mut self) {
        self.asked = true;
        self.inbox.push(Input::Shutdown { signal: "SIGTERM" });
    }

    /// News of one of its connections.
    pub fn on_notice(&mut self, now: Micros, net: &mut Network, end: EndRef, notice: &Notice) {
        if self.brain.is_none() {
            return;
        }
        match *notice {
            Notice::Accepted {
                port,
                peer,
                peer_port,
            } => {
                let slot = self.free_slots.pop().unwrap_or_else(|| {
                    self.slots += 1;
                    self.slots - 1
                });
                self.serial += 1;
                let conn = ConnId::accepted(slot, self.serial);
                self.conns.insert(end, conn);
                self.ends.insert(conn, end);
                let listener = if port == BUS_PORT {
                    Listener::Bus
                } else {
                    Listener::Tcp
                };
                let (peer, local) = (address(peer, peer_port), address(self.id, port));
                self.inbox.push(Input::Accepted {
                    conn,
                    listener,
                    peer,
                    local,
                });
            }
            Notice::Connected => {
                if let (Some(&conn), Some(peer)) = (self.conns.get(&end), net.peer_host(end)) {
                    let (port, own_port) = net.ports(end);
                    let (local, peer) = (address(self.id, own_port), address(peer, port));
                    self.inbox.push(Input::Connected { conn, local, peer });
                }
            }
            Notice::Readable => {
                self.readable.insert(end);
            }
            Notice::Writable => {
                if let Some(&conn) = self.conns.get(&end) {
                    self.writers.insert(conn);
                }
            }
            Notice::Closed { reason } => {
                if self.conns.contains_key(&end) {
                    self.closed.push((end, reason));
                } else {
                    net.close(now, end);
                }
            }
        }
    }

    /// Runs one turn of its loop.
    pub fn wake(&mut self, machine: &mut Machine<'_>) -> Turned {
        self.ran.mark(machine.now);
        let Some(mut brain) = self.brain.take() else {
            return Turned::Alive;
        };
        let turned = self.turn(&mut brain, machine);
        self.brain = Some(brain);
        turned
    }

    fn turn(&mut self, brain: &mut Brain, machine: &mut Machine<'_>) -> Turned {
        let cost = |cpu: &mut Rng, slowness: u32| (1 + cpu.exponential(4)) * u64::from(slowness);
        let mut at = machine.now;
        for input in std::mem::take(&mut self.inbox) {
            brain.handle(self.clock.now(at), input);
        }
        if brain
            .deadline()
            .is_some_and(|due| due <= self.clock.now(at).mono_us)
        {
            brain.handle(self.clock.now(at), Input::Tick);
        }
        let mut taken = Vec::new();
        let mut reads: Vec<(ConnId, &[u8])> = Vec::new();
        for end in std::mem::take(&mut self.readable) {
            let Some(&conn) = self.conns.get(&end) else {
                continue;
            };
            let bytes = machine.net.readable(end);
            let bytes = &bytes[..bytes.len().min(READ_CHUNK)];
            if !bytes.is_empty() {
                reads.push((conn, bytes));
                taken.push((end, bytes.len()));
            }
        }
        let stall = brain.receive(&reads, || {
            at += cost(machine.cpu, self.slowness);
            self.clock.now(at)
        });
        at += stall.unwrap_or(0);
        for (end, n) in taken {
            machine.net.consume(end, n);
            if !machine.net.readable(end).is_empty() {
                self.readable.insert(end);
            }
        }
        for (end, reason) in std::mem::take(&mut self.closed) {
            if self.readable.contains(&end) {
                self.closed.push((end, reason)); // First what was delivered before the end.
            } else if let Some(conn) = self.forget(end) {
                brain.handle(
                    self.clock.now(at),
                    Input::Closed {
                        conn,
                        reason: reason.to_owned(),
                    },
                );
                machine.net.close(at, end);
            }
        }
        let turned = self.drain(brain, machine, at);
        self.busy_until = at;
        turned
    }

    fn drain(&mut self, brain: &mut Brain, machine: &mut Machine<'_>, at: Micros) -> Turned {
        let mut turned = Turned::Alive;
        loop {
            // Sending may bring new effects: a connection is closed with its last reply sent.
            let mut quiet = true;
            while let Some(effect) = brain.poll_effect() {
                quiet = false;
                if self.dies_now() {
                    return Turned::Died;
                }
                if let Some(code) = self.carry_out(effect, machine, at) {
                    turned = Turned::Exited(code);
                }
            }
            let stamp = (machine.stamp)(brain.standing());
            let again = std::mem::take(&mut self.writers).into_iter();
            let outputs: Vec<ConnId> = again.chain(brain.outputs()).collect();
            for conn in outputs {
                quiet = false;
                if self.dies_now() {
                    return Turned::Died;
                }
                if let Some(&end) = self.ends.get(&conn) {
                    let peer = machine.net.peer_host(end).unwrap_or(self.id);
                    brain.write(conn, |bytes| {
                        let n = machine.net.send(at, end, bytes, stamp);
                        (machine.sniff)(end, peer, &bytes[..n]);
                        n
                    });
                }
            }
            if turned != Turned::Alive || quiet {
                return turned;
            }
        }
    }

    fn dies_now(&mut self) -> bool {
        match &mut self.dies_after {
            Some((0, _)) => true,
            Some((left, _)) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn carry_out(&mut self, effect: Effect, machine: &mut Machine<'_>, at: Micros) -> Option<i32> {
        match effect {
            Effect::Connect {
                conn, host, port, ..
            } => match host_of(&host) {
                Some(host) => {
                    let end = machine.net.connect(at, self.id, host, port);
                    self.conns.insert(end, conn);
                    self.ends.insert(conn, end);
                }
                None => {
                    let reason = format!("No such host: {host}");
                    self.inbox.push(Input::Closed { conn, reason });
                }
            },
            Effect::Close { conn } => {
                if let Some(end) = self.ends.get(&conn).copied() {
                    self.forget(end);
                    machine.net.close(at, end);
                }
            }
            Effect::Disk { op, request } => {
                machine.disk_due.extend(self.disk.submit(at, op, request))
            }
            Effect::Log { level, text } => {
                (machine.story)(level, &text);
                self.log.push_back(text);
                if self.log.len() > 40 {
                    self.log.pop_front();
                }
            }
            Effect::Reconfigured { .. } => self.inbox.push(Input::Reconfigured { refused: None }),
            Effect::Role(_)
            | Effect::Delay { .. }
            | Effect::Purge
            | Effect::Status(_)
            | Effect::Crash(_) => {}
            Effect::Exit { code } => return Some(code),
            #[expect(unreachable_patterns, reason = "effects that later floors add")]
            _ => {}
        }
        None
    }

    fn forget(&mut self, end: EndRef) -> Option<ConnId> {
        let conn = self.conns.remove(&end)?;
        self.ends.remove(&conn);
        self.readable.remove(&end);
        self.writers.remove(&conn);
        self.closed.retain(|(closed, _)| *closed != end);
        if !conn.is_outgoing() {
            self.free_slots.push(conn.index() as u32);
        }
        Some(conn)
    }

    /// Whether there is something to do at once, and otherwise when.
    pub fn next_wake(&self, now: Micros) -> Option<Micros> {
        let brain = self.brain.as_ref()?;
        let at_once = !self.writers.is_empty()
            || !self.inbox.is_empty()
            || !self.readable.is_empty()
            || !self.closed.is_empty();
        let due = match brain.deadline() {
            _ if at_once => now,
            Some(due) => self.clock.world_at(due),
            None => return None,
        };
        Some(self.ready_at(due.max(now + u64::from(!at_once))))
    }

    /// What it is about, for a report.
    pub fn describe(&self) -> String {
        format!(
            "n{} wakes at {:?}, busy until {}, paused until {}, {} inputs, {} readable, {} disk requests, deadline {:?}",
            self.id,
            self.wake_at,
            self.busy_until,
            self.paused_until,
            self.inbox.len(),
            self.readable.len(),
            self.disk.backlog(),
            self.brain.as_ref().and_then(Brain::deadline),
        )
    }

    /// See [`Standing`].
    pub fn standing(&self) -> Option<Standing> {
        self.brain.as_ref().map(Brain::standing)
    }

    /// All keys, in order.
    pub fn dump(&self) -> Option<Vec<DumpedKey>> {
        match &self.brain {
            Some(Brain::Engine(engine)) => Some(engine.dump()),
            Some(Brain::Toy(_)) | None => None,
        }
    }

    /// Its view of the cluster, if it is in one.
    pub fn cluster(&self) -> Option<ClusterProbe> {
        match &self.brain {
            Some(Brain::Engine(engine)) => engine.cluster_probe(),
            Some(Brain::Toy(_)) | None => None,
        }
    }

    /// Checks the engine against itself.
    pub fn invariants(&self) {
        if let Some(Brain::Engine(engine)) = &self.brain {
            engine.invariants();
        }
    }
}

impl Brain {
    fn handle(&mut self, now: Now, input: Input) {
        match self {
            Brain::Engine(engine) => engine.handle(now, input),
            Brain::Toy(toy) => toy.handle(now, input),
        }
    }

    /// Returns for how many microseconds the node is to stand still, if at all.
    fn receive(
        &mut self,
        reads: &[(ConnId, &[u8])],
        mut clock: impl FnMut() -> Now,
    ) -> Option<u64> {
        match self {
            Brain::Engine(engine) => {
                let mut turn = engine.receive(reads);
                while turn.step(clock()) {}
                turn.stall()
            }
            Brain::Toy(toy) => {
                toy.receive(clock(), reads);
                None
            }
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        match self {
            Brain::Engine(engine) => engine.poll_effect(),
            Brain::Toy(toy) => toy.poll_effect(),
        }
    }

    fn outputs(&mut self) -> Vec<ConnId> {
        match self {
            Brain::Engine(engine) => std::iter::from_fn(|| engine.poll_output()).collect(),
            Brain::Toy(toy) => toy.outputs(),
        }
    }

    fn write(&mut self, conn: ConnId, mut send: impl FnMut(&[u8]) -> usize) {
        let mut total = 0;
        match self {
            Brain::Engine(engine) => {
                for slice in engine.output(conn) {
                    let n = send(slice);
                    total += n;
                    if n < slice.len() {
                        break;
                    }
                }
                engine.sent(conn, total);
            }
            Brain::Toy(toy) => {
                total = send(toy.output(conn));
                toy.sent(conn, total);
            }
        }
    }

    fn deadline(&self) -> Option<u64> {
        match self {
            Brain::Engine(engine) => engine.deadline(),
            Brain::Toy(_) => None,
        }
    }

    fn standing(&self) -> Standing {
        match self {
            Brain::Engine(engine) => engine.standing(),
            Brain::Toy(toy) => toy.standing(),
        }
    }
}

fn config(directives: &[(&'static str, String)]) -> Config {
    let mut loader = Loader::new(Config::default());
    for (number, (name, value)) in directives.iter().enumerate() {
        if let Err(error) = loader.line(number + 1, format!("{name} {value}").as_bytes()) {
            panic!("the plan's configuration is refused: {error:?}");
        }
    }
    loader
        .finish()
        .unwrap_or_else(|error| panic!("the plan's configuration is refused: {error:?}"))
}

/// The host that an address names; hosts are numbered from 10.0.0.1.
fn host_of(host: &str) -> Option<Host> {
    let address: Ipv4Addr = host.parse().ok()?;
    let [10, 0, high, low] = address.octets() else {
        return None;
    };
    (u16::from(high) << 8 | u16::from(low)).checked_sub(1)
}

/// Whether the engine has a command of this name.
pub fn knows(command: &str) -> bool {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX
        .get_or_init(Index::default)
        .find(command.as_bytes())
        .is_some()
}

/// A host's IP address.
pub fn ip(host: Host) -> Ipv4Addr {
    let [high, low] = (host + 1).to_be_bytes();
    Ipv4Addr::new(10, 0, high, low)
}

fn address(host: Host, port: u16) -> Address {
    Address::Ip(SocketAddr::new(IpAddr::V4(ip(host)), port))
}
