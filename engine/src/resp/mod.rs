//! Decoding requests and encoding replies (RESP2 and RESP3); no knowledge of commands.

mod decode;
mod error;
mod output;

pub use decode::{Arg, Decoded, INLINE_MAX, Limits, Partial, ProtocolError, decode, split_words};
pub use error::{c_string, error_text, shown};
pub use output::Output;
