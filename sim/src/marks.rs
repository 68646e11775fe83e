//! Coverage marks: rare lines that the worlds must reach, or the checkers watch over nothing.
//!
//! A server tells in its log when it takes most of its rare ways; the rest the world sees itself. Each kind of world
//! names the marks that its tests must have hit.

use std::collections::BTreeMap;

/// A mark, and words of the log line that tells of it.
const LOGS: &[(&str, &str)] = &[
    ("aof.refused-write", "Error writing to the AOF file"),
    ("aof.sync-failed", "fsync the AOF file:"),
    (
        "aof.sync-failed",
        "for fsync error when the AOF fsync policy",
    ),
    ("aof.torn-tail", "!!! Truncating the AOF"),
    ("aof.torn-transaction", "Revert incomplete MULTI/EXEC"),
    ("cluster.epoch-collision", "configEpoch collision with node"),
    ("cluster.minority", "Cluster state changed: fail"),
    ("cluster.replica-migrates", "Migrating to orphaned master"),
    ("cluster.taken-over", "Configuration change detected"),
    ("cluster.won", "Failover election won"),
    ("election.expired", "Failover attempt expired"),
    (
        "election.stale-data",
        "Disconnected from master for longer than allowed",
    ),
    (
        "link.cached-primary",
        "Caching the disconnected master state",
    ),
    ("link.overrun", "for overcoming of output buffer limits"),
    ("psync.accepted", "Partial resynchronization request from"),
    ("psync.no-backlog", "for lack of backlog"),
    ("psync.other-history", "Replication ID mismatch"),
    ("psync.too-far", "Requested offset for second ID was"),
    ("vote.denied.config", "> reqEpoch ("),
    ("vote.denied.epoch", "< curEpoch("),
    ("vote.denied.recent", "can't vote about this master before"),
    ("vote.denied.up", "its master is up"),
    ("vote.denied.voted", "already voted for epoch"),
    ("vote.granted", "Failover auth granted"),
];

/// How often each mark was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    /// A hit.
    pub fn hit(&mut self, mark: &'static str) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// A server logged a line.
    pub fn log(&mut self, line: &str) {
        for (mark, words) in LOGS {
            if line.contains(words) {
                self.hit(mark);
            }
        }
    }

    /// How often.
    pub fn of(&self, mark: &str) -> u64 {
        self.0.get(mark).copied().unwrap_or_default()
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Marks) {
        for (mark, hits) in &other.0 {
            *self.0.entry(mark).or_default() += hits;
        }
    }

    /// All that were hit, in order, each with its count.
    pub fn describe(&self) -> String {
        let text = self.0.iter().map(|(mark, hits)| format!("{mark} {hits}"));
        text.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hit_their_marks() {
        let mut marks = Marks::default();
        marks.log("Failover auth denied to x: already voted for epoch 7");
        marks.log("nothing of note");
        let mut all = Marks::default();
        all.hit("disk.wiped");
        all.add(&marks);
        all.add(&marks);
        assert_eq!(all.describe(), "disk.wiped 1, vote.denied.voted 2");
        assert_eq!(all.of("vote.granted"), 0);
    }
}
