//! What a command may touch: [`Data`] for commands on data, [`Server`] for the others.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

use super::effects::Effects;
use super::error::CommandError;
use super::evict::Pool;
use super::latency::Latency;
use super::migrate::Transfers;
use super::nested::Nested;
use super::scripting::Scripts;
use super::slowlog::SlowLog;
use super::stats::Stats;
use super::table::Index;
use super::transaction::Transaction;
use crate::acl::{self, Acl};
use crate::client::{Blocked, Channels, Clients, KeyEvents, Session, Waiting, Watches, alert};
use crate::cluster::{Cluster, View};
use crate::config::{Config, NotifyEvents};
use crate::face::{ConnId, Effect, LogLevel, MemoryReport, Now};
use crate::journal::Journal;
use crate::persistence::Persistence;
use crate::random::Random;
use crate::replication::Replication;
use crate::resp::Output;
use crate::store::{Key, Object, Place, Store, ValueRef};
use crate::value::long_text::LongText;
use crate::value::number::ItoaBuffer;

/// What becomes of keys whose deadline has passed when a command meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// They are deleted, and their DEL is journalled: a primary.
    Delete,
    /// They are as good as absent, but stay until the primary's DEL comes: a replica, for its clients.
    Hide,
    /// They are there: commands from our primary, and from files.
    Keep,
    /// They are there, for this client: it brings what is imported (`import-mode`).
    Show,
}

/// What a command on data may touch.
pub struct Data<'a> {
    /// The time, which stands still while the command runs.
    pub now: Now,
    /// The selected database.
    pub db: usize,
    /// The reply.
    pub out: &'a mut Output,
    /// All data.
    pub store: &'a mut Store,
    /// The configuration.
    pub config: &'a Config,
    /// What goes into the journal.
    pub effects: &'a mut Effects,
    /// Watched keys.
    pub watches: &'a mut Watches,
    /// Counters.
    pub stats: &'a mut Stats,
    /// Randomness.
    pub random: &'a mut Random,
    /// What becomes of overdue keys.
    pub overdue: Overdue,
    /// Keyspace notifications.
    pub events: &'a mut KeyEvents,
    /// What the command waits for, if it does: see [`super::blocking`].
    pub waiting: &'a mut Option<Waiting>,
    /// Whether the command is one that waited, and is carried out again.
    pub again: bool,
    /// The key that has changed, for a command that waited for it.
    pub ready: Option<&'a [u8]>,
    /// Whether the command may block: not in a transaction or script, and not from our primary.
    pub may_block: bool,
    /// Its client is subscribed to something: what it is sent has the limits of messages.
    pub subscribed: bool,
    /// Whether a script calls the command.
    pub scripted: bool,
    /// Whether it may read keys that its words do not tell.
    pub reads_all_keys: bool,
    /// Whether keys that are looked up count as used (CLIENT NO-TOUCH).
    pub touches: bool,
    /// The hash of the command's first key, if the turn has worked it out.
    pub first_hash: Option<u64>,
}

