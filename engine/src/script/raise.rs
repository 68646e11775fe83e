//! Errors that functions written in Rust raise in a script.
//!
//! In Redis an error is a Lua value: a string, or a table with the field `err`. An error that crosses from
//! Rust into Lua is wrapped in a userdata; whatever catches one (`pcall` and its relatives, see
//! `sandbox.lua`) unwraps it with [`plain`] before the script sees it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use mlua::{Error, Lua, Value};

/// What is raised.
#[derive(Clone, Debug)]
pub(super) enum Raise {
    /// A string.
    Text(Vec<u8>),
    /// A table with this as `err`.
    Reply(Vec<u8>),
}

impl fmt::Display for Raise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Raise::Text(text) | Raise::Reply(text)) = self;
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl core::error::Error for Raise {}

impl From<Raise> for Error {
    fn from(raise: Raise) -> Error {
        Error::external(raise)
    }
}

/// The error of a function that is to be a table in Redis: `ERR` is its code.
pub(super) fn reply(text: &str) -> Error {
    Raise::Reply([b"ERR ", text.as_bytes()].concat()).into()
}

/// The error of a library function: the text after the line of the script that called it.
pub(super) fn fail(lua: &Lua, text: impl AsRef<[u8]>) -> Error {
    // (Between the two is [`super::shim`].)
    let mut message = position(lua, 2);
    message.extend_from_slice(text.as_ref());
    Raise::Text(message).into()
}

/// A function was called with a wrong argument.
pub(super) fn bad_argument(lua: &Lua, n: usize, function: &str, why: &str) -> Error {
    fail(
        lua,
        alloc::format!("bad argument #{n} to '{function}' ({why})"),
    )
}

/// A function was called with an argument of a wrong type.
pub(super) fn wrong_type(
    lua: &Lua,
    n: usize,
    function: &str,
    expected: &str,
    got: Option<&Value>,
) -> Error {
    let got = got.map_or("no value", type_name);
    bad_argument(
        lua,
        n,
        function,
        &alloc::format!("{expected} expected, got {got}"),
    )
}

/// The name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// `source:line: ` of a caller, or nothing if that is not known.
fn position(lua: &Lua, level: usize) -> Vec<u8> {
    let found = lua.inspect_stack(level, |caller| {
        let line = caller.current_line();
        let source = caller.source().short_src.map(|s| s.to_string());
        let line = line.filter(|&line| line > 0)?;
        source.map(|s| alloc::format!("{s}:{line}: "))
    });
    found.flatten().unwrap_or_default().into_bytes()
}

/// The text of an error that is a table in Redis.
pub(super) fn reply_text(error: &Error) -> Option<&[u8]> {
    match root(error).downcast_ref::<Raise>() {
        Some(Raise::Reply(text)) => Some(text),
        _ => None,
    }
}

/// What a script sees of an error that it caught.
pub(super) fn plain(lua: &Lua, error: &Error) -> mlua::Result<Value> {
    match root(error).downcast_ref::<Raise>() {
        Some(Raise::Text(text)) => lua.create_string(text).map(Value::String),
        Some(Raise::Reply(err)) => {
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string(err)?)?;
            Ok(Value::Table(table))
        }
        None => {
            let text = match root(error) {
                Error::MemoryError(_) => "not enough memory".to_string(),
                Error::RuntimeError(text) => text.clone(),
                other => other.to_string(),
            };
            lua.create_string(text).map(Value::String)
        }
    }
}

fn root(error: &Error) -> &Error {
    match error {
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => root(cause),
        other => other,
    }
}
