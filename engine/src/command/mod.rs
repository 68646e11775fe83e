//! The command table, the gates in front of it, and one file for each group of commands.

pub mod context;
pub mod docs;
pub mod effects;
pub mod error;
pub mod evict;
pub mod execute;
pub mod gates;
mod rows;
pub mod stats;
mod string;
pub mod table;
