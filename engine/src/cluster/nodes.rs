//! Who is in the cluster, and which slots each owns: the map that every decision reads.
//!
//! Nodes refer to one another by [`NodeKey`]. Removing one removes every reference to it, so a key found in
//! the map leads to a node; keys that were kept elsewhere must be looked up with [`Nodes::get`].

use super::node::{Flags, Node, NodeId, NodeKey};
use super::slots::SlotTable;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// More members than this are not taken in: Redis Cluster is made for a thousand.
const MAX_NODES: usize = 16_384;

/// All known nodes and the slot table.
#[derive(Clone, Debug)]
pub struct Nodes {
    members: BTreeMap<NodeKey, Node>,
    names: BTreeMap<NodeId, NodeKey>,
    next: NonZeroU32,
    me: NodeKey,
    /// Who owns which slot. Owners change only through [`Nodes::assign`].
    pub slots: SlotTable,
}

impl Nodes {
    /// A cluster of one.
    pub fn new(me: Node) -> Nodes {
        let key = NodeKey(NonZeroU32::MIN);
        Nodes {
            names: BTreeMap::from([(me.id, key)]),
            members: BTreeMap::from([(key, me)]),
            next: NonZeroU32::MIN.saturating_add(1),
            me: key,
            slots: SlotTable::new(),
        }
    }

    /// The key of this node itself.
    pub fn my_key(&self) -> NodeKey {
        self.me
    }

    /// This node itself.
    pub fn me(&self) -> &Node {
        &self.members[&self.me]
    }

    /// This node itself.
    pub fn me_mut(&mut self) -> &mut Node {
        self.node_mut(self.me)
    }

    /// A node by a key that may be stale.
    pub fn get(&self, key: NodeKey) -> Option<&Node> {
        self.members.get(&key)
    }

