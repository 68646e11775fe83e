//! The world: nodes, clients, network, one queue of events, and the observers who look on.
//!
//! A run has four phases. Warm-up and chaos are the plan's: operations and faults at their times. At `chaos_until` all
//! faults end and everything that is down starts (C); from then on the world must answer: every group of keys is read
//! until it was answered once, replicas catch up, an orderly restart reproduces all data (D).

use crate::checkers::reigns::Reigns;
use crate::checkers::replication::Replication;
use crate::checkers::stream::Stream;
use crate::checkers::{Kind as Breach, Violation, cluster::Cluster, linear, round_trip};
use crate::client::{Client, Surroundings};
use crate::disk::Disk;
use crate::faults::Fault;
use crate::history::{Fork, History, Outcome as Fate, Stamp};
use crate::network::{EndRef, Host, NetEvent, Network};
use crate::node::{Machine, Node, Turned};
use crate::operator::Operator;
use crate::plan::{Kind, Plan, Promise};
use crate::probe::{DumpedKey, Standing};
use crate::rng::{Concern, Rng};
use crate::time::{MS, Micros, NodeClock, Queue, SEC};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run is to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep a line for everything of note.
    pub story: bool,
    /// Keep the nodes' log lines in the story, too.
    pub logs: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Broken promises, the first first.
    pub violations: Vec<Violation>,
    /// A hash of everything that happened (X1).
    pub trace: u64,
    /// How long the world lasted.
    pub lasted: Micros,
    /// Events.
    pub events: u64,
    /// Operations answered, refused, of unknown fate.
    pub fates: [usize; 3],
    /// Group-reigns that the search decided, and that it gave up.
    pub decided: [usize; 2],
    /// Reigns.
    pub reigns: usize,
    /// Faults that struck.
    pub faults: usize,
    /// How long after the end of chaos everything answered.
    pub recovered_in: Option<Micros>,
    /// Lines, if the options ask for them.
    pub story: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Net(NetEvent),
    Wake { node: u16 },
    Disk { node: u16, boot: u32 },
    Client { client: u16 },
    Operator,
    Boot { node: u16 },
    Fault { index: u32 },
    Undo { index: u32 },
    Heal,
    Look,
}

impl From<NetEvent> for Event {
    fn from(event: NetEvent) -> Event {
        Event::Net(event)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Chaos,
    /// Healed; groups are being read.
    Audit,
    /// Everything was read; replicas catch up.
    Converge,
    /// Orderly restarts.
    Restart,
    Over,
}

struct World<'p> {
    plan: &'p Plan,
    options: Options,
    now: Micros,
    queue: Queue<Event>,
    net: Network,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    operator: Operator,
    cpu: Rng,
    history: History,
    reigns: Reigns,
    replication: Replication,
    stream: Stream,
    cluster: Cluster,
    violations: Vec<Violation>,
    phase: Phase,
    phase_since: Micros,
    trace: u64,
    events: u64,
    wakes: u64,
    faults: usize,
    recovered_in: Option<Micros>,
    /// The node that is to be the primary (replicated worlds).
    chosen: u16,
    /// Nodes that were asked to end, with their data at that moment.
    leaving: BTreeMap<u16, Option<Vec<DumpedKey>>>,
    /// Nodes that came back from an orderly end: what they must hold once loaded.
    returning: BTreeMap<u16, Vec<DumpedKey>>,
    story: Vec<String>,
}

