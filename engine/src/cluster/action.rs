//! What the cluster wants done, and what it needs to know of the rest of the engine, as plain data.

use crate::{ConnId, DiskRequest, LogLevel};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// One thing to do. Actions must be carried out in their order, all of them before the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Open a connection of the bus; answered by `on_connected` or `on_closed`.
    Connect {
        /// The name that it will have: from the range given to [`super::Cluster::new`].
        conn: ConnId,
        /// IP address.
        host: String,
        /// Bus port.
        port: u16,
    },
    /// Close a connection; no `on_closed` is to follow.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Send a packet. Everything that it says is durable already.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: Bytes,
    },
    /// Touch the disk; answered by `on_disk`, in the order of the requests.
    Disk(DiskRequest),
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// Something for the rest of the engine to carry out.
    Decision(Decision),
}

/// What the rest of the engine must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Become a replica of this node, or point replication at its new address.
    Replicate {
        /// Its address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Stop replicating and become a primary. The claim to the slots is durable.
    Promote,
    /// Hold back writes, expiry, eviction and replication pings, so that the offset stands still; then say
    /// so in [`View::writes_paused`].
    PauseWrites {
        /// Monotonic milliseconds at which the pause ends by itself.
        until_ms: u64,
    },
    /// End that pause.
    Unpause,
    /// Delete all data (CLUSTER RESET of a replica).
    FlushAll,
    /// Other nodes own these slots now: delete what keys we have in them.
    DeleteSlotKeys {
        /// Which.
        slots: Vec<u16>,
    },
    /// These slots left our shard: end their channels' subscriptions.
    DropShardChannels {
        /// Which.
        slots: Vec<u16>,
    },
    /// Keys cannot be served any more, or can again: look after blocked clients.
    StateChanged {
        /// Whether they can.
        ok: bool,
    },
    /// A message from another node for our subscribers.
    Publish {
        /// The channel.
        channel: Bytes,
        /// The message.
        message: Bytes,
        /// Whether it was published with SPUBLISH.
        sharded: bool,
    },
    /// nodes.conf is durable up to this version: see [`super::Cluster::version`].
    Saved {
        /// The version.
        version: u64,
    },
    /// nodes.conf could not be written. It is tried again; what depends on it waits.
    SaveFailed {
        /// The system's words.
        message: String,
    },
}

/// What the cluster must know of the rest of the engine. A copy of the present state, given again whenever
/// time or bytes enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Our replication offset: what we produced as a primary, what we applied as a replica.
    pub offset: u64,
    /// As a replica: since the last [`Decision::Replicate`] at least one synchronisation with that node,
    /// full or partial, has ended well.
    pub synced: bool,
    /// As a replica: for how long we have not heard from the primary, in milliseconds: 0 or little while
    /// the link is up, growing while it is down. `None` if there never was a link.
    pub data_age_ms: Option<u64>,
    /// Writes are being held back as [`Decision::PauseWrites`] asks.
    pub writes_paused: bool,
}
