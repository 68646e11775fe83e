//! What operators see and limit: clients and their memory, MEMORY, the command logs, FAILOVER's refusals.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::testing::*;
use crate::Engine;
use crate::config::Config;
use crate::face::{ConnId, DiskReply, Effect, Input, Refusal, Work};

/// A field of a client's line in CLIENT LIST.
fn field(engine: &mut Engine, name: &str, field: &str) -> Option<String> {
    let list = run(engine, "CLIENT LIST");
    let line = (list.split("id=").skip(1)).find(|line| line.contains(&format!("name={name} ")))?;
    let value = line.split_once(&format!(" {field}="))?.1;
    Some(value.split(' ').next().unwrap_or_default().into())
}

/// KB-110.
#[test]
fn the_client_that_holds_most_goes_first_unless_it_is_spared() {
    let mut engine = engine_with(Config {
        maxmemory_clients: 1 << 20,
        ..Config::default()
    });
    let clients: Vec<ConnId> = (1..=3).map(|n| join(&mut engine, n)).collect();
    for (n, &conn) in clients.iter().enumerate() {
        send(&mut engine, conn, NOW, &format!("CLIENT SETNAME c{n}"));
    }
    send(&mut engine, clients[2], NOW, "CLIENT NO-EVICT ON");
    let most = |len: usize| {
        let head = alloc::format!("*2\r\n${}\r\n", len + 10_000);
        [head.into_bytes(), vec_of(len)].concat()
    };
    for (n, len) in [(0, 100_000), (1, 300_000), (2, 400_000)] {
        send_raw(&mut engine, clients[n], &most(len));
    }
    assert_eq!(field(&mut engine, "c1", "qbuf"), Some("300000".into()));
    assert!(run(&mut engine, "INFO stats").contains("evicted_clients:0"));
    // Another word of 300,000 bytes is announced.
    let rest = [&vec_of(10_000)[..], b"\r\n$300000\r\n"].concat();
    send_raw(&mut engine, clients[2], &rest);
    let evicted = |engine: &mut Engine| -> Vec<usize> {
        (0..3)
            .filter(|n| field(engine, &format!("c{n}"), "age").is_none())
            .collect()
    };
    // The largest is spared, the next is gone, the rest fits.
    assert_eq!(evicted(&mut engine), [1]);
    assert!(run(&mut engine, "INFO stats").contains("evicted_clients:1"));
    run(&mut engine, "CLIENT NO-EVICT ON");
    run(&mut engine, "CONFIG SET maxmemory-clients 200000");
    assert_eq!(evicted(&mut engine), [0, 1]);
}

fn vec_of(len: usize) -> Vec<u8> {
    alloc::vec![b'v'; len]
}

#[test]
fn a_client_list_shows_what_is_half_said() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "CLIENT SETNAME a");
    send_raw(&mut engine, a, b"*3\r\n$3\r\nSET\r\n$2\r\nkk\r\n$5\r\nab");
    assert_eq!(field(&mut engine, "a", "qbuf"), Some("27".into()));
    assert_eq!(field(&mut engine, "a", "argv-mem"), Some("5".into()));
    let own = run(&mut engine, "CLIENT LIST");
    assert!(own.contains("qbuf=26") && own.contains("argv-mem=10"));
    send_raw(&mut engine, a, b"cde\r\n");
    assert_eq!(field(&mut engine, "a", "qbuf"), Some("0".into()));
    assert_eq!(field(&mut engine, "a", "flags"), Some("N".into()));
    send(&mut engine, a, NOW, "CLIENT NO-TOUCH ON");
    send(&mut engine, a, NOW, "CLIENT TRACKING ON BCAST");
    assert_eq!(field(&mut engine, "a", "flags"), Some("tBT".into()));
    assert_eq!(field(&mut engine, "a", "redir"), Some("0".into()));
}

#[test]
fn reads_of_a_client_that_does_not_touch_leave_keys_their_age() {
    let mut engine = engine();
    run(&mut engine, "SET k v");
    assert_eq!(run(&mut engine, "CLIENT NO-TOUCH ON"), "+OK");
    run_at(&mut engine, after_ms(5000), "GET k");
    assert_eq!(
        run_at(&mut engine, after_ms(5000), "OBJECT IDLETIME k"),
        ":5"
    );
    run_at(&mut engine, after_ms(5000), "TOUCH k");
    assert_eq!(
        run_at(&mut engine, after_ms(5000), "OBJECT IDLETIME k"),
        ":0"
    );
}

