//! What operators see and use: INFO, COMMAND, CONFIG, CLIENT, MONITOR, limits, signals, the log.

use reprise_tests::server::subject_is_oracle;
use reprise_tests::wait::{SOON, until};
use reprise_tests::{Conn, Value, oracle, subject};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// Sections and their fields, without those whose names hold a number or depend on what was run.
fn info_fields(conn: &mut Conn) -> BTreeMap<String, BTreeSet<String>> {
    let mut sections = BTreeMap::new();
    let mut section = String::new();
    for line in conn.cmd(&["INFO", "everything"]).text().lines() {
        if let Some(name) = line.strip_prefix("# ") {
            section = name.to_owned();
        } else if let Some((field, _)) = line.split_once(':')
            && !["Commandstats", "Errorstats", "Latencystats", "Keyspace"]
                .contains(&section.as_str())
        {
            sections
                .entry(section.clone())
                .or_insert_with(BTreeSet::new)
                .insert(field.to_owned());
        }
    }
    sections
}

#[test]
fn info_has_every_field_of_redis() {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (subject().start(), oracle.start());
    let (ours, theirs) = (
        info_fields(&mut subject.conn()),
        info_fields(&mut oracle.conn()),
    );
    // The allocator is another one, and so is what can be said about it.
    let excused = |field: &str| {
        field.starts_with("allocator_")
            || field.starts_with("active_defrag")
            || field == "gcc_version"
    };
    let mut missing = Vec::new();
    for (section, fields) in &theirs {
        let known = ours.get(section);
        let absent = fields
            .iter()
            .filter(|field| !excused(field) && known.is_none_or(|known| !known.contains(*field)));
        missing.extend(absent.map(|field| format!("{section}: {field}")));
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

#[test]
fn info_counts_what_happens() {
    let server = subject().start();
    let mut conn = server.conn();
    conn.ok("SET key v");
    conn.ok("SET brief v EX 100");
    conn.ok("GET key");
    conn.ok("GET none");
    conn.run("NOSUCH");
    conn.run("INCR key");
    assert_eq!(conn.info("stats", "keyspace_hits"), "1");
    assert_eq!(conn.info("stats", "keyspace_misses"), "1");
    assert!(
        conn.info("keyspace", "db0")
            .starts_with("keys=2,expires=1,")
    );
    assert!(
        conn.info("commandstats", "cmdstat_set")
            .starts_with("calls=2,")
    );
    assert!(
        conn.info("commandstats", "cmdstat_incr")
            .contains(",failed_calls=1")
    );
    assert_eq!(conn.info("errorstats", "errorstat_ERR"), "count=2");
    assert_eq!(conn.info("server", "tcp_port"), server.port().to_string());
    assert_eq!(
        conn.info("server", "process_id"),
        server.pid().expect("it runs").to_string()
    );
    assert_eq!(conn.info("clients", "connected_clients"), "1");
    conn.ok("CONFIG RESETSTAT");
    assert_eq!(conn.info("stats", "keyspace_hits"), "0");
    assert_eq!(conn.info("commandstats", "cmdstat_set"), "");
}

#[test]
fn commands_are_described_as_redis_describes_them() {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (subject().start(), oracle.start());
    let (mut ours, mut theirs) = (subject.conn(), oracle.conn());
    let names: BTreeSet<String> = ours
        .ok("COMMAND LIST")
        .items()
        .iter()
        .map(Value::text)
        .collect();
    assert!(names.len() > 100, "{names:?}");
    let known: BTreeSet<String> = theirs
        .ok("COMMAND LIST")
        .items()
        .iter()
        .map(Value::text)
        .collect();
    let mut differing = Vec::new();
    for name in names.intersection(&known) {
        let (a, b) = (
            ours.cmd(&["COMMAND", "INFO", name]),
            theirs.cmd(&["COMMAND", "INFO", name]),
        );
        // Name, arity, flags, first, last and step of the keys, categories; the order of flags is free.
        let facts = |reply: &Value| -> Vec<Value> {
            let row = reply.items().first().map_or(Vec::new(), Value::items);
            row.into_iter()
                .take(7)
                .map(|fact| match fact {
                    Value::Array(mut flags) => {
                        flags.sort();
                        Value::Array(flags)
                    }
                    fact => fact,
                })
                .collect()
        };
        if facts(&a) != facts(&b) {
            differing.push(format!(
                "{name}\n  subject: {:?}\n  oracle:  {:?}",
                facts(&a),
                facts(&b)
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
    assert_eq!(
        ours.run("COMMAND COUNT"),
        Value::Int(names.iter().filter(|name| !name.contains('|')).count() as i64)
    );
    assert_eq!(
        ours.run("COMMAND INFO nosuch"),
        theirs.run("COMMAND INFO nosuch")
    );
}

#[test]
fn command_docs_have_the_same_trees() {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (subject().start(), oracle.start());
    let (mut ours, mut theirs) = (subject.conn(), oracle.conn());
    for name in [
        "get",
        "set",
        "mset",
        "copy",
        "hello",
        "expire",
        "client|list",
        "replicaof",
        "config|set",
        "scan",
    ] {
        let arguments = |conn: &mut Conn| {
            let docs = conn.cmd(&["COMMAND", "DOCS", name]).items();
            let docs = docs.get(1).map_or(Vec::new(), Value::items);
            let at = docs.iter().position(|field| field.text() == "arguments");
            at.and_then(|at| docs.get(at + 1).cloned())
        };
        let tree = arguments(&mut theirs);
        assert!(tree.is_some(), "{name}");
        assert_eq!(arguments(&mut ours), tree, "{name}");
    }
}

#[test]
fn config_has_every_directive_of_redis() {
    let Some(oracle) = oracle() else { return };
    let (subject, oracle) = (subject().start(), oracle.start());
    let directives = |conn: &mut Conn| -> BTreeMap<String, String> {
        let reply = conn.cmd(&["CONFIG", "GET", "*"]).items();
        reply
            .chunks(2)
            .map(|pair| (pair[0].text(), pair[1].text()))
            .collect()
    };
    let (ours, theirs) = (
        directives(&mut subject.conn()),
        directives(&mut oracle.conn()),
    );
    let missing: Vec<&String> = theirs
        .keys()
        .filter(|name| !ours.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let local = ["port", "dir", "io-threads", "jemalloc-bg-thread"];
    let differing: Vec<String> = theirs
        .iter()
        .filter(|(name, value)| !local.contains(&name.as_str()) && ours[*name] != **value)
        .map(|(name, value)| format!("{name}: {:?} instead of {value:?}", ours[name]))
        .collect();
    assert!(
        differing.is_empty(),
        "other defaults:\n{}",
        differing.join("\n")
    );
}

#[test]
fn settings_are_changed_checked_and_written_back() {
    let mut server = subject().start();
    let mut conn = server.conn();
    assert!(
        conn.run("CONFIG SET hash-max-listpack-entries 7 maxmemory 100mb")
            .is_ok()
    );
    let get = |conn: &mut Conn, name: &str| {
        conn.cmd(&["CONFIG", "GET", name])
            .items()
            .last()
            .map(Value::text)
    };
    assert_eq!(get(&mut conn, "hash-max-ziplist-entries"), Some("7".into()));
    assert_eq!(get(&mut conn, "maxmemory"), Some("104857600".into()));
    // All or nothing.
    assert!(conn.run("CONFIG SET maxmemory 0 hz nonsense").is_error());
    assert_eq!(get(&mut conn, "maxmemory"), Some("104857600".into()));
    assert!(conn.run("CONFIG REWRITE").is_ok());
    let file = fs::read_to_string(server.path("server.conf")).unwrap();
    assert!(
        file.contains("hash-max-listpack-entries 7") && file.contains("maxmemory 100mb"),
        "{file}"
    );
    server.kill();
    server.restart();
    assert_eq!(
        get(&mut server.conn(), "hash-max-listpack-entries"),
        Some("7".into())
    );
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line() {
    let mut server = subject().start();
    server.kill();
    let conf = fs::read_to_string(server.path("server.conf")).unwrap();
    fs::write(server.path("server.conf"), conf + "nosuchdirective yes\n").unwrap();
    let log = server.restart_fails();
    assert!(log.contains("*** FATAL CONFIG FILE ERROR"), "{log}");
    assert!(log.contains(">>> 'nosuchdirective yes'"), "{log}");
    assert!(
        log.contains("Bad directive or wrong number of arguments"),
        "{log}"
    );
}

#[test]
fn the_log_says_what_the_suites_wait_for() {
    let mut server = subject().start();
    let pid = server.pid().expect("it runs");
    server.terminate();
    let log = server.log();
    for line in [
        "Server initialized",
        "Ready to accept connections",
        "Received SIGTERM scheduling shutdown...",
        "ready to exit, bye bye...",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
    assert!(log.contains(&format!("{pid}:M ")), "{log}");
}

#[test]
fn clients_are_listed_named_and_killed() {
    let server = subject().start();
    let (mut one, mut two) = (server.conn(), server.conn());
    assert!(two.run("CLIENT SETNAME other").is_ok());
    assert_eq!(two.run("CLIENT GETNAME"), Value::bulk("other"));
    let id = two.run("CLIENT ID").int().expect("a number");
    let list = one.run("CLIENT LIST").text();
    assert!(
        list.lines()
            .any(|line| line.starts_with(&format!("id={id} ")) && line.contains(" name=other ")),
        "{list}"
    );
    assert_eq!(list.lines().count(), 2);
    assert_eq!(one.run(&format!("CLIENT KILL ID {id}")), Value::Int(1));
    assert_eq!(two.reply(), Value::Closed);
    assert_eq!(one.run("CLIENT KILL ID 999999"), Value::Int(0));
    assert_eq!(
        one.run("CLIENT KILL 1.2.3.4:5"),
        Value::error("ERR No such client")
    );
}

#[test]
fn a_pause_holds_writes_back_until_it_ends() {
    let server = subject().start();
    let (mut operator, mut writer) = (server.conn(), server.conn());
    assert!(operator.run("CLIENT PAUSE 100000 WRITE").is_ok());
    assert_eq!(writer.run("GET key"), Value::NullBulk);
    writer.send(&["SET", "key", "v"]);
    until(SOON, "the write is held back", || {
        operator.info("clients", "blocked_clients") != "0"
    });
    assert_eq!(operator.run("EXISTS key"), Value::Int(0));
    assert!(operator.run("CLIENT UNPAUSE").is_ok());
    assert!(writer.reply().is_ok());
    assert_eq!(operator.run("EXISTS key"), Value::Int(1));
}

#[test]
fn transactions_watch_and_discard() {
    let server = subject().start();
    let (mut one, mut two) = (server.conn(), server.conn());
    one.ok("WATCH key");
    two.ok("SET key changed");
    one.ok("MULTI");
    assert_eq!(one.run("SET key mine"), Value::simple("QUEUED"));
    assert_eq!(one.run("EXEC"), Value::NullArray);
    assert_eq!(one.run("GET key"), Value::bulk("changed"));
    one.ok("MULTI");
    assert!(one.run("NOSUCH").is_error());
    assert_eq!(
        one.run("EXEC"),
        Value::error("EXECABORT Transaction discarded because of previous errors.")
    );
    one.ok("MULTI");
    one.ok("INCR key");
    one.ok("SET other 1");
    let results = one.run("EXEC").items();
    assert!(
        results[0].is_error() && results[1].is_ok(),
        "one failure does not undo the rest: {results:?}"
    );
    // A key that expires under WATCH has changed.
    one.ok("SET brief v PX 30");
    one.ok("WATCH brief");
    until(SOON, "it expires", || {
        two.run("EXISTS brief") == Value::Int(0)
    });
    one.ok("MULTI");
    one.ok("PING");
    assert_eq!(one.run("EXEC"), Value::NullArray);
}

#[test]
fn too_many_clients_are_turned_away() {
    let server = subject().set("maxclients", "5").start();
    let mut first = server.conn();
    until(
        SOON,
        "the connection that waited for the start is gone",
        || first.info("clients", "connected_clients") == "1",
    );
    let mut conns: Vec<Conn> = (0..4).map(|_| server.conn()).chain([first]).collect();
    assert!(
        conns
            .iter_mut()
            .all(|conn| conn.run("PING") == Value::simple("PONG"))
    );
    let mut refused = server.conn();
    assert_eq!(
        refused.reply(),
        Value::error("ERR max number of clients reached")
    );
    assert_eq!(refused.reply(), Value::Closed);
    conns.pop();
    until(SOON, "there is room again", || {
        server.conn().run("PING") == Value::simple("PONG")
    });
}

#[test]
fn idle_clients_are_closed() {
    let server = subject().set("timeout", "1").start();
    let mut conn = server.conn();
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
    assert_eq!(conn.reply(), Value::Closed);
}

#[test]
fn a_client_that_reads_too_slowly_is_closed() {
    let server = subject().start();
    let mut conn = server.conn();
    assert!(
        conn.cmd(&[
            "CONFIG",
            "SET",
            "client-output-buffer-limit",
            "normal 8mb 0 0"
        ])
        .is_ok()
    );
    conn.cmd(&["SET", "big", &"x".repeat(1 << 20)]);
    let mut slow = server.conn();
    for _ in 0..64 {
        slow.send(&["GET", "big"]);
    }
    until(SOON, "it is closed", || {
        conn.info("clients", "connected_clients") == "1"
    });
}

#[test]
fn memory_that_is_full_refuses_or_evicts() {
    let server = subject().set("maxmemory", "20mb").start();
    let mut conn = server.conn();
    let value = "x".repeat(10_000);
    let refused = (0..10_000)
        .map(|n| conn.cmd(&["SET", &format!("key:{n}"), &value]))
        .find(Value::is_error);
    assert_eq!(
        refused,
        Some(Value::error(
            "OOM command not allowed when used memory > 'maxmemory'."
        ))
    );
    assert_eq!(conn.run("GET key:0").bytes().len(), 10_000);
    assert!(conn.run("DEL key:0 key:1").int() == Some(2));

    conn.ok("CONFIG SET maxmemory-policy allkeys-lru");
    for n in 0..5_000 {
        assert!(
            conn.cmd(&["SET", &format!("more:{n}"), &value]).is_ok(),
            "write {n}"
        );
    }
    assert_eq!(conn.run("EXISTS more:4999"), Value::Int(1));
    assert!(
        conn.info("stats", "evicted_keys")
            .parse::<u64>()
            .is_ok_and(|evicted| evicted > 1_000)
    );
    let used: u64 = conn
        .info("memory", "used_memory")
        .parse()
        .expect("a number");
    assert!(used < 24 << 20, "{used} bytes are in use");
}

#[test]
fn a_second_server_on_the_port_says_why_it_ends() {
    let server = subject().start();
    let mut other = subject().start();
    other.kill();
    let conf = fs::read_to_string(other.path("server.conf")).unwrap();
    let conf: String = conf
        .lines()
        .filter(|line| !line.starts_with("port "))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(
        other.path("server.conf"),
        format!("{conf}port {}\n", server.port()),
    )
    .unwrap();
    let log = other.restart_fails();
    assert!(log.contains("Failed listening on port"), "{log}");
}

#[test]
fn a_stopped_server_goes_on_where_it_was() {
    let server = subject().start();
    let mut conn = server.conn();
    server.signal("STOP");
    conn.send(&["INCR", "n"]);
    assert_eq!(conn.try_reply(Duration::from_millis(50)), Ok(None));
    server.signal("CONT");
    assert_eq!(conn.reply(), Value::Int(1));
}

#[test]
fn debug_digest_is_redis_own() {
    let Some(oracle) = oracle() else { return };
    if subject_is_oracle() {
        return;
    }
    let (subject, oracle) = (subject().start(), oracle.start());
    for server in [&subject, &oracle] {
        let mut conn = server.conn();
        for line in [
            "SET s value",
            "SET n 12345",
            "SET e v PXAT 4102444800000",
            "HSET h a 1 b 2",
            "SELECT 1",
            "SET other 1",
        ] {
            conn.ok(line);
        }
    }
    assert_eq!(subject.run("DEBUG DIGEST"), oracle.run("DEBUG DIGEST"));
    assert_eq!(
        subject.run("DEBUG DIGEST-VALUE s h"),
        oracle.run("DEBUG DIGEST-VALUE s h")
    );
}

/// A change that the system refuses is answered with an error, and leaves everything as it was.
#[test]
fn what_the_system_refuses_is_undone() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let commands = [
        format!("CONFIG SET port {port}"),
        format!("CONFIG SET timeout 55 port {port} maxmemory 100mb"),
        "CONFIG SET bind 192.0.2.1".to_owned(),
        format!("CONFIG SET bind 127.0.0.1 port {port}"),
        "CONFIG SET dir /no/such/directory timeout 77".to_owned(),
        format!("CONFIG SET dir / port {port}"),
        "CONFIG SET maxclients 3000000 timeout 88".to_owned(),
        "CONFIG GET port".to_owned(),
        "CONFIG GET bind".to_owned(),
        "CONFIG GET timeout".to_owned(),
        "CONFIG GET maxmemory".to_owned(),
        "CONFIG GET maxclients".to_owned(),
        "CONFIG SET bind 127.0.0.1 maxclients 77".to_owned(),
        "CONFIG GET maxclients".to_owned(),
    ];
    let launch = |launch: reprise_tests::server::Launch| {
        launch.set("enable-protected-configs", "yes").start()
    };
    let subject = launch(subject());
    let mut conn = subject.conn();
    let dir = conn.run("CONFIG GET dir");
    // Everything of a client comes in order, also what follows a change that waits.
    commands
        .iter()
        .for_each(|command| conn.send_raw(format!("{command}\r\n").as_bytes()));
    let ours: Vec<Value> = commands.iter().map(|_| conn.reply()).collect();
    assert_eq!(conn.run("CONFIG GET dir"), dir);
    // Listening goes on, or begins again.
    assert_eq!(subject.run("PING"), Value::simple("PONG"));
    assert!(subject.run("SAVE").is_ok() && subject.path("dump.rdb").exists());
    let line = "Failed applying new configuration. Possibly related to new port setting. Restoring previous settings.";
    assert!(subject.log().contains(line), "{}", subject.log());
    let Some(oracle) = oracle() else { return };
    let oracle = launch(oracle);
    let mut conn = oracle.conn();
    for (command, ours) in commands.iter().zip(ours) {
        let theirs = conn.run(command);
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        let same_port = |text: String, server: &reprise_tests::Server| {
            text.replace(&server.port().to_string(), "PORT")
        };
        assert_eq!(
            same_port(ours, &subject),
            same_port(theirs, &oracle),
            "{command}"
        );
    }
}

#[test]
fn a_transaction_does_not_wait_for_the_system() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = subject().start();
    let mut conn = server.conn();
    conn.ok("MULTI");
    conn.run(&format!("CONFIG SET port {port}"));
    conn.run("EXEC");
    until(SOON, "it is undone", || {
        conn.run("CONFIG GET port").items()[1].text() == server.port().to_string()
    });
    assert_eq!(server.run("PING"), Value::simple("PONG"));
}

#[test]
fn a_sleeping_server_answers_nobody() {
    let server = subject().set("enable-debug-command", "yes").start();
    let (mut sleeper, mut other) = (server.conn(), server.conn());
    let before = std::time::Instant::now();
    sleeper.send_raw(b"PING first\r\nDEBUG SLEEP 0.5\r\nPING last\r\n");
    // It is asleep by the time that this comes, or sleeps with this unanswered.
    assert_eq!(sleeper.reply(), Value::bulk("first"));
    assert!(before.elapsed() >= Duration::from_millis(500));
    assert_eq!(sleeper.reply(), Value::simple("OK"));
    assert_eq!(sleeper.reply(), Value::bulk("last"));
    assert_eq!(other.run("PING"), Value::simple("PONG"));
    let spent = other.info("commandstats", "cmdstat_debug");
    let usec = spent
        .split("usec=")
        .nth(1)
        .and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
    assert!(usec.is_some_and(|usec| usec >= 500_000), "{spent}");
}

/// Bytes that a process holds.
fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).expect("its memory");
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.expect("a number of pages") * 4096
}

#[test]
fn what_lies_before_a_bit_far_away_takes_no_memory() {
    let server = subject().start();
    let Some(pid) = server.pid().filter(|_| cfg!(target_os = "linux")) else {
        return;
    };
    let before = resident(pid);
    server.run("SETBIT bits 2147483647 1");
    server.run("SETRANGE text 268435456 end");
    assert_eq!(server.run("BITCOUNT bits 268435400 -1"), Value::Int(1));
    assert_eq!(server.run("GETRANGE text 268435454 -1").bytes(), b"\0\0end");
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for three bytes and a bit");
}
