//! The tools on files that are whole, damaged and cut; their words are those of redis-check-rdb and
//! redis-check-aof 7.0.15.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const VALUES: &[u8] = include_bytes!("../../engine/src/rdb/testdata/values.rdb");
const VALKEY: &[u8] = include_bytes!("../../engine/src/rdb/testdata/valkey-9.1-hash-times.rdb");

fn check_rdb(args: &[&str]) -> (bool, String) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).into()).collect();
    let mut out = Vec::new();
    let code = reprise_cli::rdb::run(&args, &mut out);
    (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
}

fn check_aof(args: &[&str], answers: &str) -> (bool, String) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).into()).collect();
    let mut out = Vec::new();
    let code = reprise_cli::aof::run(&args, &mut answers.as_bytes(), &mut out);
    (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
}

fn command(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_snapshot_that_is_whole() {
    let dir = Dir::new();
    let (good, out) = check_rdb(&[text(&dir.file("dump.rdb", VALKEY))]);
    assert!(good, "{out}");
    for line in [
        "[offset 0] Checking RDB file ",
        "AUX FIELD valkey-ver = '9.1.2'",
        "[offset 82] Selecting DB ID 0",
        "[offset 127] Checksum OK",
        "[offset 127] \\o/ RDB looks OK! \\o/",
        "[info] 2 keys read\n[info] 0 expires\n[info] 0 already expired\n",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[test]
fn figures_of_a_snapshot() {
    let dir = Dir::new();
    let (good, out) = check_rdb(&["--stats", text(&dir.file("dump.rdb", VALKEY))]);
    assert!(good, "{out}");
    let words: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(
        words
            .iter()
            .any(|line| line.starts_with(&["hash", "1", "2"])),
        "{out}"
    );
    assert!(
        words
            .iter()
            .any(|line| line.starts_with(&["string", "1", "1"])),
        "{out}"
    );
    assert!(
        out.contains("db0: 2 keys") && out.contains("db0 'h' (2 fields)"),
        "{out}"
    );
}

#[test]
fn a_flip_of_any_bit_of_a_snapshot_is_noticed() {
    let dir = Dir::new();
    for at in (0..VALUES.len()).step_by(97) {
        let mut bytes = VALUES.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let (good, out) = check_rdb(&[text(&dir.file("dump.rdb", &bytes))]);
        assert!(
            !good && out.contains("--- RDB ERROR DETECTED ---"),
            "byte {at}\n{out}"
        );
    }
}

#[test]
fn a_cut_is_named_with_what_was_expected() {
    let dir = Dir::new();
    let path = dir.file("dump.rdb", &VALKEY[..95]);
    let (good, out) = check_rdb(&[text(&path)]);
    assert!(!good);
    assert!(
        out.contains("[additional info] While expecting: the fields of a hash"),
        "{out}"
    );
    assert!(out.contains("[additional info] Reading key 'h'"), "{out}");
}

#[test]
fn what_is_no_file_and_what_is_no_argument() {
    let (good, out) = check_rdb(&["/nowhere/dump.rdb"]);
    assert_eq!(
        (good, out.as_str()),
        (
            false,
            "Cannot read file /nowhere/dump.rdb: No such file or directory\n"
        )
    );
    assert!(!check_rdb(&[]).0 && !check_rdb(&["--what"]).0);
    let (good, out) = check_aof(&["/nowhere/a.aof"], "");
    assert_eq!(
        (good, out.as_str()),
        (
            false,
            "Cannot open file /nowhere/a.aof: No such file or directory\n"
        )
    );
    let (good, out) = check_aof(&[], "");
    assert!(
        !good
            && out
                .starts_with("Usage: reprise-check-aof [--fix|--truncate-to-timestamp $timestamp]")
    );
}

/// A directory with a base that is a snapshot and two increments; its manifest.
fn directory(first: &str, second: &str) -> (Dir, PathBuf) {
    let dir = Dir::new();
    dir.file("a.1.base.rdb", VALKEY);
    dir.file("a.1.incr.aof", first.as_bytes());
    dir.file("a.2.incr.aof", second.as_bytes());
    let manifest = "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n";
    let manifest = dir.file("a.manifest", manifest.as_bytes());
    (dir, manifest)
}

#[test]
fn a_directory_that_is_whole() {
    let sets = command(&["SELECT", "0"]) + &command(&["SET", "k", "v"]);
    let (_dir, manifest) = directory(&sets, "");
    let (good, out) = check_aof(&[text(&manifest)], "");
    assert!(good, "{out}");
    for line in [
        "Start checking Multi Part AOF\nStart to check BASE AOF (RDB format).\n",
        "RDB preamble is OK, proceeding with AOF tail...\n\
         AOF analyzed: filename=a.1.base.rdb, size=127, ok_up_to=127, ok_up_to_line=1, diff=0\n\
         BASE AOF a.1.base.rdb is valid\nStart to check INCR files.\n\
         AOF analyzed: filename=a.1.incr.aof, size=50, ok_up_to=50, ok_up_to_line=13, diff=0\n\
         INCR AOF a.1.incr.aof is valid\nINCR AOF a.2.incr.aof is empty\nAll AOF files and manifest are valid\n",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[test]
fn the_end_of_the_last_file_can_be_cut_off() {
    let set = command(&["SET", "k", "v"]);
    let (dir, manifest) = directory(&set, &(set.clone() + &set[..10]));
    let (good, out) = check_aof(&[text(&manifest)], "");
    assert!(
        !good && out.contains("size=37, ok_up_to=27, ok_up_to_line=8, diff=10\n"),
        "{out}"
    );
    assert!(
        out.ends_with("AOF a.2.incr.aof is not valid. Use the --fix option to try fixing it.\n")
    );
    let (good, out) = check_aof(&["--fix", text(&manifest)], "n\n");
    assert!(
        !good && out.ends_with("Continue? [y/N]: Aborting...\n"),
        "{out}"
    );
    let (good, out) = check_aof(&["--fix", text(&manifest)], "y\n");
    assert!(good, "{out}");
    assert!(out.contains(
        "This will shrink the AOF a.2.incr.aof from 37 bytes, with 10 bytes, to 27 bytes\n"
    ));
    assert_eq!(
        fs::read(dir.0.path().join("a.2.incr.aof")).unwrap(),
        set.as_bytes()
    );
    assert!(check_aof(&[text(&manifest)], "").0);
}

#[test]
fn a_file_that_others_follow_is_not_cut() {
    let set = command(&["SET", "k", "v"]);
    let (_dir, manifest) = directory(&set[..20], &set);
    let (good, out) = check_aof(&["--fix", text(&manifest)], "y\n");
    assert!(
        !good && out.contains("because it is not the last file"),
        "{out}"
    );
}

#[test]
fn a_transaction_is_kept_whole_or_not_at_all() {
    let set = command(&["SET", "k", "v"]);
    let open = set.clone() + &command(&["MULTI"]) + &set;
    let dir = Dir::new();
    let path = dir.file("old.aof", open.as_bytes());
    let (good, out) = check_aof(&[text(&path)], "");
    assert!(
        !good
            && out.contains("Reached EOF before reading EXEC for MULTI")
            && out.contains("ok_up_to=27,"),
        "{out}"
    );
    dir.file("old.aof", (open.clone() + &command(&["EXEC"])).as_bytes());
    assert!(check_aof(&[text(&path)], "").0);
    dir.file("old.aof", (set + &command(&["EXEC"])).as_bytes());
    assert!(check_aof(&[text(&path)], "").1.contains("Unexpected EXEC"));
}

#[test]
fn what_came_after_a_moment_can_be_cut_off() {
    let set = command(&["SET", "k", "v"]);
    let log = format!("#TS:100\r\n{set}#TS:200\r\n{set}#TS:300\r\n{set}");
    let (dir, manifest) = directory(&set, &log);
    let (good, out) = check_aof(&["--truncate-to-timestamp", "200", text(&manifest)], "");
    assert!(
        good && out.contains("Successfully truncated AOF a.2.incr.aof to timestamp 200"),
        "{out}"
    );
    let kept = fs::read_to_string(dir.0.path().join("a.2.incr.aof")).unwrap();
    assert_eq!(kept, format!("#TS:100\r\n{set}#TS:200\r\n{set}"));
    let (good, out) = check_aof(&["--truncate-to-timestamp", "200", text(&manifest)], "");
    assert!(
        good && out.contains("Truncate nothing in AOF a.2.incr.aof to timestamp 200"),
        "{out}"
    );
    let (good, out) = check_aof(&["--truncate-to-timestamp", "50", text(&manifest)], "");
    assert!(
        !good && out.contains("has nothing before timestamp 50, aborting"),
        "{out}"
    );
    assert!(!check_aof(&["--truncate-to-timestamp", "soon", text(&manifest)], "").0);
}

#[test]
fn damage_is_found_at_its_byte() {
    let set = command(&["SET", "k", "v"]);
    let mut log = (set.clone() + &set).into_bytes();
    log[31] = b'x';
    let dir = Dir::new();
    let (good, out) = check_aof(&[text(&dir.file("old.aof", &log))], "");
    assert!(
        !good && out.contains("0x              1f: Expected a word of a command: '$', its length, and the line's end, got: x3\\r\\nSET"),
        "{out}"
    );
}

#[test]
fn a_file_in_the_middle_that_was_cut_is_noticed_by_its_length() {
    let set = command(&["SET", "a", "1"]);
    for (note, good) in [
        (format!("#PREV:1:{}\r\n", set.len()), true),
        (format!("#PREV:1:{}\r\n", set.len() + 1), false),
        ("#PREV:7:1\r\n".to_string(), true),
    ] {
        let (_dir, manifest) = directory(&set, &(note.clone() + &set));
        let (found, out) = check_aof(&[text(&manifest)], "");
        assert_eq!(found, good, "{note}: {out}");
        assert_eq!(out.contains("when the next one was begun"), !good, "{out}");
    }
}

#[test]
fn a_base_of_commands_has_the_length_that_the_manifest_says() {
    let set = command(&["SET", "a", "1"]);
    let dir = Dir::new();
    dir.file("a.1.base.aof", set.as_bytes());
    for (bytes, good) in [(set.len(), true), (set.len() + 1, false)] {
        let line = format!("file a.1.base.aof seq 1 type b bytes {bytes}\n");
        let manifest = dir.file("a.manifest", line.as_bytes());
        let (found, out) = check_aof(&[text(&manifest)], "");
        assert_eq!(found, good, "{out}");
        assert_eq!(out.contains("when it was written"), !good, "{out}");
    }
}

#[test]
fn a_manifest_that_does_not_fit_its_checksum_is_refused() {
    let dir = Dir::new();
    let line = "file a.1.incr.aof seq 1 type i\n#SUM:0123456789abcdef";
    let manifest = dir.file("a.manifest", line.as_bytes());
    let (good, out) = check_aof(&[text(&manifest)], "");
    assert!(!good);
    assert!(out.contains("by its checksum"), "{out}");
}

/// KB-91: a path of any length, and manifests that point elsewhere or say too much: an answer, and nothing else is
/// touched.
#[test]
fn long_paths_and_manifests_that_point_elsewhere() {
    let set = command(&["SET", "k", "v"]);
    let dir = Dir::new();
    let mut deep = dir.0.path().to_path_buf();
    while deep.as_os_str().len() < 3000 {
        deep.push("d".repeat(200));
    }
    fs::create_dir_all(&deep).unwrap();
    let path = deep.join("n".repeat(240) + ".aof");
    fs::write(&path, &set).unwrap();
    let (good, out) = check_aof(&[text(&path)], "");
    assert!(good, "{out}");
    assert!(!check_rdb(&[text(&path)]).0);
    let endless = "x/".repeat(5000);
    assert!(!check_aof(&[&endless], "").0 && !check_rdb(&[&endless]).0);

    let outside = dir.file("old.aof", (set.clone() + "junk").as_bytes());
    let inside = dir.0.path().join("appendonlydir");
    fs::create_dir(&inside).unwrap();
    let manifest = inside.join("appendonly.aof.manifest");
    let long = format!("file {} seq 1 type i\n", "a".repeat(2000));
    for (lines, reason) in [
        ("file ../old.aof seq 1 type i\n", "File can't be a path"),
        (
            "file \"..\\x2fold.aof\" seq 1 type i\n",
            "File can't be a path",
        ),
        (text(&outside), "too long line"),
        (
            &format!("file {} seq 1 type i\n", text(&outside)),
            "File can't be a path",
        ),
        (
            "file a seq 99999999999999999999 type i\n",
            "Invalid AOF manifest file format",
        ),
        ("file a seq -1 type i\n", "Invalid AOF manifest file format"),
        (
            "file \"a seq 1 type i\n",
            "Invalid AOF manifest file format",
        ),
        (
            "file a seq 1 type i\nfile a seq 1 type i\n",
            "Found a non-monotonic sequence number",
        ),
        (
            "file a seq 1 type b\nfile b seq 2 type b\n",
            "Found duplicate base file information",
        ),
        ("file a seq 1 type i", "too long line"),
        (&long, "too long line"),
        ("\0\0\n", "Invalid AOF manifest file format"),
        ("file . seq 1 type i\n", "Is a directory"),
        ("file none seq 1 type i\n", "Cannot open file none"),
    ] {
        fs::write(&manifest, lines).unwrap();
        let (good, out) = check_aof(&["--fix", text(&manifest)], "y\n");
        assert!(!good && out.contains(reason), "{lines}: {out}");
    }
    assert_eq!(fs::read(&outside).unwrap(), (set + "junk").as_bytes());
}
