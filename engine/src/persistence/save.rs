//! The snapshot file: when it is due, and how it comes into place.
//!
//! ```text
//! temp file: open ─ writes ─ (a sync each 4 MB) ─ sync ─ close ─ rename over dbfilename ─ sync directory ─ done
//! ```
//!
//! Until the rename the old snapshot stands untouched; after the directory's sync the new one survives a
//! power failure. Only then do the changes count as saved. An error removes the temporary file.

use super::Settings;
use super::chain::{Chain, Progress};
use super::file;
use super::outbox::{Action, Outbox, Ticket};
use super::policy::SAVE_RETRY_MS;
use super::stream::{Stream, StreamOp, StreamProgress, StreamWait};
use crate::face::{DiskError, DiskReply, DiskRequest, Now};
use alloc::format;
use alloc::string::{String, ToString};
use bytes::Bytes;

/// Who waits for a disk answer inside the snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Stream(StreamWait),
    Chain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rename,
    SyncDir,
}

/// Counters and times for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub saves: u64,
    pub last_failed: bool,
    /// Unix time in seconds of the last success, or of the start.
    pub last_save_s: u64,
    pub last_duration_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Save {
    pub figures: Figures,
    pub scheduled: bool,
    /// The count of changes that the last snapshot holds.
    saved_changes: u64,
    last_save_ms: u64,
    last_try_ms: Option<u64>,
    running: Option<Running>,
    number: u32,
}

#[derive(Debug)]
struct Running {
    background: bool,
    started_ms: u64,
    changes: u64,
    stream: Option<Stream>,
    chain: Option<Chain<Step>>,
    target: String,
}

impl Save {
    pub fn new(now: Now) -> Save {
        Save {
            figures: Figures {
                last_save_s: now.unix_us / 1_000_000,
                ..Figures::default()
            },
            scheduled: false,
            saved_changes: 0,
            last_save_ms: now.mono_ms(),
            last_try_ms: None,
            running: None,
            number: 0,
        }
    }

    pub fn running(&self) -> bool {
        self.running.is_some()
    }

