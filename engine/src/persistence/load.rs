//! Loading at the start: which files hold the data, and what is in them, in order.
//!
//! ```text
//! list directory ─ manifest ─┬─ append-only off ──────────────────────────────▶ snapshot file
//!                            └─ on: old-style file? move it in ─ sizes of all ─▶ base, increments
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
//! Refusing changes nothing on the disk.

use super::aof_reader::{Command, CommandReader, Next};
use super::chain::{Chain, Progress};
use super::manifest::{Entry, Manifest, ManifestError};
use super::outbox::{Action, Outbox, Ticket};
use super::{Settings, aof, file};
use crate::face::{DiskError, DiskErrorKind, DiskReply, DiskRequest, LogLevel, Now, OpenMode};
use crate::rdb::{self, Decoder, Event};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// How a snapshot begins, and no command.
const SIGNATURE: &[u8] = b"REDIS";
/// Bytes of one read.
const PIECE: u64 = 1 << 20;
/// Reads under way and pieces waiting, together.
const AHEAD: usize = 2;
/// A manifest larger than this is not one.
const MAX_MANIFEST: u64 = 16 << 20;
/// Redis names so many empty keys, then is silent.
const EMPTY_KEYS_LOGGED: u64 = 10;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadItem {
    /// From a snapshot: [`Event::SelectDb`], [`Event::ResizeDb`], [`Event::Key`] or [`Event::Function`].
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

/// The position in a replication stream that a snapshot stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedReplication {
    /// `repl-id`.
    pub id: Option<String>,
    /// `repl-offset`.
    pub offset: Option<u64>,
    /// `repl-stream-db`.
    pub selected_db: Option<i64>,
}

/// Counters and times for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub started_s: u64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    pub used_memory: u64,
    pub keys: u64,
    pub expired: u64,
}

#[derive(Debug)]
pub(super) struct Load {
    pub figures: Figures,
    pub replication: LoadedReplication,
    /// The manifest that was read. The owner takes it when loading ends.
    pub manifest: Manifest,
    /// Of the files after loading.
    pub sizes: aof::Sizes,
    stage: Stage,
    started: Now,
    /// Names in the directory of the append-only file; none if it is not there.
    names: Option<Vec<String>>,
    append_only: bool,
    files: Vec<File>,
    current: usize,
    reading: Option<Reading>,
    empty_keys: u64,
}

