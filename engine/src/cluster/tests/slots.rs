//! Slots are assigned, moved and asked for.

use super::world::{TIMEOUT, World};
use super::*;

fn ask(world: &World, host: usize, request: RouteRequest) -> Route {
    world.c(host).route(world.now(), &request)
}

fn error(world: &World, host: usize, request: RouteRequest) -> alloc::string::String {
    ask(world, host, request).error().unwrap_or_default()
}

#[test]
fn a_slot_moves_as_redis_cli_moves_it() {
    let mut world = World::new(3, 21);
    world.create(3);
    let [zero, one] = [0, 1].map(|host| world.id(host));
    let get = RouteRequest {
        slot: 7,
        ..RouteRequest::default()
    };
    assert_eq!(ask(&world, 0, get), Route::Local);
    assert_eq!(error(&world, 1, get), "MOVED 7 10.0.0.0:6379");

    world
        .order(1, |c, now| c.set_slot_importing(now, 7, zero.as_bytes()))
        .unwrap();
    world
        .order(0, |c, now| c.set_slot_migrating(now, 7, one.as_bytes()))
        .unwrap();
    assert!(
        world
            .my_line(0)
            .ends_with(&alloc::format!("0-5460 [7->-{one}]")),
        "{}",
        world.my_line(0)
    );
    assert!(
        world
            .my_line(1)
            .ends_with(&alloc::format!("5461-10921 [7-<-{zero}]")),
        "{}",
        world.my_line(1)
    );
    assert!(world.c(0).is_open(7) && world.c(1).is_open(7) && !world.c(2).is_open(7));

    let here = RouteRequest {
        keys_here: 1,
        ..get
    };
    let gone = RouteRequest {
        keys_missing: 1,
        ..get
    };
    let both = RouteRequest {
        keys_here: 1,
        keys_missing: 1,
        multi_key: true,
        ..get
    };
    let try_again = "TRYAGAIN Multiple keys request during rehashing of slot";
    assert_eq!(ask(&world, 0, here), Route::Local);
    assert_eq!(error(&world, 0, gone), "ASK 7 10.0.0.1:6379");
    assert_eq!(error(&world, 0, both), try_again);
    assert_eq!(
        ask(
            &world,
            0,
            RouteRequest {
                pubsub_shard: true,
                ..gone
            }
        ),
        Route::Local
    );
    assert_eq!(
        ask(
            &world,
            0,
            RouteRequest {
                migrate: true,
                ..gone
            }
        ),
        Route::Local
    );
    assert_eq!(error(&world, 1, gone), "MOVED 7 10.0.0.0:6379");
    assert_eq!(
        ask(
            &world,
            1,
            RouteRequest {
                asking: true,
                ..gone
            }
        ),
        Route::Local
    );
    assert_eq!(
        error(
            &world,
            1,
            RouteRequest {
                asking: true,
                ..both
            }
        ),
        try_again
    );

    let refused = world
        .order(0, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 3))
        .unwrap_err();
    let text = b"ERR Can't assign hashslot 7 to a different node while I still hold keys for this hash slot.";
    assert_eq!(refused.0, text);
    let before = world.c(1).nodes().me().config_epoch;
    world
        .order(1, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 5))
        .unwrap();
    world
        .order(0, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 0))
        .unwrap();
    assert!(
        world.c(1).nodes().me().config_epoch > before,
        "the new owner's claim needs a new epoch"
    );
    world.until(2000, "all know", |w| {
        w.settled() && (0..3).all(|host| w.owner(host, 7) == Some(1))
    });
    assert!(!world.my_line(0).contains('[') && !world.my_line(1).contains('['));
    world.run(5 * TIMEOUT);
    assert_eq!(world.owner(2, 7), Some(1), "the migration was undone");
}

