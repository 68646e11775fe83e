//! Commands on strings.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use super::access;
use super::context::{Data, Text};
use super::error::CommandError;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::planted::{self, Bug};
use crate::store::{Deadline, INLINE_MAX, Key, Object, Place, Value, ValueRef};
use crate::value::long_text::TextMut;
use crate::value::longdouble::LongDouble;
use crate::value::number::{ItoaBuffer, parse_i64};

/// The unit and the origin of a time argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeUnit {
    /// Seconds, not milliseconds.
    pub seconds: bool,
    /// From the Unix epoch, not from now.
    pub absolute: bool,
}

pub(super) const EX: TimeUnit = TimeUnit {
    seconds: true,
    absolute: false,
};
pub(super) const PX: TimeUnit = TimeUnit {
    seconds: false,
    absolute: false,
};
pub(super) const EXAT: TimeUnit = TimeUnit {
    seconds: true,
    absolute: true,
};
pub(super) const PXAT: TimeUnit = TimeUnit {
    seconds: false,
    absolute: true,
};

/// A 64-bit integer argument.
pub(super) fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or(CommandError::NOT_INTEGER)
}

/// The value of a string of digits is kept as an integer.
#[inline]
pub(super) fn encoded(bytes: &[u8]) -> Value<'_> {
    match bytes.first() {
        Some(b'-' | b'0'..=b'9') if bytes.len() <= 20 => match parse_i64(bytes) {
            Some(n) => Value::Int(n),
            None => Value::Bytes(bytes),
        },
        _ => Value::Bytes(bytes),
    }
}

/// The deadline that a SET-like command's time argument means, in Unix milliseconds.
fn deadline_of(
    d: &Data<'_>,
    arg: &[u8],
    unit: TimeUnit,
    command: &str,
) -> Result<u64, CommandError> {
    let invalid = || CommandError::text(format!("ERR invalid expire time in '{command}' command"));
    let time = integer(arg)?;
    if time <= 0 || (unit.seconds && time > i64::MAX / 1000) {
        return Err(invalid());
    }
    let ms = if unit.seconds { time * 1000 } else { time };
    let origin = if unit.absolute {
        0
    } else {
        d.now.unix_ms() as i64
    };
    ms.checked_add(origin)
        .map(|ms| ms as u64)
        .ok_or_else(invalid)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfEqual,
    IfPresent,
}

struct SetOptions<'a> {
    condition: Condition,
    /// What [`Condition::IfEqual`] compares with.
    equal: &'a [u8],
    get: bool,
    keep: bool,
    persist: bool,
    time: Option<(&'a [u8], TimeUnit)>,
}

/// The options of SET (`getex` false) or of GETEX.
fn options<'a>(args: &[&'a [u8]], getex: bool) -> Result<SetOptions<'a>, CommandError> {
    let mut o = SetOptions {
        condition: Condition::Always,
        equal: b"",
        get: false,
        keep: false,
        persist: false,
        time: None,
    };
    let mut i = 0;
    while let Some(&word) = args.get(i) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let unit = [("ex", EX), ("px", PX), ("exat", EXAT), ("pxat", PXAT)]
            .into_iter()
            .find(|u| is(u.0));
        // The same option may be given again.
        let no_other = |unit| o.time.is_none_or(|(_, t)| t == unit) && !o.keep && !o.persist;
        let free = |same| o.condition == Condition::Always || o.condition == same;
        if is("nx") && free(Condition::IfAbsent) && !getex {
            o.condition = Condition::IfAbsent;
        } else if is("xx") && free(Condition::IfPresent) && !getex {
            o.condition = Condition::IfPresent;
        } else if let (true, true, false, Some(&equal)) = (
            is("ifeq"),
            o.condition == Condition::Always,
            getex,
            args.get(i + 1),
        ) {
            (o.condition, o.equal) = (Condition::IfEqual, equal);
            i += 1;
        } else if is("get") && !getex {
            o.get = true;
        } else if is("keepttl") && o.time.is_none() && !getex {
            o.keep = true;
        } else if is("persist") && o.time.is_none() && getex {
            o.persist = true;
        } else if let (Some((_, unit)), Some(&arg)) =
            (unit.filter(|u| no_other(u.1)), args.get(i + 1))
        {
            o.time = Some((arg, unit));
            i += 1;
        } else {
            return Err(CommandError::SYNTAX);
        }
        i += 1;
    }
    Ok(o)
}

