//! What others learn of a change: a replica that is told later, a restart from the append-only file, one from a
//! rewrite, all come to the same data, whatever depended on time or chance where the change was made.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::node::{Node, client, config};
use crate::client::alert;
use crate::command::context::condition;
use crate::face::Now;
use crate::persistence::tests::disk::{Disk, Loss};

const AOF: &str = "appendonly yes\nappendfsync always\nauto-aof-rewrite-percentage 0";
const HOUR_MS: u64 = 3_600_000;
const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// Lives, each named after the failure that it would show. `@n`: so many milliseconds pass.
const LIVES: &[(&str, &str)] = &[
    (
        "KB-63: chance and time in scripts",
        r#"SADD s a b c d e f g h i ; EVAL "return redis.call('spop', 's', 3)" 0
        ; EVAL "redis.call('set', 't', redis.call('time')[2]) redis.call('set', 'r', redis.call('randomkey'))" 0
        ; EVAL "redis.call('sadd', 'm', redis.call('srandmember', 's'), tostring(math.random()))" 0
        ; SPOP s ; SPOP s 2 ; XADD x * f v ; EVAL "return redis.call('xadd', 'x', '*', 'f', 'w')" 0
        ; HSET h a 1 b 2 c 3 ; EVAL "redis.call('set', 'f', redis.call('hrandfield', 'h'))" 0"#,
    ),
    (
        "KB-64: spans of time become moments",
        "SETEX a 100000 v ; PSETEX b 100000000 v ; SET c v EX 100000 ; SET d v PX 100000000 ; SET e v ; EXPIRE e 100000
        ; SET f v ; PEXPIRE f 100000000 ; SET g v ; GETEX g EX 100000 ; SET h v ; GETEX h PERSIST ; SET i v
        ; EXPIRE i 100000 NX ; EXPIRE i 200000 GT ; EXPIRE i 50 GT ; EXPIRE i 150000 LT ; HSET j f v
        ; HEXPIRE j 100000 FIELDS 1 f ; HSETEX k EX 100000 FIELDS 2 f 1 g 2 ; HSET l f v
        ; HGETEX l PX 100000000 FIELDS 1 f ; SET m v PX 100 ; @200 ; SET n v PX 100 ; @50 ; EXPIRE n 100000 ; @100
        ; SET o v ; EXPIRE o -1 ; SET p v EXAT 1 ; SORT e STORE q ; EXPIRE q 100000 ; SET r v KEEPTTL ; @200",
    ),
    (
        "KB-65: a write to what the other one's clock says is over",
        "SET a v PX 1000 ; @10 ; PERSIST a ; HSET b f v ; PEXPIRE b 1000 ; HSET b g w ; PERSIST b ; SET c 5 PX 1000
        ; INCR c ; APPEND c 7 ; PERSIST c ; RPUSH d a ; PEXPIRE d 1000 ; RPUSH d b ; LPOP d ; PERSIST d
        ; SET e v PX 1000 ; RENAME e e2 ; PERSIST e2 ; SET f v PX 1000 ; COPY f f2 ; PERSIST f2 ; SADD g a
        ; PEXPIRE g 1000 ; SADD g b ; SMOVE g g2 a ; PERSIST g ; SET i v PX 1000 ; SETRANGE i 3 x ; GETEX i PERSIST
        ; SET j v PX 1000 ; SET j w KEEPTTL ; EXPIRE j 100000 ; HSET k f v ; HPEXPIRE k 1000 FIELDS 1 f
        ; HPERSIST k FIELDS 1 f ; SET l 1 PX 1000 ; SET l 2 XX ; SET m v PX 1000 ; MOVE m 1 ; SET o v PX 500 ; @600
        ; SET o w NX ; SET q v PX 1000 ; DEL q ; SET q w NX",
    ),
    (
        "KB-67: sums of fractions keep their time",
        "SET a 1.5 EX 100000 ; INCRBYFLOAT a 1.25 ; INCRBYFLOAT a 3.0e3 ; SET b 1 ; INCRBYFLOAT b 0.1
        ; HSET h f 1.5 g 1 ; EXPIRE h 100000 ; HINCRBYFLOAT h f 1.25 ; HPEXPIRE h 100000000 FIELDS 2 f g
        ; HINCRBYFLOAT h f 0.1 ; HINCRBY h g 5 ; HINCRBYFLOAT h new 0.5 ; HEXPIRE h 100000 FIELDS 1 new
        ; HINCRBYFLOAT h new 0.5 ; ZADD z 1 m ; EXPIRE z 100000 ; ZINCRBY z 0.1 m ; ZADD z INCR 0.7 m
        ; SET c 10 EX 100000 ; DECRBY c 3 ; INCR c ; EVAL \"return redis.call('incrbyfloat', 'c', '0.5')\" 0",
    ),
    (
        "KB-68: fields with times under every command",
        "HSET h a 1 b 2 c 3 d 4 e 5 f 6 g 7 i 8 j 9 ; HEXPIRE h 100000 FIELDS 9 a b c d e f g i j ; HSET h a 9
        ; HSETNX h b 9 ; HDEL h c ; HGETDEL h FIELDS 1 d ; HGETEX h EX 200000 FIELDS 1 e ; HGETEX h PERSIST FIELDS 1 f
        ; HSETEX h KEEPTTL FIELDS 1 g 10 ; HSETEX h FNX EX 5000 FIELDS 1 new 1 ; HSETEX h FXX EX 5000 FIELDS 1 i 1
        ; HEXPIRE h 300000 GT FIELDS 1 e ; HEXPIRE h 10 GT FIELDS 1 e ; HEXPIRE h 250000 LT FIELDS 1 e
        ; HEXPIRE h 5 NX FIELDS 1 e ; HEXPIRE h 150000 XX FIELDS 1 e ; HPEXPIRE h 0 FIELDS 1 j ; HINCRBY h e 1
        ; HPEXPIREAT h 1 FIELDS 1 f
        ; HSET due x 1 y 2 ; HPEXPIRE due 100 FIELDS 1 x ; @50 ; HINCRBY due x 1 ; @100 ; HSET due z 3 ; HSETNX due x 7
        ; HSET gone x 1 ; HPEXPIRE gone 100 FIELDS 1 x ; @200 ; HSET gone y 1
        ; CONFIG SET hash-max-listpack-entries 4 ; HSET big a 1 b 2 ; HPEXPIRE big 100 FIELDS 1 a
        ; HEXPIRE big 100000 FIELDS 1 b ; @50 ; HSET big c 3 d 4 e 5 f 6 ; HINCRBYFLOAT big a 0.5 ; @100
        ; HINCRBY big a 1 ; COPY big copied ; RENAME big other ; HGETALL other",
    ),
    (
        "KB-70: changes that look like none",
        "SETBIT a 100 0 ; SETBIT b 7 1 ; SETBIT b 900 0 ; SETBIT b 900 0 ; SET c v ; SETRANGE c 0 v ; SETRANGE c 9 w
        ; APPEND d \"\" ; BITFIELD e SET u8 100 0 ; BITFIELD e INCRBY u8 200 0 ; SET f v EX 100000 ; SET f v ; RPUSH l a b
        ; LSET l 0 a ; LTRIM l 0 -1 ; LREM l 0 none ; SADD s m ; SADD s m ; SADD t m ; SINTERSTORE s s none
        ; SUNIONSTORE t t t ; ZADD z 1 m ; ZADD z XX 1 m ; ZADD z GT 0 m ; ZUNIONSTORE z 1 none ; PFADD p ; PFADD p a
        ; PFADD p a ; PFCOUNT p ; PFMERGE p2 ; GEOADD g 1 1 m ; GEOSEARCHSTORE g g FROMLONLAT 50 50 BYRADIUS 1 m
        ; SORT none STORE l ; SET h v ; RENAME h h ; COPY h h2 ; COPY h h2 ; BITOP AND h2 none ; SET i v GET ; GETSET i v
        ; MSETNX i 1 j 2 ; HSET k f v ; HSET k f v ; HSETNX k f w ; XGROUP CREATE x y 0 MKSTREAM ; XADD x MAXLEN 0 1-1 f v",
    ),
    (
        "KB-73: transactions in each other",
        "MULTI ; SET a 1 ; EVAL \"redis.call('set', 'b', 1) redis.call('set', 'c', 1) return 1\" 0 ; INCR a ; EXEC
        ; MULTI ; EVAL \"return redis.call('incr', 'a')\" 0 ; EXEC ; MULTI ; GET a ; EXEC
        ; SET due v PX 50 ; @100 ; MULTI ; GET due ; SET d 1 ; SET e 1 ; EXEC ; SADD s a b c
        ; EVAL \"redis.call('spop', 's', 2) redis.call('incr', 'n')\" 0 ; MULTI ; SPOP s ; EXEC
        ; EVAL \"redis.call('set', 'f', 1) return redis.call('nosuch')\" 0 ; MULTI ; SET g 1 ; LPUSH g x ; SET i 1 ; EXEC
        ; MULTI ; SELECT 1 ; SET a 1 ; SELECT 0 ; SET j 1 ; EXEC ; RPUSH l a b ; MULTI ; BLPOP l 0 ; BLMOVE l m LEFT LEFT 0
        ; EXEC",
    ),
    (
        "KB-74: times go where the key goes",
        "SET a v EX 100000 ; MOVE a 1 ; SET b v EX 100000 ; RENAME b b2 ; SET c v EX 100000 ; COPY c c2 ; COPY c c3 DB 2
        ; HSET h f v ; HEXPIRE h 100000 FIELDS 1 f ; MOVE h 1 ; SET d v EX 100000 ; SET e w ; RENAME e d ; SET f v EX 100000
        ; SET g w ; COPY g f REPLACE ; SET i v EX 100000 ; SWAPDB 0 2 ; SET j v EX 100000 ; SORT j BY nosort STORE k",
    ),
];

