//! A primary fails, or is asked to step down.

use super::world::{TIMEOUT, World};
use super::*;

fn created(seed: u64) -> World {
    let mut world = World::new(6, seed);
    world.create(3);
    world
}

#[test]
fn a_failed_primary_is_replaced_in_time_and_comes_back_as_a_replica() {
    for seed in 0..6 {
        let mut world = created(seed);
        world.crash(0);
        let took = world.until(3 * TIMEOUT + 1000, "a replica takes over", |w| {
            w.writable(3, 0)
        });
        assert!(
            took > TIMEOUT,
            "replaced before it was silent for the node timeout: {took} ms"
        );
        assert!(world.logged(3, "Failover election won: I'm the new master."));
        assert!(world.decided(3, &Decision::Promote));
        world.until(TIMEOUT, "everyone knows", |w| {
            (1..6).all(|host| w.owner(host, 0) == Some(3))
        });
        world.start(0);
        assert!(
            !world.writable(0, 0),
            "an old primary must not serve before it has heard of the new one"
        );
        world.until(5 * TIMEOUT, "the old primary follows", |w| {
            !w.writable(0, 0) && !w.is_primary(0) && w.hosts[0].following == Some(3)
        });
        world.until(5 * TIMEOUT, "all agree again", World::settled);
    }
}

#[test]
fn the_replica_with_the_newer_data_goes_first() {
    for seed in 0..4 {
        let mut world = World::with_two_replicas(seed);
        // 3 hears nothing of its primary's newest writes; the bus goes on.
        world.hosts[3].blocked = true;
        world.run(TIMEOUT);
        world.crash(0);
        world.until(4 * TIMEOUT, "someone takes over", |w| {
            w.writable(3, 0) || w.writable(4, 0)
        });
        assert!(
            world.writable(4, 0),
            "the replica with less data won\n{}",
            world.story()
        );
        assert!(!world.logged(3, "Failover election won"));
    }
}

#[test]
fn a_replica_without_its_shards_data_never_wins() {
    for seed in 0..3 {
        let mut world = World::with_two_replicas(seed);
        // 4 is moved to the second shard; before its first sync there ends, that primary dies, while 4's old
        // data looks newest of all (KB-01, KB-05).
        world.hosts[4].offset = 1 << 40;
        let second = world.id(1);
        world.hosts[1].frozen = true;
        world
            .order(4, |c, now| c.replicate(now, second.as_bytes(), 0))
            .unwrap();
        world.run(500);
        world.crash(1);
        world.run(12 * TIMEOUT);
        assert!(
            !world.is_primary(4),
            "foreign data took over a shard\n{}",
            world.story()
        );
        assert!(!world.logged(4, "Starting a failover election"));
    }
}

#[test]
fn a_second_failure_in_the_shard_is_survived_before_the_next_sync_ends() {
    let mut world = World::with_two_replicas(3);
    world.crash(0);
    world.hosts[3].blocked = true;
    world.hosts[4].blocked = true;
    world.until(4 * TIMEOUT, "one takes over", |w| {
        w.writable(3, 0) || w.writable(4, 0)
    });
    let (first, second) = if world.writable(3, 0) { (3, 4) } else { (4, 3) };
    // The winner dies before the other has synchronised with it: that one's data is the shard's all the same.
    world.until(2 * TIMEOUT, "the other follows", |w| {
        w.hosts[second].following == Some(first)
    });
    assert!(!world.hosts[second].synced);
    world.crash(first);
    world.until(8 * TIMEOUT, "the other takes over", |w| {
        w.writable(second, 0)
    });
}

/// KB-10, KB-11.
#[test]
fn half_of_the_primaries_may_fail_together() {
    // Five primaries, two of them lost at once: their replicas do not spoil each other's elections (KB-10).
    for seed in 0..3 {
        let mut world = World::new(10, seed);
        world.create(5);
        world.crash(0);
        world.crash(1);
        world.until(3 * TIMEOUT + 2000, "both replicas take over", |w| {
            w.writable(5, 0) && w.writable(6, 4000)
        });
    }
}

#[test]
fn a_minority_stops_serving_in_time_and_the_majority_goes_on() {
    for seed in 0..4 {
        let mut world = created(seed);
        assert!(world.writable(0, 0));
        world.partition(&[0]);
        world.until(TIMEOUT + 1000, "the lonely primary stops", |w| {
            !w.writable(0, 0)
        });
        let stopped = world.now_us;
        world.until(4 * TIMEOUT, "its replica takes over", |w| w.writable(3, 0));
        assert!(world.now_us >= stopped);
        world.heal();
        world.until(5 * TIMEOUT, "all agree again", |w| {
            w.settled() && w.hosts[0].following == Some(3)
        });
    }
}

