//! Faults strike, and end.

use super::{Event, Phase, World};
use crate::faults::Fault;
use crate::history::Fork;
use crate::network::LinkSettings;
use crate::time::MS;

impl World<'_> {
    /// A fault of the plan is due.
    pub(super) fn strike(&mut self, index: u32) {
        self.strike_now(index);
        self.place_all();
    }

    fn strike_now(&mut self, index: u32) {
        let (at, fault) = self.plan.faults[index as usize];
        if self.phase != Phase::Chaos {
            return;
        }
        self.faults += 1;
        self.note(5, u64::from(index));
        self.tell(|| format!("fault: {fault:?}"));
        if let Some(for_us) = fault.lasts() {
            self.queue.push(at + for_us, Event::Undo { index });
        }
        let now = self.now;
        match fault {
            Fault::Crash {
                node, power, after, ..
            } => {
                let found = &mut self.nodes[usize::from(node)];
                if found.running() {
                    // It dies in one of its next turns, or soon after.
                    found.dies_after = Some((after, power));
                    if after == 0 {
                        let fork = self.fork_at_death(node);
                        self.kill(node, power, fork);
                    }
                }
            }
            Fault::CrashAll { .. } => {
                for node in 0..self.nodes.len() as u16 {
                    if self.nodes[usize::from(node)].running() {
                        let fork = self.fork_at_death(node);
                        self.kill(node, true, fork);
                    }
                }
            }
            Fault::Wipe { node, .. } => {
                // It dies of it, and nothing is left but who it is.
                self.kill(node, true, Fork::Everything);
                let disk = &mut self.nodes[usize::from(node)].disk;
                let mut image = disk.durable_image();
                image.retain(|path, _| path == "nodes.conf");
                disk.restore(&image);
                self.marks.hit("disk.wiped");
            }
            Fault::Shutdown { node, .. } => self.terminate(node),
            Fault::Pause { node, for_us } => {
                let found = &mut self.nodes[usize::from(node)];
                found.paused_until = found.paused_until.max(now + for_us);
            }
            Fault::Slow { node, factor, .. } => {
                self.nodes[usize::from(node)].slowness = factor.max(1)
            }
            Fault::Split { mask, one_way, .. } => self.split(mask, one_way, true),
            Fault::Clog { from, to, .. } => self.net.block(now, from, to, true),
            Fault::Throttle {
                from,
                to,
                bandwidth,
                ..
            } => {
                let link = LinkSettings {
                    bandwidth,
                    ..self.plan.net.link
                };
                self.net.shape(from, to, Some(link));
            }
            Fault::Refuse { node, .. } => self.net.refuse(node, true),
            Fault::Reset { pick } => {
                let conns: Vec<_> = self.net.live().collect();
                if let Some(&conn) = conns.get(pick as usize % conns.len().max(1)) {
                    self.net.reset(now, conn);
                }
            }
            Fault::Stall { pick, for_us } => {
                let conns: Vec<_> = self.net.live().collect();
                if let Some(&conn) = conns.get(pick as usize % conns.len().max(1)) {
                    self.net.stall(conn, now + for_us);
                }
            }
            Fault::Jump { node, by_us } => self.nodes[usize::from(node)].clock.jump(by_us),
            Fault::Freeze { node, .. } => self.nodes[usize::from(node)].clock.freeze(now, true),
            Fault::DiskFull { node, bytes, .. } => {
                self.nodes[usize::from(node)].disk.limit_space(bytes)
            }
            Fault::BadReads { node, reads, .. } => {
                if self.nodes[usize::from(node)].running() {
                    let fork = self.fork_at_death(node);
                    self.kill(node, false, fork);
                    self.queue.push(now + 10 * MS, Event::Boot { node });
                }
                self.nodes[usize::from(node)].disk.faults().read_eio = u64::from(reads);
            }
            Fault::DiskErrors {
                node,
                writes,
                syncs,
                ..
            } => {
                let faults = self.nodes[usize::from(node)].disk.faults();
                (faults.write_eio, faults.sync_eio) = (u64::from(writes), u64::from(syncs));
            }
            Fault::Rot {
                node, pick, sector, ..
            } => {
                if self.nodes[usize::from(node)].running() {
                    let fork = self.fork_at_death(node);
                    self.kill(node, false, fork);
                    let rotten = self.nodes[usize::from(node)].disk.rot(pick, sector);
                    if let Some((path, at)) = rotten {
                        self.tell(|| format!("n{node}: {path} rots at {at}"));
                    }
                }
            }
            Fault::SlowSync { node, mean_us, .. } => {
                self.nodes[usize::from(node)].disk.faults().slow_sync_us = mean_us;
            }
            Fault::Command { node, line } => self.operate(node, line.to_owned()),
            Fault::Promote { node } => {
                self.chosen = node;
                self.promote(node);
            }
        }
    }

    /// A fault ends.
    pub(super) fn undo(&mut self, fault: Fault) {
        self.undo_now(fault);
        self.place_all();
    }

    fn undo_now(&mut self, fault: Fault) {
        let now = self.now;
        if self.phase != Phase::Chaos {
            return; // Healed as a whole.
        }
        match fault {
            Fault::Crash { node, power, .. } => {
                let found = &mut self.nodes[usize::from(node)];
                if found.dies_after.take().is_some() && found.running() {
                    let fork = self.fork_at_death(node);
                    self.kill(node, power, fork);
                }
                self.boot(node);
            }
            Fault::CrashAll { .. } => (0..self.nodes.len() as u16).for_each(|node| self.boot(node)),
            Fault::Wipe { node, .. } | Fault::Rot { node, .. } => self.boot(node),
            Fault::Shutdown { node, .. } => {
                // Where it still runs, it called the end off, because of some other fault.
                self.leaving.remove(&node);
                self.boot(node);
            }
            Fault::Slow { node, .. } => self.nodes[usize::from(node)].slowness = 1,
            Fault::Split { mask, one_way, .. } => self.split(mask, one_way, false),
            Fault::Clog { from, to, .. } => self.net.block(now, from, to, false),
            Fault::Throttle { from, to, .. } => self.net.shape(from, to, None),
            Fault::Refuse { node, .. } => self.net.refuse(node, false),
            Fault::Freeze { node, .. } => self.nodes[usize::from(node)].clock.freeze(now, false),
            Fault::DiskFull { node, .. } => {
                self.nodes[usize::from(node)].disk.faults().space = None
            }
            Fault::BadReads { node, .. } => {
                self.nodes[usize::from(node)].disk.faults().read_eio = 0;
                self.boot(node);
            }
            Fault::DiskErrors { node, .. } => {
                let faults = self.nodes[usize::from(node)].disk.faults();
                (faults.write_eio, faults.sync_eio) = (0, 0);
            }
            Fault::SlowSync { node, .. } => {
                self.nodes[usize::from(node)].disk.faults().slow_sync_us = 0
            }
            Fault::Pause { .. }
            | Fault::Reset { .. }
            | Fault::Stall { .. }
            | Fault::Jump { .. }
            | Fault::Command { .. }
            | Fault::Promote { .. } => {}
        }
    }

    pub(super) fn split(&mut self, mask: u16, one_way: bool, blocked: bool) {
        let nodes = self.nodes.len() as u16;
        let hosts = nodes + self.clients.len() as u16 + 1;
        let side = |host: u16| mask >> (if host < nodes { host } else { 15 }) & 1 == 1;
        for from in 0..hosts {
            for to in 0..hosts {
                let stopped = side(from) && !side(to) || !one_way && side(to) && !side(from);
                if stopped {
                    self.net.block(self.now, from, to, blocked);
                }
            }
        }
    }

    pub(super) fn promote(&mut self, node: u16) {
        self.operate(node, "REPLICAOF NO ONE".into());
        for other in (0..self.nodes.len() as u16).filter(|other| *other != node) {
            let line = format!("REPLICAOF {} {}", crate::node::ip(node), crate::node::PORT);
            self.operate(other, line);
        }
    }

    pub(super) fn operate(&mut self, node: u16, line: String) {
        if self.operator.add(node, line) {
            self.queue.push(self.now, Event::Operator);
        }
    }
}