/// The pairs of a reply that tell of the moment or of the inside are left out.
fn without(reply: &str, names: &[&str]) -> String {
    let mut words: Vec<&str> = Vec::new();
    let mut skip = false;
    for word in reply.split(' ') {
        if core::mem::take(&mut skip) {
            continue;
        }
        if names.contains(&word) {
            words.pop();
            skip = true;
            continue;
        }
        words.push(word);
    }
    words.join(" ")
}

/// Everything that can be told of the data, as it is at a moment.
fn described(node: &mut Node, now: Now) -> Vec<String> {
    let mut all = Vec::new();
    let at = core::mem::replace(&mut node.now, now);
    let bulks = |reply: &str| {
        let words = reply
            .split(' ')
            .filter(|word| !word.starts_with(['$', '*']));
        words.map(String::from).collect::<Vec<_>>()
    };
    for db in 0..3 {
        node.run(&format!("SELECT {db}"));
        let keys = node.run("KEYS *");
        let keys: BTreeSet<String> = bulks(&keys).into_iter().collect();
        for key in keys {
            let mut lines = Vec::from([format!("PEXPIRETIME {key}")]);
            match node.run(&format!("TYPE {key}")).as_str() {
                "+string" => lines.push(format!("GET {key}")),
                "+list" => lines.push(format!("LRANGE {key} 0 -1")),
                "+set" => lines.push(format!("SORT {key} ALPHA")),
                "+zset" => lines.push(format!("ZRANGE {key} 0 -1 WITHSCORES")),
                "+hash" => {
                    let fields = node.run(&format!("HKEYS {key}"));
                    let fields: BTreeSet<String> = bulks(&fields).into_iter().collect();
                    let (n, fields) = (fields.len(), Vec::from_iter(fields).join(" "));
                    lines.push(format!("HMGET {key} {fields}"));
                    lines.push(format!("HPEXPIRETIME {key} FIELDS {n} {fields}"));
                }
                _ => {
                    lines.push(format!("XRANGE {key} - +"));
                    lines.push(format!("XINFO STREAM {key}"));
                    lines.push(format!("XINFO GROUPS {key}"));
                    for group in ["g", "h", "k", "y"] {
                        lines.push(format!("XINFO CONSUMERS {key} {group}"));
                        lines.push(format!("XPENDING {key} {group} - + 100"));
                    }
                }
            }
            for line in lines {
                let reply = node.run(&line);
                let inside = ["radix-tree-keys", "radix-tree-nodes", "idle", "inactive"];
                all.push(format!("{db} {line} -> {}", without(&reply, &inside)));
            }
        }
    }
    node.run("SELECT 0");
    node.now = at;
    all
}

