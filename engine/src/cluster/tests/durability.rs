//! What a node said, a crash does not take back.

use super::world::{TIMEOUT, World};
use super::*;
use alloc::vec::Vec;

/// KB-06, KB-07.
#[test]
fn a_voter_that_crashes_at_any_disk_request_votes_once_an_epoch() {
    // Two replicas of the failed primary ask; voters crash after every possible number of disk requests
    // and come back at once. The world's ledger holds each vote against all others in its epoch, and each
    // start against the epochs told before.
    for after in (0..14).step_by(2) {
        let mut world = World::new(5, 40 + after);
        world.create(3);
        let first = world.id(0);
        world
            .order(4, |c, now| c.replicate(now, first.as_bytes(), 0))
            .unwrap();
        world.run(2 * TIMEOUT);
        world.crash(0);
        world.until(3 * TIMEOUT, "an election begins", |w| {
            [3, 4]
                .iter()
                .any(|host| w.logged(*host, "Starting a failover election"))
        });
        for voter in [1, 2] {
            let done = world.hosts[voter].disk.requests;
            for _ in 0..100 {
                if world.hosts[voter].disk.requests >= done + after {
                    break;
                }
                world.run(5);
            }
            world.crash(voter);
            world.start(voter);
        }
        world.until(15 * TIMEOUT, "someone takes over in the end", |w| {
            w.writable(3, 0) || w.writable(4, 0)
        });
    }
}

/// KB-07.
#[test]
fn a_vote_waits_for_the_disk_and_pongs_do_not() {
    let mut world = World::new(6, 3);
    world.create(3);
    for voter in [1, 2] {
        world.hosts[voter].disk.slow_ms = 300; // six requests a save
    }
    world.crash(0);
    world.until(3 * TIMEOUT, "votes are granted", |w| {
        w.logged(1, "Failover auth granted")
    });
    world.run(200);
    assert!(!world.is_primary(3), "a vote left before it was durable");
    world.until(8 * TIMEOUT, "the replica takes over", |w| w.writable(3, 0));
    world.run(2 * TIMEOUT);
    for host in [2, 3, 4, 5] {
        let flags = world.flags_of(host, &world.id(1)).unwrap();
        assert!(
            !flags.any(Flags::PFAIL.with(Flags::FAIL)),
            "a slow disk made a node look dead"
        );
    }
}

#[test]
fn a_promotion_is_not_served_before_it_is_durable() {
    let mut world = World::new(6, 4);
    world.create(3);
    world.crash(0);
    world.until(3 * TIMEOUT, "an election begins", |w| {
        w.logged(3, "Starting a failover election")
    });
    world.run(10);
    world.hosts[3].disk.slow_ms = 200;
    world.until(6 * TIMEOUT, "it wins", |w| {
        w.logged(3, "Failover election won")
    });
    let request = RouteRequest {
        slot: 0,
        write: true,
        ..RouteRequest::default()
    };
    assert_eq!(
        world.c(3).route(world.now(), &request),
        Route::Down("CLUSTERDOWN The cluster is down")
    );
    assert!(!world.decided(3, &Decision::Promote));
    assert!(
        (1..6)
            .filter(|host| *host != 3)
            .all(|host| world.owner(host, 0) != Some(3)),
        "told too early"
    );
    world.until(6 * TIMEOUT, "then it serves", |w| w.writable(3, 0));
}

/// KB-28.
#[test]
fn a_full_disk_stops_votes_but_not_the_node() {
    let mut world = World::new(6, 5);
    world.create(3);
    for voter in [1, 2] {
        world.hosts[voter].disk.failing = true;
    }
    world.crash(0);
    world.run(6 * TIMEOUT);
    assert!(
        !world.is_primary(3),
        "elected with votes that a crash could take back"
    );
    assert!(world.logged(1, "No space left on device"));
    assert!(
        world.hosts[1]
            .decisions
            .iter()
            .any(|d| matches!(d, Decision::SaveFailed { .. }))
    );
    for voter in [1, 2] {
        assert!(world.writable(voter, if voter == 1 { 6000 } else { 16000 }) || !world.settled());
        world.hosts[voter].disk.failing = false;
    }
    world.until(
        15 * TIMEOUT,
        "with room again, the replica takes over",
        |w| w.writable(3, 0),
    );
}

/// KB-27.
#[test]
fn nodes_conf_is_whole_after_a_crash_at_any_request() {
    for after in (0..40).step_by(3) {
        let mut world = World::new(1, after);
        let mut orders: Vec<(u16, u16)> = (0..10).map(|n| (n * 100, n * 100 + 50)).collect();
        let mut requests = 0;
        while let Some(range) = orders.pop() {
            world.order(0, |c, now| c.add_slots(now, &[range])).unwrap();
            world.run(5);
            requests = world.hosts[0].disk.requests;
            if requests >= after {
                break;
            }
        }
        let durable = world.c(0).durable();
        world.crash(0);
        world.start(0); // panics if the file is not whole
        if durable > 0 {
            assert!(!world.c(0).nodes().me().slots.is_empty() || requests < 12);
        }
    }
}

#[test]
fn saved_is_saved() {
    let mut world = World::new(1, 1);
    world.run(100);
    world
        .order(0, |c, now| c.add_slots(now, &[(0, 16383)]))
        .unwrap();
    let version = world.c(0).version();
    assert!(world.c(0).durable() < version);
    world.until(1000, "it is durable", move |w| w.c(0).durable() >= version);
    assert!(
        world.hosts[0]
            .decisions
            .iter()
            .all(|d| !matches!(d, Decision::SaveFailed { .. }))
    );
    let name = world.id(0);
    world.crash(0);
    world.start(0);
    assert_eq!(world.id(0), name);
    assert_eq!(world.c(0).nodes().me().slots.len(), 16384);
}

#[test]
fn a_replica_has_no_epoch_of_its_own_after_a_restart() {
    // Otherwise TAKEOVER would not take a new one (KB-20).
    let mut world = World::new(6, 6);
    world.create(3);
    world.crash(3);
    world.start(3);
    world.until(5000, "it follows again", |w| w.hosts[3].synced);
    let before = world.c(3).epochs().0;
    world
        .order(3, |c, now| c.failover(now, false, true))
        .unwrap();
    world.until(5000, "it takes over", |w| w.writable(3, 0));
    assert!(world.c(3).nodes().me().config_epoch > before);
    world.until(5 * TIMEOUT, "all agree", |w| {
        w.settled() && w.owner(1, 0) == Some(3)
    });
}
