//! The longest common subsequence of two strings, 64 steps of the textbook's table at a time.
//!
//! In the table, `L(i, j)` is the length for the first `i` bytes of one string and the first `j` of the other. A
//! row grows by 0 or 1 from one `j` to the next, so it is kept as one bit a column, and one addition of long
//! numbers makes the next row from it (Crochemore, Iliopoulos, Pinzon and Reid, 2001; Hyyrö, 2004). To walk
//! back, these bits are all that is needed: where the bytes differ, a row that grows at `j` got its length from
//! the row above, any other from the column before.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// The rows of a table.
pub struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// Words of a row.
    width: usize,
    /// A set bit: the row does not grow in this column. One row for each byte of `a` if they are kept, else the
    /// last alone.
    rows: Vec<u64>,
}

/// Two stretches of equal bytes, from their last to their first: `a[a_start..]` and `b[b_start..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index of the first byte in the first string.
    pub a_start: usize,
    /// Index of the first byte in the second string.
    pub b_start: usize,
    /// Number of bytes.
    pub len: usize,
}

impl<'a> Table<'a> {
    /// The table for two strings. Takes |a|·|b| / 8 bytes if `rows` are kept, which only the length can do without.
    pub fn new(a: &'a [u8], b: &'a [u8], rows: bool) -> Table<'a> {
        let width = b.len().div_ceil(64);
        let mut table = Table {
            a,
            b,
            width,
            rows: alloc::vec![u64::MAX; width * if rows { a.len() } else { 1 }],
        };
        // For each byte that `a` has: where `b` has it.
        let mut masks: [Option<Box<[u64]>>; 256] = [const { None }; 256];
        let mut row = alloc::vec![u64::MAX; width];
        for (i, byte) in a.iter().enumerate() {
            let mask = masks[usize::from(*byte)].get_or_insert_with(|| {
                let mut mask = alloc::vec![0; width].into_boxed_slice();
                for j in memchr::memchr_iter(*byte, b) {
                    mask[j / 64] |= 1 << (j % 64);
                }
                mask
            });
            let mut carry = false;
            for (word, mask) in row.iter_mut().zip(mask) {
                let common = *word & *mask;
                let (sum, first) = word.overflowing_add(common);
                let (sum, second) = sum.overflowing_add(carry.into());
                carry = first || second;
                *word = sum | (*word & !*mask);
            }
            if rows {
                table.rows[i * width..(i + 1) * width].copy_from_slice(&row);
            }
        }
        if !rows {
            table.rows = row;
        }
        table
    }

    /// The length of the longest common subsequence.
    pub fn length(&self) -> usize {
        let last = self.rows.len().saturating_sub(self.width);
        let grows: usize = self.rows[last..]
            .iter()
            .map(|word| word.count_zeros() as usize)
            .sum();
        // Columns beyond `b` never grow: no byte is there.
        grows
    }

    /// Whether row `i` grows in column `j`, both from 1.
    fn grows(&self, i: usize, j: usize) -> bool {
        self.rows[(i - 1) * self.width + (j - 1) / 64] >> ((j - 1) % 64) & 1 == 0
    }

    /// The stretches of equal bytes that Redis finds, from the last to the first. Rows must have been kept.
    pub fn matches(&self, mut visit: impl FnMut(Match)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut current: Option<Match> = None;
        while i > 0 && j > 0 {
            if self.a[i - 1] != self.b[j - 1] {
                if self.grows(i, j) {
                    i -= 1;
                } else {
                    j -= 1;
                }
                if let Some(found) = current.take() {
                    visit(found);
                }
                continue;
            }
            (i, j) = (i - 1, j - 1);
            // Without a difference between, the match before this one ended right here.
            let len = current.map_or(1, |found| found.len + 1);
            current = Some(Match {
                a_start: i,
                b_start: j,
                len,
            });
        }
        if let Some(found) = current {
            visit(found);
        }
    }

    /// The longest common subsequence that Redis finds. Rows must have been kept.
    pub fn text(&self) -> Vec<u8> {
        let mut text = alloc::vec![0; self.length()];
        let mut end = text.len();
        self.matches(|found| {
            let part = &self.a[found.a_start..found.a_start + found.len];
            end -= found.len;
            text[end..end + found.len].copy_from_slice(part);
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook's table, walked back as Redis does.
    fn plain(a: &[u8], b: &[u8]) -> (usize, Vec<(usize, usize)>) {
        let mut table = alloc::vec![alloc::vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut pairs) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                pairs.push((i, j));
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        (table[a.len()][b.len()], pairs)
    }

    #[test]
    fn the_example_of_the_manual() {
        let table = Table::new(b"ohmytext", b"mynewtext", true);
        assert_eq!((table.length(), &table.text()[..]), (6, &b"mytext"[..]));
        let mut found = Vec::new();
        table.matches(|m| found.push((m.a_start, m.b_start, m.len)));
        assert_eq!(found, [(4, 5, 4), (2, 0, 2)]);
        assert_eq!(Table::new(b"", b"x", true).length(), 0);
        assert_eq!(Table::new(b"x", b"", false).length(), 0);
    }

    proptest! {
        #[test]
        fn as_the_plain_table(
            a in proptest::collection::vec(0u8..4, 0..200), b in proptest::collection::vec(0u8..4, 0..200)
        ) {
            let (length, pairs) = plain(&a, &b);
            let table = Table::new(&a, &b, true);
            prop_assert_eq!((table.length(), Table::new(&a, &b, false).length()), (length, length));
            let mut found = Vec::new();
            table.matches(|m| (0..m.len).rev().for_each(|k| found.push((m.a_start + k, m.b_start + k))));
            prop_assert_eq!(&found, &pairs);
            let text: Vec<u8> = pairs.iter().rev().map(|(i, _)| a[*i]).collect();
            prop_assert_eq!(table.text(), text);
        }
    }
}
