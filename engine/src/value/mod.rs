//! The data structures, each alone: no module here knows of keys, commands or clients.

pub mod float_text;
pub mod hashtable;
pub mod listpack;
pub mod number;
pub mod size_class;
