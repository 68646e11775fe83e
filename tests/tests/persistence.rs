//! What survives: orderly ends, crashes of the process, broken files, and the way to Redis and back.

use reprise_tests::content::{Content, content, fill};
use reprise_tests::resp::command;
use reprise_tests::server::{Launch, subject_is_oracle};
use reprise_tests::wait::{SOON, pass, until};
use reprise_tests::zoo::{Kept, Zoo, encodings, view};
use reprise_tests::{Conn, Server, Value, oracle, subject};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn held(server: &Server) -> Content {
    content(&mut server.conn())
}

fn filled(launch: Launch) -> Server {
    let server = launch.start();
    fill(&mut server.conn(), 1);
    server
}

fn with_aof(policy: &str) -> Launch {
    subject()
        .set("appendonly", "yes")
        .set("appendfsync", policy)
}

/// Waits until no snapshot and no rewrite is being written or due.
fn settle(conn: &mut Conn) {
    until(SOON, "snapshot and rewrite are done", || {
        // In this order: what is scheduled becomes what is in progress between two looks.
        [
            "aof_rewrite_scheduled",
            "aof_rewrite_in_progress",
            "rdb_bgsave_in_progress",
        ]
        .iter()
        .all(|field| conn.info("persistence", field) == "0")
    });
}

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

/// Writes `n:0`, `n:1`, … one after the other until told to stop; counts what was acknowledged.
fn write_until(stop: &AtomicBool, acknowledged: &AtomicU64, mut conn: Conn) {
    while !stop.load(Ordering::Relaxed) {
        let n = acknowledged.load(Ordering::Relaxed);
        if !conn.cmd(&["SET", &format!("n:{n}"), "1"]).is_ok() {
            return; // killed in between
        }
        acknowledged.store(n + 1, Ordering::Release);
    }
}

/// How many of `n:0`, `n:1`, … there are; they must have no holes.
fn written(conn: &mut Conn) -> u64 {
    let count = conn.run("DBSIZE").int().expect("a number") as u64;
    if count > 0 {
        assert_eq!(
            conn.run(&format!("EXISTS n:0 n:{}", count - 1)),
            Value::Int(2),
            "holes among {count} keys"
        );
    }
    count
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

fn aof_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("appendonlydir")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|end| end != "lock"))
        .collect();
    files.sort();
    files
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

/// Moves what a server left on disk to a server of the other kind.
fn exchange(from: Launch, to: Launch, files: &[&str]) {
    let mut from = filled(from);
    let mut conn = from.conn();
    if files.contains(&"appendonlydir") {
        conn.ok("BGREWRITEAOF");
        settle(&mut conn);
        conn.ok("SET since-the-base 1");
        conn.ok("HSET since-the-base-too f v");
    } else {
        conn.ok("SAVE");
    }
    let before = held(&from);
    from.terminate();
    let to = to.start_with(|dir| {
        for name in files {
            copy(&from.path(name), &dir.join(name));
        }
    });
    assert_eq!(held(&to), before);
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir_all(to).expect("a directory");
    for file in fs::read_dir(from).expect("a directory").flatten() {
        copy(&file.path(), &to.join(file.file_name()));
    }
}

#[test]
fn snapshots_go_to_redis_and_back() {
    let (Some(one), Some(two)) = (oracle(), oracle()) else {
        return;
    };
    exchange(subject(), one, &["dump.rdb"]);
    exchange(two, subject(), &["dump.rdb"]);
}

#[test]
fn append_only_files_go_to_redis_and_back() {
    let (Some(one), Some(two)) = (oracle(), oracle()) else {
        return;
    };
    let aof = |launch: Launch| launch.set("appendonly", "yes");
    exchange(aof(subject()), aof(one), &["appendonlydir"]);
    exchange(aof(two), aof(subject()), &["appendonlydir"]);
}

/// How a data set goes from one server to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Snapshot,
    /// The increment that was written as the commands came.
    Increment,
    /// A base in the form of a snapshot, and what came since.
    Base,
    /// A base of commands, and what came since.
    BaseOfCommands,
}

