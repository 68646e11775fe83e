//! Fields that expire: replies, what is journalled, and what becomes of fields that are due.

use super::testing::{after_ms, engine, engine_with, run_and_journal, run_at};
use crate::Engine;
use crate::config::{Config, ProtectedAction};
use crate::face::Input;
use alloc::string::String;
use alloc::vec::Vec;

/// Carries out commands one after the other; checks each one's reply and effects.
fn check(engine: &mut Engine, ms: u64, script: &[(&str, &str, &[&str])]) {
    for (command, reply, effects) in script {
        let (said, journalled) = run_and_journal(engine, after_ms(ms), command);
        assert_eq!(said.trim(), *reply, "{command}");
        let journalled: Vec<&str> = journalled.iter().map(String::as_str).collect();
        let journalled: Vec<&str> = journalled
            .into_iter()
            .filter(|command| {
                !command.starts_with("SELECT") && *command != "MULTI" && *command != "EXEC"
            })
            .collect();
        assert_eq!(journalled, *effects, "{command}");
    }
    engine.invariants();
}

#[test]
fn times_are_set_on_conditions_and_told() {
    let mut e = engine();
    check(
        &mut e,
        0,
        &[
            ("HSET h a 1 b 2 c 3", ":3", &["HSET h a 1 b 2 c 3"]),
            (
                "HEXPIRE h 100 FIELDS 2 a nosuch",
                "*2 :1 :-2",
                &["HPEXPIREAT h 1700000100000 FIELDS 1 a"],
            ),
            ("HEXPIRE h 50 GT FIELDS 2 a b", "*2 :0 :0", &[]),
            (
                "HEXPIRE h 50 LT FIELDS 2 a b",
                "*2 :1 :1",
                &["HPEXPIREAT h 1700000050000 LT FIELDS 2 a b"],
            ),
            (
                "HPEXPIRE h 70000 nx FIELDS 3 a b c",
                "*3 :0 :0 :1",
                &["HPEXPIREAT h 1700000070000 nx FIELDS 1 c"],
            ),
            (
                "HPEXPIREAT h 1700000000001 XX FIELDS 1 c",
                "*1 :1",
                &["HPEXPIREAT h 1700000000001 XX FIELDS 1 c"],
            ),
            ("HTTL h FIELDS 3 a c x", "*3 :50 :1 :-2", &[]),
            ("HPTTL h FIELDS 1 c", "*1 :1", &[]),
            ("HEXPIRETIME h FIELDS 1 c", "*1 :1700000001", &[]),
            ("HPEXPIRETIME h FIELDS 1 a", "*1 :1700000050000", &[]),
            ("OBJECT ENCODING h", "$10 listpackex", &[]),
            (
                "HPERSIST h FIELDS 3 a a x",
                "*3 :1 :-1 :-2",
                &["HPERSIST h FIELDS 1 a"],
            ),
            ("HTTL h FIELDS 1 a", "*1 :-1", &[]),
            ("HEXPIREAT h 1 FIELDS 2 b b", "*2 :2 :-2", &["HDEL h b"]),
            ("HKEYS h", "*2 $1 a $1 c", &[]),
            ("HEXPIRE none 1 FIELDS 1 a", "*1 :-2", &[]),
            // That fields may expire shows, even if none does.
            ("HSET i a 1", ":1", &["HSET i a 1"]),
            ("HPERSIST i FIELDS 1 a", "*1 :-1", &[]),
            ("HGETEX i PERSIST FIELDS 1 b", "*1 $-1", &[]),
            ("OBJECT ENCODING i", "$8 listpack", &[]),
            ("HEXPIRE i 100 FIELDS 1 b", "*1 :-2", &[]),
            ("OBJECT ENCODING i", "$10 listpackex", &[]),
            ("HSET j a 1", ":1", &["HSET j a 1"]),
            ("HGETEX j EX 100 FIELDS 1 b", "*1 $-1", &[]),
            ("OBJECT ENCODING j", "$10 listpackex", &[]),
            ("HTTL none FIELDS 2 a b", "*2 :-2 :-2", &[]),
            ("HPERSIST none FIELDS 1 a", "*1 :-2", &[]),
        ],
    );
}

