//! The nodes of a long list as a counted B-tree: an element is found by its number, and nodes come and
//! go anywhere, in time logarithmic in the number of nodes.
//!
//! Branches and nodes are reference-counted. A copy of the tree shares them all; whoever changes
//! something copies the node that he changes and the branches above it.

use crate::value::own::own;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;

use super::chunk::Needle;
use super::node::Node;
use super::{End, Limits};
use crate::value::listpack::Entry;

/// Most children of a branch.
const FANOUT: usize = if cfg!(test) { 6 } else { 64 };

/// Bytes on the heap for each node besides its elements: reference counts, node, its slot above.
const NODE_BYTES: usize = size_of::<Node>() + 16 + size_of::<Slot<Node>>();

/// A node counted into the tree above it.
#[derive(Clone, Debug)]
struct Slot<T> {
    /// Elements in the child.
    len: usize,
    child: Rc<T>,
}

#[derive(Clone, Debug)]
enum Branch {
    Leaves(Vec<Slot<Node>>),
    Branches(Vec<Slot<Branch>>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    len: usize,
    nodes: usize,
    bytes: usize,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Branch,
    totals: Totals,
}

impl Slot<Node> {
    fn new(node: Node) -> Slot<Node> {
        Slot {
            len: node.len(),
            child: Rc::new(node),
        }
    }

    /// Changes the node; the totals follow.
    #[inline]
    fn change<R>(&mut self, t: &mut Totals, change: impl FnOnce(&mut Node) -> R) -> R {
        // A copy has less room to spare than what it is made of.
        t.bytes -= self.child.memory_bytes();
        let node = own(&mut self.child);
        let result = change(node);
        t.bytes += node.memory_bytes();
        let len = node.len();
        t.len = t.len - self.len + len;
        self.len = len;
        result
    }
}

impl Slot<Branch> {
    fn new(branch: Branch) -> Slot<Branch> {
        Slot {
            len: branch.len(),
            child: Rc::new(branch),
        }
    }

    /// Changes the branch, which may split: then its second half is returned.
    #[inline]
    fn change<R>(
        &mut self,
        t: &mut Totals,
        change: impl FnOnce(&mut Branch, &mut Totals) -> R,
    ) -> R {
        let before = t.len;
        let result = change(own(&mut self.child), t);
        self.len = self.len + t.len - before;
        result
    }
}

impl Totals {
    fn add(&mut self, node: &Node) {
        self.len += node.len();
        self.nodes += 1;
        self.bytes += node.memory_bytes() + NODE_BYTES;
    }

    fn drop(&mut self, node: &Node) {
        self.len -= node.len();
        self.nodes -= 1;
        self.bytes -= node.memory_bytes() + NODE_BYTES;
    }
}

/// The slot that holds element number `index` (which is there), and the element's number in it.
#[inline]
fn locate<T>(slots: &[Slot<T>], mut index: usize) -> (usize, usize) {
    let last = slots.len() - 1;
    for (i, slot) in slots[..last].iter().enumerate() {
        if index < slot.len {
            return (i, index);
        }
        index -= slot.len;
    }
    (last, index)
}

#[inline]
fn at_end<T>(slots: &[Slot<T>], end: End) -> usize {
    match end {
        End::Front => 0,
        End::Back => slots.len() - 1,
    }
}

/// Where a branch that has too many children is cut: pushing at one end leaves full branches behind.
fn cut_at(children: usize, end: Option<End>) -> Option<usize> {
    (children > FANOUT).then_some(match end {
        Some(End::Front) => 1,
        Some(End::Back) => FANOUT,
        None => children / 2,
    })
}

/// The children from number `at` on. The others, if they are many, will stay as many: no room is kept for more.
fn cut<T>(slots: &mut Vec<Slot<T>>, at: usize) -> Vec<Slot<T>> {
    let behind = slots.split_off(at);
    if at >= FANOUT / 2 {
        slots.shrink_to_fit();
    }
    behind
}

impl Branch {
    fn len(&self) -> usize {
        match self {
            Branch::Leaves(slots) => slots.iter().map(|slot| slot.len).sum(),
            Branch::Branches(slots) => slots.iter().map(|slot| slot.len).sum(),
        }
    }

    fn children(&self) -> usize {
        match self {
            Branch::Leaves(slots) => slots.len(),
            Branch::Branches(slots) => slots.len(),
        }
    }

    /// Cuts the branch in two if it has too many children.
    fn split(&mut self, end: Option<End>) -> Option<Branch> {
        let at = cut_at(self.children(), end)?;
        Some(match self {
            Branch::Leaves(slots) => Branch::Leaves(cut(slots, at)),
            Branch::Branches(slots) => Branch::Branches(cut(slots, at)),
        })
    }

