//! Strings as arrays of bits: bit 0 is the highest of the first byte. Counting, finding, combining, and integers
//! of any width at any offset; a word at a time.

use alloc::vec::Vec;

/// How several bitmaps are combined. Shorter ones count as filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits that are in all.
    And,
    /// Bits that are in the first and in one of the others.
    AndOr,
    /// Bits that are in the first and in none of the others.
    Diff,
    /// Bits that are in one of the others but not in the first.
    Diff1,
    /// Bits that are not in the only one.
    Not,
    /// Bits that are in exactly one.
    One,
    /// Bits that are in any.
    Or,
    /// Bits that are in an odd number.
    Xor,
}

impl Operation {
    /// The operation that BITOP calls so, in any case.
    pub fn named(name: &[u8]) -> Option<Operation> {
        use Operation::{And, AndOr, Diff, Diff1, Not, One, Or, Xor};
        let names: [(&[u8], Operation); 8] = [
            (b"and", And),
            (b"or", Or),
            (b"xor", Xor),
            (b"not", Not),
            (b"diff", Diff),
            (b"diff1", Diff1),
            (b"andor", AndOr),
            (b"one", One),
        ];
        names
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map(|(_, operation)| operation)
    }
}

/// Bytes combined at a time: what is being made stays in the cache while the sources pass by.
const BLOCK: usize = 8192;

/// Combines bitmaps; the result is as long as the longest.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut out = alloc::vec![0u8; len];
    let mut twice = [0u8; BLOCK];
    for (number, block) in out.chunks_mut(BLOCK).enumerate() {
        let (start, len) = (number * BLOCK, block.len());
        let mut parts = sources.iter().map(|source| {
            let from = start.min(source.len());
            &source[from..source.len().min(start + len)]
        });
        let first = parts.next().unwrap_or(&[]);
        match operation {
            Operation::And => {
                block[..first.len()].copy_from_slice(first);
                for part in parts {
                    fold(block, part, |a, b| a & b);
                    block[part.len()..].fill(0);
                }
            }
            Operation::Or | Operation::Xor => {
                block[..first.len()].copy_from_slice(first);
                for part in parts {
                    if operation == Operation::Or {
                        fold(block, part, |a, b| a | b);
                    } else {
                        fold(block, part, |a, b| a ^ b);
                    }
                }
            }
            Operation::Not => {
                block[..first.len()].copy_from_slice(first);
                block.iter_mut().for_each(|byte| *byte = !*byte);
            }
            Operation::AndOr | Operation::Diff | Operation::Diff1 => {
                for part in parts {
                    fold(block, part, |a, b| a | b);
                }
                match operation {
                    Operation::AndOr => {
                        fold(block, first, |a, b| a & b);
                        block[first.len()..].fill(0);
                    }
                    Operation::Diff => {
                        fold(block, first, |a, b| !a & b);
                        block[first.len()..].fill(0);
                    }
                    _ => fold(block, first, |a, b| a & !b),
                }
            }
            Operation::One => {
                let twice = &mut twice[..block.len()];
                twice.fill(0);
                block[..first.len()].copy_from_slice(first);
                for part in parts {
                    for ((once, twice), new) in block.iter_mut().zip(&mut *twice).zip(part) {
                        *twice |= *once & new;
                        *once ^= new;
                    }
                }
                fold(block, twice, |a, b| a & !b);
            }
        }
    }
    out
}

/// `a[i] = f(a[i], b[i])`, as far as there is a `b`; simple enough for the compiler to use vectors.
#[inline]
fn fold(a: &mut [u8], b: &[u8], f: impl Fn(u8, u8) -> u8) {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, *b);
    }
}

/// How many bits are 1.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    // Eight words at a time by adding up in place of counting each (Harley and Seal): the plain instruction set
    // has no population count.
    let (groups, words) = words.as_chunks::<8>();
    let (mut ones, mut twos, mut fours, mut eights) = (0u64, 0u64, 0u64, 0u64);
    for group in groups {
        let [a, b, c, d, e, f, g, h] = group.map(u64::from_le_bytes);
        let two_a = add(&mut ones, a, b);
        let two_b = add(&mut ones, c, d);
        let four_a = add(&mut twos, two_a, two_b);
        let two_a = add(&mut ones, e, f);
        let two_b = add(&mut ones, g, h);
        let four_b = add(&mut twos, two_a, two_b);
        let eight = add(&mut fours, four_a, four_b);
        eights += u64::from(eight.count_ones());
    }
    let plain = |n: u64| u64::from(n.count_ones());
    8 * eights
        + 4 * plain(fours)
        + 2 * plain(twos)
        + plain(ones)
        + words
            .iter()
            .map(|word| plain(u64::from_le_bytes(*word)))
            .sum::<u64>()
        + rest
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum::<u64>()
}

/// Adds two words to a sum, bit by bit; returns the carries.
#[inline]
fn add(sum: &mut u64, a: u64, b: u64) -> u64 {
    let half = *sum ^ a;
    let carry = *sum & a | half & b;
    *sum = half ^ b;
    carry
}

