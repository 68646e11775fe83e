//! The poll loop: one wake-up is one turn.
//!
//! ```text
//! wait → events noted → answers, new connections → all ready sockets read into one arena
//!      → the engine executes them as one batch → effects → one writev for each connection with output
//! ```
//!
//! Sockets are edge-triggered: one that was not read to its end stays on the ready list and is read in
//! the next turn, without asking the poll for it. A read that is shorter than its room has drained the
//! socket, so there is no second read to be told so.

mod accept;
mod reconfigure;

use crate::allocator;
use crate::clock::Clock;
use crate::connect::{self, Resolver};
use crate::conns::{Announce, Conns, Stream};
use crate::crash;
use crate::disk::DiskThread;
use crate::listen::Open;
use crate::log::{Logger, words};
use crate::metrics::Endpoint;
use crate::oom::OomScore;
use crate::pages::Pages;
use crate::purge;
use crate::report::{INTERVAL_US, Reporter, TurnMeter};
use crate::signals::Signals;
use crate::supervise::Supervisor;
use crate::title::Title;
use crate::tls::{Tls, TlsStream};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use reprise_engine::config::{Config, LogLevel as ConfigLevel};
use reprise_engine::{ConnId, Effect, Engine, Input, Listener, LogLevel, Now, Status, Work};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const METRICS: Token = Token(2);
const LISTENERS: usize = 3;
/// The token of the first connection; at most so many listeners fit before it.
const CONNS: usize = 64;

/// Bytes read in a turn. A turn this long still answers within milliseconds, and its arguments stay in
/// the cache until they are executed.
const ARENA: usize = 256 * 1024;
/// Room for one socket in a turn, if many are ready.
const READ: usize = 16 * 1024;
/// Ready sockets up to which each may have more room.
const FEW: usize = 3;
/// Bytes written to one connection in a turn.
const WRITE: usize = 1024 * 1024;
/// Slices in one write.
const SLICES: usize = 64;
/// Bytes of cipher text read from a socket in one go.
const CIPHER: usize = 16 * 1024;
/// How long requests gather at most that could not be answered at once anyway.
const GATHER: Duration = Duration::from_micros(500);

struct Listening {
    kind: Listener,
    open: Open,
    /// There may be connections to accept.
    ready: bool,
}

/// What the process is to the system around it.
pub struct Outer {
    /// Who started us, if it wants to know how we are.
    pub supervisor: Supervisor,
    /// What `ps` shows.
    pub title: Title,
    /// How its memory is mapped.
    pub pages: Pages,
}

/// The engine with all that it lives in.
pub struct Server {
    poll: Poll,
    engine: Engine,
    log: Arc<Logger>,
    clock: Clock,
    conns: Conns,
    listeners: Vec<Option<Listening>>,
    accept_after_us: u64,
    /// The contexts of new TLS connections, if anything is to speak TLS.
    tls: Option<Tls>,
    /// Clients (or nodes) in a handshake, or lately so, with the time that they came.
    handshakes: VecDeque<(u64, ConnId)>,
    /// How many are in a handshake.
    shaking: usize,
    disk: DiskThread,
    resolver: Resolver,
    signals: Signals,
    metrics: Endpoint,
    outer: Outer,
    arena: Box<[u8]>,
    /// Cipher text on its way.
    cipher: Box<[u8]>,
    /// Where in the arena each connection's bytes are.
    spans: Vec<(ConnId, usize, usize)>,
    /// Sockets that may have something to read.
    ready: VecDeque<ConnId>,
    /// Those of them that the engine takes nothing from in this turn.
    held: Vec<ConnId>,
    /// Connections with more to write than one turn allows.
    unsent: Vec<ConnId>,
    /// What happened while effects were carried out; enters with the next turn.
    inputs: Vec<Input>,
    /// The process's memory, as last reported.
    rss_bytes: u64,
    oom: OomScore,
    reporter: Reporter,
    meter: TurnMeter,
    report_due_us: u64,
    exit: Option<i32>,
}