/// `GET key` → the value, or nil. <https://redis.io/commands/get/>
pub(super) fn get(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.look(key);
    reply_string(d, found)
}

/// Replies the string at a place, or nil.
fn reply_string(d: &mut Data<'_>, place: Option<Place>) -> Outcome {
    let Some(place) = place else {
        d.out.null();
        return Ok(());
    };
    match Text::of(d.store.entry(d.db, place).value()).ok_or(CommandError::WRONG_TYPE)? {
        Text::Long(bytes) => d.out.bulk_value(bytes),
        text => d.out.bulk(&text),
    }
    Ok(())
}

/// `SET key value [NX|XX|IFEQ value] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`. <https://redis.io/commands/set/>
pub(super) fn set(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    if args.len() == 3 {
        put(d, key, args[2], Deadline::Clear);
        d.out.ok();
        return Ok(());
    }
    let o = options(&args[3..], false)?;
    let deadline = match o.time {
        Some((arg, unit)) => Deadline::At(deadline_of(d, arg, unit, "set")?),
        None if o.keep => Deadline::Keep,
        None => Deadline::Clear,
    };
    let found = if o.get { d.look(key) } else { d.seek(key) };
    if o.get {
        reply_string(d, found)?;
    }
    let refused = match o.condition {
        Condition::Always => false,
        Condition::IfAbsent => found.is_some(),
        Condition::IfEqual => match found {
            Some(place) => *d.string(place)? != *o.equal,
            None => true,
        },
        Condition::IfPresent => found.is_none(),
    };
    if refused {
        if !o.get {
            d.out.null();
        }
        return Ok(());
    }
    put(d, key, args[2], deadline);
    if let Deadline::At(at) = deadline {
        let (unit, at): (&[u8], u64) = if planted::is(Bug::DeadlinesAsSpans) {
            (b"PX", at.saturating_sub(d.now.unix_ms()).max(1))
        } else {
            (b"PXAT", at)
        };
        let words: [&[u8]; 5] = [b"SET", args[1], args[2], unit, &ItoaBuffer::new(at as i64)];
        d.effects.instead(d.db, &words);
    } else if o.condition == Condition::IfEqual {
        let mut words: smallvec::SmallVec<[&[u8]; 4]> =
            smallvec::smallvec![&b"SET"[..], args[1], args[2]];
        words.extend(o.keep.then_some(&b"KEEPTTL"[..]));
        d.effects.instead(d.db, &words);
    } else if o.get {
        let mut words = args[..3].to_vec();
        words.extend(args[3..].iter().filter(|a| !a.eq_ignore_ascii_case(b"get")));
        d.effects.instead(d.db, &words);
    }
    if !o.get {
        d.out.ok();
    }
    Ok(())
}

/// Sets a key to a string.
#[inline]
fn write(d: &mut Data<'_>, key: Key<'_>, value: &[u8], deadline: Deadline) {
    d.notify_if_new(d.db, key);
    let found = access::is_lfu(d.config)
        .then(|| d.store.find(d.db, key))
        .flatten();
    let access = d.access_at(found);
    let value = match d.store.lent_text(value) {
        Some(text) => Value::Object(Object::Str(text)),
        None => encoded(value),
    };
    d.store.set(d.db, key, value, deadline, access);
    d.changed(key.bytes);
}

/// As SET: sets a key to a string, and says so.
#[inline]
fn put(d: &mut Data<'_>, key: Key<'_>, value: &[u8], deadline: Deadline) {
    write(d, key, value, deadline);
    d.notify(NotifyEvents::STRING, "set", key.bytes);
    if let Deadline::At(_) = deadline {
        d.notify(NotifyEvents::GENERIC, "expire", key.bytes);
    }
}

