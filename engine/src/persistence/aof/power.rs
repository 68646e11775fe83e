//! On and off: opening at the start, `appendonly` at run time, and a journal that starts over.

use super::super::outbox::{Action, Outbox, Ticket};
use super::super::{Settings, file};
use super::steps::{Purpose, Step, create_increment, empty_snapshot, manifest_steps, open};
use super::{Aof, Sizes, State};
use crate::face::{DiskRequest, Now, OpenMode};
use crate::planted::{self, Bug};
use alloc::{format, vec};
use bytes::Bytes;
use core::mem;

impl Aof {
    /// Opens the files at the start of the server, when the data set is loaded. `offset`: the journal's
    /// position, which the files hold.
    pub fn open(
        &mut self,
        now: Now,
        offset: u64,
        sizes: Sizes,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        (self.settled_bytes, self.figures.base_size) = (sizes.total, sizes.base);
        (self.sealed, self.durable) = (offset, offset);
        if self.state == State::Off {
            // (What the manifest calls history stays: another server may be using these files.)
            return outbox.push(Action::Ready);
        }
        let mut target = self.manifest.clone();
        let mut steps = self.dir_steps(settings);
        if target.is_empty() {
            let suffix = if settings.aof_use_rdb_preamble {
                "rdb"
            } else {
                "aof"
            };
            let name = target
                .add_base(&settings.append_filename, suffix, None)
                .name
                .clone();
            let bytes = if settings.aof_use_rdb_preamble {
                empty_snapshot(now, settings)
            } else {
                Bytes::new()
            };
            (self.settled_bytes, self.figures.base_size) = (bytes.len() as u64, bytes.len() as u64);
            let (from, to) = (settings.temp_base_path(), settings.aof_path(&name));
            steps.push((Step::Base, open(file::BASE, &from, OpenMode::Create)));
            steps.push((
                Step::Base,
                DiskRequest::Write {
                    file: file::BASE,
                    data: vec![bytes],
                },
            ));
            steps.push((Step::Base, DiskRequest::Sync { file: file::BASE }));
            steps.push((Step::Base, DiskRequest::Close { file: file::BASE }));
            steps.push((Step::RenameBase, DiskRequest::Rename { from, to }));
            outbox.notice(format!("Creating AOF base file {name} on server start"));
        }
        let file = self.other_file();
        let created = target.increments.is_empty();
        let path = if created {
            let path = settings.aof_path(&target.add_increment(&settings.append_filename).name);
            steps.extend(create_increment(file, &path));
            path
        } else {
            let path = settings.aof_path(&target.increments[target.increments.len() - 1].name);
            steps.push((Step::OpenIncrement, open(file, &path, OpenMode::Append)));
            // What was loaded may have been in the page cache only; from now on it counts as durable.
            if !planted::is(Bug::TrustsLoadedTail) {
                steps.push((Step::SyncIncrement, DiskRequest::Sync { file }));
            }
            path
        };
        // Even where nothing changes: what a crashed process left may be visible and not durable.
        steps.push((
            Step::SyncFiles,
            DiskRequest::SyncDir {
                path: settings.append_dirname.clone(),
            },
        ));
        if target != self.manifest {
            steps.extend(manifest_steps(settings, &target));
        }
        self.start_chain(
            Purpose::Start {
                target,
                file,
                path,
                offset,
                created,
                last: sizes.last,
                before_last: sizes.before_last,
            },
            steps,
            outbox,
        );
    }

    /// `appendonly yes` at run time: the first rewrite makes the files.
    pub fn enable(&mut self, snapshotting: bool, settings: &Settings, outbox: &mut Outbox) {
        match self.state {
            State::On | State::Starting | State::Waiting => {}
            State::Closing => self.scheduled = true,
            State::Off => {
                if snapshotting {
                    outbox.warn(
                        "AOF was enabled but there is already another background operation. An AOF background \
                         was scheduled to start when possible."
                            .into(),
                    );
                }
                self.start_waiting(outbox);
                self.lock(settings, outbox);
            }
        }
    }

