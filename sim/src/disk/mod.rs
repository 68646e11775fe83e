//! One node's disk: what the system remembers, what the platter holds, and how the two differ.
//!
//! ```text
//!   requests ──FIFO──▶ system (page cache, directory cache) ──Sync/SyncDir──▶ platter
//!                              │ lost or torn at power failure                    │ survives
//! ```
//!
//! A killed process loses its open files only. A power failure keeps the platter and an arbitrary
//! part of what was not synced: by prefix, by sector, torn, zero-filled, size without data; directory
//! entries likewise. Errors follow the worst that real systems do: after a failed sync the pages count
//! as clean though the platter never got them, so the next sync "succeeds" (DISK-7).

mod file;

pub use file::Survival;
use file::{Files, Inode};

use crate::rng::Rng;
use crate::time::{MS, Micros, SEC};
use reprise_engine::{DiskError, DiskErrorKind, DiskReply, DiskRequest, FileId, OpId, OpenMode};
use std::collections::{BTreeMap, VecDeque};

/// How a disk behaves, drawn once per seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskSettings {
    /// Mean time of an operation that is no sync.
    pub op_us: u64,
    /// Mean time of a sync.
    pub sync_us: u64,
    /// Bytes that survive or vanish together.
    pub sector: usize,
    /// Whether un-synced data may survive out of order (DISK-2, DISK-3, DISK-10); otherwise only as a prefix.
    pub holes: bool,
}

impl Default for DiskSettings {
    fn default() -> Self {
        DiskSettings {
            op_us: 30,
            sync_us: 500,
            sector: 512,
            holes: true,
        }
    }
}

/// Faults in force. All zero in good times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DiskFaults {
    /// Of a thousand writes so many fail with EIO after a part of them (DISK-6).
    pub write_eio: u64,
    /// Of a thousand reads so many fail with EIO.
    pub read_eio: u64,
    /// Of a thousand syncs so many fail with EIO, the pages marked clean (DISK-7).
    pub sync_eio: u64,
    /// Additional mean time of a sync (DISK-8).
    pub slow_sync_us: u64,
    /// Bytes that still fit (DISK-5); `None` is no limit.
    pub space: Option<u64>,
}

/// A disk and the queue of requests before it.
#[derive(Debug)]
pub struct Disk {
    settings: DiskSettings,
    rng: Rng,
    faults: DiskFaults,
    files: Files,
    open: BTreeMap<FileId, (usize, OpenMode, String)>,
    /// What is locked. One process uses a disk at a time, so nobody else's lock is ever met.
    locks: BTreeMap<FileId, String>,
    queue: VecDeque<(OpId, DiskRequest, Micros)>,
    delays: VecDeque<(Micros, Micros)>,
    /// A file in which something has rotted, as it was, until a process has found that.
    rotten: Option<(String, Vec<u8>)>,
    /// What it answered since an observer last looked, as far as it matters to one.
    pub witnessed: Vec<Witnessed>,
    /// How many syncs have failed so far.
    pub failed_syncs: u64,
    /// How many requests have failed so far, for other reasons than that a file is missing.
    pub failures: u64,
    /// When a request first failed for the process that runs now.
    pub first_failure: Option<Micros>,
}

/// An answer of the disk, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witnessed {
    /// A file took another name.
    Rename {
        /// The new one.
        to: String,
    },
    /// A sync of a file.
    Sync {
        /// Its name now.
        path: String,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A sync of a directory.
    SyncDir {
        /// Its name; empty for the working directory.
        path: String,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A write to a file.
    Write {
        /// Its name now.
        path: String,
        /// Whether all of it was written.
        ok: bool,
    },
}

impl Witnessed {
    /// Whether something was not done.
    pub fn is_failure(&self) -> bool {
        match self {
            Witnessed::Rename { .. } => false,
            Witnessed::Sync { ok, .. }
            | Witnessed::SyncDir { ok, .. }
            | Witnessed::Write { ok, .. } => !ok,
        }
    }
}

/// What a power failure did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrashReport {
    /// Files whose un-synced part survived with a hole or a torn sector before its end, with the offset of the
    /// first byte that is not what was written. A log cut there is what an operator's repair would make of it.
    pub damaged: Vec<(String, u64)>,
    /// Un-synced bytes that vanished.
    pub lost_bytes: u64,
}

