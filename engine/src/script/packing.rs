//! `struct`: values packed as C structures. <http://www.inf.puc-rio.br/~roberto/struct/>
//!
//! ```text
//! >  <      big, little endian          !n  maximum alignment n        x  a zero byte
//! b B h H l L i I(n) T                  integers, signed and not       f d  floats
//! cn        n characters (c0: as many as the last number says)         s  text and a zero byte
//! ```

use alloc::format;
use alloc::vec::Vec;

use mlua::{Lua, MultiValue, Table, Value};

use super::api::number;
use super::convert::text_of;
use super::format::to_i64;
use super::raise::{bad_argument, fail, wrong_type};

/// The longest integer.
const MOST_INTEGER: usize = 32;

/// Values that one call may return: as many as fit on Lua's stack.
const MOST_RESULTS: usize = 7000;

/// Makes the library.
///
/// # Errors
/// Out of memory.
pub(super) fn open(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("pack", lua.create_function(pack)?)?;
    library.raw_set("unpack", lua.create_function(unpack)?)?;
    library.raw_set("size", lua.create_function(size)?)?;
    Ok(library)
}

/// A format, read option by option.
struct Format<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
    function: &'static str,
    little: bool,
    align: usize,
}

/// One option, and the bytes that it takes.
struct Item {
    option: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, format: &'a [u8], function: &'static str) -> Format<'a> {
        Format {
            lua,
            rest: super::c_text(format),
            function,
            little: true,
            align: 1,
        }
    }

    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        let digits = self.rest.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let (text, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let value = text.iter().try_fold(0i32, |n, c| {
            n.checked_mul(10)?.checked_add((c - b'0').into())
        });
        match value {
            Some(n) => Ok(n as usize),
            None => Err(fail(self.lua, "integral size overflow")),
        }
    }

    /// The next option with its size.
    fn next(&mut self) -> mlua::Result<Option<Item>> {
        let Some((&option, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > MOST_INTEGER {
                    let why =
                        format!("integral size {size} is larger than limit of {MOST_INTEGER}");
                    return Err(fail(self.lua, why));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Item { option, size }))
    }

    /// Bytes to leave out before an item at this place.
    fn padding(&self, at: usize, item: &Item) -> usize {
        if item.size == 0 || item.option == b'c' {
            return 0;
        }
        let size = item.size.min(self.align);
        size.wrapping_sub(at & (size - 1)) & (size - 1)
    }

    /// An option that is about the others.
    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.little = false,
            b'<' => self.little = true,
            b'!' => {
                let align = self.number(8)?;
                if !align.is_power_of_two() {
                    let why = format!("alignment {align} is not a power of 2");
                    return Err(fail(self.lua, why));
                }
                self.align = align;
            }
            _ => {
                let mut why = b"invalid format option '".to_vec();
                why.push(option);
                why.push(b'\'');
                let why = alloc::string::String::from_utf8_lossy(&why).into_owned();
                return Err(bad_argument(self.lua, 1, self.function, &why));
            }
        }
        Ok(())
    }
}

fn text(lua: &Lua, args: &MultiValue, n: usize, function: &str) -> mlua::Result<Vec<u8>> {
    let value = args.get(n - 1);
    let shown = || {
        if n > 1 && function == "pack" {
            missing(args, n)
        } else {
            value
        }
    };
    value
        .and_then(text_of)
        .ok_or_else(|| wrong_type(lua, n, function, "string", shown()))
}

fn float(lua: &Lua, args: &MultiValue, n: usize) -> mlua::Result<f64> {
    number(args.get(n - 1)).ok_or_else(|| wrong_type(lua, n, "pack", "number", missing(args, n)))
}

/// An argument that is wrong; in Redis, there is a nil right behind the last.
fn missing(args: &MultiValue, n: usize) -> Option<&Value> {
    args.get(n - 1)
        .or((n == args.len() + 1).then_some(&Value::Nil))
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    let format = text(lua, &args, 1, "pack")?;
    let mut format = Format::new(lua, &format, "pack");
    let mut out = Vec::new();
    let mut at = 2;
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), &item), 0);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let n = float(lua, &args, at)?;
                let value = if n < 0.0 { to_i64(n) as u64 } else { n as u64 };
                push_integer(&mut out, value, item.size, format.little);
            }
            b'x' => {
                out.push(0);
                continue;
            }
            b'f' => {
                let bits = (float(lua, &args, at)? as f32).to_bits();
                push_integer(&mut out, bits.into(), 4, format.little);
            }
            b'd' => push_integer(&mut out, float(lua, &args, at)?.to_bits(), 8, format.little),
            b'c' | b's' => {
                let text = text(lua, &args, at, "pack")?;
                let size = if item.size == 0 {
                    text.len()
                } else {
                    item.size
                };
                if text.len() < size {
                    return Err(bad_argument(lua, at + 1, "pack", "string too short"));
                }
                out.extend_from_slice(&text[..size]);
                if item.option == b's' {
                    out.push(0);
                }
            }
            other => {
                format.control(other)?;
                continue;
            }
        }
        at += 1;
        if out.len() > super::MEMORY_LIMIT / 2 {
            return Err(super::raise::Raise::Text(b"not enough memory".to_vec()).into());
        }
    }
    lua.create_string(&out)
}

