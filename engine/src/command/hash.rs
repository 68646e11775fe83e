//! Commands on hashes.

use alloc::vec::Vec;

use super::collection::{self, Reading, find, read};
use super::context::Data;
use super::error::CommandError;
use super::hash_limits;
use super::scan::{Options, cursor};
use super::string::integer;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::resp::Output;
use crate::store::{Key, Place};
use crate::value::hash::{Hash, Limits};
use crate::value::listpack::Entry;
use crate::value::longdouble::LongDouble;

/// Fields that HRANDFIELD replies at most when they may repeat: the reply is made at once, and nobody
/// has use for more.
const MOST_REPEATS: u64 = 1 << 24;

/// A field's value in the hash at `found`.
fn field<'d>(d: &'d Data<'_>, found: Option<Place>, field: &[u8]) -> Option<Entry<'d>> {
    collection::of::<Hash>(d.value(found?)).ok()?.get(field)
}

/// Lets `change` work on the hash at a key, which is made if absent.
#[inline]
fn edit<R>(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    change: impl FnOnce(&mut Hash, &Limits) -> R,
) -> R {
    let limits = hash_limits(d.config, d.store);
    collection::edit(d, key, found, |hash| change(hash, &limits))
}

#[inline]
fn reply(out: &mut Output, entry: Entry<'_>) {
    match entry {
        Entry::Int(n) => out.bulk_int(n),
        Entry::Str(bytes) => out.bulk(bytes),
    }
}

/// Sets all pairs of the command's arguments; returns how many fields are new.
fn set_all(d: &mut Data<'_>, args: &[&[u8]], command: &str) -> Result<usize, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::text(alloc::format!(
            "ERR wrong number of arguments for '{command}' command"
        )));
    }
    let key = d.first_key(args[1]);
    let found = find::<Hash>(d, key)?;
    let pairs = &args[2..];
    let longest = pairs.iter().map(|arg| arg.len()).max().unwrap_or(0);
    let created = edit(d, key, found, |hash, limits| {
        hash.make_room(longest, limits);
        pairs
            .chunks_exact(2)
            .filter(|pair| hash.set(pair[0], pair[1], limits))
            .count()
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::HASH, "hset", key.bytes);
    d.effects.dirty += pairs.len() as u64 / 2 - 1;
    Ok(created)
}

/// `HSET key field value [field value …]`. <https://redis.io/commands/hset/>
pub(super) fn hset(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let created = set_all(d, args, "hset")?;
    d.out.int(created as i64);
    Ok(())
}

/// `HMSET key field value [field value …]`. <https://redis.io/commands/hmset/>
pub(super) fn hmset(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_all(d, args, "hmset")?;
    d.out.ok();
    Ok(())
}

/// `HSETNX key field value`. <https://redis.io/commands/hsetnx/>
pub(super) fn hsetnx(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<Hash>(d, key)?;
    let absent = field(d, found, args[2]).is_none();
    if absent {
        edit(d, key, found, |hash, limits| {
            hash.set(args[2], args[3], limits)
        });
        d.changed(key.bytes);
        d.notify(NotifyEvents::HASH, "hset", key.bytes);
    }
    d.out.int(i64::from(absent));
    Ok(())
}

/// `HGET key field`. <https://redis.io/commands/hget/>
pub(super) fn hget(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    match hash.and_then(|h| h.get(args[2])) {
        Some(value) => reply(out, value),
        None => out.null(),
    }
    Ok(())
}

/// `HMGET key field [field …]`. <https://redis.io/commands/hmget/>
pub(super) fn hmget(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    out.array(args.len() - 2);
    for field in &args[2..] {
        match hash.and_then(|h| h.get(field)) {
            Some(value) => reply(out, value),
            None => out.null(),
        }
    }
    Ok(())
}

