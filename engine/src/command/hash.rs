//! Commands on hashes.

use alloc::vec::Vec;

use super::collection::{self, Reading, find, read};
use super::context::Data;
use super::error::CommandError;
use super::field_expiry::{drop_all_due, drop_due, journal_times};
use super::hash_limits;
use super::scan::{Options, cursor};
use super::string::integer;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::random::Random;
use crate::resp::Output;
use crate::store::{Key, Place};
use crate::value::hash::{Hash, Limits, Live};
use crate::value::listpack::Entry;
use crate::value::longdouble::LongDouble;
use crate::value::sample;

/// Looks the command's first key up to read the hash in it, with what it is read for.
pub(super) fn live<'d>(
    d: &'d mut Data<'_>,
    key: &[u8],
) -> Result<(Option<Live<'d>>, &'d mut Output, &'d mut Random), CommandError> {
    let before = d.due_before();
    let Reading { value, out, random } = read::<Hash>(d, key)?;
    Ok((value.map(|hash| hash.at(before)), out, random))
}

/// As [`live`], for a command that names fields: a primary takes the occasion to delete those that are due.
fn live_fields<'d>(
    d: &'d mut Data<'_>,
    args: &[&[u8]],
) -> Result<(Option<Live<'d>>, &'d mut Output), CommandError> {
    if d.has_due_fields() {
        let key = d.first_key(args[1]);
        let found = d.seek(key);
        drop_due(d, key, found, args[2..].iter().copied());
    }
    let (hash, out, _) = live(d, args[1])?;
    Ok((hash, out))
}

