//! Where the debugger meets Lua: the hook that stops a script, and what looks into it while it stands still.
//!
//! It is plain C to Lua, since there are no safe functions for variables, and since a hook is called for every line. As
//! in [`super::super::calls`], an error of Lua's jumps over the frames between it and the protected call: so wherever one
//! can be raised, nothing in these functions waits to be dropped and no cell is borrowed. What is written meanwhile
//! belongs to the [`Debugger`].
#![allow(unsafe_code)]

use alloc::format;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::{mem, ptr};

use mlua::{Function, LightUserData, Lua, ffi};

use super::{Act, Debugger, End};
use crate::resp::quote;
use crate::script::convert::{bytes, push_error};
use crate::script::format::write_g;
use crate::script::vm::{Event, Process};
use crate::script::{SLICE, TIMEOUT, sandbox};

/// Tables in tables that are shown.
const DEEPEST: usize = 10;

/// Places on Lua's stack that showing a value takes at most: two for each level, and some to spare.
const PLACES: c_int = 2 * DEEPEST as c_int + 8;

/// How the name of a script's source is shown.
const SCRIPT: &[u8] = b"user_script";

/// Where the hook finds its process in Lua's registry.
static PROCESS: u8 = 1;

/// Where it finds the function that makes an error of the host's one that scripts know.
static PLAIN: u8 = 2;

/// Has the scripts of a state debugged. It may run as long as `process` lives.
///
/// # Errors
/// Out of memory.
pub(in crate::script) fn install(
    lua: &Lua,
    process: &Process<'_>,
    plain: Function,
) -> mlua::Result<()> {
    let process = LightUserData(ptr::from_ref(process).cast_mut().cast::<c_void>());
    // SAFETY: the two arguments are on the stack, and are taken off it; the addresses are used as names only.
    unsafe {
        lua.exec_raw((process, plain), |state| {
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, name(&PLAIN));
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, name(&PROCESS));
            let mask = ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT;
            ffi::lua_sethook(state, Some(at_line), mask, SLICE as c_int);
        })
    }
}

/// `redis.debug()`.
///
/// # Errors
/// Out of memory.
pub(in crate::script) fn debug(lua: &Lua, process: &Process<'_>) -> mlua::Result<Function> {
    let process = LightUserData(ptr::from_ref(process).cast_mut().cast::<c_void>());
    // SAFETY: the argument becomes the closure's upvalue.
    unsafe { lua.exec_raw(process, |state| ffi::lua_pushcclosure(state, log, 1)) }
}

fn name(place: &'static u8) -> *const c_void {
    ptr::from_ref(place).cast()
}

/// The process of a state.
///
/// # Safety
/// [`install`] was called for the state, which has room for a value; and its process lives.
unsafe fn process<'a>(state: *mut ffi::lua_State) -> &'a Process<'a> {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, name(&PROCESS));
        let process = ffi::lua_touserdata(state, -1);
        ffi::lua_pop(state, 1);
        &*process.cast::<Process<'_>>()
    }
}

/// The debugger is there whenever the hook is.
fn with<R>(process: &Process<'_>, f: impl FnOnce(&mut Debugger) -> R) -> Option<R> {
    process.io.debugger.borrow_mut().as_mut().map(f)
}

/// Raises an error that is a table, as those of commands are.
///
/// # Safety
/// As [`push_error`]; nothing between here and the protected call waits to be dropped.
unsafe fn raise(state: *mut ffi::lua_State, why: &'static str) {
    // SAFETY: as the caller says.
    unsafe {
        push_error(state, why.as_bytes());
        ffi::lua_error(state);
    }
}

