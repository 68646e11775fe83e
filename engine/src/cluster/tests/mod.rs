mod world;

use super::*;
use alloc::vec::Vec;
use world::{TIMEOUT, World};

#[test]
fn a_cluster_of_six_comes_together_as_redis_cli_makes_it() {
    let world = {
        let mut world = World::new(6, 1);
        world.create(3);
        world
    };
    assert!(world.settled());
    for host in 0..6 {
        let info = world.c(host).info(world.now());
        assert!(
            info.starts_with(
                "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n"
            ),
            "{info}"
        );
        assert!(
            info.contains("cluster_known_nodes:6\r\ncluster_size:3\r\n"),
            "{info}"
        );
        assert_eq!(world.is_primary(host), host < 3);
    }
    assert_eq!(world.hosts[4].following, Some(1));
    assert!(world.decided(
        4,
        &Decision::Replicate {
            host: "10.0.0.1".into(),
            port: 6379
        }
    ));
    let slots = world.c(5).slot_ranges(false);
    assert_eq!(
        slots
            .iter()
            .map(|range| (range.first, range.last, range.nodes.len()))
            .collect::<Vec<_>>(),
        [(0, 5460, 2), (5461, 10921, 2), (10922, 16383, 2)]
    );
}

#[test]
fn a_failed_primary_is_replaced_in_time_and_comes_back_as_a_replica() {
    for seed in 0..20 {
        let mut world = World::new(6, seed);
        world.create(3);
        let old = world.id(0);
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
            !w.is_primary(0) && w.hosts[0].following == Some(3)
        });
        world.until(5 * TIMEOUT, "all agree again", World::settled);
        assert_eq!(world.id(0), old);
    }
}
