//! Streams against plain models.

use super::*;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    max_bytes: 300,
    max_entries: 7,
};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<StreamId, Fields>;

fn fields(item: &Item<'_>) -> Fields {
    item.pairs()
        .map(|(field, value)| (field.text().to_vec(), value.text().to_vec()))
        .collect()
}

fn contents(stream: &Stream) -> Model {
    stream
        .entries
        .iter()
        .map(|item| (item.id, fields(&item)))
        .collect()
}

fn add(stream: &mut Stream, id: StreamId, pairs: &Fields) {
    let flat: Vec<&[u8]> = pairs.iter().flat_map(|(f, v)| [&f[..], &v[..]]).collect();
    stream.entries.append(id, &flat, &LIMITS);
}

fn stream_of(n: u64) -> Stream {
    let mut stream = Stream::new();
    for ms in 1..=n {
        let pairs = alloc::vec![(b"f".to_vec(), ms.to_string().into_bytes())];
        add(&mut stream, StreamId::new(ms, 0), &pairs);
    }
    stream
}

/// The bytes of Redis 7.0.15 for `XADD s 5-1 f 1`, `XADD s 6-0 f x`, `XADD s 6-1 g 300`, `XDEL s 6-0`.
#[test]
fn a_block_is_in_the_format_of_redis() {
    let mut stream = Stream::new();
    let pair = |f: &str, v: &str| alloc::vec![(f.into(), v.into())];
    add(&mut stream, StreamId::new(5, 1), &pair("f", "1"));
    add(&mut stream, StreamId::new(6, 0), &pair("f", "x"));
    add(&mut stream, StreamId::new(6, 1), &pair("g", "300"));
    assert_eq!(stream.entries.delete(&[StreamId::new(6, 0)]), 1);
    let block = stream.entries.blocks().next().unwrap().1;
    let expected: &[u8] = b"\x38\0\0\0\x16\0\
        \x02\x01\x01\x01\x01\x01\x81f\x02\x00\x01\
        \x02\x01\x00\x01\x00\x01\x01\x01\x04\x01\
        \x03\x01\x01\x01\xdf\xff\x02\x81x\x02\x04\x01\
        \x00\x01\x01\x01\x00\x01\x01\x01\x81g\x02\xc1\x2c\x02\x06\x01\xff";
    assert_eq!(block.bytes(), expected);
    stream.invariants();
}

#[test]
fn blocks_end_at_their_limits() {
    let stream = stream_of(15);
    assert_eq!(stream.entries.block_count(), 3);
    let mut stream = Stream::new();
    let long = alloc::vec![(b"f".to_vec(), alloc::vec![b'x'; 200])];
    add(&mut stream, StreamId::new(1, 0), &long);
    add(&mut stream, StreamId::new(2, 0), &long);
    assert_eq!(stream.entries.block_count(), 2);
    let none = Limits {
        max_bytes: 0,
        max_entries: 0,
    };
    for ms in 3..500 {
        stream
            .entries
            .append(StreamId::new(ms, 0), &[b"f", b"v"], &none);
    }
    assert_eq!(stream.entries.block_count(), 2);
    stream.invariants();
}

#[test]
fn approximate_trimming_takes_whole_blocks() {
    let mut stream = stream_of(30);
    let trim = |keep, limit| Trim {
        keep,
        approximate: true,
        limit,
    };
    assert_eq!(stream.entries.trim(&trim(Keep::Newest(20), 6)), 0);
    assert_eq!(stream.entries.trim(&trim(Keep::Newest(20), 0)), 7);
    assert_eq!(stream.entries.first_id, StreamId::new(8, 0));
    assert_eq!(
        stream
            .entries
            .trim(&trim(Keep::From(StreamId::new(22, 0)), 100)),
        14
    );
    assert_eq!(
        (stream.entries.len(), stream.entries.entries_added),
        (9, 30)
    );
    stream.invariants();
}

