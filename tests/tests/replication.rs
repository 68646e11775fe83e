//! Replication, with a real Redis at either end.

use reprise_tests::content::{content, fill};
use reprise_tests::files::{settle, with_aof};
use reprise_tests::server::Launch;
use reprise_tests::wait::{SOON, until};
use reprise_tests::{Conn, Server, Value, oracle, subject};

fn follow(replica: &Server, primary: &Server) {
    replica.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
}

fn linked(replica: &Server) {
    until(SOON * 2, "the link is up", || {
        replica.conn().info("replication", "master_link_status") == "up"
    });
}

fn offset(conn: &mut Conn, field: &str) -> i64 {
    conn.info("replication", field).parse().unwrap_or(-1)
}

/// Waits until the replica has all that the primary has said so far, and compares.
fn same(primary: &Server, replica: &Server) {
    linked(replica);
    let (mut from, mut to) = (primary.conn(), replica.conn());
    let said = offset(&mut from, "master_repl_offset");
    until(SOON, "the replica has caught up", || {
        offset(&mut to, "master_repl_offset") >= said
    });
    let (ours, theirs) = (content(&mut from), content(&mut to));
    let differing: Vec<_> = ours
        .keys()
        .chain(theirs.keys())
        .filter(|key| ours.get(*key) != theirs.get(*key))
        .collect();
    assert!(
        differing.is_empty(),
        "{} keys differ, such as {:?}",
        differing.len(),
        differing[0]
    );
}

/// Changes of every kind, some of which must not travel as they were said.
fn change(conn: &mut Conn, salt: usize) {
    for n in 0..200 {
        conn.ok(&format!("SET changing:{n} {}", n * salt));
        conn.ok(&format!("INCRBY counter {salt}"));
    }
    for line in [
        "INCRBYFLOAT float 0.1",
        "SET expiring v PX 100000000",
        "EXPIRE changing:1 1000000",
        "GETEX changing:2 EX 1000000",
        "SET brief v PX 1",
        "SETEX in-seconds 1000000 v",
        "RENAME changing:3 renamed",
        "COPY changing:4 copied DB 1 REPLACE",
        "GETDEL changing:5",
        "UNLINK changing:6 changing:7",
        "APPEND changing:8 more",
        "HSET a-hash f 1 g 2",
        "HINCRBYFLOAT a-hash f 0.5",
        "HDEL a-hash g",
        "MULTI",
        "INCR in-multi",
        "SELECT 2",
        "SET in-multi elsewhere",
        "SELECT 0",
        "EXEC",
    ] {
        conn.ok(line);
    }
}

/// Data before, changes during, changes after; then a broken link that is continued.
fn replicates(primary: Launch, replica: Launch) {
    let (primary, replica) = (primary.start(), replica.start());
    fill(&mut primary.conn(), 1);
    replica.ok("SET stale 1");
    follow(&replica, &primary);
    let mut conn = primary.conn();
    change(&mut conn, 1);
    same(&primary, &replica);
    change(&mut conn, 2);
    same(&primary, &replica);
    assert_eq!(replica.run("EXISTS stale brief"), Value::Int(0));
    let refused = replica.run("SET k v");
    assert_eq!(
        refused,
        Value::error("READONLY You can't write against a read only replica.")
    );

    let partial = |conn: &mut Conn| {
        conn.info("stats", "sync_partial_ok")
            .parse::<i64>()
            .unwrap_or(0)
    };
    let full = conn.info("stats", "sync_full");
    let before = partial(&mut conn);
    assert!(
        conn.run("CLIENT KILL TYPE replica")
            .int()
            .is_some_and(|killed| killed > 0)
    );
    change(&mut conn, 3);
    until(SOON * 2, "the link continues", || {
        partial(&mut conn) > before
    });
    same(&primary, &replica);
    assert_eq!(
        conn.info("stats", "sync_full"),
        full,
        "it was continued, not begun anew"
    );
}

