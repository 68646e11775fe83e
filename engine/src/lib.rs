//! The Reprise engine: a Redis-compatible data-structure server as one pure state machine.
//!
//! Everything that happens enters by a method call with the time in it; everything that must happen
//! leaves as data. There are no sockets, files, clocks or threads here, and `#![no_std]` has the
//! compiler prove it. The same engine serves production (`reprise-io-mio`) and is simulated
//! (`reprise-sim`).
//!
//! # The order of calls
//!
//! ```text
//! engine.handle(now, input)            an event: a connection, a disk answer, a tick
//! engine.receive(&reads) → turn        all bytes that were readable, from all connections
//! while turn.step(now) {}              one command a step; then turn.stall(), and if all were to stand still, on
//! drop(turn)
//! while let Some(effect) = engine.poll_effect() {…}   first: Disk, Connect, Close, Log, Exit
//! while let Some(conn) = engine.poll_output() {…}     then: engine.output(conn), engine.sent(conn, n)
//! engine.deadline()                    when the next Input::Tick is due
//! ```
//!
//! # The floors
//!
//! From the ground up; a module uses only floors below its own: [`value`], [`resp`], [`acl`], [`config`],
//! [`store`], [`journal`], [`rdb`], then the siblings [`persistence`], [`replication`] and
//! [`cluster`] (none imports another), [`client`], [`command`], and at the top the engine itself.
#![no_std]

extern crate alloc;

pub mod acl;
pub mod client;
pub mod cluster;
pub mod command;
pub mod config;
mod engine;
mod face;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod journal;
pub mod persistence;
pub mod planted;
#[cfg(feature = "verify")]
pub mod probe;
mod random;
pub mod rdb;
pub mod replication;
pub mod resp;
pub mod script;
pub mod store;
mod turn;
pub mod value;

/// The version of Redis whose behaviour, protocol and files we keep.
pub const REDIS_VERSION: &str = "7.0.15";

pub use engine::Engine;
pub use face::*;
pub use turn::Turn;
