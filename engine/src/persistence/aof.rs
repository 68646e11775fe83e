//! The append-only file: a set of files that together hold every effect, named by a [`Manifest`].
//!
//! ```text
//!            begin_rewrite(at)                                             end of the snapshot
//!  increment n ──────┤ drain, sync │ open n+1, manifest(base, n, n+1)        │
//!                                  ├──────────── increment n+1 ──────────────┼────────────────▶
//!              snapshot as of `at` ├── temp base ── sync ──┤ rename, manifest(new base, n+1) │ delete old
//! ```
//!
//! # What is promised
//!
//! * `always`: [`Aof::durable`] is what was synced; replies beyond it are held. A write or a sync that
//!   fails stops the process: what was promised cannot be kept. (Nothing was promised of a checksum: one that is
//!   written alone and fails is tried again as under the other policies.)
//! * `everysec`: replies are not held; a sync is sent at most a second after the first byte that needs
//!   it, writes or no writes.
//! * `no`: the kernel decides.
//!
//! What happens when the disk fails: see `policy`.

mod chains;
mod power;
mod rewrite;
mod steps;

pub(super) use steps::manifest_requests;

use super::aof_sum::Sum;
use super::appender::{Appender, Conditions, Verdict};
use super::chain::Chain;
use super::manifest::Manifest;
use super::outbox::{Action, Outbox};
use super::stream::{Stream, StreamWait};
use super::{Fsync, Settings, file, lock};
use crate::face::{DiskError, DiskReply, DiskRequest, FileId, Now};
use crate::journal::Journal;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use steps::{Purpose, Step, manifest_steps};

/// Who waits for a disk answer inside the append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Write(FileId),
    Sync(FileId),
    Truncate(FileId),
    Chain,
    Base(StreamWait),
}

/// Whether the append-only file is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Off,
    /// On, but the data is still being loaded: nothing is open, nothing to be written.
    Starting,
    /// Switched on, but the files do not hold the data set yet: the first rewrite is to come or under way.
    Waiting,
    On,
    /// Switched off, but the last bytes are not durable yet.
    Closing,
}

/// How a flush for a shutdown stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushState {
    /// Wait for more disk answers.
    Pending,
    /// Everything is durable, or there is no append-only file.
    Done,
    /// It cannot be made durable now.
    Failed,
}

#[derive(Debug)]
struct Rewrite {
    at: u64,
    /// The database of the journal there.
    db: Option<u32>,
    started_ms: u64,
    /// The base on its way; none once it is complete.
    base: Option<Stream>,
    base_path: String,
    base_len: u64,
    /// If the base consists of commands: what of it no checksum covers yet.
    commands: Option<Sum>,
    stage: Stage,
    /// The base failed; the rewrite ends when the chain under way does.
    doomed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The old increment takes its last bytes and is synced.
    Drain,
    /// The chain that makes the new increment runs.
    Rotate,
    /// The new increment is in use; the base is being written.
    Base,
    /// The chain that makes the base count runs.
    Switch,
}

/// What loading found, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// All files that hold data.
    pub total: u64,
    pub base: u64,
    /// The last increment.
    pub last: u64,
    /// The last increment's sequence number and length.
    pub newest: Option<(u64, u64)>,
    /// The same of the nearest one before it that has anything in it.
    pub before_last: Option<(u64, u64)>,
}

/// Counters and times for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub rewrites: u64,
    pub consecutive_failures: u64,
    pub last_rewrite_ms: Option<u64>,
    pub last_rewrite_failed: bool,
    pub delayed_syncs: u64,
    /// Size in bytes after the last rewrite, or of the base at the start.
    pub base_size: u64,
}

#[derive(Debug)]
pub(super) struct Aof {
    pub state: State,
    pub manifest: Manifest,
    pub figures: Figures,
    pub scheduled: bool,
    appender: Option<Appender>,
    chain: Option<(Purpose, Chain<Step>)>,
    /// A chain whose directory sync failed, to be tried again.
    retry: Option<(u64, Purpose)>,
    rewrite: Option<Rewrite>,
    streams: u32,
    dir_made: bool,
    /// The append-only file is locked, as far as it can be.
    pub locked: bool,
    /// A CONFIG SET waits for it.
    lock_wanted: bool,
    /// Why the lock that a CONFIG SET waits for was not to be had.
    pub lock_refusal: Option<String>,
    /// Size of all files but the one being appended to.
    settled_bytes: u64,
    /// A sync failed in a file that is not appended to any more and still counts.
    old_sync_error: Option<String>,
    dir_error: Option<String>,
    /// The journal's sealed end when last seen.
    sealed: u64,
    durable: u64,
    flush_to: Option<u64>,
    limit_minutes: u64,
    pub limit_until_ms: Option<u64>,
}

