//! What scripts see: see `sandbox.lua`.

use mlua::{Function, Lua, Table, Value};

use super::calls::Runner;
use super::vm::Kind;

/// The ways into a state that is ready.
pub(super) struct Sandbox {
    /// Calls functions.
    pub runner: Runner,
    load: Option<Function>,
}

impl Sandbox {
    /// Makes a fresh state ready. `host` holds the functions that the sandbox uses, `libraries` those that
    /// scripts are to see, `functions` what is to be run, by number.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        lua: &Lua,
        kind: Kind,
        host: Table,
        libraries: Table,
        functions: &Table,
    ) -> mlua::Result<Sandbox> {
        let chunk = lua.load(include_str!("sandbox.lua")).set_name("=[sandbox]");
        let arguments = (host, lua.globals(), libraries, kind == Kind::Eval);
        let (handler, load, keys): (Function, _, Option<Table>) = chunk.call(arguments)?;
        let runner = Runner::new(lua, functions, &handler, keys.as_ref())?;
        Ok(Sandbox { runner, load })
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
