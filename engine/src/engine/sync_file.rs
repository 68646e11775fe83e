//! A full synchronisation by way of a file (`repl-diskless-sync no`, or a replica that must know the length first):
//! a save like any other, whose file is then read and sent, a piece at a time, as fast as the replicas take it.
//!
//! ```text
//! save ─ open ─ its length goes ahead ─┬─ read ─ send ─┐
//!                                      └───────────────┴─ close (and delete: `rdb-del-sync-files`)
//! ```
//!
//! Who writes another snapshot meanwhile puts another file in its place: this one stays what it is while it is open.

use super::snapshot::REPLICA_AHEAD;
use super::{DiskOwner, Engine};
use crate::face::{DiskError, DiskReply, DiskRequest, FileId, LogLevel, Now, OpenMode};
use alloc::format;
use alloc::string::String;

/// The file's name while it is open.
const FILE: FileId = FileId(0x2_0003);

/// Bytes of one read.
const PIECE: u64 = 64 << 10;

/// A snapshot file on its way to replicas.
#[derive(Debug)]
pub(super) struct SyncFile {
    /// The file, by the name that it had in the configuration when the save began.
    path: String,
    stage: Stage,
    /// Nobody wants it any more: it is to be closed.
    unwanted: bool,
}

#[derive(Debug)]
enum Stage {
    Saving,
    Opening,
    /// From here on it is to be sent, up to its length.
    Sending {
        at: u64,
        len: u64,
        /// A piece is being read.
        reading: bool,
    },
}

impl Engine {
    /// Begins a save for replicas. False if a snapshot is under way, or a file is still on its way.
    pub(super) fn begin_sync_file(&mut self, now: Now) -> bool {
        if self.sync_file.is_some() || !self.begin_save(now, true) {
            return false;
        }
        self.sync_file = Some(SyncFile {
            path: self.parts.config.dbfilename.clone(),
            stage: Stage::Saving,
            unwanted: false,
        });
        true
    }

    /// Whether a save that is under way is for replicas.
    pub(super) fn saves_for_replicas(&self) -> bool {
        let saving = |sync: &SyncFile| matches!(sync.stage, Stage::Saving);
        self.sync_file.as_ref().is_some_and(saving)
    }

    /// The replicas are gone. A save goes on: it is as good as any.
    pub(super) fn cancel_sync_file(&mut self) {
        let Some(sync) = &mut self.sync_file else {
            return;
        };
        match sync.stage {
            Stage::Saving => self.sync_file = None,
            Stage::Opening | Stage::Sending { reading: true, .. } => sync.unwanted = true,
            Stage::Sending { .. } => self.close_sync_file(),
        }
    }

    /// A save is complete, or failed.
    pub(super) fn sync_file_saved(&mut self, now: Now, ok: bool) {
        if !self.saves_for_replicas() {
            return;
        }
        if !ok {
            return self.sync_file_fails(now);
        }
        let Some(sync) = &mut self.sync_file else {
            return;
        };
        sync.stage = Stage::Opening;
        let request = DiskRequest::Open {
            file: FILE,
            path: sync.path.clone(),
            mode: OpenMode::Read,
        };
        self.disk(DiskOwner::SyncFile, request);
    }

    /// The disk did what was asked of it with the file.
    pub(super) fn sync_file_answer(&mut self, now: Now, result: Result<DiskReply, DiskError>) {
        let Some(sync) = &mut self.sync_file else {
            // Invariant: what is asked for on behalf of a file is answered before the file is forgotten.
            return;
        };
        let parts = &mut self.parts;
        match (&mut sync.stage, result) {
            (_, Err(error)) => {
                let (opening, unwanted) = (matches!(sync.stage, Stage::Opening), sync.unwanted);
                let what = if opening { "Opening" } else { "Reading" };
                let text = format!("{what} the DB file for synchronization: {}", error.message);
                parts.log(LogLevel::Warning, text);
                if !opening {
                    self.close_sync_file();
                }
                self.sync_file = None;
                if !unwanted {
                    self.sync_file_fails(now);
                }
            }
            (_, Ok(_)) if sync.unwanted => self.close_sync_file(),
            (Stage::Opening, Ok(DiskReply::Opened { len })) => {
                sync.stage = Stage::Sending {
                    at: 0,
                    len,
                    reading: false,
                };
                (parts.replication).snapshot_size(now, &mut parts.journal, len);
            }
            (Stage::Sending { at, len, reading }, Ok(DiskReply::Data(piece))) => {
                *reading = false;
                *at += piece.len() as u64;
                let (short, done) = (piece.is_empty(), *at >= *len);
                (parts.replication).snapshot_chunk(now, &mut parts.journal, &piece.into());
                if done || short {
                    self.close_sync_file();
                    let parts = &mut self.parts;
                    (parts.replication).snapshot_ended(now, &mut parts.journal, done);
                }
            }
            (_, Ok(_)) => {}
        }
    }

    /// Reads the next piece, if the replicas have taken what they were sent.
    pub(super) fn sync_file_step(&mut self) {
        let behind = || self.parts.replication.snapshot_pending() > REPLICA_AHEAD;
        let Some(SyncFile {
            stage: Stage::Sending { at, len, reading },
            ..
        }) = &mut self.sync_file
        else {
            return;
        };
        if *reading || behind() {
            return;
        }
        *reading = true;
        let request = DiskRequest::Read {
            file: FILE,
            offset: *at,
            len: PIECE.min(*len - *at) as u32,
        };
        self.disk(DiskOwner::SyncFile, request);
    }

    fn sync_file_fails(&mut self, now: Now) {
        self.sync_file = None;
        let parts = &mut self.parts;
        (parts.replication).snapshot_ended(now, &mut parts.journal, false);
    }

    fn close_sync_file(&mut self) {
        let Some(SyncFile { path, .. }) = self.sync_file.take() else {
            return;
        };
        self.disk(DiskOwner::Nobody, DiskRequest::Close { file: FILE });
        let config = &self.parts.config;
        if config.rdb_del_sync_files && !config.appendonly && config.save.0.is_empty() {
            self.disk(DiskOwner::Nobody, DiskRequest::Remove { path });
        }
    }
}
