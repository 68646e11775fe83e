//! Directed scenarios, each for a way in which replication is known to go wrong.

use super::world::{SECOND, World, settings};
use crate::replication::{Background, ReplconfReply, Settings};
use alloc::format;
use alloc::vec::Vec;

/// A primary (node 0) with replicas 1…, in step after a few writes.
pub(super) fn primary_and_replicas(replicas: usize, settings: Settings) -> World {
    let mut world = World::new(replicas + 1, settings);
    world.write(0, 0, "before");
    for n in 1..=replicas {
        world.follow(n, 0);
    }
    world.run(3, usize::MAX);
    world.write(0, 3, "after");
    world.run(2, usize::MAX);
    let all: Vec<usize> = (0..=replicas).collect();
    world.assert_same(&all);
    world
}

#[test]
fn a_replica_synchronises_and_follows_with_any_split() {
    for piece in [1, 2, 3, 7, usize::MAX] {
        for diskless_sync in [true, false] {
            let mut world = World::new(
                2,
                Settings {
                    diskless_sync,
                    ..settings()
                },
            );
            world.write(0, 5, "one");
            world.follow(1, 0);
            world.run(2, piece);
            world.write(0, 5, "two");
            world.transaction(0, &[(5, "three"), (6, "four")]);
            world.settle(piece);
            world.assert_same(&[0, 1]);
            assert_eq!(world.nodes[0].data.writes, 4);
            assert!(world.nodes[1].repl.link_up());
            assert_eq!(world.logged(1, "Finished with success"), 1);
            assert_eq!(world.logged(0, "succeeded"), 1 + usize::from(diskless_sync));
        }
    }
}

/// NET-8, KB-41, KB-58: whatever of the stream arrived when the link broke, the replica goes on from what it applied.
#[test]
fn a_link_cut_at_any_byte_continues() {
    let commands = 6;
    let mut cut_points = 0;
    for keep in 0.. {
        let mut world = primary_and_replicas(1, settings());
        for n in 0..commands {
            world.transaction(0, &[(n % 3, "x"), (n % 2, "yy")]);
        }
        let resumed = world.logged(0, "Partial resynchronization request");
        assert_eq!(resumed, 0);
        let full = world.nodes[0].repl.stats().sync_full;
        assert!(world.cut_link(1, keep));
        world.settle(5);
        world.write(0, 1, "more");
        world.run(2, usize::MAX);
        world.assert_same(&[0, 1]);
        assert_eq!(world.nodes[0].repl.stats().sync_full, full);
        assert_eq!(world.nodes[0].repl.stats().sync_partial_ok, 1);
        cut_points += 1;
        if keep > 500 {
            break;
        }
    }
    assert!(cut_points > 400);
}

#[test]
fn siblings_continue_with_the_promoted_one() {
    let mut world = primary_and_replicas(3, settings());
    let old = world.nodes[0].repl.ids().current();
    world.promote(1);
    assert_eq!(world.nodes[1].promotions, 1);
    assert_eq!(world.nodes[1].repl.ids().previous(), old);
    world.follow(2, 1);
    world.follow(3, 1);
    // The old primary returns as a replica, with its own parameters as what it may continue from.
    world.follow(0, 1);
    world.write(1, 2, "new history");
    world.run(3, 1);
    world.assert_same(&[0, 1, 2, 3]);
    let stats = world.nodes[1].repl.stats();
    assert_eq!((stats.sync_partial_ok, stats.sync_full), (3, 0));
    assert_eq!(world.logged(2, "Master replication ID changed"), 1);
    for n in [0, 2, 3] {
        let ids = world.nodes[n].repl.ids();
        assert_eq!(ids.current(), world.nodes[1].repl.ids().current());
        assert_eq!(ids.previous(), old);
    }
}

/// A primary that comes back as one knows no longer in which database the stream is.
#[test]
fn a_promoted_server_begins_with_select() {
    let mut world = primary_and_replicas(1, settings());
    world.write(0, 2, "the log is in two");
    world.settle(usize::MAX);
    world.promote(1);
    world.follow(0, 1);
    world.run(2, usize::MAX);
    world.write(1, 5, "and now in five");
    world.settle(usize::MAX);
    world.promote(0);
    world.follow(1, 0);
    world.run(2, usize::MAX);
    world.write(0, 2, "two again");
    world.run(1, usize::MAX);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[0].repl.stats().sync_full, 1);
}

