use super::*;
use crate::value::element::Element;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    max_entries: 8,
    max_value: 10,
    hash_key: (1, 2),
};

/// A sorted set as a map: sorted on demand.
#[derive(Clone, Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn sorted(&self) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = self.0.iter().map(|(m, s)| (m.clone(), *s)).collect();
        all.sort_by(|a, b| leaf::order((a.1, &a.0), (b.1, &b.0)));
        all
    }
}

fn contents(members: Members<'_>) -> Vec<(Vec<u8>, f64)> {
    members.map(|(m, s)| (m.text().to_vec(), s)).collect()
}

fn scanned(set: &ZSet, count: usize) -> BTreeMap<Vec<u8>, f64> {
    let (mut all, mut cursor) = (BTreeMap::new(), 0);
    loop {
        cursor = set.scan(cursor, count, |member, score| {
            assert!(all.insert(member.text().to_vec(), score).is_none());
        });
        if cursor == 0 {
            return all;
        }
    }
}

#[test]
fn the_small_form_ends_beyond_its_limits() {
    let of = |n: usize| {
        let mut set = ZSet::new();
        for i in 0..n {
            set.set(format!("{i}").as_bytes(), i as f64, &LIMITS);
        }
        set
    };
    assert_eq!(
        (of(8).encoding(), of(9).encoding()),
        ("listpack", "skiplist")
    );
    let mut set = of(9);
    assert_eq!((set.remove(b"1"), set.remove(b"1")), (Some(1.0), None));
    assert_eq!((set.encoding(), set.len()), ("skiplist", 8));
    set.fit(&LIMITS);
    assert_eq!(set.encoding(), "listpack");
    set.set(&[b'x'; 11], 0.5, &LIMITS);
    set.invariants();
    assert_eq!((set.encoding(), set.len()), ("skiplist", 9));
    set.remove(b"0");
    set.fit(&LIMITS);
    assert_eq!(set.encoding(), "skiplist", "a member is too long");
}

#[test]
fn foreign_packs_must_be_members_in_order() {
    let list = |texts: &[&str]| {
        let entries = texts.iter().map(|text| Element::of_text(text.as_bytes()));
        ZSet::from_pack(Pack::of(0, entries)).is_ok()
    };
    assert!(list(&[]) && list(&["a", "1", "b", "1", "a2", "inf"]));
    for bad in [
        &["a"][..],
        &["a", "1", "b"],
        &["a", "x"],
        &["a", "nan"],
        &["a", ""],
        &["a", "2", "b", "1"],
        &["b", "1", "a", "1"],
        &["a", "1", "a", "1"],
        &["a", "1", "a", "2"],
        &["1", "1", "1", "2"],
    ] {
        assert!(!list(bad), "{bad:?}");
    }
}

#[test]
fn an_ascending_or_descending_load_leaves_full_leaves() {
    for descending in [false, true] {
        let mut set = ZSet::new();
        for i in 0..100_000u32 {
            let i = if descending { 100_000 - i } else { i };
            set.set(format!("member:{i:06}").as_bytes(), f64::from(i), &LIMITS);
        }
        set.invariants();
        let bytes = set.memory_bytes() as f64 / 100_000.0;
        assert!(bytes < 42.0, "{bytes}");
    }
}

#[test]
fn a_clone_keeps_what_it_has() {
    let mut set = ZSet::new();
    for i in 0..20_000u32 {
        set.set(format!("{i}").as_bytes(), f64::from(i % 97), &LIMITS);
    }
    let mut copy = set.clone();
    let before = contents(copy.iter());
    for i in 0..20_000u32 {
        set.update(format!("{i}").as_bytes(), &LIMITS, |old| old.map(|s| -s));
        if i % 3 == 0 {
            set.remove(format!("{i}").as_bytes());
        }
    }
    set.invariants();
    copy.invariants();
    assert_eq!(contents(copy.iter()), before);
    let mut steps = 0;
    while !set.free_step(4) {
        steps += 1;
    }
    assert!(steps > 2, "{steps}");
    assert!(!copy.free_step(1_000_000) || copy.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Set(u16, i16),
    Run(u16, u16, i16, i16),
    Incr(u16, i8),
    Remove(u16),
    RemoveRange(u16, u16),
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u16..3000, -40i16..40).prop_map(|(m, s)| Op::Set(m, s)),
        3 => (0u16..3000, 0u16..400, -40i16..40, -2i16..3).prop_map(|(m, n, s, d)| Op::Run(m, n, s, d)),
        3 => (0u16..3000, any::<i8>()).prop_map(|(m, s)| Op::Incr(m, s)),
        4 => (0u16..3000).prop_map(Op::Remove),
        2 => (0u16..3000, 0u16..300).prop_map(|(r, n)| Op::RemoveRange(r, n)),
        1 => Just(Op::Snapshot),
    ]
}

fn name(n: u16) -> Vec<u8> {
    match n % 7 {
        0 => format!("{n}").into_bytes(),
        1 => [
            vec![b'x'; usize::from(n % 300)],
            format!("{n}").into_bytes(),
        ]
        .concat(),
        2 if n % 49 == 2 => [format!("{n}").into_bytes(), vec![0; 3000]].concat(),
        _ => format!("m{:04}", n % 997 * 3).into_bytes(),
    }
}

