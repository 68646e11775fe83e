//! Putting what a snapshot holds into a store, wherever it comes from: files at the start, a file that is read back,
//! our primary. What is meant to differ is in the [`Rules`], and what becomes of an error is for the caller: a server
//! that cannot load its files ends, a synchronisation is begun again.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::command::dataset::{self, Building, Limits};
use crate::command::{access, libraries};
use crate::config::Config;
use crate::face::Now;
use crate::rdb::{Event, Plain};
use crate::store::Store;

/// A part of a large collection counts as so many items.
const PART_COST: usize = 64;

/// What applying an event takes, in small items.
pub(super) fn event_cost(event: &Event) -> usize {
    match event {
        Event::Part { .. } => PART_COST,
        _ => 1,
    }
}

/// What depends on where a snapshot comes from, and on who loads it.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Limits of small collections, and how last uses are told.
    pub config: &'a Config,
    /// The time.
    pub now: Now,
    /// Keys that are due stay: their primary says when they go, or what is read after the snapshot relies on them.
    pub keeps_overdue: bool,
    /// Keys and libraries that are there already are replaced (DEBUG RELOAD); else they are an error.
    pub merges: bool,
    /// Its length is known, and with it how many keys it can hold: what it says of their number may be relied on.
    pub measured: bool,
}

impl Rules<'_> {
    fn drops(&self, expire_ms: Option<u64>) -> bool {
        !self.keeps_overdue && expire_ms.is_some_and(|at| at < self.now.unix_ms())
    }
}

/// What is kept between one event and the next.
#[derive(Default)]
pub(super) struct Applier {
    /// A large collection of which not all has come.
    building: Option<Building>,
    /// The libraries of the store by name, once the first comes.
    libraries: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Keys that were due and not kept, with their databases.
    pub overdue: Vec<(usize, Vec<u8>)>,
}

impl Applier {
    /// Applies keys with short strings.
    ///
    /// # Errors
    /// One is there already.
    pub fn plain(
        &mut self,
        store: &mut Store,
        keys: &[Plain<'_>],
        rules: &Rules<'_>,
    ) -> Result<(), String> {
        let inserted = dataset::insert_plain(
            store,
            keys,
            |plain| access::loaded(rules.config, rules.now, plain.idle_s, plain.frequency),
            |store, plain| {
                let db = plain.db as usize;
                if rules.drops(plain.expire_ms) {
                    self.overdue.push((db, plain.key.to_vec()));
                    return false;
                }
                if rules.merges {
                    store.forget(db, plain.key);
                }
                true
            },
        );
        inserted.map_err(|at| twice(keys[at].db, keys[at].key))
    }

    /// Applies an event; what is no data changes nothing.
    ///
    /// # Errors
    /// The snapshot cannot be used.
    pub fn event(
        &mut self,
        store: &mut Store,
        event: Event,
        rules: &Rules<'_>,
    ) -> Result<(), String> {
        match event {
            Event::SelectDb(db) if db as usize >= store.databases().len() => Err(format!(
                "Data file was created with a Redis server configured to handle more than {} databases",
                store.databases().len()
            )),
            Event::ResizeDb { db, keys, expires } => {
                // Those that expire may have done so.
                let stay = if rules.keeps_overdue {
                    keys
                } else {
                    keys.saturating_sub(expires)
                };
                if rules.measured {
                    store.expect(db as usize, usize::try_from(stay).unwrap_or(usize::MAX));
                }
                Ok(())
            }
            Event::Part { value, left } => {
                let limits = Limits::new(rules.config, store);
                let building = self.building.get_or_insert_default();
                (building.add(value, left, &limits)).map_err(|why| damaged(&why))
            }
            Event::Key {
                db,
                key,
                expire_ms,
                value,
                idle_s,
                frequency,
            } => {
                let begun = self.building.take();
                let database = db as usize;
                if rules.drops(expire_ms) {
                    if let Some(begun) = begun {
                        begun.discard(store);
                    }
                    self.overdue.push((database, key));
                    return Ok(());
                }
                if rules.merges {
                    store.forget(database, &key);
                }
                let access = access::loaded(rules.config, rules.now, idle_s, frequency);
                let limits = Limits::new(rules.config, store);
                match dataset::insert(
                    store, database, &key, begun, value, expire_ms, access, &limits,
                ) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(twice(db, &key)),
                    Err(why) => {
                        let key = String::from_utf8_lossy(&key);
                        Err(damaged(&format!("key '{key}': {why}")))
                    }
                }
            }
            Event::Function(code) => self.library(store, code, rules.merges),
            _ => Ok(()),
        }
    }

    /// Keeps a library, to be compiled when all are there.
    fn library(&mut self, store: &mut Store, code: Vec<u8>, merges: bool) -> Result<(), String> {
        let known = self.libraries.get_or_insert_with(|| {
            let named = |code: &[u8]| Some((libraries::name(code).ok()?, code.to_vec()));
            store.functions().filter_map(named).collect()
        });
        // One without a name cannot be used, and is in nobody's way.
        if let Ok(name) = libraries::name(&code) {
            match known.insert(name.clone(), code.clone()) {
                Some(_) if !merges => {
                    let name = String::from_utf8_lossy(&name);
                    return Err(format!(
                        "Failed loading library, Library '{name}' already exists"
                    ));
                }
                Some(old) => store.drop_function(&old),
                None => {}
            }
        }
        store.keep_function(code);
        Ok(())
    }

    /// Frees what is not complete, in steps: the snapshot is not wanted any more.
    pub fn discard(self, store: &mut Store) {
        if let Some(building) = self.building {
            building.discard(store);
        }
    }
}

fn twice(db: u32, key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    format!("RDB has duplicated key '{key}' in DB {db}")
}

fn damaged(why: &str) -> String {
    format!("Internal error in RDB reading: {why}")
}
