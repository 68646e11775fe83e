//! Nodes come, go, change places and names.

use super::world::{TIMEOUT, World};
use super::*;
use proptest::prelude::*;

#[test]
fn a_cluster_of_six_comes_together_as_redis_cli_makes_it() {
    let mut world = World::new(6, 1);
    world.create(3);
    for host in 0..6 {
        let info = world.c(host).info(world.now());
        let begins =
            "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n";
        assert!(info.starts_with(begins), "{info}");
        assert!(
            info.contains("cluster_known_nodes:6\r\ncluster_size:3\r\n"),
            "{info}"
        );
        assert_eq!(world.is_primary(host), host < 3);
    }
    assert_eq!(world.hosts[4].following, Some(1));
    let slots = world.c(5).slot_ranges(false);
    let shape: alloc::vec::Vec<_> = slots
        .iter()
        .map(|range| (range.first, range.last, range.nodes.len()))
        .collect();
    assert_eq!(shape, [(0, 5460, 2), (5461, 10921, 2), (10922, 16383, 2)]);
}

#[test]
fn bytes_may_arrive_one_by_one() {
    let mut world = World::new(3, 2);
    world.mtu = 611;
    world.create(2);
    assert!(world.settled());
}

#[test]
fn colliding_epochs_part() {
    for seed in 0..3 {
        let mut world = World::new(3, seed);
        world.ledger.claims_unchecked = true;
        world.run(50);
        for host in 0..3 {
            let first = host as u16 * 5000;
            let last = if host == 2 { 16383 } else { first + 4999 };
            world
                .order(host, |c, now| c.set_config_epoch(now, 1))
                .unwrap();
            world
                .order(host, |c, now| c.add_slots(now, &[(first, last)]))
                .unwrap();
        }
        world
            .order(1, |c, now| c.meet(now, b"10.0.0.0", 6379, None))
            .unwrap();
        world
            .order(2, |c, now| c.meet(now, b"10.0.0.0", 6379, None))
            .unwrap();
        world.until(20_000, "epochs are unique", World::settled);
    }
}

/// KB-23.
#[test]
fn a_forgotten_node_stays_out_even_if_one_peer_is_slow() {
    for seed in 0..2 {
        let mut world = World::new(4, seed);
        world.create(3);
        let gone = world.id(3);
        // 2 is away while the operator has 0 and 1 forget; nobody tells 2.
        world.crash(3);
        world.run(2 * TIMEOUT);
        world.partition(&[2]);
        for host in [0, 1] {
            world
                .order(host, |c, now| c.forget_node(now, gone.as_bytes()))
                .unwrap();
        }
        world.run(TIMEOUT / 2);
        world.heal();
        world.until(10 * TIMEOUT, "2 hears of it", |w| {
            w.flags_of(2, &gone).is_none()
        });
        world.run(70_000); // past the ban
        for host in 0..3 {
            assert!(
                world.flags_of(host, &gone).is_none(),
                "a ghost\n{}",
                world.story()
            );
        }
    }
}

/// KB-23.
#[test]
fn a_dead_node_does_not_come_back_out_of_a_slow_peers_memory() {
    let mut world = World::new(4, 11);
    world.create(3);
    let gone = world.id(3);
    world.crash(3);
    world.run(3 * TIMEOUT);
    world.partition(&[2]);
    for host in [0, 1] {
        world
            .order(host, |c, now| c.forget_node(now, gone.as_bytes()))
            .unwrap();
    }
    world.run(70_000);
    world.heal();
    world.run(10 * TIMEOUT);
    assert!(world.flags_of(2, &gone).is_some(), "2 was not told");
    for host in [0, 1] {
        assert!(
            world.flags_of(host, &gone).is_none(),
            "a ghost\n{}",
            world.story()
        );
    }
    // MEET brings it in again.
    world.start(3);
    world
        .order(0, |c, now| c.meet(now, b"10.0.0.3", 6379, None))
        .unwrap();
    world.until(10 * TIMEOUT, "it is back", |w| {
        (0..3).all(|host| w.flags_of(host, &gone).is_some())
    });
}

#[test]
fn forget_and_replicate_refuse_as_redis_does() {
    let mut world = World::new(6, 12);
    world.create(3);
    let [zero, one, three] = [0, 1, 3].map(|host| world.id(host));
    let nobody = "0123456789012345678901234567890123456789";
    let mut refused =
        |host: usize, order: fn(&mut Cluster, Now, &[u8]) -> Result<(), Refused>, id: &str| {
            world
                .order(host, |c, now| order(c, now, id.as_bytes()))
                .unwrap_err()
                .0
        };
    let forget: fn(&mut Cluster, Now, &[u8]) -> Result<(), Refused> =
        |c, now, id| c.forget_node(now, id);
    let replicate: fn(&mut Cluster, Now, &[u8]) -> Result<(), Refused> =
        |c, now, id| c.replicate(now, id, 0);
    assert_eq!(
        refused(0, forget, nobody),
        alloc::format!("ERR Unknown node {nobody}").into_bytes()
    );
    assert_eq!(
        refused(0, forget, zero.as_str()),
        b"ERR I tried hard but I can't forget myself..."
    );
    assert_eq!(
        refused(3, forget, zero.as_str()),
        b"ERR Can't forget my master!"
    );
    assert_eq!(
        refused(0, replicate, zero.as_str()),
        b"ERR Can't replicate myself"
    );
    assert_eq!(
        refused(0, replicate, three.as_str()),
        b"ERR I can only replicate a master, not a replica."
    );
    assert_eq!(
        refused(0, replicate, one.as_str()),
        b"ERR To set a master the node must be empty and without assigned slots."
    );
}

