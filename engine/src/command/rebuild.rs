//! The data set as the commands that make it: a base of the append-only file with `aof-use-rdb-preamble no`.
//!
//! ```text
//! FUNCTION LOAD code…
//! SELECT db, then for each key:
//!   string   SET key value [APPEND key rest]… hash    HMSET key field value…  [HPEXPIREAT key ms FIELDS 1 field]…
//!   list     RPUSH key element…               set     SADD key member…
//!   zset     ZADD key score member…           stream  see `StreamJob`
//!   PEXPIREAT key ms                          if it expires
//! ```
//!
//! Like the snapshot's, the walk goes in steps, and a large value is written over many of them from a reference to
//! what it was. What [`CommandWriter::take`] gives ends where a command does. What Redis's own commands do not say
//! is not kept: times of last use, when consumers were last seen, pending entries that are deleted.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

use crate::store::{Object, SnapshotItem, SnapshotValue, Store, ValueRef};
use crate::value::hash::Hash;
use crate::value::hashtable::Position;
use crate::value::list::{End, List};
use crate::value::long_text::{Held, LongText};
use crate::value::number::{write_f64, write_i64};
use crate::value::set::Set;
use crate::value::stream::{Name, Stream, StreamId};
use crate::value::zset::ZSet;

/// Bytes written, more or less, in one step.
const STEP_BYTES: usize = 32 * 1024;

/// Buckets walked, or pieces of large values written, in one step at most.
const STEP_PIECES: usize = 64;

/// Elements of one command, as Redis has it.
const PER_COMMAND: usize = 64;

/// Turns a walk of the store into commands.
pub(crate) struct CommandWriter {
    out: Vec<u8>,
    db: Option<usize>,
    /// Values that are to be written; the first is under way.
    jobs: VecDeque<Job>,
    walked: bool,
    /// Keys begun so far.
    pub keys: u64,
}

/// A value under way, as it was.
struct Job {
    db: usize,
    key: Vec<u8>,
    deadline: Option<u64>,
    value: JobValue,
}

enum JobValue {
    Hash(Hash, Position),
    /// With the number of the next element.
    List(Rc<List>, usize),
    Set(Set, Position),
    /// Begun or not.
    Held(Held, bool),
    /// With the number of the next byte.
    Str(LongText, usize),
    Stream(StreamJob),
    /// With the rank of the next member.
    ZSet(ZSet, usize),
}

/// ```text
/// XADD key id field value…                                for each entry; if there is none:
/// XADD key MAXLEN 0 last-id x y
/// XSETID key last-id ENTRIESADDED n MAXDELETEDID id
/// XGROUP CREATE key group last-id ENTRIESREAD n           for each group; then for its consumers
/// XGROUP CREATECONSUMER key group consumer
/// XCLAIM key group consumer 0 id TIME ms RETRYCOUNT n JUSTID FORCE      and for what is pending
/// ```
struct StreamJob {
    stream: Rc<Stream>,
    at: At,
}

/// What of a stream comes next.
enum At {
    /// The entries from this one on.
    Entries(StreamId),
    Counters,
    /// The group after this one.
    Group(Option<Name>),
    /// Of this group, the consumers after this one.
    Consumers(Name, Option<Name>),
    /// Of this group, what is pending after this entry.
    Pending(Name, Option<StreamId>),
    End,
}

impl CommandWriter {
    /// A base of what [`Store::begin_walk`] began to walk, if it did.
    pub fn new(store: &Store, walks: bool) -> CommandWriter {
        let mut out = Vec::new();
        for code in store.functions() {
            command(&mut out, &[b"FUNCTION", b"LOAD", code]);
        }
        CommandWriter {
            out,
            db: None,
            jobs: VecDeque::new(),
            walked: !walks,
            keys: 0,
        }
    }

    /// It is not wanted any more; what only it still holds is freed in steps.
    pub fn abandon(self, store: &mut Store) {
        for job in self.jobs {
            job.value.discard(store);
        }
    }

    /// Whole commands that are ready.
    pub fn take(&mut self) -> Bytes {
        mem::take(&mut self.out).into()
    }

