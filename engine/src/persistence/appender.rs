//! One increment file and the journal offsets that it holds: what was written, what was synced, what to
//! do next.
//!
//! At most one write is under way. What the journal gained meanwhile goes with the next one, so a slow
//! disk makes batches larger, not queues longer (under `always` this is the group commit: one write and
//! one sync for all commands of a batch). Nothing is buffered here: a write that failed is read from the
//! journal again.

use super::aof_sum::{self, NOTE_BYTES, Sum};
use super::outbox::{Outbox, Ticket};
use super::policy::{Failure, RETRY_MS, Remedy, SLOW_SYNC_MS, remedy};
use super::{Fsync, aof};
use crate::face::{DiskError, DiskReply, DiskRequest, FileId, Now};
use crate::journal::Journal;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

/// Most bytes of one write: a torn batch should not cost more than this, a fast disk not wait for us.
const MAX_BATCH: u64 = 8 << 20;
/// Milliseconds between syncs under `everysec`, and between checksums.
const SECOND_MS: u64 = 1000;
/// Write errors are logged at most this often.
const ERROR_LOG_MS: u64 = 30_000;

/// What the appender must know of the world at each call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub fsync: Fsync,
    /// Leave syncs to the kernel for now (`no-appendfsync-on-rewrite` while a snapshot is written).
    pub hold_sync: bool,
    /// Write and sync without delay: the file is being closed, or the server stops.
    pub hurry: bool,
    /// Put `#TS:` lines between commands.
    pub timestamps: bool,
    /// The promise of durability is in force: under `always` an error stops the process.
    pub promised: bool,
}

/// Something that the owner must act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// A promise cannot be kept: exit.
    Fatal,
}

#[derive(Debug)]
pub(super) struct Appender {
    pub file: FileId,
    pub path: String,
    /// Length in bytes of the file's part that is whole.
    pub len: u64,
    /// The journal up to here is in the file.
    pub written: u64,
    /// The journal up to here is durable.
    pub synced: u64,
    /// The journal from here on belongs to another file.
    pub limit: u64,
    flight: Flight,
    /// The sync under way would make the journal durable up to here, and so many writes.
    syncing: Option<(u64, u64)>,
    /// How many writes have succeeded, and how many of them are durable.
    writes: u64,
    synced_writes: u64,
    last_sync_ms: u64,
    /// Since when a write waits for a sync.
    postponed_ms: Option<u64>,
    retry_ms: Option<u64>,
    last_error_log_ms: Option<u64>,
    /// The second named by the last `#TS:` line.
    timestamp_s: u64,
    /// The database of the journal where the file begins, until the file has been told.
    select: Option<u32>,
    /// Bytes that must go before the journal's: a `#TS:` line, a SELECT, or the rest of a line that was cut.
    prefix: Bytes,
    /// The checksum at the end of the write under way.
    note: Bytes,
    /// Whether the file ends at a command's end.
    at_boundary: bool,
    /// Of what is in the file since the last checksum; nothing, where that is not known: then it counts anew.
    sum: Option<Sum>,
    /// The same as it will be when the write under way has succeeded.
    next_sum: Option<Sum>,
    /// The nearest increment before this one that has anything in it: its number and its length.
    pub follows: Option<(u64, u64)>,
    /// When the last checksum was written.
    noted_ms: u64,
    /// Why the last write failed, until one succeeds.
    pub write_error: Option<String>,
    /// Why a sync failed. What the file held then is of unknown durability for ever.
    pub sync_error: Option<String>,
    /// Writes that did not wait any longer for a sync.
    pub delayed_syncs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    None,
    /// A write of `bytes`, after which the file holds the journal up to `to`; `whole`: a command's end.
    Write {
        bytes: u64,
        to: u64,
        whole: bool,
    },
    /// Removing what a failed write left: so many bytes of one that would have reached `to`. `fatal`: it is the last
    /// that is done.
    Truncate {
        partial: u64,
        to: u64,
        fatal: bool,
    },
}

