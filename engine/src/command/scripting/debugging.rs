//! Scripts that are debugged, at work: see [`crate::script::Debugger`] for what a session is.
//!
//! A session with SYNC takes the place of the script that is parked; those that are rolled back are beside it, each
//! with an interpreter of its own. Either stands still until its client sends the next command, which comes as any
//! request does, or until its client is gone.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::super::context::{Parts, Server, condition};
use super::super::error::CommandError;
use super::super::monitor;
use super::super::table::{Command, Outcome};
use super::drive::{Driven, drive};
use super::parked::{over, park};
use super::permit::{Refusal, refuse};
use super::rehearsal::Rehearsal;
use super::{Call, Running, conclude, number_of_keys, start};
use crate::client::{Blocked, Scope, Session, alert};
use crate::face::{LogLevel, Now};
use crate::resp::Output;
use crate::script::{self, Debugger, Event, Job, Kind, Vm};
use crate::value::number::write_i64;

/// Sessions that are rolled back, at most.
const MOST_SESSIONS: usize = 64;

/// What a session that takes long is stopped after, if scripts may take any time, in milliseconds.
const DEFAULT_THRESHOLD_MS: u64 = 5000;

/// A script is debugged.
#[derive(Debug)]
pub(super) struct Debug {
    /// It waits for the next command.
    pub stopped: bool,
    /// Its changes are rolled back.
    rehearsal: Option<Box<Rehearsal>>,
}

impl Debug {
    /// Whether its changes are for nobody else to see.
    pub fn rolls_back(&self) -> bool {
        self.rehearsal.is_some()
    }

    /// The session is over.
    pub fn end(self, parts: &mut Parts) {
        if let Some(rehearsal) = self.rehearsal {
            rehearsal.end(parts);
        }
    }
}

/// `EVAL`, of a client that debugs its scripts: the session begins.
pub fn begin(s: &mut Server<'_>, args: &[&[u8]], read_only: bool) -> Outcome {
    if s.session.is(alert::MULTI) {
        return Err(CommandError::fixed(
            "ERR Scripts cannot be debugged in a transaction",
        ));
    }
    let Err(error) = try_begin(s, args, read_only) else {
        return Ok(());
    };
    // (What it has to say comes before the error.)
    s.session.out.array(1);
    s.session.out.simple(END);
    s.parts.stats.error(&error.0);
    if let Some((number, _)) = s.parts.index.find(args[0]) {
        s.parts.stats.commands[number].failed += 1;
    }
    s.session.out.error(&error.0);
    s.session.set(alert::CLOSING, true);
    Ok(())
}

/// What a session says at its end.
const END: &str = "<endsession>";

fn try_begin(s: &mut Server<'_>, args: &[&[u8]], read_only: bool) -> Result<(), CommandError> {
    let error = |text: &[u8]| CommandError::text([b"ERR ", text].concat());
    let sync = s.session.is(alert::DEBUGS_SYNC);
    if !sync && s.parts.scripts.rehearsed.len() >= MOST_SESSIONS {
        return Err(error(b"Too many scripts are being debugged"));
    }
    if s.parts.scripts.is_parked() || s.parts.effects.is_open() {
        return Err(error(b"Another script is under way"));
    }
    let keys = number_of_keys(args[2], args.len() - 3)?;
    let head = script::shebang(args[1]).map_err(|why| error(&why))?;
    let vm = Vm::debugging(Debugger::new(args[1])).map_err(|why| error(why.as_bytes()))?;
    let mut vm = Box::new(vm);
    let compiled = vm.start(Job::Compile(args[1][head.code..].to_vec()));
    let Event::Outcome(script::Outcome::Compiled(compiled)) = compiled else {
        return Err(error(b"the interpreter is busy"));
    };
    let function = compiled
        .map_err(|why| error(&[b"Error compiling script (new function): ", &why[..]].concat()))?;
    let call = Call {
        kind: Kind::Eval,
        function,
        name: &script::sha1hex(args[1]),
        flags: head.flags,
        read_only,
        keys,
        words: &args[3..],
        all: args,
    };
    let oom = refuse(s.parts, s.session, s.now, &call)?;
    if !s.parts.monitors.is_empty() {
        monitor::show_words(s.parts, s.session, s.now, args);
    }
    let how = if sync { "synchronous" } else { "rolled back" };
    let text = alloc::format!("Debugging session ({how}) started");
    s.parts.log(LogLevel::Warning, text);
    let (mut running, event) = start(s.parts, s.session, s.now, &call, vm, oom);
    running.debug = Some(Debug {
        stopped: false,
        rehearsal: (!sync).then(Box::default),
    });
    running.words = args.iter().map(|word| word.to_vec()).collect();
    if sync {
        s.parts.effects.open();
        running.opened = true;
        // Others are told from the beginning.
        running.busy = true;
    } else {
        // That somebody looks at a key is not to be seen by others.
        running.session.no_touch = true;
    }
    s.session.set(alert::DEBUGGING, true);
    go_on(s.parts, s.session, Box::new(running), event)
}

