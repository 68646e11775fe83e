//! XGROUP: consumer groups and their consumers.

use super::super::collection::{self, find};
use super::super::context::Data;
use super::super::error::CommandError;
use super::super::help;
use super::super::string::integer;
use super::super::table::Outcome;
use super::{CREATED_CONSUMER, edit, no_group_for_key, now_ms, strict_id};
use crate::config::NotifyEvents;
use crate::store::Place;
use crate::value::stream::{Group, IdText, Stream, StreamId, UNKNOWN};

const NO_KEY: CommandError = CommandError::fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// The options behind the id.
struct Options {
    make: bool,
    entries_read: i64,
}

fn options(args: &[&[u8]], creates: bool) -> Result<Options, CommandError> {
    let mut o = Options {
        make: false,
        entries_read: UNKNOWN,
    };
    let mut words = args[5..].iter();
    while let Some(word) = words.next() {
        if creates && word.eq_ignore_ascii_case(b"mkstream") {
            o.make = true;
        } else if let (true, Some(value)) =
            (word.eq_ignore_ascii_case(b"entriesread"), words.next())
        {
            o.entries_read = integer(value)?;
            if o.entries_read < UNKNOWN {
                return Err(CommandError::fixed(
                    "ERR value for ENTRIESREAD must be positive or -1",
                ));
            }
        } else {
            return Err(CommandError::subcommand("XGROUP", args[1]));
        }
    }
    Ok(o)
}

/// The stream at a key: it must be there.
fn stream<'d>(d: &'d Data<'_>, found: Option<Place>) -> Result<(Place, &'d Stream), CommandError> {
    let place = found.ok_or(NO_KEY)?;
    Ok((place, collection::of(d.value(place))?))
}

/// As [`stream`], with a group that must be there.
fn existing(d: &mut Data<'_>, args: &[&[u8]]) -> Result<Place, CommandError> {
    let key = d.first_key(args[2]);
    let found = find::<Stream>(d, key)?;
    let (place, stream) = stream(d, found)?;
    match stream.groups.get(args[3]) {
        Some(_) => Ok(place),
        None => Err(no_group_for_key(args[2], args[3])),
    }
}

/// `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]`.
/// <https://redis.io/commands/xgroup-create/>
pub(in crate::command) fn create(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let o = options(args, true)?;
    let key = d.first_key(args[2]);
    let found = find::<Stream>(d, key)?;
    if !o.make {
        stream(d, found)?;
    }
    if args.len() > 8 {
        return Err(CommandError::subcommand("XGROUP", args[1]));
    }
    let last_id = match (args[4], found) {
        (b"$", Some(_)) => stream(d, found)?.1.entries.last_id,
        (b"$", None) => StreamId::MIN,
        (id, _) => strict_id(id)?,
    };
    let group = Group::new(last_id, o.entries_read);
    let added =
        collection::edit::<Stream, _>(d, key, found, |stream| stream.groups.add(args[3], group));
    if !added {
        return Err(CommandError::fixed(
            "BUSYGROUP Consumer Group name already exists",
        ));
    }
    if found.is_none() {
        d.watches.touch(d.db, key.bytes);
    }
    d.effects.dirty += 1;
    d.notify(NotifyEvents::STREAM, "xgroup-create", key.bytes);
    d.out.ok();
    Ok(())
}

/// `XGROUP SETID key group id|$ [ENTRIESREAD entries-read]`. <https://redis.io/commands/xgroup-setid/>
pub(in crate::command) fn setid(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let o = options(args, false)?;
    let place = existing(d, args)?;
    if !matches!(args.len(), 5 | 7) {
        return Err(CommandError::subcommand("XGROUP", args[1]));
    }
    let last_id = match args[4] {
        b"$" => stream(d, Some(place))?.1.entries.last_id,
        id => IdText::parse(id)
            .and_then(|text| text.id(0))
            .ok_or(super::INVALID_ID)?,
    };
    let key = d.first_key(args[2]);
    edit(d, key, place, |stream, _, _| {
        stream.with_group(args[3], |_, group| {
            (group.last_id, group.entries_read) = (last_id, o.entries_read);
        })
    });
    d.effects.dirty += 1;
    d.notify(NotifyEvents::STREAM, "xgroup-setid", key.bytes);
    d.out.ok();
    Ok(())
}

/// `XGROUP DESTROY key group`. <https://redis.io/commands/xgroup-destroy/>
pub(in crate::command) fn destroy(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[2]);
    let found = find::<Stream>(d, key)?;
    let (place, stream) = stream(d, found)?;
    if stream.groups.get(args[3]).is_none() {
        d.out.int(0);
        return Ok(());
    }
    let group = edit(d, key, place, |stream, _, _| stream.groups.remove(args[3]));
    if let Some(group) = group {
        // It may be large: it goes as a stream that holds nothing else.
        let mut rest = Stream::new();
        rest.groups.add(args[3], group);
        d.store
            .discard_object(crate::store::Collection::into_object(rest));
    }
    d.effects.dirty += 1;
    d.notify(NotifyEvents::STREAM, "xgroup-destroy", key.bytes);
    // Whoever waits for the group learns that it is gone.
    d.watches.waits.touch(d.db, key.bytes);
    d.out.int(1);
    Ok(())
}

/// `XGROUP CREATECONSUMER key group consumer`. <https://redis.io/commands/xgroup-createconsumer/>
pub(in crate::command) fn createconsumer(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let place = existing(d, args)?;
    let (key, now_ms) = (d.first_key(args[2]), now_ms(d));
    let created = edit(d, key, place, |stream, _, _| {
        stream.with_group(args[3], |_, group| {
            group.add_consumer(args[4], now_ms).is_some()
        })
    });
    let created = created == Some(true);
    if created {
        d.effects.dirty += 1;
        d.notify(NotifyEvents::STREAM, CREATED_CONSUMER, key.bytes);
    }
    d.out.int(created.into());
    Ok(())
}

/// `XGROUP DELCONSUMER key group consumer`. <https://redis.io/commands/xgroup-delconsumer/>
pub(in crate::command) fn delconsumer(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let place = existing(d, args)?;
    let key = d.first_key(args[2]);
    let pending = edit(d, key, place, |stream, _, _| {
        stream.with_group(args[3], |_, group| group.delete_consumer(args[4]))
    });
    let pending = pending.flatten();
    if pending.is_some() {
        d.effects.dirty += 1;
        d.notify(NotifyEvents::STREAM, "xgroup-delconsumer", key.bytes);
    }
    d.out.int(pending.unwrap_or(0) as i64);
    Ok(())
}

/// `XGROUP HELP`. <https://redis.io/commands/xgroup-help/>
pub(in crate::command) fn help(d: &mut Data<'_>, _args: &[&[u8]]) -> Outcome {
    help::help(d.out, "XGROUP", help::XGROUP);
    Ok(())
}
