//! Replies as Lua values, and Lua values as replies.
//! <https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion>
//!
//! Values are where C has them, on Lua's stack: see [`super::calls`] for what that asks of whoever is between.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ffi::{CStr, c_int};
use core::slice;

use mlua::{Lua, Table, Value, ffi};

use super::format::{to_i64, write_g};
use super::vm::Finished;
use super::words::Words;
use crate::value::number::{parse_f64, parse_i64, write_i64};

/// Tables in tables that a reply may have: as many as fit on Redis's Lua stack.
const DEEPEST: usize = 2000;

/// Levels that a map counts for, since walking it holds more values.
const ITERATION: usize = 4;

/// Values that one level of a reply has on the stack at most.
const LEVEL: c_int = 6;

/// Marks an error that is in the statistics already.
const COUNTED: &CStr = c"ignore_error_stats_update";

/// Pushes a reply in RESP as a Lua value. The bytes come from our own encoder; what is broken reads as nil.
///
/// # Safety
/// Errors of Lua's may be raised: see [`super::calls`]. The bytes stay as they are meanwhile.
pub(super) unsafe fn push_reply(state: *mut ffi::lua_State, bytes: &[u8]) {
    let mut reader = Reader { state, rest: bytes };
    // SAFETY: as the caller says.
    unsafe { reader.value() }
}

/// Pushes an error as scripts see it: a table with `err`, and `ERR` as its code.
///
/// # Safety
/// As [`push_reply`]; there is room for three values.
pub(super) unsafe fn push_error(state: *mut ffi::lua_State, text: &[u8]) {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushliteral(state, c"ERR ");
        push(state, text);
        ffi::lua_concat(state, 2);
        ffi::lua_setfield(state, -2, c"err".as_ptr());
    }
}

unsafe fn push(state: *mut ffi::lua_State, text: &[u8]) {
    // SAFETY: the caller has room for a value, and is ready for errors.
    unsafe {
        ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
    }
}

/// The bytes of the string at an index.
///
/// # Safety
/// It is a string, and stays on the stack as long as they are used.
pub(super) unsafe fn bytes<'a>(state: *mut ffi::lua_State, index: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: strings stay where they are, and Lua says how long they are. (None is at no address.)
    unsafe {
        let start = ffi::lua_tolstring(state, index, &mut len);
        match start.is_null() {
            true => &[],
            false => slice::from_raw_parts(start.cast(), len),
        }
    }
}

