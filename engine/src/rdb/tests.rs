//! The codec against files of a real Redis, against itself, and against damage.

use super::*;
use crate::value::hash::Hash;
use crate::value::listpack::Listpack;
use crate::value::pack::Pack;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;

const VALUES: &[u8] = include_bytes!("testdata/values.rdb");
const LRU: &[u8] = include_bytes!("testdata/lru.rdb");
const LFU: &[u8] = include_bytes!("testdata/lfu.rdb");
const UNCHECKED: &[u8] = include_bytes!("testdata/unchecked.rdb");

/// Everything up to the end or the first error; `step` bytes are fed at a time.
fn read(file: &[u8], step: usize, total: Option<u64>) -> Result<Vec<Event>, RdbError> {
    let mut decoder = Decoder::new(total, true);
    let mut events = Vec::new();
    for piece in file.chunks(step) {
        decoder.feed(piece);
        loop {
            match decoder.next_event()? {
                Event::NeedMore => break,
                event => events.push(event),
            }
        }
    }
    if decoder.is_done() {
        Ok(events)
    } else {
        Err(decoder.cut_short())
    }
}

fn keys(events: &[Event]) -> BTreeMap<(u32, String), &Event> {
    let mut found = BTreeMap::new();
    for event in events {
        if let Event::Key { db, key, .. } = event {
            let before = found.insert((*db, String::from_utf8(key.clone()).unwrap()), event);
            assert_eq!(before, None);
        }
    }
    found
}

