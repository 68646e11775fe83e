//! Where users come from: the configuration, and the ACL file, which is read at the start, by ACL LOAD, and written
//! by ACL SAVE: beside the old one, made durable, and put in its place. One after the other; a client waits for each.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{DiskOwner, Engine};
use crate::acl::Acl;
use crate::client::{Blocked, alert, limits};
use crate::command::acl::{all_channels, warn_of_first_args};
use crate::command::permission;
use crate::face::{
    ConnId, DiskError, DiskReply, DiskRequest, Effect, FileId, LogLevel, Now, OpenMode,
};

/// The name of either file while it is open.
const FILE: FileId = FileId(0x2_0002);

/// Bytes that are read at a time.
const PIECE: u32 = 1 << 20;

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Read it before anything else.
    Boot,
    /// Read it for a client.
    Load(ConnId),
    /// Write it for a client.
    Save(ConnId),
}

/// What the next answer of the disk is to.
#[derive(Debug)]
enum Step {
    OpenOld,
    /// The text so far.
    Read(Vec<u8>),
    CloseOld(Vec<u8>),
    OpenNew,
    Write,
    Sync,
    Close,
    Rename,
    SyncDir,
    /// The file is closed because something went wrong: in doing what, and what.
    GiveUp(&'static str, String),
}

/// What is to be done with the file, in order; the first is under way if there is a step.
#[derive(Debug, Default)]
pub(super) struct AclFile {
    jobs: VecDeque<Job>,
    step: Option<Step>,
}

impl Engine {
    /// Takes the users that the configuration declares; or reads the file that holds them, and until then nobody is
    /// served. False if there is nothing to wait for.
    pub(super) fn begin_users(&mut self) -> bool {
        let parts = &mut self.parts;
        let acl = &mut parts.acl;
        acl.set_default_password(&parts.config.requirepass);
        let in_file = !parts.config.aclfile.is_empty();
        if in_file && !parts.config.users.is_empty() {
            parts.log(
                LogLevel::Warning,
                "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
                 invalid. This setup is very likely to lead to configuration errors and security holes, please define \
                 either an ACL file or declare users directly in your redis.conf, but not both.",
            );
            parts.outbox.push_back(Effect::Exit { code: 1 });
            return true;
        }
        let declared = acl.declare(&parts.config.users);
        let users = parts.config.users.clone();
        warn_of_first_args(parts, users.iter().flatten().map(Vec::as_slice));
        match declared {
            Ok(notes) => notes
                .into_iter()
                .for_each(|n| parts.log(LogLevel::Notice, n)),
            Err(why) => {
                parts.log(LogLevel::Warning, String::from_utf8_lossy(&why.0));
                let last = "Critical error while loading ACLs. Exiting.";
                parts.log(LogLevel::Warning, last);
                parts.outbox.push_back(Effect::Exit { code: 1 });
                return true;
            }
        }
        if in_file {
            parts.acl.lock();
            parts.reloading = true;
            self.use_acl_file(Job::Boot);
        }
        in_file
    }

    /// ACL LOAD or ACL SAVE, after those asked for before.
    pub(super) fn acl_file(&mut self, conn: ConnId, save: bool) {
        self.use_acl_file(if save {
            Job::Save(conn)
        } else {
            Job::Load(conn)
        });
    }

    fn use_acl_file(&mut self, job: Job) {
        self.acl_file.jobs.push_back(job);
        if self.acl_file.step.is_none() {
            self.begin_acl_job();
        }
    }

    fn begin_acl_job(&mut self) {
        let path = self.parts.config.aclfile.clone();
        let (step, path, mode) = match self.acl_file.jobs.front() {
            None => return,
            Some(Job::Save(_)) => (Step::OpenNew, temporary(&path), OpenMode::Create),
            Some(Job::Boot | Job::Load(_)) => (Step::OpenOld, path, OpenMode::Read),
        };
        let file = FILE;
        self.acl_step(step, DiskRequest::Open { file, path, mode });
    }

    fn acl_step(&mut self, step: Step, request: DiskRequest) {
        self.acl_file.step = Some(step);
        self.disk(DiskOwner::AclFile, request);
    }