#[test]
fn a_replica_of_its_own_kind() {
    replicates(subject(), subject());
}

#[test]
fn redis_as_a_replica() {
    let Some(oracle) = oracle() else { return };
    replicates(subject(), oracle);
}

#[test]
fn redis_as_a_primary() {
    let Some(oracle) = oracle() else { return };
    replicates(oracle, subject());
}

/// FAILOVER: the replica takes over with all that was written, the old primary follows it, and back again.
fn hands_over(one: Launch, other: Launch) {
    let (one, other) = (one.start(), other.start());
    fill(&mut one.conn(), 1);
    follow(&other, &one);
    same(&one, &other);
    for (from, to) in [(&one, &other), (&other, &one)] {
        change(&mut from.conn(), 3);
        from.ok(&format!(
            "FAILOVER TO 127.0.0.1 {} TIMEOUT 20000",
            to.port()
        ));
        until(SOON * 2, "the roles have changed", || {
            from.conn().info("replication", "role") == "slave"
                && to.conn().info("replication", "role") == "master"
        });
        linked(from);
        let state = from.conn().info("replication", "master_failover_state");
        assert_eq!(state, "no-failover");
        same(to, from);
    }
    // Only the first time everything was copied: a hand-over continues the history.
    assert_eq!(one.conn().info("stats", "sync_full"), "1");
    assert_eq!(other.conn().info("stats", "sync_full"), "0");
}

#[test]
fn a_primary_hands_over_to_its_replica_and_back() {
    hands_over(subject(), subject());
}

#[test]
fn a_redis_is_handed_over_to_and_hands_back() {
    let Some(oracle) = oracle() else { return };
    hands_over(subject(), oracle);
}

#[test]
fn by_file_as_well_as_by_socket() {
    let (Some(one), Some(two)) = (oracle(), oracle()) else {
        return;
    };
    let by_file = |launch: Launch| {
        launch
            .set("repl-diskless-sync", "no")
            .set("repl-diskless-load", "disabled")
    };
    let by_socket = |launch: Launch| {
        launch
            .set("repl-diskless-sync", "yes")
            .set("repl-diskless-load", "swapdb")
    };
    for (from, to) in [
        (by_file(subject()), by_socket(one)),
        (by_socket(two), by_file(subject())),
    ] {
        let (primary, replica) = (from.start(), to.start());
        fill(&mut primary.conn(), 2);
        follow(&replica, &primary);
        same(&primary, &replica);
    }
}

#[test]
fn a_file_made_for_replicas_stays_only_where_files_are_wanted() {
    let never = "\"\"";
    for (delete, save, stays) in [
        ("yes", never, false),
        ("yes", "3600 1", true),
        ("no", never, true),
    ] {
        let primary = subject()
            .set("repl-diskless-sync", "no")
            .set("rdb-del-sync-files", delete)
            .set("save", save)
            .start();
        let replicas = [subject().start(), subject().start()];
        fill(&mut primary.conn(), 2);
        for replica in &replicas {
            follow(replica, &primary);
        }
        for replica in &replicas {
            same(&primary, replica);
        }
        let file = primary.path("dump.rdb");
        until(SOON, "the file is there, or not", || file.exists() == stays);
    }
}

#[test]
fn a_chain_of_both_kinds() {
    let (Some(first), Some(last)) = (oracle(), oracle()) else {
        return;
    };
    let (first, middle, last) = (first.start(), subject().start(), last.start());
    fill(&mut first.conn(), 1);
    follow(&middle, &first);
    linked(&middle);
    follow(&last, &middle);
    change(&mut first.conn(), 1);
    same(&first, &middle);
    same(&middle, &last);
    same(&first, &last);
}

#[test]
fn several_replicas_at_once() {
    let primary = subject().start();
    fill(&mut primary.conn(), 1);
    let replicas = [subject().start(), subject().start(), subject().start()];
    replicas
        .iter()
        .for_each(|replica| follow(replica, &primary));
    change(&mut primary.conn(), 1);
    replicas.iter().for_each(|replica| same(&primary, replica));
    assert_eq!(primary.conn().info("replication", "connected_slaves"), "3");
}

