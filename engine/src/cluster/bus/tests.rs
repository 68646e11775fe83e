use super::super::slots::SlotSet;
use super::*;
use alloc::vec;
use proptest::prelude::*;

/// Captured from a Redis 7.0.15 on 127.0.0.1:24001 with the host name node-a.example.com and slots
/// 0-100 and 16383; `golden/` holds the packets as they came.
const MEET: &[u8] = include_bytes!("golden/meet.bin");
const PING: &[u8] = include_bytes!("golden/ping.bin");
const PUBLISH: &[u8] = include_bytes!("golden/publish.bin");
const UPDATE_OF_REDIS: &[u8] = include_bytes!("golden/update.bin");

fn id(c: u8) -> NodeId {
    NodeId::parse(&[c; 40]).unwrap()
}

#[test]
fn packets_of_redis_decode() {
    for (bytes, kind) in [(MEET, Kind::Meet), (PING, Kind::Ping)] {
        let packet = decode(bytes).unwrap();
        assert_eq!(
            packet.header.sender,
            NodeId::parse(b"f534626fffdcc313d5a4c2ea58ca9533124dff00").unwrap()
        );
        assert_eq!(
            (
                packet.header.port,
                packet.header.plain_port,
                packet.header.bus_port
            ),
            (24001, 0, 34001)
        );
        assert_eq!(
            SlotSet::from_bitmap(packet.header.slots).ranges(),
            [(0, 100), (16383, 16383)]
        );
        assert_eq!((packet.header.primary, packet.header.ip), (None, ""));
        assert!(packet.header.flags.any(Flags::MYSELF) && packet.header.flags.any(Flags::PRIMARY));
        assert!(packet.header.down, "most slots have no owner");
        let Body::Ping {
            kind: decoded,
            gossip,
            extensions,
        } = packet.body
        else {
            panic!("not a ping");
        };
        assert_eq!(decoded, kind);
        assert_eq!(extensions, [Extension::Hostname("node-a.example.com")]);
        assert_eq!(gossip.len(), 1);
        let about = &gossip[0];
        assert_eq!(
            (about.ip, about.bus_port - about.port < 10_001),
            ("127.0.0.1", true)
        );
        if kind == Kind::Meet {
            assert_eq!(
                about.node,
                NodeId::parse(b"b1457d4975475c1ea8226aa42dd726cdae057320").unwrap()
            );
            assert_eq!((about.port, about.bus_port), (24002, 34002));
        }
        assert!((1_795_258_628..=1_795_258_629).contains(&gossip[0].pong_received));
    }
    assert_eq!(
        decode(PUBLISH).unwrap().body,
        Body::Publish {
            sharded: false,
            channel: b"chan",
            message: b"hello"
        }
    );
    let Body::Update { node, slots, .. } = decode(UPDATE_OF_REDIS).unwrap().body else {
        panic!("not an update");
    };
    assert_eq!(
        node,
        NodeId::parse(b"f534626fffdcc313d5a4c2ea58ca9533124dff00").unwrap()
    );
    assert_eq!(SlotSet::from_bitmap(slots).len(), 102);
}

#[test]
fn packets_of_redis_encode_to_the_same_bytes() {
    for golden in [MEET, PING, PUBLISH, UPDATE_OF_REDIS] {
        assert_eq!(encode(&decode(golden).unwrap()), golden);
    }
}