    fn take_all(&mut self, other: Branch) {
        match (self, other) {
            (Branch::Leaves(slots), Branch::Leaves(others)) => slots.extend(others),
            (Branch::Branches(slots), Branch::Branches(others)) => slots.extend(others),
            // Invariant: all branches of one level are of one kind.
            _ => unreachable!("branches of one level differ in kind"),
        }
    }

    /// Adds an element at one end.
    fn push(&mut self, end: End, text: &[u8], limits: &Limits, t: &mut Totals) -> Option<Branch> {
        match self {
            Branch::Leaves(slots) => {
                let i = at_end(slots, end);
                if slots[i].child.takes(text.len(), limits) {
                    slots[i].change(t, |node| {
                        if let Some(chunk) = node.chunk_mut() {
                            match end {
                                End::Front => chunk.push_front(text),
                                End::Back => chunk.push_back(text),
                            }
                        }
                    });
                    return None;
                }
                slots[i].change(t, |node| {
                    if let Node::Packed(chunk) = node {
                        chunk.compact();
                    }
                });
                let node = Node::beside(&slots[i].child, end, text, limits);
                t.add(&node);
                let at = match end {
                    End::Front => 0,
                    End::Back => slots.len(),
                };
                slots.insert(at, Slot::<Node>::new(node));
            }
            Branch::Branches(slots) => {
                let i = at_end(slots, end);
                let split = slots[i].change(t, |child, t| child.push(end, text, limits, t));
                adopt(slots, i, split?);
            }
        }
        self.split(Some(end))
    }

    /// Adds a node at the end.
    fn push_node(&mut self, node: Node, t: &mut Totals) -> Option<Branch> {
        match self {
            Branch::Leaves(slots) => {
                t.add(&node);
                slots.push(Slot::<Node>::new(node));
            }
            Branch::Branches(slots) => {
                let i = slots.len() - 1;
                let split = slots[i].change(t, |child, t| child.push_node(node, t));
                adopt(slots, i, split?);
            }
        }
        self.split(Some(End::Back))
    }

