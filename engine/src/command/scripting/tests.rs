//! Scripts that are debugged: against sessions recorded from Redis, and beside other clients.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::effects::encode;
use super::super::testing::*;
use crate::Engine;
use crate::config::Config;
use crate::face::{ConnId, Input, Now};
use crate::resp::split_words;

/// Sessions as `golden/record.py` describes them.
#[test]
fn sessions_are_those_of_redis() {
    let recorded = include_str!("../golden/debugger.txt");
    for session in recorded.split("\n= ").skip(1) {
        let mut lines = session.lines().filter(|line| !line.starts_with('#'));
        let mode = lines.next().unwrap();
        let mut engine = engine();
        let conn = join(&mut engine, 1);
        send(&mut engine, conn, NOW, &format!("SCRIPT DEBUG {mode}"));
        let (mut came, mut left) = (String::new(), Vec::new());
        let mut effects = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            match line.split_at(2) {
                ("> ", words) => {
                    let words = split_words(words.as_bytes()).unwrap();
                    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    let mut request = Vec::new();
                    encode(&mut request, &words);
                    engine.parts.effects.wanted = true;
                    let from = engine.parts.journal.end();
                    let reads = [(conn, &request[..])];
                    let mut turn = engine.receive(&reads);
                    while turn.step(NOW) {}
                    drop(turn);
                    left.extend(journalled(&mut engine, from));
                    came = collect(&mut engine, conn);
                }
                ("< ", reply) => assert_eq!(came, reply, "{session}"),
                ("! ", effect) => effects.push(effect),
                _ => panic!("{line}"),
            }
        }
        left.retain(|command| !command.starts_with("SELECT"));
        assert_eq!(left, effects, "{session}");
        engine.invariants();
    }
}

/// An engine with two clients, of which the first debugs a script.
fn debugged(mode: &str, script: &str) -> (Engine, ConnId, ConnId) {
    let mut engine = engine_with(Config {
        busy_reply_threshold: 100,
        ..Config::default()
    });
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    send(&mut engine, a, NOW, &format!("SCRIPT DEBUG {mode}"));
    let stopped = send(&mut engine, a, NOW, &format!("EVAL \"{script}\" 0"));
    assert!(stopped.contains("+* Stopped at 1"), "{stopped}");
    (engine, a, b)
}

fn leave(engine: &mut Engine, conn: ConnId, now: Now) {
    let reason = "".into();
    engine.handle(now, Input::Closed { conn, reason });
    engine.handle(now, Input::Tick);
}

const WRITES: &str = "redis.call('set', 'a', 'mine')\n\
     redis.call('del', 'b')\n\
     redis.call('rpush', 'c', '1', '2')\n\
     redis.call('hset', 'd', 'f', 'mine')\n\
     redis.call('move', 'e', 1)\n\
     return redis.call('get', 'a')";

#[test]
fn changes_that_are_rolled_back_are_nobody_elses() {
    let (mut engine, a, b) = debugged("yes", WRITES);
    for command in [
        "SET a theirs",
        "SET b theirs",
        "HSET d f theirs g 1",
        "SET e theirs PX 5000",
    ] {
        send(&mut engine, b, NOW, command);
    }
    let (bytes, changes) = (engine.parts.store.bytes(), engine.parts.changes);
    let digest = |engine: &mut Engine| super::super::digest::digest(&engine.parts.store);
    let before = digest(&mut engine);
    let from = engine.parts.journal.end();
    send(&mut engine, b, NOW, "WATCH a b c d e");
    for _ in 0..5 {
        engine.parts.effects.wanted = true;
        let stopped = send(&mut engine, a, NOW, "step");
        assert!(stopped.contains("+<reply>"), "{stopped}");
        assert_eq!(digest(&mut engine), before);
        assert_eq!(send(&mut engine, b, NOW, "GET a"), "$6 theirs");
        engine.invariants();
    }
    let mine = send(&mut engine, a, NOW, "redis get a");
    assert!(mine.contains("+<reply> \\\"mine\\\""), "{mine}");
    let mine = send(&mut engine, a, NOW, "redis hgetall d");
    assert!(
        mine.contains("[\\\"f\\\",\\\"mine\\\",\\\"g\\\",\\\"1\\\"]"),
        "{mine}"
    );
    for (command, reply) in [
        ("exists a b c d e", "3"),
        ("lrange c 0 -1", "[\\\"1\\\",\\\"2\\\"]"),
    ] {
        let shown = send(&mut engine, a, NOW, &format!("redis {command}"));
        assert!(shown.ends_with(&format!("+<reply> {reply}")), "{shown}");
    }
    assert_eq!(engine.parts.store.bytes(), bytes);
    assert_eq!(engine.parts.changes, changes);
    assert_eq!(journalled(&mut engine, from), Vec::<String>::new());
    // Who watches has seen nothing; who writes the same keys is not in the way.
    send(&mut engine, b, NOW, "MULTI");
    send(&mut engine, b, NOW, "SET a newer");
    assert_eq!(send(&mut engine, b, NOW, "EXEC"), "*1 +OK");
    assert_eq!(
        send(&mut engine, a, NOW, "continue"),
        "*1 +<endsession> $4 mine"
    );
    assert_eq!(send(&mut engine, b, NOW, "GET a"), "$5 newer");
    assert_eq!(send(&mut engine, b, NOW, "EXISTS a b c d e"), ":4");
    engine.invariants();
}

