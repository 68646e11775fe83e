//! MIGRATE between servers of both kinds, under writes, and as redis-cli moves slots by it.

use reprise_tests::cluster::Cluster;
use reprise_tests::content::{content, fill};
use reprise_tests::server::Launch;
use reprise_tests::{Conn, Server, Value, oracle, subject};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn migrate(from: &Server, to: &Server, rest: &str) -> Value {
    from.run(&format!("MIGRATE 127.0.0.1 {} {rest}", to.port()))
}

/// What the first database holds; of times, only whether there is one: they travel as what is left.
fn held(conn: &mut Conn) -> Vec<(Vec<u8>, String, Value, bool)> {
    let held = content(conn).into_iter().filter(|((db, _), _)| *db == 0);
    held.map(|((_, key), (kind, value, at))| (key, kind, value, at > 0))
        .collect()
}

/// KB-99: everything is sent from one server to the other, and is the same there; what is there already is replaced if
/// that is said, and otherwise stays, as what was to be sent does. What goes wrong is said in Redis's words.
fn moves_everything(from: Launch, to: Launch) {
    let (from, to) = (from.start(), to.set("requirepass", "pw").start());
    let (mut source, mut target) = (from.conn(), to.conn());
    assert!(target.run("AUTH pw").is_ok());
    fill(&mut source, 1);
    source.run("SET timed v PX 1000000");
    let before = held(&mut source);
    let keys = source.run("KEYS *").items();
    assert!(keys.len() > 10);
    let port = to.port().to_string();
    let words = [
        "MIGRATE",
        "127.0.0.1",
        &port,
        "",
        "0",
        "9000",
        "AUTH",
        "pw",
        "KEYS",
        "gone",
    ];
    let words = words.map(str::as_bytes).into_iter();
    let words: Vec<&[u8]> = words.chain(keys.iter().map(Value::bytes)).collect();
    let sent = source.cmd(&words);
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!(source.run("DBSIZE"), Value::Int(0));
    assert!(held(&mut target) == before, "something else came over");
    assert!(target.run("PTTL timed").int() > Some(900_000));

    source.run("SET timed w");
    let busy = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(
        migrate(&from, &to, "timed 0 9000 AUTH2 default pw"),
        Value::error(busy)
    );
    assert!(migrate(&from, &to, "timed 0 9000 COPY REPLACE AUTH pw").is_ok());
    assert_eq!(target.run("GET timed"), Value::bulk("w"));
    assert_eq!(source.run("GET timed"), Value::bulk("w"));
    let range = "ERR Target instance replied with error: ERR DB index is out of range";
    assert_eq!(
        migrate(&from, &to, "timed 99 9000 REPLACE AUTH pw"),
        Value::error(range)
    );
    assert_eq!(source.run("GET timed"), Value::bulk("w"));
    let wrong = "ERR Target instance replied with error: WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(
        migrate(&from, &to, "timed 0 9000 AUTH no"),
        Value::error(wrong)
    );
    assert_eq!(migrate(&from, &to, "gone 0 9000"), Value::simple("NOKEY"));
    assert_eq!(
        migrate(&from, &to, "timed 0 9000 KEYS other"),
        Value::error(
            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
        )
    );
    assert_eq!(
        migrate(&from, &to, "timed 0 9000 AUTH"),
        Value::error("ERR syntax error")
    );
}

#[test]
fn keys_go_to_a_redis_and_come_from_one() {
    let (Some(there), Some(here)) = (oracle(), oracle()) else {
        return;
    };
    moves_everything(subject(), there);
    moves_everything(here, subject());
}

