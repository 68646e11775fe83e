//! OBJECT, and the names of types and encodings.

use super::access;
use super::context::Data;
use super::error::CommandError;
use super::table::Outcome;
use crate::config::MaxmemoryPolicy;
use crate::store::{EntryRef, Object, Place, ValueRef};

/// The longest string that Redis keeps in one piece with its header.
const EMBSTR_MAX: usize = 44;

/// Integers from 0 up to here are objects that all their keys share in Redis.
const SHARED_INTEGERS: i64 = 10_000;

/// The reference count of a shared integer.
const SHARED: i64 = i32::MAX as i64;

/// The name of a value's type, as TYPE replies it.
pub(super) fn type_name(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Inline(_) | ValueRef::Int(_) | ValueRef::Object(Object::Str(_)) => "string",
        ValueRef::Object(Object::Hash(_)) => "hash",
        ValueRef::Object(Object::Set(_)) => "set",
        ValueRef::Object(Object::Stream(_)) => "stream",
        ValueRef::Object(Object::ZSet(_)) => "zset",
        ValueRef::Object(Object::List(_)) => "list",
    }
}

/// The name of an entry's encoding: what Redis would have for such a value.
pub(super) fn encoding_name(entry: EntryRef<'_>) -> &'static str {
    match entry.value() {
        ValueRef::Int(_) => "int",
        ValueRef::Inline(bytes) if bytes.len() <= EMBSTR_MAX && !entry.is_raw() => "embstr",
        ValueRef::Inline(_) | ValueRef::Object(Object::Str(_)) => "raw",
        ValueRef::Object(Object::Hash(hash)) => hash.encoding(),
        ValueRef::Object(Object::Set(set)) => set.encoding(),
        ValueRef::Object(Object::Stream(_)) => "stream",
        ValueRef::Object(Object::ZSet(set)) => set.encoding(),
        ValueRef::Object(Object::List(list)) => list.encoding(),
    }
}

/// Looks the key up without using it; replies nil if it is not there (which is counted, but no event).
fn inspect(d: &mut Data<'_>, key: &[u8]) -> Option<Place> {
    let key = d.first_key(key);
    let found = d.seek(key);
    match found {
        Some(_) => d.stats.hits += 1,
        None => {
            d.stats.misses += 1;
            d.out.null();
        }
    }
    found
}

fn lfu(d: &Data<'_>) -> bool {
    access::is_lfu(d.config)
}

fn lru(d: &Data<'_>) -> bool {
    use MaxmemoryPolicy::{AllkeysLru, VolatileLru};
    matches!(d.config.maxmemory_policy, AllkeysLru | VolatileLru)
}

/// `OBJECT ENCODING key`. <https://redis.io/commands/object-encoding/>
pub(super) fn encoding(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if let Some(place) = inspect(d, args[2]) {
        let name = encoding_name(d.store.entry(d.db, place));
        d.out.bulk(name.as_bytes());
    }
    Ok(())
}

/// `OBJECT REFCOUNT key`. <https://redis.io/commands/object-refcount/>
pub(super) fn refcount(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if let Some(place) = inspect(d, args[2]) {
        // With `maxmemory` each key needs an access clock of its own, so nothing is shared.
        let sharing = d.config.maxmemory == 0 || !(lru(d) || lfu(d));
        let count = match d.value(place) {
            ValueRef::Int(0..SHARED_INTEGERS) if sharing => SHARED,
            _ => 1,
        };
        d.out.int(count);
    }
    Ok(())
}

/// `OBJECT IDLETIME key`. <https://redis.io/commands/object-idletime/>
pub(super) fn idletime(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if let Some(place) = inspect(d, args[2]) {
        if lfu(d) {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        let used = d.store.entry(d.db, place).access();
        d.out.int(i64::from(access::idle_s(d.now, used)));
    }
    Ok(())
}

/// `OBJECT FREQ key`. <https://redis.io/commands/object-freq/>
pub(super) fn freq(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if let Some(place) = inspect(d, args[2]) {
        if !lfu(d) {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        let access = d.store.entry(d.db, place).access();
        let frequency = access::frequency(d.config.lfu_decay_time, d.now, access);
        d.out.int(i64::from(frequency));
    }
    Ok(())
}

/// `OBJECT HELP`. <https://redis.io/commands/object-help/>
pub(super) fn help(d: &mut Data<'_>, _args: &[&[u8]]) -> Outcome {
    const LINES: &[&str] = &[
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        "HELP",
        "    Prints this help.",
    ];
    d.out.array(LINES.len());
    LINES.iter().for_each(|line| d.out.simple(line));
    Ok(())
}
