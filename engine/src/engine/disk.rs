//! Who asked the disk for what, and the first of all: what is read before the data.

use alloc::string::String;
use alloc::vec::Vec;

use super::Engine;
use crate::command::context::condition;
use crate::face::{
    DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, FileId, LogLevel, Now, OpId, OpenMode,
};
use crate::planted::{self, Bug};

/// The name of the file that is read before all others.
const BOOT_FILE: FileId = FileId(0x2_0000);

/// Who asked the disk for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskOwner {
    /// ACL LOAD and ACL SAVE.
    AclFile,
    /// The start.
    Boot,
    /// The cluster.
    Cluster,
    /// CONFIG REWRITE.
    ConfigFile,
    /// What comes of it does not matter.
    Nobody,
    /// Persistence.
    Persistence,
    /// A snapshot file on its way to replicas.
    SyncFile,
}

/// Reading what comes before the data: the ACL file, nodes.conf.
#[derive(Debug)]
pub(super) enum Boot {
    /// The users come first.
    Users,
    /// nodes.conf is being opened.
    Open,
    /// It is being read.
    Read,
    /// It has been read, and is being closed.
    Close(Vec<u8>),
}

impl Engine {
    /// Asks the disk for something.
    pub(super) fn disk(&mut self, owner: DiskOwner, request: DiskRequest) {
        let forgotten = match &request {
            DiskRequest::Sync { .. } => match owner {
                DiskOwner::Persistence => planted::is(Bug::ForgetsSync),
                DiskOwner::Cluster => planted::is(Bug::ForgetsClusterSync),
                DiskOwner::AclFile
                | DiskOwner::Boot
                | DiskOwner::ConfigFile
                | DiskOwner::Nobody
                | DiskOwner::SyncFile => false,
            },
            DiskRequest::SyncDir { .. } => planted::is(Bug::ForgetsSyncDir),
            _ => false,
        };
        // (Making a directory that is there does nothing, successfully.)
        let request = if forgotten {
            DiskRequest::MakeDir { path: ".".into() }
        } else {
            request
        };
        self.last_op += 1;
        let event = self.event_of(owner, &request);
        self.disk_owners.push_back((owner, event));
        self.parts.outbox.push_back(Effect::Disk {
            op: OpId(self.last_op),
            request,
        });
    }

    /// The disk answered the oldest request.
    pub(super) fn disk_answer(&mut self, now: Now, result: Result<DiskReply, DiskError>) {
        match self.disk_owners.pop_front().map(|(owner, _)| owner) {
            None | Some(DiskOwner::Nobody) => {}
            Some(DiskOwner::AclFile) => self.acl_answer(now, result),
            Some(DiskOwner::Boot) => self.boot_answer(now, result),
            Some(DiskOwner::Cluster) => {
                self.with_cluster(now, |cluster| cluster.on_disk(now, result))
            }
            Some(DiskOwner::ConfigFile) => self.config_answer(result),
            Some(DiskOwner::SyncFile) => self.sync_file_answer(now, result),
            Some(DiskOwner::Persistence) => {
                self.parts.persistence.on_disk(now, result);
                self.answer_reconfigured();
            }
        }
    }

    /// Begins to read what there is: the users, nodes.conf in cluster mode, then the data.
    pub(super) fn boot(&mut self) {
        self.parts.set(condition::LOADING, true);
        self.boot = Some(Boot::Users);
        if !self.begin_users() {
            self.begin_data(self.now);
        }
    }

    /// Begins to read nodes.conf in cluster mode, then the data.
    pub(super) fn begin_data(&mut self, now: Now) {
        self.boot = None;
        if self.parts.cluster.is_none() {
            return self.begin_load(now);
        }
        self.boot = Some(Boot::Open);
        let path = self.parts.config.cluster_config_file.clone();
        self.disk(
            DiskOwner::Boot,
            DiskRequest::Open {
                file: BOOT_FILE,
                path,
                mode: OpenMode::Read,
            },
        );
    }

    fn boot_answer(&mut self, now: Now, result: Result<DiskReply, DiskError>) {
        let file = BOOT_FILE;
        let text = match (self.boot.take(), result) {
            (Some(Boot::Open), Ok(DiskReply::Opened { len })) => {
                self.boot = Some(Boot::Read);
                let len = len.min(u64::from(u32::MAX)) as u32;
                return self.disk(
                    DiskOwner::Boot,
                    DiskRequest::Read {
                        file,
                        offset: 0,
                        len,
                    },
                );
            }
            (Some(Boot::Open), Err(error)) if error.kind == DiskErrorKind::NotFound => None,
            (Some(Boot::Read), Ok(DiskReply::Data(bytes))) => {
                self.boot = Some(Boot::Close(bytes));
                return self.disk(DiskOwner::Boot, DiskRequest::Close { file });
            }
            (Some(Boot::Close(bytes)), _) => Some(bytes),
            (_, Err(error)) => {
                let path = &self.parts.config.cluster_config_file;
                let text = alloc::format!(
                    "Loading the cluster node config from {path}: {}",
                    error.message
                );
                self.parts.log(LogLevel::Warning, text);
                return self.parts.outbox.push_back(Effect::Exit { code: 1 });
            }
            _ => return,
        };
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.start_cluster(now, text.as_deref());
        self.begin_load(now);
    }
}
