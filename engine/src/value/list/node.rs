//! A node of a list: a chunk, a compressed chunk, or one huge element by itself.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::chunk::Chunk;
use super::{End, Limits};
use crate::value::listpack::{Entry, Listpack};
use crate::value::lzf;

/// Chunks with fewer bytes than this are not compressed.
const MIN_COMPRESSED: usize = 48;

/// Compression must save this many bytes.
const MIN_GAIN: usize = 8;

/// Room in a new node at most: what the largest setting allows a node.
const ROOM_MAX: usize = 64 << 10;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub enum Node {
    /// Elements.
    Packed(Chunk),
    /// Elements that are seldom used.
    Compressed(Compressed),
    /// One element that is too long for a chunk.
    Plain(Rc<Vec<u8>>),
}

/// A compressed chunk.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// What LZF made of the chunk as a listpack.
    pub lzf: Box<[u8]>,
    /// Bytes that the listpack has.
    pub listpack_bytes: u32,
    /// Number of elements.
    count: u32,
}

impl Node {
    /// A node of one element.
    pub fn of(text: &[u8], limits: &Limits) -> Node {
        if text.len() >= limits.plain_at {
            return Node::Plain(Rc::new(text.to_vec()));
        }
        let mut chunk = Chunk::default();
        chunk.push_back(text);
        Node::Packed(chunk)
    }

    /// A node of one element at an end of a list, with room for as much as its neighbour has.
    pub(super) fn beside(neighbour: &Node, end: End, text: &[u8], limits: &Limits) -> Node {
        let room = match neighbour {
            Node::Packed(chunk) => chunk.memory_bytes().min(ROOM_MAX),
            _ => 0,
        };
        if room < text.len() + 16 || text.len() >= limits.plain_at {
            return Node::of(text, limits);
        }
        let mut chunk = Chunk::with_room(room, end);
        match end {
            End::Front => chunk.push_front(text),
            End::Back => chunk.push_back(text),
        }
        Node::Packed(chunk)
    }

    /// Number of elements: at least one.
    #[allow(clippy::len_without_is_empty)]
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Packed(chunk) => chunk.len(),
            Node::Compressed(c) => c.count as usize,
            Node::Plain(_) => 1,
        }
    }

    /// Bytes on the heap.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Node::Packed(chunk) => chunk.memory_bytes(),
            Node::Compressed(c) => c.lzf.len(),
            Node::Plain(text) => text.capacity() + size_of::<Vec<u8>>() + 16,
        }
    }

    /// Whether one more element of `len` bytes may join it.
    #[inline]
    pub fn takes(&self, len: usize, limits: &Limits) -> bool {
        match self {
            Node::Packed(chunk) => chunk.takes(len, limits),
            Node::Compressed(c) => limits.allow(c.listpack_bytes as usize, self.len(), len),
            Node::Plain(_) => false,
        }
    }

    /// Calls `visit` with the elements from number `from` to number `to`, not included, in either
    /// direction, as long as it returns true; returns whether it always did.
    #[inline]
    pub fn visit(
        &self,
        from: usize,
        to: usize,
        backwards: bool,
        visit: &mut impl FnMut(Entry<'_>) -> bool,
    ) -> bool {
        let chunk = match self {
            Node::Plain(text) => return from == to || visit(Entry::Str(text)),
            Node::Packed(chunk) => Cow::Borrowed(chunk),
            Node::Compressed(c) => Cow::Owned(c.decompress()),
        };
        let count = to - from;
        if backwards {
            chunk.iter_to(to).rev().take(count).all(visit)
        } else {
            chunk.iter_from(from).take(count).all(visit)
        }
    }

    /// Its chunk, to be changed; `None` if it is plain.
    pub fn chunk_mut(&mut self) -> Option<&mut Chunk> {
        if let Node::Compressed(c) = self {
            *self = Node::Packed(c.decompress());
        }
        match self {
            Node::Packed(chunk) => Some(chunk),
            _ => None,
        }
    }

    /// Compresses it if that is worth the trouble; otherwise it keeps no more room than it needs.
    pub fn compress(&mut self) {
        let Node::Packed(chunk) = self else {
            return;
        };
        chunk.compact();
        let mut plain = Vec::new();
        chunk.write_listpack(&mut plain);
        if plain.len() < MIN_COMPRESSED {
            return;
        }
        let mut lzf = Vec::new();
        if lzf::Compressor::default().compress(&plain, plain.len() - MIN_GAIN, &mut lzf) {
            *self = Node::Compressed(Compressed {
                lzf: lzf.into(),
                listpack_bytes: plain.len() as u32,
                count: chunk.len() as u32,
            });
        }
    }

    /// Undoes [`Node::compress`].
    pub fn decompress(&mut self) {
        self.chunk_mut();
    }

    /// Panics if something is not as it should be.
    pub fn invariants(&self) {
        assert!(self.len() > 0, "an empty node");
        match self {
            Node::Packed(chunk) => chunk.invariants(),
            Node::Compressed(c) => {
                let chunk = c.decompress();
                chunk.invariants();
                assert_eq!(chunk.len(), self.len());
            }
            Node::Plain(_) => {}
        }
    }
}

impl Compressed {
    fn decompress(&self) -> Chunk {
        // Invariant: `lzf` was made from such a listpack.
        lzf::decompress(&self.lzf, self.listpack_bytes as usize)
            .and_then(|bytes| Listpack::from_bytes(bytes).ok())
            .map(Chunk::from_listpack)
            .expect("what was compressed can be had back")
    }
}
