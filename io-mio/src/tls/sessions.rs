//! Sessions that clients may resume: as many as `tls-session-cache-size` says, each for
//! `tls-session-cache-timeout` seconds.

use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At most so many, whatever the directive says (0 is "without limit" to Redis).
const MOST: u32 = 1 << 20;

/// The cache. (rustls's own has no time limit.)
#[derive(Debug)]
pub struct Sessions {
    limit: usize,
    lifetime: Duration,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_id: HashMap<Vec<u8>, (Vec<u8>, Instant)>,
    /// In the order in which they came; what was taken or replaced since is passed over.
    order: VecDeque<(Vec<u8>, Instant)>,
}

impl Sessions {
    /// An empty cache. A lifetime of 0 seconds ends at once.
    pub fn new(size: u32, lifetime_s: u32) -> Sessions {
        Sessions {
            limit: if size == 0 { MOST } else { size.min(MOST) } as usize,
            lifetime: Duration::from_secs(u64::from(lifetime_s)),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_at(&self, id: Vec<u8>, value: Vec<u8>, now: Instant) {
        let mut held = self.held();
        while held
            .order
            .front()
            .is_some_and(|(_, since)| now.duration_since(*since) >= self.lifetime)
            || held.order.len() >= self.limit
        {
            let Some((oldest, since)) = held.order.pop_front() else {
                break;
            };
            if held.by_id.get(&oldest).is_some_and(|(_, at)| *at == since) {
                held.by_id.remove(&oldest);
            }
        }
        held.order.push_back((id.clone(), now));
        held.by_id.insert(id, (value, now));
    }

    fn fresh(&self, found: (Vec<u8>, Instant), now: Instant) -> Option<Vec<u8>> {
        (now.duration_since(found.1) < self.lifetime).then_some(found.0)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(key, value, Instant::now());
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.held().by_id.get(key).cloned()?;
        self.fresh(found, Instant::now())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.held().by_id.remove(key)?;
        self.fresh(found, Instant::now())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_the_old_expire() {
        let cache = Sessions::new(2, 300);
        let start = Instant::now();
        for n in 1..=3 {
            cache.put_at(
                vec![n],
                vec![n * 10],
                start + Duration::from_secs(u64::from(n)),
            );
        }
        assert_eq!(cache.get(&[1]), None);
        assert_eq!(cache.get(&[2]), Some(vec![20]));
        assert_eq!(cache.take(&[3]), Some(vec![30]));
        assert_eq!(cache.take(&[3]), None);
        cache.put_at(vec![4], vec![40], start + Duration::from_secs(400));
        assert_eq!(cache.get(&[2]), None);
        assert_eq!(cache.held().order.len(), 1);
        let none = Sessions::new(0, 0);
        assert!(none.put(vec![1], vec![1]));
        assert_eq!(none.get(&[1]), None);
    }
}
