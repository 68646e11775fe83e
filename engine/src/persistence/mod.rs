//! Append-only file, snapshot file and loading, all as requests to and answers from a disk.
//!
//! [`Persistence`] is a state machine of its own: the engine tells it what happened, takes what must be done
//! ([`Persistence::poll_action`]) and brings the disk's answers back in order ([`Persistence::on_disk`]).
//!
//! ```text
//! start     new ─ begin_load ─ (poll_load … until Action::Loaded) ─ open ─ Action::Ready
//! a turn    pump(journal): what the journal gained goes to the file; then replies up to durable_offset() leave
//! a tick    tick(): is a save or a rewrite due?  → Action::WantSave / WantRewrite
//! rewrite   begin_rewrite(at) ─ base_chunk … ─ base_end ─ Action::RewriteDone / RewriteAborted
//! save      begin_save() ─ save_chunk … ─ save_end ─ Action::SaveDone / SaveAborted
//! ```
//!
//! Whoever writes a snapshot asks [`Persistence::wants_base`] or [`Persistence::wants_save`] before each
//! piece: the disk sets the pace.
//!
//! Two servers do not write to one append-only file: see `lock`.
//!
//! The files are those of Redis 7: a snapshot `dump.rdb`, and an append-only file of several parts in its
//! directory (see `manifest`). What is promised is said once, in `aof`; what happens when the disk fails, in
//! `policy`; what is forgiven when loading, in `load`.

mod aof;
pub(crate) mod aof_reader;
mod aof_sum;
mod appender;
mod chain;
mod info;
mod load;
mod lock;
pub(crate) mod manifest;
mod outbox;
mod policy;
mod save;
mod stream;

#[cfg(test)]
pub(crate) mod tests;

pub use aof::FlushState;
pub use aof_reader::{Command, CommandReader, Next};
pub use aof_sum::read_previous;
pub use info::{AofInfo, Info, LoadingInfo, Walked};
pub use load::{LoadItem, Source};
pub use manifest::{Manifest, ManifestError};
pub use outbox::Action;

use crate::face::{DiskError, DiskReply, Now};
use crate::journal::Journal;
use crate::rdb::{LoadedReplication, PLAIN_KEYS, Plain};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use aof::{Aof, State};
use bytes::Bytes;
use core::mem;
use load::Load;
use outbox::{Outbox, Ticket};
use save::Save;
use smallvec::SmallVec;

/// The names of our files towards the disk; all are below 0x1_0000.
pub(crate) mod file {
    use crate::face::FileId;

    pub const MANIFEST: FileId = FileId(1);
    pub const SNAPSHOT: FileId = FileId(2);
    pub const BASE: FileId = FileId(3);
    pub const LOAD: FileId = FileId(4);
    pub const INCREMENT_A: FileId = FileId(5);
    pub const INCREMENT_B: FileId = FileId(6);
    pub const DIR_LOCK: FileId = FileId(7);
    pub const AOF_LOCK: FileId = FileId(8);
}

/// A wish that came to nothing (someone else's snapshot was under way) is repeated after this time.
const WISH_AGAIN_MS: u64 = 1000;

/// When the append-only file is synced (`appendfsync`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before any reply that depends on it.
    Always,
    /// Once a second.
    #[default]
    EverySec,
    /// When the kernel likes.
    No,
}

/// One save point: so many changes after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last save must exceed this.
    pub seconds: u64,
    /// At least so many changes.
    pub changes: u64,
}

/// The directives that concern persistence. Names and defaults are those of redis.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `appendonly`, at the start. At run time [`Persistence::set_append_only`] switches.
    pub append_only: bool,
    /// `appendfilename`.
    pub append_filename: String,
    /// `appenddirname`.
    pub append_dirname: String,
    /// `appendfsync`.
    pub fsync: Fsync,
    /// `no-appendfsync-on-rewrite`.
    pub no_fsync_on_rewrite: bool,
    /// `auto-aof-rewrite-percentage`; 0 is never.
    pub aof_rewrite_percentage: u64,
    /// `auto-aof-rewrite-min-size` in bytes.
    pub aof_rewrite_min_size: u64,
    /// `aof-load-truncated`.
    pub load_truncated: bool,
    /// `aof-use-rdb-preamble`: a base is a snapshot, not commands.
    pub aof_use_rdb_preamble: bool,
    /// `aof-timestamp-enabled`.
    pub aof_timestamps: bool,
    /// `aof-rewrite-incremental-fsync`.
    pub aof_rewrite_incremental_fsync: bool,
    /// `dbfilename`.
    pub db_filename: String,
    /// `rdb-save-incremental-fsync`.
    pub rdb_save_incremental_fsync: bool,
    /// `rdbchecksum`.
    pub rdb_checksum: bool,
    /// `save`.
    pub save_points: Vec<SavePoint>,
    /// `stop-writes-on-bgsave-error`.
    pub stop_writes_on_save_error: bool,
    /// `dir`. Paths are relative to it.
    pub dir: String,
    /// Tells the temporary files of servers apart that share a directory. Empty: nobody else is there.
    pub token: String,
    /// The version that snapshots claim.
    pub redis_version: &'static str,
}