    /// Calls `visit` with the elements from number `from` to number `to`, not included.
    fn visit(
        &self,
        from: usize,
        to: usize,
        backwards: bool,
        visit: &mut impl FnMut(Entry<'_>) -> bool,
    ) -> bool {
        match self {
            Branch::Leaves(slots) => each(slots, from, to, backwards, |slot, from, to| {
                slot.child.visit(from, to, backwards, visit)
            }),
            Branch::Branches(slots) => each(slots, from, to, backwards, |slot, from, to| {
                slot.child.visit(from, to, backwards, visit)
            }),
        }
    }

    /// Calls `visit` with all nodes in order.
    fn visit_nodes(&self, visit: &mut impl FnMut(&Node)) {
        match self {
            Branch::Leaves(slots) => slots.iter().for_each(|slot| visit(&slot.child)),
            Branch::Branches(slots) => slots.iter().for_each(|slot| slot.child.visit_nodes(visit)),
        }
    }

    /// Removes the elements from number `from` to number `to`, not included.
    fn remove(&mut self, from: usize, to: usize, t: &mut Totals) {
        match self {
            Branch::Leaves(slots) => {
                let mut start = 0;
                slots.retain_mut(|slot| {
                    let (len, from, to) = overlap(slot.len, &mut start, from, to);
                    if from == to {
                        return true;
                    }
                    if to - from == len {
                        t.drop(&slot.child);
                        return false;
                    }
                    slot.change(t, |node| {
                        let packed = matches!(node, Node::Compressed(_));
                        if let Some(chunk) = node.chunk_mut() {
                            chunk.remove(from, to - from);
                        }
                        if packed {
                            node.compress();
                        }
                    });
                    true
                });
            }
            Branch::Branches(slots) => {
                let mut start = 0;
                slots.retain_mut(|slot| {
                    let (len, from, to) = overlap(slot.len, &mut start, from, to);
                    if from == to {
                        return true;
                    }
                    if to - from == len {
                        slot.child.visit_nodes(&mut |node| t.drop(node));
                        return false;
                    }
                    slot.change(t, |child, t| child.remove(from, to, t));
                    true
                });
                join(slots);
            }
        }
    }

    /// Removes up to `left` elements that have a text, from one end on.
    fn remove_equal(&mut self, needle: &Needle<'_>, end: End, left: &mut usize, t: &mut Totals) {
        let backwards = end == End::Back;
        match self {
            Branch::Leaves(slots) => {
                let n = slots.len();
                for i in (0..n).map(|i| if backwards { n - 1 - i } else { i }) {
                    if *left == 0 {
                        break;
                    }
                    let slot = &mut slots[i];
                    let mut hits = 0;
                    slot.child.visit(0, slot.len, false, &mut |entry| {
                        hits += usize::from(needle.is(entry));
                        true
                    });
                    let count = hits.min(*left);
                    let skip = if backwards { hits - count } else { 0 };
                    *left -= count;
                    if count > 0 && count < slot.len {
                        slot.change(t, |node| {
                            let packed = matches!(node, Node::Compressed(_));
                            if let Some(chunk) = node.chunk_mut() {
                                chunk.remove_equal(needle, skip, count);
                            }
                            if packed {
                                node.compress();
                            }
                        });
                    } else if count > 0 {
                        t.drop(&slot.child);
                        slot.len = 0;
                    }
                }
                slots.retain(|slot| slot.len > 0);
            }
            Branch::Branches(slots) => {
                let n = slots.len();
                for i in (0..n).map(|i| if backwards { n - 1 - i } else { i }) {
                    if *left == 0 {
                        break;
                    }
                    let slot = &mut slots[i];
                    // A shared branch without such elements is not to be copied.
                    let spared = Rc::strong_count(&slot.child) > 1
                        && (slot.child).visit(0, slot.len, false, &mut |entry| !needle.is(entry));
                    if !spared {
                        slot.change(t, |child, t| child.remove_equal(needle, end, left, t));
                    }
                }
                slots.retain(|slot| slot.len > 0);
                join(slots);
            }
        }
    }

    /// Lets `change` work on the node that holds element number `index`: it gets the nodes, which of
    /// them, and the element's number in it.
    fn edit(
        &mut self,
        index: usize,
        t: &mut Totals,
        change: &mut dyn FnMut(&mut Leaves<'_>, usize, usize),
    ) -> Option<Branch> {
        match self {
            Branch::Leaves(slots) => {
                let (i, index) = locate(slots, index);
                change(&mut Leaves { slots, t }, i, index);
            }
            Branch::Branches(slots) => {
                let (i, index) = locate(slots, index);
                let split = slots[i].change(t, |child, t| child.edit(index, t, change));
                adopt(slots, i, split?);
            }
        }
        self.split(None)
    }

    /// Removes up to `n` elements from the first node at one end; returns how many.
    fn pop(&mut self, end: End, n: usize, t: &mut Totals) -> usize {
        match self {
            Branch::Leaves(slots) => {
                let i = at_end(slots, end);
                let slot = &mut slots[i];
                let (len, n) = (slot.len, n.min(slot.len));
                let from = if end == End::Front { 0 } else { len - n };
                if n == len {
                    t.drop(&slot.child);
                    slots.remove(i);
                } else {
                    slot.change(t, |node| {
                        if let Some(chunk) = node.chunk_mut() {
                            chunk.remove(from, n);
                        }
                    });
                }
                n
            }
            Branch::Branches(slots) => {
                let i = at_end(slots, end);
                let n = slots[i].change(t, |child, t| child.pop(end, n, t));
                if slots[i].len == 0 {
                    slots.remove(i);
                }
                n
            }
        }
    }

    /// Calls `change` with those of the nodes number `n.start` to `n.end`, counted from one end, that
    /// `wants` says.
    fn change_at_end(
        &mut self,
        end: End,
        n: &mut Range<usize>,
        t: &mut Totals,
        wants: fn(&Node) -> bool,
        change: fn(&mut Node),
    ) {
        let children = self.children();
        let ordered = |i| match end {
            End::Front => i,
            End::Back => children - 1 - i,
        };
        for i in (0..children).map(ordered) {
            if n.end == 0 {
                return;
            }
            match self {
                Branch::Leaves(slots) => {
                    if n.start == 0 && wants(&slots[i].child) {
                        slots[i].change(t, change);
                    }
                    *n = n.start.saturating_sub(1)..n.end - 1;
                }
                Branch::Branches(slots) => {
                    slots[i].change(t, |child, t| child.change_at_end(end, n, t, wants, change));
                }
            }
        }
    }

    /// Frees up to `budget` nodes from the end on.
    fn free(&mut self, budget: &mut usize) {
        while *budget > 0 {
            match self {
                Branch::Leaves(slots) => {
                    if slots.pop().is_none() {
                        return;
                    }
                    *budget -= 1;
                }
                Branch::Branches(slots) => {
                    let Some(last) = slots.last_mut() else {
                        return;
                    };
                    // What others share is theirs.
                    if let Some(child) = Rc::get_mut(&mut last.child) {
                        child.free(budget);
                        if child.children() > 0 {
                            return;
                        }
                    }
                    slots.pop();
                    *budget = budget.saturating_sub(1);
                }
            }
        }
    }

    /// Checks the branch; returns its totals and its height.
    fn invariants(&self) -> (Totals, usize) {
        assert!(self.children() > 0 && self.children() <= FANOUT);
        let (mut totals, mut height) = (Totals::default(), 0);
        match self {
            Branch::Leaves(slots) => {
                for slot in slots {
                    slot.child.invariants();
                    assert_eq!(slot.len, slot.child.len());
                    totals.add(&slot.child);
                }
            }
            Branch::Branches(slots) => {
                for slot in slots {
                    let (t, h) = slot.child.invariants();
                    assert_eq!(slot.len, t.len);
                    assert!(height == 0 || height == h + 1, "uneven");
                    height = h + 1;
                    totals.len += t.len;
                    totals.nodes += t.nodes;
                    totals.bytes += t.bytes;
                }
            }
        }
        (totals, height)
    }
}

/// What of the range from `from` to `to` lies in the next slot, of `len` elements: its length, and the
/// bounds counted from its start.
fn overlap(len: usize, start: &mut usize, from: usize, to: usize) -> (usize, usize, usize) {
    let here = *start;
    *start += len;
    let bound = |at: usize| at.clamp(here, here + len) - here;
    (len, bound(from), bound(to))
}

/// Calls `visit` with the slots that have elements of the range, and the range's bounds in each.
#[inline]
fn each<T>(
    slots: &[Slot<T>],
    from: usize,
    to: usize,
    backwards: bool,
    mut visit: impl FnMut(&Slot<T>, usize, usize) -> bool,
) -> bool {
    if from >= to {
        return true;
    }
    let (first, mut start) = locate(slots, from);
    let (last, mut end) = locate(slots, to - 1);
    end += 1;
    if !backwards {
        for (i, slot) in slots[first..=last].iter().enumerate() {
            let stop = if first + i == last { end } else { slot.len };
            if !visit(slot, start, stop) {
                return false;
            }
            start = 0;
        }
    } else {
        for (i, slot) in slots[first..=last].iter().enumerate().rev() {
            let from = if i == 0 { start } else { 0 };
            if !visit(slot, from, end.min(slot.len)) {
                return false;
            }
            end = usize::MAX;
        }
    }
    true
}

/// Puts the second half of child number `i` beside it.
fn adopt(slots: &mut Vec<Slot<Branch>>, i: usize, second: Branch) {
    let second = Slot::<Branch>::new(second);
    slots[i].len -= second.len;
    slots.insert(i + 1, second);
}

/// Joins branches that have become small with their neighbours.
fn join(slots: &mut Vec<Slot<Branch>>) {
    let mut i = 1;
    while i < slots.len() {
        let (left, right) = (slots[i - 1].child.children(), slots[i].child.children());
        if left.min(right) <= FANOUT / 4 && left + right <= FANOUT {
            let right = slots.remove(i);
            let left = &mut slots[i - 1];
            left.len += right.len;
            own(&mut left.child).take_all(Rc::unwrap_or_clone(right.child));
        } else {
            i += 1;
        }
    }
}

/// Nodes that are neighbours, one of which is being edited.
pub(super) struct Leaves<'a> {
    slots: &'a mut Vec<Slot<Node>>,
    t: &'a mut Totals,
}

impl Leaves<'_> {
    /// A node.
    pub fn node(&self, i: usize) -> &Node {
        &self.slots[i].child
    }

