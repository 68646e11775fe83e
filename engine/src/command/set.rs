//! Commands on one set (those on several: [`super::set_algebra`]).

use alloc::vec::Vec;

use super::collection::{self, Reading, find, read};
use super::context::Data;
use super::error::CommandError;
use super::scan::{Options, cursor};
use super::string::integer;
use super::table::Outcome;
use crate::config::{Config, NotifyEvents};
use crate::resp::Output;
use crate::store::{Collection, Deadline, Key, Place, Store, Value};
use crate::value::hashtable::fetch;
use crate::value::listpack::Entry;
use crate::value::number::parse_i64;
use crate::value::set::{Limits, Set};

/// Members looked up at a time: their cache lines come together.
pub(super) const BATCH: usize = 16;

/// Up to where a set stays small, by the configuration.
pub fn limits(config: &Config, store: &Store) -> Limits {
    Limits {
        max_intset: config.set_max_intset_entries as usize,
        max_listpack: config.set_max_listpack_entries as usize,
        max_value: config.set_max_listpack_value as usize,
        hash_key: store.hasher().keys(),
    }
}

#[inline]
pub(super) fn reply(out: &mut Output, entry: Entry<'_>) {
    match entry {
        Entry::Int(n) => out.bulk_int(n),
        Entry::Str(bytes) => out.bulk(bytes),
    }
}

/// Lets `change` work on the members in turn; those of a large set are fetched ahead.
fn in_batches(set: &mut Set, members: &[&[u8]], mut change: impl FnMut(&mut Set, &[u8])) {
    if members.len() == 1 {
        return change(set, members[0]);
    }
    for batch in members.chunks(BATCH) {
        fetch(batch.iter().filter_map(|member| set.ahead(member)));
        batch.iter().for_each(|member| change(set, member));
    }
}

/// `SADD key member [member …]`. <https://redis.io/commands/sadd/>
pub(super) fn sadd(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<Set>(d, key)?;
    let limits = limits(d.config, d.store);
    let members = &args[2..];
    let mut added = 0;
    let mut add = |set: &mut Set| {
        in_batches(set, members, |set, member| {
            added += u64::from(set.insert(member, &limits));
        });
    };
    if found.is_some() {
        collection::edit(d, key, found, |set: &mut Set| {
            set.make_room(members.len(), &limits);
            add(set);
        });
    } else {
        let mut set = Set::for_members(members[0], members.len(), &limits);
        add(&mut set);
        collection::put(d, key, set);
    }
    if added > 0 {
        d.changed(key.bytes);
        d.notify(NotifyEvents::SET, "sadd", key.bytes);
        d.effects.dirty += added - 1;
    }
    d.out.int(added as i64);
    Ok(())
}

/// The set at a place that [`find`] gave.
fn set_at<'d>(d: &'d Data<'_>, found: Option<Place>) -> Option<&'d Set> {
    collection::of::<Set>(d.value(found?)).ok()
}

/// `SREM key member [member …]`. <https://redis.io/commands/srem/>
pub(super) fn srem(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<Set>(d, key)?;
    let Some(place) = found else {
        d.out.int(0);
        return Ok(());
    };
    let mut removed = 0u64;
    collection::edit(d, key, found, |set: &mut Set| {
        in_batches(set, &args[2..], |set, member| {
            removed += u64::from(set.remove(member));
        });
    });
    if removed > 0 {
        d.changed(key.bytes);
        d.notify(NotifyEvents::SET, "srem", key.bytes);
        d.effects.dirty += removed - 1;
        collection::delete_if_empty::<Set>(d, key, place);
    }
    d.out.int(removed as i64);
    Ok(())
}

/// `SCARD key`. <https://redis.io/commands/scard/>
pub(super) fn scard(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<Set>(d, args[1])?;
    out.int(value.map_or(0, Set::len) as i64);
    Ok(())
}

/// `SISMEMBER key member`. <https://redis.io/commands/sismember/>
pub(super) fn sismember(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<Set>(d, args[1])?;
    out.int(i64::from(value.is_some_and(|set| set.contains(args[2]))));
    Ok(())
}

