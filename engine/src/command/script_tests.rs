//! Scripts against answers recorded from Redis, and what no recording can hold: scripts that run for too long,
//! several connections, snapshots with functions, and scripts that mean harm.

use alloc::format;
use alloc::string::String;

use super::testing::*;
use crate::Engine;
use crate::config::Config;
use crate::face::{ConnId, Input, Now};

#[test]
fn replies_and_effects_are_those_of_redis() {
    compare(include_str!("golden/script.txt"));
}

/// Sends a request of these words, and has the engine take so many steps.
fn begin(engine: &mut Engine, conn: ConnId, now: Now, words: &[&str], steps: usize) -> String {
    let words: alloc::vec::Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
    let mut request = alloc::vec::Vec::new();
    super::effects::encode(&mut request, &words);
    let reads = [(conn, &request[..])];
    let mut turn = engine.receive(&reads);
    for _ in 0..steps {
        if !turn.step(now) {
            break;
        }
    }
    drop(turn);
    collect(engine, conn)
}

fn busy_engine() -> (Engine, ConnId, ConnId) {
    let mut engine = engine_with(Config {
        busy_reply_threshold: 100,
        ..Config::default()
    });
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    (engine, a, b)
}

const BUSY: &str =
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

#[test]
fn a_script_that_never_ends_makes_others_busy_until_it_is_killed() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "return setmetatable({}, {__index = function() while true do end end}).x",
    ] {
        let (mut engine, a, b) = busy_engine();
        assert_eq!(begin(&mut engine, a, NOW, &["EVAL", script, "0"], 3), "");
        // Nobody else's command is carried out before the time is up.
        let early = begin(&mut engine, b, after_ms(50), &["PING"], 3);
        assert_eq!(early, "", "{script}");
        engine.handle(after_ms(101), Input::Tick);
        assert_eq!(
            begin(&mut engine, b, after_ms(102), &["GET", "k"], 9),
            format!("{BUSY} {BUSY}")
        );
        assert_eq!(
            begin(&mut engine, b, after_ms(103), &["FUNCTION", "KILL"], 9),
            BUSY
        );
        assert_eq!(begin(&mut engine, b, after_ms(103), &["SHUTDOWN"], 9), BUSY);
        assert_eq!(
            begin(&mut engine, b, after_ms(104), &["SCRIPT", "KILL"], 9),
            "+OK"
        );
        engine.handle(after_ms(105), Input::Tick);
        let reply = collect(&mut engine, a);
        assert!(
            reply.starts_with("-ERR Script killed by user with SCRIPT KILL..."),
            "{script}: {reply}"
        );
        assert_eq!(send(&mut engine, b, after_ms(106), "GET k"), "$-1");
        assert_eq!(
            send(&mut engine, b, after_ms(106), "SCRIPT KILL"),
            "-NOTBUSY No scripts in execution right now."
        );
    }
}

#[test]
fn a_script_that_has_written_cannot_be_killed() {
    let (mut engine, a, b) = busy_engine();
    let script = "redis.call('set', 'k', '1') while true do end";
    assert_eq!(begin(&mut engine, a, NOW, &["EVAL", script, "0"], 3), "");
    engine.handle(after_ms(101), Input::Tick);
    let reply = begin(&mut engine, b, after_ms(102), &["SCRIPT", "KILL"], 9);
    assert!(
        reply.starts_with("-UNKILLABLE Sorry the script already executed write"),
        "{reply}"
    );
    // Its client goes; the script stays.
    engine.handle(
        after_ms(103),
        Input::Closed {
            conn: a,
            reason: "".into(),
        },
    );
    assert_eq!(begin(&mut engine, b, after_ms(104), &["GET", "k"], 9), BUSY);
}

