//! Commands on lists that do not wait. Those that do are in `list_blocking.rs`.

use alloc::vec::Vec;
use smallvec::SmallVec;

use super::collection::{Reading, delete_if_empty, edit, find, of, read};
use super::context::Data;
use super::error::CommandError;
use super::list_limits;
use super::string::integer;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::resp::Output;
use crate::store::{Key, Place};
use crate::value::list::{End, List};
use crate::value::listpack::Entry;
use crate::value::number::ItoaBuffer;

const INDEX_OUT_OF_RANGE: CommandError = CommandError::fixed("ERR index out of range");

impl End {
    /// The end that a word names, in any case.
    ///
    /// # Errors
    /// [`CommandError::SYNTAX`]: it names none.
    pub(super) fn named(word: &[u8]) -> Result<End, CommandError> {
        if word.eq_ignore_ascii_case(b"left") {
            Ok(End::Front)
        } else if word.eq_ignore_ascii_case(b"right") {
            Ok(End::Back)
        } else {
            Err(CommandError::SYNTAX)
        }
    }

    /// Its name in the journal.
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            End::Front => b"left",
            End::Back => b"right",
        }
    }

    /// The command that takes elements from this end.
    pub(super) fn pop_command(self) -> &'static [u8] {
        match self {
            End::Front => b"LPOP",
            End::Back => b"RPOP",
        }
    }

    fn popped(self) -> &'static str {
        match self {
            End::Front => "lpop",
            End::Back => "rpop",
        }
    }

    fn pushed(self) -> &'static str {
        match self {
            End::Front => "lpush",
            End::Back => "rpush",
        }
    }
}

/// An integer argument that is at least `least`; `text` is the error if it is not, or is none.
pub(super) fn at_least(arg: &[u8], least: i64, text: &'static str) -> Result<usize, CommandError> {
    integer(arg)
        .ok()
        .filter(|&n| n >= least)
        .and_then(|n| usize::try_from(n).ok())
        .ok_or(CommandError::fixed(text))
}

#[inline]
fn reply(out: &mut Output, entry: Entry<'_>) {
    match entry {
        Entry::Int(n) => out.bulk_int(n),
        Entry::Str(bytes) => out.bulk(bytes),
    }
}

/// Replies up to `count` elements from one end on.
fn reply_from(d: &mut Data<'_>, place: Place, end: End, count: usize) {
    let Data { store, out, db, .. } = d;
    if let Ok(list) = of::<List>(store.entry(*db, place).value()) {
        list.visit(0, count, end, |entry| {
            reply(out, entry);
            true
        });
    }
}

/// Number of elements of the list at a place.
pub(super) fn len(d: &Data<'_>, place: Place) -> usize {
    of::<List>(d.value(place)).map_or(0, List::len)
}

/// Takes `count` elements away, which were replied, and says so.
fn take(d: &mut Data<'_>, key: Key<'_>, place: Place, end: End, count: usize) {
    let limits = list_limits(d.config);
    edit::<List, _>(d, key, Some(place), |list| list.pop(end, count, &limits));
    d.changed(key.bytes);
    d.effects.dirty += count as u64 - 1;
    d.notify(NotifyEvents::LIST, end.popped(), key.bytes);
    delete_if_empty::<List>(d, key, place);
}

fn push(d: &mut Data<'_>, args: &[&[u8]], end: End, only_there: bool) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<List>(d, key)?;
    if only_there && found.is_none() {
        d.out.int(0);
        return Ok(());
    }
    let limits = list_limits(d.config);
    let elements = &args[2..];
    let len = edit::<List, _>(d, key, found, |list| {
        for element in elements {
            list.push(end, element, &limits);
        }
        list.len()
    });
    d.out.int(len as i64);
    d.changed(key.bytes);
    d.effects.dirty += elements.len() as u64 - 1;
    d.notify(NotifyEvents::LIST, end.pushed(), key.bytes);
    Ok(())
}

/// `LPUSH key element [element …]`. <https://redis.io/commands/lpush/>
pub(super) fn lpush(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    push(d, args, End::Front, false)
}

/// `RPUSH key element [element …]`. <https://redis.io/commands/rpush/>
pub(super) fn rpush(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    push(d, args, End::Back, false)
}

/// `LPUSHX key element [element …]`. <https://redis.io/commands/lpushx/>
pub(super) fn lpushx(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    push(d, args, End::Front, true)
}

/// `RPUSHX key element [element …]`. <https://redis.io/commands/rpushx/>
pub(super) fn rpushx(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    push(d, args, End::Back, true)
}

