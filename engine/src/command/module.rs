//! MODULE: there are none, and none can be loaded. Who asks is told so in the words that he knows.

use alloc::format;
use alloc::string::String;

use super::context::Server;
use super::error::CommandError;
use super::help;
use super::table::Outcome;
use crate::client::limits::is_local;
use crate::face::LogLevel;

/// `MODULE LIST`. <https://redis.io/commands/module-list/>
pub(super) fn list(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.array(0);
    Ok(())
}

/// Whether `enable-module-command` lets this client try.
fn allowed(s: &Server<'_>) -> Outcome {
    if s.parts
        .config
        .enable_module_command
        .allows(is_local(&s.session.peer))
    {
        return Ok(());
    }
    Err(CommandError::fixed(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from \
         a local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
    ))
}

/// `MODULE LOAD path [arg …]` and `MODULE LOADEX path …`. <https://redis.io/commands/module-load/>
pub(super) fn load(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    allowed(s)?;
    let path = String::from_utf8_lossy(args[2]);
    s.parts.log(
        LogLevel::Warning,
        format!("Module {path} failed to load: this server has no interface for modules"),
    );
    Err(CommandError::fixed(
        "ERR Error loading the extension. Please check the server logs.",
    ))
}

/// `MODULE UNLOAD name`. <https://redis.io/commands/module-unload/>
pub(super) fn unload(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    allowed(s)?;
    Err(CommandError::fixed(
        "ERR Error unloading module: no such module with that name",
    ))
}

/// `MODULE HELP`. <https://redis.io/commands/module-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "MODULE", help::MODULE);
    Ok(())
}
