//! The command table, the gates in front of it, and one file for each group of commands.

pub mod access;
mod bitmap;
pub(crate) mod blocking;
mod client;
mod cluster;
#[cfg(test)]
mod cluster_tests;
mod collection;
mod config;
mod connection;
pub mod context;
#[cfg(test)]
mod data_tests;
pub(crate) mod dataset;
mod debug;
pub mod digest;
pub mod docs;
pub mod effects;
pub mod error;
pub mod evict;
pub mod execute;
mod expire;
pub mod gates;
mod generic;
mod geo;
mod hash;
mod help;
mod hyperloglog;
mod info;
mod introspection;
mod lcs;
mod object;
mod persistence;
pub(crate) mod pubsub;
#[cfg(test)]
mod pubsub_tests;
mod redirect;
mod replication;
mod rows;
mod scan;
#[cfg(test)]
mod server_tests;
mod set;
mod set_algebra;
pub mod stats;
mod string;
pub mod table;
#[cfg(test)]
pub mod testing;
mod transaction;
mod zset;
#[cfg(test)]
mod zset_tests;

use alloc::string::String;

pub use client::describe;

use crate::config::Config;
use crate::face::Address;
use crate::store::Store;
use crate::value::hash::Limits;
use error::CommandError;

/// Up to where a hash stays small, by the configuration.
pub fn hash_limits(config: &Config, store: &Store) -> Limits {
    Limits {
        max_entries: config.hash_max_listpack_entries as usize,
        max_value: config.hash_max_listpack_value as usize,
        hash_key: store.hasher().keys(),
    }
}

/// Up to where a sorted set stays small, by the configuration.
pub fn zset_limits(config: &Config, store: &Store) -> Limits {
    Limits {
        max_entries: config.zset_max_listpack_entries as usize,
        max_value: config.zset_max_listpack_value as usize,
        hash_key: store.hasher().keys(),
    }
}

/// A time-out argument in milliseconds.
///
/// # Errors
/// It is no number, or negative.
pub(crate) fn timeout_ms(arg: &[u8]) -> Result<u64, CommandError> {
    let timeout = crate::value::number::parse_i64(arg).ok_or(CommandError::fixed(
        "ERR timeout is not an integer or out of range",
    ))?;
    u64::try_from(timeout).map_err(|_| CommandError::fixed("ERR timeout is negative"))
}

/// An address as CLIENT LIST shows it.
pub fn address(address: &Address) -> String {
    match address {
        Address::Ip(socket) => alloc::format!("{socket}"),
        Address::Unix(path) => alloc::format!("{path}:0"),
    }
}
