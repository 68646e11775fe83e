//! Failures known of other servers, in what clients, data types and permissions are about (the entries KB-100
//! and up of the project's list): each would show here. Others of that list are named where their tests are.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::context::condition;
use super::testing::*;
use crate::Engine;
use crate::config::Config;
use crate::face::{ConnId, Effect, Input};

/// KB-104, KB-112, KB-115, KB-116, KB-117, KB-118, KB-121, KB-123: as Redis answers, which no longer has them.
#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/known.txt"));
}

/// Whether a connection has been closed since this was last asked.
fn is_closed(engine: &mut Engine, conn: ConnId) -> bool {
    let mut closed = false;
    while let Some(effect) = engine.poll_effect() {
        if matches!(effect, Effect::Close { conn: c, .. } if c == conn) {
            let reason = String::new();
            engine.handle(NOW, Input::Closed { conn, reason });
            closed = true;
        }
    }
    closed
}

/// KB-100: what SUBSCRIBE and a message to oneself say within a transaction comes whole, one after the other.
#[test]
fn subscriptions_in_a_transaction_keep_step() {
    for version in [2, 3] {
        let mut engine = engine();
        let a = join(&mut engine, 1);
        send(&mut engine, a, NOW, &format!("HELLO {version}"));
        for command in ["MULTI", "SUBSCRIBE c d", "PUBLISH c m", "SET k 1"] {
            send(&mut engine, a, NOW, command);
        }
        let mark = if version == 3 { '>' } else { '*' };
        let told = |n: u32, name: &str| format!("{mark}3 $9 subscribe $1 {name} :{n}");
        let message = format!("{mark}3 $7 message $1 c $1 m");
        let reply = send(&mut engine, a, NOW, "EXEC");
        // (The message stands where PUBLISH was, also in RESP3, as in Redis 7.0.)
        let order = format!("*3 {} {} {message} :1 +OK", told(1, "c"), told(2, "d"));
        assert_eq!(reply, order);
        let pong = if version == 3 {
            "+PONG"
        } else {
            "*2 $4 pong $0 "
        };
        assert_eq!(send(&mut engine, a, NOW, "PING"), pong.trim());
    }
}

/// KB-101: a key that expires while a reply is written is told of before or after it, never within.
#[test]
fn what_expires_under_a_reply_does_not_come_into_it() {
    let mut engine = engine();
    engine.parts.active_expire = false;
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "HELLO 3");
    send(&mut engine, a, NOW, "CLIENT TRACKING ON");
    let told = ">2 $10 invalidate *1 $1 l";
    for (commands, reply) in [
        (&["MGET k l m"][..], "*3 $1 1 _ $1 3"),
        (
            &["MULTI", "MGET k l m", "PING", "EXEC"],
            "*2 *3 $1 1 _ $1 3 +PONG",
        ),
        (
            &["EVAL \"return {redis.call('get','l'), 7}\" 1 l"],
            "*2 _ :7",
        ),
    ] {
        run(&mut engine, "MSET k 1 l 2 m 3");
        run(&mut engine, "PEXPIRE l 10");
        collect(&mut engine, a);
        send(&mut engine, a, NOW, "MGET k l m");
        let mut got = String::new();
        for command in commands {
            got = send(&mut engine, a, after_ms(20), command);
        }
        let (before, after) = (format!("{told} {reply}"), format!("{reply} {told}"));
        assert!(got == before || got == after, "{commands:?}: {got}");
        run(&mut engine, "DEL k l m");
        collect(&mut engine, a);
    }
}

/// KB-102: NOLOOP holds for what a client's scripts change as for what it changes itself.
#[test]
fn who_does_not_want_to_hear_of_its_own_changes_does_not_hear_of_its_scripts() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "HELLO 3");
    send(&mut engine, a, NOW, "CLIENT TRACKING ON NOLOOP");
    for command in [
        "SET k 1",
        "EVAL \"return redis.call('set',KEYS[1],'2')\" 1 k",
    ] {
        send(&mut engine, a, NOW, "GET k");
        assert_eq!(send(&mut engine, a, NOW, command), "+OK");
    }
    send(&mut engine, a, NOW, "GET k");
    run(&mut engine, "SET k 3");
    assert_eq!(collect(&mut engine, a), ">2 $10 invalidate *1 $1 k");
}