/// Runs a plan.
pub fn run(plan: &Plan, options: Options) -> Outcome {
    #[cfg(feature = "planted")]
    reprise_engine::planted::plant(plan.planted);
    let mut world = World::new(plan, options);
    world.run();
    world.judge()
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan, options: Options) -> World<'p> {
        let count = plan.programs.len();
        let hosts = count + plan.clients.len() + 1;
        let seed = plan.seed;
        let mut nodes = Vec::new();
        for (index, program) in plan.programs.iter().enumerate() {
            let id = index as u16;
            let (skew, drift) = plan.clocks[index];
            let mut disk = Disk::new(plan.disk, Rng::new(seed, Concern::Disk(id)));
            let files = plan.files[index].iter();
            disk.restore(
                &files
                    .map(|(path, text)| ((*path).into(), text.clone().into_bytes()))
                    .collect(),
            );
            let seeds = Rng::new(seed, Concern::Engine(id));
            nodes.push(Node::new(
                id,
                NodeClock::new(skew, drift),
                disk,
                program.clone(),
                seeds,
            ));
        }
        let clients = plan.clients.iter().enumerate().map(|(index, client)| {
            let id = index as u16;
            let rng = Rng::new(seed, Concern::Client(id));
            Client::new(
                id,
                (count + index) as u16,
                client.settings,
                rng,
                client.ops.clone(),
            )
        });
        let mut queue = Queue::default();
        for node in 0..count as u16 {
            queue.push(0, Event::Boot { node });
        }
        for (index, (at, _)) in plan.faults.iter().enumerate() {
            queue.push(
                *at,
                Event::Fault {
                    index: index as u32,
                },
            );
        }
        for client in 0..plan.clients.len() as u16 {
            queue.push(0, Event::Client { client });
        }
        queue.push(plan.chaos_until, Event::Heal);
        World {
            plan,
            options,
            now: 0,
            queue,
            net: Network::new(hosts, plan.net, Rng::new(seed, Concern::Network)),
            nodes,
            clients: clients.collect(),
            operator: Operator::new(hosts as u16 - 1),
            cpu: Rng::new(seed, Concern::Cpu),
            history: History::default(),
            reigns: Reigns::new(count),
            replication: Replication::default(),
            stream: Stream::default(),
            cluster: Cluster::default(),
            violations: Vec::new(),
            phase: Phase::Chaos,
            phase_since: 0,
            trace: seed,
            events: 0,
            wakes: 0,
            faults: 0,
            recovered_in: None,
            chosen: 0,
            leaving: BTreeMap::new(),
            returning: BTreeMap::new(),
            story: Vec::new(),
        }
    }

    fn run(&mut self) {
        while self.phase != Phase::Over && self.violations.is_empty() {
            self.settle();
            let Some((at, event)) = self.queue.pop() else {
                self.violations.push(Violation::liveness(
                    "L3",
                    self.now,
                    "nothing happens any more".into(),
                ));
                return;
            };
            self.now = at;
            self.events += 1;
            if self.events > 20_000_000 {
                let text = "twenty million events: something spins".into();
                self.violations
                    .push(Violation::liveness("L5", self.now, text));
            }
            self.happen(event);
        }
    }

    /// Hands out notices and schedules what they lead to, until none are left.
    fn settle(&mut self) {
        loop {
            for (at, event) in self.net.schedule.drain(..) {
                self.queue.push(at, event.into());
            }
            self.history.deaf.extend(self.net.deaf.drain(..));
            let Some((host, end, notice)) = self.net.notices.pop_front() else {
                return;
            };
            let host = usize::from(host);
            if host < self.nodes.len() {
                self.nodes[host].on_notice(self.now, &mut self.net, end, &notice);
                self.schedule_node(host as u16);
            } else if let Some(client) = self.clients.get_mut(host - self.nodes.len()) {
                let mut env = Surroundings {
                    now: self.now,
                    net: &mut self.net,
                    history: &mut self.history,
                    violations: &mut self.violations,
                };
                let before = client.wake_at;
                client.on_notice(&mut env, end, &notice);
                if let Some(at) = client.wake_at.filter(|_| client.wake_at != before) {
                    self.queue.push(
                        at,
                        Event::Client {
                            client: (host - self.nodes.len()) as u16,
                        },
                    );
                }
            } else {
                self.operator
                    .on_notice(self.now, &mut self.net, end, &notice);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Net(event) => self.net.on_event(now, event),
            Event::Wake { node } => {
                if self.nodes[usize::from(node)].wake_at == Some(now) {
                    self.wake(node);
                }
            }
            Event::Disk { node, boot } => {
                let found = &mut self.nodes[usize::from(node)];
                if found.boots == boot && found.running() {
                    if let Some(due) = found.on_disk(now) {
                        self.queue.push(due, Event::Disk { node, boot });
                    }
                    self.note(3, u64::from(node));
                    self.schedule_node(node);
                }
            }
            Event::Client { client: id } => {
                let client = &mut self.clients[usize::from(id)];
                if client.wake_at.is_some_and(|at| at <= now) {
                    let mut env = Surroundings {
                        now,
                        net: &mut self.net,
                        history: &mut self.history,
                        violations: &mut self.violations,
                    };
                    client.tick(&mut env);
                    if let Some(at) = client.wake_at {
                        self.queue.push(at, Event::Client { client: id });
                    }
                }
            }
            Event::Operator => {
                if let Some(at) = self.operator.tick(now, &mut self.net) {
                    self.queue.push(at, Event::Operator);
                }
            }
            Event::Boot { node } => self.boot(node),
            Event::Fault { index } => self.strike(index),
            Event::Undo { index } => self.undo(self.plan.faults[index as usize].1),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    fn schedule_node(&mut self, id: u16) {
        let node = &mut self.nodes[usize::from(id)];
        if let Some(at) = node.next_wake(self.now)
            && node.wake_at.is_none_or(|wake| wake > at || wake < self.now)
        {
            node.wake_at = Some(at);
            self.queue.push(at, Event::Wake { node: id });
        }
    }

    fn wake(&mut self, id: u16) {
        let now = self.now;
        let nodes = self.nodes.len() as u16;
        let node = &mut self.nodes[usize::from(id)];
        node.wake_at = None;
        if node.paused_until > now {
            return self.schedule_node(id);
        }
        let (history, reigns, replication) =
            (&mut self.history, &mut self.reigns, &mut self.replication);
        let stream = RefCell::new(&mut self.stream);
        let standing_now = Cell::new(Standing::default());
        let (cluster, trace, story, options) = (
            &mut self.cluster,
            &mut self.trace,
            &mut self.story,
            self.options,
        );
        let mut found = None;
        let mut disk_due = Vec::new();
        let mut stamp = |standing: Standing| {
            let reign = reigns.observe(history, id, now, &standing);
            found = found.take().or(replication.observe(id, now, &standing));
            stream.borrow_mut().observe(&standing);
            standing_now.set(standing);
            history.stamp(Stamp {
                node: id,
                reign,
                offset: standing.offset,
            })
        };
        let mut seen = None;
        let mut sniff = |end: EndRef, peer: Host, bytes: &[u8]| {
            mix_bytes(trace, bytes);
            seen = seen.take().or(cluster.sniff(id, peer, now, end, bytes));
            if peer < nodes {
                let standing = standing_now.get();
                let mut stream = stream.borrow_mut();
                seen = seen.take().or(stream.sniff(id, now, end, bytes, &standing));
            }
        };
        let mut tell = |_, text: &str| {
            if options.logs {
                story.push(format!("{:>12.6} n{id} │ {text}", now as f64 / 1e6));
            }
        };
        let mut machine = Machine {
            now,
            net: &mut self.net,
            cpu: &mut self.cpu,
            stamp: &mut stamp,
            disk_due: &mut disk_due,
            sniff: &mut sniff,
            story: &mut tell,
        };
        let turned = catch_unwind(AssertUnwindSafe(|| node.wake(&mut machine)));
        self.violations.extend(found.or(seen));
        let boot = node.boots;
        for due in disk_due {
            self.queue.push(due, Event::Disk { node: id, boot });
        }
        self.note(1, u64::from(id));
        match turned {
            Ok(Turned::Alive) => {
                self.sample(id);
                self.schedule_node(id);
            }
            Ok(Turned::Died) => {
                self.tell(|| format!("n{id} dies in the middle of its turn"));
                let power = self.nodes[usize::from(id)]
                    .dies_after
                    .is_some_and(|(_, power)| power);
                let fork = self.fork_at_death(id);
                self.kill(id, power, fork);
            }
            Ok(Turned::Exited(code)) => self.exited(id, code),
            Err(panic) => self.panicked(id, panic.as_ref()),
        }
    }

    /// Looks into a node now and then: a full comparison at every turn would cost more than the turn.
    fn sample(&mut self, id: u16) {
        self.wakes += 1;
        let node = &self.nodes[usize::from(id)];
        let Some(standing) = node.standing() else {
            return;
        };
        let waited_for = self.returning.contains_key(&id) && !standing.loading;
        if !waited_for && !self.wakes.is_multiple_of(16) {
            return;
        }
        if self.wakes.is_multiple_of(64) {
            let checked = catch_unwind(AssertUnwindSafe(|| node.invariants()));
            if let Err(panic) = checked {
                return self.panicked(id, panic.as_ref());
            }
        }
        let node = &self.nodes[usize::from(id)];
        if let Some(probe) = node.cluster() {
            self.violations
                .extend(self.cluster.observe(id, self.now, &probe));
        }
        let Some(dump) = node.dump() else { return };
        self.violations
            .extend(self.replication.sample(id, self.now, &standing, &dump));
        if waited_for && let Some(before) = self.returning.remove(&id) {
            let unix_ms = node.clock.now(self.now).unix_ms();
            self.violations
                .extend(round_trip::compare(id, self.now, unix_ms, &before, &dump));
        }
    }

    fn panicked(&mut self, id: u16, panic: &(dyn std::any::Any + Send)) {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("?");
        let place = crate::panics::last_place();
        let text = format!("node {id} panicked: {said} {place}");
        let invariant = "P3";
        self.violations.push(Violation {
            invariant,
            kind: Breach::Crash,
            at: self.now,
            text,
        });
    }

    fn boot(&mut self, id: u16) {
        let now = self.now;
        let node = &mut self.nodes[usize::from(id)];
        if node.running() {
            return;
        }
        self.net.machine_up(now, id);
        let net = &mut self.net;
        let booted = catch_unwind(AssertUnwindSafe(|| node.boot(now, net)));
        if let Err(panic) = booted {
            return self.panicked(id, panic.as_ref());
        }
        self.note(2, u64::from(id));
        self.tell(|| format!("n{id} starts"));
        self.schedule_node(id);
        // Its first effects wait to be drained: it runs at once, whatever its timers say.
        let node = &mut self.nodes[usize::from(id)];
        node.wake_at = Some(node.ready_at(now));
        self.queue
            .push(node.ready_at(now), Event::Wake { node: id });
    }

    /// Ends a process, with its machine if `power`.
    fn kill(&mut self, id: u16, power: bool, fork: Fork) {
        let now = self.now;
        let node = &mut self.nodes[usize::from(id)];
        self.reigns.gone(&mut self.history, id, now, fork);
        self.replication.gone(id);
        self.cluster.gone(id);
        self.leaving.remove(&id);
        self.returning.remove(&id);
        node.stop();
        let damaged = if power {
            node.disk.power_failed().damaged
        } else {
            node.disk.process_died()
        };
        for (path, len) in damaged {
            // Holes in a log's un-synced part cannot be told from data: the operator's repair cuts there.
            if path.ends_with(".aof") {
                node.disk.repair(&path, len);
            }
        }
        if power {
            self.net.machine_died(now, id);
        } else {
            self.net.process_died(now, id);
        }
        self.note(4, u64::from(id) << 1 | u64::from(power));
    }

    /// What a sudden death may take from a node.
    fn fork_at_death(&mut self, id: u16) -> Fork {
        let node = &self.nodes[usize::from(id)];
        if !node.persists() {
            // An operator may have had it save all the same.
            let saved = node.disk.has("dump.rdb");
            return if saved {
                Fork::Anything
            } else {
                Fork::Everything
            };
        }
        let delay = self.nodes[usize::from(id)].disk.recent_delay(self.now);
        match self.plan.promise {
            Promise::All => Fork::Nothing,
            Promise::Nothing => Fork::Anything,
            // A second of timer, a second in flight. (What the network took to bring the answer only makes operations
            // look younger.) What was answered just before the disk failed may wait in memory for as long as it fails,
            // and a process that stands still cannot sync either.
            Promise::TwoSeconds => {
                let node = &self.nodes[usize::from(id)];
                let sound_until = node.disk.first_failure.unwrap_or(self.now);
                let span = 2 * SEC + 200 * MS + delay;
                Fork::Time(node.ran.ran_since(sound_until, span))
            }
        }
    }

    fn exited(&mut self, id: u16, code: i32) {
        let asked = self.leaving.remove(&id);
        let standing = self.nodes[usize::from(id)].standing().unwrap_or_default();
        let last = self.nodes[usize::from(id)]
            .log
            .back()
            .cloned()
            .unwrap_or_default();
        self.tell(|| format!("n{id} exits with {code}: {last}"));
        let orderly = self.nodes[usize::from(id)].asked && code == 0;
        let persists = self.nodes[usize::from(id)].persists();
        let fork = if orderly && persists {
            Fork::Nothing
        } else {
            self.fork_at_death(id)
        };
        self.kill(id, false, fork);
        if let (true, Some(Some(dump))) = (orderly && persists && !standing.loading, asked) {
            self.returning.insert(id, dump);
        }
        let clean = *self.nodes[usize::from(id)].disk.faults() == Default::default();
        if !orderly && clean && self.nodes[usize::from(id)].disk.failures == 0 {
            let log = self.nodes[usize::from(id)]
                .log
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join("\n    ");
            let text =
                format!("node {id} ended itself with {code} though nobody asked:\n    {log}");
            self.violations
                .push(Violation::safety("D3", self.now, text));
        }
        // Something restarts it: its supervisor, or the operator (see also `undo`).
        let wait = if self.phase == Phase::Chaos {
            SEC
        } else {
            10 * MS
        };
        self.queue.push(self.now + wait, Event::Boot { node: id });
    }

    fn terminate(&mut self, id: u16) {
        let node = &mut self.nodes[usize::from(id)];
        if node.running() {
            node.shutdown();
            // What it holds when it ends is what counts. In chaos writes may still come before the end.
            let dump = node.dump().filter(|_| self.phase == Phase::Restart);
            self.leaving.insert(id, dump);
            self.schedule_node(id);
        }
    }

    fn strike(&mut self, index: u32) {
        let (at, fault) = self.plan.faults[index as usize];
        if self.phase != Phase::Chaos {
            return;
        }
        self.faults += 1;
        self.note(5, u64::from(index));
        self.tell(|| format!("fault: {fault:?}"));
        if let Some(for_us) = fault.lasts() {
            self.queue.push(at + for_us, Event::Undo { index });
        }
        let now = self.now;
        match fault {
            Fault::Crash {
                node, power, after, ..
            } => {
                let found = &mut self.nodes[usize::from(node)];
                if found.running() {
                    // It dies in one of its next turns, or soon after.
                    found.dies_after = Some((after, power));
                    if after == 0 {
                        let fork = self.fork_at_death(node);
                        self.kill(node, power, fork);
                    }
                }
            }
            Fault::CrashAll { .. } => {
                for node in 0..self.nodes.len() as u16 {
                    if self.nodes[usize::from(node)].running() {
                        let fork = self.fork_at_death(node);
                        self.kill(node, true, fork);
                    }
                }
            }
            Fault::Wipe { node, .. } => {
                self.kill(node, true, Fork::Anything);
                self.nodes[usize::from(node)].disk.restore(&BTreeMap::new());
            }
            Fault::Shutdown { node, .. } => self.terminate(node),
            Fault::Pause { node, for_us } => {
                let found = &mut self.nodes[usize::from(node)];
                found.paused_until = found.paused_until.max(now + for_us);
            }
            Fault::Slow { node, factor, .. } => {
                self.nodes[usize::from(node)].slowness = factor.max(1)
            }
            Fault::Split { mask, one_way, .. } => self.split(mask, one_way, true),
            Fault::Clog { from, to, .. } => self.net.block(now, from, to, true),
            Fault::Throttle {
                from,
                to,
                bandwidth,
                ..
            } => {
                let link = crate::network::LinkSettings {
                    bandwidth,
                    ..self.plan.net.link
                };
                self.net.shape(from, to, Some(link));
            }
            Fault::Refuse { node, .. } => self.net.refuse(node, true),
            Fault::Reset { pick } => {
                let conns: Vec<_> = self.net.live().collect();
                if let Some(&conn) = conns.get(pick as usize % conns.len().max(1)) {
                    self.net.reset(now, conn);
                }
            }
            Fault::Stall { pick, for_us } => {
                let conns: Vec<_> = self.net.live().collect();
                if let Some(&conn) = conns.get(pick as usize % conns.len().max(1)) {
                    self.net.stall(conn, now + for_us);
                }
            }
            Fault::Jump { node, by_us } => self.nodes[usize::from(node)].clock.jump(by_us),
            Fault::Freeze { node, .. } => self.nodes[usize::from(node)].clock.freeze(now, true),
            Fault::DiskFull { node, bytes, .. } => {
                self.nodes[usize::from(node)].disk.limit_space(bytes)
            }
            Fault::DiskErrors {
                node,
                writes,
                syncs,
                ..
            } => {
                let faults = self.nodes[usize::from(node)].disk.faults();
                (faults.write_eio, faults.sync_eio) = (u64::from(writes), u64::from(syncs));
            }
            Fault::SlowSync { node, mean_us, .. } => {
                self.nodes[usize::from(node)].disk.faults().slow_sync_us = mean_us;
            }
            Fault::Command { node, line } => self.operate(node, line.to_owned()),
            Fault::Promote { node } => {
                self.chosen = node;
                self.promote(node);
            }
        }
    }

    fn undo(&mut self, fault: Fault) {
        let now = self.now;
        if self.phase != Phase::Chaos {
            return; // Healed as a whole.
        }
        match fault {
            Fault::Crash { node, power, .. } => {
                let found = &mut self.nodes[usize::from(node)];
                if found.dies_after.take().is_some() && found.running() {
                    let fork = self.fork_at_death(node);
                    self.kill(node, power, fork);
                }
                self.boot(node);
            }
            Fault::CrashAll { .. } => (0..self.nodes.len() as u16).for_each(|node| self.boot(node)),
            Fault::Wipe { node, .. } => self.boot(node),
            Fault::Shutdown { node, .. } => {
                // Where it still runs, it called the end off, because of some other fault.
                self.leaving.remove(&node);
                self.boot(node);
            }
            Fault::Slow { node, .. } => self.nodes[usize::from(node)].slowness = 1,
            Fault::Split { mask, one_way, .. } => self.split(mask, one_way, false),
            Fault::Clog { from, to, .. } => self.net.block(now, from, to, false),
            Fault::Throttle { from, to, .. } => self.net.shape(from, to, None),
            Fault::Refuse { node, .. } => self.net.refuse(node, false),
            Fault::Freeze { node, .. } => self.nodes[usize::from(node)].clock.freeze(now, false),
            Fault::DiskFull { node, .. } => {
                self.nodes[usize::from(node)].disk.faults().space = None
            }
            Fault::DiskErrors { node, .. } => {
                let faults = self.nodes[usize::from(node)].disk.faults();
                (faults.write_eio, faults.sync_eio) = (0, 0);
            }
            Fault::SlowSync { node, .. } => {
                self.nodes[usize::from(node)].disk.faults().slow_sync_us = 0
            }
            Fault::Pause { .. }
            | Fault::Reset { .. }
            | Fault::Stall { .. }
            | Fault::Jump { .. }
            | Fault::Command { .. }
            | Fault::Promote { .. } => {}
        }
    }

    fn split(&mut self, mask: u16, one_way: bool, blocked: bool) {
        let nodes = self.nodes.len() as u16;
        let hosts = nodes + self.clients.len() as u16 + 1;
        let side = |host: u16| mask >> (if host < nodes { host } else { 15 }) & 1 == 1;
        for from in 0..hosts {
            for to in 0..hosts {
                let stopped = side(from) && !side(to) || !one_way && side(to) && !side(from);
                if stopped {
                    self.net.block(self.now, from, to, blocked);
                }
            }
        }
    }

    fn promote(&mut self, node: u16) {
        self.operate(node, "REPLICAOF NO ONE".into());
        for other in (0..self.nodes.len() as u16).filter(|other| *other != node) {
            let line = format!("REPLICAOF {} {}", crate::node::ip(node), crate::node::PORT);
            self.operate(other, line);
        }
    }

    fn operate(&mut self, node: u16, line: String) {
        if self.operator.add(node, line) {
            self.queue.push(self.now, Event::Operator);
        }
    }

    /// The end of chaos: everything works again, and stays so.
    fn heal(&mut self) {
        self.enter(Phase::Audit);
        let now = self.now;
        self.net.heal(now);
        for id in 0..self.nodes.len() as u16 {
            let node = &mut self.nodes[usize::from(id)];
            *node.disk.faults() = Default::default();
            node.clock.heal();
            node.slowness = 1;
            node.paused_until = now;
            node.dies_after = None;
            if !node.running() {
                self.boot(id);
            }
            self.schedule_node(id);
        }
        for client in &mut self.clients {
            client.stop();
        }
        if self.plan.kind == Kind::Replicated {
            // Orders that crossed or were lost may have left servers that follow each other in a circle.
            self.operator.forget();
            self.promote(self.chosen);
        }
        self.queue.push(now + SEC, Event::Look);
    }

    /// Looks, from the end of chaos on, whether the phase's goal is reached.
    fn look(&mut self) {
        let now = self.now;
        let nodes = 0..self.nodes.len() as u16;
        if self.phase == Phase::Audit && self.phase_since + 2 * SEC > now {
            // Clients finish what they had begun.
        } else if self.phase == Phase::Audit && self.recovered_in.is_none() {
            self.recovered_in = Some(Micros::MAX);
            self.clients[0].audit(now, 0..self.plan.groups);
            self.queue.push(now, Event::Client { client: 0 });
        } else if self.phase == Phase::Audit
            && self.clients[0].audited()
            && self.clients.iter().all(Client::idle)
        {
            self.recovered_in = Some(now - self.phase_since);
            self.enter(Phase::Converge);
        }
        if self.phase == Phase::Converge
            && self.plan.kind == Kind::Replicated
            && (now - self.phase_since) % (10 * SEC) >= 10 * SEC - 100 * MS
        {
            // A server that was late to restart follows whom its file names: that may close a circle.
            self.promote(self.chosen);
        }
        if self.phase == Phase::Converge && self.converged() {
            self.enter(Phase::Restart);
            nodes.clone().for_each(|node| self.terminate(node));
        } else if self.phase == Phase::Restart {
            let up = |node: &Node| node.standing().is_some_and(|standing| !standing.loading);
            let back =
                self.returning.is_empty() && self.leaving.is_empty() && self.nodes.iter().all(up);
            if back {
                self.enter(Phase::Over);
            } else if (now - self.phase_since) % (5 * SEC) < 100 * MS {
                // A node whose disk has failed it calls its end off until it has written everything anew.
                self.leaving
                    .clone()
                    .into_keys()
                    .for_each(|node| self.terminate(node));
            }
        }
        if self.phase_since + self.plan.recovery_us < now && self.phase != Phase::Over {
            let text = format!(
                "{} s after the end of all faults the phase {:?} is not over: {}",
                (now - self.phase_since) / SEC,
                self.phase,
                self.waiting_for()
            );
            let invariant = if self.phase == Phase::Audit {
                "L3"
            } else {
                "L2"
            };
            self.violations
                .push(Violation::liveness(invariant, now, text));
        }
        self.queue.push(now + 100 * MS, Event::Look);
    }

    fn converged(&mut self) -> bool {
        let standings: Vec<Standing> = self.nodes.iter().filter_map(Node::standing).collect();
        let all = standings.len() == self.nodes.len();
        if !all || standings.iter().any(|standing| standing.loading) {
            return false;
        }
        let position = |standing: &Standing| (standing.replid, standing.offset);
        let primaries: Vec<_> = standings
            .iter()
            .filter(|standing| standing.primary)
            .map(position)
            .collect();
        let replicas = standings.iter().filter(|standing| !standing.primary);
        let followed = replicas
            .clone()
            .all(|one| one.link_up && primaries.contains(&position(one)));
        let views: Vec<_> = self.nodes.iter().filter_map(Node::cluster).collect();
        if !followed || (!views.is_empty() && !Cluster::converged(&views)) {
            return false;
        }
        for id in 0..self.nodes.len() as u16 {
            let node = &self.nodes[usize::from(id)];
            if let (Some(standing), Some(dump)) = (node.standing(), node.dump()) {
                self.violations
                    .extend(self.replication.sample(id, self.now, &standing, &dump));
            }
        }
        self.violations.extend(Cluster::audit(self.now, &views));
        true
    }

    fn waiting_for(&self) -> String {
        let mut text = String::new();
        for op in self
            .history
            .ops
            .iter()
            .filter(|op| op.outcome == Fate::Pending)
            .take(5)
        {
            text.push_str(&format!("\n  {}", op.describe()));
        }
        if let Some(op) = self
            .history
            .ops
            .iter()
            .rev()
            .find(|op| matches!(op.outcome, Fate::Refused(_)))
        {
            text.push_str(&format!("\n  last refused: {}", op.describe()));
        }
        for client in self.clients.iter().filter(|client| !client.idle()) {
            text.push_str(&format!("\n  {}", client.describe()));
        }
        for node in &self.nodes {
            text.push_str(&format!("\n  n{} {:?}", node.id, node.standing()));
            for line in node.log.iter().rev().take(4).rev() {
                text.push_str(&format!("\n     │ {line}"));
            }
        }
        text
    }

    fn enter(&mut self, phase: Phase) {
        self.tell(|| format!("phase {phase:?}"));
        self.phase = phase;
        self.phase_since = self.now;
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.options.story {
            self.story
                .push(format!("{:>12.6} {}", self.now as f64 / 1e6, line()));
        }
    }

    fn note(&mut self, what: u64, which: u64) {
        mix(&mut self.trace, self.now);
        mix(&mut self.trace, what << 32 | which);
    }

    fn judge(mut self) -> Outcome {
        let slack = self.plan.clock_slack_us;
        let limits = linear::Limits {
            clock_slack_us: slack,
            ..linear::Limits::default()
        };
        let verdict = linear::check(&self.history, limits);
        // What the clients saw is the better story of one and the same fault.
        let mut violations = verdict.violations;
        violations.append(&mut self.violations);
        violations.sort_by_key(|violation| violation.kind != Breach::Crash);
        let mut fates = [0; 3];
        for op in &self.history.ops {
            match op.outcome {
                Fate::Done(_) => fates[0] += 1,
                Fate::Refused(_) => fates[1] += 1,
                Fate::Pending | Fate::Unknown => fates[2] += 1,
            }
        }
        if self.options.story {
            self.story.extend(
                self.history
                    .ops
                    .iter()
                    .map(|op| format!("{:>12.6} {}", op.invoke as f64 / 1e6, op.describe())),
            );
            self.story.sort_by(|a, b| {
                a[..12]
                    .trim_start()
                    .parse::<f64>()
                    .unwrap_or(0.0)
                    .total_cmp(&b[..12].trim_start().parse().unwrap_or(0.0))
            });
        }
        Outcome {
            violations,
            trace: self.trace,
            lasted: self.now,
            events: self.events,
            fates,
            decided: [verdict.decided, verdict.undecided],
            reigns: self.history.reigns.len(),
            faults: self.faults,
            recovered_in: self.recovered_in.filter(|&time| time != Micros::MAX),
            story: self.story,
        }
    }
}

fn mix(hash: &mut u64, word: u64) {
    *hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
}

fn mix_bytes(hash: &mut u64, bytes: &[u8]) {
    mix(hash, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash, u64::from_le_bytes(word));
    }
}
