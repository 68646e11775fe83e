//! The functions that scripts see as `redis.…`, and those that the sandbox is made of.
//! <https://redis.io/docs/latest/develop/interact/programmability/lua-api/>

use alloc::format;
use alloc::vec::Vec;

use mlua::{Function, Lua, MultiValue, Scope, Table, Value};

use super::calls::{self, Ask};
use super::debug::{self, Debugger};
use super::format::to_i64;
use super::raise::{self, Raise, bad_argument, fail, reply, wrong_type};
use super::random::MOST;
use super::sandbox::{SOURCE, Sandbox};
use super::vm::{Declared, Event, Kind, Process};
use super::{bit, cjson, cmsgpack, convert, flags, packing, sha1hex, shim};
use crate::face::LogLevel;

/// Where the hook finds the function that suspends.
pub(super) const SLICE_FUNCTION: &str = "slice";

/// The version in a number, as `REDIS_VERSION_NUM` has it.
const VERSION_NUMBER: u32 = 0x0007_000F;

/// Makes a fresh state into one for scripts.
///
/// # Errors
/// Out of memory.
pub(super) fn install<'scope, 'env>(
    kind: Kind,
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    process: &'env Process<'env>,
    functions: &Table,
) -> mlua::Result<Sandbox> {
    let slice = scope.create_function(|_, ()| process.wait(Event::Slice).map_err(reply))?;
    lua.set_named_registry_value(SLICE_FUNCTION, slice)?;
    let libraries = lua.create_table()?;
    libraries.raw_set("bit", bit::open(lua)?)?;
    libraries.raw_set("cjson", cjson::open(lua)?)?;
    libraries.raw_set("cmsgpack", cmsgpack::open(lua)?)?;
    libraries.raw_set("struct", packing::open(lua)?)?;
    libraries.raw_set("redis", redis(kind, lua, scope, process)?)?;
    let host = lua.create_table()?;
    let seen = scope.create_function(|lua, error: Value| {
        if let Value::Error(error) = &error
            && let Some(text) = raise::reply_text(error)
        {
            process.show_error(text.strip_prefix(b"ERR ").unwrap_or(text));
        }
        plain(lua, error)
    })?;
    host.raw_set("plain", seen)?;
    host.raw_set("guard", lua.create_function(shim::guard)?)?;
    host.raw_set("unpack", shim::unpack(lua)?)?;
    host.raw_set("where", lua.create_function(|lua, ()| Ok(location(lua)))?)?;
    let io = process.io;
    host.raw_set("ended", scope.create_function(|_, ()| Ok(io.ended.get()))?)?;
    let asking = lua.create_table()?;
    asking.raw_set("call", calls::asking(lua, process, Ask::Call)?)?;
    asking.raw_set("pcall", calls::asking(lua, process, Ask::Pcall)?)?;
    asking.raw_set("acl_check_cmd", calls::asking(lua, process, Ask::MayRun)?)?;
    if io.debugger.borrow().is_some() {
        debug::hook::install(lua, process, lua.create_function(plain)?)?;
        asking.raw_set("debug", debug::hook::debug(lua, process)?)?;
    }
    host.raw_set("asking", asking)?;
    host.raw_set("strings", strings(lua)?)?;
    host.raw_set("math", math(lua, scope, process)?)?;
    if kind == Kind::Functions {
        let loading = constants(lua)?;
        loading.raw_set("log", scope.create_function(|_, args| log(process, &args))?)?;
        let register = scope.create_function(|_, args: MultiValue| register(process, &args))?;
        loading.raw_set("register_function", register)?;
        host.raw_set("loading", loading)?;
    }
    Sandbox::new(lua, kind, host, libraries, functions)
}

