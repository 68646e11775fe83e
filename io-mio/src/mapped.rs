//! Large blocks: each is mapped by itself, so that it grows and shrinks by moving pages, not bytes.
//!
//! ```text
//! alloc ──▶ block ──▶ free: waits for a second ──▶ given back to the system, by the purge thread
//!   ▲         │ grows: page tables move               │
//!   │         ▼ shrinks: its end waits                │
//!   └── as warm memory, whole or a part ◀─────────────┘
//! ```
//!
//! To copy 200 MB takes a hundred milliseconds and more, most of it for the pages that are touched for the first time;
//! to move their page tables takes 60 µs, provided that both places begin where a page table does ([`ALIGN`]). To give
//! the pages back takes 1 to 15 ms, which is not for a thread that serves clients; and most of them are wanted again
//! soon: memory that was in use already is five times as fast to fill as new memory.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Blocks from this size on are mapped: what is copied when a block becomes large takes less than a millisecond. And two
/// mebibytes are a page table, and a huge page: smaller blocks would have neither.
pub const LEAST: usize = if cfg!(target_os = "linux") {
    ALIGN
} else {
    usize::MAX
};

/// Where blocks begin: at multiples of this.
pub const ALIGN: usize = 2 << 20;

/// Lengths of mappings are multiples of this, which is one of each size that pages have.
const GRAIN: usize = 64 << 10;

/// Given back to the system at a time, so that other threads need not wait for all of it.
const STEP: usize = 4 << 20;

/// Free ranges that may wait. What comes when all places are taken is given back at once.
const PLACES: usize = 4096;

/// Ranges looked at for one to use again, of those that came last.
const LOOKED_AT: usize = 64;

/// Blocks of [`LEAST`] bytes and more.
pub struct Mapped {
    waiting: Mutex<Waiting>,
    /// Bytes mapped, in blocks or waiting.
    bytes: AtomicUsize,
}

/// The length of a block's mapping.
const fn mapping(size: usize) -> usize {
    size.next_multiple_of(GRAIN)
}

impl Mapped {
    /// None yet.
    pub const fn new() -> Mapped {
        Mapped {
            waiting: Mutex::new(Waiting {
                ranges: [const { Free::NONE }; PLACES],
                count: 0,
            }),
            bytes: AtomicUsize::new(0),
        }
    }

    /// A block of so many bytes, of any content; null if there is none.
    pub fn alloc(&self, size: usize) -> *mut u8 {
        let len = mapping(size);
        let found = self.waiting.try_lock().ok().and_then(|mut w| w.take(len));
        match found {
            Some(start) => ptr::with_exposed_provenance_mut(start),
            None => self.fresh(len),
        }
    }

    /// A block of so many zeros; null if there is none. Pages that are never touched take no memory.
    pub fn alloc_zeroed(&self, size: usize) -> *mut u8 {
        self.fresh(mapping(size))
    }

    /// # Safety
    /// `block` is one of this type's, of `size` bytes, and not used any more.
    pub unsafe fn dealloc(&self, block: *mut u8, size: usize) {
        let start = block.expose_provenance();
        // SAFETY: the block's mapping belongs to nobody else.
        unsafe { self.discard(start..start + mapping(size)) };
    }

    /// The block with another size, perhaps elsewhere; null if that is impossible, and then it stays as it is.
    ///
    /// # Safety
    /// `block` is one of this type's, of `old` bytes. It is not used any more unless null is returned.
    pub unsafe fn realloc(&self, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        let (from, to) = (mapping(old), mapping(new));
        if to > from {
            // SAFETY: as the caller promises.
            return unsafe { self.grow(block, from, to) };
        }
        if to < from {
            let start = block.expose_provenance();
            // SAFETY: the end of the mapping is no longer used.
            unsafe { self.discard(start + to..start + from) };
        }
        block
    }

