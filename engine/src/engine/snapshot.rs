//! The one snapshot that may be under way: a walk of the store, encoded in steps, for one reader.

use super::Engine;
use crate::command::dataset::{AccessMeta, Writer};
use crate::config::MaxmemoryPolicy;
use crate::face::Now;
use crate::rdb::{Encoder, Header, Options, ReplicationPoint};

/// Bytes that may wait for a replica's socket before the walk pauses.
const REPLICA_AHEAD: u64 = 1 << 20;

/// Who reads the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The base of a new append-only file.
    Base,
    /// The snapshot file.
    File,
    /// Replicas of ours.
    Replicas,
    /// Nobody any more: the walk goes on only because it cannot stop half-way.
    Nobody,
}

/// The snapshot under way.
pub(crate) struct Job {
    pub reader: Reader,
    writer: Writer,
}

impl Engine {
    /// Begins a snapshot of the data as it is now. False if one is under way.
    pub(super) fn begin_snapshot(&mut self, now: Now, reader: Reader) -> bool {
        let parts = &mut self.parts;
        let Some(sizes) = parts.store.begin_walk() else {
            return false;
        };
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
        if parts
            .store
            .databases()
            .iter()
            .any(crate::store::Database::has_field_times)
        {
            encoder.with_times();
        }
        encoder.begin(&Header {
            redis_version: crate::REDIS_VERSION,
            ctime_s: now.unix_us / 1_000_000,
            used_memory: parts.store.bytes() as u64,
            replication,
            aof_base: reader == Reader::Base,
        });
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
            writer: Writer::new(encoder, sizes, access),
        });
        true
    }

    /// Goes on with the snapshot, one step, unless its reader is behind. True if it can go on at once.
    pub(super) fn snapshot_step(&mut self, now: Now) -> bool {
        let Some(mut job) = self.job.take() else {
            return false;
        };
        let parts = &mut self.parts;
        let ready = match job.reader {
            Reader::Base => parts.persistence.wants_base(),
            Reader::File => parts.persistence.wants_save(),
            Reader::Replicas => parts.replication.snapshot_pending() <= REPLICA_AHEAD,
            Reader::Nobody => true,
        };
        if !ready {
            self.job = Some(job);
            return false;
        }
        let done = job.writer.step(&mut parts.store);
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
            Reader::Nobody => {}
        }
        if !done {
            self.job = Some(job);
        }
        !done
    }

    /// The reader wants the snapshot no more.
    pub(super) fn cancel_snapshot(&mut self, reader: Reader) {
        if let Some(job) = self.job.as_mut().filter(|job| job.reader == reader) {
            job.reader = Reader::Nobody;
        }
    }
}
