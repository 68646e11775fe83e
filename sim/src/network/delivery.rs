//! From one end to the other: items are sent, arrive in their time, and change the state of the end that they reach.

use super::pipe::Item;
use super::{Conn, ConnRef, EndRef, EndState, Host, NetEvent, Network, Notice};
use crate::time::{MS, Micros, SEC};

impl Network {
    /// Handles an event that the network scheduled.
    pub fn on_event(&mut self, now: Micros, event: NetEvent) {
        match event {
            NetEvent::Arrive(end) => self.arrive(now, end),
            NetEvent::Keepalive(end) => {
                let gone = |conn: &Conn| {
                    conn.ends[usize::from(1 - end.side)].state == EndState::Closed
                        && conn.pipes[usize::from(end.side)].items.is_empty()
                };
                if self.conn(end.conn).is_some_and(gone) {
                    self.end_from_outside(end, "Connection timed out");
                }
            }
            NetEvent::Patience(end, since) => {
                let to = end.peer();
                let Some(conn) = self.conn_mut(end.conn) else {
                    return;
                };
                let pipe = &mut conn.pipes[usize::from(to.side)];
                if pipe.blocked_since != Some(since) {
                    return;
                }
                pipe.vanish();
                pipe.blocked_since = None;
                self.end_from_outside(end, "Connection timed out");
                let at = now + self.settings.keepalive_us;
                self.schedule.push((at, NetEvent::Keepalive(to)));
            }
        }
    }

    pub(super) fn arrive(&mut self, now: Micros, end: EndRef) {
        let side = usize::from(end.side);
        let Some(conn) = self.conn_mut(end.conn) else {
            return;
        };
        if conn.pipes[side].armed != Some(now) {
            return; // Re-armed for another time.
        }
        conn.pipes[side].armed = None;
        let (from, to) = (conn.ends[1 - side].host, conn.ends[side].host);
        let mut delivered = false;
        loop {
            let blocked = self.is_blocked(from, to);
            let patience = self.settings.patience_us;
            let Some(conn) = self.conn_mut(end.conn) else {
                break;
            };
            let pipe = &mut conn.pipes[side];
            let Some(&(at, item)) = pipe.items.front() else {
                break;
            };
            if blocked {
                if pipe.blocked_since.is_none() {
                    pipe.blocked_since = Some(now);
                    self.schedule
                        .push((now + patience, NetEvent::Patience(end.peer(), now)));
                }
                break;
            }
            pipe.blocked_since = None;
            let due = at.max(pipe.hold_until);
            if due > now {
                self.arm(end, due);
                break;
            }
            pipe.items.pop_front();
            if delivered && !matches!(item, Item::Data { .. }) {
                delivered = false;
                self.notices.push_back((to, end, Notice::Readable));
            }
            delivered |= self.deliver(now, end, item);
        }
        if delivered {
            self.notices.push_back((to, end, Notice::Readable));
        }
        self.recycle(end.conn);
    }

    /// Hands one item to its receiver; whether there is something to read now.
    pub(super) fn deliver(&mut self, now: Micros, end: EndRef, item: Item) -> bool {
        let side = usize::from(end.side);
        let conn = &mut self.conns[end.conn.index as usize];
        let host = conn.ends[side].host;
        let state = &self.hosts[usize::from(host)];
        let listening = state.up && !state.refusing && state.ports.contains(&conn.port);
        let (peer, port, peer_port) = (conn.ends[1 - side].host, conn.port, conn.peer_port);
        if !state.up {
            match item {
                Item::Syn { tries } if tries < 6 => {
                    // Retransmitted with doubled waits, like Linux does.
                    let at = now + (SEC << tries);
                    conn.pipes[side]
                        .items
                        .push_front((at, Item::Syn { tries: tries + 1 }));
                    self.arm(end, at);
                }
                Item::Syn { .. } => self.end_from_outside(end.peer(), "Connection timed out"),
                _ => conn.pipes[side].vanish(),
            }
            return false;
        }
        match (item, conn.ends[side].state) {
            (Item::Syn { .. }, _) if listening => self.push(now, end.peer(), Item::SynAck),
            (Item::Syn { .. }, _) => {
                conn.ends[side].state = EndState::Closed;
                self.push(now, end.peer(), Item::Rst);
            }
            (Item::SynAck, EndState::Opening) => {
                conn.ends[side].state = EndState::Open;
                self.push(now, end.peer(), Item::Open);
                self.notices.push_back((host, end, Notice::Connected));
            }
            (Item::Open, EndState::Opening) if listening => {
                conn.ends[side].state = EndState::Open;
                self.notices.push_back((
                    host,
                    end,
                    Notice::Accepted {
                        port,
                        peer,
                        peer_port,
                    },
                ));
            }
            (Item::Open, EndState::Opening) => {
                conn.ends[side].state = EndState::Closed;
                self.push(now, end.peer(), Item::Rst);
            }
            (Item::Data { len, stamp }, EndState::Open) => {
                let pipe = &mut conn.pipes[side];
                pipe.ready += len as usize;
                pipe.stamp = stamp;
                return true;
            }
            (Item::Data { len, .. }, _) => {
                conn.pipes[side].drop_moving(len as usize);
                self.push(now, end.peer(), Item::Rst);
            }
            (Item::SynAck | Item::Open, _) => self.push(now, end.peer(), Item::Rst),
            (Item::Fin, EndState::Opening) => self.end_from_outside(end, "Connection refused"),
            (Item::Fin, _) => self.end_from_outside(end, ""),
            (Item::Rst, EndState::Opening) => self.end_from_outside(end, "Connection refused"),
            (Item::Rst, _) => {
                if self.rng.chance(500) {
                    self.conns[end.conn.index as usize].pipes[side].discard_ready();
                }
                self.end_from_outside(end, "Connection reset by peer");
            }
        }
        false
    }

