//! Failures that other clusters are known for, each named by its entry in the project's list.

use super::world::{TIMEOUT, World};
use super::*;
use alloc::vec::Vec;

/// KB-02: a replica whose primary joined another shard holds that shard's data only once it has synchronised.
#[test]
fn a_sub_replica_with_alien_history_does_not_stand() {
    for seed in 0..3 {
        let mut world = World::new(5, seed);
        world.create(4); // 4 is 0's replica
        let [zero, one] = [0, 1].map(|host| world.id(host));
        // 0 gives all its slots to 1 and follows it, and so does 4, whose history is 0's and looks the newest.
        world.hosts[4].offset = 1 << 40;
        world.hosts[4].blocked = true;
        let slots: Vec<u16> = world.c(0).nodes().me().slots.iter().collect();
        for slot in slots.iter().copied() {
            world
                .order(1, |c, now| c.set_slot_importing(now, slot, zero.as_bytes()))
                .unwrap();
        }
        for slot in slots {
            let _ = world.order(1, |c, now| c.set_slot_node(now, slot, one.as_bytes(), 0));
            let _ = world.order(0, |c, now| c.set_slot_node(now, slot, one.as_bytes(), 0));
        }
        world.until(5 * TIMEOUT, "both follow 1", |w| {
            w.hosts[0].following == Some(1) && w.hosts[4].following == Some(1)
        });
        world.until(TIMEOUT, "0 has data", |w| w.hosts[0].synced);
        world.run(TIMEOUT);
        world.crash(1);
        world.until(10 * TIMEOUT, "0 takes over", |w| w.writable(0, 0));
        assert!(!world.logged(4, "Starting a failover election"));
    }
}

/// KB-03: of two primaries with one epoch, the one that served meanwhile keeps the slots, whatever their names.
#[test]
fn an_old_primary_does_not_win_its_slots_back_by_its_name() {
    for seed in 0..6 {
        let mut world = World::new(6, seed);
        world.create(3);
        world.ledger.claims_unchecked = true;
        world.partition(&[0]);
        let (bumped, old) = world.order(0, |c, now| c.bump_config_epoch(now));
        world
            .order(3, |c, now| c.failover(now, false, true))
            .unwrap();
        assert!(bumped && world.c(3).nodes().me().config_epoch == old);
        world.run(TIMEOUT * 2);
        assert!(world.writable(3, 0) && !world.writable(0, 0));
        world.heal();
        world.until(8 * TIMEOUT, "all agree", |w| {
            w.settled() && (0..6).all(|host| w.owner(host, 0) == Some(3))
        });
        assert_eq!(world.hosts[0].following, Some(3), "seed {seed}");
    }
}

/// KB-04: who comes back after two changes of its shard's primary, and hears of them from others first, belongs to
/// the shard all the same.
#[test]
fn who_missed_two_failovers_joins_its_shard_again() {
    for seed in 0..4 {
        let mut world = World::with_two_replicas(seed);
        world.crash(0);
        world.until(4 * TIMEOUT, "one takes over", |w| {
            w.writable(3, 0) || w.writable(4, 0)
        });
        let (first, second) = if world.writable(3, 0) { (3, 4) } else { (4, 3) };
        world.until(2 * TIMEOUT, "the other follows", |w| {
            w.hosts[second].following == Some(first) && w.hosts[second].synced
        });
        world.run(TIMEOUT);
        world.crash(first);
        world.until(8 * TIMEOUT, "the other takes over", |w| {
            w.writable(second, 0)
        });
        // The node of old hears nothing from the present primary itself.
        world.cut_one_way(second, 0);
        world.start(0);
        for _ in 0..(2 * TIMEOUT / 50) {
            world.run(50);
            assert!(!world.writable(0, 0), "two primaries\n{}", world.story());
        }
        world.start(first);
        world.heal();
        world.until(8 * TIMEOUT, "both follow", |w| {
            w.settled()
                && w.hosts[0].following == Some(second)
                && w.hosts[first].following == Some(second)
        });
        let shards = [0, 3, 4].map(|host| world.c(host).my_shard());
        assert!(shards.iter().all(|shard| *shard == shards[0]));
    }
}

