//! Connections: opened, accepted, closed, and whose bytes go where.

use super::Engine;
use super::links::LinkKind;
use crate::client::{Session, alert, limits};
use crate::face::{Address, ConnId, Effect, Listener, Now};
use alloc::boxed::Box;
use alloc::string::String;

impl Engine {
    /// Opens a connection.
    pub(super) fn open(&mut self, host: String, port: u16, kind: LinkKind) -> ConnId {
        let conn = self.links.name(kind);
        let config = &self.parts.config;
        let tls = match kind {
            LinkKind::Primary => config.tls_replication,
            // Keys go to another server of the cluster.
            LinkKind::Bus | LinkKind::Target => config.tls_cluster,
        };
        self.parts.outbox.push_back(Effect::Connect {
            conn,
            host,
            port,
            tls,
        });
        conn
    }

    /// Closes a connection of any kind, at once.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.links.remove(conn);
        self.forget(conn);
        self.parts.outbox.push_back(Effect::Close { conn });
    }

    /// Closes the connections that commands and limits have condemned.
    pub(super) fn close_doomed(&mut self, now: Now) {
        while let Some(conn) = self.parts.clients.next_doomed() {
            if self.is_link(conn) || self.parts.clients.get(conn).is_some() {
                self.closed(now, conn, "");
                self.parts.outbox.push_back(Effect::Close { conn });
            }
        }
    }

    pub(super) fn connected(&mut self, now: Now, conn: ConnId, peer: &Address, local: &Address) {
        match self.links.kind(conn) {
            None => {}
            Some(LinkKind::Primary) => {
                self.links.opened(conn, peer, local);
                self.parts
                    .replication
                    .connected(now, &mut self.parts.journal, conn);
            }
            Some(LinkKind::Bus) => self.bus_connected(now, conn, peer, local),
            Some(LinkKind::Target) => self.parts.transfers.opened(conn),
        }
    }

    pub(super) fn closed(&mut self, now: Now, conn: ConnId, reason: &str) {
        let kind = self.links.remove(conn);
        self.forget(conn);
        if kind == Some(LinkKind::Bus) {
            self.with_cluster(now, |cluster| cluster.on_closed(now, conn));
        } else if kind == Some(LinkKind::Target) {
            self.parts.transfers.closed(conn);
        } else {
            if kind == Some(LinkKind::Primary) {
                self.end_stream();
            }
            self.parts
                .replication
                .closed(now, &mut self.parts.journal, conn, reason);
        }
    }

    /// Whether a connection is a link between servers.
    pub(crate) fn is_link(&self, conn: ConnId) -> bool {
        self.links.kind(conn).is_some()
    }

    /// Bytes of a connection, if it is a link between servers.
    pub(crate) fn receive_link(&mut self, conn: ConnId, bytes: &[u8]) {
        match self.links.kind(conn) {
            None => {}
            Some(LinkKind::Primary) => {
                self.parts.stats.replication_in += bytes.len() as u64;
                self.parts
                    .replication
                    .receive(self.now, &mut self.parts.journal, conn, bytes);
                self.settle_replication(self.now);
            }
            Some(LinkKind::Bus) => {
                let now = self.now;
                self.with_cluster(now, |cluster| cluster.on_bytes(now, conn, bytes));
            }
            Some(LinkKind::Target) => self.parts.transfers.receive(conn, bytes, self.now),
        }
    }

    pub(super) fn accepted(
        &mut self,
        now: Now,
        conn: ConnId,
        listener: Listener,
        peer: Address,
        local: Address,
    ) {
        let parts = &mut self.parts;
        let bus = parts.cluster.as_ref().map_or(0, |c| c.connections());
        let refusal = limits::refusal(
            &parts.config,
            parts.acl.is_open(),
            &peer,
            parts.clients.len(),
            bus,
        );
        let id = parts.clients.take_id();
        let mut session = Session::new(id, conn, listener, peer, local, now);
        match refusal {
            Some(error) => {
                parts.stats.rejected_connections += 1;
                session.out.error(error);
                session.set(alert::CLOSING, true);
            }
            None => {
                parts.stats.connections += 1;
                crate::command::permission::begin(&parts.acl, &mut session);
            }
        }
        parts.clients.add(session);
        parts.clients.queue_output(conn);
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        let Some(mut session) = self.parts.clients.remove(conn) else {
            return;
        };
        let transaction = self.parts.transaction.as_mut();
        match transaction.filter(|t| t.conn == conn && t.gone.is_none()) {
            // What was begun is ended.
            Some(transaction) => {
                session.blocked = None;
                transaction.gone = Some(session);
            }
            None => self.let_go(session),
        }
    }

    /// A session has ended: nobody knows it any more.
    pub(crate) fn let_go(&mut self, mut session: Box<Session>) {
        crate::command::execute::discard(&mut self.parts, &mut session);
        crate::command::blocking::forget(&mut self.parts, &mut session);
        crate::command::pubsub::forget(&mut self.parts, &mut session);
        crate::command::monitor::forget(&mut self.parts, &mut session);
        crate::command::tracking::forget(&mut self.parts, &mut session);
    }
}
