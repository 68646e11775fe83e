//! Commands on HyperLogLogs, which are strings (see [`crate::value::hll`]).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::{Data, Overdue};
use super::error::CommandError;
use super::string::edit_quietly;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::store::{Key, Place};
use crate::value::hll::{self, Encoding, REGISTERS};

const CORRUPT: CommandError = CommandError::fixed("INVALIDOBJ Corrupted HLL object detected");

/// Elements of PFSELFTEST. The more, the likelier it finds what is wrong, and the longer it takes.
const SELF_TEST_ELEMENTS: u64 = 1_000_000;

impl From<hll::Corrupt> for CommandError {
    fn from(_: hll::Corrupt) -> CommandError {
        CORRUPT
    }
}

/// The form of the HyperLogLog at a place.
fn form(d: &Data<'_>, place: Place) -> Result<Encoding, CommandError> {
    hll::encoding(&d.string(place)?).ok_or(CommandError::fixed(
        "WRONGTYPE Key is not a valid HyperLogLog string value.",
    ))
}

/// Lets `change` work on the HyperLogLog at a key, which is made if absent.
fn edit<R>(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    change: impl FnOnce(&mut Vec<u8>) -> Result<R, hll::Corrupt>,
) -> Result<R, hll::Corrupt> {
    let mut result = Err(hll::Corrupt);
    edit_quietly(d, key, found, 0, 0..usize::MAX, |text| {
        let bytes = text.whole();
        if bytes.is_empty() {
            *bytes = hll::empty();
        }
        result = change(bytes);
    });
    result
}

/// `PFADD key [element …]`. <https://redis.io/commands/pfadd/>
pub(super) fn pfadd(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let found = d.look_to_write(key);
    let sparse = match found {
        Some(place) => form(d, place)? == Encoding::Sparse,
        None => true,
    };
    let most = d.config.hll_sparse_max_bytes as usize;
    let elements = &args[2..];
    let updates = edit(d, key, found, |bytes| {
        // Where one of several may turn out to be impossible, none is added.
        let copy = (sparse && elements.len() > 1).then(|| bytes.clone());
        let mut updates = 0;
        for element in elements {
            match hll::add(bytes, element, most) {
                Ok(updated) => updates += u64::from(updated),
                Err(error) => {
                    *bytes = copy.unwrap_or_else(|| core::mem::take(bytes));
                    return Err(error);
                }
            }
        }
        if updates > 0 || found.is_none() {
            hll::forget_count(bytes);
        }
        Ok(updates)
    })?;
    let updates = updates + u64::from(found.is_none());
    if updates > 0 {
        d.changed(key.bytes);
        d.effects.dirty += updates - 1;
        d.notify(NotifyEvents::STRING, "pfadd", key.bytes);
    }
    d.out.int(i64::from(updates > 0));
    Ok(())
}

/// `PFCOUNT key [key …]`. <https://redis.io/commands/pfcount/>
pub(super) fn pfcount(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    if args.len() > 2 {
        let (registers, _) = merged(d, &args[1..])?;
        d.out.int(hll::count_registers(&registers) as i64);
        return Ok(());
    }
    let key = d.first_key(args[1]);
    let found = d.look(key);
    let Some(place) = found else {
        d.out.int(0);
        return Ok(());
    };
    form(d, place)?;
    let text = d.string(place)?;
    let count = match hll::kept_count(&text) {
        Some(count) => count,
        None => {
            let count = hll::count(&text)?;
            // A replica's data is its primary's.
            if d.overdue != Overdue::Hide {
                edit(d, key, found, |bytes| {
                    hll::keep_count(bytes, count);
                    Ok(())
                })?;
                d.changed(key.bytes);
                d.effects.instead(d.db, &[b"PFCOUNT", key.bytes]);
            }
            count
        }
    };
    d.out.int(count as i64);
    Ok(())
}

/// The greatest registers of several HyperLogLogs, and whether one of them is dense.
fn merged(d: &mut Data<'_>, names: &[&[u8]]) -> Result<(Box<hll::Registers>, bool), CommandError> {
    let (mut registers, mut dense) = (Box::new([0; REGISTERS]), false);
    for name in names {
        let key = d.key(name);
        if let Some(place) = d.look(key) {
            dense |= form(d, place)? == Encoding::Dense;
            hll::merge_into(&mut registers, &d.string(place)?)?;
        }
    }
    Ok((registers, dense))
}

/// `PFMERGE destination [source …]`. <https://redis.io/commands/pfmerge/>
pub(super) fn pfmerge(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let (registers, dense) = merged(d, &args[1..])?;
    let key = d.first_key(args[1]);
    let found = d.look_to_write(key);
    let most = d.config.hll_sparse_max_bytes as usize;
    edit(d, key, found, |bytes| {
        if dense {
            hll::to_dense(bytes)?;
        }
        hll::raise_all(bytes, &registers, most)?;
        hll::forget_count(bytes);
        Ok(())
    })?;
    d.changed(key.bytes);
    d.notify(NotifyEvents::STRING, "pfadd", key.bytes);
    d.out.ok();
    Ok(())
}

/// `PFDEBUG GETREG|DECODE|ENCODING|TODENSE key`. <https://redis.io/commands/pfdebug/>
pub(super) fn pfdebug(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.key(args[2]);
    let found = d.look_to_write(key);
    let Some(place) = found else {
        return Err(CommandError::fixed("ERR The specified key does not exist"));
    };
    let form = form(d, place)?;
    let is = |name: &str| args[1].eq_ignore_ascii_case(name.as_bytes());
    if is("encoding") {
        d.out.simple(match form {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        });
    } else if is("decode") {
        if form == Encoding::Dense {
            return Err(CommandError::fixed("ERR HLL encoding is not sparse"));
        }
        let text = hll::describe(&d.string(place)?);
        d.out.bulk(text.as_bytes());
    } else if is("getreg") || is("todense") {
        let registers = edit(d, key, found, |bytes| {
            hll::to_dense(bytes)?;
            Ok(hll::registers(bytes))
        })?;
        if form == Encoding::Sparse {
            d.changed(key.bytes);
        }
        if is("todense") {
            d.out.int(i64::from(form == Encoding::Sparse));
            return Ok(());
        }
        d.out.array(REGISTERS);
        registers.iter().for_each(|n| d.out.int(i64::from(*n)));
    } else {
        return Err(CommandError::showing(&[
            b"ERR Unknown PFDEBUG subcommand '",
            args[1],
            b"'",
        ]));
    }
    Ok(())
}

/// `PFSELFTEST`. <https://redis.io/commands/pfselftest/>
pub(super) fn pfselftest(d: &mut Data<'_>, _args: &[&[u8]]) -> Outcome {
    let (seed, most) = (d.random.word(), d.config.hll_sparse_max_bytes as usize);
    hll::self_test(seed, SELF_TEST_ELEMENTS, most)
        .map_err(|text| CommandError::text(alloc::format!("ERR {text}")))?;
    d.out.ok();
    Ok(())
}
