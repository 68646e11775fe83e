//! How a replica takes over its failed primary's slots: by the votes of a majority of the primaries.
//!
//! The replica waits (500 ms for the failure to be known everywhere, up to 500 ms at random, a second for
//! each sibling with newer data), takes a new epoch and asks everyone. A primary votes once an epoch, for a
//! replica whose primary failed and whose claim is as new as any it knows. With a majority the replica claims
//! the slots under the epoch of the election. The epoch and the vote are durable before the request and the
//! vote leave, the claim before it is told or served.

use super::bus::{Body, Header, Kind, MessageFlags};
use super::held::Held;
use super::node::{NodeKey, Vote};
use super::slots::bit;
use super::{Cluster, NodeId, View};
use crate::planted::{self, Bug};
use crate::value::slot::SLOTS;
use crate::{LogLevel, Now};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

/// An election of ours, past or present. Times are monotonic milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Election {
    /// When the votes were or are to be asked for; None if never.
    at: Option<u64>,
    /// Whether they were.
    asked: bool,
    epoch: u64,
    /// Whose votes came for `epoch`: each counts once (KB-08).
    votes: BTreeSet<NodeKey>,
    rank: u64,
    /// Someone else stands in the same epoch: votes may be split, so the next attempt comes soon (KB-10).
    contested: bool,
    /// Why no election can be held, if that was logged.
    obstacle: Option<(Obstacle, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    DataAge,
    Waiting,
    Expired,
    Votes,
}

impl Election {
    /// Whether votes in this epoch are still of use.
    pub(super) fn awaits(&self, epoch: u64) -> bool {
        self.asked && self.epoch == epoch
    }

    /// Forgets all about it: we have another primary now.
    pub(super) fn reset(&mut self) {
        *self = Election {
            obstacle: self.obstacle,
            ..Election::default()
        };
    }

    /// Begins anew as soon as may be: what we asked with is known to be outdated.
    pub(super) fn hurry(&mut self) {
        if self.asked {
            self.reset();
        }
    }
}

/// Whether our data belongs to our primary's shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    ours: bool,
}

impl Lineage {
    pub(super) fn observe(&mut self, view: &View) {
        self.ours |= view.synced;
    }

    /// We follow another primary now; an heir of the old one has the same history (KB-01, KB-02).
    pub(super) fn change(&mut self, heir: bool) {
        self.ours &= heir;
    }

    /// We are a primary: the history is ours.
    pub(super) fn found(&mut self) {
        self.ours = true;
    }
}

impl Cluster {
    /// The replication offset that we tell others: none while our data is not our shard's.
    pub(super) fn my_offset(&self) -> u64 {
        if self.is_replica() && !self.lineage.ours {
            0
        } else {
            self.view.offset
        }
    }

    /// A replica's next step towards taking over, if there is one.
    pub(super) fn advance_election(&mut self, now: Now) {
        let at = now.mono_ms();
        let manual = self.manual.may_start();
        if !self.has_cause(manual) {
            self.election.obstacle = None;
            return;
        }
        if !manual && !self.data_qualifies() {
            return self.cannot(now, Obstacle::DataAge);
        }
        let timeout = (self.settings.node_timeout_ms * 2).max(2000);
        let age = self.election.at.map(|asked| at.saturating_sub(asked));
        let lost =
            self.election.contested && self.election.asked && age.is_some_and(|age| age > 1000);
        if age.is_none_or(|age| age > timeout * 2)
            || lost
            || (manual && !self.election.asked && !self.manual.scheduled)
        {
            return self.schedule(now, manual);
        }
        if !self.election.asked && !manual {
            self.update_rank();
        }
        match self.election.at {
            Some(start) if at < start => return self.cannot(now, Obstacle::Waiting),
            Some(start) if at - start > timeout => return self.cannot(now, Obstacle::Expired),
            _ => {}
        }
        if !self.election.asked {
            return self.ask_for_votes();
        }
        if self.election.votes.len() >= self.quorum() {
            self.win(now);
        } else {
            self.cannot(now, Obstacle::Votes);
        }
    }

