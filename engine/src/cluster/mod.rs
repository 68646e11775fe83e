//! Redis Cluster, as a state machine that speaks Redis 7.0's bus.
//!
//! Nodes ping each other over links of their own (`link`, [`bus`]); every ping says who the sender is,
//! which slots it or its primary owns and under which *config epoch*, and a little about other nodes
//! (`gossip`). From that each node keeps the map ([`nodes`], [`slots`]): a slot belongs to the claim with
//! the highest epoch (`epoch`). A node that does not answer is suspected, and failed once a majority of
//! the primaries says so (`failure`); then its replicas stand for election (`election`), or one does at an
//! operator's wish (`manual`). Whether keys may be served at all is `state`'s to say, and `route`
//! sends clients where a key is.
//!
//! # What is written before it is said
//!
//! What a node must not forget is in nodes.conf (`conf`, `saver`): epochs, its vote, who owns what. Every
//! change gets a version, and nothing that depends on a version leaves before it is durable:
//!
//! - a vote, a request for votes and a promotion are *held* until their version is (`Held`);
//! - every other packet describes us as of the last durable version (`gossip::Claims`), so a slow disk
//!   delays news about us but never our answers.
//!
//! # The order of calls
//!
//! [`Cluster::start`] first. Then, for whatever happens: [`Cluster::observe`] if the [`View`] changed, the
//! method for the event, and [`Cluster::poll_action`] until it has no more. [`Cluster::tick`] is due at
//! [`Cluster::deadline`]. Outgoing connections are named by the cluster itself out of a range that the engine
//! gives to [`Cluster::new`], so that no name has to travel back.
//!
//! Time that decides is monotonic; the wall clock is only shown (KB-24). The only randomness is the seed.

mod action;
mod admin;
pub mod bus;
pub mod conf;
mod cron;
mod describe;
mod election;
mod epoch;
mod failure;
mod faults;
mod gossip;
mod held;
mod link;
mod manual;
mod migration;
pub mod node;
pub mod nodes;
mod receive;
mod route;
mod saver;
mod settings;
mod shard;
pub mod slots;
mod state;
#[cfg(test)]
mod tests;

pub use crate::value::slot::{SLOTS, slot_of};
pub use action::{Action, Decision, View};
pub use admin::Refused;
pub use conf::Corrupt;
pub use describe::{Health, LinkInfo, NodeInfo, Shard, SlotRange};
pub use faults::Direction;
pub use route::{Endpoint, Route, RouteRequest};
pub use settings::{EndpointType, Settings};
pub use state::State;

use crate::{ConnId, DiskError, DiskReply, LogLevel, Now};
use alloc::collections::VecDeque;
use alloc::string::String;
use bus::Kind;
use held::Held;
use link::{Link, Links};
use node::{Flags, Node, NodeId, NodeKey};
use nodes::Nodes;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use saver::{Progress, Saver};

/// The cluster as one node sees it.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    rng: ChaCha8Rng,
    nodes: Nodes,
    links: Links,
    next_link: u64,
    /// The highest epoch that we know of.
    current_epoch: u64,
    /// The last epoch in which we voted.
    last_vote_epoch: u64,
    election: election::Election,
    manual: manual::Manual,
    health: state::Health,
    saver: Saver,
    /// What the save that is under way will let us say.
    saving: Option<gossip::Claims>,
    /// What we say of ourselves: as of the last durable version. None until our name is durable.
    advertised: Option<gossip::Claims>,
    held: VecDeque<(u64, Held)>,
    forgotten: gossip::Forgotten,
    imported: epoch::Imported,
    actions: VecDeque<Action>,
    view: View,
    lineage: election::Lineage,
    /// Where replication was last told to go; None: it was told that we are a primary.
    told: Option<(String, u16)>,
    todo: Todo,
    cron: cron::Cron,
    stats: Stats,
    faults: faults::Faults,
}

/// What is done once an input has been handled, however many packets asked for it.
#[derive(Clone, Copy, Debug, Default)]
struct Todo {
    update_state: bool,
    failover: bool,
    manual: bool,
}

/// Counters for CLUSTER INFO.
#[derive(Clone, Debug, Default)]
struct Stats {
    sent: [u64; Kind::ALL.len()],
    received: [u64; Kind::ALL.len()],
    links_over_limit: u64,
}

