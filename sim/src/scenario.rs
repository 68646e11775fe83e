//! From a seed to a plan: draws the sizes, the settings, the operations and the faults of one kind of world.
//!
//! Swarm: each seed zeroes whole groups of faults and draws every range anew, so that some worlds know one trouble
//! only, and know it well.

use crate::client::ClientSettings;
use crate::disk::DiskSettings;
use crate::faults::Menu;
use crate::network::{Chop, LinkSettings, NetSettings};
use crate::node::{self, Program};
use crate::plan::{ClientPlan, Kind, Plan, Promise};
use crate::rng::{Concern, Rng};
use crate::time::{MS, SEC};
use crate::workload::Mix;

const SAVES: &[&str] = &["BGREWRITEAOF", "BGSAVE", "BGREWRITEAOF", "SAVE"];
const CLUSTER_ORDERS: &[&str] = &[
    "BGREWRITEAOF",
    "BGSAVE",
    "CLUSTER FAILOVER",
    "CLUSTER FAILOVER FORCE",
];

/// Draws the plan of a seed.
pub fn plan(seed: u64, kind: Kind) -> Plan {
    let rng = &mut Rng::new(seed, Concern::Settings);
    let nodes: u16 = match kind {
        Kind::Replicated => rng.range(2, 4) as u16,
        Kind::Cluster => 6,
        _ => 1,
    };
    let clients = rng.range(1, 5) as u16;
    let groups = rng.range(3, 12) as u16;
    let warm_until = SEC;
    let chaos_until = warm_until
        + if kind == Kind::Cluster {
            rng.range(8, 25)
        } else {
            rng.range(2, 14)
        } * SEC;
    let large_values = rng.chance(200);
    let mix = Mix {
        groups,
        reads: rng.range(100, 500),
        transactions: if rng.chance(300) {
            0
        } else {
            rng.range(20, 300)
        },
        rude: if rng.chance(500) { 0 } else { rng.range(1, 40) },
        expiry: rng.chance(700),
        scripts: if kind == Kind::Toy { 0 } else { 400 },
        waits: if kind == Kind::Toy { 0 } else { 400 },
        large: if large_values {
            rng.log_range(500, 60_000) as u32
        } else {
            0
        },
        think_us: 0,
        known: if kind == Kind::Toy {
            |_| true
        } else {
            node::knows
        },
    };
    // Enough operations for the whole of the chaos, few enough for the search: about 150 for each group.
    let count = (rng.range(60, 180) * u64::from(groups) / u64::from(clients)).min(900);
    let mix = Mix {
        think_us: chaos_until / count.max(1),
        ..mix
    };
    let clock = rng.chance(400);
    let menu = menu(rng, kind, nodes, clock);
    let skewed = rng.chance(500);
    let clocks = (0..nodes).map(|_| {
        let skew = if skewed {
            rng.range_i64(-5 * SEC as i64, 5 * SEC as i64)
        } else {
            0
        };
        (skew, if skewed { rng.range_i64(-500, 500) } else { 0 })
    });
    let clocks: Vec<_> = clocks.collect();
    let net = network(rng);
    let disk = DiskSettings {
        op_us: rng.log_range(5, 500),
        sync_us: rng.log_range(50, 20_000),
        sector: *rng.pick(&[64, 512, 4096]),
        holes: rng.chance(400),
    };
    let programs: Vec<Program> = (0..nodes).map(|node| program(kind, node, rng)).collect();
    // A failover moves data to a node whose clock is off by as much as clocks are at all.
    let clock_slack_us = match (clock, kind) {
        (true, _) => u64::MAX,
        (false, Kind::Replicated | Kind::Cluster) if skewed => u64::MAX,
        (false, _) if skewed => 60 * MS,
        (false, _) => 10 * MS,
    };
    let slow_clients = rng.chance(200);
    let client_plans = (0..clients).map(|id| {
        let settings = ClientSettings {
            depth: rng.log_range(1, 12) as usize,
            timeout_us: rng.log_range(300 * MS, 5 * SEC),
            resp3: rng.chance(300),
            slow: (slow_clients && id == 1).then(|| {
                (
                    rng.log_range(10, 2000) as usize,
                    rng.log_range(MS, 200 * MS),
                )
            }),
            nodes,
            cluster: kind == Kind::Cluster,
            large: mix.large,
        };
        let resp3 = settings.resp3 && kind != Kind::Toy;
        let settings = ClientSettings { resp3, ..settings };
        let mut workload = Rng::new(seed, Concern::Workload(id));
        let mut ops = mix.plan(&mut workload, id, count as usize);
        mix.vary(&mut Rng::new(seed, Concern::Manner(id)), &mut ops);
        ClientPlan { settings, ops }
    });
    let client_plans = client_plans.collect();
    let mut faults = Rng::new(seed, Concern::Faults);
    Plan {
        seed,
        kind,
        files: (0..nodes)
            .map(|node| files(kind, node, layout(seed)))
            .collect(),
        programs,
        clocks,
        promise: match kind {
            Kind::Always | Kind::Toy => Promise::All,
            Kind::EverySec => Promise::TwoSeconds,
            Kind::NoSync | Kind::Snapshots | Kind::Replicated | Kind::Cluster => Promise::Nothing,
        },
        net,
        disk,
        clients: client_plans,
        visited: kind != Kind::Toy && Rng::new(seed, Concern::Visits).chance(400),
        rehearsed: kind != Kind::Toy && Rng::new(seed, Concern::Rehearsals).chance(300),
        groups,
        faults: menu.schedule(&mut faults, warm_until, chaos_until),
        chaos_until,
        recovery_us: 100 * SEC,
        planted: None,
        clock_slack_us,
    }
}

