//! Between the store and the snapshot format: writing the one as the other, in steps, and back.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::access;
use super::{hash_limits, list_limits, set, zset_limits};
use crate::config::Config;
use crate::face::Now;
use crate::rdb::{self, Encoder, KeyMeta, ListPart, StreamPosition, ValueView};
use crate::store::OwnedValue;
use crate::store::{Collection, DatabaseSize, Object, SnapshotItem, Store, Value, ValueRef};
use crate::value::hash::{self, Hash};
use crate::value::hashtable::Position;
use crate::value::intset::IntSet;
use crate::value::list::chunk::Chunk;
use crate::value::list::node::Node;
use crate::value::list::{self, End, List};
use crate::value::pack::Pack;
use crate::value::set::Set;
use crate::value::stream::Stream;
use crate::value::zset::{Updated, ZSet};

/// Bytes encoded, more or less, in one step.
const STEP_BYTES: usize = 32 * 1024;

/// Buckets walked in one step at most, however little they hold.
const STEP_BUCKETS: usize = 64;

/// Elements of a large collection encoded in one go.
const STEP_ELEMENTS: usize = 256;

/// Up to where collections stay small, by the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    hash: hash::Limits,
    set: crate::value::set::Limits,
    zset: hash::Limits,
    list: crate::value::list::Limits,
}

impl Limits {
    /// Those of a configuration, for this store or one with the same hash function.
    pub fn new(config: &Config, store: &Store) -> Limits {
        Limits {
            hash: hash_limits(config, store),
            set: set::limits(config, store),
            zset: zset_limits(config, store),
            list: list_limits(config),
        }
    }
}

/// Which of Redis's two clocks goes into the snapshot with each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessMeta {
    /// Neither.
    None,
    /// Seconds since the last use; the access clock stands at this now.
    Idle(u32),
    /// The counter of uses, as it is now, with this `lfu-decay-time`.
    Frequency(Now, u32),
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
    /// Large streams; the first is under way.
    streams: VecDeque<LargeStream>,
    walked: bool,
    /// Keys written.
    pub keys: u64,
}

/// A large value under way. It holds the value as it was: whoever changes it copies what he changes.
struct Large {
    db: usize,
    key: Vec<u8>,
    meta: KeyMeta,
    value: LargeValue,
    /// The next element; `None` before the key itself.
    next: Option<Position>,
}

enum LargeValue {
    Hash(Hash),
    Set(Set),
    /// With the number of members that are still to be written: the last go first, as in Redis.
    ZSet(ZSet, usize),
    /// With the number of the next element.
    List(Rc<List>, usize),
}

impl LargeValue {
    fn into_object(self) -> Object {
        match self {
            LargeValue::Hash(hash) => Object::Hash(hash),
            LargeValue::Set(set) => Object::Set(set),
            LargeValue::ZSet(set, _) => Object::ZSet(set),
            LargeValue::List(list, _) => Object::List(list),
        }
    }

    /// Writes the key, and what tells type and length.
    fn begin(&self, encoder: &mut Encoder, key: &[u8], meta: &KeyMeta) {
        match self {
            LargeValue::Hash(hash) => match hash.next_time() {
                None => encoder.hash(key, meta, hash.len() as u64),
                Some(first) => encoder.timed_hash(key, meta, hash.len() as u64, first),
            },
            LargeValue::Set(set) => encoder.set(key, meta, set.len() as u64),
            LargeValue::ZSet(set, _) => encoder.zset(key, meta, set.len() as u64),
            LargeValue::List(list, _) => encoder.list(key, meta, list.nodes() as u64),
        }
    }

    /// Writes some elements; returns where the next are, `None` at the end.
    fn step(&mut self, encoder: &mut Encoder, from: Position) -> Option<Position> {
        match self {
            LargeValue::Hash(hash) => {
                let mut pairs = hash.as_table()?.iter_from(from);
                for _ in 0..STEP_ELEMENTS {
                    let (field, value) = pairs.next()?;
                    match hash.next_time() {
                        None => encoder.pair(field, value),
                        Some(first) => encoder.timed_pair(field, value, hash.time(field), first),
                    }
                }
                Some(pairs.position())
            }
            LargeValue::List(list, next) => {
                *next = list.visit_node(*next, |node| encoder.list_node(node))?;
                Some(from)
            }
            LargeValue::Set(set) => set.part(from, STEP_ELEMENTS, |member| encoder.element(member)),
            LargeValue::ZSet(set, left) => {
                let next = left.saturating_sub(STEP_ELEMENTS);
                for (member, score) in set.slice(next..*left, true) {
                    encoder.member(&member.text(), score);
                }
                *left = next;
                (next > 0).then_some(from)
            }
        }
    }
}