impl Cluster {
    /// A cluster of one with a random name, which nobody has heard of yet. Outgoing connections will be
    /// [`ConnId::outgoing`] of `first_link` and the numbers after it.
    pub fn new(settings: Settings, seed: [u8; 32], first_link: u64, now: Now) -> Cluster {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut me = Node::new(
            NodeId::random(&mut rng),
            Flags::MYSELF.with(Flags::PRIMARY),
            now,
        );
        let mut of_shards = ChaCha8Rng::from_seed(seed);
        of_shards.set_stream(1);
        me.shard = Some(NodeId::random(&mut of_shards));
        let mut cluster = Cluster {
            saver: Saver::new(&settings.config_file),
            settings,
            rng,
            nodes: Nodes::new(me),
            links: Links::new(),
            next_link: first_link,
            current_epoch: 0,
            last_vote_epoch: 0,
            election: election::Election::default(),
            manual: manual::Manual::default(),
            health: state::Health::default(),
            saving: None,
            advertised: None,
            held: VecDeque::new(),
            forgotten: gossip::Forgotten::default(),
            imported: epoch::Imported::default(),
            actions: VecDeque::new(),
            view: View::default(),
            lineage: election::Lineage::default(),
            told: None,
            todo: Todo::default(),
            cron: cron::Cron::new(now),
            stats: Stats::default(),
            faults: faults::Faults::default(),
        };
        cluster.apply_settings();
        cluster
    }

    /// Begins with what nodes.conf holds, or without if there is none. Nothing was asked of the cluster
    /// before. On an error the node must not start.
    pub fn start(&mut self, now: Now, text: Option<&str>) -> Result<(), Corrupt> {
        match text.filter(|text| !text.is_empty()) {
            Some(text) => {
                let conf = conf::parse(text)?;
                self.load(now, conf);
                self.log(
                    LogLevel::Notice,
                    alloc::format!("Node configuration loaded, I'm {}", self.nodes.me().id),
                );
                self.advertised = Some(self.claims());
            }
            None => {
                let text =
                    alloc::format!("No cluster configuration found, I'm {}", self.nodes.me().id);
                self.log(LogLevel::Notice, text);
                self.touch(true);
            }
        }
        self.apply_settings();
        self.todo.update_state = true;
        self.settle(now);
        Ok(())
    }

    fn load(&mut self, now: Now, conf: conf::Conf) {
        let mut nodes = None;
        // A file of a Redis 7.0 names no shard: then it gets the name made up at the start.
        let fresh = self.nodes.me().shard;
        if let Some(me) = conf.nodes.iter().find(|node| node.flags.any(Flags::MYSELF)) {
            nodes = Some(Nodes::new(Node::new(me.id, Flags::MYSELF, now)));
        }
        let Some(mut nodes) = nodes else { return };
        let key_of = |nodes: &mut Nodes, id: NodeId| {
            nodes
                .find(&id)
                .or_else(|| nodes.add(Node::new(id, Flags::default(), now)))
        };
        for line in conf.nodes {
            let Some(key) = key_of(&mut nodes, line.id) else {
                continue;
            };
            let primary = line
                .primary
                .and_then(|id| key_of(&mut nodes, id))
                .filter(|primary| *primary != key);
            let node = nodes.node_mut(key);
            // A suspicion was this node's own and needs fresh grounds; an agreed failure stands.
            node.flags.set(line.flags);
            node.flags.clear(Flags::PFAIL);
            node.fail_time = now.mono_ms();
            node.ip = line.ip;
            node.hostname = line.hostname;
            node.shard = line.shard;
            node.port = line.port;
            node.bus_port = line.bus_port;
            node.ping_sent = line.pinged.then(|| now.into());
            node.pong_received = line.ponged.then(|| now.into());
            // A replica repeats its primary's epoch; it has none of its own (KB-20).
            node.config_epoch = if primary.is_some() {
                0
            } else {
                line.config_epoch
            };
            if primary.is_some() {
                nodes.follow(key, primary);
            }
            for slot in line.slots.iter() {
                if nodes.slots.owner(slot).is_none() {
                    nodes.assign(slot, Some(key));
                }
            }
            for (slot, to) in line.migrating {
                if let Some(to) = key_of(&mut nodes, to) {
                    nodes.slots.migrating.insert(slot, to);
                }
            }
            for (slot, from) in line.importing {
                if let Some(from) = key_of(&mut nodes, from) {
                    nodes.slots.importing.insert(slot, from);
                }
            }
        }
        let me = nodes.me_mut();
        if !me.is_primary() && !me.is_replica() {
            me.flags.set(Flags::PRIMARY);
        }
        // An agreed failure of ourselves is not ours to remember.
        me.flags
            .clear(Flags::FAIL.with(Flags::HANDSHAKE).with(Flags::NOADDR));
        me.shard = conf.shard.or(me.shard).or(fresh);
        self.nodes = nodes;
        self.last_vote_epoch = conf.last_vote_epoch;
        self.current_epoch = conf.current_epoch.max(self.nodes.max_config_epoch());
    }

