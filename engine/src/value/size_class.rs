//! How large to make an allocation that will grow.
//!
//! General-purpose allocators (jemalloc, mimalloc) serve sizes in classes, four to each doubling. A
//! buffer whose capacity is a class wastes nothing inside its block, and growing from class to class
//! moves a growing buffer once every 19 % on average: linear work in all, and at most a fifth of slack.

/// The smallest size class, in bytes, that holds `n` bytes.
///
/// Multiples of 8 up to 64, of 16 up to 128, then four classes to each doubling: 160, 192, 224, 256, 320, …
#[inline]
pub fn size_class(n: usize) -> usize {
    if n <= 64 {
        return (n + 7) & !7;
    }
    if n <= 128 {
        return (n + 15) & !15;
    }
    // n lies in (2^k, 2^(k+1)]; the step there is 2^(k-2).
    let step = 1usize << (usize::BITS - 1 - (n - 1).leading_zeros() - 2);
    n.checked_add(step - 1).map_or(n, |m| m & !(step - 1))
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes_hold_what_they_are_asked_for_and_little_more() {
        for (n, class) in [
            (0, 0),
            (1, 8),
            (16, 16),
            (17, 24),
            (64, 64),
            (65, 80),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
        ] {
            assert_eq!(size_class(n), class, "{n}");
        }
        for (n, class) in [
            (256, 256),
            (257, 320),
            (1025, 1280),
            (4096, 4096),
            (4097, 5120),
        ] {
            assert_eq!(size_class(n), class, "{n}");
        }
        for n in 129..100_000 {
            let class = size_class(n);
            assert!(class >= n && class - n <= n / 4, "{n} -> {class}");
            assert_eq!(size_class(class), class);
        }
        assert_eq!(size_class(usize::MAX), usize::MAX);
    }
}