#[test]
fn a_slot_stays_moved_if_the_source_fails_at_once() {
    // The source's replica has not heard of the move when it takes over (KB-13).
    for seed in 0..2 {
        let mut world = World::new(6, seed);
        world.create(3);
        let one = world.id(1);
        world.open_slot(7, 0, 1);
        world.run(500);
        world
            .order(1, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 0))
            .unwrap();
        world
            .order(0, |c, now| c.set_slot_node(now, 7, one.as_bytes(), 0))
            .unwrap();
        world.crash(0);
        world.until(4 * TIMEOUT, "the replica takes over", |w| w.writable(3, 8));
        world.until(5 * TIMEOUT, "the moved slot is the new owner's", |w| {
            (1..6).all(|host| w.owner(host, 7) == Some(1)) && w.writable(1, 7)
        });
    }
}

/// KB-14.
#[test]
fn a_primary_that_gave_its_last_slot_away_follows_the_taker() {
    let mut world = World::new(4, 23);
    world.create(3); // 3 is 0's replica
    let [zero, one] = [0, 1].map(|host| world.id(host));
    let slots: alloc::vec::Vec<u16> = world.c(0).nodes().me().slots.iter().collect();
    for slot in slots.iter().copied() {
        world
            .order(1, |c, now| c.set_slot_importing(now, slot, zero.as_bytes()))
            .unwrap();
    }
    for slot in slots {
        world
            .order(1, |c, now| c.set_slot_node(now, slot, one.as_bytes(), 0))
            .unwrap();
        let _ = world.order(0, |c, now| c.set_slot_node(now, slot, one.as_bytes(), 0));
    }
    world.until(5 * TIMEOUT, "0 and its replica follow 1", |w| {
        w.hosts[0].following == Some(1) && w.hosts[3].following == Some(1) && w.settled()
    });
}

#[test]
fn a_failover_of_the_source_does_not_break_an_import() {
    let mut world = World::new(6, 24);
    world.create(3);
    let [zero, one] = [0, 1].map(|host| world.id(host));
    world
        .order(1, |c, now| c.set_slot_importing(now, 7, zero.as_bytes()))
        .unwrap();
    world
        .order(0, |c, now| c.set_slot_migrating(now, 7, one.as_bytes()))
        .unwrap();
    world.run(500);
    world.crash(0);
    world.until(5 * TIMEOUT, "the importer knows the new source", |w| {
        w.writable(3, 7) && w.owner(1, 7) == Some(3)
    });
    world.until(2 * TIMEOUT, "and is up", |w| {
        w.c(1).state(w.now()) == State::Ok
    });
    assert!(
        world
            .my_line(1)
            .contains(&alloc::format!("[7-<-{}]", world.id(3))),
        "{}",
        world.my_line(1)
    );
}

#[test]
fn slots_are_assigned_as_redis_says() {
    let mut world = World::new(1, 25);
    world.run(50);
    let mut order = |order: &dyn Fn(&mut Cluster, Now) -> Result<(), Refused>| {
        world
            .order(0, |c, now| order(c, now))
            .map_err(|refused| refused.0)
    };
    order(&|c, now| c.add_slots(now, &[(0, 5), (9, 9)])).unwrap();
    let refused = |text: &str| Err(text.into());
    assert_eq!(
        order(&|c, now| c.add_slots(now, &[(10, 12), (5, 5)])),
        refused("ERR Slot 5 is already busy")
    );
    assert_eq!(
        order(&|c, now| c.add_slots(now, &[(10, 12), (12, 13)])),
        refused("ERR Slot 12 specified multiple times")
    );
    assert_eq!(
        order(&|c, now| c.delete_slots(now, &[(10, 10)])),
        refused("ERR Slot 10 is already unassigned")
    );
    assert_eq!(
        order(&|c, now| c.add_slots(now, &[(12, 11)])),
        refused("ERR start slot number 12 is greater than end slot number 11")
    );
    order(&|c, now| c.delete_slots(now, &[(1, 2)])).unwrap();
    assert_eq!(
        order(&|c, now| c.flush_slots(now, 1)),
        refused("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")
    );
    assert!(
        world.my_line(0).ends_with("connected 0 3-5 9"),
        "{}",
        world.my_line(0)
    );
}

