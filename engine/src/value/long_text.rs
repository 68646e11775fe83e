//! A string too long for its entry. Copies and replies share it, and whoever changes it then copies it first; but a
//! snapshot only *holds* it: it goes on to change where it is, and the snapshot sees it as it was.
//!
//! ```text
//! LongText ──▶ bytes          ◀── Held: reads in blocks, from the first to the last
//!              before: blocks that have changed and were not read yet, as they were
//! ```
//!
//! So a change costs no more than what it changes, however long the string is.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::ops::{Deref, Range};

use super::size_class::size_class;

/// Bytes that are kept, and read, at a time.
const BLOCK: usize = 32 << 10;

/// From this size on allocators do not round up to size classes.
const LARGE: usize = 2 << 20;

/// They round up to this.
const PAGES: usize = 64 << 10;

/// A long string; a clone shares it.
#[derive(Clone)]
pub struct LongText(Rc<Inner>);

/// Invariant: the bytes are changed only within [`LongText::edit`], by the only handle that there is besides, if
/// `before` is something, one [`Held`]; which looks at them only when it finds `before`, while that is not in its
/// place, so that an edit finds more than its own handle and leaves them alone.
struct Inner {
    bytes: UnsafeCell<Vec<u8>>,
    /// Somebody holds the string.
    before: Cell<Option<Box<Before>>>,
}

/// What the holder has not read yet of what has changed since.
struct Before {
    len: usize,
    /// Blocks before this one have been read.
    next: usize,
    blocks: BTreeMap<usize, Box<[u8]>>,
}

impl Before {
    fn keep(&mut self, bytes: &[u8], changed: Range<usize>) {
        let end = changed.end.min(self.len).div_ceil(BLOCK);
        for block in self.next.max(changed.start / BLOCK)..end {
            let at = block * BLOCK;
            let old = || bytes[at..self.len.min(at + BLOCK)].into();
            self.blocks.entry(block).or_insert_with(old);
        }
    }
}

impl LongText {
    /// Changes the bytes: of those that are there, no others than `changed` (which may lie beyond them), and new ones
    /// may be added.
    pub fn edit<R>(&mut self, changed: Range<usize>, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut before = self.0.before.take();
        if Rc::strong_count(&self.0) > 1 + usize::from(before.is_some()) {
            self.0.before.set(before.take());
            *self = LongText::from(self.to_vec());
        }
        if let Some(before) = &mut before {
            before.keep(self, changed);
        }
        // SAFETY: this is the only handle but for a `Held`, which does not look while `before` is not in its place;
        // and what `self` has lent ended before.
        let result = change(unsafe { &mut *self.0.bytes.get() });
        self.0.before.set(before);
        result
    }

    /// Holds the string as it is now.
    pub fn hold(&self) -> Held {
        let before = self.0.before.take();
        let shared = before.is_some();
        let len = self.len();
        self.0.before.set(before.or_else(|| {
            Some(Box::new(Before {
                len,
                next: 0,
                blocks: BTreeMap::new(),
            }))
        }));
        Held {
            text: self.clone(),
            shared,
            len,
            next: 0,
        }
    }

    /// Bytes that there is room for.
    pub fn capacity(&self) -> usize {
        // SAFETY: as for `deref`.
        unsafe { &*self.0.bytes.get() }.capacity()
    }

    /// Heap bytes that it takes. (Large blocks are not cut in classes, but in pages.)
    pub fn memory(&self) -> usize {
        let bytes = match self.capacity() {
            small @ ..LARGE => size_class(small),
            large => large.next_multiple_of(PAGES),
        };
        bytes + size_of::<Inner>() + 16
    }
}

impl From<Vec<u8>> for LongText {
    fn from(bytes: Vec<u8>) -> LongText {
        LongText(Rc::new(Inner {
            bytes: UnsafeCell::new(bytes),
            before: Cell::new(None),
        }))
    }
}

