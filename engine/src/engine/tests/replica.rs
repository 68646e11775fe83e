//! A whole engine as a replica, whose primary is played by the test; and as a primary that counts acknowledgements.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::node::{Node, client, config, later};
use crate::face::ConnId;
use crate::persistence::tests::disk::{Disk, Loss};

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The snapshot of a server with this data.
fn snapshot(lines: &[&str]) -> Vec<u8> {
    let mut node = Node::start(config("rdbcompression no"), Disk::default());
    lines.iter().for_each(|line| drop(node.run(line)));
    assert_eq!(node.run("SAVE"), "+OK");
    node.disk.content("dump.rdb").unwrap().to_vec()
}

/// The forms in which a primary sends one.
fn payloads(snapshot: &[u8]) -> [Vec<u8>; 2] {
    let mark = "m".repeat(40);
    let sized = format!("${}\r\n", snapshot.len());
    let marked = format!("$EOF:{mark}\r\n");
    [
        [sized.as_bytes(), snapshot].concat(),
        [marked.as_bytes(), snapshot, mark.as_bytes()].concat(),
    ]
}

/// Our replica follows a primary, up to what that says to PSYNC; the words of its PSYNC.
fn asked(node: &mut Node) -> (ConnId, String) {
    let conn = node.connected();
    node.receive(conn, b"+PONG\r\n+OK\r\n+OK\r\n");
    let sent = String::from_utf8_lossy(&node.sent(conn)).replace("\r\n", " ");
    let from = sent.find("PSYNC").expect("a PSYNC");
    (conn, sent[from..].into())
}

/// The same up to a stream that goes on.
fn synchronised(node: &mut Node, offset: u64, payload: &[u8]) -> ConnId {
    node.run("REPLICAOF 10.0.0.9 7000");
    let (conn, _) = asked(node);
    node.receive(conn, format!("+FULLRESYNC {ID} {offset}\r\n").as_bytes());
    node.receive(conn, payload);
    node.advance(100);
    assert_eq!(node.info("master_link_status"), "up", "{:?}", node.log);
    conn
}

fn offset(node: &mut Node) -> u64 {
    node.info("slave_repl_offset").parse().unwrap()
}

/// KB-40: empty lines that come with commands in one read, cut anywhere, count as what they are.
#[test]
fn empty_lines_in_the_stream_are_counted_to_the_byte() {
    let payload = &payloads(&snapshot(&["SET old 1"]))[0];
    let piece = b"\n*1\r\n$4\r\nPING\r\n\r\n\n\n*3\r\n$6\r\nAPPEND\r\n$1\r\na\r\n$1\r\nx\r\n\n";
    for cut in 0..piece.len() {
        let mut node = Node::start(config(""), Disk::default());
        let conn = synchronised(&mut node, 1000, payload);
        assert_eq!(offset(&mut node), 1000);
        for (read, bytes) in [&piece[..cut], &piece[cut..]].into_iter().enumerate() {
            node.receive(conn, bytes);
            assert!(offset(&mut node) <= 1000 + (cut + read * piece.len()) as u64);
        }
        assert_eq!(offset(&mut node), 1000 + piece.len() as u64, "cut at {cut}");
        assert_eq!(node.run("GET a"), "$1 x");
        // It goes on from there.
        node.lose(conn);
        let (_, words) = asked(&mut node);
        let next = format!("{}", 1001 + piece.len());
        assert!(words.contains(&next), "{words}");
    }
}

/// KB-40: the same on the other side, where a replica sends empty lines while it loads.
#[test]
fn a_replicas_empty_lines_do_not_disturb_its_acknowledgements() {
    let mut node = Node::start(config("repl-diskless-sync-delay 0"), Disk::default());
    replica_of(&mut node, 1);
    node.feed(1, b"\n\n\n", 0);
    node.run("SET a 1");
    let end: u64 = node.info("master_repl_offset").parse().unwrap();
    let digits = format!("{end}");
    let ack = format!(
        "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{digits}\r\n",
        digits.len()
    );
    node.feed(1, format!("\n\n{ack}\n").as_bytes(), 0);
    node.settle();
    assert_eq!(node.run("WAIT 1 1000"), ":1");
}

