//! Union, intersection and difference of sorted sets, and of sets, whose members all have score 1.

use super::{Members, reply_members, store};
use crate::command::context::Data;
use crate::command::error::CommandError;
use crate::command::string::integer;
use crate::command::table::Outcome;
use crate::command::zset_limits;
use crate::store::{Object, ValueRef};
use crate::value::hash::Limits;
use crate::value::listpack::{Entry, Text};
use crate::value::number::{parse_f64, parse_i64};
use crate::value::set::Set;
use crate::value::zset::ZSet;
use alloc::format;
use alloc::vec::Vec;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Difference,
    Intersection,
    Union,
}

/// How the scores of one member in several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Max,
    Min,
    Sum,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities that cancel out count as nothing.
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// One of the sets that a command works on.
#[derive(Clone, Copy)]
enum Source<'a> {
    Nothing,
    Plain(&'a Set),
    Sorted(&'a ZSet),
}

impl<'a> Source<'a> {
    fn of(value: ValueRef<'a>) -> Result<Source<'a>, CommandError> {
        match value {
            ValueRef::Object(Object::Set(set)) => Ok(Source::Plain(set)),
            ValueRef::Object(Object::ZSet(set)) => Ok(Source::Sorted(set)),
            _ => Err(CommandError::WRONG_TYPE),
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Plain(set) => set.len(),
            Source::Sorted(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::Plain(set) => set.contains(member).then_some(1.0),
            Source::Sorted(set) => set.score(member),
        }
    }

    /// Calls `visit` with each member until it says no.
    fn each(self, mut visit: impl FnMut(Entry<'a>, f64) -> bool) {
        match self {
            Source::Nothing => {}
            Source::Plain(set) => {
                set.iter().all(|member| visit(member, 1.0));
            }
            Source::Sorted(set) => {
                set.iter().all(|(member, score)| visit(member, score));
            }
        }
    }
}

/// What a command asks for.
struct Query {
    operation: Operation,
    /// The numbers of the keys' places among the words.
    keys: core::ops::Range<usize>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    scores: bool,
    /// Of the number of members that ZINTERCARD counts.
    limit: usize,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Count,
    Reply,
    Store,
}

impl Query {
    /// The keys: `numkeys` stands at `at`.
    fn keys(
        args: &[&[u8]],
        at: usize,
        name: &str,
    ) -> Result<core::ops::Range<usize>, CommandError> {
        let count = integer(args[at])?;
        if count < 1 {
            return Err(CommandError::text(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        match usize::try_from(count) {
            Ok(count) if count < args.len() - at => Ok(at + 1..at + 1 + count),
            _ => Err(CommandError::SYNTAX),
        }
    }

    /// Reads what comes after the keys.
    fn options(&mut self, args: &[&[u8]], purpose: Purpose) -> Result<(), CommandError> {
        let sets = self.keys.len();
        let weighs = self.operation != Operation::Difference && purpose != Purpose::Count;
        let mut rest = &args[self.keys.end..];
        while let [word, tail @ ..] = rest {
            rest = if weighs && tail.len() >= sets && word.eq_ignore_ascii_case(b"weights") {
                let weights = tail[..sets].iter().map(|arg| {
                    parse_f64(arg).ok_or(CommandError::fixed("ERR weight value is not a float"))
                });
                self.weights = weights.collect::<Result<_, _>>()?;
                &tail[sets..]
            } else if weighs && !tail.is_empty() && word.eq_ignore_ascii_case(b"aggregate") {
                self.aggregate = match tail[0].to_ascii_lowercase().as_slice() {
                    b"max" => Aggregate::Max,
                    b"min" => Aggregate::Min,
                    b"sum" => Aggregate::Sum,
                    _ => return Err(CommandError::SYNTAX),
                };
                &tail[1..]
            } else if purpose == Purpose::Reply && word.eq_ignore_ascii_case(b"withscores") {
                self.scores = true;
                tail
            } else if purpose == Purpose::Count
                && !tail.is_empty()
                && word.eq_ignore_ascii_case(b"limit")
            {
                let limit = parse_i64(tail[0]).and_then(|n| usize::try_from(n).ok());
                self.limit = limit.ok_or(CommandError::fixed("ERR LIMIT can't be negative"))?;
                &tail[1..]
            } else {
                return Err(CommandError::SYNTAX);
            };
        }
        Ok(())
    }
}

/// Sources with their weights, as an operation takes them.
type Weighted<'a> = Vec<(Source<'a>, f64)>;

fn intersection<'a>(
    sources: &Weighted<'a>,
    aggregate: Aggregate,
    mut emit: impl FnMut(Entry<'a>, f64) -> bool,
) {
    let [(first, weight), others @ ..] = &sources[..] else {
        return;
    };
    first.each(|member, own| {
        let text = member.text();
        let mut score = not_nan(weight * own);
        for (other, weight) in others {
            match other.score(&text) {
                Some(there) => score = aggregate.of(score, there * weight),
                None => return true,
            }
        }
        emit(member, score)
    });
}

fn union<'a>(
    sources: &Weighted<'a>,
    aggregate: Aggregate,
    hash_key: (u64, u64),
) -> Members<Text<'a>> {
    let hasher = SipHasher13::new_with_keys(hash_key.0, hash_key.1);
    let hash = |member: &[u8]| hasher.hash(member);
    let mut all: HashTable<(Text<'a>, f64)> = HashTable::new();
    for (source, weight) in sources {
        source.each(|member, score| {
            let (text, score) = (member.text(), not_nan(weight * score));
            let of = hash(&text);
            match all.find_mut(of, |it| *it.0 == *text) {
                Some(it) => it.1 = aggregate.of(it.1, score),
                None => {
                    all.insert_unique(of, (text, score), |it| hash(&it.0));
                }
            }
            true
        });
    }
    all.into_iter().collect()
}

fn difference<'a>(sources: &Weighted<'a>) -> Members<Text<'a>> {
    let mut members = Members::new();
    let [(first, _), others @ ..] = &sources[..] else {
        return members;
    };
    first.each(|member, score| {
        let text = member.text();
        if !others.iter().any(|(other, _)| other.score(&text).is_some()) {
            members.push((text, score));
        }
        true
    });
    members
}

/// Reads the words, looks the keys up, and does what is asked; `finish` gets the sources.
fn with_sources<R>(
    d: &mut Data<'_>,
    args: &[&[u8]],
    at: usize,
    operation: Operation,
    purpose: Purpose,
    name: &str,
    finish: impl FnOnce(&Query, &Weighted<'_>, &Limits) -> R,
) -> Result<(R, bool), CommandError> {
    let mut query = Query {
        operation,
        keys: Query::keys(args, at, name)?,
        weights: Vec::new(),
        aggregate: Aggregate::Sum,
        scores: false,
        limit: 0,
    };
    let mut places = Vec::new();
    for key in &args[query.keys.clone()] {
        let key = d.key(key);
        let found = d.look(key);
        if let Some(place) = found {
            Source::of(d.value(place))?;
        }
        places.push((key, found.is_some()));
    }
    query.options(args, purpose)?;
    let limits = zset_limits(d.config, d.store);
    let mut sources = Weighted::new();
    for (i, (key, found)) in places.into_iter().enumerate() {
        // Looked up again: a place is good only until the next look-up deletes what is due.
        let place = d.store.find(d.db, key).filter(|_| found);
        let source = match place {
            Some(place) => Source::of(d.value(place))?,
            None => Source::Nothing,
        };
        let weight = query.weights.get(i).copied().unwrap_or(1.0);
        sources.push((source, weight));
    }
    if operation != Operation::Difference {
        // The smallest first; the order also decides in which order floats are added.
        sources.sort_by_key(|(source, _)| source.len());
    }
    let result = finish(&query, &sources, &limits);
    Ok((result, query.scores))
}

fn members<'a>(query: &Query, sources: &Weighted<'a>, limits: &Limits) -> Members<Text<'a>> {
    match query.operation {
        Operation::Difference => difference(sources),
        Operation::Union => union(sources, query.aggregate, limits.hash_key),
        Operation::Intersection => {
            let mut members = Members::new();
            intersection(sources, query.aggregate, |member, score| {
                members.push((member.text(), score));
                true
            });
            members
        }
    }
}

fn reply_all(d: &mut Data<'_>, args: &[&[u8]], operation: Operation, name: &str) -> Outcome {
    let build = |query: &Query, sources: &Weighted<'_>, limits: &Limits| {
        ZSet::from_members(members(query, sources, limits), limits)
    };
    let (set, scores) = with_sources(d, args, 1, operation, Purpose::Reply, name, build)?;
    reply_members(d.out, set.iter(), scores);
    Ok(())
}

fn store_all(
    d: &mut Data<'_>,
    args: &[&[u8]],
    operation: Operation,
    name: &'static str,
) -> Outcome {
    let build = |query: &Query, sources: &Weighted<'_>, limits: &Limits| {
        ZSet::from_members(members(query, sources, limits), limits)
    };
    let (set, _) = with_sources(d, args, 2, operation, Purpose::Store, name, build)?;
    store(d, args[1], set, name);
    Ok(())
}