    /// Whether there is a primary to be replaced, by us.
    fn has_cause(&self, manual: bool) -> bool {
        let me = self.nodes.me();
        let Some(primary) = me
            .primary
            .and_then(|key| self.nodes.get(key))
            .filter(|_| me.is_replica())
        else {
            return false;
        };
        !primary.slots.is_empty()
            && (manual || (primary.failed() && !self.settings.replica_no_failover))
    }

    /// Whether our data is good enough to stand without an operator's order: the shard's own, and no older
    /// than the validity factor allows (KB-05).
    fn data_qualifies(&self) -> bool {
        let timeout = self.settings.node_timeout_ms;
        let factor = self.settings.replica_validity_factor;
        if self.settings.no_empty_promotion && self.my_offset() == 0 {
            return false;
        }
        if factor == 0 {
            // The operator wants a failover at any price; but a sibling with data goes first.
            return self.lineage.ours || !self.has_better_sibling();
        }
        // The time that it took to agree on the failure does not count.
        let limit = self.settings.repl_ping_period_ms + timeout * factor;
        let age = self
            .view
            .data_age_ms
            .map(|age| if age > timeout { age - timeout } else { age });
        self.lineage.ours && age.is_some_and(|age| age <= limit)
    }

    fn siblings(&self) -> impl Iterator<Item = &super::node::Node> {
        let me = self.nodes.my_key();
        let primary = self.nodes.me().primary.and_then(|key| self.nodes.get(key));
        let replicas = primary
            .map(|node| node.replicas.as_slice())
            .unwrap_or_default();
        replicas
            .iter()
            .filter(move |key| **key != me)
            .filter_map(|key| self.nodes.get(*key))
    }

    fn has_better_sibling(&self) -> bool {
        let mine = self.my_offset();
        self.siblings()
            .any(|node| node.repl_offset > mine && !node.failed() && !can_not_stand(node))
    }

    /// How many siblings have newer data.
    fn rank(&self) -> u64 {
        let mine = self.my_offset();
        self.siblings()
            .filter(|node| !can_not_stand(node) && node.repl_offset > mine)
            .count() as u64
    }

    /// Our primary's place among those that failed, by name: their replicas take turns, so that they do not
    /// ask in the same epoch (KB-10).
    fn failed_primary_rank(&self) -> u64 {
        let Some(mine) = self.nodes.me().primary.and_then(|key| self.nodes.get(key)) else {
            return 0;
        };
        self.nodes
            .iter()
            .filter(|(_, node)| node.votes() && node.failed() && node.id < mine.id)
            .count() as u64
    }

    fn schedule(&mut self, now: Now, manual: bool) {
        let at = now.mono_ms();
        let delay = if manual {
            self.election.rank = 0;
            self.manual.scheduled = true;
            0
        } else {
            self.election.rank = self.rank();
            500 + self.random_below(500)
                + self.election.rank * 1000
                + self.failed_primary_rank().min(8) * 500
        };
        self.election.at = Some(at + delay);
        self.election.asked = false;
        self.election.contested = false;
        self.election.votes.clear();
        let text = format!(
            "Start of election delayed for {delay} milliseconds (rank #{}, offset {}).",
            self.election.rank,
            self.my_offset()
        );
        self.log(LogLevel::Warning, text);
        self.pong_siblings(now);
        self.todo.failover |= manual;
        if manual {
            self.advance_election(now);
        }
    }

    fn update_rank(&mut self) {
        let rank = self.rank();
        let Some(worse) = rank
            .checked_sub(self.election.rank)
            .filter(|worse| *worse > 0)
        else {
            return;
        };
        self.election.at = self.election.at.map(|at| at + worse * 1000);
        self.election.rank = rank;
        let text = format!(
            "Replica rank updated to #{rank}, added {} milliseconds of delay.",
            worse * 1000
        );
        self.log(LogLevel::Warning, text);
    }

    fn ask_for_votes(&mut self) {
        self.current_epoch = self.current_epoch.saturating_add(1);
        let epoch = self.current_epoch;
        self.election.epoch = epoch;
        self.election.asked = true;
        self.election.votes.clear();
        self.log(
            LogLevel::Warning,
            format!("Starting a failover election for epoch {epoch}."),
        );
        let message = if self.manual.in_progress() {
            MessageFlags::FORCE_ACK
        } else {
            MessageFlags::default()
        };
        let packet = self.packet(&self.claims(), message, Body::AuthRequest);
        self.todo.update_state = true;
        let version = self.touch(true);
        self.hold(version, Held::AuthRequest { epoch, packet });
    }

