//! The engine: it owns the parts, and routes each event to one of them.

mod applier;
mod brake;
mod clustering;
mod connections;
mod disk;
mod housekeeping;
mod incoming;
mod link;
mod links;
mod load;
mod migrate;
mod persist;
mod reload;
mod replicate;
mod rewrite;
mod shutdown;
mod snapshot;
mod sync_file;
#[cfg(test)]
mod tests;
mod took;
mod users;

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use alloc::string::String;
use alloc::vec::Vec;

use crate::client::{Clients, Session, Watches, alert};
use crate::command::context::{Parts, ShutdownWish, Wish, condition};
use crate::command::effects::Effects;
use crate::command::evict::Pool;
use crate::command::scripting;
use crate::command::stats::Stats;
use crate::command::table::Index;
use crate::config::{AppendFsync, Config};
use crate::face::{ConnId, Effect, Input, Listener, LogLevel, MemoryReport, Now, Refusal};
use crate::journal::Journal;
use crate::persistence::Persistence;
use crate::random::Random;
use crate::replication::{Filter, Replication};
use crate::store::{Hasher, Store};
use crate::turn::{Scratch, Turn};
use applier::Applier;
use brake::Brake;
use disk::{Boot, DiskOwner};
use incoming::Incoming;
use link::PrimaryLink;
use links::{LinkKind, Links};
use reload::Reload;
use rewrite::Rewrites;
use shutdown::Shutdown;
use snapshot::Job;
use sync_file::SyncFile;
use took::Round;
use users::AclFile;

