//! The same snapshot from a file and from our primary: what is meant to differ does, and nothing else.

use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::incoming::Incoming;
use super::node::{Node, config};
use crate::persistence::tests::disk::Disk;
use crate::store::Store;

/// Items, as a whole snapshot without a checksum.
fn snapshot(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"REDIS0010\xfe\0".to_vec();
    items.iter().for_each(|item| bytes.extend(*item));
    bytes.extend(b"\xff\0\0\0\0\0\0\0\0");
    bytes
}

/// A server that finds it in its file.
fn loaded(lines: &str, items: &[&[u8]]) -> Node {
    let mut disk = Disk::default();
    disk.put("dump.rdb", &snapshot(items));
    Node::start(config(lines), disk)
}

/// A server with one key that is sent it by its primary.
fn synchronised(items: &[&[u8]]) -> Node {
    let mut node = Node::start(config(""), Disk::default());
    node.run("SET old v");
    let store = &node.engine.parts.store;
    let empty = Store::new(store.databases().len(), *store.hasher());
    let mut incoming = Incoming::new(None, true, empty);
    incoming.feed(Bytes::from(snapshot(items)));
    incoming.end();
    node.engine.incoming = Some(incoming);
    node.advance(200);
    assert!(node.engine.incoming.is_none(), "all of it was looked at");
    node
}

const KEY: &[u8] = b"\0\x01k\x01v";
const SET: &[u8] = b"\x02\x01s\x01\x01m";
/// At the first millisecond of all.
const DUE: &[u8] = b"\xfc\x01\0\0\0\0\0\0\0";
const LIBRARY: &[u8] = b"\xf5\x1a#!lua name=l\nnot a program";
const OTHER: &[u8] = b"\xf5\x1a#!lua name=l\nnot another p";

/// Whoever follows a primary keeps what is due until that says so; who follows nobody has no use for it.
#[test]
fn what_is_due_stays_where_a_primary_decides() {
    let due_key = [DUE, b"\0\x01d\x01v"].concat();
    let due_set = [DUE, b"\x02\x01e\x01\x01m"].concat();
    let items: [&[u8]; 4] = [&due_key, KEY, &due_set, SET];
    // How many it loads, and how many are left soon after: this one follows nobody any more.
    for (mut node, kept, left) in [
        (loaded("", &items), 2, 2),
        (loaded("replicaof 127.0.0.1 1", &items), 4, 4),
        (synchronised(&items), 4, 2),
    ] {
        assert_eq!(node.exited, None, "{:?}", node.log);
        node.advance(200);
        let keys = node.engine.parts.store.database(0).len();
        assert_eq!(keys, left, "{:?}", node.log);
        let told = format!("keys loaded: {kept}, keys expired: {}.", 4 - kept);
        assert_eq!(node.logged(&told), 1, "{:?}", node.log);
        assert_eq!(
            node.info("rdb_last_load_keys_loaded"),
            format!("{kept}"),
            "{told}"
        );
        assert_eq!(
            node.info("rdb_last_load_keys_expired"),
            format!("{}", 4 - kept)
        );
    }
}

/// What cannot be used ends a server that has nothing else, and leaves one that has data with what it had.
#[test]
fn what_cannot_be_used_is_used_nowhere() {
    for (items, told) in [
        (&[KEY, KEY][..], "RDB has duplicated key 'k' in DB 0"),
        (&[SET, SET], "RDB has duplicated key 's' in DB 0"),
        (
            &[KEY, b"\xfe\x3f\0\x01l\x01v"],
            "FATAL: Data file was created with a Redis server configured to handle more than 16 databases. Exiting",
        ),
        (
            &[KEY, LIBRARY, OTHER],
            "Failed loading library, Library 'l' already exists",
        ),
        (
            &[KEY, b"\x02\x01s\x02\x01m\x01m"],
            "Internal error in RDB reading: key 's': Duplicate set members detected",
        ),
    ] {
        let node = loaded("", items);
        assert_eq!(
            (node.exited, node.logged(told)),
            (Some(1), 1),
            "{:?}",
            node.log
        );
        let mut node = synchronised(items);
        assert_eq!(node.exited, None, "{told}");
        assert_eq!(node.run("KEYS *"), "*1 $3 old", "{told}");
        assert_eq!(node.run("FUNCTION LIST"), "*0", "{told}");
    }
}

/// What is said in the log, and what is passed over, is the same.
#[test]
fn facts_are_told_wherever_they_come_from() {
    let items: [&[u8]; 5] = [
        b"\xfa\x09redis-ver\x057.0.1",
        b"\xfa\x08used-mem\x071048576",
        b"\xfa\x04%why\x03not",
        b"\x02\x01e\0",
        KEY,
    ];
    for mut node in [loaded("", &items), synchronised(&items)] {
        for told in [
            "Loading RDB produced by version 7.0.1",
            "RDB memory usage when created 1.00 Mb",
            "RDB '%why': not",
            "rdbLoadObject skipping empty key: e",
            "RDB file was saved with checksum disabled: no check performed.",
            "Done loading RDB, keys loaded: 1, keys expired: 0, empty keys skipped: 1.",
        ] {
            assert_eq!(node.logged(told), 1, "{told}: {:?}", node.log);
        }
        assert_eq!(node.run("KEYS *"), "*1 $1 k");
    }
}