impl Default for Settings {
    fn default() -> Settings {
        let point = |seconds, changes| SavePoint { seconds, changes };
        Settings {
            append_only: false,
            append_filename: "appendonly.aof".into(),
            append_dirname: "appendonlydir".into(),
            fsync: Fsync::EverySec,
            no_fsync_on_rewrite: false,
            aof_rewrite_percentage: 100,
            aof_rewrite_min_size: 64 << 20,
            load_truncated: true,
            aof_use_rdb_preamble: true,
            aof_timestamps: false,
            aof_rewrite_incremental_fsync: true,
            db_filename: "dump.rdb".into(),
            rdb_save_incremental_fsync: true,
            rdb_checksum: true,
            save_points: [point(3600, 1), point(300, 100), point(60, 10_000)].into(),
            stop_writes_on_save_error: true,
            dir: ".".into(),
            token: String::new(),
            redis_version: "7.0.15",
        }
    }
}

impl Settings {
    fn aof_path(&self, name: &str) -> String {
        format!("{}/{name}", self.append_dirname)
    }

    fn manifest_path(&self) -> String {
        self.aof_path(&format!("{}.manifest", self.append_filename))
    }

    fn temp_manifest_path(&self) -> String {
        self.aof_path(&format!("temp-{}.manifest", self.append_filename))
    }

    /// Where the increment grows until the first base is there.
    fn temp_increment_path(&self) -> String {
        self.aof_path(&format!("temp-{}.incr", self.append_filename))
    }

    fn temp_base_path(&self) -> String {
        self.aof_path(&self.temp_path("temp-rewriteaof-bg", "aof"))
    }

    fn temp_snapshot_path(&self) -> String {
        self.temp_path("temp-bgsave", "rdb")
    }

    fn temp_path(&self, name: &str, suffix: &str) -> String {
        match self.token.as_str() {
            "" => format!("{name}.{suffix}"),
            token => format!("{name}-{token}.{suffix}"),
        }
    }

    /// What stands for the append-only file where servers lock it.
    fn lock_path(&self) -> String {
        self.aof_path(&format!("{}.lock", self.append_filename))
    }
}

/// Why writing commands must be refused, and what the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteGate {
    /// The last snapshot could not be saved.
    SaveFailed,
    /// The append-only file has an error, in the system's words.
    Aof(String),
}

impl WriteGate {
    /// The error reply, without the leading `-`.
    pub fn message(&self) -> String {
        match self {
            WriteGate::SaveFailed => "MISCONF Redis is configured to save RDB snapshots, but it's currently unable \
                 to persist to disk. Commands that may modify the data set are disabled, because this instance is \
                 configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error \
                 option). Please check the Redis logs for details about the RDB error."
                .into(),
            WriteGate::Aof(why) => format!("MISCONF Errors writing to the AOF file: {why}"),
        }
    }
}

/// All of persistence. See the module's documentation for the order of calls.
#[derive(Debug)]
pub struct Persistence {
    settings: Settings,
    /// The directory that was moved into last.
    home: String,
    outbox: Outbox,
    aof: Aof,
    save: Save,
    load: Option<Load>,
    last_load: load::Figures,
    replication: LoadedReplication,
    /// When a snapshot for replicas began that is being made, in monotonic milliseconds.
    for_replicas_ms: Option<u64>,
    /// How far the snapshot under way, or the last one, has come.
    walked: Walked,
    /// When a wish was sent of which nothing has come yet.
    wished_ms: Option<u64>,
}

impl Persistence {
    /// At rest: nothing is read or written before [`begin_load`](Persistence::begin_load).
    pub fn new(settings: Settings, now: Now) -> Persistence {
        Persistence {
            aof: Aof::new(settings.append_only),
            save: Save::new(now),
            outbox: Outbox::default(),
            load: None,
            last_load: load::Figures::default(),
            replication: LoadedReplication::default(),
            for_replicas_ms: None,
            walked: Walked::default(),
            wished_ms: None,
            home: settings.dir.clone(),
            settings,
        }
    }

