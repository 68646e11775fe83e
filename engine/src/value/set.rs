//! The set value: members without values, as an [`IntSet`] while all are integers and few, as a [`Pack`]
//! while they are few and short, as a [`HashTable`] with empty values once they are not. It never goes back
//! by itself.

use super::element::Element;
use super::hashtable::{self, Ahead, HashTable, Position};
use super::intset::{self, IntSet};
use super::listpack::{Entry, Malformed};
use super::number::{i64_text_len, parse_i64};
use super::pack::{self, Pack};
use super::sample;
use alloc::boxed::Box;

/// Up to where a set stays in its small forms, and the key of its hash function when it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most integers in an intset.
    pub max_intset: usize,
    /// The most members in a pack.
    pub max_listpack: usize,
    /// The longest member in a pack, in bytes.
    pub max_value: usize,
    /// The secret key of the table's hash function.
    pub hash_key: (u64, u64),
}

/// An intset is never larger, whatever is configured.
const MOST_INTEGERS: usize = 1 << 30;

/// A set value.
#[derive(Clone, Debug)]
pub struct Set(Form);

#[derive(Clone, Debug)]
enum Form {
    IntSet(IntSet),
    Pack(Pack),
    Table(Box<HashTable>),
}

// It lies in its key's entry, whose tag has eight bytes more.
const _: () = assert!(size_of::<Set>() == 16);

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

impl Set {
    /// An empty set, in its smallest form.
    pub fn new() -> Set {
        Set(Form::IntSet(IntSet::new()))
    }

    /// An empty set in its large form, to be filled with more than the small forms hold.
    pub fn new_table(hash_key: (u64, u64)) -> Set {
        Set(Form::Table(Box::new(HashTable::new(hash_key))))
    }

    /// An empty set in the form that `count` members, of which this is the first, are likely to need.
    pub fn for_members(first: &[u8], count: usize, limits: &Limits) -> Set {
        if count <= limits.max_intset && parse_i64(first).is_some() {
            Set::new()
        } else if count <= limits.max_listpack {
            Set(Form::Pack(Pack::new()))
        } else {
            Set::new_table(limits.hash_key)
        }
    }

    /// Takes an intset, as the large form if there are more integers than the small one takes.
    pub fn from_intset(integers: IntSet, limits: &Limits) -> Set {
        let mut set = Set(Form::IntSet(integers));
        if set.len() > limits.max_intset {
            set.convert(limits.hash_key);
        }
        set
    }

    /// Takes a pack of any origin, as the large form if that is what the limits ask for.
    ///
    /// # Errors
    /// A member is there twice.
    pub fn from_pack(pack: Pack, limits: &Limits) -> Result<Set, Malformed> {
        if !pack.all_differ(1) {
            return Err(Malformed);
        }
        let large = pack.len() > limits.max_listpack;
        let mut set = Set(Form::Pack(pack));
        if large {
            set.convert(limits.hash_key);
        }
        Ok(set)
    }

    /// The name that OBJECT ENCODING shows.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::IntSet(_) => "intset",
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// The integers, if that is the form it has.
    pub fn as_intset(&self) -> Option<&IntSet> {
        match &self.0 {
            Form::IntSet(integers) => Some(integers),
            _ => None,
        }
    }

    /// The small form of texts, if that is what it has.
    pub fn as_pack(&self) -> Option<&Pack> {
        match &self.0 {
            Form::Pack(pack) => Some(pack),
            _ => None,
        }
    }

