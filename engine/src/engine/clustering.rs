//! Carrying the cluster's wishes to the other parts, and their news to it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::links::LinkKind;
use super::{DiskOwner, Engine};
use crate::client::{Blocked, Scope};
use crate::cluster::{Action, Cluster, Decision, EndpointType, Settings, View, slot_of};
use crate::command::context::condition;
use crate::command::{blocking, pubsub};
use crate::config::{self, Config};
use crate::face::{Address, ConnId, Effect, LogLevel, Now};
use crate::random::Random;

/// The cluster names its connections from here on; replication stays below.
const FIRST_LINK: u64 = 1 << 32;

/// Keys deleted in one go of a slot that went to another node.
const SLOT_STEP: usize = 64;

/// What the cluster reads of the configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    Settings {
        port: config.port,
        tls_port: config.tls_port,
        tls_cluster: config.tls_cluster,
        tls_replication: config.tls_replication,
        bus_port: config.cluster_port,
        announce_ip: config.cluster_announce_ip.clone(),
        announce_port: config.cluster_announce_port,
        announce_tls_port: config.cluster_announce_tls_port,
        announce_bus_port: config.cluster_announce_bus_port,
        announce_hostname: config.cluster_announce_hostname.clone(),
        announce_human_nodename: config.cluster_announce_human_nodename.clone(),
        preferred_endpoint: match config.cluster_preferred_endpoint_type {
            config::ClusterPreferredEndpointType::Ip => EndpointType::Ip,
            config::ClusterPreferredEndpointType::Hostname => EndpointType::Hostname,
            config::ClusterPreferredEndpointType::UnknownEndpoint => EndpointType::Unknown,
        },
        config_file: config.cluster_config_file.clone(),
        node_timeout_ms: config.cluster_node_timeout,
        ping_interval_ms: config.cluster_ping_interval,
        blacklist_ttl_s: config.cluster_blacklist_ttl,
        link_sendbuf_limit: config.cluster_link_sendbuf_limit,
        replica_validity_factor: u64::from(config.cluster_replica_validity_factor),
        repl_ping_period_ms: u64::from(config.repl_ping_replica_period) * 1000,
        replica_no_failover: config.cluster_replica_no_failover,
        migration_barrier: config.cluster_migration_barrier as usize,
        allow_replica_migration: config.cluster_allow_replica_migration,
        require_full_coverage: config.cluster_require_full_coverage,
        allow_reads_when_down: config.cluster_allow_reads_when_down,
        allow_pubsubshard_when_down: config.cluster_allow_pubsubshard_when_down,
        no_empty_promotion: false,
    }
}

/// The cluster part of a new engine; `None` outside cluster mode.
pub(super) fn new(config: &Config, seed: [u8; 32], now: Now) -> Option<Box<Cluster>> {
    let seed = Random::new(seed, "cluster").seed();
    config
        .cluster_enabled
        .then(|| Box::new(Cluster::new(settings(config), seed, FIRST_LINK, now)))
}

/// The IP address of one end of a connection, as text.
fn ip(address: &Address) -> String {
    match address {
        Address::Ip(socket) => socket.ip().to_string(),
        Address::Unix(_) => String::new(),
    }
}

impl Engine {
    /// Hands an event to the cluster, if there is one, after telling it how things are.
    pub(super) fn with_cluster(&mut self, now: Now, event: impl FnOnce(&mut Cluster)) {
        self.hand_to_cluster(now, |cluster, view| {
            cluster.observe(now, &view);
            event(cluster);
        });
    }

    fn hand_to_cluster(&mut self, now: Now, event: impl FnOnce(&mut Cluster, View)) {
        // Until its file was read the cluster is nobody: it would write another name over ours.
        if self.boot.is_some() {
            return;
        }
        // A command of this turn may have left something to do.
        self.settle_cluster(now);
        let view = self.parts.view(now);
        if let Some(cluster) = &mut self.parts.cluster {
            event(cluster, view);
            self.settle_cluster(now);
        }
    }

