//! What is read at the start, what is refused and in which words.

use super::disk::{Disk, Fault, Loss};
use super::world::{World, settings, snapshot, state_after};
use crate::face::DiskRequest;
use crate::persistence::{FlushState, Fsync, Settings};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const DIR: &str = "appendonlydir";
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

/// The journal of so many operations, and where each ends in it.
fn journal_of(count: u64) -> (Vec<u8>, Vec<usize>) {
    let mut world = World::new(Settings::default(), Disk::default());
    (0..count).for_each(|_| world.operate());
    let bytes: Vec<u8> = world.journal.read(0, u64::MAX).collect::<Vec<_>>().concat();
    (
        bytes,
        world.ends.iter().map(|(end, _)| *end as usize).collect(),
    )
}

/// A file set: its manifest names all the files, bases by their name.
fn disk_of(files: &[(&str, &[u8])]) -> Disk {
    let mut disk = Disk::default();
    let mut manifest = String::new();
    for (index, (name, bytes)) in files.iter().enumerate() {
        disk.put(&format!("{DIR}/{name}"), bytes);
        let kind = if name.contains("base") { 'b' } else { 'i' };
        manifest += &format!("file {name} seq {} type {kind}\n", index + 1);
    }
    disk.put(MANIFEST, manifest.as_bytes());
    disk
}

fn start(files: &[(&str, &[u8])]) -> World {
    World::start(settings(Fsync::Always), disk_of(files))
}

fn assert_refused(world: &World, words: &str) {
    assert!(world.failed && !world.ready, "{:?}", world.log);
    assert_eq!(world.logged(words), 1, "{words}: {:?}", world.log);
}

/// The lines of the manifest, without its checksum.
fn manifest(world: &World) -> String {
    let text = world.disk.content(MANIFEST).unwrap();
    let text = String::from_utf8(text.into()).unwrap();
    text[..text.rfind("#SUM:").unwrap()].into()
}

/// KB-79, KB-80: what is cut off is gone for good, and what comes next stands behind what was kept.
#[test]
fn a_cut_at_every_byte_of_the_last_file_leaves_the_whole_operations() {
    let (bytes, ends) = journal_of(12);
    for cut in 0..=bytes.len() {
        let mut world = start(&[("a.incr.aof", &bytes[..cut])]);
        let whole = ends.iter().filter(|&&end| end <= cut).count() as u64;
        world.check_recovered(whole, whole, &format!("cut at {cut}"));
        let exact =
            cut == 0 || ends.contains(&cut) || bytes[..cut].ends_with(b"SELECT\r\n$1\r\n0\r\n");
        let name = "a.incr.aof";
        assert_eq!(
            world.logged(&format!("short read while loading the AOF file {name}!!!")),
            usize::from(!exact)
        );
        assert_eq!(
            world.logged(&format!(
                "AOF {name} loaded anyway because aof-load-truncated is enabled"
            )),
            usize::from(!exact)
        );
        // What is appended now must be readable behind what was cut off.
        world.operate();
        world.turn();
        world.restart(Loss::All).check_recovered(
            whole + 1,
            whole + 1,
            &format!("again after {cut}"),
        );
    }
}

/// KB-79: no part of a transaction without its EXEC.
#[test]
fn the_log_tells_where_a_transaction_was_cut() {
    let (bytes, ends) = journal_of(6);
    let inside = ends[4] + b"*1\r\n$5\r\nMULTI\r\n".len();
    let world = start(&[("a.incr.aof", &bytes[..inside])]);
    assert_eq!(
        world.logged("Revert incomplete MULTI/EXEC transaction in AOF file a.incr.aof"),
        1
    );
    assert_eq!(
        world.logged(&format!(
            "!!! Truncating the AOF a.incr.aof at offset {} !!!",
            ends[4]
        )),
        1
    );
    assert_eq!(
        world
            .disk
            .content(&format!("{DIR}/a.incr.aof"))
            .unwrap()
            .len(),
        ends[4]
    );
}

#[test]
fn a_cut_is_refused_if_so_configured_and_nothing_is_touched() {
    let (bytes, _) = journal_of(4);
    let cut = &bytes[..bytes.len() - 1];
    let strict = Settings {
        load_truncated: false,
        ..settings(Fsync::Always)
    };
    let world = World::start(strict, disk_of(&[("a.incr.aof", cut)]));
    assert_refused(
        &world,
        "Unexpected end of file reading the append only file a.incr.aof. You can: 1) Make a backup of your AOF file, \
         then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' \
         configuration option to yes and restart the server.",
    );
    assert_eq!(world.disk.content(&format!("{DIR}/a.incr.aof")), Some(cut));
}

