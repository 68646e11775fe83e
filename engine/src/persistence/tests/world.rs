//! A server reduced to a counter: enough of an engine to drive persistence and to know what must survive.
//!
//! Operation `i` sets `n` to `i`; each third one is a transaction that also sets `k<i mod 7>` to `i`. So the
//! state after `i` operations is known, and any loaded state tells of which prefix it is, or that it is of
//! none.

use super::disk::{Disk, Loss};
use crate::face::{DiskRequest, LogLevel, Now};
use crate::journal::Journal;
use crate::persistence::{Action, Fsync, LoadItem, Persistence, Settings, Source};
use crate::rdb::{Encoder, Event, Header, KeyMeta, Options, Value, ValueView};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

pub type State = BTreeMap<String, u64>;

/// The state after so many operations.
pub fn state_after(count: u64) -> State {
    let mut state = State::new();
    (1..=count).for_each(|i| execute(&mut state, i));
    state
}

fn execute(state: &mut State, i: u64) {
    state.insert("n".into(), i);
    if i.is_multiple_of(3) {
        state.insert(format!("k{}", i % 7), i);
    }
}

pub fn snapshot(state: &State, base: bool) -> Vec<Bytes> {
    let mut encoder = Encoder::new(Options::default());
    encoder.begin(&Header {
        redis_version: "7.0.15",
        ctime_s: 0,
        used_memory: 0,
        replication: None,
        aof_base: base,
    });
    encoder.select_db(0, state.len() as u64, 0);
    let mut pieces = [encoder.take()].to_vec();
    for (key, value) in state {
        encoder.key(
            key.as_bytes(),
            &KeyMeta::default(),
            ValueView::Int(*value as i64),
        );
        pieces.push(encoder.take());
    }
    encoder.end();
    pieces.push(encoder.take());
    pieces
}

/// The commands that make a state.
pub fn commands(state: &State) -> Vec<Bytes> {
    let set = |(key, value): (&String, &u64)| {
        let value = format!("{value}");
        let (key_len, value_len) = (key.len(), value.len());
        Bytes::from(format!(
            "*3\r\n$3\r\nSET\r\n${key_len}\r\n{key}\r\n${value_len}\r\n{value}\r\n"
        ))
    };
    state.iter().map(set).collect()
}

#[derive(Debug)]
pub struct World {
    pub disk: Disk,
    pub persistence: Persistence,
    pub journal: Journal,
    pub now: Now,
    pub state: State,
    /// Operations executed, and at which journal offset and time each ended.
    pub ends: Vec<(u64, u64)>,
    /// The highest operation whose reply was released.
    pub released: u64,
    pub log: Vec<(LogLevel, String)>,
    pub ready: bool,
    pub failed: bool,
    pub exited: bool,
    base: VecDeque<Bytes>,
    save: VecDeque<Bytes>,
    pub rewrites_done: u64,
    pub rewrites_aborted: u64,
    pub saves_done: u64,
    pub saves_aborted: u64,
    /// Answers held back, as by a slow disk.
    pub hold: bool,
    /// If answers are held back, so many are given each turn.
    pub pace: usize,
    held: VecDeque<DiskRequest>,
    /// Something was loaded that no operation writes.
    pub strange: bool,
    /// Stop carrying out requests after this many operations: the crash comes.
    pub crash_at: Option<u64>,
}

impl World {
    pub fn new(settings: Settings, disk: Disk) -> World {
        let now = Now {
            mono_us: 1_000_000,
            unix_us: 1_700_000_000_000_000,
        };
        World {
            persistence: Persistence::new(settings, now),
            disk,
            journal: Journal::new(0),
            now,
            state: State::new(),
            ends: Vec::new(),
            released: 0,
            log: Vec::new(),
            ready: false,
            failed: false,
            exited: false,
            base: VecDeque::new(),
            save: VecDeque::new(),
            rewrites_done: 0,
            rewrites_aborted: 0,
            saves_done: 0,
            saves_aborted: 0,
            hold: false,
            pace: 0,
            held: VecDeque::new(),
            strange: false,
            crash_at: None,
        }
    }

