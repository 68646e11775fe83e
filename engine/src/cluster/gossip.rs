//! What we say about ourselves and a few others in every ping, and what we make of what others say.

use super::bus::{self, Body, Extension, Gossip, Header, Kind, MessageFlags, Packet};
use super::node::{Flags, Node, NodeId, NodeKey};
use super::slots::SlotSet;
use super::state::State;
use super::{Cluster, node::Stamp};
use crate::{ConnId, LogLevel, Now};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use rand_core::RngCore;

/// The longest, in seconds, that others may have us keep a node out: more than any operator means.
const FORGET_MOST_S: u64 = 366 * 86_400;
/// How many forgotten nodes are remembered.
const FORGOTTEN: usize = 1024;

/// What a packet says of its sender that must be durable first.
#[derive(Clone, Debug)]
pub struct Claims {
    id: NodeId,
    pub(super) current_epoch: u64,
    config_epoch: u64,
    slots: SlotSet,
    primary: Option<NodeId>,
    role: Flags,
}

/// Nodes that an operator told us to forget.
#[derive(Clone, Debug, Default)]
pub struct Forgotten {
    /// Until when (monotonic milliseconds) each is kept out whatever is heard of it. After that it still
    /// takes a node that works to come back: a dead one must not return out of a slow peer's memory (KB-23).
    until: BTreeMap<NodeId, u64>,
}

impl Forgotten {
    /// Keeps a node out from now on.
    pub fn add(&mut self, id: NodeId, until_ms: u64) {
        if self.until.len() >= FORGOTTEN {
            let oldest = self
                .until
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(id, _)| *id);
            oldest.and_then(|id| self.until.remove(&id));
        }
        self.until.insert(id, until_ms);
    }

    /// An operator (or the node, at one's wish) asked for it again.
    pub fn lift(&mut self, id: &NodeId) {
        self.until.remove(id);
    }

    /// Whether gossip about a node in this condition may bring it in.
    pub fn keeps_out(&self, id: &NodeId, flags: Flags, now_ms: u64) -> bool {
        self.until
            .get(id)
            .is_some_and(|until| now_ms < *until || flags.any(Flags::FAIL.with(Flags::PFAIL)))
    }

    /// Those that others are still to be told of, with the seconds left.
    fn fresh(&self, now_ms: u64) -> impl Iterator<Item = (NodeId, u64)> {
        self.until
            .iter()
            .filter(move |(_, until)| **until > now_ms)
            .map(move |(id, until)| (*id, (until - now_ms).div_ceil(1000)))
    }
}

impl Cluster {
    /// What we would say of ourselves now.
    pub(super) fn claims(&self) -> Claims {
        let me = self.nodes.me();
        let primary = me.primary.and_then(|key| self.nodes.get(key));
        let speaker = primary.filter(|_| me.is_replica()).unwrap_or(me);
        Claims {
            id: me.id,
            current_epoch: self.current_epoch,
            config_epoch: speaker.config_epoch,
            slots: speaker.slots.clone(),
            primary: primary.map(|node| node.id),
            role: me.flags.only(Flags::PRIMARY.with(Flags::REPLICA)),
        }
    }

    /// A packet that says this of us.
    pub(super) fn packet(&self, claims: &Claims, message: MessageFlags, body: Body<'_>) -> Bytes {
        let me = self.nodes.me();
        let (port, plain_port, bus_port) = self.settings.announced_ports();
        let mut message = message;
        if me.is_primary() && self.manual.in_progress() && self.view.writes_paused {
            message.set(MessageFlags::PAUSED);
        }
        let mut flags = me.flags;
        flags.clear(Flags::PRIMARY.with(Flags::REPLICA));
        flags.set(claims.role);
        let header = Header {
            port,
            plain_port,
            bus_port,
            current_epoch: claims.current_epoch,
            config_epoch: claims.config_epoch,
            offset: self.my_offset(),
            sender: claims.id,
            slots: claims.slots.bitmap(),
            primary: claims.primary,
            ip: &self.settings.announce_ip,
            flags,
            down: self.health.state() == State::Fail,
            message,
        };
        bus::encode(&Packet { header, body }).into()
    }

    /// A packet that says of us what is durable; `None` before anything is.
    pub(super) fn durable_packet(&self, body: Body<'_>) -> Option<Bytes> {
        Some(self.packet(self.advertised.as_ref()?, MessageFlags::default(), body))
    }

    /// The first packet of a connection of ours. A ping already awaited keeps its time.
    pub(super) fn greet(&mut self, now: Now, conn: ConnId) {
        let Some(key) = self.links.get(&conn).and_then(|link| link.node) else {
            return;
        };
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        let awaited = node.ping_sent;
        let kind = if node.flags.any(Flags::MEET) {
            Kind::Meet
        } else {
            Kind::Ping
        };
        node.flags.clear(Flags::MEET);
        self.ping(now, conn, kind);
        if let Some(node) = self.nodes.get_mut(key).filter(|_| awaited.is_some()) {
            node.ping_sent = awaited;
        }
    }

