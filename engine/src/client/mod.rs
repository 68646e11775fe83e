//! Sessions: what the engine knows of each connection, and its output.

mod census;
mod events;
pub mod limits;
mod session;
mod subscriptions;
pub mod tracking;
mod waits;
mod watch;
mod weights;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::face::ConnId;

pub use census::Census;
pub use events::{KeyEvent, KeyEvents};
pub use session::{Blocked, Multi, Queued, ReplyMode, Session, WaitWish, alert};
pub use subscriptions::{Channels, Scope, Subscriptions};
pub use waits::{Null, WaitKind, Waiting, Waits};
pub use watch::{Watched, Watches};
use weights::Weights;

/// All client connections. A session that carries out a command is taken out meanwhile, and put back.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Box<Session>>>,
    by_id: BTreeMap<u64, ConnId>,
    next_id: u64,
    ready: VecDeque<ConnId>,
    /// Sessions whose replies wait: until the journal is safe up to an offset.
    held: VecDeque<(u64, ConnId)>,
    /// Sessions with requests to go on with though nothing new came in.
    resume: VecDeque<ConnId>,
    /// Connections to be closed as soon as the running command is over.
    doomed: Vec<ConnId>,
    weights: Weights,
    counting: census::Counting,
}

impl Clients {
    /// The number for the next client.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Adds a session.
    pub fn add(&mut self, session: Session) {
        let index = session.conn.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.by_id.insert(session.id, session.conn);
        self.slots[index] = Some(Box::new(session));
    }

    /// Removes a session.
    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Session>> {
        let mut session = self.take(conn)?;
        self.unweigh(&mut session);
        self.by_id.remove(&session.id);
        Some(session)
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A session.
    #[inline]
    pub fn get(&self, conn: ConnId) -> Option<&Session> {
        self.slots
            .get(conn.index())?
            .as_deref()
            .filter(|s| s.conn == conn)
    }

    /// A session, to be changed.
    #[inline]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.slots
            .get_mut(conn.index())?
            .as_deref_mut()
            .filter(|s| s.conn == conn)
    }

    /// Takes a session out, to carry out a command for it. [`Clients::put`] must follow.
    #[inline]
    pub fn take(&mut self, conn: ConnId) -> Option<Box<Session>> {
        self.slots
            .get_mut(conn.index())?
            .take_if(|s| s.conn == conn)
    }

    /// Puts a session back.
    #[inline]
    pub fn put(&mut self, session: Box<Session>) {
        let index = session.conn.index();
        self.slots[index] = Some(session);
    }

    /// All sessions that are not taken out, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values().filter_map(|&conn| self.get(conn))
    }

    /// The connections of all sessions, in the order of their numbers.
    pub fn conns(&self) -> Vec<ConnId> {
        self.by_id.values().copied().collect()
    }

    /// The connection of the client with this number.
    pub fn by_id(&self, id: u64) -> Option<ConnId> {
        self.by_id.get(&id).copied()
    }

    /// Whether sessions are weighed.
    #[inline]
    pub fn weighs(&self) -> bool {
        self.weights.on
    }

    /// Has sessions weighed from now on, or no longer.
    pub fn set_weighing(&mut self, on: bool) {
        if core::mem::replace(&mut self.weights.on, on) == on {
            return;
        }
        self.weights = Weights::default();
        self.weights.on = on;
        for conn in self.conns() {
            if let Some(session) = self.get_mut(conn) {
                session.weight = Default::default();
                self.weigh(conn);
            }
        }
    }

    /// Weighs a session that is not taken out.
    #[inline]
    pub fn weigh(&mut self, conn: ConnId) {
        if self.weights.on
            && let Some(mut session) = self.take(conn)
        {
            self.weigh_session(&mut session);
            self.put(session);
        }
    }

    /// Weighs a session that is taken out.
    pub fn weigh_session(&mut self, session: &mut Session) {
        if !self.weights.on {
            return;
        }
        if session.is(alert::REPLICA | alert::TRUSTED | alert::CLOSING) {
            return self.unweigh(session);
        }
        let (bytes, evictable) = (session.memory(), !session.no_evict);
        (self.weights).set(session.id, &mut session.weight, bytes, evictable);
    }

    /// Counts a session, which is taken out, no longer.
    pub fn unweigh(&mut self, session: &mut Session) {
        self.weights.remove(session.id, &mut session.weight);
    }

    /// Counts a session, which is not taken out, no longer.
    pub fn unweigh_at(&mut self, conn: ConnId) {
        if let Some(mut session) = self.take(conn) {
            self.unweigh(&mut session);
            self.put(session);
        }
    }

    /// Bytes of all sessions that are weighed.
    pub fn weight(&self) -> u64 {
        self.weights.total()
    }

    /// The number of the client that weighs most, of those that may be evicted.
    pub fn heaviest(&self) -> Option<u64> {
        self.weights.heaviest()
    }

    /// Queues a session's connection for sending, if it has something that may leave.
    #[inline]
    pub fn queue_output(&mut self, conn: ConnId) {
        self.weigh(conn);
        let Some(session) = self
            .slots
            .get_mut(conn.index())
            .and_then(|s| s.as_deref_mut())
        else {
            return;
        };
        if !session.queued && session.conn == conn && session.out.sendable() > 0 {
            session.queued = true;
            self.ready.push_back(conn);
        }
    }

    /// Replies that wait for the journal up to `offset` may leave.
    pub fn release(&mut self, offset: u64) {
        while self.held.front().is_some_and(|&(need, _)| need <= offset) {
            let Some((_, conn)) = self.held.pop_front() else {
                return;
            };
            let Some(session) = self.get_mut(conn) else {
                continue;
            };
            session.out.release(offset);
            self.queue_output(conn);
        }
    }

    /// Notes that a session's replies wait for the journal up to `offset`; offsets never fall.
    pub fn hold(&mut self, conn: ConnId, offset: u64) {
        if self.held.back() != Some(&(offset, conn)) {
            self.held.push_back((offset, conn));
        }
    }

    /// The next connection with something to send.
    pub fn next_ready(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.ready.pop_front() {
            if let Some(session) = self.get_mut(conn) {
                session.queued = false;
                if session.out.sendable() > 0 {
                    return Some(conn);
                }
            }
        }
        None
    }

    /// Has a connection closed, without its remaining output.
    pub fn doom(&mut self, conn: ConnId) {
        if let Some(session) = self.get_mut(conn) {
            session.set(alert::CLOSING, true);
        }
        self.doomed.push(conn);
    }

    /// The next connection to close.
    pub fn next_doomed(&mut self) -> Option<ConnId> {
        self.doomed.pop()
    }

    /// Has a session's waiting requests carried out in the next turn.
    pub fn resume(&mut self, conn: ConnId) {
        self.resume.push_back(conn);
    }

    /// Whether a session waits for [`Clients::resume`].
    pub fn resuming(&self) -> bool {
        !self.resume.is_empty()
    }

    /// The next session to go on with.
    pub fn next_resumed(&mut self) -> Option<ConnId> {
        self.resume.pop_front()
    }
}