fn check(set: &ZSet, model: &Model, probe: u16) {
    set.invariants();
    let sorted = model.sorted();
    assert_eq!(set.len(), sorted.len());
    assert_eq!(contents(set.iter()), sorted);
    let last = sorted.len().saturating_sub(1);
    let mut down = contents(set.range(last, usize::MAX, true));
    down.reverse();
    assert_eq!(down, sorted);
    assert_eq!(scanned(set, 1 + usize::from(probe) % 50), model.0);
    let some = usize::from(probe) % (sorted.len() + 2);
    for (from, n) in [(some, 3), (some, 1000)] {
        let end = (from + n).min(sorted.len());
        let expected = sorted.get(from..end).unwrap_or(&[]);
        assert_eq!(contents(set.range(from, n, false)), expected);
    }
    let member = name(probe);
    let rank = sorted.iter().position(|(m, _)| *m == member);
    assert_eq!(set.rank(&member), rank.map(|r| (r, sorted[r].1)));
    let (min, max) = (f64::from(probe % 80) - 40.0, f64::from(probe % 13) * 3.0);
    for (above_min, below_max) in [(false, false), (true, false), (false, true), (true, true)] {
        let range = ScoreRange {
            min,
            max,
            above_min,
            below_max,
        };
        let expected: Vec<_> = sorted
            .iter()
            .filter(|(_, s)| {
                (*s > min || (!above_min && *s == min)) && (*s < max || (!below_max && *s == max))
            })
            .cloned()
            .collect();
        assert_eq!(
            contents(set.slice(set.score_ranks(&range), false)),
            expected
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is done to it, a sorted set is what the model is, and clones keep what they had.
    #[test]
    fn a_sorted_set_is_a_sorted_map(ops in prop::collection::vec(op(), 1..120), probe in any::<u16>()) {
        let (mut set, mut model) = (ZSet::new(), Model::default());
        let mut kept: Option<(ZSet, Model)> = None;
        for op in ops {
            match op {
                Op::Set(m, score) => {
                    let old = model.0.insert(name(m), f64::from(score));
                    let expected = match old {
                        None => Updated::Added,
                        Some(old) if old == f64::from(score) => Updated::Same,
                        Some(_) => Updated::Changed,
                    };
                    prop_assert_eq!(set.set(&name(m), f64::from(score), &LIMITS), expected);
                }
                Op::Run(m, n, score, step) => for i in 0..n {
                    let (m, score) = (name(m + i), f64::from(score) + f64::from(step) * f64::from(i));
                    set.set(&m, score, &LIMITS);
                    model.0.insert(m, score);
                },
                Op::Incr(m, by) => {
                    let m = name(m);
                    let got = set.update(&m, &LIMITS, |old| old.map(|s| s + f64::from(by) / 16.0));
                    match model.0.get_mut(&m) {
                        Some(score) => {
                            *score += f64::from(by) / 16.0;
                            prop_assert_eq!(got, if by == 0 { Updated::Same } else { Updated::Changed });
                        }
                        None => prop_assert_eq!(got, Updated::Left),
                    }
                }
                Op::Remove(m) => prop_assert_eq!(set.remove(&name(m)), model.0.remove(&name(m))),
                Op::RemoveRange(rank, n) => {
                    let sorted = model.sorted();
                    let rank = usize::from(rank) % (sorted.len() + 1);
                    let end = (rank + usize::from(n)).min(sorted.len());
                    for (member, _) in &sorted[rank..end] {
                        model.0.remove(member);
                    }
                    set.remove_range(rank, usize::from(n));
                }
                Op::Snapshot => {
                    if let Some((set, model)) = kept.replace((set.clone(), model.clone())) {
                        check(&set, &model, probe);
                    }
                }
            }
            set.invariants();
        }
        check(&set, &model, probe);
        if let Some((set, model)) = kept {
            check(&set, &model, probe);
        }
    }

    /// Ranges of members, where all scores are equal, in either form.
    #[test]
    fn ranges_of_members(members in prop::collection::btree_set("[abc]{0,4}", 0..300), min in "[abc]{0,3}", max in "[abc]{0,3}", kinds in 0u8..16, few: bool) {
        let limits = Limits { max_entries: if few { 1000 } else { 4 }, ..LIMITS };
        let mut set = ZSet::new();
        for member in &members {
            set.set(member.as_bytes(), 7.0, &limits);
        }
        let bound = |kind: u8, text: &'static str| match kind {
            0 => LexBound::First,
            1 => LexBound::Including(text.as_bytes()),
            2 => LexBound::Excluding(text.as_bytes()),
            _ => LexBound::Last,
        };
        // The strategy's strings do not live long enough for a closure of one signature.
        let (min, max): (&'static str, &'static str) = (min.leak(), max.leak());
        let range = LexRange { min: bound(kinds % 4, min), max: bound(kinds / 4, max) };
        let expected: Vec<_> = members
            .iter()
            .map(|m| m.as_bytes())
            .filter(|m| !range.begins_above(m) && range.reaches(m))
            .map(|m| (m.to_vec(), 7.0))
            .collect();
        for back in [false, true] {
            prop_assert_eq!(contents(set.slice(set.lex_ranks(&range, back, 0), false)), expected.clone());
            let skipped = match back {
                false => expected.get(2..).unwrap_or(&[]),
                true => &expected[..expected.len().saturating_sub(2)],
            };
            prop_assert_eq!(contents(set.slice(set.lex_ranks(&range, back, 2), false)), skipped);
        }
    }
}
