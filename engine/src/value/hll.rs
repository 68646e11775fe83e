//! The HyperLogLog: how many different elements were seen, within 0.81 %, in at most 12 KiB. A string in Redis's
//! own format, so that it can be read and written as one.
//!
//! ```text
//! hll     "HYLL" | encoding u8 | zero × 3 | count u64 LE | registers
//! dense   (encoding 0) 16384 registers of 6 bits, the first in the low bits of the first byte
//! sparse  (encoding 1) runs of registers:
//!         00llllll            l + 1 registers are 0
//!         01llllll llllllll   l + 1 registers are 0, high bits first
//!         1vvvvvll            l + 1 registers are v + 1
//! ```
//!
//! `count` is the last estimate; its highest bit says that registers changed since. An element's MurmurHash64A
//! chooses the register by its low 14 bits; the register keeps the greatest position of the first 1 among the
//! bits above. The estimate is Ertl's (*New cardinality estimation algorithms for HyperLogLog sketches*, 2017),
//! which is computed here in the same order as in Redis, so that the same registers give the same number.

use super::size_class::size_class;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Number of registers.
pub const REGISTERS: usize = 16384;
const HEADER: usize = 16;
/// Bytes of a dense one.
pub const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Bits of the hash behind those that choose the register.
const HASH_BITS: usize = 50;
const SEED: u64 = 0xadc8_3b19;
/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

const MAX_SPARSE_VALUE: u8 = 32;
const MAX_ZERO: usize = 64;
const MAX_XZERO: usize = 16384;
const MAX_VALUES: usize = 4;

/// The runs do not add up to [`REGISTERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupted HLL object detected")]
pub struct Corrupt;

/// All registers, a byte each.
pub type Registers = [u8; REGISTERS];

/// The two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Six bits a register.
    Dense,
    /// Runs.
    Sparse,
}

/// A run of equal registers in the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    value: u8,
    len: usize,
    /// Bytes that it takes.
    size: usize,
}

impl Run {
    fn read(bytes: &[u8]) -> Option<Run> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Run {
                value: 0,
                len: usize::from(first) + 1,
                size: 1,
            },
            1 => Run {
                value: 0,
                len: (usize::from(first & 63) << 8 | usize::from(*bytes.get(1)?)) + 1,
                size: 2,
            },
            _ => Run {
                value: (first >> 2 & 31) + 1,
                len: usize::from(first & 3) + 1,
                size: 1,
            },
        })
    }

    fn is_long_zero(self) -> bool {
        self.size == 2
    }

    /// Appends a run, if it is of any length. Zeros are at most [`MAX_XZERO`], others at most [`MAX_VALUES`].
    fn write(out: &mut Patch, value: u8, len: usize) {
        match len {
            0 => {}
            _ if value > 0 => out.push(values(value, len)),
            1..=MAX_ZERO => out.push((len - 1) as u8),
            _ => {
                out.push(((len - 1) >> 8) as u8 | 64);
                out.push((len - 1) as u8);
            }
        }
    }
}

type Patch = smallvec::SmallVec<[u8; 8]>;

fn values(value: u8, len: usize) -> u8 {
    128 | (value - 1) << 2 | (len - 1) as u8
}

/// The runs of a sparse one's registers; ends early where bytes are missing.
struct Runs<'a>(&'a [u8]);

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let run = Run::read(self.0)?;
        self.0 = &self.0[run.size..];
        Some(run)
    }
}

/// The form of a string that is a HyperLogLog (its head, at least), `None` if it is none.
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[4] {
        DENSE => (bytes.len() == DENSE_BYTES).then_some(Encoding::Dense),
        SPARSE => Some(Encoding::Sparse),
        _ => None,
    }
}

/// One that has seen nothing.
pub fn empty() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 2);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[SPARSE, 0, 0, 0]);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[
        64 | ((MAX_XZERO - 1) >> 8) as u8,
        ((MAX_XZERO - 1) & 255) as u8,
    ]);
    bytes
}

/// The estimate that is kept, if registers did not change since.
pub fn kept_count(bytes: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[8..HEADER]);
    let count = u64::from_le_bytes(word);
    (count >> 63 == 0).then_some(count)
}

/// Keeps an estimate.
pub fn keep_count(bytes: &mut [u8], count: u64) {
    bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// Notes that registers changed.
pub fn forget_count(bytes: &mut [u8]) {
    bytes[15] |= 128;
}

/// MurmurHash64A (Austin Appleby, public domain).
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 47;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 47
}

/// The register of an element, and what the element asks it to be at least.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    let rest = hash >> 14 | 1 << HASH_BITS;
    (
        (hash & (REGISTERS as u64 - 1)) as usize,
        rest.trailing_zeros() as u8 + 1,
    )
}

