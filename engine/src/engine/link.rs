//! The stream of our primary, carried out as it comes: by a session of its own whose commands pass
//! the gates as they stand, and whose replies go nowhere.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Engine;
use crate::client::{Session, alert};
use crate::command::execute::{self, Request};
use crate::face::{Address, ConnId, Listener, Now};
use crate::resp::{Arg, Decoded, Limits, Partial, decode};

/// During a pause, or while the files are made durable for the end of the process, so much of the stream is held back at most.
const HELD_BYTES: usize = 16 << 20;

/// The link to our primary while its stream is up.
#[derive(Debug)]
pub(crate) struct PrimaryLink {
    /// Bytes of the stream that were not carried out yet.
    bytes: Vec<u8>,
    partial: Partial,
    args: Vec<Arg>,
    /// Bytes of a transaction that was carried out up to here: reported with its EXEC.
    unreported: u64,
    /// Whole commands may be among the bytes, which wait for the end of a pause.
    held: bool,
}

impl PrimaryLink {
    fn new() -> PrimaryLink {
        PrimaryLink {
            bytes: Vec::new(),
            partial: Partial::default(),
            args: Vec::new(),
            unreported: 0,
            held: false,
        }
    }
}

impl Engine {
    /// Our primary's stream begins, in the given database.
    pub(super) fn begin_stream(&mut self, conn: ConnId, db: u32, now: Now) {
        let nowhere = || Address::Unix(alloc::string::String::new());
        let (peer, local) = self
            .links
            .ends(conn)
            .unwrap_or_else(|| (nowhere(), nowhere()));
        let id = self.parts.clients.take_id();
        let mut session = Session::new(id, conn, Listener::Tcp, peer, local, now);
        session.set(alert::TRUSTED, true);
        session.db = db as usize;
        self.parts.primary = Some(Box::new(session));
        self.link = Some(PrimaryLink::new());
    }

    /// Our primary's stream is over.
    pub(super) fn end_stream(&mut self) {
        self.parts.primary = None;
        self.link = None;
    }

    /// Whether commands wait for the end of a pause that is over.
    pub(super) fn stream_may_go_on(&self) -> bool {
        !self.holds_stream() && self.link.as_ref().is_some_and(|link| link.held)
    }

    fn holds_stream(&self) -> bool {
        self.flushing() || self.parts.pause.is_some() || self.keeps_still()
    }

    /// Whether nothing at all may come in between: data is being read back, or a script or transaction is half done.
    pub(super) fn keeps_still(&self) -> bool {
        self.parts.reloading || self.parts.is_midway()
    }

    /// Bytes of the primary's stream: carries out every whole command. Not while CLIENT PAUSE holds writes back, nor
    /// while a shutdown flushes: what would be executed now would not be in the file, or in part; the primary still
    /// has it.
    pub(super) fn stream(&mut self, now: Now, bytes: &[u8]) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        link.bytes.extend_from_slice(bytes);
        link.held = self.keeps_still() || (self.holds_stream() && link.bytes.len() < HELD_BYTES);
        if link.held {
            self.link = Some(link);
            return;
        }
        let Some(mut session) = self.parts.primary.take() else {
            return;
        };
        let mut done = 0;
        let limits = Limits {
            bulk: u64::from(u32::MAX),
            unauthenticated: false,
        };
        let corrupt = loop {
            let rest = &link.bytes[done..];
            let len = match decode(rest, &mut link.partial, &mut link.args, &limits) {
                Ok(Decoded::Command { len, canonical }) => {
                    let words: smallvec::SmallVec<[&[u8]; 8]> =
                        link.args.drain(..).map(|a| a.of(rest)).collect();
                    let command = self.parts.index.find_original(words[0]);
                    let raw = canonical.then_some(&rest[..len]);
                    let request = Request {
                        args: &words,
                        raw,
                        command,
                        first_hash: None,
                    };
                    execute::process(&mut self.parts, &mut session, now, request);
                    len
                }
                // Empty lines keep the link alive; a primary sends no other.
                Ok(Decoded::Inline { len, line: 0 }) => len,
                Ok(Decoded::Inline { .. }) => break true,
                Ok(Decoded::Empty { len }) => len,
                Ok(Decoded::Incomplete) => break false,
                Err(_) => break true,
            };
            done += len;
            link.unreported += len as u64;
            // Nobody reads the replies.
            let pending = session.out.pending() as usize;
            session.out.advance(pending);
            if session.multi.is_none() {
                let db = session.db as u32;
                self.parts
                    .replication
                    .applied(now, &mut self.parts.journal, link.unreported, db);
                link.unreported = 0;
            }
        };
        link.bytes.drain(..done);
        if corrupt {
            self.parts
                .replication
                .stream_corrupt(now, &mut self.parts.journal);
        } else {
            self.parts.primary = Some(session);
            self.link = Some(link);
        }
    }
}
