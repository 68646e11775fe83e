//! Requests: RESP arrays of bulk strings, or inline lines of words.
//!
//! ```text
//! *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n      multibulk: a count, then that many bulks
//! SET k "a \x41"\r\n                             inline: words, with sdssplitargs' quoting
//! ```
//!
//! A decoded command is a list of ranges of the caller's buffer: nothing is copied. An unfinished
//! multibulk keeps its place ([`Partial`]), so that bytes are looked at once however they are split.
//! A length is a claim: nothing is allocated for it. A request has less than 4 GiB, whatever `proto-max-bulk-len` says.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, and the behaviour of Redis 7.0.

use alloc::vec::Vec;
use thiserror::Error;

/// One argument: a range of the buffer that the command begins in, relative to the command's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// First byte.
    pub start: u32,
    /// After the last byte.
    pub end: u32,
}

impl Arg {
    /// The argument's bytes in `command`, which starts where the command starts.
    #[inline]
    pub fn of(self, command: &[u8]) -> &[u8] {
        &command[self.start as usize..self.end as usize]
    }
}

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest bulk in bytes (`proto-max-bulk-len`).
    pub bulk: u64,
    /// Whether the client has yet to authenticate: then 10 arguments of 16 KiB are the most.
    pub unauthenticated: bool,
}

/// Longest inline request, and longest line with a count, in bytes.
pub const INLINE_MAX: usize = 64 * 1024;

const UNAUTHENTICATED_ARGS: i64 = 10;
const UNAUTHENTICATED_BULK: i64 = 16384;

/// Where an unfinished multibulk stands. `Default` is a command's beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Partial {
    /// Arguments still to come; 0 before the count is known.
    missing: u32,
    /// Position after the last complete element, relative to the command's start.
    at: u32,
    /// Length of the bulk whose header was read already, plus one; 0 if none.
    bulk: u32,
    /// Some line did not end in `\r\n`; Redis does not look, so neither do we, but say so.
    odd: bool,
}

impl Partial {
    /// Where the content of an unfinished element begins, if it has so many bytes at least.
    pub fn large_element(&self, least: usize) -> Option<usize> {
        (self.bulk as usize > least).then_some(self.at as usize)
    }

    /// Bytes that the next element is known to need beyond the command's `have` bytes so far.
    pub fn wanted(&self, have: usize) -> usize {
        (self.at as usize + self.bulk as usize + 1).saturating_sub(have)
    }
}

/// The outcome of [`decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole multibulk of `len` bytes; its arguments were pushed.
    Command {
        /// Bytes consumed.
        len: usize,
        /// Whether every line ends in `\r\n`, so that the bytes may be passed on as they are.
        canonical: bool,
    },
    /// A whole inline request of `len` bytes, line end included; split it with [`super::split_words`].
    Inline {
        /// Bytes consumed, with the line end.
        len: usize,
        /// Bytes of the line itself.
        line: usize,
    },
    /// An empty request (`*0`, `*-1`): `len` bytes to skip, no reply.
    Empty {
        /// Bytes consumed.
        len: usize,
    },
    /// More bytes are needed.
    Incomplete,
}

/// What is wrong with a request. The connection closes after the error, whose text is Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The count is no number, or beyond what Redis takes.
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// More than 10 arguments before AUTH.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// 64 KiB without the end of the count's line.
    #[error("Protocol error: too big mbulk count string")]
    MultibulkLine,
    /// 64 KiB without the end of a bulk length's line.
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// An argument does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", *.0 as char)]
    ExpectedDollar(u8),
    /// A bulk's length is no number, negative, or beyond `proto-max-bulk-len`.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// A bulk of more than 16 KiB before AUTH.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// 64 KiB without a line end.
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// Quotes in an inline request are not closed: [`super::split_words`] finds no words.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The error reply. It may hold a byte of the request that is no text.
    pub fn reply(self) -> Vec<u8> {
        match self {
            ProtocolError::ExpectedDollar(got) => [
                &b"ERR Protocol error: expected '$', got '"[..],
                &[got],
                b"'",
            ]
            .concat(),
            error => alloc::format!("ERR {error}").into_bytes(),
        }
    }
}

