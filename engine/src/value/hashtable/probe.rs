//! Sixteen bytes at a time: which of them equal a byte, and what the first few add up to.
//!
//! On x86-64 one vector instruction does each (SSE2 is part of the architecture); elsewhere two words
//! of eight bytes do.

// The vector instructions are functions that may only run where the processor has them.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
pub(in crate::value) use vector::{matches, prefetch, prefetch_at, prefetch_words, sum_first};
#[cfg(not(target_arch = "x86_64"))]
pub(in crate::value) use word::{matches, prefetch, prefetch_at, prefetch_words, sum_first};

/// The low `n` bits, for `n` up to 16.
#[inline]
fn low_bits(n: usize) -> u32 {
    (1 << n) - 1
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use core::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_movemask_epi8,
        _mm_prefetch, _mm_sad_epu8, _mm_set_epi64x, _mm_set1_epi8, _mm_setzero_si128,
        _mm_unpackhi_epi64,
    };

    /// A bit for each byte that equals `byte`, the first byte's lowest.
    #[inline]
    pub(crate) fn matches(group: &[u8; 16], byte: u8) -> u32 {
        // SAFETY: SSE2 is part of every x86-64 processor.
        unsafe { equal_mask(group, byte) }
    }

    /// From byte 16 − n on: sixteen bytes, the first n of them all ones.
    const MASKS: [u8; 32] = {
        let mut masks = [0; 32];
        let mut i = 0;
        while i < 16 {
            masks[i] = 255;
            i += 1;
        }
        masks
    };

    /// The sum of the first `n` bytes (`n` up to 16), or `None` if one of them is 255.
    #[inline]
    pub(crate) fn sum_first(group: &[u8; 16], n: usize) -> Option<usize> {
        if matches(group, 255) & super::low_bits(n) != 0 {
            return None;
        }
        let mask = MASKS[16 - n..].first_chunk()?;
        // SAFETY: SSE2 is part of every x86-64 processor.
        Some(unsafe { sum_masked(group, u128::from_le_bytes(*mask)) })
    }

    /// Asks for the first `lines` cache lines of `bytes`, without waiting for them.
    #[inline]
    pub(crate) fn prefetch(bytes: &[u8], lines: usize) {
        for line in bytes.chunks(64).take(lines) {
            // SAFETY: a prefetch reads nothing; it takes any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
        }
    }

    /// As [`prefetch`], of words.
    #[inline]
    pub(crate) fn prefetch_words(words: &[u64], lines: usize) {
        for line in words.chunks(8).take(lines) {
            // SAFETY: a prefetch reads nothing; it takes any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
        }
    }

    /// Asks for the cache line in which a value begins, without waiting for it.
    #[inline]
    pub(crate) fn prefetch_at<T>(at: &T) {
        // SAFETY: a prefetch reads nothing; it takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(at).cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(bytes: u128) -> __m128i {
        _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn equal_mask(group: &[u8; 16], byte: u8) -> u32 {
        let group = load(u128::from_le_bytes(*group));
        _mm_movemask_epi8(_mm_cmpeq_epi8(group, _mm_set1_epi8(byte as i8))) as u32
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn sum_masked(group: &[u8; 16], mask: u128) -> usize {
        let kept = _mm_and_si128(load(u128::from_le_bytes(*group)), load(mask));
        let sums = _mm_sad_epu8(kept, _mm_setzero_si128());
        (_mm_cvtsi128_si64(sums) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums))) as usize
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod word {
    const LOW_7: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const PAIRS: u64 = 0x00FF_00FF_00FF_00FF;

    fn words(group: &[u8; 16]) -> [u64; 2] {
        let both = u128::from_le_bytes(*group);
        [both as u64, (both >> 64) as u64]
    }

    /// A bit for each byte that equals `byte`, the first byte's lowest.
    pub(crate) fn matches(group: &[u8; 16], byte: u8) -> u32 {
        let [low, high] = words(group).map(|word| {
            let differ = word ^ (ONES * u64::from(byte));
            // The high bit of each byte that is zero, without carries between bytes.
            let zero = !(((differ & LOW_7) + LOW_7) | differ | LOW_7);
            ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
        });
        low | high << 8
    }

    /// Stable Rust has no prefetch here.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn prefetch(_bytes: &[u8], _lines: usize) {}

    /// Nor for a value.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn prefetch_at<T>(_at: &T) {}

    /// Nor for words.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn prefetch_words(_words: &[u64], _lines: usize) {}

    /// The sum of the first `n` bytes (`n` up to 16), or `None` if one of them is 255.
    pub(crate) fn sum_first(group: &[u8; 16], n: usize) -> Option<usize> {
        if matches(group, 255) & super::low_bits(n) != 0 {
            return None;
        }
        let mask: u128 = if n >= 16 {
            u128::MAX
        } else {
            (1 << (8 * n)) - 1
        };
        let kept = u128::from_le_bytes(*group) & mask;
        let sum = |word: u64| {
            (((word & PAIRS) + (word >> 8 & PAIRS)).wrapping_mul(0x0001_0001_0001_0001) >> 48)
                as usize
        };
        Some(sum(kept as u64) + sum((kept >> 64) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_byte_by_byte(mut group: [u8; 16], few in 0u8..4, at in 0usize..16, byte: u8, n in 0usize..=16) {
            if few < 3 {
                group[at] = [byte, 255, 0][usize::from(few)];
            }
            let equal = group.iter().enumerate().map(|(i, b)| u32::from(*b == byte) << i).sum::<u32>();
            let sum = (!group[..n].contains(&255)).then(|| group[..n].iter().map(|b| usize::from(*b)).sum::<usize>());
            prop_assert_eq!((matches(&group, byte), sum_first(&group, n)), (equal, sum));
            prop_assert_eq!((word::matches(&group, byte), word::sum_first(&group, n)), (equal, sum));
        }
    }
}
