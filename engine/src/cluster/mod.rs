//! The cluster bus, membership, failure detection, elections and slots.
pub mod bus;
pub mod node;
pub mod slots;
