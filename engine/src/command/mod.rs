//! The command table, the gates in front of it, and one file for each group of commands.

pub mod docs;