/// How many bits from number `first` to number `last` are 1. Both must be inside.
pub fn count_range(bytes: &[u8], first: u64, last: u64) -> u64 {
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    let before = bytes[from] & !(0xFFu8 >> (first % 8));
    let after = bytes[to] & (0x7Fu8 >> (last % 8));
    count_ones(&bytes[from..=to]) - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

/// The number of the first bit from `first` to `last` that is 1 (or 0). Both must be inside.
pub fn find(bytes: &[u8], one: bool, first: u64, last: u64) -> Option<u64> {
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    // What is looked for is made a 1.
    let flip = if one { 0 } else { 0xFF };
    let hit =
        |at: usize, byte: u8| (byte != 0).then(|| at as u64 * 8 + u64::from(byte.leading_zeros()));
    let mut head = (bytes[from] ^ flip) & 0xFF >> (first % 8);
    if from == to {
        head &= !(0x7F >> (last % 8));
        return hit(from, head);
    }
    if let Some(bit) = hit(from, head) {
        return Some(bit);
    }
    let middle = &bytes[from + 1..to];
    let (words, _) = middle.as_chunks::<8>();
    let plain = if one { 0 } else { u64::MAX };
    let skipped = words
        .iter()
        .take_while(|word| u64::from_ne_bytes(**word) == plain)
        .count()
        * 8;
    if let Some(at) = middle[skipped..].iter().position(|byte| byte ^ flip != 0) {
        let at = from + 1 + skipped + at;
        return hit(at, bytes[at] ^ flip);
    }
    hit(to, (bytes[to] ^ flip) & !(0x7F >> (last % 8)))
}

/// The bit number `offset`; beyond the end it is 0.
pub fn bit(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8)
        .ok()
        .and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte << (offset % 8) & 0x80 != 0)
}

/// Sets the bit number `offset`, which must be inside.
pub fn set_bit(bytes: &mut [u8], offset: u64, on: bool) {
    let byte = &mut bytes[(offset / 8) as usize];
    let mask = 0x80 >> (offset % 8);
    *byte = if on { *byte | mask } else { *byte & !mask };
}

/// An integer of 1 to 64 bits (63 if it is unsigned), as BITFIELD has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Whether it is in two's complement.
    pub signed: bool,
    /// Its width.
    pub bits: u32,
}

/// What becomes of an integer that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is not stored.
    Fail,
    /// It becomes the nearest that fits.
    Saturate,
    /// Its high bits are lost.
    Wrap,
}

