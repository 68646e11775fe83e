//! Streams in snapshots.
//!
//! ```text
//! value     n:length, n times (id:string of 16 bytes, block:string)
//!           entries:length last:id
//!           (type 19 and 21) first:id max-deleted:id added:length
//!           n:length, n times group
//! group     name:string last:id
//!           (type 19 and 21) entries-read:length
//!           n:length, n times (id:16 bytes, delivered:i64 LE, deliveries:length)
//!           n:length, n times consumer
//! consumer  name:string seen:i64 LE
//!           (type 21) active:i64 LE
//!           n:length, n times id:16 bytes        which of the group's are its own
//! id        ms:length seq:length                 except where its size is given: big-endian, ms first
//! ```
//!
//! Blocks are listpacks as `value/stream/block.rs` describes them; times are Unix milliseconds. Type 15 is
//! that of Redis 5, 19 of 7.0, 21 of 7.2. We write 19.

use alloc::vec::Vec;

use super::encode::Encoder;
use super::kind;
use super::reader::{Reader, Step, corrupt};
use crate::value::stream::{Block, Group, Name, Pending, Stream, StreamId, tree::Tree};

/// Where the writing of a stream stands: it goes in steps, from a stream that stays the same meanwhile.
#[derive(Clone, Debug, Default)]
pub struct StreamPosition(Next);

#[derive(Clone, Debug, Default)]
enum Next {
    #[default]
    Head,
    /// The blocks after this one.
    Blocks(Option<StreamId>),
    /// The group after this one.
    Group(Option<Name>),
    /// What is pending in a group, after this entry.
    Pending(Name, Option<StreamId>),
    /// The consumer of a group after this one.
    Consumer(Name, Option<Name>),
    /// What a consumer of a group has, after this entry.
    Owned(Name, Name, Option<StreamId>),
}

fn after<'a, K: Ord, V>(
    tree: &'a Tree<K, V>,
    last: &Option<K>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    match last {
        Some(last) => tree.iter_after(last),
        None => tree.iter(),
    }
}

impl StreamPosition {
    /// Writes on, up to about `bytes` bytes; returns whether all is written.
    pub fn step(&mut self, stream: &Stream, out: &mut Encoder, bytes: usize) -> bool {
        let end = out.pending().saturating_add(bytes);
        while out.pending() < end {
            if self.part(stream, out, end) {
                return true;
            }
        }
        false
    }

