//! CLUSTER SLOT-STATS: how much is in each slot of this shard. The figures are those of a server on which
//! `cluster-slot-stats-enabled` is off: keys only.
//! Source: <https://valkey.io/commands/cluster-slot-stats/>

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::context::Server;
use super::error::CommandError;
use super::table::Outcome;
use crate::cluster::{SLOTS, slot_of};
use crate::resp::Output;
use crate::value::number::parse_i64;

const WRONG: CommandError = CommandError::fixed(
    "ERR unknown subcommand or wrong number of arguments for 'slot-stats'. Try CLUSTER HELP.",
);
const TWICE: CommandError =
    CommandError::fixed("ERR Multiple filters of the same type are disallowed.");
const LIMIT: CommandError =
    CommandError::fixed("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).");

/// `CLUSTER SLOT-STATS SLOTSRANGE start end | ORDERBY metric [LIMIT limit] [ASC | DESC]`.
pub(super) fn slot_stats(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let mine = super::cluster::slots_of_shard(s)?;
    let is = |name: &[u8]| args[2].eq_ignore_ascii_case(name);
    match args {
        [_, _, _, first, last] if is(b"slotsrange") => {
            let (first, last) = (super::cluster::slot(first)?, super::cluster::slot(last)?);
            if first > last {
                return Err(CommandError::text(format!(
                    "ERR Start slot number {first} is greater than end slot number {last}"
                )));
            }
            let wanted = mine
                .into_iter()
                .filter(|slot| (first..=last).contains(slot));
            let counted = wanted.map(|slot| (slot, s.parts.store.slot_keys(slot, 0).0 as u64));
            let counted: Vec<_> = counted.collect();
            show(&mut s.session.out, &counted);
        }
        [_, _, _, metric, options @ ..] if is(b"orderby") => {
            if !metric.eq_ignore_ascii_case(b"key-count") {
                return Err(CommandError::fixed(
                    "ERR Unrecognized sort metric for ORDERBY.",
                ));
            }
            let (limit, ascending) = order(options)?;
            let keys = keys_of_slots(s);
            let mut counted: Vec<_> = mine
                .into_iter()
                .map(|slot| (slot, keys[usize::from(slot)]))
                .collect();
            // Those that are equal stay in the order of their numbers.
            if ascending {
                counted.sort_by_key(|(_, count)| *count);
            } else {
                counted.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
            }
            counted.truncate(limit);
            show(&mut s.session.out, &counted);
        }
        _ => return Err(WRONG),
    }
    Ok(())
}

/// How many to show, and whether the least come first.
fn order(mut options: &[&[u8]]) -> Result<(usize, bool), CommandError> {
    let (mut limit, mut ascending) = (None, None);
    loop {
        let word = match options {
            [] => break,
            [word, ..] => *word,
        };
        options = match options {
            [_, number, rest @ ..] if word.eq_ignore_ascii_case(b"limit") => {
                let number = parse_i64(number).and_then(|n| usize::try_from(n).ok());
                let number = number.filter(|n| (1..=usize::from(SLOTS)).contains(n));
                if limit.replace(number.ok_or(LIMIT)?).is_some() {
                    return Err(TWICE);
                }
                rest
            }
            [_, rest @ ..]
                if word.eq_ignore_ascii_case(b"asc") || word.eq_ignore_ascii_case(b"desc") =>
            {
                if ascending
                    .replace(word.eq_ignore_ascii_case(b"asc"))
                    .is_some()
                {
                    return Err(TWICE);
                }
                rest
            }
            _ => return Err(CommandError::SYNTAX),
        };
    }
    Ok((
        limit.unwrap_or(usize::from(SLOTS)),
        ascending.unwrap_or(false),
    ))
}

/// How many keys each slot has.
fn keys_of_slots(s: &Server<'_>) -> Vec<u64> {
    let mut counts = vec![0; usize::from(SLOTS)];
    let mut at = Some(0);
    while let Some(position) = at {
        let table = s.parts.store.database(0).table();
        at = table.walk(position, |_, entry| {
            counts[usize::from(slot_of(entry.key()))] += 1;
        });
    }
    counts
}

fn show(out: &mut Output, counted: &[(u16, u64)]) {
    out.array(counted.len());
    for &(slot, keys) in counted {
        out.array(2);
        out.int(i64::from(slot));
        out.map(1);
        out.bulk(b"key-count");
        out.int(keys as i64);
    }
}
