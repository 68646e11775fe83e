//! What survives: orderly ends, crashes of the process, broken files; and the commands that write files.

use reprise_tests::files::{
    aof_files, copy, count, filled, held, settle, with_aof, write_until, written,
};
use reprise_tests::resp::command;
use reprise_tests::server::Launch;
use reprise_tests::wait::{SOON, pass, until};
use reprise_tests::{Conn, Server, Value, oracle, subject};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn a_saved_snapshot_is_loaded() {
    let mut server = filled(subject());
    let before = held(&server);
    assert!(before.len() > 400);
    assert!(server.run("SAVE").is_ok());
    server.ok("SET unsaved 1");
    server.kill();
    server.restart();
    assert_eq!(held(&server), before);
}

#[test]
fn a_background_snapshot_is_of_the_moment_it_began() {
    let mut server = filled(subject());
    let mut conn = server.conn();
    let before = held(&server);
    assert_eq!(
        conn.run("BGSAVE"),
        Value::simple("Background saving started")
    );
    for n in 0..1_000 {
        conn.send(&["SET", &format!("string:{}", n % 200), "changed"]);
        conn.send(&["DEL", &format!("number:{}", n % 200)]);
        conn.send(&[
            "HSET",
            "large hash",
            &format!("field {}", n % 600),
            "changed",
        ]);
        conn.send(&["SET", &format!("new:{n}"), "1"]);
    }
    for _ in 0..4_000 {
        assert!(!conn.reply().is_error());
    }
    settle(&mut conn);
    assert_eq!(conn.info("persistence", "rdb_last_bgsave_status"), "ok");
    server.kill();
    server.restart();
    assert_eq!(held(&server), before);
}

#[test]
fn orderly_ends_save_as_they_are_told() {
    // With save points SIGTERM and SHUTDOWN save; NOSAVE does not; without save points SAVE does.
    let saves: [(&str, &str, bool); 5] = [
        ("3600 1", "TERM", true),
        ("3600 1", "SHUTDOWN", true),
        ("3600 1", "SHUTDOWN NOSAVE", false),
        ("\"\"", "TERM", false),
        ("\"\"", "SHUTDOWN SAVE", true),
    ];
    for (points, how, survives) in saves {
        let mut server = subject().set("save", points).start();
        server.ok("SET key value");
        let status = if how == "TERM" {
            server.terminate()
        } else {
            server.conn().send(&how.split(' ').collect::<Vec<_>>());
            server.wait_exit()
        };
        assert!(status.success(), "{how}: {status}");
        server.restart();
        assert_eq!(
            server.run("EXISTS key"),
            Value::Int(survives.into()),
            "save {points}, {how}"
        );
    }
}

#[test]
fn save_points_start_a_snapshot_by_themselves() {
    let server = subject().set("save", "1 10").start();
    for n in 0..10 {
        server.ok(&format!("SET key:{n} 1"));
    }
    until(SOON, "a snapshot without being asked", || {
        server.path("dump.rdb").exists()
    });
    settle(&mut server.conn());
    assert_eq!(
        server
            .conn()
            .info("persistence", "rdb_changes_since_last_save"),
        "0"
    );
}

