//! The x87 extended double in integer arithmetic: INCRBYFLOAT and HINCRBYFLOAT answer with what the C
//! type `long double` gives on the platform where Redis runs, and must do so on every platform.
//!
//! A finite number is mantissa × 2^exponent with a mantissa of 64 bits, exponents from −16445 to 16320;
//! the mantissa's high bit is set unless the exponent is the least (subnormals and zero). Results are
//! rounded to nearest, ties to even. Reading and printing are exact before that one rounding, on integers
//! whose size the accepted length and exponent range bound (about 35,000 bits).

use super::float_text::{Bits, FloatText, Magnitude};
use super::number::write_i64;
use alloc::vec::Vec;

/// The exponent of the smallest subnormal.
const MIN_EXPONENT: i64 = -16445;
/// The exponent of the largest numbers.
const MAX_EXPONENT: i64 = 16320;
/// Longer texts are refused (Redis's buffer, its terminator included).
const MAX_TEXT: usize = 5 * 1024;
const TEN_19: u64 = 10_000_000_000_000_000_000;
const TEN_17: u128 = 100_000_000_000_000_000;

/// A number of C's type `long double` on x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// Mantissa × 2^exponent; zero has mantissa 0.
    Finite {
        /// The sign.
        negative: bool,
        /// 64 bits, the highest set unless the exponent is the least.
        mantissa: u64,
        /// Power of two of the mantissa's lowest bit.
        exponent: i32,
    },
    /// Infinity.
    Infinite {
        /// The sign.
        negative: bool,
    },
    /// Not a number: infinity less infinity.
    Nan,
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> LongDouble {
        let bits = Bits {
            mantissa: value.unsigned_abs().into(),
            exponent: 0,
            sticky: false,
        };
        LongDouble::rounded(value < 0, bits)
    }
}

impl LongDouble {
    /// Reads a number as Redis does: all that `strtold` reads, and wholly (so also hexadecimal numbers and
    /// infinities), but no NaN, nothing too large, and nothing so small that it would become zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= MAX_TEXT {
            return None;
        }
        let FloatText {
            negative,
            magnitude,
        } = FloatText::parse(text)?;
        let bits = match magnitude {
            Magnitude::Infinite => return Some(LongDouble::Infinite { negative }),
            Magnitude::NotANumber => return None,
            Magnitude::Hex(bits) => bits,
            Magnitude::Decimal {
                integer,
                fraction,
                exponent,
            } => decimal_bits(integer, fraction, exponent)?,
        };
        match LongDouble::rounded(negative, bits) {
            LongDouble::Finite { mantissa: 0, .. } if bits.mantissa != 0 => None,
            finite @ LongDouble::Finite { .. } => Some(finite),
            _ => None,
        }
    }

    /// Whether it is neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        matches!(self, LongDouble::Finite { .. })
    }

    fn rounded(negative: bool, bits: Bits) -> LongDouble {
        let (mantissa, exponent) = bits.round(64, MIN_EXPONENT);
        if exponent > MAX_EXPONENT {
            return LongDouble::Infinite { negative };
        }
        LongDouble::Finite {
            negative,
            mantissa,
            exponent: exponent as i32,
        }
    }

    /// Appends the number in plain decimal notation with up to 17 digits after the point, without trailing
    /// zeros, and without the sign of what comes out as 0: the form of INCRBYFLOAT's reply.
    pub fn write_human(self, out: &mut Vec<u8>) {
        let (negative, mantissa, exponent) = match self {
            LongDouble::Finite {
                negative,
                mantissa,
                exponent,
            } => (negative, mantissa, exponent),
            LongDouble::Infinite { negative } => {
                return out.extend_from_slice(if negative { b"-inf" } else { b"inf" });
            }
            LongDouble::Nan => return out.extend_from_slice(b"nan"),
        };
        if exponent >= 0 {
            if negative && mantissa != 0 {
                out.push(b'-');
            }
            return write_shifted(out, mantissa, exponent as usize);
        }
        let (integer, fraction) = fixed_17(mantissa, exponent.unsigned_abs());
        if negative && (integer, fraction) != (0, 0) {
            out.push(b'-');
        }
        write_u64(out, integer);
        if fraction != 0 {
            out.push(b'.');
            let mut digits = [0; 17];
            let mut rest = fraction;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            let significant = digits
                .iter()
                .rposition(|d| *d != b'0')
                .map_or(0, |last| last + 1);
            out.extend_from_slice(&digits[..significant]);
        }
    }
}

