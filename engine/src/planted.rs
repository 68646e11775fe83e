//! Planted bugs: known wrong behaviour that the simulator must find, and harmless changes that it must not complain of.
//!
//! A simulator that cannot find a planted bug is worthless. The places are `if planted::is(Bug::…)`; without the
//! feature `planted`, which no server build has, that is the constant `false`.

/// What can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Under `appendfsync always`, replies do not wait for the disk.
    AcknowledgesBeforeSync = 1,
    /// What a user may do is asked when a command is queued, but not when EXEC carries it out.
    ChecksQueuedOnly,
    /// A replica's request to continue is granted whatever its history.
    ContinuesAnything,
    /// Deadlines are journalled as spans.
    DeadlinesAsSpans,
    /// Keys that expire are deleted without being journalled.
    ExpiresInSilence,
    /// nodes.conf is never synced.
    ForgetsClusterSync,
    /// DEL is not journalled.
    ForgetsDeletions,
    /// Files of persistence are never synced.
    ForgetsSync,
    /// Directories are never synced.
    ForgetsSyncDir,
    /// Harmless: housekeeping comes ten times as often.
    KeepsHouseOften,
    /// Who listens to a channel goes on listening when the right to it is gone.
    KeepsListeners,
    /// What a script changes that is only rehearsed stays, if a snapshot is under way.
    KeepsRehearsals,
    /// Harmless: keys that are due are deleted when they are touched, not before.
    LazyExpiryOnly,
    /// In a cluster, what scripts write is not journalled.
    ScriptsInSilence,
    /// The effects of a transaction are journalled one by one.
    SplitsTransactions,
    /// What a process finds in its log is not synced before it counts as durable.
    TrustsLoadedTail,
    /// A voter forgets that it has voted.
    VotesTwice,
    /// WATCH never sees a change.
    WatchesNothing,
}

impl Bug {
    /// All, in order.
    pub const ALL: [Bug; 18] = [
        Bug::AcknowledgesBeforeSync,
        Bug::ChecksQueuedOnly,
        Bug::ContinuesAnything,
        Bug::DeadlinesAsSpans,
        Bug::ExpiresInSilence,
        Bug::ForgetsClusterSync,
        Bug::ForgetsDeletions,
        Bug::ForgetsSync,
        Bug::ForgetsSyncDir,
        Bug::KeepsHouseOften,
        Bug::KeepsListeners,
        Bug::KeepsRehearsals,
        Bug::LazyExpiryOnly,
        Bug::ScriptsInSilence,
        Bug::SplitsTransactions,
        Bug::TrustsLoadedTail,
        Bug::VotesTwice,
        Bug::WatchesNothing,
    ];
}

#[cfg(feature = "planted")]
static PLANTED: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

/// Plants a bug in all engines of the process, or takes it out again.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(
        bug.map_or(0, |bug| bug as u8),
        core::sync::atomic::Ordering::SeqCst,
    );
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
#[inline]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never, in this build.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn is(_bug: Bug) -> bool {
    false
}