/// Fills a server with a generated data set, moves its files to one of the other kind, and compares all that
/// can be seen.
fn generated(from: fn() -> Launch, to: fn() -> Launch, way: Way, seed: u64) -> BTreeSet<String> {
    let kept = match way {
        Way::Snapshot | Way::Base => Kept::InSnapshot,
        Way::Increment | Way::BaseOfCommands => Kept::AsCommands,
    };
    let mut zoo = Zoo::new(seed, kept);
    let from = zoo.settings(from());
    let to = Zoo::new(seed, kept).settings(to());
    let with = |launch: Launch| match way {
        Way::Snapshot => launch,
        Way::Increment | Way::Base => launch.set("appendonly", "yes"),
        Way::BaseOfCommands => launch
            .set("appendonly", "yes")
            .set("aof-use-rdb-preamble", "no"),
    };
    let mut from = with(from).start();
    let mut conn = from.conn();
    zoo.fill(&mut conn);
    match way {
        Way::Snapshot => drop(conn.ok("SAVE")),
        Way::Increment => {}
        Way::Base | Way::BaseOfCommands => {
            conn.ok("BGREWRITEAOF");
            settle(&mut conn);
            assert_eq!(conn.info("persistence", "aof_last_bgrewrite_status"), "ok");
            conn.ok("SET since 1");
        }
    }
    let before = view(&mut conn, kept);
    let encodings = encodings(&mut conn);
    assert!(before.len() > 150, "{}", before.len());
    from.terminate();
    let name = match way {
        Way::Snapshot => "dump.rdb",
        _ => "appendonlydir",
    };
    let to = with(to).start_with(|dir| copy(&from.path(name), &dir.join(name)));
    let after = view(&mut to.conn(), kept);
    let differs = before
        .iter()
        .zip(&after)
        .find(|(one, other)| one[..] != other[..]);
    assert_eq!(differs, None, "{way:?}, seed {seed}");
    assert_eq!(before.len(), after.len(), "{way:?}, seed {seed}");
    encodings
}

fn real() -> Launch {
    oracle().expect("it was there")
}

/// A data set for each of these seeds, both ways.
fn generated_both_ways(way: Way, seeds: std::ops::Range<u64>) {
    if oracle().is_none() {
        return;
    }
    let mut encodings = BTreeSet::new();
    for seed in seeds {
        encodings.extend(generated(subject, real, way, seed));
        encodings.extend(generated(real, subject, way, seed + 1000));
    }
    for expected in [
        "hash hashtable",
        "hash listpack",
        "list quicklist",
        "set hashtable",
        "set intset",
        "stream stream",
        "string embstr",
        "string int",
        "string raw",
        "zset listpack",
        "zset skiplist",
    ] {
        assert!(encodings.contains(expected), "{expected}: {encodings:?}");
    }
}

#[test]
fn any_snapshot_goes_to_redis_and_back() {
    generated_both_ways(Way::Snapshot, 0..4);
}

#[test]
fn any_increment_goes_to_redis_and_back() {
    generated_both_ways(Way::Increment, 10..12);
}

#[test]
fn any_base_goes_to_redis_and_back() {
    generated_both_ways(Way::Base, 20..22);
}

#[test]
fn any_base_of_commands_goes_to_redis_and_back() {
    generated_both_ways(Way::BaseOfCommands, 30..33);
}

#[test]
fn a_backup_has_a_name_of_its_own() {
    let server = filled(subject().set("enable-protected-configs", "local"));
    let mut conn = server.conn();
    conn.ok("SAVE");
    let daily = fs::read(server.path("dump.rdb")).expect("a snapshot");
    conn.ok("SET later 1");
    let before = held(&server);
    conn.ok("CONFIG SET dbfilename backup.rdb");
    conn.run("BGSAVE");
    conn.ok("CONFIG SET dbfilename dump.rdb");
    conn.ok("SET later still");
    settle(&mut conn);
    let left = fs::read(server.path("dump.rdb")).expect("a snapshot");
    assert!(left == daily, "the daily one is as it was");
    let other = subject().start_with(|dir| copy(&server.path("backup.rdb"), &dir.join("dump.rdb")));
    assert_eq!(held(&other), before);
}