fn live(node: &mut Node, life: &str) {
    for line in life.split(';').map(str::trim) {
        match line.strip_prefix('@') {
            Some(ms) => node.advance(ms.parse().unwrap()),
            None => drop(node.run(line)),
        }
    }
}

/// What the node has told others, without the notes of the file.
fn told(node: &Node) -> Vec<u8> {
    let bytes = node.disk.content(INCREMENT).unwrap();
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let lines = lines.filter(|line| !line.starts_with(b"#"));
    lines.flatten().copied().collect()
}

/// A replica that hears of it all an hour later.
fn replica(told: &[u8], now: Now) -> Node {
    let late = super::node::later(now, HOUR_MS);
    let mut node = Node::start_at(config(""), Disk::default(), late);
    node.engine.parts.set(condition::REPLICA, true);
    let session = node.engine.parts.clients.get_mut(client(0)).unwrap();
    session.set(alert::TRUSTED, true);
    node.feed(0, told, 0);
    node.engine.parts.set(condition::REPLICA, true);
    node
}

fn assert_same(named: &str, how: &str, expected: &[String], found: &[String]) {
    for line in expected {
        assert!(
            found.contains(line),
            "{named}: {how} lacks\n{line}\nof\n{found:#?}"
        );
    }
    assert_eq!(
        expected.len(),
        found.len(),
        "{named}: {how} has more: {found:#?}"
    );
}

