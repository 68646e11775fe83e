//! Epochs: whose claim to a slot is the newer one.
//!
//! Every primary claims its slots under a config epoch; the higher one wins. Epochs come from elections,
//! which make them unique, or, at an operator's wish or at the end of a slot's migration, from a node on its
//! own; then two nodes may pick the same, and one of them must pick again.

use super::node::{Flags, NodeKey};
use super::slots::{Bitmap, bit};
use super::state::State;
use super::{Cluster, Decision};
use crate::LogLevel;
use crate::value::slot::SLOTS;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// Slots whose import an operator declared complete a moment ago, or that were taken from another by DELSLOTS and
/// ADDSLOTS, as `redis-cli --cluster fix` does: from whom each came, and until when (monotonic milliseconds) that node
/// may not have heard of it. If it took a new epoch just before, of which we did not know, its
/// claim looks newer than ours: then we take a newer one, or the slot would be nobody's, once the operator has told
/// the source too (KB-95).
pub(super) type Imported = BTreeMap<u16, (NodeKey, u64)>;

/// A claim to slots, as a packet brings it.
pub(super) struct Claim<'a> {
    /// Whose it is.
    pub node: NodeKey,
    /// Its epoch.
    pub epoch: u64,
    /// Its slots.
    pub slots: &'a Bitmap,
    /// The claimant itself says so and serves its slots now.
    pub serving: bool,
}

impl Cluster {
    /// The highest epoch that we know of.
    pub(super) fn max_epoch(&self) -> u64 {
        self.nodes.max_config_epoch().max(self.current_epoch)
    }

    /// Gives ourselves the highest epoch without asking anyone; false if we have it already.
    pub(super) fn bump_epoch(&mut self) -> bool {
        let mine = self.nodes.me().config_epoch;
        if mine != 0 && mine == self.max_epoch() {
            return false;
        }
        let epoch = self.take_next_epoch();
        self.log(LogLevel::Warning, format!("New configEpoch set to {epoch}"));
        true
    }

    fn take_next_epoch(&mut self) -> u64 {
        self.current_epoch = self.max_epoch().saturating_add(1);
        self.nodes.me_mut().config_epoch = self.current_epoch;
        self.touch(true);
        self.current_epoch
    }

    /// Another primary has our epoch. The one with the smaller name takes a new one; unless both claim the
    /// same slots and only one serves them: then the one that serves does, so that a primary that comes back
    /// cannot win its slots again with old data by its name alone (KB-03).
    pub(super) fn resolve_collision(
        &mut self,
        other: NodeKey,
        other_slots: &Bitmap,
        other_down: bool,
    ) {
        let me = self.nodes.me();
        let Some(node) = self.nodes.get(other) else {
            return;
        };
        if !me.is_primary() || !node.is_primary() || node.config_epoch != me.config_epoch {
            return;
        }
        let contested = me.slots.iter().any(|slot| bit(other_slots, slot));
        let mine_down = self.health.state() == State::Fail;
        let i_move = match (contested, mine_down, other_down) {
            (true, false, true) => true,
            (true, true, false) => false,
            _ => me.id < node.id,
        };
        if !i_move {
            return;
        }
        let id = node.id;
        let epoch = self.take_next_epoch();
        let text =
            format!("WARNING: configEpoch collision with node {id}. configEpoch set to {epoch}");
        self.log(LogLevel::Verbose, text);
    }

    /// Binds slots to a claim where it is newer than what we have, and draws the consequences: a node that
    /// loses its last slot, or whose primary does, follows the winner.
    pub(super) fn hear_claim(&mut self, claim: &Claim<'_>) {
        let me = self.nodes.my_key();
        if claim.node == me {
            self.log(
                LogLevel::Warning,
                "Discarding UPDATE message about myself.".into(),
            );
            return;
        }
        let my_primary = self.nodes.primary_of(me);
        let (mut claimed, mut ours, mut lost) = (0, Vec::new(), Vec::new());
        let mut insist = None;
        for slot in 0..SLOTS {
            let owner = self.nodes.slots.owner(slot);
            let from_it = (self.imported.get(&slot)).is_some_and(|(from, _)| *from == claim.node);
            if !bit(claim.slots, slot) {
                if from_it {
                    self.imported.remove(&slot);
                }
                if owner == Some(claim.node) {
                    // It gave the slot up, but who has it now is not known yet.
                    self.nodes.slots.unclaimed.insert(slot);
                }
                continue;
            }
            claimed += 1;
            if owner == Some(claim.node) {
                self.nodes.slots.unclaimed.remove(slot);
                continue;
            }
            if !self.claim_wins(slot, claim) {
                continue;
            }
            if owner == Some(me) && from_it {
                insist = Some(slot);
                continue;
            }
            if owner == Some(me) {
                lost.push(slot);
            }
            if owner.is_some() && owner == my_primary {
                ours.push(slot);
            }
            if let Some(source) = self
                .nodes
                .slots
                .importing
                .get_mut(&slot)
                .filter(|source| Some(**source) == owner)
            {
                // The slot that we import has a new owner, a failover's winner: go on with that one.
                *source = claim.node;
            }
            self.nodes.slots.migrating.remove(&slot);
            self.nodes.assign(slot, Some(claim.node));
            self.todo.update_state = true;
            self.touch(true);
        }
        if let Some(slot) = insist {
            self.insist(slot);
        }
        self.after_claim(claim, claimed, ours, lost);
    }

