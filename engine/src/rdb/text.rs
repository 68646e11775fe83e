//! A long string, written in steps: compressed first if that is asked for, then copied a piece at a time.
//!
//! Compression needs room for its whole outcome, since the length comes first. Strings for which that would be
//! too much are written as they are.

use super::encode::{Encoder, MIN_GAIN};
use super::lzf::Packing;
use crate::value::long_text::Held;
use alloc::vec::Vec;

/// Longer strings are not compressed.
const MAX_COMPRESSED: usize = 8 << 20;
/// Bytes compressed in one step.
const PACK: usize = 2 << 10;
/// Bytes copied in one step.
const COPY: usize = 32 << 10;

/// Where the writing of a long string stands.
#[derive(Debug, Default)]
pub enum TextPosition {
    /// Before it.
    #[default]
    Begin,
    /// Being compressed.
    Packing(Packing),
    /// The compressed form goes out from here on.
    Packed(Vec<u8>, usize),
    /// The string goes out as it is from here on.
    Plain(usize),
}

impl TextPosition {
    /// Writes some more of `text`, the same at each call; true at its end.
    pub fn step(&mut self, text: &[u8], encoder: &mut Encoder) -> bool {
        match self {
            TextPosition::Begin => {
                *self = if encoder.compresses() && text.len() <= MAX_COMPRESSED {
                    TextPosition::Packing(Packing::new(text, text.len().saturating_sub(MIN_GAIN)))
                } else {
                    TextPosition::plain(text, encoder)
                };
                false
            }
            TextPosition::Packing(packing) => {
                match packing.step(text, PACK) {
                    None => {}
                    Some(false) => *self = TextPosition::plain(text, encoder),
                    Some(true) => {
                        if let TextPosition::Packing(packing) = core::mem::take(self) {
                            let packed = packing.into_packed();
                            encoder.compressed_head(packed.len() as u64, text.len() as u64);
                            *self = TextPosition::Packed(packed, 0);
                        }
                    }
                }
                false
            }
            TextPosition::Packed(packed, at) => copy(packed, at, encoder),
            TextPosition::Plain(at) => copy(text, at, encoder),
        }
    }

    fn plain(text: &[u8], encoder: &mut Encoder) -> TextPosition {
        encoder.length(text.len() as u64);
        TextPosition::Plain(0)
    }
}

/// A string that changes while it is written as it was.
#[derive(Debug)]
pub struct HeldText {
    text: Held,
    /// What is to be compressed is gathered first.
    gathered: Vec<u8>,
    at: TextPosition,
}

impl HeldText {
    /// One of which nothing has been written.
    pub fn new(text: Held) -> HeldText {
        HeldText {
            text,
            gathered: Vec::new(),
            at: TextPosition::Begin,
        }
    }

    /// Writes some more; true at its end.
    pub fn step(&mut self, encoder: &mut Encoder) -> bool {
        let (len, gathered) = (self.text.len(), &mut self.gathered);
        if !encoder.compresses() || len > MAX_COMPRESSED {
            if let TextPosition::Begin = self.at {
                encoder.length(len as u64);
                self.at = TextPosition::Plain(0);
            }
            self.text.read(|piece| encoder.raw(piece));
            return self.text.is_over();
        }
        if self.text.is_over() {
            return self.at.step(gathered, encoder);
        }
        gathered.reserve_exact(len - gathered.len());
        self.text.read(|piece| gathered.extend_from_slice(piece));
        false
    }
}

/// Writes the next piece; true if it was the last.
fn copy(bytes: &[u8], at: &mut usize, encoder: &mut Encoder) -> bool {
    let end = bytes.len().min(*at + COPY);
    encoder.raw(&bytes[*at..end]);
    *at = end;
    end == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Event, KeyMeta, Options, Value};
    use super::*;

    /// What is written of a string in steps, how many there were, and the most that one wrote.
    fn write(text: &[u8], compress: bool) -> (Vec<u8>, usize, usize) {
        let mut encoder = Encoder::new(Options {
            compress,
            checksum: false,
        });
        encoder.text(b"k", &KeyMeta::default());
        let (mut at, mut steps, mut most) = (TextPosition::default(), 0, 0);
        loop {
            let before = encoder.pending();
            let done = at.step(text, &mut encoder);
            most = most.max(encoder.pending() - before);
            steps += 1;
            if done {
                return (encoder.take().to_vec(), steps, most);
            }
        }
    }

    #[test]
    fn a_string_in_steps_is_the_string() {
        let mut word = 1u32;
        let noise: Vec<u8> = (0..300_000)
            .map(|_| {
                word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (word >> 24) as u8
            })
            .collect();
        let prose = b"so it goes, and so it goes on, ".repeat(20_000);
        for text in [&noise, &prose] {
            for compress in [false, true] {
                let (bytes, steps, most) = write(text, compress);
                assert!(
                    steps > 5 && most <= COPY + 20,
                    "{steps} steps, {most} at most"
                );
                let shrinks = compress && text == &prose;
                assert_eq!(bytes.len() < text.len() / 10, shrinks);
                let mut decoder = Decoder::items(&bytes);
                let Ok(Event::Key { value, .. }) = decoder.next_event() else {
                    panic!("no key");
                };
                assert_eq!(value, Value::Str(text.clone()));
            }
        }
    }

    #[test]
    fn what_is_very_long_is_not_compressed() {
        let (bytes, ..) = write(&[7; MAX_COMPRESSED + 1], true);
        assert!(bytes.len() > MAX_COMPRESSED);
    }
}
