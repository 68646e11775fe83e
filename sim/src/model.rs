//! What the commands of the workload mean: a sequential model of a few keys, written from the commands'
//! documentation and not from the engine.
//!
//! The one thing that a sequential model cannot know is when a key expires: an operation happens some time between
//! its call and its return, and the node's clock is not the world's. So a deadline is a window, and a read within
//! the window may see the key or not ([`Keyspace::ripe`]); after it was seen gone it stays gone.

use crate::resp::Reply;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A command with its arguments.
pub type Argv = Vec<Vec<u8>>;

/// A span of world time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Not before.
    pub earliest: u64,
    /// Not after.
    pub latest: u64,
}

impl Window {
    /// A moment.
    pub fn at(moment: u64) -> Window {
        Window {
            earliest: moment,
            latest: moment,
        }
    }

    fn plus(self, us: u64) -> Window {
        Window {
            earliest: self.earliest.saturating_add(us),
            latest: self.latest.saturating_add(us),
        }
    }

    /// This window, wider by `slack` on both sides.
    pub fn widened(self, slack: u64) -> Window {
        Window {
            earliest: self.earliest.saturating_sub(slack),
            latest: self.latest.saturating_add(slack),
        }
    }
}

/// Milliseconds and a number within them.
pub type StreamId = (u64, u64);

/// A key's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Fields and values.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Elements from left to right.
    List(VecDeque<Vec<u8>>),
    /// Members.
    Set(BTreeSet<Vec<u8>>),
    /// A string.
    Str(Vec<u8>),
    /// Entries by id, each with the value of its one field, and the last id that was ever given.
    Stream(BTreeMap<StreamId, Vec<u8>>, StreamId),
    /// Members and their scores.
    Zset(BTreeMap<Vec<u8>, i64>),
}

/// A few keys with their values and deadlines.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keyspace {
    keys: BTreeMap<Vec<u8>, (Value, Option<Window>)>,
}

/// Whether a key with a deadline is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ripeness {
    /// Its deadline lies ahead, or it has none.
    Alive,
    /// It may be either.
    Either,
    /// Its deadline is past.
    Gone,
}

const WRONGTYPE: &[u8] = b"WRONGTYPE Operation against a key holding the wrong kind of value";

