//! The commands on data against answers recorded from Redis, and what no recording can hold.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::context::condition;
use super::testing::*;
use crate::Engine;
use crate::client::alert;
use crate::config::Config;
use crate::face::{Input, Now};

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/data.txt"));
}

fn later(ms: u64) -> Now {
    Now {
        unix_us: NOW.unix_us + ms * 1000,
        ..NOW
    }
}

/// The words of a reply that are no lengths: bulks without their headers.
fn bulks(reply: &str) -> Vec<&str> {
    reply
        .split(' ')
        .filter(|word| !word.starts_with(['$', '*']))
        .collect()
}

#[test]
fn a_time_to_live_is_journalled_as_a_deadline() {
    let mut e = engine();
    run(&mut e, "SET k v");
    assert_eq!(
        effects_of(&mut e, "EXPIRE k 10"),
        ["PEXPIREAT k 1700000010000"]
    );
    assert_eq!(
        effects_of(&mut e, "PEXPIRE k 10500 GT"),
        ["PEXPIREAT k 1700000010500 GT"]
    );
    assert_eq!(effects_of(&mut e, "PEXPIRE k 10500 GT"), [""; 0]);
    assert_eq!(run_at(&mut e, later(500), "PTTL k"), ":10000");
    assert_eq!(run_at(&mut e, later(500), "TTL k"), ":10");
    assert_eq!(run_at(&mut e, later(10_501), "PTTL k"), ":-2");
    assert_eq!(run(&mut e, "DBSIZE"), ":0", "the look-up deleted it");
    e.parts.config.lazyfree_lazy_expire = true;
    run(&mut e, "SET k v");
    assert_eq!(effects_of(&mut e, "EXPIRE k -1"), ["UNLINK k"]);
    e.invariants();
}

/// Whether a transaction that watches `k` fails if `command` comes before it. `before` is what there is.
fn disturbs(before: &str, command: &str) -> bool {
    let mut e = engine();
    for line in before.split(';').filter(|line| !line.is_empty()) {
        run(&mut e, line);
    }
    for line in ["WATCH k", command, "MULTI", "DBSIZE"] {
        assert!(!run(&mut e, line).starts_with('-'), "{line}");
    }
    match run(&mut e, "EXEC").as_str() {
        "*-1" => true,
        reply if reply.starts_with("*1 ") => false,
        reply => panic!("{reply}"),
    }
}

#[test]
fn watchers_learn_of_every_change() {
    for (before, command) in [
        ("SET k v", "DEL k"),
        ("SET k v", "UNLINK x k"),
        ("SET k v", "RENAME k x"),
        ("SET x v", "RENAME x k"),
        ("SET x v", "RENAMENX x k"),
        ("SET x v", "COPY x k"),
        ("SET k v;SET x v", "COPY x k REPLACE"),
        ("SET k v", "MOVE k 1"),
        ("SET k v", "EXPIRE k 100"),
        ("SET k v", "EXPIRE k -1"),
        ("SET k v EX 100", "PERSIST k"),
        ("SET k v", "FLUSHDB"),
        ("SET k v", "FLUSHALL"),
        ("SET k v", "SWAPDB 0 1"),
        ("SET x v;SET k v;MOVE k 1", "SWAPDB 1 0"),
        ("", "INCRBYFLOAT k 1"),
        ("", "HSET k f v"),
        ("", "HSETNX k f v"),
        ("", "HINCRBY k f 1"),
        ("", "HINCRBYFLOAT k f 1"),
        ("HSET k f v", "HSET k f v"),
        ("HSET k f v", "HDEL k f"),
    ] {
        assert!(disturbs(before, command), "{before} / {command}");
    }
    for (before, command) in [
        ("SET k v", "DEL x"),
        ("SET k v", "RENAME k k"),
        ("SET k v", "COPY k x"),
        ("SET k v;SET x v", "COPY x k"),
        ("SET k v", "PERSIST k"),
        ("SET k v", "EXPIRE k 100 XX"),
        ("SET x v", "FLUSHDB"),
        ("SET x v", "SWAPDB 0 1"),
        ("SET k v", "SWAPDB 2 1"),
        ("SET k v", "SWAPDB 0 0"),
        ("HSET k f v", "HSETNX k f w"),
        ("HSET k f v", "HDEL k g"),
        ("HSET k f v", "SCAN 0"),
    ] {
        assert!(!disturbs(before, command), "{before} / {command}");
    }
}

