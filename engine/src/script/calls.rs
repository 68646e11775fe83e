//! The two calls that every script makes: the host calls it, and it calls commands.
//!
//! Both are plain C to Lua. By `mlua` each value that crosses is a handle of its own, made in a protected call of its
//! own, and that is most of what a short script costs. Here one protected call holds all of it, the arguments and the
//! reply too; so Lua's limit of memory holds for those as for what the script makes.
//!
//! An error of Lua's jumps over the frames between it and the protected call. So wherever one can be raised, nothing in
//! these functions waits to be dropped and no cell is borrowed; what must be dropped belongs to somebody further out.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::cell::RefCell;
use core::ffi::{c_int, c_void};
use core::ptr;

use mlua::{Function, LightUserData, Lua, Table, ffi};

use super::format::write_g;
use super::vm::{Event, Finished, Io, Process};
use super::words::Words;
use super::{MEMORY_LIMIT, convert};
use crate::value::number::write_i64;

/// The way into a state's functions.
pub(super) struct Runner {
    state: *mut ffi::lua_State,
    /// Where [`run`] is in Lua's registry.
    entry: c_int,
}

/// What one run is given, and leaves.
struct Run<'a> {
    io: &'a Io,
    function: u32,
    keys: usize,
    resp3: bool,
    finished: Finished,
}

/// How a run ends that Lua could not bring to an end of its own: out of memory.
const FAILED: Finished = Finished::Error {
    counted: false,
    located: false,
};

impl Runner {
    /// Of a state with these functions by number, `handler` for their errors, and the table whose `KEYS` and `ARGV`
    /// they see; without one, these are their arguments.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        lua: &Lua,
        functions: &Table,
        handler: &Function,
        globals: Option<&Table>,
    ) -> mlua::Result<Runner> {
        let mut state = ptr::null_mut();
        // SAFETY: the three arguments and the two names become the closure's upvalues, in the order of `upvalue`.
        let entry = unsafe {
            lua.exec_raw((functions, handler, globals), |raw| {
                ffi::lua_pushliteral(raw, c"KEYS");
                ffi::lua_pushliteral(raw, c"ARGV");
                ffi::lua_pushcclosure(raw, run, 5);
                let entry = ffi::luaL_ref(raw, ffi::LUA_REGISTRYINDEX);
                ffi::lua_pushinteger(raw, entry as ffi::lua_Integer);
                state = raw;
            })
        }?;
        Ok(Runner { state, entry })
    }

    /// Calls a function with [`Io::words`], of which so many are keys. The reply, or the error, is in [`Io::reply`].
    pub fn run(&self, io: &Io, function: u32, keys: usize, resp3: bool) -> Finished {
        let mut run = Run {
            io,
            function,
            keys,
            resp3,
            finished: FAILED,
        };
        // SAFETY: the state lives as long as its `Lua`, which the owner of this holds; it is left as it was found. To
        // push a value that is there takes no memory, and there is room for some values at the bottom of a stack.
        unsafe {
            ffi::lua_rawgeti(self.state, ffi::LUA_REGISTRYINDEX, self.entry.into());
            ffi::lua_pushlightuserdata(self.state, (&raw mut run).cast());
            if ffi::lua_pcall(self.state, 1, 0, 0) != ffi::LUA_OK {
                let mut reply = io.reply.borrow_mut();
                reply.clear();
                convert::write_text(self.state, &mut reply);
                ffi::lua_pop(self.state, 1);
            }
        }
        run.finished
    }
}

/// The upvalues of [`run`].
mod upvalue {
    pub const FUNCTIONS: i32 = 1;
    pub const HANDLER: i32 = 2;
    pub const GLOBALS: i32 = 3;
    pub const KEYS: i32 = 4;
    pub const ARGV: i32 = 5;
}

/// Calls a function and writes its reply. Its argument is a [`Run`].
unsafe extern "C-unwind" fn run(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: only `Runner::run` calls this, and its `Run` outlives the call. The words are not changed while they are
    // made into values, since the script does not run yet; the reply and the errors in it are not used by anybody when it
    // is over.
    unsafe {
        let run = &mut *ffi::lua_touserdata(state, 1).cast::<Run<'_>>();
        let words = &*run.io.words.as_ptr();
        let (keys, rest) = (0..run.keys, run.keys..words.len());
        ffi::lua_settop(state, 0);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(upvalue::HANDLER));
        let functions = ffi::lua_upvalueindex(upvalue::FUNCTIONS);
        ffi::lua_rawgeti(state, functions, run.function.into());
        let globals = ffi::lua_upvalueindex(upvalue::GLOBALS);
        let arguments = if ffi::lua_type(state, globals) == ffi::LUA_TTABLE {
            for (name, part) in [(upvalue::KEYS, keys), (upvalue::ARGV, rest)] {
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(name));
                push_list(state, words.range(part));
                ffi::lua_rawset(state, globals);
            }
            0
        } else {
            push_list(state, words.range(keys));
            push_list(state, words.range(rest));
            2
        };
        let status = ffi::lua_pcall(state, arguments, 1, 1);
        let (reply, errors) = (&mut *run.io.reply.as_ptr(), &mut *run.io.errors.as_ptr());
        reply.clear();
        errors.clear();
        run.finished = if status == ffi::LUA_OK {
            convert::write_reply(state, (reply, errors), run.io.resp3.get(), run.resp3)
        } else {
            convert::write_error(state, reply)
        };
    }
    0
}

