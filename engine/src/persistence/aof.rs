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
//!   fails stops the process: what was promised cannot be kept.
//! * `everysec`: replies are not held; a sync is sent at most a second after the first byte that needs
//!   it, writes or no writes.
//! * `no`: the kernel decides.
//!
//! # When the disk fails (the one policy)
//!
//! * A **write** that fails is undone by truncation and retried each second. Until it succeeds the write
//!   status is `err` and writing commands are refused.
//! * A **sync** that fails means that the kernel may have dropped what it could not write, and that later
//!   syncs succeed without it. No later sync of that file is believed. The status is `err`, and a rewrite is
//!   scheduled at once: a base that was written and synced afresh clears the error.
//! * A **manifest** is adopted only when its rename *and* the directory's sync succeeded. A failure before
//!   the rename leaves the old one; a failed directory sync makes the state on the disk unknown, so nothing
//!   is deleted, nothing new is begun, and the manifest is written afresh each second until it is durable.
//! * Increments are synced before the next one takes over: no hole can precede a newer increment.

use super::appender::{Appender, Conditions, Verdict};
use super::chain::{Chain, Progress};
use super::manifest::Manifest;
use super::outbox::{Action, Outbox, Ticket};
use super::stream::{Stream, StreamProgress, StreamWait};
use super::{Fsync, Settings, file};
use crate::face::{DiskError, DiskReply, DiskRequest, FileId, Now, OpenMode};
use crate::journal::Journal;
use crate::rdb;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

/// Pause before a manifest is written again whose directory could not be synced.
const RETRY_MS: u64 = 1000;
/// From so many failed rewrites in a row on, automatic ones are held back.
const FAILURES_BEFORE_LIMIT: u64 = 3;
const MAX_LIMIT_MINUTES: u64 = 60;

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

/// A step of a chain, for the log line when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    MakeDir,
    OpenIncrement,
    SyncIncrement,
    Base,
    RenameBase,
    RenameIncrement,
    SyncFiles,
    OpenManifest,
    WriteManifest,
    SyncManifest,
    RenameManifest,
    SyncDir,
}

