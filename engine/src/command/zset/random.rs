//! ZRANDMEMBER and ZSCAN.

use super::{reply, reply_members};
use crate::command::collection::{Reading, draws, read};
use crate::command::context::Data;
use crate::command::error::CommandError;
use crate::command::scan::{Options, cursor};
use crate::command::string::integer;
use crate::command::table::Outcome;
use crate::resp::Output;
use crate::value::number::{write_f64, write_score};
use crate::value::zset::ZSet;
use alloc::vec::Vec;

/// `ZRANDMEMBER key [count [WITHSCORES]]`. <https://redis.io/commands/zrandmember/>
pub fn zrandmember(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Some(count) = args.get(2) else {
        let Reading { value, out, random } = read::<ZSet>(d, args[1])?;
        match value.and_then(|set| set.random(random.word())) {
            Some((member, _)) => reply(out, member),
            None => out.null(),
        }
        return Ok(());
    };
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let scores = match &args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    let repeats = count < 0;
    let too_many = scores && count.unsigned_abs() > i64::MAX as u64 / 2;
    if too_many {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    let count = match repeats {
        true => draws(d, count.unsigned_abs())?,
        false => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let Reading { value, out, random } = read::<ZSet>(d, args[1])?;
    let Some(set) = value else {
        out.array(0);
        return Ok(());
    };
    let mut chosen = Vec::new();
    if !repeats && count >= set.len() {
        // As Redis: from the end.
        reply_members(out, set.slice(0..set.len(), true), scores);
        return Ok(());
    } else if !repeats {
        set.sample(count, &mut || random.word(), |member, score| {
            chosen.push((member, score))
        });
    } else if set.as_pack().is_some() {
        // It can be read from one end only: once for all draws.
        let members: Vec<_> = set.iter().collect();
        let draw = |_| members[random.below(members.len() as u64) as usize];
        chosen.extend((0..count).map(draw));
    } else {
        chosen.extend((0..count).filter_map(|_| set.random(random.word())));
    }
    reply_members(out, chosen.into_iter(), scores);
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`. <https://redis.io/commands/zscan/>
pub fn zscan(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let cursor = cursor(args[2])?;
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    let Some(set) = value else {
        out.array(2);
        out.bulk_int(0);
        out.array(0);
        return Ok(());
    };
    let o = Options::parse(&args[3..], false)?;
    let count = usize::try_from(o.count).unwrap_or(usize::MAX);
    // The small form's scores are given as they are stored.
    let write = if set.as_pack().is_some() {
        write_score
    } else {
        write_f64
    };
    let (mut found, mut text) = (Output::default(), Vec::new());
    let mut elements = 0;
    let next = set.scan(cursor, count, |member, score| {
        if o.wants(&member.text()) {
            reply(&mut found, member);
            text.clear();
            write(&mut text, score);
            found.bulk(&text);
            elements += 2;
        }
    });
    out.array(2);
    out.bulk_int(next as i64);
    out.array(elements);
    found.slices().for_each(|bytes| out.raw(bytes));
    Ok(())
}
