//! A disk in memory: a page cache over a platter, with crashes and faults.
//!
//! What was not synced may be lost at a crash; a name counts only once its directory was synced; a sync that
//! fails loses what it should have written, and later syncs do not bring it back.

use crate::face::{DiskError, DiskErrorKind, DiskReply, DiskRequest, FileId, OpenMode};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What becomes of un-synced state at a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything survives: only the process died.
    Nothing,
    /// Only what was synced survives.
    All,
    /// Names and bytes survive by chance; a file may keep its length with zeros in place of its last bytes.
    Chance(u64),
}

/// What goes wrong at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: a write leaves half of its bytes, other changes fail; syncs and removals succeed.
    Full,
    /// An I/O error; a sync that fails loses the data.
    Io,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges that a failed sync dropped: marked clean, never written.
    dropped: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    dirs: Vec<String>,
    open: BTreeMap<u32, (usize, OpenMode)>,
    /// Operations carried out so far.
    pub operations: u64,
    /// What other processes have locked.
    pub locked: Vec<String>,
    /// At which operation what goes wrong.
    pub faults: BTreeMap<u64, Fault>,
}

impl Disk {
    pub fn failing(at: u64, fault: Fault) -> Disk {
        Disk {
            faults: [(at, fault)].into(),
            ..Disk::default()
        }
    }

