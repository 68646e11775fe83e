//! The commands on the server and on connections against answers recorded from Redis, and what no recording
//! can hold: several connections, time, the disk.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::effects::encode;
use super::testing::*;
use crate::Engine;
use crate::config::{Config, ProtectedAction};
use crate::face::{ConnId, DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, Input, Now};

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/server.txt"));
}

/// The connections that the engine closes.
fn closed(engine: &mut Engine) -> Vec<ConnId> {
    let mut closed = Vec::new();
    while let Some(effect) = engine.poll_effect() {
        if let Effect::Close { conn } = effect {
            closed.push(conn);
        }
    }
    closed
}

#[test]
fn a_pause_keeps_requests_and_their_order() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    assert_eq!(send(&mut engine, a, NOW, "CLIENT PAUSE 1000 WRITE"), "+OK");
    assert_eq!(send(&mut engine, b, NOW, "GET k"), "$-1");
    assert_eq!(send(&mut engine, b, NOW, "SET k 1"), "");
    assert_eq!(send(&mut engine, b, NOW, "GET k"), "");
    assert_eq!(wait(&mut engine, b, after_ms(999)), "");
    assert_eq!(wait(&mut engine, b, after_ms(1000)), "+OK $1 1");
    // Writes wait before they are queued, too; reads wait only for a pause of all.
    assert_eq!(send(&mut engine, a, NOW, "CLIENT PAUSE 5000 WRITE"), "+OK");
    assert_eq!(send(&mut engine, b, NOW, "MULTI"), "+OK");
    assert_eq!(send(&mut engine, b, NOW, "PING"), "+QUEUED");
    assert_eq!(send(&mut engine, b, NOW, "INCR k"), "");
    assert_eq!(send(&mut engine, b, NOW, "EXEC"), "");
    assert_eq!(send(&mut engine, a, NOW, "CLIENT UNPAUSE"), "+OK");
    assert_eq!(wait(&mut engine, b, NOW), "+QUEUED *2 +PONG :2");
    assert_eq!(send(&mut engine, a, NOW, "CLIENT PAUSE 100"), "+OK");
    assert_eq!(send(&mut engine, b, NOW, "GET k"), "");
    assert_eq!(wait(&mut engine, b, after_ms(100)), "$1 2");
}

#[test]
fn watched_keys_are_watched_across_connections() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    for (changes, reply) in [("SET k 1", "*-1"), ("SET other 1", "*1 +PONG")] {
        for command in ["WATCH k", "MULTI", "PING"] {
            send(&mut engine, a, NOW, command);
        }
        send(&mut engine, b, NOW, changes);
        assert_eq!(send(&mut engine, a, NOW, "EXEC"), reply, "{changes}");
    }
    // Another database's key of the same name is another key.
    for command in ["WATCH k", "MULTI", "PING"] {
        send(&mut engine, a, NOW, command);
    }
    send(&mut engine, b, NOW, "SELECT 1");
    send(&mut engine, b, NOW, "SET k 2");
    assert_eq!(send(&mut engine, a, NOW, "EXEC"), "*1 +PONG");
}

