//! LCS: what two strings have in common.

use super::context::{Data, Text};
use super::error::CommandError;
use super::string::integer;
use super::table::Outcome;
use crate::value::lcs::{Match, Table};

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(args: &[&[u8]]) -> Result<Options, CommandError> {
        let mut o = Options::default();
        let mut rest = args;
        while let [word, tail @ ..] = rest {
            rest = tail;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("idx") {
                o.idx = true;
            } else if is("len") {
                o.len = true;
            } else if is("withmatchlen") {
                o.with_match_len = true;
            } else if let (true, [least, tail @ ..]) = (is("minmatchlen"), tail) {
                o.min_match_len = integer(least)?.max(0);
                rest = tail;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if o.len && o.idx {
            return Err(CommandError::fixed(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(o)
    }
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`. <https://redis.io/commands/lcs/>
pub(super) fn lcs(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    const NOT_STRINGS: CommandError =
        CommandError::fixed("ERR The specified keys must contain string values");
    let keys = [d.first_key(args[1]), d.key(args[2])];
    let there = keys.map(|key| d.look(key).is_some());
    let Data {
        store,
        out,
        config,
        db,
        ..
    } = d;
    let text = |i: usize| match store.find(*db, keys[i]).filter(|_| there[i]) {
        Some(place) => Text::of(store.entry(*db, place).value()).ok_or(NOT_STRINGS),
        None => Ok(Text::Inline(b"")),
    };
    let (a, b) = (text(0)?, text(1)?);
    let (a, b): (&[u8], &[u8]) = (&a, &b);
    let o = Options::parse(&args[3..])?;
    if a.len().max(b.len()) >= u32::MAX as usize - 1 {
        return Err(CommandError::fixed("ERR String too long for LCS"));
    }
    // What the table would take in Redis; here it takes a thirty-second part.
    let bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * 4;
    if bytes > u128::from(config.proto_max_bulk_len) {
        return Err(CommandError::fixed(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = Table::new(a, b, !o.len);
    if o.len {
        out.int(table.length() as i64);
        return Ok(());
    }
    if !o.idx {
        out.bulk(&table.text());
        return Ok(());
    }
    let wanted = |m: &Match| m.len as i64 >= o.min_match_len;
    let mut count = 0;
    table.matches(|m| count += usize::from(wanted(&m)));
    out.map(2);
    out.bulk(b"matches");
    out.array(count);
    table.matches(|m| {
        if !wanted(&m) {
            return;
        }
        out.array(2 + usize::from(o.with_match_len));
        for start in [m.a_start, m.b_start] {
            out.array(2);
            out.int(start as i64);
            out.int((start + m.len - 1) as i64);
        }
        if o.with_match_len {
            out.int(m.len as i64);
        }
    });
    out.bulk(b"len");
    out.int(table.length() as i64);
    Ok(())
}