    /// Writes some more, or as `little` as can be; true when all is written.
    pub fn step(&mut self, store: &mut Store, little: bool) -> bool {
        for _ in 0..if little { 1 } else { STEP_PIECES } {
            if self.out.len() >= STEP_BYTES {
                return false;
            }
            if let Some(job) = self.jobs.front_mut() {
                if self.db != Some(job.db) {
                    self.db = Some(job.db);
                    select(&mut self.out, job.db);
                }
                if !job.value.step(&mut self.out, &job.key) {
                    continue;
                }
                expire(&mut self.out, &job.key, job.deadline);
                if let Some(job) = self.jobs.pop_front() {
                    job.value.discard(store);
                }
            } else if self.walked {
                return true;
            } else {
                self.walked = store.walk_step(|item| self.item(item));
            }
        }
        false
    }

    fn item(&mut self, item: SnapshotItem<'_>) {
        self.keys += 1;
        let value = match item.value {
            SnapshotValue::Held(text) => JobValue::Held(text, false),
            SnapshotValue::Plain(value) => match self.plain(&item, value) {
                Some(value) => value,
                None => return,
            },
        };
        self.jobs.push_back(Job {
            db: item.db,
            key: item.key.to_vec(),
            deadline: item.deadline,
            value,
        });
    }

    /// Writes a value, or says how it is to be written in steps.
    fn plain(&mut self, item: &SnapshotItem<'_>, value: ValueRef<'_>) -> Option<JobValue> {
        Some(match value {
            ValueRef::Inline(bytes) => {
                self.string(item, bytes);
                return None;
            }
            ValueRef::Int(n) => {
                let mut text = Vec::new();
                write_i64(&mut text, n);
                self.string(item, &text);
                return None;
            }
            ValueRef::Object(Object::Str(bytes)) if bytes.len() > STEP_BYTES => {
                JobValue::Str(bytes.clone(), 0)
            }
            ValueRef::Object(Object::Str(bytes)) => {
                self.string(item, bytes);
                return None;
            }
            ValueRef::Object(Object::Hash(hash)) => {
                JobValue::Hash(hash.clone(), Position::default())
            }
            ValueRef::Object(Object::List(list)) => JobValue::List(Rc::clone(list), 0),
            ValueRef::Object(Object::Set(set)) => JobValue::Set(set.clone(), Position::default()),
            ValueRef::Object(Object::Stream(stream)) => JobValue::Stream(StreamJob {
                stream: Rc::clone(stream),
                at: At::Entries(StreamId::MIN),
            }),
            ValueRef::Object(Object::ZSet(set)) => JobValue::ZSet(set.clone(), 0),
        })
    }

    fn string(&mut self, item: &SnapshotItem<'_>, value: &[u8]) {
        if self.db != Some(item.db) {
            self.db = Some(item.db);
            select(&mut self.out, item.db);
        }
        command(&mut self.out, &[b"SET", item.key, value]);
        expire(&mut self.out, item.key, item.deadline);
    }
}

impl JobValue {
    /// It is wanted no more: it may be the last that holds the value as it was.
    fn discard(self, store: &mut Store) {
        store.discard_object(match self {
            JobValue::Hash(hash, _) => Object::Hash(hash),
            JobValue::List(list, _) => Object::List(list),
            JobValue::Set(set, _) => Object::Set(set),
            JobValue::Held(..) | JobValue::Str(..) => return,
            JobValue::Stream(job) => Object::Stream(job.stream),
            JobValue::ZSet(set, _) => Object::ZSet(set),
        });
    }