/// `SETNX key value`. <https://redis.io/commands/setnx/>
pub(super) fn setnx(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let absent = d.seek(key).is_none();
    if absent {
        put(d, key, args[2], Deadline::Clear);
    }
    d.out.int(i64::from(absent));
    Ok(())
}

fn set_with_time(d: &mut Data<'_>, args: &[&[u8]], unit: TimeUnit, command: &str) -> Outcome {
    let key = d.first_key(args[1]);
    let at = deadline_of(d, args[2], unit, command)?;
    put(d, key, args[3], Deadline::At(at));
    d.effects.instead(
        d.db,
        &[
            b"SET",
            args[1],
            args[3],
            b"PXAT",
            &ItoaBuffer::new(at as i64),
        ],
    );
    d.out.ok();
    Ok(())
}

/// `SETEX key seconds value`. <https://redis.io/commands/setex/>
pub(super) fn setex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_with_time(d, args, EX, "setex")
}

/// `PSETEX key milliseconds value`. <https://redis.io/commands/psetex/>
pub(super) fn psetex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_with_time(d, args, PX, "psetex")
}

/// `GETSET key value`. <https://redis.io/commands/getset/>
pub(super) fn getset(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.look(key);
    reply_string(d, found)?;
    put(d, key, args[2], Deadline::Clear);
    d.effects.instead(d.db, &[b"SET", args[1], args[2]]);
    Ok(())
}

/// `GETDEL key`. <https://redis.io/commands/getdel/>
pub(super) fn getdel(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.look(key);
    reply_string(d, found)?;
    if let Some(place) = found {
        d.store.delete(d.db, key, place);
        d.changed(args[1]);
        d.notify(NotifyEvents::GENERIC, "del", args[1]);
        d.effects.instead(d.db, &[b"DEL", args[1]]);
    }
    Ok(())
}

/// `GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]`. <https://redis.io/commands/getex/>
pub(super) fn getex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let o = options(&args[2..], true)?;
    let key = d.first_key(args[1]);
    let found = d.look(key);
    let Some(place) = found else {
        d.out.null();
        return Ok(());
    };
    d.string(place)?;
    let deadline = match o.time {
        Some((arg, unit)) => Some(deadline_of(d, arg, unit, "getex")?),
        None => None,
    };
    reply_string(d, found)?;
    match deadline {
        // A replica's, and a loading file's, times pass by the primary's DEL alone.
        Some(at) if at <= d.now.unix_ms() && d.overdue == super::context::Overdue::Delete => {
            d.store.delete(d.db, key, place);
            let verb: &[u8] = if d.config.lazyfree_lazy_expire {
                b"UNLINK"
            } else {
                b"DEL"
            };
            d.effects.instead(d.db, &[verb, args[1]]);
            d.changed(args[1]);
            d.notify(NotifyEvents::GENERIC, "del", args[1]);
        }
        Some(at) => {
            d.store.set_deadline(d.db, key, place, Some(at));
            d.effects
                .instead(d.db, &[b"PEXPIREAT", args[1], &ItoaBuffer::new(at as i64)]);
            d.changed(args[1]);
            d.notify(NotifyEvents::GENERIC, "expire", args[1]);
        }
        None if o.persist && d.store.entry(d.db, place).deadline().is_some() => {
            d.store.set_deadline(d.db, key, place, None);
            d.effects.instead(d.db, &[b"PERSIST", args[1]]);
            d.changed(args[1]);
            d.notify(NotifyEvents::GENERIC, "persist", args[1]);
        }
        None => {}
    }
    Ok(())
}

/// `MGET key [key …]`. <https://redis.io/commands/mget/>
pub(super) fn mget(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    d.out.array(args.len() - 1);
    for run in args[1..].chunks(16) {
        let keys: smallvec::SmallVec<[Key<'_>; 16]> = run.iter().map(|k| d.key(k)).collect();
        d.prefetch(&keys);
        for key in keys {
            let found = d.look(key);
            if reply_string(d, found).is_err() {
                d.out.null();
            }
        }
    }
    Ok(())
}

/// `MSET key value [key value …]`. <https://redis.io/commands/mset/>
pub(super) fn mset(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pairs(args, "mset")?;
    put_all(d, args);
    d.out.ok();
    Ok(())
}

/// `MSETNX key value [key value …]`. <https://redis.io/commands/msetnx/>
pub(super) fn msetnx(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pairs(args, "msetnx")?;
    for key in args[1..].iter().step_by(2) {
        let key = d.key(key);
        if d.seek(key).is_some() {
            d.out.int(0);
            return Ok(());
        }
    }
    put_all(d, args);
    d.out.int(1);
    Ok(())
}

fn pairs(args: &[&[u8]], command: &str) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::text(format!(
            "ERR wrong number of arguments for '{command}' command"
        )));
    }
    Ok(())
}