/// What a chain is for, with what it needs when it ends.
#[derive(Debug)]
enum Purpose {
    /// Opening at the start of the server.
    Start {
        target: Manifest,
        file: FileId,
        path: String,
        offset: u64,
        created: bool,
        last: u64,
    },
    /// The next increment takes over at this journal offset.
    Rotate {
        target: Manifest,
        file: FileId,
        path: String,
        at: u64,
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
}

impl Purpose {
    fn target(&self) -> &Manifest {
        match self {
            Purpose::Start { target, .. }
            | Purpose::Rotate { target, .. }
            | Purpose::Switch { target, .. }
            | Purpose::Cleanup { target } => target,
        }
    }
}

#[derive(Debug)]
struct Rewrite {
    at: u64,
    started_ms: u64,
    /// The base on its way; none once it is complete.
    base: Option<Stream>,
    base_path: String,
    base_len: u64,
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
    limit_until_ms: Option<u64>,
}

impl Aof {
    pub fn new(enabled: bool) -> Aof {
        Aof {
            state: if enabled { State::Waiting } else { State::Off },
            manifest: Manifest::default(),
            figures: Figures::default(),
            scheduled: false,
            appender: None,
            chain: None,
            retry: None,
            rewrite: None,
            streams: 0,
            dir_made: false,
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
        let next = self
            .rewrite
            .as_ref()
            .filter(|_| self.state == State::Waiting)
            .map(|rewrite| rewrite.at);
        self.appender
            .as_ref()
            .map(|appender| appender.written)
            .or(next)
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
        if let Some((_, purpose)) = self.retry.take_if(|retry| now.mono_ms() >= retry.0) {
            let steps = manifest_steps(settings, purpose.target());
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
            (_, State::Off) => FlushState::Done,
            (_, State::Waiting) => FlushState::Failed,
            _ if self.error().is_some() => FlushState::Failed,
            (Some(appender), _) if appender.synced < target => FlushState::Pending,
            _ => FlushState::Done,
        }
    }

    /// From now on write and sync without delay, until [`Aof::end_flush`].
    pub fn flush(&mut self, journal: &Journal, outbox: &mut Outbox) {
        self.flush_to = Some(journal.sealed());
        if self.state != State::Off {
            outbox.notice("Calling fsync() on the AOF file.".into());
        }
    }

    pub fn end_flush(&mut self) {
        self.flush_to = None;
    }

    // ---- on and off

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
            outbox.push(Action::Ready);
            return self.clean_up(settings, outbox);
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
                .add_base(&settings.append_filename, suffix)
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
            steps.push((Step::SyncIncrement, DiskRequest::Sync { file }));
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
            },
            steps,
            outbox,
        );
    }

    /// `appendonly yes` at run time: the first rewrite makes the files.
    pub fn enable(&mut self, snapshotting: bool, outbox: &mut Outbox) {
        match self.state {
            State::On | State::Waiting => {}
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
            }
        }
    }

    fn start_waiting(&mut self, outbox: &mut Outbox) {
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
            State::Off => State::Off,
            _ => State::Waiting,
        };
        self.scheduled = self.state == State::Waiting;
    }

    fn finish_closing(&mut self, settings: &Settings, outbox: &mut Outbox) {
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
                self.enable(false, outbox);
            }
            self.clean_up(settings, outbox);
        }
    }

    fn close_appender(&mut self, outbox: &mut Outbox) {
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

    fn drop_waiting_increment(&mut self, outbox: &mut Outbox) {
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

    // ---- rewrite

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
            || self.state == State::Closing
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

    fn limited(&mut self, now: Now, outbox: &mut Outbox) -> bool {
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

    /// Begins a rewrite whose base is a snapshot as of the journal offset `at`, which must be its sealed end.
    /// False (and nothing done) while something else is under way.
    pub fn begin_rewrite(
        &mut self,
        now: Now,
        at: u64,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> bool {
        if self.rewriting()
            || self.chain.is_some()
            || self.retry.is_some()
            || self.state == State::Closing
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
            started_ms,
            base: Some(base),
            base_path,
            base_len: 0,
            stage,
            doomed: false,
        };
        self.rewrite = Some(rewrite);
        self.step(now, settings, outbox);
        true
    }

    pub fn push_base(&mut self, piece: Bytes, outbox: &mut Outbox) {
        if let Some(base) = self
            .rewrite
            .as_mut()
            .and_then(|rewrite| rewrite.base.as_mut())
        {
            base.push(piece, outbox);
        }
    }

    pub fn end_base(&mut self, outbox: &mut Outbox) {
        if let Some(base) = self
            .rewrite
            .as_mut()
            .and_then(|rewrite| rewrite.base.as_mut())
        {
            base.end(outbox);
        }
    }

    /// Ends the rewrite at the caller's wish: no failure. While the files are not complete another follows.
    pub fn abort(&mut self, outbox: &mut Outbox) {
        if self.rewriting() {
            self.call_off(outbox);
            self.wait_anew(outbox);
        }
    }

    /// Without a base under way, what was collected since its start is of no use.
    fn wait_anew(&mut self, outbox: &mut Outbox) {
        if self.state == State::Waiting {
            self.drop_waiting_increment(outbox);
            self.scheduled = true;
        }
    }

    fn call_off(&mut self, outbox: &mut Outbox) {
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

    fn fail_rewrite(&mut self, now: Now, outbox: &mut Outbox) {
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
    fn step(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) {
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

    fn rotate(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let file = self.other_file();
        let Some(rewrite) = &mut self.rewrite else {
            return;
        };
        rewrite.stage = Stage::Rotate;
        let at = rewrite.at;
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
            },
            steps,
            outbox,
        );
    }

    fn switch(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let Some(rewrite) = &mut self.rewrite else {
            return;
        };
        rewrite.stage = Stage::Switch;
        let (from, base_len) = (rewrite.base_path.clone(), rewrite.base_len);
        outbox.notice("Background AOF rewrite terminated with success".into());
        let mut target = self.manifest.clone();
        let base_path = settings.aof_path(&target.add_base(&settings.append_filename, "rdb").name);
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
                appender.on_truncate(result, outbox);
                Verdict::Fine
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

    fn on_base(
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
                use super::stream::StreamOp;
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

    fn on_chain(
        &mut self,
        now: Now,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some((purpose, mut chain)) = self.chain.take() else {
            return Verdict::Fine;
        };
        match chain.on_disk(&result, Ticket::Aof(Wait::Chain), outbox) {
            Progress::Going => {
                self.chain = Some((purpose, chain));
                Verdict::Fine
            }
            Progress::Done => {
                self.dir_made = true;
                self.dir_error = None;
                self.chain_done(now, purpose, settings, outbox);
                Verdict::Fine
            }
            Progress::Failed(step, error) => {
                self.chain_failed(now, purpose, step, error, settings, outbox)
            }
        }
    }

    fn chain_done(&mut self, now: Now, purpose: Purpose, settings: &Settings, outbox: &mut Outbox) {
        match purpose {
            Purpose::Start {
                target,
                file,
                path,
                offset,
                created,
                last,
            } => {
                let len = if created { 0 } else { last };
                self.settled_bytes = self.settled_bytes.saturating_sub(len);
                let name = path.rsplit('/').next().unwrap_or_default();
                let verb = if created { "Creating" } else { "Opening" };
                outbox.notice(format!("{verb} AOF incr file {name} on server start"));
                self.appender = Some(Appender::new(file, path, len, offset, now));
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
                self.close_appender(outbox);
                self.appender = Some(Appender::new(file, path, 0, at, now));
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
        }
    }

    /// The increment that was made is not wanted any more: the rewrite was called off meanwhile. One that
    /// the manifest names stays there, empty, behind the one that is still written to.
    fn abandon_rotation(
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

    fn switched(
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

    fn chain_failed(
        &mut self,
        now: Now,
        purpose: Purpose,
        step: Step,
        error: DiskError,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Verdict {
        outbox.warn(failure_text(step, &purpose, settings, &error.message));
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
        // Once the manifest was renamed the files that it names must stay, also when a later attempt to make it durable
        // fails at an earlier step.
        if step == Step::SyncDir || self.dir_error.is_some() {
            if settings.fsync == Fsync::Always && self.state == State::On {
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
            Purpose::Switch { base_path, .. } => {
                let temp = settings.temp_base_path();
                outbox.disk(DiskRequest::Remove { path: temp }, Ticket::Nobody);
                outbox.disk(DiskRequest::Remove { path: base_path }, Ticket::Nobody);
            }
            Purpose::Start { .. } | Purpose::Cleanup { .. } => {}
        }
        self.fail_rewrite(now, outbox);
        Verdict::Fine
    }

    /// Deletes what the present base replaced. The manifest that says so is durable, so the order of what
    /// follows does not matter, nor its failure.
    fn clean_up(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if self.manifest.history.is_empty() || self.chain.is_some() {
            return;
        }
        let mut target = self.manifest.clone();
        for entry in target.history.drain(..) {
            outbox.notice(format!(
                "Removing the history file {} in the background",
                entry.name
            ));
            outbox.disk(
                DiskRequest::Remove {
                    path: settings.aof_path(&entry.name),
                },
                Ticket::Nobody,
            );
        }
        let steps = manifest_steps(settings, &target);
        self.start_chain(Purpose::Cleanup { target }, steps, outbox);
    }

    // ---- small parts

    fn start_chain(
        &mut self,
        purpose: Purpose,
        steps: impl IntoIterator<Item = (Step, DiskRequest)>,
        outbox: &mut Outbox,
    ) {
        let chain = Chain::start(steps, Ticket::Aof(Wait::Chain), outbox);
        self.chain = Some((purpose, chain));
    }

    fn dir_steps(&self, settings: &Settings) -> Vec<(Step, DiskRequest)> {
        if self.dir_made {
            return Vec::new();
        }
        vec![
            (
                Step::MakeDir,
                DiskRequest::MakeDir {
                    path: settings.append_dirname.clone(),
                },
            ),
            (
                Step::MakeDir,
                DiskRequest::SyncDir {
                    path: ".".to_string(),
                },
            ),
        ]
    }

    /// The name for the next increment's file: not the one of the present increment.
    fn other_file(&self) -> FileId {
        match &self.appender {
            Some(appender) if appender.file == file::INCREMENT_A => file::INCREMENT_B,
            _ => file::INCREMENT_A,
        }
    }
}

fn open(file: FileId, path: &str, mode: OpenMode) -> DiskRequest {
    DiskRequest::Open {
        file,
        path: path.into(),
        mode,
    }
}

/// Makes an empty increment and opens it for append, so that writing follows a truncation. A file of that
/// name may be left from a crash: it is emptied, durably, or its old content could come back.
fn create_increment(file: FileId, path: &str) -> [(Step, DiskRequest); 4] {
    [
        (Step::OpenIncrement, open(file, path, OpenMode::Create)),
        (Step::OpenIncrement, DiskRequest::Sync { file }),
        (Step::OpenIncrement, DiskRequest::Close { file }),
        (Step::OpenIncrement, open(file, path, OpenMode::Append)),
    ]
}

/// Replaces the manifest: beside, synced, renamed, directory synced.
pub(super) fn manifest_requests(settings: &Settings, target: &Manifest) -> [DiskRequest; 6] {
    manifest_steps(settings, target).map(|(_, request)| request)
}

fn manifest_steps(settings: &Settings, target: &Manifest) -> [(Step, DiskRequest); 6] {
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

fn empty_snapshot(now: Now, settings: &Settings) -> Bytes {
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

fn failure_text(step: Step, purpose: &Purpose, settings: &Settings, why: &str) -> String {
    let dir = &settings.append_dirname;
    let manifest = format!("{}.manifest", settings.append_filename);
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    let increment = match purpose {
        Purpose::Start { path, .. } | Purpose::Rotate { path, .. } => name(path),
        Purpose::Switch { increment_path, .. } => {
            increment_path.as_deref().map(name).unwrap_or_default()
        }
        Purpose::Cleanup { .. } => String::new(),
    };
    match step {
        Step::MakeDir => format!("Can't open or create append-only dir {dir}: {why}"),
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
        Step::SyncFiles | Step::SyncDir => format!("Fail to fsync AOF directory {dir}: {why}."),
    }
}