fn with(packet: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

#[test]
fn hostile_lengths_are_refused() {
    // More gossip entries than there are.
    assert!(matches!(
        decode(&with(PING, 14, &[0xff, 0xff])),
        Err(FrameError::Length { .. })
    ));
    // An extension longer than the packet, not padded, of length zero; and more of them than there are.
    let extension = HEADER + GOSSIP;
    for (len, padded) in [(0xffff_fff8u32, true), (33, false), (0, false), (4, false)] {
        let refused = decode(&with(PING, extension, &len.to_be_bytes())).unwrap_err();
        assert_eq!(
            matches!(refused, FrameError::Extension { .. }),
            padded,
            "{refused}"
        );
    }
    assert!(matches!(
        decode(&with(PING, 2214, &[0xff, 0xff])),
        Err(FrameError::Extension { .. })
    ));
    // PUBLISH whose lengths overflow together.
    let lens = with(PUBLISH, HEADER, &[0xff; 8]);
    assert!(matches!(decode(&lens), Err(FrameError::Length { .. })));
    // A length below the header's, a foreign signature, another version.
    assert_eq!(frame_len(b"RCmb\0\0\0\x10"), Err(FrameError::Signature));
    assert_eq!(frame_len(b"GET "), Err(FrameError::Signature));
    assert_eq!(frame_len(b"RC"), Ok(None));
    assert_eq!(decode(&with(PING, 8, &[0, 2])), Err(FrameError::Version(2)));
    // A name that would corrupt nodes.conf.
    assert_eq!(decode(&with(PING, 40, b"a\n")), Err(FrameError::Name));
    // An address that would: the entry stays, without it.
    let bytes = with(PING, HEADER + 48, b"1.2\n3");
    let Body::Ping { gossip, .. } = decode(&bytes).unwrap().body else {
        panic!()
    };
    assert_eq!(gossip[0].ip, "");
}

#[test]
fn types_of_the_future_are_unknown_not_errors() {
    let bytes = with(PUBLISH, 12, &[0, 200]);
    assert_eq!(decode(&bytes).unwrap().body, Body::Unknown { number: 200 });
}

fn a_name() -> impl Strategy<Value = NodeId> {
    proptest::sample::select(b"0123456789abcdef".to_vec()).prop_map(id)
}

fn an_address() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "10.0.0.1",
        "::1",
        "2001:db8::ffff:192.168.100.228",
        "node-1.local",
    ])
}

proptest! {
    #[test]
    fn pings_round_trip(
        sender in a_name(), primary in proptest::option::of(a_name()), ip in an_address(),
        numbers in any::<(u16, u16, u16, u64, u64, u64, u16, bool)>(),
        entries in proptest::collection::vec((a_name(), an_address(), any::<(u32, u32, u16, u16, u16, u16)>()), 0..20),
        host in proptest::option::of("[a-z0-9.-]{1,80}"), human in proptest::option::of("[a-z0-9.-]{1,80}"),
        shard in proptest::option::of(a_name()), forgotten in proptest::option::of((a_name(), any::<u64>())),
        slots in proptest::collection::vec(0u16..16384, 0..50),
        which in 0usize..3,
    ) {
        let mut set = SlotSet::new();
        for slot in slots { set.insert(slot); }
        let gossip = entries.iter().map(|(node, ip, n)| Gossip {
            node: *node, ping_sent: n.0, pong_received: n.1, ip, port: n.2, bus_port: n.3,
            plain_port: n.4, flags: Flags(n.5),
        }).collect();
        let mut extensions: Vec<Extension<'_>> = host.iter().map(|h| Extension::Hostname(h)).collect();
        extensions.extend(human.iter().map(|name| Extension::HumanName(name)));
        extensions.extend(shard.map(Extension::Shard));
        extensions.extend(forgotten.map(|(node, ttl_s)| Extension::Forgotten { node, ttl_s }));
        let mut message = MessageFlags(numbers.6 as u8 & 3);
        if !extensions.is_empty() { message.set(MessageFlags::EXT_DATA); }
        let packet = Packet {
            header: Header {
                port: numbers.0, plain_port: numbers.1, bus_port: numbers.2, current_epoch: numbers.3,
                config_epoch: numbers.4, offset: numbers.5, sender, slots: set.bitmap(), primary, ip,
                flags: Flags(numbers.6), down: numbers.7, message,
            },
            body: Body::Ping { kind: Kind::ALL[which], gossip, extensions },
        };
        let bytes = encode(&packet);
        prop_assert_eq!(frame_len(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(decode(&bytes).unwrap(), packet);
    }

    #[test]
    fn damaged_packets_never_panic(
        which in 0usize..4, damage in proptest::collection::vec((0usize..4352, any::<u8>()), 0..12), cut in 0usize..4352,
    ) {
        let mut bytes = [MEET, PING, PUBLISH, UPDATE_OF_REDIS][which].to_vec();
        for (at, byte) in damage {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        let _ = decode(&bytes);
        bytes.truncate(cut.max(8));
        let len = (bytes.len() as u32).to_be_bytes();
        bytes[4..8].copy_from_slice(&len);
        if let Ok(packet) = decode(&bytes) {
            let _ = encode(&packet);
        }
    }
}