/// The state machine. The crate's documentation says how it is driven.
pub struct Engine {
    pub(crate) parts: Parts,
    pub(crate) scratch: Scratch,
    /// When the next round of housekeeping is due, in monotonic microseconds.
    next_round_us: u64,
    /// Effects were drained since the last input (asserted before output is taken).
    drained: bool,
    /// What the parts want of each other has been carried out since the last input.
    settled: bool,
    /// The time of the last input.
    pub(crate) now: Now,
    links: Links,
    /// Who waits for each answer of the disk, in order, and the event that it is if it takes long.
    disk_owners: VecDeque<(DiskOwner, Option<&'static str>)>,
    /// What the last round of housekeeping did.
    round: Round,
    /// The number of the last disk request.
    last_op: u64,
    /// Reading what comes before the data, at the start.
    boot: Option<Boot>,
    /// Carries out what files say, at the start.
    loader: Option<Box<Session>>,
    /// What is under way of the snapshot that it reads, and what was due when that was loaded.
    applier: Applier,
    /// `key-load-delay`.
    load_brake: Brake,
    /// `rdb-key-save-delay`.
    save_brake: Brake,
    /// Files were not read to their end: there is more at hand.
    load_goes_on: bool,
    /// Rewrites of the configuration file.
    /// What the runtime answered to changes of the configuration, until the disk has, too.
    reconfigured: VecDeque<Option<Refusal>>,
    rewrites: Rewrites,
    /// Uses of the ACL file.
    acl_file: AclFile,
    /// A shutdown under way.
    shutdown: Option<Shutdown>,
    /// Slots that went to other nodes, whose keys are being deleted.
    deleting_slots: Vec<u16>,
    /// The stream of our primary, while it is up.
    link: Option<PrimaryLink>,
    /// A primary's snapshot that is being loaded.
    incoming: Option<Incoming>,
    /// How often a primary's snapshot has replaced our data.
    pub(crate) full_copies: u64,
    /// The snapshot under way.
    job: Option<Job>,
    /// There was an input since the last step of loading and snapshots: one step is due. (Not after each
    /// output that was sent: a fast reader would have us do it all in one turn.)
    step_due: bool,
    /// A client waits for a snapshot that could not begin yet.
    save_wanted: bool,
    /// Replicas want a snapshot with this in it, as soon as none is under way; to their sockets, or to a file first.
    snapshot_wanted: Option<(Filter, bool)>,
    /// A snapshot goes to replicas by way of its file.
    sync_file: Option<SyncFile>,
    /// DEBUG RELOAD or LOADAOF under way.
    reload: Option<Reload>,
}

impl Engine {
    /// An engine at its start. It begins at once with what the configuration says is to be loaded.
    /// All its randomness comes from `seed`.
    pub fn new(config: Config, seed: [u8; 32], now: Now) -> Engine {
        let mut keys = Random::new(seed, "hash keys");
        let hasher = Hasher::new((keys.word(), keys.word()), config.cluster_enabled);
        let databases = if config.cluster_enabled {
            1
        } else {
            config.databases as usize
        };
        let run_id = Random::new(seed, "run id").hex40();
        let index = Index::renamed(&config.renamed_commands);
        let mut parts = Parts {
            store: Store::new(databases, hasher),
            journal: Journal::new(0),
            effects: Effects::default(),
            clients: Clients::default(),
            watches: Watches::default(),
            stats: Stats::new(index.all().len()),
            nested: Default::default(),
            acl: users::new(&config, &index),
            acl_log: Default::default(),
            reads_all_keys: false,
            index,
            random: Random::new(seed, "commands"),
            conditions: 0,
            changes: 0,
            outbox: Default::default(),
            memory_report: MemoryReport::default(),
            startup_bytes: 0,
            started: now,
            run_id,
            active_expire: true,
            pause_housekeeping: false,
            pause: None,
            warned_of_http_ms: None,
            reloading: false,
            stall_us: 0,
            pool: Pool::default(),
            blocked: Default::default(),
            slow_log: Default::default(),
            large_requests: Default::default(),
            large_replies: Default::default(),
            latency: Default::default(),
            monitors: Default::default(),
            channels: Default::default(),
            events: Default::default(),
            waiting: None,
            ready: None,
            scripts: Default::default(),
            own_keys: Default::default(),
            own_keys_from: Default::default(),
            transaction: None,
            primary: None,
            transfers: Default::default(),
            replication: Replication::new(
                replicate::settings(&config),
                Random::new(seed, "replication").seed(),
                now,
            ),
            persistence: Persistence::new(persist::settings(&config, &run_id), now),
            cluster: clustering::new(&config, seed, now),
            told: VecDeque::new(),
            wishes: VecDeque::new(),
            failover_pause_until_ms: None,
            shutdown_deadline_us: None,
            current: None,
            shutting_down: false,
            config_waits: Vec::new(),
            config,
        };
        parts.startup_bytes =
            crate::command::memory::fixed_bytes(&parts) + parts.store.bytes() as u64;
        parts.set(condition::CLUSTER, parts.config.cluster_enabled);
        parts.set(
            condition::MIN_REPLICAS,
            parts.config.min_replicas_to_write > 0,
        );
        parts.set(condition::MAXMEMORY, parts.config.maxmemory > 0);
        parts.set(condition::IMPORT, parts.config.import_mode);
        if let Some((host, port)) = parts.config.replicaof.0.clone() {
            parts.replication.start_following(now, &host, port);
            parts.set(condition::REPLICA, true);
        }
        let mut engine = Engine {
            parts,
            scratch: Scratch::default(),
            next_round_us: now.mono_us,
            drained: false,
            settled: false,
            now,
            links: Links::default(),
            disk_owners: VecDeque::new(),
            round: Round::default(),
            last_op: 0,
            boot: None,
            loader: None,
            applier: Applier::default(),
            load_brake: Brake::default(),
            save_brake: Brake::default(),
            load_goes_on: false,
            reconfigured: VecDeque::new(),
            rewrites: Rewrites::default(),
            acl_file: AclFile::default(),
            shutdown: None,
            deleting_slots: Vec::new(),
            link: None,
            incoming: None,
            full_copies: 0,
            job: None,
            step_due: false,
            save_wanted: false,
            snapshot_wanted: None,
            sync_file: None,
            reload: None,
        };
        engine.boot();
        engine
    }

    /// The configuration as it stands.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// All figures as Prometheus reads them.
    pub fn metrics(&self, now: Now) -> String {
        crate::command::metrics(&self.parts, now)
    }

    /// What is known of the engine's state, for the report of a crash: INFO, the clients, the last command.
    pub fn crash_report(&self) -> String {
        crate::command::crash_report(&self.parts, self.now)
    }

