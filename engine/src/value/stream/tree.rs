//! An ordered map in shared chunks: a B+tree whose nodes are reference-counted.
//!
//! A clone shares all nodes; whoever writes afterwards copies only the nodes on the way to what he
//! changes. So a snapshot or a COPY takes the whole map in one step, and neither side pays for what
//! stays the same.
//!
//! ```text
//! inner  (lower bound, child) …        2 to FAN children; every key of a child ≥ its bound
//! leaf   (key, value) …                1 to FAN entries, in order
//! ```
//!
//! A node that grows beyond [`FAN`] at its end keeps what it has and begins a new one: maps that are
//! filled in order are packed. One that shrinks is merged when a neighbour can take it whole.

use crate::value::own::own;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::borrow::Borrow;

/// The most entries of a leaf, and children of an inner node.
const FAN: usize = 32;

/// An ordered map. See the module's documentation.
#[derive(Debug)]
pub struct Tree<K, V> {
    root: Option<Rc<Node<K, V>>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<(K, Rc<Node<K, V>>)>),
}

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Tree {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq> Eq for Tree<K, V> {}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Tree { root: None, len: 0 }
    }
}

/// The child that a key belongs to.
fn child_of<K, V, Q>(children: &[(K, Rc<Node<K, V>>)], key: &Q) -> usize
where
    K: Ord + Borrow<Q>,
    Q: Ord + ?Sized,
{
    children
        .partition_point(|(bound, _)| bound.borrow() <= key)
        .saturating_sub(1)
}

impl<K: Ord, V> Tree<K, V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap, more or less: what the entries themselves own is not among them.
    pub fn memory_bytes(&self) -> usize {
        self.len * size_of::<(K, V)>() * 5 / 4
    }

    /// The leaf where a key is, if it is anywhere.
    fn leaf<Q: Ord + ?Sized>(&self, key: &Q) -> &[(K, V)]
    where
        K: Borrow<Q>,
    {
        let Some(mut node) = self.root.as_deref() else {
            return &[];
        };
        loop {
            match node {
                Node::Leaf(entries) => return entries,
                Node::Inner(children) => node = &children[child_of(children, key)].1,
            }
        }
    }

    /// The entry of a key.
    pub fn entry<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let leaf = self.leaf(key);
        let at = leaf.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        leaf.get(at).map(|(k, v)| (k, v))
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entry(key).map(|(_, value)| value)
    }

    /// The first entry.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The last entry.
    pub fn last(&self) -> Option<(&K, &V)> {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(entries) => return entries.last().map(|(k, v)| (k, v)),
                Node::Inner(children) => node = &children.last()?.1,
            }
        }
    }

    /// The last entry whose key is not above `key`.
    pub fn floor<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.before(|k| k.borrow() <= key)
    }

    /// The last entry whose key is below `key`.
    pub fn below<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.before(|k| k.borrow() < key)
    }

    /// The last entry that `is_before` holds for; it must hold for all up to some key.
    fn before(&self, is_before: impl Fn(&K) -> bool) -> Option<(&K, &V)> {
        let mut node = self.root.as_deref()?;
        // What to fall back on: a child may have no key at its lower bound any more.
        let mut left: Option<&Node<K, V>> = None;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(k, _)| is_before(k));
                    match (at.checked_sub(1), left.take()) {
                        (Some(at), _) => return entries.get(at).map(|(k, v)| (k, v)),
                        (None, Some(other)) => node = other,
                        (None, None) => return None,
                    }
                }
                Node::Inner(children) => {
                    let at = children.partition_point(|(bound, _)| is_before(bound));
                    let at = at.saturating_sub(1);
                    if let Some(other) = at.checked_sub(1) {
                        left = Some(&children[other].1);
                    }
                    node = &children[at].1;
                }
            }
        }
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut leaf: &[(K, V)] = &[];
        let mut node = self.root.as_deref();
        while let Some(here) = node {
            node = match here {
                Node::Leaf(entries) => {
                    leaf = entries;
                    None
                }
                Node::Inner(children) => children.first().map(|(_, child)| &**child),
            };
        }
        Iter {
            tree: self,
            leaf,
            at: 0,
        }
    }

    /// The entries from the first one on whose key is not below `key`.
    pub fn iter_from(&self, key: &K) -> Iter<'_, K, V> {
        let (leaf, at) = self.seek(|k| k < key);
        Iter {
            tree: self,
            leaf,
            at,
        }
    }

    /// The entries from the first one on whose key is above `key`.
    pub fn iter_after(&self, key: &K) -> Iter<'_, K, V> {
        let (leaf, at) = self.seek(|k| k <= key);
        Iter {
            tree: self,
            leaf,
            at,
        }
    }

    /// Where the first entry is that `is_before` does not hold for.
    fn seek(&self, is_before: impl Fn(&K) -> bool) -> (&[(K, V)], usize) {
        let Some(mut node) = self.root.as_deref() else {
            return (&[], 0);
        };
        let mut right: Option<&Node<K, V>> = None;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(k, _)| is_before(k));
                    match right.take() {
                        Some(other) if at == entries.len() => node = other,
                        _ => return (entries, at),
                    }
                }
                Node::Inner(children) => {
                    let at = children.partition_point(|(bound, _)| is_before(bound));
                    let at = at.saturating_sub(1);
                    if let Some((_, other)) = children.get(at + 1) {
                        right = Some(other);
                    }
                    node = &children[at].1;
                }
            }
        }
    }

    /// Frees up to about `budget` nodes; returns whether all is freed. The map is empty from then on.
    pub fn free_step(&mut self, budget: usize) -> bool {
        self.len = 0;
        for _ in 0..budget.max(1) {
            match &mut self.root {
                None => return true,
                Some(root) => {
                    if free_last(root) {
                        self.root = None;
                    }
                }
            }
        }
        self.root.is_none()
    }

    /// Panics if something is not as it should be. Linear in the size.
    pub fn invariants(&self)
    where
        K: core::fmt::Debug,
    {
        fn check<K: Ord + core::fmt::Debug, V>(
            node: &Node<K, V>,
            least: Option<&K>,
        ) -> (usize, usize) {
            match node {
                Node::Leaf(entries) => {
                    assert!(!entries.is_empty() && entries.len() <= FAN);
                    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
                    assert!(least.is_none_or(|least| *least <= entries[0].0));
                    (entries.len(), 1)
                }
                Node::Inner(children) => {
                    assert!(children.len() >= 2 && children.len() <= FAN);
                    assert!(children.is_sorted_by(|a, b| a.0 < b.0));
                    let mut sum = (0, None);
                    for (i, (bound, child)) in children.iter().enumerate() {
                        assert!(i > 0 || least.is_none_or(|least| least <= bound));
                        let (len, depth) = check(child, Some(bound));
                        assert!(sum.1.is_none_or(|d| d == depth), "leaves at one depth");
                        sum = (sum.0 + len, Some(depth));
                    }
                    (sum.0, sum.1.unwrap_or(0) + 1)
                }
            }
        }
        let len = self.root.as_ref().map_or(0, |root| check(root, None).0);
        assert_eq!(len, self.len);
        assert!(self.iter().map(|(k, _)| k).is_sorted_by(|a, b| a < b));
    }
}

