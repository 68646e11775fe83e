//! Commands on lists against answers recorded from Redis, and those that wait.

use alloc::string::String;

use super::testing::*;

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/list.txt"));
}

/// A client that waits, and one that does things; what the first gets.
fn waiting(first: &str, then: &[&str]) -> (crate::Engine, String) {
    let mut e = engine();
    let waiter = join(&mut e, 1);
    assert_eq!(send(&mut e, waiter, NOW, first), "", "{first}");
    for command in then {
        run(&mut e, command);
    }
    let got = collect(&mut e, waiter);
    e.invariants();
    (e, got)
}

#[test]
fn who_waits_is_served_by_what_comes() {
    for (first, then, got) in [
        ("BLPOP l 0", "RPUSH l a b", "*2 $1 l $1 a"),
        ("BRPOP x l 0", "RPUSH l a b", "*2 $1 l $1 b"),
        ("BLMPOP 0 2 x l LEFT", "RPUSH l a b", "*2 $1 l *1 $1 a"),
        (
            "BLMPOP 0 1 l RIGHT COUNT 5",
            "RPUSH l a b",
            "*2 $1 l *2 $1 b $1 a",
        ),
        ("BLMOVE l m LEFT RIGHT 0", "RPUSH l a b", "$1 a"),
        ("BRPOPLPUSH l m 0", "RPUSH l a b", "$1 b"),
        ("BRPOPLPUSH l l 0", "RPUSH l a b", "$1 b"),
        ("BLPOP l 0", "SORT s STORE l", "*2 $1 l $1 1"),
        ("BLPOP l 0", "RENAME other l", "*2 $1 l $1 o"),
        ("BLPOP l 0", "COPY other l", "*2 $1 l $1 o"),
        ("BLPOP l 0", "LMOVE other l LEFT LEFT", "*2 $1 l $1 o"),
        ("BLPOP l 0", "MOVE l 1", ""),
        ("BLPOP l 0", "SET l x", ""),
        ("BLPOP l 0", "LPUSH k x", ""),
    ] {
        let mut e = engine();
        let waiter = join(&mut e, 1);
        run(&mut e, "SADD s 1");
        run(&mut e, "RPUSH other o");
        assert_eq!(send(&mut e, waiter, NOW, first), "", "{first}");
        run(&mut e, then);
        assert_eq!(collect(&mut e, waiter), got, "{first} / {then}");
        e.invariants();
        // Who is served goes on; who waits does not.
        let next = send(&mut e, waiter, NOW, "PING");
        assert_eq!(next, if got.is_empty() { "" } else { "+PONG" });
    }
}

#[test]
fn a_transaction_is_seen_as_a_whole() {
    let then = ["MULTI", "RPUSH l a", "DEL l", "RPUSH l b", "EXEC"];
    assert_eq!(waiting("BLPOP l 0", &then).1, "*2 $1 l $1 b");
    let then = ["MULTI", "RPUSH l a", "DEL l", "EXEC"];
    assert_eq!(waiting("BLPOP l 0", &then).1, "");
    let then = ["MULTI", "LPUSH l a", "LPUSH l b", "LPUSH l c", "EXEC"];
    assert_eq!(waiting("BLPOP l 0", &then).1, "*2 $1 l $1 c");
    // As Redis 7.0: the key that came first, not the one that was named first.
    let then = ["MULTI", "LPUSH y b", "LPUSH x a", "EXEC"];
    assert_eq!(waiting("BLPOP x y 0", &then).1, "*2 $1 y $1 b");
}

#[test]
fn the_first_to_come_is_the_first_served() {
    let mut e = engine();
    let waiters = [3, 1, 2].map(|n| join(&mut e, n));
    for waiter in waiters {
        send(&mut e, waiter, NOW, "BLPOP l 0");
    }
    run(&mut e, "RPUSH l a b");
    assert_eq!(collect(&mut e, waiters[0]), "*2 $1 l $1 a");
    assert_eq!(collect(&mut e, waiters[1]), "*2 $1 l $1 b");
    assert_eq!(collect(&mut e, waiters[2]), "");
    // Who comes back stands at the end.
    send(&mut e, waiters[0], NOW, "BLPOP l 0");
    run(&mut e, "RPUSH l c");
    assert_eq!(collect(&mut e, waiters[2]), "*2 $1 l $1 c");
    assert_eq!(collect(&mut e, waiters[0]), "");
    assert_eq!(run(&mut e, "EXISTS l"), ":0");
    e.invariants();
}

