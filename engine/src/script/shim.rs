//! Functions of scripts that are C: the door to functions of the host, and `unpack`.
//!
//! `mlua` keeps each argument of a call that is no number on a stack of its own, which has 8,000 places and, at its
//! end, a panic. A script can call with more: `f(...)` adds to what it was given, again and again. So every function
//! of the host that scripts see is behind this one, which is plain C to Lua: what has too many arguments never comes
//! to `mlua`, but is an error, or comes as one list.
//!
//! The door cannot be written in Lua: `return redis.call(…)` would end the caller's frame, and errors would not know their
//! line any more. Nor without `unsafe`, since what there is of safe functions goes by that stack.
//!
//! Lua's own `unpack` counts in a way that optimisers take apart (CVE-2025-46817), so that is here, too.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_int};

use mlua::ffi;
use mlua::{Function, IntoLua, Lua, Value};

/// Arguments of a call at most, and those that lie about in nested calls are far from 8,000 then.
const MOST: c_int = 4000;

/// `f`, guarded. With more arguments it is an error, or if `instead` is a function, a call of that with a list of the
/// arguments and their number. If `instead` is a string, that is the error.
///
/// # Errors
/// Out of memory.
pub(super) fn guard(lua: &Lua, (f, instead): (Function, Value)) -> mlua::Result<Function> {
    let instead = match instead {
        Value::Nil => "too many arguments".into_lua(lua)?,
        instead => instead,
    };
    // SAFETY: the two arguments are on the stack, and become the closure's upvalues; the closure is what is left.
    unsafe { lua.exec_raw((f, instead), |state| ffi::lua_pushcclosure(state, enter, 2)) }
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

/// What Lua calls. Upvalues: the function, and what to do instead of calling it.
///
/// It has nothing that would have to be dropped, so errors may jump over it.
unsafe extern "C-unwind" fn enter(state: *mut ffi::lua_State) -> c_int {
    const FORMAT: &CStr = c"%s";
    // SAFETY: Lua calls with a valid state, the arguments on the stack, and room for 20 values more, of which three
    // are used. The upvalues are those of `guard`, which is the only one to make such closures. `lua_rawseti` takes
    // one value off the stack for each that was an argument, and the table stays at index 1.
    unsafe {
        let n = ffi::lua_gettop(state);
        let instead = ffi::lua_upvalueindex(2);
        if n <= MOST {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
            ffi::lua_insert(state, 1);
            ffi::lua_call(state, n, ffi::LUA_MULTRET);
        } else if ffi::lua_type(state, instead) == ffi::LUA_TFUNCTION {
            ffi::lua_createtable(state, n, 0);
            ffi::lua_insert(state, 1);
            for i in (1..=n).rev() {
                ffi::lua_rawseti(state, 1, i.into());
            }
            ffi::lua_pushvalue(state, instead);
            ffi::lua_insert(state, 1);
            ffi::lua_pushinteger(state, n as ffi::lua_Integer);
            ffi::lua_call(state, 2, ffi::LUA_MULTRET);
        } else {
            ffi::luaL_error(state, FORMAT.as_ptr(), ffi::lua_tostring(state, instead));
        }
        ffi::lua_gettop(state)
    }
}
