//! Scripts at work: what is known of them, and how one begins and is concluded.
//!
//! A script that has used up a slice of instructions is parked, and goes on with the next step of a turn or
//! the next tick. Until it has run for `busy-reply-threshold`, nothing else is carried out; from then on
//! others are told BUSY, and may end it, as long as it has written nothing.
//!
//! `drive.rs` lets an interpreter run and carries out what it asks for, `parked.rs` has those that take longer than
//! a slice. What a script may do is in `permit.rs`; scripts that are debugged are in `debugging.rs` and `rehearsal.rs`.

pub mod debugging;
mod drive;
mod parked;
mod permit;
mod rehearsal;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::context::Parts;
use super::error::CommandError;
use super::libraries::Libraries;
use super::monitor;
use super::table::Command;
use super::tracking;
use crate::client::{Session, alert};
use crate::cluster::slot_of;
use crate::config;
use crate::face::{Address, ConnId, Listener, LogLevel, Now};
use crate::script::{self, Event, Finished, Job, Kind, Sha, Vm};
use debugging::Debug;
use drive::{Driven, drive};
use parked::{Ended, park};
pub use parked::{advance, kill, step_took};
pub use permit::effective_flags;
use permit::{may_run, permitted, refuse};

/// BUSY, while a script of EVAL runs.
pub const BUSY_EVAL: CommandError = CommandError::fixed(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);

/// BUSY, while a function runs.
pub const BUSY_FUNCTION: CommandError = CommandError::fixed(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);

/// Slices that count as a millisecond, if the clock does not say more.
const SLICES_A_MS: u64 = 10;

/// A script that EVALSHA knows.
#[derive(Debug)]
pub struct Script {
    /// Its text.
    pub body: Box<[u8]>,
    /// See [`script::flag`].
    pub flags: u32,
    /// Its number in the interpreter.
    pub function: u32,
}

/// All about scripts.
#[derive(Debug, Default)]
pub struct Scripts {
    eval: Option<Box<Vm>>,
    functions: Option<Box<Vm>>,
    /// Scripts may use commands that are not for them (DEBUG SET-DISABLE-DENY-SCRIPTS).
    pub unrestricted: bool,
    /// Scripts by name.
    pub cache: BTreeMap<Sha, Rc<Script>>,
    /// The one that EVAL ran last: if it comes again, comparing its text is cheaper than hashing it.
    pub last: Option<(Sha, Rc<Script>)>,
    /// Bytes of their texts.
    pub cache_bytes: usize,
    /// Functions.
    pub libraries: Libraries,
    /// The one that is parked.
    parked: Option<Box<Running>>,
    /// Those that are debugged and rolled back: nobody waits for them.
    rehearsed: Vec<Running>,
    /// One that was parked and is over, but for its time.
    ended: Option<Box<Ended>>,
    /// When the running command began, if it is of a transaction that is carried out in steps; monotonic, in
    /// microseconds.
    pub step_us: Option<u64>,
    /// The session that scripts' commands run in, kept between scripts.
    session: Option<Box<Session>>,
}