    /// Loads and opens.
    pub fn start(settings: Settings, disk: Disk) -> World {
        World::start_crashing(settings, disk, None)
    }

    pub fn start_crashing(settings: Settings, disk: Disk, crash_at: Option<u64>) -> World {
        let mut world = World::new(settings, disk);
        world.crash_at = crash_at;
        world.persistence.begin_load(world.now, Source::Configured);
        world.settle();
        world
    }

    pub fn crashed(&self) -> bool {
        self.exited || self.crash_at.is_some_and(|at| self.disk.operations >= at)
    }

    /// The same disk after a crash, in a new process.
    pub fn restart(self, loss: Loss) -> World {
        let settings = self.persistence.settings().clone();
        let mut disk = self.disk;
        disk.crash(loss);
        disk.faults.clear();
        World::start(settings, disk)
    }

    pub fn operate(&mut self) {
        let i = self.state.get("n").copied().unwrap_or(0) + 1;
        execute(&mut self.state, i);
        let text = format!("{i}");
        self.journal.select(0);
        if i.is_multiple_of(3) {
            let key = format!("k{}", i % 7);
            self.journal.append_command(&[b"MULTI"]);
            self.journal
                .append_command(&[b"SET", b"n", text.as_bytes()]);
            self.journal
                .append_command(&[b"SET", key.as_bytes(), text.as_bytes()]);
            self.journal.append_command(&[b"EXEC"]);
        } else {
            self.journal
                .append_command(&[b"SET", b"n", text.as_bytes()]);
        }
        self.journal.seal();
        self.ends.push((self.journal.sealed(), self.now.mono_us));
    }

    pub fn executed(&self) -> u64 {
        self.state.get("n").copied().unwrap_or(0)
    }

    pub fn begin_rewrite(&mut self) -> bool {
        let begun =
            self.persistence
                .begin_rewrite(self.now, self.journal.sealed(), self.journal.db());
        if begun {
            self.base = if self.persistence.base_is_commands() {
                commands(&self.state).into()
            } else {
                snapshot(&self.state, true).into()
            };
        }
        begun
    }

    pub fn begin_save(&mut self) {
        let changes = self.executed();
        assert!(self.persistence.begin_save(self.now, true, changes));
        self.save = snapshot(&self.state, false).into();
    }

    pub fn advance_ms(&mut self, ms: u64) {
        self.now.mono_us += ms * 1000;
        self.now.unix_us += ms * 1000;
    }

    /// One turn: at most one piece of each snapshot, then everything that the disk does at once.
    pub fn turn(&mut self) {
        if self.crashed() {
            return;
        }
        if self.persistence.wants_base() {
            match self.base.pop_front() {
                Some(piece) => self.persistence.base_chunk(piece),
                None => self.persistence.base_end(),
            }
        }
        if self.persistence.wants_save() {
            match self.save.pop_front() {
                Some(piece) => self.persistence.save_chunk(piece),
                None => self.persistence.save_end(),
            }
        }
        if self.ready {
            self.persistence.tick(self.now, self.executed());
        }
        self.settle();
        self.answer_held(self.pace);
    }

    pub fn settle(&mut self) {
        loop {
            if self.ready && !self.crashed() {
                self.persistence.pump(self.now, &self.journal, false);
                if let Some(needed) = self.persistence.needed_from() {
                    self.journal.retain_from(needed);
                }
            }
            self.apply_loaded();
            let Some(action) = self.persistence.poll_action() else {
                break;
            };
            self.act(action);
        }
        if !self.crashed() {
            let durable = self.persistence.durable_offset();
            let released = self.ends.iter().filter(|(end, _)| *end <= durable).count() as u64;
            let before = self.executed() - self.ends.len() as u64;
            self.released = self.released.max(before + released);
        }
    }

