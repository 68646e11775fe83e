//! DUMP and RESTORE: a key's value as bytes that check themselves, and back.

use alloc::vec::Vec;

use super::access;
use super::context::{Data, Overdue};
use super::dataset::{self, Limits};
use super::error::CommandError;
use super::string::integer;
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::rdb::{self, ValueView};
use crate::store::{Deadline, EntryRef, Object, OwnedValue, Value, ValueRef};
use crate::value::number::ItoaBuffer;

/// A value as DUMP gives it: see [`rdb::dump`].
pub(super) fn payload(entry: EntryRef<'_>, compress: bool) -> Vec<u8> {
    match entry.value() {
        ValueRef::Inline(bytes) => rdb::dump::dump(ValueView::Str(bytes), compress),
        ValueRef::Int(n) => rdb::dump::dump(ValueView::Int(n), compress),
        ValueRef::Object(Object::Str(bytes)) => rdb::dump::dump(ValueView::Str(bytes), compress),
        ValueRef::Object(Object::List(list)) => rdb::dump::dump(ValueView::List(list), compress),
        ValueRef::Object(Object::Set(set)) => rdb::dump::dump(ValueView::Set(set), compress),
        ValueRef::Object(Object::Stream(stream)) => {
            rdb::dump::dump(ValueView::Stream(stream), compress)
        }
        ValueRef::Object(Object::Hash(hash)) if hash.next_time().is_some() => {
            rdb::dump::dump(ValueView::HashTimed(hash), compress)
        }
        ValueRef::Object(Object::Hash(hash)) => match hash.as_pack() {
            Some(pack) => rdb::dump::dump(ValueView::HashPack(pack), compress),
            None => {
                let pairs: Vec<(Vec<u8>, Vec<u8>)> = hash
                    .iter()
                    .map(|(f, v)| (f.text().to_vec(), v.text().to_vec()))
                    .collect();
                let pairs = pairs.iter().map(|(f, v)| (&f[..], &v[..]));
                rdb::dump::dump_hash(hash.len() as u64, pairs, compress)
            }
        },
        ValueRef::Object(Object::ZSet(set)) => match set.as_pack() {
            Some(pack) => rdb::dump::dump(ValueView::ZSetPack(pack), compress),
            None => {
                let members = set.slice(0..set.len(), true);
                rdb::dump::dump_zset(set.len() as u64, members, compress)
            }
        },
    }
}

/// `DUMP key`. <https://redis.io/commands/dump/>
pub(super) fn dump(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    match d.look(key) {
        Some(place) => {
            let payload = payload(d.store.entry(d.db, place), d.config.rdbcompression);
            d.out.bulk(&payload);
        }
        None => d.out.null(),
    }
    Ok(())
}

/// The options of RESTORE.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(mut words: &[&[u8]]) -> Result<Options, CommandError> {
        let mut o = Options::default();
        while let [word, rest @ ..] = words {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            words = rest;
            match rest {
                _ if is("replace") => o.replace = true,
                _ if is("absttl") => o.absolute = true,
                [idle, rest @ ..] if is("idletime") && o.frequency.is_none() => {
                    let idle = u64::try_from(integer(idle)?);
                    o.idle_s = Some(idle.map_err(|_| {
                        CommandError::fixed("ERR Invalid IDLETIME value, must be >= 0")
                    })?);
                    words = rest;
                }
                [frequency, rest @ ..] if is("freq") && o.idle_s.is_none() => {
                    let frequency = u8::try_from(integer(frequency)?);
                    o.frequency = Some(frequency.map_err(|_| {
                        CommandError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255")
                    })?);
                    words = rest;
                }
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(o)
    }
}

