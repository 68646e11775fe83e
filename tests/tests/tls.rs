//! TLS: with redis-cli, with Redis as a peer, and with clients that do not do as they should.
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/encryption/>

use reprise_tests::server::{free_port, python_with_redis, subject_is_oracle};
use reprise_tests::tls::{Authority, TlsConn};
use reprise_tests::wait::{SOON, until};
use reprise_tests::{Server, Value, oracle, subject};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// A server with a TLS port, its authority and that port.
fn server() -> (Server, Authority, u16) {
    let authority = Authority::new();
    for name in ["server", "client"] {
        authority.issue(name);
    }
    let port = free_port();
    let server = authority.serve(subject(), "server", port).start();
    (server, authority, port)
}

#[track_caller]
fn connect(authority: &Authority, port: u16) -> TlsConn {
    authority.connect(port, None).expect("a TLS connection")
}

#[track_caller]
fn cli(options: &[String], port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(options)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("redis-cli");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    text.trim_end().to_owned()
}

#[test]
fn clients_speak_tls_on_one_port_and_plain_text_on_the_other() {
    let (server, authority, port) = server();
    let mut conn = connect(&authority, port);
    assert_eq!(conn.run("SET key value"), Value::Simple(b"OK".to_vec()));
    assert_eq!(server.run("GET key").text(), "value");
    assert!(
        conn.run("CLIENT LIST")
            .text()
            .contains(&format!("laddr=127.0.0.1:{port}"))
    );

    // A pipeline, and values far larger than any buffer.
    let mut pipeline = Vec::new();
    for n in 0..10_000 {
        pipeline.extend(reprise_tests::resp::command(&["ECHO", &n.to_string()]));
    }
    conn.send_raw(&pipeline);
    for n in 0..10_000 {
        assert_eq!(conn.reply().text(), n.to_string());
    }
    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(
        conn.cmd(&[b"SET".as_slice(), b"large", &large]),
        Value::Simple(b"OK".to_vec())
    );
    assert!(conn.cmd(&["GET", "large"]) == Value::Bulk(large));

    if oracle().is_some() {
        let options = authority.cli_options("client");
        assert_eq!(cli(&options, port, &["GET", "key"]), "value");
        assert_eq!(cli(&options, port, &["-3", "INCR", "n"]), "1");
    }
    assert!(conn.run("QUIT") == Value::Simple(b"OK".to_vec()) && conn.ends_in_order());
}

#[test]
fn the_plain_port_may_be_switched_off() {
    let (server, authority, port) = server();
    let mut conn = connect(&authority, port);
    assert_eq!(conn.run("CONFIG SET port 0"), Value::Simple(b"OK".to_vec()));
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    let other = free_port();
    conn.run(&format!("CONFIG SET tls-port {other}"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(connect(&authority, other).run("PING").text(), "PONG");
    assert_eq!(
        conn.run("INFO server")
            .text()
            .lines()
            .find(|l| l.starts_with("tcp_port")),
        Some(format!("tcp_port:{other}").as_str())
    );
}

/// Whether a client gets an answer: with TLS 1.3 it learns only after its own handshake that it was refused.
fn answers(conn: std::io::Result<TlsConn>) -> bool {
    conn.is_ok_and(|mut conn| conn.run("PING").text() == "PONG")
}

#[test]
fn certificates_of_clients_are_asked_for_as_configured() {
    let (server, authority, port) = server();
    let stranger = Authority::new();
    stranger.issue("client");
    let mut conn = server.conn();
    for (setting, [none, ours, strange]) in [
        ("no", [true, true, true]),
        ("optional", [true, true, false]),
        ("yes", [false, true, false]),
    ] {
        conn.ok(&format!("CONFIG SET tls-auth-clients {setting}"));
        let shown = [
            None,
            Some((&authority, "client")),
            Some((&stranger, "client")),
        ];
        let got = shown.map(|shown| answers(authority.connect(port, shown)));
        assert_eq!(got, [none, ours, strange], "tls-auth-clients {setting}");
    }
    let log = server.log();
    assert!(
        log.contains("# Error accepting a client connection: "),
        "{log}"
    );
}

#[test]
fn garbage_and_silence_are_closed_and_told() {
    let (server, authority, port) = server();
    let mut garbage = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    garbage.set_read_timeout(Some(SOON)).expect("a timeout");
    garbage.write_all(b"PING\r\n").expect("written");
    let mut alert = Vec::new();
    let _ = garbage.read_to_end(&mut alert);
    assert!(!alert.starts_with(b"+"), "{alert:?}");
    until(SOON, "the log tells of it", || {
        server
            .log()
            .contains("# Error accepting a client connection: ")
    });

    // Half a handshake, then nothing.
    server.ok("CONFIG SET timeout 1");
    let mut half = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    half.set_read_timeout(Some(SOON)).expect("a timeout");
    half.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc])
        .expect("written");
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).expect("closed in order");
    // The line may be written after the connection was closed.
    until(SOON, "the log tells of that too", || {
        subject_is_oracle() || server.log().contains("TLS handshake timed out")
    });
    server.ok("CONFIG SET timeout 0");

    // One that says goodbye, and one that goes without a word.
    let mut polite = connect(&authority, port);
    assert_eq!(polite.run("PING").text(), "PONG");
    polite.finish();
    assert!(polite.ends_in_order());
    let mut rude = connect(&authority, port);
    assert_eq!(rude.run("PING").text(), "PONG");
    drop(rude);
    until(SOON, "both are gone", || {
        server.conn().info("clients", "connected_clients") == "1"
    });
}

