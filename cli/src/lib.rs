//! Tools for the files of a server that does not run: what is in them, whether it is whole, and what can be saved.
//!
//! The formats are read by the engine's own decoders, and each value of a snapshot is taken apart as a server would. What
//! the commands of an append-only file do is not looked at. The output is that of redis-check-rdb and redis-check-aof, which people and scripts know.

pub mod aof;
mod progress;
pub mod rdb;
mod stats;

/// What a tool ends with: its exit code.
pub type Code = std::process::ExitCode;

/// The words of an error of the system, without its number.
pub(crate) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].into(),
        None => text,
    }
}
