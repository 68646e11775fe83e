//! Taking the first or last members, at once or when there are some.

use super::{at, edit, reply};
use crate::client::{Null, WaitKind};
use crate::command::blocking::{Wait, timeout_seconds};
use crate::command::collection::find;
use crate::command::context::Data;
use crate::command::error::CommandError;
use crate::command::table::Outcome;
use crate::config::NotifyEvents;
use crate::store::{Key, Place};
use crate::value::number::{ItoaBuffer, parse_i64};
use crate::value::zset::ZSet;

/// From which end members are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// What comes before the members, and how they are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Members and scores in turn.
    Flat,
    /// Pairs.
    Nested,
    /// The key, then a member and its score.
    KeyFlat,
    /// The key, and pairs in an array.
    KeyNested,
}

/// Takes up to `count` members (at least one) from the set at a place, and replies them. Returns how many.
fn take(
    d: &mut Data<'_>,
    key: Key<'_>,
    place: Place,
    end: End,
    count: usize,
    shape: Shape,
) -> usize {
    let back = end == End::Max;
    let len = at(d, Some(place)).map_or(0, ZSet::len);
    let count = count.min(len);
    let Data { out, store, db, .. } = d;
    match shape {
        Shape::Flat => out.array(count * 2),
        Shape::Nested => out.array(count),
        Shape::KeyFlat => {
            out.array(count * 2 + 1);
            out.bulk(key.bytes);
        }
        Shape::KeyNested => {
            out.array(2);
            out.bulk(key.bytes);
            out.array(count);
        }
    }
    let nested = matches!(shape, Shape::Nested | Shape::KeyNested);
    let value = store.entry(*db, place).value();
    if let Ok(set) = crate::command::collection::of::<ZSet>(value) {
        let first = if back { len.saturating_sub(1) } else { 0 };
        for (member, score) in set.range(first, count, back) {
            if nested {
                out.array(2);
            }
            reply(out, member);
            out.double(score);
        }
    }
    if count < len {
        let rank = if back { len - count } else { 0 };
        edit(d, key, Some(place), |set, _| set.remove_range(rank, count));
    }
    d.changed(key.bytes);
    d.effects.dirty += (count as u64).saturating_sub(1);
    d.notify(NotifyEvents::ZSET, end.event(), key.bytes);
    if count == len {
        d.store.delete(d.db, key, place);
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
    }
    count
}