    /// A connection of the bus came in.
    pub(super) fn bus_accepted(&mut self, now: Now, conn: ConnId, peer: &Address, local: &Address) {
        if self.boot.is_some() {
            self.parts.outbox.push_back(Effect::Close { conn });
            return;
        }
        self.links.add(conn, LinkKind::Bus);
        self.with_cluster(now, |cluster| {
            cluster.on_accepted(now, conn, &ip(peer), &ip(local))
        });
    }

    /// A connection of the bus that we asked for is open.
    pub(super) fn bus_connected(
        &mut self,
        now: Now,
        conn: ConnId,
        peer: &Address,
        local: &Address,
    ) {
        self.with_cluster(now, |cluster| {
            cluster.on_connected(now, conn, &ip(peer), &ip(local))
        });
    }

    /// Time for the cluster's rounds.
    pub(super) fn cluster_tick(&mut self, now: Now) {
        if self
            .parts
            .cluster
            .as_ref()
            .is_some_and(|c| c.deadline() <= now.mono_us)
        {
            let unsent = self.links.unsent(LinkKind::Bus);
            self.hand_to_cluster(now, |cluster, view| {
                cluster.tick(now, &view);
                cluster.on_backlogs(now, &unsent);
            });
        }
    }

    /// Carries out what the cluster wants, until it wants nothing more. True if there was anything.
    pub(super) fn settle_cluster(&mut self, now: Now) -> bool {
        let (mut any, mut paused) = (false, false);
        while let Some(action) = self.parts.cluster.as_mut().and_then(|c| c.poll_action()) {
            any = true;
            match action {
                Action::Connect { conn, host, port } => {
                    self.links.add(conn, LinkKind::Bus);
                    let tls = self.parts.config.tls_cluster;
                    self.parts.outbox.push_back(Effect::Connect {
                        conn,
                        host,
                        port,
                        tls,
                    });
                }
                Action::Close { conn } => self.close(conn),
                Action::Send { conn, bytes } => self.links.send(conn, bytes),
                Action::Disk(request) => self.disk(DiskOwner::Cluster, request),
                Action::Log { level, text } => self.parts.log(level, text),
                Action::Decision(decision) => {
                    paused |= matches!(decision, Decision::PauseWrites { .. });
                    self.decide(now, decision);
                }
            }
        }
        if paused {
            // Clients wait: the replica shall learn at once at which offset.
            self.with_cluster(now, |_| {});
        }
        any
    }

    fn decide(&mut self, now: Now, decision: Decision) {
        let parts = &mut self.parts;
        match decision {
            Decision::Replicate { host, port } => {
                parts
                    .replication
                    .set_primary(now, &mut parts.journal, &host, port);
                // From the next command on, which may come in the same turn.
                parts.set(condition::REPLICA, true);
            }
            Decision::Promote => parts.replication.unset_primary(now, &mut parts.journal),
            Decision::PauseWrites { until_ms } => {
                parts.failover_pause_until_ms = Some(until_ms);
                parts.replication.hold_stream(true);
                self.update_pause();
            }
            Decision::Unpause => self.end_failover_pause(),
            Decision::FlushAll => {
                for db in 0..parts.store.databases().len() {
                    parts.store.flush(db);
                }
                parts.watches.touch_all();
                // A replica journals nothing of its own; this one has just ceased to be one.
                parts.effects.wanted = true;
                parts.effects.begin();
                parts.effects.also(0, &[b"FLUSHALL"]);
                (parts.effects).end(&mut parts.journal, 0, false, &[], None);
            }
            Decision::DeleteSlotKeys { slots } => self.deleting_slots.extend(slots),
            // What was ordered is done, though a crash would undo it yet: nobody waits for a broken disk.
            Decision::SaveFailed { message } => self.answer_config_waits(|_| true, Some(&message)),
            Decision::Saved { version } => self.release_config_waits(version),
            Decision::StateChanged { .. } => blocking::redirect_moved(parts, now),
            Decision::DropShardChannels { slots } => {
                pubsub::drop_shard_channels(parts, |name| slots.contains(&slot_of(name)));
            }
            Decision::Publish {
                channel,
                message,
                sharded,
            } => {
                let scope = if sharded {
                    Scope::Shard
                } else {
                    Scope::Channel
                };
                pubsub::deliver(parts, None, now, scope, &channel, &message);
            }
        }
    }