/// KB-42: who follows a follower learns when the history gets another name.
#[test]
fn a_new_name_reaches_the_leaves() {
    let mut world = primary_and_replicas(2, settings());
    world.follow(2, 1);
    world.run(2, usize::MAX);
    world.assert_same(&[0, 1, 2]);
    // Node 0 hands over to nobody: it is promoted by restarting its history.
    let file = world.file(0);
    world.restart(0, Some(file), settings());
    world.write(0, 1, "under the new name");
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1, 2]);
    assert_eq!(world.logged(2, "Master replication ID changed"), 1);
    assert_eq!(world.nodes[1].repl.stats().sync_full, 0);
}

#[test]
fn without_replicas_there_is_no_backlog() {
    let mut world = World::new(1, settings());
    world.write(0, 0, "x");
    let info = world.info(0);
    assert!(info.contains("repl_backlog_active:0\r\n"), "{info}");
    assert!(info.contains("repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n"));
    assert!(info.contains("connected_slaves:0\r\nmaster_failover_state:no-failover\r\n"));
    assert_eq!(world.file(0).1, None);
    assert_eq!(world.nodes[0].repl.deadline(), None);
}

/// R3: writes that the promoted one never had are another history.
#[test]
fn an_old_primary_with_more_writes_does_not_continue() {
    let mut world = primary_and_replicas(2, settings());
    world.cut_link(1, 0);
    world.promote(1);
    world.write(0, 0, "lost");
    world.settle(9);
    world.write(1, 0, "kept");
    world.follow(0, 1);
    world.follow(2, 1);
    world.run(4, usize::MAX);
    world.assert_same(&[0, 1, 2]);
    assert_eq!(world.nodes[1].repl.stats().sync_partial_ok, 0);
    assert_eq!(world.logged(1, "Requested offset for second ID was"), 2);
}

#[test]
fn a_backlog_that_is_too_small_refuses() {
    let mut world = primary_and_replicas(
        1,
        Settings {
            backlog_bytes: 64,
            ..settings()
        },
    );
    world.cut_link(1, 0);
    // The replica's attempt to return is on its way; meanwhile the primary writes on.
    for n in 0..20 {
        world.write(0, 0, &format!("{n}"));
    }
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1]);
    assert_eq!(world.logged(0, "for lack of backlog"), 1);
    let stats = world.nodes[0].repl.stats();
    // The replica's very first request named its own history, which counts too.
    assert_eq!((stats.sync_partial_err, stats.sync_full), (2, 2));
}

/// KB-46: one entry larger than the whole backlog.
#[test]
fn an_entry_larger_than_the_backlog_passes() {
    let mut world = primary_and_replicas(
        2,
        Settings {
            backlog_bytes: 64,
            ..settings()
        },
    );
    world.write(0, 0, &"v".repeat(3 << 20));
    for _ in 0..3 {
        world.write(0, 1, "small");
    }
    world.run(1, 100_000);
    world.assert_same(&[0, 1, 2]);
    assert_eq!(world.nodes[0].repl.stats().sync_full, 2);
    // Nobody needs it any more.
    assert!(world.nodes[0].journal.bytes_held() < 1 << 20);
}

/// KB-41, KB-42: a chain passes on exactly what its middle applied, and a leaf does not outlive a change
/// of its middle's history.
#[test]
fn chains_follow_their_root() {
    let mut world = World::new(3, settings());
    world.write(0, 4, "root");
    world.follow(1, 0);
    world.run(2, 3);
    world.write(0, 7, "in database seven, before the leaf comes");
    world.settle(3);
    world.follow(2, 1);
    world.run(2, 3);
    // The leaf was told the stream's database by the snapshot: no SELECT follows.
    world.write(0, 7, "still in seven");
    world.run(1, 1);
    world.assert_same(&[0, 1, 2]);

    // Another root, with another history, and the same offset.
    let mut other = World::new(4, settings());
    other.write(0, 0, "a");
    other.write(3, 0, "b");
    for (n, of) in [(1, 0), (2, 1)] {
        other.follow(n, of);
        other.run(2, usize::MAX);
    }
    other.assert_same(&[0, 1, 2]);
    other.follow(1, 3);
    other.run(5, usize::MAX);
    other.write(3, 0, "c");
    other.run(2, 1);
    other.assert_same(&[1, 2, 3]);
    assert_eq!(other.logged(2, "Successful partial"), 0);
}

