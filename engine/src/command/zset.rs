//! Commands on sorted sets. Here: single members; the rest is beside this file.

mod algebra;
mod pop;
mod random;
mod range;

pub(super) use algebra::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
pub(super) use pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
pub(super) use random::{zrandmember, zscan};
pub(super) use range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex,
    zremrangebyrank, zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};

use alloc::vec::Vec;

use super::collection::{self, Reading, find, read};
use super::context::Data;
use super::error::CommandError;
use super::table::Outcome;
use super::zset_limits;
use crate::config::NotifyEvents;
use crate::resp::Output;
use crate::store::{Key, Place};
use crate::value::hash::Limits;
use crate::value::listpack::Entry;
use crate::value::number::parse_f64;
use crate::value::zset::{Updated, ZSet};

/// A longer member does not fit the structure's 32-bit offsets.
const MEMBER_MAX: usize = u32::MAX as usize / 2;

/// Lets `change` work on the sorted set at a key, which is made if absent.
#[inline]
fn edit<R>(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    change: impl FnOnce(&mut ZSet, &Limits) -> R,
) -> R {
    let limits = zset_limits(d.config, d.store);
    collection::edit(d, key, found, |set| change(set, &limits))
}

/// The sorted set at a place, as [`find`] found it.
fn at<'d>(d: &'d Data<'_>, found: Option<Place>) -> Option<&'d ZSet> {
    collection::of::<ZSet>(d.value(found?)).ok()
}

#[inline]
fn reply(out: &mut Output, member: Entry<'_>) {
    match member {
        Entry::Int(n) => out.bulk_int(n),
        Entry::Str(bytes) => out.bulk(bytes),
    }
}

/// Replies members with their scores: side by side in RESP2, in pairs in RESP3; or without.
fn reply_members<'a>(
    out: &mut Output,
    members: impl ExactSizeIterator<Item = (Entry<'a>, f64)>,
    scores: bool,
) {
    let nested = scores && out.resp3;
    let flat = scores && !nested;
    out.array(members.len() * (1 + usize::from(flat)));
    for (member, score) in members {
        if nested {
            out.array(2);
        }
        reply(out, member);
        if scores {
            out.double(score);
        }
    }
}

/// Puts what a command stores at its destination, or deletes what is there if that is nothing.
fn store(d: &mut Data<'_>, key: &[u8], set: ZSet, event: &'static str) {
    let key = d.key(key);
    let len = set.len();
    if len > 0 {
        collection::put(d, key, set);
        d.changed(key.bytes);
        d.notify(NotifyEvents::ZSET, event, key.bytes);
    } else {
        d.clear_destination(key);
    }
    d.out.int(len as i64);
}

/// On what a score that is to be set depends, and what is replied.
#[derive(Clone, Copy, Default)]
struct Conditions {
    /// NX: the member must be new.
    absent: bool,
    /// XX: it must be there.
    present: bool,
    /// GT: its score must grow.
    greater: bool,
    /// LT: its score must fall.
    less: bool,
    /// CH: changes count, not only additions.
    changes: bool,
    /// INCR: the score is an increment.
    increment: bool,
}

