//! A packet arrived: who sent it, and what follows from it.

use super::bus::{Body, Extension, Gossip, Header, Kind, MessageFlags, Packet};
use super::epoch::Claim;
use super::node::{Flags, NodeKey};
use super::slots::{Bitmap, bit};
use super::{Cluster, Decision};
use crate::value::slot::SLOTS;
use crate::{ConnId, LogLevel, Now};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use bytes::Bytes;

/// No cluster runs through more epochs than this while a node is away: a packet that claims to is damaged.
const EPOCH_LEAP: u64 = 1 << 40;

impl Cluster {
    pub(super) fn on_packet(&mut self, now: Now, conn: ConnId, packet: &Packet<'_>) {
        let header = &packet.header;
        let highest = self.current_epoch.saturating_add(EPOCH_LEAP);
        if header.current_epoch > highest || header.config_epoch > highest {
            let text = format!(
                "Ignoring a packet of {} with an impossible epoch",
                header.sender
            );
            return self.log(LogLevel::Warning, text);
        }
        let sender = self
            .nodes
            .find(&header.sender)
            .filter(|key| *key != self.nodes.my_key());
        if let Some(sender) = sender {
            self.claim_inbound(conn, sender);
            self.hear_sender(now, sender, header);
        }
        match &packet.body {
            Body::Ping {
                kind,
                gossip,
                extensions,
            } => {
                let ping = Ping {
                    kind: *kind,
                    header,
                    gossip,
                    extensions,
                };
                self.on_ping(now, conn, sender, &ping);
            }
            Body::Fail { node } => match sender {
                Some(_) => self.hear_fail(now, header.sender, *node),
                None => {
                    let text = format!(
                        "Ignoring FAIL message from unknown node {} about {node}",
                        header.sender
                    );
                    self.log(LogLevel::Notice, text);
                }
            },
            Body::Unknown { number } => {
                self.log(
                    LogLevel::Warning,
                    format!("Received unknown packet type: {number}"),
                );
            }
            body => {
                if let Some(sender) = sender {
                    self.on_member_packet(now, sender, header, body);
                }
            }
        }
    }