impl Data<'_> {
    /// The key that is the command's first (its hash is known already).
    #[inline]
    pub fn first_key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.first_hash {
            Some(hash) => Key { bytes, hash },
            None => self.store.hasher().key(bytes),
        }
    }

    /// Any key.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.store.hasher().key(bytes)
    }

    /// Asks the processor for several keys' entries at once, before they are used one by one.
    pub fn prefetch(&self, keys: &[Key<'_>]) {
        let table = self.store.database(self.db).table();
        keys.iter().for_each(|key| table.prefetch_segment(key.hash));
        let lookups = keys.iter().map(|key| (self.db, key.hash));
        self.store.prefetch(lookups);
    }

    /// Looks a key up to read it: counts hit or miss, and notes that it was used.
    #[inline]
    pub fn look(&mut self, key: Key<'_>) -> Option<Place> {
        let found = self.seek(key);
        match found {
            Some(place) => {
                self.stats.hits += 1;
                self.used(place);
            }
            None => self.missed(key),
        }
        found
    }

    /// Looks a key up to learn about it: counts hit or miss, but it is not used by that.
    #[inline]
    pub fn peek(&mut self, key: Key<'_>) -> Option<Place> {
        let found = self.seek(key);
        match found {
            Some(_) => self.stats.hits += 1,
            None => self.missed(key),
        }
        found
    }

    #[inline]
    fn missed(&mut self, key: Key<'_>) {
        self.stats.misses += 1;
        self.notify(NotifyEvents::KEY_MISS, "keymiss", key.bytes);
    }

    /// A key is about to be written: if it is not there, that it comes into being is an event. If its time is
    /// over, that is one, too, whatever takes its place.
    #[inline]
    pub fn notify_if_new(&mut self, db: usize, key: Key<'_>) {
        let chosen = self.config.notify_keyspace_events;
        if !chosen.is_empty() && self.seek_in(db, key).is_none() {
            self.notify_new(db, key);
        }
    }

    /// A key comes into being, also if it takes the place of another.
    #[inline]
    pub fn notify_new(&mut self, db: usize, key: Key<'_>) {
        self.notify_in(db, NotifyEvents::NEW, "new", key.bytes);
    }

    /// Looks a key up to change its value: notes that it was used, but counts nothing.
    #[inline]
    pub fn look_to_write(&mut self, key: Key<'_>) -> Option<Place> {
        let place = self.seek(key)?;
        self.used(place);
        Some(place)
    }

    /// Whether a key with this deadline is as good as gone for this command.
    #[inline]
    pub fn is_due(&self, deadline: Option<u64>) -> bool {
        deadline.is_some_and(|at| at < self.now.unix_ms())
            && !matches!(self.overdue, Overdue::Keep | Overdue::Show)
    }

    /// Fields of hashes whose time is before this (Unix milliseconds) are as good as gone for this command.
    #[inline]
    pub fn due_before(&self) -> u64 {
        match self.overdue {
            Overdue::Keep | Overdue::Show => 0,
            Overdue::Delete | Overdue::Hide => self.now.unix_ms(),
        }
    }

    /// Whether the database has fields of hashes that are due and that this command may delete.
    #[inline]
    pub fn has_due_fields(&self) -> bool {
        let next = self.store.database(self.db).next_field_time();
        self.overdue == Overdue::Delete && next.is_some_and(|at| at < self.now.unix_ms())
    }

    /// Looks a key up without counting, and without noting that it was used.
    #[inline]
    pub fn seek(&mut self, key: Key<'_>) -> Option<Place> {
        self.seek_in(self.db, key)
    }

    /// As [`Data::seek`], in another database.
    #[inline]
    pub fn seek_in(&mut self, db: usize, key: Key<'_>) -> Option<Place> {
        let place = self.store.find(db, key)?;
        if self.is_due(self.store.entry(db, place).deadline()) {
            if self.overdue == Overdue::Delete {
                self.expire(db, key, place);
            }
            return None;
        }
        Some(place)
    }

    /// Deletes a key that is due, and journals it.
    pub fn expire(&mut self, db: usize, key: Key<'_>, place: Place) {
        self.store.delete(db, key, place);
        self.watches.touch_by_nobody(db, key.bytes);
        let chosen = self.config.notify_keyspace_events;
        self.events
            .note(chosen, NotifyEvents::EXPIRED, db, "expired", key.bytes);
        self.stats.expired += 1;
        let verb: &[u8] = if self.config.lazyfree_lazy_expire {
            b"UNLINK"
        } else {
            b"DEL"
        };
        self.effects.also(db, &[verb, key.bytes]);
    }

    /// A key's value has changed, has come or gone: the command takes effect, watchers learn of it.
    #[inline]
    pub fn changed(&mut self, key: &[u8]) {
        self.changed_in(self.db, key);
    }

    /// As [`Data::changed`], in another database.
    #[inline]
    pub fn changed_in(&mut self, db: usize, key: &[u8]) {
        self.effects.dirty += 1;
        self.watches.touch(db, key);
    }

    /// A command has nothing to store at its destination: what is there goes, by the command, even if it was due.
    pub fn clear_destination(&mut self, key: Key<'_>) {
        if let Some(place) = self.store.find(self.db, key) {
            self.store.delete(self.db, key, place);
            self.changed(key.bytes);
            self.notify(NotifyEvents::GENERIC, "del", key.bytes);
        }
    }

    /// Something happened to a key of the selected database: for keyspace notifications.
    #[inline]
    pub fn notify(&mut self, class: NotifyEvents, name: &'static str, key: &[u8]) {
        self.notify_in(self.db, class, name, key);
    }

    /// As [`Data::notify`], of a key in another database.
    #[inline]
    pub fn notify_in(&mut self, db: usize, class: NotifyEvents, name: &'static str, key: &[u8]) {
        let chosen = self.config.notify_keyspace_events;
        self.events.note(chosen, class, db, name, key);
    }

    /// The value at a place in the selected database.
    #[inline]
    pub fn value(&self, place: Place) -> ValueRef<'_> {
        self.store.entry(self.db, place).value()
    }

    /// The string at a place.
    ///
    /// # Errors
    /// [`CommandError::WRONG_TYPE`].
    #[inline]
    pub fn string(&self, place: Place) -> Result<Text<'_>, CommandError> {
        Text::of(self.value(place)).ok_or(CommandError::WRONG_TYPE)
    }
}