#[test]
fn what_cannot_be_rolled_back_is_refused() {
    let (mut engine, a, b) = debugged("yes", "return redis.call('flushall')");
    send(&mut engine, b, NOW, "SET k v");
    for command in [
        "flushall",
        "flushdb",
        "swapdb 0 1",
        "migrate h 1 k 0 1",
        "slowlog reset",
    ] {
        let shown = send(&mut engine, a, NOW, &format!("redis {command}"));
        assert!(
            shown.contains("<error> This command cannot be undone"),
            "{shown}"
        );
    }
    send(&mut engine, b, NOW, "SUBSCRIBE news");
    let shown = send(&mut engine, a, NOW, "redis publish news x");
    assert!(shown.ends_with("+<reply> 1"), "{shown}");
    assert_eq!(collect(&mut engine, b), "");
    let shown = send(
        &mut engine,
        a,
        NOW,
        "eval \"for i=1,10001 do redis.call('set',i,i) end\"",
    );
    assert!(
        shown.contains("Too much would have to be undone"),
        "{shown}"
    );
    let ended = send(&mut engine, a, NOW, "continue");
    assert!(
        ended.starts_with("*1 +<endsession> -ERR This command cannot be undone"),
        "{ended}"
    );
    let c = join(&mut engine, 3);
    assert_eq!(send(&mut engine, c, NOW, "DBSIZE"), ":1");
    engine.invariants();
}

#[test]
fn nobody_is_woken_and_nothing_expires_for_a_session() {
    let script = "redis.call('rpush', 'q', 'x')\nreturn redis.call('get', 'old')";
    let (mut engine, a, b) = debugged("yes", script);
    let c = join(&mut engine, 3);
    send(&mut engine, c, NOW, "DEBUG SET-ACTIVE-EXPIRE 0");
    send(&mut engine, c, NOW, "SET old v PX 10");
    assert_eq!(send(&mut engine, b, NOW, "BLPOP q 0"), "");
    let from = engine.parts.journal.end();
    let expired = engine.parts.stats.expired;
    engine.parts.effects.wanted = true;
    send(&mut engine, a, after_ms(20), "step");
    engine.parts.effects.wanted = true;
    let ended = send(&mut engine, a, after_ms(20), "step");
    assert!(ended.ends_with("+<endsession> $-1"), "{ended}");
    assert_eq!(engine.parts.stats.expired, expired);
    assert_eq!(journalled(&mut engine, from), Vec::<String>::new());
    assert_eq!(collect(&mut engine, b), "");
    send(&mut engine, c, after_ms(21), "RPUSH q real");
    assert_eq!(collect(&mut engine, b), "*2 $1 q $4 real");
}

#[test]
fn others_are_busy_while_a_session_writes_for_good() {
    let (mut engine, a, b) = debugged("sync", WRITES);
    let busy =
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    let from = engine.parts.journal.end();
    engine.parts.effects.wanted = true;
    send(&mut engine, a, NOW, "step");
    assert_eq!(send(&mut engine, b, NOW, "GET a"), busy);
    // It costs nothing to stand still.
    assert!(engine.deadline().unwrap() > NOW.mono_us);
    engine.parts.effects.wanted = true;
    send(&mut engine, a, NOW, "step");
    assert_eq!(journalled(&mut engine, from), Vec::<String>::new());
    // Who has debugged enough can be sent away, though there were writes.
    engine.parts.effects.wanted = true;
    assert_eq!(send(&mut engine, b, NOW, "SCRIPT KILL"), "+OK");
    engine.handle(after_ms(1), Input::Tick);
    let ended = collect(&mut engine, a);
    assert!(
        ended.contains("+<endsession> -ERR Script killed by user"),
        "{ended}"
    );
    assert_eq!(send(&mut engine, b, NOW, "GET a"), "$4 mine");
    assert_eq!(
        send(&mut engine, b, NOW, "SCRIPT KILL"),
        "-NOTBUSY No scripts in execution right now."
    );
    engine.invariants();
}

