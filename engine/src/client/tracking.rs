//! Client-side caching: who is told when which keys change.
//!
//! A client that tracks is remembered with each key that it reads (by its number, which is never used again), and
//! told once when the key changes; or it asks for prefixes, and is told of every change of keys that begin with
//! them, whoever read them. What is to be told is worked out where keys change, waits here as [`Notice`]s, and is
//! written when the replies are that it must not come between.
//!
//! ```text
//! read  ─▶ keys:     key    ─▶ readers      change ─▶ a notice for each reader, and the key is forgotten
//! CLIENT ─▶ prefixes: prefix ─▶ listeners    change ─▶ collected; at the end of the turn a notice for each listener
//! ```
//!
//! A client that goes, or ceases to track, stays among the readers until the key changes: to look for it among
//! all keys would take long. Databases are not told apart. While nobody tracks, a change costs one test.
//! Source: <https://redis.io/docs/latest/develop/reference/client-side-caching/>

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

/// How a session tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// The number of the client that is told in this one's stead; 0: this one.
    pub redirect: u64,
    /// Prefixes, instead of what it reads.
    pub broadcast: bool,
    /// Only what is read right after CLIENT CACHING YES.
    pub opt_in: bool,
    /// All but what is read right after CLIENT CACHING NO.
    pub opt_out: bool,
    /// It is not told of its own changes.
    pub no_loop: bool,
    /// CLIENT CACHING was its last command, or was given in its transaction.
    pub caching: bool,
    /// Whom it redirects to was not there when there was something to tell.
    pub broken: bool,
    /// What it listens to, in broadcast mode.
    pub prefixes: BTreeSet<Box<[u8]>>,
    /// Bytes of the prefixes.
    pub prefix_bytes: usize,
    /// In the session of a script: the keys that the script declared. They count as read whenever it reads any.
    pub declared: Option<Vec<Box<[u8]>>>,
}

impl Mode {
    /// Whether what is read now is to be remembered.
    pub fn remembers(&self) -> bool {
        !self.broadcast && (!self.opt_in || self.caching) && (!self.opt_out || !self.caching)
    }

    /// Bytes of memory, roughly.
    pub fn memory(&self) -> usize {
        size_of::<Mode>() + self.prefix_bytes + self.prefixes.len() * 32
    }
}

/// Something that a client is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The client's number.
    pub client: u64,
    /// Who changed it; 0: nobody (it expired, say).
    pub by: u64,
    /// It is for a client that listens to prefixes; otherwise for one that read the key.
    pub broadcast: bool,
    /// The keys as an array in RESP; `None`: all keys.
    pub keys: Option<Bytes>,
}

/// The numbers of those who have read a key, in order.
type Readers = SmallVec<[u64; 2]>;

/// Who listens to a prefix, and what changed under it since the last broadcast.
#[derive(Debug, Default)]
struct Prefix {
    listeners: BTreeSet<u64>,
    /// Each key with who changed it last.
    changed: BTreeMap<Box<[u8]>, u64>,
}

/// The keys that somebody may have cached. See the module's documentation.
#[derive(Debug, Default)]
pub struct Tracking {
    /// Somebody tracks.
    on: bool,
    clients: BTreeSet<u64>,
    keys: BTreeMap<Box<[u8]>, Readers>,
    /// The readers of all keys together.
    items: usize,
    /// Bytes of all keys' names.
    key_bytes: usize,
    prefixes: BTreeMap<Box<[u8]>, Prefix>,
    /// Keys changed under prefixes.
    to_broadcast: bool,
    due: VecDeque<Notice>,
    /// Whose command runs; 0: nobody's.
    current: u64,
    /// The key that was last dropped because there were too many: the next after it is the next to go.
    cursor: Box<[u8]>,
    /// How often in a row dropping did not reach the limit.
    attempts: usize,
    /// What was forgotten all at once, to be freed in steps.
    garbage: Vec<BTreeMap<Box<[u8]>, Readers>>,
}

/// Keys dropped in one go; a multiple of it, if that was not enough before.
const DROPPED: usize = 100;

