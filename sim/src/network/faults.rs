//! What goes wrong: blocked and slow links, stalls, resets, dead processes and machines; and the end of it.

use super::pipe::Item;
use super::{ConnRef, EndRef, EndState, Host, LinkSettings, NetEvent, Network};
use crate::time::{Micros, SEC};

impl Network {
    /// Stops (or lets go again) whatever travels from one host to another. Nests.
    pub fn block(&mut self, now: Micros, from: Host, to: Host, blocked: bool) {
        let index = self.link_index(from, to);
        let link = &mut self.links[index];
        if blocked {
            link.blocks += 1;
            return;
        }
        link.blocks = link.blocks.saturating_sub(1);
        if link.blocks == 0 {
            self.rearm(now, Some((from, to)));
        }
    }

    /// Whether a link is stopped.
    pub fn is_blocked(&self, from: Host, to: Host) -> bool {
        self.links[self.link_index(from, to)].blocks > 0
    }

    /// Changes a link's behaviour; `None` restores the seed's own.
    pub fn shape(&mut self, from: Host, to: Host, settings: Option<LinkSettings>) {
        let index = self.link_index(from, to);
        self.links[index].settings = settings.unwrap_or(self.settings.link);
    }

    /// Makes a host's listeners refuse (NET-1).
    pub fn refuse(&mut self, host: Host, refusing: bool) {
        self.hosts[usize::from(host)].refusing = refusing;
    }

    /// Stalls one connection, both ways, while others pass it (NET-11).
    pub fn stall(&mut self, conn: ConnRef, until: Micros) {
        if let Some(conn) = self.conn_mut(conn) {
            for pipe in &mut conn.pipes {
                pipe.hold_until = pipe.hold_until.max(until);
            }
        }
    }

    /// Resets a connection; of what is on its way each direction still delivers some prefix (NET-8).
    pub fn reset(&mut self, now: Micros, conn: ConnRef) {
        for side in 0..2 {
            let keep = self.rng.next_u64();
            let Some(found) = self.conn_mut(conn) else {
                return;
            };
            let pipe = &mut found.pipes[usize::from(side)];
            let moving = pipe.buf.len() - pipe.head - pipe.ready;
            let keep = (keep % (moving as u64 + 1)) as usize;
            let stamp = pipe.items.iter().rev().find_map(|(_, item)| match item {
                Item::Data { stamp, .. } => Some(*stamp),
                _ => None,
            });
            pipe.items
                .retain(|(_, item)| !matches!(item, Item::Data { .. } | Item::Fin));
            pipe.buf.truncate(pipe.head + pipe.ready + keep);
            pipe.ended = false;
            let end = EndRef { conn, side };
            if keep > 0 {
                self.push(
                    now,
                    end,
                    Item::Data {
                        len: keep as u32,
                        stamp: stamp.unwrap_or(0),
                    },
                );
            }
            self.push(now, end, Item::Rst);
        }
    }

    /// The process on `host` died: its system ends all its connections. Listeners go with it.
    pub fn process_died(&mut self, now: Micros, host: Host) {
        self.hosts[usize::from(host)].ports.clear();
        for end in self.ends_of(host) {
            let abrupt = self.rng.chance(300);
            let Some(conn) = self.conn_mut(end.conn) else {
                continue;
            };
            let side = usize::from(end.side);
            let state = std::mem::replace(&mut conn.ends[side].state, EndState::Closed);
            let unread = conn.pipes[side].ready > 0;
            conn.pipes[side].discard_ready();
            if end.side == 1 {
                self.deaf.push((end.conn, now));
            }
            if state == EndState::Open {
                self.push(
                    now,
                    end.peer(),
                    if unread || abrupt {
                        Item::Rst
                    } else {
                        Item::Fin
                    },
                );
            }
            self.recycle(end.conn);
        }
    }

    /// The machine lost power: peers hear nothing until their keepalive or its return (NET-7).
    pub fn machine_died(&mut self, now: Micros, host: Host) {
        let state = &mut self.hosts[usize::from(host)];
        state.up = false;
        state.ports.clear();
        for end in self.ends_of(host) {
            let Some(conn) = self.conn_mut(end.conn) else {
                continue;
            };
            let side = usize::from(end.side);
            conn.ends[side].state = EndState::Closed;
            conn.pipes[side].vanish();
            if end.side == 1 {
                self.deaf.push((end.conn, now));
            }
            let at = now + self.settings.keepalive_us;
            self.schedule.push((at, NetEvent::Keepalive(end.peer())));
            self.recycle(end.conn);
        }
    }

    /// The machine is back: it answers the stale connections of its peers with RST.
    pub fn machine_up(&mut self, now: Micros, host: Host) {
        self.hosts[usize::from(host)].up = true;
        for end in self.ends_of(host) {
            if self
                .conn(end.conn)
                .is_some_and(|conn| conn.pipes[usize::from(end.side)].void)
            {
                let retransmission = self.rng.range(0, 3 * SEC);
                self.push(now + retransmission, end.peer(), Item::Rst);
            }
        }
    }

    /// Ends every network fault, and takes the links' limit of bandwidth away.
    pub fn heal(&mut self, now: Micros) {
        self.settings.link.bandwidth = 0;
        for link in &mut self.links {
            link.blocks = 0;
            link.settings = self.settings.link;
        }
        for host in &mut self.hosts {
            host.refusing = false;
        }
        for conn in &mut self.conns {
            for pipe in &mut conn.pipes {
                pipe.hold_until = 0;
            }
        }
        self.rearm(now, None);
    }

    fn ends_of(&self, host: Host) -> Vec<EndRef> {
        let mut ends = Vec::new();
        for conn in self.live() {
            for side in 0..2u8 {
                if self.conns[conn.index as usize].ends[usize::from(side)].host == host {
                    ends.push(EndRef { conn, side });
                }
            }
        }
        ends
    }
}
