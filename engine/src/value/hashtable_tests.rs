//! Hash tables against ordered maps: contents, snapshots, scans under change, bytes.

use super::*;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const KEY: (u64, u64) = (7, 11);

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents(table: &HashTable) -> Model {
    let all: Vec<_> = table.iter().collect();
    let map: Model = all
        .iter()
        .map(|(field, value)| (field.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(map.len(), all.len(), "an entry twice");
    map
}

fn field(i: u64) -> Vec<u8> {
    format!("field:{i}").into_bytes()
}

fn filled(n: u64) -> HashTable {
    let mut table = HashTable::new(KEY);
    for i in 0..n {
        assert!(table.insert(&field(i), format!("value {i}").as_bytes()));
    }
    table
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, Vec<u8>),
    InsertNew(u16),
    Remove(u16),
    RemoveMany(u16, u16),
    InsertMany(u16, u16),
    Snapshot,
    Forget,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (any::<u8>(), 0usize..40).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 240usize..300).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 0usize..9000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u16..600, value()).prop_map(|(i, v)| Op::Insert(i, v)),
        2 => (0u16..600).prop_map(Op::InsertNew),
        4 => (0u16..600).prop_map(Op::Remove),
        1 => (0u16..600, 0u16..400).prop_map(|(i, n)| Op::RemoveMany(i, n)),
        2 => (0u16..600, 0u16..400).prop_map(|(i, n)| Op::InsertMany(i, n)),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Forget),
    ]
}

/// Fields of several lengths, some beyond what one byte counts.
fn odd_field(i: u16) -> Vec<u8> {
    let mut field = format!("f{i}").into_bytes();
    match i % 50 {
        0 => field.resize(127, b'.'),
        1 => field.resize(128, b'.'),
        2 => field.resize(300, b'.'),
        3 if i > 3 => field.resize(5000, b'.'),
        _ => {}
    }
    field
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn like_a_map_and_snapshots_stay(ops in proptest::collection::vec(op(), 1..80)) {
        let (mut table, mut model) = (HashTable::new(KEY), Model::new());
        let mut snapshots: Vec<(HashTable, Model)> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(i, value) => {
                    let new = table.insert(&odd_field(i), &value);
                    prop_assert_eq!(new, model.insert(odd_field(i), value).is_none());
                }
                Op::InsertNew(i) => {
                    let new = table.insert_new(&odd_field(i), b"only if new");
                    prop_assert_eq!(new, !model.contains_key(&odd_field(i)));
                    model.entry(odd_field(i)).or_insert_with(|| b"only if new".to_vec());
                }
                Op::Remove(i) => prop_assert_eq!(table.remove(&odd_field(i)), model.remove(&odd_field(i)).is_some()),
                Op::RemoveMany(i, n) => for i in i..i + n {
                    prop_assert_eq!(table.remove(&odd_field(i)), model.remove(&odd_field(i)).is_some());
                },
                Op::InsertMany(i, n) => for i in i..i + n {
                    prop_assert_eq!(table.insert(&odd_field(i), b"many"), model.insert(odd_field(i), b"many".to_vec()).is_none());
                },
                Op::Snapshot => snapshots.push((table.clone(), model.clone())),
                Op::Forget => drop(snapshots.pop()),
            }
            prop_assert_eq!(table.len(), model.len());
        }
        snapshots.push((table, model));
        for (table, model) in snapshots {
            table.invariants();
            prop_assert_eq!(&contents(&table), &model);
            for i in 0..1000 {
                prop_assert_eq!(table.get(&odd_field(i)), model.get(&odd_field(i)).map(|v| &v[..]));
            }
            let by_number: Vec<_> = (0..table.len()).map(|n| table.nth(n).unwrap()).collect();
            prop_assert_eq!(by_number, table.iter().collect::<Vec<_>>());
            prop_assert_eq!(table.nth(table.len()), None);
        }
    }

    #[test]
    fn what_stays_is_scanned_whatever_else_comes_and_goes(
        start in 0u64..3000,
        count in 1usize..200,
        changes in proptest::collection::vec((any::<bool>(), 0u64..400, 1u64..400), 0..30),
    ) {
        let mut table = filled(start);
        let mut left: alloc::collections::BTreeSet<u64> = (0..start).collect();
        let (mut seen, mut cursor, mut changes) = (alloc::collections::BTreeSet::new(), 0, changes.into_iter());
        loop {
            cursor = table.scan(cursor, count, |field, _| {
                seen.insert(field.to_vec());
            });
            prop_assert!(cursor < 1 << 48);
            if cursor == 0 {
                break;
            }
            if let Some((add, from, n)) = changes.next() {
                for i in from * 7..from * 7 + n * 5 {
                    if add {
                        table.insert(&field(i + 100_000), b"passing");
                    } else {
                        table.remove(&field(i));
                        left.remove(&i);
                    }
                }
            }
        }
        for i in left {
            prop_assert!(seen.contains(&field(i)), "{} was missed", i);
        }
    }
}

