//! Which segment a hash leads to: a tree of directories, nearly always one.
//!
//! A directory resolves `bits` hash bits, behind the `base` bits that lead to it. A segment of less depth has
//! several places, side by side. Where one directory is not enough, a place leads to a directory below.
//!
//! It doubles when a segment that has one place only splits, and halves when no place is left that is
//! anything's only one; a directory below whose segments all became one goes.

use alloc::vec;
use alloc::vec::Vec;

/// Most hash bits that one directory resolves.
pub(super) const DIRECTORY_BITS: u32 = 14;

/// A directory's place: a segment, or a directory below.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node(u32);

impl Node {
    const BELOW: u32 = 1 << 31;

    fn directory(index: usize) -> Node {
        Node(index as u32 | Node::BELOW)
    }

    #[inline]
    fn below(self) -> Option<usize> {
        (self.0 & Node::BELOW != 0).then_some((self.0 & !Node::BELOW) as usize)
    }
}

struct Directory {
    /// Hash bits resolved above.
    base: u32,
    /// Those bits, at the top.
    prefix: u64,
    /// Hash bits resolved here.
    bits: u32,
    /// Places that lead to something that has no other: a segment of full depth, a directory below.
    alone: u32,
    places: Vec<Node>,
}

impl Directory {
    #[inline]
    fn place(&self, hash: u64) -> usize {
        (((hash << self.base) >> 1) >> (63 - self.bits)) as usize
    }

    /// The places of what lies `depth` bits deep on the way of a hash.
    fn span(&self, hash: u64, depth: u32) -> core::ops::Range<usize> {
        let len = 1usize << (self.bits - (depth - self.base));
        let first = self.place(hash) & !(len - 1);
        first..first + len
    }

    fn count_alone(&self) -> u32 {
        let pairs = self.places.chunks_exact(2);
        let alone = pairs.filter(|pair| pair[0] != pair[1]).count() * 2;
        alone as u32
    }
}

/// The tree; the first is the root.
pub(super) struct Directories {
    all: Vec<Directory>,
    /// What was added to the first place, in bytes.
    pub bytes: usize,
}

impl Directories {
    /// All hashes lead to segment 0.
    pub fn new() -> Directories {
        Directories::even(0)
    }

    /// The first `bits` bits of a hash, at most [`DIRECTORY_BITS`], are the number of its segment.
    pub fn even(bits: u32) -> Directories {
        let places: Vec<Node> = (0..1 << bits).map(Node).collect();
        Directories {
            bytes: (places.len() - 1) * size_of::<Node>(),
            all: vec![Directory {
                base: 0,
                prefix: 0,
                bits,
                alone: if bits > 0 { 1 << bits } else { 0 },
                places,
            }],
        }
    }

    /// The segment of a hash.
    #[inline]
    pub fn find(&self, hash: u64) -> usize {
        let mut directory = &self.all[0];
        loop {
            let node = directory.places[directory.place(hash)];
            match node.below() {
                None => return node.0 as usize,
                Some(below) => directory = &self.all[below],
            }
        }
    }

    /// Lets the upper half of what leads to segment `low` (of the given depth before it was split) lead
    /// to segment `high`.
    pub fn split(&mut self, hash: u64, depth: u32, low: usize, high: usize) {
        let d = self.directory(hash);
        let below = Node::directory(self.all.len());
        let directory = &mut self.all[d];
        if depth == directory.base + directory.bits {
            if directory.bits == DIRECTORY_BITS {
                let place = directory.place(hash);
                directory.places[place] = below;
                self.all.push(Directory {
                    base: depth,
                    prefix: first(hash, depth),
                    bits: 1,
                    alone: 2,
                    places: vec![Node(low as u32), Node(high as u32)],
                });
                self.bytes += size_of::<Directory>() + 2 * size_of::<Node>();
                return;
            }
            self.bytes += directory.places.len() * size_of::<Node>();
            directory.places = directory.places.iter().flat_map(|&n| [n, n]).collect();
            directory.bits += 1;
            directory.alone = 0;
        }
        let span = directory.span(hash, depth);
        directory.places[span.start + span.len() / 2..span.end].fill(Node(high as u32));
        if depth + 1 == directory.base + directory.bits {
            directory.alone += 2;
        }
    }

    /// Lets all that leads to two segments of the given depth, side by side on the way of a hash, lead to
    /// one segment.
    pub fn merge(&mut self, hash: u64, depth: u32, into: usize) {
        let d = self.directory(hash);
        let directory = &mut self.all[d];
        let span = directory.span(hash, depth - 1);
        directory.places[span].fill(Node(into as u32));
        if depth == directory.base + directory.bits {
            directory.alone -= 2;
        }
        while directory.alone == 0 && directory.bits > 0 {
            directory.places = directory.places.iter().copied().step_by(2).collect();
            directory.bits -= 1;
            directory.alone = directory.count_alone();
            self.bytes -= directory.places.len() * size_of::<Node>();
        }
        if d > 0 && directory.bits == 0 {
            self.remove(d);
        }
    }

    /// The segment of this depth on the way of a hash has another number now.
    pub fn renumber(&mut self, hash: u64, depth: u32, to: usize) {
        let d = self.directory(hash);
        let span = self.all[d].span(hash, depth);
        self.all[d].places[span].fill(Node(to as u32));
    }

    /// The directory whose place for a hash is a segment.
    fn directory(&self, hash: u64) -> usize {
        let mut d = 0;
        while let Some(below) = self.all[d].places[self.all[d].place(hash)].below() {
            d = below;
        }
        d
    }

    /// Takes out a directory below that has one place.
    fn remove(&mut self, d: usize) {
        self.lead_elsewhere(d, self.all[d].places[0]);
        let last = self.all.len() - 1;
        if d != last {
            self.lead_elsewhere(last, Node::directory(d));
        }
        self.all.swap_remove(d);
        self.bytes -= size_of::<Directory>() + size_of::<Node>();
    }

    /// What leads to a directory below leads to `node` from now on.
    fn lead_elsewhere(&mut self, d: usize, node: Node) {
        let prefix = self.all[d].prefix;
        let mut above = 0;
        loop {
            let place = self.all[above].place(prefix);
            match self.all[above].places[place].below() {
                Some(below) if below == d => return self.all[above].places[place] = node,
                Some(below) => above = below,
                None => return,
            }
        }
    }

    /// Checks the directories against themselves.
    pub fn invariants(&self) {
        let places: usize = self.all.iter().map(|d| d.places.len()).sum();
        let below = self.all.len() - 1;
        assert_eq!(
            self.bytes,
            (places - 1) * size_of::<Node>() + below * size_of::<Directory>()
        );
        for (index, directory) in self.all.iter().enumerate() {
            assert_eq!(directory.places.len(), 1 << directory.bits);
            assert!(
                index == 0 || directory.bits > 0,
                "a directory below has something to tell apart"
            );
            if directory.bits > 0 {
                assert_eq!(directory.alone, directory.count_alone());
                assert!(directory.alone > 0, "a directory is no larger than it must");
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all.len()
    }
}

/// The first hash that begins with the same `depth` bits.
pub(super) fn first(hash: u64, depth: u32) -> u64 {
    match depth {
        0 => 0,
        depth => hash >> (64 - depth) << (64 - depth),
    }
}
