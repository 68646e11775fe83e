//! The hash value: fields with values, as a [`Pack`] of pairs while it is small, as a [`HashTable`] once
//! it is not. It never goes back.
//!
//! Fields may expire. A hash knows nothing of the time: that a field is due is seen by who looks at it
//! [as of a time](Hash::at).

mod times;

use super::element::Element;
use super::hashtable::{self, Ahead, HashTable};
use super::listpack::{Entry, Malformed};
use super::pack::{self, Pack};
use super::sample;
use alloc::boxed::Box;
use alloc::vec::Vec;
use times::Times;

pub use times::MAX_TIME_MS;

/// Up to where a collection stays small, and the key of its hash function when it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most entries (pairs, for a hash) in the small form.
    pub max_entries: usize,
    /// The longest element in the small form, in bytes.
    pub max_value: usize,
    /// The secret key of the table's hash function.
    pub hash_key: (u64, u64),
}

/// A hash value.
#[derive(Clone, Debug)]
pub struct Hash(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Plain(Form),
    /// Some fields expire, or did once.
    Timed(Box<Timed>),
}

#[derive(Clone, Debug)]
struct Timed {
    form: Form,
    times: Times,
}

#[derive(Clone, Debug)]
enum Form {
    Pack(Pack),
    Table(Box<HashTable>),
}

