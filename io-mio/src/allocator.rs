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
use std::ptr;

/// What `MI_MAX_ALIGN_SIZE` says in `.cargo/config.toml`, and never less: the block sizes are multiples of it.
const GUARANTEED: usize = 8;

/// What Lua's allocations ask for.
const SIXTEEN: usize = 16;

/// mimalloc.
pub struct Allocator;

/// The block, or one that is aligned to 16 bytes: where sizes are multiples of it, blocks mostly are.
///
/// # Safety
/// `block` is null or one of mimalloc's with at least `size` bytes; it belongs to the caller, who takes what is
/// returned for it.
#[inline]
unsafe fn sixteen_aligned(size: usize, block: *mut u8) -> *mut u8 {
    if block.addr().is_multiple_of(SIXTEEN) {
        return block;
    }
    // SAFETY: as the caller promises; it is not null.
    unsafe { realigned(size, block) }
}

/// # Safety
/// As for [`sixteen_aligned`], and `block` is not null.
#[cold]
unsafe fn realigned(size: usize, block: *mut u8) -> *mut u8 {
    // SAFETY: any size may be asked for.
    let aligned: *mut u8 = unsafe { mi_malloc_aligned(size, SIXTEEN) }.cast();
    if aligned.is_null() {
        // Where the block came from another, that one is gone: there is no way back.
        std::process::abort();
    }
    // SAFETY: both have `size` bytes, and they are different blocks; the old one is not used any more.
    unsafe {
        ptr::copy_nonoverlapping(block, aligned, size);
        mi_free(block.cast());
    }
    aligned
}

// SAFETY: mimalloc's functions keep the contract of `GlobalAlloc`: blocks are disjoint, as large as asked for or
// larger, null when there is no memory, and never unwind. All its blocks are aligned to `GUARANTEED` bytes; for
// more the aligned calls are used. `mi_free` and the realloc functions take the blocks of either kind.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size();
        match layout.align() {
            // SAFETY: any size may be asked for.
            ..=GUARANTEED => unsafe { mi_malloc(size) }.cast(),
            SIXTEEN => {
                let size = size.next_multiple_of(SIXTEEN);
                // SAFETY: as above, and the block is new. A layout's size is far enough from the greatest.
                unsafe { sixteen_aligned(size, mi_malloc(size).cast()) }
            }
            // SAFETY: as above; a layout's alignment is a power of two.
            align => unsafe { mi_malloc_aligned(size, align) }.cast(),
        }
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
        let block = block.cast();
        match layout.align() {
            // SAFETY: the caller's block is ours, and is not used again if it moves.
            ..=GUARANTEED => unsafe { mi_realloc(block, size) }.cast(),
            SIXTEEN => {
                let size = size.next_multiple_of(SIXTEEN);
                // SAFETY: as above, and the block that comes of it is new.
                unsafe { sixteen_aligned(size, mi_realloc(block, size).cast()) }
            }
            // SAFETY: as above.
            align => unsafe { mi_realloc_aligned(block, size, align) }.cast(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_all_alignments_keep_their_bytes() {
        let mut blocks = Vec::new();
        for i in 0..4096usize {
            let layout = Layout::from_size_align(i % 700 + 1, 1 << (i % 8)).expect("a layout");
            // SAFETY: the layouts have sizes; each block is written within its size and freed once, below.
            unsafe {
                let block = Allocator.alloc(layout);
                block.write_bytes(i as u8, layout.size());
                let size = layout.size() * 2;
                let block = Allocator.realloc(block, layout, size);
                let layout = Layout::from_size_align(size, layout.align()).expect("a layout");
                blocks.push((block, layout, i as u8));
            }
        }
        for (block, layout, byte) in blocks {
            assert!(block.addr().is_multiple_of(layout.align()), "{layout:?}");
            // SAFETY: as above; the first half was written.
            unsafe {
                let kept = std::slice::from_raw_parts(block, layout.size() / 2);
                assert!(kept.iter().all(|b| *b == byte), "{layout:?}");
                Allocator.dealloc(block, layout);
            }
        }
    }

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
