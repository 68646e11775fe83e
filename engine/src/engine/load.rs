//! Applying what the files hold, some of it in each turn.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Engine;
use super::applier::{Rules, event_cost};
use super::reload::Reload;
use crate::client::{Session, alert};
use crate::command::context::condition;
use crate::command::execute::{self, Request};
use crate::config::Config;
use crate::face::{Address, ConnId, Listener, Now};
use crate::persistence::LoadItem;
use crate::rdb::Event;
use smallvec::SmallVec;

/// Items of a file applied in one go.
pub(super) const LOAD_STEP: usize = 256;

/// Of keys with short strings, so many count as one item.
pub(super) const PLAIN_KEYS_EACH: usize = 4;

/// Items decoded before the first of them is applied.
const LOAD_AHEAD: usize = 16;

fn cost(item: &LoadItem) -> usize {
    match item {
        LoadItem::Snapshot { event, .. } => event_cost(event),
        LoadItem::Command(_) => 1,
    }
}

/// For what comes from a file.
fn rules(config: &Config, now: Now, keeps_overdue: bool, merges: bool) -> Rules<'_> {
    Rules {
        config,
        now,
        keeps_overdue,
        merges,
        measured: true,
    }
}

/// A session that carries out what a file says.
pub(super) fn loader(now: Now) -> Box<Session> {
    let nowhere = || Address::Unix(String::new());
    let mut session = Session::new(
        0,
        ConnId::outgoing(0),
        Listener::Tcp,
        nowhere(),
        nowhere(),
        now,
    );
    session.set(alert::TRUSTED, true);
    Box::new(session)
}

impl Engine {
    /// Applies some of what the files hold; true if there is more at hand.
    pub(super) fn load_step(&mut self, now: Now) -> bool {
        if !self.parts.persistence.loading() {
            return false;
        }
        let delay = self.parts.config.key_load_delay;
        if self.load_brake.holds(now, delay) {
            return true;
        }
        let mut left = if delay == 0 { LOAD_STEP } else { 1 };
        self.load_brake.pull(now, delay, left as u64);
        let mut ahead = Vec::with_capacity(LOAD_AHEAD);
        let mut places: SmallVec<[(usize, u64); LOAD_AHEAD]> = SmallVec::new();
        while left > 0 {
            let plain = if delay == 0 {
                self.load_plain_keys(now)
            } else {
                0
            };
            if plain > 0 {
                left = left.saturating_sub(plain.div_ceil(PLAIN_KEYS_EACH));
                continue;
            }
            // Some keys at once: the places that they go to are asked for before the first goes there.
            while ahead.len() < LOAD_AHEAD.min(left) {
                let Some(item) = self.parts.persistence.poll_load(now) else {
                    left = 0;
                    break;
                };
                let store = &self.parts.store;
                let small = if let LoadItem::Snapshot {
                    event: Event::Key { db, key, value, .. },
                    ..
                } = &item
                {
                    let (db, hash) = (*db as usize, store.hasher().hash(key));
                    store.database(db).table().prefetch_segment(hash);
                    places.push((db, hash));
                    value.is_small()
                } else {
                    false
                };
                ahead.push(item);
                // Memory is bounded by the largest value, not by many of them.
                if !small {
                    break;
                }
            }
            if left == 0 && ahead.is_empty() {
                return false;
            }
            for (db, hash) in places.drain(..) {
                self.parts.store.database(db).table().prefetch_bucket(hash);
            }
            let more = left > 0;
            left = left.saturating_sub(ahead.iter().map(cost).sum());
            for item in ahead.drain(..) {
                match item {
                    LoadItem::Snapshot { event, base } => self.load_event(now, event, base),
                    LoadItem::Command(words) => self.load_command(now, &words),
                }
            }
            if !more {
                return false;
            }
        }
        true
    }

    /// Applies keys with short strings, if such come next; how many.
    fn load_plain_keys(&mut self, now: Now) -> usize {
        let merges = self.reload.as_ref().is_some_and(Reload::merges);
        let parts = &mut self.parts;
        let replica = parts.is(condition::REPLICA);
        let (base, keys) = parts.persistence.plain_keys();
        let count = keys.len();
        if count == 0 {
            return 0;
        }
        let rules = rules(&parts.config, now, base || replica, merges);
        let before = self.applier.overdue.len();
        let outcome = self.applier.plain(&mut parts.store, &keys, &rules);
        drop(keys);
        self.event_applied(outcome, before);
        count
    }

    fn load_event(&mut self, now: Now, event: Event, base: bool) {
        let merges = self.reload.as_ref().is_some_and(Reload::merges);
        let parts = &mut self.parts;
        let replica = parts.is(condition::REPLICA);
        let rules = rules(&parts.config, now, base || replica, merges);
        let before = self.applier.overdue.len();
        let ends_us = matches!(event, Event::SelectDb(_));
        let mut outcome = self.applier.event(&mut parts.store, event, &rules);
        if ends_us {
            outcome = outcome.map_err(|why| format!("FATAL: {why}. Exiting"));
        }
        self.event_applied(outcome, before);
    }

    /// Something was applied, when so many keys had been due before.
    fn event_applied(&mut self, outcome: Result<(), String>, overdue: usize) {
        let persistence = &mut self.parts.persistence;
        persistence.count_expired((self.applier.overdue.len() - overdue) as u64);
        if let Err(why) = outcome {
            persistence.reject_load(why);
        }
    }

    fn load_command(&mut self, now: Now, words: &[Vec<u8>]) {
        let Some(mut session) = self.loader.take() else {
            return;
        };
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        match self.parts.index.find_original(words[0]) {
            None => self.parts.persistence.reject_command(words[0]),
            command => {
                let request = Request {
                    args: &words,
                    raw: None,
                    command,
                    first_hash: None,
                };
                execute::process(&mut self.parts, &mut session, now, request);
                let pending = session.out.pending() as usize;
                session.out.advance(pending);
            }
        }
        self.loader = Some(session);
    }
}