    /// The command that was carried out last, or is being carried out.
    pub fn current_command(&self) -> Option<&'static str> {
        self.parts.current.map(|(_, _, command)| command)
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.begin(now);
        match input {
            Input::Accepted {
                conn,
                listener: Listener::Bus,
                peer,
                local,
            } => {
                self.bus_accepted(now, conn, &peer, &local);
            }
            Input::Accepted {
                conn,
                listener,
                peer,
                local,
            } => self.accepted(now, conn, listener, peer, local),
            Input::Connected { conn, local, peer } => self.connected(now, conn, &peer, &local),
            Input::Closed { conn, reason } => self.closed(now, conn, &reason),
            Input::Memory(report) => {
                let longest = &mut self.parts.stats.longest_turn_cpu_us;
                *longest = report.longest_turn_cpu_us.max(*longest);
                self.parts.stats.turns.add(report.turns);
                self.parts.memory_report = report;
            }
            Input::Reconfigured { refused } => {
                self.reconfigured.push_back(refused);
                self.answer_reconfigured();
            }
            Input::Tick => {
                self.round = Round::default();
                scripting::advance(&mut self.parts, now);
                if !self.parts.transfers.holds_all() {
                    scripting::debugging::advance(&mut self.parts, now);
                }
            }
            Input::Shutdown { signal } => {
                self.parts.log(
                    LogLevel::Warning,
                    alloc::format!("Received {signal} scheduling shutdown..."),
                );
                let flags = match signal {
                    "SIGINT" => self.parts.config.shutdown_on_sigint,
                    _ => self.parts.config.shutdown_on_sigterm,
                };
                let wish = ShutdownWish {
                    save: flags.save,
                    nosave: flags.nosave,
                    now: flags.now,
                    force: flags.force,
                };
                self.shut_down(now, wish);
            }
            Input::Disk { result, .. } => self.disk_answer(now, result),
            Input::Took { work, micros } => return self.took(now, work, micros),
        }
        self.housekeeping(now);
    }

    /// The time of the last input.
    pub(crate) fn time(&self) -> Now {
        self.now
    }

    /// Something comes in: what the parts want of each other is to be looked at again.
    pub(crate) fn begin(&mut self, now: Now) {
        self.now = now;
        self.drained = false;
        self.settled = false;
        self.step_due = true;
    }

    /// Lets the parts act on what happened, until all are quiet; before anything leaves.
    fn settle(&mut self) {
        if core::mem::replace(&mut self.settled, true) {
            return;
        }
        let now = self.now;
        crate::command::client_memory::enforce(&mut self.parts, None, now);
        self.close_doomed(now);
        let starting = self.starting();
        let replication = &mut self.parts.replication;
        if !starting && replication.deadline().is_some_and(|due| due <= now.mono_us) {
            replication.tick(now, &mut self.parts.journal);
        }
        if self.parts.replication.failing_over() {
            let parts = &mut self.parts;
            (parts.replication).advance_failover(now, &mut parts.journal);
        }
        self.cluster_tick(now);
        self.migrate_step(now);
        if self.stream_may_go_on() {
            self.stream(now, &[]);
        }
        if self
            .parts
            .failover_pause_until_ms
            .is_some_and(|until| now.mono_ms() >= until)
        {
            self.end_failover_pause();
        }
        while let Some(wish) = self.parts.wishes.pop_front() {
            self.grant(now, wish);
        }
        // A script's changes are to be in a snapshot all, or not at all.
        let script = self.parts.is_midway();
        if !script && core::mem::take(&mut self.save_wanted) {
            self.grant(now, Wish::Save);
        }
        if !script && let Some((filter, diskless)) = self.snapshot_wanted.take() {
            self.snapshot_for_replicas(now, filter, diskless);
        }
        self.reload_step(now);
        if core::mem::take(&mut self.step_due) {
            self.load_goes_on = self.load_step(now);
            self.snapshot_step(now);
            self.incoming_step(now);
        }
        self.sync_file_step();
        self.shutdown_step(now);
        loop {
            self.parts.journal.seal();
            let for_replicas = self.snapshot_is_for_replicas();
            self.parts
                .persistence
                .pump(now, &self.parts.journal, for_replicas);
            let any = self.settle_persistence(now)
                | self.settle_replication(now)
                | self.settle_cluster(now);
            if !any {
                break;
            }
        }
        if !self.parts.blocked.is_empty() {
            self.release_waiting(now);
        }
        crate::command::blocking::give_up_overdue(&mut self.parts, now);
        if !script {
            crate::command::blocking::serve(&mut self.parts, now);
        }
        crate::command::pubsub::publish_events(&mut self.parts, None, now);
        if self.parts.watches.tracking.is_on() {
            crate::command::tracking::broadcast(&mut self.parts, now);
        }
        crate::command::client_memory::enforce(&mut self.parts, None, now);
        self.close_doomed(now);
        self.update_conditions();
        self.release_durable();
        let parts = &mut self.parts;
        let replicas = parts.replication.needed_from(&parts.journal);
        let file = parts.persistence.needed_from();
        parts
            .journal
            .retain_from(file.map_or(replicas, |file| file.min(replicas)));
        parts.effects.wanted = !parts.replication.following()
            && !parts.is(condition::LOADING)
            && (parts.replication.wants_journal() || file.is_some());
    }

