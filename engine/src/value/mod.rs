//! The data structures, each alone: no module here knows of keys, commands or clients.

pub mod bitmap;
mod compact_bytes;
mod element;
pub mod float_text;
pub mod geohash;
pub mod glob;
pub mod hash;
pub mod hashtable;
pub mod hll;
mod interleave;
pub mod intset;
pub mod lcs;
pub mod list;
pub mod listpack;
pub mod long_text;
pub mod longdouble;
pub mod lzf;
pub mod number;
pub(crate) mod own;
pub mod pack;
pub mod sample;
pub mod set;
pub mod size_class;
pub mod slot;
pub mod stream;
pub mod zset;