/// `RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`.
/// <https://redis.io/commands/restore/>
pub(super) fn restore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let o = Options::parse(&args[4..])?;
    let key = d.first_key(args[1]);
    if !o.replace && d.seek(key).is_some() {
        return Err(CommandError::fixed(
            "BUSYKEY Target key name already exists.",
        ));
    }
    let ttl = u64::try_from(integer(args[2])?)
        .map_err(|_| CommandError::fixed("ERR Invalid TTL value, must be >= 0"))?;
    let bad_format = || CommandError::fixed("ERR Bad data format");
    let mut unchecked;
    let mut payload = args[3];
    if d.config.skip_checksums {
        // Eight zero bytes say that there is none.
        unchecked = payload.to_vec();
        let from = unchecked.len().saturating_sub(8);
        unchecked[from..].fill(0);
        payload = &unchecked;
    }
    let value = rdb::dump::restore(payload)
        .map_err(|error| CommandError::text(alloc::format!("ERR {error}")))?;
    let value = dataset::owned(value, &Limits::new(d.config, d.store)).map_err(|_| bad_format())?;
    // (Due or not: without REPLACE it has been looked up before.)
    let replaced = d.store.find(d.db, key);
    if let Some(place) = replaced {
        d.store.delete(d.db, key, place);
    }
    const LAST: u64 = i64::MAX as u64;
    let at = match (ttl, o.absolute) {
        (0, _) => None,
        (at, true) => Some(at),
        // (What is past all time is past, as in Redis.)
        (span, false) => Some(match span.saturating_add(d.now.unix_ms()) {
            at @ ..=LAST => at,
            _ => 0,
        }),
    };
    if at.is_some_and(|at| at <= d.now.unix_ms()) && d.overdue == Overdue::Delete {
        if replaced.is_some() {
            let verb: &[u8] = if d.config.lazyfree_lazy_server_del {
                b"UNLINK"
            } else {
                b"DEL"
            };
            d.effects.instead(d.db, &[verb, args[1]]);
            d.changed(key.bytes);
            d.notify(NotifyEvents::GENERIC, "del", key.bytes);
        }
        d.out.ok();
        return Ok(());
    }
    d.notify_new(d.db, key);
    let access = access::loaded(d.config, d.now, o.idle_s, o.frequency);
    let value = match &value {
        OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
        other => other.as_value(),
    };
    let deadline = at.map_or(Deadline::Clear, Deadline::At);
    d.store.set(d.db, key, value, deadline, access);
    d.changed(key.bytes);
    d.notify(NotifyEvents::GENERIC, "restore", key.bytes);
    if let (Some(at), false) = (at, o.absolute) {
        let at = ItoaBuffer::new(at as i64);
        let mut words = args.to_vec();
        words[2] = &at;
        words.push(b"ABSTTL");
        d.effects.instead(d.db, &words);
    }
    d.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::resp;

    #[test]
    fn a_span_past_all_time_is_over() {
        let mut engine = engine();
        run(&mut engine, "SET k v");
        for (span, there) in [("9223372036854775807", ":0"), ("1000", ":1")] {
            let restore =
                alloc::format!("redis.call('restore','r',{span:?},redis.call('dump','k'))");
            let eval = alloc::format!("EVAL \"return {}\" 0", restore.replace('"', "'"));
            assert_eq!(run(&mut engine, &eval), "+OK");
            assert_eq!(run(&mut engine, "EXISTS r"), there);
        }
    }

    /// DUMP of one engine, RESTOREd in another, is the same by digest; and what is wrong is refused.
    #[test]
    fn what_is_dumped_is_restored() {
        let (mut here, mut there) = (engine(), engine());
        let values = [
            "SET k hello",
            "SET k 12345",
            "RPUSH k a b 3",
            "SADD k 1 2 3",
            "SADD k a b c",
            "ZADD k 1 a 2.5 b",
            "HSET k f v g w",
            "XADD k 1-1 f v",
        ];
        for command in values {
            run(&mut here, "DEL k");
            run(&mut here, command);
            let mut request = alloc::vec::Vec::new();
            super::super::effects::encode(&mut request, &[b"DUMP", b"k"]);
            let reads = [(conn(), &request[..])];
            let mut turn = here.receive(&reads);
            while turn.step(NOW) {}
            drop(turn);
            while here.poll_effect().is_some() {}
            while here.poll_output().is_some() {}
            let reply: alloc::vec::Vec<u8> = here.output(conn()).flatten().copied().collect();
            here.sent(conn(), reply.len());
            let start = reply.iter().position(|&b| b == b'\n').unwrap() + 1;
            let payload = &reply[start..reply.len() - 2];
            let quoted: alloc::string::String = payload
                .iter()
                .map(|b| alloc::format!("\\x{b:02x}"))
                .collect();
            assert!(resp::split_words(alloc::format!("\"{quoted}\"").as_bytes()).is_some());
            let restored = run(
                &mut there,
                &alloc::format!("RESTORE k 0 \"{quoted}\" REPLACE"),
            );
            assert_eq!(restored, "+OK", "{command}");
            let digest = "DEBUG DIGEST-VALUE k";
            here.parts.config.enable_debug_command = crate::config::ProtectedAction::Yes;
            there.parts.config.enable_debug_command = crate::config::ProtectedAction::Yes;
            assert_eq!(run(&mut here, digest), run(&mut there, digest), "{command}");
            let busy = run(&mut there, &alloc::format!("RESTORE k 0 \"{quoted}\""));
            assert_eq!(busy, "-BUSYKEY Target key name already exists.");
            let cut = &quoted[..quoted.len() - 4];
            let refused = run(&mut there, &alloc::format!("RESTORE l 0 \"{cut}\""));
            assert_eq!(refused, "-ERR DUMP payload version or checksum are wrong");
            let (reply, effects) = run_and_journal(
                &mut there,
                NOW,
                &alloc::format!("RESTORE t 1000 \"{quoted}\" REPLACE"),
            );
            assert_eq!(reply, "+OK");
            assert!(effects[0].contains("1700000001000") && effects[0].ends_with("ABSTTL"));
            run(&mut there, "DEL t");
        }
        assert_eq!(run(&mut there, "DUMP none"), "$-1");
        assert_eq!(
            run(&mut there, "RESTORE n -1 x"),
            "-ERR Invalid TTL value, must be >= 0"
        );
    }
}
