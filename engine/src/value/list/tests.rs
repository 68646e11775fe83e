use super::*;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

type Model = VecDeque<Vec<u8>>;

fn contents(list: &List, from: End) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    list.visit(0, usize::MAX, from, |entry| {
        all.push(entry.text().to_vec());
        true
    });
    all
}

/// The list as a snapshot writes it and reads it.
fn reread(list: &List, limits: &Limits) -> List {
    let (mut index, mut copy) = (0, List::new());
    let mut nodes = 0;
    while let Some(next) = list.visit_node(index, |node| {
        let unpacked = |bytes: Vec<u8>| {
            let list = crate::value::listpack::Listpack::from_bytes(bytes).unwrap();
            Node::Packed(Chunk::from_listpack(list))
        };
        let node = match node {
            NodeRef::Plain(text) => Node::Plain(alloc::rc::Rc::new(text.to_vec())),
            NodeRef::Packed(chunk) => {
                let mut bytes = Vec::new();
                chunk.write_listpack(&mut bytes);
                assert_eq!(bytes.len(), chunk.listpack_bytes());
                unpacked(bytes)
            }
            NodeRef::Compressed(lzf, len) => {
                unpacked(crate::value::lzf::decompress(lzf, len).unwrap())
            }
        };
        copy.push_node(node, limits);
    }) {
        assert!(next > index);
        index = next;
        nodes += 1;
    }
    assert_eq!((index, nodes), (list.len(), list.nodes()));
    copy
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<u8>),
    Pop(bool, usize),
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    RemoveEqual(bool, Vec<u8>, usize),
    Snapshot,
    Reread,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0i64..8).prop_map(|i| i.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|i| (i >> 30).to_string().into_bytes()),
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        2 => (60usize..140).prop_map(|n| vec![b'x'; n]),
        1 => (2000usize..5000).prop_map(|n| vec![b'y'; n]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0usize..400;
    prop_oneof![
        24 => (any::<bool>(), text()).prop_map(|(end, text)| Op::Push(end, text)),
        6 => (any::<bool>(), prop_oneof![4 => 0usize..3, 1 => 0usize..30]).prop_map(|(end, n)| Op::Pop(end, n)),
        8 => (at.clone(), text()).prop_map(|(at, text)| Op::Set(at, text)),
        16 => (at.clone(), text()).prop_map(|(at, text)| Op::Insert(at, text)),
        2 => (at.clone(), 0usize..40).prop_map(|(at, n)| Op::Remove(at, n)),
        2 => (any::<bool>(), text(), 0usize..6).prop_map(|(end, text, n)| Op::RemoveEqual(end, text, n)),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Reread),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let fill = prop_oneof![
        Just(0),
        Just(1),
        Just(3),
        Just(7),
        Just(-1),
        Just(-2),
        Just(-9),
        Just(1 << 20)
    ];
    let depth = prop_oneof![2 => Just(0usize), 1 => 1usize..4];
    let plain_at = prop_oneof![Just(PLAIN_AT), Just(100)];
    (fill, depth, plain_at).prop_map(|(fill, compress_depth, plain_at)| Limits {
        fill,
        compress_depth,
        plain_at,
    })
}

fn end(back: bool) -> End {
    if back { End::Back } else { End::Front }
}

fn apply(list: &mut List, model: &mut Model, op: Op, limits: &Limits) {
    let len = model.len();
    match op {
        Op::Push(back, text) => {
            list.push(end(back), &text, limits);
            if back {
                model.push_back(text);
            } else {
                model.push_front(text);
            }
        }
        Op::Pop(back, n) => {
            let mut got = Vec::new();
            list.visit(0, n, end(back), |entry| {
                got.push(entry.text().to_vec());
                true
            });
            list.pop(end(back), n, limits);
            let expected: Vec<_> = (0..n)
                .map_while(|_| {
                    if back {
                        model.pop_back()
                    } else {
                        model.pop_front()
                    }
                })
                .collect();
            assert_eq!(got, expected);
        }
        Op::Set(at, text) if len > 0 => {
            list.set(at % len, &text, limits);
            model[at % len] = text;
        }
        Op::Insert(at, text) => {
            list.insert(at % (len + 1), &text, limits);
            model.insert(at % (len + 1), text);
        }
        Op::Remove(at, n) if len > 0 => {
            let (from, to) = (at % len, (at % len + n).min(len));
            list.remove(from, to, limits);
            model.drain(from..to);
        }
        Op::RemoveEqual(back, text, n) => {
            let hits = model.iter().filter(|t| **t == text).count();
            assert_eq!(list.remove_equal(&text, end(back), n, limits), hits.min(n));
            let skip = if back { hits - hits.min(n) } else { 0 };
            let mut seen = 0;
            model.retain(|t| {
                seen += usize::from(*t == text);
                *t != text || seen <= skip || seen > skip + n
            });
        }
        Op::Reread => *list = reread(list, limits),
        _ => {}
    }
}