/// A fresh record for Lua to fill in.
fn blank() -> ffi::lua_Debug {
    // SAFETY: it consists of numbers and pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}

/// Called by Lua before each line, and after each slice of instructions.
unsafe extern "C-unwind" fn at_line(state: *mut ffi::lua_State, ar: *mut ffi::lua_Debug) {
    // SAFETY: Lua calls with a valid state and record, and with room for 20 values. What can be raised is raised with
    // nothing waiting to be dropped: strings and lists belong to the debugger, or are gone before.
    unsafe {
        let process = process(state);
        let counted = (*ar).event == ffi::LUA_HOOKCOUNT;
        if counted && let Err(why) = process.wait(Event::Slice) {
            raise(state, why);
        }
        if !process.io.running.get() {
            return;
        }
        ffi::lua_getstack(state, 0, ar);
        ffi::lua_getinfo(state, c"Sl".as_ptr(), ar);
        if !of_script(&*ar) {
            return;
        }
        let line = i64::from((*ar).currentline);
        if with(process, |d| d.arrive(line, counted)) != Some(true) {
            return;
        }
        ffi::lua_checkstack(state, PLACES);
        if let Err(why) = stand_still(state, process, counted) {
            raise(state, why);
        }
    }
}

/// Called by Lua for code that was typed in.
unsafe extern "C-unwind" fn at_slice(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: as in [`at_line`].
    unsafe {
        if let Err(why) = process(state).wait(Event::Slice) {
            raise(state, why);
        }
    }
}

fn of_script(ar: &ffi::lua_Debug) -> bool {
    text(&ar.short_src)
        .windows(SCRIPT.len())
        .any(|w| w == SCRIPT)
}

/// The text in a buffer of C's.
fn text(buffer: &[c_char]) -> &[u8] {
    // SAFETY: bytes are bytes, signed or not.
    let buffer: &[u8] = unsafe { &*(ptr::from_ref(buffer) as *const [u8]) };
    crate::script::c_text(buffer)
}

/// The script stands still: carries out commands until it is to go on.
///
/// # Errors
/// It is to end, for this reason.
///
/// # Safety
/// Called from a hook, with room for [`PLACES`] values.
unsafe fn stand_still(
    state: *mut ffi::lua_State,
    process: &Process<'_>,
    counted: bool,
) -> Result<(), &'static str> {
    loop {
        process.wait(Event::Stopped)?;
        let end = with(process, |d| d.end.take()).flatten();
        match end {
            Some(End::Broken) => return Err("protocol error"),
            Some(End::Gone) => {
                with(process, |d| {
                    d.step = false;
                    d.breakpoints.clear();
                });
                return match counted {
                    true => Err(TIMEOUT),
                    false => Ok(()),
                };
            }
            None => {}
        }
        let act = with(process, |d| d.command(&process.io.words.borrow()));
        // SAFETY: as the caller says.
        unsafe {
            match act.unwrap_or(Act::GoOn) {
                Act::Abort => return Err("script aborted for user request"),
                Act::Evaluate => evaluate(state, process),
                Act::GoOn => return Ok(()),
                Act::Print => print(state, process),
                Act::PrintAll => print_all(state, process),
                Act::Redis => command(process)?,
                Act::Stay => {}
                Act::Trace => trace(state, process),
            }
        }
    }
}

