//! A crash, or a fault, at each single disk operation of a life with rewrites, restarts and switches.

use super::disk::{Disk, Fault, Loss};
use super::world::{World, settings};
use crate::persistence::{Fsync, Settings};
use alloc::format;
use alloc::vec::Vec;

const LOSSES: [Loss; 8] = [
    Loss::Nothing,
    Loss::All,
    Loss::Chance(1),
    Loss::Chance(2),
    Loss::Chance(3),
    Loss::Chance(4),
    Loss::Chance(5),
    Loss::Chance(6),
];

/// A life with two rewrites and writes all the while; ends early when the world crashes.
fn live(world: &mut World) {
    for step in 0..40 {
        if world.crashed() || !world.ready {
            return;
        }
        world.operate();
        if step == 8 || step == 22 {
            world.begin_rewrite();
        }
        world.turn();
        world.advance_ms(150);
    }
}

fn operations_of(settings: &Settings, life: fn(&mut World)) -> u64 {
    let mut world = World::start(settings.clone(), Disk::default());
    life(&mut world);
    assert!(!world.failed && !world.exited);
    world.disk.operations
}

/// Operations that must survive under `everysec`: those that ended two seconds ago or earlier.
fn old_enough(world: &World) -> u64 {
    let before = world.executed() - world.ends.len() as u64;
    before
        + world
            .ends
            .iter()
            .filter(|(_, at)| at + 2_000_000 <= world.now.mono_us)
            .count() as u64
}

/// KB-77, KB-78, D2: no hole before a newer segment, no name that is gone, wherever the power fails.
#[test]
fn whatever_was_released_survives_a_crash_at_any_operation() {
    for fsync in [Fsync::Always, Fsync::EverySec, Fsync::No] {
        let settings = settings(fsync);
        let total = operations_of(&settings, live);
        assert!(total > 60, "{total}");
        for crash_at in 0..=total {
            for loss in LOSSES {
                let mut world =
                    World::start_crashing(settings.clone(), Disk::default(), Some(crash_at));
                live(&mut world);
                assert!(!world.failed && !world.exited);
                let (executed, released, old) =
                    (world.executed(), world.released, old_enough(&world));
                let must = match (fsync, loss) {
                    (Fsync::Always, _) => released,
                    (Fsync::EverySec, _) => old,
                    (Fsync::No, _) => 0,
                };
                let context = format!("{fsync:?} crash at {crash_at} losing {loss:?}");
                let mut again = world.restart(loss);
                again.check_recovered(must, executed, &context);
                // Life goes on, and what it adds is not lost behind what was cut off.
                let before = again.executed();
                again.operate();
                again.operate();
                again.turn();
                again.advance_ms(1500);
                again.turn();
                let third = again.restart(Loss::All);
                third.check_recovered(
                    if fsync == Fsync::No { 0 } else { before + 2 },
                    before + 2,
                    &context,
                );
            }
        }
    }
}

/// Switched on while running, off again, and on.
fn switch(world: &mut World) {
    for step in 0..50 {
        if world.crashed() || !world.ready {
            return;
        }
        world.operate();
        match step {
            4 | 34 => world
                .persistence
                .set_append_only(true, world.journal.sealed()),
            24 => world
                .persistence
                .set_append_only(false, world.journal.sealed()),
            _ => {}
        }
        world.turn();
        world.advance_ms(150);
    }
}

#[test]
fn switching_on_and_off_while_running_is_safe_at_any_operation() {
    let settings = Settings {
        append_only: false,
        ..settings(Fsync::Always)
    };
    let total = operations_of(&settings, switch);
    assert!(total > 60, "{total}");
    for crash_at in 0..=total {
        for loss in LOSSES {
            let mut world =
                World::start_crashing(settings.clone(), Disk::default(), Some(crash_at));
            switch(&mut world);
            let rewrites = world.rewrites_done;
            let info = world.persistence.info(world.now, 0);
            // Complete and in force, not waiting for its base: then what was released must be there.
            let promised = info.aof_enabled && world.persistence.synced_offset().is_some();
            let (executed, released) = (world.executed(), world.released);
            let disk = {
                let mut disk = world.disk;
                disk.crash(loss);
                disk
            };
            let on = Settings {
                append_only: true,
                ..settings.clone()
            };
            let again = World::start(on, disk);
            let must = if promised && rewrites > 0 {
                released
            } else {
                0
            };
            again.check_recovered(
                must,
                executed,
                &format!("crash at {crash_at} losing {loss:?}"),
            );
        }
    }
}

