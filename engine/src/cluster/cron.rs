//! What happens ten times a second: connections are opened, pings sent, silent nodes suspected.

use super::Cluster;
use super::bus::Kind;
use super::node::{Flags, NodeKey};
use super::state::State;
use crate::Now;
use alloc::vec::Vec;
use rand_core::RngCore;

/// Microseconds between two rounds.
const PERIOD_US: u64 = 100_000;
/// A node that we met and that does not connect to us is met again, for this many handshake timeouts.
const MEET_AGAIN: u64 = 10;

/// The rounds.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    next_us: u64,
    last_ms: Option<u64>,
    round: u64,
}

impl Cron {
    pub(super) fn new(now: Now) -> Cron {
        Cron {
            next_us: now.mono_us,
            last_ms: None,
            round: 0,
        }
    }

    pub(super) fn due(&self, now: Now) -> bool {
        now.mono_us >= self.next_us
    }

    pub(super) fn next_us(&self) -> u64 {
        self.next_us
    }

    /// Begins a round; returns its number and for how long there was none, in milliseconds.
    fn begin(&mut self, now: Now) -> (u64, u64) {
        self.next_us = now.mono_us + PERIOD_US;
        self.round += 1;
        let gap = now.mono_ms() - self.last_ms.unwrap_or(now.mono_ms()).min(now.mono_ms());
        self.last_ms = Some(now.mono_ms());
        (self.round, gap)
    }
}

/// What replica migration needs to know of the shards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shards {
    /// Primaries with slots whose replicas all failed.
    pub orphans: usize,
    /// The most working replicas that a primary has.
    pub most: usize,
    /// Those of ours.
    pub mine: usize,
}

impl Cluster {
    pub(super) fn on_cron(&mut self, now: Now) {
        let (round, gap) = self.cron.begin(now);
        // Before our name is durable there is nothing to say.
        if self.advertised.is_some() {
            if gap > self.settings.node_timeout_ms / 2 {
                self.forgive(now);
            }
            self.reconnect(now);
            if round.is_multiple_of(10) {
                self.ping_at_random(now);
            }
            let shards = self.look_after_nodes(now);
            self.expire_manual(now);
            if self.is_replica() {
                self.advance_manual();
                self.advance_election(now);
                self.migrate_to_orphan(now, shards);
            }
        }
        self.imported.retain(|_, (_, until)| *until > now.mono_ms());
        if self.nodes.me().is_primary() || self.health.state() == State::Fail {
            self.todo.update_state = true;
        }
        self.save(now, true);
    }

    /// We were asleep: that nobody answered meanwhile is not their fault.
    fn forgive(&mut self, now: Now) {
        for key in self.nodes.keys() {
            if let Some(ping) = self
                .nodes
                .get_mut(key)
                .and_then(|node| node.ping_sent.as_mut())
            {
                ping.mono = now.mono_ms();
            }
        }
    }

    fn reconnect(&mut self, now: Now) {
        let handshake = self.settings.handshake_timeout_ms();
        for key in self.nodes.keys() {
            let node = self.nodes.node(key);
            if node.flags.any(Flags::MYSELF) {
                continue;
            }
            if node.in_handshake() && now.mono_ms().saturating_sub(node.created) > handshake {
                self.remove_node(key);
            } else if node.link.is_none() && node.has_address() {
                self.connect(now, key);
            }
        }
    }

    /// Of five nodes, the one that has not answered for longest.
    fn ping_at_random(&mut self, now: Now) {
        let keys = self.nodes.keys();
        let skip = Flags::MYSELF.with(Flags::HANDSHAKE);
        let mut oldest: Option<(u64, NodeKey)> = None;
        for _ in 0..5 {
            let key = keys[(self.rng.next_u64() % keys.len() as u64) as usize];
            let node = self.nodes.node(key);
            if node.link.is_none() || node.ping_sent.is_some() || node.flags.any(skip) {
                continue;
            }
            let candidate = (node.pong_received.map_or(0, |at| at.mono), key);
            oldest = Some(oldest.map_or(candidate, |best| best.min(candidate)));
        }
        if let Some(conn) = oldest.and_then(|(_, key)| self.nodes.node(key).link) {
            self.ping(now, conn, Kind::Ping);
        }
    }

