//! The invariants of `SIMULATION.md`, each watched by an observer beside the system.
//!
//! A checker gets what the world sees (histories, probes of nodes, bytes on the wire, disk answers) and never
//! touches the engine. A violation is data; the world collects them.

pub mod cluster;
pub mod honesty;
pub mod linear;
pub mod minority;
pub mod reigns;
pub mod replication;
pub mod round_trip;
pub mod stream;

use crate::time::Micros;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its id in `SIMULATION.md`.
    pub invariant: &'static str,
    /// Which kind of promise it breaks.
    pub kind: Kind,
    /// When it was seen.
    pub at: Micros,
    /// What is wrong, with the evidence.
    pub text: String,
}

/// Kinds of violations, told apart by the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The engine panicked.
    Crash,
    /// Something bad happened.
    Safety,
    /// Something good did not happen in time.
    Liveness,
}

impl Violation {
    /// A broken safety promise.
    pub fn safety(invariant: &'static str, at: Micros, text: String) -> Violation {
        Violation {
            invariant,
            kind: Kind::Safety,
            at,
            text,
        }
    }

    /// A broken liveness promise.
    pub fn liveness(invariant: &'static str, at: Micros, text: String) -> Violation {
        Violation {
            invariant,
            kind: Kind::Liveness,
            at,
            text,
        }
    }
}