#[test]
fn moves_that_wait_form_chains() {
    let mut e = engine();
    let (first, second) = (join(&mut e, 1), join(&mut e, 2));
    send(&mut e, first, NOW, "BLMOVE a b LEFT RIGHT 0");
    send(&mut e, second, NOW, "BRPOPLPUSH b c 0");
    run(&mut e, "RPUSH a x");
    assert_eq!(collect(&mut e, first), "$1 x");
    assert_eq!(collect(&mut e, second), "$1 x");
    assert_eq!(run(&mut e, "LRANGE c 0 -1"), "*1 $1 x");
    assert_eq!(run(&mut e, "EXISTS a b"), ":0");
    // A destination of another type is an error, and costs nothing.
    run(&mut e, "SET s x");
    send(&mut e, first, NOW, "BLMOVE a s LEFT RIGHT 0");
    send(&mut e, second, NOW, "BLMOVE a b LEFT RIGHT 0");
    run(&mut e, "RPUSH a y");
    assert!(collect(&mut e, first).starts_with("-WRONGTYPE"));
    assert_eq!(collect(&mut e, second), "$1 y");
    e.invariants();
}

#[test]
fn what_is_served_is_journalled_as_what_it_came_to() {
    for (first, effects) in [
        ("BLPOP l 0", "LPOP l"),
        ("BRPOP l 0", "RPOP l"),
        ("BLMPOP 0 1 l LEFT COUNT 5", "LPOP l 2"),
        ("BLMPOP 0 1 l right", "RPOP l 1"),
        ("BLMOVE l m LEFT riGHT 0", "LMOVE l m left right"),
        ("BRPOPLPUSH l m 0", "RPOPLPUSH l m"),
    ] {
        let mut e = engine();
        let waiter = join(&mut e, 1);
        send(&mut e, waiter, NOW, first);
        assert_eq!(
            effects_of(&mut e, "RPUSH l a b"),
            ["RPUSH l a b", effects],
            "{first}"
        );
    }
}

/// KB-103.
#[test]
fn patience_ends() {
    for (first, null) in [
        ("BLPOP l 1", "*-1"),
        ("BRPOP l 0.5", "*-1"),
        ("BLMPOP 1 1 l LEFT", "*-1"),
        ("BLMOVE l m LEFT LEFT 1", "*-1"),
        ("BRPOPLPUSH l m 1", "*-1"),
    ] {
        let mut e = engine();
        let waiter = join(&mut e, 1);
        assert_eq!(send(&mut e, waiter, NOW, first), "");
        assert_eq!(wait(&mut e, waiter, after_ms(499)), "", "{first}");
        assert_eq!(wait(&mut e, waiter, after_ms(1000)), null, "{first}");
        run_at(&mut e, after_ms(1001), "RPUSH l a");
        assert_eq!(collect(&mut e, waiter), "");
        e.invariants();
    }
    let (mut e, _) = waiting("BLPOP l 0", &[]);
    let forever = after_ms(1 << 40);
    let waiter = crate::face::ConnId::accepted(1, 0);
    assert_eq!(wait(&mut e, waiter, forever), "");
}

/// A list that others hold (a snapshot, a copy) is theirs as it was.
#[test]
fn copies_part_ways() {
    let mut e = engine();
    for i in 0..3000 {
        run(&mut e, &alloc::format!("RPUSH l element-{i}"));
    }
    run(&mut e, "COPY l m");
    let before = run(&mut e, "DEBUG DIGEST-VALUE m");
    for command in [
        "LPOP l",
        "RPUSH l x",
        "LSET l 1500 y",
        "LINSERT l BEFORE element-700 z",
        "LREM l 0 element-2000",
        "LTRIM l 10 -10",
    ] {
        run(&mut e, command);
        assert_eq!(run(&mut e, "DEBUG DIGEST-VALUE m"), before, "{command}");
        e.invariants();
    }
    assert_eq!(run(&mut e, "LLEN l"), ":2981");
    assert_eq!(run(&mut e, "LINDEX l 1491"), "$1 y");
}

#[test]
fn what_is_due_at_the_end_of_a_transaction_serves_nobody() {
    let mut e = engine();
    e.parts.config.enable_debug_command = crate::config::ProtectedAction::Yes;
    let (a, waiter) = (join(&mut e, 1), join(&mut e, 2));
    assert_eq!(send(&mut e, waiter, NOW, "BLPOP l 0"), "");
    for command in ["MULTI", "RPUSH l x", "PEXPIRE l 100", "DEBUG SLEEP 0.2"] {
        send(&mut e, a, NOW, command);
    }
    let exec = b"EXEC\r\n";
    let reads = [(a, &exec[..])];
    let mut turn = e.receive(&reads);
    while turn.step(NOW) {}
    assert_eq!(turn.stall(), Some(200_000));
    while turn.step(after_ms(200)) {}
    drop(turn);
    assert_eq!(collect(&mut e, a), "*3 :1 :1 +OK");
    assert_eq!(wait(&mut e, waiter, after_ms(201)), "");
}