#[test]
fn wait_counts_the_replicas_that_have_a_write() {
    let (primary, one, two) = (subject().start(), subject().start(), subject().start());
    let mut conn = primary.conn();
    assert_eq!(conn.run("WAIT 1 10"), Value::Int(0));
    [&one, &two]
        .iter()
        .for_each(|replica| follow(replica, &primary));
    [&one, &two].iter().for_each(|replica| linked(replica));
    conn.ok("SET key 1");
    assert_eq!(conn.run("WAIT 2 20000"), Value::Int(2));
    one.signal("STOP");
    conn.ok("SET key 2");
    assert_eq!(conn.run("WAIT 1 20000"), Value::Int(1));
    assert_eq!(conn.run("WAIT 2 100"), Value::Int(1));
    one.signal("CONT");
    assert_eq!(conn.run("WAIT 2 20000"), Value::Int(2));
}

#[test]
fn a_promoted_replica_continues_its_primarys_history() {
    let (primary, one, two) = (subject().start(), subject().start(), subject().start());
    fill(&mut primary.conn(), 1);
    [&one, &two]
        .iter()
        .for_each(|replica| follow(replica, &primary));
    [&one, &two]
        .iter()
        .for_each(|replica| same(&primary, replica));
    let id = primary.conn().info("replication", "master_replid");

    assert!(one.run("REPLICAOF NO ONE").is_ok());
    let mut conn = one.conn();
    assert_eq!(conn.info("replication", "role"), "master");
    assert_eq!(conn.info("replication", "master_replid2"), id);
    assert_ne!(conn.info("replication", "master_replid"), id);
    follow(&two, &one);
    change(&mut conn, 5);
    same(&one, &two);
    assert_eq!(
        conn.info("stats", "sync_partial_ok"),
        "1",
        "the other replica went on without a full copy"
    );
    // The old primary comes back as a replica.
    follow(&primary, &one);
    same(&one, &primary);
}

#[test]
fn a_replica_that_restarts_comes_back() {
    let (primary, mut replica) = (subject().start(), subject().start());
    fill(&mut primary.conn(), 1);
    follow(&replica, &primary);
    same(&primary, &replica);
    replica.kill();
    change(&mut primary.conn(), 1);
    replica.restart();
    follow(&replica, &primary);
    same(&primary, &replica);
}

#[test]
fn a_primary_that_restarts_is_found_again() {
    let (mut primary, replica) = (subject().start(), subject().start());
    follow(&replica, &primary);
    linked(&replica);
    primary.kill();
    until(SOON, "the replica notices", || {
        replica.conn().info("replication", "master_link_status") == "down"
    });
    primary.restart();
    fill(&mut primary.conn(), 3);
    same(&primary, &replica);
}

#[test]
fn role_tells_who_is_who() {
    let (primary, replica) = (subject().start(), subject().start());
    assert_eq!(
        primary.run("ROLE"),
        Value::Array(vec![
            Value::bulk("master"),
            Value::Int(0),
            Value::Array(vec![])
        ])
    );
    follow(&replica, &primary);
    linked(&replica);
    let role = replica.run("ROLE").items();
    assert_eq!(role[0], Value::bulk("slave"));
    assert_eq!(role[1], Value::bulk("127.0.0.1"));
    assert_eq!(role[2], Value::Int(primary.port().into()));
    assert_eq!(role[3], Value::bulk("connected"));
    until(SOON, "the primary lists it", || {
        primary.run("ROLE").items()[2].items().len() == 1
    });
    let listed = primary.run("ROLE").items()[2].items()[0].items();
    assert_eq!(listed[1], Value::bulk(replica.port().to_string()));
}

