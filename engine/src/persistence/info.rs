//! What INFO persistence shows, as numbers. The names are those of the fields of Redis 7.0; fields about
//! forked children that we do not have (copy-on-write sizes, modules) are constant zeros, left to the writer.

use super::{Persistence, State};
use crate::face::Now;

/// The section's figures. Times in seconds; −1 where Redis says −1.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// `loading`
    pub loading: bool,
    /// `rdb_changes_since_last_save`
    pub rdb_changes_since_last_save: u64,
    /// `rdb_bgsave_in_progress`
    pub rdb_bgsave_in_progress: bool,
    /// `rdb_last_save_time`, Unix seconds
    pub rdb_last_save_time: u64,
    /// `rdb_last_bgsave_status`: true is `ok`
    pub rdb_last_bgsave_ok: bool,
    /// `rdb_last_bgsave_time_sec`
    pub rdb_last_bgsave_time_sec: i64,
    /// `rdb_current_bgsave_time_sec`
    pub rdb_current_bgsave_time_sec: i64,
    /// `rdb_saves`
    pub rdb_saves: u64,
    /// `rdb_last_load_keys_expired`
    pub rdb_last_load_keys_expired: u64,
    /// `rdb_last_load_keys_loaded`
    pub rdb_last_load_keys_loaded: u64,
    /// `aof_enabled`
    pub aof_enabled: bool,
    /// `aof_rewrite_in_progress`
    pub aof_rewrite_in_progress: bool,
    /// `aof_rewrite_scheduled`, also `aof_pending_rewrite`
    pub aof_rewrite_scheduled: bool,
    /// `aof_last_rewrite_time_sec`
    pub aof_last_rewrite_time_sec: i64,
    /// `aof_current_rewrite_time_sec`
    pub aof_current_rewrite_time_sec: i64,
    /// `aof_last_bgrewrite_status`: true is `ok`
    pub aof_last_bgrewrite_ok: bool,
    /// `aof_rewrites`
    pub aof_rewrites: u64,
    /// `aof_rewrites_consecutive_failures`
    pub aof_rewrites_consecutive_failures: u64,
    /// `aof_last_write_status`: true is `ok`
    pub aof_last_write_ok: bool,
    /// `current_save_keys_processed`, `current_save_keys_total`, `current_fork_perc`: zeros while nothing is written.
    pub walked: Walked,
    /// Shown only while the append-only file is on.
    pub aof: Option<AofInfo>,
    /// Shown only while loading.
    pub while_loading: Option<LoadingInfo>,
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Keys that were begun.
    pub keys: u64,
    /// Keys that there were when it began.
    pub total: u64,
}

impl Walked {
    /// In per cent.
    pub fn percent(self) -> f64 {
        match self.total {
            0 => 0.0,
            total => self.keys as f64 / total as f64 * 100.0,
        }
    }
}

/// Sizes of the append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AofInfo {
    /// `aof_current_size` in bytes
    pub current_size: u64,
    /// `aof_base_size` in bytes
    pub base_size: u64,
    /// `aof_buffer_length` in bytes: not handed to the disk yet, or not answered
    pub buffer_length: u64,
    /// `aof_pending_bio_fsync`: syncs under way
    pub pending_fsync: u64,
    /// `aof_delayed_fsync`
    pub delayed_fsync: u64,
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadingInfo {
    /// `loading_start_time`, Unix seconds
    pub start_time: u64,
    /// `loading_total_bytes`
    pub total_bytes: u64,
    /// `loading_rdb_used_mem`
    pub rdb_used_mem: u64,
    /// `loading_loaded_bytes`
    pub loaded_bytes: u64,
    /// `loading_loaded_perc`
    pub loaded_perc: f64,
    /// `loading_eta_seconds`
    pub eta_seconds: u64,
}

impl Persistence {
    /// The figures of the moment. `changes`: the count of all changes to the data set so far.
    pub fn info(&self, now: Now, changes: u64) -> Info {
        let (aof, save) = (&self.aof, &self.save);
        let since = |started: Option<u64>| {
            started.map_or(-1, |ms| seconds(now.mono_ms().saturating_sub(ms)))
        };
        let lasted = |ms: Option<u64>| ms.map_or(-1, seconds);
        // Redis counts a snapshot for replicas among those in the background.
        let background_ms = save
            .started_ms()
            .filter(|_| save.in_background())
            .or(self.for_replicas_ms);
        let enabled = !matches!(aof.state, State::Off | State::Closing);
        // One that was asked for begins at once, as far as anybody can see, if no snapshot is in its way.
        let begins = (aof.scheduled || aof.state == State::Waiting)
            && !self.snapshotting()
            && aof.limit_until_ms.is_none();
        Info {
            loading: self.loading(),
            rdb_changes_since_last_save: save.unsaved(changes),
            rdb_bgsave_in_progress: background_ms.is_some(),
            rdb_last_save_time: save.figures.last_save_s,
            rdb_last_bgsave_ok: !save.figures.last_failed,
            rdb_last_bgsave_time_sec: lasted(save.figures.last_duration_ms),
            rdb_current_bgsave_time_sec: since(background_ms),
            rdb_saves: save.figures.saves,
            rdb_last_load_keys_expired: self.last_load.expired,
            rdb_last_load_keys_loaded: self.last_load.keys - self.last_load.expired,
            aof_enabled: enabled,
            aof_rewrite_in_progress: aof.rewriting() || begins,
            aof_rewrite_scheduled: aof.scheduled,
            aof_last_rewrite_time_sec: lasted(aof.figures.last_rewrite_ms),
            aof_current_rewrite_time_sec: since(aof.rewrite_started_ms()),
            aof_last_bgrewrite_ok: !aof.figures.last_rewrite_failed,
            aof_rewrites: aof.figures.rewrites,
            aof_rewrites_consecutive_failures: aof.figures.consecutive_failures,
            aof_last_write_ok: aof.error().is_none(),
            walked: if background_ms.is_some() || aof.rewriting() {
                self.walked
            } else {
                Walked::default()
            },
            aof: enabled.then(|| AofInfo {
                current_size: aof.current_size(),
                base_size: aof.figures.base_size,
                buffer_length: aof.unwritten(),
                pending_fsync: u64::from(aof.sync_under_way()),
                delayed_fsync: aof.delayed_syncs(),
            }),
            while_loading: self.load.as_ref().filter(|_| self.loading()).map(|load| {
                let figures = load.figures;
                let elapsed = (now.unix_us / 1_000_000).saturating_sub(figures.started_s);
                let left = figures.total_bytes.saturating_sub(figures.loaded_bytes);
                LoadingInfo {
                    start_time: figures.started_s,
                    total_bytes: figures.total_bytes,
                    rdb_used_mem: load.facts.used_memory,
                    loaded_bytes: figures.loaded_bytes,
                    loaded_perc: match figures.total_bytes {
                        0 => 0.0,
                        total => figures.loaded_bytes as f64 / total as f64 * 100.0,
                    },
                    eta_seconds: match elapsed {
                        0 => 1,
                        _ => elapsed.saturating_mul(left) / (figures.loaded_bytes + 1),
                    },
                }
            }),
        }
    }
}

fn seconds(ms: u64) -> i64 {
    (ms / 1000) as i64
}