/// `SMISMEMBER key member [member …]`. <https://redis.io/commands/smismember/>
pub(super) fn smismember(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<Set>(d, args[1])?;
    out.array(args.len() - 2);
    for batch in args[2..].chunks(BATCH) {
        if let Some(set) = value {
            fetch(batch.iter().filter_map(|member| set.ahead(member)));
        }
        for member in batch {
            out.int(i64::from(value.is_some_and(|set| set.contains(member))));
        }
    }
    Ok(())
}

/// `SMEMBERS key`. <https://redis.io/commands/smembers/>
pub(super) fn smembers(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<Set>(d, args[1])?;
    out.set(value.map_or(0, Set::len));
    for member in value.into_iter().flatten() {
        reply(out, member);
    }
    Ok(())
}

/// `SMOVE source destination member`. <https://redis.io/commands/smove/>
pub(super) fn smove(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (source, destination, member) = (d.first_key(args[1]), d.key(args[2]), args[3]);
    let from = d.look_to_write(source);
    let to = d.look_to_write(destination);
    // Looking the second up may have deleted it, which moves others.
    let from = from.and_then(|_| d.store.find(d.db, source));
    let Some(from) = from else {
        d.out.int(0);
        return Ok(());
    };
    let there = collection::of::<Set>(d.value(from))?.contains(member);
    if let Some(to) = to {
        collection::of::<Set>(d.value(to))?;
    }
    if !there || source.bytes == destination.bytes {
        d.out.int(i64::from(there));
        return Ok(());
    }
    collection::edit(d, source, Some(from), |set: &mut Set| set.remove(member));
    d.changed(source.bytes);
    d.notify(NotifyEvents::SET, "srem", source.bytes);
    collection::delete_if_empty::<Set>(d, source, from);
    let to = to.and_then(|_| d.store.find(d.db, destination));
    if add_one(d, destination, to, member) {
        d.changed(destination.bytes);
        d.notify(NotifyEvents::SET, "sadd", destination.bytes);
    }
    d.out.int(1);
    Ok(())
}

/// Adds a member to the set at a key, which is made if absent; returns whether it is new.
fn add_one(d: &mut Data<'_>, key: Key<'_>, found: Option<Place>, member: &[u8]) -> bool {
    let limits = limits(d.config, d.store);
    if found.is_some() {
        return collection::edit(d, key, found, |set: &mut Set| set.insert(member, &limits));
    }
    let mut set = Set::for_members(member, 1, &limits);
    set.insert(member, &limits);
    collection::put(d, key, set);
    true
}

/// Members on their way out of a set, one behind the other.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Taken {
    fn push(&mut self, member: Entry<'_>) {
        member.write_to(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = core::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }
}

/// Members that one journalled SREM names at most.
const SREM_MEMBERS: usize = 1024;

/// `SPOP key [count]`. <https://redis.io/commands/spop/>
pub(super) fn spop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    match args.len() {
        2 => pop_one(d, args),
        3 => pop_many(d, args),
        _ => Err(CommandError::SYNTAX),
    }
}

fn pop_one(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<Set>(d, key)?;
    let word = d.random.word();
    let mut taken = Taken::default();
    let (Some(place), Some(member)) = (found, set_at(d, found).and_then(|set| set.random(word)))
    else {
        d.out.null();
        return Ok(());
    };
    taken.push(member);
    let member = &taken.bytes[..];
    collection::edit(d, key, found, |set: &mut Set| set.remove(member));
    d.out.bulk(member);
    d.changed(key.bytes);
    d.notify(NotifyEvents::SET, "spop", key.bytes);
    d.effects.instead(d.db, &[b"SREM", key.bytes, member]);
    collection::delete_if_empty::<Set>(d, key, place);
    Ok(())
}

