//! nodes.conf: the text in which a node keeps what it must not forget.
//!
//! One line a node, as CLUSTER NODES shows it, and one with the two epochs, usually the last:
//!
//! ```text
//! <name> <ip>:<port>@<bus-port>[,<host name>[,<key>=<value>]…] <flags> <primary or -> <ping> <pong>
//!     <config epoch> connected|disconnected [<slot> | <first>-<last> | [<slot>->-<name>] | [<slot>-<-<name>]]…
//! vars currentEpoch <n> lastVoteEpoch <n> shardId <name>
//! ```
//!
//! (A node's line is one line.) Empty lines are skipped. `[…->-…]` are slots that migrate away, `[…-<-…]`
//! slots being imported, on this node's own line only. The key-value part is Redis 7.2's, of which `shard-id` is read. The
//! name of this node's own shard is in `vars`, where a Redis 7.0 skips it.

use super::node::{Flags, Node, NodeId};
use super::nodes::Nodes;
use super::slots::SlotSet;
use crate::value::slot::SLOTS;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use thiserror::Error;

/// A file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Conf {
    /// The highest epoch seen.
    pub current_epoch: u64,
    /// The last epoch in which this node voted.
    pub last_vote_epoch: u64,
    /// The name of this node's shard.
    pub shard: Option<NodeId>,
    /// The nodes, in the file's order.
    pub nodes: Vec<ConfNode>,
}

/// A node's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfNode {
    /// Its name.
    pub id: NodeId,
    /// Its address, possibly empty.
    pub ip: String,
    /// Its port for clients.
    pub port: u16,
    /// Its bus port.
    pub bus_port: u16,
    /// Its host name, possibly empty.
    pub hostname: String,
    /// The name of its shard.
    pub shard: Option<NodeId>,
    /// Its flags.
    pub flags: Flags,
    /// Its primary.
    pub primary: Option<NodeId>,
    /// Whether a ping was unanswered.
    pub pinged: bool,
    /// Whether it ever answered.
    pub ponged: bool,
    /// The epoch of its claim.
    pub config_epoch: u64,
    /// Its slots.
    pub slots: SlotSet,
    /// Slots that it is handing over, and to whom.
    pub migrating: Vec<(u16, NodeId)>,
    /// Slots that it is taking over, and from whom.
    pub importing: Vec<(u16, NodeId)>,
}

/// The file is not what a node wrote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Unrecoverable error: corrupted cluster config file \"{line}\".")]
pub struct Corrupt {
    /// The offending line, shortened; empty if this node's own line is missing.
    pub line: String,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Conf, Corrupt> {
    let mut conf = Conf::default();
    for line in text.split('\n') {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let corrupt = || Corrupt {
            line: line.chars().take(128).collect(),
        };
        match words.first() {
            None => {}
            Some(first) if first.eq_ignore_ascii_case("vars") => {
                if words.len().is_multiple_of(2) {
                    return Err(corrupt());
                }
                for pair in words[1..].chunks_exact(2) {
                    let number = pair[1].parse().map_err(|_| corrupt());
                    match pair[0].to_ascii_lowercase().as_str() {
                        "currentepoch" => conf.current_epoch = number?,
                        "lastvoteepoch" => conf.last_vote_epoch = number?,
                        "shardid" => conf.shard = NodeId::parse(pair[1].as_bytes()),
                        _ => {} // of a later version
                    }
                }
            }
            Some(_) => conf.nodes.push(node(&words).ok_or_else(corrupt)?),
        }
    }
    let me = conf
        .nodes
        .iter()
        .filter(|node| node.flags.any(Flags::MYSELF))
        .count();
    if me == 1 {
        Ok(conf)
    } else {
        Err(Corrupt {
            line: String::new(),
        })
    }
}

fn node(words: &[&str]) -> Option<ConfNode> {
    let (fields, slots) = words.split_at_checked(8)?;
    let mut address = fields[1].split(',');
    let (ip, ports) = address.next()?.rsplit_once(':')?;
    let (port, bus_port) = match ports.split_once('@') {
        Some((port, bus)) => (port.parse().ok()?, bus.parse().ok()?),
        None => {
            let port: u16 = ports.parse().ok()?;
            (port, port.checked_add(10_000)?)
        }
    };
    let mut node = ConfNode {
        id: NodeId::parse(fields[0].as_bytes())?,
        ip: ip.to_string(),
        port,
        bus_port,
        hostname: address.next().unwrap_or_default().to_string(),
        shard: address
            .find_map(|pair| pair.strip_prefix("shard-id="))
            .and_then(|name| NodeId::parse(name.as_bytes())),
        flags: Flags::parse(fields[2])?,
        primary: if fields[3].starts_with('-') {
            None
        } else {
            Some(NodeId::parse(fields[3].as_bytes())?)
        },
        pinged: fields[4] != "0",
        ponged: fields[5] != "0",
        config_epoch: fields[6].parse().ok()?,
        slots: SlotSet::new(),
        migrating: Vec::new(),
        importing: Vec::new(),
    };
    for word in slots {
        if let Some(open) = word.strip_prefix('[') {
            let (slot, rest) = open.strip_suffix(']')?.split_once('-')?;
            let (arrow, other) = (rest.get(..2)?, NodeId::parse(rest.get(2..)?.as_bytes())?);
            match arrow {
                ">-" => node.migrating.push((slot_number(slot)?, other)),
                "<-" => node.importing.push((slot_number(slot)?, other)),
                _ => return None,
            }
        } else {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            for slot in slot_number(first)?..=slot_number(last)? {
                node.slots.insert(slot);
            }
        }
    }
    Some(node)
}

fn slot_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|slot| *slot < SLOTS)
}