fn check(list: &List, model: &Model) {
    list.invariants();
    assert_eq!(
        (list.len(), list.is_empty()),
        (model.len(), model.is_empty())
    );
    let expected: Vec<_> = model.iter().cloned().collect();
    assert_eq!(contents(list, End::Front), expected);
    let mut back = contents(list, End::Back);
    back.reverse();
    assert_eq!(back, expected);
}

proptest! {
    #[test]
    fn like_a_deque(limits in limits(), ops in proptest::collection::vec(op(), 1..300)) {
        let (mut list, mut model) = (List::new(), Model::new());
        let mut snapshots = Vec::new();
        for (i, op) in ops.into_iter().enumerate() {
            if matches!(op, Op::Snapshot) {
                snapshots.push((list.clone(), model.clone()));
            }
            apply(&mut list, &mut model, op, &limits);
            assert_eq!(list.len(), model.len());
            if i % 8 == 0 {
                list.invariants();
            }
        }
        snapshots.push((list, model));
        for (list, model) in &snapshots {
            check(list, model);
            for i in 0..model.len() + 2 {
                prop_assert_eq!(list.get(i, |e| e.text().to_vec()), model.get(i).cloned());
            }
            for text in ["3", "", "x"] {
                let front = model.iter().position(|t| t == text.as_bytes());
                let back = model.iter().rev().position(|t| t == text.as_bytes());
                prop_assert_eq!(list.find(text.as_bytes(), End::Front), front);
                prop_assert_eq!(list.find(text.as_bytes(), End::Back), back);
            }
        }
        for (mut list, _) in snapshots {
            let mut steps = 0;
            while !list.free_step(1) {
                steps += 1;
                prop_assert!(list.is_empty() && steps < 10_000);
            }
        }
    }
}

const LIMITS: Limits = Limits {
    fill: -2,
    compress_depth: 0,
    plain_at: PLAIN_AT,
};

/// As Redis 7.0.15 fills nodes: 8 KiB with its reckoning of 8 bytes for each element.
#[test]
fn nodes_are_filled_as_redis_fills_them() {
    let mut list = List::new();
    for i in 0..10_000 {
        list.push(End::Back, &[b'v'; 10], &LIMITS);
        // 12 bytes in the listpack, 18 reckoned: (8192 - 7 - 18) / 12 + 1 elements.
        assert_eq!(list.nodes(), i / 681 + 1);
    }
    let counted = Limits { fill: 5, ..LIMITS };
    let mut list = List::new();
    (0..11).for_each(|_| list.push(End::Front, b"x", &counted));
    assert_eq!(list.nodes(), 3);
}

#[test]
fn a_long_list_takes_little_more_than_its_elements() {
    let mut list = List::new();
    for i in 0..100_000 {
        list.push(
            End::Back,
            alloc::format!("element:{i:08}").as_bytes(),
            &LIMITS,
        );
    }
    // 16 bytes each, and two around them.
    assert!(
        list.memory_bytes() < 100_000 * 18 * 21 / 20,
        "{}",
        list.memory_bytes()
    );
    list.invariants();
    let depth = Limits {
        compress_depth: 1,
        ..LIMITS
    };
    let mut packed = List::new();
    list.visit(0, usize::MAX, End::Front, |e| {
        packed.push(End::Back, &e.text(), &depth);
        true
    });
    assert!(
        packed.memory_bytes() < list.memory_bytes() / 2,
        "{}",
        packed.memory_bytes()
    );
    assert_eq!(contents(&packed, End::Front), contents(&list, End::Front));
}

#[test]
fn pushing_into_the_middle_fills_nodes() {
    let mut list = List::new();
    for i in 0..20_000usize {
        list.insert(list.len() / 2, i.to_string().as_bytes(), &LIMITS);
    }
    list.invariants();
    let bytes: usize = 20_000 * 4;
    assert!(
        list.memory_bytes() < bytes * 5 / 2,
        "{}",
        list.memory_bytes()
    );
    let mut list = List::new();
    for i in 0..3000usize {
        list.push(End::Back, i.to_string().as_bytes(), &LIMITS);
    }
    let before = list.nodes();
    for _ in 0..6000 {
        // Always before the same element.
        list.insert(list.len() - 1500, &[b'v'; 10], &LIMITS);
    }
    assert!(list.nodes() <= before + 2 * 10, "{}", list.nodes());
}
