//! What commands on sets, bitmaps and HyperLogLogs journal, where that is not the command itself.

use super::testing::{engine, engine_with, run, run_and_journal};
use crate::Engine;
use crate::config::{Config, ProtectedAction};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::testing::NOW;

fn effects(engine: &mut Engine, command: &str) -> Vec<String> {
    run_and_journal(engine, NOW, command)
        .1
        .into_iter()
        .filter(|command| !command.starts_with("SELECT"))
        .collect()
}

#[test]
fn members_taken_by_chance_are_journalled_by_name() {
    let mut e = engine();
    for n in 0..700 {
        run(&mut e, &format!("SADD s {n}"));
    }
    for (command, members) in [("SPOP s", 1), ("SPOP s 5", 5), ("SPOP s 600", 600)] {
        let left = run(&mut e, "SCARD s");
        let journalled = effects(&mut e, command);
        assert_eq!(journalled.len(), 1);
        let words: Vec<&str> = journalled[0].split(' ').collect();
        assert_eq!(
            (words[0], words[1], words.len()),
            ("SREM", "s", members + 2)
        );
        assert!(
            words[2..]
                .iter()
                .all(|member| { run(&mut e, &format!("SISMEMBER s {member}")).trim() == ":0" })
        );
        let expected: usize = left.trim()[1..].parse().unwrap();
        assert_eq!(
            run(&mut e, "SCARD s").trim(),
            format!(":{}", expected - members)
        );
        e.invariants();
    }
    assert_eq!(run(&mut e, "OBJECT ENCODING s").trim(), "$6 intset");
    assert_eq!(effects(&mut e, "SPOP s 1000"), ["DEL s"]);
    assert_eq!(effects(&mut e, "SPOP s 1000"), [""; 0]);
    assert_eq!(run(&mut e, "EXISTS s").trim(), ":0");
}

#[test]
fn sets_of_all_forms_survive_a_reload() {
    let mut e = engine_with(Config {
        enable_debug_command: ProtectedAction::Yes,
        ..Config::default()
    });
    for n in 0..2000 {
        run(&mut e, &format!("SADD large member:{n}"));
    }
    run(&mut e, "SADD list a b 3");
    run(&mut e, "SADD integers 1 -70000");
    run(&mut e, "COPY large copy");
    let digest = run(&mut e, "DEBUG DIGEST");
    assert_eq!(run(&mut e, "DEBUG RELOAD").trim(), "+OK");
    assert_eq!(run(&mut e, "DEBUG DIGEST"), digest);
    for (key, encoding) in [
        ("large", "$9 hashtable"),
        ("list", "$8 listpack"),
        ("integers", "$6 intset"),
    ] {
        assert_eq!(
            run(&mut e, &format!("OBJECT ENCODING {key}")).trim(),
            encoding
        );
    }
    assert_eq!(run(&mut e, "SINTERCARD 2 large copy").trim(), ":2000");
    e.invariants();
}

#[test]
fn without_listpacks_sets_are_as_in_redis_7_0() {
    let mut e = engine_with(Config {
        set_max_listpack_entries: 0,
        ..Config::default()
    });
    run(&mut e, "SADD s a");
    run(&mut e, "SADD i 1 2");
    assert_eq!(run(&mut e, "OBJECT ENCODING s").trim(), "$9 hashtable");
    assert_eq!(run(&mut e, "OBJECT ENCODING i").trim(), "$6 intset");
    run(&mut e, "SADD i x");
    assert_eq!(run(&mut e, "OBJECT ENCODING i").trim(), "$9 hashtable");
}

#[test]
fn strings_on_conditions_are_journalled_without_them() {
    let mut e = engine();
    assert_eq!(run(&mut e, "SET k v IFEQ v").trim(), "$-1");
    run(&mut e, "SET k v EX 100");
    assert_eq!(effects(&mut e, "SET k w IFEQ x"), [""; 0]);
    assert_eq!(
        effects(&mut e, "SET k w IFEQ v KEEPTTL"),
        ["SET k w KEEPTTL"]
    );
    assert_eq!(run(&mut e, "SET k x IFEQ w GET").trim(), "$1 w");
    assert_eq!(run(&mut e, "SET k x IFEQ w NX").trim(), "-ERR syntax error");
    assert_eq!(effects(&mut e, "DELIFEQ k w"), [""; 0]);
    assert_eq!(effects(&mut e, "DELIFEQ k x"), ["DEL k"]);
    assert_eq!(
        effects(&mut e, "MSETEX 2 a 1 b 2 PX 5"),
        [
            "MULTI",
            "SET a 1 PXAT 1700000000005",
            "SET b 2 PXAT 1700000000005",
            "EXEC"
        ]
    );
    assert_eq!(run(&mut e, "MSETEX 2 a 1 c 2 NX").trim(), ":0");
    assert_eq!(run(&mut e, "MSETEX 2 a 1 c 2 XX").trim(), ":0");
    assert_eq!(run(&mut e, "MSETEX 2 a 1 c").trim(), "-ERR syntax error");
    assert_eq!(
        run(&mut e, "MSETEX 0 a 1 c").trim(),
        "-ERR invalid numkeys value or out of range"
    );
}

#[test]
fn an_estimate_that_is_kept_is_journalled() {
    let mut e = engine();
    run(&mut e, "PFADD h a b c");
    assert_eq!(effects(&mut e, "PFCOUNT h"), ["PFCOUNT h"]);
    assert_eq!(effects(&mut e, "PFCOUNT h"), [""; 0]);
    assert_eq!(effects(&mut e, "PFADD h a"), [""; 0]);
    assert_eq!(effects(&mut e, "PFCOUNT h nosuch"), [""; 0]);
    // What grew is journalled even where nothing was stored.
    assert_eq!(
        effects(&mut e, "BITFIELD b OVERFLOW FAIL INCRBY u1 0 5"),
        ["BITFIELD b OVERFLOW FAIL INCRBY u1 0 5"]
    );
    assert_eq!(effects(&mut e, "SETBIT b 0 0"), [""; 0]);
    e.invariants();
}
