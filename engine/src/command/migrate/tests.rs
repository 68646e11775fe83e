//! MIGRATE in an engine whose target is played by the test.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Engine;
use crate::command::effects::encode;
use crate::command::testing::{NOW, conn, engine, journalled, run, run_and_journal};
use crate::face::{Address, ConnId, Effect, Input, Listener, Now};

/// The link to the target, of which the engine has asked for this connection.
fn connect(engine: &mut Engine, effects: &[Effect]) -> ConnId {
    let [Effect::Connect { conn: link, .. }] = effects else {
        panic!("{effects:?}");
    };
    let connected = Input::Connected {
        conn: *link,
        local: ip(),
        peer: ip(),
    };
    engine.handle(NOW, connected);
    while engine.poll_effect().is_some() {}
    *link
}

/// A second client.
fn other() -> ConnId {
    ConnId::accepted(1, 0)
}

fn ip() -> Address {
    Address::Ip(([127, 0, 0, 1], 6379).into())
}

/// Sends a command by a connection without waiting for its reply.
fn send(engine: &mut Engine, conn: ConnId, line: &str) -> Vec<Effect> {
    let words = crate::resp::split_words(line.as_bytes()).unwrap();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut request = Vec::new();
    encode(&mut request, &words);
    receive(engine, conn, &request)
}

fn receive(engine: &mut Engine, conn: ConnId, bytes: &[u8]) -> Vec<Effect> {
    let reads = [(conn, bytes)];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    core::iter::from_fn(|| engine.poll_effect()).collect()
}

/// What a connection has been sent since the last time.
fn read(engine: &mut Engine, conn: ConnId) -> String {
    // Whoever was kept waiting may go on now.
    let _ = receive(engine, other(), b"");
    while engine.poll_output().is_some() {}
    let bytes: Vec<u8> = engine.output(conn).flatten().copied().collect();
    engine.sent(conn, bytes.len());
    String::from_utf8_lossy(&bytes).replace("\r\n", " ")
}

/// An engine with two clients, of which the first moves these keys; and the connection to the target, to which
/// the commands have been sent.
fn moving(keys: &str) -> (Engine, ConnId) {
    moving_after("PING", keys)
}

fn accept(engine: &mut Engine, conn: ConnId) {
    let accepted = Input::Accepted {
        conn,
        listener: Listener::Tcp,
        peer: ip(),
        local: ip(),
    };
    engine.handle(NOW, accepted);
}

/// The same, after the second client has sent something.
fn moving_after(line: &str, keys: &str) -> (Engine, ConnId) {
    let mut engine = engine();
    accept(&mut engine, other());
    run(&mut engine, "MSET a 1 b 2 c 3");
    let _ = send(&mut engine, other(), line);
    run(&mut engine, "RPUSH l y");
    read(&mut engine, other());
    let effects = send(
        &mut engine,
        conn(),
        &alloc::format!("MIGRATE 10.0.0.1 7000 {keys}"),
    );
    let is_target = |effect: &Effect| matches!(effect, Effect::Connect { host, port: 7000, tls: false, .. } if host == "10.0.0.1");
    assert!(effects.iter().all(is_target), "{effects:?}");
    let link = connect(&mut engine, &effects);
    (engine, link)
}

#[test]
fn writers_of_the_keys_wait_until_they_are_gone() {
    let (mut engine, link) = moving("a 3 100");
    let sent = read(&mut engine, link);
    assert!(
        sent.starts_with("*2 $6 SELECT $1 3 *4 $7 RESTORE $1 a $1 0 "),
        "{sent}"
    );
    for (line, reply) in [
        ("GET a", "$1 1 "),
        ("INCR b", ":3 "),
        ("MULTI", "+OK "),
        ("INCR a", "+QUEUED "),
        ("GET b", "+QUEUED "),
        // These wait.
        ("EXEC", ""),
        ("INCR a", ""),
        ("EXISTS a", ""),
    ] {
        let _ = send(&mut engine, other(), line);
        assert_eq!(read(&mut engine, other()), reply, "{line}");
    }
    let _ = receive(&mut engine, link, b"+OK\r\n+O");
    assert_eq!(read(&mut engine, conn()), "");
    let _ = receive(&mut engine, link, b"K\r\n");
    assert_eq!(read(&mut engine, conn()), "+OK ");
    assert_eq!(read(&mut engine, other()), "*2 :1 $1 3 :2 :1 ");
}

