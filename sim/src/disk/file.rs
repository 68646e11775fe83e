//! Files and directory entries, each twice: as the system shows them and as the platter has them.

use super::{CrashReport, failure};
use crate::rng::Rng;
use reprise_engine::{DiskError, DiskErrorKind, DiskReply, OpenMode};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    cache: Vec<u8>,
    platter: Vec<u8>,
    /// What the next sync writes, in order of writing; ranges that touch are one.
    dirty: Vec<Range<usize>>,
    /// The smallest size since the last sync, if the file was cut.
    cut_to: Option<usize>,
    /// A sync failed: clean pages differ from the platter.
    poisoned: bool,
}

/// What is left of un-synced data at a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything: it had just been written back.
    Everything,
    /// Up to some byte.
    Prefix,
    /// Some sectors, some torn.
    Sectors,
    /// The size, filled with zeros.
    SizeOnly,
}

/// All files of a disk.
#[derive(Debug, Default)]
pub(super) struct Files {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    dirs: BTreeSet<String>,
    durable_names: BTreeMap<String, usize>,
    durable_dirs: BTreeSet<String>,
    pending: Vec<DirOp>,
}

#[derive(Clone, Debug)]
enum DirOp {
    Link {
        path: String,
        inode: usize,
    },
    Mkdir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        inode: usize,
    },
    Unlink {
        path: String,
    },
}

impl Inode {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn read(&self, offset: u64, len: u32) -> &[u8] {
        let start = (offset as usize).min(self.cache.len());
        let end = (start + len as usize).min(self.cache.len());
        &self.cache[start..end]
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let start = self.cache.len();
        self.cache.extend_from_slice(bytes);
        match self.dirty.last_mut() {
            Some(last) if last.end == start => last.end = self.cache.len(),
            _ => self.dirty.push(start..self.cache.len()),
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if len > self.cache.len() {
            let missing = len - self.cache.len();
            self.append(&vec![0; missing]);
            return;
        }
        self.cache.truncate(len);
        self.cut_to = Some(self.cut_to.map_or(len, |cut| cut.min(len)));
        self.dirty.retain_mut(|range| {
            range.end = range.end.min(len);
            range.start < range.end
        });
    }

    pub(super) fn sync(&mut self) {
        if let Some(cut) = self.cut_to.take() {
            self.platter.truncate(cut);
        }
        // A poisoned file has the right size and zeros (or old bytes) where the failed sync lost data.
        self.platter.resize(self.cache.len(), 0);
        for range in self.dirty.drain(..) {
            self.platter[range.clone()].copy_from_slice(&self.cache[range]);
        }
    }

    pub(super) fn forget_dirty(&mut self) {
        self.poisoned |= !self.dirty.is_empty();
        self.dirty.clear();
    }

    /// Clean pages are read again from the platter. Returns where the first byte is that was never written so.
    fn evict_clean(&mut self) -> Option<u64> {
        if !self.poisoned {
            return None;
        }
        let mut fresh = self.platter.clone();
        fresh.resize(self.cache.len(), 0);
        for range in &self.dirty {
            fresh[range.clone()].copy_from_slice(&self.cache[range.clone()]);
        }
        let damaged = fresh
            .iter()
            .zip(&self.cache)
            .position(|(now, then)| now != then);
        self.cache = fresh;
        damaged.map(|at| at as u64)
    }