/// Drops the last leaf, or a part that others share; returns whether the node has become empty.
fn free_last<K, V>(node: &mut Rc<Node<K, V>>) -> bool {
    match Rc::get_mut(node) {
        Some(Node::Inner(children)) => {
            if children.last_mut().is_none_or(|(_, last)| free_last(last)) {
                children.pop();
            }
            children.is_empty()
        }
        Some(Node::Leaf(_)) | None => true,
    }
}

/// What came of putting an entry into a node: the value that it replaced, and the node's second
/// half, if it became too large.
struct Put<K, V> {
    old: Option<V>,
    split: Option<(K, Rc<Node<K, V>>)>,
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    /// Puts an entry in; returns the value that it replaced.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Rc::new(Node::Leaf(alloc::vec![(key, value)])));
            self.len = 1;
            return None;
        };
        let Put { old, split } = put(root, key, value);
        if let Some((bound, right)) = split {
            let least = match &**root {
                Node::Leaf(entries) => entries[0].0.clone(),
                Node::Inner(children) => children[0].0.clone(),
            };
            let left = Rc::clone(root);
            *root = Rc::new(Node::Inner(alloc::vec![(least, left), (bound, right)]));
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes an entry out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // What nothing is taken from is not touched, for others may share it.
        self.get(key)?;
        let root = self.root.as_mut()?;
        let value = take(root, key)?;
        self.len -= 1;
        loop {
            let next = match &**root {
                Node::Leaf(entries) if entries.is_empty() => None,
                Node::Inner(children) if children.len() == 1 => Some(Rc::clone(&children[0].1)),
                _ => break,
            };
            match next {
                Some(child) => *root = child,
                None => {
                    self.root = None;
                    break;
                }
            }
        }
        Some(value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let mut node = own(self.root.as_mut()?);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries
                        .binary_search_by(|(k, _)| k.borrow().cmp(key))
                        .ok()?;
                    return Some(&mut entries[at].1);
                }
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    node = own(&mut children[at].1);
                }
            }
        }
    }

    /// The last entry, its value to be changed.
    pub fn last_mut(&mut self) -> Option<(&K, &mut V)> {
        let mut node = own(self.root.as_mut()?);
        loop {
            match node {
                Node::Leaf(entries) => return entries.last_mut().map(|(k, v)| (&*k, v)),
                Node::Inner(children) => node = own(&mut children.last_mut()?.1),
            }
        }
    }
}

