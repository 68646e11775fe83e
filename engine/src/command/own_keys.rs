//! Keys that the clients of a writable replica gave a time to live.
//!
//! A replica leaves expiry to its primary, whose DEL comes for every key that is due. For a key of the replica's own
//! none ever comes: so these are noted, and deleted here when they are due. Nothing is journalled, as nothing was
//! when they were written.

use super::context::{Parts, condition};
use super::execute::Request;
use super::table::Command;
use crate::client::{Session, alert};
use crate::config::NotifyEvents;
use crate::face::Now;
use alloc::vec::Vec;

/// A client's command has written: notes which of its keys have a deadline now, if this is a replica.
#[cold]
pub(super) fn note(
    parts: &mut Parts,
    session: &Session,
    command: &'static Command,
    request: &Request<'_>,
) {
    if session.is(alert::TRUSTED) {
        return;
    }
    let Parts {
        store, own_keys, ..
    } = parts;
    let word = |i: usize| request.args[i];
    // Words that contradict themselves name no keys: the command has said so.
    let _ = command.each_key(request.args.len(), word, |i, _| {
        let key = store.hasher().key(word(i));
        let place = store.find(session.db, key);
        if place.is_some_and(|place| store.entry(session.db, place).deadline().is_some()) {
            own_keys.insert((session.db, word(i).to_vec()));
        }
    });
}

/// Deletes those of the noted keys that are due, looking at `budget` of them; true if more may be due.
pub(crate) fn expire(parts: &mut Parts, now: Now, budget: usize) -> bool {
    if parts.own_keys.is_empty() || !parts.is(condition::REPLICA) {
        parts.own_keys.clear();
        return false;
    }
    // From where the last round ended, round and round.
    let from = core::mem::take(&mut parts.own_keys_from);
    let some: Vec<(usize, Vec<u8>)> =
        (parts.own_keys.range(from..).take(budget).cloned()).collect();
    let mut any = false;
    for (db, name) in &some {
        let key = parts.store.hasher().key(name);
        let place = parts.store.find(*db, key);
        match place.and_then(|place| Some((place, parts.store.entry(*db, place).deadline()?))) {
            Some((_, at)) if at >= now.unix_ms() => continue,
            Some((place, _)) => {
                any = true;
                parts.store.delete(*db, key, place);
                parts.watches.touch(*db, name);
                parts.notify(NotifyEvents::EXPIRED, *db, "expired", name);
                parts.stats.expired += 1;
            }
            None => {}
        }
        parts.own_keys.remove(&(*db, name.clone()));
    }
    let more = some.len() == budget;
    if more && let Some((db, mut name)) = some.into_iter().next_back() {
        name.push(0);
        parts.own_keys_from = (db, name);
    }
    more && any
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::face::Input;

    #[test]
    fn what_a_replicas_own_clients_wrote_expires_and_the_primarys_waits_for_it() {
        let mut e = engine();
        run(&mut e, "SET theirs v PX 5");
        run(&mut e, "CONFIG SET replica-read-only no");
        run(&mut e, "REPLICAOF 10.0.0.1 7000");
        run(&mut e, "SET ours v PX 5");
        run(&mut e, "SET again v PX 5");
        run(&mut e, "PERSIST again");
        run(&mut e, "SET later v PX 500");
        for ms in [0, 200] {
            e.handle(after_ms(ms), Input::Tick);
        }
        assert_eq!(e.parts.stats.expired, 1);
        assert_eq!(e.parts.own_keys.len(), 1);
        assert_eq!(run_at(&mut e, after_ms(200), "DBSIZE"), ":3");
        run_at(&mut e, after_ms(300), "REPLICAOF NO ONE");
        e.handle(after_ms(500), Input::Tick);
        assert!(e.parts.own_keys.is_empty());
    }

    #[test]
    fn who_writes_nothing_makes_no_key_the_replicas_own() {
        let mut e = engine();
        run(&mut e, "PFADD theirs v");
        run(&mut e, "PEXPIRE theirs 5");
        run(&mut e, "REPLICAOF 10.0.0.1 7000");
        run(&mut e, "PFCOUNT theirs");
        let script = "\"return redis.pcall('set', KEYS[1], 'v')\"";
        let reply = run(&mut e, &alloc::format!("EVAL {script} 1 theirs"));
        assert!(reply.starts_with("-READONLY"), "{reply}");
        run(&mut e, "CONFIG SET replica-read-only no");
        run(&mut e, "SET theirs v NX");
        assert!(e.parts.own_keys.is_empty());
        e.handle(after_ms(200), Input::Tick);
        assert_eq!(e.parts.stats.expired, 0);
        // A script's writes are its own.
        run(&mut e, &alloc::format!("EVAL {script} 1 ours"));
        let expire = "\"redis.call('pexpire', KEYS[1], 5)\"";
        run(&mut e, &alloc::format!("EVAL {expire} 1 ours"));
        assert_eq!(e.parts.own_keys.len(), 1);
    }

    #[test]
    fn a_lower_maxmemory_evicts_at_once() {
        let mut e = engine();
        run(&mut e, "SET k v");
        run(
            &mut e,
            "CONFIG SET maxmemory-policy allkeys-lru maxmemory 1",
        );
        assert_eq!(e.parts.stats.evicted, 1);
    }
}
