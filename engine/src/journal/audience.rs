//! Effects that are not for every reader of the log (`redis.set_repl` in a script).
//!
//! There is one log, and an offset in it means the same to all. So what one reader is not to see is not left out
//! but covered: where it stands, that reader finds a command of the same length that does nothing. The log holds
//! what replicas read; what the append-only file has instead, in the few places where it differs, stands beside
//! it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Chunks, Journal, decimal};

/// Who is to see an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The append-only file and the replicas.
    #[default]
    Everyone,
    /// The append-only file alone.
    File,
    /// The replicas alone.
    Replicas,
}

/// Where the append-only file reads something else: the same number of bytes, from an offset on.
pub(super) type Differences = VecDeque<(u64, Bytes)>;

impl Journal {
    /// Appends a command, RESP already, for some readers; the others find one there that does nothing.
    pub fn append_for(&mut self, audience: Audience, command: &[u8]) {
        let at = self.end();
        match (audience, nothing(command.len())) {
            (Audience::Everyone, _) | (_, None) => self.append_raw(command),
            (Audience::Replicas, Some(cover)) => {
                self.append_raw(command);
                self.differ(at, cover.into());
            }
            (Audience::File, Some(cover)) => {
                self.append_raw(&cover);
                self.differ(at, Bytes::copy_from_slice(command));
            }
        }
    }

    fn differ(&mut self, at: u64, bytes: Bytes) {
        self.difference_bytes += bytes.len();
        self.differences.push_back((at, bytes));
    }

    /// As [`Journal::read`], as the append-only file has it.
    pub fn read_for_file(&self, from: u64, max_bytes: u64) -> FileChunks<'_> {
        let passed = |(at, bytes): &(u64, Bytes)| at + bytes.len() as u64 <= from;
        FileChunks {
            next: self.differences.partition_point(passed),
            differences: &self.differences,
            chunks: self.read(from, max_bytes),
        }
    }

    /// Forgets the differences that lie before what is kept.
    pub(super) fn forget_differences(&mut self) {
        let start = self.start();
        while (self.differences.front()).is_some_and(|(at, b)| at + b.len() as u64 <= start) {
            if let Some((_, bytes)) = self.differences.pop_front() {
                self.difference_bytes -= bytes.len();
            }
        }
    }
}

/// Slices of the log as the append-only file has it. Made by [`Journal::read_for_file`].
#[derive(Clone, Debug)]
pub struct FileChunks<'a> {
    chunks: Chunks<'a>,
    differences: &'a Differences,
    /// The next difference that may matter.
    next: usize,
}

impl Iterator for FileChunks<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let at = self.chunks.at;
        let Some((begin, bytes)) = self.differences.get(self.next) else {
            return self.chunks.next();
        };
        let end = begin + bytes.len() as u64;
        if at < *begin {
            return self.chunks.next_until(*begin);
        }
        let piece = self.chunks.next_until(end)?;
        let skip = (at - begin) as usize;
        if self.chunks.at == end {
            self.next += 1;
        }
        Some(bytes.slice(skip..skip + piece.len()))
    }
}

/// A command of so many bytes that does nothing; `None` if there is none so short.
fn nothing(len: usize) -> Option<Vec<u8>> {
    match len {
        17 => return Some(b"*1\r\n$7\r\nUNWATCH\r\n".to_vec()),
        18 => return Some(b"*1\r\n$8\r\nLASTSAVE\r\n".to_vec()),
        _ => {}
    }
    // A word of n bytes takes n, the digits of n, and five more. One of the two commands fits, whatever the length.
    [&b"*2\r\n$4\r\nPING\r\n"[..], b"*2\r\n$3\r\nGET\r\n"]
        .iter()
        .find_map(|head| {
            let rest = len.checked_sub(head.len() + 5)?;
            let mut buffer = [0; 20];
            (1..=20).find_map(|digits| {
                let word = rest.checked_sub(digits)?;
                let text = decimal(word, &mut buffer);
                (text.len() == digits).then(|| {
                    let mut command = head.to_vec();
                    command.push(b'$');
                    command.extend_from_slice(text);
                    command.extend_from_slice(b"\r\n");
                    command.resize(command.len() + word, b'.');
                    command.extend_from_slice(b"\r\n");
                    command
                })
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Decoded, Limits, Partial, decode};
    use alloc::format;

    fn all(pieces: impl Iterator<Item = Bytes>) -> Vec<u8> {
        pieces.flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn there_is_a_command_of_every_length_that_does_nothing() {
        let limits = Limits {
            bulk: u64::MAX,
            unauthenticated: false,
        };
        for len in (17..2_000).chain([10_021, 10_022, 100_023, 1_000_024]) {
            let command = nothing(len).unwrap();
            assert_eq!(command.len(), len);
            let (mut partial, mut args) = (Partial::default(), Vec::new());
            let decoded = decode(&command, &mut partial, &mut args, &limits);
            assert!(
                matches!(decoded, Ok(Decoded::Command { len: n, .. }) if n == len),
                "{len}"
            );
        }
    }

    #[test]
    fn each_reader_finds_its_own_from_wherever_it_reads() {
        let mut journal = Journal::new(1000);
        let command = |text: &str| format!("*2\r\n$3\r\nDEL\r\n$5\r\n{text}\r\n").into_bytes();
        let audiences = [
            Audience::Everyone,
            Audience::File,
            Audience::Replicas,
            Audience::Replicas,
            Audience::Everyone,
            Audience::File,
        ];
        let (mut file, mut replicas) = (Vec::new(), Vec::new());
        for (n, audience) in audiences.into_iter().enumerate() {
            let bytes = command(&format!("key-{n}"));
            let cover = nothing(bytes.len()).unwrap();
            journal.append_for(audience, &bytes);
            if n % 2 == 0 {
                journal.seal();
            }
            let sees = |reader| audience == Audience::Everyone || audience == reader;
            file.extend_from_slice(if sees(Audience::File) { &bytes } else { &cover });
            let seen = sees(Audience::Replicas);
            replicas.extend_from_slice(if seen { &bytes } else { &cover });
        }
        journal.seal();
        for from in 0..file.len() {
            for len in [1, 7, 40, 1000] {
                let end = file.len().min(from + len);
                let at = 1000 + from as u64;
                assert_eq!(all(journal.read_for_file(at, len as u64)), file[from..end]);
                assert_eq!(all(journal.read(at, len as u64)), replicas[from..end]);
            }
        }
        journal.retain_from(journal.sealed());
        assert!(journal.differences.is_empty());
    }
}