#[test]
fn the_lag_is_told_where_it_is_known() {
    let mut stream = stream_of(10);
    let group = |ms, read| Group::new(StreamId::new(ms, 0), read);
    assert_eq!(stream.entries.lag(&group(0, 0)), Some(10));
    assert_eq!(stream.entries.lag(&group(4, UNKNOWN)), None);
    assert_eq!(stream.entries.lag(&group(10, UNKNOWN)), Some(0));
    assert_eq!(stream.entries.lag(&group(1, UNKNOWN)), Some(9));
    stream.entries.delete(&[StreamId::new(5, 0)]);
    assert_eq!(stream.entries.lag(&group(2, 2)), None);
    assert_eq!(stream.entries.lag(&group(7, 7)), Some(3));
    let mut late = group(7, UNKNOWN);
    assert!(stream.entries.advance(&mut late, StreamId::new(10, 0)));
    assert_eq!(late.entries_read, 10);
    assert!(!stream.entries.advance(&mut late, StreamId::new(3, 0)));
}

#[test]
fn pending_entries_have_one_owner() {
    let mut stream = stream_of(3);
    stream.groups.add(b"g", Group::new(StreamId::MIN, 0));
    let id = StreamId::new(1, 0);
    stream.with_group(b"g", |_, group| {
        let ann = group.add_consumer(b"ann", 1).unwrap();
        let bob = group.add_consumer(b"bob", 2).unwrap();
        assert_eq!(group.add_consumer(b"ann", 3), None);
        for owner in [&ann, &bob] {
            let pending = Pending {
                delivered_ms: 5,
                deliveries: 1,
                owner: Rc::clone(owner),
            };
            group.assign(id, pending);
        }
        assert!(group.consumers().get(&ann).unwrap().pending().is_empty());
        assert_eq!(group.consumers().get(&bob).unwrap().pending().len(), 1);
    });
    stream.invariants();
    let copy = stream.clone();
    stream.with_group(b"g", |_, group| {
        assert_eq!(group.delete_consumer(b"bob"), Some(1));
        assert_eq!(group.acknowledge(id), None);
    });
    stream.invariants();
    copy.invariants();
    assert_eq!(copy.groups.get(b"g").unwrap().pending().len(), 1);
}

#[test]
fn it_is_freed_in_steps() {
    let mut stream = stream_of(5000);
    stream.groups.add(b"g", Group::new(StreamId::MIN, 0));
    stream.with_group(b"g", |entries, group| {
        let owner = group.add_consumer(b"c", 0).unwrap();
        for item in entries.iter() {
            let pending = Pending {
                delivered_ms: 0,
                deliveries: 1,
                owner: Rc::clone(&owner),
            };
            group.assign(item.id, pending);
        }
    });
    stream.invariants();
    let steps = (0..).find(|_| stream.free_step(32)).unwrap();
    assert!((10..1000).contains(&steps), "{steps}");
    assert_eq!(stream.memory_bytes(), 0);
}

#[test]
fn damaged_blocks_are_refused() {
    let stream = stream_of(5);
    let good = stream.entries.blocks().next().unwrap().1.bytes().to_vec();
    assert!(Block::from_bytes(good.clone()).is_ok());
    let mut accepted = Vec::new();
    for at in 0..good.len() {
        for byte in [0u8, 1, 2, 3, 5, 0x7F, 0x81, 0xF4, 0xFF] {
            let mut bad = good.clone();
            bad[at] = byte;
            if bad != good
                && let Ok(block) = Block::from_bytes(bad)
            {
                accepted.push(at);
                // Whatever passes can be read from both ends.
                let ids = |items: &mut dyn Iterator<Item = Item<'_>>| -> Vec<String> {
                    items.map(|item| item.id.to_string()).collect()
                };
                let mut back = ids(&mut block.items(StreamId::MIN).rev());
                back.reverse();
                assert_eq!(ids(&mut block.items(StreamId::MIN)), back);
            }
        }
    }
    // Texts and ids may be others; the counters and lengths may not.
    assert!(accepted.iter().all(|at| *at > 10), "{accepted:?}");
}

