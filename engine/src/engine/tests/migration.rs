//! Slots on the move, between a whole engine and a partner that the test plays.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::node::{Node, client, config, later};
use crate::cluster::SLOTS;
use crate::cluster::bus::{self, Body, Header, Kind, MessageFlags, Packet};
use crate::cluster::node::{Flags, NodeId};
use crate::cluster::slots::SlotSet;
use crate::face::{Address, Input, Listener};
use crate::persistence::tests::disk::Disk;

const OTHER: &str = "1111111111111111111111111111111111111111";
const ME: &str = "2222222222222222222222222222222222222222";

/// A node of a cluster of two, of which the owner of the slot of `{a}`, which is 15495, has all slots.
fn node(owns: bool, settings: &str) -> Node {
    let (mine, its) = if owns {
        (" 0-16383", "")
    } else {
        (" 0", " 1-16383")
    };
    let conf = format!(
        "{OTHER} 127.0.0.1:1@10001 master - 0 0 1 connected{its}\n\
         {ME} 127.0.0.1:6379@16379 myself,master - 0 0 2 connected{mine}\n\
         vars currentEpoch 2 lastVoteEpoch 0\n"
    );
    let mut disk = Disk::default();
    disk.put("nodes.conf", conf.as_bytes());
    let settings = format!("cluster-enabled yes\ncluster-node-timeout 600000\n{settings}");
    let mut node = Node::start(config(&settings), disk);
    node.advance(500);
    // The other answers once, which holds for the node timeout.
    while let Some(conn) = node.asked_for.pop_front() {
        node.open(conn);
        node.receive(conn, &pong(owns));
    }
    node.advance(9000);
    node
}

/// A connection of the bus whose peer takes nothing ends at `cluster-link-sendbuf-limit`.
#[test]
fn a_deaf_peer_of_the_bus_is_let_go_at_the_limit() {
    for limit in [0, 100_000, 1000] {
        let mut node = node(true, &format!("cluster-link-sendbuf-limit {limit}"));
        let ip = |port| Address::Ip(([127, 0, 0, 1], port).into());
        let conn = client(5);
        node.engine.handle(
            node.now,
            Input::Accepted {
                conn,
                listener: Listener::Bus,
                peer: ip(50_005),
                local: ip(16379),
            },
        );
        node.deaf = Some(conn);
        let ping = include_bytes!("../../cluster/bus/golden/ping.bin");
        node.receive(conn, ping);
        let waits = node.engine.output(conn).flatten().count();
        assert!(waits > 2000);
        node.advance(300);
        let over = limit == 1000;
        assert_eq!(node.closed.contains(&conn), over);
        let info = node.run("CLUSTER INFO");
        let count = format!(
            "total_cluster_links_buffer_limit_exceeded:{}",
            u8::from(over)
        );
        assert!(info.contains(&count), "{info}");
    }
}

/// What the other node says.
fn pong(owns: bool) -> Vec<u8> {
    let mut slots = SlotSet::new();
    for slot in (1..SLOTS).filter(|_| !owns) {
        slots.insert(slot);
    }
    let header = Header {
        port: 1,
        plain_port: 0,
        bus_port: 10001,
        current_epoch: 2,
        config_epoch: 1,
        offset: 0,
        sender: NodeId::parse(OTHER.as_bytes()).unwrap(),
        slots: slots.bitmap(),
        primary: None,
        ip: "127.0.0.1",
        flags: Flags::PRIMARY,
        down: false,
        message: MessageFlags::default(),
    };
    let body = Body::Ping {
        kind: Kind::Pong,
        gossip: Vec::new(),
        extensions: Vec::new(),
    };
    bus::encode(&Packet { header, body })
}

/// The node that hands the slot over, to a target that the test plays.
fn source(settings: &str) -> Node {
    let mut node = node(true, settings);
    assert_eq!(node.run("SET {a}here 1"), "+OK", "{:?}", node.log);
    assert_eq!(
        node.run(&format!("CLUSTER SETSLOT 15495 MIGRATING {OTHER}")),
        "+OK"
    );
    node
}

/// Lines that are sent after each other, and what each is answered.
type Talk = &'static [(&'static str, &'static str)];

const ASK: &str = "-ASK 15495 127.0.0.1:1";
const TRY_AGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot";