/// `redis`, without the functions that ask.
fn redis<'scope, 'env>(
    kind: Kind,
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    process: &'env Process<'env>,
) -> mlua::Result<Table> {
    let redis = constants(lua)?;
    let add = |name: &str, function: Function| redis.raw_set(name, function);
    add("log", scope.create_function(|_, args| log(process, &args))?)?;
    add(
        "setresp",
        scope.create_function(|_, args| set_resp(process, &args))?,
    )?;
    add(
        "set_repl",
        scope.create_function(|_, args| set_repl(process, &args))?,
    )?;
    add("sha1hex", lua.create_function(sha)?)?;
    add(
        "error_reply",
        scope.create_function(|lua, args| error_reply(process, lua, &args))?,
    )?;
    add("status_reply", lua.create_function(status_reply)?)?;
    if kind == Kind::Eval {
        add(
            "breakpoint",
            scope.create_function(|_, _: MultiValue| {
                let mut debugger = process.io.debugger.borrow_mut();
                Ok(debugger.as_mut().map(Debugger::call).is_some())
            })?,
        )?;
        add("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
        add(
            "replicate_commands",
            lua.create_function(|_, _: MultiValue| Ok(true))?,
        )?;
    }
    for (name, n) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
    ] {
        redis.raw_set(name, n)?;
    }
    Ok(redis)
}

/// What a library may see while it is loaded, too.
fn constants(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, n) in [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REDIS_VERSION_NUM", VERSION_NUMBER),
    ] {
        table.raw_set(name, n)?;
    }
    table.raw_set("REDIS_VERSION", crate::REDIS_VERSION)?;
    Ok(table)
}

/// A number, or a string that reads as one.
pub(super) fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Integer(n) => Some(*n as f64),
        Value::Number(n) => Some(*n),
        Value::String(text) => lua_number(&text.as_bytes()),
        _ => None,
    }
}

/// A number as Lua reads it from a string.
fn lua_number(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii();
    let hex = text
        .strip_prefix(b"0x")
        .or_else(|| text.strip_prefix(b"0X"));
    match hex {
        Some(digits) => {
            let digits = core::str::from_utf8(digits).ok()?;
            u64::from_str_radix(digits, 16).ok().map(|n| n as f64)
        }
        None => crate::value::number::parse_f64(text),
    }
}

/// `redis.log`.
fn log(process: &Process<'_>, args: &MultiValue) -> mlua::Result<()> {
    if args.len() < 2 {
        return Err(reply("redis.log() requires two arguments or more."));
    }
    let Some(level) = number(args.front()) else {
        return Err(reply("First argument must be a number (log level)."));
    };
    let level = match to_i64(level) {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Err(reply("Invalid debug level.")),
    };
    if level < process.io.verbosity.get() {
        return Ok(());
    }
    let mut line = Vec::new();
    for (i, arg) in args.iter().skip(1).enumerate() {
        if let Some(text) = convert::text_of(arg) {
            if i > 0 {
                line.push(b' ');
            }
            line.extend_from_slice(&text);
        }
    }
    process.io.log.borrow_mut().push((level, line));
    Ok(())
}

/// `redis.setresp`.
fn set_resp(process: &Process<'_>, args: &MultiValue) -> mlua::Result<()> {
    if !process.io.running.get() {
        return Err(reply(
            "redis.setresp can only be called inside a script invocation",
        ));
    }
    if args.len() != 1 {
        return Err(reply("redis.setresp() requires one argument."));
    }
    match number(args.front()).map(to_i64) {
        Some(version @ (2 | 3)) => process.io.resp3.set(version == 3),
        _ => return Err(reply("RESP version must be 2 or 3.")),
    }
    Ok(())
}

/// `redis.set_repl`.
fn set_repl(process: &Process<'_>, args: &MultiValue) -> mlua::Result<()> {
    if !process.io.running.get() {
        return Err(reply(
            "redis.set_repl can only be called inside a script invocation",
        ));
    }
    if args.len() != 1 {
        return Err(reply("redis.set_repl() requires two arguments."));
    }
    let flags = number(args.front()).map_or(0, to_i64);
    if flags & !3 != 0 {
        return Err(reply(
            "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ));
    }
    process.io.replicate.set(flags as u8);
    Ok(())
}

/// `redis.sha1hex`.
fn sha(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    if args.len() != 1 {
        return Err(reply("wrong number of arguments"));
    }
    let text = args.front().and_then(convert::text_of).unwrap_or_default();
    lua.create_string(sha1hex(&text))
}

/// `redis.error_reply`.
fn error_reply(process: &Process<'_>, lua: &Lua, args: &MultiValue) -> mlua::Result<Table> {
    let text = match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => {
            let text = text.as_bytes();
            match super::c_text(&text) {
                text @ [b'-', ..] => text.to_vec(),
                text => [b"-", text].concat(),
            }
        }
        _ => b"wrong number or type of arguments".to_vec(),
    };
    process.show_error(&text);
    convert::error_table(lua, &text)
}

/// `redis.status_reply`.
fn status_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    match (args.len(), args.front()) {
        (1, Some(text @ Value::String(_))) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Ok(table)
        }
        _ => convert::error_table(lua, b"wrong number or type of arguments"),
    }
}

