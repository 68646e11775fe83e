//! Replies for people to read.

use alloc::vec::Vec;

use crate::resp::quote;
use crate::value::number::parse_i64;

/// Appends the reply that `bytes` begin with, in RESP, as text, until `out` is longer than `room`; returns what follows
/// it. The bytes come from our own encoder.
pub(super) fn human<'a>(out: &mut Vec<u8>, bytes: &'a [u8], room: usize) -> &'a [u8] {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let rest = rest.get(2..).unwrap_or_default();
    let Some((&kind, text)) = line.split_first() else {
        return &[];
    };
    let n = || usize::try_from(parse_i64(text)?).ok();
    match kind {
        b':' => out.extend_from_slice(text),
        b'+' | b'-' => quote(out, line),
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' if text == b"t" => out.extend_from_slice(b"#true"),
        b'#' => out.extend_from_slice(b"#false"),
        b',' => {
            out.extend_from_slice(b"(double) ");
            out.extend_from_slice(text);
        }
        b'$' => {
            let Some(len) = n().map(|len| len.min(rest.len())) else {
                out.extend_from_slice(b"NULL");
                return rest;
            };
            // (What is too long is cut off anyway.)
            quote(out, &rest[..len.min(room)]);
            return rest.get(len + 2..).unwrap_or_default();
        }
        b'*' => match n() {
            Some(n) => return list(out, rest, n, room, ("[", "]")),
            None => out.extend_from_slice(b"NULL"),
        },
        b'~' => return list(out, rest, n().unwrap_or(0), room, ("~(", ")")),
        b'%' => return map(out, rest, n().unwrap_or(0), room),
        // What it has no form for (a big number, a verbatim string) it does not show.
        _ => {}
    }
    rest
}

fn list<'a>(
    out: &mut Vec<u8>,
    mut rest: &'a [u8],
    n: usize,
    room: usize,
    (open, close): (&str, &str),
) -> &'a [u8] {
    out.extend_from_slice(open.as_bytes());
    for i in 0..n {
        if out.len() > room || rest.is_empty() {
            return rest;
        }
        if i > 0 {
            out.push(b',');
        }
        rest = human(out, rest, room);
    }
    out.extend_from_slice(close.as_bytes());
    rest
}

fn map<'a>(out: &mut Vec<u8>, mut rest: &'a [u8], n: usize, room: usize) -> &'a [u8] {
    out.push(b'{');
    for i in 0..n {
        if out.len() > room || rest.is_empty() {
            return rest;
        }
        if i > 0 {
            out.push(b',');
        }
        rest = human(out, rest, room);
        out.extend_from_slice(b" => ");
        rest = human(out, rest, room);
    }
    out.push(b'}');
    rest
}