/// What the old owner says of a slot of which some keys are gone. `{a}due` is due, and not deleted yet.
const SOURCE: Talk = &[
    ("GET {a}here", "$1 1"),
    ("GET {a}gone", ASK),
    ("GET {a}due", ASK),
    ("TTL {a}due", ASK),
    ("EXISTS {a}due", ASK),
    ("SET {a}due 1", ASK),
    ("DEL {a}due", ASK),
    ("MGET {a}here {a}here", "*2 $1 1 $1 1"),
    ("MGET {a}here {a}gone", TRY_AGAIN),
    ("MGET {a}gone {a}here", TRY_AGAIN),
    ("MGET {a}here {a}due", TRY_AGAIN),
    ("MGET {a}due {a}here", TRY_AGAIN),
    ("MGET {a}gone {a}due", ASK),
    ("RENAME {a}here {a}gone", TRY_AGAIN),
    ("RENAME {a}due {a}gone", ASK),
    ("COPY {a}here {a}due", TRY_AGAIN),
    ("MSET {a}here 1 {a}gone 1", TRY_AGAIN),
    ("DEL {a}here {a}due", TRY_AGAIN),
    ("EVAL return(1) 2 {a}here {a}due", TRY_AGAIN),
    ("EVAL return(1) 1 {a}due", ASK),
    ("BLPOP {a}due 0", ASK),
    ("BLPOP {a}here {a}due 0", TRY_AGAIN),
    ("MULTI", "+OK"),
    ("GET {a}here", "+QUEUED"),
    ("GET {a}due", ASK),
    (
        "EXEC",
        "-EXECABORT Transaction discarded because of previous errors.",
    ),
    ("MIGRATE 10.0.0.1 7000 {a}due 0 100", "+NOKEY"),
    (
        "MGET {a}here b",
        "-CROSSSLOT Keys in request don\\'t hash to the same slot",
    ),
    ("GET {a}here", "$1 1"),
];

/// What the new owner says while keys come in: it has `{a}here` and `{a}due`, not `{a}gone`.
const TARGET: Talk = &[
    ("GET {a}here", "-MOVED 15495 127.0.0.1:1"),
    ("ASKING", "+OK"),
    ("GET {a}here", "$1 1"),
    ("GET {a}here", "-MOVED 15495 127.0.0.1:1"),
    ("ASKING", "+OK"),
    ("GET {a}gone", "$-1"),
    ("ASKING", "+OK"),
    ("GET {a}due", "$-1"),
    ("ASKING", "+OK"),
    ("MGET {a}here {a}gone", TRY_AGAIN),
    ("ASKING", "+OK"),
    ("MGET {a}here {a}due", TRY_AGAIN),
    ("ASKING", "+OK"),
    ("MGET {a}gone {a}due", TRY_AGAIN),
    ("ASKING", "+OK"),
    ("MGET {a}here {a}here", "*2 $1 1 $1 1"),
    ("ASKING", "+OK"),
    ("RENAME {a}due {a}here", TRY_AGAIN),
];

fn talk(node: &mut Node, talk: Talk) {
    for (line, reply) in talk {
        assert_eq!(node.run(line), *reply, "{line}");
    }
}

/// KB-98: who asks for several keys of a slot that moves is told to try again, not sent after keys that are here; keys
/// that are due count as gone, and are deleted by nobody who asks.
#[test]
fn several_keys_of_a_slot_that_moves() {
    for due in [false, true] {
        let mut source = node(true, "");
        source.run("SET {a}here 1");
        if due {
            source.run("SET {a}due 1 PX 50");
        }
        source.run(&format!("CLUSTER SETSLOT 15495 MIGRATING {OTHER}"));
        source.now = later(source.now, 60);
        talk(&mut source, SOURCE);

        let mut target = node(false, "");
        target.run(&format!("CLUSTER SETSLOT 15495 IMPORTING {OTHER}"));
        for line in ["SET {a}here 1", "SET {a}due 1 PX 50"] {
            target.run("ASKING");
            assert_eq!(target.run(line), "+OK");
        }
        if !due {
            target.run("ASKING");
            target.run("DEL {a}due");
        }
        target.now = later(target.now, 60);
        talk(&mut target, TARGET);
    }
}

/// The payload of a key.
fn dumped(node: &mut Node) -> Vec<u8> {
    node.feed(0, b"DUMP {a}here\r\n", 0);
    node.settle();
    let reply = node.sent(client(0));
    let begins = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    reply[begins..reply.len() - 2].to_vec()
}