/// `ZUNION numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`.
/// <https://redis.io/commands/zunion/>
pub fn zunion(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_all(d, args, Operation::Union, "zunion")
}

/// `ZINTER numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`.
/// <https://redis.io/commands/zinter/>
pub fn zinter(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_all(d, args, Operation::Intersection, "zinter")
}

/// `ZDIFF numkeys key [key …] [WITHSCORES]`. <https://redis.io/commands/zdiff/>
pub fn zdiff(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_all(d, args, Operation::Difference, "zdiff")
}

/// `ZUNIONSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX]`.
/// <https://redis.io/commands/zunionstore/>
pub fn zunionstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    store_all(d, args, Operation::Union, "zunionstore")
}

/// `ZINTERSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX]`.
/// <https://redis.io/commands/zinterstore/>
pub fn zinterstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    store_all(d, args, Operation::Intersection, "zinterstore")
}

/// `ZDIFFSTORE destination numkeys key [key …]`. <https://redis.io/commands/zdiffstore/>
pub fn zdiffstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    store_all(d, args, Operation::Difference, "zdiffstore")
}

/// `ZINTERCARD numkeys key [key …] [LIMIT limit]`. <https://redis.io/commands/zintercard/>
pub fn zintercard(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let operation = Operation::Intersection;
    let count = |query: &Query, sources: &Weighted<'_>, _: &Limits| {
        let mut count = 0;
        intersection(sources, query.aggregate, |_, _| {
            count += 1;
            count != query.limit
        });
        count
    };
    let (count, _) = with_sources(d, args, 1, operation, Purpose::Count, "zintercard", count)?;
    d.out.int(count as i64);
    Ok(())
}
