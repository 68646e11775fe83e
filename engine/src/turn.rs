//! A turn: all requests that one wake-up brought, from all connections, carried out one a step.
//!
//! Requests are decoded a batch ahead, across pipelines and connections; the keys of the batch are
//! hashed, and their buckets and entries asked for, before the first is carried out. So the waiting
//! for memory of all of them overlaps. Nothing is changed by that but the time it takes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::client::{Blocked, ReplyMode, Session, alert, limits};
use crate::command::context::{Parts, condition};
use crate::command::execute::{self, Request};
use crate::command::scripting;
use crate::command::table::{Command, flag};
use crate::command::{address, client_memory, redacted};
use crate::config::Config;
use crate::engine::Engine;
use crate::face::{ConnId, Now};
use crate::resp::{Arg, Decoded, Limits, Partial, ProtocolError, decode, split_words};
use crate::store::Key;
use crate::value::hashtable::fetch;
use crate::value::long_text::LongText;

/// A request of so many bytes that was kept until it was complete, and is all that was, is lent to the store.
const LENT: usize = 256 << 10;

/// Requests decoded ahead: enough to hide the waiting, few enough to keep all lines in the cache.
const BATCH: usize = 32;

/// Buffers of the turn that the engine keeps between turns.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    batch: Vec<Item>,
    args: Vec<Arg>,
    sources: Vec<Source>,
}

/// Where requests come from: a read, or what a session had kept.
#[derive(Debug)]
struct Source {
    conn: ConnId,
    origin: Origin,
    /// Bytes decoded.
    decoded: usize,
    /// Bytes of requests carried out.
    done: usize,
    /// The unfinished request at `decoded`.
    partial: Partial,
    partial_args: Vec<Arg>,
    /// Nothing more is carried out of it in this turn.
    halted: bool,
}

/// The bytes of a source.
#[derive(Debug)]
enum Origin {
    /// Which of the turn's reads.
    Read(u32),
    /// What the session had kept, with what was read now behind it.
    Kept(LongText),
}

impl Origin {
    #[inline]
    fn bytes<'a>(&'a self, reads: &'a [(ConnId, &[u8])]) -> &'a [u8] {
        match self {
            Origin::Read(read) => reads[*read as usize].1,
            Origin::Kept(kept) => kept,
        }
    }
}

