//! The network: connections that carry bytes, and everything TCP lets happen to them.
//!
//! A connection is two pipes. A pipe is a queue of items in the order in which they were sent (the
//! handshake's steps, runs of data, the end), each with its time of arrival. So nothing is ever lost,
//! doubled or reordered within a connection, as TCP promises; but a run may be cut anywhere, arrive
//! late, be throttled or stall one way, and a connection may be reset with any prefix delivered.
//! Across connections anything goes.
//!
//! What an end has sent and the other has not yet read is bounded by the window: a slow reader or a
//! stalled link is felt by the sender as back-pressure.
//!
//! Every end, once it was told of by [`Notice::Accepted`] or returned by [`Network::connect`], is
//! given back by exactly one [`Network::close`].

mod delivery;
mod faults;
mod pipe;

use crate::rng::Rng;
use crate::time::{Micros, SEC};
use pipe::{Item, Pipe};
use std::collections::VecDeque;

/// A machine on the network: nodes first, then clients.
pub type Host = u16;

/// One connection, not to be confused with a later one in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnRef {
    index: u32,
    serial: u32,
}

#[cfg(test)]
impl ConnRef {
    /// A name for tests that have no network.
    pub fn for_test(index: u32) -> ConnRef {
        ConnRef { index, serial: 0 }
    }
}

/// One end of a connection: side 0 opened it, side 1 accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndRef {
    /// Which connection.
    pub conn: ConnRef,
    /// 0 or 1.
    pub side: u8,
}

impl EndRef {
    /// The other end.
    pub fn peer(self) -> EndRef {
        EndRef {
            conn: self.conn,
            side: 1 - self.side,
        }
    }
}

/// What an end's owner learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A peer connected to our listener.
    Accepted {
        /// The listener's port.
        port: u16,
        /// Who.
        peer: Host,
        /// From which port.
        peer_port: u16,
    },
    /// Our connect succeeded.
    Connected,
    /// There are bytes to read.
    Readable,
    /// A send that was cut short can go on.
    Writable,
    /// The connection ended; what was delivered before can still be read. Call [`Network::close`].
    Closed {
        /// As the system words it; empty for an orderly end.
        reason: &'static str,
    },
}

/// Work that the network wants to do later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// The first item on the way to this end may have arrived.
    Arrive(EndRef),
    /// This end's keepalive probe: is the peer still there?
    Keepalive(EndRef),
    /// This end's data has been unacknowledged since the given moment.
    Patience(EndRef, Micros),
}

/// How a link behaves, drawn once per seed and changed by faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSettings {
    /// Latency that no item undercuts.
    pub latency_min_us: u64,
    /// Mean of the exponential part of the latency.
    pub latency_mean_us: u64,
    /// Bytes a second; 0 is unlimited.
    pub bandwidth: u64,
}

/// How data is cut into runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chop {
    /// As it was sent.
    Whole,
    /// Into runs of random length up to this.
    Random(u32),
    /// Byte by byte for the first so many bytes of each direction, then whole.
    Bytes(u32),
}

/// Settings for all connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetSettings {
    /// The links' initial behaviour.
    pub link: LinkSettings,
    /// How data is cut on connections that are cut at all.
    pub chop: Chop,
    /// How many connections of a thousand are cut so; the others are [`Chop::Whole`].
    pub chopped_per_mille: u64,
    /// Bytes sent and not yet read that the system holds for one direction.
    pub window: usize,
    /// When a vanished peer is noticed.
    pub keepalive_us: u64,
    /// How long data may stay unacknowledged.
    pub patience_us: u64,
}

impl Default for NetSettings {
    fn default() -> Self {
        NetSettings {
            link: LinkSettings {
                latency_min_us: 50,
                latency_mean_us: 200,
                bandwidth: 0,
            },
            chop: Chop::Whole,
            chopped_per_mille: 0,
            window: 64 * 1024,
            keepalive_us: 30 * SEC,
            patience_us: 60 * SEC,
        }
    }
}

