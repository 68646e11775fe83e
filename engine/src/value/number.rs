//! Numbers as text, read and written exactly as Redis does: what counts as an integer decides
//! encodings (and so what OBJECT ENCODING says and what a snapshot holds), and how a double is
//! printed is what clients see.

use super::float_text::{FloatText, Magnitude};
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::ops::Deref;

/// The longest text of an `i64`: `-9223372036854775808`.
pub const I64_TEXT_MAX: usize = 20;

/// Reads an integer that is written in the one canonical way: no sign but `-`, no leading zeros, no
/// `-0`, no spaces, within 64 bits. So the text can be had back from the number.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    match digits {
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        [b'0'] if !negative => return Some(0),
        _ => return None,
    }
    let mut value = 0u64; // 19 digits stay below 2^64
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    match negative {
        true if value <= 1 << 63 => Some((value as i64).wrapping_neg()),
        false if value < 1 << 63 => Some(value as i64),
        _ => None,
    }
}

/// An integer's text, on the stack.
#[derive(Clone, Copy)]
pub struct ItoaBuffer {
    bytes: [u8; I64_TEXT_MAX],
    start: u8,
}

impl ItoaBuffer {
    /// Writes out `value`.
    pub fn new(value: i64) -> ItoaBuffer {
        let mut bytes = [0; I64_TEXT_MAX];
        let mut start = I64_TEXT_MAX;
        let mut rest = value.unsigned_abs();
        while rest >= 100 {
            let pair = (rest % 100) as usize * 2;
            rest /= 100;
            start -= 2;
            bytes[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        if rest >= 10 {
            let pair = rest as usize * 2;
            start -= 2;
            bytes[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        } else {
            start -= 1;
            bytes[start] = b'0' + rest as u8;
        }
        if value < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        ItoaBuffer {
            bytes,
            start: start as u8,
        }
    }
}

impl Deref for ItoaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

impl core::fmt::Debug for ItoaBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(core::str::from_utf8(self).unwrap_or_default())
    }
}

/// Appends an integer's text.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if (0..10).contains(&value) {
        out.push(b'0' + value as u8);
    } else {
        out.extend_from_slice(&ItoaBuffer::new(value));
    }
}

/// How many bytes the text of `value` has.
pub fn i64_text_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

/// Reads a double with the strictness of scores and increments (ZADD, GEOADD, …): all that `strtod`
/// reads, and wholly, but no NaN and nothing out of range: too large, or rounded to zero without
/// being zero. See [`super::float_text`] for the grammar.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    match read_f64(text)? {
        (value, Range::Within) => Some(value),
        _ => None,
    }
}

/// Reads a double with the laxity of score ranges (ZRANGEBYSCORE's bounds, after their `(`): leading
/// white space is passed over, the number ends at the first NUL byte, nothing at all is 0, what is
/// too large is infinite, what is too small zero. No NaN, and no trailing bytes.
pub fn parse_f64_bound(text: &[u8]) -> Option<f64> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|b| !is_space(b)).unwrap_or(text.len());
    read_f64(&text[start..]).map(|(value, _)| value)
}

/// Whether a number fitted its width.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    Within,
    Overflow,
    Underflow,
}

fn read_f64(text: &[u8]) -> Option<(f64, Range)> {
    if let Some(small) = parse_small(text) {
        return Some((small, Range::Within));
    }
    let number = FloatText::parse(text)?;
    let (value, is_zero) = match number.magnitude {
        Magnitude::Decimal {
            integer, fraction, ..
        } => {
            // The grammar was checked; the conversion is correctly rounded, as the C library's is.
            let value: f64 = core::str::from_utf8(text).ok()?.parse().ok()?;
            let is_zero = integer.iter().chain(fraction).all(|digit| *digit == b'0');
            (value.abs(), is_zero)
        }
        Magnitude::Hex(bits) => {
            let (mantissa, exponent) = bits.round(53, -1074);
            (assemble_f64(mantissa, exponent), bits.mantissa == 0)
        }
        Magnitude::Infinite => {
            return Some((
                if number.negative {
                    -f64::INFINITY
                } else {
                    f64::INFINITY
                },
                Range::Within,
            ));
        }
        Magnitude::NotANumber => return None,
    };
    let range = match value {
        0.0 if !is_zero => Range::Underflow,
        f64::INFINITY => Range::Overflow,
        _ => Range::Within,
    };
    Some((if number.negative { -value } else { value }, range))
}

