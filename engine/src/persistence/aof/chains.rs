//! What follows when a row of disk operations ends, well or not.

use super::super::appender::{Appender, Verdict};
use super::super::chain::{Chain, Progress};
use super::super::manifest::Manifest;
use super::super::outbox::{Action, Outbox, Ticket};
use super::super::policy::{Failure, RETRY_MS, Remedy, remedy};
use super::super::{Settings, file, lock};
use super::steps::{Purpose, Step, failure_text, manifest_steps};
use super::{Aof, Stage, State, Wait};
use crate::face::{DiskError, DiskErrorKind, DiskReply, DiskRequest, FileId, Now};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A file that is not there needs no removal.
fn gone(result: Result<DiskReply, DiskError>) -> Result<DiskReply, DiskError> {
    match result {
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(DiskReply::Done),
        other => other,
    }
}

impl Aof {
    pub(super) fn start_chain(
        &mut self,
        purpose: Purpose,
        steps: impl IntoIterator<Item = (Step, DiskRequest)>,
        outbox: &mut Outbox,
    ) {
        let chain = Chain::start(steps, Ticket::Aof(Wait::Chain), outbox);
        self.chain = Some((purpose, chain));
    }

    pub(super) fn on_chain(
        &mut self,
        now: Now,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some((purpose, mut chain)) = self.chain.take() else {
            return Verdict::Fine;
        };
        let result = match chain.current() {
            Some(Step::Lock) => lock::judge(result, settings, outbox),
            Some(Step::RemoveHistory) => gone(result),
            _ => result,
        };
        let verdict = match chain.on_disk(&result, Ticket::Aof(Wait::Chain), outbox) {
            Progress::Going => {
                self.chain = Some((purpose, chain));
                Verdict::Fine
            }
            Progress::Done => {
                (self.dir_made, self.locked) = (true, true);
                self.dir_error = None;
                self.chain_done(now, purpose, settings, outbox);
                Verdict::Fine
            }
            Progress::Failed(step, error) => {
                self.chain_failed(now, purpose, step, error, settings, outbox)
            }
        };
        if self.lock_wanted && self.chain.is_none() {
            self.lock(settings, outbox);
        }
        verdict
    }

    pub(super) fn chain_done(
        &mut self,
        now: Now,
        purpose: Purpose,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        match purpose {
            Purpose::Start {
                target,
                file,
                path,
                offset,
                created,
                last,
                before_last,
            } => {
                let len = if created { 0 } else { last };
                self.settled_bytes = self.settled_bytes.saturating_sub(len);
                let name = path.rsplit('/').next().unwrap_or_default();
                let verb = if created { "Creating" } else { "Opening" };
                outbox.notice(format!("{verb} AOF incr file {name} on server start"));
                let mut appender = Appender::new(file, path, len, offset, None, now);
                appender.follows = before_last;
                self.appender = Some(appender);
                self.manifest = target;
                self.state = State::On;
                outbox.push(Action::Ready);
                self.clean_up(settings, outbox);
            }
            Purpose::Rotate {
                target,
                file,
                path,
                at,
                db,
            } => {
                self.manifest = target;
                if self.rewrite.is_none() {
                    return self.abandon_rotation(file, path, settings, outbox);
                }
                let name = path.rsplit('/').next().unwrap_or_default();
                outbox.notice(format!(
                    "Creating AOF incr file {name} on background rewrite"
                ));
                if let Some(old) = &mut self.appender {
                    self.old_sync_error = self.old_sync_error.take().or(old.sync_error.take());
                }
                let follows = self.appender.as_ref().and_then(Appender::before_next);
                self.close_appender(outbox);
                let mut appender = Appender::new(file, path, 0, at, db, now);
                appender.follows = follows;
                self.appender = Some(appender);
                if let Some(rewrite) = &mut self.rewrite {
                    rewrite.stage = Stage::Base;
                }
            }
            Purpose::Switch {
                target,
                base_path,
                base_len,
                increment_path,
            } => {
                self.switched(now, target, base_len, increment_path, outbox);
                let name = base_path.rsplit('/').next().unwrap_or_default();
                outbox.notice(format!(
                    "Successfully renamed the temporary AOF base file {} into {name}",
                    settings.temp_base_path()
                ));
                outbox.notice("Background AOF rewrite finished successfully".into());
                self.clean_up(settings, outbox);
            }
            Purpose::Cleanup { target } => self.manifest = target,
            Purpose::Lock => {}
        }
    }

