//! Reading one file after the other, and telling a file's early end from damage.

use super::super::aof_reader::{Command, CommandReader, Next};
use super::super::outbox::{Outbox, Ticket};
use super::super::{Settings, aof_sum, file};
use super::{
    AHEAD, Figures, File, Form, Found, Kind, Load, LoadItem, PIECE, Reading, SIGNATURE, Stage, Wait,
};
use crate::face::{DiskError, DiskReply, DiskRequest, Now};
use crate::rdb::{Decoder, Event, PLAIN_KEYS, Plain};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use smallvec::SmallVec;

impl Load {
    /// Opens the file at `self.current`, skipping empty ones; ends if there is none.
    pub(super) fn open_current(&mut self, now: Now, outbox: &mut Outbox) {
        while let Some(next) = self.files.get(self.current) {
            if next.len == 0
                && next.kind == Kind::Base
                && next.name.ends_with(".rdb")
                && self.append_only
            {
                let text = format!(
                    "The RDB base file {} is empty, AOF loading aborted",
                    next.name
                );
                return self.refuse([text], outbox);
            }
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

    pub(super) fn on_file_open(
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

    pub(super) fn ask_ahead(&mut self, outbox: &mut Outbox) {
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

    pub(super) fn on_piece(&mut self, result: Result<DiskReply, DiskError>, outbox: &mut Outbox) {
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

    /// Whether a snapshot that is being read is the base of an append-only file.
    pub fn is_base(&self) -> bool {
        self.append_only
    }

    /// Keys with short strings, if a snapshot is being read and they come next.
    pub fn plain_keys(&mut self, last: &mut Figures) -> SmallVec<[Plain<'_>; PLAIN_KEYS]> {
        let (Stage::Reading, Some(reading)) = (&self.stage, &mut self.reading) else {
            return SmallVec::new();
        };
        let Form::Snapshot(decoder) = &mut reading.form else {
            return SmallVec::new();
        };
        let keys = decoder.plain_keys();
        self.figures.keys += keys.len() as u64;
        *last = self.figures;
        keys
    }

    pub(super) fn feed(&mut self, piece: &[u8], settings: &Settings, outbox: &mut Outbox) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let this = &self.files[self.current];
        match &mut reading.form {
            Form::Snapshot(decoder) => decoder.feed(piece),
            Form::Commands(reader) => reader.feed(piece),
            Form::Zeros(_) if piece.iter().all(|&byte| byte == 0) => {}
            &mut Form::Zeros(at) => {
                self.refuse_format(at, settings, outbox);
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
                    let mut decoder =
                        Decoder::new(Some(this.len), settings.rdb_checksum).in_parts();
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

    pub(super) fn parse(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) -> Found {
        let Some(reading) = &mut self.reading else {
            return Found::Refused;
        };
        if let Some(command) = reading.ready.pop_front() {
            return Found::Item(LoadItem::Command(command));
        }
        match &mut reading.form {
            Form::Unknown(_) | Form::Zeros(_) => Found::NeedMore,
            Form::Commands(reader) => match reader.next_command() {
                Next::NeedMore => Found::NeedMore,
                Next::Note(note) => self.on_note(&note, outbox),
                Next::Short => Found::Short,
                Next::Damage(at) if at - reader.offset() < reader.rest().len() as u64 => {
                    self.damaged(at, settings, outbox)
                }
                Next::Damage(at) => self.refuse_format(at, settings, outbox),
                Next::Rot(from) => {
                    let to = reader.offset();
                    self.refuse_rot(from, to, outbox)
                }
                Next::Command(command) => {
                    let end = reader.offset();
                    reading.sort(command, end);
                    Found::Nothing
                }
            },
            Form::Snapshot(decoder) => match decoder.next_event() {
                Ok(event) => self.on_event(now, event, settings, outbox),
                Err(error) => self.refuse_snapshot(&error, settings, outbox),
            },
        }
    }

    /// A note may say how long the increment before this one was.
    fn on_note(&mut self, note: &[u8], outbox: &mut Outbox) -> Found {
        let Some((seq, len)) = aof_sum::read_previous(note) else {
            return Found::Nothing;
        };
        let is_it = |file: &&File| file.kind == Kind::Increment(seq) && file.len != len;
        match self.files[..self.current].iter().find(is_it) {
            None => Found::Nothing,
            Some(previous) => {
                let (name, has) = (&previous.name, previous.len);
                let text = format!(
                    "The append only file {name} has {has} bytes and had {len} when the next one was begun: it was cut \
                     short or changed. Use a backup."
                );
                self.refuse_item(text, outbox)
            }
        }
    }

    /// The byte at offset `at` of a file of commands is wrong. If zeros begin there, they may be the end.
    pub(super) fn damaged(&mut self, at: u64, settings: &Settings, outbox: &mut Outbox) -> Found {
        let last = self.is_last();
        let Some(Reading { form, .. }) = &mut self.reading else {
            return Found::Refused;
        };
        if let Form::Commands(reader) = form {
            let tail = &reader.rest()[(at - reader.offset()) as usize..];
            if last && tail.iter().all(|&byte| byte == 0) {
                *form = Form::Zeros(at);
                return Found::NeedMore;
            }
        }
        self.refuse_format(at, settings, outbox)
    }

    /// Whether no file behind this one has anything in it.
    pub(super) fn is_last(&self) -> bool {
        self.files[self.current + 1..]
            .iter()
            .all(|file| file.len == 0)
    }

    pub(super) fn file_ends(&mut self, now: Now, settings: &Settings, outbox: &mut Outbox) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let name = self.files[self.current].name.clone();
        let whole = match &reading.form {
            Form::Snapshot(decoder) => {
                if self.append_only || !decoder.is_done() {
                    let error = decoder.cut_short();
                    self.refuse_snapshot(&error, settings, outbox);
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
                    self.refuse_snapshot(&error, settings, outbox);
                    return;
                }
                let mut reader = CommandReader::new(0, head.len() as u64);
                reader.feed(&head);
                reading.form = Form::Commands(reader);
                return;
            }
            Form::Commands(reader) => reader.at_boundary(),
            Form::Zeros(_) => false,
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

    pub(super) fn next_file(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        let this = &self.files[self.current];
        let seconds = seconds_between(reading.started, now);
        outbox.notice(match (self.append_only, this.kind) {
            (false, _) => format!("DB loaded from disk: {seconds} seconds"),
            (true, Kind::Base) => {
                format!("DB loaded from base file {}: {seconds} seconds", this.name)
            }
            (true, _) => format!("DB loaded from incr file {}: {seconds} seconds", this.name),
        });
        self.current += 1;
        if self.append_only {
            self.open_current(now, outbox)
        } else {
            self.finish(outbox)
        }
    }

    // ---- a file that ends too early

    pub(super) fn cut_short(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let Some(reading) = &self.reading else { return };
        let (this, valid) = (&self.files[self.current], reading.valid);
        let name = &this.name;
        if !settings.load_truncated {
            let text = format!(
                "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF \
                 file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
                 'aof-load-truncated' configuration option to yes and restart the server."
            );
            let place = self.place(valid, "the rest of a command or transaction", settings);
            return self.refuse([text, place], outbox);
        }
        let warning = format!("!!! Warning: short read while loading the AOF file {name}!!!");
        if !self.is_last() {
            return self.refuse(
                [
                    warning,
                    "Fatal error: the truncated file is not the last file".into(),
                    self.place(valid, "the rest of a command or transaction", settings),
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

    pub(super) fn on_truncated(
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
        let log = |level, text| outbox.log(level, text);
        if self.facts.learn(now, &event, log) {
            return Found::Nothing;
        }
        match event {
            Event::NeedMore => Found::NeedMore,
            Event::End { checked } => {
                let (keys, expired) = (self.figures.keys, self.figures.expired);
                let unchecked = !checked && settings.rdb_checksum;
                let log = |level, text| outbox.log(level, text);
                self.facts.end(keys, expired, unchecked, log);
                self.snapshot_ends(settings, outbox);
                Found::Nothing
            }
            event => {
                self.figures.keys += u64::from(matches!(event, Event::Key { .. }));
                Found::Item(LoadItem::Snapshot {
                    event,
                    base: self.append_only,
                })
            }
        }
    }

    /// Behind the base of an append-only file of the old kind come commands.
    fn snapshot_ends(&mut self, settings: &Settings, outbox: &mut Outbox) {
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