/// KB-49, KB-50: whoever waits for a key is let go when the server becomes a replica, takes nothing that the new
/// primary brings, and may wait anew elsewhere.
#[test]
fn who_waits_is_let_go_at_a_demotion() {
    let payload = &payloads(&snapshot(&[]))[0];
    for waiting in [
        "BLPOP l 0",
        "BRPOP l 1",
        "BLMPOP 0 1 l LEFT",
        "BLMOVE l m LEFT LEFT 0",
        "BRPOPLPUSH l m 0",
        "BZPOPMIN z 0",
        "BZMPOP 0 1 z MIN",
        "XREAD BLOCK 0 STREAMS x $",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS x2 >",
        "WAIT 1 0",
    ] {
        let mut node = Node::start(config(""), Disk::default());
        node.run("XGROUP CREATE x2 g $ MKSTREAM");
        node.join(1);
        node.send(1, "SET own 1");
        assert_eq!(node.send(1, waiting), "", "{waiting}");
        node.run("REPLICAOF 10.0.0.9 7000");
        let told = node.heard(1);
        assert!(
            told.starts_with("-UNBLOCKED force unblock from blocking operation"),
            "{waiting}: {told}"
        );
        let (conn, _) = asked(&mut node);
        node.receive(conn, format!("+FULLRESYNC {ID} 0\r\n").as_bytes());
        node.receive(conn, payload);
        node.receive(conn, b"*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\na\r\n");
        node.receive(
            conn,
            b"*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$1\r\n1\r\n$1\r\na\r\n",
        );
        node.receive(
            conn,
            b"*5\r\n$4\r\nXADD\r\n$1\r\nx\r\n$3\r\n1-1\r\n$1\r\nf\r\n$1\r\nv\r\n",
        );
        node.advance(100);
        assert_eq!(node.heard(1), "", "{waiting}");
        let held = ["LLEN l", "ZCARD z", "XLEN x", "EXISTS m"].map(|line| node.run(line));
        assert_eq!(held, [":1", ":1", ":1", ":0"], "{waiting}");
    }
}

/// KB-50: time runs out for those who wait, whatever happens to the server meanwhile.
#[test]
fn waiting_ends_with_its_time_on_a_replica_too() {
    let payload = &payloads(&snapshot(&[]))[0];
    let mut node = Node::start(config("replica-read-only no"), Disk::default());
    synchronised(&mut node, 0, payload);
    node.join(1);
    node.join(2);
    assert_eq!(node.send(1, "BLPOP l 1"), "");
    assert_eq!(node.send(2, "XREAD BLOCK 1000 STREAMS x $"), "");
    node.advance(500);
    // Becoming a primary lets nobody go before the time.
    node.run("REPLICAOF NO ONE");
    assert_eq!((node.heard(1).as_str(), node.heard(2).as_str()), ("", ""));
    node.advance(600);
    assert_eq!(
        (node.heard(1).as_str(), node.heard(2).as_str()),
        ("*-1", "*-1")
    );
}

/// KB-51, KB-52: a payload that ends at any byte, in either form, costs neither the process nor the old data.
#[test]
fn a_payload_cut_at_any_byte_leaves_the_old_data() {
    let new = snapshot(&[
        "SET new 1",
        "RPUSH l a b c",
        "HSET h f v",
        "FUNCTION LOAD \"#!lua name=x\\nredis.register_function('f', function() return 1 end)\"",
    ]);
    for (form, payload) in payloads(&new).iter().enumerate() {
        let mut node = Node::start(config(""), Disk::default());
        node.run("SET old 1");
        node.run("REPLICAOF 10.0.0.9 7000");
        for cut in 0..payload.len() {
            let (conn, _) = asked(&mut node);
            node.receive(conn, format!("+FULLRESYNC {ID} 7\r\n").as_bytes());
            node.receive(conn, &payload[..cut]);
            node.lose(conn);
            node.advance(50);
            assert_eq!(node.exited, None, "cut at {cut}: {:?}", node.log);
            assert_eq!(node.run("GET old"), "$1 1", "form {form}, cut at {cut}");
            assert_eq!(node.run("DBSIZE"), ":1", "form {form}, cut at {cut}");
        }
        let (conn, _) = asked(&mut node);
        node.receive(conn, format!("+FULLRESYNC {ID} 7\r\n").as_bytes());
        node.receive(conn, payload);
        node.advance(100);
        assert_eq!(node.run("MGET old new"), "*2 $-1 $1 1");
        assert!(node.run("FUNCTION LIST").starts_with("*1 "));
    }
}

