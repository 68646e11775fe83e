//! The world: nodes, clients, network, one queue of events, and the observers who look on.
//!
//! A run has four phases. Warm-up and chaos are the plan's: operations and faults at their times. At `chaos_until` new
//! faults end. What is down and can be spared stays down, the rest is healed and must serve every key (C, see
//! [`phases`]); then everything is healed, replicas catch up, and an orderly restart reproduces all data (D).

use crate::checkers::honesty::Honesty;
use crate::checkers::minority::Minority;
use crate::checkers::reigns::Reigns;
use crate::checkers::replication::Replication;
use crate::checkers::stream::Stream;
use crate::checkers::{Kind as Breach, Violation, cluster::Cluster, linear};
use crate::client::{Client, Surroundings};
use crate::disk::Disk;
use crate::history::{History, Outcome as Fate};
use crate::marks::Marks;
use crate::network::{NetEvent, Network};
use crate::node::Node;
use crate::operator::Operator;
use crate::plan::Plan;
use crate::probe::DumpedKey;
use crate::rehearser::{self, Rehearser};
use crate::rng::{Concern, Rng};
use crate::time::{Micros, NodeClock, Queue};
use crate::visitor::{self, Visitor};
use std::collections::{BTreeMap, BTreeSet};

mod faults;
mod nodes;
mod phases;

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
    /// How long a core needed to serve everything while others stayed down.
    pub core_served_in: Option<Micros>,
    /// Rare ways that were taken.
    pub marks: Marks,
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
    Visitor,
    Rehearser,
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
    /// A core is healed, others stay down; groups are being read.
    Core,
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
    visitor: Option<Visitor>,
    rehearser: Option<Rehearser>,
    cpu: Rng,
    history: History,
    reigns: Reigns,
    replication: Replication,
    stream: Stream,
    cluster: Cluster,
    honesty: Honesty,
    minority: Minority,
    /// The owners of slots as each node saw them last.
    owners: Vec<BTreeSet<u16>>,
    marks: Marks,
    violations: Vec<Violation>,
    phase: Phase,
    phase_since: Micros,
    trace: u64,
    events: u64,
    wakes: u64,
    faults: usize,
    recovered_in: Option<Micros>,
    core_served_in: Option<Micros>,
    /// Nodes that stay down while the core is tried.
    spared: BTreeSet<u16>,
    /// When a node was last a replica whose link was up, and whose.
    followed: BTreeMap<u16, (Micros, [u8; 40])>,
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
        // The operator, the visitor and the rehearser come last.
        let strangers = count + plan.clients.len();
        let hosts = strangers + 3;
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
        let visitor = plan.visited.then(|| {
            let rng = Rng::new(seed, Concern::Visitor);
            Visitor::new(strangers as u16 + 1, count as u16, rng, plan.chaos_until)
        });
        if let Some(at) = visitor.as_ref().and_then(|visitor| visitor.wake_at) {
            queue.push(at, Event::Visitor);
        }
        let rehearser = plan.rehearsed.then(|| {
            let rng = Rng::new(seed, Concern::Rehearser);
            let host = strangers as u16 + 2;
            Rehearser::new(host, count as u16, plan.groups, rng, plan.chaos_until)
        });
        if let Some(at) = rehearser.as_ref().and_then(|rehearser| rehearser.wake_at) {
            queue.push(at, Event::Rehearser);
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
            operator: Operator::new(strangers as u16),
            visitor,
            rehearser,
            cpu: Rng::new(seed, Concern::Cpu),
            history: History::default(),
            reigns: Reigns::new(count),
            replication: Replication::default(),
            stream: Stream::default(),
            cluster: Cluster::default(),
            honesty: Honesty::default(),
            minority: Minority::default(),
            owners: vec![BTreeSet::new(); count],
            marks: Marks::default(),
            violations: Vec::new(),
            phase: Phase::Chaos,
            phase_since: 0,
            trace: seed,
            events: 0,
            wakes: 0,
            faults: 0,
            recovered_in: None,
            core_served_in: None,
            spared: BTreeSet::new(),
            followed: BTreeMap::new(),
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
            } else if host == self.nodes.len() + self.clients.len() {
                self.operator
                    .on_notice(self.now, &mut self.net, end, &notice);
            } else if host == self.nodes.len() + self.clients.len() + 1 {
                self.visit(|visitor, env| visitor.on_notice(env, end, &notice));
            } else {
                self.rehearse(|rehearser, env| rehearser.on_notice(env, end, &notice));
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
                    // A slow process hears of it when it gets there.
                    let heard = self.nodes[usize::from(node)].ready_at(now);
                    for seen in std::mem::take(&mut self.nodes[usize::from(node)].disk.witnessed) {
                        let at = if seen.is_failure() { heard } else { now };
                        self.honesty.observe(node, at, &seen);
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
            Event::Visitor => self.visit(|visitor, env| {
                if visitor.wake_at.is_some_and(|at| at <= env.now) {
                    visitor.tick(env);
                }
            }),
            Event::Rehearser => self.rehearse(|rehearser, env| {
                if rehearser.wake_at.is_some_and(|at| at <= env.now) {
                    rehearser.tick(env);
                }
            }),
            Event::Boot { node } => self.boot(node),
            Event::Fault { index } => self.strike(index),
            Event::Undo { index } => self.undo(self.plan.faults[index as usize].1),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    /// Has the visitor do something.
    fn visit(&mut self, act: impl FnOnce(&mut Visitor, &mut visitor::Surroundings<'_>)) {
        let Some(visitor) = &mut self.visitor else {
            return;
        };
        let before = visitor.wake_at;
        let mut env = visitor::Surroundings {
            now: self.now,
            net: &mut self.net,
            marks: &mut self.marks,
            violations: &mut self.violations,
        };
        act(visitor, &mut env);
        if let Some(at) = visitor.wake_at.filter(|_| visitor.wake_at != before) {
            self.queue.push(at, Event::Visitor);
        }
    }

    /// Has the rehearser do something.
    fn rehearse(&mut self, act: impl FnOnce(&mut Rehearser, &mut rehearser::Surroundings<'_>)) {
        let Some(rehearser) = &mut self.rehearser else {
            return;
        };
        let before = rehearser.wake_at;
        let mut env = rehearser::Surroundings {
            now: self.now,
            net: &mut self.net,
            marks: &mut self.marks,
        };
        act(rehearser, &mut env);
        if let Some(at) = rehearser.wake_at.filter(|_| rehearser.wake_at != before) {
            self.queue.push(at, Event::Rehearser);
        }
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
        violations.extend(self.minority.judge(&self.history));
        if self.minority.windows() > 0 {
            self.marks.hit("cluster.cut-off");
        }
        if self.honesty.windows() > 0 {
            self.marks.hit("disk.error");
        }
        violations.extend(self.honesty.judge(&self.history, self.now));
        if self.stream.compared > 0 {
            self.marks.hit("stream.compared");
        }
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
            core_served_in: self.core_served_in,
            marks: self.marks,
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