/// KB-103: who is woken for nothing waits on, and no longer than it said.
#[test]
fn a_time_out_is_not_renewed_by_waking() {
    for (before, waits, wakes, null) in [
        ("", "BLPOP l 0.5", "RPUSH l x;DEL l", "*-1"),
        ("", "BLMOVE l m LEFT LEFT 0.5", "RPUSH l x;LPOP l", "$-1"),
        ("", "BLMPOP 0.5 2 k l LEFT", "RPUSH l x;RENAME l n", "*-1"),
        ("", "BZPOPMIN z 0.5", "ZADD z 1 a;ZREM z a", "*-1"),
        ("", "BZMPOP 0.5 1 z MAX", "ZADD z 1 a;DEL z", "*-1"),
        ("", "BLPOP l 0.5", "SET l x", "*-1"),
        ("", "XREAD BLOCK 500 STREAMS s 5", "XADD s 4-1 f v", "*-1"),
        (
            "XGROUP CREATE s g 900 MKSTREAM",
            "XREADGROUP GROUP g c BLOCK 500 STREAMS s >",
            "XADD s 1-1 f v;XDEL s 1-1",
            "*-1",
        ),
    ] {
        let mut engine = engine();
        let a = join(&mut engine, 1);
        if !before.is_empty() {
            run(&mut engine, before);
        }
        assert_eq!(send(&mut engine, a, NOW, waits), "", "{waits}");
        for ms in [100, 300, 499] {
            run_at(&mut engine, after_ms(ms), "MULTI");
            for command in wakes.split(';') {
                let command = command.replace("s 4-1", &format!("s 0-{ms}"));
                let command = command.replace("1-1", &format!("{ms}-1"));
                run_at(&mut engine, after_ms(ms), &command);
            }
            run_at(&mut engine, after_ms(ms), "EXEC");
            assert_eq!(wait(&mut engine, a, after_ms(ms)), "", "{waits}");
        }
        let null = if waits.starts_with("BLMOVE") {
            "*-1"
        } else {
            null
        };
        assert_eq!(wait(&mut engine, a, after_ms(500)), null, "{waits}");
        engine.invariants();
    }
    // As short as time-outs get.
    let mut engine = engine();
    let a = join(&mut engine, 1);
    assert_eq!(send(&mut engine, a, NOW, "BLPOP l 0.000001"), "");
    assert_eq!(wait(&mut engine, a, after_ms(1)), "*-1");
    // Redis reads them as `long double`: what a `double` does not hold is far too long, or next to nothing.
    let long = send(&mut engine, a, NOW, "BLPOP l 1e400");
    assert_eq!(long, "-ERR timeout is negative");
    assert_eq!(send(&mut engine, a, NOW, "BLPOP l 1e-400"), "");
    assert_eq!(wait(&mut engine, a, after_ms(1)), "*-1");
}

/// KB-107: who has not said who it is holds little: neither by what it announces nor by what it leaves unread.
#[test]
fn strangers_hold_next_to_nothing() {
    let engine = || {
        engine_with(Config {
            requirepass: b"secret".to_vec(),
            ..Config::default()
        })
    };
    for announced in [&b"*11\r\n"[..], b"*1\r\n$16385\r\n", b"*1000000000\r\n"] {
        let mut engine = engine();
        let a = join(&mut engine, 1);
        let error = send_raw(&mut engine, a, announced);
        assert!(
            error.starts_with("-ERR Protocol error: unauthenticated"),
            "{error}"
        );
    }
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    assert!(!is_closed(&mut engine, a));
    let pings = b"PING\r\n".repeat(200);
    for _ in 0..10 {
        // What is taken may be as much as it likes.
        send_raw(&mut engine, b, &pings);
    }
    assert_eq!(send(&mut engine, b, NOW, "AUTH secret"), "+OK");
    let mut rounds = 0;
    while !is_closed(&mut engine, a) {
        rounds += 1;
        assert!(rounds < 20, "a stranger that reads nothing stays");
        let reads = [(a, &pings[..])];
        let mut turn = engine.receive(&reads);
        while turn.step(NOW) {}
        drop(turn);
        let unread: usize = engine.output(a).map(|piece| piece.len()).sum();
        assert!(unread < 100_000, "{unread}");
    }
}

