//! D4: errors are told. While a server's log cannot be written, or a sync of it failed, no write is acknowledged.
//!
//! The observer follows what the disk answers for the files of the append-only file:
//!
//! ```text
//! a write of an increment fails     no write is acknowledged until one succeeds, or the process ends
//! a sync of an increment fails      … until a new base and a manifest are durable, or the process ends:
//!                                   a later sync that succeeds proves nothing (DISK-7)
//! ```
//!
//! Judged are writes that were invoked after the server heard of the error and answered before it was over: whenever
//! the answer was made, it was made in between.

use super::Violation;
use super::linear::reads_only;
use crate::disk::Witnessed;
use crate::history::{History, Outcome};
use crate::time::Micros;
use std::collections::{BTreeMap, BTreeSet};

/// Follows the disks of all nodes.
#[derive(Debug, Default)]
pub struct Honesty {
    nodes: BTreeMap<u16, State>,
    /// Node, from, until, what failed.
    windows: Vec<(u16, Micros, Micros, &'static str)>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Increments that this process has written to: a sync of another one says nothing of what was acknowledged.
    used: BTreeSet<String>,

    write_failed: Option<Micros>,
    sync_failed: Option<Micros>,
    /// Since the sync failed: a base took its name; the manifest that names it took its.
    based: bool,
    listed: bool,
}

impl Honesty {
    /// A node's disk answered.
    pub fn observe(&mut self, node: u16, at: Micros, seen: &Witnessed) {
        let state = self.nodes.entry(node).or_default();
        match seen {
            Witnessed::Write { path, ok: false } if increment(path) => {
                state.used.insert(path.clone());
                state.write_failed.get_or_insert(at);
            }
            Witnessed::Write { path, ok: true } if increment(path) => {
                state.used.insert(path.clone());
                let since = state.write_failed.take();
                self.windows
                    .extend(since.map(|since| (node, since, at, "a write")));
            }
            Witnessed::Sync { path, ok: false } if state.used.contains(path) => {
                if state.sync_failed.is_none() {
                    (state.based, state.listed) = (false, false);
                }
                state.sync_failed.get_or_insert(at);
            }
            Witnessed::Rename { to } if to.contains(".base.") => state.based = true,
            Witnessed::Rename { to } if to.ends_with(".manifest") => state.listed = state.based,
            Witnessed::SyncDir { path, ok: true } if !path.is_empty() && state.listed => {
                let since = state.sync_failed.take();
                (state.based, state.listed) = (false, false);
                self.windows
                    .extend(since.map(|since| (node, since, at, "a sync")));
            }
            _ => {}
        }
    }

    /// A process is gone.
    pub fn gone(&mut self, node: u16, at: Micros) {
        let Some(state) = self.nodes.remove(&node) else {
            return;
        };
        let write = state.write_failed.map(|since| (node, since, at, "a write"));
        let sync = state.sync_failed.map(|since| (node, since, at, "a sync"));
        self.windows.extend(write.into_iter().chain(sync));
    }

    /// How many times a server was in error.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Looks for writes that were acknowledged in between.
    pub fn judge(mut self, history: &History, now: Micros) -> Option<Violation> {
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.gone(node, now);
        }
        for op in &history.ops {
            let (Outcome::Done(_), Some(ended)) = (&op.outcome, op.ended) else {
                continue;
            };
            let node = history
                .stamps
                .get(op.stamp as usize)
                .map(|stamp| stamp.node);
            let inside = self.windows.iter().find(|&&(which, from, until, _)| {
                node == Some(which) && from < op.invoke && ended < until
            });
            if let Some(&(node, from, until, what)) = inside
                && !op.cmds.iter().all(|argv| reads_only(argv))
            {
                let text = format!(
                    "node {node} acknowledged a write though {what} of its log had failed at {from} (good again at {until}): {}",
                    op.describe()
                );
                return Some(Violation::safety("D4", ended, text));
            }
        }
        None
    }
}

/// Whether this is an increment that counts: a first rewrite's temporary one does not.
fn increment(path: &str) -> bool {
    path.ends_with(".incr.aof")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Op, Shape, Stamp};
    use crate::resp::Reply;

    fn found(seen: &[(Micros, Witnessed)], command: &str, invoke: Micros, ended: Micros) -> bool {
        let mut honesty = Honesty::default();
        seen.iter()
            .for_each(|(at, seen)| honesty.observe(0, *at, seen));
        let mut history = History::default();
        let stamp = history.stamp(Stamp::default());
        history.ops.push(Op {
            client: 0,
            group: 0,
            cmds: vec![vec![command.into(), "k".into()]],
            shape: Shape::Single,
            invoke,
            ended: Some(ended),
            outcome: Outcome::Done(vec![Reply::ok()]),
            node: 0,
            conn: None,
            stamp,
        });
        honesty.judge(&history, 1000).is_some()
    }

    fn write(ok: bool) -> Witnessed {
        let path = "appendonlydir/appendonly.aof.1.incr.aof".into();
        Witnessed::Write { path, ok }
    }

    fn sync(ok: bool) -> Witnessed {
        let path = "appendonlydir/appendonly.aof.1.incr.aof".into();
        Witnessed::Sync { path, ok }
    }

    #[test]
    fn a_write_acknowledged_while_the_log_cannot_be_written_is_found() {
        let seen = [(10, write(false)), (50, write(true))];
        assert!(found(&seen, "SET", 20, 30));
        assert!(!found(&seen, "GET", 20, 30));
        assert!(!found(&seen, "SET", 5, 30));
        assert!(!found(&seen, "SET", 20, 60));
        assert!(!found(&seen, "SET", 60, 70));
    }

    #[test]
    fn a_later_sync_does_not_make_a_failed_one_good_but_a_new_base_does() {
        let rename = |to: &str| Witnessed::Rename { to: to.into() };
        let dir = || Witnessed::SyncDir {
            path: "appendonlydir".into(),
            ok: true,
        };
        // A sync that fails before anything was written is that of a file not yet in use.
        let unused = [(10, sync(false)), (12, write(true))];
        assert!(!found(&unused, "SET", 20, 30));
        let mut seen = vec![
            (9, write(true)),
            (10, sync(false)),
            (11, sync(true)),
            (12, write(true)),
        ];
        assert!(found(&seen, "SET", 20, 30));
        // A new increment is no new base.
        seen.extend([
            (15, rename("appendonlydir/appendonly.aof.manifest")),
            (16, dir()),
        ]);
        assert!(found(&seen, "SET", 20, 30));
        seen.push((17, rename("appendonlydir/appendonly.aof.2.base.rdb")));
        seen.push((18, rename("appendonlydir/appendonly.aof.manifest")));
        seen.push((19, dir()));
        assert!(!found(&seen, "SET", 20, 30));
    }
}
