//! When page faults are served by huge pages, of 2 MiB.
//!
//! Large data is found faster in them: a virtual machine looks up a small page in two tables of four levels each. But
//! a fault that gets one clears 2 MiB, the longest of all turns; and a small server takes some megabytes more by them.
//! So they are allowed once the process is of some size, and not while a snapshot is under way, which promises that
//! nobody notices it. What was mapped before they were allowed is put together then, once, by a thread of its own.

use crate::sys;
use std::fs;
use std::thread;

/// Memory of a process from which on they are worth what they cost.
const FROM: u64 = 48 * 1024 * 1024;

/// What is allowed now.
pub struct Pages {
    huge: bool,
    /// What was there before has been put together.
    collapsed: bool,
}

impl Pages {
    /// At the start of a process: none.
    pub fn small() -> Pages {
        sys::allow_huge_pages(false);
        Pages {
            huge: false,
            collapsed: false,
        }
    }

    /// Allows them or not, for a process of so many bytes.
    pub fn choose(&mut self, rss_bytes: u64, snapshot: bool) {
        let huge = rss_bytes >= FROM && !snapshot;
        if huge == self.huge {
            return;
        }
        self.huge = huge;
        sys::allow_huge_pages(huge);
        if huge && !std::mem::replace(&mut self.collapsed, true) {
            // If it cannot be started, the pages stay as they are.
            let _ = thread::Builder::new().name("pages".into()).spawn(collapse);
        }
    }
}

/// Puts all anonymous memory together. <https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html>
fn collapse() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some("rw-p"), Some(_), Some(_), Some("0"), None) = (
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            continue;
        };
        let address = |text| usize::from_str_radix(text, 16).ok();
        let range = range
            .split_once('-')
            .map(|(start, end)| (address(start), address(end)));
        if let Some((Some(start), Some(end))) = range {
            sys::collapse(start..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_stays_what_it_is() {
        let words: Vec<usize> = (0..1 << 20).collect();
        collapse();
        assert!(words.iter().enumerate().all(|(i, word)| i == *word));
    }
}