fn put<K: Ord + Clone, V: Clone>(node: &mut Rc<Node<K, V>>, key: K, value: V) -> Put<K, V> {
    match own(node) {
        Node::Leaf(entries) => {
            let at = match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => {
                    let old = core::mem::replace(&mut entries[at].1, value);
                    return Put {
                        old: Some(old),
                        split: None,
                    };
                }
                Err(at) => at,
            };
            entries.insert(at, (key, value));
            let split = split(entries, at).map(|right| {
                let bound = right[0].0.clone();
                (bound, Rc::new(Node::Leaf(right)))
            });
            Put { old: None, split }
        }
        Node::Inner(children) => {
            let at = child_of(children, &key);
            if key < children[at].0 {
                children[at].0 = key.clone();
            }
            let mut done = put(&mut children[at].1, key, value);
            if let Some(right) = done.split.take() {
                children.insert(at + 1, right);
                done.split = split(children, at + 1).map(|right| {
                    let bound = right[0].0.clone();
                    (bound, Rc::new(Node::Inner(right)))
                });
            }
            done
        }
    }
}

/// Splits what became too large by the element put in at `at`: in the middle, or, if it grows at its
/// end, there.
fn split<T>(list: &mut Vec<T>, at: usize) -> Option<Vec<T>> {
    if list.len() <= FAN {
        return None;
    }
    // An inner node needs two children, so two go.
    let middle = if at + 1 == list.len() {
        list.len() - 2
    } else {
        list.len() / 2
    };
    Some(list.split_off(middle))
}

fn take<K, V, Q>(node: &mut Rc<Node<K, V>>, key: &Q) -> Option<V>
where
    K: Ord + Clone + Borrow<Q>,
    V: Clone,
    Q: Ord + ?Sized,
{
    match own(node) {
        Node::Leaf(entries) => {
            let at = entries
                .binary_search_by(|(k, _)| k.borrow().cmp(key))
                .ok()?;
            Some(entries.remove(at).1)
        }
        Node::Inner(children) => {
            let at = child_of(children, key);
            let value = take(&mut children[at].1, key)?;
            mend(children, at);
            Some(value)
        }
    }
}

/// Child `at` has shrunk: it goes if it is empty, or into a neighbour that can take it whole.
fn mend<K: Clone, V: Clone>(children: &mut Vec<(K, Rc<Node<K, V>>)>, at: usize) {
    let size = |node: &Node<K, V>| match node {
        Node::Leaf(entries) => entries.len(),
        Node::Inner(children) => children.len(),
    };
    let len = size(&children[at].1);
    let single = len == 1 && matches!(&*children[at].1, Node::Inner(_));
    if len == 0 {
        children.remove(at);
        return;
    }
    if len > FAN / 4 && !single {
        return;
    }
    let fits =
        |other: usize| (children.get(other)).is_some_and(|(_, node)| size(node) + len <= FAN);
    let left = if at > 0 && fits(at - 1) {
        at - 1
    } else if fits(at + 1) {
        at
    } else if single {
        // A full neighbour and an inner node with one child: they share evenly.
        let left = at.saturating_sub(1);
        if left + 1 < children.len() {
            let (_, right) = children.remove(left + 1);
            join(&mut children[left].1, right);
            if let Node::Inner(all) = own(&mut children[left].1) {
                let right = all.split_off(all.len() / 2);
                let bound = right[0].0.clone();
                children.insert(left + 1, (bound, Rc::new(Node::Inner(right))));
            }
        }
        return;
    } else {
        return;
    };
    let (_, right) = children.remove(left + 1);
    join(&mut children[left].1, right);
}