impl Server {
    /// Sets the loop up around an engine that is still to be made.
    pub fn new(
        config: Config,
        seed: [u8; 32],
        opened: Vec<(Listener, Open)>,
        tls: Option<Tls>,
        outer: Outer,
        log: Arc<Logger>,
    ) -> io::Result<Server> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut signals = Signals::install()?;
        poll.registry()
            .register(&mut signals.pipe, SIGNALS, Interest::READABLE)?;
        let mut clock = Clock::new();
        let now = clock.now();
        let bio = config.bio_cpulist.clone();
        purge::start(bio.clone())?;
        let mut server = Server {
            engine: Engine::new(config, seed, now),
            log,
            clock,
            conns: Conns::default(),
            listeners: Vec::new(),
            accept_after_us: 0,
            cipher: vec![0; if tls.is_some() { CIPHER } else { 0 }].into_boxed_slice(),
            tls,
            handshakes: VecDeque::new(),
            shaking: 0,
            disk: DiskThread::start(Arc::clone(&waker), bio.clone())?,
            resolver: Resolver::start(Arc::clone(&waker), bio)?,
            metrics: Endpoint::new(waker),
            outer,
            signals,
            arena: vec![0; ARENA].into_boxed_slice(),
            spans: Vec::new(),
            ready: VecDeque::new(),
            held: Vec::new(),
            unsent: Vec::new(),
            inputs: Vec::new(),
            rss_bytes: 0,
            oom: OomScore::default(),
            reporter: Reporter::new(),
            meter: TurnMeter::new(),
            report_due_us: 0,
            exit: None,
            poll,
        };
        server.watch_listeners(opened)?;
        let _ = server.oom.apply(server.engine.config(), &server.log);
        server.outer.title.show(server.engine.config());
        Ok(server)
    }

    /// Serves until the engine wants to exit; returns the exit code. An error is the log's last line.
    pub fn run(mut self) -> Result<i32, String> {
        crash::remember_engine(&self.engine);
        let served = self.listen_for_metrics().and_then(|()| self.serve());
        crash::forget_engine();
        served
    }

    fn serve(&mut self) -> Result<i32, String> {
        let mut events = Events::with_capacity(1024);
        self.carry_out();
        let mut end_us = self.clock.mono_us();
        loop {
            if let Some(code) = self.exit {
                return Ok(code);
            }
            let watchdog_ms = self.engine.config().watchdog_period;
            if watchdog_ms > 0 {
                crash::set_timer(0);
            }
            let patience = self.rest(end_us);
            if self.exit.is_some() {
                continue;
            }
            let polled = self.poll.poll(&mut events, patience);
            self.disk.woke();
            match polled {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(format!("Waiting for events failed: {}", words(&error))),
                Ok(()) => {}
            }
            if watchdog_ms > 0 {
                crash::set_timer(watchdog_ms);
            }
            let now = self.clock.now();
            for event in &events {
                self.note(event);
            }
            self.enter(now);
            self.end_slow_handshakes(now);
            self.accept(now);
            self.metrics.accept();
            self.metrics.answer(|| self.engine.metrics(now));
            self.read(now);
            self.execute();
            self.keep_time();
            self.carry_out();
            let unnoticed = self.engine.snapshot_under_way() && self.engine.config().disable_thp;
            self.outer.pages.choose(self.rss_bytes, unnoticed);
            end_us = self.clock.mono_us();
            self.meter.turn(end_us - now.mono_us);
        }
    }

    /// How long to wait for events at most. While all replies wait for a sync, what comes in is left to gather
    /// first: it would leave no sooner.
    fn rest(&mut self, now_us: u64) -> Option<Duration> {
        let patience = self.patience(now_us);
        if patience != Some(Duration::ZERO) && self.engine.waits_for_disk() {
            if self.disk.await_sync(patience.unwrap_or(GATHER).min(GATHER)) {
                self.release();
            }
            return Some(Duration::ZERO);
        }
        if self.disk.may_sleep() {
            patience
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Lets the replies go that a sync was waited for with, before new requests are read: who gets one soon has
    /// another request, and all of those go with the next sync.
    fn release(&mut self) {
        let now = self.clock.now();
        self.enter(now);
        self.spans.clear();
        self.execute();
        self.carry_out();
        self.meter.turn(self.clock.mono_us() - now.mono_us);
    }

    /// How long there is nothing to do, unless something happens.
    fn patience(&self, now_us: u64) -> Option<Duration> {
        if self.metrics.ready
            || !self.ready.is_empty()
            || !self.unsent.is_empty()
            || !self.inputs.is_empty()
        {
            return Some(Duration::ZERO);
        }
        let accept = self
            .listeners
            .iter()
            .flatten()
            .any(|l| l.ready)
            .then_some(self.accept_after_us);
        let handshake = self
            .handshakes
            .front()
            .map(|(came_us, _)| came_us + self.handshake_limit_us());
        let deadline = [self.engine.deadline(), accept, handshake]
            .into_iter()
            .flatten()
            .min()?;
        Some(Duration::from_micros(deadline.saturating_sub(now_us)))
    }

    fn note(&mut self, event: &Event) {
        match event.token() {
            // Answers are looked for in every turn.
            WAKER => {}
            SIGNALS => {
                if let Some(signal) = self.signals.shutdown() {
                    self.inputs.push(Input::Shutdown { signal });
                }
            }
            METRICS => self.metrics.ready = true,
            Token(token) if token < CONNS => {
                if let Some(Some(listener)) = self.listeners.get_mut(token - LISTENERS) {
                    listener.ready = true;
                }
            }
            Token(token) => self.note_conn(token - CONNS, event),
        }
    }

    fn note_conn(&mut self, index: usize, event: &Event) {
        let Some(conn) = self.conns.at(index) else {
            return;
        };
        let id = conn.id;
        if conn.connecting {
            self.finish_connect(id);
        }
        let Some(conn) = self
            .conns
            .at(index)
            .filter(|conn| conn.id == id && !conn.connecting)
        else {
            return;
        };
        conn.ending |= event.is_read_closed() || event.is_error();
        if (event.is_readable() || conn.ending) && !conn.queued {
            conn.queued = true;
            self.ready.push_back(id);
        }
        if event.is_writable() && conn.blocked {
            conn.blocked = false;
            let _ = self
                .conns
                .watch_writable(self.poll.registry(), CONNS, index, false);
            self.unsent.push(id);
        }
    }

    /// An outgoing socket is open, or broke, or neither yet.
    fn finish_connect(&mut self, id: ConnId) {
        let Some((_, conn)) = self.conns.find(id) else {
            return;
        };
        if let Some(error) = conn.stream.error() {
            self.conns.close(id);
            self.inputs.push(Input::Closed {
                conn: id,
                reason: words(&error),
            });
        } else if let Ok((local, peer)) = conn.stream.addresses() {
            conn.connecting = false;
            let open = Input::Connected {
                conn: id,
                local,
                peer,
            };
            if let Stream::Tls(_) = conn.stream {
                conn.announce = Some(Box::new(Announce::Connected(open)));
                conn.queued = true;
                self.ready.push_back(id);
            } else {
                self.inputs.push(open);
            }
        }
    }

    /// Hands the engine what happened besides bytes.
    fn enter(&mut self, now: Now) {
        while let Some((op, result, took)) = self.disk.answer() {
            self.report_slow(now, Work::Disk, took);
            self.engine.handle(now, Input::Disk { op, result });
        }
        while let Some((conn, tls, found)) = self.resolver.answer() {
            match found {
                Ok(addresses) => self.connect(conn, &addresses, tls),
                Err(error) => self.inputs.push(Input::Closed {
                    conn,
                    reason: words(&error),
                }),
            }
        }
        for input in std::mem::take(&mut self.inputs) {
            self.engine.handle(now, input);
        }
    }

    /// Reads what the ready sockets hold, as far as the arena goes.
    fn read(&mut self, now: Now) {
        self.spans.clear();
        self.ready.extend(self.held.drain(..));
        let mut used = 0;
        // A handshake takes longer than a hundred commands: others shall not wait for many.
        let mut handshakes_left = self.engine.config().max_new_tls_connections_per_cycle;
        for _ in 0..self.ready.len() {
            let left = ARENA - used;
            if left < READ {
                return;
            }
            let room = if self.ready.len() <= FEW {
                left / self.ready.len().max(1)
            } else {
                READ
            };
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some((_, conn)) = self.conns.find(id) else {
                continue;
            };
            if conn.announce.is_some() {
                if handshakes_left == 0 {
                    self.ready.push_back(id);
                    continue;
                }
                handshakes_left -= 1;
                conn.queued = false;
                let complete = self.shake_hands(id, now);
                self.send_rest(id);
                if !complete {
                    continue;
                }
            }
            let Some((_, conn)) = self.conns.find(id) else {
                continue;
            };
            let room = self.engine.room(id, room);
            if room == 0 {
                self.held.push(id);
                continue;
            }
            conn.queued = false;
            let room = &mut self.arena[used..used + room];
            let len = room.len();
            let again = match conn.stream.read(room, &mut self.cipher) {
                Ok(0) => {
                    self.lose(id, String::new());
                    continue;
                }
                Ok(n) => {
                    self.spans.push((id, used, n));
                    used += n;
                    n == len || conn.ending || conn.stream.has_more()
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => {
                    self.lose(id, words(&error));
                    continue;
                }
            };
            if again {
                conn.queued = true;
                self.ready.push_back(id);
            }
            if let Stream::Tls(_) = conn.stream {
                self.send_rest(id);
            }
        }
    }

    /// Sends what reading has made TLS want to say.
    fn send_rest(&mut self, id: ConnId) {
        let Some((_, conn)) = self.conns.find(id).filter(|(_, conn)| !conn.blocked) else {
            return;
        };
        match conn.stream.flush() {
            Ok(done) => conn.blocked = !done,
            Err(error) => self.lose(id, words(&error)),
        }
    }

    /// A connection is gone. The engine hears of it in the next turn: what was read before that counts.
    fn lose(&mut self, id: ConnId, reason: String) {
        let Some((_, conn)) = self.conns.find(id) else {
            return;
        };
        let announce = conn.announce.take().map(|announce| *announce);
        self.conns.close(id);
        if let Some(Announce::Accepted(input)) = announce {
            self.shaking -= 1;
            self.log_failed_handshake(&input, &reason);
        } else {
            self.inputs.push(Input::Closed { conn: id, reason });
        }
    }

    /// Executes what was read, and what events have let go on.
    fn execute(&mut self) {
        let arena = &self.arena;
        let reads: SmallVec<[(ConnId, &[u8]); 64]> = self
            .spans
            .iter()
            .map(|&(id, start, len)| (id, &arena[start..start + len]))
            .collect();
        let mut turn = self.engine.receive(&reads);
        self.clock.turn();
        loop {
            while turn.step(self.clock.step()) {}
            let Some(stall_us) = turn.stall() else {
                return;
            };
            std::thread::sleep(Duration::from_micros(stall_us));
            self.clock.turn();
        }
    }

    /// Lets the engine do what is due, and tells it how the process fares.
    fn keep_time(&mut self) {
        let now = self.clock.fresh();
        self.meter.requests(now.mono_us - self.clock.turn_us());
        if self
            .engine
            .deadline()
            .is_some_and(|deadline_us| deadline_us <= now.mono_us)
        {
            self.engine.handle(now, Input::Tick);
            let took_us = self.clock.mono_us() - now.mono_us;
            self.meter.tick(took_us);
            self.report_slow(now, Work::Tick, Duration::from_micros(took_us));
        }
        if now.mono_us >= self.report_due_us {
            self.report_due_us = now.mono_us + INTERVAL_US;
            let report = self.reporter.report(&mut self.meter);
            self.rss_bytes = report.rss_bytes;
            self.engine.handle(now, Input::Memory(report));
        }
    }

    /// Tells the engine of what took long; LATENCY counts in milliseconds.
    fn report_slow(&mut self, now: Now, work: Work, took: Duration) {
        if took >= Duration::from_millis(1) {
            let micros = took.as_micros() as u64;
            self.engine.handle(now, Input::Took { work, micros });
        }
    }

    /// Carries out effects and writes outputs, until there are none.
    fn carry_out(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        loop {
            let mut idle = true;
            while let Some(effect) = self.engine.poll_effect() {
                idle = false;
                self.effect(effect);
            }
            self.disk.submit();
            for id in unsent.drain(..) {
                idle = false;
                self.write(id);
            }
            while let Some(id) = self.engine.poll_output() {
                idle = false;
                self.write(id);
            }
            if idle {
                return;
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Disk { op, request } => self.disk.request(op, request),
            Effect::Close { conn } => {
                if !self.conns.close(conn) {
                    self.resolver.forget(conn);
                }
            }
            Effect::Connect {
                conn,
                host,
                port,
                tls,
            } => match host.parse() {
                Ok(ip) => self.connect(conn, &[std::net::SocketAddr::new(ip, port)], tls),
                Err(_) => self.resolver.ask(conn, host, port, tls),
            },
            Effect::Log { level, text } => self.log.line(level, &text),
            Effect::Role(role) => {
                self.log.set_role(role);
                self.oom.set_replica(role == 'S');
                let _ = self.oom.apply(self.engine.config(), &self.log);
            }
            Effect::Reconfigured { names } => {
                self.outer.supervisor.reloading();
                let refused = self.reconfigure(&names);
                self.outer.supervisor.reloaded();
                self.inputs.push(Input::Reconfigured { refused });
            }
            Effect::Delay { conn } => {
                if let Some((_, conn)) = self.conns.find(conn) {
                    conn.stream.delay();
                }
            }
            Effect::Status(status) => {
                self.outer.supervisor.tell(status);
                if matches!(status, Status::Failed | Status::Resumed) {
                    self.signals.called_off();
                }
            }
            Effect::Purge => allocator::purge(),
            Effect::Crash(how) => crash::break_down(how),
            Effect::Exit { code } => {
                self.exit = Some(code);
                // Before connections are closed: who comes back at once is to find nobody here.
                self.listeners.clear();
            }
        }
    }

    fn connect(&mut self, conn: ConnId, addresses: &[std::net::SocketAddr], tls: bool) {
        let config = self.engine.config();
        let begun = connect::begin(addresses, config).and_then(|(socket, address)| {
            let stream = match &self.tls {
                _ if !tls => Stream::Tcp(socket),
                None => return Err(io::Error::other("TLS is not configured")),
                Some(tls) => {
                    let session = tls.connect(address.ip()).map_err(io::Error::other)?;
                    Stream::Tls(Box::new(TlsStream::new(socket, session)))
                }
            };
            self.conns
                .connect(self.poll.registry(), CONNS, conn, stream)
        });
        if let Err(error) = begun {
            self.inputs.push(Input::Closed {
                conn,
                reason: words(&error),
            });
        }
    }

    /// Writes what the engine has for a connection: all of it, or what the socket takes, or a turn's share.
    fn write(&mut self, id: ConnId) {
        let mut written = 0;
        loop {
            let Some((index, conn)) = self.conns.find(id) else {
                return;
            };
            if conn.blocked || conn.connecting {
                return;
            }
            match conn.stream.flush() {
                Ok(true) if conn.announce.is_none() => {}
                Ok(done) => {
                    conn.blocked = !done;
                    return;
                }
                Err(error) => return self.lose(id, words(&error)),
            }
            let slices: SmallVec<[IoSlice<'_>; SLICES]> = self
                .engine
                .output(id)
                .take(SLICES)
                .map(IoSlice::new)
                .collect();
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            if offered == 0 {
                return;
            }
            let more = slices.len() == SLICES;
            let result = conn.stream.write(&slices, offered);
            drop(slices);
            let mut rest = 0;
            match result {
                Ok((n, blocked)) => {
                    conn.blocked = blocked;
                    self.engine.sent(id, n);
                    written += n;
                    rest = offered - n;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.blocked = true,
                Err(error) => return self.lose(id, words(&error)),
            }
            if self.conns.at(index).is_some_and(|conn| conn.blocked) {
                if let Err(error) =
                    self.conns
                        .watch_writable(self.poll.registry(), CONNS, index, true)
                {
                    self.lose(id, words(&error));
                }
                return;
            }
            if !more && rest == 0 {
                return;
            }
            if written >= WRITE {
                return self.unsent.push(id);
            }
        }
    }

    fn watch_listeners(&mut self, opened: Vec<(Listener, Open)>) -> io::Result<()> {
        for (kind, mut open) in opened {
            let slot = self
                .listeners
                .iter()
                .position(Option::is_none)
                .unwrap_or(self.listeners.len());
            if LISTENERS + slot >= CONNS {
                return Err(io::Error::other("too many listeners"));
            }
            self.poll.registry().register(
                open.source(),
                Token(LISTENERS + slot),
                Interest::READABLE,
            )?;
            let listening = Some(Listening {
                kind,
                open,
                ready: false,
            });
            if slot == self.listeners.len() {
                self.listeners.push(listening);
            } else {
                self.listeners[slot] = listening;
            }
        }
        Ok(())
    }
}

/// The level below which log lines are dropped.
pub fn log_level(level: ConfigLevel) -> LogLevel {
    match level {
        ConfigLevel::Debug => LogLevel::Debug,
        ConfigLevel::Verbose => LogLevel::Verbose,
        ConfigLevel::Notice => LogLevel::Notice,
        ConfigLevel::Warning => LogLevel::Warning,
    }
}