    /// A vote arrived. Only one given in this very epoch counts (KB-09).
    pub(super) fn hear_vote(&mut self, voter: NodeKey, epoch: u64) {
        if self.election.awaits(epoch) && self.nodes.get(voter).is_some_and(|node| node.votes()) {
            self.election.votes.insert(voter);
            self.todo.failover = true;
        }
    }

    fn win(&mut self, now: Now) {
        self.log(
            LogLevel::Warning,
            "Failover election won: I'm the new master.".into(),
        );
        let epoch = self.election.epoch;
        if self.nodes.me().config_epoch < epoch {
            self.nodes.me_mut().config_epoch = epoch;
            let text = format!("configEpoch set to {epoch} after successful failover");
            self.log(LogLevel::Warning, text);
        }
        self.replace_primary(now);
    }

    /// Takes over the primary's slots under our config epoch, which is a new one.
    pub(super) fn replace_primary(&mut self, now: Now) {
        let me = self.nodes.my_key();
        let Some(old) = self.nodes.me().primary else {
            return;
        };
        self.nodes.make_primary(me);
        self.lineage.found();
        let slots: alloc::vec::Vec<u16> = self.nodes.node(old).slots.iter().collect();
        for slot in slots {
            self.nodes.assign(slot, Some(me));
        }
        self.election.reset();
        let version = self.touch(true);
        self.hold(version, Held::Promotion);
        self.hold(version, Held::Pong);
        self.reset_manual();
        self.update_state(now);
    }

    /// A replica asks for our vote.
    pub(super) fn hear_candidate(&mut self, now: Now, candidate: NodeKey, request: &Header<'_>) {
        if self.election.awaits(request.current_epoch) && self.nodes.my_key() != candidate {
            self.election.contested = true;
        }
        // Only primaries with slots have a vote, and only they are counted in the quorum.
        if !self.nodes.me().votes() {
            return;
        }
        match self.refusal(now, candidate, request) {
            Some(why) => {
                let shown = self.nodes.node(candidate).shown();
                self.log(
                    LogLevel::Warning,
                    format!("Failover auth denied to {shown}: {why}"),
                );
            }
            None => self.vote(now, candidate),
        }
    }

    fn vote(&mut self, now: Now, candidate: NodeKey) {
        let epoch = self.current_epoch;
        let forgets = planted::is(Bug::VotesTwice);
        if !forgets {
            self.last_vote_epoch = epoch;
        }
        if let Some(primary) = self.nodes.node(candidate).primary.filter(|_| !forgets) {
            self.nodes.node_mut(primary).voted = Some(Vote {
                at: now.mono_ms(),
                candidate,
            });
        }
        let mut claims = self.advertised.clone().unwrap_or_else(|| self.claims());
        claims.current_epoch = epoch; // the election that this vote is for
        let packet = self.packet(&claims, MessageFlags::default(), Body::AuthAck);
        let version = self.touch(true);
        self.hold(version, Held::Vote { candidate, packet });
        let shown = self.nodes.node(candidate).shown();
        self.log(
            LogLevel::Warning,
            format!("Failover auth granted to {shown} for epoch {epoch}"),
        );
    }

    fn refusal(&mut self, now: Now, candidate: NodeKey, request: &Header<'_>) -> Option<String> {
        let forced = request.message.any(MessageFlags::FORCE_ACK);
        if request.current_epoch < self.current_epoch {
            let (theirs, ours) = (request.current_epoch, self.current_epoch);
            return Some(format!("reqEpoch ({theirs}) < curEpoch({ours})"));
        }
        if self.last_vote_epoch >= self.current_epoch {
            return Some(format!("already voted for epoch {}", self.current_epoch));
        }
        let node = self.nodes.node(candidate);
        if node.is_primary() {
            return Some("it is a master node".into());
        }
        let Some(key) = node.primary else {
            return Some("I don't know its master".into());
        };
        let primary = self.nodes.node(key);
        if !primary.failed() && !forced {
            return Some("its master is up".into());
        }
        let pause = self.settings.node_timeout_ms * 2;
        if let Some(vote) = primary.voted.filter(|vote| vote.candidate != candidate) {
            let left = (vote.at + pause).saturating_sub(now.mono_ms());
            if left > 0 {
                return Some(format!(
                    "can't vote about this master before {left} milliseconds"
                ));
            }
        }
        if request.offset == 0 && !forced {
            if let Some(better) = self.better_replica(candidate, key) {
                return Some(format!("it has no data, but replica {better} has"));
            }
            if self.settings.no_empty_promotion {
                return Some("it has no data".into());
            }
        }
        self.newer_claim(candidate, request)
    }

