//! Each directive does what it says.

use super::world::{TIMEOUT, World};
use super::*;

/// Changes a host's settings while it runs.
fn set(world: &mut World, host: usize, change: impl Fn(&mut Settings)) {
    change(&mut world.hosts[host].settings);
    let settings = world.hosts[host].settings.clone();
    world.order(host, |c, now| c.set_settings(now, settings));
}

fn all(world: &mut World, change: impl Fn(&mut Settings)) {
    (0..world.hosts.len()).for_each(|host| set(world, host, &change));
}

#[test]
fn a_replica_that_shall_not_stand_does_not_but_at_an_order() {
    let mut world = World::new(6, 90);
    world.create(3);
    set(&mut world, 3, |s| s.replica_no_failover = true);
    world.run(TIMEOUT);
    assert!(world.c(1).nodes_text(false).contains(" slave,nofailover "));
    world.crash(0);
    world.run(8 * TIMEOUT);
    assert!(!world.is_primary(3) && !world.logged(3, "Start of election"));
    world
        .order(3, |c, now| c.failover(now, true, false))
        .unwrap();
    world.until(TIMEOUT, "it takes over", |w| w.writable(3, 0));
    // The flag goes as it came.
    set(&mut world, 3, |s| s.replica_no_failover = false);
    world.until(3 * TIMEOUT, "all know", |w| {
        !w.c(1).nodes_text(false).contains("nofailover")
    });
}

#[test]
fn spare_replicas_stay_where_migration_is_off_or_the_barrier_is_high() {
    // (The first primary has two replicas, 3 and 6; the second loses its only one.)
    for off in [true, false] {
        let mut world = World::new(7, 91);
        world.create(3);
        for spare in [3, 6] {
            set(&mut world, spare, |s| {
                s.allow_replica_migration = !off;
                s.migration_barrier = if off { 1 } else { 2 };
            });
        }
        world.crash(4);
        world.run(10 * TIMEOUT);
        let stays = |w: &World| {
            [3, 6]
                .iter()
                .all(|spare| w.hosts[*spare].following == Some(0))
        };
        assert!(stays(&world));
        for spare in [3, 6] {
            set(&mut world, spare, |s| {
                s.allow_replica_migration = true;
                s.migration_barrier = 1;
            });
        }
        world.until(10 * TIMEOUT, "one moves", |w| !stays(w));
        world.run(5 * TIMEOUT);
        let moved = [3, 6]
            .iter()
            .filter(|spare| world.hosts[**spare].following == Some(1));
        assert_eq!(moved.count(), 1);
    }
}

#[test]
fn a_cluster_with_a_gap_serves_the_rest_where_it_may() {
    let mut world = World::new(6, 92);
    world.create(3);
    world.crash(1);
    world.crash(4);
    let read = RouteRequest {
        slot: 0,
        ..RouteRequest::default()
    };
    let channel = RouteRequest {
        pubsub_shard: true,
        ..read
    };
    let write = RouteRequest {
        write: true,
        ..read
    };
    let answers = |w: &World| [read, write, channel].map(|r| w.c(0).route(w.now(), &r));
    let down = Route::Down("CLUSTERDOWN The cluster is down");
    let reads_only = Route::Down("CLUSTERDOWN The cluster is down and only accepts read commands");
    world.until(4 * TIMEOUT, "it is down", |w| {
        answers(w) == [down.clone(), down.clone(), Route::Local]
    });
    set(&mut world, 0, |s| s.allow_pubsubshard_when_down = false);
    assert_eq!(answers(&world), [down.clone(), down.clone(), down.clone()]);
    set(&mut world, 0, |s| s.allow_reads_when_down = true);
    assert_eq!(answers(&world), [Route::Local, reads_only, down]);
    set(&mut world, 0, |s| s.require_full_coverage = false);
    world.until(4 * TIMEOUT, "it serves what it has", |w| {
        answers(w) == [Route::Local, Route::Local, Route::Local]
    });
    // What nobody has is where it was.
    let gone = RouteRequest { slot: 6000, ..read };
    assert!(matches!(
        world.c(0).route(world.now(), &gone),
        Route::Moved(_)
    ));
}

