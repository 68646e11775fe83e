//! Faults, as data: a list of moments and what happens then. Drawn per seed; deleted one by one by the shrinker.
//!
//! Swarm: each seed allows only a random subset of the kinds, so that some seeds see one fault many times and
//! others see rare combinations.

use crate::rng::Rng;
use crate::time::{MS, Micros, SEC};

/// Something that goes wrong, or that an operator does. Those with `for_us` end by themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// NODE-1, NODE-3, NET-7: the process (or with `power` the machine) dies after its `after`th effect or output of
    /// some turn, and starts again later.
    Crash {
        /// Which node.
        node: u16,
        /// The whole machine: un-synced data is lost, peers hear nothing.
        power: bool,
        /// Effects and outputs of the turn that still get out.
        after: u32,
        /// How long it stays down.
        for_us: u64,
    },
    /// NODE-6: power fails everywhere.
    CrashAll {
        /// How long they stay down.
        for_us: u64,
    },
    /// NODE-4: dies and returns with an empty disk and the same identity: of its files only nodes.conf stays.
    Wipe {
        /// Which node.
        node: u16,
        /// How long it stays down.
        for_us: u64,
    },
    /// NODE-8: SIGTERM under load, then a restart.
    Shutdown {
        /// Which node.
        node: u16,
        /// How long it stays down.
        for_us: u64,
    },
    /// NODE-2: stands still, its queues filling.
    Pause {
        /// Which node.
        node: u16,
        /// How long.
        for_us: u64,
    },
    /// NODE-7: every command takes so much longer.
    Slow {
        /// Which node.
        node: u16,
        /// How many times.
        factor: u32,
        /// How long.
        for_us: u64,
    },
    /// NET-4, NET-5: the nodes in `mask` (bit 15: the clients) and the rest do not reach each other.
    Split {
        /// Bit n: node n is on this side. Bit 15: the clients are.
        mask: u16,
        /// Only what leaves the masked side is stopped.
        one_way: bool,
        /// How long.
        for_us: u64,
    },
    /// NET-10: one direction between two nodes stands still.
    Clog {
        /// From this node.
        from: u16,
        /// To that one.
        to: u16,
        /// How long.
        for_us: u64,
    },
    /// NET-6: one direction between two nodes is slow.
    Throttle {
        /// From this node.
        from: u16,
        /// To that one.
        to: u16,
        /// Bytes a second.
        bandwidth: u64,
        /// How long.
        for_us: u64,
    },
    /// NET-1: a node's listeners refuse.
    Refuse {
        /// Which node.
        node: u16,
        /// How long.
        for_us: u64,
    },
    /// NET-8: some connection is reset.
    Reset {
        /// Which, by remainder.
        pick: u32,
    },
    /// NET-11: some connection stalls while others pass it.
    Stall {
        /// Which, by remainder.
        pick: u32,
        /// How long.
        for_us: u64,
    },
    /// CLK-2: the wall clock jumps.
    Jump {
        /// Which node.
        node: u16,
        /// How far, in microseconds.
        by_us: i64,
    },
    /// CLK-4: the wall clock stands.
    Freeze {
        /// Which node.
        node: u16,
        /// How long.
        for_us: u64,
    },
    /// DISK-5: little space is left.
    DiskFull {
        /// Which node.
        node: u16,
        /// Bytes that still fit.
        bytes: u64,
        /// How long.
        for_us: u64,
    },
    /// DISK-4, DISK-6: the process dies, and what it has on its disk can't be read, at times, when it starts again.
    BadReads {
        /// Which node.
        node: u16,
        /// Reads that fail, of a thousand.
        reads: u32,
        /// How long.
        for_us: u64,
    },
    /// DISK-6, DISK-7: operations fail.
    DiskErrors {
        /// Which node.
        node: u16,
        /// Writes that fail, of a thousand.
        writes: u32,
        /// Syncs that fail, of a thousand.
        syncs: u32,
        /// How long.
        for_us: u64,
    },
    /// DISK-4, DISK-11: the process dies, and some bytes of what it has on its disk are not what they were when it
    /// starts again: rot, or a write of something else that went there.
    Rot {
        /// Which node.
        node: u16,
        /// Where, by remainder.
        pick: u64,
        /// A whole sector, not a bit.
        sector: bool,
        /// How long it stays down.
        for_us: u64,
    },
    /// DISK-8: syncs take long.
    SlowSync {
        /// Which node.
        node: u16,
        /// Mean additional time.
        mean_us: u64,
        /// How long.
        for_us: u64,
    },
    /// OP-6: the operator has a node save or rewrite its log.
    Command {
        /// Which node.
        node: u16,
        /// What is sent, words parted by spaces.
        line: &'static str,
    },
    /// OP-5: the operator makes this node the primary and all others its replicas.
    Promote {
        /// Which node.
        node: u16,
    },
}

/// Which faults a seed may draw, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Menu {
    /// Number of nodes.
    pub nodes: u16,
    /// Mean time between two faults.
    pub every_us: u64,
    /// Crashes of processes.
    pub crash: bool,
    /// Power failures of machines.
    pub power: bool,
    /// Graceful shutdowns.
    pub shutdown: bool,
    /// Pauses and slow processors.
    pub pause: bool,
    /// Partitions, clogs, slow links.
    pub partition: bool,
    /// Resets, stalls, refusals.
    pub reset: bool,
    /// Wall clocks that jump or freeze.
    pub clock: bool,
    /// Full disks, failing writes and syncs.
    pub disk_errors: bool,
    /// Slow syncs.
    pub slow_sync: bool,
    /// Disks that are lost.
    pub wipe: bool,
    /// BGSAVE, BGREWRITEAOF, …
    pub commands: &'static [&'static str],
    /// Promotions by an operator (replicated worlds).
    pub promote: bool,
}

