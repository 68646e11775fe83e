//! XADD, and what takes entries away: XTRIM, XDEL; and XSETID, which sets the counters of both.

use alloc::vec::Vec;

use super::super::collection::{self, find};
use super::super::context::{Data, Overdue};
use super::super::error::CommandError;
use super::super::string::integer;
use super::super::table::Outcome;
use super::{edit, limits, reply_id, strict_id};
use crate::config::NotifyEvents;
use crate::value::listpack::SAFE_BYTES;
use crate::value::number::ItoaBuffer;
use crate::value::stream::{IdText, Keep, Stream, StreamId, Trim};

/// The id that XADD was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewId {
    /// `*`: by the clock.
    Any,
    /// `ms-*`.
    AnySequence(u64),
    /// All of it.
    Given(StreamId),
}

/// The options of XADD and XTRIM.
struct Options {
    /// Index of XADD's id, or of what follows the arguments.
    id_at: usize,
    id: NewId,
    no_make: bool,
    trim: Option<Trim>,
    /// Index of the threshold.
    trim_at: usize,
}

fn parse(d: &Data<'_>, args: &[&[u8]], adds: bool) -> Result<Options, CommandError> {
    let mut o = Options {
        id_at: args.len(),
        id: NewId::Any,
        no_make: false,
        trim: None,
        trim_at: 0,
    };
    let (mut approximate, mut limit) = (false, None);
    let mut at = 2;
    while at < args.len() {
        let word = args[at];
        let more = args.len() - 1 - at;
        let by_id = word.eq_ignore_ascii_case(b"minid");
        if adds && word == b"*" {
            o.id_at = at;
            break;
        } else if more > 0 && (by_id || word.eq_ignore_ascii_case(b"maxlen")) {
            if o.trim.is_some() {
                return Err(CommandError::fixed(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            approximate = false;
            if more >= 2 && matches!(args[at + 1], b"~" | b"=") {
                approximate = args[at + 1] == b"~";
                at += 1;
            }
            at += 1;
            let keep =
                if by_id {
                    Keep::From(strict_id(args[at])?)
                } else {
                    Keep::Newest(u64::try_from(integer(args[at])?).map_err(|_| {
                        CommandError::fixed("ERR The MAXLEN argument must be >= 0.")
                    })?)
                };
            o.trim = Some(Trim {
                keep,
                approximate,
                limit: 0,
            });
            o.trim_at = at;
        } else if more > 0 && word.eq_ignore_ascii_case(b"limit") {
            at += 1;
            let most = u64::try_from(integer(args[at])?)
                .map_err(|_| CommandError::fixed("ERR The LIMIT argument must be >= 0."))?;
            limit = Some(most);
        } else if adds && word.eq_ignore_ascii_case(b"nomkstream") {
            o.no_make = true;
        } else if adds {
            o.id = match IdText::parse(word) {
                Some(IdText::AnySequence(ms)) => NewId::AnySequence(ms),
                _ => NewId::Given(strict_id(word)?),
            };
            o.id_at = at;
            break;
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 1;
    }
    if limit.is_some_and(|limit| limit > 0) && o.trim.is_none() {
        return Err(CommandError::fixed(
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ));
    }
    if !adds && o.trim.is_none() {
        return Err(CommandError::fixed(
            "ERR syntax error, XTRIM must be called with a trimming strategy",
        ));
    }
    // What comes from our primary, or from a file, was trimmed there: it is done again to the letter.
    if d.overdue != Overdue::Keep {
        let most = match (limit, approximate) {
            (Some(_), false) => {
                return Err(CommandError::fixed(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            (Some(limit), true) => limit,
            (None, true) => match d.config.stream_node_max_entries.saturating_mul(100) {
                0 => 10_000,
                most => most.min(1_000_000),
            },
            (None, false) => 0,
        };
        if let Some(trim) = &mut o.trim {
            trim.limit = most;
        }
    }
    Ok(o)
}

/// The command in the journal: with the id that was given out, and with the threshold that approximate
/// trimming came to.
fn journal(
    d: &mut Data<'_>,
    args: &[&[u8]],
    o: &Options,
    id: Option<StreamId>,
    kept: Option<Keep>,
) {
    if !d.effects.wanted {
        return;
    }
    let mut words: Vec<&[u8]> = args.to_vec();
    let id = id.map(StreamId::text);
    if let Some(id) = &id {
        words[o.id_at] = id;
    }
    let length;
    let first;
    match kept {
        Some(Keep::Newest(most)) => {
            length = ItoaBuffer::new(most as i64);
            words[o.trim_at] = &length;
        }
        Some(Keep::From(id)) => {
            first = id.text();
            words[o.trim_at] = &first;
        }
        None => {}
    }
    if kept.is_some() {
        words[o.trim_at - 1] = b"=";
    }
    d.effects.instead(d.db, &words);
}

/// What is left after approximate trimming, as a threshold that trims to the same.
fn left(stream: &Stream, trim: &Trim) -> Option<Keep> {
    trim.approximate.then(|| match trim.keep {
        Keep::Newest(_) => Keep::Newest(stream.entries.len()),
        Keep::From(_) => Keep::From(stream.entries.first_id_ever()),
    })
}

/// The id of the entry that is to be added.
fn new_id(stream: Option<&Stream>, wanted: NewId, now_ms: u64) -> Result<StreamId, CommandError> {
    let last = stream.map_or(StreamId::MIN, |s| s.entries.last_id);
    if last == StreamId::MAX {
        return Err(CommandError::fixed(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match wanted {
        NewId::Any if now_ms > last.ms => Some(StreamId::new(now_ms, 0)),
        NewId::Any => last.next(),
        NewId::AnySequence(ms) if ms == last.ms => {
            let seq = last.seq.checked_add(1).ok_or(TOO_LARGE)?;
            Some(StreamId::new(ms, seq))
        }
        NewId::AnySequence(ms) => Some(StreamId::new(ms, 0)),
        NewId::Given(id) => Some(id),
    };
    id.filter(|id| *id > last).ok_or(CommandError::fixed(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))
}

/// Redis says so of a sequence that has no next one, too.
const TOO_LARGE: CommandError = CommandError::fixed("ERR Elements are too large to be stored");

/// `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value …]`.
/// <https://redis.io/commands/xadd/>
pub(in crate::command) fn xadd(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let o = parse(d, args, true)?;
    let pairs = args.get(o.id_at + 1..).unwrap_or_default();
    if pairs.is_empty() || pairs.len() % 2 == 1 {
        return Err(CommandError::fixed(
            "ERR wrong number of arguments for 'xadd' command",
        ));
    }
    if o.id == NewId::Given(StreamId::MIN) {
        return Err(CommandError::fixed(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    let key = d.first_key(args[1]);
    let found = find::<Stream>(d, key)?;
    if found.is_none() && o.no_make {
        d.out.null();
        return Ok(());
    }
    let stream = match found {
        Some(place) => Some(collection::of::<Stream>(d.value(place))?),
        None => None,
    };
    let id = new_id(stream, o.id, d.now.unix_ms())?;
    let bytes: usize = pairs.iter().map(|text| text.len()).sum();
    if bytes > SAFE_BYTES {
        return Err(TOO_LARGE);
    }
    let limits = limits(d.config);
    let (trimmed, kept) = collection::edit::<Stream, _>(d, key, found, |stream| {
        stream.entries.append(id, pairs, &limits);
        match &o.trim {
            Some(trim) => (stream.entries.trim(trim), left(stream, trim)),
            None => (0, None),
        }
    });
    reply_id(d.out, id);
    d.changed(key.bytes);
    d.notify(NotifyEvents::STREAM, "xadd", key.bytes);
    if trimmed > 0 {
        d.notify(NotifyEvents::STREAM, "xtrim", key.bytes);
    }
    let chosen = !matches!(o.id, NewId::Given(_));
    if chosen || kept.is_some() {
        journal(d, args, &o, chosen.then_some(id), kept);
    }
    Ok(())
}

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]`. <https://redis.io/commands/xtrim/>
pub(in crate::command) fn xtrim(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let o = parse(d, args, false)?;
    let key = d.first_key(args[1]);
    let (Some(place), Some(trim)) = (find::<Stream>(d, key)?, o.trim) else {
        d.out.int(0);
        return Ok(());
    };
    let (deleted, kept) = edit(d, key, place, |stream, _, _| {
        (stream.entries.trim(&trim), left(stream, &trim))
    });
    if deleted > 0 {
        d.notify(NotifyEvents::STREAM, "xtrim", key.bytes);
        shortened(d, key.bytes, deleted);
        if kept.is_some() {
            journal(d, args, &o, None, kept);
        }
    }
    d.out.int(deleted as i64);
    Ok(())
}

/// `XDEL key id [id …]`. <https://redis.io/commands/xdel/>
pub(in crate::command) fn xdel(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let Some(place) = find::<Stream>(d, key)? else {
        d.out.int(0);
        return Ok(());
    };
    let ids: Result<Vec<_>, _> = args[2..].iter().map(|arg| strict_id(arg)).collect();
    let ids = ids?;
    let stream = collection::of::<Stream>(d.value(place))?;
    // A stream that nothing is taken from is not touched, for others may share it.
    let deleted = if ids.iter().any(|id| stream.entries.get(*id).is_some()) {
        edit(d, key, place, |stream, _, _| stream.entries.delete(&ids))
    } else {
        0
    };
    if deleted > 0 {
        d.notify(NotifyEvents::STREAM, "xdel", key.bytes);
        shortened(d, key.bytes, deleted);
    }
    d.out.int(deleted as i64);
    Ok(())
}

/// Entries went: whoever watches the key learns of it, but nobody who waits for more.
fn shortened(d: &mut Data<'_>, key: &[u8], entries: u64) {
    d.effects.dirty += entries;
    d.watches.touch_watchers(d.db, key);
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`.
/// <https://redis.io/commands/xsetid/>
pub(in crate::command) fn xsetid(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let id = strict_id(args[2])?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut words = args[3..].iter();
    while let Some(word) = words.next() {
        match words.next() {
            Some(value) if word.eq_ignore_ascii_case(b"entriesadded") => {
                let value = u64::try_from(integer(value)?)
                    .map_err(|_| CommandError::fixed("ERR entries_added must be positive"))?;
                added = Some(value);
            }
            Some(value) if word.eq_ignore_ascii_case(b"maxdeletedid") => {
                max_deleted = strict_id(value)?;
                if id < max_deleted {
                    return Err(CommandError::fixed(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let key = d.first_key(args[1]);
    let place = find::<Stream>(d, key)?.ok_or(CommandError::NO_SUCH_KEY)?;
    let entries = &collection::of::<Stream>(d.value(place))?.entries;
    if !entries.is_empty() {
        if entries.last_valid_id().is_some_and(|last| id < last) {
            return Err(CommandError::fixed(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if added.is_some_and(|added| entries.len() > added) {
            return Err(CommandError::fixed(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    edit(d, key, place, |stream, _, _| {
        let entries = &mut stream.entries;
        entries.last_id = id;
        entries.entries_added = added.unwrap_or(entries.entries_added);
        if !max_deleted.is_zero() {
            entries.max_deleted_id = max_deleted;
        }
    });
    d.effects.dirty += 1;
    d.notify(NotifyEvents::STREAM, "xsetid", key.bytes);
    d.out.ok();
    Ok(())
}
