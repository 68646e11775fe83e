//! What must not leave before nodes.conf holds what it says: votes, requests for votes, promotions.

use super::bus::Kind;
use super::node::{Flags, NodeKey};
use super::{Cluster, Decision};
use crate::Now;
use bytes::Bytes;

/// Something that waits for a version to be durable.
#[derive(Clone, Debug)]
pub enum Held {
    /// A request for votes in this epoch, for everyone; void if the election is over by then.
    AuthRequest {
        /// The election.
        epoch: u64,
        /// The packet.
        packet: Bytes,
    },
    /// A vote.
    Vote {
        /// For whom.
        candidate: NodeKey,
        /// The packet.
        packet: Bytes,
    },
    /// Our new claim to slots, for everyone.
    Pong,
    /// We are a primary now; void if we are not any more.
    Promotion,
}

impl Cluster {
    /// Holds something until a version is durable. On a disk that takes nothing the queue stays short: of
    /// requests, votes and promotions only the last one is of use, of claims two are enough.
    pub(super) fn hold(&mut self, version: u64, held: Held) {
        debug_assert!(
            self.held.back().is_none_or(|(last, _)| *last <= version),
            "versions rise"
        );
        let same = |other: &Held| core::mem::discriminant(other) == core::mem::discriminant(&held);
        let keep = usize::from(matches!(held, Held::Pong));
        let mut seen = 0;
        self.held.retain(|(_, other)| {
            seen += usize::from(same(other));
            !same(other) || seen <= keep
        });
        self.held.push_back((version, held));
    }

    /// Lets go what the durable version covers.
    pub(super) fn release(&mut self, now: Now) {
        while let Some((version, _)) = self.held.front() {
            if *version > self.saver.durable() {
                break;
            }
            let Some((_, held)) = self.held.pop_front() else {
                break;
            };
            match held {
                Held::AuthRequest { epoch, packet } => {
                    if self.election.awaits(epoch) {
                        self.broadcast(Kind::AuthRequest, &packet);
                    }
                }
                Held::Vote { candidate, packet } => {
                    if let Some(conn) = self.nodes.get(candidate).and_then(|node| node.link) {
                        self.send(conn, Kind::AuthAck, packet);
                    }
                }
                Held::Pong => self.pong_all(now),
                Held::Promotion => {
                    if !self.is_replica() && self.told.take().is_some() {
                        self.decide(Decision::Promote);
                    }
                }
            }
        }
    }

    /// Whether our claim to the slots of a former primary still waits for the disk: until then we serve
    /// none of them.
    pub(super) fn promotion_pending(&self) -> bool {
        self.held
            .iter()
            .any(|(_, held)| matches!(held, Held::Promotion))
    }

    /// Sends a packet to every member that there is a link to.
    pub(super) fn broadcast(&mut self, kind: Kind, packet: &Bytes) {
        let skip = Flags::MYSELF.with(Flags::HANDSHAKE);
        let conns: alloc::vec::Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.flags.any(skip))
            .filter_map(|(_, node)| node.link)
            .collect();
        for conn in conns {
            self.send(conn, kind, packet.clone());
        }
    }
}
