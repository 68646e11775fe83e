//! A small world: clusters on hosts, joined by byte streams, each with a disk that forgets what was not
//! synced, under one virtual clock. Ledgers watch every packet.

use super::super::node::{Flags, NodeId};
use super::super::*;
use super::disk::Disk;
use super::ledger::Ledger;
use crate::DiskRequest;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use bytes::Bytes;

pub const TIMEOUT: u64 = 2000;
const MS: u64 = 1000;

pub struct Host {
    pub cluster: Option<Box<Cluster>>,
    pub disk: Disk,
    pub offset: u64,
    pub following: Option<usize>,
    pub synced: bool,
    pub heard: Option<u64>,
    pub paused: bool,
    pub frozen: bool,
    /// Its replication does not work.
    pub blocked: bool,
    pub writing: bool,
    pub decisions: Vec<Decision>,
    pub log: Vec<String>,
    pub settings: Settings,
    accepted: u32,
    incarnation: u64,
}

enum Event {
    Accept {
        from: (usize, ConnId),
        to: usize,
    },
    Connected {
        host: usize,
        conn: ConnId,
    },
    Bytes {
        host: usize,
        conn: ConnId,
        bytes: Bytes,
    },
    Closed {
        host: usize,
        conn: ConnId,
    },
    Disk {
        host: usize,
        incarnation: u64,
        request: DiskRequest,
    },
}

pub struct World {
    pub now_us: u64,
    pub hosts: Vec<Host>,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    /// When the last bytes of a stream arrive: streams keep their order.
    arrival: BTreeMap<(usize, ConnId), u64>,
    disk_busy: Vec<u64>,
    cut: BTreeSet<(usize, usize)>,
    rng: ChaCha8Rng,
    pub ledger: Ledger,
    pub wall_shift: i64,
    pub mtu: usize,
}

impl World {
    pub fn new(hosts: usize, seed: u64) -> World {
        let mut world = World {
            now_us: 1_000_000,
            hosts: Vec::new(),
            events: BTreeMap::new(),
            serial: 0,
            ends: BTreeMap::new(),
            arrival: BTreeMap::new(),
            disk_busy: alloc::vec![0; hosts],
            cut: BTreeSet::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            ledger: Ledger::default(),
            wall_shift: 0,
            mtu: usize::MAX,
        };
        for _ in 0..hosts {
            world.hosts.push(Host {
                cluster: None,
                disk: Disk::empty(),
                offset: 0,
                following: None,
                synced: false,
                heard: None,
                paused: false,
                frozen: false,
                blocked: false,
                writing: false,
                decisions: Vec::new(),
                log: Vec::new(),
                settings: Settings {
                    node_timeout_ms: TIMEOUT,
                    repl_ping_period_ms: 1000,
                    ..Settings::default()
                },
                accepted: 0,
                incarnation: 0,
            });
        }
        (0..hosts).for_each(|host| world.start(host));
        world
    }