fn pop_many(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let count = parse_i64(args[2])
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(CommandError::fixed(
            "ERR value is out of range, must be positive",
        ))?;
    let key = d.first_key(args[1]);
    let found = find::<Set>(d, key)?;
    let Some(place) = found.filter(|_| count > 0) else {
        d.out.set(0);
        return Ok(());
    };
    let limits = limits(d.config, d.store);
    let Data {
        store,
        out,
        random,
        db,
        ..
    } = d;
    let set = collection::of::<Set>(store.entry(*db, place).value())?;
    let len = set.len();
    out.set(count.min(len));
    if count >= len {
        set.iter().for_each(|member| reply(out, member));
        d.changed(key.bytes);
        d.effects.dirty += len as u64 - 1;
        d.notify(NotifyEvents::SET, "spop", key.bytes);
        d.store.delete(d.db, key, place);
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
        let verb: &[u8] = if d.config.lazyfree_lazy_server_del {
            b"UNLINK"
        } else {
            b"DEL"
        };
        d.effects.instead(d.db, &[verb, key.bytes]);
        return Ok(());
    }
    let (mut taken, mut rest) = (Taken::default(), None);
    let left = len - count;
    if left.saturating_mul(5) > count {
        set.sample(count, &mut || random.word(), |member| taken.push(member));
    } else {
        // Few stay: they make up a new set.
        let mut kept = Set::new();
        set.sample(left, &mut || random.word(), |member| {
            kept.insert_entry(member, &limits);
        });
        set.iter()
            .filter(|member| !kept.contains_entry(*member))
            .for_each(|member| taken.push(member));
        rest = Some(kept);
    }
    taken.iter().for_each(|member| out.bulk(member));
    if let Some(rest) = rest {
        let (access, value) = (d.access(), Value::Object(rest.into_object()));
        d.store
            .set_at(d.db, key, place, value, Deadline::Keep, access);
    } else {
        collection::edit(d, key, found, |set: &mut Set| {
            for member in taken.iter() {
                set.remove(member);
            }
        });
    }
    d.changed(key.bytes);
    d.effects.dirty += count as u64 - 1;
    d.notify(NotifyEvents::SET, "spop", key.bytes);
    let members: Vec<&[u8]> = taken.iter().collect();
    for members in members.chunks(SREM_MEMBERS) {
        let mut words: Vec<&[u8]> = alloc::vec![b"SREM", key.bytes];
        words.extend_from_slice(members);
        d.effects.instead(d.db, &words);
    }
    Ok(())
}

/// `SRANDMEMBER key [count]`. <https://redis.io/commands/srandmember/>
pub(super) fn srandmember(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let count = match &args[2..] {
        [] => {
            let reading = read::<Set>(d, args[1])?;
            match reading.value.and_then(|s| s.random(reading.random.word())) {
                Some(member) => reply(reading.out, member),
                None => reading.out.null(),
            }
            return Ok(());
        }
        [count] => integer(count)?,
        _ => return Err(CommandError::SYNTAX),
    };
    if count == i64::MIN {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let repeats = count < 0;
    let count = match repeats {
        true => collection::draws(d, count.unsigned_abs())?,
        false => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let Reading { value, out, random } = read::<Set>(d, args[1])?;
    let Some(set) = value else {
        out.array(0);
        return Ok(());
    };
    if !repeats {
        out.array(count.min(set.len()));
        set.sample(count, &mut || random.word(), |member| reply(out, member));
        return Ok(());
    }
    out.array(count);
    if set.as_table().is_some() {
        for _ in 0..count {
            let member = set.random(random.word());
            member.into_iter().for_each(|member| reply(out, member));
        }
    } else {
        // A pack can be read from one end only: once for all draws.
        let members: Vec<_> = set.iter().collect();
        (0..count).for_each(|_| reply(out, members[random.below(members.len() as u64) as usize]));
    }
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`. <https://redis.io/commands/sscan/>
pub(super) fn sscan(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let cursor = cursor(args[2])?;
    let Reading { value, out, .. } = read::<Set>(d, args[1])?;
    let Some(set) = value else {
        out.array(2);
        out.bulk_int(0);
        out.array(0);
        return Ok(());
    };
    let o = Options::parse(&args[3..], false)?;
    let count = usize::try_from(o.count).unwrap_or(usize::MAX);
    let mut found = Output::default();
    let mut elements = 0;
    let next = set.scan(cursor, count, |member| {
        if o.wants(&member.text()) {
            reply(&mut found, member);
            elements += 1;
        }
    });
    out.array(2);
    out.bulk_int(next as i64);
    out.array(elements);
    found.slices().for_each(|bytes| out.raw(bytes));
    Ok(())
}