    /// The increment that was made is not wanted any more: the rewrite was called off meanwhile. One that
    /// the manifest names stays there, empty, behind the one that is still written to.
    pub(super) fn abandon_rotation(
        &mut self,
        file: FileId,
        path: String,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        outbox.disk(DiskRequest::Close { file }, Ticket::Nobody);
        if path == settings.temp_increment_path() {
            outbox.disk(DiskRequest::Remove { path }, Ticket::Nobody);
        }
    }

    pub(super) fn switched(
        &mut self,
        now: Now,
        target: Manifest,
        base_len: u64,
        increment_path: Option<String>,
        outbox: &mut Outbox,
    ) {
        self.manifest = target;
        self.old_sync_error = None;
        self.settled_bytes = base_len;
        let rewrite = self.rewrite.take();
        if let (Some(path), Some(appender)) = (increment_path, &mut self.appender) {
            appender.path = path;
        }
        if self.state == State::Waiting && self.appender.is_some() {
            self.state = State::On;
        }
        self.figures.base_size = self.current_size();
        self.figures.consecutive_failures = 0;
        self.figures.last_rewrite_failed = false;
        if let Some(rewrite) = rewrite {
            self.figures.last_rewrite_ms = Some(now.mono_ms() - rewrite.started_ms);
            outbox.push(Action::RewriteDone);
        }
    }

    pub(super) fn chain_failed(
        &mut self,
        now: Now,
        purpose: Purpose,
        step: Step,
        error: DiskError,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Verdict {
        outbox.warn(failure_text(step, &purpose, settings, &error.message));
        if let Purpose::Lock = purpose {
            self.lock_refusal = Some(failure_text(step, &purpose, settings, &error.message));
            self.scheduled = false;
            return Verdict::Fine;
        }
        if let Purpose::Start { .. } = purpose {
            self.appender = None;
            outbox.push(Action::LoadFailed);
            return Verdict::Fine;
        }
        if matches!(
            step,
            Step::OpenManifest | Step::WriteManifest | Step::SyncManifest | Step::RenameManifest
        ) {
            outbox.disk(
                DiskRequest::Close {
                    file: file::MANIFEST,
                },
                Ticket::Nobody,
            );
            outbox.disk(
                DiskRequest::Remove {
                    path: settings.temp_manifest_path(),
                },
                Ticket::Nobody,
            );
        }
        // Once the manifest was renamed the files that it names must stay, also when a later attempt to make
        // it durable fails at an earlier step.
        if step == Step::SyncDir || self.dir_error.is_some() {
            let promised = self.state == State::On;
            if remedy(Failure::DirSync, settings.fsync, promised) == Remedy::Exit {
                return Verdict::Fatal;
            }
            self.dir_error = Some(error.message);
            self.retry = Some((now.mono_ms() + RETRY_MS, purpose));
            return Verdict::Fine;
        }
        match purpose {
            Purpose::Rotate { file, path, .. } => {
                outbox.disk(DiskRequest::Close { file }, Ticket::Nobody);
                outbox.disk(DiskRequest::Remove { path }, Ticket::Nobody);
            }
            Purpose::Switch {
                base_path,
                increment_path,
                ..
            } => {
                // An increment that no manifest names must not be found without such a base (see `load`): it goes first,
                // and the base stays until the next one takes its name.
                let renamed = increment_path.unwrap_or(base_path);
                for path in [settings.temp_base_path(), renamed] {
                    outbox.disk(DiskRequest::Remove { path }, Ticket::Nobody);
                }
                let path = settings.append_dirname.clone();
                outbox.disk(DiskRequest::SyncDir { path }, Ticket::Nobody);
            }
            Purpose::Start { .. } | Purpose::Cleanup { .. } | Purpose::Lock => {}
        }
        self.fail_rewrite(now, outbox);
        Verdict::Fine
    }

    /// Deletes what the present base replaced; the manifest that says so is durable. As long as a file is there the
    /// manifest calls it history: an increment that it does not name is damage.
    pub(super) fn clean_up(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if self.manifest.history.is_empty() || self.chain.is_some() {
            return;
        }
        let mut target = self.manifest.clone();
        let mut steps = Vec::new();
        for entry in target.history.drain(..) {
            outbox.notice(format!(
                "Removing the history file {} in the background",
                entry.name
            ));
            let path = settings.aof_path(&entry.name);
            steps.push((Step::RemoveHistory, DiskRequest::Remove { path }));
        }
        steps.extend(manifest_steps(settings, &target));
        self.start_chain(Purpose::Cleanup { target }, steps, outbox);
    }
}
