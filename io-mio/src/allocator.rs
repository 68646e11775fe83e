//! The server's allocator: mimalloc, asked in the way that wastes least.
//!
//! The `mimalloc` crate's own allocator asks for every block by alignment. mimalloc 3 then takes a
//! block larger by the alignment less one unless the size is a power of two, and always on its slow path: an entry
//! of 40 bytes took 48. Blocks are aligned to [`GUARANTEED`] bytes anyway, so whoever needs no more is
//! served by the plain call.
#![allow(unsafe_code)]

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};
use std::alloc::{GlobalAlloc, Layout};

/// What `MI_MAX_ALIGN_SIZE` says in `.cargo/config.toml`, and never less: the block sizes are multiples of it.
const GUARANTEED: usize = 8;

/// mimalloc.
pub struct Allocator;

// SAFETY: mimalloc's functions keep the contract of `GlobalAlloc`: blocks are disjoint, as large as asked for or
// larger, null when there is no memory, and never unwind. All its blocks are aligned to `GUARANTEED` bytes; for
// more the aligned calls are used. `mi_free` and the realloc functions take the blocks of either kind.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= GUARANTEED {
            // SAFETY: any size may be asked for.
            unsafe { mi_malloc(layout.size()) }
        } else {
            // SAFETY: any size may be asked for; a layout's alignment is a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= GUARANTEED {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc(layout.size()) }
        } else {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller gives back a block of ours, once.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let block = if layout.align() <= GUARANTEED {
            // SAFETY: the caller's block is ours, and is not used again if it moves.
            unsafe { mi_realloc(block.cast(), size) }
        } else {
            // SAFETY: as above.
            unsafe { mi_realloc_aligned(block.cast(), size, layout.align()) }
        };
        block.cast()
    }
}

#[cfg(test)]
mod tests {
    /// Blocks of one size that are allocated one after the other lie side by side, so the least distance is
    /// what a block takes.
    #[test]
    fn a_block_takes_no_more_than_its_size_class() {
        for words in [3, 5, 6, 7, 28] {
            let blocks: Vec<Box<[u64]>> = (0..4096)
                .map(|_| vec![1; words].into_boxed_slice())
                .collect();
            let mut places: Vec<usize> = blocks.iter().map(|b| b.as_ptr().addr()).collect();
            places.sort_unstable();
            let apart = places.windows(2).map(|p| p[1] - p[0]).min();
            assert_eq!(apart, Some(words * 8), "blocks of {words} words");
        }
    }
}
