//! Planted bugs: known wrong behaviour that the simulator must find, and harmless changes that it must not complain of.
//!
//! A simulator that cannot find a planted bug is worthless. The places are `if planted::is(Bug::…)`; without the
//! feature `planted`, which no server build has, the test is the constant `false`.

/// What can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Under `appendfsync always`, replies do not wait for the disk.
    AcknowledgesBeforeSync = 1,
    /// A replica's request to continue is granted however much it has of another history.
    ContinuesAnything,
    /// `DEL` of an expired key is not journalled: replicas and files keep it.
    ExpiresInSilence,
    /// The last command of a transaction is left out of the journal.
    ForgetsEndOfTransaction,
    /// The append-only file's new base is named in the manifest before its directory entry is durable.
    ForgetsSyncDir,
    /// Harmless: keys that are due are deleted when they are touched, not before.
    LazyExpiryOnly,
    /// After a full synchronisation the replica keeps a key that the primary does not have.
    KeepsAKey,
    /// Commands that came over a connection that is closed by now are still carried out, twice.
    RepeatsAfterClose,
    /// Harmless: every reply leaves in two pieces.
    SendsInPieces,
    /// A voter forgets in which epoch it has voted.
    VotesTwice,
    /// WATCH does not notice that a key was deleted.
    WatchMissesDeletion,
}

#[cfg(feature = "planted")]
static PLANTED: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

/// Plants a bug in all engines of the process, or takes it out again.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), core::sync::atomic::Ordering::SeqCst);
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