impl Scripts {
    /// The interpreter of a kind, made if it is not there.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn vm(&mut self, kind: Kind) -> Result<&mut Vm, CommandError> {
        let place = self.place(kind);
        if place.is_none() {
            let vm = Vm::new(kind).map_err(|why| CommandError::text(format!("ERR {why}")))?;
            *place = Some(Box::new(vm));
        }
        place.as_deref_mut().ok_or(CommandError::SYNTAX)
    }

    fn place(&mut self, kind: Kind) -> &mut Option<Box<Vm>> {
        match kind {
            Kind::Eval => &mut self.eval,
            Kind::Functions => &mut self.functions,
        }
    }

    /// Forgets an interpreter with all it holds.
    pub fn drop_vm(&mut self, kind: Kind) {
        *self.place(kind) = None;
    }

    /// Bytes that an interpreter holds.
    pub fn vm_memory(&self, kind: Kind) -> usize {
        let vm = match kind {
            Kind::Eval => &self.eval,
            Kind::Functions => &self.functions,
        };
        vm.as_ref().map_or(0, |vm| vm.io.memory.get())
    }

    /// Whether a script is under way that others wait for.
    pub fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// What others are told while a script runs for too long.
    pub fn busy(&self) -> Option<CommandError> {
        let running = self.parked.as_ref().filter(|running| running.busy)?;
        Some(match running.kind {
            Kind::Eval => BUSY_EVAL,
            Kind::Functions => BUSY_FUNCTION,
        })
    }

    /// Whether some script would go on at once.
    pub fn runs_on(&self) -> bool {
        let mut all = (self.parked.as_deref().into_iter()).chain(&self.rehearsed);
        self.ended.is_some() || all.any(|running| !running.stands_still())
    }

    /// The sessions of the scripts that are under way.
    pub fn sessions(&mut self) -> impl Iterator<Item = &mut Session> {
        let all = (self.parked.as_deref_mut().into_iter()).chain(&mut self.rehearsed);
        all.map(|running| &mut *running.session)
    }

    /// The script that is parked.
    pub fn running(&self) -> Option<&Running> {
        self.parked.as_deref()
    }

    /// Forgets all scripts of EVAL.
    pub fn flush(&mut self) {
        self.cache.clear();
        self.last = None;
        self.cache_bytes = 0;
        self.eval = None;
    }
}

/// A script under way.
#[derive(Debug)]
pub struct Running {
    vm: Option<Box<Vm>>,
    kind: Kind,
    /// Its SHA, or the function's name.
    pub name: SmallVec<[u8; 40]>,
    /// What its commands run in.
    session: Box<Session>,
    /// The command that it is.
    number: Option<usize>,
    /// Who sent it.
    caller: ConnId,
    /// As CLIENT LIST shows it, if its user may not do everything.
    client: String,
    /// The words by which it was called, for FUNCTION STATS.
    pub words: Vec<Vec<u8>>,
    read_only: bool,
    allow_oom: bool,
    cross_slot: bool,
    /// Memory was used up when it began.
    oom: bool,
    wrote: bool,
    /// The keys' slot, once it is known.
    slot: Option<u16>,
    /// When it began; its commands see that time.
    pub start: Now,
    /// When the step in which it began, and the one under way, did; monotonic, in microseconds.
    began_us: u64,
    step_us: u64,
    /// The command that it asks for has a step of its own, the next, or has begun and is to be waited for.
    pending: Option<(usize, &'static Command)>,
    /// Its effects are a transaction of their own.
    opened: bool,
    slices: u64,
    busy: bool,
    /// It is part of a transaction, which goes on when it is over.
    queued: bool,
    /// It is debugged.
    debug: Option<Debug>,
}

impl Running {
    /// Whether it waits for the debugger's next command.
    fn stands_still(&self) -> bool {
        self.debug.as_ref().is_some_and(|debug| debug.stopped)
    }

    /// Whether its changes are for nobody else to see.
    fn rolls_back(&self) -> bool {
        self.debug.as_ref().is_some_and(Debug::rolls_back)
    }

    /// For how long it has run; by its instructions, if the clock does not say more.
    fn elapsed_ms(&self, now: Now) -> u64 {
        let elapsed = now.mono_us.saturating_sub(self.start.mono_us) / 1000;
        elapsed.max(self.slices / SLICES_A_MS / 100)
    }
}

/// What is to be run, and how.
pub struct Call<'a> {
    /// Which interpreter.
    pub kind: Kind,
    /// The function's number in it.
    pub function: u32,
    /// The script's SHA, or the function's name.
    pub name: &'a [u8],
    /// See [`script::flag`].
    pub flags: u32,
    /// It was called by a command that only reads.
    pub read_only: bool,
    /// How many of the words are keys.
    pub keys: usize,
    /// Keys and arguments.
    pub words: &'a [&'a [u8]],
    /// All words of the command.
    pub all: &'a [&'a [u8]],
}