#[test]
fn memory_usage_is_what_the_allocator_gives() {
    let mut engine = engine();
    let usage = |engine: &mut Engine, key: &str| -> i64 {
        let reply = run(engine, &format!("MEMORY USAGE {key} SAMPLES 0"));
        reply[1..].parse().unwrap()
    };
    assert_eq!(run(&mut engine, "MEMORY USAGE none"), "$-1");
    assert_eq!(
        run(&mut engine, "MEMORY USAGE k SAMPLES -1"),
        "-ERR syntax error"
    );
    assert_eq!(
        run(&mut engine, "MEMORY USAGE k SAMPLES"),
        "-ERR syntax error"
    );
    run(&mut engine, "SETRANGE k 99999 x");
    // The size class above 100,000 bytes is 112 KiB.
    let large = usage(&mut engine, "k");
    assert!((114_688..114_900).contains(&large), "{large}");
    run(&mut engine, "SET s v");
    assert!(usage(&mut engine, "s") < 48);
    // What all keys take together is what INFO counts as data.
    run(&mut engine, "RPUSH l a b c");
    run(&mut engine, "HSET h f v");
    let stats = run(&mut engine, "MEMORY STATS");
    let dataset = stats.split("dataset.bytes :").nth(1).unwrap();
    let dataset: i64 = dataset.split(' ').next().unwrap().parse().unwrap();
    let all: i64 = ["k", "s", "l", "h"]
        .map(|key| usage(&mut engine, key))
        .iter()
        .sum();
    assert!((all - dataset).abs() < 64, "{all} {dataset}");
    assert!(run(&mut engine, "INFO memory").contains("lazyfreed_objects:0"));
}

#[test]
fn large_requests_and_replies_are_remembered() {
    let mut engine = engine();
    run(
        &mut engine,
        "CONFIG SET commandlog-request-larger-than 1000 commandlog-reply-larger-than 500",
    );
    run(&mut engine, &format!("SET k {}", "v".repeat(1000)));
    run(&mut engine, "GET k");
    run(&mut engine, "PING");
    assert_eq!(run(&mut engine, "COMMANDLOG LEN LARGE-REQUEST"), ":1");
    let log = run(&mut engine, "COMMANDLOG GET -1 large-reply");
    assert!(
        log.starts_with("*1 *6 :0 ") && log.contains(":1009 *2 $3 GET $1 k"),
        "{log}"
    );
    assert_eq!(run(&mut engine, "COMMANDLOG LEN slow"), ":0");
    run(&mut engine, "COMMANDLOG RESET large-reply");
    assert_eq!(run(&mut engine, "COMMANDLOG LEN large-reply"), ":0");
    assert!(run(&mut engine, "COMMANDLOG LEN fast").starts_with("-ERR type should be one of"));
    // The slow log's directives have new names, which patterns do not find.
    run(
        &mut engine,
        "CONFIG SET commandlog-slow-execution-max-len 7",
    );
    assert_eq!(
        run(&mut engine, "CONFIG GET slowlog-max-len"),
        "*2 $15 slowlog-max-len $1 7"
    );
    assert_eq!(run(&mut engine, "CONFIG GET commandlog*"), "*0");
}

#[test]
fn what_may_have_effects_elsewhere_waits_for_the_end_of_a_pause() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    run(&mut engine, "CLIENT PAUSE 1000 WRITE");
    assert_eq!(send(&mut engine, a, NOW, "GET k"), "$-1");
    assert_eq!(send(&mut engine, a, NOW, "PFCOUNT k"), "");
    run(&mut engine, "CLIENT UNPAUSE");
    assert_eq!(wait(&mut engine, a, NOW), ":0");
    let flags = run(&mut engine, "COMMAND INFO pfcount");
    assert!(!flags.contains("may_replicate"));
}

