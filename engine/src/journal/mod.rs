//! The one log of effects: RESP commands in shared chunks, addressed by byte offset.
//!
//! Whatever follows execution reads this log: the append-only file, each replica's link, the backlog
//! for returning replicas, and whoever waits until an offset is durable or acknowledged. An offset is
//! a position *between* bytes, and is the replication offset: [`Journal::end`] is Redis's
//! `master_repl_offset`, and the byte that a replica asks for with `PSYNC id n` stands at offset `n - 1`.
//!
//! ```text
//!          retain_from           read(from, max)                 append_*
//!               │                     │                             │
//!   ┌───────────▼──┬─────────┬────────▼───────┬────────────┐┌───────▼───────┐
//!   │ chunk        │ chunk   │ chunk          │ chunk      ││ tail (growing)│
//!   └──────────────┴─────────┴────────────────┴────────────┘└───────────────┘
//!   ▲ start                                                 ▲ sealed        ▲ end
//! ```
//!
//! Writers append to the tail; [`Journal::seal`] turns what they wrote into a chunk without a copy,
//! and only then do readers see it. The caller seals at command boundaries alone (and never inside
//! MULTI…EXEC), so [`Journal::sealed`] is always a place where a reader may stop for good.

mod audience;

pub use audience::{Audience, FileChunks};

use alloc::collections::VecDeque;
use bytes::{Bytes, BytesMut};
use core::mem::size_of;

/// The size of a tail's buffer: chunks sealed one after the other share it.
const BLOCK_BYTES: usize = 64 * 1024;

/// Chunks shorter than this are merged once [`MERGE_RUN`] of them stand in a row, so that a log
/// sealed after every small command costs neither a descriptor nor a buffer share for each.
const SMALL_CHUNK_BYTES: usize = 512;

/// How many small chunks in a row are merged into one.
const MERGE_RUN: usize = 32;

/// The longest decimal form of a `usize` with its mark and line end: `$` 20 digits `\r\n`.
const HEADER_BYTES: usize = 23;

/// The log. See the module's documentation.
#[derive(Debug)]
pub struct Journal {
    /// Frozen bytes in order, without gaps, up to `tail_at`. None is empty.
    chunks: VecDeque<Chunk>,
    /// What follows the chunks and still grows.
    tail: BytesMut,
    /// The offset of the tail's first byte.
    tail_at: u64,
    /// Readers see the log up to here.
    sealed: u64,
    /// How many chunks at the end are small (see [`SMALL_CHUNK_BYTES`]).
    small_run: usize,
    /// Where the append-only file reads something else.
    differences: audience::Differences,
    /// Bytes of those.
    difference_bytes: usize,
    /// The database that a reader of the whole log is in at its end, if known.
    db: Option<u32>,
}

#[derive(Debug)]
struct Chunk {
    at: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

impl Journal {
    /// An empty log whose first byte will stand at `start_offset`.
    pub fn new(start_offset: u64) -> Journal {
        Journal {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            tail_at: start_offset,
            sealed: start_offset,
            small_run: 0,
            differences: VecDeque::new(),
            difference_bytes: 0,
            db: None,
        }
    }

    /// The offset after the last byte appended.
    #[inline]
    pub fn end(&self) -> u64 {
        self.tail_at + self.tail.len() as u64
    }

    /// The offset after the last byte that readers see: a command boundary.
    #[inline]
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// The offset of the oldest byte kept; [`Journal::end`] if there is none.
    pub fn start(&self) -> u64 {
        self.chunks.front().map_or(self.tail_at, |chunk| chunk.at)
    }

    /// Appends bytes that are RESP already: a client's request as it came, or a primary's stream.
    #[inline]
    pub fn append_raw(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.tail.extend_from_slice(bytes);
    }

    /// Appends one command, encoded as an array of bulk strings.
    pub fn append_command(&mut self, args: &[&[u8]]) {
        self.append_header(args.len());
        for arg in args {
            self.append_arg(arg);
        }
    }

    /// Appends the header of a command of `args` arguments, each of which the caller then gives to
    /// [`Journal::append_arg`]: for effects whose arguments are not at hand as a slice.
    pub fn append_header(&mut self, args: usize) {
        self.append_number(b'*', args);
    }

    /// Appends one argument after [`Journal::append_header`].
    pub fn append_arg(&mut self, arg: &[u8]) {
        self.append_number(b'$', arg.len());
        self.make_room(arg.len() + 2);
        self.tail.extend_from_slice(arg);
        self.tail.extend_from_slice(b"\r\n");
    }

    /// Appends `SELECT db` unless a reader of the log is in that database already.
    #[inline]
    pub fn select(&mut self, db: u32) {
        if self.db != Some(db) {
            self.append_select(db);
        }
    }

    /// Forgets which database the log is in, so that the next [`Journal::select`] writes: a reader who
    /// starts here (a replica after its full sync) knows of no earlier SELECT.
    pub fn forget_db(&mut self) {
        self.db = None;
    }

    /// The database that the log is in, if it is known.
    pub fn db(&self) -> Option<u32> {
        self.db
    }

