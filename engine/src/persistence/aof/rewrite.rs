//! The rewrite: when it is due, and its way from the old increment to the new base.

use super::super::aof_sum::{NOTE_BYTES, Sum};
use super::super::outbox::{Action, Outbox, Ticket};
use super::super::policy::{FAILURES_BEFORE_LIMIT, MAX_LIMIT_MINUTES};
use super::super::stream::{Stream, StreamOp, StreamProgress, StreamWait};
use super::super::{Fsync, Settings, file};
use super::steps::{Purpose, Step, create_increment, manifest_steps};
use super::{Aof, Rewrite, Stage, State, Wait};
use crate::face::{DiskError, DiskReply, DiskRequest, Now};
use alloc::format;
use bytes::Bytes;

impl Aof {
    /// Asks for a rewrite as soon as possible, failures before or not (BGREWRITEAOF).
    pub fn schedule(&mut self) {
        self.scheduled = true;
        self.figures.consecutive_failures = 0;
    }

    /// Whether a rewrite should begin now. Call it when no snapshot is being written.
    pub fn due(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) -> bool {
        if self.rewriting()
            || self.chain.is_some()
            || self.retry.is_some()
            || matches!(self.state, State::Closing | State::Starting)
        {
            return false;
        }
        if self.old_sync_error.is_some()
            || self
                .appender
                .as_ref()
                .is_some_and(|file| file.sync_error.is_some())
        {
            self.scheduled = true;
        }
        if self.scheduled {
            return !self.limited(now, outbox);
        }
        let size = self.current_size();
        let automatic = self.state == State::On && settings.aof_rewrite_percentage > 0;
        if !automatic || size <= settings.aof_rewrite_min_size {
            return false;
        }
        let growth = (size.saturating_mul(100) / self.figures.base_size.max(1)).saturating_sub(100);
        if growth < settings.aof_rewrite_percentage || self.limited(now, outbox) {
            return false;
        }
        outbox.notice(format!(
            "Starting automatic rewriting of AOF on {growth}% growth"
        ));
        true
    }

