//! Packet → bytes.

use super::*;

/// The bytes of a packet. Texts that are too long for their fields are cut; the count and extension
/// fields and the EXT_DATA flag follow from the body.
pub fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let header = &packet.header;
    let mut out = Vec::with_capacity(HEADER + body_len(&packet.body));
    let (number, count, extensions) = match &packet.body {
        Body::Ping {
            kind,
            gossip,
            extensions,
        } => (kind.number(), gossip.len(), extensions.len()),
        Body::Unknown { number } => (*number, 0, 0),
        // Every other body has a kind, and Redis leaves their count at zero.
        body => (body.kind().map_or(0, Kind::number), 0, 0),
    };
    let mut message = header.message;
    if extensions > 0 {
        message.set(MessageFlags::EXT_DATA);
    }
    out.extend_from_slice(b"RCmb");
    put32(&mut out, 0); // the length, set at the end
    put16(&mut out, VERSION);
    put16(&mut out, header.port);
    put16(&mut out, number);
    put16(&mut out, count as u16);
    put64(&mut out, header.current_epoch);
    put64(&mut out, header.config_epoch);
    put64(&mut out, header.offset);
    out.extend_from_slice(header.sender.as_bytes());
    out.extend_from_slice(header.slots);
    match header.primary {
        Some(primary) => out.extend_from_slice(primary.as_bytes()),
        None => out.extend_from_slice(&[0; NodeId::LEN]),
    }
    put_address(&mut out, header.ip);
    put16(&mut out, extensions as u16);
    out.extend_from_slice(&[0; 30]);
    put16(&mut out, header.plain_port);
    put16(&mut out, header.bus_port);
    put16(&mut out, header.flags.0);
    out.extend_from_slice(&[u8::from(header.down), message.0, 0, 0]);
    debug_assert_eq!(out.len(), HEADER);
    put_body(&mut out, &packet.body);
    let len = out.len() as u32;
    out[4..8].copy_from_slice(&len.to_be_bytes());
    out
}

fn body_len(body: &Body<'_>) -> usize {
    match body {
        Body::Ping {
            gossip, extensions, ..
        } => gossip.len() * GOSSIP + extensions.len() * 64,
        Body::Publish {
            channel, message, ..
        } => 8 + channel.len() + message.len(),
        Body::Update { .. } => UPDATE,
        _ => NodeId::LEN,
    }
}

fn put_body(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Ping {
            gossip, extensions, ..
        } => {
            gossip.iter().for_each(|entry| put_gossip(out, entry));
            extensions
                .iter()
                .for_each(|extension| put_extension(out, extension));
        }
        Body::Fail { node } => out.extend_from_slice(node.as_bytes()),
        Body::Publish {
            channel, message, ..
        } => {
            put32(out, channel.len() as u32);
            put32(out, message.len() as u32);
            out.extend_from_slice(channel);
            out.extend_from_slice(message);
        }
        Body::Update {
            config_epoch,
            node,
            slots,
        } => {
            put64(out, *config_epoch);
            out.extend_from_slice(node.as_bytes());
            out.extend_from_slice(*slots);
        }
        Body::Module => out.extend_from_slice(&[0; MODULE]),
        Body::AuthRequest | Body::AuthAck | Body::MfStart | Body::Unknown { .. } => {}
    }
}

fn put_gossip(out: &mut Vec<u8>, entry: &Gossip<'_>) {
    out.extend_from_slice(entry.node.as_bytes());
    put32(out, entry.ping_sent);
    put32(out, entry.pong_received);
    put_address(out, entry.ip);
    put16(out, entry.port);
    put16(out, entry.bus_port);
    put16(out, entry.flags.0);
    put16(out, entry.plain_port);
    put16(out, 0);
}

fn put_extension(out: &mut Vec<u8>, extension: &Extension<'_>) {
    let start = out.len();
    put32(out, 0);
    match extension {
        Extension::Hostname(name) | Extension::HumanName(name) => {
            let human = matches!(extension, Extension::HumanName(_));
            put32(out, u32::from(human) << 16);
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        Extension::Forgotten { node, ttl_s } => {
            put32(out, 2 << 16);
            out.extend_from_slice(node.as_bytes());
            put64(out, *ttl_s);
        }
        Extension::Shard(shard) => {
            put32(out, 3 << 16);
            out.extend_from_slice(shard.as_bytes());
        }
        Extension::Other { number } => put32(out, u32::from(*number) << 16),
    }
    while !(out.len() - start).is_multiple_of(8) {
        out.push(0);
    }
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_address(out: &mut Vec<u8>, text: &str) {
    let mut field = [0; ADDRESS];
    let text = &text.as_bytes()[..text.len().min(ADDRESS - 1)];
    field[..text.len()].copy_from_slice(text);
    out.extend_from_slice(&field);
}

fn put16(out: &mut Vec<u8>, n: u16) {
    out.extend_from_slice(&n.to_be_bytes());
}

fn put32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_be_bytes());
}

fn put64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_be_bytes());
}
