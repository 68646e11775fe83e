//! Commands on streams.

pub(super) mod add;
pub(super) mod claim;
pub(super) mod group;
pub(super) mod info;
pub(super) mod pending;
pub(super) mod range;
pub(super) mod read;
#[cfg(test)]
mod tests;

use super::context::Data;
use super::effects::Effects;
use super::error::CommandError;
use crate::config::Config;
use crate::resp::Output;
use crate::store::{Collection, Key, Place};
use crate::value::listpack::Entry;
use crate::value::stream::{IdText, Item, Limits, Name, Pending, Stream, StreamId};

const INVALID_ID: CommandError =
    CommandError::fixed("ERR Invalid stream ID specified as stream command argument");

/// How large a stream's blocks may become, by the configuration.
fn limits(config: &Config) -> Limits {
    Limits {
        max_bytes: config.stream_node_max_bytes,
        max_entries: config.stream_node_max_entries,
    }
}

/// An id, in which the sequence may be missing (0).
fn strict_id(arg: &[u8]) -> Result<StreamId, CommandError> {
    let id = IdText::parse(arg).and_then(|text| text.strict(0));
    id.ok_or(INVALID_ID)
}

/// One end of a range: an id, or `(` and an id that is not in it.
fn bound(arg: &[u8], missing_seq: u64) -> Result<(StreamId, bool), CommandError> {
    let id = match arg {
        [b'(', id @ ..] if !id.is_empty() => {
            IdText::parse(id).and_then(|text| Some((text.strict(missing_seq)?, true)))
        }
        _ => IdText::parse(arg).and_then(|text| Some((text.id(missing_seq)?, false))),
    };
    id.ok_or(INVALID_ID)
}

/// The first id of a range.
fn range_start(arg: &[u8]) -> Result<StreamId, CommandError> {
    match bound(arg, 0)? {
        (id, false) => Ok(id),
        (id, true) => id
            .next()
            .ok_or(CommandError::fixed("ERR invalid start ID for the interval")),
    }
}

/// The last id of a range.
fn range_end(arg: &[u8]) -> Result<StreamId, CommandError> {
    match bound(arg, u64::MAX)? {
        (id, false) => Ok(id),
        (id, true) => id
            .prev()
            .ok_or(CommandError::fixed("ERR invalid end ID for the interval")),
    }
}

fn no_group(key: &[u8], group: &[u8], context: &str) -> CommandError {
    CommandError::showing(&[
        b"NOGROUP No such key '",
        key,
        b"' or consumer group '",
        group,
        b"'",
        context.as_bytes(),
    ])
}

fn no_group_for_key(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::showing(&[
        b"NOGROUP No such consumer group '",
        group,
        b"' for key name '",
        key,
        b"'",
    ])
}

#[inline]
fn reply_text(out: &mut Output, text: Entry<'_>) {
    match text {
        Entry::Int(n) => out.bulk_int(n),
        Entry::Str(bytes) => out.bulk(bytes),
    }
}

#[inline]
fn reply_id(out: &mut Output, id: StreamId) {
    out.bulk(&id.text());
}

/// Replies an entry: its id, and its fields with their values.
fn reply_item(out: &mut Output, item: &Item<'_>) {
    out.array(2);
    reply_id(out, item.id);
    out.array(item.len * 2);
    for (field, value) in item.pairs() {
        reply_text(out, field);
        reply_text(out, value);
    }
}

/// A reply that will be put behind a header that is not known yet.
fn body_of(out: &Output) -> Output {
    let mut body = Output::default();
    body.resp3 = out.resp3;
    body
}

/// Replies what `write` does as an array of as many elements as it says.
fn reply_counted(out: &mut Output, write: impl FnOnce(&mut Output) -> usize) -> usize {
    let mut body = body_of(out);
    let count = write(&mut body);
    out.array(count);
    body.slices().for_each(|bytes| out.raw(bytes));
    count
}

/// Replies up to `most` entries (0: all).
fn reply_items<'a>(out: &mut Output, items: impl Iterator<Item = Item<'a>>, most: u64) -> usize {
    let most = if most == 0 {
        usize::MAX
    } else {
        usize::try_from(most).unwrap_or(usize::MAX)
    };
    reply_counted(out, |body| {
        let mut count = 0;
        for item in items.take(most) {
            reply_item(body, &item);
            count += 1;
        }
        count
    })
}

/// Lets `change` work on the stream at a place, with the reply and the journal at hand. `place` is of a
/// stream: its type was checked.
fn edit<R: Default>(
    d: &mut Data<'_>,
    key: Key<'_>,
    place: Place,
    change: impl FnOnce(&mut Stream, &mut Output, &mut Effects) -> R,
) -> R {
    let Data {
        store,
        out,
        effects,
        db,
        ..
    } = d;
    let result = store.modify(*db, key, place, |object| {
        let stream = Stream::of_mut(object)?;
        Some(change(stream, out, effects))
    });
    result.flatten().unwrap_or_default()
}

/// Leaves in the journal who has an entry of a group now, in a form that does not depend on the time.
fn journal_claim(
    effects: &mut Effects,
    db: usize,
    (key, group): (&[u8], &[u8]),
    last_id: StreamId,
    id: StreamId,
    pending: &Pending,
) {
    use crate::value::number::ItoaBuffer;
    if !effects.wanted {
        return effects.nothing();
    }
    let words: [&[u8]; 14] = [
        b"XCLAIM",
        key,
        group,
        &pending.owner,
        b"0",
        &id.text(),
        b"TIME",
        &ItoaBuffer::new(pending.delivered_ms),
        b"RETRYCOUNT",
        &ItoaBuffer::new(pending.deliveries as i64),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last_id.text(),
    ];
    effects.instead(db, &words);
}

/// Leaves in the journal where a group stands now.
fn journal_position(
    effects: &mut Effects,
    db: usize,
    (key, group): (&[u8], &[u8]),
    last_id: StreamId,
    entries_read: i64,
) {
    let read = crate::value::number::ItoaBuffer::new(entries_read);
    let last_id = last_id.text();
    let words: [&[u8]; 7] = [
        b"XGROUP",
        b"SETID",
        key,
        group,
        &last_id,
        b"ENTRIESREAD",
        &read,
    ];
    effects.instead(db, &words);
}

/// The time for consumers and what is pending: Unix milliseconds.
fn now_ms(d: &Data<'_>) -> i64 {
    d.now.unix_ms() as i64
}

/// What happens to consumers that is to be told: see [`Data::notify`].
const CREATED_CONSUMER: &str = "xgroup-createconsumer";

/// A consumer of this name, who is made if there is none; and whether he was.
fn consumer_of(group: &mut crate::value::stream::Group, name: &[u8], now_ms: i64) -> (Name, bool) {
    if let Some(known) = group.see_consumer(name, now_ms) {
        return (known, false);
    }
    match group.add_consumer(name, now_ms) {
        Some(new) => (new, true),
        None => (Name::from(name), false),
    }
}
