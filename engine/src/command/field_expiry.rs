//! Commands on the times at which fields of hashes expire, as Redis 7.4 and 8 have them.
//!
//! A field that is due is not seen (see [`crate::value::hash::Live`]); a primary deletes it when a command is about
//! to write it, or soon after by itself ([`expire_fields`]), and journals an HDEL. A replica waits for that.
//! What these commands came to is journalled in words that do not depend on the time: HPEXPIREAT, HPERSIST, HSET
//! and HDEL.

use alloc::format;
use alloc::vec::Vec;

use super::collection;
use super::context::{Data, Overdue, Parts};
use super::error::CommandError;
use super::hash::{live, reply};
use super::hash_limits;
use super::string::{EX, EXAT, PX, PXAT, TimeUnit, integer};
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::face::Now;
use crate::store::{Key, Place};
use crate::value::hash::{Hash, MAX_TIME_MS};
use crate::value::number::{ItoaBuffer, parse_i64};

/// No command sets a later time.
const MOST_MS: i64 = (MAX_TIME_MS >> 2) as i64;

const MISPLACED: CommandError =
    CommandError::fixed("ERR Mandatory argument FIELDS is missing or not at the right position");
const MISCOUNTED: CommandError =
    CommandError::fixed("ERR The `numfields` parameter must match the number of arguments");

/// Replies for one field.
mod answer {
    pub const NO_FIELD: i64 = -2;
    pub const NO_TIME: i64 = -1;
    pub const REFUSED: i64 = 0;
    pub const DONE: i64 = 1;
    pub const DELETED: i64 = 2;
}

/// `FIELDS n field …`, which must be all that is left.
fn fields<'a, 'b>(
    args: &'b [&'a [u8]],
    not_a_number: &'static str,
) -> Result<&'b [&'a [u8]], CommandError> {
    let [word, count, fields @ ..] = args else {
        return Err(MISPLACED);
    };
    if !word.eq_ignore_ascii_case(b"fields") {
        return Err(MISPLACED);
    }
    let count = parse_i64(count)
        .filter(|count| *count > 0)
        .ok_or(CommandError::fixed(not_a_number))?;
    if count as u64 != fields.len() as u64 {
        return Err(MISCOUNTED);
    }
    Ok(fields)
}

const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// On what a time that is to be set must improve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Absent,
    Always,
    Earlier,
    Later,
    Present,
}

impl Condition {
    fn named(word: &[u8]) -> Option<Condition> {
        use Condition::{Absent, Earlier, Later, Present};
        let names: [(&[u8], Condition); 4] = [
            (b"nx", Absent),
            (b"xx", Present),
            (b"gt", Later),
            (b"lt", Earlier),
        ];
        names
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|(_, condition)| condition)
    }

    /// Whether a time may be replaced. None at all counts as infinitely late.
    fn allows(self, old: Option<u64>, new: u64) -> bool {
        match (self, old) {
            (Condition::Always, _) => true,
            (Condition::Absent, old) => old.is_none(),
            (Condition::Present, old) => old.is_some(),
            (Condition::Later, old) => old.is_some_and(|old| new > old),
            (Condition::Earlier, old) => old.is_none_or(|old| new < old),
        }
    }
}

fn invalid_time(command: &str) -> CommandError {
    CommandError::text(format!("ERR invalid expire time in '{command}' command"))
}

/// The Unix time in milliseconds that an argument means.
fn time_of(d: &Data<'_>, arg: &[u8], unit: TimeUnit, command: &str) -> Result<u64, CommandError> {
    let time = integer(arg)?;
    if time < 0 {
        return Err(CommandError::fixed("ERR invalid expire time, must be >= 0"));
    }
    let origin = match unit.absolute {
        true => 0,
        false => d.now.unix_ms() as i64,
    };
    time.checked_mul(if unit.seconds { 1000 } else { 1 })
        .filter(|ms| *ms <= MOST_MS - origin)
        .map(|ms| (ms + origin) as u64)
        .ok_or_else(|| invalid_time(command))
}

/// Whether a field whose time is set to this goes at once. (On a replica, and out of a file, it goes by the primary's
/// HDEL alone.)
fn is_past(d: &Data<'_>, time: u64) -> bool {
    time <= d.now.unix_ms() && d.overdue == Overdue::Delete
}

