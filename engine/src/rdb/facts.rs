//! What a snapshot says beside the data, and what is said of it in the log: the same wherever it comes from.

use super::Event;
use crate::face::{LogLevel, Now};
use alloc::format;
use alloc::string::String;

/// Redis names so many empty keys, then is silent.
const EMPTY_KEYS_LOGGED: u64 = 10;

/// The position in a replication stream that a snapshot stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedReplication {
    /// `repl-id`.
    pub id: Option<String>,
    /// `repl-offset`.
    pub offset: Option<u64>,
    /// `repl-stream-db`.
    pub selected_db: Option<i64>,
}

/// The facts of a snapshot, as far as it was read.
#[derive(Debug, Default)]
pub struct Facts {
    /// Where in a replication stream it stands.
    pub replication: LoadedReplication,
    /// Bytes that the data took where it was written.
    pub used_memory: u64,
    empty_keys: u64,
}

impl Facts {
    /// Learns from what comes next. False if it is no fact, but data or the end.
    pub fn learn(
        &mut self,
        now: Now,
        event: &Event,
        mut log: impl FnMut(LogLevel, String),
    ) -> bool {
        match event {
            Event::Aux { name, value } => {
                let (name, value) = (
                    &String::from_utf8_lossy(name),
                    &String::from_utf8_lossy(value),
                );
                self.named(now, name, value, &mut log);
            }
            Event::EmptyKey { key } => {
                self.empty_keys += 1;
                if self.empty_keys <= EMPTY_KEYS_LOGGED {
                    let key = String::from_utf8_lossy(key);
                    log(
                        LogLevel::Warning,
                        format!("rdbLoadObject skipping empty key: {key}"),
                    );
                }
            }
            Event::ModuleAux { module } => {
                let module = String::from_utf8_lossy(module);
                let text = format!(
                    "The RDB file contains AUX module data of the module '{module}': skipped, there are no modules \
                     here"
                );
                log(LogLevel::Warning, text);
            }
            _ => return false,
        }
        true
    }

    fn named(&mut self, now: Now, name: &str, value: &str, log: &mut impl FnMut(LogLevel, String)) {
        let mut notice = |text| log(LogLevel::Notice, text);
        match name {
            _ if name.starts_with('%') => notice(format!("RDB '{name}': {value}")),
            "redis-ver" | "valkey-ver" => {
                notice(format!("Loading RDB produced by version {value}"));
            }
            "ctime" => {
                let age = (now.unix_us / 1_000_000).saturating_sub(value.parse().unwrap_or(0));
                notice(format!("RDB age {age} seconds"));
            }
            "used-mem" => {
                self.used_memory = value.parse().unwrap_or(0);
                let megabytes = self.used_memory as f64 / (1024.0 * 1024.0);
                notice(format!("RDB memory usage when created {megabytes:.2} Mb"));
            }
            "repl-stream-db" => self.replication.selected_db = value.parse().ok(),
            "repl-id" => self.replication.id = (value.len() == 40).then(|| value.into()),
            "repl-offset" => self.replication.offset = value.parse().ok(),
            "aof-preamble" if value != "0" => notice("RDB has an AOF tail".into()),
            "aof-base" if value != "0" => notice("RDB is base AOF".into()),
            "aof-preamble" | "aof-base" | "lua" | "redis-bits" => {}
            _ => log(
                LogLevel::Debug,
                format!("Unrecognized RDB AUX field: '{name}'"),
            ),
        }
    }

    /// The snapshot is complete, with so many keys, some of which were due and are not kept. `unchecked`: it has no
    /// checksum, and one was expected.
    pub fn end(
        &self,
        keys: u64,
        expired: u64,
        unchecked: bool,
        mut log: impl FnMut(LogLevel, String),
    ) {
        if unchecked {
            log(
                LogLevel::Warning,
                "RDB file was saved with checksum disabled: no check performed.".into(),
            );
        }
        let loaded = keys - expired;
        let counts = format!("Done loading RDB, keys loaded: {loaded}, keys expired: {expired}");
        match self.empty_keys {
            0 => log(LogLevel::Notice, format!("{counts}.")),
            skipped => log(
                LogLevel::Warning,
                format!("{counts}, empty keys skipped: {skipped}."),
            ),
        }
    }
}