/// A large stream under way.
struct LargeStream {
    db: usize,
    key: Vec<u8>,
    meta: KeyMeta,
    stream: Rc<Stream>,
    /// Where it stands; `None` before the key itself.
    next: Option<StreamPosition>,
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
            streams: VecDeque::new(),
            keys: 0,
        }
    }

    /// The snapshot is not wanted any more; what only it still holds is freed in steps.
    pub fn abandon(self, store: &mut Store) {
        for large in self.large {
            store.discard_object(large.value.into_object());
        }
        for large in self.streams {
            store.discard_object(Object::Stream(large.stream));
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
            } else if !self.streams.is_empty() {
                self.stream_step(store);
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
        let (idle_s, frequency) = match self.access {
            AccessMeta::None => (None, None),
            AccessMeta::Idle(clock) => {
                let idle = clock.wrapping_sub(item.access) & 0xFF_FFFF;
                (Some(u64::from(idle)), None)
            }
            AccessMeta::Frequency(now, decay_time) => {
                let counter = access::frequency(decay_time, now, item.access);
                (None, Some(counter as u8))
            }
        };
        let meta = KeyMeta {
            expire_ms: item.deadline,
            idle_s,
            frequency,
        };
        self.keys += 1;
        let mut large = |value| {
            self.large.push_back(Large {
                db: item.db,
                key: item.key.to_vec(),
                meta,
                value,
                next: None,
            });
        };
        let view = match item.value {
            ValueRef::Inline(bytes) => ValueView::Str(bytes),
            ValueRef::Int(n) => ValueView::Int(n),
            ValueRef::Object(Object::Str(bytes)) => ValueView::Str(bytes),
            ValueRef::Object(Object::Stream(stream)) if stream.memory_bytes() > STEP_BYTES => {
                let large = LargeStream {
                    db: item.db,
                    key: item.key.to_vec(),
                    meta,
                    stream: Rc::clone(stream),
                    next: None,
                };
                self.streams.push_back(large);
                return;
            }
            ValueRef::Object(Object::Stream(stream)) => ValueView::Stream(stream),
            ValueRef::Object(Object::Hash(hash)) => match hash.as_pack() {
                Some(_) if hash.next_time().is_some() => ValueView::HashTimed(hash),
                Some(pack) => ValueView::HashPack(pack),
                None => return large(LargeValue::Hash(hash.clone())),
            },
            ValueRef::Object(Object::List(list)) if list.nodes() > 1 => {
                return large(LargeValue::List(Rc::clone(list), 0));
            }
            ValueRef::Object(Object::List(list)) => ValueView::List(list),
            ValueRef::Object(Object::Set(set)) if set.as_table().is_some() => {
                return large(LargeValue::Set(set.clone()));
            }
            ValueRef::Object(Object::Set(set)) => ValueView::Set(set),
            ValueRef::Object(Object::ZSet(set)) => match set.as_pack() {
                Some(pack) => ValueView::ZSetPack(pack),
                None => return large(LargeValue::ZSet(set.clone(), set.len())),
            },
        };
        self.select(item.db);
        self.encoder.key(item.key, &meta, view);
    }

    fn stream_step(&mut self, store: &mut Store) {
        let Some(LargeStream { db, next, .. }) = self.streams.front() else {
            return;
        };
        if next.is_none() {
            self.select(*db);
            let large = &self.streams[0];
            self.encoder.stream(&large.key, &large.meta);
        }
        let large = &mut self.streams[0];
        let next = large.next.get_or_insert_default();
        if next.step(&large.stream, &mut self.encoder, STEP_BYTES)
            && let Some(large) = self.streams.pop_front()
        {
            store.discard_object(Object::Stream(large.stream));
        }
    }

    fn large_step(&mut self, store: &mut Store) {
        let Some(large) = self.large.front() else {
            return;
        };
        let from = match large.next {
            Some(from) => from,
            None => {
                self.select(large.db);
                let large = &self.large[0];
                large
                    .value
                    .begin(&mut self.encoder, &large.key, &large.meta);
                Position::default()
            }
        };
        let next = self.large[0].value.step(&mut self.encoder, from);
        if next.is_some() {
            self.large[0].next = next;
        } else if let Some(large) = self.large.pop_front() {
            // It may be the last that holds the value as it was.
            store.discard_object(large.value.into_object());
        }
    }
}

