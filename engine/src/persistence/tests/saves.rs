//! How the snapshot file comes to be, when saves and rewrites begin by themselves, and what a full synchronisation does to
//! the files.

use super::disk::{Disk, Fault, Loss};
use super::world::{World, settings, snapshot, state_after};
use crate::face::{DiskRequest, LogLevel};
use crate::persistence::{Action, FlushState, Fsync, SavePoint, Settings};
use alloc::format;
use alloc::vec;

fn saving() -> Settings {
    Settings {
        save_points: vec![SavePoint {
            seconds: 1,
            changes: 5,
        }],
        ..Settings::default()
    }
}

#[test]
fn a_save_point_saves_and_the_snapshot_survives() {
    let mut world = World::start(saving(), Disk::default());
    (0..5).for_each(|_| world.operate());
    world.turn();
    assert_eq!(world.logged("Saving..."), 0, "too early");
    world.advance_ms(2100);
    world.turn();
    assert_eq!(world.logged("5 changes in 1 seconds. Saving..."), 1);
    let info = world.persistence.info(world.now, 5);
    assert!(info.rdb_bgsave_in_progress && info.rdb_changes_since_last_save == 5);
    world.operate();
    (0..12).for_each(|_| world.turn());
    assert_eq!(world.saves_done, 1);
    assert_eq!(world.logged("DB saved on disk"), 1);
    assert_eq!(world.logged("Background saving terminated with success"), 1);
    let info = world.persistence.info(world.now, 6);
    assert_eq!(
        (
            info.rdb_changes_since_last_save,
            info.rdb_saves,
            info.rdb_bgsave_in_progress
        ),
        (1, 1, false)
    );
    assert_eq!(info.rdb_last_save_time, 1_700_000_002);
    assert_eq!(world.disk.paths(), ["dump.rdb"]);
    world.restart(Loss::All).check_recovered(5, 5, "saved");
}

/// KB-78: the new snapshot is there after its rename, or the old one.
#[test]
fn a_crash_while_saving_leaves_the_old_snapshot_or_the_new() {
    let life = |crash_at| {
        let mut disk = Disk::default();
        disk.put("dump.rdb", &snapshot(&state_after(3), false).concat());
        let mut world = World::start_crashing(saving(), disk, crash_at);
        (0..6).for_each(|_| world.operate());
        world.advance_ms(2100);
        (0..12).for_each(|_| world.turn());
        world
    };
    let whole = life(None);
    assert_eq!(whole.saves_done, 1);
    for crash_at in 0..=whole.disk.operations {
        for loss in [
            Loss::Nothing,
            Loss::All,
            Loss::Chance(1),
            Loss::Chance(2),
            Loss::Chance(3),
        ] {
            let world = life(Some(crash_at));
            let must = if world.saves_done > 0 { 9 } else { 3 };
            if !world.ready {
                continue;
            }
            let again = world.restart(loss);
            again.check_recovered(must, 9, &format!("{crash_at} {loss:?}"));
            assert!([3, 9].contains(&again.executed()));
        }
    }
}

/// KB-90: snapshots that stopped are seen by whoever writes or asks.
#[test]
fn a_failed_save_is_reported_and_tried_again_after_five_seconds() {
    let start = World::start(saving(), Disk::default()).disk.operations;
    for at in 1..=12 {
        let mut world = World::start(saving(), Disk::failing(start + at, Fault::Io));
        (0..5).for_each(|_| world.operate());
        world.advance_ms(2100);
        (0..12).for_each(|_| world.turn());
        if world.saves_done == 1 {
            assert!(at > 8, "{at}");
            continue;
        }
        assert_eq!(world.saves_aborted, 1, "{at}");
        assert_eq!(world.logged("Background saving error"), 1);
        assert!(world.log.iter().any(|(level, text)| {
            *level == LogLevel::Warning && text.ends_with("Input/output error")
        }));
        let info = world.persistence.info(world.now, 5);
        assert!(!info.rdb_last_bgsave_ok);
        assert!(!world.disk.paths().contains(&"temp-bgsave.rdb"), "{at}");
        let gate = world.persistence.write_gate().unwrap().message();
        assert!(gate.starts_with(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable"
        ));
        world.advance_ms(4000);
        world.turn();
        assert!(!world.persistence.saving(), "too early");
        world.advance_ms(1100);
        (0..12).for_each(|_| world.turn());
        assert_eq!(world.saves_done, 1, "{at}");
        assert_eq!(world.persistence.write_gate(), None);
    }
}

