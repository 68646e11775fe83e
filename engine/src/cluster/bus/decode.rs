//! Bytes → packet.

use super::*;
use thiserror::Error;

/// Why bytes are not a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// The link does not carry packets: it must be closed.
    #[error("Bad message length or signature received from Cluster bus.")]
    Signature,
    /// Another version; the packet is to be skipped.
    #[error("Received a packet of protocol version {0}")]
    Version(u16),
    /// The length does not fit what the packet says it holds; to be skipped.
    #[error("Received invalid {kind} packet of length {len} but expected length {expected}")]
    Length {
        /// The type's name.
        kind: &'static str,
        /// The length in the header.
        len: u64,
        /// The length that its contents need, as far as could be told.
        expected: u64,
    },
    /// An extension whose length is not a multiple of 8 or is too small to be one; to be skipped.
    #[error("Received a {kind} packet without proper padding ({len} bytes)")]
    Padding {
        /// The type's name.
        kind: &'static str,
        /// The extension's length.
        len: u32,
    },
    /// Extensions beyond the end; to be skipped.
    #[error(
        "Received invalid {kind} packet with extension data that exceeds total packet length ({len})"
    )]
    Extension {
        /// The type's name.
        kind: &'static str,
        /// The length in the header.
        len: u64,
    },
    /// A name that is not 40 characters of 0-9 and a-z; to be skipped.
    #[error("Received a packet with an invalid node name")]
    Name,
}

/// The length of the packet that begins here, once its first 8 bytes are there.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(head) = bytes.first_chunk::<8>() else {
        // Refuse what cannot become a packet as early as possible.
        let known = bytes.len().min(4);
        return if bytes[..known] == b"RCmb"[..known] {
            Ok(None)
        } else {
            Err(FrameError::Signature)
        };
    };
    let len = u32_at(head, 4) as usize;
    if &head[..4] != b"RCmb" || len < HEADER {
        return Err(FrameError::Signature);
    }
    Ok(Some(len))
}

/// Decodes one packet: exactly the bytes that [`frame_len`] told.
pub fn decode(bytes: &[u8]) -> Result<Packet<'_>, FrameError> {
    if frame_len(bytes)? != Some(bytes.len()) {
        return Err(FrameError::Signature);
    }
    let version = u16_at(bytes, 8);
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let (head, body) = bytes.split_at(HEADER);
    let header = header(head)?;
    let number = u16_at(head, 12);
    let Some(kind) = Kind::ALL.get(usize::from(number)).copied() else {
        return Ok(Packet {
            header,
            body: Body::Unknown { number },
        });
    };
    let count = usize::from(u16_at(head, 14));
    let extensions = if header.message.any(MessageFlags::EXT_DATA) {
        u16_at(head, 2214)
    } else {
        0
    };
    let body = Reader { kind, body }.read(count, extensions)?;
    Ok(Packet { header, body })
}

fn header(head: &[u8]) -> Result<Header<'_>, FrameError> {
    let primary = &head[2128..2168];
    Ok(Header {
        port: u16_at(head, 10),
        plain_port: u16_at(head, 2246),
        bus_port: u16_at(head, 2248),
        current_epoch: u64_at(head, 16),
        config_epoch: u64_at(head, 24),
        offset: u64_at(head, 32),
        sender: name(&head[40..80])?,
        slots: bitmap(&head[80..2128])?,
        primary: if primary.iter().all(|b| *b == 0) {
            None
        } else {
            Some(name(primary)?)
        },
        ip: address(&head[2168..2168 + ADDRESS]),
        flags: Flags(u16_at(head, 2250)),
        down: head[2252] != 0,
        message: MessageFlags(head[2253]),
    })
}

struct Reader<'a> {
    kind: Kind,
    body: &'a [u8],
}