// It lies in its key's entry, whose tag has eight bytes more.
const _: () = assert!(size_of::<Hash>() == 16);

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash {
    /// An empty hash, in its small form.
    pub fn new() -> Hash {
        Hash(Shape::Plain(Form::Pack(Pack::new())))
    }

    /// An empty hash in its large form, to be filled with more than the small form holds.
    pub fn new_table(hash_key: (u64, u64)) -> Hash {
        Hash(Shape::Plain(Form::Table(Box::new(HashTable::new(
            hash_key,
        )))))
    }

    /// Takes a pack of any origin.
    ///
    /// # Errors
    /// It is not pairs whose fields differ.
    pub fn from_pack(pack: Pack) -> Result<Hash, Malformed> {
        if pack.len().is_multiple_of(2) && pack.all_differ(2) {
            Ok(Hash(Shape::Plain(Form::Pack(pack))))
        } else {
            Err(Malformed)
        }
    }

    #[inline]
    fn form(&self) -> &Form {
        match &self.0 {
            Shape::Plain(form) => form,
            Shape::Timed(timed) => &timed.form,
        }
    }

    #[inline]
    fn form_mut(&mut self) -> &mut Form {
        match &mut self.0 {
            Shape::Plain(form) => form,
            Shape::Timed(timed) => &mut timed.form,
        }
    }

    #[inline]
    fn times(&self) -> Option<&Times> {
        match &self.0 {
            Shape::Plain(_) => None,
            Shape::Timed(timed) => Some(&timed.times),
        }
    }

    /// Number of fields that expire.
    pub fn timed_len(&self) -> usize {
        self.times().map_or(0, Times::len)
    }

    /// When the first field expires, in Unix milliseconds.
    #[inline]
    pub fn next_time(&self) -> Option<u64> {
        self.times().and_then(Times::next)
    }

    /// When a field expires, in Unix milliseconds.
    pub fn time(&self, field: &[u8]) -> Option<u64> {
        self.times()?.get(field)
    }

    /// Fields are to expire: it is one of those from now on for which OBJECT ENCODING has a name of its own, even if
    /// none of them is there.
    pub fn expect_times(&mut self, hash_key: (u64, u64)) {
        if let Shape::Plain(form) = &mut self.0 {
            let form = core::mem::replace(form, Form::Pack(Pack::new()));
            let times = Times::new(hash_key);
            self.0 = Shape::Timed(Box::new(Timed { form, times }));
        }
    }

    /// Sets when a field, which must be there, expires (at most [`MAX_TIME_MS`]), or that it does not.
    pub fn set_time(&mut self, field: &[u8], time: Option<u64>, hash_key: (u64, u64)) {
        if time.is_some() {
            self.expect_times(hash_key);
        }
        if let Shape::Timed(timed) = &mut self.0 {
            timed.times.set(field, time);
        }
    }

    /// Up to `limit` fields that expire before a Unix time in milliseconds.
    pub fn due(&self, before: u64, limit: usize) -> Vec<Vec<u8>> {
        self.times().map_or_else(Vec::new, |t| t.due(before, limit))
    }

    /// The hash without the fields that expire before a Unix time in milliseconds.
    #[inline]
    pub fn at(&self, before: u64) -> Live<'_> {
        let due = self.next_time().is_some_and(|next| next < before);
        Live {
            hash: self,
            before: if due { before } else { 0 },
        }
    }

    /// The name that OBJECT ENCODING shows.
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            Form::Pack(_) if self.times().is_some() => "listpackex",
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// The small form, if that is what it has.
    pub fn as_pack(&self) -> Option<&Pack> {
        match self.form() {
            Form::Pack(pack) => Some(pack),
            Form::Table(_) => None,
        }
    }

    /// The large form, if that is what it has.
    pub fn as_table(&self) -> Option<&HashTable> {
        match self.form() {
            Form::Pack(_) => None,
            Form::Table(table) => Some(table),
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Pack(pack) => pack.len() / 2,
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        match self.form() {
            Form::Pack(pack) => pack.is_empty(),
            Form::Table(table) => table.is_empty(),
        }
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        let form = match self.form() {
            Form::Pack(pack) => pack.memory_bytes(),
            Form::Table(table) => size_of::<HashTable>() + table.memory_bytes(),
        };
        form + self
            .times()
            .map_or(0, |times| size_of::<Form>() + times.memory_bytes())
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Entry<'_>> {
        match self.form() {
            Form::Pack(pack) => value_of(pack, field).map(|pos| pack.get(pos)),
            Form::Table(table) => table.get(field).map(Entry::Str),
        }
    }

    /// The lookup of a field that is about to be made, if it is worth fetching ahead.
    #[inline]
    pub fn ahead(&self, field: &[u8]) -> Option<Ahead<'_>> {
        match self.form() {
            Form::Table(table) => table.ahead(field),
            Form::Pack(_) => None,
        }
    }

    /// Whether a field is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        match self.form() {
            Form::Pack(pack) => pack.find(&Element::of_text(field), 2).is_some(),
            Form::Table(table) => table.contains(field),
        }
    }

    /// Takes the large form if an element of this length is too long for the small one. HSET asks so of
    /// all its arguments before it sets the first.
    pub fn make_room(&mut self, element_len: usize, limits: &Limits) {
        if let Form::Pack(pack) = self.form() {
            // A field and a value of this length, and their heads.
            let bytes = element_len.saturating_add(5).saturating_mul(2);
            if element_len > limits.max_value || !pack.has_room(bytes) {
                self.convert(limits.hash_key);
            }
        }
    }

    /// Sets a field's value, not its time; returns whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.make_room(field.len().max(value.len()), limits);
        let pack = match self.form_mut() {
            Form::Pack(pack) => pack,
            Form::Table(table) => return table.insert(field, value),
        };
        let (name, value) = (Element::of_text(field), Element::of_text(value));
        if let Some((_, pos)) = pack.find(&name, 2) {
            pack.replace(pack.next(pos), &value);
            return false;
        }
        pack.append(&[name, value]);
        if pack.len() / 2 > limits.max_entries {
            self.convert(limits.hash_key);
        }
        true
    }

    /// Removes a field; returns whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        if let Shape::Timed(timed) = &mut self.0 {
            timed.times.set(field, None);
        }
        match self.form_mut() {
            Form::Pack(pack) => match pack.find(&Element::of_text(field), 2) {
                Some((_, pos)) => {
                    pack.remove(pos, 2);
                    true
                }
                None => false,
            },
            Form::Table(table) => table.remove(field),
        }
    }

    /// All fields with their values.
    pub fn iter(&self) -> Pairs<'_> {
        match self.form() {
            Form::Pack(pack) => Pairs::Pack(pack.iter()),
            Form::Table(table) => Pairs::Table(table.iter()),
        }
    }

    /// The pair number `n` in the order of iteration.
    pub fn nth(&self, n: usize) -> Option<(Entry<'_>, Entry<'_>)> {
        match self.form() {
            Form::Pack(pack) => {
                let field = pack.nth(n.checked_mul(2)?)?;
                Some((pack.get(field), pack.get(pack.next(field))))
            }
            Form::Table(table) => table
                .nth(n)
                .map(|(field, value)| (Entry::Str(field), Entry::Str(value))),
        }
    }

    /// A pair chosen by one random word.
    pub fn random(&self, word: u64) -> Option<(Entry<'_>, Entry<'_>)> {
        self.nth(sample::below(self.len(), word))
    }

    /// Calls `emit` with `count` different pairs (all, if there are fewer), every choice of them equally
    /// likely.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        random: &mut dyn FnMut() -> u64,
        mut emit: impl FnMut(Entry<'a>, Entry<'a>),
    ) {
        let len = self.len();
        if count >= len {
            return self.iter().for_each(|(field, value)| emit(field, value));
        }
        let chosen = sample::distinct(len, count, random);
        if self.as_pack().is_some() || count > len / 4 {
            let mut chosen = chosen.into_iter().peekable();
            for (i, (field, value)) in self.iter().enumerate() {
                if chosen.next_if_eq(&i).is_some() {
                    emit(field, value);
                }
            }
        } else {
            for (field, value) in chosen.into_iter().filter_map(|n| self.nth(n)) {
                emit(field, value);
            }
        }
    }

    /// Calls `emit` with the pairs of one step of a scan; returns the cursor of the next, 0 at the end. See
    /// [`HashTable::scan`]; the small form is given in one step.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut emit: impl FnMut(Entry<'_>, Entry<'_>),
    ) -> u64 {
        match self.form() {
            Form::Pack(_) => {
                self.iter().for_each(|(field, value)| emit(field, value));
                0
            }
            Form::Table(table) => table.scan(cursor, count, |field, value| {
                emit(Entry::Str(field), Entry::Str(value))
            }),
        }
    }

    /// Frees up to about `budget` chunks; returns whether all is freed. The hash is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        if let Shape::Timed(timed) = &mut self.0
            && !timed.times.free_step(budget)
        {
            return false;
        }
        match self.form_mut() {
            Form::Pack(pack) => {
                *pack = Pack::new();
                true
            }
            Form::Table(table) => table.free_step(budget),
        }
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        if let Some(times) = self.times() {
            times.invariants(|field| self.contains(field));
        }
        match self.form() {
            Form::Pack(pack) => {
                pack.invariants();
                assert!(Hash::from_pack(pack.clone()).is_ok());
            }
            Form::Table(table) => table.invariants(),
        }
    }

    fn convert(&mut self, hash_key: (u64, u64)) {
        let mut table = HashTable::new(hash_key);
        for (field, value) in self.iter() {
            table.insert(&field.text(), &value.text());
        }
        *self.form_mut() = Form::Table(Box::new(table));
    }
}