#[test]
fn what_may_touch_any_key_waits() {
    let waiting = [
        "EVAL return(1) 0",
        "FLUSHALL",
        "SWAPDB 0 1",
        "COPY b a DB 0 REPLACE",
        "RENAME b a",
        "MIGRATE h 1 a 0 1",
        "DEL b a",
        "SORT b BY x STORE a",
    ];
    let passing = [
        ("DEL b", ":1 "),
        ("KEYS a", "*1 $1 a "),
        ("PUBLISH a m", ":0 "),
        ("EVAL_RO return(1) 0", ":1 "),
        ("TYPE a", "+string "),
        ("SELECT 1", "+OK "),
        ("SET a 1", "+OK "),
    ];
    for line in waiting {
        let (mut engine, _) = moving("a 0 100");
        let _ = send(&mut engine, other(), line);
        assert_eq!(read(&mut engine, other()), "", "{line}");
    }
    let (mut engine, _) = moving("a 0 100");
    for (line, reply) in passing {
        let _ = send(&mut engine, other(), line);
        assert_eq!(read(&mut engine, other()), reply, "{line}");
    }
}

#[test]
fn a_client_that_waits_for_a_key_is_served_when_the_other_key_is_free() {
    let (mut engine, link) = moving_after("BLMOVE from l LEFT RIGHT 0", "l 0 100");
    let third = ConnId::accepted(2, 0);
    accept(&mut engine, third);
    let _ = send(&mut engine, third, "RPUSH from x");
    assert_eq!(read(&mut engine, third), ":1 ");
    assert_eq!(read(&mut engine, other()), "");
    let _ = receive(&mut engine, link, b"+OK\r\n+OK\r\n");
    assert_eq!(read(&mut engine, other()), "$1 x ");
    assert_eq!(run(&mut engine, "LRANGE l 0 -1"), "+OK *1 $1 x");
}