#[test]
fn what_is_wrong_is_said_in_redis_words() {
    let mut e = engine();
    let missing = "-ERR Mandatory argument FIELDS is missing or not at the right position";
    let count = "-ERR The `numfields` parameter must match the number of arguments";
    check(
        &mut e,
        0,
        &[
            ("SET s 1", "+OK", &["SET s 1"]),
            (
                "HEXPIRE s x FIELDS 1 a",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
                &[],
            ),
            (
                "HEXPIRE h x FIELDS 1 a",
                "-ERR value is not an integer or out of range",
                &[],
            ),
            (
                "HEXPIRE h -1 FIELDS 1 a",
                "-ERR invalid expire time, must be >= 0",
                &[],
            ),
            (
                "HEXPIRE h 9999999999999 FIELDS 1 a",
                "-ERR invalid expire time in \\'hexpire\\' command",
                &[],
            ),
            ("HEXPIRE h 1 FIELD 1 a", missing, &[]),
            ("HEXPIRE h 1 NX a FIELDS 1 a", missing, &[]),
            (
                "HEXPIRE h 1 FIELDS 0 a",
                "-ERR Parameter `numFields` should be greater than 0",
                &[],
            ),
            ("HEXPIRE h 1 FIELDS 2 a", count, &[]),
            ("HTTL h FIELDS 2 a", count, &[]),
            (
                "HTTL h FIELDS x a",
                "-ERR Number of fields must be a positive integer",
                &[],
            ),
            ("HGETDEL h FIELD 1 a", missing, &[]),
            (
                "HGETEX h EX x FIELD",
                "-ERR value is not an integer or out of range",
                &[],
            ),
            (
                "HGETEX h EX 1 FIELDS",
                "-ERR wrong number of arguments for \\'hgetex\\' command",
                &[],
            ),
            ("HGETEX h EX 1 PX 1 FIELDS 1 a", missing, &[]),
            ("HGETEX h KEEPTTL FIELDS 1 a", missing, &[]),
            ("HGETEX h FIELDS 1 a PERSIST", count, &[]),
            (
                "HGETEX h FIELDS 0 a",
                "-ERR Number of fields must be a positive integer",
                &[],
            ),
            (
                "HSETEX h FIELDS 0 a b",
                "-ERR invalid number of fields",
                &[],
            ),
            (
                "HSETEX h FXX FIELDS 0 a",
                "-ERR wrong number of arguments for \\'hsetex\\' command",
                &[],
            ),
            (
                "HSETEX h FIELDS 1 a b KEEPTTL",
                "-ERR wrong number of arguments for \\'hsetex\\' command",
                &[],
            ),
            (
                "HSETEX h PERSIST FIELDS 1 a b",
                "-ERR unknown argument: PERSIST",
                &[],
            ),
            (
                "HSETEX h FNX FXX FIELDS 1 a b",
                "-ERR Only one of FXX or FNX arguments can be specified",
                &[],
            ),
            (
                "HSETEX h EX 1 FIELDS 2 a b",
                "-ERR wrong number of arguments for \\'hsetex\\' command",
                &[],
            ),
        ],
    );
}

#[test]
fn reading_and_writing_with_times() {
    let mut e = engine();
    check(
        &mut e,
        0,
        &[
            (
                "HSETEX h EX 10 FIELDS 2 a 1 b 2",
                ":1",
                &["HSET h a 1 b 2", "HPEXPIREAT h 1700000010000 FIELDS 2 a b"],
            ),
            ("HSETEX h FNX FIELDS 2 a 1 c 2", ":0", &[]),
            ("HSETEX h FXX FIELDS 2 a 1 c 2", ":0", &[]),
            ("HSETEX none XX FIELDS 1 a 1", ":0", &[]),
            (
                "HSETEX h FXX KEEPTTL FIELDS 1 a 5",
                ":1",
                &["HSET h a 5", "HPEXPIREAT h 1700000010000 FIELDS 1 a"],
            ),
            ("HSETEX h FIELDS 1 a 6", ":1", &["HSET h a 6"]),
            ("HTTL h FIELDS 2 a b", "*2 :-1 :10", &[]),
            (
                "HGETEX h PX 500 FIELDS 2 a x",
                "*2 $1 6 $-1",
                &["HPEXPIREAT h 1700000000500 FIELDS 1 a"],
            ),
            ("HGETEX h FIELDS 1 a", "*1 $1 6", &[]),
            (
                "HGETEX h PERSIST FIELDS 2 a a",
                "*2 $1 6 $1 6",
                &["HPERSIST h FIELDS 1 a"],
            ),
            ("HGETEX h PXAT 5 FIELDS 1 a", "*1 $1 6", &["HDEL h a"]),
            ("HGETDEL h FIELDS 2 b b", "*2 $1 2 $-1", &["HDEL h b"]),
            ("EXISTS h", ":0", &[]),
            ("HSETEX h PXAT 5 FIELDS 1 a 1", ":1", &[]),
            ("EXISTS h", ":0", &[]),
            ("HSET h n 1", ":1", &["HSET h n 1"]),
            (
                "HPEXPIRE h 1000 FIELDS 1 n",
                "*1 :1",
                &["HPEXPIREAT h 1700000001000 FIELDS 1 n"],
            ),
            ("HINCRBY h n 1", ":2", &["HINCRBY h n 1"]),
            (
                "HINCRBYFLOAT h n 0.5",
                "$3 2.5",
                &["HSET h n 2.5", "HPEXPIREAT h 1700000001000 FIELDS 1 n"],
            ),
            ("HPTTL h FIELDS 1 n", "*1 :1000", &[]),
            ("HSET h n 7", ":0", &["HSET h n 7"]),
            ("HPTTL h FIELDS 1 n", "*1 :-1", &[]),
        ],
    );
}