struct Reader<'a> {
    state: *mut ffi::lua_State,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        line
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let bytes = &self.rest[..n.min(self.rest.len())];
        self.rest = self.rest.get(n.saturating_add(2)..).unwrap_or_default();
        bytes
    }

    /// Pushes the next value.
    ///
    /// # Safety
    /// As [`push_reply`].
    unsafe fn value(&mut self) {
        let state = self.state;
        let Some((&kind, rest)) = self.rest.split_first() else {
            // SAFETY: there is room, as below.
            return unsafe { ffi::lua_pushnil(state) };
        };
        self.rest = rest;
        let line = self.line();
        let n = || parse_i64(line).unwrap_or(0);
        // SAFETY: each kind pushes one value, and takes what it pushed besides off again. What is in it has made room for
        // a level of its own; at the bottom there is what Lua has for each function.
        unsafe {
            match kind {
                b'$' => match usize::try_from(n()) {
                    Ok(len) => push(state, self.bytes(len)),
                    Err(_) => ffi::lua_pushboolean(state, 0),
                },
                b':' => ffi::lua_pushnumber(state, n() as f64),
                b'+' => {
                    push(state, line);
                    self.name(c"ok");
                }
                b'-' => self.error(line),
                b'*' | b'>' => match usize::try_from(n()) {
                    Ok(len) => self.array(len),
                    Err(_) => ffi::lua_pushboolean(state, 0),
                },
                b'%' => self.pairs(n(), c"map", false),
                b'~' => self.pairs(n(), c"set", true),
                b'#' => ffi::lua_pushboolean(state, (line == b"t").into()),
                b',' => {
                    ffi::lua_pushnumber(state, parse_f64(line).unwrap_or(f64::NAN));
                    self.name(c"double");
                }
                b'(' => {
                    push(state, line);
                    self.name(c"big_number");
                }
                b'=' => {
                    let bytes = self.bytes(n().max(0) as usize);
                    let (format, text) = bytes.split_at(bytes.len().min(4));
                    ffi::lua_createtable(state, 0, 2);
                    push(state, &format[..format.len().min(3)]);
                    ffi::lua_setfield(state, -2, c"format".as_ptr());
                    push(state, text);
                    ffi::lua_setfield(state, -2, c"string".as_ptr());
                    self.name(c"verbatim_string");
                }
                b'|' => {
                    self.room();
                    for _ in 0..n().saturating_mul(2) {
                        self.value();
                        ffi::lua_pop(state, 1);
                    }
                    self.value();
                }
                _ => ffi::lua_pushnil(state),
            }
        }
    }

    /// Room for a level within this one.
    unsafe fn room(&self) {
        // SAFETY: raises an error if there is none.
        unsafe { ffi::luaL_checkstack(self.state, LEVEL, c"reply".as_ptr()) }
    }

    /// Puts the value on top into a table, under a name.
    unsafe fn name(&self, name: &CStr) {
        // SAFETY: the table takes the place of the value, which goes into it.
        unsafe {
            ffi::lua_createtable(self.state, 0, 1);
            ffi::lua_insert(self.state, -2);
            ffi::lua_setfield(self.state, -2, name.as_ptr());
        }
    }

    /// An error, with a code before it, however it was given.
    unsafe fn error(&self, text: &[u8]) {
        let state = self.state;
        // SAFETY: what is pushed onto the table goes into it.
        unsafe {
            ffi::lua_createtable(state, 0, 2);
            if memchr::memchr(b' ', text).is_some() {
                push(state, text.trim_ascii_end());
            } else {
                ffi::lua_pushliteral(state, c"ERR ");
                push(state, text);
                ffi::lua_concat(state, 2);
            }
            ffi::lua_setfield(state, -2, c"err".as_ptr());
            ffi::lua_pushboolean(state, 1);
            ffi::lua_setfield(state, -2, COUNTED.as_ptr());
        }
    }

    unsafe fn array(&mut self, len: usize) {
        let room = len.min(self.rest.len());
        // SAFETY: the table stays, each element goes into it.
        unsafe {
            self.room();
            ffi::lua_createtable(self.state, c_int::try_from(room).unwrap_or(c_int::MAX), 0);
            for i in 0..len {
                self.value();
                ffi::lua_rawseti(self.state, -2, i as ffi::lua_Integer + 1);
            }
        }
    }

    /// A map, or a set as the keys of one.
    unsafe fn pairs(&mut self, n: i64, name: &CStr, set: bool) {
        let state = self.state;
        // SAFETY: the table stays, each pair goes into it.
        unsafe {
            self.room();
            ffi::lua_createtable(state, 0, 0);
            for _ in 0..n {
                self.value();
                match set {
                    true => ffi::lua_pushboolean(state, 1),
                    false => self.value(),
                }
                // (Nothing can be found under nil; to try it would be an error.)
                if ffi::lua_type(state, -2) == ffi::LUA_TNIL {
                    ffi::lua_pop(state, 2);
                } else {
                    ffi::lua_rawset(state, -3);
                }
            }
            self.name(name);
        }
    }
}

/// The table for an error whose text may begin with `-` and a code, or have neither.
pub(super) fn error_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let text = match text.strip_prefix(b"-") {
        Some(text) => match memchr::memchr(b' ', text) {
            Some(at) => {
                let message = text[at + 1..].to_vec();
                [&text[..=at], trim_lines(&message)].concat()
            }
            None => [b"ERR ", trim_lines(text)].concat(),
        },
        None => [b"ERR ", trim_lines(text)].concat(),
    };
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(text)?)?;
    Ok(table)
}