/// Puts all of `right` behind `left`.
fn join<K: Clone, V: Clone>(left: &mut Rc<Node<K, V>>, right: Rc<Node<K, V>>) {
    match (own(left), Rc::unwrap_or_clone(right)) {
        (Node::Leaf(left), Node::Leaf(right)) => left.extend(right),
        (Node::Inner(left), Node::Inner(right)) => left.extend(right),
        // All leaves are at one depth, so siblings are of one kind.
        _ => {}
    }
}

/// Entries in order. Holds one leaf, and looks for the next when that is through.
#[derive(Clone, Debug)]
pub struct Iter<'a, K, V> {
    tree: &'a Tree<K, V>,
    leaf: &'a [(K, V)],
    at: usize,
}

impl<'a, K: Ord, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.leaf.len() {
            let (last, _) = self.leaf.last()?;
            (self.leaf, self.at) = self.tree.seek(|k| k <= last);
        }
        let (key, value) = self.leaf.get(self.at)?;
        self.at += 1;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn filled_in_order_it_is_packed() {
        let mut tree = Tree::default();
        for i in 0..10_000u32 {
            assert_eq!(tree.insert(i, i), None);
        }
        tree.invariants();
        fn leaves<K, V>(node: &Node<K, V>) -> usize {
            match node {
                Node::Leaf(_) => 1,
                Node::Inner(children) => children.iter().map(|(_, c)| leaves(c)).sum(),
            }
        }
        let leaves = leaves(tree.root.as_ref().unwrap());
        assert!(leaves <= 10_000 / (FAN - 1) + 2, "{leaves}");
    }

    #[test]
    fn a_clone_shares_what_stays() {
        let mut tree = Tree::default();
        (0..10_000u32).for_each(|i| drop(tree.insert(i, Rc::new(i))));
        let copy = tree.clone();
        *tree.get_mut(&5000).unwrap() = Rc::new(1);
        let same = tree
            .iter()
            .zip(copy.iter())
            .filter(|((_, a), (_, b))| Rc::ptr_eq(a, b) && Rc::strong_count(a) == 1)
            .count();
        assert!(same > 10_000 - 2 * FAN, "{same}");
        assert!(tree.remove(&20_000).is_none());
    }

    #[test]
    fn it_is_freed_in_steps() {
        let mut tree = Tree::default();
        for i in 0..10_000u32 {
            tree.insert(i, i);
        }
        let copy = tree.clone();
        assert!(tree.free_step(1), "what is shared is left to the other");
        let mut copy = copy;
        let mut steps = 1;
        while !copy.free_step(10) {
            steps += 1;
        }
        assert!((30..60).contains(&steps), "{steps}");
        assert!(copy.is_empty() && copy.iter().next().is_none());
    }

    proptest! {
        #[test]
        fn like_a_map(ops in prop::collection::vec((0u8..10, 0u16..400, any::<u8>()), 1..1500)) {
            let (mut tree, mut model) = (Tree::<u16, u8>::default(), BTreeMap::<u16, u8>::new());
            let mut copies = Vec::new();
            for (i, (op, key, value)) in ops.into_iter().enumerate() {
                match op {
                    0..4 => prop_assert_eq!(tree.insert(key, value), model.insert(key, value)),
                    4..8 => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                    8 => {
                        let (a, b) = (tree.get_mut(&key), model.get_mut(&key));
                        prop_assert_eq!(&a, &b);
                        if let (Some(a), Some(b)) = (a, b) {
                            *a = value;
                            *b = value;
                        }
                        // A run from the front goes, as trimming does.
                        if value < 20 {
                            while let Some((&first, _)) = tree.first().filter(|(k, _)| **k < key) {
                                tree.remove(&first);
                                model.remove(&first);
                            }
                        }
                    }
                    _ if copies.len() < 5 => copies.push((tree.clone(), model.clone())),
                    _ => {}
                }
                prop_assert_eq!(tree.last(), model.last_key_value());
                prop_assert_eq!(tree.first(), model.first_key_value());
                prop_assert_eq!(tree.floor(&key), model.range(..=key).next_back());
                prop_assert_eq!(tree.below(&key), model.range(..key).next_back());
                prop_assert_eq!(tree.iter_from(&key).next(), model.range(key..).next());
                if i % 50 == 0 {
                    tree.invariants();
                    prop_assert!(tree.iter_after(&key).eq(model.range(key + 1..)));
                }
            }
            copies.push((tree, model));
            for (tree, model) in copies {
                tree.invariants();
                prop_assert!(tree.iter().eq(model.iter()));
            }
        }
    }
}
