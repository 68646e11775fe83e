//! Errors that commands reply, in Redis's words.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::resp;

/// Why a command failed: the reply, code first. Bytes, since it may show words of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError(pub Cow<'static, [u8]>);

impl CommandError {
    /// The key holds another type of value.
    pub const WRONG_TYPE: CommandError =
        CommandError::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// Options that make no sense.
    pub const SYNTAX: CommandError = CommandError::fixed("ERR syntax error");
    /// An argument is no 64-bit integer.
    pub const NOT_INTEGER: CommandError =
        CommandError::fixed("ERR value is not an integer or out of range");
    /// An argument is no number.
    pub const NOT_FLOAT: CommandError = CommandError::fixed("ERR value is not a valid float");
    /// The key is not there.
    pub const NO_SUCH_KEY: CommandError = CommandError::fixed("ERR no such key");
    /// A database number beyond `databases`.
    pub const DB_INDEX: CommandError = CommandError::fixed("ERR DB index is out of range");
    /// A value would be longer than `proto-max-bulk-len`.
    pub const TOO_LONG: CommandError =
        CommandError::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    /// An error with a text that never changes; it begins with its code.
    pub const fn fixed(text: &'static str) -> CommandError {
        CommandError(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made for the occasion; it begins with its code.
    pub fn text(text: impl Into<Vec<u8>>) -> CommandError {
        CommandError(Cow::Owned(text.into()))
    }

    /// The reply to a subcommand whose words are too many or make no sense; `command` in capitals.
    pub fn subcommand(command: &str, subcommand: &[u8]) -> CommandError {
        CommandError::showing(&[
            b"ERR unknown subcommand or wrong number of arguments for '",
            resp::shown(subcommand),
            b"'. Try ",
            command.as_bytes(),
            b" HELP.",
        ])
    }

    /// An error that shows words of the request, as Redis shows them (see [`resp::error_text`]): these
    /// pieces, one after the other, the first with the code.
    pub fn showing(pieces: &[&[u8]]) -> CommandError {
        CommandError::text(resp::error_text(pieces))
    }
}
