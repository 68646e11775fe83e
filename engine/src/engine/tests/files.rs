//! The whole engine and its files: what is answered when, what an end and a start do when the disk is full.

use alloc::format;
use alloc::string::String;

use super::node::{Node, config, later};
use crate::persistence::tests::disk::{Disk, Fault, Loss};

const ALWAYS: &str = "appendonly yes\nappendfsync always\nauto-aof-rewrite-percentage 0";

/// Everything fails from the next operation on.
fn break_down(node: &mut Node, fault: Fault) {
    let from = node.disk.operations;
    node.disk.faults = (from..from + 100_000).map(|at| (at, fault)).collect();
}

/// KB-76, D2: under `always` nobody is told of a change before it is durable, whoever made it and whoever is told.
#[test]
fn nobody_hears_of_what_a_crash_could_take_back() {
    // Who waits before, what is sent, and what each client is told in the end.
    for (waiting, lines, told) in [
        ("PING", "SET k v", ["+PONG", "+OK"]),
        ("BLPOP l 0", "RPUSH l a", ["*2 $1 l $1 a", ":1"]),
        ("BRPOPLPUSH l m 0", "RPUSH l a", ["$1 a", ":1"]),
        ("BZPOPMIN z 0", "ZADD z 1 a", ["*3 $1 z $1 a $1 1", ":1"]),
        (
            "XREAD BLOCK 0 STREAMS s $",
            "XADD s 1-1 f v",
            ["*1 *2 $1 s *1 *2 $3 1-1 *2 $1 f $1 v", "$3 1-1"],
        ),
        (
            "SUBSCRIBE c",
            "EVAL \"return redis.call('set', 'k', 'v')\" 0",
            ["", "+OK"],
        ),
        (
            "BLPOP l 0",
            "EVAL \"return redis.call('rpush', 'l', 'a')\" 0",
            ["*2 $1 l $1 a", ":1"],
        ),
        (
            "BLPOP l 0",
            "EVAL \"for i = 1, 3000000 do end return redis.call('rpush', 'l', 'a')\" 0",
            ["*2 $1 l $1 a", ":1"],
        ),
        (
            "BLPOP l 0",
            "MULTI ; RPUSH l a ; EXEC",
            ["*2 $1 l $1 a", "*1 :1"],
        ),
        ("PING", "MULTI ; SET k v ; EXEC", ["+PONG", "*1 +OK"]),
        ("PING", "SET k v ; GET k", ["+PONG", "$1 v"]),
    ] {
        let mut node = Node::start(config(ALWAYS), Disk::default());
        node.join(1);
        let waits = node.send(1, waiting);
        let at_once = ["+PONG", ""].contains(&told[0]);
        assert_eq!(waits.is_empty(), !at_once, "{waiting}: {waits}");
        node.hold = true;
        let mut early = String::new();
        for line in lines.split(';') {
            early += &node.send(0, line.trim());
        }
        // (A long script goes on with time.)
        for _ in 0..50 {
            node.engine.handle(node.now, crate::face::Input::Tick);
            let mut turn = node.engine.receive(&[]);
            while turn.step(node.now) {}
            drop(turn);
            node.settle();
        }
        early += &node.heard(0);
        let early = early.replace("+OK+QUEUED", "");
        assert_eq!(
            (early.as_str(), node.heard(1).as_str()),
            ("", ""),
            "{lines}"
        );
        // Another client does not see it either.
        node.join(2);
        assert_eq!(node.send(2, "DBSIZE"), "", "{lines}");
        let mut answered = 0;
        while node.answer_one() {
            answered += 1;
            node.settle();
            if answered == 1 {
                assert_eq!(node.heard(0), "", "{lines}: written is not durable");
            }
        }
        assert!(answered >= 2, "{lines}");
        node.hold = false;
        node.settle();
        let heard = node.heard(0);
        assert!(heard.ends_with(told[1]), "{lines}: {heard}");
        if !at_once {
            assert_eq!(node.heard(1), told[0], "{lines}");
        }
        assert!(!node.heard(2).is_empty(), "{lines}");
    }
}