    /// Writes one part, or as much of it as there is room for. Each knows the next.
    fn part(&mut self, stream: &Stream, out: &mut Encoder, end: usize) -> bool {
        let entries = &stream.entries;
        self.0 = match &self.0 {
            Next::Head => {
                out.length(entries.block_count() as u64);
                Next::Blocks(None)
            }
            Next::Blocks(last) => {
                let blocks = match last {
                    Some(last) => entries.blocks_after(last),
                    None => entries.blocks(),
                };
                let mut written = None;
                for (id, block) in blocks {
                    out.string(&id.to_bytes());
                    out.string(block.bytes());
                    written = Some(*id);
                    if out.pending() >= end {
                        break;
                    }
                }
                if written.is_some() {
                    Next::Blocks(written)
                } else {
                    out.length(entries.len());
                    for id in [entries.last_id, entries.first_id, entries.max_deleted_id] {
                        out.length(id.ms);
                        out.length(id.seq);
                    }
                    out.length(entries.entries_added);
                    out.length(stream.groups.len() as u64);
                    Next::Group(None)
                }
            }
            Next::Group(last) => {
                let mut groups = match last {
                    Some(last) => stream.groups.iter_after(last),
                    None => stream.groups.iter(),
                };
                let Some((name, group)) = groups.next() else {
                    return true;
                };
                out.string(name);
                out.length(group.last_id.ms);
                out.length(group.last_id.seq);
                out.length(group.entries_read as u64);
                out.length(group.pending().len() as u64);
                Next::Pending(name.clone(), None)
            }
            Next::Pending(name, last) => {
                let Some(group) = stream.groups.get(name) else {
                    return true;
                };
                let mut written = None;
                for (id, pending) in after(group.pending(), last) {
                    out.raw(&id.to_bytes());
                    out.raw(&pending.delivered_ms.to_le_bytes());
                    out.length(pending.deliveries);
                    written = Some(*id);
                    if out.pending() >= end {
                        break;
                    }
                }
                if written.is_some() {
                    Next::Pending(name.clone(), written)
                } else {
                    out.length(group.consumers().len() as u64);
                    Next::Consumer(name.clone(), None)
                }
            }
            Next::Consumer(group_name, last) => {
                let group = stream.groups.get(group_name);
                match group.and_then(|group| after(group.consumers(), last).next()) {
                    None => Next::Group(Some(group_name.clone())),
                    Some((name, consumer)) => {
                        out.string(name);
                        out.raw(&consumer.seen_ms.to_le_bytes());
                        out.length(consumer.pending().len() as u64);
                        Next::Owned(group_name.clone(), name.clone(), None)
                    }
                }
            }
            Next::Owned(group_name, name, last) => {
                let group = stream.groups.get(group_name);
                let consumer = group.and_then(|group| group.consumers().get(name));
                let mut written = None;
                for (id, ()) in consumer.iter().flat_map(|c| after(c.pending(), last)) {
                    out.raw(&id.to_bytes());
                    written = Some(*id);
                    if out.pending() >= end {
                        break;
                    }
                }
                if written.is_some() {
                    Next::Owned(group_name.clone(), name.clone(), written)
                } else {
                    Next::Consumer(group_name.clone(), Some(name.clone()))
                }
            }
        };
        false
    }
}

/// A stream that is being read, part by part.
#[derive(Debug)]
pub(super) struct Builder {
    kind: u8,
    stream: Stream,
    at: At,
    /// Groups still to come.
    groups: u64,
    group: Option<Partial>,
}

#[derive(Debug)]
enum At {
    Head,
    Blocks(u64),
    Meta,
    Group,
    Pending(u64),
    Consumers(u64),
    /// Consumers behind this one, and its entries.
    Owned(u64, u64),
}

/// A group that is being read.
#[derive(Debug)]
struct Partial {
    name: Vec<u8>,
    group: Group,
    /// What is pending of which the consumer is not known yet.
    unowned: Tree<StreamId, (i64, u64)>,
    /// The consumer that is being read.
    owner: Name,
}

impl Builder {
    pub(super) fn new(kind: u8) -> Builder {
        Builder {
            kind,
            stream: Stream::new(),
            at: At::Head,
            groups: 0,
            group: None,
        }
    }

