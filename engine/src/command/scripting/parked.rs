//! Scripts that have used up a slice: they are parked, go on step by step, and end later than the turn in which
//! they began. Until then they may be slow, and be killed; then their time is counted.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::context::{Parts, condition};
use super::super::error::CommandError;
use super::super::{address, blocking, execute, pubsub};
use super::drive::{Driven, drive};
use super::{BUSY_EVAL, BUSY_FUNCTION, Running, conclude, debugging, put_back, settle};
use crate::client::{Blocked, Session};
use crate::face::{ConnId, LogLevel, Now};
use crate::script::{self, Event, Finished, Kind};

/// What is left of a script that was parked, until its time is counted.
#[derive(Debug)]
pub struct Ended {
    number: Option<usize>,
    caller: ConnId,
    words: Vec<Vec<u8>>,
    /// When it began, and when its last step did; monotonic, in microseconds.
    began_us: u64,
    step_us: u64,
}

/// A script goes on later; others wait until then.
pub fn park(parts: &mut Parts, caller: &mut Session, running: Box<Running>) {
    parts.scripts.parked = Some(running);
    parts.set(condition::SCRIPT, true);
    caller.blocked = Some(Box::new(Blocked::Script));
    parts.effects.begin();
}

/// Lets the parked script go on for a step. False if others must wait for it still: until it is over, and one step more,
/// by whose time it is known how long the last one was.
pub fn advance(parts: &mut Parts, now: Now) -> bool {
    if parts.transfers.holds_all() {
        return parts.scripts.busy().is_some();
    }
    if let Some(ended) = parts.scripts.ended.take() {
        parts.set(condition::SCRIPT, false);
        end(parts, *ended, now);
        return true;
    }
    let Some(mut running) = parts.scripts.parked.take() else {
        // (It was a transaction that waited.)
        parts.set(condition::SCRIPT, false);
        return true;
    };
    if !debugging::goes_on(parts, &mut running) {
        parts.scripts.parked = Some(running);
        return true;
    }
    let Some(vm) = running.vm.as_mut() else {
        return true;
    };
    step_took(parts, now.mono_us.saturating_sub(running.step_us));
    running.step_us = now.mono_us;
    if running.pending.is_some() {
        let tracking = parts.config.latency_tracking;
        parts.nested.set_apart(&mut parts.stats, tracking);
    }
    let event = match running.pending {
        Some(_) => Event::Command,
        None => vm.go_on(),
    };
    match drive(parts, &mut running, event, false) {
        Driven::Done(finished) => {
            let timed = running.debug.is_none();
            over(parts, *running, finished, now);
            !timed
        }
        Driven::Stopped => {
            debugging::stop_for_client(parts, &mut running);
            parts.scripts.parked = Some(running);
            true
        }
        Driven::Slice => {
            note_slow(parts, &mut running, now);
            let busy = running.busy;
            parts.scripts.parked = Some(running);
            busy
        }
    }
}

/// A script is over that was left for a while: its client has its reply. (Unless it was debugged, its time is counted
/// with the next step.)
pub fn over(parts: &mut Parts, mut running: Running, finished: Finished, now: Now) {
    let (conn, number, queued) = (running.caller, running.number, running.queued);
    if running.debug.is_none() {
        parts.scripts.ended = Some(Box::new(Ended {
            number,
            caller: conn,
            words: core::mem::take(&mut running.words),
            began_us: running.began_us,
            step_us: running.step_us,
        }));
    } else if !running.rolls_back() {
        parts.set(condition::SCRIPT, false);
    }
    match parts.clients.take(conn) {
        Some(mut caller) => {
            let start = caller.out.position();
            debugging::end_session(&running, &mut caller);
            if let Err(error) = conclude(parts, &mut caller, running, finished) {
                if let Some(number) = number {
                    parts.stats.commands[number].failed += 1;
                }
                parts.stats.error(&error.0);
                caller.out.error(&error.0);
            }
            if queued {
                // EXEC's end is the reply's.
                caller.blocked = None;
                parts.clients.put(caller);
            } else {
                execute::finish(parts, &mut caller, start);
                parts.clients.put(caller);
                parts.unblock(conn);
            }
        }
        // Who sent it is gone.
        None => {
            settle(parts, &running);
            if let Some(vm) = running.vm.take() {
                put_back(parts, running, vm);
            }
        }
    }
    if queued {
        return;
    }
    if !parts.events.is_empty() {
        pubsub::publish_events(parts, None, now);
    }
    if parts.watches.waits.any_ready() {
        blocking::serve(parts, now);
    }
}