    /// Number of nodes here.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Changes a node, which must not become empty.
    pub fn change<R>(&mut self, i: usize, change: impl FnOnce(&mut Node) -> R) -> R {
        self.slots[i].change(self.t, change)
    }

    /// Puts a node before number `i`.
    pub fn insert(&mut self, i: usize, node: Node) {
        self.t.add(&node);
        self.slots.insert(i, Slot::<Node>::new(node));
    }
}

impl Tree {
    /// A tree of one node.
    pub fn of(node: Node) -> Tree {
        let mut totals = Totals::default();
        totals.add(&node);
        Tree {
            root: Branch::Leaves(alloc::vec![Slot::<Node>::new(node)]),
            totals,
        }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.totals.len
    }

    /// Number of nodes.
    #[inline]
    pub fn nodes(&self) -> usize {
        self.totals.nodes
    }

    /// Bytes on the heap.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.totals.bytes
    }

    fn grow(&mut self, split: Option<Branch>) {
        if let Some(second) = split {
            let first = core::mem::replace(&mut self.root, Branch::Branches(Vec::new()));
            self.root = Branch::Branches(alloc::vec![
                Slot::<Branch>::new(first),
                Slot::<Branch>::new(second),
            ]);
        }
    }

    /// Gives up roots that have one child only, which is a branch.
    fn shrink(&mut self) {
        while let Branch::Branches(slots) = &mut self.root
            && slots.len() <= 1
        {
            let child = slots.pop().map(|slot| Rc::unwrap_or_clone(slot.child));
            self.root = child.unwrap_or(Branch::Leaves(Vec::new()));
        }
    }

