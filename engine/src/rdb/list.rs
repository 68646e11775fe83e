//! Lists in a snapshot: a list is its nodes, in order.
//!
//! ```text
//! type 1   length string…                       elements
//! type 10  string                               one ziplist (see `legacy.rs`)
//! type 14  length string…                       nodes, each a ziplist
//! type 18  length (container string)…           nodes: container 1 is one element, 2 a listpack
//! ```
//!
//! Type 18 is written, all are read. Nodes without elements, as old servers wrote them, are passed over.

use alloc::vec::Vec;

use super::encode::Encoder;
use super::{KeyMeta, kind, legacy};
use crate::value::list::{List, NodeRef};
use crate::value::listpack::Listpack;

/// A node is one element.
const PLAIN: u64 = 1;
/// A node is a listpack.
const PACKED: u64 = 2;

/// A piece of a list, as the snapshot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListPart {
    /// An element by itself, to be put where there is room.
    Element(Vec<u8>),
    /// A node that is one element.
    Plain(Vec<u8>),
    /// A node, checked; not empty.
    Node(Listpack),
}

impl Encoder {
    /// A key whose value is a list of `nodes` nodes; as many calls of [`list_node`](Encoder::list_node) must
    /// follow before anything else.
    pub fn list(&mut self, key: &[u8], meta: &KeyMeta, nodes: u64) {
        self.meta(meta);
        self.raw(&[kind::LIST_QUICKLIST_2]);
        self.string(key);
        self.length(nodes);
    }

    /// One node of a list begun by [`list`](Encoder::list).
    pub fn list_node(&mut self, node: NodeRef<'_>) {
        match node {
            NodeRef::Plain(text) => {
                self.length(PLAIN);
                self.string(text);
            }
            NodeRef::Packed(chunk) => {
                self.length(PACKED);
                self.as_string(|bytes| chunk.write_listpack(bytes));
            }
            NodeRef::Compressed(lzf, listpack_bytes) => {
                self.length(PACKED);
                self.compressed(lzf, listpack_bytes as u64);
            }
        }
    }

    /// All nodes of a list.
    pub(super) fn list_nodes(&mut self, list: &List) {
        self.length(list.nodes() as u64);
        let mut next = Some(0);
        while let Some(index) = next {
            next = list.visit_node(index, |node| self.list_node(node));
        }
    }
}

/// Whether values of this type are lists in pieces, each of which [`part`] reads.
pub(super) fn in_parts(kind: u8) -> bool {
    matches!(
        kind,
        kind::LIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2
    )
}

/// The container number that a piece begins with is not known.
pub(super) const BAD_CONTAINER: &str = "Quicklist integrity check failed.";

/// Whether a container number is known.
pub(super) fn is_container(number: u64) -> bool {
    matches!(number, PLAIN | PACKED)
}

/// What a string of the snapshot is as a piece of a list; `None` if it is an empty node.
///
/// # Errors
/// It is damaged; in Redis's words.
pub(super) fn part(
    kind: u8,
    container: u64,
    bytes: Vec<u8>,
) -> Result<Option<ListPart>, &'static str> {
    let node = match (kind, container) {
        (kind::LIST, _) => return Ok(Some(ListPart::Element(bytes))),
        (kind::LIST_QUICKLIST, _) => {
            let entries = legacy::ziplist(&bytes).ok_or("Ziplist integrity check failed.")?;
            let mut node = Listpack::new();
            for entry in entries {
                node.append(&entry);
            }
            node
        }
        (_, PLAIN) => return Ok(Some(ListPart::Plain(bytes))),
        _ => Listpack::from_bytes(bytes).map_err(|_| "Listpack integrity check failed.")?,
    };
    Ok((!node.is_empty()).then_some(ListPart::Node(node)))
}

/// The elements of a list that is one ziplist.
///
/// # Errors
/// It is damaged.
pub(super) fn of_ziplist(blob: &[u8]) -> Result<Vec<ListPart>, &'static str> {
    let entries = legacy::ziplist(blob).ok_or("List ziplist integrity check failed.")?;
    Ok(entries.into_iter().map(ListPart::Element).collect())
}