#[test]
fn a_forgotten_node_may_come_back_when_its_time_is_over() {
    for (ttl_s, back) in [(5, true), (60, false)] {
        let mut world = World::new(4, 93);
        all(&mut world, |s| s.blacklist_ttl_s = ttl_s);
        world.create(3);
        let gone = world.id(3);
        // 2 and the node itself are not told.
        world.partition(&[2, 3]);
        for host in [0, 1] {
            world
                .order(host, |c, now| c.forget_node(now, gone.as_bytes()))
                .unwrap();
        }
        world.run(7000);
        world.heal();
        world.run(6 * TIMEOUT);
        for host in [0, 1, 2] {
            assert_eq!(
                world.flags_of(host, &gone).is_some(),
                back,
                "{ttl_s} {host}"
            );
        }
    }
}

/// Pings that the hosts sent so far.
fn pings(world: &World) -> u64 {
    (0..world.hosts.len())
        .map(|host| world.c(host).stats.sent[usize::from(Kind::Ping.number())])
        .sum()
}

#[test]
fn pings_are_as_frequent_as_is_said() {
    let mut counts = alloc::vec::Vec::new();
    for interval in [0, 200, 60_000] {
        let mut world = World::new(6, 94);
        world.create(3);
        all(&mut world, |s| s.ping_interval_ms = interval);
        world.run(TIMEOUT);
        let before = pings(&world);
        for _ in 0..8 {
            world.run(TIMEOUT);
            assert!(world.settled() && world.writable(0, 0), "{interval}");
        }
        counts.push(pings(&world) - before);
    }
    assert!(
        counts[1] > counts[0] * 2 && counts[2] < counts[0],
        "{counts:?}"
    );
}

#[test]
fn a_connection_that_takes_nothing_ends_at_the_limit() {
    const COUNTER: &str = "total_cluster_links_buffer_limit_exceeded:";
    let mut world = World::new(3, 95);
    world.create(3);
    let links = world.c(0).link_infos();
    let conn = links
        .iter()
        .find(|link| !link.inbound)
        .expect("a link")
        .conn;
    let told = |world: &mut World, bytes: u64| {
        world.order(0, |c, now| c.on_backlogs(now, &[(conn, bytes)]));
    };
    let bytes = world.c(0).link_bytes();
    told(&mut world, 1 << 30);
    let shown = |w: &World| {
        let links = w.c(0).link_infos();
        links
            .iter()
            .find(|link| link.conn == conn)
            .map(|link| link.unsent)
    };
    assert_eq!(shown(&world), Some(1 << 30));
    assert_eq!(world.c(0).link_bytes(), bytes + (1 << 30));
    set(&mut world, 0, |s| s.link_sendbuf_limit = 1000);
    told(&mut world, 1000);
    assert_eq!(shown(&world), Some(1000));
    world.order(0, |c, now| c.on_backlogs(now, &[]));
    assert_eq!(shown(&world), Some(0));
    assert!(
        world
            .c(0)
            .info(world.now())
            .contains(&alloc::format!("{COUNTER}0"))
    );
    told(&mut world, 1001);
    assert_eq!(shown(&world), None);
    assert!(
        world
            .c(0)
            .info(world.now())
            .contains(&alloc::format!("{COUNTER}1"))
    );
    assert!(world.logged(
        0,
        "used memory: 1001) due to exceeding send buffer memory limit."
    ));
    world.until(TIMEOUT, "another connection", |w| {
        w.c(0).link_infos().len() == links.len()
    });
    world.run(3 * TIMEOUT);
    assert!(world.settled());
}