#[test]
fn only_the_last_file_with_anything_in_it_may_be_cut() {
    let (bytes, ends) = journal_of(6);
    let cut = &bytes[..bytes.len() - 1];
    let world = start(&[("a.incr.aof", cut), ("b.incr.aof", &bytes)]);
    assert_refused(
        &world,
        "Fatal error: the truncated file is not the last file",
    );
    assert_eq!(world.disk.content(&format!("{DIR}/a.incr.aof")), Some(cut));
    let world = start(&[("a.incr.aof", cut), ("b.incr.aof", b"")]);
    world.check_recovered(5, 5, "behind it is nothing");
    assert_eq!(
        world
            .disk
            .content(&format!("{DIR}/a.incr.aof"))
            .unwrap()
            .len(),
        ends[4]
    );
}

/// KB-81: power failed, and zeros are left; other bytes in that place are damage.
#[test]
fn zeros_at_the_end_of_the_last_file_count_as_its_end() {
    let (bytes, ends) = journal_of(9);
    for cut in 0..=bytes.len() {
        for zeros in [1, 2, 5000] {
            let mut file = bytes[..cut].to_vec();
            file.resize(cut + zeros, 0);
            let world = start(&[("a.incr.aof", &file)]);
            let whole = ends.iter().filter(|&&end| end <= cut).count() as u64;
            world.check_recovered(whole, whole, &format!("{zeros} zeros from {cut}"));
        }
    }
    // Not in an earlier file, and not with anything behind them.
    let mut file = bytes.clone();
    file.resize(bytes.len() + 100, 0);
    let world = start(&[("a.incr.aof", &file), ("b.incr.aof", &bytes)]);
    assert_refused(
        &world,
        "Bad file format reading the append only file a.incr.aof",
    );
    file.extend_from_slice(&bytes);
    let world = start(&[("a.incr.aof", &file)]);
    assert_refused(
        &world,
        "Bad file format reading the append only file a.incr.aof",
    );
    file[bytes.len()..].fill(0);
    file.resize(3 << 20, 0);
    file.push(b'*');
    assert_refused(
        &start(&[("a.incr.aof", &file)]),
        "Bad file format reading the append only file a.incr.aof",
    );
}

#[test]
fn damage_in_the_middle_is_refused_in_the_words_of_redis() {
    let (mut bytes, ends) = journal_of(6);
    bytes[ends[2]] = b'!';
    assert_refused(
        &start(&[("a.incr.aof", &bytes)]),
        "Bad file format reading the append only file a.incr.aof: make a backup of your AOF file, then use \
         ./redis-check-aof --fix <filename.manifest>",
    );
    assert_refused(
        &start(&[("a.incr.aof", b"*1\r\n$4\r\nNOPE\r\n")]),
        "Unknown command 'NOPE' reading the append only file a.incr.aof",
    );
}

/// File, offset, what should stand there and what to do: each refusal says it, and changes nothing.
#[test]
fn a_refusal_names_file_place_and_remedy() {
    let (mut bytes, ends) = journal_of(6);
    let whole = bytes.clone();
    bytes[ends[2]] = b'!';
    let base = snapshot(&state_after(4), true).concat();
    let mut flipped = base.clone();
    flipped[60] ^= 1;
    let aof = "reprise-check-aof appendonlydir/appendonly.aof.manifest";
    let word = whole.len() - b"$1\r\n6\r\n*1\r\n$4\r\nEXEC\r\n".len();
    let mut long = whole.clone();
    long[word + 1] = b'0';
    for (name, content, at, expected, help) in [
        (
            "a.incr.aof",
            &bytes,
            ends[2] as u64,
            "expected a command: '*'",
            aof,
        ),
        (
            "a.incr.aof",
            &long,
            word as u64 + 4,
            "expected the line's end behind a word",
            aof,
        ),
        (
            "a.base.rdb",
            &flipped,
            0,
            "expected ",
            "reprise-check-rdb appendonlydir/a.base.rdb",
        ),
        (
            "a.base.rdb",
            &base[..40].to_vec(),
            0,
            "expected ",
            "reprise-check-rdb appendonlydir/a.base.rdb",
        ),
    ] {
        let disk = disk_of(&[(name, content), ("z.incr.aof", &whole)]);
        let world = World::start(settings(Fsync::Always), disk);
        assert!(world.failed, "{name} at {at}");
        let path = format!("appendonlydir/{name}, at offset ");
        let lines: Vec<&String> = world
            .log
            .iter()
            .map(|(_, text)| text)
            .filter(|text| text.starts_with(&path))
            .collect();
        assert_eq!(lines.len(), 1, "{:?}", world.log);
        let line = lines[0];
        assert!(line.contains(expected) && line.contains(help), "{line}");
        assert!(
            at == 0 || line.contains(&format!("at offset {at}: ")),
            "{at}: {line}"
        );
        assert_eq!(
            world.disk.content(&format!("{DIR}/{name}")),
            Some(&content[..])
        );
    }
}