#[derive(Debug)]
enum Stage {
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
    base: bool,
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
    /// Zeros from here to the end, or it is damage.
    Zeros,
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
        let load = Load {
            figures: Figures {
                started_s: now.unix_us / 1_000_000,
                ..Figures::default()
            },
            replication: LoadedReplication::default(),
            manifest: Manifest::default(),
            sizes: aof::Sizes::default(),
            stage: Stage::ListDir,
            started: now,
            names: None,
            append_only: match source {
                Source::Configured => settings.append_only,
                Source::Snapshot => false,
                Source::AppendOnly => true,
            },
            files: Vec::new(),
            current: 0,
            reading: None,
            empty_keys: 0,
        };
        load.send(
            DiskRequest::List {
                path: settings.append_dirname.clone(),
            },
            outbox,
        );
        load
    }

    pub fn over(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::Failed)
    }

    /// Ends the loading with these words in the log: the engine could not apply an item.
    pub fn reject(&mut self, text: String, outbox: &mut Outbox) {
        self.refuse([text], outbox);
    }

    /// The engine could not find a command of this name.
    pub fn reject_command(&mut self, name: &[u8], outbox: &mut Outbox) {
        let file = self
            .files
            .get(self.current)
            .map_or("", |file| file.name.as_str());
        let text = format!(
            "Unknown command '{}' reading the append only file {file}",
            String::from_utf8_lossy(name)
        );
        self.refuse([text], outbox);
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
                    outbox,
                ),
            },
            Stage::CloseManifest(text) => match Manifest::parse(&text) {
                Ok(manifest) => {
                    self.manifest = manifest;
                    self.manifest_known(settings, outbox);
                }
                Err(error) => self.refuse_manifest(error, outbox),
            },
            Stage::OpenOldStyle => match result {
                Ok(_) => {
                    self.stage = Stage::CloseOldStyle;
                    self.send(DiskRequest::Close { file: file::LOAD }, outbox);
                }
                Err(_) => self.list_files(settings, outbox),
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

    fn on_listed(
        &mut self,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        let dir = &settings.append_dirname;
        self.names = match result {
            Ok(DiskReply::Names(names)) => Some(names),
            Err(error) if error.kind != DiskErrorKind::NotFound => {
                return self.refuse(
                    [format!(
                        "Can't open the append-only dir {dir}: {}",
                        error.message
                    )],
                    outbox,
                );
            }
            _ => None,
        };
        let manifest = format!("{}.manifest", settings.append_filename);
        if self
            .names
            .as_ref()
            .is_some_and(|names| names.contains(&manifest))
        {
            self.stage = Stage::OpenManifest;
            return self.open(&settings.manifest_path(), outbox);
        }
        outbox.log(
            LogLevel::Debug,
            match self.names {
                Some(_) => format!("The AOF manifest file {manifest} doesn't exist"),
                None => format!("The AOF directory {dir} doesn't exist"),
            },
        );
        self.manifest_known(settings, outbox);
    }

    fn on_manifest_open(
        &mut self,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        match result {
            Ok(DiskReply::Opened { len }) if len <= MAX_MANIFEST => {
                self.stage = Stage::ReadManifest;
                self.send(
                    DiskRequest::Read {
                        file: file::LOAD,
                        offset: 0,
                        len: len as u32,
                    },
                    outbox,
                );
            }
            Ok(_) => {
                let reason = "The AOF manifest file contains too long line";
                self.refuse_manifest(ManifestError { line: None, reason }, outbox);
            }
            Err(error) => {
                let path = settings.manifest_path();
                let why = error.message;
                let text = format!(
                    "Fatal error: can't open the AOF manifest file {path} for reading: {why}"
                );
                self.refuse([text], outbox);
            }
        }
    }

    fn manifest_known(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if self.append_only {
            self.stage = Stage::OpenOldStyle;
            return self.open(&settings.append_filename, outbox);
        }
        let name = settings.db_filename.clone();
        self.files = vec![File {
            path: name.clone(),
            name,
            len: 0,
            base: false,
        }];
        self.stage = Stage::Size(0);
        self.open(&settings.db_filename, outbox);
    }

    /// A file of the time before Redis 7 stands in the server's directory: is it ours to move in?
    fn on_old_style(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let name = &settings.append_filename;
        let inside = self
            .names
            .as_ref()
            .is_some_and(|names| names.contains(name));
        let interrupted = self.manifest.increments.is_empty()
            && self
                .manifest
                .base
                .as_ref()
                .is_some_and(|base| base.name == *name)
            && !inside;
        if self.names.is_some() && !self.manifest.is_empty() && !interrupted {
            return self.list_files(settings, outbox);
        }
        self.manifest.base = Some(Entry {
            name: name.clone(),
            seq: 1,
        });
        self.manifest.base_seq = 1;
        let dir = &settings.append_dirname;
        let sync_dirs = [dir.clone(), ".".to_string()];
        let mut steps = vec![
            (Upgrade::MakeDir, DiskRequest::MakeDir { path: dir.clone() }),
            (
                Upgrade::MakeDir,
                DiskRequest::SyncDir {
                    path: ".".to_string(),
                },
            ),
        ];
        let manifest = aof::manifest_requests(settings, &self.manifest);
        steps.extend(manifest.map(|request| (Upgrade::Manifest, request)));
        let rename = DiskRequest::Rename {
            from: name.clone(),
            to: settings.aof_path(name),
        };
        steps.push((Upgrade::Move, rename));
        steps.extend(sync_dirs.map(|path| (Upgrade::Move, DiskRequest::SyncDir { path })));
        self.stage = Stage::Upgrade(Chain::start(steps, Ticket::Load(Wait::Step), outbox));
    }

    fn on_upgrade(
        &mut self,
        mut chain: Chain<Upgrade>,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        let (name, dir) = (&settings.append_filename, &settings.append_dirname);
        match chain.on_disk(&result, Ticket::Load(Wait::Step), outbox) {
            Progress::Going => self.stage = Stage::Upgrade(chain),
            Progress::Done => {
                outbox.notice(format!(
                    "Successfully migrated an old-style AOF file ({name}) into the AOF directory ({dir})."
                ));
                self.list_files(settings, outbox);
            }
            Progress::Failed(step, error) => {
                let why = error.message;
                let text = match step {
                    Upgrade::MakeDir => {
                        format!("Can't open or create append-only dir {dir}: {why}")
                    }
                    Upgrade::Manifest => {
                        format!(
                            "Error trying to write the temporary AOF manifest file temp-{name}.manifest: {why}"
                        )
                    }
                    Upgrade::Move => format!(
                        "Error trying to move the old AOF file {name} into dir {dir}: {why}"
                    ),
                };
                self.refuse([text], outbox);
            }
        }
    }

    fn list_files(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let base = self.manifest.base.as_ref().map(|base| base.name.clone());
        let files = self.manifest.files().map(|entry| File {
            name: entry.name.clone(),
            path: settings.aof_path(&entry.name),
            len: 0,
            base: base.as_ref() == Some(&entry.name),
        });
        self.files = files.collect();
        match self.files.first() {
            None => self.finish(outbox),
            Some(first) => {
                let path = first.path.clone();
                self.stage = Stage::Size(0);
                self.open(&path, outbox);
            }
        }
    }

    fn on_size(&mut self, index: usize, result: Result<DiskReply, DiskError>, outbox: &mut Outbox) {
        match result {
            Ok(DiskReply::Opened { len }) => {
                self.files[index].len = len;
                self.figures.total_bytes += len;
                self.stage = Stage::CloseSized(index);
                self.send(DiskRequest::Close { file: file::LOAD }, outbox);
            }
            Err(error) if !self.append_only && error.kind == DiskErrorKind::NotFound => {
                self.files.clear();
                self.finish(outbox);
            }
            Err(error) if !self.append_only => {
                self.refuse(
                    [format!(
                        "Fatal error loading the DB: {}. Exiting.",
                        error.message
                    )],
                    outbox,
                );
            }
            Err(error) => {
                let (name, why) = (&self.files[index].name, error.message);
                let text = format!("Unable to obtain the AOF file {name} length. stat: {why}");
                self.refuse([text], outbox);
            }
            Ok(_) => self.refuse(["Unexpected answer of the disk".into()], outbox),
        }
    }

    fn size_next(&mut self, now: Now, index: usize, outbox: &mut Outbox) {
        if let Some(next) = self.files.get(index) {
            let path = next.path.clone();
            self.stage = Stage::Size(index);
            return self.open(&path, outbox);
        }
        self.open_current(now, outbox);
    }

    // ---- reading a file

    /// Opens the file at `self.current`, skipping empty ones; ends if there is none.
    fn open_current(&mut self, now: Now, outbox: &mut Outbox) {
        while let Some(next) = self.files.get(self.current) {
            if next.len > 0 || !self.append_only {
                let path = next.path.clone();
                self.stage = Stage::OpenFile;
                return self.open(&path, outbox);
            }
            self.current += 1;
        }
        if self.append_only {
            let seconds = seconds_between(self.started, now);
            outbox.notice(format!(
                "DB loaded from append only file: {seconds} seconds"
            ));
        }
        self.finish(outbox);
    }

    fn on_file_open(
        &mut self,
        now: Now,
        result: Result<DiskReply, DiskError>,
        outbox: &mut Outbox,
    ) {
        let this = &self.files[self.current];
        match result {
            Ok(DiskReply::Opened { len }) if len == this.len => {
                self.reading = Some(Reading {
                    started: now,
                    ask: 0,
                    asked: VecDeque::new(),
                    pieces: VecDeque::new(),
                    form: Form::Unknown(Vec::new()),
                    transaction: None,
                    ready: VecDeque::new(),
                    valid: 0,
                });
                self.stage = Stage::Reading;
                self.ask_ahead(outbox);
            }
            Ok(_) => {
                let text = format!(
                    "Fatal error: the file {} changed while it was being loaded",
                    this.name
                );
                self.refuse([text], outbox);
            }
            Err(error) => {
                let (name, why) = (&this.name, error.message);
                let text = if self.append_only {
                    format!("Fatal error: can't open the append log file {name} for reading: {why}")
                } else {
                    format!("Fatal error loading the DB: {why}. Exiting.")
                };
                self.refuse([text], outbox);
            }
        }
    }

    fn ask_ahead(&mut self, outbox: &mut Outbox) {
        let (Some(reading), Some(this)) = (&mut self.reading, self.files.get(self.current)) else {
            return;
        };
        while reading.asked.len() + reading.pieces.len() < AHEAD && reading.ask < this.len {
            let len = PIECE.min(this.len - reading.ask);
            let request = DiskRequest::Read {
                file: file::LOAD,
                offset: reading.ask,
                len: len as u32,
            };
            outbox.disk(request, Ticket::Load(Wait::Piece));
            reading.ask += len;
            reading.asked.push_back(len);
        }
    }

    fn on_piece(&mut self, result: Result<DiskReply, DiskError>, outbox: &mut Outbox) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let expected = reading.asked.pop_front().unwrap_or(0);
        let why = match result {
            Ok(DiskReply::Data(piece)) if piece.len() as u64 == expected => {
                return reading.pieces.push_back(piece);
            }
            Ok(_) => "the file became shorter".into(),
            Err(error) => error.message,
        };
        let name = &self.files[self.current].name;
        let text = if self.append_only {
            format!("Unrecoverable error reading the append only file {name}: {why}")
        } else {
            format!("Fatal error loading the DB: {why}. Exiting.")
        };
        self.refuse([text], outbox);
    }

    /// The next item, or nothing: wait for the disk, or for the end.
    pub fn poll(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) -> Option<LoadItem> {
        while let Stage::Reading = self.stage {
            match self.parse(now, settings, outbox) {
                Found::Item(item) => return Some(item),
                Found::Nothing | Found::Refused => {}
                Found::Short => self.cut_short(settings, outbox),
                Found::NeedMore => {
                    let reading = self.reading.as_mut()?;
                    if let Some(piece) = reading.pieces.pop_front() {
                        self.figures.loaded_bytes += piece.len() as u64;
                        self.feed(&piece, settings, outbox);
                        self.ask_ahead(outbox);
                    } else if reading.asked.is_empty() {
                        self.file_ends(now, settings, outbox);
                    } else {
                        return None;
                    }
                }
            }
        }
        None
    }

    fn feed(&mut self, piece: &[u8], settings: &Settings, outbox: &mut Outbox) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let this = &self.files[self.current];
        match &mut reading.form {
            Form::Snapshot(decoder) => decoder.feed(piece),
            Form::Commands(reader) => reader.feed(piece),
            Form::Zeros if piece.iter().all(|&byte| byte == 0) => {}
            Form::Zeros => {
                self.refuse_format(outbox);
            }
            Form::Unknown(head) => {
                head.extend_from_slice(piece);
                if head.len() < SIGNATURE.len() {
                    return;
                }
                if !self.append_only || head.starts_with(SIGNATURE) {
                    if self.append_only {
                        outbox.notice(if this.name == settings.append_filename {
                            "Reading RDB preamble from AOF file...".into()
                        } else {
                            "Reading RDB base file on AOF loading...".into()
                        });
                    }
                    let mut decoder = Decoder::new(Some(this.len), settings.rdb_checksum);
                    decoder.feed(head);
                    reading.form = Form::Snapshot(decoder);
                } else {
                    let mut reader = CommandReader::new(0, this.len);
                    reader.feed(head);
                    reading.form = Form::Commands(reader);
                }
            }
        }
    }

    fn parse(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) -> Found {
        let Some(reading) = &mut self.reading else {
            return Found::Refused;
        };
        if let Some(command) = reading.ready.pop_front() {
            return Found::Item(LoadItem::Command(command));
        }
        match &mut reading.form {
            Form::Unknown(_) | Form::Zeros => Found::NeedMore,
            Form::Commands(reader) => match reader.next_command() {
                Next::NeedMore => Found::NeedMore,
                Next::Short => Found::Short,
                Next::Damage(at) if at - reader.offset() < reader.rest().len() as u64 => {
                    self.damaged(at, outbox)
                }
                Next::Damage(_) => self.refuse_format(outbox),
                Next::Command(command) => {
                    let end = reader.offset();
                    reading.sort(command, end);
                    Found::Nothing
                }
            },
            Form::Snapshot(decoder) => match decoder.next_event() {
                Ok(event) => self.on_event(now, event, settings, outbox),
                Err(error) => self.refuse_snapshot(&error, outbox),
            },
        }
    }

    /// The byte at offset `at` of a file of commands is wrong. If zeros begin there, they may be the end.
    fn damaged(&mut self, at: u64, outbox: &mut Outbox) -> Found {
        let last = self.is_last();
        let Some(Reading { form, .. }) = &mut self.reading else {
            return Found::Refused;
        };
        if let Form::Commands(reader) = form {
            let tail = &reader.rest()[(at - reader.offset()) as usize..];
            if last && tail.iter().all(|&byte| byte == 0) {
                *form = Form::Zeros;
                return Found::NeedMore;
            }
        }
        self.refuse_format(outbox)
    }

    /// Whether no file behind this one has anything in it.
    fn is_last(&self) -> bool {
        self.files[self.current + 1..]
            .iter()
            .all(|file| file.len == 0)
    }

    fn file_ends(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let name = self.files[self.current].name.clone();
        let whole = match &reading.form {
            Form::Snapshot(decoder) => {
                if self.append_only || !decoder.is_done() {
                    let error = decoder.cut_short();
                    self.refuse_snapshot(&error, outbox);
                    return;
                }
                true
            }
            // Fewer than five bytes: what they are the start of shows best by reading them as commands.
            Form::Unknown(head) => {
                let head = head.clone();
                if !self.append_only {
                    let mut decoder = Decoder::new(Some(head.len() as u64), settings.rdb_checksum);
                    decoder.feed(&head);
                    let error = decoder
                        .next_event()
                        .err()
                        .unwrap_or_else(|| decoder.cut_short());
                    self.refuse_snapshot(&error, outbox);
                    return;
                }
                let mut reader = CommandReader::new(0, head.len() as u64);
                reader.feed(&head);
                reading.form = Form::Commands(reader);
                return;
            }
            Form::Commands(reader) => reader.at_boundary(),
            Form::Zeros => false,
        };
        if whole && reading.transaction.is_some() {
            outbox.warn(format!(
                "Revert incomplete MULTI/EXEC transaction in AOF file {name}"
            ));
        }
        if !whole || reading.transaction.is_some() {
            return self.cut_short(settings, outbox);
        }
        outbox.disk(DiskRequest::Close { file: file::LOAD }, Ticket::Nobody);
        self.next_file(now, outbox);
    }

    fn next_file(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        let this = &self.files[self.current];
        let seconds = seconds_between(reading.started, now);
        outbox.notice(match (self.append_only, this.base) {
            (false, _) => format!("DB loaded from disk: {seconds} seconds"),
            (true, true) => format!("DB loaded from base file {}: {seconds} seconds", this.name),
            (true, false) => format!("DB loaded from incr file {}: {seconds} seconds", this.name),
        });
        self.current += 1;
        if self.append_only {
            self.open_current(now, outbox)
        } else {
            self.finish(outbox)
        }
    }

    // ---- a file that ends too early

    fn cut_short(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let Some(reading) = &self.reading else { return };
        let (this, valid) = (&self.files[self.current], reading.valid);
        let name = &this.name;
        if !settings.load_truncated {
            let text = format!(
                "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF \
                 file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
                 'aof-load-truncated' configuration option to yes and restart the server."
            );
            return self.refuse([text], outbox);
        }
        let warning = format!("!!! Warning: short read while loading the AOF file {name}!!!");
        if !self.is_last() {
            return self.refuse(
                [
                    warning,
                    "Fatal error: the truncated file is not the last file".into(),
                ],
                outbox,
            );
        }
        outbox.warn(warning);
        outbox.warn(format!(
            "!!! Truncating the AOF {name} at offset {valid} !!!"
        ));
        let path = this.path.clone();
        outbox.disk(DiskRequest::Close { file: file::LOAD }, Ticket::Nobody);
        self.stage = Stage::Truncating { len: valid };
        self.send(DiskRequest::Truncate { path, len: valid }, outbox);
    }

    fn on_truncated(
        &mut self,
        now: Now,
        len: u64,
        result: Result<DiskReply, DiskError>,
        outbox: &mut Outbox,
    ) {
        let this = &mut self.files[self.current];
        if let Err(error) = result {
            let text = format!(
                "Error truncating the AOF file {}: {}",
                this.name, error.message
            );
            return self.refuse([text], outbox);
        }
        outbox.warn(format!(
            "AOF {} loaded anyway because aof-load-truncated is enabled",
            this.name
        ));
        this.len = len;
        self.next_file(now, outbox);
    }

    // ---- what a snapshot tells

    fn on_event(
        &mut self,
        now: Now,
        event: Event,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Found {
        match event {
            Event::NeedMore => return Found::NeedMore,
            Event::Aux { name, value } => {
                self.on_fact(
                    now,
                    &String::from_utf8_lossy(&name),
                    &String::from_utf8_lossy(&value),
                    outbox,
                );
            }
            Event::EmptyKey { key } => {
                self.empty_keys += 1;
                if self.empty_keys <= EMPTY_KEYS_LOGGED {
                    let key = String::from_utf8_lossy(&key);
                    outbox.warn(format!("rdbLoadObject skipping empty key: {key}"));
                }
            }
            Event::SelectDb(db) if db >= settings.databases => {
                return self.refuse_item(
                    format!(
                        "FATAL: Data file was created with a Redis server configured to handle more than {} \
                         databases. Exiting\n",
                        settings.databases
                    ),
                    outbox,
                );
            }
            Event::End { checked } => self.snapshot_ends(checked, settings, outbox),
            Event::SelectDb(_)
            | Event::ResizeDb { .. }
            | Event::Key { .. }
            | Event::Function(_) => {
                self.figures.keys += u64::from(matches!(event, Event::Key { .. }));
                return Found::Item(LoadItem::Snapshot {
                    event,
                    base: self.append_only,
                });
            }
        }
        Found::Nothing
    }

    fn on_fact(&mut self, now: Now, name: &str, value: &str, outbox: &mut Outbox) {
        match name {
            _ if name.starts_with('%') => outbox.notice(format!("RDB '{name}': {value}")),
            "redis-ver" => outbox.notice(format!("Loading RDB produced by version {value}")),
            "ctime" => {
                let age = (now.unix_us / 1_000_000).saturating_sub(value.parse().unwrap_or(0));
                outbox.notice(format!("RDB age {age} seconds"));
            }
            "used-mem" => {
                self.figures.used_memory = value.parse().unwrap_or(0);
                let megabytes = self.figures.used_memory as f64 / (1024.0 * 1024.0);
                outbox.notice(format!("RDB memory usage when created {megabytes:.2} Mb"));
            }
            "repl-stream-db" => self.replication.selected_db = value.parse().ok(),
            "repl-id" => self.replication.id = (value.len() == 40).then(|| value.into()),
            "repl-offset" => self.replication.offset = value.parse().ok(),
            "aof-preamble" if value != "0" => outbox.notice("RDB has an AOF tail".into()),
            "aof-base" if value != "0" => outbox.notice("RDB is base AOF".into()),
            "aof-preamble" | "aof-base" | "lua" | "redis-bits" => {}
            _ => outbox.log(
                LogLevel::Debug,
                format!("Unrecognized RDB AUX field: '{name}'"),
            ),
        }
    }

    fn snapshot_ends(&mut self, checked: bool, settings: &Settings, outbox: &mut Outbox) {
        if !checked && settings.rdb_checksum {
            outbox.warn("RDB file was saved with checksum disabled: no check performed.".into());
        }
        let (loaded, expired) = (
            self.figures.keys - self.figures.expired,
            self.figures.expired,
        );
        let counts = format!("Done loading RDB, keys loaded: {loaded}, keys expired: {expired}");
        if self.empty_keys > 0 {
            outbox.warn(format!(
                "{counts}, empty keys skipped: {}.",
                self.empty_keys
            ));
        } else {
            outbox.notice(format!("{counts}."));
        }
        let Some(reading) = self.reading.as_mut().filter(|_| self.append_only) else {
            return;
        };
        if let Form::Snapshot(decoder) = &mut reading.form {
            if self.files[self.current].name == settings.append_filename {
                outbox.notice("Reading the remaining AOF tail...".into());
            }
            let mut reader = CommandReader::new(decoder.offset(), self.files[self.current].len);
            reading.valid = decoder.offset();
            reader.feed(&decoder.take_rest());
            reading.form = Form::Commands(reader);
        }
    }

    // ---- refusing

    fn refuse(&mut self, lines: impl IntoIterator<Item = String>, outbox: &mut Outbox) {
        if self.over() {
            return;
        }
        for line in lines {
            outbox.warn(line);
        }
        self.stage = Stage::Failed;
        if self.reading.take().is_some() {
            outbox.disk(DiskRequest::Close { file: file::LOAD }, Ticket::Nobody);
        }
        outbox.push(Action::LoadFailed);
    }

    fn refuse_item(&mut self, text: String, outbox: &mut Outbox) -> Found {
        self.refuse([text], outbox);
        Found::Refused
    }

    fn refuse_format(&mut self, outbox: &mut Outbox) -> Found {
        let name = &self.files[self.current].name;
        let text = format!(
            "Bad file format reading the append only file {name}: make a backup of your AOF file, then use \
             ./redis-check-aof --fix <filename.manifest>"
        );
        self.refuse_item(text, outbox)
    }

    fn refuse_snapshot(&mut self, error: &rdb::RdbError, outbox: &mut Outbox) -> Found {
        use rdb::RdbErrorKind::{Checksum, ShortRead, Signature, Version};
        let at = error.offset;
        let inside = |what: &dyn core::fmt::Display| {
            format!("Internal error in RDB reading offset {at} -> {what}")
        };
        let terminating = "Terminating server after rdb file reading failure.".to_string();
        let lines = match &error.kind {
            kind @ (Signature | Version(_)) => {
                let last = match (self.append_only, self.files.get(self.current)) {
                    (true, Some(file)) => format!(
                        "Error reading the RDB base file {}, AOF loading aborted",
                        file.name
                    ),
                    _ => "Fatal error loading the DB: Invalid argument. Exiting.".into(),
                };
                vec![kind.to_string(), last]
            }
            kind @ Checksum { .. } => vec![kind.to_string(), inside(&"RDB CRC error"), terminating],
            kind @ ShortRead(_) => vec![
                "Short read or OOM loading DB. Unrecoverable error, aborting now.".into(),
                inside(kind),
                terminating,
            ],
            kind => vec![inside(kind), terminating],
        };
        self.refuse(lines, outbox);
        Found::Refused
    }

    fn refuse_manifest(&mut self, error: ManifestError, outbox: &mut Outbox) {
        let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_string()];
        if let Some((number, line)) = error.line {
            lines.push(format!("Reading the manifest file, at line {number}\n"));
            lines.push(format!(">>> '{line}'\n"));
        }
        lines.push(format!("{}\n", error.reason));
        self.refuse(lines, outbox);
    }

    // ---- small parts

    fn finish(&mut self, outbox: &mut Outbox) {
        let size = |base| {
            self.files
                .iter()
                .filter(move |file| file.base == base)
                .map(|file| file.len)
        };
        let (base, increments) = (size(true).sum(), size(false));
        self.sizes = aof::Sizes {
            total: base,
            base,
            last: 0,
        };
        for len in increments {
            self.sizes.total += len;
            self.sizes.last = len;
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

impl Reading {
    /// Hands a command out, or keeps it until its transaction is complete. `end`: where it ends in the file.
    fn sort(&mut self, command: Command, end: u64) {
        let is = |name: &[u8]| command.len() == 1 && command[0].eq_ignore_ascii_case(name);
        match &mut self.transaction {
            None if is(b"MULTI") => self.transaction = Some(Vec::new()),
            None => {
                self.valid = end;
                self.ready.push_back(command);
            }
            Some(commands) if is(b"EXEC") => {
                self.ready.extend(commands.drain(..));
                self.transaction = None;
                self.valid = end;
            }
            Some(_) if is(b"DISCARD") => {
                self.transaction = None;
                self.valid = end;
            }
            Some(_) if is(b"MULTI") => {}
            Some(commands) => commands.push(command),
        }
    }
}

fn seconds_between(from: Now, to: Now) -> String {
    let ms = to.mono_us.saturating_sub(from.mono_us) / 1000;
    format!("{}.{:03}", ms / 1000, ms % 1000)
}
