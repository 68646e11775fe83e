//! A primary's snapshot on its way in: it is loaded beside the data that is still served, some of it in each turn, and
//! takes its place when it is complete. What has arrived and was not loaded yet is bounded: more is not read
//! ([`Engine::room`]).

use super::applier::{Applier, Rules, event_cost};
use super::load::{LOAD_STEP, PLAIN_KEYS_EACH};
use super::{Engine, LinkKind};
use crate::config::Config;
use crate::face::{ConnId, LogLevel, Now};
use crate::rdb::{Decoder, Event, Facts};
use crate::store::Store;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Bytes that the decoder is given at a time.
const PIECE: usize = 64 << 10;

/// What taking a piece counts, in small items.
const PIECE_COST: usize = 32;

/// Bytes that may wait to be loaded before no more are read.
const WAITING: usize = 256 << 10;

/// Bytes of our primary's that are read in one turn.
const MOUTHFUL: usize = 64 << 10;

/// What has arrived of it.
pub(crate) struct Incoming {
    decoder: Decoder,
    store: Store,
    applier: Applier,
    facts: Facts,
    /// Keys that were loaded.
    keys: u64,
    /// What is to be said of it.
    log: Vec<(LogLevel, String)>,
    /// The checksum is to be checked.
    verify: bool,
    failed: Option<String>,
    done: bool,
    /// What the decoder was not given yet.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// The decoder has more at hand.
    more: bool,
    /// All has arrived.
    ended: bool,
    /// Its length is known, and with it how many keys it can hold.
    measured: bool,
}

impl Incoming {
    /// A snapshot of so many bytes, if that is known, for an empty store.
    pub fn new(size: Option<u64>, verify: bool, store: Store) -> Incoming {
        Incoming {
            decoder: Decoder::new(size, verify).in_parts(),
            store,
            applier: Applier::default(),
            facts: Facts::default(),
            keys: 0,
            log: Vec::new(),
            verify,
            failed: None,
            done: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            more: false,
            ended: false,
            measured: size.is_some(),
        }
    }

    /// The next bytes.
    pub fn feed(&mut self, bytes: Bytes) {
        if !self.is_loaded() {
            self.waiting_bytes += bytes.len();
            self.waiting.push_back(bytes);
        }
    }

    /// There are no more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more is to be loaded: it is complete, or of no use.
    fn is_loaded(&self) -> bool {
        self.done || self.failed.is_some()
    }

    /// Whether more of it is at hand.
    fn is_at_hand(&self) -> bool {
        self.more || !self.waiting.is_empty()
    }

    /// Whether there is something to be done.
    pub fn has_work(&self) -> bool {
        self.ended || (!self.is_loaded() && self.is_at_hand())
    }

    /// Whether all has arrived, and been loaded as far as it can be.
    fn is_over(&self) -> bool {
        self.ended && (self.is_loaded() || !self.is_at_hand())
    }

    /// Loads some of what has arrived, or as `little` as can be.
    fn step(&mut self, config: &Config, now: Now, little: bool) {
        let mut left = if little { 1 } else { LOAD_STEP };
        let rules = Rules {
            config,
            now,
            // They go when our primary says so.
            keeps_overdue: true,
            merges: false,
            measured: self.measured,
        };
        self.more = true;
        while left > 0 && !self.is_loaded() {
            let keys = match little {
                true => Default::default(),
                false => self.decoder.plain_keys(),
            };
            if !keys.is_empty() {
                let outcome = self.applier.plain(&mut self.store, &keys, &rules);
                self.keys += keys.len() as u64;
                left = left.saturating_sub(keys.len().div_ceil(PLAIN_KEYS_EACH));
                self.failed = outcome.err();
                continue;
            }
            drop(keys);
            match self.decoder.next_event() {
                Ok(Event::NeedMore) => {
                    let Some(front) = self.waiting.front_mut() else {
                        self.more = false;
                        return;
                    };
                    let piece = front.split_to(front.len().min(PIECE));
                    if front.is_empty() {
                        self.waiting.pop_front();
                    }
                    self.waiting_bytes -= piece.len();
                    self.decoder.feed(&piece);
                    if !little {
                        left = left.saturating_sub(PIECE_COST);
                    }
                }
                Ok(event) => {
                    left = left.saturating_sub(event_cost(&event));
                    self.apply(event, &rules);
                }
                Err(error) => self.failed = Some(format!("{error}")),
            }
        }
    }

    fn apply(&mut self, event: Event, rules: &Rules<'_>) {
        let log = |level, text| self.log.push((level, text));
        if self.facts.learn(rules.now, &event, log) {
            return;
        }
        if let Event::End { checked } = event {
            let log = |level, text| self.log.push((level, text));
            (self.facts).end(self.keys, 0, !checked && self.verify, log);
            self.done = true;
            return;
        }
        self.keys += u64::from(matches!(event, Event::Key { .. }));
        self.failed = self.applier.event(&mut self.store, event, rules).err();
    }

