//! The databases, and all changes to them: every write goes through here, so that bytes are
//! accounted, deadlines indexed, and a running snapshot sees each entry as it was.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Bound;

use super::entry::{Entry, EntryRef, Object, Parts, Value, ValueRef};
use super::garbage::Garbage;
use super::key::{Hasher, Key};
use super::sizes::{Bin, Sizes};
use super::snapshot::Walk;
use super::table::{self, Place, Table};
use crate::value::long_text::LongText;
use crate::value::slot::slot_of;

/// Bytes that one indexed deadline takes: a pair in a B-tree that is about two thirds full.
pub const DEADLINE_BYTES: usize = 24;

/// What becomes of a key's deadline when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It keeps the one it has.
    Keep,
    /// It has none from now on.
    Clear,
    /// It expires at this Unix time in milliseconds.
    At(u64),
}

/// One numbered database.
pub struct Database {
    pub(super) table: Table,
    /// (deadline, hash) of every key that expires.
    deadlines: BTreeSet<(u64, u64)>,
    /// (time of its first field to expire, hash) of every key whose value has such.
    field_times: BTreeSet<(u64, u64)>,
    /// Bytes of the entries, of what they own, and of the deadlines' index.
    bytes: usize,
    sizes: Sizes,
    /// Where the running snapshot's walk stands in this table; `None` if it is done with it, or was
    /// never to come here.
    pub(super) walk_from: Option<u64>,
}

impl Database {
    fn new() -> Database {
        Database {
            table: Table::default(),
            deadlines: BTreeSet::new(),
            field_times: BTreeSet::new(),
            bytes: 0,
            sizes: Sizes::default(),
            walk_from: None,
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Number of keys that expire.
    pub fn expires(&self) -> usize {
        self.deadlines.len()
    }

    /// Bytes of the indexes of keys, and of fields of hashes, that expire.
    pub fn deadline_bytes(&self) -> usize {
        (self.deadlines.len() + self.field_times.len()) * DEADLINE_BYTES
    }

    /// Number of hashes that have fields that expire.
    pub fn timed_hashes(&self) -> usize {
        self.field_times.len()
    }

    /// When the first field of a hash expires.
    #[inline]
    pub fn next_field_time(&self) -> Option<u64> {
        self.field_times.first().map(|first| first.0)
    }

    /// Mean time to live of the next keys to expire, in milliseconds from `now_ms` (INFO's avg_ttl).
    pub fn mean_ttl_ms(&self, now_ms: u64) -> u64 {
        let (sum, n) = self
            .deadlines
            .iter()
            .take(64)
            .fold((0, 0), |(sum, n), &(at, _)| {
                (sum + at.saturating_sub(now_ms), n + 1)
            });
        sum.checked_div(n).unwrap_or(0)
    }

    /// The values by their sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The hash table, to look at.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// A key's time is another from now on.
#[inline]
fn reindex(
    times: &mut BTreeSet<(u64, u64)>,
    bytes: &mut usize,
    hash: u64,
    old: Option<u64>,
    new: Option<u64>,
) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        times.remove(&(old, hash));
        *bytes -= DEADLINE_BYTES;
    }
    if let Some(new) = new {
        times.insert((new, hash));
        *bytes += DEADLINE_BYTES;
    }
}

/// All databases. See the module's documentation.
pub struct Store {
    pub(super) databases: Vec<Database>,
    pub(super) hasher: Hasher,
    pub(super) walk: Option<Walk>,
    pub(super) garbage: Garbage,
    /// Function libraries as snapshots store them. They are kept, not understood.
    functions: BTreeSet<Vec<u8>>,
    /// How often they changed.
    functions_version: u64,
    /// See [`Store::lend`].
    lent: Option<LongText>,
}

impl Store {
    /// `count` empty databases.
    pub fn new(count: usize, hasher: Hasher) -> Store {
        let databases = (0..count).map(|_| Database::new()).collect();
        Store {
            databases,
            hasher,
            walk: None,
            garbage: Garbage::default(),
            functions: BTreeSet::new(),
            functions_version: 0,
            lent: None,
        }
    }

    /// Lends the bytes of the request that is being carried out, all that was read of it: a long word of it may stay
    /// there as a string. Ends with [`Store::end_loan`].
    pub fn lend(&mut self, request: LongText) {
        self.lent = Some(request);
    }

