//! Spare replicas move to primaries that have none left.

use super::Cluster;
use super::cron::Shards;
use super::node::{Flags, NodeKey};
use super::state::State;
use crate::{LogLevel, Now};

/// A primary must have been without replicas for this long, in milliseconds: in a failover its replicas
/// take a moment to say whom they follow now.
const DELAY_MS: u64 = 5000;

impl Cluster {
    /// Follows an orphaned primary if it falls to us: of the primaries with the most working replicas, the
    /// one replica with the smallest name goes.
    pub(super) fn migrate_to_orphan(&mut self, now: Now, shards: Shards) {
        let candidates = shards.orphans > 0 && shards.most >= 2 && shards.mine == shards.most;
        if !candidates || !self.settings.allow_replica_migration || self.health.state() != State::Ok
        {
            return;
        }
        let me = self.nodes.my_key();
        let Some(primary) = self.nodes.me().primary.and_then(|key| self.nodes.get(key)) else {
            return;
        };
        let bad = Flags::FAIL.with(Flags::PFAIL);
        let working = primary
            .replicas
            .iter()
            .filter(|key| self.nodes.get(**key).is_some_and(|n| !n.flags.any(bad)));
        if working.count() <= self.settings.migration_barrier {
            return;
        }
        let mut chosen = me;
        let mut target: Option<NodeKey> = None;
        for key in self.nodes.keys() {
            let working = self.working_replicas(key);
            let orphan = self.is_orphan(key, working);
            let node = self.nodes.node_mut(key);
            node.orphaned_since = orphan.then(|| node.orphaned_since.unwrap_or(now.mono_ms()));
            if orphan && target.is_none() && !node.slots.is_empty() {
                target = Some(key);
            }
            if node.is_primary() && working == shards.most {
                for replica in &self.nodes.node(key).replicas {
                    if self.nodes.node(*replica).id < self.nodes.node(chosen).id {
                        chosen = *replica;
                    }
                }
            }
        }
        let Some(target) = target.filter(|_| chosen == me) else {
            return;
        };
        let node = self.nodes.node(target);
        let since = node.orphaned_since.unwrap_or(now.mono_ms());
        if now.mono_ms().saturating_sub(since) > DELAY_MS {
            let text = alloc::format!("Migrating to orphaned master {}", node.id);
            self.log(LogLevel::Warning, text);
            self.set_primary(target);
        }
    }

    fn is_orphan(&self, key: NodeKey, working: usize) -> bool {
        let node = self.nodes.node(key);
        node.is_primary() && !node.failed() && working == 0 && node.flags.any(Flags::MIGRATE_TO)
    }
}