/// Pushes a list of strings.
///
/// # Safety
/// As [`convert::push_reply`]; there is room for two values more.
unsafe fn push_list<'a>(
    state: *mut ffi::lua_State,
    words: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    // SAFETY: as the caller says; each word is taken off the stack again.
    unsafe {
        ffi::lua_createtable(state, c_int::try_from(words.len()).unwrap_or(c_int::MAX), 0);
        for (i, word) in words.enumerate() {
            ffi::lua_pushlstring(state, word.as_ptr().cast(), word.len());
            ffi::lua_rawseti(state, -2, i as ffi::lua_Integer + 1);
        }
    }
}

/// What a script asks with the words of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// `redis.call`.
    Call = 0,
    /// `redis.pcall`.
    Pcall = 1,
    /// `redis.acl_check_cmd`.
    MayRun = 2,
}

/// A function by which scripts ask. It may be called as long as `process` lives.
///
/// # Errors
/// Out of memory.
pub(super) fn asking(lua: &Lua, process: &Process<'_>, what: Ask) -> mlua::Result<Function> {
    let process = LightUserData(ptr::from_ref(process).cast_mut().cast::<c_void>());
    // SAFETY: the two arguments become the closure's upvalues.
    unsafe {
        lua.exec_raw((process, what as i32), |state| {
            ffi::lua_pushcclosure(state, ask, 2);
        })
    }
}

/// Asks the driver. Upvalues: the [`Process`], and what of [`Ask`].
unsafe extern "C-unwind" fn ask(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the upvalues are those of `asking`, and nothing runs in a state whose process has ended. What is borrowed
    // in here is given back before Lua is called; the reply is the driver's to change, which does not run meanwhile.
    unsafe {
        let process = &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Process<'_>>();
        let what = ffi::lua_tointeger(state, ffi::lua_upvalueindex(2));
        let may_run = what == Ask::MayRun as ffi::lua_Integer;
        if !process.io.running.get() {
            let why: &[u8] = match may_run {
                true => b"redis.acl_check_cmd can only be called inside a script invocation",
                false => b"redis.call/pcall can only be called inside a script invocation",
            };
            convert::push_error(state, why);
            ffi::lua_error(state);
        }
        if let Err(why) = gather(state, &process.io.words) {
            process.show_error(why.as_bytes());
            convert::push_error(state, why.as_bytes());
            if what != Ask::Pcall as ffi::lua_Integer {
                ffi::lua_error(state);
            }
            return 1;
        }
        // (What the words were made from may be a great many values.)
        ffi::lua_settop(state, 0);
        let event = if may_run {
            Event::MayRun
        } else {
            Event::Command
        };
        if let Err(why) = process.wait(event) {
            convert::push_error(state, why.as_bytes());
            ffi::lua_error(state);
        }
        let answer: &[u8] = &*process.io.reply.as_ptr();
        if may_run && answer.first() == Some(&b':') {
            ffi::lua_pushboolean(state, (answer.get(1) == Some(&b'1')).into());
            return 1;
        }
        if let Some(error) = answer.strip_prefix(b"-ERR ").filter(|_| may_run) {
            // (It is not in the statistics yet, as a command's would be.)
            process.show_error(error.trim_ascii_end());
            convert::push_error(state, error.trim_ascii_end());
            ffi::lua_error(state);
        }
        convert::push_reply(state, answer);
        if what != Ask::Pcall as ffi::lua_Integer && answer.first() == Some(&b'-') {
            ffi::lua_error(state);
        }
    }
    1
}

/// The arguments as the words of a command; numbers in full precision.
///
/// # Safety
/// The stack holds the arguments, and nothing else.
unsafe fn gather(state: *mut ffi::lua_State, words: &RefCell<Words>) -> Result<(), &'static str> {
    let mut words = words.borrow_mut();
    words.clear();
    // SAFETY: there are as many values as are asked for. Strings are only looked at, so nothing can be raised here.
    unsafe {
        let n = ffi::lua_gettop(state);
        if n == 0 {
            return Err("Please specify at least one argument for this redis lib call");
        }
        for i in 1..=n {
            match ffi::lua_type(state, i) {
                ffi::LUA_TSTRING => words.push(convert::bytes(state, i)),
                ffi::LUA_TNUMBER => {
                    let number = ffi::lua_tonumber(state, i);
                    words.push_with(|out| write_number(out, number));
                }
                _ => return Err("Lua redis lib command arguments must be strings or integers"),
            }
            // (One long string can be given many times.)
            if words.bytes() > MEMORY_LIMIT {
                return Err("not enough memory");
            }
        }
    }
    Ok(())
}

/// As `%.17g`.
fn write_number(out: &mut Vec<u8>, number: f64) {
    let integer = number as i64;
    // Beyond that, it has an exponent. (Minus zero has its sign.)
    let is_integer = integer as f64 == number && integer.unsigned_abs() < 100_000_000_000_000_000;
    if is_integer && (integer != 0 || number.is_sign_positive()) {
        write_i64(out, integer);
    } else {
        write_g(out, number, 17);
    }
}