#[test]
fn with_fsync_always_no_acknowledged_write_is_lost_by_a_crash() {
    let mut server = with_aof("always").start();
    for round in 0..3 {
        server.ok("FLUSHALL");
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let conn = server.conn();
        thread::scope(|threads| {
            threads.spawn(|| write_until(&stop, &acknowledged, conn));
            until(SOON, "some writes", || {
                acknowledged.load(Ordering::Acquire) > 50 + 70 * round
            });
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        server.restart();
        let (kept, promised) = (
            written(&mut server.conn()),
            acknowledged.load(Ordering::Acquire),
        );
        // One more may have been written whose answer did not come.
        assert!(
            kept == promised || kept == promised + 1,
            "{promised} acknowledged, {kept} kept"
        );
    }
}

#[test]
fn with_fsync_everysec_a_crash_takes_at_most_the_last_two_seconds() {
    for policy in ["everysec", "no"] {
        let mut server = with_aof(policy).start();
        let mut conn = server.conn();
        for n in 0..1_000 {
            conn.ok(&format!("SET n:{n} 1"));
        }
        // The promise is about time: what is older than two seconds is safe.
        pass(Duration::from_millis(2_500));
        for n in 1_000..2_000 {
            conn.ok(&format!("SET n:{n} 1"));
        }
        server.kill();
        server.restart();
        let kept = written(&mut server.conn());
        assert!((1_000..=2_000).contains(&kept), "{policy}: {kept} kept");
    }
}

#[test]
fn all_kinds_of_changes_come_back_from_the_append_only_file() {
    let mut server = filled(with_aof("everysec"));
    let mut conn = server.conn();
    for line in [
        "INCRBYFLOAT float 0.1",
        "INCRBYFLOAT float 0.2",
        "HSET hash f 1 g 2",
        "HINCRBYFLOAT hash g 1.5",
        "SET expiring v EX 100000",
        "EXPIRE string:1 200000",
        "PERSIST string:1",
        "GETEX string:2 PX 300000000",
        "RENAME string:3 renamed",
        "COPY string:4 copied DB 1",
        "MOVE string:5 1",
        "APPEND string:6 more",
        "SETRANGE string:7 3 over",
        "GETDEL string:8",
        "UNLINK string:9",
        "SWAPDB 1 2",
        "HDEL hash f",
        "MSETNX fresh:1 a fresh:2 b",
    ] {
        conn.ok(line);
    }
    assert!(conn.run("MULTI").is_ok());
    conn.run("INCR in-multi");
    conn.run("INCR in-multi");
    assert_eq!(
        conn.run("EXEC"),
        Value::Array(vec![Value::Int(1), Value::Int(2)])
    );
    let before = held(&server);
    server.terminate();
    server.restart();
    assert_eq!(held(&server), before);
}

#[test]
fn a_rewrite_under_load_loses_nothing() {
    let mut server = filled(with_aof("everysec"));
    let mut conn = server.conn();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = server.conn();
    thread::scope(|threads| {
        threads.spawn(|| write_until(&stop, &acknowledged, writer));
        for round in 1..=3 {
            let reply = conn.run("BGREWRITEAOF").text();
            assert!(
                reply.starts_with("Background append only file rewriting"),
                "{reply}"
            );
            settle(&mut conn);
            until(SOON, "writes after the rewrite", || {
                acknowledged.load(Ordering::Acquire) > 100 * round
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(conn.info("persistence", "aof_last_bgrewrite_status"), "ok");
    let before = held(&server);
    server.terminate();
    server.restart();
    assert_eq!(held(&server), before);
    let files = aof_files(&server.path("appendonlydir"));
    assert!(files.len() <= 3, "old files were left: {files:?}");
}

#[test]
fn the_append_only_file_can_be_switched_on_while_running() {
    let mut server = filled(subject());
    let mut conn = server.conn();
    conn.ok("CONFIG SET appendonly yes");
    settle(&mut conn);
    conn.ok("SET after 1");
    let before = held(&server);
    let conf = fs::read_to_string(server.path("server.conf")).unwrap();
    fs::write(server.path("server.conf"), conf + "appendonly yes\n").unwrap();
    server.terminate();
    server.restart();
    assert_eq!(held(&server), before);
}

fn increment(server: &Server) -> PathBuf {
    let files = aof_files(&server.path("appendonlydir"));
    files
        .into_iter()
        .rfind(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .expect("an increment")
}

#[test]
fn a_torn_tail_is_cut_off_and_said_so() {
    let mut server = with_aof("always").start();
    for n in 0..100 {
        server.ok(&format!("SET n:{n} 1"));
    }
    server.kill();
    let file = increment(&server);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    server.restart();
    assert_eq!(written(&mut server.conn()), 99);
    assert!(
        server.log().contains("Truncating the AOF"),
        "{}",
        server.log()
    );
    // The file is whole again: what is written now follows what is left.
    server.ok("SET n:99 1");
    server.kill();
    server.restart();
    assert_eq!(written(&mut server.conn()), 100);
}

#[test]
fn a_torn_tail_is_refused_where_that_is_asked_for() {
    let mut server = with_aof("always").set("aof-load-truncated", "no").start();
    server.ok("SET key value");
    server.kill();
    let file = increment(&server);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let log = server.restart_fails();
    assert!(
        log.contains("Unexpected end of file reading the append only file"),
        "{log}"
    );
}

#[test]
fn an_unfinished_transaction_is_not_replayed() {
    let mut server = with_aof("always").start();
    server.ok("SET before 1");
    let mut conn = server.conn();
    conn.ok("MULTI");
    conn.ok("SET a 1");
    conn.ok("SET b 1");
    conn.ok("EXEC");
    server.kill();
    let file = increment(&server);
    let bytes = fs::read(&file).unwrap();
    let exec = b"*1\r\n$4\r\nEXEC\r\n";
    assert!(
        bytes.to_ascii_uppercase().ends_with(exec),
        "the transaction is journalled as one"
    );
    fs::write(&file, &bytes[..bytes.len() - exec.len()]).unwrap();
    server.restart();
    assert_eq!(server.run("EXISTS before a b"), Value::Int(1));
}

#[test]
fn damage_in_the_middle_is_refused() {
    let mut server = with_aof("always").start();
    for n in 0..100 {
        server.ok(&format!("SET n:{n} 1"));
    }
    server.kill();
    let file = increment(&server);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].copy_from_slice(b"\0\0\0\0\0\0\0\0");
    fs::write(&file, bytes).unwrap();
    let log = server.restart_fails();
    assert!(
        log.contains("Bad file format reading the append only file"),
        "{log}"
    );
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut server = filled(subject());
    server.ok("SAVE");
    server.kill();
    let file = server.path("dump.rdb");
    let sound = fs::read(&file).unwrap();
    // One bit in the middle; half the file; another format's name.
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    for broken in [
        flipped,
        sound[..sound.len() / 2].to_vec(),
        b"NOTREDIS0".to_vec(),
    ] {
        fs::write(&file, broken).unwrap();
        server.restart_fails();
    }
    fs::write(&file, sound).unwrap();
    server.restart();
}

#[test]
fn expiry_is_a_moment_not_a_duration() {
    let mut server = with_aof("always").start();
    server.ok("SET brief v PX 300");
    server.ok("SET long v EX 100000");
    let due = server.run("PEXPIRETIME long");
    server.kill();
    // It expires while nobody runs.
    pass(Duration::from_millis(350));
    server.restart();
    assert_eq!(server.run("EXISTS brief"), Value::Int(0));
    assert_eq!(server.run("PEXPIRETIME long"), due);
}

#[test]
fn what_expired_leaves_memory_without_being_asked_for() {
    let server = subject().start();
    let mut conn = server.conn();
    for n in 0..1_000 {
        conn.send(&["SET", &format!("brief:{n}"), "v", "PX", "50"]);
    }
    (0..1_000).for_each(|_| assert!(conn.reply().is_ok()));
    conn.ok("SET lasting v");
    until(SOON, "they are gone", || {
        conn.run("DBSIZE") == Value::Int(1)
    });
    assert_eq!(conn.info("stats", "expired_keys"), "1000");
}

#[test]
fn debug_reload_brings_back_the_same() {
    let server = filled(with_aof("always"));
    let before = held(&server);
    server.ok("DEBUG RELOAD");
    assert_eq!(held(&server), before);
    assert!(server.log().contains("DB reloaded by DEBUG RELOAD"));
    server.ok("DEBUG LOADAOF");
    assert_eq!(held(&server), before);
    server.ok("BGREWRITEAOF");
    server.ok("SET in-the-increment 1");
    server.ok("DEBUG LOADAOF");
    settle(&mut server.conn());
    assert_eq!(server.run("DBSIZE").int(), Some(count(&before) + 1));
    assert!(
        server
            .log()
            .contains("Append Only File loaded by DEBUG LOADAOF")
    );
}

#[test]
fn debug_reload_takes_its_options() {
    let server = subject().start();
    let mut conn = server.conn();
    conn.ok("SET a saved");
    conn.ok("SET b saved");
    conn.ok("SAVE");
    conn.ok("SET a later");
    conn.ok("SET c later");
    conn.ok("DEBUG RELOAD NOSAVE NOFLUSH MERGE");
    let all = |conn: &mut Conn| conn.run("MGET a b c");
    let values = |values: [&str; 3]| Value::Array(values.map(Value::bulk).to_vec());
    assert_eq!(all(&mut conn), values(["saved", "saved", "later"]));
    conn.ok("SET a later");
    conn.ok("DEBUG RELOAD NOSAVE");
    assert_eq!(conn.run("DBSIZE"), Value::Int(2));
    conn.ok("SET c later");
    conn.ok("DEBUG RELOAD");
    assert_eq!(all(&mut conn), values(["saved", "saved", "later"]));
    let replies = in_one_go(&mut conn, &["DEBUG RELOAD", "GET c"]);
    assert_eq!(replies[1], Value::bulk("later"), "what follows waits");
    fs::remove_file(server.path("dump.rdb")).expect("a snapshot");
    assert_eq!(
        conn.run("DEBUG RELOAD NOSAVE"),
        Value::error("ERR Error trying to load the RDB dump")
    );
}

const LIBRARY: &str =
    "#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n";

#[test]
fn functions_are_kept() {
    let (Some(one), Some(two)) = (oracle(), oracle()) else {
        return;
    };
    let mut one = one.start();
    let mut conn = one.conn();
    conn.ok("SET key value");
    assert!(!conn.cmd(&["FUNCTION", "LOAD", LIBRARY]).is_error());
    conn.ok("SAVE");
    one.terminate();
    let bring = |from: &Server, to: Launch| {
        to.start_with(|dir| copy(&from.path("dump.rdb"), &dir.join("dump.rdb")))
    };
    let mut between = bring(&one, subject());
    between.ok("FLUSHALL");
    between.ok("CONFIG SET appendonly yes");
    settle(&mut between.conn());
    between.ok("DEBUG LOADAOF");
    between.ok("SAVE");
    between.terminate();
    let two = bring(&between, two);
    assert_eq!(two.run("FCALL answer 0"), Value::Int(42));
    assert_eq!(two.run("DBSIZE"), Value::Int(0));
}

/// Sends these commands at once, so that nothing comes between them, and gives the replies.
fn in_one_go(conn: &mut Conn, lines: &[&str]) -> Vec<Value> {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let request: Vec<u8> = words.flat_map(|words| command(&words)).collect();
    conn.send_raw(&request);
    lines.iter().map(|_| conn.reply()).collect()
}

#[test]
fn a_snapshot_can_be_called_off() {
    let server = filled(with_aof("everysec"));
    let mut conn = server.conn();
    if conn.info("server", "reprise_version").is_empty() {
        return; // Redis 7.0 cannot.
    }
    let replies = in_one_go(
        &mut conn,
        &[
            "BGSAVE",
            "INFO persistence",
            "BGSAVE CANCEL",
            "BGSAVE CANCEL",
        ],
    );
    assert_eq!(replies[0], Value::simple("Background saving started"));
    assert_eq!(replies[2], Value::simple("Background saving cancelled"));
    let nothing = "ERR Background saving is currently not in progress or scheduled";
    assert_eq!(replies[3], Value::error(nothing));
    settle(&mut conn);
    assert_eq!(conn.info("persistence", "rdb_saves"), "0");
    assert_eq!(conn.info("persistence", "rdb_last_bgsave_status"), "ok");
    conn.run("BGSAVE");
    settle(&mut conn);
    assert_eq!(conn.info("persistence", "rdb_saves"), "1");
}

#[test]
fn snapshots_and_rewrites_wait_for_each_other() {
    let server = filled(with_aof("everysec"));
    let mut conn = server.conn();
    let scheduled = |info: &Value, n: u32| {
        let info = info.text();
        assert!(info.contains(&format!("aof_rewrite_scheduled:{n}\r\n")));
    };

    let replies = in_one_go(
        &mut conn,
        &[
            "BGSAVE",
            "BGSAVE",
            "SAVE",
            "BGREWRITEAOF",
            "INFO persistence",
        ],
    );
    assert_eq!(replies[0], Value::simple("Background saving started"));
    let under_way = Value::error("ERR Background save already in progress");
    assert_eq!(replies[1..3], [under_way.clone(), under_way]);
    let later = Value::simple("Background append only file rewriting scheduled");
    assert_eq!(replies[3], later);
    scheduled(&replies[4], 1);
    settle(&mut conn);
    assert_eq!(conn.info("persistence", "aof_rewrites"), "1");

    let replies = in_one_go(
        &mut conn,
        &["BGREWRITEAOF", "BGREWRITEAOF", "BGSAVE", "BGSAVE SCHEDULE"],
    );
    assert_eq!(
        replies,
        [
            Value::simple("Background append only file rewriting started"),
            Value::error("ERR Background append only file rewriting already in progress"),
            Value::error(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
                 order to schedule a BGSAVE whenever possible."
            ),
            Value::simple("Background saving scheduled"),
        ]
    );
    settle(&mut conn);
    until(SOON, "the scheduled snapshot is made", || {
        conn.info("persistence", "rdb_saves") == "2"
    });
    settle(&mut conn);

    // In a transaction both are for later.
    conn.ok("MULTI");
    conn.ok("BGSAVE");
    conn.ok("BGREWRITEAOF");
    assert_eq!(
        conn.run("EXEC"),
        Value::Array(vec![Value::simple("Background saving scheduled"), later])
    );
    until(SOON, "both are made", || {
        conn.info("persistence", "rdb_saves") == "3"
            && conn.info("persistence", "aof_rewrites") == "3"
    });
}

#[test]
fn a_rewrite_that_is_asked_for_during_save_begins_when_that_is_over() {
    let server = subject().start();
    let (mut saver, mut other) = (server.conn(), server.conn());
    other.ok("DEBUG POPULATE 300000 key 100");
    saver.send_raw(&command(&["SAVE"]));
    other.run("PING");
    // (Not "scheduled", and it is seen to be under way: Redis carries nothing out during SAVE.)
    assert_eq!(
        other.run("BGREWRITEAOF"),
        Value::simple("Background append only file rewriting started")
    );
    assert_eq!(saver.reply(), Value::simple("OK"));
    until(SOON, "it is made", || {
        other.info("persistence", "aof_rewrites") == "1"
    });
}

#[test]
fn flushall_ends_a_snapshot_and_saves_that_there_is_nothing() {
    let mut server = filled(subject().set("save", "3600 1"));
    let mut conn = server.conn();
    conn.ok("SAVE");
    conn.ok("DEBUG POPULATE 100000 key 100");
    let replies = in_one_go(&mut conn, &["BGSAVE", "FLUSHALL"]);
    assert!(replies.iter().all(|reply| !reply.is_error()));
    settle(&mut conn);
    until(SOON, "the log says so", || {
        server
            .log()
            .contains("Background saving terminated by signal 10")
    });
    assert_eq!(conn.info("persistence", "rdb_last_bgsave_status"), "ok");
    until(SOON, "an empty snapshot is in place", || {
        fs::metadata(server.path("dump.rdb")).is_ok_and(|file| file.len() < 300)
    });
    server.kill();
    server.restart();
    assert_eq!(server.run("DBSIZE"), Value::Int(0));

    // Without save points the file is left alone.
    let mut server = filled(subject());
    let mut conn = server.conn();
    let before = held(&server);
    conn.ok("SAVE");
    in_one_go(&mut conn, &["BGSAVE", "FLUSHALL"]);
    settle(&mut conn);
    server.kill();
    server.restart();
    assert_eq!(held(&server), before);
}