fn value<'a>(events: &'a [Event], db: u32, key: &str) -> &'a Value {
    match keys(events)[&(db, key.into())] {
        Event::Key { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Value {
    Value::Str(text.into())
}

/// A snapshot of one compressible string of so many lines, and the string.
fn of_a_packed_string(lines: usize) -> (Vec<u8>, Vec<u8>) {
    let text: Vec<u8> = (0..lines)
        .flat_map(|line| format!("so it goes, and {line} so it goes on\n").into_bytes())
        .collect();
    let mut encoder = Encoder::new(Options {
        compress: true,
        checksum: true,
    });
    encoder.begin(&Header {
        redis_version: crate::REDIS_VERSION,
        ctime_s: 0,
        used_memory: 0,
        replication: None,
        aof_base: false,
    });
    encoder.select_db(0, 1, 0);
    encoder.key(b"long", &KeyMeta::default(), ValueView::Str(&text));
    encoder.end();
    (encoder.take().to_vec(), text)
}

#[test]
fn a_long_compressed_string_is_read_however_it_arrives() {
    let (file, string) = of_a_packed_string(10_000);
    assert!(file.len() < string.len() * 3 / 4 && string.len() > 300_000);
    for step in [1, 7, 1000, 64 << 10, file.len()] {
        for total in [None, Some(file.len() as u64)] {
            let events = read(&file, step, total).unwrap();
            assert!(value(&events, 0, "long") == &Value::Str(string.clone()));
        }
    }
}

/// It is unpacked as it arrives: nobody waits for the rest of what is damaged.
#[test]
fn damage_in_a_long_compressed_string_is_found_where_it_is() {
    let (mut file, _) = of_a_packed_string(10_000);
    let (at, end) = (file.len() / 2, file.len() / 2 + 64);
    // A copy from farther back than there is anything.
    let start = file.windows(4).position(|four| four == b"long").unwrap() + 16;
    file[start..start + 64].fill(0xFF);
    let error = read(&file[..at], 100, Some(file.len() as u64)).unwrap_err();
    assert_eq!(
        error.kind,
        RdbErrorKind::Corrupt("Invalid LZF compressed string")
    );
    assert!(error.offset < at as u64, "{}", error.offset);
    // More than was said, or less.
    let (mut file, string) = of_a_packed_string(10_000);
    let length = (string.len() as u32).to_be_bytes();
    let said = file.windows(4).position(|four| four == length).unwrap();
    for other in [string.len() as u32 - 1, string.len() as u32 + 1] {
        file[said..said + 4].copy_from_slice(&other.to_be_bytes());
        let error = read(&file, 100, Some(file.len() as u64)).unwrap_err();
        assert_eq!(
            error.kind,
            RdbErrorKind::Corrupt("Invalid LZF compressed string")
        );
    }
    // Cut short.
    let (file, _) = of_a_packed_string(10_000);
    let error = read(&file[..end], 100, None).unwrap_err();
    assert_eq!(
        (error.kind, error.offset),
        (RdbErrorKind::ShortRead("a value"), end as u64)
    );
}

#[test]
fn a_snapshot_by_redis_is_read() {
    let events = read(VALUES, VALUES.len(), Some(VALUES.len() as u64)).unwrap();
    assert_eq!(keys(&events).len(), 25);
    let numbers = [
        0,
        -1,
        127,
        128,
        -128,
        -129,
        32767,
        32768,
        -32769,
        2147483647,
        -2147483648,
    ];
    for number in numbers {
        assert_eq!(
            value(&events, 0, &format!("int:{number}")),
            &Value::Int(number)
        );
    }
    assert_eq!(value(&events, 0, "int:2147483648"), &text("2147483648"));
    assert_eq!(
        value(&events, 0, "int:9223372036854775807"),
        &text("9223372036854775807")
    );
    assert_eq!(value(&events, 0, "text"), &text("plain text"));
    assert_eq!(value(&events, 0, "empty"), &text(""));
    assert_eq!(value(&events, 0, "12345"), &text("an integer key"));
    assert_eq!(
        value(&events, 0, "compressible"),
        &text(&"abcdefgh".repeat(100))
    );
    let long: String = (1..=4000).map(|number| format!("{number} ")).collect();
    assert_eq!(value(&events, 0, "long"), &text(&long));
    assert_eq!(
        value(&events, 0, "binary"),
        &Value::Str(b"a\0b\xff\r\n".to_vec())
    );
    match keys(&events)[&(0, "expires".into())] {
        Event::Key {
            expire_ms,
            idle_s: None,
            frequency: None,
            value,
            ..
        } => {
            assert_eq!(
                (*expire_ms, value),
                (Some(4_102_444_800_123), &text("soon"))
            );
        }
        other => panic!("{other:?}"),
    }
    match keys(&events)[&(9, "other".into())] {
        Event::Key {
            expire_ms: Some(4_102_444_800_456),
            value: Value::HashListpack(_),
            ..
        } => {}
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(value(&events, 0, "small"), Value::HashListpack(blob) if blob[4..6] == [8, 0])
    );
    let Value::Hash(pairs) = value(&events, 0, "wide") else {
        panic!()
    };
    let pairs: BTreeMap<_, _> = pairs.iter().cloned().collect();
    let expected =
        [("f".repeat(65), "value"), ("42".into(), "43")].map(|(f, v)| (f.into_bytes(), v.into()));
    assert_eq!(pairs, BTreeMap::from(expected));
    let Value::Hash(pairs) = value(&events, 0, "table") else {
        panic!()
    };
    assert_eq!(pairs.len(), 600);
    assert!(
        pairs
            .iter()
            .all(|(f, v)| f.starts_with(b"field:") && v[6..] == f[6..])
    );
    assert!(events.contains(&Event::SelectDb(9)));
    assert!(events.contains(&Event::ResizeDb {
        db: 9,
        keys: 2,
        expires: 1
    }));
    assert!(events.contains(&Event::Aux {
        name: "redis-ver".into(),
        value: "7.0.15".into()
    }));
    assert!(events.iter().any(
        |event| matches!(event, Event::Function(code) if code.starts_with(b"#!lua name=mylib"))
    ));
    assert_eq!(events.last(), Some(&Event::End { checked: true }));
}

#[test]
fn access_times_and_frequencies_are_read() {
    let events = read(LRU, LRU.len(), None).unwrap();
    for event in keys(&events).values() {
        assert!(matches!(
            event,
            Event::Key {
                idle_s: Some(0..100),
                frequency: None,
                ..
            }
        ));
    }
    let events = read(LFU, LFU.len(), None).unwrap();
    assert!(matches!(
        keys(&events)[&(0, "a".into())],
        Event::Key {
            idle_s: None,
            frequency: Some(1..10),
            ..
        }
    ));
}

#[test]
fn a_snapshot_without_checksum_is_read() {
    let events = read(UNCHECKED, UNCHECKED.len(), None).unwrap();
    assert_eq!(
        value(&events, 0, "compressible"),
        &text(&"abcdefgh".repeat(100))
    );
    assert_eq!(events.last(), Some(&Event::End { checked: false }));
}

#[test]
fn how_it_is_fed_makes_no_difference() {
    let whole = read(VALUES, VALUES.len(), None).unwrap();
    for step in [1, 2, 3, 7, 100, 4096] {
        assert_eq!(read(VALUES, step, None).unwrap(), whole, "{step}");
    }
    for split in 0..LRU.len() {
        let mut decoder = Decoder::new(None, true);
        let mut events = Vec::new();
        for piece in [&LRU[..split], &LRU[split..]] {
            decoder.feed(piece);
            while let event @ (Event::Aux { .. }
            | Event::SelectDb(_)
            | Event::ResizeDb { .. }
            | Event::Key { .. }
            | Event::End { .. }) = decoder.next_event().unwrap()
            {
                events.push(event);
            }
        }
        assert_eq!(events, read(LRU, LRU.len(), None).unwrap());
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for index in 0..LRU.len() {
        for bit in 0..8 {
            let mut file = LRU.to_vec();
            file[index] ^= 1 << bit;
            assert!(
                read(&file, file.len(), Some(file.len() as u64)).is_err(),
                "byte {index} bit {bit}"
            );
        }
    }
}

#[test]
fn every_cut_is_a_short_read_at_its_place() {
    for cut in 0..LRU.len() {
        let error = read(&LRU[..cut], LRU.len(), None).unwrap_err();
        assert!(
            matches!(error.kind, RdbErrorKind::ShortRead(_)),
            "{cut}: {error}"
        );
        assert_eq!(error.offset, cut as u64);
        // Where the size of the file is known, nobody waits for what cannot come.
        let error = read(&LRU[..cut], LRU.len(), Some(cut as u64)).unwrap_err();
        assert!(
            matches!(error.kind, RdbErrorKind::ShortRead(_)),
            "{cut}: {error}"
        );
    }
}

#[test]
fn what_stands_behind_the_end_is_kept() {
    let mut decoder = Decoder::new(None, true);
    decoder.feed(LRU);
    decoder.feed(b"*1\r\n");
    while decoder.next_event().unwrap() != (Event::End { checked: true }) {}
    assert_eq!(decoder.next_event(), Ok(Event::NeedMore));
    assert_eq!(
        (decoder.offset(), decoder.take_rest()),
        (LRU.len() as u64, b"*1\r\n".to_vec())
    );
}

#[test]
fn foreign_files_and_versions_are_refused_in_the_words_of_redis() {
    let text = |file: &[u8]| read(file, 1, None).unwrap_err().kind;
    assert_eq!(
        format!("{}", text(b"RADISH")),
        "Wrong signature trying to load DB from file"
    );
    assert_eq!(
        format!("{}", text(b"REDIS0013")),
        "Can't handle RDB format version 13"
    );
    assert_eq!(
        format!("{}", text(b"REDIS0000")),
        "Can't handle RDB format version 0"
    );
    assert_eq!(
        format!("{}", text(b"REDIS0010\x64")),
        "Unknown RDB encoding type 100"
    );
    assert_eq!(
        text(b"REDIS0010\x07"),
        RdbErrorKind::Unsupported {
            number: 7,
            name: "module"
        }
    );
    let error = read(b"REDIS0010\xfe\x03\x64", 1, None).unwrap_err();
    assert_eq!(error.offset, 11, "the type byte's place");
}

#[test]
fn old_forms_of_hashes_are_read() {
    let zipmap = b"\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff";
    let mut file = b"REDIS0003\xfe\x00\xfd\x01\x00\x00\x00\x09\x01m".to_vec();
    file.push(zipmap.len() as u8);
    file.extend_from_slice(zipmap);
    file.push(0xFF);
    let expected = vec![
        (b"foo".to_vec(), b"bar".to_vec()),
        (b"hello".to_vec(), b"world".to_vec()),
    ];
    let events = read(&file, 1, Some(file.len() as u64)).unwrap();
    let (key, value) = (b"m".to_vec(), Value::Hash(expected));
    let key = Event::Key {
        db: 0,
        key,
        expire_ms: Some(1000),
        idle_s: None,
        frequency: None,
        value,
    };
    assert_eq!(
        events,
        [Event::SelectDb(0), key, Event::End { checked: false }]
    );
}

#[test]
fn an_attribute_belongs_to_one_key() {
    let mut file = b"REDIS0004".to_vec();
    file.extend_from_slice(b"\xfc\x01\0\0\0\0\0\0\0\xf8\x05\xf9\x07\x00\x01a\x01A");
    file.extend_from_slice(b"\xfc\x01\0\0\0\0\0\0\0\x04\x01e\x00\x00\x01b\x01B\xff");
    let events = read(&file, 3, None).unwrap();
    let event = |key: &str, expire_ms, idle_s, frequency, value: &str| {
        let (key, value) = (key.into(), Value::Str(value.into()));
        Event::Key {
            db: 0,
            key,
            expire_ms,
            idle_s,
            frequency,
            value,
        }
    };
    let expected = [
        event("a", Some(1), Some(5), Some(7), "A"),
        Event::EmptyKey { key: b"e".to_vec() },
        event("b", None, None, None, "B"),
        Event::End { checked: false },
    ];
    assert_eq!(events, expected);
}

#[test]
fn lengths_are_believed_only_as_bytes_arrive() {
    // A string of 2^39 bytes, a hash of 2^63 pairs: neither may be allocated for.
    let mut file = b"REDIS0010\x00\x01k\x81\x00\x00\x00\x80\x00\x00\x00\x00".to_vec();
    file.extend_from_slice(&[b'x'; 100_000]);
    let error = read(&file, 1000, None).unwrap_err();
    assert!(
        matches!(error.kind, RdbErrorKind::ShortRead("a value")),
        "{error}"
    );
    let file = b"REDIS0010\x04\x01k\x81\x80\x00\x00\x00\x00\x00\x00\x00\x01a\x01b";
    let error = read(file, 1000, None).unwrap_err();
    assert!(
        matches!(error.kind, RdbErrorKind::ShortRead("the fields of a hash")),
        "{error}"
    );
    let file = b"REDIS0010\x00\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff";
    let error = read(file, 1000, None).unwrap_err();
    assert!(matches!(error.kind, RdbErrorKind::Corrupt(_)), "{error}");
}

/// Where a small form may have that many, what was saved must be read again.
#[test]
fn a_listpack_of_more_entries_than_its_head_can_say() {
    let pack = |count: u32| {
        let mut list = Listpack::new();
        let fields = (0..count).flat_map(|i| [i.into(), 1]);
        list.append_with(0, |w| fields.for_each(|n| w.int(n)));
        Pack::from_listpack(list.bytes()).unwrap()
    };
    for count in [32_767, 32_768, 40_000] {
        let pack = pack(count);
        let payload = dump::dump(ValueView::HashPack(&pack), true);
        let Ok(Value::HashListpack(bytes)) = dump::restore(&payload) else {
            panic!("{count} fields are refused");
        };
        let again = Pack::from_listpack(&bytes).unwrap();
        assert!(again.iter().eq(pack.iter()));
        assert_eq!(Hash::from_pack(again).unwrap().len(), count as usize);
    }
    // Nothing at all, with a head that says many.
    let empty = b"\x10\x07\x07\0\0\0\xff\xff\xff\x0a\0\0\0\0\0\0\0\0\0";
    assert_eq!(dump::restore(empty), Err(dump::DumpError::Format));
}

#[test]
fn dump_payloads_of_redis_are_verified_and_read() {
    // DUMP of `SET k abc` and of `HSET h a 1` by Redis 7.0.15.
    let string = b"\x00\x03abc\x0a\x00\xd9\xac0=Ar\xa2\xe2";
    assert_eq!(dump::restore(string), Ok(Value::Str(b"abc".to_vec())));
    assert_eq!(dump::dump(ValueView::Str(b"abc"), true), string);
    let hash = b"\x10\x0c\x0c\x00\x00\x00\x02\x00\x81a\x02\x01\x01\xff\x0a\x00\x84\xa6\x93\xe8\xaa\x17\xe4\xdb";
    let listpack = &hash[2..14];
    let pack = Pack::from_listpack(listpack).unwrap();
    assert_eq!(dump::dump(ValueView::HashPack(&pack), true), hash);
    assert_eq!(
        dump::restore(hash),
        Ok(Value::HashListpack(listpack.to_vec()))
    );
    for index in 0..string.len() {
        let mut bad = string.to_vec();
        bad[index] ^= 1;
        assert_eq!(dump::restore(&bad), Err(dump::DumpError::Footer));
        assert!(dump::restore(&string[..index]).is_err());
    }
    let pairs = [(b"f".as_slice(), b"v".as_slice())];
    let payload = dump::dump_hash(1, pairs.into_iter(), true);
    assert_eq!(
        dump::restore(&payload),
        Ok(Value::Hash(vec![(b"f".to_vec(), b"v".to_vec())]))
    );
    // A right footer over a value with something behind it.
    let mut long = b"\x00\x03abc!\x0a\x00".to_vec();
    long.extend_from_slice(&[0; 8]);
    assert_eq!(dump::restore(&long), Err(dump::DumpError::Format));
}

#[derive(Clone, Debug)]
enum Sample {
    Str(Vec<u8>),
    Int(i64),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
}

type SampleKey = (Vec<u8>, Option<u64>, Option<u64>, Option<u8>, Sample);

fn bytes_strategy() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        any::<i32>().prop_map(|number| format!("{number}").into_bytes()),
        (any::<u8>(), 0usize..200_000).prop_map(|(byte, count)| vec![byte; count]),
        (any::<u64>(), 60_000usize..140_000).prop_map(|(seed, count)| {
            let mut word = seed;
            let next = || {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (word >> 56) as u8
            };
            core::iter::repeat_with(next).take(count).collect()
        }),
    ]
}

fn key_strategy() -> impl Strategy<Value = SampleKey> {
    let pair = (
        proptest::collection::vec(any::<u8>(), 0..30),
        proptest::collection::vec(any::<u8>(), 0..90),
    );
    let value = prop_oneof![
        bytes_strategy().prop_map(Sample::Str),
        any::<i64>().prop_map(Sample::Int),
        proptest::collection::vec(pair, 1..50).prop_map(Sample::Hash),
    ];
    let expire = proptest::option::of(0..i64::MAX as u64);
    (
        proptest::collection::vec(any::<u8>(), 0..30),
        expire,
        any::<Option<u64>>(),
        any::<Option<u8>>(),
        value,
    )
}

/// Writes the keys, taking a piece after each `stride` of them.
fn write(samples: &[SampleKey], options: Options, stride: usize) -> Vec<Bytes> {
    let mut encoder = Encoder::new(options);
    let header = Header {
        redis_version: "7.0.15",
        ctime_s: 1,
        used_memory: 2,
        replication: Some(ReplicationPoint {
            selected_db: 0,
            id: "0123456789012345678901234567890123456789",
            offset: 7,
        }),
        aof_base: false,
    };
    let mut pieces = Vec::new();
    encoder.begin(&header);
    encoder.select_db(3, samples.len() as u64, 0);
    for (index, (key, expire_ms, idle_s, frequency, value)) in samples.iter().enumerate() {
        let meta = KeyMeta {
            expire_ms: *expire_ms,
            idle_s: *idle_s,
            frequency: *frequency,
        };
        match value {
            Sample::Str(bytes) => encoder.key(key, &meta, ValueView::Str(bytes)),
            Sample::Int(number) => encoder.key(key, &meta, ValueView::Int(*number)),
            Sample::Hash(pairs) => {
                encoder.hash(key, &meta, pairs.len() as u64);
                for (field, value) in pairs {
                    encoder.pair(field, value);
                }
            }
        }
        if index % stride == 0 {
            pieces.push(encoder.take());
        }
    }
    encoder.end();
    assert_eq!(
        encoder.written(),
        pieces.iter().map(Bytes::len).sum::<usize>() as u64 + encoder.pending() as u64
    );
    pieces.push(encoder.take());
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read(samples in proptest::collection::vec(key_strategy(), 0..8),
                               compress: bool, checksum: bool, stride in 1usize..4, step in 1usize..70_000) {
        let file = write(&samples, Options { compress, checksum }, stride).concat();
        let events = read(&file, step, Some(file.len() as u64)).unwrap();
        prop_assert_eq!(events.last(), Some(&Event::End { checked: checksum }));
        let mut found = events.into_iter().filter(|event| matches!(event, Event::Key { .. }));
        for (key, expire_ms, idle_s, frequency, sample) in samples {
            let value = match sample {
                Sample::Str(bytes) => Value::Str(bytes),
                Sample::Int(number) => Value::Int(number),
                Sample::Hash(pairs) => Value::Hash(pairs),
            };
            let mut event = found.next().unwrap();
            // A string that looks like a number is stored as one, and a wide number as a string.
            if let Event::Key { value: seen, .. } = &mut event {
                match (&value, &seen) {
                    (Value::Str(_), Value::Int(number)) => *seen = Value::Str(format!("{number}").into_bytes()),
                    (Value::Int(number), Value::Str(bytes)) if bytes == format!("{number}").as_bytes() => *seen = value.clone(),
                    _ => {}
                }
            }
            prop_assert_eq!(event, Event::Key { db: 3, key, expire_ms, idle_s, frequency, value });
        }
        prop_assert_eq!(found.next(), None);
    }

    #[test]
    fn damage_never_panics_nor_passes(hits in proptest::collection::vec((0..VALUES.len(), 1u8..), 1..4), step in 1usize..30_000) {
        let mut file = VALUES.to_vec();
        for (index, mask) in hits {
            file[index] ^= mask;
        }
        if file != VALUES {
            prop_assert!(read(&file, step, Some(file.len() as u64)).is_err());
            let _ = read(&file, step, None);
        }
    }

    #[test]
    fn any_bytes_are_answered(tail in proptest::collection::vec(any::<u8>(), 0..300), version in 1u32..12, step in 1usize..300) {
        let mut file = format!("REDIS{version:04}").into_bytes();
        file.extend_from_slice(&tail);
        let _ = read(&file, step, None);
        let _ = dump::restore(&tail);
        let _ = Decoder::object(&tail, super::Origin::Redis).next_event();
        let _ = Decoder::object(&tail, super::Origin::Valkey).next_event();
    }
}

#[test]
fn sorted_sets_in_all_their_forms() {
    let restored = |body: &[u8]| dump::restore(&[body, &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
    let members = |list: &[(&str, f64)]| {
        let list = list
            .iter()
            .map(|(member, score)| (Vec::from(*member), *score));
        Ok(Value::ZSet(list.collect()))
    };
    let text = b"\x03\x04\x01a\x031.5\x01b\xfe\x01c\xff\xc0\x07\x02-3";
    let scores = [
        ("a", 1.5),
        ("b", f64::INFINITY),
        ("c", f64::NEG_INFINITY),
        ("7", -3.0),
    ];
    assert_eq!(restored(text), members(&scores));
    let mut binary = b"\x05\x04".to_vec();
    for (member, score) in [("a", 1.5), ("b", f64::INFINITY)] {
        binary.push(1);
        binary.extend_from_slice(member.as_bytes());
        binary.extend_from_slice(&score.to_le_bytes());
    }
    binary[1] = 2;
    assert_eq!(restored(&binary), members(&scores[..2]));
    let ziplist = b"\x0c\x14\x14\0\0\0\x10\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\xff";
    let mut whole = ziplist.to_vec();
    whole.truncate(whole.len() - 1);
    whole.extend_from_slice(b"\xf3\xff");
    whole[1] = (whole.len() - 2) as u8;
    whole[2] = (whole.len() - 2) as u8;
    assert_eq!(restored(&whole), members(&[("a", 1.0), ("b", 2.0)]));
    let listpack = b"\x11\x0c\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff";
    assert_eq!(
        restored(listpack),
        Ok(Value::ZSetListpack(listpack[2..].to_vec()))
    );
    for bad in [
        &b"\x03\x01\x01a\xfd"[..],
        b"\x03\x01\x01a\x01x",
        b"\x03\x01\x01a\x00",
        b"\x03\x02\x01a\xff",
        b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f",
        b"\x05\x01\x01a\0\0\0\0\0\0\xf0",
        b"\x11\x09\x09\0\0\0\x01\0\x81a\x02\xff",
        &ziplist[..],
    ] {
        assert!(restored(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn sets_and_fields_with_times_are_dumped_and_read() {
    use crate::value::{hash, intset::IntSet, set};
    // DUMP of `SADD s 1 2 300000` and of `SADD t abc` by Redis 7.0.15.
    let integers = b"\x0b\x14\x04\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\xe0\x93\x04\0\n\0t/3HHlj9";
    let table = b"\x02\x01\x03abc\n\0\xa3\xcb\xecL\x8c/1\xf0";
    let limits = set::Limits {
        max_intset: 512,
        max_listpack: 128,
        max_value: 64,
        hash_key: (1, 2),
    };
    let mut set = set::Set::new();
    for member in ["1", "2", "300000"] {
        set.insert(member.as_bytes(), &limits);
    }
    assert_eq!(dump::dump(ValueView::Set(&set), true), integers);
    let blob = IntSet::from_bytes(integers[2..22].to_vec()).unwrap();
    assert_eq!(set.as_intset(), Some(&blob));
    assert_eq!(
        dump::restore(integers),
        Ok(Value::SetIntset(blob.bytes().to_vec()))
    );
    let mut set = set::Set::new();
    set.insert(b"abc", &limits);
    assert_eq!(set.encoding(), "listpack");
    assert_eq!(dump::dump(ValueView::Set(&set), true), table);
    assert_eq!(dump::restore(table), Ok(Value::Set(vec![b"abc".to_vec()])));
    // A set in a listpack, as Redis 7.2 writes it; a hash with times, as 7.4 does.
    let read = |body: &[u8], version: u8| dump::restore(&[body, &[version, 0], &[0; 8]].concat());
    let listpack = b"\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff";
    assert_eq!(
        read(&[b"\x14\x0c", &listpack[..]].concat(), 11),
        Ok(Value::SetListpack(listpack.to_vec()))
    );
    let pair = |field: &str, time| (field.as_bytes().to_vec(), b"v".to_vec(), time);
    let pairs = vec![pair("a", Some(1004)), pair("b", None)];
    assert_eq!(
        read(
            b"\x18\xe8\x03\0\0\0\0\0\0\x02\x05\x01a\x01v\0\x01b\x01v",
            12
        ),
        Ok(Value::HashTimed(pairs.clone()))
    );
    assert_eq!(
        read(b"\x16\x02\x43\xec\x01a\x01v\0\x01b\x01v", 12),
        Ok(Value::HashTimed(pairs.clone()))
    );
    assert!(read(b"\x18\xe8\x03\0\0\0\0\xff\0\x01\x05\x01a\x01v", 12).is_err());
    let limits = hash::Limits {
        max_entries: 2,
        max_value: 64,
        hash_key: (1, 2),
    };
    let mut small = hash::Hash::new();
    for (field, value, time) in &pairs {
        small.set(field, value, &limits);
        small.set_time(field, *time, limits.hash_key);
    }
    let payload = dump::dump(ValueView::HashTimed(&small), false);
    assert_eq!((payload[0], payload[payload.len() - 10]), (25, 12));
    assert_eq!(dump::restore(&payload), Ok(Value::HashTimed(pairs)));
    small.set(b"c", b"w", &limits);
    let payload = dump::dump(ValueView::HashTimed(&small), false);
    assert_eq!(
        (payload[0], &payload[1..9]),
        (24, &b"\xec\x03\0\0\0\0\0\0"[..])
    );
    let Ok(Value::HashTimed(mut read)) = dump::restore(&payload) else {
        panic!("not read");
    };
    read.sort();
    assert_eq!(read[0], pair("a", Some(1004)));
    assert_eq!(read.len(), 3);
    for cut in 0..payload.len() - 10 {
        assert!(dump::restore(&[&payload[..cut], &[12, 0], &[0; 8]].concat()).is_err());
    }
}
