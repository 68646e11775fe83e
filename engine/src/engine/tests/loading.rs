//! The whole engine and a snapshot that it loads at its start.

use alloc::vec::Vec;

use super::node::{Node, config};
use crate::persistence::tests::disk::Disk;

/// A snapshot of two strings with a value between them, its type first.
fn snapshot(kind: u8, value: &[u8]) -> Vec<u8> {
    let string = |key: &[u8], value: &[u8]| {
        let (key, value) = ([&[key.len() as u8], key], [&[value.len() as u8], value]);
        [key.concat(), value.concat()].concat()
    };
    [
        b"REDIS0010\xfe\x00\x00".to_vec(),
        string(b"a", b"1"),
        [&[kind, 1, b'k'], value, &[0]].concat(),
        string(b"z", b"2"),
        // (No checksum.)
        b"\xff\0\0\0\0\0\0\0\0".to_vec(),
    ]
    .concat()
}

/// What Redis skips or refuses; also what only shows when it is put in its place, after all has been read.
#[test]
fn empty_collections_are_skipped_and_what_is_none_ends_the_start() {
    const LISTPACK: &[u8] = b"\x07\x07\0\0\0\0\0\xff";
    const ZIPLIST: &[u8] = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";
    for (kind, value, refused) in [
        (1, &b"\0"[..], ""),
        (2, b"\0", ""),
        (4, b"\0", ""),
        (5, b"\0", ""),
        (10, ZIPLIST, ""),
        (12, ZIPLIST, ""),
        (13, ZIPLIST, ""),
        (14, b"\0", ""),
        (16, LISTPACK, ""),
        (17, LISTPACK, ""),
        (18, b"\0", ""),
        (9, b"\x02\0\xff", "Zipmap integrity check failed."),
        (
            11,
            b"\x08\x02\0\0\0\0\0\0\0",
            "key 'k': Intset integrity check failed.",
        ),
        (
            11,
            b"\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0",
            "key 'k': Intset integrity check failed.",
        ),
        // (A string again.)
        (0, b"\x01v\x00\x01a\x01v", "duplicated key 'a'"),
    ] {
        let mut disk = Disk::default();
        disk.put("dump.rdb", &snapshot(kind, value));
        let mut node = Node::start(config(""), disk);
        if refused.is_empty() {
            assert_eq!(node.run("MGET a k z"), "*3 $1 1 $-1 $1 2", "{kind}");
            assert_eq!(node.logged("skipping empty key: k"), 1, "{kind}");
            assert_eq!(node.logged("empty keys skipped: 1."), 1, "{kind}");
        } else {
            assert_eq!(node.logged(refused), 1, "{kind}: {:?}", node.log);
            assert_eq!(node.exited, Some(1), "{kind}");
        }
    }
}