    /// It is of no use: what there is of it is freed in steps.
    pub fn discard(self, store: &mut Store) {
        store.discard_all(self.store);
        self.applier.discard(store);
    }
}

impl Engine {
    /// Goes on with a snapshot that comes in.
    pub(super) fn incoming_step(&mut self, now: Now) {
        let Some(incoming) = &mut self.incoming else {
            return;
        };
        let delay = self.parts.config.key_load_delay;
        if incoming.has_work() && !self.load_brake.holds(now, delay) {
            incoming.step(&self.parts.config, now, delay != 0);
            self.load_brake.pull(now, delay, 1);
            self.parts.persistence.count_synchronised(incoming.keys);
            for (level, text) in incoming.log.drain(..) {
                self.parts.log(level, text);
            }
        }
        if incoming.is_over() {
            self.payload_end(now);
        }
    }

    /// How many bytes of a connection may be read now, where there is `room` for so many: those of our primary are taken
    /// as fast as they are carried out. If it is none, the engine is to be asked again in the next turn.
    pub fn room(&self, conn: ConnId, room: usize) -> usize {
        if (self.link.is_none() && self.incoming.is_none())
            || self.links.kind(conn) != Some(LinkKind::Primary)
        {
            return room;
        }
        match &self.incoming {
            Some(incoming) if incoming.ended || incoming.waiting_bytes > WAITING => 0,
            None if self.keeps_still() => 0,
            _ => room.min(MOUTHFUL),
        }
    }

    /// All of it is loaded, or as much as can be.
    fn payload_end(&mut self, now: Now) {
        let parts = &mut self.parts;
        let Some(mut incoming) = self.incoming.take() else {
            return;
        };
        if !incoming.done || incoming.failed.is_some() {
            let reason = (incoming.failed.take())
                .unwrap_or_else(|| format!("{}", incoming.decoder.cut_short()));
            incoming.discard(&mut parts.store);
            return parts
                .replication
                .load_failed(now, &mut parts.journal, &reason);
        }
        // A snapshot of what is replaced is nobody's use.
        self.job = None;
        self.full_copies += 1;
        let parts = &mut self.parts;
        parts.store.replace(incoming.store);
        parts.own_keys.clear();
        crate::command::libraries::refresh(parts);
        parts.watches.touch_all();
        let stream_db = incoming.facts.replication.selected_db;
        let stream_db = stream_db.and_then(|db| u32::try_from(db).ok());
        parts.replication.loaded(now, &mut parts.journal, stream_db);
        // The files go on with the new data and its offsets.
        parts.persistence.abort_save();
        parts.persistence.rebase(parts.journal.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::NOW;
    use crate::rdb::{Encoder, Header, KeyMeta, Options, ValueView};
    use crate::store::Hasher;

    /// A snapshot of so many small keys, all of which has arrived at once.
    fn arrived(keys: usize) -> Incoming {
        let mut encoder = Encoder::new(Options {
            compress: false,
            checksum: true,
        });
        encoder.begin(&Header {
            redis_version: crate::REDIS_VERSION,
            ctime_s: 0,
            used_memory: 0,
            replication: None,
            aof_base: false,
        });
        encoder.select_db(0, keys as u64, 0);
        for key in 0..keys {
            let key = format!("key:{key}");
            encoder.key(
                key.as_bytes(),
                &KeyMeta::default(),
                ValueView::Str(b"value"),
            );
        }
        encoder.end();
        let store = Store::new(1, Hasher::new((1, 2), false));
        let mut incoming = Incoming::new(None, true, store);
        incoming.feed(encoder.take());
        incoming.end();
        incoming
    }

    fn load(keys: usize, little: bool) -> usize {
        let (mut incoming, config) = (arrived(keys), Config::default());
        let (mut steps, mut loaded) = (0, 0);
        while !incoming.is_over() {
            incoming.step(&config, NOW, little);
            let now = incoming.store.databases()[0].len();
            let most = if little {
                1
            } else {
                LOAD_STEP * PLAIN_KEYS_EACH
            };
            assert!(now - loaded <= most, "{} keys in one step", now - loaded);
            (steps, loaded) = (steps + 1, now);
        }
        assert_eq!((loaded, &incoming.failed), (keys, &None));
        steps
    }

    #[test]
    fn what_comes_at_once_is_loaded_in_steps() {
        assert!(load(10_000, false) >= 10);
    }

    /// With `key-load-delay` it is key by key.
    #[test]
    fn little_is_one_key() {
        assert!(load(100, true) >= 100);
    }
}
