//! XCLAIM and XAUTOCLAIM: entries that somebody has not acknowledged go to another consumer.

use alloc::vec::Vec;

use super::super::collection;
use super::super::context::Data;
use super::super::effects::Effects;
use super::super::error::CommandError;
use super::super::table::Outcome;
use super::{
    CREATED_CONSUMER, body_of, consumer_of, edit, journal_claim, journal_position, no_group,
    now_ms, range_start, reply_counted, reply_id, reply_item, strict_id,
};
use crate::config::NotifyEvents;
use crate::resp::Output;
use crate::store::{Key, Place};
use crate::value::number::parse_i64;
use crate::value::stream::{Entries, Group, IdText, Name, Pending, Stream, StreamId};

/// What became of an entry that was to be claimed.
enum Claimed {
    /// The consumer has it.
    Yes,
    /// It is not pending, or not for long enough.
    No,
    /// It is deleted, and so pending no more.
    Gone,
}

/// One consumer's claim on the entries of a group.
struct Claim<'a> {
    effects: &'a mut Effects,
    db: usize,
    /// Key and group.
    names: (&'a [u8], &'a [u8]),
    consumer: &'a [u8],
    now_ms: i64,
    min_idle_ms: i64,
    just_id: bool,
    /// What the entries' time of delivery becomes.
    delivered_ms: i64,
    /// What their number of deliveries becomes.
    deliveries: Option<u64>,
    /// Entries that are not pending are claimed, too.
    force: bool,
    /// The consumer, once it has something.
    owner: Option<Name>,
    /// It was made.
    created: bool,
    /// Changes so far.
    changes: u64,
}

impl Claim<'_> {
    fn journal(&mut self, group: &Group, id: StreamId, pending: &Pending) {
        self.changes += 1;
        let last_id = group.last_id;
        journal_claim(self.effects, self.db, self.names, last_id, id, pending);
    }

    /// Tries to claim an entry, and replies it if that is done.
    fn entry(
        &mut self,
        out: &mut Output,
        entries: &Entries,
        group: &mut Group,
        id: StreamId,
    ) -> Claimed {
        let known = group.pending().get(&id).cloned();
        let Some(item) = entries.get(id) else {
            return match known {
                Some(pending) => {
                    self.journal(group, id, &pending);
                    group.acknowledge(id);
                    Claimed::Gone
                }
                None => Claimed::No,
            };
        };
        let deliveries = match &known {
            Some(pending) => {
                let idle = self.now_ms.wrapping_sub(pending.delivered_ms);
                if self.min_idle_ms > 0 && idle < self.min_idle_ms {
                    return Claimed::No;
                }
                pending.deliveries
            }
            None if self.force => 1,
            None => return Claimed::No,
        };
        let owner = match &self.owner {
            Some(owner) => owner.clone(),
            None => {
                let (owner, created) = consumer_of(group, self.consumer, self.now_ms);
                self.created |= created;
                self.owner.insert(owner).clone()
            }
        };
        let counted = deliveries.wrapping_add(u64::from(!self.just_id));
        let pending = Pending {
            delivered_ms: self.delivered_ms,
            deliveries: self.deliveries.unwrap_or(counted),
            owner,
        };
        self.journal(group, id, &pending);
        group.assign(id, pending);
        if self.just_id {
            reply_id(out, id);
        } else {
            reply_item(out, &item);
        }
        Claimed::Yes
    }
}

/// The key's stream and the group in it.
fn lookup<'k>(
    d: &mut Data<'_>,
    args: &[&'k [u8]],
) -> Result<Option<(Key<'k>, Place)>, CommandError> {
    let key = d.first_key(args[1]);
    let Some(place) = d.look(key) else {
        return Ok(None);
    };
    let stream = collection::of::<Stream>(d.value(place))?;
    Ok(stream.groups.get(args[2]).map(|_| (key, place)))
}

fn number(arg: &[u8], error: &'static str) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or(CommandError::fixed(error))
}

/// What XCLAIM does besides.
#[derive(Default)]
struct Options {
    force: bool,
    just_id: bool,
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
}

fn options(words: &[&[u8]], now_ms: i64) -> Result<Options, CommandError> {
    let mut o = Options::default();
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        let value = words.get(at + 1);
        if word.eq_ignore_ascii_case(b"force") {
            o.force = true;
            at += 1;
            continue;
        }
        if word.eq_ignore_ascii_case(b"justid") {
            o.just_id = true;
            at += 1;
            continue;
        }
        match value {
            Some(value) if word.eq_ignore_ascii_case(b"idle") => {
                let idle = number(value, "ERR Invalid IDLE option argument for XCLAIM")?;
                o.delivered_ms = Some(now_ms.wrapping_sub(idle));
            }
            Some(value) if word.eq_ignore_ascii_case(b"time") => {
                let time = number(value, "ERR Invalid TIME option argument for XCLAIM")?;
                o.delivered_ms = Some(time);
            }
            Some(value) if word.eq_ignore_ascii_case(b"retrycount") => {
                let count = number(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                o.deliveries = u64::try_from(count).ok();
            }
            Some(value) if word.eq_ignore_ascii_case(b"lastid") => o.last_id = strict_id(value)?,
            _ => {
                return Err(CommandError::showing(&[
                    b"ERR Unrecognized XCLAIM option '",
                    word,
                    b"'",
                ]));
            }
        }
        at += 2;
    }
    Ok(o)
}

