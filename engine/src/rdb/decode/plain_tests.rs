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
            step == 1 || plain > 300,
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