/// A string value's bytes, however they are kept.
pub enum Text<'a> {
    /// Bytes in the entry.
    Inline(&'a [u8]),
    /// An integer's digits.
    Int(ItoaBuffer),
    /// A long string.
    Long(&'a LongText),
}

impl<'a> Text<'a> {
    /// The bytes of a value, if it is a string.
    #[inline]
    pub fn of(value: ValueRef<'a>) -> Option<Text<'a>> {
        match value {
            ValueRef::Inline(bytes) => Some(Text::Inline(bytes)),
            ValueRef::Int(n) => Some(Text::Int(ItoaBuffer::new(n))),
            ValueRef::Object(Object::Str(s)) => Some(Text::Long(s)),
            ValueRef::Object(_) => None,
        }
    }
}

impl core::ops::Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Text::Inline(bytes) => bytes,
            Text::Int(digits) => digits,
            Text::Long(bytes) => bytes,
        }
    }
}

/// Conditions of the server that a command may have to heed. The common case has none set.
pub mod condition {
    /// Data is being loaded.
    pub const LOADING: u32 = 1;
    /// `maxmemory` is set.
    pub const MAXMEMORY: u32 = 1 << 1;
    /// We are a replica.
    pub const REPLICA: u32 = 1 << 2;
    /// Cluster mode.
    pub const CLUSTER: u32 = 1 << 3;
    /// `min-replicas-to-write` is set.
    pub const MIN_REPLICAS: u32 = 1 << 4;
    /// The disk refuses to take what it should.
    pub const DISK_ERROR: u32 = 1 << 5;
    /// Commands wait (CLIENT PAUSE, a coordinated failover).
    pub const PAUSED: u32 = 1 << 6;
    /// Replies wait for the journal to be durable.
    pub const STRICT: u32 = 1 << 7;
    /// We are a replica whose link to its primary is down.
    pub const STALE: u32 = 1 << 8;
    /// A script is under way between two of its steps.
    pub const SCRIPT: u32 = 1 << 9;
    /// Keys are on their way to another server: what may write them waits.
    pub const MIGRATING: u32 = 1 << 10;
    /// More keys are tracked for clients' caches than `tracking-table-max-keys` allows.
    pub const TRACKING_FULL: u32 = 1 << 11;
    /// `import-mode` is on: keys expire where they come from.
    pub const IMPORT: u32 = 1 << 12;
    /// Commands of a debugged script are carried out that are rolled back: see [`crate::script`]'s debugger.
    pub const REHEARSAL: u32 = 1 << 13;
}

/// What SHUTDOWN was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownWish {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Go even if saving fails.
    pub force: bool,
}

/// What a command wants that is done after it, outside commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// End a shutdown that is under way.
    AbortShutdown,
    /// The ACL file read, or written.
    AclFile {
        /// Who asked.
        conn: ConnId,
        /// It is to be written.
        save: bool,
    },
    /// A snapshot into the file, in the background.
    Bgsave,
    /// All data was deleted: a snapshot of before is of no use, and the file is to say that there is nothing.
    Emptied,
    /// All data is to be read back from a file, while everybody waits.
    Reload {
        /// Who asked.
        conn: ConnId,
        /// From where.
        source: ReloadSource,
    },
    /// Directives were changed: everybody is to take them over.
    Reconfigure,
    /// A rewrite of the append-only file.
    Rewrite,
    /// A rewrite of the configuration file.
    RewriteConfig {
        /// Who asked.
        conn: ConnId,
        /// Directives with their default values too.
        all: bool,
    },
    /// A snapshot into the file, that a client waits for.
    Save,
    /// An orderly end.
    Shutdown(ShutdownWish),
}

