//! Refusing to load: the words of Redis, then one line with what they leave out: file, place, what should stand
//! there, and the command that shows or repairs it.

use super::super::Settings;
use super::super::file;
use super::super::manifest::ManifestError;
use super::super::outbox::{Action, Outbox, Ticket};
use super::{Form, Found, Load};
use crate::face::DiskRequest;
use crate::rdb;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

impl Load {
    /// Ends the loading with these words in the log: the engine could not apply an item.
    pub fn reject(&mut self, text: String, outbox: &mut Outbox) {
        self.refuse([text], outbox);
    }

    /// The engine could not find a command of this name.
    pub fn reject_command(&mut self, name: &[u8], settings: &Settings, outbox: &mut Outbox) {
        let name = String::from_utf8_lossy(name);
        let text = format!(
            "Unknown command '{name}' reading the append only file {}",
            self.file_name()
        );
        let before = match self.reading.as_ref().map(|reading| &reading.form) {
            Some(Form::Commands(reader)) => reader.offset(),
            _ => 0,
        };
        let place = self.place(before, "a command that is known before it", settings);
        self.refuse([text, place], outbox);
    }

    pub(super) fn refuse(&mut self, lines: impl IntoIterator<Item = String>, outbox: &mut Outbox) {
        // (What was handed out last may be refused after all was read.)
        if self.over() && !outbox.take_back(&Action::Loaded) {
            return;
        }
        for line in lines {
            outbox.warn(line);
        }
        self.stage = super::Stage::Failed;
        if self.reading.take().is_some() {
            outbox.disk(DiskRequest::Close { file: file::LOAD }, Ticket::Nobody);
        }
        outbox.push(Action::LoadFailed);
    }

    pub(super) fn refuse_item(&mut self, text: String, outbox: &mut Outbox) -> Found {
        self.refuse([text], outbox);
        Found::Refused
    }

    /// The byte at this offset of a file of commands cannot stand there.
    pub(super) fn refuse_format(
        &mut self,
        at: u64,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Found {
        let expected = match self.reading.as_ref().map(|reading| &reading.form) {
            Some(Form::Commands(reader)) => reader.expected(),
            _ => "nothing but zeros",
        };
        let text = format!(
            "Bad file format reading the append only file {}: make a backup of your AOF file, then use \
             ./redis-check-aof --fix <filename.manifest>",
            self.file_name()
        );
        let place = self.place(at, expected, settings);
        self.refuse([text, place], outbox);
        Found::Refused
    }

    /// The bytes between the two offsets are not those that were written.
    pub(super) fn refuse_rot(&mut self, from: u64, to: u64, outbox: &mut Outbox) -> Found {
        let name = self.file_name();
        let text = format!(
            "Bad checksum reading the append only file {name}: the bytes from offset {from} to {to} are not those that \
             were written. Use a backup, or make a copy and look at that place with \
             ./reprise-check-aof <filename.manifest>"
        );
        self.refuse_item(text, outbox)
    }

    pub(super) fn refuse_snapshot(
        &mut self,
        error: &rdb::RdbError,
        settings: &Settings,
        outbox: &mut Outbox,
    ) -> Found {
        use rdb::RdbErrorKind::{Checksum, ShortRead, Signature, Version};
        let at = error.offset;
        let inside = |what: &dyn core::fmt::Display| {
            format!("Internal error in RDB reading offset {at} -> {what}")
        };
        let terminating = "Terminating server after rdb file reading failure.".to_string();
        let mut lines = match &error.kind {
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
        let expected = match self.reading.as_ref().map(|reading| &reading.form) {
            Some(Form::Snapshot(decoder)) => decoder.expected(),
            _ => "the signature and version",
        };
        lines.push(self.place(at, expected, settings));
        self.refuse(lines, outbox);
        Found::Refused
    }

    pub(super) fn refuse_manifest(
        &mut self,
        error: ManifestError,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_string()];
        if let Some((number, line)) = error.line {
            lines.push(format!("Reading the manifest file, at line {number}\n"));
            lines.push(format!(">>> '{line}'\n"));
        }
        lines.push(format!("{}\n", error.reason));
        lines.push(format!(
            "{} is not as it was written. Nothing was changed: use a backup of it, or see to it that it names the files \
             that are there.",
            settings.manifest_path()
        ));
        self.refuse(lines, outbox);
    }

    /// Where the file being read is not as it should be, and what to do.
    pub(super) fn place(&self, at: u64, expected: &str, settings: &Settings) -> String {
        let path = self
            .files
            .get(self.current)
            .map_or("", |file| file.path.as_str());
        let snapshot = !self.append_only
            || matches!(
                self.reading.as_ref().map(|reading| &reading.form),
                Some(Form::Snapshot(_))
            );
        let help = if snapshot {
            format!("reprise-check-rdb {path} shows what can be read, a backup is what helps")
        } else {
            let manifest = settings.manifest_path();
            format!(
                "reprise-check-aof {manifest} shows the place, and with --fix cuts off what follows"
            )
        };
        format!("{path}, at offset {at}: expected {expected}. Nothing was changed: {help}.")
    }

    fn file_name(&self) -> &str {
        self.files
            .get(self.current)
            .map_or("", |file| file.name.as_str())
    }
}