fn pop(d: &mut Data<'_>, args: &[&[u8]], end: End) -> Outcome {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(at_least(
            count,
            0,
            "ERR value is out of range, must be positive",
        )?),
        _ => {
            return Err(CommandError::text(alloc::format!(
                "ERR wrong number of arguments for '{}' command",
                end.popped()
            )));
        }
    };
    let key = d.first_key(args[1]);
    let Some(place) = find::<List>(d, key)? else {
        match count {
            Some(_) => d.out.null_array(),
            None => d.out.null(),
        }
        return Ok(());
    };
    let n = count.unwrap_or(1).min(len(d, place));
    if count.is_some() {
        d.out.array(n);
    }
    if n > 0 {
        reply_from(d, place, end, n);
        take(d, key, place, end, n);
    }
    Ok(())
}

/// `LPOP key [count]`. <https://redis.io/commands/lpop/>
pub(super) fn lpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pop(d, args, End::Front)
}

/// `RPOP key [count]`. <https://redis.io/commands/rpop/>
pub(super) fn rpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pop(d, args, End::Back)
}

/// How many elements are to be taken, and in which form they are replied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// One, replied beside its key.
    One,
    /// Up to so many, replied as an array beside their key.
    UpTo(usize),
}

/// Takes elements from the list at a place (which is not empty), replies them with the key, and journals
/// that as LPOP or RPOP.
pub(super) fn pop_with_key(d: &mut Data<'_>, key: Key<'_>, place: Place, end: End, amount: Amount) {
    d.out.array(2);
    d.out.bulk(key.bytes);
    let verb = end.pop_command();
    let n = match amount {
        Amount::One => {
            d.effects.instead(d.db, &[verb, key.bytes]);
            1
        }
        Amount::UpTo(count) => {
            let n = count.min(len(d, place));
            let text = ItoaBuffer::new(n as i64);
            d.effects.instead(d.db, &[verb, key.bytes, &text]);
            d.out.array(n);
            n
        }
    };
    reply_from(d, place, end, n);
    take(d, key, place, end, n);
}

/// What LMPOP and BLMPOP are told: the keys, from where, how many.
///
/// # Errors
/// In Redis's words. `args` begins with the number of keys.
pub(super) fn mpop_arguments<'a>(
    args: &'a [&'a [u8]],
) -> Result<(&'a [&'a [u8]], End, usize), CommandError> {
    let keys = at_least(args[0], 1, "ERR numkeys should be greater than 0")?;
    if keys >= args.len() - 1 {
        return Err(CommandError::SYNTAX);
    }
    let (keys, rest) = args[1..].split_at(keys);
    let end = End::named(rest[0])?;
    let count = match &rest[1..] {
        [] => 1,
        [word, count, rest @ ..] if word.eq_ignore_ascii_case(b"count") => {
            let count = at_least(count, 1, "ERR count should be greater than 0")?;
            if !rest.is_empty() {
                return Err(CommandError::SYNTAX);
            }
            count
        }
        _ => return Err(CommandError::SYNTAX),
    };
    Ok((keys, end, count))
}

/// `LMPOP numkeys key [key …] LEFT|RIGHT [COUNT count]`. <https://redis.io/commands/lmpop/>
pub(super) fn lmpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (keys, end, count) = mpop_arguments(&args[1..])?;
    for key in keys {
        let key = d.key(key);
        if let Some(place) = find::<List>(d, key)? {
            pop_with_key(d, key, place, end, Amount::UpTo(count));
            return Ok(());
        }
    }
    d.out.null_array();
    Ok(())
}

/// `LLEN key`. <https://redis.io/commands/llen/>
pub(super) fn llen(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<List>(d, args[1])?;
    out.int(value.map_or(0, List::len) as i64);
    Ok(())
}

/// The number from the start of the element that a client calls `index`, if there is one: negative ones
/// count from the end.
fn resolve(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index + len as i64 } else { index };
    usize::try_from(index).ok().filter(|&i| i < len)
}

/// The elements from `start` to `stop`, both included and counted as clients do: the first, and how many.
fn resolve_range(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index + len } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop {
        return (0, 0);
    }
    (start as usize, (stop - start + 1) as usize)
}

/// `LINDEX key index`. <https://redis.io/commands/lindex/>
pub(super) fn lindex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<List>(d, args[1])?;
    let Some(list) = value else {
        out.null();
        return Ok(());
    };
    let index = integer(args[2])?;
    match resolve(index, list.len()) {
        Some(index) => list.get(index, |entry| reply(out, entry)).unwrap_or(()),
        None => out.null(),
    }
    Ok(())
}