#[test]
fn a_long_script_ends_by_itself_and_others_go_on() {
    let (mut engine, a, b) = busy_engine();
    let script = "for i = 1, 1000000 do end return redis.call('incr', KEYS[1])";
    let words = ["EVAL", script, "1", "k"];
    assert_eq!(begin(&mut engine, a, NOW, &words, 2), "");
    assert_eq!(begin(&mut engine, b, NOW, &["GET", "k"], 1000), "$1 1");
    assert_eq!(collect(&mut engine, a), ":1");
}

#[test]
fn a_script_in_a_transaction_runs_through() {
    let (mut engine, a, _) = busy_engine();
    for command in [
        "MULTI",
        "SET k 1",
        "EVAL \"for i = 1, 1000000 do end return redis.call('incr', 'k')\" 0",
    ] {
        send(&mut engine, a, NOW, command);
    }
    assert_eq!(send(&mut engine, a, NOW, "EXEC"), "*2 +OK :2");
}

/// Functions of the host keep their arguments in a place of its own, whose end is a panic: no call may come to it.
#[test]
fn others_are_told_busy_while_the_script_of_a_transaction_runs() {
    let (mut engine, a, b) = busy_engine();
    for command in ["MULTI", "INCR k", "EVAL \"while true do end\" 0", "INCR k"] {
        send(&mut engine, a, NOW, command);
    }
    assert_eq!(begin(&mut engine, a, NOW, &["EXEC"], 3), "");
    // What its client sends meanwhile waits.
    assert_eq!(begin(&mut engine, a, after_ms(1), &["ECHO", "x"], 3), "");
    assert_eq!(begin(&mut engine, b, after_ms(50), &["PING"], 3), "");
    engine.handle(after_ms(101), Input::Tick);
    assert_eq!(
        begin(&mut engine, b, after_ms(102), &["GET", "k"], 9),
        format!("{BUSY} {BUSY}")
    );
    let killed = begin(&mut engine, b, after_ms(103), &["SCRIPT", "KILL"], 9);
    assert_eq!(killed, "+OK");
    let reply = wait(&mut engine, a, after_ms(104));
    assert!(
        reply.starts_with("*3 :1 -ERR Script killed by user") && reply.ends_with(" :2 $1 x"),
        "{reply}"
    );
    assert_eq!(send(&mut engine, b, after_ms(105), "GET k"), "$1 2");
    assert_eq!(send(&mut engine, a, after_ms(105), "GET k"), "$1 2");
}

#[test]
fn a_transaction_whose_client_goes_during_its_script_is_ended() {
    let (mut engine, a, b) = busy_engine();
    engine.parts.effects.wanted = true;
    let script = "EVAL \"for i = 1, 1000000 do end return redis.call('incr', 'k')\" 0";
    for command in ["MULTI", "SET k 1", script, "SUBSCRIBE c", "INCR k"] {
        send(&mut engine, a, NOW, command);
    }
    assert_eq!(begin(&mut engine, a, NOW, &["EXEC"], 3), "");
    let reason = "".into();
    engine.handle(after_ms(1), Input::Closed { conn: a, reason });
    assert_eq!(
        begin(&mut engine, b, after_ms(2), &["GET", "k"], 1000),
        "$1 3"
    );
    assert_eq!(send(&mut engine, b, after_ms(3), "PUBLISH c x"), ":0");
    assert_eq!(send(&mut engine, b, after_ms(3), "INCR k"), ":4");
}