    /// The large form, if that is what it has.
    pub fn as_table(&self) -> Option<&HashTable> {
        match &self.0 {
            Form::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::IntSet(integers) => integers.len(),
            Form::Pack(pack) => pack.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::IntSet(integers) => integers.is_empty(),
            Form::Pack(pack) => pack.is_empty(),
            Form::Table(table) => table.is_empty(),
        }
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::IntSet(integers) => integers.memory_bytes(),
            Form::Pack(pack) => pack.memory_bytes(),
            Form::Table(table) => size_of::<HashTable>() + table.memory_bytes(),
        }
    }

    /// The lookup of a member that is about to be made, if it is worth fetching ahead.
    #[inline]
    pub fn ahead(&self, member: &[u8]) -> Option<Ahead<'_>> {
        match &self.0 {
            Form::Table(table) => table.ahead(member),
            Form::IntSet(_) | Form::Pack(_) => None,
        }
    }

    /// Whether a member is there.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::IntSet(integers) => parse_i64(member).is_some_and(|n| integers.contains(n)),
            Form::Pack(pack) => pack.find(&Element::of_text(member), 1).is_some(),
            Form::Table(table) => table.contains(member),
        }
    }

    /// Whether another set's member is there.
    #[inline]
    pub fn contains_entry(&self, member: Entry<'_>) -> bool {
        match (&self.0, member) {
            (Form::IntSet(integers), Entry::Int(n)) => integers.contains(n),
            _ => self.contains(&member.text()),
        }
    }

    /// Takes the large form if this many members on their way are too many for a small one, even if they
    /// were there already: that spares those who add many the steps between.
    pub fn make_room(&mut self, count: usize, limits: &Limits) {
        let large = match &self.0 {
            Form::IntSet(_) => count > limits.max_intset,
            Form::Pack(_) => count > limits.max_listpack,
            Form::Table(_) => false,
        };
        if large {
            self.convert(limits.hash_key);
        }
    }

    /// Adds a member; returns whether it is new.
    #[inline]
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Form::Table(table) => table.insert_new(member, b""),
            _ => self.insert_small(member, limits),
        }
    }

    /// Adds another set's member; returns whether it is new.
    pub fn insert_entry(&mut self, member: Entry<'_>, limits: &Limits) -> bool {
        match (&mut self.0, member) {
            (Form::IntSet(integers), Entry::Int(n)) if integers.len() < limits.max_intset => {
                integers.insert(n)
            }
            _ => self.insert(&member.text(), limits),
        }
    }

    fn insert_small(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Form::IntSet(integers) => {
                if let Some(n) = parse_i64(member) {
                    let added = integers.insert(n);
                    if integers.len() > limits.max_intset.min(MOST_INTEGERS) {
                        self.convert(limits.hash_key);
                    }
                    return added;
                }
                let longest = integers
                    .bounds()
                    .map_or(0, |(min, max)| i64_text_len(min).max(i64_text_len(max)));
                if !fits(integers.len(), member.len().max(longest), limits) {
                    self.convert(limits.hash_key);
                    return self.insert(member, limits);
                }
                // An integer takes at most nine bytes there.
                let room = integers.len() * 9 + member.len() + 5;
                let members = integers.iter().map(Element::of_int);
                let all = members.chain([Element::of_text(member)]);
                self.0 = Form::Pack(Pack::of(room, all));
                true
            }
            Form::Pack(pack) => {
                let element = Element::of_text(member);
                if pack.find(&element, 1).is_some() {
                    return false;
                }
                if fits(pack.len(), member.len(), limits) && pack.has_room(element.size()) {
                    pack.append(&[element]);
                    return true;
                }
                self.convert(limits.hash_key);
                self.insert(member, limits)
            }
            Form::Table(table) => table.insert_new(member, b""),
        }
    }

    /// Removes a member; returns whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::IntSet(integers) => parse_i64(member).is_some_and(|n| integers.remove(n)),
            Form::Pack(pack) => match pack.find(&Element::of_text(member), 1) {
                Some((_, pos)) => {
                    pack.remove(pos, 1);
                    true
                }
                None => false,
            },
            Form::Table(table) => table.remove(member),
        }
    }

    /// All members.
    pub fn iter(&self) -> Members<'_> {
        match &self.0 {
            Form::IntSet(integers) => Members::IntSet(integers.iter()),
            Form::Pack(pack) => Members::Pack(pack.iter()),
            Form::Table(table) => Members::Table(table.iter()),
        }
    }

    /// The member number `n` in the order of iteration.
    pub fn nth(&self, n: usize) -> Option<Entry<'_>> {
        match &self.0 {
            Form::IntSet(integers) => integers.nth(n).map(Entry::Int),
            Form::Pack(pack) => Some(pack.get(pack.nth(n)?)),
            Form::Table(table) => table.nth(n).map(|(member, _)| Entry::Str(member)),
        }
    }

    /// A member chosen by one random word.
    pub fn random(&self, word: u64) -> Option<Entry<'_>> {
        self.nth(sample::below(self.len(), word))
    }

    /// Calls `emit` with `count` different members (all, if there are fewer), every choice of them equally
    /// likely.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        random: &mut dyn FnMut() -> u64,
        mut emit: impl FnMut(Entry<'a>),
    ) {
        let len = self.len();
        if count >= len {
            return self.iter().for_each(emit);
        }
        let chosen = sample::distinct(len, count, random);
        if matches!(self.0, Form::Pack(_)) || count > len / 4 {
            let mut chosen = chosen.into_iter().peekable();
            for (i, member) in self.iter().enumerate() {
                if chosen.next_if_eq(&i).is_some() {
                    emit(member);
                }
            }
        } else {
            chosen
                .into_iter()
                .filter_map(|n| self.nth(n))
                .for_each(emit);
        }
    }

    /// Calls `emit` with the members of one step of a scan; returns the cursor of the next, 0 at the end. See
    /// [`HashTable::scan`]; the small forms are given in one step.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(Entry<'_>)) -> u64 {
        match &self.0 {
            Form::Table(table) => table.scan(cursor, count, |member, _| emit(Entry::Str(member))),
            _ => {
                self.iter().for_each(emit);
                0
            }
        }
    }

    /// Frees up to about `budget` chunks; returns whether all is freed. The set is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        match &mut self.0 {
            Form::Table(table) => table.free_step(budget),
            _ => {
                *self = Set::new();
                true
            }
        }
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        match &self.0 {
            Form::IntSet(integers) => assert!(
                integers.is_empty()
                    || IntSet::from_bytes(integers.bytes().to_vec()).as_ref() == Ok(integers)
            ),
            Form::Pack(pack) => {
                pack.invariants();
                let any = Limits {
                    max_intset: usize::MAX,
                    max_listpack: usize::MAX,
                    max_value: usize::MAX,
                    hash_key: (0, 0),
                };
                assert!(Set::from_pack(pack.clone(), &any).is_ok());
            }
            Form::Table(table) => {
                table.invariants();
                assert!(table.iter().all(|(_, value)| value.is_empty()));
            }
        }
    }

    fn convert(&mut self, hash_key: (u64, u64)) {
        let mut table = HashTable::new(hash_key);
        for member in self.iter() {
            table.insert(&member.text(), b"");
        }
        self.0 = Form::Table(Box::new(table));
    }
}

