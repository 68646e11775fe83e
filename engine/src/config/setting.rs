//! A value of one directive: how it is read from text, shown, and written into a file.
//!
//! Every type of value implements [`Setting`]; what differs between directives of one type (bounds,
//! unit, extra checks) is a [`Rule`]. Error texts are Redis's.

use crate::resp::quote;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Why a value was refused, in Redis's words.
pub type Reason = Cow<'static, str>;

/// Looks at a value's text beyond its type and bounds.
pub(super) type Check = fn(&[u8]) -> Result<(), Reason>;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// CONFIG SET, or the first line of a file that sets it: replaces what was there.
    Replace,
    /// A further line of the same file: adds, where the directive may be repeated (`save`).
    Add,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Plain,
    /// Bytes, with `k`, `kb`, `m`, `mb`, `g`, `gb` (the short ones are powers of ten).
    Memory,
    /// As Memory, or `N%`, kept as a negative number.
    MemoryOrPercent,
    Octal,
}

/// What is asked of a value beyond its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub min: i128,
    pub max: i128,
    pub unit: Unit,
    /// Whether an empty string means "not set", so that it leaves no line in a rewritten file.
    pub empty_is_unset: bool,
    pub check: Option<Check>,
}

impl Rule {
    pub const NONE: Rule = Rule {
        min: i128::MIN,
        max: i128::MAX,
        unit: Unit::Plain,
        empty_is_unset: true,
        check: None,
    };

    pub const fn range(min: i128, max: i128) -> Rule {
        Rule {
            min,
            max,
            ..Rule::NONE
        }
    }

    pub const fn memory(min: i128, max: i128) -> Rule {
        Rule {
            min,
            max,
            unit: Unit::Memory,
            ..Rule::NONE
        }
    }

    /// A string whose empty value is a value like any other.
    pub const fn may_be_empty() -> Rule {
        Rule {
            empty_is_unset: false,
            ..Rule::NONE
        }
    }

    pub const fn with_check(self, check: Check) -> Rule {
        Rule {
            check: Some(check),
            ..self
        }
    }

    pub const fn with_unit(self, unit: Unit) -> Rule {
        Rule { unit, ..self }
    }
}

/// How a directive appears in a rewritten file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rewritten {
    /// Nowhere: its lines are blanked.
    Absent,
    /// As these values, each on a line of its own after the name.
    Lines(Vec<RewrittenLine>),
}

/// One line of a rewritten directive, without the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RewrittenLine {
    pub value: Vec<u8>,
    /// Whether it is appended when the old file does not have it; otherwise it only replaces.
    pub forced: bool,
}

impl Rewritten {
    pub fn one(value: Vec<u8>, forced: bool) -> Rewritten {
        Rewritten::Lines(vec![RewrittenLine { value, forced }])
    }
}

/// A value of one directive.
pub(super) trait Setting {
    /// Takes the value that `args` give. On an error the old value may be lost: callers work on a copy.
    fn set(&mut self, args: &[&[u8]], rule: &Rule, origin: Origin) -> Result<(), Reason>;

    /// The value as CONFIG GET shows it.
    fn value(&self, rule: &Rule) -> Vec<u8>;

    /// The value as CONFIG REWRITE writes it; `default` is what CONFIG GET shows for the default.
    fn rewritten(&self, rule: &Rule, default: &[u8]) -> Rewritten {
        let value = self.value(rule);
        let forced = value != default;
        Rewritten::one(value, forced)
    }
}

/// The only argument.
pub(super) fn single<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], Reason> {
    match args {
        [one] => Ok(one),
        _ => Err("wrong number of arguments".into()),
    }
}

pub(super) fn yes_no(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"yes") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"no") {
        Some(false)
    } else {
        None
    }
}

fn checked(rule: &Rule, text: &[u8]) -> Result<(), Reason> {
    rule.check.map_or(Ok(()), |check| check(text))
}

impl Setting for bool {
    fn set(&mut self, args: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
        let text = single(args)?;
        let value = yes_no(text).ok_or("argument must be 'yes' or 'no'")?;
        checked(rule, text)?;
        *self = value;
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        if *self {
            b"yes".to_vec()
        } else {
            b"no".to_vec()
        }
    }
}

/// A whole number in its shortest form: no blanks, no plus sign, no leading zeros.
pub(super) fn strict_integer(text: &[u8]) -> Option<i128> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    let value: i128 = core::str::from_utf8(text).ok()?.parse().ok()?;
    (i64::MIN.into()..=i64::MAX.into())
        .contains(&value)
        .then_some(value)
}

/// A whole number as C's `strtoll` takes it when all of the text must be used: blanks before it, a
/// sign and leading zeros are allowed, and an empty text is zero.
pub(super) fn lenient_integer(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return Some(0);
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Bytes with an optional unit. An empty number is zero, as in Redis.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    const UNITS: [(&[u8], u64); 8] = [
        (b"", 1),
        (b"b", 1),
        (b"k", 1000),
        (b"kb", 1 << 10),
        (b"m", 1_000_000),
        (b"mb", 1 << 20),
        (b"g", 1_000_000_000),
        (b"gb", 1 << 30),
    ];
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    let number = match core::str::from_utf8(number).ok()? {
        "" => 0,
        number => number.parse::<u64>().ok()?,
    };
    number.checked_mul(*scale)
}

