//! WATCH: each watched key has a version that rises with every change; a transaction compares. And who
//! [waits](Waits) for a key to change, or has [cached](Tracking) it, learns of it here too.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::tracking::Tracking;
use super::waits::Waits;

/// A key that one session watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The database it is in.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Its version when WATCH was called.
    pub version: u64,
    /// It was there when WATCH was called, but due to expire: that it goes is no change.
    pub was_expired: bool,
    /// It was not there when WATCH was called.
    pub was_absent: bool,
}

#[derive(Debug, Default)]
struct Version {
    version: u64,
    watchers: usize,
}

/// All keys whose changes some session wants to know of.
#[derive(Debug, Default)]
pub struct Watches {
    /// The blocking commands' keys.
    pub waits: Waits,
    /// What clients have cached.
    pub tracking: Tracking,
    keys: BTreeMap<(usize, Vec<u8>), Version>,
    watchers: usize,
}

impl Watches {
    /// Begins to watch a key; returns its version.
    pub fn watch(&mut self, db: usize, key: &[u8]) -> u64 {
        let entry = self.keys.entry((db, key.to_vec())).or_default();
        entry.watchers += 1;
        entry.version
    }

    /// Ends what [`Watches::watch`] began. True if the key is unchanged since.
    pub fn unwatch(&mut self, watched: &Watched) -> bool {
        let key = (watched.db, watched.key.clone());
        let Some(entry) = self.keys.get_mut(&key) else {
            return false;
        };
        let unchanged = entry.version == watched.version;
        entry.watchers -= 1;
        if entry.watchers == 0 {
            self.keys.remove(&key);
        }
        unchanged
    }

    /// The version of a key that is watched; 0 if it is not.
    pub fn version(&self, db: usize, key: &[u8]) -> u64 {
        self.keys.get(&(db, key.to_vec())).map_or(0, |v| v.version)
    }

    /// A key changed.
    #[inline]
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        self.touch_watchers(db, key);
        self.waits.touch(db, key);
    }

    /// A key changed in a way that nobody waits for.
    #[inline]
    pub fn touch_watchers(&mut self, db: usize, key: &[u8]) {
        self.touch_in_database(db, key);
        self.tracking.touch(key);
    }

    /// A key went by no command's will: it expired, or was evicted.
    #[inline]
    pub fn touch_by_nobody(&mut self, db: usize, key: &[u8]) {
        self.touch_in_database(db, key);
        self.waits.touch(db, key);
        self.tracking.touch_by_nobody(key);
    }

    /// A key changed with its whole database, of which those who wait or have it cached learn otherwise.
    #[inline]
    pub fn touch_in_database(&mut self, db: usize, key: &[u8]) {
        if !self.keys.is_empty() {
            self.touch_slow(db, key);
        }
    }

    #[cold]
    fn touch_slow(&mut self, db: usize, key: &[u8]) {
        if let Some(entry) = self.keys.get_mut(&(db, key.to_vec())) {
            entry.version += 1;
        }
    }

    /// All data was replaced.
    pub fn touch_all(&mut self) {
        self.keys.values_mut().for_each(|entry| entry.version += 1);
        self.waits.touch_database(None);
        self.tracking.touch_all();
    }

    /// The watched keys of a database, to be looked up before it is flushed or swapped.
    pub fn in_database(&self, db: usize) -> Vec<Vec<u8>> {
        self.keys
            .range((db, Vec::new())..(db + 1, Vec::new()))
            .map(|((_, key), _)| key.clone())
            .collect()
    }

    /// Number of watched keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of sessions that watch something.
    pub fn watchers(&self) -> usize {
        self.watchers
    }

    /// A session began (`true`) or ceased to watch.
    pub fn count_watcher(&mut self, begins: bool) {
        self.watchers = if begins {
            self.watchers + 1
        } else {
            self.watchers - 1
        };
    }
}