    pub fn in_background(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.background)
    }

    pub fn started_ms(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.started_ms)
    }

    /// Changes that no snapshot file holds. For one that is not in the background everybody waits, in Redis: it
    /// counts as done.
    pub fn unsaved(&self, changes: u64) -> u64 {
        let running = self.running.as_ref().filter(|running| !running.background);
        changes.saturating_sub(running.map_or(self.saved_changes, |running| running.changes))
    }

    /// Says that the data set as of `changes` needs no saving: it was just loaded or received.
    pub fn set_saved(&mut self, changes: u64) {
        self.saved_changes = changes;
    }

    pub fn wants_more(&self) -> bool {
        self.running
            .as_ref()
            .and_then(|running| running.stream.as_ref())
            .is_some_and(Stream::wants_more)
    }

    /// Whether a save should begin now, by a save point or because one was scheduled. Call it when no
    /// snapshot is being written.
    pub fn due(&self, now: Now, changes: u64, settings: &Settings, outbox: &mut Outbox) -> bool {
        let ms = now.mono_ms();
        let may_try = !self.figures.last_failed
            || self
                .last_try_ms
                .is_none_or(|last| ms.saturating_sub(last) > SAVE_RETRY_MS);
        if self.running() || !may_try {
            return false;
        }
        let unsaved = self.unsaved(changes);
        let point = settings.save_points.iter().find(|point| {
            unsaved >= point.changes && ms.saturating_sub(self.last_save_ms) / 1000 > point.seconds
        });
        if let Some(point) = point {
            outbox.notice(format!(
                "{} changes in {} seconds. Saving...",
                point.changes, point.seconds
            ));
        }
        point.is_some() || self.scheduled
    }

    /// Begins the file. `changes`: the count of changes that the snapshot holds.
    pub fn begin(
        &mut self,
        now: Now,
        background: bool,
        changes: u64,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> bool {
        if self.running() {
            return false;
        }
        self.scheduled = false;
        self.number += 1;
        self.figures.saves += 1;
        self.last_try_ms = Some(now.mono_ms());
        if background {
            outbox.notice("Background saving started".into());
        }
        let wrap = |wait| Ticket::Save(Wait::Stream(wait));
        let (path, incremental) = (
            settings.temp_snapshot_path(),
            settings.rdb_save_incremental_fsync,
        );
        let stream = Stream::start(self.number, file::SNAPSHOT, path, incremental, wrap, outbox);
        self.running = Some(Running {
            background,
            started_ms: now.mono_ms(),
            changes,
            stream: Some(stream),
            chain: None,
            target: settings.db_filename.clone(),
        });
        true
    }

    pub fn push(&mut self, piece: Bytes, outbox: &mut Outbox) {
        if let Some(stream) = self
            .running
            .as_mut()
            .and_then(|running| running.stream.as_mut())
        {
            stream.push(piece, outbox);
        }
    }

    pub fn end(&mut self, outbox: &mut Outbox) {
        if let Some(stream) = self
            .running
            .as_mut()
            .and_then(|running| running.stream.as_mut())
        {
            stream.end(outbox);
        }
    }

    /// Ends the save at the caller's wish: no failure. One that is being renamed already goes through.
    pub fn call_off(&mut self, outbox: &mut Outbox) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.chain.is_none())
        {
            self.drop_running(outbox);
            outbox.warn("Background saving terminated by signal 10".into());
        }
    }

    pub fn on_disk(
        &mut self,
        now: Now,
        wait: Wait,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        let Some(running) = &mut self.running else {
            return;
        };
        match (wait, &mut running.stream, &mut running.chain) {
            (Wait::Stream(wait), Some(stream), _) => match stream.on_disk(wait, result) {
                StreamProgress::Going => {}
                StreamProgress::Finished => {
                    let (from, to) = (stream.path.clone(), running.target.clone());
                    running.stream = None;
                    let steps = [
                        (Step::Rename, DiskRequest::Rename { from, to }),
                        (
                            Step::SyncDir,
                            DiskRequest::SyncDir {
                                path: ".".to_string(),
                            },
                        ),
                    ];
                    running.chain = Some(Chain::start(steps, Ticket::Save(Wait::Chain), outbox));
                }
                StreamProgress::Failed(op, error) => {
                    let path = &stream.path;
                    let dir = &settings.dir;
                    let why = &error.message;
                    outbox.warn(match op {
                        StreamOp::Open => format!(
                            "Failed opening the temp RDB file {path} (in server root dir {dir}) for saving: {why}"
                        ),
                        StreamOp::Write => format!("Write error saving DB on disk(rdbSaveRio): {why}"),
                        StreamOp::Sync => format!("Write error saving DB on disk(fsync): {why}"),
                        StreamOp::Close => format!("Write error saving DB on disk(fclose): {why}"),
                    });
                    self.fail(now, outbox);
                }
            },
            (Wait::Chain, _, Some(chain)) => {
                match chain.on_disk(&result, Ticket::Save(Wait::Chain), outbox) {
                    Progress::Going => {}
                    Progress::Done => self.succeed(now, outbox),
                    Progress::Failed(step, error) => {
                        let (temp, target, dir) = (
                            settings.temp_snapshot_path(),
                            &running.target,
                            &settings.dir,
                        );
                        let why = &error.message;
                        outbox.warn(match step {
                        Step::Rename => format!(
                            "Error moving temp DB file {temp} on the final destination {target} (in server root \
                             dir {dir}): {why}"
                        ),
                        Step::SyncDir => format!("Write error saving DB on disk(fsyncFileDir): {why}"),
                    });
                        outbox.disk(DiskRequest::Remove { path: temp }, Ticket::Nobody);
                        self.fail(now, outbox);
                    }
                }
            }
            _ => {}
        }
    }

    fn succeed(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(running) = self.running.take() else {
            return;
        };
        outbox.notice("DB saved on disk".into());
        if running.background {
            outbox.notice("Background saving terminated with success".into());
            self.figures.last_duration_ms = Some(now.mono_ms() - running.started_ms);
        }
        self.saved_changes = running.changes;
        self.last_save_ms = now.mono_ms();
        self.figures.last_save_s = now.unix_us / 1_000_000;
        self.figures.last_failed = false;
        outbox.push(Action::SaveDone);
    }

    fn fail(&mut self, now: Now, outbox: &mut Outbox) {
        if let Some(running) = self.running.as_ref().filter(|running| running.background) {
            outbox.warn("Background saving error".into());
            self.figures.last_failed = true;
            self.figures.last_duration_ms = Some(now.mono_ms() - running.started_ms);
        }
        self.drop_running(outbox);
    }

    fn drop_running(&mut self, outbox: &mut Outbox) {
        if let Some(running) = self.running.take() {
            if let Some(stream) = running.stream {
                stream.abort(outbox);
            }
            outbox.push(Action::SaveAborted);
        }
    }
}