    /// The request has been carried out.
    pub fn end_loan(&mut self) {
        self.lent = None;
    }

    /// The string that these bytes are, without a copy: they must be a word of the request that is lent, and nearly all
    /// of it.
    #[inline]
    pub fn lent_text(&self, word: &[u8]) -> Option<LongText> {
        self.lent.as_ref()?.part(word)
    }

    /// The hash of keys.
    #[inline]
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The databases.
    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// One database.
    #[inline]
    pub fn database(&self, db: usize) -> &Database {
        &self.databases[db]
    }

    /// Has what some lookups, each of a database's number and a hash, will read fetched into the cache; their segments
    /// were asked for before ([`Table::prefetch_segment`]).
    #[inline]
    pub fn prefetch(&self, lookups: impl Iterator<Item = (usize, u64)> + Clone) {
        table::fetch(lookups.map(|(db, hash)| (&self.databases[db].table, hash)));
    }

    /// Bytes that data takes: what `maxmemory` is compared with, besides buffers.
    pub fn bytes(&self) -> usize {
        self.databases
            .iter()
            .map(|d| d.bytes + d.table.bytes())
            .chain(self.functions.iter().map(Vec::len))
            .sum()
    }

    /// The function libraries, as a snapshot stores them. Not every server that keeps them can call them.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.functions.iter().map(Vec::as_slice)
    }

    /// Keeps a function library that a snapshot holds.
    pub fn keep_function(&mut self, library: Vec<u8>) {
        self.functions.insert(library);
        self.functions_version += 1;
    }

    /// Whether a function library is kept.
    pub fn holds_function(&self, library: &[u8]) -> bool {
        self.functions.contains(library)
    }

    /// Forgets a function library.
    pub fn drop_function(&mut self, library: &[u8]) {
        self.functions.remove(library);
        self.functions_version += 1;
    }

    /// A number that changes whenever the function libraries do.
    pub fn functions_version(&self) -> u64 {
        self.functions_version
    }

    /// Where a key is, whether due to expire or not.
    #[inline]
    pub fn find(&self, db: usize, key: Key<'_>) -> Option<Place> {
        self.databases[db].table.find(key.hash, key.bytes)
    }

