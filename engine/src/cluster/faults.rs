//! Faults that tests of clusters ask for by DEBUG: connections cut, packets of one kind not heard.

use super::{Cluster, NodeId};
use crate::{ConnId, LogLevel, Now};

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Packets of this number are not heard.
    deaf_to: Option<u16>,
    /// Who sends one is cut off.
    cuts: bool,
}

/// Which connections with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    All,
    /// The one that the node opened.
    From,
    /// The one that we opened.
    To,
}

impl Cluster {
    /// Cuts connections with a node; false if it is unknown, or is this one.
    pub fn cut(&mut self, now: Now, id: &NodeId, which: Direction) -> bool {
        let Some(node) = self.nodes.find(id).and_then(|key| self.nodes.get(key)) else {
            return false;
        };
        let ends = [(Direction::To, node.link), (Direction::From, node.inbound)];
        for (direction, conn) in ends {
            if let Some(conn) = conn.filter(|_| which == direction || which == Direction::All) {
                self.close(conn);
            }
        }
        self.settle(now);
        true
    }

    /// Packets of this number are not heard from now on; of a number that there is none of: all are.
    pub fn set_deaf_to(&mut self, kind: i64) {
        self.faults.deaf_to = u16::try_from(kind).ok();
    }

    /// Whether who sends a packet that is not heard is cut off, too.
    pub fn set_cuts(&mut self, cuts: bool) {
        self.faults.cuts = cuts;
    }

    /// Whether a packet is not heard.
    pub(super) fn ignores(&mut self, conn: ConnId, kind: u16) -> bool {
        if self.faults.deaf_to != Some(kind) {
            return false;
        }
        self.log(
            LogLevel::Warning,
            "Packet that matches debug drop filter".into(),
        );
        if self.faults.cuts {
            self.close(conn);
        }
        true
    }
}
