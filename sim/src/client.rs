//! Clients: they follow their plan over the simulated network and record what they see.
//!
//! A client keeps one connection to each node that it needs, pipelines up to its depth, follows redirections, gives
//! up on slow answers, and notes for each operation whether it was answered, refused, or is of unknown fate. It is
//! also where the reply stream is checked: that it parses, one reply a command, in order (P1).

use crate::checkers::Violation;
use crate::history::{History, Op, Outcome, Shape};
use crate::network::{EndRef, Host, Network, Notice};
use crate::resp::{self, Reply};
use crate::rng::Rng;
use crate::time::{MS, Micros, SEC};
use crate::workload::{self, Act, Planned};
use std::collections::{BTreeMap, VecDeque};

/// The port on which every node serves clients.
pub const CLIENT_PORT: u16 = 6379;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Operations in flight.
    pub depth: usize,
    /// When it gives up waiting for an answer.
    pub timeout_us: u64,
    /// Whether it says HELLO 3.
    pub resp3: bool,
    /// Reads only so many bytes every so many microseconds (CLI-1).
    pub slow: Option<(usize, u64)>,
    /// How many servers there are to try.
    pub nodes: u16,
    /// Whether a group's node is found by redirection (cluster) or by trying (replication).
    pub cluster: bool,
    /// Length of large values.
    pub large: u32,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    id: u16,
    host: Host,
    settings: ClientSettings,
    rng: Rng,
    plan: VecDeque<Planned>,
    next_issue: Micros,
    homes: BTreeMap<u16, u16>,
    links: BTreeMap<u16, Link>,
    /// Connections for garbage, closed at the next tick.
    vandals: Vec<EndRef>,
    in_flight: usize,
    exclusive: bool,
    /// When [`Client::tick`] wants to be called; the world keeps it.
    pub wake_at: Option<Micros>,
    /// Groups that still have to be audited, in the last phase.
    audits: VecDeque<u16>,
    auditor: bool,
}

#[derive(Debug)]
struct Link {
    end: EndRef,
    connected: bool,
    opened: Micros,
    out: Vec<u8>,
    sent: VecDeque<Sent>,
    /// Read and not parsed yet.
    read: Vec<u8>,
    next_read: Micros,
}

#[derive(Debug)]
struct Sent {
    what: What,
    want: usize,
    got: Vec<Reply>,
    at: Micros,
}

#[derive(Debug)]
enum What {
    Hello,
    Asking,
    Operation { op: usize, tries: u32 },
    Watch { op: usize },
}

/// What a client acts on.
pub struct Surroundings<'a> {
    /// World time.
    pub now: Micros,
    /// The network.
    pub net: &'a mut Network,
    /// The record.
    pub history: &'a mut History,
    /// Violations seen.
    pub violations: &'a mut Vec<Violation>,
}

impl Client {
    /// A client with a plan.
    pub fn new(
        id: u16,
        host: Host,
        settings: ClientSettings,
        rng: Rng,
        plan: Vec<Planned>,
    ) -> Client {
        Client {
            id,
            host,
            settings,
            rng,
            next_issue: plan.first().map_or(0, |first| u64::from(first.wait_us)),
            plan: plan.into(),
            homes: BTreeMap::new(),
            links: BTreeMap::new(),
            vandals: Vec::new(),
            in_flight: 0,
            exclusive: false,
            wake_at: Some(0),
            audits: VecDeque::new(),
            auditor: false,
        }
    }

    /// Whether everything is done and answered.
    pub fn idle(&self) -> bool {
        self.plan.is_empty() && self.audits.is_empty() && self.in_flight == 0
    }

    /// What it waits for, for a report.
    pub fn describe(&self) -> String {
        let waits = self
            .links
            .values()
            .map(|link| link.sent.len())
            .sum::<usize>();
        format!(
            "c{}: {} planned, {} audits, {} in flight, {waits} answers awaited, wakes at {:?}",
            self.id,
            self.plan.len(),
            self.audits.len(),
            self.in_flight,
            self.wake_at,
        )
    }

    /// Whether all audits are done.
    pub fn audited(&self) -> bool {
        self.audits.is_empty()
    }

    /// Drops what is left of the plan and reads all of these groups until each has answered once, with this patience.
    pub fn audit(&mut self, now: Micros, groups: impl IntoIterator<Item = u16>, timeout_us: u64) {
        self.plan.clear();
        self.auditor = true;
        self.settings.slow = None;
        self.settings.timeout_us = timeout_us;
        self.audits.extend(groups);
        self.next_issue = now;
        self.wake_at = Some(now);
    }