fn trim_lines(mut text: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] | [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// Writes the value on top as a reply; as an error, if it is one. The errors within it that are not in the statistics
/// yet are listed, too.
///
/// # Safety
/// As [`push_reply`].
pub(super) unsafe fn write_reply(
    state: *mut ffi::lua_State,
    (out, errors): (&mut Vec<u8>, &mut Words),
    script3: bool,
    client3: bool,
) -> Finished {
    // SAFETY: the value stays on top, whatever is pushed onto it meanwhile.
    unsafe {
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            if field(state, c"err") == ffi::LUA_TSTRING {
                out.extend_from_slice(bytes(state, -1));
                ffi::lua_pop(state, 1);
                return Finished::Error {
                    counted: is_counted(state),
                    located: false,
                };
            }
            ffi::lua_pop(state, 1);
        }
        Writer {
            state,
            out,
            errors,
            script3,
            client3,
        }
        .value(0);
    }
    Finished::Reply
}

/// Writes the error on top, which ended a script; where it happened follows, if that is known.
///
/// # Safety
/// As [`push_reply`].
pub(super) unsafe fn write_error(state: *mut ffi::lua_State, out: &mut Vec<u8>) -> Finished {
    // SAFETY: the value stays on top, whatever is pushed onto it meanwhile.
    unsafe {
        if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
            write_text(state, out);
            return Finished::Error {
                counted: false,
                located: false,
            };
        }
        field(state, c"err");
        if !is_text(state, -1) {
            out.extend_from_slice(b"(null)");
        } else {
            write_text(state, out);
        }
        ffi::lua_pop(state, 1);
        field(state, c"source");
        ffi::lua_insert(state, -2);
        field(state, c"line");
        if is_text(state, -3) && is_text(state, -1) {
            // The driver puts the script's name at the zero byte.
            out.extend_from_slice(b" script: \0, on ");
            ffi::lua_pushvalue(state, -3);
            write_text(state, out);
            ffi::lua_pop(state, 1);
            out.push(b':');
            write_text(state, out);
            out.push(b'.');
        }
        ffi::lua_pop(state, 1);
        Finished::Error {
            counted: is_counted(state),
            located: true,
        }
    }
}

/// Writes the string on top, or the number as Lua writes it; something of its own, if it is neither.
///
/// # Safety
/// There is a value.
pub(super) unsafe fn write_text(state: *mut ffi::lua_State, out: &mut Vec<u8>) {
    // SAFETY: a string stays on top while it is copied, and a number a number.
    unsafe {
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => out.extend_from_slice(bytes(state, -1)),
            ffi::LUA_TNUMBER => write_g(out, ffi::lua_tonumber(state, -1), 14),
            _ => out.extend_from_slice(b"execution failure"),
        }
    }
}

unsafe fn is_text(state: *mut ffi::lua_State, index: c_int) -> bool {
    // SAFETY: there is a value.
    let kind = unsafe { ffi::lua_type(state, index) };
    kind == ffi::LUA_TSTRING || kind == ffi::LUA_TNUMBER
}

/// Pushes what the table on top has under a name, past its metatable; its type.
unsafe fn field(state: *mut ffi::lua_State, name: &CStr) -> c_int {
    // SAFETY: the name becomes the value.
    unsafe {
        ffi::lua_pushlstring(state, name.as_ptr(), name.count_bytes());
        ffi::lua_rawget(state, -2)
    }
}

/// As [`field`], of the table below what is on top, which goes.
unsafe fn next_field(state: *mut ffi::lua_State, name: &CStr) -> c_int {
    // SAFETY: as the caller of `field`.
    unsafe {
        ffi::lua_pop(state, 1);
        field(state, name)
    }
}

unsafe fn is_counted(state: *mut ffi::lua_State) -> bool {
    // SAFETY: what is pushed is taken off again.
    unsafe {
        field(state, COUNTED);
        let counted =
            ffi::lua_type(state, -1) == ffi::LUA_TBOOLEAN && ffi::lua_toboolean(state, -1) != 0;
        ffi::lua_pop(state, 1);
        counted
    }
}