#[test]
fn two_primaries_never_take_writes_for_a_slot_at_once() {
    for seed in 0..4 {
        let mut world = created(seed);
        let minority: &[usize] = if seed % 2 == 0 { &[0] } else { &[0, 4] };
        world.partition(minority);
        for _ in 0..(6 * TIMEOUT / 20) {
            world.run(20);
            let takers = (0..6).filter(|host| world.writable(*host, 0)).count();
            assert!(takers <= 1, "seed {seed}\n{}", world.story());
        }
        assert!(world.writable(3, 0));
    }
}

#[test]
fn a_stopped_process_serves_nothing_when_it_goes_on() {
    let mut world = created(7);
    world.hosts[0].frozen = true;
    world.until(4 * TIMEOUT, "its replica takes over", |w| w.writable(3, 0));
    // Not a tick nor a packet later it is asked.
    assert!(!world.writable(0, 0));
    world.hosts[0].frozen = false;
    world.until(5 * TIMEOUT, "it follows", |w| {
        w.settled() && w.hosts[0].following == Some(3)
    });
    assert!(
        !world.logged(0, "possibly failing"),
        "a sleeper accuses the others"
    );
}

/// KB-33.
#[test]
fn a_manual_failover_loses_no_write() {
    for seed in 0..4 {
        let mut world = created(seed);
        let refused = world
            .order(0, |c, now| c.failover(now, false, false))
            .unwrap_err();
        assert_eq!(
            refused.0,
            b"ERR You should send CLUSTER FAILOVER to a replica"
        );
        world
            .order(3, |c, now| c.failover(now, false, false))
            .unwrap();
        world.until(1500, "the replica takes over", |w| w.writable(3, 0));
        let reached = world.hosts[0].offset;
        assert!(world.hosts[3].offset >= reached, "a write was lost");
        assert!(world.logged(
            3,
            "All master replication stream processed, manual failover can start."
        ));
        world.until(1500, "the old primary follows and goes on", |w| {
            w.hosts[0].following == Some(3) && !w.hosts[0].paused && w.settled()
        });
    }
}

#[test]
fn a_manual_failover_whose_primary_does_not_answer_is_given_up() {
    let mut world = created(2);
    world.cut_one_way(0, 3);
    world
        .order(3, |c, now| c.failover(now, false, false))
        .unwrap();
    world.until(6000, "it is given up", |w| {
        w.logged(3, "Manual failover timed out.")
    });
    world.heal();
    world.until(15_000, "writes go on", |w| {
        w.writable(0, 0) && !w.hosts[0].paused
    });
    assert!(!world.is_primary(3));
}

#[test]
fn force_and_takeover_need_less_and_less() {
    let mut world = created(4);
    world
        .order(3, |c, now| c.failover(now, true, false))
        .unwrap();
    world.until(1000, "forced", |w| w.writable(3, 0));
    world.until(5000, "settled", |w| w.settled());
    // Nobody is left to vote: 1, 2 and their replicas are cut off; takeover asks nobody.
    world.ledger.claims_unchecked = true;
    world.partition(&[0, 3]);
    world.run(100);
    world
        .order(0, |c, now| c.failover(now, false, true))
        .unwrap();
    world.until(1000, "taken over", |w| w.is_primary(0) && !w.is_primary(3));
    world.heal();
    world.until(6 * TIMEOUT, "all agree", |w| {
        w.settled() && w.owner(2, 0) == Some(0)
    });
}

#[test]
fn no_slot_is_without_an_owner_while_roles_change() {
    // 2 hears of the change from the old primary only, not from the winner (KB-19).
    for seed in 0..4 {
        let mut world = created(seed);
        world.cut_one_way(3, 2);
        world
            .order(3, |c, now| c.failover(now, false, false))
            .unwrap();
        for _ in 0..150 {
            world.run(10);
            assert!((0..6).all(|host| {
                world
                    .c(host)
                    .info(world.now())
                    .contains("slots_assigned:16384")
            }));
        }
        assert_eq!(world.owner(2, 0), Some(3));
    }
}

#[test]
fn one_nodes_suspicion_is_no_failure() {
    // 0 cannot hear 1; everyone else can (C10).
    let mut world = created(8);
    let one = world.id(1);
    world.cut_one_way(1, 0);
    world.run(6 * TIMEOUT);
    assert!(world.flags_of(0, &one).unwrap().any(Flags::PFAIL));
    assert!((0..6).all(|host| !world.flags_of(host, &one).unwrap().any(Flags::FAIL)));
    assert!(world.is_primary(1) && world.writable(1, 6000));
    assert_eq!(
        world.order(2, |c, now| c.failure_reports(now, one.as_bytes())),
        Ok(1)
    );
    world.heal();
    world.until(3 * TIMEOUT, "the suspicion ends", |w| {
        !w.flags_of(0, &one).unwrap().any(Flags::PFAIL)
    });
    world.run(3 * TIMEOUT);
    assert_eq!(
        world.order(2, |c, now| c.failure_reports(now, one.as_bytes())),
        Ok(0)
    );
}