    /// Writes the next command or commands; true at the end.
    fn step(&mut self, out: &mut Vec<u8>, key: &[u8]) -> bool {
        match self {
            JobValue::Hash(hash, at) => match hash.as_table() {
                None => {
                    let pairs: Vec<_> = hash.iter().map(|(f, v)| (f.text(), v.text())).collect();
                    for some in pairs.chunks(PER_COMMAND) {
                        let some = some.iter().map(|(field, value)| (&field[..], &value[..]));
                        write_pairs(out, key, hash, &some.collect::<Vec<_>>());
                    }
                    true
                }
                Some(table) => {
                    let mut pairs = table.iter_from(*at);
                    let some: Vec<_> = pairs.by_ref().take(PER_COMMAND).collect();
                    write_pairs(out, key, hash, &some);
                    *at = pairs.position();
                    some.len() < PER_COMMAND
                }
            },
            JobValue::List(list, at) => {
                let mut args = Args::new(b"RPUSH", key);
                list.visit(*at, PER_COMMAND, End::Front, |element| {
                    args.push(&element.text());
                    true
                });
                *at += args.write(out);
                *at >= list.len()
            }
            JobValue::Set(set, at) => {
                let mut args = Args::new(b"SADD", key);
                if set.as_table().is_none() {
                    for member in set.iter() {
                        args.push(&member.text());
                        if args.count == PER_COMMAND {
                            args.write(out);
                        }
                    }
                    args.write(out);
                    return true;
                }
                let next = set.part(*at, PER_COMMAND, |member| args.push(member));
                args.write(out);
                *at = next.unwrap_or_default();
                next.is_none()
            }
            JobValue::Held(text, begun) => {
                let verb: &[u8] = if *begun { b"APPEND" } else { b"SET" };
                text.read(|piece| command(out, &[verb, key, piece]));
                *begun = true;
                text.is_over()
            }
            JobValue::Str(text, at) => {
                let verb: &[u8] = if *at == 0 { b"SET" } else { b"APPEND" };
                let next = text.len().min(*at + STEP_BYTES);
                command(out, &[verb, key, &text[*at..next]]);
                *at = next;
                next == text.len()
            }
            JobValue::Stream(job) => job.step(out, key),
            JobValue::ZSet(set, at) => {
                let mut args = Args::new(b"ZADD", key);
                let next = set.len().min(*at + PER_COMMAND);
                let mut score = Vec::new();
                for (member, value) in set.slice(*at..next, false) {
                    score.clear();
                    write_f64(&mut score, value);
                    args.push(&score);
                    args.push(&member.text());
                }
                args.write(out);
                *at = next;
                next == set.len()
            }
        }
    }
}

fn write_pairs(out: &mut Vec<u8>, key: &[u8], hash: &Hash, pairs: &[(&[u8], &[u8])]) {
    let mut args = Args::new(b"HMSET", key);
    for (field, value) in pairs {
        args.push(field);
        args.push(value);
    }
    args.write(out);
    if hash.next_time().is_none() {
        return;
    }
    for (field, _) in pairs {
        if let Some(time) = hash.time(field) {
            let time = format!("{time}");
            let words: [&[u8]; 6] = [b"HPEXPIREAT", key, time.as_bytes(), b"FIELDS", b"1", field];
            command(out, &words);
        }
    }
}