    pub fn now(&self) -> Now {
        let wall = 1_700_000_000_000_000i64 + self.now_us as i64 + self.wall_shift;
        Now {
            mono_us: self.now_us,
            unix_us: wall as u64,
        }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    pub fn start(&mut self, host: usize) {
        let mut seed = [host as u8; 32];
        self.rng.fill_bytes(&mut seed[..16]);
        let now = self.now();
        let incarnation = self.hosts[host].incarnation;
        let first_link = (1 << 62) + (incarnation << 40) + ((host as u64) << 32);
        let mut cluster = Cluster::new(self.hosts[host].settings.clone(), seed, first_link, now);
        let text = self.hosts[host].disk.nodes_conf();
        cluster
            .start(now, text.as_deref())
            .expect("nodes.conf is whole after any crash");
        if let Some(told) = self.ledger.told(cluster.my_name()) {
            assert!(
                cluster.epochs().0 >= told,
                "host {host} forgot epoch {told}"
            );
        }
        let fresh = &mut self.hosts[host];
        fresh.cluster = Some(Box::new(cluster));
        fresh.following = None;
        fresh.synced = false;
        fresh.heard = None;
        fresh.paused = false;
        self.drain(host);
    }

    pub fn crash(&mut self, host: usize) {
        let survive = self.random(2) == 0;
        self.hosts[host].cluster = None;
        self.hosts[host].incarnation += 1;
        self.hosts[host].disk.crash(survive);
        self.hosts[host].paused = false;
        let dead: Vec<_> = self
            .ends
            .iter()
            .filter(|((h, _), _)| *h == host)
            .map(|(a, b)| (*a, *b))
            .collect();
        for (mine, theirs) in dead {
            self.ends.remove(&mine);
            self.ends.remove(&theirs);
            self.later(
                1,
                Event::Closed {
                    host: theirs.0,
                    conn: theirs.1,
                },
            );
        }
    }

    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].cluster.is_some()
    }

    /// Stops all bytes between two groups, both ways. Connections hang.
    pub fn partition(&mut self, group: &[usize]) {
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                if group.contains(&a) != group.contains(&b) {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    /// Stops bytes from one host to another.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn c(&self, host: usize) -> &Cluster {
        self.hosts[host].cluster.as_ref().expect("a running host")
    }

    /// Gives an order to a host.
    pub fn order<T>(&mut self, host: usize, order: impl FnOnce(&mut Cluster, Now) -> T) -> T {
        let now = self.now();
        let answer = order(
            self.hosts[host].cluster.as_mut().expect("a running host"),
            now,
        );
        self.drain(host);
        answer
    }

    pub fn id(&self, host: usize) -> NodeId {
        self.c(host).my_name()
    }

    fn later(&mut self, ms: u64, event: Event) {
        self.at(self.now_us + ms * MS, event);
    }

    fn at(&mut self, us: u64, event: Event) {
        self.serial += 1;
        self.events.insert((us, self.serial), event);
    }

    fn host_of(ip: &str) -> Option<usize> {
        ip.strip_prefix("10.0.0.")?.parse().ok()
    }

    fn view(&self, host: usize) -> View {
        let h = &self.hosts[host];
        View {
            offset: h.offset,
            synced: h.synced,
            data_age_ms: h.heard.map(|at| (self.now_us - at) / MS),
            writes_paused: h.paused,
        }
    }

    fn observe(&mut self, host: usize) {
        let (now, view) = (self.now(), self.view(host));
        if let Some(cluster) = &mut self.hosts[host].cluster {
            cluster.observe(now, &view);
        }
        self.drain(host);
    }

    fn drain(&mut self, host: usize) {
        while let Some(action) = self.hosts[host]
            .cluster
            .as_mut()
            .and_then(|c| c.poll_action())
        {
            match action {
                Action::Connect {
                    conn,
                    host: ip,
                    port,
                } => self.open(host, conn, &ip, port),
                Action::Close { conn } => self.close(host, conn),
                Action::Send { conn, bytes } => self.send(host, conn, bytes),
                Action::Disk(request) => {
                    let incarnation = self.hosts[host].incarnation;
                    let start = self.disk_busy[host].max(self.now_us);
                    self.disk_busy[host] = start + self.hosts[host].disk.slow_ms * MS;
                    self.at(
                        self.disk_busy[host],
                        Event::Disk {
                            host,
                            incarnation,
                            request,
                        },
                    );
                }
                Action::Log { text, .. } => self.hosts[host].log.push(text),
                Action::Decision(decision) => self.carry_out(host, decision),
            }
        }
    }

    fn carry_out(&mut self, host: usize, decision: Decision) {
        let h = &mut self.hosts[host];
        match &decision {
            Decision::Replicate { host: ip, .. } => {
                h.following = Self::host_of(ip);
                h.synced = false;
                assert_ne!(h.following, Some(host), "replicates itself");
            }
            Decision::Promote => h.following = None,
            Decision::PauseWrites { .. } => h.paused = true,
            Decision::Unpause => h.paused = false,
            Decision::FlushAll => h.offset = 0,
            _ => {}
        }
        if !matches!(decision, Decision::Saved { .. }) {
            h.decisions.push(decision);
        }
    }

    fn open(&mut self, host: usize, conn: ConnId, ip: &str, port: u16) {
        let to = Self::host_of(ip).filter(|to| *to < self.hosts.len());
        match to {
            Some(to) if self.cut.contains(&(host, to)) || self.cut.contains(&(to, host)) => {} // no answer
            Some(to) if self.is_up(to) && port == 16379 => {
                self.later(
                    1,
                    Event::Accept {
                        from: (host, conn),
                        to,
                    },
                );
            }
            _ => self.later(1, Event::Closed { host, conn }),
        }
    }

    fn close(&mut self, host: usize, conn: ConnId) {
        if let Some(peer) = self.ends.remove(&(host, conn)) {
            self.ends.remove(&peer);
            let after = self
                .arrival
                .get(&peer)
                .copied()
                .unwrap_or(0)
                .max(self.now_us)
                + MS;
            self.at(
                after,
                Event::Closed {
                    host: peer.0,
                    conn: peer.1,
                },
            );
        }
    }

    fn send(&mut self, host: usize, conn: ConnId, bytes: Bytes) {
        let peer = self.ends.get(&(host, conn)).copied();
        self.ledger.enter(peer.map(|peer| peer.0), &bytes);
        let Some(peer) = peer else {
            return;
        };
        let delay = 1 + self.random(3);
        let mut at = (self.now_us + delay * MS).max(self.arrival.get(&peer).copied().unwrap_or(0));
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(self.mtu));
            at += 1;
            self.at(
                at,
                Event::Bytes {
                    host: peer.0,
                    conn: peer.1,
                    bytes: part,
                },
            );
        }
        self.arrival.insert(peer, at);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Accept { from, to } => {
                if !self.is_up(to)
                    || self.hosts[from.0]
                        .cluster
                        .as_ref()
                        .is_none_or(|c| !c.owns(from.1))
                {
                    return self.later(
                        1,
                        Event::Closed {
                            host: from.0,
                            conn: from.1,
                        },
                    );
                }
                self.hosts[to].accepted += 1;
                let conn =
                    ConnId::accepted(self.hosts[to].accepted, self.hosts[to].incarnation as u32);
                self.ends.insert(from, (to, conn));
                self.ends.insert((to, conn), from);
                let (peer, local) = (format!("10.0.0.{}", from.0), format!("10.0.0.{to}"));
                self.order(to, |c, now| c.on_accepted(now, conn, &peer, &local));
                self.later(
                    1,
                    Event::Connected {
                        host: from.0,
                        conn: from.1,
                    },
                );
            }
            Event::Connected { host, conn } => {
                let Some(peer) = self.ends.get(&(host, conn)).copied() else {
                    return;
                };
                let (peer, local) = (format!("10.0.0.{}", peer.0), format!("10.0.0.{host}"));
                if self.is_up(host) {
                    self.order(host, |c, now| c.on_connected(now, conn, &peer, &local));
                }
            }
            Event::Bytes { host, conn, bytes } => {
                let Some(peer) = self.ends.get(&(host, conn)).copied() else {
                    return;
                };
                if self.cut.contains(&(peer.0, host)) || self.hosts[host].frozen {
                    // TCP does not lose bytes: they arrive after the partition, if the connection lives.
                    return self.later(50, Event::Bytes { host, conn, bytes });
                }
                self.observe(host);
                if let Some(cluster) = &mut self.hosts[host].cluster {
                    cluster.on_bytes(now, conn, &bytes);
                }
                self.drain(host);
            }
            Event::Closed { host, conn } => {
                self.ends.remove(&(host, conn));
                if self.is_up(host) {
                    self.order(host, |c, now| c.on_closed(now, conn));
                }
            }
            Event::Disk {
                host,
                incarnation,
                request,
            } => {
                if self.hosts[host].incarnation == incarnation {
                    let result = self.hosts[host].disk.carry_out(request);
                    self.order(host, |c, now| c.on_disk(now, result));
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_us + ms * MS;
        while self.now_us < end {
            self.now_us += 5 * MS;
            while let Some((&(at, _), _)) = self.events.first_key_value() {
                if at > self.now_us {
                    break;
                }
                let Some((_, event)) = self.events.pop_first() else {
                    break;
                };
                self.happen(event);
            }
            self.replicate();
            for host in 0..self.hosts.len() {
                let (now, view) = (self.now(), self.view(host));
                if self.hosts[host].frozen {
                    continue;
                }
                let Some(cluster) = &mut self.hosts[host].cluster else {
                    continue;
                };
                if cluster.deadline() <= now.mono_us {
                    cluster.tick(now, &view);
                    self.drain(host);
                    if self.random(16) == 0 {
                        self.c(host).invariants();
                    }
                }
            }
        }
    }

    /// Lets time pass until something holds; panics after a limit. Returns the milliseconds that it took.
    pub fn until(&mut self, limit_ms: u64, what: &str, holds: impl Fn(&World) -> bool) -> u64 {
        let start = self.now_us;
        while !holds(self) {
            assert!(
                self.now_us < start + limit_ms * MS,
                "not within {limit_ms} ms: {what}\n{}",
                self.story()
            );
            self.run(20);
        }
        (self.now_us - start) / MS
    }

    pub fn story(&self) -> String {
        let mut text = String::new();
        for (number, host) in self.hosts.iter().enumerate() {
            text += &format!("--- host {number}\n");
            if let Some(cluster) = &host.cluster {
                text += &cluster.nodes_text(false);
                text += &format!(
                    "state {:?} epochs {:?}\n",
                    cluster.state(self.now()),
                    cluster.epochs()
                );
            }
            for line in host.log.iter().rev().take(12).rev() {
                text += &format!("    {line}\n");
            }
        }
        text
    }

    /// Replication, as far as the cluster cares: offsets follow the primary's while it can be reached.
    fn replicate(&mut self) {
        for host in 0..self.hosts.len() {
            let up = self.is_up(host) && !self.hosts[host].frozen;
            if up
                && self.hosts[host].following.is_none()
                && self.hosts[host].writing
                && !self.hosts[host].paused
            {
                self.hosts[host].offset += 1;
            }
            let works = up && !self.hosts[host].blocked;
            let Some(primary) = self.hosts[host].following.filter(|_| works) else {
                continue;
            };
            let reachable = self.is_up(primary)
                && !self.hosts[primary].frozen
                && !self.cut.contains(&(primary, host))
                && !self.cut.contains(&(host, primary));
            if reachable {
                let offset = self.hosts[primary].offset;
                let h = &mut self.hosts[host];
                h.heard = Some(self.now_us);
                h.offset = offset;
                h.synced = true;
            }
        }
    }

    /// Three primaries; the first has two replicas, 3 and 4, which do not leave it for one that has none.
    pub fn with_two_replicas(seed: u64) -> World {
        let mut world = World::new(5, seed);
        for host in 0..5 {
            world.hosts[host].settings.migration_barrier = 9;
            let settings = world.hosts[host].settings.clone();
            world.order(host, |c, now| c.set_settings(now, settings));
        }
        world.create(3);
        let first = world.id(0);
        world
            .order(4, |c, now| c.replicate(now, first.as_bytes(), 0))
            .unwrap();
        world.until(5000, "the second replica has data", |w| {
            w.hosts[4].following == Some(0) && w.hosts[4].synced
        });
        world.run(TIMEOUT);
        world
    }

    /// Begins to move a slot from one primary to another.
    pub fn open_slot(&mut self, slot: u16, from: usize, to: usize) {
        let [source, target] = [from, to].map(|host| self.id(host));
        self.order(to, |c, now| {
            c.set_slot_importing(now, slot, source.as_bytes())
        })
        .unwrap();
        self.order(from, |c, now| {
            c.set_slot_migrating(now, slot, target.as_bytes())
        })
        .unwrap();
    }

    /// What `redis-cli --cluster create` does: slots, epochs, MEET, and replicas once all know one another.
    pub fn create(&mut self, primaries: usize) {
        let all = self.hosts.len();
        self.run(50);
        for host in 0..all {
            self.order(host, |c, now| c.set_config_epoch(now, host as i64 + 1))
                .unwrap();
        }
        for host in 0..primaries {
            let first = (host * 16384 / primaries) as u16;
            let last = ((host + 1) * 16384 / primaries - 1) as u16;
            self.order(host, |c, now| c.add_slots(now, &[(first, last)]))
                .unwrap();
        }
        for host in 1..all {
            self.order(host, |c, now| c.meet(now, b"10.0.0.0", 6379, None))
                .unwrap();
        }
        self.until(10_000, "everyone knows everyone", |w| {
            (0..all).all(|host| {
                w.c(host)
                    .nodes()
                    .iter()
                    .filter(|(_, n)| !n.in_handshake())
                    .count()
                    == all
            })
        });
        for host in primaries..all {
            let primary = self.id(host % primaries);
            self.hosts[host % primaries].writing = true;
            self.order(host, |c, now| c.replicate(now, primary.as_bytes(), 0))
                .unwrap();
        }
        self.until(20_000, "the cluster is up", |w| w.settled());
        for host in primaries..all {
            self.until(5000, "replicas have data", move |w| w.hosts[host].synced);
        }
        self.run(TIMEOUT);
    }

    /// Every running host serves or follows, all have the same map of all slots, and no two primaries have
    /// the same epoch.
    pub fn settled(&self) -> bool {
        let up: Vec<&Cluster> = self
            .hosts
            .iter()
            .filter_map(|host| host.cluster.as_deref())
            .collect();
        let maps: Vec<BTreeMap<NodeId, (u64, &slots::SlotSet)>> = up
            .iter()
            .map(|c| {
                let owners = c.nodes().iter().filter(|(_, node)| node.votes());
                owners
                    .map(|(_, node)| (node.id, (node.config_epoch, &node.slots)))
                    .collect()
            })
            .collect();
        let whole = |map: &BTreeMap<NodeId, (u64, &slots::SlotSet)>| {
            let epochs: BTreeSet<u64> = map.values().map(|(epoch, _)| *epoch).collect();
            let slots: u32 = map.values().map(|(_, slots)| u32::from(slots.len())).sum();
            slots == u32::from(SLOTS) && epochs.len() == map.len()
        };
        maps.windows(2).all(|pair| pair[0] == pair[1])
            && maps.iter().all(whole)
            && up.iter().all(|c| c.state(self.now()) == State::Ok)
            && up
                .iter()
                .all(|c| c.nodes().me().is_primary() || c.nodes().me().primary.is_some())
    }

    pub fn is_primary(&self, host: usize) -> bool {
        self.is_up(host) && self.c(host).nodes().me().is_primary()
    }

    pub fn owner(&self, host: usize, slot: u16) -> Option<usize> {
        let nodes = self.c(host).nodes();
        let id = nodes.node(nodes.slots.owner(slot)?).id;
        (0..self.hosts.len()).find(|other| self.is_up(*other) && self.id(*other) == id)
    }

    /// Whether a host takes writes on a slot.
    pub fn writable(&self, host: usize, slot: u16) -> bool {
        let request = RouteRequest {
            slot,
            write: true,
            ..RouteRequest::default()
        };
        self.is_up(host)
            && self.hosts[host].following.is_none()
            && !self.hosts[host].paused
            && self.c(host).route(self.now(), &request) == Route::Local
    }

    pub fn flags_of(&self, seen_by: usize, host: &NodeId) -> Option<Flags> {
        let nodes = self.c(seen_by).nodes();
        nodes.find(host).map(|key| nodes.node(key).flags)
    }

    pub fn logged(&self, host: usize, text: &str) -> bool {
        self.hosts[host].log.iter().any(|line| line.contains(text))
    }

    pub fn decided(&self, host: usize, decision: &Decision) -> bool {
        self.hosts[host].decisions.contains(decision)
    }

    /// What a host says to be its own line in CLUSTER NODES.
    pub fn my_line(&self, host: usize) -> String {
        self.c(host)
            .nodes_text(false)
            .lines()
            .find(|line| line.contains("myself"))
            .unwrap_or_default()
            .to_string()
    }
}