#[test]
fn a_replica_hides_what_is_due_and_its_primary_still_sees_it() {
    let mut e = engine();
    e.parts.config.replica_read_only = false;
    run(&mut e, "MSET a 1 b 2 c 3");
    for key in ["a", "b", "c"] {
        run(&mut e, &format!("PEXPIRE {key} 10"));
    }
    run(&mut e, "HSET h f v");
    e.parts.set(condition::REPLICA, true);
    let now = later(100);
    for (command, reply) in [
        ("EXISTS a b c h", ":1"),
        ("TTL a", ":-2"),
        ("TYPE a", "+none"),
        ("KEYS *", "*1 $1 h"),
        ("SCAN 0 COUNT 100", "*2 $1 0 *1 $1 h"),
        ("OBJECT ENCODING a", "$-1"),
        ("RENAME a x", "-ERR no such key"),
        ("DBSIZE", ":4"),
        // Writes of its own clients do not trip over what is hidden.
        ("RENAME h a", "+OK"),
        ("DEL b nosuch", ":1"),
        ("DBSIZE", ":2"),
        // A deadline in the past deletes nothing here; the key is hidden from then on.
        ("EXPIRE a -1", ":1"),
        ("DBSIZE", ":2"),
        ("EXISTS a", ":0"),
    ] {
        let got = run_and_journal(&mut e, now, command);
        assert_eq!(got.0, reply, "{command}");
        assert!(!got.1.iter().any(|c| c.contains("DEL a")), "{:?}", got.1);
    }
    let session = e.parts.clients.get_mut(conn()).unwrap();
    session.set(alert::TRUSTED, true);
    for (command, reply) in [
        ("EXISTS a c", ":2"),
        ("RENAME c d", "+OK"),
        ("PEXPIRETIME d", ":1700000000010"),
        ("EXPIRE d -1", ":1"),
        ("PEXPIREAT d -9223372036854775808", ":1"),
        ("DBSIZE", ":2"),
    ] {
        assert_eq!(run_at(&mut e, now, command), reply, "{command}");
    }
    e.invariants();
}

/// All keys that a scan gives, call by call; `between` runs after each.
fn scan(e: &mut Engine, options: &str, mut between: impl FnMut(&mut Engine, usize)) -> Vec<String> {
    let (mut cursor, mut all) = (String::from("0"), Vec::new());
    for call in 0.. {
        let reply = run(e, &format!("SCAN {cursor} {options}"));
        let mut words = bulks(&reply).into_iter();
        cursor = words.next().unwrap().to_string();
        all.extend(words.map(String::from));
        if cursor == "0" {
            break;
        }
        assert!(cursor.parse::<u64>().unwrap() < 1 << 54 && call < 100_000);
        between(e, call);
    }
    all
}

/// KB-125.
#[test]
fn a_scan_meets_every_key_that_stays() {
    let mut e = engine();
    for i in 0..3000 {
        run(&mut e, &format!("SET key:{i} v"));
    }
    for count in [1, 10, 1000, 1_000_000] {
        let keys = scan(&mut e, &format!("COUNT {count}"), |_, _| {});
        let different: BTreeSet<&String> = keys.iter().collect();
        assert_eq!((keys.len(), different.len()), (3000, 3000), "{count}");
        // No call gives much more than was asked for.
        let first = run(&mut e, &format!("SCAN 0 COUNT {count}"));
        let given = bulks(&first).len() - 1;
        assert!(given >= count.min(3000) && given < count + 36, "{given}");
    }
    let keys = scan(&mut e, "COUNT 20", |e, call| {
        for i in 0..40 {
            run(e, &format!("SET new:{call}:{i} v"));
            run(e, &format!("DEL key:{}", call * 40 + i + 1500));
        }
    });
    let keys: BTreeSet<String> = keys.into_iter().collect();
    assert!((0..1500).all(|i| keys.contains(&format!("key:{i}"))));
    e.invariants();
}