#[inline]
fn dense_get(registers: &[u8], index: usize) -> u8 {
    let (byte, bit) = (index * 6 / 8, index * 6 % 8);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[byte], next]) >> bit) as u8 & 63
}

#[inline]
fn dense_set(registers: &mut [u8], index: usize, value: u8) {
    let (byte, bit) = (index * 6 / 8, index * 6 % 8);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    let word = u16::from_le_bytes([registers[byte], next]) & !(63 << bit) | u16::from(value) << bit;
    let [low, high] = word.to_le_bytes();
    registers[byte] = low;
    if let Some(next) = registers.get_mut(byte + 1) {
        *next = high;
    }
}

/// Adds an element to a string for which [`encoding`] is something; returns whether a register changed. Beyond
/// `max_sparse` bytes the sparse form becomes the dense one. (The estimate is not forgotten by the dense form:
/// that is the caller's, once for many elements.)
///
/// # Errors
/// See [`Corrupt`]; nothing was changed.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], max_sparse: usize) -> Result<bool, Corrupt> {
    let (index, value) = place(element);
    raise(bytes, index, value, max_sparse)
}

/// Makes a register at least `value`; see [`add`].
fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, max_sparse: usize) -> Result<bool, Corrupt> {
    match encoding(bytes) {
        Some(Encoding::Sparse) => sparse_raise(bytes, index, value, max_sparse),
        Some(Encoding::Dense) => Ok(dense_raise(bytes, index, value)),
        None => Err(Corrupt),
    }
}

fn dense_raise(bytes: &mut [u8], index: usize, value: u8) -> bool {
    let registers = &mut bytes[HEADER..];
    let raised = value > dense_get(registers, index);
    if raised {
        dense_set(registers, index, value);
    }
    raised
}

fn sparse_raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    max_sparse: usize,
) -> Result<bool, Corrupt> {
    if value > MAX_SPARSE_VALUE {
        to_dense(bytes)?;
        return Ok(dense_raise(bytes, index, value));
    }
    // The run that holds the register, and where the one before it starts.
    let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
    let run = loop {
        let run = Run::read(&bytes[at..]).ok_or(Corrupt)?;
        if index < first + run.len {
            break run;
        }
        first += run.len;
        before = at;
        at += run.size;
    };
    if run.value >= value {
        return Ok(false);
    }
    let mut patch = Patch::new();
    Run::write(&mut patch, run.value, index - first);
    Run::write(&mut patch, value, 1);
    Run::write(&mut patch, run.value, first + run.len - 1 - index);
    let total = bytes.len() - run.size + patch.len();
    if patch.len() > run.size && total > max_sparse {
        to_dense(bytes)?;
        return Ok(dense_raise(bytes, index, value));
    }
    if total > bytes.capacity() {
        bytes.reserve_exact(size_class(total) - bytes.len());
    }
    bytes.splice(at..at + run.size, patch);
    join(bytes, before);
    forget_count(bytes);
    Ok(true)
}

/// Joins neighbours of equal value among the five runs from the one at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = Run::read(&bytes[at..]) else {
            return;
        };
        let next = Run::read(&bytes[at + run.size..]);
        match next {
            Some(next)
                if run.value > 0 && run.value == next.value && run.len + next.len <= MAX_VALUES =>
            {
                bytes[at] = values(run.value, run.len + next.len);
                bytes.remove(at + 1);
            }
            _ => at += run.size,
        }
    }
}

/// Gives a string for which [`encoding`] is something the dense form.
///
/// # Errors
/// See [`Corrupt`]; nothing was changed.
pub fn to_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupt> {
    if encoding(bytes) == Some(Encoding::Dense) {
        return Ok(());
    }
    let mut dense = alloc::vec![0; DENSE_BYTES];
    dense[..HEADER].copy_from_slice(&bytes[..HEADER]);
    dense[4] = DENSE;
    each_run(bytes, |first, run| {
        for index in first..first + run.len {
            dense_set(&mut dense[HEADER..], index, run.value);
        }
    })?;
    *bytes = dense;
    Ok(())
}

