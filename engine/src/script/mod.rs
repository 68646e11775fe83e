//! Scripts: Lua 5.1 in a coroutine of its own.
//!
//! An interpreter ([`Vm`]) is a process that the executor talks to. It is given a job, and comes back with an
//! [`Event`]: the script wants a command carried out, or has used up a slice of instructions, or is done. So
//! commands never run inside the interpreter and the interpreter never inside a command: whoever drives it
//! carries out the command as any other, leaves the reply, and lets it go on. Budgets count instructions, so
//! that a run can be repeated.
//!
//! What crosses the border in every run (the call of a script, and its calls of commands) is plain C to Lua, since that
//! is most of what a short script costs: `calls.rs`, `convert.rs`. All else goes by `mlua`.
//!
//! This floor knows no commands and no data: what a script may do is the driver's to decide
//! (`command/script.rs`, `command/function.rs`).

mod api;
mod bit;
mod calls;
mod cjson;
mod cmsgpack;
mod convert;
mod debug;
mod flags;
mod format;
mod packing;
mod raise;
mod random;
mod sandbox;
mod shim;
mod vm;
mod words;

pub use debug::Debugger;
pub use flags::{Shebang, flag, flag_names, parse_flags, shebang};
pub use random::Lrand48;
pub use vm::{Declared, Event, Finished, Io, Job, KILLED, Kind, Outcome, TIMEOUT, Vm};
pub use words::Words;

use sha1::{Digest, Sha1};

/// Instructions between two looks at the driver.
pub const SLICE: u32 = 100_000;

/// Bytes that one interpreter may hold: a script that wants more fails.
pub const MEMORY_LIMIT: usize = 1 << 30;

/// A script's name: its SHA-1 in hexadecimal digits.
pub type Sha = [u8; 40];

/// The name of a script.
pub fn sha1hex(body: &[u8]) -> Sha {
    let digest = Sha1::digest(body);
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    hex
}

/// A name as it was given, as it would be if it were one; `None` if it cannot be one.
pub fn sha_of(name: &[u8]) -> Option<Sha> {
    let mut sha: Sha = name.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

/// Text of a C string: up to the first zero byte.
pub(crate) fn c_text(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}