/// KB-24.
#[test]
fn wall_clocks_decide_nothing() {
    let mut world = created(5);
    world.wall_shift = -3_600_000_000;
    world.run(1000);
    world.crash(1);
    world.until(3 * TIMEOUT + 1000, "a replica takes over", |w| {
        w.writable(4, 6000)
    });
    world.wall_shift = 86_400_000_000;
    world.start(1);
    world.until(6 * TIMEOUT, "all agree", World::settled);
}

#[test]
fn voters_that_know_a_newer_claim_teach_the_candidate() {
    // The primary takes a new epoch and dies before its replica hears of it (KB-12).
    for seed in 0..3 {
        let mut world = created(seed);
        world.cut_one_way(0, 3);
        for other in [1, 2, 4, 5] {
            // The others could teach it, but they have not noticed the replica's old claim yet.
            world.cut_one_way(other, 3);
        }
        let (bumped, _) = world.order(0, |c, now| c.bump_config_epoch(now));
        assert!(bumped);
        world.run(300);
        world.order(0, |c, _| c.publish(b"x", b"y", false));
        world.run(TIMEOUT / 2);
        world.crash(0);
        world.heal();
        world.until(15 * TIMEOUT, "the replica takes over all the same", |w| {
            w.writable(3, 0)
        });
    }
}

#[test]
fn a_spare_replica_moves_to_an_orphaned_primary() {
    let mut world = World::new(7, 9);
    world.create(3); // the first shard has two replicas: 3 and 6
    world.crash(4); // the second has none now
    world.until(10 * TIMEOUT, "a spare replica moves", |w| {
        w.hosts[3].following == Some(1) || w.hosts[6].following == Some(1)
    });
    world.until(6 * TIMEOUT, "all agree", World::settled);
}

#[test]
fn chaos_heals() {
    (100..140).for_each(chaos);
}

#[test]
#[ignore = "long"]
fn chaos_heals_at_length() {
    (1000..3000).for_each(chaos);
}

/// Crashes, partitions and restarts at random; the ledgers watch votes and claims all the while.
fn chaos(seed: u64) {
    let mut world = if seed.is_multiple_of(3) {
        World::with_two_replicas(seed)
    } else {
        created(seed)
    };
    let hosts = world.hosts.len() as u64;
    // Only an operator's force may let an old primary and its successor both take writes for a moment.
    let forceful = seed.is_multiple_of(2);
    for host in &mut world.hosts {
        host.disk.slow_ms = 1 + seed % 40;
    }
    world.mtu = if seed.is_multiple_of(5) {
        700
    } else {
        usize::MAX
    };
    for _ in 0..14 {
        match world.random(8) {
            0 => {
                let host = world.random(hosts) as usize;
                if world.is_up(host) {
                    world.crash(host);
                }
            }
            1 => restart_all(&mut world),
            2 => {
                let group = [world.random(hosts) as usize, world.random(hosts) as usize];
                world.partition(&group);
            }
            3 => world.heal(),
            4 => {
                let (from, to) = (world.random(hosts) as usize, world.random(hosts) as usize);
                world.cut_one_way(from, to);
            }
            5 => {
                let host = world.random(hosts) as usize;
                world.hosts[host].frozen ^= true;
            }
            6 => {
                let host = world.random(hosts) as usize;
                world.hosts[host].disk.failing ^= true;
            }
            _ => {
                let replica = world.random(hosts) as usize;
                if world.is_up(replica) {
                    let force = forceful && world.random(2) == 0;
                    let _ = world.order(replica, |c, now| c.failover(now, force, false));
                }
            }
        }
        for _ in 0..world.random(3 * TIMEOUT) / 50 {
            world.run(50);
            for slot in [0, 6000, 16000] {
                let takers = (0..world.hosts.len()).filter(|host| world.writable(*host, slot));
                assert!(
                    forceful || takers.count() <= 1,
                    "seed {seed}, slot {slot}\n{}",
                    world.story()
                );
            }
        }
    }
    world.heal();
    for host in &mut world.hosts {
        host.frozen = false;
        host.disk.failing = false;
    }
    restart_all(&mut world);
    world.until(
        20 * TIMEOUT,
        &alloc::format!("all agree in the end, seed {seed}"),
        World::settled,
    );
}

fn restart_all(world: &mut World) {
    for host in 0..world.hosts.len() {
        if !world.is_up(host) {
            world.start(host);
        }
    }
}