#[test]
fn ports_are_told_as_they_are_announced() {
    let base = Settings {
        port: 7000,
        tls_port: 7100,
        ..Settings::default()
    };
    let tls = Settings {
        tls_cluster: true,
        ..base.clone()
    };
    let rows = [
        (base.clone(), (7000, 0, 17000)),
        (
            Settings {
                bus_port: 9000,
                ..base.clone()
            },
            (7000, 0, 9000),
        ),
        (
            Settings {
                announce_port: 1,
                ..base.clone()
            },
            (1, 0, 17000),
        ),
        (
            Settings {
                announce_tls_port: 2,
                ..base.clone()
            },
            (7000, 0, 17000),
        ),
        (
            Settings {
                announce_bus_port: 3,
                bus_port: 9000,
                ..base.clone()
            },
            (7000, 0, 3),
        ),
        (tls.clone(), (7100, 7000, 17100)),
        (
            Settings {
                bus_port: 9000,
                ..tls.clone()
            },
            (7100, 7000, 9000),
        ),
        (
            Settings {
                announce_tls_port: 2,
                announce_port: 1,
                ..tls.clone()
            },
            (2, 1, 17100),
        ),
        (
            Settings {
                announce_port: 1,
                ..tls.clone()
            },
            (1, 7000, 17100),
        ),
        (
            Settings {
                announce_bus_port: 3,
                ..tls
            },
            (7100, 7000, 3),
        ),
    ];
    for (settings, ports) in rows {
        assert_eq!(settings.announced_ports(), ports, "{settings:?}");
    }
}

#[test]
fn names_that_people_give_are_in_the_others_logs() {
    let mut world = World::new(6, 96);
    for host in 0..6 {
        set(&mut world, host, |s| {
            s.announce_human_nodename = alloc::format!("node-{host}");
        });
    }
    world.create(3);
    world.crash(0);
    world.until(4 * TIMEOUT, "it is replaced", |w| w.writable(3, 0));
    assert!(world.logged(1, " (node-0) as failing") || world.logged(1, " (node-0)"));
    assert!(world.logged(1, "Failover auth granted to "));
    assert!(
        world.hosts[1]
            .log
            .iter()
            .any(|line| line.contains(" (node-3) for epoch "))
    );
    // Whoever has none any more is named by its own name alone.
    set(&mut world, 3, |s| s.announce_human_nodename.clear());
    let three = world.id(3);
    world.until(3 * TIMEOUT, "it is forgotten", |w| {
        let nodes = w.c(1).nodes();
        nodes
            .node(nodes.find(&three).unwrap())
            .human_name
            .is_empty()
    });
    assert!(
        !world.c(1).nodes_text(false).contains("node-"),
        "texts are Redis 7.0's"
    );
}

#[test]
fn a_shard_keeps_its_name_whoever_leads_it() {
    let mut world = World::new(6, 97);
    world.create(3);
    let shard = |w: &World, host: usize| w.c(host).my_shard();
    world.until(2 * TIMEOUT, "replicas know", |w| {
        (0..3).all(|host| shard(w, host) == shard(w, host + 3))
    });
    let names = [0, 1, 2].map(|host| shard(&world, host));
    assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
    world.crash(0);
    world.until(4 * TIMEOUT, "a replica takes over", |w| w.writable(3, 0));
    assert_eq!(shard(&world, 3), names[0]);
    world.start(0);
    assert_eq!(shard(&world, 0), names[0], "a restart forgot it");
    world.until(8 * TIMEOUT, "the old primary follows", |w| {
        w.settled() && w.hosts[0].following == Some(3)
    });
    assert_eq!(shard(&world, 0), names[0]);
    // Whoever goes to another shard takes its name, and whoever is alone a new one.
    let one = world.id(1);
    world
        .order(0, |c, now| c.replicate(now, one.as_bytes(), 0))
        .unwrap();
    world.until(TIMEOUT, "it is in another shard", |w| {
        shard(w, 0) == names[1]
    });
    world.order(0, |c, now| c.reset(now, false, 0)).unwrap();
    assert!(!names.contains(&shard(&world, 0)));
}
