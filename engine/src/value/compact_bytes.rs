//! Bytes on the heap whose place and length take twelve bytes: what small collections are made of.
//!
//! A `Vec<u8>` takes 24 and a `Box<[u8]>` 16, and neither leaves an enum around it room for its tag. With
//! these, a small collection is an enum of 16 bytes that lies in its key's entry, with one allocation of its
//! own. The capacity stands nowhere: it is the allocator's size class for the length, so that growing within it
//! asks nobody.
#![allow(unsafe_code)]

use super::size_class::size_class;
use alloc::vec::Vec;
use core::mem::{self, ManuallyDrop};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Up to 4 GiB. See the module's description.
///
/// Invariant: `start` and `len` are those of a `Vec<u8>` of capacity `size_class(len)` that is ours alone.
#[repr(C, packed(2))]
pub(super) struct CompactBytes {
    start: NonNull<u8>,
    len: u32,
}

impl CompactBytes {
    /// A copy, in an allocation of its own that is no larger than it must be.
    pub(super) fn copy_of(bytes: &[u8]) -> CompactBytes {
        let mut copy = Vec::with_capacity(size_class(bytes.len()));
        copy.extend_from_slice(bytes);
        copy.into()
    }

    /// Bytes that the allocation takes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_class(self.len as usize)
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        ManuallyDrop::new(self).take()
    }

    /// Lets `change` make them more or fewer.
    #[inline]
    pub(super) fn edit<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut bytes = mem::take(self).into_vec();
        let result = change(&mut bytes);
        *self = bytes.into();
        result
    }

    /// Makes the `old` bytes at `at` into `new` bytes, still to be written.
    pub(super) fn open(&mut self, at: usize, old: usize, new: usize) {
        let len = self.len as usize;
        let total = len - old + new;
        if new > old {
            self.edit(|bytes| {
                reserve(bytes, total);
                bytes.resize(total, 0);
                bytes.copy_within(at + old..len, at + new);
            });
        } else if new < old {
            self.edit(|bytes| {
                bytes.copy_within(at + old..len, at + new);
                bytes.truncate(total);
            });
        }
    }

    /// The vector, to be called once, by who will not drop these bytes any more.
    fn take(&mut self) -> Vec<u8> {
        let len = self.len as usize;
        // SAFETY: by the invariant they are a vector's, and it is taken once.
        unsafe { Vec::from_raw_parts(self.start.as_ptr(), len, size_class(len)) }
    }
}

/// Makes room for `total` bytes in all.
#[inline]
pub(super) fn reserve(bytes: &mut Vec<u8>, total: usize) {
    if total > bytes.capacity() {
        bytes.reserve_exact(size_class(total) - bytes.len());
    }
}

impl From<Vec<u8>> for CompactBytes {
    /// # Panics
    /// There are more than 4 GiB: those who make collections larger turn to other structures long before.
    #[inline]
    fn from(mut bytes: Vec<u8>) -> CompactBytes {
        let len = bytes.len();
        assert!(u32::try_from(len).is_ok(), "too many bytes");
        if bytes.capacity() != size_class(len) {
            bytes = of_its_class(bytes);
        }
        let mut bytes = ManuallyDrop::new(bytes);
        CompactBytes {
            // SAFETY: a vector's pointer is never null.
            start: unsafe { NonNull::new_unchecked(bytes.as_mut_ptr()) },
            len: len as u32,
        }
    }
}

/// The same bytes, with just the capacity of their size class.
fn of_its_class(mut bytes: Vec<u8>) -> Vec<u8> {
    let (len, class) = (bytes.len(), size_class(bytes.len()));
    if bytes.capacity() > class {
        bytes.shrink_to(class);
    } else {
        bytes.reserve_exact(class - len);
    }
    if bytes.capacity() != class {
        // A vector may take more than it was asked to; a box may not.
        bytes.resize(class, 0);
        bytes = bytes.into_boxed_slice().into_vec();
        bytes.truncate(len);
    }
    bytes
}

impl Default for CompactBytes {
    #[inline]
    fn default() -> CompactBytes {
        CompactBytes {
            // As an empty vector, whose class is 0 bytes.
            start: NonNull::dangling(),
            len: 0,
        }
    }
}

impl Drop for CompactBytes {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Clone for CompactBytes {
    fn clone(&self) -> CompactBytes {
        CompactBytes::copy_of(self)
    }
}

impl Deref for CompactBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: by the invariant they are ours, and borrowed as long as we are.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for CompactBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: by the invariant they are ours alone, and borrowed as long as we are.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

impl PartialEq for CompactBytes {
    fn eq(&self, other: &CompactBytes) -> bool {
        **self == **other
    }
}

impl Eq for CompactBytes {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn as_a_vector() {
        let mut bytes = CompactBytes::default();
        assert!(bytes.is_empty() && size_of::<CompactBytes>() == 12);
        let mut model = Vec::new();
        for n in 0..2000u32 {
            if n % 7 == 6 {
                let gone = bytes.edit(|b| b.split_off(n as usize / 2));
                assert_eq!(gone, model.split_off(n as usize / 2));
            } else {
                bytes.edit(|b| b.extend_from_slice(&n.to_le_bytes()));
                model.extend_from_slice(&n.to_le_bytes());
            }
            let at = n as usize % model.len();
            bytes[at] ^= 0xFF;
            model[at] ^= 0xFF;
            assert_eq!(*bytes, model[..]);
        }
        for (at, old, new) in [
            (0, 0, 5),
            (7, 3, 500),
            (100, 300, 0),
            (50, 9, 9),
            (0, 60, 1),
        ] {
            bytes.open(at, old, new);
            bytes[at..at + new].fill(7);
            model.splice(at..at + old, vec![7; new]);
            assert_eq!(*bytes, model[..]);
        }
        let copy = bytes.clone();
        bytes[0] ^= 1;
        assert!(copy != bytes);
        assert_eq!(copy.into_vec(), model);
        assert_eq!(CompactBytes::from(vec![1, 2]).memory_bytes(), 8);
    }
}