/// How many words are keys.
///
/// # Errors
/// It is no number, or makes no sense.
pub fn number_of_keys(word: &[u8], words_after: usize) -> Result<usize, CommandError> {
    let n = crate::value::number::parse_i64(word).ok_or(CommandError::NOT_INTEGER)?;
    if n > words_after as i64 {
        return Err(CommandError::fixed(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    usize::try_from(n).map_err(|_| CommandError::fixed("ERR Number of keys can't be negative"))
}

/// Runs a script for a session. It may be parked then: the session is blocked, and has its reply later.
///
/// # Errors
/// It may not run, or failed.
pub fn run(
    parts: &mut Parts,
    caller: &mut Session,
    now: Now,
    call: &Call<'_>,
) -> Result<(), CommandError> {
    let oom = refuse(parts, caller, now, call)?;
    if !parts.monitors.is_empty() && !caller.is(alert::TRUSTED) {
        monitor::show_words(parts, caller, now, call.all);
    }
    parts.scripts.vm(call.kind)?;
    let Some(vm) = parts.scripts.place(call.kind).take() else {
        return Err(CommandError::SYNTAX);
    };
    let opened = !parts.effects.is_open();
    if opened {
        parts.effects.open();
    }
    let (mut running, event) = start(parts, caller, now, call, vm, oom);
    running.opened = opened;
    // What comes from a file or our primary is not interrupted.
    let may_park =
        !caller.is(alert::TRUSTED) && (!caller.is(alert::MULTI) || parts.scripts.step_us.is_some());
    match drive(parts, &mut running, event, !may_park) {
        Driven::Done(finished) => conclude(parts, caller, running, finished),
        Driven::Slice | Driven::Stopped => {
            running.words = call.all.iter().map(|word| word.to_vec()).collect();
            park(parts, caller, Box::new(running));
            Ok(())
        }
    }
}

/// A script begins, in an interpreter that knows it.
fn start(
    parts: &mut Parts,
    caller: &Session,
    now: Now,
    call: &Call<'_>,
    mut vm: Box<Vm>,
    oom: bool,
) -> (Running, Event) {
    vm.io.verbosity.set(verbosity(parts.config.loglevel));
    {
        let mut words = vm.io.words.borrow_mut();
        words.clear();
        call.words.iter().for_each(|word| words.push(word));
    }
    let declared = call.flags & script::flag::COMPATIBLE == 0;
    parts.nested.begin();
    let began_us = parts.scripts.step_us.unwrap_or(now.mono_us);
    let event = vm.start(Job::Run {
        function: call.function,
        keys: call.keys,
        resp3: caller.out.resp3,
    });
    let running = Running {
        vm: Some(vm),
        kind: call.kind,
        name: SmallVec::from_slice(call.name),
        session: session_for(parts, caller, now, call),
        number: parts.index.find(call.all[0]).map(|(number, _)| number),
        caller: caller.conn,
        client: if caller.is(alert::LIMITED) {
            super::describe(parts, caller, now)
        } else {
            String::new()
        },
        words: Vec::new(),
        read_only: call.read_only || (declared && call.flags & script::flag::NO_WRITES != 0),
        allow_oom: declared && call.flags & script::flag::ALLOW_OOM != 0,
        cross_slot: !declared || call.flags & script::flag::ALLOW_CROSS_SLOT_KEYS != 0,
        oom,
        wrote: false,
        slot: call
            .words
            .first()
            .filter(|_| call.keys > 0)
            .map(|key| slot_of(key)),
        start: now,
        began_us,
        step_us: began_us,
        pending: None,
        opened: false,
        slices: 0,
        busy: false,
        queued: caller.is(alert::MULTI),
        debug: None,
    };
    (running, event)
}

fn verbosity(level: config::LogLevel) -> LogLevel {
    match level {
        config::LogLevel::Debug => LogLevel::Debug,
        config::LogLevel::Verbose => LogLevel::Verbose,
        config::LogLevel::Notice => LogLevel::Notice,
        config::LogLevel::Warning => LogLevel::Warning,
    }
}

/// A session for a script's commands: as the caller's, but its own.
fn session_for(parts: &mut Parts, caller: &Session, now: Now, call: &Call<'_>) -> Box<Session> {
    let mut session = parts.scripts.session.take().unwrap_or_else(|| {
        // What it is called where commands are shown; it has no connection.
        let lua = Address::Unix("lua".into());
        let conn = ConnId::outgoing(0);
        let session = Session::new(caller.id, conn, Listener::Unix, lua.clone(), lua, now);
        Box::new(session)
    });
    session.id = caller.id;
    session.db = caller.db;
    session.user = caller.user;
    session.authenticated = caller.authenticated;
    // As in a transaction nothing blocks.
    let kept = alert::TRUSTED | alert::READONLY | alert::ASKING | alert::LIMITED;
    session.alerts = caller.alerts & kept | alert::MULTI;
    session.no_touch = caller.no_touch;
    session.imports = caller.imports;
    session.tracking = tracking::mode_for_script(caller, &call.words[..call.keys]);
    session
}

/// A script is done: its effects are journalled, its reply is written.
fn conclude(
    parts: &mut Parts,
    caller: &mut Session,
    mut running: Running,
    finished: Finished,
) -> Result<(), CommandError> {
    settle(parts, &running);
    caller.last_offset = parts.journal.end();
    let Some(vm) = running.vm.take() else {
        return Err(CommandError::SYNTAX);
    };
    let outcome = write_reply(caller, &vm, &running, finished);
    let mut errors = vm.io.errors.borrow_mut();
    let itself = matches!(finished, Finished::Error { counted: true, .. });
    if let Some(number) = running.number {
        parts.stats.commands[number].failed += errors.len() as u64 + u64::from(itself);
    }
    if !errors.is_empty() {
        errors.iter().for_each(|error| parts.stats.error(error));
        errors.clear();
    }
    drop(errors);
    put_back(parts, running, vm);
    outcome
}

/// What a script that is over has used is there for the next one.
fn put_back(parts: &mut Parts, running: Running, vm: Box<Vm>) {
    match running.debug {
        None => *parts.scripts.place(running.kind) = Some(vm),
        Some(debug) => debug.end(parts),
    }
    parts.scripts.session = Some(running.session);
}

/// Journals a script's effects.
fn settle(parts: &mut Parts, running: &Running) {
    if running.opened {
        parts.effects.close(&mut parts.journal);
    }
    // The script itself has changed nothing.
    parts.effects.begin();
}

fn write_reply(
    caller: &mut Session,
    vm: &Vm,
    running: &Running,
    finished: Finished,
) -> Result<(), CommandError> {
    let reply = vm.io.reply.borrow();
    match finished {
        Finished::Reply => {
            caller.out.raw(&reply);
            Ok(())
        }
        Finished::Error { counted, located } => {
            let mut text = Vec::new();
            if located {
                let mut parts = reply.splitn(2, |&c| c == 0);
                text.extend_from_slice(parts.next().unwrap_or_default());
                if let Some(rest) = parts.next() {
                    text.extend_from_slice(&running.name);
                    text.extend_from_slice(rest);
                }
            } else {
                text = reply.to_vec();
            }
            // One line: what ends it at its end is not there, what does before is a blank.
            let is_end = |c: &u8| matches!(c, b'\r' | b'\n');
            text.truncate(
                text.iter()
                    .rposition(|c| !is_end(c))
                    .map_or(0, |last| last + 1),
            );
            text.iter_mut()
                .filter(|c| is_end(c))
                .for_each(|c| *c = b' ');
            if counted {
                caller.out.error(&text);
                Ok(())
            } else {
                Err(CommandError::text(text))
            }
        }
    }
}