/// The whole file.
pub fn write(nodes: &Nodes, current_epoch: u64, last_vote_epoch: u64) -> String {
    let mut text = String::new();
    for node in nodes.by_name().filter(|node| !node.in_handshake()) {
        write_node(&mut text, nodes, node, false);
        text.push('\n');
    }
    let _ = write!(
        text,
        "vars currentEpoch {current_epoch} lastVoteEpoch {last_vote_epoch}"
    );
    if let Some(shard) = nodes.me().shard {
        let _ = write!(text, " shardId {shard}");
    }
    text.push('\n');
    text
}

/// A node's line without its end, as in the file, CLUSTER NODES and CLUSTER REPLICAS. With `plain`, a node
/// of a TLS cluster is shown with its plain-text port.
pub fn write_node(text: &mut String, nodes: &Nodes, node: &Node, plain: bool) {
    let _ = write!(
        text,
        "{} {}:{}@{}",
        node.id,
        node.ip,
        node.client_port(plain),
        node.bus_port
    );
    if !node.hostname.is_empty() {
        let _ = write!(text, ",{}", node.hostname);
    }
    text.push(' ');
    node.flags.write(text);
    let primary = node.primary.and_then(|key| nodes.get(key));
    match primary {
        Some(primary) => {
            let _ = write!(text, " {}", primary.id);
        }
        None => text.push_str(" -"),
    }
    let epoch = match primary {
        Some(primary) if node.is_replica() => primary.config_epoch,
        _ => node.config_epoch,
    };
    let myself = node.flags.any(Flags::MYSELF);
    let _ = write!(
        text,
        " {} {} {} {}",
        node.ping_sent.map_or(0, |at| at.wall),
        node.pong_received.map_or(0, |at| at.wall),
        epoch,
        if node.link.is_some() || myself {
            "connected"
        } else {
            "disconnected"
        },
    );
    node.slots.write_ranges(text);
    if myself {
        let table = &nodes.slots;
        for slot in 0..SLOTS {
            let name = |key| nodes.get(key).map(|node: &Node| node.id);
            if let Some(to) = table.migrating.get(&slot).and_then(|key| name(*key)) {
                let _ = write!(text, " [{slot}->-{to}]");
            } else if let Some(from) = table.importing.get(&slot).and_then(|key| name(*key)) {
                let _ = write!(text, " [{slot}-<-{from}]");
            }
        }
    }
}
