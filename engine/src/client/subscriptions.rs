//! Who listens to which channels and patterns.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::face::ConnId;

/// The three namespaces of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// SUBSCRIBE: channels.
    Channel,
    /// PSUBSCRIBE: patterns of channels.
    Pattern,
    /// SSUBSCRIBE: channels that belong to a slot of the cluster.
    Shard,
}

impl Scope {
    const ALL: [Scope; 3] = [Scope::Channel, Scope::Pattern, Scope::Shard];
}

/// What one session is subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    names: [BTreeSet<Box<[u8]>>; 3],
    bytes: usize,
}

/// What a name takes in the set, besides its bytes.
const OVERHEAD: usize = 32;

impl Subscriptions {
    /// The names in a namespace.
    pub fn names(&self, scope: Scope) -> &BTreeSet<Box<[u8]>> {
        &self.names[scope as usize]
    }

    /// The number that is told with each change in a namespace: channels and patterns count together.
    pub fn count(&self, scope: Scope) -> usize {
        match scope {
            Scope::Channel | Scope::Pattern => self.names[0].len() + self.names[1].len(),
            Scope::Shard => self.names[2].len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// Bytes of memory, roughly.
    pub fn memory(&self) -> usize {
        self.bytes
    }
}

/// All subscriptions of all sessions.
#[derive(Debug, Default)]
pub struct Channels([BTreeMap<Box<[u8]>, BTreeSet<ConnId>>; 3]);

impl Channels {
    /// Subscribes a session; false if it was already.
    pub fn subscribe(
        &mut self,
        conn: ConnId,
        mine: &mut Subscriptions,
        scope: Scope,
        name: &[u8],
    ) -> bool {
        if !mine.names[scope as usize].insert(name.into()) {
            return false;
        }
        mine.bytes += name.len() + OVERHEAD;
        let listeners = self.0[scope as usize].entry(name.into()).or_default();
        listeners.insert(conn)
    }

    /// Ends a subscription; false if there was none.
    pub fn unsubscribe(
        &mut self,
        conn: ConnId,
        mine: &mut Subscriptions,
        scope: Scope,
        name: &[u8],
    ) -> bool {
        if !mine.names[scope as usize].remove(name) {
            return false;
        }
        mine.bytes -= name.len() + OVERHEAD;
        let all = &mut self.0[scope as usize];
        if let Some(listeners) = all.get_mut(name) {
            listeners.remove(&conn);
            if listeners.is_empty() {
                all.remove(name);
            }
        }
        true
    }

    /// Ends all of a session's subscriptions.
    pub fn forget(&mut self, conn: ConnId, mine: &mut Subscriptions) {
        for scope in Scope::ALL {
            let names: Vec<Box<[u8]>> = mine.names(scope).iter().cloned().collect();
            for name in names {
                self.unsubscribe(conn, mine, scope, &name);
            }
        }
    }

    /// Who listens to a channel by its name.
    pub fn listeners(&self, scope: Scope, name: &[u8]) -> impl Iterator<Item = ConnId> {
        self.0[scope as usize]
            .get(name)
            .into_iter()
            .flatten()
            .copied()
    }

    /// Number of those who listen to a channel by its name.
    pub fn count(&self, scope: Scope, name: &[u8]) -> usize {
        self.0[scope as usize].get(name).map_or(0, BTreeSet::len)
    }

    /// All names in a namespace, each with who subscribed to it.
    pub fn all(&self, scope: Scope) -> &BTreeMap<Box<[u8]>, BTreeSet<ConnId>> {
        &self.0[scope as usize]
    }

    /// Whether a message in one of the unsharded channels could reach nobody.
    #[inline]
    pub fn nobody_listens(&self) -> bool {
        self.0[0].is_empty() && self.0[1].is_empty()
    }

    /// The sharded channels that somebody listens to, of those that `is_wanted` chooses.
    pub fn shard_channels(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Box<[u8]>> {
        let names = self.0[Scope::Shard as usize].keys();
        names.filter(|name| is_wanted(name)).cloned().collect()
    }
}