impl core::ops::Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        use LongDouble::{Finite, Infinite, Nan};
        match (self, other) {
            (Nan, _) | (_, Nan) => Nan,
            (Infinite { negative: a }, Infinite { negative: b }) if a != b => Nan,
            (Infinite { .. }, _) => self,
            (_, Infinite { .. }) => other,
            (
                Finite {
                    negative: a,
                    mantissa: x,
                    exponent: e,
                },
                Finite {
                    negative: b,
                    mantissa: y,
                    exponent: f,
                },
            ) => {
                if (e, x) >= (f, y) {
                    add_finite((a, x, e), (b, y, f))
                } else {
                    add_finite((b, y, f), (a, x, e))
                }
            }
        }
    }
}

/// Adds two numbers (sign, mantissa, exponent), the first of the larger magnitude.
fn add_finite(large: (bool, u64, i32), small: (bool, u64, i32)) -> LongDouble {
    // 63 bits below the larger mantissa and one above it.
    let x = u128::from(large.1) << 63;
    let y = u128::from(small.1) << 63;
    let shift = large.2.abs_diff(small.2);
    let aligned = y.checked_shr(shift).unwrap_or(0);
    let sticky = shift >= 128 && y != 0 || shift < 128 && aligned << shift != y;
    let sum = if large.0 == small.0 {
        x + aligned
    } else {
        // What was shifted out is taken off, too: one unit less, and a rest that is not nothing.
        x - aligned - u128::from(sticky)
    };
    let negative = if sum == 0 && !sticky {
        large.0 && small.0
    } else {
        large.0
    };
    LongDouble::rounded(
        negative,
        Bits {
            mantissa: sum,
            exponent: i64::from(large.2) - 63,
            sticky,
        },
    )
}

/// The integer part, and the fraction in units of 10^-17, of mantissa × 2^-k (k > 0), rounded to the
/// nearest, ties to even.
fn fixed_17(mantissa: u64, k: u32) -> (u64, u128) {
    let integer = mantissa.checked_shr(k).unwrap_or(0);
    let scaled = (u128::from(mantissa) - (u128::from(integer) << (k & 127))) * TEN_17; // integer is 0 if k > 63
    if k >= 128 {
        return (0, 0); // scaled has at most 121 bits: less than half a unit
    }
    let (units, rest, half) = (scaled >> k, scaled & ((1 << k) - 1), 1 << (k - 1));
    let units = units + u128::from(rest > half || (rest == half && units & 1 == 1));
    if units == TEN_17 {
        (integer + 1, 0)
    } else {
        (integer, units)
    }
}

fn write_u64(out: &mut Vec<u8>, value: u64) {
    match i64::try_from(value) {
        Ok(value) => write_i64(out, value),
        Err(_) => {
            write_i64(out, (value / 10) as i64);
            out.push(b'0' + (value % 10) as u8);
        }
    }
}

