//! XINFO: what there is to know of a stream, its groups and its consumers.

use super::super::collection::{Reading, read};
use super::super::context::Data;
use super::super::error::CommandError;
use super::super::help;
use super::super::string::integer;
use super::super::table::Outcome;
use super::{no_group_for_key, now_ms, reply_id, reply_item, reply_items};
use crate::resp::Output;
use crate::value::stream::{Entries, Group, Name, Stream, StreamId, UNKNOWN};

/// Looks up the stream of a subcommand.
fn existing<'d>(
    d: &'d mut Data<'_>,
    key: &[u8],
) -> Result<(&'d Stream, &'d mut Output), CommandError> {
    let Reading { value, out, .. } = read::<Stream>(d, key)?;
    Ok((value.ok_or(CommandError::NO_SUCH_KEY)?, out))
}

fn field(out: &mut Output, name: &str, n: i64) {
    out.bulk(name.as_bytes());
    out.int(n);
}

fn id_field(out: &mut Output, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    reply_id(out, id);
}

fn name_field(out: &mut Output, name: &[u8]) {
    out.bulk(b"name");
    out.bulk(name);
}

/// How far a group has come.
fn progress(out: &mut Output, entries: &Entries, group: &Group) {
    id_field(out, "last-delivered-id", group.last_id);
    out.bulk(b"entries-read");
    match group.entries_read {
        UNKNOWN => out.null(),
        read => out.int(read),
    }
    out.bulk(b"lag");
    match entries.lag(group) {
        Some(lag) => out.int(lag),
        None => out.null(),
    }
}

/// `XINFO STREAM key [FULL [COUNT count]]`. <https://redis.io/commands/xinfo-stream/>
pub(in crate::command) fn stream(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (stream, out) = existing(d, args[2])?;
    let bad = || CommandError::subcommand("XINFO", args[1]);
    let full = match &args[3..] {
        [] => None,
        [word] if word.eq_ignore_ascii_case(b"full") => Some(10),
        [word, count, most]
            if word.eq_ignore_ascii_case(b"full") && count.eq_ignore_ascii_case(b"count") =>
        {
            Some(u64::try_from(integer(most)?).unwrap_or(10))
        }
        _ => return Err(bad()),
    };
    let entries = &stream.entries;
    out.map(if full.is_some() { 9 } else { 10 });
    field(out, "length", entries.len() as i64);
    field(out, "radix-tree-keys", entries.block_count() as i64);
    field(out, "radix-tree-nodes", entries.radix_nodes() as i64);
    id_field(out, "last-generated-id", entries.last_id);
    id_field(out, "max-deleted-entry-id", entries.max_deleted_id);
    field(out, "entries-added", entries.entries_added as i64);
    id_field(out, "recorded-first-entry-id", entries.first_id);
    match full {
        Some(most) => reply_full(out, stream, most),
        None => {
            field(out, "groups", stream.groups.len() as i64);
            let last = entries.range_back(StreamId::MIN, StreamId::MAX).next();
            for (name, item) in [("first-entry", entries.iter().next()), ("last-entry", last)] {
                out.bulk(name.as_bytes());
                match item {
                    Some(item) => reply_item(out, &item),
                    None => out.null(),
                }
            }
        }
    }
    Ok(())
}

/// Entries, groups, and of each what is pending and with whom: up to `most` elements of every list
/// (0: all).
fn reply_full(out: &mut Output, stream: &Stream, most: u64) {
    out.bulk(b"entries");
    reply_items(out, stream.entries.iter(), most);
    let most = match usize::try_from(most) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    out.bulk(b"groups");
    out.array(stream.groups.len());
    for (name, group) in stream.groups.iter() {
        out.map(7);
        name_field(out, name);
        progress(out, &stream.entries, group);
        field(out, "pel-count", group.pending().len() as i64);
        out.bulk(b"pending");
        out.array(group.pending().len().min(most));
        for (id, pending) in group.pending().iter().take(most) {
            out.array(4);
            reply_id(out, *id);
            out.bulk(&pending.owner);
            out.int(pending.delivered_ms);
            out.int(pending.deliveries as i64);
        }
        out.bulk(b"consumers");
        out.array(group.consumers().len());
        for (name, _) in group.consumers().iter() {
            reply_consumer(out, group, name, most);
        }
    }
}

fn reply_consumer(out: &mut Output, group: &Group, name: &Name, most: usize) {
    let Some(consumer) = group.consumers().get(name) else {
        return;
    };
    out.map(4);
    name_field(out, name);
    field(out, "seen-time", consumer.seen_ms);
    field(out, "pel-count", consumer.pending().len() as i64);
    out.bulk(b"pending");
    out.array(consumer.pending().len().min(most));
    for (id, ()) in consumer.pending().iter().take(most) {
        let pending = group.pending().get(id);
        out.array(3);
        reply_id(out, *id);
        out.int(pending.map_or(0, |p| p.delivered_ms));
        out.int(pending.map_or(0, |p| p.deliveries as i64));
    }
}

/// `XINFO GROUPS key`. <https://redis.io/commands/xinfo-groups/>
pub(in crate::command) fn groups(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (stream, out) = existing(d, args[2])?;
    out.array(stream.groups.len());
    for (name, group) in stream.groups.iter() {
        out.map(6);
        name_field(out, name);
        field(out, "consumers", group.consumers().len() as i64);
        field(out, "pending", group.pending().len() as i64);
        progress(out, &stream.entries, group);
    }
    Ok(())
}

/// `XINFO CONSUMERS key group`. <https://redis.io/commands/xinfo-consumers/>
pub(in crate::command) fn consumers(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let now_ms = now_ms(d);
    let (stream, out) = existing(d, args[2])?;
    let group = stream.groups.get(args[3]);
    let group = group.ok_or_else(|| no_group_for_key(args[2], args[3]))?;
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers().iter() {
        out.map(3);
        name_field(out, name);
        field(out, "pending", consumer.pending().len() as i64);
        field(out, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
    }
    Ok(())
}

/// `XINFO HELP`. <https://redis.io/commands/xinfo-help/>
pub(in crate::command) fn help(d: &mut Data<'_>, _args: &[&[u8]]) -> Outcome {
    help::help(d.out, "XINFO", help::XINFO);
    Ok(())
}