/// What a script sees of an error from Rust.
fn plain(lua: &Lua, error: Value) -> mlua::Result<Value> {
    match error {
        Value::Error(error) => raise::plain(lua, &error),
        other => Ok(other),
    }
}

/// Source and line of the script, seen from the sandbox's error handler: of the function that failed, or of
/// the one that called it, if it is none of the script's.
fn location(lua: &Lua) -> (Option<alloc::string::String>, Option<usize>) {
    for level in 2..7 {
        let found = lua.inspect_stack(level, |f| {
            let source = f.source();
            let name = source.source.map(|s| s.into_owned());
            (source.what, name, f.current_line())
        });
        let Some((what, source, line)) = found else {
            return (None, None);
        };
        if what == "tail" {
            return (None, None);
        }
        let skipped = (what == "C" && level < 6) || source.as_deref() == Some(SOURCE);
        if !skipped {
            return (source, Some(line.unwrap_or(0)));
        }
    }
    (None, None)
}

/// Functions that take the place of Lua's, which could run for very long.
fn strings(lua: &Lua) -> mlua::Result<Table> {
    let strings = lua.create_table()?;
    strings.raw_set("rep", lua.create_function(repeat)?)?;
    Ok(strings)
}

/// `string.rep`.
fn repeat(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    let Some(text) = args.front().and_then(convert::text_of) else {
        return Err(wrong_type(lua, 1, "rep", "string", args.front()));
    };
    let Some(times) = number(args.get(1)) else {
        return Err(wrong_type(lua, 2, "rep", "number", args.get(1)));
    };
    let times = to_i64(times).max(0) as usize;
    let len = text.len().checked_mul(times);
    match len {
        Some(0) => lua.create_string(b""),
        Some(len) if len <= super::MEMORY_LIMIT / 2 => lua.create_string(text.repeat(times)),
        _ => Err(Raise::Text(b"not enough memory".to_vec()).into()),
    }
}

/// `math.random` and `math.randomseed`.
fn math<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    process: &'env Process<'env>,
) -> mlua::Result<Table> {
    let math = lua.create_table()?;
    let io = process.io;
    let random = scope.create_function(|lua, args: MultiValue| {
        if !io.running.get() {
            return Err(fail(
                lua,
                "math.random can only be called inside a script invocation",
            ));
        }
        let mut state = io.random.get();
        let r = f64::from(state.word() % MOST) / f64::from(MOST);
        io.random.set(state);
        between(lua, &args, r)
    })?;
    math.raw_set("random", random)?;
    let seed = scope.create_function(|lua, args: MultiValue| {
        if !io.running.get() {
            return Err(fail(
                lua,
                "math.randomseed can only be called inside a script invocation",
            ));
        }
        let seed = integer(lua, &args, 1, "randomseed")?;
        let mut state = io.random.get();
        state.seed(seed);
        io.random.set(state);
        Ok(())
    })?;
    math.raw_set("randomseed", seed)?;
    Ok(math)
}

/// An argument as a C int.
fn integer(lua: &Lua, args: &MultiValue, n: usize, function: &str) -> mlua::Result<i32> {
    let value = args.get(n - 1);
    number(value)
        .map(|n| to_i64(n) as i32)
        .ok_or_else(|| wrong_type(lua, n, function, "number", value))
}