fn put_all(d: &mut Data<'_>, args: &[&[u8]]) {
    for run in args[1..].chunks(32) {
        let keys: smallvec::SmallVec<[Key<'_>; 16]> =
            run.iter().step_by(2).map(|k| d.key(k)).collect();
        d.prefetch(&keys);
        for (key, pair) in keys.into_iter().zip(run.chunks_exact(2)) {
            put(d, key, pair[1], Deadline::Clear);
        }
    }
}

/// `MSETEX numkeys key value [key value …] [NX|XX] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`.
/// <https://redis.io/commands/msetex/>
pub(super) fn msetex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let count = parse_i64(args[1])
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| (1..=i32::MAX as usize).contains(count))
        .ok_or(CommandError::fixed(
            "ERR invalid numkeys value or out of range",
        ))?;
    if count > (args.len() - 2) / 2 {
        return Err(CommandError::SYNTAX);
    }
    let (pairs, words) = args[2..].split_at(2 * count);
    let o = options(words, false)?;
    if o.get || o.condition == Condition::IfEqual {
        return Err(CommandError::SYNTAX);
    }
    let deadline = match o.time {
        Some((arg, unit)) => Deadline::At(deadline_of(d, arg, unit, "msetex")?),
        None if o.keep => Deadline::Keep,
        None => Deadline::Clear,
    };
    let present = o.condition == Condition::IfPresent;
    for name in pairs.iter().step_by(2) {
        let key = d.key(name);
        if o.condition != Condition::Always && d.seek(key).is_some() != present {
            d.out.int(0);
            return Ok(());
        }
    }
    for pair in pairs.chunks_exact(2) {
        let key = d.key(pair[0]);
        put(d, key, pair[1], deadline);
        // As what every server knows.
        let digits;
        let mut set: smallvec::SmallVec<[&[u8]; 5]> =
            smallvec::smallvec![&b"SET"[..], pair[0], pair[1]];
        match deadline {
            Deadline::At(at) => {
                digits = ItoaBuffer::new(at as i64);
                set.extend([&b"PXAT"[..], &digits]);
            }
            Deadline::Keep => set.push(b"KEEPTTL"),
            Deadline::Clear => {}
        }
        d.effects.instead(d.db, &set);
    }
    d.out.int(1);
    Ok(())
}

/// `DELIFEQ key value`. <https://valkey.io/commands/delifeq/>
pub(super) fn delifeq(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let equal = match d.look_to_write(key) {
        Some(place) => (*d.string(place)? == *args[2]).then_some(place),
        None => None,
    };
    if let Some(place) = equal {
        d.store.delete(d.db, key, place);
        d.changed(key.bytes);
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
        d.effects.instead(d.db, &[b"DEL", args[1]]);
    }
    d.out.int(i64::from(equal.is_some()));
    Ok(())
}

/// `STRLEN key`. <https://redis.io/commands/strlen/>
pub(super) fn strlen(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let len = match d.look(key) {
        Some(place) => d.string(place)?.len(),
        None => 0,
    };
    d.out.int(len as i64);
    Ok(())
}

fn check_length(d: &Data<'_>, len: u64) -> Outcome {
    if len > d.config.proto_max_bulk_len {
        Err(CommandError::TOO_LONG)
    } else {
        Ok(())
    }
}

