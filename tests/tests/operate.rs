//! What operators see of a server: metrics, supervisors, signals, an orderly end, and the report of a crash.

use reprise_tests::server::free_port;
use reprise_tests::server::subject_is_oracle;
use reprise_tests::wait::{SOON, until};
use reprise_tests::{Server, Value, subject};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;

/// Sends bytes to a port; what comes back until the end.
fn exchange(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn prometheus_reads_metrics() {
    if subject_is_oracle() {
        return;
    }
    let port = free_port();
    let server = subject().set("metrics-port", &port.to_string()).start();
    server.ok("MSET a 1 b 2");
    server.ok("SET c 3 EX 100");
    assert!(server.run("INCR a b").is_error());
    let get = |path: &str| {
        exchange(
            port,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        )
    };
    let answer = get("/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    for line in [
        "redis_up 1",
        "redis_db_keys{db=\"db0\"} 3",
        "redis_db_keys_expiring{db=\"db0\"} 1",
        "redis_commands_total{cmd=\"mset\"} 1",
        "redis_errors_total{err=\"ERR\"} 1",
        "# TYPE redis_commands_processed_total counter",
    ] {
        assert!(body.lines().any(|found| found == line), "{line}\n{body}");
    }

    // Others get short answers, whatever they say.
    assert!(get("/").starts_with("HTTP/1.1 404 "));
    assert!(exchange(port, b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(exchange(port, b"\xff\xfe\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let endless = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 100_000]].concat();
    let refused = exchange(port, &endless);
    assert!(
        refused.is_empty() || refused.starts_with("HTTP/1.1 431 "),
        "{refused}"
    );
    // Many that say nothing: the server serves its clients, and those who ask once there is room again.
    let silent: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(("127.0.0.1", port)))
        .collect();
    server.ok("PING");
    drop(silent);
    until(SOON, "metrics are there again", || {
        get("/metrics").contains("redis_up 1")
    });

    server.ok("CONFIG SET metrics-port 0");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = taken.local_addr().expect("its address").port().to_string();
    let busy = std::net::TcpListener::bind(format!("127.0.0.1:{taken}"));
    assert!(
        busy.is_err()
            || server
                .run(&format!("CONFIG SET metrics-port {taken}"))
                .is_error()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told() {
    use std::os::unix::net::UnixDatagram;
    if subject_is_oracle() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    let heard = || {
        let mut buffer = [0; 4096];
        let n = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let mut server = subject()
        .set("supervised", "auto")
        .env("NOTIFY_SOCKET", path.as_os_str())
        .start();
    assert_eq!(heard(), "STATUS=Redis is loading...\n");
    assert_eq!(heard(), "STATUS=Ready to accept connections\nREADY=1\n");
    assert_eq!(
        server.conn().info("server", "process_supervised"),
        "systemd"
    );
    server.ok("CONFIG SET maxmemory 0");
    server.ok("CONFIG SET maxmemory 1gb");
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard(), "READY=1\n");
    server.terminate();
    assert_eq!(heard(), "STOPPING=1\n");
}

/// Breaks a server; its log, and the signal that it died of.
fn broken(how: impl FnOnce(&Server)) -> (String, Option<i32>) {
    let mut server = subject().start();
    server.ok("SET key value");
    how(&server);
    let status = server.wait_exit();
    (server.log(), status.signal())
}

#[test]
fn a_crash_is_reported() {
    let debug = |what: &'static str| {
        move |server: &Server| assert_eq!(server.run(&format!("DEBUG {what}")), Value::Closed)
    };
    let whole = |log: &str| {
        let parts = [
            "=== REDIS BUG REPORT START: Cut & paste starting from here ===",
            "STACK TRACE ------",
            "------ INFO OUTPUT ------",
            "db0:keys=1,",
            "------ CLIENT LIST OUTPUT ------",
            "=== REDIS BUG REPORT END. ",
        ];
        parts.iter().try_fold(0, |from, part| {
            let at = log[from..]
                .find(part)
                .ok_or_else(|| format!("no {part} in\n{log}"))?;
            Ok::<_, String>(from + at)
        })
    };
    let (log, signal) = broken(debug("SEGFAULT"));
    assert!(log.contains("crashed by signal: 11"), "{log}");
    assert_eq!((signal, whole(&log).map(|_| ())), (Some(11), Ok(())));
    assert!(log.contains("cmd=debug"), "{log}");
    let (log, signal) = broken(|server| server.signal("ABRT"));
    assert!(
        log.contains("crashed by signal: 6") && log.contains("Killed by PID: "),
        "{log}"
    );
    assert_eq!((signal, whole(&log).map(|_| ())), (Some(6), Ok(())));
    if subject_is_oracle() {
        return;
    }
    for (what, words) in [
        ("PANIC", "Guru Meditation: "),
        ("ASSERT", "=== ASSERTION FAILED ==="),
    ] {
        let (log, signal) = broken(debug(what));
        assert!(log.contains(words), "{log}");
        assert_eq!((signal, whole(&log).map(|_| ())), (Some(6), Ok(())));
        assert_eq!(log.matches("REPORT START").count(), 1, "{log}");
    }
    let (log, signal) = broken(|server| {
        server.ok("CONFIG SET crash-log-enabled no");
        assert_eq!(server.run("DEBUG SEGFAULT"), Value::Closed);
    });
    assert!(signal == Some(11) && !log.contains("REPORT START"), "{log}");
}

#[test]
fn the_watchdog_shows_where_a_long_command_is() {
    let server = subject().start();
    server.ok("CONFIG SET watchdog-period 500");
    server.ok("DEBUG SLEEP 1.2");
    until(SOON, "the watchdog barks", || {
        server.log().contains("--- WATCHDOG TIMER EXPIRED ---")
    });
    server.ok("CONFIG SET watchdog-period 0");
    if !subject_is_oracle() {
        // (Redis listens to it only while the watchdog watches.)
        server.signal("ALRM");
        until(SOON, "the signal is logged", || {
            server.log().contains("Received SIGALRM")
        });
    }
    server.ok("PING");
}

#[test]
fn ps_shows_what_the_template_says() {
    let mut server = subject()
        .set("proc-title-template", "\"{title} {port} for tests\"")
        .start();
    let shown = |server: &Server| {
        let pid = server.pid().expect("it runs");
        let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("its title");
        text.split('\0').next().unwrap_or_default().to_owned()
    };
    let title = shown(&server);
    assert!(
        title.ends_with(&format!(" {} for tests", server.port())),
        "{title}"
    );
    server
        .conn()
        .cmd(&["CONFIG", "SET", "proc-title-template", "plain {{x"]);
    assert_eq!(shown(&server), "plain {x");
    server.kill();
}

/// A primary and a replica that is linked, and stopped.
fn with_a_sleeping_replica(settings: &[(&str, &str)]) -> (Server, Server) {
    let mut launch = subject();
    for (name, value) in settings {
        launch = launch.set(name, value);
    }
    let (primary, replica) = (launch.start(), subject().start());
    replica.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    until(SOON * 2, "the link is up", || {
        replica.conn().info("replication", "master_link_status") == "up"
            && primary
                .conn()
                .info("replication", "slave0")
                .contains("state=online")
    });
    replica.signal("STOP");
    primary.ok("SET key value");
    (primary, replica)
}

/// KB-39.
#[test]
fn shutdown_waits_for_replicas_and_may_be_called_off() {
    let (mut primary, replica) = with_a_sleeping_replica(&[("shutdown-timeout", "60")]);
    let mut waiting = primary.conn();
    waiting.send(&["SHUTDOWN"]);
    until(SOON, "it waits", || {
        primary
            .log()
            .contains("Waiting for replicas before shutting down.")
    });
    let left = primary.conn().info("server", "shutdown_in_milliseconds");
    assert!((1..=60_000).contains(&left.parse().unwrap_or(0)), "{left}");
    primary.ok("GET key");
    primary.ok("SHUTDOWN ABORT");
    assert_eq!(
        waiting.reply().text(),
        "ERR Errors trying to SHUTDOWN. Check logs."
    );
    assert_eq!(
        primary.run("SHUTDOWN ABORT").text(),
        "ERR No shutdown in progress."
    );
    assert!(primary.log().contains("Shutdown manually aborted."));
    primary.ok("SET key other");
    // Once more; now the replica wakes up.
    primary.signal("TERM");
    until(SOON, "it waits again", || {
        primary
            .log()
            .matches("Waiting for replicas before shutting down.")
            .count()
            == 2
    });
    replica.signal("CONT");
    assert_eq!(primary.wait_exit().code(), Some(0));
    assert!(
        primary
            .log()
            .contains("1 of 1 replicas are in sync when shutting down.")
    );
    assert_eq!(replica.run("GET key").text(), "other");
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let (mut primary, replica) = with_a_sleeping_replica(&[("shutdown-timeout", "1")]);
    assert_eq!(primary.terminate().code(), Some(0));
    let log = primary.log();
    assert!(
        log.contains("Lagging replica ") && log.contains("0 of 1 replicas are in sync"),
        "{log}"
    );
    replica.signal("CONT");

    let (mut primary, replica) = with_a_sleeping_replica(&[("shutdown-on-sigterm", "now")]);
    assert_eq!(primary.terminate().code(), Some(0));
    assert!(!primary.log().contains("Waiting for replicas"));
    replica.signal("CONT");

    // Who insists does not wait either.
    let (mut primary, replica) = with_a_sleeping_replica(&[("shutdown-timeout", "60")]);
    primary.signal("INT");
    until(SOON, "it waits", || {
        primary.log().contains("Waiting for replicas")
    });
    primary.signal("INT");
    assert_eq!(primary.wait_exit().code(), Some(1));
    assert!(primary.log().contains("You insist... exiting now."));
    replica.signal("CONT");
}

#[test]
fn what_has_no_effect_is_told_and_the_pidfile_goes() {
    if subject_is_oracle() {
        return;
    }
    let mut server = subject()
        .set("io-threads", "4")
        .set("pidfile", "it.pid")
        .start();
    assert!(
        server
            .log()
            .contains("Directive io-threads has no effect: ")
    );
    let pid = server.pid().expect("it runs").to_string();
    let written = std::fs::read_to_string(server.path("it.pid")).expect("the pid file");
    assert_eq!(written.trim(), pid);
    server.terminate();
    assert!(!server.path("it.pid").exists() && server.log().contains("Removing the pid file."));
}

#[test]
fn a_replica_shows_the_link_to_its_primary_and_may_cut_it() {
    let primary = subject().start();
    let replica = subject().start();
    replica.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let link = || {
        let list = replica.run("CLIENT LIST TYPE master").text();
        list.lines().next().map(str::to_owned)
    };
    until(SOON, "the link is up", || link().is_some());
    let line = link().expect("the link");
    for part in [
        format!(" addr=127.0.0.1:{} ", primary.port()),
        " flags=M ".into(),
        " user=(superuser) ".into(),
    ] {
        assert!(line.contains(&part), "{part}: {line}");
    }
    until(SOON, "it counts as a client", || {
        replica.conn().info("clients", "connected_clients") == "2"
    });
    assert_eq!(replica.run("CLIENT KILL TYPE master"), Value::Int(1));
    until(SOON, "it is up again", || {
        link().is_some_and(|again| again.split(' ').nth(2) != line.split(' ').nth(2))
    });
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(link(), None);
}

#[test]
fn a_script_says_who_learns_of_its_writes() {
    let mut primary = subject()
        .set("appendonly", "yes")
        .set("appendfsync", "always")
        .start();
    let replica = subject().start();
    replica.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    until(SOON, "the link is up", || {
        replica.conn().info("replication", "master_link_status") == "up"
    });
    let script = "for i, to in ipairs({'REPL_NONE', 'REPL_AOF', 'REPL_REPLICA', 'REPL_ALL'}) do \
                  redis.set_repl(redis[to]) redis.call('set', KEYS[i], to) end";
    let names = ["none", "aof", "replica", "all"];
    let mut eval = vec!["EVAL", script, "4"];
    eval.extend(names);
    assert!(!primary.conn().cmd(&eval).is_error());
    primary.ok("SET last 1");
    until(SOON, "all has arrived", || {
        replica.run("EXISTS last") == Value::Int(1)
    });
    let known = |server: &Server| -> Vec<&str> {
        let there = |name: &&str| server.run(&format!("EXISTS {name}")) == Value::Int(1);
        names.into_iter().filter(there).collect()
    };
    assert_eq!(known(&primary), names);
    assert_eq!(known(&replica), ["replica", "all"]);
    primary.kill();
    primary.restart();
    assert_eq!(known(&primary), ["aof", "all"]);
}