    /// `dir` is another one now: the files go on there, with a rewrite to begin with. False if that cannot be now.
    pub fn move_in(&mut self, settings: &Settings, outbox: &mut Outbox) -> bool {
        if self.chain.is_some() || self.retry.is_some() {
            self.lock_refusal = Some("The append-only file is being rewritten".into());
            return false;
        }
        self.abort(outbox);
        (self.dir_made, self.locked) = (false, false);
        if matches!(self.state, State::On | State::Waiting) {
            self.scheduled = true;
            self.lock(settings, outbox);
        }
        true
    }

    /// Finds out whether the files may be used, for the client that waits for it: at once, or when what is under
    /// way is over.
    pub(super) fn lock(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let steps = self.dir_steps(settings);
        self.lock_wanted = self.chain.is_some() && !self.locked;
        if self.chain.is_none() && !steps.is_empty() {
            self.start_chain(Purpose::Lock, steps, outbox);
        }
    }

    pub fn locking(&self) -> bool {
        self.lock_wanted || matches!(self.chain, Some((Purpose::Lock, _)))
    }

    pub(super) fn start_waiting(&mut self, outbox: &mut Outbox) {
        if self.rewriting() {
            outbox.warn(
                "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF \
                 and starting a rewrite now."
                    .into(),
            );
            self.call_off(outbox);
        }
        self.state = State::Waiting;
        self.scheduled = true;
    }

    /// `appendonly no` at run time: the journal's last bytes, up to `sealed`, are made durable, then the file
    /// is closed.
    pub fn disable(&mut self, sealed: u64, outbox: &mut Outbox) {
        self.sealed = sealed;
        self.scheduled = false;
        self.call_off(outbox);
        match (self.state, &mut self.appender) {
            (State::On, Some(appender)) => {
                appender.limit = sealed;
                self.state = State::Closing;
            }
            (State::Closing, _) => {}
            _ => {
                self.drop_waiting_increment(outbox);
                self.state = State::Off;
            }
        }
    }

    /// The journal starts over at `offset` with another history (a full synchronisation): what the files
    /// hold is of no use for it. If on, the append-only file begins anew with a rewrite.
    pub fn rebase(&mut self, offset: u64, outbox: &mut Outbox) {
        self.call_off(outbox);
        (self.sealed, self.durable) = (offset, offset);
        if self.state == State::Waiting {
            self.drop_waiting_increment(outbox);
        } else {
            self.close_appender(outbox);
        }
        self.state = match self.state {
            State::Closing if !self.scheduled => State::Off,
            unchanged @ (State::Off | State::Starting) => unchanged,
            _ => State::Waiting,
        };
        self.scheduled = self.state == State::Waiting;
    }

    pub(super) fn finish_closing(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if self.state != State::Closing || self.chain.is_some() {
            return;
        }
        let Some(appender) = &self.appender else {
            return;
        };
        let given_up = appender.write_error.is_some() && !appender.busy();
        let durable = appender.drained()
            && (appender.synced >= appender.limit || appender.sync_error.is_some());
        if given_up || durable {
            self.close_appender(outbox);
            self.state = State::Off;
            self.old_sync_error = None;
            self.settled_bytes = 0;
            if mem::take(&mut self.scheduled) {
                self.enable(false, settings, outbox);
            }
            self.clean_up(settings, outbox);
        }
    }

    pub(super) fn close_appender(&mut self, outbox: &mut Outbox) {
        if let Some(appender) = self.appender.take() {
            self.settled_bytes += appender.len;
            self.figures.delayed_syncs += appender.delayed_syncs;
            outbox.disk(
                DiskRequest::Close {
                    file: appender.file,
                },
                Ticket::Nobody,
            );
        }
    }

    pub(super) fn drop_waiting_increment(&mut self, outbox: &mut Outbox) {
        if let Some(appender) = self.appender.take() {
            outbox.disk(
                DiskRequest::Close {
                    file: appender.file,
                },
                Ticket::Nobody,
            );
            let name = appender.path.rsplit('/').next().unwrap_or_default();
            outbox.notice(format!(
                "Removing the temp incr aof file {name} in the background"
            ));
            outbox.disk(
                DiskRequest::Remove {
                    path: appender.path,
                },
                Ticket::Nobody,
            );
        }
    }
}