impl<'a> Reader<'a> {
    fn read(&self, count: usize, extensions: u16) -> Result<Body<'a>, FrameError> {
        let body = self.body;
        Ok(match self.kind {
            Kind::Ping | Kind::Pong | Kind::Meet => {
                let entries = count * GOSSIP;
                if body.len() < entries {
                    return Err(self.wrong_length(entries as u64));
                }
                let (entries, rest) = body.split_at(entries);
                Body::Ping {
                    kind: self.kind,
                    gossip: entries.chunks_exact(GOSSIP).filter_map(gossip).collect(),
                    extensions: self.extensions(rest, extensions)?,
                }
            }
            Kind::Fail => {
                self.expect(NodeId::LEN as u64)?;
                Body::Fail { node: name(body)? }
            }
            Kind::Publish | Kind::PublishShard => {
                if body.len() < 8 {
                    return Err(self.wrong_length(8));
                }
                let (channel, message) = (u32_at(body, 0), u32_at(body, 4));
                self.expect(8 + u64::from(channel) + u64::from(message))?;
                let (channel, message) = body[8..].split_at(channel as usize);
                Body::Publish {
                    sharded: self.kind == Kind::PublishShard,
                    channel,
                    message,
                }
            }
            Kind::AuthRequest | Kind::AuthAck | Kind::MfStart => {
                self.expect(0)?;
                match self.kind {
                    Kind::AuthRequest => Body::AuthRequest,
                    Kind::AuthAck => Body::AuthAck,
                    _ => Body::MfStart,
                }
            }
            Kind::Update => {
                self.expect(UPDATE as u64)?;
                Body::Update {
                    config_epoch: u64_at(body, 0),
                    node: name(&body[8..48])?,
                    slots: bitmap(&body[48..])?,
                }
            }
            Kind::Module => {
                if body.len() < MODULE {
                    return Err(self.wrong_length(MODULE as u64));
                }
                self.expect(MODULE as u64 + u64::from(u32_at(body, 8)))?;
                Body::Module
            }
        })
    }

    fn extensions(&self, mut rest: &'a [u8], count: u16) -> Result<Vec<Extension<'a>>, FrameError> {
        let total = self.body.len();
        let mut extensions = Vec::new();
        for _ in 0..count {
            if rest.len() < 8 {
                return Err(FrameError::Extension {
                    kind: self.kind.name(),
                    len: self.total(),
                });
            }
            let len = u32_at(rest, 0);
            if !len.is_multiple_of(8) || len < 8 {
                return Err(FrameError::Padding {
                    kind: self.kind.name(),
                    len,
                });
            }
            if len as usize > rest.len() {
                return Err(FrameError::Extension {
                    kind: self.kind.name(),
                    len: self.total(),
                });
            }
            let (this, after) = rest.split_at(len as usize);
            extensions.push(extension(u16_at(this, 4), &this[8..]));
            rest = after;
        }
        if rest.is_empty() {
            Ok(extensions)
        } else {
            Err(self.wrong_length((total - rest.len()) as u64))
        }
    }

    fn expect(&self, len: u64) -> Result<(), FrameError> {
        if self.body.len() as u64 == len {
            Ok(())
        } else {
            Err(self.wrong_length(len))
        }
    }

    fn total(&self) -> u64 {
        (HEADER + self.body.len()) as u64
    }

    fn wrong_length(&self, expected: u64) -> FrameError {
        FrameError::Length {
            kind: self.kind.name(),
            len: self.total(),
            expected: HEADER as u64 + expected,
        }
    }
}

/// An entry whose name or address is unusable is as good as none.
fn gossip(entry: &[u8]) -> Option<Gossip<'_>> {
    Some(Gossip {
        node: NodeId::parse(&entry[..40])?,
        ping_sent: u32_at(entry, 40),
        pong_received: u32_at(entry, 44),
        ip: address(&entry[48..48 + ADDRESS]),
        port: u16_at(entry, 94),
        bus_port: u16_at(entry, 96),
        flags: Flags(u16_at(entry, 98)),
        plain_port: u16_at(entry, 100),
    })
}

fn extension(number: u16, data: &[u8]) -> Extension<'_> {
    let other = Extension::Other { number };
    match number {
        // What cluster-announce-human-nodename accepts is what a host name is made of.
        0 | 1 => match text(data).filter(|name| is_hostname(name.as_bytes())) {
            Some(name) if number == 0 => Extension::Hostname(name),
            Some(name) => Extension::HumanName(name),
            None => other,
        },
        2 if data.len() == 48 => match NodeId::parse(&data[..40]) {
            Some(node) => Extension::Forgotten {
                node,
                ttl_s: u64_at(data, 40),
            },
            None => other,
        },
        3 if data.len() == 40 => NodeId::parse(data).map_or(other, Extension::Shard),
        _ => other,
    }
}

fn name(bytes: &[u8]) -> Result<NodeId, FrameError> {
    NodeId::parse(bytes).ok_or(FrameError::Name)
}

fn bitmap(bytes: &[u8]) -> Result<&Bitmap, FrameError> {
    bytes.try_into().map_err(|_| FrameError::Signature)
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0)?;
    core::str::from_utf8(&bytes[..end]).ok()
}

fn address(bytes: &[u8]) -> &str {
    text(bytes)
        .filter(|ip| is_address(ip.as_bytes()))
        .unwrap_or_default()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}
