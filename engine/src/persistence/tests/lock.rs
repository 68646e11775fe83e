//! Two servers and one append-only file, one directory.

use super::disk::Disk;
use super::world::{World, settings};
use crate::face::DiskRequest;
use crate::persistence::{Fsync, Settings};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const LOCK: &str = "appendonlydir/appendonly.aof.lock";

fn locked_by_others(names: &[&str]) -> Disk {
    Disk::locked_by_others(names)
}

fn token() -> Settings {
    Settings {
        token: "0123abcd".into(),
        ..settings(Fsync::EverySec)
    }
}

#[test]
fn a_second_server_says_why_and_touches_nothing() {
    let world = World::start(settings(Fsync::Always), locked_by_others(&[LOCK]));
    assert!(world.failed);
    assert!(world.disk.paths().is_empty());
    let words = "Can't use the append-only file appendonly.aof in dir appendonlydir: another server uses it";
    assert_eq!(world.logged(words), 1, "{:?}", world.log);
}

#[test]
fn another_name_in_the_same_directory_is_another_file() {
    let settings = Settings {
        append_filename: "other.aof".into(),
        ..settings(Fsync::Always)
    };
    assert!(World::start(settings, locked_by_others(&[LOCK, "."])).ready);
}

#[test]
fn without_the_append_only_file_nothing_is_refused_or_removed() {
    let mut world = World::start(token(), Disk::default());
    world.operate();
    world.begin_rewrite();
    for _ in 0..20 {
        world.turn();
    }
    let mut disk = world.disk;
    disk.crash(super::disk::Loss::Nothing);
    // The other one was interrupted before it could remove what its manifest calls history.
    let path = "appendonlydir/appendonly.aof.manifest";
    let base = "appendonlydir/appendonly.aof.1.base.rdb";
    let text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.base.rdb seq 1 type h\n";
    disk.put(path, text.as_bytes());
    disk.put(base, b"");
    disk.locked = [LOCK.to_string(), ".".to_string()].into();
    let off = Settings {
        append_only: false,
        ..token()
    };
    let mut world = World::start(off, disk);
    assert!(world.ready, "{:?}", world.log);
    assert_eq!(world.disk.content(path), Some(text.as_bytes()));
    assert!(world.disk.content(base).is_some());
    // A rewrite that is asked for all the same fails, and the other's files stay as they are.
    world.begin_rewrite();
    for _ in 0..20 {
        world.turn();
    }
    assert_eq!(world.rewrites_aborted, 1);
    assert_eq!(world.logged("another server uses it"), 1, "{:?}", world.log);
    assert_eq!(world.disk.content(path), Some(text.as_bytes()));
}

/// The temporary files that a snapshot and a rewrite were written to.
fn temporary(locked: &[&str]) -> Vec<String> {
    let mut world = World::start(token(), locked_by_others(locked));
    world.hold = true;
    world.begin_save();
    world.begin_rewrite();
    world.settle();
    let opened = world
        .held()
        .into_iter()
        .filter_map(|request| match request {
            DiskRequest::Open { path, .. } if path.contains("temp") => Some(path.clone()),
            _ => None,
        });
    opened.collect()
}

#[test]
fn servers_that_share_a_directory_have_temporary_files_of_their_own() {
    assert_eq!(
        temporary(&[]),
        ["temp-bgsave.rdb", "appendonlydir/temp-rewriteaof-bg.aof"]
    );
    assert_eq!(
        temporary(&["."]),
        [
            "temp-bgsave-0123abcd.rdb",
            "appendonlydir/temp-rewriteaof-bg-0123abcd.aof"
        ]
    );
}

#[test]
fn switching_on_finds_out_first() {
    let off = Settings {
        append_only: false,
        ..token()
    };
    let mut world = World::start(off, locked_by_others(&[LOCK]));
    world.hold = true;
    world.persistence.set_append_only(true, 0);
    world.settle();
    assert!(world.persistence.locking());
    world.answer_held(10);
    assert!(!world.persistence.locking());
    assert!(world.persistence.take_lock_refusal().is_some());
    assert_eq!(world.persistence.take_lock_refusal(), None);
    // As the engine does then.
    world.persistence.set_append_only(false, 0);
    world.hold = false;
    world.advance_ms(2000);
    world.turn();
    assert!(!world.persistence.rewriting());
    world.disk.locked.clear();
    world.persistence.set_append_only(true, 0);
    for _ in 0..20 {
        world.turn();
    }
    assert_eq!(world.persistence.take_lock_refusal(), None);
    assert_eq!(world.rewrites_done, 1, "{:?}", world.log);
}

#[test]
fn another_directory_is_locked_before_it_is_used() {
    let mut world = World::start(token(), Disk::default());
    world.operate();
    let moved = Settings {
        dir: "/elsewhere".into(),
        ..token()
    };
    world.disk.locked.push(LOCK.into());
    world.persistence.configure(moved);
    world.settle();
    let why = world.persistence.take_lock_refusal();
    assert!(why.is_some_and(|why| why.contains("another server uses it")));
    world.persistence.configure(token());
    world.disk.locked.clear();
    for _ in 0..20 {
        world.turn();
        world.advance_ms(1000);
    }
    assert_eq!(world.rewrites_done, 1, "what was there is complete again");
}
