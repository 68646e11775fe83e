//! A vector in reference-counted chunks: `clone` is O(1), and whoever writes to one of the clones copies
//! only the chunk that it changes and the nodes above it.
//!
//! Chunks and nodes hold up to 64 items each; an item's path is its number, six bits a level.

use crate::value::own::own_slice;
use alloc::rc::Rc;

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;
/// The reference counts in front of a chunk.
const RC_HEADER: usize = 16;

/// See the module's description. A default item stands where nothing was put yet.
#[derive(Clone)]
pub(super) struct Chunked<T> {
    root: Node<T>,
    /// Levels of nodes above the chunks.
    height: u32,
    len: usize,
    memory: usize,
}

enum Node<T> {
    Items(Rc<[T]>),
    Nodes(Rc<[Node<T>]>),
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Node::Items(items) => Node::Items(Rc::clone(items)),
            Node::Nodes(nodes) => Node::Nodes(Rc::clone(nodes)),
        }
    }
}

impl<T: Clone + Default> Default for Node<T> {
    fn default() -> Self {
        Node::Items(Rc::default())
    }
}

impl<T: Clone + Default> Node<T> {
    fn memory(&self) -> usize {
        RC_HEADER
            + match self {
                Node::Items(items) => size_of_val::<[T]>(items),
                Node::Nodes(nodes) => size_of_val::<[Node<T>]>(nodes),
            }
    }
}

/// `items` with room for `room` items, the rest default.
fn resized<T: Clone + Default>(items: &[T], room: usize) -> Rc<[T]> {
    // An iterator over a range is of trusted length: one allocation.
    (0..room)
        .map(|i| items.get(i).cloned().unwrap_or_default())
        .collect()
}

/// Places to allocate for this many.
fn room(len: usize) -> usize {
    match len {
        0..=4 => len,
        5..=16 => len.next_multiple_of(4),
        _ => len.next_multiple_of(16),
    }
}

impl<T: Clone + Default> Default for Chunked<T> {
    fn default() -> Self {
        Chunked {
            root: Node::default(),
            height: 0,
            len: 0,
            memory: 0,
        }
    }
}

impl<T: Clone + Default> Chunked<T> {
    /// Number of items.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of chunks and nodes on the heap, without what the items own.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// The item number `i`, which must be below [`len`](Self::len).
    #[inline]
    pub(super) fn get(&self, i: usize) -> &T {
        let (mut node, mut shift) = (&self.root, BITS * self.height);
        loop {
            match node {
                Node::Nodes(nodes) => {
                    node = &nodes[i >> shift & (FANOUT - 1)];
                    shift -= BITS;
                }
                Node::Items(items) => return &items[i & (FANOUT - 1)],
            }
        }
    }

    /// The item number `i`, to be changed: what clones share on the way to it is copied.
    #[inline]
    pub(super) fn get_mut(&mut self, i: usize) -> &mut T {
        let (mut node, mut shift) = (&mut self.root, BITS * self.height);
        loop {
            match node {
                Node::Nodes(nodes) => {
                    node = &mut own_slice(nodes)[i >> shift & (FANOUT - 1)];
                    shift -= BITS;
                }
                Node::Items(items) => return &mut own_slice(items)[i & (FANOUT - 1)],
            }
        }
    }

