//! Replies as a client sees them: a small RESP2/RESP3 parser and request encoder, written independently of the
//! engine's so that neither can hide the other's mistakes.

use crate::model::Argv;

/// One reply. RESP3's maps, sets and numbers are brought to their RESP2 form, so that both protocols compare equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// Null in any form.
    Nil,
    /// An integer.
    Int(i64),
    /// A bulk string, also verbatim strings, doubles and big numbers.
    Bulk(Vec<u8>),
    /// A simple string.
    Simple(Vec<u8>),
    /// An error, with its code word.
    Error(Vec<u8>),
    /// An array, a set, or a map with keys and values in turn.
    Array(Vec<Reply>),
    /// A push (RESP3 only); no answer to a command.
    Push(Vec<Reply>),
}

impl Reply {
    /// A bulk string.
    pub fn bulk(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply::Bulk(bytes.into())
    }

    /// `OK`.
    pub fn ok() -> Reply {
        Reply::Simple(b"OK".to_vec())
    }

    /// An error's first word.
    pub fn error_code(&self) -> Option<&[u8]> {
        match self {
            Reply::Error(text) => text.split(|&byte| byte == b' ').next(),
            _ => None,
        }
    }
}

/// The stream cannot be a reply stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Parses one reply at the start of `bytes`: the reply and its length, or `None` if it is not complete yet.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    parse_at(bytes, 0, 0)
}

fn parse_at(bytes: &[u8], start: usize, depth: u32) -> Result<Option<(Reply, usize)>, Malformed> {
    if depth > 8 {
        return Err(Malformed);
    }
    let Some(&kind) = bytes.get(start) else {
        return Ok(None);
    };
    if !b"+-:$*_,#(=%~>!".contains(&kind) {
        return Err(Malformed);
    }
    let Some(len) = bytes[start + 1..]
        .windows(2)
        .position(|pair| pair == b"\r\n")
    else {
        return if bytes.len() - start > 64 * 1024 {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let line = &bytes[start + 1..start + 1 + len];
    let after = start + len + 3;
    let reply = match kind {
        b'+' => Reply::Simple(line.to_vec()),
        b'-' => Reply::Error(line.to_vec()),
        b':' => Reply::Int(number(line)?),
        b',' | b'(' => Reply::bulk(line),
        b'_' if line.is_empty() => Reply::Nil,
        b'#' if line == b"t" => Reply::Int(1),
        b'#' if line == b"f" => Reply::Int(0),
        b'$' | b'=' | b'!' => return blob(bytes, after, kind, number(line)?),
        b'*' | b'~' | b'%' | b'>' => return aggregate(bytes, after, kind, number(line)?, depth),
        _ => return Err(Malformed),
    };
    Ok(Some((reply, after)))
}

fn blob(bytes: &[u8], at: usize, kind: u8, len: i64) -> Result<Option<(Reply, usize)>, Malformed> {
    if len == -1 && kind == b'$' {
        return Ok(Some((Reply::Nil, at)));
    }
    let len = usize::try_from(len).map_err(|_| Malformed)?;
    if len > 1 << 30 {
        return Err(Malformed);
    }
    let Some(body) = bytes.get(at..at + len + 2) else {
        return Ok(None);
    };
    if &body[len..] != b"\r\n" {
        return Err(Malformed);
    }
    let text = body[..len].to_vec();
    let reply = match kind {
        b'!' => Reply::Error(text),
        b'=' => Reply::Bulk(text.get(4..).ok_or(Malformed)?.to_vec()),
        _ => Reply::Bulk(text),
    };
    Ok(Some((reply, at + len + 2)))
}

fn aggregate(
    bytes: &[u8],
    mut at: usize,
    kind: u8,
    len: i64,
    depth: u32,
) -> Result<Option<(Reply, usize)>, Malformed> {
    if len == -1 && kind == b'*' {
        return Ok(Some((Reply::Nil, at)));
    }
    let len = usize::try_from(len).map_err(|_| Malformed)?;
    if len > 1 << 24 {
        return Err(Malformed);
    }
    let count = if kind == b'%' { len * 2 } else { len };
    let mut items = Vec::new();
    for _ in 0..count {
        match parse_at(bytes, at, depth + 1)? {
            Some((item, next)) => {
                items.push(item);
                at = next;
            }
            None => return Ok(None),
        }
    }
    let reply = if kind == b'>' {
        Reply::Push(items)
    } else {
        Reply::Array(items)
    };
    Ok(Some((reply, at)))
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed)
}

/// Appends a request in its RESP form.
pub fn encode_request<A: AsRef<[u8]>>(out: &mut Vec<u8>, argv: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", argv.len()).as_bytes());
    for arg in argv {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Parses one request (an array of bulk strings): its arguments and length.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(Argv, usize)>, Malformed> {
    match parse(bytes)? {
        Some((Reply::Array(items), len)) => {
            let argv = items.into_iter().map(|item| match item {
                Reply::Bulk(arg) => Ok(arg),
                _ => Err(Malformed),
            });
            Ok(Some((argv.collect::<Result<_, _>>()?, len)))
        }
        Some(_) => Err(Malformed),
        None => Ok(None),
    }
}

/// Appends a reply in its RESP2 form.
pub fn encode_reply(out: &mut Vec<u8>, reply: &Reply) {
    let mut line = |kind: char, text: &[u8]| {
        out.push(kind as u8);
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    match reply {
        Reply::Nil => line('$', b"-1"),
        Reply::Int(n) => line(':', n.to_string().as_bytes()),
        Reply::Simple(text) => line('+', text),
        Reply::Error(text) => line('-', text),
        Reply::Bulk(bytes) => {
            line('$', bytes.len().to_string().as_bytes());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Array(items) | Reply::Push(items) => {
            line('*', items.len().to_string().as_bytes());
            items.iter().for_each(|item| encode_reply(out, item));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replies() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            Just(Reply::Nil),
            any::<i64>().prop_map(Reply::Int),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Reply::Bulk),
            "[A-Z]{1,8}".prop_map(|text| Reply::Simple(text.into_bytes())),
            "[A-Z]{1,8} [a-z ]{0,8}".prop_map(|text| Reply::Error(text.into_bytes())),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Reply::Array)
        })
    }

    proptest! {
        #[test]
        fn a_reply_is_read_back_and_no_prefix_of_it_is_one(reply in replies()) {
            let mut bytes = Vec::new();
            encode_reply(&mut bytes, &reply);
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
            let len = bytes.len();
            bytes.extend_from_slice(b"+next");
            prop_assert_eq!(parse(&bytes), Ok(Some((reply, len))));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes).ok();
        }
    }

    #[test]
    fn resp3_forms_become_their_resp2_equals() {
        let cases: [(&[u8], Reply); 5] = [
            (b"_\r\n", Reply::Nil),
            (
                b"%1\r\n+a\r\n:1\r\n",
                Reply::Array(vec![Reply::Simple(b"a".to_vec()), Reply::Int(1)]),
            ),
            (b"~1\r\n$1\r\nx\r\n", Reply::Array(vec![Reply::bulk("x")])),
            (b">1\r\n:5\r\n", Reply::Push(vec![Reply::Int(5)])),
            (b",3.5\r\n", Reply::bulk("3.5")),
        ];
        for (bytes, reply) in cases {
            assert_eq!(parse(bytes), Ok(Some((reply, bytes.len()))));
        }
        for bad in [b"?\r\n".as_slice(), b":x\r\n", b"$1\r\nabc", b"$-2\r\n"] {
            assert_eq!(parse(bad), Err(Malformed), "{bad:?}");
        }
    }
}
