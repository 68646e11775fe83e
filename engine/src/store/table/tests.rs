use super::super::entry::{Value, ValueRef};
use super::*;
use alloc::collections::{BTreeMap, BTreeSet};
use proptest::prelude::*;

fn hash(key: &[u8]) -> u64 {
    siphasher::sip::SipHasher13::new_with_keys(1, 2).hash(key)
}

/// As in cluster mode: most hashes share their high bits.
fn skewed(key: &[u8]) -> u64 {
    hash(key) >> 14 | 5 << 50
}

fn insert(t: &mut Table, key: &[u8], hash: impl Fn(&[u8]) -> u64) {
    t.insert(hash(key), Entry::new(key, Value::Int(1), None, 0), &hash);
}

#[test]
fn grows_full_and_flat() {
    let mut t = Table::default();
    for n in 0..200_000u32 {
        insert(&mut t, &n.to_le_bytes(), hash);
        if n > 2000 && n % 7919 == 0 {
            let load = t.len() as f64
                / (t.segments.iter().map(|s| s.buckets.len()).sum::<usize>() * SLOTS) as f64;
            assert!(load > 0.67, "{n} entries fill {load:.2} of the slots");
            assert!(t.bytes() < t.len() * 14, "{} bytes for {n}", t.bytes());
        }
    }
    t.invariants(hash);
    for n in 0..200_000u32 {
        assert!(t.find(hash(&n.to_le_bytes()), &n.to_le_bytes()).is_some());
    }
    let mut largest = 0;
    for n in 1000..200_000u32 {
        let key = n.to_le_bytes();
        let place = t.find(hash(&key), &key).unwrap();
        let before = t.segments.len();
        t.remove(place);
        largest = largest.max(before - t.segments.len());
    }
    t.invariants(hash);
    assert!(t.bytes() < 30_000, "{} bytes for 1000 entries", t.bytes());
    assert!(largest <= 2, "{largest} merges in one step");
    for n in 0..1000u32 {
        let key = n.to_le_bytes();
        let place = t.find(hash(&key), &key).unwrap();
        t.remove(place);
    }
    t.invariants(hash);
    assert!(
        t.segments.len() == 1 && t.bytes() <= 300,
        "{} bytes",
        t.bytes()
    );
}

#[test]
fn a_table_made_for_its_entries_is_as_one_that_grew() {
    for entries in [0, 1, 380, 400, 3000, 50_000, 200_000] {
        let (mut grown, mut made) = (Table::default(), Table::default());
        made.expect(entries as usize);
        made.invariants(hash);
        for n in 0..entries as u32 {
            insert(&mut grown, &n.to_le_bytes(), hash);
            insert(&mut made, &n.to_le_bytes(), hash);
        }
        made.invariants(hash);
        let (grown_bytes, bytes) = (grown.bytes(), made.bytes());
        assert!(
            bytes * 10 <= grown_bytes * 11,
            "{bytes} for {grown_bytes} bytes of {entries}"
        );
        // It is not empty any more: too late to expect anything.
        let segments = made.segments.len();
        made.expect(1_000_000);
        assert!(entries == 0 || made.segments.len() == segments);
        for n in 0..entries as u32 {
            let key = n.to_le_bytes();
            let place = made.find(hash(&key), &key).unwrap();
            made.remove(place);
        }
        if entries > 0 {
            made.invariants(hash);
            assert!(made.segments.len() == 1 && made.bytes() <= 300);
        }
    }
}

#[test]
fn one_slot_with_many_keys_is_no_burden() {
    let mut t = Table::default();
    for n in 0..50_000u32 {
        insert(&mut t, &n.to_le_bytes(), skewed);
    }
    t.invariants(skewed);
    assert!(
        t.directories.len() > 1 && t.bytes() < t.len() * 18,
        "{} bytes",
        t.bytes()
    );
    let mut position = 5 << 50;
    let mut seen = 0;
    while let Some(next) = t.walk(position, |_, _| seen += 1).filter(|&n| n < 6 << 50) {
        assert!(next > position);
        position = next;
    }
    assert_eq!(seen, 50_000);
    for n in 0..50_000u32 {
        let key = n.to_le_bytes();
        let place = t.find(skewed(&key), &key).unwrap();
        t.remove(place);
        if n % 4999 == 0 {
            t.invariants(skewed);
        }
    }
    assert_eq!(t.directories.len(), 1);
    assert!(
        t.segments.len() == 1 && t.bytes() <= 300,
        "{} bytes",
        t.bytes()
    );
}

