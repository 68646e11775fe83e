//! What is done when the disk fails: the one policy, as a table and as the times that go with it.
//!
//! * A **write** that fails is undone by truncation and tried again each second. Until it succeeds the write
//!   status is `err` and writing commands are refused.
//! * A **sync** that fails means that the kernel may have dropped what it could not write, and that later
//!   syncs succeed without it. No later sync of that file is believed. The status is `err`, and a rewrite is
//!   due at once: a base that was written and synced afresh clears the error.
//! * A **manifest** is adopted only when its rename *and* the directory's sync succeeded. A failure before
//!   the rename leaves the old one; a failed directory sync makes the state on the disk unknown, so nothing
//!   is deleted, nothing new is begun, and the manifest is written afresh each second until it is durable.
//! * Where a promise was given that each reply depends on (`appendfsync always`), each of these ends the process:
//!   what was promised cannot be kept.
//! * Increments are synced before the next one takes over: no hole can precede a newer increment.
//! * A **slow** sync holds writes back for two seconds under `everysec`, then they go all the same and are counted
//!   (`aof_delayed_fsync`).
//! * A **rewrite** or **save** that fails leaves the old files, and is tried again; rewrites that keep failing are
//!   held back for 1, 2, 4, … 60 minutes.
//! * At the **start** whatever fails ends the process with code 1, and nothing has been changed.
//!
//! The same for operators, with what they see: `docs/persistence.md`.

use super::Fsync;

/// Pause before a write that failed is tried again, or a manifest whose directory could not be synced.
pub(super) const RETRY_MS: u64 = 1000;
/// How long a write waits for a sync under way before it goes all the same.
pub(super) const SLOW_SYNC_MS: u64 = 2000;
/// Pause after a failed save before a save point tries again (Redis: 5 s).
pub(super) const SAVE_RETRY_MS: u64 = 5000;
/// From so many failed rewrites in a row on, automatic ones are held back.
pub(super) const FAILURES_BEFORE_LIMIT: u64 = 3;
/// For so long at most.
pub(super) const MAX_LIMIT_MINUTES: u64 = 60;
/// How long to wait for another server's lock: one that is being replaced needs so long to end.
pub(super) const LOCK_PATIENCE_MS: u64 = 1000;

/// What failed, of the append-only file while it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The sync of the directory after the manifest was renamed.
    DirSync,
    /// The sync of an increment.
    Sync,
    /// A write to an increment.
    Write,
}

/// What is done about it. In any case the failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The process ends with code 1.
    Exit,
    /// Writing commands are refused; the same is tried again each second.
    Retry,
    /// Writing commands are refused until a rewrite has succeeded, which is due at once.
    Rewrite,
}

/// The policy. `promised`: replies were, or would be, released because of what failed.
pub(super) fn remedy(failure: Failure, fsync: Fsync, promised: bool) -> Remedy {
    match (fsync, failure) {
        (Fsync::Always, _) if promised => Remedy::Exit,
        (_, Failure::Sync) => Remedy::Rewrite,
        (_, Failure::DirSync | Failure::Write) => Remedy::Retry,
    }
}
