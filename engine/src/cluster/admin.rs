//! CLUSTER's orders. Each either does what it says or tells why not, in Redis's words.
//!
//! What they change is safe from a crash once [`Cluster::durable`] has reached [`Cluster::version`]; the
//! caller may keep the reply until then.

use super::bus::{Body, Kind};
use super::node::{Flags, NodeId, NodeKey};
use super::{Cluster, Decision};
use crate::resp::error_text;
use crate::value::slot::SLOTS;
use crate::{LogLevel, Now};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::IpAddr;

/// An order was refused: the error reply, without the leading minus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Vec<u8>);

impl Refused {
    pub(super) fn new(text: &str) -> Refused {
        Refused(text.into())
    }

    /// With words of the order.
    pub(super) fn showing(pieces: &[&[u8]]) -> Refused {
        Refused(error_text(pieces))
    }
}

impl From<String> for Refused {
    fn from(text: String) -> Refused {
        Refused(text.into_bytes())
    }
}

type Order = Result<(), Refused>;

impl Cluster {
    /// CLUSTER MEET. `address` is the ip as the client wrote it, ports are as parsed.
    pub fn meet(&mut self, now: Now, address: &[u8], port: i64, bus_port: Option<i64>) -> Order {
        let bus = bus_port.unwrap_or(port.saturating_add(10_000));
        let valid = |port: i64| u16::try_from(port).ok().filter(|port| *port != 0);
        let ip = core::str::from_utf8(address).ok();
        let ip = ip.and_then(|ip| ip.parse::<IpAddr>().ok());
        let (Some(ip), Some(port_number), Some(bus)) = (ip, valid(port), valid(bus)) else {
            let port = port.to_string();
            return Err(Refused::showing(&[
                b"ERR Invalid node address specified: ",
                address,
                b":",
                port.as_bytes(),
            ]));
        };
        self.handshake(now, &ip.to_string(), (port_number, 0, bus), true);
        self.settle(now);
        Ok(())
    }

    /// CLUSTER ADDSLOTS and ADDSLOTSRANGE: inclusive ranges.
    pub fn add_slots(&mut self, now: Now, ranges: &[(u16, u16)]) -> Order {
        self.change_slots(now, ranges, true)
    }

    /// CLUSTER DELSLOTS and DELSLOTSRANGE: inclusive ranges.
    pub fn delete_slots(&mut self, now: Now, ranges: &[(u16, u16)]) -> Order {
        self.change_slots(now, ranges, false)
    }

    fn change_slots(&mut self, now: Now, ranges: &[(u16, u16)], add: bool) -> Order {
        let mut slots = BTreeSet::new();
        for (first, last) in ranges {
            if first > last {
                return Err(format!(
                    "ERR start slot number {first} is greater than end slot number {last}"
                )
                .into());
            }
            for slot in *first..=*last {
                match (self.nodes.slots.owner(slot).is_some(), add) {
                    (false, false) => {
                        return Err(format!("ERR Slot {slot} is already unassigned").into());
                    }
                    (true, true) => return Err(format!("ERR Slot {slot} is already busy").into()),
                    _ => {}
                }
                if slot >= SLOTS {
                    return Err(Refused::new("ERR Invalid or out of range slot"));
                }
                if !slots.insert(slot) {
                    return Err(format!("ERR Slot {slot} specified multiple times").into());
                }
            }
        }
        let me = self.nodes.my_key();
        let until = now.mono_ms() + self.settings.node_timeout_ms * 2;
        let mut dropped = Vec::new();
        for slot in slots {
            self.nodes.slots.importing.remove(&slot);
            if !add {
                // Whose it was may not have heard, should we be given it next: as with a slot that was imported.
                let from = self.nodes.slots.owner(slot).filter(|from| *from != me);
                match from {
                    Some(from) => self.imported.insert(slot, (from, until)),
                    None => self.imported.remove(&slot),
                };
                if self.in_my_shard(slot) {
                    dropped.push(slot);
                }
            }
            self.nodes.assign(slot, add.then_some(me));
        }
        self.drop_channels(dropped);
        self.changed(now)
    }

