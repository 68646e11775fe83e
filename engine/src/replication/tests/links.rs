//! Links that break, fall silent, lag behind or change their minds.

use super::scenarios::primary_and_replicas;
use super::world::{SECOND, World, settings};
use crate::replication::{Role, Settings};
use alloc::format;

/// KB-51: until a payload is whole and loaded, the old data and its history stand.
#[test]
fn a_broken_transfer_costs_nothing() {
    let mut world = primary_and_replicas(2, settings());
    let data = world.nodes[1].data;
    world.nodes[1].hold_loads = true;
    // A foreign primary.
    let offset = world.nodes[1].journal.end();
    world.promote(2);
    world.write(2, 0, "p");
    world.cut_link(1, 0);
    world.nodes[2].hold_snapshots = true;
    let id = world.nodes[1].repl.ids().current();
    world.write(0, 0, "only here");
    world.settle(usize::MAX);
    world.follow(1, 2);
    world.run(2, usize::MAX);
    assert!(world.info(1).contains("master_sync_in_progress:1"));
    world.break_snapshot(2);
    world.settle(usize::MAX);
    assert_eq!(world.nodes[1].repl.ids().current(), id);
    assert!(world.nodes[1].journal.end() >= offset);
    assert!(world.nodes[1].data.writes >= data.writes);
    // Back to its first primary: it continues.
    world.follow(1, 0);
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[0].repl.stats().sync_full, 2);
}

/// A link that ends while its payload is loading does not waste the payload.
#[test]
fn a_link_lost_while_loading_continues_after_it() {
    let mut world = World::new(2, settings());
    world.write(0, 2, "a");
    world.nodes[1].hold_loads = true;
    world.follow(1, 0);
    world.settle(usize::MAX);
    assert!(world.nodes[1].loading);
    world.write(0, 2, "b");
    world.settle(usize::MAX);
    assert!(world.cut_link(1, 0));
    world.settle(usize::MAX);
    world.load(1);
    world.drain(1);
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1]);
    let stats = world.nodes[0].repl.stats();
    assert_eq!((stats.sync_full, stats.sync_partial_ok), (1, 1));
}

#[test]
fn a_long_load_is_not_a_timeout() {
    let mut world = World::new(
        2,
        Settings {
            timeout_s: 5,
            ..settings()
        },
    );
    world.nodes[1].hold_loads = true;
    world.follow(1, 0);
    world.run(30, usize::MAX);
    assert!(world.nodes[1].loading);
    assert_eq!(world.logged(0, "Disconnecting"), 0);
    world.load(1);
    world.drain(1);
    world.run(2, usize::MAX);
    world.assert_same(&[0, 1]);
}

#[test]
fn silence_ends_links_on_both_sides() {
    let mut world = primary_and_replicas(
        1,
        Settings {
            timeout_s: 5,
            ping_period_s: 2,
            ..settings()
        },
    );
    // With pings and acknowledgements delivered, an idle link lives.
    world.run(60, usize::MAX);
    assert!(world.nodes[1].repl.link_up());
    assert_eq!(world.nodes[0].repl.stats().sync_partial_ok, 0);
    // Nothing arrives for a while.
    for _ in 0..8 {
        world.advance(SECOND);
    }
    assert_eq!(
        world.logged(
            0,
            "Disconnecting timedout replica (streaming sync): 127.0.0.1:7001"
        ),
        1
    );
    assert_eq!(
        world.logged(1, "MASTER timeout: no data nor PING received..."),
        1
    );
    assert!(!world.nodes[1].repl.link_up());
    assert!(world.nodes[1].repl.link_down_since().is_some());
    world.run(5, usize::MAX);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[0].repl.stats().sync_full, 1);
    assert_eq!(world.nodes[1].repl.link_down_since(), None);
}

/// KB-54, L4: where every synchronisation is cut by the output limit, one of the next is not.
#[test]
fn full_synchronisation_ends_under_steady_writes() {
    let tight = Settings {
        backlog_bytes: 1000,
        output_hard_bytes: 2000,
        output_soft_bytes: 0,
        ..settings()
    };
    let mut world = World::new(2, tight);
    world.nodes[0].hold_snapshots = true;
    world.follow(1, 0);
    let mut seconds = 0;
    while !world.nodes[1].repl.link_up() {
        // A snapshot takes four seconds, in which 10 kB are written: five times the limit.
        for second in 0..6 {
            world.settle(usize::MAX);
            for _ in 0..25 {
                world.write(0, 0, &"w".repeat(60));
            }
            world.nodes[0].hold_snapshots = second < 4;
            world.advance(SECOND);
        }
        seconds += 6;
        assert!(seconds < 120, "{:#?}", world.nodes[0].log);
    }
    world.run(1, usize::MAX);
    world.assert_same(&[0, 1]);
    assert!(world.nodes[0].repl.stats().sync_full > 2);
}