fn menu(rng: &mut Rng, kind: Kind, nodes: u16, clock: bool) -> Menu {
    // One seed in five does without a group altogether; the others mostly have it.
    let mut has = || !rng.chance(350);
    let many = nodes > 1;
    let toy = kind == Kind::Toy;
    let mut menu = Menu {
        nodes,
        every_us: 0,
        crash: has(),
        power: has(),
        shutdown: has(),
        pause: has(),
        partition: has() && many,
        reset: has(),
        clock,
        disk_errors: has() && !many,
        slow_sync: has(),
        commands: match kind {
            Kind::Toy => &[],
            Kind::Cluster => CLUSTER_ORDERS,
            Kind::Snapshots => &["BGSAVE", "SAVE", "BGSAVE"],
            _ => SAVES,
        },
        promote: has() && kind == Kind::Replicated,
        wipe: has() && many,
    };
    if toy {
        menu.commands = &[];
    }
    if kind == Kind::Snapshots {
        // Without a log nothing is owed after a failure; the interest is in what the snapshots hold.
        menu.disk_errors = false;
    }
    menu.every_us = rng.log_range(60 * MS, 3 * SEC);
    menu
}

fn network(rng: &mut Rng) -> NetSettings {
    let link = LinkSettings {
        latency_min_us: rng.log_range(10, 5_000),
        latency_mean_us: rng.log_range(50, 20_000),
        bandwidth: if rng.chance(800) {
            0
        } else {
            rng.log_range(50_000, 10_000_000)
        },
    };
    let chop = match rng.below(3) {
        0 => Chop::Whole,
        1 => Chop::Random(rng.log_range(1, 400) as u32),
        _ => Chop::Bytes(rng.range(20, 600) as u32),
    };
    NetSettings {
        link,
        chop,
        chopped_per_mille: rng.range(100, 1000),
        window: rng.log_range(2_000, 200_000) as usize,
        keepalive_us: rng.range(2, 20) * SEC,
        patience_us: rng.range(4, 30) * SEC,
    }
}

fn program(kind: Kind, node: u16, rng: &mut Rng) -> Program {
    let mut directives: Vec<(&'static str, String)> =
        vec![("save", "\"\"".into()), ("protected-mode", "no".into())];
    let mut say = |name: &'static str, value: &str| directives.push((name, value.into()));
    match kind {
        Kind::Toy => return Program::Toy(None),
        Kind::Always | Kind::EverySec | Kind::NoSync => {
            say("appendonly", "yes");
            let policy = match kind {
                Kind::Always => "always",
                Kind::EverySec => "everysec",
                _ => "no",
            };
            say("appendfsync", policy);
            if rng.chance(600) {
                say("auto-aof-rewrite-percentage", "50");
                say("auto-aof-rewrite-min-size", "1kb");
            }
            if rng.chance(300) {
                say("aof-use-rdb-preamble", "no");
            }
        }
        Kind::Snapshots => say("save", "1 5"),
        Kind::Replicated => {
            if node > 0 {
                let upstream = if rng.chance(300) { node - 1 } else { 0 };
                say(
                    "replicaof",
                    &format!("{} {}", node::ip(upstream), node::PORT),
                );
            }
            if rng.chance(500) {
                say("appendonly", "yes");
            }
            say(
                "repl-diskless-sync-delay",
                if rng.chance(500) { "0" } else { "1" },
            );
            if rng.chance(300) {
                say("repl-diskless-sync", "no");
            }
            say(
                "repl-backlog-size",
                if rng.chance(300) { "16kb" } else { "1mb" },
            );
            say("repl-timeout", "10");
            say("repl-ping-replica-period", "1");
        }
        Kind::Cluster => {
            say("cluster-enabled", "yes");
            say("cluster-node-timeout", "2000");
            say("cluster-config-file", "nodes.conf");
            say("repl-diskless-sync-delay", "0");
            say("repl-timeout", "10");
            say("repl-ping-replica-period", "1");
            if rng.chance(500) {
                say("appendonly", "yes");
            }
        }
    }
    Program::Engine(directives)
}

/// The name of a cluster's node.
pub fn name(node: u16) -> String {
    format!("{:040x}", u64::from(node) * 0x1111_1111 + 0xabc)
}

/// Whom each of a cluster's three replicas follows. Where several follow one, elections are contested.
fn layout(seed: u64) -> [u16; 3] {
    let rng = &mut Rng::new(seed, Concern::Layout);
    if rng.chance(400) {
        return [0, 1, 2];
    }
    std::array::from_fn(|_| rng.below(3) as u16)
}

/// A cluster begins formed: every node has the same `nodes.conf` but for the word `myself`.
fn files(kind: Kind, node: u16, layout: [u16; 3]) -> Vec<(&'static str, String)> {
    if kind != Kind::Cluster {
        return Vec::new();
    }
    let mut text = String::new();
    for other in 0..6u16 {
        let (ip, port, bus) = (node::ip(other), node::PORT, node::BUS_PORT);
        let myself = if other == node { "myself," } else { "" };
        let line = if other < 3 {
            let (first, last) = [(0, 5460), (5461, 10922), (10923, 16383)][usize::from(other)];
            format!(
                "{} {ip}:{port}@{bus} {myself}master - 0 0 {} connected {first}-{last}\n",
                name(other),
                other + 1
            )
        } else {
            let primary = layout[usize::from(other - 3)];
            format!(
                "{} {ip}:{port}@{bus} {myself}slave {} 0 0 {} connected\n",
                name(other),
                name(primary),
                primary + 1
            )
        };
        text.push_str(&line);
    }
    text.push_str("vars currentEpoch 3 lastVoteEpoch 0\n");
    vec![("nodes.conf", text)]
}
