//! Carrying persistence's wishes to the other parts, and their news to it: files, what was loaded, saving.

use alloc::string::String;

use super::load::loader;
use super::snapshot::Reader;
use super::{DiskOwner, Engine};
use crate::client::Blocked;
use crate::command::context::{Parts, Wish, condition};
use crate::config::{AppendFsync, Config};
use crate::face::{Effect, LogLevel, Now, Refusal, Status};
use crate::persistence::{Action, Fsync, SavePoint, Settings, Source};
use crate::replication::{Filter, RdbInfo, ReplId};

/// Digits of the run's name that tell its temporary files from those of others.
const TOKEN_DIGITS: usize = 8;

/// What persistence reads of the configuration.
pub(crate) fn settings(config: &Config, run_id: &[u8; 40]) -> Settings {
    Settings {
        append_only: config.appendonly,
        append_filename: config.appendfilename.clone(),
        append_dirname: config.appenddirname.clone(),
        fsync: match config.appendfsync {
            AppendFsync::Always => Fsync::Always,
            AppendFsync::EverySec => Fsync::EverySec,
            AppendFsync::No => Fsync::No,
        },
        no_fsync_on_rewrite: config.no_appendfsync_on_rewrite,
        aof_rewrite_percentage: u64::from(config.auto_aof_rewrite_percentage),
        aof_rewrite_min_size: config.auto_aof_rewrite_min_size,
        load_truncated: config.aof_load_truncated,
        aof_use_rdb_preamble: config.aof_use_rdb_preamble,
        aof_timestamps: config.aof_timestamp_enabled,
        aof_rewrite_incremental_fsync: config.aof_rewrite_incremental_fsync,
        db_filename: config.dbfilename.clone(),
        rdb_save_incremental_fsync: config.rdb_save_incremental_fsync,
        rdb_checksum: config.rdbchecksum,
        save_points: config
            .save
            .0
            .iter()
            .map(|p| SavePoint {
                seconds: p.seconds,
                changes: u64::from(p.changes),
            })
            .collect(),
        stop_writes_on_save_error: config.stop_writes_on_bgsave_error,
        dir: config.dir.0.clone(),
        token: String::from_utf8_lossy(&run_id[..TOKEN_DIGITS]).into_owned(),
        redis_version: crate::REDIS_VERSION,
    }
}

/// Why the oldest change of the configuration that has no answer cannot be: another server has the append-only
/// file that it names.
pub(super) fn refused(parts: &mut Parts) -> Option<Refusal> {
    let names = &parts.told.front()?.names;
    let name = ["appendonly", "dir"]
        .into_iter()
        .find(|name| names.contains(name))?;
    let why = parts.persistence.take_lock_refusal()?;
    let reason = match name {
        "appendonly" => "Unable to turn on AOF. Check server logs.".into(),
        _ => why,
    };
    Some(Refusal { name, reason })
}

impl Engine {
    /// Carries out what persistence wants, until it wants nothing more. True if there was anything.
    pub(super) fn settle_persistence(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some(action) = self.parts.persistence.poll_action() {
            any = true;
            self.persistence_action(now, action);
        }
        any
    }

    fn persistence_action(&mut self, now: Now, action: Action) {
        let parts = &mut self.parts;
        match action {
            Action::Disk(request) => self.disk(DiskOwner::Persistence, request),
            Action::Log { level, text } => parts.log(level, text),
            Action::Loaded if self.reload.is_some() => self.reloaded(),
            Action::Loaded => self.loaded(now),
            Action::Ready => self.ready(now),
            Action::LoadFailed if self.reload.is_some() => self.reload_failed(),
            Action::LoadFailed | Action::Exit => parts.outbox.push_back(Effect::Exit { code: 1 }),
            // What cannot begin now stays due, or scheduled.
            Action::WantRewrite if self.snapshot_under_way() || self.shutdown.is_some() => {}
            Action::WantRewrite => self.begin_rewrite(now),
            Action::WantSave if self.shutdown.is_some() => {}
            Action::WantSave => {
                self.begin_save(now, true);
            }
            Action::RewriteAborted => self.cancel_snapshot(Reader::Base),
            Action::RewriteDone => {}
            Action::SaveAborted => {
                self.cancel_snapshot(Reader::File);
                self.save_ended(now, false);
            }
            Action::SaveDone => {
                self.save_ended(now, true);
            }
        }
    }