/// KB-06, KB-07: who said to whom it gave its vote knows so after a crash.
#[test]
fn a_vote_is_in_the_file_before_it_is_given() {
    for seed in 0..4 {
        let mut world = World::with_two_replicas(seed);
        world.crash(0);
        world.until(4 * TIMEOUT, "someone takes over", |w| {
            w.writable(3, 0) || w.writable(4, 0)
        });
        // (Both had to vote.)
        for voter in [1, 2] {
            let (current, voted) = world.c(voter).epochs();
            assert!(voted > 0);
            let winner = if world.is_primary(3) { 3 } else { 4 };
            assert_eq!(voted, world.c(winner).nodes().me().config_epoch);
            world.crash(voter);
            let conf = conf::parse(&world.hosts[voter].disk.nodes_conf().unwrap()).unwrap();
            assert_eq!(conf.last_vote_epoch, voted, "seed {seed}");
            assert!(conf.current_epoch >= voted && current >= voted);
            world.start(voter);
            assert_eq!(world.c(voter).epochs(), (conf.current_epoch, voted));
        }
    }
}

/// The votes of a candidate that heard none yet, and those who vote.
fn candidate(world: &mut World) -> (u64, [NodeKey; 2]) {
    let voters = [1, 2].map(|host| world.id(host));
    world.cut_one_way(1, 3);
    world.cut_one_way(2, 3);
    world.crash(0);
    world.until(4 * TIMEOUT, "it asks", |w| {
        w.logged(3, "Starting a failover election")
    });
    world.run(100);
    let epoch = world.c(3).epochs().0;
    (
        epoch,
        voters.map(|id| world.c(3).nodes().find(&id).unwrap()),
    )
}

/// KB-09: a vote counts in the election that it was given in, and each voter's once.
#[test]
fn votes_of_other_elections_do_not_count() {
    let mut world = World::new(6, 51);
    world.create(3);
    let (epoch, [one, two]) = candidate(&mut world);
    let mut hear = |voter, epoch| {
        world.order(3, |c, now| {
            c.hear_vote(voter, epoch);
            c.settle(now);
        });
        world.logged(3, "Failover election won")
    };
    assert!(!hear(one, epoch));
    assert!(!hear(two, epoch - 1), "a vote of an earlier election");
    assert!(!hear(two, epoch + 1), "a vote of a later election");
    assert!(!hear(one, epoch), "the same vote twice");
    assert!(hear(two, epoch));
}

/// KB-08: the second attempt begins without the votes of the first.
#[test]
fn each_attempt_counts_its_own_votes() {
    let mut world = World::new(6, 52);
    world.create(3);
    // 2 is never heard by the candidate: each attempt gets one vote of the two that it takes.
    world.cut_one_way(2, 3);
    world.crash(0);
    world.run(7 * TIMEOUT);
    let asked = world.hosts[3]
        .log
        .iter()
        .filter(|line| line.starts_with("Starting a failover election"));
    assert!(asked.count() >= 2);
    assert!(!world.is_primary(3), "won without a majority");
    world.heal();
    world.until(12 * TIMEOUT, "with both it wins", |w| w.writable(3, 0));
}

/// KB-11: the bare majority that is left finds out about all who are gone, and replaces them.
#[test]
fn nearly_half_of_many_primaries_may_fail_together() {
    for seed in 0..2 {
        let mut world = World::new(22, seed);
        world.create(11);
        (0..5).for_each(|host| world.crash(host));
        world.until(3 * TIMEOUT + 5000, "all five are replaced", |w| {
            (0..5).all(|lost| w.writable(11 + lost, (lost * 16384 / 11) as u16))
        });
        world.until(6 * TIMEOUT, "all agree", World::settled);
    }
}

/// KB-15: whoever may or may not move to another shard, and in whatever order the news comes, all end with one map
/// and nobody is a replica's replica.
#[test]
fn the_last_slot_leaves_whatever_migration_is_allowed() {
    for flags in 0..4 {
        for source_first in [true, false] {
            let mut world = World::new(4, 60 + flags);
            for (host, bit) in [(0, 1), (3, 2)] {
                world.hosts[host].settings.allow_replica_migration = flags & bit != 0;
                let settings = world.hosts[host].settings.clone();
                world.order(host, |c, now| c.set_settings(now, settings));
            }
            world.create(3); // 3 is 0's replica
            let [zero, one] = [0, 1].map(|host| world.id(host));
            let slots: Vec<u16> = world.c(0).nodes().me().slots.iter().collect();
            for slot in slots.iter().copied() {
                world
                    .order(1, |c, now| c.set_slot_importing(now, slot, zero.as_bytes()))
                    .unwrap();
            }
            let order = if source_first { [0, 1] } else { [1, 0] };
            for host in order {
                for slot in slots.iter().copied() {
                    let _ =
                        world.order(host, |c, now| c.set_slot_node(now, slot, one.as_bytes(), 0));
                }
                world.run(30);
            }
            world.until(6 * TIMEOUT, "all agree", |w| {
                w.settled() && w.owner(3, 0) == Some(1)
            });
            world.run(3 * TIMEOUT);
            assert_eq!(
                world.is_primary(0),
                flags & 1 == 0,
                "{flags} {source_first}"
            );
            let followed = world.hosts[3].following.expect("a replica");
            assert!(world.is_primary(followed), "{flags} {source_first}");
            assert!(world.settled());
        }
    }
}

