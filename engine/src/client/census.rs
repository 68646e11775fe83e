//! What all clients take, and how they stand, in sums for INFO.
//!
//! While they are few they are counted when somebody asks. Many are counted a part at a time, from round to round,
//! so that the answer costs the same however many there are: it is then as old as a second or so.

use super::{Clients, Session, alert};

/// With no more clients than this all are counted when somebody asks.
const FEW: usize = 1000;

/// Rounds in which all are counted.
const ROUNDS: usize = 10;

/// Sums over sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Replicas of ours.
    pub replicas: usize,
    /// Bytes that those hold.
    pub replica_bytes: u64,
    /// Bytes that all others hold.
    pub bytes: u64,
    /// Those that have subscribed to something.
    pub subscribed: usize,
    /// Those that wait for something.
    pub blocked: usize,
    /// Of these, those that wait for so long at most.
    pub timed: usize,
    /// The largest buffer for requests, in bytes.
    pub largest_query: usize,
    /// The largest buffer for replies, in bytes.
    pub largest_output: usize,
}

impl Census {
    /// Counts a session.
    pub fn add(&mut self, session: &Session) {
        if session.is(alert::REPLICA) {
            self.replicas += 1;
            self.replica_bytes += session.memory() as u64;
            return;
        }
        self.bytes += session.memory() as u64;
        self.largest_query = self.largest_query.max(session.query.capacity());
        self.largest_output = self.largest_output.max(session.out.memory());
        let subscribed = (session.subscriptions.as_ref()).is_some_and(|mine| !mine.is_empty());
        self.subscribed += usize::from(subscribed);
        if session.blocked.is_some() {
            self.blocked += 1;
            self.timed += usize::from(session.blocked_until_us().is_some());
        }
    }
}

/// Counting a part at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    /// The sums of the last whole count.
    last: Option<Census>,
    /// Those of the count under way, up to this client's number.
    now: Census,
    next: u64,
}

impl Clients {
    /// The sums over all sessions, without those that are taken out.
    pub fn census(&self) -> Census {
        if let Some(last) = self.counting.last.filter(|_| self.len() > FEW) {
            return last;
        }
        let mut census = Census::default();
        self.iter().for_each(|session| census.add(session));
        census
    }

    /// Counts some more. To be called from time to time.
    pub fn count_some(&mut self) {
        if self.len() <= FEW {
            self.counting = Counting::default();
            return;
        }
        let part = self.len() / ROUNDS + 1;
        let Counting { mut now, next, .. } = self.counting;
        let mut up_to = None;
        for (&id, &conn) in self.by_id.range(next..).take(part) {
            if let Some(session) = self.get(conn) {
                now.add(session);
            }
            up_to = Some(id);
        }
        // (Some may have come meanwhile: the round after the last one finds no more.)
        match up_to {
            Some(id) => {
                self.counting.now = now;
                self.counting.next = id + 1;
            }
            None => {
                self.counting = Counting {
                    last: Some(now),
                    ..Counting::default()
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::{Address, ConnId, Listener, Now};

    #[test]
    fn many_are_counted_in_parts_to_the_same_sums() {
        let mut clients = Clients::default();
        let ip = || Address::Ip(([127, 0, 0, 1], 1).into());
        for n in 0..2 * FEW as u32 {
            let id = clients.take_id();
            let conn = ConnId::accepted(n, 0);
            let mut session = Session::new(id, conn, Listener::Tcp, ip(), ip(), Now::default());
            session.query.reserve_exact(n as usize % 77);
            session.set(alert::REPLICA, n % 7 == 0);
            clients.add(session);
        }
        let mut all = Census::default();
        clients.iter().for_each(|session| all.add(session));
        // Before the first count is complete everybody is looked at.
        assert_eq!(clients.census(), all);
        for _ in 0..=ROUNDS {
            clients.count_some();
        }
        assert!(clients.counting.last.is_some());
        assert_eq!(clients.census(), all);
        assert_eq!(all.replicas, (2 * FEW).div_ceil(7));
        for n in 0..FEW as u32 {
            clients.remove(ConnId::accepted(n, 0));
        }
        clients.count_some();
        assert!(clients.census().replicas < all.replicas);
    }
}