/// KB-86, D4: who cannot write down what there is does not go, unless it is told to all the same.
#[test]
fn an_end_with_a_full_disk_is_no_success() {
    let saving = "save 3600 1000000";
    let logging = "appendonly yes\nappendfsync everysec\nauto-aof-rewrite-percentage 0";
    for (settings, words) in [
        (saving, "Error trying to save the DB, can't exit."),
        (logging, "Writing to the append only file failed"),
    ] {
        for fault in [Fault::Full, Fault::Io] {
            let mut node = Node::start(config(settings), Disk::default());
            node.run("SET k v");
            break_down(&mut node, fault);
            node.run("SET late v");
            let reply = node.run("SHUTDOWN");
            assert_eq!(
                reply, "-ERR Errors trying to SHUTDOWN. Check logs.",
                "{settings}: {:?}",
                node.log
            );
            assert_eq!(
                (node.exited, node.logged(words)),
                (None, 1),
                "{:?}",
                node.log
            );
            assert_eq!(node.run("EXISTS k"), ":1");
            // By a signal, too.
            node.engine
                .handle(node.now, crate::face::Input::Shutdown { signal: "SIGTERM" });
            node.advance(200);
            assert_eq!(
                (node.exited, node.logged(words)),
                (None, 2),
                "{:?}",
                node.log
            );
            // With room again it goes, and all is there.
            node.disk.faults.clear();
            node.advance(200_000);
            node.run("SHUTDOWN");
            node.advance(200);
            assert_eq!(node.exited, Some(0), "{settings} {fault:?}: {:?}", node.log);
            let mut again = node.restart(Loss::All, 1000);
            assert_eq!(again.run("EXISTS k late"), ":2", "{settings} {fault:?}");
        }
        let mut node = Node::start(config(settings), Disk::default());
        node.run("SET k v");
        break_down(&mut node, Fault::Full);
        node.run("SHUTDOWN FORCE");
        node.advance(200);
        assert_eq!(node.exited, Some(0), "{settings}: {:?}", node.log);
    }
}

/// Under `always` a full disk ends the process, and the end of the file is what was answered: a start needs no repair.
#[test]
fn a_full_disk_leaves_a_whole_file() {
    let strict = format!("{ALWAYS}\naof-load-truncated no");
    let mut node = Node::start(config(&strict), Disk::default());
    assert_eq!(node.run("SET k v"), "+OK");
    let next = node.disk.operations + 1;
    node.disk.faults.insert(next, Fault::Full);
    assert_eq!(node.run("SET lost v"), "");
    assert_eq!(node.exited, Some(1), "{:?}", node.log);
    let mut again = node.restart(Loss::Nothing, 1000);
    assert_eq!(again.exited, None, "{:?}", again.log);
    assert_eq!(again.run("EXISTS k lost"), ":1");
}

/// KB-89: nobody begins to follow another while the files are read, whether told to by a client or by the configuration.
#[test]
fn no_primary_is_asked_while_files_are_loaded() {
    let mut node = Node::start(config(""), Disk::default());
    node.run("SET k v");
    node.run("SAVE");
    for settings in ["", "replicaof 10.0.0.1 7000"] {
        let mut loading = Node::cold(config(settings), node.disk.clone(), node.now);
        loading.hold = true;
        while loading.answer_one() || loading.log.is_empty() {
            loading.settle();
            if loading
                .engine
                .parts
                .is(crate::command::context::condition::LOADING)
            {
                break;
            }
        }
        let reply = loading.run("REPLICAOF 10.0.0.2 7000");
        assert!(reply.starts_with("-LOADING "), "{reply}");
        // Nor is what was read so far written over the file that it comes from.
        for line in [
            "SAVE",
            "BGSAVE",
            "BGREWRITEAOF",
            "DEBUG RELOAD",
            "DEBUG LOADAOF",
        ] {
            let reply = loading.run(line);
            assert!(reply.starts_with("-LOADING "), "{line}: {reply}");
        }
        assert_eq!(loading.connects, 0);
        loading.hold = false;
        loading.settle();
        loading.advance(2000);
        assert_eq!(loading.run("DBSIZE"), ":1");
        assert_eq!(loading.connects > 0, !settings.is_empty());
    }
}

