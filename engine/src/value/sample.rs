//! Choosing at random from the caller's random words, without a generator of one's own.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// A number below `len` (or 0 if `len` is 0) from one random word; every number as likely as any other,
/// to within one part in 2^64 / `len`.
pub fn below(len: usize, word: u64) -> usize {
    ((u128::from(word) * len as u128) >> 64) as usize
}

/// `count` different numbers below `len`, ascending; every choice of them as likely as any other. All of
/// them if `count` is `len` or more.
pub fn distinct(len: usize, count: usize, random: &mut dyn FnMut() -> u64) -> Vec<usize> {
    if count >= len {
        return (0..len).collect();
    }
    if count > len / 4 {
        // Selection sampling: take each number with the odds that are left (Knuth, 3.4.2 S).
        let mut left = count;
        return (0..len)
            .filter(|i| {
                let take = below(len - i, random()) < left;
                left -= usize::from(take);
                take
            })
            .collect();
    }
    // Floyd's sampling: one word and one look-up a number, whatever `len` is.
    let mut chosen = BTreeSet::new();
    for top in len - count..len {
        let pick = below(top + 1, random());
        if !chosen.insert(pick) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the words: as many as asked for, in bounds, ascending.
        #[test]
        fn any_words_make_a_choice(len in 0usize..400, count in 0usize..500, words in prop::collection::vec(any::<u64>(), 1..9)) {
            let mut words = words.into_iter().cycle();
            let chosen = distinct(len, count, &mut || words.next().unwrap_or(0));
            prop_assert_eq!(chosen.len(), count.min(len));
            prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(chosen.last().is_none_or(|last| *last < len));
        }
    }

    #[test]
    fn choices_are_distinct_and_even() {
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state ^ state >> 29
        };
        for (len, count) in [(40, 3), (40, 20), (40, 39), (5, 9), (0, 3)] {
            let mut hits = alloc::vec![0u32; len];
            for _ in 0..20_000 {
                let chosen = distinct(len, count, &mut random);
                assert_eq!(chosen.len(), count.min(len));
                assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
                chosen.iter().for_each(|i| hits[*i] += 1);
            }
            let expected = 20_000.0 * count.min(len) as f64 / len.max(1) as f64;
            // Six standard deviations of a count that is at most binomial.
            assert!(
                hits.iter()
                    .all(|hits| (f64::from(*hits) - expected).abs() <= 6.0 * libm::sqrt(expected)),
                "{hits:?}"
            );
        }
    }
}