/// The common score: an integer of up to 15 digits, exact in a double.
fn parse_small(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0')) as f64;
    Some(if negative { -value } else { value })
}

/// A double from a rounded mantissa (53 bits, fewer only at exponent −1074).
fn assemble_f64(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    if exponent > 971 {
        return f64::INFINITY;
    }
    // A subnormal has no hidden bit and stands at the lowest exponent, which is also that of the first normals.
    let biased = if mantissa >> 52 == 0 {
        0
    } else {
        (exponent + 1075) as u64
    };
    f64::from_bits(biased << 52 | (mantissa & ((1 << 52) - 1)))
}

/// Appends a double as a reply shows it (ZSCORE, ZRANGE WITHSCORES, RESP3 doubles): 17 significant
/// digits without trailing zeros, `inf`, `-inf`, `nan`; the C library's `%.17g`.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    match integer_of(value) {
        Some(integer) if integer.abs() < 100_000_000_000_000_000 && !is_negative_zero(value) => {
            write_i64(out, integer);
        }
        _ => write_general(out, value),
    }
}

/// Appends a double as Redis stores it in text (a score in a listpack that [`integer_of`] has no
/// integer for, `d2string` elsewhere): as [`write_f64`], but integers up to 2^62 are written out in full.
pub fn write_score(out: &mut Vec<u8>, value: f64) {
    match integer_of(value) {
        Some(integer) if !is_negative_zero(value) => write_i64(out, integer),
        _ => write_general(out, value),
    }
}

/// The integer that a double is, within ±2^62. A sorted set in its small form stores such scores as
/// integers, and so forgets the sign of −0.
pub fn integer_of(value: f64) -> Option<i64> {
    const LIMIT: f64 = (1u64 << 62) as f64;
    if !(-LIMIT..=LIMIT).contains(&value) {
        return None;
    }
    let integer = value as i64;
    (integer as f64 == value).then_some(integer)
}

fn is_negative_zero(value: f64) -> bool {
    value == 0.0 && value.is_sign_negative()
}

fn write_general(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(if value.is_sign_negative() {
            b"-nan"
        } else {
            b"nan"
        });
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    // d.dddddddddddddddde±x, exactly rounded.
    let mut text = StackText {
        bytes: [0; 32],
        len: 0,
    };
    let _ = write!(text, "{:.16e}", value.abs());
    let text = &text.bytes[..text.len];
    let (mantissa, exponent) =
        text.split_at(text.iter().position(|b| *b == b'e').unwrap_or(text.len()));
    let exponent = exponent.get(1..).and_then(parse_i64).unwrap_or(0);
    let mut digits = [b'0'; 17];
    for (digit, byte) in digits
        .iter_mut()
        .zip(mantissa.iter().filter(|b| **b != b'.'))
    {
        *digit = *byte;
    }
    let significant = digits
        .iter()
        .rposition(|d| *d != b'0')
        .map_or(1, |last| last + 1);
    if (-4..17).contains(&exponent) {
        write_fixed(out, &digits[..significant], exponent);
    } else {
        out.push(digits[0]);
        if significant > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..significant]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        write_i64(out, exponent.abs());
    }
}

/// Digits with their point in place: the first digit counts 10^`exponent`.
fn write_fixed(out: &mut Vec<u8>, digits: &[u8], exponent: i64) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(core::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(digits);
        return;
    }
    let point = exponent as usize + 1;
    if digits.len() <= point {
        out.extend_from_slice(digits);
        out.extend(core::iter::repeat_n(b'0', point - digits.len()));
    } else {
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

/// A formatter's output without an allocation. What does not fit is cut; nothing here comes near.
struct StackText {
    bytes: [u8; 32],
    len: usize,
}

impl core::fmt::Write for StackText {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.len..];
        let text = &text.as_bytes()[..text.len().min(room.len())];
        room[..text.len()].copy_from_slice(text);
        self.len += text.len();
        Ok(())
    }
}