/// A middle node's link breaks inside a command: the leaf has exactly what the middle applied.
#[test]
fn a_leaf_never_gets_ahead_of_the_middle() {
    for keep in 0..60 {
        let mut world = World::new(3, settings());
        for (n, of) in [(1, 0), (2, 1)] {
            world.follow(n, of);
            world.run(2, usize::MAX);
        }
        world.transaction(0, &[(0, "first"), (0, "second")]);
        world.cut_link(1, keep);
        world.settle(1);
        world.promote(1);
        world.write(1, 0, "other");
        world.run(2, 4);
        world.assert_same(&[1, 2]);
        assert_eq!(world.nodes[1].repl.stats().sync_full, 1);
    }
}

#[test]
fn replicas_share_one_snapshot() {
    // Streamed: who comes within the delay is in it.
    let delayed = Settings {
        diskless_sync_delay_s: 5,
        ..settings()
    };
    let mut world = World::new(4, delayed.clone());
    for n in 1..=3 {
        world.follow(n, 0);
        world.settle(usize::MAX);
        world.advance(SECOND);
    }
    assert_eq!(world.nodes[0].snapshots, 0);
    world.run(5, usize::MAX);
    world.assert_same(&[0, 1, 2, 3]);
    assert_eq!(world.nodes[0].snapshots, 1);
    assert_eq!(world.logged(0, "Delay next BGSAVE for diskless SYNC"), 3);

    // With enough replicas there is no delay.
    let mut world = World::new(
        3,
        Settings {
            diskless_sync_max_replicas: 2,
            ..delayed
        },
    );
    world.follow(1, 0);
    world.follow(2, 0);
    world.settle(usize::MAX);
    assert_eq!(world.nodes[0].snapshots, 1);

    // To a file: who comes while it is written is in it, and gets what was written meanwhile.
    let disk = Settings {
        diskless_sync: false,
        ..settings()
    };
    let mut world = World::new(4, disk);
    world.nodes[0].hold_snapshots = true;
    world.follow(1, 0);
    world.settle(usize::MAX);
    world.write(0, 9, "meanwhile");
    world.follow(2, 0);
    world.settle(usize::MAX);
    assert!(
        world
            .info(0)
            .contains("slave1:ip=127.0.0.1,port=7002,state=wait_bgsave,offset=0,lag=0")
    );
    world.nodes[0].hold_snapshots = false;
    world.settle(usize::MAX);
    assert_eq!(world.nodes[0].snapshots, 1);
    world.follow(3, 0);
    world.run(2, 1);
    world.assert_same(&[0, 1, 2, 3]);
    assert_eq!(world.nodes[0].snapshots, 2);
}

#[test]
fn a_streamed_snapshot_makes_others_wait_for_the_next() {
    let mut world = World::new(3, settings());
    world.nodes[0].hold_snapshots = true;
    world.follow(1, 0);
    world.settle(usize::MAX);
    world.follow(2, 0);
    world.settle(usize::MAX);
    assert_eq!(world.logged(0, "Current BGSAVE has socket target"), 1);
    world.nodes[0].hold_snapshots = false;
    world.run(3, usize::MAX);
    assert_eq!(world.nodes[0].snapshots, 2);
    world.assert_same(&[0, 1, 2]);
}

#[test]
fn other_background_work_delays_the_snapshot() {
    for work in [Background::Save, Background::Other] {
        let mut world = World::new(2, settings());
        world.background(0, work);
        world.follow(1, 0);
        world.run(3, usize::MAX);
        assert_eq!(world.nodes[0].snapshots, 0);
        world.background(0, Background::Idle);
        world.run(2, usize::MAX);
        world.assert_same(&[0, 1]);
        assert!(world.nodes[1].repl.link_up());
    }
}

#[test]
fn a_snapshot_that_breaks_or_loses_its_audience_is_made_again() {
    for diskless_sync in [true, false] {
        let mut world = World::new(
            3,
            Settings {
                diskless_sync,
                ..settings()
            },
        );
        world.nodes[0].hold_snapshots = true;
        world.follow(1, 0);
        world.settle(usize::MAX);
        world.break_snapshot(0);
        assert_eq!(world.logged(0, "BGSAVE child returned an error"), 1);
        world.run(2, usize::MAX);
        assert_eq!(world.nodes[0].snapshots, 2);
        // The only one in it goes: it is cancelled, and one for the newcomer begins.
        world.follow(2, 0);
        world.promote(1);
        world.nodes[0].hold_snapshots = false;
        world.run(3, usize::MAX);
        world.assert_same(&[0, 2]);
    }
}

