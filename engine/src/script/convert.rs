//! Replies as Lua values, and Lua values as replies.
//! <https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion>

use alloc::vec::Vec;

use mlua::{Lua, Table, Value};

use super::format::{to_i64, write_g};
use super::vm::Finished;
use crate::value::number::{parse_f64, parse_i64, write_i64};

/// Tables in tables that a reply may have: as many as fit on Redis's Lua stack.
const DEEPEST: usize = 2000;

/// Levels that a map counts for, since walking it holds more values.
const ITERATION: usize = 4;

/// A reply in RESP as a Lua value. The bytes come from our own encoder; what is broken reads as nil.
pub(super) fn to_lua(lua: &Lua, bytes: &[u8]) -> mlua::Result<Value> {
    let mut reader = Reader { lua, rest: bytes };
    reader.value()
}

struct Reader<'a> {
    lua: &'a Lua,
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
        self.rest = self.rest.get(n + 2..).unwrap_or_default();
        bytes
    }

    fn string(&self, bytes: &[u8]) -> mlua::Result<Value> {
        self.lua.create_string(bytes).map(Value::String)
    }

    fn only(&self, field: &str, value: Value) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(field, value)?;
        Ok(Value::Table(table))
    }

    fn value(&mut self) -> mlua::Result<Value> {
        let Some((&kind, rest)) = self.rest.split_first() else {
            return Ok(Value::Nil);
        };
        self.rest = rest;
        let line = self.line();
        let n = || parse_i64(line).unwrap_or(0);
        match kind {
            b'$' => match usize::try_from(n()) {
                Ok(len) => {
                    let bytes = self.bytes(len);
                    self.string(bytes)
                }
                Err(_) => Ok(Value::Boolean(false)),
            },
            b':' => Ok(number(n() as f64)),
            b'+' => self.only("ok", self.string(line)?),
            b'-' => {
                let table = self.lua.create_table_with_capacity(0, 2)?;
                table.raw_set("err", self.lua.create_string(with_code(line))?)?;
                table.raw_set("ignore_error_stats_update", true)?;
                Ok(Value::Table(table))
            }
            b'*' | b'>' => match usize::try_from(n()) {
                Ok(len) => {
                    let room = len.min(self.rest.len());
                    let table = self.lua.create_table_with_capacity(room, 0)?;
                    for i in 0..len {
                        let value = self.value()?;
                        table.raw_set(i + 1, value)?;
                    }
                    Ok(Value::Table(table))
                }
                Err(_) => Ok(Value::Boolean(false)),
            },
            b'%' => {
                let map = self.lua.create_table()?;
                for _ in 0..n() {
                    let (key, value) = (self.value()?, self.value()?);
                    // (Nothing can be found under nil; to try it would be an error.)
                    if !key.is_nil() {
                        map.raw_set(key, value)?;
                    }
                }
                self.only("map", Value::Table(map))
            }
            b'~' => {
                let set = self.lua.create_table()?;
                for _ in 0..n() {
                    let member = self.value()?;
                    if !member.is_nil() {
                        set.raw_set(member, true)?;
                    }
                }
                self.only("set", Value::Table(set))
            }
            b'#' => Ok(Value::Boolean(line == b"t")),
            b',' => {
                let double = parse_f64(line).unwrap_or(f64::NAN);
                self.only("double", Value::Number(double))
            }
            b'(' => self.only("big_number", self.string(line)?),
            b'=' => {
                let bytes = self.bytes(n().max(0) as usize);
                let (format, text) = bytes.split_at(bytes.len().min(4));
                let table = self.lua.create_table()?;
                table.raw_set("format", self.string(&format[..format.len().min(3)])?)?;
                table.raw_set("string", self.string(text)?)?;
                self.only("verbatim_string", Value::Table(table))
            }
            b'|' => {
                for _ in 0..n().saturating_mul(2) {
                    self.value()?;
                }
                self.value()
            }
            _ => Ok(Value::Nil),
        }
    }
}

/// Lua 5.1 has floats only.
fn number(value: f64) -> Value {
    Value::Number(value)
}

