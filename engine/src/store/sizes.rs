//! How large the values are: for each type, how many keys hold so many elements (strings: so many bytes), in powers of
//! two. Kept with each write, so that to ask for it costs nothing, however many keys there are.

use alloc::boxed::Box;

use super::entry::{Object, Value, ValueRef};

/// Bins of one type: nothing, then from each power of two on. The last has all that is larger.
const BINS: usize = 41;

/// The types that are told, in their order: what is counted, as INFO calls it.
const TYPES: [&str; 5] = [
    "strings_sizes",
    "lists_items",
    "sets_items",
    "zsets_items",
    "hashes_items",
];

/// Counts of all types, and of what counts nowhere.
const COUNTS: usize = TYPES.len() * BINS + 1;

/// Where a value counts: type and bin in one; streams count nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin(u8);

impl Bin {
    const NOWHERE: Bin = Bin(COUNTS as u8 - 1);

    #[inline]
    fn new(kind: u8, len: usize) -> Bin {
        let bin = (usize::BITS - len.leading_zeros()).min(BINS as u32 - 1);
        Bin(kind * BINS as u8 + bin as u8)
    }

    /// Of a string that is an integer.
    #[inline]
    fn integer(n: i64) -> Bin {
        // (By its range: counters pass here with each increment.)
        let chars = match n {
            0..=9 => 1,
            -99..=999 => 2,
            -999_999..=9_999_999 => 4,
            -99_999_999_999_999..=999_999_999_999_999 => 8,
            _ => 16,
        };
        Bin::new(0, chars)
    }

    /// Of an object.
    #[inline]
    pub fn of_object(object: &Object) -> Bin {
        Bin::of_len(object, object.len())
    }

    /// Of an object when it has so many elements, or bytes.
    #[inline]
    fn of_len(object: &Object, len: usize) -> Bin {
        match object {
            Object::Str(_) => Bin::new(0, len),
            Object::List(_) => Bin::new(1, len),
            Object::Set(_) => Bin::new(2, len),
            Object::ZSet(_) => Bin::new(3, len),
            Object::Hash(_) => Bin::new(4, len),
            Object::Stream(_) => Bin::NOWHERE,
        }
    }

    /// Of a value that is there.
    #[inline]
    pub fn of(value: ValueRef<'_>) -> Bin {
        match value {
            ValueRef::Inline(bytes) => Bin::new(0, bytes.len()),
            ValueRef::Int(n) => Bin::integer(n),
            ValueRef::Object(object) => Bin::of_object(object),
        }
    }

    /// Of a value to come.
    #[inline]
    pub fn of_new(value: &Value<'_>) -> Bin {
        match value {
            Value::Bytes(bytes) => Bin::new(0, bytes.len()),
            Value::Int(n) => Bin::integer(*n),
            Value::Object(object) => Bin::of_object(object),
        }
    }
}

/// The values of one database by their sizes.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Option<Box<[u64; COUNTS]>>);

impl PartialEq for Sizes {
    fn eq(&self, other: &Sizes) -> bool {
        let counts = |sizes: &Sizes| sizes.0.as_deref().copied().unwrap_or([0; COUNTS]);
        counts(self) == counts(other)
    }
}

impl Sizes {
    #[inline]
    fn counts(&mut self) -> &mut [u64; COUNTS] {
        self.0.get_or_insert_with(|| Box::new([0; COUNTS]))
    }

    #[inline]
    pub(super) fn add(&mut self, bin: Bin) {
        self.counts()[usize::from(bin.0)] += 1;
    }

    #[inline]
    pub(super) fn remove(&mut self, bin: Bin) {
        let count = &mut self.counts()[usize::from(bin.0)];
        debug_assert!(*count > 0, "a value that was not counted");
        *count = count.saturating_sub(1);
    }

    #[inline]
    pub(super) fn change(&mut self, from: Bin, to: Bin) {
        if from != to {
            self.remove(from);
            self.add(to);
        }
    }

    /// An object that had so many elements, or bytes, was changed.
    #[inline]
    pub(super) fn grown(&mut self, object: &Object, before: usize) {
        let len = object.len();
        if len != before {
            self.change(Bin::of_len(object, before), Bin::of_len(object, len));
        }
    }

    /// What there is of: for each type its name in INFO and, by the least size of each bin that is not empty, the
    /// number of keys.
    pub fn by_type(
        &self,
    ) -> impl Iterator<Item = (&'static str, impl Iterator<Item = (u64, u64)>)> {
        let counts = self.0.iter().flat_map(|counts| counts.chunks_exact(BINS));
        let types = TYPES.into_iter().zip(counts);
        types.filter_map(|(name, bins)| {
            let least = |bin: usize| match bin {
                0 => 0,
                bin => 1 << (bin - 1),
            };
            let bins = bins.iter().enumerate().filter(|(_, n)| **n > 0);
            let mut bins = bins.map(move |(bin, &n)| (least(bin), n)).peekable();
            bins.peek().is_some().then_some((name, bins))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn values_count_by_type_and_power_of_two() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.by_type().count(), 0);
        for len in [0, 1, 2, 3, 4, 1023, 1024] {
            sizes.add(Bin::of(ValueRef::Inline(&[b'x'; 1024][..len])));
        }
        for power in (0..19).map(|exponent| 10i64.pow(exponent)) {
            for n in [power - 1, power, -power, 1 - power, i64::MIN, i64::MAX] {
                let digits = alloc::format!("{n}");
                assert_eq!(
                    Bin::integer(n),
                    Bin::of(ValueRef::Inline(digits.as_bytes()))
                );
            }
        }
        sizes.add(Bin::of(ValueRef::Int(-100)));
        sizes.add(Bin::of_new(&Value::Object(
            Object::Hash(Default::default()),
        )));
        sizes.change(Bin::of(ValueRef::Int(-1)), Bin::of(ValueRef::Int(1)));
        let shown: Vec<_> = (sizes.by_type())
            .map(|(name, bins)| (name, bins.collect::<Vec<_>>()))
            .collect();
        let strings = [(0, 1), (1, 2), (2, 1), (4, 2), (512, 1), (1024, 1)];
        assert_eq!(
            shown,
            [
                ("strings_sizes", strings.to_vec()),
                ("hashes_items", [(0, 1)].to_vec())
            ]
        );
    }
}