/// A CONFIG SET that the runtime was told of, and has not answered yet.
pub struct Told {
    /// Who set it; `None` if it is one that was refused, and is undone.
    pub conn: Option<ConnId>,
    /// The directives that changed.
    pub names: Vec<&'static str>,
    /// The configuration before, if some of it can be refused.
    pub before: Option<Box<Config>>,
    /// Where in the client's output it is answered already, if that is part of a transaction's reply. That does not
    /// leave before the runtime has answered.
    pub answered: Option<Range<u64>>,
}

/// What DEBUG RELOAD and DEBUG LOADAOF read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadSource {
    /// The append-only file.
    AppendOnly,
    /// The snapshot file.
    Snapshot {
        /// It is written first.
        save: bool,
        /// What there is goes first.
        flush: bool,
        /// What the file holds replaces keys that are there; else they are an error.
        merge: bool,
    },
}

/// What CLIENT PAUSE asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Monotonic time in milliseconds at which it is over.
    pub until_ms: u64,
    /// Reads wait too.
    pub all: bool,
}

/// Everything that the engine consists of, for the commands that act on the server.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// All data.
    pub store: Store,
    /// The log of effects.
    pub journal: Journal,
    /// What the running command leaves in it.
    pub effects: Effects,
    /// All client connections.
    pub clients: Clients,
    /// Watched keys.
    pub watches: Watches,
    /// Counters.
    pub stats: Stats,
    /// Commands that a script called in the step under way.
    pub nested: Nested,
    /// Finds commands.
    pub index: Index,
    /// Users.
    pub acl: Acl,
    /// What users were refused.
    pub acl_log: acl::Log,
    /// Whether the running command may read keys that its words do not tell; only looked at if its user is limited.
    pub reads_all_keys: bool,
    /// Randomness for commands.
    pub random: Random,
    /// See [`condition`].
    pub conditions: u32,
    /// Changes to the data since the start, as `rdb_changes_since_last_save` counts them.
    pub changes: u64,
    /// What has to be done outside.
    pub outbox: VecDeque<Effect>,
    /// The runtime's figures.
    pub memory_report: MemoryReport,
    /// Bytes that were accounted for when it was made.
    pub startup_bytes: u64,
    /// When the engine was made.
    pub started: Now,
    /// This run's id.
    pub run_id: [u8; 40],
    /// When the log last warned of somebody who speaks HTTP, in monotonic milliseconds.
    pub warned_of_http_ms: Option<u64>,
    /// SLOWLOG.
    pub slow_log: SlowLog,
    /// COMMANDLOG: large requests.
    pub large_requests: SlowLog,
    /// COMMANDLOG: requests with large replies.
    pub large_replies: SlowLog,
    /// LATENCY.
    pub latency: Latency,
    /// Connections that see all commands.
    pub monitors: Vec<ConnId>,
    /// Who listens to what.
    pub channels: Channels,
    /// Keyspace notifications of the running command.
    pub events: KeyEvents,
    /// What the running command waits for.
    pub waiting: Option<Waiting>,
    /// The key for whose sake a command that waited is being carried out again.
    pub ready: Option<Box<[u8]>>,
    /// Candidates for eviction.
    pub pool: Pool,
    /// Connections of sessions that wait for something.
    pub blocked: Vec<ConnId>,
    /// Scripts.
    pub scripts: Scripts,
    /// Keys of a replica that its own clients gave a time to live: see [`super::own_keys`].
    pub own_keys: BTreeSet<(usize, Vec<u8>)>,
    /// Where among them the next look at their times begins.
    pub own_keys_from: (usize, Vec<u8>),
    /// A transaction whose commands are being carried out, one a step of the turn.
    pub transaction: Option<Box<Transaction>>,
    /// Keys on their way to other servers.
    pub transfers: Transfers,
    /// What the commands of our primary's stream run in, while there is one.
    pub primary: Option<Box<Session>>,
    /// Both sides of replication.
    pub replication: Replication,
    /// Files.
    pub persistence: Persistence,
    /// The cluster, in cluster mode.
    pub cluster: Option<Box<Cluster>>,
    /// Changes of the configuration that the runtime was told of, in order.
    pub told: VecDeque<Told>,
    /// What commands want that is done outside commands.
    pub wishes: VecDeque<Wish>,
    /// Writes are held back for a manual failover until then, in monotonic milliseconds.
    pub failover_pause_until_ms: Option<u64>,
    /// Until when a shutdown waits for replicas, in monotonic microseconds.
    pub shutdown_deadline_us: Option<u64>,
    /// The command that was carried out last (or is just now), and whose: for a report of a crash.
    pub current: Option<(u64, ConnId, &'static str)>,
    /// A shutdown is under way: writes are held back.
    pub shutting_down: bool,
    /// Sessions that wait until nodes.conf is durable up to a version.
    pub config_waits: Vec<(ConnId, u64)>,
    /// CLIENT PAUSE, while it lasts.
    pub pause: Option<Pause>,
    /// DEBUG PAUSE-CRON: what is done from time to time is not done.
    pub pause_housekeeping: bool,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// Data is being read back: no command is carried out until it is (DEBUG RELOAD).
    pub reloading: bool,
    /// How long the whole server is to stand still now, in microseconds (DEBUG SLEEP).
    pub stall_us: u64,
}

