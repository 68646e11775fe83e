//! LZF, the light compression of strings in snapshots: a byte-oriented LZ77.
//!
//! A compressed string is a row of items, each opened by one control byte:
//!
//! ```text
//! 000LLLLL                     literal run: L + 1 bytes follow (1..=32)
//! LLLooooo oooooooo            copy: L + 2 bytes (3..=8) from `o + 1` bytes back (1..=8192)
//! 111ooooo LLLLLLLL oooooooo   copy: L + 9 bytes (9..=264) from `o + 1` bytes back
//! ```
//!
//! A copy may overlap what it writes: distance 1 repeats the last byte. The uncompressed length is
//! not part of the item row; the snapshot stores it beside (format: Marc Lehmann's liblzf).

use alloc::vec::Vec;

const MAX_LITERAL: usize = 32;
const MAX_DISTANCE: usize = 1 << 13;
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 264;

/// No compressed byte can stand for more than this many: three bytes copy at most [`MAX_MATCH`].
pub const MAX_RATIO: usize = MAX_MATCH / 3;

/// A compressor with its table of recent positions, kept between strings to save the allocation.
/// What it writes depends on the input alone.
#[derive(Debug, Default)]
pub struct Compressor {
    /// By hash of three bytes: the last position with that hash, plus one; 0 is none.
    recent: Vec<u32>,
    cursor: Cursor,
}

/// How far a compression has come.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    at: usize,
    /// From here on nothing is written yet.
    literal_from: usize,
}

/// A string that is being compressed in steps.
#[derive(Debug)]
pub struct Packing {
    compressor: Compressor,
    limit: usize,
    out: Vec<u8>,
}

impl Packing {
    /// Begins with a string; `limit`: what its compressed form may take at most.
    pub fn new(input: &[u8], limit: usize) -> Packing {
        let mut compressor = Compressor::default();
        compressor.begin(input);
        Packing {
            compressor,
            limit,
            out: Vec::new(),
        }
    }

    /// Goes on with the same string, for about so many of its bytes. At the end it says whether the compressed form
    /// is short enough.
    pub fn step(&mut self, input: &[u8], bytes: usize) -> Option<bool> {
        let until = self.compressor.cursor.at.saturating_add(bytes);
        (self.compressor).emit(input, until, self.limit, 0, &mut self.out)
    }

    /// The compressed form.
    pub fn into_packed(self) -> Vec<u8> {
        self.out
    }
}

/// Whether a string is of a length that can be compressed.
fn compressible(input: &[u8]) -> bool {
    input.len() > MIN_MATCH && input.len() < u32::MAX as usize
}

impl Compressor {
    /// Appends the compressed form of `input` to `out` if it takes at most `limit` bytes. Otherwise
    /// `out` is as before and the answer is false.
    pub fn compress(&mut self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        self.begin(input);
        let start = out.len();
        let fits = self.emit(input, usize::MAX, limit, start, out) == Some(true);
        if !fits {
            out.truncate(start);
        }
        fits
    }

    fn begin(&mut self, input: &[u8]) {
        let slots = input.len().next_power_of_two().clamp(64, 1 << 14);
        self.recent.clear();
        self.recent.resize(slots, 0);
        self.cursor = Cursor::default();
    }

