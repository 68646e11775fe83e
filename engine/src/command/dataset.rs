//! Between the store and the snapshot format: writing the one as the other, in steps, and back.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use smallvec::SmallVec;

use super::access;
use super::string::encoded;
use super::{hash_limits, list_limits, set, zset_limits};
use crate::config::Config;
use crate::face::Now;
use crate::rdb::{
    self, Encoder, HeldText, KeyMeta, ListPart, PLAIN_KEYS, Plain, PlainValue, StreamPosition,
    TextPosition, ValueView,
};
use crate::store::OwnedValue;
use crate::store::{
    Collection, DatabaseSize, INLINE_MAX, Key, Object, SnapshotItem, SnapshotValue, Store, Value,
    ValueRef,
};
use crate::value::hash::{self, Hash};
use crate::value::hashtable::Position;
use crate::value::intset::IntSet;
use crate::value::list::chunk::Chunk;
use crate::value::list::node::Node;
use crate::value::list::{self, End, List};
use crate::value::long_text::LongText;
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
    Str(LongText, TextPosition),
    Held(HeldText),
}

impl LargeValue {
    /// It is wanted no more: it may be the last that holds the value as it was.
    fn discard(self, store: &mut Store) {
        store.discard_object(match self {
            LargeValue::Hash(hash) => Object::Hash(hash),
            LargeValue::Set(set) => Object::Set(set),
            LargeValue::ZSet(set, _) => Object::ZSet(set),
            LargeValue::List(list, _) => Object::List(list),
            LargeValue::Str(..) | LargeValue::Held(_) => return,
        });
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
            LargeValue::Str(..) | LargeValue::Held(_) => encoder.text(key, meta),
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
            LargeValue::Str(text, at) => (!at.step(text, encoder)).then_some(from),
            LargeValue::Held(text) => (!text.step(encoder)).then_some(from),
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
            large.value.discard(store);
        }
        for large in self.streams {
            store.discard_object(Object::Stream(large.stream));
        }
    }

    /// Bytes that are ready.
    pub fn take(&mut self) -> Bytes {
        self.encoder.take()
    }

    /// Writes some more, or as `little` as can be; true when the snapshot is complete.
    pub fn step(&mut self, store: &mut Store, little: bool) -> bool {
        self.encoder.expect(STEP_BYTES + STEP_BYTES / 8);
        for _ in 0..if little { 1 } else { STEP_BUCKETS } {
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
                self.walked = store.walk_step(|item| self.item(item));
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

    fn item(&mut self, item: SnapshotItem<'_>) {
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
        let value = match item.value {
            SnapshotValue::Held(text) => return large(LargeValue::Held(HeldText::new(text))),
            SnapshotValue::Plain(value) => value,
        };
        let view = match value {
            ValueRef::Inline(bytes) => ValueView::Str(bytes),
            ValueRef::Int(n) => ValueView::Int(n),
            ValueRef::Object(Object::Str(bytes)) if bytes.len() > STEP_BYTES => {
                return large(LargeValue::Str(bytes.clone(), TextPosition::Begin));
            }
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
            large.value.discard(store);
        }
    }
}

fn add_nodes(list: &mut List, parts: Vec<ListPart>, limits: &list::Limits) {
    for part in parts {
        match part {
            ListPart::Element(text) => list.push(End::Back, &text, limits),
            ListPart::Plain(text) => list.push_node(Node::Plain(Rc::new(text)), limits),
            ListPart::Node(listpack) => {
                list.push_node(Node::Packed(Chunk::from_listpack(listpack)), limits);
            }
        }
    }
}

/// The value that a snapshot, or DUMP, holds, as the store keeps it.
///
/// # Errors
/// It is damaged.
pub(crate) fn owned(value: rdb::Value, limits: &Limits) -> Result<OwnedValue, String> {
    Ok(match value {
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
        rdb::Value::ZSetListpack(bytes) => {
            let mut set = Pack::from_listpack(&bytes)
                .and_then(ZSet::from_pack)
                .map_err(|_| String::from("Zset listpack integrity check failed."))?;
            // Longer than any small form takes: the large one.
            set.make_room(0, 0, &limits.zset);
            set.into_object().into()
        }
        // Snapshots hold integers of more than 32 bits as text.
        rdb::Value::Str(bytes) => match encoded(&bytes) {
            Value::Int(n) => OwnedValue::Int(n),
            // It is not copied.
            _ if bytes.len() > INLINE_MAX => Object::Str(bytes.into()).into(),
            _ => OwnedValue::Bytes(bytes),
        },
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
        value => {
            let mut building = Building::default();
            building.add(value, 0, limits)?;
            return building
                .0
                .map(OwnedValue::Object)
                .ok_or_else(|| "no elements".into());
        }
    })
}

/// A large collection of which not all elements are here.
#[derive(Default)]
pub(crate) struct Building(Option<Object>);

impl Building {
    /// Adds elements; `left` will follow.
    ///
    /// # Errors
    /// One is there twice, or they are of another type.
    pub fn add(&mut self, value: rdb::Value, left: u64, limits: &Limits) -> Result<(), String> {
        let object = self
            .0
            .get_or_insert_with(|| empty_for(&value, left, limits));
        match (value, object) {
            (rdb::Value::Hash(pairs), Object::Hash(hash)) => {
                for (field, value) in &pairs {
                    if !hash.set(field, value, &limits.hash) {
                        return Err(String::from("Duplicate hash fields detected"));
                    }
                }
            }
            (rdb::Value::HashTimed(pairs), Object::Hash(hash)) => {
                for (field, value, time) in &pairs {
                    if !hash.set(field, value, &limits.hash) {
                        return Err(String::from("Duplicate hash fields detected"));
                    }
                    hash.set_time(field, *time, limits.hash.hash_key);
                }
            }
            (rdb::Value::List(parts), Object::List(list)) => {
                add_nodes(Rc::make_mut(list), parts, &limits.list);
            }
            (rdb::Value::Set(members), Object::Set(set)) => {
                for member in &members {
                    if !set.insert(member, &limits.set) {
                        return Err(String::from("Duplicate set members detected"));
                    }
                }
            }
            (rdb::Value::ZSet(members), Object::ZSet(set)) => {
                for (member, score) in &members {
                    if set.set(member, *score, &limits.zset) != Updated::Added {
                        return Err(String::from("Duplicate zset fields detected"));
                    }
                }
            }
            _ => return Err(String::from("a collection of two types")),
        }
        Ok(())
    }

    /// Frees what was built, in steps: it is not wanted.
    pub fn discard(self, store: &mut Store) {
        if let Some(object) = self.0 {
            store.discard_object(object);
        }
    }
}

/// An empty collection for these elements and so many more.
fn empty_for(value: &rdb::Value, left: u64, limits: &Limits) -> Object {
    match value {
        rdb::Value::List(_) => List::new().into_object(),
        rdb::Value::Set(members) => {
            let first = members.first().map_or(&b""[..], |member| member);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            Set::for_members(first, members.len().saturating_add(left), &limits.set).into_object()
        }
        rdb::Value::ZSet(_) => ZSet::new().into_object(),
        _ => Hash::new().into_object(),
    }
}

/// Puts keys with short strings into the store, if `wants` says so, with the `access` field. Stops with the number of
/// one that is there already.
pub(crate) fn insert_plain(
    store: &mut Store,
    keys: &[Plain<'_>],
    access: impl Fn(&Plain<'_>) -> u32,
    mut wants: impl FnMut(&mut Store, &Plain<'_>) -> bool,
) -> Result<(), usize> {
    // The places that they go to are asked for before the first goes there.
    let hashed: SmallVec<[Key<'_>; PLAIN_KEYS]> = keys
        .iter()
        .map(|plain| {
            let key = store.hasher().key(plain.key);
            let table = store.database(plain.db as usize).table();
            table.prefetch_segment(key.hash);
            key
        })
        .collect();
    for (plain, key) in keys.iter().zip(&hashed) {
        let table = store.database(plain.db as usize).table();
        table.prefetch_bucket(key.hash);
    }
    for (at, (plain, key)) in keys.iter().zip(hashed).enumerate() {
        if !wants(store, plain) {
            continue;
        }
        let db = plain.db as usize;
        if store.find(db, key).is_some() {
            return Err(at);
        }
        let value = match plain.value {
            PlainValue::Str(bytes) => encoded(bytes),
            PlainValue::Int(number) => Value::Int(number),
        };
        store.insert(db, key, value, plain.expire_ms, access(plain));
    }
    Ok(())
}

/// Puts a key that a snapshot holds into the store, its value with what came of it before. False if it is there
/// already.
///
/// # Errors
/// The value is damaged.
#[expect(clippy::too_many_arguments)]
pub(crate) fn insert(
    store: &mut Store,
    db: usize,
    key: &[u8],
    begun: Option<Building>,
    value: rdb::Value,
    deadline: Option<u64>,
    access: u32,
    limits: &Limits,
) -> Result<bool, String> {
    let hashed = store.hasher().key(key);
    if store.find(db, hashed).is_some() {
        return Ok(false);
    }
    let value = match begun {
        None => owned(value, limits)?,
        Some(mut begun) => {
            begun.add(value, 0, limits)?;
            begun.0.map(OwnedValue::Object).ok_or("no elements")?
        }
    };
    let value = match &value {
        // As SET would keep them.
        OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
        other => other.as_value(),
    };
    store.insert(db, hashed, value, deadline, access);
    Ok(true)
}
