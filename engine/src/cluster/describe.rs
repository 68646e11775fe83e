//! What CLUSTER's questions are answered with: texts as Redis has them, and data for the rest.

use super::bus::Kind;
use super::conf;
use super::node::{Node, NodeId, NodeKey};
use super::settings::EndpointType;
use super::state::State;
use super::{Cluster, Refused};
use crate::value::slot::SLOTS;
use crate::{ConnId, Now};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

/// A run of slots in CLUSTER SLOTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// First slot.
    pub first: u16,
    /// Last slot.
    pub last: u16,
    /// The primary, then its replicas that have data.
    pub nodes: Vec<NodeInfo>,
}

/// A shard in CLUSTER SHARDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Runs of slots.
    pub slots: Vec<(u16, u16)>,
    /// The primary, then its replicas.
    pub nodes: Vec<NodeInfo>,
}

/// A node as CLUSTER SLOTS and CLUSTER SHARDS describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub id: NodeId,
    /// The host that clients shall use: `None` stands for the null of `unknown-endpoint` in CLUSTER SLOTS
    /// (an empty string in CLUSTER SHARDS), `?` for a missing host name.
    pub endpoint: Option<String>,
    /// Its address.
    pub ip: String,
    /// Its host name; empty if it has none.
    pub hostname: String,
    /// The port that this client shall use.
    pub port: u16,
    /// Plain-text port; 0 if it has none.
    pub plain_port: u16,
    /// TLS port; 0 if it has none.
    pub tls_port: u16,
    /// Whether it is a replica.
    pub replica: bool,
    /// Its replication offset.
    pub offset: u64,
    /// `online`, `loading` or `fail`.
    pub health: Health,
}

/// A node's health in CLUSTER SHARDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It failed.
    Fail,
    /// A replica that has no data yet.
    Loading,
    /// It works.
    Online,
}

impl Health {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Health::Fail => "fail",
            Health::Loading => "loading",
            Health::Online => "online",
        }
    }
}

/// A connection in CLUSTER LINKS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its name.
    pub conn: ConnId,
    /// `from` if the peer opened it, `to` if we did.
    pub inbound: bool,
    /// Whose it is.
    pub node: NodeId,
    /// Unix milliseconds at which it was made.
    pub create_time_ms: u64,
    /// Bytes that wait for the peer to take them.
    pub unsent: u64,
}

impl Cluster {
    /// This node's name (CLUSTER MYID).
    pub fn my_name(&self) -> NodeId {
        self.my_id()
    }

    /// CLUSTER INFO.
    pub fn info(&self, now: Now) -> String {
        let (mut ok, mut pfail, mut fail) = (0, 0, 0);
        for slot in 0..SLOTS {
            match self
                .nodes
                .slots
                .owner(slot)
                .and_then(|key| self.nodes.get(key))
            {
                None => {}
                Some(node) if node.failed() => fail += 1,
                Some(node) if node.suspected() => pfail += 1,
                Some(_) => ok += 1,
            }
        }
        let me = self.nodes.me();
        let primary = me
            .primary
            .and_then(|key| self.nodes.get(key))
            .filter(|_| me.is_replica());
        let mut text = String::new();
        for (field, value) in [
            (
                "state",
                if self.state(now) == State::Ok {
                    "ok".to_string()
                } else {
                    "fail".to_string()
                },
            ),
            ("slots_assigned", (ok + pfail + fail).to_string()),
            ("slots_ok", ok.to_string()),
            ("slots_pfail", pfail.to_string()),
            ("slots_fail", fail.to_string()),
            ("known_nodes", self.nodes.len().to_string()),
            ("size", self.health.size.to_string()),
            ("current_epoch", self.current_epoch.to_string()),
            ("my_epoch", primary.unwrap_or(me).config_epoch.to_string()),
        ] {
            let _ = write!(text, "cluster_{field}:{value}\r\n");
        }
        for (what, counts) in [
            ("sent", &self.stats.sent),
            ("received", &self.stats.received),
        ] {
            for (kind, count) in Kind::ALL
                .iter()
                .zip(counts)
                .filter(|(_, count)| **count > 0)
            {
                let _ = write!(
                    text,
                    "cluster_stats_messages_{}_{what}:{count}\r\n",
                    kind.name()
                );
            }
            let _ = write!(
                text,
                "cluster_stats_messages_{what}:{}\r\n",
                counts.iter().sum::<u64>()
            );
        }
        let _ = write!(
            text,
            "total_cluster_links_buffer_limit_exceeded:{}\r\n",
            self.stats.links_over_limit
        );
        text
    }

