//! Connections that are not clients': to our primary, to those that keys are moved to, and the cluster bus, both
//! ways.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::face::{Address, ConnId};
use crate::resp::Output;

/// Whom a link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// The link to our primary.
    Primary,
    /// A link of the cluster bus.
    Bus,
    /// The link to a server that keys are moved to.
    Target,
}

#[derive(Debug)]
struct Link {
    kind: LinkKind,
    /// The peer's end and ours, as far as anybody asks.
    ends: Option<(Address, Address)>,
    out: Output,
    queued: bool,
}

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<ConnId, Link>,
    opened: u64,
    ready: VecDeque<ConnId>,
}

impl Links {
    /// A name for a connection that we open.
    pub fn name(&mut self, kind: LinkKind) -> ConnId {
        self.opened += 1;
        let conn = ConnId::outgoing(self.opened);
        self.add(conn, kind);
        conn
    }

    /// A connection that came in.
    pub fn add(&mut self, conn: ConnId, kind: LinkKind) {
        self.links.insert(
            conn,
            Link {
                kind,
                ends: None,
                out: Output::default(),
                queued: false,
            },
        );
    }

    /// A connection that we opened is there.
    pub fn opened(&mut self, conn: ConnId, peer: &Address, local: &Address) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.ends = Some((peer.clone(), local.clone()));
        }
    }

    /// The peer's end and ours of a connection that is [opened](Links::opened).
    pub fn ends(&self, conn: ConnId) -> Option<(Address, Address)> {
        self.links.get(&conn)?.ends.clone()
    }

    /// Whose a connection is; `None` if it is a client's.
    pub fn kind(&self, conn: ConnId) -> Option<LinkKind> {
        self.links.get(&conn).map(|link| link.kind)
    }

    /// Forgets a connection; says whose it was.
    pub fn remove(&mut self, conn: ConnId) -> Option<LinkKind> {
        self.links.remove(&conn).map(|link| link.kind)
    }

    /// Queues bytes.
    pub fn send(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.out.shared(bytes);
        if !link.queued {
            link.queued = true;
            self.ready.push_back(conn);
        }
    }

    /// The next connection with something to send.
    pub fn next_ready(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.ready.pop_front() {
            if let Some(link) = self.links.get_mut(&conn) {
                link.queued = false;
                if link.out.pending() > 0 {
                    return Some(conn);
                }
            }
        }
        None
    }

    /// What waits to be sent.
    pub fn output(&self, conn: ConnId) -> Option<&Output> {
        self.links.get(&conn).map(|link| &link.out)
    }

    /// Bytes that wait to be sent on links of a kind, where there are any.
    pub fn unsent(&self, kind: LinkKind) -> Vec<(ConnId, u64)> {
        let links = self.links.iter().filter(|(_, link)| link.kind == kind);
        let unsent = links.map(|(conn, link)| (*conn, link.out.pending()));
        unsent.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// The network took some.
    pub fn advance(&mut self, conn: ConnId, n: usize) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.out.advance(n);
        }
    }
}
