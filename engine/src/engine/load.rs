//! Applying what the files hold, some of it in each turn.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Engine;
use super::reload::Reload;
use crate::client::{Session, alert};
use crate::command::context::condition;
use crate::command::execute::{self, Request};
use crate::command::{access, dataset, libraries};
use crate::face::{Address, ConnId, Listener, Now};
use crate::persistence::LoadItem;
use crate::rdb::{Event, Plain};
use smallvec::SmallVec;

/// Items of a file applied in one go.
pub(super) const LOAD_STEP: usize = 256;

/// Of keys with short strings, so many count as one item.
pub(super) const PLAIN_KEYS_EACH: usize = 4;

/// A part of a large collection counts as so many items.
const PART_COST: usize = 64;

/// Items decoded before the first of them is applied.
const LOAD_AHEAD: usize = 16;

/// What applying an event takes, in small items.
pub(super) fn event_cost(event: &Event) -> usize {
    match event {
        Event::Part { .. } => PART_COST,
        _ => 1,
    }
}

fn cost(item: &LoadItem) -> usize {
    match item {
        LoadItem::Snapshot { event, .. } => event_cost(event),
        LoadItem::Command(_) => 1,
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
        let keeps_overdue = parts.is(condition::REPLICA);
        let (base, keys) = parts.persistence.plain_keys();
        let (mut overdue, config) = (0, &parts.config);
        let overdue_keys = &mut self.overdue_at_load;
        let inserted = dataset::insert_plain(
            &mut parts.store,
            &keys,
            |plain| access::loaded(config, now, plain.idle_s, plain.frequency),
            |store, plain| {
                let db = plain.db as usize;
                if plain.expire_ms.is_some_and(|at| at < now.unix_ms()) && !base && !keeps_overdue {
                    // Replicas that continue from before the restart learn of it by a DEL.
                    overdue_keys.push((db, plain.key.to_vec()));
                    overdue += 1;
                    return false;
                }
                if merges {
                    store.forget(db, plain.key);
                }
                true
            },
        );
        let twice = inserted.err().map(|at| {
            let Plain { db, key, .. } = keys[at];
            (db, String::from_utf8_lossy(key).into_owned())
        });
        let count = keys.len();
        drop(keys);
        if overdue > 0 {
            parts.persistence.count_expired(overdue);
        }
        if let Some((db, key)) = twice {
            let text = format!("RDB has duplicated key '{key}' in DB {db}");
            parts.persistence.reject_load(text);
        }
        count
    }

    fn load_event(&mut self, now: Now, event: Event, base: bool) {
        let parts = &mut self.parts;
        match event {
            Event::Part { value, left } => {
                let limits = dataset::Limits::new(&parts.config, &parts.store);
                let building = self.building.get_or_insert_default();
                if let Err(error) = building.add(value, left, &limits) {
                    (parts.persistence)
                        .reject_load(format!("Internal error in RDB reading: {error}"));
                }
            }
            Event::Key {
                db,
                key,
                expire_ms,
                value,
                idle_s,
                frequency,
            } => {
                let overdue = expire_ms.is_some_and(|at| at < now.unix_ms());
                let begun = self.building.take();
                if overdue && !base && !parts.is(condition::REPLICA) {
                    if let Some(begun) = begun {
                        begun.discard(&mut parts.store);
                    }
                    // Replicas that continue from before the restart learn of it by a DEL.
                    self.overdue_at_load.push((db as usize, key));
                    return parts.persistence.count_expired(1);
                }
                let access = access::loaded(&parts.config, now, idle_s, frequency);
                let limits = dataset::Limits::new(&parts.config, &parts.store);
                if self.reload.as_ref().is_some_and(Reload::merges) {
                    parts.store.forget(db as usize, &key);
                }
                match dataset::insert(
                    &mut parts.store,
                    db as usize,
                    &key,
                    begun,
                    value,
                    expire_ms,
                    access,
                    &limits,
                ) {
                    Ok(true) => {}
                    Ok(false) => {
                        let key = String::from_utf8_lossy(&key);
                        parts
                            .persistence
                            .reject_load(format!("RDB has duplicated key '{key}' in DB {db}"));
                    }
                    Err(error) => {
                        let key = String::from_utf8_lossy(&key);
                        parts.persistence.reject_load(format!(
                            "Internal error in RDB reading: key '{key}': {error}"
                        ));
                    }
                }
            }
            // Those that expire may have done so.
            Event::ResizeDb { db, keys, expires } => {
                let stay = keys.saturating_sub(expires);
                let stay = usize::try_from(stay).unwrap_or(usize::MAX);
                parts.store.expect(db as usize, stay);
            }
            Event::Function(library) => {
                // What was there before stays only in a reload that says so.
                let merges = self.reload.as_ref().is_some_and(Reload::merges);
                if let Err(why) = libraries::keep(parts, library, merges) {
                    let why = String::from_utf8_lossy(&why);
                    let why = format!("Failed loading library, {why}");
                    parts.persistence.reject_load(why);
                }
            }
            _ => {}
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