/// `LRANGE key start stop`. <https://redis.io/commands/lrange/>
pub(super) fn lrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Reading { value, out, .. } = read::<List>(d, args[1])?;
    let Some(list) = value else {
        out.array(0);
        return Ok(());
    };
    let (start, count) = resolve_range(start, stop, list.len());
    out.array(count);
    list.visit(start, count, End::Front, |entry| {
        reply(out, entry);
        true
    });
    Ok(())
}

/// `LINSERT key BEFORE|AFTER pivot element`. <https://redis.io/commands/linsert/>
pub(super) fn linsert(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let behind = args[2].eq_ignore_ascii_case(b"after");
    if !behind && !args[2].eq_ignore_ascii_case(b"before") {
        return Err(CommandError::SYNTAX);
    }
    let key = d.first_key(args[1]);
    let Some(place) = find::<List>(d, key)? else {
        d.out.int(0);
        return Ok(());
    };
    let Some(index) = of::<List>(d.value(place))?.find(args[3], End::Front) else {
        d.out.int(-1);
        return Ok(());
    };
    let limits = list_limits(d.config);
    let len = edit::<List, _>(d, key, Some(place), |list| {
        list.insert(index + usize::from(behind), args[4], &limits);
        list.len()
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::LIST, "linsert", key.bytes);
    d.out.int(len as i64);
    Ok(())
}

/// `LSET key index element`. <https://redis.io/commands/lset/>
pub(super) fn lset(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let place = find::<List>(d, key)?.ok_or(CommandError::NO_SUCH_KEY)?;
    let index = resolve(integer(args[2])?, len(d, place)).ok_or(INDEX_OUT_OF_RANGE)?;
    let limits = list_limits(d.config);
    edit::<List, _>(d, key, Some(place), |list| {
        list.set(index, args[3], &limits)
    });
    d.changed(key.bytes);
    d.notify(NotifyEvents::LIST, "lset", key.bytes);
    d.out.ok();
    Ok(())
}

/// `LTRIM key start stop`. <https://redis.io/commands/ltrim/>
pub(super) fn ltrim(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let key = d.first_key(args[1]);
    let Some(place) = find::<List>(d, key)? else {
        d.out.ok();
        return Ok(());
    };
    let len = len(d, place);
    let (start, count) = resolve_range(start, stop, len);
    if count == 0 {
        // The whole list goes, and is freed in steps if it is long.
        d.store.delete(d.db, key, place);
    } else if count < len {
        let limits = list_limits(d.config);
        edit::<List, _>(d, key, Some(place), |list| {
            list.remove(start + count, len, &limits);
            list.remove(0, start, &limits);
        });
    }
    // Watchers are told in any case, the journal only if something went.
    d.watches.touch(d.db, key.bytes);
    d.effects.dirty += (len - count) as u64;
    d.notify(NotifyEvents::LIST, "ltrim", key.bytes);
    if count == 0 {
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
    }
    d.out.ok();
    Ok(())
}

/// `LREM key count element`. <https://redis.io/commands/lrem/>
pub(super) fn lrem(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let count = integer(args[2])?;
    let key = d.first_key(args[1]);
    let Some(place) = find::<List>(d, key)? else {
        d.out.int(0);
        return Ok(());
    };
    let end = if count < 0 { End::Back } else { End::Front };
    let most = match count {
        0 => usize::MAX,
        n => usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX),
    };
    let limits = list_limits(d.config);
    let removed = edit::<List, _>(d, key, Some(place), |list| {
        list.remove_equal(args[3], end, most, &limits)
    });
    if removed > 0 {
        d.changed(key.bytes);
        d.effects.dirty += removed as u64 - 1;
        d.notify(NotifyEvents::LIST, "lrem", key.bytes);
        delete_if_empty::<List>(d, key, place);
    }
    d.out.int(removed as i64);
    Ok(())
}

/// What LPOS looks for.
struct Search {
    /// The first match that counts.
    rank: i64,
    from: End,
    /// Matches wanted, 0 for all; if not given, one, which is not replied as an array.
    count: Option<usize>,
    /// Elements looked at, at most; 0 for all.
    most: usize,
}

