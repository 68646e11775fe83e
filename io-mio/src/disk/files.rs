//! Carrying out requests: the open files, and the system's calls.

use super::Answer;
use crate::log::words;
use bytes::Bytes;
use reprise_engine::{DiskError, DiskErrorKind, DiskReply, DiskRequest, FileId, OpenMode};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two attempts at a lock that somebody has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The open files.
#[derive(Default)]
pub(super) struct Disk {
    files: HashMap<FileId, File>,
}

impl Disk {
    /// Does it.
    pub(super) fn carry_out(&mut self, request: DiskRequest) -> Answer {
        let done = |result: io::Result<()>| result.map(|()| DiskReply::Done);
        let result = match request {
            DiskRequest::Open { file, path, mode } => self.open(file, &path, mode),
            DiskRequest::Read { file, offset, len } => self.read(file, offset, len),
            DiskRequest::Write { file, data } => return self.write(file, &data),
            DiskRequest::Sync { file } => done(self.file(file).and_then(|f| f.sync_data())),
            DiskRequest::Truncate { path, len } => done(
                OpenOptions::new()
                    .write(true)
                    .open(path)
                    .and_then(|f| f.set_len(len)),
            ),
            DiskRequest::Close { file } => {
                self.files.remove(&file);
                Ok(DiskReply::Done)
            }
            DiskRequest::Rename { from, to } => done(fs::rename(from, to)),
            DiskRequest::Remove { path } => done(fs::remove_file(path)),
            DiskRequest::MakeDir { path } => done(make_dir(&path)),
            DiskRequest::List { path } => list(&path).map(DiskReply::Names),
            DiskRequest::Lock {
                file,
                path,
                patience_ms,
            } => return self.lock(file, here(&path), Duration::from_millis(patience_ms)),
            DiskRequest::SyncDir { path } => {
                done(File::open(here(&path)).and_then(|dir| dir.sync_all()))
            }
        };
        result.map_err(|error| disk_error(&error, 0))
    }

    fn file(&self, file: FileId) -> io::Result<&File> {
        self.files
            .get(&file)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn open(&mut self, file: FileId, path: &str, mode: OpenMode) -> io::Result<DiskReply> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::Create => options.write(true).create(true).truncate(true),
            OpenMode::Append => options.append(true).create(true),
        };
        let opened = options.mode(0o644).open(path)?;
        let len = opened.metadata()?.len();
        self.files.insert(file, opened);
        Ok(DiskReply::Opened { len })
    }

    fn read(&self, file: FileId, offset: u64, len: u32) -> io::Result<DiskReply> {
        let file = self.file(file)?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut data = vec![0; usize::try_from(left.min(u64::from(len))).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while filled < data.len() {
            match file.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        data.truncate(filled);
        Ok(DiskReply::Data(data))
    }

    /// Takes the lock, and writes into the file whose it is.
    fn lock(&mut self, file: FileId, path: &str, patience: Duration) -> Answer {
        let opened = if Path::new(path).is_dir() {
            File::open(path)
        } else {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
        };
        let lock = opened.map_err(|error| disk_error(&error, 0))?;
        if self.files.get(&file).is_some_and(|held| same(held, &lock)) {
            return Ok(DiskReply::Done);
        }
        let until = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(LOOK_AGAIN)
                }
                Err(TryLockError::WouldBlock) => return Err(locked_by(&lock)),
                Err(TryLockError::Error(error)) => return Err(disk_error(&error, 0)),
            }
        }
        // For whoever wonders; nothing depends on it.
        let _ = lock.set_len(0);
        let _ = lock.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0);
        self.files.insert(file, lock);
        Ok(DiskReply::Done)
    }

    fn write(&mut self, file: FileId, data: &[Bytes]) -> Answer {
        const PIECES: usize = 64;
        let mut file = self.file(file).map_err(|error| disk_error(&error, 0))?;
        let mut written = 0u64;
        // The piece that is next, and how much of it has been written.
        let (mut next, mut offset) = (0, 0);
        while next < data.len() {
            let slices: SmallVec<[IoSlice<'_>; PIECES]> = data[next..]
                .iter()
                .take(PIECES)
                .enumerate()
                .map(|(i, piece)| IoSlice::new(if i == 0 { &piece[offset..] } else { piece }))
                .collect();
            if slices.iter().all(|slice| slice.is_empty()) {
                next += slices.len();
                offset = 0;
                continue;
            }
            let mut n = match file.write_vectored(&slices) {
                Ok(0) => {
                    return Err(disk_error(
                        &io::Error::from_raw_os_error(libc::ENOSPC),
                        written,
                    ));
                }
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(disk_error(&error, written)),
            };
            written += n as u64;
            while next < data.len() && n >= data[next].len() - offset {
                n -= data[next].len() - offset;
                next += 1;
                offset = 0;
            }
            offset += n;
        }
        Ok(DiskReply::Done)
    }
}

