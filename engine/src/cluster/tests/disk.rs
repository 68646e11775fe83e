//! The disk of a host: it forgets at a crash what was not synced.

use crate::{DiskError, DiskErrorKind, DiskReply, DiskRequest, FileId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// A disk: names lead to inodes; a crash takes back names and bytes that were not synced.
#[derive(Default)]
pub struct Disk {
    inodes: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    open: BTreeMap<u32, usize>,
    /// Whether it is full.
    pub failing: bool,
    pub slow_ms: u64,
    pub requests: u64,
}

impl Disk {
    pub fn empty() -> Disk {
        Disk {
            slow_ms: 1,
            ..Disk::default()
        }
    }

    pub fn carry_out(&mut self, request: DiskRequest) -> Result<DiskReply, DiskError> {
        self.requests += 1;
        if self.failing {
            return Err(DiskError {
                kind: DiskErrorKind::NoSpace,
                written: 0,
                message: "No space left on device".into(),
            });
        }
        match request {
            DiskRequest::Open {
                file: FileId(file),
                path,
                ..
            } => {
                assert!(file >= 0x1_0000);
                self.inodes.push(Default::default());
                self.names.insert(path, self.inodes.len() - 1);
                self.open.insert(file, self.inodes.len() - 1);
                Ok(DiskReply::Opened { len: 0 })
            }
            DiskRequest::Write {
                file: FileId(file),
                data,
            } => {
                data.iter()
                    .for_each(|bytes| self.inodes[self.open[&file]].0.extend_from_slice(bytes));
                Ok(DiskReply::Done)
            }
            DiskRequest::Sync { file: FileId(file) } => {
                let inode = &mut self.inodes[self.open[&file]];
                inode.1 = inode.0.clone();
                Ok(DiskReply::Done)
            }
            DiskRequest::Close { file: FileId(file) } => {
                self.open.remove(&file).expect("an open file");
                Ok(DiskReply::Done)
            }
            DiskRequest::Rename { from, to } => {
                let inode = self.names.remove(&from).expect("the temporary file");
                self.names.insert(to, inode);
                Ok(DiskReply::Done)
            }
            DiskRequest::SyncDir { .. } => {
                self.durable_names = self.names.clone();
                Ok(DiskReply::Done)
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// A crash; the kernel may have written the directory by itself.
    pub fn crash(&mut self, names_survive: bool) {
        if !names_survive {
            self.names = self.durable_names.clone();
        }
        self.durable_names = self.names.clone();
        self.open.clear();
        for (bytes, synced) in &mut self.inodes {
            *bytes = synced.clone();
        }
    }

    pub fn nodes_conf(&self) -> Option<String> {
        let inode = self.names.get("nodes.conf")?;
        Some(String::from_utf8(self.inodes[*inode].0.clone()).unwrap())
    }
}