/// What several fields of one hash came to.
#[derive(Default)]
struct Changes<'a> {
    /// They expire at the command's time.
    timed: Vec<&'a [u8]>,
    /// The word for the condition that they met.
    condition: Option<&'a [u8]>,
    /// They do not expire any more.
    kept: Vec<&'a [u8]>,
    /// They are gone.
    deleted: Vec<&'a [u8]>,
}

impl<'a> Changes<'a> {
    fn is_empty(&self) -> bool {
        self.timed.is_empty() && self.kept.is_empty() && self.deleted.is_empty()
    }

    /// Journals the changes and makes them known; `at` is the time of those that expire.
    fn publish(&self, d: &mut Data<'_>, key: Key<'_>, place: Place, at: u64) {
        if self.is_empty() {
            return;
        }
        d.changed(key.bytes);
        let count = self.timed.len() + self.kept.len() + self.deleted.len();
        d.effects.dirty += count as u64 - 1;
        journal_times(d, key, at, self.condition, &self.timed);
        if !self.kept.is_empty() {
            journal_fields(d, &[b"HPERSIST", key.bytes], &self.kept);
            d.notify(NotifyEvents::HASH, "hpersist", key.bytes);
        }
        if !self.timed.is_empty() {
            d.notify(NotifyEvents::HASH, "hexpire", key.bytes);
        }
        if !self.deleted.is_empty() {
            for field in &self.deleted {
                d.effects.instead(d.db, &[b"HDEL", key.bytes, field]);
            }
            d.notify(NotifyEvents::HASH, "hdel", key.bytes);
            collection::delete_if_empty::<Hash>(d, key, place);
        }
    }
}

/// Journals a command that ends in `FIELDS n field …`.
fn journal_fields(d: &mut Data<'_>, start: &[&[u8]], fields: &[&[u8]]) {
    let count = ItoaBuffer::new(fields.len() as i64);
    let mut words = start.to_vec();
    words.extend_from_slice(&[b"FIELDS", &count]);
    words.extend_from_slice(fields);
    d.effects.instead(d.db, &words);
}

/// Journals that fields expire at a time; a condition is one that all of them meet.
pub(super) fn journal_times(
    d: &mut Data<'_>,
    key: Key<'_>,
    at: u64,
    condition: Option<&[u8]>,
    fields: &[&[u8]],
) {
    if !fields.is_empty() {
        let at = ItoaBuffer::new(at as i64);
        let mut start: Vec<&[u8]> = alloc::vec![b"HPEXPIREAT", key.bytes, &at];
        start.extend(condition);
        journal_fields(d, &start, fields);
    }
}

/// Lets `change` work on the hash at a place.
fn edit<R>(
    d: &mut Data<'_>,
    key: Key<'_>,
    place: Place,
    change: impl FnOnce(&mut Hash, (u64, u64)) -> R,
) -> R {
    let hash_key = d.store.hasher().keys();
    collection::edit(d, key, Some(place), |hash| change(hash, hash_key))
}

fn expire(d: &mut Data<'_>, args: &[&[u8]], unit: TimeUnit, command: &str) -> Outcome {
    let key = d.first_key(args[1]);
    let found = collection::find::<Hash>(d, key)?;
    let at = time_of(d, args[2], unit, command)?;
    let condition = Condition::named(args[3]);
    let rest = if condition.is_some() {
        &args[4..]
    } else {
        &args[3..]
    };
    let condition = condition.unwrap_or(Condition::Always);
    let fields = fields(rest, "ERR Parameter `numFields` should be greater than 0")?;
    d.out.array(fields.len());
    let Some(place) = found else {
        fields.iter().for_each(|_| d.out.int(answer::NO_FIELD));
        return Ok(());
    };
    let (past, before) = (is_past(d, at), d.due_before());
    let mut changes = Changes {
        condition: (condition != Condition::Always).then_some(args[3]),
        ..Changes::default()
    };
    let answers = edit(d, key, place, |hash, hash_key| -> Vec<i64> {
        hash.expect_times(hash_key);
        let mut one = |field: &&'_ [u8]| {
            if hash.at(before).get(field).is_none() {
                return answer::NO_FIELD;
            }
            if !condition.allows(hash.time(field), at) {
                return answer::REFUSED;
            }
            if past {
                hash.remove(field);
                return answer::DELETED;
            }
            hash.set_time(field, Some(at), hash_key);
            answer::DONE
        };
        fields.iter().map(&mut one).collect()
    });
    for (field, answer) in fields.iter().zip(answers) {
        d.out.int(answer);
        match answer {
            answer::DONE => changes.timed.push(field),
            answer::DELETED => changes.deleted.push(field),
            _ => {}
        }
    }
    changes.publish(d, key, place, at);
    Ok(())
}

