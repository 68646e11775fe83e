//! A list: a short one is one [`Chunk`], a long one a counted tree of nodes ([`tree`]).
//!
//! What a node holds is bounded as in Redis's quicklist: by bytes or by elements
//! (`list-max-listpack-size`); nodes far from both ends may be compressed (`list-compress-depth`).
//! Elements at the ends come and go in constant time, anywhere else in logarithmic time.

pub mod chunk;
pub mod node;
#[cfg(test)]
mod tests;
mod tree;

use alloc::boxed::Box;

use crate::value::listpack::Entry;
use chunk::{Chunk, Needle};
use node::Node;
use tree::{Leaves, Tree};

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head, on the left.
    Front,
    /// The tail, on the right.
    Back,
}

/// How nodes are filled and kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `list-max-listpack-size`: elements in a node, or −1 … −5 for 4, 8, 16, 32, 64 KiB.
    pub fill: i32,
    /// `list-compress-depth`: nodes at either end that are not compressed; 0: none is.
    pub compress_depth: usize,
    /// Elements of this many bytes or more are nodes by themselves.
    pub plain_at: usize,
}

/// [`Limits::plain_at`] of a server: what no listpack can take.
pub const PLAIN_AT: usize = 1 << 30;

/// Elements in a node at most, however large the setting: their number has 16 bits in the file.
const FILL_MAX: usize = (1 << 15) - 1;

/// Bytes in a node at most if elements are counted.
const SAFE_BYTES: usize = 8192;

/// Bytes reckoned for an element besides its text.
const OVERHEAD: usize = 8;

impl Limits {
    /// Whether a node of so many bytes and elements may have one more, of `len` bytes.
    #[inline]
    fn allow(&self, listpack_bytes: usize, elements: usize, len: usize) -> bool {
        len < self.plain_at
            && self.allow_bytes(listpack_bytes, len)
            && (self.fill < 0 || elements < (self.fill as usize).min(FILL_MAX))
    }

    /// The same without the number of elements.
    #[inline]
    fn allow_bytes(&self, listpack_bytes: usize, len: usize) -> bool {
        let most = if self.fill < 0 {
            2048 << self.fill.unsigned_abs().min(5)
        } else {
            SAFE_BYTES
        };
        listpack_bytes + len + OVERHEAD <= most
    }
}

/// A list. See the module's documentation.
#[derive(Clone, Debug)]
pub struct List(Form);