/// Everything that can be asked of persistence, in any order, over a disk that answers late and fills up.
fn chaos(seed: u64) {
    let mut word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |limit: u64| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word % limit
    };
    let fsync = [Fsync::Always, Fsync::EverySec, Fsync::No][below(3) as usize];
    let settings = Settings {
        append_only: below(2) == 0,
        no_fsync_on_rewrite: below(4) == 0,
        aof_timestamps: below(3) == 0,
        aof_rewrite_min_size: 500 + below(5000),
        ..settings(fsync)
    };
    let mut world = World::start(settings.clone(), Disk::default());
    // Whether anything but the policy's promise weakens what must survive.
    let (mut rebased, mut promised_released) = (false, 0);
    for _ in 0..80 + below(200) {
        match below(40) {
            0 => {
                world.begin_rewrite();
            }
            1 | 11 => world
                .persistence
                .set_append_only(true, world.journal.sealed()),
            2 | 10 => {
                world
                    .persistence
                    .set_append_only(false, world.journal.sealed());
            }
            3 => world.persistence.abort_rewrite(),
            4 => (world.hold, world.pace) = (true, 1 + below(4) as usize),
            5 if world.held().is_empty() => world.hold = false,
            6 if fsync != Fsync::Always => {
                let from = world.disk.operations + below(10);
                world.disk.faults = (from..from + 1 + below(3))
                    .map(|at| (at, Fault::Full))
                    .collect();
            }
            7 if below(4) == 0 => {
                let offset = world.journal.end() + 1000;
                world.persistence.rebase(offset);
                world.journal.rebase(offset);
                world.state = super::world::state_after(world.executed() + 5);
                world.ends.clear();
                rebased = true;
                promised_released = 0;
            }
            8 => world.advance_ms(below(3000)),
            9 if !world.persistence.saving() => world.begin_save(),
            _ => world.operate(),
        }
        world.advance_ms(below(200));
        world.turn();
        assert!(!world.failed, "{seed}: {:?}", world.log);
        if world.exited {
            break;
        }
        // Hold back no syncs, and be complete: else nothing is promised.
        let promised = world.persistence.synced_offset().is_some() && !settings.no_fsync_on_rewrite;
        promised_released = if promised { world.released } else { 0 };
    }
    let must = if fsync == Fsync::Always && !rebased {
        promised_released
    } else {
        0
    };
    let executed = world.executed();
    let mut disk = world.disk;
    disk.faults.clear();
    disk.crash(LOSSES[below(8) as usize]);
    let on = Settings {
        append_only: true,
        ..settings
    };
    World::start(on, disk).check_recovered(
        must,
        executed,
        &format!("seed {seed}: {:?}", world.log),
    );
}

#[test]
fn any_order_of_wishes_over_a_slow_disk_ends_well() {
    (0..4000).for_each(chaos);
}

/// KB-82, KB-83, D4: after any fault what was acknowledged is there, and errors end.
#[test]
fn a_fault_at_any_operation_is_survived_or_ends_the_process() {
    for fsync in [Fsync::Always, Fsync::EverySec, Fsync::No] {
        let settings = settings(fsync);
        let total = operations_of(&settings, live);
        let opening = World::start(settings.clone(), Disk::default())
            .disk
            .operations;
        for fault in [Fault::Full, Fault::Io] {
            for at in 0..=total {
                let disk = Disk::failing(at, fault);
                let mut world = World::start(settings.clone(), disk);
                let context = format!("{fsync:?} {fault:?} at {at}");
                if world.failed {
                    assert!(at <= opening, "{context}");
                    continue;
                }
                live(&mut world);
                let (executed, released) = (world.executed(), world.released);
                if world.exited {
                    assert_eq!(fsync, Fsync::Always, "{context}");
                    for loss in LOSSES {
                        let mut again = World::start(settings.clone(), Disk::default());
                        again.disk = world.disk.clone();
                        again
                            .restart(loss)
                            .check_recovered(released, executed, &context);
                    }
                    continue;
                }
                // The disk is well again: the error clears, and then all is durable.
                for _ in 0..40 {
                    world.turn();
                    world.advance_ms(200);
                }
                assert_eq!(
                    world.persistence.write_gate(),
                    None,
                    "{context}: {:?}",
                    world.log
                );
                assert!(!world.persistence.rewriting(), "{context}");
                let must = if fsync == Fsync::No { 0 } else { executed };
                world
                    .restart(Loss::All)
                    .check_recovered(must, executed, &context);
            }
        }
    }
}