impl Conditions {
    /// Reads the words in front of the scores; gives back the others.
    fn parse<'a, 'b>(mut self, args: &'b [&'a [u8]]) -> (Conditions, &'b [&'a [u8]]) {
        let mut rest = args;
        while let [word, tail @ ..] = rest {
            // A score is longer, or begins with no letter but that of `inf` and `nan`.
            let flag = match word.len() {
                2 if word.eq_ignore_ascii_case(b"nx") => &mut self.absent,
                2 if word.eq_ignore_ascii_case(b"xx") => &mut self.present,
                2 if word.eq_ignore_ascii_case(b"ch") => &mut self.changes,
                2 if word.eq_ignore_ascii_case(b"gt") => &mut self.greater,
                2 if word.eq_ignore_ascii_case(b"lt") => &mut self.less,
                4 if word.eq_ignore_ascii_case(b"incr") => &mut self.increment,
                _ => break,
            };
            *flag = true;
            rest = tail;
        }
        (self, rest)
    }

    /// Refuses what contradicts itself.
    fn check(self, pairs: usize) -> Result<(), CommandError> {
        if self.absent && self.present {
            return Err(CommandError::fixed(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        if (self.absent && (self.greater || self.less)) || (self.greater && self.less) {
            return Err(CommandError::fixed(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.increment && pairs > 1 {
            return Err(CommandError::fixed(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok(())
    }

    /// The score that a member shall have; `None` if the conditions forbid a change. May be NaN.
    #[inline]
    fn decide(self, old: Option<f64>, score: f64) -> Option<f64> {
        let Some(old) = old else {
            return (!self.present).then_some(score);
        };
        if self.absent {
            return None;
        }
        let score = if self.increment { old + score } else { score };
        let forbidden = (self.less && score >= old) || (self.greater && score <= old);
        (!forbidden).then_some(score)
    }
}

/// ZADD and ZINCRBY.
fn add(d: &mut Data<'_>, args: &[&[u8]], conditions: Conditions) -> Outcome {
    let (c, pairs) = conditions.parse(&args[2..]);
    if pairs.is_empty() || pairs.len() % 2 == 1 {
        return Err(CommandError::SYNTAX);
    }
    c.check(pairs.len() / 2)?;
    let parsed = pairs
        .chunks_exact(2)
        .map(|pair| parse_f64(pair[0]).ok_or(CommandError::NOT_FLOAT));
    let scores: smallvec::SmallVec<[f64; 8]> = parsed.collect::<Result<_, _>>()?;
    if pairs.iter().any(|word| word.len() > MEMBER_MAX) {
        return Err(CommandError::TOO_LONG);
    }
    let key = d.first_key(args[1]);
    let found = find::<ZSet>(d, key)?;
    if found.is_none() && c.present {
        if c.increment {
            d.out.null();
        } else {
            d.out.int(0);
        }
        return Ok(());
    }
    let (mut added, mut changed) = (0, 0);
    let mut result = None;
    edit(d, key, found, |set, limits| {
        for (pair, score) in pairs.chunks_exact(2).zip(&scores) {
            let updated = set.update(pair[1], limits, |old| {
                result = c.decide(old, *score);
                result.filter(|score| !score.is_nan())
            });
            added += u64::from(updated == Updated::Added);
            changed += u64::from(updated == Updated::Changed);
        }
    });
    if c.increment && result.is_some_and(f64::is_nan) {
        return Err(CommandError::fixed(
            "ERR resulting score is not a number (NaN)",
        ));
    }
    if added + changed > 0 {
        d.changed(key.bytes);
        d.effects.dirty += added + changed - 1;
        let event = if c.increment { "zincr" } else { "zadd" };
        d.notify(NotifyEvents::ZSET, event, key.bytes);
    }
    match (c.increment, result) {
        (true, Some(score)) => d.out.double(score),
        (true, None) => d.out.null(),
        (false, _) if c.changes => d.out.int((added + changed) as i64),
        (false, _) => d.out.int(added as i64),
    }
    Ok(())
}

/// `ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member …]`. <https://redis.io/commands/zadd/>
pub(super) fn zadd(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    add(d, args, Conditions::default())
}

/// `ZINCRBY key increment member`. <https://redis.io/commands/zincrby/>
pub(super) fn zincrby(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let increment = Conditions {
        increment: true,
        ..Conditions::default()
    };
    add(d, args, increment)
}

/// `ZREM key member [member …]`. <https://redis.io/commands/zrem/>
pub(super) fn zrem(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = find::<ZSet>(d, key)?;
    let members = &args[2..];
    // A set that nothing is taken from is not touched, for others may share it.
    let hit = |set: &ZSet| members.iter().any(|m| set.score(m).is_some());
    let hits = at(d, found).is_some_and(|set| members.len() == 1 || hit(set));
    let Some(place) = found.filter(|_| hits) else {
        d.out.int(0);
        return Ok(());
    };
    let removed = edit(d, key, found, |set, _| {
        members.iter().filter(|m| set.remove(m).is_some()).count()
    });
    if removed > 0 {
        d.changed(key.bytes);
        d.effects.dirty += removed as u64 - 1;
        d.notify(NotifyEvents::ZSET, "zrem", key.bytes);
        collection::delete_if_empty::<ZSet>(d, key, place);
    }
    d.out.int(removed as i64);
    Ok(())
}

/// `ZCARD key`. <https://redis.io/commands/zcard/>
pub(super) fn zcard(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    out.int(value.map_or(0, ZSet::len) as i64);
    Ok(())
}

/// `ZSCORE key member`. <https://redis.io/commands/zscore/>
pub(super) fn zscore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    match value.and_then(|set| set.score(args[2])) {
        Some(score) => out.double(score),
        None => out.null(),
    }
    Ok(())
}

/// `ZMSCORE key member [member …]`. <https://redis.io/commands/zmscore/>
pub(super) fn zmscore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    out.array(args.len() - 2);
    for member in &args[2..] {
        match value.and_then(|set| set.score(member)) {
            Some(score) => out.double(score),
            None => out.null(),
        }
    }
    Ok(())
}

fn rank(d: &mut Data<'_>, args: &[&[u8]], back: bool) -> Outcome {
    let with_score = match &args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscore") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    let found = value.and_then(|set| {
        let (rank, score) = set.rank(args[2])?;
        Some((if back { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            out.array(2);
            out.int(rank as i64);
            out.double(score);
        }
        Some((rank, _)) => out.int(rank as i64),
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}

/// `ZRANK key member [WITHSCORE]`. <https://redis.io/commands/zrank/>
pub(super) fn zrank(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    rank(d, args, false)
}

/// `ZREVRANK key member [WITHSCORE]`. <https://redis.io/commands/zrevrank/>
pub(super) fn zrevrank(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    rank(d, args, true)
}

/// Members that a command has worked out, in order.
type Members<M> = Vec<(M, f64)>;
