//! The command table, the gates in front of it, and one file for each group of commands.

pub mod access;
pub(crate) mod acl;
#[cfg(test)]
mod acl_tests;
mod bitmap;
pub(crate) mod blocking;
mod client;
pub(crate) mod client_memory;
mod cluster;
mod cluster_stats;
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
mod dump;
pub mod effects;
pub mod error;
pub mod evict;
pub mod examine;
pub mod execute;
mod expire;
mod field_expiry;
#[cfg(test)]
mod field_expiry_tests;
mod function;
pub mod gates;
mod generic;
mod geo;
mod hash;
mod help;
mod hyperloglog;
mod info;
mod introspection;
#[cfg(test)]
mod known_tests;
pub mod latency;
mod lcs;
pub(crate) mod libraries;
mod list;
mod list_blocking;
#[cfg(test)]
mod list_tests;
mod lolwut;
pub(crate) mod memory;
mod metrics;
pub(crate) mod migrate;
mod module;
pub(crate) mod monitor;
pub mod nested;
mod object;
#[cfg(test)]
mod operator_tests;
pub(crate) mod own_keys;
pub(crate) mod permission;
mod persistence;
pub(crate) mod pubsub;
#[cfg(test)]
mod pubsub_tests;
pub(crate) mod rebuild;
mod redirect;
mod replication;
mod rows;
mod scan;
mod script;
#[cfg(test)]
mod script_tests;
pub(crate) mod scripting;
#[cfg(test)]
mod server_tests;
mod set;
mod set_algebra;
#[cfg(test)]
mod set_tests;
pub mod slowlog;
mod sort;
pub mod stats;
mod stream;
mod string;
pub mod table;
#[cfg(test)]
pub mod testing;
pub(crate) mod tracking;
#[cfg(test)]
mod tracking_tests;
pub mod transaction;
mod zset;
#[cfg(test)]
mod zset_tests;

use alloc::string::String;
use alloc::vec::Vec;

pub use client::describe;
pub(crate) use config::reconfigured;
pub(crate) use field_expiry::expire_fields;
pub(crate) use metrics::render as metrics;

use crate::config::Config;
use crate::face::{Address, Now};
use crate::store::Store;
use crate::value::hash::Limits;
use crate::value::list as list_value;
use context::Parts;
use error::CommandError;
use table::Command;

/// The commands, as the configuration and rules of access may name them.
pub fn catalogue() -> crate::acl::Catalogue {
    table::Index::default().catalogue()
}

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

/// How lists are kept, by the configuration.
pub fn list_limits(config: &Config) -> list_value::Limits {
    list_value::Limits {
        fill: config.list_max_listpack_size,
        compress_depth: config.list_compress_depth as usize,
        plain_at: match config.quicklist_packed_threshold {
            0 => list_value::PLAIN_AT,
            bytes => bytes as usize,
        },
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

/// A command's words as others may see them: without its secrets.
pub fn redacted<'a>(command: &Command, words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    const SECRET: [&str; 5] = [
        "masterauth",
        "masteruser",
        "requirepass",
        "tls-client-key-file-pass",
        "tls-key-file-pass",
    ];
    let mut shown = words.to_vec();
    let secret_after = |shown: &mut Vec<&'a [u8]>, from: usize, word: &str, count: usize| {
        let found = (from..shown.len()).find(|&i| shown[i].eq_ignore_ascii_case(word.as_bytes()));
        if let Some(at) = found {
            let end = shown.len().min(at + 1 + count);
            shown[at + 1..end].fill(b"(redacted)");
        }
    };
    match command.name {
        "acl|setuser" => shown[2..].fill(b"(redacted)"),
        "auth" => shown[1..].fill(b"(redacted)"),
        "config|set" => {
            for pair in shown[2..].chunks_exact_mut(2) {
                if SECRET
                    .iter()
                    .any(|name| pair[0].eq_ignore_ascii_case(name.as_bytes()))
                {
                    pair[1] = b"(redacted)";
                }
            }
        }
        "hello" => secret_after(&mut shown, 2, "auth", 2),
        "migrate" => {
            secret_after(&mut shown, 6, "auth", 1);
            secret_after(&mut shown, 6, "auth2", 2);
        }
        _ => {}
    }
    shown
}

/// What is known of a server that breaks: INFO, its clients, and what was carried out last.
pub(crate) fn crash_report(parts: &Parts, now: Now) -> String {
    let mut text = String::from("\n------ INFO OUTPUT ------\n");
    text += &info::report(parts, now);
    text += "\n------ CLIENT LIST OUTPUT ------\n";
    for session in parts.clients.iter() {
        text += &describe(parts, session, now);
        text.push('\n');
    }
    if let Some((id, conn, command)) = parts.current {
        text += "\n------ CURRENT CLIENT INFO ------\n";
        text += &alloc::format!("id={id} conn={conn:?} cmd={command}\n");
    }
    text
}

/// An address as CLIENT LIST shows it.
pub fn address(address: &Address) -> String {
    match address {
        Address::Ip(socket) => alloc::format!("{socket}"),
        Address::Unix(path) => alloc::format!("{path}:0"),
    }
}
