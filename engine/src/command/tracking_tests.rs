//! Client-side caching, as Redis 7.0 does it: who is told what, and when.

use super::testing::*;
use crate::face::{ConnId, Input};

fn resp3(engine: &mut crate::Engine, conn: ConnId) {
    send(engine, conn, NOW, "HELLO 3");
}

/// KB-101: what a transaction changes is told after its reply.
#[test]
fn a_reader_is_told_once_and_a_stranger_never() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    resp3(&mut engine, a);
    resp3(&mut engine, b);
    assert_eq!(send(&mut engine, a, NOW, "CLIENT TRACKING ON"), "+OK");
    send(&mut engine, b, NOW, "CLIENT TRACKING ON");
    send(&mut engine, a, NOW, "MGET k l");
    run(&mut engine, "SET k 1");
    run(&mut engine, "SET k 2");
    run(&mut engine, "SET other 2");
    let told = ">2 $10 invalidate *1 $1 k";
    assert_eq!(collect(&mut engine, a), told);
    assert_eq!(collect(&mut engine, b), "");
    // Its own change comes after the reply, a transaction's after that of EXEC.
    send(&mut engine, a, NOW, "GET k");
    let told = "+OK >2 $10 invalidate *1 $1 k";
    assert_eq!(send(&mut engine, a, NOW, "SET k 3"), told);
    send(&mut engine, a, NOW, "MULTI");
    send(&mut engine, a, NOW, "GET l");
    send(&mut engine, a, NOW, "INCR l");
    send(&mut engine, a, NOW, "GET k");
    let told = "*3 _ :1 $1 3 >2 $10 invalidate *1 $1 l";
    assert_eq!(send(&mut engine, a, NOW, "EXEC"), told);
    assert!(
        run(&mut engine, "INFO stats").contains("tracking_total_keys:1 tracking_total_items:1")
    );
}

#[test]
fn expired_and_flushed_keys_are_told() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    resp3(&mut engine, a);
    send(&mut engine, a, NOW, "CLIENT TRACKING ON");
    run(&mut engine, "SET k v PX 10");
    send(&mut engine, a, NOW, "GET k");
    let told = wait(&mut engine, a, after_ms(200));
    assert_eq!(told, ">2 $10 invalidate *1 $1 k");
    send(&mut engine, a, NOW, "GET k");
    run(&mut engine, "FLUSHDB");
    assert_eq!(collect(&mut engine, a), ">2 $10 invalidate _");
    run(&mut engine, "SET k v");
    assert_eq!(collect(&mut engine, a), "");
    assert!(run(&mut engine, "INFO stats").contains("tracking_total_keys:0"));
}

#[test]
fn in_resp2_another_connection_is_told_by_a_channel() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    let id = send(&mut engine, b, NOW, "CLIENT ID");
    send(&mut engine, b, NOW, "SUBSCRIBE __redis__:invalidate");
    let on = alloc::format!("CLIENT TRACKING ON REDIRECT {}", &id[1..]);
    assert_eq!(send(&mut engine, a, NOW, &on), "+OK");
    assert_eq!(send(&mut engine, a, NOW, "CLIENT GETREDIR"), id);
    send(&mut engine, a, NOW, "GET k");
    run(&mut engine, "SET k 1");
    let told = "*3 $7 message $20 __redis__:invalidate *1 $1 k";
    assert_eq!(collect(&mut engine, b), told);
    run(&mut engine, "FLUSHALL");
    let told = "*3 $7 message $20 __redis__:invalidate $-1";
    assert_eq!(collect(&mut engine, b), told);
    // Whom it redirects to goes.
    send(&mut engine, a, NOW, "HELLO 3");
    send(&mut engine, a, NOW, "GET k");
    let reason = Default::default();
    engine.handle(NOW, Input::Closed { conn: b, reason });
    run(&mut engine, "SET k 1");
    let told = alloc::format!(">2 $21 tracking-redir-broken {id}");
    assert_eq!(collect(&mut engine, a), told);
    let info =
        alloc::format!("%3 $5 flags ~2 $2 on $15 broken_redirect $8 redirect {id} $8 prefixes *0");
    assert_eq!(send(&mut engine, a, NOW, "CLIENT TRACKINGINFO"), info);
}