#[derive(Clone, Debug)]
enum Form {
    Chunk(Chunk),
    Tree(Box<Tree>),
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List(Form::Chunk(Chunk::default()))
    }

    /// The name that OBJECT ENCODING shows.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Chunk(chunk) => chunk.len(),
            Form::Tree(tree) => tree.len(),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        match &self.0 {
            Form::Chunk(chunk) => usize::from(!chunk.is_empty()),
            Form::Tree(tree) => tree.nodes(),
        }
    }

    /// Bytes on the heap.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::Chunk(chunk) => chunk.memory_bytes(),
            Form::Tree(tree) => size_of::<Tree>() + tree.memory_bytes(),
        }
    }

    /// Adds an element at one end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limits: &Limits) {
        match &mut self.0 {
            Form::Chunk(chunk) if chunk.takes(text.len(), limits) => match end {
                End::Front => chunk.push_front(text),
                End::Back => chunk.push_back(text),
            },
            Form::Chunk(_) => self.push_beside(end, text, limits),
            Form::Tree(tree) => {
                let nodes = tree.nodes();
                tree.push(end, text, limits);
                if limits.compress_depth > 0 && tree.nodes() != nodes {
                    self.settle(limits);
                }
            }
        }
    }

    /// Adds an element that the one chunk does not take.
    #[cold]
    fn push_beside(&mut self, end: End, text: &[u8], limits: &Limits) {
        if self.is_empty() {
            self.0 = Form::Tree(Box::new(Tree::of(Node::of(text, limits))));
        } else {
            self.tree().push(end, text, limits);
        }
        self.settle(limits);
    }

    /// Adds a node at the end, as a snapshot has it.
    pub fn push_node(&mut self, node: Node, limits: &Limits) {
        if node.len() == 0 {
            return;
        }
        if self.is_empty() {
            self.0 = Form::Tree(Box::new(Tree::of(node)));
        } else {
            self.tree().push_node(node);
        }
        self.settle(limits);
    }

    /// Removes up to `count` elements from one end.
    #[inline]
    pub fn pop(&mut self, end: End, count: usize, limits: &Limits) {
        match &mut self.0 {
            Form::Chunk(chunk) => {
                let n = count.min(chunk.len());
                let from = match end {
                    End::Front => 0,
                    End::Back => chunk.len() - n,
                };
                chunk.remove(from, n);
            }
            Form::Tree(tree) => {
                let nodes = tree.nodes();
                tree.pop(end, count);
                if tree.nodes() != nodes {
                    self.settle(limits);
                }
            }
        }
    }

    /// Calls `use_it` with the element number `index`, if there is one.
    #[inline]
    pub fn get<R>(&self, index: usize, use_it: impl FnOnce(Entry<'_>) -> R) -> Option<R> {
        let (mut use_it, mut result) = (Some(use_it), None);
        self.visit(index, 1, End::Front, |entry| {
            result = use_it.take().map(|use_it| use_it(entry));
            false
        });
        result
    }

    /// Calls `visit` with up to `count` elements from number `start` on, in the direction away from an
    /// end, as long as it returns true; `start` is counted from that end.
    #[inline]
    pub fn visit(
        &self,
        start: usize,
        count: usize,
        from: End,
        mut visit: impl FnMut(Entry<'_>) -> bool,
    ) {
        let len = self.len();
        let (start, stop) = (start.min(len), start.saturating_add(count).min(len));
        let (start, stop) = match from {
            End::Front => (start, stop),
            End::Back => (len - stop, len - start),
        };
        match (&self.0, from) {
            (Form::Chunk(chunk), End::Front) => {
                chunk.iter_from(start).take(stop - start).all(visit);
            }
            (Form::Chunk(chunk), End::Back) => {
                chunk.iter_to(stop).rev().take(stop - start).all(visit);
            }
            (Form::Tree(tree), _) => tree.visit(start, stop, from == End::Back, &mut visit),
        }
    }

    /// The number of the first element from an end on that has a text, counted from that end.
    pub fn find(&self, text: &[u8], from: End) -> Option<usize> {
        let needle = Needle::new(text);
        let (mut index, mut found) = (0, false);
        self.visit(0, usize::MAX, from, |entry| {
            found = needle.is(entry);
            index += usize::from(!found);
            !found
        });
        found.then_some(index)
    }

    /// Replaces the element number `index`, which must be there.
    pub fn set(&mut self, index: usize, text: &[u8], limits: &Limits) {
        match &mut self.0 {
            Form::Chunk(chunk) if chunk.takes_instead(index, text.len(), limits) => {
                chunk.replace(index, text);
                return;
            }
            _ => self
                .tree()
                .edit(index, |leaves, i, at| set(leaves, i, at, text, limits)),
        }
        self.settle(limits);
    }

    /// Puts an element before number `index`, which may be the number of elements.
    pub fn insert(&mut self, index: usize, text: &[u8], limits: &Limits) {
        if index == self.len() {
            return self.push(End::Back, text, limits);
        }
        match &mut self.0 {
            Form::Chunk(chunk) if chunk.takes(text.len(), limits) => {
                chunk.insert(index, text);
                return;
            }
            _ => self
                .tree()
                .edit(index, |leaves, i, at| insert(leaves, i, at, text, limits)),
        }
        self.settle(limits);
    }

    /// Removes the elements from number `from` to number `to`, not included; both must be in bounds.
    pub fn remove(&mut self, from: usize, to: usize, limits: &Limits) {
        match &mut self.0 {
            Form::Chunk(chunk) => chunk.remove(from, to - from),
            Form::Tree(tree) => {
                tree.remove(from, to);
                self.settle(limits);
            }
        }
    }

    /// Removes up to `count` elements that have a text, from one end on; returns how many.
    pub fn remove_equal(&mut self, text: &[u8], end: End, count: usize, limits: &Limits) -> usize {
        let needle = Needle::new(text);
        match &mut self.0 {
            Form::Chunk(chunk) => {
                let hits = chunk.iter().filter(|entry| needle.is(*entry)).count();
                let count = hits.min(count);
                let skip = if end == End::Back { hits - count } else { 0 };
                if count > 0 {
                    chunk.remove_equal(&needle, skip, count);
                }
                count
            }
            Form::Tree(tree) => {
                let removed = tree.remove_equal(&needle, end, count);
                self.settle(limits);
                removed
            }
        }
    }

    /// Calls `visit` with the node that holds element number `index`, and returns the number of the
    /// first element behind it; `None` if there is no such element.
    pub fn visit_node(&self, index: usize, visit: impl FnOnce(NodeRef<'_>)) -> Option<usize> {
        if index >= self.len() {
            return None;
        }
        match &self.0 {
            Form::Chunk(chunk) => {
                visit(NodeRef::Packed(chunk));
                Some(chunk.len())
            }
            Form::Tree(tree) => {
                let (node, at) = tree.node_at(index);
                visit(match node {
                    Node::Packed(chunk) => NodeRef::Packed(chunk),
                    Node::Compressed(c) => NodeRef::Compressed(&c.lzf, c.listpack_bytes as usize),
                    Node::Plain(text) => NodeRef::Plain(text),
                });
                Some(index - at + node.len())
            }
        }
    }

    /// Frees up to about `budget` nodes; returns whether all is freed. The list is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        match &mut self.0 {
            Form::Chunk(chunk) => {
                *chunk = Chunk::default();
                true
            }
            Form::Tree(tree) => tree.free_step(budget),
        }
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self) {
        match &self.0 {
            Form::Chunk(chunk) => chunk.invariants(),
            Form::Tree(tree) => {
                tree.invariants();
                assert!(!matches!(
                    tree.only_node(),
                    Some(Node::Packed(_) | Node::Compressed(_))
                ));
            }
        }
    }

    /// The tree, which is made if there is none. The list is not empty.
    fn tree(&mut self) -> &mut Tree {
        if let Form::Chunk(chunk) = &mut self.0 {
            let chunk = core::mem::take(chunk);
            self.0 = Form::Tree(Box::new(Tree::of(Node::Packed(chunk))));
        }
        match &mut self.0 {
            Form::Tree(tree) => tree,
            Form::Chunk(_) => unreachable!("it has just become a tree"),
        }
    }

    /// After nodes have come or gone: takes the form of one chunk if there is one only, and compresses
    /// and decompresses as the distance from the ends says.
    fn settle(&mut self, limits: &Limits) {
        let Form::Tree(tree) = &mut self.0 else {
            return;
        };
        if tree.nodes() > 1 {
            if limits.compress_depth > 0 {
                tree.settle(limits.compress_depth);
            }
            return;
        }
        let chunk = match tree.only_node() {
            None => Chunk::default(),
            Some(Node::Plain(_)) => return,
            Some(node) => match node.clone().chunk_mut() {
                Some(chunk) => core::mem::take(chunk),
                None => return,
            },
        };
        self.0 = Form::Chunk(chunk);
    }
}

