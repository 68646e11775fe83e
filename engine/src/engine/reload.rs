//! DEBUG RELOAD and DEBUG LOADAOF: the data is read back from a file that holds it, while everybody waits.
//!
//! ```text
//! wait until no snapshot and no rewrite is under way ─┬─ save ──┬─▶ load ─▶ everybody goes on
//!                                                      └─ flush ─┘
//! ```
//!
//! From the save on no command is carried out, nor any of our primary's stream: what came between the file
//! and its loading would be lost. A file that cannot be loaded costs nothing: the old data is kept until then.

use core::mem;

use super::{Engine, load};
use crate::command::context::{ReloadSource, condition};
use crate::command::libraries;
use crate::face::{ConnId, LogLevel, Now};
use crate::persistence::{FlushState, Source};
use crate::store::Store;

/// A reload under way.
pub(crate) struct Reload {
    conn: ConnId,
    source: ReloadSource,
    stage: Stage,
    /// The data before, if it is to go.
    old: Option<Store>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For files that are being written.
    Wait,
    /// The snapshot is being written.
    Save,
    /// The append-only file takes what it has not got yet.
    Flush,
    Load,
}

impl Reload {
    /// Whether keys of the file replace those that are there.
    pub fn merges(&self) -> bool {
        matches!(self.source, ReloadSource::Snapshot { merge: true, .. })
    }
}

impl Engine {
    /// A client, which waits, wants all data read back.
    pub(super) fn begin_reload(&mut self, conn: ConnId, source: ReloadSource) {
        self.reload = Some(Reload {
            conn,
            source,
            stage: Stage::Wait,
            old: None,
        });
    }

    /// Goes on with a reload, if one is under way.
    pub(super) fn reload_step(&mut self, now: Now) {
        let Some(Reload { source, stage, .. }) = self.reload else {
            return;
        };
        let busy = self.snapshot_under_way();
        let persistence = &mut self.parts.persistence;
        match stage {
            Stage::Wait if busy || persistence.saving() || persistence.rewriting() => {}
            Stage::Wait => {
                self.loader = Some(load::loader(now));
                self.parts.set(condition::LOADING, true);
                match source {
                    ReloadSource::Snapshot { save: true, .. } => {
                        self.reload_goes_to(Stage::Save);
                        self.begin_save(now, false);
                    }
                    ReloadSource::AppendOnly if self.parts.config.appendonly => {
                        self.parts.journal.seal();
                        self.parts.persistence.flush(&self.parts.journal);
                        self.reload_goes_to(Stage::Flush);
                    }
                    _ => self.load_again(now),
                }
            }
            Stage::Flush => match persistence.flush_state() {
                FlushState::Pending => {}
                FlushState::Done => {
                    persistence.end_flush();
                    self.load_again(now);
                }
                FlushState::Failed => {
                    persistence.end_flush();
                    self.end_reload(Some("ERR Writing to the append only file failed"));
                }
            },
            Stage::Save | Stage::Load => {}
        }
    }

    fn reload_goes_to(&mut self, stage: Stage) {
        if let Some(reload) = &mut self.reload {
            reload.stage = stage;
        }
    }

    /// The snapshot that is to be read back is complete, or failed.
    pub(super) fn reload_saved(&mut self, now: Now, ok: bool) {
        if self.reload.as_ref().is_none_or(|r| r.stage != Stage::Save) {
            return;
        }
        if ok {
            self.load_again(now);
        } else {
            self.end_reload(Some("ERR"));
        }
    }

    fn load_again(&mut self, now: Now) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        reload.stage = Stage::Load;
        let (from, flush) = match reload.source {
            ReloadSource::AppendOnly => (Source::AppendOnly, true),
            ReloadSource::Snapshot { flush, .. } => (Source::Snapshot, flush),
        };
        let store = &mut self.parts.store;
        if flush {
            let empty = Store::new(store.databases().len(), *store.hasher());
            reload.old = Some(mem::replace(store, empty));
        }
        self.parts.persistence.begin_load(now, from);
    }

    /// All data was read back.
    pub(super) fn reloaded(&mut self) {
        let parts = &mut self.parts;
        if let Some(old) = self.reload.as_mut().and_then(|reload| reload.old.take()) {
            // In this way it is freed in steps.
            let new = mem::replace(&mut parts.store, old);
            parts.store.replace(new);
        }
        parts.watches.touch_all();
        self.end_reload(None);
    }

    /// The file cannot be loaded.
    pub(super) fn reload_failed(&mut self) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        let why = match reload.source {
            ReloadSource::AppendOnly => "ERR Error trying to load the AOF files, check server logs",
            ReloadSource::Snapshot { .. } => "ERR Error trying to load the RDB dump",
        };
        if let Some(old) = reload.old.take() {
            let partial = mem::replace(&mut self.parts.store, old);
            self.parts.store.discard_all(partial);
        }
        libraries::refresh(&mut self.parts);
        self.end_reload(Some(why));
    }

    /// The client has its answer, and everybody goes on.
    fn end_reload(&mut self, error: Option<&str>) {
        let Some(reload) = self.reload.take() else {
            return;
        };
        self.loader = None;
        let parts = &mut self.parts;
        mem::take(&mut self.applier).discard(&mut parts.store);
        parts.set(condition::LOADING, false);
        if reload.stage == Stage::Load {
            parts.persistence.end_load(parts.changes);
        }
        match error {
            None => parts.log(
                LogLevel::Warning,
                match reload.source {
                    ReloadSource::AppendOnly => "Append Only File loaded by DEBUG LOADAOF",
                    ReloadSource::Snapshot { .. } => "DB reloaded by DEBUG RELOAD",
                },
            ),
            Some(error) => {
                parts.stats.error(error);
                if let Some(session) = parts.clients.get_mut(reload.conn) {
                    session.out.error(error);
                    parts.unblock(reload.conn);
                }
            }
        }
        parts.reloaded();
    }
}