/// KB-16: who took a slot over and dies once it has said so leaves it to its replica.
#[test]
fn a_slot_goes_to_the_takers_replica() {
    for seed in 0..4 {
        let mut world = World::new(6, seed);
        world.create(3);
        let one = world.id(1);
        world.open_slot(7, 0, 1);
        world.run(500);
        world
            .order(1, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 0))
            .unwrap();
        let version = world.c(1).version();
        // The order is answered when it is durable; what was said with it arrives yet.
        world.until(1000, "the order is answered", |w| {
            w.c(1).durable() >= version
        });
        world.run(10);
        world.crash(1);
        world.until(5 * TIMEOUT, "its replica takes over", |w| {
            w.writable(4, 6000)
        });
        world.until(3 * TIMEOUT, "with the slot", |w| w.writable(4, 7));
        world.until(5 * TIMEOUT, "as all know", |w| {
            [0, 2, 3, 4, 5]
                .iter()
                .all(|host| w.owner(*host, 7) == Some(4))
        });
    }
}

/// KB-17: a move that is broken off at any step, while others take new epochs, leaves one map.
#[test]
fn a_move_that_is_broken_off_leaves_one_map() {
    for steps in 0..5 {
        let mut world = World::new(6, 70 + steps);
        world.create(3);
        let [zero, one] = [0, 1].map(|host| world.id(host));
        type Step<'a> = (usize, &'a dyn Fn(&mut Cluster, Now) -> Result<(), Refused>);
        let moves: [Step<'_>; 4] = [
            (1, &|c, now| c.set_slot_importing(now, 7, zero.as_bytes())),
            (0, &|c, now| c.set_slot_migrating(now, 7, one.as_bytes())),
            (1, &|c, now| c.set_slot_node(now, 7, one.as_bytes(), 0)),
            (0, &|c, now| c.set_slot_node(now, 7, one.as_bytes(), 0)),
        ];
        for (host, step) in moves.iter().take(steps as usize) {
            world.order(*host, step).unwrap();
            for bumping in [0, 2] {
                world.order(bumping, |c, now| c.bump_config_epoch(now));
            }
            world.run(20);
        }
        for host in [0, 1] {
            let _ = world.order(host, |c, now| c.set_slot_stable(now, 7));
        }
        world.ledger.claims_unchecked = true; // epochs that nodes took on their own may be the same
        world.until(8 * TIMEOUT, "all agree", World::settled);
        world.run(4 * TIMEOUT);
        let owner = if steps < 3 { 0 } else { 1 };
        assert!(
            (0..6).all(|host| world.owner(host, 7) == Some(owner)),
            "{steps}"
        );
        assert!(world.settled());
    }
}

/// KB-95: the source takes a new epoch just before a move to it, of which the target has not heard, ends: the slot is the
/// target's all the same, and not nobody's once the source has been told too.
#[test]
fn a_slot_is_its_takers_even_if_the_source_has_just_taken_an_epoch() {
    for seed in 0..4 {
        let mut world = World::new(3, seed);
        world.create(3);
        let [zero, one] = [0, 1].map(|host| world.id(host));
        world.open_slot(7, 0, 1);
        world.order(1, |c, now| c.bump_config_epoch(now));
        world.run(TIMEOUT);
        let (bumped, newer) = world.order(0, |c, now| c.bump_config_epoch(now));
        assert!(bumped && world.c(1).nodes().me().config_epoch < newer);
        world
            .order(1, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 1))
            .unwrap();
        // The target's disk is slow: the operator tells the source only when that has answered.
        world.run(TIMEOUT);
        world
            .order(0, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 0))
            .unwrap();
        world.until(4 * TIMEOUT, "it is the target's", |w| {
            w.settled() && (0..3).all(|host| w.owner(host, 7) == Some(1))
        });
        // It may be moved back at once.
        for (to, id) in [(0, zero), (1, zero)] {
            if to == 0 {
                world.open_slot(7, 1, 0);
            }
            world
                .order(to, |c, now| c.set_slot_node(now, 7, id.as_bytes(), 0))
                .unwrap();
            world.run(10);
        }
        world.until(4 * TIMEOUT, "it is back", |w| {
            w.settled() && (0..3).all(|host| w.owner(host, 7) == Some(0))
        });
    }
}