/// Has the server carry a command out; it and its reply are shown.
fn command(process: &Process<'_>) -> Result<(), &'static str> {
    {
        let mut words = process.io.words.borrow_mut();
        let mut rest = super::Words::default();
        words.range(1..words.len()).for_each(|word| rest.push(word));
        *words = rest;
    }
    with(process, |d| d.step = true);
    let ended = process.wait(Event::Command);
    with(process, |d| d.step = false);
    ended
}

/// Shows where the script is, and who called it.
unsafe fn trace(state: *mut ffi::lua_State, process: &Process<'_>) {
    let mut ar = blank();
    let mut level = 0;
    // SAFETY: these look only, at levels that there are; names are Lua's, and stay as long as nothing runs.
    unsafe {
        while ffi::lua_getstack(state, level, &raw mut ar) != 0 {
            ffi::lua_getinfo(state, c"Snl".as_ptr(), &raw mut ar);
            if of_script(&ar) {
                let mut line = if level == 0 {
                    b"In ".to_vec()
                } else {
                    b"From ".to_vec()
                };
                line.extend_from_slice(match ar.name.is_null() {
                    true => b"top level",
                    false => CStr::from_ptr(ar.name).to_bytes(),
                });
                line.push(b':');
                with(process, |d| {
                    d.say(line);
                    d.show_line(ar.currentline.into());
                });
            }
            level += 1;
        }
    }
}

/// Calls `f` with the name of each local variable of a function, whose value is on the stack meanwhile; until it
/// returns true.
unsafe fn each_local(
    state: *mut ffi::lua_State,
    ar: &ffi::lua_Debug,
    mut f: impl FnMut(&[u8]) -> bool,
) -> bool {
    // SAFETY: the record is of a level that there is. What is pushed is taken off again.
    unsafe {
        for i in 1.. {
            let name = ffi::lua_getlocal(state, ar, i);
            if name.is_null() {
                break;
            }
            let found = f(CStr::from_ptr(name).to_bytes());
            ffi::lua_pop(state, 1);
            if found {
                return true;
            }
        }
    }
    false
}

/// Shows the variable of that name of the function that runs, or else of one of its callers.
unsafe fn print(state: *mut ffi::lua_State, process: &Process<'_>) {
    let wanted = with(process, |d| mem::take(&mut d.scratch)).unwrap_or_default();
    let mut ar = blank();
    let mut level = 0;
    // SAFETY: looking raises nothing; there is room for what showing takes. (The two names are known to Lua already:
    // the sandbox has them. So asking for them takes no memory.)
    unsafe {
        while ffi::lua_getstack(state, level, &raw mut ar) != 0 {
            level += 1;
            ffi::lua_getinfo(state, c"S".as_ptr(), &raw mut ar);
            // What the sandbox puts in the place of Lua's functions is no concern of the user's.
            if CStr::from_ptr(ar.source).to_bytes() == sandbox::SOURCE.as_bytes() {
                continue;
            }
            let found = each_local(state, &ar, |name| {
                let found = name == wanted;
                if found {
                    say_value(state, process, b"<value> ");
                }
                found
            });
            if found {
                return;
            }
        }
        let global = match &wanted[..] {
            b"KEYS" => c"KEYS",
            b"ARGV" => c"ARGV",
            _ => {
                with(process, |d| d.say(b"No such variable.".to_vec()));
                return;
            }
        };
        ffi::lua_getglobal(state, global.as_ptr());
        say_value(state, process, b"<value> ");
        ffi::lua_pop(state, 1);
    }
}

/// Shows all local variables of the function that runs.
unsafe fn print_all(state: *mut ffi::lua_State, process: &Process<'_>) {
    const TEMPORARY: &[u8] = b"(*temporary)";
    let mut ar = blank();
    let mut any = false;
    // SAFETY: as in [`print`].
    unsafe {
        if ffi::lua_getstack(state, 0, &raw mut ar) != 0 {
            each_local(state, &ar, |name| {
                if !name.windows(TEMPORARY.len()).any(|w| w == TEMPORARY) {
                    any = true;
                    say_value(state, process, &[b"<value> ", name, b" = "].concat());
                }
                false
            });
        }
    }
    if !any {
        let none = b"No local variables in the current context.";
        with(process, |d| d.say(none.to_vec()));
    }
}

/// Shows the value on top of the stack.
unsafe fn say_value(state: *mut ffi::lua_State, process: &Process<'_>, before: &[u8]) {
    with(process, |d| {
        let mut line = before.to_vec();
        let room = d.room();
        // SAFETY: there is a value, and room for what showing it takes; nothing is raised.
        unsafe { show(state, ffi::lua_gettop(state), &mut line, room, 0) };
        d.say_value(line);
    });
}

/// Runs the code in the scratch buffer, and shows what it returns.
unsafe fn evaluate(state: *mut ffi::lua_State, process: &Process<'_>) {
    // SAFETY: a thread takes a place on the stack, and is taken off it when it is done. That there may be no memory for
    // it is the one thing that can be raised here.
    unsafe {
        let thread = ffi::lua_newthread(state);
        ffi::lua_sethook(thread, Some(at_slice), ffi::LUA_MASKCOUNT, SLICE as c_int);
        let process = ptr::from_ref(process).cast_mut().cast::<c_void>();
        if ffi::lua_cpcall(thread, evaluate_in, process) != ffi::LUA_OK {
            say_failure(thread, &*process.cast::<Process<'_>>());
        }
        ffi::lua_settop(thread, 0);
        ffi::lua_pop(state, 1);
    }
}

/// What [`evaluate`] does in the thread. Its argument is the [`Process`].
unsafe extern "C-unwind" fn evaluate_in(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: only `evaluate` calls this. Until the code is a function, the buffers that Lua reads are the debugger's;
    // nobody else uses them meanwhile.
    unsafe {
        let process = &*ffi::lua_touserdata(state, 1).cast::<Process<'_>>();
        ffi::lua_settop(state, 0);
        ffi::lua_checkstack(state, PLACES);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, name(&PLAIN));
        // While Lua compiles it holds on to the name too late (CVE-2025-49844): so the name is kept here.
        ffi::lua_pushliteral(state, c"@ldb_eval");
        if !compile(state, process, true) {
            ffi::lua_pop(state, 1);
            if !compile(state, process, false) {
                say_failure(state, process);
                return 0;
            }
        }
        match ffi::lua_pcall(state, 0, 1, 1) {
            ffi::LUA_OK => say_value(state, process, b"<retval> "),
            _ => say_failure(state, process),
        }
    }
    0
}

/// Makes the code in the scratch buffer a function, or pushes why it is none: as an expression, or as it is.
unsafe fn compile(state: *mut ffi::lua_State, process: &Process<'_>, expression: bool) -> bool {
    const RETURN: &[u8] = b"return ";
    let source = with(process, |d| {
        if expression {
            d.scratch.splice(0..0, RETURN.iter().copied());
        } else {
            d.scratch.drain(..RETURN.len());
        }
        (
            d.scratch.as_ptr(),
            d.scratch.len(),
            d.scratch.first() == Some(&0x1b),
        )
    });
    let Some((start, len, compiled)) = source else {
        return false;
    };
    // SAFETY: the buffer stays as it is while it is compiled.
    unsafe {
        if compiled {
            // (It could do anything.)
            ffi::lua_pushliteral(state, c"bad binary format (truncated precompiled chunk)");
            return false;
        }
        ffi::luaL_loadbuffer(state, start.cast(), len, c"@ldb_eval".as_ptr()) == ffi::LUA_OK
    }
}

/// Shows the error on top of the stack.
unsafe fn say_failure(state: *mut ffi::lua_State, process: &Process<'_>) {
    with(process, |d| {
        // SAFETY: there is a value, and room for another. Looking raises nothing: the fields of an error are its own, and
        // their name is known to Lua already.
        let error = unsafe {
            if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
                ffi::lua_pushliteral(state, c"err");
                ffi::lua_rawget(state, -2);
                ffi::lua_remove(state, -2);
            }
            match ffi::lua_type(state, -1) {
                ffi::LUA_TSTRING => bytes(state, -1).to_vec(),
                _ => b"(null)".to_vec(),
            }
        };
        d.show_error(&error);
    });
}

