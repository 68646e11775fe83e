//! A string too long for its entry. Copies and replies share it, and whoever changes it then copies it first; but a
//! snapshot only *holds* it: it goes on to change where it is, and the snapshot sees it as it was.
//!
//! ```text
//! LongText ──▶ bytes          ◀── Held: reads in blocks, from the first to the last
//!              before: blocks that have changed and were not read yet, as they were
//! ```
//!
//! So a change costs no more than what it changes, however long the string is. Beside a reply that is still being sent
//! it costs a copy, once: what Redis pays for each such reply, when that begins. (There can be many, and all at
//! different places; a string in chunks would spare it, and make every other command on strings slower.)
//!
//! And a string that was a part of something longer, a word of a request, stays where it was read: it is a
//! [`part`](LongText::part), some bytes from the beginning and the end of what is kept.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem;
use core::ops::{Deref, DerefMut, Range};

use super::size_class::size_class;

/// Bytes that are kept, and read, at a time.
const BLOCK: usize = 32 << 10;

/// From this size on allocators do not round up to size classes.
const LARGE: usize = 2 << 20;

/// They round up to this.
const PAGES: usize = 64 << 10;

/// A long string; a clone shares it.
#[derive(Clone)]
pub struct LongText {
    inner: Rc<Inner>,
    /// Bytes before it that are not its own, and behind it.
    before: u32,
    behind: u32,
}

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
    /// Where what is held begins among all bytes, and how long it is.
    start: usize,
    len: usize,
    /// Blocks before this one have been read.
    next: usize,
    blocks: BTreeMap<usize, Box<[u8]>>,
}

impl Before {
    fn keep(&mut self, all: &[u8], changed: Range<usize>) {
        let [from, to] = [changed.start, changed.end].map(|at| at.saturating_sub(self.start));
        let end = to.min(self.len).div_ceil(BLOCK);
        for block in self.next.max(from / BLOCK)..end {
            let place = self.place(block);
            let old = || all[place].into();
            self.blocks.entry(block).or_insert_with(old);
        }
    }

    /// Where a block was, or is, among all bytes.
    fn place(&self, block: usize) -> Range<usize> {
        let at = block * BLOCK;
        self.start + at..self.start + self.len.min(at + BLOCK)
    }
}

impl LongText {
    /// Changes the bytes: of those that are there, no others than `changed` (which may lie beyond them), and new ones
    /// may be added.
    pub fn edit<R>(
        &mut self,
        changed: Range<usize>,
        change: impl FnOnce(&mut TextMut<'_>) -> R,
    ) -> R {
        let mut before = self.inner.before.take();
        let sees_all = before.as_ref().is_none_or(|before| self.sees(before));
        if !sees_all || Rc::strong_count(&self.inner) > 1 + usize::from(before.is_some()) {
            self.inner.before.set(before.take());
            *self = LongText::from(self.to_vec());
        }
        let start = self.before as usize;
        // SAFETY: this is the only handle but for a `Held`, which does not look while `before` is not in its place;
        // and what `self` has lent ended before.
        let all = unsafe { &mut *self.inner.bytes.get() };
        if let Some(before) = &mut before {
            let place = |at: usize| at.saturating_add(start);
            before.keep(all, place(changed.start)..place(changed.end));
        }
        all.truncate(all.len() - mem::take(&mut self.behind) as usize);
        let result = change(&mut TextMut {
            all,
            start: &mut self.before,
        });
        if let Some(before) = &mut before {
            before.start = before.start - start + self.before as usize;
        }
        self.inner.before.set(before);
        result
    }

    /// Whether what is held is no more than this handle's bytes, those that it will drop or move.
    fn sees(&self, held: &Before) -> bool {
        held.start >= self.before as usize
            && (self.behind == 0 || held.start + held.len <= self.before as usize + self.len())
    }

    /// A string of some of the bytes, given as a slice of them, which stay where they are. Nothing, if they are not
    /// nearly all that is kept.
    pub fn part(&self, part: &[u8]) -> Option<LongText> {
        let own = self.as_ptr_range();
        let bytes = part.as_ptr_range();
        let within = own.start <= bytes.start && bytes.end <= own.end;
        let before = self.before as usize + bytes.start.addr().checked_sub(own.start.addr())?;
        let behind = self.behind as usize + own.end.addr().checked_sub(bytes.end.addr())?;
        let nearly_all = before + behind <= part.len() / 16;
        (within && nearly_all).then_some(LongText {
            inner: Rc::clone(&self.inner),
            before: u32::try_from(before).ok()?,
            behind: u32::try_from(behind).ok()?,
        })
    }

    /// The bytes; a copy, if others have them, too.
    pub fn into_vec(self) -> Vec<u8> {
        let (before, behind) = (self.before as usize, self.behind as usize);
        match Rc::try_unwrap(self.inner) {
            Ok(inner) => {
                let mut bytes = inner.bytes.into_inner();
                bytes.truncate(bytes.len() - behind);
                bytes.drain(..before);
                bytes
            }
            Err(inner) => LongText { inner, ..self }.to_vec(),
        }
    }

    /// Holds the string as it is now.
    pub fn hold(&self) -> Held {
        let before = self.inner.before.take();
        let shared = before.is_some();
        let len = self.len();
        self.inner.before.set(before.or_else(|| {
            Some(Box::new(Before {
                start: self.before as usize,
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
        unsafe { &*self.inner.bytes.get() }.capacity()
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
        let inner = Rc::new(Inner {
            bytes: UnsafeCell::new(bytes),
            before: Cell::new(None),
        });
        LongText {
            inner,
            before: 0,
            behind: 0,
        }
    }
}

impl Deref for LongText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes change only in `edit`: through this handle it cannot be called while they are lent, and
        // another handle's makes a copy.
        let all = unsafe { &*self.inner.bytes.get() };
        &all[self.before as usize..all.len() - self.behind as usize]
    }
}

impl fmt::Debug for LongText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// The bytes of a string that is being changed.
pub struct TextMut<'a> {
    all: &'a mut Vec<u8>,
    /// Bytes before the string's own.
    start: &'a mut u32,
}

impl<'a> TextMut<'a> {
    /// Of a string that is a vector of its own; `start` is zero.
    pub fn new(all: &'a mut Vec<u8>, start: &'a mut u32) -> TextMut<'a> {
        TextMut { all, start }
    }

    /// Bytes that there is room for.
    pub fn capacity(&self) -> usize {
        self.all.capacity() - *self.start as usize
    }

    /// Makes room for so many bytes more, and no more.
    pub fn reserve_exact(&mut self, more: usize) {
        self.all.reserve_exact(more);
    }

    /// Adds bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.all.extend_from_slice(bytes);
    }

    /// Gives it this length, by zeros at its end or a cut.
    pub fn resize(&mut self, len: usize) {
        self.all.resize(*self.start as usize + len, 0);
    }

    /// Other bytes take the place of all.
    pub fn replace(&mut self, bytes: Vec<u8>) {
        (*self.all, *self.start) = (bytes, 0);
    }

    /// The bytes as a vector. They may have to be moved for that.
    pub fn whole(&mut self) -> &mut Vec<u8> {
        self.all.drain(..mem::take(self.start) as usize);
        self.all
    }
}

impl Deref for TextMut<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.all[*self.start as usize..]
    }
}