/// Decodes one request at the start of `buf`. `args` receives (or, after [`Decoded::Incomplete`],
/// already holds) the arguments so far; `partial` keeps the place between calls with a longer `buf`.
///
/// # Errors
/// The request breaks the protocol; the connection is to be closed.
#[inline]
pub fn decode(
    buf: &[u8],
    partial: &mut Partial,
    args: &mut Vec<Arg>,
    limits: &Limits,
) -> Result<Decoded, ProtocolError> {
    let mut at = partial.at as usize;
    if partial.missing == 0 {
        if let Some(len) = plain(buf, args, limits) {
            return Ok(Decoded::Command {
                len,
                canonical: true,
            });
        }
        match buf.first() {
            None => return Ok(Decoded::Incomplete),
            Some(b'*') => {}
            Some(_) => return inline(buf),
        }
        let Some((count, next)) = number_line(buf, 1, ProtocolError::MultibulkLine)? else {
            return Ok(Decoded::Incomplete);
        };
        let count = count
            .filter(|&n| n <= i64::from(i32::MAX))
            .ok_or(ProtocolError::MultibulkLength)?;
        if count > UNAUTHENTICATED_ARGS && limits.unauthenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        if count <= 0 {
            return Ok(Decoded::Empty { len: next });
        }
        partial.missing = count as u32;
        partial.odd = buf[next - 1] != b'\n';
        at = next;
        partial.at = at as u32;
    }
    while partial.missing > 0 {
        let len = if partial.bulk > 0 {
            partial.bulk as usize - 1
        } else {
            match buf.get(at) {
                None => return Ok(Decoded::Incomplete),
                Some(b'$') => {}
                Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
            }
            let Some((len, next)) = number_line(buf, at + 1, ProtocolError::BulkLine)? else {
                return Ok(Decoded::Incomplete);
            };
            let len = len
                .filter(|&n| n >= 0 && n as u64 <= limits.bulk && fits(next, n as u64))
                .ok_or(ProtocolError::BulkLength)?;
            if len > UNAUTHENTICATED_BULK && limits.unauthenticated {
                return Err(ProtocolError::UnauthenticatedBulk);
            }
            at = next;
            len as usize
        };
        let end = at + len;
        if buf.len() < end + 2 {
            partial.at = at as u32;
            partial.bulk = len as u32 + 1;
            return Ok(Decoded::Incomplete);
        }
        args.push(Arg {
            start: at as u32,
            end: end as u32,
        });
        at = end + 2;
        partial.missing -= 1;
        partial.bulk = 0;
        partial.at = at as u32;
    }
    let canonical = !partial.odd;
    *partial = Partial::default();
    Ok(Decoded::Command { len: at, canonical })
}

/// Whether a bulk of this length ends within what a request may have: positions are of 32 bits, with room for the line
/// behind it.
fn fits(at: usize, len: u64) -> bool {
    (at as u64).saturating_add(len) < u64::from(u32::MAX) - 2 * INLINE_MAX as u64
}

/// A whole multibulk with nothing unusual in it, which nearly every request is: its length. Else nothing is changed.
#[inline]
fn plain(buf: &[u8], args: &mut Vec<Arg>, limits: &Limits) -> Option<usize> {
    if buf.first() != Some(&b'*') || limits.unauthenticated || limits.bulk < MOST_PLAIN {
        return None;
    }
    let (count, mut at) = short_number(buf, 1)?;
    if count == 0 || buf[at - 1] != b'\n' {
        return None;
    }
    let first = args.len();
    for _ in 0..count {
        let arg = (buf.get(at) == Some(&b'$'))
            .then(|| short_number(buf, at + 1))
            .flatten()
            .filter(|(len, start)| buf.len() >= start + len + 2);
        let Some((len, start)) = arg else {
            args.truncate(first);
            return None;
        };
        args.push(Arg {
            start: start as u32,
            end: (start + len) as u32,
        });
        at = start + len + 2;
    }
    Some(at)
}

/// The largest number that [`short_number`] reads.
const MOST_PLAIN: u64 = 999;

