//! Streams of Redis, of all three types, and damaged ones.

use super::*;
use crate::rdb::dump::{DumpError, dump, restore};
use crate::rdb::{Options, Value, ValueView};
use crate::value::stream::Limits;
use alloc::format;
use alloc::vec;

/// DUMP by Redis 7.0.15, after:
/// ```text
/// CONFIG SET rdbcompression no
/// CONFIG SET stream-node-max-entries 3
/// XADD d 1-0 field one
/// XADD d 2-0 field 1000
/// XADD d 2-1 other x field y
/// XADD d 3-0 field one
/// XDEL d 3-0
/// XGROUP CREATE d g 0 ENTRIESREAD 0
/// XGROUP CREATE d h 0-5
/// XREADGROUP GROUP g ann COUNT 1 STREAMS d >
/// XREADGROUP GROUP g bob COUNT 1 STREAMS d >
/// XREADGROUP GROUP g bob STREAMS d 0
/// XGROUP CREATECONSUMER d h 42
/// ```
const PAYLOAD: &[u8] =
    b"\x13\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00@LL\x00\x00\x00\
    \x18\x00\x03\x01\x00\x01\x01\x01\x85field\x06\x00\x01\x02\x01\x00\x01\x00\x01\x83one\x04\x04\
    \x01\x02\x01\x01\x01\x00\x01\xc3\xe8\x02\x04\x01\x00\x01\x01\x01\x01\x01\x02\x01\x85other\
    \x06\x81x\x02\x85field\x06\x81y\x02\x08\x01\xff\x03\x03\x00\x01\x00\x03\x00\x04\x02\x01g\x02\
    \x00\x81\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\
    \x00\x00\x00\x00N\x99\x93\xfe\xa1\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\
    \x00\x00\x00\x00\x00\x00N\x99\x93\xfe\xa1\x01\x00\x00\x02\x02\x03annN\x99\x93\xfe\xa1\x01\
    \x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x03bobN\x99\x93\
    \xfe\xa1\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01\
    h\x00\x05\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01\xc0*N\x99\x93\xfe\xa1\x01\x00\x00\x00\
    \x0a\x00FxaX\xf0\xbb\xb3\xee";