/// Whether both are the same file, under whatever names.
fn same(one: &File, other: &File) -> bool {
    let which = |file: &File| file.metadata().map(|m| (m.dev(), m.ino())).ok();
    which(one).is_some() && which(one) == which(other)
}

/// Another process has the lock: the one that its file names.
fn locked_by(lock: &File) -> DiskError {
    let mut text = [0; 20];
    let len = lock.read_at(&mut text, 0).unwrap_or(0);
    let process = str::from_utf8(&text[..len]).unwrap_or_default().trim();
    DiskError {
        kind: DiskErrorKind::Locked,
        written: 0,
        message: match process {
            "" => "another server uses it".into(),
            process => format!("another server uses it (process {process})"),
        },
    }
}

/// The engine's name for the process's directory is an empty path.
fn here(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

fn make_dir(path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && Path::new(path).is_dir() => {
            Ok(())
        }
        result => result,
    }
}

fn list(path: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(here(path))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

fn disk_error(error: &io::Error, written: u64) -> DiskError {
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT) => DiskErrorKind::NotFound,
        Some(libc::ENOSPC | libc::EDQUOT) => DiskErrorKind::NoSpace,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => DiskErrorKind::Denied,
        _ => DiskErrorKind::Io,
    };
    DiskError {
        kind,
        written,
        message: words(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FILE: FileId = FileId(1);

    struct Fixture {
        disk: Disk,
        dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Fixture {
            Fixture {
                disk: Disk::default(),
                dir: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self, name: &str) -> String {
            self.dir.path().join(name).to_str().unwrap().to_string()
        }

        fn open(&mut self, name: &str, mode: OpenMode) -> Answer {
            let path = self.path(name);
            self.disk.carry_out(DiskRequest::Open {
                file: FILE,
                path,
                mode,
            })
        }

        fn write(&mut self, pieces: &[&'static [u8]]) -> Answer {
            let data = pieces
                .iter()
                .map(|piece| Bytes::from_static(piece))
                .collect();
            self.disk.carry_out(DiskRequest::Write { file: FILE, data })
        }

        fn read(&mut self, offset: u64, len: u32) -> Answer {
            self.disk.carry_out(DiskRequest::Read {
                file: FILE,
                offset,
                len,
            })
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut f = Fixture::new();
        assert_eq!(
            f.open("a", OpenMode::Create),
            Ok(DiskReply::Opened { len: 0 })
        );
        assert_eq!(f.write(&[b"one ", b"", b"two "]), Ok(DiskReply::Done));
        assert_eq!(f.write(&[b"", b""]), Ok(DiskReply::Done));
        assert_eq!(
            f.disk.carry_out(DiskRequest::Sync { file: FILE }),
            Ok(DiskReply::Done)
        );
        assert_eq!(
            f.open("a", OpenMode::Append),
            Ok(DiskReply::Opened { len: 8 })
        );
        assert_eq!(f.write(&[b"three"]), Ok(DiskReply::Done));
        assert_eq!(
            f.open("a", OpenMode::Read),
            Ok(DiskReply::Opened { len: 13 })
        );
        assert_eq!(f.read(4, 3), Ok(DiskReply::Data(b"two".to_vec())));
        assert_eq!(f.read(8, u32::MAX), Ok(DiskReply::Data(b"three".to_vec())));
        assert_eq!(f.read(99, 5), Ok(DiskReply::Data(Vec::new())));
        let mode = fs::metadata(f.path("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o133, 0, "no more than 0644: {mode:o}");
        assert_eq!(
            f.open("a", OpenMode::Create),
            Ok(DiskReply::Opened { len: 0 })
        );
    }

    #[test]
    fn many_pieces_are_written_in_order() {
        let mut f = Fixture::new();
        f.open("a", OpenMode::Create).unwrap();
        let data: Vec<Bytes> = (0..1000u32).map(|i| Bytes::from(format!("{i},"))).collect();
        let whole = data.concat();
        f.disk
            .carry_out(DiskRequest::Write { file: FILE, data })
            .unwrap();
        assert_eq!(fs::read(f.path("a")).unwrap(), whole);
    }

    #[test]
    fn errors_have_a_class_and_the_systems_words() {
        let mut f = Fixture::new();
        let missing = f.open("missing", OpenMode::Read).unwrap_err();
        assert_eq!(
            (missing.kind, missing.message.as_str()),
            (DiskErrorKind::NotFound, "No such file or directory")
        );
        let unopened = f.read(0, 1).unwrap_err();
        assert_eq!(unopened.kind, DiskErrorKind::Io);
        if Path::new("/dev/full").exists() {
            let path = "/dev/full".to_string();
            f.disk
                .carry_out(DiskRequest::Open {
                    file: FILE,
                    path,
                    mode: OpenMode::Append,
                })
                .unwrap();
            let full = f.write(&[b"x"]).unwrap_err();
            assert_eq!((full.kind, full.written), (DiskErrorKind::NoSpace, 0));
        }
    }

    #[test]
    fn a_lock_is_had_by_one_at_a_time() {
        let mut f = Fixture::new();
        let path = f.path("lock");
        let lock = |disk: &mut Disk, path: &str, patience_ms| {
            disk.carry_out(DiskRequest::Lock {
                file: FILE,
                path: path.into(),
                patience_ms,
            })
        };
        let dir = f.dir.path().to_str().unwrap().to_string();
        for path in [&path, &dir] {
            let mut other = Disk::default();
            assert_eq!(lock(&mut other, path, 0), Ok(DiskReply::Done));
            assert_eq!(lock(&mut other, path, 0), Ok(DiskReply::Done), "it has it");
            let error = lock(&mut f.disk, path, 30).unwrap_err();
            assert_eq!(error.kind, DiskErrorKind::Locked);
            if *path != dir {
                let whose = format!("(process {})", std::process::id());
                assert!(error.message.ends_with(&whose), "{}", error.message);
            }
            // It goes while it is waited for.
            let waiting = thread::spawn({
                let path = path.clone();
                move || lock(&mut Disk::default(), &path, 10_000)
            });
            other.carry_out(DiskRequest::Close { file: FILE }).unwrap();
            assert_eq!(waiting.join().unwrap(), Ok(DiskReply::Done));
        }
        // What cannot be had leaves what is had.
        let mut other = Disk::default();
        assert_eq!(lock(&mut f.disk, &path, 0), Ok(DiskReply::Done));
        assert_eq!(lock(&mut other, &dir, 0), Ok(DiskReply::Done));
        assert!(lock(&mut other, &path, 0).is_err());
        assert!(lock(&mut f.disk, &dir, 0).is_err());
        let missing = lock(&mut f.disk, "/nowhere/lock", 0).unwrap_err();
        assert_eq!(missing.kind, DiskErrorKind::NotFound);
    }

    #[test]
    fn names() {
        let mut f = Fixture::new();
        let (a, b, sub) = (f.path("a"), f.path("b"), f.path("sub"));
        f.open("a", OpenMode::Create).unwrap();
        f.write(&[b"12345"]).unwrap();
        let done =
            |disk: &mut Disk, request| assert_eq!(disk.carry_out(request), Ok(DiskReply::Done));
        done(&mut f.disk, DiskRequest::Close { file: FILE });
        done(&mut f.disk, DiskRequest::MakeDir { path: sub.clone() });
        done(&mut f.disk, DiskRequest::MakeDir { path: sub });
        done(
            &mut f.disk,
            DiskRequest::Rename {
                from: a,
                to: b.clone(),
            },
        );
        done(
            &mut f.disk,
            DiskRequest::Truncate {
                path: b.clone(),
                len: 2,
            },
        );
        assert_eq!(fs::read(&b).unwrap(), b"12");
        let dir = f.dir.path().to_str().unwrap().to_string();
        done(&mut f.disk, DiskRequest::SyncDir { path: dir.clone() });
        let list = DiskRequest::List { path: dir };
        assert_eq!(
            f.disk.carry_out(list.clone()),
            Ok(DiskReply::Names(vec!["b".into()]))
        );
        done(&mut f.disk, DiskRequest::Remove { path: b.clone() });
        assert_eq!(f.disk.carry_out(list), Ok(DiskReply::Names(vec![])));
        assert!(
            f.disk
                .carry_out(DiskRequest::MakeDir {
                    path: b.clone() + "/c"
                })
                .is_err()
        );
        assert!(f.disk.carry_out(DiskRequest::Remove { path: b }).is_err());
    }
}