    /// Works out the conditions that others decide.
    fn update_conditions(&mut self) {
        let parts = &mut self.parts;
        let failing = parts.persistence.write_gate().is_some();
        parts.set(condition::DISK_ERROR, failing);
        let strict = parts.config.appendonly && parts.config.appendfsync == AppendFsync::Always;
        parts.set(condition::STRICT, strict);
        parts.set(
            condition::STALE,
            parts.replication.following() && !parts.replication.link_up(),
        );
    }

    /// Sets or clears the condition that holds commands back.
    fn update_pause(&mut self) {
        self.parts.update_pause();
    }

    /// Carries out what a command wanted.
    fn grant(&mut self, now: Now, wish: Wish) {
        match wish {
            Wish::AclFile { conn, save } => self.acl_file(conn, save),
            Wish::AbortShutdown => self.abort_shutdown(),
            Wish::Bgsave => {
                if !self.begin_save(now, true) {
                    self.parts.persistence.schedule_save();
                }
            }
            Wish::Emptied => self.emptied(now),
            Wish::Reconfigure => self.reconfigure(now),
            Wish::RewriteConfig { conn, all } => self.rewrite_config(conn, all),
            Wish::Reload { conn, source } => self.begin_reload(conn, source),
            Wish::Rewrite => self.begin_rewrite(now),
            Wish::Save => {
                if !self.begin_save(now, false) {
                    // A snapshot for somebody else is under way: this one comes right after it.
                    self.save_wanted = true;
                }
            }
            Wish::Shutdown(wish) => self.shut_down(now, wish),
        }
    }

    /// Has all parts take over changed directives.
    fn reconfigure(&mut self, now: Now) {
        let config = &self.parts.config;
        let append_only = config.appendonly;
        let tracks_too_many = (self.parts.watches.tracking).exceeds(config.tracking_table_max_keys);
        let cluster = clustering::settings(config);
        self.parts
            .replication
            .configure(replicate::settings(config));
        let persistence = &mut self.parts.persistence;
        persistence.configure(persist::settings(config, &self.parts.run_id));
        if append_only != persistence.settings().append_only {
            self.parts.journal.seal();
            persistence.set_append_only(append_only, self.parts.journal.sealed());
        }
        self.parts.set(condition::TRACKING_FULL, tracks_too_many);
        self.with_cluster(now, |c| c.set_settings(now, cluster));
        if !self.parts.is_midway() {
            self.evict_some(now);
        }
    }

    /// Passes the runtime's answers on, once it is known whether the append-only file may be used that a change
    /// names.
    fn answer_reconfigured(&mut self) {
        while !self.parts.persistence.locking()
            && let Some(refused) = self.reconfigured.pop_front()
        {
            let refused = refused.or_else(|| persist::refused(&mut self.parts));
            crate::command::reconfigured(&mut self.parts, refused);
        }
    }

