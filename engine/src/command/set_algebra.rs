//! Intersections, unions and differences of sets.
//!
//! Members of a large set that are looked up in another come from memory as they please: they are looked up in
//! batches, whose cache lines are asked for together.

use alloc::vec::Vec;
use smallvec::SmallVec;

use super::collection;
use super::context::Data;
use super::error::CommandError;
use super::set::{BATCH, limits, reply};
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::resp::Output;
use crate::store::Key;
use crate::value::hashtable::fetch;
use crate::value::listpack::Entry;
use crate::value::number::parse_i64;
use crate::value::set::{Limits, Set};

/// A set of so many members is in the cache anyway.
const PREFETCHED_FROM: usize = 4096;

type Sets<'d> = SmallVec<[Option<&'d Set>; 8]>;

/// Looks several keys up to read the sets in them; with them, the reply.
fn read_all<'d>(
    d: &'d mut Data<'_>,
    names: &[&[u8]],
) -> Result<(Sets<'d>, &'d mut Output), CommandError> {
    let mut there: SmallVec<[Option<Key<'_>>; 8]> = SmallVec::new();
    for names in names.chunks(BATCH) {
        let keys: SmallVec<[Key<'_>; BATCH]> = names.iter().map(|name| d.key(name)).collect();
        d.prefetch(&keys);
        for key in keys {
            let found = d.look(key);
            if let Some(place) = found {
                collection::of::<Set>(d.value(place))?;
            }
            there.push(found.map(|_| key));
        }
    }
    let Data { store, out, db, .. } = d;
    let (store, db) = (&**store, *db);
    let set_of = |key: Option<Key<'_>>| {
        let place = store.find(db, key?)?;
        collection::of::<Set>(store.entry(db, place).value()).ok()
    };
    Ok((there.into_iter().map(set_of).collect(), out))
}

fn same(a: &Set, b: &Set) -> bool {
    core::ptr::eq(a, b)
}

/// Keeps of a batch what is in the set, or what is not.
fn retain(batch: &mut SmallVec<[Entry<'_>; BATCH]>, set: &Set, inside: bool) {
    if batch.len() > 1 && set.len() > PREFETCHED_FROM {
        fetch(batch.iter().filter_map(|m| set.ahead(&m.text())));
    }
    batch.retain(|member| set.contains_entry(*member) == inside);
}

/// Calls `emit` with the members of `first` that are in all the others (`inside`), or in none, until it returns
/// `false`.
fn select<'a>(
    first: &'a Set,
    others: &[&Set],
    inside: bool,
    mut emit: impl FnMut(Entry<'a>) -> bool,
) {
    let mut members = first.iter();
    let mut batch: SmallVec<[Entry<'_>; BATCH]> = SmallVec::new();
    loop {
        batch.clear();
        batch.extend(members.by_ref().take(BATCH));
        if batch.is_empty() {
            return;
        }
        for other in others {
            retain(&mut batch, other, inside);
        }
        if !batch.drain(..).all(&mut emit) {
            return;
        }
    }
}

/// Calls `emit` with the members that all the sets have, until it returns `false`.
fn intersect<'a>(sets: &Sets<'a>, emit: impl FnMut(Entry<'a>) -> bool) {
    let all: Option<SmallVec<[&Set; 8]>> = sets.iter().copied().collect();
    // One that is not there is empty.
    let Some(mut all) = all else { return };
    all.sort_by_key(|set| set.len());
    let Some((first, others)) = all.split_first() else {
        return;
    };
    let others: SmallVec<[&Set; 8]> = others.iter().copied().filter(|s| !same(s, first)).collect();
    select(first, &others, true, emit);
}

/// How a difference is best made.
enum Difference<'a> {
    /// Nothing is left.
    Empty,
    /// By looking each member of the first up in the others.
    Select(&'a Set, SmallVec<[&'a Set; 8]>),
    /// By taking the members of the others out of the first.
    Remove(&'a Set, SmallVec<[&'a Set; 8]>),
}

fn difference<'a>(sets: &Sets<'a>) -> Difference<'a> {
    let Some((Some(first), others)) = sets.split_first() else {
        return Difference::Empty;
    };
    let mut others: SmallVec<[&Set; 8]> = others.iter().copied().flatten().collect();
    if others.iter().any(|set| same(set, first)) {
        return Difference::Empty;
    }
    // Looking up ends at the first hit, so half the worst case is expected of it.
    let looked_up = first.len().saturating_mul(others.len() + 1) / 2;
    let removed = others.iter().fold(first.len(), |sum, set| sum + set.len());
    if looked_up <= removed {
        others.sort_by_key(|set| core::cmp::Reverse(set.len()));
        Difference::Select(first, others)
    } else {
        Difference::Remove(first, others)
    }
}

/// The set of the members of the first that are in none of the others. (A clone shares what it does not change.)
fn without(first: &Set, others: &[&Set]) -> Set {
    let mut left = first.clone();
    for member in others.iter().flat_map(|set| set.iter()) {
        if left.is_empty() {
            break;
        }
        left.remove(&member.text());
    }
    left
}