/// An error's text with a code before it, however it was given.
fn with_code(text: &[u8]) -> Vec<u8> {
    if memchr::memchr(b' ', text).is_some() {
        return text.trim_ascii_end().to_vec();
    }
    [b"ERR ", text].concat()
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

/// Writes what a script returned as a reply; as an error, if it is one.
pub(super) fn reply(out: &mut Vec<u8>, value: &Value, script3: bool, client3: bool) -> Finished {
    if let Value::Table(table) = value
        && let Ok(Value::String(text)) = table.raw_get::<Value>("err")
    {
        out.extend_from_slice(&text.as_bytes());
        return Finished::Error {
            counted: is_counted(table),
            located: false,
        };
    }
    Writer {
        out,
        script3,
        client3,
    }
    .value(value, 0);
    Finished::Reply
}

fn is_counted(table: &Table) -> bool {
    matches!(
        table.raw_get::<Value>("ignore_error_stats_update"),
        Ok(Value::Boolean(true))
    )
}

/// Writes the error that ended a script; where it happened follows, if that is known.
pub(super) fn error(out: &mut Vec<u8>, error: &Value) -> Finished {
    let Value::Table(table) = error else {
        out.extend_from_slice(&text_of(error).unwrap_or_else(|| b"execution failure".to_vec()));
        return Finished::Error {
            counted: false,
            located: false,
        };
    };
    let field = |name: &str| table.raw_get::<Value>(name).ok().and_then(|v| text_of(&v));
    out.extend_from_slice(&field("err").unwrap_or_else(|| b"(null)".to_vec()));
    if let (Some(source), Some(line)) = (field("source"), field("line")) {
        // The driver puts the script's name at the zero byte.
        out.extend_from_slice(b" script: \0, on ");
        out.extend_from_slice(&source);
        out.push(b':');
        out.extend_from_slice(&line);
        out.push(b'.');
    }
    Finished::Error {
        counted: is_counted(table),
        located: true,
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
    out: &'a mut Vec<u8>,
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

    fn value(&mut self, value: &Value, depth: usize) {
        if depth > DEEPEST {
            return self.line(b'-', b"ERR reached lua stack limit");
        }
        match value {
            Value::String(text) => self.bulk(&text.as_bytes()),
            Value::Integer(n) => self.integer(*n),
            Value::Number(n) => self.integer(to_i64(*n)),
            Value::Boolean(on) => match (self.script3, self.client3, on) {
                (false, _, true) => self.integer(1),
                (false, _, false) => self.null(),
                (true, true, true) => self.out.extend_from_slice(b"#t\r\n"),
                (true, true, false) => self.out.extend_from_slice(b"#f\r\n"),
                (true, false, on) => self.integer(i64::from(*on)),
            },
            Value::Table(table) => self.table(table, depth),
            _ => self.null(),
        }
    }

    fn table(&mut self, table: &Table, depth: usize) {
        let field = |name: &str| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
        if let Value::String(text) = field("err") {
            return self.line(b'-', trim_lines(&text.as_bytes()));
        }
        if let Value::String(text) = field("ok") {
            return self.line(b'+', super::c_text(&text.as_bytes()));
        }
        match field("double") {
            Value::Number(n) => return self.double(n),
            Value::Integer(n) => return self.double(n as f64),
            _ => {}
        }
        if let Value::String(text) = field("big_number") {
            return if self.client3 {
                self.line(b'(', &text.as_bytes())
            } else {
                self.bulk_line(&text.as_bytes())
            };
        }
        if let Value::Table(verbatim) = field("verbatim_string")
            && let Ok(Value::String(format)) = verbatim.raw_get::<Value>("format")
            && let Ok(Value::String(text)) = verbatim.raw_get::<Value>("string")
        {
            return self.verbatim(super::c_text(&format.as_bytes()), &text.as_bytes());
        }
        if let Value::Table(map) = field("map") {
            let pairs = self.count(&map);
            if self.client3 {
                self.header(b'%', pairs);
            } else {
                self.header(b'*', pairs * 2);
            }
            for (key, value) in map.pairs::<Value, Value>().filter_map(Result::ok) {
                self.value(&key, depth + ITERATION);
                self.value(&value, depth + ITERATION);
            }
            return;
        }
        if let Value::Table(set) = field("set") {
            let members = self.count(&set);
            self.header(if self.client3 { b'~' } else { b'*' }, members);
            for (member, _) in set.pairs::<Value, Value>().filter_map(Result::ok) {
                self.value(&member, depth + ITERATION);
            }
            return;
        }
        self.array(table, depth);
    }

    fn array(&mut self, table: &Table, depth: usize) {
        let mut elements = 0;
        let start = self.out.len();
        loop {
            let value = table.raw_get::<Value>(elements + 1).unwrap_or(Value::Nil);
            if value.is_nil() {
                break;
            }
            self.value(&value, depth + 1);
            elements += 1;
        }
        // The header goes before what is written already.
        let mut header = Vec::with_capacity(16);
        header.push(b'*');
        write_i64(&mut header, elements as i64);
        header.extend_from_slice(b"\r\n");
        self.out.splice(start..start, header);
    }

    fn count(&self, table: &Table) -> usize {
        let pairs = table.pairs::<Value, Value>();
        pairs.filter(Result::is_ok).count()
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

    fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if !self.client3 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() + 4);
        for i in 0..3 {
            self.out.push(format.get(i).copied().unwrap_or(b' '));
        }
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.end();
    }
}