#[test]
fn a_scan_removes_what_is_due() {
    let mut e = engine();
    for i in 0..500 {
        run(&mut e, &format!("SET key:{i} v"));
        run(&mut e, &format!("SET due:{i} v PX 1"));
    }
    let now = later(10);
    let reply = run_at(&mut e, now, "SCAN 0 COUNT 100000");
    assert_eq!(bulks(&reply).len(), 501);
    assert_eq!(run_at(&mut e, now, "DBSIZE"), ":500");
    assert_eq!(e.parts.stats.expired, 500);
    e.invariants();
}

/// KB-124.
#[test]
fn random_keys_are_never_due_ones() {
    let mut e = engine();
    for i in 0..50 {
        run(&mut e, &format!("SET key:{i} v PX {}", 1 + i % 2 * 1000));
    }
    let mut seen = BTreeSet::new();
    for _ in 0..500 {
        let reply = run_at(&mut e, later(10), "RANDOMKEY");
        let n: usize = reply.rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(n % 2, 1, "{reply}");
        seen.insert(n);
    }
    assert!(seen.len() > 15, "{seen:?}");
    run(&mut e, "FLUSHALL");
    run(&mut e, "SET only v PX 1");
    assert_eq!(run_at(&mut e, later(10), "RANDOMKEY"), "$-1");
}

fn small_hashes() -> Engine {
    engine_with(Config {
        hash_max_listpack_entries: 4,
        hash_max_listpack_value: 8,
        ..Config::default()
    })
}

#[test]
fn hashes_grow_out_of_the_small_form_as_configured() {
    let mut e = small_hashes();
    for (command, encoding) in [
        ("HSET h a 1 b 2 c 3 d 4", "listpack"),
        ("HSET h a 5", "listpack"),
        ("HSET h e 5", "hashtable"),
        ("HDEL h b c d e", "hashtable"),
        ("HSET g a 12345678", "listpack"),
        ("HSET g a 123456789", "hashtable"),
        ("HSETNX f 123456789 x", "hashtable"),
        ("HINCRBY i n 123456789", "hashtable"),
        ("HINCRBYFLOAT j n 0.12345678", "hashtable"),
    ] {
        run(&mut e, command);
        let key = command.split(' ').nth(1).unwrap();
        let reply = run(&mut e, &format!("OBJECT ENCODING {key}"));
        assert_eq!(bulks(&reply), [encoding], "{command}");
    }
    e.invariants();
}