#[test]
fn calls_may_be_as_wide_as_lua_allows() {
    let list =
        |n: usize, what: &str| format!("local t = {{}} for i = 1, {n} do t[i] = {what} end ");
    let (strings, more) = (list(7600, "'v'"), "'x',".repeat(200));
    let wide = |call: &str| {
        format!(
            "{strings} local function f(...) return {call}({more} ...) end return f({more} unpack(t))"
        )
    };
    let mut engine = engine();
    for (script, expected) in [
        (
            list(7999, "1") + "return redis.call('rpush', 'l', unpack(t))",
            ":7999",
        ),
        (
            list(7999, "'v'") + "return redis.call('rpush', 'l', unpack(t))",
            ":15998",
        ),
        (
            wide("redis.call('sadd', 's', unpack(t)) and redis.pcall"),
            "-ERR Unknown Redis command",
        ),
        (
            list(3, "'v'") + "return redis.call('rpush', 'l', unpack(t, 2, 3))",
            ":16000",
        ),
        (
            list(8000, "1") + "return redis.call('rpush', 'l', unpack(t))",
            "-ERR user_script:1: too many results to unpack",
        ),
        (
            list(7999, "1") + "return #{unpack(t, 1)}",
            "-ERR user_script:1: too many results to unpack",
        ),
        (
            "return unpack({}, -2147483648, 2147483647)".into(),
            "-ERR user_script:1: too many results to unpack",
        ),
        (
            "return unpack({}, 0, 2147483647)".into(),
            "-ERR user_script:1: too many results to unpack",
        ),
        ("return {unpack({1, 2, 3}, '2')}".into(), "*2 :2 :3"),
        (
            "return unpack(1)".into(),
            "-ERR user_script:1: bad argument #1 to \\'unpack\\' (table expected, got number)",
        ),
        (
            wide("cmsgpack.pack"),
            "-ERR user_script:1: bad argument #0 to \\'pack\\' (Too many arguments for MessagePack pack.)",
        ),
        (
            wide("cjson.new().encode"),
            "-ERR user_script:1: too many arguments",
        ),
        (wide("bit.band"), "-ERR user_script:1: too many arguments"),
        (wide("string.rep"), "-ERR user_script:1: too many arguments"),
        (
            wide("math.random"),
            "-ERR user_script:1: too many arguments",
        ),
        (
            wide("redis.sha1hex"),
            "-ERR user_script:1: too many arguments",
        ),
        (wide("string.format"), "$1 x"),
    ] {
        let reply = run(&mut engine, &format!("EVAL \"{script}\" 0"));
        let shown = script.replace(&more, "…");
        assert!(reply.starts_with(expected), "{shown}: {reply}");
    }
    // The line of a call that ends its function is known still.
    let reply = run(&mut engine, "EVAL \"return redis.call('nosuch')\" 0");
    assert!(reply.ends_with("on @user_script:1."), "{reply}");
}

#[test]
fn code_is_named_as_c_reads_it() {
    let mut engine = engine();
    let reply = run(
        &mut engine,
        "EVAL \"return {loadstring('x', '=a\\\\0b')}\" 0",
    );
    assert_eq!(reply, "*0");
    let reply = run(
        &mut engine,
        "EVAL \"local f, why = loadstring('x', '=a\\\\0b') return why\" 0",
    );
    assert_eq!(reply, "$30 a:1: \\'=\\' expected near \\'<eof>\\'");
}

#[test]
fn a_library_in_the_way_of_a_reload_is_an_error_or_replaced() {
    let mut engine = engine_with(Config {
        enable_debug_command: crate::config::ProtectedAction::Yes,
        ..Config::default()
    });
    let load = |answer: u8| {
        format!(
            "FUNCTION LOAD REPLACE \"#!lua name=lib\\nredis.register_function('f', function() return {answer} end)\""
        )
    };
    run(&mut engine, &load(1));
    assert_eq!(
        run(&mut engine, "DEBUG RELOAD NOFLUSH"),
        "-ERR Error trying to load the RDB dump"
    );
    assert_eq!(run(&mut engine, "FCALL f 0"), ":1");
    assert_eq!(run(&mut engine, "DEBUG RELOAD NOFLUSH MERGE"), "+OK");
    assert_eq!(run(&mut engine, "FCALL f 0"), ":1");
    assert_eq!(run(&mut engine, "DEBUG RELOAD"), "+OK");
    assert_eq!(run(&mut engine, "FCALL f 0"), ":1");
    assert!(run(&mut engine, "FUNCTION STATS").contains("$15 libraries_count :1"));
}

