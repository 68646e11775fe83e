//! Ranges of sorted sets by rank, score or member: replied, counted, stored, removed.

use super::{at, edit, reply_members, store};
use crate::command::collection::{Reading, find, read};
use crate::command::context::Data;
use crate::command::error::CommandError;
use crate::command::string::integer;
use crate::command::table::Outcome;
use crate::command::zset_limits;
use crate::config::NotifyEvents;
use crate::value::listpack::Text;
use crate::value::number::parse_f64_bound;
use crate::value::zset::{LexBound, LexRange, ScoreRange, ZSet};
use core::ops::Range;

const BAD_SCORE: CommandError = CommandError::fixed("ERR min or max is not a float");
const BAD_MEMBER: CommandError = CommandError::fixed("ERR min or max not valid string range item");

/// A range as a command's words say it.
#[derive(Clone, Copy)]
enum Span<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// By what a range is.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Rank,
    Score,
    Member,
}

impl<'a> Span<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Span<'a>, CommandError> {
        Ok(match by {
            By::Rank => Span::Ranks(integer(min)?, integer(max)?),
            By::Score => {
                let (min, above_min) = score_bound(min)?;
                let (max, below_max) = score_bound(max)?;
                Span::Scores(ScoreRange {
                    min,
                    max,
                    above_min,
                    below_max,
                })
            }
            By::Member => Span::Members(LexRange {
                min: member_bound(min)?,
                max: member_bound(max)?,
            }),
        })
    }

    /// The ranks in the range, from the `skip`th on in the direction of reading. Ranks that are given are
    /// counted in that direction.
    fn ranks(&self, set: &ZSet, back: bool, skip: usize) -> Range<usize> {
        let mut ranks = match self {
            Span::Ranks(start, end) => {
                let ranks = within(*start, *end, set.len());
                let len = set.len();
                return if back {
                    len - ranks.end..len - ranks.start
                } else {
                    ranks
                };
            }
            Span::Scores(range) => set.score_ranks(range),
            Span::Members(range) => return set.lex_ranks(range, back, skip),
        };
        let skip = skip.min(ranks.len());
        if back {
            ranks.end -= skip;
        } else {
            ranks.start += skip;
        }
        ranks
    }
}

/// A start and an end, both possibly counted from the end, as a range below `len`.
fn within(start: i64, end: i64, len: usize) -> Range<usize> {
    let len_signed = len as i64;
    let from_end = |i: i64| {
        if i < 0 {
            i.saturating_add(len_signed)
        } else {
            i
        }
    };
    let (start, end) = (from_end(start).max(0), from_end(end));
    if start > end || start >= len_signed {
        return 0..0;
    }
    start as usize..end.min(len_signed - 1) as usize + 1
}

fn score_bound(arg: &[u8]) -> Result<(f64, bool), CommandError> {
    let (text, exclusive) = match arg {
        [b'(', text @ ..] => (text, true),
        _ => (arg, false),
    };
    let score = parse_f64_bound(text).ok_or(BAD_SCORE)?;
    Ok((score, exclusive))
}

fn member_bound(arg: &[u8]) -> Result<LexBound<'_>, CommandError> {
    match arg {
        [b'-'] | [b'-', 0, ..] => Ok(LexBound::First),
        [b'+'] | [b'+', 0, ..] => Ok(LexBound::Last),
        [b'[', member @ ..] => Ok(LexBound::Including(member)),
        [b'(', member @ ..] => Ok(LexBound::Excluding(member)),
        _ => Err(BAD_MEMBER),
    }
}