    /// Stops following the plan.
    pub fn stop(&mut self) {
        self.plan.clear();
    }

    /// Something happened to one of its connections.
    pub fn on_notice(&mut self, env: &mut Surroundings<'_>, end: EndRef, notice: &Notice) {
        if let Some(index) = self.vandals.iter().position(|vandal| *vandal == end) {
            match notice {
                Notice::Connected => {
                    let bytes = garbage(&mut self.rng);
                    env.net.send(env.now, end, &bytes, 0);
                }
                Notice::Closed { .. } => {
                    self.vandals.swap_remove(index);
                    env.net.close(env.now, end);
                }
                _ => {}
            }
            return;
        }
        let Some((&node, _)) = self.links.iter().find(|(_, link)| link.end == end) else {
            return;
        };
        match notice {
            Notice::Connected => {
                if let Some(link) = self.links.get_mut(&node) {
                    link.connected = true;
                    link.flush(env);
                }
            }
            Notice::Writable => {
                if let Some(link) = self.links.get_mut(&node) {
                    link.flush(env);
                }
            }
            Notice::Readable => self.read(env, node, usize::MAX),
            Notice::Closed { .. } => {
                self.read(env, node, usize::MAX);
                self.lose(env, node);
            }
            Notice::Accepted { .. } => {}
        }
        self.plan_wake(env.now);
    }

    /// Its time has come: gives up on what takes too long, reads if it is slow, sends what is next.
    pub fn tick(&mut self, env: &mut Surroundings<'_>) {
        for end in std::mem::take(&mut self.vandals) {
            env.net.close(env.now, end);
        }
        let nodes: Vec<u16> = self.links.keys().copied().collect();
        for node in nodes {
            if self.settings.slow.is_some() {
                self.read(env, node, usize::MAX);
            }
            let timeout = self.settings.timeout_us;
            let late = |link: &Link| {
                let waiting = link
                    .sent
                    .front()
                    .is_some_and(|sent| sent.at + timeout <= env.now);
                waiting || (!link.connected && link.opened + timeout <= env.now)
            };
            if self.links.get(&node).is_some_and(late) {
                self.lose(env, node);
            }
        }
        while self.may_issue() && self.next_issue <= env.now {
            if let Some(planned) = self.plan.pop_front() {
                self.next_issue =
                    env.now + self.plan.front().map_or(0, |next| u64::from(next.wait_us));
                self.issue(env, planned);
            } else if let Some(group) = self.audits.pop_front() {
                // Put back when it fails; see `settle`.
                self.issue(
                    env,
                    Planned {
                        wait_us: 0,
                        group,
                        act: Act::Audit,
                        value: 0,
                    },
                );
                self.next_issue = env.now + 20 * MS;
            }
        }
        self.plan_wake(env.now);
    }

    fn may_issue(&self) -> bool {
        let more = !self.plan.is_empty() || !self.audits.is_empty();
        let depth = if self.plan.is_empty() {
            1
        } else {
            self.settings.depth
        };
        more && !self.exclusive && self.in_flight < depth
    }

    fn plan_wake(&mut self, now: Micros) {
        let mut wake = self.may_issue().then_some(self.next_issue.max(now + 1));
        let mut sooner = |at: Micros| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        if !self.vandals.is_empty() {
            sooner(now + SEC / 10);
        }
        for link in self.links.values() {
            if let Some(sent) = link.sent.front() {
                sooner((sent.at + self.settings.timeout_us).max(now + 1));
                if let Some((_, every)) = self.settings.slow {
                    sooner(link.next_read.clamp(now + 1, now + every.max(1)));
                }
            }
            if !link.connected {
                sooner((link.opened + self.settings.timeout_us).max(now + 1));
            }
        }
        self.wake_at = wake;
    }

    fn issue(&mut self, env: &mut Surroundings<'_>, planned: Planned) {
        if planned.act == Act::Garbage {
            let node = self.rng.below(u64::from(self.settings.nodes)) as u16;
            self.vandals
                .push(env.net.connect(env.now, self.host, node, CLIENT_PORT));
            return;
        }
        let cmds = workload::commands(&planned, self.id, self.settings.large);
        let shape = match planned.act {
            Act::Guarded(..) => Shape::Guarded {
                key: workload::guarded_key(&planned),
                seen: None,
            },
            Act::Audit | Act::Many(..) => Shape::Transaction,
            Act::Scripted(..) => Shape::Script,
            Act::Garbage | Act::Hangup(_) | Act::One(_) => Shape::Single,
        };
        let op = env.history.ops.len();
        let node = self.home(planned.group);
        env.history.ops.push(Op {
            client: self.id,
            group: planned.group,
            cmds,
            shape,
            invoke: env.now,
            ended: None,
            outcome: Outcome::Pending,
            node,
            conn: None,
            stamp: 0,
        });
        self.in_flight += 1;
        if matches!(planned.act, Act::Guarded(..)) {
            self.exclusive = true;
            self.watch(env, op, node);
        } else {
            self.send(env, op, node, 0, false);
        }
        if matches!(planned.act, Act::Hangup(_)) {
            self.hang_up(env, node);
        }
    }

