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
    assert_eq!(
        list.find(list.first().unwrap(), &[b'x'; 4096], 0),
        list.seek(8)
    );
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
        list.seek(69_999).map(|pos| list.get(pos)),
        Some(Entry::Int(69_999))
    );
    assert_eq!(list.seek(70_000), None);
    assert!(Listpack::from_bytes(list.bytes().to_vec()).is_ok());
    assert_eq!(list.remove_range(10, 69_980), 69_980);
    assert_eq!(list.len(), 20);
    list.append(b"x");
    assert_eq!(list.len(), 21);
}

#[test]
fn a_found_entry_is_a_field_and_not_a_value() {
    let list = of(&[b"a", b"b", b"b", b"c", b"7", b"07", b"07", b"7"]);
    let first = list.first().unwrap();
    assert_eq!(list.find(first, b"b", 1), list.seek(2));
    assert_eq!(list.find(first, b"b", 0), list.seek(1));
    assert_eq!(list.find(first, b"7", 1), list.seek(4));
    assert_eq!(list.find(first, b"07", 1), list.seek(6));
    assert_eq!(list.find(first, b"c", 1), None);
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<u8>),
    Prepend(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    ReplaceInt(usize, i64),
    Remove(usize),
    RemoveRange(i64, usize),
    SplitAndJoin(usize),
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
        element().prop_map(Op::Prepend),
        (any::<usize>(), element()).prop_map(|(at, e)| Op::InsertBefore(at, e)),
        (any::<usize>(), element()).prop_map(|(at, e)| Op::InsertAfter(at, e)),
        (any::<usize>(), element()).prop_map(|(at, e)| Op::Replace(at, e)),
        (any::<usize>(), any::<i64>()).prop_map(|(at, e)| Op::ReplaceInt(at, e)),
        any::<usize>().prop_map(Op::Remove),
        (-20i64..20, 0usize..5).prop_map(|(at, n)| Op::RemoveRange(at, n)),
        any::<usize>().prop_map(Op::SplitAndJoin),
    ]
}

fn apply(list: &mut Listpack, model: &mut Vec<Vec<u8>>, op: Op) {
    let place = |at: usize, list: &Listpack, model: &Vec<Vec<u8>>| {
        let index = at.checked_rem(model.len())?;
        let pos = list
            .seek(index as i64)
            .expect("an entry for each of the model's");
        assert_eq!(list.seek(index as i64 - model.len() as i64), Some(pos));
        Some((index, pos))
    };
    match op {
        Op::Append(text) => {
            list.append(&text);
            model.push(text);
        }
        Op::Prepend(text) => {
            list.prepend(&text);
            model.insert(0, text);
        }
        Op::InsertBefore(at, text) => {
            if let Some((index, pos)) = place(at, list, model) {
                list.insert_before(pos, &text);
                model.insert(index, text);
            }
        }
        Op::InsertAfter(at, text) => {
            if let Some((index, pos)) = place(at, list, model) {
                let new = list.insert_after(pos, &text);
                assert_eq!(&*list.get(new).text(), text);
                model.insert(index + 1, text);
            }
        }
        Op::Replace(at, text) => {
            if let Some((index, pos)) = place(at, list, model) {
                list.replace(pos, &text);
                model[index] = text;
            }
        }
        Op::ReplaceInt(at, value) => {
            if let Some((index, pos)) = place(at, list, model) {
                list.replace_int(pos, value);
                model[index] = value.to_string().into_bytes();
            }
        }
        Op::Remove(at) => {
            if let Some((index, pos)) = place(at, list, model) {
                let next = list.remove(pos);
                model.remove(index);
                assert_eq!(
                    next.map(|pos| list.get(pos).text().to_vec()),
                    model.get(index).cloned()
                );
            }
        }
        Op::RemoveRange(at, count) => {
            let start = if at < 0 { at + model.len() as i64 } else { at };
            let expected = if start < 0 {
                0
            } else {
                model.len().saturating_sub(start as usize).min(count)
            };
            assert_eq!(list.remove_range(at, count), expected);
            if expected > 0 {
                model.drain(start as usize..start as usize + expected);
            }
        }
        Op::SplitAndJoin(at) => {
            if let Some((index, pos)) = place(at, list, model) {
                let tail = list.split_off(pos);
                check(list, &model[..index]);
                check(&tail, &model[index..]);
                list.extend(&tail);
            }
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

    #[test]
    fn finding_agrees_with_searching(list in proptest::collection::vec(element(), 0..20), needle in element(), skip in 0usize..3) {
        let mut model = list;
        model.push(needle.clone());
        let packed = of(&model.iter().map(|text| &text[..]).collect::<Vec<_>>());
        let expected = model.iter().step_by(skip + 1).position(|text| *text == needle);
        let found = packed.find(packed.first().unwrap(), &needle, skip);
        prop_assert_eq!(found, expected.and_then(|i| packed.seek((i * (skip + 1)) as i64)));
    }

    /// Whatever the check lets through can be walked both ways, searched and changed.
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
                let _ = list.find(first, b"x", 1);
                list.replace(first, b"new");
                list.remove(first);
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
