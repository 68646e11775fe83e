//! XACK and XPENDING.

use alloc::vec::Vec;

use super::super::collection::{self, Reading, read};
use super::super::context::Data;
use super::super::error::CommandError;
use super::super::string::integer;
use super::super::table::Outcome;
use super::{
    body_of, edit, no_group, now_ms, range_end, range_start, reply_counted, reply_id, strict_id,
};
use crate::resp::Output;
use crate::value::stream::{Group, Pending, Stream, StreamId};

/// `XACK key group id [id …]`. <https://redis.io/commands/xack/>
pub(in crate::command) fn xack(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.look(key);
    let stream = match found {
        Some(place) => Some(collection::of::<Stream>(d.value(place))?),
        None => None,
    };
    let group = stream.and_then(|stream| stream.groups.get(args[2]));
    let (Some(place), Some(group)) = (found, group) else {
        d.out.int(0);
        return Ok(());
    };
    let ids: Result<Vec<_>, _> = args[3..].iter().map(|arg| strict_id(arg)).collect();
    let ids = ids?;
    // A stream that nothing is taken from is not touched, for others may share it.
    let acknowledged = if ids.iter().any(|id| group.pending().get(id).is_some()) {
        edit(d, key, place, |stream, _, _| {
            let gone = stream.with_group(args[2], |_, group| {
                let known = ids.iter().filter(|id| group.acknowledge(**id).is_some());
                known.count()
            });
            gone.unwrap_or(0)
        })
    } else {
        0
    };
    d.effects.dirty += acknowledged as u64;
    d.out.int(acknowledged as i64);
    Ok(())
}

/// What XPENDING asks for besides the summary.
struct Wanted<'a> {
    start: StreamId,
    end: StreamId,
    count: u64,
    min_idle_ms: i64,
    consumer: Option<&'a [u8]>,
}

fn parse<'a>(args: &'a [&'a [u8]]) -> Result<Option<Wanted<'a>>, CommandError> {
    match args.len() {
        3 => return Ok(None),
        6..=9 => {}
        _ => return Err(CommandError::SYNTAX),
    }
    let (mut at, mut min_idle_ms) = (3, 0);
    if args[3].eq_ignore_ascii_case(b"idle") {
        min_idle_ms = integer(args[4])?;
        if args.len() < 8 {
            return Err(CommandError::SYNTAX);
        }
        at = 5;
    }
    let count = u64::try_from(integer(args[at + 2])?).unwrap_or(0);
    Ok(Some(Wanted {
        start: range_start(args[at])?,
        end: range_end(args[at + 1])?,
        count,
        min_idle_ms,
        consumer: args.get(at + 3).copied(),
    }))
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`.
/// <https://redis.io/commands/xpending/>
pub(in crate::command) fn xpending(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let wanted = parse(args)?;
    let now_ms = now_ms(d);
    let Reading { value, out, .. } = read::<Stream>(d, args[1])?;
    let group = value.and_then(|stream| stream.groups.get(args[2]));
    let Some(group) = group else {
        return Err(no_group(args[1], args[2], ""));
    };
    match wanted {
        None => reply_summary(out, group),
        Some(wanted) => reply_pending(out, group, &wanted, now_ms),
    }
    Ok(())
}

fn reply_summary(out: &mut Output, group: &Group) {
    let pending = group.pending();
    out.array(4);
    out.int(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first(), pending.last()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    reply_id(out, *first);
    reply_id(out, *last);
    reply_counted(out, |body| {
        let mut busy = 0;
        for (name, consumer) in group.consumers().iter() {
            if !consumer.pending().is_empty() {
                body.array(2);
                body.bulk(name);
                body.bulk_int(consumer.pending().len() as i64);
                busy += 1;
            }
        }
        busy
    });
}

fn reply_pending(out: &mut Output, group: &Group, wanted: &Wanted<'_>, now_ms: i64) {
    let mut left = wanted.count;
    let mut body = body_of(out);
    let mut replied = 0;
    // Whether to go on.
    let mut reply = |id: StreamId, pending: &Pending| {
        if id > wanted.end || left == 0 {
            return false;
        }
        let idle = now_ms.wrapping_sub(pending.delivered_ms);
        if wanted.min_idle_ms == 0 || idle >= wanted.min_idle_ms {
            left -= 1;
            replied += 1;
            body.array(4);
            reply_id(&mut body, id);
            body.bulk(&pending.owner);
            body.int(idle.max(0));
            body.int(pending.deliveries as i64);
        }
        true
    };
    match wanted.consumer {
        None => {
            let all = group.pending().iter_from(&wanted.start);
            for (id, pending) in all {
                if !reply(*id, pending) {
                    break;
                }
            }
        }
        Some(name) => {
            let ids = group
                .consumers()
                .get(name)
                .map(|consumer| consumer.pending());
            for (id, ()) in ids.iter().flat_map(|ids| ids.iter_from(&wanted.start)) {
                let known = group.pending().get(id);
                if !known.is_some_and(|pending| reply(*id, pending)) {
                    break;
                }
            }
        }
    }
    out.array(replied);
    body.slices().for_each(|bytes| out.raw(bytes));
}