    /// The entry at a place.
    #[inline]
    pub fn entry(&self, db: usize, place: Place) -> EntryRef<'_> {
        self.databases[db].table.entry(place)
    }

    /// The object at a key.
    #[inline]
    pub fn object(&self, db: usize, key: Key<'_>) -> Option<&Object> {
        match self.entry(db, self.find(db, key)?).value() {
            ValueRef::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Sets the access clock of an entry.
    #[inline]
    pub fn touch(&mut self, db: usize, place: Place, access: u32) {
        self.databases[db].table.entry_mut(place).touch(access);
    }

    /// Notes that a short string is raw (see [`EntryRef::is_raw`]).
    pub fn set_raw(&mut self, db: usize, place: Place) {
        self.databases[db].table.entry_mut(place).set_raw();
    }

    /// To be called before an entry changes or goes: a running snapshot that has not come to it
    /// keeps it as it is.
    #[inline]
    fn before_write(&mut self, db: usize, hash: u64, place: Place) {
        if self.databases[db]
            .walk_from
            .is_some_and(|from| hash >= from)
        {
            self.save_for_walk(db, place);
        }
    }

    #[cold]
    fn save_for_walk(&mut self, db: usize, place: Place) {
        let entry = self.databases[db].table.entry(place);
        if entry.marked() {
            return;
        }
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.keeps()) else {
            return;
        };
        walk.save(db, entry);
        self.databases[db].table.entry_mut(place).mark(true);
    }

    fn index(&mut self, db: usize, hash: u64, old: Option<u64>, new: Option<u64>) {
        let Database {
            deadlines, bytes, ..
        } = &mut self.databases[db];
        reindex(deadlines, bytes, hash, old, new);
    }

    #[inline]
    fn index_fields(&mut self, db: usize, hash: u64, old: Option<u64>, new: Option<u64>) {
        let Database {
            field_times, bytes, ..
        } = &mut self.databases[db];
        reindex(field_times, bytes, hash, old, new);
    }

    /// Sets a key to a value, whatever it held. Returns where it is now.
    pub fn set(
        &mut self,
        db: usize,
        key: Key<'_>,
        value: Value<'_>,
        deadline: Deadline,
        access: u32,
    ) -> Place {
        let Some(place) = self.find(db, key) else {
            let deadline = match deadline {
                Deadline::At(at) => Some(at),
                _ => None,
            };
            return self.insert(db, key, value, deadline, access);
        };
        self.set_at(db, key, place, value, deadline, access)
    }

    /// As [`Store::set`], of a key that is at `place`.
    pub fn set_at(
        &mut self,
        db: usize,
        key: Key<'_>,
        place: Place,
        value: Value<'_>,
        deadline: Deadline,
        access: u32,
    ) -> Place {
        self.before_write(db, key.hash, place);
        let database = &mut self.databases[db];
        let size = Bin::of(database.table.entry(place).value());
        database.sizes.change(size, Bin::of_new(&value));
        let mut entry = database.table.entry_mut(place);
        let old = entry.deadline();
        let new = match deadline {
            Deadline::Keep => old,
            Deadline::Clear => None,
            Deadline::At(at) => Some(at),
        };
        if old.is_some() == new.is_some() && entry.overwrite(&value) {
            entry.overwrite_deadline(new);
            entry.touch(access);
            self.index(db, key.hash, old, new);
            return place;
        }
        let marked = entry.marked();
        let mut fresh = Entry::new(key.bytes, value, new, access);
        fresh.view_mut().mark(marked);
        let database = &mut self.databases[db];
        database.bytes += fresh.view().memory();
        let new_time = fresh.view().value().next_time();
        let gone = database.table.replace(place, fresh);
        database.bytes -= gone.view().memory();
        let old_time = gone.view().value().next_time();
        self.garbage.add_entry(gone);
        self.index(db, key.hash, old, new);
        self.index_fields(db, key.hash, old_time, new_time);
        place
    }

    /// Makes an empty database as it will be with so many keys, if their hashes are spread evenly: they need not be in
    /// a cluster, where they begin with the slot.
    pub fn expect(&mut self, db: usize, keys: usize) {
        if !self.hasher.by_slot() && self.databases[db].walk_from.is_none() {
            self.databases[db].table.expect(keys);
        }
    }

    /// Puts a key in that is not there.
    pub fn insert(
        &mut self,
        db: usize,
        key: Key<'_>,
        value: Value<'_>,
        deadline: Option<u64>,
        access: u32,
    ) -> Place {
        let hasher = self.hasher;
        let database = &mut self.databases[db];
        let mut entry = Entry::new(key.bytes, value, deadline, access);
        // A snapshot that is still to come here must not see what is newer than itself.
        if database.walk_from.is_some_and(|from| key.hash >= from)
            && self.walk.as_ref().is_some_and(Walk::keeps)
        {
            entry.view_mut().mark(true);
        }
        database.bytes += entry.view().memory();
        database.sizes.add(Bin::of(entry.view().value()));
        let time = entry.view().value().next_time();
        let place = database
            .table
            .insert(key.hash, entry, |key| hasher.hash(key));
        self.index(db, key.hash, None, deadline);
        self.index_fields(db, key.hash, None, time);
        place
    }

    /// Changes a key's deadline.
    pub fn set_deadline(&mut self, db: usize, key: Key<'_>, place: Place, deadline: Option<u64>) {
        self.before_write(db, key.hash, place);
        let mut entry = self.databases[db].table.entry_mut(place);
        let old = entry.deadline();
        if !entry.overwrite_deadline(deadline) {
            let Parts {
                value, access, raw, ..
            } = entry.to_parts();
            let marked = entry.marked();
            let mut fresh = Entry::new(key.bytes, value.as_value(), deadline, access);
            fresh.view_mut().mark(marked);
            if raw {
                fresh.view_mut().set_raw();
            }
            let database = &mut self.databases[db];
            database.bytes += fresh.view().memory();
            let gone = database.table.replace(place, fresh);
            database.bytes -= gone.view().memory();
        }
        self.index(db, key.hash, old, deadline);
    }

    /// Changes the object at a place; `None` if the value is not an object.
    pub fn modify<R>(
        &mut self,
        db: usize,
        key: Key<'_>,
        place: Place,
        change: impl FnOnce(&mut Object) -> R,
    ) -> Option<R> {
        self.before_write(db, key.hash, place);
        let database = &mut self.databases[db];
        let mut entry = database.table.entry_mut(place);
        let object = entry.object_mut()?;
        let (before, old_time) = (object.memory(), ValueRef::Object(object).next_time());
        let len = object.len();
        let result = change(object);
        database.sizes.grown(object, len);
        let new_time = ValueRef::Object(object).next_time();
        database.bytes = database.bytes + object.memory() - before;
        self.index_fields(db, key.hash, old_time, new_time);
        Some(result)
    }

    /// Takes a key out.
    pub fn remove(&mut self, db: usize, key: Key<'_>, place: Place) -> Parts {
        let entry = self.take(db, key, place);
        entry.into_parts()
    }

    /// Deletes a key; a large value is freed in steps.
    pub fn delete(&mut self, db: usize, key: Key<'_>, place: Place) {
        let entry = self.take(db, key, place);
        self.garbage.add_entry(entry);
    }

    /// Deletes a key if it is there.
    pub fn forget(&mut self, db: usize, key: &[u8]) {
        let key = self.hasher.key(key);
        if let Some(place) = self.find(db, key) {
            self.delete(db, key, place);
        }
    }

    fn take(&mut self, db: usize, key: Key<'_>, place: Place) -> Entry {
        self.before_write(db, key.hash, place);
        let database = &mut self.databases[db];
        let entry = database.table.remove(place);
        database.bytes -= entry.view().memory();
        database.sizes.remove(Bin::of(entry.view().value()));
        self.index(db, key.hash, entry.view().deadline(), None);
        self.index_fields(db, key.hash, entry.view().value().next_time(), None);
        entry
    }

    /// Empties one database; its table is freed in steps.
    pub fn flush(&mut self, db: usize) {
        let database = core::mem::replace(&mut self.databases[db], Database::new());
        let unneeded = match (&mut self.walk, database.walk_from) {
            (Some(walk), Some(from)) => walk.detach(db, database.table, from),
            _ => Some(database.table),
        };
        if self.walk.as_ref().is_some_and(Walk::is_over) {
            self.walk = None;
        }
        if let Some(table) = unneeded {
            self.garbage.add_table(table);
        }
        self.garbage.add_times(database.deadlines);
        self.garbage.add_times(database.field_times);
    }

    /// Swaps two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.databases.swap(a, b);
        if let Some(walk) = &mut self.walk {
            walk.swapped(a, b);
        }
    }

    /// Takes over all data of another store; what was here is freed in steps, and a walk of it ends.
    pub fn replace(&mut self, other: Store) {
        let Store {
            databases,
            hasher,
            garbage,
            functions,
            ..
        } = other;
        let old = core::mem::replace(&mut self.databases, databases);
        self.discard_tables(old);
        self.garbage.append(garbage);
        self.hasher = hasher;
        self.functions = functions;
        self.functions_version += 1;
        self.walk = None;
    }

    /// Frees all data of another store in steps.
    pub fn discard_all(&mut self, other: Store) {
        self.discard_tables(other.databases);
        self.garbage.append(other.garbage);
    }

    fn discard_tables(&mut self, databases: Vec<Database>) {
        for database in databases {
            self.garbage.add_table(database.table);
            self.garbage.add_times(database.deadlines);
            self.garbage.add_times(database.field_times);
        }
    }

    /// Frees a value; a large one in steps.
    pub fn discard_object(&mut self, object: Object) {
        self.garbage.add_object(object);
    }

    /// Frees some of what waits to be freed, about `budget` chunks of values (of some kilobytes each) and keys;
    /// true when nothing is left.
    pub fn free_some(&mut self, budget: usize) -> bool {
        self.garbage.free_some(budget)
    }

    /// Keys and values that wait to be freed (`lazyfree_pending_objects`).
    pub fn garbage(&self) -> usize {
        self.garbage.len()
    }

    /// Keys and values that were freed in steps (`lazyfreed_objects`), since the start or [`Store::reset_freed`].
    pub fn freed(&self) -> u64 {
        self.garbage.freed()
    }

    /// Counts [`Store::freed`] from 0 again.
    pub fn reset_freed(&mut self) {
        self.garbage.reset_freed();
    }

    /// The earliest deadline of all keys and fields, in Unix milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.databases
            .iter()
            .flat_map(|d| d.deadlines.first().into_iter().chain(d.field_times.first()))
            .map(|d| d.0)
            .min()
    }

    /// A key of `db` whose deadline is before `now_ms`, with its place; the longest due first.
    pub fn due(&self, db: usize, now_ms: u64) -> Option<(Vec<u8>, Place)> {
        let database = &self.databases[db];
        let &(deadline, hash) = database.deadlines.first().filter(|d| d.0 < now_ms)?;
        let place = database.table.find_by(hash, |e| {
            e.deadline() == Some(deadline) && self.hasher.hash(e.key()) == hash
        })?;
        Some((database.table.entry(place).key().to_vec(), place))
    }

    /// The next key that expires, by deadline and hash, after `from`, or the first of all; and its place.
    pub fn next_expiring(&self, db: usize, from: (u64, u64)) -> Option<((u64, u64), Place)> {
        let database = &self.databases[db];
        let after = (Bound::Excluded(from), Bound::Unbounded);
        let &at = (database.deadlines.range(after).next()).or(database.deadlines.first())?;
        let place = database.table.find_by(at.1, |e| {
            e.deadline() == Some(at.0) && self.hasher.hash(e.key()) == at.1
        })?;
        Some((at, place))
    }

    /// A key of `db` whose value has fields that are due before `now_ms`, with its place; the longest due first.
    pub fn due_fields(&self, db: usize, now_ms: u64) -> Option<(Vec<u8>, Place)> {
        let database = &self.databases[db];
        let &(time, hash) = database.field_times.first().filter(|d| d.0 < now_ms)?;
        let place = database.table.find_by(hash, |e| {
            e.value().next_time() == Some(time) && self.hasher.hash(e.key()) == hash
        })?;
        Some((database.table.entry(place).key().to_vec(), place))
    }

    /// Number of keys in a cluster slot, and up to `limit` of them. Cluster mode has one database.
    pub fn slot_keys(&self, slot: u16, limit: usize) -> (usize, Vec<Vec<u8>>) {
        let (mut count, mut keys) = (0, Vec::new());
        let table = &self.databases[0].table;
        let mut at = Some(u64::from(slot) << 50);
        while let Some(position) = at.filter(|&p| p >> 50 == u64::from(slot)) {
            at = table.walk(position, |_, entry| {
                if slot_of(entry.key()) == slot {
                    count += 1;
                    if keys.len() < limit {
                        keys.push(entry.key().to_vec());
                    }
                }
            });
        }
        (count, keys)
    }

    /// Checks everything against itself: O(n).
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn invariants(&self) {
        for database in &self.databases {
            database.table.invariants(|key| self.hasher.hash(key));
            let mut bytes = database.deadlines.len() * DEADLINE_BYTES;
            let (mut expiring, mut timed) = (0, 0);
            let mut sizes = Sizes::default();
            bytes += database.field_times.len() * DEADLINE_BYTES;
            let mut at = Some(0);
            while let Some(position) = at {
                at = database.table.walk(position, |_, entry| {
                    bytes += entry.memory();
                    sizes.add(Bin::of(entry.value()));
                    if let Some(deadline) = entry.deadline() {
                        expiring += 1;
                        let hash = self.hasher.hash(entry.key());
                        assert!(
                            database.deadlines.contains(&(deadline, hash)),
                            "a deadline is in the index"
                        );
                    }
                    if let Some(time) = entry.value().next_time() {
                        timed += 1;
                        let hash = self.hasher.hash(entry.key());
                        assert!(
                            database.field_times.contains(&(time, hash)),
                            "a field's time is in the index"
                        );
                    }
                    assert!(
                        self.walk.is_some() || !entry.marked(),
                        "marks are the running snapshot's"
                    );
                });
            }
            assert_eq!(
                database.deadlines.len(),
                expiring,
                "the index holds no other deadline"
            );
            assert_eq!(
                database.field_times.len(),
                timed,
                "the index holds no other time"
            );
            assert_eq!(database.bytes, bytes, "bytes are accounted exactly");
            assert_eq!(database.sizes, sizes, "each value counts where its size is");
        }
    }
}
