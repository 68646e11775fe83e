//! Writes nodes.conf so that a crash at any point leaves the old file or the new one, whole, and says when
//! the new one is there to stay.
//!
//! A save is six requests, each sent when the one before is answered: a temporary file is created, written,
//! synced and closed, renamed over nodes.conf, and the directory is synced. It is never written in place
//! (KB-27). After an error the save is begun anew with a fresh file: what a failed sync left behind cannot
//! be trusted. An error stops nothing but what waits for the save (KB-28).

use crate::{DiskError, DiskReply, DiskRequest, FileId, OpenMode};
use alloc::string::String;
use alloc::vec;
use bytes::Bytes;

/// The one file that the cluster opens: outside the range of persistence's.
const FILE: FileId = FileId(0x1_0000);

/// Milliseconds between an error and the next attempt.
const RETRY_MS: u64 = 1000;

/// Where nodes.conf stands.
#[derive(Clone, Debug)]
pub struct Saver {
    path: String,
    /// Rises with every change of what the file holds.
    version: u64,
    /// The version that a crash cannot take away.
    durable: u64,
    /// A change must be saved without waiting for more of them.
    urgent: bool,
    run: Option<Run>,
    retry_at: Option<u64>,
}

#[derive(Clone, Debug)]
struct Run {
    version: u64,
    text: Bytes,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Opening,
    Writing,
    Syncing,
    Closing,
    Renaming,
    SyncingDir,
    /// Closing the file after this error.
    Abandoning(DiskError),
}

/// What an answer led to.
pub enum Progress {
    /// The next request.
    Next(DiskRequest),
    /// This version is durable.
    Saved(u64),
    /// The save failed.
    Failed(DiskError),
    /// No save was under way.
    Idle,
}

impl Saver {
    /// Nothing was changed yet. `version` 0 is what was loaded.
    pub fn new(path: &str) -> Saver {
        Saver {
            path: path.into(),
            version: 0,
            durable: 0,
            urgent: false,
            run: None,
            retry_at: None,
        }
    }

    /// Notes a change; returns its version.
    pub fn touch(&mut self, urgent: bool) -> u64 {
        self.version += 1;
        self.urgent |= urgent;
        self.version
    }

    /// The version in memory.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version that a crash cannot take away.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether a save ought to begin now; `lazily` if also changes that can wait shall be saved.
    pub fn wanted(&self, now_ms: u64, lazily: bool) -> bool {
        self.run.is_none()
            && self.version > self.durable
            && (self.urgent || lazily)
            && self.retry_at.is_none_or(|at| now_ms >= at)
    }

    /// Begins a save of the present version, whose text is this.
    pub fn begin(&mut self, text: String) -> DiskRequest {
        self.urgent = false;
        self.retry_at = None;
        self.run = Some(Run {
            version: self.version,
            text: text.into(),
            step: Step::Opening,
        });
        DiskRequest::Open {
            file: FILE,
            path: self.temporary(),
            mode: OpenMode::Create,
        }
    }

    /// Takes the answer to the last request.
    pub fn on_disk(&mut self, now_ms: u64, result: Result<DiskReply, DiskError>) -> Progress {
        let Some(run) = &mut self.run else {
            return Progress::Idle;
        };
        let (next, request) = match (&run.step, result) {
            (Step::Abandoning(error), _) => {
                let error = error.clone();
                return self.fail(now_ms, error);
            }
            (Step::Writing | Step::Syncing, Err(error)) => {
                (Step::Abandoning(error), DiskRequest::Close { file: FILE })
            }
            (_, Err(error)) => return self.fail(now_ms, error),
            (Step::Opening, Ok(_)) => (
                Step::Writing,
                DiskRequest::Write {
                    file: FILE,
                    data: vec![run.text.clone()],
                },
            ),
            (Step::Writing, Ok(_)) => (Step::Syncing, DiskRequest::Sync { file: FILE }),
            (Step::Syncing, Ok(_)) => (Step::Closing, DiskRequest::Close { file: FILE }),
            (Step::Closing, Ok(_)) => {
                let (from, to) = (self.temporary(), self.path.clone());
                let request = DiskRequest::Rename { from, to };
                return self.step(Step::Renaming, request);
            }
            (Step::Renaming, Ok(_)) => {
                let request = DiskRequest::SyncDir {
                    path: self.directory(),
                };
                return self.step(Step::SyncingDir, request);
            }
            (Step::SyncingDir, Ok(_)) => {
                self.durable = run.version;
                self.run = None;
                return Progress::Saved(self.durable);
            }
        };
        self.step(next, request)
    }

    fn step(&mut self, next: Step, request: DiskRequest) -> Progress {
        if let Some(run) = &mut self.run {
            run.step = next;
        }
        Progress::Next(request)
    }

    fn fail(&mut self, now_ms: u64, error: DiskError) -> Progress {
        self.run = None;
        self.urgent = true;
        self.retry_at = Some(now_ms + RETRY_MS);
        Progress::Failed(error)
    }

    fn temporary(&self) -> String {
        self.path.clone() + ".tmp"
    }

    fn directory(&self) -> String {
        match self.path.rsplit_once('/') {
            Some(("", _)) => "/".into(),
            Some((directory, _)) => directory.into(),
            None => ".".into(),
        }
    }
}