/// All that a command of ZRANGE's family asks for.
struct Query<'a> {
    span: Span<'a>,
    back: bool,
    scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads `min max [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`. What `by` and `back` say
    /// already is no option.
    fn parse(
        args: &[&'a [u8]],
        by: Option<By>,
        back: Option<bool>,
        storing: bool,
    ) -> Result<Query<'a>, CommandError> {
        let (fixed_by, mut by) = (by.is_some(), by);
        let (fixed_back, mut back) = (back.is_some(), back);
        let (mut scores, mut offset, mut limit) = (false, 0, -1);
        let mut rest = &args[2..];
        while let [word, tail @ ..] = rest {
            rest = tail;
            if !storing && word.eq_ignore_ascii_case(b"withscores") {
                scores = true;
            } else if word.eq_ignore_ascii_case(b"limit") && tail.len() >= 2 {
                (offset, limit) = (integer(tail[0])?, integer(tail[1])?);
                rest = &tail[2..];
            } else if !fixed_back && back.is_none() && word.eq_ignore_ascii_case(b"rev") {
                back = Some(true);
            } else if !fixed_by && by.is_none() && word.eq_ignore_ascii_case(b"bylex") {
                by = Some(By::Member);
            } else if !fixed_by && by.is_none() && word.eq_ignore_ascii_case(b"byscore") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        let (by, back) = (by.unwrap_or(By::Rank), back.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores && by == By::Member {
            return Err(CommandError::fixed(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = if back && by != By::Rank {
            (args[1], args[0])
        } else {
            (args[0], args[1])
        };
        Ok(Query {
            span: Span::parse(by, min, max)?,
            back,
            scores,
            offset,
            limit,
        })
    }

    /// The ranks that are asked for.
    fn ranks(&self, set: &ZSet) -> Range<usize> {
        if matches!(self.span, Span::Ranks(..)) {
            return self.span.ranks(set, self.back, 0);
        }
        let Ok(offset) = usize::try_from(self.offset) else {
            return 0..0;
        };
        let mut ranks = self.span.ranks(set, self.back, offset);
        if let Ok(limit) = usize::try_from(self.limit)
            && limit < ranks.len()
        {
            if self.back {
                ranks.start = ranks.end - limit;
            } else {
                ranks.end = ranks.start + limit;
            }
        }
        ranks
    }
}

fn reply_range(d: &mut Data<'_>, args: &[&[u8]], by: Option<By>, back: Option<bool>) -> Outcome {
    let query = Query::parse(&args[2..], by, back, false)?;
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    let Some(set) = value else {
        out.array(0);
        return Ok(());
    };
    let members = set.slice(query.ranks(set), query.back);
    reply_members(out, members, query.scores);
    Ok(())
}

/// `ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`.
/// <https://redis.io/commands/zrange/>
pub fn zrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_range(d, args, None, None)
}

/// `ZREVRANGE key start stop [WITHSCORES]`. <https://redis.io/commands/zrevrange/>
pub fn zrevrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_range(d, args, Some(By::Rank), Some(true))
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`. <https://redis.io/commands/zrangebyscore/>
pub fn zrangebyscore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_range(d, args, Some(By::Score), Some(false))
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`.
/// <https://redis.io/commands/zrevrangebyscore/>
pub fn zrevrangebyscore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_range(d, args, Some(By::Score), Some(true))
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`. <https://redis.io/commands/zrangebylex/>
pub fn zrangebylex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_range(d, args, Some(By::Member), Some(false))
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`. <https://redis.io/commands/zrevrangebylex/>
pub fn zrevrangebylex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_range(d, args, Some(By::Member), Some(true))
}

/// `ZRANGESTORE dst src min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]`.
/// <https://redis.io/commands/zrangestore/>
pub fn zrangestore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let query = Query::parse(&args[3..], None, None, true)?;
    let limits = zset_limits(d.config, d.store);
    let source = d.key(args[2]);
    let found = d.look(source);
    let set = match found {
        None => ZSet::new(),
        Some(place) => {
            let set = crate::command::collection::of::<ZSet>(d.value(place))?;
            let members = set.slice(query.ranks(set), false);
            ZSet::from_members(
                members
                    .map(|(m, s)| (m.text(), s))
                    .collect::<super::Members<Text<'_>>>(),
                &limits,
            )
        }
    };
    store(d, args[1], set, "zrangestore");
    Ok(())
}

fn count(d: &mut Data<'_>, args: &[&[u8]], by: By) -> Outcome {
    let span = Span::parse(by, args[2], args[3])?;
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    let count = value.map_or(0, |set| span.ranks(set, false, 0).len());
    out.int(count as i64);
    Ok(())
}

/// `ZCOUNT key min max`. <https://redis.io/commands/zcount/>
pub fn zcount(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    count(d, args, By::Score)
}

/// `ZLEXCOUNT key min max`. <https://redis.io/commands/zlexcount/>
pub fn zlexcount(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    count(d, args, By::Member)
}

fn remove(d: &mut Data<'_>, args: &[&[u8]], by: By, event: &'static str) -> Outcome {
    let span = Span::parse(by, args[2], args[3])?;
    let key = d.first_key(args[1]);
    let found = find::<ZSet>(d, key)?;
    let ranks = at(d, found).map_or(0..0, |set| span.ranks(set, false, 0));
    let len = at(d, found).map_or(0, ZSet::len);
    let Some(place) = found.filter(|_| !ranks.is_empty()) else {
        d.out.int(0);
        return Ok(());
    };
    let removed = ranks.len();
    if removed < len {
        edit(d, key, found, |set, _| {
            set.remove_range(ranks.start, removed)
        });
    }
    d.changed(key.bytes);
    d.effects.dirty += removed as u64 - 1;
    d.notify(NotifyEvents::ZSET, event, key.bytes);
    if removed == len {
        // As a whole, so that a large one is freed in steps.
        d.store.delete(d.db, key, place);
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
    }
    d.out.int(removed as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`. <https://redis.io/commands/zremrangebyrank/>
pub fn zremrangebyrank(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    remove(d, args, By::Rank, "zremrangebyrank")
}

/// `ZREMRANGEBYSCORE key min max`. <https://redis.io/commands/zremrangebyscore/>
pub fn zremrangebyscore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    remove(d, args, By::Score, "zremrangebyscore")
}

/// `ZREMRANGEBYLEX key min max`. <https://redis.io/commands/zremrangebylex/>
pub fn zremrangebylex(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    remove(d, args, By::Member, "zremrangebylex")
}
