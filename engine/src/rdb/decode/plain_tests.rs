//! Keys given many at once against the same given one by one.

use super::super::super::{Encoder, Event, Header, KeyMeta, Options, RdbError, Value, ValueView};
use super::{Decoder, PlainValue};
use alloc::format;
use alloc::vec::Vec;

/// All events; keys with short strings as they come many at once.
fn read(file: &[u8], step: usize, many: bool) -> (Vec<Event>, Option<RdbError>, usize) {
    let mut decoder = Decoder::new(Some(file.len() as u64), true);
    let (mut events, mut plain) = (Vec::new(), 0);
    for piece in file.chunks(step) {
        decoder.feed(piece);
        loop {
            if many {
                let keys = decoder.plain_keys();
                plain += keys.len();
                events.extend(keys.iter().map(|key| Event::Key {
                    db: key.db,
                    key: key.key.to_vec(),
                    expire_ms: key.expire_ms,
                    idle_s: key.idle_s,
                    frequency: key.frequency,
                    value: match key.value {
                        PlainValue::Str(bytes) => Value::Str(bytes.to_vec()),
                        PlainValue::Int(n) => Value::Int(n),
                    },
                }));
            }
            match decoder.next_event() {
                Ok(Event::NeedMore) => break,
                Ok(event) => events.push(event),
                Err(error) => return (events, Some(error), plain),
            }
        }
    }
    (events, None, plain)
}

fn snapshot() -> Vec<u8> {
    let mut encoder = Encoder::new(Options::default());
    encoder.begin(&Header {
        redis_version: "7.0.15",
        ctime_s: 1,
        used_memory: 1,
        replication: None,
        aof_base: false,
    });
    encoder.select_db(3, 400, 100);
    for n in 0..400u64 {
        let key = format!("key:{n}");
        let meta = KeyMeta {
            expire_ms: n.is_multiple_of(4).then_some(n * 1_000_000),
            idle_s: n.is_multiple_of(3).then_some(n),
            frequency: None,
        };
        let long = "x".repeat(70_000);
        let packed = "ab".repeat(200);
        let value = match n % 100 {
            17 => ValueView::Str(long.as_bytes()),
            18 => ValueView::Str(packed.as_bytes()),
            19 => ValueView::Str(b""),
            50.. => ValueView::Int(n as i64 * 77),
            _ => ValueView::Str(key.as_bytes()),
        };
        encoder.key(key.as_bytes(), &meta, value);
    }
    encoder.end();
    encoder.take().to_vec()
}

#[test]
fn they_are_the_same_however_they_are_fed() {
    let file = snapshot();
    for step in [1, 7, 100, 4096, 1 << 20] {
        let (one, error, _) = read(&file, step, false);
        assert_eq!(
            (error, one.last()),
            (None, Some(&Event::End { checked: true }))
        );
        let (many, error, plain) = read(&file, step, true);
        assert_eq!((error, &many), (None, &one), "{step}");
        assert!(
            step < 4096 || plain > 300,
            "{plain} at once in steps of {step}"
        );
    }
}

#[test]
fn damage_is_found_as_well() {
    let file = snapshot();
    for at in (0..file.len()).step_by(977) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x40;
        let (one, error, _) = read(&damaged, 5000, false);
        assert!(error.is_some() || one.last() != Some(&Event::End { checked: true }));
        let (many, same, _) = read(&damaged, 5000, true);
        assert_eq!((many, same), (one, error), "{at}");
    }
}

#[test]
fn large_collections_come_in_parts_if_asked_for() {
    let mut encoder = Encoder::new(Options::default());
    let meta = KeyMeta::default();
    let elements: Vec<Vec<u8>> = (0..1024u32)
        .map(|n| format!("element {n}").into())
        .collect();
    encoder.set(b"set", &meta, 1024);
    elements.iter().for_each(|element| encoder.element(element));
    encoder.zset(b"zset", &meta, 3);
    (0..3).for_each(|n| encoder.member(&elements[n], n as f64));
    let bytes = encoder.take();
    let mut decoder = Decoder::items(&bytes).in_parts();
    let (mut seen, mut parts) = (Vec::new(), 0);
    while let Event::Part { value, left } = {
        let event = decoder.next_event().unwrap();
        if let Event::Key {
            value: Value::Set(last),
            ..
        } = &event
        {
            assert!(!last.is_empty());
            seen.extend(last.clone());
        }
        event
    } {
        let Value::Set(some) = value else { panic!() };
        parts += 1;
        seen.extend(some);
        assert_eq!(seen.len() as u64 + left, 1024);
    }
    assert_eq!((seen, parts), (elements, 3));
    // A small one comes as a whole.
    let Event::Key {
        value: Value::ZSet(members),
        ..
    } = decoder.next_event().unwrap()
    else {
        panic!();
    };
    assert_eq!(members.len(), 3);
}