/// `HDEL key field [field …]`. <https://redis.io/commands/hdel/>
pub(super) fn hdel(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<Hash>(d, key)?;
    // A hash that nothing is taken from is not touched, for others may share it.
    let hits = args[2..].iter().any(|f| field(d, found, f).is_some());
    let Some(place) = found.filter(|_| hits) else {
        d.out.int(0);
        return Ok(());
    };
    let removed = edit(d, key, found, |hash, _| {
        args[2..].iter().filter(|f| hash.remove(f)).count()
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::HASH, "hdel", key.bytes);
    collection::delete_if_empty::<Hash>(d, key, place);
    d.effects.dirty += (removed as u64).saturating_sub(1);
    d.out.int(removed as i64);
    Ok(())
}

/// `HLEN key`. <https://redis.io/commands/hlen/>
pub(super) fn hlen(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    out.int(hash.map_or(0, Hash::len) as i64);
    Ok(())
}

/// `HEXISTS key field`. <https://redis.io/commands/hexists/>
pub(super) fn hexists(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    out.int(i64::from(hash.is_some_and(|h| h.contains(args[2]))));
    Ok(())
}

/// `HSTRLEN key field`. <https://redis.io/commands/hstrlen/>
pub(super) fn hstrlen(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    let value = hash.and_then(|h| h.get(args[2]));
    out.int(value.map_or(0, Entry::text_len) as i64);
    Ok(())
}

/// `HGETALL key`. <https://redis.io/commands/hgetall/>
pub(super) fn hgetall(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    out.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flatten() {
        reply(out, field);
        reply(out, value);
    }
    Ok(())
}

/// `HKEYS key`. <https://redis.io/commands/hkeys/>
pub(super) fn hkeys(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    out.array(hash.map_or(0, Hash::len));
    for (field, _) in hash.into_iter().flatten() {
        reply(out, field);
    }
    Ok(())
}

/// `HVALS key`. <https://redis.io/commands/hvals/>
pub(super) fn hvals(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    out.array(hash.map_or(0, Hash::len));
    for (_, value) in hash.into_iter().flatten() {
        reply(out, value);
    }
    Ok(())
}

/// `HINCRBY key field increment`. <https://redis.io/commands/hincrby/>
pub(super) fn hincrby(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let by = integer(args[3])?;
    let key = d.first_key(args[1]);
    let found = find::<Hash>(d, key)?;
    let old = match field(d, found, args[2]) {
        Some(value) => value
            .as_i64()
            .ok_or(CommandError::fixed("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(CommandError::fixed(
        "ERR increment or decrement would overflow",
    ))?;
    let text = crate::value::number::ItoaBuffer::new(new);
    edit(d, key, found, |hash, limits| {
        hash.set(args[2], &text, limits)
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::HASH, "hincrby", key.bytes);
    d.out.int(new);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`. <https://redis.io/commands/hincrbyfloat/>
pub(super) fn hincrbyfloat(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let by = LongDouble::parse(args[3]).ok_or(CommandError::NOT_FLOAT)?;
    if !by.is_finite() {
        return Err(CommandError::fixed("ERR value is NaN or Infinity"));
    }
    let key = d.first_key(args[1]);
    let found = find::<Hash>(d, key)?;
    let old = match field(d, found, args[2]) {
        Some(Entry::Int(n)) => n.into(),
        Some(Entry::Str(text)) => {
            LongDouble::parse(text).ok_or(CommandError::fixed("ERR hash value is not a float"))?
        }
        None => 0.into(),
    };
    let new = old + by;
    if !new.is_finite() {
        return Err(CommandError::fixed(
            "ERR increment would produce NaN or Infinity",
        ));
    }
    let mut text = Vec::new();
    new.write_human(&mut text);
    edit(d, key, found, |hash, limits| {
        hash.set(args[2], &text, limits)
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::HASH, "hincrbyfloat", key.bytes);
    d.effects.instead(d.db, &[b"HSET", args[1], args[2], &text]);
    d.out.bulk(&text);
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`. <https://redis.io/commands/hrandfield/>
pub(super) fn hrandfield(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Some(count) = args.get(2) else {
        let Reading {
            value: hash,
            out,
            random,
        } = read::<Hash>(d, args[1])?;
        match hash.and_then(|h| h.random(random.word())) {
            Some((field, _)) => reply(out, field),
            None => out.null(),
        }
        return Ok(());
    };
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_values = match &args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    let repeats = count < 0;
    let too_many = with_values && count.unsigned_abs() > i64::MAX as u64 / 2;
    if too_many || (repeats && count.unsigned_abs() > MOST_REPEATS) {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    let Reading {
        value: hash,
        out,
        random,
    } = read::<Hash>(d, args[1])?;
    let Some(hash) = hash else {
        out.array(0);
        return Ok(());
    };
    let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let replied = if repeats {
        count
    } else {
        count.min(hash.len())
    };
    let nested = with_values && out.resp3;
    out.array(if with_values && !nested {
        replied * 2
    } else {
        replied
    });
    let mut emit = |(field, value): (Entry<'_>, Entry<'_>)| {
        if nested {
            out.array(2);
        }
        reply(out, field);
        if with_values {
            reply(out, value);
        }
    };
    if !repeats {
        hash.sample(count, &mut || random.word(), |field, value| {
            emit((field, value));
        });
    } else if hash.as_listpack().is_some() {
        // It can be read from one end only: once for all draws.
        let pairs: Vec<_> = hash.iter().collect();
        (0..count).for_each(|_| emit(pairs[random.below(pairs.len() as u64) as usize]));
    } else {
        (0..count)
            .filter_map(|_| hash.random(random.word()))
            .for_each(emit);
    }
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count]`. <https://redis.io/commands/hscan/>
pub(super) fn hscan(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let cursor = cursor(args[2])?;
    let Reading {
        value: hash, out, ..
    } = read::<Hash>(d, args[1])?;
    let Some(hash) = hash else {
        out.array(2);
        out.bulk_int(0);
        out.array(0);
        return Ok(());
    };
    let o = Options::parse(&args[3..], false)?;
    let count = usize::try_from(o.count).unwrap_or(usize::MAX);
    let mut found = Output::default();
    let mut elements = 0;
    let next = hash.scan(cursor, count, |field, value| {
        if o.wants(&field.text()) {
            reply(&mut found, field);
            reply(&mut found, value);
            elements += 2;
        }
    });
    out.array(2);
    out.bulk_int(next as i64);
    out.array(elements);
    found.slices().for_each(|bytes| out.raw(bytes));
    Ok(())
}