/// Whether a pack of this many members may have one more of this length.
fn fits(len: usize, longest: usize, limits: &Limits) -> bool {
    len < limits.max_listpack && longest <= limits.max_value
}

impl<'a> IntoIterator for &'a Set {
    type Item = Entry<'a>;
    type IntoIter = Members<'a>;

    fn into_iter(self) -> Members<'a> {
        self.iter()
    }
}

/// Members of a set.
#[derive(Clone)]
pub enum Members<'a> {
    /// From an intset.
    IntSet(intset::Iter<'a>),
    /// From a pack.
    Pack(pack::Iter<'a>),
    /// From the large form.
    Table(hashtable::Iter<'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        match self {
            Members::IntSet(integers) => integers.next().map(Entry::Int),
            Members::Pack(entries) => entries.next(),
            Members::Table(entries) => entries.next().map(|(member, _)| Entry::Str(member)),
        }
    }
}

impl Set {
    /// The members of the large form from a position on; with the position after up to `count` of them,
    /// `None` at the end.
    pub fn part(
        &self,
        from: Position,
        count: usize,
        mut emit: impl FnMut(&[u8]),
    ) -> Option<Position> {
        let mut members = self.as_table()?.iter_from(from);
        for _ in 0..count {
            emit(members.next()?.0);
        }
        Some(members.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        max_intset: 8,
        max_listpack: 6,
        max_value: 10,
        hash_key: (1, 2),
    };

    fn of(members: &[&str]) -> Set {
        let mut set = Set::new();
        for member in members {
            set.insert(member.as_bytes(), &LIMITS);
        }
        set
    }

    fn contents(set: &Set) -> BTreeSet<Vec<u8>> {
        set.iter().map(|member| member.text().to_vec()).collect()
    }

    #[test]
    fn the_small_forms_end_beyond_their_limits() {
        let numbers: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(|n| &n[..]).collect();
        let with = |count: usize, more: &str| {
            let mut set = of(&numbers[..count]);
            set.insert(more.as_bytes(), &LIMITS);
            set.invariants();
            assert_eq!(set.len(), count + 1);
            set.encoding()
        };
        assert_eq!(with(7, "7"), "intset");
        assert_eq!(with(8, "8"), "hashtable");
        assert_eq!(with(5, "a"), "listpack");
        assert_eq!(with(6, "a"), "hashtable");
        assert_eq!(with(2, "0123456789"), "listpack");
        assert_eq!(with(2, "long member"), "hashtable");
        let mut long = of(&["12345678901"]);
        long.insert(b"a", &LIMITS);
        assert_eq!(long.encoding(), "hashtable", "an integer is too long, too");
        let mut list = of(&["a", "b", "c", "d", "e", "f"]);
        assert!(!list.insert(b"f", &LIMITS));
        assert_eq!(list.encoding(), "listpack");
        assert!(list.insert(b"g", &LIMITS));
        assert_eq!(list.encoding(), "hashtable");
    }

    #[test]
    fn the_first_member_and_the_number_decide_the_form() {
        for (first, count, encoding) in [
            ("1", 8, "intset"),
            ("1", 9, "hashtable"),
            ("a", 6, "listpack"),
            ("a", 7, "hashtable"),
            ("1", 7, "intset"),
        ] {
            let set = Set::for_members(first.as_bytes(), count, &LIMITS);
            assert_eq!(set.encoding(), encoding, "{first} {count}");
        }
        let mut set = of(&["1"]);
        set.make_room(8, &LIMITS);
        assert_eq!(set.encoding(), "intset");
        set.make_room(9, &LIMITS);
        assert_eq!((set.encoding(), set.len()), ("hashtable", 1));
    }

    #[test]
    fn foreign_packs_must_have_members_that_differ() {
        let list = |texts: &[&str]| {
            let members = texts.iter().map(|text| Element::of_text(text.as_bytes()));
            Set::from_pack(Pack::of(0, members), &LIMITS)
        };
        assert!(list(&["a", "b", "1"]).is_ok());
        assert!(list(&["a", "b", "a"]).is_err());
        assert!(list(&["1", "b", "1"]).is_err());
        let many = list(&["a", "b", "c", "d", "e", "f", "g"]).unwrap();
        assert_eq!((many.encoding(), many.len()), ("hashtable", 7));
    }

    #[test]
    fn samples_are_of_different_members() {
        let mut state = 9u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state ^ state >> 29
        };
        let numbered = |prefix: &str, n: usize| {
            let mut set = Set::new();
            for i in 0..n {
                set.insert(format!("{prefix}{i}").as_bytes(), &LIMITS);
            }
            set
        };
        for set in [numbered("", 8), numbered("f", 6), numbered("f", 500)] {
            let len = set.len();
            for count in [0, 1, 5, len / 2, len - 1, len, len + 5] {
                let (mut seen, mut calls) = (BTreeSet::new(), 0);
                set.sample(count, &mut random, |member| {
                    seen.insert(member.text().to_vec());
                    calls += 1;
                });
                assert_eq!((seen.len(), calls), (count.min(len), count.min(len)));
            }
            let seen: BTreeSet<_> = (0..20 * len)
                .filter_map(|_| set.random(random()))
                .map(|member| member.text().to_vec())
                .collect();
            assert_eq!(seen.len(), len, "a member that is never chosen");
        }
        assert!(Set::new().random(7).is_none());
    }

