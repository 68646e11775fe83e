//! KEYS and SCAN, and the cursor and the options that all commands of SCAN's family share.
//!
//! A cursor is a position in the order of hashes: nothing is kept between two calls, and whatever
//! comes and goes meanwhile, a key that stays is met.

use alloc::vec::Vec;

use super::context::Data;
use super::error::CommandError;
use super::object::type_name;
use super::string::integer;
use super::table::Outcome;
use crate::store::POSITION_ZEROS;
use crate::store::Place;
use crate::value::glob::glob_match;

/// The low bits of a position, always zero, are no part of the cursor: so it stays below 2⁵⁴, and
/// clients may keep it in doubles and signed integers.
const CURSOR_SHIFT: u32 = POSITION_ZEROS;

/// Steps for each element asked for, at most: where the table is nearly empty, a call ends early
/// rather than look for long.
const STEPS_PER_ELEMENT: u64 = 10;

/// Reads a cursor: a number as C's `strtoul` reads it, which takes a sign and ends at a NUL byte.
///
/// # Errors
/// It is none.
pub(super) fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    const INVALID: CommandError = CommandError::fixed("ERR invalid cursor");
    let text = arg.split(|&b| b == 0).next().unwrap_or(arg);
    if text.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return Err(INVALID);
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    });
    let value = value.ok_or(INVALID)?;
    Ok(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// The options of a scan.
pub(super) struct Options<'a> {
    /// Elements wanted; at least 1.
    pub count: u64,
    /// What names have to match; `None`: anything.
    pub pattern: Option<&'a [u8]>,
    /// The type that keys have to be of.
    pub kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads `[MATCH pattern] [COUNT count]`, and of keys (`typed`) also `[TYPE type]`.
    ///
    /// # Errors
    /// Redis's, at the first word that is wrong.
    pub fn parse(args: &[&'a [u8]], typed: bool) -> Result<Options<'a>, CommandError> {
        let mut o = Options {
            count: 10,
            pattern: None,
            kind: None,
        };
        let mut rest = args;
        while let [word, tail @ ..] = rest {
            let [arg, tail @ ..] = tail else {
                return Err(CommandError::SYNTAX);
            };
            if word.eq_ignore_ascii_case(b"count") {
                let count = integer(arg)?;
                o.count = u64::try_from(count).map_err(|_| CommandError::SYNTAX)?;
                if o.count == 0 {
                    return Err(CommandError::SYNTAX);
                }
            } else if word.eq_ignore_ascii_case(b"match") {
                o.pattern = (*arg != b"*").then_some(*arg);
            } else if word.eq_ignore_ascii_case(b"type") && typed {
                o.kind = Some(*arg);
            } else {
                return Err(CommandError::SYNTAX);
            }
            rest = tail;
        }
        Ok(o)
    }

    /// Whether a name is wanted.
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|p| glob_match(p, name, false))
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`. <https://redis.io/commands/scan/>
pub(super) fn scan(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    d.effects.apart();
    let cursor = cursor(args[1])?;
    let o = Options::parse(&args[2..], true)?;
    let mut found: Vec<Place> = Vec::new();
    let mut due: Vec<Vec<u8>> = Vec::new();
    let (mut met, mut looked_up) = (0, 0);
    let mut steps = o.count.saturating_mul(STEPS_PER_ELEMENT);
    let table = d.store.database(d.db).table();
    let mut position = Some(cursor << CURSOR_SHIFT);
    while let Some(at) = position {
        position = table.walk(at, |place, entry| {
            met += 1;
            if !o.wants(entry.key()) {
                return;
            }
            if d.is_due(entry.deadline()) {
                due.push(entry.key().to_vec());
                return;
            }
            looked_up += 1;
            let name = type_name(entry.value()).as_bytes();
            if o.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(name)) {
                found.push(place);
            }
        });
        if met >= o.count || steps == 0 {
            break;
        }
        steps -= 1;
    }
    d.out.array(2);
    d.out
        .bulk_int((position.unwrap_or(0) >> CURSOR_SHIFT) as i64);
    reply_keys(d, &found);
    if o.kind.is_some() {
        d.stats.hits += looked_up;
        d.stats.misses += due.len() as u64;
    }
    // Only now: places are good for as long as the table stays as it is.
    for key in &due {
        let key = d.key(key);
        d.seek(key);
    }
    Ok(())
}

/// `KEYS pattern`. <https://redis.io/commands/keys/>
pub(super) fn keys(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let pattern = args[1];
    let mut found: Vec<Place> = Vec::new();
    let table = d.store.database(d.db).table();
    let mut position = Some(0);
    while let Some(at) = position {
        position = table.walk(at, |place, entry| {
            let matches = pattern == b"*" || glob_match(pattern, entry.key(), false);
            if matches && !d.is_due(entry.deadline()) {
                found.push(place);
            }
        });
    }
    reply_keys(d, &found);
    Ok(())
}

fn reply_keys(d: &mut Data<'_>, places: &[Place]) {
    d.out.array(places.len());
    for &place in places {
        d.out.bulk(d.store.entry(d.db, place).key());
    }
}