impl Appender {
    /// An appender to an open file of `len` bytes, which holds the journal up to `offset`, durably. `db`: the
    /// database that the journal is in there; if none is known, it names the next one itself.
    pub fn new(
        file: FileId,
        path: String,
        len: u64,
        offset: u64,
        db: Option<u32>,
        now: Now,
    ) -> Appender {
        Appender {
            file,
            path,
            len,
            written: offset,
            synced: offset,
            limit: u64::MAX,
            flight: Flight::None,
            syncing: None,
            writes: 0,
            synced_writes: 0,
            last_sync_ms: now.mono_ms(),
            postponed_ms: None,
            retry_ms: None,
            last_error_log_ms: None,
            timestamp_s: 0,
            select: db,
            prefix: Bytes::new(),
            note: Bytes::new(),
            at_boundary: true,
            sum: (len == 0).then(Sum::default),
            next_sum: None,
            follows: None,
            noted_ms: now.mono_ms(),
            write_error: None,
            sync_error: None,
            delayed_syncs: 0,
        }
    }

    /// Sends what is due: a sync, a write, or both.
    pub fn pump(
        &mut self,
        now: Now,
        journal: &Journal,
        conditions: Conditions,
        outbox: &mut Outbox,
    ) {
        if self.flight != Flight::None {
            return;
        }
        let conditions = Conditions {
            hold_sync: conditions.hold_sync && !conditions.hurry,
            ..conditions
        };
        let end = journal.sealed().min(self.limit);
        let note_due = self.note_due(now, conditions);
        // A checksum goes with the sync of what it sums up.
        let note_first = note_due && self.written >= end;
        let sync_due = self.sync_due(now, conditions);
        if sync_due && !note_first {
            self.sync(now, outbox);
        }
        let nothing = self.written >= end && !self.is_inside_line() && !note_due;
        if nothing || !self.may_write(now, conditions, outbox) {
            return;
        }
        self.write(now, journal, end, conditions, outbox);
        if sync_due && note_first {
            // Under `everysec` it comes after the write's answer, so that a slow sync is known for what it is.
            if conditions.fsync != Fsync::EverySec || conditions.hurry {
                self.sync(now, outbox);
            }
            return;
        }
        if conditions.fsync == Fsync::Always && !conditions.hold_sync {
            self.sync(now, outbox);
        }
    }

    /// Whether everything up to the limit is in the file, with its checksum, and no operation is under way.
    pub fn drained(&self) -> bool {
        // A checksum that finds no room is done without.
        let note = self.may_note() && self.write_error.is_none();
        let unfinished = self.is_inside_line() || note;
        self.written >= self.limit && !self.busy() && !unfinished
    }

    /// Whether the file ends inside a line that is not the journal's.
    fn is_inside_line(&self) -> bool {
        !self.at_boundary && !self.prefix.is_empty()
    }

    /// Whether a sync or write is under way.
    pub fn busy(&self) -> bool {
        self.flight != Flight::None || self.syncing.is_some()
    }

    /// Whether a sync is under way, or a write with the sync that follows it.
    pub fn syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Syncs now if anything is not durable. Returns whether there is one to wait for.
    pub fn sync_rest(&mut self, now: Now, outbox: &mut Outbox) -> bool {
        if self.syncing.is_none() && self.is_dirty() && self.sync_error.is_none() {
            self.sync(now, outbox);
        }
        self.syncing.is_some()
    }

    /// When [`pump`](Appender::pump) has something to do even if nothing else happens, in milliseconds.
    pub fn deadline_ms(&self, conditions: Conditions) -> Option<u64> {
        if self.flight != Flight::None {
            return None;
        }
        let sync = (conditions.fsync == Fsync::EverySec
            && self.syncing.is_none()
            && !conditions.hold_sync)
            .then_some(self.last_sync_ms + SECOND_MS)
            .filter(|_| self.is_dirty() && self.sync_error.is_none());
        let write = self.postponed_ms.map(|since| since + SLOW_SYNC_MS);
        let earliest = self.retry_ms.unwrap_or(0);
        let note = self
            .may_note()
            .then_some((self.noted_ms + SECOND_MS).max(earliest));
        [sync, write, note, self.retry_ms]
            .into_iter()
            .flatten()
            .min()
    }

    /// What the increment that follows this one says about the one before it.
    pub fn before_next(&self) -> Option<(u64, u64)> {
        let name = self.path.strip_suffix(".incr.aof");
        let number = name.and_then(|name| name.rsplit('.').next()?.parse().ok());
        match (number, self.len) {
            (_, 0) => self.follows,
            (Some(number), len) => Some((number, len)),
            (None, _) => None,
        }
    }