    /// Answers what was held back.
    pub fn answer_held(&mut self, count: usize) {
        for _ in 0..count {
            let Some(request) = self.held.pop_front() else {
                break;
            };
            let result = self.disk.perform(&request);
            self.persistence.on_disk(self.now, result);
            self.settle();
        }
    }

    pub fn held(&self) -> Vec<&DiskRequest> {
        self.held.iter().collect()
    }

    pub fn logged(&self, part: &str) -> usize {
        self.log
            .iter()
            .filter(|(_, text)| text.contains(part))
            .count()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Disk(request) if self.crashed() => drop(request),
            Action::Disk(request) if self.hold => self.held.push_back(request),
            Action::Disk(request) => {
                let result = self.disk.perform(&request);
                self.persistence.on_disk(self.now, result);
            }
            Action::Log { level, text } => self.log.push((level, text)),
            Action::Loaded => {
                self.persistence
                    .open(self.now, self.journal.sealed(), self.executed())
            }
            Action::Ready => self.ready = true,
            Action::LoadFailed => self.failed = true,
            Action::WantRewrite => {
                self.begin_rewrite();
            }
            Action::WantSave => self.begin_save(),
            Action::RewriteDone => self.rewrites_done += 1,
            Action::RewriteAborted => {
                self.base.clear();
                self.rewrites_aborted += 1;
            }
            Action::SaveDone => self.saves_done += 1,
            Action::SaveAborted => {
                self.save.clear();
                self.saves_aborted += 1;
            }
            Action::Exit => self.exited = true,
        }
    }

    fn apply_loaded(&mut self) {
        while let Some(item) = self.persistence.poll_load(self.now) {
            match item {
                LoadItem::Snapshot {
                    event:
                        Event::Key {
                            db: 0,
                            key,
                            value: Value::Int(value),
                            ..
                        },
                    ..
                } => {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    let before = self.state.insert(key, value as u64);
                    self.strange |= before.is_some();
                }
                LoadItem::Snapshot {
                    event: Event::SelectDb(_) | Event::ResizeDb { .. },
                    ..
                } => {}
                LoadItem::Command(args) if args[0] == b"SET" => {
                    let text = |at: usize| {
                        args.get(at)
                            .map(|arg| String::from_utf8_lossy(arg).into_owned())
                    };
                    let value = text(2).and_then(|value| value.parse().ok());
                    self.strange |= args.len() != 3 || value.is_none();
                    self.state
                        .insert(text(1).unwrap_or_default(), value.unwrap_or_default());
                }
                LoadItem::Command(args) if args[0] == b"SELECT" => {
                    self.strange |= args.get(1).is_none_or(|db| db != b"0");
                }
                LoadItem::Command(args) => self.persistence.reject_command(&args[0]),
                _ => self.strange = true,
            }
        }
    }

    /// Asserts that the loaded state is that of a prefix of at least so many operations, and goes on to work.
    pub fn check_recovered(&self, at_least: u64, at_most: u64, context: &str) {
        assert!(
            !self.failed && self.ready,
            "refused to start: {:?} {:?} {context}",
            self.log,
            self.disk.paths()
        );
        assert!(
            !self.strange,
            "{context}: what was never written was loaded"
        );
        let count = self.executed();
        assert_eq!(
            self.state,
            state_after(count),
            "{context}: not the state of a prefix"
        );
        assert!(
            count >= at_least,
            "{context}: {count} operations survive, {at_least} must"
        );
        assert!(
            count <= at_most,
            "{context}: {count} operations after {at_most} were executed"
        );
    }
}

pub fn settings(fsync: Fsync) -> Settings {
    Settings {
        append_only: true,
        fsync,
        save_points: Vec::new(),
        ..Settings::default()
    }
}
