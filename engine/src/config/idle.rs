//! Directives that are taken, kept and shown, but change nothing here; each with the reason. Whoever sets
//! one to something else than its default is told so at the start ([`Config::idle`]).

use super::table::DIRECTIVES;
use super::{Config, Directive};

const NO_FORK: &str = "there are no child processes";
const NO_DEFRAG: &str = "live allocations are not moved about";
const IN_STEPS: &str = "memory is always freed in small steps";

/// Directives and why they have no effect, by name.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("active-defrag-cycle-max", NO_DEFRAG),
    ("active-defrag-cycle-min", NO_DEFRAG),
    ("active-defrag-ignore-bytes", NO_DEFRAG),
    ("active-defrag-max-scan-fields", NO_DEFRAG),
    ("active-defrag-threshold-lower", NO_DEFRAG),
    ("active-defrag-threshold-upper", NO_DEFRAG),
    ("activedefrag", NO_DEFRAG),
    (
        "active-expire-effort",
        "what is due is found by time, without sampling",
    ),
    (
        "activerehashing",
        "tables grow by segments, never as a whole",
    ),
    (
        "aof-disable-auto-gc",
        "old files are deleted as soon as the manifest no longer names them",
    ),
    ("aof_rewrite_cpulist", NO_FORK),
    ("bgsave_cpulist", NO_FORK),
    (
        "crash-memcheck-enabled",
        "the report of a crash tests no memory: use memtest86 for that",
    ),
    ("dynamic-hz", "timers are exact at any number of clients"),
    ("hide-user-data-from-log", "the log never shows users' data"),
    (
        "ignore-warnings",
        "the system is not tested for faults that stop the start",
    ),
    ("io-threads", "one thread does all reading and writing"),
    (
        "io-threads-do-reads",
        "one thread does all reading and writing",
    ),
    ("jemalloc-bg-thread", "the allocator is mimalloc"),
    ("lazyfree-lazy-user-del", IN_STEPS),
    ("lazyfree-lazy-user-flush", IN_STEPS),
    (
        "loading-process-events-interval-bytes",
        "loading goes in small steps between other events",
    ),
    ("locale-collate", "text is ordered by its bytes"),
    (
        "maxmemory-eviction-tenacity",
        "eviction goes on until memory is below the limit",
    ),
    (
        "propagation-error-behavior",
        "a primary's command that fails is logged, as by default",
    ),
    (
        "repl-diskless-load",
        "a primary's data is always loaded as it comes",
    ),
    ("replica-lazy-flush", IN_STEPS),
    (
        "replica-ignore-disk-write-errors",
        "a replica carries out its primary's commands whatever its disk does",
    ),
    (
        "sanitize-dump-payload",
        "what comes from outside is always checked in full",
    ),
    (
        "tls-dh-params-file",
        "no suite with finite-field Diffie-Hellman is supported",
    ),
];

impl Config {
    /// Directives that are not at their default though they have no effect, with the reason.
    pub fn idle(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let default = Config::default();
        WITHOUT_EFFECT.iter().copied().filter(move |(name, _)| {
            Directive::find(name.as_bytes()).is_some_and(|d| d.value(self) != d.value(&default))
        })
    }

    /// The names of all directives, without their aliases.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DIRECTIVES.iter().map(|directive| directive.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn who_sets_what_has_no_effect_is_told() {
        for (name, _) in WITHOUT_EFFECT {
            assert!(Directive::find(name.as_bytes()).is_some(), "{name}");
        }
        let mut config = Config::default();
        assert_eq!(config.idle().count(), 0);
        config.io_threads = 4;
        let told: Vec<_> = config.idle().map(|(name, _)| name).collect();
        assert_eq!(told, ["io-threads"]);
    }
}