    pub fn locked_by_others(names: &[&str]) -> Disk {
        Disk {
            locked: names.iter().map(ToString::to_string).collect(),
            ..Disk::default()
        }
    }

    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let inode = self.inodes.len();
        self.inodes.push(Inode {
            cached: bytes.to_vec(),
            durable: bytes.to_vec(),
            dropped: Vec::new(),
        });
        self.names.insert(path.into(), inode);
        self.durable_names.insert(path.into(), inode);
        if let Some((dir, _)) = path.rsplit_once('/') {
            self.dirs.push(dir.into());
        }
    }

    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.names
            .get(path)
            .map(|&inode| &self.inodes[inode].cached[..])
    }

    pub fn paths(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    /// Power goes.
    pub fn crash(&mut self, loss: Loss) {
        self.open.clear();
        let mut word = match loss {
            Loss::Nothing => return,
            Loss::All => 0,
            Loss::Chance(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        };
        let mut chance = |below: usize| {
            if loss == Loss::All {
                return 0;
            }
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word % below as u64) as usize
        };
        let mut names = self.durable_names.clone();
        let mut touched: Vec<String> = self
            .names
            .keys()
            .chain(self.durable_names.keys())
            .cloned()
            .collect();
        touched.sort();
        touched.dedup();
        for name in touched {
            if chance(2) == 1 {
                match self.names.get(&name) {
                    Some(&inode) => names.insert(name, inode),
                    None => names.remove(&name),
                };
            }
        }
        for inode in &mut self.inodes {
            let mut kept = inode.durable.clone();
            let appended = inode.cached.len().saturating_sub(kept.len());
            let common = inode.cached.starts_with(&kept);
            if appended > 0 && common {
                let (from, more) = (kept.len(), chance(appended + 1));
                kept.extend_from_slice(&inode.cached[from..from + more]);
                for &(from, to) in &inode.dropped {
                    let end = to.min(kept.len());
                    kept[from.min(end)..end].fill(0);
                }
                // The length may be durable and the bytes not.
                kept.resize(kept.len() + chance(2) * chance(appended - more + 1), 0);
            }
            inode.cached = kept.clone();
            inode.durable = kept;
            inode.dropped.clear();
        }
        self.durable_names = names.clone();
        self.names = names;
    }

    pub fn perform(&mut self, request: &DiskRequest) -> Result<DiskReply, DiskError> {
        self.operations += 1;
        match self.faults.get(&self.operations) {
            Some(Fault::Full)
                if matches!(
                    request,
                    DiskRequest::Sync { .. }
                        | DiskRequest::SyncDir { .. }
                        | DiskRequest::Remove { .. }
                ) =>
            {
                self.succeed(request)
            }
            Some(&fault) => Err(self.fail(request, fault)),
            None => self.succeed(request),
        }
    }

    fn fail(&mut self, request: &DiskRequest, fault: Fault) -> DiskError {
        let (kind, message) = match fault {
            Fault::Full => (DiskErrorKind::NoSpace, "No space left on device"),
            Fault::Io => (DiskErrorKind::Io, "Input/output error"),
        };
        let mut written = 0;
        match request {
            DiskRequest::Write { file, data } => {
                let bytes: Vec<u8> = data.concat();
                written = bytes.len() / 2;
                self.append(*file, &bytes[..written]);
            }
            DiskRequest::Sync { file } if self.open.contains_key(&file.0) => {
                let inode = &mut self.inodes[self.open[&file.0].0];
                inode
                    .dropped
                    .push((inode.durable.len(), inode.cached.len()));
            }
            DiskRequest::Close { file } => {
                self.open.remove(&file.0);
            }
            _ => {}
        }
        DiskError {
            kind,
            written: written as u64,
            message: message.into(),
        }
    }

    fn succeed(&mut self, request: &DiskRequest) -> Result<DiskReply, DiskError> {
        let missing = || DiskError {
            kind: DiskErrorKind::NotFound,
            written: 0,
            message: "No such file or directory".to_string(),
        };
        match request {
            DiskRequest::Open { file, path, mode } => {
                assert!(!self.open.contains_key(&file.0), "{file:?} is open already");
                if let Some((dir, _)) = path.rsplit_once('/') {
                    self.dirs
                        .iter()
                        .find(|known| *known == dir)
                        .ok_or_else(missing)?;
                }
                let inode = match (self.names.get(path), mode) {
                    (Some(&inode), _) => inode,
                    (None, OpenMode::Read) => return Err(missing()),
                    (None, _) => {
                        self.inodes.push(Inode::default());
                        self.names.insert(path.clone(), self.inodes.len() - 1);
                        self.inodes.len() - 1
                    }
                };
                if *mode == OpenMode::Create {
                    self.inodes[inode].cached.clear();
                    self.inodes[inode].dropped.clear();
                }
                self.open.insert(file.0, (inode, *mode));
                return Ok(DiskReply::Opened {
                    len: self.inodes[inode].cached.len() as u64,
                });
            }
            DiskRequest::Read { file, offset, len } => {
                let (inode, mode) = self.open[&file.0];
                assert_eq!(mode, OpenMode::Read);
                let bytes = &self.inodes[inode].cached;
                let from = (*offset as usize).min(bytes.len());
                let to = (from + *len as usize).min(bytes.len());
                return Ok(DiskReply::Data(bytes[from..to].to_vec()));
            }
            DiskRequest::Write { file, .. } | DiskRequest::Sync { file }
                if !self.open.contains_key(&file.0) =>
            {
                // Its opening failed, and what was sent behind it fails too.
                return Err(DiskError {
                    kind: DiskErrorKind::Io,
                    written: 0,
                    message: "Bad file descriptor".into(),
                });
            }
            DiskRequest::Write { file, data } => self.append(*file, &data.concat()),
            DiskRequest::Sync { file } => {
                let inode = &mut self.inodes[self.open[&file.0].0];
                inode.durable = inode.cached.clone();
                for &(from, to) in &inode.dropped {
                    let end = to.min(inode.durable.len());
                    inode.durable[from.min(end)..end].fill(0);
                }
            }
            DiskRequest::Truncate { path, len } => {
                let inode = *self.names.get(path).ok_or_else(missing)?;
                self.inodes[inode].cached.resize(*len as usize, 0);
            }
            DiskRequest::Close { file } => {
                self.open.remove(&file.0);
            }
            DiskRequest::Rename { from, to } => {
                let inode = self.names.remove(from).ok_or_else(missing)?;
                self.names.insert(to.clone(), inode);
            }
            DiskRequest::Remove { path } => {
                self.names.remove(path).ok_or_else(missing)?;
            }
            DiskRequest::Lock { path, .. } if self.locked.contains(path) => {
                return Err(DiskError {
                    kind: DiskErrorKind::Locked,
                    written: 0,
                    message: "another server uses it".to_string(),
                });
            }
            DiskRequest::Lock { .. } => {}
            DiskRequest::MakeDir { path } => self.dirs.push(path.clone()),
            DiskRequest::List { path } => {
                self.dirs
                    .iter()
                    .find(|known| *known == path)
                    .ok_or_else(missing)?;
                let names = self
                    .names
                    .keys()
                    .filter_map(|name| name.strip_prefix(path.as_str())?.strip_prefix('/'));
                return Ok(DiskReply::Names(names.map(ToString::to_string).collect()));
            }
            DiskRequest::SyncDir { path } => {
                let inside = |name: &String| match name.rsplit_once('/') {
                    Some((dir, _)) => dir == path,
                    None => path == ".",
                };
                self.durable_names.retain(|name, _| !inside(name));
                let now = self
                    .names
                    .iter()
                    .filter(|(name, _)| inside(name))
                    .map(|(name, inode)| (name.clone(), *inode));
                self.durable_names.extend(now);
            }
        }
        Ok(DiskReply::Done)
    }

    fn append(&mut self, file: FileId, bytes: &[u8]) {
        let Some(&(inode, mode)) = self.open.get(&file.0) else {
            return;
        };
        assert_ne!(mode, OpenMode::Read);
        self.inodes[inode].cached.extend_from_slice(bytes);
    }
}
