//! The rows of disk operations that change the file set, and what they say when they fail.

use super::super::manifest::Manifest;
use super::super::{Settings, file, lock};
use crate::face::{DiskRequest, FileId, Now, OpenMode};
use crate::rdb;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use bytes::Bytes;

/// A step of a chain, for the log line when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    MakeDir,
    Lock,
    OpenIncrement,
    SyncIncrement,
    Base,
    RenameBase,
    RenameIncrement,
    SyncFiles,
    RemoveHistory,
    OpenManifest,
    WriteManifest,
    SyncManifest,
    RenameManifest,
    SyncDir,
}

/// What a chain is for, with what it needs when it ends.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Opening at the start of the server.
    Start {
        target: Manifest,
        file: FileId,
        path: String,
        offset: u64,
        created: bool,
        last: u64,
        before_last: Option<(u64, u64)>,
    },
    /// The next increment takes over at this journal offset.
    Rotate {
        target: Manifest,
        file: FileId,
        path: String,
        at: u64,
        db: Option<u32>,
    },
    /// The new base replaces the old files.
    Switch {
        target: Manifest,
        base_path: String,
        base_len: u64,
        increment_path: Option<String>,
    },
    /// The manifest without history.
    Cleanup { target: Manifest },
    /// The directory made and the file locked, because a CONFIG SET names it.
    Lock,
}

impl Purpose {
    /// The manifest that it ends with, if it changes that.
    pub(super) fn target(&self) -> Option<&Manifest> {
        match self {
            Purpose::Start { target, .. }
            | Purpose::Rotate { target, .. }
            | Purpose::Switch { target, .. }
            | Purpose::Cleanup { target } => Some(target),
            Purpose::Lock => None,
        }
    }
}

pub(super) fn open(file: FileId, path: &str, mode: OpenMode) -> DiskRequest {
    DiskRequest::Open {
        file,
        path: path.into(),
        mode,
    }
}

/// Makes an empty increment and opens it for append, so that writing follows a truncation. A file of that
/// name may be left from a crash: it is emptied, durably, or its old content could come back.
pub(super) fn create_increment(file: FileId, path: &str) -> [(Step, DiskRequest); 4] {
    [
        (Step::OpenIncrement, open(file, path, OpenMode::Create)),
        (Step::OpenIncrement, DiskRequest::Sync { file }),
        (Step::OpenIncrement, DiskRequest::Close { file }),
        (Step::OpenIncrement, open(file, path, OpenMode::Append)),
    ]
}

/// Replaces the manifest: beside, synced, renamed, directory synced.
pub(in crate::persistence) fn manifest_requests(
    settings: &Settings,
    target: &Manifest,
) -> [DiskRequest; 6] {
    manifest_steps(settings, target).map(|(_, request)| request)
}

pub(super) fn manifest_steps(settings: &Settings, target: &Manifest) -> [(Step, DiskRequest); 6] {
    let (from, to) = (settings.temp_manifest_path(), settings.manifest_path());
    let data = vec![Bytes::from(target.format())];
    [
        (
            Step::OpenManifest,
            open(file::MANIFEST, &from, OpenMode::Create),
        ),
        (
            Step::WriteManifest,
            DiskRequest::Write {
                file: file::MANIFEST,
                data,
            },
        ),
        (
            Step::SyncManifest,
            DiskRequest::Sync {
                file: file::MANIFEST,
            },
        ),
        (
            Step::WriteManifest,
            DiskRequest::Close {
                file: file::MANIFEST,
            },
        ),
        (Step::RenameManifest, DiskRequest::Rename { from, to }),
        (
            Step::SyncDir,
            DiskRequest::SyncDir {
                path: settings.append_dirname.clone(),
            },
        ),
    ]
}

pub(super) fn empty_snapshot(now: Now, settings: &Settings) -> Bytes {
    let mut encoder = rdb::Encoder::new(rdb::Options {
        compress: true,
        checksum: settings.rdb_checksum,
    });
    encoder.begin(&rdb::Header {
        redis_version: settings.redis_version,
        ctime_s: now.unix_us / 1_000_000,
        used_memory: 0,
        replication: None,
        aof_base: true,
    });
    encoder.end();
    encoder.take()
}

pub(super) fn failure_text(
    step: Step,
    purpose: &Purpose,
    settings: &Settings,
    why: &str,
) -> String {
    let dir = &settings.append_dirname;
    let manifest = format!("{}.manifest", settings.append_filename);
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    let increment = match purpose {
        Purpose::Start { path, .. } | Purpose::Rotate { path, .. } => name(path),
        Purpose::Switch { increment_path, .. } => {
            increment_path.as_deref().map(name).unwrap_or_default()
        }
        Purpose::Cleanup { .. } | Purpose::Lock => String::new(),
    };
    match step {
        Step::MakeDir => format!("Can't open or create append-only dir {dir}: {why}"),
        Step::Lock => lock::refusal(settings, why),
        Step::OpenIncrement => format!("Can't open the append-only file {increment}: {why}"),
        Step::SyncIncrement => format!("Fail to fsync the AOF file: {why}"),
        Step::Base => format!("Write error writing append only file on disk: {why}"),
        Step::RenameBase => {
            let to = match purpose {
                Purpose::Switch { base_path, .. } => base_path.as_str(),
                _ => "its place",
            };
            let from = settings.temp_base_path();
            format!("Error trying to rename the temporary AOF base file {from} into {to}: {why}")
        }
        Step::RenameIncrement => {
            let from = settings.temp_increment_path();
            format!(
                "Error trying to rename the temporary AOF incr file {from} into {increment}: {why}"
            )
        }
        Step::OpenManifest => format!("Can't open the AOF manifest file temp-{manifest}: {why}"),
        Step::WriteManifest => {
            format!("Error trying to write the temporary AOF manifest file temp-{manifest}: {why}")
        }
        Step::SyncManifest => format!("Fail to fsync the temp AOF file temp-{manifest}: {why}."),
        Step::RenameManifest => {
            format!(
                "Error trying to rename the temporary AOF manifest file temp-{manifest} into {manifest}: {why}"
            )
        }
        Step::RemoveHistory => format!("Can't remove a history file of the AOF: {why}"),
        Step::SyncFiles | Step::SyncDir => format!("Fail to fsync AOF directory {dir}: {why}."),
    }
}
