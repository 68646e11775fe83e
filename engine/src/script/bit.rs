//! `bit`: operations on 32-bit integers. <https://bitop.luajit.org/api.html>

use mlua::{Lua, MultiValue, Table};

use super::api::number;
use super::raise::wrong_type;

/// Makes the library.
///
/// # Errors
/// Out of memory.
pub(super) fn open(lua: &Lua) -> mlua::Result<Table> {
    let bit = lua.create_table()?;
    for (name, op) in UNARY {
        let f = move |lua: &Lua, args: MultiValue| Ok(signed(op(word(lua, &args, 1, name)?)));
        bit.raw_set(name, lua.create_function(f)?)?;
    }
    for (name, op) in FOLDS {
        let f = move |lua: &Lua, args: MultiValue| {
            let mut result = word(lua, &args, 1, name)?;
            for n in (2..=args.len()).rev() {
                result = op(result, word(lua, &args, n, name)?);
            }
            Ok(signed(result))
        };
        bit.raw_set(name, lua.create_function(f)?)?;
    }
    for (name, op) in SHIFTS {
        let f = move |lua: &Lua, args: MultiValue| {
            let value = word(lua, &args, 1, name)?;
            Ok(signed(op(value, word(lua, &args, 2, name)? & 31)))
        };
        bit.raw_set(name, lua.create_function(f)?)?;
    }
    bit.raw_set("tohex", lua.create_function(tohex)?)?;
    Ok(bit)
}

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

const UNARY: [(&str, Unary); 3] = [
    ("tobit", |b| b),
    ("bnot", |b| !b),
    ("bswap", u32::swap_bytes),
];

const FOLDS: [(&str, Binary); 3] = [
    ("band", |a, b| a & b),
    ("bor", |a, b| a | b),
    ("bxor", |a, b| a ^ b),
];

const SHIFTS: [(&str, Binary); 5] = [
    ("lshift", |b, n| b << n),
    ("rshift", |b, n| b >> n),
    ("arshift", |b, n| ((b as i32) >> n) as u32),
    ("rol", u32::rotate_left),
    ("ror", u32::rotate_right),
];

fn signed(word: u32) -> f64 {
    f64::from(word as i32)
}

/// An argument modulo 2³²: adding this has the integer in the mantissa's low bits.
fn word(lua: &Lua, args: &MultiValue, n: usize, function: &str) -> mlua::Result<u32> {
    let value = number(args.get(n - 1));
    let bits = (value.unwrap_or(0.0) + 6_755_399_441_055_744.0).to_bits() as u32;
    if bits == 0 && value.is_none() {
        return Err(wrong_type(lua, n, function, "number", args.get(n - 1)));
    }
    Ok(bits)
}

fn tohex(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    let value = word(lua, &args, 1, "tohex")?;
    let digits = if args.len() < 2 {
        8
    } else {
        word(lua, &args, 2, "tohex")? as i32
    };
    let text = if digits < 0 {
        alloc::format!("{value:08X}")
    } else {
        alloc::format!("{value:08x}")
    };
    let digits = digits.unsigned_abs().min(8) as usize;
    lua.create_string(&text[8 - digits..])
}
