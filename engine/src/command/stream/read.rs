//! XREAD and XREADGROUP.
//!
//! A command that waits is carried out again when one of its streams has changed. Then it is as if it had
//! waited for that stream alone: it replies with the first that has something, and what it waited for in a
//! group may have gone.

use alloc::vec::Vec;

use super::super::blocking::{Wait, timeout_milliseconds};
use super::super::collection;
use super::super::context::Data;
use super::super::effects::Effects;
use super::super::error::CommandError;
use super::super::string::integer;
use super::super::table::Outcome;
use super::{
    CREATED_CONSUMER, body_of, consumer_of, edit, journal_claim, journal_position, no_group,
    now_ms, reply_counted, reply_id, reply_item, reply_items, strict_id,
};
use crate::client::{Null, WaitKind};
use crate::config::NotifyEvents;
use crate::resp::Output;
use crate::store::Place;
use crate::value::stream::{Entries, Group, Name, Pending, Stream, StreamId};

/// Entries that are replied at most to one who waited and asked for no number.
const COUNT_AFTER_WAITING: u64 = 1000;

/// From where on a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// What comes after this entry; of a group, what the consumer has pending.
    After(StreamId),
    /// `>`: what the group was not given yet.
    New,
}

/// What the words before the ids say.
struct Request<'a> {
    /// When waiting is over, if it is wanted: see [`timeout_milliseconds`].
    block: Option<Option<u64>>,
    /// 0: no limit.
    count: u64,
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

