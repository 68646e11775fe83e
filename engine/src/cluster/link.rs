//! The bus's connections: to whom each leads, and what of a packet has arrived.
//!
//! Between two nodes there are two: each opens one to ping over, and answers on the other's.

use super::bus::{self, FrameError, Kind};
use super::node::NodeKey;
use super::{Action, Cluster};
use crate::{ConnId, LogLevel, Now};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// A connection of the bus.
#[derive(Clone, Debug)]
pub struct Link {
    /// Whose it is, once that is known: at once for our own, with the first packet for others'.
    pub node: Option<NodeKey>,
    /// Whether the peer opened it.
    pub inbound: bool,
    /// Whether it is open; only then bytes may leave.
    pub open: bool,
    /// When it came to be, in monotonic and in Unix milliseconds.
    pub created: super::node::Stamp,
    /// When it last brought bytes, or opened, in monotonic milliseconds.
    pub heard: u64,
    /// The peer's address as the socket has it; empty if unknown.
    pub peer: String,
    /// Our address as the socket has it; empty if unknown.
    pub local: String,
    /// Whether the name of our shard was told.
    pub told_shard: bool,
    /// Bytes that its peer had not taken yet when we were told last.
    pub unsent: u64,
    received: Vec<u8>,
    /// Packets for a connection that is not open yet, a few.
    waiting: Vec<(Kind, Bytes)>,
}

/// All of them.
pub type Links = BTreeMap<ConnId, Link>;

/// A packet from a stranger may be this long: a MEET with gossip. Members may send long messages.
const STRANGERS_BYTES: usize = 8 << 20;
/// A member's packet: a message of the greatest size that clients can send, and its channel.
const MEMBERS_BYTES: usize = 1 << 30;
/// Packets kept for a connection that is being opened.
const WAITING: usize = 16;

impl Link {
    fn new(now: Now, node: Option<NodeKey>, peer: String, local: String) -> Link {
        Link {
            node,
            inbound: node.is_none(),
            open: node.is_none(),
            created: now.into(),
            heard: now.mono_ms(),
            peer,
            local,
            told_shard: false,
            unsent: 0,
            received: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|(_, packet)| packet.len()).sum();
        size_of::<Link>() + self.received.capacity() + waiting + self.unsent as usize
    }
}

impl Cluster {
    /// A peer connected to our bus port. `peer` and `local` are the IP addresses of its two ends.
    pub fn on_accepted(&mut self, now: Now, conn: ConnId, peer: &str, local: &str) {
        self.log(
            LogLevel::Verbose,
            alloc::format!("Accepting cluster node connection from {peer}"),
        );
        self.links
            .insert(conn, Link::new(now, None, peer.into(), local.into()));
    }