/// `00`, `01`, … `99`: two digits a division.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut i = 0;
    while i < 100 {
        pairs[i * 2] = b'0' + (i / 10) as u8;
        pairs[i * 2 + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn shown(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn stored(value: f64) -> String {
        let mut out = Vec::new();
        write_score(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_have_one_text() {
        for bad in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "-01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "1\0",
        ] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad:?}");
        }
        for good in [
            0,
            1,
            -1,
            9,
            10,
            99,
            100,
            -100,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
        ] {
            assert_eq!(parse_i64(good.to_string().as_bytes()), Some(good));
        }
    }

    proptest! {
        #[test]
        fn integers_round_trip(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let text = value.to_string();
            let mut out = Vec::new();
            write_i64(&mut out, value);
            prop_assert_eq!(&out[..], text.as_bytes());
            prop_assert_eq!(parse_i64(text.as_bytes()), Some(value));
            prop_assert_eq!(i64_text_len(value), text.len());
        }

        #[test]
        fn whatever_parses_as_an_integer_is_its_own_text(text in "[-+0-9 ]{0,22}") {
            if let Some(value) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text);
            }
        }

        #[test]
        fn doubles_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for text in [shown(value), stored(value)] {
                prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn hex_doubles_agree_with_their_bits(mantissa in 0u64..1 << 52, exponent in -1022i32..1024) {
            let text = format!("0x1.{mantissa:013x}p{exponent}");
            let expected = f64::from_bits(((exponent + 1023) as u64) << 52 | mantissa);
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(expected));
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_f64(&text), parse_f64_bound(&text), parse_i64(&text));
        }
    }

    #[test]
    fn doubles_are_read_strictly() {
        let good = [
            ("3", 3.0),
            ("-3.5", -3.5),
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("0x10", 16.0),
            ("0x1p-2", 0.25),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-Infinity", -f64::INFINITY),
            ("5e-324", 5e-324),
            ("0e-999", 0.0),
            ("0x0p-9999", 0.0),
            ("0x1p-1074", 5e-324),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("007", 7.0),
        ];
        for (text, value) in good {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [
            "",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "1e400",
            "-1e400",
            "1e-400",
            "0x1p1024",
            "0x1.fffffffffffff8p1023",
            "0x1p-1080",
            "one",
            "1\0",
            "(1",
        ] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
    }

    #[test]
    fn bounds_are_read_laxly() {
        for (text, value) in [
            ("", 0.0),
            ("\0x", 0.0),
            (" \t1", 1.0),
            ("1\0junk", 1.0),
            ("1e400", f64::INFINITY),
            ("-1e400", -f64::INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse_f64_bound(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [" ", "nan", "1 ", "1x", "(1"] {
            assert_eq!(parse_f64_bound(bad.as_bytes()), None, "{bad}");
        }
    }

    /// Taken from the C library's `%.17g`.
    #[test]
    fn doubles_are_shown_with_17_digits() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.0, "-3"),
            (0.1, "0.10000000000000001"),
            (2.34, "2.3399999999999999"),
            (1.5, "1.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (-1e17, "-1e+17"),
            (99999999999999984.0, "99999999999999984"),
            (1e20, "1e+20"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "inf"),
            (-f64::INFINITY, "-inf"),
            (0.5f64.powi(20), "9.5367431640625e-07"),
        ];
        for (value, text) in table {
            assert_eq!(shown(value), text);
        }
        assert_eq!(stored(1e17), "100000000000000000");
        assert_eq!(stored(4611686018427387904.0), "4611686018427387904");
        assert_eq!(stored(4611686018427388928.0), "4.6116860184273889e+18");
        assert_eq!(stored(-0.0), "-0");
        assert_eq!(
            (
                integer_of(-0.0),
                integer_of(2.5),
                integer_of(f64::NAN),
                integer_of(f64::INFINITY)
            ),
            (Some(0), None, None, None)
        );
    }
}
