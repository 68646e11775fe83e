//! Collections that a snapshot keeps element by element: what has arrived of one.

use super::event::{TimedPair, Value};
use super::list::{self, ListPart};
use super::reader::{Reader, Step, corrupt};
use super::{Origin, kind, legacy};
use crate::value::hash::MAX_TIME_MS;
use alloc::vec::Vec;
use core::mem::take;

/// Elements of a collection that are handed on together.
const PART: usize = 256;
/// The same of a list's nodes, of some kilobytes each.
const PART_NODES: usize = 16;

/// The elements so far of a collection.
pub(super) enum Gathered {
    /// Of a hash.
    Pairs(legacy::Pairs),
    /// Of a hash whose fields expire.
    TimedPairs { pairs: Vec<TimedPair>, times: Times },
    /// Of a list, by its type byte.
    Parts { kind: u8, parts: Vec<ListPart> },
    /// Of a set.
    Elements(Vec<Vec<u8>>),
    /// Of a sorted set.
    Members {
        members: legacy::Members,
        /// Scores are eight bytes, not text.
        binary: bool,
    },
}

/// How the time of a field stands in the file.
#[derive(Clone, Copy)]
pub(super) enum Times {
    /// Before field and value: 0 for never, or one more than the milliseconds since this time.
    Since(u64),
    /// Behind them: Unix milliseconds, or -1 for never.
    Absolute,
}

impl Gathered {
    /// An empty collection for a value of type `kind`, up to the number of its elements; nothing, if this is
    /// no such type in files of `origin`.
    pub(super) fn begin(
        kind: u8,
        origin: Origin,
        reader: &mut Reader<'_>,
    ) -> Step<Option<Gathered>> {
        let timed = |times| Gathered::TimedPairs {
            pairs: Vec::new(),
            times,
        };
        Ok(Some(match kind {
            kind::HASH => Gathered::Pairs(Vec::new()),
            kind::HASH_TIMED_VALKEY if origin == Origin::Valkey => timed(Times::Absolute),
            kind::HASH_TIMED_PRE_GA => timed(Times::Since(1)),
            kind::HASH_TIMED => {
                let first = u64::from_le_bytes(reader.array()?);
                if first > MAX_TIME_MS {
                    return Err(corrupt("Hash read invalid minExpire value"));
                }
                timed(Times::Since(first))
            }
            kind if list::in_parts(kind) => Gathered::Parts {
                kind,
                parts: Vec::new(),
            },
            kind::SET => Gathered::Elements(Vec::new()),
            kind::ZSET | kind::ZSET_2 => Gathered::Members {
                members: Vec::new(),
                binary: kind == kind::ZSET_2,
            },
            _ => return Ok(None),
        }))
    }

    /// Reads one more element.
    pub(super) fn one(&mut self, reader: &mut Reader<'_>) -> Step<()> {
        match self {
            Gathered::Pairs(pairs) => pairs.push((reader.string()?, reader.string()?)),
            Gathered::TimedPairs { pairs, times } => pairs.push(timed_pair(reader, *times)?),
            Gathered::Parts { kind, parts } => parts.extend(part(reader, *kind)?),
            Gathered::Elements(elements) => elements.push(reader.string()?),
            Gathered::Members { members, binary } => members.push(member(reader, *binary)?),
        }
        Ok(())
    }

    /// Whether there is enough for an [`Event::Part`](super::Event::Part).
    pub(super) fn is_part(&self) -> bool {
        match self {
            Gathered::Pairs(pairs) => pairs.len() >= PART,
            Gathered::TimedPairs { pairs, .. } => pairs.len() >= PART,
            Gathered::Parts { parts, .. } => parts.len() >= PART_NODES,
            Gathered::Elements(elements) => elements.len() >= PART,
            Gathered::Members { members, .. } => members.len() >= PART,
        }
    }

    /// What has arrived, which is something; more will.
    pub(super) fn take_part(&mut self) -> Value {
        match self {
            Gathered::Pairs(pairs) => Value::Hash(take(pairs)),
            Gathered::TimedPairs { pairs, .. } => Value::HashTimed(take(pairs)),
            Gathered::Parts { parts, .. } => Value::List(take(parts)),
            Gathered::Elements(elements) => Value::Set(take(elements)),
            Gathered::Members { members, .. } => Value::ZSet(take(members)),
        }
    }

    /// The value, now that all its elements are there; nothing, if there are none.
    pub(super) fn value(self) -> Option<Value> {
        let (empty, value) = match self {
            Gathered::Pairs(pairs) => (pairs.is_empty(), Value::Hash(pairs)),
            Gathered::TimedPairs { pairs, .. } => (pairs.is_empty(), Value::HashTimed(pairs)),
            Gathered::Parts { parts, .. } => (parts.is_empty(), Value::List(parts)),
            Gathered::Elements(elements) => (elements.is_empty(), Value::Set(elements)),
            Gathered::Members { members, .. } => (members.is_empty(), Value::ZSet(members)),
        };
        (!empty).then_some(value)
    }

    /// What is missing, for the message about a file that ends here.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Gathered::Pairs(_) | Gathered::TimedPairs { .. } => "the fields of a hash",
            Gathered::Parts { .. } => "the nodes of a list",
            Gathered::Elements(_) => "the elements of a collection",
            Gathered::Members { .. } => "the members of a sorted set",
        }
    }
}

fn timed_pair(reader: &mut Reader<'_>, times: Times) -> Step<TimedPair> {
    let (field, value, time);
    match times {
        Times::Since(first) => {
            time = match reader.length()? {
                0 => None,
                time => Some((time - 1).saturating_add(first)),
            };
            (field, value) = (reader.string()?, reader.string()?);
        }
        Times::Absolute => {
            (field, value) = (reader.string()?, reader.string()?);
            time = match i64::from_le_bytes(reader.array()?) {
                -1 => None,
                time => Some(u64::try_from(time).map_err(|_| corrupt("invalid expireAt time"))?),
            };
        }
    }
    if time.is_some_and(|time| time > MAX_TIME_MS) {
        return Err(corrupt("invalid expireAt time"));
    }
    Ok((field, value, time))
}

/// One piece of a list; nothing, if it has no elements.
fn part(reader: &mut Reader<'_>, kind: u8) -> Step<Option<ListPart>> {
    let mut container = 0;
    if kind == kind::LIST_QUICKLIST_2 {
        container = reader.length()?;
        if !list::is_container(container) {
            return Err(corrupt(list::BAD_CONTAINER));
        }
    }
    list::part(kind, container, reader.string()?).map_err(corrupt)
}

fn member(reader: &mut Reader<'_>, binary: bool) -> Step<(Vec<u8>, f64)> {
    let member = reader.string()?;
    let score = if binary {
        f64::from_le_bytes(reader.array()?)
    } else {
        match reader.byte()? {
            253 => f64::NAN,
            254 => f64::INFINITY,
            255 => f64::NEG_INFINITY,
            length => legacy::score(reader.take(u64::from(length))?)
                .ok_or_else(|| corrupt("Invalid score"))?,
        }
    };
    if score.is_nan() {
        return Err(corrupt("Zset with NAN score detected"));
    }
    Ok((member, score))
}