#[test]
fn a_scan_of_a_table_at_rest_gives_each_entry_once_and_as_many_as_asked() {
    let table = filled(20_000);
    for count in [1, 7, 10, 50, 64, 1000, 50_000] {
        let (mut seen, mut cursor, mut calls) = (Vec::new(), 0, 0usize);
        loop {
            let before = seen.len();
            cursor = table.scan(cursor, count, |field, value| {
                seen.push((field.to_vec(), value.to_vec()))
            });
            calls += 1;
            if cursor == 0 {
                break;
            }
            assert_eq!(seen.len() - before, count);
        }
        assert_eq!(calls, 20_000usize.div_ceil(count).max(1), "{count}");
        assert_eq!(seen.len(), 20_000);
        assert_eq!(seen.into_iter().collect::<Model>(), contents(&table));
    }
}

#[test]
fn an_iteration_goes_on_from_its_position() {
    let table = filled(5000);
    let all: Vec<_> = table.iter().collect();
    let (mut position, mut seen) = (Position::default(), Vec::new());
    loop {
        let mut iter = table.iter_from(position);
        let step: Vec<_> = iter.by_ref().take(37).collect();
        if step.is_empty() {
            break;
        }
        seen.extend(step);
        position = iter.position();
    }
    assert_eq!(seen, all);
    assert_eq!(
        HashTable::new(KEY).iter_from(Position::default()).count(),
        0
    );
}

#[test]
fn a_clone_costs_nothing_and_a_write_copies_little() {
    let mut table = filled(100_000);
    let memory = table.memory_bytes();
    let snapshot = table.clone();
    let root = table.root.clone().unwrap();
    table.insert(&field(5), b"VALUE 5");
    table.invariants();
    assert_eq!(snapshot.get(&field(5)), Some(&b"value 5"[..]));
    assert_eq!(table.get(&field(5)), Some(&b"VALUE 5"[..]));
    assert_eq!(table.memory_bytes(), memory);
    assert!(!Rc::ptr_eq(&root, table.root.as_ref().unwrap()));
    // Only one of the root's kids was copied.
    let (Kids::Nodes(old), Kids::Nodes(new)) = (root.kids(), table.root.as_ref().unwrap().kids())
    else {
        panic!("a flat tree")
    };
    assert_eq!(
        old.iter()
            .zip(new)
            .filter(|(old, new)| !Rc::ptr_eq(&old.to, &new.to))
            .count(),
        1
    );
    // What changes nothing copies nothing.
    let before = snapshot.clone();
    let mut table = snapshot;
    assert!(!table.insert_new(&field(1), b""));
    assert!(!table.remove(b"absent"));
    assert!(Rc::ptr_eq(
        before.root.as_ref().unwrap(),
        table.root.as_ref().unwrap()
    ));
}

#[test]
fn a_table_shrinks_with_its_contents() {
    let mut table = filled(50_000);
    let full = table.memory_bytes();
    for i in 0..49_900 {
        assert!(table.remove(&field(i)));
    }
    table.invariants();
    assert!(
        table.memory_bytes() < full / 50,
        "{} of {full}",
        table.memory_bytes()
    );
    // Leaves that were joined, of several depths, split again.
    for i in 0..20_000 {
        assert!(table.insert(&field(i), b""));
    }
    table.invariants();
    for i in (0..20_000).chain(49_900..50_000) {
        assert!(table.remove(&field(i)));
    }
    table.invariants();
    assert_eq!((table.memory_bytes(), table.len()), (0, 0));
}

#[test]
fn memory_for_a_million_like_entries_is_lean() {
    let mut table = HashTable::new(KEY);
    let n = 200_000u64;
    for i in 0..n {
        table.insert(format!("field:{i:07}").as_bytes(), b"sixteen bytes va");
    }
    let each = table.memory_bytes() as f64 / n as f64;
    assert!(each < 42.0, "{each} bytes for 13 + 16");
}

#[test]
fn freeing_is_done_in_steps_and_spares_what_is_shared() {
    let mut table = filled(50_000);
    let snapshot = table.clone();
    assert!(table.free_step(1), "all is shared: nothing to free");
    let mut table = snapshot;
    let mut kept = table.clone();
    kept.insert(b"one leaf of its own", b"");
    let mut steps = 0;
    drop(kept);
    while !table.free_step(10) {
        steps += 1;
        assert_eq!(
            (table.len(), table.get(&field(1)), table.iter().count()),
            (0, None, 0)
        );
    }
    assert!((50..500).contains(&steps), "{steps}");
    assert!(table.insert(b"again", b"in use"));
    table.invariants();
}

#[test]
fn values_of_any_size() {
    let mut table = filled(1000);
    let lengths = [
        0, 1, 200, 244, 245, 246, 247, 248, 255, 256, 4000, 5000, 100_000, 3_000_000, 100, 0,
    ];
    for len in lengths {
        table.insert(&field(500), &vec![b'v'; len]);
        table.invariants();
        assert_eq!(table.get(&field(500)).map(<[u8]>::len), Some(len));
        table.insert(&vec![b'f'; len], b"long field");
        table.invariants();
    }
    assert!(table.remove(&[b'f'; 3_000_000]));
    table.invariants();
    assert!(!table.contains(&[b'f'; 3_000_000]));
}