impl Keyspace {
    /// Keys in order, with value and deadline.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value, Option<Window>)> {
        self.keys
            .iter()
            .map(|(key, (value, deadline))| (key.as_slice(), value, *deadline))
    }

    /// A value.
    pub fn value(&self, key: &[u8]) -> Option<&Value> {
        self.keys.get(key).map(|(value, _)| value)
    }

    /// Whether a key has expired for an operation that happened within `during`.
    pub fn ripe(&self, key: &[u8], during: Window) -> Ripeness {
        match self.keys.get(key).and_then(|(_, deadline)| *deadline) {
            None => Ripeness::Alive,
            Some(deadline) if during.latest < deadline.earliest => Ripeness::Alive,
            Some(deadline) if during.earliest > deadline.latest => Ripeness::Gone,
            Some(_) => Ripeness::Either,
        }
    }

    /// Removes a key that expired.
    pub fn expire(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// Sets when a key expires, if there is one.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Window) {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.1 = Some(deadline);
        }
    }

    /// Executes one command as it would be in `during`. A key that may have expired is taken to be alive: see to
    /// that first with [`Keyspace::expire`]. Where the command's outcome is chance (SPOP), `observed` decides.
    pub fn execute(&mut self, argv: &[Vec<u8>], during: Window, observed: Option<&Reply>) -> Reply {
        let name = argv[0].to_ascii_uppercase();
        let key = argv.get(1).map_or(&[][..], Vec::as_slice);
        let arg = |n: usize| argv.get(n).cloned().unwrap_or_default();
        let outcome = match name.as_slice() {
            b"GET" => self
                .string(key)
                .map(|text| text.map_or(Reply::Nil, Reply::bulk)),
            b"STRLEN" => self
                .string(key)
                .map(|text| Reply::Int(text.map_or(0, <[u8]>::len) as i64)),
            b"SET" => self.set(argv, during),
            b"MSET" => {
                for pair in argv[1..].chunks(2) {
                    self.keys
                        .insert(pair[0].clone(), (Value::Str(pair[1].clone()), None));
                }
                Ok(Reply::ok())
            }
            b"GETDEL" => self
                .string(key)
                .map(|text| text.map(<[u8]>::to_vec))
                .map(|text| {
                    self.keys.remove(key);
                    text.map_or(Reply::Nil, Reply::Bulk)
                }),
            b"APPEND" => self
                .string(key)
                .map(|text| text.unwrap_or_default().to_vec())
                .map(|mut text| {
                    text.extend(arg(2));
                    let len = text.len() as i64;
                    self.put(key, Value::Str(text));
                    Reply::Int(len)
                }),
            b"INCR" => self.add(key, 1),
            b"INCRBY" => self.add(key, integer(&arg(2))),
            b"DECRBY" => self.add(key, -integer(&arg(2))),
            b"DEL" | b"UNLINK" => {
                let gone = argv[1..]
                    .iter()
                    .filter(|key| self.keys.remove(*key).is_some());
                Ok(Reply::Int(gone.count() as i64))
            }
            b"EXISTS" => Ok(Reply::Int(i64::from(self.keys.contains_key(key)))),
            b"EXPIRE" => Ok(self.deadline(key, during.plus(integer(&arg(2)) as u64 * 1_000_000))),
            b"PEXPIRE" => Ok(self.deadline(key, during.plus(integer(&arg(2)) as u64 * 1_000))),
            b"PERSIST" => {
                let had = self
                    .keys
                    .get_mut(key)
                    .is_some_and(|(_, deadline)| deadline.take().is_some());
                Ok(Reply::Int(i64::from(had)))
            }
            b"RENAME" => match self.keys.remove(key) {
                Some(entry) => {
                    self.keys.insert(arg(2), entry);
                    Ok(Reply::ok())
                }
                None => Err(b"ERR no such key".as_slice()),
            },
            b"HSET" => self.hash(key).map(|hash| {
                let new = argv[2..]
                    .chunks(2)
                    .filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none());
                Reply::Int(new.count() as i64)
            }),
            b"HDEL" => self.hash(key).map(|hash| {
                Reply::Int(
                    argv[2..]
                        .iter()
                        .filter(|field| hash.remove(*field).is_some())
                        .count() as i64,
                )
            }),
            b"HINCRBY" => self.hash(key).map(|hash| {
                let value = hash.get(&arg(2)).map_or(0, |text| integer(text)) + integer(&arg(3));
                hash.insert(arg(2), value.to_string().into_bytes());
                Reply::Int(value)
            }),
            b"HGETALL" => self.hash(key).map(|hash| {
                let pairs = hash
                    .iter()
                    .flat_map(|(field, value)| [field.clone(), value.clone()]);
                Reply::Array(pairs.map(Reply::Bulk).collect())
            }),
            b"RPUSH" => self.list(key).map(|list| {
                list.extend(argv[2..].iter().cloned());
                Reply::Int(list.len() as i64)
            }),
            b"LPUSH" => self.list(key).map(|list| {
                argv[2..]
                    .iter()
                    .for_each(|element| list.push_front(element.clone()));
                Reply::Int(list.len() as i64)
            }),
            b"LPOP" => self
                .list(key)
                .map(|list| list.pop_front().map_or(Reply::Nil, Reply::Bulk)),
            b"RPOP" => self
                .list(key)
                .map(|list| list.pop_back().map_or(Reply::Nil, Reply::Bulk)),
            b"BLPOP" => self.list(key).map(|list| {
                let first = list.pop_front();
                first.map_or(Reply::Nil, |first| {
                    Reply::Array(vec![Reply::bulk(key), Reply::Bulk(first)])
                })
            }),
            b"LMOVE" | b"BLMOVE" => self.list_move(key, &argv[2]),
            b"LTRIM" => self.list(key).map(|list| {
                list.truncate(integer(&arg(3)) as usize + 1);
                Reply::ok()
            }),
            b"LRANGE" => self
                .list(key)
                .map(|list| Reply::Array(list.iter().cloned().map(Reply::Bulk).collect())),
            b"SADD" => self.members(key).map(|set| {
                Reply::Int(
                    argv[2..]
                        .iter()
                        .filter(|member| set.insert((*member).clone()))
                        .count() as i64,
                )
            }),
            b"SREM" => self.members(key).map(|set| {
                Reply::Int(
                    argv[2..]
                        .iter()
                        .filter(|member| set.remove(*member))
                        .count() as i64,
                )
            }),
            b"SMOVE" => self.set_move(key, &argv[2], &argv[3]),
            b"SUNIONSTORE" => self.set_union(key, &argv[2..]),
            b"SMEMBERS" => self
                .members(key)
                .map(|set| Reply::Array(set.iter().cloned().map(Reply::Bulk).collect())),
            b"SPOP" => self.members(key).map(|set| match observed {
                Some(Reply::Bulk(member)) if set.remove(member) => Reply::Bulk(member.clone()),
                _ => set.pop_first().map_or(Reply::Nil, Reply::Bulk),
            }),
            b"ZADD" => self.scores(key).map(|scores| {
                Reply::Int(i64::from(scores.insert(arg(3), integer(&arg(2))).is_none()))
            }),
            b"ZREM" => self
                .scores(key)
                .map(|scores| Reply::Int(i64::from(scores.remove(&arg(2)).is_some()))),
            b"ZINCRBY" => self.scores(key).map(|scores| {
                let score = scores.entry(arg(3)).or_default();
                *score += integer(&arg(2));
                Reply::bulk(score.to_string())
            }),
            b"ZPOPMIN" => self.scores(key).map(|scores| {
                let first = scores
                    .iter()
                    .min_by_key(|(member, score)| (**score, (*member).clone()));
                let first = first.map(|(member, score)| (member.clone(), *score));
                Reply::Array(first.map_or(Vec::new(), |(member, score)| {
                    scores.remove(&member);
                    vec![Reply::Bulk(member), Reply::bulk(score.to_string())]
                }))
            }),
            b"ZRANGE" => self.scores(key).map(|scores| {
                let mut order: Vec<_> = scores
                    .iter()
                    .map(|(member, score)| (*score, member))
                    .collect();
                order.sort();
                let flat = order.into_iter().flat_map(|(score, member)| {
                    [Reply::Bulk(member.clone()), Reply::bulk(score.to_string())]
                });
                Reply::Array(flat.collect())
            }),
            b"SETBIT" => self
                .string(key)
                .map(|text| text.unwrap_or_default().to_vec())
                .map(|mut text| {
                    let (byte, bit) = bit_of(&arg(2));
                    text.resize(text.len().max(byte + 1), 0);
                    let old = text[byte] >> bit & 1;
                    text[byte] = text[byte] & !(1 << bit) | (integer(&arg(3)) as u8) << bit;
                    self.put(key, Value::Str(text));
                    Reply::Int(i64::from(old))
                }),
            b"GETBIT" => self.string(key).map(|text| {
                let (byte, bit) = bit_of(&arg(2));
                let found = text.and_then(|text| text.get(byte)).copied();
                Reply::Int(i64::from(found.unwrap_or(0) >> bit & 1))
            }),
            b"XADD" => self.stream_add(key, &arg(2), arg(4)),
            b"XDEL" => match (self.keys.get_mut(key), stream_id(&arg(2))) {
                (Some((Value::Stream(entries, _), _)), Some(id)) => {
                    Ok(Reply::Int(i64::from(entries.remove(&id).is_some())))
                }
                (None, _) => Ok(Reply::Int(0)),
                _ => Err(WRONGTYPE),
            },
            b"XRANGE" => match self.keys.get(key) {
                Some((Value::Stream(entries, _), _)) => {
                    let entry = |(id, value): (&StreamId, &Vec<u8>)| {
                        let pair = vec![Reply::bulk("f"), Reply::Bulk(value.clone())];
                        Reply::Array(vec![
                            Reply::bulk(format!("{}-{}", id.0, id.1)),
                            Reply::Array(pair),
                        ])
                    };
                    Ok(Reply::Array(entries.iter().map(entry).collect()))
                }
                None => Ok(Reply::Array(Vec::new())),
                _ => Err(WRONGTYPE),
            },
            _ => Err(b"ERR unknown command".as_slice()),
        };
        self.keys.retain(|_, (value, _)| !value.is_empty());
        outcome.unwrap_or_else(|error| Reply::Error(error.to_vec()))
    }

    /// From the left of one list to the right of another.
    fn list_move(&mut self, from: &[u8], to: &[u8]) -> Result<Reply, &'static [u8]> {
        if self
            .keys
            .get(to)
            .is_some_and(|(value, _)| !matches!(value, Value::List(_)))
        {
            self.list(from)?;
            return Err(WRONGTYPE);
        }
        let Some(element) = self.list(from)?.pop_front() else {
            return Ok(Reply::Nil);
        };
        self.list(to)?.push_back(element.clone());
        Ok(Reply::Bulk(element))
    }

    fn set_move(&mut self, from: &[u8], to: &[u8], member: &[u8]) -> Result<Reply, &'static [u8]> {
        if !self.keys.contains_key(from) {
            return Ok(Reply::Int(0));
        }
        let has = self.members(from)?.contains(member);
        if self
            .keys
            .get(to)
            .is_some_and(|(value, _)| !matches!(value, Value::Set(_)))
        {
            return Err(WRONGTYPE);
        }
        if has {
            self.members(from)?.remove(member);
            self.members(to)?.insert(member.to_vec());
        }
        Ok(Reply::Int(i64::from(has)))
    }

    fn set_union(&mut self, to: &[u8], from: &[Vec<u8>]) -> Result<Reply, &'static [u8]> {
        let mut union = BTreeSet::new();
        for key in from {
            union.extend(self.members(key)?.iter().cloned());
        }
        let len = union.len() as i64;
        self.keys.remove(to);
        if !union.is_empty() {
            self.keys.insert(to.to_vec(), (Value::Set(union), None));
        }
        Ok(Reply::Int(len))
    }

    fn stream_add(
        &mut self,
        key: &[u8],
        id: &[u8],
        value: Vec<u8>,
    ) -> Result<Reply, &'static [u8]> {
        let empty = Value::Stream(BTreeMap::new(), (0, 0));
        let wanted = stream_id(id).unwrap_or_default();
        match self.keys.get(key) {
            Some((Value::Stream(_, last), _)) if wanted <= *last => {
                return Err(b"ERR The ID specified in XADD is equal or smaller than the target stream top item");
            }
            None if wanted == (0, 0) => {
                return Err(b"ERR The ID specified in XADD must be greater than 0-0");
            }
            _ => {}
        }
        match self.slot(key, empty) {
            Value::Stream(entries, last) => {
                entries.insert(wanted, value);
                *last = wanted;
                Ok(Reply::bulk(id))
            }
            _ => Err(WRONGTYPE),
        }
    }

    fn set(&mut self, argv: &[Vec<u8>], during: Window) -> Result<Reply, &'static [u8]> {
        let key = &argv[1];
        let option = |name: &[u8]| {
            argv.iter()
                .skip(3)
                .position(|arg| arg.eq_ignore_ascii_case(name))
        };
        if option(b"NX").is_some() && self.keys.contains_key(key) {
            return Ok(Reply::Nil);
        }
        let reply = match option(b"GET") {
            Some(_) => self.string(key)?.map_or(Reply::Nil, Reply::bulk),
            None => Reply::ok(),
        };
        let deadline = option(b"PX").map(|at| during.plus(integer(&argv[at + 4]) as u64 * 1_000));
        self.keys
            .insert(key.clone(), (Value::Str(argv[2].clone()), deadline));
        Ok(reply)
    }

    fn add(&mut self, key: &[u8], by: i64) -> Result<Reply, &'static [u8]> {
        let value = self.string(key)?.map_or(0, integer) + by;
        self.put(key, Value::Str(value.to_string().into_bytes()));
        Ok(Reply::Int(value))
    }

    fn deadline(&mut self, key: &[u8], deadline: Window) -> Reply {
        let found = self.keys.get_mut(key).map(|entry| entry.1 = Some(deadline));
        Reply::Int(i64::from(found.is_some()))
    }

    fn put(&mut self, key: &[u8], value: Value) {
        let entry = self
            .keys
            .entry(key.to_vec())
            .or_insert_with(|| (Value::Str(Vec::new()), None));
        entry.0 = value;
    }

    fn string(&self, key: &[u8]) -> Result<Option<&[u8]>, &'static [u8]> {
        match self.keys.get(key) {
            None => Ok(None),
            Some((Value::Str(text), _)) => Ok(Some(text)),
            Some(_) => Err(WRONGTYPE),
        }
    }

    fn slot(&mut self, key: &[u8], empty: Value) -> &mut Value {
        &mut self.keys.entry(key.to_vec()).or_insert((empty, None)).0
    }

    fn hash(&mut self, key: &[u8]) -> Result<&mut BTreeMap<Vec<u8>, Vec<u8>>, &'static [u8]> {
        match self.slot(key, Value::Hash(BTreeMap::new())) {
            Value::Hash(hash) => Ok(hash),
            _ => Err(WRONGTYPE),
        }
    }

    fn list(&mut self, key: &[u8]) -> Result<&mut VecDeque<Vec<u8>>, &'static [u8]> {
        match self.slot(key, Value::List(VecDeque::new())) {
            Value::List(list) => Ok(list),
            _ => Err(WRONGTYPE),
        }
    }

    fn members(&mut self, key: &[u8]) -> Result<&mut BTreeSet<Vec<u8>>, &'static [u8]> {
        match self.slot(key, Value::Set(BTreeSet::new())) {
            Value::Set(set) => Ok(set),
            _ => Err(WRONGTYPE),
        }
    }

    fn scores(&mut self, key: &[u8]) -> Result<&mut BTreeMap<Vec<u8>, i64>, &'static [u8]> {
        match self.slot(key, Value::Zset(BTreeMap::new())) {
            Value::Zset(scores) => Ok(scores),
            _ => Err(WRONGTYPE),
        }
    }
}