/// KB-45, KB-61, R5: what is received but not executed is neither counted nor acknowledged.
#[test]
fn only_what_was_applied_is_acknowledged() {
    let mut world = primary_and_replicas(2, settings());
    let before = world.nodes[0].journal.end();
    world.nodes[1].paused = true;
    world.write(0, 0, "paused on one");
    world.nodes[0].repl.request_acks();
    world.drain(0);
    world.settle(usize::MAX);
    let written = before + 1;
    assert_eq!(world.nodes[0].repl.acked_replicas(before), 2);
    assert_eq!(world.nodes[0].repl.acked_replicas(written), 1);
    world.run(3, usize::MAX);
    assert_eq!(world.nodes[0].repl.acked_replicas(written), 1);
    assert_eq!(world.nodes[1].journal.end(), before);
    assert!(world.nodes[1].repl.unapplied_bytes() > 0);
    // Promoted in this state it has not lost silently: its offset says what it lacks.
    world.promote(1);
    assert_eq!(world.nodes[1].repl.ids().second_offset(), before as i64 + 1);
    // Its old primary cannot continue with it.
    world.nodes[1].paused = false;
    world.follow(0, 1);
    world.run(3, usize::MAX);
    assert_eq!(world.nodes[1].repl.stats().sync_partial_ok, 0);
}

#[test]
fn acknowledgements_are_counted_by_offset() {
    let mut world = primary_and_replicas(3, settings());
    world.write(0, 0, "x");
    world.cut_link(3, 0);
    world.nodes[0].repl.request_acks();
    world.nodes[0].repl.request_acks();
    world.drain(0);
    world.settle(usize::MAX);
    let repl = &world.nodes[0].repl;
    assert_eq!(repl.acked_by(0), u64::MAX);
    assert!(repl.acked_by(3) <= repl.acked_by(2));
    assert_eq!(repl.acked_by(4), 0);
    // An offset that does not exist yet satisfies nobody, also once it does.
    assert_eq!(repl.acked_replicas(world.nodes[0].journal.end() + 1), 0);
    let ack: [&[u8]; 3] = [b"REPLCONF", b"ACK", b"1000000"];
    let conn = world.nodes[0].repl.serving.links[0].conn;
    let node = &mut world.nodes[0];
    let reply = node.repl.replconf(world.now, &mut node.journal, conn, &ack);
    assert_eq!(reply, ReplconfReply::Silent);
    world.write(0, 0, "now it exists");
    let written = world.nodes[0].journal.end();
    assert_eq!(world.nodes[0].repl.acked_replicas(written), 0);
}

#[test]
fn writes_need_good_replicas() {
    let careful = Settings {
        min_replicas_to_write: 2,
        min_replicas_max_lag_s: 3,
        ..settings()
    };
    let mut world = World::new(3, careful);
    assert!(!world.nodes[0].repl.writes_allowed(world.now));
    world.follow(1, 0);
    world.follow(2, 0);
    world.run(3, usize::MAX);
    assert!(world.nodes[0].repl.writes_allowed(world.now));
    assert!(world.nodes[1].repl.writes_allowed(world.now));
    assert!(world.info(0).contains("min_slaves_good_slaves:2"));
    // Nothing is delivered any more: no acknowledgements.
    for _ in 0..5 {
        world.advance(SECOND);
    }
    assert!(!world.nodes[0].repl.writes_allowed(world.now));
    world.settle(usize::MAX);
    assert!(world.nodes[0].repl.writes_allowed(world.now));
}

/// KB-44: the time without replicas counts from the promotion.
#[test]
fn a_promoted_replica_keeps_its_backlog_for_its_siblings() {
    let short = Settings {
        backlog_ttl_s: 10,
        ..settings()
    };
    let mut world = primary_and_replicas(2, short);
    world.run(30, usize::MAX);
    world.promote(1);
    world.run(5, usize::MAX);
    assert!(world.nodes[1].repl.wants_journal());
    world.follow(2, 1);
    world.run(2, usize::MAX);
    assert_eq!(world.nodes[1].repl.stats().sync_partial_ok, 1);
    assert_eq!(world.nodes[1].repl.stats().sync_full, 0);
}

#[test]
fn the_backlog_outlives_its_last_replica_by_its_whole_time() {
    let short = Settings {
        backlog_ttl_s: 10,
        ..settings()
    };
    let mut world = primary_and_replicas(1, short);
    world.run(30, usize::MAX);
    world.promote(1);
    world.run(8, usize::MAX);
    assert!(world.nodes[0].repl.wants_journal());
    world.run(4, usize::MAX);
    assert!(!world.nodes[0].repl.wants_journal());
}

