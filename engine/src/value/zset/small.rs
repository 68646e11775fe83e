//! The small form: a listpack of pairs, member and score, in order.
//!
//! A score that is an integer within ±2^62 is stored as one (and −0 as 0), any other as text with 17
//! digits.

use super::LexRange;
use super::leaf::order;
use crate::value::listpack::{Entry, Listpack, Malformed, Pos};
use crate::value::number::{integer_of, parse_f64_bound, write_score};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;

/// The score that an entry is.
#[inline]
fn score_of(entry: Entry<'_>) -> f64 {
    match entry {
        Entry::Int(value) => value as f64,
        // Its being a number was checked where it came from.
        Entry::Str(text) => parse_f64_bound(text).unwrap_or_default(),
    }
}

/// Where to find a member, and its score.
pub(super) fn find(list: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let pos = list.find(list.first()?, member, 1)?;
    Some((pos, score_of(list.get(list.next(pos)?))))
}

/// The pair of this rank.
pub(super) fn nth(list: &Listpack, rank: usize) -> Option<Pos> {
    list.seek(i64::try_from(rank).ok()?.checked_mul(2)?)
}

/// A member's rank and score.
pub(super) fn rank(list: &Listpack, member: &[u8]) -> Option<(usize, f64)> {
    let (pos, score) = find(list, member)?;
    let at =
        SmallIter::new(list, 0, usize::MAX, false).position(|(it, _)| *it.text() == *member)?;
    debug_assert_eq!(nth(list, at), Some(pos));
    Some((at, score))
}

/// How many members from the first on `wanted` says yes to, until it says no.
pub(super) fn count_while(list: &Listpack, wanted: impl Fn(Entry<'_>, f64) -> bool) -> usize {
    SmallIter::new(list, 0, usize::MAX, false)
        .take_while(|(member, score)| wanted(*member, *score))
        .count()
}

/// The ranks in a range of members, as Redis finds them by walking from one end: from the first that is
/// not outside on this side, without the next `skip`, up to the first that is outside on the other.
pub(super) fn lex_ranks(
    list: &Listpack,
    range: &LexRange<'_>,
    back: bool,
    skip: usize,
) -> Range<usize> {
    let len = list.len() / 2;
    let end = |back| {
        let rank = if back { len.saturating_sub(1) } else { 0 };
        SmallIter::new(list, rank, 1, back).next()
    };
    let (Some((first, _)), Some((last, _))) = (end(false), end(true)) else {
        return 0..0;
    };
    if range.begins_above(&last.text()) || !range.reaches(&first.text()) {
        return 0..0;
    }
    // Outside on the side where the walk begins, and on the other.
    let (before, after) = (
        |member: Entry<'_>| range.begins_above(&member.text()),
        |member: Entry<'_>| !range.reaches(&member.text()),
    );
    let outside = |member, near: bool| {
        if near != back {
            before(member)
        } else {
            after(member)
        }
    };
    let from = if back { len - 1 } else { 0 };
    let mut members = SmallIter::new(list, from, len, back)
        .map(|(member, _)| member)
        .enumerate()
        .skip_while(|(_, member)| outside(*member, true))
        .peekable();
    let Some(&(at, member)) = members.peek() else {
        return 0..0;
    };
    if outside(member, false) {
        return 0..0;
    }
    let count = members
        .skip(skip)
        .take_while(|(_, member)| !outside(*member, false))
        .count();
    let at = at.saturating_add(skip).min(len);
    if back {
        (len - at).saturating_sub(count)..len - at
    } else {
        at..at + count
    }
}

/// Writes a score behind the member at `member`.
fn insert_score(list: &mut Listpack, member: Pos, score: f64) {
    match integer_of(score) {
        Some(value) => {
            list.insert_int_after(member, value);
        }
        None => {
            let mut text = Vec::with_capacity(24);
            write_score(&mut text, score);
            list.insert_after(member, &text);
        }
    }
}

/// Adds a member that comes after all others.
pub(super) fn append(list: &mut Listpack, member: &[u8], score: f64) {
    list.append(member);
    match integer_of(score) {
        Some(value) => list.append_int(value),
        None => {
            let mut text = Vec::with_capacity(24);
            write_score(&mut text, score);
            list.append(&text);
        }
    }
}

/// Adds a member that is not there.
pub(super) fn insert(list: &mut Listpack, member: &[u8], score: f64) {
    let mut next = list.first();
    while let Some(pos) = next {
        let Some(its_score) = list.next(pos) else {
            break;
        };
        let there = score_of(list.get(its_score));
        if there > score || (there == score && *list.get(pos).text() > *member) {
            list.insert_before(pos, member);
            return insert_score(list, pos, score);
        }
        next = list.next(its_score);
    }
    append(list, member, score);
}

/// Gives the member at `pos` another score.
pub(super) fn rescore(list: &mut Listpack, pos: Pos, member: &[u8], score: f64) {
    list.remove_run(pos, 2);
    insert(list, member, score);
}

/// Checks a listpack of any origin.
pub(super) fn check(list: &Listpack) -> Result<(), Malformed> {
    let mut entries = list.iter();
    let mut previous: Option<(f64, Entry<'_>)> = None;
    let mut members = BTreeSet::new();
    while let Some(member) = entries.next() {
        let score = match entries.next().ok_or(Malformed)? {
            Entry::Int(value) => value as f64,
            Entry::Str([]) => return Err(Malformed),
            Entry::Str(text) => parse_f64_bound(text).ok_or(Malformed)?,
        };
        if let Some((before, name)) = previous
            && order((before, &name.text()), (score, &member.text())).is_ge()
        {
            return Err(Malformed);
        }
        // An integer and a string never have the same text.
        let key = match member {
            Entry::Int(value) => (Some(value), &[][..]),
            Entry::Str(text) => (None, text),
        };
        if !members.insert(key) {
            return Err(Malformed);
        }
        previous = Some((score, member));
    }
    Ok(())
}

/// Members of a listpack with their scores, in order.
#[derive(Clone)]
pub struct SmallIter<'a> {
    list: &'a Listpack,
    pos: Option<Pos>,
    left: usize,
    back: bool,
}

impl<'a> SmallIter<'a> {
    pub(super) fn new(list: &'a Listpack, rank: usize, count: usize, back: bool) -> SmallIter<'a> {
        let len = list.len() / 2;
        let available = if back {
            rank + 1
        } else {
            len.saturating_sub(rank)
        };
        let pos = if rank == 0 {
            list.first()
        } else {
            nth(list, rank)
        };
        SmallIter {
            list,
            pos,
            left: if pos.is_some() {
                count.min(available)
            } else {
                0
            },
            back,
        }
    }
}

impl<'a> Iterator for SmallIter<'a> {
    type Item = (Entry<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let member = self.pos?;
        let score = self.list.next(member)?;
        self.pos = match (self.left, self.back) {
            (0, _) => None,
            (_, false) => self.list.next(score),
            (_, true) => (self.list.prev(member)).and_then(|pos| self.list.prev(pos)),
        };
        Some((self.list.get(member), score_of(self.list.get(score))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
