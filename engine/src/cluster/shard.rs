//! Shards' names: 40 characters that a primary and its replicas share, whoever of them is the primary.
//!
//! Redis knows them since 7.2, where nodes tell theirs with every ping. Nothing is decided by them here: whose replica
//! a node is, its packets say, and a shard's name that comes late or not at all must not move anybody to another
//! shard (KB-04). To a Redis 7.0, which logs what it does not know, ours is told once a connection.
//!
//! A replica's name for its shard is its primary's, as soon as that has told it; until then it tells nobody. In
//! nodes.conf it is one more of the `vars`, over which a Redis 7.0 reads.

use super::Cluster;
use super::bus::{Extension, Kind};
use super::node::{NodeId, NodeKey};
use crate::ConnId;

impl Cluster {
    /// The name of this node's shard (CLUSTER MYSHARDID).
    pub fn my_shard(&self) -> NodeId {
        let me = self.nodes.me();
        me.shard.unwrap_or(me.id)
    }

    /// What a ping says of our shard. Who understands it is told always. Whether one does is found out with the first
    /// answer on a connection that it opened: by that, at the latest, it knows who we are.
    pub(super) fn shard_extension(
        &mut self,
        conn: ConnId,
        kind: Kind,
    ) -> Option<Extension<'static>> {
        let me = self.nodes.me();
        let sure = match me.primary.and_then(|key| self.nodes.get(key)) {
            Some(primary) if me.is_replica() => primary.shard.is_some(),
            _ => !me.is_replica(),
        };
        let shard = me.shard.filter(|_| sure)?;
        let link = self.links.get_mut(&conn)?;
        let understood = link
            .node
            .and_then(|key| self.nodes.get(key))
            .is_some_and(|node| node.shard.is_some());
        let first = kind == Kind::Pong && link.inbound && !link.told_shard;
        link.told_shard |= first;
        (understood || first).then_some(Extension::Shard(shard))
    }

    /// A member tells the name of its shard.
    pub(super) fn hear_shard(&mut self, sender: NodeKey, shard: NodeId) {
        self.nodes.node_mut(sender).shard = Some(shard);
        if self.is_replica() && self.nodes.me().primary == Some(sender) {
            self.join_shard();
        }
    }

    /// Our shard is our primary's, if we know its name.
    pub(super) fn join_shard(&mut self) {
        let me = self.nodes.me();
        let primary = me.primary.and_then(|key| self.nodes.get(key));
        let Some(shard) = primary.and_then(|node| node.shard) else {
            return;
        };
        if me.shard != Some(shard) {
            self.nodes.me_mut().shard = Some(shard);
            self.touch(false);
        }
    }

    /// We are alone: a shard with a name of its own.
    pub(super) fn leave_shard(&mut self) {
        let shard = NodeId::random(&mut self.rng);
        self.nodes.me_mut().shard = Some(shard);
        self.touch(true);
    }
}