#[test]
fn a_large_hash_is_read_in_all_ways() {
    let mut e = small_hashes();
    for i in 0..1000 {
        run(&mut e, &format!("HSET h f{i} {i}"));
    }
    for command in [
        "HKEYS h",
        "HVALS h",
        "HRANDFIELD h 1000",
        "HRANDFIELD h 900",
    ] {
        let reply = run(&mut e, command);
        let words: BTreeSet<&str> = bulks(&reply).into_iter().collect();
        let wanted = if command.ends_with("900") { 900 } else { 1000 };
        assert_eq!(words.len(), wanted, "{command}");
    }
    let reply = run(&mut e, "HRANDFIELD h -3000 WITHVALUES");
    let words = bulks(&reply);
    assert_eq!(words.len(), 6000);
    assert!(
        words
            .chunks(2)
            .all(|pair| pair[0] == format!("f{}", pair[1]))
    );
    let different: BTreeSet<&str> = words.into_iter().collect();
    assert!(
        different.len() > 1700,
        "{} of 2000, 1900 expected",
        different.len()
    );
    let (mut cursor, mut seen) = (String::from("0"), BTreeSet::new());
    loop {
        let reply = run(&mut e, &format!("HSCAN h {cursor} COUNT 50 MATCH f*"));
        let words = bulks(&reply);
        assert!(words.len() <= 1 + 2 * 60, "{}", words.len());
        cursor = words[0].to_string();
        seen.extend(words[1..].iter().map(|w| w.to_string()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 2000);
    assert_eq!(
        run(&mut e, "HRANDFIELD h -20000000"),
        "-ERR value is out of range"
    );
}

#[test]
fn copies_of_a_hash_lead_their_own_lives() {
    let mut e = small_hashes();
    for size in [3, 300] {
        run(&mut e, "FLUSHALL");
        for i in 0..size {
            run(&mut e, &format!("HSET a f{i} v"));
        }
        run(&mut e, "COPY a b");
        run(&mut e, "COPY a a DB 1");
        run(&mut e, "HSET a f0 changed");
        run(&mut e, "HDEL b f1");
        assert_eq!(bulks(&run(&mut e, "HGET a f0")), ["changed"]);
        assert_eq!(bulks(&run(&mut e, "HGET b f0")), ["v"]);
        assert_eq!(run(&mut e, "HLEN a"), format!(":{size}"));
        assert_eq!(run(&mut e, "HLEN b"), format!(":{}", size - 1));
        select(&mut e, 1);
        assert_eq!(bulks(&run(&mut e, "HGET a f0")), ["v"]);
        assert_eq!(run(&mut e, "HLEN a"), format!(":{size}"));
        select(&mut e, 0);
        e.invariants();
    }
}

#[test]
fn changes_hits_and_misses_are_counted_as_redis_does() {
    let mut e = engine();
    for (command, changes, hits, misses) in [
        ("MSET a 1 b 2", 2, 0, 0),
        ("EXISTS a nosuch", 0, 1, 1),
        ("TTL a", 0, 1, 0),
        ("TYPE nosuch", 0, 0, 1),
        ("TOUCH a b nosuch", 0, 2, 1),
        ("RENAME a c", 1, 0, 0),
        ("MOVE c 1", 1, 0, 0),
        ("COPY b d", 1, 1, 0),
        ("DEL b d nosuch", 2, 0, 0),
        ("HSET h f v g w f x", 3, 0, 0),
        ("HGET h nosuch", 0, 1, 0),
        ("HGET nosuch f", 0, 0, 1),
        ("HDEL h f g nosuch", 2, 0, 0),
        ("SWAPDB 0 1", 1, 0, 0),
        ("SCAN 0 COUNT 100 TYPE string", 0, 1, 0),
        ("SCAN 0 COUNT 100", 0, 0, 0),
        ("FLUSHALL", 1, 0, 0),
        ("FLUSHALL", 0, 0, 0),
    ] {
        let count = |e: &Engine| (e.parts.changes, e.parts.stats.hits, e.parts.stats.misses);
        let before = count(&e);
        run(&mut e, command);
        let after = count(&e);
        let difference = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        assert_eq!(difference, (changes, hits, misses), "{command}");
    }
}

#[test]
fn looking_at_a_key_is_no_use_of_it() {
    let mut e = engine();
    run(&mut e, "HSET k f v");
    let at = |seconds: u64| Now {
        mono_us: NOW.mono_us + seconds * 1_000_000,
        ..NOW
    };
    for command in ["EXISTS k", "TTL k", "TYPE k", "OBJECT ENCODING k", "KEYS *"] {
        run_at(&mut e, at(50), command);
        assert_eq!(
            run_at(&mut e, at(60), "OBJECT IDLETIME k"),
            ":60",
            "{command}"
        );
    }
    for (i, command) in ["TOUCH k", "HGET k f", "HSET k f w", "EXPIRE k 900"]
        .into_iter()
        .enumerate()
    {
        let then = 100 * (i as u64 + 1);
        run_at(&mut e, at(then), command);
        assert_eq!(
            run_at(&mut e, at(then + 7), "OBJECT IDLETIME k"),
            ":7",
            "{command}"
        );
    }
    e.parts.config.maxmemory_policy = crate::config::MaxmemoryPolicy::AllkeysLfu;
    assert!(run(&mut e, "OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is"));
    assert!(run(&mut e, "OBJECT FREQ k").starts_with(':'));
}

#[test]
fn cluster_mode_has_one_database() {
    let mut e = engine_with(Config {
        cluster_enabled: true,
        ..Config::default()
    });
    run(&mut e, "CLUSTER ADDSLOTSRANGE 0 16383");
    // The cluster takes a while to find itself in order.
    let later = |s: u64| Now {
        mono_us: NOW.mono_us + s * 1_000_000,
        ..NOW
    };
    for s in 1..10 {
        e.handle(later(s), Input::Tick);
        run_at(&mut e, later(s), "PING");
    }
    for (command, error) in [
        ("MOVE k 0", "-ERR MOVE is not allowed in cluster mode"),
        ("SWAPDB 0 0", "-ERR SWAPDB is not allowed in cluster mode"),
        (
            "COPY k {k}x DB 1",
            "-ERR Copying to another database is not allowed in cluster mode",
        ),
        ("COPY k {k}x DB 16", "-ERR DB index is out of range"),
    ] {
        assert_eq!(run_at(&mut e, later(10), command), error, "{command}");
    }
}

#[test]
fn sorting_gives_a_sorted_set_its_large_form() {
    let mut e = engine();
    run(&mut e, "ZADD z 1 a 2 b");
    assert_eq!(run(&mut e, "SORT_RO z ALPHA DESC"), "*2 $1 b $1 a");
    assert_eq!(run(&mut e, "OBJECT ENCODING z"), "$8 skiplist");
    e.invariants();
}

#[test]
fn an_option_of_set_may_be_said_again_but_not_another() {
    let mut e = engine();
    assert_eq!(run(&mut e, "SET k v EX 10 EX 100"), "+OK");
    assert_eq!(run(&mut e, "TTL k"), ":100");
    let invalid = "-ERR invalid expire time in \\'set\\' command";
    assert_eq!(run(&mut e, "SET k v EX 10 EX -1"), invalid);
    for options in ["EX 10 PX 10", "KEEPTTL EX 10", "IFEQ v IFEQ w", "IFEQ v NX"] {
        assert_eq!(
            run(&mut e, &format!("SET k v {options}")),
            "-ERR syntax error"
        );
    }
}

#[test]
fn what_would_be_cut_off_is_not_drawn() {
    let mut e = engine();
    run(&mut e, "HSET h a b");
    run(&mut e, "SADD s a");
    run(&mut e, "ZADD z 1 a");
    let out_of_range = "-ERR value is out of range";
    assert_eq!(run(&mut e, "HRANDFIELD h -999999999"), out_of_range);
    for command in ["HRANDFIELD h", "SRANDMEMBER s", "ZRANDMEMBER z"] {
        let mut client = join(&mut e, 1);
        e.parts.config.client_output_buffer_limit.normal.hard_bytes = 1000;
        let script = format!(
            "EVAL \"return redis.call('{}', -999999999)\" 0",
            command.replace(' ', "', '")
        );
        assert!(send(&mut e, client, NOW, &script).starts_with(out_of_range));
        assert_eq!(
            bulks(&send(&mut e, client, NOW, &format!("{command} -100"))).len(),
            100
        );
        client = join(&mut e, 2);
        assert_eq!(
            send(&mut e, client, NOW, &format!("{command} -999999999")),
            ""
        );
        assert!(
            e.parts
                .clients
                .get(client)
                .is_none_or(|c| c.is(alert::CLOSING))
        );
        e.handle(
            NOW,
            Input::Closed {
                conn: client,
                reason: "".into(),
            },
        );
    }
}

#[test]
fn debug_shows_the_inside_of_tables_and_lists() {
    let mut e = engine_with(Config {
        enable_debug_command: crate::config::ProtectedAction::Yes,
        ..Config::default()
    });
    for i in 0..1000 {
        run(&mut e, &format!("HSET h f{i} {i}"));
    }
    run(&mut e, "SADD s 1");
    let stats = run(&mut e, "DEBUG HTSTATS-KEY h");
    assert!(stats.contains("number of elements: 1000\\n"), "{stats}");
    let stats = run(&mut e, "DEBUG HTSTATS 0");
    assert!(stats.contains("number of elements: 2\\n"), "{stats}");
    assert_eq!(run(&mut e, "DEBUG HTSTATS-KEY nokey"), "-ERR no such key");
    let no_table =
        "-ERR The value stored at the specified key is not represented using an hash table";
    assert_eq!(run(&mut e, "DEBUG HTSTATS-KEY s"), no_table);
    assert_eq!(
        run(&mut e, "DEBUG LISTPACK h"),
        "-ERR Not a listpack encoded object."
    );
    run(&mut e, "RPUSH l a b c");
    let object = run(&mut e, "DEBUG OBJECT l");
    let fields =
        "ql_nodes:1 ql_avg_node:3.00 ql_listpack_max:-2 ql_compressed:0 ql_uncompressed_size:16";
    assert!(object.ends_with(fields), "{object}");
    // From here on each element of two bytes or more is a node.
    assert_eq!(run(&mut e, "DEBUG QUICKLIST-PACKED-THRESHOLD 2b"), "+OK");
    run(&mut e, "RPUSH l dd e ff");
    assert!(run(&mut e, "DEBUG OBJECT l").contains("ql_nodes:4 "));
    assert_eq!(run(&mut e, "DEBUG QUICKLIST-PACKED-THRESHOLD 0"), "+OK");
    run(&mut e, "RPUSH l gg hh");
    assert!(run(&mut e, "DEBUG OBJECT l").contains("ql_nodes:5 "));
    assert_eq!(
        bulks(&run(&mut e, "LRANGE l 0 -1")).concat(),
        "abcddeffgghh"
    );
    e.invariants();
}

/// What has nothing to store deletes its destination, due or not, and that is all that is to be seen.
#[test]
fn a_destination_that_is_due_goes_by_the_command() {
    for command in [
        "BITOP AND d none",
        "GEOSEARCHSTORE d none FROMLONLAT 0 0 BYRADIUS 1 m",
        "GEORADIUS none 0 0 1 m STORE d",
        "SDIFFSTORE d none",
        "SINTERSTORE d none s",
        "SINTERSTORE d s t",
        "SORT none STORE d",
        "SUNIONSTORE d none",
        "ZDIFFSTORE d 1 none",
        "ZINTERSTORE d 1 none",
        "ZRANGESTORE d none 0 -1",
        "ZUNIONSTORE d 1 none",
    ] {
        let mut engine = engine();
        for command in [
            "DEBUG SET-ACTIVE-EXPIRE 0",
            "CONFIG SET notify-keyspace-events EA",
            "SADD s a",
            "SADD t b",
            "SET d x PX 1",
        ] {
            run(&mut engine, command);
        }
        let other = join(&mut engine, 1);
        send(&mut engine, other, NOW, "PSUBSCRIBE *");
        let (reply, effects) = run_and_journal(&mut engine, after_ms(10), command);
        assert_eq!(
            (reply.as_str(), &effects[..]),
            (":0", &[command.into()][..])
        );
        let seen = collect(&mut engine, other);
        assert_eq!(
            seen, "*4 $8 pmessage $1 * $18 __keyevent@0__:del $1 d",
            "{command}"
        );
    }
}