#[test]
fn radix_nodes_are_counted_as_redis_counts_them() {
    let mut stream = Stream::new();
    assert_eq!(stream.entries.radix_nodes(), 1);
    let one = Limits {
        max_bytes: 1,
        max_entries: 1,
    };
    for (ms, nodes) in [(1, 2), (2, 6), (3, 8), (256, 11)] {
        stream
            .entries
            .append(StreamId::new(ms, 0), &[b"f", b"v"], &one);
        assert_eq!(stream.entries.radix_nodes(), nodes, "{ms}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(u64, u64, Fields),
    Delete(Vec<u8>),
    Trim(bool, Result<u8, u8>),
    Clone,
}

fn op() -> impl Strategy<Value = Op> {
    let name = prop_oneof![Just("f"), Just("g"), Just("12"), Just("")];
    let value = prop_oneof![
        any::<i64>().prop_map(|i| (i >> 40).to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    let pair = (name.prop_map(|n| n.as_bytes().to_vec()), value);
    let pairs = prop::collection::vec(pair, 1..4);
    prop_oneof![
        8 => (0u64..3, 0u64..3, pairs).prop_map(|(ms, seq, pairs)| Op::Add(ms, seq, pairs)),
        3 => prop::collection::vec(any::<u8>(), 1..4).prop_map(Op::Delete),
        1 => (any::<bool>(), prop_oneof![
            (0u8..60).prop_map(Ok),
            any::<u8>().prop_map(Err),
        ]).prop_map(|(approximate, keep)| Op::Trim(approximate, keep)),
        1 => Just(Op::Clone),
    ]
}

fn nth(model: &Model, n: u8) -> StreamId {
    let at = usize::from(n) * model.len() / 256;
    model.keys().nth(at).copied().unwrap_or(StreamId::new(1, 1))
}

proptest! {
    #[test]
    fn like_a_map(ops in prop::collection::vec(op(), 1..120)) {
        let (mut stream, mut model) = (Stream::new(), Model::new());
        let mut last = StreamId::new(5, 5);
        let mut copies = Vec::new();
        for op in ops {
            match op {
                Op::Add(ms, seq, pairs) => {
                    // A smaller sequence in a later millisecond, too.
                    last = if ms > 0 {
                        StreamId::new(last.ms + ms, seq)
                    } else {
                        StreamId::new(last.ms, last.seq + 1 + seq)
                    };
                    add(&mut stream, last, &pairs);
                    model.insert(last, pairs);
                }
                Op::Delete(picks) => {
                    let ids: Vec<_> = picks.iter().map(|n| nth(&model, *n)).collect();
                    let gone = ids.iter().filter(|id| model.remove(id).is_some()).count();
                    prop_assert_eq!(stream.entries.delete(&ids), gone as u64);
                }
                Op::Trim(approximate, keep) => {
                    let keep = match keep {
                        Ok(n) => Keep::Newest(n.into()),
                        Err(n) => Keep::From(nth(&model, n)),
                    };
                    let trim = Trim { keep, approximate, limit: 0 };
                    let gone = stream.entries.trim(&trim);
                    let excess = match keep {
                        Keep::Newest(n) => (model.len() as u64).saturating_sub(n),
                        Keep::From(id) => model.range(..id).count() as u64,
                    };
                    prop_assert!(gone <= excess && (approximate || gone == excess));
                    (0..gone).for_each(|_| drop(model.pop_first()));
                }
                Op::Clone => copies.push((stream.clone(), model.clone())),
            }
            stream.invariants();
            let entries = &stream.entries;
            prop_assert_eq!(entries.len(), model.len() as u64);
            let first = model.keys().next().copied().unwrap_or_default();
            prop_assert_eq!(entries.first_id, first);
            prop_assert_eq!(entries.last_valid_id(), model.keys().next_back().copied());
            let (a, b) = (nth(&model, 90), nth(&model, 170));
            let ids: Vec<_> = entries.range(a, b).map(|item| item.id).collect();
            prop_assert!(ids.iter().eq(model.range(a..=b).map(|(id, _)| id)));
            let back: Vec<_> = entries.range_back(a, b).map(|item| item.id).collect();
            prop_assert!(back.iter().eq(model.range(a..=b).rev().map(|(id, _)| id)));
            prop_assert_eq!(entries.get(a).is_some(), model.contains_key(&a));
        }
        copies.push((stream, model));
        for (stream, model) in copies {
            stream.invariants();
            prop_assert_eq!(contents(&stream), model);
        }
    }
}
