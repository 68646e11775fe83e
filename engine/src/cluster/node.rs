//! One member of the cluster, as this node knows it: its name, address, role, slots and signs of life.

use super::slots::SlotSet;
use crate::{ConnId, Now};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use rand_core::RngCore;

/// A node's name: 40 characters of `0-9a-z`, in practice hexadecimal digits. It never changes, except by
/// CLUSTER RESET HARD.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 40]);

impl NodeId {
    /// Bytes of a name, in text and on the wire.
    pub const LEN: usize = 40;

    /// A name from its text; `None` if it is not one.
    pub fn parse(text: &[u8]) -> Option<NodeId> {
        let name: [u8; 40] = text.try_into().ok()?;
        name.iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            .then_some(NodeId(name))
    }

    /// A fresh random name.
    pub fn random(rng: &mut impl RngCore) -> NodeId {
        let mut raw = [0u8; 20];
        rng.fill_bytes(&mut raw);
        let mut name = [0u8; 40];
        for (pair, byte) in name.chunks_exact_mut(2).zip(raw) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        NodeId(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The name as it stands in packets.
    pub fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }
}

impl core::fmt::Display for NodeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::fmt::Debug for NodeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.as_str()[..8])
    }
}

/// What is known of a node in one word; the same bits on the wire and here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u16);

impl Flags {
    /// Serves slots, or could.
    pub const PRIMARY: Flags = Flags(1);
    /// Follows a primary.
    pub const REPLICA: Flags = Flags(2);
    /// We alone believe that it does not answer.
    pub const PFAIL: Flags = Flags(4);
    /// A majority of the primaries agreed that it does not answer.
    pub const FAIL: Flags = Flags(8);
    /// This node itself.
    pub const MYSELF: Flags = Flags(16);
    /// Its first answer is still awaited, so its name is made up.
    pub const HANDSHAKE: Flags = Flags(32);
    /// Nobody knows where it is.
    pub const NOADDR: Flags = Flags(64);
    /// The first packet to it must be MEET.
    pub const MEET: Flags = Flags(128);
    /// An orphaned primary with this flag may be given another's spare replica.
    pub const MIGRATE_TO: Flags = Flags(256);
    /// A replica that does not stand in elections.
    pub const NOFAILOVER: Flags = Flags(512);

    /// Flags that are shown, with their names, in Redis's order.
    const NAMES: [(Flags, &'static str); 8] = [
        (Flags::MYSELF, "myself"),
        (Flags::PRIMARY, "master"),
        (Flags::REPLICA, "slave"),
        (Flags::PFAIL, "fail?"),
        (Flags::FAIL, "fail"),
        (Flags::HANDSHAKE, "handshake"),
        (Flags::NOADDR, "noaddr"),
        (Flags::NOFAILOVER, "nofailover"),
    ];

    /// Whether any of `other`'s bits is set.
    pub fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The bits that are in both.
    pub const fn only(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// Sets `other`'s bits.
    pub fn set(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Clears `other`'s bits.
    pub fn clear(&mut self, other: Flags) {
        self.0 &= !other.0;
    }

    /// Appends the names, comma-separated, as CLUSTER NODES has them.
    pub fn write(self, text: &mut String) {
        let start = text.len();
        for (flag, name) in Flags::NAMES {
            if self.any(flag) {
                if text.len() > start {
                    text.push(',');
                }
                text.push_str(name);
            }
        }
        if text.len() == start {
            text.push_str("noflags");
        }
    }

    /// The flags of such a text; `None` if a name is unknown.
    pub fn parse(text: &str) -> Option<Flags> {
        let mut flags = Flags::default();
        for word in text.split(',') {
            if word.eq_ignore_ascii_case("noflags") {
                continue;
            }
            let (flag, _) = Flags::NAMES
                .iter()
                .find(|(_, name)| name.eq_ignore_ascii_case(word))?;
            flags.set(*flag);
        }
        Some(flags)
    }
}

/// A moment on both clocks, in milliseconds: the monotonic one decides, the other is shown to people and
/// to older peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Milliseconds of the monotonic clock.
    pub mono: u64,
    /// Milliseconds since the Unix epoch.
    pub wall: u64,
}

impl From<Now> for Stamp {
    fn from(now: Now) -> Stamp {
        Stamp {
            mono: now.mono_ms(),
            wall: now.unix_ms(),
        }
    }
}

/// The engine's own handle of a node. Never reused, so a stale one finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeKey(pub(super) core::num::NonZeroU32);

/// A vote that this node gave concerning a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// When, in monotonic milliseconds.
    pub at: u64,
    /// For which of its replicas.
    pub candidate: NodeKey,
}

/// A member. Times are monotonic milliseconds unless they are a [`Stamp`].
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name. Made up while it is in handshake.
    pub id: NodeId,
    /// Role and condition.
    pub flags: Flags,
    /// The epoch of its claim to its slots; a replica repeats its primary's.
    pub config_epoch: u64,
    /// The slots that are bound to it here. Changed only through [`super::nodes::Nodes::assign`].
    pub slots: SlotSet,
    /// A replica's primary, if we know that node.
    pub primary: Option<NodeKey>,
    /// The primary that it was a replica of just before it became a primary: its heir has its data.
    pub former_primary: Option<NodeKey>,
    /// A primary's replicas, in the order in which we heard of them.
    pub replicas: Vec<NodeKey>,
    /// When we made this entry.
    pub created: u64,
    /// The ping that has no answer yet.
    pub ping_sent: Option<Stamp>,
    /// The last answer to a ping of ours.
    pub pong_received: Option<Stamp>,
    /// When the last answered ping had left: until then, at least, it could hear us and we it.
    pub lease: Option<u64>,
    /// The last packet of any kind.
    pub data_received: Option<u64>,
    /// When it was marked FAIL.
    pub fail_time: u64,
    /// Our last vote about this primary.
    pub voted: Option<Vote>,
    /// Since when this primary has had no working replica.
    pub orphaned_since: Option<u64>,
    /// Its replication offset, as it last said.
    pub repl_offset: u64,
    /// Its address; empty if unknown.
    pub ip: String,
    /// The name by which clients are sent to it; empty if it has none.
    pub hostname: String,
    /// What people call it, in logs; empty if nothing.
    pub human_name: String,
    /// The name of its shard, if it has told one.
    pub shard: Option<NodeId>,
    /// Its port for clients (TLS in a TLS cluster).
    pub port: u16,
    /// Its plain-text port, in a TLS cluster.
    pub plain_port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// The connection that we opened to it.
    pub link: Option<ConnId>,
    /// The connection that it opened to us.
    pub inbound: Option<ConnId>,
    /// Who says that it fails, and when it last said so.
    pub reports: BTreeMap<NodeKey, u64>,
    /// We were told to meet it and it has not yet opened a connection of its own: it may not know us.
    pub unmet_since: Option<u64>,
}