impl Aof {
    pub fn new(enabled: bool) -> Aof {
        Aof {
            state: if enabled { State::Starting } else { State::Off },
            manifest: Manifest::default(),
            figures: Figures::default(),
            scheduled: false,
            appender: None,
            chain: None,
            retry: None,
            rewrite: None,
            streams: 0,
            dir_made: false,
            locked: false,
            lock_wanted: false,
            lock_refusal: None,
            settled_bytes: 0,
            old_sync_error: None,
            dir_error: None,
            sealed: 0,
            durable: 0,
            flush_to: None,
            limit_minutes: 0,
            limit_until_ms: None,
        }
    }

    // ---- questions

    pub fn rewriting(&self) -> bool {
        self.rewrite.is_some()
    }

    pub fn rewrite_started_ms(&self) -> Option<u64> {
        self.rewrite.as_ref().map(|rewrite| rewrite.started_ms)
    }

    pub fn base_is_commands(&self) -> bool {
        self.rewrite
            .as_ref()
            .is_some_and(|rewrite| rewrite.commands.is_some())
    }

    pub fn wants_base(&self) -> bool {
        let base = self
            .rewrite
            .as_ref()
            .filter(|rewrite| !rewrite.doomed)
            .and_then(|rewrite| rewrite.base.as_ref());
        base.is_some_and(Stream::wants_more)
    }

    /// Replies to commands executed up to this journal offset may leave.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The journal is on stable storage up to here; nothing if the append-only file is off or not complete.
    pub fn synced(&self) -> Option<u64> {
        let appender = self.appender.as_ref().filter(|_| self.state == State::On)?;
        self.old_sync_error.is_none().then_some(appender.synced)
    }

    /// The oldest journal offset that is still to be read.
    pub fn needed_from(&self) -> Option<u64> {
        if let Some(appender) = &self.appender {
            return Some(appender.written);
        }
        match (&self.chain, &self.rewrite) {
            (Some((Purpose::Start { offset, .. }, _)), _) => Some(*offset),
            (_, Some(rewrite)) if self.state == State::Waiting => Some(rewrite.at),
            _ => None,
        }
    }

    /// Why writing commands must be refused, in the system's words.
    pub fn error(&self) -> Option<&str> {
        let appender = self.appender.as_ref().filter(|_| self.state != State::Off);
        let of_appender = appender.and_then(|appender| {
            appender
                .write_error
                .as_ref()
                .or(appender.sync_error.as_ref())
        });
        of_appender
            .or(self.old_sync_error.as_ref())
            .or(self.dir_error.as_ref())
            .map(String::as_str)
    }

    pub fn current_size(&self) -> u64 {
        self.settled_bytes + self.appender.as_ref().map_or(0, |appender| appender.len)
    }

    /// Journal bytes that are not in the file yet.
    pub fn unwritten(&self) -> u64 {
        self.appender
            .as_ref()
            .map_or(0, |appender| self.sealed.saturating_sub(appender.written))
    }

    /// Writes that did not wait any longer for a sync.
    pub fn delayed_syncs(&self) -> u64 {
        self.figures.delayed_syncs
            + self
                .appender
                .as_ref()
                .map_or(0, |appender| appender.delayed_syncs)
    }

    /// Whether the last increment is being synced.
    pub fn syncing(&self) -> bool {
        self.appender.as_ref().is_some_and(Appender::syncing)
    }

    pub fn sync_under_way(&self) -> bool {
        self.appender
            .as_ref()
            .is_some_and(|appender| appender.synced < appender.written && appender.busy())
    }

    pub fn deadline_ms(&self, settings: &Settings, snapshotting: bool) -> Option<u64> {
        let conditions = self.conditions(settings, snapshotting);
        let appender = self
            .appender
            .as_ref()
            .and_then(|appender| appender.deadline_ms(conditions));
        let retry = self.retry.as_ref().map(|retry| retry.0);
        [appender, retry].into_iter().flatten().min()
    }

    // ---- every turn

    /// Sends what the journal gained, and takes the next step of whatever is under way.
    pub fn pump(
        &mut self,
        now: Now,
        journal: &Journal,
        settings: &Settings,
        snapshotting: bool,
        outbox: &mut Outbox,
    ) {
        if let Some(appender) = &self.appender {
            // The journal does not go on where the file ends: reading on would put a hole or another history
            // into it. Whoever rebases the journal says so first; this is for the day that it is forgotten.
            let next = appender.written.min(appender.limit);
            if next < journal.start() || next > journal.sealed() {
                self.rebase(journal.sealed(), outbox);
            }
        }
        self.sealed = journal.sealed();
        if let Some((_, purpose)) = self.retry.take_if(|retry| now.mono_ms() >= retry.0)
            && let Some(target) = purpose.target()
        {
            let steps = manifest_steps(settings, target);
            self.start_chain(purpose, steps, outbox);
        }
        let conditions = self.conditions(settings, snapshotting);
        if let Some(appender) = &mut self.appender {
            appender.pump(now, journal, conditions, outbox);
        }
        self.step(now, settings, outbox);
        self.finish_closing(settings, outbox);
        self.release(settings, snapshotting);
    }