    pub(super) fn end_from_outside(&mut self, end: EndRef, reason: &'static str) {
        let Some(conn) = self.conn_mut(end.conn) else {
            return;
        };
        let side = usize::from(end.side);
        let own = &mut conn.ends[side];
        match own.state {
            EndState::Closed | EndState::Ended => return,
            // The acceptor was never told of this connection: there is nobody to tell of its end.
            EndState::Opening if end.side == 1 => own.state = EndState::Closed,
            EndState::Opening | EndState::Open => {
                own.state = EndState::Ended;
                let host = own.host;
                self.notices
                    .push_back((host, end, Notice::Closed { reason }));
            }
        }
        self.recycle(end.conn);
    }

    pub(super) fn push(&mut self, now: Micros, to: EndRef, item: Item) {
        let side = usize::from(to.side);
        let Some(conn) = self.conn_mut(to.conn) else {
            return;
        };
        if conn.pipes[side].ended || conn.pipes[side].void {
            return;
        }
        let (from_host, to_host) = (conn.ends[1 - side].host, conn.ends[side].host);
        let bytes = match item {
            Item::Data { len, .. } => u64::from(len),
            _ => 0,
        };
        let index = self.link_index(from_host, to_host);
        let link = &mut self.links[index];
        let latency =
            link.settings.latency_min_us + self.rng.exponential(link.settings.latency_mean_us);
        let mut leaves = now;
        if let Some(transmission) = (bytes * SEC).checked_div(link.settings.bandwidth) {
            link.busy_until = link.busy_until.max(now) + transmission;
            leaves = link.busy_until;
        }
        let conn = &mut self.conns[to.conn.index as usize];
        let pipe = &mut conn.pipes[side];
        let at = pipe.last_at.max(leaves + latency);
        pipe.last_at = at;
        pipe.sent += bytes;
        pipe.ended |= matches!(item, Item::Fin | Item::Rst);
        pipe.items.push_back((at, item));
        if pipe.items.len() == 1 {
            self.arm(to, at);
        }
    }

    pub(super) fn arm(&mut self, end: EndRef, at: Micros) {
        let pipe = &mut self.conns[end.conn.index as usize].pipes[usize::from(end.side)];
        if pipe.armed.is_none_or(|armed| armed > at) {
            pipe.armed = Some(at);
            self.schedule.push((at, NetEvent::Arrive(end)));
        }
    }

    /// Wakes what waits on one link, or on all.
    pub(super) fn rearm(&mut self, now: Micros, link: Option<(Host, Host)>) {
        for index in 0..self.conns.len() {
            let conn = &self.conns[index];
            let serial = conn.serial;
            for side in 0..2u8 {
                let conn = &self.conns[index];
                let at = usize::from(side);
                let hosts = (conn.ends[1 - at].host, conn.ends[at].host);
                if !conn.live || link.is_some_and(|link| link != hosts) {
                    continue;
                }
                if let Some(&(due, _)) = conn.pipes[at].items.front() {
                    let end = EndRef {
                        conn: ConnRef {
                            index: index as u32,
                            serial,
                        },
                        side,
                    };
                    // A retransmission timer has to fire before the link's recovery is noticed.
                    let delay = self.rng.range(0, 200 * MS);
                    self.arm(end, due.max(now + delay));
                }
            }
        }
    }

    pub(super) fn recycle(&mut self, conn: ConnRef) {
        let Some(found) = self.conn_mut(conn) else {
            return;
        };
        let closed = found.ends.iter().all(|end| end.state == EndState::Closed);
        if closed {
            found.live = false;
            found.pipes = Default::default();
            self.free.push(conn.index);
        }
    }
}