impl Node {
    /// A node of which only the name is known.
    pub fn new(id: NodeId, flags: Flags, now: Now) -> Node {
        Node {
            id,
            flags,
            config_epoch: 0,
            slots: SlotSet::new(),
            primary: None,
            former_primary: None,
            replicas: Vec::new(),
            created: now.mono_ms(),
            ping_sent: None,
            pong_received: None,
            lease: None,
            data_received: None,
            fail_time: 0,
            voted: None,
            orphaned_since: None,
            repl_offset: 0,
            ip: String::new(),
            hostname: String::new(),
            human_name: String::new(),
            shard: None,
            port: 0,
            plain_port: 0,
            bus_port: 0,
            link: None,
            inbound: None,
            reports: BTreeMap::new(),
            unmet_since: None,
        }
    }

    /// How logs name it.
    pub fn shown(&self) -> String {
        if self.human_name.is_empty() {
            alloc::format!("{}", self.id)
        } else {
            alloc::format!("{} ({})", self.id, self.human_name)
        }
    }

    /// Whether it is (or claims to be) a primary.
    pub fn is_primary(&self) -> bool {
        self.flags.any(Flags::PRIMARY)
    }

    /// Whether it is a replica.
    pub fn is_replica(&self) -> bool {
        self.flags.any(Flags::REPLICA)
    }

    /// Whether its name is still made up.
    pub fn in_handshake(&self) -> bool {
        self.flags.any(Flags::HANDSHAKE)
    }

    /// Whether the cluster agreed that it does not answer.
    pub fn failed(&self) -> bool {
        self.flags.any(Flags::FAIL)
    }

    /// Whether we believe that it does not answer.
    pub fn suspected(&self) -> bool {
        self.flags.any(Flags::PFAIL)
    }

    /// Whether it counts in votes and quorums: a primary with at least one slot.
    pub fn votes(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }

    /// Whether we know where to connect.
    pub fn has_address(&self) -> bool {
        !self.flags.any(Flags::NOADDR) && !self.ip.is_empty() && self.bus_port != 0
    }

    /// Forgets where it is.
    pub fn lose_address(&mut self) {
        self.flags.set(Flags::NOADDR);
        self.ip.clear();
        self.port = 0;
        self.plain_port = 0;
        self.bus_port = 0;
    }

    /// The port that clients of this kind are shown.
    pub fn client_port(&self, plain: bool) -> u16 {
        if plain && self.plain_port != 0 {
            self.plain_port
        } else {
            self.port
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_back_what_they_write() {
        for bits in 0..1024u16 {
            let shown = Flags(bits).only(Flags(0x27f & !128 & !256));
            let mut text = String::new();
            shown.write(&mut text);
            assert_eq!(Flags::parse(&text), Some(shown), "{text}");
        }
        assert_eq!(Flags::parse("myself,slave,sleeping"), None);
    }

    #[test]
    fn a_name_is_forty_lower_case_characters() {
        assert!(NodeId::parse(b"07c37dfeb235213a872192d90877d0cd55635b91").is_some());
        assert!(NodeId::parse(b"07C37dfeb235213a872192d90877d0cd55635b91").is_none());
        assert!(NodeId::parse(b"07c37dfeb235213a872192d90877d0cd55635b9").is_none());
    }
}