/// A node as a snapshot writes it.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'a> {
    /// A listpack: see [`Chunk::write_listpack`].
    Packed(&'a Chunk),
    /// A listpack, compressed, and how many bytes it has.
    Compressed(&'a [u8], usize),
    /// One element.
    Plain(&'a [u8]),
}

/// Replaces element number `at` of node `i`.
fn set(leaves: &mut Leaves<'_>, i: usize, at: usize, text: &[u8], limits: &Limits) {
    let node = leaves.node(i);
    if node.len() == 1 {
        return leaves.change(i, |node| *node = Node::of(text, limits));
    }
    let compressed = matches!(node, Node::Compressed(_));
    let fits = leaves.change(i, |node| match node.chunk_mut() {
        Some(chunk) if chunk.takes_instead(at, text.len(), limits) => {
            chunk.replace(at, text);
            true
        }
        _ => false,
    });
    if !fits {
        // Before it, alone, and behind it.
        let mut behind = Chunk::default();
        leaves.change(i, |node| {
            if let Some(chunk) = node.chunk_mut() {
                behind = chunk.split_off(at + 1);
                if at > 0 {
                    chunk.remove(at, 1);
                }
            }
        });
        let alone = if at == 0 { i } else { i + 1 };
        if at == 0 {
            leaves.change(i, |node| *node = Node::of(text, limits));
        } else {
            leaves.insert(alone, Node::of(text, limits));
        }
        if !behind.is_empty() {
            leaves.insert(alone + 1, Node::Packed(behind));
        }
    }
    if compressed {
        (i..leaves.count().min(i + 3)).for_each(|i| leaves.change(i, Node::compress));
    }
}

/// Puts an element before number `at` of node `i`.
fn insert(leaves: &mut Leaves<'_>, i: usize, at: usize, text: &[u8], limits: &Limits) {
    let fits = leaves.node(i).takes(text.len(), limits);
    if !fits && at == 0 {
        // It may go at the end of the node before; or between the two.
        if i > 0 && leaves.node(i - 1).takes(text.len(), limits) {
            return put(leaves, i - 1, leaves.node(i - 1).len(), text);
        }
        return leaves.insert(i, Node::of(text, limits));
    }
    if fits {
        return put(leaves, i, at, text);
    }
    let mut behind = Chunk::default();
    let compressed = matches!(leaves.node(i), Node::Compressed(_));
    leaves.change(i, |node| {
        if let Some(chunk) = node.chunk_mut() {
            behind = chunk.split_off(at);
        }
    });
    leaves.insert(i + 1, Node::Packed(behind));
    if compressed {
        leaves.change(i, Node::compress);
        leaves.change(i + 1, Node::compress);
    }
    // Into the emptier half; or between them.
    let (left, right) = (leaves.node(i).len(), leaves.node(i + 1).len());
    if left <= right && leaves.node(i).takes(text.len(), limits) {
        put(leaves, i, left, text);
    } else if leaves.node(i + 1).takes(text.len(), limits) {
        put(leaves, i + 1, 0, text);
    } else if leaves.node(i).takes(text.len(), limits) {
        put(leaves, i, left, text);
    } else {
        leaves.insert(i + 1, Node::of(text, limits));
    }
}

/// Puts an element into a node that takes it.
fn put(leaves: &mut Leaves<'_>, i: usize, at: usize, text: &[u8]) {
    leaves.change(i, |node| {
        let compressed = matches!(node, Node::Compressed(_));
        if let Some(chunk) = node.chunk_mut() {
            chunk.insert(at, text);
        }
        if compressed {
            node.compress();
        }
    });
}