/// A hash as of a time: fields that are due are not seen.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    hash: &'a Hash,
    /// 0 if no field is due.
    before: u64,
}

impl<'a> Live<'a> {
    /// The hash, with all that is in it.
    pub fn whole(self) -> &'a Hash {
        self.hash
    }

    /// Whether some fields are not seen.
    pub fn hides_some(self) -> bool {
        self.before > 0
    }

    /// Whether a field of the hash is seen.
    #[inline]
    pub fn shows(self, field: &[u8]) -> bool {
        self.before == 0 || self.hash.time(field).is_none_or(|t| t >= self.before)
    }

    /// The value of a field.
    #[inline]
    pub fn get(self, field: &[u8]) -> Option<Entry<'a>> {
        self.hash.get(field).filter(|_| self.shows(field))
    }

    /// Number of fields.
    pub fn len(self) -> usize {
        match self.hash.times() {
            Some(times) if self.hides_some() => self.hash.len() - times.count_due(self.before),
            _ => self.hash.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// All fields with their values.
    pub fn iter(self) -> impl Iterator<Item = (Entry<'a>, Entry<'a>)> {
        self.hash
            .iter()
            .filter(move |(field, _)| !self.hides_some() || self.shows(&field.text()))
    }
}

/// Where the value of a field is.
#[inline]
fn value_of(pack: &Pack, field: &[u8]) -> Option<pack::Pos> {
    let (_, pos) = pack.find(&Element::of_text(field), 2)?;
    Some(pack.next(pos))
}

impl<'a> IntoIterator for &'a Hash {
    type Item = (Entry<'a>, Entry<'a>);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.iter()
    }
}

