//! Bytes on the heap whose place and length take twelve bytes: what small collections are made of.
//!
//! A `Vec<u8>` takes 24 and a `Box<[u8]>` 16, and neither leaves an enum around it room for its tag. With
//! these, a small collection is an enum of 16 bytes that lies in its key's entry, with one allocation of its
//! own. There is no spare capacity: the allocator has some in its size class, and growing within it
//! moves nothing.
#![allow(unsafe_code)]

use super::size_class::size_class;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::{self, ManuallyDrop};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

/// A `Box<[u8]>` of up to 4 GiB. See the module's description.
///
/// Invariant: `start` and `len` are of a `Box<[u8]>` that is ours alone.
#[repr(C, packed(4))]
pub(super) struct CompactBytes {
    start: NonNull<u8>,
    len: u32,
}

impl CompactBytes {
    /// Bytes that the allocation takes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_class(self.len as usize)
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        ManuallyDrop::new(self).take().into_vec()
    }

    /// Lets `change` make them more or fewer.
    pub(super) fn edit<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut bytes = mem::take(self).into_vec();
        let result = change(&mut bytes);
        *self = bytes.into();
        result
    }

    /// The box, to be called once, by who will not drop these bytes any more.
    fn take(&mut self) -> Box<[u8]> {
        let bytes = ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len as usize);
        // SAFETY: by the invariant they are a box, and it is taken once.
        unsafe { Box::from_raw(bytes) }
    }
}

impl From<Vec<u8>> for CompactBytes {
    /// # Panics
    /// There are more than 4 GiB: those who make collections larger turn to other structures long before.
    fn from(bytes: Vec<u8>) -> CompactBytes {
        assert!(u32::try_from(bytes.len()).is_ok(), "too many bytes");
        let len = bytes.len() as u32;
        let bytes = Box::leak(bytes.into_boxed_slice());
        CompactBytes {
            start: NonNull::from(bytes).cast(),
            len,
        }
    }
}

impl Default for CompactBytes {
    fn default() -> CompactBytes {
        Vec::new().into()
    }
}

impl Drop for CompactBytes {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Clone for CompactBytes {
    fn clone(&self) -> CompactBytes {
        self.to_vec().into()
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
        let copy = bytes.clone();
        bytes[0] ^= 1;
        assert!(copy != bytes);
        assert_eq!(copy.into_vec(), model);
        assert_eq!(CompactBytes::from(vec![1, 2]).memory_bytes(), 8);
    }
}