/// The network of one world.
#[derive(Debug)]
pub struct Network {
    settings: NetSettings,
    rng: Rng,
    hosts: Vec<HostState>,
    links: Vec<Link>,
    conns: Vec<Conn>,
    free: Vec<u32>,
    next_port: u16,
    /// What owners must be told, in order.
    pub notices: VecDeque<(Host, EndRef, Notice)>,
    /// What must be scheduled.
    pub schedule: Vec<(Micros, NetEvent)>,
    /// Connections whose accepting end is closed: nothing that was sent to it is read from then on.
    pub deaf: Vec<(ConnRef, Micros)>,
}

#[derive(Clone, Debug)]
struct HostState {
    up: bool,
    refusing: bool,
    ports: Vec<u16>,
}

#[derive(Clone, Debug)]
struct Link {
    settings: LinkSettings,
    blocks: u32,
    busy_until: Micros,
}

#[derive(Debug)]
struct Conn {
    serial: u32,
    live: bool,
    port: u16,
    peer_port: u16,
    chop: Chop,
    ends: [End; 2],
    /// `pipes[s]` carries what side `s` receives.
    pipes: [Pipe; 2],
}

#[derive(Clone, Copy, Debug)]
struct End {
    host: Host,
    state: EndState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndState {
    Opening,
    Open,
    /// Ended from outside; the owner has not called close yet.
    Ended,
    Closed,
}

impl Network {
    /// A network of `hosts` machines, all up, nobody listening.
    pub fn new(hosts: usize, settings: NetSettings, rng: Rng) -> Network {
        Network {
            settings,
            rng,
            hosts: vec![
                HostState {
                    up: true,
                    refusing: false,
                    ports: Vec::new()
                };
                hosts
            ],
            links: vec![
                Link {
                    settings: settings.link,
                    blocks: 0,
                    busy_until: 0
                };
                hosts * hosts
            ],
            conns: Vec::new(),
            free: Vec::new(),
            next_port: 20_000,
            notices: VecDeque::new(),
            schedule: Vec::new(),
            deaf: Vec::new(),
        }
    }

    /// A process on `host` listens on these ports.
    pub fn listen(&mut self, host: Host, ports: &[u16]) {
        self.hosts[usize::from(host)].ports = ports.to_vec();
    }

    /// Starts to open a connection. The owner hears [`Notice::Connected`] or [`Notice::Closed`].
    pub fn connect(&mut self, now: Micros, from: Host, to: Host, port: u16) -> EndRef {
        let chop = if self.rng.chance(self.settings.chopped_per_mille) {
            self.settings.chop
        } else {
            Chop::Whole
        };
        self.next_port = if self.next_port >= 60_000 {
            20_000
        } else {
            self.next_port + 1
        };
        let end = |host| End {
            host,
            state: EndState::Opening,
        };
        let index = self.free.pop().unwrap_or(self.conns.len() as u32);
        let serial = self
            .conns
            .get(index as usize)
            .map_or(0, |old| old.serial + 1);
        let conn = Conn {
            serial,
            live: true,
            port,
            peer_port: self.next_port,
            chop,
            ends: [end(from), end(to)],
            pipes: Default::default(),
        };
        match self.conns.get_mut(index as usize) {
            Some(slot) => *slot = conn,
            None => self.conns.push(conn),
        }
        let conn = ConnRef { index, serial };
        self.push(now, EndRef { conn, side: 1 }, Item::Syn { tries: 0 });
        EndRef { conn, side: 0 }
    }

    /// Sends as much as the window takes and says how much that was; after a short send
    /// [`Notice::Writable`] follows. `stamp` travels with the bytes for the observer at the other end.
    pub fn send(&mut self, now: Micros, from: EndRef, bytes: &[u8], stamp: u32) -> usize {
        let window = self.settings.window;
        let Some(conn) = self.conn_mut(from.conn) else {
            return bytes.len();
        };
        if conn.ends[usize::from(from.side)].state != EndState::Open {
            return bytes.len(); // The system would say EPIPE; the owner is about to be told.
        }
        let chop = conn.chop;
        let to = from.peer();
        let pipe = &mut conn.pipes[usize::from(to.side)];
        let space = window.saturating_sub(pipe.buf.len() - pipe.head);
        let taken = bytes.len().min(space);
        pipe.sender_waits = taken < bytes.len();
        pipe.buf.extend_from_slice(&bytes[..taken]);
        if pipe.void {
            return taken;
        }
        let mut left = taken;
        while left > 0 {
            let pipe = &self.conns[from.conn.index as usize].pipes[usize::from(to.side)];
            let len = match chop {
                Chop::Random(max) => self.rng.range(1, u64::from(max.max(1))) as usize,
                Chop::Bytes(first) if pipe.sent < u64::from(first) => 1,
                Chop::Bytes(_) | Chop::Whole => left,
            };
            let len = len.min(left);
            self.push(
                now,
                to,
                Item::Data {
                    len: len as u32,
                    stamp,
                },
            );
            left -= len;
        }
        taken
    }

