//! When a node counts as failed.
//!
//! A node that leaves a ping unanswered for the node timeout is *suspected* (PFAIL): our own view, told in
//! gossip. Reports of primaries that own slots, no older than twice the timeout, are counted; once they and
//! we are a majority of such primaries, the node has *failed* (FAIL), and everyone is told at once.

use super::bus::{Body, Kind};
use super::node::{Flags, NodeKey};
use super::{Cluster, NodeId};
use crate::{LogLevel, Now};
use alloc::format;

/// Reports are valid, and a failure is not undone, for this many node timeouts.
const VALID: u64 = 2;

impl Cluster {
    /// A member's opinion of another's condition.
    pub(super) fn hear_report(&mut self, now: Now, sender: NodeKey, about: NodeKey, failing: bool) {
        if !self.nodes.get(sender).is_some_and(|node| node.is_primary()) {
            return;
        }
        let Some(node) = self.nodes.get_mut(about) else {
            return;
        };
        let news = if failing {
            node.reports.insert(sender, now.mono_ms()).is_none()
        } else {
            node.reports.remove(&sender).is_some()
        };
        if news {
            let what = if failing {
                "as not reachable"
            } else {
                "is back online"
            };
            let [reporter, subject] = [sender, about].map(|key| self.nodes.node(key).shown());
            self.log(
                LogLevel::Verbose,
                format!("Node {reporter} reported node {subject} {what}."),
            );
        }
        if failing {
            self.fail_if_agreed(now, about);
        }
    }

    /// How many members reported a node lately; older reports are dropped.
    pub(super) fn count_reports(&mut self, now: Now, about: NodeKey) -> usize {
        let oldest = now
            .mono_ms()
            .saturating_sub(self.settings.node_timeout_ms * VALID);
        let Some(node) = self.nodes.get_mut(about) else {
            return 0;
        };
        node.reports.retain(|_, at| *at >= oldest);
        node.reports.len()
    }

    /// Marks a suspect as failed if a majority says so.
    pub(super) fn fail_if_agreed(&mut self, now: Now, about: NodeKey) {
        if !self
            .nodes
            .get(about)
            .is_some_and(|node| node.suspected() && !node.failed())
        {
            return;
        }
        self.count_reports(now, about);
        // Only those who could vote count, as the quorum counts only them (C10).
        let voices = self
            .nodes
            .node(about)
            .reports
            .keys()
            .filter(|by| self.nodes.get(**by).is_some_and(|n| n.votes()));
        let voices = voices.count() + usize::from(self.nodes.me().votes());
        if voices < self.quorum() {
            return;
        }
        let id = self.nodes.node(about).id;
        self.log(
            LogLevel::Notice,
            format!(
                "Marking node {} as failing (quorum reached).",
                self.nodes.node(about).shown()
            ),
        );
        self.mark_failed(now, about);
        if let Some(packet) = self.durable_packet(Body::Fail { node: id }) {
            self.broadcast(Kind::Fail, &packet);
        }
    }

    /// A member says that a majority agreed.
    pub(super) fn hear_fail(&mut self, now: Now, sender: NodeId, failing: NodeId) {
        let Some(key) = self.nodes.find(&failing) else {
            return;
        };
        if self
            .nodes
            .node(key)
            .flags
            .any(Flags::FAIL.with(Flags::MYSELF))
        {
            return;
        }
        let sender = self
            .nodes
            .find(&sender)
            .map(|key| self.nodes.node(key).shown());
        let (sender, shown) = (sender.unwrap_or_default(), self.nodes.node(key).shown());
        self.log(
            LogLevel::Notice,
            format!("FAIL message received from {sender} about {shown}"),
        );
        self.mark_failed(now, key);
    }

    fn mark_failed(&mut self, now: Now, key: NodeKey) {
        let node = self.nodes.node_mut(key);
        node.flags.clear(Flags::PFAIL);
        node.flags.set(Flags::FAIL);
        node.fail_time = now.mono_ms();
        self.todo.update_state = true;
        // A replica of it need not wait for the next round to begin its election.
        self.todo.failover = true;
        self.touch(false);
    }

    /// A node answered: it is not suspect, and perhaps not failed any more.
    pub(super) fn hear_life(&mut self, now: Now, key: NodeKey) {
        let undo_ms = self.settings.node_timeout_ms * VALID;
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        if node.suspected() {
            node.flags.clear(Flags::PFAIL);
        } else if node.failed() {
            // A primary whose slots nobody took over in all that time may have them back.
            let idle = node.is_replica() || node.slots.is_empty();
            let stale = now.mono_ms().saturating_sub(node.fail_time) > undo_ms;
            if !idle && !stale {
                return;
            }
            let why = match (idle, node.is_replica()) {
                (true, true) => "replica is reachable again.",
                (true, false) => "master without slots is reachable again.",
                (false, _) => "is reachable again and nobody is serving its slots after some time.",
            };
            node.flags.clear(Flags::FAIL);
            let text = format!("Clear FAIL state for node {}: {why}", node.shown());
            self.log(LogLevel::Notice, text);
        } else {
            return;
        }
        self.todo.update_state = true;
        self.touch(false);
    }

    /// Suspects a node that has been silent for too long; true if it was not suspected before.
    pub(super) fn suspect(&mut self, now: Now, key: NodeKey) -> bool {
        let Some(node) = self.nodes.get_mut(key) else {
            return false;
        };
        if node.flags.any(Flags::FAIL.with(Flags::PFAIL)) {
            return false;
        }
        node.flags.set(Flags::PFAIL);
        let text = format!("*** NODE {} possibly failing", node.shown());
        self.log(LogLevel::Debug, text);
        // The others' reports may be here already.
        self.fail_if_agreed(now, key);
        true
    }
}