    fn home(&self, group: u16) -> u16 {
        let guess = if self.settings.cluster {
            group % self.settings.nodes
        } else {
            0
        };
        self.homes.get(&group).copied().unwrap_or(guess)
    }

    fn watch(&mut self, env: &mut Surroundings<'_>, op: usize, node: u16) {
        let Shape::Guarded { key, .. } = &env.history.ops[op].shape else {
            return;
        };
        let key = key.clone();
        let link = self.link(env, node);
        resp::encode_request(&mut link.out, &[b"WATCH", key.as_slice()]);
        resp::encode_request(&mut link.out, &[b"GET", key.as_slice()]);
        link.expect(What::Watch { op }, 2, env.now);
        link.flush(env);
    }

    fn send(&mut self, env: &mut Surroundings<'_>, op: usize, node: u16, tries: u32, asking: bool) {
        let entry = &mut env.history.ops[op];
        entry.node = node;
        let mut bytes = Vec::new();
        let mut want = 1;
        if entry.shape == Shape::Single {
            resp::encode_request(&mut bytes, &entry.cmds[0]);
        } else if entry.shape == Shape::Script {
            resp::encode_request(&mut bytes, &workload::script(&entry.cmds));
        } else {
            want = entry.cmds.len() + 2;
            resp::encode_request(&mut bytes, &[b"MULTI"]);
            entry
                .cmds
                .iter()
                .for_each(|argv| resp::encode_request(&mut bytes, argv));
            resp::encode_request(&mut bytes, &[b"EXEC"]);
        }
        let link = self.link(env, node);
        if asking {
            resp::encode_request(&mut link.out, &[b"ASKING"]);
            link.expect(What::Asking, 1, env.now);
        }
        link.out.extend(bytes);
        link.expect(What::Operation { op, tries }, want, env.now);
        env.history.ops[op].conn = Some(link.end.conn);
        link.flush(env);
    }

    fn link(&mut self, env: &mut Surroundings<'_>, node: u16) -> &mut Link {
        let (host, resp3, now) = (self.host, self.settings.resp3, env.now);
        self.links.entry(node).or_insert_with(|| {
            let end = env.net.connect(now, host, node, CLIENT_PORT);
            let sent = VecDeque::new();
            let mut link = Link {
                end,
                connected: false,
                opened: now,
                out: Vec::new(),
                read: Vec::new(),
                sent,
                next_read: 0,
            };
            if resp3 {
                resp::encode_request(&mut link.out, &["HELLO", "3"]);
                link.expect(What::Hello, 1, now);
            }
            link
        })
    }

    /// Sends some of what it has and closes: the server may see a part of the last request.
    fn hang_up(&mut self, env: &mut Surroundings<'_>, node: u16) {
        if let Some(link) = self.links.get_mut(&node) {
            let keep = self.rng.below(link.out.len() as u64 + 1) as usize;
            link.out.truncate(keep);
            link.flush(env);
        }
        self.lose(env, node);
    }

    fn read(&mut self, env: &mut Surroundings<'_>, node: u16, limit: usize) {
        let mut limit = limit;
        if let (Some((bytes, every)), Some(link)) = (self.settings.slow, self.links.get_mut(&node))
        {
            if link.next_read > env.now {
                return;
            }
            link.next_read = env.now + every;
            limit = bytes;
        }
        let Some(link) = self.links.get_mut(&node) else {
            return;
        };
        let bytes = env.net.readable(link.end);
        let taken = bytes.len().min(limit);
        link.read.extend_from_slice(&bytes[..taken]);
        let (end, stamp) = (link.end, env.net.stamp(link.end));
        env.net.consume(end, taken);
        let mut unread = std::mem::take(&mut link.read);
        let mut at = 0;
        while let Some(link) = self.links.get_mut(&node) {
            match resp::parse(&unread[at..]) {
                Ok(None) => {
                    unread.drain(..at);
                    link.read = unread;
                    return;
                }
                Ok(Some((reply, len))) => {
                    at += len;
                    self.on_reply(env, node, reply, stamp);
                }
                Err(resp::Malformed) => {
                    let rest = &unread[at..];
                    let text = format!(
                        "client {}: node {node} sent what is no reply: {:?}",
                        self.id,
                        String::from_utf8_lossy(&rest[..rest.len().min(200)])
                    );
                    env.violations.push(Violation::safety("P1", env.now, text));
                    self.lose(env, node);
                }
            }
        }
    }

