//! MIGRATE in an engine whose target is played by the test.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Engine;
use crate::command::effects::encode;
use crate::command::testing::{NOW, conn, engine, journalled, run, run_and_journal};
use crate::face::{Address, ConnId, Effect, Input, Listener, Now};

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
    let [
        Effect::Connect {
            conn: link,
            host,
            port: 7000,
            tls: false,
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!(host, "10.0.0.1");
    let connected = Input::Connected {
        conn: *link,
        local: ip(),
        peer: ip(),
    };
    engine.handle(NOW, connected);
    while engine.poll_effect().is_some() {}
    (engine, *link)
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