fn parse<'a>(
    d: &Data<'_>,
    args: &'a [&'a [u8]],
    grouped: bool,
) -> Result<Request<'a>, CommandError> {
    let mut r = Request {
        block: None,
        count: 0,
        group: None,
        noack: false,
        keys: &[],
        ids: &[],
    };
    let mut at = 1;
    while at < args.len() {
        let word = args[at];
        let more = args.len() - 1 - at;
        if more >= 1 && word.eq_ignore_ascii_case(b"block") {
            if d.scripted {
                return Err(CommandError::showing(&[
                    b"ERR ",
                    args[0],
                    b" command is not allowed with BLOCK option from scripts",
                ]));
            }
            at += 1;
            r.block = Some(timeout_milliseconds(args[at], d.now)?);
        } else if more >= 1 && word.eq_ignore_ascii_case(b"count") {
            at += 1;
            r.count = u64::try_from(integer(args[at])?).unwrap_or(0);
        } else if more >= 1 && word.eq_ignore_ascii_case(b"streams") {
            let rest = &args[at + 1..];
            if rest.len() % 2 == 1 {
                return Err(CommandError::fixed(
                    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                ));
            }
            (r.keys, r.ids) = rest.split_at(rest.len() / 2);
            break;
        } else if more >= 2 && word.eq_ignore_ascii_case(b"group") {
            if !grouped {
                return Err(CommandError::fixed(
                    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                ));
            }
            r.group = Some((args[at + 1], args[at + 2]));
            at += 2;
        } else if word.eq_ignore_ascii_case(b"noack") {
            if !grouped {
                return Err(CommandError::fixed(
                    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                ));
            }
            r.noack = true;
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 1;
    }
    if r.keys.is_empty() {
        return Err(CommandError::SYNTAX);
    }
    if grouped && r.group.is_none() {
        return Err(CommandError::fixed(
            "ERR Missing GROUP option for XREADGROUP",
        ));
    }
    Ok(r)
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key …] id [id …]`.
/// <https://redis.io/commands/xread/>
pub(in crate::command) fn xread(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let r = parse(d, args, false)?;
    if d.again {
        return read_again(d, &r);
    }
    let mut from = Vec::with_capacity(r.ids.len());
    for (key, id) in r.keys.iter().zip(r.ids) {
        let hashed = d.key(key);
        let entries = match d.look(hashed) {
            Some(place) => Some(&collection::of::<Stream>(d.value(place))?.entries),
            None => None,
        };
        from.push(match *id {
            b"$" => entries.map_or(StreamId::MIN, |entries| entries.last_id),
            // As of Redis 7.4: the last entry.
            b"+" => match entries.and_then(Entries::last_valid_id) {
                Some(last) => last.prev().unwrap_or_default(),
                None => entries.map_or(StreamId::MIN, |entries| entries.last_id),
            },
            b">" => {
                return Err(CommandError::fixed(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            id => strict_id(id)?,
        });
    }
    let mut body = body_of(d.out);
    let mut served = 0;
    for (key, after) in r.keys.iter().zip(&from) {
        let hashed = d.key(key);
        let Some(place) = d.look(hashed) else {
            continue;
        };
        let entries = &collection::of::<Stream>(d.value(place))?.entries;
        if entries.last_valid_id().is_some_and(|last| last > *after) {
            reply_stream(&mut body, key);
            reply_new(&mut body, entries, *after, r.count);
            served += 1;
        }
    }
    if served > 0 {
        finish(d, served, &body);
        return Ok(());
    }
    // What is waited for is what comes after the entries of now.
    let mut words: Vec<Vec<u8>> = args.iter().map(|word| word.to_vec()).collect();
    let ids_at = words.len() - from.len();
    for (word, id) in words[ids_at..].iter_mut().zip(&from) {
        *word = id.text().to_vec();
    }
    wait(d, &r, WaitKind::Stream, Some(words));
    Ok(())
}

/// Nothing was found: waits, if that is wanted.
fn wait(d: &mut Data<'_>, r: &Request<'_>, kind: WaitKind, instead: Option<Vec<Vec<u8>>>) {
    match r.block {
        Some(until_us) => d.block(Wait {
            keys: r.keys,
            kind,
            until_us,
            null: Null::Array,
            instead,
        }),
        None => d.out.null_array(),
    }
}

/// The start of a stream's part in the reply.
fn reply_stream(out: &mut Output, key: &[u8]) {
    if !out.resp3 {
        out.array(2);
    }
    out.bulk(key);
}

fn reply_new(out: &mut Output, entries: &Entries, after: StreamId, count: u64) {
    // Nothing comes after the greatest id; Redis begins anew there.
    let start = after.next().unwrap_or(StreamId::MIN);
    reply_items(out, entries.range(start, StreamId::MAX), count);
}

/// The reply: `served` streams in `body`.
fn finish(d: &mut Data<'_>, served: usize, body: &Output) {
    if d.out.resp3 {
        d.out.map(served);
    } else {
        d.out.array(served);
    }
    body.slices().for_each(|bytes| d.out.raw(bytes));
}

/// XREAD that has waited.
fn read_again(d: &mut Data<'_>, r: &Request<'_>) -> Outcome {
    let count = if r.count > 0 {
        r.count
    } else {
        COUNT_AFTER_WAITING
    };
    for (key, id) in r.keys.iter().zip(r.ids) {
        let (hashed, after) = (d.key(key), strict_id(id)?);
        let Some(place) = d.seek(hashed) else {
            continue;
        };
        let mut body = body_of(d.out);
        let Ok(stream) = collection::of::<Stream>(d.value(place)) else {
            continue;
        };
        if stream.entries.last_id > after {
            reply_stream(&mut body, key);
            reply_new(&mut body, &stream.entries, after, count);
            finish(d, 1, &body);
            return Ok(());
        }
    }
    wait(d, r, WaitKind::Stream, None);
    Ok(())
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key …] id [id …]`.
/// <https://redis.io/commands/xreadgroup/>
pub(in crate::command) fn xreadgroup(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let r = parse(d, args, true)?;
    let Some((group, _)) = r.group else {
        return Err(CommandError::SYNTAX);
    };
    // What it comes to is journalled entry by entry.
    d.effects.nothing();
    if d.again {
        return read_group_again(d, &r, group);
    }
    let mut from = Vec::with_capacity(r.ids.len());
    for (key, id) in r.keys.iter().zip(r.ids) {
        let hashed = d.key(key);
        let found = d.look(hashed);
        let stream = match found {
            Some(place) => Some(collection::of::<Stream>(d.value(place))?),
            None => None,
        };
        if stream.is_none_or(|stream| stream.groups.get(group).is_none()) {
            return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
        }
        from.push(match *id {
            b"$" => {
                return Err(CommandError::fixed(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
                ));
            }
            b">" => From::New,
            // Redis tells `>` by its value.
            id => match strict_id(id)? {
                StreamId::MAX => From::New,
                id => From::After(id),
            },
        });
    }
    let mut body = body_of(d.out);
    let mut served = 0;
    for (key, from) in r.keys.iter().zip(&from) {
        let hashed = d.key(key);
        let Some(place) = d.look(hashed) else {
            continue;
        };
        let stream = collection::of::<Stream>(d.value(place))?;
        let has_more = |group: &Group| {
            let last = stream.entries.last_valid_id();
            last.is_some_and(|last| last > group.last_id)
        };
        let wanted = match from {
            From::After(_) => true,
            From::New => stream.groups.get(group).is_some_and(has_more),
        };
        if wanted {
            serve_group(d, &r, key, place, *from, r.count, &mut body);
            d.effects.dirty += 1;
            served += 1;
        }
    }
    if served > 0 {
        finish(d, served, &body);
    } else {
        wait(d, &r, WaitKind::Group, None);
    }
    Ok(())
}

