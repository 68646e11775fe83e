//! The text of a floating-point number, taken apart: what `strtod` and `strtold` accept in the C
//! locale, so that the two widths in use here (the double of scores, the x87 extended double of
//! INCRBYFLOAT) read the same grammar.
//!
//! ```text
//! number   = [ "+" | "-" ] ( decimal | hex | "inf" | "infinity" | "nan" )      letters in either case
//! decimal  = digits with at most one "." (at least one digit) [ "e" [sign] digits ]
//! hex      = "0x" hex digits with at most one "." (at least one digit) [ "p" [sign] digits ]
//! ```
//!
//! Nothing may come before or after: a number that `strtod` would read only in part is no number.

/// A number's text, understood but not yet rounded to any width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatText<'a> {
    /// Whether a minus sign came first (also of zero and infinity).
    pub negative: bool,
    /// The rest.
    pub magnitude: Magnitude<'a>,
}

/// A number's text without its sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Magnitude<'a> {
    /// Digits before and after the point, times 10 to `exponent`.
    Decimal {
        /// Digits before the point.
        integer: &'a [u8],
        /// Digits after the point.
        fraction: &'a [u8],
        /// The written exponent, held within ±[`EXPONENT_LIMIT`].
        exponent: i64,
    },
    /// A hexadecimal number, its bits gathered.
    Hex(Bits),
    /// `inf` or `infinity`.
    Infinite,
    /// `nan`, which every caller here refuses.
    NotANumber,
}

/// Written exponents are held within this bound, which no accepted text is long enough to undo:
/// 10^(2^40) needs a terabyte of zeros to come back into range.
pub const EXPONENT_LIMIT: i64 = 1 << 40;

/// A non-negative binary number: `mantissa` × 2^`exponent`, and a little more if `sticky`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bits {
    /// The leading bits. Zero only for the number zero.
    pub mantissa: u128,
    /// The power of two that scales the mantissa.
    pub exponent: i64,
    /// Whether further one bits follow below the mantissa.
    pub sticky: bool,
}

impl Bits {
    /// Rounds to `precision` bits (1–64), to nearest, ties to even, with no exponent below
    /// `min_exponent` (so tiny numbers lose precision, as subnormals do).
    ///
    /// Returns (mantissa, exponent): the mantissa has exactly `precision` bits unless it is
    /// subnormal (then the exponent is `min_exponent`) or zero. Overflow is the caller's to see.
    pub fn round(self, precision: u32, min_exponent: i64) -> (u64, i64) {
        if self.mantissa == 0 {
            return (0, min_exponent);
        }
        let shift = i64::from(self.mantissa.leading_zeros());
        let mantissa = self.mantissa << shift;
        let top = self.exponent - shift;
        // Bits to drop from the 128 that are there.
        let normal = i64::from(128 - precision);
        let drop = normal.max(min_exponent.saturating_sub(top));
        if drop > 128 {
            return (0, min_exponent); // below half of the smallest number
        }
        let (kept, half, rest) = if drop == 128 {
            (0, true, mantissa << 1 != 0)
        } else {
            let rest = mantissa & ((1u128 << (drop - 1)) - 1);
            (mantissa >> drop, mantissa >> (drop - 1) & 1 == 1, rest != 0)
        };
        let up = half && (rest || self.sticky || kept & 1 == 1);
        let (mut kept, mut exponent) = (kept + u128::from(up), top + drop);
        if kept >> precision != 0 {
            kept >>= 1; // all ones rounded up: the lost bit is zero
            exponent += 1;
        }
        (kept as u64, exponent)
    }
}

impl<'a> FloatText<'a> {
    /// Takes a number apart; `None` for anything that is not wholly a number.
    pub fn parse(text: &'a [u8]) -> Option<FloatText<'a>> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let magnitude = match rest {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
            [b'0'..=b'9' | b'.', ..] => parse_decimal(rest)?,
            _ if rest.eq_ignore_ascii_case(b"inf") => Magnitude::Infinite,
            _ if rest.eq_ignore_ascii_case(b"infinity") => Magnitude::Infinite,
            _ if rest.eq_ignore_ascii_case(b"nan") => Magnitude::NotANumber,
            _ => return None,
        };
        Some(FloatText {
            negative,
            magnitude,
        })
    }
}

