//! A connection's output: replies encoded once, into the bytes that go to the socket.
//!
//! Small replies are appended to a tail buffer; what is large and exists already (a long string, a
//! piece of the journal) joins the queue by reference. Positions count the bytes ever written, so
//! that a *hold* can say: from here on, nothing leaves before the journal is safe up to an offset.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::value::long_text::LongText;
use crate::value::number;

/// Strings from this many bytes on leave by reference.
pub const BY_REFERENCE: usize = 16 * 1024;

/// A tail of this size is queued, and a new one begun: appending never moves more than this.
const TAIL_MAX: usize = 64 * 1024;

/// Bytes of a reply that count as a client's buffer, not as its queue: as many as Redis's clients have.
const SMALL: usize = 16 * 1024;

/// A tail buffer above this size is given back when it has been sent.
const TAIL_KEEP: usize = 16 * 1024;

#[derive(Debug)]
enum Chunk {
    Owned(Vec<u8>),
    Shared(Bytes),
    Value(LongText),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Owned(b) => b,
            Chunk::Shared(b) => b,
            Chunk::Value(b) => b,
        }
    }
}

/// The bytes on their way to one connection. See the module's documentation.
#[derive(Debug, Default)]
pub struct Output {
    chunks: VecDeque<Chunk>,
    tail: Vec<u8>,
    /// Bytes of the first chunk (or of the tail, if there are no chunks) that were sent.
    offset: usize,
    /// All bytes ever appended.
    written: u64,
    /// All bytes ever sent.
    sent: u64,
    /// (position, journal offset): bytes from the position on wait for the offset.
    holds: VecDeque<(u64, u64)>,
    /// Replies are encoded in RESP3.
    pub resp3: bool,
}

impl Output {
    /// Bytes appended and not yet sent.
    #[inline]
    pub fn pending(&self) -> u64 {
        self.written_now() - self.sent
    }

    #[inline]
    fn written_now(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    /// The position that the next byte will have.
    #[inline]
    pub fn position(&self) -> u64 {
        self.written_now()
    }

    /// Nothing that is written from `position` on may leave before [`Output::release`] of `offset`.
    pub fn hold(&mut self, position: u64, offset: u64) {
        match self.holds.back_mut() {
            Some(last) if last.1 >= offset => {}
            Some(last) if last.0 == position => last.1 = offset,
            _ => self.holds.push_back((position, offset)),
        }
    }

    /// Nothing that is written from `position` on may leave before [`Output::go_on`]; nor then, if something else holds
    /// it.
    pub fn suspend(&mut self, position: u64) {
        if self.holds.back().is_none_or(|hold| hold.1 != u64::MAX) {
            self.holds.push_back((position, u64::MAX));
        }
    }

    /// Undoes [`Output::suspend`].
    pub fn go_on(&mut self) {
        if self.holds.back().is_some_and(|hold| hold.1 == u64::MAX) {
            self.holds.pop_back();
        }
    }

    /// The journal is safe up to `offset`: lets go what waited for no more. True if something may leave now.
    pub fn release(&mut self, offset: u64) -> bool {
        let before = self.holds.len();
        while self.holds.front().is_some_and(|&(_, need)| need <= offset) {
            self.holds.pop_front();
        }
        before != self.holds.len() && self.sendable() > 0
    }

    /// The journal offset that the first held byte waits for.
    pub fn waits_for(&self) -> Option<u64> {
        self.holds.front().map(|&(_, need)| need)
    }

    /// Bytes that may leave now.
    #[inline]
    pub fn sendable(&self) -> u64 {
        match self.holds.front() {
            Some(&(position, _)) => position.saturating_sub(self.sent),
            None => self.pending(),
        }
    }

    /// The bytes that may leave now, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.sendable() as usize;
        let mut skip = self.offset;
        let all = self
            .chunks
            .iter()
            .map(Chunk::bytes)
            .chain(core::iter::once(&self.tail[..]));
        all.filter_map(move |chunk| {
            let bytes = &chunk[skip.min(chunk.len())..];
            skip = 0;
            let bytes = &bytes[..bytes.len().min(left)];
            left -= bytes.len();
            (!bytes.is_empty()).then_some(bytes)
        })
    }

    /// `n` bytes of [`Output::slices`] were taken by the network.
    pub fn advance(&mut self, n: usize) {
        self.sent += n as u64;
        let mut n = n + self.offset;
        while let Some(first) = self.chunks.front() {
            let len = first.bytes().len();
            if n < len {
                self.offset = n;
                return;
            }
            n -= len;
            self.chunks.pop_front();
        }
        if n == self.tail.len() {
            self.written += n as u64;
            self.offset = 0;
            if self.tail.capacity() > TAIL_KEEP {
                self.tail = Vec::new();
            } else {
                self.tail.clear();
            }
        } else {
            self.offset = n;
        }
    }

    /// Gives the buffer of an idle connection back.
    pub fn shrink(&mut self) {
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
    }

