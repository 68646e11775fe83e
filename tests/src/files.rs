//! What the tests of files share: servers with data and append-only files, and looks at what is left of it.

use crate::content::{Content, content, fill};
use crate::wait::{SOON, until};
use crate::{Conn, Server, Value, server::Launch, subject};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a server holds.
pub fn held(server: &Server) -> Content {
    content(&mut server.conn())
}

/// A server with a data set of every kind.
pub fn filled(launch: Launch) -> Server {
    let server = launch.start();
    fill(&mut server.conn(), 1);
    server
}

/// A server with an append-only file that is synced so.
pub fn with_aof(policy: &str) -> Launch {
    subject()
        .set("appendonly", "yes")
        .set("appendfsync", policy)
}

/// Waits until no snapshot and no rewrite is being written or due.
pub fn settle(conn: &mut Conn) {
    until(SOON, "snapshot and rewrite are done", || {
        // In this order: what is scheduled becomes what is in progress between two looks.
        [
            "aof_rewrite_scheduled",
            "aof_rewrite_in_progress",
            "rdb_bgsave_in_progress",
        ]
        .iter()
        .all(|field| conn.info("persistence", field) == "0")
    });
}

/// Writes `n:0`, `n:1`, … one after the other until told to stop; counts what was acknowledged.
pub fn write_until(stop: &AtomicBool, acknowledged: &AtomicU64, mut conn: Conn) {
    while !stop.load(Ordering::Relaxed) {
        let n = acknowledged.load(Ordering::Relaxed);
        if !conn.cmd(&["SET", &format!("n:{n}"), "1"]).is_ok() {
            return; // killed in between
        }
        acknowledged.store(n + 1, Ordering::Release);
    }
}

/// How many of `n:0`, `n:1`, … there are; they must have no holes.
pub fn written(conn: &mut Conn) -> u64 {
    let count = conn.run("DBSIZE").int().expect("a number") as u64;
    if count > 0 {
        assert_eq!(
            conn.run(&format!("EXISTS n:0 n:{}", count - 1)),
            Value::Int(2),
            "holes among {count} keys"
        );
    }
    count
}

/// The files of an append-only directory, in order of their names.
pub fn aof_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("appendonlydir")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|end| end != "lock"))
        .collect();
    files.sort();
    files
}

/// Keys of database 0.
pub fn count(content: &Content) -> i64 {
    content.keys().filter(|(db, _)| *db == 0).count() as i64
}

/// Copies a file, or a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir_all(to).expect("a directory");
    for file in fs::read_dir(from).expect("a directory").flatten() {
        copy(&file.path(), &to.join(file.file_name()));
    }
}