/// What `math.random` makes of `r`, which is in [0, 1).
fn between(lua: &Lua, args: &MultiValue, r: f64) -> mlua::Result<f64> {
    match args.len() {
        0 => Ok(r),
        1 => {
            let most = integer(lua, args, 1, "random")?;
            if most < 1 {
                return Err(bad_argument(lua, 1, "random", "interval is empty"));
            }
            Ok(libm::floor(r * f64::from(most)) + 1.0)
        }
        2 => {
            let least = integer(lua, args, 1, "random")?;
            let most = integer(lua, args, 2, "random")?;
            if least > most {
                return Err(bad_argument(lua, 2, "random", "interval is empty"));
            }
            let width = most.wrapping_sub(least).wrapping_add(1);
            Ok(libm::floor(r * f64::from(width)) + f64::from(least))
        }
        _ => Err(fail(lua, "wrong number of arguments")),
    }
}

/// `redis.register_function`.
fn register(process: &Process<'_>, args: &MultiValue) -> mlua::Result<()> {
    let mut list = process.io.declared.borrow_mut();
    let Some(list) = list.as_mut() else {
        return Err(reply(
            "redis.register_function can only be called on FUNCTION LOAD command",
        ));
    };
    let (declared, function) = match args.len() {
        1 => named(&args[0])?,
        2 => positional(&args[0], &args[1])?,
        _ => {
            return Err(reply(
                "wrong number of arguments to redis.register_function",
            ));
        }
    };
    if declared.name.is_empty()
        || !declared
            .name
            .iter()
            .all(|&c| c.is_ascii_alphanumeric() || c == b'_')
    {
        return Err(reply(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
        ));
    }
    if list.iter().any(|(other, _)| other.name == declared.name) {
        return Err(reply("Function already exists in the library"));
    }
    list.push((declared, function));
    Ok(())
}

fn positional(name: &Value, callback: &Value) -> mlua::Result<(Declared, Function)> {
    let Some(name) = convert::text_of(name) else {
        return Err(reply(
            "first argument to redis.register_function must be a string",
        ));
    };
    let Value::Function(function) = callback else {
        return Err(reply(
            "second argument to redis.register_function must be a function",
        ));
    };
    let declared = Declared {
        name,
        description: None,
        flags: 0,
        function: 0,
    };
    Ok((declared, function.clone()))
}

fn named(table: &Value) -> mlua::Result<(Declared, Function)> {
    let Value::Table(table) = table else {
        return Err(reply(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ));
    };
    let (mut name, mut callback, mut description, mut bits) = (None, None, None, 0);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Some(key) = convert::text_of(&key) else {
            return Err(reply(
                "named argument key given to redis.register_function is not a string",
            ));
        };
        let text = |what: &str| {
            convert::text_of(&value).ok_or_else(|| {
                reply(&format!(
                    "{what} argument given to redis.register_function must be a string"
                ))
            })
        };
        match &key.to_ascii_lowercase()[..] {
            b"function_name" => name = Some(text("function_name")?),
            b"description" => description = Some(text("description")?),
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(reply(
                        "callback argument given to redis.register_function must be a function",
                    ));
                }
            },
            b"flags" => match value {
                Value::Table(names) => bits = flag_table(&names)?,
                _ => {
                    return Err(reply(
                        "flags argument to redis.register_function must be a table representing function flags",
                    ));
                }
            },
            _ => return Err(reply("unknown argument given to redis.register_function")),
        }
    }
    let name =
        name.ok_or_else(|| reply("redis.register_function must get a function name argument"))?;
    let function =
        callback.ok_or_else(|| reply("redis.register_function must get a callback argument"))?;
    let declared = Declared {
        name,
        description,
        flags: bits,
        function: 0,
    };
    Ok((declared, function))
}

fn flag_table(names: &Table) -> mlua::Result<u32> {
    let mut texts = Vec::new();
    for name in names.sequence_values::<Value>() {
        let text = convert::text_of(&name?).ok_or_else(|| reply("unknown flag given"))?;
        texts.push(text.to_ascii_lowercase());
    }
    flags::parse_flags(texts.iter().map(Vec::as_slice)).map_err(|_| reply("unknown flag given"))
}