    /// CLUSTER FLUSHSLOTS; `keys` is how many the database holds.
    pub fn flush_slots(&mut self, now: Now, keys: usize) -> Order {
        if keys != 0 {
            return Err(Refused::new(
                "ERR DB must be empty to perform CLUSTER FLUSHSLOTS.",
            ));
        }
        let slots = self.nodes.me().slots.iter().collect();
        self.nodes.unassign_all(self.nodes.my_key());
        self.drop_channels(slots);
        self.changed(now)
    }

    /// CLUSTER SETSLOT MIGRATING.
    pub fn set_slot_migrating(&mut self, now: Now, slot: u16, to: &[u8]) -> Order {
        self.only_primaries_set_slots()?;
        if self.nodes.slots.owner(slot) != Some(self.nodes.my_key()) {
            return Err(format!("ERR I'm not the owner of hash slot {slot}").into());
        }
        let to = self.partner(to)?;
        self.imported.remove(&slot);
        self.nodes.slots.migrating.insert(slot, to);
        self.changed(now)
    }

    /// CLUSTER SETSLOT IMPORTING.
    pub fn set_slot_importing(&mut self, now: Now, slot: u16, from: &[u8]) -> Order {
        self.only_primaries_set_slots()?;
        if self.nodes.slots.owner(slot) == Some(self.nodes.my_key()) {
            return Err(format!("ERR I'm already the owner of hash slot {slot}").into());
        }
        let from = self.partner(from)?;
        self.nodes.slots.importing.insert(slot, from);
        self.changed(now)
    }

    /// CLUSTER SETSLOT STABLE.
    pub fn set_slot_stable(&mut self, now: Now, slot: u16) -> Order {
        self.only_primaries_set_slots()?;
        self.nodes.slots.importing.remove(&slot);
        self.nodes.slots.migrating.remove(&slot);
        self.changed(now)
    }