/// KB-63, KB-64, KB-65, KB-67, KB-68, KB-70, KB-73, KB-74, R1, D3.
#[test]
fn all_who_are_told_have_the_same() {
    for (named, life) in LIVES {
        let mut node = Node::start(config(AOF), Disk::default());
        live(&mut node, life);
        let now = node.now;
        let expected = described(&mut node, now);
        assert!(!expected.is_empty(), "{named}");
        let words = told(&node);
        let mut other = replica(&words, now);
        let found = described(&mut other, now);
        assert_same(named, "a replica", &expected, &found);
        let mut again = node.restart(Loss::All, HOUR_MS);
        assert_eq!(again.exited, None, "{named}: {:?}", again.log);
        let found = described(&mut again, now);
        assert_same(named, "a restart", &expected, &found);
    }
}

/// KB-85: a rewrite has it all, in either form, whatever is written while it goes on, and once more.
#[test]
fn a_rewrite_has_the_same() {
    for (named, life) in LIVES {
        let lines = life.split(';').count();
        for preamble in ["yes", "no"] {
            // Begun at any place but within a transaction, where it begins afterwards.
            for begun in (0..lines).step_by(3) {
                let settings = format!("{AOF}\naof-use-rdb-preamble {preamble}");
                let mut node = Node::start(config(&settings), Disk::default());
                for (at, line) in life.split(';').enumerate() {
                    if at == begun {
                        node.join(1);
                        node.hold = true;
                        node.send(1, "BGREWRITEAOF");
                    }
                    if at == begun + 4 {
                        node.hold = false;
                        node.settle();
                    }
                    // A reply waits for the disk.
                    if node.hold && line.trim().starts_with('@') {
                        node.hold = false;
                        node.settle();
                    }
                    live(&mut node, line);
                }
                node.hold = false;
                node.settle();
                let now = node.now;
                let expected = described(&mut node, now);
                let how = format!("a rewrite with preamble {preamble} begun before line {begun}");
                assert_eq!(
                    node.info("aof_last_bgrewrite_status"),
                    "ok",
                    "{named}: {how}"
                );
                let mut again = node.restart(Loss::All, HOUR_MS);
                let found = described(&mut again, now);
                assert_same(named, &how, &expected, &found);
            }
        }
    }
}

/// KB-73: nobody is told of a transaction within a transaction, or of half of one.
#[test]
fn transactions_are_told_one_after_the_other() {
    let mut seen = 0;
    for (named, life) in LIVES {
        let mut node = Node::start(config(AOF), Disk::default());
        live(&mut node, life);
        let text = crate::command::testing::shown(&told(&node));
        let mut open = false;
        for word in text.split(' ') {
            match word {
                "MULTI" => assert!(!core::mem::replace(&mut open, true), "{named}: {text}"),
                "EXEC" => assert!(core::mem::take(&mut open), "{named}: {text}"),
                _ => continue,
            }
            seen += 1;
        }
        assert!(!open, "{named}: {text}");
    }
    assert!(seen > 20, "{seen}");
}

/// KB-70: what changes nothing here may change something elsewhere.
#[test]
fn an_empty_database_is_emptied_for_all() {
    use crate::command::testing::{effects_of, engine};
    let mut e = engine();
    for line in ["FLUSHDB", "FLUSHALL", "FLUSHALL ASYNC"] {
        let effects = effects_of(&mut e, line);
        assert_eq!(effects.len(), 1, "{line}: {effects:?}");
        assert!(effects[0].starts_with("FLUSH"), "{effects:?}");
    }
    let effects = effects_of(&mut e, "SETBIT k 100 0");
    assert_eq!(effects, ["SETBIT k 100 0"]);
}

