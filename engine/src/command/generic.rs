//! Commands on keys of any type, and on whole databases.

use smallvec::SmallVec;

use super::context::{Data, Overdue, Server, Wish};
use super::error::CommandError;
use super::object::type_name;
use super::string::integer;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::store::{Deadline, Key, Parts, Place};

const SAME_OBJECT: CommandError =
    CommandError::fixed("ERR source and destination objects are the same");

/// Keys that RANDOMKEY draws on a replica in the hope of one that is not overdue.
const RANDOM_DRAWS: usize = 100;

/// Calls `visit` with each key of the command, entries asked for some ahead, and replies how often it
/// said yes.
fn count(
    d: &mut Data<'_>,
    args: &[&[u8]],
    mut visit: impl FnMut(&mut Data<'_>, Key<'_>) -> bool,
) -> Outcome {
    let mut n = 0;
    if let [_, key] = args {
        let key = d.first_key(key);
        n += i64::from(visit(d, key));
    } else {
        for run in args[1..].chunks(16) {
            let keys: SmallVec<[Key<'_>; 16]> = run.iter().map(|k| d.key(k)).collect();
            d.prefetch(&keys);
            for key in keys {
                n += i64::from(visit(d, key));
            }
        }
    }
    d.out.int(n);
    Ok(())
}

/// `DEL key [key …]`. <https://redis.io/commands/del/>
pub(super) fn del(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    count(d, args, |d, key| {
        let found = match d.seek(key) {
            // What a replica hides, it still deletes when a client says so.
            None if d.overdue == Overdue::Hide => d.store.find(d.db, key),
            found => found,
        };
        if let Some(place) = found {
            d.store.delete(d.db, key, place);
            d.changed(key.bytes);
            d.notify(NotifyEvents::GENERIC, "del", key.bytes);
        }
        found.is_some()
    })
}

/// `UNLINK key [key …]`: as DEL, which frees large values in steps as well.
/// <https://redis.io/commands/unlink/>
pub(super) fn unlink(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    del(d, args)
}

/// `EXISTS key [key …]`. <https://redis.io/commands/exists/>
pub(super) fn exists(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    count(d, args, |d, key| d.peek(key).is_some())
}

/// `TOUCH key [key …]`. <https://redis.io/commands/touch/>
pub(super) fn touch(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    // What it is for, it does also for a client of CLIENT NO-TOUCH.
    d.touches = true;
    count(d, args, |d, key| d.look(key).is_some())
}

/// `TYPE key`. <https://redis.io/commands/type/>
pub(super) fn kind(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let name = match d.peek(key) {
        Some(place) => type_name(d.value(place)),
        None => "none",
    };
    d.out.simple(name);
    Ok(())
}

/// `RANDOMKEY`. <https://redis.io/commands/randomkey/>
pub(super) fn randomkey(d: &mut Data<'_>, _args: &[&[u8]]) -> Outcome {
    d.effects.apart();
    let mut draws = 0;
    loop {
        let Data { store, random, .. } = d;
        let table = store.database(d.db).table();
        let Some(place) = table.sample(|| random.word()) else {
            d.out.null();
            return Ok(());
        };
        let entry = d.store.entry(d.db, place);
        draws += 1;
        // A replica cannot delete what is overdue: if there is little else, it replies such a key.
        if !d.is_due(entry.deadline()) || (d.overdue == Overdue::Hide && draws >= RANDOM_DRAWS) {
            d.out.bulk(entry.key());
            return Ok(());
        }
        let key = entry.key().to_vec();
        let key = d.key(&key);
        d.seek(key);
    }
}

/// Puts what was taken from one key at another, which may be there.
fn put(d: &mut Data<'_>, db: usize, key: Key<'_>, parts: &Parts) {
    let deadline = match parts.deadline {
        Some(at) => Deadline::At(at),
        None => Deadline::Clear,
    };
    d.notify_new(db, key);
    let access = d.access();
    let place = d
        .store
        .set(db, key, parts.value.as_value(), deadline, access);
    if parts.raw {
        d.store.set_raw(db, place);
    }
}

/// Moves what is at one key to another key or database, and says so by the names of two events. The caller
/// has looked both up.
fn relocate(d: &mut Data<'_>, from: Key<'_>, db: usize, to: Key<'_>, events: [&'static str; 2]) {
    // A place is good only as long as nothing was deleted; the other look-up may have.
    let Some(place) = d.store.find(d.db, from) else {
        return;
    };
    let parts = d.store.remove(d.db, from, place);
    put(d, db, to, &parts);
    d.watches.touch(d.db, from.bytes);
    d.changed_in(db, to.bytes);
    d.notify(NotifyEvents::GENERIC, events[0], from.bytes);
    d.notify_in(db, NotifyEvents::GENERIC, events[1], to.bytes);
}