#[test]
fn too_few_good_replicas_stop_writes() {
    let (primary, replica) = (
        subject().set("min-replicas-to-write", "1").start(),
        subject().start(),
    );
    let refused = Value::error("NOREPLICAS Not enough good replicas to write.");
    assert_eq!(primary.run("SET key 1"), refused);
    assert_eq!(primary.run("GET key"), Value::NullBulk);
    follow(&replica, &primary);
    until(SOON, "writes are taken", || {
        primary.run("SET key 1").is_ok()
    });
}

#[test]
fn a_password_is_asked_for_and_given() {
    let primary = subject().set("requirepass", "secret").start();
    let replica = subject().start();
    follow(&replica, &primary);
    until(SOON, "it is refused", || replica.log().contains("NOAUTH"));
    replica.ok("CONFIG SET masterauth secret");
    linked(&replica);
    let mut conn = primary.conn();
    assert_eq!(
        conn.run("GET key"),
        Value::error("NOAUTH Authentication required.")
    );
    assert!(conn.run("AUTH secret").is_ok());
    conn.ok("SET key 1");
    assert_eq!(conn.run("WAIT 1 20000"), Value::Int(1));
    assert_eq!(replica.run("GET key"), Value::bulk("1"));
}

#[test]
fn a_replica_link_carries_no_replies() {
    for request in ["PING", "GET a", "SET a 1", "NOSUCH", "MULTI", "WAIT 1 0"] {
        let primary = subject().set("repl-diskless-sync-delay", "0").start();
        let mut link = primary.conn();
        link.send(&["PSYNC", "?", "-1"]);
        until(SOON, "the replica has the snapshot", || {
            primary
                .conn()
                .info("replication", "slave0")
                .contains("state=online")
        });
        // That it lives, and how far it is, it may say.
        link.send_raw(b"\n");
        link.send(&["REPLCONF", "ACK", "0"]);
        link.send_raw(format!("{request}\r\n").as_bytes());
        link.drain(SOON);
        assert!(link.is_closed(), "{request} was answered");
        let command = match request {
            "NOSUCH" => "<unknown>".to_owned(),
            known => known.split(' ').next().unwrap_or_default().to_lowercase(),
        };
        let line =
            format!("# Replica generated a reply to command '{command}', disconnecting it: id=");
        assert!(primary.log().contains(&line), "{}", primary.log());
        assert_eq!(primary.run("GET a"), Value::NullBulk);
    }
}

/// A stream that stays in one database says so once. Whatever begins in its middle must know: an increment of
/// a replica's append-only file, a link that is continued, a replica that is promoted.
#[test]
fn who_begins_in_the_middle_of_the_stream_knows_its_database() {
    let primary = subject().start();
    let mut replica = subject().set("appendonly", "yes").start();
    let mut conn = primary.conn();
    conn.ok("SELECT 2");
    conn.ok("SET before 1");
    follow(&replica, &primary);
    linked(&replica);
    conn.ok("SET first 1");
    same(&primary, &replica);

    let mut other = replica.conn();
    let rewritten = |conn: &mut Conn| {
        until(SOON, "the append-only file is rewritten", || {
            conn.info("persistence", "aof_rewrite_scheduled") == "0"
                && conn.info("persistence", "aof_rewrite_in_progress") == "0"
        });
    };
    rewritten(&mut other);
    other.ok("BGREWRITEAOF");
    rewritten(&mut other);
    conn.ok("SET after-the-rewrite 1");
    assert!(conn.run("CLIENT KILL TYPE replica").int() > Some(0));
    conn.ok("SET after-the-break 1");
    same(&primary, &replica);
    assert_eq!(conn.info("stats", "sync_full"), "1");

    let before = content(&mut other);
    assert_eq!(before.len(), 4);
    replica.kill();
    replica.restart();
    assert_eq!(content(&mut replica.conn()), before);
}