/// A session's client sends its next command.
pub fn command(parts: &mut Parts, session: &mut Session, now: Now, args: &[&[u8]]) {
    let Some(mut running) = take(parts, session) else {
        // (That cannot be.)
        return session.set(alert::CLOSING, true);
    };
    // Time goes on when the script does.
    running.start = now;
    running.slices = 0;
    let Some(vm) = running.vm.as_mut() else {
        return session.set(alert::CLOSING, true);
    };
    let accepted = (vm.io.debugger.borrow_mut().as_mut()).is_some_and(|d| d.accept(args));
    if accepted {
        let mut words = vm.io.words.borrow_mut();
        words.clear();
        args.iter().for_each(|word| words.push(word));
    }
    let event = vm.go_on();
    let number = running.number;
    if let Err(error) = go_on(parts, session, running, event) {
        parts.stats.error(&error.0);
        if let Some(number) = number {
            parts.stats.commands[number].failed += 1;
        }
        session.out.error(&error.0);
    }
}

/// A client's session, if it stands still.
fn take(parts: &mut Parts, session: &Session) -> Option<Box<Running>> {
    let mine = |running: &Running| running.caller == session.conn && running.stands_still();
    if parts.scripts.parked.as_deref().is_some_and(mine) {
        return parts.scripts.parked.take();
    }
    let at = parts.scripts.rehearsed.iter().position(mine)?;
    Some(Box::new(parts.scripts.rehearsed.remove(at)))
}

/// The script goes on, for its client's command, until it stands still, takes long, or is over.
fn go_on(
    parts: &mut Parts,
    session: &mut Session,
    mut running: Box<Running>,
    event: Event,
) -> Result<(), CommandError> {
    if let Some(debug) = &mut running.debug {
        debug.stopped = false;
    }
    match drive(parts, &mut running, event, false) {
        Driven::Done(finished) => {
            if !running.rolls_back() {
                parts.set(condition::SCRIPT, false);
            }
            end_session(&running, session);
            return conclude(parts, session, *running, finished);
        }
        Driven::Stopped => {
            stop(&mut running, &mut session.out);
            session.blocked = None;
        }
        Driven::Slice => session.blocked = Some(Box::new(Blocked::Script)),
    }
    if !running.rolls_back() {
        let blocked = session.blocked.take();
        park(parts, session, running);
        session.blocked = blocked;
    } else {
        parts.effects.begin();
        parts.scripts.rehearsed.push(*running);
    }
    Ok(())
}

/// The script stands still: what there is to show is sent.
fn stop(running: &mut Running, out: &mut Output) {
    send_lines(running, out, None);
    if let Some(debug) = &mut running.debug {
        debug.stopped = true;
    }
}

/// The session is over: what is left to show is sent, then comes EVAL's reply, then the end of the connection.
pub(super) fn end_session(running: &Running, session: &mut Session) {
    if running.debug.is_some() {
        send_lines(running, &mut session.out, Some(END));
        session.set(alert::DEBUGGING, false);
        session.set(alert::CLOSING, true);
    }
}

/// Sends lines, each as a status.
fn send_lines(running: &Running, out: &mut Output, last: Option<&str>) {
    let lines = running.vm.as_ref().and_then(|vm| {
        let mut debugger = vm.io.debugger.borrow_mut();
        Some(debugger.as_mut()?.take_lines())
    });
    let lines = lines.unwrap_or_default();
    out.array(lines.len() + usize::from(last.is_some()));
    for mut line in lines {
        line.iter_mut()
            .filter(|c| matches!(c, b'\r' | b'\n'))
            .for_each(|c| *c = b' ');
        out.raw(b"+");
        out.raw(&line);
        out.raw(b"\r\n");
    }
    if let Some(last) = last {
        out.simple(last);
    }
}

