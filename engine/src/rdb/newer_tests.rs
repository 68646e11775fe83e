//! Files and payloads by servers that came after Redis 7.2.

use super::dump::{DumpError, restore};
use super::{Decoder, Event, RdbErrorKind, Value, checksum};
use alloc::vec;
use alloc::vec::Vec;

const VALKEY: &[u8] = include_bytes!("testdata/valkey-9.1-hash-times.rdb");
const CLUSTER: &[u8] = include_bytes!("testdata/redis-8.0-cluster.rdb");

/// The keys' values and the other items that are not facts about the file.
fn items(file: &[u8]) -> Result<Vec<Event>, RdbErrorKind> {
    let mut decoder = Decoder::new(Some(file.len() as u64), true);
    let mut found = Vec::new();
    for byte in file {
        decoder.feed(&[*byte]);
        loop {
            match decoder.next_event().map_err(|error| error.kind)? {
                Event::NeedMore => break,
                Event::Aux { .. } | Event::SelectDb(_) | Event::ResizeDb { .. } => {}
                event => found.push(event),
            }
        }
    }
    Ok(found)
}

fn key(key: &str, value: Value) -> Event {
    Event::Key {
        db: 0,
        key: key.into(),
        expire_ms: None,
        idle_s: None,
        frequency: None,
        value,
    }
}

fn timed_hash() -> Value {
    Value::HashTimed(vec![
        (b"f".to_vec(), b"v".to_vec(), Some(1_796_279_606_939)),
        (b"g".to_vec(), b"w".to_vec(), None),
    ])
}

#[test]
fn a_snapshot_by_valkey_is_read() {
    assert_eq!(
        items(VALKEY),
        Ok(vec![
            key("h", timed_hash()),
            key("k", Value::Str(b"v".to_vec())),
            Event::End { checked: true }
        ])
    );
}

#[test]
fn what_is_said_of_slots_is_passed_over() {
    assert_eq!(
        items(CLUSTER),
        Ok(vec![
            key("k", Value::Str(b"v".to_vec())),
            Event::End { checked: true }
        ])
    );
}

#[test]
fn names_and_versions_of_the_two_go_together() {
    let kind = |head: &[u8]| items(head).unwrap_err();
    assert_eq!(kind(b"VALKEY011"), RdbErrorKind::Version(11));
    assert_eq!(kind(b"VALKEY081"), RdbErrorKind::Version(81));
    assert_eq!(kind(b"REDIS0080"), RdbErrorKind::Version(80));
    assert_eq!(kind(b"VALUE0080"), RdbErrorKind::Signature);
}

/// A payload of `body` as a server of this version seals it.
fn sealed(body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = body.to_vec();
    payload.extend_from_slice(&version.to_le_bytes());
    let sum = checksum(&payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

#[test]
fn a_payload_means_what_its_version_says() {
    let mut body = b"\x16\x02\x01f\x01v".to_vec();
    body.extend_from_slice(&1_796_279_606_939i64.to_le_bytes());
    body.extend_from_slice(b"\x01g\x01w");
    body.extend_from_slice(&(-1i64).to_le_bytes());
    assert_eq!(restore(&sealed(&body, 80)), Ok(timed_hash()));
    // The same type number by a release candidate of Redis 7.4.
    assert_eq!(restore(&sealed(&body, 12)), Err(DumpError::Format));
    assert_eq!(restore(&sealed(&body, 13)), Err(DumpError::Footer));
    assert_eq!(restore(&sealed(&body, 79)), Err(DumpError::Footer));
}

#[test]
fn what_modules_kept_is_passed_over_and_named() {
    let mut file = b"REDIS0010\xf7\x81".to_vec();
    // "ReJSON-RL" in letters of six bits, and version 1.
    let letters = [17u64, 30, 9, 18, 14, 13, 62, 17, 11];
    let number = letters.iter().fold(0, |name, letter| name << 6 | letter) << 10 | 1;
    file.extend_from_slice(&number.to_be_bytes());
    file.extend_from_slice(b"\x02\x01");
    file.extend_from_slice(b"\x01\x05\x02\x40\x80\x03ffff\x04dddddddd\x05\x03str\x05\xc0\x07\x00");
    file.extend_from_slice(b"\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0");
    assert_eq!(
        items(&file),
        Ok(vec![
            Event::ModuleAux {
                module: *b"ReJSON-RL"
            },
            key("k", Value::Str(b"v".to_vec())),
            Event::End { checked: false }
        ])
    );
    // A form that there is none of.
    let at = file
        .windows(5)
        .position(|piece| piece == b"\x04dddd")
        .unwrap();
    file[at] = 6;
    assert!(items(&file).is_err());
}