    /// Makes of the file what a power failure leaves. Returns how many un-synced bytes vanished, and where the
    /// first byte is that was never written so.
    fn power_failed(
        &mut self,
        survival: Survival,
        rng: &mut Rng,
        sector: usize,
    ) -> (u64, Option<u64>) {
        let written = std::mem::take(&mut self.cache);
        let unsynced: usize = self.dirty.iter().map(Range::len).sum();
        if self.cut_to.is_some_and(|_| survival != Survival::Nothing) {
            self.platter.truncate(self.cut_to.unwrap_or(0));
        }
        let mut kept = 0;
        let mut put = |platter: &mut Vec<u8>, range: Range<usize>| {
            if platter.len() < range.end {
                platter.resize(range.end, 0);
            }
            platter[range.clone()].copy_from_slice(&written[range.clone()]);
            kept += range.len();
        };
        let dirty = std::mem::take(&mut self.dirty);
        match survival {
            Survival::Nothing => {}
            Survival::Everything => {
                dirty
                    .iter()
                    .for_each(|range| put(&mut self.platter, range.clone()));
            }
            Survival::Prefix => {
                let mut left = rng.below(unsynced as u64 + 1) as usize;
                for range in &dirty {
                    let part = range.len().min(left);
                    put(&mut self.platter, range.start..range.start + part);
                    left -= part;
                }
            }
            Survival::Sectors => {
                for range in &dirty {
                    let mut at = range.start;
                    while at < range.end {
                        let end = ((at / sector + 1) * sector).min(range.end);
                        match rng.below(5) {
                            0 | 1 => put(&mut self.platter, at..end),
                            2 => put(
                                &mut self.platter,
                                at..at + rng.below((end - at) as u64) as usize,
                            ),
                            _ => {}
                        }
                        at = end;
                    }
                }
                if rng.chance(500) {
                    self.platter
                        .resize(written.len().max(self.platter.len()), 0);
                }
            }
            Survival::SizeOnly => self
                .platter
                .resize(written.len().max(self.platter.len()), 0),
        }
        let damaged = self
            .platter
            .iter()
            .zip(&written)
            .position(|(now, then)| now != then)
            .or_else(|| (self.platter.len() > written.len()).then_some(written.len()));
        self.cache = self.platter.clone();
        self.cut_to = None;
        self.poisoned = false;
        ((unsynced - kept) as u64, damaged.map(|at| at as u64))
    }
}

impl Files {
    pub(super) fn from_image(image: &BTreeMap<String, Vec<u8>>) -> Files {
        let mut files = Files::default();
        for (path, bytes) in image {
            let path = normal(path);
            let dir = parent(&path);
            if !dir.is_empty() {
                files.dirs.insert(dir.to_owned());
            }
            let inode = Inode {
                cache: bytes.clone(),
                platter: bytes.clone(),
                ..Inode::default()
            };
            files.names.insert(path, files.inodes.len());
            files.inodes.push(inode);
        }
        files.durable_names = files.names.clone();
        files.durable_dirs = files.dirs.clone();
        files
    }

    pub(super) fn durable_image(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = self.durable_names.iter();
        entries
            .map(|(path, &inode)| (path.clone(), self.inodes[inode].platter.clone()))
            .collect()
    }

    pub(super) fn visible_image(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = self.names.iter();
        entries
            .map(|(path, &inode)| (path.clone(), self.inodes[inode].cache.clone()))
            .collect()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.names.contains_key(path) || self.durable_names.contains_key(path)
    }

    /// What a process would read.
    pub(super) fn visible(&self, path: &str) -> Option<&[u8]> {
        let inode = *self.names.get(path)?;
        Some(&self.inodes[inode].cache)
    }

    /// Changes a file behind everybody's back.
    pub(super) fn overwrite(&mut self, path: &str, bytes: &[u8]) {
        if let Some(&inode) = self.names.get(path) {
            let inode = &mut self.inodes[inode];
            (inode.cache, inode.platter) = (bytes.to_vec(), bytes.to_vec());
        }
    }

    pub(super) fn inode(&mut self, inode: usize) -> &mut Inode {
        &mut self.inodes[inode]
    }