#[test]
fn without_its_client_a_script_goes_on_or_is_forgotten() {
    let (mut engine, a, b) = debugged("sync", WRITES);
    send(&mut engine, a, NOW, "break 3");
    leave(&mut engine, a, after_ms(1));
    assert_eq!(send(&mut engine, b, after_ms(1), "GET a"), "$4 mine");
    assert_eq!(send(&mut engine, b, after_ms(1), "LLEN c"), ":2");

    let (mut engine, a, b) = debugged("yes", WRITES);
    send(&mut engine, a, NOW, "step");
    leave(&mut engine, a, after_ms(1));
    assert!(engine.parts.scripts.rehearsed.is_empty());
    assert_eq!(send(&mut engine, b, after_ms(1), "GET a"), "$-1");
    engine.invariants();
}

#[test]
fn an_endless_loop_is_stopped_and_can_be_left() {
    for mode in ["yes", "sync"] {
        let (mut engine, a, b) = debugged(mode, "local n = 0\nwhile true do n = n + 1 end");
        assert_eq!(send(&mut engine, a, NOW, "continue"), "");
        let mut stopped = String::new();
        for ms in 0..200 {
            engine.handle(after_ms(ms), Input::Tick);
            stopped += &collect(&mut engine, a);
        }
        assert!(
            stopped.contains("+* Stopped at 2, stop reason = timeout reached, infinite loop?"),
            "{mode}: {stopped}"
        );
        let shown = send(&mut engine, a, after_ms(200), "print");
        assert!(shown.contains("+<value> n = "), "{shown}");
        // So is code that was typed in; nobody is there any more.
        assert_eq!(
            send(&mut engine, a, after_ms(200), "eval \"while true do end\""),
            ""
        );
        leave(&mut engine, a, after_ms(200));
        for ms in 200..400 {
            engine.handle(after_ms(ms), Input::Tick);
        }
        assert_eq!(
            send(&mut engine, b, after_ms(400), "GET a"),
            "$-1",
            "{mode}"
        );
        assert!(!engine.parts.scripts.runs_on());
    }
}

#[test]
fn sessions_are_beside_each_other_and_other_scripts() {
    let (mut engine, a, b) = debugged("yes", WRITES);
    let c = join(&mut engine, 3);
    send(&mut engine, c, NOW, "SCRIPT DEBUG yes");
    let script = "redis.call('append', 'a', 'x')\nreturn redis.call('get', 'a')";
    send(&mut engine, c, NOW, &format!("EVAL \"{script}\" 0"));
    send(&mut engine, a, NOW, "step");
    let eval = "EVAL \"return redis.call('append', 'a', 'real')\" 0";
    assert_eq!(send(&mut engine, b, NOW, eval), ":4");
    assert_eq!(
        send(&mut engine, c, NOW, "continue"),
        "*1 +<endsession> $5 realx"
    );
    let shown = send(&mut engine, a, NOW, "redis get a");
    assert!(shown.contains("mine"), "{shown}");
    assert_eq!(send(&mut engine, b, NOW, "GET a"), "$4 real");
}

#[test]
fn debugging_is_for_eval_alone() {
    let (mut engine, a, b) = debugged("yes", "return 1");
    send(&mut engine, a, NOW, "continue");
    send(&mut engine, b, NOW, "SCRIPT DEBUG yes");
    let sha = "0".repeat(40);
    assert_eq!(
        send(&mut engine, b, NOW, &format!("EVALSHA {sha} 0")),
        "-ERR Please use EVAL instead of EVALSHA for debugging"
    );
    send(&mut engine, b, NOW, "MULTI");
    send(&mut engine, b, NOW, "EVAL \"return 1\" 0");
    assert_eq!(
        send(&mut engine, b, NOW, "EXEC"),
        "*1 -ERR Scripts cannot be debugged in a transaction"
    );
    assert_eq!(
        send(&mut engine, b, NOW, "SCRIPT DEBUG maybe"),
        "-ERR Use SCRIPT DEBUG YES/SYNC/NO"
    );
    send(&mut engine, b, NOW, "SCRIPT DEBUG no");
    assert_eq!(send(&mut engine, b, NOW, "EVAL \"return 1\" 0"), ":1");
}