/// KB-95: the same where redis-cli gives a slot to whoever has its keys: the one that had it claims it under an epoch
/// of which the new one has not heard, before it is told to let go.
#[test]
fn a_slot_is_whose_it_was_declared_to_be() {
    for seed in 0..4 {
        let mut world = World::new(3, seed);
        world.create(3);
        world.order(1, |c, now| c.bump_config_epoch(now));
        world.run(TIMEOUT);
        let (_, newer) = world.order(0, |c, now| c.bump_config_epoch(now));
        assert!(world.c(1).nodes().me().config_epoch < newer);
        let slot = [(7, 7)];
        world.order(1, |c, now| c.delete_slots(now, &slot)).unwrap();
        world.order(1, |c, now| c.add_slots(now, &slot)).unwrap();
        let (bumped, _) = world.order(1, |c, now| c.bump_config_epoch(now));
        assert!(!bumped, "it knows of none that is newer");
        world.run(TIMEOUT);
        // (It may have heard by itself.)
        let _ = world.order(0, |c, now| c.delete_slots(now, &slot));
        world.until(4 * TIMEOUT, "it is the new one's", |w| {
            w.settled() && (0..3).all(|host| w.owner(host, 7) == Some(1))
        });
    }
}

/// KB-18: both replicas of a primary take over by force, each on its side of a partition, under the same epoch.
#[test]
fn two_who_took_over_with_one_epoch_become_one() {
    for seed in 0..4 {
        let mut world = World::with_two_replicas(seed);
        world.ledger.claims_unchecked = true;
        world.crash(0);
        // (A replica that has the highest epoch of all by itself would take no new one.)
        world.order(1, |c, now| c.bump_config_epoch(now));
        world.run(200);
        world.partition(&[3, 1]);
        for host in [3, 4] {
            world
                .order(host, |c, now| c.failover(now, false, true))
                .unwrap();
        }
        world.run(TIMEOUT * 2);
        assert!(world.is_primary(3) && world.is_primary(4));
        let epoch = |w: &World, host: usize| w.c(host).nodes().me().config_epoch;
        assert_eq!(epoch(&world, 3), epoch(&world, 4));
        world.heal();
        world.until(8 * TIMEOUT, "one is left", |w| {
            w.settled() && w.is_primary(3) != w.is_primary(4)
        });
        world.start(0);
        world.until(8 * TIMEOUT, "which all follow", |w| {
            let winner = if w.is_primary(3) { 3 } else { 4 };
            w.settled() && w.hosts[0].following == Some(winner)
        });
    }
}

/// KB-21: replicas that take over from each other at once end without a circle: one has the slots, and nobody follows a
/// replica. (The world watches that nobody follows itself.)
#[test]
fn failovers_at_once_make_no_circle() {
    for seed in 0..8 {
        let mut world = World::with_two_replicas(seed);
        world.ledger.claims_unchecked = true;
        world.cut_one_way(3, 4);
        for round in 0..3 {
            let (a, b) = if round % 2 == 0 { (3, 4) } else { (4, 0) };
            for host in [a, b] {
                let _ = world.order(host, |c, now| c.failover(now, false, true));
                let pause = world.random(40);
                world.run(pause);
            }
        }
        world.heal();
        world.until(10 * TIMEOUT, "nobody follows a replica", |w| {
            w.settled()
                && [0, 3, 4].iter().all(|&host| match w.is_primary(host) {
                    true => w.hosts[host].following.is_none(),
                    false => w.hosts[host].following == w.owner(1, 0),
                })
        });
    }
}

/// KB-94: who is busy with one long command, for less than the node timeout, is not taken for dead.
#[test]
fn a_busy_node_is_not_failed() {
    let mut world = World::new(6, 80);
    world.create(3);
    let zero = world.id(0);
    for _ in 0..5 {
        world.hosts[0].frozen = true;
        // (Whoever asked it last did so up to a quarter of the timeout ago.)
        world.run(TIMEOUT * 3 / 4);
        world.hosts[0].frozen = false;
        world.run(TIMEOUT);
        assert!((1..6).all(|host| { !world.flags_of(host, &zero).unwrap().any(Flags::FAIL) }));
    }
    assert!(world.writable(0, 0) && !world.logged(3, "Starting a failover election"));
}
