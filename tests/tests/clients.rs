//! The clients that people use: redis-cli, redis-benchmark, the `redis` crate, redis-py; and applications on them.

use redis::{Commands, Connection, RedisResult};
use reprise_tests::server::{python, python_with_redis};
use reprise_tests::{Server, oracle, subject};
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs redis-cli; it comes in one package with redis-server.
fn cli(server: &Server, args: &[&str], input: &str) -> String {
    let mut child = Command::new("redis-cli")
        .args(["-p", &server.port().to_string()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli");
    child
        .stdin
        .take()
        .expect("its input")
        .write_all(input.as_bytes())
        .expect("redis-cli reads");
    let output = child.wait_with_output().expect("redis-cli ends");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

#[test]
fn redis_cli_talks_to_it() {
    if oracle().is_none() {
        return;
    }
    let server = subject().start();
    assert_eq!(cli(&server, &["SET", "key", "value"], ""), "OK");
    assert_eq!(cli(&server, &["GET", "key"], ""), "value");
    assert_eq!(cli(&server, &["-3", "HSET", "h", "f", "v"], ""), "1");
    assert_eq!(
        cli(&server, &["-3", "--json", "HGETALL", "h"], ""),
        r#"{"f":"v"}"#
    );
    assert_eq!(
        cli(&server, &[], "MULTI\nINCR n\nINCR n\nEXEC\n"),
        "OK\nQUEUED\nQUEUED\n1\n2"
    );
    assert_eq!(cli(&server, &["-n", "3", "SET", "other", "1"], ""), "OK");
    assert_eq!(cli(&server, &["-n", "3", "DBSIZE"], ""), "1");
    assert_eq!(cli(&server, &["-x", "SET", "from input"], "piped"), "OK");
    assert_eq!(cli(&server, &["GET", "from input"], ""), "piped");
}

/// What `redis-cli --ldb` shows of a script is the same as with Redis; what the script changes is there afterwards, or
/// is not.
#[test]
fn redis_cli_debugs_scripts() {
    let Some(oracle) = oracle() else {
        return;
    };
    let servers = [subject().start(), oracle.start()];
    let script = std::env::temp_dir().join(format!("debugged-{}.lua", std::process::id()));
    let text = "local t = {KEYS[1], {x = 1.5}}\n\
                local n = redis.call('incrby', KEYS[1], ARGV[1])\n\
                for i = 1, 2 do n = n + i end\n\
                redis.breakpoint()\n\
                redis.debug(n, t)\n\
                return redis.call('get', t)\n";
    std::fs::write(&script, text).expect("a script");
    let args = [script.to_str().expect("a path"), "k", ",", "5"];
    let commands = "step\nprint\nstep\nprint t\nbreak 5\nlist\ncontinue\ntrace\neval KEYS[1]\n\
                    redis get k\nredis nosuch\nnonsense\ncontinue\ncontinue\nquit\n";
    for (mode, kept) in [("--ldb", "0"), ("--ldb-sync-mode", "1")] {
        let [ours, theirs] = servers.each_ref().map(|server| {
            let args = [&[mode, "--eval"], &args[..]].concat();
            let shown = cli(server, &args, commands);
            assert_eq!(cli(server, &["EXISTS", "k"], ""), kept, "{mode}");
            shown.replace(&server.port().to_string(), "PORT")
        });
        assert_eq!(ours, theirs, "{mode}");
        assert!(
            ours.contains("<debug> line 5: 8, {\"k\"; {[\"x\"]=1.5}}"),
            "{ours}"
        );
    }
    let _ = std::fs::remove_file(script);
}

#[test]
fn redis_cli_loads_scans_and_measures() {
    if oracle().is_none() {
        return;
    }
    let server = subject().start();
    let commands: String = (0..5_000).map(|n| format!("SET key:{n} {n}\r\n")).collect();
    let report = cli(&server, &["--pipe"], &commands);
    assert!(report.ends_with("errors: 0, replies: 5000"), "{report}");
    let keys: BTreeSet<String> = cli(&server, &["--scan", "--pattern", "key:*"], "")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(keys.len(), 5_000);
    let sizes = cli(&server, &["--bigkeys"], "");
    assert!(sizes.contains("5000 strings"), "{sizes}");
    let memory = cli(&server, &["--memkeys"], "");
    assert!(memory.contains("5000 strings"), "{memory}");
}

#[test]
fn redis_benchmark_runs_against_it() {
    if oracle().is_none() {
        return;
    }
    let server = subject().start();
    let port = server.port().to_string();
    let args = [
        "-p",
        &port,
        "-t",
        "ping,set,get,incr,mset,hset",
        "-n",
        "2000",
        "-c",
        "20",
        "-P",
        "8",
        "-r",
        "100",
        "--csv",
    ];
    let output = Command::new("redis-benchmark")
        .args(args)
        .output()
        .expect("redis-benchmark");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    for test in [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "HSET",
        "MSET (10 keys)",
    ] {
        assert!(
            report.contains(&format!("\"{test}\",")),
            "no line for {test}:\n{report}"
        );
    }
}

fn connect(server: &Server, protocol: &str) -> Connection {
    let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", server.port());
    redis::Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("a connection")
}

#[test]
fn the_redis_crate_talks_to_it_in_both_protocols() -> RedisResult<()> {
    for protocol in ["resp2", "resp3"] {
        let server = subject().start();
        let mut conn = connect(&server, protocol);
        conn.set::<_, _, ()>("key", "value")?;
        assert_eq!(conn.get::<_, String>("key")?, "value");
        assert_eq!(conn.get::<_, Option<String>>("none")?, None);
        assert_eq!(conn.incr::<_, _, i64>("n", 5)?, 5);
        conn.hset_multiple::<_, _, _, ()>("h", &[("a", 1), ("b", 2)])?;
        let hash: HashMap<String, i64> = conn.hgetall("h")?;
        assert_eq!(
            hash,
            HashMap::from([("a".into(), 1), ("b".into(), 2)]),
            "{protocol}"
        );
        assert_eq!(
            conn.mget::<_, Vec<Option<String>>>(&["key", "none"])?,
            [Some("value".into()), None]
        );
        let wrong = conn.incr::<_, _, i64>("key", 1).expect_err("not a number");
        assert!(
            wrong
                .to_string()
                .contains("value is not an integer or out of range"),
            "{wrong}"
        );
        conn.set_ex::<_, _, ()>("brief", 1, 100)?;
        assert!((1..=100).contains(&conn.ttl::<_, i64>("brief")?));
    }
    Ok(())
}

#[test]
fn the_redis_crate_pipelines_iterates_and_transacts() -> RedisResult<()> {
    let server = subject().start();
    let mut conn = connect(&server, "resp2");
    let mut pipe = redis::pipe();
    for n in 0..1_000 {
        pipe.set(format!("key:{n}"), n).ignore();
    }
    pipe.exec(&mut conn)?;
    let found: BTreeSet<String> = conn.scan_match::<_, String>("key:*")?.collect();
    assert_eq!(found.len(), 1_000);
    let (a, b): (i64, i64) = redis::pipe()
        .atomic()
        .incr("n", 1)
        .incr("n", 1)
        .query(&mut conn)?;
    assert_eq!((a, b), (1, 2));

    // Two connections add to one number under WATCH; nothing is lost.
    let mut other = connect(&server, "resp2");
    std::thread::scope(|threads| {
        for conn in [&mut conn, &mut other] {
            threads.spawn(move || {
                for _ in 0..100 {
                    redis::transaction(conn, &["n"], |conn, pipe| {
                        let n: i64 = conn.get("n")?;
                        pipe.set("n", n + 1).query::<Option<((),)>>(conn)
                    })
                    .expect("a transaction");
                }
            });
        }
    });
    assert_eq!(conn.get::<_, i64>("n")?, 202);
    Ok(())
}

/// redis-py, where it is installed.
#[test]
fn redis_py_talks_to_it() {
    if let Some(python) = python_with_redis() {
        application(&mut Command::new(python), "smoke.py");
    }
}

/// Runs a program of `clients/` against a server of its own; it says itself what it found installed.
fn application(program: &mut Command, script: &str) {
    let server = subject().start();
    let script = format!("{}/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = program.args([&script, &server.port().to_string()]).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("all is well"),
        "{text}"
    );
    println!("{text}");
}

/// Celery, RQ, Flask-Session, Django's cache, redis-py's locks: those that are there.
#[test]
fn python_applications_run_on_it() {
    let python = python();
    let there = Command::new(&python).arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no {python}");
        return;
    }
    application(&mut Command::new(python), "applications.py");
}

/// phpredis, Predis, redis-rb, Redis.pm, redis-lua: those that are there.
#[test]
fn scripting_languages_talk_to_it() {
    for (program, script) in [
        ("php", "smoke.php"),
        ("ruby", "smoke.rb"),
        ("perl", "smoke.pl"),
        ("lua5.1", "smoke.lua"),
    ] {
        match Command::new(program).arg("-v").output() {
            Ok(output) if output.status.success() => {
                application(&mut Command::new(program), script);
            }
            _ => eprintln!("skipped: there is no {program}"),
        }
    }
}

/// hiredis, with which many other clients are made.
#[test]
fn hiredis_talks_to_it() {
    let program = std::env::temp_dir().join(format!("reprise-hiredis-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/smoke.c");
    let compiled = Command::new("cc")
        .args([source, "-lhiredis", "-o"])
        .arg(&program)
        .output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no hiredis to compile with");
        return;
    }
    let server = subject().start();
    let output = Command::new(&program)
        .arg(server.port().to_string())
        .output();
    let _ = std::fs::remove_file(&program);
    let text = String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned();
    assert!(text.contains("all is well"), "{text}");
}

/// go-redis and redigo, where Debian's packages of them are.
#[test]
fn go_talks_to_it() {
    let packages = "/usr/share/gocode";
    let there = ["gopkg.in/redis.v5", "github.com/gomodule/redigo"]
        .iter()
        .all(|name| std::path::Path::new(&format!("{packages}/src/{name}")).exists());
    if !there || Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: there is no Go with go-redis and redigo");
        return;
    }
    let server = subject().start();
    let output = Command::new("go")
        .env("GO111MODULE", "off")
        .env("GOPATH", packages)
        .args([
            "run",
            concat!(env!("CARGO_MANIFEST_DIR"), "/clients/smoke.go"),
        ])
        .arg(server.port().to_string())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("all is well"), "{text}");
}

/// ioredis, redlock, BullMQ, node-redis with its cache, connect-redis: those that are there (`NODE_PATH` names them).
#[test]
fn node_applications_run_on_it() {
    let there = Command::new("node").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no node");
        return;
    }
    application(&mut Command::new("node"), "applications.js");
}
