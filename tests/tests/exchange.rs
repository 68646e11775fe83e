//! The way of files: to Redis and back, into a backup and out of it, and beside another server.

use reprise_tests::files::{
    aof_files, copy, count, filled, held, settle, with_aof, write_until, written,
};
use reprise_tests::server::{Launch, subject_is_oracle};
use reprise_tests::wait::{SOON, until};
use reprise_tests::zoo::{Kept, Zoo, encodings, view};
use reprise_tests::{Conn, Value, oracle, subject};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

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
    // Then what is acknowledged is in the file.
    let server = filled(with_aof("always").set("auto-aof-rewrite-percentage", "0"));
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = server.conn();
    server.ok("FLUSHALL");
    thread::scope(|threads| {
        threads.spawn(|| write_until(&stop, &acknowledged, writer));
        until(SOON, "some writes", || {
            acknowledged.load(Ordering::Acquire) > 300
        });
        let promised = acknowledged.load(Ordering::Acquire);
        let backup = with_aof("everysec").start_with(|dir| {
            copy(&server.path("appendonlydir"), &dir.join("appendonlydir"));
        });
        stop.store(true, Ordering::Relaxed);
        assert!(written(&mut backup.conn()) >= promised);
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