/// KB-109: line ends in what a script, a function or a user says do not end a reply.
#[test]
fn no_text_breaks_out_of_its_reply() {
    let mut engine = engine();
    for script in [
        "return redis.error_reply('a\\\\r\\\\nb')",
        "return {err = '-x\\\\r\\\\n+OK\\\\r\\\\n'}",
        "return {ok = 'x\\\\r\\\\n:1'}",
        "return redis.status_reply('x\\\\ny')",
        "error('a\\\\r\\\\nb')",
        "error({err = 'a\\\\r\\\\n$-1'})",
        "return redis.pcall('nosuch\\\\r\\\\n+x')",
        "return redis.call('nosuch\\\\r\\\\n+x', 'a\\\\r\\\\n')",
        "return redis.call('config', 'x\\\\r\\\\ny')",
        "return redis.call('set', 'k', 'v', 'a\\\\r\\\\nb')",
    ] {
        let (_, raw) = raw_reply(&mut engine, &format!("EVAL \"{script}\" 0"));
        let lines = raw.iter().filter(|&&b| b == b'\r' || b == b'\n').count();
        assert!(
            lines == 2 && raw.ends_with(b"\r\n"),
            "{script}: {}",
            shown(&raw)
        );
    }
    for command in [
        "\"a\\r\\n+b\" \"c\\r\\n\"",
        "CLIENT \"a\\r\\n+b\"",
        "AUTH \"u\\r\\n\" p",
        "ACL SETUSER u \"+x\\r\\n:1\"",
        "CONFIG SET \"a\\r\\nb\" 1",
        "DEBUG \"a\\r\\nb\"",
        "FUNCTION LOAD \"#!\\r\\nlua\"",
        "FCALL \"f\\r\\n\" 0",
        "SELECT \"1\\r\\n\"",
        "OBJECT \"a\\r\\nb\" k",
        "XGROUP \"a\\r\\nb\" k",
        "XREADGROUP GROUP \"g\\r\\n+OK\" c STREAMS \"s\\r\\n\" >",
        "CLUSTER \"a\\r\\nb\"",
        "CLIENT KILL ID 1 USER \"a\\r\\nb\"",
    ] {
        let (_, raw) = raw_reply(&mut engine, command);
        let lines = raw.iter().filter(|&&b| b == b'\r' || b == b'\n').count();
        assert!(
            lines == 2 && raw.ends_with(b"\r\n"),
            "{command}: {}",
            shown(&raw)
        );
    }
}

