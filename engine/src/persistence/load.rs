//! Loading at the start: which files hold the data, and what is in them, in order.
//!
//! ```text
//! locks ─ list directory ─ manifest ─┬─ append-only off ──────────────────────────────▶ snapshot file
//!                                    └─ on: old-style file? move it in ─ sizes of all ─▶ base, increments
//! ```
//!
//! The files are read a mebibyte at a time, one piece ahead of what is being parsed; the engine pulls
//! items ([`Load::poll`]) as fast as it applies them, so memory is bounded by the largest value.
//!
//! # What is forgiven and what is not
//!
//! * The **last** file with anything in it may end in the middle of a command, or of a MULTI without its
//!   EXEC: with `aof-load-truncated yes` it is cut back to the last whole command (before the MULTI), else
//!   refused.
//! * A power failure can leave a file's size durable and not its last bytes. Where the last file can't be
//!   parsed *and nothing but zeros follows to its end*, that counts as having ended there. Anything else in
//!   that place is damage.
//! * Anything wrong before that, in any file, is refused: a file cut short that is not the last, a file that
//!   the manifest names and is not there, a snapshot that is damaged or ends early.
//!
//! * Increments that the manifest should name and does not: newer than all it names, with something in it, and
//!   without a newer base (which a crash leaves behind when the first base is put in its place).
//!
//! Refusing changes nothing on the disk.

mod find;
mod read;
mod refuse;

use super::aof_reader::{Command, CommandReader};
use super::chain::Chain;
use super::manifest::{Manifest, ManifestError};
use super::outbox::{Action, Outbox, Ticket};
use super::{Settings, aof, file, lock};
use crate::face::{DiskError, DiskReply, DiskRequest, Now, OpenMode};
use crate::rdb::{Decoder, Event, Facts};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// How a snapshot begins, and no command.
const SIGNATURE: &[u8] = b"REDIS";
/// Bytes of one read.
const PIECE: u64 = 1 << 20;
/// Reads under way and pieces waiting, together.
const AHEAD: usize = 2;
/// A manifest larger than this is not one.
const MAX_MANIFEST: u64 = 16 << 20;

/// Who waits for a disk answer inside loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The step under way; there is one.
    Step,
    /// A piece of the file being loaded.
    Piece,
}

/// Where the data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The append-only file if it is on, else the snapshot: what a start does.
    Configured,
    /// The snapshot file (DEBUG RELOAD).
    Snapshot,
    /// The append-only file (DEBUG LOADAOF).
    AppendOnly,
}

/// Something to apply to the data set.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadItem {
    /// From a snapshot: [`Event::SelectDb`], [`Event::ResizeDb`], [`Event::Part`], [`Event::Key`] or [`Event::Function`].
    Snapshot {
        /// What.
        event: Event,
        /// The snapshot is the base of an append-only file: keys that have expired are to be kept, since
        /// what follows was logged with them there.
        base: bool,
    },
    /// A command to execute as the primary's. Those of a transaction come only when its EXEC is there, without
    /// the MULTI and the EXEC.
    Command(Command),
}

/// Counters and times for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub started_s: u64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    pub keys: u64,
    pub expired: u64,
}

#[derive(Debug)]
pub(super) struct Load {
    pub figures: Figures,
    pub facts: Facts,
    /// The manifest that was read. The owner takes it when loading ends.
    pub manifest: Manifest,
    /// Of the files after loading.
    pub sizes: aof::Sizes,
    /// No other server has the working directory.
    pub alone: bool,
    /// The append-only file is locked, as far as it can be.
    pub locked: bool,
    stage: Stage,
    started: Now,
    /// Names in the directory of the append-only file; none if it is not there.
    names: Option<Vec<String>>,
    append_only: bool,
    /// A start without the file is one without data; a reload is none.
    may_miss: bool,
    files: Vec<File>,
    current: usize,
    reading: Option<Reading>,
}

#[derive(Debug)]
enum Stage {
    LockDir,
    MakeDir,
    Lock,
    ListDir,
    OpenManifest,
    ReadManifest,
    CloseManifest(Vec<u8>),
    OpenOldStyle,
    CloseOldStyle,
    Upgrade(Chain<Upgrade>),
    /// Finding the size of this file.
    Size(usize),
    CloseSized(usize),
    OpenFile,
    Reading,
    /// Cutting the last file back.
    Truncating {
        len: u64,
    },
    Done,
    Failed,
    /// While an answer is being looked at.
    Deciding,
}

#[derive(Clone, Copy, Debug)]
enum Upgrade {
    MakeDir,
    Manifest,
    Move,
}

#[derive(Debug)]
struct File {
    name: String,
    path: String,
    len: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The snapshot, or the base.
    Base,
    /// With its sequence number.
    Increment(u64),
    /// An increment that the manifest does not name, newer than those that it does.
    Stray,
}

