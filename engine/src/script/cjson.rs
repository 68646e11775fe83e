//! `cjson`: JSON as Lua CJSON 2.1 reads and writes it. <https://kyne.com.au/~mark/software/lua-cjson-manual.html>

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::api::number;
use super::convert::text_of;
use super::format::{to_i64, write_g};
use super::raise::{bad_argument, fail, type_name, wrong_type};

/// What scripts can set. It outlives the script, as in Redis.
#[derive(Clone, Copy)]
struct Settings {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth: i64,
    decode_depth: i64,
    precision: i64,
    keep_buffer: bool,
    encode_invalid: usize,
    decode_invalid: bool,
}

const DEFAULTS: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_depth: 1000,
    decode_depth: 1000,
    precision: 14,
    keep_buffer: true,
    encode_invalid: 0,
    decode_invalid: true,
};

/// Nesting for which there is room on the stack, whatever a script sets.
const DEEPEST: i64 = 1000;

/// Bytes that an encoded value may have.
const LONGEST: usize = super::MEMORY_LIMIT / 2;

/// Makes the library.
///
/// # Errors
/// Out of memory.
pub(super) fn open(lua: &Lua) -> mlua::Result<Table> {
    let settings = Rc::new(Cell::new(DEFAULTS));
    let json = lua.create_table()?;
    let with = |f: fn(&Lua, &Cell<Settings>, &MultiValue) -> mlua::Result<MultiValue>| {
        let settings = Rc::clone(&settings);
        lua.create_function(move |lua, args: MultiValue| f(lua, &settings, &args))
    };
    let functions: [(&str, Function); 9] = [
        ("encode", with(encode)?),
        ("decode", with(decode)?),
        ("encode_sparse_array", with(sparse)?),
        (
            "encode_max_depth",
            with(|lua, s, args| {
                integer(lua, s, args, "encode_max_depth", i32::MAX.into(), |s| {
                    &mut s.encode_depth
                })
            })?,
        ),
        (
            "decode_max_depth",
            with(|lua, s, args| {
                integer(lua, s, args, "decode_max_depth", i32::MAX.into(), |s| {
                    &mut s.decode_depth
                })
            })?,
        ),
        (
            "encode_number_precision",
            with(|lua, s, args| {
                integer(lua, s, args, "encode_number_precision", 14, |s| {
                    &mut s.precision
                })
            })?,
        ),
        (
            "encode_keep_buffer",
            with(|lua, s, args| {
                switch(lua, s, args, "encode_keep_buffer", |s| &mut s.keep_buffer)
            })?,
        ),
        (
            "decode_invalid_numbers",
            with(|lua, s, args| {
                switch(lua, s, args, "decode_invalid_numbers", |s| {
                    &mut s.decode_invalid
                })
            })?,
        ),
        ("encode_invalid_numbers", with(encode_invalid)?),
    ];
    for (name, function) in functions {
        json.raw_set(name, function)?;
    }
    json.raw_set("new", lua.create_function(|lua, _: MultiValue| open(lua))?)?;
    json.raw_set("null", Value::NULL)?;
    json.raw_set("_NAME", "cjson")?;
    json.raw_set("_VERSION", "2.1.0")?;
    Ok(json)
}

fn one(value: Value) -> MultiValue {
    MultiValue::from_iter([value])
}

fn given<'a>(
    lua: &Lua,
    args: &'a MultiValue,
    n: usize,
    most: usize,
    name: &str,
) -> mlua::Result<Option<&'a Value>> {
    if args.len() > most {
        return Err(bad_argument(
            lua,
            most + 1,
            name,
            "found too many arguments",
        ));
    }
    Ok(args.get(n - 1).filter(|value| !value.is_nil()))
}

fn checked(
    lua: &Lua,
    value: &Value,
    n: usize,
    name: &str,
    least: i64,
    most: i64,
) -> mlua::Result<i64> {
    let Some(number) = number(Some(value)) else {
        return Err(wrong_type(lua, n, name, "number", Some(value)));
    };
    let number = i64::from(to_i64(number) as i32);
    if number < least || number > most {
        let why = format!("expected integer between {least} and {most}");
        return Err(bad_argument(lua, 1, name, &why));
    }
    Ok(number)
}

