//! The requests of a turn's next batch, decoded, with what they will read on its way to the cache.
//!
//! Bytes come from *sources*: what was read from a connection now, behind what its session had kept. Each step of a
//! lookup needs what the step before it read, so all requests of the batch take the steps together: hash and segment,
//! bucket, entry, and then the place in a large collection.

use alloc::vec::Vec;
use core::mem;

use super::{LENT, Turn};
use crate::client::{Session, alert};
use crate::command::table::Command;
use crate::face::ConnId;
use crate::resp::{Arg, Decoded, Limits, Partial, ProtocolError, decode};
use crate::store::Key;
use crate::value::hashtable::fetch;
use crate::value::long_text::LongText;

/// Requests decoded ahead: enough to hide the waiting, few enough to keep all lines in the cache.
const BATCH: usize = 32;

/// Buffers of the turn that the engine keeps between turns.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) batch: Vec<Item>,
    pub(super) args: Vec<Arg>,
    pub(super) sources: Vec<Source>,
}

/// Where requests come from: a read, or what a session had kept.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) conn: ConnId,
    pub(super) origin: Origin,
    /// Bytes decoded.
    pub(super) decoded: usize,
    /// Bytes of requests carried out.
    pub(super) done: usize,
    /// The unfinished request at `decoded`.
    pub(super) partial: Partial,
    pub(super) partial_args: Vec<Arg>,
    /// Nothing more is carried out of it in this turn.
    pub(super) halted: bool,
}

/// The bytes of a source.
#[derive(Debug)]
pub(super) enum Origin {
    /// Which of the turn's reads.
    Read(u32),
    /// What the session had kept, with what was read now behind it.
    Kept(LongText),
}

impl Origin {
    #[inline]
    pub(super) fn bytes<'a>(&'a self, reads: &'a [(ConnId, &[u8])]) -> &'a [u8] {
        match self {
            Origin::Read(read) => reads[*read as usize].1,
            Origin::Kept(kept) => kept,
        }
    }
}

/// A request of the batch.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) source: u32,
    /// The database that its session has selected, unless a request before it in the batch selects another.
    pub(super) db: usize,
    /// Its bytes in the source.
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Command {
        /// Its words in the scratch's `args`.
        args: (u32, u32),
        canonical: bool,
        command: Option<(u16, &'static Command)>,
        hash: Option<u64>,
    },
    Inline {
        line: usize,
    },
    Broken(ProtocolError),
}