/// The reply to a command, as text and as it is.
fn raw_reply(engine: &mut Engine, command: &str) -> (String, Vec<u8>) {
    let words = crate::resp::split_words(command.as_bytes()).unwrap();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut request = Vec::new();
    super::effects::encode(&mut request, &words);
    let reads = [(conn(), &request[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    while engine.poll_effect().is_some() {}
    while engine.poll_output().is_some() {}
    let raw: Vec<u8> = engine.output(conn()).flatten().copied().collect();
    engine.sent(conn(), raw.len());
    (shown(&raw), raw)
}

/// KB-110: a client that goes while it waits, watches or is served is gone; what it would have got is still there.
#[test]
fn who_goes_while_it_is_served_takes_nothing_along() {
    for ends in ["CLIENT KILL ID 2", "CLIENT KILL USER u", "ACL DELUSER u"] {
        for waits in [
            "BLPOP l 0",
            "BLMOVE l m LEFT LEFT 0",
            "XREAD BLOCK 0 STREAMS s $",
            "SUBSCRIBE l",
        ] {
            let mut engine = engine();
            run(&mut engine, "ACL SETUSER u on nopass ~* &* +@all");
            let a = join(&mut engine, 1);
            send(&mut engine, a, NOW, "AUTH u x");
            send(&mut engine, a, NOW, "WATCH l w");
            send(&mut engine, a, NOW, waits);
            for command in ["MULTI", "RPUSH l x", ends, "RPUSH l y", "FLUSHALL ASYNC"] {
                run(&mut engine, command);
            }
            for command in ["RPUSH l z", "PUBLISH l m", "XADD s 1-1 f v"] {
                run(&mut engine, command);
            }
            assert!(
                run(&mut engine, "EXEC").starts_with("*7 "),
                "{ends}, {waits}"
            );
            assert_eq!(
                run(&mut engine, "LRANGE l 0 -1"),
                "*1 $1 z",
                "{ends}, {waits}"
            );
            assert_eq!(collect(&mut engine, a), "", "{ends}, {waits}");
            run(&mut engine, "FLUSHALL");
            engine.invariants();
        }
    }
}

/// KB-111: what a client leaves unread is looked at also when nothing more happens to it.
#[test]
fn a_soft_limit_ends_who_is_quiet() {
    let mut engine = engine();
    run(
        &mut engine,
        "CONFIG SET client-output-buffer-limit \"pubsub 0 100 1\"",
    );
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "SUBSCRIBE c");
    run(&mut engine, &format!("PUBLISH c {}", "x".repeat(200)));
    assert!(!is_closed(&mut engine, a));
    let mut gone_ms = None;
    for ms in (100..5000).step_by(100) {
        engine.handle(after_ms(ms), Input::Tick);
        if is_closed(&mut engine, a) {
            gone_ms = Some(ms);
            break;
        }
    }
    assert!(
        gone_ms.is_some_and(|ms| ms > 1000 && ms < 4000),
        "{gone_ms:?}"
    );
}

/// KB-112: run lengths of a sketch that lead beyond its registers, or end before them.
#[test]
fn a_sketch_that_lies_is_refused() {
    let head = "HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80";
    for opcodes in [
        "\\x7f\\xff\\x7f\\xff",
        "\\x7f\\xff\\x80",
        "\\x7f\\xf0\\xff\\xff\\xff\\xff\\xff",
        "\\x7f",
        "\\x40",
        "\\x7f\\xfe",
        "\\x3f",
        "\\xff",
        "",
    ] {
        let mut engine = engine();
        let lie = opcodes.repeat(if opcodes.len() == 16 { 5000 } else { 1 });
        for command in [
            "PFCOUNT h",
            "PFCOUNT h g",
            "PFADD h a",
            "PFMERGE h g",
            "PFMERGE g h",
        ] {
            run(&mut engine, &format!("SET h \"{head}{lie}\""));
            run(&mut engine, "DEL g");
            run(&mut engine, "PFADD g x y z");
            let reply = run(&mut engine, command);
            // (PFADD may stop at the register that it is about.)
            let fine = command.starts_with("PFADD") && reply == ":1";
            assert!(
                reply.starts_with("-INVALIDOBJ") || fine,
                "{opcodes} {command}: {reply}"
            );
        }
        engine.invariants();
    }
}

/// KB-114: small forms stop being used where what they hold would be more than they can tell the place of.
#[test]
fn small_forms_end_before_they_are_too_large() {
    let mut engine = engine();
    for name in ["hash", "zset"] {
        run(
            &mut engine,
            &format!("CONFIG SET {name}-max-listpack-value 9223372036854775807"),
        );
        run(
            &mut engine,
            &format!("CONFIG SET {name}-max-listpack-entries 9223372036854775807"),
        );
    }
    run(&mut engine, "CONFIG SET list-max-listpack-size 32767");
    run(
        &mut engine,
        "CONFIG SET set-max-listpack-value 9223372036854775807",
    );
    run(
        &mut engine,
        "CONFIG SET set-max-listpack-entries 9223372036854775807",
    );
    let long = |n: usize| format!("{n}{}", "x".repeat(70_000));
    for n in 0..100 {
        let value = long(n);
        for command in ["HSET h f# @", "RPUSH l @", "SADD s @", "ZADD z 1 @"] {
            let command = command.replace('#', &format!("{n}")).replace('@', &value);
            let reply = run(&mut engine, &command);
            assert!(reply.starts_with(':'), "{reply}");
        }
    }
    for (command, reply) in [
        ("HLEN h", ":100"),
        ("HSTRLEN h f99", ":70002"),
        ("LLEN l", ":100"),
        ("SCARD s", ":100"),
        ("ZCARD z", ":100"),
    ] {
        assert_eq!(run(&mut engine, command), reply, "{command}");
    }
    for n in [0, 50, 99] {
        let value = long(n);
        assert_eq!(
            run(&mut engine, &format!("HGET h f{n}")),
            format!("${} {value}", value.len())
        );
        assert_eq!(
            run(&mut engine, &format!("LINDEX l {n}")),
            format!("${} {value}", value.len())
        );
        assert_eq!(run(&mut engine, &format!("SISMEMBER s {value}")), ":1");
        assert_eq!(run(&mut engine, &format!("ZSCORE z {value}")), "$1 1");
    }
    engine.invariants();
}

/// KB-116: what would be a reply without end is none; and nobody waits for it.
#[test]
fn a_reply_beyond_all_measure_is_cut_off() {
    let mut engine = engine();
    run(
        &mut engine,
        "CONFIG SET client-output-buffer-limit \"normal 1mb 0 0\"",
    );
    run(&mut engine, "SADD t a");
    let a = join(&mut engine, 1);
    let words = "SRANDMEMBER t -4611686018427387905";
    let reply = send(&mut engine, a, NOW, words);
    assert!(reply.len() < 4 << 20, "{} bytes", reply.len());
    assert_eq!(run(&mut engine, "SCARD t"), ":1");
}

/// KB-120: what one user's script leaves behind is not what another's finds.
#[test]
fn scripts_leave_nothing_behind_for_others() {
    let mut engine = engine();
    for script in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "redis.x = 1",
        "redis.call = function() return 'mine' end",
        "string.format = nil",
        "table.concat = function() return 'mine' end",
        "math.random = nil",
        "cjson.encode = nil",
        "setmetatable(_G, {__index = function() return 1 end})",
        "setmetatable(string, {__index = function() return 1 end})",
        "getmetatable(_G).__index = nil",
        "getmetatable('').__index = function() return 'mine' end",
        "getmetatable('').x = 1",
        "getfenv(0).x = 1",
        "setfenv(0, {x = 1})",
        "KEYS.x = 1 rawset(redis, 'x', 1)",
        "local m = getmetatable(redis) m.__newindex = nil redis.x = 1",
    ] {
        run(&mut engine, &format!("EVAL \"{script}\" 0"));
        let probe = "local ok, x = pcall(function() return x end) \
                     return {tostring(ok), tostring(redis.x), tostring(redis.call('ping')['ok']), \
                     string.format('%d', 7), table.concat({1, 2}), ('x'):upper(), cjson.encode(1)}";
        let found = run(&mut engine, &format!("EVAL \"{probe}\" 0"));
        assert_eq!(
            found, "*7 $5 false $3 nil $4 PONG $1 7 $2 12 $1 X $1 1",
            "{script}"
        );
    }
}

/// KB-124: a replica on which all keys are due, and evictions for the sake of a script, come to an end.
#[test]
fn nothing_looks_for_ever_for_a_key_that_is_not_due() {
    let mut engine = engine();
    for n in 0..100 {
        run(&mut engine, &format!("SET k{n} v PX 1"));
    }
    engine.parts.set(condition::REPLICA, true);
    let reply = run_at(&mut engine, after_ms(10), "RANDOMKEY");
    assert!(reply == "$-1" || reply.contains(" k"), "{reply}");
    let scanned = run_at(&mut engine, after_ms(10), "SCAN 0 COUNT 1000");
    assert_eq!(scanned, "*2 $1 0 *0");
    assert_eq!(run_at(&mut engine, after_ms(10), "KEYS *"), "*0");

    let mut engine = engine_with(Config::default());
    for n in 0..200 {
        run(&mut engine, &format!("SET k{n} {}", "x".repeat(1000)));
    }
    run(&mut engine, "CONFIG SET maxmemory-policy allkeys-random");
    run(&mut engine, "CONFIG SET maxmemory 100kb");
    let script = "for i = 1, 300 do redis.call('set', 'n' .. i, string.rep('y', 1000)) end return redis.call('dbsize')";
    let reply = run(&mut engine, &format!("EVAL \"{script}\" 0"));
    // No eviction within the script: all that it wrote is there when it ends.
    let left: i64 = reply.trim_start_matches(':').parse().unwrap_or(-1);
    assert!(left >= 300 || reply.starts_with("-OOM"), "{reply}");
    let after = run(&mut engine, "SET last 1");
    assert!(after == "+OK" || after.starts_with("-OOM"), "{after}");
    engine.invariants();
}

/// KB-125: as KB-125 in `data_tests`, while a collection changes its form and size under the scan.
#[test]
fn a_scan_of_a_collection_meets_what_stays_while_it_grows_and_shrinks() {
    for (add, remove, scan, pairs) in [
        ("SADD c @", "SREM c @", "SSCAN", false),
        ("HSET c @ v", "HDEL c @", "HSCAN", true),
        ("ZADD c 1 @", "ZREM c @", "ZSCAN", true),
    ] {
        let mut engine = engine();
        let of = |engine: &mut Engine, command: &str, member: &str| {
            run(engine, &command.replace('@', member));
        };
        for n in 0..300 {
            of(&mut engine, add, &format!("stay:{n}"));
        }
        let (mut cursor, mut met, mut call) = (String::from("0"), Vec::new(), 0);
        loop {
            let reply = run(&mut engine, &format!("{scan} c {cursor} COUNT 10"));
            let mut words = reply.split(' ').filter(|w| !w.starts_with(['$', '*']));
            cursor = words.next().unwrap().into();
            let step = if pairs { 2 } else { 1 };
            met.extend(words.step_by(step).map(String::from));
            if cursor == "0" {
                break;
            }
            call += 1;
            assert!(call < 1000, "{scan}");
            for n in 0..200 {
                let member = format!("come:{n}");
                of(
                    &mut engine,
                    if call % 2 == 1 { add } else { remove },
                    &member,
                );
            }
        }
        for n in 0..300 {
            let member = format!("stay:{n}");
            assert!(met.contains(&member), "{scan} misses {member}");
        }
        engine.invariants();
    }
}