    /// Adds an item at the end; returns its number.
    pub(super) fn push(&mut self, item: T) -> usize {
        let i = self.len;
        if i >> (BITS * (self.height + 1)) != 0 {
            let below = core::mem::take(&mut self.root);
            self.root = Node::Nodes(Rc::new([below]));
            self.memory += self.root.memory();
            self.height += 1;
        }
        let memory = &mut self.memory;
        let mut node = &mut self.root;
        let mut shift = BITS * self.height;
        loop {
            let at = i >> shift & (FANOUT - 1);
            if shift > 0 && matches!(node, Node::Items(items) if items.is_empty()) {
                // A place for what comes first on a new branch.
                *node = Node::Nodes(Rc::default());
                *memory += node.memory();
            }
            match node {
                Node::Nodes(nodes) => {
                    if at >= nodes.len() {
                        let before = size_of_val::<[Node<T>]>(nodes);
                        *nodes = resized(nodes, room(at + 1));
                        *memory = *memory + size_of_val::<[Node<T>]>(nodes) - before;
                    }
                    node = &mut own_slice(nodes)[at];
                    shift -= BITS;
                }
                Node::Items(items) => {
                    if items.is_empty() {
                        *memory += RC_HEADER;
                    }
                    if at >= items.len() {
                        let before = size_of_val::<[T]>(items);
                        *items = resized(items, room(at + 1));
                        *memory = *memory + size_of_val::<[T]>(items) - before;
                    }
                    own_slice(items)[at] = item;
                    self.len += 1;
                    return i;
                }
            }
        }
    }

    /// Takes the last item out. The memory of emptied chunks stays until the vector grows again or goes.
    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let item = core::mem::take(self.get_mut(last));
        self.len = last;
        Some(item)
    }

    /// All items.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).map(|i| self.get(i))
    }

    /// Frees about `budget` items from the end, and says whether nothing is left. Chunks that a clone
    /// shares are only let go of. The vector is of no use from the first call on.
    pub(super) fn free_step(&mut self, budget: &mut usize) -> bool {
        fn step<T>(node: &mut Node<T>, budget: &mut usize) -> bool
        where
            T: Clone + Default,
        {
            match node {
                Node::Items(items) => {
                    // A chunk is as small as a step should be.
                    *budget = budget.saturating_sub(items.len());
                    true
                }
                Node::Nodes(nodes) => {
                    let Some(nodes) = Rc::get_mut(nodes) else {
                        return true;
                    };
                    for node in nodes.iter_mut().rev() {
                        if matches!(node, Node::Items(items) if items.is_empty()) {
                            continue;
                        }
                        if *budget == 0 || !step(node, budget) {
                            return false;
                        }
                        *node = Node::default();
                    }
                    true
                }
            }
        }
        (self.len, self.memory) = (0, 0);
        if step(&mut self.root, budget) {
            *self = Chunked::default();
            return true;
        }
        false
    }

    /// Panics if the accounted memory is not what there is.
    pub(super) fn invariants(&self) {
        fn memory<T: Clone + Default>(node: &Node<T>) -> usize {
            match node {
                Node::Items(items) if items.is_empty() => 0,
                Node::Items(_) => node.memory(),
                Node::Nodes(nodes) => node.memory() + nodes.iter().map(memory).sum::<usize>(),
            }
        }
        assert_eq!(self.memory, memory(&self.root));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_vector(steps in prop::collection::vec((0u8..8, any::<usize>(), any::<u32>()), 1..300)) {
            let (mut ours, mut model) = (Chunked::<u32>::default(), Vec::new());
            let mut old: Option<(Chunked<u32>, Vec<u32>)> = None;
            for (what, at, value) in steps {
                match what {
                    0..4 => for _ in 0..at % 100 {
                        prop_assert_eq!(ours.push(value), model.len());
                        model.push(value);
                    }
                    4 => for _ in 0..at % 100 {
                        prop_assert_eq!(ours.pop(), model.pop());
                    }
                    5 => old = Some((ours.clone(), model.clone())),
                    _ if model.is_empty() => {}
                    _ => {
                        let at = at % model.len();
                        *ours.get_mut(at) = value;
                        model[at] = value;
                    }
                }
                ours.invariants();
                prop_assert_eq!(ours.len(), model.len());
            }
            prop_assert!(ours.iter().eq(&model));
            if let Some((mut ours, model)) = old {
                prop_assert!(ours.iter().eq(&model));
                while !ours.free_step(&mut 100) {}
                prop_assert_eq!((ours.len(), ours.memory_bytes()), (0, 0));
            }
        }
    }
}
