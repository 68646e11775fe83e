//! Names that match a pattern, until the keyspace's matcher is there to be shared.

/// Whether `text` matches `pattern`: `*`, `?`, `[a-z]`, `[^x]` and a backslash before a plain character.
/// Time is at most the product of the lengths.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on from when a match of the last star was too short.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        match one(&pattern[p.min(pattern.len())..], text[t], nocase) {
            Some(used) => {
                p += used;
                t += 1;
            }
            None => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, t) = (star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|&b| b == b'*')
}

/// How many bytes of the pattern match this one byte.
fn one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    let byte = fold(byte);
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => {
            let (matched, used) = class(&pattern[1..], byte, fold);
            matched.then_some(used + 1)
        }
        [b'\\', escaped, ..] => (fold(escaped) == byte).then_some(2),
        [plain, ..] => (fold(plain) == byte).then_some(1),
    }
}

fn class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let negated = pattern.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut matched = false;
    loop {
        match pattern[at.min(pattern.len())..] {
            [] => return (matched != negated, at),
            [b']', ..] => return (matched != negated, at + 1),
            [b'\\', escaped, ..] => {
                matched |= fold(escaped) == byte;
                at += 2;
            }
            [low, b'-', high, ..] if high != b']' => {
                let (low, high) = (fold(low.min(high)), fold(low.max(high)));
                matched |= (low..=high).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                matched |= fold(plain) == byte;
                at += 1;
            }
        }
    }
}
