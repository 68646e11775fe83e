//! The sorted set: members with scores, in order of (score, member). While it is small it is a [`Pack`] of
//! member, score, member, score, …; then a [`Tree`].

mod chunked;
mod edit;
mod index;
mod leaf;
mod small;
mod tree;

pub use edit::Updated;
pub use tree::Tree;

use super::hash::Limits;
use super::listpack::{Entry, Malformed};
use super::pack::Pack;
use super::sample;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, Range};
use small::SmallIter;
use tree::Bound;

/// A sorted set.
#[derive(Clone)]
pub struct ZSet(Form);

#[derive(Clone)]
enum Form {
    Pack(Pack),
    Tree(Box<Tree>),
}

// It lies in its key's entry, whose tag has eight bytes more.
const _: () = assert!(size_of::<ZSet>() == 16);

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lowest score.
    pub min: f64,
    /// The highest score.
    pub max: f64,
    /// The lowest itself is not in the range.
    pub above_min: bool,
    /// The highest itself is not in the range.
    pub below_max: bool,
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members.
    First,
    /// This member; it is in the range.
    Including(&'a [u8]),
    /// This member; it is not in the range.
    Excluding(&'a [u8]),
    /// After all members.
    Last,
}

/// A range of members, for sets whose scores are all equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Where it begins.
    pub min: LexBound<'a>,
    /// Where it ends.
    pub max: LexBound<'a>,
}

impl ScoreRange {
    /// Whether no score can be in it.
    fn is_empty(&self) -> bool {
        self.min > self.max || (self.min == self.max && (self.above_min || self.below_max))
    }

    fn begins_above(&self, score: f64) -> bool {
        score < self.min || (self.above_min && score == self.min)
    }

    fn reaches(&self, score: f64) -> bool {
        score < self.max || (!self.below_max && score == self.max)
    }
}

impl LexRange<'_> {
    /// Whether no member can be in it.
    fn is_empty(&self) -> bool {
        use LexBound::{Excluding, First, Including, Last};
        match (self.min, self.max) {
            (Last, Last) | (First, First) => false,
            (First, _) | (_, Last) => false,
            (Last, _) | (_, First) => true,
            (Including(min), Including(max)) => min > max,
            (Including(min) | Excluding(min), Including(max) | Excluding(max)) => min >= max,
        }
    }

    fn begins_above(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::First => false,
            LexBound::Including(min) => member < min,
            LexBound::Excluding(min) => member <= min,
            LexBound::Last => true,
        }
    }

    fn reaches(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::First => false,
            LexBound::Including(max) => member <= max,
            LexBound::Excluding(max) => member < max,
            LexBound::Last => true,
        }
    }
}

impl Default for ZSet {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for ZSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl ZSet {
    /// An empty sorted set, in its small form.
    pub fn new() -> ZSet {
        ZSet(Form::Pack(Pack::new()))
    }

    /// Takes a pack of any origin.
    ///
    /// # Errors
    /// It is not members that differ with scores, in order.
    pub fn from_pack(pack: Pack) -> Result<ZSet, Malformed> {
        small::check(&pack)?;
        Ok(ZSet(Form::Pack(pack)))
    }