    /// Begins a snapshot into the file; false if one is under way.
    pub(super) fn begin_save(&mut self, now: Now, background: bool) -> bool {
        let changes = self.parts.changes;
        if self.snapshot_under_way() || !self.parts.persistence.begin_save(now, background, changes)
        {
            return false;
        }
        self.begin_snapshot(now, Reader::File, Filter::ALL)
    }

    /// FLUSHALL: ends a snapshot of what there was, and replaces the file if there are save points.
    pub(super) fn emptied(&mut self, now: Now) {
        if self.parts.is(condition::LOADING) {
            return;
        }
        if self.parts.persistence.saving_in_background() {
            self.parts.persistence.abort_save();
            // The old one's end is not to be taken for the new one's.
            self.settle_persistence(now);
        }
        if !self.parts.config.save.0.is_empty() {
            self.grant(now, Wish::Save);
        }
    }

    /// Begins to rewrite the append-only file as a client asked; later, if a snapshot is under way.
    pub(super) fn begin_rewrite(&mut self, now: Now) {
        if self.snapshot_under_way() {
            return self.parts.persistence.schedule_rewrite();
        }
        let parts = &mut self.parts;
        parts.journal.seal();
        let (at, db) = (parts.journal.sealed(), parts.journal.db());
        if parts.persistence.begin_rewrite(now, at, db) {
            self.begin_snapshot(now, Reader::Base, Filter::ALL);
        }
    }

    /// A snapshot file is complete, or will not be.
    fn save_ended(&mut self, now: Now, ok: bool) {
        for conn in self.parts.blocked.clone() {
            let Some(session) = self.parts.clients.get_mut(conn) else {
                continue;
            };
            if matches!(session.blocked.as_deref(), Some(Blocked::Save)) {
                if ok {
                    session.out.ok();
                    self.parts.unblock(conn);
                } else {
                    self.parts.fail(conn, "ERR");
                }
            }
        }
        self.parts.unblock_all(&Blocked::Paused, |_| {});
        self.sync_file_saved(now, ok);
        self.reload_saved(now, ok);
        self.shutdown_saved(ok);
    }

    /// All data is there; the append-only file is opened next.
    fn loaded(&mut self, now: Now) {
        let parts = &mut self.parts;
        crate::command::libraries::refresh(parts);
        let found = parts.persistence.loaded_replication().clone();
        // With an append-only file, what was loaded is more than what its base names.
        if !parts.config.appendonly
            && let (Some(id), Some(offset), Some(db)) = (found.id, found.offset, found.selected_db)
            && let (Some(replid), Ok(stream_db)) = (ReplId::parse(id.as_bytes()), u32::try_from(db))
        {
            parts.replication.restored(
                now,
                &mut parts.journal,
                RdbInfo {
                    stream_db,
                    replid,
                    offset,
                },
            );
        }
        let overdue = core::mem::take(&mut self.applier).overdue;
        parts.effects.wanted = parts.replication.wants_journal() && !parts.replication.following();
        for (db, key) in overdue {
            parts.effects.begin();
            parts.effects.also(db, &[b"DEL", &key]);
            parts.effects.end(&mut parts.journal, db, false, &[], None);
        }
        let at = parts.journal.end();
        parts.persistence.open(now, at, parts.changes);
    }

    /// Start-up is over.
    fn ready(&mut self, now: Now) {
        self.loader = None;
        self.parts.set(condition::LOADING, false);
        if !self.parts.replication.following() {
            // The append-only file may go on where an earlier process was in any database.
            self.parts.journal.forget_db();
        }
        self.reconcile_cluster(now);
        self.parts
            .log(LogLevel::Notice, "Ready to accept connections");
        let replica = self.parts.replication.following();
        self.parts
            .outbox
            .push_back(Effect::Status(Status::Ready { replica }));
    }

    /// Reads the files that hold the data.
    pub(super) fn begin_load(&mut self, now: Now) {
        self.loader = Some(loader(now));
        self.parts.set(condition::LOADING, true);
        self.parts.persistence.begin_load(now, Source::Configured);
    }

    /// Lets replies go that waited for the disk.
    pub(super) fn release_durable(&mut self) {
        let durable = if self.parts.is(condition::STRICT) {
            self.parts.persistence.durable_offset()
        } else {
            u64::MAX
        };
        // Also when nothing became durable: a read may wait for an offset that was reached before.
        self.parts.clients.release(durable);
    }
}