impl Value {
    /// Collections are removed with their last element; strings may be empty.
    fn is_empty(&self) -> bool {
        match self {
            Value::Hash(hash) => hash.is_empty(),
            Value::List(list) => list.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Str(_) | Value::Stream(..) => false,
            Value::Zset(scores) => scores.is_empty(),
        }
    }
}

fn integer(text: &[u8]) -> i64 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// A bit's byte, and its place in it from the right.
fn bit_of(offset: &[u8]) -> (usize, u32) {
    let offset = integer(offset) as usize;
    (offset / 8, 7 - offset as u32 % 8)
}

fn stream_id(text: &[u8]) -> Option<StreamId> {
    let (ms, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

/// The keys that a command of the workload names.
pub fn keys_of(argv: &[Vec<u8>]) -> Vec<&[u8]> {
    match argv[0].to_ascii_uppercase().as_slice() {
        b"MSET" => argv[1..].chunks(2).map(|pair| pair[0].as_slice()).collect(),
        b"DEL" | b"UNLINK" | b"SUNIONSTORE" => argv[1..].iter().map(Vec::as_slice).collect(),
        b"BLMOVE" | b"LMOVE" | b"RENAME" | b"SMOVE" => {
            argv[1..3].iter().map(Vec::as_slice).collect()
        }
        _ => argv.get(1).map(Vec::as_slice).into_iter().collect(),
    }
}

/// Brings replies whose order means nothing into one order.
pub fn canonical(argv: &[Vec<u8>], reply: &Reply) -> Reply {
    match (argv[0].to_ascii_uppercase().as_slice(), reply) {
        (b"SMEMBERS", Reply::Array(items)) => {
            let mut items = items.clone();
            items.sort();
            Reply::Array(items)
        }
        (b"HGETALL", Reply::Array(items)) => {
            let mut pairs: Vec<&[Reply]> = items.chunks(2).collect();
            pairs.sort();
            Reply::Array(pairs.concat())
        }
        // RESP3 nests a member with its score.
        (b"ZRANGE", Reply::Array(items)) if matches!(items.first(), Some(Reply::Array(_))) => {
            let flat = items.iter().flat_map(|item| match item {
                Reply::Array(pair) => pair.clone(),
                other => vec![other.clone()],
            });
            Reply::Array(flat.collect())
        }
        _ => reply.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(space: &mut Keyspace, line: &str) -> Reply {
        let argv: Argv = line.split(' ').map(|arg| arg.as_bytes().to_vec()).collect();
        space.execute(&argv, Window::at(0), None)
    }

    #[test]
    fn commands_do_what_their_pages_say() {
        let bulk = |text: &str| Reply::bulk(text);
        let array =
            |items: &[&str]| Reply::Array(items.iter().map(|item| Reply::bulk(*item)).collect());
        let mut space = Keyspace::default();
        for (line, expected) in [
            ("GET a", Reply::Nil),
            ("SET a 1", Reply::ok()),
            ("SET a 2 NX", Reply::Nil),
            ("SET a 5 GET", bulk("1")),
            ("INCR a", Reply::Int(6)),
            ("DECRBY a 10", Reply::Int(-4)),
            ("APPEND a x", Reply::Int(3)),
            ("GETDEL a", bulk("-4x")),
            ("EXISTS a", Reply::Int(0)),
            ("HSET h f 1 g 2", Reply::Int(2)),
            ("HINCRBY h f 4", Reply::Int(5)),
            ("HGETALL h", array(&["f", "5", "g", "2"])),
            ("HDEL h f g", Reply::Int(2)),
            ("EXISTS h", Reply::Int(0)),
            ("RPUSH l b c", Reply::Int(2)),
            ("LPUSH l a", Reply::Int(3)),
            ("RPOP l", bulk("c")),
            ("LRANGE l 0 -1", array(&["a", "b"])),
            ("SADD s x y x", Reply::Int(2)),
            ("SREM s x", Reply::Int(1)),
            ("SMEMBERS s", array(&["y"])),
            ("SPOP s", bulk("y")),
            ("SPOP s", Reply::Nil),
            ("ZADD z 2 m", Reply::Int(1)),
            ("ZADD z 1 n", Reply::Int(1)),
            ("ZINCRBY z 5 n", bulk("6")),
            ("ZRANGE z 0 -1 WITHSCORES", array(&["m", "2", "n", "6"])),
            ("ZREM z q", Reply::Int(0)),
            ("ZPOPMIN z", array(&["m", "2"])),
            ("RPUSH v a b c", Reply::Int(3)),
            ("LMOVE v w LEFT RIGHT", bulk("a")),
            ("LMOVE w w LEFT RIGHT", bulk("a")),
            ("LTRIM v 0 0", Reply::ok()),
            ("LRANGE v 0 -1", array(&["b"])),
            ("LMOVE none w LEFT RIGHT", Reply::Nil),
            ("DEL v w", Reply::Int(2)),
            ("SADD v 1 2", Reply::Int(2)),
            ("SMOVE v w 1", Reply::Int(1)),
            ("SMOVE v w 1", Reply::Int(0)),
            ("SUNIONSTORE u v w", Reply::Int(2)),
            ("SMEMBERS u", array(&["1", "2"])),
            ("SUNIONSTORE u none", Reply::Int(0)),
            ("EXISTS u", Reply::Int(0)),
            ("SMOVE v z 2", Reply::Error(WRONGTYPE.to_vec())),
            ("DEL v w", Reply::Int(2)),
            ("SETBIT v 9 1", Reply::Int(0)),
            ("SETBIT v 9 1", Reply::Int(1)),
            ("GET v", bulk("\0@")),
            ("GETBIT v 9", Reply::Int(1)),
            ("GETBIT v 99", Reply::Int(0)),
            ("DEL v", Reply::Int(1)),
            ("XADD x 5-1 f a", bulk("5-1")),
            ("XDEL x 5-1", Reply::Int(1)),
            ("XRANGE x - +", Reply::Array(Vec::new())),
            ("XADD x 5-2 f b", bulk("5-2")),
            ("HSET z f v", Reply::Error(WRONGTYPE.to_vec())),
            ("RENAME z y", Reply::ok()),
            ("DEL y z", Reply::Int(1)),
            ("MSET a 1 b 2", Reply::ok()),
            ("PERSIST a", Reply::Int(0)),
            ("PEXPIRE a 5", Reply::Int(1)),
            ("PERSIST a", Reply::Int(1)),
        ] {
            assert_eq!(run(&mut space, line), expected, "{line}");
        }
    }

    #[test]
    fn a_deadline_is_a_window_that_a_plain_set_clears() {
        let mut space = Keyspace::default();
        let set: Argv = ["SET", "a", "1", "PX", "10"]
            .map(|arg| arg.as_bytes().to_vec())
            .to_vec();
        space.execute(
            &set,
            Window {
                earliest: 1_000,
                latest: 3_000,
            },
            None,
        );
        assert_eq!(
            space.ripe(
                b"a",
                Window {
                    earliest: 5_000,
                    latest: 10_999
                }
            ),
            Ripeness::Alive
        );
        assert_eq!(space.ripe(b"a", Window::at(12_000)), Ripeness::Either);
        assert_eq!(space.ripe(b"a", Window::at(13_001)), Ripeness::Gone);
        run(&mut space, "APPEND a x");
        assert_eq!(space.ripe(b"a", Window::at(13_001)), Ripeness::Gone);
        run(&mut space, "SET a 2");
        assert_eq!(space.ripe(b"a", Window::at(13_001)), Ripeness::Alive);
    }
}