/// The first of these keys that is there, which must be a sorted set. One who waited is served from the one that
/// has come.
fn first_found<'a, 'd: 'a, 'k: 'a>(
    d: &mut Data<'d>,
    keys: &[&'k [u8]],
) -> Result<Option<(Key<'a>, Place)>, CommandError> {
    let ready: Option<[&'a [u8]; 1]> = d.ready.map(|key| [key]);
    let looked_at: &[&'a [u8]] = ready.as_ref().map_or(keys, |key| &key[..]);
    for key in looked_at {
        let key = d.key(key);
        if let Some(place) = find::<ZSet>(d, key)? {
            return Ok(Some((key, place)));
        }
    }
    Ok(None)
}

fn pop(d: &mut Data<'_>, args: &[&[u8]], end: End) -> Outcome {
    let count = match &args[2..] {
        [] => None,
        [count] => {
            let count = parse_i64(count).and_then(|n| usize::try_from(n).ok());
            Some(count.ok_or(CommandError::fixed(
                "ERR value is out of range, must be positive",
            ))?)
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let key = d.first_key(args[1]);
    let found = find::<ZSet>(d, key)?;
    let Some(place) = found.filter(|_| count != Some(0)) else {
        d.out.array(0);
        return Ok(());
    };
    let shape = if count.is_some() && d.out.resp3 {
        Shape::Nested
    } else {
        Shape::Flat
    };
    take(d, key, place, end, count.unwrap_or(1), shape);
    Ok(())
}

/// `ZPOPMIN key [count]`. <https://redis.io/commands/zpopmin/>
pub fn zpopmin(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pop(d, args, End::Min)
}

/// `ZPOPMAX key [count]`. <https://redis.io/commands/zpopmax/>
pub fn zpopmax(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pop(d, args, End::Max)
}

/// What ZMPOP and BZMPOP are told from the number of keys on.
struct Many<'a, 'b> {
    keys: &'b [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a, 'b> Many<'a, 'b> {
    /// Reads `numkeys key [key …] MIN|MAX [COUNT count]`.
    fn parse(args: &'b [&'a [u8]]) -> Result<Many<'a, 'b>, CommandError> {
        let positive = |arg: &[u8], message| {
            let n = parse_i64(arg).filter(|n| *n > 0);
            n.and_then(|n| usize::try_from(n).ok())
                .ok_or(CommandError::fixed(message))
        };
        let keys = positive(args[0], "ERR numkeys should be greater than 0")?;
        let rest = args.get(1..).unwrap_or_default();
        let (Some(names), Some(end)) = (rest.get(..keys), rest.get(keys)) else {
            return Err(CommandError::SYNTAX);
        };
        let end = if end.eq_ignore_ascii_case(b"min") {
            End::Min
        } else if end.eq_ignore_ascii_case(b"max") {
            End::Max
        } else {
            return Err(CommandError::SYNTAX);
        };
        let count = match &rest[keys + 1..] {
            [] => 1,
            [word, count, more @ ..] if word.eq_ignore_ascii_case(b"count") => {
                let count = positive(count, "ERR count should be greater than 0")?;
                if !more.is_empty() {
                    return Err(CommandError::SYNTAX);
                }
                count
            }
            _ => return Err(CommandError::SYNTAX),
        };
        Ok(Many {
            keys: names,
            end,
            count,
        })
    }

    /// Takes from the first key that is there, and journals what was taken.
    fn take(&self, d: &mut Data<'_>) -> Result<bool, CommandError> {
        let Some((key, place)) = first_found(d, self.keys)? else {
            return Ok(false);
        };
        let taken = take(d, key, place, self.end, self.count, Shape::KeyNested);
        let taken = ItoaBuffer::new(taken as i64);
        d.effects
            .instead(d.db, &[self.end.command(), key.bytes, &taken]);
        Ok(true)
    }
}

/// `ZMPOP numkeys key [key …] MIN|MAX [COUNT count]`. <https://redis.io/commands/zmpop/>
pub fn zmpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let many = Many::parse(&args[1..])?;
    if !many.take(d)? {
        d.out.null_array();
    }
    Ok(())
}

/// `BZMPOP timeout numkeys key [key …] MIN|MAX [COUNT count]`. <https://redis.io/commands/bzmpop/>
pub fn bzmpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let many = Many::parse(&args[2..])?;
    let until_us = timeout_seconds(args[1], d.now)?;
    if !many.take(d)? {
        wait(d, many.keys, until_us);
    }
    Ok(())
}

fn wait(d: &mut Data<'_>, keys: &[&[u8]], until_us: Option<u64>) {
    d.block(Wait {
        keys,
        kind: WaitKind::ZSet,
        until_us,
        null: Null::Array,
        instead: None,
    });
}

fn blocking_pop(d: &mut Data<'_>, args: &[&[u8]], end: End) -> Outcome {
    let (timeout, keys) = (args[args.len() - 1], &args[1..args.len() - 1]);
    let until_us = timeout_seconds(timeout, d.now)?;
    match first_found(d, keys)? {
        Some((key, place)) => {
            take(d, key, place, end, 1, Shape::KeyFlat);
            d.effects.instead(d.db, &[end.command(), key.bytes]);
        }
        None => wait(d, keys, until_us),
    }
    Ok(())
}

/// `BZPOPMIN key [key …] timeout`. <https://redis.io/commands/bzpopmin/>
pub fn bzpopmin(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    blocking_pop(d, args, End::Min)
}

/// `BZPOPMAX key [key …] timeout`. <https://redis.io/commands/bzpopmax/>
pub fn bzpopmax(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    blocking_pop(d, args, End::Max)
}
