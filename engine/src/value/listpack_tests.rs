//! Listpacks against plain vectors, and against bytes that a real Redis wrote.

use super::*;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn texts(list: &Listpack) -> Vec<Vec<u8>> {
    list.iter().map(|entry| entry.text().to_vec()).collect()
}

fn of(texts: &[&[u8]]) -> Listpack {
    let mut list = Listpack::new();
    for text in texts {
        list.append(text);
    }
    list
}

fn check(list: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(texts(list), model);
    let mut backwards: Vec<Vec<u8>> = list
        .iter()
        .rev()
        .map(|entry| entry.text().to_vec())
        .collect();
    backwards.reverse();
    assert_eq!(backwards, model);
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    assert_eq!(
        Listpack::from_bytes(list.bytes().to_vec()).as_ref(),
        Ok(list)
    );
}

/// `lpAppend` of these in Redis 7.0.15, read from the payloads of DUMP.
#[test]
fn the_bytes_are_those_of_redis() {
    let list = of(&[
        b"a",
        b"0",
        b"127",
        b"128",
        b"-1",
        b"4095",
        b"-4096",
        b"4096",
        b"-32768",
        b"8388607",
        b"-2147483648",
        b"4294967296",
    ]);
    let expected: &[u8] = &[
        0x37, 0, 0, 0, 12, 0, 0x81, b'a', 2, 0, 1, 0x7f, 1, 0xc0, 0x80, 2, 0xdf, 0xff, 2, 0xcf,
        0xff, 2, 0xd0, 0x00, 2, 0xf1, 0x00, 0x10, 3, 0xf1, 0x00, 0x80, 3, 0xf2, 0xff, 0xff, 0x7f,
        4, 0xf3, 0, 0, 0, 0x80, 5, 0xf4, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0xff,
    ];
    assert_eq!(list.bytes(), expected);
    assert_eq!(list.len(), 12);
}

#[test]
fn strings_of_every_length_class_survive() {
    let mut list = Listpack::new();
    let lengths = [
        0, 1, 63, 64, 125, 126, 127, 4095, 4096, 16376, 16377, 16378, 16379, 16383, 70_000,
        2_097_145, 2_097_146, 2_097_147,
    ];
    for len in lengths {
        list.append(&vec![b'x'; len]);
    }
    check(&list, &lengths.map(|len| vec![b'x'; len]));
}

#[test]
fn more_entries_than_the_header_counts() {
    let mut list = Listpack::new();
    for i in 0..70_000 {
        list.append_int(i);
    }
    assert_eq!(list.len(), 70_000);
    assert_eq!(list.bytes()[4..6], [0xff, 0xff]);
    assert_eq!(
        list.last().map(|pos| list.get(pos)),
        Some(Entry::Int(69_999))
    );
    assert!(Listpack::from_bytes(list.bytes().to_vec()).is_ok());
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<u8>),
    AppendMany(Vec<Vec<u8>>),
    ReplaceInt(usize, i64),
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..6),
        (any::<i64>(), 0u32..64)
            .prop_map(|(value, shift)| (value >> shift).to_string().into_bytes()),
        (
            any::<u8>(),
            prop_oneof![
                Just(63usize),
                Just(64),
                Just(126),
                Just(127),
                Just(4095),
                Just(4096),
                0usize..20_000
            ]
        )
            .prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        element().prop_map(Op::Append),
        proptest::collection::vec(element(), 0..5).prop_map(Op::AppendMany),
        (any::<usize>(), any::<i64>()).prop_map(|(at, e)| Op::ReplaceInt(at, e)),
    ]
}

/// The place of the entry number `n`, walked to from either end.
fn nth(list: &Listpack, n: usize) -> Option<Pos> {
    let up = (0..n).try_fold(list.first()?, |pos, _| list.next(pos));
    let back = (n + 1..list.len()).try_fold(list.last()?, |pos, _| list.prev(pos));
    assert_eq!(up, back);
    up
}

fn apply(list: &mut Listpack, model: &mut Vec<Vec<u8>>, op: Op) {
    match op {
        Op::Append(text) => {
            list.append(&text);
            model.push(text);
        }
        Op::AppendMany(texts) => {
            list.append_with(0, |w| texts.iter().for_each(|text| w.text(text)));
            model.extend(texts);
        }
        Op::ReplaceInt(at, value) => {
            let Some(index) = at.checked_rem(model.len()) else {
                return;
            };
            let pos = nth(list, index).expect("an entry for each of the model's");
            list.replace_int(pos, value);
            model[index] = value.to_string().into_bytes();
            assert_eq!(list.get(pos), Entry::Int(value));
            assert!(list.iter_from(pos).count() == model.len() - index);
        }
    }
}

proptest! {
    #[test]
    fn like_a_vector(ops in proptest::collection::vec(op(), 1..60)) {
        let (mut list, mut model) = (Listpack::new(), Vec::new());
        for op in ops {
            apply(&mut list, &mut model, op);
            check(&list, &model);
        }
    }

    /// Whatever the check lets through can be walked both ways and changed.
    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        list in proptest::collection::vec(element(), 0..12),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in 0usize..3,
    ) {
        let mut bytes = of(&list.iter().map(|text| &text[..]).collect::<Vec<_>>()).bytes().to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut);
        if let Ok(mut list) = Listpack::from_bytes(bytes) {
            let model = texts(&list);
            prop_assert_eq!(list.iter().rev().count(), model.len());
            if let Some(first) = list.first() {
                list.replace_int(first, 300);
                list.append(b"new");
                prop_assert_eq!(list.iter().rev().count(), model.len() + 1);
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_or_harmless(mut bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if bytes.len() >= 7 {
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_le_bytes());
            bytes[4..6].copy_from_slice(&[0xff, 0xff]);
            *bytes.last_mut().unwrap() = END;
        }
        if let Ok(list) = Listpack::from_bytes(bytes) {
            prop_assert_eq!(list.iter().rev().count(), list.len());
        }
    }
}
