//! XLEN, XRANGE and XREVRANGE.

use super::super::collection::{Reading, read};
use super::super::context::Data;
use super::super::error::CommandError;
use super::super::string::integer;
use super::super::table::Outcome;
use super::{range_end, range_start, reply_items};
use crate::value::stream::Stream;

/// `XLEN key`. <https://redis.io/commands/xlen/>
pub(in crate::command) fn xlen(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<Stream>(d, args[1])?;
    out.int(value.map_or(0, |stream| stream.entries.len()) as i64);
    Ok(())
}

/// `XRANGE key start end [COUNT count]`. <https://redis.io/commands/xrange/>
pub(in crate::command) fn xrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    range(d, args, false)
}

/// `XREVRANGE key end start [COUNT count]`. <https://redis.io/commands/xrevrange/>
pub(in crate::command) fn xrevrange(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    range(d, args, true)
}

fn range(d: &mut Data<'_>, args: &[&[u8]], back: bool) -> Outcome {
    let (first, last) = if back {
        (args[3], args[2])
    } else {
        (args[2], args[3])
    };
    let start = range_start(first)?;
    let end = range_end(last)?;
    let mut count = None;
    let mut words = args[4..].iter();
    while let Some(word) = words.next() {
        match words.next() {
            Some(most) if word.eq_ignore_ascii_case(b"count") => {
                count = Some(u64::try_from(integer(most)?).unwrap_or(0));
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let Reading { value, out, .. } = read::<Stream>(d, args[1])?;
    let Some(stream) = value else {
        out.array(0);
        return Ok(());
    };
    let entries = &stream.entries;
    match count {
        Some(0) => out.null_array(),
        _ if back => {
            reply_items(out, entries.range_back(start, end), count.unwrap_or(0));
        }
        _ => {
            reply_items(out, entries.range(start, end), count.unwrap_or(0));
        }
    }
    Ok(())
}
