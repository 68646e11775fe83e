//! Streams against answers recorded from Redis; waiting for them; and what a snapshot has of them.

use alloc::format;
use alloc::string::String;

use crate::Engine;
use crate::command::testing::*;
use crate::rdb;
use crate::store::{Object, ValueRef};

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("../golden/streams.txt"));
}

/// An engine with these commands carried out.
fn engine_after(commands: &[&str]) -> Engine {
    let mut e = engine();
    for command in commands {
        let reply = run(&mut e, command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
    e
}

/// What a client who waits by `waiting` is told after each of the commands; nothing while it waits.
fn woken_by(e: &mut Engine, waiting: &str, commands: &[&str]) -> String {
    let other = join(e, 1);
    assert_eq!(send(e, other, NOW, waiting), "", "{waiting}");
    for command in commands {
        let reply = run(e, command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
        let answer = collect(e, other);
        if !answer.is_empty() {
            return format!("{command}: {answer}");
        }
    }
    e.invariants();
    String::new()
}

#[test]
fn xread_waits_for_what_comes() {
    let mut e = engine_after(&["XADD s 1-0 f v"]);
    let commands = [
        "XDEL s 1-0",
        "XTRIM s MAXLEN 0",
        "XADD other 1-0 f v",
        "XADD s 2-0 f v",
        "XADD s 3-0 f v",
    ];
    assert_eq!(
        woken_by(&mut e, "XREAD BLOCK 0 STREAMS s t $ $", &commands),
        "XADD s 2-0 f v: *1 *2 $1 s *1 *2 $3 2-0 *2 $1 f $1 v"
    );
    let mut e = engine_after(&["SET s x"]);
    e.invariants();
    let commands = ["SET t x", "DEL t", "RPUSH t x", "XADD u 5-0 f v"];
    let commands = [commands[0], commands[1], commands[3]];
    assert_eq!(
        woken_by(&mut e, "XREAD BLOCK 0 STREAMS t u 0 4", &commands),
        "XADD u 5-0 f v: *1 *2 $1 u *1 *2 $3 5-0 *2 $1 f $1 v"
    );
}

#[test]
fn what_comes_in_a_transaction_comes_at_once() {
    let mut e = engine();
    let commands = [
        "MULTI",
        "XADD s 1-0 f v",
        "XADD s 2-0 f v",
        "XADD t 1-0 f v",
        "EXEC",
    ];
    assert_eq!(
        woken_by(&mut e, "XREAD BLOCK 0 STREAMS t s $ $", &commands[..3]),
        ""
    );
    assert_eq!(run(&mut e, "EXEC"), "*2 $3 1-0 $3 2-0");
    let other = crate::ConnId::accepted(1, 0);
    assert_eq!(
        collect(&mut e, other),
        "*1 *2 $1 s *2 *2 $3 1-0 *2 $1 f $1 v *2 $3 2-0 *2 $1 f $1 v"
    );
}

#[test]
fn a_group_is_served_in_turn() {
    let mut e = engine_after(&["XGROUP CREATE s g $ MKSTREAM"]);
    let (ann, bob) = (join(&mut e, 1), join(&mut e, 2));
    for (conn, name) in [(ann, "ann"), (bob, "bob")] {
        let wait = format!("XREADGROUP GROUP g {name} BLOCK 0 STREAMS s >");
        assert_eq!(send(&mut e, conn, NOW, &wait), "");
    }
    assert_eq!(
        effects_of(&mut e, "XADD s 1-0 f v"),
        [
            "XADD s 1-0 f v",
            "XCLAIM s g ann 0 1-0 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-0"
        ]
    );
    let entry = |id: &str| format!("*1 *2 $1 s *1 *2 $3 {id} *2 $1 f $1 v");
    assert_eq!(collect(&mut e, ann), entry("1-0"));
    assert_eq!(collect(&mut e, bob), "");
    run(&mut e, "XADD s 2-0 f v");
    assert_eq!(collect(&mut e, bob), entry("2-0"));
    assert_eq!(
        run(&mut e, "XPENDING s g"),
        "*4 :2 $3 1-0 $3 2-0 *2 *2 $3 ann $1 1 *2 $3 bob $1 1"
    );
}

#[test]
fn a_group_that_goes_is_an_answer() {
    let setup = ["XGROUP CREATE s g $ MKSTREAM", "XADD s 1-0 f v"];
    let wait = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    let gone = "-UNBLOCKED the stream key no longer exists";
    for (commands, answer) in [
        (
            ["XGROUP CREATE s h 0", "XGROUP DESTROY s g"],
            "-NOGROUP the consumer group this client was blocked on no longer exists",
        ),
        (["XGROUP DESTROY s none", "DEL s"], gone),
        (["XACK s g 1-0", "SET s x"], gone),
        (["XDEL s 1-0", "FLUSHALL"], gone),
        (["XADD t 1-0 f v", "RENAME s t"], gone),
    ] {
        let mut e = engine_after(&setup);
        assert_ne!(run(&mut e, "XREADGROUP GROUP g c STREAMS s >"), "*-1");
        assert_eq!(
            woken_by(&mut e, wait, &commands),
            format!("{}: {answer}", commands[1])
        );
        // Nobody waits any more.
        assert!(!e.parts.watches.waits.any_ready());
    }
}

#[test]
fn waiting_ends_with_its_time() {
    let mut e = engine_after(&["XADD s 1-0 f v"]);
    let other = join(&mut e, 1);
    assert_eq!(send(&mut e, other, NOW, "XREAD BLOCK 20 STREAMS s $"), "");
    assert_eq!(wait(&mut e, other, after_ms(15)), "");
    assert_eq!(wait(&mut e, other, after_ms(25)), "*-1");
    run(&mut e, "XADD s 2-0 f v");
    assert_eq!(collect(&mut e, other), "");
}

#[test]
fn the_last_entry_can_be_read() {
    let mut e = engine_after(&["XADD s 1-0 f v", "XADD s 2-0 f v"]);
    assert_eq!(
        run(&mut e, "XREAD STREAMS s t + +"),
        "*1 *2 $1 s *1 *2 $3 2-0 *2 $1 f $1 v"
    );
    run(&mut e, "XDEL s 2-0 1-0");
    assert_eq!(run(&mut e, "XREAD STREAMS s +"), "*-1");
}

#[test]
fn the_digest_is_that_of_redis() {
    let mut e = engine_with(crate::config::Config {
        enable_debug_command: crate::config::ProtectedAction::Yes,
        ..crate::config::Config::default()
    });
    for command in [
        "XADD s 1-2 f v g 10",
        "XADD s 2-0 f w",
        "XGROUP CREATE s g 0",
    ] {
        run(&mut e, command);
    }
    assert_eq!(
        run(&mut e, "DEBUG DIGEST-VALUE s"),
        "*1 +67f6225c91ce25dce1888149c24fb3eac2dc9c3c"
    );
}

/// What a snapshot says of the stream at a key.
fn dump(e: &Engine, key: &str) -> alloc::vec::Vec<u8> {
    let store = &e.parts.store;
    let place = store.find(0, store.hasher().key(key.as_bytes())).unwrap();
    match store.entry(0, place).value() {
        ValueRef::Object(Object::Stream(stream)) => {
            stream.invariants();
            rdb::dump::dump(rdb::ValueView::Stream(stream), false)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn effects_carried_out_elsewhere_give_the_same_stream() {
    let commands = include_str!("../golden/streams.txt");
    let (mut here, mut there) = (engine(), engine());
    // As a replica does it: what its primary did is done to the letter.
    let session = there.parts.clients.get_mut(conn()).unwrap();
    session.set(crate::client::alert::TRUSTED, true);
    let mut open = false;
    for line in commands.lines() {
        let Some(command) = line.strip_prefix("> ") else {
            if line == "@ flush" {
                run(&mut here, "FLUSHALL");
                run(&mut there, "FLUSHALL");
            }
            continue;
        };
        if command.starts_with("CONFIG") {
            run(&mut there, command);
        }
        let (_, effects) = run_and_journal(&mut here, NOW, command);
        // Elsewhere it is later.
        for effect in effects {
            let reply = run_at(&mut there, after_ms(1000), &effect);
            assert!(!reply.starts_with('-'), "{effect}: {reply}");
        }
        // Nothing can be looked at while a transaction is queued.
        open = command == "MULTI" || (open && command != "EXEC");
        let key = "s";
        let hash = here.parts.store.hasher().key(key.as_bytes());
        let has_stream = here.parts.store.find(0, hash).is_some();
        if has_stream && !open {
            let entries = "XRANGE s - +";
            assert_eq!(
                run(&mut here, entries),
                run(&mut there, entries),
                "{command}"
            );
            let groups = "XINFO STREAM s";
            assert_eq!(run(&mut here, groups), run(&mut there, groups), "{command}");
        }
    }
    let _ = dump(&here, "s");
    here.invariants();
    there.invariants();
}

#[test]
fn whoever_waits_longest_is_served_first() {
    let mut e = engine();
    run(&mut e, "XGROUP CREATE s g $ MKSTREAM");
    e.parts.config.slowlog_log_slower_than = 0;
    let waits = [
        "XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
        "XREAD BLOCK 0 STREAMS s $",
        "XREADGROUP GROUP g b BLOCK 0 STREAMS s >",
        "XREAD BLOCK 0 STREAMS s $",
    ];
    for (n, wait) in (1..).zip(waits) {
        let client = join(&mut e, n);
        send(&mut e, client, NOW, &format!("CLIENT SETNAME w{n}"));
        send(&mut e, client, NOW, wait);
    }
    run(&mut e, "SLOWLOG RESET");
    run(&mut e, "XADD s 1-1 a b");
    // The log begins with what came last.
    let log = run(&mut e, "SLOWLOG GET -1");
    let served: alloc::vec::Vec<&str> = (log
        .split(' ')
        .filter(|word| word.len() == 2 && word.starts_with('w')))
    .collect();
    assert_eq!(served, ["w4", "w2", "w1"], "{log}");
}