/// Bytes in the largest unit that divides them.
pub(super) fn format_memory(bytes: i128) -> String {
    const UNITS: [(i128, &str); 3] = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match UNITS
        .iter()
        .find(|(size, _)| bytes != 0 && bytes % size == 0)
    {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

fn parse_number(text: &[u8], rule: &Rule) -> Result<i128, Reason> {
    let percent = || {
        let number = text.strip_suffix(b"%").and_then(strict_integer)?;
        (number >= 0).then_some(-number)
    };
    let octal = || {
        let text = core::str::from_utf8(text).ok()?;
        i64::from_str_radix(text, 8).ok().map(i128::from)
    };
    let (parsed, complaint) = match rule.unit {
        Unit::Plain => (
            strict_integer(text),
            "argument couldn't be parsed into an integer",
        ),
        Unit::Memory => (
            parse_memory(text).map(i128::from),
            "argument must be a memory value",
        ),
        Unit::MemoryOrPercent => (
            parse_memory(text).map(i128::from).or_else(percent),
            "argument must be a memory or percent value",
        ),
        Unit::Octal => (octal(), "argument couldn't be parsed as an octal number"),
    };
    parsed.ok_or(Cow::Borrowed(complaint))
}

fn within_bounds(number: i128, rule: &Rule) -> Result<(), Reason> {
    if (rule.min..=rule.max).contains(&number) {
        return Ok(());
    }
    Err(match rule.unit {
        Unit::MemoryOrPercent if number < 0 => {
            format!("percentage argument must be less or equal to {}", -rule.min).into()
        }
        Unit::Octal => format!(
            "argument must be between {:o} and {:o} inclusive",
            rule.min, rule.max
        )
        .into(),
        _ => format!(
            "argument must be between {} and {} inclusive",
            rule.min, rule.max
        )
        .into(),
    })
}

fn show_number(number: i128, rule: &Rule) -> String {
    match rule.unit {
        Unit::MemoryOrPercent if number < 0 => format!("{}%", -number),
        Unit::Octal => format!("{number:o}"),
        _ => number.to_string(),
    }
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Setting for $ty {
            fn set(&mut self, args: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
                let text = single(args)?;
                let number = parse_number(text, rule)?;
                within_bounds(number, rule)?;
                checked(rule, text)?;
                // The table's bounds lie within the type's (a test looks at each row).
                *self = <$ty>::try_from(number).map_err(|_| "argument couldn't be parsed into an integer")?;
                Ok(())
            }

            fn value(&self, rule: &Rule) -> Vec<u8> {
                show_number(i128::from(*self), rule).into_bytes()
            }

            fn rewritten(&self, rule: &Rule, default: &[u8]) -> Rewritten {
                let value = self.value(rule);
                let forced = value != default;
                match rule.unit {
                    Unit::Memory | Unit::MemoryOrPercent if i128::from(*self) >= 0 => {
                        Rewritten::one(format_memory(i128::from(*self)).into_bytes(), forced)
                    }
                    _ => Rewritten::one(value, forced),
                }
            }
        }
    )*};
}

integers!(u16 u32 i32 u64 i64);

/// Binary text: passwords.
impl Setting for Vec<u8> {
    fn set(&mut self, args: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
        let text = single(args)?;
        checked(rule, text)?;
        *self = text.to_vec();
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        self.clone()
    }

    fn rewritten(&self, rule: &Rule, default: &[u8]) -> Rewritten {
        rewritten_text(self, rule, default)
    }
}

/// Text: names and paths.
impl Setting for String {
    fn set(&mut self, args: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
        let text = single(args)?;
        checked(rule, text)?;
        *self = core::str::from_utf8(text)
            .map_err(|_| "argument must be valid UTF-8")?
            .to_string();
        Ok(())
    }

    fn value(&self, _: &Rule) -> Vec<u8> {
        self.clone().into_bytes()
    }

    fn rewritten(&self, rule: &Rule, default: &[u8]) -> Rewritten {
        rewritten_text(self.as_bytes(), rule, default)
    }
}

fn rewritten_text(text: &[u8], rule: &Rule, default: &[u8]) -> Rewritten {
    if text.is_empty() && rule.empty_is_unset {
        return Rewritten::Absent;
    }
    let mut quoted = Vec::new();
    quote(&mut quoted, text);
    Rewritten::one(quoted, text != default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units() {
        for (text, bytes) in [
            ("1gb", Some(1 << 30)),
            ("64MB", Some(64 << 20)),
            ("5m", Some(5_000_000)),
            ("100", Some(100)),
            ("100b", Some(100)),
            ("2k", Some(2000)),
            ("2Kb", Some(2048)),
            ("", Some(0)),
            ("-1", None),
            ("1xx", None),
            ("1.5gb", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615kb", None),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), bytes, "{text}");
        }
        for (bytes, text) in [
            (0, "0"),
            (1 << 30, "1gb"),
            (3 << 20, "3mb"),
            (1025, "1025"),
            (2048, "2kb"),
        ] {
            assert_eq!(format_memory(bytes), text);
        }
    }

    #[test]
    fn strict_integers() {
        for refused in [
            "",
            "-",
            "-0",
            "01",
            "+1",
            " 1",
            "1 ",
            "9223372036854775808",
            "7.5",
            "1e3",
        ] {
            assert_eq!(strict_integer(refused.as_bytes()), None, "{refused}");
        }
        assert_eq!(strict_integer(b"0"), Some(0));
        assert_eq!(
            strict_integer(b"-9223372036854775808"),
            Some(i64::MIN.into())
        );
    }
}