#[test]
fn modules_pictures_and_failovers() {
    let mut engine = engine();
    assert_eq!(run(&mut engine, "MODULE LIST"), "*0");
    assert!(run(&mut engine, "MODULE LOAD x").starts_with("-ERR MODULE command not allowed."));
    let picture = run(&mut engine, "LOLWUT VERSION 5 10 5");
    assert!(picture.ends_with("Redis ver. 7.0.15\\n"), "{picture}");
    assert_ne!(run(&mut engine, "LOLWUT VERSION 5 10 5"), picture);
    assert_eq!(
        run(&mut engine, "FAILOVER ABORT"),
        "-ERR No failover in progress."
    );
    let refused = "-ERR FAILOVER requires connected replicas.";
    assert_eq!(
        run(&mut engine, "FAILOVER TO 127.0.0.1 1 TIMEOUT 5"),
        refused
    );
    assert!(run(&mut engine, "INFO replication").contains("master_failover_state:no-failover"));
}

#[test]
fn doomed_clients_are_closed() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    run(&mut engine, "CLIENT KILL ID 2");
    // (`run` has carried the effect out.)
    assert_eq!(send(&mut engine, a, NOW, "PING"), "");
    while let Some(effect) = engine.poll_effect() {
        assert!(!matches!(effect, Effect::Close { .. }));
    }
}

/// Has the engine carry out a request in steps, each at so many microseconds after [`NOW`]; then drops the turn.
fn steps(engine: &mut Engine, conn: ConnId, request: &str, times_us: &[u64]) -> String {
    let words = crate::resp::split_words(request.as_bytes()).unwrap();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut bytes = Vec::new();
    super::effects::encode(&mut bytes, &words);
    let reads = [(conn, &bytes[..])];
    let mut turn = engine.receive(&reads);
    for us in times_us {
        let mut now = NOW;
        now.mono_us += us;
        now.unix_us += us;
        turn.step(now);
    }
    drop(turn);
    collect(engine, conn)
}

#[test]
fn a_slow_command_in_a_transaction_is_told_from_its_neighbours() {
    let mut engine = engine_with(Config {
        slowlog_log_slower_than: 10_000,
        latency_monitor_threshold: 10,
        ..Config::default()
    });
    let a = join(&mut engine, 1);
    for command in ["MULTI", "SET k value", "GET k", "TTL k"] {
        send(&mut engine, a, NOW, command);
    }
    // EXEC, SET until 20 ms, GET until 21 ms, TTL until 36 ms, the end.
    let times = [0, 0, 20_000, 21_000, 36_000, 36_000];
    let reply = steps(&mut engine, a, "EXEC", &times);
    assert_eq!(reply, "*3 +OK $5 value :-1");
    let log = run(&mut engine, "SLOWLOG GET");
    assert!(
        log.starts_with("*2 *6 :1 :1700000000 :15000 *2 $3 TTL $1 k "),
        "{log}"
    );
    assert!(
        log.contains("*6 :0 :1700000000 :20000 *3 $3 SET $1 k $5 value "),
        "{log}"
    );
    let stats = run(&mut engine, "INFO commandstats");
    for line in [
        "cmdstat_exec:calls=1,usec=36000,",
        "cmdstat_set:calls=1,usec=20000,",
        "cmdstat_get:calls=1,usec=1000,",
        "cmdstat_ttl:calls=1,usec=15000,",
    ] {
        assert!(stats.contains(line), "{line} {stats}");
    }
    let latency = run(&mut engine, "LATENCY LATEST");
    assert!(
        latency.contains("$7 command :1700000000 :36 :36"),
        "{latency}"
    );
    assert!(
        latency.contains("$12 fast-command :1700000000 :15 :15"),
        "{latency}"
    );
}

#[test]
fn a_transaction_is_whole_though_its_turn_is_dropped_in_the_middle() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    for command in ["MULTI", "INCR n", "INCR n", "INCR n"] {
        send(&mut engine, a, NOW, command);
    }
    assert_eq!(steps(&mut engine, a, "EXEC", &[0, 0]), "*3 :1 :2 :3");
    assert_eq!(send(&mut engine, b, NOW, "GET n"), "$1 3");
    // It is over: what follows is no part of it.
    assert_eq!(send(&mut engine, a, NOW, "INCR n"), ":4");
    assert_eq!(send(&mut engine, a, NOW, "EXEC"), "-ERR EXEC without MULTI");
}