/// Fields with their values.
#[derive(Clone)]
pub enum Pairs<'a> {
    /// From the small form.
    Pack(pack::Iter<'a>),
    /// From the large form.
    Table(hashtable::Iter<'a>),
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Entry<'a>, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Pairs::Pack(entries) => Some((entries.next()?, entries.next()?)),
            Pairs::Table(entries) => entries
                .next()
                .map(|(field, value)| (Entry::Str(field), Entry::Str(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        max_entries: 8,
        max_value: 10,
        hash_key: (1, 2),
    };

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        hash.iter()
            .map(|(field, value)| (field.text().to_vec(), value.text().to_vec()))
            .collect()
    }

    fn of(n: usize) -> Hash {
        let mut hash = Hash::new();
        for i in 0..n {
            hash.set(i.to_string().as_bytes(), b"v", &LIMITS);
        }
        hash
    }

    /// As Redis 7.0.15: the small form holds exactly the configured numbers.
    #[test]
    fn the_small_form_ends_beyond_its_limits() {
        assert_eq!(of(8).encoding(), "listpack");
        assert_eq!(of(9).encoding(), "hashtable");
        let mut hash = of(9);
        assert!(hash.remove(b"1") && !hash.remove(b"1"));
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 8));
        for (field, value, encoding) in [
            (10, 10, "listpack"),
            (11, 1, "hashtable"),
            (1, 11, "hashtable"),
        ] {
            let mut hash = of(3);
            assert!(hash.set(&vec![b'f'; field], &vec![b'v'; value], &LIMITS));
            assert_eq!(hash.encoding(), encoding);
            assert_eq!(hash.len(), 4);
            hash.invariants();
        }
        let mut hash = of(3);
        hash.make_room(11, &LIMITS);
        assert_eq!(
            (hash.encoding(), contents(&hash)),
            ("hashtable", contents(&of(3)))
        );
    }

    #[test]
    fn foreign_packs_must_be_pairs_of_different_fields() {
        let list = |texts: &[&str]| {
            Pack::of(
                0,
                texts.iter().map(|text| Element::of_text(text.as_bytes())),
            )
        };
        assert!(Hash::from_pack(list(&[])).is_ok());
        assert!(Hash::from_pack(list(&["a", "b", "b", "b"])).is_ok());
        assert!(Hash::from_pack(list(&["a", "b", "c"])).is_err());
        assert!(Hash::from_pack(list(&["a", "b", "a", "c"])).is_err());
        assert!(Hash::from_pack(list(&["1", "b", "1", "c"])).is_err());
    }

    #[test]
    fn samples_are_of_different_pairs() {
        let mut state = 9u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state ^ state >> 29
        };
        for len in [8usize, 500] {
            let hash = of(len);
            for count in [0, 1, 5, len / 2, len - 1, len, len + 5] {
                let mut seen = BTreeSet::new();
                let mut calls = 0;
                hash.sample(count, &mut random, |field, value| {
                    assert_eq!(&*value.text(), b"v");
                    seen.insert(field.text().to_vec());
                    calls += 1;
                });
                assert_eq!((seen.len(), calls), (count.min(len), count.min(len)));
            }
            let seen: BTreeSet<_> = (0..20 * len)
                .filter_map(|_| hash.random(random()))
                .map(|(f, _)| f.text().to_vec())
                .collect();
            assert_eq!(seen.len(), len, "a pair that is never chosen");
        }
        assert!(Hash::new().random(7).is_none());
    }

    proptest! {
        #[test]
        fn times_like_a_map(
            ops in proptest::collection::vec((0u8..30, 0u8..8, prop_oneof![0u64..40, 1_700_000_000_000u64..1_700_000_000_200]), 1..150)
        ) {
            let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
            let mut snapshots = Vec::new();
            for (i, what, time) in ops {
                let field = field(i);
                match what {
                    0 => {
                        hash.remove(&field);
                        model.remove(&field);
                    }
                    1 if model.contains_key(&field) => {
                        hash.set_time(&field, None, LIMITS.hash_key);
                        model.insert(field, None);
                    }
                    2 => snapshots.push((hash.clone(), model.clone())),
                    // Another value, in another form perhaps, leaves the field its time.
                    4 => {
                        let value: &[u8] = if time % 2 == 0 { b"other" } else { b"beyond limits" };
                        hash.set(&field, value, &LIMITS);
                        model.entry(field).or_insert(None);
                    }
                    3 => {
                        let before = time;
                        let due = hash.due(before, 3);
                        prop_assert!(due.iter().all(|f| model[f].is_some_and(|t| t < before)));
                        let all = model.values().flatten().filter(|t| **t < before).count();
                        prop_assert_eq!(due.len(), all.min(3));
                        let live = hash.at(before);
                        prop_assert_eq!((live.len(), live.hides_some()), (hash.len() - all, all > 0));
                        prop_assert_eq!(live.iter().count(), live.len());
                        for field in due {
                            prop_assert!(live.get(&field).is_none() && hash.get(&field).is_some());
                        }
                    }
                    _ => {
                        hash.set(&field, b"v", &LIMITS);
                        hash.set_time(&field, Some(time), LIMITS.hash_key);
                        model.insert(field, Some(time));
                    }
                }
                hash.invariants();
                prop_assert_eq!(hash.next_time(), model.values().flatten().min().copied());
            }
            snapshots.push((hash, model));
            for (hash, model) in snapshots {
                hash.invariants();
                prop_assert_eq!(hash.timed_len(), model.values().flatten().count());
                prop_assert!(model.iter().all(|(field, time)| hash.time(field) == *time));
            }
        }
    }

    #[test]
    fn many_fields_of_one_time_are_kept_apart() {
        let mut hash = Hash::new_table((1, 2));
        for i in 0..5000 {
            let field = i.to_string().into_bytes();
            hash.set(&field, b"", &LIMITS);
            hash.set_time(&field, Some(1_700_000_000_000), (1, 2));
        }
        hash.invariants();
        assert_eq!(hash.at(1_700_000_000_001).len(), 0);
        assert_eq!(hash.due(1_700_000_000_001, 100).len(), 100);
        assert_eq!(
            (hash.clone().encoding(), of(3).encoding()),
            ("hashtable", "listpack")
        );
        let mut small = of(3);
        small.set_time(b"1", Some(5), (1, 2));
        assert_eq!(small.encoding(), "listpackex");
        while !hash.free_step(10) {}
        assert!(hash.is_empty() && hash.next_time().is_none());
        hash.invariants();
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u8, Vec<u8>),
        Remove(u8),
        Snapshot,
    }

    fn op() -> impl Strategy<Value = Op> {
        let value = prop_oneof![
            any::<i64>().prop_map(|i| (i >> 40).to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..11),
            Just(b"beyond limits".to_vec()),
        ];
        prop_oneof![
            6 => (0u8..20, value).prop_map(|(field, value)| Op::Set(field, value)),
            4 => (0u8..20).prop_map(Op::Remove),
            1 => Just(Op::Snapshot),
        ]
    }

    fn field(i: u8) -> Vec<u8> {
        if i.is_multiple_of(2) {
            i.to_string().into_bytes()
        } else {
            format!("f{i}").into_bytes()
        }
    }

    proptest! {
            #[test]
            fn like_a_map(ops in proptest::collection::vec(op(), 1..60)) {
                let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
                let mut snapshots = Vec::new();
                let mut large = false;
                for op in ops {
                    match op {
                        Op::Set(i, value) => {
                            large |= value.len() > LIMITS.max_value;
                            let new = hash.set(&field(i), &value, &LIMITS);
                            prop_assert_eq!(new, model.insert(field(i), value).is_none());
                        }
                        Op::Remove(i) => prop_assert_eq!(hash.remove(&field(i)), model.remove(&field(i)).is_some()),
                        Op::Snapshot => snapshots.push((hash.clone(), model.clone())),
                    }
                    large |= model.len() > LIMITS.max_entries;
                    prop_assert_eq!(hash.encoding(), if large { "hashtable" } else { "listpack" });
                    prop_assert_eq!((hash.len(), hash.is_empty()), (model.len(), model.is_empty()));
                }
                snapshots.push((hash, model));
                for (hash, model) in snapshots {
                    hash.invariants();
                    prop_assert_eq!(&contents(&hash), &model);
                    for i in 0..25 {
                        let expected = model.get(&field(i));
                        let value = hash.get(&field(i)).map(|value| value.text().to_vec());
    prop_assert_eq!(value.as_ref(), expected);
                        prop_assert_eq!(hash.get(&field(i)).map(Entry::text_len), expected.map(Vec::len));
                        prop_assert_eq!(hash.contains(&field(i)), expected.is_some());
                    }
                    let mut scanned = BTreeMap::new();
                    let mut cursor = 0;
                    loop {
                        cursor = hash.scan(cursor, 3, |field, value| {
                            scanned.insert(field.text().to_vec(), value.text().to_vec());
                        });
                        if cursor == 0 {
                            break;
                        }
                    }
                    prop_assert_eq!(scanned, model);
                }
            }
        }
}