/// `XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count]
/// [FORCE] [JUSTID] [LASTID id]`. <https://redis.io/commands/xclaim/>
pub(in crate::command) fn xclaim(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (key, place) = lookup(d, args)?.ok_or_else(|| no_group(args[1], args[2], ""))?;
    let min_idle_ms = number(args[4], "ERR Invalid min-idle-time argument for XCLAIM")?.max(0);
    let id_of = |arg: &&[u8]| IdText::parse(arg).and_then(|text| text.strict(0));
    let ids: Vec<StreamId> = args[5..].iter().map_while(id_of).collect();
    let now_ms = now_ms(d);
    let o = options(&args[5 + ids.len()..], now_ms)?;
    // A time that cannot be is as good as none: clients work it out from clocks of their own.
    let delivered_ms = match o.delivered_ms {
        Some(time) if (0..=now_ms).contains(&time) => time,
        _ => now_ms,
    };
    d.effects.nothing();
    let db = d.db;
    let done = edit(d, key, place, |stream, out, effects| {
        stream.with_group(args[2], |entries, group| {
            let moved = o.last_id > group.last_id;
            if moved {
                group.last_id = o.last_id;
            }
            let mut claim = Claim {
                effects,
                db,
                names: (args[1], args[2]),
                consumer: args[3],
                now_ms,
                min_idle_ms,
                just_id: o.just_id,
                delivered_ms,
                deliveries: o.deliveries,
                force: o.force,
                owner: None,
                created: false,
                changes: 0,
            };
            reply_counted(out, |body| {
                let hits = ids
                    .iter()
                    .filter(|id| matches!(claim.entry(body, entries, group, **id), Claimed::Yes));
                hits.count()
            });
            // Claims carry the position with them.
            if moved && claim.changes == 0 {
                let (last_id, read) = (group.last_id, group.entries_read);
                journal_position(claim.effects, db, claim.names, last_id, read);
                claim.changes += 1;
            }
            (claim.created, claim.changes)
        })
    });
    done_claiming(d, args[1], done);
    Ok(())
}

fn done_claiming(d: &mut Data<'_>, key: &[u8], done: Option<(bool, u64)>) {
    let (created, changes) = done.unwrap_or_default();
    d.effects.dirty += changes + u64::from(created);
    if created {
        d.notify(NotifyEvents::STREAM, CREATED_CONSUMER, key);
    }
}

/// Entries that XAUTOCLAIM looks at for each that it may claim.
const ATTEMPTS: i64 = 10;

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`.
/// <https://redis.io/commands/xautoclaim/>
pub(in crate::command) fn xautoclaim(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let found = lookup(d, args);
    let min_idle_ms = number(args[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = range_start(args[5])?;
    let (mut count, mut just_id) = (100, false);
    let mut words = args[6..].iter();
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"justid") {
            just_id = true;
        } else if let (true, Some(value)) = (word.eq_ignore_ascii_case(b"count"), words.next()) {
            count = parse_i64(value)
                .filter(|count| (1..=i64::MAX / 16).contains(count))
                .ok_or(CommandError::fixed("ERR COUNT must be > 0"))?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    let (key, place) = found?.ok_or_else(|| no_group(args[1], args[2], ""))?;
    if count > MOST_IDS {
        return Err(CommandError::fixed(
            "ERR Insufficient memory, failed allocating transient memory, COUNT too high.",
        ));
    }
    d.effects.nothing();
    let (db, now_ms) = (d.db, now_ms(d));
    let done = edit(d, key, place, |stream, out, effects| {
        stream.with_group(args[2], |entries, group| {
            let mut claim = Claim {
                effects,
                db,
                names: (args[1], args[2]),
                consumer: args[3],
                now_ms,
                min_idle_ms,
                just_id,
                delivered_ms: now_ms,
                deliveries: None,
                force: false,
                owner: None,
                created: false,
                changes: 0,
            };
            claim_from(out, &mut claim, entries, group, start, count);
            (claim.created, claim.changes)
        })
    });
    done_claiming(d, args[1], done);
    Ok(())
}

/// Redis reserves room for so many ids that are deleted; beyond this, no machine has it.
const MOST_IDS: i64 = 1 << 43;

fn claim_from(
    out: &mut Output,
    claim: &mut Claim<'_>,
    entries: &Entries,
    group: &mut Group,
    start: StreamId,
    count: i64,
) {
    let mut body = body_of(out);
    let (mut left, mut claimed, mut deleted) = (count, 0, Vec::new());
    let first = |from: StreamId, group: &Group| {
        let mut pending = group.pending().iter_from(&from);
        pending.next().map(|(id, _)| *id)
    };
    let mut next = first(start, group);
    for _ in 0..count.saturating_mul(ATTEMPTS) {
        let Some(id) = next.filter(|_| left > 0) else {
            break;
        };
        match claim.entry(&mut body, entries, group, id) {
            Claimed::Yes => {
                claimed += 1;
                left -= 1;
            }
            Claimed::Gone => {
                deleted.push(id);
                left -= 1;
            }
            Claimed::No => {}
        }
        next = id.next().and_then(|from| first(from, group));
    }
    out.array(3);
    reply_id(out, next.unwrap_or(StreamId::MIN));
    out.array(claimed);
    body.slices().for_each(|bytes| out.raw(bytes));
    out.array(deleted.len());
    deleted.iter().for_each(|id| reply_id(out, *id));
}