#[test]
fn a_file_that_the_manifest_names_must_be_there() {
    let mut disk = Disk::default();
    disk.put(
        MANIFEST,
        b"file a.base.rdb seq 1 type b\nfile a.incr.aof seq 1 type i\n",
    );
    disk.put(
        "appendonlydir/a.base.rdb",
        &snapshot(&state_after(3), true).concat(),
    );
    let world = World::start(settings(Fsync::Always), disk);
    assert_refused(
        &world,
        "Unable to obtain the AOF file a.incr.aof length. stat: No such file or directory",
    );
}

#[test]
fn a_wrong_manifest_is_refused_even_if_the_append_only_file_is_off() {
    for append_only in [true, false] {
        let mut disk = Disk::default();
        disk.put(MANIFEST, b"file a seq 1 type x\n");
        let world = World::start(
            Settings {
                append_only,
                ..Settings::default()
            },
            disk,
        );
        assert_refused(&world, "*** FATAL AOF MANIFEST FILE ERROR ***");
        assert_eq!(world.logged("Reading the manifest file, at line 1"), 1);
        assert_eq!(world.logged(">>> 'file a seq 1 type x'"), 1);
        assert_eq!(world.logged("Unknown AOF file type"), 1);
    }
}

#[test]
fn base_increments_and_notes_are_read_in_order() {
    let (bytes, ends) = journal_of(9);
    let base = snapshot(&state_after(4), true).concat();
    let mut second = b"#TS:1700000000\r\n".to_vec();
    second.extend_from_slice(&bytes[ends[5]..]);
    let files: [(&str, &[u8]); 3] = [
        ("a.base.rdb", &base),
        ("b.incr.aof", &bytes[ends[3]..ends[5]]),
        ("c.incr.aof", &second),
    ];
    let world = start(&files);
    world.check_recovered(9, 9, "all");
    assert_eq!(world.logged("Reading RDB base file on AOF loading..."), 1);
    assert_eq!(world.logged("RDB is base AOF"), 1);
    assert_eq!(
        world.logged("DB loaded from base file a.base.rdb: 0.000 seconds"),
        1
    );
    assert_eq!(
        world.logged("DB loaded from incr file b.incr.aof: 0.000 seconds"),
        1
    );
    assert_eq!(
        world.logged("DB loaded from append only file: 0.000 seconds"),
        1
    );
    assert_eq!(
        world.logged("Opening AOF incr file c.incr.aof on server start"),
        1
    );
    let info = world.persistence.info(world.now, 0);
    let sizes = info.aof.unwrap();
    let total: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(
        (sizes.current_size, sizes.base_size),
        (total as u64, base.len() as u64)
    );
    assert_eq!(info.rdb_last_load_keys_loaded, state_after(4).len() as u64);
}

#[test]
fn a_base_must_be_whole() {
    let (bytes, _) = journal_of(1);
    let base = snapshot(&state_after(4), true).concat();
    for cut in 5..base.len() {
        let world = start(&[("a.base.rdb", &base[..cut]), ("b.incr.aof", &bytes)]);
        assert_refused(
            &world,
            "Short read or OOM loading DB. Unrecoverable error, aborting now.",
        );
    }
    let mut flipped = base.clone();
    flipped[60] ^= 1;
    assert!(start(&[("a.base.rdb", &flipped)]).failed);
    let mut other = base;
    other[5..9].copy_from_slice(b"0099");
    let world = start(&[("a.base.rdb", &other)]);
    assert_refused(&world, "Can't handle RDB format version 99");
    assert_eq!(
        world.logged("Error reading the RDB base file a.base.rdb, AOF loading aborted"),
        1
    );
}

