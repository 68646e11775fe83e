//! The life of the nodes: they start, run, are looked into, die and exit.

use super::{Event, Phase, World, mix_bytes};
use crate::checkers::minority::Position;
use crate::checkers::{Kind as Breach, Violation, round_trip};
use crate::history::{Fork, Stamp};
use crate::network::{EndRef, Host};
use crate::node::{Machine, Program, Turned};
use crate::plan::Promise;
use crate::probe::Standing;
use crate::scenario;
use crate::time::{MS, Micros, SEC};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl World<'_> {
    pub(super) fn schedule_node(&mut self, id: u16) {
        let node = &mut self.nodes[usize::from(id)];
        if let Some(at) = node.next_wake(self.now)
            && node.wake_at.is_none_or(|wake| wake > at || wake < self.now)
        {
            node.wake_at = Some(at);
            self.queue.push(at, Event::Wake { node: id });
        }
    }

    pub(super) fn wake(&mut self, id: u16) {
        let now = self.now;
        let nodes = self.nodes.len() as u16;
        let node = &mut self.nodes[usize::from(id)];
        node.wake_at = None;
        if node.paused_until > now {
            return self.schedule_node(id);
        }
        let (history, reigns, replication) =
            (&mut self.history, &mut self.reigns, &mut self.replication);
        let stream = RefCell::new(&mut self.stream);
        let standing_now = Cell::new(Standing::default());
        let (cluster, trace, story, options) = (
            &mut self.cluster,
            &mut self.trace,
            &mut self.story,
            self.options,
        );
        let mut found = None;
        let mut disk_due = Vec::new();
        let mut stamp = |standing: Standing| {
            let reign = reigns.observe(history, id, now, &standing);
            found = found.take().or(replication.observe(id, now, &standing));
            stream.borrow_mut().observe(&standing);
            standing_now.set(standing);
            history.stamp(Stamp {
                node: id,
                reign,
                offset: standing.offset,
            })
        };
        let mut seen = None;
        let mut sniff = |end: EndRef, peer: Host, bytes: &[u8]| {
            mix_bytes(trace, bytes);
            seen = seen.take().or(cluster.sniff(id, peer, now, end, bytes));
            if peer < nodes {
                let standing = standing_now.get();
                let mut stream = stream.borrow_mut();
                seen = seen.take().or(stream.sniff(id, now, end, bytes, &standing));
            }
        };
        let marks = &mut self.marks;
        let mut tell = |_, text: &str| {
            marks.log(text);
            if options.logs {
                story.push(format!("{:>12.6} n{id} │ {text}", now as f64 / 1e6));
            }
        };
        let mut machine = Machine {
            now,
            net: &mut self.net,
            cpu: &mut self.cpu,
            stamp: &mut stamp,
            disk_due: &mut disk_due,
            sniff: &mut sniff,
            story: &mut tell,
        };
        let turned = catch_unwind(AssertUnwindSafe(|| node.wake(&mut machine)));
        self.violations.extend(found.or(seen));
        let boot = node.boots;
        for due in disk_due {
            self.queue.push(due, Event::Disk { node: id, boot });
        }
        self.note(1, u64::from(id));
        match turned {
            Ok(Turned::Alive) => {
                self.sample(id);
                self.schedule_node(id);
            }
            Ok(Turned::Died) => {
                self.tell(|| format!("n{id} dies in the middle of its turn"));
                let power = self.nodes[usize::from(id)]
                    .dies_after
                    .is_some_and(|(_, power)| power);
                let fork = self.fork_at_death(id);
                self.kill(id, power, fork);
            }
            Ok(Turned::Exited(code)) => self.exited(id, code),
            Err(panic) => self.panicked(id, panic.as_ref()),
        }
    }

    /// Looks into a node now and then: a full comparison at every turn would cost more than the turn.
    pub(super) fn sample(&mut self, id: u16) {
        self.wakes += 1;
        let node = &self.nodes[usize::from(id)];
        let Some(standing) = node.standing() else {
            return;
        };
        let waited_for = self.returning.contains_key(&id) && !standing.loading;
        if !waited_for && !self.wakes.is_multiple_of(16) {
            return;
        }
        if self.wakes.is_multiple_of(64) {
            let checked = catch_unwind(AssertUnwindSafe(|| node.invariants()));
            if let Err(panic) = checked {
                return self.panicked(id, panic.as_ref());
            }
        }
        let node = &self.nodes[usize::from(id)];
        if let Some(probe) = node.cluster() {
            self.violations
                .extend(self.cluster.observe(id, self.now, &probe));
            let owners = probe.slots.iter().filter_map(|(.., owner)| number(owner));
            self.owners[usize::from(id)] = owners.collect();
            self.place(id);
        }
        if !standing.primary && standing.link_up {
            self.followed.insert(id, (self.now, standing.replid));
        }
        let node = &self.nodes[usize::from(id)];
        let Some(dump) = node.dump() else { return };
        self.violations
            .extend(self.replication.sample(id, self.now, &standing, &dump));
        if waited_for && let Some(before) = self.returning.remove(&id) {
            let unix_ms = node.clock.now(self.now).unix_ms();
            self.violations
                .extend(round_trip::compare(id, self.now, unix_ms, &before, &dump));
        }
    }

    pub(super) fn panicked(&mut self, id: u16, panic: &(dyn std::any::Any + Send)) {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("?");
        let place = crate::panics::last_place();
        let text = format!("node {id} panicked: {said} {place}");
        let invariant = "P3";
        self.violations.push(Violation {
            invariant,
            kind: Breach::Crash,
            at: self.now,
            text,
        });
    }

    pub(super) fn boot(&mut self, id: u16) {
        let now = self.now;
        let node = &mut self.nodes[usize::from(id)];
        if node.running() || self.spared.contains(&id) {
            return;
        }
        self.net.machine_up(now, id);
        let net = &mut self.net;
        let booted = catch_unwind(AssertUnwindSafe(|| node.boot(now, net)));
        if let Err(panic) = booted {
            return self.panicked(id, panic.as_ref());
        }
        self.note(2, u64::from(id));
        self.place_all();
        self.tell(|| format!("n{id} starts"));
        self.schedule_node(id);
        // Its first effects wait to be drained: it runs at once, whatever its timers say.
        let node = &mut self.nodes[usize::from(id)];
        node.wake_at = Some(node.ready_at(now));
        self.queue
            .push(node.ready_at(now), Event::Wake { node: id });
    }

    /// Ends a process, with its machine if `power`.
    pub(super) fn kill(&mut self, id: u16, power: bool, fork: Fork) {
        let now = self.now;
        let node = &mut self.nodes[usize::from(id)];
        self.reigns.gone(&mut self.history, id, now, fork);
        self.replication.gone(id);
        self.cluster.gone(id);
        self.honesty.gone(id, now);
        self.followed.remove(&id);
        self.leaving.remove(&id);
        self.returning.remove(&id);
        if node.standing().is_some_and(|standing| !standing.loading) {
            node.disk.forget_rot();
        }
        node.stop();
        let damaged = if power {
            node.disk.power_failed().damaged
        } else {
            node.disk.process_died()
        };
        for (path, len) in damaged {
            // Holes in a log's un-synced part cannot be told from data: the operator's repair cuts there.
            if path.ends_with(".aof") {
                node.disk.repair(&path, len);
            }
        }
        if power {
            self.net.machine_died(now, id);
        } else {
            self.net.process_died(now, id);
        }
        self.note(4, u64::from(id) << 1 | u64::from(power));
        self.place_all();
    }

    /// What a sudden death may take from a node.
    pub(super) fn fork_at_death(&mut self, id: u16) -> Fork {
        let node = &self.nodes[usize::from(id)];
        if !node.persists() {
            // An operator may have had it save all the same.
            let saved = node.disk.has("dump.rdb");
            return if saved {
                Fork::Anything
            } else {
                Fork::Everything
            };
        }
        let delay = self.nodes[usize::from(id)].disk.recent_delay(self.now);
        match self.plan.promise {
            Promise::All => Fork::Nothing,
            Promise::Nothing => Fork::Anything,
            // A second of timer, a second in flight. (What the network took to bring the answer only makes operations
            // look younger.) What was answered just before the disk failed may wait in memory for as long as it fails,
            // and a process that stands still cannot sync either.
            Promise::TwoSeconds => {
                let node = &self.nodes[usize::from(id)];
                let sound_until = node.disk.first_failure.unwrap_or(self.now);
                let span = 2 * SEC + 200 * MS + delay;
                Fork::Time(node.ran.ran_since(sound_until, span))
            }
        }
    }

    pub(super) fn exited(&mut self, id: u16, code: i32) {
        let asked = self.leaving.remove(&id);
        let standing = self.nodes[usize::from(id)].standing().unwrap_or_default();
        let last = self.nodes[usize::from(id)]
            .log
            .back()
            .cloned()
            .unwrap_or_default();
        self.tell(|| format!("n{id} exits with {code}: {last}"));
        let orderly = self.nodes[usize::from(id)].asked && code == 0;
        let persists = self.nodes[usize::from(id)].persists();
        let fork = if orderly && persists {
            Fork::Nothing
        } else {
            self.fork_at_death(id)
        };
        // It found that something had rotted: the operator has a copy of that.
        let found_rot = !orderly && self.nodes[usize::from(id)].disk.restore_rotten();
        if found_rot {
            self.marks.hit("disk.rot-found");
        }
        if !orderly && self.nodes[usize::from(id)].disk.faults().read_eio > 0 {
            self.marks.hit("disk.read-failed");
        }
        self.kill(id, false, fork);
        if let (true, Some(Some(dump))) = (orderly && persists && !standing.loading, asked) {
            self.returning.insert(id, dump);
        }
        let clean = *self.nodes[usize::from(id)].disk.faults() == Default::default();
        if !orderly && !found_rot && clean && self.nodes[usize::from(id)].disk.failures == 0 {
            let log = self.nodes[usize::from(id)]
                .log
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join("\n    ");
            let text =
                format!("node {id} ended itself with {code} though nobody asked:\n    {log}");
            self.violations
                .push(Violation::safety("D3", self.now, text));
        }
        // Something restarts it: its supervisor, or the operator (see also `undo`).
        let wait = if self.phase == Phase::Chaos {
            SEC
        } else {
            10 * MS
        };
        self.queue.push(self.now + wait, Event::Boot { node: id });
    }

    pub(super) fn terminate(&mut self, id: u16) {
        let node = &mut self.nodes[usize::from(id)];
        if node.running() {
            node.shutdown();
            // What it holds when it ends is what counts. In chaos writes may still come before the end.
            let dump = node.dump().filter(|_| self.phase == Phase::Restart);
            self.leaving.insert(id, dump);
            self.schedule_node(id);
        }
    }

    /// Tells the observer of minorities where a cluster's node is.
    pub(super) fn place(&mut self, id: u16) {
        let owners = &self.owners[usize::from(id)];
        if owners.is_empty() {
            return;
        }
        let node = &self.nodes[usize::from(id)];
        let net = &self.net;
        let reached = owners.iter().copied().filter(|&other| {
            let open = !net.is_blocked(id, other) && !net.is_blocked(other, id);
            other == id || self.nodes[usize::from(other)].running() && open
        });
        let primary = node.standing().is_some_and(|standing| standing.primary);
        let position = Position {
            owners: owners.clone(),
            reached: reached.collect(),
            sound: primary && node.paused_until <= self.now && node.slowness == 1,
        };
        let limit = node_timeout(&node.program) + SEC;
        self.minority.observe(id, self.now, limit, position);
    }

    /// The same for all nodes: something changed that may concern any of them.
    pub(super) fn place_all(&mut self) {
        (0..self.nodes.len() as u16).for_each(|id| self.place(id));
    }
}

/// The number of a cluster's node, from its name.
pub(super) fn number(name: &str) -> Option<u16> {
    (0..16).find(|&node| scenario::name(node) == *name)
}

/// `cluster-node-timeout`, in microseconds.
pub(super) fn node_timeout(program: &Program) -> Micros {
    let Program::Engine(directives) = program else {
        return 0;
    };
    let found = directives
        .iter()
        .find(|(name, _)| *name == "cluster-node-timeout");
    found.and_then(|(_, ms)| ms.parse().ok()).unwrap_or(15_000) * MS
}