    /// A connection that we asked for is open.
    pub fn on_connected(&mut self, now: Now, conn: ConnId, peer: &str, local: &str) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.open = true;
        link.peer = peer.into();
        link.local = local.into();
        let waiting = core::mem::take(&mut link.waiting);
        self.greet(now, conn);
        for (kind, bytes) in waiting {
            self.send(conn, kind, bytes);
        }
        self.settle(now);
    }

    /// A connection ended or could not be opened.
    pub fn on_closed(&mut self, now: Now, conn: ConnId) {
        self.forget_link(conn);
        self.settle(now);
    }

    /// How many bytes wait at connections whose peers do not take them. To be told with every tick; of connections
    /// that are not named, none do. Where it is more than `cluster-link-sendbuf-limit`, the connection ends, and
    /// with it what a peer that is alive will be told anew.
    pub fn on_backlogs(&mut self, now: Now, unsent: &[(ConnId, u64)]) {
        for link in self.links.values_mut() {
            link.unsent = 0;
        }
        let limit = self.settings.link_sendbuf_limit;
        for &(conn, bytes) in unsent {
            if let Some(link) = self.links.get_mut(&conn) {
                link.unsent = bytes;
                if limit > 0 && bytes > limit {
                    self.drop_over_limit(conn, bytes);
                }
            }
        }
        self.settle(now);
    }

    fn drop_over_limit(&mut self, conn: ConnId, bytes: u64) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let direction = if link.inbound { "from" } else { "to" };
        let name = link
            .node
            .and_then(|key| self.nodes.get(key))
            .map(|node| node.id);
        let name = name.as_ref().map_or("", |id| id.as_str());
        let text = alloc::format!(
            "Freeing cluster link({direction} node {name}, used memory: {bytes}) due to exceeding send buffer memory limit."
        );
        self.log(LogLevel::Warning, text);
        self.stats.links_over_limit += 1;
        self.close(conn);
    }

    /// Bytes arrived on a connection of the bus, cut anywhere.
    pub fn on_bytes(&mut self, now: Now, conn: ConnId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.heard = now.mono_ms();
        link.received.extend_from_slice(bytes);
        // Until our name is durable we have nothing to answer with; the packets wait.
        if self.advertised.is_some() {
            self.read_link(now, conn);
        } else if self
            .links
            .get(&conn)
            .is_some_and(|link| link.received.len() > STRANGERS_BYTES)
        {
            self.close(conn);
        }
        self.settle(now);
    }

    /// Handles the packets that waited for our name to be durable.
    pub(super) fn read_all_links(&mut self, now: Now) {
        let conns: Vec<ConnId> = self.links.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.read_link(now, conn));
    }

    fn read_link(&mut self, now: Now, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let buffer = core::mem::take(&mut link.received);
        let mut rest = buffer.as_slice();
        while self.links.contains_key(&conn) {
            let limit = self.packet_limit(conn);
            match bus::frame_len(rest) {
                Ok(Some(len)) if len > limit => return self.refuse(conn, FrameError::Signature),
                Ok(Some(len)) => match rest.split_at_checked(len) {
                    Some((packet, after)) => {
                        self.on_frame(now, conn, packet);
                        rest = after;
                    }
                    None => break,
                },
                Ok(None) => break,
                Err(error) => return self.refuse(conn, error),
            }
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.received = rest.to_vec();
        }
    }

    fn packet_limit(&self, conn: ConnId) -> usize {
        match self.links.get(&conn).and_then(|link| link.node) {
            Some(_) => MEMBERS_BYTES,
            None => STRANGERS_BYTES,
        }
    }

    fn on_frame(&mut self, now: Now, conn: ConnId, bytes: &[u8]) {
        if let Some(kind) = bytes.get(12..14) {
            let kind = u16::from_be_bytes([kind[0], kind[1]]);
            if let Some(received) = self.stats.received.get_mut(usize::from(kind)) {
                *received += 1;
            }
            if self.ignores(conn, kind) {
                return;
            }
        }
        match bus::decode(bytes) {
            Ok(packet) => self.on_packet(now, conn, &packet),
            Err(error) => self.log(LogLevel::Warning, alloc::format!("{error}")),
        }
    }

    fn refuse(&mut self, conn: ConnId, error: FrameError) {
        self.log(LogLevel::Warning, alloc::format!("{error}"));
        self.close(conn);
    }

    /// Opens a connection to a node whose address is known.
    pub(super) fn connect(&mut self, now: Now, key: NodeKey) {
        let conn = ConnId::outgoing(self.next_link);
        self.next_link += 1;
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        node.link = Some(conn);
        // The ping that follows counts from here: a node that cannot even be connected to must be found
        // out too.
        if !node.in_handshake() && node.ping_sent.is_none() {
            node.ping_sent = Some(now.into());
        }
        let (host, port) = (node.ip.clone(), node.bus_port);
        self.links
            .insert(conn, Link::new(now, Some(key), host.clone(), String::new()));
        self.act(Action::Connect { conn, host, port });
    }

    /// Sends a packet, or keeps it until the connection is open.
    pub(super) fn send(&mut self, conn: ConnId, kind: Kind, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if link.open {
            self.stats.sent[usize::from(kind.number())] += 1;
            self.act(Action::Send { conn, bytes });
        } else if link.waiting.len() < WAITING {
            link.waiting.push((kind, bytes));
        }
    }

    /// Closes a connection and forgets it.
    pub(super) fn close(&mut self, conn: ConnId) {
        if self.forget_link(conn) {
            self.act(Action::Close { conn });
        }
    }

    fn forget_link(&mut self, conn: ConnId) -> bool {
        let Some(link) = self.links.remove(&conn) else {
            return false;
        };
        if let Some(node) = link.node.and_then(|key| self.nodes.get_mut(key)) {
            for end in [&mut node.link, &mut node.inbound] {
                if *end == Some(conn) {
                    *end = None;
                }
            }
        }
        true
    }

    /// Notes whose an accepted connection is. A node has one: an older one is most likely dead.
    pub(super) fn claim_inbound(&mut self, conn: ConnId, key: NodeKey) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.inbound) else {
            return;
        };
        if link.node == Some(key) {
            return;
        }
        let previous = link.node.replace(key);
        if let Some(node) = previous.and_then(|key| self.nodes.get_mut(key)) {
            node.inbound = None;
        }
        let older = self.nodes.get_mut(key).and_then(|node| {
            node.unmet_since = None;
            node.inbound.replace(conn)
        });
        if let Some(older) = older {
            self.close(older);
        }
    }
}