impl Disk {
    /// An empty disk.
    pub fn new(settings: DiskSettings, rng: Rng) -> Disk {
        Disk {
            settings,
            rng,
            faults: DiskFaults::default(),
            files: Files::default(),
            open: BTreeMap::new(),
            locks: BTreeMap::new(),
            rotten: None,
            queue: VecDeque::new(),
            delays: VecDeque::new(),
            witnessed: Vec::new(),
            failed_syncs: 0,
            failures: 0,
            first_failure: None,
        }
    }

    /// Replaces everything by these files, all durable: a prepared disk, an older image (NODE-5), or nothing (NODE-4).
    pub fn restore(&mut self, image: &BTreeMap<String, Vec<u8>>) {
        self.open.clear();
        self.locks.clear();
        self.queue.clear();
        self.files = Files::from_image(image);
    }

    /// What would survive if power failed now and nothing un-synced did.
    pub fn durable_image(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.durable_image()
    }

    /// What a process would read now.
    pub fn visible_image(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.visible_image()
    }

    /// Whether there is a file of this name, or was one that a power failure may bring back.
    pub fn has(&self, path: &str) -> bool {
        self.files.has(path)
    }

    /// The faults in force, to be changed.
    pub fn faults(&mut self) -> &mut DiskFaults {
        &mut self.faults
    }

    /// Limits the space to what is used plus `extra` bytes.
    pub fn limit_space(&mut self, extra: u64) {
        self.faults.space = Some(extra);
    }

    /// Queues a request. When the answer is: `Some(due)` if the disk was idle (call [`Disk::complete`] then),
    /// otherwise with the queue.
    #[must_use]
    pub fn submit(&mut self, now: Micros, op: OpId, request: DiskRequest) -> Option<Micros> {
        self.queue.push_back((op, request, now));
        (self.queue.len() == 1).then(|| now + self.duration())
    }

    /// Carries out the request at the head of the queue. Also says when the next one will be done.
    pub fn complete(
        &mut self,
        now: Micros,
    ) -> Option<(OpId, Result<DiskReply, DiskError>, Option<Micros>)> {
        let (op, request, since) = self.queue.pop_front()?;
        let about = self.witness(&request);
        let result = self.perform(request);
        self.witnessed
            .extend(about.and_then(|about| about(result.is_ok())));
        let failed = |error: &DiskError| error.kind != DiskErrorKind::NotFound;
        if result.as_ref().is_err_and(failed) {
            self.failures += 1;
            self.first_failure.get_or_insert(now);
        }
        let took = now.saturating_sub(since);
        if took > 50 * MS {
            self.delays.push_back((now, took));
        }
        let next = (!self.queue.is_empty()).then(|| now + self.duration());
        Some((op, result, next))
    }

    /// What an observer will have seen of a request, once its outcome is known.
    fn witness(
        &self,
        request: &DiskRequest,
    ) -> Option<impl FnOnce(bool) -> Option<Witnessed> + use<>> {
        let named = |file: &FileId| self.open.get(file).map(|(.., path)| path.clone());
        let unknown = match request {
            DiskRequest::Rename { to, .. } => Witnessed::Rename { to: to.clone() },
            DiskRequest::Sync { file } => Witnessed::Sync {
                path: named(file)?,
                ok: false,
            },
            DiskRequest::SyncDir { path } => Witnessed::SyncDir {
                path: path.trim_matches(['.', '/']).to_owned(),
                ok: false,
            },
            DiskRequest::Write { file, .. } => Witnessed::Write {
                path: named(file)?,
                ok: false,
            },
            _ => return None,
        };
        Some(move |done: bool| {
            let mut seen = unknown;
            match &mut seen {
                Witnessed::Rename { .. } if !done => return None,
                Witnessed::Rename { .. } => {}
                Witnessed::Sync { ok, .. }
                | Witnessed::SyncDir { ok, .. }
                | Witnessed::Write { ok, .. } => *ok = done,
            }
            Some(seen)
        })
    }

    /// The longest that a request of the last minute took, or has been waiting.
    pub fn recent_delay(&mut self, now: Micros) -> Micros {
        while self
            .delays
            .front()
            .is_some_and(|&(at, _)| at + 60 * SEC < now)
        {
            self.delays.pop_front();
        }
        let waiting = self
            .queue
            .front()
            .map_or(0, |&(.., since)| now.saturating_sub(since));
        self.delays
            .iter()
            .map(|&(_, delay)| delay)
            .max()
            .unwrap_or(0)
            .max(waiting)
    }