/// KB-53: power fails at any moment after a full synchronisation: the old data or the new is there, whole; and the
/// new once the files are said to hold it.
#[test]
fn a_full_copy_is_durable_or_the_old_data_is() {
    let payload = &payloads(&snapshot(&["SET new 1", "RPUSH l a b c"]))[0];
    let settings = "appendonly yes\nappendfsync always\nauto-aof-rewrite-percentage 0";
    let mut outcomes = [0, 0];
    for loss in [Loss::All, Loss::Nothing, Loss::Chance(5)] {
        for answers in 0..50 {
            let mut node = Node::start(config(settings), Disk::default());
            node.run("SET old 1");
            node.run("SET other 1");
            node.run("REPLICAOF 10.0.0.9 7000");
            let (conn, _) = asked(&mut node);
            node.hold = true;
            node.receive(conn, format!("+FULLRESYNC {ID} 7\r\n").as_bytes());
            node.receive(conn, payload);
            for _ in 0..answers {
                node.turn();
                node.answer_one();
                node.settle();
                node.now = later(node.now, 10);
            }
            let mut again = node.restart_as(config(settings), loss, 1000);
            assert_eq!(again.exited, None, "{loss:?} {answers}: {:?}", again.log);
            let held = again.run("MGET old other new");
            let new = match held.as_str() {
                "*3 $1 1 $1 1 $-1" => false,
                "*3 $-1 $-1 $1 1" => true,
                other => panic!("{loss:?} after {answers}: {other}"),
            };
            assert_eq!(again.run("LLEN l"), if new { ":3" } else { ":0" });
            outcomes[usize::from(new)] += 1;
        }
        // In peace it is there in the end.
        let mut node = Node::start(config(settings), Disk::default());
        node.run("SET old 1");
        synchronised(&mut node, 7, payload);
        node.advance(2000);
        assert_eq!(node.info("aof_rewrite_in_progress"), "0");
        let mut again = node.restart_as(config(settings), loss, 1000);
        assert_eq!(again.run("MGET old new"), "*2 $-1 $1 1", "{loss:?}");
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// KB-25: how old a replica's data is counts from when its primary was heard last, however often attempts to come
/// back fail.
#[test]
fn the_age_of_data_counts_from_the_end_of_the_link() {
    let payload = &payloads(&snapshot(&["SET a 1"]))[0];
    let mut node = Node::start(config(""), Disk::default());
    let age = |node: &Node| node.engine.parts.view(node.now).data_age_ms;
    node.run("REPLICAOF 10.0.0.9 7000");
    assert_eq!(age(&node), None, "there never was a link");
    let mut conn = synchronised(&mut node, 7, payload);
    for flap in 0..3 {
        assert_eq!(age(&node), Some(0));
        node.advance(3000);
        assert_eq!(age(&node), Some(0));
        let ended = node.now.mono_us;
        node.lose(conn);
        for answer in [
            &b""[..],
            b"+PONG\r\n",
            b"+PONG\r\n+OK\r\n+OK\r\n-NOMASTERLINK wait\r\n",
        ] {
            conn = node.connected();
            node.receive(conn, answer);
            node.lose(conn);
            assert_eq!(age(&node), Some((node.now.mono_us - ended) / 1000));
        }
        // A synchronisation that does not end well changes nothing either.
        let (conn2, _) = asked(&mut node);
        node.receive(conn2, format!("+FULLRESYNC {ID} 7\r\n").as_bytes());
        node.receive(conn2, &payload[..payload.len() / 2]);
        assert_eq!(age(&node), Some((node.now.mono_us - ended) / 1000));
        node.lose(conn2);
        assert_eq!(
            age(&node),
            Some((node.now.mono_us - ended) / 1000),
            "flap {flap}"
        );
        let (conn3, words) = asked(&mut node);
        conn = conn3;
        assert!(words.contains(ID), "{words}");
        node.receive(conn, b"+CONTINUE\r\n");
    }
}

/// KB-58: of a transaction whose end did not arrive nothing is done, nothing counted, and it comes whole the next
/// time; a promotion meanwhile leaves it out.
#[test]
fn a_transaction_without_its_end_is_none() {
    let payload = &payloads(&snapshot(&["SET n 0"]))[0];
    let head = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
    let whole = b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n";
    let begins = 1000 + head.len() as u64;
    for cut in 0..whole.len() {
        for promoted in [false, true] {
            let mut node = Node::start(config(""), Disk::default());
            let conn = synchronised(&mut node, 1000, payload);
            node.receive(conn, head);
            node.receive(conn, &whole[..cut]);
            assert_eq!(offset(&mut node), begins, "cut at {cut}");
            assert_eq!(node.run("GET n"), "$1 0");
            node.lose(conn);
            if promoted {
                node.run("REPLICAOF NO ONE");
                assert_eq!(node.run("INCR n"), ":1");
                continue;
            }
            let (conn, words) = asked(&mut node);
            assert!(words.contains(&format!(" {} ", begins + 1)), "{words}");
            node.receive(conn, b"+CONTINUE\r\n");
            node.receive(conn, whole);
            assert_eq!(node.run("GET n"), "$1 2", "cut at {cut}");
            assert_eq!(offset(&mut node), begins + whole.len() as u64);
        }
    }
}

/// A client becomes a replica.
fn replica_of(node: &mut Node, n: u32) {
    hello(node, n);
    node.advance(1500);
    node.sent(client(n));
}

/// A client says what a replica says first.
fn hello(node: &mut Node, n: u32) {
    node.join(n);
    assert_eq!(
        node.send(n, &format!("REPLCONF listening-port {}", 7000 + n)),
        "+OK"
    );
    assert_eq!(node.send(n, "REPLCONF capa eof capa psync2"), "+OK");
    node.feed(n, b"PSYNC ? -1\r\n", 0);
}

/// It says up to where it has all.
fn acknowledge(node: &mut Node, n: u32, what: &str) {
    node.feed(n, format!("REPLCONF ACK {what}\r\n").as_bytes(), 0);
    node.settle();
}

/// KB-55: each who waits is answered for its own writes, in its own form, when they are acknowledged and not
/// before, whoever was answered just then.
#[test]
fn each_wait_is_for_its_own_writes() {
    let settings = "repl-diskless-sync-delay 0\nappendonly yes\nappendfsync everysec";
    let mut node = Node::start(config(settings), Disk::default());
    replica_of(&mut node, 1);
    replica_of(&mut node, 2);
    let mut ends = Vec::new();
    for writer in 3..9 {
        node.join(writer);
        node.send(writer, &format!("SET key:{writer} v"));
        ends.push(node.info("master_repl_offset"));
    }
    // A popped element is a write of the one who waited for it.
    node.join(9);
    node.send(9, "BLPOP l 0");
    node.run("RPUSH l a");
    assert_eq!(node.heard(9), "*2 $1 l $1 a");
    let popped = node.info("master_repl_offset");
    let waits = [
        "WAIT 1 0",
        "WAIT 2 0",
        "WAITAOF 0 1 0",
        "WAIT 2 0",
        "WAIT 1 0",
        "WAIT 2 400",
    ];
    for (writer, wait) in (3..9).zip(waits) {
        assert_eq!(node.send(writer, wait), "", "{wait}");
    }
    assert_eq!(node.send(9, "WAIT 1 0"), "");
    let heard = |node: &mut Node| (3..10).map(|n| node.heard(n)).collect::<Vec<_>>();
    let nobody = [""; 7];
    assert_eq!(heard(&mut node), nobody);
    // The first replica has the first two writes: the first writer is content.
    acknowledge(&mut node, 1, &ends[1]);
    assert_eq!(heard(&mut node), [":1", "", "", "", "", "", ""]);
    acknowledge(&mut node, 2, &ends[1]);
    assert_eq!(heard(&mut node), ["", ":2", "", "", "", "", ""]);
    // Having a write is not having it on the disk.
    acknowledge(&mut node, 2, &ends[3]);
    assert_eq!(heard(&mut node), nobody);
    acknowledge(&mut node, 2, &format!("{} FACK {}", ends[3], ends[2]));
    let told = heard(&mut node);
    assert!(
        told[2].starts_with("*2 :") && told[2].ends_with(" :1"),
        "{told:?}"
    );
    assert!(
        told.iter()
            .enumerate()
            .all(|(n, told)| n == 2 || told.is_empty()),
        "{told:?}"
    );
    acknowledge(&mut node, 1, &ends[4]);
    assert_eq!(heard(&mut node), ["", "", "", ":2", ":1", "", ""]);
    node.advance(500);
    assert_eq!(heard(&mut node), ["", "", "", "", "", ":0", ""]);
    acknowledge(&mut node, 1, &popped);
    assert_eq!(heard(&mut node), ["", "", "", "", "", "", ":1"]);
    // Who wrote nothing since waits for what there was when its last command ended (as Redis 7.0): the first has that.
    assert_eq!(node.send(3, "WAIT 1 0"), ":1");
    node.send(3, "SET key:3 w");
    assert_eq!(node.send(3, "WAIT 1 0"), "");
}

/// KB-56: what is written while the snapshot for a replica is made, whatever it does to the table, is there once.
#[test]
fn a_snapshot_under_growth_lacks_nothing() {
    for keys in [3, 200, 1000] {
        let mut node = Node::start(config("repl-diskless-sync-delay 0"), Disk::default());
        node.run(&format!("DEBUG POPULATE {keys} first 100"));
        hello(&mut node, 1);
        // Its bytes are taken bit by bit, so that the snapshot goes on over many writes.
        node.deaf = Some(client(1));
        let mut payload = Vec::new();
        for round in 0..200u32 {
            let new = (0..keys / 10 + 1).map(|n| format!(" round{round}:{n} v"));
            node.run(&format!("MSET{}", new.collect::<String>()));
            node.run(&format!("APPEND round{}:0 x", round / 2));
            node.run(&format!("DEL first:{round}"));
            node.run(&format!("INCR counter:{}", round % 7));
            node.now = later(node.now, 10);
            payload.extend(node.take(client(1), 2000));
        }
        for _ in 0..100 {
            // (What follows the snapshot is sent once the replica has said that it is loaded.)
            acknowledge(&mut node, 1, "0");
            node.advance(20);
            payload.extend(node.take(client(1), usize::MAX));
        }
        let text = String::from_utf8_lossy(&payload[..100]);
        let begins = text.find("$EOF:").expect("a payload");
        let mut replica = Node::start(config(""), Disk::default());
        replica.run("REPLICAOF 10.0.0.9 7000");
        let (conn, _) = asked(&mut replica);
        replica.receive(conn, &payload[text.find("+FULL").unwrap()..begins]);
        payload[begins..]
            .chunks(5000)
            .for_each(|piece| replica.receive(conn, piece));
        replica.advance(500);
        assert_eq!(
            replica.info("master_link_status"),
            "up",
            "{:?}",
            replica.log
        );
        assert_eq!(
            offset(&mut replica),
            node.info("master_repl_offset").parse::<u64>().unwrap()
        );
        assert_eq!(replica.run("DBSIZE"), node.run("DBSIZE"));
        assert_eq!(
            replica.run("DEBUG DIGEST"),
            node.run("DEBUG DIGEST"),
            "{keys}"
        );
    }
}
