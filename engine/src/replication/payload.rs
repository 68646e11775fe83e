//! The framing of a snapshot on its way from a primary, taken apart as bytes come, split anywhere.
//!
//! ```text
//! \n …                                keepalives, while the primary makes its snapshot
//! $<length>\r\n  <bytes>              or
//! $EOF:<mark>\r\n  <bytes>  <mark>    where the mark is 40 characters chosen at random for this once
//! ```

use super::id::ReplId;
use bytes::{Bytes, BytesMut};
use memchr::memmem;

const MARK_BYTES: usize = ReplId::LEN;

/// A snapshot whose head has been read.
#[derive(Debug)]
pub(super) struct Payload {
    framing: Framing,
    /// Bytes of content so far.
    read: u64,
}

#[derive(Debug)]
enum Framing {
    Length {
        total: u64,
    },
    Mark {
        mark: [u8; MARK_BYTES],
        /// The last bytes received, fewer than a mark: the mark may have begun in them.
        held: BytesMut,
    },
}

impl Payload {
    /// From the head line, without its end; `None` if it is none.
    pub fn parse(line: &[u8]) -> Option<Payload> {
        let text = line.strip_prefix(b"$")?;
        let framing = match text.strip_prefix(b"EOF:") {
            Some(mark) => Framing::Mark {
                mark: mark.get(..MARK_BYTES)?.try_into().ok()?,
                held: BytesMut::new(),
            },
            None => Framing::Length {
                total: core::str::from_utf8(text).ok()?.parse().ok()?,
            },
        };
        Some(Payload { framing, read: 0 })
    }

    /// The length of the content, if it was told.
    pub fn size(&self) -> Option<u64> {
        match self.framing {
            Framing::Length { total } => Some(total),
            Framing::Mark { .. } => None,
        }
    }

    /// How many bytes of content have been taken.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Whether the primary waits for an acknowledgement before it goes on.
    pub fn is_marked(&self) -> bool {
        matches!(self.framing, Framing::Mark { .. })
    }

    /// Takes what has arrived: the content in it, and, once the content is complete, the bytes after it.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> (Bytes, Option<&'a [u8]>) {
        let (content, rest) = match &mut self.framing {
            Framing::Length { total } => {
                let left = usize::try_from(*total - self.read).unwrap_or(usize::MAX);
                let (content, rest) = bytes.split_at(left.min(bytes.len()));
                let done = content.len() == left;
                (Bytes::copy_from_slice(content), done.then_some(rest))
            }
            Framing::Mark { mark, held } => {
                let before = held.len();
                held.extend_from_slice(bytes);
                match memmem::find(held, mark) {
                    Some(at) => {
                        let after = &bytes[at + MARK_BYTES - before..];
                        (held.split_to(at).freeze(), Some(after))
                    }
                    None => {
                        let safe = held.len().saturating_sub(MARK_BYTES - 1);
                        (held.split_to(safe).freeze(), None)
                    }
                }
            }
        };
        self.read += content.len() as u64;
        (content, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const MARK: &[u8] = b"abcabcabcabcabcabcabcabcabcabcabcabcabcX";

    /// Feeds a stream in pieces; returns the content and what followed it.
    fn feed(head: &[u8], stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut payload = Payload::parse(head).unwrap();
        let (mut content, mut rest): (Vec<u8>, Option<Vec<u8>>) = (Vec::new(), None);
        let mut at = 0;
        for end in cuts.iter().copied().chain([stream.len()]) {
            let piece = &stream[at..end.clamp(at, stream.len())];
            at = end.clamp(at, stream.len());
            match &mut rest {
                Some(rest) => rest.extend_from_slice(piece),
                None => {
                    let (bytes, after) = payload.take(piece);
                    content.extend_from_slice(&bytes);
                    rest = after.map(<[u8]>::to_vec);
                }
            }
        }
        assert_eq!(payload.read(), content.len() as u64);
        (content, rest)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            // Content made of the mark's own letters, so that false starts abound.
            body in prop::collection::vec(prop::sample::select(b"abcX".to_vec()), 0..200),
            after in prop::collection::vec(any::<u8>(), 0..50),
            mut cuts in prop::collection::vec(0usize..300, 0..20),
            one_by_one in any::<bool>(),
        ) {
            prop_assume!(memmem::find(&body, MARK).is_none());
            let with = |tail: &[u8]| [&body[..], tail, &after[..]].concat();
            cuts.sort_unstable();
            if one_by_one {
                cuts = (1..300).collect();
            }
            let head = [b"$EOF:", MARK].concat();
            let (content, rest) = feed(&head, &with(MARK), &cuts);
            prop_assert_eq!(&content, &body);
            prop_assert_eq!(rest.as_ref(), Some(&after));

            let head = alloc::format!("${}", body.len());
            let (content, rest) = feed(head.as_bytes(), &with(b""), &cuts);
            prop_assert_eq!(&content, &body);
            prop_assert_eq!(rest.unwrap_or_default(), after);
        }
    }

    #[test]
    fn heads_that_are_none() {
        for head in [
            "",
            "$",
            "$-1",
            "$EOF:",
            "$EOF:short",
            "+OK",
            "$12x",
            "-ERR",
            "$99999999999999999999",
        ] {
            assert!(Payload::parse(head.as_bytes()).is_none(), "{head}");
        }
        // A huge length is only a number: nothing is allocated for it.
        assert!(Payload::parse(b"$18446744073709551615").is_some());
    }
}
