//! Messages between connections, as Redis 7.0 delivers them.

use super::testing::*;

#[test]
fn a_message_reaches_channel_and_pattern_and_is_counted() {
    let mut engine = engine();
    let (a, b) = (join(&mut engine, 1), join(&mut engine, 2));
    let subscribed = send(&mut engine, a, NOW, "SUBSCRIBE news old");
    assert_eq!(
        subscribed,
        "*3 $9 subscribe $4 news :1 *3 $9 subscribe $3 old :2"
    );
    send(&mut engine, b, NOW, "HELLO 3");
    let subscribed = send(&mut engine, b, NOW, "PSUBSCRIBE n?ws n*");
    assert_eq!(
        subscribed,
        ">3 $10 psubscribe $4 n?ws :1 >3 $10 psubscribe $2 n* :2"
    );
    assert_eq!(run(&mut engine, "PUBLISH news hi"), ":3");
    let message = collect(&mut engine, a);
    assert_eq!(message, "*3 $7 message $4 news $2 hi");
    let message = collect(&mut engine, b);
    assert_eq!(
        message,
        ">4 $8 pmessage $2 n* $4 news $2 hi >4 $8 pmessage $4 n?ws $4 news $2 hi"
    );
    assert_eq!(run(&mut engine, "PUBLISH other hi"), ":0");
    assert_eq!(run(&mut engine, "PUBSUB NUMPAT"), ":2");
    let counts = run(&mut engine, "PUBSUB NUMSUB news none");
    assert_eq!(counts, "*4 $4 news :1 $4 none :0");
    engine.handle(
        NOW,
        crate::face::Input::Closed {
            conn: a,
            reason: Default::default(),
        },
    );
    assert_eq!(run(&mut engine, "PUBSUB CHANNELS"), "*0");
    assert_eq!(run(&mut engine, "PUBLISH news hi"), ":2");
}

#[test]
fn resp2_subscribers_may_only_do_so_much() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    send(&mut engine, a, NOW, "SSUBSCRIBE s");
    let refused = send(&mut engine, a, NOW, "GET k");
    assert_eq!(
        refused,
        "-ERR Can\\'t execute \\'get\\': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context"
    );
    assert_eq!(send(&mut engine, a, NOW, "PING hi"), "*2 $4 pong $2 hi");
    assert_eq!(run(&mut engine, "SPUBLISH s m"), ":1");
    assert_eq!(collect(&mut engine, a), "*3 $8 smessage $1 s $1 m");
    let ended = send(&mut engine, a, NOW, "SUNSUBSCRIBE");
    assert_eq!(ended, "*3 $12 sunsubscribe $1 s :0");
    let nothing = send(&mut engine, a, NOW, "UNSUBSCRIBE");
    assert_eq!(nothing, "*3 $11 unsubscribe $-1 :0");
    assert_eq!(send(&mut engine, a, NOW, "GET k"), "$-1");
}

#[test]
fn what_happens_to_keys_is_published() {
    let mut engine = engine();
    let a = join(&mut engine, 1);
    run(&mut engine, "CONFIG SET notify-keyspace-events KEA");
    send(&mut engine, a, NOW, "PSUBSCRIBE __key*");
    let mut events = |command: &str| {
        run(&mut engine, command);
        let text = collect(&mut engine, a);
        let words: alloc::vec::Vec<&str> = text.split(' ').collect();
        let pairs = words
            .chunks_exact(9)
            .map(|m| alloc::format!("{} {}", m[6], m[8]));
        pairs.collect::<alloc::vec::Vec<_>>().join(", ")
    };
    assert_eq!(
        events("SET k 1 PX 10"),
        "__keyspace@0__:k set, __keyevent@0__:set k, __keyspace@0__:k expire, __keyevent@0__:expire k"
    );
    assert_eq!(
        events("RENAME k l"),
        "__keyspace@0__:k rename_from, __keyevent@0__:rename_from k, __keyspace@0__:l rename_to, \
         __keyevent@0__:rename_to l"
    );
    assert_eq!(events("SETNX l 1"), "");
    // What takes another's place is new as well.
    run(&mut engine, "CONFIG SET notify-keyspace-events En");
    let mut events = |command: &str| {
        run(&mut engine, command);
        let text = collect(&mut engine, a);
        alloc::string::String::from(text.split(' ').next_back().unwrap_or_default())
    };
    events("SET m 1");
    assert_eq!(events("SET m 2"), "");
    assert_eq!(events("COPY l m REPLACE"), "m");
    assert_eq!(events("RENAME m l"), "l");
    run(&mut engine, "CONFIG SET notify-keyspace-events KEA");
    run(&mut engine, "SET l 1 PX 10");
    collect(&mut engine, a);
    let gone = wait(&mut engine, a, after_ms(200));
    assert!(gone.ends_with("$22 __keyevent@0__:expired $1 l"), "{gone}");
}