fn stream_of(payload: &[u8]) -> Stream {
    match restore(payload) {
        Ok(Value::Stream(stream)) => *stream,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_of_redis_is_read_and_written_as_it_was() {
    let stream = stream_of(PAYLOAD);
    stream.invariants();
    assert_eq!(dump(ValueView::Stream(&stream), false), PAYLOAD);
    assert_eq!((stream.entries.len(), stream.groups.len()), (3, 2));
    let group = stream.groups.get(b"g").unwrap();
    assert_eq!((group.pending().len(), group.consumers().len()), (2, 2));
    assert_eq!(
        group
            .pending()
            .get(&StreamId::new(2, 0))
            .unwrap()
            .deliveries,
        2
    );
    let mut copy = stream.clone();
    copy.groups.remove(b"h");
    assert_ne!(copy, stream);
}

/// A body behind a footer that asks for no check.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body
}

/// The same stream as other versions of Redis write it: what they do not know is left out, what is newer
/// is put in.
fn of_kind(kind: u8) -> Vec<u8> {
    let stream = stream_of(PAYLOAD);
    let mut out = Encoder::new(Options {
        compress: false,
        checksum: false,
    });
    let id = |out: &mut Encoder, id: StreamId| {
        out.length(id.ms);
        out.length(id.seq);
    };
    out.raw(&[kind]);
    let entries = &stream.entries;
    out.length(entries.block_count() as u64);
    for (base, block) in entries.blocks() {
        out.string(&base.to_bytes());
        out.string(block.bytes());
    }
    out.length(entries.len());
    id(&mut out, entries.last_id);
    if kind > kind::STREAM {
        id(&mut out, entries.first_id);
        id(&mut out, entries.max_deleted_id);
        out.length(entries.entries_added);
    }
    out.length(stream.groups.len() as u64);
    for (name, group) in stream.groups.iter() {
        out.string(name);
        id(&mut out, group.last_id);
        if kind > kind::STREAM {
            out.length(group.entries_read as u64);
        }
        out.length(group.pending().len() as u64);
        for (id, pending) in group.pending().iter() {
            out.raw(&id.to_bytes());
            out.raw(&pending.delivered_ms.to_le_bytes());
            out.length(pending.deliveries);
        }
        out.length(group.consumers().len() as u64);
        for (name, consumer) in group.consumers().iter() {
            out.string(name);
            out.raw(&consumer.seen_ms.to_le_bytes());
            if kind == kind::STREAM_3 {
                out.raw(&(-1i64).to_le_bytes());
            }
            out.length(consumer.pending().len() as u64);
            consumer
                .pending()
                .iter()
                .for_each(|(id, ())| out.raw(&id.to_bytes()));
        }
    }
    sealed(out.take().to_vec())
}

#[test]
fn older_and_newer_types_are_read() {
    let stream = stream_of(PAYLOAD);
    assert_eq!(stream_of(&of_kind(kind::STREAM_2)), stream);
    assert_eq!(stream_of(&of_kind(kind::STREAM_3)), stream);
    let old = stream_of(&of_kind(kind::STREAM));
    old.invariants();
    assert_eq!(old.entries.entries_added, 3);
    assert_eq!(old.entries.max_deleted_id, StreamId::MIN);
    assert_eq!(old.entries.first_id, stream.entries.first_id);
    // Where the group stands among the entries is worked out where that can be.
    assert_eq!(old.groups.get(b"h").unwrap().entries_read, 0);
}

#[test]
fn large_streams_are_written_in_steps() {
    let limits = Limits {
        max_bytes: 200,
        max_entries: 10,
    };
    let mut stream = Stream::new();
    for ms in 1..500 {
        let text = format!("value {ms}");
        (stream.entries).append(StreamId::new(ms, 0), &[b"f", text.as_bytes()], &limits);
    }
    for name in ["a", "b", "c"] {
        let mut group = Group::new(StreamId::new(5, 0), 5);
        for consumer in ["x", "y", "z"] {
            let owner = group.add_consumer(consumer.as_bytes(), 7).unwrap();
            for ms in 1..100 {
                let pending = Pending {
                    delivered_ms: ms,
                    deliveries: 1,
                    owner: owner.clone(),
                };
                group.assign(StreamId::new(ms as u64, consumer.len() as u64), pending);
            }
        }
        stream.groups.add(name.as_bytes(), group);
    }
    let whole = dump(ValueView::Stream(&stream), true);
    for step in [1, 100, 5000] {
        let mut out = Encoder::new(Options {
            compress: true,
            checksum: false,
        });
        out.raw(&[kind::STREAM_2]);
        let (mut at, mut steps, mut bytes) = (StreamPosition::default(), 0, vec![]);
        loop {
            let done = at.step(&stream, &mut out, step);
            let piece = out.take();
            assert!(piece.len() < step + 600, "{}", piece.len());
            bytes.extend_from_slice(&piece);
            steps += 1;
            if done {
                break;
            }
        }
        assert_eq!(bytes, whole[..whole.len() - 10]);
        assert!(steps > whole.len() / (step + 600));
    }
    assert_eq!(stream_of(&whole), stream);
}

#[test]
fn damage_is_refused_or_harmless() {
    let body = &PAYLOAD[..PAYLOAD.len() - 10];
    let mut refused = 0;
    for at in 1..body.len() {
        for byte in [0, 1, 2, 0x7F, 0x80, 0x81, 0xC3, 0xFF] {
            let mut bad = body.to_vec();
            bad[at] = byte;
            match restore(&sealed(bad)) {
                Ok(Value::Stream(stream)) => stream.invariants(),
                Ok(other) => panic!("{other:?}"),
                Err(DumpError::Format) => refused += 1,
                Err(DumpError::Footer) => panic!("the footer is right"),
            }
        }
        assert!(restore(&sealed(body[..at].to_vec())).is_err());
    }
    assert!(refused > body.len());
}