    /// The disk's answer.
    pub(super) fn acl_answer(&mut self, now: Now, result: Result<DiskReply, DiskError>) {
        let Some(step) = self.acl_file.step.take() else {
            return;
        };
        let path = self.parts.config.aclfile.clone();
        match (step, result) {
            (Step::OpenOld, Ok(_)) => self.read_acl(Vec::new()),
            (Step::OpenOld, Err(error)) => {
                let why = format!(
                    "Error loading ACLs, opening file '{path}': {}",
                    error.message
                );
                self.acl_read(now, Err(why.into_bytes()));
            }
            (Step::Read(text), Ok(DiskReply::Data(piece))) if piece.is_empty() => {
                self.acl_step(Step::CloseOld(text), DiskRequest::Close { file: FILE });
            }
            (Step::Read(mut text), Ok(DiskReply::Data(piece))) => {
                text.extend(piece);
                self.read_acl(text);
            }
            (Step::CloseOld(text), _) => {
                let parts = &mut self.parts;
                parts.acl.all_channels = all_channels(&parts.config);
                let loaded = parts.acl.load(&text, &path);
                self.acl_read(now, loaded);
            }
            (Step::OpenNew, Ok(_)) => {
                let data = Vec::from([Bytes::from(self.parts.acl.text())]);
                self.acl_step(Step::Write, DiskRequest::Write { file: FILE, data });
            }
            (Step::Write, Ok(_)) => self.acl_step(Step::Sync, DiskRequest::Sync { file: FILE }),
            (Step::Sync, Ok(_)) => self.acl_step(Step::Close, DiskRequest::Close { file: FILE }),
            (Step::Close, Ok(_)) => {
                let from = temporary(&path);
                self.acl_step(Step::Rename, DiskRequest::Rename { from, to: path });
            }
            (Step::Rename, Ok(_)) => {
                let path = super::rewrite::directory(&path).into();
                self.acl_step(Step::SyncDir, DiskRequest::SyncDir { path });
            }
            (Step::SyncDir, Ok(_)) => self.acl_saved(None),
            (Step::GiveUp(doing, why), _) => match self.acl_file.jobs.front() {
                Some(Job::Save(_)) => self.acl_saved(Some((doing, why))),
                _ => {
                    let why = format!("Error loading ACLs, {doing} '{path}': {why}");
                    self.acl_read(now, Err(why.into_bytes()));
                }
            },
            (Step::OpenNew, Err(error)) => self.acl_saved(Some(("Opening temp", error.message))),
            (Step::Rename | Step::SyncDir | Step::Close, Err(error)) => {
                self.acl_saved(Some(("Renaming", error.message)));
            }
            // The open file must not stay so.
            (step, result) => {
                let doing = match step {
                    Step::Read(_) => "reading file",
                    _ => "Writing",
                };
                let why = result
                    .err()
                    .map_or("unexpected answer".into(), |e| e.message);
                self.acl_step(Step::GiveUp(doing, why), DiskRequest::Close { file: FILE });
            }
        }
    }

    fn read_acl(&mut self, text: Vec<u8>) {
        let read = DiskRequest::Read {
            file: FILE,
            offset: text.len() as u64,
            len: PIECE,
        };
        self.acl_step(Step::Read(text), read);
    }

    /// The file was read: its users have replaced those before, or nothing has changed.
    fn acl_read(&mut self, now: Now, loaded: Result<Vec<crate::acl::UserId>, Vec<u8>>) {
        let parts = &mut self.parts;
        let job = self.acl_file.jobs.pop_front();
        match (job, loaded) {
            (Some(Job::Boot), Ok(_)) => {
                self.admit();
                self.parts.reloaded();
                self.begin_data(now);
            }
            (Some(Job::Boot), Err(why)) => {
                let why = String::from_utf8_lossy(&why);
                let text = format!("Aborting Redis startup because of ACL errors: {why}");
                parts.log(LogLevel::Warning, text);
                parts.outbox.push_back(Effect::Exit { code: 1 });
            }
            (Some(Job::Load(conn)), Ok(gone)) => {
                // Who asked has the answer before it goes, if it goes.
                let mut asking = parts.clients.take(conn);
                permission::expel(parts, asking.as_deref_mut(), &gone);
                asking.into_iter().for_each(|s| parts.clients.put(s));
                permission::settle_all(parts, None);
                self.acl_done(conn, None);
            }
            (Some(Job::Load(conn)), Err(why)) => {
                self.acl_done(conn, Some([b"ERR ", &*why].concat()));
            }
            (Some(Job::Save(_)) | None, _) => {}
        }
        self.begin_acl_job();
    }

    fn acl_saved(&mut self, error: Option<(&str, String)>) {
        let Some(Job::Save(conn)) = self.acl_file.jobs.pop_front() else {
            return;
        };
        let error = error.map(|(doing, why)| {
            let text = format!("{doing} ACL file for ACL SAVE: {why}");
            self.parts.log(LogLevel::Warning, text);
            b"ERR There was an error trying to save the ACLs. Please check the server logs for more information"
                .to_vec()
        });
        self.acl_done(conn, error);
        self.begin_acl_job();
    }

    /// Tells a client how it went, if it still waits.
    fn acl_done(&mut self, conn: ConnId, error: Option<Vec<u8>>) {
        let parts = &mut self.parts;
        let waits = (parts.clients.get_mut(conn))
            .filter(|session| session.blocked.as_deref() == Some(&Blocked::AclFile));
        match (waits, error) {
            (Some(session), None) => {
                session.out.ok();
                parts.unblock(conn);
            }
            (Some(_), Some(error)) => parts.fail(conn, crate::resp::error_text(&[&error])),
            (None, Some(error)) => {
                let text = String::from_utf8_lossy(&error);
                parts.log(LogLevel::Warning, format!("The ACL file: {text}"));
            }
            (None, None) => {}
        }
    }

    /// Now that the users are known, those who came before are received; but who may not stay without a password
    /// has to go.
    fn admit(&mut self) {
        let parts = &mut self.parts;
        let open = parts.acl.is_open();
        for conn in parts.clients.conns() {
            let Some(session) = parts.clients.get_mut(conn) else {
                continue;
            };
            permission::begin(&parts.acl, session);
            if let Some(error) = limits::exposure(&parts.config, open, &session.peer) {
                session.out.error(error);
                session.set(alert::CLOSING, true);
                parts.stats.rejected_connections += 1;
                parts.clients.queue_output(conn);
            }
        }
    }
}

/// The users at the start.
pub(super) fn new(config: &crate::config::Config, index: &crate::command::table::Index) -> Acl {
    Acl::new(index.catalogue(), all_channels(config))
}

fn temporary(path: &str) -> String {
    format!("{path}.tmp")
}