impl StreamJob {
    fn step(&mut self, out: &mut Vec<u8>, key: &[u8]) -> bool {
        let entries = &self.stream.entries;
        let groups = &self.stream.groups;
        self.at = match mem::replace(&mut self.at, At::End) {
            At::Entries(from) => {
                let mut next = None;
                for (count, entry) in entries.range(from, StreamId::MAX).enumerate() {
                    if count == PER_COMMAND {
                        next = Some(entry.id);
                        break;
                    }
                    let id = entry.id.text();
                    let mut args = Args::new(b"XADD", key);
                    args.push(&id);
                    for (field, value) in entry.pairs() {
                        args.push(&field.text());
                        args.push(&value.text());
                    }
                    args.write(out);
                }
                next.map_or(At::Counters, At::Entries)
            }
            At::Counters => {
                if entries.is_empty() {
                    let some = StreamId { ms: 0, seq: 1 };
                    let id = entries.last_id.max(some).text();
                    command(out, &[b"XADD", key, b"MAXLEN", b"0", &id, b"x", b"y"]);
                }
                let added = format!("{}", entries.entries_added);
                let (last, deleted) = (entries.last_id.text(), entries.max_deleted_id.text());
                let head: [&[u8]; 3] = [b"XSETID", key, &last];
                let tail: [&[u8]; 4] =
                    [b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", &deleted];
                command(out, &[&head[..], &tail[..]].concat());
                At::Group(None)
            }
            At::Group(after) => {
                let next = match &after {
                    None => groups.iter().next(),
                    Some(name) => groups.iter_after(name).next(),
                };
                match next {
                    None => At::End,
                    Some((name, group)) => {
                        let (last, read) =
                            (group.last_id.text(), format!("{}", group.entries_read));
                        let head: [&[u8]; 5] = [b"XGROUP", b"CREATE", key, name, &last];
                        let tail: [&[u8]; 2] = [b"ENTRIESREAD", read.as_bytes()];
                        command(out, &[&head[..], &tail[..]].concat());
                        At::Consumers(Rc::clone(name), None)
                    }
                }
            }
            At::Consumers(name, after) => {
                let Some(group) = groups.get(&name) else {
                    return true;
                };
                let consumers = match &after {
                    None => group.consumers().iter(),
                    Some(consumer) => group.consumers().iter_after(consumer),
                };
                let mut last = None;
                for (consumer, _) in consumers.take(PER_COMMAND) {
                    command(out, &[b"XGROUP", b"CREATECONSUMER", key, &name, consumer]);
                    last = Some(Rc::clone(consumer));
                }
                match last {
                    None => At::Pending(name, None),
                    last => At::Consumers(name, last),
                }
            }
            At::Pending(name, after) => {
                let Some(group) = groups.get(&name) else {
                    return true;
                };
                let pending = match &after {
                    None => group.pending().iter(),
                    Some(id) => group.pending().iter_after(id),
                };
                let mut last = None;
                for (id, pending) in pending.take(PER_COMMAND) {
                    let time = format!("{}", pending.delivered_ms);
                    let count = format!("{}", pending.deliveries);
                    let text = id.text();
                    let head: [&[u8]; 6] = [b"XCLAIM", key, &name, &pending.owner, b"0", &text];
                    let (time, count) = (time.as_bytes(), count.as_bytes());
                    let tail: [&[u8]; 6] =
                        [b"TIME", time, b"RETRYCOUNT", count, b"JUSTID", b"FORCE"];
                    command(out, &[head, tail].concat());
                    last = Some(*id);
                }
                match last {
                    None => At::Group(Some(name)),
                    last => At::Pending(name, last),
                }
            }
            At::End => At::End,
        };
        matches!(self.at, At::End)
    }
}

/// A command whose number of arguments is known at its end.
struct Args<'a> {
    name: &'a [u8],
    key: &'a [u8],
    body: Vec<u8>,
    count: usize,
}

impl<'a> Args<'a> {
    fn new(name: &'a [u8], key: &'a [u8]) -> Args<'a> {
        Args {
            name,
            key,
            body: Vec::new(),
            count: 0,
        }
    }

    fn push(&mut self, arg: &[u8]) {
        self.count += 1;
        push(&mut self.body, arg);
    }

    /// Writes the command, unless it has no arguments but the key; returns how many it had, and begins anew.
    fn write(&mut self, out: &mut Vec<u8>) -> usize {
        if self.count > 0 {
            head(out, self.count + 2);
            push(out, self.name);
            push(out, self.key);
            out.append(&mut self.body);
        }
        mem::take(&mut self.count)
    }
}

fn select(out: &mut Vec<u8>, db: usize) {
    let mut text = Vec::new();
    write_i64(&mut text, db as i64);
    command(out, &[b"SELECT", &text]);
}

fn expire(out: &mut Vec<u8>, key: &[u8], deadline: Option<u64>) {
    if let Some(at) = deadline {
        command(out, &[b"PEXPIREAT", key, format!("{at}").as_bytes()]);
    }
}

fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    head(out, args.len());
    args.iter().for_each(|arg| push(out, arg));
}

fn head(out: &mut Vec<u8>, args: usize) {
    out.push(b'*');
    write_i64(out, args as i64);
    out.extend_from_slice(b"\r\n");
}

fn push(out: &mut Vec<u8>, arg: &[u8]) {
    out.push(b'$');
    write_i64(out, arg.len() as i64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(arg);
    out.extend_from_slice(b"\r\n");
}
