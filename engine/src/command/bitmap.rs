//! Commands on strings as bitmaps.

use alloc::vec::Vec;
use smallvec::SmallVec;

use super::context::{Data, Text};
use super::error::CommandError;
use super::string::{edit_quietly, integer};
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::store::{Deadline, INLINE_MAX, Key, Object, Place, Value, ValueRef};
use crate::value::bitmap::{self, Field, Operation, Overflow};
use crate::value::number::parse_i64;

/// The offset of a bit; of fields (`bits` wide) also as `#n`, the n-th field.
fn offset(d: &Data<'_>, arg: &[u8], bits: Option<u32>) -> Result<u64, CommandError> {
    const INVALID: CommandError =
        CommandError::fixed("ERR bit offset is not an integer or out of range");
    let (digits, factor) = match (arg, bits) {
        ([b'#', digits @ ..], Some(bits)) => (digits, i64::from(bits)),
        _ => (arg, 1),
    };
    let offset = parse_i64(digits)
        .and_then(|n| n.checked_mul(factor))
        .and_then(|n| u64::try_from(n).ok())
        .ok_or(INVALID)?;
    if offset / 8 >= d.config.proto_max_bulk_len {
        return Err(INVALID);
    }
    Ok(offset)
}

/// Whether a value is kept as a string that bits can be set in, which is what Redis makes of all that it is asked to.
fn is_raw(d: &Data<'_>, place: Place) -> bool {
    match d.value(place) {
        ValueRef::Inline(_) => d.store.entry(d.db, place).is_raw(),
        ValueRef::Int(_) => false,
        ValueRef::Object(_) => true,
    }
}

/// `SETBIT key offset value`. <https://redis.io/commands/setbit/>
pub(super) fn setbit(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let offset = offset(d, args[2], None)?;
    let on = match parse_i64(args[3]) {
        Some(bit @ (0 | 1)) => bit == 1,
        _ => {
            return Err(CommandError::fixed(
                "ERR bit is not an integer or out of range",
            ));
        }
    };
    let key = d.first_key(args[1]);
    let found = d.look_to_write(key);
    let (len, old) = match found {
        Some(place) => {
            let text = d.string(place)?;
            (text.len(), bitmap::bit(&text, offset))
        }
        None => (0, false),
    };
    let byte = (offset / 8) as usize;
    if byte >= len || old != on {
        edit_quietly(d, key, found, byte + 1, byte..byte + 1, |bytes| {
            bitmap::set_bit(bytes, offset, on);
        });
        d.changed(key.bytes);
        d.notify(NotifyEvents::STRING, "setbit", key.bytes);
    } else if found.is_some_and(|place| !is_raw(d, place)) {
        edit_quietly(d, key, found, 0, 0..0, |_| {});
    }
    d.out.int(i64::from(old));
    Ok(())
}