#[test]
fn one_del_is_journalled_for_all_that_moved() {
    let (mut engine, link) = moving("\"\" 0 100 KEYS a nokey b c");
    let replies = b"+OK\r\n+OK\r\n-BUSYKEY there\r\n+OK\r\n";
    let reads = [(link, &replies[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    // As if a replica read it.
    engine.parts.effects.wanted = true;
    let from = engine.parts.journal.end();
    super::finish(&mut engine.parts);
    assert_eq!(journalled(&mut engine, from), ["DEL a c"]);
    let told = read(&mut engine, conn());
    assert_eq!(
        told,
        "-ERR Target instance replied with error: BUSYKEY there "
    );
    assert_eq!(run(&mut engine, "EXISTS a c b"), ":1");
    // The connection is kept, but who knows what is selected there.
    assert_eq!(engine.parts.transfers.connections(), 1);
    assert_eq!(
        send(&mut engine, conn(), "MIGRATE 10.0.0.1 7000 b 0 100").len(),
        0
    );
    let sent = read(&mut engine, link);
    assert!(sent.contains("SELECT") && sent.contains(" $1 b "), "{sent}");
}

#[test]
fn who_becomes_a_replica_deletes_nothing() {
    let (mut engine, link) = moving("a 0 100");
    let _ = send(&mut engine, other(), "REPLICAOF 10.0.0.2 7000");
    let told = read(&mut engine, conn());
    assert!(told.starts_with("-UNBLOCKED force unblock"), "{told}");
    let _ = receive(&mut engine, link, b"+OK\r\n+OK\r\n");
    assert_eq!(run(&mut engine, "GET a"), "$1 1");
}

#[test]
fn a_target_that_says_nothing_is_given_up_in_time() {
    let (mut engine, link) = moving("a 0 100");
    let _ = send(&mut engine, other(), "SET a 5");
    let late = Now {
        mono_us: NOW.mono_us + 100_000,
        unix_us: NOW.unix_us + 100_000,
    };
    assert!(engine.deadline().is_some_and(|at| at <= late.mono_us));
    read(&mut engine, link);
    engine.handle(late, Input::Tick);
    let effects: Vec<Effect> = core::iter::from_fn(|| engine.poll_effect()).collect();
    assert!(
        matches!(&effects[..], [Effect::Close { conn }] if *conn == link),
        "{effects:?}"
    );
    let told = read(&mut engine, conn());
    assert_eq!(told, "-IOERR error or timeout reading to target instance ");
    assert_eq!(read(&mut engine, other()), "+OK ");
    assert_eq!(run(&mut engine, "GET a"), "$1 5");
    let (reply, journalled) = run_and_journal(&mut engine, late, "MIGRATE h x a 0 0");
    assert_eq!(reply, "-IOERR error or timeout connecting to the client");
    assert_eq!(journalled, Vec::<String>::new());
}

/// An engine with keys and two clients, of which the first has sent these lines; the last one's effects.
fn nested(lines: &[&str]) -> (Engine, Vec<Effect>) {
    let mut engine = engine();
    accept(&mut engine, other());
    run(&mut engine, "MSET a 1 b 2 c 3");
    // As if a replica read it.
    engine.parts.effects.wanted = true;
    let mut effects = Vec::new();
    for line in lines {
        effects = send(&mut engine, conn(), line);
        engine.parts.effects.wanted = true;
    }
    (engine, effects)
}

const EXEC: [&str; 5] = [
    "MULTI",
    "INCR b",
    "MIGRATE h 1 \"\" 0 100 KEYS a c",
    "INCR b",
    "EXEC",
];

const EVAL: [&str; 1] = [
    "EVAL \"redis.call('INCR','b') local r=redis.pcall('MIGRATE','h',1,'',0,100,'KEYS','a','c') \
     return {r, redis.call('INCR','b')}\" 0",
];

const BOTH: [&str; 3] = ["MULTI", EVAL[0], "EXEC"];

/// Whatever calls MIGRATE waits for its end, everybody else does too, and it is one transaction.
#[test]
fn a_transaction_or_script_waits_and_all_with_it() {
    for (lines, queued, reply) in [
        (&EXEC[..], "+OK +QUEUED +QUEUED +QUEUED ", "*3 :3 +OK :4 "),
        (&EVAL[..], "", "*2 +OK :4 "),
        (&BOTH[..], "+OK +QUEUED ", "*1 *2 +OK :4 "),
    ] {
        let (mut engine, effects) = nested(lines);
        let from = engine.parts.journal.end();
        let link = connect(&mut engine, &effects);
        for line in ["PING", "INCR b"] {
            let _ = send(&mut engine, other(), line);
            assert_eq!(read(&mut engine, other()), "", "{line}");
        }
        assert_eq!(read(&mut engine, conn()), queued);
        assert!(engine.deadline().is_some_and(|at| at > 0));
        let sent = read(&mut engine, link);
        assert!(sent.contains("RESTORE $1 a") && sent.contains("RESTORE $1 c"));
        let _ = receive(&mut engine, link, b"+OK\r\n+OK\r");
        assert_eq!(read(&mut engine, other()), "");
        let _ = receive(&mut engine, link, b"\n+OK\r\n");
        assert_eq!(engine.deadline(), Some(0));
        engine.parts.effects.wanted = true;
        let reads = [(other(), &b""[..])];
        let mut turn = engine.receive(&reads);
        while turn.step(NOW) {}
        drop(turn);
        let journal = journalled(&mut engine, from);
        let expected = ["MULTI", "INCR b", "DEL a c", "INCR b", "EXEC", "INCR b"];
        assert_eq!(journal, expected, "{lines:?}");
        assert_eq!(read(&mut engine, conn()), reply);
        assert_eq!(read(&mut engine, other()), "+PONG :5 ");
        assert_eq!(run(&mut engine, "EXISTS a c"), ":0");
        let info = run(&mut engine, "INFO commandstats");
        assert!(info.contains("cmdstat_migrate:calls=1,"), "{info}");
        assert!(engine.deadline().is_some_and(|at| at > 0));
    }
}

/// What goes wrong is the command's reply; what the target had acknowledged is deleted.
#[test]
fn a_transaction_or_script_hears_what_went_wrong() {
    let dead = "-IOERR error or timeout writing to target instance ";
    let cut = "-IOERR error or timeout reading to target instance ";
    for (lines, before, after) in [
        (&EXEC[..], "*3 :3 ", ":4 "),
        (&EVAL[..], "*2 ", ":4 "),
        (&BOTH[..], "*1 *2 ", ":4 "),
    ] {
        let (mut engine, effects) = nested(lines);
        let [Effect::Connect { conn: link, .. }] = effects[..] else {
            panic!("{effects:?}");
        };
        let closed = |conn| Input::Closed {
            conn,
            reason: String::new(),
        };
        engine.handle(NOW, closed(link));
        let told = read_last(&mut engine);
        assert_eq!(told, [before, dead, after].concat());
        assert_eq!(run(&mut engine, "EXISTS a c"), ":2");

        let (mut engine, effects) = nested(lines);
        let link = connect(&mut engine, &effects);
        read(&mut engine, link);
        let _ = receive(&mut engine, link, b"+OK\r\n+OK\r\n");
        engine.handle(NOW, closed(link));
        assert_eq!(read_last(&mut engine), [before, cut, after].concat());
        assert_eq!(run(&mut engine, "EXISTS a c"), ":1");

        let (mut engine, effects) = nested(lines);
        let link = connect(&mut engine, &effects);
        read(&mut engine, link);
        let late = Now {
            mono_us: NOW.mono_us + 100_000,
            unix_us: NOW.unix_us + 100_000,
        };
        assert!(engine.deadline().is_some_and(|at| at <= late.mono_us));
        engine.handle(late, Input::Tick);
        let effects: Vec<Effect> = core::iter::from_fn(|| engine.poll_effect()).collect();
        assert!(matches!(&effects[..], [Effect::Close { conn }] if *conn == link));
        assert_eq!(read_last(&mut engine), [before, cut, after].concat());
    }
}

/// The reply to the last line of [`nested`].
fn read_last(engine: &mut Engine) -> String {
    let told = read(engine, conn());
    let reply = told.rfind("+QUEUED ").map_or(0, |at| at + 8);
    told[reply..].into()
}

/// What moves nothing waits for nothing.
#[test]
fn what_is_refused_at_once_does_not_wait() {
    let (mut engine, effects) = nested(&[
        "MULTI",
        "MIGRATE h 1 nokey 0 100",
        "MIGRATE h x a 0 100",
        "MIGRATE h 1 a 0 100 WHAT",
        "MIGRATE h 1 a b 100",
        "EXEC",
    ]);
    assert_eq!(effects.len(), 0);
    assert_eq!(
        read_last(&mut engine),
        "*4 +NOKEY -IOERR error or timeout connecting to the client -ERR syntax error \
         -ERR value is not an integer or out of range "
    );
    assert_eq!(run(&mut engine, "EXISTS a"), ":1");
}

/// Two of them in one transaction, whose client does not wait for the end.
#[test]
fn what_was_begun_is_ended_without_its_client() {
    let (mut engine, effects) = nested(&[
        "MULTI",
        "MIGRATE h 1 a 0 100",
        "EVAL \"return redis.call('MIGRATE','h',1,'b',0,100)\" 0",
        "INCR c",
        "EXEC",
    ]);
    let link = connect(&mut engine, &effects);
    read(&mut engine, link);
    let closed = Input::Closed {
        conn: conn(),
        reason: String::new(),
    };
    engine.handle(NOW, closed);
    for _ in 0..2 {
        let _ = send(&mut engine, other(), "MGET a b c");
        assert_eq!(read(&mut engine, other()), "");
        let _ = receive(&mut engine, link, b"+OK\r\n+OK\r\n");
        let _ = receive(&mut engine, other(), b"");
    }
    let nil = "*3 $-1 $-1 $1 4 ";
    assert_eq!(read(&mut engine, other()), [nil, nil].concat());
    assert!(engine.parts.transfers.is_empty() && !engine.parts.is_midway());
}