/// The text of an error that ended the loading of a library.
pub(super) fn failure(error: &Value) -> Vec<u8> {
    match error {
        Value::Table(table) => {
            let text = table.raw_get::<Value>("err").ok().and_then(|v| text_of(&v));
            text.unwrap_or_else(|| b"(null)".to_vec())
        }
        other => [b"ERR ", &text_of(other).unwrap_or_default()[..]].concat(),
    }
}

/// A string, or a number as Lua writes it.
pub(super) fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(n) => Some(alloc::format!("{n}").into_bytes()),
        Value::Number(n) => {
            let mut out = Vec::new();
            write_g(&mut out, *n, 14);
            Some(out)
        }
        _ => None,
    }
}

struct Writer<'a> {
    state: *mut ffi::lua_State,
    out: &'a mut Vec<u8>,
    errors: &'a mut Words,
    script3: bool,
    client3: bool,
}

impl Writer<'_> {
    fn header(&mut self, kind: u8, n: usize) {
        self.out.push(kind);
        write_i64(self.out, n as i64);
        self.end();
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.end();
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        let text = text
            .iter()
            .map(|&c| if matches!(c, b'\r' | b'\n') { b' ' } else { c });
        self.out.extend(text);
        self.end();
    }

    fn null(&mut self) {
        let text: &[u8] = if self.client3 { b"_\r\n" } else { b"$-1\r\n" };
        self.out.extend_from_slice(text);
    }

    fn integer(&mut self, n: i64) {
        self.out.push(b':');
        write_i64(self.out, n);
        self.end();
    }

    /// Writes the value on top.
    ///
    /// # Safety
    /// As [`push_reply`].
    unsafe fn value(&mut self, depth: usize) {
        // SAFETY: there is a value, and it stays.
        unsafe {
            let kind = ffi::lua_type(self.state, -1);
            let is_table = kind == ffi::LUA_TTABLE;
            if depth > DEEPEST || (is_table && ffi::lua_checkstack(self.state, LEVEL) == 0) {
                self.errors.push(b"ERR ");
                return self.line(b'-', b"ERR reached lua stack limit");
            }
            match kind {
                ffi::LUA_TSTRING => self.bulk(bytes(self.state, -1)),
                ffi::LUA_TNUMBER => self.integer(to_i64(ffi::lua_tonumber(self.state, -1))),
                ffi::LUA_TBOOLEAN => self.boolean(ffi::lua_toboolean(self.state, -1) != 0),
                ffi::LUA_TTABLE => self.table(depth),
                _ => self.null(),
            }
        }
    }

    fn boolean(&mut self, on: bool) {
        match (self.script3, self.client3, on) {
            (false, _, true) => self.integer(1),
            (false, _, false) => self.null(),
            (true, true, true) => self.out.extend_from_slice(b"#t\r\n"),
            (true, true, false) => self.out.extend_from_slice(b"#f\r\n"),
            (true, false, on) => self.integer(i64::from(on)),
        }
    }

    /// Writes the table on top, for which there is [`LEVEL`] room.
    unsafe fn table(&mut self, depth: usize) {
        let state = self.state;
        // SAFETY: each field is taken off again; of strings the bytes are used before that.
        unsafe {
            if field(state, c"err") == ffi::LUA_TSTRING {
                let text = trim_lines(bytes(state, -1));
                self.line(b'-', text);
                ffi::lua_insert(state, -2);
                if !is_counted(state) {
                    // (What counts is the code.)
                    self.errors.push(&text[..text.len().min(64)]);
                }
                ffi::lua_insert(state, -2);
            } else if next_field(state, c"ok") == ffi::LUA_TSTRING {
                self.line(b'+', super::c_text(bytes(state, -1)));
            } else if next_field(state, c"double") == ffi::LUA_TNUMBER {
                self.double(ffi::lua_tonumber(state, -1));
            } else if next_field(state, c"big_number") == ffi::LUA_TSTRING {
                match self.client3 {
                    true => self.line(b'(', bytes(state, -1)),
                    false => self.bulk_line(bytes(state, -1)),
                }
            } else if next_field(state, c"verbatim_string") == ffi::LUA_TTABLE && self.verbatim() {
            } else if next_field(state, c"map") == ffi::LUA_TTABLE {
                let kind = if self.client3 { b'%' } else { b'*' };
                let pairs = self.count();
                self.header(kind, if self.client3 { pairs } else { pairs * 2 });
                ffi::lua_pushnil(state);
                while ffi::lua_next(state, -2) != 0 {
                    ffi::lua_pushvalue(state, -2);
                    self.value(depth + ITERATION);
                    ffi::lua_pop(state, 1);
                    self.value(depth + ITERATION);
                    ffi::lua_pop(state, 1);
                }
            } else if next_field(state, c"set") == ffi::LUA_TTABLE {
                let members = self.count();
                self.header(if self.client3 { b'~' } else { b'*' }, members);
                ffi::lua_pushnil(state);
                while ffi::lua_next(state, -2) != 0 {
                    ffi::lua_pop(state, 1);
                    self.value(depth + ITERATION);
                }
            } else {
                ffi::lua_pop(state, 1);
                return self.array(depth);
            }
            ffi::lua_pop(state, 1);
        }
    }

    /// Writes the table on top as far as it is a list.
    unsafe fn array(&mut self, depth: usize) {
        let state = self.state;
        // SAFETY: each element is taken off again.
        unsafe {
            let mut elements = 0;
            while ffi::lua_rawgeti(state, -1, elements + 1) != ffi::LUA_TNIL {
                ffi::lua_pop(state, 1);
                elements += 1;
            }
            ffi::lua_pop(state, 1);
            self.header(b'*', elements as usize);
            for i in 1..=elements {
                ffi::lua_rawgeti(state, -1, i);
                self.value(depth + 1);
                ffi::lua_pop(state, 1);
            }
        }
    }

    /// How many pairs the table on top has.
    unsafe fn count(&self) -> usize {
        let mut pairs = 0;
        // SAFETY: each value is taken off again, and the last key is by `lua_next`.
        unsafe {
            ffi::lua_pushnil(self.state);
            while ffi::lua_next(self.state, -2) != 0 {
                ffi::lua_pop(self.state, 1);
                pairs += 1;
            }
        }
        pairs
    }

    /// Writes the table on top as text with a format; false if it is none.
    unsafe fn verbatim(&mut self) -> bool {
        let state = self.state;
        // SAFETY: both fields stay on the stack while their bytes are used.
        unsafe {
            let format = field(state, c"format");
            ffi::lua_insert(state, -2);
            let text = field(state, c"string");
            let both = format == ffi::LUA_TSTRING && text == ffi::LUA_TSTRING;
            if both && self.client3 {
                let (format, text) = (super::c_text(bytes(state, -3)), bytes(state, -1));
                self.header(b'=', text.len() + 4);
                for i in 0..3 {
                    self.out.push(format.get(i).copied().unwrap_or(b' '));
                }
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.end();
            } else if both {
                self.bulk(bytes(state, -1));
            }
            ffi::lua_pop(state, 1);
            ffi::lua_remove(state, -2);
            both
        }
    }

    fn double(&mut self, value: f64) {
        let mut text = Vec::new();
        if value.is_infinite() {
            text.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
        } else {
            write_g(&mut text, value, 17);
        }
        if self.client3 {
            self.line(b',', &text);
        } else {
            self.bulk(&text);
        }
    }

    fn bulk_line(&mut self, text: &[u8]) {
        let text: Vec<u8> = text
            .iter()
            .map(|&c| if matches!(c, b'\r' | b'\n') { b' ' } else { c })
            .collect();
        self.bulk(&text);
    }
}
