//! `cmsgpack`: MessagePack, in the shortest form of each value. <https://github.com/msgpack/msgpack/blob/master/spec.md>

use alloc::format;
use alloc::vec::Vec;

use mlua::{Lua, MultiValue, Table, Value};

use super::api::number;
use super::convert::text_of;
use super::format::to_i64;
use super::raise::{bad_argument, fail, wrong_type};

/// Tables nested deeper are written as nil.
const DEEPEST_OUT: usize = 16;

/// Nesting for which there is room on the stack.
const DEEPEST_IN: usize = 2000;

/// Values that one call may return: as many as fit on Lua's stack.
const MOST_RESULTS: usize = 7000;

/// Makes the library.
///
/// # Errors
/// Out of memory.
pub(super) fn open(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("pack", lua.create_function(pack)?)?;
    library.raw_set(
        "unpack",
        lua.create_function(|lua, args: MultiValue| unpack(lua, &args, 0, 0))?,
    )?;
    let one = |lua: &Lua, args: MultiValue| {
        let offset = integer(lua, &args, 2, "unpack_one", Some(0))?;
        unpack(lua, &args, 1, offset)
    };
    library.raw_set("unpack_one", lua.create_function(one)?)?;
    let limit = |lua: &Lua, args: MultiValue| {
        let limit = integer(lua, &args, 2, "unpack_limit", None)?;
        let offset = integer(lua, &args, 3, "unpack_limit", Some(0))?;
        unpack(lua, &args, limit, offset)
    };
    library.raw_set("unpack_limit", lua.create_function(limit)?)?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}

fn integer(
    lua: &Lua,
    args: &MultiValue,
    n: usize,
    name: &str,
    default: Option<i64>,
) -> mlua::Result<i64> {
    let value = args.get(n - 1);
    match (value, default) {
        (None | Some(Value::Nil), Some(default)) => Ok(default),
        _ => number(value)
            .map(to_i64)
            .ok_or_else(|| wrong_type(lua, n, name, "number", value)),
    }
}

// ---- encoding

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    if args.is_empty() {
        return Err(bad_argument(
            lua,
            0,
            "pack",
            "MessagePack pack needs input.",
        ));
    }
    let mut out = Vec::new();
    for value in &args {
        write(&mut out, value, 0)?;
    }
    lua.create_string(&out)
}

fn write(out: &mut Vec<u8>, value: &Value, level: usize) -> mlua::Result<()> {
    if out.len() > super::MEMORY_LIMIT / 2 {
        return Err(super::raise::Raise::Text(b"not enough memory".to_vec()).into());
    }
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            match text.len() {
                n @ 0..32 => out.push(0xA0 | n as u8),
                n @ 32..=0xFF => out.extend([0xD9, n as u8]),
                n => head(out, n, 0xDA),
            }
            out.extend_from_slice(&text);
        }
        Value::Boolean(on) => out.push(if *on { 0xC3 } else { 0xC2 }),
        Value::Integer(n) => write_int(out, *n),
        Value::Number(n) if n.fract_is_zero() => write_int(out, *n as i64),
        Value::Number(n) => write_float(out, *n),
        Value::Table(table) if level < DEEPEST_OUT => write_table(out, table, level)?,
        _ => out.push(0xC0),
    }
    Ok(())
}

/// Whether a float is an integer that fits 64 bits.
trait Integral {
    fn fract_is_zero(self) -> bool;
}

impl Integral for f64 {
    fn fract_is_zero(self) -> bool {
        self.is_finite() && (self as i64) as f64 == self
    }
}

/// A length in 16 bits after `code`, or in 32 after the next.
fn head(out: &mut Vec<u8>, n: usize, code: u8) {
    if n <= 0xFFFF {
        out.push(code);
        out.extend_from_slice(&(n as u16).to_be_bytes());
    } else {
        out.push(code + 1);
        out.extend_from_slice(&(n as u32).to_be_bytes());
    }
}