/// Looks whether the parked script has run for so long that others are told.
fn note_slow(parts: &mut Parts, running: &mut Running, now: Now) {
    let elapsed = running.elapsed_ms(now);
    let threshold = parts.config.busy_reply_threshold;
    debugging::note_slow(parts, running, elapsed);
    if running.busy || threshold == 0 || elapsed < threshold {
        return;
    }
    running.busy = true;
    parts.log(
        LogLevel::Warning,
        format!(
            "Slow script detected: still in execution after {elapsed} milliseconds. \
             You can try killing the script using the {} command. Script name is: {}.",
            match running.kind {
                Kind::Eval => "SCRIPT KILL",
                Kind::Functions => "FUNCTION KILL",
            },
            String::from_utf8_lossy(&running.name)
        ),
    );
}

/// Tells the commands that a script called in a step how long that took.
#[inline]
pub fn step_took(parts: &mut Parts, micros: u64) {
    if !parts.nested.is_empty() {
        let tracking = parts.config.latency_tracking;
        parts.nested.settle(&mut parts.stats, micros, tracking);
    }
}

/// Counts the time that a script took which was parked, and remembers it as slow.
fn end(parts: &mut Parts, ended: Ended, now: Now) {
    step_took(parts, now.mono_us.saturating_sub(ended.step_us));
    let micros = now.mono_us.saturating_sub(ended.began_us);
    if let Some(number) = ended.number {
        let stats = &mut parts.stats.commands[number];
        stats.micros += micros;
        if parts.config.latency_tracking {
            stats.times.get_or_insert_default().add(micros);
        }
    }
    let threshold = parts.config.latency_monitor_threshold;
    if threshold > 0 && micros / 1000 >= threshold {
        parts.latency.add(now, "command", micros / 1000);
    }
    if u64::try_from(parts.config.slowlog_log_slower_than).is_ok_and(|at| micros >= at) {
        let words: Vec<&[u8]> = ended.words.iter().map(Vec::as_slice).collect();
        let most = usize::try_from(parts.config.slowlog_max_len).unwrap_or(usize::MAX);
        let caller = parts.clients.get(ended.caller);
        let peer = caller.map(|session| address(&session.peer));
        let name = caller
            .map(|session| session.name.to_vec())
            .unwrap_or_default();
        let peer = peer.unwrap_or_default();
        parts.slow_log.add(now, micros, &words, &peer, &name, most);
    }
}

/// SCRIPT KILL and FUNCTION KILL.
///
/// # Errors
/// There is none to end, or it cannot be ended.
pub fn kill(parts: &mut Parts, kind: Kind) -> Result<(), CommandError> {
    let Some(running) = parts.scripts.parked.as_mut() else {
        return Err(CommandError::fixed(
            "NOTBUSY No scripts in execution right now.",
        ));
    };
    // (Who debugs one may end it at any time, too.)
    if running.wrote && running.debug.is_none() {
        return Err(CommandError::fixed(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        ));
    }
    match (kind, running.kind) {
        (Kind::Eval, Kind::Functions) => return Err(BUSY_FUNCTION),
        (Kind::Functions, Kind::Eval) => return Err(BUSY_EVAL),
        _ => {}
    }
    if let Some(vm) = &running.vm {
        vm.io.ended.set(Some(script::KILLED));
    }
    parts.log(
        LogLevel::Warning,
        "Lua script killed by user with SCRIPT KILL.",
    );
    Ok(())
}
