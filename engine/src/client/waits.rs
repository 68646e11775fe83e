//! Who waits for which keys: the blocking commands' queues, in order of arrival.
//!
//! A blocking command that finds nothing leaves its request here (through [`super::Blocked::Keys`]). A change of
//! a key that somebody waits for makes the key ready; when the command that changed it is over, with the
//! transaction or script that it is in, the requests that wait for ready keys are carried out again, the
//! oldest first.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

use crate::face::ConnId;
use crate::resp::Arg;

/// What a blocking command waits for at its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitKind {
    /// A list.
    List,
    /// A sorted set.
    ZSet,
    /// A stream.
    Stream,
    /// A stream, for a consumer group: that it goes is an answer too.
    Group,
}

/// What a client is told whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// A null bulk.
    Bulk,
    /// A null array.
    Array,
}

/// A blocking command that waits: to be carried out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The database of its keys.
    pub db: usize,
    /// Its keys.
    pub keys: Box<[Box<[u8]>]>,
    /// What it waits for.
    pub kind: WaitKind,
    /// Monotonic time in microseconds at which it gives up.
    pub until_us: Option<u64>,
    /// What it is told then.
    pub null: Null,
    /// Number of the command in the table's index.
    pub number: u16,
    /// The request as RESP.
    pub request: Box<[u8]>,
    /// The words in it.
    pub args: Box<[Arg]>,
}

type DbKey = (usize, Vec<u8>);

/// All keys that somebody waits for.
#[derive(Debug, Default)]
pub struct Waits {
    /// Who waits for what at a key, by order of arrival.
    queues: BTreeMap<(DbKey, WaitKind), BTreeMap<u64, ConnId>>,
    /// The places in the queues.
    tickets: BTreeMap<ConnId, u64>,
    next_ticket: u64,
    /// Queues of consumer groups.
    groups: usize,
    /// Who gives up when.
    times: BTreeSet<(u64, ConnId)>,
    /// Keys that changed, in order.
    ready: VecDeque<DbKey>,
    in_ready: BTreeSet<DbKey>,
}

impl Waits {
    /// A connection begins to wait.
    pub fn add(&mut self, conn: ConnId, waiting: &Waiting) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        for key in &waiting.keys {
            let key = ((waiting.db, key.to_vec()), waiting.kind);
            let queue = self.queues.entry(key).or_default();
            self.groups += usize::from(queue.is_empty() && waiting.kind == WaitKind::Group);
            queue.insert(ticket, conn);
        }
        self.tickets.insert(conn, ticket);
        if let Some(until) = waiting.until_us {
            self.times.insert((until, conn));
        }
    }

    /// A connection waits no more.
    pub fn remove(&mut self, conn: ConnId, waiting: &Waiting) {
        let Some(ticket) = self.tickets.remove(&conn) else {
            return;
        };
        for key in &waiting.keys {
            let key = ((waiting.db, key.to_vec()), waiting.kind);
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.remove(&ticket);
                if queue.is_empty() {
                    self.groups -= usize::from(waiting.kind == WaitKind::Group);
                    self.queues.remove(&key);
                }
            }
        }
        if let Some(until) = waiting.until_us {
            self.times.remove(&(until, conn));
        }
    }

    /// A key changed.
    #[inline]
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        if !self.queues.is_empty() {
            self.touch_slow(db, key);
        }
    }

    #[cold]
    fn touch_slow(&mut self, db: usize, key: &[u8]) {
        let key = (db, key.to_vec());
        let from = (key, WaitKind::List);
        let waited_for = (self.queues.range(&from..).next()).is_some_and(|(k, _)| k.0 == from.0);
        if waited_for && self.in_ready.insert(from.0.clone()) {
            self.ready.push_back(from.0);
        }
    }

    /// All keys of a database may have changed (of all databases, if `None`).
    pub fn touch_database(&mut self, db: Option<usize>) {
        let keys: Vec<DbKey> = (self.queues.keys())
            .map(|(key, _)| key)
            .filter(|key| db.is_none_or(|db| db == key.0))
            .cloned()
            .collect();
        for (db, key) in keys {
            self.touch_slow(db, &key);
        }
    }

    /// Whether keys that somebody waits for have changed.
    #[inline]
    pub fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next key that changed.
    pub fn next_ready(&mut self) -> Option<(usize, Vec<u8>)> {
        let key = self.ready.pop_front()?;
        self.in_ready.remove(&key);
        Some(key)
    }

    /// Who waits longest for this at a key, of those whose tickets are among `tickets`; with his ticket.
    pub fn next_in_line(
        &self,
        key: &(usize, Vec<u8>),
        kind: WaitKind,
        tickets: Range<u64>,
    ) -> Option<(u64, ConnId)> {
        let queue = self.queues.get(&(key.clone(), kind))?;
        let (&ticket, &conn) = queue.range(tickets).next()?;
        Some((ticket, conn))
    }

    /// The ticket that the next to wait will get.
    pub fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// When the first gives up, in monotonic microseconds.
    pub fn deadline(&self) -> Option<u64> {
        self.times.first().map(|&(until, _)| until)
    }

    /// Somebody whose time is up.
    pub fn overdue(&self, mono_us: u64) -> Option<ConnId> {
        self.times
            .first()
            .filter(|&&(until, _)| until <= mono_us)
            .map(|&(_, conn)| conn)
    }

    /// Everybody who waits.
    pub fn conns(&self) -> Vec<ConnId> {
        self.tickets.keys().copied().collect()
    }

    /// Number of connections that wait.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Number of keys that somebody waits for.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// Of those, the ones whose going is waited for, too.
    pub fn keys_of_groups(&self) -> usize {
        self.groups
    }
}