/// `HEXPIRE key seconds [NX|XX|GT|LT] FIELDS n field …`. <https://redis.io/commands/hexpire/>
pub(super) fn hexpire(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    expire(d, args, EX, "hexpire")
}

/// `HPEXPIRE key milliseconds [NX|XX|GT|LT] FIELDS n field …`. <https://redis.io/commands/hpexpire/>
pub(super) fn hpexpire(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    expire(d, args, PX, "hpexpire")
}

/// `HEXPIREAT key unix-seconds [NX|XX|GT|LT] FIELDS n field …`. <https://redis.io/commands/hexpireat/>
pub(super) fn hexpireat(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    expire(d, args, EXAT, "hexpireat")
}

/// `HPEXPIREAT key unix-milliseconds [NX|XX|GT|LT] FIELDS n field …`. <https://redis.io/commands/hpexpireat/>
pub(super) fn hpexpireat(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    expire(d, args, PXAT, "hpexpireat")
}

fn reply_times(d: &mut Data<'_>, args: &[&[u8]], unit: TimeUnit) -> Outcome {
    let now = d.now.unix_ms();
    let (hash, out, _) = live(d, args[1])?;
    let fields = fields(&args[2..], NOT_POSITIVE)?;
    out.array(fields.len());
    for field in fields {
        let Some(hash) = hash.filter(|hash| hash.get(field).is_some()) else {
            out.int(answer::NO_FIELD);
            continue;
        };
        let Some(at) = hash.whole().time(field) else {
            out.int(answer::NO_TIME);
            continue;
        };
        let ms = at.saturating_sub(if unit.absolute { 0 } else { now });
        out.int(if unit.seconds { ms.div_ceil(1000) } else { ms } as i64);
    }
    Ok(())
}

/// `HTTL key FIELDS n field …`. <https://redis.io/commands/httl/>
pub(super) fn httl(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_times(d, args, EX)
}

/// `HPTTL key FIELDS n field …`. <https://redis.io/commands/hpttl/>
pub(super) fn hpttl(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_times(d, args, PX)
}

/// `HEXPIRETIME key FIELDS n field …`. <https://redis.io/commands/hexpiretime/>
pub(super) fn hexpiretime(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_times(d, args, EXAT)
}

/// `HPEXPIRETIME key FIELDS n field …`. <https://redis.io/commands/hpexpiretime/>
pub(super) fn hpexpiretime(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_times(d, args, PXAT)
}

/// `HPERSIST key FIELDS n field …`. <https://redis.io/commands/hpersist/>
pub(super) fn hpersist(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = collection::find::<Hash>(d, key)?;
    let fields = fields(&args[2..], NOT_POSITIVE)?;
    d.out.array(fields.len());
    let Some(place) = found else {
        fields.iter().for_each(|_| d.out.int(answer::NO_FIELD));
        return Ok(());
    };
    let before = d.due_before();
    let mut changes = Changes::default();
    for field in fields {
        let hash = collection::of::<Hash>(d.value(place))?;
        let answer = match (hash.at(before).get(field), hash.time(field)) {
            (None, _) => answer::NO_FIELD,
            (Some(_), None) => answer::NO_TIME,
            (Some(_), Some(_)) => {
                changes.kept.push(field);
                edit(d, key, place, |hash, key| hash.set_time(field, None, key));
                answer::DONE
            }
        };
        d.out.int(answer);
    }
    changes.publish(d, key, place, 0);
    Ok(())
}

/// `HGETDEL key FIELDS n field …`. <https://redis.io/commands/hgetdel/>
pub(super) fn hgetdel(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = collection::find::<Hash>(d, key)?;
    let fields = fields(&args[2..], NOT_POSITIVE)?;
    let before = d.due_before();
    d.out.array(fields.len());
    let Some(place) = found else {
        fields.iter().for_each(|_| d.out.null());
        return Ok(());
    };
    let mut changes = Changes::default();
    for field in fields {
        if reply_field(d, place, field, before) {
            changes.deleted.push(field);
            // One by one: a field that is named twice is there only once.
            edit(d, key, place, |hash, _| hash.remove(field));
        }
    }
    changes.publish(d, key, place, 0);
    Ok(())
}