#[test]
fn faults_in_a_row_are_survived_by_the_process_and_by_the_next() {
    let settings = settings(Fsync::EverySec);
    let total = operations_of(&settings, live);
    let opening = World::start(settings.clone(), Disk::default())
        .disk
        .operations;
    for (at, many) in (opening + 1..=total).flat_map(|at| [2, 3, 5, 8].map(|many| (at, many))) {
        let mut world = World::start(settings.clone(), Disk::default());
        world.disk.faults = (at..at + many).map(|at| (at, Fault::Io)).collect();
        live(&mut world);
        let context = format!("{many} faults from {at}");
        let executed = world.executed();
        // Only the process dies: what it wrote is there, and so is every file that it named.
        let mut copy = World::start(settings.clone(), Disk::default());
        copy.disk = world.disk.clone();
        copy.restart(Loss::Nothing)
            .check_recovered(0, executed, &context);
        // Long enough for a cure that is held back after three failures.
        for _ in 0..100 {
            world.turn();
            world.advance_ms(1000);
        }
        assert_eq!(world.persistence.write_gate(), None, "{context}");
        world
            .restart(Loss::All)
            .check_recovered(executed, executed, &context);
    }
}

#[test]
fn a_crash_soon_after_a_fault_keeps_the_promise() {
    let settings = settings(Fsync::Always);
    let total = operations_of(&settings, live);
    for fault in [Fault::Full, Fault::Io] {
        for at in (0..=total).step_by(3) {
            for crash_at in (at..=total + 10).step_by(5) {
                let disk = Disk::failing(at, fault);
                let mut world = World::start_crashing(settings.clone(), disk, Some(crash_at));
                if world.failed {
                    continue;
                }
                live(&mut world);
                let (executed, released) = (world.executed(), world.released);
                let context = format!("{fault:?} at {at}, crash at {crash_at}");
                let disk = world.disk;
                for loss in LOSSES {
                    let mut lost = disk.clone();
                    lost.faults.clear();
                    lost.crash(loss);
                    World::start(settings.clone(), lost)
                        .check_recovered(released, executed, &context);
                }
            }
        }
    }
}

#[test]
fn a_crash_while_recovering_is_no_worse() {
    let settings = settings(Fsync::Always);
    let mut world = World::start(settings.clone(), Disk::default());
    live(&mut world);
    let executed = world.executed();
    let mut torn = world.disk;
    torn.crash(Loss::All);
    // The last file ends in the middle of a transaction.
    let last = torn
        .paths()
        .into_iter()
        .rfind(|path| path.ends_with(".incr.aof"))
        .unwrap();
    let mut bytes = torn.content(last).unwrap().to_vec();
    bytes.truncate(bytes.len() - 3);
    let last = alloc::string::String::from(last);
    torn.put(&last, &bytes);
    let reference = World::start(settings.clone(), torn.clone());
    let kept = reference.executed();
    assert!(kept < executed && kept + 3 > executed);
    for crash_at in 0..=reference.disk.operations {
        for loss in LOSSES {
            let mut disk = torn.clone();
            disk.operations = 0;
            let world = World::start_crashing(settings.clone(), disk, Some(crash_at));
            let again = world.restart(loss);
            again.check_recovered(kept, kept, &format!("{crash_at} {loss:?}"));
        }
    }
}

/// KB-75: the last second is synced though nothing follows it, also while a rewrite stands still.
#[test]
fn every_second_means_so_without_further_writes() {
    for rewriting in [false, true] {
        let mut world = World::start(settings(Fsync::EverySec), Disk::default());
        if rewriting {
            // Its first piece does not come.
            assert!(world.begin_rewrite());
            (0..20).for_each(|_| world.settle());
        }
        world.advance_ms(100);
        world.operate();
        world.settle();
        assert_eq!(world.persistence.rewriting(), rewriting);
        let due = world.persistence.deadline().expect("a sync is due");
        assert!(due <= world.now.mono_us + 1_000_000);
        world.now.mono_us = due;
        world.settle();
        assert_eq!(
            world.persistence.synced_offset(),
            Some(world.journal.sealed()),
            "{rewriting}"
        );
        assert_eq!(world.persistence.deadline(), None);
        world.restart(Loss::All).check_recovered(1, 1, "idle");
    }
}