    /// Requests not answered yet.
    pub fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// The process was killed. The request in progress may be half done; the system's memory stays, but for what a
    /// failed sync left behind: the files whose clean pages came back old, as in [`CrashReport::damaged`].
    pub fn process_died(&mut self) -> Vec<(String, u64)> {
        self.half_done();
        self.open.clear();
        self.locks.clear();
        self.files.evict_clean()
    }

    /// Power failed: the platter stays, with a part of what was not synced.
    pub fn power_failed(&mut self) -> CrashReport {
        self.half_done();
        self.open.clear();
        self.locks.clear();
        let settings = self.settings;
        self.files
            .power_failed(&mut self.rng, settings.sector, settings.holes)
    }

    /// Changes something, while no process runs, that a server must notice: a bit or a sector of a snapshot, of a
    /// manifest, or of an increment where a checksum covers it. Says where, if there is such a place. Not while
    /// something else has rotted that nobody has looked at since: a copy is kept of one file only.
    pub fn rot(&mut self, pick: u64, sector: bool) -> Option<(String, u64)> {
        if self.rotten.is_some() {
            return None;
        }
        let mut places = Vec::new();
        for (path, bytes) in self.files.durable_image() {
            let covered = match path.rsplit('.').next() {
                Some("manifest") if find_last(&bytes, b"#SUM:").is_some() => bytes.len(),
                Some("rdb") if !path.contains("temp-") => bytes.len(),
                Some("aof") if path.ends_with(".incr.aof") => {
                    find_last(&bytes, b"#SUM:").unwrap_or(0)
                }
                _ => 0,
            };
            if covered > 0 && self.files.visible(&path) == Some(&bytes[..]) {
                places.push((path, bytes, covered));
            }
        }
        let count = (places.len() as u64).max(1);
        let (path, bytes, covered) = places.into_iter().nth((pick % count) as usize)?;
        let at = (pick / count % covered as u64) as usize;
        let mut rotten = bytes.clone();
        if sector {
            let start = at / self.settings.sector * self.settings.sector;
            let end = (start + self.settings.sector).min(covered);
            // What stands at the beginning was written here, too.
            let len = (end - start).min(start);
            rotten.copy_within(0..len, start);
        } else {
            rotten[at] ^= 1 << (pick >> 61);
        }
        let increment = path.ends_with(".incr.aof");
        let noticed =
            |&at: &usize| rotten[at] != bytes[at] && (!increment || is_summed(&bytes, at));
        (0..bytes.len()).find(noticed)?;
        self.files.overwrite(&path, &rotten);
        self.rotten = Some((path.clone(), bytes));
        Some((path, at as u64))
    }

    /// A process has loaded what there is: it has found nothing, or nothing that matters.
    pub fn forget_rot(&mut self) {
        self.rotten = None;
    }

    /// Puts back what has rotted; whether there was anything.
    pub fn restore_rotten(&mut self) -> bool {
        let Some((path, bytes)) = self.rotten.take() else {
            return false;
        };
        self.files.overwrite(&path, &bytes);
        true
    }

    /// Cuts a file durably, as an operator's repair does.
    pub fn repair(&mut self, path: &str, len: u64) {
        self.files.repair(path, len as usize);
    }

    fn half_done(&mut self) {
        self.first_failure = None;

        let head = self.queue.pop_front();
        self.queue.clear();
        match head {
            Some((_, DiskRequest::Write { file, data }, _)) => {
                let total: usize = data.iter().map(|piece| piece.len()).sum();
                let kept = self.rng.below(total as u64 + 1) as usize;
                if let Ok(inode) = self.writable(file) {
                    inode.append(&data.concat()[..kept]);
                }
            }
            Some((_, request, _)) if self.rng.chance(500) => {
                self.perform(request).ok();
            }
            _ => {}
        }
    }

    fn duration(&mut self) -> Micros {
        let is_sync = matches!(
            self.queue.front(),
            Some((_, DiskRequest::Sync { .. } | DiskRequest::SyncDir { .. }, _))
        );
        if is_sync {
            let slow = self.faults.slow_sync_us;
            1 + self.rng.exponential(self.settings.sync_us)
                + self.rng.exponential(slow).min(30 * SEC)
        } else {
            1 + self.rng.exponential(self.settings.op_us)
        }
    }

    fn writable(&mut self, file: FileId) -> Result<&mut Inode, DiskError> {
        match self.open.get(&file) {
            Some(&(inode, OpenMode::Append | OpenMode::Create, _)) => Ok(self.files.inode(inode)),
            _ => Err(failure(DiskErrorKind::Io, "Bad file descriptor")),
        }
    }

