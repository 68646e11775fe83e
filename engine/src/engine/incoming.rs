//! A primary's snapshot on its way in: it is loaded beside the data that is still served, and takes its place when
//! it is complete.

use super::Engine;
use crate::command::access;
use crate::command::dataset::{self, Building, Limits};
use crate::config::Config;
use crate::face::Now;
use crate::rdb::{Decoder, Event};
use crate::store::Store;
use alloc::format;
use alloc::string::String;

/// What has arrived of it.
pub(crate) struct Incoming {
    decoder: Decoder,
    store: Store,
    /// A large collection of which not all has arrived.
    building: Option<Building>,
    stream_db: Option<u32>,
    failed: Option<String>,
    done: bool,
    /// Its length is known, and with it how many keys it can hold.
    measured: bool,
}

impl Incoming {
    /// A snapshot of so many bytes, if that is known, for an empty store.
    pub fn new(size: Option<u64>, verify: bool, store: Store) -> Incoming {
        Incoming {
            decoder: Decoder::new(size, verify).in_parts(),
            store,
            building: None,
            stream_db: None,
            failed: None,
            done: false,
            measured: size.is_some(),
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8], config: &Config, now: Now) {
        if self.failed.is_some() {
            return;
        }
        self.decoder.feed(bytes);
        let limits = Limits::new(config, &self.store);
        while self.failed.is_none() && !self.done {
            let keys = self.decoder.plain_keys();
            if !keys.is_empty() {
                let inserted = dataset::insert_plain(
                    &mut self.store,
                    &keys,
                    |key| access::loaded(config, now, key.idle_s, key.frequency),
                    |_, _| true,
                );
                if inserted.is_err() {
                    self.failed = Some(TWICE.into());
                }
                continue;
            }
            drop(keys);
            match self.decoder.next_event() {
                Ok(Event::NeedMore) => return,
                Ok(event) => self.failed = self.apply(event, config, &limits, now).err(),
                Err(error) => self.failed = Some(format!("{error}")),
            }
        }
    }

    fn apply(
        &mut self,
        event: Event,
        config: &Config,
        limits: &Limits,
        now: Now,
    ) -> Result<(), String> {
        match event {
            Event::Aux { name, value } if name == b"repl-stream-db" => {
                let number = core::str::from_utf8(&value).ok();
                self.stream_db = number.and_then(|number| number.parse().ok());
            }
            Event::SelectDb(db) if db as usize >= self.store.databases().len() => {
                return Err("the snapshot has more databases than we".into());
            }
            Event::ResizeDb { db, keys, .. } if self.measured => {
                (self.store).expect(db as usize, usize::try_from(keys).unwrap_or(usize::MAX));
            }
            Event::Part { value, left } => {
                let building = self.building.get_or_insert_default();
                building.add(value, left, limits)?;
            }
            Event::Key {
                db,
                key,
                expire_ms,
                value,
                idle_s,
                frequency,
            } => {
                let access = access::loaded(config, now, idle_s, frequency);
                let begun = self.building.take();
                let store = &mut self.store;
                if !dataset::insert(
                    store,
                    db as usize,
                    &key,
                    begun,
                    value,
                    expire_ms,
                    access,
                    limits,
                )? {
                    return Err(TWICE.into());
                }
            }
            Event::Function(library) => self.store.keep_function(library),
            Event::End { .. } => self.done = true,
            _ => {}
        }
        Ok(())
    }

    /// It is of no use: what there is of it is freed in steps.
    pub fn discard(self, store: &mut Store) {
        store.discard_all(self.store);
        if let Some(building) = self.building {
            building.discard(store);
        }
    }
}

const TWICE: &str = "the snapshot holds a key twice";

impl Engine {
    /// All of it is here.
    pub(super) fn payload_end(&mut self, now: Now) {
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
        parts
            .replication
            .loaded(now, &mut parts.journal, incoming.stream_db);
        // The files go on with the new data and its offsets.
        parts.persistence.abort_save();
        parts.persistence.rebase(parts.journal.end());
    }
}