/// KB-74, D5: the time of a key after every command that copies or replaces one. `-1`: none, `T`: the one that it had.
#[test]
fn a_copy_has_the_time_of_its_source() {
    let had = "1700000100000";
    for (line, query, expected) in [
        ("MOVE k 1", "k in 1", "T"),
        ("COPY k c", "c", "T"),
        ("COPY k c DB 1", "c in 1", "T"),
        ("COPY k other REPLACE", "other", "T"),
        ("COPY other k REPLACE", "k", "-1"),
        ("RENAME k c", "c", "T"),
        ("RENAME k other", "other", "T"),
        ("RENAME other k", "k", "-1"),
        ("RENAMENX k c", "c", "T"),
        ("SWAPDB 0 1", "k in 1", "T"),
        ("SET k w", "k", "-1"),
        ("SET k w KEEPTTL", "k", "T"),
        ("SET k w XX GET", "k", "-1"),
        ("GETSET k w", "k", "-1"),
        ("MSET k w", "k", "-1"),
        ("APPEND k w", "k", "T"),
        ("SETRANGE k 0 w", "k", "T"),
        ("SETBIT k 0 0", "k", "T"),
        ("GETEX k", "k", "T"),
        ("BITOP NOT k other", "k", "-1"),
        ("SUNIONSTORE k set", "k", "-1"),
        ("SORT set ALPHA STORE k", "k", "-1"),
        ("PFMERGE hll2 hll", "hll2", "-1"),
        ("PFADD hll more", "hll", "T"),
        ("SADD set more", "set", "T"),
        ("SREM set more", "set", "T"),
        ("SMOVE set set2 a", "set2", "-1"),
        ("LMOVE list list2 LEFT LEFT", "list2", "-1"),
        ("LMOVE list list2 LEFT LEFT", "list", "T"),
    ] {
        let mut node = Node::start(config(""), Disk::default());
        for line in [
            "SET k v",
            "SET other v",
            "SADD set a b",
            "PFADD hll a",
            "RPUSH list a b",
        ] {
            node.run(line);
        }
        for key in ["k", "set", "hll", "list"] {
            node.run(&format!("PEXPIREAT {key} {had}"));
        }
        let reply = node.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let (key, db) = query.split_once(" in ").unwrap_or((query, "0"));
        node.run(&format!("SELECT {db}"));
        let expected = if expected == "T" { had } else { expected };
        let time = node.run(&format!("PEXPIRETIME {key}"));
        assert_eq!(time, format!(":{expected}"), "{line}");
    }
}

/// KB-62: time stands still while a script runs, however long it takes, and others are told what it came to.
#[test]
fn time_stands_still_in_a_script() {
    let mut node = Node::start(config(AOF), Disk::default());
    node.run("SET k v PX 50");
    let script = "local before = redis.call('time') redis.call('incr', 'a') for i = 1, 3000000 do end \
        if redis.call('exists', 'k') == 1 then redis.call('incr', 'b') end local after = redis.call('time') \
        return before[1] == after[1] and before[2] == after[2]";
    let began = node.now;
    let mut reply = node.send_slowly(0, &format!("EVAL \"{script}\" 0"), 40);
    while reply.is_empty() {
        node.advance(40);
        reply = node.heard(0);
    }
    assert_eq!(reply, ":1", "the clock stood still");
    assert!(node.now.mono_us > began.mono_us + 60_000, "it took long");
    assert_eq!(node.run("MGET a b"), "*2 $1 1 $1 1");
    node.advance(200);
    assert_eq!(node.run("EXISTS k"), ":0");
    let mut other = replica(&told(&node), node.now);
    let reply = other.run("MGET a b k");
    assert!(reply.ends_with("*3 $1 1 $1 1 $-1"), "{reply}");
}

/// KB-66: a snapshot has the keys that are due, and who follows another keeps them until it is told: its primary may
/// have given them another time meanwhile.
#[test]
fn a_replica_that_restarts_keeps_what_is_due() {
    let nodes = |role| {
        format!(
            "{:040} 127.0.0.1:6379@16379 myself,{role} - 0 1\n{:040} 127.0.0.1:6380@16380 {} - 0 0 2 connected 0-16383\n\
             vars currentEpoch 2 lastVoteEpoch 0\n",
            1, 2, "master"
        )
    };
    let slave = nodes("slave").replace("slave - 0 1", &format!("slave {:040} 0 0 2 connected", 2));
    for (settings, conf, left) in [
        ("", None, ":1"),
        ("replicaof 127.0.0.1 6380", None, ":2"),
        ("cluster-enabled yes", Some(slave), ":2"),
    ] {
        let mut node = Node::start(config(""), Disk::default());
        node.run("DEBUG SET-ACTIVE-EXPIRE 0");
        node.run("SET due v PX 10");
        node.run("SET stays v");
        node.advance(100);
        assert_eq!(node.run("SAVE"), "+OK");
        if let Some(conf) = conf {
            node.disk.put("nodes.conf", conf.as_bytes());
        }
        let mut again = node.restart_as(config(settings), Loss::All, 1000);
        assert_eq!(again.exited, None, "{settings}: {:?}", again.log);
        assert_eq!(again.run("DBSIZE"), left, "{settings}: {:?}", again.log);
    }
}

