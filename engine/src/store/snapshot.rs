//! The walk of a snapshot: all databases, exactly as they were when it began, in bounded steps.
//!
//! The walk goes through each table in hash order. Three cases keep it exact while writes go on:
//!
//! - An entry that the walk has not reached changes or goes: it is *saved* first (large values by
//!   reference: their chunks are copied by whoever changes them) and marked, so that the walk passes
//!   over it.
//! - A new entry ahead of the walk is marked as well. The walk clears the marks that it meets, so
//!   none is left when it ends.
//! - A table that is flushed is taken along by the walk; a swapped one keeps its old number.
//!
//! There is at most one walk. One that is given up ([`Store::abandon_walk`]) keeps nothing any more, but
//! goes on through the tables that are still there, to clear its marks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::database::Store;
use super::entry::{EntryRef, Object, OwnedValue, ValueRef};
use super::key::Hasher;
use super::table::{Place, Table};
use crate::value::long_text::Held;

/// A key as it was when the snapshot began.
#[derive(Debug)]
pub struct SnapshotItem<'a> {
    /// Number of its database.
    pub db: usize,
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: SnapshotValue<'a>,
    /// When it expires, in Unix milliseconds.
    pub deadline: Option<u64>,
    /// Its access clock.
    pub access: u32,
}

/// A value as it was when the snapshot began.
#[derive(Debug)]
pub enum SnapshotValue<'a> {
    /// One that can be copied, or shared with the store in parts.
    Plain(ValueRef<'a>),
    /// A string that is neither.
    Held(Held),
}

/// What a database held when the snapshot began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseSize {
    /// Its number.
    pub db: usize,
    /// Number of keys.
    pub keys: usize,
    /// Number of keys that expire.
    pub expires: usize,
}

/// Longer strings are held, not shared: whoever changes a shared one copies it.
const HELD: usize = 256 << 10;

/// Entries saved ahead of the walk that are given out in one step.
const SAVED_STEP: usize = 8;

#[derive(Debug)]
struct Saved {
    db: usize,
    key: Vec<u8>,
    value: SavedValue,
    deadline: Option<u64>,
    access: u32,
}

#[derive(Debug)]
enum SavedValue {
    Plain(OwnedValue),
    Held(Held),
}

/// Holds a value if it is to be held.
fn hold(value: ValueRef<'_>) -> Option<Held> {
    match value {
        ValueRef::Object(Object::Str(text)) if text.len() > HELD => Some(text.hold()),
        _ => None,
    }
}

/// A table to be walked.
struct Target {
    /// The number of its database when the walk began.
    db: usize,
    at: At,
}

enum At {
    /// It is the table of this database now.
    Live(usize),
    /// It was flushed; the walk has it, from this position on.
    Detached(Table, u64),
}

/// The state of a walk. See the module's documentation.
pub(super) struct Walk {
    targets: VecDeque<Target>,
    saved: VecDeque<Saved>,
    /// Nobody wants to know any more: only marks are cleared.
    abandoned: bool,
}

impl Walk {
    /// Whether entries ahead are to be kept as they were.
    pub(super) fn keeps(&self) -> bool {
        !self.abandoned
    }

    #[cold]
    pub(super) fn save(&mut self, db: usize, entry: EntryRef<'_>) {
        let number = self
            .targets
            .iter()
            .find(|t| matches!(t.at, At::Live(live) if live == db))
            .map_or(db, |t| t.db);
        self.saved.push_back(Saved {
            db: number,
            key: entry.key().to_vec(),
            value: match hold(entry.value()) {
                Some(held) => SavedValue::Held(held),
                None => SavedValue::Plain(entry.value().to_owned()),
            },
            deadline: entry.deadline(),
            access: entry.access(),
        });
    }

    /// The table of a database was flushed: it is kept, or given back if it is not needed.
    pub(super) fn detach(&mut self, db: usize, table: Table, from: u64) -> Option<Table> {
        let is_it = |t: &Target| matches!(t.at, At::Live(live) if live == db);
        if self.abandoned {
            self.targets.retain(|t| !is_it(t));
            return Some(table);
        }
        match self.targets.iter_mut().find(|t| is_it(t)) {
            Some(target) => {
                target.at = At::Detached(table, from);
                None
            }
            None => Some(table),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.targets.is_empty() && self.saved.is_empty()
    }

    pub(super) fn swapped(&mut self, a: usize, b: usize) {
        for target in &mut self.targets {
            match &mut target.at {
                At::Live(live) if *live == a => *live = b,
                At::Live(live) if *live == b => *live = a,
                _ => {}
            }
        }
    }
}

impl Store {
    /// Begins a walk; says what there is. `None` if one is under way.
    pub fn begin_walk(&mut self) -> Option<Vec<DatabaseSize>> {
        if self.walk.is_some() {
            return None;
        }
        let mut sizes = Vec::new();
        let mut targets = VecDeque::new();
        for (db, database) in self
            .databases
            .iter_mut()
            .enumerate()
            .filter(|(_, d)| !d.is_empty())
        {
            database.walk_from = Some(0);
            sizes.push(DatabaseSize {
                db,
                keys: database.len(),
                expires: database.expires(),
            });
            targets.push_back(Target {
                db,
                at: At::Live(db),
            });
        }
        self.walk = Some(Walk {
            targets,
            saved: VecDeque::new(),
            abandoned: false,
        });
        Some(sizes)
    }