    fn on_reply(&mut self, env: &mut Surroundings<'_>, node: u16, reply: Reply, stamp: u32) {
        if matches!(reply, Reply::Push(_)) {
            return;
        }
        let Some(link) = self.links.get_mut(&node) else {
            return;
        };
        let Some(front) = link.sent.front_mut() else {
            // Redis greets a client beyond `maxclients`, and one that sent garbage, with an error of its own.
            if reply.error_code().is_none() {
                let text = format!("client {}: node {node} sent {reply:?} for nothing", self.id);
                env.violations.push(Violation::safety("P1", env.now, text));
            }
            return;
        };
        front.got.push(reply);
        if front.got.len() < front.want {
            return;
        }
        let Some(sent) = link.sent.pop_front() else {
            return;
        };
        match sent.what {
            What::Hello | What::Asking => {}
            What::Watch { op } => self.on_watched(env, node, op, sent.got),
            What::Operation { op, tries } => self.on_answer(env, node, op, tries, sent.got, stamp),
        }
    }

    fn on_watched(&mut self, env: &mut Surroundings<'_>, node: u16, op: usize, got: Vec<Reply>) {
        let seen = match &got[..] {
            [watched, Reply::Nil] if *watched == Reply::ok() => None,
            [watched, Reply::Bulk(text)] if *watched == Reply::ok() => Some(text.clone()),
            _ => {
                self.learn(env.history.ops[op].group, node, &got[1]);
                self.settle(env, op, Outcome::Refused(b"not watched".to_vec()), 0);
                // The WATCH may have been taken: it must not abort a later transaction here.
                return self.lose(env, node);
            }
        };
        if let Shape::Guarded { seen: slot, .. } = &mut env.history.ops[op].shape {
            *slot = seen;
        }
        // From here on it counts: what the read saw must hold when the transaction runs.
        self.send(env, op, node, 9, false);
    }

    fn on_answer(
        &mut self,
        env: &mut Surroundings<'_>,
        node: u16,
        op: usize,
        tries: u32,
        mut got: Vec<Reply>,
        stamp: u32,
    ) {
        let Some(last) = got.pop() else { return };
        let (group, guarded) = {
            let entry = &env.history.ops[op];
            (entry.group, matches!(entry.shape, Shape::Guarded { .. }))
        };
        if got.first().is_some_and(|multi| *multi != Reply::ok()) {
            let text = format!("client {}: MULTI was answered {:?}", self.id, got[0]);
            env.violations.push(Violation::safety("P1", env.now, text));
        }
        let refusal = got
            .iter()
            .chain([&last])
            .find(|reply| refuses(reply))
            .cloned();
        let single = got.is_empty();
        let script = env.history.ops[op].shape == Shape::Script;
        let outcome = match (refusal, last) {
            (Some(error), _) => {
                let asking = error.error_code() == Some(b"ASK");
                let target = self.learn(group, node, &error);
                // A transaction sent now would run under the WATCH of another, and end it.
                let open = single || !(asking || self.exclusive);
                if let Some(target) = target.filter(|_| tries < 5 && open) {
                    return self.send(env, op, target, tries + 1, asking);
                }
                Outcome::Refused(error_text(&error))
            }
            (None, Reply::Nil) if guarded => Outcome::Refused(b"aborted by WATCH".to_vec()),
            (None, last) if single && !script => {
                if last
                    .error_code()
                    .is_some_and(|code| code != b"WRONGTYPE" && code != b"ERR")
                {
                    let text = format!("client {}: unexpected {last:?}", self.id);
                    env.violations.push(Violation::safety("P1", env.now, text));
                }
                Outcome::Done(vec![last])
            }
            (None, Reply::Array(replies)) if replies.len() == env.history.ops[op].cmds.len() => {
                Outcome::Done(replies)
            }
            (None, other) => {
                let text = format!("client {}: EXEC was answered {other:?}", self.id);
                env.violations.push(Violation::safety("P1", env.now, text));
                Outcome::Unknown
            }
        };
        if matches!(outcome, Outcome::Done(_)) {
            self.homes.insert(group, node);
        }
        self.settle(env, op, outcome, stamp);
    }