    /// The stream, when [`Builder::step`] has said that it is complete.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Reads one part, which must be there as a whole, else nothing is read; returns whether it was the last.
    pub(super) fn step(&mut self, reader: &mut Reader<'_>) -> Step<bool> {
        self.at = match (&self.at, &mut self.group) {
            (At::Head, _) => At::Blocks(reader.length()?),
            (At::Blocks(0), _) => At::Meta,
            (At::Blocks(left), _) => {
                let left = left - 1;
                let id = <[u8; 16]>::try_from(reader.string()?)
                    .map_err(|_| corrupt("Stream node key entry is not the size of a stream ID"))?;
                let block = Block::from_bytes(reader.string()?)
                    .map_err(|_| corrupt("Stream listpack integrity check failed."))?;
                if !(self.stream.entries).insert_block(StreamId::from_bytes(id), block) {
                    return Err(corrupt("Listpack re-added with existing key"));
                }
                At::Blocks(left)
            }
            (At::Meta, _) => {
                self.meta(reader)?;
                At::Group
            }
            (At::Group, _) if self.groups == 0 => return Ok(true),
            (At::Group, _) => At::Pending(self.group_head(reader)?),
            (At::Pending(0), _) => At::Consumers(reader.length()?),
            (At::Pending(left), Some(partial)) => {
                let id = StreamId::from_bytes(reader.array()?);
                let delivered_ms = i64::from_le_bytes(reader.array()?);
                let known = (delivered_ms, reader.length()?);
                if partial.unowned.insert(id, known).is_some() {
                    return Err(corrupt(
                        "Duplicated global PEL entry loading stream consumer group",
                    ));
                }
                At::Pending(left - 1)
            }
            (At::Consumers(0), Some(_)) => {
                self.end_group()?;
                At::Group
            }
            (At::Consumers(left), Some(partial)) => {
                let left = left - 1;
                let name = reader.string()?;
                let seen_ms = i64::from_le_bytes(reader.array()?);
                if self.kind >= kind::STREAM_3 {
                    // When it was last given something: Redis 7.0 does not know of that.
                    reader.array::<8>()?;
                }
                let owned = reader.length()?;
                partial.owner = (partial.group)
                    .add_consumer(&name, seen_ms)
                    .ok_or_else(|| corrupt("Duplicate stream consumer detected."))?;
                At::Owned(left, owned)
            }
            (At::Owned(left, 0), _) => At::Consumers(*left),
            (At::Owned(left, owned), Some(partial)) => {
                let id = StreamId::from_bytes(reader.array()?);
                let (delivered_ms, deliveries) = partial
                    .unowned
                    .remove(&id)
                    .ok_or_else(|| corrupt("Consumer entry not found in group global PEL"))?;
                let pending = Pending {
                    delivered_ms,
                    deliveries,
                    owner: partial.owner.clone(),
                };
                partial.group.assign(id, pending);
                At::Owned(*left, owned - 1)
            }
            // A group is there whenever one is being read.
            (At::Pending(_) | At::Consumers(_) | At::Owned(..), None) => {
                return Err(corrupt("Stream cgroup loading failed."));
            }
        };
        Ok(false)
    }

    /// The counters, and how many groups there are.
    fn meta(&mut self, reader: &mut Reader<'_>) -> Step<()> {
        let entries = &mut self.stream.entries;
        let length = reader.length()?;
        let last_id = read_id(reader)?;
        let (mut first_id, mut max_deleted_id) = (StreamId::MIN, StreamId::MIN);
        let mut added = length;
        if self.kind >= kind::STREAM_2 {
            first_id = read_id(reader)?;
            max_deleted_id = read_id(reader)?;
            added = reader.length()?;
        } else if let Some(first) = entries.iter().next() {
            first_id = first.id;
        }
        self.groups = reader.length()?;
        if entries.len() != length {
            return Err(corrupt("Stream length inconsistent with rax entries"));
        }
        entries.last_id = last_id;
        entries.first_id = first_id;
        entries.max_deleted_id = max_deleted_id;
        entries.entries_added = added;
        Ok(())
    }

    /// Begins a group; returns how many entries are pending in it.
    fn group_head(&mut self, reader: &mut Reader<'_>) -> Step<u64> {
        let name = reader.string()?;
        let last_id = read_id(reader)?;
        let entries_read = if self.kind >= kind::STREAM_2 {
            reader.length()? as i64
        } else {
            self.stream.entries.entries_up_to(last_id)
        };
        let pending = reader.length()?;
        if self.stream.groups.get(&name).is_some() {
            return Err(corrupt("Duplicated consumer group name"));
        }
        self.groups -= 1;
        self.group = Some(Partial {
            name,
            group: Group::new(last_id, entries_read),
            unowned: Tree::default(),
            owner: Name::from(&b""[..]),
        });
        Ok(pending)
    }

    fn end_group(&mut self) -> Step<()> {
        if let Some(partial) = self.group.take() {
            if !partial.unowned.is_empty() {
                return Err(corrupt("Stream CG PEL entry without consumer"));
            }
            self.stream.groups.add(&partial.name, partial.group);
        }
        Ok(())
    }
}

fn read_id(reader: &mut Reader<'_>) -> Step<StreamId> {
    Ok(StreamId {
        ms: reader.length()?,
        seq: reader.length()?,
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