impl Turn<'_> {
    /// Makes a source of every session that has something to go on with.
    pub(super) fn open(&mut self) {
        for (i, &(conn, bytes)) in self.reads.iter().enumerate() {
            if self.engine.is_link(conn) {
                self.link_reads = true;
                continue;
            }
            let now = self.engine.time();
            let parts = &mut self.engine.parts;
            parts.stats.bytes_in += bytes.len() as u64;
            parts.stats.reads += 1;
            let Some(session) = parts.clients.get_mut(conn) else {
                continue;
            };
            session.bytes_in += bytes.len() as u64;
            if session.query.is_empty() {
                self.scratch.sources.push(Source::new(
                    session,
                    Origin::Read(i as u32),
                    bytes.len(),
                ));
            } else {
                let mut kept = mem::take(&mut session.query);
                let need = kept.len() + bytes.len();
                if need > kept.capacity() {
                    let room = room_for(need);
                    let whole = session.partial.wanted(0);
                    // A long word stays where it is, as a string: there the last growth fits exactly.
                    let is_word = (session.partial.large_element(LENT))
                        .is_some_and(|start| start <= whole / 16);
                    let fits = is_word && (need..room).contains(&whole);
                    kept.reserve_exact(if fits { whole } else { room } - kept.len());
                }
                kept.extend_from_slice(bytes);
                if kept.len() as u64 > parts.config.client_query_buffer_limit {
                    parts.close_for_query(conn, &kept, now);
                    continue;
                }
                let source = Source::kept(session, kept);
                self.scratch.sources.push(source);
            }
            parts.clients.weigh(conn);
        }
        let parts = &mut self.engine.parts;
        while let Some(conn) = parts.clients.next_resumed() {
            let Some(session) = parts.clients.get_mut(conn) else {
                continue;
            };
            if session.runs() && !session.query.is_empty() {
                let kept = mem::take(&mut session.query);
                let source = Source::kept(session, kept);
                self.scratch.sources.push(source);
            }
        }
    }

    /// Decodes the next batch, which is empty, and asks for what its keys lead to.
    pub(super) fn decode_ahead(&mut self) {
        while self.scratch.batch.len() < BATCH && self.source < self.scratch.sources.len() {
            match self.decode_one() {
                Decode::More => {}
                Decode::NextSource => self.source += 1,
                Decode::EndBatch => break,
            }
        }
        self.prefetch();
        self.prefetch_elements();
    }

    /// Decodes one request of the current source.
    fn decode_one(&mut self) -> Decode {
        let parts = &mut self.engine.parts;
        let scratch = &mut self.scratch;
        let source = &mut scratch.sources[self.source];
        if source.halted {
            return Decode::NextSource;
        }
        let bytes = source.origin.bytes(self.reads);
        let bytes = &bytes[source.decoded..];
        let Some(session) = parts.clients.get(source.conn) else {
            source.halted = true;
            return Decode::NextSource;
        };
        if !session.runs() {
            source.halted = true;
            return Decode::NextSource;
        }
        let unauthenticated = session.is(alert::UNAUTHENTICATED);
        // What a client may send depends on the AUTH before it: one request at a time until then.
        if unauthenticated
            && scratch
                .batch
                .last()
                .is_some_and(|i| i.source as usize == self.source)
        {
            return Decode::EndBatch;
        }
        let first = scratch.args.len();
        if !source.partial_args.is_empty() {
            scratch.args.append(&mut source.partial_args);
        }
        let limits = Limits {
            bulk: parts.config.proto_max_bulk_len,
            unauthenticated,
        };
        let start = source.decoded;
        let (len, what) = match decode(bytes, &mut source.partial, &mut scratch.args, &limits) {
            Ok(Decoded::Command { len, canonical }) => {
                let args = &scratch.args[first..];
                let command = parts.index.find(args[0].of(bytes));
                let hash = command.and_then(|(_, c)| {
                    let key = args.get(c.first_key()?)?;
                    Some(parts.store.hasher().hash(key.of(bytes)))
                });
                if let Some(hash) = hash {
                    parts
                        .store
                        .database(session.db)
                        .table()
                        .prefetch_segment(hash);
                }
                let command = command.map(|(n, c)| (n as u16, c));
                (
                    len,
                    What::Command {
                        args: (first as u32, scratch.args.len() as u32),
                        canonical,
                        command,
                        hash,
                    },
                )
            }
            Ok(Decoded::Inline { len, line }) => (len, What::Inline { line }),
            Ok(Decoded::Empty { len }) => {
                source.decoded += len;
                return Decode::More;
            }
            Ok(Decoded::Incomplete) => {
                source.partial_args.extend(scratch.args.drain(first..));
                if let Some(session) = parts.clients.get_mut(source.conn) {
                    session.awaited_bytes = source.partial.wanted(0);
                }
                return Decode::NextSource;
            }
            Err(error) => (bytes.len(), What::Broken(error)),
        };
        source.decoded += len;
        scratch.batch.push(Item {
            source: self.source as u32,
            db: session.db,
            start,
            len,
            what,
        });
        Decode::More
    }

    /// Asks for the buckets of the batch, whose segments were asked for while decoding; then for the entries.
    fn prefetch(&self) {
        let mut last = None;
        let keys = (self.scratch.batch.iter())
            .filter_map(|item| match item.what {
                What::Command { hash, .. } => Some((item.db, hash?)),
                _ => None,
            })
            .filter(move |&key| last.replace(key) != Some(key));
        self.engine.parts.store.prefetch(keys);
    }

    /// Asks for what is read first where elements of the batch's collections are looked up: a large collection misses
    /// the cache as keys do. By now the entries should be near.
    fn prefetch_elements(&self) {
        // One alone has nothing to overlap with.
        if self.scratch.batch.len() < 2 {
            return;
        }
        // (Many in one collection are the case that this is for.)
        let mut last = None;
        fetch(self.scratch.batch.iter().filter_map(|item| {
            let What::Command {
                args,
                command: Some((_, command)),
                hash: Some(hash),
                ..
            } = item.what
            else {
                return None;
            };
            let (name, element) = command.element()?;
            let words = &self.scratch.args[args.0 as usize..args.1 as usize];
            let (name, element) = (words.get(name)?, words.get(element)?);
            let source = &self.scratch.sources[item.source as usize];
            let bytes = source.origin.bytes(self.reads);
            let bytes = &bytes[item.start..item.start + item.len];
            let object = match last {
                Some((key, object)) if key == (item.db, hash) => object,
                _ => {
                    let bytes = name.of(bytes);
                    let store = &self.engine.parts.store;
                    let object = store.object(item.db, Key { bytes, hash });
                    last = Some(((item.db, hash), object));
                    object
                }
            };
            object?.ahead(element.of(bytes))
        }));
    }
}

/// What came of [`Turn::decode_one`].
enum Decode {
    /// The source may hold another request.
    More,
    /// It holds none that is complete.
    NextSource,
    /// What comes next must be decoded after the batch was carried out.
    EndBatch,
}

impl Source {
    fn kept(session: &mut Session, kept: Vec<u8>) -> Source {
        let bytes = kept.len();
        Source::new(session, Origin::Kept(kept.into()), bytes)
    }

    #[inline]
    fn new(session: &mut Session, origin: Origin, bytes: usize) -> Source {
        session.request_bytes = bytes;
        Source {
            conn: session.conn,
            origin,
            decoded: 0,
            done: 0,
            partial: mem::take(&mut session.partial),
            partial_args: mem::take(&mut session.partial_args),
            halted: false,
        }
    }
}

/// How much room an unfinished request of so many bytes is given: by steps of an eighth, so that growing costs little
/// time, and what a client holds depends on what it sent, not on how that arrived.
fn room_for(bytes: usize) -> usize {
    const SMALL: usize = 64 * 1024;
    let most = bytes.next_power_of_two();
    if bytes <= SMALL {
        return most;
    }
    bytes.next_multiple_of(most / 8)
}
