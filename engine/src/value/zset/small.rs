//! The small form: a pack of pairs, member and score, in order.
//!
//! A score that is an integer within ±2^62 is stored as one (and −0 as 0), any other as text with 17
//! digits.

use super::LexRange;
use super::leaf::order;
use crate::value::element::Element;
use crate::value::listpack::{Entry, Malformed};
use crate::value::number::{integer_of, parse_f64_bound, write_score};
use crate::value::pack::{self, Pack, Pos};
use alloc::vec::Vec;
use core::ops::Range;

/// More bytes than a member and its score have besides the member's text.
pub(super) const MOST_BESIDES: usize = 40;

/// The score that an entry is.
#[inline]
fn score_of(entry: Entry<'_>) -> f64 {
    match entry {
        Entry::Int(value) => value as f64,
        // Its being a number was checked where it came from.
        Entry::Str(text) => parse_f64_bound(text).unwrap_or_default(),
    }
}

/// Gives `write` a score as it is stored.
#[inline]
fn stored<R>(score: f64, write: impl FnOnce(Element<'_>) -> R) -> R {
    match integer_of(score) {
        Some(value) => write(Element::of_int(value)),
        None => {
            let mut text = Vec::with_capacity(24);
            write_score(&mut text, score);
            write(Element::of_text(&text))
        }
    }
}

/// A member that is there.
pub(super) struct Found {
    pub(super) rank: usize,
    pub(super) pos: Pos,
    pub(super) score: f64,
}

/// Looks for a member.
#[inline]
pub(super) fn find(pack: &Pack, member: &[u8]) -> Option<Found> {
    let (rank, pos) = pack.find(&Element::of_text(member), 2)?;
    let score = score_of(pack.get(pack.next(pos)));
    Some(Found { rank, pos, score })
}

/// The pair of this rank.
pub(super) fn nth(pack: &Pack, rank: usize) -> Option<Pos> {
    pack.nth(rank.checked_mul(2)?)
}

/// How many members from the first on `wanted` says yes to, until it says no.
pub(super) fn count_while(pack: &Pack, wanted: impl Fn(Entry<'_>, f64) -> bool) -> usize {
    SmallIter::new(pack, 0, usize::MAX, false)
        .take_while(|(member, score)| wanted(*member, *score))
        .count()
}

/// The ranks in a range of members, as Redis finds them by walking from one end: from the first that is
/// not outside on this side, without the next `skip`, up to the first that is outside on the other.
pub(super) fn lex_ranks(
    pack: &Pack,
    range: &LexRange<'_>,
    back: bool,
    skip: usize,
) -> Range<usize> {
    let len = pack.len() / 2;
    let end = |back| {
        let rank = if back { len.saturating_sub(1) } else { 0 };
        SmallIter::new(pack, rank, 1, back).next()
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
    let mut members = SmallIter::new(pack, from, len, back)
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

/// Adds a member that comes after all others.
pub(super) fn append(pack: &mut Pack, member: &[u8], score: f64) {
    stored(score, |score| {
        pack.append(&[Element::of_text(member), score])
    });
}

/// The first pair that comes after a member with this score, or the end.
fn place(pack: &Pack, member: &[u8], score: f64) -> Pos {
    let mut pos = pack.first();
    while pos < pack.end() {
        let its_score = pack.next(pos);
        let there = score_of(pack.get(its_score));
        if there > score || (there == score && *pack.get(pos).text() > *member) {
            break;
        }
        pos = pack.next(its_score);
    }
    pos
}

/// Adds a member that is not there.
pub(super) fn insert(pack: &mut Pack, member: &[u8], score: f64) {
    let pos = place(pack, member, score);
    stored(score, |score| {
        pack.insert(pos, &[Element::of_text(member), score]);
    });
}

/// Gives the member at `pos` another score.
pub(super) fn rescore(pack: &mut Pack, pos: Pos, member: &[u8], score: f64) {
    let its_score = pack.next(pos);
    let to = place(pack, member, score);
    if to == pos || to == pack.next(its_score) {
        return stored(score, |score| pack.replace(its_score, &score));
    }
    // What is behind moves, so it is changed first.
    let behind = to > pos;
    if !behind {
        pack.remove(pos, 2);
    }
    stored(score, |score| {
        pack.insert(to, &[Element::of_text(member), score]);
    });
    if behind {
        pack.remove(pos, 2);
    }
}

/// Checks a pack of any origin.
pub(super) fn check(pack: &Pack) -> Result<(), Malformed> {
    if !pack.len().is_multiple_of(2) || !pack.all_differ(2) {
        return Err(Malformed);
    }
    let mut entries = pack.iter();
    let mut previous: Option<(f64, Entry<'_>)> = None;
    while let (Some(member), Some(score)) = (entries.next(), entries.next()) {
        let score = match score {
            Entry::Int(value) => value as f64,
            Entry::Str([]) => return Err(Malformed),
            Entry::Str(text) => parse_f64_bound(text).ok_or(Malformed)?,
        };
        if let Some((before, name)) = previous
            && order((before, &name.text()), (score, &member.text())).is_ge()
        {
            return Err(Malformed);
        }
        previous = Some((score, member));
    }
    Ok(())
}

/// Members of a pack with their scores, in order or against it.
#[derive(Clone)]
pub struct SmallIter<'a> {
    way: Way<'a>,
    left: usize,
}

#[derive(Clone)]
enum Way<'a> {
    Up(pack::Iter<'a>),
    /// A pack can be read from its start only: where the members are was noted on the way there.
    Down(&'a Pack, Vec<Pos>),
}

impl<'a> SmallIter<'a> {
    pub(super) fn new(pack: &'a Pack, rank: usize, count: usize, back: bool) -> SmallIter<'a> {
        let len = pack.len() / 2;
        let left = match (rank < len, back) {
            (false, _) => 0,
            (true, false) => count.min(len - rank),
            (true, true) => count.min(rank + 1),
        };
        let lowest = if back { rank + 1 - left } else { rank };
        let mut pos = match left {
            0 => pack.end(),
            _ => nth(pack, lowest).unwrap_or(pack.end()),
        };
        if !back || left <= 1 {
            let way = Way::Up(pack.iter_from(pos));
            return SmallIter { way, left };
        }
        let mut places = Vec::with_capacity(left);
        for _ in 0..left {
            places.push(pos);
            pos = pack.next(pack.next(pos));
        }
        let way = Way::Down(pack, places);
        SmallIter { way, left }
    }
}

impl<'a> Iterator for SmallIter<'a> {
    type Item = (Entry<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.way {
            Way::Up(entries) => Some((entries.next()?, score_of(entries.next()?))),
            Way::Down(pack, places) => {
                let mut pair = pack.iter_from(places.pop()?);
                Some((pair.next()?, score_of(pair.next()?)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
