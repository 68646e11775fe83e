//! The seeded simulator.
pub mod checkers;
pub mod client;
pub mod disk;
pub mod history;
pub mod model;
pub mod network;
pub mod resp;
pub mod rng;
pub mod time;
pub mod workload;
