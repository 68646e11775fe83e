//! Packs against plain vectors, and as listpacks.

use super::*;
use crate::value::listpack::Listpack;
use alloc::string::{String, ToString};
use alloc::vec;
use proptest::prelude::*;

fn of(texts: &[Vec<u8>]) -> Pack {
    Pack::of(0, texts.iter().map(|text| Element::of_text(text)))
}

fn texts(pack: &Pack) -> Vec<Vec<u8>> {
    pack.iter().map(|entry| entry.text().to_vec()).collect()
}

fn check(pack: &Pack, model: &[Vec<u8>]) {
    pack.invariants();
    assert_eq!(texts(pack), model);
    assert_eq!(
        (pack.len(), pack.is_empty()),
        (model.len(), model.is_empty())
    );
    let mut list = Listpack::new();
    model.iter().for_each(|text| list.append(text));
    let mut written = b"before".to_vec();
    pack.write_listpack(&mut written);
    assert_eq!(&written[6..], list.bytes());
}

#[test]
fn a_small_hash_takes_what_its_texts_take_and_a_byte_each() {
    let texts: Vec<_> = (0..10)
        .flat_map(|i| [alloc::format!("field{i}"), alloc::format!("value{i:06}")])
        .map(String::into_bytes)
        .collect();
    let pack = of(&texts);
    assert_eq!((pack.bytes.len(), pack.memory_bytes()), (190, 192));
    assert_eq!(pack.listpack_bytes(), 217);
}

#[test]
fn more_elements_than_the_handle_counts() {
    let mut pack = Pack::of(0, (0..65_534).map(Element::of_int));
    assert_eq!((pack.count, pack.len()), (65_534, 65_534));
    pack.append(&[
        Element::of_int(1),
        Element::of_int(2),
        Element::of_text(b"x"),
    ]);
    assert_eq!((pack.count, pack.len()), (MANY, 65_537));
    pack.invariants();
    let last = pack.nth(65_536).unwrap();
    assert_eq!((pack.get(last), pack.nth(65_537)), (Entry::Str(b"x"), None));
    // Once they are many, they are counted.
    pack.remove(pack.nth(10).unwrap(), 65_520);
    assert_eq!((pack.count, pack.len()), (MANY, 17));
    pack.append(&[Element::of_int(1)]);
    assert_eq!(pack.len(), 18);
    pack.invariants();
}

/// Redis does not write such, but reads them.
#[test]
fn what_a_listpack_says_at_length_is_made_short() {
    let long: &[u8] = &[
        0xE0, 1, b'7', 3, 0xF1, 5, 0, 3, 0xF0, 1, 0, 0, 0, b'a', 6, 0x82, b'1', b'2', 3,
    ];
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(long);
    bytes.push(END);
    bytes[0] = bytes.len() as u8;
    bytes[4] = 4;
    let pack = Pack::from_listpack(&bytes).unwrap();
    check(&pack, &[&b"7"[..], b"5", b"a", b"12"].map(<[u8]>::to_vec));
    assert_eq!(*pack.bytes, [7, 5, 0x81, b'a', 12]);
    bytes[4] = 3;
    assert_eq!(Pack::from_listpack(&bytes), Err(Malformed));
}

#[test]
fn a_found_element_is_a_field_and_not_a_value() {
    let pack = of(&[&b"a"[..], b"b", b"b", b"c", b"7", b"07", b"07", b"7"].map(<[u8]>::to_vec));
    let find = |text: &str, each| pack.find(&Element::of_text(text.as_bytes()), each);
    let place = |number, each| pack.nth(number * each).map(|pos| (number, pos));
    assert_eq!((find("b", 2), find("b", 1)), (place(1, 2), place(1, 1)));
    assert_eq!((find("7", 2), find("7", 1)), (place(2, 2), place(4, 1)));
    assert_eq!((find("07", 2), find("c", 2)), (place(3, 2), None));
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Vec<u8>>),
    Insert(usize, Vec<Vec<u8>>),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(b'a'..b'd', 0..4),
        (any::<i64>(), 0u32..64)
            .prop_map(|(value, shift)| (value >> shift).to_string().into_bytes()),
        (
            any::<u8>(),
            prop_oneof![
                Just(63usize),
                Just(64),
                Just(4095),
                Just(4096),
                0usize..9000
            ]
        )
            .prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let texts = || proptest::collection::vec(text(), 1..4);
    prop_oneof![
        3 => texts().prop_map(Op::Append),
        2 => (any::<usize>(), texts()).prop_map(|(at, texts)| Op::Insert(at, texts)),
        2 => (any::<usize>(), text()).prop_map(|(at, text)| Op::Replace(at, text)),
        2 => (any::<usize>(), 0usize..5).prop_map(|(at, count)| Op::Remove(at, count)),
    ]
}

fn elements(texts: &[Vec<u8>]) -> Vec<Element<'_>> {
    texts.iter().map(|text| Element::of_text(text)).collect()
}

fn apply(pack: &mut Pack, model: &mut Vec<Vec<u8>>, op: Op) {
    match op {
        Op::Append(texts) => {
            pack.append(&elements(&texts));
            model.extend(texts);
        }
        Op::Insert(at, texts) => {
            let at = at % (model.len() + 1);
            pack.insert(pack.nth(at).unwrap_or(pack.end()), &elements(&texts));
            model.splice(at..at, texts);
        }
        Op::Replace(at, text) => {
            if let Some(at) = at.checked_rem(model.len()) {
                pack.replace(pack.nth(at).unwrap(), &Element::of_text(&text));
                model[at] = text;
            }
        }
        Op::Remove(at, count) => {
            if let Some(at) = at.checked_rem(model.len()) {
                pack.remove(pack.nth(at).unwrap(), count);
                model.drain(at..(at + count).min(model.len()));
            }
        }
    }
}

proptest! {
    #[test]
    fn like_a_vector(ops in proptest::collection::vec(op(), 1..40)) {
        let (mut pack, mut model) = (Pack::new(), Vec::new());
        for op in ops {
            let (copy, before) = (pack.clone(), model.clone());
            apply(&mut pack, &mut model, op);
            check(&pack, &model);
            check(&copy, &before);
        }
    }

    #[test]
    fn finding_agrees_with_searching(mut model in proptest::collection::vec(text(), 0..20), each in 1usize..3) {
        model.truncate(model.len() / each * each);
        let pack = of(&model);
        let names: Vec<_> = model.iter().step_by(each).collect();
        for needle in model.iter().chain([&vec![b'a'], &vec![]]) {
            let expected = names.iter().position(|text| *text == needle);
            let found = pack.find(&Element::of_text(needle), each);
            prop_assert_eq!(found, expected.and_then(|n| Some((n, pack.nth(n * each)?))));
        }
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(pack.all_differ(each), sorted.len() == names.len());
    }

    /// Whatever the check lets through is read, found and changed.
    #[test]
    fn damaged_listpacks_are_refused_or_harmless(
        model in proptest::collection::vec(text(), 0..12),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = Vec::new();
        of(&model).write_listpack(&mut bytes);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let list = Listpack::from_bytes(bytes.clone());
        match Pack::from_listpack(&bytes) {
            Ok(pack) => {
                let read: Vec<_> = list.unwrap().iter().map(|entry| entry.text().to_vec()).collect();
                check(&pack, &read);
            }
            Err(error) => prop_assert_eq!(list.map(|_| ()), Err(error)),
        }
    }
}
