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

use crate::rng::Rng;
use crate::time::{MS, Micros, SEC};
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

#[derive(Debug, Default)]
struct Pipe {
    /// `head..head+ready` is delivered and unread, the rest on its way.
    buf: Vec<u8>,
    head: usize,
    ready: usize,
    items: VecDeque<(Micros, Item)>,
    last_at: Micros,
    armed: Option<Micros>,
    hold_until: Micros,
    blocked_since: Option<Micros>,
    sender_waits: bool,
    sent: u64,
    /// Fin or Rst was queued: nothing may follow.
    ended: bool,
    /// The receiver's machine vanished: what is sent goes nowhere.
    void: bool,
    stamp: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Syn { tries: u32 },
    SynAck,
    Open,
    Data { len: u32, stamp: u32 },
    Fin,
    Rst,
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

    // Faults.

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

    fn arrive(&mut self, now: Micros, end: EndRef) {
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
    fn deliver(&mut self, now: Micros, end: EndRef, item: Item) -> bool {
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

    fn end_from_outside(&mut self, end: EndRef, reason: &'static str) {
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

    fn push(&mut self, now: Micros, to: EndRef, item: Item) {
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

    fn arm(&mut self, end: EndRef, at: Micros) {
        let pipe = &mut self.conns[end.conn.index as usize].pipes[usize::from(end.side)];
        if pipe.armed.is_none_or(|armed| armed > at) {
            pipe.armed = Some(at);
            self.schedule.push((at, NetEvent::Arrive(end)));
        }
    }

    /// Wakes what waits on one link, or on all.
    fn rearm(&mut self, now: Micros, link: Option<(Host, Host)>) {
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

    fn recycle(&mut self, conn: ConnRef) {
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

impl Pipe {
    fn take(&mut self, n: usize) {
        debug_assert!(n <= self.ready);
        self.head += n;
        self.ready -= n;
        if self.head == self.buf.len() {
            self.buf.clear();
            self.head = 0;
        } else if self.head >= 64 * 1024 {
            self.buf.drain(..self.head);
            self.head = 0;
        }
    }

    fn discard_ready(&mut self) {
        self.take(self.ready);
    }

    fn drop_moving(&mut self, n: usize) {
        let start = self.head + self.ready;
        self.buf.drain(start..start + n);
    }

    /// The receiver vanished: nothing on its way arrives, nothing more will.
    fn vanish(&mut self) {
        self.items.clear();
        self.ready = 0;
        self.head = 0;
        self.buf.clear();
        self.void = true;
    }
}

#[cfg(test)]
mod tests;