    /// Replaces the settings (CONFIG SET).
    pub fn set_settings(&mut self, now: Now, settings: Settings) {
        self.settings = settings;
        self.apply_settings();
        self.todo.update_state = true;
        self.settle(now);
    }

    /// Copies to our own entry what the settings say about it.
    fn apply_settings(&mut self) {
        let settings = self.settings.clone();
        let (port, plain_port, bus_port) = settings.announced_ports();
        let me = self.nodes.me_mut();
        let before = (
            me.port,
            me.plain_port,
            me.bus_port,
            me.ip.clone(),
            me.hostname.clone(),
            me.flags,
        );
        (me.port, me.plain_port, me.bus_port) = (port, plain_port, bus_port);
        me.flags.clear(Flags::NOFAILOVER);
        if settings.replica_no_failover {
            me.flags.set(Flags::NOFAILOVER);
        }
        if !settings.announce_ip.is_empty() {
            me.ip = settings.announce_ip;
        }
        me.hostname = settings.announce_hostname;
        me.human_name = settings.announce_human_nodename;
        if before
            != (
                me.port,
                me.plain_port,
                me.bus_port,
                me.ip.clone(),
                me.hostname.clone(),
                me.flags,
            )
        {
            self.touch(false);
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the rest of the engine is like now. To be called before an event is handed in, if it changed,
    /// and after all earlier actions were carried out.
    pub fn observe(&mut self, now: Now, view: &View) {
        debug_assert!(
            self.actions.is_empty(),
            "actions must be carried out before the engine is observed"
        );
        let paused = view.writes_paused && !self.view.writes_paused;
        let moved = view.offset != self.view.offset;
        self.view = *view;
        self.lineage.observe(view);
        if paused {
            self.announce_pause(now);
        }
        if moved && self.manual.in_progress() {
            self.todo.manual = true;
            self.settle(now);
        }
    }

    /// Time passed. Harmless before [`Cluster::deadline`].
    pub fn tick(&mut self, now: Now, view: &View) {
        self.observe(now, view);
        if self.cron.due(now) {
            self.on_cron(now);
        }
        self.settle(now);
    }

    /// When [`Cluster::tick`] is due, in monotonic microseconds.
    pub fn deadline(&self) -> u64 {
        self.cron.next_us()
    }

    /// The answer to the oldest disk request that has none yet.
    pub fn on_disk(&mut self, now: Now, result: Result<DiskReply, DiskError>) {
        match self.saver.on_disk(now.mono_ms(), result) {
            Progress::Next(request) => self.act(Action::Disk(request)),
            Progress::Saved(version) => {
                let first = self.advertised.is_none();
                self.advertised = self.saving.take().or(self.advertised.take());
                self.decide(Decision::Saved { version });
                self.release(now);
                if first {
                    self.read_all_links(now);
                }
            }
            Progress::Failed(error) => {
                self.saving = None;
                let file = &self.settings.config_file;
                let text = alloc::format!(
                    "Can't update the cluster config file {file}: {}. Votes, elections and new slots wait until it can be written.",
                    error.message
                );
                self.log(LogLevel::Warning, text);
                self.decide(Decision::SaveFailed {
                    message: error.message,
                });
            }
            Progress::Idle => {}
        }
        self.settle(now);
    }

    /// The next thing to do. To be called until there is none.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether all actions were taken.
    pub fn is_quiet(&self) -> bool {
        self.actions.is_empty()
    }

    /// The version of what nodes.conf ought to hold. A command that changed something is safe from a crash
    /// once [`Cluster::durable`] has reached the version read after it.
    pub fn version(&self) -> u64 {
        self.saver.version()
    }

    /// The version that a crash cannot take away any more.
    pub fn durable(&self) -> u64 {
        self.saver.durable()
    }

    /// Begins a save of whatever is unsaved (shutdown); done when [`Cluster::durable`] has reached
    /// [`Cluster::version`].
    pub fn flush(&mut self, now: Now) {
        self.save(now, true);
    }

    /// All known nodes and who owns which slot.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The highest epoch known and the last one in which this node voted.
    pub fn epochs(&self) -> (u64, u64) {
        (self.current_epoch, self.last_vote_epoch)
    }

    /// Whether this node is a replica.
    pub fn is_replica(&self) -> bool {
        self.nodes.me().is_replica()
    }

    /// Checks what must always hold. For tests and the simulator.
    pub fn invariants(&self) {
        self.nodes.invariants();
        for (conn, link) in &self.links {
            if let Some(key) = link.node {
                let node = self.nodes.get(key).expect("a link of a forgotten node");
                assert!(
                    node.link == Some(*conn) || node.inbound == Some(*conn),
                    "a link its node does not know"
                );
            }
        }
        assert!(self.saver.durable() <= self.saver.version());
        assert!(
            self.last_vote_epoch <= self.current_epoch,
            "voted in the future"
        );
        if self.is_replica() {
            assert!(
                self.nodes.slots.migrating.is_empty(),
                "a replica migrates slots"
            );
        }
    }

    /// After every input: what packets asked for, replication's orders, and the save.
    fn settle(&mut self, now: Now) {
        let todo = core::mem::take(&mut self.todo);
        if todo.manual {
            self.advance_manual();
        }
        if todo.manual || todo.failover || self.todo.failover {
            self.todo.failover = false;
            self.advance_election(now);
        }
        if todo.update_state || self.todo.update_state {
            self.update_state(now);
        }
        self.align_replication();
        self.save(now, false);
    }

    fn save(&mut self, now: Now, lazily: bool) {
        if self.saver.wanted(now.mono_ms(), lazily) {
            self.saving = Some(self.claims());
            let text = conf::write(&self.nodes, self.current_epoch, self.last_vote_epoch);
            let request = self.saver.begin(text);
            self.act(Action::Disk(request));
        }
    }

    /// Tells replication where to go whenever that differs from what it was told last. That we are a primary
    /// again it hears from the promotion, once that is durable.
    fn align_replication(&mut self) {
        let me = self.nodes.me();
        if !me.is_replica() {
            return;
        }
        let Some(primary) = me.primary.and_then(|key| self.nodes.get(key)) else {
            return;
        };
        if !primary.has_address() {
            return;
        }
        // In a TLS cluster a node's port is that of TLS.
        let plain = self.settings.tls_cluster && !self.settings.tls_replication;
        let target = (primary.ip.clone(), primary.client_port(plain));
        if self.told.as_ref() != Some(&target) {
            self.told = Some(target.clone());
            self.decide(Decision::Replicate {
                host: target.0,
                port: target.1,
            });
        }
    }

    /// Notes that nodes.conf is out of date; returns the version that will hold the change.
    fn touch(&mut self, urgent: bool) -> u64 {
        self.saver.touch(urgent)
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn decide(&mut self, decision: Decision) {
        self.act(Action::Decision(decision));
    }

    fn log(&mut self, level: LogLevel, text: String) {
        self.act(Action::Log { level, text });
    }

    /// A random number below `bound`.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    fn my_id(&self) -> NodeId {
        self.nodes.me().id
    }

    /// Removes a node with its links.
    fn remove_node(&mut self, key: NodeKey) {
        let ends = self
            .nodes
            .get(key)
            .map(|node| [node.link, node.inbound])
            .unwrap_or_default();
        ends.into_iter().flatten().for_each(|conn| self.close(conn));
        if self.manual.replica == Some(key) {
            self.reset_manual();
        }
        self.nodes.remove(key);
    }
}

impl Cluster {
    /// How many connections the bus has.
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    /// Bytes that they take.
    pub fn link_bytes(&self) -> usize {
        self.links.values().map(Link::bytes).sum()
    }

    /// Whether a connection is one of the bus.
    pub fn owns(&self, conn: ConnId) -> bool {
        self.links.contains_key(&conn)
    }
}
