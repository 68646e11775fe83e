//! What follows the chaos: the world must answer, agree, and survive an orderly restart.
//!
//! ```text
//! Core       some stay away, frozen as they are; the others must serve every key         (L1)
//! Audit      all are healed; every group of keys is read until it was answered once      (L3)
//! Converge   replicas catch up, slot maps agree                                          (L2, R1, C2, C5)
//! Restart    all are asked to end, and come back with what they had                      (D3)
//! ```

use super::nodes::node_timeout;
use super::{Event, Phase, World};
use crate::checkers::Violation;
use crate::checkers::cluster::Cluster;
use crate::client::Client;
use crate::history::Outcome as Fate;
use crate::node::Node;
use crate::plan::Kind;
use crate::probe::Standing;
use crate::time::{MS, Micros, SEC};
use std::collections::BTreeSet;

impl World<'_> {
    /// The end of chaos: everything works again, and stays so, but for those that can be spared for now.
    pub(super) fn heal(&mut self) {
        let now = self.now;
        self.spared = self.choose_spared();
        for client in &mut self.clients {
            client.stop();
        }
        self.net.heal(now);
        let core = (0..self.nodes.len() as u16).filter(|id| !self.spared.contains(id));
        let core: Vec<u16> = core.collect();
        for &id in &core {
            self.heal_node(id);
        }
        if self.plan.kind == Kind::Replicated {
            // Orders that crossed or were lost may have left servers that follow each other in a circle.
            self.operator.forget();
            self.promote(self.chosen);
        }
        if self.spared.is_empty() {
            self.enter(Phase::Audit);
        } else {
            self.enter(Phase::Core);
            self.isolate(true);
        }
        self.place_all();
        self.queue.push(now + SEC, Event::Look);
    }

    fn heal_node(&mut self, id: u16) {
        let now = self.now;
        let node = &mut self.nodes[usize::from(id)];
        *node.disk.faults() = Default::default();
        node.clock.heal();
        node.slowness = 1;
        node.paused_until = now;
        node.dies_after = None;
        if !node.running() {
            self.boot(id);
        }
        self.schedule_node(id);
    }

    /// Those that stay away while the others must serve: nodes that are down, as long as a majority of the primaries
    /// is left and a fresh replica of each primary among them. Where all run, one that can be spared is cut off or
    /// killed.
    fn choose_spared(&mut self) -> BTreeSet<u16> {
        let all = 0..self.nodes.len() as u16;
        let down: Vec<u16> = all
            .clone()
            .filter(|&id| !self.nodes[usize::from(id)].running())
            .collect();
        match self.plan.kind {
            Kind::Replicated => down.into_iter().filter(|&id| id != self.chosen).collect(),
            Kind::Cluster => {
                // Views differ, and none need know of a takeover just made: whoever owns slots in one of them may.
                let owners: BTreeSet<u16> = self.owners.iter().flatten().copied().collect();
                let mut wanted = down;
                if wanted.is_empty() {
                    // Any will do: each seed tries another first.
                    let turn = (self.plan.seed % self.nodes.len() as u64) as u16;
                    wanted = all.clone().map(|id| (id + turn) % all.end).collect();
                    wanted.retain(|id| owners.contains(id));
                }
                wanted.sort_by_key(|id| !owners.contains(id));
                let running = wanted
                    .iter()
                    .any(|&id| self.nodes[usize::from(id)].running());
                let mut spared = BTreeSet::new();
                for id in wanted {
                    if (!running || spared.is_empty()) && self.can_spare(id, &spared, &owners) {
                        spared.insert(id);
                    }
                }
                spared
            }
            _ => BTreeSet::new(),
        }
    }

    fn can_spare(&self, id: u16, spared: &BTreeSet<u16>, owners: &BTreeSet<u16>) -> bool {
        let mut without = spared.clone();
        without.insert(id);
        let left = owners.difference(&without).count();
        let has_heir = |owner: u16| {
            self.followed.iter().any(|(replica, (at, replid))| {
                !without.contains(replica)
                    && !owners.contains(replica)
                    && self.nodes[usize::from(*replica)]
                        .standing()
                        .is_some_and(|standing| standing.replid == *replid)
                    && !self.nodes[usize::from(*replica)].asked
                    && at + 8 * SEC > self.now
                    && self.reigns.ruler(replid, &self.history) == Some(owner)
            })
        };
        let lost = without.intersection(owners);
        left > owners.len() / 2 && lost.copied().all(has_heir)
    }

    /// What runs of the spared is cut off from the other nodes, or killed; or it comes back.
    fn isolate(&mut self, away: bool) {
        let now = self.now;
        let nodes = self.nodes.len() as u16;
        for id in self.spared.clone() {
            self.tell(|| {
                format!(
                    "n{id} is {} while the core is tried",
                    if away { "away" } else { "back" }
                )
            });
            let kills = self.plan.seed.is_multiple_of(2);
            if away && kills && self.nodes[usize::from(id)].running() {
                let fork = self.fork_at_death(id);
                self.kill(id, true, fork);
            }
            for other in (0..nodes).filter(|&other| other != id) {
                self.net.block(now, id, other, away);
                self.net.block(now, other, id, away);
            }
        }
    }

    /// Looks, from the end of chaos on, whether the phase's goal is reached.
    pub(super) fn look(&mut self) {
        let now = self.now;
        let nodes = 0..self.nodes.len() as u16;
        let reading = matches!(self.phase, Phase::Core | Phase::Audit);
        if reading && self.phase_since + 2 * SEC > now {
            // Clients finish what they had begun.
        } else if reading && self.recovered_in.is_none() {
            self.recovered_in = Some(Micros::MAX);
            // Where some are away, a client that waits long for them learns nothing: with three of four away it asks
            // four times for each group.
            let patience = match self.phase {
                Phase::Core => SEC / 2,
                _ => 5 * SEC,
            };
            self.clients[0].audit(now, 0..self.plan.groups, patience);
            self.queue.push(now, Event::Client { client: 0 });
        } else if self.phase == Phase::Core
            && self.clients[0].audited()
            && self.clients.iter().all(Client::idle)
        {
            self.core_served_in = Some(now - self.phase_since);
            self.marks.hit("core.served");
            self.recovered_in = None;
            self.isolate(false);
            for id in std::mem::take(&mut self.spared) {
                self.heal_node(id);
            }
            self.place_all();
            self.enter(Phase::Audit);
        } else if self.phase == Phase::Audit
            && self.clients[0].audited()
            && self.clients.iter().all(Client::idle)
        {
            self.recovered_in = Some(now - self.phase_since);
            self.enter(Phase::Converge);
        }
        if self.phase == Phase::Converge
            && self.plan.kind == Kind::Replicated
            && (now - self.phase_since) % (10 * SEC) >= 10 * SEC - 100 * MS
        {
            // A server that was late to restart follows whom its file names: that may close a circle.
            self.promote(self.chosen);
        }
        if self.phase == Phase::Converge && self.converged() {
            self.enter(Phase::Restart);
            nodes.clone().for_each(|node| self.terminate(node));
        } else if self.phase == Phase::Restart {
            let up = |node: &Node| node.standing().is_some_and(|standing| !standing.loading);
            let back =
                self.returning.is_empty() && self.leaving.is_empty() && self.nodes.iter().all(up);
            if back {
                self.enter(Phase::Over);
            } else if (now - self.phase_since) % (5 * SEC) < 100 * MS {
                // A node whose disk has failed it calls its end off until it has written everything anew.
                self.leaving
                    .clone()
                    .into_keys()
                    .for_each(|node| self.terminate(node));
            }
        }
        let limit = match self.phase {
            // Fifteen node timeouts for elections that are disputed, and what clients take to find their way.
            Phase::Core => 15 * node_timeout(&self.plan.programs[0]).min(2 * SEC) + 15 * SEC,
            _ => self.plan.recovery_us,
        };
        if self.phase_since + limit < now && self.phase != Phase::Over {
            let text = format!(
                "{} s after the end of all faults the phase {:?} is not over: {}",
                (now - self.phase_since) / SEC,
                self.phase,
                self.waiting_for()
            );
            let invariant = match self.phase {
                Phase::Core => "L1",
                Phase::Audit => "L3",
                _ => "L2",
            };
            self.violations
                .push(Violation::liveness(invariant, now, text));
        }
        self.queue.push(now + 100 * MS, Event::Look);
    }

    pub(super) fn converged(&mut self) -> bool {
        let standings: Vec<Standing> = self.nodes.iter().filter_map(Node::standing).collect();
        let all = standings.len() == self.nodes.len();
        if !all || standings.iter().any(|standing| standing.loading) {
            return false;
        }
        let position = |standing: &Standing| (standing.replid, standing.offset);
        let primaries: Vec<_> = standings
            .iter()
            .filter(|standing| standing.primary)
            .map(position)
            .collect();
        let replicas = standings.iter().filter(|standing| !standing.primary);
        let followed = replicas
            .clone()
            .all(|one| one.link_up && primaries.contains(&position(one)));
        let views: Vec<_> = self.nodes.iter().filter_map(Node::cluster).collect();
        if !followed || (!views.is_empty() && !Cluster::converged(&views)) {
            return false;
        }
        for id in 0..self.nodes.len() as u16 {
            let node = &self.nodes[usize::from(id)];
            if let (Some(standing), Some(dump)) = (node.standing(), node.dump()) {
                self.violations
                    .extend(self.replication.sample(id, self.now, &standing, &dump));
            }
        }
        self.violations.extend(Cluster::audit(self.now, &views));
        true
    }

    pub(super) fn waiting_for(&self) -> String {
        let mut text = String::new();
        for op in self
            .history
            .ops
            .iter()
            .filter(|op| op.outcome == Fate::Pending)
            .take(5)
        {
            text.push_str(&format!("\n  {}", op.describe()));
        }
        if let Some(op) = self
            .history
            .ops
            .iter()
            .rev()
            .find(|op| matches!(op.outcome, Fate::Refused(_)))
        {
            text.push_str(&format!("\n  last refused: {}", op.describe()));
        }
        for client in self.clients.iter().filter(|client| !client.idle()) {
            text.push_str(&format!("\n  {}", client.describe()));
        }
        for node in &self.nodes {
            text.push_str(&format!("\n  n{} {:?}", node.id, node.standing()));
            for line in node.log.iter().rev().take(4).rev() {
                text.push_str(&format!("\n     │ {line}"));
            }
        }
        text
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.tell(|| format!("phase {phase:?}"));
        self.phase = phase;
        self.phase_since = self.now;
    }
}