/// KB-119.
#[test]
fn scripts_that_mean_harm_come_to_an_end() {
    let mut engine = engine();
    for (script, expected) in [
        (
            "local function f() return 1 + f() end return f()",
            "-ERR user_script:1: stack overflow",
        ),
        (
            "local function f() return pcall(f) end return tostring(f())",
            "$4 true",
        ),
        (
            "local function f() while true do pcall(f) end end f()",
            "-ERR C stack overflow",
        ),
        (
            "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k + 1] end return t[1]",
            "-ERR user_script:1: C stack overflow",
        ),
        ("return string.rep('x', 2^40)", "-ERR not enough memory"),
        ("return string.rep('', 2^31)", "$0"),
        ("table.insert({}, -2^31, 'x') return 1", ":1"),
        (
            "local a = unpack({}, 1, 1e8) return a",
            "-ERR user_script:1: too many results to unpack",
        ),
        (
            "return cmsgpack.unpack(string.rep('\\\\145', 100000))",
            "-ERR user_script:1: stack overflow",
        ),
        (
            "cjson.decode_max_depth(100000) return cjson.decode(string.rep('[', 100000))",
            "-ERR user_script:1: Found too many nested",
        ),
        (
            "cjson.encode_max_depth(100000) local t = {} local x = t for i = 1, 50000 do x[1] = {} x = x[1] end return cjson.encode(t)",
            "-ERR user_script:1: Cannot serialise, excessive nesting",
        ),
        ("return loadstring(string.dump(function() end))", "$-1"),
        ("return load(function() return '\\\\27' end)", "$-1"),
        (
            "getmetatable('').__index = nil",
            "-ERR user_script:1: Attempt to modify a readonly table",
        ),
        (
            "table.insert(redis, 1)",
            "-ERR Attempt to modify a readonly table",
        ),
        (
            "return newproxy",
            "-ERR user_script:1: Script attempted to access nonexistent global variable \\'newproxy\\'",
        ),
    ] {
        let reply = run(&mut engine, &format!("EVAL \"{script}\" 0"));
        assert!(reply.starts_with(expected), "{script}: {reply}");
    }
    // A table that holds itself is cut off.
    let reply = run(&mut engine, "EVAL \"local a = {} a[1] = a return a\" 0");
    assert!(reply.ends_with("-ERR reached lua stack limit"));
    assert_eq!(
        run(&mut engine, "EVAL \"return {KEYS, ARGV}\" 1 k a"),
        "*2 *1 $1 k *1 $1 a"
    );
}

#[test]
fn errors_count_wherever_they_are_in_a_reply() {
    // How often each counts in Redis 7.0.15, and under which code.
    for (script, counted, failed) in [
        (
            "return {redis.status_reply('x'), redis.error_reply('y')}",
            "errorstat_ERR:count=1",
            1,
        ),
        (
            "return {{err='MY x'}, redis.pcall('get'), {err='MY y'}}",
            "errorstat_ERR:count=1 errorstat_MY:count=2",
            2,
        ),
        (
            "return redis.acl_check_cmd('xyz')",
            "errorstat_ERR:count=1",
            1,
        ),
        ("return {err='a\\r\\nb'}", "errorstat_a:count=1", 1),
        ("return redis.pcall('get')", "errorstat_ERR:count=1", 1),
    ] {
        let mut engine = engine();
        let a = join(&mut engine, 1);
        begin(&mut engine, a, NOW, &["EVAL", script, "0"], 9);
        let stats = run(&mut engine, "INFO errorstats");
        assert!(
            stats.ends_with(&format!("# Errorstats {counted}")),
            "{script}: {stats}"
        );
        let stats = run(&mut engine, "INFO commandstats");
        let failed = format!("failed_calls={failed}");
        let eval = stats.split("cmdstat_eval:").nth(1).unwrap();
        assert!(eval.contains(&failed), "{script}: {stats}");
    }
}