#[test]
fn fields_that_are_due_are_not_seen_and_then_gone() {
    let mut e = engine();
    let before: &[(&str, &str, &[&str])] = &[
        ("HSET h a 1 b 2", ":2", &["HSET h a 1 b 2"]),
        ("HSET one x 1", ":1", &["HSET one x 1"]),
        (
            "HPEXPIRE h 100 FIELDS 1 a",
            "*1 :1",
            &["HPEXPIREAT h 1700000000100 FIELDS 1 a"],
        ),
        (
            "HPEXPIRE one 100 FIELDS 1 x",
            "*1 :1",
            &["HPEXPIREAT one 1700000000100 FIELDS 1 x"],
        ),
    ];
    check(&mut e, 0, before);
    check(&mut e, 100, &[("HGET h a", "$1 1", &[])]);
    check(
        &mut e,
        101,
        &[
            ("HGETALL h", "*2 $1 b $1 2", &[]),
            ("HVALS h", "*1 $1 2", &[]),
            ("HLEN h", ":2", &[]),
            ("HSCAN h 0", "*2 $1 0 *2 $1 b $1 2", &[]),
            ("HSCAN h 0 NOVALUES", "*2 $1 0 *1 $1 b", &[]),
            ("HTTL h FIELDS 1 a", "*1 :-2", &[]),
            ("HSETNX h a 9", ":1", &["HDEL h a", "HSETNX h a 9"]),
            ("HGET h a", "$1 9", &[]),
            ("HINCRBY one x 5", ":5", &["HDEL one x", "HINCRBY one x 5"]),
        ],
    );
    for (command, reply, effects) in [
        ("HGET h a", "$-1", "HDEL h a"),
        ("HMGET h a b", "*2 $-1 $1 2", "HDEL h a"),
        ("HEXISTS h a", ":0", "HDEL h a"),
        ("HSTRLEN h a", ":0", "HDEL h a"),
        ("HRANDFIELD h 5", "*1 $1 b", "HDEL h a"),
        ("HRANDFIELD h -2", "*2 $1 b $1 b", "HDEL h a"),
        ("HRANDFIELD one", "$-1", "HDEL one x"),
        ("HDEL h a", ":1", "HDEL h a"),
    ] {
        let mut e = engine();
        check(&mut e, 0, before);
        check(
            &mut e,
            101,
            &[
                (command, reply, &[effects]),
                (
                    "HGET h a",
                    "$-1",
                    if command.contains("one") {
                        &["HDEL h a"]
                    } else {
                        &[]
                    },
                ),
            ],
        );
    }
    let mut e = engine();
    check(&mut e, 0, before);
    e.handle(after_ms(101), Input::Tick);
    assert_eq!(run_at(&mut e, after_ms(101), "EXISTS h one").trim(), ":1");
    assert_eq!(run_at(&mut e, after_ms(101), "HLEN h").trim(), ":1");
    e.invariants();
}

#[test]
fn times_move_with_their_hash_and_survive_a_reload() {
    let mut e = engine_with(Config {
        enable_debug_command: ProtectedAction::Yes,
        hash_max_listpack_entries: 8,
        ..Config::default()
    });
    for field in 0..20 {
        for key in ["large", "small"]
            .iter()
            .take(if field < 5 { 2 } else { 1 })
        {
            let set = alloc::format!("HSETEX {key} PX {} FIELDS 1 f{field} v", 1000 + field);
            run_at(&mut e, after_ms(0), &set);
        }
    }
    run_at(&mut e, after_ms(0), "HSET small kept v");
    for (command, reply) in [
        ("COPY large copy", ":1"),
        ("RENAME small moved", "+OK"),
        ("DEL large", ":1"),
        ("DEBUG RELOAD", "+OK"),
        ("HLEN copy", ":20"),
        ("HPEXPIRETIME copy FIELDS 1 f3", "*1 :1700000001003"),
        (
            "HPEXPIRETIME moved FIELDS 2 f4 kept",
            "*2 :1700000001004 :-1",
        ),
        ("OBJECT ENCODING copy", "$9 hashtable"),
        ("OBJECT ENCODING moved", "$10 listpackex"),
    ] {
        assert_eq!(run_at(&mut e, after_ms(1), command).trim(), reply);
    }
    e.invariants();
    run_at(&mut e, after_ms(1), "HPEXPIRE copy 5 FIELDS 1 f3");
    e.handle(after_ms(1010), Input::Tick);
    e.invariants();
    assert_eq!(run_at(&mut e, after_ms(1010), "HLEN copy").trim(), ":10");
    assert_eq!(
        run_at(&mut e, after_ms(1010), "HKEYS moved").trim(),
        "*1 $4 kept"
    );
}