    /// Sends PING, PONG or MEET over a link, with gossip.
    pub(super) fn ping(&mut self, now: Now, conn: ConnId, kind: Kind) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let (to, outbound) = (link.node, !link.inbound);
        let shard = self.shard_extension(conn, kind);
        let chosen = self.choose_gossip(to);
        let gossip = chosen
            .iter()
            .filter_map(|key| self.nodes.get(*key))
            .map(gossip_about)
            .collect();
        let me = self.nodes.me();
        let mut extensions = Vec::new();
        if !me.hostname.is_empty() {
            extensions.push(Extension::Hostname(&me.hostname));
        }
        if !me.human_name.is_empty() {
            extensions.push(Extension::HumanName(&me.human_name));
        }
        extensions.extend(shard);
        let fresh = self.forgotten.fresh(now.mono_ms());
        extensions.extend(fresh.map(|(node, ttl_s)| Extension::Forgotten { node, ttl_s }));
        let Some(packet) = self.durable_packet(Body::Ping {
            kind,
            gossip,
            extensions,
        }) else {
            return;
        };
        if outbound
            && kind == Kind::Ping
            && let Some(node) = to.and_then(|key| self.nodes.get_mut(key))
        {
            node.ping_sent = Some(now.into());
        }
        self.send(conn, kind, packet);
    }

    /// A PONG to everyone: something about us changed.
    pub(super) fn pong_all(&mut self, now: Now) {
        self.pong_where(now, |_| true);
    }

    /// A PONG to the other replicas of our primary.
    pub(super) fn pong_siblings(&mut self, now: Now) {
        let shard = self.nodes.primary_of(self.nodes.my_key());
        self.pong_where(now, |node| {
            node.is_replica() && node.primary.is_some() && node.primary == shard
        });
    }

    fn pong_where(&mut self, now: Now, wanted: impl Fn(&Node) -> bool) {
        let skip = Flags::MYSELF.with(Flags::HANDSHAKE);
        let conns: Vec<ConnId> = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.flags.any(skip) && wanted(node))
            .filter_map(|(_, node)| node.link)
            .collect();
        conns
            .into_iter()
            .for_each(|conn| self.ping(now, conn, Kind::Pong));
    }

    /// Whom to speak of: a tenth of all nodes, at least three, at random; and every suspect, so that a
    /// majority of reports comes together fast.
    fn choose_gossip(&mut self, to: Option<NodeKey>) -> Vec<NodeKey> {
        let wanted = (self.nodes.len() / 10).max(3);
        let mut healthy = Vec::new();
        let mut suspects = Vec::new();
        for (key, node) in self.nodes.iter() {
            if node.flags.any(Flags::MYSELF.with(Flags::HANDSHAKE)) || Some(key) == to {
                continue;
            }
            if node.suspected() {
                suspects.push(key);
            } else if !node.flags.any(Flags::NOADDR)
                && (node.link.is_some() || !node.slots.is_empty())
            {
                healthy.push(key);
            }
        }
        for chosen in 0..wanted.min(healthy.len()) {
            let other = chosen + (self.rng.next_u64() % (healthy.len() - chosen) as u64) as usize;
            healthy.swap(chosen, other);
        }
        healthy.truncate(wanted);
        healthy.extend(suspects.into_iter().take(usize::from(u16::MAX) - wanted));
        healthy
    }

    /// What a member says of others.
    pub(super) fn hear_gossip(&mut self, now: Now, sender: NodeKey, gossip: &[Gossip<'_>]) {
        for entry in gossip {
            match self.nodes.find(&entry.node) {
                Some(about) => self.hear_about(now, sender, about, entry),
                None => self.hear_of_stranger(now, entry),
            }
        }
    }

    fn hear_about(&mut self, now: Now, sender: NodeKey, about: NodeKey, entry: &Gossip<'_>) {
        if about == self.nodes.my_key() || about == sender {
            return;
        }
        let failing = entry.flags.any(Flags::FAIL.with(Flags::PFAIL));
        self.hear_report(now, sender, about, failing);
        let Some(node) = self.nodes.get(about) else {
            return;
        };
        let moved =
            node.ip != entry.ip || node.port != entry.port || node.bus_port != entry.bus_port;
        // The sender reaches a node that we do not, at another address: try that one.
        if node.flags.any(Flags::FAIL.with(Flags::PFAIL))
            && !failing
            && !entry.flags.any(Flags::NOADDR)
            && !entry.ip.is_empty()
            && moved
        {
            if let Some(conn) = node.link {
                self.close(conn);
            }
            let node = self.nodes.node_mut(about);
            node.ip = entry.ip.into();
            node.port = entry.port;
            node.plain_port = entry.plain_port;
            node.bus_port = entry.bus_port;
            node.flags.clear(Flags::NOADDR);
            self.touch(false);
        }
    }

    /// Members vouch for members. Not for their failures, though: those take a majority (C10).
    fn hear_of_stranger(&mut self, now: Now, entry: &Gossip<'_>) {
        if entry.flags.any(Flags::NOADDR.with(Flags::HANDSHAKE))
            || entry.ip.is_empty()
            || entry.bus_port == 0
            || self
                .forgotten
                .keeps_out(&entry.node, entry.flags, now.mono_ms())
        {
            return;
        }
        let keep = Flags::PRIMARY.with(Flags::REPLICA).with(Flags::NOFAILOVER);
        let mut node = Node::new(entry.node, entry.flags.only(keep), now);
        node.ip = entry.ip.into();
        node.port = entry.port;
        node.plain_port = entry.plain_port;
        node.bus_port = entry.bus_port;
        if self.nodes.add(node).is_some() {
            self.touch(false);
        }
    }

    /// What a member's ping says besides: its names, its shard's, and whom its operator told it to forget.
    pub(super) fn hear_extensions(
        &mut self,
        now: Now,
        sender: NodeKey,
        extensions: &[Extension<'_>],
    ) {
        let (mut hostname, mut human_name) = ("", "");
        for extension in extensions {
            match extension {
                Extension::Hostname(name) => hostname = name,
                Extension::HumanName(name) => human_name = name,
                Extension::Shard(shard) => self.hear_shard(sender, *shard),
                Extension::Forgotten { node, ttl_s } => {
                    self.hear_forgotten(now, sender, node, *ttl_s)
                }
                Extension::Other { .. } => {}
            }
        }
        let Some(node) = self.nodes.get_mut(sender) else {
            return;
        };
        if node.human_name != human_name {
            node.human_name = String::from(human_name);
        }
        if node.hostname != hostname {
            node.hostname = String::from(hostname);
            self.touch(false);
        }
    }

    fn hear_forgotten(&mut self, now: Now, sender: NodeKey, id: &NodeId, ttl_s: u64) {
        let Some(key) = self.nodes.find(id) else {
            return;
        };
        let mine = key == self.nodes.my_key() || self.nodes.me().primary == Some(key);
        if mine || key == sender {
            return;
        }
        let until = now.mono_ms() + ttl_s.min(FORGET_MOST_S) * 1000;
        self.forgotten.add(*id, until);
        self.remove_node(key);
        self.todo.update_state = true;
        self.touch(false);
    }

    /// CLUSTER FORGET.
    pub(super) fn forget(&mut self, now: Now, key: NodeKey) {
        let Some(id) = self.nodes.get(key).map(|node| node.id) else {
            return;
        };
        let ttl_s = self.settings.blacklist_ttl_s.min(FORGET_MOST_S);
        self.forgotten.add(id, now.mono_ms() + ttl_s * 1000);
        self.remove_node(key);
        self.todo.update_state = true;
        self.touch(true);
    }

    /// Begins to get acquainted with whoever is at an address; `None` if that is under way already.
    pub(super) fn handshake(
        &mut self,
        now: Now,
        ip: &str,
        ports: (u16, u16, u16),
        meet: bool,
    ) -> Option<NodeKey> {
        let under_way = self.nodes.iter().any(|(_, node)| {
            node.in_handshake() && node.ip == ip && (node.port, node.bus_port) == (ports.0, ports.2)
        });
        if under_way {
            return None;
        }
        let id = NodeId::random(&mut self.rng);
        let mut node = Node::new(
            id,
            if meet {
                Flags::HANDSHAKE.with(Flags::MEET)
            } else {
                Flags::HANDSHAKE
            },
            now,
        );
        node.ip = ip.into();
        (node.port, node.plain_port, node.bus_port) = ports;
        self.nodes.add(node)
    }

    /// The answer to a handshake told the node's name. False if the node is gone: we knew it already.
    pub(super) fn end_handshake(
        &mut self,
        now: Now,
        key: NodeKey,
        id: NodeId,
        flags: Flags,
    ) -> bool {
        self.forgotten.lift(&id);
        if !self.nodes.rename(key, id) {
            self.log(
                LogLevel::Verbose,
                alloc::format!(
                    "Handshake: we already know node {id}, updating the address if needed."
                ),
            );
            self.remove_node(key);
            return false;
        }
        let node = self.nodes.node_mut(key);
        node.flags.clear(Flags::HANDSHAKE);
        node.flags
            .set(flags.only(Flags::PRIMARY.with(Flags::REPLICA)));
        if node.inbound.is_none() {
            node.unmet_since = Some(now.mono_ms());
        }
        self.touch(false);
        true
    }
}

fn gossip_about(node: &Node) -> Gossip<'_> {
    let seconds = |stamp: Option<Stamp>| stamp.map_or(0, |stamp| (stamp.wall / 1000) as u32);
    Gossip {
        node: node.id,
        ping_sent: seconds(node.ping_sent),
        pong_received: seconds(node.pong_received),
        ip: &node.ip,
        port: node.port,
        bus_port: node.bus_port,
        plain_port: node.plain_port,
        flags: node.flags,
    }
}
