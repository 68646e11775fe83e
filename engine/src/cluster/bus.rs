//! The packets of the cluster bus, byte for byte as Redis 7.0 has them.
//!
//! A link carries packets one after the other. Numbers are big-endian; names are 40 characters; addresses
//! are text in 46 bytes, filled up with NUL. A packet is a header of 2256 bytes and a body:
//!
//! ```text
//! offset  bytes  field
//!      0      4  signature "RCmb"
//!      4      4  length of the packet, header included
//!      8      2  version: 1
//!     10      2  the sender's port for clients
//!     12      2  type (see Kind)
//!     14      2  number of gossip entries (PING, PONG, MEET)
//!     16      8  the sender's current epoch
//!     24      8  config epoch of the sender, or of its primary if it is a replica
//!     32      8  replication offset of the sender
//!     40     40  name of the sender
//!     80   2048  slots of the sender, or of its primary: a bitmap
//!   2128     40  name of the sender's primary; NULs if it is one itself
//!   2168     46  address that the sender announces; NULs: take it from the connection
//!   2214      2  number of extensions
//!   2216     30  (zero)
//!   2246      2  the sender's plain-text port, if its port is TLS
//!   2248      2  the sender's bus port
//!   2250      2  flags of the sender (node::Flags)
//!   2252      1  cluster state as the sender sees it: 0 ok, 1 fail
//!   2253      3  message flags: PAUSED, FORCEACK, EXT_DATA in the first byte
//!   2256         body
//! ```
//!
//! | type | body |
//! |---|---|
//! | PING 0, PONG 1, MEET 2 | gossip entries of 104 bytes, then extensions |
//! | FAIL 3 | name of the node that failed |
//! | PUBLISH 4, PUBLISHSHARD 10 | two lengths of 4 bytes, channel, message |
//! | AUTH_REQUEST 5, AUTH_ACK 6, MFSTART 8 | nothing |
//! | UPDATE 7 | config epoch 8, name 40, slots 2048 |
//! | MODULE 9 | module 8, length 4, type 1, payload |
//!
//! A gossip entry: name 40, ping sent and pong received 4 each (Unix seconds), address 46, port 2, bus port
//! 2, flags 2, plain-text port 2, zero 2. An extension: its length 4 (with this head, a multiple of 8), type
//! 2, zero 2, data. Redis 7.0 has one type, HOSTNAME (0); 7.2 adds a human name (1), FORGOTTEN_NODE (2) and
//! SHARDID (3). Types that are not known are skipped.
//!
//! The decoder is total: every length is checked against what is there before it is used (KB-29), and
//! texts that would end in nodes.conf are checked for characters that do not belong there.

mod decode;
mod encode;

pub use decode::{FrameError, decode, frame_len};
pub use encode::encode;

use super::node::{Flags, NodeId};
use super::slots::{BITMAP, Bitmap};
use alloc::vec::Vec;

/// Length of the header, and so of the shortest packet.
pub const HEADER: usize = 2256;
/// Length of a gossip entry.
pub const GOSSIP: usize = 104;
/// Length of an address.
pub(super) const ADDRESS: usize = 46;
/// Length of an UPDATE's body.
pub(super) const UPDATE: usize = 8 + NodeId::LEN + BITMAP;
/// Length of a MODULE's body before its payload.
pub(super) const MODULE: usize = 13;
/// The protocol's version.
pub(super) const VERSION: u16 = 1;

/// The types of packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// Are you there? This is my state.
    Ping,
    /// Yes; this is mine. Also sent unasked when the state changed.
    Pong,
    /// A ping that asks to be taken as a member.
    Meet,
    /// A majority agreed that this node failed.
    Fail,
    /// A message to subscribers everywhere.
    Publish,
    /// A replica asks for a vote.
    AuthRequest,
    /// The vote.
    AuthAck,
    /// Your view of a node's slots is out of date; this is mine.
    Update,
    /// A replica asks its primary to pause for a manual failover.
    MfStart,
    /// Between modules; ignored.
    Module,
    /// A message to subscribers in the shard.
    PublishShard,
}

impl Kind {
    /// All, at the places of their numbers.
    pub const ALL: [Kind; 11] = [
        Kind::Ping,
        Kind::Pong,
        Kind::Meet,
        Kind::Fail,
        Kind::Publish,
        Kind::AuthRequest,
        Kind::AuthAck,
        Kind::Update,
        Kind::MfStart,
        Kind::Module,
        Kind::PublishShard,
    ];

    /// Its name in CLUSTER INFO.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Pong => "pong",
            Kind::Meet => "meet",
            Kind::Fail => "fail",
            Kind::Publish => "publish",
            Kind::AuthRequest => "auth-req",
            Kind::AuthAck => "auth-ack",
            Kind::Update => "update",
            Kind::MfStart => "mfstart",
            Kind::Module => "module",
            Kind::PublishShard => "publishshard",
        }
    }

    /// Its number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }
}

/// The first byte of the message flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MessageFlags(pub u8);

impl MessageFlags {
    /// The sender has paused its clients for a manual failover: its offset stands still.
    pub const PAUSED: MessageFlags = MessageFlags(1);
    /// Vote even though the primary works.
    pub const FORCE_ACK: MessageFlags = MessageFlags(2);
    /// There are extensions behind the gossip entries.
    pub const EXT_DATA: MessageFlags = MessageFlags(4);

