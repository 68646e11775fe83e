//! CONFIG REWRITE: the old file is read, the new one written beside it, made durable and put in its place.
//! One rewrite at a time; a client waits for each.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{DiskOwner, Engine};
use crate::client::Blocked;
use crate::config::{Config, ReplicaOf, rewrite};
use crate::face::{
    ConnId, DiskError, DiskErrorKind, DiskReply, DiskRequest, FileId, LogLevel, OpenMode,
};

/// The name of either file while it is open.
const FILE: FileId = FileId(0x2_0001);

/// Longer configuration files are not read.
const MAX_BYTES: u32 = 16 << 20;

/// What the next answer of the disk is to.
#[derive(Debug)]
enum Step {
    OpenOld,
    ReadOld,
    CloseOld(Vec<u8>),
    OpenNew(Vec<u8>),
    Write,
    Sync,
    Close,
    Rename,
    SyncDir,
    /// The new file is closed because something went wrong.
    GiveUp(String),
}

/// The rewrites that were asked for; the first is under way if there is a step.
#[derive(Debug, Default)]
pub(super) struct Rewrites {
    /// Who asked, and whether everything is to be written.
    waiting: VecDeque<(ConnId, bool)>,
    step: Option<Step>,
}

/// The directory that a file is in.
pub(super) fn directory(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(end) => &path[..end],
        None => ".",
    }
}

impl Engine {
    /// Rewrites the configuration file, after those asked for before.
    pub(super) fn rewrite_config(&mut self, conn: ConnId, all: bool) {
        self.rewrites.waiting.push_back((conn, all));
        if self.rewrites.step.is_none() {
            self.begin_config_rewrite();
        }
    }

    fn begin_config_rewrite(&mut self) {
        if self.rewrites.waiting.is_empty() {
            return;
        }
        let path = self.parts.config.config_file.clone();
        self.config_step(
            Step::OpenOld,
            DiskRequest::Open {
                file: FILE,
                path,
                mode: OpenMode::Read,
            },
        );
    }

    fn config_step(&mut self, step: Step, request: DiskRequest) {
        self.rewrites.step = Some(step);
        self.disk(DiskOwner::ConfigFile, request);
    }

    /// The disk's answer.
    pub(super) fn config_answer(&mut self, result: Result<DiskReply, DiskError>) {
        let Some(step) = self.rewrites.step.take() else {
            return;
        };
        let path = self.parts.config.config_file.clone();
        let new_path = format!("{path}.rewrite.tmp");
        match (step, result) {
            (Step::OpenOld, Ok(DiskReply::Opened { len })) => {
                let len = len.min(u64::from(MAX_BYTES)) as u32;
                let read = DiskRequest::Read {
                    file: FILE,
                    offset: 0,
                    len,
                };
                self.config_step(Step::ReadOld, read);
            }
            (Step::OpenOld, Err(error)) if error.kind == DiskErrorKind::NotFound => {
                self.open_new_config(new_path, Vec::new());
            }
            (Step::ReadOld, Ok(DiskReply::Data(old))) => {
                self.config_step(Step::CloseOld(old), DiskRequest::Close { file: FILE });
            }
            (Step::CloseOld(old), Ok(_)) => self.open_new_config(new_path, old),
            (Step::OpenNew(text), Ok(_)) => {
                let data = Vec::from([Bytes::from(text)]);
                self.config_step(Step::Write, DiskRequest::Write { file: FILE, data });
            }
            (Step::Write, Ok(_)) => self.config_step(Step::Sync, DiskRequest::Sync { file: FILE }),
            (Step::Sync, Ok(_)) => self.config_step(Step::Close, DiskRequest::Close { file: FILE }),
            (Step::Close, Ok(_)) => {
                let rename = DiskRequest::Rename {
                    from: new_path,
                    to: path,
                };
                self.config_step(Step::Rename, rename);
            }
            (Step::Rename, Ok(_)) => {
                let path = directory(&path).into();
                self.config_step(Step::SyncDir, DiskRequest::SyncDir { path });
            }
            (Step::SyncDir, Ok(_)) => self.config_rewritten(None),
            (Step::GiveUp(reason), _) => self.config_rewritten(Some(reason)),
            // The open file must not stay so.
            (Step::ReadOld | Step::Write | Step::Sync, Err(error)) => {
                self.config_step(
                    Step::GiveUp(error.message),
                    DiskRequest::Close { file: FILE },
                );
            }
            (_, Err(error)) => self.config_rewritten(Some(error.message)),
            (_, Ok(_)) => self.config_rewritten(Some(String::from("unexpected answer"))),
        }
    }

    fn open_new_config(&mut self, path: String, old: Vec<u8>) {
        let all = self.rewrites.waiting.front().is_some_and(|w| w.1);
        let parts = &self.parts;
        let config = Config {
            replicaof: ReplicaOf(parts.replication.primary().map(|(h, p)| (h.into(), p))),
            ..parts.config.clone()
        };
        let users = config.aclfile.is_empty().then(|| parts.acl.lines());
        let text = rewrite::rewrite(&old, &config, users.as_deref(), all);
        let open = DiskRequest::Open {
            file: FILE,
            path,
            mode: OpenMode::Create,
        };
        self.config_step(Step::OpenNew(text), open);
    }

    /// A rewrite ended: its client learns how.
    fn config_rewritten(&mut self, error: Option<String>) {
        let Some((conn, _)) = self.rewrites.waiting.pop_front() else {
            return;
        };
        let parts = &mut self.parts;
        match &error {
            None => parts.log(LogLevel::Notice, "CONFIG REWRITE executed with success."),
            Some(error) => parts.log(LogLevel::Warning, format!("CONFIG REWRITE failed: {error}")),
        }
        if let Some(session) = parts.clients.get_mut(conn)
            && session.blocked.as_deref() == Some(&Blocked::ConfigRewrite)
        {
            match error {
                None => {
                    session.out.ok();
                    parts.unblock(conn);
                }
                Some(error) => parts.fail(conn, format!("ERR Rewriting config file: {error}")),
            }
        }
        self.begin_config_rewrite();
    }
}