    fn conditions(&self, settings: &Settings, snapshotting: bool) -> Conditions {
        let draining = self
            .rewrite
            .as_ref()
            .is_some_and(|rewrite| rewrite.stage == Stage::Drain);
        Conditions {
            fsync: settings.fsync,
            hold_sync: settings.no_fsync_on_rewrite && (snapshotting || self.rewrite.is_some()),
            hurry: self.flush_to.is_some()
                || self.state == State::Closing
                || draining
                || self.completing(),
            timestamps: settings.aof_timestamps,
            promised: matches!(self.state, State::On | State::Closing),
        }
    }

    /// Whether the first base is complete and about to count: then the increment must hold what was
    /// released, and replies are held already as they will be.
    fn completing(&self) -> bool {
        let complete = |rewrite: &Rewrite| rewrite.base.is_none() && rewrite.stage >= Stage::Base;
        self.state == State::Waiting
            && (self.switching() || self.rewrite.as_ref().is_some_and(complete))
    }

    /// Whether a chain runs, or is to be tried again, that makes a new base count.
    fn switching(&self) -> bool {
        let running = self.chain.iter().map(|(purpose, _)| purpose);
        let mut purposes = running.chain(self.retry.iter().map(|(_, purpose)| purpose));
        purposes.any(|purpose| matches!(purpose, Purpose::Switch { .. }))
    }

    fn release(&mut self, settings: &Settings, snapshotting: bool) {
        let conditions = self.conditions(settings, snapshotting);
        let promised = conditions.promised || self.completing();
        let held = conditions.fsync == Fsync::Always && !conditions.hold_sync && promised;
        let durable = match &self.appender {
            Some(appender) if held => appender.synced,
            _ => self.sealed,
        };
        self.durable = self.durable.max(durable);
    }

    /// Whether the data is safe for a shutdown that was announced by [`Aof::flush`].
    pub fn flush_state(&self) -> FlushState {
        let Some(target) = self.flush_to else {
            return FlushState::Done;
        };
        match (&self.appender, self.state) {
            (_, State::Off | State::Starting) => FlushState::Done,
            (_, State::Waiting) => FlushState::Failed,
            _ if self.error().is_some() => FlushState::Failed,
            (Some(appender), _) if appender.synced < target => FlushState::Pending,
            _ => FlushState::Done,
        }
    }

    /// From now on write and sync without delay, until [`Aof::end_flush`].
    pub fn flush(&mut self, journal: &Journal, outbox: &mut Outbox) {
        self.flush_to = Some(journal.sealed());
        if !matches!(self.state, State::Off | State::Starting) {
            outbox.notice("Calling fsync() on the AOF file.".into());
        }
    }

    /// Whether the journal has grown since the flush was announced; then that is flushed, too.
    pub fn flush_rest(&mut self, journal: &Journal) -> bool {
        let idle = matches!(self.state, State::Off | State::Starting | State::Waiting);
        let grown = self
            .flush_to
            .is_some_and(|target| target < journal.sealed());
        if grown && !idle {
            self.flush_to = Some(journal.sealed());
        }
        grown && !idle
    }

    pub fn end_flush(&mut self) {
        self.flush_to = None;
    }

    // ---- answers

    pub fn on_disk(
        &mut self,
        now: Now,
        wait: Wait,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        snapshotting: bool,
        outbox: &mut Outbox,
    ) {
        let conditions = self.conditions(settings, snapshotting);
        let verdict = match (wait, &mut self.appender) {
            (Wait::Write(file), Some(appender)) if appender.file == file => {
                appender.on_write(now, result, conditions, outbox)
            }
            (Wait::Sync(file), Some(appender)) if appender.file == file => {
                appender.on_sync(result, conditions, outbox)
            }
            (Wait::Truncate(file), Some(appender)) if appender.file == file => {
                appender.on_truncate(result, outbox)
            }
            (Wait::Chain, _) => self.on_chain(now, result, settings, outbox),
            (Wait::Base(wait), _) => {
                self.on_base(wait, result, outbox);
                Verdict::Fine
            }
            _ => Verdict::Fine,
        };
        if verdict == Verdict::Fatal {
            return outbox.push(Action::Exit);
        }
        self.step(now, settings, outbox);
        self.finish_closing(settings, outbox);
        self.release(settings, snapshotting);
    }

    // ---- small parts

    /// What must be done before anything in the directory is touched.
    fn dir_steps(&self, settings: &Settings) -> Vec<(Step, DiskRequest)> {
        let mut steps = Vec::new();
        if !self.dir_made {
            let path = settings.append_dirname.clone();
            steps.push((Step::MakeDir, DiskRequest::MakeDir { path }));
            let path = ".".to_string();
            steps.push((Step::MakeDir, DiskRequest::SyncDir { path }));
        }
        if !self.locked {
            steps.push((Step::Lock, lock::lock_aof(settings)));
        }
        steps
    }

    /// The name for the next increment's file: not the one of the present increment.
    fn other_file(&self) -> FileId {
        match &self.appender {
            Some(appender) if appender.file == file::INCREMENT_A => file::INCREMENT_B,
            _ => file::INCREMENT_A,
        }
    }
}