/// KB-82: what piled up while the disk was full goes when there is room, however much it is.
#[test]
fn a_large_backlog_drains_after_a_full_disk() {
    let mut world = World::start(settings(Fsync::EverySec), Disk::default());
    let next = world.disk.operations + 1;
    world.disk.faults = (next..next + 6).map(|at| (at, Fault::Full)).collect();
    let value = alloc::vec![b'7'; 3 << 20];
    for _ in 0..10 {
        world.journal.select(0);
        world.journal.append_command(&[b"SET", b"n", &value]);
        world.journal.seal();
        world.turn();
    }
    assert!(world.persistence.write_gate().is_some());
    for _ in 0..40 {
        world.advance_ms(1000);
        world.turn();
    }
    assert_eq!(world.persistence.write_gate(), None, "{:?}", world.log);
    assert_eq!(
        world.persistence.synced_offset(),
        Some(world.journal.sealed())
    );
    let path = "appendonlydir/appendonly.aof.1.incr.aof";
    let bytes = world.disk.content(path).unwrap();
    let whole = bytes.windows(6).filter(|piece| piece == b"\r\n*3\r\n");
    assert_eq!(whole.count(), 10);
}

/// KB-84: switched on while running, with faults anywhere on the way: in the end it is on and whole, or it is off.
#[test]
fn switching_on_with_faults_ends_whole_or_off() {
    let off = Settings {
        append_only: false,
        ..settings(Fsync::EverySec)
    };
    let total = operations_of(&off, switch);
    let opening = World::start(off.clone(), Disk::default()).disk.operations;
    let (mut on, mut refused) = (0, 0);
    for fault in [Fault::Full, Fault::Io] {
        for (at, many) in (opening + 1..=total).flat_map(|at| [1, 2, 5].map(|many| (at, many))) {
            let context = format!("{many} {fault:?} from {at}");
            let mut world = World::start(off.clone(), Disk::default());
            world.disk.faults = (at..at + many).map(|at| (at, fault)).collect();
            for step in 0..20 {
                world.operate();
                if step == 4 {
                    let sealed = world.journal.sealed();
                    world.persistence.set_append_only(true, sealed);
                }
                world.turn();
                world.advance_ms(150);
            }
            // Long enough for attempts that are held back.
            for _ in 0..150 {
                world.turn();
                world.advance_ms(1000);
            }
            let info = world.persistence.info(world.now, 0);
            // (Who asked for it is told so, and it is off.)
            if !info.aof_enabled || world.persistence.take_lock_refusal().is_some() {
                refused += 1;
                continue;
            }
            on += 1;
            assert_eq!(world.persistence.write_gate(), None, "{context}");
            let synced = world.persistence.synced_offset();
            assert_eq!(synced, Some(world.journal.sealed()), "{context}");
            let executed = world.executed();
            let mut disk = world.disk;
            disk.faults.clear();
            disk.crash(Loss::All);
            let again = World::start(settings(Fsync::EverySec), disk);
            again.check_recovered(executed, executed, &context);
        }
    }
    assert!(on > 50, "{on} on, {refused} off");
}

/// KB-76: no reply before its sync.
#[test]
fn always_holds_replies_and_batches_what_came_meanwhile() {
    use crate::face::DiskRequest;
    let mut world = World::start(settings(Fsync::Always), Disk::default());
    world.hold = true;
    world.operate();
    world.turn();
    assert_eq!(world.released, 0);
    let held: Vec<_> = world.held().into_iter().cloned().collect();
    assert!(
        matches!(
            held[..],
            [DiskRequest::Write { .. }, DiskRequest::Sync { .. }]
        ),
        "{held:?}"
    );
    (0..10).for_each(|_| {
        world.operate();
        world.turn();
    });
    assert_eq!(world.held().len(), 2, "one write and sync under way");
    world.answer_held(1);
    assert_eq!(
        (world.released, world.held().len()),
        (0, 1),
        "written is not durable"
    );
    world.answer_held(1);
    assert_eq!(
        (world.released, world.held().len()),
        (1, 2),
        "the ten go together"
    );
    world.answer_held(2);
    assert_eq!(world.released, 11);
}

