//! Eviction: what goes when `maxmemory` is reached.
//!
//! By the policy: keys of which some are sampled, and the best candidates of all samples so far are kept in a
//! small pool, as Redis does since 3.0 (LRU, LFU, TTL); or any key (random). The `volatile-` policies take only
//! keys that expire. The index of deadlines would tell exactly which key expires first, but that is worse: where
//! deadlines have little to do with use, the exact order throws out each new key that would be the next to expire,
//! however often it is asked for, and a cache had half as many hits (`hit_ratio`).
//! Source: <https://redis.io/docs/latest/develop/reference/eviction/>

use alloc::vec::Vec;

use super::access;
use super::context::{Parts, condition};
use crate::config::{MaxmemoryPolicy, NotifyEvents};
use crate::face::Now;
use crate::store::Place;

/// Keys deleted for one command at most: what is left to be freed then is freed by the next ones.
const MOST_AT_ONCE: usize = 128;

/// Candidates that the pool keeps.
const POOL: usize = 16;

/// The best candidates found so far. They may be gone, or used again, by the time they are looked at.
#[derive(Debug, Default)]
pub struct Pool {
    /// (score, database, key), the best last.
    candidates: Vec<(u64, usize, Vec<u8>)>,
    /// What the scores mean.
    policy: Option<MaxmemoryPolicy>,
    /// Where the search for keys that expire goes on.
    cursor: (u64, u64),
    /// The database that the next random key comes from.
    next_db: usize,
}

