//! What took long besides commands, for LATENCY: the disk's work, and the rounds of housekeeping. The runtime says how
//! long it was, since only it can know; here is what it was.

use super::{DiskOwner, Engine};
use crate::config::AppendFsync;
use crate::face::{DiskRequest, FileId, Now, Work};
use crate::persistence::file;

/// What the last round of housekeeping did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// It deleted keys that were due.
    pub expired: bool,
    /// It evicted keys.
    pub evicted: bool,
}

impl Engine {
    /// Something took long: it is remembered if LATENCY is to.
    pub(super) fn took(&mut self, now: Now, work: Work, micros: u64) {
        let parts = &mut self.parts;
        let (threshold, ms) = (parts.config.latency_monitor_threshold, micros / 1000);
        if threshold == 0 || ms < threshold {
            return;
        }
        let latency = &mut parts.latency;
        let mut remember = |event| latency.add(now, event, ms);
        match work {
            Work::Tick => {
                if self.round.expired {
                    remember("expire-cycle");
                }
                if self.round.evicted {
                    remember("eviction-cycle");
                }
            }
            Work::Disk => {
                let event = self.disk_owners.front().and_then(|(_, event)| *event);
                event.into_iter().for_each(&mut remember);
                // (Redis has the time of a write twice: once by what went on meanwhile.)
                if event == Some("aof-write") {
                    let busy = parts.persistence.snapshotting() || parts.persistence.rewriting();
                    remember(match busy {
                        true => "aof-write-active-child",
                        false => "aof-write-alone",
                    });
                }
            }
        }
    }

    /// The event that a request is, if it takes long.
    pub(super) fn event_of(&self, owner: DiskOwner, request: &DiskRequest) -> Option<&'static str> {
        let always = self.parts.config.appendfsync == AppendFsync::Always;
        let log = |id: FileId| id == file::INCREMENT_A || id == file::INCREMENT_B;
        match request {
            _ if owner != DiskOwner::Persistence => None,
            DiskRequest::Write { file, .. } if log(*file) => Some("aof-write"),
            DiskRequest::Sync { file } if always && log(*file) => Some("aof-fsync-always"),
            DiskRequest::Rename { to, .. } if to.ends_with(".aof") || to.ends_with(".manifest") => {
                Some("aof-rename")
            }
            DiskRequest::Remove { path } if path.ends_with(".rdb") => Some("rdb-unlink-temp-file"),
            _ => None,
        }
    }
}