fn choice(lua: &Lua, value: &Value, n: usize, name: &str, options: &[&str]) -> mlua::Result<usize> {
    if let Value::Boolean(on) = value {
        return Ok((*on).into());
    }
    let Some(text) = text_of(value) else {
        return Err(wrong_type(lua, n, name, "string", Some(value)));
    };
    let found = options.iter().position(|option| option.as_bytes() == text);
    found.ok_or_else(|| {
        let why = format!(
            "invalid option '{}'",
            alloc::string::String::from_utf8_lossy(&text)
        );
        bad_argument(lua, n, name, &why)
    })
}

fn integer(
    lua: &Lua,
    settings: &Cell<Settings>,
    args: &MultiValue,
    name: &str,
    most: i64,
    field: fn(&mut Settings) -> &mut i64,
) -> mlua::Result<MultiValue> {
    let mut all = settings.get();
    if let Some(value) = given(lua, args, 1, 1, name)? {
        *field(&mut all) = checked(lua, value, 1, name, 1, most)?;
        settings.set(all);
    }
    Ok(one(Value::Number(*field(&mut all) as f64)))
}

fn switch(
    lua: &Lua,
    settings: &Cell<Settings>,
    args: &MultiValue,
    name: &str,
    field: fn(&mut Settings) -> &mut bool,
) -> mlua::Result<MultiValue> {
    let mut all = settings.get();
    if let Some(value) = given(lua, args, 1, 1, name)? {
        *field(&mut all) = choice(lua, value, 1, name, &["off", "on"])? == 1;
        settings.set(all);
    }
    Ok(one(Value::Boolean(*field(&mut all))))
}

fn encode_invalid(
    lua: &Lua,
    settings: &Cell<Settings>,
    args: &MultiValue,
) -> mlua::Result<MultiValue> {
    let mut all = settings.get();
    let name = "encode_invalid_numbers";
    if let Some(value) = given(lua, args, 1, 1, name)? {
        all.encode_invalid = choice(lua, value, 1, name, &["off", "on", "null"])?;
        settings.set(all);
    }
    Ok(one(match all.encode_invalid {
        2 => Value::String(lua.create_string("null")?),
        n => Value::Boolean(n == 1),
    }))
}

fn sparse(lua: &Lua, settings: &Cell<Settings>, args: &MultiValue) -> mlua::Result<MultiValue> {
    let name = "encode_sparse_array";
    let mut all = settings.get();
    if let Some(value) = given(lua, args, 1, 3, name)? {
        all.sparse_convert = choice(lua, value, 1, name, &["off", "on"])? == 1;
    }
    if let Some(value) = given(lua, args, 2, 3, name)? {
        all.sparse_ratio = checked(lua, value, 2, name, 0, i32::MAX.into())?;
    }
    if let Some(value) = given(lua, args, 3, 3, name)? {
        all.sparse_safe = checked(lua, value, 3, name, 0, i32::MAX.into())?;
    }
    settings.set(all);
    Ok(MultiValue::from_iter([
        Value::Boolean(all.sparse_convert),
        Value::Number(all.sparse_ratio as f64),
        Value::Number(all.sparse_safe as f64),
    ]))
}

// ---- encoding

fn encode(lua: &Lua, settings: &Cell<Settings>, args: &MultiValue) -> mlua::Result<MultiValue> {
    let (Some(value), 1) = (args.front(), args.len()) else {
        return Err(bad_argument(lua, 1, "encode", "expected 1 argument"));
    };
    let mut encoder = Encoder {
        lua,
        settings: settings.get(),
        out: Vec::new(),
    };
    encoder.value(value, 0)?;
    Ok(one(Value::String(lua.create_string(&encoder.out)?)))
}