#[test]
fn a_position_between_hashes_that_a_merge_gave_one_tag() {
    let hash = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
    let mut t = Table::default();
    let even: Vec<[u8; 8]> = (0..600u64)
        .map(|n| (n * (u64::MAX / 600)).to_be_bytes())
        .collect();
    even.iter().for_each(|key| insert(&mut t, key, hash));
    assert_eq!(t.segments.len(), 2);
    // With one bit less to tell segments apart, tags lose the last bit of this position.
    let mut position = 0;
    while position << 16 == 0 {
        position = t.walk(position, |_, _| {}).unwrap();
    }
    let (before, behind) = ((position - 1).to_be_bytes(), position.to_be_bytes());
    insert(&mut t, &before, hash);
    insert(&mut t, &behind, hash);
    for key in &even {
        let place = t.find(hash(key), key).unwrap();
        t.remove(place);
    }
    assert_eq!(t.segments.len(), 1);
    let mut seen = Vec::new();
    t.walk(position, |_, e| seen.push(hash(e.key())));
    assert_eq!(seen.len(), 2);
    seen.clear();
    t.walk_once(position, hash, |_, e| seen.push(hash(e.key())));
    assert_eq!(seen, [position]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Against a map, in floods and ebbs of keys. A walk that goes on meanwhile sees each key that stays, and,
    /// since positions are hashes, none twice; a scan may see some again, but misses none either.
    #[test]
    fn behaves_as_a_map(
        ops in prop::collection::vec((0u8..8, 0u16..3000), 1..12_000),
        seed in any::<u64>(),
        is_skewed in any::<bool>(),
    ) {
        let hash = |key: &[u8]| {
            let hash = siphasher::sip::SipHasher13::new_with_keys(seed, 2).hash(key);
            if is_skewed { hash >> 14 | 5 << 50 } else { hash }
        };
        let number = |e: EntryRef<'_>| u16::from_le_bytes(e.key().try_into().unwrap());
        let mut t = Table::default();
        let mut model = BTreeMap::new();
        let (mut position, mut seen) = (Some(0), BTreeSet::new());
        let (mut cursor, mut scanned) = (Some(0), BTreeSet::new());
        let mut stayed = None::<BTreeSet<u16>>;
        for (i, (op, k)) in ops.into_iter().enumerate() {
            let key = k.to_le_bytes();
            let found = t.find(hash(&key), &key);
            prop_assert_eq!(found.is_some(), model.contains_key(&k));
            let (writes, deletes) = if i % 6000 < 3500 { (0..5, 5..6) } else { (0..1, 1..6) };
            match (op, found) {
                (op, None) if writes.contains(&op) => {
                    t.insert(hash(&key), Entry::new(&key, Value::Int(i as i64), None, 0), hash);
                    model.insert(k, i as i64);
                }
                (op, Some(place)) if writes.contains(&op) => {
                    let ValueRef::Int(n) = t.entry(place).value() else { panic!() };
                    prop_assert_eq!(Some(&n), model.get(&k));
                    t.replace(place, Entry::new(&key, Value::Int(i as i64), None, 0));
                    model.insert(k, i as i64);
                }
                (op, Some(place)) if deletes.contains(&op) => {
                    t.remove(place);
                    model.remove(&k);
                    if let Some(s) = &mut stayed { s.remove(&k); }
                }
                (6.., _) if i > 2000 => {
                    let stayed = stayed.get_or_insert_with(|| model.keys().copied().collect());
                    if let Some(at) = position {
                        let mut twice = None;
                        position = t.walk_once(at, hash, |_, e| {
                            let k = number(e);
                            if !seen.insert(k) { twice = Some(k); }
                        });
                        prop_assert!(twice.is_none_or(|k| !stayed.contains(&k)));
                    }
                    if let Some(at) = cursor {
                        cursor = t.walk(at, |_, e| { scanned.insert(number(e)); });
                    }
                }
                _ => {}
            }
            prop_assert_eq!(t.len(), model.len());
            if i % 1499 == 0 { t.invariants(hash); }
        }
        while let Some(at) = position {
            position = t.walk_once(at, hash, |_, e| { seen.insert(number(e)); });
        }
        while let Some(at) = cursor {
            cursor = t.walk(at, |_, e| { scanned.insert(number(e)); });
        }
        if let Some(stayed) = stayed {
            prop_assert!(stayed.is_subset(&seen));
            prop_assert!(stayed.is_subset(&scanned));
        }
        t.invariants(hash);
        for k in model.keys() {
            let key = k.to_le_bytes();
            let place = t.find(hash(&key), &key).unwrap();
            t.remove(place);
        }
        t.invariants(hash);
        prop_assert!(t.segments.len() == 1 && t.bytes() <= 300, "{} bytes", t.bytes());
    }
}