/// Lets `change` work on the bytes of a string, grown with zeros to at least `len`; the key keeps its
/// deadline, and is made if absent. Of the bytes that are there, only those in `changed` change. Returns the new
/// length.
fn edit(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    len: usize,
    changed: Range<usize>,
    change: impl FnOnce(&mut TextMut<'_>),
) -> usize {
    let len = edit_quietly(d, key, found, len, changed, change);
    d.changed(key.bytes);
    len
}

/// Gives a string at least so many bytes, by zeros at its end. What is more than twice as long is new memory, as zero as
/// the system gives it: what is never touched takes no time, however far away a bit is set.
fn lengthen(bytes: &mut TextMut<'_>, len: usize) {
    if len > 2 * bytes.capacity() {
        let mut longer = alloc::vec![0; len];
        longer[..bytes.len()].copy_from_slice(bytes);
        bytes.replace(longer);
    } else if len > bytes.len() {
        make_room(bytes, len);
        bytes.resize(len);
    }
}

/// Makes room for so many bytes, and for more to come: for as many again, but from a megabyte on for an eighth of them,
/// since room counts as memory.
fn make_room(bytes: &mut TextMut<'_>, len: usize) {
    const LARGE: usize = 1 << 20;
    if len > bytes.capacity() && len >= LARGE {
        bytes.reserve_exact(len + len / 8 - bytes.len());
    }
}

/// As [`edit`], but whether that changed anything is left to the caller to say.
pub(super) fn edit_quietly(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    len: usize,
    changed: Range<usize>,
    change: impl FnOnce(&mut TextMut<'_>),
) -> usize {
    if found.is_none() {
        d.notify_if_new(d.db, key);
    }
    let access = d.access_at(found);
    // A long string is changed where it is.
    if let Some(place) = found
        && let ValueRef::Object(Object::Str(_)) = d.value(place)
    {
        let edited = d.store.modify(d.db, key, place, |object| {
            let Object::Str(text) = object else { return 0 };
            text.edit(changed, |bytes| {
                lengthen(bytes, len);
                change(bytes);
                bytes.len()
            })
        });
        return edited.unwrap_or(0);
    }
    let mut bytes = match found {
        Some(place) => Text::of(d.value(place)).map_or(Vec::new(), |t| t.to_vec()),
        None => Vec::new(),
    };
    let mut start = 0;
    let mut text = TextMut::new(&mut bytes, &mut start);
    lengthen(&mut text, len);
    change(&mut text);
    let len = text.len();
    let short;
    let value = if len <= INLINE_MAX {
        short = bytes;
        Value::Bytes(&short)
    } else {
        Value::Object(Object::Str(bytes.into()))
    };
    let place = match found {
        Some(place) => d
            .store
            .set_at(d.db, key, place, value, Deadline::Keep, access),
        None => d.store.set(d.db, key, value, Deadline::Clear, access),
    };
    d.store.set_raw(d.db, place);
    len
}

/// `APPEND key value`. <https://redis.io/commands/append/>
pub(super) fn append(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.seek(key);
    let Some(place) = found else {
        write(d, key, args[2], Deadline::Clear);
        d.notify(NotifyEvents::STRING, "append", key.bytes);
        d.out.int(args[2].len() as i64);
        return Ok(());
    };
    let len = d.string(place)?.len();
    check_length(d, len as u64 + args[2].len() as u64)?;
    let len = edit(d, key, found, 0, 0..0, |bytes| {
        make_room(bytes, bytes.len() + args[2].len());
        bytes.extend_from_slice(args[2]);
    });
    d.notify(NotifyEvents::STRING, "append", key.bytes);
    d.out.int(len as i64);
    Ok(())
}

/// `SETRANGE key offset value`. <https://redis.io/commands/setrange/>
pub(super) fn setrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let offset = integer(args[2])?;
    if offset < 0 {
        return Err(CommandError::fixed("ERR offset is out of range"));
    }
    let key = d.first_key(args[1]);
    let found = d.seek(key);
    let len = match found {
        Some(place) => d.string(place)?.len(),
        None => 0,
    };
    let patch = args[3];
    if patch.is_empty() {
        d.out.int(len as i64);
        return Ok(());
    }
    check_length(d, (offset as u64).saturating_add(patch.len() as u64))?;
    let offset = offset as usize;
    let patched = offset..offset + patch.len();
    let len = edit(d, key, found, patched.end, patched.clone(), |bytes| {
        bytes[patched].copy_from_slice(patch);
    });
    d.notify(NotifyEvents::STRING, "setrange", key.bytes);
    d.out.int(len as i64);
    Ok(())
}

/// `GETRANGE key start end`. <https://redis.io/commands/getrange/>
pub(super) fn getrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let key = d.first_key(args[1]);
    let Some(place) = d.look(key) else {
        d.out.bulk(b"");
        return Ok(());
    };
    let text = Text::of(d.store.entry(d.db, place).value()).ok_or(CommandError::WRONG_TYPE)?;
    let len = text.len() as i64;
    if (start < 0 && end < 0 && start > end) || len == 0 {
        d.out.bulk(b"");
        return Ok(());
    }
    let from_end = |i: i64| {
        if i < 0 {
            len.saturating_add(i).max(0)
        } else {
            i
        }
    };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    d.out.bulk(if start > end {
        b""
    } else {
        &text[start as usize..=end as usize]
    });
    Ok(())
}

