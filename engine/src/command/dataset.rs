//! Between the store and the snapshot format: writing the one as the other, in steps, and back.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::rdb::{self, Encoder, KeyMeta, ValueView};
use crate::store::{DatabaseSize, Object, SnapshotItem, Store, Value, ValueRef};
use crate::store::{Deadline, OwnedValue};
use crate::value::hash::Hash;
use crate::value::hashtable::Position;
use crate::value::listpack::Listpack;

/// Bytes encoded, more or less, in one step.
const STEP_BYTES: usize = 32 * 1024;

/// Buckets walked in one step at most, however little they hold.
const STEP_BUCKETS: usize = 64;

/// Pairs of a large hash encoded in one go.
const STEP_PAIRS: usize = 256;

/// Which of Redis's two clocks goes into the snapshot with each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessMeta {
    /// Neither.
    None,
    /// Seconds since the last use; the access clock stands at this now.
    Idle(u32),
}

/// Turns a walk of the store into the bytes of a snapshot.
pub(crate) struct Writer {
    encoder: Encoder,
    sizes: Vec<DatabaseSize>,
    /// The database that was selected last.
    db: Option<usize>,
    access: AccessMeta,
    /// Values too large for one step; the first is under way.
    large: VecDeque<Large>,
    walked: bool,
    /// Keys written.
    pub keys: u64,
}

/// A large value under way. It holds the value as it was: whoever changes it copies what he changes.
struct Large {
    db: usize,
    key: Vec<u8>,
    meta: KeyMeta,
    hash: Rc<Hash>,
    /// The next pair; `None` before the key itself.
    next: Option<Position>,
}

impl Writer {
    /// A snapshot of what [`Store::begin_walk`] said, after the encoder's header; `None`: without keys.
    pub fn new(encoder: Encoder, sizes: Option<Vec<DatabaseSize>>, access: AccessMeta) -> Writer {
        Writer {
            encoder,
            walked: sizes.is_none(),
            sizes: sizes.unwrap_or_default(),
            db: None,
            access,
            large: VecDeque::new(),
            keys: 0,
        }
    }

    /// The snapshot is not wanted any more; what only it still holds is freed in steps.
    pub fn abandon(self, store: &mut Store) {
        for large in self.large {
            store.discard_object(Object::Hash(large.hash));
        }
    }

    /// Bytes that are ready.
    pub fn take(&mut self) -> Bytes {
        self.encoder.take()
    }

    /// Writes some more; true when the snapshot is complete.
    pub fn step(&mut self, store: &mut Store) -> bool {
        for _ in 0..STEP_BUCKETS {
            if self.encoder.pending() >= STEP_BYTES {
                return false;
            }
            if !self.large.is_empty() {
                self.large_step(store);
            } else if self.walked {
                self.encoder.end();
                return true;
            } else {
                self.walked = store.walk_step(|item| self.item(&item));
            }
        }
        false
    }

    fn select(&mut self, db: usize) {
        if self.db != Some(db) {
            self.db = Some(db);
            let size = self.sizes.iter().find(|s| s.db == db);
            let (keys, expires) = size.map_or((0, 0), |s| (s.keys as u64, s.expires as u64));
            self.encoder.select_db(db as u32, keys, expires);
        }
    }

    fn item(&mut self, item: &SnapshotItem<'_>) {
        let idle_s = match self.access {
            AccessMeta::None => None,
            AccessMeta::Idle(clock) => Some(u64::from(clock.wrapping_sub(item.access) & 0xFF_FFFF)),
        };
        let meta = KeyMeta {
            expire_ms: item.deadline,
            idle_s,
            frequency: None,
        };
        self.keys += 1;
        let view = match item.value {
            ValueRef::Inline(bytes) => ValueView::Str(bytes),
            ValueRef::Int(n) => ValueView::Int(n),
            ValueRef::Object(Object::Str(bytes)) => ValueView::Str(bytes),
            ValueRef::Object(Object::Hash(hash)) => match hash.as_listpack() {
                Some(list) => ValueView::HashListpack(list.bytes()),
                None => {
                    let large = Large {
                        db: item.db,
                        key: item.key.to_vec(),
                        meta,
                        hash: Rc::clone(hash),
                        next: None,
                    };
                    self.large.push_back(large);
                    return;
                }
            },
        };
        self.select(item.db);
        self.encoder.key(item.key, &meta, view);
    }

    fn large_step(&mut self, store: &mut Store) {
        let Some(large) = self.large.front() else {
            return;
        };
        let from = match (large.next, large.hash.as_table()) {
            (Some(from), _) => from,
            (None, table) => {
                let (db, pairs) = (large.db, table.map_or(0, |t| t.len()) as u64);
                self.select(db);
                let large = &self.large[0];
                self.encoder.hash(&large.key, &large.meta, pairs);
                Position::default()
            }
        };
        let Some(table) = self.large[0].hash.as_table() else {
            return;
        };
        let mut pairs = table.iter_from(from);
        let whole = (0..STEP_PAIRS).any(|_| match pairs.next() {
            Some((field, value)) => {
                self.encoder.pair(field, value);
                false
            }
            None => true,
        });
        let next = pairs.position();
        drop(pairs);
        if whole {
            // It may be the last that holds the value as it was.
            if let Some(large) = self.large.pop_front() {
                store.discard_object(Object::Hash(large.hash));
            }
        } else {
            self.large[0].next = Some(next);
        }
    }
}

/// Puts a key that a snapshot holds into the store. False if it is there already.
///
/// # Errors
/// The value is damaged.
pub(crate) fn insert(
    store: &mut Store,
    db: usize,
    key: &[u8],
    value: rdb::Value,
    deadline: Option<u64>,
    access: u32,
    limits: &crate::value::hash::Limits,
) -> Result<bool, String> {
    let hashed = store.hasher().key(key);
    if store.find(db, hashed).is_some() {
        return Ok(false);
    }
    let value = match value {
        rdb::Value::Str(bytes) => OwnedValue::Bytes(bytes),
        rdb::Value::Int(n) => OwnedValue::Int(n),
        rdb::Value::HashListpack(bytes) => {
            let list = Listpack::from_bytes(bytes)
                .map_err(|_| String::from("Hash listpack integrity check failed."))?;
            let mut hash = Hash::from_listpack(list)
                .map_err(|_| String::from("Hash listpack integrity check failed."))?;
            if hash.len() > limits.max_entries {
                // Longer than any small form takes: the large one.
                hash.make_room(usize::MAX, limits);
            }
            OwnedValue::Object(Object::Hash(Rc::new(hash)))
        }
        rdb::Value::Hash(pairs) => {
            let mut hash = Hash::new();
            for (field, value) in &pairs {
                if !hash.set(field, value, limits) {
                    return Err(String::from("Duplicate hash fields detected"));
                }
            }
            OwnedValue::Object(Object::Hash(Rc::new(hash)))
        }
    };
    let value = match &value {
        // As SET would keep them.
        OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
        other => other.as_value(),
    };
    store.set(
        db,
        hashed,
        value,
        deadline.map_or(Deadline::Clear, Deadline::At),
        access,
    );
    Ok(true)
}