    /// The target is 26 bytes a member: 0.4 of what Redis 7.0 takes.
    #[test]
    fn a_member_of_ten_digits_takes_few_bytes() {
        for count in [20_000u64, 26_000, 33_000, 41_000] {
            let mut set = Set::new_table((3, 4));
            for n in 0..count {
                let n = 1_000_000_000 + n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 9_000_000_000;
                set.insert(n.to_string().as_bytes(), &LIMITS);
            }
            let each = set.memory_bytes() as f64 / set.len() as f64;
            assert!(each < 22.0, "{count}: {each}");
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(Vec<u8>),
        Remove(Vec<u8>),
        Snapshot,
        Free,
    }

    fn member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => (0u8..12).prop_map(|i| i.to_string().into_bytes()),
            4 => (0u8..6).prop_map(|i| format!("f{i}").into_bytes()),
            1 => any::<i64>().prop_map(|i| (i >> 40).to_string().into_bytes()),
            1 => proptest::collection::vec(any::<u8>(), 0..12),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            12 => member().prop_map(Op::Insert),
            8 => member().prop_map(Op::Remove),
            2 => Just(Op::Snapshot),
            1 => Just(Op::Free),
        ]
    }

    proptest! {
        #[test]
        fn like_a_btree_set(ops in proptest::collection::vec(op(), 1..80)) {
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            let mut snapshots = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(member) => {
                        prop_assert_eq!(set.insert(&member, &LIMITS), model.insert(member));
                    }
                    Op::Remove(member) => {
                        prop_assert_eq!(set.remove(&member), model.remove(&member));
                    }
                    Op::Snapshot => snapshots.push((set.clone(), model.clone())),
                    Op::Free => {
                        while !set.free_step(1) {}
                        model.clear();
                    }
                }
                set.invariants();
                prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            }
            snapshots.push((set, model));
            for (set, model) in snapshots {
                set.invariants();
                prop_assert_eq!(&contents(&set), &model);
                prop_assert!(model.iter().all(|member| set.contains(member)));
                prop_assert!(!set.contains(b"not there"));
                let other: BTreeSet<_> = (0..set.len())
                    .filter_map(|n| set.nth(n))
                    .map(|member| member.text().to_vec())
                    .collect();
                prop_assert_eq!(&other, &model);
                let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
                loop {
                    cursor = set.scan(cursor, 3, |member| {
                        scanned.insert(member.text().to_vec());
                    });
                    if cursor == 0 {
                        break;
                    }
                }
                prop_assert_eq!(&scanned, &model);
                let (mut copied, mut from) = (BTreeSet::new(), Some(Position::default()));
                while let Some(position) = from {
                    from = set.part(position, 2, |member| {
                        copied.insert(member.to_vec());
                    });
                }
                prop_assert!(set.as_table().is_none() || copied == model);
            }
        }
    }
}