#[test]
fn a_snapshot_with_commands_behind_it_is_read_as_both() {
    let (bytes, ends) = journal_of(6);
    let mut file = snapshot(&state_after(4), false).concat();
    file.extend_from_slice(&bytes[ends[3]..]);
    let mut disk = Disk::default();
    disk.put("appendonly.aof", &file);
    let world = World::start(settings(Fsync::Always), disk);
    world.check_recovered(6, 6, "preamble");
    assert_eq!(world.logged("Reading RDB preamble from AOF file..."), 1);
    assert_eq!(world.logged("Reading the remaining AOF tail..."), 1);
    let moved = "Successfully migrated an old-style AOF file (appendonly.aof) into the AOF directory (appendonlydir).";
    assert_eq!(world.logged(moved), 1);
    let expected =
        "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(&world), expected);
    world
        .restart(Loss::All)
        .check_recovered(6, 6, "after the move");
}

#[test]
fn the_move_of_an_old_file_survives_a_crash_anywhere() {
    let (bytes, _) = journal_of(5);
    let mut old = Disk::default();
    old.put("appendonly.aof", &bytes);
    let total = World::start(settings(Fsync::Always), old.clone())
        .disk
        .operations;
    for crash_at in 0..=total {
        for loss in [Loss::Nothing, Loss::All] {
            let world = World::start_crashing(settings(Fsync::Always), old.clone(), Some(crash_at));
            world
                .restart(loss)
                .check_recovered(5, 5, &format!("{crash_at} {loss:?}"));
        }
    }
}

#[test]
fn an_old_file_is_not_taken_in_beside_a_set_of_its_own() {
    let (bytes, _) = journal_of(5);
    let mut disk = disk_of(&[("appendonly.aof", &bytes)]);
    disk.put("appendonly.aof", b"another's");
    World::start(settings(Fsync::Always), disk).check_recovered(5, 5, "the inner one counts");
}

#[test]
fn a_new_server_makes_an_empty_set() {
    let world = World::start(settings(Fsync::EverySec), Disk::default());
    assert!(world.ready);
    let expected = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(&world), expected);
    assert_eq!(
        world.logged("Creating AOF base file appendonly.aof.1.base.rdb on server start"),
        1
    );
    assert_eq!(
        world.logged("Creating AOF incr file appendonly.aof.1.incr.aof on server start"),
        1
    );
    let mut world = world.restart(Loss::All);
    assert!(world.begin_rewrite());
    (0..10).for_each(|_| world.turn());
    assert_eq!(world.rewrites_done, 1);
    let expected = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    assert_eq!(manifest(&world), expected);
    let files = [
        "appendonlydir/appendonly.aof.2.base.rdb",
        "appendonlydir/appendonly.aof.2.incr.aof",
        MANIFEST,
    ];
    assert_eq!(world.disk.paths(), files, "the old ones are gone");
}