#[test]
fn killed_clients_are_closed_and_get_nothing_done() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    let kill = "CLIENT KILL ADDR 127.0.0.1:50002";
    let mut request = Vec::new();
    encode(
        &mut request,
        &kill.split(' ').map(str::as_bytes).collect::<Vec<_>>(),
    );
    let mut late = Vec::new();
    encode(&mut late, &[b"SET", b"k", b"late"]);
    let reads = [(a, &request[..]), (b, &late[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    assert_eq!(closed(&mut engine), [b]);
    assert_eq!(collect(&mut engine, a), ":1");
    assert_eq!(send(&mut engine, a, NOW, "GET k"), "$-1");
    // The one that kills itself gets its answer first.
    assert_eq!(
        send(&mut engine, a, NOW, "CLIENT KILL TYPE normal SKIPME no"),
        ":2"
    );
    assert!(closed(&mut engine).contains(&a));
}

#[test]
fn replies_can_be_switched_off() {
    let mut engine = engine();
    let conn = conn();
    assert_eq!(send(&mut engine, conn, NOW, "CLIENT REPLY SKIP"), "");
    assert_eq!(send(&mut engine, conn, NOW, "PING"), "");
    assert_eq!(send(&mut engine, conn, NOW, "PING"), "+PONG");
    assert_eq!(send(&mut engine, conn, NOW, "CLIENT REPLY OFF"), "");
    assert_eq!(send(&mut engine, conn, NOW, "SET k 1"), "");
    assert_eq!(send(&mut engine, conn, NOW, "CLIENT REPLY ON"), "+OK");
    assert_eq!(send(&mut engine, conn, NOW, "GET k"), "$1 1");
    // Without a word to say, a connection that quits is closed all the same.
    send(&mut engine, conn, NOW, "CLIENT REPLY OFF");
    let mut quit = Vec::new();
    encode(&mut quit, &[b"QUIT"]);
    let reads = [(conn, &quit[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    assert_eq!(closed(&mut engine), [conn]);
}

#[test]
fn passwords_are_asked_for() {
    let mut engine = engine_with(Config {
        requirepass: b"secret".to_vec(),
        ..Config::default()
    });
    let a = join(&mut engine, 1);
    let mut ask = |command: &str| send(&mut engine, a, NOW, command);
    let no_auth = "-NOAUTH Authentication required.";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(ask("GET k"), no_auth);
    // Redis 7.0 looks for the command first.
    assert!(ask("NOSUCH").starts_with("-ERR unknown command"));
    assert!(ask("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(ask("AUTH secre"), wrong);
    assert_eq!(ask("AUTH secrett"), wrong);
    assert_eq!(ask("AUTH other secret"), wrong);
    assert_eq!(ask("AUTH secret"), "+OK");
    assert_eq!(ask("GET k"), "$-1");
    assert_eq!(ask("RESET"), "+RESET");
    assert_eq!(ask("GET k"), no_auth);
    assert!(ask("HELLO 2 AUTH default secret SETNAME me").contains("redis"));
    assert_eq!(ask("CLIENT GETNAME"), "$2 me");
}

#[test]
fn nobody_gets_anything_while_all_sleep() {
    let mut engine = engine_with(Config {
        enable_debug_command: ProtectedAction::Local,
        ..Config::default()
    });
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    let mut requests = Vec::new();
    encode(&mut requests, &[b"DEBUG", b"SLEEP", b"0.5"]);
    encode(&mut requests, &[b"SET", b"k", b"1"]);
    let ping = b"PING\r\n";
    let reads = [(a, &requests[..]), (b, &ping[..])];
    let mut turn = engine.receive(&reads);
    assert!(turn.step(NOW) && !turn.step(NOW));
    assert_eq!(turn.stall(), Some(500_000));
    // It took as long as it lasted.
    assert!(turn.step(after_ms(500)));
    while turn.step(after_ms(500)) {}
    assert_eq!(turn.stall(), None);
    drop(turn);
    assert_eq!(collect(&mut engine, a), "+OK +OK");
    assert_eq!(collect(&mut engine, b), "+PONG");
    let stats = &engine.parts.stats.commands;
    assert_eq!(stats.iter().map(|s| s.micros).max(), Some(500_000));
    // Who cannot go on in the same turn does so in a later one.
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    assert_eq!(engine.deadline(), Some(0));
    assert_eq!(wait(&mut engine, b, after_ms(500)), "+PONG");
    assert_eq!(collect(&mut engine, a), "+OK +OK");
}

#[test]
fn the_configuration_file_is_replaced_whole() {
    let config = Config {
        config_file: "/etc/redis/redis.conf".into(),
        ..Config::default()
    };
    for failing in [None, Some(0), Some(1), Some(3), Some(4), Some(6)] {
        let mut engine = engine_with(config.clone());
        assert_eq!(run(&mut engine, "CONFIG SET maxclients 77"), "+OK");
        let mut request = Vec::new();
        encode(&mut request, &[b"CONFIG", b"REWRITE"]);
        let reads = [(conn(), &request[..])];
        let mut turn = engine.receive(&reads);
        while turn.step(NOW) {}
        drop(turn);
        let (mut steps, mut requests) = (0, Vec::new());
        let mut written = Vec::new();
        while let Some(effect) = engine.poll_effect() {
            let Effect::Disk { op, request } = effect else {
                continue;
            };
            let mut result = Ok(match &request {
                DiskRequest::Open { .. } => DiskReply::Opened { len: 14 },
                DiskRequest::Read { .. } => DiskReply::Data(b"# mine\nport 1\n".to_vec()),
                _ => DiskReply::Done,
            });
            if let DiskRequest::Write { data, .. } = &request {
                written = data.concat();
            }
            if failing == Some(steps) {
                result = Err(DiskError {
                    kind: DiskErrorKind::NoSpace,
                    written: 0,
                    message: "No space left on device".into(),
                });
            }
            steps += 1;
            requests.push(request);
            engine.handle(NOW, Input::Disk { op, result });
        }
        let reply = collect(&mut engine, conn());
        let renamed = DiskRequest::Rename {
            from: "/etc/redis/redis.conf.rewrite.tmp".into(),
            to: "/etc/redis/redis.conf".into(),
        };
        if failing.is_none() {
            assert_eq!(reply, "+OK");
            let text = String::from_utf8(written).unwrap();
            assert!(text.starts_with("# mine\nport 6379\n"), "{text}");
            assert!(text.contains("\nmaxclients 77\n"), "{text}");
            let synced = requests
                .iter()
                .position(|r| matches!(r, DiskRequest::Sync { .. }));
            assert!(synced < requests.iter().position(|r| *r == renamed));
            let dir = DiskRequest::SyncDir {
                path: "/etc/redis".into(),
            };
            assert_eq!(requests.last(), Some(&dir));
        } else {
            assert_eq!(
                reply, "-ERR Rewriting config file: No space left on device",
                "{failing:?}"
            );
            assert!(!requests.contains(&renamed), "{failing:?}");
        }
        assert_eq!(run(&mut engine, "PING"), "+PONG");
    }
}

#[test]
fn refused_connections_are_told_why_and_closed() {
    let mut engine = engine_with(Config {
        maxclients: 1,
        ..Config::default()
    });
    let conn = join(&mut engine, 1);
    assert_eq!(
        collect(&mut engine, conn),
        "-ERR max number of clients reached"
    );
    assert_eq!(closed(&mut engine), [conn]);
    assert!(run(&mut engine, "INFO stats").contains("rejected_connections:1"));
}

/// KB-107: by those who may speak, too.
#[test]
fn endless_requests_and_browsers_are_cut_off() {
    let mut engine = engine_with(Config {
        client_query_buffer_limit: 1 << 20,
        ..Config::default()
    });
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    let start = b"*2\r\n$4\r\nECHO\r\n$9000000\r\n".to_vec();
    let more = [b'x'; 300_000];
    let mut pieces: Vec<&[u8]> = Vec::from([&start[..]]);
    pieces.extend([&more[..]; 4]);
    for piece in pieces {
        assert!(closed(&mut engine).is_empty());
        drop(engine.receive(&[(a, piece)]));
    }
    assert_eq!(closed(&mut engine), [a]);
    let reads = [(b, &b"POST / HTTP/1.1\r\nHost: here\r\nSET k 1\r\n"[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    assert_eq!(closed(&mut engine), [b]);
    assert_eq!(run(&mut engine, "GET k"), "$-1");
}

#[test]
fn the_time_that_commands_take_is_theirs() {
    let mut engine = engine();
    let mut two = Vec::new();
    encode(&mut two, &[b"SET", b"k", b"1"]);
    encode(&mut two, &[b"GET", b"k"]);
    let reads = [(conn(), &two[..])];
    let mut turn = engine.receive(&reads);
    let mut now = NOW;
    while turn.step(now) {
        now.mono_us += 7;
    }
    drop(turn);
    let info = collect(&mut engine, conn());
    assert_eq!(info, "+OK $1 1");
    let info = run(&mut engine, "INFO commandstats");
    for name in ["set", "get"] {
        let line = alloc::format!("cmdstat_{name}:calls=1,usec=7,usec_per_call=7.00");
        assert!(info.contains(&line), "{info}");
    }
}

#[test]
fn a_snapshot_that_is_scheduled_can_be_called_off() {
    let engine = &mut engine();
    let nothing = "-ERR Background saving is currently not in progress or scheduled";
    assert_eq!(run(engine, "BGSAVE CANCEL"), nothing);
    for command in ["MULTI", "BGSAVE", "BGSAVE CANCEL"] {
        run(engine, command);
    }
    assert_eq!(
        run(engine, "EXEC"),
        "*2 +Background saving scheduled +Scheduled background saving cancelled"
    );
    let info = run(engine, "INFO persistence");
    assert!(info.contains("rdb_saves:0") && info.contains("rdb_last_bgsave_status:ok"));
}

#[test]
fn waitaof_counts_disks() {
    let mut engine = engine();
    let off = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    let range = "-ERR value is out of range, value must between 0 and 1";
    let positive = "-ERR value is out of range, must be positive";
    for (command, reply) in [
        ("WAITAOF 0 0 0", "*2 :0 :0"),
        ("WAITAOF 1 0 0", off),
        ("WAITAOF 2 0 0", range),
        (
            "WAITAOF a 0 0",
            "-ERR value is not an integer or out of range",
        ),
        ("WAITAOF 0 -1 0", positive),
        ("WAITAOF 0 a 0", positive),
        ("WAITAOF 0 0 -1", "-ERR timeout is negative"),
    ] {
        assert_eq!(run(&mut engine, command), reply, "{command}");
    }
    let mut engine = engine_with(Config {
        appendonly: true,
        ..Config::default()
    });
    run(&mut engine, "SET a 1");
    // By everysec it is on the disk a second later at the latest.
    assert_eq!(run(&mut engine, "WAITAOF 1 0 0"), "");
    for ms in (100..=2000).step_by(100) {
        run_at(&mut engine, after_ms(ms), "");
    }
    let reply = run_at(&mut engine, after_ms(2100), "WAITAOF 1 0 0");
    assert!(reply.ends_with("*2 :1 :0"), "{reply}");
    let late = run_at(&mut engine, after_ms(2100), "WAITAOF 1 1 100");
    assert_eq!(late, "");
}

#[test]
fn waitaof_for_our_own_disk_fails_when_the_log_is_turned_off() {
    let mut engine = engine_with(Config {
        appendonly: true,
        ..Config::default()
    });
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    send(&mut engine, a, NOW, "SET a 1");
    assert_eq!(send(&mut engine, a, NOW, "WAITAOF 1 0 0"), "");
    send(&mut engine, b, NOW, "CONFIG SET appendonly no");
    assert_eq!(
        wait(&mut engine, a, NOW),
        "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    );
    assert_eq!(send(&mut engine, a, NOW, "GET a"), "$1 1");
}

#[test]
fn waits_past_all_time_are_refused() {
    let mut engine = engine();
    for command in ["WAIT 2", "WAITAOF 0 2"] {
        assert_eq!(
            run(&mut engine, &format!("{command} {}", i64::MAX)),
            "-ERR timeout is out of range",
            "{command}"
        );
    }
}

#[test]
fn scripts_can_be_shown() {
    let mut engine = engine();
    let sha = run(&mut engine, "SCRIPT LOAD 'return 1'");
    let sha = &sha[sha.len() - 40..];
    assert_eq!(
        run(&mut engine, &alloc::format!("SCRIPT SHOW {sha}")),
        "$8 return 1"
    );
    assert_eq!(
        run(&mut engine, "SCRIPT SHOW abc"),
        "-NOSCRIPT No matching script."
    );
}

#[test]
fn in_import_mode_keys_expire_elsewhere() {
    let mut engine = engine();
    let refused = "-ERR Server is not in import mode";
    assert_eq!(run(&mut engine, "CLIENT IMPORT-SOURCE ON"), refused);
    run(&mut engine, "CONFIG SET import-mode yes");
    assert_eq!(
        run(&mut engine, "CLIENT IMPORT-SOURCE maybe"),
        "-ERR syntax error"
    );
    run(&mut engine, "SET a 1 PX 10");
    let mut at = |command| run_at(&mut engine, after_ms(1000), command);
    assert_eq!((at("GET a"), at("DBSIZE")), ("$-1".into(), ":1".into()));
    assert_eq!(at("CLIENT IMPORT-SOURCE ON"), "+OK");
    assert!(at("CLIENT INFO").contains(" flags=I "));
    assert_eq!(at("GET a"), "$1 1");
    // What is over already is taken all the same: it may be moved yet.
    assert_eq!(at("SET b 2"), "+OK");
    assert_eq!(at("PEXPIREAT b 1"), ":1");
    assert_eq!((at("GET b"), at("DBSIZE")), ("$1 2".into(), ":2".into()));
    at("CONFIG SET import-mode no");
    assert_eq!((at("GET a"), at("GET b")), ("$-1".into(), "$-1".into()));
    assert_eq!(at("DBSIZE"), ":0");
}

/// As in Redis 7.0.15: the longer time and the stricter mode count; after the end neither does.
#[test]
fn a_pause_is_not_shortened_by_another() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    let pause = |engine: &mut Engine, line: &str, at: Now| {
        assert_eq!(send(engine, a, at, line), "+OK", "{line}");
    };
    pause(&mut engine, "CLIENT PAUSE 1000 WRITE", NOW);
    pause(&mut engine, "CLIENT PAUSE 10 WRITE", NOW);
    assert_eq!(send(&mut engine, b, after_ms(500), "SET k 1"), "");
    assert_eq!(wait(&mut engine, b, after_ms(999)), "");
    assert_eq!(wait(&mut engine, b, after_ms(1001)), "+OK");
    pause(&mut engine, "CLIENT PAUSE 10 ALL", after_ms(1100));
    assert_eq!(wait(&mut engine, b, after_ms(1200)), "");
    pause(&mut engine, "CLIENT PAUSE 1000 WRITE", after_ms(1200));
    assert_eq!(send(&mut engine, b, after_ms(1300), "GET k"), "$1 1");
    pause(&mut engine, "CLIENT PAUSE 1000 ALL", after_ms(1300));
    assert_eq!(send(&mut engine, b, after_ms(1400), "GET k"), "");
}