impl Parts {
    /// Whether a condition of [`condition`] holds.
    #[inline]
    pub fn is(&self, condition: u32) -> bool {
        self.conditions & condition != 0
    }

    /// Sets or clears a condition of [`condition`].
    pub fn set(&mut self, condition: u32, on: bool) {
        self.conditions = if on {
            self.conditions | condition
        } else {
            self.conditions & !condition
        };
    }

    /// Whether a script or transaction is half done between two turns: nothing else is to touch the data, or show it.
    pub fn is_midway(&self) -> bool {
        self.scripts.is_parked() || self.transaction.is_some()
    }

    /// Whether the transaction under way must wait: for a script in it, or for another server.
    pub fn holds_up(&self) -> bool {
        self.scripts.is_parked() || self.transfers.holds_all()
    }

    /// Whoever sent something that was kept goes on with it.
    pub fn resume_all(&mut self) {
        for conn in self.clients.conns() {
            if (self.clients.get(conn)).is_some_and(|s| !s.query.is_empty()) {
                self.clients.resume(conn);
            }
        }
    }

    /// Writes a line to the log.
    pub fn log(&mut self, level: LogLevel, text: impl Into<alloc::string::String>) {
        self.outbox.push_back(Effect::Log {
            level,
            text: text.into(),
        });
    }

    /// What the cluster must know of the rest.
    pub fn view(&self, now: Now) -> View {
        let replication = &self.replication;
        let down_since = replication.link_down_since();
        View {
            offset: replication.electable_offset(&self.journal),
            synced: !replication.following() || replication.has_synced(),
            data_age_ms: if replication.link_up() {
                Some(0)
            } else {
                down_since.map(|since| now.mono_us.saturating_sub(since) / 1000)
            },
            writes_paused: self.failover_pause_until_ms.is_some() && !self.is_midway(),
        }
    }

    /// Deletes a key that is not wanted here any more, and journals it.
    pub fn delete_and_journal(&mut self, db: usize, key: &[u8]) {
        let key = self.store.hasher().key(key);
        let Some(place) = self.store.find(db, key) else {
            return;
        };
        self.store.delete(db, key, place);
        self.watches.touch_by_nobody(db, key.bytes);
        self.notify(NotifyEvents::GENERIC, db, "del", key.bytes);
        self.changes += 1;
        self.effects.begin();
        self.effects.also(db, &[b"DEL", key.bytes]);
        self.effects.end(&mut self.journal, db, false, &[], None);
    }

    /// Something happened to a key: for keyspace notifications.
    pub fn notify(&mut self, class: NotifyEvents, db: usize, name: &'static str, key: &[u8]) {
        let chosen = self.config.notify_keyspace_events;
        self.events.note(chosen, class, db, name, key);
    }

    /// A session has got its answer: it goes on with what it sent meanwhile.
    pub fn unblock(&mut self, conn: ConnId) {
        if let Some(session) = self.clients.get_mut(conn) {
            match session.blocked.take().as_deref() {
                Some(Blocked::Keys(waiting)) => self.watches.waits.remove(conn, waiting),
                _ => self.blocked.retain(|c| *c != conn),
            }
            self.clients.queue_output(conn);
            self.clients.resume(conn);
        }
    }

    /// What a session waits for has failed: it is told so, and goes on.
    pub fn fail(&mut self, conn: ConnId, error: impl AsRef<[u8]>) {
        self.stats.error(&error);
        if let Some(session) = self.clients.get_mut(conn) {
            session.out.error(&error);
        }
        self.unblock(conn);
    }

