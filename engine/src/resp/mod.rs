//! Decoding requests and encoding replies (RESP2 and RESP3); no knowledge of commands.

mod decode;
mod error;
mod output;
mod words;

pub use decode::{Arg, Decoded, INLINE_MAX, Limits, Partial, ProtocolError, decode};
pub use error::{c_string, error_text, shown};
pub use output::Output;
pub use words::{quote, split_words};