impl Field {
    /// The greatest and smallest that fit.
    fn range(self) -> (i128, i128) {
        if self.signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// The value as it is read back from its low bits.
    fn wrapped(self, value: i128) -> i64 {
        let low = (value as u64) << (64 - self.bits);
        if self.signed {
            low as i64 >> (64 - self.bits)
        } else {
            (low >> (64 - self.bits)) as i64
        }
    }

    /// The integer at bit `offset`; bits beyond the end are 0.
    pub fn load(self, bytes: &[u8], offset: u64) -> i64 {
        let from = usize::try_from(offset / 8)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let mut window = [0; 16];
        let part = &bytes[from..bytes.len().min(from + 9)];
        window[..part.len()].copy_from_slice(part);
        let word = u128::from_be_bytes(window) << (offset % 8);
        self.wrapped((word >> (128 - self.bits)) as i128)
    }

    /// Stores the low bits of a value at bit `offset`; there must be room.
    pub fn store(self, bytes: &mut [u8], offset: u64, value: i64) {
        let from = (offset / 8) as usize;
        let to = bytes.len().min(from + 9);
        let mut window = [0; 16];
        window[..to - from].copy_from_slice(&bytes[from..to]);
        let shift = 128 - self.bits - (offset % 8) as u32;
        let mask = (u128::MAX >> (128 - self.bits)) << shift;
        let word = u128::from_be_bytes(window) & !mask | (value as u128) << shift & mask;
        bytes[from..to].copy_from_slice(&word.to_be_bytes()[..to - from]);
    }

    /// What is stored for a value (of an unsigned field: as 64 bits without sign) that grows by `by`; `None` if it
    /// is not to be.
    pub fn sum(self, value: i64, by: i64, overflow: Overflow) -> Option<i64> {
        let value = if self.signed {
            i128::from(value)
        } else {
            i128::from(value as u64)
        };
        let sum = value + i128::from(by);
        let (least, most) = self.range();
        if (least..=most).contains(&sum) {
            return Some(sum as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(sum.clamp(least, most) as i64),
            Overflow::Wrap => Some(self.wrapped(sum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn combinations_by_definition() {
        let sources: [&[u8]; 3] = [&[0b1100_1010, 0xFF], &[0b1010_0110], &[0b1001_0011, 1, 2]];
        for (operation, expected) in [
            (Operation::And, [0b1000_0010, 0, 0]),
            (Operation::Or, [0xFF, 0xFF, 2]),
            (Operation::Xor, [0xFF, 0xFE, 2]),
            (Operation::Diff, [0b0100_1000, 0xFE, 0]),
            (Operation::Diff1, [0b0011_0101, 0, 2]),
            (Operation::AndOr, [0b1000_0010, 1, 0]),
            (Operation::One, [0b0111_1101, 0xFE, 2]),
        ] {
            assert_eq!(combine(operation, &sources), expected, "{operation:?}");
        }
        assert_eq!(combine(Operation::Not, &sources[..1]), [0b0011_0101, 0]);
        assert_eq!(combine(Operation::Or, &[]), []);
        assert_eq!(Operation::named(b"aNdOr"), Some(Operation::AndOr));
        assert_eq!(Operation::named(b"nand"), None);
    }

    #[test]
    fn fields_as_redis_has_them() {
        let u8s = Field {
            signed: false,
            bits: 8,
        };
        let i8s = Field {
            signed: true,
            bits: 8,
        };
        let i64s = Field {
            signed: true,
            bits: 64,
        };
        assert_eq!(u8s.sum(200, 100, Overflow::Wrap), Some(44));
        assert_eq!(u8s.sum(200, 100, Overflow::Saturate), Some(255));
        assert_eq!(u8s.sum(200, -300, Overflow::Saturate), Some(0));
        assert_eq!(u8s.sum(200, 100, Overflow::Fail), None);
        assert_eq!(u8s.sum(-1, 0, Overflow::Saturate), Some(255));
        assert_eq!(i8s.sum(100, 100, Overflow::Wrap), Some(-56));
        assert_eq!(i8s.sum(-100, -100, Overflow::Saturate), Some(-128));
        assert_eq!(i64s.sum(i64::MAX, 1, Overflow::Wrap), Some(i64::MIN));
        assert_eq!(i64s.sum(i64::MIN, -1, Overflow::Saturate), Some(i64::MIN));
    }

    fn bit_by_bit(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() as u64 * 8)
            .map(|offset| bit(bytes, offset))
            .collect()
    }

    proptest! {
        #[test]
        fn counted_and_found_as_bit_by_bit(
            (bytes, from, to) in (proptest::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 1..300), any::<u16>(), any::<u16>())
        ) {
            let bits = bit_by_bit(&bytes);
            let (from, to) = (usize::from(from) % bits.len(), usize::from(to) % bits.len());
            let (from, to) = (from.min(to), from.max(to));
            let ones = bits[from..=to].iter().filter(|bit| **bit).count() as u64;
            prop_assert_eq!(count_range(&bytes, from as u64, to as u64), ones);
            for one in [false, true] {
                let found = bits[from..=to].iter().position(|bit| *bit == one).map(|at| (from + at) as u64);
                prop_assert_eq!(find(&bytes, one, from as u64, to as u64), found);
            }
        }

        #[test]
        fn combined_as_byte_by_byte(sources in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20_000), 1..4)) {
            let sources: Vec<&[u8]> = sources.iter().map(|source| &source[..]).collect();
            let at = |source: usize, i: usize| sources[source].get(i).copied().unwrap_or(0);
            let xor = combine(Operation::Xor, &sources);
            let and = combine(Operation::And, &sources);
            let one = combine(Operation::One, &sources);
            for i in 0..xor.len() {
                let all = (0..sources.len()).map(|source| at(source, i));
                prop_assert_eq!(xor[i], all.clone().fold(0, |a, b| a ^ b));
                prop_assert_eq!(and[i], all.clone().fold(255, |a, b| a & b));
                let bits = (0..8).map(|bit| u8::from(all.clone().filter(|byte| byte >> bit & 1 == 1).count() == 1) << bit);
                prop_assert_eq!(one[i], bits.sum::<u8>());
            }
        }

        #[test]
        fn fields_come_back_and_leave_the_rest_alone(
            mut bytes in proptest::collection::vec(any::<u8>(), 9..24), value: i64, signed: bool, bits in 1u32..=64, offset in 0u64..64
        ) {
            let field = Field { signed, bits: if signed { bits } else { bits.min(63) } };
            bytes.resize(bytes.len().max((offset as usize + field.bits as usize).div_ceil(8)), 0xA5);
            let before = bit_by_bit(&bytes);
            field.store(&mut bytes, offset, value);
            let after = bit_by_bit(&bytes);
            let (from, to) = (offset as usize, offset as usize + field.bits as usize);
            prop_assert!(before[..from] == after[..from] && before[to..] == after[to..]);
            let expected = after[from..to].iter().fold(0u64, |word, bit| word << 1 | u64::from(*bit));
            let loaded = field.load(&bytes, offset);
            prop_assert_eq!(loaded as u64 & (u64::MAX >> (64 - field.bits)), expected);
            prop_assert_eq!(loaded as u64 & (u64::MAX >> (64 - field.bits)), value as u64 & (u64::MAX >> (64 - field.bits)));
            prop_assert_eq!(Some(loaded), field.sum(value, 0, Overflow::Wrap));
            prop_assert_eq!(loaded < 0, signed && after[from]);
            prop_assert_eq!(field.load(&bytes, 10_000), 0);
        }
    }
}