#[test]
fn a_promoted_replica_names_the_database_of_its_stream() {
    let (primary, one, two) = (
        subject().start(),
        subject().start(),
        subject().set("appendonly", "yes").start(),
    );
    let mut conn = primary.conn();
    conn.ok("SELECT 2");
    conn.ok("SET before 1");
    follow(&one, &primary);
    follow(&two, &one);
    linked(&one);
    conn.ok("SET first 1");
    same(&primary, &one);
    same(&one, &two);

    assert!(one.run("REPLICAOF NO ONE").is_ok());
    let mut promoted = one.conn();
    promoted.ok("SELECT 1");
    promoted.ok("SET second 1");
    same(&one, &two);
    // The old primary continues with what it has, from database 2.
    follow(&primary, &one);
    same(&one, &primary);
    promoted.ok("SET third 1");
    same(&one, &primary);
    same(&one, &two);
    assert_eq!(promoted.info("stats", "sync_full"), "1");
}

#[test]
fn functions_pass_through_and_snapshots_can_be_had_in_part() {
    let (Some(first), Some(last), Some(check)) = (oracle(), oracle(), oracle()) else {
        return;
    };
    let (first, middle, last) = (first.start(), subject().start(), last.start());
    first.ok("SET key value");
    let library = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n";
    let loaded = first.conn().cmd(&["FUNCTION", "LOAD", library]);
    assert_eq!(loaded, Value::bulk("lib"));
    follow(&middle, &first);
    same(&first, &middle);
    follow(&last, &middle);
    same(&middle, &last);
    assert_eq!(last.run("FUNCTION LIST"), first.run("FUNCTION LIST"));

    let file = middle.path("part.rdb");
    let fetch = |what: &str| {
        let done = std::process::Command::new("redis-cli")
            .args(["-p", &middle.port().to_string(), what])
            .arg(&file)
            .output()
            .expect("redis-cli");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let put = |dir: &std::path::Path| {
        std::fs::copy(&file, dir.join("dump.rdb")).expect("a snapshot");
    };
    fetch("--functions-rdb");
    let mut functions_only = check.start_with(put);
    assert_eq!(functions_only.run("DBSIZE"), Value::Int(0));
    assert_eq!(functions_only.run("FUNCTION LIST").items().len(), 1);
    functions_only.kill();
    fetch("--rdb");
    put(functions_only.dir());
    functions_only.restart();
    assert_eq!(functions_only.run("DBSIZE"), Value::Int(1));
    assert_eq!(functions_only.run("FUNCTION LIST").items().len(), 1);
}

#[test]
fn waitaof_counts_the_disks_that_have_a_write() {
    let primary = with_aof("everysec").start();
    let (one, two) = (with_aof("always").start(), subject().start());
    let mut conn = primary.conn();
    for replica in [&one, &two] {
        follow(replica, &primary);
        linked(replica);
    }
    let counts = |ours, replicas| Value::Array(vec![Value::Int(ours), Value::Int(replicas)]);
    conn.ok("SET key 1");
    assert_eq!(conn.run("WAITAOF 1 1 20000"), counts(1, 1));
    // The other has no append-only file.
    assert_eq!(conn.run("WAITAOF 0 2 100"), counts(1, 1));
}

/// KB-87: a snapshot of the data before a full synchronisation does not take the place of what came with it.
#[test]
fn a_full_synchronisation_ends_a_snapshot_of_the_old_data() {
    let (primary, mut replica) = (subject().start(), subject().start());
    primary.ok("SET new 1");
    let mut conn = replica.conn();
    conn.ok("DEBUG POPULATE 200 old");
    conn.ok("CONFIG SET rdb-key-save-delay 100000");
    conn.ok("BGSAVE");
    follow(&replica, &primary);
    same(&primary, &replica);
    conn.ok("CONFIG SET rdb-key-save-delay 0");
    settle(&mut conn);
    replica.kill();
    replica.restart();
    assert_eq!(
        replica.run("DBSIZE"),
        Value::Int(0),
        "nothing of the old data"
    );
}