#[test]
fn reads_and_states_that_restrict_them() {
    let mut world = World::new(6, 26);
    world.create(3);
    let get = RouteRequest {
        slot: 3,
        ..RouteRequest::default()
    };
    let set = RouteRequest { write: true, ..get };
    // A replica serves reads of its own primary's slots to sessions that asked for it.
    assert_eq!(error(&world, 3, get), "MOVED 3 10.0.0.0:6379");
    assert_eq!(
        ask(
            &world,
            3,
            RouteRequest {
                readonly_session: true,
                ..get
            }
        ),
        Route::Local
    );
    assert_eq!(
        error(
            &world,
            3,
            RouteRequest {
                readonly_session: true,
                ..set
            }
        ),
        "MOVED 3 10.0.0.0:6379"
    );
    assert_eq!(
        ask(
            &world,
            3,
            RouteRequest {
                pubsub_shard: true,
                ..get
            }
        ),
        Route::Local
    );
    assert_eq!(
        world
            .c(3)
            .route_blocked(world.now(), 3, true, false, false)
            .error()
            .unwrap(),
        "MOVED 3 10.0.0.0:6379"
    );
    // Without a majority nothing is served, or reads only.
    world.crash(1);
    world.crash(2);
    world.crash(4);
    world.crash(5);
    world.until(3 * TIMEOUT, "0 is down", |w| {
        error(w, 0, get) == "CLUSTERDOWN The cluster is down"
    });
    world.until(3 * TIMEOUT, "and knows", |w| {
        w.decided(0, &Decision::StateChanged { ok: false })
    });
    assert_eq!(
        world.c(0).route_blocked(world.now(), 3, true, false, false),
        Route::Down("CLUSTERDOWN The cluster is down")
    );
    let mut settings = world.hosts[0].settings.clone();
    settings.allow_reads_when_down = true;
    world.order(0, |c, now| c.set_settings(now, settings));
    assert_eq!(ask(&world, 0, get), Route::Local);
    assert_eq!(
        error(&world, 0, set),
        "CLUSTERDOWN The cluster is down and only accepts read commands"
    );
    assert_eq!(
        ask(
            &world,
            0,
            RouteRequest {
                pubsub_shard: true,
                ..get
            }
        ),
        Route::Local
    );
}

#[test]
fn a_slot_that_nobody_owns_is_not_served() {
    let mut world = World::new(1, 27);
    world.run(50);
    let get = RouteRequest {
        slot: 3,
        ..RouteRequest::default()
    };
    assert_eq!(error(&world, 0, get), "CLUSTERDOWN Hash slot not served");
}

#[test]
fn clients_are_told_hosts_as_they_shall_be() {
    let mut world = World::new(2, 28);
    for host in 0..2 {
        world.hosts[host].settings.announce_hostname = alloc::format!("node-{host}.example.com");
        let settings = world.hosts[host].settings.clone();
        world.order(host, |c, now| c.set_settings(now, settings));
    }
    world.create(2);
    let get = RouteRequest {
        slot: 3,
        ..RouteRequest::default()
    };
    for (endpoint, text) in [
        (EndpointType::Hostname, "MOVED 3 node-0.example.com:6379"),
        (EndpointType::Unknown, "MOVED 3 :6379"),
        (EndpointType::Ip, "MOVED 3 10.0.0.0:6379"),
    ] {
        let mut settings = world.hosts[1].settings.clone();
        settings.preferred_endpoint = endpoint;
        world.order(1, |c, now| c.set_settings(now, settings));
        assert_eq!(error(&world, 1, get), text);
    }
    assert!(
        world
            .c(1)
            .nodes_text(false)
            .contains(" 10.0.0.0:6379@16379,node-0.example.com master ")
    );
}

#[test]
fn keys_without_a_slot_are_taken_care_of_at_the_start() {
    let mut world = World::new(2, 29);
    world.create(2);
    let zero = world.id(0);
    world.order(1, |c, now| c.reconcile(now, &[3, 9000]));
    assert!(world.logged(1, "I have keys for slot 3, but the slot is assigned to another node. Setting it to importing state."));
    assert!(world.my_line(1).ends_with(&alloc::format!("[3-<-{zero}]")));
}
