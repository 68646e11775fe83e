//! Bytes that change while nobody looks: whatever is loaded is what was written.

use super::disk::{Disk, Fault, Loss};
use super::world::{World, settings, state_after};
use crate::persistence::{Fsync, Settings};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// Lets time pass until checksums are written.
fn rest(world: &mut World) {
    for _ in 0..3 {
        world.advance_ms(1000);
        world.turn();
    }
}

fn operate(world: &mut World, count: u64) {
    for _ in 0..count {
        world.operate();
        world.turn();
    }
}

/// A server that has rewritten its file once and gone on.
fn rewritten(preamble: bool) -> World {
    let settings = Settings {
        aof_use_rdb_preamble: preamble,
        ..settings(Fsync::EverySec)
    };
    let mut world = World::start(settings, Disk::default());
    operate(&mut world, 6);
    assert!(world.begin_rewrite());
    for _ in 0..20 {
        world.turn();
        world.advance_ms(100);
    }
    assert_eq!(world.rewrites_done, 1);
    operate(&mut world, 6);
    rest(&mut world);
    world
}

fn contents(world: &World, path: &str) -> Vec<u8> {
    world.disk.content(path).unwrap().to_vec()
}

/// A server whose second rewrite came to nothing: two increments with something in them.
fn interrupted(preamble: bool) -> World {
    let mut world = rewritten(preamble);
    assert!(world.begin_rewrite());
    world
        .persistence
        .base_chunk(bytes::Bytes::from_static(b"the beginning of a base"));
    for _ in 0..4 {
        world.operate();
        world.settle();
    }
    world.persistence.abort_rewrite();
    world.settle();
    rest(&mut world);
    for number in [2, 3] {
        let path = format!("appendonlydir/appendonly.aof.{number}.incr.aof");
        assert!(!contents(&world, &path).is_empty());
    }
    world
}

/// A start with other bytes in one file.
fn start_with(world: &World, path: &str, bytes: &[u8]) -> World {
    let mut disk = world.disk.clone();
    disk.crash(Loss::Nothing);
    disk.put(path, bytes);
    World::start(settings(Fsync::EverySec), disk)
}

fn paths(world: &World, names: &str) -> Vec<String> {
    let all = world.disk.paths();
    let some = all.iter().filter(|path| path.ends_with(names));
    some.map(|&path| path.into()).collect()
}

/// Starts with each bit of these files flipped in turn.
fn flip_each_bit(world: &World, names: &str) {
    let count = world.executed();
    let (mut refused, mut harmless, mut cut) = (0, 0, 0);
    for path in paths(world, names) {
        let bytes = contents(world, &path);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = start_with(world, &path, &flipped);
            if found.failed {
                refused += 1;
            } else if found.state == state_after(count) && !found.strange {
                harmless += 1;
            } else {
                // The end of the last file may look like a command that was being written.
                assert_eq!(
                    found.logged("short read while loading the AOF file"),
                    1,
                    "{path}, bit {bit}: {:?}",
                    found.log
                );
                found.check_recovered(0, count, &format!("{path}, bit {bit}"));
                cut += 1;
            }
        }
    }
    assert!(
        refused > 10 * (harmless + cut),
        "{refused} {harmless} {cut}"
    );
}

#[test]
fn a_flip_of_any_bit_is_noticed_or_harmless() {
    let world = rewritten(true);
    flip_each_bit(&world, ".aof");
    flip_each_bit(&world, ".rdb");
    for preamble in [true, false] {
        let world = interrupted(preamble);
        flip_each_bit(&world, ".aof");
        flip_each_bit(&world, ".manifest");
    }
}

#[test]
fn a_cut_at_any_byte_is_noticed_or_harmless() {
    cut_at_each_byte(&interrupted(true));
    cut_at_each_byte(&interrupted(false));
}

fn cut_at_each_byte(world: &World) {
    let count = world.executed();
    let last = paths(world, ".incr.aof").pop().unwrap();
    for path in paths(world, "") {
        let bytes = contents(world, &path);
        for len in 0..bytes.len() {
            let found = start_with(world, &path, &bytes[..len]);
            let context = format!("{path}, {len} bytes: {:?}", found.log);
            if path == last {
                // Nobody can know how far it went.
                found.check_recovered(0, count, &context);
            } else if !found.failed {
                assert_eq!(found.state, state_after(count), "{context}");
                assert!(!found.strange, "{context}");
            }
        }
    }
}