#[test]
fn large_commands_of_a_transaction_are_in_the_command_log() {
    let mut engine = engine_with(Config {
        commandlog_request_larger_than: 100,
        commandlog_reply_larger_than: 100,
        ..Config::default()
    });
    let value = "v".repeat(150);
    for command in ["MULTI", "SET small 1", &format!("SET k {value}"), "GET k"] {
        run(&mut engine, command);
    }
    run(&mut engine, "EXEC");
    let requests = run(&mut engine, "COMMANDLOG GET -1 LARGE-REQUEST");
    assert!(
        requests.starts_with("*1 ") && requests.contains("$3 SET $1 k "),
        "{requests}"
    );
    let replies = run(&mut engine, "COMMANDLOG GET -1 LARGE-REPLY");
    assert!(replies.contains("$3 GET $1 k "), "{replies}");
}

#[test]
fn memory_purge_is_for_the_runtime() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    let reads = [(a, &b"MEMORY PURGE\r\n"[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    let effects: Vec<Effect> = core::iter::from_fn(|| engine.poll_effect()).collect();
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Purge)),
        "{effects:?}"
    );
    assert_eq!(collect(&mut engine, a), "+OK");
}

#[test]
fn commands_in_scripts_have_their_share_of_the_time() {
    let mut engine = engine_with(Config {
        slowlog_log_slower_than: 10_000,
        latency_monitor_threshold: 10,
        ..Config::default()
    });
    let a = join(&mut engine, 1);
    let script = "EVAL \"redis.call('get', 'k') redis.call('keys', '*') redis.call('get', 'k')\" 0";
    // GET until 0.9 ms, KEYS (of which nothing is known, so it has a step of its own) until 50.9 ms, GET until 54.2 ms.
    let reply = steps(&mut engine, a, script, &[0, 900, 50_900, 54_200, 54_200]);
    assert_eq!(reply, "$-1");
    let stats = run(&mut engine, "INFO commandstats");
    for line in [
        "cmdstat_eval:calls=1,usec=54200,",
        "cmdstat_keys:calls=1,usec=50000,",
        // (As far as is known, that takes half a microsecond: the rest is the script's.)
        "cmdstat_get:calls=2,usec=1,",
    ] {
        assert!(stats.contains(line), "{line} {stats}");
    }
    let times = run(&mut engine, "INFO latencystats");
    assert!(
        times.contains("latency_percentiles_usec_keys:p50=5"),
        "{times}"
    );
    // The script is what was slow for others.
    let log = run(&mut engine, "SLOWLOG GET");
    assert!(
        log.starts_with("*1 *6 :0 :1700000000 :54200 *3 $4 EVAL "),
        "{log}"
    );
    let events = run(&mut engine, "LATENCY LATEST");
    assert!(
        events.starts_with("*1 *4 $7 command :1700000000 :54 :54"),
        "{events}"
    );
}

#[test]
fn what_follows_a_long_script_in_a_transaction_is_timed_too() {
    let mut engine = engine_with(Config {
        slowlog_log_slower_than: 10_000,
        ..Config::default()
    });
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "MULTI");
    let script = "EVAL \"for i = 1, 2000000 do end\" 0";
    assert_eq!(send(&mut engine, a, NOW, script), "+QUEUED");
    send(&mut engine, a, NOW, "SET k value");
    // The turn ends while the script runs, which goes on in the next.
    assert_eq!(steps(&mut engine, a, "EXEC", &[0, 0, 0]), "");
    let mut turn = engine.receive(&[]);
    let mut ms = 0;
    while turn.step(after_ms(ms)) {
        ms += 20;
    }
    drop(turn);
    assert_eq!(collect(&mut engine, a), "*2 $-1 +OK");
    let log = run(&mut engine, "SLOWLOG GET");
    assert!(log.contains(" :20000 *3 $3 SET $1 k $5 value "), "{log}");
    let stats = run(&mut engine, "INFO commandstats");
    assert!(stats.contains("cmdstat_set:calls=1,usec=20000,"), "{stats}");
    // (It is over with the step that finds no more commands.)
    let whole = format!("cmdstat_exec:calls=1,usec={},", (ms - 20) * 1000);
    assert!(stats.contains(&whole), "{whole} {stats}");
}