    /// Takes back everything written since `position` that has not been sent (`CLIENT REPLY OFF`).
    pub fn truncate(&mut self, position: u64) {
        let mut excess = self.written_now().saturating_sub(position.max(self.sent)) as usize;
        while excess > 0 {
            if !self.tail.is_empty() {
                let cut = excess.min(self.tail.len());
                self.tail.truncate(self.tail.len() - cut);
                excess -= cut;
                continue;
            }
            let Some(chunk) = self.chunks.pop_back() else {
                return;
            };
            let bytes = chunk.bytes();
            self.written -= bytes.len() as u64;
            self.tail = bytes.to_vec();
            if self.chunks.is_empty() && self.offset > self.tail.len() {
                self.offset = self.tail.len();
            }
        }
    }

    /// Takes back everything written since `position`, none of which has been sent, and returns it.
    pub fn take_back(&mut self, position: u64) -> Vec<u8> {
        let all = self.chunks.iter().map(Chunk::bytes);
        let unsent = all.chain(core::iter::once(&self.tail[..]));
        let mut skip = self.offset + position.saturating_sub(self.sent) as usize;
        let mut bytes = Vec::new();
        for chunk in unsent {
            bytes.extend_from_slice(&chunk[skip.min(chunk.len())..]);
            skip = skip.saturating_sub(chunk.len());
        }
        self.truncate(position);
        bytes
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.written += self.tail.len() as u64;
            self.chunks
                .push_back(Chunk::Owned(core::mem::take(&mut self.tail)));
        }
    }

    /// Memory that the output holds, in bytes, shared bytes among it.
    pub fn memory(&self) -> usize {
        self.chunk_bytes() + self.tail.capacity()
    }

    /// Memory of the chunks, in bytes.
    fn chunk_bytes(&self) -> usize {
        if self.chunks.is_empty() {
            return 0;
        }
        let unsent = (self.written - self.sent) as usize;
        unsent + self.offset + self.chunks.len() * size_of::<Chunk>()
    }

    /// Bytes for what does not fit into a small buffer (`omem` in CLIENT LIST).
    pub fn queued(&self) -> usize {
        match self.chunks.len() {
            0 => (self.pending() as usize).saturating_sub(SMALL),
            _ => self.chunk_bytes() + self.tail.len(),
        }
    }

    /// Bytes in the small buffer, and the capacity of what is being filled (`obl` and `rbs` in CLIENT LIST).
    pub fn tail(&self) -> (usize, usize) {
        let small = match self.chunks.len() {
            0 => (self.pending() as usize).min(SMALL),
            _ => 0,
        };
        (small, self.tail.capacity())
    }

    /// Number of pieces besides the small buffer (`oll` in CLIENT LIST).
    pub fn chunks(&self) -> usize {
        match self.chunks.len() {
            0 => usize::from(self.queued() > 0),
            n => n + usize::from(!self.tail.is_empty()),
        }
    }

    /// Appends bytes that are RESP already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.tail.len() + bytes.len() > TAIL_MAX {
            self.seal();
        }
        self.tail.extend_from_slice(bytes);
    }

    /// Appends shared bytes by reference.
    pub fn shared(&mut self, bytes: Bytes) {
        if bytes.len() < 512 && self.chunks.is_empty() {
            return self.raw(&bytes);
        }
        self.seal();
        self.written += bytes.len() as u64;
        self.chunks.push_back(Chunk::Shared(bytes));
    }

    #[inline]
    fn header(&mut self, kind: u8, n: i64) {
        if self.tail.len() + 32 > TAIL_MAX {
            self.seal();
        }
        if let 0..10 = n {
            return self
                .tail
                .extend_from_slice(&[kind, b'0' + n as u8, b'\r', b'\n']);
        }
        self.tail.push(kind);
        number::write_i64(&mut self.tail, n);
        self.tail.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string; line ends in it become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, with its code: `ERR …`, `WRONGTYPE …`. Line ends in it become spaces.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'-', text.as_ref());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.raw(&[kind]);
        for part in text.split_inclusive(|&c| c == b'\r' || c == b'\n') {
            match part.split_last() {
                Some((b'\r' | b'\n', rest)) => {
                    self.raw(rest);
                    self.raw(b" ");
                }
                _ => self.raw(part),
            }
        }
        self.raw(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, n: i64) {
        self.header(b':', n);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len() as i64);
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// A bulk string that stays where it is if it is large.
    pub fn bulk_value(&mut self, value: &LongText) {
        if value.len() < BY_REFERENCE {
            return self.bulk(value);
        }
        self.header(b'$', value.len() as i64);
        self.seal();
        self.written += value.len() as u64;
        self.chunks.push_back(Chunk::Value(value.clone()));
        self.raw(b"\r\n");
    }

    /// An integer as a bulk string.
    #[inline]
    pub fn bulk_int(&mut self, n: i64) {
        self.bulk(&number::ItoaBuffer::new(n));
    }

    /// A missing value.
    #[inline]
    pub fn null(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// A missing array.
    pub fn null_array(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array of `n` elements.
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as i64);
    }

    /// The header of a map of `n` pairs (in RESP2 an array of twice as many elements).
    pub fn map(&mut self, n: usize) {
        if self.resp3 {
            self.header(b'%', n as i64)
        } else {
            self.header(b'*', n as i64 * 2)
        }
    }

    /// The header of a set of `n` elements.
    pub fn set(&mut self, n: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, n as i64);
    }

    /// The header of a push message of `n` elements.
    pub fn push(&mut self, n: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, n as i64);
    }

    /// A truth value (in RESP2 the integers 1 and 0).
    pub fn boolean(&mut self, value: bool) {
        self.raw(match (self.resp3, value) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        });
    }

    /// A floating point number (in RESP2 a bulk string).
    pub fn double(&mut self, value: f64) {
        // Most are integers (that are written without an exponent, and zero without a sign).
        let integer = number::integer_of(value).filter(|n| n.unsigned_abs() < 10u64.pow(17));
        if let Some(integer) = integer
            && (integer != 0 || value.is_sign_positive())
        {
            return if self.resp3 {
                self.header(b',', integer)
            } else {
                self.bulk_int(integer)
            };
        }
        let mut text = Vec::with_capacity(24);
        number::write_f64(&mut text, value);
        if self.resp3 {
            self.raw(b",");
            self.raw(&text);
            self.raw(b"\r\n");
        } else {
            self.bulk(&text);
        }
    }

    /// Text for people (`txt`): a verbatim string in RESP3, a bulk in RESP2.
    pub fn verbatim(&mut self, text: &[u8]) {
        // (Such texts are long: the buffer is not to be twice as large for the line's end.)
        let room = text.len() + 32;
        if self.tail.len() + room <= TAIL_MAX {
            self.tail.reserve(room);
        }
        if self.resp3 {
            self.header(b'=', text.len() as i64 + 4);
            self.raw(b"txt:");
            self.raw(text);
            self.raw(b"\r\n");
        } else {
            self.bulk(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sendable(out: &Output) -> Vec<u8> {
        out.slices().flatten().copied().collect()
    }

    #[test]
    fn replies_in_both_protocols() {
        let mut out = Output::default();
        out.null();
        out.map(1);
        out.boolean(true);
        out.double(1.5);
        assert_eq!(sendable(&out), b"$-1\r\n*2\r\n:1\r\n$3\r\n1.5\r\n");
        let mut out = Output {
            resp3: true,
            ..Output::default()
        };
        out.null();
        out.map(1);
        out.boolean(true);
        out.double(1.5);
        out.verbatim(b"hi");
        assert_eq!(sendable(&out), b"_\r\n%1\r\n#t\r\n,1.5\r\n=6\r\ntxt:hi\r\n");
    }

    #[test]
    fn an_error_cannot_forge_a_reply() {
        let mut out = Output::default();
        out.error("ERR a\r\n+OK");
        assert_eq!(sendable(&out), b"-ERR a  +OK\r\n");
    }

    #[test]
    fn a_hold_keeps_later_bytes_back() {
        let mut out = Output::default();
        out.ok();
        let here = out.position();
        out.int(7);
        out.hold(here, 100);
        assert_eq!(sendable(&out), b"+OK\r\n");
        out.advance(5);
        assert_eq!(out.sendable(), 0);
        assert!(!out.release(99));
        assert!(out.release(100));
        assert_eq!(sendable(&out), b":7\r\n");
    }

    proptest! {
        /// However it is written and sent, the bytes come out in order, once.
        #[test]
        fn bytes_come_out_in_order(steps in prop::collection::vec((0usize..5, 0usize..90_000), 1..40)) {
            let (mut out, mut model, mut got) = (Output::default(), Vec::new(), Vec::new());
            for (i, (what, n)) in steps.into_iter().enumerate() {
                let data: Vec<u8> = (0..n).map(|j| (i * 31 + j) as u8).collect();
                match what {
                    0 => { out.raw(&data); model.extend(&data); }
                    1 => { out.shared(Bytes::from(data.clone())); model.extend(&data); }
                    2 => {
                        out.bulk_value(&data.clone().into());
                        model.extend(alloc::format!("${n}\r\n").bytes());
                        model.extend(&data);
                        model.extend(b"\r\n");
                    }
                    3 => {
                        let keep = out.position();
                        out.bulk(&data);
                        out.shared(Bytes::from(data));
                        out.truncate(keep);
                    }
                    _ => {
                        let some: Vec<u8> = out.slices().flatten().copied().take(n).collect();
                        out.advance(some.len());
                        got.extend(some);
                    }
                }
                prop_assert_eq!(out.pending() as usize, model.len() - got.len());
                let queued = |c: &Chunk| c.bytes().len() + size_of::<Chunk>();
                prop_assert_eq!(out.chunk_bytes(), out.chunks.iter().map(queued).sum::<usize>());
            }
            got.extend(sendable(&out));
            prop_assert_eq!(got, model);
        }
    }
}
