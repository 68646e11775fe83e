//! Drives an interpreter, and carries out the commands that its script asks for as any others.

use smallvec::SmallVec;

use super::super::context::Parts;
use super::super::execute::{self, Request};
use super::super::{migrate, nested};
use super::{Running, debugging, may_run, permitted, rehearsal};
use crate::client::alert;
use crate::journal::Audience;
use crate::planted::{self, Bug};
use crate::script::{self, Debugger, Event, Finished, Outcome, Vm};
use alloc::string::String;

/// Slices after which a script that cannot be parked (from our primary, say) is ended.
const MOST_SLICES: u64 = 20_000;

/// How far an interpreter was driven.
pub enum Driven {
    /// To the end of its job.
    Done(Finished),
    /// It has used up a slice.
    Slice,
    /// It is debugged, and stands still.
    Stopped,
}

/// Drives an interpreter until it is done, or (unless it is to run `through`) has used up a slice, or comes to a command
/// that has a step of its own, or has been through one.
pub fn drive(parts: &mut Parts, running: &mut Running, mut event: Event, through: bool) -> Driven {
    let failed = Driven::Done(Finished::Error {
        counted: false,
        located: false,
    });
    let Some(mut vm) = running.vm.take() else {
        return failed;
    };
    let driven = loop {
        for (level, line) in vm.io.log.borrow_mut().drain(..) {
            parts.log(level, String::from_utf8_lossy(&line).into_owned());
        }
        match event {
            Event::Command => {
                if command(parts, running, &vm, through) {
                    break Driven::Slice;
                }
            }
            Event::MayRun => may_run(parts, running, &vm),
            Event::Slice => {
                running.slices += 1;
                if !through {
                    break Driven::Slice;
                }
                if running.slices > MOST_SLICES {
                    vm.io.ended.set(Some(script::KILLED));
                }
            }
            Event::Stopped => break Driven::Stopped,
            Event::Outcome(Outcome::Done(finished)) => break Driven::Done(finished),
            Event::Outcome(_) => break failed,
        }
        event = vm.go_on();
    };
    running.vm = Some(vm);
    debugging::leave(parts, running);
    driven
}

/// Carries out the command that a script asks for. True if the step is to end, before it or after it.
fn command(parts: &mut Parts, running: &mut Running, vm: &Vm, through: bool) -> bool {
    let words = core::mem::take(&mut *vm.io.words.borrow_mut());
    let args: SmallVec<[&[u8]; 8]> = words.iter().collect();
    let mut reply = core::mem::take(&mut *vm.io.reply.borrow_mut());
    reply.clear();
    let show = |f: &dyn Fn(&mut Debugger)| {
        let mut debugger = vm.io.debugger.borrow_mut();
        debugger.as_mut().filter(|d| d.shows()).map(f);
    };
    let found = match running.pending.take() {
        Some(found) => Ok(found),
        None => {
            show(&|d| d.show_command(args.iter().copied()));
            let found = permitted(parts, running, &args);
            found.and_then(|found| debugging::admit(parts, running, found, &args))
        }
    };
    // (Who debugs a script does not look at its time.)
    let timed = running.debug.is_none() && !running.session.is(alert::TRUSTED);
    let mut step_ends = timed && parts.nested.is_apart();
    match found {
        Ok((_, command)) if running.rolls_back() && rehearsal::is_message(command) => {
            debugging::count_listeners(parts, command, &args, &mut reply);
            show(&|d| d.show_reply(&reply));
        }
        Ok((number, command))
            if !through
                && migrate::begin_nested(
                    parts,
                    &running.session,
                    running.start,
                    command,
                    &args,
                ) =>
        {
            running.pending = Some((number, command));
            step_ends = true;
        }
        Ok((number, command))
            if timed
                && !through
                && !step_ends
                && nested::is_apart(&parts.stats.commands[number], command) =>
        {
            running.pending = Some((number, command));
            step_ends = true;
        }
        Ok((number, command)) => {
            if timed {
                parts.nested.note(number);
            }
            let request = Request {
                args: &args,
                raw: None,
                command: Some((number, command)),
                first_hash: None,
            };
            let session = &mut running.session;
            session.out.resp3 = vm.io.resp3.get();
            let wanted = parts.effects.wanted;
            let audience = audience(vm.io.replicate.get());
            let silent = planted::is(Bug::ScriptsInSilence) && parts.cluster.is_some();
            parts.effects.wanted &= audience.is_some() && !silent;
            parts.effects.audience = audience.unwrap_or_default();
            execute::call(parts, session, running.start, number, command, &request);
            parts.effects.wanted = wanted;
            parts.effects.audience = Audience::Everyone;
            session
                .out
                .slices()
                .for_each(|bytes| reply.extend_from_slice(bytes));
            let written = session.out.pending() as usize;
            session.out.advance(written);
            if reply.first() == Some(&b'-') {
                show(&|d| d.show_error(reply.trim_ascii_end()));
            }
            show(&|d| d.show_reply(&reply));
        }
        Err((command, error)) => {
            show(&|d| match error.strip_prefix(b"ERR ") {
                Some(text) => d.show_error(text),
                None => d.show_error(&[b"-", &error[..]].concat()),
            });
            parts.stats.error(&error);
            if let Some(number) = command {
                parts.stats.commands[number].rejected += 1;
            }
            reply.push(b'-');
            reply.extend_from_slice(&error);
            reply.extend_from_slice(b"\r\n");
        }
    }
    drop(args);
    *vm.io.words.borrow_mut() = words;
    *vm.io.reply.borrow_mut() = reply;
    step_ends
}

/// Who is to see a script's writes, by the number of `redis.set_repl`; `None` for nobody.
fn audience(number: u8) -> Option<Audience> {
    match number {
        0 => None,
        1 => Some(Audience::File),
        2 => Some(Audience::Replicas),
        _ => Some(Audience::Everyone),
    }
}
