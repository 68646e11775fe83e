//! Where a command on a slot is to be served.

use super::Cluster;
use super::node::{Node, NodeKey};
use super::settings::EndpointType;
use super::state::State;
use crate::Now;
use alloc::string::{String, ToString};

/// What routing must know of a command (or of the commands of a transaction together).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RouteRequest {
    /// The slot of all its keys. Keys in different slots are the caller's to refuse (CROSSSLOT).
    pub slot: u16,
    /// It may write.
    pub write: bool,
    /// It names more than one key.
    pub multi_key: bool,
    /// It is MIGRATE, which serves both sides of a migration.
    pub migrate: bool,
    /// It is SPUBLISH, SSUBSCRIBE or SUNSUBSCRIBE: the keys are channels.
    pub pubsub_shard: bool,
    /// The session said READONLY.
    pub readonly_session: bool,
    /// The session said ASKING just before, or the command is RESTORE-ASKING.
    pub asking: bool,
    /// How many of its keys are here. Wanted only if [`Cluster::is_open`] says so.
    pub keys_here: usize,
    /// How many are not.
    pub keys_missing: usize,
    /// The client speaks plain text; of interest in a TLS cluster.
    pub plain_client: bool,
}

/// Where a command is to be served. The texts are replies without the leading minus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Here.
    Local,
    /// There, and so are all later ones on this slot.
    Moved(Endpoint),
    /// There, this time, after ASKING.
    Ask(Endpoint),
    /// Nowhere just now: the slot's keys are on two nodes.
    TryAgain,
    /// Nowhere: this is the error.
    Down(&'static str),
}

/// Where clients are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The slot that it is about.
    pub slot: u16,
    /// Host name or address; empty: the one that the client uses already.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Route {
    /// The error that tells the client; `None` if it is served here.
    pub fn error(&self) -> Option<String> {
        Some(match self {
            Route::Local => return None,
            Route::Moved(to) => alloc::format!("MOVED {} {}:{}", to.slot, to.host, to.port),
            Route::Ask(to) => alloc::format!("ASK {} {}:{}", to.slot, to.host, to.port),
            Route::TryAgain => {
                "TRYAGAIN Multiple keys request during rehashing of slot".to_string()
            }
            Route::Down(text) => text.to_string(),
        })
    }
}

const DOWN: Route = Route::Down("CLUSTERDOWN The cluster is down");
const DOWN_WRITES: Route =
    Route::Down("CLUSTERDOWN The cluster is down and only accepts read commands");
const UNBOUND: Route = Route::Down("CLUSTERDOWN Hash slot not served");

impl Cluster {
    /// Whether a slot is being moved in or out: then the request must say which keys are here.
    pub fn is_open(&self, slot: u16) -> bool {
        let table = &self.nodes.slots;
        table.importing.contains_key(&slot) || table.migrating.contains_key(&slot)
    }

    /// Whether a slot is somebody's.
    pub fn is_served(&self, slot: u16) -> bool {
        self.nodes.slots.owner(slot).is_some()
    }

    /// Where a command is to be served.
    pub fn route(&self, now: Now, request: &RouteRequest) -> Route {
        let slot = request.slot;
        let me = self.nodes.my_key();
        let Some(owner) = self.nodes.slots.owner(slot) else {
            return UNBOUND;
        };
        if let Some(down) = self.refuse_when_down(now, owner, request) {
            return down;
        }
        let migrating = self
            .nodes
            .slots
            .migrating
            .get(&slot)
            .filter(|_| owner == me);
        let importing = migrating.is_none() && self.nodes.slots.importing.contains_key(&slot);
        if (migrating.is_some() || importing) && request.migrate {
            return Route::Local;
        }
        let missing = request.keys_missing > 0 && !request.pubsub_shard;
        if let Some(target) = migrating.filter(|_| missing) {
            // Some here and some gone: neither side has them all.
            return if request.keys_here > 0 {
                Route::TryAgain
            } else {
                Route::Ask(self.endpoint(*target, request))
            };
        }
        if importing && request.asking {
            return if request.multi_key && missing {
                Route::TryAgain
            } else {
                Route::Local
            };
        }
        if owner == me
            || self.reads_here(
                owner,
                request.write,
                request.readonly_session || request.pubsub_shard,
            )
        {
            return Route::Local;
        }
        Route::Moved(self.endpoint(owner, request))
    }

    /// Whether a client that blocks on a key of this slot can go on waiting here; otherwise what it is told.
    pub fn route_blocked(
        &self,
        now: Now,
        slot: u16,
        write: bool,
        readonly_session: bool,
        plain_client: bool,
    ) -> Route {
        if self.state(now) == State::Fail {
            return DOWN;
        }
        let Some(owner) = self.nodes.slots.owner(slot) else {
            return UNBOUND;
        };
        let importing = self.nodes.slots.importing.contains_key(&slot);
        if owner == self.nodes.my_key()
            || importing
            || self.reads_here(owner, write, readonly_session)
        {
            return Route::Local;
        }
        Route::Moved(self.endpoint(
            owner,
            &RouteRequest {
                slot,
                plain_client,
                ..RouteRequest::default()
            },
        ))
    }

    fn refuse_when_down(&self, now: Now, owner: NodeKey, request: &RouteRequest) -> Option<Route> {
        // Our own claim counts for clients once a crash cannot undo it.
        if owner == self.nodes.my_key() && self.promotion_pending() {
            return Some(DOWN);
        }
        if self.state(now) == State::Ok {
            return None;
        }
        if request.pubsub_shard {
            return (!self.settings.allow_pubsubshard_when_down).then_some(DOWN);
        }
        match (self.settings.allow_reads_when_down, request.write) {
            (false, _) => Some(DOWN),
            (true, true) => Some(DOWN_WRITES),
            (true, false) => None,
        }
    }

    fn reads_here(&self, owner: NodeKey, write: bool, allowed: bool) -> bool {
        allowed && !write && self.is_replica() && self.nodes.me().primary == Some(owner)
    }

    fn endpoint(&self, key: NodeKey, request: &RouteRequest) -> Endpoint {
        let node = self.nodes.node(key);
        let plain = self.settings.tls_cluster && request.plain_client;
        Endpoint {
            slot: request.slot,
            host: self.preferred_endpoint(node).into(),
            port: node.client_port(plain),
        }
    }

    /// What clients are told as a node's host.
    pub(super) fn preferred_endpoint<'a>(&self, node: &'a Node) -> &'a str {
        match self.settings.preferred_endpoint {
            EndpointType::Ip => &node.ip,
            EndpointType::Hostname if node.hostname.is_empty() => "?",
            EndpointType::Hostname => &node.hostname,
            EndpointType::Unknown => "",
        }
    }
}