/// Appends mantissa × 2^shift.
fn write_shifted(out: &mut Vec<u8>, mantissa: u64, shift: usize) {
    if shift == 0 || mantissa == 0 {
        return write_u64(out, mantissa);
    }
    let mut number = Big::from(mantissa);
    number.shift_left(shift);
    // Groups of 19 digits, the last first.
    let mut groups = Vec::new();
    while !number.is_zero() {
        groups.push(number.divide_small(TEN_19));
    }
    write_u64(out, groups.pop().unwrap_or(0));
    for group in groups.into_iter().rev() {
        let mut digits = [0; 19];
        let mut rest = group;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

/// The leading bits of a decimal number; `None` if it is far out of range.
fn decimal_bits(integer: &[u8], fraction: &[u8], exponent: i64) -> Option<Bits> {
    let digits = integer.len() + fraction.len();
    let digit = |i: usize| {
        if i < integer.len() {
            integer[i]
        } else {
            fraction[i - integer.len()]
        }
    };
    let Some(first) = (0..digits).find(|i| digit(*i) != b'0') else {
        return Some(Bits {
            mantissa: 0,
            exponent: 0,
            sticky: false,
        });
    };
    let last = (0..digits).rfind(|i| digit(*i) != b'0').unwrap_or(first);
    // The digits from first to last, an integer, times 10^exponent.
    let exponent = exponent + integer.len() as i64 - (last as i64 + 1);
    let leading = exponent + (last - first) as i64; // the first digit counts 10^leading
    if !(-4960..4940).contains(&leading) {
        return None;
    }
    let significant = (first..=last).map(|i| u64::from(digit(i) - b'0'));
    if last - first < 19 {
        let small = significant
            .clone()
            .fold(0, |value, digit| value * 10 + digit);
        if let Some(bits) = small_decimal_bits(small, exponent) {
            return Some(bits);
        }
    }
    let mut number = Big::default();
    for digit in significant {
        number.multiply_add(10, digit);
    }
    if exponent >= 0 {
        number.multiply_power_of_ten(exponent as u64);
        return Some(number.leading_bits());
    }
    let mut divisor = Big::from(1);
    divisor.multiply_power_of_ten(exponent.unsigned_abs());
    Some(quotient_bits(number, divisor))
}

/// digits × 10^exponent where the machine's integers suffice: what people write.
fn small_decimal_bits(digits: u64, exponent: i64) -> Option<Bits> {
    match exponent {
        0..19 => {
            let mantissa = u128::from(digits) * u128::from(10u64.pow(exponent as u32));
            Some(Bits {
                mantissa,
                exponent: 0,
                sticky: false,
            })
        }
        -18..0 => {
            // A dividend of 128 bits over a divisor of at most 60 leaves a quotient of at least 67.
            let shift = digits.leading_zeros() + 64;
            let (dividend, divisor) = (
                u128::from(digits) << shift,
                u128::from(10u64.pow(exponent.unsigned_abs() as u32)),
            );
            Some(Bits {
                mantissa: dividend / divisor,
                exponent: -i64::from(shift),
                sticky: dividend % divisor != 0,
            })
        }
        _ => None,
    }
}

/// At least 66 leading bits of a quotient (of two numbers that are not zero), by shifting and subtracting.
fn quotient_bits(mut number: Big, mut divisor: Big) -> Bits {
    const BITS: usize = 67;
    // Shift so that the quotient lies between 2^(BITS-1) and 2^(BITS+1).
    let shift = BITS as i64 + divisor.bits() as i64 - number.bits() as i64;
    if shift >= 0 {
        number.shift_left(shift as usize)
    } else {
        divisor.shift_left(shift.unsigned_abs() as usize)
    }
    divisor.shift_left(BITS);
    let mut mantissa = 0;
    for _ in 0..=BITS {
        mantissa <<= 1;
        if number.subtract_if_not_less(&divisor) {
            mantissa |= 1;
        }
        divisor.halve();
    }
    Bits {
        mantissa,
        exponent: -shift,
        sticky: !number.is_zero(),
    }
}

/// A natural number of any size: 64-bit limbs, the lowest first, the highest not zero.
#[derive(Clone, Debug, Default, PartialEq)]
struct Big(Vec<u64>);

impl From<u64> for Big {
    fn from(value: u64) -> Big {
        Big(if value == 0 {
            Vec::new()
        } else {
            alloc::vec![value]
        })
    }
}

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0
            .last()
            .map_or(0, |high| self.0.len() * 64 - high.leading_zeros() as usize)
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u64, add: u64) {
        let mut carry = u128::from(add);
        for limb in &mut self.0 {
            carry += u128::from(*limb) * u128::from(factor);
            *limb = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            self.0.push(carry as u64);
        }
    }

    fn multiply_power_of_ten(&mut self, mut power: u64) {
        while power >= 19 {
            self.multiply_add(TEN_19, 0);
            power -= 19;
        }
        self.multiply_add(10u64.pow(power as u32), 0);
    }

    /// Divides; returns the remainder.
    fn divide_small(&mut self, divisor: u64) -> u64 {
        let mut rest = 0u128;
        for limb in self.0.iter_mut().rev() {
            rest = rest << 64 | u128::from(*limb);
            *limb = (rest / u128::from(divisor)) as u64;
            rest %= u128::from(divisor);
        }
        self.trim();
        rest as u64
    }

    fn shift_left(&mut self, by: usize) {
        if self.is_zero() {
            return;
        }
        let (limbs, bits) = (by / 64, by % 64);
        if bits != 0 {
            let mut carry = 0;
            for limb in &mut self.0 {
                let high = *limb >> (64 - bits);
                *limb = *limb << bits | carry;
                carry = high;
            }
            if carry != 0 {
                self.0.push(carry);
            }
        }
        self.0.splice(0..0, core::iter::repeat_n(0, limbs));
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let low = *limb << 63;
            *limb = *limb >> 1 | carry;
            carry = low;
        }
        self.trim();
    }

    /// Subtracts `other` if it is not larger; returns whether it did.
    fn subtract_if_not_less(&mut self, other: &Big) -> bool {
        let length = self.0.len().cmp(&other.0.len());
        if length
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
            .is_lt()
        {
            return false;
        }
        let mut borrow = false;
        for (i, limb) in self.0.iter_mut().enumerate() {
            let (less, under) = limb.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (less, again) = less.overflowing_sub(borrow.into());
            *limb = less;
            borrow = under || again;
        }
        self.trim();
        true
    }

    /// The leading 128 bits, and whether others follow.
    fn leading_bits(&self) -> Bits {
        let count = self.0.len();
        let low = count.saturating_sub(3);
        // Three limbs hold 128 bits wherever the highest bit stands.
        let top = self.0[low..]
            .iter()
            .rev()
            .fold((0u128, 0u64), |(high, last), limb| {
                (high << 64 | u128::from(last), *limb)
            });
        let (high, last) = top;
        let shift = high.leading_zeros().min(64);
        let below = self.0[..low].iter().any(|limb| *limb != 0);
        if high == 0 {
            return Bits {
                mantissa: last.into(),
                exponent: low as i64 * 64,
                sticky: below,
            };
        }
        let mantissa = if shift == 64 {
            high << 64 | u128::from(last)
        } else if shift == 0 {
            high
        } else {
            high << shift | u128::from(last >> (64 - shift))
        };
        let lost = if shift == 64 { 0 } else { last << shift };
        Bits {
            mantissa,
            exponent: (low as i64 + 1) * 64 - i64::from(shift),
            sticky: below || lost != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    fn shown(number: LongDouble) -> String {
        let mut out = Vec::new();
        number.write_human(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn sum(a: &str, b: &str) -> Option<String> {
        let sum = LongDouble::parse(a.as_bytes())? + LongDouble::parse(b.as_bytes())?;
        sum.is_finite().then(|| shown(sum))
    }

    /// Each line: a value, an increment, and what INCRBYFLOAT of Redis 7.0.15 answered, `error` for an
    /// error (see `testdata/README.md`).
    #[test]
    fn as_redis_answers() {
        let mut cases = 0;
        for line in include_str!("testdata/incrbyfloat.txt").lines() {
            let mut words = line.split(' ');
            let (value, increment, answer) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            assert_eq!(
                sum(value, increment).as_deref().unwrap_or("error"),
                answer,
                "{value} + {increment}"
            );
            cases += 1;
        }
        assert!(cases > 1000);
    }

    #[test]
    fn the_ends_of_the_range() {
        let largest = "1.18973149535723176502e+4932";
        assert!(LongDouble::parse(largest.as_bytes()).is_some());
        assert_eq!(LongDouble::parse(b"1.18973149535723176509e+4932"), None);
        let smallest = LongDouble::Finite {
            negative: false,
            mantissa: 1,
            exponent: -16445,
        };
        assert_eq!(LongDouble::parse(b"3.6e-4951"), Some(smallest));
        assert_eq!(LongDouble::parse(b"0x1p-16445"), Some(smallest));
        assert_eq!(LongDouble::parse(b"1.8e-4951"), None);
        assert_eq!(sum(largest, largest), None);
        assert_eq!(
            shown(LongDouble::parse(largest.as_bytes()).unwrap()).len(),
            4933
        );
        for bad in [
            "",
            " 1",
            "1 ",
            "nan",
            "1e4933",
            "1e-5000",
            "1e999999999999999999999",
            "0x1p16384",
        ] {
            assert_eq!(LongDouble::parse(bad.as_bytes()), None, "{bad}");
        }
        let zeros = |n: usize| format!("0.{}1", "0".repeat(n));
        assert!(LongDouble::parse(zeros(4900).as_bytes()).is_some());
        assert!(LongDouble::parse(format!("{}e5000", zeros(5000)).as_bytes()).is_some());
        assert_eq!(LongDouble::parse(zeros(5117).as_bytes()), None);
        let infinite = LongDouble::parse(b"-inf").unwrap();
        assert_eq!(
            infinite + LongDouble::from(5),
            LongDouble::Infinite { negative: true }
        );
        assert_eq!(
            infinite + LongDouble::Infinite { negative: false },
            LongDouble::Nan
        );
    }

    proptest! {
        #[test]
        fn integers_of_64_bits_are_exact(a: i64, b: i64) {
            let expected = i128::from(a) + i128::from(b);
            prop_assume!(expected.unsigned_abs() < 1 << 64);
            prop_assert_eq!(shown(LongDouble::from(a) + LongDouble::from(b)), format!("{expected}"));
            prop_assert_eq!(sum(&format!("{a}"), &format!("{b}.000")), Some(format!("{expected}")));
        }

        /// The quick way for short numbers and the long way for all agree.
        #[test]
        fn both_ways_of_reading_agree(digits in 1u64.., exponent in -18i64..19) {
            let quick = small_decimal_bits(digits, exponent).unwrap().round(64, MIN_EXPONENT);
            let mut number = Big::from(digits);
            let slow = if exponent >= 0 {
                number.multiply_power_of_ten(exponent as u64);
                number.leading_bits()
            } else {
                let mut divisor = Big::from(1);
                divisor.multiply_power_of_ten(exponent.unsigned_abs());
                quotient_bits(number, divisor)
            };
            prop_assert_eq!(quick, slow.round(64, MIN_EXPONENT));
        }

        #[test]
        fn addition_commutes_and_undoes(a in any::<(u64, bool)>(), b in any::<(u64, bool)>(), e in -200i32..200, f in -200i32..200) {
            let number = |(mantissa, negative): (u64, bool), exponent| LongDouble::Finite { negative, mantissa: mantissa | 1 << 63, exponent };
            let (x, y) = (number(a, e), number(b, f));
            prop_assert_eq!(x + y, y + x);
            let minus_x = number((a.0, !a.1), e);
            prop_assert_eq!(shown(x + minus_x), "0");
            prop_assert_eq!(x + LongDouble::from(0), x);
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9a-fxpeEinf.]{0,30}(e[-+]?[0-9]{1,6})?") {
            if let Some(number) = LongDouble::parse(text.as_bytes()) {
                shown(number);
            }
        }
    }
}
