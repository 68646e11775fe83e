//! The seeded simulator.
pub mod disk;
pub mod network;
pub mod rng;
pub mod time;
