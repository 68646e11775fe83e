//! Numbers as C's `%.Ng` writes them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Appends `value` with `precision` significant digits, as `%.*g` does.
pub(super) fn write_g(out: &mut Vec<u8>, value: f64, precision: usize) {
    if value.is_nan() {
        let text: &[u8] = if value.is_sign_negative() {
            b"-nan"
        } else {
            b"nan"
        };
        return out.extend_from_slice(text);
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, value);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(without_zeros(digits).as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    } else {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        let text: String = format!("{value:.decimals$}");
        out.extend_from_slice(without_zeros(&text).as_bytes());
    }
}

/// A decimal fraction without zeros at its end.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A float as an integer, as C's cast does on the machines that Redis runs on.
pub(super) fn to_i64(value: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let g = |value, precision| {
            let mut out = Vec::new();
            write_g(&mut out, value, precision);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(g(0.1, 17), "0.10000000000000001");
        assert_eq!(g(3.0, 17), "3");
        assert_eq!(g(1e15, 14), "1e+15");
        assert_eq!(g(123456789012345.0, 14), "1.2345678901234e+14");
        assert_eq!(g(1e-5, 14), "1e-05");
        assert_eq!(g(-0.0001, 14), "-0.0001");
        assert_eq!(g(99999.5, 5), "1e+05");
        assert_eq!(g(f64::INFINITY, 14), "inf");
        assert_eq!(g(1e300, 17), "1.0000000000000001e+300");
    }
}
