//! DEBUG: looking inside, and making unusual things happen. For tests; off unless `enable-debug-command`
//! allows it. <https://redis.io/commands/debug/>

mod inside;

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

use super::config::begin_rewrite;
use super::context::{ReloadSource, Server, Wish, condition};
use super::digest::{self, Digest};
use super::error::CommandError;
use super::string::integer;
use super::table::Outcome;
use super::{client, help, object};
use crate::client::limits::is_local;
use crate::client::{Blocked, alert};
use crate::cluster::node::NodeId;
use crate::cluster::{Cluster, Direction};
use crate::config::parse_memory;
use crate::face::{Crash, Effect, LogLevel};
use crate::resp::Output;
use crate::store::{Deadline, EntryRef, Object, Value, ValueRef};

/// The largest QUICKLIST-PACKED-THRESHOLD.
const MOST_PACKED: u64 = (1 << 32) - (1 << 20);

/// `DEBUG subcommand [arg …]`.
pub(super) fn debug(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let allowed = s.parts.config.enable_debug_command;
    if !allowed.allows(is_local(&s.session.peer)) {
        return Err(CommandError::fixed(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    let name = args[1].to_ascii_lowercase();
    match (name.as_slice(), &args[2..]) {
        (b"assert", []) => return crash(s, Crash::Assert),
        (b"change-repl-id", []) => {
            s.parts.log(
                LogLevel::Notice,
                "Changing replication IDs after receiving change-repl-id",
            );
            s.parts.replication.change_id();
        }
        (b"client-eviction", []) => return eviction(s),
        (b"close-cluster-link-on-packet-drop", [on]) => {
            let on = integer(on)? != 0;
            cluster(s)?.set_cuts(on);
        }
        (b"clusterlink", [what, which, node]) if what.eq_ignore_ascii_case(b"kill") => {
            cut(s, which, node)?;
        }
        (b"config-rewrite-force-all", []) => return begin_rewrite(s, true),
        (b"digest", []) => {
            let digest = digest::digest(&s.parts.store);
            reply_digest(&mut s.session.out, &digest);
            return Ok(());
        }
        (b"digest-value", keys) => return digest_value(s, keys),
        (b"drop-cluster-packet-filter", [kind]) => {
            let kind = integer(kind)?;
            if let Some(cluster) = &mut s.parts.cluster {
                cluster.set_deaf_to(kind);
            }
        }
        (b"error", [text]) => {
            s.session.out.error(text);
            return Ok(());
        }
        (b"help", []) => {
            help::help(&mut s.session.out, "DEBUG", help::DEBUG);
            return Ok(());
        }
        (b"htstats", [db] | [db, _]) => return inside::database(s, db),
        (b"htstats-key", [key] | [key, _]) => return inside::value(s, key),
        (b"listpack", [key]) => return inside::listpack(s, key),
        (b"loadaof", []) => return read_back(s, ReloadSource::AppendOnly),
        (b"log", [text]) => {
            let text = format!("DEBUG LOG: {}", String::from_utf8_lossy(text));
            s.parts.log(LogLevel::Warning, text);
        }
        (b"object", [key, ..]) if args.len() <= 4 => return describe_object(s, key),
        (b"panic", []) => return crash(s, Crash::Panic),
        (b"pause-cron", [on]) => s.parts.pause_housekeeping = integer(on).is_ok_and(|on| on != 0),
        (b"populate", [count, rest @ ..]) if rest.len() <= 2 => populate(s, count, rest)?,
        (b"set-disable-deny-scripts", [on]) => {
            s.parts.scripts.unrestricted = *on != b"0";
            s.session.out.ok();
            return Ok(());
        }
        (b"protocol", [kind]) => return protocol(&mut s.session.out, kind),
        (b"quicklist-packed-threshold", [size]) => {
            let bytes = parse_memory(size).filter(|n| *n <= MOST_PACKED);
            let bytes = bytes.ok_or(CommandError::fixed(
                "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
            ))?;
            s.parts.config.quicklist_packed_threshold = bytes;
        }
        (b"quicklist", [key] | [key, _]) => return inside::quicklist(s, key),
        (b"reload", options) => return reload(s, options),
        (b"replybuffer", [what, _])
            if [&b"peak-reset-time"[..], b"resizing"]
                .iter()
                .any(|w| what.eq_ignore_ascii_case(w)) => {}
        (b"segfault", []) => return crash(s, Crash::Segfault),
        (name, [_]) if HARMLESS.contains(&name) => {}
        (b"replicate", words @ [_, ..]) => {
            let db = s.session.db;
            s.parts.effects.also(db, words);
        }
        (b"stringmatch-test", []) => {
            let text = "Apparently Redis did not crash: test passed";
            s.session.out.simple(text);
            return Ok(());
        }
        (b"set-skip-checksum-validation", [on]) => {
            s.parts.config.skip_checksums = integer(on).is_ok_and(|on| on != 0);
        }
        (b"set-active-expire", [on]) => {
            s.parts.active_expire = integer(on).is_ok_and(|on| on != 0);
        }
        (b"sdslen", [key]) => return inside::lengths(s, key),
        (b"sleep", [seconds]) => sleep(s, seconds),
        _ => {
            return Err(CommandError::subcommand("DEBUG", args[1]));
        }
    }
    s.session.out.ok();
    Ok(())
}

/// What tests set for the sake of the machinery inside a Redis or a Valkey that we have no counterpart of: no child
/// process, no thread that frees, no table that is resized as a whole, no sleep while the append-only file is written.
const HARMLESS: [&[u8]; 9] = [
    b"aof-flush-sleep",
    b"client-enforce-reply-list",
    b"delay-rdb-client-free-second",
    b"delay-rdb-client-free-seconds",
    b"dict-resizing",
    b"force-free-primary-async",
    b"hashtable-can-abort-shrink",
    b"pause-after-fork",
    b"sleep-after-fork-seconds",
];

fn cluster<'a>(s: &'a mut Server<'_>) -> Result<&'a mut Cluster, CommandError> {
    s.parts.cluster.as_deref_mut().ok_or(CommandError::fixed(
        "ERR Debug option only available for cluster mode enabled setup!",
    ))
}

/// Cuts connections of the cluster's bus.
fn cut(s: &mut Server<'_>, which: &[u8], node: &[u8]) -> Result<(), CommandError> {
    let now = s.now;
    let cluster = cluster(s)?;
    let known = NodeId::parse(node).filter(|id| cluster.nodes().find(id).is_some());
    let id = known.ok_or_else(|| {
        CommandError::text(format!(
            "ERR Unknown node {}",
            String::from_utf8_lossy(node)
        ))
    })?;
    let which = match which.to_ascii_lowercase().as_slice() {
        b"all" => Direction::All,
        b"from" => Direction::From,
        b"to" => Direction::To,
        _ => {
            let which = String::from_utf8_lossy(which);
            return Err(CommandError::text(format!("ERR Unknown direction {which}")));
        }
    };
    cluster.cut(now, &id, which);
    Ok(())
}

/// How many clients hold how much, by powers of two: those that hold most are the first to go.
fn eviction(s: &mut Server<'_>) -> Outcome {
    const LEAST: u32 = 15;
    const MOST: u32 = 33;
    if !s.parts.clients.weighs() {
        return Err(CommandError::fixed("ERR maxmemory-clients is disabled."));
    }
    let mut pools = [(0, 0); (MOST - LEAST + 1) as usize];
    for session in s.parts.clients.iter() {
        let bytes = session.memory();
        let pool = (usize::BITS - bytes.leading_zeros()).clamp(LEAST, MOST + 1) - LEAST;
        let (sum, clients) = &mut pools[(pool as usize).min(pools.len() - 1)];
        *sum += bytes;
        *clients += 1;
    }
    let mut text = String::new();
    for (i, (sum, clients)) in pools.iter().enumerate() {
        let power = LEAST + i as u32;
        let from = if i == 0 { 0 } else { 1u64 << (power - 1) };
        let _ = match i + 1 == pools.len() {
            true => write!(text, "bucket {from:>10}+            : "),
            false => write!(text, "bucket {from:>10} - {:>10}: ", (1u64 << power) - 1),
        };
        let _ = writeln!(text, "tot-mem: {sum:>10}, clients: {clients}");
    }
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

/// Breaks. There is no reply to that.
fn crash(s: &mut Server<'_>, how: Crash) -> Outcome {
    s.parts.outbox.push_back(Effect::Crash(how));
    Ok(())
}

fn reply_digest(out: &mut Output, digest: &Digest) {
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    out.simple(&hex);
}

fn digest_value(s: &mut Server<'_>, keys: &[&[u8]]) -> Outcome {
    let store = &s.parts.store;
    let out = &mut s.session.out;
    out.array(keys.len());
    for key in keys {
        let digest = match store.find(s.session.db, store.hasher().key(key)) {
            Some(place) => digest::of_value(store.entry(s.session.db, place)),
            None => Digest::default(),
        };
        reply_digest(out, &digest);
    }
    Ok(())
}

/// The length of a value in a snapshot, without type and key.
fn serialized_len(entry: EntryRef<'_>, compress: bool) -> usize {
    /// Type in front, version and checksum behind.
    const AROUND: usize = 1 + 2 + 8;
    super::dump::payload(entry, compress).len() - AROUND
}

fn describe_object(s: &mut Server<'_>, key: &[u8]) -> Outcome {
    let parts = &*s.parts;
    let place = parts
        .store
        .find(s.session.db, parts.store.hasher().key(key))
        .ok_or(CommandError::NO_SUCH_KEY)?;
    let entry = parts.store.entry(s.session.db, place);
    let idle_s = s.now.access_clock().wrapping_sub(entry.access()) & 0xFF_FFFF;
    // Addresses differ from run to run, and a replay must not: there is none here.
    let list = match entry.value() {
        ValueRef::Object(Object::List(list)) => inside::of_list(list, &parts.config),
        _ => String::new(),
    };
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle_s}{list}",
        object::encoding_name(entry),
        serialized_len(entry, parts.config.rdbcompression),
        entry.access(),
    );
    s.session.out.simple(&text);
    Ok(())
}

fn count(arg: &[u8]) -> Result<usize, CommandError> {
    integer(arg)
        .ok()
        .and_then(|n| usize::try_from(n).ok())
        .ok_or(CommandError::fixed(
            "ERR value is out of range, must be positive",
        ))
}

/// Makes keys `prefix:n` with values `value:n`, cut or filled with zeros to a size; nothing is journalled.
fn populate(s: &mut Server<'_>, keys: &[u8], rest: &[&[u8]]) -> Outcome {
    let keys = count(keys)?;
    let prefix = rest.first().map_or(&b"key"[..], |prefix| prefix);
    let size = rest.get(1).map_or(Ok(0), |size| count(size))?;
    if size as u64 > s.parts.config.proto_max_bulk_len {
        return Err(CommandError::TOO_LONG);
    }
    let (db, access) = (s.session.db, s.now.access_clock());
    for n in 0..keys {
        let name = [prefix, format!(":{n}").as_bytes()].concat();
        let parts = &mut *s.parts;
        let key = parts.store.hasher().key(&name);
        if parts.store.find(db, key).is_some() {
            continue;
        }
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        parts
            .store
            .set(db, key, Value::Bytes(&value), Deadline::Clear, access);
        parts.watches.touch(db, &name);
    }
    Ok(())
}

/// One example of each kind of reply.
fn protocol(out: &mut Output, kind: &[u8]) -> Outcome {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(f64::from(3141) / 1000.0),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.int(n);
                out.boolean(n == 1);
            }
        }
        b"attrib" => {
            if out.resp3 {
                out.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" if !out.resp3 => {
            return Err(CommandError::fixed(
                "ERR RESP2 is not supported by this command",
            ));
        }
        b"push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            out.bulk(b"Some real reply following the push reply");
        }
        b"bignum" => {
            let digits = b"1234567999999999999999999999999999999";
            if out.resp3 {
                out.raw(b"(");
                out.raw(digits);
                out.raw(b"\r\n");
            } else {
                out.bulk(digits);
            }
        }
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"verbatim" => out.verbatim(b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::fixed(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// The whole server stands still for a while (see [`crate::Turn::stall`]).
fn sleep(s: &mut Server<'_>, seconds: &[u8]) {
    let seconds = core::str::from_utf8(seconds).ok();
    let seconds = seconds.and_then(|text| text.parse::<f64>().ok());
    if let Some(seconds) = seconds.filter(|s| *s > 0.0 && s.is_finite()) {
        let stall = &mut s.parts.stall_us;
        *stall = stall.saturating_add((seconds * 1e6) as u64);
    }
}

/// `DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]`.
fn reload(s: &mut Server<'_>, options: &[&[u8]]) -> Outcome {
    let (mut save, mut flush, mut merge) = (true, true, false);
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"merge" => merge = true,
            b"noflush" => flush = false,
            b"nosave" => save = false,
            _ => {
                return Err(CommandError::fixed(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    read_back(s, ReloadSource::Snapshot { save, flush, merge })
}

/// Has all data read back from a file. Nobody gets anything done until then.
fn read_back(s: &mut Server<'_>, source: ReloadSource) -> Outcome {
    // What is there so far would take the place of the file that it comes from.
    if s.parts.is(condition::LOADING) {
        return Err(CommandError::fixed(
            "LOADING Redis is loading the dataset in memory",
        ));
    }
    if s.session.is(alert::MULTI) || s.session.is(alert::TRUSTED) {
        return Err(CommandError::fixed(
            "ERR DEBUG RELOAD and LOADAOF are not possible inside a transaction",
        ));
    }
    let conn = s.session.conn;
    s.parts.wishes.push_back(Wish::Reload { conn, source });
    s.parts.reloading = true;
    client::block(s, Blocked::Reload);
    Ok(())
}
