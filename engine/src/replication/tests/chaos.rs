//! Everything at random: writes, cuts, promotions, other primaries, restarts, pauses; then peace, in
//! which all must come to the same state. The world checks R1 and R2 after every step.

use super::world::{SECOND, World, settings};
use crate::replication::Settings;
use alloc::collections::BTreeSet;
use alloc::format;
use proptest::prelude::*;
use std::sync::Mutex;

extern crate std;

const NODES: u64 = 5;

fn chaos(seed: u64, steps: usize) -> World {
    let mut world = World::seeded(NODES as usize, settings(), seed);
    let settings = Settings {
        diskless_sync: world.random(2) == 0,
        backlog_bytes: [100, 1000, 1 << 16][world.random(3) as usize],
        backlog_ttl_s: [3, 3600][world.random(2) as usize],
        timeout_s: [5, 60][world.random(2) as usize],
        diskless_sync_delay_s: world.random(3),
        ping_period_s: 1 + world.random(5),
        ..settings()
    };
    for node in &mut world.nodes {
        let port = node.repl.settings.listening_port;
        node.repl.configure(Settings {
            listening_port: port,
            ..settings.clone()
        });
    }
    for n in 1..NODES as usize {
        world.follow(n, 0);
    }
    let piece = [1, 10, 1000, usize::MAX][world.random(4) as usize];
    for step in 0..steps {
        let n = world.random(NODES) as usize;
        match world.random(100) {
            0..40 => {
                for _ in 0..world.random(20) {
                    let pipe = world.random(world.pipes() as u64) as usize;
                    world.deliver(pipe, piece);
                }
            }
            40..60 => {
                let db = world.random(3) as u32;
                let value = format!("{step}");
                world.write(n, db, &value);
            }
            60..66 => {
                world.transaction(n, &[(0, "t"), (1, "u")]);
            }
            66..70 => world.advance(SECOND),
            70..74 => {
                let us = world.random(SECOND);
                world.advance(us);
            }
            74..80 => {
                let keep = world.random(200) as usize;
                world.cut_link(n, keep);
            }
            80..84 => world.cut_any(),
            84..86 => world.promote(n),
            86..91 => {
                let primary = world.random(NODES) as usize;
                if primary != n {
                    world.follow(n, primary);
                }
            }
            91..93 => world.settle(piece),
            93..95 => {
                world.nodes[n].hold_loads ^= true;
                world.load(n);
                world.drain(n);
            }
            95..97 => {
                world.nodes[n].paused ^= true;
                world.execute(n);
                world.drain(n);
            }
            97 => {
                let file = world.file(n);
                let file = (world.random(3) > 0).then_some(file);
                world.restart(n, file, settings.clone());
            }
            98 => world.break_snapshot(n),
            _ => world.nodes[n].hold_snapshots ^= true,
        }
    }
    heal(&mut world);
    world
}

/// One primary, the others in a random tree under it.
fn heal(world: &mut World) {
    for n in 0..NODES as usize {
        let node = &mut world.nodes[n];
        node.hold_loads = false;
        node.paused = false;
        node.hold_snapshots = false;
        world.load(n);
        world.execute(n);
        world.drain(n);
    }
    world.promote(0);
    for n in 1..NODES as usize {
        let primary = world.random(n as u64) as usize;
        world.follow(n, primary);
    }
    world.run(40, usize::MAX);
    world.write(0, 2, "the end");
    world.run(10, usize::MAX);
    world.assert_same(&[0, 1, 2, 3, 4]);
    for n in 1..NODES as usize {
        assert!(world.nodes[n].repl.link_up());
    }
}

/// Lines that must have been logged in some world, or the chaos is too tame.
const MARKS: [&str; 10] = [
    "Partial resynchronization request from",
    "for lack of backlog",
    "Replication ID mismatch",
    "Requested offset for second ID was",
    "Master replication ID changed",
    "Replication backlog freed",
    "Finished with success",
    "Waiting for end of BGSAVE for SYNC",
    "BGSAVE child returned an error",
    "NOMASTERLINK",
];

#[test]
fn everything_at_random_converges() {
    let seen = Mutex::new(BTreeSet::new());
    let config = ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(seed in any::<u64>())| {
        let world = chaos(seed, 300);
        for line in world.nodes.iter().flat_map(|node| &node.log) {
            for mark in MARKS.iter().filter(|mark| line.contains(**mark)) {
                seen.lock().unwrap().insert(*mark);
            }
        }
    });
    let seen = seen.into_inner().unwrap();
    for mark in MARKS {
        assert!(seen.contains(mark), "no world ever logged: {mark}");
    }
}