    /// Gives back to the system what is free and saw this called `rounds` times before.
    pub fn release(&self, rounds: u32) {
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.grow_older();
        }
        let oldest = || self.waiting.lock().ok()?.take_older(rounds);
        while let Some(range) = oldest() {
            // SAFETY: what waits belongs to nobody.
            unsafe { self.unmap(range) };
        }
    }

    /// # Safety
    /// The range is mapped and belongs to nobody else.
    unsafe fn discard(&self, range: Range<usize>) {
        let taken = self.waiting.try_lock().is_ok_and(|mut w| w.add(&range));
        if !taken {
            // SAFETY: as the caller promises.
            unsafe { self.unmap(range) };
        }
    }

    /// New memory.
    fn fresh(&self, len: usize) -> *mut u8 {
        let block = reserve(len, libc::PROT_READ | libc::PROT_WRITE);
        if !block.is_null() {
            self.bytes.fetch_add(len, Ordering::Relaxed);
            advise_huge(block, len);
        }
        block
    }

    /// # Safety
    /// The block's mapping has `from` bytes.
    #[cfg(target_os = "linux")]
    unsafe fn grow(&self, block: *mut u8, from: usize, to: usize) -> *mut u8 {
        // SAFETY: the mapping is the block's own; it stays where it is.
        let mut grown = unsafe { libc::mremap(block.cast(), from, to, 0) };
        if grown == libc::MAP_FAILED {
            let place: *mut libc::c_void = reserve(to, libc::PROT_NONE).cast();
            if place.is_null() {
                return ptr::null_mut();
            }
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            // SAFETY: the place was reserved for this: nothing else is there.
            grown = unsafe { libc::mremap(block.cast(), from, to, flags, place) };
            if grown == libc::MAP_FAILED {
                // SAFETY: as above.
                unsafe { libc::munmap(place, to) };
                return ptr::null_mut();
            }
        }
        self.bytes.fetch_add(to - from, Ordering::Relaxed);
        grown.cast()
    }

    /// # Safety
    /// The block's mapping has `from` bytes.
    #[cfg(not(target_os = "linux"))]
    unsafe fn grow(&self, _block: *mut u8, _from: usize, _to: usize) -> *mut u8 {
        ptr::null_mut()
    }

    /// # Safety
    /// The range is mapped and belongs to nobody else.
    unsafe fn unmap(&self, range: Range<usize>) {
        self.bytes.fetch_sub(range.len(), Ordering::Relaxed);
        let place = |at| ptr::with_exposed_provenance_mut(at);
        for at in range.clone().step_by(STEP) {
            // While pages are given back so, others may map and unmap.
            // SAFETY: as the caller promises.
            unsafe { libc::madvise(place(at), STEP.min(range.end - at), libc::MADV_DONTNEED) };
        }
        // If the system refuses, for it would have too many mappings, what stays has no pages.
        // SAFETY: as above.
        unsafe { libc::munmap(place(range.start), range.len()) };
    }
}