#[test]
fn what_the_server_itself_took_long_for_is_an_event() {
    let took = |engine: &mut Engine, work, ms: u64| {
        let micros = ms * 1000;
        engine.handle(after_ms(300), Input::Took { work, micros });
        run(engine, "LATENCY LATEST")
    };
    let mut engine = engine_with(Config {
        latency_monitor_threshold: 10,
        ..Config::default()
    });
    run(&mut engine, "SET k v PX 1");
    engine.handle(after_ms(200), Input::Tick);
    assert_eq!(took(&mut engine, Work::Tick, 9), "*0");
    let events = took(&mut engine, Work::Tick, 15);
    assert!(events.contains("expire-cycle"), "{events}");
    assert_eq!(run(&mut engine, "LATENCY RESET"), ":1");
    // Nothing was due in this round.
    engine.handle(after_ms(400), Input::Tick);
    assert_eq!(took(&mut engine, Work::Tick, 15), "*0");
}

#[test]
fn slow_writes_and_syncs_of_the_log_are_events() {
    let mut engine = engine_with(Config {
        latency_monitor_threshold: 10,
        appendonly: true,
        appendfsync: crate::config::AppendFsync::Always,
        ..Config::default()
    });
    let reads = [(conn(), &b"SET k v\r\n"[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    while let Some(effect) = engine.poll_effect() {
        if let Effect::Disk { op, .. } = effect {
            let (work, micros) = (Work::Disk, 15_000);
            engine.handle(NOW, Input::Took { work, micros });
            let result = Ok(DiskReply::Done);
            engine.handle(NOW, Input::Disk { op, result });
        }
    }
    let events = run(&mut engine, "LATENCY LATEST");
    for event in ["aof-write", "aof-write-alone", "aof-fsync-always"] {
        assert!(events.contains(&format!(" {event} ")), "{event}: {events}");
    }
    let doctor = run(&mut engine, "LATENCY DOCTOR");
    assert!(
        doctor.contains("appendfsync always") && !doctor.contains("Slow Log"),
        "{doctor}"
    );
}

#[test]
fn a_transaction_tells_what_the_runtime_says_of_its_changes() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    let set = |port| format!("CONFIG SET port {port}");
    for command in ["MULTI", &set(7001), "GET k", &set(7002), "CONFIG GET port"] {
        send(&mut engine, a, NOW, command);
    }
    assert_eq!(send(&mut engine, a, NOW, "EXEC"), "");
    // What comes behind it waits, too.
    assert_eq!(send(&mut engine, a, NOW, "PING"), "");
    let refusal = Refusal {
        name: "port",
        reason: "Unable to listen on this port".into(),
    };
    let refused = Some(refusal);
    engine.handle(NOW, Input::Reconfigured { refused });
    assert_eq!(wait(&mut engine, a, NOW), "");
    engine.handle(NOW, Input::Reconfigured { refused: None });
    assert_eq!(
        wait(&mut engine, a, NOW).replace('\\', ""),
        "*4 -ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port \
         $-1 +OK *2 $4 port $4 7002 +PONG"
    );
    assert_eq!(run(&mut engine, "CONFIG GET port"), "*2 $4 port $4 7002");
}

#[test]
fn values_are_told_by_their_sizes() {
    let mut engine = engine();
    let long = "v".repeat(3000);
    for command in [
        "SET a 1",
        "SET b 12",
        "SET b 123",
        "APPEND b 4",
        &format!("SET c {long}"),
        "RPUSH l 1 2 3",
        "LPOP l",
        "SADD s 1",
        "HSET h a 1 b 2 c 3 d 4",
        "ZADD z 1 a 2 b",
        "ZADD gone 1 a",
        "DEL gone",
        "XADD x * a 1",
        "RENAME a d",
        "SET e 1",
        "SET e 2 PX 10",
    ] {
        run(&mut engine, command);
    }
    select(&mut engine, 3);
    run(&mut engine, "SADD other 1 2 3 4 5 6 7 8");
    run(&mut engine, "SUNIONSTORE other2 other");
    let info = run(&mut engine, "INFO keysizes");
    for line in [
        "db0_distrib_strings_sizes:1=2,4=1,2K=1 ",
        "db0_distrib_lists_items:2=1 ",
        "db0_distrib_sets_items:1=1 ",
        "db0_distrib_zsets_items:2=1 ",
        "db0_distrib_hashes_items:4=1 ",
        "db3_distrib_sets_items:8=2",
    ] {
        assert!(info.contains(line), "{line}: {info}");
    }
    run(&mut engine, "FLUSHALL");
    let info = run(&mut engine, "INFO keysizes");
    assert!(!info.contains("distrib"), "{info}");
    engine.invariants();
}