/// A number of up to three digits with its line end, and the position behind that. (No whole request ends sooner than
/// five bytes behind the beginning of a number.)
#[inline]
fn short_number(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    let &[a, b, c, d, _] = buf.get(at..)?.first_chunk()?;
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    let (x, y, z) = (digit(a), digit(b), digit(c));
    if b == b'\r' && x < 10 {
        return Some((x, at + 3));
    }
    if x == 0 || x > 9 || y > 9 {
        return None;
    }
    if c == b'\r' {
        return Some((x * 10 + y, at + 4));
    }
    (z < 10 && d == b'\r').then(|| (x * 100 + y * 10 + z, at + 5))
}

/// The number on the line that starts at `at`, and the position after the line; `None` as the number
/// if it is none. Like Redis, the byte after `\r` is skipped unseen.
#[inline]
fn number_line(
    buf: &[u8],
    at: usize,
    too_long: ProtocolError,
) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    if let Some((number, next)) = short_number(buf, at) {
        return Ok(Some((Some(number as i64), next)));
    }
    let rest = &buf[at..];
    match memchr::memchr(b'\r', rest) {
        Some(end) if end + 1 < rest.len() => Ok(Some((
            crate::value::number::parse_i64(&rest[..end]),
            at + end + 2,
        ))),
        Some(_) => Ok(None),
        None if rest.len() > INLINE_MAX => Err(too_long),
        None => Ok(None),
    }
}

