//! `client-output-buffer-limit replica`: what a replica may have outstanding.
//!
//! The stream is shared, so a replica that lags costs the journal from its position on, not a copy.

use super::{Link, Serving};
use crate::ConnId;
use crate::journal::Journal;
use crate::replication::{Action, Cx, seconds};
use alloc::string::String;
use alloc::vec::Vec;

/// How many doublings of its output limit a replica can get (see [`Serving::grow_patience`]).
const MAX_PATIENCE: u32 = 20;

/// For how many replicas patience is remembered.
const MAX_PATIENTS: usize = 64;

impl Serving {
    pub(super) fn check_hard_limits(&mut self, cx: &mut Cx<'_>) {
        let hard = cx.settings.output_hard_bytes;
        if hard == 0 {
            return;
        }
        // A limit below the backlog would cut replicas that the backlog then lets continue.
        let limit = hard.max(cx.settings.backlog_bytes);
        for link in &mut self.links {
            if link.streaming && !link.caught_up && lag_bytes(link, cx.journal) < limit {
                link.caught_up = true;
                self.patience.remove(&link.name());
            }
        }
        let over: Vec<ConnId> = self
            .links
            .iter()
            .filter(|link| lag_bytes(link, cx.journal) >= self.limit(link, limit))
            .map(|link| link.conn)
            .collect();
        for conn in over {
            self.overrun(cx, conn);
        }
    }

    pub(super) fn check_soft_limits(&mut self, cx: &mut Cx<'_>) {
        let (soft, patience) = (cx.settings.output_soft_bytes, cx.settings.output_soft_s);
        let now = cx.now.mono_us;
        let mut over = Vec::new();
        for index in 0..self.links.len() {
            let limit = self.limit(&self.links[index], soft);
            let link = &mut self.links[index];
            if soft == 0 || lag_bytes(link, cx.journal) < limit {
                link.over_soft_since_us = None;
            } else if now.saturating_sub(*link.over_soft_since_us.get_or_insert(now))
                > seconds(patience)
            {
                over.push(link.conn);
            }
        }
        for conn in over {
            self.overrun(cx, conn);
        }
    }

    /// The limit for one link: doubled for each of its full synchronisations that the limit has cut.
    ///
    /// Where the write rate times the duration of a synchronisation exceeds the limit, Redis cuts every
    /// attempt at the same point and starts over, for ever. Here one of the next attempts ends.
    fn limit(&self, link: &Link, limit: u64) -> u64 {
        if link.caught_up || self.patience.is_empty() {
            return limit;
        }
        let cuts = self.patience.get(&link.name()).copied().unwrap_or(0);
        limit.saturating_mul(1 << cuts.min(MAX_PATIENCE))
    }

    fn grow_patience(&mut self, name: String) {
        if self.patience.len() >= MAX_PATIENTS && !self.patience.contains_key(&name) {
            self.patience.pop_first();
        }
        let cuts = self.patience.entry(name).or_default();
        *cuts = (*cuts + 1).min(MAX_PATIENCE);
    }

    fn overrun(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(link) = self.link_mut(conn)
            && !link.caught_up
        {
            let name = link.name();
            self.grow_patience(name);
        }
        cx.out.push(Action::Overrun { conn });
        self.forget(cx, conn);
        self.check_snapshot_audience(cx);
    }
}

/// How much stream a replica has still to take: what is not sent yet, and what waits for its socket.
fn lag_bytes(link: &Link, journal: &Journal) -> u64 {
    if !link.holds_journal() {
        return 0;
    }
    let unsent = journal.end().saturating_sub(link.position);
    unsent + if link.streaming { link.pending } else { 0 }
}