    /// CLUSTER SETSLOT NODE; `keys` is how many keys this node has in the slot.
    pub fn set_slot_node(&mut self, now: Now, slot: u16, id: &[u8], keys: usize) -> Order {
        self.only_primaries_set_slots()?;
        let new = self.known(id)?;
        let me = self.nodes.my_key();
        if self.nodes.node(new).is_replica() {
            return Err(Refused::new("ERR Target node is not a master"));
        }
        self.imported.remove(&slot);
        let was_mine = self.nodes.slots.owner(slot) == Some(me);
        if was_mine && new != me && keys != 0 {
            return Err(format!(
                "ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            )
            .into());
        }
        if keys == 0 {
            self.nodes.slots.migrating.remove(&slot);
        }
        if was_mine && new != me {
            self.drop_channels(alloc::vec![slot]);
        }
        self.nodes.assign(slot, Some(new));
        // A primary that gives its last slot away follows whoever has it now, at once: the news over the bus
        // would find nothing left to lose (KB-14).
        if was_mine
            && new != me
            && self.nodes.me().slots.is_empty()
            && self.settings.allow_replica_migration
        {
            let text = format!(
                "Configuration change detected. Reconfiguring myself as a replica of {}",
                self.nodes.node(new).id
            );
            self.log(LogLevel::Warning, text);
            self.set_primary(new);
        }
        let source = (new == me).then(|| self.nodes.slots.importing.remove(&slot));
        if let Some(source) = source.flatten() {
            let until = now.mono_ms() + self.settings.node_timeout_ms * 2;
            self.imported.insert(slot, (source, until));
            if self.bump_epoch() {
                self.log(
                    LogLevel::Warning,
                    format!("configEpoch updated after importing slot {slot}"),
                );
            }
            // The others learn of it as soon as a crash cannot undo it (KB-16).
            let version = self.touch(true);
            self.hold(version, super::held::Held::Pong);
        }
        self.changed(now)
    }

    /// CLUSTER BUMPEPOCH: whether it changed, and the epoch.
    pub fn bump_config_epoch(&mut self, now: Now) -> (bool, u64) {
        let bumped = self.bump_epoch();
        self.settle(now);
        (bumped, self.nodes.me().config_epoch)
    }

    /// CLUSTER SET-CONFIG-EPOCH.
    pub fn set_config_epoch(&mut self, now: Now, epoch: i64) -> Order {
        let Ok(wanted) = u64::try_from(epoch) else {
            return Err(format!("ERR Invalid config epoch specified: {epoch}").into());
        };
        if self.nodes.len() > 1 {
            return Err(Refused::new(
                "ERR The user can assign a config epoch only when the node does not know any other node.",
            ));
        }
        if self.nodes.me().config_epoch != 0 {
            return Err(Refused::new("ERR Node config epoch is already non-zero"));
        }
        self.nodes.me_mut().config_epoch = wanted;
        self.current_epoch = self.current_epoch.max(wanted);
        self.log(
            LogLevel::Warning,
            format!("configEpoch set to {wanted} via CLUSTER SET-CONFIG-EPOCH"),
        );
        self.changed(now)
    }

    /// CLUSTER SAVECONFIG: the version that is being saved. The reply is due when
    /// [`Cluster::durable`] reaches it, or `ERR error saving the cluster node config: …` at
    /// [`Decision::SaveFailed`].
    pub fn save_config(&mut self, now: Now) -> u64 {
        let version = self.touch(true);
        self.settle(now);
        version
    }

    /// CLUSTER FORGET.
    pub fn forget_node(&mut self, now: Now, id: &[u8]) -> Order {
        let key = self.known(id)?;
        if key == self.nodes.my_key() {
            return Err(Refused::new(
                "ERR I tried hard but I can't forget myself...",
            ));
        }
        if self.is_replica() && self.nodes.me().primary == Some(key) {
            return Err(Refused::new("ERR Can't forget my master!"));
        }
        self.forget(now, key);
        self.changed(now)
    }

    /// CLUSTER REPLICATE; `keys` is how many the database holds.
    pub fn replicate(&mut self, now: Now, id: &[u8], keys: usize) -> Order {
        let key = self.known(id)?;
        if key == self.nodes.my_key() {
            return Err(Refused::new("ERR Can't replicate myself"));
        }
        if self.nodes.node(key).is_replica() {
            return Err(Refused::new(
                "ERR I can only replicate a master, not a replica.",
            ));
        }
        let me = self.nodes.me();
        if !me.slots.is_empty() || (me.is_primary() && keys != 0) {
            return Err(Refused::new(
                "ERR To set a master the node must be empty and without assigned slots.",
            ));
        }
        self.set_primary(key);
        self.changed(now)
    }

    /// CLUSTER FAILOVER, with FORCE or TAKEOVER.
    pub fn failover(&mut self, now: Now, force: bool, takeover: bool) -> Order {
        let me = self.nodes.me();
        if me.is_primary() {
            return Err(Refused::new(
                "ERR You should send CLUSTER FAILOVER to a replica",
            ));
        }
        let Some(primary) = me.primary.and_then(|key| self.nodes.get(key)) else {
            return Err(Refused::new(
                "ERR I'm a replica but my master is unknown to me",
            ));
        };
        if !force && !takeover && (primary.failed() || primary.link.is_none()) {
            return Err(Refused::new(
                "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE",
            ));
        }
        if takeover {
            self.log(
                LogLevel::Warning,
                "Taking over the master (user request).".into(),
            );
            self.reset_manual();
            self.bump_epoch();
            self.replace_primary(now);
        } else {
            self.begin_manual(now, force);
        }
        self.settle(now);
        Ok(())
    }

    /// CLUSTER RESET; `keys` is how many the database holds.
    pub fn reset(&mut self, now: Now, hard: bool, keys: usize) -> Order {
        if self.nodes.me().is_primary() && keys != 0 {
            return Err(Refused::new(
                "ERR CLUSTER RESET can't be called with master nodes containing keys",
            ));
        }
        let me = self.nodes.my_key();
        if self.is_replica() || hard {
            self.leave_shard();
        }
        if self.is_replica() {
            self.nodes.make_primary(me);
            self.told = None;
            self.decide(Decision::Promote);
            self.decide(Decision::FlushAll);
        }
        self.reset_manual();
        self.election.reset();
        self.held.clear();
        self.nodes.slots.migrating.clear();
        self.nodes.slots.importing.clear();
        self.imported.clear();
        let mine: Vec<u16> = (0..SLOTS).filter(|slot| self.in_my_shard(*slot)).collect();
        self.drop_channels(mine);
        for slot in 0..SLOTS {
            self.nodes.assign(slot, None);
        }
        for key in self.nodes.keys() {
            self.remove_node(key);
        }
        // Whoever we did not know either shall not go on talking to us as to the one that we were.
        let strangers: Vec<_> = self.links.keys().copied().collect();
        strangers.into_iter().for_each(|conn| self.close(conn));
        // What we were must not be said any more, what we are not before it is durable.
        self.advertised = None;
        self.saving = None;
        if hard {
            self.become_another();
        }
        self.changed(now)
    }

    fn become_another(&mut self) {
        self.current_epoch = 0;
        self.last_vote_epoch = 0;
        self.nodes.me_mut().config_epoch = 0;
        self.log(
            LogLevel::Warning,
            "configEpoch set to 0 via CLUSTER RESET HARD".into(),
        );
        let id = NodeId::random(&mut self.rng);
        self.nodes.rename(self.nodes.my_key(), id);
        self.log(LogLevel::Notice, format!("Node hard reset, now I'm {id}"));
    }

    /// PUBLISH and SPUBLISH: tells the other nodes, or those of our shard.
    pub fn publish(&mut self, channel: &[u8], message: &[u8], sharded: bool) {
        let kind = if sharded {
            Kind::PublishShard
        } else {
            Kind::Publish
        };
        let Some(packet) = self.durable_packet(Body::Publish {
            sharded,
            channel,
            message,
        }) else {
            return;
        };
        if sharded {
            self.send_to_shard(kind, &packet);
        } else {
            self.broadcast(kind, &packet);
        }
    }

    fn send_to_shard(&mut self, kind: Kind, packet: &Bytes) {
        let Some(primary) = self.nodes.primary_of(self.nodes.my_key()) else {
            return;
        };
        let members: Vec<NodeKey> = core::iter::once(primary)
            .chain(self.nodes.node(primary).replicas.iter().copied())
            .collect();
        let skip = Flags::MYSELF.with(Flags::HANDSHAKE);
        for key in members {
            let node = self.nodes.node(key);
            if let Some(conn) = node.link.filter(|_| !node.flags.any(skip)) {
                self.send(conn, kind, packet.clone());
            }
        }
    }

    /// After the data was loaded: slots with keys that are nobody's become ours, others' are marked as being
    /// imported, so that redis-cli can mend them.
    pub fn reconcile(&mut self, now: Now, slots_with_keys: &[u16]) {
        if self.is_replica() {
            return;
        }
        let me = self.nodes.my_key();
        for slot in slots_with_keys.iter().copied() {
            match self.nodes.slots.owner(slot) {
                Some(owner) if owner == me || self.nodes.slots.importing.contains_key(&slot) => {
                    continue;
                }
                None if self.nodes.slots.importing.contains_key(&slot) => continue,
                None => {
                    let text = format!(
                        "I have keys for unassigned slot {slot}. Taking responsibility for it."
                    );
                    self.log(LogLevel::Warning, text);
                    self.nodes.assign(slot, Some(me));
                }
                Some(owner) => {
                    let text = format!(
                        "I have keys for slot {slot}, but the slot is assigned to another node. Setting it to importing state."
                    );
                    self.log(LogLevel::Warning, text);
                    self.nodes.slots.importing.insert(slot, owner);
                }
            }
            self.touch(true);
        }
        self.todo.update_state = true;
        self.settle(now);
    }

    fn only_primaries_set_slots(&self) -> Order {
        if self.is_replica() {
            return Err(Refused::new("ERR Please use SETSLOT only with masters."));
        }
        Ok(())
    }

    /// The other side of a slot's migration.
    fn partner(&self, id: &[u8]) -> Result<NodeKey, Refused> {
        let Some(key) = self.nodes.find_text(id) else {
            return Err(Refused::showing(&[b"ERR I don't know about node ", id]));
        };
        if self.nodes.node(key).is_replica() {
            return Err(Refused::new("ERR Target node is not a master"));
        }
        Ok(key)
    }

    fn in_my_shard(&self, slot: u16) -> bool {
        let owner = self.nodes.slots.owner(slot);
        owner.is_some() && owner == self.nodes.primary_of(self.nodes.my_key())
    }

    fn drop_channels(&mut self, slots: Vec<u16>) {
        if !slots.is_empty() {
            self.decide(Decision::DropShardChannels { slots });
        }
    }

    fn changed(&mut self, now: Now) -> Order {
        self.todo.update_state = true;
        self.touch(true);
        self.settle(now);
        Ok(())
    }
}