/// An old append-only file that is there and cannot be read is no reason to begin with nothing.
#[test]
fn an_old_file_that_cannot_be_read_is_not_passed_over() {
    let mut old = Disk::default();
    old.put(
        "appendonly.aof",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
    );
    let whole = Node::start(config(ALWAYS), old.clone());
    let total = whole.disk.operations;
    let mut refused = 0;
    for at in 1..=total {
        let mut disk = old.clone();
        disk.faults.insert(at, Fault::Io);
        let mut node = Node::start(config(ALWAYS), disk);
        if node.exited.is_some() {
            refused += 1;
            let mut again = node.restart(Loss::Nothing, 1000);
            assert_eq!(again.run("EXISTS k"), ":1", "at {at}: {:?}", again.log);
        } else {
            assert_eq!(node.run("EXISTS k"), ":1", "at {at}: {:?}", node.log);
        }
    }
    assert!(refused > 5, "{refused}");
}

/// How far a snapshot is can be seen while it is made, and only then.
#[test]
fn info_shows_how_far_a_snapshot_is() {
    let of = |node: &mut Node| {
        [
            "current_save_keys_processed",
            "current_save_keys_total",
            "current_fork_perc",
        ]
        .map(|name| node.info(name))
    };
    let settings = format!("{ALWAYS}\nappendfsync no");
    let mut node = Node::start(config(&settings), Disk::default());
    node.run("CONFIG SET rdb-key-save-delay 10000");
    node.run("DEBUG POPULATE 20");
    assert_eq!(of(&mut node), ["0", "0", "0.00"]);
    for command in ["BGSAVE", "BGREWRITEAOF"] {
        node.run(command);
        node.advance(105);
        let [keys, total, percent] = of(&mut node);
        let keys: u32 = keys.parse().unwrap();
        assert!((5..20).contains(&keys), "{command}: {keys}");
        assert_eq!(total, "20", "{command}");
        assert_eq!(
            percent,
            format!("{:.2}", f64::from(keys) * 5.0),
            "{command}"
        );
        node.advance(1000);
        assert_eq!(of(&mut node), ["0", "0", "0.00"], "{command}");
    }
}