    /// The answer to a write.
    pub fn on_write(
        &mut self,
        now: Now,
        result: Result<DiskReply, DiskError>,
        conditions: Conditions,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Flight::Write { bytes, to, whole } = self.flight else {
            return Verdict::Fine;
        };
        self.flight = Flight::None;
        let Err(error) = result else {
            self.len += bytes;
            self.writes += 1;
            self.written = to;
            self.at_boundary = whole;
            self.prefix = Bytes::new();
            mem::swap(&mut self.sum, &mut self.next_sum);
            self.retry_ms = None;
            if self.write_error.take().is_some() {
                outbox.warn("AOF write error looks solved, Redis can write again.".into());
            }
            return Verdict::Fine;
        };
        let written = error.written.min(bytes);
        if self.may_log(now) {
            outbox.warn(if written == 0 {
                format!("Error writing to the AOF file: {}", error.message)
            } else {
                format!("Short write while writing to the AOF file: (nwritten={written}, expected={bytes})")
            });
        }
        self.write_error = Some(error.message);
        self.retry_ms = Some(now.mono_ms() + RETRY_MS);
        let promised = conditions.promised && to > self.written;
        let fatal = remedy(Failure::Write, conditions.fsync, promised) == Remedy::Exit;
        if fatal {
            outbox.warn(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...".into(),
            );
        }
        if written > 0 {
            self.flight = Flight::Truncate {
                partial: written,
                to,
                fatal,
            };
            let request = DiskRequest::Truncate {
                path: self.path.clone(),
                len: self.len,
            };
            outbox.disk(request, Ticket::Aof(aof::Wait::Truncate(self.file)));
        } else if fatal {
            return Verdict::Fatal;
        }
        Verdict::Fine
    }

    /// The answer to the removal of what a failed write left.
    pub fn on_truncate(
        &mut self,
        result: Result<DiskReply, DiskError>,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Flight::Truncate { partial, to, fatal } = self.flight else {
            return Verdict::Fine;
        };
        self.flight = Flight::None;
        if let Err(error) = result {
            outbox.warn(format!(
                "Could not remove short write from the append-only file.  Redis may refuse to load the AOF \
                 the next time it starts.  ftruncate: {}",
                error.message
            ));
            // What is there stays and counts: the retry goes on behind it.
            self.writes += 1;
            self.sum = None;
            self.len += partial;
            let prefix = (self.prefix.len() as u64).min(partial);
            drop(self.prefix.split_to(prefix as usize));
            let journal = (to - self.written).min(partial - prefix);
            self.written += journal;
            let note = partial - prefix - journal;
            if note > 0 {
                self.prefix = self.note.split_off(note as usize);
            }
            self.at_boundary = false;
        }
        if fatal { Verdict::Fatal } else { Verdict::Fine }
    }

    /// The answer to a sync.
    pub fn on_sync(
        &mut self,
        result: Result<DiskReply, DiskError>,
        conditions: Conditions,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some((target, writes)) = self.syncing.take() else {
            return Verdict::Fine;
        };
        match result {
            Ok(_) if self.sync_error.is_none() => {
                // A write that went with the sync may have failed.
                self.synced = self.synced.max(target.min(self.written));
                self.synced_writes = self.synced_writes.max(writes.min(self.writes));
                Verdict::Fine
            }
            Ok(_) => Verdict::Fine,
            Err(error)
                if remedy(Failure::Sync, conditions.fsync, conditions.promised) == Remedy::Exit =>
            {
                outbox.warn(format!(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                    error.message
                ));
                Verdict::Fatal
            }
            Err(error) => {
                outbox.warn(format!("Fail to fsync the AOF file: {}", error.message));
                self.sync_error = Some(error.message);
                Verdict::Fine
            }
        }
    }

    fn sync_due(&self, now: Now, conditions: Conditions) -> bool {
        let due = match conditions.fsync {
            _ if conditions.hurry => true,
            Fsync::Always => true,
            Fsync::EverySec => now.mono_ms() >= self.last_sync_ms + SECOND_MS,
            Fsync::No => false,
        };
        due && self.syncing.is_none()
            && self.is_dirty()
            && self.sync_error.is_none()
            && !conditions.hold_sync
    }

    /// Whether anything in the file is not durable, be it of the journal or not.
    fn is_dirty(&self) -> bool {
        self.synced_writes < self.writes
    }

    fn sync(&mut self, now: Now, outbox: &mut Outbox) {
        self.syncing = Some(match self.flight {
            Flight::Write { to, .. } => (to, self.writes + 1),
            _ => (self.written, self.writes),
        });
        self.last_sync_ms = now.mono_ms();
        outbox.disk(
            DiskRequest::Sync { file: self.file },
            Ticket::Aof(aof::Wait::Sync(self.file)),
        );
    }