    /// CLUSTER NODES.
    pub fn nodes_text(&self, plain_client: bool) -> String {
        let mut text = String::new();
        for node in self.nodes.by_name() {
            conf::write_node(
                &mut text,
                &self.nodes,
                node,
                self.settings.tls_cluster && plain_client,
            );
            text.push('\n');
        }
        text
    }

    /// CLUSTER REPLICAS: a line for each.
    pub fn replicas(&self, id: &[u8], plain_client: bool) -> Result<Vec<String>, Refused> {
        let key = self.known(id)?;
        let node = self.nodes.node(key);
        if node.is_replica() {
            return Err(Refused::new("ERR The specified node is not a master"));
        }
        let line = |replica: &NodeKey| {
            let mut text = String::new();
            let plain = self.settings.tls_cluster && plain_client;
            conf::write_node(&mut text, &self.nodes, self.nodes.node(*replica), plain);
            text
        };
        Ok(node.replicas.iter().map(line).collect())
    }

    /// CLUSTER SLOTS.
    pub fn slot_ranges(&self, plain_client: bool) -> Vec<SlotRange> {
        let describe = |key| self.describe(key, plain_client);
        self.nodes
            .slots
            .runs()
            .into_iter()
            .map(|(first, last, owner)| {
                let replicas = self
                    .nodes
                    .node(owner)
                    .replicas
                    .iter()
                    .map(|key| describe(*key));
                let usable = replicas.filter(|info| info.health == Health::Online);
                SlotRange {
                    first,
                    last,
                    nodes: core::iter::once(describe(owner)).chain(usable).collect(),
                }
            })
            .collect()
    }

    /// CLUSTER SHARDS.
    pub fn shards(&self, plain_client: bool) -> Vec<Shard> {
        let primaries = self.nodes.by_name().filter(|node| node.is_primary());
        primaries
            .filter_map(|node| {
                let key = self.nodes.find(&node.id)?;
                let members = core::iter::once(&key).chain(&node.replicas);
                let nodes = members
                    .map(|key| self.describe(*key, plain_client))
                    .collect();
                Some(Shard {
                    slots: node.slots.ranges(),
                    nodes,
                })
            })
            .collect()
    }

    /// CLUSTER LINKS.
    pub fn link_infos(&self) -> Vec<LinkInfo> {
        let mut infos = Vec::new();
        for node in self.nodes.by_name() {
            for conn in [node.link, node.inbound].into_iter().flatten() {
                if let Some(link) = self.links.get(&conn) {
                    let create_time_ms = link.created.wall;
                    infos.push(LinkInfo {
                        conn,
                        inbound: link.inbound,
                        node: node.id,
                        create_time_ms,
                        unsent: link.unsent,
                    });
                }
            }
        }
        infos
    }

    /// CLUSTER COUNT-FAILURE-REPORTS.
    pub fn failure_reports(&mut self, now: Now, id: &[u8]) -> Result<usize, Refused> {
        let key = self.known(id)?;
        Ok(self.count_reports(now, key))
    }

    /// The node of a name that a client gave.
    pub(super) fn known(&self, id: &[u8]) -> Result<NodeKey, Refused> {
        self.nodes
            .find_text(id)
            .ok_or_else(|| Refused::showing(&[b"ERR Unknown node ", id]))
    }

    fn describe(&self, key: NodeKey, plain_client: bool) -> NodeInfo {
        let node = self.nodes.node(key);
        let tls = self.settings.tls_cluster;
        let offset = if key == self.nodes.my_key() {
            self.my_offset()
        } else {
            node.repl_offset
        };
        NodeInfo {
            id: node.id,
            endpoint: match self.settings.preferred_endpoint {
                EndpointType::Unknown => None,
                _ => Some(self.preferred_endpoint(node).into()),
            },
            ip: node.ip.clone(),
            hostname: node.hostname.clone(),
            port: node.client_port(tls && plain_client),
            plain_port: if tls { node.plain_port } else { node.port },
            tls_port: if tls { node.port } else { 0 },
            replica: node.is_replica(),
            offset,
            health: health(node, offset),
        }
    }
}

fn health(node: &Node, offset: u64) -> Health {
    if node.failed() {
        Health::Fail
    } else if node.is_replica() && offset == 0 {
        Health::Loading
    } else {
        Health::Online
    }
}