/// XREADGROUP that has waited.
fn read_group_again(d: &mut Data<'_>, r: &Request<'_>, group: &[u8]) -> Outcome {
    let count = if r.count > 0 {
        r.count
    } else {
        COUNT_AFTER_WAITING
    };
    for key in r.keys {
        let hashed = d.key(key);
        let found = d.seek(hashed);
        let stream = found.and_then(|place| collection::of::<Stream>(d.value(place)).ok());
        let (Some(place), Some(stream)) = (found, stream) else {
            return Err(CommandError::fixed(
                "UNBLOCKED the stream key no longer exists",
            ));
        };
        let Some(state) = stream.groups.get(group) else {
            return Err(CommandError::fixed(
                "NOGROUP the consumer group this client was blocked on no longer exists",
            ));
        };
        if stream.entries.last_id > state.last_id {
            let mut body = body_of(d.out);
            serve_group(d, r, key, place, From::New, count, &mut body);
            finish(d, 1, &body);
            return Ok(());
        }
    }
    wait(d, r, WaitKind::Group, None);
    Ok(())
}

/// Gives a consumer what there is for it in one stream.
fn serve_group(
    d: &mut Data<'_>,
    r: &Request<'_>,
    key: &[u8],
    place: Place,
    from: From,
    count: u64,
    body: &mut Output,
) {
    let Some((group_name, consumer)) = r.group else {
        return;
    };
    let (db, now_ms) = (d.db, now_ms(d));
    let hashed = d.key(key);
    reply_stream(body, key);
    let created = edit(d, hashed, place, |stream, _, effects| {
        stream.with_group(group_name, |entries, group| {
            let (owner, created) = consumer_of(group, consumer, now_ms);
            if created && r.noack {
                let words: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, group_name, consumer];
                effects.instead(db, &words);
            }
            match from {
                From::After(id) => reply_history(body, entries, group, &owner, id, count, now_ms),
                From::New => {
                    let mut delivery = Delivery {
                        effects,
                        db,
                        names: (key, group_name),
                        owner,
                        now_ms,
                        noack: r.noack,
                    };
                    delivery.reply(body, entries, group, count);
                }
            }
            created
        })
    });
    if created == Some(true) {
        d.effects.dirty += 1;
        d.notify(NotifyEvents::STREAM, CREATED_CONSUMER, key);
    }
}

/// What goes with entries that are given out for the first time.
struct Delivery<'a> {
    effects: &'a mut Effects,
    db: usize,
    /// Key and group.
    names: (&'a [u8], &'a [u8]),
    owner: Name,
    now_ms: i64,
    /// They count as acknowledged.
    noack: bool,
}

impl Delivery<'_> {
    fn reply(&mut self, out: &mut Output, entries: &Entries, group: &mut Group, count: u64) {
        let most = if count == 0 { u64::MAX } else { count };
        let start = group.last_id.next().unwrap_or(StreamId::MIN);
        let mut moved = false;
        reply_counted(out, |body| {
            let mut replied = 0;
            for item in entries.range(start, StreamId::MAX) {
                moved |= entries.advance(group, item.id);
                reply_item(body, &item);
                if !self.noack {
                    let pending = Pending {
                        delivered_ms: self.now_ms,
                        deliveries: 1,
                        owner: self.owner.clone(),
                    };
                    let last_id = group.last_id;
                    journal_claim(
                        self.effects,
                        self.db,
                        self.names,
                        last_id,
                        item.id,
                        &pending,
                    );
                    group.assign(item.id, pending);
                }
                replied += 1;
                if replied as u64 == most {
                    break;
                }
            }
            replied
        });
        if moved && self.noack {
            let (last_id, read) = (group.last_id, group.entries_read);
            journal_position(self.effects, self.db, self.names, last_id, read);
        }
    }
}

/// Replies what a consumer has pending after an id. An entry that is deleted is there without fields.
fn reply_history(
    out: &mut Output,
    entries: &Entries,
    group: &mut Group,
    owner: &Name,
    after: StreamId,
    count: u64,
    now_ms: i64,
) {
    let most = if count == 0 {
        usize::MAX
    } else {
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    // Shares the ids with the consumer; only the group's own list changes.
    let consumer = group.consumers().get(owner);
    let pending = consumer.map(|c| c.pending().clone()).unwrap_or_default();
    let start = after.next().unwrap_or(StreamId::MIN);
    reply_counted(out, |body| {
        let mut replied = 0;
        for (id, ()) in pending.iter_from(&start).take(most) {
            match entries.get(*id) {
                Some(item) => {
                    reply_item(body, &item);
                    group.delivered_again(*id, now_ms);
                }
                None => {
                    body.array(2);
                    reply_id(body, *id);
                    body.null_array();
                }
            }
            replied += 1;
        }
        replied
    });
}