    pub(super) fn limited(&mut self, now: Now, outbox: &mut Outbox) -> bool {
        if self.figures.consecutive_failures < FAILURES_BEFORE_LIMIT {
            (self.limit_minutes, self.limit_until_ms) = (0, None);
            return false;
        }
        if let Some(until) = self.limit_until_ms {
            let wait = now.mono_ms() < until;
            if !wait {
                self.limit_until_ms = None;
            }
            return wait;
        }
        self.limit_minutes = (self.limit_minutes * 2).clamp(1, MAX_LIMIT_MINUTES);
        self.limit_until_ms = Some(now.mono_ms() + self.limit_minutes * 60_000);
        outbox.warn(format!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
            self.limit_minutes
        ));
        true
    }

    /// Begins a rewrite whose base is a snapshot as of the journal offset `at`, which must be its sealed end, in
    /// database `db`. False (and nothing done) while something else is under way.
    pub fn begin_rewrite(
        &mut self,
        now: Now,
        at: u64,
        db: Option<u32>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> bool {
        if self.rewriting()
            || self.chain.is_some()
            || self.retry.is_some()
            || matches!(self.state, State::Closing | State::Starting)
        {
            return false;
        }
        self.sealed = at;
        self.scheduled = false;
        self.figures.rewrites += 1;
        self.streams += 1;
        outbox.disk(
            DiskRequest::MakeDir {
                path: settings.append_dirname.clone(),
            },
            Ticket::Nobody,
        );
        let base_path = settings.temp_base_path();
        let wrap = |wait| Ticket::Aof(Wait::Base(wait));
        let incremental = settings.aof_rewrite_incremental_fsync;
        let base = Stream::start(
            self.streams,
            file::BASE,
            base_path.clone(),
            incremental,
            wrap,
            outbox,
        );
        if let Some(appender) = &mut self.appender {
            appender.limit = at;
        }
        outbox.notice("Background append only file rewriting started".into());
        let stage = if self.state == State::Off {
            Stage::Base
        } else {
            Stage::Drain
        };
        let started_ms = now.mono_ms();
        let rewrite = Rewrite {
            at,
            db,
            started_ms,
            base: Some(base),
            base_path,
            base_len: 0,
            commands: (!settings.aof_use_rdb_preamble).then(Sum::default),
            stage,
            doomed: false,
        };
        self.rewrite = Some(rewrite);
        self.step(now, settings, outbox);
        true
    }

    pub fn push_base(&mut self, piece: Bytes, outbox: &mut Outbox) {
        let Some(Rewrite { base, commands, .. }) = &mut self.rewrite else {
            return;
        };
        let Some(base) = base else { return };
        if let Some(sum) = commands {
            sum.update(&piece);
        }
        base.push(piece, outbox);
        if let Some(sum) = commands.as_mut().filter(|sum| sum.bytes() >= NOTE_BYTES) {
            base.push(sum.note().into(), outbox);
        }
    }

    pub fn end_base(&mut self, outbox: &mut Outbox) {
        let Some(Rewrite { base, commands, .. }) = &mut self.rewrite else {
            return;
        };
        let Some(base) = base else { return };
        if let Some(sum) = commands.as_mut().filter(|sum| sum.bytes() > 0) {
            base.push(sum.note().into(), outbox);
        }
        base.end(outbox);
    }

    /// Ends the rewrite at the caller's wish: no failure. While the files are not complete another follows.
    pub fn abort(&mut self, outbox: &mut Outbox) {
        if self.rewriting() {
            self.call_off(outbox);
            self.wait_anew(outbox);
        }
    }

    /// Without a base under way, what was collected since its start is of no use.
    pub(super) fn wait_anew(&mut self, outbox: &mut Outbox) {
        if self.state == State::Waiting {
            self.drop_waiting_increment(outbox);
            self.scheduled = true;
        }
    }

    pub(super) fn call_off(&mut self, outbox: &mut Outbox) {
        if let Some(mut rewrite) = self.rewrite.take() {
            if let Some(base) = rewrite.base.take() {
                base.abort(outbox);
            } else if rewrite.stage != Stage::Switch {
                outbox.disk(
                    DiskRequest::Remove {
                        path: rewrite.base_path,
                    },
                    Ticket::Nobody,
                );
            }
            if let Some(appender) = &mut self.appender {
                appender.limit = u64::MAX;
            }
            outbox.push(Action::RewriteAborted);
        }
    }

    pub(super) fn fail_rewrite(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(started_ms) = self.rewrite_started_ms() else {
            return;
        };
        self.call_off(outbox);
        self.figures.consecutive_failures += 1;
        self.figures.last_rewrite_failed = true;
        self.figures.last_rewrite_ms = Some(now.mono_ms() - started_ms);
        outbox.warn("Background AOF rewrite terminated with error".into());
        self.wait_anew(outbox);
    }

    /// Goes on with the rewrite as far as it can without the disk's answer.
    pub(super) fn step(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) {
        let Some(rewrite) = &self.rewrite else { return };
        if self.chain.is_some() || self.retry.is_some() {
            return;
        }
        if rewrite.doomed {
            return self.fail_rewrite(now, outbox);
        }
        match rewrite.stage {
            Stage::Drain => {
                if let Some(appender) = &mut self.appender {
                    if appender.write_error.is_some() && !appender.busy() {
                        return self.fail_rewrite(now, outbox);
                    }
                    if !appender.drained() || appender.sync_rest(now, outbox) {
                        return;
                    }
                }
                self.rotate(settings, outbox);
            }
            Stage::Base if rewrite.base.is_none() => {
                // Until now a crash would have lost the increment as a whole; from the switch on it counts.
                let (waiting, durable) = (self.state == State::Waiting, self.durable);
                if let Some(appender) = self.appender.as_mut().filter(|_| waiting) {
                    if appender.write_error.is_some() || appender.sync_error.is_some() {
                        return self.fail_rewrite(now, outbox);
                    }
                    let held = settings.fsync == Fsync::Always && !settings.no_fsync_on_rewrite;
                    let behind = held && appender.synced < durable;
                    if behind || appender.busy() || appender.sync_rest(now, outbox) {
                        return;
                    }
                }
                self.switch(settings, outbox);
            }
            Stage::Base | Stage::Rotate | Stage::Switch => {}
        }
    }

    pub(super) fn rotate(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let file = self.other_file();
        let Some(rewrite) = &mut self.rewrite else {
            return;
        };
        rewrite.stage = Stage::Rotate;
        let (at, db) = (rewrite.at, rewrite.db);
        let mut target = self.manifest.clone();
        let mut steps = self.dir_steps(settings);
        let path = if self.state == State::Waiting {
            let path = settings.temp_increment_path();
            steps.extend(create_increment(file, &path));
            path
        } else {
            let path = settings.aof_path(&target.add_increment(&settings.append_filename).name);
            steps.extend(create_increment(file, &path));
            steps.push((
                Step::SyncFiles,
                DiskRequest::SyncDir {
                    path: settings.append_dirname.clone(),
                },
            ));
            steps.extend(manifest_steps(settings, &target));
            path
        };
        self.start_chain(
            Purpose::Rotate {
                target,
                file,
                path,
                at,
                db,
            },
            steps,
            outbox,
        );
    }

    pub(super) fn switch(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let Some(rewrite) = &mut self.rewrite else {
            return;
        };
        rewrite.stage = Stage::Switch;
        let (from, base_len) = (rewrite.base_path.clone(), rewrite.base_len);
        outbox.notice("Background AOF rewrite terminated with success".into());
        let mut target = self.manifest.clone();
        let base = match rewrite.commands {
            None => target.add_base(&settings.append_filename, "rdb", None),
            // A snapshot says itself where it ends.
            Some(_) => target.add_base(&settings.append_filename, "aof", Some(base_len)),
        };
        let base_path = settings.aof_path(&base.name);
        let mut steps = self.dir_steps(settings);
        steps.push((
            Step::RenameBase,
            DiskRequest::Rename {
                from,
                to: base_path.clone(),
            },
        ));
        let mut increment_path = None;
        if let Some(appender) = self
            .appender
            .as_ref()
            .filter(|_| self.state == State::Waiting)
        {
            let to = settings.aof_path(&target.add_increment(&settings.append_filename).name);
            let from = appender.path.clone();
            // An increment that no manifest names is damage, unless there is such a base, too.
            steps.push((
                Step::SyncFiles,
                DiskRequest::SyncDir {
                    path: settings.append_dirname.clone(),
                },
            ));
            steps.push((
                Step::RenameIncrement,
                DiskRequest::Rename {
                    from,
                    to: to.clone(),
                },
            ));
            increment_path = Some(to);
        }
        target.retire_increments(usize::from(self.state != State::Off));
        // The files must be found under their names by whoever reads the manifest that names them.
        steps.push((
            Step::SyncFiles,
            DiskRequest::SyncDir {
                path: settings.append_dirname.clone(),
            },
        ));
        steps.extend(manifest_steps(settings, &target));
        self.start_chain(
            Purpose::Switch {
                target,
                base_path,
                base_len,
                increment_path,
            },
            steps,
            outbox,
        );
    }

    pub(super) fn on_base(
        &mut self,
        wait: StreamWait,
        result: Result<DiskReply, DiskError>,
        outbox: &mut Outbox,
    ) {
        let Some(rewrite) = &mut self.rewrite else {
            return;
        };
        let Some(base) = &mut rewrite.base else {
            return;
        };
        match base.on_disk(wait, result) {
            StreamProgress::Going => {}
            StreamProgress::Finished => {
                rewrite.base_len = base.len;
                rewrite.base = None;
            }
            StreamProgress::Failed(op, error) => {
                outbox.warn(match op {
                    StreamOp::Open => format!(
                        "Opening the temp file for AOF rewrite in rewriteAppendOnlyFile(): {}",
                        error.message
                    ),
                    _ => format!(
                        "Write error writing append only file on disk: {}",
                        error.message
                    ),
                });
                rewrite.doomed = true;
            }
        }
    }
}