#[test]
fn a_slow_sync_postpones_the_next_write_for_two_seconds() {
    let mut world = World::start(settings(Fsync::EverySec), Disk::default());
    world.advance_ms(1500);
    world.operate();
    world.hold = true;
    world.turn();
    world.answer_held(1);
    assert_eq!(world.held().len(), 1, "the sync");
    world.operate();
    world.turn();
    assert_eq!(world.held().len(), 1);
    assert_eq!(world.released, 2, "replies do not wait");
    world.advance_ms(1900);
    world.turn();
    assert_eq!(world.held().len(), 1);
    world.advance_ms(200);
    world.turn();
    assert_eq!(world.held().len(), 2, "the write goes behind the sync");
    assert_eq!(world.logged("Asynchronous AOF fsync is taking too long"), 1);
    let info = world.persistence.info(world.now, 0).aof.unwrap();
    assert_eq!((info.delayed_fsync, info.pending_fsync), (1, 1));
}

/// KB-82: half a write on a full disk is taken back, and the rest follows when there is room.
#[test]
fn a_full_disk_refuses_writes_until_it_has_room() {
    let mut world = World::start(settings(Fsync::EverySec), Disk::default());
    let opened = world.disk.operations;
    world.disk.faults = (opened + 1..opened + 8)
        .map(|at| (at, Fault::Full))
        .collect();
    world.operate();
    world.turn();
    let gate = world.persistence.write_gate().unwrap();
    assert_eq!(
        gate.message(),
        "MISCONF Errors writing to the AOF file: No space left on device"
    );
    assert!(!world.persistence.info(world.now, 0).aof_last_write_ok);
    assert_eq!(
        world.logged("Short write while writing to the AOF file: (nwritten="),
        1
    );
    let before = world.disk.operations;
    world.turn();
    assert_eq!(
        world.disk.operations, before,
        "no retry before a second is over"
    );
    for _ in 0..10 {
        world.advance_ms(1000);
        world.turn();
    }
    assert_eq!(world.persistence.write_gate(), None);
    assert_eq!(
        world.logged("AOF write error looks solved, Redis can write again."),
        1
    );
    world.restart(Loss::All).check_recovered(1, 1, "room again");
}

/// KB-83: a sync that failed is not made good by one that succeeds.
#[test]
fn a_failed_sync_is_cured_only_by_a_rewrite() {
    let mut world = World::start(settings(Fsync::EverySec), Disk::default());
    world.advance_ms(1500);
    world.operate();
    world
        .disk
        .faults
        .insert(world.disk.operations + 2, Fault::Io);
    world.turn();
    assert!(world.persistence.write_gate().is_some());
    assert_eq!(
        world.persistence.synced_offset(),
        Some(0),
        "nothing of it is believed"
    );
    let rewrites = world.rewrites_done;
    for _ in 0..10 {
        world.advance_ms(100);
        world.turn();
    }
    assert_eq!(world.rewrites_done, rewrites + 1, "{:?}", world.log);
    assert_eq!(world.persistence.write_gate(), None);
    world
        .restart(Loss::All)
        .check_recovered(1, 1, "after the cure");
}

/// KB-86: an end waits for the disk, and says if it cannot be had.
#[test]
fn a_shutdown_waits_until_all_is_durable() {
    use crate::persistence::FlushState;
    let mut world = World::start(settings(Fsync::No), Disk::default());
    world.operate();
    world.turn();
    assert_eq!(world.persistence.synced_offset(), Some(0));
    world.persistence.flush(&world.journal);
    assert_eq!(world.persistence.flush_state(), FlushState::Pending);
    world.settle();
    assert_eq!(world.persistence.flush_state(), FlushState::Done);
    world.operate();
    world
        .disk
        .faults
        .insert(world.disk.operations + 1, Fault::Full);
    world.persistence.flush(&world.journal);
    world.settle();
    assert_eq!(world.persistence.flush_state(), FlushState::Failed);
}