/// An array with one key, in RESP.
fn array_of(key: &[u8]) -> Bytes {
    array(core::iter::once(key), 1)
}

fn array<'a>(keys: impl Iterator<Item = &'a [u8]>, count: usize) -> Bytes {
    use crate::value::number::write_i64;
    let mut out = Vec::new();
    out.push(b'*');
    write_i64(&mut out, count as i64);
    out.extend_from_slice(b"\r\n");
    for key in keys {
        out.push(b'$');
        write_i64(&mut out, key.len() as i64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }
    out.into()
}

impl Tracking {
    /// Whether anybody tracks.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// A client begins to track, or goes on and listens to more prefixes.
    pub fn add_client<'a>(&mut self, id: u64, prefixes: impl IntoIterator<Item = &'a [u8]>) {
        self.clients.insert(id);
        self.on = true;
        for prefix in prefixes {
            let entry = self.prefixes.entry(prefix.into()).or_default();
            entry.listeners.insert(id);
        }
    }

    /// A client ceases to track.
    pub fn remove_client(&mut self, id: u64, mode: &Mode) {
        self.clients.remove(&id);
        for prefix in &mode.prefixes {
            if let Some(entry) = self.prefixes.get_mut(prefix) {
                entry.listeners.remove(&id);
                if entry.listeners.is_empty() {
                    self.prefixes.remove(prefix);
                }
            }
        }
        self.on = !self.clients.is_empty();
        if !self.on {
            self.forget_keys();
            self.due.clear();
        }
    }

    /// Forgets who read what.
    fn forget_keys(&mut self) {
        self.items = 0;
        self.key_bytes = 0;
        self.attempts = 0;
        let old = core::mem::take(&mut self.keys);
        if !old.is_empty() {
            self.garbage.push(old);
        }
    }

    /// Frees some of what was forgotten; false if there is more.
    pub fn free_some(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some(last) = self.garbage.last_mut() else {
                break;
            };
            if last.pop_first().is_none() {
                self.garbage.pop();
            }
        }
        self.garbage.is_empty()
    }

    /// From now on keys are changed by the command of this client (0: by nobody's). Returns whose it was before.
    pub fn set_current(&mut self, id: u64) -> u64 {
        core::mem::replace(&mut self.current, id)
    }

    /// A client has read a key.
    pub fn remember(&mut self, id: u64, key: &[u8]) {
        let readers = match self.keys.get_mut(key) {
            Some(readers) => readers,
            None => {
                self.key_bytes += key.len();
                self.keys.entry(key.into()).or_default()
            }
        };
        if let Err(at) = readers.binary_search(&id) {
            readers.insert(at, id);
            self.items += 1;
        }
    }

    /// A key was changed by the running command.
    #[inline]
    pub fn touch(&mut self, key: &[u8]) {
        if self.on {
            self.touched(key, self.current);
        }
    }

    /// A key changed, but by no command's will: it expired, or was evicted.
    #[inline]
    pub fn touch_by_nobody(&mut self, key: &[u8]) {
        if self.on {
            self.touched(key, 0);
        }
    }

    #[cold]
    fn touched(&mut self, key: &[u8], by: u64) {
        self.note_prefixes(key, by);
        self.invalidate(key);
    }

    /// Tells the readers of a key, and forgets them.
    fn invalidate(&mut self, key: &[u8]) {
        let Some(readers) = self.keys.remove(key) else {
            return;
        };
        self.items -= readers.len();
        self.key_bytes -= key.len();
        let keys = array_of(key);
        let by = self.current;
        self.due.extend(readers.into_iter().map(|client| Notice {
            client,
            by,
            broadcast: false,
            keys: Some(keys.clone()),
        }));
    }

    /// Notes a changed key at all prefixes of it that somebody listens to.
    fn note_prefixes(&mut self, key: &[u8], by: u64) {
        // In name order, a key's prefixes come before it, the longest last. What is found on the way back and is none
        // shares some bytes with it: a prefix can have no more than those.
        let mut end = key;
        let mut bound = Bound::Included(end);
        loop {
            let range = (Bound::Unbounded, bound);
            let Some((prefix, entry)) = self.prefixes.range_mut::<[u8], _>(range).next_back()
            else {
                return;
            };
            if key.starts_with(prefix) {
                entry.changed.insert(key.into(), by);
                self.to_broadcast = true;
                end = &key[..prefix.len()];
                bound = Bound::Excluded(end);
            } else {
                let common = (prefix.iter().zip(end).take_while(|(a, b)| a == b)).count();
                end = &key[..common];
                bound = Bound::Included(end);
            }
        }
    }

    /// All data went, or was replaced.
    pub fn touch_all(&mut self) {
        if !self.on {
            return;
        }
        let by = self.current;
        self.due.extend(self.clients.iter().map(|&client| Notice {
            client,
            by,
            broadcast: false,
            keys: None,
        }));
        self.forget_keys();
    }

    /// Makes notices of what changed under prefixes. `skips_own` says of a listener whether it is spared its own
    /// changes.
    pub fn broadcast(&mut self, skips_own: impl Fn(u64) -> bool) {
        if !core::mem::take(&mut self.to_broadcast) {
            return;
        }
        for prefix in self.prefixes.values_mut() {
            let changed = core::mem::take(&mut prefix.changed);
            if changed.is_empty() {
                continue;
            }
            let all = array(changed.keys().map(|key| &**key), changed.len());
            for &client in &prefix.listeners {
                let mut keys = all.clone();
                if skips_own(client) && changed.values().any(|&by| by == client) {
                    let others = || changed.iter().filter(|&(_, &by)| by != client);
                    let count = others().count();
                    if count == 0 {
                        continue;
                    }
                    keys = array(others().map(|(key, _)| &**key), count);
                }
                self.due.push_back(Notice {
                    client,
                    by: 0,
                    broadcast: true,
                    keys: Some(keys),
                });
            }
        }
    }

    /// Whether there is something to tell.
    #[inline]
    pub fn any_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// What there is to tell, in order.
    pub fn take_due(&mut self) -> VecDeque<Notice> {
        core::mem::take(&mut self.due)
    }

    /// Puts back what could not be told yet; nothing came in between.
    pub fn put_back(&mut self, due: VecDeque<Notice>) {
        self.due = due;
    }

    /// Whether more keys are remembered than `most` (0: any number).
    pub fn exceeds(&self, most: u64) -> bool {
        most > 0 && self.keys.len() as u64 > most
    }

    /// Drops some keys if there are more than `most`, as if they had changed. More in one go, the more often it was
    /// not enough.
    pub fn drop_excess(&mut self, most: u64) {
        let effort = DROPPED * (self.attempts + 1);
        for _ in 0..effort {
            if !self.exceeds(most) {
                break;
            }
            let after = (Bound::Excluded(&*self.cursor), Bound::Unbounded);
            let next = self.keys.range::<[u8], _>(after).next();
            let Some(key) = next
                .or_else(|| self.keys.first_key_value())
                .map(|(k, _)| k.clone())
            else {
                break;
            };
            self.invalidate(&key);
            self.cursor = key;
        }
        self.attempts = if self.exceeds(most) {
            self.attempts + 1
        } else {
            0
        };
    }

    /// Number of clients that track.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Number of keys that somebody may have cached.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The readers of all keys together.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Bytes of memory, roughly.
    pub fn memory(&self) -> usize {
        const OF_KEY: usize = 56;
        self.key_bytes
            + self.keys.len() * OF_KEY
            + self.items.saturating_sub(2 * self.keys.len()) * 8
    }

    /// Number of prefixes that somebody listens to.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader() -> Mode {
        Mode::default()
    }

    fn listener(prefixes: &[&str]) -> Mode {
        Mode {
            broadcast: true,
            prefixes: prefixes.iter().map(|p| p.as_bytes().into()).collect(),
            ..Mode::default()
        }
    }

    fn told(tracking: &mut Tracking) -> Vec<(u64, Option<Bytes>)> {
        let due = tracking.take_due();
        due.into_iter().map(|n| (n.client, n.keys)).collect()
    }

    #[test]
    fn each_reader_is_told_once() {
        let mut tracking = Tracking::default();
        tracking.touch(b"k");
        tracking.add_client(1, []);
        tracking.add_client(2, []);
        tracking.remember(2, b"k");
        tracking.remember(1, b"k");
        tracking.remember(1, b"k");
        assert_eq!((tracking.keys(), tracking.items()), (1, 2));
        tracking.touch(b"other");
        tracking.touch(b"k");
        tracking.touch(b"k");
        let k = || Some(Bytes::from_static(b"*1\r\n$1\r\nk\r\n"));
        assert_eq!(told(&mut tracking), [(1, k()), (2, k())]);
        assert_eq!((tracking.keys(), tracking.items()), (0, 0));
    }

    #[test]
    fn a_flush_is_told_to_all_who_track_and_forgets_the_rest() {
        let mut tracking = Tracking::default();
        tracking.add_client(1, []);
        tracking.add_client(2, [&b"x"[..]]);
        tracking.remember(1, b"a");
        tracking.touch_all();
        tracking.touch(b"a");
        assert_eq!(told(&mut tracking), [(1, None), (2, None)]);
        assert!(tracking.free_some(2));
        tracking.remove_client(1, &reader());
        assert!(tracking.is_on());
        tracking.remove_client(2, &listener(&["x"]));
        assert!(!tracking.is_on());
        assert_eq!(tracking.prefixes(), 0);
    }

    #[test]
    fn a_listener_is_spared_what_it_changed_last() {
        let mut tracking = Tracking::default();
        tracking.add_client(1, [&b""[..]]);
        tracking.set_current(1);
        tracking.touch(b"a");
        tracking.touch(b"b");
        tracking.touch_by_nobody(b"b");
        tracking.broadcast(|_| true);
        let b = Some(Bytes::from_static(b"*1\r\n$1\r\nb\r\n"));
        assert_eq!(told(&mut tracking), [(1, b)]);
        tracking.touch(b"a");
        tracking.broadcast(|_| true);
        assert!(!tracking.any_due());
    }

    #[test]
    fn too_many_keys_are_dropped_with_growing_effort() {
        let mut tracking = Tracking::default();
        tracking.add_client(1, []);
        for n in 0..350 {
            tracking.remember(1, alloc::format!("{n}").as_bytes());
        }
        tracking.drop_excess(0);
        assert_eq!(tracking.keys(), 350);
        tracking.drop_excess(10);
        assert_eq!(tracking.keys(), 250);
        tracking.drop_excess(10);
        assert_eq!(tracking.keys(), 50);
        tracking.drop_excess(10);
        assert_eq!((tracking.keys(), told(&mut tracking).len()), (10, 340));
    }

    proptest! {
        /// Whatever prefixes there are, a key is noted at those that it begins with.
        #[test]
        fn keys_meet_their_prefixes(
            prefixes in prop::collection::btree_set("[ab]{0,4}", 0..12),
            keys in prop::collection::vec("[ab]{0,5}", 0..12),
        ) {
            let mut tracking = Tracking::default();
            for (n, prefix) in prefixes.iter().enumerate() {
                tracking.add_client(n as u64 + 1, [prefix.as_bytes()]);
            }
            for key in &keys {
                tracking.touch(key.as_bytes());
            }
            tracking.broadcast(|_| false);
            let mut expected = Vec::new();
            for (n, prefix) in prefixes.iter().enumerate() {
                let mut mine: Vec<&[u8]> = (keys.iter())
                    .filter(|key| key.starts_with(prefix.as_str()))
                    .map(|key| key.as_bytes())
                    .collect();
                mine.sort_unstable();
                mine.dedup();
                if !mine.is_empty() {
                    expected.push((n as u64 + 1, Some(array(mine.iter().copied(), mine.len()))));
                }
            }
            prop_assert_eq!(told(&mut tracking), expected);
        }
    }
}