/// An address where `len` bytes, a multiple of [`GRAIN`], are mapped, at a multiple of [`ALIGN`]; null if there is none.
fn reserve(len: usize, protection: libc::c_int) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let Some(room) = len.checked_add(ALIGN) else {
        return ptr::null_mut();
    };
    // SAFETY: a new mapping touches no other.
    let start = unsafe { libc::mmap(ptr::null_mut(), room, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let before = start.addr().next_multiple_of(ALIGN) - start.addr();
    let after = room - before - len;
    let block = start.wrapping_byte_add(before);
    // SAFETY: these are parts of the new mapping, before and after what is wanted. (A start that is aligned already has
    // nothing before it, and the system says so.)
    unsafe {
        libc::munmap(start, before);
        libc::munmap(block.byte_add(len), after);
    }
    block.cast()
}

/// Lets it have huge pages, as mimalloc does with its memory, if they are allowed at all: see `pages.rs`.
#[cfg(target_os = "linux")]
fn advise_huge(block: *mut u8, len: usize) {
    // SAFETY: the mapping is new; this changes how it is mapped, not what is in it.
    unsafe { libc::madvise(block.cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_block: *mut u8, _len: usize) {}

/// Free ranges of memory; those that came last are at the end.
struct Waiting {
    ranges: [Free; PLACES],
    count: usize,
}

#[derive(Clone, Copy)]
struct Free {
    start: usize,
    len: usize,
    /// How often [`Mapped::release`] saw it.
    rounds: u32,
}

impl Free {
    const NONE: Free = Free {
        start: 0,
        len: 0,
        rounds: 0,
    };
}

impl Waiting {
    /// False if there is no place for it.
    fn add(&mut self, range: &Range<usize>) -> bool {
        let place = self.ranges.get_mut(self.count);
        let found = place.is_some();
        if let Some(place) = place {
            *place = Free {
                start: range.start,
                len: range.len(),
                rounds: 0,
            };
            self.count += 1;
        }
        found
    }

    /// `len` bytes at a multiple of [`ALIGN`], of the smallest of some ranges that has them.
    fn take(&mut self, len: usize) -> Option<usize> {
        let lately = self.count.saturating_sub(LOOKED_AT)..self.count;
        let (i, _) = (self.ranges[lately.clone()].iter().enumerate())
            .filter(|(_, free)| free.len >= len && free.start.is_multiple_of(ALIGN))
            .min_by_key(|(_, free)| free.len)?;
        let at = lately.start + i;
        let free = &mut self.ranges[at];
        let start = free.start;
        (free.start, free.len) = (start + len, free.len - len);
        if free.len == 0 {
            self.remove(at);
        }
        Some(start)
    }

    fn grow_older(&mut self) {
        for free in &mut self.ranges[..self.count] {
            free.rounds = free.rounds.saturating_add(1);
        }
    }

    /// One that is older than so many rounds.
    fn take_older(&mut self, rounds: u32) -> Option<Range<usize>> {
        let at = (self.ranges[..self.count].iter()).rposition(|free| free.rounds > rounds)?;
        let Free { start, len, .. } = self.ranges[at];
        self.remove(at);
        Some(start..start + len)
    }

    /// The order stays.
    fn remove(&mut self, at: usize) {
        self.ranges.copy_within(at + 1..self.count, at);
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    /// One that is not the allocator's, so that what it maps can be counted.
    fn mapped() -> Box<Mapped> {
        Box::new(Mapped::new())
    }

    /// Bytes that tell where they are, one in each kilobyte and the last.
    fn places(size: usize) -> impl Iterator<Item = usize> {
        (0..size).step_by(1024).chain([size - 1])
    }

    fn byte(at: usize, seed: u8) -> u8 {
        (at / 1024) as u8 ^ seed
    }

    unsafe fn fill(block: *mut u8, size: usize, seed: u8) {
        places(size).for_each(|at| unsafe { block.add(at).write(byte(at, seed)) });
    }

    unsafe fn holds(block: *mut u8, size: usize, seed: u8) -> bool {
        let end = size - 1;
        places(size)
            .take_while(|at| *at < end)
            .all(|at| unsafe { block.add(at).read() } == byte(at, seed))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Blocks keep what is in them while they and others grow, shrink, go and come, and all is given back at the end.
        #[test]
        fn blocks_keep_their_bytes(steps in prop::collection::vec((0..6usize, 0..5u8, LEAST..6 * MIB), 1..40)) {
            let mapped = mapped();
            let mut blocks: [Option<(*mut u8, usize, u8)>; 6] = [None; 6];
            for (n, (which, what, size)) in steps.into_iter().enumerate() {
                let seed = n as u8;
                // SAFETY: blocks are used within their sizes, and given back once.
                unsafe {
                    blocks[which] = match (blocks[which], what) {
                        (None, 0) => {
                            let block = mapped.alloc_zeroed(size);
                            prop_assert!(places(size).all(|at| block.add(at).read() == 0));
                            fill(block, size, seed);
                            Some((block, size, seed))
                        }
                        (None, _) => {
                            let block = mapped.alloc(size);
                            fill(block, size, seed);
                            Some((block, size, seed))
                        }
                        (Some((block, old, seed)), 0) => {
                            prop_assert!(holds(block, old, seed));
                            mapped.dealloc(block, old);
                            None
                        }
                        (Some((block, old, seed)), 1) => {
                            mapped.release(u32::from(seed) % 3);
                            Some((block, old, seed))
                        }
                        (Some((block, old, seed)), _) => {
                            let block = mapped.realloc(block, old, size);
                            prop_assert!(!block.is_null() && block.addr().is_multiple_of(ALIGN));
                            prop_assert!(holds(block, old.min(size), seed));
                            fill(block, size, seed);
                            Some((block, size, seed))
                        }
                    };
                }
            }
            for (block, size, seed) in blocks.into_iter().flatten() {
                // SAFETY: as above.
                unsafe {
                    prop_assert!(holds(block, size, seed));
                    mapped.dealloc(block, size);
                }
            }
            mapped.release(0);
            prop_assert_eq!(mapped.bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn what_is_freed_is_used_again_and_given_back_when_nobody_wants_it() {
        let mapped = mapped();
        let bytes = || mapped.bytes.load(Ordering::Relaxed);
        // SAFETY: each block is given back once.
        unsafe {
            let block = mapped.alloc(6 * MIB);
            mapped.dealloc(block, 6 * MIB);
            assert_eq!(mapped.alloc(2 * MIB), block);
            assert_eq!(mapped.alloc(2 * MIB).addr(), block.addr() + 2 * MIB);
            assert_eq!(bytes(), 6 * MIB);
            mapped.release(1);
            assert_eq!(bytes(), 6 * MIB);
            mapped.release(1);
            assert_eq!(bytes(), 4 * MIB);
            let other = mapped.alloc_zeroed(3 * MIB);
            assert_eq!(other.read(), 0);
            for (block, size) in [
                (block, 2 * MIB),
                (block.add(2 * MIB), 2 * MIB),
                (other, 3 * MIB),
            ] {
                mapped.dealloc(block, size);
            }
        }
        mapped.release(0);
        assert_eq!(bytes(), 0);
    }

    #[test]
    fn what_finds_no_place_to_wait_is_given_back_at_once() {
        let mapped = mapped();
        let blocks: Vec<_> = (0..PLACES + 2).map(|_| mapped.alloc(LEAST)).collect();
        for block in blocks {
            // SAFETY: each is given back once.
            unsafe { mapped.dealloc(block, LEAST) };
        }
        assert_eq!(mapped.bytes.load(Ordering::Relaxed), PLACES * LEAST);
        mapped.release(0);
        assert_eq!(mapped.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_cannot_be_had_is_null_and_the_block_stays() {
        let (mapped, most) = (mapped(), isize::MAX as usize);
        assert!(mapped.alloc(most).is_null() && mapped.alloc_zeroed(most).is_null());
        // SAFETY: the block is used within its size, and given back once.
        unsafe {
            let block = mapped.alloc(LEAST);
            block.write(7);
            assert!(mapped.realloc(block, LEAST, most).is_null());
            assert_eq!(block.read(), 7);
            mapped.dealloc(block, LEAST);
        }
    }
}