    /// Goes on up to `until`, or a little further. At the end it says whether what is in `out` from `start` on is within
    /// the limit.
    fn emit(
        &mut self,
        input: &[u8],
        until: usize,
        limit: usize,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Option<bool> {
        if !compressible(input) {
            return Some(false);
        }
        let mask = self.recent.len() - 1;
        let Cursor {
            mut at,
            mut literal_from,
        } = self.cursor;
        while at + MIN_MATCH <= input.len() {
            if at >= until {
                self.cursor = Cursor { at, literal_from };
                return None;
            }
            let here = [input[at], input[at + 1], input[at + 2]];
            let slot = &mut self.recent[hash(here) & mask];
            let candidate = *slot as usize;
            // (Beyond 4 GiB such a place is too far away to be used.)
            *slot = (at as u32).wrapping_add(1);
            let usable = candidate > 0
                && at - (candidate - 1) <= MAX_DISTANCE
                && input[candidate - 1..candidate + 2] == here;
            if !usable {
                at += 1;
                // Incompressible data must cost little: give up as soon as the literals alone are too many.
                if at - literal_from >= MAX_LITERAL {
                    literals(&input[literal_from..at], out);
                    literal_from = at;
                    if out.len() - start > limit {
                        return Some(false);
                    }
                }
                continue;
            }
            let from = candidate - 1;
            let room = (input.len() - at).min(MAX_MATCH);
            let length = MIN_MATCH
                + input[at + MIN_MATCH..at + room]
                    .iter()
                    .zip(&input[from + MIN_MATCH..])
                    .take_while(|(a, b)| a == b)
                    .count();
            literals(&input[literal_from..at], out);
            copy(length, at - from, out);
            at += length;
            literal_from = at;
            if out.len() - start > limit {
                return Some(false);
            }
        }
        literals(&input[literal_from..], out);
        Some(out.len() - start <= limit)
    }
}

/// The `length` bytes that `input` stands for, or nothing if it stands for anything else. Total on
/// hostile input: allocates at most 88 times what it was given.
pub fn decompress(input: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut unpacking = Unpacking::new(input.len() as u64, length as u64)?;
    unpacking.out.reserve_exact(length);
    let whole = unpacking.step(input)? == input.len();
    unpacking.into_plain().filter(|_| whole)
}

/// A string that is being decompressed as it arrives.
#[derive(Debug)]
pub struct Unpacking {
    length: usize,
    out: Vec<u8>,
}

impl Unpacking {
    /// Begins with a string of `length` bytes from `packed`; nothing, if no such string can be. No memory is taken for
    /// the claim.
    pub fn new(packed: u64, length: u64) -> Option<Unpacking> {
        let possible = length <= packed.saturating_mul(MAX_RATIO as u64);
        let length = usize::try_from(length).ok().filter(|_| possible)?;
        let out = Vec::new();
        Some(Unpacking { length, out })
    }

    /// Makes room for so many bytes, or for all if they are fewer.
    pub fn reserve(&mut self, bytes: usize) {
        let room = bytes.min(self.length);
        self.out.reserve_exact(room.saturating_sub(self.out.len()));
    }

    /// Whether nothing of it is there yet.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Goes on with what follows of the compressed form; how many bytes of it were used: the others are the beginning of
    /// an item. Nothing, if it is damaged.
    pub fn step(&mut self, input: &[u8]) -> Option<usize> {
        let (out, length) = (&mut self.out, self.length);
        let mut rest = input;
        while let Some((&control, after)) = rest.split_first() {
            if control < 32 {
                let Some((run, after)) = after.split_at_checked(usize::from(control) + 1) else {
                    break;
                };
                if out.len() + run.len() > length {
                    return None;
                }
                out.extend_from_slice(run);
                rest = after;
                continue;
            }
            let (mut count, mut after) = (usize::from(control >> 5) + 2, after);
            if count == 9 {
                let Some((&more, behind)) = after.split_first() else {
                    break;
                };
                count += usize::from(more);
                after = behind;
            }
            let Some((&low, after)) = after.split_first() else {
                break;
            };
            let distance = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
            if distance > out.len() || out.len() + count > length {
                return None;
            }
            repeat(out, distance, count);
            rest = after;
        }
        Some(input.len() - rest.len())
    }