/// A request of the batch.
#[derive(Debug)]
struct Item {
    source: u32,
    /// The database that its session has selected, unless a request before it in the batch selects another.
    db: usize,
    /// Its bytes in the source.
    start: usize,
    len: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
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

/// A command that was carried out.
#[derive(Clone, Copy, Debug)]
struct Running {
    number: u16,
    since_us: u64,
    /// Its place in the batch; `None` if it was queued in the transaction that is under way.
    at: Option<usize>,
    /// Bytes of its reply.
    reply_bytes: u64,
    /// It, or its reply, is large enough to be remembered for that.
    large: bool,
    /// It waits for something: it is not over.
    waits: bool,
    /// It is a script that goes on: its time is counted when it is over.
    goes_on: bool,
}

/// A turn under way. Dropping it keeps what was not carried out for later.
pub struct Turn<'a> {
    engine: &'a mut Engine,
    reads: &'a [(ConnId, &'a [u8])],
    scratch: Scratch,
    /// The next request of the batch.
    at: usize,
    /// The source that is being decoded.
    source: usize,
    /// Some reads are of links between servers; they are looked at first.
    link_reads: bool,
    /// EXEC's place in the batch, while its transaction is under way.
    exec: Option<usize>,
    /// A transaction is under way whose EXEC came in an earlier turn: a script in it took long.
    adopts: bool,
    /// The command that was carried out last, and when it began: it took until the next step.
    running: Option<Running>,
    /// The server was to stand still in this turn.
    stalled: bool,
    /// Commands carried out before it.
    processed: u64,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(engine: &'a mut Engine, reads: &'a [(ConnId, &'a [u8])]) -> Turn<'a> {
        let mut scratch = mem::take(&mut engine.scratch);
        scratch.batch.clear();
        scratch.args.clear();
        scratch.sources.clear();
        let processed = engine.parts.stats.processed;
        let mut turn = Turn {
            engine,
            reads,
            scratch,
            at: 0,
            source: 0,
            link_reads: false,
            exec: None,
            adopts: false,
            running: None,
            stalled: false,
            processed,
        };
        turn.open();
        turn
    }

    /// Makes a source of every session that has something to go on with.
    fn open(&mut self) {
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

    /// Carries out the next request; false when there is none.
    #[inline]
    pub fn step(&mut self, now: Now) -> bool {
        // (The time that it stands still is the command's.)
        if self.engine.parts.stall_us > 0 {
            return false;
        }
        if let Some(running) = self.running.take() {
            self.took(now, running);
        }
        // A script that runs on keeps everybody waiting, until it has run for too long.
        if self.engine.parts.is(condition::SCRIPT) {
            if !scripting::advance(&mut self.engine.parts, now) {
                self.engine.begin(now);
                return true;
            }
            self.adopts = self.exec.is_none() && self.engine.parts.transaction.is_some();
        }
        if self.exec_goes_on() {
            self.advance_exec(now);
            return true;
        }
        if self.engine.parts.reloading {
            return false;
        }
        loop {
            if self.at == self.scratch.batch.len() && !self.fill(now) {
                return false;
            }
            let item = &self.scratch.batch[self.at];
            self.at += 1;
            if !self.scratch.sources[item.source as usize].halted {
                self.carry_out(now, self.at - 1);
                return true;
            }
        }
    }

    /// A command is over: its time is known.
    #[inline]
    fn took(&mut self, now: Now, running: Running) {
        let parts = &mut self.engine.parts;
        let micros = now.mono_us.saturating_sub(running.since_us);
        if running.goes_on {
            if running.large {
                self.took_long(now, running, micros, false, false);
            }
            return;
        }
        scripting::step_took(parts, micros);
        let stats = &mut parts.stats.commands[usize::from(running.number)];
        stats.micros += micros;
        if parts.config.latency_tracking {
            stats.times.get_or_insert_default().add(micros);
        }
        let slow = !running.waits
            && u64::try_from(parts.config.slowlog_log_slower_than).is_ok_and(|at| micros >= at);
        let threshold = parts.config.latency_monitor_threshold;
        let spike = threshold > 0 && micros / 1000 >= threshold;
        if slow || spike || running.large {
            self.took_long(now, running, micros, slow, spike);
        }
    }

    #[cold]
    fn took_long(&mut self, now: Now, running: Running, micros: u64, slow: bool, spike: bool) {
        let parts = &mut self.engine.parts;
        let command = parts.index.all()[usize::from(running.number)];
        if spike {
            let fast = command.flags & flag::FAST != 0;
            let event = if fast { "fast-command" } else { "command" };
            parts.latency.add(now, event, micros / 1000);
        }
        if !(slow || running.large) || command.flags & flag::SKIP_SLOWLOG != 0 {
            return;
        }
        let inline;
        let (conn, len, words): (ConnId, usize, Vec<&[u8]>) = match running.at {
            None => {
                let Some(transaction) = &parts.transaction else {
                    return;
                };
                let Some(queued) = transaction.last() else {
                    return;
                };
                let words = queued.args.iter().map(|a| a.of(&queued.request)).collect();
                (transaction.conn, queued.request.len(), words)
            }
            Some(at) => {
                let item = &self.scratch.batch[at];
                let source = &self.scratch.sources[item.source as usize];
                let bytes = source.origin.bytes(self.reads);
                let bytes = &bytes[item.start..item.start + item.len];
                let words = match item.what {
                    What::Command { args, .. } => {
                        let ranges = &self.scratch.args[args.0 as usize..args.1 as usize];
                        ranges.iter().map(|a| a.of(bytes)).collect()
                    }
                    What::Inline { line } => {
                        inline = split_words(&bytes[..line]).unwrap_or_default();
                        inline.iter().map(Vec::as_slice).collect()
                    }
                    What::Broken(_) => return,
                };
                (source.conn, item.len, words)
            }
        };
        let words = redacted(command, &words);
        let (peer, name) = match parts.clients.get(conn) {
            Some(session) => (address(&session.peer), &session.name[..]),
            None => (Default::default(), &b""[..]),
        };
        let config = &parts.config;
        let logs = [
            (slow, &mut parts.slow_log, micros, config.slowlog_max_len),
            (
                exceeds(config.commandlog_request_larger_than, len as u64),
                &mut parts.large_requests,
                len as u64,
                config.commandlog_large_request_max_len,
            ),
            (
                exceeds(config.commandlog_reply_larger_than, running.reply_bytes),
                &mut parts.large_replies,
                running.reply_bytes,
                config.commandlog_large_reply_max_len,
            ),
        ];
        for (_, log, value, max_len) in logs.into_iter().filter(|(remembered, ..)| *remembered) {
            let max_len = usize::try_from(max_len).unwrap_or(usize::MAX);
            log.add(now, value, &words, &peer, name, max_len);
        }
    }

    /// How many microseconds the whole server is to stand still now (DEBUG SLEEP): nothing is to be read, written
    /// or accepted meanwhile, as if the process were stopped. Then [`Turn::step`] goes on, which it does not before
    /// this was asked; or the turn is dropped, and what is left of it waits.
    pub fn stall(&mut self) -> Option<u64> {
        let stall = mem::take(&mut self.engine.parts.stall_us);
        self.stalled |= stall > 0;
        (stall > 0).then_some(stall)
    }

    fn carry_out(&mut self, now: Now, at: usize) {
        let item = &self.scratch.batch[at];
        let source = &mut self.scratch.sources[item.source as usize];
        let parts = &mut self.engine.parts;
        let Some(mut session) = parts.clients.take(source.conn) else {
            source.halted = true;
            source.done = usize::MAX;
            return;
        };
        // Somebody else's command may have condemned it.
        if session.is(alert::CLOSING) {
            source.halted = true;
            return parts.clients.put(session);
        }
        let bytes = source.origin.bytes(self.reads);
        let bytes = &bytes[item.start..item.start + item.len];
        if parts.config.maxmemory_clients != 0 {
            client_memory::enforce(parts, Some(&mut session), now);
            if session.is(alert::CLOSING) {
                source.halted = true;
                return parts.clients.put(session);
            }
        }
        let (processed, reply_from) = (parts.stats.processed, session.out.position());
        match item.what {
            What::Command {
                args,
                canonical,
                command,
                hash,
            } => {
                let ranges = &self.scratch.args[args.0 as usize..args.1 as usize];
                let words: smallvec::SmallVec<[&[u8]; 8]> =
                    ranges.iter().map(|a| a.of(bytes)).collect();
                let request = Request {
                    args: &words,
                    raw: canonical.then_some(bytes),
                    command: command.map(|(n, c)| (usize::from(n), c)),
                    first_hash: hash,
                };
                let lends = item.len >= LENT && item.len == source.origin.bytes(self.reads).len();
                if let (true, Origin::Kept(kept)) = (lends, &source.origin) {
                    parts.store.lend(kept.clone());
                }
                execute::process(parts, &mut session, now, request);
                if lends {
                    parts.store.end_loan();
                }
            }
            What::Inline { line } => match split_words(&bytes[..line]) {
                // An empty line is how a replica that loads says that it lives.
                Some(words) if words.is_empty() => parts.replication.keepalive(now, source.conn),
                Some(words) => {
                    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    let command = parts.index.find(words[0]);
                    let request = Request {
                        args: &words,
                        raw: None,
                        command,
                        first_hash: None,
                    };
                    execute::process(parts, &mut session, now, request);
                }
                None => fail(parts, &mut session, now, ProtocolError::UnbalancedQuotes),
            },
            What::Broken(error) => fail(parts, &mut session, now, error),
        }
        if parts.transaction.is_some() {
            source.done = item.start + item.len;
            self.exec = Some(at);
            return parts.clients.put(session);
        }
        // A request that waits for the end of a pause is kept.
        if session.blocked.as_deref() != Some(&Blocked::Paused) {
            source.done = item.start + item.len;
        }
        let ran = (parts.stats.processed != processed).then_some(session.last_command);
        let since = (now.mono_us, reply_from);
        self.carried_out(now, at, session, ran.flatten(), since);
    }

    /// A request was carried out: it was this command, since then, with the reply from there on.
    #[inline]
    fn carried_out(
        &mut self,
        now: Now,
        at: usize,
        mut session: Box<Session>,
        ran: Option<u16>,
        (since_us, reply_from): (u64, u64),
    ) {
        let item = &self.scratch.batch[at];
        let source = &mut self.scratch.sources[item.source as usize];
        let parts = &mut self.engine.parts;
        source.halted = !session.runs();
        session.request_bytes = session.request_bytes.saturating_sub(item.len);
        session.awaited_bytes = 0;
        let conn = source.conn;
        if session.is(alert::CLOSING) && session.out.pending() == 0 {
            parts.clients.doom(conn);
        }
        let overrun = limits::overrun(&mut session, &parts.config, now);
        if let Some(number) = ran {
            let len = item.len as u64;
            let waits = matches!(session.blocked.as_deref(), Some(Blocked::Keys(_)));
            let goes_on = session.blocked.as_deref() == Some(&Blocked::Script);
            let replied = session.out.position().saturating_sub(reply_from);
            self.running = Some(Running {
                number,
                since_us,
                at: Some(at),
                reply_bytes: replied,
                large: large(&parts.config, len, replied),
                waits,
                goes_on,
            });
        }
        parts.clients.put(session);
        if overrun {
            parts.close_for_output(conn, now);
            source.halted = true;
        }
        parts.clients.queue_output(conn);
    }

    /// Whether the next step is one of a transaction.
    #[inline]
    fn exec_goes_on(&self) -> bool {
        (self.exec.is_some() || self.adopts) && !self.engine.parts.scripts.is_parked()
    }

    /// Carries out the next command of the transaction under way, or ends it.
    #[cold]
    fn advance_exec(&mut self, now: Now) {
        let parts = &mut self.engine.parts;
        let taken = (parts.transaction.take()).and_then(|mut transaction| {
            let gone = transaction.gone.take();
            let is_gone = gone.is_some();
            let session = gone.or_else(|| parts.clients.take(transaction.conn))?;
            Some((transaction, session, is_gone))
        });
        let Some((mut transaction, mut session, is_gone)) = taken else {
            (self.exec, self.adopts) = (None, false);
            return;
        };
        let reply_from = session.out.position();
        let processed = parts.stats.processed;
        if transaction.step(parts, &mut session, now) {
            let replied = session.out.position().saturating_sub(reply_from);
            if parts.scripts.is_parked() {
                // Its time is counted when it is over; what its client sent behind EXEC waits.
                transaction.interrupted = true;
                session.out.suspend(transaction.start);
                if let Some(at) = self.exec {
                    let source = self.scratch.batch[at].source;
                    self.scratch.sources[source as usize].halted = true;
                }
            } else {
                self.running = (transaction.last())
                    .filter(|_| parts.stats.processed != processed)
                    .map(|queued| Running {
                        number: queued.number,
                        since_us: now.mono_us,
                        at: None,
                        reply_bytes: replied,
                        large: large(&parts.config, queued.request.len() as u64, replied),
                        waits: false,
                        goes_on: false,
                    });
            }
            match is_gone {
                true => transaction.gone = Some(session),
                false => parts.clients.put(session),
            }
            parts.transaction = Some(transaction);
            return;
        }
        let at = self.exec.take();
        self.adopts = false;
        let since = (transaction.since.mono_us, transaction.start);
        let (exec, interrupted) = (transaction.exec as u16, transaction.interrupted);
        execute::end_exec(parts, &mut session, now, *transaction);
        match at.filter(|_| !interrupted && !is_gone) {
            Some(at) => self.carried_out(now, at, session, Some(exec), since),
            None if is_gone => self.engine.let_go(session),
            None => {
                let conn = session.conn;
                let overrun = limits::overrun(&mut session, &parts.config, now);
                parts.clients.put(session);
                if overrun {
                    parts.close_for_output(conn, now);
                }
                parts.clients.queue_output(conn);
                parts.clients.resume(conn);
            }
        }
    }

    /// Decodes the next batch and asks for what its keys lead to; false if there is nothing.
    fn fill(&mut self, now: Now) -> bool {
        self.scratch.batch.clear();
        self.scratch.args.clear();
        self.at = 0;
        self.engine.begin(now);
        if core::mem::take(&mut self.link_reads) {
            for &(conn, bytes) in self.reads {
                self.engine.receive_link(conn, bytes);
            }
        }
        while self.scratch.batch.len() < BATCH && self.source < self.scratch.sources.len() {
            match self.decode_one() {
                Decode::More => {}
                Decode::NextSource => self.source += 1,
                Decode::EndBatch => break,
            }
        }
        self.prefetch();
        self.prefetch_elements();
        !self.scratch.batch.is_empty()
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
        let keys = || {
            let mut last = None;
            (self.scratch.batch.iter())
                .filter_map(|item| match item.what {
                    What::Command { hash, .. } => Some((item.db, hash?)),
                    _ => None,
                })
                .filter(move |&key| last.replace(key) != Some(key))
        };
        let table = |db| self.engine.parts.store.database(db).table();
        keys().for_each(|(db, hash)| table(db).prefetch_bucket(hash));
        keys().for_each(|(db, hash)| table(db).prefetch_entry(hash));
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

/// Whether so many bytes are more than a limit, if there is one (it is not negative).
fn exceeds(limit: i64, bytes: u64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| bytes > limit)
}

/// Whether a request, or its reply, is large enough to be remembered for that.
#[inline]
fn large(config: &Config, request_bytes: u64, reply_bytes: u64) -> bool {
    exceeds(config.commandlog_request_larger_than, request_bytes)
        || exceeds(config.commandlog_reply_larger_than, reply_bytes)
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

/// A request that cannot be understood: an error, and the end of the connection.
fn fail(parts: &mut Parts, session: &mut Session, now: Now, error: ProtocolError) {
    let reply = error.reply();
    parts.stats.error(&reply);
    let start = session.out.position();
    if session.reply_mode == ReplyMode::On {
        session.out.error(&reply);
    }
    if session.is(alert::REPLICA) {
        execute::cut_talking_replica(parts, session, now, start);
    }
    session.set(alert::CLOSING, true);
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // (A transaction is not to be seen half done, unless a script in it keeps all waiting, or busy.)
        while self.exec_goes_on() {
            self.advance_exec(self.engine.time());
        }
        let stalled = self.stall().is_some() || self.stalled;
        let parts = &mut self.engine.parts;
        let carried_out = parts.stats.processed.saturating_sub(self.processed);
        parts.stats.most_commands = parts.stats.most_commands.max(carried_out);
        for source in self.scratch.sources.drain(..) {
            let Some(session) = parts.clients.get_mut(source.conn) else {
                continue;
            };
            session.request_bytes = 0;
            session.awaited_bytes = 0;
            if session.is(alert::CLOSING) {
                continue;
            }
            let bytes = source.origin.bytes(self.reads);
            if source.done.max(source.decoded) >= bytes.len() && source.done == source.decoded {
                continue;
            }
            if source.done == source.decoded {
                session.awaited_bytes = source.partial.wanted(0);
                session.partial = source.partial;
                session.partial_args = source.partial_args;
            }
            session.query = match source.origin {
                Origin::Kept(kept) if source.done == 0 => kept.into_vec(),
                origin => origin.bytes(self.reads)[source.done..].to_vec(),
            };
            parts.clients.weigh(source.conn);
            if stalled {
                parts.clients.resume(source.conn);
            }
        }
        mem::swap(&mut self.engine.scratch, &mut self.scratch);
    }
}