/// The set of the members that any of the sets has, in the form that adding them one by one gives, or the large
/// one from the start.
fn unite(sets: &Sets<'_>, limits: &Limits, large: bool) -> Set {
    let mut all = match large {
        true => Set::new_table(limits.hash_key),
        false => Set::new(),
    };
    for member in sets.iter().copied().flatten().flat_map(|set| set.iter()) {
        all.insert_entry(member, limits);
    }
    all
}

fn reply_all(out: &mut Output, members: &[Entry<'_>]) {
    out.set(members.len());
    members.iter().for_each(|member| reply(out, *member));
}

/// Stores a result, or deletes the key if it is empty.
fn store(d: &mut Data<'_>, name: &[u8], set: Set, event: &'static str) {
    let key = d.first_key(name);
    let len = set.len();
    if len > 0 {
        collection::put(d, key, set);
        d.changed(key.bytes);
        d.notify(NotifyEvents::SET, event, key.bytes);
    } else {
        d.clear_destination(key);
    }
    d.out.int(len as i64);
}

/// `SINTER key [key …]`. <https://redis.io/commands/sinter/>
pub(super) fn sinter(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (sets, out) = read_all(d, &args[1..])?;
    let mut members = Vec::new();
    intersect(&sets, |member| {
        members.push(member);
        true
    });
    reply_all(out, &members);
    Ok(())
}

/// `SINTERCARD numkeys key [key …] [LIMIT limit]`. <https://redis.io/commands/sintercard/>
pub(super) fn sintercard(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let count = parse_i64(args[1])
        .filter(|count| *count > 0)
        .ok_or(CommandError::fixed("ERR numkeys should be greater than 0"))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > args.len() - 2 {
        return Err(CommandError::fixed(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    let mut limit = 0;
    let mut rest = &args[2 + count..];
    while let [word, tail @ ..] = rest {
        let (true, [arg, tail @ ..]) = (word.eq_ignore_ascii_case(b"limit"), tail) else {
            return Err(CommandError::SYNTAX);
        };
        limit = parse_i64(arg)
            .filter(|limit| *limit >= 0)
            .ok_or(CommandError::fixed("ERR LIMIT can't be negative"))?;
        rest = tail;
    }
    let (sets, out) = read_all(d, &args[2..2 + count])?;
    let mut members = 0;
    intersect(&sets, |_| {
        members += 1;
        members != limit
    });
    out.int(members);
    Ok(())
}

/// `SINTERSTORE destination key [key …]`. <https://redis.io/commands/sinterstore/>
pub(super) fn sinterstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let limits = limits(d.config, d.store);
    let (sets, _) = read_all(d, &args[2..])?;
    let mut result = Set::new();
    intersect(&sets, |member| {
        result.insert_entry(member, &limits);
        true
    });
    drop(sets);
    store(d, args[1], result, "sinterstore");
    Ok(())
}

/// `SUNION key [key …]`. <https://redis.io/commands/sunion/>
pub(super) fn sunion(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let limits = limits(d.config, d.store);
    let (sets, out) = read_all(d, &args[1..])?;
    let mut there = sets.iter().copied().flatten();
    let members: Vec<Entry<'_>>;
    let united;
    if let (Some(only), None) = (there.next(), there.next()) {
        members = only.iter().collect();
    } else {
        let all: usize = sets.iter().copied().flatten().map(Set::len).sum();
        united = unite(&sets, &limits, all > limits.max_listpack);
        members = united.iter().collect();
    }
    reply_all(out, &members);
    Ok(())
}

/// `SUNIONSTORE destination key [key …]`. <https://redis.io/commands/sunionstore/>
pub(super) fn sunionstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let limits = limits(d.config, d.store);
    let (sets, _) = read_all(d, &args[2..])?;
    let result = unite(&sets, &limits, false);
    drop(sets);
    store(d, args[1], result, "sunionstore");
    Ok(())
}

/// `SDIFF key [key …]`. <https://redis.io/commands/sdiff/>
pub(super) fn sdiff(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (sets, out) = read_all(d, &args[1..])?;
    let mut members = Vec::new();
    let left;
    match difference(&sets) {
        Difference::Empty => {}
        Difference::Select(first, others) => select(first, &others, false, |member| {
            members.push(member);
            true
        }),
        Difference::Remove(first, others) => {
            left = without(first, &others);
            members.extend(left.iter());
        }
    }
    reply_all(out, &members);
    Ok(())
}

/// `SDIFFSTORE destination key [key …]`. <https://redis.io/commands/sdiffstore/>
pub(super) fn sdiffstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let limits = limits(d.config, d.store);
    let (sets, _) = read_all(d, &args[2..])?;
    let mut result = Set::new();
    match difference(&sets) {
        Difference::Empty => {}
        Difference::Select(first, others) => select(first, &others, false, |member| {
            result.insert_entry(member, &limits);
            true
        }),
        Difference::Remove(first, others) => result = without(first, &others),
    }
    drop(sets);
    store(d, args[1], result, "sdiffstore");
    Ok(())
}