impl Search {
    fn parse(mut args: &[&[u8]]) -> Result<Search, CommandError> {
        let mut search = Search {
            rank: 1,
            from: End::Front,
            count: None,
            most: 0,
        };
        while let [word, rest @ ..] = args {
            let [value, rest @ ..] = rest else {
                return Err(CommandError::SYNTAX);
            };
            args = rest;
            if word.eq_ignore_ascii_case(b"rank") {
                search.rank = integer(value)?;
                if search.rank == 0 {
                    return Err(CommandError::fixed(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                         or use negative to start from the end of the list",
                    ));
                }
            } else if word.eq_ignore_ascii_case(b"count") {
                search.count = Some(at_least(value, 0, "ERR COUNT can't be negative")?);
            } else if word.eq_ignore_ascii_case(b"maxlen") {
                search.most = at_least(value, 0, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if search.rank < 0 {
            // The lowest of all numbers is its own negative: as a rank it is below every match's.
            search.rank = search.rank.wrapping_neg();
            search.from = End::Back;
        }
        Ok(search)
    }

    /// The numbers of the elements that are looked for.
    fn run(&self, list: &List, element: &[u8]) -> Vec<usize> {
        let needle = crate::value::list::chunk::Needle::new(element);
        let wanted = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(n) => n,
        };
        let most = if self.most == 0 {
            usize::MAX
        } else {
            self.most
        };
        let (mut found, mut index, mut matches) = (Vec::new(), 0, 0);
        list.visit(0, most, self.from, |entry| {
            if needle.is(entry) {
                matches += 1;
                if matches >= self.rank {
                    found.push(match self.from {
                        End::Front => index,
                        End::Back => list.len() - 1 - index,
                    });
                }
            }
            index += 1;
            found.len() < wanted
        });
        found
    }
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`. <https://redis.io/commands/lpos/>
pub(super) fn lpos(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let search = Search::parse(&args[3..])?;
    let Reading { value, out, .. } = read::<List>(d, args[1])?;
    let found = value.map_or_else(Vec::new, |list| search.run(list, args[2]));
    if search.count.is_some() {
        out.array(found.len());
        found.iter().for_each(|&index| out.int(index as i64));
    } else {
        match found.first() {
            Some(&index) => out.int(index as i64),
            None => out.null(),
        }
    }
    Ok(())
}

/// What LMOVE does, of a source that is there.
pub(super) fn move_element(
    d: &mut Data<'_>,
    source: Key<'_>,
    destination: Key<'_>,
    from: End,
    to: End,
) -> Outcome {
    let found = find::<List>(d, destination)?;
    // A place is good only as long as nothing was deleted; the look-up may have.
    let Some(place) = d.store.find(d.db, source) else {
        d.out.null();
        return Ok(());
    };
    let mut text: SmallVec<[u8; 64]> = SmallVec::new();
    of::<List>(d.value(place))?.visit(0, 1, from, |entry| {
        text.extend_from_slice(&entry.text());
        false
    });
    let limits = list_limits(d.config);
    if source.bytes == destination.bytes {
        edit::<List, _>(d, source, Some(place), |list| {
            list.pop(from, 1, &limits);
            list.push(to, &text, &limits);
        });
    } else {
        edit::<List, _>(d, destination, found, |list| list.push(to, &text, &limits));
        // Nor is it good after something was inserted.
        if let Some(place) = d.store.find(d.db, source) {
            edit::<List, _>(d, source, Some(place), |list| list.pop(from, 1, &limits));
        }
    }
    d.changed(destination.bytes);
    d.notify(NotifyEvents::LIST, to.pushed(), destination.bytes);
    d.watches.touch(d.db, source.bytes);
    d.notify(NotifyEvents::LIST, from.popped(), source.bytes);
    if let Some(place) = d.store.find(d.db, source) {
        delete_if_empty::<List>(d, source, place);
    }
    d.out.bulk(&text);
    Ok(())
}

fn move_between(d: &mut Data<'_>, args: &[&[u8]], from: End, to: End) -> Outcome {
    let (source, destination) = (d.first_key(args[1]), d.key(args[2]));
    if find::<List>(d, source)?.is_none() {
        d.out.null();
        return Ok(());
    }
    move_element(d, source, destination, from, to)
}

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`. <https://redis.io/commands/lmove/>
pub(super) fn lmove(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (from, to) = (End::named(args[3])?, End::named(args[4])?);
    move_between(d, args, from, to)
}

/// `RPOPLPUSH source destination`. <https://redis.io/commands/rpoplpush/>
pub(super) fn rpoplpush(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    move_between(d, args, End::Back, End::Front)
}