/// KB-88: collections without elements, which broken servers wrote, are passed over and counted; the rest is loaded.
#[test]
fn empty_collections_in_a_snapshot_are_passed_over() {
    let empties: [(u8, &[u8]); 10] = [
        (1, b"\0"),
        (2, b"\0"),
        (3, b"\0"),
        (4, b"\0"),
        (5, b"\0"),
        (10, b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"),
        (13, b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"),
        (16, b"\x07\x07\0\0\0\0\0\xff"),
        (17, b"\x07\x07\0\0\0\0\0\xff"),
        (18, b"\0"),
    ];
    let mut file = b"REDIS0010\xfe\0".to_vec();
    for (at, (kind, value)) in (0..).zip(empties) {
        file.extend([kind, 2, b'e', b'a' + at]);
        file.extend(value);
    }
    file.extend(b"\0\x01k\x01v\xff\0\0\0\0\0\0\0\0");
    let mut disk = Disk::default();
    disk.put("dump.rdb", &file);
    let mut node = Node::start(config(""), disk);
    assert_eq!(node.exited, None, "{:?}", node.log);
    assert_eq!(node.run("KEYS *"), "*1 $1 k", "{:?}", node.log);
    assert_eq!(node.logged("rdbLoadObject skipping empty key: "), 10);
    assert_eq!(
        node.logged("keys loaded: 1, keys expired: 0, empty keys skipped: 10."),
        1
    );
}

/// An orderly end in the middle of a snapshot or a rewrite leaves no half of a file.
#[test]
fn an_end_leaves_no_half_of_a_file() {
    let logging = format!("{ALWAYS}\nappendfsync everysec");
    for (settings, command) in [
        ("", "BGSAVE"),
        (&logging, "BGSAVE"),
        (&logging, "BGREWRITEAOF"),
    ] {
        let mut node = Node::start(config(settings), Disk::default());
        node.run("DEBUG POPULATE 50");
        node.run("SET k v");
        node.run("CONFIG SET rdb-key-save-delay 100000");
        node.run(command);
        node.advance(350);
        let begun = |node: &Node| node.disk.paths().iter().any(|path| path.contains("temp-"));
        assert!(begun(&node), "{command}: {:?}", node.disk.paths());
        node.run("SHUTDOWN");
        node.advance(200);
        assert_eq!(node.exited, Some(0), "{command}: {:?}", node.log);
        assert!(!begun(&node), "{command}: {:?}", node.disk.paths());
        let mut again = node.restart(Loss::All, 1000);
        assert_eq!(again.exited, None, "{command}: {:?}", again.log);
        if !settings.is_empty() {
            assert_eq!(again.run("EXISTS k"), ":1", "{command}");
        }
    }
}

/// What an end has broken off is begun again, if it comes to nothing: because a file cannot be written, or since
/// somebody has changed their mind.
#[test]
fn what_an_end_broke_off_is_begun_again() {
    let logging = "appendonly yes\nappendfsync everysec\nauto-aof-rewrite-percentage 0";
    for (settings, command, end, finished) in [
        (
            logging,
            "BGREWRITEAOF",
            "SHUTDOWN NOSAVE",
            "Background AOF rewrite finished successfully",
        ),
        (
            logging,
            "BGREWRITEAOF",
            "SHUTDOWN SAVE",
            "Background AOF rewrite finished successfully",
        ),
        (
            logging,
            "BGSAVE",
            "SHUTDOWN NOSAVE",
            "Background saving terminated with success",
        ),
        (
            "",
            "BGSAVE",
            "SHUTDOWN NOSAVE",
            "Background saving terminated with success",
        ),
    ] {
        for fails in [true, false] {
            if fails && command == "BGSAVE" {
                continue;
            }
            let what = format!("{command}, {end}, {fails}");
            let mut node = Node::start(config(settings), Disk::default());
            node.join(1);
            node.run("DEBUG POPULATE 50");
            node.run("CONFIG SET rdb-key-save-delay 100000");
            node.run(command);
            node.advance(350);
            if fails {
                node.run("SET late v");
                break_down(&mut node, Fault::Full);
            }
            node.hold = true;
            let mut reply = node.run(end);
            assert_eq!(reply, "", "{what}: {:?}", node.log);
            if fails {
                for _ in 0..100 {
                    if !node.answer_one() {
                        node.now = later(node.now, 100);
                        node.engine.handle(node.now, crate::face::Input::Tick);
                    }
                    node.settle();
                    reply += &node.heard(0);
                }
            } else {
                assert_eq!(node.send(1, "SHUTDOWN ABORT"), "+OK", "{what}");
                reply = node.heard(0);
            }
            node.hold = false;
            let told = reply.ends_with("SHUTDOWN. Check logs.");
            assert!(told, "{what}: {reply} {:?}", node.log);
            assert_eq!(node.logged("Killing it!"), 1, "{what}: {:?}", node.log);
            assert_eq!(node.logged(finished), 0, "{what}: {:?}", node.log);
            node.disk.faults.clear();
            node.run("CONFIG SET rdb-key-save-delay 0");
            node.advance(120_000);
            assert_eq!(node.exited, None, "{what}: {:?}", node.log);
            // Beside an error of the file it may come to nothing once more, and says so.
            let begun = node.logged("Background append only file rewriting started");
            let done = node.logged(finished);
            assert!(
                if fails { begun >= 2 } else { done == 1 },
                "{what}: {:?}",
                node.log
            );
        }
    }
}