    /// Ends the pause of a manual failover.
    pub(super) fn end_failover_pause(&mut self) {
        if self.parts.failover_pause_until_ms.take().is_some() {
            self.parts.replication.hold_stream(false);
            self.update_pause();
        }
    }

    /// Answers to orders that nodes.conf holds up to `version` may leave.
    fn release_config_waits(&mut self, version: u64) {
        self.answer_config_waits(|waits| waits <= version, None);
    }

    /// Answers orders that wait for nodes.conf; with an error, those to save it.
    fn answer_config_waits(&mut self, due: impl Fn(u64) -> bool, failed: Option<&str>) {
        let waits = &mut self.parts.config_waits;
        let conns: Vec<_> = waits.extract_if(.., |w| due(w.1)).map(|w| w.0).collect();
        for conn in conns {
            let Some(session) = self.parts.clients.get_mut(conn) else {
                continue;
            };
            let Some(Blocked::Config { reply, saving }) = session.blocked.as_deref() else {
                continue;
            };
            if let Some(why) = failed.filter(|_| *saving) {
                let error = alloc::format!("ERR error saving the cluster node config: {why}");
                self.parts.fail(conn, error);
            } else {
                session.out.simple(reply);
                self.parts.unblock(conn);
            }
        }
    }

    /// Deletes some keys of slots that went to other nodes; true if there are more.
    pub(super) fn delete_slot_keys(&mut self) -> bool {
        let Some(&slot) = self.deleting_slots.first() else {
            return false;
        };
        // The offset stands still for a failover.
        if self.parts.is(condition::PAUSED) {
            return false;
        }
        let ours = self.parts.cluster.as_ref().is_some_and(|c| {
            let nodes = c.nodes();
            nodes.slots.owner(slot) == Some(nodes.my_key())
        });
        let (_, keys) = if ours {
            (0, Vec::new())
        } else {
            self.parts.store.slot_keys(slot, SLOT_STEP)
        };
        if keys.is_empty() || self.parts.replication.following() {
            self.deleting_slots.remove(0);
            return !self.deleting_slots.is_empty();
        }
        for key in keys {
            self.parts.delete_and_journal(0, &key);
        }
        true
    }

    /// nodes.conf as it was found at start.
    pub(super) fn start_cluster(&mut self, now: Now, text: Option<&str>) {
        let Some(mut cluster) = self.parts.cluster.take() else {
            return;
        };
        let started = cluster.start(now, text);
        self.parts.cluster = Some(cluster);
        if let Err(error) = started {
            let file = self.parts.config.cluster_config_file.clone();
            self.parts.log(
                LogLevel::Warning,
                alloc::format!(
                    "Unrecoverable error: corrupted cluster config file {file}: {error}"
                ),
            );
            self.parts.outbox.push_back(Effect::Exit { code: 1 });
        }
        self.settle_cluster(now);
    }

    /// After the data was loaded: says which slots have keys.
    pub(super) fn reconcile_cluster(&mut self, now: Now) {
        if self.parts.cluster.is_none() {
            return;
        }
        let mut slots: Vec<u16> = Vec::new();
        let mut at = Some(0);
        while let Some(position) = at {
            at = self
                .parts
                .store
                .database(0)
                .table()
                .walk(position, |_, entry| {
                    let slot = crate::value::slot::slot_of(entry.key());
                    if slots.last() != Some(&slot) {
                        slots.push(slot);
                    }
                });
        }
        slots.sort_unstable();
        slots.dedup();
        self.with_cluster(now, |cluster| cluster.reconcile(now, &slots));
    }
}