/// A file being read.
#[derive(Debug)]
struct Reading {
    started: Now,
    /// Offset of the next piece to ask for.
    ask: u64,
    /// Sizes of the pieces asked for.
    asked: VecDeque<u64>,
    pieces: VecDeque<Vec<u8>>,
    form: Form,
    /// A transaction whose EXEC was not seen.
    transaction: Option<Vec<Command>>,
    /// Commands ready to be handed out.
    ready: VecDeque<Command>,
    /// The file is whole up to here.
    valid: u64,
}

#[derive(Debug)]
enum Form {
    /// Too few bytes to tell.
    Unknown(Vec<u8>),
    Snapshot(Decoder),
    Commands(CommandReader),
    /// Zeros from this offset to the end, or it is damage.
    Zeros(u64),
}

/// What the parser found.
enum Found {
    Item(LoadItem),
    /// Something that is no item: go on.
    Nothing,
    NeedMore,
    /// The file's content ends in the middle.
    Short,
    Refused,
}

impl Load {
    pub fn start(now: Now, source: Source, settings: &Settings, outbox: &mut Outbox) -> Load {
        let mut load = Load {
            figures: Figures {
                started_s: now.unix_us / 1_000_000,
                ..Figures::default()
            },
            facts: Facts::default(),
            manifest: Manifest::default(),
            sizes: aof::Sizes::default(),
            alone: false,
            locked: false,
            stage: Stage::LockDir,
            started: now,
            names: None,
            append_only: match source {
                Source::Configured => settings.append_only,
                Source::Snapshot => false,
                Source::AppendOnly => true,
            },
            may_miss: source != Source::Snapshot,
            files: Vec::new(),
            current: 0,
            reading: None,
        };
        if source == Source::Configured {
            load.send(lock::lock_dir(), outbox);
        } else {
            load.list_dir(settings, outbox);
        }
        load
    }

    pub fn over(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::Failed)
    }

    // ---- finding the files

    pub fn on_disk(
        &mut self,
        now: Now,
        wait: Wait,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        if wait == Wait::Piece {
            return self.on_piece(result, outbox);
        }
        match core::mem::replace(&mut self.stage, Stage::Deciding) {
            Stage::LockDir => {
                self.alone = result.is_ok();
                self.lock(settings, outbox);
            }
            Stage::MakeDir => self.on_dir_made(result, settings, outbox),
            Stage::Lock => self.on_lock(result, settings, outbox),
            Stage::ListDir => self.on_listed(result, settings, outbox),
            Stage::OpenManifest => self.on_manifest_open(result, settings, outbox),
            Stage::ReadManifest => match result {
                Ok(DiskReply::Data(text)) => {
                    self.stage = Stage::CloseManifest(text);
                    self.send(DiskRequest::Close { file: file::LOAD }, outbox);
                }
                _ => self.refuse_manifest(
                    ManifestError {
                        line: None,
                        reason: "Read AOF manifest failed",
                    },
                    settings,
                    outbox,
                ),
            },
            Stage::CloseManifest(text) => match Manifest::parse(&text) {
                Ok(manifest) => {
                    self.manifest = manifest;
                    self.manifest_known(settings, outbox);
                }
                Err(error) => self.refuse_manifest(error, settings, outbox),
            },
            Stage::OpenOldStyle => match result {
                Ok(_) => {
                    self.stage = Stage::CloseOldStyle;
                    self.send(DiskRequest::Close { file: file::LOAD }, outbox);
                }
                Err(error) => self.on_no_old_style(error, settings, outbox),
            },
            Stage::CloseOldStyle => self.on_old_style(settings, outbox),
            Stage::Upgrade(chain) => self.on_upgrade(chain, result, settings, outbox),
            Stage::Size(index) => self.on_size(index, result, outbox),
            Stage::CloseSized(index) => self.size_next(now, index + 1, outbox),
            Stage::OpenFile => self.on_file_open(now, result, outbox),
            Stage::Truncating { len } => self.on_truncated(now, len, result, outbox),
            stage @ (Stage::Reading | Stage::Done | Stage::Failed | Stage::Deciding) => {
                self.stage = stage
            }
        }
    }

    // ---- small parts

    fn finish(&mut self, outbox: &mut Outbox) {
        self.sizes = aof::Sizes::default();
        let sizes = &mut self.sizes;
        for file in &self.files {
            sizes.total += file.len;
            match file.kind {
                Kind::Base => sizes.base += file.len,
                Kind::Increment(seq) => {
                    sizes.before_last = sizes
                        .newest
                        .filter(|_| sizes.last > 0)
                        .or(sizes.before_last);
                    (sizes.newest, sizes.last) = (Some((seq, file.len)), file.len);
                }
                Kind::Stray => {}
            }
        }
        self.stage = Stage::Done;
        outbox.push(Action::Loaded);
    }

    fn open(&self, path: &str, outbox: &mut Outbox) {
        self.send(
            DiskRequest::Open {
                file: file::LOAD,
                path: path.into(),
                mode: OpenMode::Read,
            },
            outbox,
        );
    }

    fn send(&self, request: DiskRequest, outbox: &mut Outbox) {
        outbox.disk(request, Ticket::Load(Wait::Step));
    }
}
