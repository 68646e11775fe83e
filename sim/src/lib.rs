//! Reprise's simulator: whole worlds of servers, drawn from one seed, with everything that goes wrong in them.
//!
//! The engine is a pure state machine, so a world needs no sockets, files, clocks or threads: it calls the same face as
//! the production runtime does, and puts a hostile environment around it. One seed yields one history, always.
//!
//! A tour, in the order in which to read:
//!
//! | module | its idea |
//! |---|---|
//! | [`rng`], [`time`] | one root seed split by concern; the queue of events; clocks that drift, jump and freeze |
//! | [`network`] | connections that carry bytes: cut anywhere, late, throttled, stalled, reset, half-open |
//! | [`disk`] | a page cache and a platter, and what a crash leaves of their difference |
//! | [`node`], [`probe`] | a server: the engine run as the runtime runs it, and what checkers may see of it |
//! | [`workload`], [`client`], [`operator`] | what clients and operators do, over the simulated network |
//! | [`visitor`] | an administrator and a guest: rules of access and channels, tried while nodes crash |
//! | [`history`], [`model`], [`checkers`] | what was seen, what it should mean, and the promises, each with an observer |
//! | [`faults`], [`plan`], [`scenario`] | a whole world as plain data, drawn from a seed |
//! | [`world`] | runs a plan: chaos, then healing, then an audit |
//! | [`marks`] | rare lines that the worlds must reach |
//! | [`fleet`], [`shrink`] | many worlds at once; a failing one cut down to a test |
//! | [`toy`] | a small server with bugs to plant, so that the simulator itself can be tested |
//!
//! `reprise-sim --kind cluster --seed 7 --story` tells one world's story; `--runs 1000` runs many; `--shrink` turns a
//! failure into a test that needs no generator.

pub mod checkers;
pub mod client;
pub mod disk;
pub mod faults;
pub mod fleet;
pub mod history;
pub mod marks;
pub mod model;
pub mod network;
pub mod node;
pub mod operator;
pub mod panics;
pub mod plan;
pub mod probe;
pub mod rehearser;
pub mod resp;
pub mod rng;
pub mod scenario;
pub mod shrink;
pub mod time;
pub mod toy;
pub mod visitor;
pub mod workload;
pub mod world;