/// RENAME and RENAMENX: whether it was renamed.
fn rename_to(d: &mut Data<'_>, args: &[&[u8]], only_new: bool) -> Result<bool, CommandError> {
    let (from, to) = (d.first_key(args[1]), d.key(args[2]));
    d.seek(from).ok_or(CommandError::NO_SUCH_KEY)?;
    if from.bytes == to.bytes {
        return Ok(false);
    }
    if d.seek(to).is_some() && only_new {
        return Ok(false);
    }
    relocate(d, from, d.db, to, ["rename_from", "rename_to"]);
    Ok(true)
}

/// `RENAME key newkey`. <https://redis.io/commands/rename/>
pub(super) fn rename(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    rename_to(d, args, false)?;
    d.out.ok();
    Ok(())
}

/// `RENAMENX key newkey`. <https://redis.io/commands/renamenx/>
pub(super) fn renamenx(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let renamed = rename_to(d, args, true)?;
    d.out.int(i64::from(renamed));
    Ok(())
}

/// A 32-bit integer argument.
fn int32(arg: &[u8]) -> Result<i64, CommandError> {
    let n = integer(arg)?;
    if i32::try_from(n).is_err() {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    Ok(n)
}

/// The number of a database within the configured range. (Cluster mode uses only the first.)
fn database(d: &Data<'_>, n: i64) -> Result<usize, CommandError> {
    usize::try_from(n)
        .ok()
        .filter(|&db| db < d.config.databases as usize)
        .ok_or(CommandError::DB_INDEX)
}

/// `MOVE key db`. <https://redis.io/commands/move/>
pub(super) fn move_key(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if d.config.cluster_enabled {
        return Err(CommandError::fixed(
            "ERR MOVE is not allowed in cluster mode",
        ));
    }
    let db = database(d, int32(args[2])?)?;
    if db == d.db {
        return Err(SAME_OBJECT);
    }
    let key = d.first_key(args[1]);
    let moves = d.seek(key).is_some() && d.seek_in(db, key).is_none();
    if moves {
        relocate(d, key, db, key, ["move_from", "move_to"]);
    }
    d.out.int(i64::from(moves));
    Ok(())
}

/// `COPY source destination [DB db] [REPLACE]`. <https://redis.io/commands/copy/>
pub(super) fn copy(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (mut db, mut replace) = (d.db, false);
    let mut rest = &args[3..];
    while let [word, tail @ ..] = rest {
        rest = tail;
        if word.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if let (true, [n, tail @ ..]) = (word.eq_ignore_ascii_case(b"db"), rest) {
            db = database(d, int32(n)?)?;
            rest = tail;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if d.config.cluster_enabled && db != 0 {
        return Err(CommandError::fixed(
            "ERR Copying to another database is not allowed in cluster mode",
        ));
    }
    if db == d.db && args[1] == args[2] {
        return Err(SAME_OBJECT);
    }
    let (from, to) = (d.first_key(args[1]), d.key(args[2]));
    let copies = d.look(from).is_some() && (d.seek_in(db, to).is_none() || replace);
    let source: Option<Place> = d.store.find(d.db, from).filter(|_| copies);
    if let Some(place) = source {
        // Large values are shared until one of the two changes.
        let parts = d.store.entry(d.db, place).to_parts();
        put(d, db, to, &parts);
        d.changed_in(db, to.bytes);
        d.notify_in(db, NotifyEvents::GENERIC, "copy_to", to.bytes);
    }
    d.out.int(i64::from(copies));
    Ok(())
}

/// `DBSIZE`. <https://redis.io/commands/dbsize/>
pub(super) fn dbsize(d: &mut Data<'_>, _args: &[&[u8]]) -> Outcome {
    d.out.int(d.store.database(d.db).len() as i64);
    Ok(())
}

/// Lets the watchers of a database know that it is about to be emptied, or to be replaced by another.
fn touch_database(d: &mut Data<'_>, db: usize, by: Option<usize>) {
    d.watches.waits.touch_database(Some(db));
    for name in d.watches.in_database(db) {
        let key = d.key(&name);
        // Whether it is there, and whether it is overdue.
        let found = |db| {
            let place = d.store.find(db, key)?;
            let deadline = d.store.entry(db, place).deadline();
            Some(deadline.is_some_and(|at| at < d.now.unix_ms()))
        };
        // A key that was not there, or overdue, still is not if what comes in its place is overdue.
        let same = match (found(db), by.and_then(found)) {
            (None, None | Some(true)) | (Some(true), Some(true)) => true,
            (_, Some(false)) | (Some(_), None) | (Some(false), Some(true)) => false,
        };
        if !same {
            d.watches.touch_in_database(db, &name);
        }
    }
}

/// Empties databases. They are freed in steps in any case, so ASYNC and SYNC mean the same.
fn flush(d: &mut Data<'_>, args: &[&[u8]], databases: core::ops::Range<usize>) -> Outcome {
    match args {
        [_] => {}
        [_, mode] if mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async") => {}
        _ => return Err(CommandError::SYNTAX),
    }
    d.watches.tracking.touch_all();
    for db in databases {
        touch_database(d, db, None);
        d.effects.dirty += d.store.database(db).len() as u64;
        d.store.flush(db);
    }
    // Even if there was nothing here: a replica may have something.
    d.effects.instead(d.db, args);
    d.out.ok();
    Ok(())
}

/// `FLUSHDB [ASYNC|SYNC]`. <https://redis.io/commands/flushdb/>
pub(super) fn flushdb(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    flush(d, args, d.db..d.db + 1)
}

/// `FLUSHALL [ASYNC|SYNC]`. <https://redis.io/commands/flushall/>
pub(super) fn flushall(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let databases = 0..s.parts.store.databases().len();
    flush(&mut s.parts.data(s.session, s.now, None), args, databases)?;
    s.parts.wishes.push_back(Wish::Emptied);
    Ok(())
}

/// `SWAPDB index1 index2`. <https://redis.io/commands/swapdb/>
pub(super) fn swapdb(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if d.config.cluster_enabled {
        return Err(CommandError::fixed(
            "ERR SWAPDB is not allowed in cluster mode",
        ));
    }
    let first = int32(args[1]).map_err(|_| CommandError::fixed("ERR invalid first DB index"))?;
    let second = int32(args[2]).map_err(|_| CommandError::fixed("ERR invalid second DB index"))?;
    let (first, second) = (database(d, first)?, database(d, second)?);
    if first != second {
        touch_database(d, first, Some(second));
        touch_database(d, second, Some(first));
        d.store.swap(first, second);
        // (Redis says nothing, and leaves caches wrong: it tells keys of two databases not apart.)
        d.watches.tracking.touch_all();
    }
    d.effects.dirty += 1;
    d.out.ok();
    Ok(())
}
