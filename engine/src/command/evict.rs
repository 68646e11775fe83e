//! Eviction: what goes when `maxmemory` is reached.
//!
//! Least recently used, approximately: some keys are sampled, and the best candidates of all samples
//! so far are kept in a small pool, as Redis does since 3.0.
//! Source: <https://redis.io/docs/latest/develop/reference/eviction/>

use alloc::vec::Vec;

use super::context::{Parts, condition};
use crate::config::{MaxmemoryPolicy, NotifyEvents};
use crate::face::Now;

/// Keys deleted for one command at most: what is left to be freed then is freed by the next ones.
const MOST_AT_ONCE: usize = 128;

/// Candidates that the pool keeps.
const POOL: usize = 16;

/// The best candidates found so far. They may be gone, or used again, by the time they are looked at.
#[derive(Debug, Default)]
pub struct Pool {
    /// (idle seconds, database, key), the best last.
    candidates: Vec<(u32, usize, Vec<u8>)>,
}

/// Bytes that count against `maxmemory`.
pub fn used(parts: &Parts) -> u64 {
    parts.store.bytes() as u64
}

/// Evicts until the data fits into `maxmemory`, as far as the policy allows. False if it does not fit.
pub fn make_room(parts: &mut Parts, now: Now) -> bool {
    let limit = parts.config.maxmemory;
    if limit == 0 || used(parts) <= limit {
        return true;
    }
    if parts.is(condition::PAUSED) {
        return true;
    }
    // A replica's data is what its primary says.
    if parts.is(condition::REPLICA) && parts.config.replica_ignore_maxmemory {
        return true;
    }
    if parts.config.maxmemory_policy != MaxmemoryPolicy::AllkeysLru {
        return false;
    }
    for _ in 0..MOST_AT_ONCE {
        if used(parts) <= limit {
            return true;
        }
        let Some((db, key)) = candidate(parts, now) else {
            return false;
        };
        let key = parts.store.hasher().key(&key);
        if let Some(place) = parts.store.find(db, key) {
            parts.store.delete(db, key, place);
            parts.watches.touch(db, key.bytes);
            parts.notify(NotifyEvents::EVICTED, db, "evicted", key.bytes);
            parts.stats.evicted += 1;
            parts.changes += 1;
            let verb: &[u8] = if parts.config.lazyfree_lazy_eviction {
                b"UNLINK"
            } else {
                b"DEL"
            };
            parts.effects.begin();
            parts.effects.also(db, &[verb, key.bytes]);
            parts.effects.end(&mut parts.journal, db, false, &[], None);
        }
    }
    // More than this at once would make the client wait; the data shrinks with every command.
    used(parts) <= limit
}

/// A key worth evicting.
fn candidate(parts: &mut Parts, now: Now) -> Option<(usize, Vec<u8>)> {
    let clock = now.access_clock();
    for _ in 0..16 {
        for db in 0..parts.store.databases().len() {
            if parts.store.database(db).is_empty() {
                continue;
            }
            for _ in 0..parts.config.maxmemory_samples {
                let place = parts
                    .store
                    .database(db)
                    .table()
                    .sample(|| parts.random.word())?;
                let entry = parts.store.entry(db, place);
                let idle = clock.wrapping_sub(entry.access()) & 0xFF_FFFF;
                parts.pool.offer(idle, db, entry.key());
            }
        }
        while let Some((_, db, key)) = parts.pool.candidates.pop() {
            let hashed = parts.store.hasher().key(&key);
            if parts.store.find(db, hashed).is_some() {
                return Some((db, key));
            }
        }
    }
    None
}

impl Pool {
    fn offer(&mut self, idle: u32, db: usize, key: &[u8]) {
        let at = self.candidates.partition_point(|c| c.0 < idle);
        if self.candidates.len() == POOL {
            if at == 0 {
                return;
            }
            if self.candidates.iter().any(|c| c.1 == db && c.2 == key) {
                return;
            }
            self.candidates.remove(0);
            self.candidates.insert(at - 1, (idle, db, key.to_vec()));
        } else if !self.candidates.iter().any(|c| c.1 == db && c.2 == key) {
            self.candidates.insert(at, (idle, db, key.to_vec()));
        }
    }
}