    /// A client leaves too much unread: it is closed.
    #[cold]
    pub fn close_for_output(&mut self, conn: ConnId, now: Now) {
        if let Some(session) = self.clients.get(conn) {
            let client = super::describe(self, session, now);
            self.log(
                LogLevel::Warning,
                alloc::format!(
                    "Client {client} scheduled to be closed ASAP for overcoming of output buffer limits."
                ),
            );
            self.stats.output_buffer_kills += 1;
            self.clients.doom(conn);
        }
    }

    /// A client sends a request that never ends: it is closed.
    #[cold]
    pub fn close_for_query(&mut self, conn: ConnId, query: &[u8], now: Now) {
        if let Some(session) = self.clients.get(conn) {
            let client = super::describe(self, session, now);
            let start = query[..query.len().min(64)].escape_ascii();
            self.log(
                LogLevel::Warning,
                alloc::format!(
                    "Closing client that reached max query buffer length: {client} (qbuf initial bytes: \"{start}\")"
                ),
            );
            self.stats.query_buffer_kills += 1;
            self.clients.doom(conn);
        }
    }

    /// Ends CLIENT PAUSE if its time is up.
    pub fn end_pause_if_over(&mut self, now: Now) {
        if self.pause.is_some_and(|p| p.until_ms <= now.mono_ms()) {
            self.pause = None;
            self.update_pause();
        }
    }

    /// A reason to hold commands back came or went: for CLIENT PAUSE, a failover or a shutdown.
    pub fn update_pause(&mut self) {
        let holds_writes = self.failover_pause_until_ms.is_some()
            || self.replication.failing_over()
            || self.shutting_down;
        self.set(condition::PAUSED, holds_writes || self.pause.is_some());
        // Those who waited try again; who has still to wait is blocked again.
        self.unblock_all(&Blocked::Paused, |_| {});
    }

    /// When CLIENT PAUSE is over; monotonic, in microseconds.
    pub fn pause_ends_us(&self) -> Option<u64> {
        self.pause.map(|p| p.until_ms.saturating_mul(1000))
    }

    /// Everybody who waits for this goes on, after `answer`.
    pub fn unblock_all(&mut self, what: &Blocked, answer: impl Fn(&mut Output)) {
        for conn in self.blocked.clone() {
            if let Some(session) = self.clients.get_mut(conn)
                && session.blocked.as_deref() == Some(what)
            {
                answer(&mut session.out);
                self.unblock(conn);
            }
        }
    }

    /// Ends DEBUG RELOAD.
    pub fn reloaded(&mut self) {
        self.reloading = false;
        self.unblock_all(&Blocked::Reload, Output::ok);
        self.resume_all();
    }

    /// What becomes of overdue keys when this session meets them.
    #[inline]
    pub fn overdue(&self, session: &Session) -> Overdue {
        const KEPT: u32 =
            condition::REPLICA | condition::PAUSED | condition::IMPORT | condition::REHEARSAL;
        if session.is(alert::TRUSTED) {
            Overdue::Keep
        } else if self.conditions & KEPT != 0 {
            if session.imports && self.is(condition::IMPORT) && !self.is(condition::REPLICA) {
                return Overdue::Show;
            }
            Overdue::Hide
        } else {
            Overdue::Delete
        }
    }

    /// The context for a command on data.
    #[inline]
    pub fn data<'a>(
        &'a mut self,
        session: &'a mut Session,
        now: Now,
        first_hash: Option<u64>,
    ) -> Data<'a> {
        let overdue = self.overdue(session);
        let scripted = session.is_script();
        let reads_all_keys = !session.is(alert::LIMITED) || self.reads_all_keys;
        Data {
            now,
            db: session.db,
            out: &mut session.out,
            store: &mut self.store,
            config: &self.config,
            effects: &mut self.effects,
            watches: &mut self.watches,
            stats: &mut self.stats,
            random: &mut self.random,
            events: &mut self.events,
            waiting: &mut self.waiting,
            again: session.blocked.is_some(),
            ready: self.ready.as_deref(),
            scripted,
            may_block: session.alerts & (alert::MULTI | alert::TRUSTED) == 0,
            subscribed: session.alerts & alert::SUBSCRIBED != 0,
            touches: !session.no_touch,
            overdue,
            reads_all_keys,
            first_hash,
        }
    }
}

/// What a command on the server, or on its connection, may touch.
pub struct Server<'a> {
    /// The time, which stands still while the command runs.
    pub now: Now,
    /// The engine's parts.
    pub parts: &'a mut Parts,
    /// The session that sent the command; it is not among `parts.clients` meanwhile.
    pub session: &'a mut Session,
}