    /// The string, if all of it is there.
    pub fn into_plain(self) -> Option<Vec<u8>> {
        (self.out.len() == self.length).then_some(self.out)
    }
}

/// Appends `count` bytes, each equal to the one `distance` before it.
fn repeat(out: &mut Vec<u8>, distance: usize, mut count: usize) {
    let from = out.len() - distance;
    while count > 0 {
        // What stands behind `from` grows with each round, so an overlapping copy takes log(n) of them.
        let step = count.min(out.len() - from);
        out.extend_from_within(from..from + step);
        count -= step;
    }
}

fn hash(bytes: [u8; 3]) -> usize {
    let word = u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[2]) << 16;
    (word.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

fn literals(run: &[u8], out: &mut Vec<u8>) {
    for piece in run.chunks(MAX_LITERAL) {
        out.push(piece.len() as u8 - 1);
        out.extend_from_slice(piece);
    }
}

fn copy(length: usize, distance: usize, out: &mut Vec<u8>) {
    let (length, distance) = (length - 2, distance - 1);
    let high = (distance >> 8) as u8;
    if length < 7 {
        out.push((length as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((length - 7) as u8);
    }
    out.push(distance as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn compress(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![7];
        let done = Compressor::default().compress(input, input.len(), &mut out);
        assert_eq!(out[0], 7);
        assert!(done || out.len() == 1);
        done.then(|| out[1..].to_vec())
    }

    #[test]
    fn repetition_shrinks_and_noise_does_not() {
        let zeros = vec![0u8; 100_000];
        let small = compress(&zeros).unwrap();
        assert!(small.len() < 1300, "{}", small.len());
        assert_eq!(decompress(&small, zeros.len()).unwrap(), zeros);
        let mut word = 1u32;
        let noise: Vec<u8> = (0..5000)
            .map(|_| {
                word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (word >> 24) as u8
            })
            .collect();
        assert_eq!(compress(&noise), None);
    }

    #[test]
    fn damage_is_refused() {
        assert_eq!(
            decompress(&[0x20, 0x00], 3),
            None,
            "copy from before the start"
        );
        assert_eq!(decompress(&[0x02, b'a'], 3), None, "literal run cut short");
        assert_eq!(decompress(&[0x00, b'a'], 2), None, "too little");
        assert_eq!(decompress(&[0x01, b'a', b'b'], 1), None, "too much");
        assert_eq!(decompress(&[0xE0], 264), None, "no length byte");
        assert_eq!(
            decompress(&[0x00, b'a'], usize::MAX),
            None,
            "impossible length"
        );
        assert_eq!(
            decompress(&[0x00, b'a', 0xE0, 255, 0], 265).unwrap(),
            vec![b'a'; 265]
        );
    }

    proptest! {
        #[test]
        fn round_trip(seed in proptest::collection::vec(any::<u8>(), 0..40),
                      picks in proptest::collection::vec((0usize..40, 1usize..300), 0..60)) {
            let mut input = seed.clone();
            for (from, count) in picks {
                let from = from % (input.len() + 1);
                let piece: Vec<u8> = input[from..].iter().copied().take(count).collect();
                input.extend_from_slice(&piece);
                input.truncate(60_000);
            }
            if let Some(small) = compress(&input) {
                prop_assert!(small.len() <= input.len());
                prop_assert_eq!(decompress(&small, input.len()).unwrap(), input);
            }
        }

        #[test]
        fn steps_make_no_difference(word in proptest::collection::vec(any::<u8>(), 1..400),
                                    many in 1usize..40, step in 1usize..5000) {
            let input = word.repeat(many);
            let limit = input.len().saturating_sub(4);
            let mut whole = Vec::new();
            let fits = Compressor::default().compress(&input, limit, &mut whole);
            let mut packing = Packing::new(&input, limit);
            let answer = loop {
                if let Some(fits) = packing.step(&input, step) {
                    break fits;
                }
            };
            prop_assert_eq!(answer, fits);
            if fits {
                prop_assert_eq!(packing.into_packed(), whole);
            }
        }

        /// The same string, or the same refusal, however what comes is cut.
        #[test]
        fn arriving_in_pieces_makes_no_difference(word in proptest::collection::vec(any::<u8>(), 1..400),
                                                 many in 1usize..40, piece in 1usize..600, flip in any::<(bool, usize)>()) {
            let input = word.repeat(many);
            let mut packed = Vec::new();
            Compressor::default().compress(&input, usize::MAX, &mut packed);
            if flip.0 && !packed.is_empty() {
                let at = flip.1 % packed.len();
                packed[at] ^= 0x41;
            }
            let in_pieces = || {
                let mut unpacking = Unpacking::new(packed.len() as u64, input.len() as u64)?;
                let mut used = 0;
                for end in (piece..packed.len()).step_by(piece).chain([packed.len()]) {
                    used += unpacking.step(&packed[used..end])?;
                }
                unpacking.into_plain().filter(|_| used == packed.len())
            };
            prop_assert_eq!(in_pieces(), decompress(&packed, input.len()));
        }

        #[test]
        fn any_input_is_answered(input in proptest::collection::vec(any::<u8>(), 0..200), length in 0usize..3000) {
            if let Some(out) = decompress(&input, length) {
                prop_assert_eq!(out.len(), length);
            }
        }
    }
}
