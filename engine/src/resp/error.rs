//! Error texts that show words of the request.
//!
//! Redis makes them with C's `printf`, and clients see that: a word ends at its first NUL byte, all other
//! bytes are as they came (line ends become blanks when the reply is written, see
//! [`super::Output::error`]), and line ends after the last word are cut off.

use alloc::vec::Vec;

/// Most bytes of a word that errors about commands and subcommands show.
pub const SHOWN: usize = 128;

/// The text that these pieces make, one after the other.
pub fn error_text(pieces: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for piece in pieces {
        text.extend_from_slice(c_string(piece));
    }
    let end = text.iter().rposition(|b| !b"\r\n".contains(b));
    text.truncate(end.map_or(0, |last| last + 1));
    text
}

/// A word as C sees it: up to its first NUL byte.
pub fn c_string(word: &[u8]) -> &[u8] {
    &word[..memchr::memchr(0, word).unwrap_or(word.len())]
}

/// A word as C sees it, and no more than [`SHOWN`] bytes of it.
pub fn shown(word: &[u8]) -> &[u8] {
    c_string(&word[..word.len().min(SHOWN)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_as_c_shows_them() {
        assert_eq!(error_text(&[b"a '", b"x\0y", b"'"]), b"a 'x'");
        assert_eq!(
            error_text(&[b"ERR \xff", b"\r\nb\n", b"\r\n"]),
            b"ERR \xff\r\nb"
        );
        assert_eq!(shown(&[b'a'; 200]).len(), SHOWN);
        assert_eq!(shown(b"ab\0c"), b"ab");
    }
}