impl Deref for LongText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes change only in `edit`: through this handle it cannot be called while they are lent, and
        // another handle's makes a copy.
        unsafe { &*self.0.bytes.get() }
    }
}

impl fmt::Debug for LongText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A string as it was when it was held, to be read once, whatever becomes of it.
pub struct Held {
    text: LongText,
    /// Another one held it already: then this is a handle like any other, and a change makes a copy.
    shared: bool,
    len: usize,
    /// The next block.
    next: usize,
}

impl Held {
    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "what is held is long")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all has been read.
    pub fn is_over(&self) -> bool {
        self.next * BLOCK >= self.len
    }

    /// Reads the next 32 KiB, or less at the end.
    pub fn read(&mut self, read: impl FnOnce(&[u8])) {
        let at = self.next * BLOCK;
        let place = at.min(self.len)..self.len.min(at + BLOCK);
        if self.shared {
            read(&self.text[place]);
        } else {
            let before = self.text.0.before.take();
            // Invariant: it is there unless an edit is under way, and no edit reads what is held.
            let mut before = before.expect("what is held is not being changed");
            match before.blocks.remove(&self.next) {
                Some(block) => read(&block),
                // Nobody changes the bytes meanwhile: see `Inner`.
                None => read(&self.text[place]),
            }
            before.next = self.next + 1;
            self.text.0.before.set(Some(before));
        }
        self.next += 1;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.shared {
            // Were it gone, an edit under way would bring it back.
            let before = self.text.0.before.take();
            assert!(before.is_some(), "what is held is not being changed");
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Held").field("len", &self.len)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn all(mut held: Held) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !held.is_over() {
            held.read(|block| bytes.extend_from_slice(block));
        }
        bytes
    }

    #[test]
    fn who_holds_does_not_have_it_copied() {
        let mut text = LongText::from(vec![1; 10 * BLOCK]);
        let (place, held) = (text.as_ptr(), text.hold());
        text.edit(5..7, |bytes| bytes[5..7].fill(2));
        assert_eq!(text.as_ptr(), place);
        assert_eq!(all(held), vec![1; 10 * BLOCK]);
        let (shared, held) = (text.clone(), text.hold());
        text.edit(8..9, |bytes| bytes[8] = 3);
        assert_eq!((shared[8], text[8]), (1, 3));
        assert_eq!(
            (shared.as_ptr(), all(held).as_slice()),
            (place, &shared[..])
        );
    }

    #[test]
    fn it_outlives_the_string_and_what_others_do_to_it() {
        let mut text = LongText::from(vec![1; 3 * BLOCK + 5]);
        let (first, second) = (text.hold(), text.hold());
        text.edit(0..usize::MAX, Vec::clear);
        let third = text.hold();
        drop(text);
        assert_eq!(all(second), all(first));
        assert!(all(third).is_empty());
    }

    proptest! {
        /// Whatever is changed and added meanwhile, what is held is read as it was, and the string is what it should be.
        #[test]
        fn held_is_as_it_was(
            len in 1..5 * BLOCK,
            steps in prop::collection::vec((any::<bool>(), 0..6 * BLOCK, 1..2 * BLOCK, any::<u8>()), 1..20),
        ) {
            let old: Vec<u8> = (0..len).map(|n| (n / 7) as u8).collect();
            let (mut text, mut model) = (LongText::from(old.clone()), old.clone());
            let (mut held, mut read) = (text.hold(), Vec::new());
            for (reads, at, count, byte) in steps {
                if reads && !held.is_over() {
                    held.read(|block| read.extend_from_slice(block));
                    continue;
                }
                let change = |bytes: &mut Vec<u8>| {
                    bytes.resize(bytes.len().max(at + count), 0);
                    bytes[at..at + count].fill(byte);
                };
                text.edit(at..at + count, change);
                change(&mut model);
            }
            while !held.is_over() {
                held.read(|block| read.extend_from_slice(block));
            }
            prop_assert!(read == old && *text == *model);
        }
    }
}