fn list_of(parts: Vec<ListPart>, limits: &list::Limits) -> List {
    let mut list = List::new();
    for part in parts {
        match part {
            ListPart::Element(text) => list.push(End::Back, &text, limits),
            ListPart::Plain(text) => list.push_node(Node::Plain(Rc::new(text)), limits),
            ListPart::Node(listpack) => {
                list.push_node(Node::Packed(Chunk::from_listpack(listpack)), limits);
            }
        }
    }
    list
}

/// The value that a snapshot, or DUMP, holds, as the store keeps it.
///
/// # Errors
/// It is damaged.
pub(crate) fn owned(value: rdb::Value, limits: &Limits) -> Result<OwnedValue, String> {
    Ok(match value {
        rdb::Value::List(parts) => list_of(parts, &limits.list).into_object().into(),
        rdb::Value::SetIntset(bytes) => {
            let integers = IntSet::from_bytes(bytes)
                .map_err(|_| String::from("Intset integrity check failed."))?;
            Set::from_intset(integers, &limits.set).into_object().into()
        }
        rdb::Value::SetListpack(bytes) => Pack::from_listpack(&bytes)
            .and_then(|pack| Set::from_pack(pack, &limits.set))
            .map_err(|_| String::from("Set listpack integrity check failed."))?
            .into_object()
            .into(),
        rdb::Value::Set(members) => {
            let first = members.first().map_or(&b""[..], |member| member);
            let mut set = Set::for_members(first, members.len(), &limits.set);
            for member in &members {
                if !set.insert(member, &limits.set) {
                    return Err(String::from("Duplicate set members detected"));
                }
            }
            set.into_object().into()
        }
        rdb::Value::ZSetListpack(bytes) => {
            let mut set = Pack::from_listpack(&bytes)
                .and_then(ZSet::from_pack)
                .map_err(|_| String::from("Zset listpack integrity check failed."))?;
            // Longer than any small form takes: the large one.
            set.make_room(0, 0, &limits.zset);
            set.into_object().into()
        }
        rdb::Value::ZSet(members) => {
            let mut set = ZSet::new();
            for (member, score) in &members {
                if set.set(member, *score, &limits.zset) != Updated::Added {
                    return Err(String::from("Duplicate zset fields detected"));
                }
            }
            set.into_object().into()
        }
        rdb::Value::Str(bytes) => OwnedValue::Bytes(bytes),
        rdb::Value::Int(n) => OwnedValue::Int(n),
        rdb::Value::Stream(stream) => OwnedValue::Object(Object::Stream(Rc::new(*stream))),
        rdb::Value::HashListpack(bytes) => {
            let mut hash = Pack::from_listpack(&bytes)
                .and_then(Hash::from_pack)
                .map_err(|_| String::from("Hash listpack integrity check failed."))?;
            if hash.len() > limits.hash.max_entries {
                // Longer than any small form takes: the large one.
                hash.make_room(usize::MAX, &limits.hash);
            }
            OwnedValue::Object(Object::Hash(hash))
        }
        rdb::Value::HashTimed(pairs) => {
            let mut hash = Hash::new();
            for (field, value, time) in &pairs {
                if !hash.set(field, value, &limits.hash) {
                    return Err(String::from("Duplicate hash fields detected"));
                }
                hash.set_time(field, *time, limits.hash.hash_key);
            }
            hash.into_object().into()
        }
        rdb::Value::Hash(pairs) => {
            let mut hash = Hash::new();
            for (field, value) in &pairs {
                if !hash.set(field, value, &limits.hash) {
                    return Err(String::from("Duplicate hash fields detected"));
                }
            }
            OwnedValue::Object(Object::Hash(hash))
        }
    })
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
    limits: &Limits,
) -> Result<bool, String> {
    let hashed = store.hasher().key(key);
    if store.find(db, hashed).is_some() {
        return Ok(false);
    }
    let value = owned(value, limits)?;
    let value = match &value {
        // As SET would keep them.
        OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
        other => other.as_value(),
    };
    store.insert(db, hashed, value, deadline, access);
    Ok(true)
}