/// `redis.debug()`. Upvalue: the [`Process`].
unsafe extern "C-unwind" fn log(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the upvalue is that of [`debug`]; what is shown is there, and makes room before it begins.
    unsafe {
        let process = &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Process<'_>>();
        ffi::lua_checkstack(state, PLACES);
        with(process, |d| {
            let mut line = format!("<debug> line {}: ", d.line).into_bytes();
            for i in 1..=ffi::lua_gettop(state) {
                if i > 1 {
                    line.extend_from_slice(b", ");
                }
                show(state, i, &mut line, super::LONGEST_LINE, 0);
            }
            d.say(line);
        });
    }
    0
}

/// Appends the value at an index of the stack, until `out` is longer than `room`.
///
/// # Safety
/// There is a value, and room for two values for each level from here to [`DEEPEST`]. Nothing is raised.
unsafe fn show(
    state: *mut ffi::lua_State,
    index: c_int,
    out: &mut Vec<u8>,
    room: usize,
    level: usize,
) {
    if level == DEEPEST {
        return out.extend_from_slice(b"<max recursion level reached! Nested table?>");
    }
    // SAFETY: as the caller says; each kind is looked at as what it is.
    unsafe {
        let kind = match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => {
                let text = bytes(state, index);
                return quote(out, &text[..text.len().min(room)]);
            }
            ffi::LUA_TBOOLEAN => {
                let text: &[u8] = match ffi::lua_toboolean(state, index) {
                    0 => b"false",
                    _ => b"true",
                };
                return out.extend_from_slice(text);
            }
            ffi::LUA_TNUMBER => return write_g(out, ffi::lua_tonumber(state, index), 6),
            ffi::LUA_TNIL => return out.extend_from_slice(b"nil"),
            ffi::LUA_TTABLE => {
                out.push(b'{');
                show_table(state, index, out, room, level + 1);
                return out.push(b'}');
            }
            ffi::LUA_TFUNCTION => "function",
            ffi::LUA_TTHREAD => "thread",
            ffi::LUA_TLIGHTUSERDATA => "light-userdata",
            _ => "userdata",
        };
        let at = ffi::lua_topointer(state, index);
        out.extend_from_slice(format!("\"{kind}@{at:p}\"").as_bytes());
    }
}

/// The elements of a table: without their keys, if these are 1 and up, in this order.
///
/// # Safety
/// As [`show`].
unsafe fn show_table(
    state: *mut ffi::lua_State,
    index: c_int,
    out: &mut Vec<u8>,
    room: usize,
    level: usize,
) {
    // SAFETY: as the caller says; keys are those that Lua gave. What is pushed is taken off again.
    unsafe {
        let mut is_array = true;
        let mut next = 1.0;
        ffi::lua_pushnil(state);
        while is_array && ffi::lua_next(state, index) != 0 {
            ffi::lua_pop(state, 1);
            is_array = ffi::lua_type(state, -1) == ffi::LUA_TNUMBER
                && ffi::lua_tonumber(state, -1) == next;
            next += 1.0;
        }
        if !is_array {
            ffi::lua_pop(state, 1);
        }
        let mut first = true;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, index) != 0 {
            if !mem::take(&mut first) {
                out.extend_from_slice(b"; ");
            }
            let value = ffi::lua_gettop(state);
            if !is_array {
                out.push(b'[');
                show(state, value - 1, out, room, level);
                out.extend_from_slice(b"]=");
            }
            show(state, value, out, room, level);
            ffi::lua_pop(state, 1);
            if out.len() > room {
                return ffi::lua_pop(state, 1);
            }
        }
    }
}