#[test]
fn a_replica_that_lags_too_far_is_cut() {
    let tight = Settings {
        output_hard_bytes: 32 << 10,
        ..settings()
    };
    let mut world = primary_and_replicas(1, tight);
    for _ in 0..100 {
        world.write(0, 0, &"w".repeat(1000));
    }
    assert_eq!(world.nodes[0].repl.replica_count(), 0);
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1]);

    let soft = Settings {
        output_soft_bytes: 10_000,
        output_soft_s: 3,
        ..settings()
    };
    let mut world = primary_and_replicas(1, soft);
    world.write(0, 0, &"w".repeat(12_000));
    for _ in 0..3 {
        world.advance(SECOND);
    }
    assert_eq!(world.nodes[0].repl.replica_count(), 1);
    for _ in 0..3 {
        world.advance(SECOND);
    }
    assert_eq!(world.nodes[0].repl.replica_count(), 0);
}

/// KB-01: an offset of another history must not be offered at an election.
#[test]
fn a_reparented_replica_has_no_offset_to_offer() {
    let mut world = primary_and_replicas(2, settings());
    let offered = |world: &World, n: usize| {
        let node = &world.nodes[n];
        node.repl.electable_offset(&node.journal)
    };
    assert_eq!(offered(&world, 1), world.nodes[1].journal.end());
    world.promote(2);
    world.follow(1, 2);
    assert_eq!(offered(&world, 1), 0);
    world.run(3, usize::MAX);
    assert_eq!(offered(&world, 1), world.nodes[2].journal.end());
}

/// KB-26: a held stream does not move.
#[test]
fn a_held_stream_stands_still() {
    let mut world = primary_and_replicas(1, settings());
    let end = world.nodes[0].journal.end();
    world.nodes[0].repl.hold_stream(true);
    world.nodes[0].repl.request_acks();
    world.run(40, usize::MAX);
    assert_eq!(world.nodes[0].journal.end(), end);
    world.nodes[0].repl.hold_stream(false);
    world.run(11, usize::MAX);
    assert!(world.nodes[0].journal.end() > end);
}

#[test]
fn a_replica_whose_link_is_down_serves_nobody() {
    let mut world = World::new(3, settings());
    // Node 1 follows a primary that makes no snapshot.
    world.nodes[0].hold_snapshots = true;
    world.follow(1, 0);
    world.settle(usize::MAX);
    world.follow(2, 1);
    world.run(2, usize::MAX);
    assert!(world.logged(2, "Master is currently unable to PSYNC but should be in the future: -NOMASTERLINK Can't SYNC while not connected with my master") > 0);
    world.nodes[0].hold_snapshots = false;
    world.run(5, usize::MAX);
    world.write(0, 1, "all the way");
    world.run(2, usize::MAX);
    world.assert_same(&[0, 1, 2]);
}

#[test]
fn changing_ones_mind_leaves_no_connection_behind() {
    let mut world = World::new(4, settings());
    for n in [0, 2, 0, 2] {
        world.follow(1, n);
    }
    world.run(4, usize::MAX);
    world.write(2, 0, "x");
    world.run(1, usize::MAX);
    world.assert_same(&[1, 2]);
    assert_eq!(world.nodes[0].repl.replica_count(), 0);
    // Nor does promotion in the middle of anything.
    world.follow(3, 2);
    world.nodes[3].hold_loads = true;
    world.settle(usize::MAX);
    assert!(world.nodes[3].loading);
    world.promote(3);
    assert!(!world.nodes[3].loading);
    world.run(3, usize::MAX);
    assert_eq!(world.nodes[2].repl.replica_count(), 1);
    assert_eq!(world.pipes(), 2);
}

#[test]
fn info_and_role_say_what_redis_says() {
    let mut world = primary_and_replicas(1, settings());
    world.run(2, usize::MAX);
    // Nothing was written in the last four seconds, and no PING was due.
    let offset = world.nodes[0].journal.end();
    let ids = world.nodes[0].repl.ids();
    let (id, zeros) = (ids.current(), ids.previous());
    assert_eq!(
        world.info(0),
        format!(
            "role:master\r\nconnected_slaves:1\r\n\
             slave0:ip=127.0.0.1,port=7001,state=online,offset={offset},lag=0\r\n\
             master_failover_state:no-failover\r\nmaster_replid:{id}\r\nmaster_replid2:{zeros}\r\n\
             master_repl_offset:{offset}\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:1\r\n\
             repl_backlog_size:16384\r\nrepl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:{offset}\r\n"
        )
    );
    assert_eq!(
        world.info(1),
        format!(
            "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7000\r\nmaster_link_status:up\r\n\
             master_last_io_seconds_ago:4\r\nmaster_sync_in_progress:0\r\n\
             slave_read_repl_offset:{offset}\r\nslave_repl_offset:{offset}\r\n\
             slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\nconnected_slaves:0\r\n\
             master_failover_state:no-failover\r\nmaster_replid:{id}\r\nmaster_replid2:{zeros}\r\n\
             master_repl_offset:{offset}\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:1\r\n\
             repl_backlog_size:16384\r\nrepl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:{offset}\r\n"
        )
    );
    let role = |n: usize| world.nodes[n].repl.role(&world.nodes[n].journal);
    assert!(
        matches!(role(0), Role::Primary { offset: o, replicas } if o == offset && replicas[0].port == 7001)
    );
    assert!(
        matches!(role(1), Role::Replica { state: "connected", offset: o, .. } if o == offset as i64)
    );
}