struct Encoder<'a> {
    lua: &'a Lua,
    settings: Settings,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn exception(&self, value: &Value, why: &str) -> mlua::Error {
        let kind = match value {
            Value::LightUserData(_) => "userdata",
            other => type_name(other),
        };
        fail(self.lua, format!("Cannot serialise {kind}: {why}"))
    }

    fn value(&mut self, value: &Value, depth: i64) -> mlua::Result<()> {
        if self.out.len() > LONGEST {
            return Err(super::raise::Raise::Text(b"not enough memory".to_vec()).into());
        }
        match value {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(n) => self.number(*n as f64)?,
            Value::Number(n) => self.number(*n)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(null) if null.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => {
                let depth = depth + 1;
                if depth > self.settings.encode_depth.min(DEEPEST) {
                    let why = format!("Cannot serialise, excessive nesting ({depth})");
                    return Err(fail(self.lua, why));
                }
                match self.array_length(table)? {
                    Some(len) if len > 0 => self.array(table, len, depth)?,
                    _ => self.object(table, depth)?,
                }
            }
            other => return Err(self.exception(other, "type not supported")),
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for &c in text {
            let escape: &[u8] = match c {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'/' => b"\\/",
                8 => b"\\b",
                9 => b"\\t",
                10 => b"\\n",
                12 => b"\\f",
                13 => b"\\r",
                0..=31 | 127 => {
                    self.out.extend_from_slice(format!("\\u{c:04x}").as_bytes());
                    continue;
                }
                _ => {
                    self.out.push(c);
                    continue;
                }
            };
            self.out.extend_from_slice(escape);
        }
        self.out.push(b'"');
    }

    fn number(&mut self, n: f64) -> mlua::Result<()> {
        if !n.is_finite() {
            match self.settings.encode_invalid {
                0 => return Err(self.exception(&Value::Number(n), "must not be NaN or Inf")),
                1 if n.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                1 => {}
                _ => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
            }
        }
        write_g(&mut self.out, n, self.settings.precision as usize);
        Ok(())
    }

    /// The largest index, if all keys are positive integers.
    fn array_length(&self, table: &Table) -> mlua::Result<Option<i64>> {
        let (mut most, mut items) = (0.0f64, 0i64);
        let mut array = true;
        // (The order of keys matters to nobody here: any other key decides.)
        for pair in table.pairs::<Value, Value>() {
            let (key, _) = pair?;
            let index = match key {
                Value::Integer(n) => n as f64,
                Value::Number(n) => n,
                _ => 0.0,
            };
            if index < 1.0 || libm::floor(index) != index {
                array = false;
                break;
            }
            most = most.max(index);
            items += 1;
        }
        if !array {
            return Ok(None);
        }
        let most = to_i64(most).min(i32::MAX.into());
        let s = &self.settings;
        if s.sparse_ratio > 0 && most > items.saturating_mul(s.sparse_ratio) && most > s.sparse_safe
        {
            if !s.sparse_convert {
                let table = Value::Table(table.clone());
                return Err(self.exception(&table, "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(most))
    }

    fn array(&mut self, table: &Table, len: i64, depth: i64) -> mlua::Result<()> {
        self.out.push(b'[');
        for i in 1..=len {
            if i > 1 {
                self.out.push(b',');
            }
            let value = table.raw_get::<Value>(i)?;
            self.value(&value, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !core::mem::take(&mut first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => {
                    self.string(&text.as_bytes());
                    self.out.push(b':');
                }
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.number(number(Some(&key)).unwrap_or(0.0))?;
                    self.out.extend_from_slice(b"\":");
                }
                other => return Err(self.exception(other, "table key must be a number or string")),
            }
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

// ---- decoding

fn decode(lua: &Lua, settings: &Cell<Settings>, args: &MultiValue) -> mlua::Result<MultiValue> {
    let (Some(value), 1) = (args.front(), args.len()) else {
        return Err(bad_argument(lua, 1, "decode", "expected 1 argument"));
    };
    let Some(text) = text_of(value) else {
        return Err(wrong_type(lua, 1, "decode", "string", Some(value)));
    };
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(fail(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut decoder = Decoder {
        lua,
        settings: settings.get(),
        text: &text,
        at: 0,
        depth: 0,
    };
    let token = decoder.next();
    let value = decoder.value(token)?;
    match decoder.next() {
        (Token::End, _) => Ok(one(value)),
        token => Err(decoder.expected("the end", &token)),
    }
}

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(why) => why,
        }
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    settings: Settings,
    text: &'a [u8],
    at: usize,
    depth: i64,
}

impl Decoder<'_> {
    /// The byte at a place; 0 behind the end, which ends the text as it does in C.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn expected(&self, what: &str, (token, index): &(Token, usize)) -> mlua::Error {
        let found = token.name();
        let text = format!(
            "Expected {what} but found {found} at character {}",
            index + 1
        );
        fail(self.lua, text)
    }

    /// The next token, and where it begins (or is broken).
    fn next(&mut self) -> (Token, usize) {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let start = self.at;
        let single = match self.byte(start) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return (Token::End, start),
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.settings.decode_invalid && self.is_invalid_number() {
                    return (Token::Error("invalid number"), start);
                }
                return (self.number(), start);
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => {
                let rest = &self.text[start..];
                for (word, token) in [
                    (&b"true"[..], Token::Boolean(true)),
                    (b"false", Token::Boolean(false)),
                    (b"null", Token::Null),
                ] {
                    if rest.starts_with(word) {
                        self.at += word.len();
                        return (token, start);
                    }
                }
                if self.settings.decode_invalid && self.is_invalid_number() {
                    return (self.number(), start);
                }
                return (Token::Error("invalid token"), start);
            }
            _ => return (Token::Error("invalid token"), start),
        };
        self.at += 1;
        (single, start)
    }

    /// Whether C would read as a number what JSON does not allow.
    fn is_invalid_number(&self) -> bool {
        let mut at = self.at;
        if self.byte(at) == b'+' {
            return true;
        }
        if self.byte(at) == b'-' {
            at += 1;
        }
        match self.byte(at) {
            b'0' => {
                let next = self.byte(at + 1);
                next | 0x20 == b'x' || next.is_ascii_digit()
            }
            c if c <= b'9' => false,
            _ => {
                let rest = self.text.get(at..at + 3).unwrap_or_default();
                rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        match float_prefix(&self.text[self.at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn string(&mut self) -> (Token, usize) {
        let start = self.at;
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let plain = self.text[self.at.min(self.text.len())..]
                .iter()
                .take_while(|&&c| !matches!(c, b'"' | b'\\' | 0))
                .count();
            out.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return (Token::String(out), start);
                }
                b'\\' => {}
                _ => return (Token::Error("unexpected end of string"), self.at),
            }
            let plain = match self.byte(self.at + 1) {
                c @ (b'"' | b'\\' | b'/') => c,
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 12,
                b'r' => b'\r',
                b'u' => {
                    let Some((code, len)) = self.unicode() else {
                        return (Token::Error("invalid unicode escape code"), self.at);
                    };
                    write_utf8(&mut out, code);
                    self.at += len;
                    continue;
                }
                _ => return (Token::Error("invalid escape code"), self.at),
            };
            out.push(plain);
            self.at += 2;
        }
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        (at..at + 4).try_fold(0, |code, i| {
            char::from(self.byte(i))
                .to_digit(16)
                .map(|digit| code << 4 | digit)
        })
    }

    /// The code point of `\uXXXX`, or of two of them, and their length.
    fn unicode(&self) -> Option<(u32, usize)> {
        let code = self.hex4(self.at + 2)?;
        if code & 0xF800 != 0xD800 {
            return Some((code, 6));
        }
        if code & 0x400 != 0 || self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
            return None;
        }
        let low = self.hex4(self.at + 8)?;
        if low & 0xFC00 != 0xDC00 {
            return None;
        }
        Some((((code & 0x3FF) << 10 | low & 0x3FF) + 0x10000, 12))
    }

    fn descend(&mut self) -> mlua::Result<()> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.min(DEEPEST) {
            let text = format!(
                "Found too many nested data structures ({}) at character {}",
                self.depth, self.at
            );
            return Err(fail(self.lua, text));
        }
        Ok(())
    }

    fn value(&mut self, token: (Token, usize)) -> mlua::Result<Value> {
        match token.0 {
            Token::String(text) => self.lua.create_string(text).map(Value::String),
            Token::Number(n) => Ok(Value::Number(n)),
            Token::Boolean(on) => Ok(Value::Boolean(on)),
            Token::Null => Ok(Value::NULL),
            Token::ObjectBegin => self.object(),
            Token::ArrayBegin => self.array(),
            _ => Err(self.expected("value", &token)),
        }
    }

    fn object(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if !matches!(token.0, Token::ObjectEnd) {
            loop {
                let Token::String(key) = &token.0 else {
                    return Err(self.expected("object key string", &token));
                };
                let key = self.lua.create_string(key)?;
                token = self.next();
                if !matches!(token.0, Token::Colon) {
                    return Err(self.expected("colon", &token));
                }
                token = self.next();
                let value = self.value(token)?;
                table.raw_set(key, value)?;
                token = self.next();
                match token.0 {
                    Token::ObjectEnd => break,
                    Token::Comma => token = self.next(),
                    _ => return Err(self.expected("comma or object end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn array(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if !matches!(token.0, Token::ArrayEnd) {
            for i in 1.. {
                let value = self.value(token)?;
                table.raw_set(i, value)?;
                token = self.next();
                match token.0 {
                    Token::ArrayEnd => break,
                    Token::Comma => token = self.next(),
                    _ => return Err(self.expected("comma or array end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }
}

/// The number at the start of a text as C's `strtod` reads it, and its length.
fn float_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let byte = |i: usize| text.get(i).copied().unwrap_or(0);
    let sign = usize::from(matches!(byte(0), b'+' | b'-'));
    let negate = |n: f64| if byte(0) == b'-' { -n } else { n };
    let rest = &text[sign..];
    let is = |word: &[u8]| {
        rest.get(..word.len())
            .is_some_and(|r| r.eq_ignore_ascii_case(word))
    };
    if is(b"infinity") {
        return Some((negate(f64::INFINITY), sign + 8));
    }
    if is(b"inf") {
        return Some((negate(f64::INFINITY), sign + 3));
    }
    if is(b"nan") {
        return Some((negate(f64::NAN), sign + 3));
    }
    if is(b"0x") && byte(sign + 2).is_ascii_hexdigit() {
        let digits = rest[2..].iter().take_while(|c| c.is_ascii_hexdigit());
        let (mut value, mut len) = (0.0, 0);
        for &digit in digits {
            value = value * 16.0 + f64::from(char::from(digit).to_digit(16).unwrap_or(0));
            len += 1;
        }
        return Some((negate(value), sign + 2 + len));
    }
    let digits = |from: usize| {
        text[from.min(text.len())..]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .count()
    };
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if byte(end) == b'.' {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if byte(end) | 0x20 == b'e' {
        let signed = usize::from(matches!(byte(end + 1), b'+' | b'-'));
        let exponent = digits(end + 1 + signed);
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    let text = core::str::from_utf8(&text[..end]).ok()?;
    Some((text.parse().ok()?, end))
}

fn write_utf8(out: &mut Vec<u8>, code: u32) {
    let tail = |shift: u32| (code >> shift & 0x3F) as u8 | 0x80;
    match code {
        0..=0x7F => out.push(code as u8),
        0x80..=0x7FF => out.extend([(code >> 6) as u8 | 0xC0, tail(0)]),
        0x800..=0xFFFF => out.extend([(code >> 12) as u8 | 0xE0, tail(6), tail(0)]),
        _ => out.extend([(code >> 18) as u8 | 0xF0, tail(12), tail(6), tail(0)]),
    }
}