#[test]
fn an_increment_says_which_database_it_begins_in() {
    let mut world = World::start(settings(Fsync::EverySec), Disk::default());
    world.operate();
    assert!(world.begin_rewrite());
    (0..10).for_each(|_| world.turn());
    // The first write is torn: what was said of the database counts as said only in so far.
    let at = world.disk.operations;
    world.disk.faults = (at..at + 2).map(|at| (at, Fault::Full)).collect();
    world.operate();
    world.turn();
    world.advance_ms(1001);
    (0..3).for_each(|_| world.turn());
    world.operate();
    (0..3).for_each(|_| world.turn());
    let file = "appendonlydir/appendonly.aof.2.incr.aof";
    let text = String::from_utf8(world.disk.content(file).unwrap().into()).unwrap();
    let (previous, text) = text.split_once("\r\n").unwrap();
    assert!(previous.starts_with("#PREV:1:"));
    assert!(text.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET"));
    assert_eq!(text.matches("SELECT").count(), 1);
    world
        .restart(Loss::Nothing)
        .check_recovered(3, 3, "after the rewrite");
}

#[test]
fn a_plain_form_of_the_first_base_can_be_had() {
    let plain = Settings {
        aof_use_rdb_preamble: false,
        ..settings(Fsync::Always)
    };
    let mut world = World::start(plain, Disk::default());
    assert_eq!(
        world
            .disk
            .content("appendonlydir/appendonly.aof.1.base.aof"),
        Some(&[][..])
    );
    world.operate();
    world.turn();
    world.restart(Loss::All).check_recovered(1, 1, "plain");
}

#[test]
fn timestamps_stand_between_commands_once_a_second() {
    let timed = Settings {
        aof_timestamps: true,
        ..settings(Fsync::Always)
    };
    let mut world = World::start(timed, Disk::default());
    for _ in 0..5 {
        world.operate();
        world.turn();
        world.advance_ms(400);
    }
    let file = world
        .disk
        .content("appendonlydir/appendonly.aof.1.incr.aof")
        .unwrap();
    let text = String::from_utf8(file.into()).unwrap();
    assert!(text.starts_with("#TS:1700000000\r\n*2\r\n$6\r\nSELECT"));
    assert_eq!(text.matches("#TS:").count(), 2);
    assert_eq!(text.matches("#TS:1700000001\r\n*").count(), 1);
    world.restart(Loss::All).check_recovered(5, 5, "notes");
}

#[test]
fn reading_goes_piece_by_piece() {
    let mut state = state_after(1);
    (0..200_000).for_each(|i| {
        state.insert(format!("filler:{i}"), i);
    });
    let file = snapshot(&state, false).concat();
    let mut disk = Disk::default();
    disk.put("dump.rdb", &file);
    let mut world = World::new(Settings::default(), disk);
    world.hold = true;
    world
        .persistence
        .begin_load(world.now, crate::persistence::Source::Configured);
    world.settle();
    let mut most = 0;
    while !world.held().is_empty() {
        most = most.max(
            world
                .held()
                .iter()
                .filter(|request| matches!(request, DiskRequest::Read { .. }))
                .count(),
        );
        if let Some(info) = world.persistence.info(world.now, 0).while_loading {
            assert!(info.total_bytes == 0 || info.total_bytes == file.len() as u64);
        }
        world.answer_held(1);
    }
    assert!(world.ready);
    assert_eq!((most, world.state.len()), (2, state.len()));
}

#[test]
fn a_shutdown_while_loading_need_not_wait() {
    let (bytes, _) = journal_of(5);
    let mut world = World::new(settings(Fsync::Always), disk_of(&[("a.incr.aof", &bytes)]));
    world.hold = true;
    world
        .persistence
        .begin_load(world.now, crate::persistence::Source::Configured);
    world.settle();
    assert!(world.persistence.loading() && world.persistence.info(world.now, 0).aof_enabled);
    world.persistence.flush(&world.journal);
    assert_eq!(world.persistence.flush_state(), FlushState::Done);
    assert!(!world.begin_rewrite());
}

#[test]
fn the_snapshot_is_loaded_if_the_append_only_file_is_off() {
    let file = snapshot(&state_after(7), false).concat();
    let mut disk = Disk::default();
    disk.put("dump.rdb", &file);
    let world = World::start(Settings::default(), disk);
    world.check_recovered(7, 7, "dump.rdb");
    assert_eq!(world.logged("DB loaded from disk: 0.000 seconds"), 1);
    assert_eq!(world.logged("Loading RDB produced by version 7.0.15"), 1);
    assert_eq!(
        world.logged("Done loading RDB, keys loaded: 3, keys expired: 0."),
        1
    );
    for cut in 0..file.len() {
        let mut disk = Disk::default();
        disk.put("dump.rdb", &file[..cut]);
        let world = World::start(Settings::default(), disk);
        assert_refused(
            &world,
            "Short read or OOM loading DB. Unrecoverable error, aborting now.",
        );
    }
    let mut disk = Disk::default();
    disk.put("dump.rdb", b"RADISH0010");
    let world = World::start(Settings::default(), disk);
    assert_refused(&world, "Wrong signature trying to load DB from file");
    assert_eq!(
        world.logged("Fatal error loading the DB: Invalid argument. Exiting."),
        1
    );
    assert!(
        World::start(Settings::default(), Disk::default()).ready,
        "no file at all is an empty data set"
    );
}

#[test]
fn a_read_error_is_refused() {
    let (bytes, _) = journal_of(5);
    let mut seen = 0;
    for at in 1..20 {
        let mut disk = disk_of(&[("a.incr.aof", &bytes)]);
        disk.faults.insert(at, Fault::Io);
        let world = World::start(settings(Fsync::Always), disk);
        assert_ne!(world.failed, world.ready);
        seen += world.logged(
            "Unrecoverable error reading the append only file a.incr.aof: Input/output error",
        );
    }
    assert_eq!(seen, 1);
}
