//! Gives free memory back to the system, on a thread of its own: for a hundred megabytes that takes tens of
//! milliseconds, which the poll loop would spend in the middle of a turn.
//!
//! The allocator does it when a block has been free for a second and some thread comes by. This one comes by more
//! often than the others.

use crate::{allocator, cpus, sys};
use std::io;
use std::thread;
use std::time::Duration;

/// Time between two looks, in milliseconds.
const EVERY_MS: u32 = 100;

/// Starts the thread, on these CPUs.
pub fn start(cpus: String) -> io::Result<()> {
    thread::Builder::new().name("purge".into()).spawn(move || {
        cpus::bind(&cpus);
        sys::yield_to_others();
        loop {
            thread::sleep(Duration::from_millis(EVERY_MS.into()));
            allocator::purge_expired(EVERY_MS);
        }
    })?;
    Ok(())
}