/// `SUBSTR key start end`: GETRANGE's old name. <https://redis.io/commands/substr/>
pub(super) fn substr(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    getrange(d, args)
}

fn add(d: &mut Data<'_>, args: &[&[u8]], by: i64) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.seek(key);
    let old = match found {
        Some(place) => match d.value(place) {
            ValueRef::Int(n) => n,
            _ => integer(&d.string(place)?)?,
        },
        None => 0,
    };
    let new = old.checked_add(by).ok_or(CommandError::fixed(
        "ERR increment or decrement would overflow",
    ))?;
    if found.is_none() {
        d.notify_if_new(d.db, key);
    }
    let access = d.access_at(found);
    match found {
        Some(place) => d
            .store
            .set_at(d.db, key, place, Value::Int(new), Deadline::Keep, access),
        None => d
            .store
            .set(d.db, key, Value::Int(new), Deadline::Clear, access),
    };
    d.changed(key.bytes);
    d.notify(NotifyEvents::STRING, "incrby", key.bytes);
    d.out.int(new);
    Ok(())
}

/// `INCR key`. <https://redis.io/commands/incr/>
pub(super) fn incr(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    add(d, args, 1)
}

/// `DECR key`. <https://redis.io/commands/decr/>
pub(super) fn decr(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    add(d, args, -1)
}

/// `INCRBY key increment`. <https://redis.io/commands/incrby/>
pub(super) fn incrby(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    add(d, args, integer(args[2])?)
}

/// `DECRBY key decrement`. <https://redis.io/commands/decrby/>
pub(super) fn decrby(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let by = integer(args[2])?
        .checked_neg()
        .ok_or(CommandError::fixed("ERR decrement would overflow"))?;
    add(d, args, by)
}

/// `INCRBYFLOAT key increment`. <https://redis.io/commands/incrbyfloat/>
pub(super) fn incrbyfloat(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.seek(key);
    let old = match found {
        Some(place) => match d.value(place) {
            ValueRef::Int(n) => Some(n.into()),
            _ => LongDouble::parse(&d.string(place)?),
        },
        None => Some(0.into()),
    };
    let (Some(old), Some(by)) = (old, LongDouble::parse(args[2])) else {
        return Err(CommandError::NOT_FLOAT);
    };
    let new = old + by;
    if !new.is_finite() {
        return Err(CommandError::fixed(
            "ERR increment would produce NaN or Infinity",
        ));
    }
    let mut text = Vec::new();
    new.write_human(&mut text);
    d.notify_if_new(d.db, key);
    let access = d.access_at(found);
    // As in Redis, it is not kept as an integer, even if it is one.
    let value = Value::Bytes(&text);
    d.store.set(d.db, key, value, Deadline::Keep, access);
    d.changed(key.bytes);
    d.notify(NotifyEvents::STRING, "incrbyfloat", key.bytes);
    d.effects
        .instead(d.db, &[b"SET", args[1], &text, b"KEEPTTL"]);
    d.out.bulk(&text);
    Ok(())
}