#[test]
fn a_rewrite_begins_by_itself_when_the_file_has_grown() {
    let growing = Settings {
        aof_rewrite_min_size: 1000,
        aof_rewrite_percentage: 100,
        ..settings(Fsync::EverySec)
    };
    let mut world = World::start(growing, Disk::default());
    while world.rewrites_done == 0 {
        assert!(world.executed() < 100);
        world.operate();
        world.turn();
        world.advance_ms(10);
    }
    assert_eq!(world.logged("Starting automatic rewriting of AOF on "), 1);
    let info = world.persistence.info(world.now, 0);
    assert_eq!((info.aof_rewrites, info.aof_last_bgrewrite_ok), (1, true));
    let sizes = info.aof.unwrap();
    assert!(
        sizes.base_size < 1000 && sizes.current_size >= sizes.base_size,
        "{sizes:?}"
    );
}

#[test]
fn rewrites_that_keep_failing_are_held_back() {
    let growing = Settings {
        aof_rewrite_min_size: 100,
        aof_rewrite_percentage: 10,
        ..settings(Fsync::EverySec)
    };
    let mut world = World::start(growing, Disk::default());
    (0..20).for_each(|_| world.operate());
    world.turn();
    // Every file that is made fails from here on; appending goes on.
    let mut minutes = 0;
    for _ in 0..600 {
        let next = world.disk.operations + 1;
        if world.persistence.rewriting() {
            world.disk.faults = (next..next + 3).map(|at| (at, Fault::Full)).collect();
        }
        world.turn();
        world.advance_ms(1000);
        minutes += 1;
    }
    let info = world.persistence.info(world.now, 0);
    assert!(!info.aof_last_bgrewrite_ok);
    assert!(
        minutes == 600 && (4..=8).contains(&info.aof_rewrites),
        "{}",
        info.aof_rewrites
    );
    assert_eq!(
        world.logged("triggered the limit, will retry in 1 minutes"),
        1
    );
    assert_eq!(
        world.logged("triggered the limit, will retry in 2 minutes"),
        1
    );
    assert_eq!(
        world.logged("triggered the limit, will retry in 4 minutes"),
        1
    );
}

#[test]
fn a_snapshot_on_its_way_waits_for_a_slow_disk() {
    let mut world = World::start(Settings::default(), Disk::default());
    world.hold = true;
    assert!(world.persistence.begin_save(world.now, true, 0));
    let piece = bytes::Bytes::from(vec![7; 1 << 20]);
    let mut pushed = 0;
    while world.persistence.wants_save() {
        world.persistence.save_chunk(piece.clone());
        pushed += 1;
        assert!(pushed < 100);
    }
    assert_eq!(pushed, 4);
    world.settle();
    world.answer_held(2);
    assert!(world.persistence.wants_save());
    let syncs = world
        .held()
        .iter()
        .filter(|request| matches!(request, DiskRequest::Sync { .. }))
        .count();
    assert_eq!(syncs, 1, "one each four mebibytes");
    world.persistence.abort_save();
    world.settle();
    world.answer_held(100);
    assert_eq!((world.disk.paths(), world.saves_aborted), (vec![], 1));
}

/// KB-87: after a full synchronisation the append-only file goes on with the new data.
#[test]
fn a_full_synchronisation_begins_the_files_anew() {
    for told in [true, false] {
        full_synchronisation(told);
    }
}

fn full_synchronisation(told: bool) {
    let mut world = World::start(settings(Fsync::Always), Disk::default());
    (0..5).for_each(|_| world.operate());
    world.turn();
    // Another history, at another offset.
    if told {
        world.persistence.rebase(1_000_000);
    }
    world.journal.rebase(1_000_000);
    world.state = state_after(50);
    world.ends.clear();
    (0..20).for_each(|_| {
        world.operate();
        world.turn();
        world.advance_ms(100);
    });
    assert_eq!(world.rewrites_done, 1, "{:?}", world.log);
    assert_eq!(world.persistence.flush_state(), FlushState::Done);
    let (executed, released) = (world.executed(), world.released);
    assert_eq!((executed, released), (70, 70));
    world
        .restart(Loss::All)
        .check_recovered(70, 70, "the new history");
}

#[test]
fn a_wish_that_came_to_nothing_is_repeated() {
    let mut world = World::start(saving(), Disk::default());
    (0..5).for_each(|_| world.operate());
    world.advance_ms(2100);
    for expected in [1, 0, 1] {
        world.persistence.tick(world.now, 5);
        let actions = core::iter::from_fn(|| world.persistence.poll_action());
        let wishes = actions.filter(|action| *action == Action::WantSave).count();
        assert_eq!(wishes, expected);
        world.advance_ms(600);
    }
}
