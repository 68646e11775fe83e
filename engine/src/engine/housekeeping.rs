//! Work that comes with time, each in bounded steps: due keys, eviction, clients that overstay, rates.

use super::Engine;
use super::took::Round;
use crate::client::limits;
use crate::command::context::condition;
use crate::command::evict;
use crate::command::{expire_fields, own_keys};
use crate::config::{NotifyEvents, OutputLimit};
use crate::face::{LogLevel, Now};
use crate::planted::{self, Bug};

/// Time between two rounds of housekeeping, in microseconds.
pub(super) const ROUND_US: u64 = 100_000;

/// Keys expired, and entries freed, in one go.
const STEP: usize = 64;

impl Engine {
    /// Evicts some keys if the data does not fit into `maxmemory`; true if there are more to evict.
    pub(super) fn evict_some(&mut self, now: Now) -> bool {
        let parts = &mut self.parts;
        if !parts.is(condition::MAXMEMORY) || parts.is(condition::LOADING) {
            return false;
        }
        let evicted = parts.stats.evicted;
        !evict::make_room(parts, now) && parts.stats.evicted > evicted
    }

    /// Work that comes with time: due keys, garbage, rates. Each in bounded steps.
    pub(super) fn housekeeping(&mut self, now: Now) {
        self.parts.end_pause_if_over(now);
        // While a script is under way nothing else touches the data.
        if now.mono_us < self.next_round_us || self.parts.is_midway() {
            return;
        }
        if self.parts.pause_housekeeping {
            self.next_round_us = now.mono_us + ROUND_US;
            return;
        }
        self.parts.persistence.tick(now, self.parts.changes);
        let stats = &self.parts.stats;
        let before = (stats.expired + stats.expired_fields, stats.evicted);
        let more = self.expire_some(now)
            | own_keys::expire(&mut self.parts, now, STEP * 8)
            | self.delete_slot_keys()
            | self.evict_some(now)
            | !self.parts.store.free_some(STEP * 8);
        let stats = &self.parts.stats;
        self.round = Round {
            expired: stats.expired + stats.expired_fields > before.0,
            evicted: stats.evicted > before.1,
        };
        self.next_round_us = now.mono_us
            + if more || planted::is(Bug::KeepsHouseOften) {
                1000
            } else {
                ROUND_US
            };
        if !crate::command::tracking::tend(&mut self.parts, now) {
            self.next_round_us = now.mono_us + 1000;
        }
        self.enforce_limits(now);
        self.parts.clients.count_some();
        crate::command::blocking::redirect_moved(&mut self.parts, now);
        let used = self.parts.startup_bytes
            + (self.parts.store.bytes() + self.parts.journal.bytes_held()) as u64;
        let stats = &mut self.parts.stats;
        stats.peak_bytes = stats.peak_bytes.max(used);
        let counts = [
            stats.processed,
            stats.bytes_in,
            stats.bytes_out,
            stats.replication_in,
            stats.replication_out,
        ];
        for (rate, count) in stats.rates.iter_mut().zip(counts) {
            rate.sample(now.mono_us, count);
        }
        let turns = stats.turns;
        stats.turn_rate.sample(now.mono_us, turns.count);
        // Microseconds a turn: its seconds are turns.
        stats
            .turn_time
            .sample(turns.count.saturating_mul(1_000_000), turns.total_us);
    }

    /// Closes clients that were idle for too long, or leave too much unread.
    fn enforce_limits(&mut self, now: Now) {
        let config = &self.parts.config;
        let limits = &config.client_output_buffer_limit;
        let limited = |limit: OutputLimit| limit.hard_bytes > 0 || limit.soft_bytes > 0;
        let listens = limited(limits.pubsub) && !self.parts.channels.nobody_listens();
        if config.timeout == 0 && !limited(limits.normal) && !listens {
            return;
        }
        for conn in self.parts.clients.conns() {
            let parts = &mut self.parts;
            let Some(session) = parts.clients.get_mut(conn) else {
                continue;
            };
            if limits::idle(session, &parts.config, now) {
                parts.clients.doom(conn);
                parts.log(LogLevel::Verbose, "Closing idle client");
            } else if limits::overrun(session, &parts.config, now) {
                parts.close_for_output(conn, now);
            }
        }
    }

    /// Deletes some of the keys that are due; true if there are more.
    fn expire_some(&mut self, now: Now) -> bool {
        const STAY: u32 =
            condition::REPLICA | condition::LOADING | condition::PAUSED | condition::IMPORT;
        if !self.parts.active_expire
            || planted::is(Bug::LazyExpiryOnly)
            || self.parts.conditions & STAY != 0
        {
            return false;
        }
        let mut left = STEP;
        for db in 0..self.parts.store.databases().len() {
            while let Some((key, place)) = self.parts.store.due(db, now.unix_ms()) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                let parts = &mut self.parts;
                let key = parts.store.hasher().key(&key);
                parts.store.delete(db, key, place);
                parts.watches.touch_by_nobody(db, key.bytes);
                parts.notify(NotifyEvents::EXPIRED, db, "expired", key.bytes);
                parts.stats.expired += 1;
                parts.changes += 1;
                parts.effects.begin();
                let verb: &[u8] = if parts.config.lazyfree_lazy_expire {
                    b"UNLINK"
                } else {
                    b"DEL"
                };
                if !planted::is(Bug::ExpiresInSilence) {
                    parts.effects.also(db, &[verb, key.bytes]);
                }
                parts.effects.end(&mut parts.journal, db, false, &[], None);
            }
            while let Some((key, place)) = self.parts.store.due_fields(db, now.unix_ms()) {
                if left == 0 {
                    return true;
                }
                let parts = &mut self.parts;
                left -= expire_fields(parts, now, db, &key, place, left).clamp(1, left);
            }
        }
        false
    }
}
