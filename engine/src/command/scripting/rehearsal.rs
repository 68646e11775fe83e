//! Changes that only the session sees which makes them.
//!
//! A session has versions of its own of the keys that its commands write. While its commands are carried out they take
//! the place of the real ones, which are kept aside: from [`Rehearsal::admit`] to [`Rehearsal::leave`], in which time
//! nobody else's command is carried out, nothing expires, no snapshot or link makes a step. Afterwards the real ones are
//! back, as they were, and so is all that commands leave behind besides data: what is watched, waited for, cached or
//! listened to, the journal's wishes, counts of changes. So there is nothing to be rolled back at the session's end.
//!
//! Values share what is large: a version costs what it differs by.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::super::context::{Parts, condition};
use super::super::table::{Command, flag};
use crate::client::{KeyEvents, Watches};
use crate::face::ConnId;
use crate::planted::{self, Bug};
use crate::store::{OwnedValue, Parts as Version, Store};
use crate::value::number::parse_i64;

/// Keys that a session may change.
const MOST_KEYS: usize = 10_000;

/// Bytes of its versions of them.
const MOST_BYTES: usize = 256 << 20;

/// Keys by database and name: what is there, or that nothing is.
type Versions = BTreeMap<(usize, Vec<u8>), Option<Version>>;

/// What a session has changed. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    /// Its versions, while they are not in their places.
    own: Versions,
    /// Bytes of them.
    bytes: usize,
    /// What is kept while they are.
    aside: Option<Aside>,
}

#[derive(Debug)]
struct Aside {
    /// The real versions.
    real: Versions,
    watches: Watches,
    events: KeyEvents,
    monitors: Vec<ConnId>,
    own_keys: BTreeSet<(usize, Vec<u8>)>,
    wanted: bool,
    changes: u64,
}

/// Whether the command sends a message.
pub(super) fn is_message(command: &Command) -> bool {
    matches!(command.name, "publish" | "spublish")
}

impl Rehearsal {
    /// A command is about to be carried out: the session's versions are in their places from now on, also of the keys
    /// that it may write.
    ///
    /// # Errors
    /// It cannot be undone.
    pub fn admit(
        &mut self,
        parts: &mut Parts,
        db: usize,
        command: &'static Command,
        args: &[&[u8]],
    ) -> Result<(), &'static str> {
        self.enter(parts);
        let is = |flags: u32| command.flags & flags != 0;
        let writes = is(flag::WRITE | flag::MAY_REPLICATE);
        let general = is(flag::WRITE) && command.keys.is_empty();
        if is(flag::NOSCRIPT | flag::ADMIN) || general || command.name == "migrate" {
            return Err(
                "ERR This command cannot be undone at the end of the session. Use SCRIPT DEBUG SYNC.",
            );
        }
        let Some(aside) = self.aside.as_mut().filter(|_| writes) else {
            return Ok(());
        };
        let mut names = Vec::new();
        // (If its words contradict themselves, it will say so, and change nothing.)
        let _ = command.each_key(args.len(), |i| args[i], |i, _| names.push(args[i]));
        let mut dbs = alloc::vec![db];
        if matches!(command.name, "copy" | "move") {
            // Some word says which database is meant, too.
            let count = parts.store.databases().len();
            let numbers = args[1..].iter().filter_map(|word| parse_i64(word));
            let numbers = numbers.filter_map(|n| usize::try_from(n).ok());
            dbs.extend(numbers.filter(|&n| n < count));
        }
        if aside.real.len() + names.len() * dbs.len() > MOST_KEYS || self.bytes > MOST_BYTES {
            return Err(
                "ERR Too much would have to be undone at the end of the session. Use SCRIPT DEBUG SYNC.",
            );
        }
        for db in dbs {
            for &name in &names {
                let real = &mut aside.real;
                real.entry((db, name.to_vec()))
                    .or_insert_with(|| copy(&parts.store, db, name));
            }
        }
        Ok(())
    }

    fn enter(&mut self, parts: &mut Parts) {
        if self.aside.is_some() {
            return;
        }
        parts.set(condition::REHEARSAL, true);
        let own = core::mem::take(&mut self.own);
        let mut real = Versions::new();
        for ((db, name), version) in own {
            let was = take(&mut parts.store, db, &name);
            put(&mut parts.store, db, &name, version);
            real.insert((db, name), was);
        }
        self.aside = Some(Aside {
            real,
            watches: core::mem::take(&mut parts.watches),
            events: core::mem::take(&mut parts.events),
            monitors: core::mem::take(&mut parts.monitors),
            own_keys: core::mem::take(&mut parts.own_keys),
            wanted: core::mem::take(&mut parts.effects.wanted),
            changes: parts.changes,
        });
    }

    /// Everything is again as others know it.
    pub fn leave(&mut self, parts: &mut Parts) {
        let Some(aside) = self.aside.take() else {
            return;
        };
        self.bytes = 0;
        let stays = planted::is(Bug::KeepsRehearsals) && parts.store.walking();
        for ((db, name), version) in aside.real {
            if stays {
                continue;
            }
            let own = take(&mut parts.store, db, &name);
            put(&mut parts.store, db, &name, version);
            self.bytes += name.len() + own.as_ref().map_or(0, bytes);
            self.own.insert((db, name), own);
        }
        parts.watches = aside.watches;
        parts.events = aside.events;
        parts.monitors = aside.monitors;
        parts.own_keys = aside.own_keys;
        parts.effects.wanted = aside.wanted;
        parts.changes = aside.changes;
        parts.set(condition::REHEARSAL, false);
    }

    /// The session is over: what is large is freed in steps.
    pub fn end(mut self, parts: &mut Parts) {
        self.leave(parts);
        for version in self.own.into_values().flatten() {
            if let OwnedValue::Object(object) = version.value {
                parts.store.discard_object(object);
            }
        }
    }
}

fn bytes(version: &Version) -> usize {
    match &version.value {
        OwnedValue::Bytes(bytes) => bytes.len(),
        OwnedValue::Int(_) => 0,
        OwnedValue::Object(object) => object.memory(),
    }
}

fn copy(store: &Store, db: usize, name: &[u8]) -> Option<Version> {
    let place = store.find(db, store.hasher().key(name))?;
    Some(store.entry(db, place).to_parts())
}

fn take(store: &mut Store, db: usize, name: &[u8]) -> Option<Version> {
    let key = store.hasher().key(name);
    let place = store.find(db, key)?;
    Some(store.remove(db, key, place))
}

fn put(store: &mut Store, db: usize, name: &[u8], version: Option<Version>) {
    let Some(version) = version else {
        return;
    };
    let key = store.hasher().key(name);
    let (value, deadline) = (version.value.as_value(), version.deadline);
    let place = store.insert(db, key, value, deadline, version.access);
    if version.raw {
        store.set_raw(db, place);
    }
}
