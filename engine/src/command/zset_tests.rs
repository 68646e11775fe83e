//! Sorted sets and positions against answers recorded from Redis, and what no recording can hold.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::testing::*;
use crate::Engine;
use crate::config::{Config, ProtectedAction};

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/zset.txt"));
}

fn small_sets() -> Engine {
    engine_with(Config {
        zset_max_listpack_entries: 4,
        zset_max_listpack_value: 8,
        enable_debug_command: ProtectedAction::Yes,
        ..Config::default()
    })
}

#[test]
fn large_sets_go_through_a_snapshot() {
    let mut e = small_sets();
    for i in 0..3000 {
        run(&mut e, &format!("ZADD z {} m{i}", i % 97));
    }
    run(&mut e, "ZADD z -inf lowest inf highest 0.1 tenth -0 zero");
    run(&mut e, "ZADD small 1.5 a 2 b");
    let ask = |e: &mut Engine| {
        [
            "DEBUG DIGEST",
            "ZRANGE z 0 -1 WITHSCORES",
            "ZCARD z",
            "OBJECT ENCODING z",
        ]
        .map(|command| run(e, command))
    };
    let before = ask(&mut e);
    assert_eq!(run(&mut e, "DEBUG RELOAD"), "+OK");
    assert_eq!(ask(&mut e), before);
    e.invariants();
}

#[test]
fn copies_of_a_set_lead_their_own_lives() {
    let mut e = small_sets();
    for size in [3, 3000] {
        run(&mut e, "FLUSHALL");
        for i in 0..size {
            run(&mut e, &format!("ZADD z {i} m{i}"));
        }
        run(&mut e, "COPY z copy");
        let before = run(&mut e, "ZRANGE z 0 -1 WITHSCORES");
        for command in [
            "ZINCRBY z 100 m1",
            "ZREM z m2",
            "ZPOPMIN z",
            "ZREMRANGEBYRANK z 0 1000",
        ] {
            run(&mut e, command);
        }
        assert_eq!(run(&mut e, "ZRANGE copy 0 -1 WITHSCORES"), before);
        run(&mut e, "DEL z");
        assert_eq!(run(&mut e, "ZRANGE copy 0 -1 WITHSCORES"), before);
        e.invariants();
    }
}

/// KB-125: of a large sorted set.
#[test]
fn a_scan_of_a_large_set_meets_every_member_that_stays() {
    let mut e = small_sets();
    for i in 0..2000 {
        run(&mut e, &format!("ZADD z {i} m{i}"));
    }
    let (mut cursor, mut seen) = (String::from("0"), Vec::new());
    for round in 0.. {
        let reply = run(&mut e, &format!("ZSCAN z {cursor} COUNT 20"));
        let words: Vec<&str> = reply
            .split(' ')
            .filter(|word| !word.starts_with(['$', '*']))
            .collect();
        cursor = words[0].into();
        seen.extend(words[1..].iter().step_by(2).map(|m| String::from(*m)));
        assert!(words.len() <= 1 + 2 * 30, "{}", words.len());
        if cursor == "0" {
            break;
        }
        // Half of them go, others come, meanwhile.
        for i in 0..10 {
            run(&mut e, &format!("ZREM z m{}", round * 20 + i * 2 + 1));
            run(&mut e, &format!("ZADD z 5 new{round}:{i}"));
        }
    }
    for i in (0..2000).step_by(2) {
        assert!(seen.contains(&format!("m{i}")), "{i}");
    }
    e.invariants();
}

#[test]
fn who_waits_for_a_member_gets_it() {
    let mut e = engine();
    let other = join(&mut e, 1);
    assert_eq!(send(&mut e, conn(), NOW, "BZPOPMIN a b 0"), "");
    assert_eq!(send(&mut e, other, NOW, "ZADD b 2 two 1 one"), ":2");
    assert_eq!(collect(&mut e, conn()), "*3 $1 b $3 one $1 1");
    assert_eq!(send(&mut e, conn(), NOW, "BZMPOP 0 2 a c MAX COUNT 2"), "");
    assert_eq!(send(&mut e, other, NOW, "ZADD c 1 x 2 y 3 z"), ":3");
    assert_eq!(
        collect(&mut e, conn()),
        "*2 $1 c *2 *2 $1 z $1 3 *2 $1 y $1 2"
    );
    assert_eq!(send(&mut e, conn(), NOW, "BZPOPMAX nosuch 0.5"), "");
    assert_eq!(wait(&mut e, conn(), after_ms(600)), "*-1");
    e.invariants();
}

#[test]
fn ranks_come_with_scores_if_asked_to() {
    let mut e = engine();
    run(&mut e, "ZADD z 1 a 2.5 b");
    for (command, reply) in [
        ("ZRANK z b WITHSCORE", "*2 :1 $3 2.5"),
        ("ZREVRANK z b withscore", "*2 :0 $3 2.5"),
        ("ZRANK z nosuch WITHSCORE", "*-1"),
        ("ZRANK nosuch b WITHSCORE", "*-1"),
        (
            "ZRANK z b x",
            "-ERR wrong number of arguments for \\'zrank\\' command",
        ),
    ] {
        assert_eq!(run(&mut e, command), reply, "{command}");
    }
}