    /// The next thing to do, in order. Drain it after every call.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.next_action()
    }

    /// The answer to the oldest [`Action::Disk`] that has none. Afterwards [`pump`](Persistence::pump), as
    /// after any event.
    pub fn on_disk(&mut self, now: Now, result: Result<DiskReply, DiskError>) {
        let snapshotting = self.snapshotting();
        let (settings, outbox) = (&self.settings, &mut self.outbox);
        match outbox.next_ticket() {
            Ticket::Aof(wait) => {
                self.aof
                    .on_disk(now, wait, result, settings, snapshotting, outbox)
            }
            Ticket::Load(wait) => {
                if let Some(load) = &mut self.load {
                    load.on_disk(now, wait, result, settings, outbox);
                }
            }
            Ticket::Save(wait) => self.save.on_disk(now, wait, result, settings, outbox),
            Ticket::Nobody => {}
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the settings (CONFIG SET). `appendonly` is not heeded here, see
    /// [`set_append_only`](Persistence::set_append_only).
    pub fn configure(&mut self, settings: Settings) {
        let moved = self.home != settings.dir;
        let token = mem::take(&mut self.settings.token);
        self.settings = Settings {
            append_only: self.settings.append_only,
            token: if moved { settings.token } else { token },
            ..settings
        };
        if moved && self.aof.move_in(&self.settings, &mut self.outbox) {
            self.home = self.settings.dir.clone();
        }
    }

    /// Whether a CONFIG SET waits for the lock of an append-only file that it names.
    pub fn locking(&self) -> bool {
        self.aof.locking()
    }

    /// Why the append-only file that CONFIG SET named must not be used, if so. Known when nothing is
    /// [`locking`](Persistence::locking) any more; said once.
    pub fn take_lock_refusal(&mut self) -> Option<String> {
        self.aof.lock_refusal.take()
    }

    // ---- start

    /// Begins to load. Nothing else may be under way.
    pub fn begin_load(&mut self, now: Now, source: Source) {
        self.load = Some(Load::start(now, source, &self.settings, &mut self.outbox));
    }

    /// The next item to apply; nothing while waiting for the disk. Call it after each
    /// [`on_disk`](Persistence::on_disk) until nothing comes, or as often as the turn's budget allows.
    pub fn poll_load(&mut self, now: Now) -> Option<LoadItem> {
        let load = self.load.as_mut()?;
        let item = load.poll(now, &self.settings, &mut self.outbox);
        self.last_load = load.figures;
        item
    }

    /// Keys with short strings that a snapshot holds next, and whether it is the base of an append-only file (see
    /// [`LoadItem::Snapshot`]). If there are none, [`poll_load`](Persistence::poll_load) says what is next.
    pub fn plain_keys(&mut self) -> (bool, SmallVec<[Plain<'_>; PLAIN_KEYS]>) {
        let Some(load) = &mut self.load else {
            return (false, SmallVec::new());
        };
        let base = load.is_base();
        let keys = load.plain_keys(&mut self.last_load);
        (base, keys)
    }

    /// Whether data is being loaded (`-LOADING`).
    pub fn loading(&self) -> bool {
        self.load.as_ref().is_some_and(|load| !load.over())
    }

    /// Ends the loading with this log line: an item could not be applied (`RDB has duplicated key …`).
    pub fn reject_load(&mut self, text: String) {
        if let Some(load) = &mut self.load {
            load.reject(text, &mut self.outbox);
        }
    }

    /// Ends the loading: no command has this name.
    pub fn reject_command(&mut self, name: &[u8]) {
        if let Some(load) = &mut self.load {
            load.reject_command(name, &self.settings, &mut self.outbox);
        }
    }

    /// Says that so many of the keys that were handed out had expired and were not kept.
    pub fn count_expired(&mut self, keys: u64) {
        if let Some(load) = &mut self.load {
            load.figures.expired += keys;
        }
    }

    /// Says that so many keys of a primary's snapshot were loaded, all of which stay.
    pub fn count_synchronised(&mut self, keys: u64) {
        self.last_load.keys = keys;
        self.last_load.expired = 0;
    }

    /// Where in a replication stream the loaded snapshot stands. Known from [`Action::Loaded`] on.
    pub fn loaded_replication(&self) -> &LoadedReplication {
        self.load
            .as_ref()
            .map_or(&self.replication, |load| &load.facts.replication)
    }

    /// After [`Action::Loaded`] at the start: opens the append-only file if it is on. `journal_offset`: where
    /// the journal will go on. [`Action::Ready`] or [`Action::LoadFailed`] follows.
    pub fn open(&mut self, now: Now, journal_offset: u64, changes: u64) {
        self.save.set_saved(changes);
        let Some(load) = self.load.take() else { return };
        if load.alone {
            self.settings.token.clear();
        }
        self.aof.locked = load.locked;
        self.replication = load.facts.replication;
        self.aof.manifest = load.manifest;
        self.aof.open(
            now,
            journal_offset,
            load.sizes,
            &self.settings,
            &mut self.outbox,
        );
    }

    /// After [`Action::Loaded`] or [`Action::LoadFailed`] of a load at run time.
    pub fn end_load(&mut self, changes: u64) {
        self.load = None;
        self.save.set_saved(changes);
    }

    // ---- every turn

    /// Hands what the journal gained to the file. Call it at the end of each turn, before the replies of the
    /// turn are released. `for_replicas`: a snapshot for replicas is being made.
    pub fn pump(&mut self, now: Now, journal: &Journal, for_replicas: bool) {
        self.for_replicas_ms =
            for_replicas.then(|| self.for_replicas_ms.unwrap_or_else(|| now.mono_ms()));
        let snapshotting = self.snapshotting();
        self.aof
            .pump(now, journal, &self.settings, snapshotting, &mut self.outbox);
    }

    /// How far the snapshot under way has come, for INFO.
    pub fn set_walked(&mut self, walked: Walked) {
        self.walked = walked;
    }

    /// Replies to commands executed at journal offsets up to this one may leave. Only grows.
    pub fn durable_offset(&self) -> u64 {
        self.aof.durable()
    }

    /// Whether a sync of the append-only file is under way: [`durable_offset`](Persistence::durable_offset) may rise
    /// when it ends.
    pub fn syncing(&self) -> bool {
        self.aof.syncing()
    }

    /// The journal is on stable storage up to this offset, whatever the policy; nothing while the append-only
    /// file is off, not complete, or in error.
    pub fn synced_offset(&self) -> Option<u64> {
        self.aof.synced()
    }

    /// The journal must be kept from this offset on.
    pub fn needed_from(&self) -> Option<u64> {
        self.aof.needed_from()
    }

    /// When [`pump`](Persistence::pump) has something to do even if nothing happens, in microseconds of the
    /// monotonic clock.
    pub fn deadline(&self) -> Option<u64> {
        self.aof
            .deadline_ms(&self.settings, self.snapshotting())
            .map(|ms| ms * 1000)
    }

    /// Several times a second, outside commands: asks for a save or a rewrite if one is due and nothing of the
    /// kind is under way. `changes`: the count of all changes to the data set so far.
    pub fn tick(&mut self, now: Now, changes: u64) {
        if self.snapshotting() || self.aof.rewriting() || self.loading() {
            return;
        }
        let ms = now.mono_ms();
        if self.wished_ms.is_some_and(|at| ms < at + WISH_AGAIN_MS) {
            return;
        }
        let (settings, outbox) = (&self.settings, &mut self.outbox);
        let wish = if self.save.due(now, changes, settings, outbox) {
            Action::WantSave
        } else if self.aof.due(now, settings, outbox) {
            Action::WantRewrite
        } else {
            return;
        };
        self.wished_ms = Some(ms);
        outbox.push(wish);
    }

    /// Why writing commands must be refused, if they must.
    pub fn write_gate(&self) -> Option<WriteGate> {
        let settings = &self.settings;
        if settings.stop_writes_on_save_error
            && !settings.save_points.is_empty()
            && self.save.figures.last_failed
        {
            return Some(WriteGate::SaveFailed);
        }
        self.aof.error().map(|why| WriteGate::Aof(why.into()))
    }

    // ---- the append-only file

    /// CONFIG SET appendonly. `sealed`: the journal's sealed end.
    pub fn set_append_only(&mut self, on: bool, sealed: u64) {
        self.settings.append_only = on;
        if on {
            let snapshotting = self.snapshotting();
            let settings = &self.settings;
            self.aof.enable(snapshotting, settings, &mut self.outbox);
        } else {
            self.aof.disable(sealed, &mut self.outbox);
        }
    }

    /// The journal starts over at another history's offset (after a full synchronisation).
    pub fn rebase(&mut self, journal_offset: u64) {
        self.aof.rebase(journal_offset, &mut self.outbox);
    }

    /// Whether a rewrite is under way.
    pub fn rewriting(&self) -> bool {
        self.aof.rewriting()
    }

    /// BGREWRITEAOF: [`Action::WantRewrite`] follows at the first [`tick`](Persistence::tick) that can.
    pub fn schedule_rewrite(&mut self) {
        self.aof.schedule();
    }

    /// Begins a rewrite whose base is the snapshot as of this journal offset, the present sealed end, where the
    /// journal is in database `db` ([`Journal::db`]). False, and scheduled for later, if it cannot begin now.
    pub fn begin_rewrite(&mut self, now: Now, at: u64, db: Option<u32>) -> bool {
        self.wished_ms = None;
        let begun = self
            .aof
            .begin_rewrite(now, at, db, &self.settings, &mut self.outbox);
        if !begun {
            self.aof.scheduled = true;
        }
        begun
    }

    /// Whether the base under way is to be fed with whole commands, and not with a snapshot.
    pub fn base_is_commands(&self) -> bool {
        self.aof.base_is_commands()
    }

    /// Whether the base may be fed now.
    pub fn wants_base(&self) -> bool {
        self.aof.wants_base()
    }

    /// The next piece of the base.
    pub fn base_chunk(&mut self, piece: Bytes) {
        self.aof.push_base(piece, &mut self.outbox);
    }

    /// The base is complete.
    pub fn base_end(&mut self) {
        self.aof.end_base(&mut self.outbox);
    }

    /// Calls the rewrite off. [`Action::RewriteAborted`] follows.
    pub fn abort_rewrite(&mut self) {
        self.aof.abort(&mut self.outbox);
    }

    /// Before a shutdown: write and sync what there is without delay. Then [`pump`](Persistence::pump) and wait
    /// for [`flush_state`](Persistence::flush_state).
    pub fn flush(&mut self, journal: &Journal) {
        self.aof.flush(journal, &mut self.outbox);
    }

    /// Whether the journal has grown since [`flush`](Persistence::flush); then that is flushed, too.
    pub fn flush_rest(&mut self, journal: &Journal) -> bool {
        self.aof.flush_rest(journal)
    }

    /// Whether the append-only file was switched on and its first base is not complete: it holds nothing yet.
    pub fn writes_first_base(&self) -> bool {
        self.aof.state == aof::State::Waiting
    }

    /// Whether the disk has nothing more to do for us.
    pub fn is_quiet(&self) -> bool {
        self.outbox.is_quiet()
    }

    /// How the flush stands.
    pub fn flush_state(&self) -> FlushState {
        self.aof.flush_state()
    }

    /// The shutdown was called off.
    pub fn end_flush(&mut self) {
        self.aof.end_flush();
    }

    // ---- the snapshot file

    /// Whether a snapshot file is being written.
    pub fn saving(&self) -> bool {
        self.save.running()
    }

    /// Whether it is, and neither SAVE nor SHUTDOWN waits for it.
    pub fn saving_in_background(&self) -> bool {
        self.save.in_background()
    }

    /// Whether a snapshot is being made that is no append-only file's base: into the file, or for replicas.
    pub fn snapshotting(&self) -> bool {
        self.saving() || self.for_replicas_ms.is_some()
    }

    /// BGSAVE SCHEDULE: [`Action::WantSave`] follows at the first [`tick`](Persistence::tick) that can.
    pub fn schedule_save(&mut self) {
        self.save.scheduled = true;
    }

    /// BGSAVE CANCEL of a save that is scheduled; false if none is.
    pub fn unschedule_save(&mut self) -> bool {
        mem::take(&mut self.save.scheduled)
    }

    /// Begins the snapshot file. `background`: BGSAVE or a save point, not SAVE or SHUTDOWN. `changes`: the
    /// count of all changes, which the snapshot holds. False if one is being written.
    pub fn begin_save(&mut self, now: Now, background: bool, changes: u64) -> bool {
        self.wished_ms = None;
        self.save
            .begin(now, background, changes, &self.settings, &mut self.outbox)
    }

    /// Whether the snapshot file may be fed now.
    pub fn wants_save(&self) -> bool {
        self.save.wants_more()
    }

    /// The next piece of the snapshot.
    pub fn save_chunk(&mut self, piece: Bytes) {
        self.save.push(piece, &mut self.outbox);
    }

    /// The snapshot is complete.
    pub fn save_end(&mut self) {
        self.save.end(&mut self.outbox);
    }

    /// Calls the save off (SHUTDOWN NOSAVE, FLUSHALL). [`Action::SaveAborted`] follows, unless it is done but for
    /// the rename.
    pub fn abort_save(&mut self) {
        self.save.call_off(&mut self.outbox);
    }

    /// Says that the data set as of `changes` is what the snapshot file holds, or that it was just received
    /// whole: save points count from here.
    pub fn set_saved(&mut self, changes: u64) {
        self.save.set_saved(changes);
    }
}