    pub(super) fn find(&mut self, path: &str) -> Result<&mut Inode, DiskError> {
        let inode = *self.names.get(&normal(path)).ok_or_else(absent)?;
        Ok(&mut self.inodes[inode])
    }

    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> Result<usize, DiskError> {
        let path = normal(path);
        let found = self.names.get(&path).copied();
        let dir = parent(&path);
        match (mode, found) {
            (OpenMode::Read, None) => Err(absent()),
            (OpenMode::Read | OpenMode::Append, Some(inode)) => Ok(inode),
            (OpenMode::Create, Some(inode)) => {
                self.inodes[inode].truncate(0);
                Ok(inode)
            }
            (_, None) if !dir.is_empty() && !self.dirs.contains(dir) => Err(absent()),
            (_, None) => {
                let inode = self.inodes.len();
                self.inodes.push(Inode::default());
                self.names.insert(path.clone(), inode);
                self.pending.push(DirOp::Link { path, inode });
                Ok(inode)
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<DiskReply, DiskError> {
        let (from, to) = (normal(from), normal(to));
        let inode = self.names.remove(&from).ok_or_else(absent)?;
        self.names.insert(to.clone(), inode);
        self.pending.push(DirOp::Rename { from, to, inode });
        Ok(DiskReply::Done)
    }

    pub(super) fn remove(&mut self, path: &str) -> Result<DiskReply, DiskError> {
        let path = normal(path);
        self.names.remove(&path).ok_or_else(absent)?;
        self.pending.push(DirOp::Unlink { path });
        Ok(DiskReply::Done)
    }

    pub(super) fn make_dir(&mut self, path: &str) -> Result<DiskReply, DiskError> {
        let path = normal(path);
        if !path.is_empty() && self.dirs.insert(path.clone()) {
            self.pending.push(DirOp::Mkdir { path });
        }
        Ok(DiskReply::Done)
    }

    pub(super) fn list(&mut self, path: &str) -> Result<DiskReply, DiskError> {
        let dir = normal(path);
        if !dir.is_empty() && !self.dirs.contains(&dir) {
            return Err(absent());
        }
        let inside = self.names.keys().filter(|name| parent(name) == dir);
        let names = inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned());
        Ok(DiskReply::Names(names.collect()))
    }

    pub(super) fn sync_dir(&mut self, path: &str) {
        let dir = normal(path);
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|op| op.dir() == dir);
        self.pending = later;
        now.into_iter().for_each(|op| self.make_durable(op));
    }

    pub(super) fn evict_clean(&mut self) -> Vec<(String, u64)> {
        let mut damaged = Vec::new();
        for (path, &inode) in &self.names {
            let found = self.inodes[inode].evict_clean();
            damaged.extend(found.map(|at| (path.clone(), at)));
        }
        damaged
    }

    pub(super) fn repair(&mut self, path: &str, len: usize) {
        if let Ok(inode) = self.find(path) {
            inode.truncate(len);
            inode.sync();
        }
    }

    pub(super) fn power_failed(
        &mut self,
        rng: &mut Rng,
        sector: usize,
        holes: bool,
    ) -> CrashReport {
        let pending = std::mem::take(&mut self.pending);
        let count = pending.len() as u64;
        let upto = rng.below(count + 1);
        let mode = rng.below(4);
        for (index, op) in (0u64..).zip(pending) {
            let survives = match mode {
                0 => false,
                1 => true,
                2 => index < upto,
                _ => rng.chance(500),
            };
            if survives {
                self.make_durable(op);
            }
        }
        let dirs = &self.durable_dirs;
        self.durable_names
            .retain(|path, _| parent(path).is_empty() || dirs.contains(parent(path)));
        let mut report = CrashReport::default();
        let mut inodes = Vec::new();
        let mut names = BTreeMap::new();
        for (path, &inode) in &self.durable_names {
            let survival = match rng.below(if holes { 5 } else { 3 }) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                2 => Survival::Prefix,
                3 => Survival::Sectors,
                _ => Survival::SizeOnly,
            };
            let mut inode = self.inodes[inode].clone();
            let (lost, damaged) = inode.power_failed(survival, rng, sector);
            report.lost_bytes += lost;
            report.damaged.extend(damaged.map(|at| (path.clone(), at)));
            names.insert(path.clone(), inodes.len());
            inodes.push(inode);
        }
        self.inodes = inodes;
        self.durable_names = names.clone();
        self.names = names;
        self.dirs = self.durable_dirs.clone();
        report
    }

    fn make_durable(&mut self, op: DirOp) {
        match op {
            DirOp::Link { path, inode } => {
                self.durable_names.insert(path, inode);
            }
            DirOp::Mkdir { path } => {
                self.durable_dirs.insert(path);
            }
            DirOp::Rename { from, to, inode } => {
                // Without its create on the platter, the rename still brings the file with it.
                if self.durable_names.get(&from) == Some(&inode) {
                    self.durable_names.remove(&from);
                }
                self.durable_names.insert(to, inode);
            }
            DirOp::Unlink { path } => {
                self.durable_names.remove(&path);
            }
        }
    }
}

impl DirOp {
    fn dir(&self) -> &str {
        match self {
            DirOp::Link { path, .. } | DirOp::Mkdir { path } | DirOp::Unlink { path } => {
                parent(path)
            }
            DirOp::Rename { to, .. } => parent(to),
        }
    }
}

fn normal(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn absent() -> DiskError {
    failure(DiskErrorKind::NotFound, "No such file or directory")
}
