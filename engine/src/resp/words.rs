//! Words of a line, with quotes: how an inline request, a line of the configuration and one of the
//! append-only file's manifest is divided, and how a value is quoted again.
//!
//! ```text
//! line   := blank* (word blank+)* word? blank*
//! word   := (plain | '"' escaped* '"' | "'" single* "'")     a closing quote ends its word
//! escaped: \n \r \t \b \a, \xHH, backslash and any other byte for that byte
//! single : \' for a quote, any other byte for itself
//! ```

use super::error::c_string;
use alloc::vec::Vec;

/// Divides a line into words. `None`: a quote is not closed, or something other than a blank follows
/// a closing quote. A NUL byte ends the line.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = c_string(line);
    loop {
        rest = rest.trim_ascii_start();
        // The vertical tab separates words in C's isspace, but not in Rust's ASCII whitespace.
        while let [0x0b, tail @ ..] = rest {
            rest = tail.trim_ascii_start();
        }
        if rest.is_empty() {
            return Some(words);
        }
        let (word, tail) = next_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

fn next_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [b'"', tail @ ..] => return double_quoted(word, tail),
            [b'\'', tail @ ..] => return single_quoted(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn double_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'"', tail @ ..] => return closed(word, tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn single_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return closed(word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn closed(word: Vec<u8>, rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match rest.first() {
        None => Some((word, rest)),
        Some(b) if b.is_ascii_whitespace() || *b == 0x0b => Some((word, rest)),
        Some(_) => None,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Appends `value` in double quotes, so that [`split_words`] gives it back.
pub fn quote(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in value {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            7 => out.extend(b"\\a"),
            8 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend([
                b'\\',
                b'x',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn words() {
        let split = |s: &str| split_words(s.as_bytes());
        assert_eq!(
            split("  port   7001\t"),
            Some(vec![b"port".to_vec(), b"7001".to_vec()])
        );
        assert_eq!(
            split(r#"save """#),
            Some(vec![b"save".to_vec(), b"".to_vec()])
        );
        assert_eq!(
            split(r#"a "x\x41\n\"y" 'it\'s \n'"#),
            Some(vec![
                b"a".to_vec(),
                b"xA\n\"y".to_vec(),
                b"it's \\n".to_vec()
            ])
        );
        assert_eq!(split(r#"pre"fix""#), Some(vec![b"prefix".to_vec()]));
        assert_eq!(split(r#""\xzz""#), Some(vec![b"xzz".to_vec()]));
        assert_eq!(split(""), Some(vec![]));
        for unbalanced in [r#"a "b"#, "a 'b", r#"a "b"c"#, "'a'b", r#"a "b\"#] {
            assert_eq!(split(unbalanced), None, "{unbalanced}");
        }
    }

    proptest! {
        #[test]
        fn quoting_is_undone_by_splitting(value: Vec<u8>) {
            let mut line = b"name ".to_vec();
            quote(&mut line, &value);
            prop_assert_eq!(split_words(&line), Some(vec![b"name".to_vec(), value]));
        }

        #[test]
        fn any_line_is_split_or_refused(line in "[ a'\"\\\\x0-9]{0,40}") {
            if let Some(words) = split_words(line.as_bytes()) {
                prop_assert!(words.len() <= line.len());
            }
        }
    }
}
