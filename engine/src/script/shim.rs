//! Functions of scripts that are C: the door to functions of the host, and `unpack`.
//!
//! `mlua` keeps each argument of a call that is no number on a stack of its own, which has 8,000 places and, at its
//! end, a panic. A script can call with more: `f(...)` adds to what it was given, again and again. So every function
//! of the host that scripts see is behind this one, which is plain C to Lua: what has too many arguments never comes
//! to `mlua`, but is an error.
//!
//! The door cannot be written in Lua: `return redis.log(…)` would end the caller's frame, and errors would not know their
//! line any more. Nor without `unsafe`, since what there is of safe functions goes by that stack.
//!
//! Lua's own `unpack` counts in a way that optimisers take apart (CVE-2025-46817), so that is here, too.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_int};

use mlua::{Function, Lua, ffi};

/// Arguments of a call at most, and those that lie about in nested calls are far from 8,000 then.
const MOST: c_int = 4000;

/// `f`, guarded. With more arguments it is an error, with this text.
///
/// # Errors
/// Out of memory.
pub(super) fn guard(
    lua: &Lua,
    (f, why): (Function, Option<mlua::String>),
) -> mlua::Result<Function> {
    let why = why.map_or_else(|| lua.create_string("too many arguments"), Ok)?;
    // SAFETY: the two arguments are on the stack, and become the closure's upvalues; the closure is what is left.
    unsafe { lua.exec_raw((f, why), |state| ffi::lua_pushcclosure(state, enter, 2)) }
}

/// `unpack`. <https://www.lua.org/manual/5.1/manual.html#pdf-unpack>
///
/// # Errors
/// Out of memory.
pub(super) fn unpack(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: the function is what is left on the stack.
    unsafe { lua.exec_raw((), |state| ffi::lua_pushcfunction(state, unpack_list)) }
}

/// The elements of a table from an index to another. It has nothing that would have to be dropped.
unsafe extern "C-unwind" fn unpack_list(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua calls with a valid state; what is pushed was made room for.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        // (In C these are ints, with no more bits.)
        let first = ffi::luaL_optinteger(state, 2, 1) as i32;
        let last = match ffi::lua_type(state, 3) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => ffi::lua_objlen(state, 1) as i32,
            _ => ffi::luaL_checkinteger(state, 3) as i32,
        };
        let results = i64::from(last) - i64::from(first) + 1;
        if results <= 0 {
            return 0;
        }
        match c_int::try_from(results) {
            Ok(n) if ffi::lua_checkstack(state, n) != 0 => {
                for i in first..=last {
                    ffi::lua_rawgeti(state, 1, i.into());
                }
                n
            }
            _ => ffi::luaL_error(state, c"too many results to unpack".as_ptr()),
        }
    }
}

/// What Lua calls. Upvalues: the function, and the error instead of calling it.
///
/// It has nothing that would have to be dropped, so errors may jump over it.
unsafe extern "C-unwind" fn enter(state: *mut ffi::lua_State) -> c_int {
    const FORMAT: &CStr = c"%s";
    // SAFETY: Lua calls with a valid state, the arguments on the stack, and room for 20 values more, of which one
    // is used. The upvalues are those of `guard`, which is the only one to make such closures.
    unsafe {
        let n = ffi::lua_gettop(state);
        if n > MOST {
            let why = ffi::lua_tostring(state, ffi::lua_upvalueindex(2));
            ffi::luaL_error(state, FORMAT.as_ptr(), why);
        }
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, n, ffi::LUA_MULTRET);
        ffi::lua_gettop(state)
    }
}