    /// Claims what an operator gave us under a newer epoch than that of whoever had it before.
    fn insist(&mut self, slot: u16) {
        let epoch = self.take_next_epoch();
        let text = format!("configEpoch set to {epoch}, since slot {slot} was imported already");
        self.log(LogLevel::Warning, text);
        let version = self.touch(true);
        self.hold(version, super::held::Held::Pong);
    }

    fn claim_wins(&self, slot: u16, claim: &Claim<'_>) -> bool {
        if self.nodes.slots.is_unclaimed(slot) {
            // While we import a slot, its end is the operator's to declare, by SETSLOT.
            return !self.nodes.slots.importing.contains_key(&slot)
                || self.nodes.slots.owner(slot).is_none();
        }
        let Some(owner) = self
            .nodes
            .slots
            .owner(slot)
            .and_then(|key| self.nodes.get(key))
        else {
            return true;
        };
        // At the same epoch a claimant that serves the slot beats a claim of ours that we do not serve.
        let yields = owner.flags.any(Flags::MYSELF)
            && owner.config_epoch == claim.epoch
            && claim.serving
            && self.health.state() == State::Fail;
        owner.config_epoch < claim.epoch || yields
    }

    fn after_claim(&mut self, claim: &Claim<'_>, claimed: usize, ours: Vec<u16>, lost: Vec<u16>) {
        let me = self.nodes.my_key();
        let shard = self.nodes.primary_of(me);
        let emptied = shard
            .and_then(|key| self.nodes.get(key))
            .is_some_and(|node| node.slots.is_empty());
        let id = self.nodes.node(claim.node).id;
        let follow = !ours.is_empty()
            && emptied
            && (self.settings.allow_replica_migration || claimed == ours.len());
        if follow && self.nodes.me().slots.is_empty() {
            let text =
                format!("Configuration change detected. Reconfiguring myself as a replica of {id}");
            self.log(LogLevel::Warning, text);
            self.set_primary(claim.node);
            return;
        }
        if !ours.is_empty() {
            self.decide(Decision::DropShardChannels { slots: ours });
        }
        if self.leave_sub_replica() {
            return;
        }
        if !lost.is_empty() {
            self.decide(Decision::DeleteSlotKeys { slots: lost });
        }
    }

    /// A replica's primary may itself have become a replica: follow that one's primary, unless that is us
    /// (KB-21).
    pub(super) fn leave_sub_replica(&mut self) -> bool {
        let me = self.nodes.my_key();
        let grand = self
            .nodes
            .me()
            .primary
            .and_then(|key| self.nodes.get(key))
            .and_then(|node| node.primary);
        let Some(grand) = grand.filter(|key| *key != me && self.nodes.me().slots.is_empty()) else {
            return false;
        };
        // Somebody who follows us, however far, cannot be followed.
        let mut up = Some(grand);
        for _ in 0..self.nodes.len() {
            let Some(key) = up else { break };
            if key == me {
                return false;
            }
            up = self.nodes.get(key).and_then(|node| node.primary);
        }
        let id = self.nodes.node(grand).id;
        let text =
            format!("I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {id}");
        self.log(LogLevel::Warning, text);
        self.set_primary(grand);
        true
    }

    /// Becomes a replica of a node. We have no slots.
    pub(super) fn set_primary(&mut self, primary: NodeKey) {
        let me = self.nodes.my_key();
        debug_assert!(primary != me && self.nodes.me().slots.is_empty());
        let before = if self.nodes.me().is_primary() {
            Some(me)
        } else {
            self.nodes.me().primary
        };
        let heir = before.is_some()
            && self
                .nodes
                .get(primary)
                .is_some_and(|node| node.former_primary == before);
        if before != Some(primary) {
            self.lineage.change(heir);
        }
        if self.nodes.me().is_primary() {
            self.nodes.make_replica(me);
            self.nodes.slots.migrating.clear();
            self.nodes.slots.importing.clear();
            self.imported.clear();
            // A promotion that the disk has not seen yet is void.
            self.held
                .retain(|(_, held)| !matches!(held, super::held::Held::Promotion));
        }
        self.nodes.follow(me, Some(primary));
        self.join_shard();
        self.election.reset();
        self.reset_manual();
        self.todo.update_state = true;
        self.touch(true);
    }
}
