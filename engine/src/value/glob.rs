//! Glob patterns, as KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET and the ACL understand them.
//!
//! ```text
//! *          any bytes, also none          ?         any one byte
//! [abc]      one of these                  [^abc]    one byte that is none of these
//! [a-z]      one of this range, from either end       \x        the byte x, also within brackets
//! ```
//!
//! Where a pattern is odd, the answer is Redis's: brackets that are not closed end with the pattern; `]`
//! closes at once, so that `[]` matches nothing; in `[a-]` the range runs to `]` and the brackets stay
//! open; bytes of a range compare as signed; an escaped byte in brackets ignores no case; a `\` at the end
//! is itself; and the empty string matches the empty pattern only, not even `*`.

/// Stars that have something behind them: a pattern with more matches nothing, as in Redis, which nests as deep.
const MOST_STARS: usize = 1000;

/// Whether `text` as a whole matches `pattern`; ASCII letters of either case alike if `ignore_case`.
///
/// Work is bounded by the product of the lengths, and nothing recurses: after a mismatch only the last
/// `*` can do better by taking one byte more.
pub fn glob_match(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // After the last `*`: where the pattern goes on, and where the text that follows the star began.
    let (mut star, mut stars) = (None, 0);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += pattern[p..].iter().take_while(|b| **b == b'*').count();
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > MOST_STARS {
                return false;
            }
            star = Some((p, t));
        }
        if let Some(next) = match_one(pattern, p, text[t], ignore_case) {
            (p, t) = (next, t + 1);
        } else if let Some((after, from)) = star {
            (p, t) = (after, from + 1);
            star = Some((p, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Matches one byte with what stands at `p` (no star); returns where the pattern goes on.
pub(crate) fn match_one(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    match pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte, ignore_case),
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, ignore_case).then_some(p + 2),
        literal => same(*literal, byte, ignore_case).then_some(p + 1),
    }
}

/// As [`match_one`], for brackets whose inside begins at `at`.
fn match_class(pattern: &[u8], mut at: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    let end = loop {
        match pattern[at..] {
            [] => break at,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [first, b'-', last, ..] => {
                found |= in_range(first, last, byte, ignore_case);
                at += 3;
            }
            [literal, ..] => {
                found |= same(literal, byte, ignore_case);
                at += 1;
            }
        }
    };
    (found != negated).then_some(end)
}

fn in_range(first: u8, last: u8, byte: u8, ignore_case: bool) -> bool {
    let (first, last) = (first as i8, last as i8);
    let fold = |b: i8| {
        if ignore_case {
            (b as u8).to_ascii_lowercase() as i8
        } else {
            b
        }
    };
    // The ends are put in order first and folded then, as Redis does: [Z-a] and [a-Z] differ from [z-a].
    (fold(first.min(last))..=fold(first.max(last))).contains(&fold(byte as i8))
}

fn same(a: u8, b: u8, ignore_case: bool) -> bool {
    a == b || (ignore_case && a.eq_ignore_ascii_case(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_common_forms() {
        let table: &[(&str, &str, bool)] = &[
            ("*", "anything", true),
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
            ("a**", "a", true),
            ("[abc", "b", true),
            ("[^", "x", true),
            ("[", "x", false),
            ("[]a]", "a", false),
            ("[a-]", "]", true),
            ("user:*:name", "user:1000:name", true),
            ("*x", "xxxxxy", false),
        ];
        for (pattern, text, matches) in table {
            assert_eq!(
                glob_match(pattern.as_bytes(), text.as_bytes(), false),
                *matches,
                "{pattern} {text}"
            );
        }
        assert!(glob_match(b"MAX*[A-M]", b"maxmem", true));
        assert!(!glob_match(b"MAX*", b"maxmem", false));
        assert!(!glob_match(b"[\\A]", b"a", true));
    }

    /// Each line: a pattern in hex, then a bit for each of the texts of the first line: what KEYS of
    /// Redis 7.0.15 answered (see `testdata/README.md`).
    #[test]
    fn as_redis_answers() {
        let unhex = |hex: &str| -> Vec<u8> {
            (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let mut lines = include_str!("testdata/glob.txt").lines();
        let texts: Vec<Vec<u8>> = lines.next().unwrap().split(' ').map(unhex).collect();
        let mut patterns = 0;
        for line in lines {
            let (pattern, answers) = line.split_once(' ').unwrap();
            let pattern = unhex(pattern);
            for (text, answer) in texts.iter().zip(answers.bytes()) {
                assert_eq!(
                    glob_match(&pattern, text, false),
                    answer == b'1',
                    "{} {}",
                    pattern.escape_ascii(),
                    text.escape_ascii()
                );
            }
            patterns += 1;
        }
        assert!(patterns > 500);
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern: Vec<u8> = b"a*".repeat(1000);
        let text = alloc::vec![b'a'; 3000];
        assert!(glob_match(&pattern, &text, false));
        assert!(!glob_match(&[&pattern[..], b"b"].concat(), &text, false));
    }

    /// What Redis 7.0.15 answered.
    #[test]
    fn more_than_a_thousand_stars_match_nothing() {
        let text = alloc::vec![b'a'; 3000];
        let matches = |piece: &[u8], n: usize, end: &[u8]| {
            glob_match(&[&piece.repeat(n), end].concat(), &text, false)
        };
        assert!(matches(b"*a", 1000, b"") && !matches(b"*a", 1001, b""));
        assert!(matches(b"*?", 1000, b"*") && !matches(b"*?", 1001, b"*"));
        // The last one has nothing behind it.
        assert!(matches(b"a*", 1001, b"") && !matches(b"a*", 1002, b""));
    }

    /// The plain recursive definition, for patterns of stars, question marks and letters.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| defined(rest, &text[n..])),
            ([b'?', rest @ ..], [_, more @ ..]) => defined(rest, more),
            ([a, rest @ ..], [b, more @ ..]) => a == b && defined(rest, more),
            _ => false,
        }
    }

    proptest! {
        /// KB-118: the work is bounded (see [`crate::fuzz::glob`]), and the answer right.
        #[test]
        fn as_defined(pattern in "[ab*?]{0,9}", text in "[ab]{1,12}") {
            prop_assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes(), false), defined(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(pattern in proptest::collection::vec(prop_oneof![Just(b'['), Just(b']'), Just(b'^'), Just(b'-'), Just(b'\\'), Just(b'*'), any::<u8>()], 0..12), text: Vec<u8>, ignore_case: bool) {
            glob_match(&pattern, &text, ignore_case);
        }
    }
}