impl DerefMut for TextMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.all[*self.start as usize..]
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
        if self.shared {
            let at = self.next * BLOCK;
            read(&self.text[at..self.len.min(at + BLOCK)]);
        } else {
            let before = self.text.inner.before.take();
            // Invariant: it is there unless an edit is under way, and no edit reads what is held.
            let mut before = before.expect("what is held is not being changed");
            match before.blocks.remove(&self.next) {
                Some(block) => read(&block),
                None => {
                    // SAFETY: nobody changes the bytes meanwhile: see `Inner`.
                    let all = unsafe { &*self.text.inner.bytes.get() };
                    read(&all[before.place(self.next)]);
                }
            }
            before.next = self.next + 1;
            self.text.inner.before.set(Some(before));
        }
        self.next += 1;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.shared {
            // Were it gone, an edit under way would bring it back.
            let before = self.text.inner.before.take();
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

    /// A word of a request becomes a string where it is, and so it is changed.
    #[test]
    fn a_part_stays_where_it_is() {
        let request = LongText::from([&b"key "[..], &[1; 5 * BLOCK], b"\r\n"].concat());
        let word = &request[4..4 + 5 * BLOCK];
        let mut text = request.part(word).expect("nearly all");
        assert_eq!(text.as_ptr(), word.as_ptr());
        assert!(
            request.part(&request[..BLOCK]).is_none() && request.part(&[1; 5 * BLOCK]).is_none()
        );
        // The request is as it was while somebody has it.
        let mut copy = text.clone();
        copy.edit(0..1, |bytes| bytes[0] = 2);
        assert_eq!((copy[0], text[0], request[4]), (2, 1, 1));
        let place = text.as_ptr();
        drop(request);
        text.edit(0..1, |bytes| {
            bytes[0] = 3;
            bytes.extend_from_slice(b"more");
        });
        assert_eq!((text[0], &text[5 * BLOCK..]), (3, &b"more"[..]));
        let held = text.hold();
        text.edit(1..2, |bytes| bytes[1] = 4);
        assert_eq!(all(held)[..2], [3, 1]);
        assert!(
            text.len() == 5 * BLOCK + 4
                && (place == text.as_ptr() || text.capacity() > 5 * BLOCK + 8)
        );
        assert_eq!(text.clone().into_vec().len(), text.len());
        let whole = text.edit(0..usize::MAX, |bytes| bytes.whole().clone());
        assert_eq!(text.into_vec(), whole);
    }

    #[test]
    fn it_outlives_the_string_and_what_others_do_to_it() {
        let mut text = LongText::from(vec![1; 3 * BLOCK + 5]);
        let (first, second) = (text.hold(), text.hold());
        text.edit(0..usize::MAX, |bytes| bytes.resize(0));
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
            around in (0usize..40, 0usize..3),
            steps in prop::collection::vec((any::<bool>(), 0..6 * BLOCK, 1..2 * BLOCK, any::<u8>()), 1..20),
        ) {
            let old: Vec<u8> = (0..len).map(|n| (n / 7) as u8).collect();
            let whole = [&vec![7; around.0], &old[..], &vec![7; around.1]].concat();
            let frame = LongText::from(whole);
            let part = frame.part(&frame[around.0..][..len]);
            prop_assert_eq!(part.is_some(), around.0 + around.1 <= len / 16);
            let (mut text, mut model) = (part.unwrap_or(LongText::from(old.clone())), old.clone());
            drop(frame);
            let (mut held, mut read) = (text.hold(), Vec::new());
            for (reads, at, count, byte) in steps {
                if reads && !held.is_over() {
                    held.read(|block| read.extend_from_slice(block));
                    continue;
                }
                text.edit(at..at + count, |bytes| {
                    bytes.resize(bytes.len().max(at + count));
                    bytes[at..at + count].fill(byte);
                });
                model.resize(model.len().max(at + count), 0);
                model[at..at + count].fill(byte);
            }
            while !held.is_over() {
                held.read(|block| read.extend_from_slice(block));
            }
            prop_assert!(read == old && *text == *model);
        }
    }
}