    /// A node by a key that may be stale.
    pub fn get_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.members.get_mut(&key)
    }

    /// A node by a key just taken from this map.
    pub fn node(&self, key: NodeKey) -> &Node {
        &self.members[&key]
    }

    /// A node by a key just taken from this map.
    pub fn node_mut(&mut self, key: NodeKey) -> &mut Node {
        self.members
            .get_mut(&key)
            .expect("removal clears every reference to a node")
    }

    /// The node of a name.
    pub fn find(&self, id: &NodeId) -> Option<NodeKey> {
        self.names.get(id).copied()
    }

    /// The node of a name in text.
    pub fn find_text(&self, id: &[u8]) -> Option<NodeKey> {
        self.find(&NodeId::parse(id)?)
    }

    /// How many there are, this one and those in handshake included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never true: there is always this node itself.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All, in the order in which we came to know them.
    pub fn iter(&self) -> impl Iterator<Item = (NodeKey, &Node)> {
        self.members.iter().map(|(key, node)| (*key, node))
    }

    /// All, by name.
    pub fn by_name(&self) -> impl Iterator<Item = &Node> {
        self.names.values().map(|key| self.node(*key))
    }

    /// All keys, for loops that change nodes.
    pub fn keys(&self) -> Vec<NodeKey> {
        self.members.keys().copied().collect()
    }

    /// Takes in a node; `None` if its name is taken or there are too many.
    pub fn add(&mut self, node: Node) -> Option<NodeKey> {
        if self.names.contains_key(&node.id) || self.members.len() >= MAX_NODES {
            return None;
        }
        let key = NodeKey(self.next);
        self.next = self.next.checked_add(1)?;
        self.names.insert(node.id, key);
        self.members.insert(key, node);
        Some(key)
    }

    /// Forgets a node: its slots have no owner any more, its replicas no primary, its reports no effect.
    /// This node itself cannot be forgotten.
    pub fn remove(&mut self, key: NodeKey) -> Option<Node> {
        if key == self.me {
            return None;
        }
        self.unassign_all(key);
        self.slots.migrating.retain(|_, to| *to != key);
        self.slots.importing.retain(|_, from| *from != key);
        self.follow(key, None);
        let node = self.members.remove(&key)?;
        self.names.remove(&node.id);
        for other in self.members.values_mut() {
            other.reports.remove(&key);
            other.replicas.retain(|replica| *replica != key);
            for reference in [&mut other.primary, &mut other.former_primary] {
                if *reference == Some(key) {
                    *reference = None;
                }
            }
        }
        Some(node)
    }

    /// Gives a node its real name; false if another has it.
    pub fn rename(&mut self, key: NodeKey, id: NodeId) -> bool {
        if self.names.contains_key(&id) {
            return false;
        }
        let old = core::mem::replace(&mut self.node_mut(key).id, id);
        self.names.remove(&old);
        self.names.insert(id, key);
        true
    }

    /// Changes a slot's owner, in the table and in the nodes' own sets.
    pub fn assign(&mut self, slot: u16, owner: Option<NodeKey>) {
        if let Some(old) = self.slots.owner(slot) {
            self.node_mut(old).slots.remove(slot);
        }
        self.slots.set_owner(slot, owner);
        self.slots.unclaimed.remove(slot);
        let Some(owner) = owner else { return };
        let node = self.node_mut(owner);
        node.slots.insert(slot);
        // A primary with its first slot may be given a replica, if there are any to give.
        if node.slots.len() == 1
            && self
                .members
                .values()
                .any(|n| n.is_primary() && !n.replicas.is_empty())
        {
            self.node_mut(owner).flags.set(Flags::MIGRATE_TO);
        }
    }

    /// Leaves a node without slots.
    pub fn unassign_all(&mut self, key: NodeKey) {
        let slots: Vec<u16> = self
            .get(key)
            .map(|node| node.slots.iter().collect())
            .unwrap_or_default();
        for slot in slots {
            self.assign(slot, None);
        }
    }

    /// Notes whose replica a node is, on both sides.
    pub fn follow(&mut self, replica: NodeKey, primary: Option<NodeKey>) {
        let Some(node) = self.members.get_mut(&replica) else {
            return;
        };
        let old = core::mem::replace(&mut node.primary, primary);
        if let Some(old) = old.and_then(|old| self.members.get_mut(&old)) {
            old.replicas.retain(|key| *key != replica);
            if old.replicas.is_empty() {
                old.flags.clear(Flags::MIGRATE_TO);
            }
        }
        if let Some(new) = primary.and_then(|new| self.members.get_mut(&new)) {
            new.replicas.push(replica);
            new.flags.set(Flags::MIGRATE_TO);
        }
    }

    /// Notes that a node is a primary now; false if we knew.
    pub fn make_primary(&mut self, key: NodeKey) -> bool {
        let node = self.node(key);
        if node.is_primary() {
            return false;
        }
        let former = node.primary;
        self.follow(key, None);
        let me = self.me;
        let node = self.node_mut(key);
        node.former_primary = former;
        node.flags.clear(Flags::REPLICA);
        node.flags.set(Flags::PRIMARY);
        if former.is_some() && key != me {
            node.flags.set(Flags::MIGRATE_TO);
        }
        true
    }

    /// Notes that a node is a replica now, whose is not yet said.
    pub fn make_replica(&mut self, key: NodeKey) {
        let node = self.node_mut(key);
        node.flags.clear(Flags::PRIMARY.with(Flags::MIGRATE_TO));
        node.flags.set(Flags::REPLICA);
        node.former_primary = None;
    }

    /// The primary of a node's shard: itself, or the one it follows.
    pub fn primary_of(&self, key: NodeKey) -> Option<NodeKey> {
        let node = self.get(key)?;
        if node.is_primary() {
            Some(key)
        } else {
            node.primary
        }
    }

    /// The highest epoch among the nodes' claims.
    pub fn max_config_epoch(&self) -> u64 {
        self.members
            .values()
            .map(|node| node.config_epoch)
            .max()
            .unwrap_or(0)
    }

    /// Checks that both sides of every relation agree. For tests and the simulator.
    pub fn invariants(&self) {
        let mut owned = 0;
        for slot in 0..crate::value::slot::SLOTS {
            if let Some(owner) = self.slots.owner(slot) {
                assert!(
                    self.node(owner).slots.contains(slot),
                    "slot {slot}'s owner does not have it"
                );
                owned += 1;
            }
        }
        assert_eq!(
            owned,
            self.members
                .values()
                .map(|n| u32::from(n.slots.len()))
                .sum::<u32>()
        );
        assert_eq!(self.names.len(), self.members.len());
        for (key, node) in self.iter() {
            assert_eq!(self.find(&node.id), Some(key));
            for replica in &node.replicas {
                assert_eq!(
                    self.node(*replica).primary,
                    Some(key),
                    "a replica follows another"
                );
            }
            if let Some(primary) = node.primary {
                assert!(
                    self.node(primary).replicas.contains(&key),
                    "a primary does not know its replica"
                );
                assert_ne!(primary, key, "a node follows itself");
            }
            assert!(
                node.reports.keys().all(|by| self.get(*by).is_some()),
                "a report of a forgotten node"
            );
        }
    }
}
