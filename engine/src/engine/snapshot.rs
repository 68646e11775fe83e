//! The one snapshot that may be under way: a walk of the store, encoded in steps, for one reader.

use super::Engine;
use crate::command::dataset::{AccessMeta, Writer};
use crate::command::rebuild::CommandWriter;
use crate::config::MaxmemoryPolicy;
use crate::face::Now;
use crate::persistence::Walked;
use crate::rdb::{Encoder, Header, Options, ReplicationPoint};
use crate::replication::Filter;
use crate::store::Store;
use alloc::boxed::Box;
use bytes::Bytes;

/// Bytes that may wait for a replica's socket before the walk pauses.
pub(super) const REPLICA_AHEAD: u64 = 256 << 10;

/// Buckets of an abandoned walk that are looked at in one go.
const ABANDONED_STEPS: usize = 256;

/// Who reads the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The base of a new append-only file.
    Base,
    /// The snapshot file.
    File,
    /// Replicas of ours.
    Replicas,
}

/// The snapshot under way.
pub(crate) struct Job {
    pub reader: Reader,
    /// Keys that there were when it began.
    total: u64,
    writer: Form,
}

/// The form that it takes.
enum Form {
    Commands(CommandWriter),
    Snapshot(Box<Writer>),
}

impl Form {
    /// Writes some more, or as little as can be; true when all is written.
    fn step(&mut self, store: &mut Store, little: bool) -> bool {
        match self {
            Form::Commands(writer) => writer.step(store, little),
            Form::Snapshot(writer) => writer.step(store, little),
        }
    }

    /// Keys that were begun so far.
    fn keys(&self) -> u64 {
        match self {
            Form::Commands(writer) => writer.keys,
            Form::Snapshot(writer) => writer.keys,
        }
    }

    fn take(&mut self) -> Bytes {
        match self {
            Form::Commands(writer) => writer.take(),
            Form::Snapshot(writer) => writer.take(),
        }
    }

    fn abandon(self, store: &mut Store) {
        match self {
            Form::Commands(writer) => writer.abandon(store),
            Form::Snapshot(writer) => writer.abandon(store),
        }
    }
}

impl Engine {
    /// Whether a snapshot is under way, for a file or for replicas, or one that was given up still has traces to
    /// remove.
    pub fn snapshot_under_way(&self) -> bool {
        self.job.is_some() || self.parts.store.walking()
    }

    /// Begins a snapshot of what there is now. False if one is under way.
    pub(super) fn begin_snapshot(&mut self, now: Now, reader: Reader, filter: Filter) -> bool {
        if self.snapshot_under_way() {
            return false;
        }
        let parts = &mut self.parts;
        let sizes = filter.data.then(|| parts.store.begin_walk()).flatten();
        let total = sizes.iter().flatten().map(|size| size.keys as u64).sum();
        parts.persistence.set_walked(Walked { keys: 0, total });
        if reader == Reader::Base && parts.persistence.base_is_commands() {
            self.job = Some(Job {
                reader,
                total,
                writer: Form::Commands(CommandWriter::new(&parts.store, sizes.is_some())),
            });
            return true;
        }
        let config = &parts.config;
        let mut encoder = Encoder::new(Options {
            compress: config.rdbcompression,
            checksum: config.rdbchecksum,
        });
        let info = parts.replication.rdb_info(&parts.journal);
        let id = info.as_ref().map(|i| alloc::format!("{}", i.replid));
        let replication = info
            .as_ref()
            .zip(id.as_ref())
            .map(|(info, id)| ReplicationPoint {
                selected_db: i64::from(info.stream_db),
                id,
                offset: info.offset,
            });
        if parts.store.databases().iter().any(|d| d.timed_hashes() > 0) {
            encoder.with_times();
        }
        encoder.begin(&Header {
            redis_version: crate::REDIS_VERSION,
            ctime_s: now.unix_us / 1_000_000,
            used_memory: parts.store.bytes() as u64,
            replication,
            aof_base: reader == Reader::Base,
        });
        if filter.functions {
            parts.store.functions().for_each(|f| encoder.function(f));
        }
        let access = match config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => {
                AccessMeta::Idle(now.access_clock())
            }
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                AccessMeta::Frequency(now, config.lfu_decay_time)
            }
            _ => AccessMeta::None,
        };
        self.job = Some(Job {
            reader,
            total,
            writer: Form::Snapshot(Box::new(Writer::new(encoder, sizes, access))),
        });
        true
    }

    /// Whether the snapshot can go on: there is one, and its reader is not behind.
    pub(super) fn snapshot_ready(&self) -> bool {
        let parts = &self.parts;
        match self.job.as_ref().map(|job| job.reader) {
            None => parts.store.walking(),
            Some(Reader::Base) => parts.persistence.wants_base(),
            Some(Reader::File) => parts.persistence.wants_save(),
            Some(Reader::Replicas) => parts.replication.snapshot_pending() <= REPLICA_AHEAD,
        }
    }

    /// Goes on with the snapshot, one step, unless its reader is behind.
    pub(super) fn snapshot_step(&mut self, now: Now) {
        let delay = self.parts.config.rdb_key_save_delay;
        if !self.snapshot_ready() || self.save_brake.holds(now, delay) {
            return;
        }
        let parts = &mut self.parts;
        let Some(mut job) = self.job.take() else {
            // One that was given up has traces to remove.
            let _over = (0..ABANDONED_STEPS).any(|_| parts.store.walk_step(|_| ()));
            return;
        };
        let before = job.writer.keys();
        let done = job.writer.step(&mut parts.store, delay != 0);
        let keys = job.writer.keys();
        self.save_brake.pull(now, delay, keys - before);
        let total = job.total;
        parts.persistence.set_walked(Walked { keys, total });
        let bytes = job.writer.take();
        match job.reader {
            Reader::Base => {
                parts.persistence.base_chunk(bytes);
                if done {
                    parts.persistence.base_end();
                }
            }
            Reader::File => {
                parts.persistence.save_chunk(bytes);
                if done {
                    parts.persistence.save_end();
                }
            }
            Reader::Replicas => {
                parts
                    .replication
                    .snapshot_chunk(now, &mut parts.journal, &bytes);
                if done {
                    parts
                        .replication
                        .snapshot_ended(now, &mut parts.journal, true);
                }
            }
        }
        if !done {
            self.job = Some(job);
        }
    }

    /// The reader wants the snapshot no more.
    pub(super) fn cancel_snapshot(&mut self, reader: Reader) {
        if let Some(job) = self.job.take_if(|job| job.reader == reader) {
            self.parts.store.abandon_walk();
            job.writer.abandon(&mut self.parts.store);
        }
    }

    /// Whether replicas of ours are being sent a snapshot, or it is being made for them.
    pub(super) fn snapshot_is_for_replicas(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| job.reader == Reader::Replicas)
    }
}