    fn look_after_nodes(&mut self, now: Now) -> Shards {
        let mut shards = Shards::default();
        let mut suspects = Vec::new();
        let mine = self.nodes.me().primary;
        let skip = Flags::MYSELF.with(Flags::HANDSHAKE);
        for key in self.nodes.keys() {
            let Some(node) = self.nodes.get(key).filter(|node| !node.flags.any(skip)) else {
                continue;
            };
            if node.is_primary() && !node.failed() {
                let working = self.working_replicas(key);
                let node = self.nodes.node(key);
                let orphan =
                    working == 0 && !node.slots.is_empty() && node.flags.any(Flags::MIGRATE_TO);
                shards.orphans += usize::from(orphan);
                shards.most = shards.most.max(working);
                if mine == Some(key) {
                    shards.mine = working;
                }
            }
            if self.is_silent(now, key) {
                suspects.push(key);
            } else {
                self.ping_if_due(now, key);
            }
        }
        for key in suspects {
            self.todo.update_state |= self.suspect(now, key);
        }
        shards
    }

    /// How many replicas of a primary have not failed.
    pub(super) fn working_replicas(&self, primary: NodeKey) -> usize {
        let replicas = self
            .nodes
            .get(primary)
            .map(|node| node.replicas.as_slice())
            .unwrap_or_default();
        replicas
            .iter()
            .filter(|key| self.nodes.get(**key).is_some_and(|node| !node.failed()))
            .count()
    }

    /// Renews a connection that seems dead, and pings whoever was not heard of for half the timeout, or as long as
    /// `cluster-ping-interval` says.
    fn ping_if_due(&mut self, now: Now, key: NodeKey) {
        let at = now.mono_ms();
        let timeout = self.settings.node_timeout_ms;
        let node = self.nodes.node(key);
        let Some(conn) = node.link else { return };
        let since = |then: Option<u64>| then.map_or(u64::MAX, |then| at.saturating_sub(then));
        let waiting = node
            .ping_sent
            .map_or(0, |ping| at.saturating_sub(ping.mono));
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        // The connection brings nothing. If the node itself is heard of otherwise it may just be busy: then
        // it has longer.
        let mute = at.saturating_sub(link.heard) > timeout / 2
            && at.saturating_sub(link.created.mono) > timeout;
        if mute
            && waiting
                > if since(node.data_received) > timeout / 2 {
                    timeout / 2
                } else {
                    timeout
                }
        {
            return self.close(conn);
        }
        // Primaries hold leases from one another (see state.rs), which pongs renew: those come sooner.
        let lessor = node.votes() && self.nodes.me().votes();
        let wanted = match self.settings.ping_interval_ms {
            0 => timeout / 2,
            ms => ms,
        };
        let pause = if lessor {
            wanted.min(timeout / 4)
        } else {
            wanted
        };
        let due =
            node.ping_sent.is_none() && since(node.pong_received.map(|pong| pong.mono)) > pause;
        let pausing = self.manual.replica == Some(key) && self.nodes.me().is_primary();
        if due || pausing {
            self.ping(now, conn, Kind::Ping);
        } else if self.never_called(now, key) {
            self.ping(now, conn, Kind::Meet);
        }
    }

    /// A node that answered our MEET but never opened a connection to us may have failed to do so, and not
    /// know us (KB-22). Only one that we met just now: one that knew us once and does not any more was told
    /// to forget us (KB-23).
    fn never_called(&mut self, now: Now, key: NodeKey) -> bool {
        let handshake = self.settings.handshake_timeout_ms();
        let node = self.nodes.node_mut(key);
        let Some(since) = node
            .unmet_since
            .map(|since| now.mono_ms().saturating_sub(since))
        else {
            return false;
        };
        let met = now.mono_ms().saturating_sub(node.created);
        if met > MEET_AGAIN * handshake {
            node.unmet_since = None;
            return false;
        }
        if since <= handshake {
            return false;
        }
        node.unmet_since = Some(now.mono_ms());
        true
    }

    /// Whether a ping has waited for an answer, or for any packet, longer than the node timeout.
    fn is_silent(&self, now: Now, key: NodeKey) -> bool {
        let at = now.mono_ms();
        let node = self.nodes.node(key);
        let Some(ping) = node.ping_sent else {
            return false;
        };
        let heard = node.data_received.unwrap_or(0).max(ping.mono);
        let silent = at.saturating_sub(heard) > self.settings.node_timeout_ms;
        silent && !node.flags.any(Flags::FAIL.with(Flags::PFAIL))
    }
}