    /// All bytes that became readable, by connection: a turn, whose steps carry the requests out.
    /// To be called also without any bytes, after [`Engine::handle`], since that may have let waiting
    /// requests go on.
    pub fn receive<'a>(&'a mut self, reads: &'a [(ConnId, &'a [u8])]) -> Turn<'a> {
        self.begin(self.now);
        Turn::new(self, reads)
    }

    /// The next thing to be done outside. To be drained before output is taken.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.settle();
        let effect = self.parts.outbox.pop_front();
        self.drained |= effect.is_none();
        effect
    }

    /// The next connection with bytes to send. Each comes once until it has new ones; one whose bytes
    /// were not all taken must be remembered by the caller until the network takes more.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<ConnId> {
        debug_assert!(self.drained, "effects leave before output");
        self.parts
            .clients
            .next_ready()
            .or_else(|| self.links.next_ready())
    }

    /// The bytes that a connection may be sent now.
    pub fn output(&self, conn: ConnId) -> impl Iterator<Item = &[u8]> {
        let client = self.parts.clients.get(conn).map(|session| &session.out);
        let out = client.or_else(|| self.links.output(conn));
        out.into_iter().flat_map(crate::resp::Output::slices)
    }

    /// The network took `n` bytes of [`Engine::output`].
    pub fn sent(&mut self, conn: ConnId, n: usize) {
        self.parts.stats.bytes_out += n as u64;
        self.parts.stats.writes += 1;
        let Some(session) = self.parts.clients.get_mut(conn) else {
            self.parts.transfers.progress(conn, self.now);
            return self.links.advance(conn, n);
        };
        session.out.advance(n);
        if self.parts.clients.weighs() {
            self.parts.clients.weigh(conn);
        }
        let Some(session) = self.parts.clients.get_mut(conn) else {
            return;
        };
        if session.is(alert::REPLICA) {
            let pending = session.out.pending();
            self.parts
                .replication
                .output_pending(self.now, conn, pending);
            self.settled = false;
        }
        if session.is(alert::CLOSING) && session.out.pending() == 0 {
            self.forget(conn);
            self.parts.outbox.push_back(Effect::Close { conn });
        }
    }

    /// When the next [`Input::Tick`] is due, in monotonic microseconds.
    pub fn deadline(&self) -> Option<u64> {
        let transfers = &self.parts.transfers;
        let runs_on = self.parts.scripts.runs_on() && !transfers.holds_all();
        if self.parts.clients.resuming() || runs_on || transfers.nested_is_over() {
            return Some(0);
        }
        let config = &self.parts.config;
        let braked = |brake: &Brake, delay| if delay == 0 { 0 } else { brake.until_us() };
        let save =
            (self.snapshot_ready()).then(|| braked(&self.save_brake, config.rdb_key_save_delay));
        let incoming = self.incoming.as_ref().is_some_and(Incoming::has_work);
        let load = (self.load_goes_on || incoming)
            .then(|| braked(&self.load_brake, config.key_load_delay));
        let waiting = self
            .parts
            .blocked
            .iter()
            .filter_map(|&conn| self.parts.clients.get(conn)?.blocked_until_us());
        let due = waiting
            .chain(
                self.parts
                    .replication
                    .deadline()
                    .filter(|_| !self.starting()),
            )
            .chain(self.parts.persistence.deadline())
            .chain(
                self.parts
                    .cluster
                    .as_ref()
                    .map(|c| c.deadline())
                    .filter(|_| self.boot.is_none()),
            )
            .chain(self.parts.watches.waits.deadline())
            .chain(self.parts.transfers.deadline())
            .chain(self.parts.pause_ends_us())
            .chain(save)
            .chain(load)
            .min();
        let round = match self.parts.is_midway() {
            // (A script that is debugged, or waits, stands still, and the rounds with it.)
            true => self.now.mono_us + housekeeping::ROUND_US,
            false => self.next_round_us,
        };
        Some(due.map_or(round, |due| due.min(round)))
    }

    /// Whether every reply to a request that came now would wait for the disk, which is at work.
    pub fn waits_for_disk(&self) -> bool {
        let parts = &self.parts;
        parts.is(condition::STRICT)
            && parts.persistence.durable_offset() < parts.journal.end()
            && parts.persistence.syncing()
    }

    /// Whether files are still being read or opened. Until then there is no talk with other servers of data: a
    /// full synchronisation must not come between the files and the log that is continued from them.
    pub(super) fn starting(&self) -> bool {
        self.boot.is_some() || self.loader.is_some()
    }

    /// Checks everything against itself: O(n). For tests and the simulator.
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn invariants(&self) {
        self.parts.store.invariants();
    }
}