fn push_integer(out: &mut Vec<u8>, value: u64, size: usize, little: bool) {
    let byte = |i: usize| if i < 8 { (value >> (8 * i)) as u8 } else { 0 };
    if little {
        out.extend((0..size).map(byte));
    } else {
        out.extend((0..size).rev().map(byte));
    }
}

fn read_integer(bytes: &[u8], little: bool) -> u64 {
    let push = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
    if little {
        bytes.iter().rev().fold(0, push)
    } else {
        bytes.iter().fold(0, push)
    }
}

fn unpack(lua: &Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let format = text(lua, &args, 1, "unpack")?;
    let data = text(lua, &args, 2, "unpack")?;
    let start = match args.get(2) {
        None | Some(Value::Nil) => 1,
        value => {
            to_i64(number(value).ok_or_else(|| wrong_type(lua, 3, "unpack", "number", value))?)
        }
    };
    if start == 0 {
        return Err(bad_argument(
            lua,
            3,
            "unpack",
            "offset must be 1 or greater",
        ));
    }
    let mut at = (start as usize).wrapping_sub(1);
    let mut format = Format::new(lua, &format, "unpack");
    let mut values: Vec<Value> = Vec::new();
    let short = || bad_argument(lua, 2, "unpack", "data string too short");
    let fits = |at: usize, size: usize| size <= data.len() && at <= data.len() - size;
    while let Some(item) = format.next()? {
        at = at.wrapping_add(format.padding(at, &item));
        if !fits(at, item.size) {
            return Err(short());
        }
        if values.len() > MOST_RESULTS {
            return Err(fail(lua, "stack overflow (too many results)"));
        }
        let bytes = &data[at..at + item.size];
        let mut size = item.size;
        match item.option {
            b'b' | b'h' | b'l' | b'i' => {
                let value = read_integer(bytes, format.little);
                let unused = 64u32.saturating_sub(8 * size as u32);
                let value = if size == 0 {
                    0
                } else {
                    (value << unused) as i64 >> unused
                };
                values.push(Value::Number(value as f64));
            }
            b'B' | b'H' | b'L' | b'I' | b'T' => {
                values.push(Value::Number(read_integer(bytes, format.little) as f64));
            }
            b'x' => {}
            b'f' => {
                let bits = read_integer(bytes, format.little) as u32;
                values.push(Value::Number(f32::from_bits(bits).into()));
            }
            b'd' => values.push(Value::Number(f64::from_bits(read_integer(
                bytes,
                format.little,
            )))),
            b'c' => {
                if size == 0 {
                    let Some(n) = number(values.last()) else {
                        return Err(fail(lua, "format 'c0' needs a previous size"));
                    };
                    values.pop();
                    size = to_i64(n) as usize;
                    if !fits(at, size) {
                        return Err(short());
                    }
                }
                values.push(Value::String(lua.create_string(&data[at..at + size])?));
            }
            b's' => {
                let Some(len) = memchr::memchr(0, &data[at..]) else {
                    return Err(fail(lua, "unfinished string in data"));
                };
                values.push(Value::String(lua.create_string(&data[at..at + len])?));
                size = len + 1;
            }
            other => format.control(other)?,
        }
        at += size;
    }
    values.push(Value::Number((at as f64) + 1.0));
    Ok(MultiValue::from_iter(values))
}

fn size(lua: &Lua, args: MultiValue) -> mlua::Result<f64> {
    let format = text(lua, &args, 1, "size")?;
    let mut format = Format::new(lua, &format, "size");
    let mut at = 0usize;
    while let Some(item) = format.next()? {
        at += format.padding(at, &item);
        match item.option {
            b's' => return Err(bad_argument(lua, 1, "size", "option 's' has no fixed size")),
            b'c' if item.size == 0 => {
                return Err(bad_argument(
                    lua,
                    1,
                    "size",
                    "option 'c0' has no fixed size",
                ));
            }
            other if !other.is_ascii_alphanumeric() => format.control(other)?,
            _ => {}
        }
        at = at.saturating_add(item.size);
    }
    Ok(at as f64)
}