fn parse_decimal(text: &[u8]) -> Option<Magnitude<'_>> {
    let (integer, rest) = split_digits(text, u8::is_ascii_digit);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => split_digits(rest, u8::is_ascii_digit),
        _ => (&rest[..0], rest),
    };
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = parse_exponent(rest, b'e')?;
    Some(Magnitude::Decimal {
        integer,
        fraction,
        exponent,
    })
}

fn parse_hex(text: &[u8]) -> Option<Magnitude<'_>> {
    let (integer, rest) = split_digits(text, u8::is_ascii_hexdigit);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => split_digits(rest, u8::is_ascii_hexdigit),
        _ => (&rest[..0], rest),
    };
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut bits = Bits {
        mantissa: 0,
        exponent: 0,
        sticky: false,
    };
    for (digit, is_integer) in integer
        .iter()
        .map(|d| (d, true))
        .chain(fraction.iter().map(|d| (d, false)))
    {
        let value = u128::from((*digit as char).to_digit(16)?);
        if bits.mantissa >> 124 == 0 {
            bits.mantissa = bits.mantissa << 4 | value;
            bits.exponent -= if is_integer { 0 } else { 4 };
        } else {
            bits.sticky |= value != 0;
            bits.exponent += if is_integer { 4 } else { 0 };
        }
    }
    bits.exponent += parse_exponent(rest, b'p')?;
    Some(Magnitude::Hex(bits))
}

fn split_digits(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !is_digit(b)).unwrap_or(text.len()))
}

/// The exponent part, which must be all that is left; nothing at all is an exponent of zero.
fn parse_exponent(text: &[u8], mark: u8) -> Option<i64> {
    let Some((first, rest)) = text.split_first() else {
        return Some(0);
    };
    if first.to_ascii_lowercase() != mark {
        return None;
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(digit - b'0')).min(EXPONENT_LIMIT);
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_numbers() {
        for bad in [
            "",
            "+",
            "-",
            ".",
            "+.",
            "e5",
            ".e5",
            "1e",
            "1e+",
            "1e-",
            "1x",
            " 1",
            "1 ",
            "1e5.",
            "1.2.3",
            "--1",
            "+-1",
            "0x",
            "0x.",
            "0xg",
            "0x1p",
            "0x1p+",
            "0x1e+1",
            "infin",
            "in",
            "infinityx",
            "nan(",
            "1_0",
            "1,0",
            "\u{0}",
            "1\0",
        ] {
            assert_eq!(FloatText::parse(bad.as_bytes()), None, "{bad:?}");
        }
        for good in [
            "0",
            "-0",
            "+1",
            "1.",
            ".5",
            "1e5",
            "1E+5",
            "1.e-5",
            "0x1",
            "0X.8P1",
            "0x1.p-3",
            "Inf",
            "-INFINITY",
            "NaN",
        ] {
            assert!(FloatText::parse(good.as_bytes()).is_some(), "{good:?}");
        }
    }

    #[test]
    fn exponents_saturate() {
        let text = FloatText::parse(b"1e99999999999999999999999").unwrap();
        assert!(matches!(
            text.magnitude,
            Magnitude::Decimal {
                exponent: EXPONENT_LIMIT,
                ..
            }
        ));
    }

    #[test]
    fn rounding_is_to_nearest_and_even() {
        let bits = |mantissa, exponent, sticky| Bits {
            mantissa,
            exponent,
            sticky,
        };
        assert_eq!(bits(0b1011, 0, false).round(3, -1000), (0b110, 1)); // 11 → 12 (tie to even)
        assert_eq!(bits(0b1001, 0, false).round(3, -1000), (0b100, 1)); // 9 → 8 (tie to even)
        assert_eq!(bits(0b1001, 0, true).round(3, -1000), (0b101, 1)); // 9 and a bit → 10
        assert_eq!(bits(0b1111, 0, false).round(3, -1000), (0b100, 2)); // 15 → 16
        assert_eq!(bits(1, -3, false).round(3, -2), (0, -2)); // half of the smallest: even is zero
        assert_eq!(bits(1, -3, true).round(3, -2), (1, -2));
        assert_eq!(bits(1, -4, true).round(3, -2), (0, -2));
    }
}