    /// Whether any of `other`'s bits is set.
    pub fn any(self, other: MessageFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets `other`'s bits.
    pub fn set(&mut self, other: MessageFlags) {
        self.0 |= other.0;
    }
}

/// A packet, its texts and bitmaps borrowed.
#[derive(Clone, PartialEq, Debug)]
pub struct Packet<'a> {
    /// What every packet says.
    pub header: Header<'a>,
    /// What this one says besides.
    pub body: Body<'a>,
}

/// What every packet says of its sender.
#[derive(Clone, PartialEq)]
pub struct Header<'a> {
    /// Port for clients (TLS in a TLS cluster).
    pub port: u16,
    /// Plain-text port in a TLS cluster, otherwise 0.
    pub plain_port: u16,
    /// Port of the bus.
    pub bus_port: u16,
    /// The highest epoch that it knows.
    pub current_epoch: u64,
    /// The epoch of the claim in `slots`.
    pub config_epoch: u64,
    /// Its replication offset.
    pub offset: u64,
    /// Its name.
    pub sender: NodeId,
    /// Its slots, or its primary's.
    pub slots: &'a Bitmap,
    /// Its primary, if it is a replica.
    pub primary: Option<NodeId>,
    /// The address that it announces; empty if it leaves that to the connection.
    pub ip: &'a str,
    /// Its own flags.
    pub flags: Flags,
    /// Whether the cluster is down for it.
    pub down: bool,
    /// Flags of this message.
    pub message: MessageFlags,
}

impl core::fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Header")
            .field("sender", &self.sender)
            .field("current_epoch", &self.current_epoch)
            .field("config_epoch", &self.config_epoch)
            .field("offset", &self.offset)
            .field("primary", &self.primary)
            .field("ip", &self.ip)
            .field("ports", &(self.port, self.plain_port, self.bus_port))
            .field("flags", &self.flags)
            .field("down", &self.down)
            .field("message", &self.message)
            .field("slots", &super::slots::SlotSet::from_bitmap(self.slots))
            .finish()
    }
}

/// The part of a packet that depends on its type.
#[derive(Clone, PartialEq, Debug)]
pub enum Body<'a> {
    /// PING, PONG or MEET.
    Ping {
        /// Which.
        kind: Kind,
        /// What the sender knows of some other nodes.
        gossip: Vec<Gossip<'a>>,
        /// What Redis added later.
        extensions: Vec<Extension<'a>>,
    },
    /// FAIL.
    Fail {
        /// Who failed.
        node: NodeId,
    },
    /// PUBLISH or PUBLISHSHARD.
    Publish {
        /// Whether it stays in the shard.
        sharded: bool,
        /// The channel.
        channel: &'a [u8],
        /// The message.
        message: &'a [u8],
    },
    /// AUTH_REQUEST.
    AuthRequest,
    /// AUTH_ACK.
    AuthAck,
    /// UPDATE.
    Update {
        /// The epoch of the claim.
        config_epoch: u64,
        /// Whose claim.
        node: NodeId,
        /// The slots that it claims.
        slots: &'a Bitmap,
    },
    /// MFSTART.
    MfStart,
    /// MODULE: modules are not supported, the payload is skipped.
    Module,
    /// A type that did not exist in 7.0.
    Unknown {
        /// Its number.
        number: u16,
    },
}

impl Body<'_> {
    /// Its type, if it is one that we know.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Body::Ping { kind, .. } => *kind,
            Body::Fail { .. } => Kind::Fail,
            Body::Publish { sharded: false, .. } => Kind::Publish,
            Body::Publish { sharded: true, .. } => Kind::PublishShard,
            Body::AuthRequest => Kind::AuthRequest,
            Body::AuthAck => Kind::AuthAck,
            Body::Update { .. } => Kind::Update,
            Body::MfStart => Kind::MfStart,
            Body::Module => Kind::Module,
            Body::Unknown { .. } => return None,
        })
    }
}

/// What the sender knows of another node.
#[derive(Clone, PartialEq, Debug)]
pub struct Gossip<'a> {
    /// Its name.
    pub node: NodeId,
    /// When the sender's unanswered ping left, in Unix seconds; 0 if none is unanswered.
    pub ping_sent: u32,
    /// When it last answered the sender, in Unix seconds.
    pub pong_received: u32,
    /// Its address.
    pub ip: &'a str,
    /// Its port for clients.
    pub port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// Its plain-text port in a TLS cluster.
    pub plain_port: u16,
    /// Its flags as the sender sees them.
    pub flags: Flags,
}

/// An extension of a ping.
#[derive(Clone, PartialEq, Debug)]
pub enum Extension<'a> {
    /// The sender's host name.
    Hostname(&'a str),
    /// What people call the sender (Redis 7.2).
    HumanName(&'a str),
    /// The name of the sender's shard (Redis 7.2).
    Shard(NodeId),
    /// A node that an operator told to be forgotten (Redis 7.2).
    Forgotten {
        /// Its name.
        node: NodeId,
        /// For how many more seconds it must not come back.
        ttl_s: u64,
    },
    /// Anything else.
    Other {
        /// The extension's number.
        number: u16,
    },
}

/// Whether a text may stand as an address in a packet and in nodes.conf.
pub(super) fn is_address(text: &[u8]) -> bool {
    text.len() < ADDRESS
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_' | b'%'))
}

/// Whether a text may stand as a host name: what cluster-announce-hostname accepts.
pub(super) fn is_hostname(text: &[u8]) -> bool {
    text.len() < 256
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests;