fn write_int(out: &mut Vec<u8>, n: i64) {
    let mut put = |code: u8, bytes: &[u8]| {
        out.push(code);
        out.extend_from_slice(bytes);
    };
    match n {
        -32..=0x7F => put(n as u8, &[]),
        0x80..=0xFF => put(0xCC, &[n as u8]),
        0x100..=0xFFFF => put(0xCD, &(n as u16).to_be_bytes()),
        0x1_0000..=0xFFFF_FFFF => put(0xCE, &(n as u32).to_be_bytes()),
        0x1_0000_0000.. => put(0xCF, &n.to_be_bytes()),
        -0x80..=-33 => put(0xD0, &[n as u8]),
        -0x8000..=-0x81 => put(0xD1, &(n as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put(0xD2, &(n as i32).to_be_bytes()),
        _ => put(0xD3, &n.to_be_bytes()),
    }
}

fn write_float(out: &mut Vec<u8>, n: f64) {
    let short = n as f32;
    if f64::from(short) == n {
        out.push(0xCA);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xCB);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

fn write_table(out: &mut Vec<u8>, table: &Table, level: usize) -> mlua::Result<()> {
    let (mut pairs, mut most, mut array) = (0usize, 0.0f64, true);
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        pairs += 1;
        let index = match key {
            Value::Integer(n) => n as f64,
            Value::Number(n) => n,
            _ => 0.0,
        };
        array &= index > 0.0 && index <= f64::from(i32::MAX) && f64::from(index as i32) == index;
        most = most.max(index);
    }
    let short = |out: &mut Vec<u8>, n: usize, fixed: u8, code: u8| {
        if n <= 15 {
            out.push(fixed | n as u8);
        } else {
            head(out, n, code);
        }
    };
    if array && most == pairs as f64 {
        short(out, pairs, 0x90, 0xDC);
        for i in 1..=pairs {
            write(out, &table.raw_get::<Value>(i)?, level + 1)?;
        }
        return Ok(());
    }
    short(out, pairs, 0x80, 0xDE);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        write(out, &key, level + 1)?;
        write(out, &value, level + 1)?;
    }
    Ok(())
}

// ---- decoding

fn unpack(lua: &Lua, args: &MultiValue, limit: i64, offset: i64) -> mlua::Result<MultiValue> {
    let Some(text) = args.front().and_then(text_of) else {
        return Err(wrong_type(lua, 1, "unpack", "string", args.front()));
    };
    let len = text.len();
    if offset < 0 || limit < 0 {
        let why = format!("Invalid request to unpack with offset of {offset} and limit of {len}.");
        return Err(fail(lua, why));
    }
    if offset as usize > len {
        let why = format!("Start offset {offset} greater than input length {len}.");
        return Err(fail(lua, why));
    }
    let all = limit == 0 && offset == 0;
    let limit = if all { i64::from(i32::MAX) } else { limit };
    let mut reader = Reader {
        lua,
        rest: &text[offset as usize..],
    };
    let mut values = Vec::new();
    while !reader.rest.is_empty() && (values.len() as i64) < limit {
        if values.len() > MOST_RESULTS {
            return Err(fail(lua, Broken::TooDeep.text()));
        }
        let value = reader.value(0).map_err(|why| match why {
            Stopped::Broken(why) => fail(lua, why.text()),
            Stopped::Lua(error) => error,
        })?;
        values.push(value);
    }
    let mut results = MultiValue::new();
    if !all {
        let at = if reader.rest.is_empty() {
            -1.0
        } else {
            (len - reader.rest.len()) as f64
        };
        results.push_back(Value::Number(at));
    }
    results.extend(values);
    Ok(results)
}

enum Broken {
    Missing,
    BadFormat,
    TooDeep,
}

impl Broken {
    fn text(&self) -> &'static str {
        match self {
            Broken::Missing => "Missing bytes in input.",
            Broken::BadFormat => "Bad data format in input.",
            Broken::TooDeep => {
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)"
            }
        }
    }
}

enum Stopped {
    Broken(Broken),
    Lua(mlua::Error),
}

impl From<Broken> for Stopped {
    fn from(why: Broken) -> Stopped {
        Stopped::Broken(why)
    }
}

impl From<mlua::Error> for Stopped {
    fn from(error: mlua::Error) -> Stopped {
        Stopped::Lua(error)
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Broken> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Broken::Missing)?;
        self.rest = rest;
        Ok(head)
    }

    /// An unsigned integer of `n` bytes.
    fn number(&mut self, n: usize) -> Result<u64, Broken> {
        Ok(self
            .take(n)?
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A signed one.
    fn signed(&mut self, n: usize) -> Result<i64, Broken> {
        let unused = 64 - 8 * n as u32;
        Ok((self.number(n)? << unused) as i64 >> unused)
    }

    fn string(&mut self, n: usize) -> Result<Value, Stopped> {
        let bytes = self.take(n)?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn array(&mut self, n: usize, depth: usize) -> Result<Value, Stopped> {
        let table = self.lua.create_table()?;
        for i in 1..=n {
            let value = self.value(depth + 1)?;
            table.raw_set(i, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, n: usize, depth: usize) -> Result<Value, Stopped> {
        let table = self.lua.create_table()?;
        for _ in 0..n {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Stopped> {
        if depth > DEEPEST_IN {
            return Err(Broken::TooDeep.into());
        }
        let code = self.take(1)?[0];
        let float = |n: f64| Ok(Value::Number(n));
        match code {
            0x00..=0x7F => float(f64::from(code)),
            0xE0..=0xFF => float(f64::from(code as i8)),
            0xA0..=0xBF => self.string(usize::from(code & 0x1F)),
            0x90..=0x9F => self.array(usize::from(code & 15), depth),
            0x80..=0x8F => self.map(usize::from(code & 15), depth),
            0xC0 => Ok(Value::Nil),
            0xC2 | 0xC3 => Ok(Value::Boolean(code == 0xC3)),
            0xCA => {
                let bits = self.number(4)? as u32;
                float(f64::from(f32::from_bits(bits)))
            }
            0xCB => float(f64::from_bits(self.number(8)?)),
            0xCC..=0xCF => float(self.number(1 << (code - 0xCC))? as f64),
            0xD0..=0xD3 => float(self.signed(1 << (code - 0xD0))? as f64),
            0xD9..=0xDB => {
                let n = self.number(1 << (code - 0xD9))? as usize;
                self.string(n)
            }
            0xDC | 0xDD => {
                let n = self.number(2 << (code - 0xDC))? as usize;
                self.array(n, depth)
            }
            0xDE | 0xDF => {
                let n = self.number(2 << (code - 0xDE))? as usize;
                self.map(n, depth)
            }
            _ => Err(Broken::BadFormat.into()),
        }
    }
}
