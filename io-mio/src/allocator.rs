//! The server's allocator: mimalloc, asked in the way that wastes least, and [`Mapped`] for large blocks.
//!
//! The `mimalloc` crate's own allocator asks for every block by alignment. mimalloc 3 then takes a
//! block larger by the alignment less one unless the size is a power of two, and always on its slow path: an entry
//! of 40 bytes took 48. Blocks are aligned to [`GUARANTEED`] bytes anyway, so whoever needs no more is
//! served by the plain call.
//!
//! Who made a large block is known from its size, and from mimalloc: a machine allows only so many mappings, and then
//! mimalloc, which makes large ones and cuts them up, serves large blocks, too.
#![allow(unsafe_code)]

use crate::mapped::{self, Mapped};
use libmimalloc_sys::{
    mi_free, mi_is_in_heap_region, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned,
    mi_zalloc, mi_zalloc_aligned,
};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

/// What `MI_MAX_ALIGN_SIZE` says in `.cargo/config.toml`, and never less: the block sizes are multiples of it.
const GUARANTEED: usize = 8;

/// What Lua's allocations ask for.
const SIXTEEN: usize = 16;

static MAPPED: Mapped = Mapped::new();

/// mimalloc, and large blocks beside it.
pub struct Allocator;

/// Gives memory back to the system that has been free for long enough. For a thread that comes by every
/// `round_ms` milliseconds.
pub fn purge_expired(round_ms: u32) {
    MAPPED.release(PATIENCE_MS / round_ms);
    // SAFETY: touches nothing but what the allocator knows to be free.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

/// Gives all free memory back to the system that is this thread's or nobody's.
pub fn purge() {
    MAPPED.release(0);
    // SAFETY: as above.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// How long large blocks are kept when they are free: as long as mimalloc keeps what it has.
const PATIENCE_MS: u32 = 1000;

/// Whether a layout is one for [`Mapped`].
#[inline]
const fn is_large(layout: Layout) -> bool {
    layout.size() >= mapped::LEAST && layout.align() <= mapped::ALIGN
}

/// Whether a block of this layout came from [`Mapped`].
#[inline]
fn is_mapped(block: *mut u8, layout: Layout) -> bool {
    // SAFETY: it looks the address up; what is there does not matter.
    is_large(layout) && !unsafe { mi_is_in_heap_region(block.cast()) }
}

/// `realloc`, if the block is large or is to be.
///
/// # Safety
/// As for [`GlobalAlloc::realloc`].
#[cold]
unsafe fn realloc_large(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller promises that the size is one that a layout may have.
    let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
    if is_large(wanted) && is_mapped(block, layout) {
        // SAFETY: as the caller promises.
        let grown = unsafe { MAPPED.realloc(block, layout.size(), size) };
        if !grown.is_null() {
            return grown;
        }
    }
    // SAFETY: the new block is another one, and both have as many bytes as are copied. The old one goes only when there
    // is a new one.
    unsafe {
        let moved = Allocator.alloc(wanted);
        if !moved.is_null() {
            ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
            Allocator.dealloc(block, layout);
        }
        moved
    }
}

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

// SAFETY: mimalloc's functions, and `Mapped`'s, keep the contract of `GlobalAlloc`: blocks are disjoint, as large as
// asked for or larger, null when there is no memory, and never unwind. All of mimalloc's blocks are aligned to
// `GUARANTEED` bytes; for more the aligned calls are used. `mi_free` and the realloc functions take the blocks of either
// kind, and `is_mapped` tells which are not mimalloc's.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size();
        if is_large(layout) {
            let block = MAPPED.alloc(size);
            if !block.is_null() {
                return block;
            }
        }
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
        if is_large(layout) {
            let block = MAPPED.alloc_zeroed(layout.size());
            if !block.is_null() {
                return block;
            }
        }
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
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapped(block, layout) {
            // SAFETY: the caller gives back a block of ours, once, with the layout that it was asked with.
            return unsafe { MAPPED.dealloc(block, layout.size()) };
        }
        // SAFETY: as above.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() >= mapped::LEAST || size >= mapped::LEAST {
            // SAFETY: as the caller promises.
            return unsafe { realloc_large(block, layout, size) };
        }
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

    #[test]
    fn blocks_of_all_sizes_keep_their_bytes() {
        const MIB: usize = 1 << 20;
        let sizes = [1, MIB, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 9 * MIB, 40 * MIB];
        for align in [1, 16, 4096, mapped::ALIGN, 2 * mapped::ALIGN] {
            let layout = |size| Layout::from_size_align(size, align).expect("a layout");
            for (old, new) in sizes.iter().flat_map(|old| sizes.map(|new| (*old, new))) {
                // SAFETY: the block is used within its size, and freed once.
                unsafe {
                    let block = Allocator.alloc(layout(old));
                    block.write_bytes(7, old);
                    let block = Allocator.realloc(block, layout(old), new);
                    let kept = std::slice::from_raw_parts(block, old.min(new));
                    assert!(
                        kept.iter().all(|byte| *byte == 7),
                        "{old} to {new}, {align}"
                    );
                    assert!(
                        block.addr().is_multiple_of(align),
                        "{old} to {new}, {align}"
                    );
                    block.write_bytes(8, new);
                    Allocator.dealloc(block, layout(new));
                    let zeros = Allocator.alloc_zeroed(layout(new));
                    let bytes = std::slice::from_raw_parts(zeros, new);
                    assert!(bytes.iter().all(|byte| *byte == 0), "{new}, {align}");
                    Allocator.dealloc(zeros, layout(new));
                }
            }
        }
    }

    /// They may have come from it when there were too many mappings.
    #[test]
    fn large_blocks_of_mimalloc_are_known_as_such() {
        let layout = Layout::from_size_align(3 << 20, 8).expect("a layout");
        let large = Layout::from_size_align(5 << 20, 8).expect("a layout");
        // SAFETY: the block is used within its size, and freed once.
        unsafe {
            let block: *mut u8 = mi_malloc(layout.size()).cast();
            block.write_bytes(7, layout.size());
            assert!(!is_mapped(block, layout));
            let block = Allocator.realloc(block, layout, large.size());
            assert!(is_mapped(block, large));
            assert_eq!((block.read(), block.add(layout.size() - 1).read()), (7, 7));
            Allocator.dealloc(block, large);
            Allocator.dealloc(mi_malloc(layout.size()).cast(), layout);
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
