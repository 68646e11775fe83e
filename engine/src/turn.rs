//! A turn: all requests that one wake-up brought, from all connections, carried out one a step.
//!
//! Requests are decoded a batch ahead, across pipelines and connections; the keys of the batch are
//! hashed, and their buckets and entries asked for, before the first is carried out. So the waiting
//! for memory of all of them overlaps. Nothing is changed by that but the time it takes.

mod batch;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::client::{Blocked, ReplyMode, Session, alert, limits};
use crate::command::context::{Parts, condition};
use crate::command::execute::{self, Request};
use crate::command::scripting;
use crate::command::table::flag;
use crate::command::{address, client_memory, redacted};
use crate::config::Config;
use crate::engine::Engine;
use crate::face::{ConnId, Now};
use crate::resp::{ProtocolError, split_words};

pub(crate) use batch::Scratch;
use batch::{Origin, What};

/// A request of so many bytes that was kept until it was complete, and is all that was, is lent to the store.
const LENT: usize = 256 << 10;

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
    /// A transaction is under way whose EXEC came in an earlier turn: a script in it took long, or it had to wait.
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
        let adopts = engine.parts.transaction.is_some();
        let mut turn = Turn {
            engine,
            reads,
            scratch,
            at: 0,
            source: 0,
            link_reads: false,
            exec: None,
            adopts,
            running: None,
            stalled: false,
            processed,
        };
        turn.open();
        turn
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
            // Or one that waits itself. (Who is told that it is busy need not wait.)
            if self.engine.parts.transfers.holds_all() && self.engine.parts.scripts.busy().is_none()
            {
                return false;
            }
            if !scripting::advance(&mut self.engine.parts, now) {
                self.engine.begin(now);
                return true;
            }
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
        (self.exec.is_some() || self.adopts) && !self.engine.parts.holds_up()
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
            if parts.holds_up() {
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

    /// Makes the next batch; false if there is nothing.
    fn fill(&mut self, now: Now) -> bool {
        self.scratch.batch.clear();
        self.scratch.args.clear();
        self.at = 0;
        self.engine.begin(now);
        self.receive_links();
        self.decode_ahead();
        !self.scratch.batch.is_empty()
    }

    /// Looks at what links between servers have brought.
    fn receive_links(&mut self) {
        if core::mem::take(&mut self.link_reads) {
            for &(conn, bytes) in self.reads {
                self.engine.receive_link(conn, bytes);
            }
        }
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
        // (A transaction is not to be seen half done, unless something in it keeps all waiting, or busy.)
        while self.exec_goes_on() {
            self.advance_exec(self.engine.time());
        }
        // What other servers say does not wait for what keeps clients waiting.
        self.receive_links();
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