/// KB-71: what waits to be sent to a slow replica is not data: it makes nobody's keys go.
#[test]
fn a_slow_replica_costs_no_keys() {
    let mut node = Node::start(config("repl-diskless-sync-delay 0"), Disk::default());
    node.run("DEBUG POPULATE 2000 key 200");
    node.join(1);
    node.send(1, "REPLCONF capa eof capa psync2");
    node.send(1, "PSYNC ? -1");
    node.settle();
    assert_eq!(node.info("connected_slaves"), "1", "{:?}", node.log);
    node.deaf = Some(client(1));
    let used: u64 = node.info("used_memory").parse().unwrap();
    let limit = used - 100_000;
    let set = format!("CONFIG SET maxmemory-policy allkeys-random maxmemory {limit}");
    assert_eq!(node.run(&set), "+OK");
    for n in 0..2000 {
        node.run(&format!("SET key:{n} {n:0>200}"));
        if n % 100 == 0 {
            node.advance(100);
        }
    }
    let evicted: u64 = node.info("evicted_keys").parse().unwrap();
    let kept: u64 = node.run("DBSIZE")[1..].parse().unwrap();
    assert!(evicted > 0 && kept > 1000, "{evicted} went, {kept} stay");
}

/// KB-72, D6: what a transaction that watches a key takes for a change of it; as Redis 7.0 does.
#[test]
fn watchers_know_what_expiry_is() {
    // What there is, what has passed when WATCH comes, what comes then, and whether EXEC refuses.
    for (before, passed, then, refuses) in [
        ("SET k v PX 60", "", "@150", true),
        ("SET k v PX 60", "off", "@150", true),
        ("SET k v PX 60", "off", "@150 GET k", true),
        ("SET k v PX 60", "off @150", "GET k", false),
        ("SET k v PX 60", "off @150", "PING", false),
        ("SET k v PX 60", "off @150", "DEL k", false),
        ("SET k v PX 60", "off @150", "SET k w", true),
        ("SET k v PX 60", "off @150", "PERSIST k", false),
        ("SET k v PX 60", "off @150", "FLUSHALL", false),
        ("SET k v PX 60", "off @150", "FLUSHDB", false),
        ("SET k v PX 60", "off @150", "SWAPDB 0 1", false),
        ("SET k v", "", "SWAPDB 0 1", true),
        ("SET k v", "", "FLUSHALL", true),
        ("PING", "", "SWAPDB 0 1", false),
        ("PING", "", "FLUSHALL", false),
        ("PING", "", "DEL k", false),
        ("SET k v", "", "EXPIRE k 100", true),
        ("SET k v", "", "PEXPIRE k -1", true),
        ("SET k v", "", "COPY k j", false),
    ] {
        let mut node = Node::start(config(""), Disk::default());
        let mut go = |line: &str| {
            for part in line.split_inclusive("150").map(str::trim) {
                match part {
                    "" => {}
                    "@150" => node.advance(150),
                    "off" => drop(node.run("DEBUG SET-ACTIVE-EXPIRE 0")),
                    "off @150" => {
                        node.run("DEBUG SET-ACTIVE-EXPIRE 0");
                        node.advance(150);
                    }
                    command => drop(node.run(command)),
                }
            }
        };
        go(before);
        go(passed);
        node.run("WATCH k");
        node.join(1);
        let mut other = then;
        if let Some(rest) = then.strip_prefix("@150") {
            node.advance(150);
            other = rest.trim();
        }
        if !other.is_empty() {
            node.send(1, other);
        }
        node.run("MULTI");
        node.run("PING");
        let reply = node.run("EXEC");
        let what = format!("{before} / {passed} / {then}: {reply}");
        assert_eq!(reply == "*-1", refuses, "{what}");
    }
}