    fn perform(&mut self, request: DiskRequest) -> Result<DiskReply, DiskError> {
        match request {
            DiskRequest::Open { file, path, mode } => {
                let inode = self.files.open(&path, mode)?;
                self.open.insert(file, (inode, mode, path));
                Ok(DiskReply::Opened {
                    len: self.files.inode(inode).len() as u64,
                })
            }
            DiskRequest::Read { file, offset, len } => {
                if self.rng.chance(self.faults.read_eio) {
                    return Err(failure(DiskErrorKind::Io, "Input/output error"));
                }
                match self.open.get(&file) {
                    Some(&(inode, OpenMode::Read, _)) => Ok(DiskReply::Data(
                        self.files.inode(inode).read(offset, len).to_vec(),
                    )),
                    _ => Err(failure(DiskErrorKind::Io, "Bad file descriptor")),
                }
            }
            DiskRequest::Write { file, data } => self.write(file, &data.concat()),
            DiskRequest::Sync { file } => {
                let fails = self.rng.chance(self.faults.sync_eio);
                let inode = self.writable(file)?;
                if fails {
                    inode.forget_dirty();
                    self.failed_syncs += 1;
                    return Err(failure(DiskErrorKind::Io, "Input/output error"));
                }
                inode.sync();
                Ok(DiskReply::Done)
            }
            DiskRequest::Truncate { path, len } => {
                self.files.find(&path)?.truncate(len as usize);
                Ok(DiskReply::Done)
            }
            DiskRequest::Lock { file, path, .. } => {
                let had = |(other, held): (&FileId, &String)| *other != file && *held == path;
                if self.locks.iter().any(had) {
                    return Err(failure(DiskErrorKind::Locked, "another server uses it"));
                }
                self.locks.insert(file, path);
                Ok(DiskReply::Done)
            }
            DiskRequest::Close { file } => match self.open.remove(&file) {
                None if self.locks.remove(&file).is_some() => Ok(DiskReply::Done),
                Some(_) => Ok(DiskReply::Done),
                None => Err(failure(DiskErrorKind::Io, "Bad file descriptor")),
            },
            DiskRequest::Rename { from, to } => {
                let renamed = self.files.rename(&from, &to)?;
                for (.., path) in self.open.values_mut().filter(|(.., path)| *path == from) {
                    path.clone_from(&to);
                }
                Ok(renamed)
            }
            DiskRequest::Remove { path } => self.files.remove(&path),
            DiskRequest::MakeDir { path } => self.files.make_dir(&path),
            DiskRequest::List { path } => self.files.list(&path),
            DiskRequest::SyncDir { path } => {
                if self.rng.chance(self.faults.sync_eio) {
                    self.failed_syncs += 1;
                    return Err(failure(DiskErrorKind::Io, "Input/output error"));
                }
                self.files.sync_dir(&path);
                Ok(DiskReply::Done)
            }
        }
    }

    fn write(&mut self, file: FileId, bytes: &[u8]) -> Result<DiskReply, DiskError> {
        let broken = self.rng.chance(self.faults.write_eio);
        let part = self.rng.below(bytes.len() as u64 + 1);
        let space = self.faults.space;
        let inode = self.writable(file)?;
        if broken {
            inode.append(&bytes[..part as usize]);
            return Err(DiskError {
                written: part,
                ..failure(DiskErrorKind::Io, "Input/output error")
            });
        }
        let fits = space.unwrap_or(u64::MAX).min(bytes.len() as u64);
        inode.append(&bytes[..fits as usize]);
        self.faults.space = space.map(|space| space - fits);
        if fits < bytes.len() as u64 {
            let error = failure(DiskErrorKind::NoSpace, "No space left on device");
            return Err(DiskError {
                written: fits,
                ..error
            });
        }
        Ok(DiskReply::Done)
    }
}

/// Whether a byte of an increment is covered by a checksum: what came right before a crash is not, since who goes on
/// has counting begin anew.
fn is_summed(bytes: &[u8], at: usize) -> bool {
    let next = bytes[at..].windows(5).position(|part| part == b"#SUM:");
    next.is_some_and(|next| !bytes[at + next..].starts_with(b"#SUM:0:"))
}

fn find_last(bytes: &[u8], what: &[u8]) -> Option<usize> {
    (bytes.windows(what.len())).rposition(|piece| piece == what)
}

fn failure(kind: DiskErrorKind, message: &str) -> DiskError {
    DiskError {
        kind,
        written: 0,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