/// Replies the value of a field, or nil; returns whether it is there.
fn reply_field(d: &mut Data<'_>, place: Place, field: &[u8], before: u64) -> bool {
    let Data { store, out, db, .. } = d;
    let hash = collection::of::<Hash>(store.entry(*db, place).value());
    match hash.ok().and_then(|hash| hash.at(before).get(field)) {
        Some(value) => {
            reply(out, value);
            true
        }
        None => {
            out.null();
            false
        }
    }
}

/// What HGETEX and HSETEX do with the times of their fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewTime {
    At(u64),
    /// HGETEX without a word about it, HSETEX with KEEPTTL.
    Keep,
    /// HGETEX with PERSIST, HSETEX without a word about it.
    None,
}

struct ExOptions<'a, 'b> {
    time: Option<NewTime>,
    /// FNX: none of the fields may be there; FXX: all must.
    fields_present: Option<bool>,
    /// NX: the key must not be there; XX: it must.
    key_present: Option<bool>,
    fields: &'b [&'a [u8]],
}

impl<'a, 'b> ExOptions<'a, 'b> {
    fn none() -> ExOptions<'a, 'b> {
        ExOptions {
            time: None,
            fields_present: None,
            key_present: None,
            fields: &[],
        }
    }

    /// Reads what follows the key of HGETEX: a time at most, and the fields.
    fn of_reading(d: &Data<'_>, args: &'b [&'a [u8]]) -> Result<Self, CommandError> {
        let mut o = ExOptions::none();
        let mut rest = args;
        if let [word, time, tail @ ..] = args
            && let Some(unit) = unit_of(word)
        {
            o.time = Some(NewTime::At(time_of(d, time, unit, "hgetex")?));
            rest = tail;
        } else if let [word, tail @ ..] = args
            && word.eq_ignore_ascii_case(b"persist")
        {
            (o.time, rest) = (Some(NewTime::None), tail);
        }
        if rest.len() < 2 {
            return Err(wrong_number("hgetex"));
        }
        o.fields = fields(rest, NOT_POSITIVE)?;
        Ok(o)
    }

    /// Reads what follows the key of HSETEX: options in any order, and the fields with their values.
    fn of_writing(d: &Data<'_>, args: &'b [&'a [u8]]) -> Result<Self, CommandError> {
        let mut o = ExOptions::none();
        let mut rest = args;
        while let [word, tail @ ..] = rest {
            rest = tail;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("fields") {
                let [count, pairs @ ..] = rest else {
                    return Err(wrong_number("hsetex"));
                };
                // Where there is room for no pair, that is what is wrong, whatever the number.
                if pairs.len() < 2 {
                    return Err(wrong_number("hsetex"));
                }
                let count = parse_i64(count)
                    .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
                    .ok_or(CommandError::fixed("ERR invalid number of fields"))?;
                if count as usize * 2 != pairs.len() {
                    return Err(wrong_number("hsetex"));
                }
                o.fields = pairs;
                return Ok(o);
            } else if unit_of(word).is_some() || is("keepttl") {
                if o.time.is_some() {
                    return Err(CommandError::fixed(
                        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                    ));
                }
                o.time = match (unit_of(word), rest) {
                    (None, _) => Some(NewTime::Keep),
                    (Some(_), []) => return Err(CommandError::fixed("ERR missing expire time")),
                    (Some(unit), [time, tail @ ..]) => {
                        rest = tail;
                        Some(NewTime::At(time_of(d, time, unit, "hsetex")?))
                    }
                };
            } else if is("fnx") || is("fxx") {
                if o.fields_present.is_some() {
                    return Err(CommandError::fixed(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                o.fields_present = Some(is("fxx"));
            } else if (is("nx") || is("xx")) && o.key_present.is_none() {
                o.key_present = Some(is("xx"));
            } else {
                return Err(CommandError::showing(&[b"ERR unknown argument: ", word]));
            }
        }
        Err(CommandError::fixed("ERR missing FIELDS argument"))
    }
}

/// The unit that a word asks for a time in.
fn unit_of(word: &[u8]) -> Option<TimeUnit> {
    [("ex", EX), ("px", PX), ("exat", EXAT), ("pxat", PXAT)]
        .into_iter()
        .find(|unit| word.eq_ignore_ascii_case(unit.0.as_bytes()))
        .map(|unit| unit.1)
}

fn wrong_number(command: &str) -> CommandError {
    CommandError::text(format!(
        "ERR wrong number of arguments for '{command}' command"
    ))
}

/// `HGETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST] FIELDS n field …`. <https://redis.io/commands/hgetex/>
pub(super) fn hgetex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = collection::find::<Hash>(d, key)?;
    let o = ExOptions::of_reading(d, &args[2..])?;
    d.out.array(o.fields.len());
    let Some(place) = found else {
        o.fields.iter().for_each(|_| d.out.null());
        return Ok(());
    };
    let before = d.due_before();
    let mut changes = Changes::default();
    let mut at = 0;
    if let Some(NewTime::At(_)) = o.time {
        edit(d, key, place, |hash, hash_key| hash.expect_times(hash_key));
    }
    for field in o.fields {
        if !reply_field(d, place, field, before) {
            continue;
        }
        match o.time {
            None | Some(NewTime::Keep) => {}
            Some(NewTime::None) => {
                let timed = edit(d, key, place, |hash, key| {
                    let timed = hash.time(field).is_some();
                    hash.set_time(field, None, key);
                    timed
                });
                changes.kept.extend(timed.then_some(*field));
            }
            Some(NewTime::At(time)) if is_past(d, time) => {
                edit(d, key, place, |hash, _| hash.remove(field));
                changes.deleted.push(field);
            }
            Some(NewTime::At(time)) => {
                at = time;
                edit(d, key, place, |hash, key| {
                    hash.set_time(field, Some(time), key);
                });
                changes.timed.push(field);
            }
        }
    }
    changes.publish(d, key, place, at);
    Ok(())
}

/// `HSETEX key [NX|XX] [FNX|FXX] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL] FIELDS n field value …`.
/// <https://redis.io/commands/hsetex/>
pub(super) fn hsetex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let o = ExOptions::of_writing(d, &args[2..])?;
    let found = collection::find::<Hash>(d, key)?;
    let found = drop_due(d, key, found, o.fields.iter().step_by(2).copied());
    let before = d.due_before();
    let there = |field: &[u8]| {
        let hash = found.and_then(|place| collection::of::<Hash>(d.value(place)).ok());
        hash.is_some_and(|hash| hash.at(before).get(field).is_some())
    };
    let mut names = o.fields.iter().step_by(2);
    let refused = o
        .key_present
        .is_some_and(|wanted| found.is_some() != wanted)
        || o.fields_present
            .is_some_and(|wanted| names.any(|field| there(field) != wanted));
    if refused {
        d.out.int(0);
        return Ok(());
    }
    let limits = hash_limits(d.config, d.store);
    let longest = o.fields.iter().map(|arg| arg.len()).max().unwrap_or(0);
    let time = o.time.unwrap_or(NewTime::None);
    let past = matches!(time, NewTime::At(at) if is_past(d, at));
    collection::edit(d, key, found, |hash: &mut Hash| {
        hash.make_room(longest, &limits);
        for pair in o.fields.chunks_exact(2) {
            hash.set(pair[0], pair[1], &limits);
            match time {
                NewTime::At(_) if past => {
                    hash.remove(pair[0]);
                }
                NewTime::At(at) => hash.set_time(pair[0], Some(at), limits.hash_key),
                NewTime::Keep => {}
                NewTime::None => hash.set_time(pair[0], None, limits.hash_key),
            }
        }
    });
    d.out.int(1);
    let pairs = o.fields.len() as u64 / 2;
    d.changed(key.bytes);
    d.effects.dirty += pairs - 1;
    let names: Vec<&[u8]> = o.fields.iter().step_by(2).copied().collect();
    let Some(place) = d.store.find(d.db, key) else {
        // All that it would have are gone already, and it with them.
        d.notify_new(d.db, key);
        d.notify(NotifyEvents::HASH, "hset", key.bytes);
        d.notify(NotifyEvents::HASH, "hdel", key.bytes);
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
        d.effects.nothing();
        return Ok(());
    };
    d.notify(NotifyEvents::HASH, "hset", key.bytes);
    if past {
        let mut words: Vec<&[u8]> = alloc::vec![b"HDEL", key.bytes];
        words.extend_from_slice(&names);
        d.effects.instead(d.db, &words);
        d.notify(NotifyEvents::HASH, "hdel", key.bytes);
        collection::delete_if_empty::<Hash>(d, key, place);
        return Ok(());
    }
    // HSET takes the times away: those that stay are set again.
    let mut words: Vec<&[u8]> = alloc::vec![b"HSET", key.bytes];
    words.extend_from_slice(o.fields);
    d.effects.instead(d.db, &words);
    let hash = collection::of::<Hash>(d.value(place))?;
    let mut timed: Vec<(u64, &[u8])> = names
        .iter()
        .filter_map(|name| Some((hash.time(name)?, *name)))
        .collect();
    timed.sort_unstable();
    timed.dedup();
    for run in timed.chunk_by(|a, b| a.0 == b.0) {
        let names: Vec<&[u8]> = run.iter().map(|(_, name)| *name).collect();
        journal_times(d, key, run[0].0, None, &names);
    }
    if matches!(time, NewTime::At(_)) {
        d.notify(NotifyEvents::HASH, "hexpire", key.bytes);
    }
    Ok(())
}

/// Fields of a hash that a command deletes at most because they are due, where it does not name them.
const MOST_DUE: usize = 1000;

/// Before a command draws fields by chance: those that are due are deleted, and that is journalled.
pub(super) fn drop_all_due(d: &mut Data<'_>, key: Key<'_>) {
    let Some(place) = d.seek(key) else { return };
    let before = d.due_before();
    let due = match collection::of::<Hash>(d.value(place)) {
        Ok(hash) => hash.due(before, MOST_DUE),
        Err(_) => return,
    };
    drop_due(d, key, Some(place), due.iter().map(|field| &field[..]));
}

/// Before a command reads or writes fields: those that are due are deleted, and that is journalled. Returns where the
/// hash is then.
pub(super) fn drop_due<'a>(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    fields: impl Iterator<Item = &'a [u8]>,
) -> Option<Place> {
    let place = found?;
    if !d.has_due_fields() {
        return found;
    }
    let live = collection::of::<Hash>(d.value(place))
        .ok()?
        .at(d.due_before());
    if !live.hides_some() {
        return found;
    }
    let due: Vec<&[u8]> = fields.filter(|field| !live.shows(field)).collect();
    if due.is_empty() {
        return found;
    }
    edit(d, key, place, |hash, _| {
        for field in &due {
            hash.remove(field);
        }
    });
    for field in &due {
        d.effects.also(d.db, &[b"HDEL", key.bytes, field]);
    }
    d.stats.expired_fields += due.len() as u64;
    d.watches.touch_by_nobody(d.db, key.bytes);
    d.notify(NotifyEvents::HASH, "hexpired", key.bytes);
    collection::delete_if_empty::<Hash>(d, key, place);
    d.store.find(d.db, key)
}

/// Deletes up to `most` fields of a hash that are due, and journals it; returns how many there were.
pub(crate) fn expire_fields(
    parts: &mut Parts,
    now: Now,
    db: usize,
    name: &[u8],
    place: Place,
    most: usize,
) -> usize {
    let key = parts.store.hasher().key(name);
    let due = match collection::of::<Hash>(parts.store.entry(db, place).value()) {
        Ok(hash) => hash.due(now.unix_ms(), most),
        Err(_) => return 0,
    };
    let left = parts.store.modify(db, key, place, |object| {
        let hash = <Hash as crate::store::Collection>::of_mut(object)?;
        for field in &due {
            hash.remove(field);
        }
        Some(hash.len())
    });
    parts.watches.touch_by_nobody(db, key.bytes);
    parts.changes += due.len() as u64;
    parts.notify(NotifyEvents::HASH, db, "hexpired", key.bytes);
    parts.stats.expired_fields += due.len() as u64;
    // Each by itself: nothing holds them together.
    for field in &due {
        parts.effects.begin();
        parts.effects.also(db, &[b"HDEL", key.bytes, field]);
        parts.effects.end(&mut parts.journal, db, false, &[], None);
    }
    if left.flatten() == Some(0) {
        parts.store.delete(db, key, place);
        parts.notify(NotifyEvents::GENERIC, db, "del", key.bytes);
    }
    due.len()
}