    /// Another replica of the same primary that has data and could stand.
    fn better_replica(&self, candidate: NodeKey, primary: NodeKey) -> Option<NodeId> {
        let bad = super::node::Flags::FAIL.with(super::node::Flags::PFAIL);
        let others = self
            .nodes
            .get(primary)?
            .replicas
            .iter()
            .filter(|key| **key != candidate);
        others
            .filter_map(|key| self.nodes.get(*key))
            .find(|node| node.repl_offset > 0 && !node.flags.any(bad) && !can_not_stand(node))
            .map(|node| node.id)
    }

    /// A slot that the candidate claims may belong to a newer claim. Then the candidate is told of that one:
    /// if it is its own primary's, its next attempt will succeed (KB-12).
    fn newer_claim(&mut self, candidate: NodeKey, request: &Header<'_>) -> Option<String> {
        for slot in (0..SLOTS).filter(|slot| bit(request.slots, *slot)) {
            if self.nodes.slots.is_unclaimed(slot) {
                continue;
            }
            let Some(owner) = self.nodes.slots.owner(slot) else {
                continue;
            };
            let epoch = self.nodes.node(owner).config_epoch;
            if epoch > request.config_epoch {
                self.send_update(candidate, owner);
                return Some(format!(
                    "slot {slot} epoch ({epoch}) > reqEpoch ({})",
                    request.config_epoch
                ));
            }
        }
        None
    }

    /// Tells a node of another's slots.
    pub(super) fn send_update(&mut self, to: NodeKey, about: NodeKey) {
        let Some(conn) = self.nodes.get(to).and_then(|node| node.link) else {
            return;
        };
        let Some(node) = self.nodes.get(about) else {
            return;
        };
        let mut slots = *node.slots.bitmap();
        // What the node itself does not claim any more is not told on.
        for (byte, unclaimed) in slots.iter_mut().zip(self.nodes.slots.unclaimed.bitmap()) {
            *byte &= !unclaimed;
        }
        let body = Body::Update {
            config_epoch: node.config_epoch,
            node: node.id,
            slots: &slots,
        };
        if let Some(packet) = self.durable_packet(body) {
            self.send(conn, Kind::Update, packet);
        }
    }

    /// Logs why there is no election, but not again and again.
    fn cannot(&mut self, now: Now, obstacle: Obstacle) {
        const AGAIN_MS: u64 = 300_000;
        let at = now.mono_ms();
        let known = self.election.obstacle;
        if known
            .is_some_and(|(last, since)| last == obstacle && at.saturating_sub(since) < AGAIN_MS)
        {
            return;
        }
        let quiet = self.settings.node_timeout_ms + 5000;
        let primary = self.nodes.me().primary.and_then(|key| self.nodes.get(key));
        if primary.is_some_and(|node| node.failed() && at.saturating_sub(node.fail_time) < quiet) {
            return;
        }
        self.election.obstacle = Some((obstacle, at));
        let why = match obstacle {
            Obstacle::DataAge => {
                "Disconnected from master for longer than allowed. Please check the 'cluster-replica-validity-factor' configuration option."
            }
            Obstacle::Waiting => "Waiting the delay before I can start a new failover.",
            Obstacle::Expired => "Failover attempt expired.",
            Obstacle::Votes => "Waiting for votes, but majority still not reached.",
        };
        self.log(
            LogLevel::Warning,
            format!("Currently unable to failover: {why}"),
        );
    }
}

fn can_not_stand(node: &super::node::Node) -> bool {
    node.flags.any(super::node::Flags::NOFAILOVER)
}