    /// Learns from a refusal where a group's keys may be; a node to go to at once, if it names one.
    fn learn(&mut self, group: u16, node: u16, error: &Reply) -> Option<u16> {
        let Reply::Error(text) = error else {
            return None;
        };
        let mut words = text.split(|&byte| byte == b' ');
        match words.next() {
            Some(b"MOVED" | b"ASK") => {
                let target = words
                    .nth(1)
                    .and_then(node_of_address)
                    .filter(|&to| to < self.settings.nodes)?;
                if text.starts_with(b"MOVED") {
                    self.homes.insert(group, target);
                }
                Some(target)
            }
            Some(b"READONLY" | b"CLUSTERDOWN" | b"MASTERDOWN" | b"LOADING") => {
                self.wander(group, node);
                None
            }
            _ => None,
        }
    }

    fn wander(&mut self, group: u16, from: u16) {
        let mut next = self.rng.below(u64::from(self.settings.nodes)) as u16;
        if next == from {
            next = (next + 1) % self.settings.nodes;
        }
        self.homes.insert(group, next);
    }

    fn settle(&mut self, env: &mut Surroundings<'_>, op: usize, outcome: Outcome, stamp: u32) {
        let entry = &mut env.history.ops[op];
        entry.outcome = outcome;
        entry.ended = Some(env.now);
        entry.stamp = stamp;
        self.in_flight -= 1;
        if matches!(entry.shape, Shape::Guarded { .. }) {
            self.exclusive = false;
        }
        let answered = matches!(entry.outcome, Outcome::Done(_));
        let auditing = self.auditor && entry.cmds == workload::audit(entry.group);
        if auditing && !answered {
            self.audits.push_back(entry.group);
        }
        if !answered {
            self.next_issue = self.next_issue.max(env.now + self.rng.range(MS, 50 * MS));
        }
    }

    /// A connection is over: what was sent is of unknown fate, what was not is not.
    fn lose(&mut self, env: &mut Surroundings<'_>, node: u16) {
        let Some(link) = self.links.remove(&node) else {
            return;
        };
        env.net.close(env.now, link.end);
        for sent in link.sent {
            match sent.what {
                What::Hello | What::Asking => {}
                What::Watch { op } => {
                    self.wander(env.history.ops[op].group, node);
                    self.settle(env, op, Outcome::Refused(b"not watched".to_vec()), 0);
                }
                What::Operation { op, .. } => {
                    self.wander(env.history.ops[op].group, node);
                    let outcome = if link.connected {
                        Outcome::Unknown
                    } else {
                        Outcome::Refused(b"never sent".to_vec())
                    };
                    self.settle(env, op, outcome, 0);
                }
            }
        }
    }
}

impl Link {
    fn expect(&mut self, what: What, want: usize, at: Micros) {
        self.sent.push_back(Sent {
            what,
            want,
            got: Vec::new(),
            at,
        });
    }

    fn flush(&mut self, env: &mut Surroundings<'_>) {
        if self.connected && !self.out.is_empty() {
            let n = env.net.send(env.now, self.end, &self.out, 0);
            self.out.drain(..n);
        }
    }
}

/// Errors that say that nothing was executed.
fn refuses(reply: &Reply) -> bool {
    let codes: [&[u8]; 14] = [
        b"ASK",
        b"BUSY",
        b"CLUSTERDOWN",
        b"CROSSSLOT",
        b"EXECABORT",
        b"LOADING",
        b"MASTERDOWN",
        b"MISCONF",
        b"MOVED",
        b"NOREPLICAS",
        b"OOM",
        b"READONLY",
        b"TRYAGAIN",
        b"UNBLOCKED",
    ];
    reply.error_code().is_some_and(|code| codes.contains(&code))
}

fn error_text(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Error(text) => text.clone(),
        _ => Vec::new(),
    }
}

/// A node's address is 10.0.0.(number + 1).
fn node_of_address(address: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(address).ok()?;
    let host = text.rsplit_once(':')?.0;
    let last: u16 = host.rsplit('.').next()?.parse().ok()?;
    last.checked_sub(1)
}

fn garbage(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = match rng.below(6) {
        0 => b"*3\r\n$3\r\nSET\r\n$-5\r\n".to_vec(),
        1 => b"*1000000000\r\n$1\r\n".to_vec(),
        2 => b"*2\r\n$999999999999\r\n".to_vec(),
        3 => b"GET \"unbalanced\r\n\r\nPING\r\n".to_vec(),
        4 => b"PSYNC ? -1\r\nREPLCONF ACK 99\r\n".to_vec(),
        _ => Vec::new(),
    };
    for _ in 0..rng.below(60) {
        bytes.push(rng.next_u64() as u8);
    }
    bytes
}