    /// What every packet of a member says.
    fn hear_sender(&mut self, now: Now, sender: NodeKey, header: &Header<'_>) {
        let node = self.nodes.node_mut(sender);
        node.data_received = Some(now.mono_ms());
        node.repl_offset = header.offset;
        // A primary that says it is a replica now brings its successor's epoch, which is not for the slots that
        // it still has here (see hand_over).
        let own = header.primary.is_none() || node.is_replica();
        if own && header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.touch(true);
        }
        if header.current_epoch > self.current_epoch {
            self.current_epoch = header.current_epoch;
            self.touch(true);
        }
        if header.message.any(MessageFlags::PAUSED) {
            self.hear_paused(sender, header.offset);
        }
    }

    fn on_member_packet(
        &mut self,
        now: Now,
        sender: NodeKey,
        header: &Header<'_>,
        body: &Body<'_>,
    ) {
        match body {
            Body::Publish {
                sharded,
                channel,
                message,
            } => self.decide(Decision::Publish {
                channel: Bytes::copy_from_slice(channel),
                message: Bytes::copy_from_slice(message),
                sharded: *sharded,
            }),
            Body::AuthRequest => self.hear_candidate(now, sender, header),
            Body::AuthAck => self.hear_vote(sender, header.current_epoch),
            Body::MfStart => self.hear_mfstart(now, sender),
            Body::Update {
                config_epoch,
                node,
                slots,
            } => {
                if let Some(about) = self.nodes.find(node) {
                    self.hear_update(about, *config_epoch, slots);
                }
            }
            _ => {}
        }
    }

    /// A member tells us of another's claim, since ours or what we said is older.
    fn hear_update(&mut self, about: NodeKey, epoch: u64, slots: &Bitmap) {
        if about == self.nodes.my_key() {
            return self.log(
                LogLevel::Warning,
                "Discarding UPDATE message about myself.".into(),
            );
        }
        if self.nodes.node(about).config_epoch >= epoch {
            return;
        }
        let mine = self.nodes.me().primary == Some(about);
        if !mine || !self.nodes.node(about).is_primary() {
            self.nodes.make_primary(about);
        }
        self.nodes.node_mut(about).config_epoch = epoch;
        self.touch(true);
        self.hear_claim(&Claim {
            node: about,
            epoch,
            slots,
            serving: false,
        });
        if mine {
            // Votes were refused since we did not know this; ask again with it.
            self.election.hurry();
        }
    }

    fn on_ping(&mut self, now: Now, conn: ConnId, sender: Option<NodeKey>, ping: &Ping<'_>) {
        if ping.kind != Kind::Pong {
            self.learn_my_address(conn, ping.kind);
            if sender.is_none() && ping.kind == Kind::Meet && ping.header.sender != self.my_id() {
                self.meet_back(now, conn, ping.header);
            }
            self.ping(now, conn, Kind::Pong);
        }
        let known = sender.is_some();
        let Some(sender) = self.check_answerer(now, conn, sender, ping.header) else {
            return;
        };
        if !known {
            self.hear_sender(now, sender, ping.header);
        }
        self.hear_flags(sender, ping.header);
        if ping.kind == Kind::Ping {
            self.hear_address(conn, sender, ping.header);
        }
        if ping.kind == Kind::Pong && self.links.get(&conn).is_some_and(|link| !link.inbound) {
            self.hear_pong(now, sender);
        }
        self.hear_role(sender, ping.header);
        self.hear_slots(sender, ping.header);
        let node = self.nodes.node(sender);
        if node.is_primary() && ping.header.config_epoch == self.nodes.me().config_epoch {
            self.resolve_collision(sender, ping.header.slots, ping.header.down);
        }
        self.hear_gossip(now, sender, ping.gossip);
        self.hear_extensions(now, sender, ping.extensions);
    }

    /// Our own address is what others connect to: the local end of a connection that brought a MEET, or of
    /// any if we know none.
    fn learn_my_address(&mut self, conn: ConnId, kind: Kind) {
        if !self.settings.announce_ip.is_empty() {
            return;
        }
        let Some(local) = self.links.get(&conn).map(|link| link.local.clone()) else {
            return;
        };
        let me = self.nodes.me_mut();
        if !local.is_empty() && local != me.ip && (kind == Kind::Meet || me.ip.is_empty()) {
            me.ip = local.clone();
            self.log(
                LogLevel::Warning,
                format!("IP address for this node updated to {local}"),
            );
            self.touch(false);
        }
    }

    /// A stranger wants to be a member: get to know it over a connection of our own.
    fn meet_back(&mut self, now: Now, conn: ConnId, header: &Header<'_>) {
        let Some(ip) = self.address_of(conn, header) else {
            return;
        };
        if self
            .handshake(
                now,
                &ip,
                (header.port, header.plain_port, header.bus_port),
                false,
            )
            .is_some()
        {
            self.touch(false);
        }
    }

    /// The address that a packet's sender announces, or that its connection comes from.
    fn address_of(&self, conn: ConnId, header: &Header<'_>) -> Option<String> {
        if !header.ip.is_empty() {
            return Some(header.ip.into());
        }
        self.links
            .get(&conn)
            .map(|link| link.peer.clone())
            .filter(|peer| !peer.is_empty())
    }

    /// Over our own connection the answer must come from whom we called. Returns the member whose packet
    /// this is, if it is one's.
    fn check_answerer(
        &mut self,
        now: Now,
        conn: ConnId,
        sender: Option<NodeKey>,
        header: &Header<'_>,
    ) -> Option<NodeKey> {
        let link = self.links.get(&conn)?;
        let Some(called) = link.node.filter(|_| !link.inbound) else {
            return sender;
        };
        let node = self.nodes.get(called)?;
        if node.in_handshake() {
            if let Some(known) = sender {
                self.hear_address(conn, known, header);
            }
            return self
                .end_handshake(now, called, header.sender, header.flags)
                .then_some(called);
        }
        if node.id != header.sender {
            // Another node lives there now; where the one that we called is, we do not know any more.
            let node = self.nodes.node_mut(called);
            node.lose_address();
            if node.ping_sent.is_none() {
                node.ping_sent = Some(now.into());
            }
            self.close(conn);
            self.touch(false);
            return None;
        }
        Some(called)
    }

    fn hear_flags(&mut self, sender: NodeKey, header: &Header<'_>) {
        let node = self.nodes.node_mut(sender);
        node.flags.clear(Flags::NOFAILOVER);
        node.flags.set(header.flags.only(Flags::NOFAILOVER));
    }

    /// A member's address may have changed.
    fn hear_address(&mut self, conn: ConnId, sender: NodeKey, header: &Header<'_>) {
        if self.nodes.node(sender).link == Some(conn) {
            return;
        }
        let Some(ip) = self.address_of(conn, header) else {
            return;
        };
        let node = self.nodes.node_mut(sender);
        let (port, plain, bus) = (header.port, header.plain_port, header.bus_port);
        if (node.port, node.plain_port, node.bus_port) == (port, plain, bus) && node.ip == ip {
            return;
        }
        node.ip = ip;
        (node.port, node.plain_port, node.bus_port) = (port, plain, bus);
        node.flags.clear(Flags::NOADDR);
        let text = format!(
            "Address updated for node {}, now {}:{}",
            node.id, node.ip, node.port
        );
        let link = node.link;
        self.log(LogLevel::Warning, text);
        if let Some(old) = link {
            self.close(old);
        }
        self.todo.update_state = true;
        self.touch(false);
    }

    fn hear_pong(&mut self, now: Now, sender: NodeKey) {
        let node = self.nodes.node_mut(sender);
        node.pong_received = Some(now.into());
        if let Some(ping) = node.ping_sent.take() {
            node.lease = Some(ping.mono);
        }
        self.hear_life(now, sender);
    }

    /// The sender may have changed roles.
    fn hear_role(&mut self, sender: NodeKey, header: &Header<'_>) {
        let Some(primary) = header.primary else {
            if self.nodes.make_primary(sender) {
                self.todo.update_state = true;
                self.touch(false);
            }
            return;
        };
        let primary = self.nodes.find(&primary).filter(|key| *key != sender);
        if !self.nodes.node(sender).is_replica() {
            self.nodes.make_replica(sender);
            self.hand_over(sender, primary, header);
            self.todo.update_state = true;
            self.touch(false);
        }
        if primary.is_some() && self.nodes.node(sender).primary != primary {
            self.nodes.follow(sender, primary);
            self.touch(false);
            self.leave_sub_replica();
        }
    }

    /// A primary became a replica, and we may not have heard yet of the winner's claim. The packet repeats
    /// it: take it from there, so that no slot is without an owner meanwhile (KB-19).
    fn hand_over(&mut self, sender: NodeKey, primary: Option<NodeKey>, header: &Header<'_>) {
        let me = self.nodes.my_key();
        if let Some(winner) = primary.filter(|key| *key != me) {
            let newer = header.config_epoch > self.nodes.node(winner).config_epoch;
            if newer {
                self.nodes.make_primary(winner);
                self.nodes.node_mut(winner).config_epoch = header.config_epoch;
                self.touch(true);
            }
            if newer || self.nodes.node(winner).config_epoch == header.config_epoch {
                let epoch = header.config_epoch;
                self.hear_claim(&Claim {
                    node: winner,
                    epoch,
                    slots: header.slots,
                    serving: false,
                });
            }
        }
        self.nodes.unassign_all(sender);
    }

    fn hear_slots(&mut self, sender: NodeKey, header: &Header<'_>) {
        let Some(speaker) = self
            .nodes
            .primary_of(sender)
            .and_then(|key| self.nodes.get(key))
        else {
            return;
        };
        if speaker.slots.bitmap() == header.slots && self.nodes.slots.unclaimed.is_empty() {
            return;
        }
        if self.nodes.node(sender).is_primary() {
            let epoch = header.config_epoch;
            self.hear_claim(&Claim {
                node: sender,
                epoch,
                slots: header.slots,
                serving: !header.down,
            });
        }
        self.correct(sender, header);
    }

    /// Tells the sender of newer claims to the slots that it (or its primary) claims.
    fn correct(&mut self, sender: NodeKey, header: &Header<'_>) {
        let mut winners = BTreeSet::new();
        for slot in (0..SLOTS).filter(|slot| bit(header.slots, *slot)) {
            if self.nodes.slots.is_unclaimed(slot) {
                continue;
            }
            let Some(owner) = self
                .nodes
                .slots
                .owner(slot)
                .filter(|owner| *owner != sender)
            else {
                continue;
            };
            if self.nodes.node(owner).config_epoch > header.config_epoch {
                winners.insert(owner);
            }
        }
        for owner in winners {
            let (to, about) = (self.nodes.node(sender).id, self.nodes.node(owner).id);
            let text = format!(
                "Node {to} has old slots configuration, sending an UPDATE message about {about}"
            );
            self.log(LogLevel::Verbose, text);
            self.send_update(sender, owner);
        }
    }
}

/// PING, PONG or MEET.
struct Ping<'a> {
    kind: Kind,
    header: &'a Header<'a>,
    gossip: &'a [Gossip<'a>],
    extensions: &'a [Extension<'a>],
}