/// Bytes that count against `maxmemory`: the data, and what else is accounted for but replicas' buffers and the log
/// that they and the append-only file read.
pub fn used(parts: &Parts) -> u64 {
    super::memory::fixed_bytes(parts)
        + parts.store.bytes() as u64
        + parts.clients.weight()
        + parts.scripts.cache_bytes as u64
        + parts.watches.tracking.memory() as u64
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
    if parts.config.maxmemory_policy == MaxmemoryPolicy::NoEviction {
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
            parts.watches.touch_by_nobody(db, key.bytes);
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
    use MaxmemoryPolicy::{
        AllkeysLfu, AllkeysLru, AllkeysRandom, NoEviction, VolatileLfu, VolatileLru,
        VolatileRandom, VolatileTtl,
    };
    let policy = parts.config.maxmemory_policy;
    match policy {
        NoEviction => None,
        AllkeysLru | AllkeysLfu | VolatileLru | VolatileLfu | VolatileTtl => {
            by_score(parts, now, policy)
        }
        AllkeysRandom | VolatileRandom => {
            let count = parts.store.databases().len();
            (0..count).find_map(|_| {
                parts.pool.next_db = (parts.pool.next_db + 1) % count;
                let db = parts.pool.next_db;
                let place = sample(parts, db, policy == VolatileRandom)?;
                Some((db, parts.store.entry(db, place).key().to_vec()))
            })
        }
    }
}

/// How often a key that expires is looked for among all keys, before the index of deadlines is asked: that
/// gives one in any case, but next to the one before, and neighbours in time are alike.
const DRAWS: usize = 16;

/// Some key of a database, or some key that expires.
fn sample(parts: &mut Parts, db: usize, expiring: bool) -> Option<Place> {
    let Parts {
        store,
        random,
        pool,
        ..
    } = parts;
    let database = store.database(db);
    if !expiring {
        return database.table().sample(|| random.word());
    }
    if database.expires() == 0 {
        return None;
    }
    for _ in 0..DRAWS {
        let place = database.table().sample(|| random.word())?;
        if store.entry(db, place).deadline().is_some() {
            return Some(place);
        }
    }
    let (at, place) = store.next_expiring(db, pool.cursor)?;
    pool.cursor = at;
    Some(place)
}

/// The best of the pool, after some more keys were looked at.
fn by_score(parts: &mut Parts, now: Now, policy: MaxmemoryPolicy) -> Option<(usize, Vec<u8>)> {
    use MaxmemoryPolicy::{VolatileLfu, VolatileLru, VolatileTtl};
    let lfu = access::is_lfu(&parts.config);
    let expiring = matches!(policy, VolatileLfu | VolatileLru | VolatileTtl);
    if parts.pool.policy.replace(policy) != Some(policy) {
        parts.pool.candidates.clear();
    }
    for _ in 0..16 {
        for db in 0..parts.store.databases().len() {
            if parts.store.database(db).is_empty() {
                continue;
            }
            for _ in 0..parts.config.maxmemory_samples {
                let Some(place) = sample(parts, db, expiring) else {
                    break;
                };
                let entry = parts.store.entry(db, place);
                let score = if policy == VolatileTtl {
                    u64::MAX - entry.deadline().unwrap_or(u64::MAX)
                } else if lfu {
                    let decay_time = parts.config.lfu_decay_time;
                    u64::from(255 - access::frequency(decay_time, now, entry.access()))
                } else {
                    access::idle_s(now, entry.access()).into()
                };
                parts.pool.offer(score, db, entry.key());
            }
        }
        while let Some((_, db, key)) = parts.pool.candidates.pop() {
            let hashed = parts.store.hasher().key(&key);
            let place = parts.store.find(db, hashed);
            // It may be gone by now, or not expire any more.
            if place
                .is_some_and(|place| !expiring || parts.store.entry(db, place).deadline().is_some())
            {
                return Some((db, key));
            }
        }
    }
    None
}

impl Pool {
    fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        let at = self.candidates.partition_point(|c| c.0 < score);
        if self.candidates.len() == POOL {
            if at == 0 {
                return;
            }
            if self.candidates.iter().any(|c| c.1 == db && c.2 == key) {
                return;
            }
            self.candidates.remove(0);
            self.candidates.insert(at - 1, (score, db, key.to_vec()));
        } else if !self.candidates.iter().any(|c| c.1 == db && c.2 == key) {
            self.candidates.insert(at, (score, db, key.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::super::testing::*;
    use crate::Engine;

    /// Keys `kept…` without and `timed…` with a deadline, the first of which are used often; then, with
    /// another minute gone by, so little room that a third of the data must go. Returns how many are left of
    /// the keys without a deadline, of those with one, and of those used often.
    fn after_pressure(policy: &str) -> (usize, usize, usize) {
        let mut engine = engine();
        for i in 0..300 {
            run(&mut engine, &format!("SET kept{i:03} {i:0100}"));
            run(
                &mut engine,
                &format!("SET timed{i:03} {i:0100} EX {}", 1000 + i),
            );
        }
        let later = after_ms(60_000);
        for _ in 0..30 {
            for i in 0..50 {
                run_at(&mut engine, later, &format!("GET kept{i:03}"));
                run_at(&mut engine, later, &format!("GET timed{i:03}"));
            }
        }
        // A third of the data must go.
        let limit = super::used(&engine.parts) - engine.parts.store.bytes() as u64 / 3;
        run_at(
            &mut engine,
            later,
            &format!("CONFIG SET maxmemory-policy {policy} maxmemory-samples 10"),
        );
        run_at(&mut engine, later, &format!("CONFIG SET maxmemory {limit}"));
        run_at(&mut engine, later, "SET more 1");
        run_at(&mut engine, later, "SET more 1");
        let left = |engine: &mut Engine, name: &str, range: core::ops::Range<u32>| {
            range
                .filter(|i| run_at(engine, later, &format!("EXISTS {name}{i:03}")) == ":1")
                .count()
        };
        let kept = left(&mut engine, "kept", 0..300);
        let timed = left(&mut engine, "timed", 0..300);
        let hot = left(&mut engine, "kept", 0..50) + left(&mut engine, "timed", 0..50);
        assert!(super::used(&engine.parts) <= limit, "{policy}");
        assert!(kept + timed > 200, "{policy}");
        (kept, timed, hot)
    }

    #[test]
    fn each_policy_takes_what_it_should() {
        let (kept, timed, hot) = after_pressure("allkeys-lru");
        assert!(
            kept < 300 && timed < 300 && hot > 95,
            "{kept} {timed} {hot}"
        );
        let (kept, timed, hot) = after_pressure("volatile-lru");
        assert!(
            kept == 300 && timed < 150 && hot > 95,
            "{kept} {timed} {hot}"
        );
        let (kept, timed, _) = after_pressure("allkeys-random");
        assert!(kept < 300 && timed < 300, "{kept} {timed}");
        let (kept, timed, hot) = after_pressure("volatile-random");
        assert!(
            kept == 300 && timed < 150 && hot < 90,
            "{kept} {timed} {hot}"
        );
        // The hot keys expire first.
        let (kept, timed, hot) = after_pressure("volatile-ttl");
        assert!(
            kept == 300 && timed < 150 && hot < 60,
            "{kept} {timed} {hot}"
        );
    }

    #[test]
    fn what_is_used_often_stays_under_lfu() {
        let mut engine = engine();
        run(
            &mut engine,
            "CONFIG SET maxmemory-policy allkeys-lfu maxmemory-samples 10",
        );
        for i in 0..300 {
            run(&mut engine, &format!("SET k{i:03} {i:0100}"));
        }
        for _ in 0..30 {
            for i in 0..50 {
                run(&mut engine, &format!("GET k{i:03}"));
            }
        }
        let hits = run(&mut engine, "OBJECT FREQ k000");
        assert!(hits.as_str() > ":5" || hits.len() > 2, "{hits}");
        // A scan of the rest, once, later: under LRU it would drive the others out.
        for i in 50..300 {
            run_at(&mut engine, after_ms(10_000), &format!("GET k{i:03}"));
        }
        let limit = super::used(&engine.parts) - engine.parts.store.bytes() as u64 / 3;
        run(&mut engine, &format!("CONFIG SET maxmemory {limit}"));
        run(&mut engine, "SET more 1");
        run(&mut engine, "SET more 1");
        let left = (0..50).filter(|i| run(&mut engine, &format!("EXISTS k{i:03}")) == ":1");
        assert!(left.count() > 45);
    }
}