/// A field's value in the hash at `found`.
fn field<'d>(d: &'d Data<'_>, found: Option<Place>, field: &[u8]) -> Option<Entry<'d>> {
    let hash = collection::of::<Hash>(d.value(found?)).ok()?;
    hash.at(d.due_before()).get(field)
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
pub(super) fn reply(out: &mut Output, entry: Entry<'_>) {
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
    let found = drop_due(d, key, found, pairs.iter().step_by(2).copied());
    let created = edit(d, key, found, |hash, limits| {
        hash.make_room(longest, limits);
        let set = |pair: &&[&[u8]]| {
            let created = hash.set(pair[0], pair[1], limits);
            hash.set_time(pair[0], None, limits.hash_key);
            created
        };
        pairs.chunks_exact(2).filter(set).count()
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
        let found = drop_due(d, key, found, core::iter::once(args[2]));
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
    let (hash, out) = live_fields(d, args)?;
    match hash.and_then(|h| h.get(args[2])) {
        Some(value) => reply(out, value),
        None => out.null(),
    }
    Ok(())
}

/// `HMGET key field [field …]`. <https://redis.io/commands/hmget/>
pub(super) fn hmget(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (hash, out) = live_fields(d, args)?;
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
    // Fields that are due count, as in Redis. A hash that nothing is taken from is not touched, for others may share it.
    let hits = found
        .and_then(|place| collection::of::<Hash>(d.value(place)).ok())
        .is_some_and(|hash| args[2..].iter().any(|f| hash.contains(f)));
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
    let (hash, out, _) = live(d, args[1])?;
    // As in Redis, with the fields that are due.
    out.int(hash.map_or(0, |h| h.whole().len()) as i64);
    Ok(())
}

/// `HEXISTS key field`. <https://redis.io/commands/hexists/>
pub(super) fn hexists(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (hash, out) = live_fields(d, args)?;
    out.int(i64::from(hash.is_some_and(|h| h.get(args[2]).is_some())));
    Ok(())
}

/// `HSTRLEN key field`. <https://redis.io/commands/hstrlen/>
pub(super) fn hstrlen(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (hash, out) = live_fields(d, args)?;
    let value = hash.and_then(|h| h.get(args[2]));
    out.int(value.map_or(0, Entry::text_len) as i64);
    Ok(())
}

/// `HGETALL key`. <https://redis.io/commands/hgetall/>
pub(super) fn hgetall(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (hash, out, _) = live(d, args[1])?;
    out.map(hash.map_or(0, Live::len));
    for (field, value) in hash.into_iter().flat_map(Live::iter) {
        reply(out, field);
        reply(out, value);
    }
    Ok(())
}

/// `HKEYS key`. <https://redis.io/commands/hkeys/>
pub(super) fn hkeys(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (hash, out, _) = live(d, args[1])?;
    out.array(hash.map_or(0, Live::len));
    for (field, _) in hash.into_iter().flat_map(Live::iter) {
        reply(out, field);
    }
    Ok(())
}

/// `HVALS key`. <https://redis.io/commands/hvals/>
pub(super) fn hvals(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (hash, out, _) = live(d, args[1])?;
    out.array(hash.map_or(0, Live::len));
    for (_, value) in hash.into_iter().flat_map(Live::iter) {
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
    let found = drop_due(d, key, found, core::iter::once(args[2]));
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
    let found = drop_due(d, key, found, core::iter::once(args[2]));
    edit(d, key, found, |hash, limits| {
        hash.set(args[2], &text, limits)
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::HASH, "hincrbyfloat", key.bytes);
    d.effects.instead(d.db, &[b"HSET", args[1], args[2], &text]);
    // HSET takes the field's time away.
    let hash = d.store.find(d.db, key).map(|place| d.value(place));
    let time = hash.and_then(|value| collection::of::<Hash>(value).ok()?.time(args[2]));
    if let Some(time) = time {
        journal_times(d, key, time, None, &[args[2]]);
    }
    d.out.bulk(&text);
    Ok(())
}

/// Deletes fields that are due before some are drawn.
fn drop_drawn(d: &mut Data<'_>, key: &[u8]) {
    if d.has_due_fields() {
        let key = d.first_key(key);
        drop_all_due(d, key);
    }
}

/// `HRANDFIELD key [count [WITHVALUES]]`. <https://redis.io/commands/hrandfield/>
pub(super) fn hrandfield(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Some(count) = args.get(2) else {
        drop_drawn(d, args[1]);
        let (hash, out, random) = live(d, args[1])?;
        let word = random.word();
        let drawn = hash.and_then(|hash| match hash.hides_some() {
            true => hash.iter().nth(sample::below(hash.len(), word)),
            false => hash.whole().random(word),
        });
        match drawn {
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
    if too_many {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    let count = match repeats {
        true => collection::draws(d, count.unsigned_abs())?,
        false => usize::try_from(count).unwrap_or(usize::MAX),
    };
    drop_drawn(d, args[1]);
    let (hash, out, random) = live(d, args[1])?;
    let Some(hash) = hash.filter(|hash| !hash.is_empty()) else {
        out.array(0);
        return Ok(());
    };
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
    let whole = hash.whole();
    // A pack can be read from one end only: once for all draws.
    if hash.hides_some() || (repeats && whole.as_pack().is_some()) {
        let pairs: Vec<_> = hash.iter().collect();
        if repeats {
            (0..count).for_each(|_| emit(pairs[random.below(pairs.len() as u64) as usize]));
        } else {
            let chosen = sample::distinct(pairs.len(), count, &mut || random.word());
            chosen.into_iter().for_each(|i| emit(pairs[i]));
        }
    } else if repeats {
        (0..count)
            .filter_map(|_| whole.random(random.word()))
            .for_each(emit);
    } else {
        whole.sample(count, &mut || random.word(), |field, value| {
            emit((field, value));
        });
    }
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`. <https://redis.io/commands/hscan/>
pub(super) fn hscan(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let cursor = cursor(args[2])?;
    let (hash, out, _) = live(d, args[1])?;
    let Some(hash) = hash else {
        out.array(2);
        out.bulk_int(0);
        out.array(0);
        return Ok(());
    };
    let (mut values, mut words) = (true, Vec::new());
    let mut rest = &args[3..];
    while let [word, tail @ ..] = rest {
        if word.eq_ignore_ascii_case(b"novalues") {
            (values, rest) = (false, tail);
        } else {
            let two;
            (two, rest) = rest.split_at(rest.len().min(2));
            words.extend_from_slice(two);
        }
    }
    let o = Options::parse(&words, false)?;
    let count = usize::try_from(o.count).unwrap_or(usize::MAX);
    let mut found = Output::default();
    let mut elements = 0;
    let next = hash.whole().scan(cursor, count, |field, value| {
        let text = field.text();
        if !o.wants(&text) || !hash.shows(&text) {
            return;
        }
        reply(&mut found, field);
        elements += 1;
        if values {
            reply(&mut found, value);
            elements += 1;
        }
    });
    out.array(2);
    out.bulk_int(next as i64);
    out.array(elements);
    found.slices().for_each(|bytes| out.raw(bytes));
    Ok(())
}
