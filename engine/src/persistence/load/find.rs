//! Finding the files that hold the data, and how large they are.

use super::super::chain::{Chain, Progress};
use super::super::manifest::{Entry, ManifestError};
use super::super::outbox::{Outbox, Ticket};
use super::super::{Settings, aof, file, lock};
use super::{File, Kind, Load, MAX_MANIFEST, Stage, Upgrade, Wait};
use crate::face::{DiskError, DiskErrorKind, DiskReply, DiskRequest, LogLevel, Now};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

impl Load {
    /// Locks what is going to be written. A file that another server has must not even be read: it may be in
    /// the middle of anything.
    pub(super) fn lock(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if !self.append_only {
            return self.list_dir(settings, outbox);
        }
        self.stage = Stage::MakeDir;
        let path = settings.append_dirname.clone();
        self.send(DiskRequest::MakeDir { path }, outbox);
    }

    pub(super) fn on_dir_made(
        &mut self,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        if let Err(error) = result {
            let (dir, why) = (&settings.append_dirname, error.message);
            let text = format!("Can't open or create append-only dir {dir}: {why}");
            return self.refuse([text], outbox);
        }
        self.stage = Stage::Lock;
        self.send(lock::lock_aof(settings), outbox);
    }

    pub(super) fn on_lock(
        &mut self,
        result: Result<DiskReply, DiskError>,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        match lock::judge(result, settings, outbox) {
            Ok(_) => {
                self.locked = true;
                self.list_dir(settings, outbox);
            }
            Err(error) => self.refuse([lock::refusal(settings, &error.message)], outbox),
        }
    }

    pub(super) fn list_dir(&mut self, settings: &Settings, outbox: &mut Outbox) {
        self.stage = Stage::ListDir;
        let path = settings.append_dirname.clone();
        self.send(DiskRequest::List { path }, outbox);
    }

    pub(super) fn on_listed(
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

    pub(super) fn on_manifest_open(
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
                self.refuse_manifest(ManifestError { line: None, reason }, settings, outbox);
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

    pub(super) fn manifest_known(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if self.append_only {
            self.stage = Stage::OpenOldStyle;
            return self.open(&settings.append_filename, outbox);
        }
        let name = settings.db_filename.clone();
        self.files = vec![File {
            path: name.clone(),
            name,
            len: 0,
            kind: Kind::Base,
        }];
        self.stage = Stage::Size(0);
        self.open(&settings.db_filename, outbox);
    }

    /// No file of the time before Redis 7 stands in the server's directory; or one does, and cannot be read: then a
    /// start without it would be one without the data.
    pub(super) fn on_no_old_style(
        &mut self,
        error: DiskError,
        settings: &Settings,
        outbox: &mut Outbox,
    ) {
        if error.kind == DiskErrorKind::NotFound || !self.wants_old_style(settings) {
            return self.list_files(settings, outbox);
        }
        let (name, why) = (&settings.append_filename, error.message);
        let text = format!("Fatal error: can't open the append log file {name} for reading: {why}");
        self.refuse([text], outbox);
    }

    /// Whether a file of the time before Redis 7, if there is one, holds the data: there is no set of files yet, or a
    /// move was interrupted.
    fn wants_old_style(&self, settings: &Settings) -> bool {
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
        self.names.is_none() || self.manifest.is_empty() || interrupted
    }

    /// A file of the time before Redis 7 stands in the server's directory: is it ours to move in?
    pub(super) fn on_old_style(&mut self, settings: &Settings, outbox: &mut Outbox) {
        if !self.wants_old_style(settings) {
            return self.list_files(settings, outbox);
        }
        let name = &settings.append_filename;
        self.manifest.base = Some(Entry {
            name: name.clone(),
            seq: 1,
            bytes: None,
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

    pub(super) fn on_upgrade(
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

    pub(super) fn list_files(&mut self, settings: &Settings, outbox: &mut Outbox) {
        let file = |name: &String, kind| File {
            name: name.clone(),
            path: settings.aof_path(name),
            len: 0,
            kind,
        };
        let increment = |entry: &Entry| file(&entry.name, Kind::Increment(entry.seq));
        let base = self.manifest.base.iter().map(|e| file(&e.name, Kind::Base));
        let increments = self.manifest.increments.iter().map(increment);
        let mut files: Vec<File> = base.chain(increments).collect();
        files.extend((self.strays(settings).iter()).map(|name| file(name, Kind::Stray)));
        self.files = files;
        match self.files.first() {
            None => self.finish(outbox),
            Some(first) => {
                let path = first.path.clone();
                self.stage = Stage::Size(0);
                self.open(&path, outbox);
            }
        }
    }

    /// Increments newer than those that the manifest names, unless there is such a base, too.
    fn strays(&self, settings: &Settings) -> Vec<String> {
        let names = self.names.as_deref().unwrap_or_default();
        let newer = |kind: &str, than: u64| {
            let (head, tail) = (format!("{}.", settings.append_filename), format!(".{kind}"));
            let found = names.iter().filter(move |name| {
                let seq = name.strip_prefix(&head).and_then(|n| n.strip_suffix(&tail));
                seq.and_then(|seq| seq.parse::<u64>().ok())
                    .is_some_and(|seq| seq > than)
            });
            found.cloned().collect::<Vec<_>>()
        };
        let bases = ["base.rdb", "base.aof"];
        if bases
            .iter()
            .any(|kind| !newer(kind, self.manifest.base_seq).is_empty())
        {
            return Vec::new();
        }
        let mut found = newer("incr.aof", self.manifest.increment_seq);
        found.retain(|name| self.manifest.history.iter().all(|old| old.name != *name));
        found
    }

    pub(super) fn on_size(
        &mut self,
        index: usize,
        result: Result<DiskReply, DiskError>,
        outbox: &mut Outbox,
    ) {
        match result {
            Ok(DiskReply::Opened { len }) => {
                self.files[index].len = len;
                self.figures.total_bytes += len;
                self.stage = Stage::CloseSized(index);
                self.send(DiskRequest::Close { file: file::LOAD }, outbox);
            }
            Err(error)
                if !self.append_only && self.may_miss && error.kind == DiskErrorKind::NotFound =>
            {
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

    pub(super) fn size_next(&mut self, now: Now, index: usize, outbox: &mut Outbox) {
        if let Some(next) = self.files.get(index) {
            let path = next.path.clone();
            self.stage = Stage::Size(index);
            return self.open(&path, outbox);
        }
        let stray = |file: &&File| file.kind == Kind::Stray && file.len > 0;
        if let Some(stray) = self.files.iter().find(stray) {
            let text = format!(
                "The AOF manifest does not name {}, which is newer than all that it names and has data. If the manifest is \
                 right, move that file away.",
                stray.name
            );
            return self.refuse([text], outbox);
        }
        let base = self.manifest.base.as_ref().and_then(|base| base.bytes);
        if let (Some(bytes), Some(file)) = (base.filter(|_| self.append_only), self.files.first())
            && file.len != bytes
        {
            let text = format!(
                "The append only file {} has {} bytes and had {bytes} when it was written: it was cut short or changed. \
                 Use a backup.",
                file.name, file.len
            );
            return self.refuse([text], outbox);
        }
        self.files.retain(|file| file.kind != Kind::Stray);
        self.open_current(now, outbox);
    }
}