/// A primary that stopped counting its writes must not let anybody continue by the old name.
#[test]
fn a_freed_backlog_ends_the_history() {
    let short = Settings {
        backlog_ttl_s: 3,
        ..settings()
    };
    let mut world = primary_and_replicas(1, short);
    let id = world.nodes[0].repl.ids().current();
    world.promote(1);
    world.run(6, usize::MAX);
    assert_eq!(
        world.logged(0, "Replication backlog freed after 3 seconds"),
        1
    );
    assert!(!world.nodes[0].repl.wants_journal());
    assert_ne!(world.nodes[0].repl.ids().current(), id);
    world.write(0, 0, "not counted");
    // Its former replica would accept the old name.
    world.follow(0, 1);
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[1].repl.stats().sync_partial_ok, 0);
}

/// KB-43: pings that only one of two heard are part of the history like anything else: who has fewer of them continues,
/// who has more than the promoted one does not.
#[test]
fn idle_pings_are_history() {
    for ahead in [true, false] {
        let often = Settings {
            ping_period_s: 1,
            ..settings()
        };
        let mut world = primary_and_replicas(2, often);
        world.nodes[2].paused = true;
        world.run(5, usize::MAX);
        assert!(world.nodes[1].journal.end() > world.nodes[2].journal.end());
        let (heir, other) = if ahead { (1, 2) } else { (2, 1) };
        world.promote(heir);
        world.follow(other, heir);
        world.nodes[2].paused = false;
        world.write(heir, 0, "after");
        world.run(4, usize::MAX);
        world.assert_same(&[heir, other]);
        let stats = world.nodes[heir].repl.stats();
        let expected = if ahead { (1, 0) } else { (0, 1) };
        assert_eq!((stats.sync_partial_ok, stats.sync_full), expected);
    }
}

/// KB-57: a replica goes to another source and back, and nothing that was written meanwhile is missing, however slowly
/// it arrives.
#[test]
fn there_and_back_again_nothing_is_lost() {
    for seed in 0..60 {
        let mut world = primary_and_replicas(2, settings());
        for _ in 0..seed {
            world.random(2);
        }
        for hop in [2, 0, 2, 0] {
            for _ in 0..3 {
                world.write(0, 1, &format!("{hop}"));
                for _ in 0..world.random(30) {
                    let pipes = world.pipes() as u64;
                    let pipe = world.random(pipes) as usize;
                    world.deliver(pipe, 9);
                }
            }
            world.follow(1, hop);
        }
        world.run(4, 11);
        world.write(0, 1, "the end");
        world.run(2, usize::MAX);
        world.assert_same(&[0, 1, 2]);
        assert!(world.nodes[1].repl.link_up());
    }
}

/// KB-48: history goes on after a restart from a file, in either role, exactly as far as the file reaches.
#[test]
fn histories_survive_restarts() {
    // A replica.
    let mut world = primary_and_replicas(1, settings());
    let file = world.file(1);
    world.write(0, 0, "while it was down");
    world.restart(1, Some(file), settings());
    world.run(3, 1);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[0].repl.stats().sync_partial_ok, 1);

    // A primary, saved at its end.
    let mut world = primary_and_replicas(1, settings());
    let file = world.file(0);
    let old = world.nodes[0].repl.ids().current();
    world.restart(0, Some(file), settings());
    assert_eq!(world.nodes[0].repl.ids().previous(), old);
    world.write(0, 0, "after the restart");
    world.run(3, 2);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[0].repl.stats().sync_partial_ok, 1);

    // A primary whose file lacks what its replica has.
    let mut world = primary_and_replicas(1, settings());
    let file = world.file(0);
    world.write(0, 0, "not in the file");
    world.settle(usize::MAX);
    world.restart(0, Some(file), settings());
    world.run(3, usize::MAX);
    world.assert_same(&[0, 1]);
    assert_eq!(world.nodes[0].repl.stats().sync_partial_ok, 0);

    // KB-38: an empty one has no history to continue.
    let mut world = primary_and_replicas(1, settings());
    world.restart(0, None, settings());
    world.run(3, usize::MAX);
    assert_eq!(world.nodes[0].repl.stats().sync_partial_ok, 0);
    world.assert_same(&[0, 1]);
}