/// Lets `look` work on the string at a key, if there is one.
fn look<R>(
    d: &mut Data<'_>,
    key: &[u8],
    look: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>, CommandError> {
    let key = d.first_key(key);
    match d.look(key) {
        Some(place) => Ok(Some(look(&d.string(place)?))),
        None => Ok(None),
    }
}

/// `GETBIT key offset`. <https://redis.io/commands/getbit/>
pub(super) fn getbit(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let offset = offset(d, args[2], None)?;
    let bit = look(d, args[1], |bytes| bitmap::bit(bytes, offset))?;
    d.out.int(i64::from(bit == Some(true)));
    Ok(())
}

/// Whether a range counts bits (else bytes).
fn unit(arg: Option<&&[u8]>) -> Result<bool, CommandError> {
    match arg {
        None => Ok(false),
        Some(word) if word.eq_ignore_ascii_case(b"bit") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case(b"byte") => Ok(false),
        Some(_) => Err(CommandError::SYNTAX),
    }
}

/// The first and last bit of a range whose ends are counted in bits or bytes, from the end if negative; `None` if
/// it is empty.
fn range(len: usize, start: i64, end: i64, bits: bool) -> Option<(u64, u64)> {
    let total = len as i64 * if bits { 8 } else { 1 };
    let from_end = |i: i64| {
        if i < 0 {
            total.saturating_add(i).max(0)
        } else {
            i
        }
    };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end {
        return None;
    }
    let (start, end) = (start as u64, end as u64);
    Some(if bits {
        (start, end)
    } else {
        (start * 8, end * 8 + 7)
    })
}

/// `BITCOUNT key [start end [BYTE|BIT]]`. <https://redis.io/commands/bitcount/>
pub(super) fn bitcount(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let count = look(d, args[1], |bytes| {
        let range = match &args[2..] {
            [] => range(bytes.len(), 0, -1, false),
            [start, end, rest @ ..] if rest.len() <= 1 => {
                let (start, end) = (integer(start)?, integer(end)?);
                if start < 0 && end < 0 && start > end {
                    return Ok(0);
                }
                range(bytes.len(), start, end, unit(rest.first())?)
            }
            _ => return Err(CommandError::SYNTAX),
        };
        Ok(range.map_or(0, |(first, last)| bitmap::count_range(bytes, first, last)))
    })?;
    d.out.int(count.transpose()?.unwrap_or(0) as i64);
    Ok(())
}

/// `BITPOS key bit [start [end [BYTE|BIT]]]`. <https://redis.io/commands/bitpos/>
pub(super) fn bitpos(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let one = match integer(args[2])? {
        bit @ (0 | 1) => bit == 1,
        _ => {
            return Err(CommandError::fixed("ERR The bit argument must be 1 or 0."));
        }
    };
    let position = look(d, args[1], |bytes| {
        let (range, end_given) = match &args[3..] {
            [] => (range(bytes.len(), 0, -1, false), false),
            [start, rest @ ..] if rest.len() <= 2 => {
                let start = integer(start)?;
                let bits = unit(rest.get(1))?;
                let end = rest.first().map(|end| integer(end)).transpose()?;
                let range = range(bytes.len(), start, end.unwrap_or(-1), bits);
                (range, end.is_some())
            }
            _ => return Err(CommandError::SYNTAX),
        };
        let Some((first, last)) = range else {
            return Ok(-1);
        };
        Ok(match bitmap::find(bytes, one, first, last) {
            Some(position) => position as i64,
            // Beyond the end there are zeros, unless an end was asked for.
            None if one || end_given => -1,
            None => last as i64 + 1,
        })
    })?;
    d.out
        .int(position.transpose()?.unwrap_or(if one { -1 } else { 0 }));
    Ok(())
}

/// `BITOP operation destination key [key …]`. <https://redis.io/commands/bitop/>
pub(super) fn bitop(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    use Operation::{AndOr, Diff, Diff1, Not};
    let operation = Operation::named(args[1]).ok_or(CommandError::SYNTAX)?;
    let names = &args[3..];
    let refused = match operation {
        Not if names.len() != 1 => "ERR BITOP NOT must be called with a single source key.",
        Diff if names.len() < 2 => "ERR BITOP DIFF must be called with at least two source keys.",
        Diff1 if names.len() < 2 => "ERR BITOP DIFF1 must be called with at least two source keys.",
        AndOr if names.len() < 2 => "ERR BITOP ANDOR must be called with at least two source keys.",
        _ => "",
    };
    if !refused.is_empty() {
        return Err(CommandError::fixed(refused));
    }
    let mut there: SmallVec<[Option<Key<'_>>; 8]> = SmallVec::new();
    for name in names {
        let key = d.key(name);
        let found = d.look(key);
        if let Some(place) = found {
            d.string(place)?;
        }
        there.push(found.map(|_| key));
    }
    let texts: SmallVec<[Option<Text<'_>>; 8]> = there
        .into_iter()
        .map(|key| Text::of(d.value(d.store.find(d.db, key?)?)))
        .collect();
    let sources: SmallVec<[&[u8]; 8]> = texts
        .iter()
        .map(|text| text.as_ref().map_or(&b""[..], |text| text))
        .collect();
    let result = bitmap::combine(operation, &sources);
    drop(sources);
    drop(texts);
    let len = result.len();
    let key = d.key(args[2]);
    if len > 0 {
        put_raw(d, key, result);
        d.changed(key.bytes);
        d.notify(NotifyEvents::STRING, "set", key.bytes);
    } else {
        d.clear_destination(key);
    }
    d.out.int(len as i64);
    Ok(())
}

/// Puts a string at a key, whatever was there, that shows as raw.
fn put_raw(d: &mut Data<'_>, key: Key<'_>, bytes: Vec<u8>) {
    d.notify_if_new(d.db, key);
    let access = d.access();
    let place = if bytes.len() <= INLINE_MAX {
        let value = Value::Bytes(&bytes);
        d.store.set(d.db, key, value, Deadline::Clear, access)
    } else {
        let value = Value::Object(Object::Str(bytes.into()));
        d.store.set(d.db, key, value, Deadline::Clear, access)
    };
    d.store.set_raw(d.db, place);
}

/// One step of a BITFIELD.
#[derive(Clone, Copy)]
struct Step {
    field: Field,
    offset: u64,
    action: Action,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    IncrBy(i64),
    Set(i64),
}

fn field(arg: &[u8]) -> Result<Field, CommandError> {
    // Redis reads the width as a C string.
    let text = arg.split(|byte| *byte == 0).next().unwrap_or(arg);
    let (signed, digits) = match text {
        [b'i', digits @ ..] => (true, digits),
        [b'u', digits @ ..] => (false, digits),
        _ => (false, &b""[..]),
    };
    let most = if signed { 64 } else { 63 };
    match parse_i64(digits) {
        Some(bits) if (1..=most).contains(&bits) => Ok(Field {
            signed,
            bits: bits as u32,
        }),
        _ => Err(CommandError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        )),
    }
}

fn steps(d: &Data<'_>, args: &[&[u8]]) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = args;
    while let [word, tail @ ..] = rest {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if let (true, [how, tail @ ..]) = (is("overflow"), tail) {
            let ways = [
                ("wrap", Overflow::Wrap),
                ("sat", Overflow::Saturate),
                ("fail", Overflow::Fail),
            ];
            overflow = ways
                .into_iter()
                .find(|(name, _)| how.eq_ignore_ascii_case(name.as_bytes()))
                .ok_or(CommandError::fixed("ERR Invalid OVERFLOW type specified"))?
                .1;
            rest = tail;
            continue;
        }
        let words = if is("get") {
            2
        } else if is("set") || is("incrby") {
            3
        } else {
            return Err(CommandError::SYNTAX);
        };
        let (now, tail) = tail.split_at_checked(words).ok_or(CommandError::SYNTAX)?;
        let field = field(now[0])?;
        let offset = offset(d, now[1], Some(field.bits))?;
        let action = match now.get(2) {
            None => Action::Get,
            Some(value) if is("set") => Action::Set(integer(value)?),
            Some(by) => Action::IncrBy(integer(by)?),
        };
        steps.push(Step {
            field,
            offset,
            action,
            overflow,
        });
        rest = tail;
    }
    Ok(steps)
}

impl Step {
    /// Carries the step out; the reply, and whether something changed.
    fn write(self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let old = self.field.load(bytes, self.offset);
        let (new, reply) = match self.action {
            Action::Get => return (Some(old), false),
            Action::Set(value) => {
                let new = self.field.sum(value, 0, self.overflow);
                (new, new.map(|_| old))
            }
            Action::IncrBy(by) => {
                let new = self.field.sum(old, by, self.overflow);
                (new, new)
            }
        };
        if let Some(new) = new {
            self.field.store(bytes, self.offset, new);
        }
        (reply, new.is_some_and(|new| new != old))
    }
}

/// `BITFIELD key [GET type offset | [OVERFLOW how] SET type offset value | INCRBY type offset by …]`.
/// <https://redis.io/commands/bitfield/>
pub(super) fn bitfield(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    bitfield_steps(d, args, false)
}

/// `BITFIELD_RO key [GET type offset …]`. <https://redis.io/commands/bitfield_ro/>
pub(super) fn bitfield_ro(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    bitfield_steps(d, args, true)
}

fn bitfield_steps(d: &mut Data<'_>, args: &[&[u8]], read_only: bool) -> Outcome {
    let steps = steps(d, &args[2..])?;
    let writes = (steps.iter()).filter(|s| !matches!(s.action, Action::Get));
    let first = writes.clone().map(|step| step.offset).min();
    let last = writes
        .map(|step| step.offset + u64::from(step.field.bits) - 1)
        .max();
    let (Some(first), Some(last)) = (first, last) else {
        let replies = look(d, args[1], |bytes| -> Vec<i64> {
            let get = |step: &Step| step.field.load(bytes, step.offset);
            steps.iter().map(get).collect()
        })?;
        d.out.array(steps.len());
        for i in 0..steps.len() {
            d.out.int(replies.as_ref().map_or(0, |replies| replies[i]));
        }
        return Ok(());
    };
    if read_only {
        return Err(CommandError::fixed(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    let key = d.first_key(args[1]);
    let found = d.look_to_write(key);
    let len = match found {
        Some(place) => d.string(place)?.len(),
        None => 0,
    };
    let needed = (last / 8) as usize + 1;
    let (grown, fields) = (needed > len, (first / 8) as usize..needed);
    let (mut replies, mut changes) = (Vec::with_capacity(steps.len()), 0);
    edit_quietly(d, key, found, needed, fields, |bytes| {
        for step in &steps {
            let (reply, changed) = step.write(bytes);
            let stored = reply.is_some() && !matches!(step.action, Action::Get);
            changes += u64::from(changed || (grown && stored));
            replies.push(reply);
        }
    });
    if changes > 0 || grown {
        d.changed(key.bytes);
        d.effects.dirty += changes.saturating_sub(1);
    }
    if changes > 0 {
        d.notify(NotifyEvents::STRING, "setbit", key.bytes);
    }
    d.out.array(replies.len());
    for reply in replies {
        match reply {
            Some(n) => d.out.int(n),
            None => d.out.null(),
        }
    }
    Ok(())
}