/// Calls `visit` with the first register of each run that is not of zeros.
fn each_run(bytes: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let mut index = 0;
    let mut runs = Runs(&bytes[HEADER..]);
    for run in runs.by_ref() {
        if index + run.len > REGISTERS {
            return Err(Corrupt);
        }
        if run.value > 0 {
            visit(index, run);
        }
        index += run.len;
    }
    if index == REGISTERS && runs.0.is_empty() {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

/// Raises registers to those of a string for which [`encoding`] is something.
///
/// # Errors
/// See [`Corrupt`]; some registers may have been raised.
pub fn merge_into(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    if encoding(bytes) == Some(Encoding::Dense) {
        each_dense(&bytes[HEADER..], |index, value| {
            registers[index] = registers[index].max(value);
        });
        return Ok(());
    }
    each_run(bytes, |first, run| {
        for register in &mut registers[first..first + run.len] {
            *register = (*register).max(run.value);
        }
    })
}

/// Calls `visit` with each register of the dense form: four at a time are three bytes.
#[inline]
fn each_dense(registers: &[u8], mut visit: impl FnMut(usize, u8)) {
    for (four, bytes) in registers.as_chunks::<3>().0.iter().enumerate() {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        for i in 0..4 {
            visit(four * 4 + i, (word >> (6 * i)) as u8 & 63);
        }
    }
}

/// Raises the registers of a string for which [`encoding`] is something to these.
///
/// # Errors
/// See [`Corrupt`]; some registers may have been raised.
pub fn raise_all(
    bytes: &mut Vec<u8>,
    registers: &Registers,
    max_sparse: usize,
) -> Result<(), Corrupt> {
    for (index, value) in registers
        .iter()
        .enumerate()
        .filter(|(_, value)| **value > 0)
    {
        raise(bytes, index, *value, max_sparse)?;
    }
    Ok(())
}

/// The estimate for a string for which [`encoding`] is something.
///
/// # Errors
/// See [`Corrupt`].
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = [0; 64];
    if encoding(bytes) == Some(Encoding::Dense) {
        each_dense(&bytes[HEADER..], |_, value| {
            histogram[usize::from(value)] += 1
        });
    } else {
        let mut index = 0;
        let mut runs = Runs(&bytes[HEADER..]);
        for run in runs.by_ref() {
            histogram[usize::from(run.value)] += run.len;
            index += run.len;
        }
        if index != REGISTERS || !runs.0.is_empty() {
            return Err(Corrupt);
        }
    }
    Ok(estimate(&histogram))
}

/// The estimate for these registers.
pub fn count_registers(registers: &Registers) -> u64 {
    let mut histogram = [0; 64];
    for register in registers {
        histogram[usize::from(register & 63)] += 1;
    }
    estimate(&histogram)
}

/// The estimate from how many registers have each value.
fn estimate(histogram: &[usize; 64]) -> u64 {
    let m = REGISTERS as f64;
    let mut z = m * tau((m - histogram[HASH_BITS + 1] as f64) / m);
    for value in (1..=HASH_BITS).rev() {
        z += histogram[value] as f64;
        z *= 0.5;
    }
    z += m * sigma(histogram[0] as f64 / m);
    libm::round(ALPHA * m * m / z) as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = libm::sqrt(x);
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// The registers of a dense one, in order.
pub fn registers(bytes: &[u8]) -> Registers {
    let mut registers = [0; REGISTERS];
    if encoding(bytes) == Some(Encoding::Dense) {
        each_dense(&bytes[HEADER..], |index, value| registers[index] = value);
    }
    registers
}

/// The runs of a sparse one as PFDEBUG DECODE shows them: `z:` and `Z:` with a length, `v:` with value and length.
pub fn describe(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in Runs(&bytes[HEADER..]) {
        if !text.is_empty() {
            text.push(' ');
        }
        // Writing to a String cannot fail.
        let _ = match run.value {
            0 if run.is_long_zero() => write!(text, "Z:{}", run.len),
            0 => write!(text, "z:{}", run.len),
            value => write!(text, "v:{value},{}", run.len),
        };
    }
    text
}

/// Checks the implementation against itself as PFSELFTEST asks: that registers keep apart, that both forms agree,
/// and that estimates are as near as they should be. Takes up to `elements` elements.
///
/// # Errors
/// What is wrong.
pub fn self_test(seed: u64, elements: u64, max_sparse: usize) -> Result<(), String> {
    let mut dense = alloc::vec![0; DENSE_BYTES];
    let mut plain = [0u8; REGISTERS];
    let mut word = seed;
    for _ in 0..16 {
        for (index, expected) in plain.iter_mut().enumerate() {
            word = word
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            *expected = (word >> 58) as u8;
            dense_set(&mut dense[HEADER..], index, *expected);
        }
        for (index, expected) in plain.iter().enumerate() {
            let value = dense_get(&dense[HEADER..], index);
            if value != *expected {
                return Err(alloc::format!(
                    "TESTFAILED Register {index} should be {expected} but is {value}"
                ));
            }
        }
    }
    dense[..HEADER].copy_from_slice(&empty()[..HEADER]);
    dense[4] = DENSE;
    dense[HEADER..].fill(0);
    let mut other = empty();
    let mut checkpoint = 1u64;
    let error = 1.04 / libm::sqrt(REGISTERS as f64);
    let corrupt = |_| String::from("TESTFAILED corrupted");
    for n in 1..=elements {
        let element = (n ^ seed).to_le_bytes();
        add(&mut dense, &element, max_sparse).map_err(corrupt)?;
        add(&mut other, &element, max_sparse).map_err(corrupt)?;
        if n != checkpoint {
            continue;
        }
        if (n as usize) < max_sparse / 2 && encoding(&other) != Some(Encoding::Sparse) {
            return Err("TESTFAILED sparse encoding not used".into());
        }
        let counted = count(&dense).map_err(corrupt)?;
        if Ok(counted) != count(&other) {
            return Err("TESTFAILED dense/sparse disagree".into());
        }
        let most = match n {
            10 => 1,
            _ => libm::ceil(error * 6.0 * n as f64) as u64,
        };
        if n.abs_diff(counted) > most {
            return Err(alloc::format!(
                "TESTFAILED Too big error. card:{n} abserr:{}",
                n.abs_diff(counted)
            ));
        }
        checkpoint *= 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    /// What a Redis 7.0.15 shows after PFADD of these.
    #[test]
    fn bytes_and_counts_are_those_of_redis() {
        let mut hll = empty();
        for element in ["a", "b", "c"] {
            assert_eq!(add(&mut hll, element.as_bytes(), 3000), Ok(true));
        }
        assert_eq!(
            describe(&hll),
            "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603"
        );
        assert_eq!((count(&hll), kept_count(&hll)), (Ok(3), None));
        for n in 1..=300 {
            let _ = add(&mut hll, format!("e{n}").as_bytes(), 3000).unwrap();
        }
        let mut other = empty();
        for n in 1..=300 {
            let _ = add(&mut other, format!("e{n}").as_bytes(), 3000).unwrap();
        }
        assert_eq!((other.len(), count(&other)), (713, Ok(302)));
        assert_eq!(
            &other[HEADER..46],
            b"6\x84\x14\x88\x0b\x80\x19\x80@T\x80@I\x84\x04\x84\x02\xa4\x0e\x88\x0f\x803\x80@J\x84@E\x80"
        );
        keep_count(&mut other, 302);
        assert_eq!(kept_count(&other), Some(302));
        forget_count(&mut other);
        assert_eq!(kept_count(&other), None);
        assert_eq!(add(&mut hll, b"a", 3000), Ok(false));
    }

    #[test]
    fn the_self_test_passes() {
        assert_eq!(self_test(42, 100_000, 3000), Ok(()));
        assert_eq!(self_test(7, 10_000, 0), Ok(()));
    }

    #[test]
    fn foreign_strings_are_told_apart() {
        assert_eq!(encoding(&empty()), Some(Encoding::Sparse));
        assert_eq!(encoding(b"HYLL"), None);
        assert_eq!(
            encoding(&[b"HYLL\x02".to_vec(), alloc::vec![0; 20]].concat()),
            None
        );
        assert_eq!(
            encoding(&[b"HYLL\x00".to_vec(), alloc::vec![0; 20]].concat()),
            None
        );
        let mut hll = empty();
        hll.push(b'd');
        assert_eq!(count(&hll), Err(Corrupt), "half a run");
        let mut hll = empty();
        hll.push(5);
        assert_eq!(
            (count(&hll), to_dense(&mut hll)),
            (Err(Corrupt), Err(Corrupt))
        );
        hll.truncate(HEADER);
        assert_eq!(add(&mut hll, b"a", 3000), Err(Corrupt));
    }

    proptest! {
        #[test]
        fn both_forms_agree(elements in proptest::collection::vec(any::<u16>(), 1..600), max_sparse in 0usize..2000) {
            let (mut one, mut other) = (empty(), empty());
            to_dense(&mut other).unwrap();
            for element in &elements {
                let text = format!("e{element}");
                let changed = add(&mut one, text.as_bytes(), max_sparse).unwrap();
                prop_assert_eq!(add(&mut other, text.as_bytes(), max_sparse).unwrap(), changed);
            }
            prop_assert_eq!(count(&one), count(&other));
            let mut merged = [0; REGISTERS];
            merge_into(&mut merged, &one).unwrap();
            prop_assert!(merged == registers(&other));
            prop_assert_eq!(Ok(count_registers(&merged)), count(&one));
            let mut third = empty();
            raise_all(&mut third, &merged, max_sparse).unwrap();
            prop_assert_eq!(count(&third), count(&one));
            prop_assert!(encoding(&one) == Some(Encoding::Dense) || one.len() <= max_sparse.max(18));
        }

        #[test]
        fn any_bytes_are_answered(tail in proptest::collection::vec(any::<u8>(), 0..80), elements in 1u32..40) {
            let mut hll = empty();
            hll.truncate(HEADER);
            hll.extend_from_slice(&tail);
            let _ = (count(&hll), describe(&hll), merge_into(&mut [0; REGISTERS], &hll));
            for element in 0..elements {
                let _ = add(&mut hll, element.to_string().as_bytes(), 60);
            }
            let _ = to_dense(&mut hll);
        }
    }
}
