//! LOLWUT: a picture, another one each time, and the server's version.
//!
//! A row of cells, each on or off, and a rule that says of three neighbours what comes below the middle one: some of
//! the 256 rules draw triangles for ever, some chaos. Two rows of cells make a line of text.
//! Source: S. Wolfram, "Statistical mechanics of cellular automata", 1983.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::context::Data;
use super::string::integer;
use super::table::Outcome;

/// Rules that are worth looking at.
const RULES: [u8; 8] = [18, 30, 45, 60, 73, 90, 105, 150];

/// The largest picture.
const MOST: (i64, i64) = (300, 120);

/// `LOLWUT [VERSION version] [columns [rows]]`. There is one picture for all versions; but only those of Redis 5 and 6
/// look at what follows, and refuse what is no number.
/// <https://redis.io/commands/lolwut/>
pub(super) fn lolwut(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let mut rest = &args[1..];
    let mut strict = false;
    if let [word, version, more @ ..] = rest
        && word.eq_ignore_ascii_case(b"version")
    {
        strict = matches!(integer(version)?, 5 | 6);
        rest = more;
    }
    let number = |at: usize, default: i64, most: i64| match rest.get(at).map(|word| integer(word)) {
        Some(Err(error)) if strict => Err(error),
        Some(Ok(n)) => Ok(n.clamp(1, most)),
        _ => Ok(default),
    };
    let size = (number(0, 66, MOST.0)?, number(1, 20, MOST.1)?);
    let rule = RULES[d.random.word() as usize % RULES.len()];
    let mut row: Vec<bool> = (0..size.0)
        .map(|_| d.random.word().is_multiple_of(7))
        .collect();
    let mut text = String::new();
    for _ in 0..size.1 {
        let below = next(&row, rule);
        for (upper, lower) in row.iter().zip(&below) {
            text.push(match (upper, lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push('\n');
        row = next(&below, rule);
    }
    text += &format!("\nRule {rule}. Redis ver. {}\n", crate::REDIS_VERSION);
    d.out.verbatim(text.as_bytes());
    Ok(())
}

/// The row below a row; the ends are neighbours.
fn next(row: &[bool], rule: u8) -> Vec<bool> {
    let n = row.len();
    (0..n)
        .map(|i| {
            let neighbours = [row[(i + n - 1) % n], row[i], row[(i + 1) % n]];
            let pattern = (neighbours.iter()).fold(0, |all, &cell| all << 1 | u8::from(cell));
            rule >> pattern & 1 == 1
        })
        .collect()
}