#[test]
fn certificates_are_replaced_without_dropping_anybody() {
    let (server, authority, port) = server();
    let mut before = connect(&authority, port);
    let first = before.server_certificate();
    authority.issue("second");
    let set = |pairs: &str| server.run(&format!("CONFIG SET {pairs}"));
    let (cert, key) = (authority.file("second.crt"), authority.file("second.key"));

    let refused = "ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable to update TLS \
                   configuration. Check server logs.";
    for wrong in ["/nowhere.crt", &key, &cert] {
        // The last is a certificate that the key does not belong to.
        assert_eq!(set(&format!("tls-cert-file {wrong}")).text(), refused);
        assert_eq!(connect(&authority, port).server_certificate(), first);
    }
    assert!(
        server
            .log()
            .contains("# Failed to load certificate: /nowhere.crt: ")
    );
    assert_eq!(
        server.run("CONFIG GET tls-cert-file"),
        Value::Array(vec![
            Value::Bulk(b"tls-cert-file".to_vec()),
            Value::Bulk(authority.file("server.crt").into_bytes())
        ])
    );

    assert_eq!(
        set(&format!("tls-cert-file {cert} tls-key-file {key}")).text(),
        "OK"
    );
    assert_ne!(connect(&authority, port).server_certificate(), first);
    assert_eq!(before.run("PING").text(), "PONG");
    // The same names with other contents.
    fs::copy(authority.path("server.crt"), authority.path("second.crt")).expect("a copy");
    fs::copy(authority.path("server.key"), authority.path("second.key")).expect("a copy");
    assert_eq!(
        set(&format!("tls-cert-file {cert} tls-key-file {key}")).text(),
        "OK"
    );
    assert_eq!(connect(&authority, port).server_certificate(), first);
}

#[test]
fn protocols_and_suites_are_chosen_by_name() {
    let (server, authority, port) = server();
    let agreed = || connect(&authority, port).agreed();
    assert!(agreed().contains("TLSv1_3"));
    server.ok("CONFIG SET tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256");
    assert!(agreed().contains("TLS13_CHACHA20_POLY1305_SHA256"));
    server.ok("CONFIG SET tls-protocols TLSv1.2 tls-ciphers ECDHE+AES128");
    assert!(agreed().contains("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    for wrong in [
        "tls-protocols SSLv3",
        "tls-ciphers NONSENSE",
        "tls-ciphersuites X",
    ] {
        assert!(
            server.run(&format!("CONFIG SET {wrong}")).is_error(),
            "{wrong}"
        );
    }
    assert!(
        server
            .log()
            .contains("Failed to configure ciphers: NONSENSE")
    );
    assert!(agreed().contains("AES_128"));
}

#[test]
fn an_encrypted_key_is_opened_by_its_password() {
    let (server, authority, port) = server();
    let sealed = authority.file("sealed.key");
    let done = Command::new("openssl")
        .args([
            "pkcs8",
            "-topk8",
            "-v2",
            "aes256",
            "-passout",
            "pass:secret",
        ])
        .args(["-in", &authority.file("server.key"), "-out", &sealed])
        .status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no openssl to encrypt a key with");
        return;
    }
    let set = |password: &str| {
        server.run(&format!(
            "CONFIG SET tls-key-file {sealed} tls-key-file-pass {password}"
        ))
    };
    assert!(set("wrong").is_error());
    assert!(server.log().contains("# Failed to load private key: "));
    assert_eq!(set("secret").text(), "OK");
    assert_eq!(connect(&authority, port).run("PING").text(), "PONG");
}

#[test]
fn nothing_starts_with_a_half_configuration() {
    let authority = Authority::new();
    authority.issue("server");
    let port = free_port();
    let refuses = |launch: reprise_tests::server::Launch, why: &str| {
        let mut server = subject().start();
        server.kill();
        let conf = fs::read_to_string(server.path("server.conf")).expect("its configuration");
        fs::write(server.path("server.conf"), conf + &launch.directives()).expect("written");
        let log = server.restart_fails();
        assert!(log.contains(why), "{log}");
        assert!(log.contains("# Failed to configure TLS. Check logs for more info."));
    };
    let whole = || authority.serve(subject(), "server", port);
    refuses(
        whole().set("tls-cert-file", "\"\""),
        "No tls-cert-file configured!",
    );
    refuses(
        whole().set("tls-key-file", "\"\""),
        "No tls-key-file configured!",
    );
    refuses(
        whole()
            .set("tls-ca-cert-file", "\"\"")
            .set("tls-auth-clients", "yes"),
        "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when",
    );
    refuses(
        whole().set("tls-ca-cert-file", "/nowhere"),
        "Failed to configure CA certificate(s) file/directory: ",
    );
}