    /// Whether a write may go now: not right after an error, and under `everysec` not for two seconds
    /// while a sync is under way (it would wait in the disk's queue and only make the next batch smaller).
    fn may_write(&mut self, now: Now, conditions: Conditions, outbox: &mut Outbox) -> bool {
        let ms = now.mono_ms();
        if self.retry_ms.is_some_and(|at| ms < at) {
            return false;
        }
        if self.syncing.is_some() && !conditions.hurry && conditions.fsync == Fsync::EverySec {
            let since = *self.postponed_ms.get_or_insert(ms);
            if ms < since + SLOW_SYNC_MS {
                return false;
            }
            self.delayed_syncs += 1;
            outbox.notice(
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without \
                 waiting for fsync to complete, this may slow down Redis."
                    .into(),
            );
        }
        // Under `always` the sync under way came with a write: its turn ends first.
        self.syncing.is_none() || conditions.fsync != Fsync::Always
    }

    fn write(
        &mut self,
        now: Now,
        journal: &Journal,
        end: u64,
        conditions: Conditions,
        outbox: &mut Outbox,
    ) {
        self.postponed_ms = None;
        if self.at_boundary && self.prefix.is_empty() && self.written < end {
            self.prefix = self.prefix_due(now, conditions).into();
        }
        let to = end.min(self.written + MAX_BATCH);
        let mut data = Vec::new();
        data.extend((!self.prefix.is_empty()).then(|| self.prefix.clone()));
        data.extend(journal.read_for_file(self.written, to - self.written));
        self.note = Bytes::new();
        self.next_sum.clone_from(&self.sum);
        if self.sum.is_none() && self.prefix.starts_with(Sum::RESTART) {
            self.next_sum = Some(Sum::default());
        }
        let may_note = to == end;
        let is_time = self.note_time(now, conditions);
        if let Some(sum) = &mut self.next_sum {
            for piece in &data {
                sum.update(piece.strip_prefix(Sum::RESTART).unwrap_or(piece));
            }
            if may_note && (sum.bytes() >= NOTE_BYTES || is_time) {
                self.note = sum.note().into();
                self.noted_ms = now.mono_ms();
                data.push(self.note.clone());
            }
        }
        let bytes = data.iter().map(|piece| piece.len() as u64).sum();
        self.flight = Flight::Write {
            bytes,
            to,
            whole: to == end,
        };
        outbox.disk(
            DiskRequest::Write {
                file: self.file,
                data,
            },
            Ticket::Aof(aof::Wait::Write(self.file)),
        );
    }

    /// Whether it is time for a checksum, if there is anything to sum up.
    fn note_time(&self, now: Now, conditions: Conditions) -> bool {
        conditions.hurry || now.mono_ms() >= self.noted_ms + SECOND_MS
    }

    /// Whether a checksum should be written even if there is nothing else to write.
    fn note_due(&self, now: Now, conditions: Conditions) -> bool {
        self.may_note() && self.note_time(now, conditions)
    }

    /// Whether a checksum could be written now: there is something to sum up, and nothing to wait for.
    fn may_note(&self) -> bool {
        let uncovered = self.sum.as_ref().is_some_and(|sum| sum.bytes() > 0);
        uncovered && self.at_boundary && self.syncing.is_none()
    }

    /// What must stand between the commands written so far and the next one.
    fn prefix_due(&mut self, now: Now, conditions: Conditions) -> String {
        let mut prefix = String::new();
        if self.sum.is_none() {
            prefix += Sum::RESTART_TEXT;
        }
        if let Some(previous) = self.follows.filter(|_| self.len == 0) {
            prefix += &aof_sum::previous(previous);
        }
        let seconds = now.unix_us / 1_000_000;
        if conditions.timestamps && seconds > self.timestamp_s {
            prefix += &format!("#TS:{seconds}\r\n");
            self.timestamp_s = seconds;
        }
        if let Some(db) = self.select.take() {
            let db = format!("{db}");
            prefix += &format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{db}\r\n", db.len());
        }
        prefix
    }

    fn may_log(&mut self, now: Now) -> bool {
        let ms = now.mono_ms();
        let may = self
            .last_error_log_ms
            .is_none_or(|last| ms > last + ERROR_LOG_MS);
        if may {
            self.last_error_log_ms = Some(ms);
        }
        may
    }
}
