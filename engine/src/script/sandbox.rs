//! What scripts see: see `sandbox.lua`.

use mlua::{Function, Lua, Table, Value};

use super::vm::Kind;

/// The ways into a state that is ready.
pub(super) struct Sandbox {
    run: Function,
    load: Option<Function>,
}

impl Sandbox {
    /// Makes a fresh state ready. `host` holds the functions that the sandbox uses, `libraries` those that
    /// scripts are to see.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(lua: &Lua, kind: Kind, host: Table, libraries: Table) -> mlua::Result<Sandbox> {
        let chunk = lua.load(include_str!("sandbox.lua")).set_name("=[sandbox]");
        let arguments = (host, lua.globals(), libraries, kind == Kind::Eval);
        let (run, load) = chunk.call(arguments)?;
        Ok(Sandbox { run, load })
    }

    /// Calls a function with its keys and arguments: whether it ended well, and with what.
    ///
    /// # Errors
    /// Out of memory.
    pub fn run(&self, f: &Function, keys: Table, arguments: Table) -> mlua::Result<(bool, Value)> {
        self.run.call((f, keys, arguments))
    }

    /// Runs the code of a library: whether it ended well, and if not, with what.
    ///
    /// # Errors
    /// Out of memory.
    pub fn load(&self, body: &Function) -> mlua::Result<(bool, Value)> {
        match &self.load {
            Some(load) => load.call(body),
            None => Ok((true, Value::Nil)),
        }
    }
}

/// The name by which the sandbox is known in error positions.
pub(super) const SOURCE: &str = "=[sandbox]";
