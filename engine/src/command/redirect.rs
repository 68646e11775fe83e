//! The cluster's gate: commands on keys that are another node's are sent there.
//!
//! All keys of a command, or of a transaction's commands together, must be in one slot. What is to be done
//! about that slot is the cluster's to say ([`Cluster::route`]).

use super::context::Parts;
use super::error::CommandError;
use super::execute::Request;
use super::table::{Command, flag};
use crate::client::{Session, alert};
use crate::cluster::{Cluster, RouteRequest, slot_of};
use crate::face::Now;
use crate::store::Store;

const CROSS_SLOT: CommandError =
    CommandError::fixed("CROSSSLOT Keys in request don't hash to the same slot");

/// The error that tells a client to go elsewhere; `None` if the command is for us.
pub(super) fn redirect(
    parts: &Parts,
    session: &Session,
    now: Now,
    command: &'static Command,
    request: &Request<'_>,
) -> Option<CommandError> {
    let cluster = parts.cluster.as_deref()?;
    let mut keys = Keys {
        cluster,
        store: &parts.store,
        now,
        slot: None,
        open: false,
        several: false,
        cross_slot: false,
        here: 0,
        missing: 0,
    };
    let mut flags = command.flags;
    if command.name == "exec" {
        let multi = session.multi.as_ref()?;
        flags |= multi.flags & flag::WRITE;
        for queued in &multi.queue {
            let command = *parts.index.all().get(usize::from(queued.number))?;
            let word = |i: usize| queued.args[i].of(&queued.request);
            keys.add(command, queued.args.len(), word, None);
        }
    } else {
        let word = |i: usize| request.args[i];
        keys.add(command, request.args.len(), word, request.first_hash);
    }
    let (slot, _) = keys.slot?;
    // That nobody has the slot is said before anything else.
    if keys.cross_slot && cluster.is_served(slot) {
        return Some(CROSS_SLOT);
    }
    // Who waits for keys already was let in, and waits on while its slot is on its way.
    let waits = session.blocked.is_some();
    let route = RouteRequest {
        slot,
        write: flags & flag::WRITE != 0,
        multi_key: keys.several,
        migrate: command.name == "migrate",
        pubsub_shard: matches!(command.name, "ssubscribe" | "sunsubscribe" | "spublish"),
        readonly_session: session.is(alert::READONLY),
        asking: waits || session.is(alert::ASKING) || flags & flag::ASKING != 0,
        keys_here: keys.here,
        keys_missing: if waits { 0 } else { keys.missing },
        plain_client: super::cluster::is_plain(session),
    };
    cluster.route(now, &route).error().map(CommandError::text)
}

/// What is found out about the keys, one after the other.
struct Keys<'a> {
    cluster: &'a Cluster,
    store: &'a Store,
    now: Now,
    /// The first key's slot, and that key.
    slot: Option<(u16, &'a [u8])>,
    /// The slot is on its way in or out.
    open: bool,
    /// There are different keys.
    several: bool,
    cross_slot: bool,
    here: usize,
    missing: usize,
}

impl<'a> Keys<'a> {
    /// Adds the keys of a command of `words` words; the first one's hash may be known.
    fn add(
        &mut self,
        command: &Command,
        words: usize,
        word: impl Fn(usize) -> &'a [u8],
        first_hash: Option<u64>,
    ) {
        // Words that contradict themselves name no keys: the command will say so.
        let _ = command.each_key(words, &word, |i, _| self.add_key(word(i), first_hash));
    }

    fn add_key(&mut self, key: &'a [u8], first_hash: Option<u64>) {
        match self.slot {
            None => {
                // In cluster mode a hash begins with the slot.
                let slot = first_hash.map_or_else(|| slot_of(key), |hash| (hash >> 50) as u16);
                debug_assert_eq!(slot, slot_of(key));
                self.slot = Some((slot, key));
                self.open = self.cluster.is_open(slot);
            }
            Some((_, first)) if first == key => {}
            Some((slot, _)) => {
                self.several = true;
                self.cross_slot |= slot_of(key) != slot;
            }
        }
        if self.open && self.is_here(key) {
            self.here += 1;
        } else if self.open {
            self.missing += 1;
        }
    }

    fn is_here(&self, key: &[u8]) -> bool {
        let place = self.store.find(0, self.store.hasher().key(key));
        let deadline = place.map(|place| self.store.entry(0, place).deadline());
        deadline.is_some_and(|at| at.is_none_or(|at| at >= self.now.unix_ms()))
    }
}
