//! Whether keys may be served at all.
//!
//! They may not while a slot has no working owner (unless configured otherwise), nor while this node hears
//! from no majority of the primaries that own slots. A primary goes by more than suspicions there: it holds
//! a *lease* from each of them, from the time that the last answered ping left, for one node timeout and a
//! little. It runs out before a majority can have elected a successor, since each of them heard from us no
//! earlier than that, waits out the timeout, and the successor another half second (C6). It is tested at
//! every command, so that a process that was stopped and goes on serves nothing stale.

use super::node::Flags;
use super::{Cluster, Decision};
use crate::value::slot::SLOTS;
use crate::{LogLevel, Now};
use alloc::vec::Vec;

/// A primary that was in a minority serves again only after the node timeout, within these bounds: time to
/// hear that it was replaced.
const REJOIN_MS: core::ops::RangeInclusive<u64> = 500..=5000;
/// A primary that starts serves only after this.
const WRITABLE_MS: u64 = 2000;

/// Milliseconds that a lease outlasts the node timeout, so that a late pong does not stop the service: less
/// than the 500 for which every candidate waits.
const LEASE_SLACK_MS: u64 = 250;

/// The cluster's state as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Keys are served.
    Ok,
    /// They are not.
    #[default]
    Fail,
}

/// The state and what it follows from.
#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    /// Primaries that own slots.
    pub(super) size: usize,
    began: Option<u64>,
    minority_at: Option<u64>,
    /// When (monotonic milliseconds) the majority's leases run out.
    lease_until: u64,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            state: State::Fail,
            size: 1,
            began: None,
            minority_at: None,
            lease_until: 0,
        }
    }
}

impl Health {
    /// The state at the last evaluation.
    pub fn state(&self) -> State {
        self.state
    }
}

impl Cluster {
    /// Whether keys are served at this moment.
    pub fn state(&self, now: Now) -> State {
        if self.nodes.me().is_primary() && now.mono_ms() > self.health.lease_until {
            return State::Fail;
        }
        self.health.state
    }

    /// How many primaries must agree.
    pub(super) fn quorum(&self) -> usize {
        self.health.size / 2 + 1
    }

    /// Evaluates the state anew.
    pub(super) fn update_state(&mut self, now: Now) {
        self.todo.update_state = false;
        let at = now.mono_ms();
        let began = *self.health.began.get_or_insert(at);
        let primary = self.nodes.me().is_primary();
        self.health.size = self.nodes.iter().filter(|(_, node)| node.votes()).count();
        let majority = self.has_majority(at, primary);
        // (Where no primary has slots, none was partitioned away: who is given the first ones need not wait.)
        if !majority && self.health.size > 0 {
            self.health.minority_at = Some(at);
        }
        if primary && self.health.state == State::Fail && at.saturating_sub(began) < WRITABLE_MS {
            return;
        }
        let new = if majority && self.covers_slots() {
            State::Ok
        } else {
            State::Fail
        };
        if new == self.health.state {
            return;
        }
        let rejoin = self
            .settings
            .node_timeout_ms
            .clamp(*REJOIN_MS.start(), *REJOIN_MS.end());
        if new == State::Ok
            && primary
            && self
                .health
                .minority_at
                .is_some_and(|minority| at.saturating_sub(minority) < rejoin)
        {
            return;
        }
        self.health.state = new;
        let (ok, name) = (
            new == State::Ok,
            if new == State::Ok { "ok" } else { "fail" },
        );
        self.log(
            LogLevel::Warning,
            alloc::format!("Cluster state changed: {name}"),
        );
        self.decide(Decision::StateChanged { ok });
    }

    fn covers_slots(&self) -> bool {
        let working = self.nodes.iter().filter(|(_, node)| !node.failed());
        let covered: u32 = working.map(|(_, node)| u32::from(node.slots.len())).sum();
        !self.settings.require_full_coverage || covered == u32::from(SLOTS)
    }

    /// Whether a majority of the primaries with slots is there, this node counted if it is one; sets the
    /// end of the lease.
    fn has_majority(&mut self, at: u64, primary: bool) -> bool {
        let lease = self.settings.node_timeout_ms + LEASE_SLACK_MS;
        let bad = Flags::FAIL.with(Flags::PFAIL);
        let reachable = || {
            self.nodes
                .iter()
                .filter(|(_, node)| node.votes() && !node.flags.any(bad))
        };
        let quorum = self.quorum();
        if !primary {
            return reachable().count() >= quorum;
        }
        let mut leases: Vec<u64> = reachable()
            .map(|(_, node)| {
                if node.flags.any(Flags::MYSELF) {
                    u64::MAX
                } else {
                    node.lease.map_or(0, |at| at + lease)
                }
            })
            .collect();
        leases.sort_unstable_by(|a, b| b.cmp(a));
        // A cluster where nobody owns a slot yet has nobody to lose.
        self.health.lease_until = if self.health.size == 0 {
            u64::MAX
        } else {
            leases.get(quorum - 1).copied().unwrap_or(0)
        };
        self.health.size > 0 && self.health.lease_until >= at
    }
}