    /// Says which database the log is in without writing: bytes appended raw (a primary's stream)
    /// contained the SELECT.
    pub fn assume_db(&mut self, db: u32) {
        self.db = Some(db);
    }

    /// Shows readers everything appended so far. Call it at command boundaries only, outside MULTI…EXEC.
    pub fn seal(&mut self) {
        if self.sealed == self.end() {
            return;
        }
        self.freeze_tail();
        self.sealed = self.tail_at;
        if self.small_run >= MERGE_RUN {
            self.merge_small();
        }
    }

    /// The sealed bytes from an offset on, at most `max_bytes` of them, in shared slices.
    ///
    /// # Panics
    ///
    /// If the byte at `from` was dropped or does not exist yet: whoever reads must have asked that it
    /// be retained, and anything else would serve a stream with a hole.
    pub fn read(&self, from: u64, max_bytes: u64) -> Chunks<'_> {
        assert!(
            self.start() <= from && from <= self.sealed,
            "journal read at {from} outside {}..={}",
            self.start(),
            self.sealed
        );
        Chunks {
            chunks: &self.chunks,
            index: self.chunks.partition_point(|chunk| chunk.end() <= from),
            at: from,
            end: self.sealed.min(from.saturating_add(max_bytes)),
        }
    }

    /// Drops the chunks that lie wholly before an offset: the least that any reader still needs.
    pub fn retain_from(&mut self, offset: u64) {
        let keep = offset.min(self.sealed);
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= keep) {
            self.chunks.pop_front();
        }
        self.small_run = self.small_run.min(self.chunks.len());
        if !self.differences.is_empty() {
            self.forget_differences();
        }
    }

    /// Starts over, empty, at the offset of another history (a primary's, after a full sync).
    pub fn rebase(&mut self, new_offset: u64) {
        *self = Journal::new(new_offset);
    }

    /// Bytes of memory that the log keeps: its content, what is spare in the tail, its descriptors.
    pub fn bytes_held(&self) -> usize {
        (self.tail_at - self.start()) as usize
            + self.tail.capacity()
            + self.chunks.len() * size_of::<Chunk>()
            + self.difference_bytes
    }

    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if self.tail.capacity() - self.tail.len() < bytes {
            self.new_tail(bytes);
        }
    }

    /// Freezes the tail and starts one with room for `bytes`: what was written is never copied to grow.
    #[cold]
    fn new_tail(&mut self, bytes: usize) {
        self.freeze_tail();
        self.tail = BytesMut::with_capacity(bytes.max(BLOCK_BYTES));
    }

    fn freeze_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            let at = self.tail_at;
            self.tail_at += bytes.len() as u64;
            let small = bytes.len() < SMALL_CHUNK_BYTES;
            self.small_run = if small { self.small_run + 1 } else { 0 };
            self.chunks.push_back(Chunk { at, bytes });
        }
    }

    #[cold]
    fn append_select(&mut self, db: u32) {
        let mut digits = [0; 20];
        self.append_command(&[b"SELECT", decimal(db as usize, &mut digits)]);
        self.db = Some(db);
    }

    fn append_number(&mut self, mark: u8, n: usize) {
        let mut digits = [0; 20];
        self.make_room(HEADER_BYTES);
        self.tail.extend_from_slice(&[mark]);
        self.tail.extend_from_slice(decimal(n, &mut digits));
        self.tail.extend_from_slice(b"\r\n");
    }

    /// Copies the small chunks at the end into one. Each byte is copied so at most once: the result of
    /// [`MERGE_RUN`] merged is not counted as small again.
    fn merge_small(&mut self) {
        let first = self.chunks.len() - self.small_run;
        let at = self.chunks[first].at;
        let mut merged = BytesMut::with_capacity((self.tail_at - at) as usize);
        for chunk in self.chunks.drain(first..) {
            merged.extend_from_slice(&chunk.bytes);
        }
        self.chunks.push_back(Chunk {
            at,
            bytes: merged.freeze(),
        });
        self.small_run = 0;
    }
}

/// Slices of the log from an offset on. Made by [`Journal::read`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    chunks: &'a VecDeque<Chunk>,
    index: usize,
    at: u64,
    end: u64,
}

impl Chunks<'_> {
    /// The next slice, which ends before an offset.
    fn next_until(&mut self, limit: u64) -> Option<Bytes> {
        let limit = limit.min(self.end);
        if self.at >= limit {
            return None;
        }
        let chunk = self.chunks.get(self.index)?;
        let from = (self.at - chunk.at) as usize;
        let to = (limit.min(chunk.end()) - chunk.at) as usize;
        self.at = chunk.at + to as u64;
        if self.at == chunk.end() {
            self.index += 1;
        }
        Some(chunk.bytes.slice(from..to))
    }
}

impl Iterator for Chunks<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.next_until(self.end)
    }
}

/// A number's decimal digits, at the end of a buffer.
fn decimal(mut n: usize, buffer: &mut [u8; 20]) -> &[u8] {
    let mut first = buffer.len();
    loop {
        first -= 1;
        buffer[first] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buffer[first..];
        }
    }
}

#[cfg(test)]
mod tests;
