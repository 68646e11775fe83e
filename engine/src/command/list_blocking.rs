//! Commands on lists that wait for an element to come.

use super::blocking::{Wait, timeout_seconds};
use super::collection::find;
use super::context::Data;
use super::list::{Amount, move_element, mpop_arguments, pop_with_key};
use super::table::Outcome;
use crate::client::{Null, WaitKind};
use crate::value::list::{End, List};

/// Takes elements from the first of the lists that is there, or waits for one of them.
fn pop_or_wait(
    d: &mut Data<'_>,
    keys: &[&[u8]],
    until_us: Option<u64>,
    end: End,
    amount: Amount,
) -> Outcome {
    // One who waited is served from the list that has come.
    let ready = d.ready.map(|key| [key]);
    let looked_at = ready.as_ref().map_or(keys, |key| &key[..]);
    for key in looked_at {
        let key = d.key(key);
        if let Some(place) = find::<List>(d, key)? {
            pop_with_key(d, key, place, end, amount);
            return Ok(());
        }
    }
    d.block(Wait {
        keys,
        kind: WaitKind::List,
        until_us,
        null: Null::Array,
        instead: None,
    });
    Ok(())
}

fn pop(d: &mut Data<'_>, args: &[&[u8]], end: End) -> Outcome {
    let last = args.len() - 1;
    let until_us = timeout_seconds(args[last], d.now)?;
    pop_or_wait(d, &args[1..last], until_us, end, Amount::One)
}

/// `BLPOP key [key …] timeout`. <https://redis.io/commands/blpop/>
pub(super) fn blpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pop(d, args, End::Front)
}

/// `BRPOP key [key …] timeout`. <https://redis.io/commands/brpop/>
pub(super) fn brpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    pop(d, args, End::Back)
}

/// `BLMPOP timeout numkeys key [key …] LEFT|RIGHT [COUNT count]`. <https://redis.io/commands/blmpop/>
pub(super) fn blmpop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (keys, end, count) = mpop_arguments(&args[2..])?;
    let until_us = timeout_seconds(args[1], d.now)?;
    pop_or_wait(d, keys, until_us, end, Amount::UpTo(count))
}

/// Moves an element, or waits for one. Journals what it did as `effect`.
fn move_or_wait(
    d: &mut Data<'_>,
    args: &[&[u8]],
    ends: (End, End),
    timeout: &[u8],
    effect: &[&[u8]],
) -> Outcome {
    let until_us = timeout_seconds(timeout, d.now)?;
    let (source, destination) = (d.first_key(args[1]), d.key(args[2]));
    if find::<List>(d, source)?.is_some() {
        move_element(d, source, destination, ends.0, ends.1)?;
        d.effects.instead(d.db, effect);
    } else if d.may_block {
        d.block(Wait {
            keys: &args[1..2],
            kind: WaitKind::List,
            until_us,
            null: Null::Array,
            instead: None,
        });
    } else {
        // Who may not wait gets another reply than one whose time is up.
        d.out.null();
    }
    Ok(())
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`. <https://redis.io/commands/blmove/>
pub(super) fn blmove(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (from, to) = (End::named(args[3])?, End::named(args[4])?);
    let effect: [&[u8]; 5] = if d.again {
        [b"LMOVE", args[1], args[2], from.name(), to.name()]
    } else {
        [b"LMOVE", args[1], args[2], args[3], args[4]]
    };
    move_or_wait(d, args, (from, to), args[5], &effect)
}

/// `BRPOPLPUSH source destination timeout`. <https://redis.io/commands/brpoplpush/>
pub(super) fn brpoplpush(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let effect: [&[u8]; 3] = [b"RPOPLPUSH", args[1], args[2]];
    let ends = (End::Back, End::Front);
    move_or_wait(d, args, ends, args[3], &effect)
}
