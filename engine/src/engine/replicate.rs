//! Carrying replication's wishes to the other parts, and their news to it.

use alloc::vec::Vec;
use bytes::Bytes;

use super::incoming::Incoming;
use super::snapshot::Reader;
use super::{Engine, LinkKind};
use crate::client::{Blocked, alert};
use crate::command::context::condition;
use crate::config::Config;
use crate::face::{ConnId, Effect, Now};
use crate::replication::{Action, Filter, Settings};
use crate::store::Store;

/// What replication reads of the configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let text = |s: &alloc::string::String| (!s.is_empty()).then(|| s.clone());
    let bytes = |s: &Vec<u8>| (!s.is_empty()).then(|| s.clone());
    let limit = config.client_output_buffer_limit.replica;
    Settings {
        announce_ip: text(&config.replica_announce_ip),
        backlog_bytes: config.repl_backlog_size,
        backlog_ttl_s: config.repl_backlog_ttl,
        diskless_load: true,
        diskless_sync: config.repl_diskless_sync,
        diskless_sync_delay_s: u64::from(config.repl_diskless_sync_delay),
        diskless_sync_max_replicas: config.repl_diskless_sync_max_replicas as usize,
        output_hard_bytes: limit.hard_bytes,
        output_soft_bytes: limit.soft_bytes,
        output_soft_s: limit.soft_seconds,
        listening_port: if config.replica_announce_port > 0 {
            config.replica_announce_port
        } else if config.tls_replication && config.tls_port > 0 {
            config.tls_port
        } else {
            config.port
        },
        min_replicas_max_lag_s: u64::from(config.min_replicas_max_lag),
        min_replicas_to_write: config.min_replicas_to_write as usize,
        ping_period_s: u64::from(config.repl_ping_replica_period),
        primary_auth: bytes(&config.masterauth),
        primary_user: bytes(&config.masteruser),
        replica_announced: config.replica_announced,
        replica_priority: i64::from(config.replica_priority),
        replica_read_only: config.replica_read_only,
        timeout_s: u64::from(config.repl_timeout),
    }
}

impl Engine {
    /// Carries out what replication wants, until it wants nothing more.
    pub(super) fn settle_replication(&mut self, now: Now) -> bool {
        if self.starting() {
            return false;
        }
        let mut any = false;
        let synced = self.parts.persistence.synced_offset();
        self.parts.replication.set_synced(synced);
        while let Some(action) = self
            .parts
            .replication
            .poll_action(now, &mut self.parts.journal)
        {
            any = true;
            self.replication_action(now, action);
        }
        any
    }

    fn replication_action(&mut self, now: Now, action: Action) {
        match action {
            Action::CancelSnapshot => {
                self.snapshot_wanted = None;
                self.cancel_sync_file();
                self.cancel_snapshot(Reader::Replicas);
            }
            Action::Close { conn } => self.close(conn),
            Action::Overrun { conn } => {
                if let Some(session) = self.parts.clients.get(conn) {
                    let client = crate::command::describe(&self.parts, session, now);
                    self.parts.log(
                        crate::LogLevel::Warning,
                        alloc::format!("Client {client} scheduled to be closed ASAP for overcoming of output buffer limits."),
                    );
                }
                self.close(conn);
            }
            Action::Connect { host, port } => {
                let conn = self.open(host, port, LinkKind::Primary);
                self.parts.replication.connecting(conn);
            }
            Action::Demoted => self.demoted(),
            Action::FailoverOver => self.update_pause(),
            Action::Promoted => {
                self.end_stream();
                self.parts.set(condition::REPLICA, false);
                self.parts.outbox.push_back(Effect::Role('M'));
            }
            Action::Log { level, text } => self.parts.log(level, text),
            Action::Payload(bytes) => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.feed(bytes);
                }
            }
            Action::PayloadAbort => {
                if let Some(incoming) = self.incoming.take() {
                    incoming.discard(&mut self.parts.store);
                }
            }
            Action::PayloadBegin { size } => {
                let parts = &self.parts;
                let databases = parts.store.databases().len();
                let store = Store::new(databases, *parts.store.hasher());
                self.incoming = Some(Incoming::new(size, parts.config.rdbchecksum, store));
            }
            Action::PayloadEnd { .. } => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.end();
                }
            }
            Action::Send { conn, bytes } => self.send(now, conn, bytes),
            Action::Stream(bytes) => self.stream(now, &bytes),
            Action::StreamBegin { conn, db } => self.begin_stream(conn, db, now),
            Action::WantSnapshot {
                filter, diskless, ..
            } => self.snapshot_for_replicas(now, filter, diskless),
        }
    }

    /// Begins a snapshot for replicas; as soon as it can, if one is under way.
    pub(super) fn snapshot_for_replicas(&mut self, now: Now, filter: Filter, diskless: bool) {
        let begun = if diskless || filter != Filter::ALL {
            self.begin_snapshot(now, Reader::Replicas, filter)
        } else {
            self.begin_sync_file(now)
        };
        if begun {
            self.parts
                .replication
                .snapshot_began(now, &mut self.parts.journal);
        } else {
            self.snapshot_wanted = Some((filter, diskless));
        }
    }

    /// We are a replica from now on.
    fn demoted(&mut self) {
        self.parts.set(condition::REPLICA, true);
        self.parts.outbox.push_back(Effect::Role('S'));
        const UNBLOCKED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
        for conn in self.parts.blocked.clone() {
            let Some(session) = self.parts.clients.get_mut(conn) else {
                continue;
            };
            if matches!(session.blocked.as_deref(), Some(Blocked::Wait { .. })) {
                self.parts.fail(conn, UNBLOCKED);
                if let Some(session) = self.parts.clients.get_mut(conn) {
                    session.set(alert::CLOSING, true);
                }
            }
        }
        self.parts.transfers.abort(UNBLOCKED.as_bytes());
        crate::command::blocking::refuse_all(&mut self.parts);
    }

    /// Bytes for a replica, or for our primary.
    fn send(&mut self, now: Now, conn: ConnId, bytes: Bytes) {
        self.parts.stats.replication_out += bytes.len() as u64;
        if let Some(session) = self.parts.clients.get_mut(conn) {
            session.set(alert::REPLICA, true);
            session.out.shared(bytes);
            let pending = session.out.pending();
            self.parts.replication.output_pending(now, conn, pending);
            self.parts.clients.queue_output(conn);
        } else {
            self.links.send(conn, bytes);
        }
    }

    /// Lets WAIT and its like go whose replicas have acknowledged, or whose time is up.
    pub(super) fn release_waiting(&mut self, now: Now) {
        for conn in self.parts.blocked.clone() {
            let parts = &mut self.parts;
            let Some(session) = parts.clients.get_mut(conn) else {
                parts.blocked.retain(|c| *c != conn);
                continue;
            };
            let Some(Blocked::Wait { wish, until_us }) = session.blocked.as_deref() else {
                continue;
            };
            if let Some(error) = wish.vain(&parts.config) {
                // The log was turned off meanwhile.
                parts.fail(conn, error);
                continue;
            }
            let state = wish.state(&parts.replication, &parts.persistence);
            if wish.fulfilled(state) || until_us.is_some_and(|until| now.mono_us >= until) {
                wish.answer(state, &mut session.out);
                parts.unblock(conn);
            }
        }
    }
}
