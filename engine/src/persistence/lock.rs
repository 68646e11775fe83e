//! Who may write: two servers that share files must not harm each other.
//!
//! ```text
//! dir                                      locked at the start if nobody else has: then temporary files have
//!                                          fixed names, and one that a crash left is replaced by the next
//! appenddirname/<appendfilename>.lock      locked before the append-only file is read or written
//! ```
//!
//! * **Snapshots**: servers with one `dir`, even with one `dbfilename`, are as common with Redis as they are
//!   unwise: nothing is refused. Each writes to a temporary file of its own, and the last to rename it wins.
//! * **Append-only file**: the second server does not start, and CONFIG SET is refused, after waiting a little
//!   for a process that is about to end. Servers with one `appenddirname` and several `appendfilename`s are
//!   strangers to each other. The lock is kept until the process ends.
//! * Where the file system has no locks, or the lock's file cannot be made, a warning is logged and life goes on.
//! * Redis neither looks at the lock nor minds its file.

use super::Settings;
use super::file;
use super::outbox::Outbox;
use super::policy::LOCK_PATIENCE_MS;
use crate::face::{DiskError, DiskErrorKind, DiskReply, DiskRequest};
use alloc::format;
use alloc::string::{String, ToString};

/// The lock on the working directory.
pub(super) fn lock_dir() -> DiskRequest {
    DiskRequest::Lock {
        file: file::DIR_LOCK,
        path: ".".to_string(),
        patience_ms: 0,
    }
}

/// The lock on the append-only file.
pub(super) fn lock_aof(settings: &Settings) -> DiskRequest {
    DiskRequest::Lock {
        file: file::AOF_LOCK,
        path: settings.lock_path(),
        patience_ms: LOCK_PATIENCE_MS,
    }
}

/// What the log says when another server has the append-only file.
pub(super) fn refusal(settings: &Settings, why: &str) -> String {
    format!(
        "Can't use the append-only file {} in dir {}: {why}",
        settings.append_filename, settings.append_dirname
    )
}

/// What the answer to the lock of the append-only file means: refused, or go on, perhaps without it.
pub(super) fn judge(
    result: Result<DiskReply, DiskError>,
    settings: &Settings,
    outbox: &mut Outbox,
) -> Result<DiskReply, DiskError> {
    let Err(error) = result else { return result };
    if error.kind == DiskErrorKind::Locked {
        return Err(error);
    }
    outbox.warn(format!(
        "Can't lock {}: {}. Make sure that no other server uses this append-only file.",
        settings.lock_path(),
        error.message
    ));
    Ok(DiskReply::Done)
}