    /// Whether a walk is under way.
    pub fn walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Entries saved ahead of the walk that it has not given out yet.
    pub fn saved_ahead(&self) -> usize {
        self.walk.as_ref().map_or(0, |w| w.saved.len())
    }

    /// The snapshot is given up. The walk is over at once, or after some more [`Store::walk_step`]s, which
    /// give out nothing.
    pub fn abandon_walk(&mut self) {
        let Some(mut walk) = self.walk.take() else {
            return;
        };
        walk.abandoned = true;
        for saved in walk.saved.drain(..) {
            if let SavedValue::Plain(OwnedValue::Object(object)) = saved.value {
                self.discard_object(object);
            }
        }
        let mut targets = core::mem::take(&mut walk.targets);
        for target in targets.drain(..) {
            match target.at {
                At::Detached(table, _) => self.garbage.add_table(table),
                At::Live(_) => walk.targets.push_back(target),
            }
        }
        self.walk = (!walk.is_over()).then_some(walk);
    }

    /// Gives out some of the entries that were saved ahead of the walk, or when there are none, those of one
    /// bucket. True when that was the last.
    pub fn walk_step(&mut self, mut visit: impl FnMut(SnapshotItem<'_>)) -> bool {
        let Some(mut walk) = self.walk.take() else {
            return true;
        };
        let some = walk.saved.len().min(SAVED_STEP);
        for saved in walk.saved.drain(..some) {
            let owned;
            let value = match saved.value {
                SavedValue::Held(held) => SnapshotValue::Held(held),
                SavedValue::Plain(value) => {
                    owned = value;
                    SnapshotValue::Plain(owned.view())
                }
            };
            visit(SnapshotItem {
                db: saved.db,
                key: &saved.key,
                value,
                deadline: saved.deadline,
                access: saved.access,
            });
        }
        if walk.is_over() {
            return true;
        }
        let Some(target) = walk.targets.front_mut().filter(|_| some == 0) else {
            self.walk = Some(walk);
            return false;
        };
        let (table, from) = match &mut target.at {
            At::Live(live) => {
                let database = &mut self.databases[*live];
                let from = database.walk_from.unwrap_or(0);
                (&mut database.table, from)
            }
            At::Detached(table, from) => (table, *from),
        };
        let (abandoned, hasher) = (walk.abandoned, self.hasher);
        let next = step(table, from, &hasher, target.db, &mut |item| {
            if !abandoned {
                visit(item);
            }
        });
        match (&mut target.at, next) {
            (At::Live(live), next) => {
                self.databases[*live].walk_from = next;
                if next.is_none() {
                    walk.targets.pop_front();
                }
            }
            (At::Detached(_, from), Some(next)) => *from = next,
            (At::Detached(..), None) => {
                if let Some(Target {
                    at: At::Detached(table, _),
                    ..
                }) = walk.targets.pop_front()
                {
                    self.garbage.add_table(table);
                }
            }
        }
        let done = walk.is_over();
        if !done {
            self.walk = Some(walk);
        }
        done
    }
}

fn step(
    table: &mut Table,
    from: u64,
    hasher: &Hasher,
    db: usize,
    visit: &mut impl FnMut(SnapshotItem<'_>),
) -> Option<u64> {
    let mut marked: smallvec::SmallVec<[Place; 32]> = smallvec::SmallVec::new();
    let hash_of = |key: &[u8]| hasher.hash(key);
    let next = table.walk_once(from, hash_of, |place, entry| {
        if entry.marked() {
            marked.push(place);
            return;
        }
        visit(SnapshotItem {
            db,
            key: entry.key(),
            value: hold(entry.value())
                .map_or(SnapshotValue::Plain(entry.value()), SnapshotValue::Held),
            deadline: entry.deadline(),
            access: entry.access(),
        });
    });
    for place in marked {
        table.entry_mut(place).mark(false);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::super::database::Deadline;
    use super::super::entry::Value;
    use super::super::key::Key;
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    type Model = BTreeMap<(usize, u16), (i64, Option<u64>)>;

    fn key(store: &Store, k: u16) -> (Vec<u8>, u64) {
        let bytes = k.to_le_bytes().to_vec();
        let hash = store.hasher().hash(&bytes);
        (bytes, hash)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Whatever is written, flushed or swapped while the walk goes on, it gives out exactly what
        /// there was when it began, each key once; and the store stays in order.
        #[test]
        fn a_walk_is_exact(ops in prop::collection::vec((0u8..20, 0usize..3, 0u16..400, 0u64..4), 1..3000)) {
            let mut store = Store::new(3, Hasher::new((1, 2), false));
            let (mut model, mut walking): (Model, Option<Model>) = Default::default();
            let mut got = Model::new();
            let mut walks = 0;
            for (i, (op, db, k, ttl)) in ops.into_iter().enumerate() {
                let (bytes, hash) = key(&store, k);
                let key = Key { bytes: &bytes, hash };
                match op {
                    0..8 => {
                        let deadline = [Deadline::Keep, Deadline::Clear, Deadline::At(500), Deadline::At(900)][ttl as usize];
                        store.set(db, key, Value::Int(i as i64), deadline, 0);
                        let old = model.get(&(db, k)).and_then(|v| v.1);
                        let new = match deadline { Deadline::Keep => old, Deadline::Clear => None, Deadline::At(at) => Some(at) };
                        model.insert((db, k), (i as i64, new));
                    }
                    8..12 => {
                        if let Some(place) = store.find(db, key) {
                            store.delete(db, key, place);
                        }
                        model.remove(&(db, k));
                    }
                    12 if k < 20 => {
                        store.flush(db);
                        model.retain(|&(d, _), _| d != db);
                    }
                    13 if k < 40 => {
                        store.swap(0, db);
                        model = model.into_iter().map(|((d, k), v)| ((if d == 0 { db } else if d == db { 0 } else { d }, k), v)).collect();
                    }
                    14 => {
                        if let Some(place) = store.find(db, key) {
                            let deadline = (ttl > 0).then_some(ttl);
                            store.set_deadline(db, key, place, deadline);
                            model.get_mut(&(db, k)).unwrap().1 = deadline;
                        }
                    }
                    15 if k < 20 => {
                        store.abandon_walk();
                        walking = None;
                    }
                    15.. if walking.is_none() && store.walking() => {
                        store.walk_step(|_| panic!("an abandoned walk is silent"));
                    }
                    15.. if walking.is_none() => {
                        if store.begin_walk().is_some() {
                            walking = Some(model.clone());
                            got.clear();
                        }
                    }
                    _ => {
                        let mut twice = false;
                        let done = store.walk_step(|item| {
                            let k = u16::from_le_bytes(item.key.try_into().unwrap());
                            let SnapshotValue::Plain(ValueRef::Int(n)) = item.value else { panic!() };
                            twice |= got.insert((item.db, k), (n, item.deadline)).is_some();
                        });
                        prop_assert!(!twice);
                        if done && let Some(expected) = walking.take() {
                            prop_assert_eq!(&got, &expected);
                            walks += 1;
                        }
                    }
                }
                if i % 97 == 0 { store.invariants(); }
                store.free_some(10);
            }
            store.invariants();
            let _ = walks;
        }
    }

    #[test]
    fn what_was_saved_while_nobody_walked_leaves_a_little_at_a_time() {
        let mut store = Store::new(1, Hasher::new((1, 2), false));
        let set = |store: &mut Store, value| {
            for k in 0..2000 {
                let (bytes, hash) = key(store, k);
                let key = Key {
                    bytes: &bytes,
                    hash,
                };
                store.set(0, key, Value::Int(value), Deadline::Clear, 0);
            }
        };
        set(&mut store, 1);
        assert!(store.begin_walk().is_some());
        set(&mut store, 2);
        assert_eq!(store.saved_ahead(), 2000);
        let (mut seen, mut done) = (0, false);
        while !done {
            let before = seen;
            done = store.walk_step(|item| {
                let value = &item.value;
                assert!(matches!(value, SnapshotValue::Plain(ValueRef::Int(1))));
                seen += 1;
            });
            assert!(seen - before <= SAVED_STEP);
        }
        assert_eq!(seen, 2000);
    }

    #[test]
    fn an_owned_value_looks_like_the_entry() {
        assert!(matches!(OwnedValue::Int(3).view(), ValueRef::Int(3)));
        assert!(matches!(
            OwnedValue::Bytes(Vec::from(*b"x")).view(),
            ValueRef::Inline(b"x")
        ));
    }
}