#[test]
fn what_an_interrupted_rewrite_left_is_loaded() {
    let mut world = interrupted(true);
    let count = world.executed();
    // Again and again, with an increment in between that nothing was written to.
    for round in 0..3 {
        world.begin_rewrite();
        world.settle();
        world.persistence.abort_rewrite();
        world.settle();
        world = world.restart(Loss::All);
        world.check_recovered(count + round, count + round, "left over");
        operate(&mut world, 1);
        rest(&mut world);
    }
}

#[test]
fn a_file_that_is_continued_is_covered_on_both_sides() {
    let mut world = World::start(settings(Fsync::EverySec), Disk::default());
    operate(&mut world, 4);
    rest(&mut world);
    let mut world = world.restart(Loss::All);
    operate(&mut world, 4);
    rest(&mut world);
    let text = String::from_utf8(contents(&world, INCREMENT)).unwrap();
    assert_eq!(text.matches("#SUM:0:\r\n").count(), 1, "{text}");
    assert_eq!(text.matches("#SUM:").count(), 3, "{text}");
    flip_each_bit(&world, ".aof");
}

#[test]
fn what_another_server_appended_is_taken() {
    let mut world = World::start(settings(Fsync::Always), Disk::default());
    operate(&mut world, 4);
    rest(&mut world);
    let mut bytes = contents(&world, INCREMENT);
    let sums = bytes.len();
    operate(&mut world, 2);
    let commands: Vec<u8> = contents(&world, INCREMENT)[sums..].to_vec();
    bytes.extend_from_slice(&commands);
    world.disk.put(INCREMENT, &bytes);
    let mut world = world.restart(Loss::All);
    world.check_recovered(6, 6, "with what was appended");
    operate(&mut world, 2);
    rest(&mut world);
    world
        .restart(Loss::All)
        .check_recovered(8, 8, "and continued");
}

#[test]
fn the_place_is_named() {
    let world = rewritten(true);
    let path = "appendonlydir/appendonly.aof.2.incr.aof";
    let mut bytes = contents(&world, path);
    // One value instead of another.
    let at = bytes
        .windows(5)
        .position(|piece| piece == b"$1\r\n9")
        .unwrap()
        + 4;
    bytes[at] = b'8';
    let notes: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(b"#SUM:"))
        .collect();
    let to = *notes.iter().find(|&&note| note > at).unwrap();
    let from = notes
        .iter()
        .rev()
        .find(|&&note| note < at)
        .map_or(0, |&note| {
            let line = bytes[note..].iter().position(|&byte| byte == b'\n');
            note + line.unwrap() + 1
        });
    let mut disk = world.disk.clone();
    disk.crash(Loss::Nothing);
    disk.put(path, &bytes);
    let found = World::start(settings(Fsync::EverySec), disk);
    assert!(found.failed);
    let words = format!("the bytes from offset {from} to {to} are not those that were written");
    assert_eq!(found.logged(&words), 1, "{:?}", found.log);
    let words = "Bad checksum reading the append only file appendonly.aof.2.incr.aof";
    assert_eq!(found.logged(words), 1, "{:?}", found.log);
}

#[test]
fn a_checksum_that_finds_no_room_is_tried_again() {
    for fsync in [Fsync::Always, Fsync::EverySec, Fsync::No] {
        let mut world = World::start(settings(fsync), Disk::default());
        operate(&mut world, 3);
        // The next write is that of the checksum alone.
        let at = world.disk.operations;
        world.disk.faults = (at..at + 6).map(|at| (at, Fault::Full)).collect();
        let mut refused = 0;
        for _ in 0..20 {
            world.advance_ms(1000);
            world.turn();
            assert!(!world.exited, "{fsync:?}: nothing was promised of it");
            refused += u32::from(world.persistence.write_gate().is_some());
        }
        assert!(refused > 0, "{fsync:?}: it was not tried");
        assert_eq!(world.persistence.write_gate(), None, "{fsync:?}");
        assert!(
            world
                .persistence
                .deadline()
                .is_none_or(|at| at > world.now.mono_us),
            "{fsync:?}: there is nothing left to do"
        );
        operate(&mut world, 3);
        rest(&mut world);
        world
            .restart(Loss::Nothing)
            .check_recovered(6, 6, "after all");
    }
}