#[test]
fn listeners_are_told_of_all_changes_under_their_prefixes_but_perhaps_their_own() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    resp3(&mut engine, a);
    let on = "CLIENT TRACKING ON BCAST PREFIX a: PREFIX b NOLOOP";
    send(&mut engine, a, NOW, on);
    run(&mut engine, "MSET a:2 x a:1 x a x b1 x");
    let told = ">2 $10 invalidate *2 $3 a:1 $3 a:2 >2 $10 invalidate *1 $2 b1";
    assert_eq!(collect(&mut engine, a), told);
    assert_eq!(send(&mut engine, a, NOW, "MSET a:1 x b1 x"), "+OK");
    let overlaps = send(
        &mut engine,
        a,
        NOW,
        "CLIENT TRACKING ON BCAST PREFIX c PREFIX bx",
    );
    assert_eq!(
        overlaps,
        "-ERR Prefix \\'bx\\' overlaps with an existing prefix \\'b\\'. Prefixes for a single client must not overlap."
    );
    assert_eq!(send(&mut engine, a, NOW, "RESET"), "+RESET");
    assert!(run(&mut engine, "INFO everything").contains("tracking_clients:0"));
}

#[test]
fn only_what_is_asked_for_is_remembered() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    resp3(&mut engine, a);
    send(&mut engine, a, NOW, "CLIENT TRACKING ON OPTIN");
    send(&mut engine, a, NOW, "GET k");
    send(&mut engine, a, NOW, "CLIENT CACHING YES");
    send(&mut engine, a, NOW, "GET l");
    send(&mut engine, a, NOW, "GET m");
    // For a transaction it holds to its end.
    send(&mut engine, a, NOW, "CLIENT CACHING YES");
    send(&mut engine, a, NOW, "MULTI");
    assert_eq!(send(&mut engine, a, NOW, "GET n"), "+QUEUED");
    send(&mut engine, a, NOW, "EXEC");
    run(&mut engine, "MSET k 1 l 1 m 1 n 1");
    let told = collect(&mut engine, a);
    assert!(told.contains("$1 l") && !told.contains("$1 k") && !told.contains("$1 m"));
}

#[test]
fn a_script_that_reads_has_read_what_it_declared() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    resp3(&mut engine, a);
    send(&mut engine, a, NOW, "CLIENT TRACKING ON NOLOOP");
    send(
        &mut engine,
        a,
        NOW,
        "EVAL \"redis.call('set', 'x', 1)\" 1 k",
    );
    assert!(run(&mut engine, "INFO stats").contains("tracking_total_keys:0"));
    send(&mut engine, a, NOW, "EVAL \"redis.call('get', 'x')\" 1 k");
    run(&mut engine, "MSET x 1 k 1");
    assert_eq!(collect(&mut engine, a), ">2 $10 invalidate *1 $1 k");
    // What a script changes, its caller changes.
    send(&mut engine, a, NOW, "GET k");
    let reply = send(
        &mut engine,
        a,
        NOW,
        "EVAL \"return redis.call('incr', 'k')\" 1 k",
    );
    assert_eq!(reply, ":2");
}

/// KB-101: nor does what is given up come into a reply.
#[test]
fn too_many_keys_are_given_up_and_told() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    resp3(&mut engine, a);
    run(&mut engine, "CONFIG SET tracking-table-max-keys 1");
    send(&mut engine, a, NOW, "CLIENT TRACKING ON");
    assert_eq!(send(&mut engine, a, NOW, "MGET k l"), "*2 _ _");
    // Before the reply: there was none that it could have come between.
    assert_eq!(
        send(&mut engine, a, NOW, "PING"),
        ">2 $10 invalidate *1 $1 k +PONG"
    );
    assert_eq!(send(&mut engine, a, NOW, "PING"), "+PONG");
}

/// KB-102.
#[test]
fn who_wants_no_replies_is_told_all_the_same() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    resp3(&mut engine, a);
    send(&mut engine, a, NOW, "CLIENT TRACKING ON");
    send(&mut engine, a, NOW, "GET k");
    send(&mut engine, a, NOW, "CLIENT REPLY OFF");
    run(&mut engine, "SET k 1");
    // (Nothing was sent yet when replies are wanted again.)
    let told = send(&mut engine, a, NOW, "CLIENT REPLY ON");
    assert_eq!(told, ">2 $10 invalidate *1 $1 k +OK");
}