    /// The name that OBJECT ENCODING shows.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Pack(_) => "listpack",
            Form::Tree(_) => "skiplist",
        }
    }

    /// The small form, if that is what it has.
    pub fn as_pack(&self) -> Option<&Pack> {
        match &self.0 {
            Form::Pack(pack) => Some(pack),
            Form::Tree(_) => None,
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Pack(pack) => pack.len() / 2,
            Form::Tree(tree) => tree.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Pack(pack) => pack.is_empty(),
            Form::Tree(tree) => tree.len() == 0,
        }
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::Pack(pack) => pack.memory_bytes(),
            Form::Tree(tree) => size_of::<Tree>() + tree.memory_bytes(),
        }
    }

    /// A member's score.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Pack(pack) => small::find(pack, member).map(|found| found.score),
            Form::Tree(tree) => tree.score(member),
        }
    }

    /// How many members stand before a member, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Form::Pack(pack) => small::find(pack, member).map(|found| (found.rank, found.score)),
            Form::Tree(tree) => tree.rank(member),
        }
    }

    /// Takes the large form if `more` members of up to `longest` bytes are too much for the small one.
    pub fn make_room(&mut self, more: usize, longest: usize, limits: &Limits) {
        if let Form::Pack(pack) = &self.0 {
            let bytes = (longest.saturating_add(small::MOST_BESIDES)).saturating_mul(more);
            if pack.len() / 2 + more > limits.max_entries
                || longest > limits.max_value
                || !pack.has_room(bytes)
            {
                self.enlarge(limits.hash_key);
            }
        }
    }

    /// Looks a member up, and has `decide` say, from the score that it has, which it shall have; `None`
    /// leaves everything as it is. The new score must not be NaN.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        limits: &Limits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Updated {
        let pack = match &mut self.0 {
            Form::Pack(pack) => pack,
            Form::Tree(tree) => return tree.update(member, decide),
        };
        if let Some(found) = small::find(pack, member) {
            return match decide(Some(found.score)) {
                Some(score) if score != found.score => {
                    small::rescore(pack, found.pos, member, score);
                    Updated::Changed
                }
                Some(_) => Updated::Same,
                None => Updated::Left,
            };
        }
        let Some(score) = decide(None) else {
            return Updated::Left;
        };
        self.make_room(1, member.len(), limits);
        match &mut self.0 {
            Form::Pack(pack) => small::insert(pack, member, score),
            Form::Tree(tree) => tree.add(tree.hash(member), member, score),
        }
        Updated::Added
    }

    /// Gives a member this score, whether it is there or not.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> Updated {
        self.update(member, limits, |_| Some(score))
    }

    /// Removes a member; returns the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Pack(pack) => {
                let found = small::find(pack, member)?;
                pack.remove(found.pos, 2);
                Some(found.score)
            }
            Form::Tree(tree) => tree.remove(member),
        }
    }

    /// Removes the `count` members from the one of this rank on.
    pub fn remove_range(&mut self, rank: usize, count: usize) {
        match &mut self.0 {
            Form::Pack(pack) => {
                if let Some(pos) = small::nth(pack, rank) {
                    pack.remove(pos, count.saturating_mul(2));
                }
            }
            Form::Tree(tree) => tree.remove_range(rank, count),
        }
    }

    /// The ranks of the members whose scores are in a range.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let (start, end) = match &self.0 {
            Form::Pack(pack) => (
                small::count_while(pack, |_, score| range.begins_above(score)),
                small::count_while(pack, |_, score| range.reaches(score)),
            ),
            Form::Tree(tree) => (
                tree.count_before(Bound::Score(range.min, range.above_min)),
                tree.count_before(Bound::Score(range.max, !range.below_max)),
            ),
        };
        start..end.max(start)
    }

    /// The ranks of the members in a range. (Where scores differ, so that members are not in order, the small
    /// form gives what Redis gives, which depends on the end that is looked from: `back`.) Without the first
    /// `skip` from that end.
    pub fn lex_ranks(&self, range: &LexRange<'_>, back: bool, skip: usize) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let tree = match &self.0 {
            Form::Pack(pack) => return small::lex_ranks(pack, range, back, skip),
            Form::Tree(tree) => tree,
        };
        let start = match range.min {
            LexBound::First => 0,
            LexBound::Including(min) => tree.count_before(Bound::Member(min, false)),
            LexBound::Excluding(min) => tree.count_before(Bound::Member(min, true)),
            LexBound::Last => tree.len(),
        };
        let end = match range.max {
            LexBound::First => 0,
            LexBound::Including(max) => tree.count_before(Bound::Member(max, true)),
            LexBound::Excluding(max) => tree.count_before(Bound::Member(max, false)),
            LexBound::Last => tree.len(),
        };
        let skip = skip.min(end.saturating_sub(start));
        if back {
            start..(end - skip).max(start)
        } else {
            start + skip..end.max(start + skip)
        }
    }

    /// `count` members (or all there are) from the one of this rank on, upwards or, if `back`, downwards.
    pub fn range(&self, rank: usize, count: usize, back: bool) -> Members<'_> {
        match &self.0 {
            Form::Pack(pack) => Members::Pack(SmallIter::new(pack, rank, count, back)),
            Form::Tree(tree) => Members::Tree(tree.range(rank, count, back)),
        }
    }

    /// The members with these ranks; downwards, if `back`.
    pub fn slice(&self, ranks: Range<usize>, back: bool) -> Members<'_> {
        let first = if back {
            ranks.end.saturating_sub(1)
        } else {
            ranks.start
        };
        self.range(first, ranks.len(), back)
    }

    /// All members with their scores, in order.
    pub fn iter(&self) -> Members<'_> {
        self.range(0, usize::MAX, false)
    }

    /// A member chosen by one random word.
    pub fn random(&self, word: u64) -> Option<(Entry<'_>, f64)> {
        self.range(sample::below(self.len(), word), 1, false).next()
    }

    /// `count` different members (all, if there are fewer), every choice of them equally likely.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        random: &mut dyn FnMut() -> u64,
        mut emit: impl FnMut(Entry<'a>, f64),
    ) {
        let chosen = sample::distinct(self.len(), count, random);
        if self.as_pack().is_some() || count > self.len() / 8 {
            let mut chosen = chosen.into_iter().peekable();
            for (i, (member, score)) in self.iter().enumerate() {
                if chosen.next_if_eq(&i).is_some() {
                    emit(member, score);
                }
            }
        } else {
            for rank in chosen {
                self.range(rank, 1, false)
                    .for_each(|(member, score)| emit(member, score));
            }
        }
    }

    /// Calls `emit` with the members of one step of a scan; returns the cursor of the next, 0 at the end. A
    /// member that stays is met at least once; the small form is given in one step.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(Entry<'_>, f64)) -> u64 {
        match &self.0 {
            Form::Pack(_) => {
                self.iter().for_each(|(member, score)| emit(member, score));
                0
            }
            Form::Tree(tree) => tree.scan(cursor, count, |member, score| {
                emit(Entry::Str(member), score)
            }),
        }
    }

    /// Takes the small form again if all fits into it, as what commands store does.
    pub fn fit(&mut self, limits: &Limits) {
        let Form::Tree(tree) = &self.0 else { return };
        if tree.len() > limits.max_entries {
            return;
        }
        let (mut longest, mut total) = (0, 0usize);
        for (member, _) in tree.range(0, usize::MAX, false) {
            longest = longest.max(member.len());
            total = total.saturating_add(member.len());
        }
        if longest > limits.max_value
            || !Pack::new()
                .has_room(total.saturating_add(tree.len().saturating_mul(small::MOST_BESIDES)))
        {
            return;
        }
        let mut pack = Pack::new();
        for (member, score) in tree.range(0, usize::MAX, false) {
            small::append(&mut pack, member, score);
        }
        self.0 = Form::Pack(pack);
    }

    /// A sorted set of these members, which differ; in the small form if they fit into it.
    pub fn from_members<M: Deref<Target = [u8]>>(
        mut members: Vec<(M, f64)>,
        limits: &Limits,
    ) -> ZSet {
        members.sort_unstable_by(|a, b| leaf::order((a.1, &*a.0), (b.1, &*b.0)));
        let longest = members.iter().map(|m| m.0.len()).max();
        let mut set = ZSet::new();
        set.make_room(members.len(), longest.unwrap_or(0), limits);
        for (member, score) in &members {
            match &mut set.0 {
                Form::Pack(pack) => small::append(pack, member, *score),
                Form::Tree(tree) => tree.add(tree.hash(member), member, *score),
            }
        }
        set
    }

    /// Frees up to about `budget` chunks; returns whether all is freed. The set is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        match &mut self.0 {
            Form::Pack(pack) => {
                *pack = Pack::new();
                true
            }
            Form::Tree(tree) => tree.free_step(budget),
        }
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        match &self.0 {
            Form::Pack(pack) => {
                pack.invariants();
                assert!(small::check(pack).is_ok());
            }
            Form::Tree(tree) => tree.invariants(),
        }
    }

    #[cold]
    fn enlarge(&mut self, hash_key: (u64, u64)) {
        let mut tree = Tree::new(hash_key);
        for (member, score) in self.iter() {
            let member = member.text();
            tree.add(tree.hash(&member), &member, score);
        }
        self.0 = Form::Tree(Box::new(tree));
    }
}

impl<'a> IntoIterator for &'a ZSet {
    type Item = (Entry<'a>, f64);
    type IntoIter = Members<'a>;

    fn into_iter(self) -> Members<'a> {
        self.iter()
    }
}

/// Members with their scores.
#[derive(Clone)]
pub enum Members<'a> {
    /// From the small form.
    Pack(SmallIter<'a>),
    /// From the large form.
    Tree(tree::Iter<'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = (Entry<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Members::Pack(iter) => iter.next(),
            Members::Tree(iter) => {
                let (member, score) = iter.next()?;
                Some((Entry::Str(member), score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Members::Pack(iter) => iter.size_hint(),
            Members::Tree(iter) => iter.size_hint(),
        }
    }
}

impl ExactSizeIterator for Members<'_> {}

#[cfg(test)]
mod tests;