/// As [`stop`], of a script whose client has been waiting.
pub(super) fn stop_for_client(parts: &mut Parts, running: &mut Running) {
    let conn = running.caller;
    match parts.clients.get_mut(conn) {
        Some(session) => {
            stop(running, &mut session.out);
            parts.unblock(conn);
        }
        // (It will go on by itself: see `goes_on`.)
        None => stop(running, &mut Output::default()),
    }
}

/// Whether the script has something to do: it does not stand still, or it is to end, or its client is gone.
pub(super) fn goes_on(parts: &Parts, running: &mut Running) -> bool {
    if !running.stands_still() {
        return true;
    }
    let Some(vm) = &running.vm else {
        return true;
    };
    let gone = parts.clients.get(running.caller).is_none();
    if gone && let Some(debugger) = vm.io.debugger.borrow_mut().as_mut() {
        debugger.leave();
    }
    let wakes = gone || vm.io.ended.get().is_some();
    if wakes && let Some(debug) = &mut running.debug {
        debug.stopped = false;
    }
    wakes
}

/// The script goes on and on: it is to stop somewhere; or to end, if nobody is there to say what is to be done then.
pub(super) fn note_slow(parts: &Parts, running: &Running, elapsed_ms: u64) {
    let threshold_ms = match parts.config.busy_reply_threshold {
        0 => DEFAULT_THRESHOLD_MS,
        threshold => threshold,
    };
    let Some(vm) = running.vm.as_ref().filter(|_| running.debug.is_some()) else {
        return;
    };
    if elapsed_ms < threshold_ms {
        return;
    }
    if parts.clients.get(running.caller).is_none() {
        vm.io.ended.set(Some(script::TIMEOUT));
    } else if let Some(debugger) = vm.io.debugger.borrow_mut().as_mut() {
        debugger.stop();
    }
}

/// Lets the scripts go on for a slice whose changes are rolled back. Those whose client is gone are forgotten.
pub fn advance(parts: &mut Parts, now: Now) {
    if parts.scripts.rehearsed.is_empty() {
        return;
    }
    for mut running in core::mem::take(&mut parts.scripts.rehearsed) {
        if parts.clients.get(running.caller).is_none() {
            if let Some(debug) = running.debug.take() {
                debug.end(parts);
            }
            continue;
        }
        if running.stands_still() {
            parts.scripts.rehearsed.push(running);
            continue;
        }
        let Some(vm) = running.vm.as_mut() else {
            continue;
        };
        let event = vm.go_on();
        match drive(parts, &mut running, event, false) {
            Driven::Done(finished) => {
                over(parts, running, finished, now);
                continue;
            }
            Driven::Stopped => stop_for_client(parts, &mut running),
            Driven::Slice => {
                let elapsed = running.elapsed_ms(now);
                note_slow(parts, &running, elapsed);
            }
        }
        parts.scripts.rehearsed.push(running);
    }
}

/// What must be done before a script's command is carried out that will be rolled back, or why it cannot be.
pub(super) fn admit(
    parts: &mut Parts,
    running: &mut Running,
    found: (usize, &'static Command),
    args: &[&[u8]],
) -> Result<(usize, &'static Command), Refusal> {
    let db = running.session.db;
    if let Some(rehearsal) = running.debug.as_mut().and_then(|d| d.rehearsal.as_mut()) {
        let admitted = rehearsal.admit(parts, db, found.1, args);
        admitted.map_err(|why| (Some(found.0), why.as_bytes().to_vec()))?;
    }
    Ok(found)
}

/// What there is to do after the commands of a script, or some of them: others are to see nothing of those that will be
/// rolled back.
pub(super) fn leave(parts: &mut Parts, running: &mut Running) {
    if let Some(rehearsal) = running.debug.as_mut().and_then(|d| d.rehearsal.as_mut()) {
        rehearsal.leave(parts);
    }
}

/// The reply to a message that nobody gets: how many would.
pub(super) fn count_listeners(
    parts: &Parts,
    command: &Command,
    args: &[&[u8]],
    reply: &mut Vec<u8>,
) {
    let scope = match command.name {
        "spublish" => Scope::Shard,
        _ => Scope::Channel,
    };
    reply.push(b':');
    write_i64(reply, parts.channels.count(scope, args[1]) as i64);
    reply.extend_from_slice(b"\r\n");
}