    /// What has been delivered to an end and not yet consumed.
    pub fn readable(&self, end: EndRef) -> &[u8] {
        self.conn(end.conn).map_or(&[], |conn| {
            let pipe = &conn.pipes[usize::from(end.side)];
            &pipe.buf[pipe.head..pipe.head + pipe.ready]
        })
    }

    /// The stamp of the last bytes delivered to an end.
    pub fn stamp(&self, end: EndRef) -> u32 {
        self.conn(end.conn)
            .map_or(0, |conn| conn.pipes[usize::from(end.side)].stamp)
    }

    /// Takes `n` readable bytes away; the window opens for the sender.
    pub fn consume(&mut self, end: EndRef, n: usize) {
        let Some(conn) = self.conn_mut(end.conn) else {
            return;
        };
        let sender = conn.ends[usize::from(1 - end.side)].host;
        let pipe = &mut conn.pipes[usize::from(end.side)];
        pipe.take(n);
        if pipe.sender_waits {
            pipe.sender_waits = false;
            self.notices
                .push_back((sender, end.peer(), Notice::Writable));
        }
    }

    /// The owner is done with an end: nothing more is read, what was sent is still delivered.
    pub fn close(&mut self, now: Micros, end: EndRef) {
        let abrupt = self.rng.chance(500);
        let Some(conn) = self.conn_mut(end.conn) else {
            return;
        };
        let side = usize::from(end.side);
        let state = std::mem::replace(&mut conn.ends[side].state, EndState::Closed);
        let unread = conn.pipes[side].ready > 0;
        conn.pipes[side].discard_ready();
        if end.side == 1 {
            self.deaf.push((end.conn, now));
        }
        if state == EndState::Open {
            // Closing with unread data makes the system send RST instead of FIN.
            let item = if unread && abrupt {
                Item::Rst
            } else {
                Item::Fin
            };
            self.push(now, end.peer(), item);
        }
        self.recycle(end.conn);
    }

    /// The other host of a connection.
    pub fn peer_host(&self, end: EndRef) -> Option<Host> {
        self.conn(end.conn)
            .map(|conn| conn.ends[usize::from(1 - end.side)].host)
    }

    /// A connection's ports: the listener's, and the one it was opened from.
    pub fn ports(&self, end: EndRef) -> (u16, u16) {
        self.conn(end.conn)
            .map_or((0, 0), |conn| (conn.port, conn.peer_port))
    }

    /// Connections that are not fully closed, for faults to choose from.
    pub fn live(&self) -> impl Iterator<Item = ConnRef> {
        (0u32..)
            .zip(&self.conns)
            .filter(|(_, conn)| conn.live)
            .map(|(index, conn)| ConnRef {
                index,
                serial: conn.serial,
            })
    }

    /// The two hosts of a connection, side 0 first.
    pub fn hosts_of(&self, conn: ConnRef) -> Option<[Host; 2]> {
        self.conn(conn)
            .map(|conn| [conn.ends[0].host, conn.ends[1].host])
    }

    fn link_index(&self, from: Host, to: Host) -> usize {
        usize::from(from) * self.hosts.len() + usize::from(to)
    }

    fn conn(&self, conn: ConnRef) -> Option<&Conn> {
        self.conns
            .get(conn.index as usize)
            .filter(|found| found.live && found.serial == conn.serial)
    }

    fn conn_mut(&mut self, conn: ConnRef) -> Option<&mut Conn> {
        self.conns
            .get_mut(conn.index as usize)
            .filter(|found| found.live && found.serial == conn.serial)
    }
}

#[cfg(test)]
mod tests;
