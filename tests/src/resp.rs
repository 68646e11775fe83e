//! RESP2 and RESP3 as a client sees them, written apart from the engine so that they can disagree.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::fmt;

/// One reply, exactly as it was sent: `$-1`, `*-1` and `_` are three different things.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `*` with its elements.
    Array(Vec<Value>),
    /// `(`
    BigNumber(Vec<u8>),
    /// `#`
    Bool(bool),
    /// `$`
    Bulk(Vec<u8>),
    /// The connection was closed instead of a reply.
    Closed,
    /// `,` with its text, because the text is what is compared.
    Double(Vec<u8>),
    /// `-` and `!`, without the mark.
    Error(Vec<u8>),
    /// `:`
    Int(i64),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `_`
    Null,
    /// `*-1`
    NullArray,
    /// `$-1`
    NullBulk,
    /// `>`
    Push(Vec<Value>),
    /// `~`
    Set(Vec<Value>),
    /// `+`
    Simple(Vec<u8>),
    /// `=` with its three letters of format.
    Verbatim(Vec<u8>, Vec<u8>),
}

impl Value {
    /// The text of a bulk, simple, verbatim or error reply, of a number, a double.
    pub fn text(&self) -> String {
        match self {
            Value::Bulk(b)
            | Value::Simple(b)
            | Value::Error(b)
            | Value::Double(b)
            | Value::BigNumber(b) => String::from_utf8_lossy(b).into_owned(),
            Value::Verbatim(_, b) => String::from_utf8_lossy(b).into_owned(),
            Value::Int(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            _ => String::new(),
        }
    }

    /// The bytes of a bulk, simple or verbatim reply.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bulk(b) | Value::Simple(b) | Value::Verbatim(_, b) => b,
            _ => &[],
        }
    }

    /// The elements of an array, set or push; a map's keys and values in turn. Empty for all else.
    pub fn items(&self) -> Vec<Value> {
        match self {
            Value::Array(v) | Value::Set(v) | Value::Push(v) => v.clone(),
            Value::Map(pairs) => pairs
                .iter()
                .flat_map(|(k, v)| [k.clone(), v.clone()])
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The number of an integer reply, or of one in a string.
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            other => other.text().parse().ok(),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// Whether it is any of the three nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullArray | Value::NullBulk)
    }

    /// Whether it is `+OK`.
    pub fn is_ok(&self) -> bool {
        *self == Value::Simple(b"OK".to_vec())
    }

    /// A bulk.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bulk(bytes.as_ref().to_vec())
    }

    /// A simple string.
    pub fn simple(text: &str) -> Value {
        Value::Simple(text.as_bytes().to_vec())
    }

    /// An error.
    pub fn error(text: &str) -> Value {
        Value::Error(text.as_bytes().to_vec())
    }

    /// The bytes that carry it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, mark: u8, text: &[u8]| {
            out.push(mark);
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        };
        let count =
            |out: &mut Vec<u8>, mark: u8, n: usize| line(out, mark, n.to_string().as_bytes());
        match self {
            Value::Array(items) | Value::Push(items) | Value::Set(items) => {
                let mark = match self {
                    Value::Array(_) => b'*',
                    Value::Push(_) => b'>',
                    _ => b'~',
                };
                count(out, mark, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
            Value::BigNumber(text) => line(out, b'(', text),
            Value::Bool(yes) => line(out, b'#', if *yes { b"t" } else { b"f" }),
            Value::Bulk(bytes) => {
                count(out, b'$', bytes.len());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Value::Closed => {}
            Value::Double(text) => line(out, b',', text),
            Value::Error(text) => line(out, b'-', text),
            Value::Int(n) => line(out, b':', n.to_string().as_bytes()),
            Value::Map(pairs) => {
                count(out, b'%', pairs.len());
                for (key, value) in pairs {
                    key.encode(out);
                    value.encode(out);
                }
            }
            Value::Null => out.extend_from_slice(b"_\r\n"),
            Value::NullArray => out.extend_from_slice(b"*-1\r\n"),
            Value::NullBulk => out.extend_from_slice(b"$-1\r\n"),
            Value::Simple(text) => line(out, b'+', text),
            Value::Verbatim(format, text) => {
                count(out, b'=', text.len() + 4);
                out.extend_from_slice(format);
                out.push(b':');
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, items: &[Value]| {
            write!(f, "{open}")?;
            f.debug_list().entries(items).finish()
        };
        match self {
            Value::Array(items) => list(f, "", items),
            Value::BigNumber(text) => write!(f, "({}", quote(text)),
            Value::Bool(yes) => write!(f, "#{yes}"),
            Value::Bulk(bytes) => write!(f, "{}", quote(bytes)),
            Value::Closed => write!(f, "<closed>"),
            Value::Double(text) => write!(f, ",{}", String::from_utf8_lossy(text)),
            Value::Error(text) => write!(f, "-{}", String::from_utf8_lossy(text)),
            Value::Int(n) => write!(f, ":{n}"),
            Value::Map(pairs) => f
                .debug_map()
                .entries(pairs.iter().map(|(k, v)| (k, v)))
                .finish(),
            Value::Null => write!(f, "_"),
            Value::NullArray => write!(f, "*-1"),
            Value::NullBulk => write!(f, "$-1"),
            Value::Push(items) => list(f, ">", items),
            Value::Set(items) => list(f, "~", items),
            Value::Simple(text) => write!(f, "+{}", String::from_utf8_lossy(text)),
            Value::Verbatim(format, text) => {
                write!(f, "={}:{}", String::from_utf8_lossy(format), quote(text))
            }
        }
    }
}

/// Bytes as redis-cli reads them: quoted, with escapes, shortened in the middle when long.
pub fn quote(bytes: &[u8]) -> String {
    const SHOWN: usize = 300;
    if bytes.len() > 2 * SHOWN {
        let (head, tail) = (&bytes[..SHOWN], &bytes[bytes.len() - SHOWN..]);
        return format!(
            "\"{}…{} bytes…{}\"",
            head.escape_ascii(),
            bytes.len(),
            tail.escape_ascii()
        );
    }
    format!("\"{}\"", bytes.escape_ascii())
}

/// A command as the array of bulks that clients send.
pub fn command<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Why bytes are not a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// More bytes are needed.
    Incomplete,
    /// They never will be one.
    Malformed(String),
}

/// Reads one reply from the beginning of `bytes`; also says how many bytes it took.
pub fn parse(bytes: &[u8]) -> Result<(Value, usize), Fault> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    Ok((value, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        if depth > 32 {
            return Err(Fault::Malformed("nested too deeply".into()));
        }
        let line = self.line()?;
        let Some((&mark, text)) = line.split_first() else {
            return Err(Fault::Malformed("an empty line".into()));
        };
        Ok(match mark {
            b'+' => Value::Simple(text.to_vec()),
            b'-' => Value::Error(text.to_vec()),
            b':' => Value::Int(number(text)?),
            b',' => Value::Double(text.to_vec()),
            b'(' => Value::BigNumber(text.to_vec()),
            b'#' if text == b"t" || text == b"f" => Value::Bool(text == b"t"),
            b'_' if text.is_empty() => Value::Null,
            b'$' if text == b"-1" => Value::NullBulk,
            b'*' if text == b"-1" => Value::NullArray,
            b'$' => Value::Bulk(self.blob(text)?.to_vec()),
            b'!' => Value::Error(self.blob(text)?.to_vec()),
            b'=' => {
                let blob = self.blob(text)?;
                match blob.split_at_checked(4) {
                    Some((format, rest)) if format[3] == b':' => {
                        Value::Verbatim(format[..3].to_vec(), rest.to_vec())
                    }
                    _ => {
                        return Err(Fault::Malformed(format!(
                            "a verbatim string without format: {}",
                            quote(blob)
                        )));
                    }
                }
            }
            b'*' => Value::Array(self.values(text, 1, depth)?),
            b'>' => Value::Push(self.values(text, 1, depth)?),
            b'~' => Value::Set(self.values(text, 1, depth)?),
            b'%' => {
                let mut items = self.values(text, 2, depth)?.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Value::Map(pairs)
            }
            b'|' => {
                self.values(text, 2, depth)?;
                self.value(depth)?
            }
            _ => {
                return Err(Fault::Malformed(format!(
                    "no reply begins like {}",
                    quote(line)
                )));
            }
        })
    }

    fn line(&mut self) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(Fault::Incomplete)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn blob(&mut self, length: &[u8]) -> Result<&'a [u8], Fault> {
        let length = size(length)?;
        let rest = &self.bytes[self.at..];
        if rest.len() < length + 2 {
            return Err(Fault::Incomplete);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(Fault::Malformed("a bulk longer than it says".into()));
        }
        self.at += length + 2;
        Ok(&rest[..length])
    }

    fn values(&mut self, count: &[u8], each: usize, depth: usize) -> Result<Vec<Value>, Fault> {
        (0..size(count)? * each)
            .map(|_| self.value(depth + 1))
            .collect()
    }
}

fn number(text: &[u8]) -> Result<i64, Fault> {
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Fault::Malformed(format!("not a number: {}", quote(text))))
}