#[test]
fn a_meet_that_only_one_side_completed_is_completed() {
    // 1 takes 0 in, but cannot open its own connection until its handshake with 0 has run out (KB-22).
    let mut world = World::new(2, 13);
    world.run(50);
    world
        .order(0, |c, now| c.meet(now, b"10.0.0.1", 6379, None))
        .unwrap();
    let (zero, one) = (world.id(0), world.id(1));
    world.until(2000, "0 knows 1", |w| w.flags_of(0, &one).is_some());
    let handshake = world.c(1).nodes().len();
    world.order(1, |c, now| {
        let strangers: alloc::vec::Vec<_> = c.nodes().keys();
        let me = c.nodes().my_key();
        strangers
            .into_iter()
            .filter(|key| *key != me)
            .for_each(|key| c.remove_node(key));
        let _ = now;
    });
    assert!(handshake <= 2 && world.flags_of(1, &zero).is_none());
    world.until(10 * TIMEOUT, "1 knows 0 after all", |w| {
        w.flags_of(1, &zero).is_some()
    });
}

#[test]
fn a_node_that_changed_its_place_is_found() {
    // A Redis at a new address tells others with its pings; here the address that it announces changes.
    let mut world = World::new(3, 14);
    world.create(3);
    let two = world.id(2);
    let mut settings = world.hosts[2].settings.clone();
    settings.announce_port = 7777;
    world.order(2, |c, now| c.set_settings(now, settings));
    world.until(5 * TIMEOUT, "all have the new port", |w| {
        (0..3).all(|host| {
            w.c(host)
                .nodes()
                .find(&two)
                .is_some_and(|key| w.c(host).nodes().node(key).port == 7777)
        })
    });
}

#[test]
fn another_node_at_the_address_of_one_does_not_pass_for_it() {
    // 1 dies and a new node starts at its address: 1 must still be found to have failed (NET-12).
    let mut world = World::new(4, 15);
    world.create(3);
    let one = world.id(1);
    world.crash(1);
    world.hosts[1].disk = super::disk::Disk::empty();
    world.start(1);
    world.until(5 * TIMEOUT, "it is found out", |w| {
        w.flags_of(0, &one)
            .is_some_and(|flags| flags.any(Flags::FAIL))
            && w.flags_of(2, &one).is_some_and(|f| f.any(Flags::FAIL))
    });
}

#[test]
fn reset_leaves_a_cluster_of_one() {
    let mut world = World::new(6, 16);
    world.create(3);
    let (three, epoch) = (world.id(3), world.c(3).epochs().0);
    let refused = world.order(0, |c, now| c.reset(now, false, 7)).unwrap_err();
    assert_eq!(
        refused.0,
        b"ERR CLUSTER RESET can't be called with master nodes containing keys"
    );
    world.order(3, |c, now| c.reset(now, false, 7)).unwrap();
    assert_eq!(
        (world.id(3), world.c(3).nodes().len(), world.c(3).epochs().0),
        (three, 1, epoch)
    );
    assert!(world.decided(3, &Decision::FlushAll) && world.decided(3, &Decision::Promote));
    world.order(5, |c, now| c.reset(now, true, 7)).unwrap();
    assert_eq!((world.c(5).epochs(), world.c(5).nodes().len()), ((0, 0), 1));
    assert!(world.logged(5, "Node hard reset, now I'm "));
    world.run(5 * TIMEOUT);
    assert_eq!(
        world.c(5).nodes().len(),
        1,
        "the others know it only by its old name"
    );
}

#[test]
fn messages_reach_every_node_or_the_shard() {
    let mut world = World::new(6, 17);
    world.create(3);
    let publish = |sharded| Decision::Publish {
        channel: "news".into(),
        message: "hello".into(),
        sharded,
    };
    world.order(0, |c, _| c.publish(b"news", b"hello", false));
    world.run(50);
    assert!((1..6).all(|host| world.decided(host, &publish(false))));
    world.order(3, |c, _| c.publish(b"news", b"hello", true));
    world.run(50);
    assert!(world.decided(0, &publish(true)));
    assert!(
        [1, 2, 4, 5]
            .iter()
            .all(|host| !world.decided(*host, &publish(true)))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// KB-29.
    #[test]
    fn no_bytes_are_too_strange(
        junk in proptest::collection::vec((0usize..4, proptest::collection::vec((0usize..2500, any::<u8>()), 0..8)), 1..6),
        cuts in proptest::collection::vec(1usize..3000, 1..20),
    ) {
        const GOLDEN: [&[u8]; 4] = [
            include_bytes!("../bus/golden/meet.bin"), include_bytes!("../bus/golden/ping.bin"),
            include_bytes!("../bus/golden/publish.bin"), include_bytes!("../bus/golden/update.bin"),
        ];
        let mut world = World::new(1, 1);
        world.run(100);
        let mut stream = alloc::vec::Vec::new();
        for (which, damage) in junk {
            let start = stream.len();
            stream.extend_from_slice(GOLDEN[which]);
            for (at, byte) in damage {
                // Mostly spare the frame's head, so that the rest is looked at.
                let at = start + 12 + at % (GOLDEN[which].len() - 12);
                stream[at] = byte;
            }
        }
        let conn = ConnId::accepted(9, 9);
        world.order(0, |c, now| c.on_accepted(now, conn, "10.0.0.9", "10.0.0.0"));
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            world.order(0, |c, now| c.on_bytes(now, conn, part));
            rest = after;
            if rest.is_empty() { break; }
        }
        world.c(0).invariants();
        world.run(1000);
        world.c(0).invariants();
        let conf = world.hosts[0].disk.nodes_conf().unwrap();
        prop_assert!(conf::parse(&conf).is_ok(), "{}", conf);
    }
}