#[test]
fn a_copy_of_the_append_only_file_is_a_backup() {
    let server = filled(with_aof("everysec").set("auto-aof-rewrite-percentage", "0"));
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = server.conn();
    server.ok("FLUSHALL");
    thread::scope(|threads| {
        threads.spawn(|| write_until(&stop, &acknowledged, writer));
        until(SOON, "some writes", || {
            acknowledged.load(Ordering::Acquire) > 300
        });
        let backup = with_aof("everysec").start_with(|dir| {
            copy(&server.path("appendonlydir"), &dir.join("appendonlydir"));
        });
        stop.store(true, Ordering::Relaxed);
        // As far as the file went.
        assert!(written(&mut backup.conn()) > 0);
    });
}

#[test]
fn the_data_of_a_moment_can_be_had_again() {
    let mut server = with_aof("always")
        .set("aof-timestamp-enabled", "yes")
        .start();
    let mut conn = server.conn();
    let second =
        |conn: &mut Conn| -> u64 { conn.run("TIME").items()[0].text().parse().expect("a time") };
    conn.ok("SET n 1");
    let moment = second(&mut conn);
    until(SOON, "that second is over", || second(&mut conn) > moment);
    conn.ok("SET n 2");
    conn.ok("FLUSHALL");
    server.terminate();
    let tool = match subject_is_oracle() {
        true => PathBuf::from("redis-check-aof"),
        false => reprise_tests::server::tool("reprise-check-aof"),
    };
    let manifest = server.path("appendonlydir/appendonly.aof.manifest");
    let output = std::process::Command::new(tool)
        .arg("--truncate-to-timestamp")
        .arg(moment.to_string())
        .arg(manifest)
        .output()
        .expect("the tool");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Successfully truncated AOF"), "{said}");
    server.restart();
    assert_eq!(server.run("GET n"), Value::bulk("1"));
}

#[test]
fn a_second_server_leaves_the_append_only_file_alone() {
    let mut server = filled(with_aof("always"));
    let before = held(&server);
    if server.conn().info("server", "reprise_version").is_empty() {
        return; // Redis does not notice.
    }
    let shared = server.dir().to_path_buf();
    let dir = shared.display().to_string();
    let mut second = subject().set("enable-protected-configs", "local").start();
    let mut conn = second.conn();
    let refused = |reply: Value| assert!(reply.text().contains("CONFIG SET failed"), "{reply:?}");
    conn.ok("CONFIG SET appendonly yes");
    settle(&mut conn);
    refused(conn.cmd(&["CONFIG", "SET", "dir", &dir]));
    conn.ok("CONFIG SET appendonly no");
    assert!(conn.cmd(&["CONFIG", "SET", "dir", &dir]).is_ok());
    refused(conn.cmd(&["CONFIG", "SET", "appendonly", "yes"]));
    let off = Value::Array(vec![Value::bulk("appendonly"), Value::bulk("no")]);
    assert_eq!(conn.run("CONFIG GET appendonly"), off);
    // Snapshots are nobody's.
    server.ok("BGSAVE");
    conn.run("BGSAVE");
    settle(&mut conn);
    settle(&mut server.conn());
    second.kill();
    server.ok("SET later 1");
    server.kill();
    server.restart();
    assert_eq!(count(&held(&server)), count(&before) + 1);
}

#[test]
fn redis_checks_the_files_and_finds_nothing() {
    if oracle().is_none() || subject_is_oracle() {
        return;
    }
    let mut server = filled(with_aof("always"));
    server.ok("SAVE");
    server.terminate();
    let check = |tool: &str, file: PathBuf| {
        let output = std::process::Command::new(tool)
            .arg(file)
            .output()
            .expect("the tool");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    };
    check("redis-check-rdb", server.path("dump.rdb"));
    let manifest = aof_files(&server.path("appendonlydir"))
        .pop()
        .expect("a manifest");
    check("redis-check-aof", manifest);
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

/// Keys of database 0.
fn count(content: &Content) -> i64 {
    content.keys().filter(|(db, _)| *db == 0).count() as i64
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