/// A primary and a replica that speak TLS with each other; both want certificates.
fn replicates(primary: reprise_tests::server::Launch, replica: reprise_tests::server::Launch) {
    let authority = Authority::new();
    authority.issue("server");
    let ports = [free_port(), free_port()];
    let start = |launch, port| {
        authority
            .serve(launch, "server", port)
            .set("tls-auth-clients", "yes")
            .set("tls-replication", "yes")
            .start()
    };
    let (primary, replica) = (start(primary, ports[0]), start(replica, ports[1]));
    let large = "x".repeat(3_000_000);
    primary.conn().cmd(&["SET", "before", &large]);
    replica.ok(&format!("REPLICAOF 127.0.0.1 {}", ports[0]));
    until(SOON * 2, "the link is up", || {
        replica.conn().info("replication", "master_link_status") == "up"
    });
    primary.conn().cmd(&["SET", "after", &large]);
    until(SOON, "all is there", || {
        replica.run("STRLEN after") == Value::Int(3_000_000)
    });
    assert_eq!(replica.run("STRLEN before"), Value::Int(3_000_000));
    let info = primary.conn().info("replication", "slave0");
    assert!(info.contains(&format!("port={},", ports[1])), "{info}");
}

#[test]
fn replication_over_tls() {
    replicates(subject(), subject());
}

#[test]
fn replication_over_tls_with_redis_either_way() {
    let (Some(primary), Some(replica)) = (oracle(), oracle()) else {
        return;
    };
    replicates(primary, subject());
    replicates(subject(), replica);
}

/// Nodes of both kinds on one TLS bus: clients are shown the port of their kind.
#[test]
fn a_cluster_over_tls_with_redis_among_its_nodes() {
    let Some(redis) = oracle() else {
        return;
    };
    let authority = Authority::new();
    authority.issue("server");
    let nodes: Vec<(Server, u16)> = [subject(), redis, subject()]
        .into_iter()
        .map(|launch| {
            let port = free_port();
            let launch = authority
                .serve(launch, "server", port)
                .set("tls-cluster", "yes")
                .set("tls-replication", "yes")
                .set("cluster-enabled", "yes")
                .set("cluster-node-timeout", "3000");
            (launch.start(), port)
        })
        .collect();
    let options = authority.cli_options("server");
    let addresses: Vec<String> = nodes
        .iter()
        .map(|(_, port)| format!("127.0.0.1:{port}"))
        .collect();
    let mut args = vec!["--cluster", "create"];
    args.extend(addresses.iter().map(String::as_str));
    args.push("--cluster-yes");
    let report = cli(&options, nodes[0].1, &args);
    assert!(report.contains("[OK] All 16384 slots covered"), "{report}");
    until(SOON * 2, "the cluster works", || {
        nodes.iter().all(|(node, _)| {
            node.run("CLUSTER INFO").text().contains("cluster_state:ok")
                && !node.run("CLUSTER NODES").text().contains(" disconnected")
        })
    });
    assert_eq!(
        cli(&options, nodes[0].1, &["-c", "SET", "foo", "bar"]),
        "OK"
    );

    // foo is in slot 12182, which the last node has.
    let (first, port) = &nodes[0];
    let plain = format!("MOVED 12182 127.0.0.1:{}", nodes[2].0.port());
    let secure = format!("MOVED 12182 127.0.0.1:{}", nodes[2].1);
    assert_eq!(first.run("GET foo").text(), plain);
    assert_eq!(connect(&authority, *port).run("GET foo").text(), secure);
    for (node, port) in &nodes {
        let shards = format!("{:?}", connect(&authority, *port).run("CLUSTER SHARDS"));
        assert!(shards.contains("tls-port"), "{shards}");
        let slots = format!("{:?}", node.run("CLUSTER SLOTS"));
        assert!(slots.contains(&nodes[2].0.port().to_string()), "{slots}");
    }
}

/// redis-py, where it is installed.
#[test]
fn redis_py_speaks_tls() {
    let Some(python) = python_with_redis() else {
        return;
    };
    let (server, authority, port) = server();
    server.ok("CONFIG SET tls-auth-clients yes");
    let script = "import redis, sys\n\
                  r = redis.Redis(port=int(sys.argv[1]), ssl=True, ssl_ca_certs=sys.argv[2], ssl_certfile=sys.argv[3],\n\
                  ssl_keyfile=sys.argv[4], decode_responses=True)\n\
                  assert r.set('a', 'b' * 100000) and r.get('a') == 'b' * 100000\n\
                  print('all is well')";
    let files = ["ca.crt", "client.crt", "client.key"].map(|name| authority.file(name));
    let output = Command::new(python)
        .args(["-c", script, &port.to_string()])
        .args(files)
        .output()
        .expect("python");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("all is well"), "{text}");
}