fn inline(buf: &[u8]) -> Result<Decoded, ProtocolError> {
    match memchr::memchr(b'\n', &buf[..buf.len().min(INLINE_MAX + 1)]) {
        Some(end) => {
            let line = if end > 0 && buf[end - 1] == b'\r' {
                end - 1
            } else {
                end
            };
            Ok(Decoded::Inline { len: end + 1, line })
        }
        None if buf.len() > INLINE_MAX => Err(ProtocolError::InlineTooBig),
        None => Ok(Decoded::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::super::split_words;
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const OPEN: Limits = Limits {
        bulk: 512 << 20,
        unauthenticated: false,
    };

    /// Decodes everything in `input`, given in pieces that end at `cuts`.
    fn all(
        input: &[u8],
        cuts: &[usize],
        limits: &Limits,
    ) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut out, mut start, mut partial, mut args) = (vec![], 0, Partial::default(), vec![]);
        let mut ends: Vec<usize> = cuts.iter().copied().filter(|&c| c < input.len()).collect();
        ends.push(input.len());
        for end in ends {
            loop {
                let buf = &input[start..end.max(start)];
                match decode(buf, &mut partial, &mut args, limits) {
                    Err(e) => return (out, Some(e)),
                    Ok(Decoded::Incomplete) => break,
                    Ok(Decoded::Empty { len }) => start += len,
                    Ok(Decoded::Command { len, .. }) => {
                        out.push(args.drain(..).map(|a| a.of(buf).to_vec()).collect());
                        start += len;
                    }
                    Ok(Decoded::Inline { len, line }) => {
                        match split_words(&buf[..line]) {
                            Some(words) => out.push(words),
                            None => return (out, Some(ProtocolError::UnbalancedQuotes)),
                        }
                        start += len;
                    }
                }
            }
        }
        (out, None)
    }

    fn error(input: &[u8]) -> Option<ProtocolError> {
        all(input, &[], &OPEN).1
    }

    #[test]
    fn errors_are_redis_ones() {
        assert_eq!(error(b"*x\r\n"), Some(ProtocolError::MultibulkLength));
        assert_eq!(
            error(b"*2147483648\r\n"),
            Some(ProtocolError::MultibulkLength)
        );
        assert_eq!(
            error(b"*1\r\n:1\r\n"),
            Some(ProtocolError::ExpectedDollar(b':'))
        );
        assert_eq!(error(b"*1\r\n$-1\r\n"), Some(ProtocolError::BulkLength));
        assert_eq!(
            error(b"*1\r\n$999999999\r\n"),
            Some(ProtocolError::BulkLength)
        );
        // Beyond 1 and 2 GiB if that is the limit, but not beyond what positions can tell.
        let large = Limits {
            bulk: 1 << 40,
            ..OPEN
        };
        for (len, taken) in [
            (3_000_000_000_u64, true),
            (4_294_000_000, true),
            (4_294_967_295, false),
            (4_294_967_297, false),
            (1 << 40, false),
        ] {
            let (mut partial, mut args) = (Partial::default(), vec![]);
            let header = alloc::format!("*2\r\n$3\r\nGET\r\n${len}\r\nabc");
            let decoded = decode(header.as_bytes(), &mut partial, &mut args, &large);
            if taken {
                assert_eq!(decoded, Ok(Decoded::Incomplete));
                assert_eq!(partial.wanted(header.len()), len as usize - 3 + 2);
            } else {
                assert_eq!(decoded, Err(ProtocolError::BulkLength), "{len}");
            }
        }
        assert_eq!(error(b"set \"a\r\n"), Some(ProtocolError::UnbalancedQuotes));
        assert_eq!(
            error(b"set \"a\"b\r\n"),
            Some(ProtocolError::UnbalancedQuotes)
        );
        assert_eq!(
            error(&[b'a'; INLINE_MAX + 1]),
            Some(ProtocolError::InlineTooBig)
        );
        assert_eq!(error(&[b'a'; INLINE_MAX]), None);
        let mut long = vec![b'1'; INLINE_MAX + 2];
        long[0] = b'*';
        assert_eq!(error(&long), Some(ProtocolError::MultibulkLine));
        let closed = Limits {
            unauthenticated: true,
            ..OPEN
        };
        assert_eq!(
            all(b"*11\r\n", &[], &closed).1,
            Some(ProtocolError::UnauthenticatedMultibulk)
        );
        assert_eq!(
            all(b"*1\r\n$16385\r\n", &[], &closed).1,
            Some(ProtocolError::UnauthenticatedBulk)
        );
    }

    #[test]
    fn inline_quoting() {
        let words = split_words(br#" set "a\x41\n" 'it\'s' plain"#).unwrap();
        assert_eq!(words, [&b"set"[..], b"aA\n", b"it's", b"plain"]);
        assert_eq!(
            all(b"PING\r\n\r\n*0\r\n*-1\r\nECHO x\n", &[], &OPEN)
                .0
                .len(),
            3
        );
    }

    #[test]
    fn a_request_is_decoded_wherever_it_is_cut() {
        for (words, len) in [
            (1, 0),
            (2, 9),
            (9, 10),
            (10, 99),
            (99, 100),
            (100, 999),
            (101, 1000),
        ] {
            let word = vec![b'w'; len];
            let mut wire = alloc::format!("*{words}\r\n").into_bytes();
            for _ in 0..words {
                wire.extend(alloc::format!("${len}\r\n").bytes());
                wire.extend(&word);
                wire.extend(b"\r\n");
            }
            let whole = vec![vec![word; words]];
            for cut in (0..40).chain(wire.len() - 40.min(wire.len())..wire.len()) {
                assert_eq!(all(&wire, &[cut], &OPEN), (whole.clone(), None), "at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn chunked_equals_whole(
            commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 1..5),
            cuts in prop::collection::btree_set(0usize..600, 0..40),
        ) {
            let mut wire = vec![];
            for c in &commands {
                wire.extend(alloc::format!("*{}\r\n", c.len()).bytes());
                for a in c {
                    wire.extend(alloc::format!("${}\r\n", a.len()).bytes());
                    wire.extend(a);
                    wire.extend(b"\r\n");
                }
            }
            let cuts: Vec<usize> = cuts.into_iter().collect();
            let (got, err) = all(&wire, &cuts, &OPEN);
            prop_assert_eq!(err, None);
            prop_assert_eq!(&got, &commands);
        }

        #[test]
        fn garbage_is_the_same_in_pieces(
            wire in prop::collection::vec(prop::sample::select(&b"*$123-\r\n a\"'\\x0"[..]), 0..80),
            cuts in prop::collection::btree_set(0usize..80, 0..20),
        ) {
            let cuts: Vec<usize> = cuts.into_iter().collect();
            prop_assert_eq!(all(&wire, &cuts, &OPEN), all(&wire, &[], &OPEN));
        }
    }
}