/// In transactions and scripts it is a command like any other, and what comes behind it waits: replies, keys, and what
/// replicas and files get are the same in both servers.
fn moves_midway(from: Launch, to: Launch) -> Vec<Value> {
    let (from, to) = (from.set("appendonly", "yes").start(), to.start());
    let (mut source, mut target) = (from.conn(), to.conn());
    source.run("MSET a 1 b 2 c 3 d 4 e 5");
    target.run("SET e 6");
    let migrate = |port: u16, rest: &str| format!("MIGRATE 127.0.0.1 {port} {rest}");
    let there = |rest: &str| migrate(to.port(), rest);
    // (Nobody listens at the port of the last one.)
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = nowhere.local_addr().expect("an address").port();
    drop(nowhere);
    let call = |function: &str, command: &str| {
        let words = command.replace(' ', "\",\"");
        let call = format!("redis.call('incr','n'); return redis.{function}(\"{words}\")");
        vec!["EVAL".to_owned(), call, "0".to_owned()]
    };
    let mut told = Vec::new();
    for commands in [
        vec![there("a 0 9000"), "EXISTS a".into(), "INCR b".into()],
        vec![
            there("nokey 0 9000"),
            there("b 0 9000 COPY"),
            there("b 0 9000"),
        ],
        vec![
            there("b 0 9000 REPLACE"),
            migrate(dead, "c 0 9000"),
            "SET f 1".into(),
        ],
    ] {
        told.push(source.run("MULTI"));
        told.extend(commands.iter().map(|command| source.run(command)));
        told.push(source.run("EXEC"));
    }
    for (function, command) in [
        ("call", there("c 0 9000")),
        ("pcall", there("e 0 9000")),
        ("call", there("e 0 9000")),
        ("pcall", migrate(dead, "e 0 9000")),
        ("call", there("e 0 9000 REPLACE")),
    ] {
        let words = call(function, &command);
        let reply = source.cmd(&words);
        told.push(match &reply {
            // (The script's name is in it, and so the port.)
            Value::Error(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                Value::error(text.split(" script: ").next().unwrap_or_default())
            }
            _ => reply,
        });
    }
    told.extend([
        source.run("KEYS *"),
        target.run("DBSIZE"),
        target.run("GET e"),
    ]);
    told.push(source.run("DEBUG LOADAOF"));
    told.push(source.run("MGET a b c d e f n"));
    told
}

#[test]
fn keys_move_within_transactions_and_scripts() {
    let (Some(there), Some(here), Some(as_here)) = (oracle(), oracle(), oracle()) else {
        return;
    };
    let sorted = |mut told: Vec<Value>| {
        for value in &mut told {
            if let Value::Array(items) = value
                && items.iter().any(|item| *item == Value::bulk("d"))
            {
                items.sort();
            }
        }
        told
    };
    let ours = sorted(moves_midway(subject(), there));
    let theirs = sorted(moves_midway(here, as_here));
    for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "reply {at}");
    }
}

/// A target that never answers: who would write the key waits, everybody else does not, and the key stays.
#[test]
fn a_silent_target_keeps_only_the_writers_of_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = subject().start();
    let (mut mover, mut writer, mut other) = (server.conn(), server.conn(), server.conn());
    other.run("SET key 1");
    mover.send(&["MIGRATE", "127.0.0.1", &port.to_string(), "key", "0", "700"]);
    // It is under way as soon as it has connected.
    let (silent, _) = listener.accept().expect("a connection");
    writer.send(&["INCR", "key"]);
    assert_eq!(other.run("GET key"), Value::bulk("1"));
    assert!(other.run("SET another 1").is_ok());
    if !reprise_tests::server::subject_is_oracle() {
        assert_eq!(writer.try_reply(Duration::from_millis(100)), Ok(None));
    }
    let late = "IOERR error or timeout reading to target instance";
    assert_eq!(mover.reply(), Value::error(late));
    assert_eq!(writer.reply(), Value::Int(2));
    drop(silent);
}

/// Hash tags of the slots 0 to 19, which are the first node's.
const TAGS: [&str; 20] = [
    "afps", "bgdh", "ahwf", "baje", "abeq", "bcqj", "albd", "eajl", "bdbv", "aevm", "bjec", "akqx",
    "bqud", "aaco", "bfyy", "agmb", "agbc", "bfvx", "aaln", "bhqm",
];

/// Slots move to and fro by redis-cli while a client counts: no count is lost.
#[test]
fn slots_move_with_their_keys_under_load() {
    let Some(oracle) = oracle() else { return };
    let cluster = Cluster::create(vec![subject(), subject(), oracle], 0);
    let ids: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| node.run("CLUSTER MYID").text())
        .collect();
    let mut client = cluster.client();
    let names: Vec<String> = (0..100)
        .map(|n| format!("{{{}}}:{n}", TAGS[n % TAGS.len()]))
        .collect();
    for name in &names {
        assert_eq!(client.cmd(&["INCR", name]), Value::Int(1));
    }
    let moving = AtomicBool::new(true);
    let rounds = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut round = 1;
            while moving.load(Ordering::Relaxed) {
                round += 1;
                for name in &names {
                    assert_eq!(client.cmd(&["INCR", name]), Value::Int(round), "{name}");
                }
            }
            round
        });
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let report = cluster.cli(&format!(
                "reshard HERE --cluster-from {} --cluster-to {} --cluster-slots 20 --cluster-yes",
                ids[from], ids[to]
            ));
            assert!(!report.contains("ERR"), "{report}");
        }
        moving.store(false, Ordering::Relaxed);
        counting.join().expect("every count is the next")
    });
    assert!(rounds > 1);
    let report = cluster.cli("check HERE");
    assert!(report.contains("[OK] All 16384 slots covered"), "{report}");
}