impl Menu {
    /// Draws the schedule between two moments.
    pub fn schedule(&self, rng: &mut Rng, from: Micros, until: Micros) -> Vec<(Micros, Fault)> {
        let mut faults = Vec::new();
        let mut at = from;
        loop {
            at += 1 + rng.exponential(self.every_us);
            if at >= until {
                return faults;
            }
            let longest = (until - at).max(10 * MS);
            if let Some(fault) = self.draw(rng, longest) {
                faults.push((at, fault));
            }
        }
    }

    fn draw(&self, rng: &mut Rng, longest: u64) -> Option<Fault> {
        let node = rng.below(u64::from(self.nodes)) as u16;
        let other = rng.below(u64::from(self.nodes)) as u16;
        let for_us = rng.log_range(5 * MS, 10 * SEC).min(longest);
        let bit = rng.next_u64();
        Some(match rng.below(21) {
            0 | 1 if self.crash => Fault::Crash {
                node,
                power: false,
                after: rng.below(6) as u32,
                for_us,
            },
            2 | 3 if self.power => Fault::Crash {
                node,
                power: true,
                after: rng.below(6) as u32,
                for_us,
            },
            4 if self.power && bit.is_multiple_of(4) => Fault::CrashAll { for_us },
            5 if self.shutdown => Fault::Shutdown { node, for_us },
            6 if self.pause => Fault::Pause { node, for_us },
            7 if self.pause => Fault::Slow {
                node,
                factor: rng.log_range(5, 300) as u32,
                for_us,
            },
            8 | 9 if self.partition => {
                let mask = rng.next_u64() as u16;
                Fault::Split {
                    mask,
                    one_way: bit.is_multiple_of(3),
                    for_us,
                }
            }
            10 if self.partition => Fault::Clog {
                from: node,
                to: other,
                for_us,
            },
            11 if self.partition => Fault::Throttle {
                from: node,
                to: other,
                bandwidth: rng.log_range(1_000, 1_000_000),
                for_us,
            },
            12 if self.reset => Fault::Refuse { node, for_us },
            13 if self.reset => Fault::Reset { pick: bit as u32 },
            14 if self.reset => Fault::Stall {
                pick: bit as u32,
                for_us,
            },
            15 if self.clock && bit.is_multiple_of(3) => Fault::Freeze { node, for_us },
            15 if self.clock => {
                let far = rng.log_range(MS, 86_400 * SEC) as i64;
                Fault::Jump {
                    node,
                    by_us: if bit.is_multiple_of(2) { far } else { -far },
                }
            }
            16 if self.disk_errors && bit.is_multiple_of(5) => Fault::Rot {
                node,
                pick: rng.next_u64(),
                sector: bit.is_multiple_of(3),
                for_us,
            },
            16 if self.disk_errors && bit.is_multiple_of(7) => Fault::BadReads {
                node,
                reads: rng.range(100, 1000) as u32,
                for_us,
            },
            16 if self.disk_errors && bit.is_multiple_of(2) => Fault::DiskFull {
                node,
                bytes: rng.log_range(1, 5_000),
                for_us,
            },
            16 if self.disk_errors => {
                let (writes, syncs) = if bit.is_multiple_of(3) {
                    (300, 0)
                } else {
                    (0, 400)
                };
                Fault::DiskErrors {
                    node,
                    writes,
                    syncs,
                    for_us,
                }
            }
            17 if self.slow_sync => Fault::SlowSync {
                node,
                mean_us: rng.log_range(10 * MS, 10 * SEC),
                for_us,
            },
            18 if !self.commands.is_empty() => Fault::Command {
                node,
                line: rng.pick::<&str>(self.commands),
            },
            19 if self.promote => Fault::Promote { node },
            20 if self.wipe && bit.is_multiple_of(3) => Fault::Wipe { node, for_us },
            _ => return None,
        })
    }
}

impl Fault {
    /// How long it lasts, if it ends by itself.
    pub fn lasts(&self) -> Option<u64> {
        match *self {
            Fault::Crash { for_us, .. }
            | Fault::CrashAll { for_us }
            | Fault::Wipe { for_us, .. }
            | Fault::Shutdown { for_us, .. }
            | Fault::Pause { for_us, .. }
            | Fault::Slow { for_us, .. }
            | Fault::Split { for_us, .. }
            | Fault::Clog { for_us, .. }
            | Fault::Throttle { for_us, .. }
            | Fault::Refuse { for_us, .. }
            | Fault::Stall { for_us, .. }
            | Fault::Freeze { for_us, .. }
            | Fault::DiskFull { for_us, .. }
            | Fault::BadReads { for_us, .. }
            | Fault::DiskErrors { for_us, .. }
            | Fault::Rot { for_us, .. }
            | Fault::SlowSync { for_us, .. } => Some(for_us),
            Fault::Reset { .. }
            | Fault::Jump { .. }
            | Fault::Command { .. }
            | Fault::Promote { .. } => None,
        }
    }
}