#[cfg(test)]
mod tests {
    use super::super::dump::{DumpError, dump, restore};
    use super::super::{Value, ValueView, checksum};
    use super::*;
    use crate::value::list::{End, Limits, PLAIN_AT};
    use alloc::vec;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        fill: -2,
        compress_depth: 0,
        plain_at: PLAIN_AT,
    };

    fn list(texts: &[&str]) -> List {
        let mut list = List::new();
        for text in texts {
            list.push(End::Back, text.as_bytes(), &LIMITS);
        }
        list
    }

    fn node(texts: &[&str]) -> ListPart {
        let mut node = Listpack::new();
        texts.iter().for_each(|text| node.append(text.as_bytes()));
        ListPart::Node(node)
    }

    fn element(text: &str) -> ListPart {
        ListPart::Element(text.into())
    }

    /// A payload with these bytes as type and value.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut payload = body.to_vec();
        payload.extend_from_slice(&[10, 0]);
        let sum = checksum(&payload);
        payload.extend_from_slice(&sum.to_le_bytes());
        payload
    }

    /// DUMP of a Redis 7.0.15.
    #[test]
    fn a_short_list_is_written_as_redis_writes_it() {
        let texts = ["z", "y", "x", "a", "b", "c", "1", "-5", "0123", "q", "r"];
        let theirs = b"\x12\x01\x02**\x00\x00\x00\x0b\x00\x81z\x02\x81y\x02\x81x\x02\x81a\x02\x81b\x02\x81c\x02\x01\x01\
            \xdf\xfb\x02\x840123\x05\x81q\x02\x81r\x02\xff\n\x00\x8awO2\x9e\xa6\xf0\x1b";
        assert_eq!(dump(ValueView::List(&list(&texts)), true), theirs);
        assert_eq!(restore(theirs), Ok(Value::List(vec![node(&texts)])));
    }

    #[test]
    fn a_long_list_is_written_node_by_node() {
        let mut list = List::new();
        for i in 0..3000 {
            let text = alloc::format!("element {i}");
            list.push(End::Back, text.as_bytes(), &LIMITS);
        }
        let payload = dump(ValueView::List(&list), true);
        let Ok(Value::List(parts)) = restore(&payload) else {
            panic!("a list");
        };
        assert_eq!(parts.len(), list.nodes());
        // As it is when inner nodes are kept compressed.
        let mut packed = List::new();
        let limits = Limits {
            compress_depth: 1,
            ..LIMITS
        };
        list.visit(0, usize::MAX, End::Front, |element| {
            packed.push(End::Back, &element.text(), &limits);
            true
        });
        assert_eq!(dump(ValueView::List(&packed), true), payload);
    }

    #[test]
    fn the_forms_of_older_servers_are_read() {
        let ziplist = b"\x15\0\0\0\x0d\0\0\0\x02\0\0\x03foo\x05\xfe\x07\xff\xff\xff";
        let ziplist = {
            // total, last entry, count; "foo"; 7 (as 0xF1 + 7); end
            let mut blob = vec![17, 0, 0, 0, 15, 0, 0, 0, 2, 0];
            blob.extend_from_slice(&ziplist[10..15]);
            blob.extend_from_slice(&[5, 0xF8, 0xFF]);
            blob[0] = blob.len() as u8;
            blob
        };
        let string = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
        let read = |body: &[&[u8]]| restore(&sealed(&body.concat()));
        assert_eq!(
            read(&[b"\x01\x02", b"\x03foo", b"\x017"]),
            Ok(Value::List(vec![element("foo"), element("7")]))
        );
        assert_eq!(
            read(&[b"\x0a", &string(&ziplist)]),
            Ok(Value::List(vec![element("foo"), element("7")]))
        );
        assert_eq!(
            read(&[b"\x0e\x02", &string(&ziplist), &string(&ziplist)]),
            Ok(Value::List(vec![node(&["foo", "7"]), node(&["foo", "7"])]))
        );
        let mut listpack = Listpack::new();
        listpack.append(b"a");
        let (full, empty) = (string(listpack.bytes()), string(Listpack::new().bytes()));
        // Nodes without elements are passed over.
        assert_eq!(
            read(&[b"\x12\x03", b"\x02", &empty, b"\x01\x03big", b"\x02", &full]),
            Ok(Value::List(vec![
                ListPart::Plain(b"big".to_vec()),
                node(&["a"])
            ]))
        );
        for damaged in [
            &[&b"\x12\x01\x02"[..], &empty][..],
            &[b"\x12\x01\x03", &full],
            &[b"\x12\x00"],
            &[b"\x12\x02\x02", &full],
            &[b"\x12\x01\x02\x03abc"],
            &[b"\x0e\x01\x03abc"],
            &[b"\x0a\x03abc"],
            &[b"\x01\x00"],
            &[b"\x12\x81\xff\xff\xff\xff\xff\xff\xff\xff"],
        ] {
            assert_eq!(read(damaged), Err(DumpError::Format), "{damaged:?}");
        }
    }

    proptest! {
        /// Whatever byte is damaged, the answer is an error or a list that stands up to inspection.
        #[test]
        fn damage_is_found_or_harmless(at in 0usize..80, bits in 1u8..=255) {
            let texts = ["abc", "12", "123456", "-1", &"x".repeat(15), "yy"];
            let whole = dump(ValueView::List(&list(&texts)), false);
            let mut body = whole[..whole.len() - 10].to_vec();
            let at = at % body.len();
            body[at] ^= bits;
            if let Ok(Value::List(parts)) = restore(&sealed(&body)) {
                for part in parts {
                    if let ListPart::Node(node) = part {
                        crate::value::list::chunk::Chunk::from_listpack(node).invariants();
                    }
                }
            }
        }
    }
}