    /// Adds an element at one end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limits: &Limits) {
        let split = self.root.push(end, text, limits, &mut self.totals);
        self.grow(split);
    }

    /// Adds a node at the end.
    pub fn push_node(&mut self, node: Node) {
        let split = self.root.push_node(node, &mut self.totals);
        self.grow(split);
    }

    /// Calls `visit` with the elements from number `from` to number `to`, not included, as long as it
    /// returns true.
    #[inline]
    pub fn visit(
        &self,
        from: usize,
        to: usize,
        backwards: bool,
        mut visit: impl FnMut(Entry<'_>) -> bool,
    ) {
        self.root.visit(from, to, backwards, &mut visit);
    }

    /// The node that holds an element (which is there), and the element's number in it.
    pub fn node_at(&self, mut index: usize) -> (&Node, usize) {
        let mut branch = &self.root;
        loop {
            match branch {
                Branch::Leaves(slots) => {
                    let (i, index) = locate(slots, index);
                    return (&slots[i].child, index);
                }
                Branch::Branches(slots) => {
                    let (i, rest) = locate(slots, index);
                    (branch, index) = (&slots[i].child, rest);
                }
            }
        }
    }

    /// The only node, if it is one.
    pub fn only_node(&self) -> Option<&Node> {
        match &self.root {
            Branch::Leaves(slots) if slots.len() == 1 => Some(&slots[0].child),
            _ => None,
        }
    }

    /// Removes the elements from number `from` to number `to`, not included.
    pub fn remove(&mut self, from: usize, to: usize) {
        self.root.remove(from, to, &mut self.totals);
        self.shrink();
    }

    /// Removes up to `count` elements that have a text, from one end on; returns how many.
    pub fn remove_equal(&mut self, needle: &Needle<'_>, end: End, count: usize) -> usize {
        let mut left = count;
        self.root
            .remove_equal(needle, end, &mut left, &mut self.totals);
        self.shrink();
        count - left
    }

    /// Lets `change` work on the nodes around element number `index`, which is there: it gets them, and
    /// which node holds the element at which place.
    pub fn edit(&mut self, index: usize, mut change: impl FnMut(&mut Leaves<'_>, usize, usize)) {
        let split = self.root.edit(index, &mut self.totals, &mut change);
        self.grow(split);
    }

    /// Removes up to `n` elements from one end.
    #[inline]
    pub fn pop(&mut self, end: End, mut n: usize) {
        while n > 0 && self.totals.len > 0 {
            n -= self.root.pop(end, n, &mut self.totals);
        }
        self.shrink();
    }

    /// Has the first `depth` nodes at either end decompressed, and compresses some behind them: those
    /// that a step may have put there.
    pub fn settle(&mut self, depth: usize) {
        /// Nodes that one step adds at most.
        const BEHIND: usize = 4;
        for end in [End::Front, End::Back] {
            let packed = |node: &Node| matches!(node, Node::Compressed(_));
            let t = &mut self.totals;
            (self.root).change_at_end(end, &mut (0..depth), t, packed, Node::decompress);
            let behind = (self.totals.nodes.saturating_sub(depth)).min(depth + BEHIND);
            let loose = |node: &Node| matches!(node, Node::Packed(_));
            let t = &mut self.totals;
            (self.root).change_at_end(end, &mut (depth..behind), t, loose, Node::compress);
        }
    }

    /// Frees up to `budget` nodes; true when all are gone. It is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        self.totals = Totals::default();
        self.root.free(&mut { budget });
        self.root.children() == 0
    }

    /// Panics if something is not as it should be.
    pub fn invariants(&self) {
        assert_eq!(self.root.invariants().0, self.totals);
        if let Branch::Branches(slots) = &self.root {
            assert!(slots.len() > 1, "a root of one branch");
        }
    }
}