fn size(text: &[u8]) -> Result<usize, Fault> {
    let n = number(text)?;
    usize::try_from(n)
        .ok()
        .filter(|n| *n < 1 << 32)
        .ok_or_else(|| Fault::Malformed(format!("not a length: {n}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_way_there_and_back_in_pieces() {
        let all = Value::Array(vec![
            Value::BigNumber(b"123456789012345678901234567890".to_vec()),
            Value::Bool(true),
            Value::bulk("a\r\nb"),
            Value::Double(b"1.5".to_vec()),
            Value::error("ERR no"),
            Value::Int(-7),
            Value::Map(vec![(Value::bulk("k"), Value::Set(vec![Value::Int(1)]))]),
            Value::Null,
            Value::NullArray,
            Value::NullBulk,
            Value::Push(vec![]),
            Value::simple("OK"),
            Value::Verbatim(b"txt".to_vec(), b"hello".to_vec()),
        ]);
        let mut bytes = Vec::new();
        all.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Err(Fault::Incomplete), "cut at {cut}");
        }
        bytes.extend_from_slice(b"+next");
        assert_eq!(parse(&bytes), Ok((all, bytes.len() - 5)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "\r\n",
            "?\r\n",
            ":x\r\n",
            "$-2\r\n",
            "$1\r\nabc\r\n",
            "#x\r\n",
            "=2\r\nab\r\n",
        ] {
            assert!(
                matches!(parse(text.as_bytes()), Err(Fault::Malformed(_))),
                "{text:?}"
            );
        }
    }
}