/// KB-92: a target that cannot take a key says so, whatever the reason, and has nothing of it.
#[test]
fn a_key_that_is_not_taken_is_refused() {
    let payload = dumped(&mut source(""));
    let mut rotten = payload.clone();
    rotten[1] ^= 1;
    for (before, payload, reply) in [
        (
            "CONFIG SET maxmemory 1",
            &payload,
            "-OOM command not allowed when used memory > \\'maxmemory\\'.",
        ),
        (
            "CLUSTER SETSLOT 15495 STABLE",
            &payload,
            "-MOVED 15495 127.0.0.1:1",
        ),
        (
            "PING",
            &rotten,
            "-ERR DUMP payload version or checksum are wrong",
        ),
        (
            "CONFIG SET min-replicas-to-write 1",
            &payload,
            "-NOREPLICAS Not enough good replicas to write.",
        ),
        ("PING", &payload, "+OK"),
    ] {
        let mut target = node(false, "");
        target.run(&format!("CLUSTER SETSLOT 15495 IMPORTING {OTHER}"));
        target.run(before);
        let mut request = Vec::new();
        let words: [&[u8]; 4] = [b"RESTORE-ASKING", b"{a}here", b"0", payload];
        crate::command::effects::encode(&mut request, &words);
        target.feed(0, &request, 0);
        target.settle();
        assert_eq!(target.heard(0), reply, "{before}");
        assert_eq!(
            target.run("DBSIZE"),
            if reply == "+OK" { ":1" } else { ":0" }
        );
    }
}

/// KB-92, KB-93: whatever the target answers, and wherever the connection breaks, a key that it has not confirmed
/// stays, and one that it has goes.
#[test]
fn a_key_is_here_until_it_is_said_to_be_there() {
    const IO: &str = "-IOERR error or timeout reading to target instance";
    let target = |error: &str| format!("-ERR Target instance replied with error: {error}");
    // For SELECT and two keys; whether the connection ends then; what the client is told; who is here.
    let cases: &[(&str, bool, String, &str)] = &[
        ("", true, IO.into(), "*2 $1 1 $1 2"),
        ("+", true, IO.into(), "*2 $1 1 $1 2"),
        ("+OK\r\n", true, IO.into(), "*2 $1 1 $1 2"),
        ("+OK\r\n+O", true, IO.into(), "*2 $1 1 $1 2"),
        ("+OK\r\n+OK\r", true, IO.into(), "*2 $1 1 $1 2"),
        ("+OK\r\n+OK\r\n", true, IO.into(), "*2 $-1 $1 2"),
        ("+OK\r\n+OK\r\n+OK\r\n", false, "+OK".into(), "*2 $-1 $-1"),
        ("+OK\r\n+OK\r\n+OK\r\n", true, "+OK".into(), "*2 $-1 $-1"),
        (
            "+OK\r\n-OOM no\r\n+OK\r\n",
            false,
            target("OOM no"),
            "*2 $1 1 $-1",
        ),
        (
            "+OK\r\n+OK\r\n-BUSYKEY x\r\n",
            false,
            target("BUSYKEY x"),
            "*2 $-1 $1 2",
        ),
        (
            "+OK\r\n-MOVED 1 h:1\r\n-MOVED 1 h:1\r\n",
            false,
            target("MOVED 1 h:1"),
            "*2 $1 1 $1 2",
        ),
        (
            "-ERR DB index\r\n-ERR x\r\n-ERR x\r\n",
            false,
            target("ERR DB index"),
            "*2 $1 1 $1 2",
        ),
        (
            "-NOAUTH a\r\n-NOAUTH a\r\n-NOAUTH a\r\n",
            false,
            target("NOAUTH a"),
            "*2 $1 1 $1 2",
        ),
    ];
    for (replies, ends, told, held) in cases {
        let mut node = Node::start(config("appendonly yes"), Disk::default());
        node.run("MSET a 1 b 2");
        node.join(1);
        assert_eq!(
            node.send(1, "MIGRATE 10.0.0.1 7000 \"\" 0 1000 KEYS a b"),
            ""
        );
        let conn = node.connected();
        assert!(String::from_utf8_lossy(&node.sent(conn)).contains("RESTORE"));
        node.receive(conn, replies.as_bytes());
        if *ends {
            node.lose(conn);
        }
        // A connection that was of no use at all is tried once more.
        if let Some(again) = node.asked_for.pop_front() {
            assert!(!replies.contains("+OK\r\n+OK\r\n"), "{replies:?}");
            node.open(again);
            node.receive(again, replies.as_bytes());
            node.lose(again);
        }
        assert_eq!(node.heard(1), *told, "{replies:?}");
        assert_eq!(node.run("MGET a b"), *held, "{replies:?}");
        // Nobody waits for the keys any more.
        assert_eq!(node.run("MSET a 3 b 3"), "+OK", "{replies:?}");
    }
}
